//! Rules as data: what is looked for, why it matters, and which permission it needs.
//!
//! [`RULES`] is the whole table. A rule with names fires where a source refers to one of them, through whatever aliases; a
//! rule without fires by a detector of its own. `docs/scan.md` has the same table for people.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use ringfence_api::PermissionName;
use serde::Serialize;

mod names;
mod table;

pub(crate) use names::decodes;
pub use table::RULES;

/// How much a finding matters. Neither keeps anybody from installing a package.
///
/// ```
/// use ringfence_scan::Severity;
///
/// assert!(Severity::Warning > Severity::Note);
/// assert_eq!(Severity::Warning.as_str(), "warning");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ScanSeverity"))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing: the manifest asks for it, or it is usual.
    Note,
    /// Worth a look before the package is installed.
    Warning,
}

impl Severity {
    /// The word in every output format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a file is, as far as rules differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ScanLanguage"))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Language {
    /// Python 3, and most of Python 2.
    Python,
    /// JavaScript, with JSX.
    JavaScript,
    /// TypeScript, with TSX.
    TypeScript,
    /// Shell: bash, sh and what is near them.
    Shell,
    /// A program or library for Linux.
    Elf,
    /// A wasm module or component.
    Wasm,
    /// Any other text.
    Text,
}

impl Language {
    /// The name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Shell => "shell",
            Self::Elf => "ELF",
            Self::Wasm => "wasm",
            Self::Text => "text",
        }
    }
}

/// How a source refers to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// By its dotted name, aliases seen through: `subprocess.run`. A `*` at the end stands for any rest.
    Reference,
    /// As a method of something unknown: `.unlink()`.
    Method,
    /// As a command of a shell.
    Command,
    /// As an imported symbol of an ELF file, or as `module.name` of a wasm file.
    Symbol,
}

/// Names of one language that a rule looks for.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Where.
    pub language: Language,
    /// How they are referred to.
    pub by: Use,
    /// The names.
    pub names: &'static [&'static str],
}

/// One rule.
///
/// ```
/// let rule = ringfence_scan::rule("runs-programs").unwrap();
/// assert_eq!(rule.implies, Some(ringfence_api::PermissionName::SubprocessExecute));
/// ```
#[derive(Debug)]
pub struct Rule {
    /// Its stable name, in kebab-case.
    pub id: &'static str,
    /// How much it matters where the manifest does not ask for the permission.
    pub severity: Severity,
    /// What it means, as a sentence about the code.
    pub why: &'static str,
    /// The permission that the code needs for this to work.
    pub implies: Option<PermissionName>,
    /// Where it is looked for.
    pub languages: &'static [Language],
    /// What it is looked for by; empty for a rule with a detector of its own.
    pub names: &'static [Names],
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Rule {}

/// The rule of that name.
#[must_use]
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// Those of `ids` that no rule has: a policy that names one blocks nothing by it.
///
/// ```
/// assert_eq!(ringfence_scan::unknown_rules(&["private-key", "privat-key"]), ["privat-key"]);
/// ```
#[must_use]
pub fn unknown_rules<S: AsRef<str>>(ids: &[S]) -> Vec<String> {
    ids.iter().map(AsRef::as_ref).filter(|id| rule(id).is_none()).map(str::to_owned).collect()
}

type Exact = HashMap<(Language, Use, &'static str), &'static Rule>;
type Beginnings = Vec<(Language, Use, &'static str, &'static Rule)>;

static INDEX: LazyLock<(Exact, Beginnings)> = LazyLock::new(|| {
    let (mut exact, mut beginnings) = (Exact::new(), Beginnings::new());
    for rule in RULES {
        for names in rule.names {
            for name in names.names {
                match name.strip_suffix('*') {
                    Some(beginning) => beginnings.push((names.language, names.by, beginning, rule)),
                    None => drop(exact.insert((names.language, names.by, *name), rule)),
                }
            }
        }
    }
    (exact, beginnings)
});

/// The rule that looks for `name`. TypeScript has the names of JavaScript.
pub(crate) fn by_name(language: Language, by: Use, name: &str) -> Option<&'static Rule> {
    let language = if language == Language::TypeScript { Language::JavaScript } else { language };
    let (exact, beginnings) = &*INDEX;
    if let Some(rule) = exact.get(&(language, by, name)) {
        return Some(rule);
    }
    beginnings
        .iter()
        .find(|(of, how, beginning, _)| *of == language && *how == by && name.starts_with(beginning))
        .map(|(.., rule)| *rule)
}
