//! The floor: no wildcard opens it, a change grant that would bring it along is refused, a literal grant is
//! enough.

use ringfence_api::ErrorCode;
use ringfence_policy::{
    CanonicalPath, Effect, FileOp, GrantProblem, PathPattern, Request, Rule, RuleSet, Vars,
};

fn path(text: &str) -> CanonicalPath {
    CanonicalPath::new(text).unwrap()
}

fn vars() -> Vars {
    Vars::new(path("/proj"))
        .with_home(path("/home/ada"))
        .with_data(path("/rf/data/notes"))
        .with_state(path("/rf"))
}

fn allow(text: &str) -> Rule {
    Rule::parse(Effect::Allow, text, &vars(), "test").unwrap()
}

fn allowed(grant: &str, op: FileOp, wanted: &str) -> bool {
    RuleSet::new(vec![allow(grant)]).decide(&Request::File { op, path: path(wanted) }).is_allowed()
}

const SECRETS: [&str; 7] = [
    "/home/ada/.ssh/id_ed25519",
    "/home/ada/.aws/credentials",
    "/home/ada/.gnupg",
    "/home/ada/.mozilla/firefox/p/cookies.sqlite",
    "/home/ada/.bashrc",
    "/rf/audit.db",
    "/etc/shadow",
];

#[test]
fn wildcards_and_bare_names_open_everything_but_the_floor() {
    for secret in SECRETS {
        for grant in ["file:read", "file:read=/**", "file:read=/*/**", "file:read=~/**", "file:read=/**/*"] {
            assert!(!allowed(grant, FileOp::Read, secret), "{grant} {secret}");
        }
        // The twin: the same request with the literal grant.
        assert!(allowed(&format!("file:read={secret}"), FileOp::Read, secret), "{secret}");
        assert!(allowed(&format!("file:write={secret}"), FileOp::Write, secret), "{secret}");
        assert!(allowed(&format!("file:delete={secret}/**"), FileOp::Delete, secret), "{secret}");
    }
    for grant in ["file:read", "file:read=~/**"] {
        assert!(allowed(grant, FileOp::Read, "/home/ada/notes.txt"), "{grant}");
    }
    assert!(allowed("file:read=~/.ssh/**", FileOp::Read, "/home/ada/.ssh/id_ed25519"));
    assert!(allowed("file:write=${data}/**", FileOp::Write, "/rf/data/notes/kv.db"), "own data");
    assert!(!allowed("file:write=${data}/**", FileOp::Write, "/rf/data/other/kv.db"));
}

#[test]
fn a_change_grant_around_the_floor_is_refused_and_names_it() {
    for name in ["file:write", "file:delete"] {
        for scope in ["", "=/**", "=~/**", "=~", "=/", "=/home/*/**", "=/home/**/*", "=/**/id_rsa", "=/home"]
        {
            let text = format!("{name}{scope}");
            let error = Rule::parse(Effect::Allow, &text, &vars(), "--rw").unwrap_err();
            assert_eq!(error.code(), ErrorCode::Floor, "{text}");
            assert!(error.floor_paths().contains(&path("/home/ada/.ssh")), "{text}");
            assert!(error.to_string().contains("/home/ada/"), "{error}");
            assert!(Rule::parse(Effect::Deny, &text, &vars(), "policy").is_ok(), "a deny rule may say so");
        }
    }
    assert!(Rule::parse(Effect::Allow, "file:write=/rf/**", &vars(), "t").is_ok(), "named");
    let nested = vars().with_state(path("/rf/keys"));
    let nested = Rule::parse(Effect::Allow, "file:write=/rf/**", &nested, "t").unwrap_err();
    assert_eq!(nested.floor_paths(), [path("/rf/keys")], "what is protected inside needs its own name");
    let error = Rule::parse(Effect::Allow, "file:write=/etc/**", &vars(), "--rw /etc").unwrap_err();
    assert_eq!(
        error.to_string(),
        "'file:write=/etc/**' is refused: it would also open /etc/gshadow, /etc/gshadow-, /etc/shadow and \
         /etc/shadow-; grant the directories that are needed one by one, or name such a path itself (--rw /etc)",
    );
    let one = Rule::parse(Effect::Allow, "file:write=/home/ada/.config/git/**", &vars(), "t").unwrap_err();
    assert_eq!(one.floor_paths(), [path("/home/ada/.config/git/credentials")]);
    assert!(one.to_string().contains("open /home/ada/.config/git/credentials; grant"), "{one}");
    let home = Rule::parse(Effect::Allow, "file:write=~/**", &vars(), "t").unwrap_err();
    assert!(home.to_string().contains("more protected paths"), "{home}");
}

#[test]
fn raw_paths_obey_the_same_rule() {
    let subtree = |text: &str| PathPattern::subtree(&path(text));
    let error =
        Rule::for_path(Effect::Allow, FileOp::Write, subtree("/home/ada"), &vars(), "--rw ~").unwrap_err();
    assert_eq!((error.text(), error.origin()), ("file:write=/home/ada/**", "--rw ~"));
    let rule = Rule::for_path(Effect::Allow, FileOp::Write, subtree("/srv/a*"), &vars(), "--rw").unwrap();
    assert_eq!(rule.text(), "file:write=/srv/a\\*/**");
    assert_eq!(rule.floor(), vars().floor());
}

#[test]
fn a_wildcard_that_could_only_mean_the_floor_is_refused_and_not_silently_empty() {
    for text in ["file:read=~/.ssh/*.pub", "file:read=~/.ssh/**/config", "file:write=/rf/*"] {
        let error = Rule::parse(Effect::Allow, text, &vars(), "t").unwrap_err();
        assert_eq!(error.problem(), &GrantProblem::FloorWildcard, "{text}");
        assert_eq!((error.code(), error.floor_paths().len()), (ErrorCode::Floor, 0));
    }
    let hosts = Rule::parse(Effect::Allow, "network:request=*.localhost:80", &vars(), "t").unwrap_err();
    assert_eq!(hosts.problem(), &GrantProblem::FloorWildcard);
}

#[test]
fn the_floors_of_all_rules_hold_together() {
    let other = Vars::new(path("/")).with_state(path("/other"));
    let rules = RuleSet::new(vec![
        allow("file:read=/srv/**"),
        Rule::parse(Effect::Allow, "file:read", &other, "other").unwrap(),
    ]);
    for (wanted, open) in [("/other/x", false), ("/home/ada/.ssh/x", false), ("/anything", true)] {
        let request = Request::File { op: FileOp::Read, path: path(wanted) };
        assert_eq!(rules.decide(&request).is_allowed(), open, "{wanted}");
    }
}
