//! The states of a plugin's life.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a plugin stands: `discovered → installed → inactive ⇄ active`, with `errored` and `quarantined`.
///
/// ```
/// use ringfence_api::PluginState;
///
/// assert_eq!("quarantined".parse(), Ok(PluginState::Quarantined));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Found in a plugin directory, not installed.
    Discovered,
    /// In the store; waits for consent.
    Installed,
    /// Consented to, and not wanted now.
    Inactive,
    /// Wanted: started with the daemon, or when it is called.
    Active,
    /// Its last start or run failed; it is tried again.
    Errored,
    /// Stopped for good after too many failures; only a person releases it.
    Quarantined,
}

impl PluginState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Discovered, Self::Installed, Self::Inactive, Self::Active, Self::Errored, Self::Quarantined];

    /// The word in columns, routes and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Installed => "installed",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Errored => "errored",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no state.
///
/// ```
/// assert_eq!("gone".parse::<ringfence_api::PluginState>().unwrap_err().text, "gone");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no state of a plugin", .text.escape_debug())]
pub struct UnknownPluginState {
    /// The word as it was given.
    pub text: String,
}

impl FromStr for PluginState {
    type Err = UnknownPluginState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownPluginState { text: text.to_owned() })
    }
}
