//! What a record looks like as text: bounded, and without anything that moves a cursor or turns the writing around.

use ringfence_api::ErrorCode;
use serde_json::Value;

use super::AuditEvent;
use crate::Error;
use ringfence_api::text::is_hidden;

/// The longest text in a record, in bytes.
pub(super) const TEXT_MAX_BYTES: usize = 4_096;
/// The longest list in a record.
pub(super) const LIST_MAX: usize = 256;
/// The longest correlation id, in bytes.
pub(super) const CORRELATION_MAX_BYTES: usize = 128;
/// What is put where something was cut.
const CUT: &str = "[cut]";

/// The event's word, and the rest of it as one line of JSON.
pub(super) fn encode(event: &AuditEvent) -> Result<(String, String), Error> {
    let mut value = serde_json::to_value(event)
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot write an audit record").with_source(e))?;
    let word = value.as_object_mut().and_then(|members| members.shift_remove("event"));
    let word = word.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    bound(&mut value);
    Ok((word, escape(&value.to_string())))
}

fn bound(value: &mut Value) {
    match value {
        Value::String(text) => *text = cut(text, TEXT_MAX_BYTES),
        Value::Array(list) => {
            if list.len() > LIST_MAX {
                list.truncate(LIST_MAX);
                list.push(Value::from(CUT));
            }
            list.iter_mut().for_each(bound);
        }
        Value::Object(members) => members.values_mut().for_each(bound),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text, or its beginning with a mark.
pub(super) fn cut(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let mut end = max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", text.get(..end).unwrap_or_default())
}

/// A name that is shown: bounded, with every misleading character written as an escape.
pub(super) fn name(text: &str, max_bytes: usize) -> String {
    escape(&cut(text, max_bytes))
}

/// Writes what a terminal or a reader could be misled by as `\uXXXX`. In JSON such characters stand inside texts only,
/// so the document means the same afterwards.
pub(super) fn escape(json: &str) -> String {
    if json.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return json.to_owned();
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if character.is_control() || is_hidden(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}
