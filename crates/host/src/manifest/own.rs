//! Ringfence's own form of a manifest.

use std::collections::BTreeSet;

use ringfence_api::{
    HOOK_PRIORITY_DEFAULT, HookDeclaration, HookKind, LimitsRequest, Manifest, OnFailure, OnMemory,
    PermissionName, PermissionRequest, Runtime, ToolDeclaration, Wire,
};
use serde_json::Value;

use super::reader::{Layout, Reader};
use super::text::shown;
use super::tree::{Node, Tree};
use super::{entry, fields};
use crate::schema::CompiledSchema;

/// Every field of the own form. `$schema` is for editors and says nothing about the plugin.
pub(super) const FIELDS: [&str; 18] = [
    "name",
    "version",
    "description",
    "author",
    "license",
    "runtime",
    "entry_point",
    "type",
    "enabled_by_default",
    "permissions",
    "hooks",
    "tools",
    "config_schema",
    "limits",
    "skills",
    "integrity",
    "wire",
    "$schema",
];

pub(super) const RUNTIMES: [(&str, Runtime); 6] = [
    ("native", Runtime::Native),
    ("python", Runtime::Python),
    ("node", Runtime::Node),
    ("mcp", Runtime::Mcp),
    ("wasm", Runtime::Wasm),
    ("container", Runtime::Container),
];
const KINDS: [(&str, HookKind); 3] =
    [("mutator", HookKind::Mutator), ("guard", HookKind::Guard), ("observer", HookKind::Observer)];
const FAILURES: [(&str, OnFailure); 2] = [("block", OnFailure::Block), ("skip", OnFailure::Skip)];
const MEMORY: [(&str, OnMemory); 2] = [("kill", OnMemory::Kill), ("warn", OnMemory::Warn)];
const WIRES: [(&str, Wire); 2] = [("json-rpc", Wire::JsonRpc), ("legacy", Wire::Legacy)];

/// Reads the own form. `None` when something is wrong with it, which the reader then holds.
pub(super) fn read(reader: &mut Reader<'_>, root: &Node) -> Option<Manifest> {
    let table = &reader.table(root, "a manifest", &FIELDS)?;
    // Every field is read before any `?`, so that all mistakes are noted at once.
    let name = reader.required(table, "name", "'translator'").and_then(|node| fields::name(reader, node));
    let version = reader.required(table, "version", "'1.0.0'").and_then(|node| fields::version(reader, node));
    let runtime = reader
        .required(table, "runtime", "'python'")
        .and_then(|node| reader.word(node, "runtime", &RUNTIMES));
    let entry_point = reader
        .required(table, "entry_point", "'main.py'")
        .and_then(|node| entry_point(reader, node, runtime));
    let text = |reader: &mut Reader<'_>, name: &str, layout| {
        let max =
            if layout == Layout::Lines { fields::DESCRIPTION_MAX_BYTES } else { fields::LABEL_MAX_BYTES };
        fields::optional(reader, table, name, max, layout)
    };
    let description = text(reader, "description", Layout::Lines);
    let author = text(reader, "author", Layout::Line);
    let license = text(reader, "license", Layout::Line);
    text(reader, "$schema", Layout::Line);
    let plugin_type = table.get("type").and_then(|node| fields::plugin_type(reader, node));
    let enabled = table.get("enabled_by_default").and_then(|node| reader.boolean(node, "enabled_by_default"));
    let permissions = table.get("permissions").map(|node| permissions(reader, node)).unwrap_or_default();
    let hooks = table.get("hooks").map(|node| hooks(reader, node)).unwrap_or_default();
    let tools = table.get("tools").map(|node| tools(reader, node)).unwrap_or_default();
    let config_schema =
        table.get("config_schema").and_then(|node| object_schema(reader, node, "config_schema"));
    let limits = table.get("limits").map(|node| limits(reader, node)).unwrap_or_default();
    let skills = table.get("skills").map(|node| fields::skills(reader, node)).unwrap_or_default();
    let integrity = table.get("integrity").and_then(|node| fields::integrity(reader, node));
    let wire = table.get("wire").and_then(|node| reader.word(node, "wire", &WIRES)).unwrap_or_default();
    if !reader.is_clean() {
        return None;
    }
    Some(Manifest {
        name: name?,
        version: version?,
        description,
        author,
        license,
        runtime: runtime?,
        entry_point: entry_point?,
        plugin_type,
        enabled_by_default: enabled.unwrap_or_default(),
        permissions,
        hooks,
        tools,
        config_schema,
        limits,
        skills,
        integrity,
        wire,
    })
}

fn entry_point(reader: &mut Reader<'_>, node: &Node, runtime: Option<Runtime>) -> Option<String> {
    let text = reader.text(node, "entry_point", fields::ENTRY_MAX_BYTES, Layout::Line)?;
    if let Some(Err(why)) = runtime.map(|runtime| entry::judge_text(runtime, text)) {
        reader.error(node.at, "entry-point", why);
    }
    Some(text.to_owned())
}

fn permissions(reader: &mut Reader<'_>, node: &Node) -> Vec<PermissionRequest> {
    let Some(nodes) = reader.list(node, "permissions", fields::PERMISSIONS_MAX) else { return Vec::new() };
    nodes.iter().filter_map(|node| permission(reader, node)).collect()
}

/// A permission as a text, or as an object with its reason.
fn permission(reader: &mut Reader<'_>, node: &Node) -> Option<PermissionRequest> {
    match &node.value {
        Tree::Text(_) => {
            let permission = fields::permission(reader, node)?;
            Some(PermissionRequest::new(permission.name().clone(), permission.scope()))
        }
        Tree::Table(_) => {
            let table =
                &reader.table(node, "a permission", &["permission", "scope", "reason", "optional"])?;
            let name_node = reader.required(table, "permission", "'file:read'");
            let permission = name_node.and_then(|node| fields::permission(reader, node));
            let reason = fields::optional(reader, table, "reason", fields::LABEL_MAX_BYTES, Layout::Lines);
            let optional = table.get("optional").and_then(|node| reader.boolean(node, "optional"));
            let permission = permission?;
            let mut scope: Vec<String> = permission.scope().map(str::to_owned).into_iter().collect();
            if let Some(node) = table.get("scope") {
                if !scope.is_empty() {
                    reader.error(
                        node.at,
                        "scope",
                        "the permission has a scope already; write it in one place",
                    );
                }
                scope = scopes(reader, permission.name(), node);
            }
            let permission = permission.name().clone();
            Some(PermissionRequest { permission, scope, reason, optional: optional.unwrap_or_default() })
        }
        _ => {
            reader.wrong_type(node, "a permission", "a text such as 'file:read=/srv/**', or an object");
            None
        }
    }
}

fn scopes(reader: &mut Reader<'_>, name: &PermissionName, node: &Node) -> Vec<String> {
    if matches!(node.value, Tree::Text(_)) {
        return fields::scoped(reader, name, node).into_iter().collect();
    }
    let Some(nodes) = reader.list(node, "scope", fields::PERMISSIONS_MAX) else { return Vec::new() };
    if nodes.is_empty() {
        // Empty means nothing everywhere else; here it would mean everything.
        reader.error(
            node.at,
            "scope",
            "an empty scope asks for nothing; leave 'scope' out to ask for all of the kind",
        );
    }
    nodes.iter().filter_map(|node| fields::scoped(reader, name, node)).collect()
}

const HOOK_FIELDS: [&str; 5] = ["event", "kind", "priority", "timeout_ms", "on_failure"];
/// The longest time that a handler may ask for, in milliseconds.
const HOOK_TIMEOUT_MAX_MS: i64 = 300_000;
/// Priorities stay within this, so that a host can always put its own before and after.
pub(super) const PRIORITY_MAX: i64 = 1_000_000;

fn hooks(reader: &mut Reader<'_>, node: &Node) -> Vec<HookDeclaration> {
    let Some(nodes) = reader.list(node, "hooks", fields::HOOKS_MAX) else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut hooks = Vec::new();
    for node in nodes {
        let Some(hook) = hook(reader, node) else { continue };
        if !seen.insert((hook.event.clone(), hook.kind)) {
            let kind = KINDS.iter().find(|(_, kind)| *kind == hook.kind).map_or("", |(word, _)| *word);
            reader.error(
                node.at,
                "duplicate-hook",
                format!("the {kind} of '{}' is declared twice", hook.event),
            );
        }
        hooks.push(hook);
    }
    hooks
}

fn hook(reader: &mut Reader<'_>, node: &Node) -> Option<HookDeclaration> {
    let table = &reader.table(node, "a hook", &HOOK_FIELDS)?;
    let event = reader.required(table, "event", "'onRequest'").and_then(|node| {
        let text = reader.text(node, "event", fields::LABEL_MAX_BYTES, Layout::Line)?;
        fields::event(reader, node.at, text)
    });
    let kind =
        reader.required(table, "kind", "'observer'").and_then(|node| reader.word(node, "kind", &KINDS));
    let priority =
        table.get("priority").and_then(|node| reader.integer(node, "priority", -PRIORITY_MAX, PRIORITY_MAX));
    let timeout =
        table.get("timeout_ms").and_then(|node| reader.integer(node, "timeout_ms", 1, HOOK_TIMEOUT_MAX_MS));
    let on_failure = table.get("on_failure").and_then(|node| reader.word(node, "on_failure", &FAILURES));
    Some(HookDeclaration {
        event: event?,
        kind: kind?,
        priority: priority.and_then(|value| i32::try_from(value).ok()).unwrap_or(HOOK_PRIORITY_DEFAULT),
        timeout_ms: timeout.and_then(|value| u64::try_from(value).ok()),
        on_failure,
    })
}

fn tools(reader: &mut Reader<'_>, node: &Node) -> Vec<ToolDeclaration> {
    let Some(nodes) = reader.list(node, "tools", fields::TOOLS_MAX) else { return Vec::new() };
    let tools: Vec<_> =
        nodes.iter().filter_map(|node| tool(reader, node).map(|tool| (node.at, tool))).collect();
    fields::duplicate_tools(reader, &tools);
    tools.into_iter().map(|(_, tool)| tool).collect()
}

fn tool(reader: &mut Reader<'_>, node: &Node) -> Option<ToolDeclaration> {
    let table = &reader.table(node, "a tool", &["name", "description", "input_schema", "output_schema"])?;
    let name = reader.required(table, "name", "'translate'").and_then(|node| fields::tool_name(reader, node));
    let description =
        fields::optional(reader, table, "description", fields::DESCRIPTION_MAX_BYTES, Layout::Lines);
    let input_schema = table.get("input_schema").and_then(|node| object_schema(reader, node, "input_schema"));
    let output_schema = table.get("output_schema").and_then(|node| schema(reader, node, "output_schema"));
    Some(ToolDeclaration { name: name?, description, input_schema, output_schema })
}

/// A schema that compiles.
fn schema(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Value> {
    let value = node.to_value();
    match CompiledSchema::compile_within(&value, &mut reader.schemas) {
        Ok(_) => Some(value),
        Err(error) => {
            let at = node.nearest(error.pointer()).at;
            reader.error(at, "schema", format!("{what}{}: {error}", shown(error.pointer())));
            None
        }
    }
}

/// A schema of objects: arguments and configurations are never anything else.
pub(super) fn object_schema(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Value> {
    let value = schema(reader, node, what)?;
    let other = value.get("type").filter(|kind| {
        *kind != "object" && !kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
    });
    if other.is_some() || value == Value::Bool(false) {
        let at = node.get("type").map_or(node.at, |node| node.at);
        reader.error(at, "schema", format!("{what} is about an object, so its type is 'object'"));
        return None;
    }
    Some(value)
}

const LIMIT_FIELDS: [&str; 8] = [
    "memory_mb",
    "on_memory",
    "cpu_percent",
    "file_size_mb",
    "processes",
    "init_timeout_s",
    "call_timeout_s",
    "output_mb",
];
/// The most MB of memory, files or output that a manifest can name: a terabyte.
const MB_MAX: i64 = 1_000_000;
/// The most percent of one core: a thousand cores.
const CPU_MAX: i64 = 100_000;
/// The most tasks.
const PROCESSES_MAX: i64 = 100_000;
/// The longest timeout: a day.
pub(super) const TIMEOUT_MAX_S: i64 = 86_400;

fn limits(reader: &mut Reader<'_>, node: &Node) -> LimitsRequest {
    let Some(table) = &reader.table(node, "limits", &LIMIT_FIELDS) else { return LimitsRequest::default() };
    let mut number = |name: &str, max: i64| {
        let value = table.get(name).and_then(|node| reader.integer(node, name, 1, max));
        value.and_then(|value| u64::try_from(value).ok())
    };
    let limits = LimitsRequest {
        memory_mb: number("memory_mb", MB_MAX),
        on_memory: None,
        cpu_percent: number("cpu_percent", CPU_MAX).and_then(|percent| u32::try_from(percent).ok()),
        file_size_mb: number("file_size_mb", MB_MAX),
        processes: number("processes", PROCESSES_MAX),
        init_timeout_s: number("init_timeout_s", TIMEOUT_MAX_S),
        call_timeout_s: number("call_timeout_s", TIMEOUT_MAX_S),
        output_mb: number("output_mb", MB_MAX),
    };
    let on_memory = table.get("on_memory").and_then(|node| reader.word(node, "on_memory", &MEMORY));
    LimitsRequest { on_memory, ..limits }
}
