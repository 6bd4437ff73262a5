//! What the bearer of a token may do.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the bearer of a token may do; a larger one may all that a smaller one may.
///
/// ```
/// use ringfence_api::Role;
///
/// assert!(Role::Admin > Role::Operator && Role::Operator > Role::Viewer);
/// assert_eq!("operator".parse(), Ok(Role::Operator));
/// assert!(Role::Operator.includes(Role::Viewer) && !Role::Operator.includes(Role::Admin));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks, and changes nothing.
    Viewer,
    /// Calls and activates too.
    Operator,
    /// Everything: installs, consents, configures, removes, and makes tokens.
    Admin,
}

impl Role {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word in flags, columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether whoever has this role may do what needs the other one.
    #[must_use]
    pub fn includes(self, needed: Self) -> bool {
        self >= needed
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no role.
///
/// ```
/// assert_eq!("root".parse::<ringfence_api::Role>().unwrap_err().text, "root");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no role: admin, operator and viewer are", .text.escape_debug())]
pub struct UnknownRole {
    /// The word as it was given.
    pub text: String,
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json_agree_and_only_they_are_roles() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        for wrong in ["", "Admin", "root", "admin ", "viewer\0"] {
            assert!(wrong.parse::<Role>().is_err(), "{wrong:?}");
        }
        for (have, needed) in Role::ALL.iter().flat_map(|have| Role::ALL.map(|needed| (*have, needed))) {
            assert_eq!(have.includes(needed), have as u8 >= needed as u8);
        }
    }
}
