//! Requests that are carried out once: what is known of their keys.

use super::Host;
use crate::Error;
use crate::once::{OnceKey, OnceUse};

impl Host {
    /// Notes that a request with this key begins, and gives what was known of it. In the same step it notes that those of `ended`
    /// have ended, which costs nothing more; they need no [`Host::end_once`]. A [`OnceUse::First`] is kept from the end
    /// of this process, and not from a power cut, before this returns: no later process takes the request for a new one; what comes of it is noted by [`Host::end_once`].
    ///
    /// # Errors
    /// `conflict` when the key was used for another request; `busy` when [`ONCE_KEYS_MAX`](crate::once::ONCE_KEYS_MAX) requests
    /// with keys are under way; `io` and `busy` of the store. Then nothing was noted.
    ///
    /// # Cancel safety
    /// Dropped, the key may be noted.
    pub async fn begin_once(&self, key: &OnceKey, ended: Vec<OnceKey>) -> Result<OnceUse, Error> {
        let key = key.clone();
        self.context().store.run(move |store| store.begin_once(key, ended)).await
    }

    /// Notes that the request has ended, done or failed.
    ///
    /// # Errors
    /// `io` and `busy` of the store. Then the request stays one of which nobody knows how it ended.
    ///
    /// # Cancel safety
    /// Dropped, it goes on to its end.
    pub async fn end_once(&self, key: &OnceKey) -> Result<(), Error> {
        let key = key.clone();
        self.context().store.run(move |store| store.end_once(key)).await
    }

    /// Forgets a key whose request was refused before anything was done for it.
    ///
    /// # Errors
    /// `io` and `busy` of the store. Then the key stays one of a request that may have been carried out.
    ///
    /// # Cancel safety
    /// Dropped, it goes on to its end.
    pub async fn forget_once(&self, key: &OnceKey) -> Result<(), Error> {
        let key = key.clone();
        self.context().store.run(move |store| store.forget_once(key)).await
    }
}
