//! Results of scans, kept in the home by the digest of the package, so that showing a plugin does not scan it again.
//!
//! They are no part of the state: one that is missing or cannot be read is made again. What is kept is what was seen; it is
//! judged by the rules and the manifest of today. Another version of the rules has other names.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use ringfence_api::Manifest;
use ringfence_scan::{RULES, Ran, Raw, Report};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::private_file;

/// The directory in the home.
const DIRECTORY: &str = "scans";
/// The most results that are kept; the oldest go first.
const KEPT_MAX: usize = 256;
/// The longest result that is read, in bytes.
const FILE_MAX_BYTES: u64 = 32_000_000;
/// Bytes of the rules' digest in a name.
const RULES_BYTES: usize = 8;

/// What was seen, and where.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) ran: Ran,
    pub(crate) raw: Raw,
}

impl Kept {
    pub(crate) fn judged(self, manifest: Option<&Manifest>) -> Report {
        Report { ran: self.ran, ..self.raw.judged(manifest) }
    }
}

/// The form on the disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sandboxed: bool,
    raw: Raw,
}

static RULES_DIGEST: LazyLock<String> = LazyLock::new(|| {
    let rules = format!("{} {RULES:?}", env!("CARGO_PKG_VERSION"));
    let digest = Sha256::digest(rules.as_bytes());
    HEXLOWER.encode(digest.get(..RULES_BYTES).unwrap_or(&digest))
});

fn place(home: &Path, digest: &str) -> PathBuf {
    home.join(DIRECTORY).join(format!("{digest}-{}.json", *RULES_DIGEST))
}

/// The result for the package with this digest, if it is kept.
pub(crate) fn read(home: &Path, digest: &str) -> Option<Kept> {
    let file = private_file::open_read(&place(home, digest)).ok()?;
    let mut text = Vec::new();
    file.take(FILE_MAX_BYTES).read_to_end(&mut text).ok()?;
    let File { sandboxed, raw } = serde_json::from_slice(&text).ok()?;
    Some(Kept { ran: if sandboxed { Ran::Sandboxed } else { Ran::InProcess }, raw })
}

/// Keeps a result. That it cannot be kept harms nobody: it is made again.
pub(crate) fn write(home: &Path, digest: &str, kept: &Kept) {
    let sandboxed = match kept.ran {
        Ran::Sandboxed => true,
        Ran::InProcess => false,
        // The machine may be able to tomorrow.
        _ => return,
    };
    let file = File { sandboxed, raw: kept.raw.clone() };
    if let Err(error) = write_file(&place(home, digest), &file) {
        tracing::warn!(error = %error, "what a scan found was not kept");
    }
}

/// Forgets a result.
pub(crate) fn remove(home: &Path, digest: &str) {
    if let Err(error) = std::fs::remove_file(place(home, digest))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(error = %error, "what a scan found was not removed");
    }
}

fn write_file(place: &Path, file: &File) -> std::io::Result<()> {
    let directory = place.parent().unwrap_or(place);
    private_file::create_dir_all(directory)?;
    remove_oldest(directory)?;
    private_file::replace(place, &serde_json::to_vec(file)?, 0o600)
}

fn remove_oldest(directory: &Path) -> std::io::Result<()> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // Another process may take one away meanwhile.
        let Ok(modified) = entry.metadata().and_then(|seen| seen.modified()) else { continue };
        found.push((modified, entry.path()));
    }
    found.sort();
    let more = (found.len() + 1).saturating_sub(KEPT_MAX);
    for (_, path) in found.into_iter().take(more) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
