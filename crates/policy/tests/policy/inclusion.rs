//! "Is this wider than that", checked by sampling: whatever is said to be included never opens anything that
//! the wider rule does not open.

use proptest::collection::vec;
use proptest::prelude::*;
use ringfence_policy::{CanonicalPath, Effect, FileOp, HostPattern, NetworkOp, PathPattern, Request};
use ringfence_policy::{Rule, RuleSet, Vars, is_wider};

use crate::random::{RunCounted as _, host_scope, path_scope, path_text, runner, vars};

#[test]
fn an_included_path_pattern_matches_nothing_beyond() {
    let vars = vars();
    let mut seen = [0_u32; 2];
    runner().run_counted(
        &(path_scope(), path_scope(), vec(path_text(), 20)),
        |(wide, narrow, paths)| {
            let (wide, narrow) =
                (PathPattern::parse(&wide, &vars).unwrap(), PathPattern::parse(&narrow, &vars).unwrap());
            let included = wide.includes(&narrow);
            for path in paths.iter().map(|path| CanonicalPath::new(path).unwrap()) {
                let escapes = narrow.matches(&path) && !wide.matches(&path);
                prop_assert!(!(included && escapes), "{} has not all of {}: {}", wide, narrow, path);
                prop_assert!(!narrow.matches(&path) || narrow.touches(&path));
            }
            prop_assert!(wide.includes(&wide));
            Ok(usize::from(included))
        },
        &mut seen,
    );
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
}

/// Every grant that `is_wider` leaves out opens nothing that the old rules did not open.
fn check_upgrade(new: &[Rule], old: &[Rule], requests: &[Request]) -> Result<usize, TestCaseError> {
    let wider = is_wider(new, old);
    let silent: Vec<_> = new.iter().filter(|rule| !wider.contains(rule)).cloned().collect();
    let denies = new.iter().filter(|rule| rule.effect() == Effect::Deny).cloned();
    let (after, before) =
        (RuleSet::new(silent.iter().cloned().chain(denies).collect()), RuleSet::new(old.to_vec()));
    for request in requests {
        let escapes = after.decide(request).is_allowed() && !before.decide(request).is_allowed();
        prop_assert!(!escapes, "{:?} was not named as wider than {:?}, and allows {}", silent, old, request);
    }
    Ok(usize::from(wider.is_empty()))
}

#[test]
fn an_upgrade_without_wider_grants_opens_nothing_new() {
    let vars = vars();
    let rules = || vec((path_scope(), prop::bool::weighted(0.8)), 0..4);
    let mut seen = [0_u32; 2];
    runner().run_counted(
        &(rules(), rules(), vec(path_text(), 12)),
        |(new, old, paths)| {
            let requests: Vec<_> = paths
                .iter()
                .map(|path| Request::File { op: FileOp::Read, path: CanonicalPath::new(path).unwrap() })
                .collect();
            check_upgrade(
                &read_rules(&new, "file:read", &vars),
                &read_rules(&old, "file:read", &vars),
                &requests,
            )
        },
        &mut seen,
    );
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
}

#[test]
fn the_same_holds_for_hosts_and_their_floor() {
    let vars = vars();
    let rules = || vec((host_scope(), prop::bool::weighted(0.8)), 0..4);
    let hosts = [
        "x.com",
        "a.x.com",
        "y.com",
        "localhost",
        "1.2.3.4",
        "8.8.8.8",
        "127.0.0.1",
        "127.9.9.9",
        "10.1.2.3",
        "169.254.169.254",
        "169.254.7.7",
        "126.1.1.1",
    ];
    let requests: Vec<_> = hosts
        .iter()
        .flat_map(|host| [80, 443, 22].map(|port| (host.parse().unwrap(), port)))
        .map(|(host, port)| Request::Network { op: NetworkOp::Request, host, port })
        .collect();
    let mut seen = [0_u32; 2];
    runner().run_counted(
        &(rules(), rules()),
        |(new, old)| {
            let read = |rules: &[(String, bool)]| read_rules(rules, "network:request", &vars);
            check_upgrade(&read(&new), &read(&old), &requests)
        },
        &mut seen,
    );
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
}

fn read_rules(rules: &[(String, bool)], permission: &str, vars: &Vars) -> Vec<Rule> {
    rules
        .iter()
        .filter_map(|(scope, allow)| {
            let effect = if *allow { Effect::Allow } else { Effect::Deny };
            Rule::parse(effect, &format!("{permission}={scope}"), vars, "case").ok()
        })
        .collect()
}

fn wider(new: &[&str], old: &[&str]) -> Vec<String> {
    let vars = Vars::new(CanonicalPath::root()).with_home(CanonicalPath::new("/home/ada").unwrap());
    let read = |rules: &[&str]| -> Vec<Rule> {
        rules
            .iter()
            .map(|text| match text.strip_prefix('!') {
                Some(text) => Rule::parse(Effect::Deny, text, &vars, "test").unwrap(),
                None => Rule::parse(Effect::Allow, text, &vars, "test").unwrap(),
            })
            .collect()
    };
    is_wider(&read(new), &read(old)).iter().map(|rule| rule.text()).collect()
}

#[test]
fn narrower_and_equal_grants_are_not_asked_for_again() {
    for (new, old) in [
        ("file:read=/srv/a", "file:read=/srv/**"),
        ("file:read=/srv/*/a", "file:read=/srv/**"),
        ("file:read=/srv/**", "file:read"),
        ("file:read", "file:read"),
        ("file:read=~/.ssh/config", "file:read=~/.ssh/**"),
        ("network:request=a.x.com:443", "network:request=*.x.com:443"),
        ("network:request=a.x.com:443", "network:request"),
        ("network:request=10.1.0.0/16:5432", "network:request=10.0.0.0/8:*"),
        ("env:read=LC_ALL", "env:read=LC_*"),
        ("subprocess:execute=git", "subprocess:execute"),
        ("subprocess:execute=git", "subprocess:execute=g*"),
        ("x-crm:export", "x-crm:export"),
    ] {
        assert!(wider(&[new], &[old]).is_empty(), "{new} is in {old}");
    }
}

#[test]
fn wider_grants_are_named_and_a_literal_floor_grant_is_one() {
    for (new, old) in [
        ("file:read=/srv/**", "file:read=/srv/a"),
        ("file:read", "file:read=/srv/**"),
        ("file:write=/srv/a", "file:read=/srv/a"),
        ("file:read=/home/ada/.ssh/config", "file:read=~/**"),
        ("file:read=/home/ada/.ssh/config", "file:read"),
        ("network:request=127.0.0.1:80", "network:request"),
        ("network:request=localhost:80", "network:request=*:80"),
        ("network:request=169.254.169.254:80", "network:request=169.254.0.0/16:80"),
        ("network:request=[64:ff9b::7f00:1]:80", "network:request=[64:ff9b::]/96:80"),
        ("network:request=*.x.com:443", "network:request=a.x.com:443"),
        ("network:request=a.x.com:*", "network:request=a.x.com:443"),
        ("subprocess:execute", "subprocess:execute=git"),
        ("subprocess:execute=git", "subprocess:execute=/usr/bin/git"),
        ("x-crm:import", "x-crm:export"),
    ] {
        assert_eq!(wider(&[new], &[old]), [new], "{new} is not in {old}");
    }
}

#[test]
fn a_deny_rule_that_is_gone_makes_its_permission_wider() {
    let old = ["file:read=/srv/**", "!file:read=/srv/secret/**", "env:read=LANG"];
    assert_eq!(wider(&["file:read=/srv/**", "env:read=LANG"], &old), ["file:read=/srv/**"]);
    assert!(wider(&["file:read=/srv/**", "!file:read=/srv/s*/**"], &old).is_empty());
    for (kept, lost) in [
        ("!network:request=*:80", "!network:request=127.0.0.1:80"),
        ("!subprocess:execute", "!subprocess:execute=git"),
        ("!env:read=A*", "!env:read=AB"),
    ] {
        let grant = lost.trim_start_matches('!').split('=').next().unwrap();
        assert!(wider(&[grant, kept], &[grant, lost]).is_empty(), "{kept} has all of {lost}");
        assert_eq!(wider(&[grant, lost], &[grant, kept]), [grant], "{lost} has not all of {kept}");
    }
}

#[test]
fn host_patterns_include_themselves_and_their_parts() {
    let pattern = |text: &str| text.parse::<HostPattern>().unwrap();
    for text in ["*", "*:80", "a.b:80", "*.b:*", "10.0.0.0/8:1", "[2001:db8::]/32:2", "[::1]:3"] {
        assert!(pattern(text).includes(&pattern(text)), "{text}");
    }
    assert!(pattern("*.b:80").includes(&pattern("*.a.b:80")));
    assert!(!pattern("*.a.b:80").includes(&pattern("*.b:80")));
    assert!(!pattern("*.b:80").includes(&pattern("b:80")));
    assert!(!pattern("0.0.0.0/0:80").includes(&pattern("[2001:db8::1]:80")));
}
