//! Whether an installed package is still what was installed.
//!
//! The whole truth is the digest of its content. Reading it all before each start would make a start slow, so a
//! *fingerprint* is remembered after a full check: what the kernel says of every file (device, inode, mode, size, time of
//! change) under a code of the store's key. The kernel sets the time of change (`ctime`) whenever content or mode change,
//! and no call sets it otherwise, so whoever can write to the home but not to the clock or the raw disk cannot keep a
//! fingerprint and change a file. A fingerprint is only remembered when the last change is so long ago that a later one
//! has another time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringfence_api::ErrorCode;
use ringfence_sandbox::tree::{Dir, EntryKind};
use sha2::{Digest as _, Sha256};

use super::walk::{Leave, walk};
use super::{DEPTH_MAX, ENTRIES_MAX, Problem};
use crate::Error;
use crate::store::Store;

const PURPOSE: &str = "package fingerprint";
/// Two changes within this time may have the same time: the clock of the kernel's file times ticks at 100 Hz at the slowest.
const TICK: Duration = Duration::from_millis(50);

/// How a package was found to be as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verified {
    /// Every byte was read.
    Read,
    /// Nothing was changed since every byte was read.
    Unchanged,
}

/// Checks an installed package.
///
/// # Errors
/// `invalid_package` when it is missing or anything of it was changed; `io` when it cannot be read.
pub(crate) fn verify(store: &Store, digest: &str) -> Result<Verified, Error> {
    let path = store.layout().package(digest);
    let dir = Dir::open_no_follow(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Error::file("read the package", &path, error),
        _ => changed(&path, "its directory is missing or was replaced"),
    })?;
    let before = fingerprint(&dir).map_err(|problem| problem.into_error(&path))?;
    let code = store.code(PURPOSE, &[digest.as_bytes(), &before.hash].concat());
    if store.fingerprint(digest)?.is_some_and(|known| known == code) {
        return Ok(Verified::Unchanged);
    }
    let found = match walk(&dir, None, Leave::Nothing) {
        Ok(walked) => walked.listing.digest(),
        Err(Problem::Io { action, path: file, source }) => {
            return Err(Error::file(action, &path.join(file), source));
        }
        Err(problem) => return Err(changed(&path, &problem.to_string())),
    };
    if found != digest {
        return Err(changed(&path, &format!("its digest is {found}")));
    }
    let after = fingerprint(&dir).map_err(|problem| problem.into_error(&path))?;
    if after.hash == before.hash && after.is_settled() {
        store.set_fingerprint(digest, Some(code))?;
    }
    Ok(Verified::Read)
}

/// Where the package is, for starting it, once it was checked.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verified(store: &Store, digest: &str) -> Result<PathBuf, Error> {
    verify(store, digest)?;
    Ok(store.layout().package(digest))
}

fn changed(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorCode::InvalidPackage,
        format!("the installed package '{}' is not what was installed: {why}", path.display()),
    )
    .with_hint("uninstall the plugin, keeping its data if you want, and install it again")
}

struct Fingerprint {
    hash: [u8; 32],
    newest_change_ns: i128,
}

impl Fingerprint {
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i128::try_from(now.as_nanos()).unwrap_or(0);
        let tick = i128::try_from(TICK.as_nanos()).unwrap_or(0);
        // A time in the future is a clock that went back: then nothing is known.
        (self.newest_change_ns..=self.newest_change_ns.saturating_add(tick)).end() < &now
    }
}

/// What the kernel says of every entry, in one number. No file is opened.
fn fingerprint(root: &Dir) -> Result<Fingerprint, Problem> {
    let mut state = Scan { hash: Sha256::new(), newest: 0, count: 0 };
    state.directory(root, "", 1)?;
    Ok(Fingerprint { hash: state.hash.finalize().into(), newest_change_ns: state.newest })
}

struct Scan {
    hash: Sha256,
    newest: i128,
    count: usize,
}

impl Scan {
    fn directory(&mut self, dir: &Dir, path: &str, depth: usize) -> Result<(), Problem> {
        let io = |error| Problem::io("read", path)(error);
        self.note(path, &dir.own_status().map_err(io)?);
        if depth > DEPTH_MAX {
            return Err(Problem::entry(path, "is nested too deep"));
        }
        let mut names: Vec<OsString> = dir.names(ENTRIES_MAX).map_err(io)?;
        names.sort();
        for name in names {
            self.count += 1;
            if self.count > ENTRIES_MAX {
                return Err(Problem::TooMuch { limit: format!("{ENTRIES_MAX} entries") });
            }
            let inner = format!("{path}/{}", name.to_string_lossy());
            let status = dir.status(&name).map_err(Problem::io("read", &inner))?;
            if status.kind == EntryKind::Directory {
                self.directory(
                    &dir.open_dir(&name).map_err(Problem::io("open", &inner))?,
                    &inner,
                    depth + 1,
                )?;
            } else {
                self.note(&inner, &status);
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &str, status: &ringfence_sandbox::tree::Status) {
        self.hash.update((path.len() as u64).to_be_bytes());
        self.hash.update(path);
        for number in
            [status.identity.0, status.identity.1, status.size, u64::from(status.mode), status.links]
        {
            self.hash.update(number.to_be_bytes());
        }
        self.hash.update(status.modified_ns.to_be_bytes());
        self.hash.update(status.changed_ns.to_be_bytes());
        self.newest = self.newest.max(status.changed_ns);
    }
}
