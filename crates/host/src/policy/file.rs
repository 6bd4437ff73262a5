//! The file of the policy: opened without following links, refused when somebody else can write it, and read whole.

use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use ringfence_api::ErrorCode;
use ringfence_sandbox::tree::{Dir, Status};

use super::{Finding, POLICY_MAX_BYTES};
use crate::{Error, private_file};

/// The bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;
/// The bits of a mode that are no type.
const MODE: u32 = 0o7777;
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
    modified_ns: i128,
    changed_ns: i128,
    /// The owner and mode of the directory, which decides who may put another file in its place.
    directory: (u32, u32),
}

impl Identity {
    fn of(file: &Metadata, directory: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified_ns: ns(file.mtime(), file.mtime_nsec()),
            changed_ns: ns(file.ctime(), file.ctime_nsec()),
            directory: (directory.uid(), directory.mode() & MODE),
        }
    }

    fn inside(file: &Status, directory: &Status) -> Self {
        Self {
            device: file.identity.0,
            inode: file.identity.1,
            size: file.size,
            modified_ns: file.modified_ns,
            changed_ns: file.changed_ns,
            directory: (directory.uid, directory.mode),
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
    let looked = std::fs::symlink_metadata(path)
        .and_then(|file| Ok(Identity::of(&file, &std::fs::metadata(directory_of(path))?)));
    Seen::of(looked)
}

impl Seen {
    fn of(looked: io::Result<Identity>) -> Self {
        match looked {
            Ok(identity) => Self::File(identity),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Self::Nothing
            }
            Err(error) => Self::Unknown(error.kind()),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// A file that every call looks at, by way of its open directory: one name is looked up several times as fast as a path.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// `None` while it cannot be opened.
    directory: RwLock<Option<Dir>>,
}

impl Place {
    /// Looks at nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, directory: RwLock::default() }
    }

    /// Looks, without opening the file. One system call where there is none, else two. Another directory in place of the one
    /// that was there at the last [`Place::look_anew`] is not noticed.
    pub(super) fn look(&self) -> Seen {
        let kept = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        let Some(directory) = &*kept else { return look(&self.path) };
        let file = directory.status(self.path.file_name().unwrap_or_default());
        Seen::of(file.and_then(|file| Ok(Identity::inside(&file, &directory.own_status()?))))
    }

    /// The same by its path, whichever directory stands there by now.
    pub(super) fn look_anew(&self) -> Seen {
        let is = std::fs::metadata(directory_of(&self.path)).map(|found| (found.dev(), found.ino())).ok();
        let mut kept = self.directory.write().unwrap_or_else(PoisonError::into_inner);
        let was = kept.as_ref().and_then(|directory| directory.own_status().ok()).map(|own| own.identity);
        if is.is_none() || is != was {
            *kept = Dir::open(directory_of(&self.path)).ok();
        }
        drop(kept);
        look(&self.path)
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
        let directory = directory_of(path);
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

    #[test]
    fn a_name_alone_lies_in_the_working_directory() {
        assert_eq!(directory_of(Path::new("new.toml")), Path::new("."));
        assert_eq!(directory_of(Path::new("/policy.toml")), Path::new("/"));
        assert_eq!(directory_of(Path::new("a/b")), Path::new("a"));
    }
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

    #[test]
    fn an_open_directory_shows_what_its_path_shows() {
        let above = tempfile::tempdir().unwrap();
        let home = above.path().join("home");
        let path = home.join("policy.toml");
        let place = Place::new(path.clone());
        assert_eq!((place.look_anew(), place.look()), (Seen::Nothing, Seen::Nothing));
        std::fs::create_dir(&home).unwrap();
        assert_eq!((place.look_anew(), place.look()), (Seen::Nothing, Seen::Nothing));
        std::fs::write(&path, "a").unwrap();
        let seen = place.look();
        assert!(matches!(seen, Seen::File(_)));
        assert_eq!((seen, seen), (look(&path), place.look_anew()));
        std::fs::set_permissions(&home, PermissionsExt::from_mode(0o711)).unwrap();
        assert_ne!(place.look(), seen, "the mode of the directory is part of it");
        assert_eq!(place.look(), look(&path));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(place.look(), Seen::Nothing);
        // Another directory is seen by whoever looks anew, and by everybody after that.
        std::fs::remove_dir(&home).unwrap();
        std::fs::create_dir(&home).unwrap();
        std::fs::write(&path, "b").unwrap();
        assert_eq!(place.look_anew(), look(&path));
        assert!(matches!(place.look(), Seen::File(_)));
        std::fs::rename(&home, above.path().join("moved")).unwrap();
        assert_eq!((place.look_anew(), place.look()), (Seen::Nothing, Seen::Nothing));
    }
}
