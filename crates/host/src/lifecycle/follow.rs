//! How the owner of a plugin follows what is stored: what runs hears of its configuration, is started anew, or ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_api::rpc::method;
use ringfence_api::{ErrorCode, Wire};
use serde_json::Value;
use tokio::sync::oneshot;

use super::context::Context;
use super::drift::Overtaken;
use super::ending::Why;
use super::instance::Instance;
use super::supervisor::{Owner, Phase};
use super::target::{Occasion, Target, with_defaults};
use crate::Error;
use crate::rpc::CallMeta;

/// How long the end of what was killed is waited for before it is stopped like any other.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// When something that runs hears of what takes nothing from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Now: whoever changed it waits for that.
    AtOnce,
    /// As soon as no call is under way: whoever changed it is in another process, and knows nothing of the calls of this one.
    WhenIdle,
}

/// A configuration on its way to the running plugin.
pub(super) struct Telling {
    instance: Arc<Instance>,
    revision: i64,
    answer: oneshot::Receiver<Result<(), Error>>,
    /// Whoever waits for it.
    pub(super) replies: Vec<oneshot::Sender<Result<(), Error>>>,
}

impl Telling {
    /// Waits for the plugin's answer; for ever while nothing is told. Cancel safe.
    pub(super) async fn answer(telling: &mut Option<Self>) -> Result<(), Error> {
        match telling {
            Some(telling) => match (&mut telling.answer).await {
                Ok(taken) => taken,
                Err(_) => Err(Error::new(ErrorCode::Internal, "a configuration was not handed over")),
            },
            None => std::future::pending().await,
        }
    }
}

impl Owner {
    /// Compares what runs with what is stored, and does what follows from it. A configuration is only begun to be told.
    ///
    /// # Errors
    /// What a start says, when one was needed.
    pub(super) async fn follow(&mut self, haste: Haste) -> Result<(), Error> {
        let Some(instance) = self.running.clone() else { return Ok(()) };
        if instance.target.run.is_none() {
            return Ok(());
        }
        self.look().await;
        if let Some(overtaken) = instance.live.overtaken().cloned() {
            self.running = None;
            return self.give_way(instance, &overtaken).await;
        }
        let drift = instance.live.drift();
        let refused = drift.configured.is_some()
            && (drift.configured == self.refused || instance.target.manifest.wire == Wire::Legacy);
        if (drift.gained || refused) && (haste == Haste::AtOnce || instance.is_idle()) {
            self.stop().await;
            return self.bring_up(Occasion::Calls).await.map(drop);
        }
        if drift.configured.is_some() && !refused && self.telling.is_none() {
            self.telling = tell(&self.context, instance, haste).await;
        }
        Ok(())
    }

    async fn look(&self) {
        let (context, name) = (Arc::clone(&self.context), self.name.clone());
        // A look that was lost is made again at the next tick.
        let _looked = tokio::task::spawn_blocking(move || context.watch.look(&context, Some(&name))).await;
    }

    /// Whether a plugin that is being started is what is stored. Where that cannot be told, it is left to the look-out.
    pub(super) async fn is_as_stored(&self, target: &Arc<Target>) -> bool {
        let (context, target) = (Arc::clone(&self.context), Arc::clone(target));
        let store = context.store.clone();
        store.run(move |_| context.watch.is_as_stored(&context, &target)).await.unwrap_or(true)
    }

    /// Ends what was overtaken; then it is started again, if it still may run.
    ///
    /// # Errors
    /// What the start says.
    pub(super) async fn give_way(
        &mut self,
        instance: Arc<Instance>,
        overtaken: &Overtaken,
    ) -> Result<(), Error> {
        self.phase.send_replace(Phase::Stopped);
        self.restart_at = None;
        if overtaken.is_at_once() {
            // It was killed by whoever saw it first.
            let _gone = tokio::time::timeout(KILL_WAIT, instance.watched.ended()).await;
        }
        instance.stop(Why::Asked).await;
        drop(instance);
        match overtaken.starts_again() {
            true => self.bring_up(Occasion::Calls).await.map(drop),
            false => Ok(()),
        }
    }

    /// A configuration was taken, or not: then the plugin is started anew with it.
    pub(super) async fn was_told(&mut self, taken: Result<(), Error>) {
        let Some(telling) = self.telling.take() else { return };
        let still_runs = self.running.as_ref().is_some_and(|running| Arc::ptr_eq(running, &telling.instance));
        let done = match taken {
            Err(_) if still_runs => {
                self.refused = Some(telling.revision);
                let haste = if telling.replies.is_empty() { Haste::WhenIdle } else { Haste::AtOnce };
                self.follow(haste).await
            }
            // What has ended meanwhile starts with it.
            _ => Ok(()),
        };
        for reply in telling.replies {
            let _nobody = reply.send(done.as_ref().copied().map_err(Error::to_others));
        }
        // It may have been changed once more, and whoever waits for this one needs not wait for the next tick.
        self.look().await;
    }
}

/// Hands the stored configuration over, in a task that ends by itself or with the plugin; it is written when this returns,
/// so a call that comes later is heard later. `None`: it cannot be read now, which the next look tries again.
async fn tell(context: &Arc<Context>, instance: Arc<Instance>, haste: Haste) -> Option<Telling> {
    let owner = instance.target.owner.clone();
    let stored = match context.store.run(move |store| store.config(&owner)).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(plugin = %instance.target.name, error = %error.chain(), "a configuration cannot be told");
            return None;
        }
    };
    let revision = stored.as_ref().map_or(0, |row| row.revision);
    let config = stored.map_or_else(|| Value::Object(serde_json::Map::new()), |row| row.value);
    let limits = &instance.target.limits;
    // Nobody but a caller of this host may end the calls that are under way: a plugin that takes one thing after another has
    // until these are over.
    let limit = match haste {
        Haste::AtOnce => limits.init_timeout,
        Haste::WhenIdle => limits.init_timeout + limits.call_timeout,
    };
    let correlation_id = context.correlation_id();
    let to = Arc::clone(&instance);
    let mut handing =
        Box::pin(async move { hand_over(&to, config, &correlation_id, Instant::now() + limit).await });
    let (told, answer) = oneshot::channel();
    let at_once = tokio::select! {
        biased;
        taken = &mut handing => Some(taken),
        () = std::future::ready(()) => None,
    };
    let known = Arc::clone(&instance);
    tokio::spawn(async move {
        let taken = match at_once {
            Some(taken) => taken,
            None => handing.await,
        };
        if let Some(run) = known.target.run.as_ref().filter(|_| taken.is_ok()) {
            run.started.was_told(revision);
        }
        let _nobody = told.send(taken);
    });
    Some(Telling { instance, revision, answer, replies: Vec::new() })
}

async fn hand_over(
    instance: &Instance,
    config: Value,
    correlation_id: &str,
    deadline: Instant,
) -> Result<(), Error> {
    let target = &instance.target;
    let config = with_defaults(target.config_schema.as_ref(), &config)?;
    target.set_config(config.clone());
    let params = serde_json::value::to_raw_value(&serde_json::json!({ "config": config }))
        .map_err(|error| Error::new(ErrorCode::Internal, "the configuration").with_source(error))?;
    let meta = CallMeta { correlation_id, deadline };
    let answered = instance.connection.request(method::CONFIG_CHANGED, &params, meta).await;
    answered
        .map(drop)
        .map_err(|error| Error::new(ErrorCode::PluginFailed, format!("it did not take it: {error}")))
}
