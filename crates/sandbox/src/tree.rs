//! Directory trees that somebody else made, walked by descriptor.
//!
//! Every step names one entry of one open directory and never follows a link, so nobody who can rename things inside
//! the tree can lead a walk out of it. Modes are set after creation, so that they do not depend on the umask. What the
//! files mean, which are welcome and how many may be there is the caller's business.
//!
//! Start reading at [`Dir`]; paths of several names below a directory are opened in `beneath`, removing whole trees is in
//! `remove`.

mod beneath;
mod remove;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use beneath::NO_LINKS;
pub use beneath::{act_on_files_as, is_kernels_own, is_link};

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
    /// The group that owns it.
    pub gid: u32,
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
            gid: stat.st_gid,
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

    /// The directory at an absolute path that no link is part of; one anywhere in it is refused (`openat2(2)`, Linux 5.6).
    ///
    /// # Errors
    /// When it is missing, no directory, must not be read, or a link is on the way.
    pub fn open_without_links(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: open_without_links(path, DIRECTORY)? })
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
        self.each_name(|name| {
            if names.len() >= count_max {
                return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
            }
            names.push(name.to_owned());
            Ok(())
        })?;
        Ok(names)
    }

    /// Calls `act` with each name in it as it is read, unsorted, without `.` and `..`, until one call fails. What is made or
    /// removed meanwhile may be met or not.
    ///
    /// # Errors
    /// When it cannot be read; what `act` fails with.
    pub fn each_name(&self, mut act: impl FnMut(&OsStr) -> io::Result<()>) -> io::Result<()> {
        let mut entries = rustix::fs::Dir::read_from(&self.fd)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                act(OsStr::from_bytes(name))?;
            }
        }
        Ok(())
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

    /// A directory in it, with at least these `rights` of its owner (bits of `0o700`): what is missing of them is given to it
    /// first. A link is refused.
    ///
    /// What is changed is the very directory that is opened, by descriptor, whatever has its name by then: whoever swaps
    /// names meanwhile wins nothing.
    ///
    /// # Errors
    /// When it is missing, no directory, belongs to somebody else, or `name` is not one name.
    pub fn open_dir_with(&self, name: &OsStr, rights: u32) -> io::Result<Self> {
        match self.open_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let found = rustix::fs::openat(&self.fd, single(name)?, flags, Mode::empty())?;
                let mode = Status::of(&rustix::fs::fstat(&found)?).mode;
                change_mode(found.as_fd(), mode | rights | 0o500)?;
                Ok(Self { fd: rustix::fs::openat(&found, ".", DIRECTORY, Mode::empty())? })
            }
            opened => {
                let opened = opened?;
                let mode = opened.own_status()?.mode;
                if mode & rights != rights {
                    opened.set_mode(mode | rights)?;
                }
                Ok(opened)
            }
        }
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
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a path that no link is part of, a regular file without waiting for anybody.
pub(crate) fn open_without_links(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(CWD, path, flags, Mode::empty(), NO_LINKS)?)
}

/// Changes the mode of what is open, by `O_PATH` too (fchmodat2(2), Linux 6.6; before that by way of /proc).
fn change_mode(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    // An older kernel does not know the call, and a filter around the host may answer anything; /proc says the same of an
    // owner who may not.
    crate::sys::change_mode(file, mode).or_else(|_| change_mode_by_proc(file, mode))
}

/// The link in /proc leads to what is open and no further, as it is the file itself and not a path.
fn change_mode_by_proc(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let place = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::chmod(place, Mode::from_raw_mode(mode))?)
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
#[path = "tree/tests.rs"]
mod tests;
