//! What a sandbox has read from and written to storage: the sum over its processes, as the kernel accounts it to each
//! (`/proc/PID/io`, proc_pid_io(5)).
//!
//! The kernel hands nobody what a process had when it ends. What was seen of it last is kept, so what it did since then is
//! missing, and what begins and ends between two looks is not seen at all: a figure to watch by, not to bill by.

use std::collections::HashMap;
use std::fs;

use super::Io;
use super::sampler::tree_of;

/// Follows one sandbox by its PID 1.
#[derive(Debug, Default)]
pub(crate) struct IoMeter {
    /// What each process had at the last look.
    alive: HashMap<u32, Io>,
    /// What those had that have ended.
    ended: Io,
}

impl IoMeter {
    /// One look.
    pub(crate) fn look(&mut self, init: u32) -> Io {
        let now = tree_of(init).into_iter().filter_map(|pid| Some((pid, io_of(pid)?))).collect();
        self.follow(now)
    }

    /// The last look once more.
    pub(crate) fn last(&self) -> Io {
        self.alive.values().fold(self.ended, |sum, io| sum.plus(*io))
    }

    fn follow(&mut self, now: HashMap<u32, Io>) -> Io {
        for (pid, before) in &self.alive {
            // Less than before is another process of the same number.
            let same =
                |io: &&Io| io.read_bytes >= before.read_bytes && io.written_bytes >= before.written_bytes;
            if now.get(pid).filter(same).is_none() {
                self.ended = self.ended.plus(*before);
            }
        }
        self.alive = now;
        self.last()
    }
}

/// None of a process that has ended or does not let itself be looked at, as PID 1.
fn io_of(pid: u32) -> Option<Io> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let value = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().parse().ok()
    };
    // What was written to pages that were thrown away before they reached the disk counts back.
    let written = value("write_bytes")?.saturating_sub(value("cancelled_write_bytes")?);
    Some(Io { read_bytes: value("read_bytes")?, written_bytes: written })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(read_bytes: u64, written_bytes: u64) -> Io {
        Io { read_bytes, written_bytes }
    }

    #[test]
    fn what_has_ended_still_counts_and_a_number_used_again_is_another_process() {
        let mut meter = IoMeter::default();
        assert_eq!(meter.follow(HashMap::from([(2, io(10, 1)), (3, io(5, 0))])), io(15, 1));
        assert_eq!(meter.follow(HashMap::from([(2, io(20, 4))])), io(25, 4), "3 has ended");
        assert_eq!(meter.follow(HashMap::from([(2, io(1, 0))])), io(26, 4), "2 is another one");
        assert_eq!(meter.follow(HashMap::new()), io(26, 4));
        assert_eq!(meter.last(), io(26, 4));
    }

    #[test]
    fn the_kernel_tells_it_of_a_process() {
        assert!(io_of(std::process::id()).is_some());
        assert_eq!(io_of(u32::MAX), None);
    }
}
