//! Each row of the rules for endings, and what takes precedence.

use super::*;
use ringfence_api::ErrorBody;

const LIMIT: u64 = 1_000;

/// A run with every limit set, nothing counted and half of its memory used.
fn limited(wait: Wait) -> Facts<'static> {
    Facts {
        pids_limit_hits: Some(0),
        memory_limit_bytes: Some(LIMIT),
        memory_peak_bytes: LIMIT / 2,
        file_size_limit_bytes: Some(LIMIT),
        processes_limit: Some(8),
        ..Facts::new(wait)
    }
}

fn check(name: &str, facts: &Facts<'_>, want: (RunStatus, Option<Violation>, Option<Violation>, u8)) {
    let ending = classify(facts);
    let mut report = RunReport::new(RunStatus::NotStarted);
    ending.clone().write_to(&mut report);
    let got = (ending.status, ending.violation, ending.suspected, exit_status(&report, None));
    assert_eq!(got, want, "{name}: {ending:?}");
    let reasons = ending.violation.is_some() || ending.suspected.is_some();
    assert_eq!(reasons || ending.status == RunStatus::Cancelled, !ending.evidence.is_empty(), "{name}");
    let (exit_code, signal) = match facts.wait {
        Wait::Exited(code) => (Some(code), None),
        Wait::Signaled(signal) => (None, Some(signal)),
        Wait::Unknown => (None, None),
    };
    assert_eq!((report.exit_code, report.signal), (exit_code, signal), "{name}: the kernel's facts stay");
    assert_eq!(report.evidence, ending.evidence);
}

fn clean(name: &str, facts: &Facts<'_>, status: RunStatus, exit: u8) {
    check(name, facts, (status, None, None, exit));
}

fn violated(name: &str, facts: &Facts<'_>, violation: Violation) {
    let exit = if violation == Violation::Timeout { 124 } else { 122 };
    check(name, facts, (RunStatus::Violation, Some(violation), None, exit));
}

fn suspected(name: &str, facts: &Facts<'_>, violation: Violation, status: RunStatus, exit: u8) {
    check(name, facts, (status, None, Some(violation), exit));
}

#[test]
fn plain_endings_pass_their_own_status() {
    for code in [0, 1, 122, 124, 125, 255] {
        clean("exit", &limited(Wait::Exited(code)), RunStatus::Exited, u8::try_from(code).unwrap());
    }
    for signal in [1, 6, 15] {
        let exit = u8::try_from(128 + signal).unwrap();
        clean("signal", &limited(Wait::Signaled(signal)), RunStatus::Signaled, exit);
    }
    clean("unknown", &limited(Wait::Unknown), RunStatus::Signaled, 125);
}

#[test]
fn what_we_stopped_is_proven_whatever_the_command_made_of_it() {
    for wait in [Wait::Signaled(15), Wait::Signaled(9), Wait::Exited(0), Wait::Exited(143), Wait::Unknown] {
        let stop = |stop| Facts { stopped_by: Some(stop), ..limited(wait) };
        violated("timeout", &stop(Stop::Timeout), Violation::Timeout);
        violated("output", &stop(Stop::OutputCap), Violation::Output);
        violated("sampler", &stop(Stop::Limit(Violation::Cpu)), Violation::Cpu);
        violated("memory", &stop(Stop::Limit(Violation::Memory)), Violation::Memory);
        let cancelled = stop(Stop::Cancelled { signal: 15 });
        clean("cancelled", &cancelled, RunStatus::Cancelled, 130);
        assert!(classify(&cancelled).evidence[0].contains("SIGTERM"));
    }
}

#[test]
fn what_the_kernel_counted_or_signalled_is_proven() {
    for wait in [Wait::Signaled(9), Wait::Exited(1), Wait::Exited(0)] {
        violated("oom", &Facts { oom_kills: 1, ..limited(wait) }, Violation::Memory);
        violated("sampler", &Facts { sampler_memory_hit: true, ..limited(wait) }, Violation::Memory);
        violated("seccomp", &Facts { seccomp_killed: true, ..limited(wait) }, Violation::Syscall);
        violated("pids", &Facts { pids_limit_hits: Some(3), ..limited(wait) }, Violation::Processes);
    }
    violated("sigsys", &limited(Wait::Signaled(31)), Violation::Syscall);
    violated("sigxcpu", &limited(Wait::Signaled(24)), Violation::Cpu);
    violated("sigxfsz", &limited(Wait::Signaled(25)), Violation::FileSize);
}

#[test]
fn a_failed_command_is_believed_about_a_limit_that_is_set() {
    let last_words: &[(&[u8], Violation)] = &[
        (b"Traceback ...\nMemoryError\n", Violation::Memory),
        (b"sh: 1: Cannot allocate memory", Violation::Memory),
        (b"FATAL ERROR: Reached heap limit - JavaScript heap out of memory", Violation::Memory),
        (b"java.lang.OutOfMemoryError: Java heap space", Violation::Memory),
        (b"terminate called after throwing an instance of 'std::bad_alloc'", Violation::Memory),
        (b"memory allocation of 4096 bytes failed", Violation::Memory),
        (b"OSError: [Errno 27] File too large", Violation::FileSize),
        (b"File size limit exceeded (core dumped)", Violation::FileSize),
        (b"BlockingIOError: [Errno 11] Resource temporarily unavailable", Violation::Processes),
        (b"RuntimeError: can't start new thread", Violation::Processes),
    ];
    for &(stderr_tail, violation) in last_words {
        let name = String::from_utf8_lossy(stderr_tail);
        let failed = Facts { stderr_tail, pids_limit_hits: None, ..limited(Wait::Exited(1)) };
        violated(&name, &failed, violation);
        violated(&name, &Facts { wait: Wait::Signaled(6), ..failed.clone() }, violation);
        clean(&name, &Facts { wait: Wait::Exited(0), ..failed.clone() }, RunStatus::Exited, 0);
        let unlimited = Facts { stderr_tail, ..Facts::new(Wait::Exited(1)) };
        clean(&name, &unlimited, RunStatus::Exited, 1);
    }
    let counted = Facts { stderr_tail: b"cannot fork", ..limited(Wait::Exited(1)) };
    clean("the kernel's count says no", &counted, RunStatus::Exited, 1);
}

#[test]
fn only_the_end_of_stderr_counts() {
    let mut long = b"MemoryError".to_vec();
    long.resize(long.len() + STDERR_TAIL_MAX_BYTES, b'.');
    let facts = Facts { stderr_tail: &long, ..limited(Wait::Exited(1)) };
    clean("far away", &facts, RunStatus::Exited, 1);
    let facts = Facts { stderr_tail: &long[..STDERR_TAIL_MAX_BYTES], ..facts };
    violated("near", &facts, Violation::Memory);
}

#[test]
fn crashes_under_a_memory_limit_are_suspected_and_their_status_passes() {
    for signal in [SIGSEGV, SIGBUS, SIGKILL] {
        let exit = u8::try_from(128 + signal).unwrap();
        let (signaled, shell) = (Wait::Signaled(signal), Wait::Exited(128 + signal));
        suspected("signal", &limited(signaled), Violation::Memory, RunStatus::Signaled, exit);
        suspected("shell", &limited(shell), Violation::Memory, RunStatus::Exited, exit);
        clean("no limit", &Facts::new(signaled), RunStatus::Signaled, exit);
        clean("no limit", &Facts::new(shell), RunStatus::Exited, exit);
    }
}

#[test]
fn a_failure_near_the_memory_limit_is_suspected_and_a_success_is_not() {
    let near = Facts { memory_peak_bytes: 950, ..limited(Wait::Exited(1)) };
    suspected("95 %", &near, Violation::Memory, RunStatus::Exited, 1);
    clean("94.9 %", &Facts { memory_peak_bytes: 949, ..near.clone() }, RunStatus::Exited, 1);
    clean("success", &Facts { wait: Wait::Exited(0), ..near.clone() }, RunStatus::Exited, 0);
    let largest = Facts { memory_limit_bytes: Some(u64::MAX), memory_peak_bytes: u64::MAX, ..near };
    suspected("no overflow", &largest, Violation::Memory, RunStatus::Exited, 1);
    assert_eq!(classify(&Facts { wait: Wait::Signaled(11), ..largest }).evidence.len(), 2);
}

#[test]
fn what_a_shell_says_about_its_child_is_a_suspicion() {
    suspected("xfsz", &limited(Wait::Exited(153)), Violation::FileSize, RunStatus::Exited, 153);
    suspected("xcpu", &limited(Wait::Exited(152)), Violation::Cpu, RunStatus::Exited, 152);
    suspected("sys", &limited(Wait::Exited(159)), Violation::Syscall, RunStatus::Exited, 159);
    clean("no file limit", &Facts::new(Wait::Exited(153)), RunStatus::Exited, 153);
}

#[test]
fn our_own_act_comes_before_the_kernel_and_the_kernel_before_words() {
    let all = Facts {
        stopped_by: Some(Stop::Timeout),
        oom_kills: 1,
        seccomp_killed: true,
        stderr_tail: b"File too large",
        ..limited(Wait::Signaled(25))
    };
    violated("stop", &all, Violation::Timeout);
    let all = Facts { stopped_by: None, ..all };
    violated("oom", &all, Violation::Memory);
    let all = Facts { oom_kills: 0, ..all };
    violated("syscall", &all, Violation::Syscall);
    let all = Facts { seccomp_killed: false, wait: Wait::Signaled(11), ..all };
    violated("words", &all, Violation::FileSize);
    let cancelled = Facts { stopped_by: Some(Stop::Cancelled { signal: 2 }), oom_kills: 1, ..all };
    clean("cancelled", &cancelled, RunStatus::Cancelled, 130);
}

#[test]
fn the_exit_status_of_each_kind_of_report() {
    let new = RunReport::new;
    assert_eq!(exit_status(&new(RunStatus::Cancelled), Some(2)), 130);
    assert_eq!(exit_status(&new(RunStatus::Cancelled), Some(15)), 143);
    assert_eq!(exit_status(&new(RunStatus::Cancelled), Some(i32::MAX)), 125);
    for (code, status) in [
        (ErrorCode::NotFound, 127),
        (ErrorCode::NotExecutable, 126),
        (ErrorCode::NotEnforceable, 125),
        (ErrorCode::Usage, 125),
    ] {
        assert_eq!(exit_status(&RunReport::not_started(ErrorBody::new(code, "x")), None), status);
    }
    for status in [RunStatus::Exited, RunStatus::Signaled, RunStatus::Violation, RunStatus::NotStarted] {
        assert_eq!(exit_status(&new(status), None), 125, "a report without its field is not a success");
    }
}

#[test]
fn signals_are_named() {
    assert_eq!(signal_name(1), "SIGHUP");
    assert_eq!(signal_name(3), "SIGQUIT");
    assert_eq!(signal_name(64), "signal 64");
}
