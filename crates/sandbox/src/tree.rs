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
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
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
                give(found.as_fd(), rights | 0o500)?;
                Ok(Self { fd: rustix::fs::openat(&found, ".", DIRECTORY, Mode::empty())? })
            }
            opened => {
                let opened = opened?;
                give(opened.as_fd(), rights)?;
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
        let dir = self.open_dir_with(name, 0o700)?;
        for inner in dir.names(usize::MAX)? {
            match dir.remove_below(&inner, depth - 1) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(rustix::fs::unlinkat(&self.fd, single(name)?, AtFlags::REMOVEDIR)?)
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
    let strict = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(CWD, path, flags, Mode::empty(), strict)?)
}

/// Adds rights to the mode of what is open.
fn give(file: BorrowedFd<'_>, rights: u32) -> io::Result<()> {
    let mode = Status::of(&rustix::fs::fstat(file)?).mode;
    if mode & rights == rights { Ok(()) } else { change_mode(file, mode | rights) }
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

    /// Runs `act` on a thread for which modes count, as they do for every user but root.
    fn as_one_who_is_held_by_modes<T: Send>(act: impl FnOnce() -> T + Send) -> T {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        std::thread::scope(|scope| {
            let held = scope.spawn(|| {
                let mut sets = capabilities(None).unwrap();
                sets.effective &= !(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
                set_capabilities(None, sets).unwrap();
                act()
            });
            held.join().unwrap()
        })
    }

    #[test]
    fn a_directory_gets_the_rights_that_are_missing_and_keeps_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = Dir::open(dir.path()).unwrap();
        let mode = |entry: &str| root.status(name(entry)).unwrap().mode;
        as_one_who_is_held_by_modes(|| {
            for (before, rights, after) in
                [(0, 0o700, 0o700), (0o4, 0o500, 0o504), (0o400, 0o500, 0o500), (0o755, 0o700, 0o755)]
            {
                let made = root.create_dir(name("sub"), 0o700).unwrap();
                drop(made.create_file(name("file"), 0o600).unwrap());
                made.set_mode(before).unwrap();
                drop(made);
                let opened = root.open_dir_with(name("sub"), rights).unwrap();
                assert_eq!(
                    (mode("sub"), opened.status(name("file")).unwrap().size),
                    (after, 0),
                    "{before:o}"
                );
                root.remove_tree(name("sub")).unwrap();
            }
            drop(root.create_dir(name("closed"), 0).unwrap());
            assert_eq!(root.open_dir(name("closed")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            root.create_link(name("link"), name("closed")).unwrap();
            assert!(root.open_dir_with(name("link"), 0o700).is_err());
            assert_eq!(mode("closed"), 0, "not by way of a link");
        });
    }

    #[test]
    fn both_ways_of_changing_a_mode_change_what_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let root = Dir::open(dir.path()).unwrap();
        drop(root.create_dir(name("sub"), 0).unwrap());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let found = rustix::fs::openat(&root.fd, "sub", flags, Mode::empty()).unwrap();
        root.rename_new(name("sub"), &root, name("moved")).unwrap();
        root.create_link(name("sub"), name("nowhere")).unwrap();
        for (way, mode) in
            [(change_mode as fn(BorrowedFd<'_>, u32) -> _, 0o500), (change_mode_by_proc, 0o700)]
        {
            let changed: io::Result<()> = way(found.as_fd(), mode);
            changed.unwrap();
            assert_eq!(root.status(name("moved")).unwrap().mode, mode);
        }
    }

    #[test]
    fn a_path_without_links_is_opened_and_one_with_a_link_anywhere_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let real = std::path::absolute(dir.path()).unwrap();
        std::fs::create_dir_all(real.join("a/b")).unwrap();
        symlink("a", real.join("link")).unwrap();
        assert!(Dir::open_without_links(&real.join("a/b")).is_ok());
        assert!(Dir::open(&real.join("link/b")).is_ok(), "the twin");
        for path in ["link", "link/b"] {
            assert!(Dir::open_without_links(&real.join(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_directory_that_becomes_a_link_while_it_is_removed_leads_nowhere() {
        const ROUNDS: usize = 600;
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o555)).unwrap();
        let mode = || outside.path().metadata().unwrap().permissions().mode() & 0o7777;
        let root = Dir::open(dir.path()).unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let exchanged = std::thread::scope(|scope| {
            let racing = scope.spawn(|| {
                let mut exchanged = 0_usize;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let flags = RenameFlags::EXCHANGE;
                    exchanged += usize::from(
                        rustix::fs::renameat_with(&root.fd, "tree/x", &root.fd, "tree/y", flags).is_ok(),
                    );
                }
                exchanged
            });
            as_one_who_is_held_by_modes(|| {
                for _ in 0..ROUNDS {
                    if mode() != 0o555 {
                        break;
                    }
                    let tree = root.create_dir(name("tree"), 0o700).unwrap();
                    drop(tree.create_dir(name("x"), 0).unwrap());
                    tree.create_link(name("y"), outside.path().as_os_str()).unwrap();
                    // Whoever swaps names while they are removed may make the removal fail; the next one does it.
                    while root.remove_tree(name("tree")).is_err() {}
                }
            });
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            racing.join().unwrap()
        });
        assert_eq!((mode(), outside.path().join("kept").exists()), (0o555, true));
        assert!(exchanged > ROUNDS / 10, "{exchanged} exchanges are no race");
        std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o755)).unwrap();
    }
}
