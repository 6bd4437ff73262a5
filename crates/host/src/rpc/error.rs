//! Why a call has no result, and what is answered to a plugin that gets none.

use std::fmt;

use ringfence_api::rpc::RpcErrorCode;
use serde_json::value::RawValue;

use super::codec::ErrorObject;
use super::fault::{FaultKind, escape_controls};

/// The longest message of an error that is kept.
const MESSAGE_MAX_BYTES: usize = 4 * 1024;
/// The largest data of an error that is kept.
const DATA_MAX_BYTES: usize = 64 * 1024;
/// What stands at the end of a message that was cut.
const CUT: &str = " ...";

/// An error in an answer, in either direction.
///
/// What a plugin has sent is bounded: 4 KiB of message, and data of at most 64 KiB or none. Shown as text, control
/// characters are escaped.
///
/// ```
/// use ringfence::rpc::RpcError;
/// use ringfence_api::rpc::RpcErrorCode;
///
/// let error = RpcError::new(RpcErrorCode::Quota, "the data directory is full");
/// assert_eq!(error.to_string(), "the data directory is full (-31006)");
/// assert_eq!(error.data.as_ref().map(|data| data.get()), Some(r#"{"code":"quota"}"#));
/// ```
#[derive(Clone, Debug)]
pub struct RpcError {
    /// The number: one of [`RpcErrorCode`], or one of the plugin's own.
    pub code: i64,
    /// For people.
    pub message: String,
    /// For programs.
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    /// An error with its number, and with its stable word as data.
    #[must_use]
    pub fn new(code: RpcErrorCode, message: impl Into<String>) -> Self {
        let word = serde_json::json!({ "code": code.word() });
        Self {
            code: code.number(),
            message: message.into(),
            data: serde_json::value::to_raw_value(&word).ok(),
        }
    }

    /// The same with other data, which should hold the stable word as `code`.
    #[must_use]
    pub fn with_data(self, data: Box<RawValue>) -> Self {
        Self { data: Some(data), ..self }
    }

    /// Which of the protocol's errors it is; `None` for one of the plugin's own.
    #[must_use]
    pub fn known(&self) -> Option<RpcErrorCode> {
        RpcErrorCode::from_number(self.code)
    }

    /// What a plugin has sent, cut to what is kept.
    pub(super) fn from_plugin(error: ErrorObject<'_>) -> Self {
        let mut message = error.message;
        if message.len() > MESSAGE_MAX_BYTES {
            let end = message.floor_char_boundary(MESSAGE_MAX_BYTES - CUT.len());
            message = format!("{}{CUT}", message.get(..end).unwrap_or_default()).into();
        }
        let data = error.data.filter(|data| data.get().len() <= DATA_MAX_BYTES && data.get() != "null");
        Self { code: error.code, message: message.into_owned(), data: data.map(ToOwned::to_owned) }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", escape_controls(&self.message), self.code)
    }
}

impl std::error::Error for RpcError {}

/// Why a call has no result.
///
/// ```
/// use ringfence::rpc::CallError;
///
/// assert_eq!(CallError::Timeout.to_string(), "the plugin has not answered before the deadline");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The deadline passed, while the call waited for its turn, for room or for the answer.
    #[error("the plugin has not answered before the deadline")]
    Timeout,
    /// [`Connection::cancel_calls`](super::Connection::cancel_calls) ended it.
    #[error("the call was cancelled")]
    Cancelled,
    /// The plugin went away, or the host has closed the connection.
    #[error("the plugin has gone away")]
    Closed,
    /// As many calls wait as may.
    #[error("too many calls wait for the plugin (at most {queued_max}); try again later")]
    Busy {
        /// How many may wait.
        queued_max: usize,
    },
    /// The request, or the answer, is longer than a message may be.
    #[error("the message is longer than {max_bytes} bytes")]
    TooLarge {
        /// How long one may be.
        max_bytes: usize,
    },
    /// The request is nested deeper than a message may be.
    #[error("the request is nested deeper than {} levels", ringfence_api::rpc::DEPTH_MAX)]
    TooDeep,
    /// The plugin has answered with an error.
    #[error("the plugin has answered with an error: {0}")]
    Plugin(RpcError),
    /// The plugin has answered with something that is no answer.
    #[error("the answer of the plugin breaks the protocol: {0}")]
    Malformed(FaultKind),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_is_bounded_and_escaped() {
        let data = RawValue::from_string(format!("\"{}\"", "x".repeat(DATA_MAX_BYTES))).unwrap();
        let message = format!("\u{1b}[2J\u{202e}{}", "é".repeat(1_000_000));
        let error =
            RpcError::from_plugin(ErrorObject { code: 7, message: message.into(), data: Some(&data) });
        assert!(error.message.len() <= MESSAGE_MAX_BYTES && error.message.ends_with(CUT));
        assert!(error.data.is_none());
        assert!(error.to_string().starts_with("\\u{1b}[2J\\u{202e}éé"), "{error}");
        // What fits is kept.
        let data = RawValue::from_string("[1]".to_owned()).unwrap();
        let error =
            RpcError::from_plugin(ErrorObject { code: -31001, message: "no".into(), data: Some(&data) });
        assert_eq!((error.message.as_str(), error.known()), ("no", Some(RpcErrorCode::PermissionDenied)));
        assert_eq!(error.data.unwrap().get(), "[1]");
    }
}
