//! The secrets of one plugin's configuration, hidden in what the plugin writes and says.
//!
//! The patterns for well-known secrets do not know a password that an administrator has chosen; its configuration does. It
//! guards against carelessness, not against a plugin that wants to get a secret out: that one can encode it.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::schema::CompiledSchema;

/// What stands in the place of a secret.
const HIDDEN: &str = "[redacted:config]";
/// Shorter values, in bytes, are too much like ordinary words: hiding them would make every log unreadable.
const SECRET_MIN_BYTES: usize = 6;
/// The most values that are looked for. A configuration has a handful.
const SECRETS_MAX: usize = 256;

/// The values that the schema marks `writeOnly`.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// The longest first, so that one that begins another leaves nothing of it.
    words: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("count", &self.words.len()).finish()
    }
}

impl Secrets {
    /// Those of a configuration. Without a schema there is none.
    pub(crate) fn of(schema: Option<&CompiledSchema>, config: &Value) -> Self {
        let Some(schema) = schema else { return Self::default() };
        let mut found = BTreeSet::new();
        differing(&schema.redact(config), config, &mut found);
        let mut words: Vec<String> = found.into_iter().collect();
        words.sort_by_key(|word| Reverse(word.len()));
        words.truncate(SECRETS_MAX);
        Self { words }
    }

    /// The text without them.
    pub(crate) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for word in &self.words {
            if shown.contains(word.as_str()) {
                shown = Cow::Owned(shown.replace(word.as_str(), HIDDEN));
            }
        }
        shown
    }
}

/// What is not the same in the form that may be shown is a secret.
fn differing(shown: &Value, whole: &Value, found: &mut BTreeSet<String>) {
    match (shown, whole) {
        (Value::Object(shown), Value::Object(whole)) => {
            for (name, value) in whole {
                differing(shown.get(name).unwrap_or(&Value::Null), value, found);
            }
        }
        (Value::Array(shown), Value::Array(whole)) => {
            for (shown, value) in shown.iter().zip(whole) {
                differing(shown, value, found);
            }
        }
        (shown, whole) if shown != whole => gather(whole, found),
        _ => {}
    }
}

fn gather(secret: &Value, found: &mut BTreeSet<String>) {
    match secret {
        Value::Object(members) => members.values().for_each(|value| gather(value, found)),
        Value::Array(elements) => elements.iter().for_each(|value| gather(value, found)),
        Value::String(text) => {
            // A key of several lines comes line by line in a log; and JSON writes some letters in another way.
            let escaped = Value::from(text.as_str()).to_string();
            let forms = text.lines().chain([text.as_str(), escaped.trim_matches('"')]);
            found.extend(forms.filter(|form| form.len() >= SECRET_MIN_BYTES).map(str::to_owned));
        }
        Value::Number(number) => {
            found.extend(Some(number.to_string()).filter(|text| text.len() >= SECRET_MIN_BYTES));
        }
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secrets(config: &Value) -> Secrets {
        let schema = json!({"properties": {
            "key": {"writeOnly": true}, "deep": {"properties": {"token": {"writeOnly": true}}}
        }});
        Secrets::of(Some(&CompiledSchema::compile(&schema).unwrap()), config)
    }

    #[test]
    fn only_what_is_marked_is_hidden() {
        let secrets = secrets(&json!({"key": "hunter22", "deep": {"token": "abcdef-1"}, "open": "greeting"}));
        let text = "greeting with hunter22 and {\"token\":\"abcdef-1\"}";
        let hidden = "greeting with [redacted:config] and {\"token\":\"[redacted:config]\"}";
        assert_eq!(secrets.hide(text), hidden);
        assert!(matches!(secrets.hide("nothing of it"), Cow::Borrowed(_)));
        assert_eq!(Secrets::of(None, &json!({"key": "hunter22"})).hide("hunter22"), "hunter22");
    }

    #[test]
    fn whatever_form_it_takes() {
        let secrets = secrets(
            &json!({"key": ["one\"quote", 123_456_789, "first line\nsecond line", "one\"quote and more"]}),
        );
        for text in [
            "one\"quote",
            "one\\\"quote",
            "123456789",
            "second line",
            "first line\\nsecond line",
            "one\"quote and more",
        ] {
            assert_eq!(secrets.hide(text), HIDDEN, "{text}");
        }
        assert_eq!(format!("{secrets:?}"), "Secrets { count: 9 }");
    }

    #[test]
    fn short_values_are_left() {
        assert_eq!(secrets(&json!({"key": ["on", 1, true, null]})).hide("on 1 true"), "on 1 true");
    }
}
