//! The dialect with `id`, `capabilities` and a script as `entry_point`, which speaks the older wire form.

use ringfence_api::{
    LimitsRequest, Manifest, PermissionName, PermissionRequest, Runtime, ToolDeclaration, Wire,
};

use super::super::reader::{Layout, Table};
use super::super::text::shown;
use super::super::tree::{Node, Place, Tree};
use super::super::{entry, fields};
use super::common::{Conversion, from_word};

const FIELDS: [&str; 14] = [
    "id",
    "name",
    "version",
    "description",
    "author",
    "license",
    "entry_point",
    "capabilities",
    "permissions",
    "integrity",
    "homepage",
    "repository",
    "tags",
    "$schema",
];
const LEFT_OUT: [&str; 3] = ["homepage", "repository", "tags"];

/// Reads the dialect.
pub(super) fn read(with: &mut Conversion<'_, '_>, root: &Node) -> Option<Manifest> {
    let table = &with.reader.table(root, "a manifest", &FIELDS)?;
    with.left_out(table, &LEFT_OUT);
    let name = with.reader.required(table, "id", "'translator'").and_then(|node| {
        let name = with.name(node, "id")?;
        with.note(node.at, "id", format!("became name: {name}"));
        Some(name)
    });
    let version = with.version(table);
    let description = description(with, table);
    let author = with.author(table);
    let license = fields::optional(with.reader, table, "license", fields::LABEL_MAX_BYTES, Layout::Line);
    let entry_point =
        with.reader.required(table, "entry_point", "'plugin.py'").and_then(|node| entry_point(with, node));
    let mut permissions =
        table.get("permissions").map(|node| with.permissions(node, "permissions")).unwrap_or_default();
    let tools =
        table.get("capabilities").map(|node| capabilities(with, node, &mut permissions)).unwrap_or_default();
    let integrity = table.get("integrity").and_then(|node| fields::integrity(with.reader, node));
    let (entry_point, runtime) = entry_point?;
    Some(Manifest {
        name: name?,
        version: version?,
        description,
        author,
        license,
        runtime,
        entry_point,
        plugin_type: None,
        enabled_by_default: false,
        permissions,
        hooks: Vec::new(),
        tools,
        config_schema: None,
        limits: LimitsRequest::default(),
        skills: Vec::new(),
        integrity,
        wire: Wire::Legacy,
    })
}

/// The `name` of this dialect is a title: it becomes the description when there is none.
fn description(with: &mut Conversion<'_, '_>, table: &Table<'_>) -> Option<String> {
    let title = fields::optional(with.reader, table, "name", fields::LABEL_MAX_BYTES, Layout::Line);
    let given =
        fields::optional(with.reader, table, "description", fields::DESCRIPTION_MAX_BYTES, Layout::Lines);
    if let (Some(_), Some(member)) = (&title, table.member("name")) {
        let became = if given.is_some() { "is left out: 'id' is the name" } else { "became description" };
        with.note(member.at, "name", became);
    }
    given.or(title)
}

fn entry_point(with: &mut Conversion<'_, '_>, node: &Node) -> Option<(String, Runtime)> {
    let text = with.reader.text(node, "entry_point", fields::ENTRY_MAX_BYTES, Layout::Line)?;
    let runtime = with.runtime(node, "entry_point", text)?;
    if runtime == Runtime::Wasm {
        with.cannot(node.at, "entry_point: a component does not speak the wire form of this dialect");
        return None;
    }
    if let Err(why) = entry::judge_text(runtime, text) {
        with.reader.error(node.at, "entry-point", why);
        return None;
    }
    with.note(node.at, "entry_point", "speaks the older wire form: became wire: legacy");
    Some((text.trim_start_matches("./").to_owned(), runtime))
}

/// A capability that is a word for a permission asks for it; any other is a tool of that name.
fn capabilities(
    with: &mut Conversion<'_, '_>,
    node: &Node,
    permissions: &mut Vec<PermissionRequest>,
) -> Vec<ToolDeclaration> {
    let mut tools: Vec<(Place, ToolDeclaration)> = Vec::new();
    for (at, name, description) in entries(with, node) {
        let own = name
            .parse::<PermissionName>()
            .ok()
            .map(|name| vec![PermissionRequest::new(name, None::<String>)]);
        if let Some(requests) = from_word(&name).or(own) {
            let names: Vec<&str> = requests.iter().map(|request| request.permission.as_str()).collect();
            let message = format!("'{}' became the permission {}", shown(&name), names.join(", "));
            with.note(at, "capabilities", format!("{message}; narrow it when granting"));
            permissions.extend(
                requests.into_iter().filter(|request| !permissions.contains(request)).collect::<Vec<_>>(),
            );
            continue;
        }
        if !ringfence_api::is_tool_name(&name) {
            let shown = shown(&name);
            with.cannot(
                at,
                format!("capability '{shown}' cannot be mapped: it is no permission and no name of a tool"),
            );
            continue;
        }
        with.note(at, "capabilities", format!("'{name}' became a tool that takes any object"));
        tools.push((at, ToolDeclaration { name, description, input_schema: None, output_schema: None }));
    }
    fields::duplicate_tools(with.reader, &tools);
    tools.into_iter().map(|(_, tool)| tool).collect()
}

/// Words in a list, objects with a name in a list, or members that are true.
fn entries(with: &mut Conversion<'_, '_>, node: &Node) -> Vec<(Place, String, Option<String>)> {
    if let Tree::Table(members) = &node.value {
        let mut entries = Vec::new();
        for member in members {
            match member.value.value {
                Tree::Boolean(true) => entries.push((member.at, member.name.clone(), None)),
                Tree::Boolean(false) => {
                    with.note(member.at, "capabilities", format!("'{}' is false", shown(&member.name)))
                }
                _ => with.reader.wrong_type(&member.value, "a capability", "true or false"),
            }
        }
        return entries;
    }
    let Some(nodes) = with.reader.list(node, "capabilities", fields::TOOLS_MAX) else { return Vec::new() };
    let mut entries = Vec::new();
    for node in nodes {
        let description = node.get("description").and_then(|node| {
            with.reader
                .text(node, "description", fields::DESCRIPTION_MAX_BYTES, Layout::Lines)
                .map(str::to_owned)
        });
        let name = if node.members().is_some() {
            let Some(table) = with.reader.table(node, "a capability", &["name", "description"]) else {
                continue;
            };
            with.reader.required(&table, "name", "'translate'")
        } else {
            Some(node)
        };
        let name = name
            .and_then(|node| with.reader.text(node, "a capability", fields::LABEL_MAX_BYTES, Layout::Line));
        entries.extend(name.map(|name| (node.at, name.to_owned(), description)));
    }
    entries
}
