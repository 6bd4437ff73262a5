//! When a plugin is warned of: memory near its limit, and the processor used up to its limit for long.
//!
//! One warning an episode. An episode of memory ends well below where it began, so that a plugin that breathes around the mark
//! is not a warning ten times a second. Pure: what is used is given.

/// From this share of the memory limit on, in percent, there is a warning (DESIGN 6).
pub(crate) const MEMORY_WARN_PERCENT: u64 = 80;
/// Below this share the episode is over, and the next one is warned of again.
const MEMORY_CALM_PERCENT: u64 = 70;
/// The CPU limit counts as reached for long when this many samples in a row, one a second, are at [`CPU_WARN_PERCENT`] of it
/// or above.
pub(crate) const CPU_WARN_SAMPLES: u32 = 30;
/// See [`CPU_WARN_SAMPLES`].
const CPU_WARN_PERCENT: u64 = 95;

/// The running episodes of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    memory: bool,
    cpu_high: u32,
}

impl Warnings {
    /// Whether this is the beginning of an episode of memory.
    pub(crate) fn memory_begins(&mut self, used_bytes: u64, limit_bytes: u64) -> bool {
        let reaches =
            |percent: u64| u128::from(used_bytes) * 100 >= u128::from(limit_bytes) * u128::from(percent);
        let begins = !self.memory && reaches(MEMORY_WARN_PERCENT);
        self.memory = begins || (self.memory && reaches(MEMORY_CALM_PERCENT));
        begins
    }

    /// Whether this sample makes the CPU limit one that is reached for long.
    pub(crate) fn cpu_begins(&mut self, used_percent: u32, limit_percent: u32) -> bool {
        let high = u64::from(used_percent) * 100 >= u64::from(limit_percent) * CPU_WARN_PERCENT;
        self.cpu_high = if high { self.cpu_high.saturating_add(1) } else { 0 };
        self.cpu_high == CPU_WARN_SAMPLES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_warned_of_once_an_episode() {
        let mut warnings = Warnings::default();
        let begins: Vec<u64> = [0, 79, 80, 99, 79, 81, 70, 85, 69, 79, 80, 100]
            .into_iter()
            .enumerate()
            .filter(|(_, used)| warnings.memory_begins(*used, 100))
            .map(|(at, _)| at as u64)
            .collect();
        assert_eq!(begins, [2, 10]);
        assert!(!Warnings::default().memory_begins(u64::MAX / 2, u64::MAX), "no overflow");
    }

    #[test]
    fn the_processor_is_warned_of_once_after_half_a_minute_at_the_limit() {
        let mut warnings = Warnings::default();
        let mut begins =
            |samples: u32, percent| (0..samples).filter(|_| warnings.cpu_begins(percent, 80)).count();
        assert_eq!(begins(CPU_WARN_SAMPLES - 1, 80), 0);
        assert_eq!(begins(1, 75), 0, "one pause ends it");
        assert_eq!(begins(CPU_WARN_SAMPLES - 1, 76), 0, "95 % of 80 %");
        assert_eq!(begins(500, 100), 1);
        assert_eq!(begins(1, 0) + begins(CPU_WARN_SAMPLES, 80), 1, "another episode");
    }
}
