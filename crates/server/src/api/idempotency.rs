//! Requests that are sent twice and done once.
//!
//! A caller that names a key gets, for the same key and the same request, the answer of the first one: also when that is
//! still under way, and also when it failed after it may have done something. What was refused before anything was done may be
//! tried again. Keys are each caller's own, and are forgotten after a day and, oldest first, when there are too many.
//!
//! Answers live in memory, so that what a plugin has said is on no disk. The host keeps digests of the keys and how far their
//! requests came: a server that is started after one was killed refuses to do again what may have been done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ringfence::once::{ONCE_KEEP, ONCE_KEYS_MAX, OnceKey, OnceUse};
use ringfence::{Error, Host};
use ringfence_api::ErrorCode;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::asked::Asked;
use super::error::Failure;

/// What all kept answers together may take, in bytes.
const BYTES_MAX: usize = 64 << 20;
/// The header that names a key: 1 to 256 printable characters.
const HEADER: &str = "idempotency-key";

/// A key, and what it was used for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Who and which.
    id: (String, String),
    /// Of the whole request.
    digest: [u8; 32],
    unknown: Unknown,
}

/// What is done when a request was begun by a server that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is carried out: done twice it is the same as done once.
    Again,
    /// It is refused.
    Refuse,
}

impl Key {
    /// As the host keeps it.
    fn noted(&self) -> OnceKey {
        OnceKey::new(&self.id.0, &self.id.1, self.digest)
    }

    /// The key of a request, where it names one. `about` is what its path says.
    ///
    /// # Errors
    /// `usage` for one that cannot be used.
    pub(super) fn of<Q, B>(
        asked: &Asked<Q, B>,
        about: &str,
        body: &impl Serialize,
        unknown: Unknown,
    ) -> Result<Option<Self>, Failure> {
        let Some(key) = asked.header(HEADER)? else { return Ok(None) };
        let body = serde_json::to_vec(body).unwrap_or_default();
        let digest = Sha256::new_with_prefix(about).chain_update([0]).chain_update(&body).finalize();
        Ok(Some(Self { id: (asked.caller.actor.clone(), key.to_owned()), digest: digest.into(), unknown }))
    }
}

/// What came of a request: kept as the document that was answered, or as the failure.
type Outcome = Result<Arc<dyn std::any::Any + Send + Sync>, Refusal>;

/// A failure that everybody gets who waits for the same request.
#[derive(Debug)]
struct Refusal {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    /// Whether the same request with the same key may be tried again.
    again: bool,
}

impl Refusal {
    fn of(error: &Error, again: bool) -> Self {
        Self {
            code: error.code(),
            message: error.message().to_owned(),
            hint: error.hint().map(str::to_owned),
            again,
        }
    }
}

#[derive(Debug)]
struct Known {
    digest: [u8; 32],
    since: Instant,
    /// Of the answer.
    bytes: usize,
    outcome: Arc<OnceCell<Outcome>>,
}

/// The keys that are known.
#[derive(Debug)]
pub(crate) struct Keys {
    all: Mutex<HashMap<(String, String), Known>>,
    book: Book,
}

/// Where keys are noted, so that the next server knows them.
#[derive(Debug)]
enum Book {
    Host {
        host: Host,
        /// Calls that have ended since a request began last: what is lost of these with the server is not done again all the same.
        ended: Mutex<Vec<OnceKey>>,
    },
    #[cfg(test)]
    Nowhere,
}

impl Book {
    /// Notes that the request begins.
    ///
    /// # Errors
    /// What the host says; `conflict` when it may have been carried out before.
    async fn begin(&self, key: &Key) -> Result<(), Error> {
        let noted = match self {
            Self::Host { host, ended } => {
                let waiting = std::mem::take(&mut *ended.lock().unwrap_or_else(PoisonError::into_inner));
                let noted = host.begin_once(&key.noted(), waiting.clone()).await;
                if noted.is_err() {
                    ended.lock().unwrap_or_else(PoisonError::into_inner).extend(waiting);
                }
                noted?
            }
            #[cfg(test)]
            Self::Nowhere => OnceUse::First,
        };
        let message = match noted {
            OnceUse::First => return Ok(()),
            OnceUse::Begun if key.unknown == Unknown::Again => return Ok(()),
            OnceUse::Begun => {
                "this request was begun before and may have been carried out; its answer is not known any more"
            }
            OnceUse::Ended => "this request was carried out before; its answer is not known any more",
        };
        let hint = "look at what was done (`GET /api/v1/executions`, `GET /api/v1/plugins`); another key does it again";
        Err(Error::new(ErrorCode::Conflict, message).with_hint(hint))
    }

    /// Notes what came of it. What cannot be noted stays a request that may have been carried out.
    async fn end(&self, key: &Key, may_have_done: bool) {
        let noted = match self {
            Self::Host { host, .. } if !may_have_done => host.forget_once(&key.noted()).await,
            Self::Host { host, .. } if key.unknown == Unknown::Again => host.end_once(&key.noted()).await,
            Self::Host { ended, .. } => {
                // Whether it ended or not, it is not done again: no reason to write once more.
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(key.noted());
                Ok(())
            }
            #[cfg(test)]
            Self::Nowhere => Ok(()),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "what came of a request with an idempotency key is not noted");
        }
    }
}

impl Keys {
    /// Keys that the host keeps as well.
    pub(crate) fn kept_by(host: Host) -> Self {
        Self { all: Mutex::default(), book: Book::Host { host, ended: Mutex::default() } }
    }

    /// Does the work, or waits for the first who does it with this key.
    ///
    /// # Errors
    /// What the work says; `conflict` when the key was used for another request.
    pub(super) async fn once<T: Clone + Send + Sync + 'static>(
        &self,
        key: Option<Key>,
        bytes: fn(&T) -> usize,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let Some(key) = key else { return work.await.map_err(Failure::from) };
        let id = key.id.clone();
        let cell = self.cell(&key)?;
        let mut size = None;
        let outcome = cell
            .get_or_init(|| async {
                if let Err(error) = self.book.begin(&key).await {
                    // The book says it again, if it still holds.
                    return Err(Refusal::of(&error, true));
                }
                let done = work.await;
                size = done.as_ref().ok().map(bytes);
                let may_have_done = done.as_ref().map_or_else(|error| may_have_done(error.code()), |_| true);
                self.book.end(&key, may_have_done).await;
                done.map(|done| Arc::new(done) as Arc<dyn std::any::Any + Send + Sync>)
                    .map_err(|error| Refusal::of(&error, !may_have_done))
            })
            .await;
        if let Some(size) = size {
            self.weigh(&id, &cell, size);
        }
        match outcome {
            // The digest covers the kind of request, so the type is the one that was kept.
            Ok(done) => done
                .downcast_ref::<T>()
                .cloned()
                .ok_or_else(|| Failure::new(ErrorCode::Internal, "an answer of another kind was kept")),
            Err(refusal) => {
                if refusal.again {
                    self.forget(&id, &cell);
                }
                let failure = Failure::new(refusal.code, refusal.message.clone());
                Err(match &refusal.hint {
                    Some(hint) => failure.hint(hint.clone()),
                    None => failure,
                })
            }
        }
    }

    /// Notes how large a kept answer is, and forgets the oldest ones when all of them are too large.
    fn weigh(&self, id: &(String, String), cell: &Arc<OnceCell<Outcome>>, size: usize) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(id).filter(|known| Arc::ptr_eq(&known.outcome, cell)) {
            known.bytes = size;
        }
        while all.values().map(|known| known.bytes).sum::<usize>() > BYTES_MAX {
            if !evict(&mut all, &id.0) {
                return;
            }
        }
    }

    /// Forgets a key, unless it stands for other work by now.
    fn forget(&self, id: &(String, String), cell: &Arc<OnceCell<Outcome>>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(id).is_some_and(|known| Arc::ptr_eq(&known.outcome, cell)) {
            all.remove(id);
        }
    }

    fn cell(&self, key: &Key) -> Result<Arc<OnceCell<Outcome>>, Failure> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        all.retain(|_, known| now.saturating_duration_since(known.since) < ONCE_KEEP);
        if let Some(known) = all.get(&key.id) {
            if known.digest != key.digest {
                return Err(Failure::new(
                    ErrorCode::Conflict,
                    "this idempotency key was used for another request",
                ));
            }
            return Ok(Arc::clone(&known.outcome));
        }
        if all.len() >= ONCE_KEYS_MAX && !evict(&mut all, &key.id.0) {
            return Err(Failure::new(ErrorCode::Busy, "too many requests with keys are under way"));
        }
        let outcome = Arc::default();
        all.insert(
            key.id.clone(),
            Known { digest: key.digest, since: now, bytes: 0, outcome: Arc::clone(&outcome) },
        );
        Ok(outcome)
    }
}

/// Forgets the oldest answer: the caller's own, or, where it has none, anybody's. Gives whether there was one.
fn evict(all: &mut HashMap<(String, String), Known>, caller: &str) -> bool {
    let oldest = |own: bool| {
        all.iter()
            .filter(|(id, known)| known.outcome.initialized() && (!own || id.0 == caller))
            .min_by_key(|(_, known)| known.since)
            .map(|(id, _)| id.clone())
    };
    let found = oldest(true).or_else(|| oldest(false));
    found.and_then(|id| all.remove(&id)).is_some()
}

/// Whether something may have been done before this failure: all but those that are raised before anything is.
fn may_have_done(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::Usage
            | ErrorCode::InvalidPermission
            | ErrorCode::LimitInvalid
            | ErrorCode::InvalidManifest
            | ErrorCode::InvalidPackage
            | ErrorCode::PathNotFound
            | ErrorCode::ConsentRequired
            | ErrorCode::AlreadyInstalled
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    fn key(who: &str, name: &str, request: u8) -> Option<Key> {
        Some(Key { id: (who.to_owned(), name.to_owned()), digest: [request; 32], unknown: Unknown::Refuse })
    }

    fn nowhere() -> Keys {
        Keys { all: Mutex::default(), book: Book::Nowhere }
    }

    #[tokio::test]
    async fn what_is_sent_twice_is_done_once_and_answered_twice() {
        let (keys, done) = (nowhere(), AtomicU32::new(0));
        let work = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(done.fetch_add(1, Ordering::SeqCst))
        };
        let (first, second) = tokio::join!(
            keys.once(key("a", "k", 1), |_| 0, work()),
            keys.once(key("a", "k", 1), |_| 0, work())
        );
        assert_eq!((first.unwrap(), second.unwrap()), (0, 0));
        assert_eq!(keys.once(key("a", "k", 1), |_| 0, work()).await.unwrap(), 0);
        // Somebody else's key, another key, and none: each does it.
        assert_eq!(keys.once(key("b", "k", 1), |_| 0, work()).await.unwrap(), 1);
        assert_eq!(keys.once(key("a", "l", 1), |_| 0, work()).await.unwrap(), 2);
        assert_eq!(keys.once(None, |_| 0, work()).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn another_request_with_the_same_key_is_refused_and_a_failure_is_kept() {
        let keys = nowhere();
        let fails = |code| async move { Err::<(), _>(Error::new(code, "no").with_hint("later")) };
        let works = || async { Ok(()) };
        let failed = keys.once(key("a", "k", 1), |_| 0, fails(ErrorCode::PluginFailed)).await.unwrap_err();
        assert_eq!(failed.error.code(), ErrorCode::PluginFailed);
        let again = keys.once(key("a", "k", 1), |_| 0, works()).await.unwrap_err().error;
        assert_eq!((again.code(), again.hint()), (ErrorCode::PluginFailed, Some("later")));
        // Nothing was done: the same key works when it is tried again.
        assert!(keys.once(key("a", "asked", 1), |_| 0, fails(ErrorCode::ConsentRequired)).await.is_err());
        assert!(keys.once(key("a", "asked", 1), |_| 0, works()).await.is_ok());
        assert_eq!(
            keys.once(key("a", "k", 2), |_| 0, works()).await.unwrap_err().error.code(),
            ErrorCode::Conflict
        );
    }

    #[tokio::test]
    async fn answers_are_bounded_in_bytes_and_each_callers_own_go_first() {
        let keys = nowhere();
        let large = |_: &()| BYTES_MAX / 2;
        keys.once(key("admin", "install", 1), |_| 100, async { Ok(()) }).await.unwrap();
        for number in 0..5 {
            keys.once(key("a", &number.to_string(), 1), large, async { Ok(()) }).await.unwrap();
        }
        let all = keys.all.lock().unwrap();
        assert!(all.values().map(|known| known.bytes).sum::<usize>() <= BYTES_MAX);
        assert!(all.contains_key(&("admin".to_owned(), "install".to_owned())));
    }

    #[tokio::test]
    async fn keys_are_bounded_and_the_oldest_goes_first() {
        let keys = nowhere();
        for number in 0..=ONCE_KEYS_MAX {
            keys.once(key("a", &number.to_string(), 1), |_| 0, async { Ok(()) }).await.unwrap();
        }
        let all = keys.all.lock().unwrap();
        assert_eq!(all.len(), ONCE_KEYS_MAX);
        assert!(!all.contains_key(&("a".to_owned(), "0".to_owned())));
    }
}
