//! What a host tells those who listen: states, denials, violations, warnings, log lines.
//!
//! A listener that does not read misses the oldest events and is told how many; it never delays a plugin.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_api::{Denial, PluginName, PluginState, Violation};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::lifecycle::LogLine;

/// Events that wait for a listener that does not read; then the oldest are dropped.
pub const EVENTS_MAX: usize = 1024;

/// The last events that a host keeps for listeners that come back: see [`Host::subscribe_from`](crate::Host::subscribe_from).
pub const EVENTS_KEPT: usize = 1024;
/// Numbers that each millisecond has for itself, so that those of a host are larger than all of the one before it.
const NUMBERS_PER_MS: u64 = 1_000;

/// Something that happened to a plugin.
///
/// ```
/// use ringfence::event::{Event, EventKind};
/// use ringfence_api::PluginState;
///
/// let kind = EventKind::State { state: PluginState::Active, reason: None };
/// let event = Event { seq: 3, at_ms: 7, plugin: Some("greeter".parse()?), correlation_id: None, kind };
/// assert_eq!(
///     serde_json::to_string(&event)?,
///     r#"{"seq":3,"at_ms":7,"plugin":"greeter","kind":{"event":"state","state":"active"}}"#,
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Its number: each event of a host has one more than the one before, and those of the next host on the same home are
    /// larger still, unless the clock is set back. Below 2^53.
    pub seq: u64,
    /// When, in unix milliseconds.
    pub at_ms: i64,
    /// Which plugin; left out for what concerns all of them, such as the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginName>,
    /// What joins it with the records of the same request in the audit trail, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// It is in another state now.
    State {
        /// Which one.
        state: PluginState,
        /// Why, where there is something to say.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It runs and has answered `initialize`.
    Started,
    /// It has ended, or did not start. Each [`EventKind::Started`] is followed by one of these, and so is each start that
    /// failed; the audit trail has the same.
    Ended {
        /// In which way.
        how: EndKind,
        /// Why, in a sentence or two; for a violation the limit and what was measured.
        reason: String,
        /// The limit or rule that it broke, where it broke one.
        #[serde(skip_serializing_if = "Option::is_none")]
        violation: Option<Violation>,
        /// Its exit status, when it exited.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// The number of the signal that ended it, when one did.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// It is tried again after this many milliseconds.
    Restarting {
        /// The wait.
        after_ms: u64,
    },
    /// Something was refused.
    Denial {
        /// What, by which layer, which grant would allow it, and how often since it was last told. Refusals that come over and
        /// over are told together once a second.
        denial: Denial,
        /// The calls of which it is not known in which one it was; then the event's `correlation_id` is that of the plugin's start,
        /// or of its own request. Where it is certain, it is that of the call; several that are told together have none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        possible_calls: Vec<String>,
    },
    /// A limit or rule was broken; the plugin is being stopped, or has ended of it.
    Violation {
        /// Which one.
        violation: Violation,
        /// The limit and what was measured, in words.
        detail: String,
    },
    /// 80 % of the memory limit are used.
    MemoryWarning {
        /// What is used, in bytes.
        used_bytes: u64,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The CPU limit has been reached for half a minute.
    CpuWarning {
        /// The limit, in percent of one core.
        limit_percent: u32,
    },
    /// It has blocked an event.
    Blocked {
        /// The event.
        hook: String,
        /// Why, in its own words, escaped and cut; or why it could not be asked.
        reason: String,
    },
    /// It was asked at an event, or sent a message, and failed.
    HookFailed {
        /// The event or topic.
        hook: String,
        /// Why.
        reason: String,
    },
    /// It was installed. What follows up to [`EventKind::PolicyChanged`] is told when it is on the disk, also when another
    /// process of the home has done it.
    Installed {
        /// Its version.
        version: String,
        /// Who installed it.
        by: String,
    },
    /// It was removed.
    Uninstalled {
        /// The version that it had.
        version: String,
        /// Whether its private data was kept.
        data_kept: bool,
        /// Who removed it.
        by: String,
    },
    /// Somebody consented to what it may do.
    Granted {
        /// What was granted now.
        permissions: Vec<String>,
        /// Who granted it.
        by: String,
    },
    /// Permissions were taken back.
    Revoked {
        /// Which.
        permissions: Vec<String>,
        /// Who took them.
        by: String,
    },
    /// Its configuration was written.
    Configured {
        /// The names of what was changed, never a value.
        keys: Vec<String>,
        /// Who wrote it, a person or the plugin.
        by: String,
    },
    /// A step of an upgrade.
    Upgrade {
        /// `staged`: the other version waits for consent; `committed`: it is the plugin now; `abandoned`: it will not be.
        step: String,
        /// The version before.
        from: String,
        /// The other version.
        to: String,
        /// Who did it.
        by: String,
    },
    /// The version before came back.
    RolledBack {
        /// The version that it was.
        from: String,
        /// The version that it is.
        to: String,
        /// Why.
        reason: String,
        /// Who did it.
        by: String,
    },
    /// Its quarantine was lifted.
    Released {
        /// Who did it.
        by: String,
    },
    /// A token was made, for the plugin that the event is about or for all.
    TokenCreated {
        /// Its id, which opens nothing.
        id: String,
        /// What its bearer may do.
        role: String,
        /// What it is for, in the words of who made it.
        name: String,
        /// Who made it.
        by: String,
    },
    /// A token opens nothing any more.
    TokenRevoked {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
        /// Who revoked it.
        by: String,
    },
    /// Another policy holds, or the same one in another state.
    PolicyChanged {
        /// Whether there is one, and whether it can be used; a word of [`PolicyState`](crate::policy::PolicyState).
        state: String,
        /// How many rules hold.
        rules: u64,
    },
    /// A line of its log.
    Log {
        /// The line, redacted.
        line: LogLine,
    },
    /// How far a call is, as the plugin says.
    Progress {
        /// The call.
        correlation_id: String,
        /// How much is done.
        progress: f64,
        /// Of how much.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<f64>,
        /// In words, escaped and cut.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

/// In which way a run of a plugin ended. The words are those of the audit trail.
///
/// ```
/// use ringfence::event::EndKind;
///
/// assert_eq!(serde_json::to_string(&EndKind::StartFailed)?, "\"start_failed\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// It was not wanted any more, and was stopped.
    Stop,
    /// It ended by itself, or closed its output.
    Crash,
    /// It broke a limit or a rule, during its start or later.
    Violation,
    /// It was not started, or did not answer `initialize` as it must.
    StartFailed,
}

/// How often something happened to a plugin since the host was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) starts: u64,
    pub(crate) stops: u64,
    pub(crate) crashes: u64,
    pub(crate) violations: u64,
    pub(crate) start_failures: u64,
    pub(crate) restarts: u64,
    pub(crate) denials: u64,
    pub(crate) blocked: u64,
    pub(crate) hook_failures: u64,
}

impl Counts {
    /// Whether it is counted at all.
    const fn counts(kind: &EventKind) -> bool {
        use EventKind as K;
        matches!(
            kind,
            K::Started
                | K::Ended { .. }
                | K::Restarting { .. }
                | K::Denial { .. }
                | K::Blocked { .. }
                | K::HookFailed { .. }
        )
    }

    fn note(&mut self, kind: &EventKind) {
        let (place, by) = match kind {
            EventKind::Started => (&mut self.starts, 1),
            EventKind::Ended { how: EndKind::Stop, .. } => (&mut self.stops, 1),
            EventKind::Ended { how: EndKind::Crash, .. } => (&mut self.crashes, 1),
            EventKind::Ended { how: EndKind::Violation, .. } => (&mut self.violations, 1),
            EventKind::Ended { how: EndKind::StartFailed, .. } => (&mut self.start_failures, 1),
            EventKind::Restarting { .. } => (&mut self.restarts, 1),
            EventKind::Denial { denial, .. } => (&mut self.denials, denial.count),
            EventKind::Blocked { .. } => (&mut self.blocked, 1),
            EventKind::HookFailed { .. } => (&mut self.hook_failures, 1),
            _ => return,
        };
        *place = place.saturating_add(by);
    }
}

#[derive(Debug)]
struct State {
    /// The number of the first event of this host.
    first: u64,
    /// The number of the next one.
    next: u64,
    kept: VecDeque<Event>,
    counts: HashMap<PluginName, Counts>,
}

/// The sending end: cheap to clone, never waits.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    state: Arc<Mutex<State>>,
}

impl Default for Events {
    fn default() -> Self {
        Self::after(u64::try_from(crate::clock::now_ms()).unwrap_or_default())
    }
}

impl Events {
    /// Those of a host that is opened at this moment.
    fn after(now_ms: u64) -> Self {
        let first = now_ms.saturating_mul(NUMBERS_PER_MS).saturating_add(1);
        let state = State { first, next: first, kept: VecDeque::new(), counts: HashMap::new() };
        Self { sender: broadcast::Sender::new(EVENTS_MAX), state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half-made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, plugin: &PluginName, kind: EventKind) {
        self.tell_within(Some(plugin), None, kind);
    }

    /// The same for what belongs to a request, or to no plugin.
    pub(crate) fn tell_within(
        &self,
        plugin: Option<&PluginName>,
        correlation_id: Option<String>,
        kind: EventKind,
    ) {
        let at_ms = crate::clock::now_ms();
        let mut state = self.lock();
        // What is not counted makes no entry: a plugin that was just removed would have one again.
        if let Some(plugin) = plugin.filter(|_| Counts::counts(&kind)) {
            match state.counts.get_mut(plugin) {
                Some(counts) => counts.note(&kind),
                None => state.counts.entry(plugin.clone()).or_default().note(&kind),
            }
        }
        let event = Event { seq: state.next, at_ms, plugin: plugin.cloned(), correlation_id, kind };
        state.next = state.next.saturating_add(1);
        if state.kept.len() >= EVENTS_KEPT {
            state.kept.pop_front();
        }
        // Under the lock: who listens gets them in the order of their numbers. Nobody listening is no failure.
        if self.sender.receiver_count() > 0 {
            let _nobody = self.sender.send(event.clone());
        }
        state.kept.push_back(event);
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.sender.subscribe() }
    }

    pub(crate) fn subscribe_from(&self, after: u64) -> Resumed {
        let state = self.lock();
        let first_kept = state.kept.front().map_or(state.next, |event| event.seq);
        let known = after.saturating_add(1) >= first_kept && after < state.next;
        let missed = state.kept.iter().filter(|event| !known || event.seq > after).cloned().collect();
        Resumed { missed, gap: !known, subscription: self.subscribe() }
    }

    /// How many events there were, and how often what happened to each plugin.
    pub(crate) fn counts(&self) -> (u64, HashMap<PluginName, Counts>) {
        let state = self.lock();
        (state.next - state.first, state.counts.clone())
    }

    /// A plugin has gone: what is counted for its name begins anew.
    pub(crate) fn forget(&self, plugin: &PluginName) {
        self.lock().counts.remove(plugin);
    }
}

/// What a listener that comes back gets: see [`Host::subscribe_from`](crate::Host::subscribe_from).
///
/// ```no_run
/// # fn example(host: &ringfence::Host, last_seen: u64) {
/// let resumed = host.subscribe_from(last_seen);
/// if resumed.gap {
///     println!("look at everything again: some events are not kept any more");
/// }
/// for event in &resumed.missed {
///     println!("{:?} {:?}", event.plugin, event.kind);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Resumed {
    /// The events since then, oldest first; with a gap, all that are kept.
    pub missed: Vec<Event>,
    /// Whether events since then are not kept any more, or the number is none of this host's.
    pub gap: bool,
    /// What happens from now on; nothing is in both, and nothing in neither.
    pub subscription: Subscription,
}

/// The events of a host from the moment of [`subscribe`](crate::Host::subscribe) on.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
}

/// What a subscription gives.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a listener has one at a time, and a box would be one for each event and listener"
)]
pub enum Heard {
    /// An event.
    Event(Event),
    /// This many events were dropped, because this listener did not read for too long.
    Missed(u64),
}

impl Subscription {
    /// The next event; `None` when the host is gone. Cancel safe: an event that was not returned is not lost.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Heard::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.seq).collect()
    }

    #[tokio::test]
    async fn a_listener_that_comes_back_gets_what_it_missed_once_and_in_order() {
        let events = Events::after(0);
        let plugin: PluginName = "p".parse().unwrap();
        let fresh = events.subscribe_from(0);
        assert!(fresh.missed.is_empty() && !fresh.gap, "nothing has happened, nothing is missed");
        for _ in 0..5 {
            events.tell(&plugin, EventKind::Started);
        }
        let mut resumed = events.subscribe_from(2);
        assert_eq!((seqs(&resumed.missed), resumed.gap), (vec![3, 4, 5], false));
        events.tell(&plugin, EventKind::Started);
        let Some(Heard::Event(next)) = resumed.subscription.next().await else { panic!("an event") };
        assert_eq!(next.seq, 6);
        let all_seen = events.subscribe_from(6);
        assert!(all_seen.missed.is_empty() && !all_seen.gap);
    }

    #[test]
    fn what_is_not_kept_any_more_is_a_gap_and_so_is_the_number_of_another_host() {
        let events = Events::after(0);
        let plugin: PluginName = "p".parse().unwrap();
        let kept = EVENTS_KEPT as u64;
        for _ in 0..kept + 10 {
            events.tell(&plugin, EventKind::Started);
        }
        let whole = events.subscribe_from(10);
        assert_eq!((whole.missed.len() as u64, whole.gap), (kept, false), "the twin");
        let gap = events.subscribe_from(9);
        assert_eq!((gap.missed.len() as u64, gap.gap, gap.missed[0].seq), (kept, true, 11));
        assert!(events.subscribe_from(kept + 11).gap && events.subscribe_from(u64::MAX).gap);
        // The next host, a millisecond later at the earliest.
        let next = Events::after(2);
        assert!(next.subscribe_from(kept + 10).gap);
        next.tell(&plugin, EventKind::Started);
        assert!(seqs(&next.subscribe_from(0).missed)[0] > kept + 10);
    }

    #[test]
    fn what_happened_is_counted_for_each_plugin() {
        let events = Events::after(0);
        let (p, q): (PluginName, PluginName) = ("p".parse().unwrap(), "q".parse().unwrap());
        events.tell(&p, EventKind::Started);
        let denial = Denial { count: 3, ..Denial::new("mount", "open") };
        events.tell(&p, EventKind::Denial { denial, possible_calls: Vec::new() });
        let ended = |how| EventKind::Ended {
            how,
            reason: String::new(),
            violation: None,
            exit_code: None,
            signal: None,
        };
        events.tell(&p, ended(EndKind::Crash));
        events.tell(&q, ended(EndKind::Stop));
        let (count, counts) = events.counts();
        assert_eq!(count, 4);
        assert_eq!(counts[&p], Counts { starts: 1, crashes: 1, denials: 3, ..Counts::default() });
        assert_eq!(counts[&q], Counts { stops: 1, ..Counts::default() });
        events.forget(&p);
        assert!(!events.counts().1.contains_key(&p));
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_is_told_what_it_missed() {
        let events = Events::default();
        let plugin: PluginName = "p".parse().unwrap();
        events.tell(&plugin, EventKind::Started);
        let mut listener = events.subscribe();
        for _ in 0..EVENTS_MAX + 10 {
            events.tell(&plugin, EventKind::Started);
        }
        assert_eq!(listener.next().await, Some(Heard::Missed(10)));
        assert!(matches!(listener.next().await, Some(Heard::Event(_))));
        drop(events);
        let mut rest = 0;
        while listener.next().await.is_some() {
            rest += 1;
        }
        assert_eq!(rest, EVENTS_MAX - 1);
    }
}
