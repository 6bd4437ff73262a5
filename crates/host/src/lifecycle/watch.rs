//! The look-out of a host: whether what is stored of a running plugin was changed, by this process or by another one.
//!
//! While something runs, the database is asked twenty times a second whether anybody has written to it, and each lock
//! whether it was retired. What was changed is compared with what each plugin was started with. What may not run on is
//! killed from here, whatever its owner is busy with; everything else its owner is told of.
//!
//! A plugin that is found to exceed nothing of what is stored moves over to the lock that is current, and so whoever made
//! the change does not wait for it any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ringfence_api::{ErrorCode, PluginName};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::context::Context;
use super::drift::{Drift, Overtaken};
use super::ending::Why;
use super::monitor::{Command, Watched};
use super::target::Target;
use crate::Error;
use crate::store::{Changes, Seen};

/// How often it is looked whether anything was changed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What runs in this host, for the look-out.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    running: Mutex<Vec<Arc<Live>>>,
    /// Whether the task looks. It ends when nothing runs.
    is_awake: AtomicBool,
    /// One look at a time. Opened by the first, and used by nobody else: looks take no reader away.
    changes: Mutex<Option<Changes>>,
}

/// A plugin that runs, or is being started, as the look-out sees it.
#[derive(Debug)]
pub(crate) struct Live {
    target: Arc<Target>,
    watched: Watched,
    overtaken: OnceLock<Overtaken>,
    /// Whether it has answered `initialize`: what has not is only killed.
    is_up: AtomicBool,
    /// Whether it was found to be as it is stored.
    is_settled: AtomicBool,
    drift: Mutex<Drift>,
    attention: Notify,
}

impl Live {
    pub(crate) fn new(target: Arc<Target>, watched: Watched) -> Self {
        Self {
            target,
            watched,
            overtaken: OnceLock::new(),
            is_up: AtomicBool::new(false),
            is_settled: AtomicBool::new(false),
            drift: Mutex::default(),
            attention: Notify::new(),
        }
    }

    /// It takes calls from now on.
    pub(crate) fn is_up(&self) {
        self.is_up.store(true, Ordering::Release);
    }

    /// Whether it is known to be as it is stored. Whoever has answered for a change before this was asked is heeded. It takes
    /// a fifth of a microsecond.
    pub(crate) fn is_as_stored(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
            && self.target.run.as_ref().is_none_or(|run| run.lock.is_unmarked())
    }

    /// Why it may not run on; the first reason that was found.
    pub(crate) fn overtaken(&self) -> Option<&Overtaken> {
        self.overtaken.get()
    }

    /// What was different at the last look.
    pub(crate) fn drift(&self) -> Drift {
        self.drift.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until its owner has something to do about it. Cancel safe.
    pub(crate) async fn attention(&self) {
        self.attention.notified().await;
    }

    fn overtake(&self, why: Overtaken) {
        let at_once = why.is_at_once() || !self.is_up.load(Ordering::Acquire);
        // The first reason is the one that ends it; a later one may only make it end faster.
        self.overtaken.get_or_init(|| why);
        if at_once {
            self.watched.tell(Command::Kill(Why::Overtaken));
        }
    }
}

impl Watch {
    /// Looks after it until it has ended.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn add(context: &Arc<Context>, live: Arc<Live>) {
        let watch = &context.watch;
        watch.running().push(live);
        if !watch.is_awake.swap(true, Ordering::AcqRel) {
            // Ends when nothing runs, or the host is gone.
            tokio::spawn(look_out(Arc::downgrade(context)));
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Live>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a plugin that is being started is what is stored. It blocks.
    ///
    /// # Errors
    /// `busy` or `io` when that cannot be told.
    pub(crate) fn is_as_stored(&self, context: &Context, target: &Target) -> Result<bool, Error> {
        let Some(run) = &target.run else { return Ok(true) };
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        match opened(context, &mut changes)?.standing(&target.name, run.started.mark()) {
            Ok(Seen::Same) => Ok(true),
            Ok(Seen::At(stored)) => Ok(run.started.drift(&stored).is_none()),
            Ok(Seen::Nothing) => Ok(false),
            Err(error) if error.code() == ErrorCode::PermissionDenied => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks at once, instead of at the next tick: what was committed before the call is seen. It blocks.
    pub(crate) fn look(&self, context: &Context, which: Option<&PluginName>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let running = {
            let mut running = self.running();
            running.retain(|live| live.watched.exit().is_none());
            running.clone()
        };
        if running.is_empty() {
            return;
        }
        let changes = match opened(context, &mut changes) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "what is stored cannot be compared");
                return;
            }
        };
        // One plugin is compared anyway; what else was changed is left for the tick. Where it cannot be told whether anybody has
        // written, somebody may have.
        let is_changed = which.is_some() || changes.any().unwrap_or(true);
        let wanted = running.iter().filter(|live| which.is_none_or(|name| *name == live.target.name));
        for live in wanted {
            let was_settled = live.is_settled.load(Ordering::Acquire);
            let is_current = live.target.run.as_ref().is_none_or(|run| run.lock.is_current());
            if !is_changed && was_settled && is_current {
                continue;
            }
            // While the lock is current, no change has been answered for that this plugin might not know: calls go on to it
            // meanwhile. The audit trail alone writes twenty times a second, and each time every call would have to ask.
            // INVARIANT: unsettled before the lock is renewed, or a call between both would take it for what is stored.
            if !is_current {
                live.is_settled.store(false, Ordering::Release);
            }
            match examine(context, changes, live, is_current) {
                Ok(is_settled) => {
                    live.is_settled.store(is_settled, Ordering::Release);
                    // Whoever looks at one plugin acts on it; woken by its own look, the owner would never rest.
                    if !is_settled && which.is_none() {
                        live.attention.notify_one();
                    }
                }
                Err(error) => {
                    // Tried again at the next look, and by every call; told once.
                    live.is_settled.store(false, Ordering::Release);
                    if was_settled {
                        tracing::warn!(plugin = %live.target.name, error = %error.chain(), "what is stored cannot be compared");
                    }
                }
            }
        }
    }
}

fn opened<'c>(context: &Context, changes: &'c mut Option<Changes>) -> Result<&'c mut Changes, Error> {
    Ok(match changes {
        Some(changes) => changes,
        None => changes.insert(context.store.changes()?),
    })
}

/// Compares one plugin, and acts on what cannot wait. Whether it is as it is stored.
fn examine(context: &Context, changes: &mut Changes, live: &Live, is_current: bool) -> Result<bool, Error> {
    let Some(run) = &live.target.run else { return Ok(true) };
    // Before what is stored is read: who changes it afterwards waits for this lock.
    let next = match is_current {
        true => None,
        false => Some(context.run_locks.share_again(&run.lock)?),
    };
    let drift = match changes.standing(&live.target.name, run.started.mark()) {
        Ok(Seen::Same) => Drift::default(),
        Ok(Seen::At(stored)) => run.started.drift(&stored),
        Ok(Seen::Nothing) => Drift { overtaken: Some(Overtaken::Removed), ..Drift::default() },
        Err(error) if error.code() == ErrorCode::PermissionDenied => {
            Drift { overtaken: Some(Overtaken::Untrusted), ..Drift::default() }
        }
        Err(error) => return Err(error),
    };
    if !drift.is_none() {
        // Who takes part in events may have changed with it.
        context.hooks.invalidate();
    }
    *live.drift.lock().unwrap_or_else(PoisonError::into_inner) = drift.clone();
    if let Some(why) = drift.overtaken {
        live.overtake(why);
        return Ok(false);
    }
    // It exceeds nothing: whoever takes something away need not wait for it.
    if let Some(next) = next {
        run.lock.renew(next);
    }
    Ok(!drift.gained && drift.configured.is_none())
}

async fn look_out(context: std::sync::Weak<Context>) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(context) = context.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || {
            context.watch.look(&context, None);
            let running = context.watch.running();
            // INVARIANT: what is added after this finds the task asleep, and wakes another.
            if running.is_empty() {
                context.watch.is_awake.store(false, Ordering::Release);
            }
            !running.is_empty()
        });
        if !looked.await.unwrap_or(false) {
            return;
        }
    }
}
