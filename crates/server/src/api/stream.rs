//! Server-sent events: what happens to the plugins, as it happens, and on from where a client was cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use ringfence::event::{Event, Heard};
use ringfence::token::TokenId;
use ringfence_api::{ErrorCode, PluginName};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::STREAMS_PER_SESSION_MAX;
use super::answer::Events;
use super::asked::Asked;
use super::error::Failure;
use super::lease::Lease;
use crate::server::ServerLimits;

/// How long a stream is silent before it says that it is there.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The streams that are open.
#[derive(Debug)]
pub(crate) struct Streams {
    all: Arc<Semaphore>,
    limits: ServerLimits,
    /// How many each has; none is not in it.
    each: Arc<Mutex<HashMap<Holder, usize>>>,
}

/// Whose streams are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Token(TokenId),
    /// A session of the dashboard, whoever opened it.
    Session(u64),
}

/// One stream of those that there may be.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    /// For whom it is counted.
    holders: Vec<Holder>,
    each: Arc<Mutex<HashMap<Holder, usize>>>,
}

impl Streams {
    pub(super) fn new(limits: ServerLimits) -> Self {
        Self { all: Arc::new(Semaphore::new(limits.streams)), limits, each: Arc::default() }
    }

    /// One more stream. The owner at the socket has neither token nor session, and is counted among all only.
    ///
    /// # Errors
    /// `busy` when there are too many, of all, of this token or of this session.
    pub(super) fn take(&self, lease: &Lease) -> Result<Slot, Failure> {
        let busy = |message: String| {
            Failure::new(ErrorCode::Busy, message).hint("close one that is not needed any more")
        };
        let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() else {
            return Err(busy(format!("{} streams are open already", self.limits.streams)));
        };
        let token = lease.token.clone().map(|id| (Holder::Token(id), self.limits.streams_per_token, "token"));
        let session = lease.session.as_ref();
        let session = session.map(|of| (Holder::Session(of.number), STREAMS_PER_SESSION_MAX, "session"));
        let holders: Vec<_> = token.into_iter().chain(session).collect();
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        for (holder, most, words) in &holders {
            let open = each.get(holder).copied().unwrap_or_default();
            if open >= *most {
                return Err(busy(format!("this {words} has {open} streams open already")));
            }
        }
        let holders: Vec<Holder> = holders.into_iter().map(|(holder, ..)| holder).collect();
        for holder in &holders {
            *each.entry(holder.clone()).or_default() += 1;
        }
        drop(each);
        Ok(Slot { _permit: permit, holders, each: Arc::clone(&self.each) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        for holder in &self.holders {
            let Some(open) = each.get_mut(holder) else { continue };
            *open = open.saturating_sub(1);
            if *open == 0 {
                each.remove(holder);
            }
        }
    }
}

/// The text of one event.
pub(super) struct Frame;

impl Frame {
    pub(super) fn of(event: &str, id: Option<u64>, data: &impl Serialize) -> Bytes {
        // JSON has no line breaks, so it is one line of data.
        let data = serde_json::to_string(data).unwrap_or_default();
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("{id}event: {event}\ndata: {data}\n\n").into()
    }

    pub(super) fn keep_alive() -> Bytes {
        Bytes::from_static(b": still here\n\n")
    }
}

/// Everything that happens from now on, or since `Last-Event-ID` as far as it is still known.
pub(super) async fn everything(asked: Asked<(), ()>) -> Result<Events, Failure> {
    let since = match asked.header("last-event-id")? {
        None => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| {
            Failure::new(ErrorCode::Usage, "`Last-Event-ID` is a number that the stream has given")
        })?),
    };
    let slot = asked.stream()?;
    let (missed, gap, mut subscription) = match since {
        None => (Vec::new(), false, asked.host.subscribe()),
        Some(seq) => {
            let resumed = asked.host.subscribe_from(seq);
            (resumed.missed, resumed.gap, resumed.subscription)
        }
    };
    let own = asked.caller.plugin.clone();
    let mut stop = asked.api.stop.clone();
    let mut ended = asked.ended();
    Ok(Events::from(move |sender| async move {
        let follow = async {
            if sender.send(Frame::keep_alive()).await.is_err() {
                return;
            }
            // How many were forgotten, nobody knows.
            if gap && sender.send(Frame::of("missed", None, &json!({"count": null}))).await.is_err() {
                return;
            }
            for event in missed {
                if !tell(&sender, &Heard::Event(event), own.as_ref()).await {
                    return;
                }
            }
            loop {
                let heard = tokio::time::timeout(KEEP_ALIVE, subscription.next()).await;
                let goes_on = match heard {
                    Ok(Some(heard)) => tell(&sender, &heard, own.as_ref()).await,
                    Ok(None) => return,
                    Err(_silent) => sender.send(Frame::keep_alive()).await.is_ok(),
                };
                if !goes_on {
                    return;
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = crate::server::stopped(&mut stop) => {}
            () = sender.closed() => {}
            () = ended.wait() => {}
        }
        drop(slot);
    }))
}

/// Gives whether anybody listens.
async fn tell(sender: &mpsc::Sender<Bytes>, heard: &Heard, own: Option<&PluginName>) -> bool {
    let frame = match heard {
        Heard::Event(event) if own.is_some_and(|own| event.plugin.as_ref() != Some(own)) => {
            return !sender.is_closed();
        }
        Heard::Event(event) => frame_of(event),
        Heard::Missed(count) => Frame::of("missed", None, &json!({"count": count})),
    };
    sender.send(frame).await.is_ok()
}

fn frame_of(event: &Event) -> Bytes {
    Frame::of("plugin", Some(event.seq), event)
}
