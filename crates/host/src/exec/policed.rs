//! Grants under the administrator's policy: what it leaves of each, and the rules that must be held beside them.

use std::collections::BTreeMap;

use ringfence_policy::{Effect, PluginPolicy, PolicyReason, Rule, Vars};

use crate::error::Error;
use crate::exec::translate::grant_error;

/// What the policy leaves of one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// What is left: the grant itself when nothing narrows it, or narrower permissions; empty: nothing.
    pub(crate) kept: Vec<String>,
    /// Why less than the grant is left, with rule and line.
    pub(crate) reason: Option<String>,
    /// What is taken out of the middle of what is left, with rule and line each.
    pub(crate) except: Vec<String>,
}

impl Judged {
    pub(crate) fn is_refused(&self) -> bool {
        self.kept.is_empty()
    }
}

/// Judges the grants of one request, one after another.
pub(super) struct Policed<'p> {
    policy: Option<&'p PluginPolicy>,
    judged: Vec<Judged>,
    /// By place and text, so that each is held once.
    except: BTreeMap<(ringfence_policy::Place, String), Rule>,
}

impl<'p> Policed<'p> {
    pub(super) const fn new(policy: Option<&'p PluginPolicy>) -> Self {
        Self { policy, judged: Vec::new(), except: BTreeMap::new() }
    }

    /// The rules that are left of a granted one.
    pub(super) fn leave(&mut self, granted: Rule, vars: &Vars) -> Result<Vec<Rule>, Error> {
        let judgement = self.policy.map(|policy| policy.judge(&granted));
        let Some(judgement) = judgement else {
            let kept = vec![granted.text()];
            self.judged.push(Judged { kept, reason: None, except: Vec::new() });
            return Ok(vec![granted]);
        };
        for rule in &judgement.except {
            self.except.insert((rule.place, rule.rule.text()), rule.rule.clone());
        }
        self.judged.push(Judged {
            kept: judgement.kept.clone(),
            reason: judgement.reason.as_ref().map(PolicyReason::to_string),
            except: judgement.except.iter().map(ToString::to_string).collect(),
        });
        if judgement.reason.is_none() {
            return Ok(vec![granted]);
        }
        let narrower =
            |text: &String| Rule::parse(Effect::Allow, text, vars, granted.origin()).map_err(grant_error);
        judgement.kept.iter().map(narrower).collect()
    }

    /// What was left of each, and the deny rules to be held beside.
    pub(super) fn end(self) -> (Vec<Judged>, impl Iterator<Item = Rule>) {
        (self.judged, self.except.into_values())
    }
}
