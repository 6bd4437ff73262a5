//! Decisions and their texts.

use ringfence_api::PermissionName;
use ringfence_policy::{
    CanonicalPath, Effect, FileOp, Host, Name, NetworkOp, Reason, Request, Rule, RuleSet, Vars,
};

/// Rules from text; `!` is a deny rule.
fn rules(texts: &[&str]) -> RuleSet {
    let vars = Vars::new(CanonicalPath::new("/proj").unwrap());
    let parse = |(number, text): (usize, &&str)| {
        let (effect, text) =
            text.strip_prefix('!').map_or((Effect::Allow, *text), |text| (Effect::Deny, text));
        Rule::parse(effect, text, &vars, format!("policy.toml:{}", number + 1)).unwrap()
    };
    RuleSet::new(texts.iter().enumerate().map(parse).collect())
}

fn network(host: &str, port: u16) -> Request {
    Request::Network { op: NetworkOp::Request, host: host.parse().unwrap(), port }
}

fn resolved(host: &str, address: &str, port: u16) -> Request {
    let host: Host = host.parse().unwrap();
    Request::Resolved { op: NetworkOp::Request, host, address: address.parse().unwrap(), port }
}

fn execute(path: &str) -> Request {
    Request::Execute { path: CanonicalPath::new(path).unwrap() }
}

fn named(permission: &str, name: &str) -> Request {
    Request::Named { permission: permission.parse().unwrap(), name: Name::new(name).unwrap() }
}

fn check(texts: &[&str], request: &Request, expected: &str) {
    let rules = rules(texts);
    assert_eq!(rules.decide(request).to_string(), expected);
    let explanation = rules.explain(request);
    assert_eq!(explanation.text, expected);
    assert_eq!(explanation.effect == Effect::Allow, expected.starts_with("allowed"));
    assert_eq!(explanation.grant.is_some(), expected.contains("this grant would"));
}

#[test]
fn empty_means_nothing() {
    let read = Request::File { op: FileOp::Read, path: CanonicalPath::root() };
    for request in [read, network("a.b", 1), execute("/bin/sh"), named("env:read", "LANG")] {
        let decision = rules(&[]);
        let decision = decision.decide(&request);
        assert!(!decision.is_allowed() && decision.reason() == Reason::NoRule);
        assert_eq!(decision.grant(), request.narrowest_permission().map(|grant| grant.to_string()));
    }
}

#[test]
fn the_sentences_name_the_rule_and_the_grant() {
    check(
        &["env:read=LC_*"],
        &named("env:read", "HOME"),
        "denied: no rule allows env:read of HOME; this grant would: env:read=HOME",
    );
    check(
        &["env:read", "env:read=HOME"],
        &named("env:read", "HOME"),
        "allowed: env:read of HOME, by 'allow env:read' (policy.toml:1)",
    );
    check(
        &["env:read", "!env:read=H*"],
        &named("env:read", "HOME"),
        "denied: env:read of HOME, by 'deny env:read=H*' (policy.toml:2); no grant overrides a deny rule, so \
         that rule must change",
    );
    check(
        &["network:request=*:80"],
        &network("169.254.169.254", 80),
        "denied: network:request of 169.254.169.254:80 is protected, and 'allow network:request=*:80' \
         (policy.toml:1) does not name it; this grant would: network:request=169.254.169.254:80",
    );
    check(
        &["network:request=a.b:80"],
        &network("::1", 80),
        "denied: no rule allows network:request of [::1]:80; this grant would: network:request=[::1]:80",
    );
}

#[test]
fn deny_beats_allow_whatever_the_order_and_permissions_do_not_mix() {
    for texts in [["file:read=/a", "!file:read=/a"], ["!file:read=/a", "file:read=/a"]] {
        let rules = rules(&texts);
        let request = Request::File { op: FileOp::Read, path: CanonicalPath::new("/a").unwrap() };
        assert!(matches!(rules.decide(&request).reason(), Reason::Denied(_)));
    }
    let rules = rules(&["file:read=/a"]);
    for (op, allowed) in [(FileOp::Read, true), (FileOp::Write, false), (FileOp::Delete, false)] {
        let request = Request::File { op, path: CanonicalPath::new("/a").unwrap() };
        assert_eq!(rules.decide(&request).is_allowed(), allowed, "{op:?}");
    }
    assert_eq!(rules.rules().len(), 1);
}

#[test]
fn the_name_and_the_address_behind_it_must_both_be_allowed() {
    let public = resolved("api.x.com", "8.8.8.8", 443);
    let rebound = resolved("api.x.com", "127.0.0.1", 443);
    let mapped = resolved("api.x.com", "::ffff:10.0.0.1", 443);
    let nat64 = resolved("api.x.com", "64:ff9b::a00:1", 443);
    let grant = rules(&["network:request=api.x.com:443"]);
    assert!(grant.decide(&public).is_allowed());
    for (request, needed) in [
        (&rebound, "network:request=127.0.0.1:443"),
        (&mapped, "network:request=10.0.0.1:443"),
        (&nat64, "network:request=[64:ff9b::a00:1]:443"),
    ] {
        let decision = grant.decide(request);
        assert!(matches!(decision.reason(), Reason::Floor(_)), "{decision}");
        assert_eq!(decision.grant().as_deref(), Some(needed));
        assert!(rules(&["network:request=api.x.com:443", needed]).decide(request).is_allowed());
        let missing_name = rules(&[needed]);
        let missing_name = missing_name.decide(request);
        assert_eq!(missing_name.grant().as_deref(), Some("network:request=api.x.com:443"));
    }
    for deny in ["!network:request=8.0.0.0/8:*", "!network:request=*.x.com:443", "!network:request"] {
        let rules = rules(&["network:request", deny]);
        let decision = rules.decide(&public);
        assert!(matches!(decision.reason(), Reason::Denied(_)) && decision.grant().is_none(), "{deny}");
    }
    assert_eq!(rebound.to_string(), "network:request of api.x.com:443 at 127.0.0.1");
}

#[test]
fn a_deny_rule_for_an_address_holds_for_the_forms_that_carry_it() {
    let rules = rules(&["network:request", "!network:request=8.8.0.0/16:*"]);
    for (host, allowed) in [
        ("8.8.8.8", false),
        ("::ffff:8.8.8.8", false),
        ("64:ff9b::808:808", false),
        ("2002:808:808::", false),
        ("64:ff9b::909:909", true),
        ("9.9.9.9", true),
    ] {
        assert_eq!(rules.decide(&network(host, 53)).is_allowed(), allowed, "{host}");
    }
}

#[test]
fn hosts_are_found_by_name_domain_range_and_port() {
    let rules = rules(&[
        "network:request=a.com:1",
        "network:request=a.com:2",
        "network:request=*.b.com:1",
        "network:request=*.com:9",
        "network:request=8.0.0.0/8:1",
        "network:request=8.8.8.8:2",
        "network:request=[2600::]/12:1",
        "network:listen=127.0.0.1:*",
    ]);
    for (host, port, allowed) in [
        ("a.com", 1, true),
        ("a.com", 2, true),
        ("a.com", 3, false),
        ("x.y.b.com", 1, true),
        ("x.y.b.com", 9, true),
        ("b.com", 1, false),
        ("8.1.1.1", 1, true),
        ("8.8.8.8", 2, true),
        ("8.8.8.9", 2, false),
        ("2601::1", 1, true),
        ("2700::1", 1, false),
        ("127.0.0.1", 1, false),
    ] {
        assert_eq!(rules.decide(&network(host, port)).is_allowed(), allowed, "{host}:{port}");
    }
    let listen = |port| Request::Network { op: NetworkOp::Listen, host: "127.0.0.1".parse().unwrap(), port };
    assert!(rules.decide(&listen(0)).is_allowed() && rules.decide(&listen(8080)).is_allowed());
    assert_eq!(listen(0).narrowest_grant(), "network:listen=127.0.0.1:*");
}

#[test]
fn a_program_by_name_is_the_installed_one_and_denied_everywhere() {
    let by_name = rules(&["subprocess:execute=git"]);
    for (path, allowed) in
        [("/usr/bin/git", true), ("/bin/git", true), ("/tmp/git", false), ("/usr/bin/gitk", false)]
    {
        assert_eq!(by_name.decide(&execute(path)).is_allowed(), allowed, "{path}");
    }
    let denied = rules(&["subprocess:execute", "!subprocess:execute=git"]);
    for (path, allowed) in [("/usr/bin/git", false), ("/tmp/git", false), ("/usr/bin/ls", true)] {
        assert_eq!(denied.decide(&execute(path)).is_allowed(), allowed, "{path}");
    }
    let by_path = rules(&["subprocess:execute=/opt/tools/**", "subprocess:execute=g*"]);
    for (path, allowed) in [("/opt/tools/x", true), ("/opt/x", false), ("/usr/bin/gcc", true), ("/", false)] {
        assert_eq!(by_path.decide(&execute(path)).is_allowed(), allowed, "{path}");
    }
    assert!(by_path.rules()[0].path().is_some() && by_path.rules()[1].name_pattern().is_some());
}

#[test]
fn names_and_added_permissions_are_decided_by_name() {
    let rules =
        rules(&["hook:register=onRequest", "x-crm:export=cust*", "database:read", "!database:read=hr"]);
    for (permission, name, allowed) in [
        ("hook:register", "onRequest", true),
        ("hook:register", "onresponse", false),
        ("x-crm:export", "customers", true),
        ("x-crm:export", "staff", false),
        ("x-crm:import", "customers", false),
        ("database:read", "crm", true),
        ("database:read", "hr", false),
        ("database:write", "crm", false),
        // Not a permission over names: always denied.
        ("file:read", "customers", false),
    ] {
        assert_eq!(rules.decide(&named(permission, name)).is_allowed(), allowed, "{permission} {name}");
    }
}

#[test]
fn the_named_grant_can_always_be_read_back() {
    for name in ["A*B", "a\\b", "tab\there", "=", "é", "\u{202e}x"] {
        let request = named("env:read", name);
        let grant = request.narrowest_permission().expect("it is a permission");
        let rules = rules(&[&grant.to_string()]);
        assert!(rules.decide(&request).is_allowed(), "{grant}");
        assert!(!rules.decide(&named("env:read", "AxB")).is_allowed(), "{grant} is exact");
    }
    let odd = Request::File { op: FileOp::Read, path: CanonicalPath::from_bytes(b"/a\xff*\n").unwrap() };
    assert_eq!(odd.narrowest_grant(), "file:read=/a\\xff\\*\\x0a");
    assert!(rules(&[&odd.narrowest_grant()]).decide(&odd).is_allowed());
}

#[test]
fn rules_tell_what_they_are() {
    let set = rules(&["!file:read", "network:request=*.x.com:443", "env:read=A*", "file:write=notes"]);
    let rule = |index: usize| &set.rules()[index];
    assert_eq!(
        (rule(0).effect(), rule(0).is_bare(), rule(0).text().as_str()),
        (Effect::Deny, true, "file:read")
    );
    assert!(rule(0).path().is_some_and(|path| path.is_subtree()));
    assert!(rule(0).host().is_none() && rule(0).name_pattern().is_none());
    assert_eq!(rule(1).host().map(ToString::to_string).as_deref(), Some("*.x.com:443"));
    assert!(rule(1).path().is_none());
    assert_eq!(rule(2).name_pattern().map(ToString::to_string).as_deref(), Some("A*"));
    assert_eq!(rule(3).to_string(), "allow file:write=/proj/notes");
    assert_eq!((rule(3).permission_name(), rule(3).origin()), (&PermissionName::FileWrite, "policy.toml:4"));
    assert_eq!(NetworkOp::Request.permission(), PermissionName::NetworkRequest);
}

fn protected(name: &str) -> Request {
    Request::Protected { permission: PermissionName::ProfileRead, name: Name::new(name).unwrap() }
}

#[test]
fn what_is_protected_is_opened_by_its_name_and_by_nothing_else() {
    for wildcard in ["profile:read", "profile:read=*", "profile:read=e*", "profile:read=*mail"] {
        let decided = rules(&[wildcard]);
        let (plain, guarded) = (named("profile:read", "email"), protected("email"));
        assert!(decided.decide(&plain).is_allowed(), "{wildcard} opens what is not protected");
        let refused = decided.decide(&guarded);
        assert!(matches!(refused.reason(), Reason::Floor(_)), "{wildcard}: {refused}");
        assert_eq!(refused.grant().as_deref(), Some("profile:read=email"));
    }
    check(
        &["profile:read"],
        &protected("email"),
        "denied: profile:read of email is protected, and 'allow profile:read' (policy.toml:1) does not name it; this grant would: profile:read=email",
    );
    check(
        &["profile:read", "profile:read=email"],
        &protected("email"),
        "allowed: profile:read of email, by 'allow profile:read=email' (policy.toml:2)",
    );
    check(
        &["profile:read=name"],
        &protected("email"),
        "denied: no rule allows profile:read of email; this grant would: profile:read=email",
    );
    // Deny beats allow, and here a wildcard counts.
    for deny in ["!profile:read", "!profile:read=e*", "!profile:read=email"] {
        assert!(!rules(&["profile:read=email", deny]).decide(&protected("email")).is_allowed(), "{deny}");
    }
    // A star that is written as itself is no wildcard.
    assert!(rules(&["profile:read=a\\*"]).decide(&protected("a*")).is_allowed());
}

#[test]
fn a_field_by_its_name_is_wider_than_a_wildcard_over_fields() {
    let vars = Vars::new(CanonicalPath::root());
    let rule = |text: &str| Rule::parse(Effect::Allow, text, &vars, "grant").unwrap();
    let wider = |new: &str, old: &str| !ringfence_policy::is_wider(&[rule(new)], &[rule(old)]).is_empty();
    assert!(wider("profile:read=email", "profile:read"), "it may be protected");
    assert!(wider("profile:read=email", "profile:read=*"));
    assert!(!wider("profile:read=email", "profile:read=email"));
    assert!(!wider("profile:read=e*", "profile:read"));
    assert!(!wider("event:post=a", "event:post"), "other names have nothing that is protected");
}
