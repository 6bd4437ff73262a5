//! A JSON Schema as fields of a form: what a form can express, and a field of JSON for all else.
//!
//! The schema is a stranger's: it was bounded when the package was installed, and here depth and number are bounded again.
//! Nothing is judged here: that a value is right is for the schema itself to say.

use serde_json::{Map, Value};

/// How deep objects stand inside objects; below that, a field of JSON.
const DEPTH_MAX: usize = 4;
/// Fields of one form; above that, the whole is a field of JSON.
pub(super) const FIELDS_MAX: usize = 300;
/// Choices of one field; above that, it is typed.
const CHOICES_MAX: usize = 200;

/// Words of a schema that make a form depend on its values.
const BEYOND_A_FORM: [&str; 13] = [
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "dependentSchemas",
    "dependentRequired",
    "patternProperties",
    "propertyNames",
    "prefixItems",
    "contains",
];

/// A field of a form, or a group of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// Where its value stands, as a JSON pointer.
    pub(super) pointer: String,
    /// What it is called: its title, or its name.
    pub(super) label: String,
    pub(super) help: Option<String>,
    pub(super) default: Option<Value>,
    /// What its value must be within, in words.
    pub(super) bounds: Option<String>,
    pub(super) required: bool,
    pub(super) control: Control,
}

/// How a value is typed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Control {
    Text,
    /// A text that is never shown.
    Secret,
    Integer,
    Number,
    /// Yes, no, or not set.
    Boolean,
    /// One of these.
    Choice(Vec<Value>),
    /// One a line.
    Lines(Item),
    /// Any number of these.
    Boxes(Vec<Value>),
    Object(Vec<Field>),
    /// Anything, as JSON.
    Json,
}

/// What the lines of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Text,
    Integer,
    Number,
}

/// The fields of a configuration; `None` when it takes more than a form.
pub(super) fn fields(schema: &Value) -> Option<Vec<Field>> {
    let root = schema.as_object()?;
    if is_beyond(root) {
        return None;
    }
    let mut count = 0;
    let fields = members(root, "", 0, &mut count)?;
    (count <= FIELDS_MAX).then_some(fields)
}

fn is_beyond(schema: &Map<String, Value>) -> bool {
    BEYOND_A_FORM.iter().any(|word| schema.contains_key(*word))
}

fn members(
    schema: &Map<String, Value>,
    pointer: &str,
    depth: usize,
    count: &mut usize,
) -> Option<Vec<Field>> {
    let properties = schema.get("properties")?.as_object()?;
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut fields = Vec::new();
    for (name, member) in properties {
        *count += 1;
        if *count > FIELDS_MAX {
            return None;
        }
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        fields.push(field(name, member, pointer, required.contains(&name.as_str()), depth, count));
    }
    Some(fields)
}

fn field(
    name: &str,
    schema: &Value,
    pointer: String,
    required: bool,
    depth: usize,
    count: &mut usize,
) -> Field {
    let nothing = Map::new();
    let object = schema.as_object().unwrap_or(&nothing);
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let control = control(object, &pointer, depth, count);
    Field {
        label: text("title").filter(|title| !title.trim().is_empty()).unwrap_or_else(|| name.to_owned()),
        help: text("description"),
        // What a secret is by default is no secret of anybody's, and still nothing to show.
        default: object.get("default").filter(|_| control != Control::Secret).cloned(),
        bounds: bounds(object),
        pointer,
        required,
        control,
    }
}

fn control(schema: &Map<String, Value>, pointer: &str, depth: usize, count: &mut usize) -> Control {
    if schema.get("writeOnly") == Some(&Value::Bool(true)) {
        return Control::Secret;
    }
    if is_beyond(schema) {
        return Control::Json;
    }
    if let Some(choices) = choices(schema) {
        return Control::Choice(choices);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Control::Text,
        Some("integer") => Control::Integer,
        Some("number") => Control::Number,
        Some("boolean") => Control::Boolean,
        Some("array") => list(schema),
        Some("object") if depth < DEPTH_MAX => {
            members(schema, pointer, depth + 1, count).map_or(Control::Json, Control::Object)
        }
        _ => Control::Json,
    }
}

fn choices(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    if let Some(only) = schema.get("const") {
        return Some(vec![only.clone()]).filter(|_| !only.is_object() && !only.is_array());
    }
    let choices = schema.get("enum")?.as_array()?;
    let are_plain = choices.iter().all(|one| !one.is_object() && !one.is_array());
    (are_plain && (1..=CHOICES_MAX).contains(&choices.len())).then(|| choices.clone())
}

fn list(schema: &Map<String, Value>) -> Control {
    let Some(items) = schema.get("items").and_then(Value::as_object) else { return Control::Json };
    let is_secret = items.get("writeOnly") == Some(&Value::Bool(true));
    if is_beyond(items) || is_secret {
        return Control::Json;
    }
    if let Some(choices) = choices(items) {
        let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        return if unique { Control::Boxes(choices) } else { Control::Json };
    }
    match items.get("type").and_then(Value::as_str) {
        Some("string") => Control::Lines(Item::Text),
        Some("integer") => Control::Lines(Item::Integer),
        Some("number") => Control::Lines(Item::Number),
        _ => Control::Json,
    }
}

/// The bounds that a schema names, in words.
fn bounds(schema: &Map<String, Value>) -> Option<String> {
    let number = |key: &str| schema.get(key).filter(|value| value.is_number()).map(ToString::to_string);
    let pair = |least: Option<String>, most: Option<String>, unit: &str| match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
        (Some(least), None) => Some(format!("at least {least}{unit}")),
        (None, Some(most)) => Some(format!("at most {most}{unit}")),
        (None, None) => None,
    };
    let all = [
        pair(number("minimum"), number("maximum"), ""),
        number("exclusiveMinimum").map(|least| format!("above {least}")),
        number("exclusiveMaximum").map(|most| format!("below {most}")),
        number("multipleOf").map(|step| format!("a multiple of {step}")),
        pair(number("minLength"), number("maxLength"), " characters"),
        pair(number("minItems"), number("maxItems"), " entries"),
        schema.get("pattern").and_then(Value::as_str).map(|pattern| format!("matching {pattern}")),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn controls(properties: &Value) -> Vec<Control> {
        let schema = json!({"type": "object", "properties": properties});
        fields(&schema).unwrap().into_iter().map(|field| field.control).collect()
    }

    #[test]
    fn each_kind_of_value_has_its_field_and_what_has_none_is_json() {
        let found = controls(&json!({
            "a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "number"}, "d": {"type": "boolean"},
            "e": {"enum": ["x", 1, null]}, "f": {"type": "array", "items": {"type": "string"}},
            "g": {"type": "array", "uniqueItems": true, "items": {"enum": ["x"]}},
            "h": {"type": "object", "properties": {"i": {"type": "string", "writeOnly": true}}},
            "j": {"oneOf": []}, "k": {"type": ["string", "null"]}, "l": true, "m": {"type": "object"},
            "n": {"type": "array", "items": {"type": "object"}}
        }));
        let expected = [
            Control::Text,
            Control::Integer,
            Control::Number,
            Control::Boolean,
            Control::Choice(vec![json!("x"), json!(1), Value::Null]),
            Control::Lines(Item::Text),
            Control::Boxes(vec![json!("x")]),
        ];
        assert_eq!(found[..7], expected);
        let Control::Object(inner) = &found[7] else { panic!("{:?}", found[7]) };
        assert_eq!((inner[0].pointer.as_str(), &inner[0].control), ("/h/i", &Control::Secret));
        assert!(found[8..].iter().all(|control| *control == Control::Json), "{found:?}");
    }

    #[test]
    fn names_are_pointers_and_bounds_are_words() {
        let schema = json!({"properties": {"a/b~c": {"type": "integer", "minimum": 1, "maximum": 9, "title": " "}}, "required": ["a/b~c"]});
        let all = fields(&schema).unwrap();
        assert_eq!(
            (all[0].pointer.as_str(), all[0].label.as_str(), all[0].required),
            ("/a~1b~0c", "a/b~c", true)
        );
        assert_eq!(all[0].bounds.as_deref(), Some("1 to 9"));
    }

    #[test]
    fn what_a_form_cannot_express_has_none() {
        assert_eq!(fields(&json!(true)), None);
        assert_eq!(fields(&json!({"type": "object"})), None);
        assert_eq!(fields(&json!({"properties": {}, "if": {}})), None);
        let many: Map<String, Value> =
            (0..=FIELDS_MAX).map(|n| (n.to_string(), json!({"type": "string"}))).collect();
        assert_eq!(fields(&json!({"properties": many})), None);
        let mut deep = json!({"type": "string"});
        for _ in 0..20 {
            deep = json!({"type": "object", "properties": {"a": deep}});
        }
        assert!(format!("{:?}", fields(&deep).unwrap()).contains("Json"));
    }
}
