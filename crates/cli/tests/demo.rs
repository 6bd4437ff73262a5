//! `ringfence demo`, from outside: it holds, it says so, it leaves nothing behind.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test starts the built binary, and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The promise is a minute; these run an unoptimised binary on a machine that is busy with other tests.
const LONGEST: Duration = Duration::from_secs(180);
/// Two of them at once would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    place
}

fn demo(name: &str, words: &[&str]) -> (Output, PathBuf) {
    let _alone = alone();
    let place = place(name);
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
    assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "the directory is removed");
    std::fs::remove_dir(&place).unwrap();
    (output, place)
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn everything_holds_and_was_shown_to_work_outside() {
    let (output, _) = demo("json", &["--json"]);
    let document = document(&output);
    assert!(output.status.success() && document["held"] == true, "{document:#}");
    assert_eq!(document["useful"]["granted"], "22 words in 2 files");
    assert_eq!(document["useful"]["without"], "No such file or directory");

    let acts = document["acts"].as_array().unwrap();
    assert!(acts.len() >= 20, "{document:#}");
    assert!(acts.iter().all(|act| act["held"] == true && act["harm"].is_null()), "{document:#}");
    let shown = |name: &str| acts.iter().any(|act| act["name"] == name && act["outside"] == true);
    for name in [
        "key",
        "link",
        "neighbour",
        "grants",
        "write",
        "package",
        "set-id",
        "tcp",
        "udp",
        "socket",
        "process",
        "variable",
        "child",
    ] {
        assert!(shown(name), "{name}: {document:#}");
    }
    let inside = |name: &str| {
        let act = acts.iter().find(|act| act["name"] == name).unwrap();
        act["inside"].as_str().unwrap().to_owned()
    };
    assert_eq!(inside("key"), "No such file or directory");
    assert_eq!(inside("memory"), "it broke the limit 'memory'");
    assert_eq!(inside("crash"), "it was ended by signal 6");
    assert!(inside("lie").starts_with("quarantined"), "{document:#}");
    assert!(inside("hang") == "stopped: timeout" && inside("deaf") == "stopped: timeout", "{document:#}");

    let witness = &document["witness"];
    assert!(witness["failed"] == 0 && witness["calls"].as_u64().unwrap() > 20, "{witness:#}");
}

#[test]
fn plugins_live_their_whole_life_and_what_is_not_granted_is_refused() {
    let (output, _) = demo("life", &["--json"]);
    let document = document(&output);
    let steps = document["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["held"] == true), "{document:#}");
    let came = |plugin: &str, step: &str| -> Vec<&str> {
        let those = steps.iter().filter(|found| found["plugin"] == plugin && found["step"] == step);
        those.map(|step| step["came"].as_str().unwrap()).collect()
    };
    let python = ["/usr/bin/python3", "/usr/local/bin/python3"].iter().any(|path| Path::new(path).exists());
    if python {
        assert_eq!(came("visitors", "call").len(), 2, "{document:#}");
        assert!(came("visitors", "call").iter().any(|call| call.contains("Ada was here.")), "{document:#}");
    } else {
        assert_eq!(came("visitors", "install"), ["skipped: needs python3"]);
    }
    // Refused before it is granted and after it is taken back, and done in between and after the upgrade.
    let refused = came("checksum", "refused");
    assert!(
        refused.len() == 2 && refused.iter().all(|said| said.contains("ringfence grant checksum")),
        "{refused:?}"
    );
    let read = came("checksum", "call").into_iter().filter(|call| call.contains("\"bytes\":12"));
    assert_eq!(read.count(), 2, "{document:#}");
    let upgrades = came("checksum", "upgrade");
    assert!(upgrades.len() == 2 && upgrades[0].contains("+ env:read=LANG"), "{upgrades:?}");
    assert_eq!(came("all", "uninstall"), ["0 plugins are left"]);
}

#[test]
fn the_text_has_a_line_for_each_act_and_ends_with_what_to_try_next() {
    let (output, _) = demo("text", &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && talk.is_empty(), "{text}\n{talk}");
    assert!(text.lines().filter(|line| line.starts_with("  held ")).count() >= 20, "{text}");
    assert!(text.contains("It wants to:") && text.contains("0 calls failed"), "{text}");
    assert!(!text.contains("FAILED"), "{text}");
    let next = text.split("Try next:\n").nth(1).unwrap();
    assert_eq!(next.lines().filter(|line| line.trim_start().starts_with("ringfence ")).count(), 3, "{text}");
}

/// The twin: what is granted is done, and then the demo must not say that it held.
#[test]
fn a_door_that_is_left_open_is_noticed() {
    let (output, _) = demo("open", &["--json", "--open-door"]);
    assert_eq!(output.status.code(), Some(1));
    let document = document(&output);
    assert_eq!(document["held"], false);
    let failed: Vec<_> =
        document["acts"].as_array().unwrap().iter().filter(|act| act["held"] == false).collect();
    // The link in its own directory leads to the same key.
    let names: Vec<_> = failed.iter().map(|act| act["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["key", "link"], "{document:#}");
    assert_eq!(failed[0]["harm"], "the secret stood in its answer");
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
    let _alone = alone();
    let place = place("cancelled");
    let child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("demo")
        .env("TMPDIR", &place)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let home =
        || std::fs::read_dir(&place).unwrap().flatten().any(|entry| entry.path().join("home/store").exists());
    while !home() {
        assert!(begun.elapsed() < LONGEST, "it has never begun");
        std::thread::yield_now();
    }
    let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(sent.success() && output.status.code() == Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cancelled"), "{output:?}");
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "the directory is removed");
    std::fs::remove_dir(place).unwrap();
}
