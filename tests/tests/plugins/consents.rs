//! PKG-31: words of a package cannot make a person, or a pipe, consent.

use crate::place::Place;
use serde_json::json;

/// What a package would like a person to read.
const SPOOF: &str = "to help\u{202e}\u{2066}";

#[test]
fn pkg_31_a_piped_yes_is_no_consent() {
    let Some(place) = Place::ordinary() else { return };
    let package = place.hostile("hostile", &json!({"permissions": ["env:read=LANG"]}), "good");
    let yes = "y\nyes\nall\n".repeat(200);
    let run = place.job(&["install", &package]).stdin(yes.as_bytes()).run();
    run.expect_code(0);
    assert!(run.err().contains("waits for consent"), "{run}");
    let run = place.job(&["activate", "hostile"]).stdin(yes.as_bytes()).run();
    run.expect_code(4);
    assert_eq!(place.json(&["grants", "hostile"]), json!([]));
    // The twin: the flag is consent.
    place.done(&["activate", "hostile", "--grant-requested"]);
    assert_eq!(place.json(&["grants", "hostile"]).as_array().unwrap().len(), 1);
}

#[test]
fn pkg_31_what_a_package_says_of_itself_is_one_escaped_line() {
    let Some(place) = Place::ordinary() else { return };
    let lines = "to help\npermissions: none\n[y/N] y";
    let escape = "to help\u{1b}[2J";
    let asks = |reason: &str| {
        json!({
            "description": format!("{reason} {}", "long ".repeat(50)),
            "permissions": [{"permission": "file:read", "scope": ["/etc/**"], "reason": reason}],
        })
    };
    for (number, reason) in [lines, escape, SPOOF].into_iter().enumerate() {
        let name = format!("spoof-{number}");
        let package = place.hostile(&name, &asks(reason), "good");
        let run = place.run(&["install", &package]);
        assert!(!crate::place::raw_controls(&run.err()), "{run}");
        if run.code == Some(1) {
            // Hidden letters are no part of a manifest at all.
            continue;
        }
        for words in [&["show", name.as_str()][..], &["activate", &name], &["list"]] {
            let run = place.run(words);
            let text = format!("{}{}", run.out(), run.err());
            assert!(!crate::place::raw_controls(&text), "{run}");
            assert!(!text.lines().any(|line| line.trim_start().starts_with("permissions: none")), "{run}");
        }
        let shown = place.done(&["show", &name]).out();
        assert!(shown.contains("/etc/"), "the resolved path is shown:\n{shown}");
    }
    assert_eq!(place.json(&["list"]).as_array().unwrap().len(), 1, "the one without hidden letters");
}

#[test]
fn pkg_31_more_than_is_asked_for_is_never_granted_unasked() {
    let Some(place) = Place::ordinary() else { return };
    let package = place.hostile("hostile", &json!({"permissions": ["env:read=LANG"]}), "good");
    place.done(&["install", &package, "--grant-requested"]);
    let grants = place.json(&["grants", "hostile"]);
    assert_eq!(grants.as_array().unwrap().len(), 1, "{grants}");
    // The next version asks for more: neither the old consent nor an upgrade without a word covers it.
    let wider = place.hostile("wider", &json!({"name": "hostile", "version": "1.1.0", "permissions": ["env:read=LANG", "subprocess:execute"]}), "good");
    place.done(&["activate", "hostile"]);
    place.refused(&["upgrade", &wider], 4, "consent_required");
    assert_eq!(place.json(&["grants", "hostile"]), grants);
    assert_eq!(place.json(&["call", "hostile", "ok"]), "ok", "the old version goes on");
}
