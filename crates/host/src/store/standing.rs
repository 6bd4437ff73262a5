//! Where a plugin stands now, for comparing what runs with it; and whether anything was written since the last look.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use ringfence_api::{ErrorCode, Permission, PluginName, PluginState};
use rusqlite::{Connection, OptionalExtension as _};

use super::fault::Fault;
use super::{Inner, Owner, Store, database, grants, plugins, seal};
use crate::Error;
use crate::pin::Pin;

/// What decides whether a plugin may run on as it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Plugin and publisher.
    pub(crate) owner: Owner,
    /// The package.
    pub(crate) digest: String,
    /// Where it stands.
    pub(crate) state: PluginState,
    /// Why.
    pub(crate) state_reason: Option<String>,
    /// What is granted.
    pub(crate) grants: Vec<Permission>,
    /// What these opened at the consent, by their text.
    pub(crate) pins: BTreeMap<String, Pin>,
    /// Which row this was read from.
    pub(crate) mark: Mark,
}

/// Changes with every change of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Tells one installation from the next.
    pub(crate) installed_at_ms: i64,
    /// Of the row.
    pub(crate) revision: i64,
    /// Of the configuration; 0: none was ever written.
    pub(crate) config_revision: i64,
}

/// A plugin as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is not installed.
    Nothing,
    /// Nothing of it was changed since the mark.
    Same,
    /// Where it stands.
    At(Standing),
}

/// Notices what others write: other processes, and the writer of this one.
#[derive(Debug)]
pub(crate) struct Changes {
    store: Weak<Inner>,
    // SQLite counts for each connection what the others have committed, so it is the same one each time.
    connection: Connection,
    version: Option<i64>,
}

impl Changes {
    /// Whether anything was committed since this was asked last. The first answer is yes. It takes some microseconds.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn any(&mut self) -> Result<bool, Error> {
        let asked = self.connection.prepare_cached("PRAGMA data_version");
        let version = asked
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|error| super::fault::sql_error("look for changes", &error).with_source(error))?;
        Ok(self.version.replace(version) != Some(version))
    }

    /// Where a plugin stands, read at once, unless it is as it was when `known` was read.
    ///
    /// # Errors
    /// `permission_denied` when its row or grants were not written by Ringfence; `busy` or `io`; `internal` when the store was
    /// closed.
    pub(crate) fn standing(&mut self, name: &PluginName, known: Option<Mark>) -> Result<Seen, Error> {
        let closed = || Error::new(ErrorCode::Internal, "the store is closed");
        let store = self.store.upgrade().ok_or_else(closed)?;
        let read = |transaction: &Connection| -> Result<Seen, Fault> {
            let Some(mark) = mark(transaction, name)? else { return Ok(Seen::Nothing) };
            if known == Some(mark) {
                return Ok(Seen::Same);
            }
            seal::check(transaction, &store.key, name)?;
            let row = plugins::require(transaction, name)?;
            let owner = row.owner();
            let grants = grants::of_owner(transaction, &owner)?;
            let pinned = grants.iter().filter_map(|row| Some((row.permission.to_string(), row.pin.clone()?)));
            Ok(Seen::At(Standing {
                pins: pinned.collect(),
                grants: grants.into_iter().map(|grant| grant.permission).collect(),
                owner,
                digest: row.package.digest,
                state: row.state,
                state_reason: row.state_reason,
                mark,
            }))
        };
        let read = self.connection.transaction().map_err(Fault::from).and_then(|transaction| {
            let seen = read(&transaction)?;
            transaction.finish()?;
            Ok(seen)
        });
        read.map_err(|fault| fault.into_error("read where a plugin stands"))
    }
}

impl Store {
    /// A look-out for what is committed from now on. It does not keep the store open.
    ///
    /// # Errors
    /// `busy` or `io` when the database cannot be opened once more.
    pub(crate) fn changes(&self) -> Result<Changes, Error> {
        let connection = database::open_reader(&self.layout().database())?;
        Ok(Changes { store: Arc::downgrade(&self.inner), connection, version: None })
    }
}

fn mark(connection: &Connection, name: &PluginName) -> rusqlite::Result<Option<Mark>> {
    connection
        .prepare_cached(
            "SELECT installed_at_ms, plugins.revision, coalesce(config.revision, 0) FROM plugins LEFT JOIN config \
             ON config.plugin = plugins.name AND config.publisher = plugins.publisher WHERE name = ?1",
        )?
        .query_row([name.as_str()], |row| {
            Ok(Mark { installed_at_ms: row.get(0)?, revision: row.get(1)?, config_revision: row.get(2)? })
        })
        .optional()
}
