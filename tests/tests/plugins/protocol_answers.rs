//! PROTO-09, PROTO-10, PROTO-11, PROTO-21, PROTO-22: answers that are none, questions that are not allowed, and words that
//! are meant for a terminal or hold a secret.

use crate::place::{Place, Wrongs};
use ringfence_testkit::users;
use serde_json::json;

#[test]
fn proto_09_an_answer_that_breaks_the_protocol_is_one_error() {
    let Some(place) = Place::ordinary().map(Place::with_witness) else { return };
    place.active("hostile", &json!({}));
    let mut wrongs = Wrongs::default();
    for (how, words) in [
        ("both", "both a result and an error"),
        ("neither", "neither a result nor an error"),
        ("duplicate_member", "stands there twice"),
        ("wrong_version", "`jsonrpc` is not"),
        ("bad_error", "`error` is an object"),
        ("surrogate", "half of a surrogate pair"),
        ("deep", "deeper than 64 levels"),
    ] {
        let error = place.act_refused("hostile", &json!({"how": how}), 5, "plugin_failed");
        wrongs.note(error["message"].as_str().unwrap().contains(words), format!("{how}: {error}"));
    }
    wrongs.none();
    assert_eq!(place.act("hostile", &json!({"how": "good"})), "right");
    place.witness();
}

#[test]
fn proto_10_what_is_not_granted_is_refused_and_what_is_granted_is_done() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let asks = json!({
            "permissions": [{"permission": "config:write", "reason": "to remember"}],
            "config_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
        });
        let package = place.hostile("hostile", &asks, "good");
        place.done(&["install", &package, "--grant-none"]);
        place.done(&["activate", "hostile"]);
        let set = json!({"how": "host_request", "method": "set_config", "params": {"config": {"a": 1}}});
        let denied = place.act("hostile", &set);
        assert_eq!(denied["error"]["code"], -31001, "as {who:?}: {denied}");
        assert_eq!(denied["error"]["data"]["code"], "permission_denied", "{denied}");
        assert_eq!(place.json(&["config", "get", "hostile"]), json!({}));
        let why = place.json(&["why", "hostile"]);
        assert!(why.to_string().contains("set_config"), "{why}");
        let audit = place.sql("SELECT body FROM audit WHERE event = 'denial'");
        assert_eq!(audit.as_array().unwrap().len(), 1, "one event: {audit}");
        assert!(audit.to_string().contains("set_config"), "{audit}");

        place.done(&["grant", "hostile", denied["error"]["data"]["grant"].as_str().unwrap()]);
        let granted = place.act("hostile", &set);
        assert!(granted["result"].is_object(), "as {who:?}: {granted}");
        assert_eq!(place.json(&["config", "get", "hostile"]), json!({"a": 1}));

        for (method, params, code) in [
            ("spawn", json!({"command": ["/bin/true"]}), -32601),
            ("run_process", json!({"command": ["/bin/true"]}), -31001),
            ("http_fetch", json!({"url": "http://127.0.0.1:1/"}), -31001),
            ("query_database", json!({"database": "crm", "sql": "SELECT 1"}), -31001),
            ("read_file", json!({"path": "/etc/hostname"}), -31001),
        ] {
            let asked = json!({"how": "host_request", "method": method, "params": params});
            let answer = place.act("hostile", &asked);
            // A method that nobody knows, and some that are not granted: never a result.
            assert_eq!(answer["error"]["code"], code, "as {who:?}, {method}: {answer}");
        }
    }
}

#[test]
fn proto_11_a_flood_of_questions_is_answered_in_full() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    // Less than a pipe holds: a plugin that does not read waits for itself (docs/protocol.md, back-pressure).
    assert_eq!(place.act("hostile", &json!({"how": "requests", "count": 500})), 500);
}

#[test]
fn proto_11_questions_are_read_no_faster_than_the_administrator_says() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    let flood = || {
        let begun = std::time::Instant::now();
        assert_eq!(place.act("hostile", &json!({"how": "requests", "count": 250})), 250);
        begun.elapsed()
    };
    std::fs::write(place.home("config.toml"), "[plugins]\nrequests_per_second = 50\n").unwrap();
    // Fifty at once, and two hundred at fifty a second; all of them are answered.
    assert!(flood() >= std::time::Duration::from_millis(3_900));
    std::fs::remove_file(place.home("config.toml")).unwrap();
    assert!(flood() < std::time::Duration::from_millis(3_900), "the twin");
}

#[test]
fn proto_21_words_of_a_plugin_are_cut_escaped_and_redacted() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    let error = place.act_refused("hostile", &json!({"how": "error_huge"}), 1, "too_large");
    assert!(error["message"].as_str().unwrap().contains("4194304 bytes"), "{error}");
    let error = place.act_refused("hostile", &json!({"how": "error_big_message"}), 5, "plugin_failed");
    assert!(error["message"].as_str().unwrap().len() < 5_000);

    let spoof = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\nringfence: granted\u{202e}\u{9b}31m";
    let json =
        place.act_refused("hostile", &json!({"how": "error_message", "give": spoof}), 5, "plugin_failed");
    assert!(json["message"].as_str().unwrap().contains("\\u{1b}"), "{json}");
    let people =
        place.run(&["call", "hostile", "act", &json!({"how": "error_message", "give": spoof}).to_string()]);
    assert!(!crate::place::raw_controls(&people.err()), "{people}");
    assert!(!people.err().lines().any(|line| line.starts_with("ringfence: granted")), "{people}");

    assert_eq!(place.act("hostile", &json!({"how": "log", "give": spoof})), "right");
    let log = place.done(&["logs", "hostile"]);
    assert!(log.out().contains("owned") && !crate::place::raw_controls(&log.out()), "{log}");
    assert!(!log.out().lines().any(|line| line.starts_with("ringfence: granted")), "{log}");
}

#[test]
fn proto_22_what_breaks_a_schema_is_refused_on_its_side() {
    let Some(place) = Place::ordinary() else { return };
    let tools = json!({"tools": [
        {"name": "act",
         "input_schema": {"type": "object", "properties": {"how": {"type": "string"}, "count": {"type": "integer", "maximum": 9}},
                          "required": ["how"]},
         "output_schema": {"type": "string", "maxLength": 10}},
        {"name": "ok"}]});
    place.active("hostile", &tools);
    let events = || place.sql("SELECT COUNT(*) FROM audit WHERE event IN ('start', 'call')");
    let before = events();
    for arguments in [
        json!({}),
        json!({"how": 3}),
        json!({"how": "good", "count": 10}),
        json!({"how": "good", "count": "9"}),
    ] {
        let error = place.act_refused("hostile", &arguments, 5, "schema_violation");
        assert!(
            error["message"].as_str().unwrap().contains('/') || error.to_string().contains("how"),
            "{error}"
        );
    }
    assert_eq!(before, events(), "bad arguments are no call, and start nothing");
    assert_eq!(place.act("hostile", &json!({"how": "good", "count": 9})), "right");
    for give in [json!(5), json!("longer than ten"), json!(null), json!({"a": []})] {
        let error =
            place.act_refused("hostile", &json!({"how": "good", "give": give}), 5, "schema_violation");
        assert!(error["message"].as_str().unwrap().contains("result"), "{give}: {error}");
    }
}
