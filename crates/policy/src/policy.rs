//! The administrator's policy: rules over all plugins, above what a person grants.
//!
//! A policy never opens anything. It says which grants hold ([`PluginPolicy::judge`]), which packages may be installed and run
//! ([`Policy::admit`]), and how far limits may go ([`Policy::ceilings`]). Reading it from a file is somebody else's business.

mod admission;
mod judge;

use std::fmt;
use std::time::Duration;

pub use admission::{Admission, Blocked, Candidate, DIGEST_HEX_CHARS, Digest, DigestError};
pub use judge::{Judgement, PluginPolicy, PolicyDecision, PolicyReason};

use crate::name_pattern::NamePattern;
use crate::rule::{Effect, Rule};

/// Where something stands in the policy: line and column, both from 1.
///
/// ```
/// let place = ringfence_policy::Place { line: 3, column: 9 };
/// assert_eq!(place.to_string(), "3:9");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value, and where it stands in the policy.
///
/// ```
/// use ringfence_policy::{Place, Placed};
///
/// let ceiling = Placed { value: 250_000_000_u64, place: Place { line: 4, column: 1 } };
/// assert_eq!(ceiling.place.line, 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// One rule of the policy: for which plugins, and what.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, NamePattern, Place, PolicyRule, Rule, Vars};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let rule = PolicyRule {
///     plugins: vec!["mail-*".parse()?],
///     rule: Rule::parse(Effect::Deny, "network:request", &vars, "policy.toml:3")?,
///     place: Place { line: 3, column: 9 },
/// };
/// assert!(rule.is_about("mail-fetcher") && !rule.is_about("notes"));
/// assert_eq!(rule.to_string(), "'deny network:request' (policy.toml:3)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// The names of the plugins that it is about; empty means all of them.
    pub plugins: Vec<NamePattern>,
    /// What it denies, or what it allows.
    pub rule: Rule,
    /// Where it stands.
    pub place: Place,
}

impl PolicyRule {
    /// Whether it is about a plugin of this name.
    #[must_use]
    pub fn is_about(&self, plugin: &str) -> bool {
        is_about(&self.plugins, plugin)
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' ({})", self.rule, self.rule.origin())
    }
}

pub(crate) fn is_about(plugins: &[NamePattern], plugin: &str) -> bool {
    plugins.is_empty() || plugins.iter().any(|pattern| pattern.matches_bytes(plugin.as_bytes()))
}

/// How far the limits of plugins may go, whatever their manifests and the configuration say. `None` is no ceiling.
///
/// ```
/// assert_eq!(ringfence_policy::Ceilings::default().memory_bytes, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the limits of plugins, with their units in their names"
)]
pub struct Ceilings {
    pub init_timeout: Option<Placed<Duration>>,
    pub call_timeout: Option<Placed<Duration>>,
    pub memory_bytes: Option<Placed<u64>>,
    pub cpu_percent: Option<Placed<u64>>,
    pub processes: Option<Placed<u64>>,
    pub file_size_bytes: Option<Placed<u64>>,
    pub open_files: Option<Placed<u64>>,
    pub log_bytes: Option<Placed<u64>>,
    pub data_bytes: Option<Placed<u64>>,
    pub data_keys: Option<Placed<u64>>,
    pub queued_calls: Option<Placed<u64>>,
}

impl Ceilings {
    /// The lower of each; of two that are the same, ours.
    #[must_use]
    pub fn lower(&self, other: &Self) -> Self {
        fn low<T: Ord + Clone>(ours: &Option<Placed<T>>, other: &Option<Placed<T>>) -> Option<Placed<T>> {
            match (ours, other) {
                (Some(ours), Some(other)) if other.value < ours.value => Some(other.clone()),
                (Some(ours), _) => Some(ours.clone()),
                (None, other) => other.clone(),
            }
        }
        Self {
            init_timeout: low(&self.init_timeout, &other.init_timeout),
            call_timeout: low(&self.call_timeout, &other.call_timeout),
            memory_bytes: low(&self.memory_bytes, &other.memory_bytes),
            cpu_percent: low(&self.cpu_percent, &other.cpu_percent),
            processes: low(&self.processes, &other.processes),
            file_size_bytes: low(&self.file_size_bytes, &other.file_size_bytes),
            open_files: low(&self.open_files, &other.open_files),
            log_bytes: low(&self.log_bytes, &other.log_bytes),
            data_bytes: low(&self.data_bytes, &other.data_bytes),
            data_keys: low(&self.data_keys, &other.data_keys),
            queued_calls: low(&self.queued_calls, &other.queued_calls),
        }
    }
}

/// A rule of the scan of packages that refuses an installation when it finds something, by its id.
///
/// ```
/// use ringfence_policy::ScanRuleId;
///
/// assert_eq!("hidden-text".parse::<ScanRuleId>()?.as_str(), "hidden-text");
/// assert!("Hidden Text".parse::<ScanRuleId>().is_err());
/// # Ok::<(), ringfence_policy::ScanRuleIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanRuleId(Box<str>);

/// The longest id of a rule of the scan, in bytes.
pub const SCAN_RULE_ID_MAX_BYTES: usize = 64;

/// A text that is no id of a rule of the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a scan rule is 1 to {SCAN_RULE_ID_MAX_BYTES} of a-z, 0-9, '-' and '/'")]
pub struct ScanRuleIdError;

impl ScanRuleId {
    /// The id.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ScanRuleId {
    type Err = ScanRuleIdError;

    /// # Errors
    /// [`ScanRuleIdError`] when it is empty, too long, or has other letters.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'/');
        if text.is_empty() || text.len() > SCAN_RULE_ID_MAX_BYTES || !text.bytes().all(fits) {
            return Err(ScanRuleIdError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ScanRuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A whole policy. The default one denies nothing.
///
/// - A deny rule beats everything.
/// - Where a plugin has allow rules for a permission, it may have what they open and nothing else of that permission.
/// - What no rule speaks of goes by [`Policy::default_effect`].
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, FileOp, Place, Policy, PolicyRule, Request, Rule, Vars};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let rule = |effect, text: &str, line| PolicyRule {
///     plugins: Vec::new(),
///     rule: Rule::parse(effect, text, &vars, format!("policy.toml:{line}")).unwrap(),
///     place: Place { line, column: 1 },
/// };
/// let policy = Policy {
///     rules: vec![
///         rule(Effect::Allow, "file:read=/srv/**", 1),
///         rule(Effect::Deny, "file:read=/srv/payroll/**", 2),
///     ],
///     ..Policy::default()
/// };
/// let notes = policy.for_plugin("notes");
/// let may = |path: &str| {
///     let request = Request::File { op: FileOp::Read, path: CanonicalPath::new(path).unwrap() };
///     notes.decide(&request).is_allowed()
/// };
/// assert!(may("/srv/notes/a.txt") && !may("/srv/payroll/may.csv") && !may("/etc/hosts"));
///
/// let grant = Rule::parse(Effect::Allow, "file:read=/srv/payroll/**", &vars, "a grant")?;
/// assert!(notes.judge(&grant).is_refused());
/// # Ok::<(), ringfence_policy::GrantError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What holds where no rule speaks: `None` means allow.
    pub default_effect: Option<Placed<Effect>>,
    /// The rules in their order.
    pub rules: Vec<PolicyRule>,
    /// Which packages may be installed and run.
    pub admission: Admission,
    /// Ceilings, each for some plugins (empty: for all).
    pub ceilings: Vec<(Vec<NamePattern>, Ceilings)>,
    /// Rules of the scan whose findings refuse an installation.
    pub scan_rules: Vec<Placed<ScanRuleId>>,
    /// A plugin to which as much is refused within an hour is quarantined. `None`: never for that.
    pub denials_per_hour: Option<Placed<u64>>,
}

impl Policy {
    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of it is about one plugin, compiled: deciding takes about as long for 1,000 rules as for ten.
    #[must_use]
    pub fn for_plugin(&self, name: &str) -> PluginPolicy {
        let rules = self.rules.iter().filter(|rule| rule.is_about(name)).cloned().collect();
        PluginPolicy::new(rules, self.default_effect.clone())
    }

    /// The ceilings of one plugin: the lowest of those that are about it.
    #[must_use]
    pub fn ceilings(&self, name: &str) -> Ceilings {
        let about = self.ceilings.iter().filter(|(plugins, _)| is_about(plugins, name));
        about.fold(Ceilings::default(), |lowest, (_, ceilings)| lowest.lower(ceilings))
    }

    /// Whether a package may be installed and run.
    ///
    /// # Errors
    /// [`Blocked`] with what refuses it and where that stands.
    pub fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Blocked> {
        self.admission.admit(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_ceiling_of_those_about_the_plugin_holds() {
        let at = |value, line| Some(Placed { value, place: Place { line, column: 1 } });
        let memory = |value, line| Ceilings { memory_bytes: at(value, line), ..Ceilings::default() };
        let policy = Policy {
            ceilings: vec![
                (Vec::new(), memory(300, 1)),
                (vec!["mail-*".parse().unwrap()], memory(100, 2)),
                (vec!["mail-x".parse().unwrap()], memory(200, 3)),
            ],
            ..Policy::default()
        };
        assert_eq!(policy.ceilings("mail-x").memory_bytes, at(100, 2));
        assert_eq!(policy.ceilings("notes").memory_bytes, at(300, 1));
        assert_eq!(policy.ceilings("notes").cpu_percent, None);
        assert!(!policy.is_empty() && Policy::default().is_empty());
    }

    #[test]
    fn scan_rules_have_bounded_plain_ids() {
        for good in ["a", "hidden-text", "python/eval", &"x".repeat(64)] {
            assert_eq!(good.parse::<ScanRuleId>().unwrap().to_string(), good);
        }
        for bad in ["", "A", "a b", "a_b", &"x".repeat(65)] {
            assert!(bad.parse::<ScanRuleId>().is_err(), "{bad}");
        }
    }
}
