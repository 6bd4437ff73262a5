//! How long a stream may go on: as long as the token that opened it holds, whoever takes it back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringfence::Host;
use ringfence::token::TokenId;
use tokio::sync::watch;

/// How often tokens with open streams are looked at. One that is taken back by another process ends them within this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// On what a request rests, for what goes on after it was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// Its token; `None`: the daemon's own user.
    pub(crate) token: Option<TokenId>,
    /// The session of the dashboard through which it came.
    pub(crate) session: Option<SessionLease>,
    /// The daemon's own user, at its socket.
    pub(crate) owner: Option<u32>,
}

/// A session of the dashboard.
#[derive(Clone, Debug)]
pub(crate) struct SessionLease {
    /// Which one.
    pub(crate) number: u64,
    /// Its sender is gone when it has ended.
    pub(crate) ended: watch::Receiver<()>,
}

impl Lease {
    pub(super) const fn of(token: Option<TokenId>) -> Self {
        Self { token, session: None, owner: None }
    }
}

/// The tokens whose streams are open.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    watched: Mutex<HashMap<TokenId, watch::Sender<bool>>>,
}

/// One stream's end, if it is to end before its client does.
#[derive(Debug)]
pub(super) struct Ended {
    token: Option<watch::Receiver<bool>>,
    session: Option<watch::Receiver<()>>,
}

impl Ended {
    /// Ready when the token holds no more, or the session has ended; never for what needs neither. Cancel safe.
    pub(super) async fn wait(&mut self) {
        let token = async {
            match &mut self.token {
                // Whoever could tell is gone: so is the server.
                Some(ended) => drop(ended.wait_for(|ended| *ended).await.is_ok()),
                None => std::future::pending().await,
            }
        };
        let session = async {
            match &mut self.session {
                Some(session) => while session.changed().await.is_ok() {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = token => {}
            () = session => {}
        }
    }
}

impl Leases {
    /// Watches a token from now on.
    pub(super) fn take(&self, lease: &Lease) -> Ended {
        let session = lease.session.as_ref().map(|session| session.ended.clone());
        let Some(id) = &lease.token else { return Ended { token: None, session } };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watched.entry(id.clone()).or_insert_with(|| watch::Sender::new(false));
        Ended { token: Some(known.subscribe()), session }
    }

    /// Tells the streams of tokens that hold no more.
    pub(super) async fn watch(&self, host: &Host) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.forget();
            if self.is_empty() {
                continue;
            }
            // Where nobody can tell which tokens hold, none does.
            let held = host.tokens().await.unwrap_or_default();
            let holds = |id: &TokenId| held.iter().any(|token| token.id == *id && !token.expired);
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.retain(|id, ended| {
                let goes_on = holds(id);
                if !goes_on {
                    ended.send_replace(true);
                }
                goes_on
            });
        }
    }

    /// Forgets tokens without streams.
    fn forget(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, ended| ended.receiver_count() > 0);
    }

    fn is_empty(&self) -> bool {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
