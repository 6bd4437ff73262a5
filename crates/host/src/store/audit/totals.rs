//! How calls have ended since the store was opened: counts, and how long they took.

use std::time::Duration;

use super::Outcome;
use crate::metrics::{CALL_BUCKETS_US, CallBucket, CallLatency, MethodMetrics};

/// How the calls of one plugin and method have ended since the store was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) outcomes: [u64; Outcome::ALL.len()],
    /// Those that took no longer than each end of [`CALL_BUCKETS_US`] and longer than the one before, and the rest.
    buckets: [u64; CALL_BUCKETS_US.len() + 1],
    total_us: u64,
}

impl Totals {
    pub(super) fn add(&mut self, outcome: Outcome, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let places = Outcome::ALL.into_iter().zip(&mut self.outcomes);
        for (_, count) in places.filter(|(place, _)| *place == outcome) {
            *count += 1;
        }
        if let Some(count) = self.buckets.get_mut(CALL_BUCKETS_US.partition_point(|end| *end < us)) {
            *count += 1;
        }
        self.total_us = self.total_us.saturating_add(us);
    }

    pub(super) fn told(&self, method: &str) -> MethodMetrics {
        let words = Outcome::ALL.into_iter().map(|outcome| outcome.as_str().to_owned());
        let ends = CALL_BUCKETS_US.into_iter().map(Some).chain([None]);
        let mut count = 0;
        let buckets = ends
            .zip(self.buckets)
            .map(|(le_us, more)| {
                count += more;
                CallBucket { le_us, count }
            })
            .collect();
        MethodMetrics {
            method: method.to_owned(),
            outcomes: words.zip(self.outcomes).collect(),
            latency: CallLatency { count, total_us: self.total_us, buckets },
        }
    }
}
