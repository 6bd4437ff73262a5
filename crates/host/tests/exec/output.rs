//! Output: complete, apart, live, capped, redacted; and endings.

use std::time::Duration;

use ringfence::exec::{RedactionSet, exit_status};
use ringfence_api::{RunStatus, Violation};

use crate::{command, sh, stderr, stdout};

#[test]
fn streams_stay_apart_and_the_status_passes() {
    let captured = sh("echo out; echo err >&2; exit 7").run_captured();
    assert_eq!((stdout(&captured).as_str(), stderr(&captured).as_str()), ("out\n", "err\n"));
    let report = captured.report;
    assert_eq!((report.status, report.exit_code, report.signal), (RunStatus::Exited, Some(7), None));
    assert_eq!((report.stdout_bytes, report.stderr_bytes, report.truncated), (4, 4, false));
    assert_eq!((report.violation, report.error.is_none(), exit_status(&report, None)), (None, true, 7));
    for layer in ["user", "mount", "pid", "network", "landlock", "seccomp", "limits", "capabilities"] {
        assert!(report.enforced.contains_key(layer), "{layer}: {:?}", report.enforced.keys());
    }
    assert!(report.memory_peak_bytes > 0);
}

#[test]
fn a_signal_is_a_fact_of_its_own() {
    let report = sh("kill -9 $$").run_captured().report;
    assert_eq!((report.status, report.exit_code, report.signal), (RunStatus::Signaled, None, Some(9)));
    assert_eq!(exit_status(&report, None), 137);
}

#[test]
fn much_output_comes_whole_and_in_order() {
    let mut exec = command(["seq", "1", "200000"]);
    exec.limits().output_bytes = None;
    let captured = exec.redaction(RedactionSet::none()).run_captured();
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(captured.stdout == expected.as_bytes(), "{} bytes", captured.stdout.len());
    assert_eq!(captured.report.stdout_bytes, expected.len() as u64);
}

#[test]
fn exactly_the_cap_is_allowed_and_one_byte_more_is_not() {
    for (cap, violation) in [(8, None), (7, Some(Violation::Output))] {
        let mut exec = sh("echo 123; echo abc >&2");
        exec.limits().output_bytes = Some(cap);
        let captured = exec.run_captured();
        assert_eq!(captured.report.violation, violation);
        assert_eq!(captured.report.truncated, violation.is_some());
        assert_eq!((captured.stdout.len() + captured.stderr.len()) as u64, cap);
        assert_eq!(captured.report.stdout_bytes + captured.report.stderr_bytes, cap);
    }
}

#[test]
fn at_the_cap_both_streams_stop_together_and_the_command_ends() {
    let mut exec = sh("while :; do echo out; echo err >&2; done");
    exec.limits().output_bytes = Some(100_001);
    let captured = exec.run_captured();
    assert_eq!(
        (captured.report.status, captured.report.violation),
        (RunStatus::Violation, Some(Violation::Output))
    );
    assert_eq!(
        captured.stdout.len() + captured.stderr.len(),
        100_001,
        "nothing beyond, and nothing lost before"
    );
    assert_eq!(exit_status(&captured.report, None), 122);
}

#[test]
fn the_timeout_keeps_what_was_written_before_and_terminates_first() {
    let mut exec = sh("trap 'echo asked; exit 3' TERM; echo before; while :; do :; done");
    exec.limits().timeout = Some(Duration::from_millis(400));
    let captured = exec.run_captured();
    assert_eq!(captured.report.violation, Some(Violation::Timeout));
    assert_eq!(captured.report.exit_code, Some(3), "the kernel's fact stays");
    assert_eq!(stdout(&captured), "before\nasked\n");
    assert_eq!(exit_status(&captured.report, None), 124);
    assert!(captured.report.duration_ms >= 400, "{}", captured.report.duration_ms);
}

#[test]
fn who_does_not_listen_to_terminate_is_killed_three_seconds_later() {
    let mut exec = sh("trap '' TERM; while :; do :; done");
    exec.limits().timeout = Some(Duration::from_millis(200));
    let report = exec.run_captured().report;
    assert_eq!((report.violation, report.signal), (Some(Violation::Timeout), Some(9)), "{report:?}");
    assert!((3_100..20_000).contains(&report.duration_ms), "{}", report.duration_ms);
}

#[test]
fn an_endless_timeout_is_none() {
    let mut exec = sh("exit 0");
    exec.limits().timeout = Some(Duration::MAX);
    assert_eq!(exec.run_captured().report.exit_code, Some(0));
    exec.limits().timeout = None;
    assert_eq!(exec.run_captured().report.exit_code, Some(0));
}

#[test]
fn secrets_are_hidden_unless_nothing_shall_be() {
    let mut exec = sh("printf 'password='; printf 'hunter2\\n'; echo id ACME-17 >&2");
    let captured = exec.run_captured();
    assert_eq!(stdout(&captured), "password=[redacted:secret]\n");
    assert_eq!(captured.report.stdout_bytes, 17, "counted before redaction");
    exec.redaction(RedactionSet::none().with_pattern("ACME-[0-9]+").unwrap());
    let captured = exec.run_captured();
    assert_eq!(stdout(&captured), "password=hunter2\n");
    assert_eq!(stderr(&captured), "id [redacted:custom]\n");
}
