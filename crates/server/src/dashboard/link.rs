//! One-time links: an address that signs in whoever opens it first, soon.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfence::token::{TokenText, secret};
use ringfence_api::ErrorCode;
use sha2::{Digest as _, Sha256};

use crate::api::{DashboardLink, Failure};

/// How long a link can be used.
pub(crate) const LINK_LIFE: Duration = Duration::from_secs(120);
/// Links that wait to be opened; above that, the oldest opens nothing any more.
pub(crate) const LINKS_MAX: usize = 32;

#[derive(Debug)]
struct Link {
    digest: [u8; 32],
    uid: u32,
    made: Instant,
}

/// The links that were made and not opened yet.
#[derive(Debug)]
pub(crate) struct Links {
    /// Where a browser reaches the server.
    origin: Option<String>,
    waiting: Mutex<VecDeque<Link>>,
}

impl Links {
    pub(crate) fn new(origin: Option<String>) -> Self {
        Self { origin, waiting: Mutex::default() }
    }

    /// Makes one for a user of the machine.
    ///
    /// # Errors
    /// `not_supported` where no browser can reach the server; `io` without random numbers.
    pub(crate) fn create(&self, uid: u32) -> Result<DashboardLink, Failure> {
        let Some(origin) = &self.origin else {
            let message = "a browser cannot reach the daemon: it listens on its socket alone";
            return Err(Failure::new(ErrorCode::NotSupported, message)
                .hint("start it with an address: ringfence serve --listen 127.0.0.1:7700"));
        };
        let code = self.create_at(uid, Instant::now())?;
        Ok(DashboardLink {
            url: format!("{origin}{}?code={}", super::LINK_PATH, code.reveal()),
            expires_in_s: LINK_LIFE.as_secs(),
        })
    }

    fn create_at(&self, uid: u32, now: Instant) -> Result<TokenText, ringfence::Error> {
        let code = secret()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= LINKS_MAX {
            waiting.pop_front();
        }
        waiting.push_back(Link { digest: digest(code.reveal()), uid, made: now });
        Ok(code)
    }

    /// Uses one up, and gives the user that it is for; `None` when it opens nothing.
    pub(crate) fn take(&self, code: &str) -> Option<u32> {
        self.take_at(code, Instant::now())
    }

    fn take_at(&self, code: &str, now: Instant) -> Option<u32> {
        // Digests of what nobody can guess: comparing them tells nothing.
        let digest = digest(code);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|link| now.saturating_duration_since(link.made) < LINK_LIFE);
        let at = waiting.iter().position(|link| link.digest == digest)?;
        waiting.remove(at).map(|link| link.uid)
    }
}

fn digest(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_once_soon_and_nothing_else_does() {
        let (links, now) = (Links::new(None), Instant::now());
        let code = links.create_at(7, now).unwrap();
        assert_eq!(links.take_at("0", now), None);
        assert_eq!(links.take_at(code.reveal(), now), Some(7));
        assert_eq!(links.take_at(code.reveal(), now), None);
        let late = links.create_at(7, now).unwrap();
        assert_eq!(links.take_at(late.reveal(), now + LINK_LIFE), None);
        let codes: Vec<TokenText> = (0..=LINKS_MAX).map(|_| links.create_at(7, now).unwrap()).collect();
        assert_eq!(links.take_at(codes[0].reveal(), now), None);
        assert_eq!(links.take_at(codes[1].reveal(), now), Some(7));
    }

    #[test]
    fn without_an_address_there_is_no_link() {
        assert_eq!(Links::new(None).create(0).unwrap_err().error.code(), ErrorCode::NotSupported);
        let link = Links::new(Some("http://127.0.0.1:7700".to_owned())).create(0).unwrap();
        assert!(link.url.starts_with("http://127.0.0.1:7700/dashboard/open?code="), "{}", link.url);
    }
}
