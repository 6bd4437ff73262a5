//! The file of the policy: opened without following links, refused when somebody else can write it, and read whole.

use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ringfence_api::ErrorCode;

use super::{Finding, POLICY_MAX_BYTES};
use crate::{Error, private_file};

/// The bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;
/// The user who may do everything.
const ROOT: u32 = 0;
/// A file that changed within this time may still be written.
const SETTLES_AFTER: Duration = Duration::from_millis(20);
/// How often a file that is being written is looked at again.
const LOOKS_MAX: u32 = 20;

/// What tells that a file is another one, or has another owner or mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// The owner and mode of the directory, which decides who may put another file in its place.
    directory: (u32, u32),
}

impl Identity {
    fn of(file: &Metadata, directory: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
            directory: (directory.uid(), directory.mode()),
        }
    }
}

/// What is there at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    File(Identity),
    /// It cannot even be looked at.
    Unknown(io::ErrorKind),
}

/// Looks, without opening. Two system calls.
pub(super) fn look(path: &Path) -> Seen {
    let directory = path.parent().unwrap_or(Path::new("/"));
    match std::fs::symlink_metadata(path) {
        Ok(file) => match std::fs::metadata(directory) {
            Ok(directory) => Seen::File(Identity::of(&file, &directory)),
            Err(error) => Seen::Unknown(error.kind()),
        },
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Seen::Nothing
        }
        Err(error) => Seen::Unknown(error.kind()),
    }
}

/// Who must own the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This user or root, and nobody else may write it.
    Trusted,
    /// Anybody: the file is only looked at.
    Anybody,
}

/// The text of the policy at `path`; `None` when there is none. A file that is being written is waited for, less than half a
/// second.
///
/// # Errors
/// Findings: it is a link or no regular file, somebody else can write it, it is too large, no text, or cannot be read.
pub(super) fn read(path: &Path, owner: Owner) -> Result<Option<String>, Vec<Finding>> {
    for _ in 0..LOOKS_MAX {
        let before = look(path);
        if before == Seen::Nothing {
            return Ok(None);
        }
        let read = read_once(path, owner)?;
        if look(path) == before && settled(path) {
            return read.map(Some).ok_or_else(|| vec![Finding::whole("it is not UTF-8 text")]);
        }
        std::thread::sleep(SETTLES_AFTER);
    }
    Err(vec![Finding::whole("it is written again and again; write another file and rename it over this one")])
}

/// Whether the last write is some time ago. A clock that went back must not make a file wait for ever.
fn settled(path: &Path) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).map_or(true, |since| since >= SETTLES_AFTER))
}

/// `Ok(None)`: it is no text.
fn read_once(path: &Path, owner: Owner) -> Result<Option<String>, Vec<Finding>> {
    let cannot = |error: io::Error| vec![Finding::whole(format!("it cannot be read: {error}"))];
    let file = private_file::open_read(path).map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?;
    if owner == Owner::Trusted {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let above = std::fs::metadata(directory).map_err(cannot)?;
        if let Some(why) =
            writable_by_others(&found, "it").or_else(|| writable_by_others(&above, "its directory"))
        {
            return Err(vec![Finding::whole(why)]);
        }
    }
    if found.len() > POLICY_MAX_BYTES {
        return Err(vec![too_large(found.len())]);
    }
    let mut bytes = Vec::new();
    let read = file.take(POLICY_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if read as u64 > POLICY_MAX_BYTES {
        return Err(vec![too_large(read as u64)]);
    }
    Ok(String::from_utf8(bytes).ok())
}

fn too_large(bytes: u64) -> Finding {
    Finding::whole(format!("it has {bytes} bytes; at most {POLICY_MAX_BYTES} are read"))
}

/// Why a file or directory of this owner and mode is not to be trusted.
fn writable_by_others(found: &Metadata, what: &str) -> Option<String> {
    let us = ringfence_sandbox::user_id();
    let (uid, mode) = (found.uid(), found.mode() & 0o7777);
    if uid != us && uid != ROOT {
        return Some(format!(
            "{what} belongs to uid {uid}, who could write what holds for uid {us}; chown it"
        ));
    }
    (mode & OTHERS_WRITE != 0)
        .then(|| format!("{what} can be written by others (mode {mode:04o}); chmod go-w it"))
}

/// The text of any file, for looking at it.
///
/// # Errors
/// `path_not_found` when there is none.
pub(super) fn read_any(path: &Path) -> Result<Result<String, Vec<Finding>>, Error> {
    match read(path, Owner::Anybody) {
        Ok(Some(text)) => Ok(Ok(text)),
        Ok(None) => Err(Error::new(ErrorCode::PathNotFound, format!("there is no '{}'", path.display()))
            .with_hint("`ringfence policy template` prints one to begin with")),
        Err(findings) => Ok(Err(findings)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn refused(path: &Path) -> String {
        read(path, Owner::Trusted).unwrap_err().first().unwrap().message.clone()
    }

    #[test]
    fn a_file_that_others_can_write_is_refused_and_its_twin_is_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("policy.toml");
        assert_eq!(read(&path, Owner::Trusted).unwrap(), None);
        std::fs::write(&path, "default = \"allow\"\n").unwrap();
        let mode = |of: &Path, mode| std::fs::set_permissions(of, PermissionsExt::from_mode(mode)).unwrap();
        for good in [0o600, 0o644, 0o440] {
            mode(&path, good);
            assert!(read(&path, Owner::Trusted).unwrap().is_some());
        }
        for bad in [0o620, 0o602, 0o666] {
            mode(&path, bad);
            assert!(refused(&path).contains("written by others"), "{bad:o}");
            assert!(read(&path, Owner::Anybody).unwrap().is_some());
        }
        mode(&path, 0o600);
        // Only root can give a file away.
        if ringfence_sandbox::is_root() {
            std::os::unix::fs::chown(&path, Some(65_533), None).unwrap();
            assert!(refused(&path).contains("belongs to uid 65533"));
            assert!(read(&path, Owner::Anybody).unwrap().is_some());
            std::os::unix::fs::chown(&path, Some(ROOT), None).unwrap();
        }
        assert!(read(&path, Owner::Trusted).unwrap().is_some());
        mode(home.path(), 0o770);
        assert!(refused(&path).starts_with("its directory"));
        mode(home.path(), 0o700);
    }

    #[test]
    fn links_pipes_and_endless_files_are_refused_without_waiting() {
        let home = tempfile::tempdir().unwrap();
        let (path, real) = (home.path().join("policy.toml"), home.path().join("real"));
        std::fs::write(&real, "default = \"allow\"\n").unwrap();
        symlink(&real, &path).unwrap();
        assert!(refused(&path).contains("symbolic link"));
        std::fs::remove_file(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        assert!(read(&path, Owner::Trusted).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(refused(&path).contains("not a regular file"));
        std::fs::remove_dir(&path).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(100_000_000).unwrap();
        assert!(refused(&path).contains("100000000 bytes"));
        file.set_len(3).unwrap();
        std::fs::write(&path, b"\xff\xfe=").unwrap();
        assert!(refused(&path).contains("UTF-8"));
    }

    #[test]
    fn what_changes_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("policy.toml");
        assert_eq!(look(&path), Seen::Nothing);
        std::fs::write(&path, "a").unwrap();
        let before = look(&path);
        assert_eq!(look(&path), before);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let chmod = look(&path);
        assert_ne!(chmod, before);
        std::fs::write(home.path().join("new"), "b").unwrap();
        std::fs::rename(home.path().join("new"), &path).unwrap();
        assert_ne!(look(&path), chmod);
    }
}
