//! Several names at once, in a tree that somebody may change meanwhile; and with whose rights.
//!
//! The kernel itself refuses every link on the way (`openat2(2)`, Linux 5.6): what is opened is what the path says, or
//! nothing. There is no fallback for a kernel without that call.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{DIRECTORY, Dir, single};

/// A handle through which entries are reached, for which the right to pass is enough.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// What every opening in a stranger's tree refuses.
pub(super) const NO_LINKS: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);

/// File systems whose files are the kernel talking, by the magic number of statfs(2): reading or writing them acts.
const KERNEL_FILE_SYSTEMS: [u32; 16] = [
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x0000_1cd1, // devpts
    0xcafe_4a11, // bpf
    0xf97c_ff8c, // selinuxfs
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x1980_0202, // mqueue
    0x4249_4e4d, // binfmt_misc
    0x6e73_6673, // nsfs
];

impl Dir {
    /// The directory at an absolute path, with no link anywhere on the way. It can be passed through, not listed: see
    /// [`Dir::to_list`].
    ///
    /// # Errors
    /// When it is missing or no directory; for a link on the way, an error of which [`is_link`] is true; `ENOSYS` before
    /// Linux 5.6.
    pub fn open_exact(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"));
        }
        Ok(Self { fd: rustix::fs::openat2(CWD, path, PLACE, Mode::empty(), NO_LINKS)? })
    }

    /// A directory below this one, by a path of one or more names, with no link anywhere on the way: nobody who can rename
    /// things in the tree can lead out of it. It can be passed through, not listed.
    ///
    /// # Errors
    /// As [`Dir::open_exact`]; `EXDEV` for a path that would leave the directory.
    pub fn open_dir_beneath(&self, path: &Path) -> io::Result<Self> {
        let resolve = NO_LINKS | ResolveFlags::BENEATH;
        Ok(Self { fd: rustix::fs::openat2(&self.fd, path, PLACE, Mode::empty(), resolve)? })
    }

    /// The same directory, to be listed.
    ///
    /// # Errors
    /// When it must not be read.
    pub fn to_list(&self) -> io::Result<Self> {
        Ok(Self { fd: rustix::fs::openat(&self.fd, ".", DIRECTORY, Mode::empty())? })
    }

    /// Whether this thread may write the entry, judged by owner and mode. A link is not followed.
    ///
    /// # Errors
    /// When it may not, or `name` is not one name.
    pub fn may_write(&self, name: &OsStr) -> io::Result<()> {
        let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::accessat(&self.fd, single(name)?, Access::WRITE_OK, flags)?)
    }

    /// Gives an entry of this directory another name in it, in one step; what had that name before, other than a directory, is
    /// gone then.
    ///
    /// # Errors
    /// When the entry is missing, or a directory has the new name.
    pub fn rename_over(&self, name: &OsStr, new_name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, single(name)?, &self.fd, single(new_name)?)?)
    }
}

/// Whether something that is open lies on a file system that is the kernel talking, such as `/proc`, wherever it is mounted.
///
/// ```
/// use ringfence_sandbox::tree::{Dir, is_kernels_own};
///
/// assert!(is_kernels_own(&Dir::open_exact("/proc".as_ref())?)?);
/// assert!(!is_kernels_own(&Dir::open_exact("/usr".as_ref())?)?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When the kernel does not say.
pub fn is_kernels_own(opened: &impl AsFd) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(opened)?.f_type;
    Ok(KERNEL_FILE_SYSTEMS.iter().any(|known| i128::from(*known) == i128::from(kind)))
}

/// Whether something was not opened because a link stands in its place or on the way.
///
/// ```
/// use ringfence_sandbox::tree::{Dir, is_link};
///
/// let error = Dir::open_exact("/proc/self".as_ref()).unwrap_err();
/// assert!(is_link(&error));
/// ```
#[must_use]
pub fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Gives this thread, for the rest of its life, the rights over files of one user and one group, and no others: no further
/// group, no capability. That is what a sandbox has in a tree of theirs, as root and in a user namespace alike. Other threads
/// keep what they have, so it belongs on a thread that ends afterwards.
///
/// # Errors
/// When this process is not root, or the system refuses: then the thread may have lost some rights, and gained none.
pub fn act_on_files_as(user: u32, group: u32) -> io::Result<()> {
    crate::sys::act_on_files_as(user, group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn no_link_is_followed_on_the_whole_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        symlink("a", dir.path().join("link")).unwrap();
        let root = Dir::open_exact(dir.path()).unwrap();
        let there = root.open_dir_beneath("a/b/c".as_ref()).unwrap();
        assert_eq!(
            there.own_status().unwrap(),
            root.open_dir_beneath("a/b".as_ref()).unwrap().status(name("c")).unwrap()
        );
        for through in ["link", "link/b", "a/../link/b"] {
            assert!(is_link(&root.open_dir_beneath(through.as_ref()).unwrap_err()), "{through}");
            assert!(is_link(&Dir::open_exact(&dir.path().join(through)).unwrap_err()), "{through}");
        }
        for out in ["..", "a/../..", "/", "/usr"] {
            assert!(root.open_dir_beneath(out.as_ref()).is_err(), "{out}");
        }
        assert!(Dir::open_exact("usr".as_ref()).is_err(), "not relative");
        assert_eq!(there.to_list().unwrap().names(10).unwrap().len(), 0);
    }

    #[test]
    fn a_directory_that_is_swapped_for_a_link_all_the_time_never_leads_outside() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink(outside.path(), dir.path().join("bait")).unwrap();
        let root = Dir::open_exact(dir.path()).unwrap();
        let over = AtomicBool::new(false);
        let (mut opened, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let place = |name: &str| dir.path().join(name);
                while !over.load(Ordering::Relaxed) {
                    for (away, here) in [("real", "bait"), ("bait", "real")] {
                        let _moved = fs::rename(place("here"), place(away));
                        let _moved = fs::rename(place(here), place("here"));
                    }
                }
            });
            while opened < 50 || refused < 50 {
                match root.open_dir_beneath("here".as_ref()) {
                    Ok(found) => {
                        assert!(found.status(name("secret")).is_err(), "it led outside");
                        opened += 1;
                    }
                    Err(error) if is_link(&error) => refused += 1,
                    Err(_) => {}
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_name_is_replaced_in_one_step_and_a_directory_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["old", "new"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        fs::create_dir(dir.path().join("directory")).unwrap();
        let root = Dir::open_exact(dir.path()).unwrap();
        root.rename_over(name("new"), name("old")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("old")).unwrap(), "new");
        assert!(root.rename_over(name("old"), name("directory")).is_err());
        assert!(root.rename_over(name("old"), name("../x")).is_err());
    }

    #[test]
    fn what_the_kernel_makes_up_is_known_wherever_it_is() {
        assert!(is_kernels_own(&Dir::open_exact("/proc".as_ref()).unwrap()).unwrap());
        assert!(is_kernels_own(&fs::File::open("/proc/version").unwrap()).unwrap());
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_kernels_own(&Dir::open_exact(dir.path()).unwrap()).unwrap());
    }

    #[test]
    fn as_root_a_thread_takes_the_rights_of_an_owner_and_no_other_thread_does() {
        if !crate::is_root() {
            let refused = std::thread::spawn(|| act_on_files_as(1, 1)).join().unwrap();
            assert!(refused.is_err(), "an ordinary user becomes nobody else");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for (file, mode) in [("closed", 0o600), ("open", 0o644)] {
            fs::write(dir.path().join(file), "x").unwrap();
            fs::set_permissions(dir.path().join(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        let theirs = dir.path().join("theirs");
        fs::write(&theirs, "x").unwrap();
        std::os::unix::fs::chown(&theirs, Some(4711), Some(4712)).unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
        let place = dir.path().to_owned();
        std::thread::spawn(move || {
            act_on_files_as(4711, 4712).unwrap();
            fs::write(place.join("made"), "x").unwrap();
            assert!(fs::read(place.join("open")).is_ok() && fs::read(place.join("theirs")).is_ok());
            assert!(fs::read(place.join("closed")).is_err());
            assert!(act_on_files_as(0, 0).is_err(), "there is no way back");
        })
        .join()
        .unwrap();
        let made = fs::metadata(dir.path().join("made")).unwrap();
        assert_eq!((made.uid(), made.gid()), (4711, 4712));
        // Root without its power over everybody's files.
        std::thread::spawn(move || {
            act_on_files_as(0, 0).unwrap();
            assert!(fs::read(&theirs).is_err());
        })
        .join()
        .unwrap();
        assert!(fs::read(dir.path().join("theirs")).is_ok(), "this thread is as it was");
    }
}
