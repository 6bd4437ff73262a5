//! How many notifications and bad lines a plugin may still send this second.

use std::time::Instant;

/// A second's worth may come at once. The clock is asked only when it is used up.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: u32,
    left: u32,
    since: Instant,
}

impl Allowance {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, left: per_second, since: now }
    }

    /// Whether there is any left at `now`.
    pub(super) fn is_left(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.left == 0 {
            let now = now();
            let gained = now.saturating_duration_since(self.since).as_secs_f64() * f64::from(self.per_second);
            if gained >= 1.0 {
                // Not more than a second's worth, so it fits.
                self.left = gained.min(f64::from(self.per_second)) as u32;
                self.since = now;
            }
        }
        self.left > 0
    }

    pub(super) fn take(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_seconds_worth_at_once_and_then_as_time_goes_by() {
        let begin = Instant::now();
        let at = |ms: u64| move || begin + Duration::from_millis(ms);
        let mut allowance = Allowance::new(100, begin);
        for _ in 0..100 {
            assert!(allowance.is_left(at(0)));
            allowance.take();
        }
        assert!(!allowance.is_left(at(0)) && !allowance.is_left(at(9)));
        assert!(allowance.is_left(at(10)));
        allowance.take();
        assert!(!allowance.is_left(at(11)));
        // An hour without a word is worth no more than a second.
        for _ in 0..100 {
            assert!(allowance.is_left(at(3_600_000)));
            allowance.take();
        }
        assert!(!allowance.is_left(at(3_600_001)));
    }
}
