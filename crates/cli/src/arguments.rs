//! What is given to a tool or a configuration: JSON, `@FILE`, `-`, or `key=value` words.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ringfence::Error;
use ringfence_api::ErrorCode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The most that is read from a file or from standard input: the longest message of the protocol, in bytes.
pub(crate) const INPUT_MAX_BYTES: u64 = 4 << 20;
/// The longest path or text of the user's that a message repeats, in characters.
const ECHO_MAX_CHARS: usize = 60;

/// Arguments as they were given.
#[derive(Debug)]
pub(crate) enum Given {
    /// No word at all.
    Nothing,
    /// A JSON object, as it was written.
    Json(Box<RawValue>),
    /// `key=value` words, in their order.
    Pairs(Vec<Pair>),
}

/// One `key=value`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    key: String,
    value: PairValue,
}

/// What follows the sign.
#[derive(Debug, PartialEq, Eq)]
enum PairValue {
    /// `=`: JSON if it is some, else text.
    Either(String),
    /// `:=`: JSON.
    Json(String),
    /// `==`: text.
    Text(String),
}

/// Reads the words. Standard input is read only for `-`.
///
/// # Errors
/// `usage` for words that are none of the forms, JSON with a mistake (line and column are said) or no object, and keys that
/// stand twice; `path_not_found`, `io` and `too_large` for a file.
pub(crate) fn read(words: &[OsString]) -> Result<Given, Error> {
    match whole(words)? {
        None if words.is_empty() => Ok(Given::Nothing),
        None => pairs(words).map(Given::Pairs),
        Some((place, bytes)) => object(&bytes, &place).map(Given::Json),
    }
}

/// The same where any JSON value will do; `None` when there is no word.
///
/// # Errors
/// As [`read`], but for a value that is no object.
pub(crate) fn read_value(words: &[OsString]) -> Result<Option<Value>, Error> {
    let Some((place, bytes)) = whole(words)? else {
        let members = if words.is_empty() { None } else { Some(members(pairs(words)?, None)?) };
        return Ok(members.map(Value::Object));
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|cause| not_json(&place, &cause))
}

/// The text that is given as a whole and where it stands, unless it is `key=value` words.
fn whole(words: &[OsString]) -> Result<Option<(String, Vec<u8>)>, Error> {
    let Some((first, others)) = words.split_first() else { return Ok(None) };
    let whole = match first.as_bytes() {
        b"-" => Some(("standard input".to_owned(), bounded(io::stdin().lock(), "standard input")?)),
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            Some((format!("'{}'", path.display()), file(path)?))
        }
        [b'{' | b'[' | b'"', ..] => Some(("the argument".to_owned(), first.as_bytes().to_vec())),
        bytes if !bytes.contains(&b'=') && serde_json::from_slice::<Value>(bytes).is_ok() => {
            Some(("the argument".to_owned(), bytes.to_vec()))
        }
        _ => None,
    };
    match whole {
        Some(_) if !others.is_empty() => Err(usage(format!("more words after '{}'", echo(first)))
            .with_hint("give one JSON object, one @FILE, or -; or any number of key=value")),
        whole => Ok(whole),
    }
}

impl Given {
    /// Whether some of it can be text or something else, depending on a schema.
    pub(crate) fn depends_on_schema(&self) -> bool {
        let Self::Pairs(pairs) = self else { return false };
        pairs.iter().any(|pair| matches!(&pair.value, PairValue::Either(text) if parsed(text).is_some()))
    }

    /// The JSON object. Where `schema` says that a member is text, a value such as `5` stays text.
    ///
    /// # Errors
    /// `usage` when `key:=JSON` has no JSON.
    pub(crate) fn into_json(self, schema: Option<&Value>) -> Result<Box<RawValue>, Error> {
        let text = match self {
            Self::Nothing => "{}".to_owned(),
            Self::Json(raw) => return Ok(raw),
            Self::Pairs(pairs) => Value::Object(members(pairs, schema)?).to_string(),
        };
        RawValue::from_string(text)
            .map_err(|cause| Error::new(ErrorCode::Internal, "cannot write the arguments").with_source(cause))
    }
}

/// The members that the words make.
fn members(pairs: Vec<Pair>, schema: Option<&Value>) -> Result<Map<String, Value>, Error> {
    let mut members = Map::new();
    for Pair { key, value } in pairs {
        let value = match value {
            PairValue::Text(text) => Value::String(text),
            PairValue::Json(text) => {
                let place = format!("{key}:=");
                serde_json::from_str(&text).map_err(|cause| not_json(&place, &cause))?
            }
            PairValue::Either(text) => match parsed(&text) {
                Some(value) if !wants_text(schema, &key, &value) => value,
                _ => Value::String(text),
            },
        };
        members.insert(key, value);
    }
    Ok(members)
}

/// A value that means more than its text. A whole number that a computer would round stays text.
fn parsed(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    let rounded = value.as_number().is_some_and(|number| number.is_f64())
        && text.trim().trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    (!rounded).then_some(value)
}

/// Whether the schema takes text here and not what the text would be as JSON.
fn wants_text(schema: Option<&Value>, key: &str, value: &Value) -> bool {
    let Some(member) = schema.and_then(|schema| schema.get("properties")?.get(key)) else { return false };
    let types: Vec<&str> = match member.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => {
            let choices = member.get("enum").and_then(Value::as_array);
            return choices
                .is_some_and(|choices| !choices.contains(value) && choices.iter().all(Value::is_string));
        }
    };
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    types.contains(&"string") && !types.iter().any(|name| is(name))
}

fn pairs(words: &[OsString]) -> Result<Vec<Pair>, Error> {
    let mut seen = BTreeSet::new();
    let mut pairs = Vec::new();
    for word in words {
        let Some(text) = word.to_str() else {
            return Err(
                usage(format!("'{}' is not UTF-8", echo(word))).with_hint("give it as JSON with escapes")
            );
        };
        let pair = pair(text)?;
        if !seen.insert(pair.key.clone()) {
            return Err(usage(format!("'{}' is given twice", pair.key))
                .with_hint(format!("a list is written as {}:='[1, 2]'", pair.key)));
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

fn pair(word: &str) -> Result<Pair, Error> {
    let hint = "write key=value, key==text, key:=JSON, one JSON object, @FILE, or - for standard input";
    let Some((key, value)) = word.split_once('=') else {
        return Err(
            usage(format!("'{}' is neither JSON nor key=value", echo(OsStr::new(word)))).with_hint(hint)
        );
    };
    let (key, value) = match (key.strip_suffix(':'), value.strip_prefix('=')) {
        (Some(key), _) => (key, PairValue::Json(value.to_owned())),
        (None, Some(text)) => (key, PairValue::Text(text.to_owned())),
        (None, None) => (key, PairValue::Either(value.to_owned())),
    };
    if key.is_empty() {
        return Err(usage(format!("'{}' has no key before the '='", echo(OsStr::new(word)))).with_hint(hint));
    }
    Ok(Pair { key: key.to_owned(), value })
}

fn object(bytes: &[u8], place: &str) -> Result<Box<RawValue>, Error> {
    let raw: Box<RawValue> = serde_json::from_slice(bytes).map_err(|cause| {
        // Reading it as a value says better what is wrong.
        let better = serde_json::from_slice::<Value>(bytes).err();
        not_json(place, &better.unwrap_or(cause))
    })?;
    if raw.get().starts_with('{') {
        return Ok(raw);
    }
    Err(usage(format!("{place} must be a JSON object, such as {{\"text\": \"hello\"}}"))
        .with_hint("or write key=value words"))
}

fn not_json(place: &str, cause: &serde_json::Error) -> Error {
    let said = cause.to_string();
    let what = said.split(" at line ").next().unwrap_or_default();
    usage(format!("{place} is no JSON: {what} (line {}, column {})", cause.line(), cause.column()))
        .with_hint("names and texts stand in double quotes; put the whole into single quotes for the shell")
}

fn file(path: &Path) -> Result<Vec<u8>, Error> {
    let place = format!("'{}'", path.display());
    let failed = |cause: io::Error| {
        let code = match cause.kind() {
            io::ErrorKind::NotFound => ErrorCode::PathNotFound,
            _ => ErrorCode::Io,
        };
        Error::new(code, format!("cannot read {place}")).with_source(cause)
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(usage(format!("{place} is a directory")).with_hint("name a file with one JSON object"));
    }
    bounded(file, &place)
}

fn bounded(reader: impl Read, place: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    reader
        .take(INPUT_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| Error::new(ErrorCode::Io, format!("cannot read {place}")).with_source(cause))?;
    if bytes.len() as u64 > INPUT_MAX_BYTES {
        let message = format!("{place} has more than {} MiB", INPUT_MAX_BYTES >> 20);
        return Err(Error::new(ErrorCode::TooLarge, message)
            .with_hint("give the plugin a path that it may read, and its grant, instead of the content"));
    }
    Ok(bytes)
}

fn usage(message: String) -> Error {
    Error::new(ErrorCode::Usage, message)
}

/// What the user typed, short.
fn echo(word: &OsStr) -> String {
    crate::text::cut(&crate::text::one_line(&word.to_string_lossy()), ECHO_MAX_CHARS)
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
