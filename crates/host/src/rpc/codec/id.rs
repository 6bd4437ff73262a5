//! The ids of requests, compared exactly: `"1"` is not `1`, and `1.0` is no id.

use std::fmt;

use ringfence_api::rpc::REQUEST_ID_MAX_BYTES;
use serde_json::value::RawValue;

/// The id of a plugin's request: an integer or a text of at most 128 bytes.
///
/// Two are equal when they are of the same kind and have the same value; how a text was escaped makes no difference.
///
/// ```
/// use ringfence::rpc::codec::PluginId;
///
/// let id = |text: &str| serde_json::from_str(text).map_err(|_| ()).and_then(|raw| PluginId::read(raw).map_err(|_| ()));
/// assert_ne!(id("1"), id("\"1\""));
/// assert_eq!(id("\"A\""), id("\"\\u0041\""));
/// assert_eq!(id("1.0"), Err(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PluginId(
    /// As it is written in the answer. Each value has one form.
    Box<str>,
);

/// Why something is no id.
///
/// ```
/// use ringfence::rpc::codec::{PluginId, PluginIdError};
///
/// let null = serde_json::from_str("null")?;
/// assert_eq!(PluginId::read(null), Err(PluginIdError::Kind));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginIdError {
    /// Neither an integer nor a text.
    #[error("the id of a request is an integer or a text")]
    Kind,
    /// Longer than 128 bytes.
    #[error("the id of a request has at most {REQUEST_ID_MAX_BYTES} bytes")]
    Length,
}

impl PluginId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`PluginIdError`] when it is none.
    pub fn read(raw: &RawValue) -> Result<Self, PluginIdError> {
        let text = raw.get();
        if text.starts_with('"') {
            // Each character may have been escaped with six.
            if text.len() > 6 * REQUEST_ID_MAX_BYTES + 2 {
                return Err(PluginIdError::Length);
            }
            let value: String = serde_json::from_str(text).map_err(|_| PluginIdError::Kind)?;
            if value.len() > REQUEST_ID_MAX_BYTES {
                return Err(PluginIdError::Length);
            }
            return Ok(Self(serde_json::Value::String(value).to_string().into()));
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if text == "-0" || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PluginIdError::Kind);
        }
        if text.len() > REQUEST_ID_MAX_BYTES {
            return Err(PluginIdError::Length);
        }
        Ok(Self(text.into()))
    }

    /// As it stands in JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The id of one of the host's requests, if it is written as the host writes them.
pub(super) fn read_host_id(raw: &RawValue) -> Option<u64> {
    let text = raw.get();
    // `parse` would also take a plus sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn ids_are_compared_exactly() {
        for (text, kept) in [
            ("0", "0"),
            ("-7", "-7"),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551616", "18446744073709551616"),
            ("\"1\"", "\"1\""),
            ("\"\\u0031\"", "\"1\""),
            ("\"\"", "\"\""),
            ("\"\\n\"", "\"\\n\""),
        ] {
            assert_eq!(PluginId::read(&raw(text)).unwrap().as_json(), kept);
        }
        for text in ["-0", "1.0", "1e0", "null", "true", "[1]", "{}", "0.0"] {
            assert_eq!(PluginId::read(&raw(text)), Err(PluginIdError::Kind), "{text}");
        }
        let long = |count: usize, piece: &str| raw(&format!("\"{}\"", piece.repeat(count)));
        assert!(PluginId::read(&long(128, "a")).is_ok());
        assert!(PluginId::read(&long(128, "\\u0041")).is_ok());
        assert_eq!(PluginId::read(&long(129, "a")), Err(PluginIdError::Length));
        assert_eq!(PluginId::read(&long(1 << 20, "a")), Err(PluginIdError::Length));
        assert_eq!(PluginId::read(&raw(&"1".repeat(1 << 20))), Err(PluginIdError::Length));
    }

    #[test]
    fn a_hosts_id_is_written_as_the_host_writes_it() {
        assert_eq!(read_host_id(&raw("7")), Some(7));
        assert_eq!(read_host_id(&raw("9007199254740993")), Some(9_007_199_254_740_993));
        for text in ["\"7\"", "7.0", "7e0", "-0", "-7", "null", "99999999999999999999"] {
            assert_eq!(read_host_id(&raw(text)), None, "{text}");
        }
    }
}
