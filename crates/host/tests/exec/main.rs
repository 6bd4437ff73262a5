//! The executor as an application uses it: real sandboxes through the public API, as whatever user runs the tests.
//!
//! What a machine lacks is said aloud; see `ringfence_testkit::lacks`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests: a failure here is the failure of the test that called it"
)]

mod explain;
mod files;
mod limits;
mod output;
mod sink;
mod spawned;
mod stdin;
mod stored;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence::exec::{Captured, Exec};

/// Longer than anything takes on a busy machine; a hang, not a slow run, reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell script that may not start processes: only the shell's own commands work.
fn sh(script: &str) -> Exec {
    let mut exec = Exec::new(["sh", "-c", script]);
    exec.directory("/");
    exec
}

/// A command, run from the root.
fn command<const N: usize>(words: [&str; N]) -> Exec {
    let mut exec = Exec::new(words);
    exec.directory("/");
    exec
}

fn stdout(captured: &Captured) -> String {
    String::from_utf8_lossy(&captured.stdout).into_owned()
}

fn stderr(captured: &Captured) -> String {
    String::from_utf8_lossy(&captured.stderr).into_owned()
}

/// A directory of the host whose name has no links in it.
fn directory() -> (tempfile::TempDir, PathBuf) {
    let made = tempfile::tempdir().unwrap();
    let path = ringfence_sandbox::Resolved::find(made.path()).unwrap().path().to_owned();
    (made, path)
}

/// Waits until no process of this machine has `marker` in its command line.
fn gone(marker: &str) {
    let until = Instant::now() + PATIENCE;
    while !ringfence_testkit::alive_with_marker(marker).is_empty() {
        assert!(Instant::now() < until, "'{marker}' is still running");
        std::thread::yield_now();
    }
}

/// Waits until a process has `marker` in its command line.
fn came(marker: &str) {
    let until = Instant::now() + PATIENCE;
    while ringfence_testkit::alive_with_marker(marker).is_empty() {
        assert!(Instant::now() < until, "'{marker}' does not run");
        std::thread::yield_now();
    }
}
