//! The host's messages as lines, written to the end of a buffer.

use std::io::Write as _;

use memchr::{memchr2, memchr2_iter};
use ringfence_api::Wire;
use ringfence_api::rpc::{PROTOCOL_VERSION, method};
use serde_json::value::RawValue;

use super::id::PluginId;
use crate::rpc::error::RpcError;

/// More than the members of any envelope of the host need, correlation id and method not counted: lengths are judged before
/// anything is written.
const ENVELOPE_BYTES: usize = 256;

/// A request as it is to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: &'a RawValue,
    pub(crate) correlation_id: &'a str,
    pub(crate) deadline_ms: Option<u64>,
}

impl Outgoing<'_> {
    /// At most so many bytes will be written.
    pub(crate) fn length_max(&self) -> usize {
        ENVELOPE_BYTES + self.params.get().len() + self.method.len() + 6 * self.correlation_id.len()
    }
}

pub(crate) fn append_request(to: &mut Vec<u8>, wire: Wire, id: u64, request: Outgoing<'_>) {
    to.reserve(request.length_max());
    open(to, wire);
    to.extend_from_slice(b"\"id\":");
    append_number(to, id);
    to.push(b',');
    append_method(to, wire, request);
}

pub(crate) fn append_notification(to: &mut Vec<u8>, wire: Wire, notification: Outgoing<'_>) {
    to.reserve(notification.length_max());
    open(to, wire);
    append_method(to, wire, notification);
}

pub(crate) fn append_cancel(to: &mut Vec<u8>, wire: Wire, id: u64, correlation_id: &str) {
    open(to, wire);
    to.extend_from_slice(b"\"method\":\"");
    to.extend_from_slice(method::CANCEL.as_bytes());
    to.extend_from_slice(b"\",\"params\":{\"id\":");
    append_number(to, id);
    to.push(b'}');
    close(to, wire, correlation_id, None);
}

/// An answer to the plugin. `None` as id: the request could not be read.
pub(crate) fn append_answer(
    to: &mut Vec<u8>,
    wire: Wire,
    id: Option<&PluginId>,
    outcome: Result<&RawValue, &RpcError>,
    correlation_id: &str,
) {
    open(to, wire);
    to.extend_from_slice(b"\"id\":");
    to.extend_from_slice(id.map_or("null", PluginId::as_json).as_bytes());
    match outcome {
        Ok(result) => {
            to.extend_from_slice(b",\"result\":");
            append_on_one_line(to, result.get());
        }
        Err(error) => {
            to.extend_from_slice(b",\"error\":");
            append_error(to, error);
        }
    }
    close(to, wire, correlation_id, None);
}

fn append_error(to: &mut Vec<u8>, error: &RpcError) {
    to.extend_from_slice(b"{\"code\":");
    append_signed(to, error.code);
    to.extend_from_slice(b",\"message\":");
    append_text(to, &error.message);
    if let Some(data) = &error.data {
        to.extend_from_slice(b",\"data\":");
        append_on_one_line(to, data.get());
    }
    to.push(b'}');
}

fn open(to: &mut Vec<u8>, wire: Wire) {
    match wire {
        Wire::JsonRpc => to.extend_from_slice(b"{\"jsonrpc\":\"2.0\","),
        Wire::Legacy => to.push(b'{'),
    }
}

fn append_method(to: &mut Vec<u8>, wire: Wire, what: Outgoing<'_>) {
    to.extend_from_slice(b"\"method\":");
    append_text(to, what.method);
    to.extend_from_slice(b",\"params\":");
    append_on_one_line(to, what.params.get());
    close(to, wire, what.correlation_id, what.deadline_ms);
}

fn close(to: &mut Vec<u8>, wire: Wire, correlation_id: &str, deadline_ms: Option<u64>) {
    if wire == Wire::JsonRpc {
        to.extend_from_slice(b",\"_meta\":{\"protocol_version\":\"");
        to.extend_from_slice(PROTOCOL_VERSION.as_bytes());
        to.extend_from_slice(b"\",\"correlation_id\":");
        append_text(to, correlation_id);
        if let Some(deadline_ms) = deadline_ms {
            to.extend_from_slice(b",\"deadline_ms\":");
            append_number(to, deadline_ms);
        }
        to.push(b'}');
    }
    to.extend_from_slice(b"}\n");
}

/// JSON text as it is, but on one line: in JSON, line ends can only stand between tokens, where a blank means the same.
fn append_on_one_line(to: &mut Vec<u8>, json: &str) {
    let start = to.len();
    to.extend_from_slice(json.as_bytes());
    let Some(first) = memchr2(b'\n', b'\r', json.as_bytes()) else { return };
    for at in memchr2_iter(b'\n', b'\r', json.as_bytes().get(first..).unwrap_or_default()) {
        if let Some(byte) = to.get_mut(start + first + at) {
            *byte = b' ';
        }
    }
}

/// A text in quotes; what has to be escaped is.
fn append_text(to: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        to.push(b'"');
        to.extend_from_slice(text.as_bytes());
        to.push(b'"');
    } else {
        to.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

fn append_number(to: &mut Vec<u8>, mut number: u64) {
    // The greatest u64 has 20 digits.
    let mut digits = [0u8; 20];
    let mut length = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    to.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

fn append_signed(to: &mut Vec<u8>, number: i64) {
    // Writing into memory does not fail.
    drop(write!(to, "{number}"));
}
