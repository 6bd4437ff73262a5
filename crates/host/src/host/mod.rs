//! The host: install, consent, activate, call, watch, revoke, upgrade, uninstall.
//!
//! A [`Host`] is a handle on one home. It owns a task for each plugin that it has started; everything durable is in the
//! store, so a host that is killed leaves nothing but what was acknowledged.

mod administer;
mod builder;
mod call;
mod change;
mod discover;
mod event;
mod follow;
mod health;
mod hook;
mod inspect;
mod measure;
mod news;
mod once;
mod package;
mod policy;
mod settings;
mod simulate;
mod tokens;
mod trail;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use ringfence_api::{ErrorCode, PluginName};

use crate::config::ExecLimits;
use crate::event::{Resumed, Subscription};
use crate::exec::{Exec, Listeners, Run, RunStore};
use crate::hooks::Mailboxes;
use crate::lifecycle::{Context, Supervisor};
use crate::lock::HomeLock;
use crate::store::Actor;
use crate::{Config, Error, Home};

pub use builder::HostBuilder;
pub use change::UpgradeOptions;
pub use health::HEALTH_EVERY;
pub use package::UnpackedPackage;
pub use policy::{Explained, ExplainedBy, POLICY_LOOK_EVERY};
pub use simulate::{Difference, LimitDifference, Simulated};
pub use tokens::TOKEN_USE_EVERY;
pub use trail::{ACCESS_RECORDS_MAX, ACCESS_WINDOW, AuditExport};

pub use event::{EventOptions, EventReport, RECEIVERS_MAX, Receiver, ReceiverOutcome};

pub(crate) use call::{judge, outcome};
pub(crate) use event::Posting;
pub(crate) use settings::handed_back;

/// The longest name of an actor, in bytes.
pub const ACTOR_MAX_BYTES: usize = 256;
/// The longest correlation id, in bytes.
pub const CORRELATION_ID_MAX_BYTES: usize = 128;

/// Runs plugins: the one object that an application, the command line and a daemon work with.
///
/// Cheap to clone; all clones are the same host. [`Host::shutdown`] ends every plugin in order. Dropping the last clone
/// without it kills them, which loses nothing that was acknowledged.
///
/// The crate's documentation has a whole example.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
    /// Who acts through this handle, and for which request.
    actor: Actor,
}

#[derive(Debug)]
pub(crate) struct Inner {
    context: Arc<Context>,
    /// The home has no other daemon for as long as this one lives.
    _lock: Option<HomeLock>,
    supervisors: RwLock<HashMap<PluginName, Arc<Supervisor>>>,
    /// Acts that change one plugin's life, one after another.
    acts: tokio::sync::Mutex<()>,
    /// What plugins are told without anybody waiting for it.
    mailboxes: Mailboxes,
    /// What was found wrong with the host itself.
    health: health::Health,
    /// Who was refused at the door lately.
    refusals: trail::Refusals,
    /// When the use of each token was noted last.
    token_uses: tokens::TokenUses,
    /// When it was opened.
    started_at_ms: i64,
    /// Who acts where nobody else was named, for the audit trail.
    actor: Actor,
    /// Looks after the policy while something runs.
    watch: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get_mut().ok().and_then(Option::take) {
            watch.abort();
        }
    }
}

impl Host {
    /// A host with the default home and configuration; see [`HostBuilder`] for what can be chosen.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Where the state lives.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.context().home
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.inner.context
    }

    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.inner.mailboxes
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    pub(crate) fn from_weak(inner: &Weak<Inner>) -> Option<Self> {
        inner.upgrade().map(|inner| Self { actor: inner.actor.clone(), inner })
    }

    /// The same host, whose acts are recorded as those of somebody else, such as the bearer of a token, and as part of one
    /// request. Both are cut where they are longer than [`ACTOR_MAX_BYTES`] and [`CORRELATION_ID_MAX_BYTES`].
    ///
    /// Every record of an installation, consent, grant, revocation, configuration, activation, deactivation, upgrade, rollback,
    /// uninstallation, call or event that is made through the handle then has the correlation id; a call or event with one of
    /// its own keeps that. Without an id each act gets one of its own, where it has any.
    ///
    /// ```no_run
    /// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
    /// let request = host.acting_as("token:3f2a", Some("request-17".to_owned()));
    /// request.activate("notes").await?; // recorded: by token:3f2a, for request-17
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn acting_as(&self, actor: impl Into<String>, correlation_id: Option<String>) -> Self {
        let actor = bounded(actor.into(), ACTOR_MAX_BYTES);
        let id = correlation_id.map(|id| bounded(id, CORRELATION_ID_MAX_BYTES).into());
        Self { inner: Arc::clone(&self.inner), actor: Actor::new(actor).within(id) }
    }

    /// Who acts through this handle.
    pub(crate) fn actor(&self) -> Actor {
        self.actor.clone()
    }

    /// The id of the request that this handle acts for, or a new one.
    pub(crate) fn correlation_id(&self) -> Arc<str> {
        match self.actor.correlation_id() {
            Some(id) => Arc::clone(id),
            None => self.context().correlation_id(),
        }
    }

    /// One act that changes a plugin's life; the next one waits. Who takes part in events is read again after it.
    async fn act(&self) -> Act<'_> {
        Act { context: self.context(), _turn: self.inner.acts.lock().await }
    }

    /// What happens to the plugins from now on. Dropping the subscription ends it.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.context().events.subscribe()
    }

    /// Takes up other defaults while it works: what starts from now on has their limits, interpreters and plugin directories, and
    /// hooks, messages and pings go by them at once. What runs keeps the limits that it was started with. The back-end of limits,
    /// plugin types, databases and the network stay as they were when the host was built; the answer names those of them that differ, as
    /// `config.toml` calls them.
    ///
    /// ```no_run
    /// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
    /// let config = ringfence::Config::load(host.home())?;
    /// for part in host.reconfigure(config) {
    ///     println!("{part} needs a restart");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfigure(&self, config: Config) -> Vec<&'static str> {
        let (context, old) = (self.context(), self.context().config());
        let fixed = [
            ("limits_backend", old.limits_backend != config.limits_backend),
            ("plugin_types", old.plugin_types != config.plugin_types),
            ("databases", old.databases != config.databases),
            ("network", old.network != config.network),
        ];
        let kept = Config {
            limits_backend: old.limits_backend,
            plugin_types: old.plugin_types.clone(),
            databases: old.databases.clone(),
            network: old.network.clone(),
            ..config
        };
        context.set_config(kept);
        context.hooks.invalidate();
        fixed.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// The events after the one with this number, and those from now on: for a listener that has lost its connection. The last
    /// [`EVENTS_KEPT`](crate::event::EVENTS_KEPT) events are kept; 0, or what is no number of this host's, gives all of those.
    #[must_use]
    pub fn subscribe_from(&self, after_seq: u64) -> Resumed {
        self.context().events.subscribe_from(after_seq)
    }

    /// Runs one command in a sandbox, on a thread of its own; see [`Exec::spawn`]. Its record goes into this host's home,
    /// which no wildcard of its grants opens. Limits are the request's own; [`Exec::home`] takes those of the configuration.
    ///
    /// # Errors
    /// `io` when no thread can be started.
    pub fn exec(&self, exec: &Exec) -> Result<Run, Error> {
        self.exec_with(exec, Listeners::new())
    }

    /// The same for `listeners` that were subscribed before; the first event of each says where the run is recorded.
    ///
    /// # Errors
    /// As for [`Host::exec`].
    pub fn exec_with(&self, exec: &Exec, listeners: Listeners) -> Result<Run, Error> {
        let context = self.context();
        exec.clone().recorded_in(&context.home, &context.config()).spawn_with(listeners)
    }

    /// The stored runs of this host's home.
    #[must_use]
    pub fn runs(&self) -> RunStore {
        RunStore::new(&self.context().home, self.context().config().runs)
    }

    /// What a command is held to unless its request says otherwise: `[exec]` of the configuration.
    #[must_use]
    pub fn exec_limits(&self) -> ExecLimits {
        self.context().config().exec.clone()
    }

    /// The task of a plugin, started when it is first needed.
    fn supervisor(&self, name: &PluginName) -> Arc<Supervisor> {
        let known = self.inner.supervisors.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known {
            return known;
        }
        let mut all = self.inner.supervisors.write().unwrap_or_else(PoisonError::into_inner);
        let spawn = || Arc::new(Supervisor::spawn(Arc::clone(self.context()), name.clone()));
        Arc::clone(all.entry(name.clone()).or_insert_with(spawn))
    }

    /// The task of a plugin that is about to go.
    fn forget_supervisor(&self, name: &PluginName) -> Option<Arc<Supervisor>> {
        self.inner.supervisors.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// The task of a plugin, if there is one already; none for what is no name.
    fn known_supervisor(&self, name: &str) -> Option<Arc<Supervisor>> {
        self.inner.supervisors.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Stops every running plugin in order, all at the same time, and waits until nothing of them runs: at most about ten
    /// seconds for a plugin that holds out. What is recorded as active stays so. Before that, observers and receivers of
    /// messages get what waits for them, for as long as one hook may take (5 s); what is left then is dropped.
    ///
    /// # Cancel safety
    /// Dropped, the stops go on by themselves; nobody waits for them then.
    pub async fn shutdown(self) {
        let watch = self.inner.watch.lock().ok().and_then(|mut watch| watch.take());
        if let Some(watch) = watch {
            watch.abort();
            // Aborted or ended: both are the end.
            let _ended = watch.await;
        }
        if !self.settle(self.context().config().plugins.hook_timeout).await {
            tracing::warn!("observers and receivers of messages miss what waited for them");
        }
        self.mailboxes().close(None).await;
        // After the last delivery: one may start a plugin.
        let all: Vec<Arc<Supervisor>> = {
            let mut map = self.inner.supervisors.write().unwrap_or_else(PoisonError::into_inner);
            map.drain().map(|(_, supervisor)| supervisor).collect()
        };
        let stops: Vec<_> =
            all.into_iter().map(|supervisor| tokio::spawn(async move { supervisor.end().await })).collect();
        for stop in stops {
            // A stop that panicked has dropped its plugin, which killed it.
            let _ended = stop.await;
        }
        self.write_refusals(true);
        let store = self.context().store.clone();
        let flushed = store.run(|store| store.flush(std::time::Duration::from_secs(5))).await;
        if let Err(error) = flushed {
            tracing::error!(error = %error.chain(), "the last audit records may be missing");
        }
    }
}

/// The turn of one act.
#[derive(Debug)]
struct Act<'a> {
    context: &'a Context,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl Drop for Act<'_> {
    fn drop(&mut self) {
        self.context.hooks.invalidate();
    }
}

/// The text up to so many bytes.
fn bounded(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

/// A name as a caller gives it.
///
/// # Errors
/// `not_found`: what cannot be a name is no plugin's.
fn plugin_name(text: &str) -> Result<PluginName, Error> {
    text.parse().map_err(|error: ringfence_api::PluginNameError| {
        let message = format!("no plugin '{}' is installed: {error}", crate::consent::shown(text));
        Error::new(ErrorCode::NotFound, message).with_hint("`ringfence list` shows what is installed")
    })
}
