//! How a run ended: from the bare facts to status, violation, suspicion and evidence.
//!
//! Pure: the facts are gathered elsewhere. The order of the questions is the order of certainty. What we did
//! ourselves comes first (timeout, cap, cancel), then what the kernel counted or signalled, then what a failed
//! command says about itself. What remains merely likely is `suspected`, and the command's own status passes.

use ringfence_api::{ErrorCode, RunReport, RunStatus, Violation};

/// How much of the end of stderr [`classify`] looks at, in bytes: enough for a JVM's or Python's last words.
pub const STDERR_TAIL_MAX_BYTES: usize = 8 * 1024;

/// From this share of the memory limit on, in percent, a failed run is suspected of having run out of memory.
pub const MEMORY_SUSPECT_PERCENT: u64 = 95;

// Signal numbers of Linux on all processors that Rust supports except MIPS and SPARC.
const SIGBUS: i32 = 7;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGSYS: i32 = 31;

/// What the kernel said about the end of the command.
///
/// ```
/// use ringfence::exec::Wait;
///
/// assert!(!Wait::Exited(0).is_failure());
/// assert!(Wait::Signaled(11).is_failure() && Wait::Unknown.is_failure());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It exited with this status, 0 to 255.
    Exited(i32),
    /// It was ended by the signal of this number.
    Signaled(i32),
    /// The status could not be learned, such as when the launcher itself was killed.
    Unknown,
}

impl Wait {
    /// Whether this is anything but exit status 0.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Exited(0))
    }

    /// Whether the command, or the last child of a shell in its place, was ended by this signal.
    fn looks_like(self, signal: i32) -> bool {
        self == Self::Signaled(signal) || self == Self::Exited(128 + signal)
    }
}

/// Why Ringfence stopped the command, when it did.
///
/// ```
/// use ringfence::exec::Stop;
///
/// assert_ne!(Stop::Cancelled { signal: 2 }, Stop::Timeout);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The wall-clock limit was over.
    Timeout,
    /// It wrote more than the output limit.
    OutputCap,
    /// The caller gave up; `signal` is the one that told us (2 for Ctrl-C, 15 for a dropped future).
    Cancelled {
        /// The number of the signal, which becomes the exit status 128 + n.
        signal: i32,
    },
    /// A limit that Ringfence itself watches was broken, such as by the sampler.
    Limit(Violation),
}

/// Everything that is known when a run is over.
///
/// ```
/// use ringfence::exec::{Facts, Wait};
///
/// let facts = Facts { oom_kills: 1, ..Facts::new(Wait::Signaled(9)) };
/// assert!(facts.stopped_by.is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What the kernel said.
    pub wait: Wait,
    /// Why Ringfence stopped it; `None` when it ended by itself.
    pub stopped_by: Option<Stop>,
    /// How often the kernel's memory limit killed in the cgroup of this run.
    pub oom_kills: u64,
    /// How often the cgroup refused a process or thread; `None` when nothing counts that.
    pub pids_limit_hits: Option<u64>,
    /// Whether the sampler saw this tree above its memory limit.
    pub sampler_memory_hit: bool,
    /// The memory limit in bytes; `None` when lifted.
    pub memory_limit_bytes: Option<u64>,
    /// The peak memory of this tree in bytes, never that of earlier children; 0 when unknown.
    pub memory_peak_bytes: u64,
    /// The limit of the size of one file in bytes; `None` when lifted.
    pub file_size_limit_bytes: Option<u64>,
    /// The limit of processes and threads; `None` when lifted.
    pub processes_limit: Option<u64>,
    /// Whether the kernel says that the seccomp filter killed a process of this run.
    pub seccomp_killed: bool,
    /// The end of stderr before redaction; only the last [`STDERR_TAIL_MAX_BYTES`] are looked at.
    pub stderr_tail: &'a [u8],
}

impl Facts<'_> {
    /// Nothing but the kernel's word: no limit is set and nothing was counted.
    #[must_use]
    pub const fn new(wait: Wait) -> Self {
        Self {
            wait,
            stopped_by: None,
            oom_kills: 0,
            pids_limit_hits: None,
            sampler_memory_hit: false,
            memory_limit_bytes: None,
            memory_peak_bytes: 0,
            file_size_limit_bytes: None,
            processes_limit: None,
            seccomp_killed: false,
            stderr_tail: &[],
        }
    }
}

/// How a run ended: the fields of the report of the same names.
///
/// ```
/// use ringfence::exec::{Facts, Wait, classify};
/// use ringfence_api::RunStatus;
///
/// let ending = classify(&Facts::new(Wait::Exited(3)));
/// assert_eq!((ending.status, ending.exit_code, ending.signal), (RunStatus::Exited, Some(3), None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub status: RunStatus,
    /// The command's exit status, when it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the command, when one did.
    pub signal: Option<i32>,
    /// The proven violation.
    pub violation: Option<Violation>,
    /// The likely violation; never together with a proven one.
    pub suspected: Option<Violation>,
    /// What either rests on, one sentence each.
    pub evidence: Vec<String>,
}

impl Ending {
    /// Writes the ending into a report; all other fields stay as they are.
    pub fn write_to(self, report: &mut RunReport) {
        report.status = self.status;
        report.exit_code = self.exit_code;
        report.signal = self.signal;
        report.violation = self.violation;
        report.suspected = self.suspected;
        report.evidence = self.evidence;
    }
}

/// Says how a run ended.
#[must_use]
pub fn classify(facts: &Facts<'_>) -> Ending {
    let (exit_code, signal) = match facts.wait {
        Wait::Exited(code) => (Some(code), None),
        Wait::Signaled(signal) => (None, Some(signal)),
        Wait::Unknown => (None, None),
    };
    let ending = |status, violation, suspected, evidence| Ending {
        status,
        exit_code,
        signal,
        violation,
        suspected,
        evidence,
    };
    if let Some(Stop::Cancelled { signal }) = facts.stopped_by {
        let evidence = vec![format!("the caller cancelled the run ({})", signal_name(signal))];
        return ending(RunStatus::Cancelled, None, None, evidence);
    }
    if let Some((violation, evidence)) = proven(facts) {
        return ending(RunStatus::Violation, Some(violation), None, vec![evidence]);
    }
    let status = match facts.wait {
        Wait::Exited(_) => RunStatus::Exited,
        Wait::Signaled(_) | Wait::Unknown => RunStatus::Signaled,
    };
    match suspect(facts) {
        Some((violation, evidence)) => ending(status, None, Some(violation), evidence),
        None => ending(status, None, None, Vec::new()),
    }
}

fn proven(facts: &Facts<'_>) -> Option<(Violation, String)> {
    stopped(facts).or_else(|| counted(facts)).or_else(|| said_by_the_command(facts))
}

/// What Ringfence did itself.
fn stopped(facts: &Facts<'_>) -> Option<(Violation, String)> {
    let text = |text: &str| text.to_owned();
    match facts.stopped_by? {
        Stop::Timeout => Some((Violation::Timeout, text("its time was over and Ringfence stopped it"))),
        Stop::OutputCap => Some((Violation::Output, text("it wrote more than its limit for output"))),
        Stop::Limit(violation) => {
            Some((violation, format!("Ringfence measured it above its {violation} limit")))
        }
        Stop::Cancelled { .. } => None,
    }
}

/// What the kernel counted or signalled.
fn counted(facts: &Facts<'_>) -> Option<(Violation, String)> {
    if facts.oom_kills > 0 {
        let times = facts.oom_kills;
        return Some((Violation::Memory, format!("the kernel killed at the memory limit, {times} time(s)")));
    }
    if facts.sampler_memory_hit {
        let peak = facts.memory_peak_bytes;
        return Some((
            Violation::Memory,
            format!("the sampler saw it above its memory limit (peak {peak} bytes)"),
        ));
    }
    if facts.seccomp_killed || facts.wait == Wait::Signaled(SIGSYS) {
        return Some((Violation::Syscall, "the system call filter killed it (SIGSYS)".to_owned()));
    }
    if facts.wait == Wait::Signaled(SIGXCPU) {
        return Some((
            Violation::Cpu,
            "the kernel ended it at its processor time limit (SIGXCPU)".to_owned(),
        ));
    }
    if facts.wait == Wait::Signaled(SIGXFSZ) {
        return Some((
            Violation::FileSize,
            "the kernel ended it at its file size limit (SIGXFSZ)".to_owned(),
        ));
    }
    match facts.pids_limit_hits {
        Some(times) if times > 0 => {
            Some((Violation::Processes, format!("the kernel refused a process or thread, {times} time(s)")))
        }
        _ => None,
    }
}

/// Words that programs print when the kernel refused them memory, in lower case.
const MEMORY_WORDS: &[&str] = &[
    "memoryerror",                    // Python
    "cannot allocate memory",         // the C library's ENOMEM, shells, Go
    "out of memory",                  // node, Go, gcc, git, Ruby
    "outofmemoryerror",               // the JVM
    "bad_alloc",                      // C++
    "memory allocation of",           // Rust
    "memory exhausted",               // GNU programs
    "failed to allocate memory",      // Ruby
    "could not reserve enough space", // the JVM, before it is up
    "not enough memory",              // Lua
    "enomem",
];
/// The same for a file that would become too large. SIGXFSZ is ignored by Python and others.
const FILE_SIZE_WORDS: &[&str] = &["file too large", "file size limit exceeded", "efbig"];
/// The same for processes and threads.
const PROCESSES_WORDS: &[&str] = &[
    "resource temporarily unavailable",
    "can't start new thread",
    "cannot fork",
    "can't fork",
    "unable to create native thread",
    "pthread_create failed",
    "failed to create new os thread",
];

/// What a failed command says on stderr about a limit that is set.
fn said_by_the_command(facts: &Facts<'_>) -> Option<(Violation, String)> {
    if !facts.wait.is_failure() {
        return None;
    }
    let from = facts.stderr_tail.len().saturating_sub(STDERR_TAIL_MAX_BYTES);
    let tail = facts.stderr_tail.get(from..).unwrap_or_default().to_ascii_lowercase();
    let said = |words: &[&'static str]| words.iter().copied().find(|word| contains(&tail, word.as_bytes()));
    let found = |violation, word| {
        Some((violation, format!("it failed and said \"{word}\" under a {violation} limit")))
    };
    if facts.memory_limit_bytes.is_some()
        && let Some(word) = said(MEMORY_WORDS)
    {
        return found(Violation::Memory, word);
    }
    if facts.file_size_limit_bytes.is_some()
        && let Some(word) = said(FILE_SIZE_WORDS)
    {
        return found(Violation::FileSize, word);
    }
    // Where the kernel counts refused processes, its count is the truth and was asked before.
    if facts.processes_limit.is_some()
        && facts.pids_limit_hits.is_none()
        && let Some(word) = said(PROCESSES_WORDS)
    {
        return found(Violation::Processes, word);
    }
    None
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// What is likely but not proven.
fn suspect(facts: &Facts<'_>) -> Option<(Violation, Vec<String>)> {
    if !facts.wait.is_failure() {
        return None;
    }
    let memory = memory_evidence(facts);
    if !memory.is_empty() {
        return Some((Violation::Memory, memory));
    }
    // A shell in the command's place reports the signal of its child as 128 + n; a program may also exit so.
    let child = |n: i32| facts.wait == Wait::Exited(128 + n);
    let (violation, signal) = if child(SIGXFSZ) && facts.file_size_limit_bytes.is_some() {
        (Violation::FileSize, SIGXFSZ)
    } else if child(SIGXCPU) {
        (Violation::Cpu, SIGXCPU)
    } else if child(SIGSYS) {
        (Violation::Syscall, SIGSYS)
    } else {
        return None;
    };
    Some((
        violation,
        vec![format!("exit status {} is what a shell says after {}", 128 + signal, signal_name(signal))],
    ))
}

fn memory_evidence(facts: &Facts<'_>) -> Vec<String> {
    let mut evidence = Vec::new();
    let Some(limit) = facts.memory_limit_bytes else { return evidence };
    for signal in [SIGSEGV, SIGBUS] {
        if facts.wait.looks_like(signal) {
            let name = signal_name(signal);
            evidence.push(format!("it ended by {name} under a memory limit of {limit} bytes"));
        }
    }
    if facts.wait.looks_like(SIGKILL) {
        evidence.push("it ended by SIGKILL, and Ringfence did not send it".to_owned());
    }
    let peak = facts.memory_peak_bytes;
    if u128::from(peak) * 100 >= u128::from(limit) * u128::from(MEMORY_SUSPECT_PERCENT) {
        evidence.push(format!("it failed, and its peak memory was {peak} of {limit} bytes"));
    }
    evidence
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        SIGBUS => "SIGBUS",
        SIGKILL => "SIGKILL",
        SIGSEGV => "SIGSEGV",
        15 => "SIGTERM",
        SIGXCPU => "SIGXCPU",
        SIGXFSZ => "SIGXFSZ",
        SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// The exit status of `ringfence exec` for a report.
///
/// The command's own status passes; 124 is a timeout, 122 any other proven violation, 128 + n a signal. A
/// cancelled run ends with 128 + the signal that cancelled it (`cancelled_by`; 130, as for Ctrl-C, when it is
/// not known). A run that never started has the status of its error: 127 not found, 126 not executable, 125
/// anything else. A status that cannot be known is 125.
///
/// ```
/// use ringfence::exec::exit_status;
/// use ringfence_api::{RunReport, RunStatus};
///
/// let report = RunReport { exit_code: Some(3), ..RunReport::new(RunStatus::Exited) };
/// assert_eq!(exit_status(&report, None), 3);
/// assert_eq!(exit_status(&RunReport::new(RunStatus::Cancelled), Some(15)), 143);
/// ```
#[must_use]
pub fn exit_status(report: &RunReport, cancelled_by: Option<i32>) -> u8 {
    let unknown = ErrorCode::Internal.exec_exit_status();
    let signaled = |signal: i32| u8::try_from(signal.saturating_add(128)).unwrap_or(unknown);
    match report.status {
        RunStatus::Exited => report.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(unknown),
        RunStatus::Signaled => report.signal.map_or(unknown, signaled),
        RunStatus::Violation => report.violation.map_or(unknown, Violation::exec_exit_status),
        RunStatus::Cancelled => {
            cancelled_by.map_or_else(|| ErrorCode::Cancelled.exec_exit_status(), signaled)
        }
        RunStatus::NotStarted => report.error.as_ref().map_or(unknown, |error| error.code.exec_exit_status()),
    }
}

#[cfg(test)]
#[path = "ending_tests.rs"]
mod tests;
