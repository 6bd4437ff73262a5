//! What all plugins of one host share: the store, the launcher, the configuration, and who listens.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use ringfence_api::{ErrorCode, Manifest, PluginName, PluginState};
use ringfence_sandbox::Launcher;

use super::denial::bounded;
use super::ending::End;
use super::monitor::Sample;
use super::state::{Move, next};
use super::target::{Confinement, Occasion, Target};
use super::watch::Watch;
use crate::config::Config;
use crate::event::{EventKind, Events};
use crate::exec::failure::launch_error;
use crate::hooks::Hooks;
use crate::host::Inner;
use crate::lock::RunLocks;
use crate::policy::Keeper;
use crate::runtime::{Runners, Types, World, completed};
use crate::scan::{Report, Scanner, kept};
use crate::service::Offers;
use crate::store::{
    Actor, AuditEvent, PackageRow, PluginRow, Refused, ResourceRow, StateChange, Store, Subject, Trusted,
};
use crate::{Error, Home};

/// The layer of a refusal that the administrator's policy made, in the audit trail and in denials.
pub(crate) const POLICY_LAYER: &str = "policy";
/// How many letters of a plugin's last log lines go into the reason of a quarantine.
const REASON_MAX_BYTES: usize = 16 * 1024;
/// How long the record of an end waits for room in the audit trail. Nothing of the plugin runs any more meanwhile.
const END_RECORD_WAIT: Duration = Duration::from_secs(30);
/// How often it is tried.
const END_RECORD_TRY_EVERY: Duration = Duration::from_millis(20);

/// The shared parts of a host.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) home: Home,
    /// The administrator's defaults, as they are now.
    config: RwLock<Arc<Config>>,
    pub(crate) store: Store,
    /// The administrator's policy, as it is now.
    pub(crate) policy: Keeper,
    pub(crate) events: Events,
    pub(crate) runners: Runners,
    /// Base classes of Python plugins, by the type that the host application registered.
    pub(crate) types: Types,
    /// What the host application lets plugins ask for.
    pub(crate) offers: Offers,
    /// Who takes part in events.
    pub(crate) hooks: Hooks,
    /// The host that all this belongs to: what a plugin asks may concern others.
    host: OnceLock<Weak<Inner>>,
    /// Who runs a plugin, of all processes.
    pub(crate) run_locks: RunLocks,
    /// Looks whether what runs here is still what is stored.
    pub(crate) watch: Watch,
    /// How packages are scanned.
    pub(crate) scanner: Scanner,
    /// Rules of the scan that refuse a package.
    pub(crate) blocking_rules: Vec<String>,
    /// Started when the first plugin is.
    launcher: Mutex<Option<Arc<Launcher>>>,
    /// Makes ids unguessable between hosts; within one they are counted.
    seed: u64,
    count: AtomicU64,
}

impl Context {
    pub(crate) fn new(
        home: Home,
        config: Config,
        store: Store,
        types: Types,
        offers: Offers,
        hooks: Hooks,
    ) -> Self {
        Self {
            run_locks: RunLocks::new(store.layout().running()),
            watch: Watch::default(),
            policy: Keeper::new(&home),
            home,
            config: RwLock::new(Arc::new(config)),
            store,
            events: Events::default(),
            runners: Runners::default(),
            types,
            offers,
            hooks,
            host: OnceLock::new(),
            scanner: Scanner::default(),
            blocking_rules: Vec::new(),
            launcher: Mutex::new(None),
            seed: RandomState::new().hash_one(std::process::id()),
            count: AtomicU64::new(0),
        }
    }

    /// What the scan says of an installed package: what is kept of an earlier scan, else a new one.
    pub(crate) fn scan_of(&self, package: &PackageRow, manifest: &Manifest) -> Report {
        let (home, digest) = (self.store.layout().home(), &package.digest);
        if let Some(kept) = kept::read(home, digest) {
            return kept.judged(Some(manifest));
        }
        let seen = self.scanner.look(&self.store.layout().package(digest));
        kept::write(home, digest, &seen);
        seen.judged(Some(manifest))
    }

    /// The administrator's defaults. Who needs several fields of them together keeps what this gives.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes others; what has begun goes on with those that it has.
    pub(crate) fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Says which host this belongs to; the first time counts.
    pub(crate) fn belongs_to(&self, host: Weak<Inner>) {
        // It is set once, by whoever makes the host.
        let _already = self.host.set(host);
    }

    /// The host, unless it has gone.
    pub(crate) fn host(&self) -> Option<crate::Host> {
        self.host.get().and_then(crate::Host::from_weak)
    }

    /// A manifest as it was installed, with what the application promises of the plugins of its type.
    pub(crate) fn completed(&self, manifest: Manifest) -> Manifest {
        completed(&self.types, manifest)
    }

    /// What all starts have in common, with these defaults.
    pub(crate) fn world<'a>(&'a self, config: &'a Config) -> World<'a> {
        World { home: &self.home, config, runners: &self.runners, types: &self.types }
    }

    /// The one launcher of all plugins, with a shared empty network.
    ///
    /// # Errors
    /// What the sandbox says when it cannot be started; the next start tries again.
    pub(crate) fn launcher(&self) -> Result<Arc<Launcher>, Error> {
        let mut launcher = self.launcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(launcher) = &*launcher {
            return Ok(Arc::clone(launcher));
        }
        let started = Launcher::start_with_shared_network().map_err(|error| launch_error(&error))?;
        Ok(Arc::clone(launcher.insert(Arc::new(started))))
    }

    /// A fresh id under which everything that belongs to one act is recorded.
    pub(crate) fn correlation_id(&self) -> Arc<str> {
        super::correlation::id(self.seed, self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// A number that nobody can foresee well enough to line plugins up.
    pub(crate) fn random(&self) -> u32 {
        let hash = RandomState::new().hash_one(self.count.fetch_add(1, Ordering::Relaxed));
        u32::try_from(hash >> 40).unwrap_or_default()
    }

    /// The row of an installed plugin.
    ///
    /// # Errors
    /// `not_found` with the installed name that is nearest.
    pub(crate) fn row(&self, name: &PluginName) -> Result<PluginRow, Error> {
        match self.store.plugin(name)? {
            Some(row) => Ok(row),
            None => Err(self.unknown(name.as_str())),
        }
    }

    /// The error for a name that nobody has.
    pub(crate) fn unknown(&self, name: &str) -> Error {
        let message = format!("no plugin '{}' is installed", crate::consent::shown(name));
        let rows = self.store.plugins().unwrap_or_default();
        let names: Vec<&str> = rows.iter().map(|row| row.name().as_str()).collect();
        let made = Error::new(ErrorCode::NotFound, message);
        match crate::near::nearest(name, &names) {
            Some(near) => made.with_hint(format!("did you mean '{near}'?")),
            None => made.with_hint("`ringfence list` shows what is installed"),
        }
    }

    /// The plugin with its grants and its consent.
    ///
    /// # Errors
    /// `not_found` with the installed name that is nearest; `permission_denied` when a row was edited by hand.
    pub(crate) fn trusted(&self, name: &PluginName) -> Result<Trusted, Error> {
        self.row(name)?;
        self.store.trusted(name)
    }

    /// Records a move, and tells who listens. A store that fails is logged: what runs is not stopped by it.
    pub(crate) async fn moved(&self, target: &Target, by: Move, reason: Option<&str>) {
        if let Err(error) = self.try_move(&target.name, by, reason).await {
            tracing::error!(plugin = %target.name, error = %error.chain(), "a plugin's state could not be recorded");
        }
    }

    /// Records that it runs. One that was started for calls and has been deactivated since stays so: whoever did that has
    /// ended it, or is about to.
    pub(crate) async fn came_up(&self, target: &Target, occasion: Occasion) {
        let (name, of_a_person) = (target.name.clone(), occasion == Occasion::Activation);
        let moved = self.store.run(move |store| {
            let stays = |state| state == PluginState::Inactive && !of_a_person;
            change_state(store, &name, Move::Start, None, None, stays)
        });
        match moved.await {
            Ok(state) => {
                if let Some(run) = target.run.as_ref().filter(|_| state == PluginState::Active) {
                    run.started.is_active();
                }
                self.hooks.invalidate();
                self.events.tell(&target.name, EventKind::State { state, reason: None });
            }
            Err(error) => {
                tracing::error!(plugin = %target.name, error = %error.chain(), "a plugin's state could not be recorded");
            }
        }
    }

    /// Records a move.
    ///
    /// # Errors
    /// `not_found`; `internal` for a move that the table does not have; what the store says.
    pub(crate) async fn try_move(
        &self,
        name: &PluginName,
        by: Move,
        reason: Option<&str>,
    ) -> Result<PluginState, Error> {
        self.change(name, by, reason, None, None).await
    }

    /// Records that somebody has deactivated a plugin, with the record of it in the same change.
    ///
    /// # Errors
    /// As for [`Context::try_move`].
    pub(crate) async fn deactivated(
        &self,
        name: &PluginName,
        event: Option<AuditEvent>,
        by: Actor,
    ) -> Result<PluginState, Error> {
        self.change(name, Move::Deactivate, None, event, Some(by)).await
    }

    async fn change(
        &self,
        name: &PluginName,
        by: Move,
        reason: Option<&str>,
        event: Option<AuditEvent>,
        actor: Option<Actor>,
    ) -> Result<PluginState, Error> {
        let (plugin, why) = (name.clone(), reason.map(str::to_owned));
        let record = event.map(|event| (event, actor));
        let state = self
            .store
            .run(move |store| change_state(store, &plugin, by, why.as_deref(), record, |_| false))
            .await?;
        self.hooks.invalidate();
        self.events.tell(name, EventKind::State { state, reason: reason.map(str::to_owned) });
        Ok(state)
    }

    /// Records a crash; how many still count, this one included.
    ///
    /// # Errors
    /// What the store says; then it is not known how many there were, and the plugin must not be started again.
    pub(crate) async fn record_crash(&self, name: &PluginName, reason: &str) -> Result<u64, Error> {
        let (name, detail) = (name.clone(), reason.to_owned());
        self.store.run(move |store| store.add_crash(&name, &detail, super::restart::CRASH_WINDOW)).await
    }

    /// Puts a plugin into quarantine, with the reason and its last words. State and audit record are one change.
    ///
    /// # Errors
    /// What the store says; then nothing was changed, and the plugin must not be started again.
    pub(crate) async fn quarantined(&self, target: &Target, why: &str) -> Result<(), Error> {
        let mut reason = why.to_owned();
        for line in target.log.tail() {
            if reason.len() > REASON_MAX_BYTES {
                break;
            }
            reason.push('\n');
            reason.push_str(&crate::consent::shown(&line.message));
        }
        let event = AuditEvent::Quarantine { reason: why.to_owned() };
        self.change(&target.name, Move::Quarantine, Some(&reason), Some(event), None).await.map(drop)
    }

    /// A plugin is about to be started: in the audit trail before anything of it runs. `run` is the id of the run, which joins
    /// this record with that of its end.
    ///
    /// # Errors
    /// `busy` when the audit trail takes no more; then it must not run.
    pub(crate) fn starting(&self, target: &Target, run: &str) -> Result<(), Error> {
        let event = AuditEvent::Start {
            version: target.manifest.version.to_string(),
            digest: target.digest.clone(),
            weakened: match target.sandbox {
                Confinement::None => {
                    ringfence_sandbox::Layers::ALL.iter().map(|layer| layer.name().to_owned()).collect()
                }
                Confinement::Full | Confinement::Observed => Vec::new(),
            },
        };
        self.store.audit_enqueue(target.owner.subject().correlated(run), event).map_err(Error::from)
    }

    /// A run has ended: recorded, then told. A full audit trail is waited for; an end that it does not take within half a
    /// minute is logged.
    pub(crate) async fn ended(&self, target: &Target, end: &End, run: &str) {
        self.tell_counted_denials(target);
        self.record_end(&target.name, target.owner.subject().correlated(run), end).await;
    }

    /// A start was given up before there was a process to wait for.
    pub(crate) fn cancelled_start(&self, target: &Target, run: &str) {
        let end = End::before_process("the start was cancelled".to_owned());
        if self.store.audit_enqueue(target.owner.subject().correlated(run), end.record()).is_err() {
            tracing::error!(plugin = %target.name, "a cancelled start is missing from the audit trail");
        }
        self.events.tell(&target.name, end.event());
    }

    async fn record_end(&self, name: &PluginName, subject: Subject, end: &End) {
        let given_up = Instant::now() + END_RECORD_WAIT;
        while self.store.audit_enqueue(subject.clone(), end.record()).is_err() {
            if Instant::now() >= given_up {
                tracing::error!(plugin = %name, end = ?end, "the end of a plugin is missing from the audit trail");
                break;
            }
            tokio::time::sleep(END_RECORD_TRY_EVERY).await;
        }
        self.events.tell(name, end.event());
    }

    /// A start was refused before anything could be prepared for it, such as for a package that was changed by hand. What
    /// is no plugin's fault and tells nothing new, such as a missing consent, leaves no record.
    pub(crate) async fn start_refused(&self, name: &PluginName, error: &Error) {
        use ErrorCode::{Busy, Cancelled, ConsentRequired, NotActive, NotFound, Quarantined};
        if matches!(error.code(), Busy | Cancelled | ConsentRequired | NotActive | NotFound | Quarantined) {
            return;
        }
        let plugin = name.clone();
        let publisher = self.store.run(move |store| store.plugin(&plugin)).await.ok().flatten();
        let publisher = publisher.map(|row| row.package.publisher).unwrap_or_default();
        let end = End::before_process(error.to_string());
        self.record_end(name, Subject::plugin(name, &publisher), &end).await;
    }

    /// Something was refused: recorded, and told to listeners. Neither costs more when it is refused over and over.
    pub(crate) fn denied(&self, target: &Target, mut refused: Refused) {
        target.refused.fetch_add(refused.denial.count, Ordering::Relaxed);
        // A plugin chooses how long its words are.
        refused.denial = bounded(refused.denial);
        target.told.note(&refused, |id, kind| self.events.tell_within(Some(&target.name), id, kind));
        self.store.denied(&target.owner, refused);
    }

    /// Tells listeners how often was refused what they were not told of singly.
    pub(crate) fn tell_counted_denials(&self, target: &Target) {
        target.told.take(|id, kind| self.events.tell_within(Some(&target.name), id, kind));
    }

    /// The policy refused what somebody wanted to do with a plugin: in the audit trail before the error is answered.
    pub(crate) fn refused_by_policy(
        &self,
        subject: Subject,
        operation: &str,
        object: String,
        error: Error,
    ) -> Error {
        let event = AuditEvent::Denial {
            layer: POLICY_LAYER.to_owned(),
            operation: operation.to_owned(),
            object,
            grant: None,
            count: 1,
            first_at_ms: None,
            last_at_ms: None,
            possible_calls: Vec::new(),
        };
        if let Err(failed) = self.store.audit(subject, event) {
            tracing::error!(operation, error = %failed.chain(), "a refusal is missing from the audit trail");
        }
        error
    }

    /// What a running plugin uses, once a second: kept as a short history.
    pub(crate) fn sampled(&self, target: &Target, sample: Sample) {
        target.sampled(sample);
        self.tell_counted_denials(target);
        let row = ResourceRow {
            at_ms: crate::clock::now_ms(),
            cpu_ms: sample.cpu_ms,
            cpu_percent: f64::from(sample.cpu_percent),
            memory_bytes: sample.memory_bytes,
            tasks: sample.tasks,
            read_bytes: sample.io.read_bytes,
            written_bytes: sample.io.written_bytes,
        };
        let (store, name) = (self.store.clone(), target.name.clone());
        // Off the runtime's threads; a history with a hole harms nobody.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.add_resources(&name, vec![row]) {
                tracing::warn!(plugin = %name, error = %error.chain(), "a resource sample is lost");
            }
        });
    }
}

/// How often a change of state is tried against others that change the same row.
const CHANGE_TRIES: u32 = 5;

/// Moves a plugin along the table, unless it is in a state that stays.
fn change_state(
    store: &Store,
    name: &PluginName,
    by: Move,
    reason: Option<&str>,
    record: Option<(AuditEvent, Option<Actor>)>,
    stays: impl Fn(PluginState) -> bool,
) -> Result<PluginState, Error> {
    let mut tries = 0;
    let (event, actor) = record.clone().unzip();
    loop {
        let row = store
            .plugin(name)?
            .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("no plugin '{name}' is installed")))?;
        if stays(row.state) {
            return Ok(row.state);
        }
        let Some(state) = next(row.state, by) else {
            let message = format!("{name} is {}, which {by:?} cannot change", row.state);
            return Err(Error::new(ErrorCode::Internal, message));
        };
        // What is stopped for good keeps its reason.
        let keeps = by == Move::Deactivate && state == row.state;
        if record.is_none() && state == row.state && (keeps || row.state_reason.as_deref() == reason) {
            return Ok(state);
        }
        let change = StateChange {
            state,
            reason: reason.map(str::to_owned),
            expected_revision: Some(row.revision),
            event: event.clone(),
            by: actor.clone().flatten(),
        };
        match store.set_state(name, change) {
            Ok(row) => return Ok(row.state),
            Err(error) if error.code() == ErrorCode::Busy && tries < CHANGE_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}
