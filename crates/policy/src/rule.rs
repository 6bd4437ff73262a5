//! One rule: allow or deny, a permission, its scope, and where it was written.

use std::fmt;
use std::sync::Arc;

use ringfence_api::{ErrorCode, Permission, PermissionError, PermissionName, ScopeKind};

use crate::canonical_path::CanonicalPath;
use crate::floor::Floor;
use crate::host_pattern::{HostPattern, HostPatternError, HostSet};
use crate::name_pattern::{NameError, NamePattern};
use crate::network_floor;
use crate::path_pattern::{PathPattern, PathPatternError};
use crate::vars::Vars;

/// What a rule does with what it matches. Deny beats allow, whatever the order.
///
/// ```
/// use ringfence_policy::Effect;
///
/// assert_eq!(Effect::Deny.to_string(), "deny");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Open it.
    Allow,
    /// Refuse it, whatever else allows it.
    Deny,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// One rule, read and checked: an effect, a permission with its scope, and where it was written.
///
/// An allow rule for `file:write` or `file:delete` that would bring floor paths along without naming them
/// cannot be made.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, Rule, Vars};
///
/// let vars = Vars::new(CanonicalPath::new("/proj")?).with_home(CanonicalPath::new("/home/ada")?);
/// let rule = Rule::parse(Effect::Allow, "file:read=notes/**", &vars, "--grant file:read=notes/**")?;
/// assert_eq!(rule.text(), "file:read=/proj/notes/**");
/// assert_eq!(rule.path().unwrap().literal_prefix(), CanonicalPath::new("/proj/notes")?);
///
/// let error = Rule::parse(Effect::Allow, "file:write=~/**", &vars, "--rw ~").unwrap_err();
/// assert!(error.floor_paths().contains(&CanonicalPath::new("/home/ada/.ssh")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    effect: Effect,
    permission: PermissionName,
    scope: Scope,
    written: Written,
    origin: String,
    floor: Arc<Floor>,
}

/// The meaning of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Path(PathPattern),
    Host(HostPattern),
    Program(NamePattern),
    Name(NamePattern),
}

/// Whether a scope was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Bare,
    Scoped,
}

impl Rule {
    /// Reads a rule from the text of a permission, `NAME` or `NAME=SCOPE`. `origin` says to people where it
    /// was written, such as `--grant file:read=/x` or `policy.toml:12`.
    ///
    /// A scope of `subprocess:execute` with a slash (or `~`, `${data}`) is a path pattern; without one it is
    /// the name of a program in [`PROGRAM_DIRECTORIES`].
    ///
    /// # Errors
    ///
    /// [`GrantError`] when the text is not a permission, its scope is not a pattern of the right kind, or it
    /// would open floor paths without naming them.
    pub fn parse(
        effect: Effect,
        text: &str,
        vars: &Vars,
        origin: impl Into<String>,
    ) -> Result<Self, GrantError> {
        let origin = origin.into();
        let fail = |problem| GrantError { text: text.to_owned(), origin: origin.clone(), problem };
        let permission: Permission = text.parse().map_err(|error| fail(GrantProblem::Permission(error)))?;
        Self::from_permission(effect, &permission, vars, origin)
    }

    /// The same from a permission that is already read.
    ///
    /// # Errors
    ///
    /// [`GrantError`] as for [`Rule::parse`].
    pub fn from_permission(
        effect: Effect,
        permission: &Permission,
        vars: &Vars,
        origin: impl Into<String>,
    ) -> Result<Self, GrantError> {
        let origin = origin.into();
        let text = permission.to_string();
        let scope = match read_scope(permission, vars) {
            Ok(scope) => scope,
            Err(problem) => return Err(GrantError { text, origin, problem }),
        };
        let written = if permission.scope().is_some() { Written::Scoped } else { Written::Bare };
        let floor = vars.shared_floor();
        Self { effect, permission: permission.name().clone(), scope, written, origin, floor }.checked(text)
    }

    /// A rule over files from a pattern, for paths that come as file names and not as grant text.
    ///
    /// # Errors
    ///
    /// [`GrantError`] when it would open floor paths without naming them.
    pub fn for_path(
        effect: Effect,
        op: crate::FileOp,
        pattern: PathPattern,
        vars: &Vars,
        origin: impl Into<String>,
    ) -> Result<Self, GrantError> {
        let permission = op.permission();
        let text = format!("{permission}={pattern}");
        let scope = Scope::Path(pattern);
        let (written, floor) = (Written::Scoped, vars.shared_floor());
        Self { effect, permission, scope, written, origin: origin.into(), floor }.checked(text)
    }

    /// Refuses what no rule may do.
    fn checked(self, text: String) -> Result<Self, GrantError> {
        match self.floor_problem() {
            Some(problem) => Err(GrantError { text, origin: self.origin, problem }),
            None => Ok(self),
        }
    }

    fn floor_problem(&self) -> Option<GrantProblem> {
        if self.effect == Effect::Deny {
            return None;
        }
        match &self.scope {
            Scope::Path(pattern) => {
                let paths = self.floor.floor_conflicts(pattern);
                let changes =
                    matches!(self.permission, PermissionName::FileWrite | PermissionName::FileDelete);
                let prefix = pattern.literal_prefix();
                if paths.iter().any(|floor| prefix.is_within(floor)) {
                    Some(GrantProblem::FloorWildcard)
                } else if changes && !paths.is_empty() {
                    Some(GrantProblem::Floor { paths })
                } else {
                    None
                }
            }
            Scope::Host(pattern) => match pattern.set() {
                HostSet::Below(domain) if network_floor::is_all_floor_below(domain) => {
                    Some(GrantProblem::FloorWildcard)
                }
                _ => None,
            },
            Scope::Program(_) | Scope::Name(_) => None,
        }
    }

    /// Allow or deny.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// The permission that it is about.
    #[must_use]
    pub const fn permission_name(&self) -> &PermissionName {
        &self.permission
    }

    /// The path pattern, when the permission is over paths: `/**` when no scope was written.
    #[must_use]
    pub const fn path(&self) -> Option<&PathPattern> {
        match &self.scope {
            Scope::Path(pattern) => Some(pattern),
            _ => None,
        }
    }

    /// The host pattern, when the permission is over hosts: `*` when no scope was written.
    #[must_use]
    pub const fn host(&self) -> Option<&HostPattern> {
        match &self.scope {
            Scope::Host(pattern) => Some(pattern),
            _ => None,
        }
    }

    /// The name pattern, when the scope is a name (of an environment variable, event, database, program):
    /// `*` when no scope was written.
    #[must_use]
    pub const fn name_pattern(&self) -> Option<&NamePattern> {
        match &self.scope {
            Scope::Name(pattern) | Scope::Program(pattern) => Some(pattern),
            _ => None,
        }
    }

    /// Whether it was written without a scope: all of the kind, except the floor.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.written == Written::Bare
    }

    /// Where it was written, such as `policy.toml:12`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The permission in its one spelling, variables replaced: `file:read=/home/ada/notes/**`.
    #[must_use]
    pub fn text(&self) -> String {
        let name = &self.permission;
        match &self.scope {
            _ if self.is_bare() => name.to_string(),
            Scope::Path(pattern) => format!("{name}={pattern}"),
            Scope::Host(pattern) => format!("{name}={pattern}"),
            Scope::Program(pattern) | Scope::Name(pattern) => format!("{name}={pattern}"),
        }
    }

    /// The floor that this rule was made with.
    #[must_use]
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Whether this allow rule opens all that the other one opens, floor included.
    pub(crate) fn opens_all_of(&self, other: &Self) -> bool {
        if self.permission != other.permission {
            return false;
        }
        match (&self.scope, &other.scope) {
            (Scope::Path(ours), Scope::Path(theirs)) => {
                let mut floor = self.floor.paths().chain(other.floor.paths());
                ours.includes(theirs) && floor.all(|path| !theirs.names(path) || ours.names(path))
            }
            (Scope::Host(ours), Scope::Host(theirs)) => ours.includes(theirs),
            // Which fields are protected is the host application's: the name of a field may open more than any wildcard.
            (Scope::Name(ours), Scope::Name(theirs))
                if self.permission == PermissionName::ProfileRead && theirs.as_exact().is_some() =>
            {
                ours.as_exact() == theirs.as_exact()
            }
            _ => self.has_all_of(other),
        }
    }

    /// Whether this deny rule refuses all that the other one refuses.
    pub(crate) fn denies_all_of(&self, other: &Self) -> bool {
        self.permission == other.permission && self.has_all_of(other)
    }

    fn has_all_of(&self, other: &Self) -> bool {
        match (&self.scope, &other.scope) {
            (Scope::Path(ours), Scope::Path(theirs)) => ours.includes(theirs),
            (Scope::Host(ours), Scope::Host(theirs)) => ours.has_all_of(theirs),
            (Scope::Program(ours), Scope::Program(theirs)) | (Scope::Name(ours), Scope::Name(theirs)) => {
                ours.includes(theirs)
            }
            // The name of a program stands for files, and the bare permission has all files.
            (Scope::Path(_), Scope::Program(_)) => self.is_bare(),
            _ => false,
        }
    }

    /// Whether there may be something that both match, the floor not considered. It may say yes where the answer is no, never
    /// the reverse.
    #[must_use]
    pub fn may_meet(&self, other: &Self) -> bool {
        if self.permission != other.permission {
            return false;
        }
        match (&self.scope, &other.scope) {
            (Scope::Path(ours), Scope::Path(theirs)) => ours.may_meet(theirs),
            (Scope::Host(ours), Scope::Host(theirs)) => ours.may_meet(theirs),
            (Scope::Program(ours), Scope::Program(theirs)) | (Scope::Name(ours), Scope::Name(theirs)) => {
                ours.may_meet(theirs)
            }
            // The name of a program stands for a file of that name in any directory.
            _ => true,
        }
    }

    pub(crate) const fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) const fn shared_floor(&self) -> &Arc<Floor> {
        &self.floor
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.effect, self.text())
    }
}

/// Where a program that a rule names without a directory is looked for.
///
/// A deny rule for a name holds in every directory; an allow rule only in these, so that a plugin cannot
/// bring its own `git`.
pub const PROGRAM_DIRECTORIES: &[&str] =
    &["/bin", "/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin"];

fn read_scope(permission: &Permission, vars: &Vars) -> Result<Scope, GrantProblem> {
    let kind = permission.name().scope_kind();
    Ok(match (kind, permission.scope()) {
        (ScopeKind::Path | ScopeKind::Program, None) => Scope::Path(PathPattern::everything()),
        (ScopeKind::Host, None) => Scope::Host(HostPattern::any()),
        (ScopeKind::Name, None) => Scope::Name(NamePattern::any()),
        (ScopeKind::Path, Some(text)) => Scope::Path(PathPattern::parse(text, vars)?),
        (ScopeKind::Program, Some(text)) if is_path(text) => Scope::Path(PathPattern::parse(text, vars)?),
        (ScopeKind::Program, Some(text)) => Scope::Program(text.parse()?),
        (ScopeKind::Host, Some(text)) => Scope::Host(text.parse()?),
        (ScopeKind::Name, Some(text)) => Scope::Name(text.parse()?),
    })
}

fn is_path(text: &str) -> bool {
    text.contains('/') || matches!(text, "." | ".." | "**") || text.starts_with('~') || text.starts_with("${")
}

/// Why a grant or a rule was not taken.
///
/// The text names the grant, what is wrong with it, what to write instead, and where it was written.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, Rule, Vars};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let error = Rule::parse(Effect::Allow, "network:request=127.1:80", &vars, "policy.toml:3").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "'network:request=127.1:80' is refused: '127.1' could be read as more than one address; \
///      write four decimal numbers, such as 127.0.0.1 (policy.toml:3)",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is refused: {problem} ({})", crate::canonical_path::shown_text(.text), crate::canonical_path::shown_text(.origin))]
pub struct GrantError {
    text: String,
    origin: String,
    problem: GrantProblem,
}

impl GrantError {
    /// The grant as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it was written.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn problem(&self) -> &GrantProblem {
        &self.problem
    }

    /// The stable code: `floor` or `invalid_permission`.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self.problem {
            GrantProblem::Floor { .. } | GrantProblem::FloorWildcard => ErrorCode::Floor,
            _ => ErrorCode::InvalidPermission,
        }
    }

    /// The floor paths that it would have opened without naming them; empty for other problems.
    #[must_use]
    pub fn floor_paths(&self) -> &[CanonicalPath] {
        match &self.problem {
            GrantProblem::Floor { paths } => paths,
            _ => &[],
        }
    }
}

/// What is wrong with a grant.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, GrantProblem, Rule, Vars};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let error = Rule::parse(Effect::Allow, "file:raed", &vars, "--grant").unwrap_err();
/// assert!(matches!(error.problem(), GrantProblem::Permission(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantProblem {
    /// It is not a permission.
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// The scope is not a path pattern.
    #[error(transparent)]
    Path(#[from] PathPatternError),
    /// The scope is not a host pattern.
    #[error(transparent)]
    Host(#[from] HostPatternError),
    /// The scope is not a name pattern.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It would open these paths for change without naming them, existing or not.
    #[error("it would also open {}; grant the directories that are needed one by one, or name such a path itself", listed(.paths))]
    Floor {
        /// The paths, keys first.
        paths: Vec<CanonicalPath>,
    },
    /// It has a wildcard where only a literal grant opens anything.
    #[error(
        "a wildcard opens nothing there, because it is protected; name the path or host itself, or DIR/** for a whole directory"
    )]
    FloorWildcard,
}

/// How many paths a message names before it only counts.
const LISTED_MAX: usize = 4;

fn listed(paths: &[CanonicalPath]) -> String {
    let mut names: Vec<_> = paths.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    let more = paths.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        names.push(format!("{more} more protected paths"));
    }
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
