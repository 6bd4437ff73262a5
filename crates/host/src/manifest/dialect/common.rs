//! What the dialects have in common: looser names and versions, words for permissions, fields that say nothing to Ringfence.

use ringfence_api::{PermissionName, PermissionRequest, PluginName, Runtime};

use super::super::entry::extension;
use super::super::fields::{self, LABEL_MAX_BYTES};
use super::super::reader::{Layout, Reader, Table};
use super::super::text::shown;
use super::super::tree::{Node, Place, Tree};
use super::super::{Note, Severity};

/// A reader that also notes what fields became.
pub(super) struct Conversion<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) notes: Vec<Note>,
}

impl Conversion<'_, '_> {
    /// Notes what a field became.
    pub(super) fn note(&mut self, at: Place, field: &str, message: impl Into<String>) {
        let place = self.reader.finding(at, Severity::Note, "dialect", String::new());
        let note =
            Note { line: place.line, column: place.column, field: field.to_owned(), message: message.into() };
        self.notes.push(note);
    }

    /// Notes a field whose content Ringfence has no place for. It is an error, because nobody would know that it is missing.
    pub(super) fn cannot(&mut self, at: Place, message: impl Into<String>) {
        self.reader.error(at, "dialect", message);
    }

    /// Fields that describe and do nothing: noted, and left out.
    pub(super) fn left_out(&mut self, table: &Table<'_>, names: &[&str]) {
        for name in names {
            if let Some(member) = table.member(name) {
                self.note(member.at, name, "is left out: it changes nothing");
            }
        }
    }

    /// A name, made kebab-case if it is not.
    pub(super) fn name(&mut self, node: &Node, field: &str) -> Option<PluginName> {
        let text = self.reader.text(node, field, LABEL_MAX_BYTES, Layout::Line)?;
        if let Ok(name) = text.parse() {
            return Some(name);
        }
        let Some(name) = fields::kebab(text) else {
            return fields::name(self.reader, node);
        };
        self.note(node.at, field, format!("'{}' became name: {name}", shown(text)));
        Some(name)
    }

    /// A version: `v1.2` is read as 1.2.0, and without one it is 0.0.0.
    pub(super) fn version(&mut self, table: &Table<'_>) -> Option<semver::Version> {
        let Some(node) = table.get("version") else {
            self.note(table.at, "version", "is missing; became 0.0.0, so every later version is an upgrade");
            return Some(semver::Version::new(0, 0, 0));
        };
        let text = match &node.value {
            Tree::Number(number) => number.to_string(),
            _ => self.reader.text(node, "version", LABEL_MAX_BYTES, Layout::Line)?.to_owned(),
        };
        if let Ok(version) = semver::Version::parse(&text) {
            return Some(version);
        }
        let numbers: Vec<&str> = text.trim_start_matches('v').split('.').collect();
        let padded = match numbers.as_slice() {
            [major] => format!("{major}.0.0"),
            [major, minor] => format!("{major}.{minor}.0"),
            _ => numbers.join("."),
        };
        let Ok(version) = semver::Version::parse(&padded) else {
            return fields::version(self.reader, node);
        };
        self.note(node.at, "version", format!("'{}' became {version}", shown(&text)));
        Some(version)
    }

    /// The runtime that an entry file's extension tells, noted.
    pub(super) fn runtime(&mut self, node: &Node, field: &str, entry: &str) -> Option<Runtime> {
        let runtime = match extension(entry) {
            Some("py") => Runtime::Python,
            Some("js" | "mjs" | "cjs") => Runtime::Node,
            Some("wasm") => Runtime::Wasm,
            Some("sh" | "bash" | "pl" | "rb" | "bin" | "exe") | None => Runtime::Native,
            Some("ts" | "mts" | "tsx") => {
                let message = format!(
                    "{field} '{}' is TypeScript; name the JavaScript that it is compiled to",
                    shown(entry)
                );
                self.cannot(node.at, message);
                return None;
            }
            Some(other) => {
                let message = format!("{field}: no runtime is known for '.{}' files", shown(other));
                self.cannot(node.at, message);
                return None;
            }
        };
        self.note(node.at, field, format!("'{}' became runtime: {runtime}", shown(entry)));
        Some(runtime)
    }

    /// The author as a text, or as the `{name, email, url}` of npm.
    pub(super) fn author(&mut self, table: &Table<'_>) -> Option<String> {
        let node = table.get("author")?;
        if matches!(node.value, Tree::Table(_)) {
            let name = node.get("name")?;
            self.note(node.at, "author", "became its 'name'");
            return self.reader.text(name, "author", LABEL_MAX_BYTES, Layout::Line).map(str::to_owned);
        }
        self.reader.text(node, "author", LABEL_MAX_BYTES, Layout::Line).map(str::to_owned)
    }

    /// A list of permissions in words of a dialect or of Ringfence.
    pub(super) fn permissions(&mut self, node: &Node, field: &str) -> Vec<PermissionRequest> {
        let Some(nodes) = self.reader.list(node, field, fields::PERMISSIONS_MAX) else { return Vec::new() };
        let mut all: Vec<PermissionRequest> = Vec::new();
        for node in nodes {
            for request in self.permission(node, field) {
                if !all.contains(&request) {
                    all.push(request);
                }
            }
        }
        all
    }

    fn permission(&mut self, node: &Node, field: &str) -> Vec<PermissionRequest> {
        let Some(text) = self.reader.text(node, "a permission", LABEL_MAX_BYTES, Layout::Line) else {
            return Vec::new();
        };
        if let Some(requests) = from_word(text) {
            let message = became(text, &requests);
            self.note(node.at, field, message);
            return requests;
        }
        let Some(permission) = fields::permission(self.reader, node) else { return Vec::new() };
        if permission.scope().is_none() {
            let all = all_of(permission.name());
            self.note(node.at, field, format!("'{permission}' asks for {all}; narrow it when granting"));
        }
        vec![PermissionRequest::new(permission.name().clone(), permission.scope())]
    }
}

/// What a word became, as a note says it.
fn became(word: &str, requests: &[PermissionRequest]) -> String {
    let parts: Vec<String> = requests
        .iter()
        .map(|request| {
            let optional = if request.optional { " (optional)" } else { "" };
            format!("{}{optional}: {}", request.permission, all_of(&request.permission))
        })
        .collect();
    format!("'{}' became {}; narrow it when granting", shown(word), parts.join(", and "))
}

fn all_of(name: &PermissionName) -> &'static str {
    match name.scope_kind() {
        ringfence_api::ScopeKind::Path => "all paths",
        ringfence_api::ScopeKind::Host => "all hosts",
        ringfence_api::ScopeKind::Program => "all programs",
        ringfence_api::ScopeKind::Name => match name {
            PermissionName::EnvRead => "all variables",
            _ => "all names",
        },
    }
}

/// Words of the dialects, and what they come to. Where one word meant writing and deleting, deleting is optional, because
/// whoever grants may want one without the other.
pub(super) fn from_word(word: &str) -> Option<Vec<PermissionRequest>> {
    let ask = |name: PermissionName| PermissionRequest::new(name, None::<String>);
    let optional = |name: PermissionName| PermissionRequest { optional: true, ..ask(name) };
    Some(match word {
        "network" | "net" | "http" => vec![ask(PermissionName::NetworkRequest)],
        "file-read" | "fs-read" | "read-files" => vec![ask(PermissionName::FileRead)],
        "file-write" | "fs-write" | "write-files" => {
            vec![ask(PermissionName::FileWrite), optional(PermissionName::FileDelete)]
        }
        "filesystem" | "fs" => vec![
            ask(PermissionName::FileRead),
            ask(PermissionName::FileWrite),
            optional(PermissionName::FileDelete),
        ],
        "env" | "environment" => vec![ask(PermissionName::EnvRead)],
        "exec" | "subprocess" | "shell" | "process" => vec![ask(PermissionName::SubprocessExecute)],
        _ => return None,
    })
}
