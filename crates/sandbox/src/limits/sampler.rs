//! Limits without a cgroup: the host looks at every process of the sandbox and acts. Between two looks a sandbox can be
//! over its limit, which is why `RLIMIT_DATA` holds each process alone, and why `--strict` refuses this back-end.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use super::Usage;

/// What the sampler wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// More memory than allowed: the sandbox must end.
    OverMemory,
    /// More CPU than allowed: stop everything until the next look.
    Pause,
    /// Under the limit again: go on.
    Resume,
}

/// Follows one sandbox by its PID 1.
#[derive(Debug)]
pub(crate) struct Sampler {
    init: u32,
    memory_limit: Option<u64>,
    cpu_percent: Option<u32>,
    peak: u64,
    /// CPU time and moment of the last look, and how far the sandbox is ahead of its share.
    last: Option<(u64, Instant)>,
    ahead_ms: f64,
    paused: bool,
    ended_cpu_ms: u64,
    seen_cpu_ms: u64,
}

/// How much CPU time may be saved up: 100 ms, so that a short burst is not slowed.
const CREDIT_MS: f64 = 100.0;

impl Sampler {
    pub(crate) fn new(init: u32, memory_limit: Option<u64>, cpu_percent: Option<u32>) -> Self {
        Self {
            init,
            memory_limit,
            cpu_percent,
            peak: 0,
            last: None,
            ahead_ms: 0.0,
            paused: false,
            ended_cpu_ms: 0,
            seen_cpu_ms: 0,
        }
    }

    /// One look. The sandbox's PID 1 must not have been reaped yet.
    pub(crate) fn look(&mut self, now: Instant) -> (Usage, Verdict) {
        let processes = tree_of(self.init);
        let memory = processes.iter().map(|pid| memory_of(*pid)).sum::<u64>() + scratch_of(&processes);
        let cpu_ms = processes.iter().map(|pid| cpu_of(*pid)).sum::<u64>();
        self.peak = self.peak.max(memory);
        // Reaped processes take their time with them; what has been seen never counts less.
        if cpu_ms + self.ended_cpu_ms < self.seen_cpu_ms {
            self.ended_cpu_ms = self.seen_cpu_ms - cpu_ms;
        }
        let total = cpu_ms + self.ended_cpu_ms;
        let verdict = if self.memory_limit.is_some_and(|limit| memory > limit) {
            Verdict::OverMemory
        } else {
            self.judge_cpu(total, now)
        };
        self.seen_cpu_ms = total;
        self.last = Some((total, now));
        (self.usage_with(memory, total), verdict)
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage_with(0, self.seen_cpu_ms)
    }

    /// Processes and threads now, PID 1 aside. The sandbox's PID 1 must not have been reaped yet.
    pub(crate) fn tasks(&self) -> u64 {
        let programs = tree_of(self.init).into_iter().filter(|pid| *pid != self.init);
        let threads = |pid| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        programs.map(|pid| threads(pid) as u64).sum()
    }

    fn usage_with(&self, memory: u64, cpu_ms: u64) -> Usage {
        Usage { memory_bytes: memory, memory_peak_bytes: self.peak, cpu_ms, ..Usage::default() }
    }

    fn judge_cpu(&mut self, total: u64, now: Instant) -> Verdict {
        let (Some(percent), Some((before, then))) = (self.cpu_percent, self.last) else {
            return Verdict::Fine;
        };
        let elapsed_ms = now.duration_since(then).as_secs_f64() * 1000.0;
        let used = total.saturating_sub(before) as f64;
        self.ahead_ms = (self.ahead_ms + used - elapsed_ms * f64::from(percent) / 100.0).max(-CREDIT_MS);
        let over = self.ahead_ms > 0.0;
        match (over, self.paused) {
            (true, false) => {
                self.paused = true;
                Verdict::Pause
            }
            (false, true) => {
                self.paused = false;
                Verdict::Resume
            }
            _ => Verdict::Fine,
        }
    }
}

/// PID 1 and all below it. Orphans are PID 1's children, so nothing can leave this tree.
pub(super) fn tree_of(init: u32) -> Vec<u32> {
    let mut found = vec![init];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

/// Memory that would be free without this process: its share of what it shares, if the kernel tells, else all of it.
fn memory_of(pid: u32) -> u64 {
    let kib = |text: &str, names: &[&str]| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let wanted = lines.filter(|(name, _)| names.contains(name));
        wanted.filter_map(|(_, value)| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).sum::<u64>()
    };
    let shares = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    if !shares.is_empty() {
        return kib(&shares, &["Pss_Anon", "Pss_Shmem", "SwapPss"]) * 1024;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib(&status, &["RssAnon", "RssShmem", "VmSwap"]) * 1024
}

/// What lies in the sandbox's /tmp and /dev/shm, which are one file system. Pages that a process maps are counted twice
/// then: on the safe side. PID 1 does not let itself be looked at, so any process that does will do.
fn scratch_of(processes: &[u32]) -> u64 {
    let used = |path: PathBuf| {
        let seen = rustix::fs::statfs(path).ok().filter(|seen| seen.f_type == TMPFS_MAGIC)?;
        Some((seen.f_blocks - seen.f_bfree) * u64::try_from(seen.f_bsize).unwrap_or(4096))
    };
    let scratch = |pid: &u32| {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        used(root.join(".scratch")).or_else(|| used(root.join("tmp")))
    };
    processes.iter().find_map(scratch).unwrap_or(0)
}

const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// User and system time of a process and of what it has reaped, in milliseconds (proc_pid_stat(5), fields 14 to 17).
pub(super) fn cpu_of(pid: u32) -> u64 {
    const TICKS_PER_SECOND: u64 = 100; // USER_HZ, fixed on x86_64
    let text = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the program's own name in parentheses and may hold anything.
    let Some(end) = text.iter().rposition(|byte| *byte == b')') else { return 0 };
    let rest = std::ffi::OsStr::from_bytes(text.get(end + 2..).unwrap_or_default()).to_string_lossy();
    let ticks: u64 = rest.split(' ').skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * 1000 / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn own_process_has_memory_and_time() {
        let pid = std::process::id();
        let block = vec![1u8; 8 << 20];
        assert!(memory_of(pid) > 8 << 20, "{}", memory_of(pid));
        assert_eq!(block.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 8 << 20);
        assert!(tree_of(pid).contains(&pid));
        assert_eq!(memory_of(u32::MAX), 0);
        assert_eq!(cpu_of(u32::MAX), 0);
    }

    #[test]
    fn cpu_beyond_the_share_pauses_until_it_is_earned() {
        let mut sampler = Sampler::new(1, None, Some(50));
        let start = Instant::now();
        sampler.last = Some((0, start));
        let at = |ms| start + Duration::from_millis(ms);
        let mut judge = |total, ms| {
            let verdict = sampler.judge_cpu(total, at(ms));
            sampler.last = Some((total, at(ms)));
            verdict
        };
        assert_eq!(judge(100, 100), Verdict::Pause, "100 ms used, 50 earned");
        assert_eq!(judge(100, 150), Verdict::Fine, "25 ms still missing");
        assert_eq!(judge(100, 250), Verdict::Resume);
        assert_eq!(judge(100, 1250), Verdict::Fine);
        assert_eq!(judge(220, 1300), Verdict::Fine, "saved time may be used: 100 ms and no more");
        assert_eq!(judge(280, 1310), Verdict::Pause);
    }
}
