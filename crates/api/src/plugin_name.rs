//! What a plugin is called.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest name of a plugin.
pub const PLUGIN_NAME_MAX_BYTES: usize = 100;

/// The name of a plugin: `[a-z0-9-]{1,100}`, kebab-case, so no hyphen first, last or doubled.
///
/// ```
/// use ringfence_api::PluginName;
///
/// assert_eq!("translator".parse::<PluginName>()?.as_str(), "translator");
/// assert!("../etc".parse::<PluginName>().is_err());
/// # Ok::<(), ringfence_api::PluginNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(
    #[schemars(regex(pattern = r"^[a-z0-9]+(-[a-z0-9]+)*$"), length(min = 1, max = 100))] String,
);

impl PluginName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no name of a plugin.
///
/// ```
/// use ringfence_api::{PluginName, PluginNameError};
///
/// assert_eq!("".parse::<PluginName>(), Err(PluginNameError::Length { bytes: 0 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginNameError {
    /// Empty, or longer than [`PLUGIN_NAME_MAX_BYTES`].
    #[error("a plugin's name has 1 to {PLUGIN_NAME_MAX_BYTES} characters, not {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// Another character than `a-z`, `0-9` and single hyphens between them.
    #[error("a plugin's name has only a-z, 0-9 and single hyphens between them")]
    Character,
}

impl FromStr for PluginName {
    type Err = PluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > PLUGIN_NAME_MAX_BYTES {
            return Err(PluginNameError::Length { bytes: text.len() });
        }
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if text.split('-').all(word) { Ok(Self(text.to_owned())) } else { Err(PluginNameError::Character) }
    }
}

/// A map by names is asked with text; what is no name is not in it.
impl Borrow<str> for PluginName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PluginName {
    type Error = PluginNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
