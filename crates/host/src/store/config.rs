//! The configuration of a plugin: one JSON document. Whether it follows the plugin's schema is checked before it comes here.

use ringfence_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::Value;

use super::audit::{self, AuditEvent};
use super::fault::Fault;
use super::{Actor, Owner, Store, now_ms, plugins};
use crate::Error;

/// The longest configuration as JSON, in bytes.
pub(crate) const CONFIG_MAX_BYTES: usize = 256 * 1024;

/// The configuration that was written last.
#[derive(Clone, PartialEq)]
pub(crate) struct ConfigRow {
    /// The document. It may hold secrets.
    pub(crate) value: Value,
    /// Grows with each write; 1 at first.
    pub(crate) revision: i64,
    /// When it was written, in milliseconds since 1970.
    pub(crate) updated_at_ms: i64,
}

impl std::fmt::Debug for ConfigRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The document may hold secrets, and this text may end in a log.
        f.debug_struct("ConfigRow").field("revision", &self.revision).finish_non_exhaustive()
    }
}

fn find(connection: &Connection, owner: &Owner) -> Result<Option<ConfigRow>, Fault> {
    let found: Option<(String, i64, i64)> = connection
        .prepare_cached(
            "SELECT value, revision, updated_at_ms FROM config WHERE plugin = ?1 AND publisher = ?2",
        )?
        .query_row((owner.name().as_str(), owner.publisher()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((text, revision, updated_at_ms)) = found else { return Ok(None) };
    // Without the source: it may quote the document.
    let value = serde_json::from_str(&text).map_err(|_| {
        Error::new(
            ErrorCode::InvalidConfig,
            format!("the stored configuration of '{}' is damaged", owner.name()),
        )
        .with_hint("write it again with `ringfence config set`")
    })?;
    Ok(Some(ConfigRow { value, revision, updated_at_ms }))
}

/// The names of the top-level members that differ.
fn changed_keys(old: &Value, new: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut keys: Vec<String> =
        old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

impl Store {
    /// The configuration of a plugin; `None`: it was never written.
    ///
    /// # Errors
    /// `invalid_config` when it was damaged; `busy` or `io`.
    pub(crate) fn config(&self, owner: &Owner) -> Result<Option<ConfigRow>, Error> {
        self.read("read the configuration", |connection| find(connection, owner))
    }

    /// Writes the configuration of a plugin. On the disk, with an audit record of the names that changed, before it
    /// returns. `expected_revision` is that of the document which the change was made from, 0 for none; `None` replaces
    /// whatever is there.
    ///
    /// # Errors
    /// `not_found` without such a plugin of this publisher; `busy` when it was written meanwhile; `too_large` above
    /// 256 KiB; `busy` or `io`.
    pub(crate) fn set_config(
        &self,
        owner: &Owner,
        value: Value,
        expected_revision: Option<i64>,
        by: impl Into<Actor>,
    ) -> Result<ConfigRow, Error> {
        let text = value.to_string();
        if text.len() > CONFIG_MAX_BYTES {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!("the configuration has {} bytes; {CONFIG_MAX_BYTES} is the most", text.len()),
            ));
        }
        let (owner, by) = (owner.clone(), by.into());
        self.write("write the configuration", move |transaction, context| {
            let plugin = plugins::require(transaction, owner.name())?;
            if plugin.owner() != owner {
                return Err(plugins::unknown(owner.name()).into());
            }
            let old = find(transaction, &owner).or_else(|fault| match fault {
                Fault::Refused(_) => Ok(None),
                fault @ Fault::Sql(_) => Err(fault),
            })?;
            let revision = old.as_ref().map_or(0, |old| old.revision);
            if expected_revision.is_some_and(|expected| expected != revision) {
                return Err(Error::new(
                    ErrorCode::Busy,
                    format!("the configuration of '{}' was changed by somebody else meanwhile", owner.name()),
                )
                .with_hint("read it again and repeat the change")
                .into());
            }
            let row = ConfigRow { value, revision: revision.saturating_add(1), updated_at_ms: now_ms() };
            transaction
                .prepare_cached(
                    "INSERT INTO config (plugin, publisher, value, revision, updated_at_ms) \
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (plugin, publisher) DO UPDATE SET \
                     value = excluded.value, revision = excluded.revision, updated_at_ms = excluded.updated_at_ms",
                )?
                .execute((owner.name().as_str(), owner.publisher(), &text, row.revision, row.updated_at_ms))?;
            let keys = changed_keys(&old.map_or(Value::Null, |old| old.value), &row.value);
            let event = AuditEvent::Config { keys, by: by.text() };
            audit::append(transaction, &context.key, row.updated_at_ms, &by.subject(&owner), &event)?;
            Ok(row)
        })
    }
}
