//! What there is to say about a package before anybody installs it: errors, warnings, notes, each with its place.
//!
//! [`check`] reads the manifest and looks at the files; nothing of the package is run. [`write()`] fills the manifest's `tools`
//! and `hooks` from what the code declares, which somebody else found out in the sandbox ([`Described`]). The formats for
//! people and programs are [`text`], [`json`] and [`sarif`]. This module deliberately installs nothing and asks nobody.

use std::path::Path;

use ringfence_api::{HookDeclaration, ToolDeclaration};
use serde::{Deserialize, Serialize};

use crate::manifest::tree::{Lines, Node};
use crate::manifest::{self, Finding, Findings, Loaded, Severity, Source};
use crate::scan::Report;

mod emit;
mod files;
mod output;
mod scanned;
mod warnings;
mod write;

pub use output::{json, sarif, text};
pub use write::{Written, write};

/// What was found.
///
/// ```
/// let package = tempfile::tempdir()?;
/// std::fs::write(package.path().join("plugin.yaml"), "name: a\n")?;
/// let checked = ringfence::check::check(package.path());
/// assert!(checked.has_errors());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checked {
    /// Errors, warnings and notes, in the order of the files.
    pub findings: Vec<Finding>,
    /// The manifest, if it could be read.
    pub loaded: Option<Loaded>,
}

impl Checked {
    /// The same with what the scan of the code says: a finding each, and one for each file that was not read. None of them
    /// is an error.
    #[must_use]
    pub fn with_scan(mut self, package: &Path, report: &Report) -> Self {
        self.findings.extend(scanned::findings(package, report));
        self.findings = ordered(self.findings);
        self
    }

    /// Whether the package cannot be installed like this.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// What the code of a plugin declares, as its runner prints it for `--describe`.
///
/// ```
/// let described: ringfence::check::Described = serde_json::from_str(
///     r#"{"tools": [{"name": "greet"}], "hooks": [], "class_found": true, "bases": ["ringfence.Plugin"]}"#,
/// )?;
/// assert_eq!(described.tools[0].name, "greet");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// The tools.
    #[serde(default)]
    pub tools: Vec<ToolDeclaration>,
    /// The hooks.
    #[serde(default)]
    pub hooks: Vec<HookDeclaration>,
    /// Whether the class that the entry point names was found.
    #[serde(default)]
    pub class_found: bool,
    /// The base classes of that class, as `module.Class`.
    #[serde(default)]
    pub bases: Vec<String>,
    /// Why the code could not be looked at.
    #[serde(default)]
    pub error: Option<String>,
}

/// Looks at a package: its manifest, its entry point and its files.
#[must_use]
pub fn check(package: &Path) -> Checked {
    let source = match Source::read(package) {
        Ok(source) => source,
        Err(finding) => return Checked { findings: vec![finding], loaded: None },
    };
    let mut findings = files::findings(package);
    let loaded = match manifest::read(&source) {
        Ok(loaded) => loaded,
        Err(found) => {
            findings.extend(found);
            return Checked { findings: ordered(findings), loaded: None };
        }
    };
    if let Some((root, unit)) = manifest::tree_of(&source.text, source.format) {
        let lines = Lines::new(&source.text, unit);
        let mut places = Places { file: &source.file, root: &root, lines, findings: Vec::new() };
        warnings::collect(&mut places, package, &loaded);
        findings.extend(places.findings);
    }
    Checked { findings: ordered(findings), loaded: Some(loaded) }
}

fn ordered(findings: Vec<Finding>) -> Vec<Finding> {
    Findings::new(findings).into_iter().collect()
}

/// Notes findings at places of the manifest that JSON pointers name.
struct Places<'a> {
    file: &'a Path,
    root: &'a Node,
    lines: Lines<'a>,
    findings: Vec<Finding>,
}

impl Places<'_> {
    fn add(&mut self, severity: Severity, rule: &'static str, pointer: &str, message: impl Into<String>) {
        let (line, column) = self.lines.line_and_column(self.root.nearest(pointer).at);
        let (file, message) = (self.file.to_owned(), message.into());
        self.findings.push(Finding { severity, rule, file, line, column, message, implies: None });
    }

    fn warn(&mut self, rule: &'static str, pointer: &str, message: impl Into<String>) {
        self.add(Severity::Warning, rule, pointer, message);
    }
}

#[cfg(test)]
mod tests;
