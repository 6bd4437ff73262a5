//! How a host is made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, RwLock};

use ringfence_api::{PluginName, PluginState};

use super::{Host, Inner};
use crate::database::DatabaseOffer;
use crate::hooks::{HookPoint, Hooks, Mailboxes};
use crate::lifecycle::{Context, Occasion};
use crate::lock::{HOME_WAIT, HomeLock};
use crate::runtime::PluginType;
use crate::scan::Scanner;
use crate::service::{Databases, Method, Network, Offers, ProfileProvider};
use crate::store::{Actor, Store};
use crate::{Config, Error, Home};

/// What a host needs to know before it exists.
///
/// ```no_run
/// # async fn example() -> Result<(), ringfence::Error> {
/// let host = ringfence::Host::builder()
///     .home(ringfence::Home::at("/srv/app/ringfence"))
///     .start_active(true)
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct HostBuilder {
    home: Option<Home>,
    config: Option<Config>,
    start_active: bool,
    daemon: bool,
    types: BTreeMap<String, PluginType>,
    offers: Offers,
    hook_points: Vec<HookPoint>,
    databases: Vec<(String, DatabaseOffer)>,
    actor: Option<String>,
    scan_program: Option<Vec<OsString>>,
    blocking_rules: Vec<String>,
}

impl HostBuilder {
    /// Where the state lives. Default: what the environment names (`RINGFENCE_HOME`, else the XDG data directory).
    #[must_use]
    pub fn home(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }

    /// The administrator's defaults. Default: `config.toml` in the home.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Whether the host is the daemon of the home, of which there is one, and starts every plugin that is recorded as active.
    /// Default false: plugins start when they are called. Any number of such hosts may use the home at the same time, beside a
    /// daemon too; what one changes reaches what the others run.
    #[must_use]
    pub fn start_active(mut self, yes: bool) -> Self {
        self.start_active = yes;
        self
    }

    /// Whether the host takes the home for itself without starting anything by itself, as a daemon does that decides later what
    /// it starts: the lock `daemon.lock` of the home is held until it ends, however it ends. A second daemon is refused with `busy`
    /// and the process id of the first; whoever is no daemon shares the home with it. Default false;
    /// [`HostBuilder::start_active`] does the same and starts.
    #[must_use]
    pub fn daemon(mut self, yes: bool) -> Self {
        self.daemon = yes;
        self
    }

    /// Registers the base class that Python plugins with `type: NAME` in their manifest must derive from. What `[plugin_types]`
    /// of `config.toml` names comes beside it; for a name that both have, this one counts.
    #[must_use]
    pub fn plugin_type(mut self, name: impl Into<String>, plugin_type: PluginType) -> Self {
        self.types.insert(name.into(), plugin_type);
        self
    }

    /// Says what holds for an event of the application: the form of its body, and which parts of it need a grant. The last
    /// point of an event counts. Default: every event may carry any JSON.
    #[must_use]
    pub fn hook_point(mut self, point: HookPoint) -> Self {
        self.hook_points.push(point);
        self
    }

    /// Offers a SQLite database to plugins under a name: letters, digits, `-` and `_`. A plugin uses it only as far as it was
    /// granted `database:read=NAME` or `database:write=NAME`. What `config.toml` offers comes beside it.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>, database: impl Into<DatabaseOffer>) -> Self {
        self.databases.push((name.into(), database.into()));
        self
    }

    /// Registers who knows the users of the application: what plugins get from `get_user_profile`, each field under a
    /// `profile:read` of its own. Default: nobody, and the request is answered with `not_supported`.
    #[must_use]
    pub fn profile(mut self, provider: impl ProfileProvider) -> Self {
        self.offers.profile = Some(Arc::new(provider));
        self
    }

    /// Registers a method of the application's own, which plugins may request under its permission; see [`Method`]. A second
    /// one of the same name takes the place of the first.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.offers.methods.insert(method.name().to_owned(), method);
        self
    }

    /// Who acts through this host, as the audit trail names it. Default `library`.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// The program that scans packages, in a sandbox: see [`Scanner::sandboxed`]. Default: none, and packages are scanned in
    /// this process, within [`crate::scan::limits`].
    #[must_use]
    pub fn scan_program(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.scan_program = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Rules of the scan ([`crate::scan::RULES`]) that refuse a package at its installation or upgrade. With any, a package
    /// that cannot be scanned is refused too; name `not-read` to refuse what was scanned only in part. Default none.
    #[must_use]
    pub fn blocking_rules(mut self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.blocking_rules = ids.into_iter().map(Into::into).collect();
        self
    }

    /// Opens the home, finishes or undoes what a killed process left half-done, and starts what shall run.
    ///
    /// One plugin that cannot be started does not keep the others from it: its state and the log say why.
    ///
    /// # Errors
    /// `usage` without any home; `invalid_config`, also for a database that cannot be offered, for certificates that are none and
    /// for a blocking rule that does not exist; `busy` for a second daemon, with the process id of the first; `io` and
    /// `permission_denied` for a home that cannot be used.
    ///
    /// # Cancel safety
    /// Dropped, a half-made host is put away; plugins that were started are killed.
    pub async fn build(self) -> Result<Host, Error> {
        known(&self.blocking_rules)?;
        let home = match self.home {
            Some(home) => home,
            None => Home::from_env()?,
        };
        let (starts, config, mut offers) = (self.start_active, self.config, self.offers);
        let resident = starts || self.daemon;
        let databases = self.databases;
        let opened = tokio::task::spawn_blocking(move || {
            home.create()?;
            let lock = resident.then(|| HomeLock::daemon(&home, HOME_WAIT)).transpose()?;
            let config = match config {
                Some(config) => config,
                None => Config::load(&home)?,
            };
            let configured = config.databases.clone();
            offers.databases = Databases::new(databases.into_iter().chain(configured), &home)?;
            offers.network = Network::new(&config.network)?;
            let store = Store::open(&home)?;
            crate::lifecycle::durable::recover(&store)?;
            Ok::<_, Error>((home, lock, config, store, offers))
        });
        let (home, lock, config, store, offers) = opened.await.map_err(|error| {
            Error::new(ringfence_api::ErrorCode::Internal, "the home could not be opened").with_source(error)
        })??;
        let scanner = self.scan_program.map_or_else(Scanner::default, Scanner::sandboxed);
        let scanner = scanner.for_home(&home, &config);
        let hooks = Hooks::new(self.hook_points);
        let mut types = config.plugin_types.clone();
        types.extend(self.types);
        let mut context = Context::new(home, config, store, types, offers, hooks);
        (context.scanner, context.blocking_rules) = (scanner, self.blocking_rules);
        let actor = Actor::new(self.actor.unwrap_or_else(|| "library".to_owned()));
        let inner = Inner {
            context: Arc::new(context),
            _lock: lock,
            supervisors: RwLock::default(),
            acts: tokio::sync::Mutex::default(),
            mailboxes: Mailboxes::default(),
            health: super::health::Health::default(),
            refusals: super::trail::Refusals::default(),
            token_uses: super::tokens::TokenUses::default(),
            started_at_ms: crate::clock::now_ms(),
            actor: actor.clone(),
            watch: std::sync::Mutex::default(),
        };
        let host = Host { inner: Arc::new(inner), actor };
        host.context().belongs_to(host.downgrade());
        host.note_policy().await;
        host.watch_policy().await;
        if starts {
            host.start_all().await?;
        }
        Ok(host)
    }
}

/// A rule that does not exist would block nothing, and nobody would notice.
fn known(blocking_rules: &[String]) -> Result<(), Error> {
    let unknown = crate::scan::unknown_rules(blocking_rules);
    let Some(first) = unknown.first() else { return Ok(()) };
    let ids: Vec<&str> = crate::scan::RULES.iter().map(|rule| rule.id).collect();
    let message = format!("the scan has no rule '{}'", crate::consent::shown(first));
    Err(Error::new(ringfence_api::ErrorCode::InvalidConfig, message).with_hint(
        match crate::near::nearest(first, &ids) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "docs/scan.md has all of them".to_owned(),
        },
    ))
}

impl Host {
    /// Starts what is recorded as active or was when it last failed. Failures are recorded with their plugins.
    async fn start_all(&self) -> Result<(), Error> {
        let store = self.context().store.clone();
        let rows = store.run(|store| store.plugins()).await?;
        let wanted =
            rows.into_iter().filter(|row| matches!(row.state, PluginState::Active | PluginState::Errored));
        let names: Vec<PluginName> = wanted.map(|row| row.name().clone()).collect();
        let starts: Vec<_> = names
            .into_iter()
            .map(|name| {
                let supervisor = self.supervisor(&name);
                tokio::spawn(async move {
                    if let Err(error) = supervisor.start(Occasion::Calls).await {
                        tracing::error!(plugin = %name, error = %error.chain(), "a plugin could not be started");
                    }
                })
            })
            .collect();
        for start in starts {
            let _recorded = start.await;
        }
        Ok(())
    }
}
