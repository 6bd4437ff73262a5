//! What people and programs see of stored runs.

use super::*;
use ringfence::Home;
use ringfence::exec::{RunMeta, StoreLimits};
use ringfence_api::{Denial, ErrorBody, RunReport, Violation};

struct Fixture {
    dir: std::path::PathBuf,
    store: RunStore,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).expect("the test's own directory");
    }
}

fn fixture(name: &str) -> Fixture {
    let dir = std::env::temp_dir().join(format!("ringfence-runs-{name}-{}", std::process::id()));
    let store = RunStore::new(&Home::at(&dir), StoreLimits::default());
    Fixture { dir, store }
}

fn add(store: &RunStore, command: &[&str], output: &[(Stream, &str)], report: Option<RunReport>) {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    let meta = RunMeta { command, started_at_ms: 1_700_000_000_000, grants: vec!["file:read=/a".to_owned()] };
    let mut writer = store.begin(meta).unwrap();
    for (at_ms, (stream, text)) in output.iter().enumerate() {
        writer.append(*stream, at_ms as u64, text.as_bytes()).unwrap();
    }
    if let Some(report) = report {
        writer.finish(&report).unwrap();
    }
}

fn exited(code: i32) -> Option<RunReport> {
    Some(RunReport { exit_code: Some(code), duration_ms: 1_234, ..RunReport::new(RunStatus::Exited) })
}

/// (stdout, stderr)
fn shown(store: &RunStore, command: RunsCommand) -> (String, String) {
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    run(&command, store, &mut out, &mut talk).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
}

fn show(id: u64) -> RunsCommand {
    RunsCommand::Show { id: id.to_string().parse().unwrap(), timeline: false, json: false }
}

fn list_all() -> RunsCommand {
    RunsCommand::List { limit: 20, before: None, json: false }
}

#[test]
fn the_list_says_how_each_run_ended_newest_first() {
    let Fixture { store, .. } = &fixture("list");
    add(store, &["true"], &[], exited(0));
    add(store, &["sh", "-c", "echo 'a b'\u{1b}[2J"], &[(Stream::Stdout, "a b\n")], exited(3));
    let violation = RunReport { violation: Some(Violation::Memory), ..RunReport::new(RunStatus::Violation) };
    add(store, &["hog"], &[], Some(violation));
    add(store, &["x"], &[], Some(RunReport { signal: Some(11), ..RunReport::new(RunStatus::Signaled) }));
    add(store, &["x"], &[], Some(RunReport::new(RunStatus::Signaled)));
    add(store, &["x"], &[], Some(RunReport::new(RunStatus::Cancelled)));
    add(store, &["x"], &[], Some(RunReport::new(RunStatus::NotStarted)));
    add(store, &["killed"], &[], None);
    let (out, talk) = shown(store, list_all());
    assert_eq!(talk, "");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 9, "{out}");
    for (line, ended) in lines.iter().skip(1).zip([
        "unfinished",
        "not started",
        "cancelled",
        "unknown",
        "signal 11",
        "memory",
        "exit 3",
        "exit 0",
    ]) {
        assert!(line.contains(&format!("  2023-11-14 22:13:20   {ended}  ")), "{line}: {ended}");
    }
    assert!(lines[7].contains("1.234 s         4 B  sh -c 'echo '\\''a b'\\''\\u{1b}[2J'"), "{}", lines[7]);
}

#[test]
fn pages_are_offered_and_json_is_one_document() {
    let Fixture { store, .. } = &fixture("pages");
    assert_eq!(shown(store, list_all()), (String::new(), "no stored runs\n".to_owned()));
    for _ in 0..3 {
        add(store, &["true"], &[], exited(0));
    }
    let page = |before: Option<u64>, json| {
        let before = before.map(|id| id.to_string().parse().unwrap());
        shown(store, RunsCommand::List { limit: 2, before, json })
    };
    assert_eq!(page(None, false).1, "older: ringfence runs list --before 2\n");
    assert_eq!(page(Some(2), false).1, "");
    let json: serde_json::Value = serde_json::from_str(&page(None, true).0).unwrap();
    assert_eq!((json["runs"].as_array().unwrap().len(), &json["before"]), (2, &2.into()));
    assert_eq!(json["runs"][0]["status"], "exited");
}

#[test]
fn a_run_is_shown_with_its_streams_apart() {
    let Fixture { store, .. } = &fixture("show");
    let report = RunReport {
        evidence: vec!["it was so".to_owned()],
        error: Some(ErrorBody::new(ErrorCode::Io, "bad\u{1b}")),
        denials: vec![
            Denial { grant: Some("file:read=/etc".to_owned()), ..Denial::new("landlock", "open") },
            Denial::new("seccomp", "ptrace"),
        ],
        ..exited(1).unwrap()
    };
    add(
        store,
        &["cat"],
        &[(Stream::Stdout, "one\n"), (Stream::Stderr, "oops\n"), (Stream::Stdout, "two\n")],
        Some(report),
    );
    let (out, talk) = shown(store, show(1));
    assert_eq!(out, "one\ntwo\n");
    for line in [
        "run 1: cat\n",
        "started 2023-11-14 22:13:20 UTC, exit 1\n",
        "granted file:read=/a\n",
        "took 1234 ms, 0 ms of processor time, 0 B of memory\n",
        "because it was so\n",
        "error: bad\\u{1b} (io)\n",
        "denied open unknown by landlock, 1 time(s); file:read=/etc would allow it\n",
        "denied ptrace unknown by seccomp, 1 time(s)\n",
    ] {
        assert!(talk.contains(line), "{talk}");
    }
    assert!(talk.ends_with("\n\noops\n"), "{talk}");
    let timed = RunsCommand::Show { id: "1".parse().unwrap(), timeline: true, json: false };
    let want = "       0 ms  stdout  one\n       1 ms  stderr  oops\n       2 ms  stdout  two\n";
    assert_eq!(shown(store, timed).0, want);
    let json = RunsCommand::Show { id: "1".parse().unwrap(), timeline: false, json: true };
    let json: serde_json::Value = serde_json::from_str(&shown(store, json).0).unwrap();
    assert_eq!(json["output"][1], serde_json::json!({"t_ms": 1, "stream": "stderr", "text": "oops\n"}));
    assert_eq!((&json["report"]["exit_code"], &json["run"]["id"]), (&1.into(), &1.into()));
}

#[test]
fn a_run_that_does_not_exist_is_not_found() {
    let Fixture { store, dir } = &fixture("none");
    std::fs::create_dir_all(dir).unwrap();
    let error = run(&show(7), store, &mut Vec::new(), &mut Vec::new()).unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::NotFound, "there is no stored run 7"));
    assert!(parse_id("x").unwrap_err().contains("runs list"));
}

#[test]
fn a_closed_pipe_is_an_error_and_not_a_panic() {
    let Fixture { store, .. } = &fixture("pipe");
    add(store, &["true"], &[(Stream::Stdout, "x")], exited(0));
    let mut no_room: [u8; 0] = [];
    for command in [list_all(), show(1), RunsCommand::List { limit: 1, before: None, json: true }] {
        let error = run(&command, store, &mut &mut no_room[..], &mut Vec::new()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Io);
    }
}

#[test]
fn times_follow_the_calendar() {
    for (seconds, text) in [
        (0, "1970-01-01 00:00:00"),
        (68_169_600, "1972-02-29 00:00:00"),
        (951_782_400, "2000-02-29 00:00:00"),
        (951_868_800, "2000-03-01 00:00:00"),
        (1_709_251_199, "2024-02-29 23:59:59"),
        (4_107_542_400, "2100-03-01 00:00:00"),
        (253_402_300_799, "9999-12-31 23:59:59"),
    ] {
        assert_eq!(utc(seconds * 1_000 + 999), text);
    }
    assert!(utc(u64::MAX).len() > 19);
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    assert_eq!(printable("a\tb\u{7}\u{202e}é\r\n"), "a\tb\\u{7}\\u{202e}é\\r");
    assert_eq!(command_line(&["a".to_owned(), String::new(), "$x".to_owned()]), "a '' '$x'");
}

#[test]
fn sizes_have_few_digits() {
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (2_000, "2000 B"),
        (9_999, "9999 B"),
        (12_345, "12 KB"),
        (64 << 20, "67 MB"),
        (u64::MAX, "18446744073 GB"),
    ] {
        assert_eq!(size(bytes), text);
    }
}
