//! The record of a run.

use ringfence::exec::{Capture, Listeners, RedactionSet, RunStore, Stream};
use ringfence::{Config, Home};
use ringfence_api::RunStatus;

use crate::{directory, sh};

#[test]
fn a_run_is_stored_as_it_was_shown() {
    let (_made, root) = directory();
    let (home, config) = (Home::at(root.join("home")), Config::default());
    let mut exec = sh("echo out; echo password=hunter2 >&2; exit 3");
    exec.home(&home, &config).unwrap().grant("env:read=LANG");
    let mut sink = Capture::default();
    let outcome = exec.run(&mut sink, &Listeners::new());
    assert!(outcome.warning.is_none());
    let stored = RunStore::new(&home, config.runs).show(outcome.id.unwrap()).unwrap();
    assert_eq!(
        stored.report.as_ref(),
        Some(&outcome.report),
        "the stored report is the one that is returned"
    );
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for chunk in stored.replay().unwrap() {
        let chunk = chunk.unwrap();
        if chunk.stream == Some(Stream::Stderr) { err.extend(chunk.bytes) } else { out.extend(chunk.bytes) }
    }
    assert_eq!((out, err), (sink.stdout.clone(), sink.stderr.clone()), "live is what is stored");
    assert_eq!(sink.stderr, b"password=[redacted:secret]\n");
}

#[test]
fn a_store_that_cannot_be_made_harms_no_run() {
    let (_made, root) = directory();
    std::fs::write(root.join("home"), "a file").unwrap();
    let mut exec = sh("echo fine");
    exec.home(&Home::at(root.join("home")), &Config::default()).unwrap().redaction(RedactionSet::none());
    let mut sink = Capture::default();
    let outcome = exec.run(&mut sink, &Listeners::new());
    assert_eq!((outcome.report.status, outcome.report.exit_code), (RunStatus::Exited, Some(0)));
    assert_eq!(sink.stdout, b"fine\n");
    assert!(outcome.id.is_none() && outcome.warning.is_some());
}
