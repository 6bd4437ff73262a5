//! What is wrong with a schema, or with a value by its schema.

use std::fmt;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::manifest::text::shown;

/// The longest message that is kept of the engine.
const MESSAGE_MAX_BYTES: usize = 400;

/// Why a schema is not taken.
///
/// ```
/// use ringfence::schema::CompiledSchema;
///
/// let error = CompiledSchema::compile(&serde_json::json!({ "$ref": "https://example.com/s.json" })).unwrap_err();
/// assert_eq!(error.pointer(), "/$ref");
/// assert!(error.to_string().contains("another document"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    pointer: String,
    message: String,
}

impl SchemaError {
    pub(super) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }

    /// The place in the schema, as a JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl std::error::Error for SchemaError {}

impl From<SchemaError> for crate::Error {
    /// `invalid_manifest`: schemas come from manifests.
    fn from(error: SchemaError) -> Self {
        let message = format!("a schema cannot be used: {} at '{}'", error.message, error.pointer);
        Self::new(ringfence_api::ErrorCode::InvalidManifest, message)
            .with_hint("`ringfence check PATH` names the place in the manifest")
    }
}

/// One thing that is wrong with a value.
///
/// ```
/// let fault = ringfence::schema::SchemaFault {
///     pointer: "/port".to_owned(),
///     rule: "maximum".to_owned(),
///     message: "a number is greater than the maximum of 65535".to_owned(),
/// };
/// assert_eq!(fault.to_string(), "/port: a number is greater than the maximum of 65535 (maximum)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// The place in the value, as a JSON pointer; empty for the value itself.
    pub pointer: String,
    /// The keyword of the schema that it breaks, such as `required`; `too-complex`, or `schema` where none can be
    /// named.
    pub rule: String,
    /// What is wrong. It holds the shape of the value and names of members, never the value.
    pub message: String,
}

impl SchemaFault {
    pub(super) fn too_complex() -> Self {
        Self {
            pointer: String::new(),
            rule: "too-complex".to_owned(),
            message: "the value is too large for its schema to be judged in bounded time".to_owned(),
        }
    }

    /// Something is wrong in a value that is too large for its places to be gathered.
    pub(super) fn unplaced() -> Self {
        Self {
            pointer: String::new(),
            rule: "schema".to_owned(),
            message: "it breaks its schema, and is too large for every place to be named".to_owned(),
        }
    }
}

impl fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the value" } else { &self.pointer };
        write!(f, "{place}: {} ({})", self.message, self.rule)
    }
}

/// The engine's error about a schema: it is judged by the schema of schemas, so its value is a piece of the schema.
pub(super) fn of_schema(error: &ValidationError<'_>) -> SchemaError {
    let pointer = error.instance_path().as_str().to_owned();
    SchemaError::new(pointer, format!("not a JSON Schema (2020-12): {}", bounded(&error.to_string())))
}

/// The engine's error about a value.
pub(super) fn of_value(error: &ValidationError<'_>) -> SchemaFault {
    let shape = shape(error.instance());
    let message = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let names: Vec<String> =
                unexpected.iter().take(5).map(|name| format!("'{}'", shown(name))).collect();
            format!("has members that are not allowed: {}", names.join(", "))
        }
        ValidationErrorKind::Required { property } => {
            format!("the member '{}' is missing", shown(property.as_str().unwrap_or_default()))
        }
        ValidationErrorKind::Custom { keyword, .. } if keyword == super::unique::KEYWORD => {
            format!("{shape} has the same element twice")
        }
        _ => bounded(&error.masked_with(shape).to_string()),
    };
    SchemaFault {
        pointer: shown_pointer(error.instance_path().as_str()),
        rule: error.kind().keyword().to_owned(),
        message,
    }
}

/// A pointer has names of members in it, which are as hostile as values.
fn shown_pointer(pointer: &str) -> String {
    pointer.split('/').map(shown).collect::<Vec<_>>().join("/")
}

/// What kind of value it is, without the value.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) if number.is_f64() => "a number".to_owned(),
        Value::Number(_) => "a whole number".to_owned(),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(elements) => format!("a list of {}", elements.len()),
        Value::Object(members) => format!("an object of {} members", members.len()),
    }
}

fn bounded(message: &str) -> String {
    let end = message.floor_char_boundary(MESSAGE_MAX_BYTES);
    message.get(..end).unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
