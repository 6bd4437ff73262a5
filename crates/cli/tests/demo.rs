//! `ringfence demo`, from outside: it holds, it says so, it leaves nothing behind.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test starts the built binary, and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The promise, for a machine that is busy with other tests: under a minute.
const LONGEST: Duration = Duration::from_secs(60);

fn demo(name: &str, words: &[&str]) -> (Output, PathBuf) {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("demo")
        .args(words)
        .env("TMPDIR", &place)
        .env(
            "RINGFENCE_DEMO_TEST",
            "a value that must not be seen inside, longer than any other of this process, so it is chosen",
        )
        .output()
        .unwrap();
    assert!(begun.elapsed() < LONGEST);
    (output, place)
}

#[test]
fn everything_holds_and_was_shown_to_work_outside() {
    let (output, place) = demo("json", &["--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && document["held"] == true, "{document:#}");
    assert_eq!(document["useful"]["granted"], "22 words in 2 files");
    assert_eq!(document["useful"]["without"], "No such file or directory");
    let acts = document["acts"].as_array().unwrap();
    assert!(acts.len() >= 12, "{document:#}");
    assert!(acts.iter().all(|act| act["held"] == true && act["harm"].is_null()));
    let shown = |name: &str| acts.iter().any(|act| act["name"] == name && act["outside"] == true);
    for name in ["read", "link", "write", "set-id", "tcp", "udp", "process", "variable", "child"] {
        assert!(shown(name), "{name}: {document:#}");
    }
    let ended = |name: &str, how: &str| acts.iter().any(|act| act["name"] == name && act["inside"] == how);
    assert!(
        ended("output", "stopped: output")
            && ended("file", "stopped: file_size")
            && ended("endless", "stopped: timeout")
    );
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "the directory is removed");
    std::fs::remove_dir(place).unwrap();
}

#[test]
fn the_text_has_a_line_for_each_act_and_ends_with_what_to_try_next() {
    let (output, place) = demo("text", &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{text}");
    assert!(text.lines().filter(|line| line.starts_with("  held ")).count() >= 12, "{text}");
    assert!(!text.contains("FAILED"), "{text}");
    let next = text.split("Try next:\n").nth(1).unwrap();
    assert_eq!(next.lines().filter(|line| line.trim_start().starts_with("ringfence ")).count(), 3, "{text}");
    std::fs::remove_dir(place).unwrap();
}

#[test]
fn without_a_place_to_work_in_it_says_what_to_set() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("demo").env("TMPDIR", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("set TMPDIR"), "{output:?}");
}

#[test]
fn cancelled_it_leaves_nothing_behind() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-cancelled-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("demo")
        .env("TMPDIR", &place)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while std::fs::read_dir(&place).unwrap().next().is_none() {
        assert!(begun.elapsed() < LONGEST, "it has never begun");
        std::thread::yield_now();
    }
    let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(sent.success() && output.status.code() == Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cancelled"), "{output:?}");
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "the directory is removed");
    std::fs::remove_dir(place).unwrap();
}
