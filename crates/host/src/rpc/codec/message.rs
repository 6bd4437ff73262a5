//! What a line says: a request, a notification or an answer.

use std::borrow::Cow;

use ringfence_api::Wire;
use ringfence_api::rpc::RpcErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::guess::guess_answer;
use super::id::{PluginId, read_host_id};
use super::scan::{self, Refusal};
use crate::rpc::fault::FaultKind;

/// The longest name of a method.
const METHOD_MAX_BYTES: usize = 128;
/// What comes first in the framing of the Language Server Protocol.
const HEADER: &[u8] = b"content-length:";

/// One message from a plugin. It borrows from its line.
///
/// ```
/// use ringfence::rpc::codec::{Message, parse};
/// use ringfence_api::Wire;
///
/// let line = br#"{"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"ready"}}"#;
/// let Ok(Message::Notification(note)) = parse(line, Wire::JsonRpc) else { panic!("no id, so no request") };
/// assert_eq!(note.method, "log");
/// ```
#[derive(Debug)]
pub enum Message<'a> {
    /// The plugin asks.
    Request(Request<'a>),
    /// The plugin tells.
    Notification(Notification<'a>),
    /// The plugin answers.
    Answer(Answer<'a>),
}

/// A request of a plugin.
///
/// ```
/// use ringfence::rpc::codec::{Message, parse};
/// use ringfence_api::Wire;
///
/// let line = br#"{"jsonrpc":"2.0","id":"a","method":"get_config","_meta":{"deadline_ms":500}}"#;
/// let Ok(Message::Request(request)) = parse(line, Wire::JsonRpc) else { panic!("it has an id") };
/// assert_eq!((request.id.as_json(), request.deadline_ms), ("\"a\"", Some(500)));
/// ```
#[derive(Debug)]
pub struct Request<'a> {
    /// Its id, to be repeated in the answer.
    pub id: PluginId,
    /// The method: 1 to 128 bytes, no control characters.
    pub method: Cow<'a, str>,
    /// The parameters: an object or an array.
    pub params: Option<&'a RawValue>,
    /// Which work it claims to belong to.
    pub correlation_id: Option<Cow<'a, str>>,
    /// How long the plugin will wait, in milliseconds.
    pub deadline_ms: Option<u64>,
}

/// A notification of a plugin.
///
/// ```
/// use ringfence::rpc::codec::{Message, parse};
/// use ringfence_api::Wire;
///
/// let Ok(Message::Notification(note)) = parse(br#"{"method":"log"}"#, Wire::Legacy) else { panic!("no id") };
/// assert!(note.params.is_none());
/// ```
#[derive(Debug)]
pub struct Notification<'a> {
    /// The method: 1 to 128 bytes, no control characters.
    pub method: Cow<'a, str>,
    /// The parameters: an object or an array.
    pub params: Option<&'a RawValue>,
}

/// An answer of a plugin.
///
/// ```
/// use ringfence::rpc::codec::{Message, parse};
/// use ringfence_api::Wire;
///
/// let Ok(Message::Answer(answer)) = parse(br#"{"id":3,"error":"no such tool"}"#, Wire::Legacy) else { panic!() };
/// assert_eq!(answer.id, Some(3));
/// assert!(answer.outcome.is_err_and(|error| error.message == "no such tool"));
/// ```
#[derive(Debug)]
pub struct Answer<'a> {
    /// To which request; `None` when the id is none of the host's, such as `null` or a text.
    pub id: Option<u64>,
    /// What came of it.
    pub outcome: Result<&'a RawValue, ErrorObject<'a>>,
}

/// The error in an answer.
///
/// ```
/// use ringfence::rpc::codec::{Message, parse};
/// use ringfence_api::Wire;
///
/// let line = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-31002,"message":"cancelled"}}"#;
/// let Ok(Message::Answer(answer)) = parse(line, Wire::JsonRpc) else { panic!("it is an answer") };
/// assert!(answer.outcome.is_err_and(|error| error.code == -31002));
/// ```
#[derive(Debug, Deserialize)]
pub struct ErrorObject<'a> {
    /// The number.
    pub code: i64,
    /// For people, as long as the plugin likes.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// More, for programs.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
}

/// A line that is no message.
///
/// ```
/// use ringfence::rpc::FaultKind;
/// use ringfence::rpc::codec::parse;
/// use ringfence_api::Wire;
///
/// let bad = parse(br#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, Wire::JsonRpc).unwrap_err();
/// assert_eq!((bad.kind, bad.answers), (FaultKind::ResultAndError, Some(1)));
/// ```
#[derive(Debug)]
pub struct BadLine {
    /// What is wrong with it.
    pub kind: FaultKind,
    /// The request of the host that it seems to answer: that one will get no better answer.
    pub answers: Option<u64>,
    /// The request of the plugin that it seems to be.
    pub asks: Option<PluginId>,
}

impl From<FaultKind> for BadLine {
    fn from(kind: FaultKind) -> Self {
        Self { kind, answers: None, asks: None }
    }
}

/// Reads one line, without its end.
///
/// # Errors
/// [`BadLine`] when it is no message; `FaultKind::Blank` when nothing stands in it.
pub fn parse(line: &[u8], wire: Wire) -> Result<Message<'_>, BadLine> {
    let text = readable(line)?;
    scan::check(line, 0).map_err(|refusal| {
        let kind = match refusal {
            Refusal::TooDeep => FaultKind::TooDeep,
            Refusal::LoneSurrogate => FaultKind::LoneSurrogate,
        };
        BadLine { answers: guess_answer(line), ..kind.into() }
    })?;
    let envelope = Envelope::read(text).map_err(|error| not_an_envelope(text, &error))?;
    match understand(envelope, wire) {
        Ok(message) => Ok(message),
        Err(kind) => Err(blame(kind, envelope)),
    }
}

/// The line as text, if it can be JSON at all.
fn readable(line: &[u8]) -> Result<&str, FaultKind> {
    if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
        return Err(FaultKind::Blank);
    }
    if line.starts_with(b"\xef\xbb\xbf") {
        return Err(FaultKind::ByteOrderMark);
    }
    let is_message = line.trim_ascii_start().starts_with(b"{");
    if !is_message && line.get(..HEADER.len()).is_some_and(|start| start.eq_ignore_ascii_case(HEADER)) {
        return Err(FaultKind::HeaderFraming);
    }
    std::str::from_utf8(line).map_err(|_| FaultKind::NotUtf8)
}

/// A line that has no envelope: noise, a broken message, or JSON of another kind.
fn not_an_envelope(text: &str, error: &serde_json::Error) -> FaultKind {
    if text.contains('\0') {
        return FaultKind::Nul;
    }
    match error.classify() {
        serde_json::error::Category::Data if text.trim_start().starts_with('[') => FaultKind::Batch,
        serde_json::error::Category::Data => FaultKind::NotAnObject,
        _ => FaultKind::NotJson,
    }
}

/// Whom a message that breaks the rules concerns.
fn blame(kind: FaultKind, envelope: Envelope<'_>) -> BadLine {
    let mut bad = BadLine::from(kind);
    // Which of two ids is meant, nobody knows.
    if let Some(id) = envelope.id.filter(|_| envelope.duplicate != Some("id")) {
        if envelope.method.is_some() {
            bad.asks = PluginId::read(id).ok();
        } else {
            bad.answers = read_host_id(id);
        }
    }
    bad
}

fn understand(envelope: Envelope<'_>, wire: Wire) -> Result<Message<'_>, FaultKind> {
    if envelope.duplicate.is_some() {
        return Err(FaultKind::DuplicateMember);
    }
    if wire == Wire::JsonRpc && envelope.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Err(FaultKind::Version);
    }
    match envelope.method {
        Some(name) => ask(name, envelope, wire),
        None => answer(envelope, wire).map(Message::Answer),
    }
}

fn ask<'a>(name: &'a RawValue, envelope: Envelope<'a>, wire: Wire) -> Result<Message<'a>, FaultKind> {
    if envelope.result.is_some() || envelope.error.is_some() {
        return Err(FaultKind::RequestAndAnswer);
    }
    let method = text(name).ok_or(FaultKind::Method)?;
    let fits = (1..=METHOD_MAX_BYTES).contains(&method.len()) && !method.chars().any(char::is_control);
    if !fits {
        return Err(FaultKind::Method);
    }
    let params = envelope.params.filter(|params| wire == Wire::JsonRpc || params.get() != "null");
    if params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
        return Err(FaultKind::Params);
    }
    let id = envelope.id.filter(|id| wire == Wire::JsonRpc || id.get() != "null");
    let Some(id) = id else { return Ok(Message::Notification(Notification { method, params })) };
    let id = PluginId::read(id).map_err(|_| FaultKind::Id)?;
    let meta = match envelope.meta {
        Some(meta) => object(meta).ok_or(FaultKind::Meta)?,
        None => Meta::default(),
    };
    let Meta { correlation_id, deadline_ms } = meta;
    Ok(Message::Request(Request { id, method, params, correlation_id, deadline_ms }))
}

/// What stands in `_meta` of a plugin's request. Its version was agreed on at the start.
#[derive(Default, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(default)]
    deadline_ms: Option<u64>,
}

fn answer(envelope: Envelope<'_>, wire: Wire) -> Result<Answer<'_>, FaultKind> {
    let id = envelope.id.ok_or(FaultKind::NoMethodAndNoId)?;
    // Older plugins write both members and set one of them to null.
    let error = envelope.error.filter(|error| wire == Wire::JsonRpc || error.get() != "null");
    let result =
        envelope.result.filter(|result| wire == Wire::JsonRpc || error.is_none() || result.get() != "null");
    let outcome = match (result, error) {
        (Some(result), None) => Ok(result),
        (None, Some(error)) => Err(read_error(error, wire)?),
        (Some(_), Some(_)) => return Err(FaultKind::ResultAndError),
        (None, None) => return Err(FaultKind::NoResultAndNoError),
    };
    Ok(Answer { id: read_host_id(id), outcome })
}

fn read_error(error: &RawValue, wire: Wire) -> Result<ErrorObject<'_>, FaultKind> {
    if wire == Wire::Legacy && error.get().starts_with('"') {
        let message = text(error).ok_or(FaultKind::ErrorObject)?;
        return Ok(ErrorObject { code: RpcErrorCode::PluginFailed.number(), message, data: None });
    }
    object(error).ok_or(FaultKind::ErrorObject)
}

/// An object as a type. An array would do for the derived readers too, member by member; here it does not.
pub(crate) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    raw.get().starts_with('{').then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// A JSON text, borrowed where nothing in it is escaped.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}
