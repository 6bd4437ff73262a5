//! What becomes of a trail that somebody has altered: it is put away as it was found, and a new one begins behind it.
//!
//! Nothing can make good what was altered, and nothing here does. All that is there is copied into a file of the home; its digest
//! takes the place of the last record in the cut, so that the file is a part of the chain, and the first record behind the cut says
//! what was found, by whom, and which file has it. From there on the trail is provable again, and only from there on.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ringfence_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use sha2::{Digest as _, Sha256};

use super::anchor::{Anchor, Anchored};
use super::chain::{self, Head};
use super::cut::{self, Begin};
use super::{AuditEvent, BadRecord, Subject};
use crate::store::fault::Fault;
use crate::store::key::hex;
use crate::store::writer::Context;
use crate::store::{Actor, now_ms};
use crate::{Error, private_file};

/// A damaged trail that was put away.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// let sealed = host.audit_seal_damage().await?;
/// println!("record {}: {}; all of it is in {}", sealed.first_bad.seq, sealed.first_bad.reason, sealed.file.display());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditSealed {
    /// The first record that was not as it was written.
    pub first_bad: BadRecord,
    /// How many records were put away.
    pub records: u64,
    /// The number of the last one that there can have been: the trail goes on behind it.
    pub up_to: i64,
    /// The file that has them, one a line, readable by the owner of the home.
    pub file: PathBuf,
    /// Its SHA-256 in hexadecimal digits, which is part of the chain.
    pub sha256: String,
}

/// A damaged trail that was put away earlier, and what became of its file.
///
/// ```
/// use ringfence::audit::{SealedState, SealedTrail};
///
/// let sealed = SealedTrail { seq: 9, file: "audit-damaged-1.jsonl".to_owned(), state: SealedState::Whole };
/// assert_eq!(serde_json::to_value(sealed).unwrap()["state"], "whole");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SealedTrail {
    /// The number of the record that says so.
    pub seq: i64,
    /// The name of the file in the home.
    pub file: String,
    /// Whether it is as it was put away.
    pub state: SealedState,
}

/// What became of a trail that was put away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SealedState {
    /// It is as it was put away.
    Whole,
    /// It is not.
    Altered,
    /// It is not in the home, or cannot be read.
    Gone,
}

/// A number that no trail reaches, and that somebody has written: behind the largest ones there is no room for another record.
const FORGED_SEQ: i64 = i64::MAX / 2;

/// The last trail that was put away, as the trail says, held against its file. Reads the whole file.
pub(in crate::store) fn sealed(connection: &Connection, home: &Path) -> Result<Option<SealedTrail>, Fault> {
    let last: Option<(i64, String)> = connection
        .prepare_cached("SELECT seq, body FROM audit WHERE event = 'seal' ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((seq, body)) = last else { return Ok(None) };
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let file = text("file").to_owned();
    let is_name = Path::new(&file).file_name().is_some_and(|name| name == file.as_str());
    let digest = is_name.then(|| hash_of(&home.join(&file))).and_then(Result::ok);
    let state = match digest {
        None => SealedState::Gone,
        Some(digest) if hex(&digest) == text("sha256") => SealedState::Whole,
        Some(_) => SealedState::Altered,
    };
    Ok(Some(SealedTrail { seq, file, state }))
}

fn hash_of(file: &Path) -> std::io::Result<[u8; 32]> {
    let mut to = Hashed { to: std::io::sink(), hash: Sha256::new() };
    std::io::copy(&mut private_file::open_read(file)?, &mut to)?;
    Ok(to.hash.finalize().into())
}

/// Hands on what is written, and hashes it.
struct Hashed<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Puts a damaged trail away and begins a new one behind it. The records themselves are removed by [`cut::remove`].
pub(in crate::store) fn seal(
    transaction: &Transaction<'_>,
    context: &Context,
    home: &Path,
    anchor: &Path,
    by: &Actor,
) -> Result<AuditSealed, Fault> {
    let anchor = Anchor::open(anchor)?;
    let verdict = chain::verify(transaction, &context.key, &anchor)?;
    let Some(first_bad) = verdict.first_bad else {
        return Err(Error::new(ErrorCode::Usage, "every record of the audit trail is as it was written")
            .with_hint("`ringfence audit prune --keep DURATION` shortens it")
            .into());
    };
    let last: Option<i64> =
        transaction.query_row("SELECT max(seq) FROM audit WHERE seq < ?1", [FORGED_SEQ], |row| row.get(0))?;
    let anchored = match anchor.read(&context.key)? {
        Anchored::At(head) => head.seq,
        Anchored::Nothing | Anchored::Damaged => 0,
    };
    let gone = match cut::begin(transaction, &context.key)? {
        Begin::Whole => 0,
        Begin::After(head) => head.seq,
        Begin::Forged(seq) => seq,
    };
    // Behind everything that there may have been, so that no number is given twice.
    let up_to = last.unwrap_or(0).max(anchored).max(gone).max(0);
    let (file, records, digest) = copy(transaction, home)?;
    let begun = begin_behind(transaction, context, up_to, &first_bad, (&file, records, digest), by);
    if let Err(fault) = begun {
        // Nothing was put away: a copy that no record names would be litter.
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::warn!(file = %file.display(), %error, "a copy of the damaged audit trail is left");
        }
        return Err(fault);
    }
    Ok(AuditSealed { first_bad, records, up_to, file, sha256: hex(&digest) })
}

/// The new trail's first record, and the cut before it.
fn begin_behind(
    transaction: &Transaction<'_>,
    context: &Context,
    up_to: i64,
    first_bad: &BadRecord,
    (file, records, digest): (&Path, u64, [u8; 32]),
    by: &Actor,
) -> Result<(), Fault> {
    let head = Head { seq: up_to, hash: digest };
    let (now, count) = (now_ms(), i64::try_from(records).unwrap_or(i64::MAX));
    // What stands behind every number that there may be would come after the new trail: it is removed at once, which the table
    // allows for what a cut has put away.
    cut::write(transaction, &context.key, Head { seq: i64::MAX, hash: digest }, count, now, by)?;
    transaction.prepare_cached("DELETE FROM audit WHERE seq >= ?1")?.execute([FORGED_SEQ])?;
    let event = AuditEvent::Seal {
        first_bad: first_bad.seq,
        reason: first_bad.reason.clone(),
        up_to,
        records,
        file: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: hex(&digest),
        by: by.text(),
    };
    chain::append_after(transaction, &context.key, head, now, &by.tie(Subject::default()), &event)?;
    cut::write(transaction, &context.key, head, count, now, by)
}

/// Copies all that is there into a new file, on the disk before anything is removed.
fn copy(transaction: &Transaction<'_>, home: &Path) -> Result<(PathBuf, u64, [u8; 32]), Fault> {
    let file = home.join(format!("audit-damaged-{}.jsonl", now_ms()));
    let failed = |cause| Error::file("copy the damaged audit trail to", &file, cause);
    let made = private_file::create_new(&file).map_err(failed)?;
    let mut to = Hashed { to: BufWriter::new(&made), hash: Sha256::new() };
    let records = chain::write_out(transaction, &mut to)?;
    to.flush().map_err(failed)?;
    let digest = to.hash.finalize().into();
    made.sync_all().and_then(|()| private_file::sync_parent(&file)).map_err(failed)?;
    Ok((file, records, digest))
}
