//! 10,000 random policies: what they say of a request agrees with the tiny evaluator (POL-03), and what they leave of a grant
//! is never more than both, nor less than it must be.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use ringfence_policy::{Effect, NamePattern, Place, Placed, Policy, PolicyReason, PolicyRule, Rule, RuleSet};

use crate::random::{RunCounted as _, real, request, rule, runner, vars};
use crate::reference::{self, RefRequest, RefRule};

/// A rule for some plugins; an empty pattern is for all.
fn rules() -> impl Strategy<Value = Vec<(&'static str, RefRule)>> {
    let plugins = select(vec!["", "", "a*", "*b", "ab", "c"]);
    vec((plugins, rule(), any::<bool>()), 0..8).prop_map(|rules| {
        let flip = |(plugins, rule, deny): (_, RefRule, bool)| {
            (plugins, RefRule { allow: rule.allow && !deny, ..rule })
        };
        rules.into_iter().map(flip).collect()
    })
}

/// What a policy says: slow, and obviously right. The line of the deciding rule is its number and 1; that of the default is 0.
fn expected(
    rules: &[(&str, RefRule)],
    default: Effect,
    plugin: &str,
    request: &RefRequest,
) -> (bool, Option<usize>) {
    let about = |pattern: &str| pattern.is_empty() || reference::glob(pattern.as_bytes(), plugin.as_bytes());
    let numbered = rules.iter().enumerate().filter(|(_, (pattern, _))| about(pattern));
    let (numbers, mine): (Vec<usize>, Vec<RefRule>) =
        numbered.map(|(number, (_, rule))| (number, rule.clone())).unzip();
    let permission = match request {
        RefRequest::File(_) => "file:read",
        RefRequest::Host(..) => "network:request",
        RefRequest::Name(_) => "env:read",
    };
    match reference::decide(&mine, request) {
        (true, Some(by)) => (true, Some(numbers[by] + 1)),
        (false, Some(by)) if !mine[by].allow => (false, Some(numbers[by] + 1)),
        _ => match mine.iter().position(|rule| rule.allow && rule.permission == permission) {
            Some(first) => (false, Some(numbers[first] + 1)),
            None if default == Effect::Deny => (false, Some(0)),
            None => (true, None),
        },
    }
}

/// The same rules as the crate has them; those that cannot be read are left out of both.
fn policy(rules: Vec<(&'static str, RefRule)>, default: Effect) -> (Vec<(&'static str, RefRule)>, Policy) {
    let (mut kept, mut parsed) = (Vec::new(), Vec::new());
    for (plugins, rule) in rules {
        let effect = if rule.allow { Effect::Allow } else { Effect::Deny };
        let Ok(read) = Rule::parse(effect, &rule.text(), &vars(), "policy.toml") else { continue };
        let patterns: Vec<NamePattern> = Some(plugins)
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().unwrap())
            .into_iter()
            .collect();
        kept.push((plugins, rule));
        parsed.push(PolicyRule {
            plugins: patterns,
            rule: read,
            place: Place { line: kept.len(), column: 1 },
        });
    }
    let default_effect = Some(Placed { value: default, place: Place { line: 0, column: 1 } });
    (kept, Policy { rules: parsed, default_effect, ..Policy::default() })
}

fn effect() -> impl Strategy<Value = Effect> {
    prop::bool::weighted(0.7).prop_map(|allow| if allow { Effect::Allow } else { Effect::Deny })
}

#[test]
fn pol_03_ten_thousand_random_policies_agree_with_the_reference() {
    let mut seen = [0_u32; 5];
    let plugin = select(vec!["a", "ab", "b", "c"]);
    runner().run_counted(
        &(rules(), effect(), plugin, request()),
        |(rules, default, plugin, request)| {
            let (kept, policy) = policy(rules, default);
            let asked = real(&request);
            let compiled = policy.for_plugin(plugin);
            let decision = compiled.decide(&asked);
            let got = (decision.is_allowed(), decision.reason().line());
            let wanted = expected(&kept, default, plugin, &request);
            prop_assert_eq!(got, wanted, "{:?} {:?} {} {:?}", kept, default, plugin, request);
            Ok(match decision.reason() {
                PolicyReason::Silent => 0,
                PolicyReason::Allowed(_) => 1,
                PolicyReason::Denied(_) => 2,
                PolicyReason::NotListed(_) => 3,
                PolicyReason::Default(_) => 4,
            })
        },
        &mut seen,
    );
    assert!(seen.iter().all(|count| *count > 300), "{seen:?}");
}

#[test]
fn what_is_left_of_ten_thousand_random_grants_is_what_grant_and_policy_both_open() {
    let vars = vars();
    let mut seen = [0_u32; 4];
    runner().run_counted(
        &(rules(), effect(), rule(), request()),
        |(rules, default, grant, request)| {
            let (_, policy) = policy(rules, default);
            let Ok(granted) = Rule::parse(Effect::Allow, &grant.text(), &vars, "grant") else { return Ok(0) };
            let compiled = policy.for_plugin("ab");
            let judgement = compiled.judge(&granted);
            let mut left: Vec<Rule> = judgement
                .kept
                .iter()
                .map(|text| Rule::parse(Effect::Allow, text, &vars, "left").unwrap())
                .collect();
            left.extend(judgement.except.iter().map(|rule| rule.rule.clone()));
            let asked = real(&request);
            let after = RuleSet::new(left).decide(&asked).is_allowed();
            let before = RuleSet::new(vec![granted]).decide(&asked).is_allowed();
            let by_policy = compiled.decide(&asked).is_allowed();
            prop_assert!(
                !after || before && by_policy,
                "more than both: {:?} {:?} {:?}",
                judgement,
                grant,
                request
            );
            let narrowed = judgement.reason.is_some();
            prop_assert!(
                after || !(before && by_policy) || narrowed,
                "less than both: {:?} {:?} {:?}",
                judgement,
                grant,
                request
            );
            Ok(match (before, by_policy, after) {
                (true, true, true) => 1,
                (true, false, false) => 2,
                _ => 3,
            })
        },
        &mut seen,
    );
    assert!(seen[1..].iter().all(|count| *count > 300), "{seen:?}");
}
