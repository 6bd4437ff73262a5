//! What is delivered without anybody waiting: observations and messages, one queue and one task for each plugin.
//!
//! A plugin gets one after another, in the order in which they came. Its queue is bounded: what does not fit is dropped and
//! counted. One plugin's queue delays nobody else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ringfence_api::PluginName;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::chain;
use super::registry::Handler;
use crate::Host;
use crate::event::EventKind;
use crate::host::Inner;
use crate::store::Owner;

/// Deliveries that wait for one plugin; further ones are dropped.
pub const MAILBOX_MAX: usize = 1000;

/// Something an observer shall see.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) event: Box<str>,
    pub(super) handler: Arc<Handler>,
    /// The parameters of the request, or why there are none.
    pub(super) params: Result<Box<RawValue>, String>,
    pub(super) correlation_id: Arc<str>,
    pub(super) depth: u32,
}

/// A message for a plugin.
#[derive(Debug)]
pub(crate) struct Message {
    /// For whom; a later plugin of the same name is another one.
    pub(crate) owner: Owner,
    pub(crate) topic: Arc<str>,
    pub(crate) params: Arc<RawValue>,
    pub(crate) correlation_id: Arc<str>,
    pub(crate) depth: u32,
}

/// A delivery.
#[derive(Debug)]
pub(crate) enum Job {
    #[expect(private_interfaces, reason = "made by `observe` alone")]
    Observe(Observation),
    Message(Message),
}

/// What came of a delivery.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) failure: Option<String>,
    pub(crate) took: Duration,
}

impl Told {
    pub(super) fn lost() -> Self {
        Self { failure: Some("the host is shutting down".to_owned()), took: Duration::ZERO }
    }
}

/// Who waits for a delivery.
pub(crate) type Answer = oneshot::Receiver<Told>;

#[derive(Debug)]
struct Queued {
    job: Job,
    answer: Option<oneshot::Sender<Told>>,
    _outstanding: Outstanding,
}

/// One that is not delivered yet; counted as long as it lives.
#[derive(Debug)]
struct Outstanding {
    count: Arc<watch::Sender<usize>>,
}

impl Outstanding {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        // Whoever waits, waits for none: telling of one more would take longer than counting it.
        count.send_if_modified(|count| {
            *count += 1;
            false
        });
        Self { count: Arc::clone(count) }
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.count.send_if_modified(|count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

#[derive(Debug)]
struct Mailbox {
    sender: mpsc::Sender<Queued>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    /// How deep what is being delivered is nested.
    depth: AtomicU32,
}

/// All queues of a host.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    boxes: Mutex<HashMap<PluginName, Mailbox>>,
    outstanding: Arc<watch::Sender<usize>>,
}

impl Mailboxes {
    pub(super) fn observe(
        &self,
        host: &Host,
        seen: Observation,
        wait: bool,
    ) -> Result<Option<Answer>, String> {
        let handler = Arc::clone(&seen.handler);
        self.send(host, &handler.plugin, Job::Observe(seen), wait)
    }

    /// Puts a delivery into a plugin's queue. Never waits.
    ///
    /// # Errors
    /// Why it was dropped.
    pub(crate) fn send(
        &self,
        host: &Host,
        plugin: &PluginName,
        job: Job,
        wait: bool,
    ) -> Result<Option<Answer>, String> {
        let (answer, told) = wait.then(oneshot::channel).unzip();
        let queued = Queued { job, answer, _outstanding: Outstanding::new(&self.outstanding) };
        let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked for first: a name is copied for a queue that is not there yet, not for each delivery.
        let mailbox = match boxes.get(plugin) {
            Some(mailbox) => mailbox,
            None => boxes.entry(plugin.clone()).or_insert_with(|| open(host.downgrade(), plugin.clone())),
        };
        match mailbox.sender.try_send(queued) {
            Ok(()) => Ok(told),
            Err(_full) => {
                let dropped = mailbox.shared.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                // The first of each power of two: a flood of drops is no flood of lines.
                if dropped.is_power_of_two() {
                    tracing::warn!(plugin = %plugin, dropped, "deliveries are dropped: its queue is full");
                }
                Err(format!("{MAILBOX_MAX} deliveries wait for it already"))
            }
        }
    }

    /// How many deliveries wait for a plugin, and how many were dropped.
    pub(crate) fn depth_and_dropped(&self, plugin: &PluginName) -> (u64, u64) {
        let boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        boxes.get(plugin).map_or((0, 0), |mailbox| {
            let waiting = mailbox.sender.max_capacity().saturating_sub(mailbox.sender.capacity());
            let dropped = mailbox.shared.dropped.load(Ordering::Relaxed);
            (u64::try_from(waiting).unwrap_or(u64::MAX), dropped)
        })
    }

    /// How many deliveries wait for any plugin, those under way included.
    pub(crate) fn waiting(&self) -> u64 {
        u64::try_from(*self.outstanding.borrow()).unwrap_or(u64::MAX)
    }

    /// How deep what is being delivered to this plugin is nested; 0 when nothing is.
    pub(crate) fn depth_of(&self, plugin: &PluginName) -> u32 {
        let boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        boxes.get(plugin).map_or(0, |mailbox| mailbox.shared.depth.load(Ordering::Relaxed))
    }

    /// Waits until everything is delivered, at most this long. Gives whether it is. Cancel safe.
    pub(crate) async fn settle(&self, most: Duration) -> bool {
        let mut count = self.outstanding.subscribe();
        let settled = count.wait_for(|count| *count == 0);
        tokio::time::timeout(most, settled).await.is_ok_and(|settled| settled.is_ok())
    }

    /// Drops what waits for a plugin, or for all, and ends their tasks.
    pub(crate) async fn close(&self, plugin: Option<&PluginName>) {
        let closed: Vec<Mailbox> = {
            let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
            match plugin {
                Some(plugin) => boxes.remove(plugin).into_iter().collect(),
                None => boxes.drain().map(|(_, mailbox)| mailbox).collect(),
            }
        };
        for mailbox in closed {
            mailbox.task.abort();
            // Aborted or ended: both are the end.
            let _ended = mailbox.task.await;
        }
    }
}

fn open(host: Weak<Inner>, plugin: PluginName) -> Mailbox {
    let (sender, queue) = mpsc::channel(MAILBOX_MAX);
    let shared = Arc::new(Shared::default());
    let task = tokio::spawn(deliver_all(host, plugin, queue, Arc::clone(&shared)));
    Mailbox { sender, shared, task }
}

/// Ends with its queue or its host.
async fn deliver_all(
    host: Weak<Inner>,
    plugin: PluginName,
    mut queue: mpsc::Receiver<Queued>,
    shared: Arc<Shared>,
) {
    while let Some(queued) = queue.recv().await {
        let Some(host) = Host::from_weak(&host) else { return };
        let begun = Instant::now();
        let (depth, correlation_id, what) = match &queued.job {
            Job::Observe(seen) => (seen.depth, &seen.correlation_id, &*seen.event),
            Job::Message(message) => (message.depth, &message.correlation_id, &*message.topic),
        };
        let entered = host.context().hooks.depths.enter_at(correlation_id, depth, what);
        let failure = match entered {
            Ok(entered) => {
                shared.depth.store(entered.depth, Ordering::Relaxed);
                let failure = deliver(&host, &plugin, &queued.job, begun).await;
                shared.depth.store(0, Ordering::Relaxed);
                failure
            }
            Err(error) => Some(error.message().to_owned()),
        };
        if let Some(reason) = &failure {
            let kind = EventKind::HookFailed { hook: what.to_owned(), reason: reason.clone() };
            host.context().events.tell(&plugin, kind);
        }
        if let Some(answer) = queued.answer {
            // Whoever waited may have given up.
            let _nobody = answer.send(Told { failure, took: begun.elapsed() });
        }
    }
}

async fn deliver(host: &Host, plugin: &PluginName, job: &Job, begun: Instant) -> Option<String> {
    match job {
        Job::Observe(seen) => {
            let seen_it = chain::observe(host, seen).await;
            let counts = seen_it.as_ref().err().map(|(_, counts)| *counts);
            chain::remember(&seen.handler, counts, begun.elapsed());
            seen_it.err().map(|(reason, _)| reason)
        }
        Job::Message(message) => host.deliver_message(plugin, message).await.err(),
    }
}
