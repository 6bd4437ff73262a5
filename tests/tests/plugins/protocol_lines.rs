//! PROTO-01 to PROTO-06 and PROTO-12: lines that are no messages, too long, too deep, or in another encoding.

use crate::place::{Place, Wrongs};
use ringfence_testkit::{Run, users};
use serde_json::{Value, json};
use std::time::Duration;

/// The longest line, its end included.
const CAP: i64 = 4 * 1024 * 1024;
/// The host answers so many faults of one run.
const ANSWERED_MAX: usize = 16;

const PARSE: i64 = -32700;
const INVALID: i64 = -32600;
const UNKNOWN: i64 = -32601;

/// A line, and the error numbers that the host answers with; nothing where it only drops and counts it.
type Junk = (&'static str, &'static [i64]);

const JUNK: &[Junk] = &[
    ("noise", &[PARSE]),
    ("json_noise", &[INVALID, INVALID, INVALID, INVALID, INVALID]),
    ("content_length", &[PARSE]),
    ("not_utf8", &[PARSE]),
    ("bom", &[PARSE]),
    ("nul", &[PARSE]),
    ("deep_unclosed", &[PARSE]),
    ("batch", &[INVALID]),
];
const MORE_JUNK: &[Junk] = &[
    ("pretty", &[PARSE, INVALID, INVALID, INVALID, PARSE]),
    ("utf16", &[PARSE]),
    ("huge_batch", &[INVALID]),
    ("proto", &[INVALID]),
    ("unknown_request", &[UNKNOWN]),
    ("control_method", &[INVALID]),
    ("empty", &[]),
];
/// Answers that belong to no call: nobody answers an answer.
const STRAY: &[Junk] = &[
    ("no_id", &[]),
    ("null_id", &[]),
    ("text_id", &[]),
    ("float_id", &[]),
    ("big_id", &[]),
    ("negative_id", &[]),
    ("long_id", &[]),
    ("other_id", &[]),
    ("old_id", &[]),
    ("digits", &[]),
];

fn try_lines(place: &Place, table: &[Junk]) -> Value {
    let lines: Vec<&str> = table.iter().map(|(how, _)| *how).collect();
    place.act("hostile", &json!({"how": "junk", "lines": lines}))
}

#[test]
fn proto_12_02_05_lines_that_are_no_messages_are_answered_dropped_and_logged() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let place = place.with_witness();
        place.active("hostile", &json!({}));
        let mut wrongs = Wrongs::default();
        for table in [JUNK, MORE_JUNK] {
            assert!(table.iter().map(|(_, codes)| codes.len()).sum::<usize>() <= ANSWERED_MAX);
            let said = try_lines(&place, table);
            for (how, codes) in table {
                wrongs.note(
                    said[how] == json!(codes),
                    format!("{how} as {who:?}: {} and not {codes:?}", said[how]),
                );
            }
        }
        wrongs.none();
        let log = String::from_utf8(place.done(&["logs", "hostile", "-n", "200"]).stdout).unwrap();
        for words in ["Loading model", "Content-Length header", "a byte order mark", "a batch"] {
            assert!(log.contains(words), "{words} as {who:?}:\n{log}");
        }
        place.witness();
    }
}

#[test]
fn proto_06_07_answers_to_no_call_are_dropped() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    let mut wrongs = Wrongs::default();
    let said = try_lines(&place, STRAY);
    for (how, _) in STRAY {
        // None of them became the result, which is this document, and the call was still there to be answered.
        let codes = said[how].as_array();
        wrongs.note(codes.is_some_and(|codes| codes.len() <= 1), format!("{how}: {}", said[how]));
    }
    wrongs.none();
    for how in ["twice", "crlf", "good"] {
        assert_eq!(place.act("hostile", &json!({"how": how})), "right", "{how}");
    }
}

#[test]
fn proto_04_a_line_may_be_just_as_long_as_the_cap() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    for beyond in [-1, 0] {
        let result = place.act("hostile", &json!({"how": "size", "beyond": beyond}));
        let length = i64::try_from(result.as_str().unwrap().len()).unwrap();
        assert!((CAP - 60..CAP).contains(&length), "{length}");
    }
    for beyond in [1, 1_000_000] {
        let error = place.act_refused("hostile", &json!({"how": "size", "beyond": beyond}), 1, "too_large");
        assert!(error["message"].as_str().unwrap().contains("4194304 bytes"), "{error}");
    }
    // A line that belongs to no call is skipped, however long, and the answer behind it arrives.
    assert_eq!(place.act("hostile", &json!({"how": "endless_line"})), "right");
    let keys = place.act("hostile", &json!({"how": "many_keys"}));
    assert_eq!(keys.as_object().unwrap().len(), 300_000);
}

#[test]
fn proto_04_a_hundred_megabytes_without_an_end_cost_no_memory() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    let (_, small) = peak(&place, &json!({"how": "wait"}), "2s");
    let (run, large) = peak(&place, &json!({"how": "line_and_wait"}), "8s");
    let log = String::from_utf8(place.done(&["logs", "hostile"]).stdout).unwrap();
    assert!(log.contains("flooded"), "all of it was written:\n{log}\n{run}");
    // The line itself, a buffer that doubles, and what a page or two costs.
    let most = small + 2 * 4096 + 3 * 1024;
    assert!(large <= most, "{large} KiB, and {small} KiB without the flood\n{run}");
}

/// Calls, and gives the most memory that `ringfence` itself had, in KiB.
fn peak(place: &Place, arguments: &Value, timeout: &str) -> (Run, u64) {
    let words = ["call", "hostile", "act", &arguments.to_string(), "--timeout", timeout, "--json"];
    let running = place.job(&words).spawn();
    let status = format!("/proc/{}/status", running.pid());
    let mut most = 0;
    while let Ok(text) = std::fs::read_to_string(&status) {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // A process that has ended has no memory to tell of.
        let Some(line) = line else { break };
        most = most.max(line.trim().trim_end_matches(" kB").parse().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    let run = running.finish();
    crate::place::refusal(&run, 6, "timeout");
    (run, most)
}
