//! HOOK-01 to HOOK-04, HOOK-06, HOOK-07, HOOK-09: handlers that hang, crash, lie and go away while an event passes. That a plugin
//! beside a daemon is tried later and later (HOOK-07) is in the library's tests.

use std::time::Duration;

use ringfence_testkit::users;
use serde_json::{Value, json};

use crate::place::{Place, Wrongs, document};

/// One Python file is every handler of these tests; the body says what it shall do.
const HANDLER: &str = r#"
import os, sys, time

def onRequest(ctx):
    body = ctx.body
    act = body.get("act", {}).get(NAME)
    if act == "hang":
        time.sleep(3600)
    if act == "crash":
        os._exit(3)
    if act == "slow":
        time.sleep(2)
    while act == "flood":
        sys.stderr.write("flood " * 1000 + "\n")
    if act == "junk":
        return "junk"
    if act == "undeclared":
        return {"bdy": {"stolen": True}}
    if act == "huge":
        return {"body": "x" * 20_000_000}
    if act == "veto":
        return {"blocked": True, "reason": "no \x1b[2J", "response": {"code": 1}}
    if act == "change":
        return {"body": {"stolen": True}}
    if ctx.kind == "mutator":
        return {"body": {**body, "seen": body.get("seen", []) + [NAME]}}

def handle_event(topic, payload):
    from ringfence import host
    host.log("info", "heard " + topic)
    host.post_event("pong" if topic == "ping" else "ping", payload)
"#;

fn put(place: &Place, name: &str, more: &Value) {
    let entry = format!("{}_hook.py", place.world.marker.replace('-', "_"));
    let mut manifest = json!({"name": name, "version": "1.0.0", "runtime": "python", "entry_point": entry});
    for (field, value) in more.as_object().unwrap() {
        manifest[field] = value.clone();
    }
    let code = format!("NAME = {name:?}\n{HANDLER}");
    let package = place.package_with(name, &manifest.to_string(), &[(entry.as_str(), code.as_str())]);
    place.done(&["install", &package, "--grant-requested"]);
    place.done(&["activate", name]);
}

fn handler(place: &Place, name: &str, kind: &str, priority: i32) {
    let hook = json!({"event": "onRequest", "kind": kind, "priority": priority, "timeout_ms": 1000});
    put(place, name, &json!({ "hooks": [hook] }));
}

fn pass(place: &Place, body: &Value) -> Value {
    place.json(&["hook", "onRequest", &json!({ "body": body }).to_string()])
}

/// What came of each handler, in order.
fn results(outcome: &Value) -> Vec<(&str, &str)> {
    let trace = outcome["trace"].as_array().unwrap();
    trace.iter().map(|entry| (entry["plugin"].as_str().unwrap(), entry["result"].as_str().unwrap())).collect()
}

#[test]
fn hook_01_and_02_a_handler_that_hangs_or_crashes_harms_no_other_and_a_guard_holds() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        for (name, kind, priority) in [
            ("first", "mutator", 10),
            ("middle", "mutator", 20),
            ("last", "mutator", 30),
            ("guard", "guard", 40),
            ("watch", "observer", 50),
        ] {
            handler(&place, name, kind, priority);
        }
        let twin = pass(&place, &json!({}));
        assert_eq!(
            (&twin["outcome"], &twin["body"]["seen"]),
            (&json!("continue"), &json!(["first", "middle", "last"])),
            "{twin}"
        );
        for act in ["hang", "crash", "flood", "junk", "slow"] {
            let outcome = pass(&place, &json!({"act": {"middle": act}}));
            assert_eq!(outcome["outcome"], "continue", "as {who:?}: {outcome}");
            assert_eq!(
                outcome["body"]["seen"],
                json!(["first", "last"]),
                "each other one was asked once: {outcome}"
            );
            assert_eq!(results(&outcome)[1], ("middle", "skipped"), "{outcome}");

            let outcome = pass(&place, &json!({"act": {"guard": act}}));
            assert_eq!(outcome["outcome"], "blocked", "as {who:?}, {act}: {outcome}");
            assert_eq!(outcome["by"], "guard", "{outcome}");

            let outcome = pass(&place, &json!({"act": {"watch": act}}));
            assert_eq!(outcome["outcome"], "continue", "{outcome}");
            assert_eq!(results(&outcome)[4], ("watch", "skipped"), "{outcome}");
        }
        assert_eq!(pass(&place, &json!({}))["outcome"], "continue", "nothing is left of it");
    }
}

/// The same where nobody else takes part: what a fault makes of the event is the kind's own rule.
#[test]
fn hook_01_and_02_a_handler_alone_that_fails_blocks_as_a_guard_and_is_passed_over_as_anything_else() {
    let Some(place) = Place::ordinary() else { return };
    for (kind, held) in [("guard", "blocked"), ("mutator", "continue"), ("observer", "continue")] {
        handler(&place, kind, kind, 50);
        let mut wrongs = Wrongs::default();
        for act in ["hang", "crash", "flood", "junk", "slow"] {
            let twin = pass(&place, &json!({}));
            wrongs.note(twin["outcome"] == "continue", format!("{kind} before {act}: {twin}"));
            let body = json!({"act": {kind: act}});
            let outcome = pass(&place, &body);
            let fine = outcome["outcome"] == held
                && outcome["body"] == body
                && outcome["trace"][0]["reason"].is_string();
            wrongs.note(fine, format!("{kind} {act}: {outcome}"));
        }
        wrongs.none();
        place.done(&["uninstall", kind]);
    }
}

#[test]
fn hook_07_who_crashes_again_and_again_is_quarantined_until_a_person_releases_it() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        handler(&place, "crashy", "guard", 50);
        handler(&place, "steady", "mutator", 60);
        let die = json!({"act": {"crashy": "crash"}});
        for crash in 1..=6 {
            assert_ne!(
                place.json(&["show", "crashy"])["state"],
                "quarantined",
                "before crash {crash} as {who:?}"
            );
            assert_eq!(pass(&place, &die)["outcome"], "blocked", "crash {crash} as {who:?}");
        }
        let shown = place.json(&["show", "crashy"]);
        assert_eq!(shown["state"], "quarantined", "as {who:?}: {shown}");
        // Each command is a host of its own: it is the store that remembers. A guard in quarantine still blocks.
        let outcome = pass(&place, &json!({}));
        assert_eq!(
            (&outcome["outcome"], &outcome["by"]),
            (&json!("blocked"), &json!("crashy")),
            "as {who:?}: {outcome}"
        );
        place.refused(&["call", "crashy", "act"], 4, "quarantined");
        assert!(place.json(&["audit", "list", "--event", "quarantine"]).to_string().contains("crashy"));
        place.done(&["activate", "crashy"]);
        let twin = pass(&place, &json!({}));
        assert_eq!(
            (&twin["outcome"], &twin["body"]["seen"]),
            (&json!("continue"), &json!(["steady"])),
            "as {who:?}: {twin}"
        );
        assert!(place.json(&["audit", "list", "--event", "release"]).to_string().contains("crashy"));
    }
}

#[test]
fn hook_03_what_a_handler_may_not_do_is_dropped_and_attributed() {
    let Some(place) = Place::ordinary() else { return };
    handler(&place, "mutator", "mutator", 10);
    handler(&place, "guard", "guard", 20);
    let mut wrongs = Wrongs::default();
    for (act, says) in [("undeclared", "unknown field"), ("huge", "too large"), ("veto", "cannot block")] {
        let outcome = pass(&place, &json!({"act": {"mutator": act}}));
        let entry = &outcome["trace"][0];
        let fine = outcome["outcome"] == "continue"
            && outcome["body"] == json!({"act": {"mutator": act}})
            && entry["plugin"] == "mutator"
            && entry["result"] == "skipped"
            && entry["reason"].as_str().unwrap_or_default().contains(says);
        wrongs.note(fine, format!("{act}: {outcome}"));
    }
    for (act, says) in [("undeclared", "unknown field"), ("change", "cannot change")] {
        let outcome = pass(&place, &json!({"act": {"guard": act}}));
        let fine =
            outcome["outcome"] == "blocked" && outcome["reason"].as_str().unwrap_or_default().contains(says);
        wrongs.note(fine, format!("{act}: {outcome}"));
    }
    wrongs.none();
    let outcome = pass(&place, &json!({"act": {"guard": "veto"}}));
    assert_eq!((&outcome["outcome"], &outcome["response"]), (&json!("blocked"), &json!({"code": 1})));
    assert!(!outcome["reason"].as_str().unwrap().contains('\u{1b}'), "a reason obeys no terminal: {outcome}");
    let twin = pass(&place, &json!({}));
    assert_eq!(twin["body"], json!({"seen": ["mutator"]}));
}

#[test]
fn hook_04_plugins_that_answer_each_other_come_to_an_end() {
    let Some(place) = Place::ordinary() else { return };
    let both = json!({"permissions": ["event:post=ping", "event:post=pong"]});
    put(&place, "one", &both);
    put(&place, "two", &both);
    let report = document(&place.job(&["event", "ping", "--json"]).deadline(Duration::from_secs(60)).run());
    let delivered = report["receivers"].as_array().unwrap();
    assert!(delivered.iter().all(|one| one["outcome"] == "delivered"), "{report}");
    let heard = |name: &str| {
        let lines = place.json(&["logs", name]);
        lines.to_string().matches("heard p").count()
    };
    let all = heard("one") + heard("two");
    assert!((3..=32).contains(&all), "{all} messages were heard");
}

#[test]
fn hook_06_who_did_not_ask_or_was_not_granted_hears_nothing() {
    let Some(place) = Place::ordinary() else { return };
    handler(&place, "mutator", "mutator", 10);
    let other = place.json(&["hook", "onResponse", "{\"body\": {}}"]);
    assert_eq!((&other["body"], &other["trace"]), (&json!({}), &json!([])));
    place.done(&["revoke", "mutator", "hook:register=onRequest"]);
    assert_eq!(pass(&place, &json!({}))["trace"], json!([]), "it was revoked");
    place.done(&["grant", "mutator", "hook:register=onRequest"]);
    assert_eq!(pass(&place, &json!({}))["body"], json!({"seen": ["mutator"]}));
    place.done(&["deactivate", "mutator"]);
    assert_eq!(pass(&place, &json!({}))["trace"], json!([]), "it is not active");
    place.refused(&["hook", "no event"], 2, "usage");
    place.refused(&["hook", "onRequest", "{\"bdy\": 1}"], 2, "usage");
}

#[test]
fn hook_09_a_plugin_that_goes_while_an_event_passes_leaves_no_event_behind() {
    let Some(place) = Place::ordinary() else { return };
    for act in ["deactivate", "uninstall"] {
        let (slow, next) = (format!("slow-{act}"), format!("next-{act}"));
        handler(&place, &slow, "mutator", 10);
        handler(&place, &next, "mutator", 20);
        let body = json!({"body": {"act": {slow.as_str(): "slow"}}}).to_string();
        let outcome = std::thread::scope(|scope| {
            let hook = ["hook", "onRequest", &body, "--json"];
            let place = &place;
            let passing = scope.spawn(move || place.job(&hook).deadline(Duration::from_secs(60)).run());
            std::thread::sleep(Duration::from_millis(700));
            let run = place.job(&[act, &slow]).deadline(Duration::from_secs(60)).run();
            // It may have to wait for what runs, and say so.
            assert!(matches!(run.code, Some(0 | 8)), "{run}");
            passing.join().unwrap()
        });
        let outcome = document(&outcome);
        assert_eq!(outcome["outcome"], "continue", "{act}: {outcome}");
        let seen = outcome["body"]["seen"].as_array().cloned().unwrap_or_default();
        let asked = seen.iter().filter(|one| **one == json!(next)).count();
        assert_eq!(asked, 1, "{act}: the next one was asked once: {outcome}");
        assert_eq!(results(&pass(&place, &json!({}))), [(next.as_str(), "changed")], "{act}: it is gone");
        for name in [&slow, &next] {
            // It may be gone already.
            place.run(&["uninstall", name]);
        }
    }
}
