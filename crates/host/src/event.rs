//! What a host tells those who listen: states, denials, violations, warnings, log lines.
//!
//! A listener that does not read misses the oldest events and is told how many; it never delays a plugin.

use ringfence_api::{Denial, PluginName, PluginState, Violation};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::lifecycle::LogLine;

/// Events that wait for a listener that does not read; then the oldest are dropped.
pub const EVENTS_MAX: usize = 1024;

/// Something that happened to a plugin.
///
/// ```
/// use ringfence::event::{Event, EventKind};
/// use ringfence_api::PluginState;
///
/// let kind = EventKind::State { state: PluginState::Active, reason: None };
/// let event = Event { at_ms: 7, plugin: "greeter".parse()?, kind };
/// assert_eq!(
///     serde_json::to_string(&event)?,
///     r#"{"at_ms":7,"plugin":"greeter","kind":{"event":"state","state":"active"}}"#,
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When, in unix milliseconds.
    pub at_ms: i64,
    /// Which plugin.
    pub plugin: PluginName,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
        /// What, by which layer, which grant would allow it, and how often since it was last told.
        denial: Denial,
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

/// The sending end: cheap to clone, never waits.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(EVENTS_MAX) }
    }
}

impl Events {
    pub(crate) fn tell(&self, plugin: &PluginName, kind: EventKind) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let event = Event { at_ms: crate::clock::now_ms(), plugin: plugin.clone(), kind };
        // Nobody listening is no failure.
        let _nobody = self.sender.send(event);
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.sender.subscribe() }
    }
}

/// The events of a host from the moment of [`subscribe`](crate::Host::subscribe) on.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
}

/// What a subscription gives.
#[derive(Clone, Debug, PartialEq)]
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
