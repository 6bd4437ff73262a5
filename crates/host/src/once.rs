//! Requests that must not be carried out twice, though whoever sends them does not know whether they were.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// How long it is known that a key was used.
pub const ONCE_KEEP: Duration = Duration::from_secs(24 * 3600);
/// Keys that are known at most; the caller's own oldest one goes first.
pub const ONCE_KEYS_MAX: usize = 4_096;

/// The key of one request of one caller.
///
/// ```
/// use ringfence::once::OnceKey;
/// let (first, again) = (OnceKey::new("ada", "k1", [7; 32]), OnceKey::new("ada", "k1", [7; 32]));
/// assert_eq!(first, again);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OnceKey {
    pub(crate) caller: [u8; 32],
    pub(crate) key: [u8; 32],
    pub(crate) request: [u8; 32],
}

impl OnceKey {
    /// What a caller named `key`, for the request with this digest. Of caller and key only digests are kept.
    #[must_use]
    pub fn new(caller: &str, key: &str, request: [u8; 32]) -> Self {
        Self { caller: Sha256::digest(caller).into(), key: Sha256::digest(key).into(), request }
    }
}

/// What is known of a key, in this process and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnceUse {
    /// Nothing until now; from now on that its request has begun.
    First,
    /// The request was begun, and nobody has noted that it ended: it may have been carried out, in whole or in part.
    Begun,
    /// The request has ended, done or failed.
    Ended,
}
