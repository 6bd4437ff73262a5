//! A plugin whose handlers fail again and again is left alone for a while, so that it slows nobody down.
//!
//! There is one breaker for each plugin. Open, it has mutators and observers passed over at once. It never disarms a guard: one
//! that blocks when it fails blocks at once, and one that is passed over when it fails is asked all the same.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Failures in a row that open it.
pub const BREAKER_FAILURES: u32 = 5;
/// How long it stays open; then one handler is asked, and its success closes it.
pub const BREAKER_PAUSE: Duration = Duration::from_secs(30);

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Handlers are asked.
    #[default]
    Closed,
    /// They are not.
    Open,
    /// One is asked, to see whether it works again.
    HalfOpen,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    opened_at: Option<Instant>,
    probing: bool,
}

/// The breaker of a plugin.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

impl Breaker {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half-made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a handler may be asked now. After the pause exactly one may, until it is known what came of it.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match state.opened_at {
            None => true,
            Some(at) if now.saturating_duration_since(at) < BREAKER_PAUSE => false,
            Some(_) if state.probing => false,
            Some(_) => {
                state.probing = true;
                true
            }
        }
    }

    /// A handler did what it should.
    pub(crate) fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// A handler failed. Gives whether the breaker has opened with this.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        let opens = state.failures >= BREAKER_FAILURES;
        let was_closed = state.opened_at.is_none();
        if opens {
            state.opened_at = Some(now);
        }
        state.probing = false;
        opens && was_closed
    }

    /// Nobody knows what came of the handler that was asked: its caller went away.
    pub(crate) fn forgotten(&self) {
        self.lock().probing = false;
    }

    /// Where it stands.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        let state = self.lock();
        match state.opened_at {
            None => BreakerState::Closed,
            Some(at) if now.saturating_duration_since(at) < BREAKER_PAUSE => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_success() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 1..BREAKER_FAILURES {
            assert!(!breaker.failed(now));
        }
        breaker.succeeded();
        for _ in 1..BREAKER_FAILURES {
            assert!(!breaker.failed(now), "a success begins the count again");
        }
        assert!(breaker.admits(now) && breaker.failed(now));
        assert!(!breaker.admits(now));
        assert_eq!(breaker.state(now), BreakerState::Open);
        let later = now + BREAKER_PAUSE;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert!(breaker.admits(later), "one is asked");
        assert!(!breaker.admits(later), "and no second one meanwhile");
        assert!(!breaker.failed(later), "it was open already");
        assert!(!breaker.admits(later + BREAKER_PAUSE / 2));
        let again = later + BREAKER_PAUSE;
        assert!(breaker.admits(again));
        breaker.succeeded();
        assert!(breaker.admits(again) && breaker.admits(again));
        assert_eq!(breaker.state(again), BreakerState::Closed);
    }

    #[test]
    fn a_probe_whose_caller_went_away_is_made_again() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..BREAKER_FAILURES {
            breaker.failed(now);
        }
        let later = now + BREAKER_PAUSE;
        assert!(breaker.admits(later));
        breaker.forgotten();
        assert!(breaker.admits(later));
    }
}
