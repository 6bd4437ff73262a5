//! How often: a bucket for each key that fills up again with time.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Keys that are remembered; the fullest are forgotten first, which gives nobody more than a full bucket.
const KEYS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Buckets<K> {
    burst: f64,
    per_second: f64,
    all: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(super) fn new(burst: f64, per_second: f64) -> Self {
        Self { burst, per_second, all: Mutex::default() }
    }

    /// Takes one out of a key's bucket; false when it is empty.
    pub(super) fn take<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.take_at(key, Instant::now())
    }

    fn take_at<Q>(&self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = all.get_mut(key) {
            return self.drain(bucket, now);
        }
        if all.len() >= KEYS_MAX {
            all.retain(|_, bucket| self.filled(bucket, now) < self.burst);
        }
        if all.len() >= KEYS_MAX {
            return false;
        }
        all.insert(key.to_owned(), Bucket { left: self.burst - 1.0, at: now });
        true
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        self.per_second.mul_add(since, bucket.left).min(self.burst)
    }

    fn drain(&self, bucket: &mut Bucket, now: Instant) -> bool {
        let left = self.filled(bucket, now);
        let takes = left >= 1.0;
        *bucket = Bucket { left: if takes { left - 1.0 } else { left }, at: now };
        takes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again_and_is_one_keys_alone() {
        let buckets: Buckets<String> = Buckets::new(3.0, 2.0);
        let now = Instant::now();
        let taken: Vec<bool> = (0..4).map(|_| buckets.take_at("a", now)).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert!(buckets.take_at("b", now));
        assert!(buckets.take_at("a", now + Duration::from_millis(500)));
        assert!(!buckets.take_at("a", now + Duration::from_millis(500)));
        // Never more than a burst, however long it waits.
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| buckets.take_at("a", later)).count(), 3);
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_memory_and_gives_nobody_more() {
        let buckets: Buckets<String> = Buckets::new(1.0, 0.001);
        let now = Instant::now();
        let let_in = (0..KEYS_MAX + 50).filter(|number| buckets.take_at(&*number.to_string(), now)).count();
        assert_eq!(let_in, KEYS_MAX);
        assert!(!buckets.take_at("0", now));
    }
}
