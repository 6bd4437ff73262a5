//! Limits with each back-end that this machine has.

use std::time::Duration;

use ringfence::config::LimitsBackend;
use ringfence::exec::{Captured, Exec, exit_status};
use ringfence_api::{ErrorCode, RunStatus, Violation};
use ringfence_testkit::{host_uid, lacks, missing};

use crate::{command, directory, sh, stderr};

/// Runs with each back-end that can be used here.
fn with_each(run: impl Fn(LimitsBackend)) {
    for backend in [LimitsBackend::CgroupV2, LimitsBackend::CgroupV1, LimitsBackend::Sampler] {
        if backend != LimitsBackend::Sampler && lacks(backend.as_str()) {
            continue;
        }
        let tried = command(["true"]).limits_backend(backend).run_captured().report;
        match tried.error {
            None => {
                assert_eq!(tried.enforced["limits"].by, backend.as_str());
                run(backend);
            }
            Some(error) => {
                assert_eq!(error.code, ErrorCode::NotEnforceable, "{error:?}");
                assert_ne!((host_uid(), backend), (0, LimitsBackend::Sampler));
                missing(&format!("{} for uid {}", backend.as_str(), host_uid()), "no directory is delegated");
            }
        }
    }
}

fn limited(
    mut exec: Exec,
    backend: LimitsBackend,
    change: impl Fn(&mut ringfence::config::ExecLimits),
) -> Captured {
    exec.limits_backend(backend);
    exec.limits().timeout = Some(crate::PATIENCE);
    change(exec.limits());
    exec.run_captured()
}

#[test]
fn memory_is_held_and_its_breach_is_proven() {
    with_each(|backend| {
        let block = |size: &str| {
            let words = ["dd", "if=/dev/zero", "of=/dev/null", "count=1", size];
            limited(command(words), backend, |limits| limits.memory_bytes = Some(60_000_000))
        };
        assert_eq!(block("bs=10M").report.exit_code, Some(0), "less than the limit is no matter");
        let captured = block("bs=200M");
        let report = captured.report;
        assert_eq!(
            (report.status, report.violation),
            (RunStatus::Violation, Some(Violation::Memory)),
            "{report:?}"
        );
        assert_eq!(exit_status(&report, None), 122);
        assert!(!report.evidence.is_empty() && report.suspected.is_none());
    });
}

#[test]
fn copies_of_files_in_memory_are_no_suspicion() {
    // On a disk: the kernel keeps copies of what is written, and they count in a cgroup, up to its limit.
    let made = tempfile::tempdir_in("/var/tmp").unwrap();
    with_each(|backend| {
        let script =
            format!("dd if=/dev/zero of={}/big bs=1M count=90 2> /dev/null; exit 1", made.path().display());
        let mut exec = sh(&script);
        exec.write_path(made.path()).grant("subprocess:execute");
        let report = limited(exec, backend, |limits| limits.memory_bytes = Some(60_000_000)).report;
        assert_eq!(
            (report.exit_code, report.violation, report.suspected),
            (Some(1), None, None),
            "{report:?}"
        );
        assert_eq!(std::fs::metadata(made.path().join("big")).unwrap().len(), 90 << 20);
        if backend != LimitsBackend::Sampler {
            assert!(report.memory_peak_bytes > 57_000_000, "or the test shows nothing: {report:?}");
        }
    });
}

#[test]
fn processes_are_held() {
    with_each(|backend| {
        let mut exec = sh("i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo all");
        exec.grant("subprocess:execute");
        let few = limited(exec.clone(), backend, |limits| limits.processes = Some(8));
        assert_eq!(few.report.violation, Some(Violation::Processes), "{:?} {}", few.report, stderr(&few));
        let many = limited(exec, backend, |limits| limits.processes = Some(64));
        assert_eq!((many.report.violation, crate::stdout(&many).as_str()), (None, "all\n"));
    });
}

#[test]
fn cpu_time_is_shared_out() {
    with_each(|backend| {
        let spin = |percent| {
            let report = limited(sh("while :; do :; done"), backend, |limits| {
                limits.cpu_percent = Some(percent);
                limits.timeout = Some(Duration::from_millis(1500));
            })
            .report;
            report.cpu_ms
        };
        let few = spin(20);
        assert!((20..800).contains(&few), "{few} ms with {}", backend.as_str());
    });
}

#[test]
fn the_size_of_a_file_is_held() {
    let (_made, root) = directory();
    let target = format!("of={}/big", root.display());
    let run = |limit| {
        let mut exec = command(["dd", "if=/dev/zero", &target, "bs=1000", "count=50"]);
        exec.write_path(&root).limits().file_size_bytes = Some(limit);
        exec.run_captured().report
    };
    let report = run(10_000);
    assert_eq!(report.violation, Some(Violation::FileSize), "{report:?}");
    assert_eq!(std::fs::metadata(root.join("big")).unwrap().len(), 10_000);
    assert_eq!(run(50_000).exit_code, Some(0));
}

#[test]
fn open_files_are_held() {
    let script = "exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null";
    let run = |limit| {
        let mut exec = sh(script);
        exec.limits().open_files = limit;
        exec.run_captured().report.exit_code
    };
    assert_ne!(run(Some(6)), Some(0));
    assert_eq!(run(None), Some(0));
}

#[test]
fn strict_starts_nothing_where_only_a_sampler_can_hold_the_limits() {
    let (_made, root) = directory();
    let run = |strict| {
        let mut exec = sh(&format!("echo ran > {}/trace", root.display()));
        exec.write_path(&root).strict(strict).limits_backend(LimitsBackend::Sampler);
        exec.run_captured().report
    };
    let error = run(true).error.unwrap();
    assert_eq!(error.code, ErrorCode::NotEnforceable);
    assert!(!root.join("trace").exists(), "not for a moment");
    assert_eq!(run(false).exit_code, Some(0));
    assert!(root.join("trace").exists());
    let report = command(["true"]).strict(true).run_captured().report;
    match report.error {
        None => assert!(report.enforced["limits"].by.starts_with("cgroup-")),
        Some(error) => {
            assert_eq!(error.code, ErrorCode::NotEnforceable);
            assert!(error.message.contains("--strict refuses it"), "{error:?}");
            missing("a cgroup for this user", "no directory is delegated");
        }
    }
}
