//! The arguments of the tools, as a client gives them: closed, so that a mistake is told and not ignored.

use ringfence::Error;
use ringfence_api::ErrorCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::text;
use super::tool::{CALLS_DEFAULT, CALLS_MAX};

/// No arguments at all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// One plugin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) name: String,
}

/// One directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) path: String,
}

/// One directory, or those of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scanned {
    #[serde(default)]
    pub(super) path: Option<String>,
}

/// What is removed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removed {
    pub(super) name: String,
    #[serde(default)]
    pub(super) keep_data: bool,
}

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Configured {
    pub(super) name: String,
    #[serde(default)]
    pub(super) set: Option<Map<String, Value>>,
}

/// Which calls are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default = "calls_default")]
    pub(super) limit: usize,
    #[serde(default)]
    pub(super) before: Option<i64>,
}

fn calls_default() -> usize {
    CALLS_DEFAULT
}

impl Listed {
    /// # Errors
    /// `usage` for numbers out of their range.
    pub(super) fn checked(self) -> Result<Self, Error> {
        if self.limit == 0 || self.limit > CALLS_MAX {
            return Err(usage(&format!("'limit' must be 1 to {CALLS_MAX}")));
        }
        if self.before.is_some_and(|before| before < 1) {
            return Err(usage("'before' must be 1 or more"));
        }
        Ok(self)
    }
}

/// The arguments, typed.
///
/// # Errors
/// `usage` with what is missing, unknown or of another type.
pub(super) fn read<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, Error> {
    serde_json::from_value(Value::Object(arguments)).map_err(|cause| usage(&cause.to_string()))
}

/// Arguments that break the input schema.
pub(super) fn usage(what: &str) -> Error {
    let message = format!("the arguments are not those of the tool: {}", text::lines(what, 300));
    Error::new(ErrorCode::Usage, message)
        .with_hint("correct what the message names; tools/list has the input schema")
}
