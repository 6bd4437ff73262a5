//! Makes a run: starts the sandbox, passes its output on, holds its limits, stops it, and writes the report.
//!
//! One loop over one `poll`, on the caller's thread, with no other thread: the plugin's pipes, its events and its end, the
//! caller's cancellation, and the next deadline.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ringfence_api::{ErrorCode, RunReport, RunStatus, Violation};
use ringfence_sandbox::stream::{self, Input, Interest};
use ringfence_sandbox::{LaunchError, Launcher, Sandbox, Stdio, TERM_GRACE, TICK};

use crate::error::Error;
use crate::exec::ending::STDERR_TAIL_MAX_BYTES;
use crate::exec::failure::launch_error;
use crate::exec::input::{self, Feed};
use crate::exec::learn::Seen;
use crate::exec::output::Output;
use crate::exec::request::Exec;
use crate::exec::translate::{Translated, translate};
use crate::exec::{Facts, Listeners, RunId, RunMeta, RunWriter, Stop, Stream, Wait, classify, explain};

/// What is read at once from a pipe.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// What the last rung of the stop ladder sends.
const SIGKILL: i32 = 9;
/// From this share of the memory limit on, listeners are warned, once: early enough to act, late enough not to be noise.
const WARN_PERCENT: u64 = 80;

/// Where live output goes, and where a cancellation comes from.
///
/// Nothing here may wait: [`Sink::write`] takes what it can take now.
pub trait Sink {
    /// Takes bytes of `stream`; how many it took. 0 means "not now": [`Sink::descriptor`] is waited for, and without one it is
    /// asked again within 100 ms. While a stream is not taken it is not read, so the command waits; its time goes on.
    ///
    /// # Errors
    /// Ends the run as cancelled by SIGPIPE: there is nobody left to write for. The other stream is passed on to its end.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize>;

    /// What becomes writable when [`Sink::write`] can take more. `None` for a sink that always takes everything.
    fn descriptor(&self, stream: Stream) -> Option<BorrowedFd<'_>>;

    /// What becomes readable when the run shall be cancelled. `None` when nothing can cancel it (any more).
    fn cancellation(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The signal that cancels the run, asked for whenever [`Sink::cancellation`] is readable; `None` for none after all. Each
    /// answer counts: the second one kills at once, and one after the end gives up output that was not taken yet.
    fn cancelled(&mut self) -> Option<i32> {
        None
    }

    /// 80 % of the memory limit are used. Called once in a run.
    fn memory_warning(&mut self, _used_bytes: u64, _limit_bytes: u64) {}
}

/// Keeps all output in memory, and cannot be cancelled.
#[derive(Debug, Default)]
pub struct Capture {
    /// What came on stdout.
    pub stdout: Vec<u8>,
    /// What came on stderr.
    pub stderr: Vec<u8>,
}

impl Sink for Capture {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The report, as `--report` writes it.
    pub report: RunReport,
    /// Where the run is stored, if it is.
    pub id: Option<RunId>,
    /// The signal that cancelled it, if one did.
    pub cancelled_by: Option<i32>,
    /// What could not be stored, for the caller to tell: the run itself is not harmed by it.
    pub warning: Option<Error>,
    /// What may help where the command failed by itself: sentences about its grants. Empty when it did not fail.
    pub hints: Vec<String>,
    /// What was seen of a run that was made to learn from.
    pub(crate) seen: Option<Seen>,
}

/// An [`Outcome`] with all output in memory.
#[derive(Debug)]
pub struct Captured {
    /// The report.
    pub report: RunReport,
    /// What the command wrote to stdout, redacted.
    pub stdout: Vec<u8>,
    /// What the command wrote to stderr, redacted.
    pub stderr: Vec<u8>,
}

/// What every run needs, begun before it is known what shall run: for a program whose only work is one run. The sandbox's
/// launcher makes its namespaces while the caller reads its arguments, which made `ringfence exec` faster by a twentieth.
///
/// Dropped without a run, it ends the launcher and waits for that, some milliseconds.
///
/// ```no_run
/// use ringfence::exec::{Capture, Exec, Headstart, Listeners};
///
/// let headstart = Headstart::begin();
/// let exec = Exec::new(std::env::args_os().skip(1));
/// let outcome = exec.run_after(headstart, &mut Capture::default(), &Listeners::new());
/// println!("{:?}", outcome.report.status);
/// ```
#[derive(Debug)]
pub struct Headstart {
    launcher: Result<Launcher, LaunchError>,
}

impl Headstart {
    /// Begins. What went wrong is said by the run, after what is wrong with its request.
    #[must_use]
    pub fn begin() -> Self {
        Self { launcher: Launcher::start_for_one() }
    }
}

impl Exec {
    /// Makes the run and blocks until it has ended. Every failure is in the report: `status` is then `not_started`.
    pub fn run(&self, sink: &mut dyn Sink, listeners: &Listeners) -> Outcome {
        self.run_after(Headstart::begin(), sink, listeners)
    }

    /// As [`Exec::run`], with what was begun before.
    pub fn run_after(&self, headstart: Headstart, sink: &mut dyn Sink, listeners: &Listeners) -> Outcome {
        let begun = Instant::now();
        let mut outcome = match self.start(headstart) {
            Ok(started) => Run::new(self, started, listeners, begun).finish(sink),
            Err(error) => not_started(error),
        };
        if outcome.report.status == RunStatus::NotStarted {
            outcome.report.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        }
        listeners.end();
        outcome
    }

    /// Makes the run and keeps its output in memory, up to the output limit.
    #[must_use]
    pub fn run_captured(&self) -> Captured {
        let mut capture = Capture::default();
        let outcome = self.run(&mut capture, &Listeners::new());
        Captured { report: outcome.report, stdout: capture.stdout, stderr: capture.stderr }
    }

    fn start(&self, Headstart { launcher }: Headstart) -> Result<Started, Error> {
        let translated = translate(self)?;
        let source = input::source(self)?;
        let input = if source.is_some() { Input::Pipe } else { Input::Closed };
        let (stdio, pipes) = Stdio::pipes(input)
            .map_err(|error| Error::new(ErrorCode::Io, "no pipe for the command").with_source(error))?;
        let mut launcher = launcher.map_err(|error| launch_error(&error))?;
        let sandbox =
            launcher.launch(&translated.plan, stdio).map_err(|error| match (&error, self.strict) {
                (LaunchError::Limits(why), true) => Error::new(
                    ErrorCode::NotEnforceable,
                    format!("only a sampler can hold the limits here, and --strict refuses it: {why}"),
                )
                .with_hint("delegate a cgroup (`ringfence doctor` says how), or leave --strict out"),
                _ => launch_error(&error),
            })?;
        if sandbox.is_sampled() {
            // There is no cgroup that somebody would have to remove if this process died: it can end beside the command.
            launcher.dismiss();
        }
        Ok(Started { translated, launcher, sandbox, pipes, source })
    }
}

fn not_started(error: Error) -> Outcome {
    let report = RunReport::not_started(error.to_body());
    Outcome { report, id: None, cancelled_by: None, warning: None, hints: Vec::new(), seen: None }
}

struct Started {
    translated: Translated,
    /// Lives as long as the run: if this process dies, it removes the cgroup.
    launcher: Launcher,
    sandbox: Sandbox,
    pipes: stream::Pipes,
    source: Option<OwnedFd>,
}

/// Where the stop ladder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ladder {
    Running,
    /// SIGTERM is out; SIGKILL follows at this moment.
    Terminating(Instant),
    Killed,
}

/// A run under way.
struct Run<'a> {
    exec: &'a Exec,
    translated: Translated,
    launcher: Launcher,
    sandbox: Sandbox,
    listeners: &'a Listeners,
    begun: Instant,
    output: Output,
    stdin: Option<Feed>,
    writer: Option<RunWriter>,
    warning: Option<Error>,
    ladder: Ladder,
    stopped_by: Option<Stop>,
    deadline: Option<Instant>,
    next_tick: Instant,
    warned: bool,
    /// The most memory that was seen in use, without copies of files.
    in_use_peak_bytes: u64,
    sampler_hit: bool,
    events_over: bool,
}

impl<'a> Run<'a> {
    fn new(exec: &'a Exec, started: Started, listeners: &'a Listeners, begun: Instant) -> Self {
        let Started { translated, launcher, sandbox, pipes, source } = started;
        let (writer, warning) = match begin_record(exec, &translated) {
            Ok(writer) => (writer, None),
            Err(error) => (None, Some(error)),
        };
        if let Some(writer) = &writer {
            listeners.stored(writer.id());
        }
        let stdin = source.zip(pipes.stdin).map(|(source, pipe)| Feed::new(source, pipe));
        Self {
            output: Output::new(exec, pipes.stdout, pipes.stderr),
            stdin,
            writer,
            warning,
            ladder: Ladder::Running,
            stopped_by: None,
            deadline: exec.limits.timeout.and_then(|timeout| begun.checked_add(timeout)),
            next_tick: begun + TICK,
            warned: false,
            in_use_peak_bytes: 0,
            sampler_hit: false,
            events_over: false,
            exec,
            translated,
            launcher,
            sandbox,
            listeners,
            begun,
        }
    }

    /// Runs to the end of everything, and reports.
    fn finish(mut self, sink: &mut dyn Sink) -> Outcome {
        let wait = loop {
            match self.step(sink) {
                Ok(Some(wait)) => break wait,
                Ok(None) => {}
                Err(error) => {
                    let failed =
                        Error::new(ErrorCode::Io, "lost control of the run, and ended it").with_source(error);
                    self.warning.get_or_insert(failed);
                    break self.sandbox.stop(Duration::ZERO).unwrap_or(ringfence_sandbox::Ending::Killed);
                }
            }
        };
        self.drain(sink);
        let wait = match wait {
            ringfence_sandbox::Ending::Exited(code) => Wait::Exited(code),
            ringfence_sandbox::Ending::Signaled(signal) => Wait::Signaled(signal),
            // PID 1 tells how the command ended before it ends itself; killed by us, it had nothing to tell but SIGKILL.
            ringfence_sandbox::Ending::Killed if self.ladder == Ladder::Killed => Wait::Signaled(SIGKILL),
            ringfence_sandbox::Ending::Killed => Wait::Unknown,
        };
        self.report(wait)
    }

    /// One wait and what follows from it. `Some` when everything inside has ended.
    fn step(&mut self, sink: &mut dyn Sink) -> io::Result<Option<ringfence_sandbox::Ending>> {
        let now = Instant::now();
        let timeout = self.next_deadline(now).saturating_duration_since(now);
        let ready = self.wait(sink, timeout)?;
        if ready.ended
            && let Some(ending) = self.sandbox.try_wait()?
        {
            // Before the clock: what ended by itself was not too slow, even if it is noticed late.
            return Ok(Some(ending));
        }
        let ticked = self.act_on_time(sink);
        if ready.cancel
            && let Some(signal) = sink.cancelled()
        {
            self.cancel(signal);
        }
        if ready.events {
            self.events_over = self.sandbox.read_events()?;
        }
        if ready.input {
            self.feed();
        }
        if ready.output || ticked {
            self.pump(sink);
        }
        Ok(None)
    }

    fn next_deadline(&self, now: Instant) -> Instant {
        let mut next = self.next_tick;
        let kill = if let Ladder::Terminating(at) = self.ladder { Some(at) } else { None };
        let timeout = self.deadline.filter(|_| self.ladder == Ladder::Running);
        for at in [kill, timeout, self.output.deadline()].into_iter().flatten() {
            next = next.min(at);
        }
        next.max(now)
    }

    fn wait(&self, sink: &dyn Sink, timeout: Duration) -> io::Result<Ready> {
        let mut wanted: Vec<(BorrowedFd<'_>, Interest)> = vec![(self.sandbox.pidfd(), Interest::Read)];
        let mut kinds = vec![Kind::Ended];
        let mut want = |fd, interest, kind| {
            wanted.push((fd, interest));
            kinds.push(kind);
        };
        if let Some(fd) = sink.cancellation() {
            want(fd, Interest::Read, Kind::Cancel);
        }
        if !self.events_over {
            want(self.sandbox.events(), Interest::Read, Kind::Events);
        }
        if let Some(feed) = &self.stdin {
            let (fd, interest) = feed.wanted();
            want(fd, interest, Kind::Input);
        }
        self.output.wanted(sink, &mut |fd, interest| want(fd, interest, Kind::Output));
        let mut ready = Ready::default();
        for (kind, is_ready) in kinds.iter().zip(stream::wait_ready(&wanted, Some(timeout))?) {
            if is_ready {
                ready.set(*kind);
            }
        }
        // Held-back text is released by time, not by a descriptor.
        ready.output |= self.output.deadline().is_some_and(|at| at <= Instant::now());
        Ok(ready)
    }

    /// What is due. Whether it was time for a tick.
    fn act_on_time(&mut self, sink: &mut dyn Sink) -> bool {
        let now = Instant::now();
        if self.ladder == Ladder::Running && self.deadline.is_some_and(|at| at <= now) {
            self.stop(Stop::Timeout);
        }
        if let Ladder::Terminating(at) = self.ladder
            && at <= now
        {
            self.kill();
        }
        let ticks = self.next_tick <= now;
        if ticks {
            self.next_tick = now + TICK;
            self.tick(now, sink);
        }
        ticks
    }

    fn tick(&mut self, now: Instant, sink: &mut dyn Sink) {
        if let Some(Err(error)) = self.writer.as_mut().map(RunWriter::settle) {
            self.warning.get_or_insert(error);
        }
        let tick = self.sandbox.tick();
        let used = tick.usage.memory_bytes;
        self.in_use_peak_bytes = self.in_use_peak_bytes.max(used);
        if let Some(limit) = self.exec.limits.memory_bytes
            && !self.warned
            && u128::from(used) * 100 >= u128::from(limit) * u128::from(WARN_PERCENT)
        {
            self.warned = true;
            let at_ms = u64::try_from(now.duration_since(self.begun).as_millis()).unwrap_or(u64::MAX);
            self.listeners.memory_warning(at_ms, used, limit);
            sink.memory_warning(used, limit);
        }
        if tick.over_memory && self.ladder == Ladder::Running {
            self.sampler_hit = self.sandbox.is_sampled();
            self.stop(Stop::Limit(Violation::Memory));
            // A process that is over its memory limit has no right to three more seconds of it.
            self.kill();
        }
    }

    fn cancel(&mut self, signal: i32) {
        if self.ladder == Ladder::Running {
            self.stop(Stop::Cancelled { signal });
        } else {
            self.kill();
        }
    }

    fn stop(&mut self, why: Stop) {
        self.stopped_by.get_or_insert(why);
        self.stdin = None;
        self.ladder = Ladder::Terminating(Instant::now() + TERM_GRACE);
        if self.sandbox.terminate().is_err() {
            self.kill();
        }
    }

    fn kill(&mut self) {
        self.ladder = Ladder::Killed;
        if let Err(error) = self.sandbox.kill() {
            self.warning
                .get_or_insert(Error::new(ErrorCode::Io, "cannot kill the command").with_source(error));
        }
    }

    fn feed(&mut self) {
        let Some(feed) = &mut self.stdin else { return };
        let keep = feed.step();
        if !matches!(keep, Ok(true)) {
            // The end of the input, or a command that does not read any more: both close the pipe.
            self.stdin = None;
        }
    }

    /// Moves output on; stops the run at the cap, or when nobody takes the output any more.
    fn pump(&mut self, sink: &mut dyn Sink) {
        let at_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut record =
            Record { listeners: self.listeners, writer: &mut self.writer, warning: &mut self.warning, at_ms };
        if self.output.step(sink, &mut record).is_err() {
            // SIGPIPE is what a command without a sandbox would have got.
            const SIGPIPE: i32 = 13;
            if self.ladder == Ladder::Running {
                self.stop(Stop::Cancelled { signal: SIGPIPE });
            }
        }
        if self.output.is_over_cap() && self.ladder == Ladder::Running {
            self.stop(Stop::OutputCap);
        }
    }

    /// After the end: what is still in the pipes, and what the sink has not taken yet. A second signal gives up.
    fn drain(&mut self, sink: &mut dyn Sink) {
        self.output.finish_reading();
        loop {
            self.pump(sink);
            if self.output.is_done() {
                return;
            }
            let mut wanted = Vec::new();
            self.output.wanted(sink, &mut |fd, interest| wanted.push((fd, interest)));
            if let Some(fd) = sink.cancellation() {
                wanted.push((fd, Interest::Read));
            }
            let ready = stream::wait_ready(&wanted, Some(TICK)).unwrap_or_default();
            let cancelled = sink.cancellation().is_some() && ready.last() == Some(&true);
            drop(wanted);
            if cancelled && sink.cancelled().is_some() {
                self.output.abandon();
                return;
            }
        }
    }

    fn report(mut self, wait: Wait) -> Outcome {
        let usage = self.sandbox.usage();
        let tail = self.output.stderr_tail();
        let tail = tail.get(tail.len().saturating_sub(STDERR_TAIL_MAX_BYTES)..).unwrap_or_default();
        let limits = &self.exec.limits;
        let facts = Facts {
            stopped_by: self.stopped_by,
            oom_kills: usage.oom_kills,
            pids_limit_hits: (!self.sandbox.is_sampled()).then_some(usage.task_refusals),
            sampler_memory_hit: self.sampler_hit,
            memory_limit_bytes: limits.memory_bytes,
            memory_peak_bytes: self.peak_without_cache(&usage),
            file_size_limit_bytes: limits.file_size_bytes,
            processes_limit: limits.processes,
            seccomp_killed: false,
            stderr_tail: tail,
            ..Facts::new(wait)
        };
        let mut report = RunReport::new(RunStatus::Exited);
        classify(&facts).write_to(&mut report);
        report.cpu_ms = usage.cpu_ms;
        report.memory_peak_bytes = usage.memory_peak_bytes;
        self.output.write_to(&mut report);
        report.enforced = explain::enforced(self.sandbox.report());
        self.sandbox.settle_records();
        report.landlock_records = explain::landlock_records(&self.sandbox);
        report.denials = explain::Explainer::default().denials(&self.sandbox, &self.translated);
        report.duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let cancelled_by = match self.stopped_by {
            Some(Stop::Cancelled { signal }) => Some(signal),
            _ => None,
        };
        let seen = self.exec.wide.then(|| Seen::of(&self.sandbox, &self.translated));
        let failed = report.status == RunStatus::Exited && report.exit_code != Some(0);
        let hints = if failed { std::mem::take(&mut self.translated.hints) } else { Vec::new() };
        let Self { sandbox, mut launcher, writer, mut warning, .. } = self;
        // The sandbox is put away before the launcher, which would otherwise sweep what is being removed. The launcher ends
        // while the report is written.
        let closed = sandbox.close();
        launcher.dismiss();
        let id = writer.as_ref().map(RunWriter::id);
        if let Some(Err(error)) = writer.map(|writer| writer.finish(&report)) {
            warning.get_or_insert(error);
        }
        if let Err(error) = closed {
            let left = Error::new(ErrorCode::Io, "cannot remove the cgroup of the run").with_source(error);
            warning.get_or_insert(left);
        }
        drop(launcher);
        Outcome { report, id, cancelled_by, warning, hints, seen }
    }

    /// What a suspicion may rest on: a command that reads large files fills its cgroup with copies of them, and lacks nothing.
    fn peak_without_cache(&self, usage: &ringfence_sandbox::Usage) -> u64 {
        if self.sandbox.is_sampled() {
            usage.memory_peak_bytes
        } else {
            usage.memory_peak_bytes.min(self.in_use_peak_bytes)
        }
    }
}

fn begin_record(exec: &Exec, translated: &Translated) -> Result<Option<RunWriter>, Error> {
    let Some(store) = &exec.store else { return Ok(None) };
    let command =
        exec.command.iter().map(|word| exec.redaction.redact_text(&word.to_string_lossy())).collect();
    let started_at_ms = u64::try_from(crate::clock::now_ms()).unwrap_or_default();
    let grants =
        translated.rules.rules().iter().map(|rule| format!("{} {}", rule.effect(), rule.text())).collect();
    store.begin(RunMeta { command, started_at_ms, grants }).map(Some)
}

/// Where output goes beside the sink.
pub(crate) struct Record<'a> {
    listeners: &'a Listeners,
    writer: &'a mut Option<RunWriter>,
    warning: &'a mut Option<Error>,
    at_ms: u64,
}

impl Record<'_> {
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        self.listeners.output(stream, self.at_ms, bytes);
        if let Some(writer) = self.writer.as_mut()
            && let Err(error) = writer.append(stream, self.at_ms, bytes)
        {
            // Told once; the writer goes on without storing.
            self.warning.get_or_insert(error);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ended,
    Cancel,
    Events,
    Input,
    Output,
}

#[derive(Debug, Default)]
struct Ready {
    ended: bool,
    cancel: bool,
    events: bool,
    input: bool,
    output: bool,
}

impl Ready {
    fn set(&mut self, kind: Kind) {
        *match kind {
            Kind::Ended => &mut self.ended,
            Kind::Cancel => &mut self.cancel,
            Kind::Events => &mut self.events,
            Kind::Input => &mut self.input,
            Kind::Output => &mut self.output,
        } = true;
    }
}
