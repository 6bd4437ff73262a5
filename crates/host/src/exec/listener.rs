//! Live listeners of a run: each has its own bounded queue, and none can delay the run.
//!
//! A listener that does not read loses its oldest events and is told how much it missed. Publishing costs one
//! atomic load while nobody listens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Stream;

/// The longest queue that a listener may have, in events. An output event holds at most 64 KiB.
pub const QUEUE_MAX_EVENTS: usize = 65_536;

/// Something that happened during a run, as a listener sees it.
///
/// ```
/// use ringfence::exec::{Event, Stream};
///
/// let event = Event::Output { stream: Stream::Stdout, at_ms: 3, bytes: b"hi\n"[..].into() };
/// assert!(matches!(event, Event::Output { at_ms: 3, .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The command wrote something. The bytes are redacted, the same that the caller sees and that are stored.
    Output {
        /// On which stream.
        stream: Stream,
        /// When, in milliseconds since the start of the run.
        at_ms: u64,
        /// What; shared between all listeners, not copied.
        bytes: Arc<[u8]>,
    },
    /// The command uses 80 % of its memory limit.
    MemoryWarning {
        /// When, in milliseconds since the start of the run.
        at_ms: u64,
        /// What it uses, in bytes.
        used_bytes: u64,
        /// What it may use, in bytes.
        limit_bytes: u64,
    },
    /// The run is recorded, under this number. Told once, before any output.
    Stored {
        /// Which [`RunStore`](crate::exec::RunStore) shows.
        id: crate::exec::RunId,
    },
    /// This listener was too slow: so much was dropped, all of it before the event that comes next.
    Missed {
        /// Dropped events.
        events: u64,
        /// Output bytes in them.
        bytes: u64,
    },
    /// The run is over; nothing follows. Never dropped.
    Ended,
}

impl Event {
    fn output_bytes(&self) -> u64 {
        match self {
            Self::Output { bytes, .. } => bytes.len() as u64,
            _ => 0,
        }
    }
}

/// The listeners of one run: the sending side, shared freely between threads.
///
/// ```
/// use ringfence::exec::{Event, Listeners, Stream};
///
/// let listeners = Listeners::new();
/// let receiver = listeners.subscribe(16);
/// listeners.output(Stream::Stdout, 0, b"hello\n");
/// listeners.end();
/// assert!(matches!(receiver.recv(), Some(Event::Output { .. })));
/// assert_eq!(receiver.recv(), Some(Event::Ended));
/// assert_eq!(receiver.recv(), None);
/// ```
#[derive(Clone, Default)]
pub struct Listeners {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many queues are in the list; read without the lock on each publication.
    count: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    queues: Vec<Arc<Queue>>,
    ended: bool,
}

struct Queue {
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    missed_events: u64,
    missed_bytes: u64,
    end: End,
}

/// What a queue knows about the end of the run.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    NotYet,
    /// It ended, and the listener has not been told.
    Reached,
    /// [`Event::Ended`] was handed out.
    Told,
}

/// A panic of another listener's thread must not take the run with it: the data is consistent after each
/// statement, so a poisoned lock is used like any other.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listeners {
    /// No listeners yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new listener whose queue holds `capacity` events (1 to [`QUEUE_MAX_EVENTS`]; other values are moved
    /// there). It sees what happens from now on; after the end of the run it sees only [`Event::Ended`].
    #[must_use]
    pub fn subscribe(&self, capacity: usize) -> Receiver {
        let mut list = lock(&self.shared.list);
        let end = if list.ended { End::Reached } else { End::NotYet };
        let queue = Arc::new(Queue {
            capacity: capacity.clamp(1, QUEUE_MAX_EVENTS),
            state: Mutex::new(State { end, ..State::default() }),
            changed: Condvar::new(),
        });
        if !list.ended {
            list.queues.push(Arc::clone(&queue));
            self.shared.count.store(list.queues.len(), Ordering::Release);
        }
        Receiver { queue, shared: Arc::downgrade(&self.shared) }
    }

    /// Whether anybody listens now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.count.load(Ordering::Acquire) == 0
    }

    /// Tells everybody about output. Copies the bytes once if anybody listens, else not at all; nothing is
    /// said about empty output. Never waits for a listener.
    pub fn output(&self, stream: Stream, at_ms: u64, bytes: &[u8]) {
        if self.is_empty() || bytes.is_empty() {
            return;
        }
        self.publish(&Event::Output { stream, at_ms, bytes: Arc::from(bytes) });
    }

    /// Tells everybody that memory is running short. Never waits for a listener.
    pub fn memory_warning(&self, at_ms: u64, used_bytes: u64, limit_bytes: u64) {
        if !self.is_empty() {
            self.publish(&Event::MemoryWarning { at_ms, used_bytes, limit_bytes });
        }
    }

    /// Tells everybody where the run is recorded.
    pub fn stored(&self, id: crate::exec::RunId) {
        if !self.is_empty() {
            self.publish(&Event::Stored { id });
        }
    }

    fn publish(&self, event: &Event) {
        let list = lock(&self.shared.list);
        for queue in &list.queues {
            queue.push(event.clone());
        }
    }

    /// Tells everybody that the run is over. A second call does nothing. Dropping the last clone does the
    /// same, so that no listener waits for a run that is gone.
    pub fn end(&self) {
        self.shared.end();
    }
}

impl Shared {
    fn end(&self) {
        let mut list = lock(&self.list);
        list.ended = true;
        for queue in list.queues.drain(..) {
            lock(&queue.state).end = End::Reached;
            queue.changed.notify_all();
        }
        self.count.store(0, Ordering::Release);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.shared.count.load(Ordering::Relaxed);
        f.debug_struct("Listeners").field("count", &count).finish_non_exhaustive()
    }
}

impl Queue {
    fn push(&self, event: Event) {
        let mut state = lock(&self.state);
        if state.events.len() >= self.capacity
            && let Some(lost) = state.events.pop_front()
        {
            state.missed_events = state.missed_events.saturating_add(1);
            state.missed_bytes = state.missed_bytes.saturating_add(lost.output_bytes());
        }
        state.events.push_back(event);
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    /// The next event, if there is one. The end is handed out once, after everything else.
    fn take(&mut self) -> Option<Event> {
        if self.missed_events > 0 {
            let missed = Event::Missed { events: self.missed_events, bytes: self.missed_bytes };
            (self.missed_events, self.missed_bytes) = (0, 0);
            return Some(missed);
        }
        let next = self.events.pop_front();
        if next.is_none() && self.end == End::Reached {
            self.end = End::Told;
            return Some(Event::Ended);
        }
        next
    }
}

/// The receiving side of one listener. Dropping it unsubscribes.
///
/// ```
/// use std::time::Duration;
/// use ringfence::exec::{Event, Listeners, Stream};
///
/// let listeners = Listeners::new();
/// let slow = listeners.subscribe(1);
/// listeners.output(Stream::Stdout, 1, b"lost");
/// listeners.output(Stream::Stdout, 2, b"kept");
/// assert_eq!(slow.try_recv(), Some(Event::Missed { events: 1, bytes: 4 }));
/// assert!(matches!(slow.try_recv(), Some(Event::Output { at_ms: 2, .. })));
/// assert_eq!(slow.recv_timeout(Duration::from_millis(1)), None);
/// ```
pub struct Receiver {
    queue: Arc<Queue>,
    shared: Weak<Shared>,
}

impl Receiver {
    /// The next event; waits for it. `None` after [`Event::Ended`] was received.
    ///
    /// It also ends when every [`Listeners`] of the run is dropped: that counts as the end of the run.
    #[must_use]
    pub fn recv(&self) -> Option<Event> {
        self.next_before(None)
    }

    /// The next event, or `None` when none comes within `timeout` or [`Event::Ended`] was received before.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        // A timeout beyond the clock's range is as good as none.
        self.next_before(Instant::now().checked_add(timeout))
    }

    /// The next event if there is one already.
    #[must_use]
    pub fn try_recv(&self) -> Option<Event> {
        self.next_before(Some(Instant::now()))
    }

    fn next_before(&self, deadline: Option<Instant>) -> Option<Event> {
        let mut state = lock(&self.queue.state);
        loop {
            if let Some(event) = state.take() {
                return Some(event);
            }
            if state.end == End::Told {
                return None;
            }
            state = match deadline {
                None => self.queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.queue.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Iterator for Receiver {
    type Item = Event;

    /// As [`Receiver::recv`].
    fn next(&mut self) -> Option<Event> {
        self.recv()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut list = lock(&shared.list);
            list.queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            shared.count.store(list.queues.len(), Ordering::Release);
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.queue.state).events.len();
        let capacity = self.queue.capacity;
        f.debug_struct("Receiver")
            .field("waiting", &waiting)
            .field("capacity", &capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: &Event) -> &str {
        match event {
            Event::Output { bytes, .. } => std::str::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_listener_sees_all_in_order_and_then_the_end_once() {
        let listeners = Listeners::new();
        assert!(listeners.is_empty());
        let receivers = [listeners.subscribe(8), listeners.subscribe(8)];
        listeners.output(Stream::Stdout, 1, b"a");
        listeners.output(Stream::Stderr, 2, b"");
        listeners.memory_warning(3, 80, 100);
        listeners.output(Stream::Stderr, 4, b"b");
        listeners.end();
        listeners.end();
        for receiver in receivers {
            let events: Vec<_> = receiver.collect();
            assert_eq!(events.len(), 4, "{events:?}");
            assert_eq!((text(&events[0]), text(&events[2])), ("a", "b"));
            assert_eq!(events[1], Event::MemoryWarning { at_ms: 3, used_bytes: 80, limit_bytes: 100 });
            assert_eq!(events[3], Event::Ended);
        }
    }

    #[test]
    fn one_that_does_not_read_loses_the_oldest_and_is_told_how_much() {
        let listeners = Listeners::new();
        let slow = listeners.subscribe(2);
        let quick = listeners.subscribe(100);
        for n in 0..10_u64 {
            listeners.output(Stream::Stdout, n, &n.to_string().into_bytes().repeat(3));
        }
        listeners.end();
        assert_eq!(slow.recv(), Some(Event::Missed { events: 8, bytes: 24 }));
        assert_eq!(text(&slow.recv().unwrap()), "888");
        assert_eq!(text(&slow.recv().unwrap()), "999");
        assert_eq!((slow.recv(), slow.recv(), slow.try_recv()), (Some(Event::Ended), None, None));
        assert_eq!(quick.count(), 11);
    }

    #[test]
    fn dropping_a_receiver_unsubscribes_only_it() {
        let listeners = Listeners::new();
        let (a, b) = (listeners.subscribe(1), listeners.subscribe(0));
        assert!(format!("{a:?} {listeners:?}").contains("count: 2"));
        drop(a);
        assert!(!listeners.is_empty());
        listeners.output(Stream::Stdout, 0, b"x");
        assert!(matches!(b.try_recv(), Some(Event::Output { .. })), "a capacity of 0 means 1");
        drop(b);
        assert!(listeners.is_empty());
        listeners.memory_warning(0, 1, 1);
        listeners.output(Stream::Stdout, 0, b"x");
    }

    #[test]
    fn who_comes_after_the_end_sees_the_end_and_does_not_wait() {
        let listeners = Listeners::new();
        listeners.end();
        let late = listeners.subscribe(4);
        assert!(listeners.is_empty());
        assert_eq!((late.recv(), late.recv()), (Some(Event::Ended), None));
    }

    #[test]
    fn a_waiting_listener_wakes_for_output_for_the_end_and_when_the_run_is_dropped() {
        let listeners = Listeners::new();
        let receiver = listeners.subscribe(4);
        assert_eq!(receiver.recv_timeout(Duration::from_millis(2)), None);
        let waiting = std::thread::spawn(move || {
            let first = receiver.recv_timeout(Duration::MAX);
            (first, receiver.recv(), receiver.recv())
        });
        listeners.output(Stream::Stdout, 0, b"x");
        drop(listeners);
        let (first, second, third) = waiting.join().unwrap();
        assert_eq!(text(&first.unwrap()), "x");
        assert_eq!((second, third), (Some(Event::Ended), None));
    }
}
