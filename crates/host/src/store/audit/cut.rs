//! Where the trail begins after its oldest records were removed, so that what is left stays provable.
//!
//! The cut names the last record that is gone and its digest, with a code made with the key. The next record's digest is made
//! over that one, so the chain goes on from the cut as it went on from the record. Whoever removes more by hand cannot make
//! another cut.

use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::chain::{self, EMPTY, Head};
use super::{AuditEvent, Subject};
use crate::store::fault::Fault;
use crate::store::key::{DIGEST_BYTES, Key, hex, same};
use crate::store::writer::Context;
use crate::store::{Actor, now_ms};

const PURPOSE: &str = "audit cut";
/// Records that are removed in one transaction: others must get their turn.
pub(in crate::store) const REMOVED_AT_ONCE: usize = 5_000;

/// Which records of the trail are kept; the others, all older than those, are removed.
///
/// ```
/// use std::time::Duration;
/// use ringfence::audit::AuditKeep;
///
/// let ninety_days = AuditKeep::NewerThan(Duration::from_secs(90 * 24 * 3_600));
/// assert_ne!(ninety_days, AuditKeep::Records(90));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditKeep {
    /// The last so many.
    Records(u64),
    /// From the first one on that is not older than this, by the clock.
    NewerThan(std::time::Duration),
}

/// What was removed from the trail.
///
/// ```
/// let nothing = ringfence::audit::AuditPruned { removed: 0, pruned_before: None };
/// assert_eq!(serde_json::to_string(&nothing)?, r#"{"removed":0,"pruned_before":null}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditPruned {
    /// How many records.
    pub removed: u64,
    /// The number of the first record that there is now; `None`: none was ever removed.
    pub pruned_before: Option<i64>,
}

/// Where the trail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With its first record.
    Whole,
    /// After this one.
    After(Head),
    /// A cut that this key did not make says: after this number.
    Forged(i64),
}

impl Begin {
    /// The last record that is gone.
    pub(super) fn head(self) -> Head {
        match self {
            Self::After(head) => head,
            Self::Whole | Self::Forged(_) => EMPTY,
        }
    }
}

pub(super) fn begin(connection: &Connection, key: &Key) -> Result<Begin, Fault> {
    let found = connection
        .prepare_cached("SELECT seq, hash, removed, at_ms, cut_by, mac FROM audit_cut")?
        .query_row([], |row| {
            let (seq, removed, at_ms): (i64, i64, i64) = (row.get(0)?, row.get(2)?, row.get(3)?);
            let (hash, by, mac): (Vec<u8>, String, Vec<u8>) = (row.get(1)?, row.get(4)?, row.get(5)?);
            Ok((seq, hash, removed, at_ms, by, mac))
        })
        .optional()?;
    let Some((seq, hash, removed, at_ms, by, mac)) = found else { return Ok(Begin::Whole) };
    let Ok(hash) = <[u8; DIGEST_BYTES]>::try_from(hash) else { return Ok(Begin::Forged(seq)) };
    let head = Head { seq, hash };
    let genuine = same(&mac, &code(key, head, removed, at_ms, &by));
    Ok(if genuine { Begin::After(head) } else { Begin::Forged(seq) })
}

fn code(key: &Key, head: Head, removed: i64, at_ms: i64, by: &str) -> [u8; DIGEST_BYTES] {
    let numbers = [head.seq.to_be_bytes(), removed.to_be_bytes(), at_ms.to_be_bytes()];
    let [seq, removed, at_ms] = &numbers;
    let parts: [&[u8]; 5] = [seq, &head.hash, removed, at_ms, by.as_bytes()];
    key.mac(PURPOSE, parts)
}

/// The number of the first record that there can be; `None`: none was removed.
pub(in crate::store) fn first_there(connection: &Connection, key: &Key) -> Result<Option<i64>, Fault> {
    Ok(match begin(connection, key)? {
        Begin::After(head) => Some(head.seq.saturating_add(1)),
        Begin::Whole | Begin::Forged(_) => None,
    })
}

/// How many records there are, as far as numbers tell, and the number of the last one.
pub(in crate::store) fn size(connection: &Connection, key: &Key) -> Result<(u64, i64), Fault> {
    let (gone, last) = (begin(connection, key)?.head().seq, chain::head(connection)?.seq);
    Ok((last.saturating_sub(gone).max(0).unsigned_abs(), last))
}

/// The number of the last record that goes, if any does.
pub(in crate::store) fn last_to_go(
    connection: &Connection,
    key: &Key,
    keep: AuditKeep,
) -> Result<Option<i64>, Fault> {
    let (gone, head) = (begin(connection, key)?.head().seq, chain::head(connection)?.seq);
    let last = match keep {
        AuditKeep::Records(count) => head.saturating_sub(i64::try_from(count).unwrap_or(i64::MAX)),
        AuditKeep::NewerThan(age) => {
            let since = now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            let first_kept: Option<i64> = connection
                .prepare_cached("SELECT min(seq) FROM audit WHERE seq > ?1 AND at_ms >= ?2")?
                .query_row((gone, since), |row| row.get(0))?;
            first_kept.map_or(head, |seq| seq.saturating_sub(1))
        }
    };
    Ok(Some(last).filter(|last| *last > gone))
}

/// Cuts the trail after a record, which must have been found as it was written, and records that. The records themselves
/// are removed by [`remove`], a part at a time: they count as gone from now on.
pub(in crate::store) fn cut(
    transaction: &Transaction<'_>,
    context: &Context,
    last: i64,
    by: &Actor,
) -> Result<u64, Fault> {
    let begin = begin(transaction, &context.key)?;
    if matches!(begin, Begin::Forged(_)) {
        // It was genuine when the trail was checked: it is evidence now, and not made good.
        return Ok(0);
    }
    let gone = begin.head().seq;
    let hash: Option<Vec<u8>> = transaction
        .prepare_cached("SELECT hash FROM audit WHERE seq = ?1 AND seq > ?2")?
        .query_row((last, gone), |row| row.get(0))
        .optional()?;
    // Another process has cut further meanwhile.
    let Some(hash) = hash.and_then(|hash| <[u8; DIGEST_BYTES]>::try_from(hash).ok()) else { return Ok(0) };
    let (removed, now) = (last.saturating_sub(gone), now_ms());
    let event =
        AuditEvent::Prune { up_to: last, hash: hex(&hash), removed: removed.unsigned_abs(), by: by.text() };
    chain::append(transaction, &context.key, now, &by.tie(Subject::default()), &event)?;
    write(transaction, &context.key, Head { seq: last, hash }, removed, now, by)?;
    Ok(removed.unsigned_abs())
}

/// Makes this the cut.
pub(super) fn write(
    transaction: &Transaction<'_>,
    key: &Key,
    head: Head,
    removed: i64,
    now: i64,
    by: &Actor,
) -> Result<(), Fault> {
    let mac = code(key, head, removed, now, by.name());
    transaction
        .prepare_cached(
            "INSERT INTO audit_cut (id, seq, hash, removed, at_ms, cut_by, mac) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, removed = excluded.removed, \
             at_ms = excluded.at_ms, cut_by = excluded.cut_by, mac = excluded.mac",
        )?
        .execute((head.seq, &head.hash[..], removed, now, by.name(), &mac[..]))?;
    Ok(())
}

/// Removes some records before the cut, the oldest first. Gives how many; 0: none is left.
pub(in crate::store) fn remove(transaction: &Transaction<'_>, context: &Context) -> Result<usize, Fault> {
    let gone = begin(transaction, &context.key)?.head().seq;
    Ok(transaction
        .prepare_cached(
            "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE seq <= ?1 ORDER BY seq LIMIT ?2)",
        )?
        .execute((gone, REMOVED_AT_ONCE))?)
}
