//! The rules that are about one plugin, compiled: what they say of a request, and what they leave of a grant.

use std::collections::HashMap;
use std::fmt;

use ringfence_api::PermissionName;

use super::{Placed, PolicyRule};
use crate::decision::Reason;
use crate::request::Request;
use crate::rule::{Effect, Rule};
use crate::rule_set::RuleSet;

/// What of a policy is about one plugin.
///
/// Made by [`Policy::for_plugin`](super::Policy::for_plugin), whose type shows it at work.
#[derive(Clone, Debug, Default)]
pub struct PluginPolicy {
    /// In the order of the compiled set.
    rules: Vec<PolicyRule>,
    set: RuleSet,
    /// The first allow rule of each permission that has some.
    listed: HashMap<PermissionName, usize>,
    default_effect: Option<Placed<Effect>>,
}

/// Why a policy says what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyReason<'p> {
    /// No rule speaks of it, and the default allows.
    Silent,
    /// The first allow rule that has it; no deny rule does.
    Allowed(&'p PolicyRule),
    /// The first deny rule that has it.
    Denied(&'p PolicyRule),
    /// There are allow rules for the permission, of which this is the first, and none has it.
    NotListed(&'p PolicyRule),
    /// No rule speaks of it, and the default denies.
    Default(&'p Placed<Effect>),
}

/// What a policy says of one request.
///
/// ```
/// use ringfence_policy::{CanonicalPath, FileOp, Policy, PolicyReason, Request};
///
/// let request = Request::File { op: FileOp::Read, path: CanonicalPath::root() };
/// let policy = Policy::default().for_plugin("notes");
/// assert_eq!(policy.decide(&request).reason(), PolicyReason::Silent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyDecision<'p> {
    reason: PolicyReason<'p>,
}

impl<'p> PolicyDecision<'p> {
    /// Whether the policy lets it be granted. It grants nothing itself.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.reason, PolicyReason::Silent | PolicyReason::Allowed(_))
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> PolicyReason<'p> {
        self.reason
    }
}

impl PolicyReason<'_> {
    /// The line that decided; `None` when no rule and no default speaks.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::Silent => None,
            Self::Allowed(rule) | Self::Denied(rule) | Self::NotListed(rule) => Some(rule.place.line),
            Self::Default(placed) => Some(placed.place.line),
        }
    }

    /// The rule that decided, if one did.
    #[must_use]
    pub const fn rule(&self) -> Option<&PolicyRule> {
        match self {
            Self::Allowed(rule) | Self::Denied(rule) | Self::NotListed(rule) => Some(rule),
            Self::Silent | Self::Default(_) => None,
        }
    }
}

impl fmt::Display for PolicyReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("no rule of the policy speaks of it"),
            Self::Allowed(rule) => write!(f, "the policy allows it by {rule}"),
            Self::Denied(rule) => write!(f, "the policy denies it by {rule}"),
            Self::NotListed(rule) => write!(
                f,
                "the policy allows of {} only what is listed, from {rule} on",
                rule.rule.permission_name()
            ),
            Self::Default(placed) => {
                write!(
                    f,
                    "no rule of the policy allows it, and its default is deny (line {})",
                    placed.place.line
                )
            }
        }
    }
}

/// What a policy leaves of a grant.
///
/// It never leaves more than the grant. Where a grant and an allow rule cross so that neither has all of the other, nothing of
/// that pair is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement<'p> {
    /// The permissions that are left: the grant itself, or the narrower ones of allow rules. Empty: nothing is left.
    pub kept: Vec<String>,
    /// Deny rules that take something out of the middle of what is left: they must be held beside it.
    pub except: Vec<&'p PolicyRule>,
    /// What took the grant away, or narrowed it; `None` when it is left as it is, but for the exceptions.
    pub reason: Option<PolicyReason<'p>>,
}

impl Judgement<'_> {
    /// Whether nothing of the grant is left.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether the policy takes nothing away.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.reason.is_none() && self.except.is_empty()
    }

    fn refused(reason: PolicyReason<'_>) -> Judgement<'_> {
        Judgement { kept: Vec::new(), except: Vec::new(), reason: Some(reason) }
    }
}

impl PluginPolicy {
    pub(super) fn new(rules: Vec<PolicyRule>, default_effect: Option<Placed<Effect>>) -> Self {
        let set = RuleSet::new(rules.iter().map(|rule| rule.rule.clone()).collect());
        let mut listed = HashMap::new();
        for (number, rule) in rules.iter().enumerate() {
            if rule.rule.effect() == Effect::Allow {
                listed.entry(rule.rule.permission_name().clone()).or_insert(number);
            }
        }
        Self { rules, set, listed, default_effect }
    }

    /// The rules, in the order of the policy.
    #[must_use]
    pub fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }

    /// What the policy says of one request, whatever is granted.
    #[must_use]
    pub fn decide<'p>(&'p self, request: &'p Request) -> PolicyDecision<'p> {
        let decision = self.set.decide(request);
        let by = decision.deciding().and_then(|by| self.rules.get(by.index));
        let reason = match (decision.reason(), by) {
            (Reason::Denied(_), Some(rule)) => PolicyReason::Denied(rule),
            (Reason::Allowed(_), Some(rule)) => PolicyReason::Allowed(rule),
            // On the floor, and no allow rule names it: as good as not listed.
            _ => self.unlisted(&request.permission()),
        };
        PolicyDecision { reason }
    }

    /// What the policy leaves of a grant: an allow rule of somebody's.
    #[must_use]
    pub fn judge<'p>(&'p self, grant: &Rule) -> Judgement<'p> {
        let denies: Vec<&PolicyRule> = self.about(grant.permission_name(), Effect::Deny).collect();
        let alone = *grant.permission_name() == PermissionName::SubprocessExecute;
        // Programs cannot be denied one by one where programs may be started, so one that is denied takes all away.
        let refuses =
            |rule: &&&PolicyRule| rule.rule.denies_all_of(grant) || alone && rule.rule.may_meet(grant);
        if let Some(rule) = denies.iter().find(refuses) {
            return Judgement::refused(PolicyReason::Denied(rule));
        }
        let listed: Vec<&PolicyRule> = self.about(grant.permission_name(), Effect::Allow).collect();
        let mut reason = None;
        let mut kept: Vec<&Rule> = Vec::new();
        if listed.is_empty() {
            if let PolicyReason::Default(by) = self.unlisted(grant.permission_name()) {
                return Judgement::refused(PolicyReason::Default(by));
            }
        } else if !listed.iter().any(|rule| rule.rule.opens_all_of(grant)) {
            kept = listed.iter().map(|rule| &rule.rule).filter(|rule| grant.opens_all_of(rule)).collect();
            kept.retain(|rule| !denies.iter().any(|deny| deny.rule.denies_all_of(rule)));
            reason = listed.first().map(|first| PolicyReason::NotListed(first));
            if kept.is_empty() {
                return Judgement { kept: Vec::new(), except: Vec::new(), reason };
            }
        }
        let meets = |deny: &&PolicyRule| match kept[..] {
            [] => deny.rule.may_meet(grant),
            _ => kept.iter().any(|rule| deny.rule.may_meet(rule)),
        };
        let except = denies.into_iter().filter(meets).collect();
        let kept = match kept[..] {
            [] => vec![grant.text()],
            _ => kept.into_iter().map(Rule::text).collect(),
        };
        Judgement { kept, except, reason }
    }

    fn about(&self, permission: &PermissionName, effect: Effect) -> impl Iterator<Item = &PolicyRule> {
        self.rules
            .iter()
            .filter(move |rule| rule.rule.effect() == effect && rule.rule.permission_name() == permission)
    }

    /// What holds of a permission for what no rule has.
    fn unlisted(&self, permission: &PermissionName) -> PolicyReason<'_> {
        let first = self.listed.get(permission).and_then(|number| self.rules.get(*number));
        match (first, &self.default_effect) {
            (Some(first), _) => PolicyReason::NotListed(first),
            (None, Some(placed)) if placed.value == Effect::Deny => PolicyReason::Default(placed),
            (None, _) => PolicyReason::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Policy};
    use super::*;
    use crate::canonical_path::CanonicalPath;
    use crate::vars::Vars;

    fn vars() -> Vars {
        Vars::new(CanonicalPath::root()).with_home(CanonicalPath::new("/home/ada").unwrap())
    }

    fn policy(default: Effect, rules: &[(Effect, &str)]) -> PluginPolicy {
        let rules = rules.iter().enumerate().map(|(number, (effect, text))| {
            let line = number + 2;
            let rule = Rule::parse(*effect, text, &vars(), format!("policy.toml:{line}")).unwrap();
            PolicyRule { plugins: Vec::new(), rule, place: Place { line, column: 1 } }
        });
        let default = Placed { value: default, place: Place { line: 1, column: 1 } };
        let policy = Policy { rules: rules.collect(), default_effect: Some(default), ..Policy::default() };
        policy.for_plugin("notes")
    }

    fn left(policy: &PluginPolicy, grant: &str) -> (Vec<String>, Vec<String>, Option<usize>) {
        let grant = Rule::parse(Effect::Allow, grant, &vars(), "a grant").unwrap();
        let judgement = policy.judge(&grant);
        let except = judgement.except.iter().map(|rule| rule.rule.text()).collect();
        (judgement.kept, except, judgement.reason.and_then(|reason| reason.line()))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    const A: Effect = Effect::Allow;
    const D: Effect = Effect::Deny;

    #[test]
    fn a_deny_rule_takes_a_grant_or_a_part_of_it() {
        let policy =
            policy(A, &[(D, "file:read=/srv/payroll/**"), (D, "file:read=/**/*.key"), (D, "env:read=AWS_*")]);
        assert_eq!(left(&policy, "file:read=/srv/payroll/may/**"), (vec![], vec![], Some(2)));
        let (kept, except, reason) = left(&policy, "file:read=/srv/**");
        assert_eq!((kept, reason), (texts(&["file:read=/srv/**"]), None));
        assert_eq!(except, ["file:read=/srv/payroll/**", "file:read=/**/*.key"]);
        assert_eq!(left(&policy, "file:read=/opt/a.txt"), (texts(&["file:read=/opt/a.txt"]), vec![], None));
        assert_eq!(left(&policy, "env:read=AWS_KEY"), (vec![], vec![], Some(4)));
        assert_eq!(left(&policy, "env:read"), (texts(&["env:read"]), texts(&["env:read=AWS_*"]), None));
        assert_eq!(
            left(&policy, "file:write=/srv/payroll/**"),
            (texts(&["file:write=/srv/payroll/**"]), vec![], None)
        );
    }

    #[test]
    fn allow_rules_are_a_list_and_a_grant_is_cut_to_it() {
        let policy = policy(
            A,
            &[
                (A, "file:read=/srv/a/**"),
                (A, "file:read=/srv/b/**"),
                (D, "file:read=/srv/b/**"),
                (A, "network:request=*:443"),
            ],
        );
        assert_eq!(left(&policy, "file:read=/srv/a/x/**"), (texts(&["file:read=/srv/a/x/**"]), vec![], None));
        assert_eq!(left(&policy, "file:read=/srv/**"), (texts(&["file:read=/srv/a/**"]), vec![], Some(2)));
        assert_eq!(left(&policy, "file:read=/opt/**"), (vec![], vec![], Some(2)));
        // Neither has all of the other: nothing is left.
        assert_eq!(left(&policy, "file:read=/srv/*/x"), (vec![], vec![], Some(2)));
        assert_eq!(left(&policy, "network:request"), (texts(&["network:request=*:443"]), vec![], Some(5)));
        assert_eq!(left(&policy, "env:read=LANG"), (texts(&["env:read=LANG"]), vec![], None));
    }

    #[test]
    fn a_list_opens_no_floor_that_the_grant_does_not_name() {
        let key = "file:read=/home/ada/.ssh/config";
        let named = policy(A, &[(A, key)]);
        assert_eq!(left(&named, "file:read=/home/ada/**"), (vec![], vec![], Some(2)));
        assert_eq!(left(&named, key), (texts(&[key]), vec![], None));
        let wild = policy(A, &[(A, "file:read=/home/**")]);
        assert_eq!(left(&wild, key), (vec![], vec![], Some(2)));
    }

    #[test]
    fn with_deny_as_the_default_only_what_is_allowed_is_left() {
        let policy = policy(D, &[(A, "env:read=LANG")]);
        assert_eq!(left(&policy, "file:read=/srv/**"), (vec![], vec![], Some(1)));
        assert_eq!(left(&policy, "env:read"), (texts(&["env:read=LANG"]), vec![], Some(2)));
    }

    #[test]
    fn a_program_that_is_denied_takes_all_programs_away() {
        let policy = policy(A, &[(D, "subprocess:execute=git")]);
        for grant in ["subprocess:execute", "subprocess:execute=git", "subprocess:execute=/opt/**"] {
            assert_eq!(left(&policy, grant), (vec![], vec![], Some(2)), "{grant}");
        }
        assert_eq!(left(&policy, "subprocess:execute=ls").0, ["subprocess:execute=ls"]);
    }

    #[test]
    fn the_reasons_name_rule_and_line() {
        let policy = policy(D, &[(A, "env:read=LANG"), (D, "file:read=/etc/**")]);
        let file = Request::File { op: crate::FileOp::Read, path: CanonicalPath::new("/etc/hosts").unwrap() };
        assert_eq!(
            policy.decide(&file).reason().to_string(),
            "the policy denies it by 'deny file:read=/etc/**' (policy.toml:3)"
        );
        let env = |name: &str| Request::Named {
            permission: PermissionName::EnvRead,
            name: crate::Name::new(name).unwrap(),
        };
        assert!(policy.decide(&env("LANG")).is_allowed());
        assert_eq!(
            policy.decide(&env("HOME")).reason().to_string(),
            "the policy allows of env:read only what is listed, from 'allow env:read=LANG' (policy.toml:2) on"
        );
        let event =
            Request::Named { permission: PermissionName::EventPost, name: crate::Name::new("x").unwrap() };
        let reason = policy.decide(&event);
        assert_eq!(reason.reason().line(), Some(1));
        assert!(!reason.is_allowed() && reason.reason().rule().is_none());
    }
}
