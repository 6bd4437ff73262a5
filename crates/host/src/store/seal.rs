//! The seal of a plugin: a code over everything that decides what it may do.
//!
//! It covers the plugin's row, its packages with their manifests, its grants with their places, and its consents. It is checked whenever
//! grants are read for a start and before each change, and made again after it. A row that was written by hand therefore
//! stops the plugin, and is never made good by a later change.

use ringfence_api::{ErrorCode, PluginName};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Params, Transaction};

use super::fault::Fault;
use super::key::{DIGEST_BYTES, Key, same};
use crate::Error;

const PURPOSE: &str = "plugin seal";

const PLUGIN: &str = "SELECT name, publisher, digest, state, previous_digest, previous_grants, pending_digest \
     FROM plugins WHERE name = ?1";
const PACKAGES: &str = "SELECT digest, plugin, publisher, version, manifest FROM packages WHERE digest IN \
     (SELECT digest FROM plugins WHERE name = ?1 UNION SELECT previous_digest FROM plugins WHERE name = ?1 \
     UNION SELECT pending_digest FROM plugins WHERE name = ?1) ORDER BY digest";
const GRANTS: &str = "SELECT plugin, publisher, permission, granted_by, granted_at_ms FROM grants WHERE plugin = ?1 \
     ORDER BY publisher, permission";
const PLACES: &str = "SELECT plugin, publisher, permission, pin FROM grant_places WHERE plugin = ?1 \
     ORDER BY publisher, permission";
const CONSENTS: &str = "SELECT plugin, publisher, digest, asked, granted, consented_by, consented_at_ms FROM consents \
     WHERE plugin = ?1 ORDER BY publisher, digest";

fn compute(connection: &Connection, key: &Key, name: &str) -> rusqlite::Result<[u8; DIGEST_BYTES]> {
    let mut columns: Vec<Vec<u8>> = Vec::new();
    for sql in [PLUGIN, PACKAGES, GRANTS, CONSENTS] {
        collect(connection, sql, [name], &mut columns)?;
    }
    // Seals of the time before there were places still fit, as long as there is none.
    if connection.prepare_cached(PLACES)?.exists([name])? {
        collect(connection, PLACES, [name], &mut columns)?;
    }
    Ok(key.mac(PURPOSE, columns.iter().map(Vec::as_slice)))
}

fn collect(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    columns: &mut Vec<Vec<u8>>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let width = statement.column_count();
    let mut rows = statement.query(parameters)?;
    let mut count: u64 = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        for column in 0..width {
            let (kind, bytes) = match row.get_ref(column)? {
                ValueRef::Null => (0, Vec::new()),
                ValueRef::Integer(number) => (1, number.to_be_bytes().to_vec()),
                ValueRef::Real(number) => (2, number.to_be_bytes().to_vec()),
                ValueRef::Text(text) => (3, text.to_vec()),
                ValueRef::Blob(blob) => (4, blob.to_vec()),
            };
            let mut typed = vec![kind];
            typed.extend(bytes);
            columns.push(typed);
        }
    }
    columns.push(count.to_be_bytes().to_vec());
    Ok(())
}

/// # Errors
/// `not_found` without such a plugin; `permission_denied` when anything that is sealed was not written by Ringfence.
pub(super) fn check(connection: &Connection, key: &Key, name: &PluginName) -> Result<(), Fault> {
    let seal: Option<Option<Vec<u8>>> = connection
        .prepare_cached("SELECT seal FROM plugins WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    let seal = seal.ok_or_else(|| super::plugins::unknown(name))?.unwrap_or_default();
    if same(&seal, &compute(connection, key, name.as_str())?) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::PermissionDenied,
        format!("what is stored about plugin '{name}' was not written by Ringfence: its seal does not fit"),
    )
    .with_hint("find out who can write to the home; then restore a backup, or uninstall the plugin and install it again")
    .into())
}

/// Makes the seal after a change.
///
/// INVARIANT: the caller has called [`check`] in the same transaction, or has just made the plugin.
pub(super) fn renew(transaction: &Transaction<'_>, key: &Key, name: &PluginName) -> Result<(), Fault> {
    let seal = compute(transaction, key, name.as_str())?;
    transaction
        .prepare_cached("UPDATE plugins SET seal = ?2 WHERE name = ?1")?
        .execute((name.as_str(), &seal[..]))?;
    Ok(())
}
