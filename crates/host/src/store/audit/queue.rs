//! The bounded queue of calls and denials, and the thread that writes it.
//!
//! A call is put here before it is dispatched: one short lock, no system call but the wake-up of a thread that slept. The
//! thread gathers for [`GATHER`], then chains and commits everything at once. A disk that fails keeps its batch in memory
//! and is tried again; after [`FAILING_GRACE`] callers are refused, and those who wait are told so in bounded time.
//!
//! Above [`CALLS_PER_SECOND_MAX`] a second for one plugin and method the calls are only counted. The count is committed as
//! often as records are, and becomes one record when its second is over. Refusals are counted in the same way: see
//! [`ledger`](super::ledger) for which. Where a call waits for room, a refusal is kept as a count: it has happened already.
//!
//! No plugin has more than [`SHARE_MAX`] records here, so that one that floods is the one that waits.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence_api::ErrorCode;

use super::ledger::{Counted, Room, Told};
use super::shares::{Refused, Shares};
use super::totals::Totals;
use super::{AuditEvent, Subject};
use crate::Error;
use crate::metrics::MethodMetrics;
use crate::store::Owner;
use crate::store::now_ms;

/// Records that wait for the disk: 50 ms of 200 plugins that each reach their rate, twice.
const QUEUE_MAX: usize = 20_000;
/// Records of one plugin among them: what it makes in more than a second at its rate with calls and hooks alone.
const SHARE_MAX: usize = QUEUE_MAX / 8;
/// How long equal refusals are counted together, in milliseconds.
pub(crate) const DENIAL_WINDOW_MS: i64 = 10_000;
/// Calls of one plugin and method within a second that each have a record of their own.
pub(crate) const CALLS_PER_SECOND_MAX: u32 = 1_000;
/// How long the thread gathers before it writes. With the time of a commit it stays below 50 ms.
pub(super) const GATHER: Duration = Duration::from_millis(20);
/// How long a failing disk goes unnoticed by callers.
const FAILING_GRACE: Duration = Duration::from_secs(1);
/// How often a waiting caller tries again.
const TRY_EVERY: Duration = Duration::from_millis(2);

/// The queue has no room, or the disk fails: the call must not be dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit queue is full")]
pub(crate) struct Full;

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        Self::new(ErrorCode::Busy, "the call cannot be recorded: the audit queue is full")
            .with_hint("try again; if it stays so, check the disk of the home")
            .with_source(full)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// With a result.
    Ok,
    /// With an error of the plugin.
    Failed,
    /// With a result that breaks the tool's own schema.
    Invalid,
    /// The deadline passed.
    Timeout,
    /// The caller went away.
    Cancelled,
    /// It was refused before it reached the plugin.
    Refused,
    /// The plugin ended meanwhile.
    Crashed,
}

impl Outcome {
    pub(super) const ALL: [Self; 7] =
        [Self::Ok, Self::Failed, Self::Invalid, Self::Timeout, Self::Cancelled, Self::Refused, Self::Crashed];

    /// The word in columns and JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Crashed => "crashed",
        }
    }
}

/// What is known of the calls of one plugin and method within the running second.
#[derive(Debug)]
struct Meter {
    owner: Owner,
    /// Where the plugin stands in [`State::shares`].
    share: usize,
    method: Arc<str>,
    second: i64,
    begun: u32,
    /// Calls beyond the rate that are not on the disk yet.
    over: u64,
    ended: u32,
    /// Endings beyond the rate: how many and how long, by outcome.
    ended_over: [(u64, Duration); Outcome::ALL.len()],
    totals: Totals,
}

/// One thing to write.
#[derive(Debug)]
pub(in crate::store) enum Item {
    /// A call that was handed to a plugin.
    Call { owner: Owner, method: Arc<str>, tool: Arc<str>, correlation_id: Arc<str>, at_ms: i64 },
    /// Calls of a second that have no records of their own.
    Counted { owner: Owner, method: Arc<str>, second: i64, count: u64 },
    /// How calls ended.
    Ended {
        owner: Owner,
        method: Arc<str>,
        tool: Arc<str>,
        correlation_id: Arc<str>,
        outcome: Outcome,
        count: u64,
        duration: Duration,
        at_ms: i64,
    },
    /// A refusal that has a record of its own.
    Denied { owner: Owner, refused: Refused, at_ms: i64 },
    /// Refusals that have none.
    DeniedCounted { owner: Owner, counted: Counted },
    /// Anything else.
    Event { subject: Subject, event: AuditEvent, at_ms: i64 },
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Item>,
    /// Taken by the thread and not on the disk yet.
    in_flight: usize,
    /// What each plugin has here, and what was refused to it.
    shares: Shares,
    meters: Vec<Meter>,
    by_name: HashMap<(Owner, Arc<str>), usize>,
    /// Some meter counted beyond its rate since the last batch, or some refusal was counted.
    counted: bool,
    sleeping: bool,
    refusing: bool,
    closed: bool,
    hurry: bool,
}

/// The queue, shared by all handles and the thread.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct AuditQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Tells the thread that something waits.
    filled: Condvar,
    /// Tells whoever flushes that everything is on the disk.
    drained: Condvar,
}

impl AuditQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half-made.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleeping = std::mem::replace(&mut state.sleeping, false);
        drop(state);
        if sleeping {
            self.shared.filled.notify_one();
        }
    }

    /// The meter of a plugin and a method; the same one each time.
    pub(in crate::store) fn meter(&self, owner: &Owner, method: &str) -> CallMeter {
        let method: Arc<str> = Arc::from(method);
        let mut state = self.lock();
        let key = (owner.clone(), Arc::clone(&method));
        let index = match state.by_name.get(&key) {
            Some(index) => *index,
            None => {
                let index = state.meters.len();
                let share = state.shares.place(owner);
                state.meters.push(Meter {
                    owner: owner.clone(),
                    share,
                    method: Arc::clone(&method),
                    second: 0,
                    begun: 0,
                    over: 0,
                    ended: 0,
                    ended_over: Default::default(),
                    totals: Totals::default(),
                });
                state.by_name.insert(key, index);
                index
            }
        };
        drop(state);
        CallMeter { inner: Arc::new(Place { queue: self.clone(), index, owner: owner.clone(), method }) }
    }

    /// Puts one thing into the queue.
    pub(in crate::store) fn push(&self, item: Item) -> Result<(), Full> {
        let mut state = self.lock();
        if state.is_full() {
            return Err(Full);
        }
        state.items.push(item);
        self.wake(state);
        Ok(())
    }

    /// Notes a refusal. It is never lost: without room, or if there are too many, it is counted, and the count is written.
    pub(in crate::store) fn denied(&self, owner: &Owner, refused: Refused, at_ms: i64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let share = state.shares.place(owner);
        let room = if state.is_full_for(share) { Room::Full } else { Room::Free };
        let mut left = Vec::new();
        if let Some(plugin) = state.shares.get_mut(share) {
            match plugin.ledger.note(&refused.denial, &refused.request, at_ms, room, &mut left) {
                Told::Singly(_) => {
                    plugin.waiting += 1;
                    state.items.push(Item::Denied { owner: owner.clone(), refused, at_ms });
                }
                Told::Counted => state.counted = true,
            }
        }
        state
            .items
            .extend(left.into_iter().map(|counted| Item::DeniedCounted { owner: owner.clone(), counted }));
        self.wake(guard);
    }

    /// Waits until everything that was put in before is on the disk.
    pub(in crate::store) fn flush(&self, wait: Duration) -> Result<(), Full> {
        let end = Instant::now() + wait;
        let mut state = self.lock();
        while !state.is_drained() {
            state.hurry = true;
            self.shared.filled.notify_one();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Full);
            }
            let waited = self.shared.drained.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// How calls have ended, by plugin; methods without an ended one are left out.
    pub(in crate::store) fn totals(&self) -> HashMap<Owner, Vec<MethodMetrics>> {
        let state = self.lock();
        let mut all: HashMap<Owner, Vec<MethodMetrics>> = HashMap::new();
        for meter in state.meters.iter().filter(|meter| meter.totals.outcomes.iter().any(|count| *count > 0))
        {
            all.entry(meter.owner.clone()).or_default().push(meter.totals.told(&meter.method));
        }
        drop(state);
        all.values_mut().for_each(|methods| methods.sort_by(|a, b| a.method.cmp(&b.method)));
        all
    }

    /// Whether nothing more is taken.
    pub(in crate::store) fn is_refusing(&self) -> bool {
        self.lock().is_full()
    }

    /// Records that are not on the disk yet.
    pub(in crate::store) fn waiting(&self) -> u64 {
        let state = self.lock();
        u64::try_from(state.items.len() + state.in_flight).unwrap_or(u64::MAX)
    }

    /// Ends the thread after a last batch.
    pub(in crate::store) fn close(&self) {
        self.lock().closed = true;
        self.shared.filled.notify_all();
    }

    /// Waits for something to write, and gathers. `None`: the queue is closed and empty. An empty batch: `patience` is
    /// over.
    pub(in crate::store) fn next(&self, patience: Option<Duration>) -> Option<Vec<Item>> {
        let mut state = self.lock();
        let end = patience.map(|patience| Instant::now() + patience);
        while state.is_empty() && !state.closed {
            state.sleeping = true;
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Some(Vec::new());
            }
            let left = left.unwrap_or(Duration::from_secs(3_600));
            let waited = self.shared.filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.sleeping = false;
        let gathered = Instant::now() + GATHER;
        while !state.closed && !state.hurry && state.items.len() < QUEUE_MAX / 2 {
            let left = gathered.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_empty() && state.closed {
            return None;
        }
        state.hurry = false;
        let mut batch = std::mem::take(&mut state.items);
        state.take_counts(&mut batch);
        state.in_flight = batch.len();
        state.shares.taken();
        Some(batch)
    }

    /// The batch that was taken last is on the disk.
    pub(in crate::store) fn done(&self) {
        let mut state = self.lock();
        state.in_flight = 0;
        state.shares.written();
        state.refusing = false;
        drop(state);
        self.shared.drained.notify_all();
    }

    /// The disk fails for this long. Gives whether the queue was closed meanwhile.
    pub(in crate::store) fn failing(&self, since: Instant) -> bool {
        let mut state = self.lock();
        state.refusing = since.elapsed() >= FAILING_GRACE;
        state.closed
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.closed || self.refusing || self.items.len() + self.in_flight >= QUEUE_MAX
    }

    /// Whether a plugin has no room, though others may.
    fn is_full_for(&self, share: usize) -> bool {
        self.is_full() || self.shares.held(share) >= SHARE_MAX
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.counted
    }

    fn is_drained(&self) -> bool {
        self.is_empty() && self.in_flight == 0
    }

    fn take_counts(&mut self, batch: &mut Vec<Item>) {
        if std::mem::replace(&mut self.counted, false) {
            for meter in &mut self.meters {
                meter.take_counts(batch);
            }
            self.shares.take_denials(batch);
        }
    }
}

impl Meter {
    fn turn(&mut self, second: i64, items: &mut Vec<Item>) {
        if self.second != second {
            self.take_counts(items);
            (self.second, self.begun, self.ended) = (second, 0, 0);
        }
    }

    fn take_counts(&mut self, items: &mut Vec<Item>) {
        let (owner, method, second) = (&self.owner, &self.method, self.second);
        if self.over > 0 {
            let count = std::mem::take(&mut self.over);
            items.push(Item::Counted { owner: owner.clone(), method: Arc::clone(method), second, count });
        }
        for (outcome, over) in Outcome::ALL.into_iter().zip(&mut self.ended_over) {
            let (count, duration) = std::mem::take(over);
            if count > 0 {
                items.push(Item::Ended {
                    owner: owner.clone(),
                    method: Arc::clone(method),
                    tool: Arc::from(""),
                    correlation_id: Arc::from(""),
                    outcome,
                    count,
                    duration,
                    at_ms: second.saturating_mul(1_000),
                });
            }
        }
    }
}

/// Records the calls of one plugin by one method. Cheap to clone; made once, when the plugin starts.
#[derive(Clone, Debug)]
pub(crate) struct CallMeter {
    inner: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    queue: AuditQueue,
    index: usize,
    owner: Owner,
    method: Arc<str>,
}

impl CallMeter {
    /// Records that a call is about to be dispatched. It is on the disk within 50 ms.
    ///
    /// # Errors
    /// [`Full`] at once when there is no room, or the disk has been failing for a second: then the call must not go out.
    pub(crate) fn begin(&self, tool: &Arc<str>, correlation_id: &Arc<str>) -> Result<(), Full> {
        let at_ms = now_ms();
        let place = &*self.inner;
        let mut guard = place.queue.lock();
        let state = &mut *guard;
        let Some(share) = state.meters.get(place.index).map(|meter| meter.share) else { return Err(Full) };
        if state.is_full_for(share) {
            return Err(Full);
        }
        let Some(meter) = state.meters.get_mut(place.index) else { return Err(Full) };
        meter.turn(at_ms.div_euclid(1_000), &mut state.items);
        meter.begun = meter.begun.saturating_add(1);
        if meter.begun > CALLS_PER_SECOND_MAX {
            meter.over += 1;
            state.counted = true;
        } else {
            state.shares.add(share);
            state.items.push(Item::Call {
                owner: place.owner.clone(),
                method: Arc::clone(&place.method),
                tool: Arc::clone(tool),
                correlation_id: Arc::clone(correlation_id),
                at_ms,
            });
        }
        place.queue.wake(guard);
        Ok(())
    }

    /// The same, and waits for room.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it has recorded nothing.
    ///
    /// # Errors
    /// `busy` after `wait`.
    pub(crate) async fn begin_within(
        &self,
        tool: &Arc<str>,
        correlation_id: &Arc<str>,
        wait: Duration,
    ) -> Result<(), Error> {
        let end = Instant::now() + wait;
        loop {
            match self.begin(tool, correlation_id) {
                Ok(()) => return Ok(()),
                Err(full) if Instant::now() >= end => return Err(full.into()),
                Err(Full) => tokio::time::sleep(TRY_EVERY).await,
            }
        }
    }

    /// Records how a call ended, for the activity of the plugin. It never waits; when there is no room the ending is only
    /// counted.
    pub(crate) fn end(
        &self,
        tool: &Arc<str>,
        correlation_id: &Arc<str>,
        outcome: Outcome,
        duration: Duration,
    ) {
        let at_ms = now_ms();
        let place = &*self.inner;
        let mut guard = place.queue.lock();
        let state = &mut *guard;
        let Some(share) = state.meters.get(place.index).map(|meter| meter.share) else { return };
        let full = state.is_full_for(share);
        let Some(meter) = state.meters.get_mut(place.index) else { return };
        meter.turn(at_ms.div_euclid(1_000), &mut state.items);
        meter.ended = meter.ended.saturating_add(1);
        meter.totals.add(outcome, duration);
        if full || meter.ended > CALLS_PER_SECOND_MAX {
            let places = Outcome::ALL.into_iter().zip(&mut meter.ended_over);
            for (_, over) in places.filter(|(place, _)| *place == outcome) {
                over.0 += 1;
                over.1 += duration;
            }
            state.counted = true;
        } else {
            state.shares.add(share);
            state.items.push(Item::Ended {
                owner: place.owner.clone(),
                method: Arc::clone(&place.method),
                tool: Arc::clone(tool),
                correlation_id: Arc::clone(correlation_id),
                outcome,
                count: 1,
                duration,
                at_ms,
            });
        }
        place.queue.wake(guard);
    }
}

/// Something that was begun with [`CallMeter::begin`]. Its ending is recorded when this is dropped, also when whoever waited for it
/// goes away.
#[derive(Debug)]
pub(crate) struct Act {
    meter: CallMeter,
    tool: Arc<str>,
    correlation_id: Arc<str>,
    pub(crate) begun: Instant,
    /// How it has ended, as far as is known.
    pub(crate) outcome: Outcome,
}

impl CallMeter {
    /// Records that something is about to be done, waiting for room if need be. `unless_told` is how it counts as ended until
    /// [`Act::outcome`] says otherwise.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it has recorded nothing.
    ///
    /// # Errors
    /// `busy` after `wait`: then it must not be done.
    pub(crate) async fn act(
        &self,
        tool: &Arc<str>,
        correlation_id: &Arc<str>,
        wait: Duration,
        unless_told: Outcome,
    ) -> Result<Act, Error> {
        if self.begin(tool, correlation_id).is_err() {
            self.begin_within(tool, correlation_id, wait).await?;
        }
        let (tool, correlation_id) = (Arc::clone(tool), Arc::clone(correlation_id));
        Ok(Act { meter: self.clone(), tool, correlation_id, begun: Instant::now(), outcome: unless_told })
    }
}

impl Act {
    /// It went well.
    pub(crate) fn done(&mut self) {
        self.outcome = Outcome::Ok;
    }

    /// Records what else there is to say of its end. Without room, or above the rate, it is counted among the calls of the method.
    pub(crate) fn tell(&self, event: AuditEvent) {
        let at_ms = now_ms();
        let place = &*self.meter.inner;
        let mut guard = place.queue.lock();
        let state = &mut *guard;
        let Some(share) = state.meters.get(place.index).map(|meter| meter.share) else { return };
        let full = state.is_full_for(share);
        let Some(meter) = state.meters.get_mut(place.index) else { return };
        meter.turn(at_ms.div_euclid(1_000), &mut state.items);
        meter.begun = meter.begun.saturating_add(1);
        if full || meter.begun > CALLS_PER_SECOND_MAX {
            meter.over += 1;
            state.counted = true;
        } else {
            state.shares.add(share);
            let subject = place.owner.subject().correlated(&self.correlation_id);
            state.items.push(Item::Event { subject, event, at_ms });
        }
        place.queue.wake(guard);
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        self.meter.end(&self.tool, &self.correlation_id, self.outcome, self.begun.elapsed());
    }
}
