//! How long handlers take: a histogram of fixed size for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets: the first holds what took less than 16 µs, each further one twice as much as the one before, the last all the
/// rest, from 8.4 s on.
pub const LATENCY_BUCKETS: usize = 20;
const FIRST_US: u64 = 16;

/// Counted without a lock.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; LATENCY_BUCKETS],
    failures: AtomicU64,
    total_us: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    /// How often it was asked.
    pub count: u64,
    /// How often it failed.
    pub failures: u64,
    /// All of it together, in microseconds.
    pub total_us: u64,
    /// Half of them took no longer than this, in microseconds: the upper end of a bucket. `None` when there are none.
    pub p50_us: Option<u64>,
    /// 99 of 100 took no longer than this.
    pub p99_us: Option<u64>,
    /// How many took less than `le_us`, each bucket for itself; the last has no upper end.
    pub buckets: Vec<LatencyBucket>,
}

/// A bucket that holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LatencyBucket {
    /// Its upper end in microseconds; `None` for the last one.
    pub le_us: Option<u64>,
    /// How many.
    pub count: u64,
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration, failed: bool) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let index =
            (us / FIRST_US).checked_ilog2().map_or(0, |log| log as usize + 1).min(LATENCY_BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.total_us.fetch_add(us, Ordering::Relaxed);
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Latency {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let quantile = |percent: u64| {
            let wanted = (count * percent).div_ceil(100);
            let mut sum = 0;
            let index = counts.iter().position(|bucket| {
                sum += bucket;
                sum >= wanted
            })?;
            (count > 0).then(|| end_of(index).unwrap_or(u64::MAX))
        };
        Latency {
            count,
            failures: self.failures.load(Ordering::Relaxed),
            total_us: self.total_us.load(Ordering::Relaxed),
            p50_us: quantile(50),
            p99_us: quantile(99),
            buckets: counts
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(|(index, count)| LatencyBucket { le_us: end_of(index), count: *count })
                .collect(),
        }
    }
}

fn end_of(index: usize) -> Option<u64> {
    (index + 1 < LATENCY_BUCKETS).then(|| FIRST_US << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_so_long_is_in_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().p50_us, None);
        for us in [0, 15, 16, 31, 32, 1_000_000, 100_000_000] {
            histogram.add(Duration::from_micros(us), us == 32);
        }
        let latency = histogram.read();
        let shown: Vec<(Option<u64>, u64)> =
            latency.buckets.iter().map(|bucket| (bucket.le_us, bucket.count)).collect();
        assert_eq!(shown, [(Some(16), 2), (Some(32), 2), (Some(64), 1), (Some(1_048_576), 1), (None, 1)]);
        assert_eq!((latency.count, latency.failures), (7, 1));
        assert_eq!((latency.p50_us, latency.p99_us), (Some(32), Some(u64::MAX)));
    }
}
