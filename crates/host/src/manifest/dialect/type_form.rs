//! The dialect with `type`, `entry_point`, `permissions`, `timeout_seconds` and `enabled`.

use ringfence_api::{LimitsRequest, Manifest, Runtime, Wire};

use super::super::reader::{Layout, Table};
use super::super::text::shown;
use super::super::tree::{Node, Tree};
use super::super::{entry, fields, own};
use super::common::Conversion;

const FIELDS: [&str; 16] = [
    "name",
    "version",
    "description",
    "author",
    "license",
    "type",
    "entry_point",
    "permissions",
    "timeout_seconds",
    "enabled",
    "homepage",
    "repository",
    "keywords",
    "tags",
    "category",
    "$schema",
];
const LEFT_OUT: [&str; 5] = ["homepage", "repository", "keywords", "tags", "category"];

/// Reads the dialect.
pub(super) fn read(with: &mut Conversion<'_, '_>, root: &Node) -> Option<Manifest> {
    let table = &with.reader.table(root, "a manifest", &FIELDS)?;
    with.left_out(table, &LEFT_OUT);
    let name = with.reader.required(table, "name", "'translator'").and_then(|node| with.name(node, "name"));
    let version = with.version(table);
    let plugin_type = with.reader.required(table, "type", "'processor'").and_then(|node| {
        let kind = fields::plugin_type(with.reader, node)?;
        let message =
            format!("'{kind}' is the kind whose base class, if the host registers one, the class must have");
        with.note(node.at, "type", message);
        Some(kind)
    });
    let entry_point =
        with.reader.required(table, "entry_point", "'main:Plugin'").and_then(|node| entry_point(with, node));
    let description =
        fields::optional(with.reader, table, "description", fields::DESCRIPTION_MAX_BYTES, Layout::Lines);
    let author = with.author(table);
    let license = fields::optional(with.reader, table, "license", fields::LABEL_MAX_BYTES, Layout::Line);
    let permissions =
        table.get("permissions").map(|node| with.permissions(node, "permissions")).unwrap_or_default();
    let call_timeout_s = timeout(with, table);
    let enabled = table.member("enabled").and_then(|member| {
        with.note(member.at, "enabled", "became enabled_by_default");
        with.reader.boolean(&member.value, "enabled")
    });
    let (entry_point, runtime) = entry_point?;
    Some(Manifest {
        name: name?,
        version: version?,
        description,
        author,
        license,
        runtime,
        entry_point,
        plugin_type: Some(plugin_type?),
        enabled_by_default: enabled.unwrap_or_default(),
        permissions,
        hooks: Vec::new(),
        tools: Vec::new(),
        config_schema: None,
        limits: LimitsRequest { call_timeout_s, ..LimitsRequest::default() },
        skills: Vec::new(),
        integrity: None,
        wire: Wire::default(),
    })
}

/// Mostly a Python class; `file.py:Class` and `module.Class` are read as `module:Class`.
fn entry_point(with: &mut Conversion<'_, '_>, node: &Node) -> Option<(String, Runtime)> {
    let text = with.reader.text(node, "entry_point", fields::ENTRY_MAX_BYTES, Layout::Line)?;
    let mut entry_point = text.trim_start_matches("./").to_owned();
    if let Some((file, class)) = text.split_once(':')
        && let Some(module) = file.trim_start_matches("./").strip_suffix(".py")
    {
        entry_point = format!("{}:{class}", module.replace('/', "."));
        with.note(node.at, "entry_point", format!("'{}' became {entry_point}", shown(text)));
    }
    if let Some((module, class)) = dotted_class(text) {
        entry_point = format!("{module}:{class}");
        with.note(node.at, "entry_point", format!("'{}' became {entry_point}", shown(text)));
    }
    // `name:Class` and dotted names are Python; a bare name is a module, as there is no file without an extension.
    let is_module = entry_point.contains(':') || !entry_point.contains('/');
    let known = matches!(
        entry::extension(&entry_point),
        Some("py" | "js" | "mjs" | "cjs" | "wasm" | "sh" | "ts" | "rb" | "pl" | "exe")
    );
    let runtime = if is_module && !known {
        with.note(node.at, "entry_point", format!("'{}' became runtime: python", shown(text)));
        Runtime::Python
    } else {
        with.runtime(node, "entry_point", &entry_point)?
    };
    if let Err(why) = entry::judge_text(runtime, &entry_point) {
        with.reader.error(node.at, "entry-point", why);
        return None;
    }
    Some((entry_point, runtime))
}

/// The module and the class of `module.Class`: classes are written with a capital letter, modules and endings are not.
fn dotted_class(text: &str) -> Option<(&str, &str)> {
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let (module, class) = text.rsplit_once('.')?;
    let is_class = class.starts_with(|first: char| first.is_ascii_uppercase()) && is_name(class);
    (is_class && module.split('.').all(is_name)).then_some((module, class))
}

/// Seconds, a fraction of one rounded up.
fn timeout(with: &mut Conversion<'_, '_>, table: &Table<'_>) -> Option<u64> {
    let node = table.get("timeout_seconds")?;
    let Tree::Number(number) = &node.value else {
        with.reader.wrong_type(node, "timeout_seconds", "a number");
        return None;
    };
    let seconds = number.as_f64().unwrap_or_default().ceil();
    let max = own::TIMEOUT_MAX_S;
    #[expect(clippy::cast_precision_loss, reason = "a day has few seconds")]
    let fits = seconds >= 1.0 && seconds <= max as f64;
    if !fits {
        with.reader.error(node.at, "limit", format!("timeout_seconds is {number}; it can be 1 to {max}"));
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, 1 to 86,400")]
    let seconds = seconds as u64;
    with.note(node.at, "timeout_seconds", format!("became limits.call_timeout_s: {seconds}"));
    Some(seconds)
}
