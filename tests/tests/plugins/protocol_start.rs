//! PROTO-13 to PROTO-15: plugins that begin wrongly, and calls that come when none are taken.

use crate::place::{Place, Wrongs, refusal};
use ringfence_testkit::users;
use serde_json::json;
use std::time::{Duration, Instant};

/// What is wrong with the start, the status, the code, and a word of the message.
const REFUSED: &[(&str, i32, &str, &str)] = &[
    ("version", 5, "plugin_failed", "speaks protocol '2'"),
    ("no_version", 5, "plugin_failed", "cannot be read"),
    ("number_version", 5, "plugin_failed", "cannot be read"),
    ("other_name", 5, "plugin_failed", "its name as 'someone-else'"),
    ("other_plugin_version", 5, "plugin_failed", "its version as '9.9.9'"),
    ("more_tools", 5, "plugin_failed", "the tool 'secret_tool'"),
    ("more_hooks", 5, "plugin_failed", "a hook at 'onRequest'"),
    ("tools_of_wrong_type", 5, "plugin_failed", "cannot be read"),
    ("start_error", 5, "plugin_failed", "\\u{1b}[2J licence"),
    ("start_exit", 5, "plugin_failed", "exit"),
    ("start_null", 5, "plugin_failed", "cannot be read"),
    ("exit_at_once", 5, "plugin_failed", "exit"),
    ("close_at_once", 5, "plugin_failed", "did not start"),
    ("no_handshake", 6, "timeout", "within 1 s"),
    ("start_silent", 6, "timeout", "within 1 s"),
];

/// Starts that are odd and still right: the twins.
const ACCEPTED: &[&str] = &["good", "noise_first", "start_twice", "early_request", "ignores_shutdown"];

#[test]
fn proto_13_14_a_plugin_that_is_not_what_its_manifest_says_is_not_started() {
    for who in users() {
        let Some(place) = Place::new(who).map(Place::with_witness) else { return };
        let mut wrongs = Wrongs::default();
        for (mode, status, code, words) in REFUSED {
            let name = mode.replace('_', "-");
            let package = place.hostile(&name, &json!({"limits": {"init_timeout_s": 1}}), mode);
            place.done(&["install", &package, "--grant-requested"]);
            let begun = Instant::now();
            let run = place.run(&["activate", &name, "--json"]);
            let error = refusal(&run, *status, code);
            wrongs.note(
                error["message"].as_str().unwrap().contains(words),
                format!("{mode} as {who:?}: {error}"),
            );
            wrongs.note(
                begun.elapsed() < Duration::from_secs(10),
                format!("{mode} as {who:?}: {:?}", begun.elapsed()),
            );
            wrongs.note(place.run(&["call", &name, "ok"]).code != Some(0), format!("{mode} takes calls"));
        }
        wrongs.none();
        place.witness();
    }
}

#[test]
fn proto_13_an_odd_start_is_accepted() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        for mode in ACCEPTED {
            let name = mode.replace('_', "-");
            let package = place.hostile(&name, &json!({}), mode);
            place.done(&["install", &package, "--grant-requested"]);
            place.done(&["activate", &name]);
            assert_eq!(place.json(&["call", &name, "ok"]), "ok", "{mode} as {who:?}");
        }
    }
}

#[test]
fn proto_15_a_call_that_comes_at_the_wrong_time_is_refused_at_once() {
    let Some(place) = Place::ordinary() else { return };
    let package = place.hostile("hostile", &json!({"permissions": ["env:read=LANG"]}), "good");
    place.done(&["install", &package]);
    place.refused(&["call", "hostile", "ok"], 4, "consent_required");
    place.refused(&["activate", "hostile"], 4, "consent_required");
    place.done(&["activate", "hostile", "--grant-requested"]);
    assert_eq!(place.json(&["call", "hostile", "ok"]), "ok");
    place.refused(&["call", "hostile", "no-such-tool"], 3, "not_found");
    place.done(&["deactivate", "hostile"]);
    place.refused(&["call", "hostile", "ok"], 4, "not_active");
    place.done(&["uninstall", "hostile"]);
    place.refused(&["call", "hostile", "ok"], 3, "not_found");
    let count =
        |event: &str| place.sql(&format!("SELECT COUNT(*) FROM audit WHERE event = '{event}'"))[0][0].clone();
    assert_eq!(count("call"), 1, "the one good call, nothing else");
    assert_eq!(count("start"), 2, "for the activation and the good call, nothing else");
}
