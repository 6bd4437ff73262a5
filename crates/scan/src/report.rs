//! What a scan says: findings, what was not read, and who may make a finding block.

use ringfence_api::{Manifest, PermissionName};
use serde::{Deserialize, Serialize};

use crate::limits::{FINDINGS_MAX, NOT_READ_MAX, PATH_MAX_BYTES, SUBJECT_MAX_CHARS};
use crate::rule::{Rule, Severity, rule};

/// What kind of place of the package a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ScanPlace"))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Place {
    /// The package's own code.
    Own,
    /// Tests, which do not run when the plugin does.
    Test,
    /// Other people's code that travels along: `node_modules`, `vendor`, `site-packages`.
    Vendored,
}

impl Place {
    /// The word in every output format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Test => "test",
            Self::Vendored => "vendored",
        }
    }

    /// By the path within the package.
    #[must_use]
    pub fn of(file: &str) -> Self {
        const VENDORED: &[&str] = &[
            "node_modules",
            "vendor",
            "vendored",
            "third_party",
            "site-packages",
            "dist-packages",
            ".venv",
            "venv",
            "bower_components",
        ];
        const TEST: &[&str] = &["test", "tests", "__tests__", "spec", "specs"];
        let (directories, name) = file.rsplit_once('/').unwrap_or(("", file));
        if directories.split('/').any(|part| VENDORED.contains(&part)) {
            return Self::Vendored;
        }
        let stem = name.split('.').next().unwrap_or_default();
        let named = stem.starts_with("test_")
            || stem.ends_with("_test")
            || name.contains(".test.")
            || name.contains(".spec.")
            || name == "conftest.py";
        if named || directories.split('/').any(|part| TEST.contains(&part)) { Self::Test } else { Self::Own }
    }
}

/// One thing that the code would do or hides.
///
/// ```
/// let package = tempfile::tempdir()?;
/// std::fs::write(package.path().join("a.py"), "from subprocess import run as r\nr('ls')\n")?;
/// let root = ringfence_sandbox::tree::Dir::open(package.path())?;
/// let report = ringfence_scan::scan(&root).judged(None);
/// let finding = &report.findings[0];
/// assert_eq!((finding.file.as_str(), finding.line, finding.rule), ("a.py", 2, "runs-programs"));
/// assert_eq!(finding.implies, Some(ringfence_api::PermissionName::SubprocessExecute));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ScanFinding"))]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The stable name of the rule.
    pub rule: &'static str,
    /// The file, relative to the package. A stranger named it: escape it before showing it.
    pub file: String,
    /// The line, counted from 1; 1 for a file as a whole and for what is no text.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// What it is and why that matters. Holds text of the package: escape it before showing it.
    pub message: String,
    /// The permission that this needs and that the manifest does not ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implies: Option<PermissionName>,
    /// Whose code it is.
    pub place: Place,
}

/// A file that was not looked at, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ScanNotRead"))]
pub struct NotRead {
    /// The file, relative to the package; escape it before showing it.
    pub file: String,
    /// Why, as the end of "it ...".
    pub why: String,
}

/// Where a scan was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ScanRan"))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ran {
    /// In a sandbox that could read the package and nothing else.
    Sandboxed,
    /// In this process, within the limits of [`crate::limits`].
    #[default]
    InProcess,
    /// Not at all, for this reason.
    NotRun(String),
}

/// What a scan says of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ScanReport"))]
pub struct Report {
    /// Where it was made.
    pub ran: Ran,
    /// What was found, in the order of the files; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond the most that are listed of one rule in one file, or in all.
    pub more_findings: u64,
    /// What was not read; at most [`NOT_READ_MAX`].
    pub not_read: Vec<NotRead>,
    /// Files that were not read beyond those that are listed.
    pub more_not_read: u64,
    /// How many files were read.
    pub files: u64,
    /// How many bytes that was.
    pub bytes: u64,
}

impl Report {
    /// A report that says only why there is none.
    #[must_use]
    pub fn not_run(why: impl Into<String>) -> Self {
        Self { ran: Ran::NotRun(why.into()), ..Self::default() }
    }

    /// Whether anything of the package was left unread that could hold code, or everything was.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        matches!(self.ran, Ran::NotRun(_)) || self.findings.iter().any(|finding| finding.rule == "not-read")
    }

    /// Permissions that the code seems to need and the manifest does not ask for, each once.
    #[must_use]
    pub fn implied(&self) -> Vec<PermissionName> {
        let mut names: Vec<PermissionName> =
            self.findings.iter().filter_map(|finding| finding.implies.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Those findings whose rule an administrator lets block, in their order. An id that no rule has blocks nothing: ask
/// [`unknown_rules`](crate::unknown_rules) first.
///
/// ```
/// let report = ringfence_scan::Report::default();
/// assert!(ringfence_scan::blocking(&report.findings, &["private-key"]).is_empty());
/// ```
#[must_use]
pub fn blocking<'a, S: AsRef<str>>(findings: &'a [Finding], rule_ids: &[S]) -> Vec<&'a Finding> {
    findings.iter().filter(|finding| rule_ids.iter().any(|id| id.as_ref() == finding.rule)).collect()
}

/// One match of a rule: all that whoever parses hostile bytes says. What it means is added by [`Raw::judged`], elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hit {
    pub(crate) rule: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// What it is: `os.system`, `a GitHub token`.
    pub(crate) subject: String,
}

/// What a scan saw, before it is judged. It may come from a process that a package has taken over, so nothing in it is
/// believed but that somebody said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raw {
    pub(crate) hits: Vec<Hit>,
    pub(crate) more_findings: u64,
    pub(crate) not_read: Vec<NotRead>,
    pub(crate) more_not_read: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Raw {
    /// Reads what [`Raw::to_json`] wrote, or whoever took the place of its writer.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The form that crosses from the sandbox to the host.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The report: hits get the severity, the reason and the implied permission of their rule. A permission that `manifest`
    /// asks for, with whatever scope, is not implied any more and makes a note of the finding. Hits of unknown rules are
    /// dropped, long texts are cut, and so are long lists.
    #[must_use]
    pub fn judged(self, manifest: Option<&Manifest>) -> Report {
        let asked: Vec<&PermissionName> = manifest
            .into_iter()
            .flat_map(|manifest| &manifest.permissions)
            .map(|asked| &asked.permission)
            .collect();
        let (total, unread) = (self.hits.len(), self.not_read.len());
        let mut findings: Vec<Finding> = self
            .hits
            .into_iter()
            .filter(|hit| hit.file.len() <= PATH_MAX_BYTES)
            .filter_map(|hit| rule(&hit.rule).map(|rule| judge(rule, hit, &asked)))
            .take(FINDINGS_MAX)
            .collect();
        findings
            .sort_by(|a, b| (&a.file, a.line, a.column, a.rule).cmp(&(&b.file, b.line, b.column, b.rule)));
        let not_read: Vec<NotRead> = self
            .not_read
            .into_iter()
            .filter(|one| one.file.len() <= PATH_MAX_BYTES)
            .map(|one| NotRead { why: cut(&one.why), ..one })
            .take(NOT_READ_MAX)
            .collect();
        let beyond = |all: usize, kept: usize| u64::try_from(all.saturating_sub(kept)).unwrap_or(u64::MAX);
        Report {
            ran: Ran::InProcess,
            more_findings: self.more_findings.saturating_add(beyond(total, findings.len())),
            more_not_read: self.more_not_read.saturating_add(beyond(unread, not_read.len())),
            findings,
            not_read,
            files: self.files,
            bytes: self.bytes,
        }
    }
}

fn judge(rule: &'static Rule, hit: Hit, asked: &[&PermissionName]) -> Finding {
    let known = rule.implies.as_ref().is_some_and(|name| asked.contains(&name));
    let place = Place::of(&hit.file);
    // Tests are run by their author, not by the plugin's host.
    let implies = rule.implies.clone().filter(|_| !known && place != Place::Test);
    let mut message = format!("{} {}", cut(&hit.subject), rule.why);
    match &implies {
        Some(name) => message.push_str(&format!("; that needs {name}, which the manifest does not ask for")),
        None if known => message.push_str("; the manifest asks for that"),
        None => {}
    }
    match place {
        Place::Own => {}
        Place::Test => message.push_str(" (in a test)"),
        Place::Vendored => message.push_str(" (in vendored code)"),
    }
    let severity = if known { Severity::Note } else { rule.severity };
    Finding {
        severity,
        rule: rule.id,
        file: hit.file,
        line: hit.line.max(1),
        column: hit.column.max(1),
        message,
        implies,
        place,
    }
}

/// A text of the package in a length that a line bears.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(SUBJECT_MAX_CHARS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
