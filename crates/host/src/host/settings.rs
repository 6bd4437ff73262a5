//! What is stored of a configuration when somebody writes it.
//!
//! Whoever writes has seen the configuration with its defaults and without its secrets. What is stored is what they decided:
//! a secret that they never saw stays what it was, and a default that they only saw stays a default.

use ringfence_api::ErrorCode;
use serde_json::{Map, Value};

use crate::Error;
use crate::lifecycle::with_defaults;
use crate::schema::{CompiledSchema, SECRET_MASK};

/// What is stored when the whole configuration is written as `given`.
///
/// A mask where a secret is hidden stands for that secret. A member that is not stored and is given as it is shown is a
/// default that nobody changed, and is not stored.
///
/// # Errors
/// `usage` for a mask with no secret behind it; `schema_violation` for defaults that cannot be filled in.
pub(crate) fn replaced(
    schema: Option<&CompiledSchema>,
    given: Value,
    stored: &Value,
) -> Result<Value, Error> {
    let Some(schema) = schema else { return Ok(given) };
    let shown = schema.redact(&with_defaults(Some(schema), stored)?);
    unmasked(schema, given, &shown, stored)
}

/// What is stored when only these members are written: the others stay as they are stored, secrets and defaults too.
///
/// # Errors
/// As for [`replaced`].
pub(crate) fn changed(
    schema: Option<&CompiledSchema>,
    changes: Value,
    stored: &Value,
) -> Result<Value, Error> {
    let mut whole = stored.as_object().cloned().unwrap_or_default();
    let changes = match schema {
        // Nothing is a default that nobody changed: these members were named.
        Some(schema) => unmasked(schema, changes, &schema.redact(stored), stored)?,
        None => changes,
    };
    if let Value::Object(changes) = changes {
        whole.extend(changes);
    }
    Ok(Value::Object(whole))
}

/// What is stored when a plugin hands its whole configuration back, which it knows with its secrets.
///
/// # Errors
/// `schema_violation` for defaults that cannot be filled in.
pub(crate) fn handed_back(
    schema: Option<&CompiledSchema>,
    given: Value,
    stored: &Value,
) -> Result<Value, Error> {
    let Some(schema) = schema else { return Ok(given) };
    let known = with_defaults(Some(schema), stored)?;
    // No text is a mask here.
    let hidden = without_masks(&given);
    settled(Unmasking { given, hidden: &hidden, shown: Some(&known), stored: Some(stored) })
}

fn unmasked(schema: &CompiledSchema, given: Value, shown: &Value, stored: &Value) -> Result<Value, Error> {
    // Where a mask is given in the place of a secret, whatever stands there is hidden: so a number shows which they are.
    let hidden = schema.redact(&without_masks(&given));
    settled(Unmasking { given, hidden: &hidden, shown: Some(shown), stored: Some(stored) })
}

fn settled(whole: Unmasking<'_>) -> Result<Value, Error> {
    Ok(whole.done(&mut String::new())?.unwrap_or_else(|| Value::Object(Map::new())))
}

/// The value with a number in the place of every text that is the mask.
fn without_masks(value: &Value) -> Value {
    match value {
        Value::String(text) if text == SECRET_MASK => Value::from(0),
        Value::Array(elements) => elements.iter().map(without_masks).collect(),
        Value::Object(members) => Value::Object(
            members.iter().map(|(name, member)| (name.clone(), without_masks(member))).collect(),
        ),
        other => other.clone(),
    }
}

fn is_mask(value: &Value) -> bool {
    value.as_str() == Some(SECRET_MASK)
}

/// One part of what is given, with the same part of the other forms.
struct Unmasking<'a> {
    given: Value,
    /// With its own secrets hidden.
    hidden: &'a Value,
    /// Of the configuration before, as it was shown.
    shown: Option<&'a Value>,
    /// Of the configuration before, as it is stored.
    stored: Option<&'a Value>,
}

impl Unmasking<'_> {
    /// What is stored for it; `None`: nothing, it stays a default. The depth of what is given was bounded when it was read.
    fn done(self, place: &mut String) -> Result<Option<Value>, Error> {
        let Self { given, hidden, shown, stored } = self;
        if is_mask(&given) && is_mask(hidden) {
            return match (stored, shown) {
                (Some(kept), _) => Ok(Some(kept.clone())),
                (None, Some(shown)) if is_mask(shown) => Ok(None),
                _ => Err(nothing_behind(place)),
            };
        }
        if stored.is_none() && shown == Some(&given) && !is_mask(hidden) {
            return Ok(None);
        }
        match given {
            Value::Object(members) => {
                let mut kept = Map::new();
                for (name, member) in members {
                    let length = place.len();
                    place.push('/');
                    place.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    let part = Unmasking {
                        given: member,
                        hidden: hidden.get(&name).unwrap_or(&Value::Null),
                        shown: shown.and_then(|shown| shown.get(&name)),
                        stored: stored.and_then(|stored| stored.get(&name)),
                    };
                    if let Some(value) = part.done(place)? {
                        kept.insert(name, value);
                    }
                    place.truncate(length);
                }
                Ok(Some(Value::Object(kept)))
            }
            Value::Array(elements) => elements_done(&elements, hidden, shown, stored, place).map(Some),
            other => Ok(Some(other)),
        }
    }
}

/// A list has no names: an element is the one that was shown just so, wherever it stands now, or the one in its place if it
/// alone was edited. A secret is never handed to another element.
fn elements_done(
    elements: &[Value],
    hidden: &Value,
    shown: Option<&Value>,
    stored: Option<&Value>,
    place: &mut String,
) -> Result<Value, Error> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (shown, stored) = (list(shown), list(stored));
    let edited = elements.iter().zip(&shown).filter(|(given, shown)| given != shown).count();
    let edited_in_place = elements.len() == shown.len() && edited == 1;
    let mut done = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        let hidden = hidden.get(index).unwrap_or(&Value::Null);
        let from = if shown.get(index) == Some(element) {
            Some(index)
        } else {
            only(&shown, element).or(edited_in_place.then_some(index))
        };
        let length = place.len();
        place.push_str(&format!("/{index}"));
        match from.filter(|from| *from < stored.len()) {
            Some(from) if shown.get(from) == Some(element) => done.extend(stored.get(from).cloned()),
            Some(from) => {
                let given = element.clone();
                let part = Unmasking { given, hidden, shown: shown.get(from), stored: stored.get(from) };
                done.extend(part.done(place)?);
            }
            None if has_mask(element, hidden) => return Err(nothing_behind(place)),
            // What is new is stored as it is given.
            None => done.push(element.clone()),
        }
        place.truncate(length);
    }
    Ok(Value::Array(done))
}

/// Where the one element of a list is that is equal to this.
fn only(list: &[Value], wanted: &Value) -> Option<usize> {
    let mut equal = list.iter().enumerate().filter(|(_, element)| *element == wanted).map(|(index, _)| index);
    equal.next().filter(|_| equal.next().is_none())
}

/// Whether a mask stands in the place of a secret somewhere in a value.
fn has_mask(given: &Value, hidden: &Value) -> bool {
    match (given, hidden) {
        (given, hidden) if is_mask(given) => is_mask(hidden),
        (Value::Array(given), Value::Array(hidden)) => given.iter().zip(hidden).any(|(a, b)| has_mask(a, b)),
        (Value::Object(given), Value::Object(hidden)) => {
            given.iter().any(|(name, value)| hidden.get(name).is_some_and(|hidden| has_mask(value, hidden)))
        }
        _ => false,
    }
}

fn nothing_behind(place: &str) -> Error {
    let place = crate::consent::shown(place);
    Error::new(ErrorCode::Usage, format!("'{SECRET_MASK}' at '{place}' stands for no secret that is stored"))
        .with_hint("write the secret itself there, or leave it out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> CompiledSchema {
        CompiledSchema::compile(&json!({
            "type": "object",
            "$defs": { "secret": { "type": "string", "writeOnly": true } },
            "properties": {
                "token": { "$ref": "#/$defs/secret" },
                "name": { "type": "string", "default": "nobody" },
                "server": {
                    "type": "object", "default": {},
                    "properties": { "port": { "default": 80 }, "key": { "$ref": "#/$defs/secret" }, "host": {} }
                },
                "users": { "items": { "properties": {
                    "user": {}, "password": { "$ref": "#/$defs/secret" }, "role": { "default": "reader" }
                } } },
                "mask": { "type": "string" },
                "preset": { "writeOnly": true, "default": "factory" }
            },
            "patternProperties": { "^key_": { "$ref": "#/$defs/secret" }, "^group_": { "additionalProperties": { "$ref": "#/$defs/secret" } } }
        }))
        .unwrap()
    }

    fn stored() -> Value {
        json!({
            "token": "s1", "server": { "key": "s2" }, "key_a": "s3", "group_x": { "one": "s4", "two": "s5" },
            "users": [{ "user": "ada", "password": "pa" }, { "user": "bob", "password": "pb" }]
        })
    }

    fn shown(stored: &Value) -> Value {
        schema().redact(&schema().defaults(stored).unwrap())
    }

    fn change(changes: Value) -> Value {
        changed(Some(&schema()), changes, &stored()).unwrap()
    }

    fn replace(given: Value) -> Result<Value, Error> {
        replaced(Some(&schema()), given, &stored())
    }

    #[test]
    fn one_member_that_is_set_is_all_that_changes() {
        let mut expected = stored();
        expected["mask"] = json!("x");
        assert_eq!(change(json!({ "mask": "x" })), expected);
        // A default that is named is decided, and a secret that is given is the new one.
        expected = stored();
        expected["name"] = json!("nobody");
        expected["token"] = json!("new");
        assert_eq!(change(json!({ "name": "nobody", "token": "new" })), expected);
        expected = stored();
        expected["server"] = json!({ "host": "h", "key": "s2" });
        assert_eq!(change(json!({ "server": { "host": "h", "key": "***" }, "token": "***" })), expected);
    }

    #[test]
    fn what_is_written_back_as_it_was_shown_is_what_was_stored() {
        let shown = shown(&stored());
        assert_eq!(shown["server"], json!({ "key": "***", "port": 80 }));
        assert_eq!(shown["group_x"], json!({ "one": "***", "two": "***" }));
        assert_eq!(
            (&shown["key_a"], &shown["preset"], &shown["name"]),
            (&json!("***"), &json!("***"), &json!("nobody"))
        );
        let mut again = replace(shown).unwrap();
        // Elements of a list that hold a secret are known again; their defaults stay defaults.
        again["users"].as_array().unwrap().iter().for_each(|user| assert!(user["role"].is_null(), "{user}"));
        assert_eq!(again, stored());
        again["name"] = json!("ada");
        let mut edited = super::tests::shown(&again);
        edited["server"]["port"] = json!(81);
        edited["mask"] = json!("***");
        again["server"]["port"] = json!(81);
        again["mask"] = json!("***");
        assert_eq!(
            replaced(Some(&schema()), edited, &{
                let mut before = stored();
                before["name"] = json!("ada");
                before
            })
            .unwrap(),
            again
        );
    }

    #[test]
    fn a_plugin_that_hands_back_what_it_was_told_changes_nothing() {
        let mut told = schema().defaults(&stored()).unwrap();
        assert_eq!(handed_back(Some(&schema()), told.clone(), &stored()).unwrap(), stored());
        told["mask"] = json!("***");
        told["server"]["port"] = json!(81);
        let mut expected = stored();
        expected["mask"] = json!("***");
        expected["server"]["port"] = json!(81);
        assert_eq!(handed_back(Some(&schema()), told, &stored()).unwrap(), expected);
    }

    #[test]
    fn what_is_left_out_of_the_whole_is_gone() {
        assert_eq!(replace(json!({ "token": "***" })).unwrap(), json!({ "token": "s1" }));
        assert_eq!(
            replace(json!({ "group_x": { "two": "***" } })).unwrap(),
            json!({ "group_x": { "two": "s5" } })
        );
        assert_eq!(replace(json!({})).unwrap(), json!({}));
        assert_eq!(replaced(None, json!({ "token": "***" }), &stored()).unwrap(), json!({ "token": "***" }));
    }

    #[test]
    fn a_secret_is_never_handed_to_another_element_of_a_list() {
        let users = |users: Value| replace(json!({ "users": users })).map(|whole| whole["users"].clone());
        let bob = json!({ "user": "bob", "password": "***", "role": "reader" });
        let ada = json!({ "user": "ada", "password": "***", "role": "reader" });
        assert_eq!(users(json!([bob])).unwrap(), json!([{ "user": "bob", "password": "pb" }]));
        let swapped = users(json!([bob, { "user": "eve", "password": "pe" }, ada])).unwrap();
        assert_eq!(swapped[0]["password"], "pb");
        assert_eq!((&swapped[1]["password"], &swapped[2]["password"]), (&json!("pe"), &json!("pa")));
        // Renamed in its place: nothing else was changed.
        let renamed = users(json!([{ "user": "adah", "password": "***" }, bob])).unwrap();
        assert_eq!(renamed[0], json!({ "user": "adah", "password": "pa" }));
        assert!(
            users(json!([{ "user": "bob", "password": "***" }, { "user": "ada", "password": "***" }]))
                .is_err()
        );
        let error = users(json!([{ "user": "eve", "password": "***" }])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Usage);
        assert!(error.message().contains("/users/0"), "{error}");
    }

    #[test]
    fn a_mask_with_nothing_behind_it_is_refused() {
        let error = replace(json!({ "key_b": "***" })).unwrap_err();
        assert!(error.message().contains("'/key_b'"), "{error}");
        // A secret that is a default stays one.
        assert_eq!(replace(json!({ "preset": "***" })).unwrap(), json!({}));
        // The mask is a text like any other where nothing is hidden.
        assert_eq!(change(json!({ "mask": "***" }))["mask"], "***");
    }
}
