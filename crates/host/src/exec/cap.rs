//! The limit on how much a command may write, shared by its streams.
//!
//! Bytes are counted as they are read, before redaction changes their number. The count stays exact when both
//! streams are read at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One limit for stdout and stderr together, counted exactly.
///
/// The order of use is: ask [`allowance`](Self::allowance) how much to read, read, tell
/// [`took`](Self::took) how much came, keep only what it answers. Writing exactly the limit and then closing
/// is no violation, so the allowance goes one byte beyond the limit: that byte, if it comes, is the proof, and
/// is never kept.
///
/// ```
/// use ringfence::exec::OutputCap;
///
/// let cap = OutputCap::new(Some(5));
/// assert_eq!(cap.allowance(65536), 6);
/// assert_eq!(cap.took(5), 5);
/// assert!(cap.is_full() && !cap.is_exceeded());
/// assert_eq!(cap.took(1), 0); // one byte too many: not kept, and now it is a violation
/// assert!(cap.is_exceeded());
/// ```
#[derive(Debug)]
pub struct OutputCap {
    /// `u64::MAX` stands for no limit: at one byte a nanosecond that is 584 years of output.
    limit: u64,
    kept: AtomicU64,
    exceeded: AtomicBool,
}

impl OutputCap {
    /// A cap of so many bytes; `None` lifts it.
    #[must_use]
    pub const fn new(limit_bytes: Option<u64>) -> Self {
        let limit = match limit_bytes {
            Some(limit) => limit,
            None => u64::MAX,
        };
        Self { limit, kept: AtomicU64::new(0), exceeded: AtomicBool::new(false) }
    }

    /// How many bytes to read next when `want` would fit the buffer: `want`, or what is left of the cap and
    /// one byte more. 0 only when the cap is already exceeded: then nobody reads any more.
    #[must_use]
    pub fn allowance(&self, want: usize) -> usize {
        if self.is_exceeded() {
            return 0;
        }
        let left = self.limit.saturating_sub(self.kept_bytes()).saturating_add(1);
        usize::try_from(left).map_or(want, |left| want.min(left))
    }

    /// Counts `n` bytes that were read, and answers how many of them, from the front, may be kept.
    ///
    /// Fewer than `n` means that the cap is exceeded, which then holds for good.
    pub fn took(&self, n: usize) -> usize {
        let want = n as u64;
        let before = self.kept.fetch_update(Ordering::AcqRel, Ordering::Acquire, |kept| {
            Some(kept.saturating_add(want).min(self.limit))
        });
        // The closure never answers None, so both arms hold the count before.
        let (Ok(before) | Err(before)) = before;
        let keep = want.min(self.limit.saturating_sub(before));
        if keep < want {
            self.exceeded.store(true, Ordering::Release);
        }
        // `keep` is at most `n`, so the conversion cannot fail.
        usize::try_from(keep).unwrap_or(n)
    }

    /// Bytes that were kept so far, both streams together; never more than the limit.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept.load(Ordering::Acquire)
    }

    /// Whether the limit is reached: one more byte would be a violation.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.limit != u64::MAX && self.kept_bytes() >= self.limit
    }

    /// Whether more than the limit was written: the proof of the violation `output`.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_limit_is_no_violation_and_one_byte_more_is() {
        let cap = OutputCap::new(Some(10));
        assert_eq!((cap.allowance(4), cap.allowance(100)), (4, 11));
        assert_eq!(cap.took(4), 4);
        assert_eq!(cap.allowance(100), 7);
        assert_eq!(cap.took(6), 6);
        assert!(cap.is_full() && !cap.is_exceeded());
        assert_eq!(cap.allowance(100), 1);
        assert_eq!(cap.took(0), 0);
        assert!(!cap.is_exceeded());
        assert_eq!(cap.took(1), 0);
        assert!(cap.is_exceeded());
        assert_eq!((cap.allowance(100), cap.kept_bytes()), (0, 10));
    }

    #[test]
    fn a_read_across_the_limit_keeps_its_front() {
        let cap = OutputCap::new(Some(10));
        assert_eq!(cap.took(11), 10);
        assert!(cap.is_exceeded());
        assert_eq!(cap.kept_bytes(), 10);
    }

    #[test]
    fn none_lifts_the_limit() {
        let cap = OutputCap::new(None);
        assert_eq!(cap.took(usize::MAX), usize::MAX);
        assert_eq!(cap.allowance(65536), 1, "the count itself is at its end");
        let cap = OutputCap::new(None);
        assert_eq!(cap.took(1 << 30), 1 << 30);
        assert_eq!(cap.allowance(65536), 65536);
        assert!(!cap.is_full() && !cap.is_exceeded());
    }

    #[test]
    fn many_readers_keep_exactly_the_limit_together() {
        for limit in [0, 1, 99_999, 100_000] {
            let cap = OutputCap::new(Some(limit));
            let kept: usize = std::thread::scope(|scope| {
                let readers: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| (0..5_000).map(|_| cap.took(7)).sum::<usize>())).collect();
                readers.into_iter().map(|reader| reader.join().unwrap()).sum()
            });
            assert_eq!(kept as u64, limit);
            assert!(cap.is_exceeded());
        }
    }
}
