//! The answer to a request, with its reason.

use std::fmt;

use crate::request::Request;
use crate::rule::{Effect, Rule};

/// Whether a request is allowed, why, and what would change that.
///
/// Its text is a sentence for people: what was refused, by which rule, and which grant would allow it.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, FileOp, Request, Rule, RuleSet, Vars};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let rules = RuleSet::new(vec![Rule::parse(Effect::Allow, "file:read=/srv/**", &vars, "policy.toml:1")?]);
/// let request = Request::File { op: FileOp::Write, path: CanonicalPath::new("/srv/a.txt")? };
/// let decision = rules.decide(&request);
/// assert!(!decision.is_allowed());
/// assert_eq!(decision.grant().as_deref(), Some("file:write=/srv/a.txt"));
/// assert_eq!(
///     decision.to_string(),
///     "denied: no rule allows file:write of /srv/a.txt; this grant would: file:write=/srv/a.txt",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decision<'r> {
    pub(crate) request: &'r Request,
    pub(crate) reason: Reason<'r>,
    pub(crate) about: About,
}

/// Why a decision is as it is.
///
/// ```
/// use ringfence_policy::{CanonicalPath, FileOp, Reason, Request, RuleSet};
///
/// let request = Request::File { op: FileOp::Read, path: CanonicalPath::root() };
/// assert!(matches!(RuleSet::default().decide(&request).reason(), Reason::NoRule));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'r> {
    /// The first allow rule that opens it; no deny rule matches.
    Allowed(Deciding<'r>),
    /// The first deny rule that matches it.
    Denied(Deciding<'r>),
    /// It is on the floor, and the first allow rule that matches does not name it.
    Floor(Deciding<'r>),
    /// No rule matches: empty means nothing.
    NoRule,
}

/// The rule that decided, and its place in the [`RuleSet`](crate::RuleSet).
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, FileOp, Request, Rule, RuleSet, Vars};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let rules = RuleSet::new(vec![Rule::parse(Effect::Deny, "file:read", &vars, "policy.toml:7")?]);
/// let request = Request::File { op: FileOp::Read, path: CanonicalPath::root() };
/// let deciding = rules.decide(&request).deciding().unwrap();
/// assert_eq!((deciding.index, deciding.rule.origin()), (0, "policy.toml:7"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deciding<'r> {
    /// Its index in [`RuleSet::rules`](crate::RuleSet::rules).
    pub index: usize,
    /// The rule.
    pub rule: &'r Rule,
}

/// Which half of a resolved request the reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Request,
    HostName,
}

impl<'r> Decision<'r> {
    /// Allow or deny.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self.reason {
            Reason::Allowed(_) => Effect::Allow,
            Reason::Denied(_) | Reason::Floor(_) | Reason::NoRule => Effect::Deny,
        }
    }

    /// Whether it is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.reason, Reason::Allowed(_))
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason<'r> {
        self.reason
    }

    /// The rule that decided; `None` when none matched.
    #[must_use]
    pub const fn deciding(&self) -> Option<Deciding<'r>> {
        match self.reason {
            Reason::Allowed(deciding) | Reason::Denied(deciding) | Reason::Floor(deciding) => Some(deciding),
            Reason::NoRule => None,
        }
    }

    /// The text of the narrowest grant that would allow it. `None` when it is allowed, and when a deny rule
    /// forbids it: then no grant helps.
    #[must_use]
    pub fn grant(&self) -> Option<String> {
        match (self.reason, self.about) {
            (Reason::Allowed(_) | Reason::Denied(_), _) => None,
            (Reason::Floor(_) | Reason::NoRule, About::Request) => Some(self.request.narrowest_grant()),
            (Reason::Floor(_) | Reason::NoRule, About::HostName) => self
                .host_request()
                .map_or_else(|| Some(self.request.narrowest_grant()), |host| Some(host.narrowest_grant())),
        }
    }

    /// The request for the name alone, when this one is about an address that the name resolved to.
    fn host_request(&self) -> Option<Request> {
        match self.request {
            Request::Resolved { op, host, port, .. } => {
                Some(Request::Network { op: *op, host: host.clone(), port: *port })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request;
        match self.reason {
            Reason::Allowed(by) => write!(f, "allowed: {request}, by '{}' ({})", by.rule, by.rule.origin()),
            Reason::Denied(by) => write!(
                f,
                "denied: {request}, by '{}' ({}); no grant overrides a deny rule, so that rule must change",
                by.rule,
                by.rule.origin(),
            ),
            Reason::Floor(by) => write!(
                f,
                "denied: {request} is protected, and '{}' ({}) does not name it",
                by.rule,
                by.rule.origin(),
            ),
            Reason::NoRule => write!(f, "denied: no rule allows {request}"),
        }?;
        match self.grant() {
            Some(grant) => write!(f, "; this grant would: {grant}"),
            None => Ok(()),
        }
    }
}
