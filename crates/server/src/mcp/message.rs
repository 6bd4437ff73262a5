//! One message of JSON-RPC 2.0 as MCP uses it: parsed from bytes of a stranger, and written.
//!
//! What is wrong with a message is answered with its id wherever the id can be read, so that no client waits for ever.

use serde_json::{Map, Value, json};

/// The longest message, in bytes.
pub const MESSAGE_MAX_BYTES: usize = 4 << 20;
/// The longest id that is text, in bytes.
const ID_MAX_BYTES: usize = 256;
/// The longest name of a method, in bytes.
const METHOD_MAX_BYTES: usize = 128;

/// Codes of JSON-RPC and of MCP that this server answers with.
pub(super) const PARSE_ERROR: i64 = -32700;
pub(super) const INVALID_REQUEST: i64 = -32600;
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
pub(super) const INVALID_PARAMS: i64 = -32602;
pub(super) const HEADER_MISMATCH: i64 = -32020;
pub(super) const UNSUPPORTED_VERSION: i64 = -32022;

/// An id of a request: text or a whole number, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

impl Id {
    pub(super) fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if text.len() <= ID_MAX_BYTES => Some(Self::Text(text.clone())),
            Value::Number(number) => number.as_i64().map(Self::Number),
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
}

/// A message that can be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Request(Request),
    Notification {
        method: String,
        params: Map<String, Value>,
    },
    /// An answer. This server asks nothing, so it is for nobody.
    Response,
}

/// Why the protocol, not a tool, refuses a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProtocolError {
    pub(super) code: i64,
    pub(super) message: String,
    /// Boxed, as few errors have any.
    pub(super) data: Option<Box<Value>>,
}

/// A message that cannot be taken, with its id where it has one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unreadable {
    pub(super) id: Option<Id>,
    pub(super) error: ProtocolError,
}

impl ProtocolError {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// Reads one message.
///
/// # Errors
/// What is wrong with it. Parameters that are no object are [`INVALID_PARAMS`], all else of the form is [`INVALID_REQUEST`].
pub(super) fn read(bytes: &[u8]) -> Result<Message, Unreadable> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(too_long());
    }
    // The parser goes 128 levels deep and no further, so that no message overflows the stack.
    let value: Value = serde_json::from_slice(bytes).map_err(|_| {
        let message = "the message is no JSON, is nested deeper than 128 levels, or is no UTF-8";
        Unreadable { id: None, error: ProtocolError::new(PARSE_ERROR, message) }
    })?;
    let Value::Object(mut object) = value else {
        let message = "a message is one JSON object; batches are no part of this protocol";
        return Err(Unreadable { id: None, error: ProtocolError::new(INVALID_REQUEST, message) });
    };
    let given = object.remove("id");
    let id = given.as_ref().and_then(Id::read);
    let invalid =
        |code, message: &str| Unreadable { id: id.clone(), error: ProtocolError::new(code, message) };
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(INVALID_REQUEST, "'jsonrpc' must be \"2.0\""));
    }
    let method = match object.remove("method") {
        None if object.contains_key("result") || object.contains_key("error") => {
            return Ok(Message::Response);
        }
        Some(Value::String(method)) if method.len() <= METHOD_MAX_BYTES => method,
        _ => return Err(invalid(INVALID_REQUEST, "'method' must be a text of at most 128 bytes")),
    };
    if given.is_some() && id.is_none() {
        return Err(invalid(INVALID_REQUEST, "'id' must be a whole number, or a text of at most 256 bytes"));
    }
    let params = match object.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(invalid(INVALID_PARAMS, "'params' must be an object")),
    };
    Ok(match id {
        Some(id) => Message::Request(Request { id, method, params }),
        None => Message::Notification { method, params },
    })
}

/// The refusal of a message that was not read to its end.
pub(super) fn too_long() -> Unreadable {
    let message = format!("the message is longer than {MESSAGE_MAX_BYTES} bytes");
    Unreadable { id: None, error: ProtocolError::new(INVALID_REQUEST, message) }
}

/// The answer to a request.
pub(super) fn response(id: &Id, outcome: Result<Value, ProtocolError>) -> Value {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id.to_json(), "result": result}),
        Err(error) => refusal(Some(id), error),
    }
}

/// A protocol error; without an id where there is none to be read.
pub(super) fn refusal(id: Option<&Id>, error: ProtocolError) -> Value {
    let mut body = Map::new();
    body.insert("code".to_owned(), error.code.into());
    body.insert("message".to_owned(), error.message.into());
    if let Some(data) = error.data {
        body.insert("data".to_owned(), *data);
    }
    let mut whole = Map::new();
    whole.insert("jsonrpc".to_owned(), "2.0".into());
    if let Some(id) = id {
        whole.insert("id".to_owned(), id.to_json());
    }
    whole.insert("error".to_owned(), Value::Object(body));
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Option<Id>, i64) {
        let unreadable = read(text.as_bytes()).unwrap_err();
        (unreadable.id, unreadable.error.code)
    }

    #[test]
    fn requests_notifications_and_answers_are_told_apart() {
        let request = read(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).unwrap();
        let wanted = Request { id: Id::Text("a".to_owned()), method: "ping".to_owned(), params: Map::new() };
        assert_eq!(request, Message::Request(wanted));
        let notification = read(br#"{"jsonrpc":"2.0","method":"x","params":{"a":1}}"#).unwrap();
        assert!(matches!(notification, Message::Notification { params, .. } if params["a"] == 1));
        for answer in [r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, r#"{"jsonrpc":"2.0","error":{}}"#] {
            assert_eq!(read(answer.as_bytes()), Ok(Message::Response));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_id_where_there_is_one() {
        let (none, seven) = (None, Some(Id::Number(7)));
        assert_eq!(refused("junk"), (none.clone(), PARSE_ERROR));
        assert_eq!(refused("[]"), (none.clone(), INVALID_REQUEST));
        assert_eq!(refused(r#"{"id":7,"method":"x"}"#), (seven.clone(), INVALID_REQUEST));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":7}"#), (seven.clone(), INVALID_REQUEST));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":7,"method":5}"#), (seven.clone(), INVALID_REQUEST));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":7,"method":"x","params":[]}"#), (seven, INVALID_PARAMS));
        for id in ["null", "1.5", "{}", "true", "99999999999999999999"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#);
            assert_eq!(refused(&text), (none.clone(), INVALID_REQUEST), "{id}");
        }
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#, "i".repeat(257));
        assert_eq!(refused(&long), (none, INVALID_REQUEST));
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}"#, "[".repeat(100_000));
        assert_eq!(refused(&deep).1, PARSE_ERROR);
        let long = vec![b' '; MESSAGE_MAX_BYTES + 1];
        assert_eq!(read(&long).unwrap_err(), too_long());
    }

    #[test]
    fn answers_carry_the_id_as_it_was_given() {
        let done = response(&Id::Number(-1), Ok(json!({})));
        assert_eq!(done.to_string(), r#"{"jsonrpc":"2.0","id":-1,"result":{}}"#);
        let refused = refusal(None, ProtocolError::new(PARSE_ERROR, "no"));
        assert_eq!(refused.to_string(), r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#);
    }
}
