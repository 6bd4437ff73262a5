//! The dialect with `main`, `requires.permissions`, `hooks` as an object and a flat `configSchema`.

use ringfence_api::{HOOK_PRIORITY_DEFAULT, HookDeclaration, HookKind, LimitsRequest, Manifest, Wire};
use serde_json::{Map, Value, json};

use super::super::reader::{Layout, Table};
use super::super::text::shown;
use super::super::tree::{Member, Node, Tree};
use super::super::{entry, fields, own};
use super::common::Conversion;

const FIELDS: [&str; 19] = [
    "name",
    "version",
    "description",
    "author",
    "license",
    "main",
    "requires",
    "hooks",
    "configSchema",
    "skills",
    "enabledByDefault",
    "integrity",
    "$schema",
    "displayName",
    "homepage",
    "repository",
    "keywords",
    "icon",
    "tags",
];
const LEFT_OUT: [&str; 6] = ["displayName", "homepage", "repository", "keywords", "icon", "tags"];

/// Reads the dialect.
pub(super) fn read(with: &mut Conversion<'_, '_>, root: &Node) -> Option<Manifest> {
    let table = &with.reader.table(root, "a manifest", &FIELDS)?;
    with.left_out(table, &LEFT_OUT);
    let name = with.reader.required(table, "name", "'translator'").and_then(|node| with.name(node, "name"));
    let version = with.version(table);
    let main = with.reader.required(table, "main", "'index.mjs'").and_then(|node| main(with, node));
    let description =
        fields::optional(with.reader, table, "description", fields::DESCRIPTION_MAX_BYTES, Layout::Lines);
    let author = with.author(table);
    let license = fields::optional(with.reader, table, "license", fields::LABEL_MAX_BYTES, Layout::Line);
    let permissions = table.get("requires").map(|node| requires(with, node)).unwrap_or_default();
    let hooks = table.get("hooks").map(|node| hooks(with, node)).unwrap_or_default();
    let config_schema = table.member("configSchema").and_then(|member| config(with, member));
    let skills = table.get("skills").map(|node| skills(with, node)).unwrap_or_default();
    let enabled = table.member("enabledByDefault").and_then(|member| {
        with.note(member.at, "enabledByDefault", "became enabled_by_default");
        with.reader.boolean(&member.value, "enabledByDefault")
    });
    let integrity = table.get("integrity").and_then(|node| fields::integrity(with.reader, node));
    let (entry_point, runtime) = main?;
    Some(Manifest {
        name: name?,
        version: version?,
        description,
        author,
        license,
        runtime,
        entry_point,
        plugin_type: None,
        enabled_by_default: enabled.unwrap_or_default(),
        permissions,
        hooks,
        tools: Vec::new(),
        config_schema,
        limits: LimitsRequest::default(),
        skills,
        integrity,
        wire: Wire::default(),
    })
}

fn main(with: &mut Conversion<'_, '_>, node: &Node) -> Option<(String, ringfence_api::Runtime)> {
    let text = with.reader.text(node, "main", fields::ENTRY_MAX_BYTES, Layout::Line)?;
    let runtime = with.runtime(node, "main", text)?;
    if let Err(why) = entry::judge_text(runtime, text) {
        with.reader.error(node.at, "entry-point", why);
        return None;
    }
    let entry_point = text.trim_start_matches("./").to_owned();
    with.note(node.at, "main", format!("became entry_point: {entry_point}"));
    Some((entry_point, runtime))
}

fn requires(with: &mut Conversion<'_, '_>, node: &Node) -> Vec<ringfence_api::PermissionRequest> {
    let Some(members) = node.members() else {
        with.reader.wrong_type(node, "requires", "an object");
        return Vec::new();
    };
    let mut permissions = Vec::new();
    for member in members {
        if member.name == "permissions" {
            permissions = with.permissions(&member.value, "requires.permissions");
        } else {
            let name = shown(&member.name);
            let message =
                format!("requires.{name} cannot be mapped: only requires.permissions is known here");
            with.cannot(member.at, message);
        }
    }
    permissions
}

/// Which kind the handler of a built-in event is, when the manifest does not say.
fn kind_of(event: &str) -> HookKind {
    match event {
        "onRequest" | "onResponse" => HookKind::Mutator,
        _ => HookKind::Observer,
    }
}

/// `{onRequest: true}`, `{onRequest: {priority: 10}}`, or `[onRequest]`.
fn hooks(with: &mut Conversion<'_, '_>, node: &Node) -> Vec<HookDeclaration> {
    let entries: Vec<(usize, &str, Option<&Node>)> = match &node.value {
        Tree::Table(members) => {
            members.iter().map(|member| (member.at, member.name.as_str(), Some(&member.value))).collect()
        }
        Tree::List(nodes) => nodes
            .iter()
            .filter_map(|node| match &node.value {
                Tree::Text(name) => Some((node.at, name.as_str(), None)),
                _ => {
                    with.reader.wrong_type(node, "a hook", "the name of an event");
                    None
                }
            })
            .collect(),
        _ => {
            with.reader.wrong_type(node, "hooks", "an object such as {\"onRequest\": true}");
            return Vec::new();
        }
    };
    entries.into_iter().filter_map(|(at, event, value)| hook(with, at, event, value)).collect()
}

fn hook(
    with: &mut Conversion<'_, '_>,
    at: usize,
    event: &str,
    value: Option<&Node>,
) -> Option<HookDeclaration> {
    let event = fields::event(with.reader, at, event)?;
    let mut priority = HOOK_PRIORITY_DEFAULT;
    match value.map(|node| (node, &node.value)) {
        None | Some((_, Tree::Boolean(true))) => {}
        Some((_, Tree::Boolean(false))) => {
            with.note(at, &format!("hooks.{event}"), "is false: no hook");
            return None;
        }
        Some((node, Tree::Table(_))) => {
            let table = with.reader.table(node, "a hook", &["priority"])?;
            if let Some(node) = table.get("priority") {
                let read = with.reader.integer(node, "priority", -own::PRIORITY_MAX, own::PRIORITY_MAX)?;
                priority = i32::try_from(read).unwrap_or(HOOK_PRIORITY_DEFAULT);
            }
        }
        Some((node, _)) => {
            with.reader.wrong_type(node, "a hook", "true, false or an object with its priority");
            return None;
        }
    }
    let kind = kind_of(&event);
    let became = match kind {
        HookKind::Mutator => {
            "became a hook of kind mutator: it may change what passes; only a guard may block"
        }
        _ => "became a hook of kind observer: it sees and changes nothing",
    };
    with.note(at, &format!("hooks.{event}"), became);
    Some(HookDeclaration { event, kind, priority, timeout_ms: None, on_failure: None })
}

/// Names, or objects with a name.
fn skills(with: &mut Conversion<'_, '_>, node: &Node) -> Vec<String> {
    let Tree::List(nodes) = &node.value else {
        with.reader.wrong_type(node, "skills", "a list");
        return Vec::new();
    };
    let mut names = Vec::new();
    for node in nodes {
        let name = match node.get("name") {
            Some(name) => {
                with.note(node.at, "skills", "became the name of the skill; nothing else of it is used");
                name
            }
            None => node,
        };
        let name = with.reader.text(name, "a skill", fields::LABEL_MAX_BYTES, Layout::Line);
        names.extend(name.map(str::to_owned));
    }
    names
}

/// Flat fields become the properties of an object; what is a JSON Schema already is taken as it is.
fn config(with: &mut Conversion<'_, '_>, member: &Member) -> Option<Value> {
    let node = &member.value;
    if node.get("properties").is_some_and(|node| node.members().is_some()) {
        with.note(member.at, "configSchema", "is a JSON Schema already; became config_schema");
        return own::object_schema(with.reader, node, "configSchema");
    }
    let Some(members) = node.members() else {
        with.reader.wrong_type(node, "configSchema", "an object");
        return None;
    };
    let mut properties = Map::new();
    let mut required = Vec::new();
    for member in members {
        if let Some((property, needed)) = property(with, member) {
            if needed {
                required.push(Value::String(member.name.clone()));
            }
            properties.insert(member.name.clone(), property);
        }
    }
    with.note(member.at, "configSchema", "became config_schema, a JSON Schema of an object");
    let mut schema = json!({ "type": "object", "properties": properties });
    if let Some(schema) = schema.as_object_mut()
        && !required.is_empty()
    {
        schema.insert("required".to_owned(), Value::Array(required));
    }
    if let Err(error) = crate::schema::CompiledSchema::compile_within(&schema, &mut with.reader.schemas) {
        with.reader.error(member.at, "schema", format!("configSchema: {error}"));
        return None;
    }
    Some(schema)
}

const PROPERTY_FIELDS: [&str; 14] = [
    "type",
    "default",
    "min",
    "max",
    "enum",
    "options",
    "label",
    "title",
    "description",
    "required",
    "secret",
    "pattern",
    "placeholder",
    "step",
];

/// One flat field as a JSON Schema, and whether it is required.
fn property(with: &mut Conversion<'_, '_>, member: &Member) -> Option<(Value, bool)> {
    let table = &with.reader.table(&member.value, "a configuration field", &PROPERTY_FIELDS)?;
    let words = [("string", "string"), ("number", "number"), ("boolean", "boolean"), ("select", "select")];
    let kind = with.reader.required(table, "type", "'string'");
    let kind = kind.and_then(|node| with.reader.word(node, "type", &words))?;
    let mut property = Map::new();
    property.insert("type".to_owned(), if kind == "select" { "string" } else { kind }.into());
    for (field, keyword) in [("label", "title"), ("title", "title"), ("description", "description")] {
        let text = fields::optional(with.reader, table, field, fields::DESCRIPTION_MAX_BYTES, Layout::Lines);
        if let Some(text) = text {
            property.insert(keyword.to_owned(), text.into());
        }
    }
    choices(with, table, kind, &mut property)?;
    for (field, of_number, of_text) in [("min", "minimum", "minLength"), ("max", "maximum", "maxLength")] {
        let Some(node) = table.get(field) else { continue };
        let keyword = match kind {
            "number" => of_number,
            "string" => of_text,
            _ => {
                with.cannot(node.at, format!("'{field}' of a {kind} cannot be mapped"));
                continue;
            }
        };
        property.insert(keyword.to_owned(), node.to_value());
    }
    if let Some(node) = table.get("pattern") {
        property.insert("pattern".to_owned(), node.to_value());
    }
    let flag = |with: &mut Conversion<'_, '_>, name: &str| {
        table.get(name).and_then(|node| with.reader.boolean(node, name)).unwrap_or_default()
    };
    if flag(with, "secret") {
        property.insert("writeOnly".to_owned(), true.into());
    }
    let required = flag(with, "required");
    if let Some(node) = table.get("default") {
        let default = node.to_value();
        let fits = match kind {
            "number" => default.is_number(),
            "boolean" => default.is_boolean(),
            _ => default.is_string(),
        };
        if !fits {
            with.reader.wrong_type(
                node,
                "default",
                if kind == "select" { "one of its choices" } else { kind },
            );
        }
        property.insert("default".to_owned(), default);
    }
    Some((Value::Object(property), required))
}

fn choices(
    with: &mut Conversion<'_, '_>,
    table: &Table<'_>,
    kind: &str,
    property: &mut Map<String, Value>,
) -> Option<()> {
    let choices = table.get("enum").or_else(|| table.get("options"));
    match choices.map(|node| (node, &node.value)) {
        Some((_, Tree::List(nodes))) if !nodes.is_empty() => {
            let values = nodes.iter().map(|node| node.get("value").unwrap_or(node).to_value()).collect();
            property.insert("enum".to_owned(), Value::Array(values));
        }
        Some((node, _)) => {
            with.reader.wrong_type(node, "enum", "a list of choices");
            return None;
        }
        None if kind == "select" => {
            with.reader.error(table.at, "missing-field", "'enum' is missing: a select has its choices there");
            return None;
        }
        None => {}
    }
    Some(())
}
