//! Which calls wait for an answer: finds the call of an answer, and knows a late answer from a second one.
//!
//! Each call has a slot; its id is `generation * slots + slot`. A slot is used again with the next generation, so an id is
//! never used twice, and what became of the last call of a slot says what a stray answer is.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use serde_json::value::RawValue;

use super::error::CallError;
use super::fault::FaultKind;

/// What came of a call.
pub(super) type Outcome = Result<Box<RawValue>, CallError>;

#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: VecDeque<usize>,
    /// When the connection's timer will go off; no call has an earlier deadline.
    armed: Option<Instant>,
    closed: bool,
    /// Correlation ids of calls that ended since it was last looked, the first [`CALLS_KEPT`] of `ended_used`. The texts are used
    /// again.
    ended: Vec<String>,
    ended_used: usize,
}

/// Calls that are remembered between two looks, and named as possible ones.
pub(super) const CALLS_KEPT: usize = 16;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// A caller, on whose behalf the plugin does something.
    Caller,
    /// The host itself, such as with a ping.
    Host,
}

#[derive(Debug)]
struct Slot {
    waits: Waits,
    generation: u64,
    state: State,
    deadline: Instant,
    /// Kept between calls, so that it is not allocated anew for each.
    correlation_id: String,
}

#[derive(Debug)]
enum State {
    /// No call; what the last one came to.
    Free(Last),
    /// A call waits.
    Waiting(Option<Waker>),
    /// The call is over and has not been told.
    Done(Outcome, Last),
}

/// How the last call of a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Answered,
    GivenUp,
    /// There was none.
    None,
}

/// What is told to a caller that looks.
pub(super) enum Look {
    Pending,
    Over(Outcome),
}

/// Which calls a plugin had at a moment, or within a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Their correlation ids, each once, at most 16.
    pub ids: Vec<String>,
    /// Whether there were more than are named.
    pub more: bool,
}

impl Calls {
    /// The one call that there was; `None` when there was none, or there were several.
    #[must_use]
    pub fn only(&self) -> Option<&str> {
        match self.ids.as_slice() {
            [only] if !self.more => Some(only),
            _ => None,
        }
    }

    /// Adds one that is not in it yet.
    pub fn add(&mut self, id: &str) {
        if self.ids.iter().any(|known| known == id) {
            return;
        }
        match self.ids.len() < CALLS_KEPT {
            true => self.ids.push(id.to_owned()),
            false => self.more = true,
        }
    }

    /// Adds all of another time.
    pub fn join(&mut self, other: &Self) {
        for id in &other.ids {
            self.add(id);
        }
        self.more |= other.more;
    }
}

impl Table {
    pub(super) fn new(slots: usize) -> Self {
        let now = Instant::now();
        let slot = |_| Slot {
            waits: Waits::Host,
            generation: 0,
            state: State::Free(Last::None),
            deadline: now,
            correlation_id: String::new(),
        };
        Self {
            slots: (0..slots).map(slot).collect(),
            free: (0..slots).rev().collect(),
            armed: None,
            closed: false,
            ended: Vec::new(),
            ended_used: 0,
        }
    }

    /// A slot for a new call, and whether the timer must be set earlier for it. `None` when the connection is closed (or all
    /// are taken, which the permits of the callers rule out).
    pub(super) fn open(
        &mut self,
        correlation_id: &str,
        deadline: Instant,
        waits: Waits,
    ) -> Option<(u64, bool)> {
        if self.closed {
            return None;
        }
        let place = self.free.pop_back()?;
        let count = self.slots.len() as u64;
        let slot = self.slots.get_mut(place)?;
        slot.generation += 1;
        slot.state = State::Waiting(None);
        slot.waits = waits;
        slot.deadline = deadline;
        slot.correlation_id.clear();
        slot.correlation_id.push_str(correlation_id);
        let is_earlier = self.armed.is_none_or(|armed| deadline < armed);
        if is_earlier {
            self.armed = Some(deadline);
        }
        Some((slot.generation * count + place as u64, is_earlier))
    }

    fn slot(&mut self, id: u64) -> Option<(usize, &mut Slot)> {
        let count = self.slots.len() as u64;
        let place = usize::try_from(id.checked_rem(count)?).ok()?;
        let slot = self.slots.get_mut(place)?;
        (slot.generation == id / count).then_some((place, slot))
    }

    /// The caller looks for its outcome and, if there is none, leaves its waker. The outcome is given once; with it, the slot
    /// becomes free.
    pub(super) fn look(&mut self, id: u64, waker: &Waker) -> Look {
        let Some((place, slot)) = self.slot(id) else { return Look::Over(Err(CallError::Closed)) };
        match &mut slot.state {
            State::Waiting(Some(left)) if left.will_wake(waker) => Look::Pending,
            State::Waiting(left) => {
                *left = Some(waker.clone());
                Look::Pending
            }
            State::Free(_) => Look::Over(Err(CallError::Closed)),
            State::Done(_, last) => {
                let last = *last;
                let State::Done(outcome, _) = std::mem::replace(&mut slot.state, State::Free(last)) else {
                    return Look::Over(Err(CallError::Closed));
                };
                self.set_free(place, last);
                Look::Over(outcome)
            }
        }
    }

    /// The slot may be used again. One whose call was given up is used as late as can be, so that it is known for long that
    /// its answer is still owed.
    fn set_free(&mut self, place: usize, last: Last) {
        match last {
            Last::GivenUp => self.free.push_front(place),
            Last::Answered | Last::None => self.free.push_back(place),
        }
    }

    /// How many calls were given up and have not been answered since.
    pub(super) fn overdue(&self) -> usize {
        let owed =
            |slot: &&Slot| matches!(slot.state, State::Free(Last::GivenUp) | State::Done(_, Last::GivenUp));
        self.slots.iter().filter(owed).count()
    }

    /// The caller goes away. The correlation id if the call was still waiting, so that the plugin must be told.
    pub(super) fn give_up(&mut self, id: u64) -> Option<&str> {
        let (place, slot) = self.slot(id)?;
        let (last, was_waiting) = match &slot.state {
            State::Free(_) => return None,
            State::Waiting(_) => (Last::GivenUp, true),
            State::Done(_, last) => (*last, false),
        };
        slot.state = State::Free(last);
        self.set_free(place, last);
        if was_waiting {
            self.remember(place);
        }
        let slot = self.slots.get(place)?;
        was_waiting.then_some(&slot.correlation_id)
    }

    /// An answer has come for `id`. The waker of its caller, or why it is nobody's.
    pub(super) fn answer(&mut self, id: u64, outcome: Outcome) -> Result<Option<Waker>, FaultKind> {
        let count = self.slots.len() as u64;
        let generation = id / count.max(1);
        let place = usize::try_from(id % count.max(1)).unwrap_or_default();
        let Some(slot) = self.slots.get_mut(place) else { return Err(FaultKind::UnknownAnswer) };
        // Each slot starts with generation 1; what is ahead has never been asked.
        if generation == 0 || generation > slot.generation {
            return Err(FaultKind::UnknownAnswer);
        }
        if generation < slot.generation {
            return Err(FaultKind::DuplicateAnswer);
        }
        match &mut slot.state {
            State::Waiting(waker) => {
                let waker = waker.take();
                slot.state = State::Done(outcome, Last::Answered);
                self.remember(place);
                Ok(waker)
            }
            State::Free(last) | State::Done(_, last) if *last == Last::GivenUp => {
                *last = Last::Answered;
                Err(FaultKind::LateAnswer)
            }
            State::Free(_) | State::Done(..) => Err(FaultKind::DuplicateAnswer),
        }
    }

    /// The correlation id of a call that waits.
    pub(super) fn correlation_id(&mut self, id: u64) -> Option<&str> {
        let (_, slot) = self.slot(id)?;
        matches!(slot.state, State::Waiting(_)).then_some(&slot.correlation_id)
    }

    /// Whether a call that waits has this correlation id.
    pub(super) fn has_correlation_id(&self, correlation_id: &str) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot.state, State::Waiting(_)) && slot.correlation_id == correlation_id)
    }

    /// Ends each waiting call that `which` chooses; `each` hears of its id, its correlation id and its waker.
    pub(super) fn end(
        &mut self,
        why: &CallError,
        which: impl Fn(Instant) -> bool,
        mut each: impl FnMut(u64, &str, Option<Waker>),
    ) {
        let count = self.slots.len() as u64;
        let mut ended = Vec::new();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if let State::Waiting(waker) = &mut slot.state
                && which(slot.deadline)
            {
                let waker = waker.take();
                slot.state = State::Done(Err(why.clone()), Last::GivenUp);
                each(slot.generation * count + place as u64, &slot.correlation_id, waker);
                ended.push(place);
            }
        }
        for place in ended {
            self.remember(place);
        }
    }

    /// A call of a caller has ended: it may be asked which calls there were.
    fn remember(&mut self, place: usize) {
        let Some(slot) = self.slots.get(place).filter(|slot| slot.waits == Waits::Caller) else { return };
        if let Some(text) = self.ended.get_mut(self.ended_used) {
            text.clear();
            text.push_str(&slot.correlation_id);
        } else if self.ended.len() < CALLS_KEPT {
            self.ended.push(slot.correlation_id.clone());
        }
        // One more than can be named says that not all are known.
        self.ended_used = self.ended_used.saturating_add(1).min(CALLS_KEPT + 1);
    }

    /// The calls that wait.
    pub(super) fn calls(&self) -> Calls {
        let waits = |slot: &&Slot| slot.waits == Waits::Caller && matches!(slot.state, State::Waiting(_));
        let mut calls = Calls::default();
        for slot in self.slots.iter().filter(waits) {
            calls.add(&slot.correlation_id);
        }
        calls
    }

    /// The calls that wait, and those that ended since [`Table::forget_ended`].
    pub(super) fn recent_calls(&self) -> Calls {
        let mut calls = self.calls();
        for ended in self.ended.iter().take(self.ended_used) {
            calls.add(ended);
        }
        calls.more |= self.ended_used > CALLS_KEPT;
        calls
    }

    /// From now on [`Table::recent_calls`] remembers anew.
    pub(super) fn forget_ended(&mut self) {
        self.ended_used = 0;
    }

    /// When the timer has to go off next.
    pub(super) fn armed(&self) -> Option<Instant> {
        self.armed
    }

    /// The timer has gone off and what was due has been ended: sets it to the earliest deadline that is left.
    pub(super) fn arm_again(&mut self) {
        let waiting = self.slots.iter().filter(|slot| matches!(slot.state, State::Waiting(_)));
        self.armed = waiting.map(|slot| slot.deadline).min();
    }

    /// From now on no call begins.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many calls hold a slot.
    pub(super) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
