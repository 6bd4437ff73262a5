//! How often something may happen: a bucket that fills at a rate and holds two seconds of it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Rate {
    state: Mutex<Option<(Instant, f64)>>,
}

impl Rate {
    /// Whether one more may happen, at most `per_second` of them in a second and twice as many at once.
    pub(crate) fn take(&self, per_second: u64) -> bool {
        self.take_at(Instant::now(), per_second)
    }

    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
    fn take_at(&self, now: Instant, per_second: u64) -> bool {
        let rate = per_second as f64;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, left) = state.unwrap_or((now, rate * 2.0));
        let filled = (left + now.saturating_duration_since(then).as_secs_f64() * rate).min(rate * 2.0);
        let may = filled >= 1.0;
        *state = Some((now, if may { filled - 1.0 } else { filled }));
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_bounded_and_the_rate_is_kept() {
        let (rate, now) = (Rate::default(), Instant::now());
        let taken = |at: Instant| (0..1000).filter(|_| rate.take_at(at, 10)).count();
        assert_eq!(taken(now), 20);
        assert_eq!(taken(now + Duration::from_millis(500)), 5);
        assert_eq!(taken(now + Duration::from_secs(60)), 20);
        assert!(!Rate::default().take_at(now, 0), "a rate of nothing lets nothing pass");
    }
}
