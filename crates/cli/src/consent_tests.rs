//! The questions and the flags.

use super::*;
use ringfence_api::Runtime;

fn request(granted: &[&str]) -> ConsentRequest {
    let ask = |permission: &str, optional| Asked {
        granted: granted.contains(&permission),
        ..Asked::new(permission.parse().unwrap(), Runtime::Python, optional, None)
    };
    ConsentRequest {
        name: "translator".parse().unwrap(),
        version: "1.2.0".to_owned(),
        publisher: "unsigned".to_owned(),
        publisher_change: None,
        digest: "ab12".to_owned(),
        runtime: Runtime::Python,
        description: None,
        command: Vec::new(),
        asked: vec![ask("file:read=/srv/**", false), ask("env:read=LANG", true), ask("profile:read", false)],
        cannot: Vec::new(),
        scan: ringfence::scan::Report::default(),
    }
}

/// What is granted after these lines, and what was said; `None` is no consent.
fn after(request: &ConsentRequest, lines: &[&str]) -> (Option<Vec<String>>, String) {
    let mut lines = lines.iter();
    let mut said = String::new();
    let consent = questions(request, &mut || Ok(lines.next().map(|line| format!("{line}\n"))), &mut |text| {
        said.push_str(text);
    });
    let granted = consent.unwrap().map(|consent| match consent {
        Consent::Only(list) => list.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    });
    (granted, said)
}

#[test]
fn each_permission_is_asked_for_and_no_is_the_default() {
    let (granted, said) = after(&request(&[]), &["y", "", "Yes"]);
    assert_eq!(granted.unwrap(), ["file:read=/srv/**", "profile:read"]);
    assert!(said.starts_with("(1 of 3, required) Let it read files below /srv? [y/N/all/none] "), "{said}");
    assert!(said.contains("(2 of 3, optional)") && !said.contains("may not work"), "{said}");
}

#[test]
fn a_required_one_that_is_refused_is_told_and_stops_nothing() {
    let (granted, said) = after(&request(&[]), &["n", "y", "n"]);
    assert_eq!(granted.unwrap(), ["env:read=LANG"]);
    assert!(said.ends_with("the plugin may not work without file:read=/srv/**, profile:read\n"), "{said}");
}

#[test]
fn all_and_none_answer_for_the_rest() {
    assert_eq!(after(&request(&[]), &["all"]).0.unwrap().len(), 3);
    assert_eq!(after(&request(&[]), &["none"]).0.unwrap().len(), 0);
    assert_eq!(after(&request(&[]), &["n", "all"]).0.unwrap(), ["env:read=LANG", "profile:read"]);
    assert_eq!(after(&request(&[]), &["y", "none"]).0.unwrap(), ["file:read=/srv/**"]);
}

#[test]
fn who_goes_away_or_says_nothing_readable_has_not_consented() {
    assert_eq!(after(&request(&[]), &[]).0, None);
    assert_eq!(after(&request(&[]), &["y", "y"]).0, None, "half of the answers are none");
    assert_eq!(after(&request(&[]), &["maybe", "y", "y", "y"]).0.unwrap().len(), 3, "it is asked again");
    assert_eq!(after(&request(&[]), &["?"; UNREADABLE_MAX + 1]).0, None);
}

#[test]
fn what_is_granted_already_is_not_asked_again_and_kept() {
    let known = ["file:read=/srv/**", "env:read=LANG"];
    let (granted, said) = after(&request(&known), &["n"]);
    assert_eq!(granted.unwrap(), known);
    assert!(said.starts_with("(1 of 1, required)"), "{said}");
    let all = ["file:read=/srv/**", "env:read=LANG", "profile:read"];
    assert_eq!(after(&request(&all), &["y"]).0.unwrap(), all);
    assert_eq!(after(&request(&all), &["n"]).0, None);
}

#[test]
fn the_refusal_has_the_command_that_would_grant_it() {
    let error = required(&request(&["profile:read"]), "ringfence activate translator");
    assert_eq!(error.code(), ErrorCode::ConsentRequired);
    assert_eq!(
        error.message(),
        "nobody has consented to what translator 1.2.0 asks for: file:read=/srv/**, env:read=LANG"
    );
    assert_eq!(
        error.hint(),
        Some(
            "to grant all of it: ringfence activate translator --grant-requested; to grant less: \
             ringfence activate translator --grant 'file:read=/srv/**'"
        )
    );
}

#[test]
fn grant_adds_to_what_there_is_and_none_is_none() {
    let granted: Vec<Permission> = vec!["profile:read".parse().unwrap()];
    let beside = |flags: Flags| flags.consent_beside(&request(&[]), granted.clone()).unwrap();
    let words = ["env:read=LANG".to_owned(), "profile:read".to_owned()];
    let both = Consent::Only(vec!["profile:read".parse().unwrap(), "env:read=LANG".parse().unwrap()]);
    assert_eq!(beside(Flags::These(words.to_vec())), both);
    assert_eq!(beside(Flags::Nothing), Consent::Only(Vec::new()));
    assert_eq!(beside(Flags::Requested), Consent::Requested);
    assert_eq!(beside(Flags::Silent), Consent::Absent);
}

#[test]
fn what_the_policy_denies_is_not_asked_for_and_not_granted() {
    let mut request = request(&[]);
    request.asked[0].policy = Some(ringfence::plugin::PolicyNote {
        effect: PolicyEffect::Denied,
        kept: Vec::new(),
        because: vec!["the policy denies it by 'deny file:read' (policy.toml:1)".to_owned()],
    });
    assert!(request.to_string().contains("      the policy denies it by 'deny file:read' (policy.toml:1)\n"));
    let (granted, said) = after(&request, &["all"]);
    assert_eq!(granted.unwrap(), ["env:read=LANG", "profile:read"]);
    assert!(!said.contains("read files below /srv?"), "{said}");
    assert!(said.contains("the plugin may not work without file:read=/srv/**"), "{said}");
}
