//! The rules of single fields, the same for the own form and the dialects.

use ringfence_api::{
    Permission, PermissionName, PluginName, PluginNameError, TOOL_NAME_MAX_BYTES, ToolDeclaration,
    is_tool_name,
};
use ringfence_policy::{CanonicalPath, Effect, GrantProblem, Rule, Vars};

use super::reader::{Layout, Reader, Table};
use super::text::shown;
use super::tree::Node;

/// The longest description, of the plugin or of a tool.
pub(super) const DESCRIPTION_MAX_BYTES: usize = 8_192;
/// The longest author, licence, skill or reason.
pub(super) const LABEL_MAX_BYTES: usize = 1_024;
/// The longest entry point.
pub(super) const ENTRY_MAX_BYTES: usize = 1_024;
/// The longest name of an event or type.
const WORD_MAX_BYTES: usize = 128;
/// The longest version.
const VERSION_MAX_BYTES: usize = 128;
/// The most permissions, and the most scopes of one of them.
pub(super) const PERMISSIONS_MAX: usize = 256;
/// The most hooks.
pub(super) const HOOKS_MAX: usize = 256;
/// The most tools.
pub(super) const TOOLS_MAX: usize = 1_000;
/// The most skills.
const SKILLS_MAX: usize = 256;

pub(super) fn name(reader: &mut Reader<'_>, node: &Node) -> Option<PluginName> {
    let text = reader.text(node, "name", usize::MAX, Layout::Line)?;
    match text.parse::<PluginName>() {
        Ok(name) => Some(name),
        Err(error) => {
            let hint = match (kebab(text), error) {
                (Some(near), PluginNameError::Character) => format!("; such as '{near}'"),
                _ => String::new(),
            };
            reader.error(node.at, "name", format!("name '{}': {error}{hint}", shown(text)));
            None
        }
    }
}

/// The plugin name that a title, a Python name or a scoped npm name comes to.
pub(super) fn kebab(text: &str) -> Option<PluginName> {
    let mut name = String::new();
    let mut after_lower = false;
    for c in text.chars() {
        match c {
            'A'..='Z' => {
                if after_lower {
                    name.push('-');
                }
                name.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => name.push(c),
            '-' | '_' | ' ' | '.' | '/' | '@' => {
                if !name.ends_with('-') {
                    name.push('-');
                }
            }
            _ => return None,
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    name.trim_matches('-').parse().ok()
}

pub(super) fn version(reader: &mut Reader<'_>, node: &Node) -> Option<semver::Version> {
    let text = reader.text(node, "version", VERSION_MAX_BYTES, Layout::Line)?;
    match semver::Version::parse(text) {
        Ok(version) => Some(version),
        Err(error) => {
            let message =
                format!("version '{}' is not three numbers such as 1.2.0 (semver.org): {error}", shown(text));
            reader.error(node.at, "version", message);
            None
        }
    }
}

/// An optional text.
pub(super) fn optional(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    name: &str,
    max_bytes: usize,
    layout: Layout,
) -> Option<String> {
    table.get(name).and_then(|node| reader.text(node, name, max_bytes, layout)).map(str::to_owned)
}

/// The name of an event of the host's pipeline.
pub(super) fn event(reader: &mut Reader<'_>, at: super::tree::Place, text: &str) -> Option<String> {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b));
    if first && rest && text.len() <= WORD_MAX_BYTES {
        return Some(text.to_owned());
    }
    let message = format!(
        "event '{}' is a letter and then at most {} of A-Z a-z 0-9 _ . : / -, such as onRequest",
        shown(text),
        WORD_MAX_BYTES - 1
    );
    reader.error(at, "hook", message);
    None
}

/// Whether this can be the name of a kind of plugins.
pub(crate) fn is_plugin_type(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=WORD_MAX_BYTES).contains(&text.len()) && text.bytes().all(is_letter)
}

pub(super) fn plugin_type(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "type", WORD_MAX_BYTES, Layout::Line)?;
    if is_plugin_type(text) {
        return Some(text.to_owned());
    }
    reader.error(node.at, "type", format!("type '{}' has only A-Z a-z 0-9 _ . -", shown(text)));
    None
}

pub(super) fn skills(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    let Some(nodes) = reader.list(node, "skills", SKILLS_MAX) else { return Vec::new() };
    nodes
        .iter()
        .filter_map(|node| reader.text(node, "a skill", LABEL_MAX_BYTES, Layout::Line).map(str::to_owned))
        .collect()
}

pub(super) fn integrity(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "integrity", LABEL_MAX_BYTES, Layout::Line)?;
    if super::entry::digest_of(text).is_some() {
        return Some(text.to_owned());
    }
    let message =
        "integrity is 'sha256-' and the digest of the entry file in base64 (44 characters) or hex (64)";
    reader.error(node.at, "integrity", message);
    None
}

/// A permission, `NAME` or `NAME=SCOPE`, whose scope is a pattern of the right kind.
pub(super) fn permission(reader: &mut Reader<'_>, node: &Node) -> Option<Permission> {
    let text = reader.text(node, "a permission", usize::MAX, Layout::Line)?;
    match text.parse::<Permission>() {
        Ok(permission) => judged(reader, node, permission),
        Err(error) => {
            reader.error(node.at, "permission", error.to_string());
            None
        }
    }
}

/// A permission of a name and a scope.
pub(super) fn scoped(reader: &mut Reader<'_>, name: &PermissionName, node: &Node) -> Option<String> {
    let text = reader.text(node, "a scope", usize::MAX, Layout::Line)?;
    match Permission::scoped(name.clone(), text) {
        Ok(permission) => judged(reader, node, permission).map(|_| text.to_owned()),
        Err(error) => {
            reader.error(node.at, "scope", error.to_string());
            None
        }
    }
}

fn judged(reader: &mut Reader<'_>, node: &Node, permission: Permission) -> Option<Permission> {
    match scope_problem(&permission) {
        Some(why) => {
            reader.error(node.at, "scope", format!("'{}': {why}", shown(&permission.to_string())));
            None
        }
        None => Some(permission),
    }
}

/// Why a scope is no pattern of its kind. What the floor says depends on the machine, so it is judged when it is granted.
fn scope_problem(permission: &Permission) -> Option<String> {
    // Stand-ins: only whether the text is a pattern is asked here.
    let vars = Vars::new(CanonicalPath::new("/package").ok()?)
        .with_home(CanonicalPath::new("/user").ok()?)
        .with_data(CanonicalPath::new("/data").ok()?);
    match Rule::from_permission(Effect::Allow, permission, &vars, "manifest") {
        Ok(_) => None,
        Err(error) => match error.problem() {
            GrantProblem::Floor { .. } | GrantProblem::FloorWildcard => None,
            problem => Some(problem.to_string()),
        },
    }
}

/// The name of a tool.
pub(super) fn tool_name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "a tool's name", usize::MAX, Layout::Line)?;
    if is_tool_name(text) {
        return Some(text.to_owned());
    }
    let message =
        format!("tool '{}': a name is 1 to {TOOL_NAME_MAX_BYTES} of A-Z a-z 0-9 _ . -", shown(text));
    reader.error(node.at, "tool-name", message);
    None
}

/// Notes tools whose name another one has.
pub(super) fn duplicate_tools(reader: &mut Reader<'_>, tools: &[(super::tree::Place, ToolDeclaration)]) {
    let mut names = std::collections::BTreeSet::new();
    for (at, tool) in tools {
        if !names.insert(tool.name.as_str()) {
            reader.error(*at, "duplicate-tool", format!("tool '{}' is declared twice", tool.name));
        }
    }
}
