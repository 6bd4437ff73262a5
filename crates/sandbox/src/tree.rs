//! Directory trees that somebody else made, walked by descriptor.
//!
//! Every step names one entry of one open directory and never follows a link, so nobody who can rename things inside
//! the tree can lead a walk out of it. Modes are set after creation, so that they do not depend on the umask. What the
//! files mean, which are welcome and how many may be there is the caller's business.
//!
//! Start reading at [`Dir`].

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

/// How deep [`Dir::remove_tree`] goes. A tree of ours is never deeper than 64; the rest is room for what a plugin made.
const REMOVE_DEPTH_MAX: usize = 512;

/// What an entry of a directory is.
///
/// ```
/// use ringfence_sandbox::tree::{Dir, EntryKind};
///
/// let root = Dir::open("/".as_ref())?;
/// assert_eq!(root.status("usr".as_ref())?.kind, EntryKind::Directory);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something that this version does not know.
    Unknown,
}

/// What the kernel says of one entry.
///
/// ```
/// use ringfence_sandbox::tree::{Dir, EntryKind};
///
/// let status = Dir::open("/dev".as_ref())?.status("null".as_ref())?;
/// assert_eq!(status.kind, EntryKind::Device);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, set-id and sticky bits included (`07777`).
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// What it takes on the disk in bytes; a hole takes nothing.
    pub allocated: u64,
    /// Number of names that the file has.
    pub links: u64,
    /// The user that owns it.
    pub uid: u32,
    /// Device and inode: which file it is.
    pub identity: (u64, u64),
    /// When its content was changed, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// When anything of it was changed, in nanoseconds since 1970. Nobody can set this but the clock.
    pub changed_ns: i128,
}

impl Status {
    fn of(stat: &rustix::fs::Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Link,
            FileType::CharacterDevice | FileType::BlockDevice => EntryKind::Device,
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::Unknown => EntryKind::Unknown,
        };
        let ns = |seconds: i128, nanoseconds: i128| seconds * 1_000_000_000 + nanoseconds;
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_lossless,
            trivial_numeric_casts,
            reason = "the widths of these fields differ between processors"
        )]
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            // The unit of st_blocks is 512 bytes whatever the file system's block is (stat(3type)).
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            links: stat.st_nlink as u64,
            uid: stat.st_uid,
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            modified_ns: ns(stat.st_mtime as i128, stat.st_mtime_nsec as i128),
            changed_ns: ns(stat.st_ctime as i128, stat.st_ctime_nsec as i128),
        }
    }
}

/// An open directory, through which its entries are reached.
///
/// ```
/// use ringfence_sandbox::tree::{Dir, EntryKind};
///
/// let etc = Dir::open("/etc".as_ref())?;
/// let (file, status) = etc.open_file("passwd".as_ref())?;
/// assert_eq!((status.kind, status.size), (EntryKind::File, file.metadata()?.len()));
/// // One name at a time: a path is refused.
/// assert!(etc.open_file("../etc/passwd".as_ref()).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

impl Dir {
    /// The directory at a path. Links on the way are followed: whoever names the tree decides where it is.
    ///
    /// # Errors
    /// When it is missing, no directory, or must not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())? })
    }

    /// The same, refused when the last place of the path is a link.
    ///
    /// # Errors
    /// As [`Dir::open`], and for a link.
    pub fn open_no_follow(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: rustix::fs::openat(CWD, path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())? })
    }

    /// A second handle of the same directory.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// The directory as a file, for locks and synchronisation.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn to_file(&self) -> io::Result<File> {
        Ok(File::from(self.fd.try_clone()?))
    }

    /// The names in it, unsorted, without `.` and `..`.
    ///
    /// # Errors
    /// When it cannot be read, or holds more than `count_max` entries ([`io::ErrorKind::QuotaExceeded`]): the list never
    /// grows beyond that.
    pub fn names(&self, count_max: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() >= count_max {
                return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
            }
            names.push(OsString::from_vec(name.to_vec()));
        }
        Ok(names)
    }

    /// What an entry is. A link is not followed.
    ///
    /// # Errors
    /// When it is missing, or `name` is not one name.
    pub fn status(&self, name: &OsStr) -> io::Result<Status> {
        Ok(Status::of(&rustix::fs::statat(&self.fd, single(name)?, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// What the directory itself is.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn own_status(&self) -> io::Result<Status> {
        Ok(Status::of(&rustix::fs::fstat(&self.fd)?))
    }

    /// A directory in it. A link is refused.
    ///
    /// # Errors
    /// When it is missing, no directory, or `name` is not one name.
    pub fn open_dir(&self, name: &OsStr) -> io::Result<Self> {
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        Ok(Self { fd: rustix::fs::openat(&self.fd, single(name)?, flags, Mode::empty())? })
    }

    /// A regular file in it, for reading, and what it is. A link, a pipe and a device are refused, and never waited for.
    ///
    /// # Errors
    /// When it is missing, not a regular file ([`io::ErrorKind::InvalidInput`]), or `name` is not one name.
    pub fn open_file(&self, name: &OsStr) -> io::Result<(File, Status)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, single(name)?, flags, Mode::empty())?;
        let status = Status::of(&rustix::fs::fstat(&fd)?);
        if status.kind != EntryKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok((File::from(fd), status))
    }

    /// Where a link in it points.
    ///
    /// # Errors
    /// When it is missing, no link, or `name` is not one name.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.fd, single(name)?, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// A fresh directory in it with exactly this mode.
    ///
    /// # Errors
    /// When the name is taken, or `name` is not one name.
    pub fn create_dir(&self, name: &OsStr, mode: u32) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.fd, single(name)?, Mode::RWXU)?;
        let made = self.open_dir(name)?;
        made.set_mode(mode)?;
        Ok(made)
    }

    /// A fresh regular file in it, for writing, with exactly this mode.
    ///
    /// # Errors
    /// When the name is taken, by a link too, or `name` is not one name.
    pub fn create_file(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, single(name)?, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        Ok(File::from(fd))
    }

    /// A fresh link in it.
    ///
    /// # Errors
    /// When the name is taken, or `name` is not one name.
    pub fn create_link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.fd, single(name)?)?)
    }

    /// Sets the mode of the directory itself.
    ///
    /// # Errors
    /// When it belongs to somebody else.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))?)
    }

    /// Waits until the names in the directory are on the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Waits until everything of the file system that holds the directory is on the disk (`syncfs(2)`).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }

    /// Moves an entry of this directory into another one, never over something that is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the new name is taken; other failures as the kernel gives them.
    pub fn rename_new(&self, name: &OsStr, to: &Self, new_name: &OsStr) -> io::Result<()> {
        let (name, new_name) = (single(name)?, single(new_name)?);
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new_name, RenameFlags::NOREPLACE) {
            // A file system without the flag: a directory never replaces a directory that holds something, and our
            // callers hold a lock against each other.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if to.status(new_name).is_ok() {
                    return Err(io::Error::from(io::ErrorKind::AlreadyExists));
                }
                Ok(rustix::fs::renameat(&self.fd, name, &to.fd, new_name)?)
            }
            done => Ok(done?),
        }
    }

    /// Removes what is no directory.
    ///
    /// # Errors
    /// When it is missing or a directory.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, single(name)?, AtFlags::empty())?)
    }

    /// Removes an entry and everything below it, read-only directories too. Links are removed, not followed. An entry
    /// that is missing already is as good.
    ///
    /// # Errors
    /// When something below cannot be removed, or lies deeper than 512 directories.
    pub fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        match self.remove_below(name, REMOVE_DEPTH_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn remove_below(&self, name: &OsStr, depth: usize) -> io::Result<()> {
        if self.status(name)?.kind != EntryKind::Directory {
            return self.remove_file(name);
        }
        if depth == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the directories are nested too deep"));
        }
        let dir = self.open_to_remove(name)?;
        dir.set_mode(0o700)?;
        for inner in dir.names(usize::MAX)? {
            match dir.remove_below(&inner, depth - 1) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(rustix::fs::unlinkat(&self.fd, single(name)?, AtFlags::REMOVEDIR)?)
    }

    /// A directory without the owner's read bit cannot be opened, only be given one first.
    fn open_to_remove(&self, name: &OsStr) -> io::Result<Self> {
        match self.open_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                rustix::fs::chmodat(&self.fd, single(name)?, Mode::RWXU, AtFlags::empty())?;
                self.open_dir(name)
            }
            opened => opened,
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// INVARIANT: what reaches the kernel is one name, so a walk cannot leave the directory.
fn single(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_encoded_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not the name of an entry"));
    }
    Ok(name)
}

/// Fills a buffer with random bytes of the kernel (`getrandom(2)`), fit for keys and for names that nobody guesses.
///
/// ```
/// let (mut one, mut two) = ([0_u8; 32], [0_u8; 32]);
/// ringfence_sandbox::tree::random(&mut one)?;
/// ringfence_sandbox::tree::random(&mut two)?;
/// assert_ne!(one, two);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When the kernel has no such call.
pub fn random(buffer: &mut [u8]) -> io::Result<()> {
    let mut rest = buffer;
    while !rest.is_empty() {
        let count = match rustix::rand::getrandom(&mut *rest, GetRandomFlags::empty()) {
            Err(Errno::INTR) => continue,
            filled => filled?,
        };
        rest = rest.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn entries_are_reached_one_name_at_a_time_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/file"), "text").unwrap();
        symlink("sub", dir.path().join("link")).unwrap();
        symlink("sub/file", dir.path().join("file-link")).unwrap();
        let root = Dir::open(dir.path()).unwrap();

        let mut text = String::new();
        root.open_dir(name("sub"))
            .unwrap()
            .open_file(name("file"))
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "text");
        assert!(root.open_dir(name("link")).is_err() && root.open_file(name("file-link")).is_err());
        assert_eq!(root.status(name("link")).unwrap().kind, EntryKind::Link);
        assert_eq!(root.read_link(name("link")).unwrap(), "sub");
        for path in ["sub/file", "..", ".", "", "/etc/passwd"] {
            assert_eq!(root.open_file(name(path)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert!(Dir::open(&dir.path().join("link")).is_ok());
        assert!(Dir::open_no_follow(&dir.path().join("link")).is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let root = Dir::open(dir.path()).unwrap();
        assert_eq!(root.status(name("pipe")).unwrap().kind, EntryKind::Fifo);
        assert_eq!(root.open_file(name("pipe")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn new_entries_have_their_mode_and_never_replace_anything() {
        let dir = tempfile::tempdir().unwrap();
        let root = Dir::open(dir.path()).unwrap();
        root.create_file(name("file"), 0o666).unwrap().write_all(b"x").unwrap();
        let mode = |entry: &str| {
            std::fs::symlink_metadata(dir.path().join(entry)).unwrap().permissions().mode() & 0o7777
        };
        // The umask of a test process is hardly ever 0: 0666 stays 0666 all the same.
        assert_eq!(mode("file"), 0o666);
        drop(root.create_dir(name("dir"), 0o755).unwrap());
        assert_eq!(mode("dir"), 0o755);
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        for taken in ["file", "dir", "dangling"] {
            assert!(root.create_file(name(taken), 0o600).is_err(), "{taken}");
            assert!(root.create_dir(name(taken), 0o700).is_err(), "{taken}");
        }
        let moved = root.rename_new(name("file"), &root, name("dangling"));
        assert_eq!(moved.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        root.rename_new(name("file"), &root, name("other")).unwrap();
        assert_eq!(root.open_file(name("other")).unwrap().1.size, 1);
        root.sync().unwrap();
    }

    #[test]
    fn a_tree_is_removed_with_its_read_only_parts_and_what_links_point_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kept"), "x").unwrap();
        std::fs::create_dir_all(dir.path().join("tree/a/b")).unwrap();
        symlink(dir.path(), dir.path().join("tree/a/out")).unwrap();
        for path in ["tree/a/b", "tree/a"] {
            std::fs::set_permissions(dir.path().join(path), PermissionsExt::from_mode(0o555)).unwrap();
        }
        let root = Dir::open(dir.path()).unwrap();
        root.remove_tree(name("tree")).unwrap();
        root.remove_tree(name("tree")).unwrap();
        assert_eq!(root.names(10).unwrap(), ["kept"]);
    }

    #[test]
    fn a_list_of_names_stops_at_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..5 {
            std::fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let root = Dir::open(dir.path()).unwrap();
        assert_eq!(root.names(5).unwrap().len(), 5);
        assert_eq!(root.names(4).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    }
}
