//! The chain itself: adding to it, reading it, checking it.

use ringfence_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::anchor::{Anchor, Anchored};
use super::cut::{self, Begin};
use super::seal::SealedTrail;
use super::{AuditEvent, Subject, text};
use crate::Error;
use crate::store::fault::Fault;
use crate::store::key::{DIGEST_BYTES, Key, hex, same};

/// The most records of one page.
pub const PAGE_MAX: usize = 1_000;
/// The most records of [`news`].
const NEWS_MAX: usize = 256;
/// The longest publisher in a record, in bytes.
const PUBLISHER_MAX_BYTES: usize = 512;
/// What the digest begins with: the version of the form.
const FORM: &[u8] = b"ringfence audit 1";
const PURPOSE: &str = "audit record";

/// The last record: its number and digest. The head of an empty chain is number 0 and zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(super) seq: i64,
    pub(super) hash: [u8; DIGEST_BYTES],
}

pub(super) const EMPTY: Head = Head { seq: 0, hash: [0; DIGEST_BYTES] };

/// A record as it is stored.
struct Stored {
    seq: i64,
    at_ms: i64,
    event: String,
    plugin: String,
    publisher: String,
    correlation_id: String,
    body: String,
    hash: Vec<u8>,
    mac: Vec<u8>,
}

const COLUMNS: &str = "seq, at_ms, event, plugin, publisher, correlation_id, body, hash, mac";

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        // A text that is no UTF-8 was written by hand: it is shown as far as it goes, and its digest does not fit.
        let text = |column| -> rusqlite::Result<String> {
            Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
        };
        Ok(Self {
            seq: row.get(0)?,
            at_ms: row.get(1)?,
            event: text(2)?,
            plugin: text(3)?,
            publisher: text(4)?,
            correlation_id: text(5)?,
            body: text(6)?,
            hash: row.get(7)?,
            mac: row.get(8)?,
        })
    }

    fn into_record(self) -> AuditRecord {
        // Only a record that was edited is no JSON; it is shown as the text it is.
        let body = serde_json::from_str(&self.body).unwrap_or_else(|_| Value::from(self.body.as_str()));
        AuditRecord {
            seq: self.seq,
            at_ms: self.at_ms,
            event: self.event,
            plugin: self.plugin,
            publisher: self.publisher,
            correlation_id: self.correlation_id,
            body,
            hash: hex(&self.hash),
        }
    }

    /// Digest over the one before and every column, each with its length.
    fn digest(&self, previous: &[u8; DIGEST_BYTES]) -> [u8; DIGEST_BYTES] {
        let mut hash = Sha256::new_with_prefix(FORM);
        hash.update(previous);
        hash.update(self.seq.to_be_bytes());
        hash.update(self.at_ms.to_be_bytes());
        for column in [&self.event, &self.plugin, &self.publisher, &self.correlation_id, &self.body] {
            hash.update((column.len() as u64).to_be_bytes());
            hash.update(column.as_bytes());
        }
        hash.finalize().into()
    }
}

pub(super) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    let last = connection
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok(Head { seq: row.get(0)?, hash: row.get(1)? }))
        .optional()?;
    Ok(last.unwrap_or(EMPTY))
}

/// Adds a record at the end of the chain and gives its number. It is durable when the transaction is.
pub(in crate::store) fn append(
    transaction: &Transaction<'_>,
    key: &Key,
    at_ms: i64,
    subject: &Subject,
    event: &AuditEvent,
) -> Result<i64, Fault> {
    append_after(transaction, key, head(transaction)?, at_ms, subject, event)
}

pub(super) fn append_after(
    transaction: &Transaction<'_>,
    key: &Key,
    head: Head,
    at_ms: i64,
    subject: &Subject,
    event: &AuditEvent,
) -> Result<i64, Fault> {
    let (event, body) = text::encode(event)?;
    let mut record = Stored {
        seq: head.seq.saturating_add(1),
        at_ms,
        event,
        plugin: text::name(&subject.plugin, ringfence_api::PLUGIN_NAME_MAX_BYTES),
        publisher: text::name(&subject.publisher, PUBLISHER_MAX_BYTES),
        correlation_id: text::name(&subject.correlation_id, text::CORRELATION_MAX_BYTES),
        body,
        hash: Vec::new(),
        mac: Vec::new(),
    };
    let hash = record.digest(&head.hash);
    record.mac = key.mac(PURPOSE, [&hash[..]]).to_vec();
    transaction
        .prepare_cached(
            "INSERT INTO audit (seq, at_ms, event, plugin, publisher, correlation_id, body, hash, mac) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            record.seq,
            record.at_ms,
            &record.event,
            &record.plugin,
            &record.publisher,
            &record.correlation_id,
            &record.body,
            &hash[..],
            &record.mac,
        ))?;
    Ok(record.seq)
}

/// Whether the chain reaches what the anchor says; if not, a record of that is added whose number leaves the gap open for
/// ever. Called when the store is opened, before anything else is written.
pub(in crate::store) fn respect_anchor(
    transaction: &Transaction<'_>,
    key: &Key,
    at_ms: i64,
    anchor: &Anchor,
) -> Result<(), Fault> {
    let Some((anchored, found)) = gap(transaction, key, anchor)? else { return Ok(()) };
    let event = AuditEvent::AuditGap { anchored: anchored.map(|head| head.seq), found: found.seq };
    append_after(transaction, key, anchored.unwrap_or(found), at_ms, &Subject::default(), &event)?;
    Ok(())
}

/// The anchor and the head when they do not fit.
///
/// INVARIANT: the anchor is read before the chain, which only grows: so a record that another process adds meanwhile
/// cannot look like a loss.
pub(in crate::store) fn gap(
    connection: &Connection,
    key: &Key,
    anchor: &Anchor,
) -> Result<Option<(Option<Head>, Head)>, Fault> {
    let anchored = anchor.read(key)?;
    let found = head(connection)?;
    Ok(match anchored {
        Anchored::Nothing if found == EMPTY => None,
        Anchored::Nothing | Anchored::Damaged => Some((None, found)),
        Anchored::At(head) if head.seq > found.seq => Some((Some(head), found)),
        Anchored::At(_) => None,
    })
}

/// Which records to list. By default all, oldest first.
///
/// ```
/// use ringfence::audit::{AuditFilter, AuditOrder};
///
/// let crashes = AuditFilter { event: Some("crash".to_owned()), ..AuditFilter::default() };
/// assert_eq!(crashes.order, AuditOrder::OldestFirst);
/// ```
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only of this plugin.
    pub plugin: Option<String>,
    /// Only this event, such as `consent`.
    pub event: Option<String>,
    /// Only of this request, and refusals of which it is not certain that they belong to another one.
    pub correlation_id: Option<String>,
    /// Only from this time on, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Only records with a larger number.
    pub after_seq: Option<i64>,
    /// Only records with a smaller number.
    pub before_seq: Option<i64>,
    /// In which order. Default oldest first.
    pub order: AuditOrder,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditOrder {
    /// As they happened.
    #[default]
    OldestFirst,
    /// The last one first.
    #[allow(dead_code, reason = "with what reads the trail from outside")]
    NewestFirst,
}

/// One record, as it was written. As one line of JSON it can be checked elsewhere: see [`ExportCheck`](crate::audit::ExportCheck).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditRecord {
    /// Its number: 1 for the first, each one more.
    pub seq: i64,
    /// When, in milliseconds since 1970, by the clock of that moment.
    pub at_ms: i64,
    /// What, such as `consent`.
    pub event: String,
    /// The plugin, or empty.
    pub plugin: String,
    /// Its publisher, or empty.
    pub publisher: String,
    /// What joins the records of one request, or empty.
    pub correlation_id: String,
    /// The rest, by event.
    pub body: Value,
    /// The digest of the chain up to here, in hexadecimal.
    pub hash: String,
}

/// Some records and whether there are more.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditPage {
    /// The records, in the order that was asked for.
    pub records: Vec<AuditRecord>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// A page of the chain; `after` is the number of the last record of the page before.
pub(in crate::store) fn list(
    connection: &Connection,
    filter: &AuditFilter,
    after: Option<i64>,
    limit: usize,
) -> Result<AuditPage, Fault> {
    let limit = limit.clamp(1, PAGE_MAX);
    let (comparison, order) = match filter.order {
        AuditOrder::OldestFirst => (">", "ASC"),
        AuditOrder::NewestFirst => ("<", "DESC"),
    };
    // Said outright where there is one: the index is used then, and what is far behind or rare costs no look at all others.
    let said = |there: bool, number: u8, condition: &str| match there {
        true => format!("{condition} ?{number}"),
        false => format!("?{number} IS NULL"),
    };
    let from = said(after.is_some(), 1, &format!("seq {comparison}"));
    let of_plugin = said(filter.plugin.is_some(), 2, "plugin =");
    let before = said(filter.before_seq.is_some(), 7, "seq <");
    // One lower end, for one alone ends the look.
    let cut = "coalesce((SELECT seq FROM audit_cut), 0)";
    let behind = match filter.after_seq {
        Some(_) => format!("seq > max(?6, {cut})"),
        None => format!("?6 IS NULL AND seq > {cut}"),
    };
    // A record that was edited may be no JSON.
    let possibly = "event = 'denial' AND instr(body, '\"possible_calls\"') > 0 AND json_valid(body) \
                    AND EXISTS (SELECT 1 FROM json_each(body, '$.possible_calls') WHERE value = ?4)";
    let sql = format!(
        "SELECT {COLUMNS} FROM audit WHERE {from} AND {of_plugin} \
         AND (?3 IS NULL OR event = ?3) AND (?4 IS NULL OR correlation_id = ?4 OR {possibly}) AND (?5 IS NULL OR at_ms >= ?5) \
         AND {before} AND {behind} \
         ORDER BY seq {order} LIMIT ?8"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(
        (
            after,
            &filter.plugin,
            &filter.event,
            &filter.correlation_id,
            filter.since_ms,
            filter.after_seq,
            filter.before_seq,
            i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1),
        ),
        Stored::read,
    )?;
    let mut records = Vec::new();
    for stored in rows {
        records.push(stored?.into_record());
    }
    let more = records.len() > limit;
    records.truncate(limit);
    Ok(AuditPage { records, more })
}

/// The last record of a gap behind the last seal.
pub(in crate::store) fn last_gap(connection: &Connection) -> Result<Option<i64>, Fault> {
    // They belong to no plugin, which an index knows.
    let last = connection
        .prepare_cached(
            "SELECT event, seq FROM audit WHERE plugin = '' AND event IN ('audit_gap', 'seal') ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
        .optional()?;
    Ok(last.filter(|(event, _)| event == "audit_gap").map(|(_, seq)| seq))
}

/// What was done to plugins, tokens and the policy since a record, and the record to go on from. At most 256 at once.
pub(in crate::store) fn news(connection: &Connection, after: i64) -> Result<(Vec<AuditRecord>, i64), Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit WHERE seq > ?1 AND event IN ('install', 'uninstall', 'consent', 'revoke', \
         'config', 'upgrade', 'rollback', 'release', 'token_create', 'token_revoke', 'policy') ORDER BY seq LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((after, i64::try_from(NEWS_MAX).unwrap_or(i64::MAX)), Stored::read)?;
    let records: Vec<AuditRecord> =
        rows.map(|stored| stored.map(Stored::into_record)).collect::<Result<_, _>>()?;
    let last = match records.last().filter(|_| records.len() == NEWS_MAX) {
        Some(last) => last.seq,
        None => head(connection)?.seq,
    };
    Ok((records, last))
}

/// What checking the chain found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditVerdict {
    /// How many records were read.
    pub records: u64,
    /// The number of the last one.
    pub last_seq: i64,
    /// The first one that is not as it was written; `None`: all are.
    pub first_bad: Option<BadRecord>,
    /// The number of the first record that there can be: those before it were removed by [`Host::audit_prune`], and the one that
    /// came before it is vouched for. `None`: none was removed.
    ///
    /// [`Host::audit_prune`]: crate::Host::audit_prune
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned_before: Option<i64>,
    /// The last damaged trail that was put away, if the trail has a record of one: what is before it proves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedTrail>,
}

/// A record that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BadRecord {
    /// Its number.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

/// The digest of a record that is given from outside, over the one before.
pub(super) fn digest_of(record: &AuditRecord, previous: &[u8; DIGEST_BYTES]) -> [u8; DIGEST_BYTES] {
    let stored = Stored {
        seq: record.seq,
        at_ms: record.at_ms,
        event: record.event.clone(),
        plugin: record.plugin.clone(),
        publisher: record.publisher.clone(),
        correlation_id: record.correlation_id.clone(),
        body: text::escape(&record.body.to_string()),
        hash: Vec::new(),
        mac: Vec::new(),
    };
    stored.digest(previous)
}

/// Writes every record that is there as a line of JSON, whatever was done to it, with its code. Gives how many.
pub(super) fn write_out(connection: &Connection, to: &mut impl std::io::Write) -> Result<u64, Fault> {
    let failed = |cause| Error::new(ErrorCode::Io, "cannot copy the damaged audit trail").with_source(cause);
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    let mut records = 0;
    while let Some(row) = rows.next()? {
        let Stored { seq, at_ms, event, plugin, publisher, correlation_id, body, hash, mac } =
            Stored::read(row)?;
        let line = serde_json::json!({
            "seq": seq, "at_ms": at_ms, "event": event, "plugin": plugin, "publisher": publisher,
            "correlation_id": correlation_id, "body": body, "hash": hex(&hash), "mac": hex(&mac),
        });
        writeln!(to, "{line}").map_err(failed)?;
        records += 1;
    }
    Ok(records)
}

/// Reads the whole chain and stops at the first bad record.
pub(in crate::store) fn verify(
    connection: &Connection,
    key: &Key,
    anchor: &Anchor,
) -> Result<AuditVerdict, Fault> {
    let anchored = anchor.read(key)?;
    let begin = cut::begin(connection, key)?;
    let mut previous = begin.head();
    let mut verdict = AuditVerdict {
        records: 0,
        last_seq: previous.seq,
        first_bad: None,
        pruned_before: None,
        sealed: None,
    };
    match begin {
        Begin::Whole => {}
        Begin::After(head) => verdict.pruned_before = Some(head.seq.saturating_add(1)),
        Begin::Forged(seq) => {
            let reason = "what says that the records before it were removed was not written by Ringfence";
            return Ok(verdict.bad(seq.saturating_add(1), reason));
        }
    }
    let after = if begin == Begin::Whole { i64::MIN } else { previous.seq };
    let mut statement =
        connection.prepare(&format!("SELECT {COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq"))?;
    let mut rows = statement.query([after])?;
    while let Some(row) = rows.next()? {
        let stored = Stored::read(row)?;
        let hash = stored.digest(&previous.hash);
        if let Some((seq, reason)) = fault_of(&stored, previous, &hash, key, anchored) {
            return Ok(verdict.bad(seq, reason));
        }
        previous = Head { seq: stored.seq, hash };
        verdict.records += 1;
        verdict.last_seq = stored.seq;
    }
    let next = previous.seq.saturating_add(1);
    Ok(match anchored {
        Anchored::At(head) if head.seq > previous.seq => {
            verdict.bad(next, &format!("it and what follows up to {} are gone", head.seq))
        }
        Anchored::Damaged => {
            verdict.bad(next, "the anchor 'audit.anchor' is damaged: the end may be cut off")
        }
        Anchored::Nothing if previous != EMPTY => {
            verdict.bad(next, "the anchor 'audit.anchor' is missing: the end may be cut off")
        }
        _ => verdict,
    })
}

fn fault_of(
    stored: &Stored,
    previous: Head,
    hash: &[u8; DIGEST_BYTES],
    key: &Key,
    anchored: Anchored,
) -> Option<(i64, &'static str)> {
    let expected = previous.seq.saturating_add(1);
    if stored.seq != expected {
        return Some((expected, "it is gone"));
    }
    if !same(&stored.hash, hash) {
        return Some((stored.seq, "it, or the order, was changed: its digest does not fit"));
    }
    if !same(&stored.mac, &key.mac(PURPOSE, [&hash[..]])) {
        return Some((stored.seq, "it was not written by Ringfence: its code does not fit the key"));
    }
    if stored.event == "audit_gap" {
        return Some((stored.seq, "before it, the chain had no valid anchor: the end may have been cut off"));
    }
    match anchored {
        Anchored::At(head) if head.seq == stored.seq && head.hash != *hash => {
            Some((stored.seq, "it is not the record that the anchor names"))
        }
        _ => None,
    }
}

impl AuditVerdict {
    fn bad(mut self, seq: i64, reason: &str) -> Self {
        self.first_bad = Some(BadRecord { seq, reason: reason.to_owned() });
        self
    }

    /// The same as an error, for callers that need an intact chain.
    ///
    /// # Errors
    /// `permission_denied` naming the first bad record.
    pub fn require_intact(&self) -> Result<(), Error> {
        match &self.first_bad {
            None => Ok(()),
            Some(bad) => Err(Error::new(
                ErrorCode::PermissionDenied,
                format!("the audit trail was changed: record {}: {}", bad.seq, bad.reason),
            )
            .with_hint("find out who can write to the home; a backup shows what stood there")),
        }
    }
}

/// Makes the digests and codes from one record on again: what somebody does who has the code of this file and a key.
#[cfg(test)]
pub(super) fn rehash(connection: &Connection, key: &Key, from: i64) {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY seq")).unwrap();
    let rows: Vec<_> = statement.query_map([], Stored::read).unwrap().map(Result::unwrap).collect();
    let mut previous = EMPTY.hash;
    for stored in rows {
        let hash = stored.digest(&previous);
        if stored.seq >= from {
            let mac = key.mac(PURPOSE, [&hash[..]]);
            connection
                .execute(
                    "UPDATE audit SET hash = ?2, mac = ?3 WHERE seq = ?1",
                    (stored.seq, &hash[..], &mac[..]),
                )
                .unwrap();
        }
        previous = hash;
    }
}
