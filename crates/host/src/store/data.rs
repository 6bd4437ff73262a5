//! What a plugin keeps: texts as keys, bytes as values, within a quota that is exact.

use ringfence_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::fault::Fault;
use super::{Owner, Store};
use crate::Error;

/// The longest key, in bytes.
pub(crate) const DATA_KEY_MAX_BYTES: usize = 1_024;
/// The longest value, in bytes.
pub(crate) const DATA_VALUE_MAX_BYTES: usize = 1024 * 1024;
/// The most keys of one plugin.
#[cfg(test)]
pub(crate) const DATA_KEYS_MAX: u64 = 100_000;
/// The most bytes of one plugin, keys and values together, unless its administrator says otherwise: 1 GB.
#[cfg(test)]
pub(crate) const DATA_BYTES_MAX: u64 = 1_000_000_000;
/// The longest page of keys.
const PAGE_MAX: usize = 1_000;

/// How much a plugin keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct DataUsage {
    /// How many keys.
    pub(crate) keys: u64,
    /// How many bytes, keys and values together.
    pub(crate) bytes: u64,
}

/// Some keys, in the order of their bytes, and whether there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataPage {
    pub(crate) keys: Vec<String>,
    pub(crate) more: bool,
}

fn check_key(key: &str) -> Result<(), Error> {
    match key.len() {
        1..=DATA_KEY_MAX_BYTES => Ok(()),
        0 => Err(Error::new(ErrorCode::Usage, "a key must not be empty")),
        bytes => Err(Error::new(
            ErrorCode::TooLarge,
            format!("the key has {bytes} bytes; {DATA_KEY_MAX_BYTES} is the most"),
        )),
    }
}

fn usage(connection: &Connection, owner: &Owner) -> rusqlite::Result<DataUsage> {
    let found = connection
        .prepare_cached("SELECT keys, bytes FROM data_usage WHERE plugin = ?1 AND publisher = ?2")?
        .query_row((owner.name().as_str(), owner.publisher()), |row| {
            Ok(DataUsage { keys: row.get(0)?, bytes: row.get(1)? })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn set_usage(transaction: &Transaction<'_>, owner: &Owner, usage: DataUsage) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO data_usage (plugin, publisher, keys, bytes) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (plugin, publisher) DO UPDATE SET keys = excluded.keys, bytes = excluded.bytes",
        )?
        .execute((owner.name().as_str(), owner.publisher(), usage.keys, usage.bytes))
        .map(drop)
}

/// The bytes that a value has now; `None`: there is no such key.
fn value_bytes(connection: &Connection, owner: &Owner, key: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT length(value) FROM data WHERE plugin = ?1 AND publisher = ?2 AND key = ?3")?
        .query_row((owner.name().as_str(), owner.publisher(), key.as_bytes()), |row| row.get(0))
        .optional()
}

/// Removes everything that a plugin of this publisher kept.
pub(super) fn clear(transaction: &Transaction<'_>, plugin: &str, publisher: &str) -> Result<(), Fault> {
    for sql in [
        "DELETE FROM data WHERE plugin = ?1 AND publisher = ?2",
        "DELETE FROM data_usage WHERE plugin = ?1 AND publisher = ?2",
    ] {
        transaction.prepare_cached(sql)?.execute((plugin, publisher))?;
    }
    Ok(())
}

/// The first text that is after every text with this beginning; `None`: there is none.
fn after_prefix(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // The last byte of UTF-8 is below 0xff, so the loop ends at once unless the prefix is empty.
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

impl Store {
    /// Keeps a value under a key, in place of the one before. On the disk before it returns.
    ///
    /// # Errors
    /// `usage` for an empty key; `too_large` for a key above 1 KiB or a value above 1 MiB; `quota` when the plugin would
    /// keep more than `bytes_max` bytes or `keys_max` keys: then the value before is still there; `busy` or `io`.
    pub(crate) fn data_put(
        &self,
        owner: &Owner,
        key: &str,
        value: Vec<u8>,
        bytes_max: u64,
        keys_max: u64,
    ) -> Result<DataUsage, Error> {
        check_key(key)?;
        if value.len() > DATA_VALUE_MAX_BYTES {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!("the value has {} bytes; {DATA_VALUE_MAX_BYTES} is the most", value.len()),
            )
            .with_hint("split it over several keys, or write it to a file in the data directory"));
        }
        let (owner, key) = (owner.clone(), key.to_owned());
        self.write("keep a value", move |transaction, _| {
            let mut usage = usage(transaction, &owner)?;
            match value_bytes(transaction, &owner, &key)? {
                Some(before) => usage.bytes = usage.bytes.saturating_sub(before),
                None => {
                    usage.keys += 1;
                    usage.bytes += key.len() as u64;
                }
            }
            usage.bytes += value.len() as u64;
            check_quota(&owner, usage, bytes_max, keys_max)?;
            transaction
                .prepare_cached(
                    "INSERT INTO data (plugin, publisher, key, value) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (plugin, publisher, key) DO UPDATE SET value = excluded.value",
                )?
                .execute((owner.name().as_str(), owner.publisher(), key.as_bytes(), &value))?;
            set_usage(transaction, &owner, usage)?;
            Ok(usage)
        })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `usage` for an empty key; `too_large` for one above 1 KiB; `busy` or `io`.
    pub(crate) fn data_get(&self, owner: &Owner, key: &str) -> Result<Option<Vec<u8>>, Error> {
        check_key(key)?;
        self.read("read a value", |connection| {
            Ok(connection
                .prepare_cached("SELECT value FROM data WHERE plugin = ?1 AND publisher = ?2 AND key = ?3")?
                .query_row((owner.name().as_str(), owner.publisher(), key.as_bytes()), |row| row.get(0))
                .optional()?)
        })
    }

    /// Removes a key and gives whether it was there.
    ///
    /// # Errors
    /// As [`Store::data_get`].
    pub(crate) fn data_delete(&self, owner: &Owner, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        let (owner, key) = (owner.clone(), key.to_owned());
        self.write("remove a value", move |transaction, _| {
            let Some(bytes) = value_bytes(transaction, &owner, &key)? else { return Ok(false) };
            transaction
                .prepare_cached("DELETE FROM data WHERE plugin = ?1 AND publisher = ?2 AND key = ?3")?
                .execute((owner.name().as_str(), owner.publisher(), key.as_bytes()))?;
            let before = usage(transaction, &owner)?;
            let after = DataUsage {
                keys: before.keys.saturating_sub(1),
                bytes: before.bytes.saturating_sub(bytes + key.len() as u64),
            };
            set_usage(transaction, &owner, after)?;
            Ok(true)
        })
    }

    /// Keys that begin with `prefix` and come after the key `after`, at most `limit` of them (1 to 1,000).
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn data_list(
        &self,
        owner: &Owner,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DataPage, Error> {
        let limit = limit.clamp(1, PAGE_MAX);
        self.read("list keys", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT key FROM data WHERE plugin = ?1 AND publisher = ?2 AND key >= ?3 \
                 AND (?4 IS NULL OR key < ?4) AND (?5 IS NULL OR key > ?5) ORDER BY key LIMIT ?6",
            )?;
            let rows = statement.query_map(
                (
                    owner.name().as_str(),
                    owner.publisher(),
                    prefix.as_bytes(),
                    after_prefix(prefix),
                    after.map(str::as_bytes),
                    limit + 1,
                ),
                |row| row.get::<_, Vec<u8>>(0),
            )?;
            let mut keys = Vec::new();
            for key in rows {
                keys.push(String::from_utf8_lossy(&key?).into_owned());
            }
            let more = keys.len() > limit;
            keys.truncate(limit);
            Ok(DataPage { keys, more })
        })
    }

    /// How much a plugin keeps.
    ///
    /// # Errors
    /// `busy` or `io`.
    #[cfg(test)]
    pub(crate) fn data_usage(&self, owner: &Owner) -> Result<DataUsage, Error> {
        self.read("read the usage of a plugin", |connection| Ok(usage(connection, owner)?))
    }
}

fn check_quota(owner: &Owner, usage: DataUsage, bytes_max: u64, keys_max: u64) -> Result<(), Error> {
    let over = if usage.keys > keys_max {
        format!("{} keys; {keys_max} is the most", usage.keys)
    } else if usage.bytes > bytes_max {
        format!("{} bytes; {bytes_max} is the most", usage.bytes)
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorCode::Quota, format!("plugin '{}' would keep {over}", owner.name()))
        .with_hint("the plugin must delete keys first"))
}
