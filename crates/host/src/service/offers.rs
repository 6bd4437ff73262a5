//! What the host application offers to its plugins beyond what every host has.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_api::{ErrorCode, PluginName};
use tokio::sync::Semaphore;

use super::fetch::Network;
use super::own_method::Method;
use super::profile::ProfileProvider;
use crate::database::{Database, DatabaseOffer, is_database_name};
use crate::store::SqliteDatabase;
use crate::{Error, Home};

/// Statements of one plugin that run at the same time; more wait for their turn.
const STATEMENTS_MAX: usize = 2;

/// Profiles, databases and methods of the application's own, as they were registered with
/// [`HostBuilder`](crate::HostBuilder). Nothing is offered unless it is registered.
#[derive(Default)]
pub(crate) struct Offers {
    pub(crate) databases: Databases,
    pub(crate) network: Network,
    /// Who knows the users.
    pub(crate) profile: Option<Arc<dyn ProfileProvider>>,
    /// The application's own methods, by name.
    pub(crate) methods: BTreeMap<String, Method>,
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offers")
            .field("databases", &self.databases)
            .field("profile", &self.profile.is_some())
            .field("methods", &self.methods.keys())
            .finish_non_exhaustive()
    }
}

/// The databases, by name.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    offered: BTreeMap<String, Arc<dyn Database>>,
    turns: Mutex<HashMap<PluginName, Arc<Semaphore>>>,
}

impl Databases {
    /// Takes what the application and the administrator offer.
    ///
    /// # Errors
    /// `invalid_config` for a name that cannot stand in a grant or that both offer, for a path that cannot be one of a
    /// database, and for one inside the home of Ringfence.
    pub(crate) fn new(
        offers: impl IntoIterator<Item = (String, DatabaseOffer)>,
        home: &Home,
    ) -> Result<Self, Error> {
        let mut offered: BTreeMap<String, Arc<dyn Database>> = BTreeMap::new();
        for (name, offer) in offers {
            let refuse = |why: &str| {
                let shown = crate::consent::shown(&name);
                Error::new(
                    ErrorCode::InvalidConfig,
                    format!("no database can be offered as '{shown}': {why}"),
                )
            };
            if !is_database_name(&name) {
                return Err(refuse("a name has letters, digits, '-' and '_', at most 64"));
            }
            let database = SqliteDatabase::new(&name, offer)?;
            let inside = ringfence_sandbox::Resolved::find(home.path())
                .is_ok_and(|home| database.path().starts_with(home.path()));
            if inside {
                return Err(refuse("what lies in the home of Ringfence is never shown to a plugin")
                    .with_hint("move the file elsewhere"));
            }
            if offered.contains_key(&name) {
                return Err(refuse("the application and config.toml both offer one of that name"));
            }
            offered.insert(name, Arc::new(database));
        }
        Ok(Self { offered, turns: Mutex::default() })
    }

    /// The database of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Database>> {
        self.offered.get(name).cloned()
    }

    /// Where a plugin waits for its turn. There are as many as plugins that have ever asked.
    pub(crate) fn turns(&self, plugin: &PluginName) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(plugin.clone()).or_insert_with(|| Arc::new(Semaphore::new(STATEMENTS_MAX))))
    }
}
