//! Tokens: made, listed, revoked, and checked for each request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Host;
use crate::Error;
use crate::clock::now_ms;
use crate::store::same;
use crate::token::{CreatedToken, Given, NewToken, TOKENS_MAX, TokenId, TokenInfo, info, make};

/// How often the use of a token is written down at most.
pub const TOKEN_USE_EVERY: Duration = Duration::from_secs(60);

/// When the use of each token was written down last, so that requests at the same time do not all do it.
#[derive(Debug, Default)]
pub(super) struct TokenUses {
    noted: Mutex<HashMap<TokenId, Instant>>,
}

impl TokenUses {
    /// Whether it is time to write it down; then it counts as written.
    fn is_due(&self, id: &TokenId) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(id).is_some_and(|at| at.elapsed() < TOKEN_USE_EVERY) {
            return false;
        }
        if noted.len() >= TOKENS_MAX {
            // Tokens that are gone; what is forgotten here is only written once more.
            noted.clear();
        }
        noted.insert(id.clone(), Instant::now());
        true
    }
}

impl Host {
    /// Makes a token. Its text is in the answer and nowhere else: what is kept is a digest of it. The token is on the disk,
    /// with its audit record, before this returns.
    ///
    /// # Errors
    /// `usage` for a life of nothing or of more than 100 years, and for a description of more than 200 bytes; `not_found`
    /// without the plugin that it is for; `quota` above [`TOKENS_MAX`] tokens; `io` and `busy` of the
    /// store.
    ///
    /// # Cancel safety
    /// Dropped, there may be a token that nobody knows: revoke it.
    pub async fn create_token(&self, token: NewToken) -> Result<CreatedToken, Error> {
        let by = self.actor();
        let (text, row) = make(token, by.name(), now_ms())?;
        let store = self.context().store.clone();
        let kept = row.clone();
        store.run(move |store| store.add_token(kept, &by)).await?;
        Ok(CreatedToken { token: text, info: info(row, now_ms()) })
    }

    /// All tokens, the oldest first. One that has expired is listed for 30 days.
    ///
    /// # Errors
    /// `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, Error> {
        let store = self.context().store.clone();
        let rows = store.run(|store| store.tokens()).await?;
        let now = now_ms();
        Ok(rows.into_iter().map(|row| info(row, now)).collect())
    }

    /// What a token opens now, by its id: for whoever has shown it before, such as a session. `None` when it opens nothing any
    /// more. Nothing is noted as a use.
    ///
    /// # Errors
    /// `io`, `busy` of the store: then nothing may be opened either.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn token(&self, id: &TokenId) -> Result<Option<TokenInfo>, Error> {
        let (store, id) = (self.context().store.clone(), id.clone());
        let found = store.run(move |store| store.token(id.as_str())).await?;
        Ok(found.map(|row| info(row, now_ms())).filter(|info| !info.expired))
    }

    /// Takes a token out of the world: from now on it opens nothing, in whatever process of this home it is shown. On the disk,
    /// with its audit record, before this returns.
    ///
    /// # Errors
    /// `not_found`; `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Dropped, it is revoked or it is not.
    pub async fn revoke_token(&self, id: &TokenId) -> Result<(), Error> {
        let (store, id, by) = (self.context().store.clone(), id.clone(), self.actor());
        store.run(move |store| store.revoke_token(id.as_str(), &by)).await
    }

    /// What a token opens; `None` when it opens nothing: it is no token, is not known, has expired, was revoked, or was written
    /// by hand. Which of them it is nobody is told, and how long it takes does not depend on how much of the secret is right.
    /// The use is noted, once a minute at most, and not waited for.
    ///
    /// # Errors
    /// `io`, `busy` of the store: then nothing may be opened either.
    ///
    /// # Cancel safety
    /// Changes nothing that anything depends on.
    pub async fn check_token(&self, text: &str) -> Result<Option<TokenInfo>, Error> {
        let Some(given) = Given::parse(text) else { return Ok(None) };
        let (store, id) = (self.context().store.clone(), given.id.clone());
        let found = store.run(move |store| store.token(id.as_str())).await?;
        let now = now_ms();
        // Time tells nothing of the secret, twice over. It was digested whole before anything was compared, so how far two digests
        // agree says nothing of how far two secrets do: who guesses cannot choose a digest. And the digests are compared in a time
        // that does not depend on where they differ. The row is found by the id, which is no secret. `cargo xtask soak token`
        // measures it.
        let Some(row) = found.filter(|row| same(&row.digest, &given.digest)) else { return Ok(None) };
        let info = info(row, now);
        if info.expired {
            return Ok(None);
        }
        if self.inner.token_uses.is_due(&info.id) {
            let (store, id) = (self.context().store.clone(), given.id);
            // Nobody waits for it, and a use that is not noted harms nobody.
            tokio::task::spawn_blocking(move || {
                if let Err(error) = store.token_used(id.as_str(), now) {
                    tracing::warn!(token = %id, error = %error.chain(), "the use of a token was not noted");
                }
            });
        }
        Ok(Some(info))
    }
}
