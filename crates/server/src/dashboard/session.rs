//! Sessions of people: who has signed in, for how long, and until when.
//!
//! They live on the server, in memory: a cookie is only the key to one. A session never outlives what it was opened with, as
//! that is looked at with each request. Only digests of keys are kept, so looking one up tells nothing about another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence::Error;
use ringfence::token::{TokenId, TokenText, secret};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

/// How long a session goes on without a request.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(3_600);
/// How long it goes on at all.
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Sessions at once; above that, the one that was used longest ago ends.
pub(crate) const SESSIONS_MAX: usize = 1_024;
/// Sessions at once of one token, or of the daemon's own user.
pub(crate) const SESSIONS_OF_ONE_MAX: usize = 16;

/// With what somebody has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// A token.
    Token(TokenId),
    /// A one-time link that this user of the machine made.
    Link {
        /// The user.
        uid: u32,
    },
}

/// Who sends a request in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Somebody who is there: the session is used.
    Person,
    /// A page that looks again by itself: it keeps no session alive.
    Script,
}

/// What a browser says of itself is kept up to this, in characters.
const AGENT_MAX_CHARS: usize = 300;

/// What a page says about the act before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) kind: NoticeKind,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeKind {
    /// It was done.
    Done,
    /// It was done, and something about it is to be looked at.
    Warning,
}

/// What names a session inside: the digest of its key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId([u8; 32]);

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId")
    }
}

/// A session that holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: SessionId,
    /// What it is called in lists.
    pub(crate) number: u64,
    pub(crate) opener: Opener,
    /// What each of its forms carries.
    pub(crate) csrf: TokenText,
    /// Its sender goes with the session.
    pub(crate) ended: watch::Receiver<()>,
}

impl Held {
    /// Whether a form is one of this session's; how long it takes does not depend on how much of it is right.
    pub(crate) fn has_made(&self, given: &str) -> bool {
        self.csrf.reveal().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// From where somebody has signed in, so that they know a session of theirs again. Nothing is judged by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whence {
    /// The address of whoever connected: of a reverse proxy, where there is one.
    pub(crate) address: Option<IpAddr>,
    /// What the browser says that it is.
    pub(crate) agent: String,
}

impl Whence {
    pub(crate) fn new(address: Option<IpAddr>, agent: &str) -> Self {
        Self { address, agent: agent.chars().take(AGENT_MAX_CHARS).collect() }
    }
}

/// A session as a list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// What it is called in the list; it opens nothing.
    pub(crate) number: u64,
    pub(crate) opener: Opener,
    pub(crate) whence: Whence,
    /// How long ago it was begun.
    pub(crate) age: Duration,
    /// How long ago somebody used it.
    pub(crate) unused: Duration,
}

#[derive(Debug)]
struct Session {
    number: u64,
    opener: Opener,
    whence: Whence,
    csrf: TokenText,
    begun: Instant,
    used: Instant,
    notice: Option<Notice>,
    ended: watch::Sender<()>,
}

impl Session {
    fn holds(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) < LIFE_MAX
            && now.saturating_duration_since(self.used) < IDLE_MAX
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<SessionId, Session>>,
    /// How many there have ever been: the number of the last one.
    count: AtomicU64,
}

impl Sessions {
    /// Begins one, and gives the key to it: the only time that it is known.
    ///
    /// # Errors
    /// `io` without random numbers.
    pub(crate) fn begin(&self, opener: Opener, whence: Whence) -> Result<TokenText, Error> {
        self.begin_at(opener, whence, Instant::now())
    }

    fn begin_at(&self, opener: Opener, whence: Whence, now: Instant) -> Result<TokenText, Error> {
        let (key, csrf) = (secret()?, secret()?);
        let number = self.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let ended = watch::Sender::new(());
        let session = Session { number, opener, whence, csrf, begun: now, used: now, notice: None, ended };
        let mut all = self.lock();
        all.retain(|_, session| session.holds(now));
        let of_one = all.values().filter(|known| known.opener == session.opener).count();
        if of_one >= SESSIONS_OF_ONE_MAX {
            end_oldest(&mut all, |known| known.opener == session.opener);
        }
        if all.len() >= SESSIONS_MAX {
            end_oldest(&mut all, |_| true);
        }
        all.insert(id_of(key.reveal()), session);
        Ok(key)
    }

    /// The session that a key is for.
    pub(crate) fn open(&self, key: &str, by: By) -> Option<Held> {
        self.open_at(key, by, Instant::now())
    }

    fn open_at(&self, key: &str, by: By, now: Instant) -> Option<Held> {
        let id = id_of(key);
        let mut all = self.lock();
        if all.get(&id).is_some_and(|session| !session.holds(now)) {
            all.remove(&id);
        }
        let session = all.get_mut(&id)?;
        if by == By::Person {
            session.used = now;
        }
        Some(Held {
            id,
            number: session.number,
            opener: session.opener.clone(),
            csrf: session.csrf.clone(),
            ended: session.ended.subscribe(),
        })
    }

    /// Ends one, with all its streams.
    pub(crate) fn end(&self, id: SessionId) {
        self.lock().remove(&id);
    }

    /// Those that `of` is true of, the last used first.
    pub(crate) fn list(&self, of: impl Fn(&Opener) -> bool) -> Vec<Known> {
        let now = Instant::now();
        let all = self.lock();
        let holds = all.values().filter(|session| session.holds(now) && of(&session.opener));
        let mut known: Vec<Known> = holds
            .map(|session| Known {
                number: session.number,
                opener: session.opener.clone(),
                whence: session.whence.clone(),
                age: now.saturating_duration_since(session.begun),
                unused: now.saturating_duration_since(session.used),
            })
            .collect();
        known.sort_by_key(|session| (session.unused, std::cmp::Reverse(session.number)));
        known
    }

    /// Ends those that `which` is true of, with all their streams; how many there were.
    pub(crate) fn end_all(&self, which: impl Fn(u64, &Opener) -> bool) -> usize {
        let mut all = self.lock();
        let before = all.len();
        all.retain(|_, session| !which(session.number, &session.opener));
        before - all.len()
    }

    /// Ends those that have gone on for too long, with their streams.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, session| session.holds(now));
    }

    /// Leaves a notice for the next page.
    pub(crate) fn leave(&self, id: SessionId, notice: Notice) {
        if let Some(session) = self.lock().get_mut(&id) {
            session.notice = Some(notice);
        }
    }

    /// Takes the notice that was left.
    pub(crate) fn take_notice(&self, id: SessionId) -> Option<Notice> {
        self.lock().get_mut(&id).and_then(|session| session.notice.take())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_oldest(all: &mut HashMap<SessionId, Session>, of: impl Fn(&Session) -> bool) {
    let oldest =
        all.iter().filter(|(_, known)| of(known)).min_by_key(|(_, known)| known.used).map(|(id, _)| *id);
    if let Some(oldest) = oldest {
        all.remove(&oldest);
    }
}

fn id_of(key: &str) -> SessionId {
    SessionId(Sha256::digest(key.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Opener {
        Opener::Link { uid: 0 }
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it_and_at_the_end_of_its_life() {
        let (sessions, begun) = (Sessions::default(), Instant::now());
        let key = sessions.begin_at(link(), Whence::default(), begun).unwrap();
        let step = IDLE_MAX - Duration::from_secs(1);
        let mut now = begun;
        while now + step < begun + LIFE_MAX {
            now += step;
            assert!(sessions.open_at(key.reveal(), By::Person, now).is_some(), "{:?}", now - begun);
        }
        assert!(
            sessions.open_at(key.reveal(), By::Person, begun + LIFE_MAX).is_none(),
            "however often it is used"
        );
        let key = sessions.begin_at(link(), Whence::default(), begun).unwrap();
        assert!(sessions.open_at(key.reveal(), By::Person, begun + IDLE_MAX).is_none());
        assert!(sessions.open_at(key.reveal(), By::Person, begun).is_none(), "what has ended stays so");
        let key = sessions.begin_at(link(), Whence::default(), begun).unwrap();
        assert!(sessions.open_at(key.reveal(), By::Script, begun + step).is_some());
        let idle = begun + IDLE_MAX;
        assert!(
            sessions.open_at(key.reveal(), By::Person, idle).is_none(),
            "no page keeps it alive by itself"
        );
    }

    #[tokio::test]
    async fn its_end_ends_what_waits_for_it() {
        let sessions = Sessions::default();
        let key = sessions.begin(link(), Whence::default()).unwrap();
        let mut held = sessions.open(key.reveal(), By::Person).unwrap();
        assert!(held.ended.has_changed().is_ok());
        sessions.end(held.id);
        assert!(held.ended.changed().await.is_err());
        assert!(sessions.open(key.reveal(), By::Person).is_none());
    }

    #[test]
    fn forms_are_one_sessions_alone() {
        let sessions = Sessions::default();
        let keys = [
            sessions.begin(link(), Whence::default()).unwrap(),
            sessions.begin(link(), Whence::default()).unwrap(),
        ];
        let held = keys.map(|key| sessions.open(key.reveal(), By::Person).unwrap());
        let [one, other] = &held;
        assert!(one.has_made(one.csrf.reveal()));
        assert!(!one.has_made(other.csrf.reveal()));
        assert!(!one.has_made(""));
        assert!(sessions.open(one.csrf.reveal(), By::Person).is_none(), "what a form carries opens nothing");
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_of_the_same_token_goes_first() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let other = sessions.begin_at(Opener::Link { uid: 1 }, Whence::default(), now).unwrap();
        let keys: Vec<TokenText> = (0..=SESSIONS_OF_ONE_MAX)
            .map(|number| {
                sessions
                    .begin_at(link(), Whence::default(), now + Duration::from_secs(number as u64))
                    .unwrap()
            })
            .collect();
        let holds = |key: &TokenText| sessions.open_at(key.reveal(), By::Person, now).is_some();
        assert!(!holds(&keys[0]));
        assert!(holds(&keys[1]) && holds(&keys[SESSIONS_OF_ONE_MAX]) && holds(&other));
        for uid in 2..2 + u32::try_from(SESSIONS_MAX).unwrap() {
            sessions
                .begin_at(Opener::Link { uid }, Whence::default(), now + Duration::from_secs(60))
                .unwrap();
        }
        assert_eq!(sessions.lock().len(), SESSIONS_MAX);
    }

    #[test]
    fn a_list_has_those_that_hold_and_one_of_them_is_ended_by_its_number() {
        let (sessions, begun) = (Sessions::default(), Instant::now());
        let keys = [link(), link(), Opener::Link { uid: 1 }]
            .map(|opener| sessions.begin_at(opener, Whence::new(None, &"x".repeat(999)), begun).unwrap());
        let of_root = |opener: &Opener| *opener == link();
        let listed = sessions.list(of_root);
        assert_eq!(listed.iter().map(|known| known.number).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(listed[0].whence.agent.len(), AGENT_MAX_CHARS);
        assert_eq!(sessions.list(|_| true).len(), 3);
        assert_eq!(sessions.end_all(|number, opener| number == 3 && of_root(opener)), 0, "of somebody else");
        assert_eq!(sessions.end_all(|number, opener| number == 1 && of_root(opener)), 1);
        let holds = keys.map(|key| sessions.open_at(key.reveal(), By::Person, begun).is_some());
        assert_eq!(holds, [false, true, true]);
    }

    #[test]
    fn a_notice_is_shown_once() {
        let sessions = Sessions::default();
        let held =
            sessions.open(sessions.begin(link(), Whence::default()).unwrap().reveal(), By::Person).unwrap();
        let notice = Notice { kind: NoticeKind::Done, text: "done".to_owned() };
        sessions.leave(held.id, notice.clone());
        assert_eq!(sessions.take_notice(held.id), Some(notice));
        assert_eq!(sessions.take_notice(held.id), None);
    }
}
