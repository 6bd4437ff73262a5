//! Whether an exported trail is whole, without the home that it came from.

use data_encoding::HEXLOWER;

use super::chain::{self, AuditRecord, BadRecord};
use crate::store::key::{DIGEST_BYTES, hex};

/// Checks exported records, one after another: that each follows the one before, and that nothing of it was changed.
///
/// It knows no key. Who changes an export and computes all digests from there on again is found by comparing the last digest
/// with that of the home, or with that of an earlier export.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// let (mut export, mut check) = (host.audit_export(None), ringfence::audit::ExportCheck::default());
/// while let Some(records) = export.next_page().await? {
///     for record in records {
///         assert_eq!(check.follows(&record), Ok(()));
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ExportCheck {
    last: Option<(i64, [u8; DIGEST_BYTES])>,
    records: u64,
}

impl ExportCheck {
    /// Takes the next record. The first one is believed what stood before it, unless it is number 1.
    ///
    /// # Errors
    /// The record that is missing, or is not as it was written.
    pub fn follows(&mut self, record: &AuditRecord) -> Result<(), BadRecord> {
        let bad = |seq, reason: &str| Err(BadRecord { seq, reason: reason.to_owned() });
        let mut given = [0; DIGEST_BYTES];
        let decoded = HEXLOWER.decode(record.hash.as_bytes()).unwrap_or_default();
        if decoded.len() != DIGEST_BYTES {
            return bad(record.seq, "its digest is none");
        }
        given.copy_from_slice(&decoded);
        let before = match self.last {
            Some((seq, _)) if record.seq != seq.saturating_add(1) => {
                return bad(seq.saturating_add(1), "it is gone");
            }
            Some((_, hash)) => Some(hash),
            None if record.seq == 1 => Some([0; DIGEST_BYTES]),
            None => None,
        };
        if let Some(before) = before
            && hex(&chain::digest_of(record, &before)) != record.hash
        {
            return bad(record.seq, "it, or the order, was changed: its digest does not fit");
        }
        self.last = Some((record.seq, given));
        self.records += 1;
        Ok(())
    }

    /// How many records were as they were written.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }
}
