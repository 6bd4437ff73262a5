//! PROTO-16 to PROTO-18: plugins that go away in the middle, and plugins that never come to an end.

use crate::place::{Place, refusal};
use ringfence_testkit::users;
use serde_json::json;
use std::time::Duration;

/// What a command may take beyond what is measured: a start, a stop, and a busy machine.
const SLACK: Duration = Duration::from_secs(4);

#[test]
fn proto_16_a_plugin_that_goes_in_the_middle_is_one_error_at_once() {
    for who in users() {
        let Some(place) = Place::new(who).map(Place::with_witness) else { return };
        place.active("hostile", &json!({}));
        for (how, words) in [
            ("exit0", "exited with status 0"),
            ("partial", "exited with status 0"),
            ("close_out", "ended during the call"),
        ] {
            let run = place.run(&["call", "hostile", "act", &json!({"how": how}).to_string(), "--json"]);
            let error = refusal(&run, 5, "plugin_failed");
            assert!(error["message"].as_str().unwrap().contains(words), "{how} as {who:?}: {error}");
            // `close_out` sleeps for a minute with its output closed: nobody waits for that.
            assert!(run.elapsed < SLACK, "{how} as {who:?}\n{run}");
            place.witness();
        }
        assert_eq!(place.act("hostile", &json!({"how": "good"})), "right", "one crash is not the end");
    }
}

#[test]
fn proto_17_18_progress_moves_no_deadline_and_an_ignored_cancel_ends_it() {
    for who in users() {
        let Some(place) = Place::new(who).map(Place::with_witness) else { return };
        place.active("hostile", &json!({}));
        for how in ["progress", "wait", "close_in"] {
            let words =
                ["call", "hostile", "act", &json!({"how": how}).to_string(), "--timeout", "1s", "--json"];
            let run = place.run(&words);
            refusal(&run, 6, "timeout");
            // 1 s, then at most the ladder: 2 s for an orderly end, 3 s after SIGTERM.
            assert!(run.elapsed > Duration::from_secs(1), "{how} as {who:?}\n{run}");
            assert!(run.elapsed < Duration::from_secs(6) + SLACK, "{how} as {who:?}\n{run}");
        }
        place.witness();
        assert_eq!(place.act("hostile", &json!({"how": "good"})), "right", "the twin, as {who:?}");
    }
}

#[test]
fn proto_17_the_manifests_own_limit_holds_without_a_flag() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({"limits": {"call_timeout_s": 1}}));
    let error = place.act_refused("hostile", &json!({"how": "progress"}), 6, "timeout");
    assert!(error["message"].as_str().unwrap().contains("1.000 s"), "{error}");
    // A caller cannot have more than the plugin's own limit.
    let words = ["call", "hostile", "act", &json!({"how": "wait"}).to_string(), "--timeout", "60s"];
    let error = place.refused(&words, 6, "timeout");
    assert!(error["message"].as_str().unwrap().contains("1.000 s"), "{error}");
}

#[test]
fn proto_16_a_call_that_is_cancelled_by_a_person_leaves_nothing() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        place.active("hostile", &json!({}));
        for (how, signal) in [("wait", 2), ("deaf", 15)] {
            let running =
                place.job(&["call", "hostile", "act", &json!({"how": how}).to_string(), "--json"]).spawn();
            // Only the plugin's own command line has the name of the entry point.
            let started = std::time::Instant::now();
            while ringfence_testkit::alive_with_marker(&place.entry_point()).is_empty() {
                assert!(started.elapsed() < Duration::from_secs(20), "{how} never ran");
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_millis(300));
            running.signal(signal);
            let run = running.finish();
            refusal(&run, 128 + signal, "cancelled");
            assert!(run.elapsed < Duration::from_secs(7) + SLACK, "{how} as {who:?}\n{run}");
        }
    }
}
