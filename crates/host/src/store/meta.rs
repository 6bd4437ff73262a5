//! Small facts about the database: whether it belongs to the key beside it.

use ringfence_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension as _};

use super::fault::Fault;
use super::key::{Key, same};
use crate::Error;

const KEY_CHECK: &str = "key_check";

pub(super) fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

pub(super) fn set(connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute((key, value))
        .map(drop)
}

/// Whether this database was written with this key; not yet, when it is fresh.
///
/// # Errors
/// `permission_denied` when it was another one.
pub(super) fn belongs_to(connection: &Connection, key: &Key) -> Result<bool, Fault> {
    match get(connection, KEY_CHECK)? {
        None => Ok(false),
        Some(found) if same(&found, &key.mac(KEY_CHECK, [])) => Ok(true),
        Some(_) => Err(Error::new(
            ErrorCode::PermissionDenied,
            "the key 'state.key' is not the one that this database was written with",
        )
        .with_hint("restore 'state.db' and 'state.key' from the same backup")
        .into()),
    }
}

/// Remembers which key this database belongs to.
pub(super) fn remember(connection: &Connection, key: &Key) -> Result<(), Fault> {
    if !belongs_to(connection, key)? {
        set(connection, KEY_CHECK, &key.mac(KEY_CHECK, []))?;
    }
    Ok(())
}
