//! How far the audit chain has come, in a file of its own beside the database.
//!
//! Two slots, written in turn after each commit: number of the last record, its digest, and a code made with the key. It
//! is written without waiting for the disk: the records themselves are on the disk before, so after a power cut the
//! anchor may be behind the chain and is never ahead of it. An anchor ahead of the chain means that records are gone.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;

use super::chain::{self, Head};
use crate::store::key::{DIGEST_BYTES, Key, same};
use crate::{Error, private_file};

const SEQ_BYTES: usize = 8;
const SLOT_BYTES: usize = SEQ_BYTES + DIGEST_BYTES + DIGEST_BYTES;
const SLOTS: u64 = 2;
const PURPOSE: &str = "audit anchor";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchored {
    /// There is no file, or it was just made.
    Nothing,
    /// A file, and nothing in it that this key wrote.
    Damaged,
    /// The chain had come this far.
    At(Head),
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Anchor {
    file: File,
    path: PathBuf,
    written: AtomicI64,
}

impl Anchor {
    /// Opens the file, or makes an empty one.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, Error> {
        let file = private_file::open_or_create(path).map_err(|e| Error::file("open", path, e))?;
        private_file::make_private(&file).map_err(|e| Error::file("protect", path, e))?;
        Ok(Self { file, path: path.to_owned(), written: AtomicI64::new(-1) })
    }

    /// What it says now.
    pub(super) fn read(&self, key: &Key) -> Result<Anchored, Error> {
        let failed = |error| Error::file("read", &self.path, error);
        if self.file.metadata().map_err(failed)?.len() == 0 {
            return Ok(Anchored::Nothing);
        }
        let mut best: Option<Head> = None;
        for number in 0..SLOTS {
            let mut slot = [0; SLOT_BYTES];
            match self.file.read_exact_at(&mut slot, number * SLOT_BYTES as u64) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => continue,
                read => read.map_err(failed)?,
            }
            if let Some(head) = decode(&slot, key)
                && best.is_none_or(|other| other.seq < head.seq)
            {
                best = Some(head);
            }
        }
        Ok(best.map_or(Anchored::Damaged, Anchored::At))
    }

    /// Notes how far the chain has come. A failure is logged: the records themselves are safe.
    pub(in crate::store) fn advance(&self, connection: &Connection, key: &Key) {
        let noted = chain::head(connection).map_err(|e| e.to_string()).and_then(|head| {
            if head.seq <= self.written.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.write(head, key).map_err(|e| e.to_string())
        });
        if let Err(error) = noted {
            tracing::warn!(path = %self.path.display(), error, "the audit anchor was not written");
        }
    }

    pub(super) fn write(&self, head: Head, key: &Key) -> std::io::Result<()> {
        let seq = head.seq.to_be_bytes();
        let mut slot = [0; SLOT_BYTES];
        let mac = key.mac(PURPOSE, [&seq[..], &head.hash]);
        let bytes = seq.iter().chain(&head.hash).chain(&mac);
        slot.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        let number = head.seq.unsigned_abs() % SLOTS;
        self.file.write_all_at(&slot, number * SLOT_BYTES as u64)?;
        self.written.store(head.seq, Ordering::Relaxed);
        Ok(())
    }
}

fn decode(slot: &[u8; SLOT_BYTES], key: &Key) -> Option<Head> {
    let (seq, rest) = slot.split_first_chunk::<SEQ_BYTES>()?;
    let (hash, mac) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    if !same(mac, &key.mac(PURPOSE, [&seq[..], hash])) {
        return None;
    }
    Some(Head { seq: i64::from_be_bytes(*seq), hash: *hash })
}
