//! To what a refusal belongs, and how listeners are told of many.
//!
//! A refusal of the host belongs to the call that the plugin names, or else to the one call that it had. The sandbox tells of a
//! refusal before the plugin gets its answer, but not in which call it was: where the plugin had exactly one call since it was
//! last looked, it was that one or none; where it had several, they are named as possible ones, and where it had none the refusal
//! belongs to the start.

use std::sync::{Arc, Mutex, PoisonError};

use ringfence_api::Denial;

use super::monitor::Moment;
use crate::event::EventKind;
use crate::rpc::{Calls, Connection, IncomingRequest};
use crate::store::{Kind, Ledger, Refused, Room, Told};

/// How long equal refusals are told to listeners together, in milliseconds.
const TOLD_WINDOW_MS: i64 = 1_000;

impl Refused {
    /// A refusal within a known call.
    pub(crate) fn within(denial: Denial, call: &str) -> Self {
        let correlation_id: Arc<str> = call.into();
        Self { denial, request: Arc::clone(&correlation_id), correlation_id, possible_calls: Vec::new() }
    }

    /// A refusal of a request of the plugin.
    pub(crate) fn of_request(denial: Denial, asked: &IncomingRequest) -> Self {
        match asked.within_call {
            true => Self::within(denial, &asked.correlation_id),
            // Its own id is a new one each time, which tells no two apart.
            false => Self::of_calls(denial, &asked.calls, &asked.correlation_id),
        }
    }

    /// A refusal that belongs to one of these calls, or to none; then to this id.
    pub(crate) fn of_calls(denial: Denial, calls: &Calls, otherwise: &str) -> Self {
        if let Some(only) = calls.only() {
            return Self::within(denial, only);
        }
        // Whoever looks for one of these calls finds it.
        let request = calls.ids.join(" ").into();
        Self { denial, correlation_id: otherwise.into(), request, possible_calls: calls.ids.clone() }
    }
}

/// Which calls a plugin had around the refusals that its sandbox tells of.
#[derive(Debug)]
pub(super) struct Around {
    connection: Arc<std::sync::OnceLock<Connection>>,
    run: Arc<str>,
    /// At the last look.
    calls: Calls,
}

impl Around {
    pub(super) fn new(connection: Arc<std::sync::OnceLock<Connection>>, run: Arc<str>) -> Self {
        Self { connection, run, calls: Calls::default() }
    }

    /// It is looked for refusals.
    pub(super) fn look(&mut self) {
        self.calls = self.connection.get().map(Connection::calls_since_last_asked).unwrap_or_default();
    }

    /// What a refusal belongs to that this look has found.
    pub(super) fn refused(&self, denial: Denial, moment: Moment) -> Refused {
        let mut calls = Calls::default();
        if moment == Moment::SinceLook {
            calls.join(&self.calls);
            // A call that began after the look, and was refused something before that was read.
            calls.join(&self.connection.get().map(Connection::recent_calls).unwrap_or_default());
        }
        Refused::of_calls(denial, &calls, &self.run)
    }
}

/// A denial with as much of its texts as a record keeps.
pub(super) fn bounded(denial: Denial) -> Denial {
    let Denial { warning, location, .. } = denial.clone();
    Denial { warning, location, ..Kind::of(&denial).denial(denial.count) }
}

/// What listeners were told of the refusals of one run.
#[derive(Debug)]
pub(crate) struct ToldDenials {
    ledger: Mutex<Ledger>,
}

impl Default for ToldDenials {
    fn default() -> Self {
        Self { ledger: Mutex::new(Ledger::new(TOLD_WINDOW_MS)) }
    }
}

impl ToldDenials {
    /// Tells a refusal, or counts it until the second is over.
    pub(super) fn note(&self, refused: &Refused, mut tell: impl FnMut(Option<String>, EventKind)) {
        let mut left = Vec::new();
        let at_ms = crate::clock::now_ms();
        let told = self.lock().note(&refused.denial, &refused.request, at_ms, Room::Free, &mut left);
        for counted in left {
            tell(None, summary(counted.kind.denial(counted.count)));
        }
        if let Told::Singly(_) = told {
            let possible_calls = refused.possible_calls.clone();
            let kind = EventKind::Denial { denial: refused.denial.clone(), possible_calls };
            tell(Some(refused.correlation_id.to_string()), kind);
        }
    }

    /// Tells what was counted.
    pub(super) fn take(&self, mut tell: impl FnMut(Option<String>, EventKind)) {
        let mut counted = Vec::new();
        self.lock().take(&mut counted);
        for counted in counted {
            tell(None, summary(counted.kind.denial(counted.count)));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn summary(denial: Denial) -> EventKind {
    EventKind::Denial { denial, possible_calls: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial() -> Denial {
        Denial { count: 1, ..Denial::new("seccomp", "ptrace") }
    }

    fn calls(ids: &[&str]) -> Calls {
        Calls { ids: ids.iter().map(|id| (*id).to_owned()).collect(), more: false }
    }

    #[test]
    fn one_call_is_certain_several_are_possible_and_none_is_the_start() {
        let of = |calls: &Calls| {
            let refused = Refused::of_calls(denial(), calls, "start");
            (refused.correlation_id.to_string(), refused.possible_calls)
        };
        assert_eq!(of(&calls(&["a"])), ("a".to_owned(), vec![]));
        assert_eq!(of(&calls(&["a", "b"])), ("start".to_owned(), vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(of(&calls(&[])), ("start".to_owned(), vec![]));
        let some = Calls { more: true, ..calls(&["a"]) };
        assert_eq!(of(&some), ("start".to_owned(), vec!["a".to_owned()]), "not all are known");
    }

    #[test]
    fn listeners_add_up_to_what_was_refused() {
        let told = ToldDenials::default();
        let (mut sum, mut events) = (0, 0);
        let mut tell = |_, kind| {
            if let EventKind::Denial { denial, .. } = kind {
                (sum, events) = (sum + denial.count, events + 1);
            }
        };
        for number in 0..5_000_u64 {
            let object = format!("/{}", number % 300);
            let refused = Refused::of_calls(Denial { object, ..denial() }, &Calls::default(), "start");
            told.note(&refused, &mut tell);
        }
        told.take(&mut tell);
        assert_eq!(sum, 5_000);
        assert!(events < 1_500, "{events}");
    }
}
