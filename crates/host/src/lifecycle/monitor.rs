//! One task that owns a plugin's sandbox: it reads the log, holds the limits, climbs the stop ladder, and says how it ended.
//!
//! Everything that wakes it stands in one `select`: the end, refusals, stderr, the tick, and commands. It never waits for the
//! plugin and never for whoever listens.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfence_api::{Denial, Violation};
use ringfence_sandbox::{Ending as SandboxEnding, Io, Sandbox, TERM_GRACE, TICK, stream};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::ending::{Exit, Why};
use super::log::{LogLine, LogSource, PluginLog};
use super::quota::{self, Allowed};
use super::warnings::{CPU_WARN_SAMPLES, MEMORY_WARN_PERCENT, Warnings};
use crate::exec::ending::STDERR_TAIL_MAX_BYTES;
use crate::exec::translate::Translated;
use crate::exec::{Facts, Stop, Wait, classify, explain};

/// What is read at once from stderr. Less than its pipe holds: others have their turn between two chunks.
const CHUNK_BYTES: usize = 16 * 1024;
/// What is taken of a plugin's stderr in one [`TICK`]; the rest waits in its pipe, and so does the plugin.
const LOG_BYTES_PER_TICK: usize = 128 * 1024;
/// Ticks between two samples of what is used.
const TICKS_PER_SAMPLE: u32 = 10;
/// Commands that wait; each is a few bytes.
const COMMANDS_MAX: usize = 16;

/// What the owner of a plugin tells its monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// SIGTERM after this long (0: at once), SIGKILL 3 s later.
    Stop(Why, Duration),
    /// SIGKILL.
    Kill(Why),
}

/// What a monitor sees while it watches.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// A line of stderr.
    Log(LogLine),
    /// What is used, once a second.
    Sample(Sample),
    /// It is looked for refusals now: what is told next was refused since it was looked last, but for [`Moment::Earlier`].
    Look,
    /// Something was refused; the count is how often since it was last told.
    Denial(Denial, Moment),
    /// 80 % of the memory limit are used.
    MemoryWarning { used_bytes: u64, limit_bytes: u64 },
    /// The CPU limit has been reached for half a minute.
    CpuWarning { limit_percent: u32 },
    /// A limit or rule was broken, and how; the plugin is being stopped, or has ended of it.
    Violation(Violation, String),
}

/// When something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Since it was last looked: whoever asked for it was being waited for then.
    SinceLook,
    /// At some time.
    Earlier,
}

/// What a plugin uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Memory of the whole tree, in bytes.
    pub(crate) memory_bytes: u64,
    /// CPU time so far, in milliseconds.
    pub(crate) cpu_ms: u64,
    /// CPU time since the last sample, in percent of one core.
    pub(crate) cpu_percent: u32,
    /// Processes and threads.
    pub(crate) tasks: u64,
    /// Read from and written to storage so far.
    pub(crate) io: Io,
}

/// The commands of one monitor, and the news of the end.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    commands: mpsc::Sender<Command>,
    ended: watch::Receiver<Option<Arc<Exit>>>,
}

impl Watched {
    /// Tells the monitor. A full queue holds commands of the same kind already, and an ended monitor needs none.
    pub(crate) fn tell(&self, command: Command) {
        let _full_or_ended = self.commands.try_send(command);
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Arc<Exit>> {
        self.ended.borrow().clone()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for the end. Cancel safe.
    pub(crate) async fn ended(&self) -> Option<Arc<Exit>> {
        let mut ended = self.ended.clone();
        let seen = ended.wait_for(Option::is_some).await.ok()?;
        seen.clone()
    }
}

/// The limits that a monitor warns of and holds.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_percent: Option<u32>,
    pub(crate) file_size_bytes: Option<u64>,
    pub(crate) processes: Option<u64>,
    /// What the private data directory may hold, and where it is; `None` where nobody watches it.
    pub(crate) data: Option<(Arc<Path>, Allowed)>,
    /// Turns of programs that run beside the plugin, and may write there too.
    pub(crate) programs: Arc<Semaphore>,
    /// The memory at which it is ended; [`Bounds::memory_bytes`] is what it is warned of.
    pub(crate) hard_memory_bytes: Option<u64>,
}

/// Starts to watch. The task ends when everything inside has ended; the caller owns it and joins it.
///
/// # Errors
/// When the descriptors cannot be watched: no descriptor is free, or there is no tokio runtime with I/O.
pub(crate) fn watch(
    sandbox: Sandbox,
    stderr: OwnedFd,
    translated: Translated,
    log: PluginLog,
    bounds: Bounds,
    see: impl FnMut(Sight) + Send + 'static,
) -> io::Result<(Watched, impl Future<Output = ()> + Send)> {
    let process = watched(sandbox.pidfd().try_clone_to_owned()?)?;
    let events = watched(sandbox.events().try_clone_to_owned()?)?;
    let stderr = watched(stderr)?;
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let (told, ended) = watch::channel(None);
    let monitor = Monitor {
        sandbox,
        translated,
        log,
        bounds,
        see,
        stderr_tail: Vec::new(),
        told_denials: Vec::new(),
        known_refusals: 0,
        explainer: explain::Explainer::default(),
        ladder: None,
        killed: false,
        why: None,
        sampler_hit: false,
        climbed: false,
        warnings: Warnings::default(),
        quota_evidence: None,
        in_use_peak_bytes: 0,
        ticks: 0,
        last_sample: Sample::default(),
        log_budget: LOG_BYTES_PER_TICK,
        cpu_ms: Arc::default(),
    };
    let task = async move {
        let exit = monitor.run(process, events, stderr, receiver).await;
        told.send_replace(Some(Arc::new(exit)));
    };
    Ok((Watched { commands, ended }, task))
}

struct Monitor<See> {
    sandbox: Sandbox,
    translated: Translated,
    log: PluginLog,
    bounds: Bounds,
    see: See,
    stderr_tail: Vec<u8>,
    /// With how many of each were told at once.
    told_denials: Vec<(Denial, u64)>,
    /// Refusals and observations that were known when denials were told last.
    known_refusals: u64,
    explainer: explain::Explainer,
    /// When the next rung of the ladder is due.
    ladder: Option<Rung>,
    killed: bool,
    why: Option<Why>,
    sampler_hit: bool,
    /// Whether the ladder, and not the plugin, may have made the end.
    climbed: bool,
    warnings: Warnings,
    /// What was found in its data directory after its end.
    quota_evidence: Option<String>,
    in_use_peak_bytes: u64,
    ticks: u32,
    last_sample: Sample,
    log_budget: usize,
    cpu_ms: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
enum Rung {
    Terminate(Instant),
    Kill(Instant),
}

impl Rung {
    fn at(self) -> Instant {
        match self {
            Self::Terminate(at) | Self::Kill(at) => at,
        }
    }
}

impl<See: FnMut(Sight) + Send> Monitor<See> {
    async fn run(
        mut self,
        process: AsyncFd<OwnedFd>,
        events: AsyncFd<OwnedFd>,
        stderr: AsyncFd<OwnedFd>,
        mut commands: mpsc::Receiver<Command>,
    ) -> Exit {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut events_over, mut stderr_over, mut commands_over) = (false, false, false);
        let over_quota =
            over_quota(self.bounds.data.clone(), Arc::clone(&self.cpu_ms), Arc::clone(&self.bounds.programs));
        tokio::pin!(over_quota);
        let mut quota_over = false;
        loop {
            let rung = self.ladder.map(Rung::at);
            tokio::select! {
                biased;
                ready = process.readable() => {
                    match self.sandbox.try_wait() {
                        Ok(Some(_)) | Err(_) => break,
                        Ok(None) => if let Ok(mut guard) = ready { guard.clear_ready() },
                    }
                }
                () = sleep_until_some(rung), if rung.is_some() => self.climb(),
                ready = events.readable(), if !events_over => {
                    events_over = self.look();
                    if let Ok(mut guard) = ready { guard.clear_ready() }
                }
                command = commands.recv(), if !commands_over => match command {
                    Some(command) => self.obey(command),
                    // Whoever could want it is gone.
                    None => { commands_over = true; self.obey(Command::Kill(Why::Asked)); }
                },
                _ = ticks.tick() => {
                    // Also without news, so that little time lies between two looks.
                    events_over = events_over || self.look();
                    self.tick();
                }
                why = &mut over_quota, if !quota_over => {
                    quota_over = true;
                    self.obey(Command::Stop(Why::broken(Violation::FileSize, why), Duration::ZERO));
                }
                ready = stderr.readable(), if !stderr_over && self.log_budget > 0 => {
                    let Ok(mut guard) = ready else { stderr_over = true; continue };
                    match self.read_log(stderr.get_ref()) {
                        Ok(Some(0)) | Err(_) => stderr_over = true,
                        Ok(Some(_)) => {}
                        Ok(None) => guard.clear_ready(),
                    }
                }
            }
        }
        self.look_last().await;
        self.finish(stderr.get_ref())
    }

    /// What was written after the last look, or by a plugin that ran for less time than passes between two, is over the quota
    /// all the same.
    async fn look_last(&mut self) {
        let is_known = matches!(self.why, Some(Why::Violation { violation: Violation::FileSize, .. }));
        let data = self.bounds.data.clone().filter(|_| !is_known);
        let Some((directory, allowed)) = data else { return };
        if let Some(why) = quota::last_look(directory, allowed).await {
            self.log.line(LogSource::Host, Some("error"), &format!("ended over its quota: {why}"));
            (self.see)(Sight::Violation(Violation::FileSize, why.clone()));
            self.quota_evidence = Some(why);
        }
    }

    /// Reads one chunk. `None` when there is nothing now; 0 at the end.
    fn read_log(&mut self, stderr: &OwnedFd) -> io::Result<Option<usize>> {
        let mut chunk = [0_u8; CHUNK_BYTES];
        let read = stream::read_now(stderr.as_fd(), &mut chunk)?;
        let bytes = chunk.get(..read.unwrap_or(0)).unwrap_or_default();
        self.log_budget = self.log_budget.saturating_sub(bytes.len());
        for line in self.log.stderr(bytes) {
            (self.see)(Sight::Log(line));
        }
        self.stderr_tail.extend_from_slice(bytes);
        let surplus = self.stderr_tail.len().saturating_sub(STDERR_TAIL_MAX_BYTES);
        self.stderr_tail.drain(..surplus);
        Ok(read)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Stop(why, grace) => {
                self.because(why);
                if self.ladder.is_none() && !self.killed {
                    self.ladder = Some(Rung::Terminate(Instant::now() + grace));
                } else if let Some(Rung::Terminate(at)) = self.ladder {
                    self.ladder = Some(Rung::Terminate(at.min(Instant::now() + grace)));
                }
            }
            Command::Kill(why) => {
                self.because(why);
                self.kill();
            }
        }
    }

    /// The first reason is the reason. A violation is told at once: its plugin may hold out for a while.
    fn because(&mut self, why: Why) {
        if self.why.is_some() {
            return;
        }
        if let Why::Violation { violation, detail } = &why {
            self.log.line(LogSource::Host, Some("error"), &format!("stopped: {detail}"));
            (self.see)(Sight::Violation(*violation, detail.clone()));
        }
        self.why = Some(why);
    }

    fn climb(&mut self) {
        self.climbed = true;
        match self.ladder {
            Some(Rung::Terminate(_)) => {
                self.ladder = Some(Rung::Kill(Instant::now() + TERM_GRACE));
                if self.sandbox.terminate().is_err() {
                    self.kill();
                }
            }
            Some(Rung::Kill(_)) => self.kill(),
            None => {}
        }
    }

    fn kill(&mut self) {
        self.ladder = None;
        self.killed = true;
        if let Err(error) = self.sandbox.kill() {
            tracing::error!(error = %error, "a plugin cannot be killed");
        }
    }

    fn tick(&mut self) {
        self.log_budget = LOG_BYTES_PER_TICK;
        let tick = self.sandbox.tick();
        let used_bytes = tick.usage.memory_bytes;
        self.in_use_peak_bytes = self.in_use_peak_bytes.max(used_bytes);
        self.cpu_ms.store(tick.usage.cpu_ms, Ordering::Relaxed);
        self.ticks += 1;
        if self.ticks >= TICKS_PER_SAMPLE {
            self.ticks = 0;
            self.sample(used_bytes, tick.usage.cpu_ms);
        }
        if let Some(limit_bytes) = self.bounds.memory_bytes
            && self.warnings.memory_begins(used_bytes, limit_bytes)
        {
            self.warn(&format!(
                "{used_bytes} of {limit_bytes} bytes of memory are used, {MEMORY_WARN_PERCENT} % or more"
            ));
            (self.see)(Sight::MemoryWarning { used_bytes, limit_bytes });
        }
        if tick.over_memory && self.why.is_none() {
            self.sampler_hit = self.sandbox.is_sampled();
            let limit = self.bounds.hard_memory_bytes.unwrap_or_default();
            let detail = format!("{used_bytes} bytes of memory were used; {limit} is the most");
            // Who is over the memory limit has no right to three more seconds of it.
            self.obey(Command::Kill(Why::broken(Violation::Memory, detail)));
        }
    }

    fn sample(&mut self, memory_bytes: u64, cpu_ms: u64) {
        let spent_ms = cpu_ms.saturating_sub(self.last_sample.cpu_ms);
        let period_ms = u64::from(TICKS_PER_SAMPLE) * u64::try_from(TICK.as_millis()).unwrap_or(100);
        let cpu_percent = u32::try_from(spent_ms * 100 / period_ms.max(1)).unwrap_or(u32::MAX);
        let (tasks, io) = (self.sandbox.tasks(), self.sandbox.io());
        self.last_sample = Sample { memory_bytes, cpu_ms, cpu_percent, tasks, io };
        (self.see)(Sight::Sample(self.last_sample));
        if let Some(limit_percent) = self.bounds.cpu_percent
            && self.warnings.cpu_begins(cpu_percent, limit_percent)
        {
            self.warn(&format!(
                "it has used the processor up to its limit of {limit_percent} % for {CPU_WARN_SAMPLES} s"
            ));
            (self.see)(Sight::CpuWarning { limit_percent });
        }
    }

    /// Into the plugin's log, where its author looks.
    fn warn(&self, text: &str) {
        self.log.line(LogSource::Host, Some("warning"), text);
    }

    /// Looks for refusals and tells them. Whether nothing more will come.
    fn look(&mut self) -> bool {
        // INVARIANT: before anything is read. What is read was refused after the look before began to read, so whichever call it
        // belongs to was under way after that.
        (self.see)(Sight::Look);
        let is_over = self.sandbox.read_events().unwrap_or(true);
        let refused: u64 = self.sandbox.refusals().map(|refusal| refusal.count).sum();
        let observed = u64::try_from(self.sandbox.observations().len()).unwrap_or(u64::MAX);
        let known = refused.saturating_add(observed);
        if std::mem::replace(&mut self.known_refusals, known) != known {
            self.tell_denials();
        }
        is_over
    }

    /// Tells what was refused since it was last told.
    fn tell_denials(&mut self) {
        let at_once: Vec<u64> = self.sandbox.refusals().map(|refusal| refusal.told_at_once).collect();
        let denials = self.explainer.denials(&self.sandbox, &self.translated);
        // Those of the sandbox stand first; of the others it is not known when they were.
        for (denial, at_once) in denials.into_iter().zip(at_once.into_iter().chain(std::iter::repeat(0))) {
            let known = self.told_denials.iter_mut().find(|(known, _)| {
                (&known.layer, &known.operation, &known.object)
                    == (&denial.layer, &denial.operation, &denial.object)
            });
            // The sandbox counts from its start; whoever listens adds up.
            let before = match known {
                Some((known, known_at_once)) => {
                    let count = std::mem::replace(&mut known.count, denial.count);
                    (count, std::mem::replace(known_at_once, at_once))
                }
                None => {
                    self.told_denials.push((denial.clone(), at_once));
                    (0, 0)
                }
            };
            let count = denial.count.saturating_sub(before.0);
            let now = at_once.saturating_sub(before.1).min(count);
            for (count, moment) in [(count - now, Moment::Earlier), (now, Moment::SinceLook)] {
                if count > 0 {
                    (self.see)(Sight::Denial(Denial { count, ..denial.clone() }, moment));
                }
            }
        }
    }

    fn finish(mut self, stderr: &OwnedFd) -> Exit {
        // Everybody inside is gone, so this ends: what is left is in the pipe.
        while matches!(self.read_log(stderr), Ok(Some(read)) if read > 0) {}
        self.log.stderr_ended();
        (self.see)(Sight::Look);
        let ending = self.sandbox.wait().unwrap_or(SandboxEnding::Killed);
        self.tell_denials();
        let exit = self.classified(ending);
        let told = |violation: &Violation| {
            let by_quota = self.quota_evidence.is_some() && *violation == Violation::FileSize;
            by_quota || matches!(self.why, Some(Why::Violation { .. }))
        };
        if let Some(violation) = exit.violation.filter(|violation| !told(violation)) {
            (self.see)(Sight::Violation(violation, exit.evidence.join("; ")));
        }
        if let Err(error) = self.sandbox.close() {
            tracing::warn!(error = %error, "the cgroup of a plugin cannot be removed");
        }
        exit
    }

    fn classified(&self, ending: SandboxEnding) -> Exit {
        const SIGKILL: i32 = 9;
        let wait = match ending {
            SandboxEnding::Exited(code) => Wait::Exited(code),
            SandboxEnding::Signaled(signal) => Wait::Signaled(signal),
            SandboxEnding::Killed if self.killed => Wait::Signaled(SIGKILL),
            SandboxEnding::Killed => Wait::Unknown,
        };
        let usage = self.sandbox.usage();
        let sampled = self.sandbox.is_sampled();
        let stopped_by = match self.why {
            Some(Why::Violation { violation: Violation::Timeout, .. }) => Some(Stop::Timeout),
            Some(Why::Violation { violation, .. }) => Some(Stop::Limit(violation)),
            _ => None,
        };
        let ended = classify(&Facts {
            stopped_by,
            oom_kills: usage.oom_kills,
            pids_limit_hits: (!sampled).then_some(usage.task_refusals),
            sampler_memory_hit: self.sampler_hit,
            memory_limit_bytes: self.bounds.hard_memory_bytes,
            memory_peak_bytes: if sampled { usage.memory_peak_bytes } else { self.in_use_peak_bytes },
            file_size_limit_bytes: self.bounds.file_size_bytes,
            processes_limit: self.bounds.processes,
            seccomp_killed: false,
            stderr_tail: &self.stderr_tail,
            ..Facts::new(wait)
        });
        let asked = matches!(self.why, Some(Why::Asked | Why::Overtaken));
        // What is stopped because nobody wants it any more has broken nothing by being stopped.
        let violation = ended.violation.filter(|_| !asked || usage.oom_kills > 0);
        let own = match &self.why {
            Some(Why::Violation { detail, .. }) => vec![detail.clone()],
            _ => {
                let limit = violation.and_then(|violation| self.bounds.limit_of(violation));
                ended.evidence.into_iter().chain(limit).collect()
            }
        };
        let evidence = match self.quota_evidence.clone() {
            Some(why) if violation.is_some_and(|broken| broken != Violation::FileSize) => {
                [own, vec![why]].concat()
            }
            Some(why) => vec![why],
            None => own,
        };
        Exit {
            exit_code: ended.exit_code,
            signal: ended.signal,
            violation: violation.or(self.quota_evidence.as_ref().map(|_| Violation::FileSize)),
            suspected: ended.suspected.filter(|_| !asked),
            evidence,
            asked,
            output_ended: self.climbed && self.why == Some(Why::OutputEnded),
        }
    }
}

impl Bounds {
    /// The limit behind a violation, in words, where it is a number.
    fn limit_of(&self, violation: Violation) -> Option<String> {
        let (limit, unit) = match violation {
            Violation::Memory => (self.hard_memory_bytes?, "bytes"),
            Violation::FileSize => (self.file_size_bytes?, "bytes"),
            Violation::Processes => (self.processes?, "processes and threads"),
            _ => return None,
        };
        Some(format!("the limit is {limit} {unit}"))
    }
}

#[expect(
    deprecated,
    reason = "the sound form is unsafe; what tokio cannot prove of any type holds here: an OwnedFd owns its descriptor, and \
              nobody closes it before the AsyncFd does"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

async fn over_quota(
    data: Option<(Arc<Path>, Allowed)>,
    cpu_ms: Arc<AtomicU64>,
    programs: Arc<Semaphore>,
) -> String {
    match data {
        Some((directory, allowed)) => quota::watch(directory, allowed, cpu_ms, programs).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
