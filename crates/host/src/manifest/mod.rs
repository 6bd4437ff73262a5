//! The manifest of a package: found, read with the place of every value, judged, and brought into one typed form.
//!
//! [`load`] reads `plugin.json`, `plugin.yaml` (or `.yml`) or `plugin.toml`, in Ringfence's own form or in one of three
//! existing dialects, and answers with the [`Manifest`] or with everything that is wrong with it at once. [`entry_point`]
//! then finds what the manifest wants to have run. This module deliberately runs nothing of the package, follows no link
//! out of it, and knows no lifecycle. Start reading at [`load`]; `docs/manifest.md` describes every field.

use std::path::{Path, PathBuf};

use ringfence_api::{ErrorCode, Manifest};

use crate::Error;

mod dialect;
mod entry;
mod fields;
mod finding;
mod json;
mod own;
mod parse;
mod reader;
mod source;
pub(crate) mod text;
pub(crate) mod tree;
mod yaml;

pub use dialect::Dialect;
pub use entry::{EntryPoint, PythonEntry, entry_point};
pub use finding::{FINDINGS_MAX, Finding, Findings, Severity};
pub use parse::{DEPTH_MAX, NODES_MAX};
pub use source::{MANIFEST_MAX_BYTES, MANIFEST_NAMES};

pub(crate) use fields::is_plugin_type;
pub(crate) use source::{Format, Source};

use reader::Reader;
use tree::{Lines, Node};

/// A manifest that was read.
///
/// ```
/// use ringfence::manifest::{self, Dialect};
///
/// let package = tempfile::tempdir()?;
/// let text = "name: greeter\nversion: 1.0.0\nruntime: python\nentry_point: greeter.py\n";
/// std::fs::write(package.path().join("plugin.yaml"), text)?;
/// let loaded = manifest::load(package.path())?;
/// assert_eq!(loaded.manifest.name.as_str(), "greeter");
/// assert_eq!((loaded.dialect, loaded.notes.len()), (Dialect::Ringfence, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// What it says, in the one typed form.
    pub manifest: Manifest,
    /// In which form it was written.
    pub dialect: Dialect,
    /// What the fields of a dialect became; empty for the own form.
    pub notes: Vec<Note>,
    /// The file that was read.
    pub file: PathBuf,
}

/// What one field of a dialect became.
///
/// ```
/// use ringfence::manifest::Note;
///
/// let note = Note { line: 4, column: 3, field: "main".to_owned(), message: "became entry_point".to_owned() };
/// assert_eq!(note.to_string(), "4:3 main became entry_point");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line of the field, counted from 1.
    pub line: u32,
    /// The column of the field in characters, counted from 1.
    pub column: u32,
    /// The field, such as `requires.permissions`.
    pub field: String,
    /// What it became, as the end of a sentence that begins with the field.
    pub message: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} {} {}", self.line, self.column, self.field, self.message)
    }
}

/// Reads the manifest of a package.
///
/// Nothing but the manifest's file is read: whether the entry point exists is the business of [`entry_point`], and what
/// else is in the package that of [`crate::check`].
///
/// # Errors
/// [`Findings`]: everything that is wrong, each with file, line, column and rule. With the rule `no-manifest` there is no
/// manifest, with `two-manifests` there is more than one.
pub fn load(package: &Path) -> Result<Loaded, Findings> {
    read(&Source::read(package)?)
}

/// Reads the manifest that a source holds.
pub(crate) fn read(source: &Source) -> Result<Loaded, Findings> {
    parse_named(&source.text, source.format, &source.file)
}

/// The directory of the package that a path means: the directory itself, the directory of a manifest's file, or, when it has
/// no manifest, the one directory in it that has one.
///
/// # Errors
/// `path_not_found` when nothing is there; `invalid_package` when it is a file that is no manifest, or holds several
/// packages.
pub fn package_of(path: &Path) -> Result<PathBuf, Error> {
    let seen = std::fs::metadata(path).map_err(|error| {
        let shown = text::shown(&path.display().to_string());
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Error::new(ErrorCode::PathNotFound, format!("'{shown}' does not exist"))
            }
            _ => Error::file("look at", path, error),
        }
    })?;
    let invalid = |why: String| Error::new(ErrorCode::InvalidPackage, format!("'{}' {why}", path.display()));
    if !seen.is_dir() {
        let is_manifest =
            path.file_name().is_some_and(|name| MANIFEST_NAMES.iter().any(|known| name == *known));
        let parent =
            path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        return parent
            .filter(|_| is_manifest)
            .map(Path::to_owned)
            .ok_or_else(|| invalid("is neither a directory nor a manifest".to_owned()));
    }
    let has_manifest = |directory: &Path| {
        MANIFEST_NAMES.iter().any(|name| std::fs::symlink_metadata(directory.join(name)).is_ok())
    };
    if has_manifest(path) {
        return Ok(path.to_owned());
    }
    let entries = std::fs::read_dir(path).map_err(|error| Error::file("read", path, error))?;
    let mut inside: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .take(PARENT_ENTRIES_MAX)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|directory| has_manifest(directory))
        .collect();
    match inside.len() {
        0 => Ok(path.to_owned()),
        1 => Ok(inside.remove(0)),
        several => Err(invalid(format!("holds {several} packages; name one of them"))),
    }
}

/// The most entries of a directory that are looked at for a package in it.
const PARENT_ENTRIES_MAX: usize = 1_000;

/// The same for a text, where `file` is only shown and says by its extension which format the text has (JSON when it has
/// none that is known).
///
/// ```
/// let findings = ringfence::manifest::parse("{\"name\": \"a\",}", "plugin.json".as_ref()).unwrap_err();
/// assert_eq!(findings.to_string(), "plugin.json:1:14 syntax JSON has no comma before '}'");
/// ```
///
/// # Errors
/// [`Findings`] as for [`load`].
pub fn parse(text: &str, file: &Path) -> Result<Loaded, Findings> {
    let format = Format::of(file).unwrap_or(Format::Json);
    if let Some(finding) = source::judge(text.as_bytes(), file) {
        return Err(finding.into());
    }
    parse_named(text, format, file)
}

fn parse_named(text: &str, format: Format, file: &Path) -> Result<Loaded, Findings> {
    let parsed = parse::parse(text, format);
    let mut reader = Reader::new(file, Lines::new(text, parsed.unit));
    for mistake in parsed.mistakes {
        reader.error(mistake.at, mistake.rule, mistake.message);
    }
    let Some(root) = parsed.root else { return Err(Findings::new(reader.finish())) };
    reader.hidden_characters(&root);
    let read = dialect::read(&mut reader, &root, format);
    match read {
        Some((manifest, dialect, notes)) if reader.is_clean() => {
            Ok(Loaded { manifest, dialect, notes, file: file.to_owned() })
        }
        _ => Err(Findings::new(reader.finish())),
    }
}

/// The tree of a text, when it has one.
pub(crate) fn tree_of(text: &str, format: Format) -> Option<(Node, tree::Unit)> {
    let parsed = parse::parse(text, format);
    let unit = parsed.unit;
    parsed.root.filter(|_| parsed.mistakes.is_empty()).map(|root| (root, unit))
}

#[cfg(test)]
mod tests;
