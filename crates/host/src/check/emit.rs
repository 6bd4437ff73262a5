//! Values as YAML and TOML text, for the sections that [`write`](super::write()) puts into a manifest.

use serde_json::Value;

/// A member of the top level of a YAML file, in block style.
pub(super) fn yaml(name: &str, value: &Value) -> String {
    let mut text = String::new();
    yaml_member(&mut text, 0, name, value);
    text
}

fn yaml_member(text: &mut String, indent: usize, name: &str, value: &Value) {
    text.push_str(&" ".repeat(indent));
    yaml_named(text, indent, name, value);
}

/// `name: value`, where the rest of a nested value stands deeper than `indent`.
fn yaml_named(text: &mut String, indent: usize, name: &str, value: &Value) {
    text.push_str(&yaml_text(name));
    text.push(':');
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('\n');
            for (name, value) in members {
                yaml_member(text, indent + 2, name, value);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            text.push('\n');
            for value in values {
                text.push_str(&" ".repeat(indent + 2));
                text.push_str("- ");
                yaml_element(text, indent + 4, value);
            }
        }
        other => {
            text.push(' ');
            text.push_str(&yaml_flow(other));
            text.push('\n');
        }
    }
}

/// The element of a list, whose first line has begun.
fn yaml_element(text: &mut String, indent: usize, value: &Value) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (number, (name, value)) in members.iter().enumerate() {
                if number > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                yaml_named(text, indent, name, value);
            }
        }
        other => {
            text.push_str(&yaml_flow(other));
            text.push('\n');
        }
    }
}

/// A value in one line.
fn yaml_flow(value: &Value) -> String {
    match value {
        Value::String(text) => yaml_text(text),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(yaml_flow).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", yaml_text(name), yaml_flow(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text without quotes where that can only be read as that text, else in double quotes, which are those of JSON.
fn yaml_text(text: &str) -> String {
    let starts = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let plain =
        text.chars().all(|c| c.is_ascii_alphanumeric() || " _./()'-".contains(c)) && !text.ends_with(' ');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts && plain && !word { text.to_owned() } else { Value::from(text).to_string() }
}

/// How the list stands in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TomlForm {
    /// `name = [{...}, {...}]`
    Inline,
    /// `[[name]]` for each.
    Tables,
}

/// A list of objects as a member of the top level of a TOML file; `None` when it holds a null, which TOML cannot say.
pub(super) fn toml(name: &str, values: &[Value], form: TomlForm) -> Option<String> {
    let mut text = String::new();
    match form {
        TomlForm::Inline if values.is_empty() => text.push_str(&format!("{name} = []\n")),
        TomlForm::Inline => {
            text.push_str(&format!("{name} = [\n"));
            for value in values {
                text.push_str(&format!("  {},\n", toml_value(value)?));
            }
            text.push_str("]\n");
        }
        TomlForm::Tables => {
            for (number, value) in values.iter().enumerate() {
                if number > 0 {
                    text.push('\n');
                }
                text.push_str(&format!("[[{name}]]\n"));
                for (name, value) in value.as_object()? {
                    text.push_str(&format!("{} = {}\n", toml_key(name), toml_value(value)?));
                }
            }
        }
    }
    Some(text)
}

fn toml_value(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        // A basic string has the escapes of JSON.
        Value::String(_) | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(values) => {
            let values: Option<Vec<String>> = values.iter().map(toml_value).collect();
            format!("[{}]", values?.join(", "))
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members: Option<Vec<String>> = members
                .iter()
                .map(|(name, value)| Some(format!("{} = {}", toml_key(name), toml_value(value)?)))
                .collect();
            format!("{{ {} }}", members?.join(", "))
        }
    })
}

fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { name.to_owned() } else { Value::from(name).to_string() }
}
