//! When a plugin that crashed is tried again, and when it is not.
//!
//! The numbers are those of ARCHITECTURE.md ("A plugin's start and its calls"): backoff from 0.5 s to 60 s with jitter, and no
//! further try after more than five crashes in ten minutes. Pure: the times are given.

use std::time::Duration;

/// The wait before the first try.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// More crashes than this within [`CRASH_WINDOW`] end in quarantine.
pub const CRASHES_MAX: u64 = 5;
/// How far back crashes count.
pub const CRASH_WINDOW: Duration = Duration::from_secs(600);
/// A plugin that ran this long without a crash starts again with the shortest wait.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(300);
/// The wait is this much shorter or longer at random, in percent, so that plugins that fell together do not rise together.
const JITTER_PERCENT: u32 = 20;

/// How long to wait before try number `attempt` (0 is the first). `random` is any number; it chooses the jitter.
///
/// ```
/// use std::time::Duration;
/// use ringfence::lifecycle::{BACKOFF_MAX, backoff};
///
/// assert!(backoff(0, 7) >= Duration::from_millis(400) && backoff(0, 7) <= Duration::from_millis(600));
/// assert!(backoff(99, 7) <= BACKOFF_MAX);
/// ```
#[must_use]
pub fn backoff(attempt: u32, random: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
    let base = if attempt >= 31 { BACKOFF_MAX } else { doubled.min(BACKOFF_MAX) };
    let percent = 100 - JITTER_PERCENT + random % (2 * JITTER_PERCENT + 1);
    (base * percent / 100).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_is_never_far_from_its_middle() {
        let middle = |attempt| (0..41).map(|random| backoff(attempt, random)).sum::<Duration>() / 41;
        for (attempt, expected_ms) in [(0, 500), (1, 1000), (2, 2000), (6, 32_000)] {
            assert_eq!(middle(attempt).as_millis(), expected_ms, "{attempt}");
        }
        for attempt in [7, 30, 31, 32, u32::MAX] {
            for random in [0, 20, 40, u32::MAX] {
                let wait = backoff(attempt, random);
                assert!(wait >= BACKOFF_MAX * 8 / 10 && wait <= BACKOFF_MAX, "{attempt}: {wait:?}");
            }
        }
    }
}
