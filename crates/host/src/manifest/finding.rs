//! What is wrong with a manifest or package, with the place where it stands.

use std::fmt;
use std::path::{Path, PathBuf};

use ringfence_api::{ErrorCode, PermissionName};

use crate::Error;

/// The most findings that are kept of one file; further ones are only counted.
pub const FINDINGS_MAX: usize = 100;

/// How much a finding matters.
///
/// ```
/// use ringfence::manifest::Severity;
///
/// assert!(Severity::Error > Severity::Warning);
/// assert_eq!(Severity::Warning.as_str(), "warning");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something that works, and that the author should know.
    Note,
    /// Something that works and probably is not meant so.
    Warning,
    /// The plugin cannot be installed like this.
    Error,
}

impl Severity {
    /// The word in every output format; the same words as the levels of SARIF.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing to say about a file of a package: the place, the rule that it breaks, and what to do.
///
/// Its text form is `FILE:LINE:COLUMN RULE MESSAGE`, in one line, without control characters.
///
/// ```
/// use ringfence::manifest::{Finding, Severity};
///
/// let finding = Finding {
///     severity: Severity::Error,
///     rule: "unknown-field",
///     file: "plugin.yaml".into(),
///     line: 3,
///     column: 1,
///     message: "unknown field 'vesion'; did you mean 'version'?".to_owned(),
///     implies: None,
/// };
/// assert_eq!(
///     finding.to_string(),
///     "plugin.yaml:3:1 unknown-field unknown field 'vesion'; did you mean 'version'?",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The stable name of the rule, in kebab-case; `docs/manifest.md` lists them.
    pub rule: &'static str,
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// What is wrong and what to do.
    pub message: String,
    /// The permission that the code seems to need and the manifest does not ask for; only the scan says that.
    pub implies: Option<PermissionName>,
}

impl Finding {
    /// An error about a file as a whole.
    pub(crate) fn of_file(rule: &'static str, file: &Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            rule,
            file: file.to_owned(),
            line: 1,
            column: 1,
            message: message.into(),
            implies: None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = one_line(&self.file.display().to_string());
        write!(f, "{file}:{}:{} {} {}", self.line, self.column, self.rule, one_line(&self.message))
    }
}

/// File names and messages hold what a stranger wrote: a line break or an escape sequence in one must not look like
/// another finding.
fn one_line(text: &str) -> String {
    if text.chars().any(is_unsafe_in_a_line) {
        text.chars()
            .flat_map(|c| {
                let escaped: Vec<char> =
                    if is_unsafe_in_a_line(c) { c.escape_default().collect() } else { vec![c] };
                escaped
            })
            .collect()
    } else {
        text.to_owned()
    }
}

fn is_unsafe_in_a_line(c: char) -> bool {
    c.is_control() || ringfence_api::text::is_hidden(c)
}

/// Everything that is wrong with a manifest: at least one finding, in the order of the file.
///
/// As an [`Error`](crate::Error) it has the code `invalid_manifest` and one line for each finding.
///
/// ```
/// let package = tempfile::tempdir()?;
/// std::fs::write(package.path().join("plugin.json"), r#"{"name": "a", "nmae": 1}"#)?;
/// let findings = ringfence::manifest::load(package.path()).unwrap_err();
/// assert!(findings.iter().any(|finding| finding.rule == "unknown-field"));
/// let error = ringfence::Error::from(findings);
/// assert_eq!(error.code(), ringfence_api::ErrorCode::InvalidManifest);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        Self(findings)
    }

    /// The findings in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// How many there are; at most [`FINDINGS_MAX`] and one that counts the rest.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, finding) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

impl From<Findings> for Error {
    fn from(findings: Findings) -> Self {
        Self::new(ErrorCode::InvalidManifest, findings.to_string()).with_hint(
            "`ringfence check PATH` shows the findings of a package; docs/manifest.md has every field",
        )
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        Findings::from(finding).into()
    }
}
