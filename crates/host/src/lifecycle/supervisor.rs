//! One task that owns one plugin: it starts it, asks whether it still answers, tries again after a crash, and gives up.
//!
//! Others send it [`Event`]s. Everything that can wake it stands in one `select`: an event, the end of the plugin, and the
//! next moment at which something is due. The moves are those of the pure table in `state`; the waits those of `restart`.

mod failure;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringfence_api::rpc::method;
use ringfence_api::{ErrorCode, PluginName, Violation, Wire};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::context::Context;
use super::ending::{Exit, Why};
use super::follow::{Haste, Telling};
use super::instance::{self, Instance};
use super::log::LogSource;
use super::monitor::Command;
use super::restart::HEALTHY_AFTER;
use super::state::Move;
use super::target::{Occasion, Target};
use crate::Error;
use crate::rpc::CallMeta;
use failure::Failure;

/// Events that wait; whoever sends one more waits.
const EVENTS_MAX: usize = 64;
/// How often a running plugin is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after its pipe has closed a plugin's end is waited for: it comes to be known a moment later.
const END_IS_NEAR: Duration = Duration::from_millis(200);
/// Pings without an answer before a plugin counts as hung: one may be late on a busy machine.
pub const PING_MISSES_MAX: u32 = 3;
/// How long an answer to a ping may take.
pub const PING_LIMIT: Duration = Duration::from_secs(5);
/// How long a plugin may take to give up a call that was cancelled or too slow; then it is stopped.
pub const CANCEL_GRACE: Duration = Duration::from_secs(3);
/// Faults against the protocol in one run before the plugin is quarantined.
pub const FAULTS_MAX: u64 = 1000;

/// What others want of a plugin.
#[derive(Debug)]
enum Event {
    /// It shall run; the answer is the running plugin.
    Start { occasion: Occasion, reply: oneshot::Sender<Result<Arc<Instance>, Error>> },
    /// It shall not run. Its recorded state is the business of whoever sends this.
    Stop { reply: oneshot::Sender<()> },
    /// What it is granted, its configuration or its version is another: what runs follows at once.
    Follow { reply: oneshot::Sender<Result<(), Error>> },
}

/// What a plugin is doing, for those who call it.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Nothing runs.
    Stopped,
    /// It takes calls.
    Running(Arc<Instance>),
    /// It has crashed and is tried again after a while.
    Waiting,
}

/// The handle of one plugin's task.
#[derive(Debug)]
pub(crate) struct Supervisor {
    events: mpsc::Sender<Event>,
    phase: watch::Receiver<Phase>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Supervisor {
    /// Starts the task; nothing of the plugin runs yet.
    pub(crate) fn spawn(context: Arc<Context>, name: PluginName) -> Self {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (told, phase) = watch::channel(Phase::Stopped);
        let owner = Owner {
            context,
            name,
            events: receiver,
            phase: told,
            running: None,
            attempt: 0,
            restart_at: None,
            look_at: Instant::now(),
            ping: Ping::default(),
            overdue_since: None,
            deferred: None,
            unrecorded: None,
            telling: None,
            refused: None,
        };
        let task = tokio::spawn(owner.run());
        Self { events, phase, task: std::sync::Mutex::new(Some(task)) }
    }

    /// The running plugin, if it runs and nothing has overtaken it.
    pub(crate) fn running(&self) -> Option<Arc<Instance>> {
        match &*self.phase.borrow() {
            Phase::Running(instance)
                if instance.live.overtaken().is_none() && !instance.watched.has_ended() =>
            {
                Some(Arc::clone(instance))
            }
            _ => None,
        }
    }

    /// The running plugin, if it is known to be as it is stored.
    pub(crate) fn up_to_date(&self) -> Option<Arc<Instance>> {
        self.running().filter(|instance| instance.live.is_as_stored())
    }

    /// The running plugin, started if need be. Cancel safe: a start that was begun goes on.
    ///
    /// # Errors
    /// What [`instance::start`] says; `plugin_failed` while it waits after a crash.
    pub(crate) async fn start(&self, occasion: Occasion) -> Result<Arc<Instance>, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Start { occasion, reply }).await?;
        answer.await.map_err(|_| gone())?
    }

    /// Stops it, and waits until nothing of it runs. Cancel safe: the stop goes on.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(Event::Stop { reply }).await.is_ok() {
            // A task that has ended has stopped its plugin.
            let _done = answer.await;
        }
    }

    /// After a change: what runs is told of its configuration, started anew with what it may do now, or stopped, and all of
    /// that has happened when this returns. Cancel safe: it goes on.
    ///
    /// # Errors
    /// What [`instance::start`] says.
    pub(crate) async fn follow(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Follow { reply }).await?;
        answer.await.map_err(|_| gone())?
    }

    async fn send(&self, event: Event) -> Result<(), Error> {
        self.events.send(event).await.map_err(|_| gone())
    }

    /// Stops the plugin and joins the task.
    pub(crate) async fn end(&self) {
        self.stop().await;
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        if let Some(task) = task {
            task.abort();
            // Aborted or ended: both are the end.
            let _ended = task.await;
        }
    }
}

/// Whoever waits for a start that is under way.
enum Reply {
    Start(oneshot::Sender<Result<Arc<Instance>, Error>>),
    Follow(oneshot::Sender<Result<(), Error>>),
}

impl Reply {
    /// Whoever asked may have given up.
    fn answer(self, started: &Result<Arc<Instance>, Error>) {
        let copy = started.as_ref().map(Arc::clone).map_err(Error::to_others);
        match self {
            Self::Start(reply) => drop(reply.send(copy)),
            Self::Follow(reply) => drop(reply.send(copy.map(drop))),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorCode::NotActive, "the host is shutting down").with_hint("start it again")
}

#[derive(Debug, Default)]
struct Ping {
    next: Option<Instant>,
    misses: u32,
    answer: Option<oneshot::Receiver<bool>>,
}

pub(super) struct Owner {
    pub(super) context: Arc<Context>,
    pub(super) name: PluginName,
    events: mpsc::Receiver<Event>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) running: Option<Arc<Instance>>,
    pub(super) attempt: u32,
    pub(super) restart_at: Option<Instant>,
    look_at: Instant,
    ping: Ping,
    overdue_since: Option<Instant>,
    /// What came while a start was under way, and ended it.
    deferred: Option<Event>,
    /// A failure that the store did not take. Until it does, nothing is started: how often it failed is not known.
    unrecorded: Option<Failure>,
    /// The configuration that the running plugin is being told.
    pub(super) telling: Option<Telling>,
    /// The revision of the configuration that the running plugin has refused: it is started anew with it.
    pub(super) refused: Option<i64>,
}

impl Owner {
    async fn run(mut self) {
        loop {
            let event = match self.deferred.take() {
                Some(event) => Some(event),
                None => {
                    let due = self.due();
                    let running = self.running.clone();
                    tokio::select! {
                        biased;
                        event = self.events.recv() => Some(match event {
                            Some(event) => event,
                            None => break,
                        }),
                        exit = ended(running.clone()) => { self.has_ended(exit).await; None }
                        taken = Telling::answer(&mut self.telling) => { self.was_told(taken).await; None }
                        () = attention(running) => { self.follow(Haste::WhenIdle).await.ok(); None }
                        () = tokio::time::sleep_until(due.into()) => { self.act_on_time().await; None }
                    }
                }
            };
            if let Some(event) = event {
                self.take(event).await;
            }
        }
        self.stop().await;
    }

    /// The next moment at which something is due. Far away when nothing is.
    fn due(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(3600);
        let look = self.running.is_some().then_some(self.look_at);
        let far = Instant::now() + FAR;
        [look, self.restart_at].into_iter().flatten().min().unwrap_or(far)
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Start { occasion, reply } => {
                self.record_what_is_due().await;
                let started = self.serve(occasion).await;
                // Whoever asked may have given up.
                let _nobody = reply.send(started);
            }
            Event::Stop { reply } => {
                self.restart_at = None;
                self.attempt = 0;
                self.stop().await;
                if let Some(failure) = &mut self.unrecorded {
                    // What is not wanted any more is not errored; that it crashed still counts.
                    (failure.by, failure.again) = (Move::Deactivate, false);
                }
                self.phase.send_replace(Phase::Stopped);
                let _nobody = reply.send(());
            }
            Event::Follow { reply } => {
                let followed = self.follow(Haste::AtOnce).await;
                match &mut self.telling {
                    Some(telling) if followed.is_ok() => telling.replies.push(reply),
                    _ => drop(reply.send(followed)),
                }
            }
        }
    }

    /// The running plugin, as it is stored now; started if nothing runs.
    async fn serve(&mut self, occasion: Occasion) -> Result<Arc<Instance>, Error> {
        self.follow(Haste::WhenIdle).await?;
        match (&self.running, self.restart_at) {
            (Some(running), _) => Ok(Arc::clone(running)),
            (None, _) if self.unrecorded.is_some() => Err(self.not_recorded()),
            (None, Some(at)) if at > Instant::now() => Err(self.waits(at)),
            (None, _) => self.bring_up(occasion).await,
        }
    }

    fn waits(&self, at: Instant) -> Error {
        let left = at.saturating_duration_since(Instant::now());
        let message =
            format!("{} has crashed and is started again in {:.1} s", self.name, left.as_secs_f64());
        Error::new(ErrorCode::PluginFailed, message)
            .with_hint(format!("read its log: ringfence logs {}", self.name))
    }

    /// Starts it. A stop that comes meanwhile ends the start; a change begins it again, with what holds by then.
    pub(super) async fn bring_up(&mut self, occasion: Occasion) -> Result<Arc<Instance>, Error> {
        self.restart_at = None;
        let mut waiting = Vec::new();
        let started = loop {
            if let Some(started) = self.start_once(occasion, &mut waiting).await {
                break started;
            }
        };
        for reply in waiting {
            reply.answer(&started);
        }
        started
    }

    /// Whether what is being started would be started in the same way under the policy of this moment.
    async fn is_under_policy(&self, target: &Arc<Target>) -> bool {
        let generation = target.policy_generation.load(Ordering::Relaxed);
        if self.context.policy.unchanged_anew().is_some_and(|known| known.generation == generation) {
            return true;
        }
        let (context, judged) = (Arc::clone(&self.context), Arc::clone(target));
        self.context.store.run(move |_| judged.holds(&context)).await.is_ok_and(|holds| holds)
    }

    /// `None`: what it was started with is not what holds any more.
    async fn start_once(
        &mut self,
        occasion: Occasion,
        waiting: &mut Vec<Reply>,
    ) -> Option<Result<Arc<Instance>, Error>> {
        let target = match Target::load(&self.context, &self.name, occasion).await {
            Ok(target) => target,
            Err(error) => {
                self.context.start_refused(&self.name, &error).await;
                return Some(Err(error));
            }
        };
        let context = Arc::clone(&self.context);
        let start = instance::start(&context, Arc::clone(&target));
        tokio::pin!(start);
        let started = loop {
            tokio::select! {
                biased;
                started = &mut start => break started,
                // A policy that comes meanwhile is not waited with until the plugin has answered.
                () = tokio::time::sleep(crate::host::POLICY_LOOK_EVERY) => {
                    if !self.is_under_policy(&target).await {
                        return None;
                    }
                }
                event = self.events.recv() => match event {
                    Some(Event::Start { reply, .. }) => waiting.push(Reply::Start(reply)),
                    Some(Event::Follow { reply }) => {
                        waiting.push(Reply::Follow(reply));
                        if !self.is_as_stored(&target).await {
                            return None;
                        }
                    }
                    other => {
                        self.deferred = other;
                        break Err(Error::new(ErrorCode::Cancelled, "the start was cancelled"));
                    }
                }
            }
        };
        Some(match started {
            Ok(instance) => {
                let instance = Arc::new(instance);
                self.is_up(&instance, occasion).await;
                Ok(instance)
            }
            // What was changed meanwhile has ended the start: it begins again, or is refused, by what holds now.
            Err(_) if !self.is_as_stored(&target).await => return None,
            Err(error) => {
                self.did_not_start(&target, &error).await;
                Err(error)
            }
        })
    }

    async fn is_up(&mut self, instance: &Arc<Instance>, occasion: Occasion) {
        self.running = Some(Arc::clone(instance));
        self.look_at = Instant::now() + LOOK_EVERY;
        let speaks_ping = instance.target.manifest.wire == Wire::JsonRpc;
        let interval = self.context.config().plugins.ping_interval;
        self.ping = Ping { next: speaks_ping.then(|| Instant::now() + interval), ..Ping::default() };
        self.overdue_since = None;
        self.refused = None;
        self.phase.send_replace(Phase::Running(Arc::clone(instance)));
        self.context.came_up(&instance.target, occasion).await;
    }

    async fn did_not_start(&mut self, target: &Arc<Target>, error: &Error) {
        if error.code() == ErrorCode::Cancelled {
            return;
        }
        target.log.line(LogSource::Host, Some("error"), &format!("start failed: {error}"));
        if error.code() == ErrorCode::Quota {
            // It was not let run: no crash of its own, and nothing that gets better by trying again.
            self.context.moved(target, Move::StartFailed, Some(&error.to_string())).await;
            self.phase.send_replace(Phase::Stopped);
            return;
        }
        self.count_failure(target, Move::StartFailed, error.to_string(), false).await;
    }

    /// It has ended, and nobody had stopped it.
    async fn has_ended(&mut self, exit: Option<Arc<Exit>>) {
        let Some(instance) = self.running.take() else { return };
        if let Some(overtaken) = instance.live.overtaken().cloned() {
            // The failure of the next start is recorded and told; there is nobody else to answer to.
            return drop(self.give_way(instance, &overtaken).await);
        }
        let reason = exit.as_ref().map_or_else(|| "it is gone".to_owned(), |exit| exit.reason());
        let target = Arc::clone(&instance.target);
        target.log.line(LogSource::Host, Some("error"), &format!("ended: {reason}"));
        // Joins its tasks: the end is recorded and told before what follows from it.
        instance.stop(Why::Asked).await;
        if instance.started_at.elapsed() >= HEALTHY_AFTER {
            self.attempt = 0;
        }
        let protocol = exit.is_some_and(|exit| exit.violation == Some(Violation::Protocol));
        self.phase.send_replace(Phase::Stopped);
        self.count_failure(&target, Move::Crash, reason, protocol).await;
    }

    async fn act_on_time(&mut self) {
        let now = Instant::now();
        if self.restart_at.is_some_and(|at| at <= now) && self.running.is_none() {
            self.restart_at = None;
            self.record_what_is_due().await;
            if self.restart_at.is_none() && matches!(*self.phase.borrow(), Phase::Waiting) {
                self.start_again().await;
            }
        }
        if let Some(instance) = self.running.clone().filter(|_| self.look_at <= now) {
            self.look_at = now + LOOK_EVERY;
            self.look_after(&instance, now);
        }
    }

    /// Does it answer, does it keep to the protocol, does it give up what was cancelled?
    fn look_after(&mut self, instance: &Arc<Instance>, now: Instant) {
        let stop = |violation, why: String| {
            instance.watched.tell(Command::Stop(Why::broken(violation, why), Duration::ZERO));
        };
        let faults = instance.connection.counters().faults();
        if faults > FAULTS_MAX {
            let why = format!("it made {faults} faults against the protocol; {FAULTS_MAX} is the most");
            return stop(Violation::Protocol, why);
        }
        self.overdue_since = match (instance.connection.overdue(), self.overdue_since) {
            (0, _) => None,
            (_, since) => since.or(Some(now)),
        };
        if self.overdue_since.is_some_and(|since| now.duration_since(since) >= CANCEL_GRACE) {
            let why = format!(
                "it did not give up a call within {} s of being told that nobody waits for it any more",
                CANCEL_GRACE.as_secs_f64()
            );
            return stop(Violation::Timeout, why);
        }
        self.ask(instance, now);
        if self.ping.misses >= PING_MISSES_MAX {
            let limit = PING_LIMIT.as_secs_f64();
            stop(
                Violation::Timeout,
                format!("it did not answer {PING_MISSES_MAX} pings within {limit} s each"),
            );
        }
    }

    fn ask(&mut self, instance: &Arc<Instance>, now: Instant) {
        if let Some(answer) = &mut self.ping.answer {
            match answer.try_recv() {
                Ok(true) => (self.ping.misses, self.ping.answer) = (0, None),
                Ok(false) | Err(oneshot::error::TryRecvError::Closed) => {
                    self.ping.misses += 1;
                    self.ping.answer = None;
                }
                Err(oneshot::error::TryRecvError::Empty) => return,
            }
        }
        if self.ping.next.is_none_or(|at| at > now) {
            return;
        }
        self.ping.next = Some(now + self.context.config().plugins.ping_interval);
        let (told, answer) = oneshot::channel();
        self.ping.answer = Some(answer);
        let connection = instance.connection.clone();
        let correlation_id = self.context.correlation_id();
        // Ends within PING_LIMIT, and nobody waits for it but this owner.
        tokio::spawn(async move {
            let answered = match RawValue::from_string("{}".to_owned()) {
                Ok(empty) => {
                    let meta = CallMeta { correlation_id: &correlation_id, deadline: now + PING_LIMIT };
                    connection.request(method::PING, &empty, meta).await.is_ok()
                }
                Err(_) => false,
            };
            let _nobody = told.send(answered);
        });
    }

    pub(super) async fn stop(&mut self) {
        let Some(instance) = self.running.take() else { return };
        self.phase.send_replace(Phase::Stopped);
        if instance.connection.is_closed() {
            // It may have ended by itself a moment ago: then it is not this stop that ended it.
            let _ended = tokio::time::timeout(END_IS_NEAR, instance.watched.ended()).await;
        }
        let exit = instance.stop(Why::Asked).await;
        // One that was over its quota in the end counts like any other breach.
        let counts = |exit: &Arc<Exit>| !exit.asked || exit.violation == Some(Violation::FileSize);
        if let Some(exit) = exit.filter(counts) {
            self.count_late(&instance.target, &exit).await;
        }
    }
}

async fn attention(running: Option<Arc<Instance>>) {
    match running {
        Some(instance) => instance.live.attention().await,
        None => std::future::pending().await,
    }
}

async fn ended(running: Option<Arc<Instance>>) -> Option<Arc<Exit>> {
    match running {
        Some(instance) => instance.watched.ended().await,
        None => std::future::pending().await,
    }
}
