//! A form that was sent, as the configuration that it stands for.

use std::collections::BTreeMap;

use ringfence::schema::SECRET_MASK;
use serde_json::{Map, Number, Value};

use super::super::super::form::Form;
use super::tree::{Control, Field, Item};

/// What is wrong, by the pointer of the field that it stands beside.
pub(super) type Wrong = BTreeMap<String, Vec<String>>;

/// The name of the field of a form for a place in the configuration.
pub(super) fn name_of(pointer: &str) -> String {
    format!("value:{pointer}")
}

/// The same for a value that is typed as JSON although its field is not one of JSON.
pub(super) fn json_name_of(pointer: &str) -> String {
    format!("json:{pointer}")
}

/// The box that takes a secret away.
pub(super) fn forget_name(pointer: &str) -> String {
    format!("forget:{pointer}")
}

/// The members that no field stands for.
pub(super) const OTHERS: &str = "others";

/// The configuration that a form stands for, and what in it cannot be read. `stored` says which secrets there are.
pub(super) fn configuration(fields: &[Field], form: &Form, stored: &Value, wrong: &mut Wrong) -> Value {
    let mut whole = object(fields, form, stored, wrong);
    match others(form) {
        Ok(others) => {
            for (name, value) in others {
                whole.entry(name).or_insert(value);
            }
        }
        Err(message) => wrong.entry(OTHERS.to_owned()).or_default().push(message),
    }
    Value::Object(whole)
}

fn others(form: &Form) -> Result<Map<String, Value>, String> {
    match form.text(OTHERS).map(str::trim) {
        None | Some("") => Ok(Map::new()),
        Some(text) => serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}")),
    }
}

fn object(fields: &[Field], form: &Form, stored: &Value, wrong: &mut Wrong) -> Map<String, Value> {
    let mut object = Map::new();
    for field in fields {
        let name = last_of(&field.pointer);
        match value(field, form, stored, wrong) {
            Ok(Some(value)) => {
                object.insert(name, value);
            }
            Ok(None) => {}
            Err(message) => wrong.entry(field.pointer.clone()).or_default().push(message),
        }
    }
    object
}

/// The name of a member, out of its pointer.
pub(super) fn last_of(pointer: &str) -> String {
    pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~")
}

/// The value that a field stands for; `None`: it is not set.
fn value(field: &Field, form: &Form, stored: &Value, wrong: &mut Wrong) -> Result<Option<Value>, String> {
    let name = name_of(&field.pointer);
    let typed = form.text(&name).unwrap_or_default();
    let is_empty = typed.trim().is_empty();
    if let (Control::Text | Control::Lines(_), Some(json)) =
        (&field.control, form.text(&json_name_of(&field.pointer)))
    {
        return match json.trim() {
            "" => Ok(None),
            json => serde_json::from_str(json).map(Some).map_err(|error| format!("this is no JSON: {error}")),
        };
    }
    match &field.control {
        Control::Object(fields) => {
            let object = object(fields, form, stored, wrong);
            let is_set = !object.is_empty() || field.required || stored.pointer(&field.pointer).is_some();
            Ok(is_set.then_some(Value::Object(object)))
        }
        Control::Secret => Ok(secret(field, form, typed, stored)),
        Control::Boxes(choices) => {
            let ticked: Vec<&str> = form.all(&name).collect();
            let chosen = choices
                .iter()
                .enumerate()
                .filter(|(number, _)| ticked.contains(&number.to_string().as_str()));
            let chosen: Vec<Value> = chosen.map(|(_, choice)| choice.clone()).collect();
            let is_set = !chosen.is_empty() || field.required || stored.pointer(&field.pointer).is_some();
            Ok(is_set.then_some(Value::Array(chosen)))
        }
        // A text that must be there may be empty.
        Control::Text if typed.is_empty() && field.required && form.has(&name) => {
            Ok(Some(Value::String(String::new())))
        }
        _ if is_empty => Ok(None),
        Control::Text => Ok(Some(Value::String(lines_of(typed)))),
        Control::Integer => integer(typed).map(Some),
        Control::Number => number(typed).map(Some),
        Control::Boolean => match typed {
            "true" => Ok(Some(Value::Bool(true))),
            "false" => Ok(Some(Value::Bool(false))),
            _ => Err("choose yes or no".to_owned()),
        },
        Control::Choice(choices) => {
            let chosen = typed.parse::<usize>().ok().and_then(|number| choices.get(number));
            chosen.cloned().map(Some).ok_or_else(|| "choose one of the list".to_owned())
        }
        Control::Lines(item) => lines(typed, *item).map(Some),
        Control::Json => {
            serde_json::from_str(typed).map(Some).map_err(|error| format!("this is no JSON: {error}"))
        }
    }
}

/// A new secret, the one that there is, or none.
fn secret(field: &Field, form: &Form, typed: &str, stored: &Value) -> Option<Value> {
    if !typed.is_empty() {
        return Some(Value::String(typed.to_owned()));
    }
    let is_there = stored.pointer(&field.pointer).is_some();
    (is_there && !form.has(&forget_name(&field.pointer))).then(|| Value::String(SECRET_MASK.to_owned()))
}

/// Browsers end lines as they like.
fn lines_of(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn integer(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let number = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    number.map(Value::Number).map_err(|_| "this is no whole number".to_owned())
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(whole) = integer(text) {
        return Ok(whole);
    }
    let number = text.trim().parse::<f64>().ok().and_then(Number::from_f64);
    number.map(Value::Number).ok_or_else(|| "this is no number".to_owned())
}

fn lines(text: &str, item: Item) -> Result<Value, String> {
    let mut all = Vec::new();
    for (number_of_line, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let one = match item {
            Item::Text => Ok(Value::String(line.trim_end_matches('\r').to_owned())),
            Item::Integer => integer(line),
            Item::Number => number(line),
        };
        all.push(one.map_err(|message| format!("line {}: {message}", number_of_line + 1))?);
    }
    Ok(Value::Array(all))
}

/// Takes faults about secrets that stay what they were out of what the schema says: it has judged what stands for them.
pub(super) fn about_secrets(fault: &str, secrets: &[String], config: &Value) -> bool {
    secrets.iter().any(|secret| {
        secret == fault && config.pointer(secret) == Some(&Value::String(SECRET_MASK.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tree;
    use super::*;

    fn read(schema: &Value, stored: &Value, fields: &[(&str, &str)]) -> (Value, Wrong) {
        let body: Vec<(&str, &str)> = fields.to_vec();
        let text = serde_urlencoded::to_string(body).unwrap();
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        let form = Form::read(&headers, text.as_bytes()).unwrap();
        let mut wrong = Wrong::new();
        let whole = configuration(&tree::fields(schema).unwrap(), &form, stored, &mut wrong);
        (whole, wrong)
    }

    #[test]
    fn what_was_typed_is_the_value_of_its_kind() {
        let schema = json!({"properties": {
            "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
            "c": {"enum": ["x", 7]}, "l": {"type": "array", "items": {"type": "integer"}}, "j": {},
            "o": {"type": "object", "properties": {"p": {"type": "string"}}}
        }});
        let (whole, wrong) = read(
            &schema,
            &json!({}),
            &[
                ("value:/s", " a\r\nb "),
                ("value:/i", " -3 "),
                ("value:/n", "1.5"),
                ("value:/b", "false"),
                ("value:/c", "1"),
                ("value:/l", "1\r\n\r\n2"),
                ("value:/j", "[null]"),
                ("value:/o/p", "q"),
                ("others", "{\"z\": 1}"),
            ],
        );
        assert_eq!(wrong, Wrong::new());
        assert_eq!(
            whole,
            json!({"s": " a\nb ", "i": -3, "n": 1.5, "b": false, "c": 7, "l": [1, 2], "j": [null], "o": {"p": "q"}, "z": 1})
        );
        let (whole, _) = read(&schema, &json!({}), &[("value:/s", ""), ("value:/b", ""), ("value:/o/p", "")]);
        assert_eq!(whole, json!({}), "what is empty is not set");
    }

    #[test]
    fn what_cannot_be_read_is_told_beside_its_field() {
        let schema = json!({"properties": {
            "i": {"type": "integer"}, "l": {"type": "array", "items": {"type": "number"}}, "j": {}, "c": {"enum": ["x"]}
        }});
        let (_, wrong) = read(
            &schema,
            &json!({}),
            &[
                ("value:/i", "1.5"),
                ("value:/l", "1\nx"),
                ("value:/j", "{"),
                ("value:/c", "9"),
                ("others", "[]"),
            ],
        );
        assert_eq!(wrong.keys().collect::<Vec<_>>(), ["/c", "/i", "/j", "/l", "others"]);
        assert_eq!(wrong["/l"], ["line 2: this is no number"]);
    }

    #[test]
    fn a_secret_stays_is_replaced_or_goes() {
        let schema = json!({"properties": {"t": {"type": "string", "writeOnly": true}}});
        let stored = json!({"t": "***"});
        let of = |stored: &Value, fields: &[(&str, &str)]| read(&schema, stored, fields).0;
        assert_eq!(of(&stored, &[("value:/t", "")]), json!({"t": "***"}));
        assert_eq!(of(&stored, &[("value:/t", "new")]), json!({"t": "new"}));
        assert_eq!(of(&stored, &[("value:/t", ""), ("forget:/t", "yes")]), json!({}));
        assert_eq!(of(&json!({}), &[("value:/t", "")]), json!({}));
    }
}
