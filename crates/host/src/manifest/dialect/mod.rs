//! Which form a manifest is written in, recognised by its own fields.

use ringfence_api::Manifest;

use super::reader::Reader;
use super::tree::{Node, Tree};
use super::{Format, Note, own};

mod capabilities;
mod common;
mod main_form;
mod type_form;

use common::Conversion;

/// The form in which a manifest was written.
///
/// ```
/// use ringfence::manifest::Dialect;
///
/// assert_eq!(Dialect::Ringfence.as_str(), "ringfence");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// Ringfence's own.
    Ringfence,
    /// `main`, `requires.permissions`, `hooks` as an object, flat `configSchema`, `enabledByDefault`.
    Main,
    /// `type`, `entry_point`, `permissions`, `timeout_seconds`, `enabled`.
    Type,
    /// `id`, `capabilities`, `entry_point`, and the older wire form.
    Capabilities,
}

impl Dialect {
    /// The word in `--json` output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ringfence => "ringfence",
            Self::Main => "main",
            Self::Type => "type",
            Self::Capabilities => "capabilities",
        }
    }

    /// As a message names it.
    const fn shown(self) -> &'static str {
        match self {
            Self::Ringfence => "Ringfence's own form",
            Self::Main => "the dialect with 'main'",
            Self::Type => "the dialect with 'type' and 'timeout_seconds'",
            Self::Capabilities => "the dialect with 'id' and 'capabilities'",
        }
    }
}

/// Fields that only one form has.
const MARKS: [(Dialect, &[&str]); 4] = [
    (Dialect::Ringfence, &["runtime", "enabled_by_default", "config_schema", "limits", "tools", "wire"]),
    (Dialect::Main, &["main", "requires", "configSchema", "enabledByDefault"]),
    (Dialect::Type, &["timeout_seconds", "enabled"]),
    (Dialect::Capabilities, &["id", "capabilities"]),
];

/// Reads a manifest in whatever form it has.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &Node,
    format: Format,
) -> Option<(Manifest, Dialect, Vec<Note>)> {
    let dialect = recognise(reader, root, format)?;
    let convert = match dialect {
        Dialect::Ringfence => return own::read(reader, root).map(|manifest| (manifest, dialect, Vec::new())),
        Dialect::Main => main_form::read,
        Dialect::Type => type_form::read,
        Dialect::Capabilities => capabilities::read,
    };
    reader.converting = true;
    let mut with = Conversion { reader, notes: Vec::new() };
    let manifest = convert(&mut with, root)?;
    let mut notes = with.notes;
    notes.sort_by_key(|note| (note.line, note.column));
    obeys_our_rules(reader, root, &manifest).then_some((manifest, dialect, notes))
}

/// The form of a manifest; `None`, and a mistake is noted, when it mixes two.
fn recognise(reader: &mut Reader<'_>, root: &Node, format: Format) -> Option<Dialect> {
    let mut seen: Vec<(Dialect, &str, usize)> = Vec::new();
    for member in root.members().unwrap_or_default() {
        let of = MARKS.iter().find(|(_, marks)| marks.contains(&member.name.as_str()));
        if let Some((dialect, _)) = of
            && !seen.iter().any(|(known, _, _)| known == dialect)
        {
            seen.push((*dialect, &member.name, member.at));
        }
    }
    match seen.as_slice() {
        [] if root.get("hooks").is_some_and(|hooks| matches!(hooks.value, Tree::Table(_))) => {
            Some(Dialect::Main)
        }
        [] if format == Format::Yaml && root.get("type").is_some() && root.get("entry_point").is_some() => {
            Some(Dialect::Type)
        }
        [] => Some(Dialect::Ringfence),
        [(dialect, _, _)] => Some(*dialect),
        [(first, a, _), (second, b, at), ..] => {
            let message = format!(
                "'{a}' belongs to {}, and '{b}' to {}; a manifest keeps to one form",
                first.shown(),
                second.shown()
            );
            reader.error(*at, "dialect", message);
            None
        }
    }
}

/// Whether a converted manifest would be taken in our own form: what that form bounds or forbids, no dialect brings in.
fn obeys_our_rules(reader: &mut Reader<'_>, root: &Node, manifest: &Manifest) -> bool {
    if !reader.is_clean() {
        return false;
    }
    let Ok(text) = serde_json::to_string(manifest) else { return false };
    let Err(findings) = super::parse(&text, std::path::Path::new("plugin.json")) else { return true };
    for finding in &findings {
        reader.error(root.at, finding.rule, format!("as it is converted: {}", finding.message));
    }
    false
}
