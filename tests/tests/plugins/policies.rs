//! POL: the administrator's policy over every plugin, through the command line. Each denial has its twin.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::place::Place;
use serde_json::{Value, json};

const ALLOWS: &str = "default = \"allow\"\n";

impl Place {
    /// Puts another policy in the place of the old one, as an editor does it.
    fn policy(&self, text: &str) {
        self.world.put("home/state/policy.new", text);
        let new = self.home("policy.new");
        std::fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&new, self.home("policy.toml")).unwrap();
    }

    /// Installs and activates the plugin with a grant over `notes`, which holds an open and a secret file.
    fn with_notes(self) -> Self {
        self.world.mkdir("notes");
        for name in ["open", "secret"] {
            self.world.mkdir(&format!("notes/{name}"));
            self.world.put(&format!("notes/{name}/a.txt"), &format!("canary-{name}"));
        }
        self.active("reader", &json!({"permissions": [format!("file:read={}/**", self.notes(""))]}));
        self
    }

    fn notes(&self, below: &str) -> String {
        let path = self.world.path("notes").join(below);
        path.to_string_lossy().trim_end_matches('/').to_owned()
    }

    /// Whether the plugin can read this file, by what it got of it.
    fn reads(&self, name: &str) -> bool {
        let path = self.notes(&format!("{name}/a.txt"));
        let arguments = json!({"how": "open", "path": path}).to_string();
        let run = self.run(&["call", "reader", "act", &arguments, "--json"]);
        let got = format!("{}{}", run.out(), run.err());
        let whole = got.contains(&format!("canary-{name}"));
        assert_eq!(whole, run.code == Some(0), "{run}");
        whole
    }
}

#[test]
fn pol_01_deny_beats_grant_and_allow_and_why_names_the_rule() {
    let Some(place) = Place::ordinary().map(Place::with_notes) else { return };
    assert!(place.reads("open") && place.reads("secret"), "without a policy the grant holds");

    let (all, secret) = (place.notes(""), place.notes("secret"));
    // Nested, and both match: the deny rule wins wherever it stands.
    for policy in [
        format!(
            "allow = [\"file:read={all}/**\", \"file:read={secret}/a.txt\"]\ndeny = [\"file:read={secret}/**\"]\n"
        ),
        format!("deny = [\"file:read={secret}/**\"]\nallow = [\"file:read={all}/**\"]\n"),
        "deny = [\"file:read=**/secret/**\"]\n".to_owned(),
    ] {
        place.policy(&policy);
        assert!(place.reads("open") && !place.reads("secret"), "{policy}");
    }
    place.policy(&format!("deny = [\"file:read={secret}/**\"]\n"));
    assert!(!place.reads("secret"));
    let why = place.json(&["why", "reader"]);
    let denial = why["denials"]
        .as_array()
        .unwrap()
        .iter()
        .find(|denial| denial["object"] == format!("{secret}/a.txt"));
    let denial = denial.unwrap_or_else(|| panic!("{why}"));
    assert!(denial["policy"].as_str().unwrap().contains("(policy.toml:1)"), "{denial}");
    assert_eq!(denial["command"], Value::Null, "no grant helps: {denial}");

    let explain = |object: &str| place.json(&["policy", "explain", "reader", &format!("file:read={object}")]);
    let explained = explain(&format!("{secret}/a.txt"));
    assert_eq!(
        (&explained["allowed"], &explained["by"], &explained["line"]),
        (&json!(false), &json!("policy"), &json!(1))
    );
    let explained = explain(&format!("{}/a.txt", place.notes("open")));
    assert_eq!((&explained["allowed"], &explained["by"]), (&json!(true), &json!("grant")), "{explained}");
    let explained = explain("/etc/hosts");
    assert_eq!((&explained["allowed"], &explained["by"]), (&json!(false), &json!("nothing")), "{explained}");

    place.policy(ALLOWS);
    assert!(place.reads("secret"), "the grant was never lost");
}

#[test]
fn pol_01_what_the_policy_denies_cannot_be_consented_to_and_the_most_restrictive_wins() {
    let Some(place) = Place::ordinary() else { return };
    place.policy("deny = [\"env:read=SECRET_*\"]\nallow = [\"env:read=LANG\", \"env:read=SECRET_A\"]\n");
    let asks = json!({"permissions": ["env:read=SECRET_A", "env:read=LANG", "env:read=HOME"]});
    let package = place.hostile("asker", &asks, "good");
    let error = place.refused(&["install", &package, "--grant-requested"], 4, "policy_denied");
    assert!(
        error["message"].as_str().unwrap().contains("'deny env:read=SECRET_*' (policy.toml:1)"),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().ends_with("env:read=LANG"), "{error}");
    assert_eq!(place.json(&["grants", "asker"]), json!([]), "all or nothing");
    let error = place.refused(&["grant", "asker", "env:read=HOME"], 4, "policy_denied");
    assert!(error["message"].as_str().unwrap().contains("only what is listed"), "{error}");
    place.done(&["activate", "asker", "--grant", "env:read=LANG"]);
    assert_eq!(place.json(&["grants", "asker"]).as_array().unwrap().len(), 1);
    // A grant that is wider than the list holds as far as the list goes.
    place.done(&["grant", "asker", "env:read"]);
    let grants = place.json(&["grants", "asker"]);
    let wide = grants.as_array().unwrap().iter().find(|grant| grant["permission"] == "env:read").unwrap();
    assert_eq!(wide["policy"]["effect"], "narrowed", "{grants}");
    assert_eq!(wide["policy"]["kept"], json!(["env:read=LANG"]));
}

#[test]
fn pol_02_a_policy_that_cannot_be_used_refuses_everything_and_looking_still_works() {
    let Some(place) = Place::ordinary().map(Place::with_notes) else { return };
    let package = place.hostile("other", &json!({}), "good");
    let policy = place.home("policy.toml");
    let good = format!("deny = [\"file:read={}/**\"]\n", place.notes("secret"));
    type Breaks<'a> = (&'a str, Box<dyn Fn() + 'a>, &'a str);
    let cases: Vec<Breaks<'_>> = vec![
        ("invalid", Box::new(|| place.policy("dney = []\n")), "did you mean 'deny'"),
        ("half-written", Box::new(|| place.policy(&good[..good.len() / 2])), "policy.toml:1:"),
        ("empty", Box::new(|| place.policy("")), "it says nothing"),
        ("no text", Box::new(|| std::fs::write(&policy, b"\xff\xfe\x00").unwrap()), "UTF-8"),
        (
            "100 MB",
            Box::new(|| std::fs::File::create(&policy).unwrap().set_len(100_000_000).unwrap()),
            "100000000 bytes",
        ),
        (
            "a link to a good one",
            Box::new(|| {
                place.world.put("home/state/real.toml", ALLOWS);
                std::fs::remove_file(&policy).unwrap();
                std::os::unix::fs::symlink(place.home("real.toml"), &policy).unwrap();
            }),
            "symbolic link",
        ),
        (
            "a link to itself",
            Box::new(|| {
                std::fs::remove_file(&policy).unwrap();
                std::os::unix::fs::symlink(&policy, &policy).unwrap();
            }),
            "symbolic link",
        ),
        (
            "a directory",
            Box::new(|| {
                std::fs::remove_file(&policy).unwrap();
                std::fs::create_dir(&policy).unwrap();
            }),
            "regular file",
        ),
        (
            "writable by others",
            Box::new(|| {
                std::fs::remove_dir(&policy).unwrap();
                place.policy(ALLOWS);
                std::fs::set_permissions(&policy, Permissions::from_mode(0o666)).unwrap();
            }),
            "chmod go-w",
        ),
    ];
    for (what, breaks, says) in cases {
        breaks();
        let begun = Instant::now();
        for words in [
            &["install", package.as_str()][..],
            &["activate", "reader"],
            &["call", "reader", "ok"],
            &["grant", "reader", "env:read=LANG"],
        ] {
            let error = place.refused(words, 4, "policy_denied");
            assert!(error["message"].as_str().unwrap().contains(says), "{what}: {error}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        for words in [
            &["list"][..],
            &["show", "reader"],
            &["grants", "reader"],
            &["why", "reader"],
            &["logs", "reader"],
        ] {
            place.done(words);
        }
        assert!(place.done(&["list"]).err().contains("cannot be used"), "{what}");
        let check = place.run(&["policy", "check"]);
        assert!(check.code == Some(1) && check.out().contains(says), "{what}: {check}");
    }
    place.policy(ALLOWS);
    place.done(&["policy", "check"]);
    assert!(!place.done(&["list"]).err().contains("cannot be used"));
    assert!(place.reads("secret"), "the twin: a good policy lets all go on");
    std::fs::remove_file(&policy).unwrap();
    assert!(place.reads("secret"), "and so does none");
}

#[test]
fn pol_03_mistakes_are_told_all_at_once_and_a_check_changes_nothing() {
    let Some(place) = Place::ordinary() else { return };
    place.world.put(
        "wrong.toml",
        "deny = [\"file:raed=/a\", \"env:read\", \"file:read=a\"]\n[limits]\nmemroy = 1\n",
    );
    let wrong = place.world.path("wrong.toml").to_string_lossy().into_owned();
    let run = place.run(&["policy", "check", &wrong]);
    run.expect_code(1);
    let lines: Vec<String> = run.out().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{run}");
    for (line, at) in lines.iter().zip([":1:9 ", ":1:37 ", ":3:1 "]) {
        assert!(line.starts_with(&format!("{wrong}{at}")), "{line} {at}");
    }
    let run = place.run(&["policy", "simulate", &wrong]);
    run.expect_code(1);
    place.refused(&["policy", "check", "nowhere.toml"], 3, "path_not_found");
    let template = place.done(&["policy", "template"]).out();
    place.world.put("template.toml", &template);
    let template = place.world.path("template.toml").to_string_lossy().into_owned();
    assert!(place.done(&["policy", "check", &template]).err().contains("no mistakes"));
    assert!(!place.home("policy.toml").exists());
}

#[test]
fn pol_04_a_policy_that_changes_between_check_and_use_is_judged_at_the_use() {
    let Some(place) = Place::ordinary().map(Place::with_notes) else { return };
    assert!(place.reads("secret"));
    // Checked and consented to under one policy, called under the next.
    place.policy(&format!("deny = [\"file:read={}/**\"]\n", place.notes("secret")));
    assert!(!place.reads("secret") && place.reads("open"));
    place.policy("default = \"allow\"\n[install]\nblocked_names = [\"reader\"]\n");
    place.refused(&["call", "reader", "ok"], 4, "policy_denied");
    place.refused(&["activate", "reader"], 4, "policy_denied");
    place.policy(ALLOWS);
    assert!(place.reads("secret"));
}

#[test]
fn pol_04_a_call_that_runs_is_ended_within_a_second_of_the_policy_that_forbids_it() {
    let Some(place) = Place::ordinary() else { return };
    place.active("sleeper", &json!({}));
    let call =
        |how: &str| place.job(&["call", "sleeper", "act", &json!({ "how": how }).to_string(), "--json"]);
    call("good").run().expect_code(0);
    let running = call("wait").spawn();
    let runs = || {
        ringfence_testkit::alive_with_marker(&place.entry_point())
            .iter()
            .any(|(_, line)| line.contains(".py"))
    };
    let begun = Instant::now();
    while place.sql("SELECT count(*) FROM audit WHERE event = 'call' AND plugin = 'sleeper'")[0][0]
        != json!(2)
        || !runs()
    {
        assert!(begun.elapsed() < Duration::from_secs(20), "the call never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    place.policy("default = \"allow\"\n[install]\nblocked_names = [\"sleeper\"]\n");
    let begun = Instant::now();
    let run = running.finish();
    assert!(run.code != Some(0), "{run}");
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let audit = place.sql("SELECT count(*) FROM audit WHERE event = 'denial' AND body LIKE '%\"policy\"%'");
    assert!(audit[0][0].as_i64().unwrap() > 0, "the refusal is on record: {audit}");
}
