//! Rows of plugins and of the packages that they are made from.

use ringfence_api::{ErrorCode, Manifest, PluginName, PluginState, Runtime};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use semver::Version;

use super::audit::{self, AuditEvent};
use super::fault::Fault;
use super::writer::Context;
use super::{Actor, Owner, Store, now_ms, seal};
use crate::Error;

/// The longest reason of a state, in bytes.
const REASON_MAX_BYTES: usize = 8_192;

/// One package in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackageRow {
    /// Its digest, in hexadecimal: the name of its directory.
    pub(crate) digest: String,
    /// The plugin that it is.
    pub(crate) plugin: PluginName,
    /// Who published it.
    pub(crate) publisher: String,
    /// Its version.
    pub(crate) version: Version,
    /// Its manifest in the one typed form, as JSON.
    pub(crate) manifest: String,
    /// Where it was installed from.
    pub(crate) source: String,
    /// When it was copied, in milliseconds since 1970.
    pub(crate) stored_at_ms: i64,
}

impl PackageRow {
    /// Plugin and publisher.
    pub(crate) fn owner(&self) -> Owner {
        Owner::new(self.plugin.clone(), self.publisher.clone())
    }

    /// The manifest.
    ///
    /// # Errors
    /// `invalid_manifest` when an older version wrote what this one cannot read.
    pub(crate) fn manifest(&self) -> Result<Manifest, Error> {
        serde_json::from_str(&self.manifest).map_err(|e| {
            Error::new(
                ErrorCode::InvalidManifest,
                format!("the stored manifest of plugin '{}' cannot be read", self.plugin),
            )
            .with_hint("uninstall the plugin and install it again")
            .with_source(e)
        })
    }
}

/// One plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PluginRow {
    /// What runs: name, publisher, version, digest, manifest, source.
    pub(crate) package: PackageRow,
    /// Where it stands.
    pub(crate) state: PluginState,
    /// Why, when somebody should know.
    pub(crate) state_reason: Option<String>,
    /// When it was installed, in milliseconds since 1970.
    pub(crate) installed_at_ms: i64,
    /// When this row was changed last, in milliseconds since 1970.
    pub(crate) updated_at_ms: i64,
    /// Grows with each change of the row.
    pub(crate) revision: i64,
    /// The version before the last upgrade: what a rollback brings back.
    pub(crate) previous: Option<PackageRow>,
    /// The version that waits for consent or for its turn.
    pub(crate) pending: Option<PackageRow>,
}

impl PluginRow {
    /// The plugin's name.
    pub(crate) fn name(&self) -> &PluginName {
        &self.package.plugin
    }

    /// Plugin and publisher.
    pub(crate) fn owner(&self) -> Owner {
        self.package.owner()
    }
}

/// What a list says of a plugin: read in one question, without its whole manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SummaryRow {
    pub(crate) name: PluginName,
    pub(crate) version: String,
    pub(crate) publisher: String,
    pub(crate) state: PluginState,
    pub(crate) state_reason: Option<String>,
    pub(crate) runtime: Runtime,
    /// In the author's words.
    pub(crate) description: Option<String>,
}

/// A move of a plugin to another state.
#[derive(Clone, Debug)]
pub(crate) struct StateChange {
    /// The new state.
    pub(crate) state: PluginState,
    /// Why; at most 8,192 bytes are kept.
    pub(crate) reason: Option<String>,
    /// The revision that the decision was made on; `None` changes whatever is there.
    pub(crate) expected_revision: Option<i64>,
    /// What is written into the audit trail in the same transaction.
    pub(crate) event: Option<AuditEvent>,
    /// Whose act that is, where it is somebody's.
    pub(crate) by: Option<Actor>,
}

#[cfg(test)]
impl StateChange {
    /// A move without a reason, from whatever is there, without a record.
    pub(crate) fn to(state: PluginState) -> Self {
        Self { state, reason: None, expected_revision: None, event: None, by: None }
    }
}

const PACKAGE_COLUMNS: &str = "digest, plugin, publisher, version, manifest, source, stored_at_ms";

/// The error for a name that nothing is known of.
pub(super) fn unknown(name: &PluginName) -> Error {
    Error::new(ErrorCode::NotFound, format!("no plugin '{name}' is installed"))
        .with_hint("`ringfence list` shows the installed plugins")
}

fn conflict(name: &PluginName) -> Error {
    Error::new(ErrorCode::Busy, format!("plugin '{name}' was changed by somebody else meanwhile"))
        .with_hint("look at it again and repeat what you wanted to do")
}

/// A column whose text is not what it must be.
pub(super) fn bad_column<E: std::error::Error + Send + Sync + 'static>(
    column: usize,
    error: E,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

fn read_package(row: &Row<'_>) -> rusqlite::Result<PackageRow> {
    let plugin: String = row.get(1)?;
    let version: String = row.get(3)?;
    Ok(PackageRow {
        digest: row.get(0)?,
        plugin: plugin.parse().map_err(|e| bad_column(1, e))?,
        publisher: row.get(2)?,
        version: version.parse().map_err(|e| bad_column(3, e))?,
        manifest: row.get(4)?,
        source: row.get(5)?,
        stored_at_ms: row.get(6)?,
    })
}

pub(super) fn package(connection: &Connection, digest: &str) -> Result<Option<PackageRow>, Fault> {
    let sql = format!("SELECT {PACKAGE_COLUMNS} FROM packages WHERE digest = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([digest], read_package).optional()?)
}

/// The columns of a plugin that are not its packages'.
struct Bare {
    digest: String,
    previous: Option<String>,
    pending: Option<String>,
    state: PluginState,
    state_reason: Option<String>,
    installed_at_ms: i64,
    updated_at_ms: i64,
    revision: i64,
}

fn read_summary(row: &Row<'_>) -> rusqlite::Result<SummaryRow> {
    let (name, state, runtime): (String, String, String) = (row.get(0)?, row.get(3)?, row.get(5)?);
    Ok(SummaryRow {
        name: name.parse().map_err(|e| bad_column(0, e))?,
        version: row.get(1)?,
        publisher: row.get(2)?,
        state: state.parse().map_err(|e| bad_column(3, e))?,
        state_reason: row.get(4)?,
        runtime: serde_json::from_value(runtime.into()).map_err(|e| bad_column(5, e))?,
        description: row.get(6)?,
    })
}

fn read_bare(row: &Row<'_>) -> rusqlite::Result<Bare> {
    let state: String = row.get(3)?;
    Ok(Bare {
        digest: row.get(0)?,
        previous: row.get(1)?,
        pending: row.get(2)?,
        state: state.parse().map_err(|e| bad_column(3, e))?,
        state_reason: row.get(4)?,
        installed_at_ms: row.get(5)?,
        updated_at_ms: row.get(6)?,
        revision: row.get(7)?,
    })
}

pub(super) fn find(connection: &Connection, name: &PluginName) -> Result<Option<PluginRow>, Fault> {
    let bare = connection
        .prepare_cached(
            "SELECT digest, previous_digest, pending_digest, state, state_reason, installed_at_ms, updated_at_ms, \
             revision FROM plugins WHERE name = ?1",
        )?
        .query_row([name.as_str()], read_bare)
        .optional()?;
    let Some(bare) = bare else { return Ok(None) };
    let of = |digest: &Option<String>| match digest {
        Some(digest) => package(connection, digest),
        None => Ok(None),
    };
    // A foreign key holds the row; without it the database was edited.
    let package = package(connection, &bare.digest)?.ok_or_else(|| unknown(name))?;
    Ok(Some(PluginRow {
        package,
        state: bare.state,
        state_reason: bare.state_reason,
        installed_at_ms: bare.installed_at_ms,
        updated_at_ms: bare.updated_at_ms,
        revision: bare.revision,
        previous: of(&bare.previous)?,
        pending: of(&bare.pending)?,
    }))
}

pub(super) fn require(connection: &Connection, name: &PluginName) -> Result<PluginRow, Fault> {
    Ok(find(connection, name)?.ok_or_else(|| unknown(name))?)
}

/// The plugin, sealed as it is, ready for a change.
pub(super) fn require_sealed(
    transaction: &Transaction<'_>,
    context: &Context,
    name: &PluginName,
    expected_revision: Option<i64>,
) -> Result<PluginRow, Fault> {
    seal::check(transaction, &context.key, name)?;
    let row = require(transaction, name)?;
    match expected_revision {
        Some(expected) if expected != row.revision => Err(conflict(name).into()),
        _ => Ok(row),
    }
}

/// Counts the change and seals the plugin again.
pub(super) fn changed(
    transaction: &Transaction<'_>,
    context: &Context,
    name: &PluginName,
) -> Result<PluginRow, Fault> {
    transaction
        .prepare_cached("UPDATE plugins SET revision = revision + 1, updated_at_ms = ?2 WHERE name = ?1")?
        .execute((name.as_str(), now_ms()))?;
    seal::renew(transaction, &context.key, name)?;
    require(transaction, name)
}

pub(super) fn set_state(
    transaction: &Transaction<'_>,
    name: &PluginName,
    state: PluginState,
    reason: Option<&str>,
) -> Result<(), Fault> {
    let reason = reason.map(|reason| {
        let mut end = reason.len().min(REASON_MAX_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.get(..end).unwrap_or_default()
    });
    transaction
        .prepare_cached("UPDATE plugins SET state = ?2, state_reason = ?3 WHERE name = ?1")?
        .execute((name.as_str(), state.as_str(), reason))?;
    Ok(())
}

pub(super) fn insert_package(transaction: &Transaction<'_>, package: &PackageRow) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT INTO packages (digest, plugin, publisher, version, manifest, source, stored_at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (digest) DO NOTHING",
        )?
        .execute((
            &package.digest,
            package.plugin.as_str(),
            &package.publisher,
            package.version.to_string(),
            &package.manifest,
            &package.source,
            package.stored_at_ms,
        ))?;
    Ok(())
}

/// Removes rows of packages that no plugin names any more.
pub(super) fn drop_unnamed_packages(transaction: &Transaction<'_>) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "DELETE FROM packages WHERE digest NOT IN (SELECT digest FROM plugins) \
             AND digest NOT IN (SELECT previous_digest FROM plugins WHERE previous_digest IS NOT NULL) \
             AND digest NOT IN (SELECT pending_digest FROM plugins WHERE pending_digest IS NOT NULL)",
        )?
        .execute([])?;
    Ok(())
}

impl Store {
    /// All plugins, by name. Their seals are not checked: a list must also show what was tampered with.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn plugins(&self) -> Result<Vec<PluginRow>, Error> {
        self.read("list the plugins", |connection| {
            let names: Vec<String> = connection
                .prepare_cached("SELECT name FROM plugins ORDER BY name")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut rows = Vec::with_capacity(names.len());
            for name in names {
                let name = name.parse().map_err(|e| bad_column(0, e))?;
                rows.extend(find(connection, &name)?);
            }
            Ok(rows)
        })
    }

    /// What a list says of all plugins, by name. Their seals are not checked.
    ///
    /// # Errors
    /// `busy` or `io`; also when an older version wrote what this one cannot read.
    pub(crate) fn summaries(&self) -> Result<Vec<SummaryRow>, Error> {
        self.read("list the plugins", |connection| {
            let rows = connection
                .prepare_cached(
                    "SELECT plugins.name, version, packages.publisher, state, state_reason, \
                     manifest ->> '$.runtime', manifest ->> '$.description' \
                     FROM plugins JOIN packages ON packages.digest = plugins.digest ORDER BY plugins.name",
                )?
                .query_map([], read_summary)?
                .collect::<Result<_, _>>()?;
            Ok(rows)
        })
    }

    /// One plugin, if it is installed. Its seal is not checked: see [`Store::trusted`].
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn plugin(&self, name: &PluginName) -> Result<Option<PluginRow>, Error> {
        self.read("read a plugin", |connection| find(connection, name))
    }

    /// Moves a plugin to another state and records why, in one transaction.
    ///
    /// # Errors
    /// `not_found` without such a plugin; `busy` when the row is not the expected one any more; `permission_denied` when
    /// the seal does not fit; `busy` or `io` of the database.
    pub(crate) fn set_state(&self, name: &PluginName, change: StateChange) -> Result<PluginRow, Error> {
        let name = name.clone();
        self.write("change the state of a plugin", move |transaction, context| {
            let row = require_sealed(transaction, context, &name, change.expected_revision)?;
            set_state(transaction, &name, change.state, change.reason.as_deref())?;
            if matches!(change.event, Some(AuditEvent::Release { .. })) {
                // What was refused before does not count any more.
                audit::close_denials(transaction, &context.key, audit::Closing::Of(name.as_str()))?;
            }
            if let Some(event) = &change.event {
                let subject = row.owner().subject();
                let subject =
                    change.by.as_ref().map_or_else(|| subject.clone(), |by| by.tie(subject.clone()));
                audit::append(transaction, &context.key, now_ms(), &subject, event)?;
            }
            changed(transaction, context, &name)
        })
    }
}
