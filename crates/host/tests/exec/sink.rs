//! A sink of the caller's own: slow, deaf, broken, cancelling.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ringfence::exec::Exec;
use ringfence::exec::{Listeners, Outcome, RedactionSet, Sink, Stream, exit_status};
use ringfence_api::{RunStatus, Violation};

use crate::{command, sh};

/// Takes nothing before `opens`, then at most `at_once` bytes at a time; has a descriptor or must be asked.
struct Slow {
    opens: Instant,
    at_once: usize,
    taken: [Vec<u8>; 2],
    fails: Option<Stream>,
    warned: Vec<(u64, u64)>,
    ready: Option<io::PipeWriter>,
    cancel: Option<io::PipeReader>,
    signals: Vec<i32>,
    _other_ends: Vec<io::PipeReader>,
    _cancel_ends: Vec<io::PipeWriter>,
}

impl Slow {
    fn new(closed_for: Duration, at_once: usize) -> Self {
        Self {
            opens: Instant::now() + closed_for,
            at_once,
            taken: [Vec::new(), Vec::new()],
            fails: None,
            warned: Vec::new(),
            ready: None,
            cancel: None,
            signals: Vec::new(),
            _other_ends: Vec::new(),
            _cancel_ends: Vec::new(),
        }
    }

    /// Signals that are there from the first moment on.
    fn cancelling(mut self, signals: &[i32]) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        self.cancel = Some(reader);
        self.signals = signals.iter().rev().copied().collect();
        self
    }

    /// With a descriptor that is always writable, as a terminal's.
    fn with_descriptor(mut self) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        (self.ready, self._other_ends) = (Some(writer), vec![reader]);
        self
    }

    fn run(&mut self, exec: &Exec) -> Outcome {
        exec.run(self, &Listeners::new())
    }
}

impl Sink for Slow {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        if self.fails == Some(stream) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if Instant::now() < self.opens {
            return Ok(0);
        }
        let count = bytes.len().min(self.at_once);
        self.taken[usize::from(stream == Stream::Stderr)].extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
        self.ready.as_ref().map(AsFd::as_fd)
    }

    fn cancellation(&self) -> Option<BorrowedFd<'_>> {
        self.cancel.as_ref().filter(|_| !self.signals.is_empty()).map(AsFd::as_fd)
    }

    fn cancelled(&mut self) -> Option<i32> {
        self.signals.pop()
    }

    fn memory_warning(&mut self, used_bytes: u64, limit_bytes: u64) {
        self.warned.push((used_bytes, limit_bytes));
    }
}

fn numbers(count: u32) -> (Exec, Vec<u8>) {
    let mut exec = command(["seq", "1", &count.to_string()]);
    exec.redaction(RedactionSet::none());
    (exec, (1..=count).flat_map(|number| format!("{number}\n").into_bytes()).collect())
}

#[test]
fn a_sink_that_takes_nothing_for_a_while_loses_nothing() {
    let (exec, expected) = numbers(100_000);
    for mut sink in [
        Slow::new(Duration::from_millis(600), 10_000),
        Slow::new(Duration::from_millis(600), 10_000).with_descriptor(),
        Slow::new(Duration::ZERO, 7_777),
    ] {
        let outcome = sink.run(&exec);
        assert_eq!(outcome.report.exit_code, Some(0));
        assert!(sink.taken[0] == expected, "{} of {}", sink.taken[0].len(), expected.len());
    }
}

#[test]
fn a_blocked_sink_does_not_stop_the_clock() {
    let mut exec = command(["yes"]);
    exec.limits().timeout = Some(Duration::from_millis(300));
    let mut sink = Slow::new(Duration::from_millis(1500), usize::MAX);
    let outcome = sink.run(&exec);
    assert_eq!(outcome.report.violation, Some(Violation::Timeout), "{:?}", outcome.report);
    assert_eq!(
        sink.taken[0].len() as u64,
        outcome.report.stdout_bytes,
        "what was read before is still passed on"
    );
    assert!(outcome.report.stdout_bytes > 0 && !outcome.report.truncated);
}

#[test]
fn nobody_left_to_write_for_ends_the_run_and_the_other_stream_goes_on() {
    let mut sink = Slow::new(Duration::ZERO, usize::MAX);
    sink.fails = Some(Stream::Stdout);
    let exec = sh("trap 'echo sorry >&2; exit 1' TERM; echo first >&2; echo lost; while :; do :; done");
    let outcome = sink.run(&exec);
    assert_eq!((outcome.report.status, outcome.cancelled_by), (RunStatus::Cancelled, Some(13)));
    assert_eq!(exit_status(&outcome.report, outcome.cancelled_by), 141);
    assert_eq!(sink.taken[1], b"first\nsorry\n");
}

#[test]
fn the_first_signal_terminates_and_the_second_kills() {
    let exec = sh("trap '' TERM; while :; do :; done");
    let started = Instant::now();
    let mut sink = Slow::new(Duration::ZERO, usize::MAX).cancelling(&[2, 2]);
    let outcome = sink.run(&exec);
    assert_eq!((outcome.report.status, outcome.cancelled_by), (RunStatus::Cancelled, Some(2)));
    assert_eq!(exit_status(&outcome.report, outcome.cancelled_by), 130);
    assert_eq!(outcome.report.signal, Some(9));
    assert!(started.elapsed() < Duration::from_secs(3), "no grace is left after the second");
}

#[test]
fn a_signal_after_the_end_gives_up_what_nobody_takes() {
    struct Deaf(Slow, Instant);
    impl Sink for Deaf {
        fn write(&mut self, _stream: Stream, _bytes: &[u8]) -> io::Result<usize> {
            Ok(0)
        }
        fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
            None
        }
        fn cancellation(&self) -> Option<BorrowedFd<'_>> {
            self.0.cancellation().filter(|_| Instant::now() > self.1)
        }
        fn cancelled(&mut self) -> Option<i32> {
            self.0.cancelled()
        }
    }
    let inner = Slow::new(Duration::ZERO, 0).cancelling(&[2]);
    let mut sink = Deaf(inner, Instant::now() + Duration::from_millis(700));
    let outcome = sh("echo x").run(&mut sink, &Listeners::new());
    assert_eq!((outcome.report.status, outcome.report.exit_code), (RunStatus::Exited, Some(0)));
    assert!(outcome.report.duration_ms >= 600, "it waited for the sink until then");
}

#[test]
fn the_sink_and_every_listener_are_warned_once() {
    let listeners = Listeners::new();
    let heard = listeners.subscribe(1024);
    // Files in /tmp are memory.
    let mut exec = sh("dd if=/dev/zero of=/tmp/a bs=1M count=75; sleep 1");
    exec.grant("subprocess:execute");
    exec.limits().memory_bytes = Some(90_000_000);
    let mut sink = Slow::new(Duration::ZERO, usize::MAX);
    let report = exec.run(&mut sink, &listeners).report;
    assert_eq!(sink.warned.len(), 1, "{report:?}");
    let (used, limit) = sink.warned[0];
    assert!(limit == 90_000_000 && used >= 72_000_000, "{used}");
    let warnings =
        heard.filter(|event| matches!(event, ringfence::exec::Event::MemoryWarning { .. })).count();
    assert_eq!(warnings, 1);
    let mut sink = Slow::new(Duration::ZERO, usize::MAX);
    let mut small = command(["true"]);
    small.limits().memory_bytes = Some(90_000_000);
    sink.run(&small);
    assert!(sink.warned.is_empty());
}

#[test]
fn a_prompt_without_a_line_end_appears_while_the_command_waits() {
    struct Prompt(Option<Duration>, Instant);
    impl Sink for Prompt {
        fn write(&mut self, _stream: Stream, bytes: &[u8]) -> io::Result<usize> {
            if bytes.starts_with(b"name?") {
                self.0.get_or_insert(self.1.elapsed());
            }
            Ok(bytes.len())
        }
        fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
            None
        }
    }
    let mut exec = sh("printf 'name? '; while :; do :; done");
    exec.limits().timeout = Some(Duration::from_secs(2));
    let mut sink = Prompt(None, Instant::now());
    exec.run(&mut sink, &Listeners::new());
    let shown = sink.0.unwrap();
    assert!(shown < Duration::from_millis(1_900), "held back for {shown:?}");
}
