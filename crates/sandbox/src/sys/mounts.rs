//! Mount calls of the launcher: the file descriptor interface (Linux 5.2 and later), so that no path is
//! walked twice.

use core::ffi::CStr;

use super::calls::{Fd, Result, check, fd_of, word};
use super::raw::syscall6;

pub(crate) const ATTR_RDONLY: u64 = 0x1;
pub(crate) const ATTR_NOSUID: u64 = 0x2;
pub(crate) const ATTR_NODEV: u64 = 0x4;
pub(crate) const ATTR_NOEXEC: u64 = 0x8;
pub(crate) const ATTR_IDMAP: u64 = 0x0010_0000;
const MS_PRIVATE: u64 = 1 << 18;

/// Makes every mount of this namespace private, so that nothing propagates back.
pub(crate) fn make_all_private() -> Result<()> {
    const MS_REC_PRIVATE: usize = 0x4000 | (1 << 18);
    let root = c"/";
    // SAFETY: mount(2) with MS_PRIVATE reads only the target path; source, type and data may be null.
    check(unsafe { syscall6(165, 0, root.as_ptr().addr(), 0, MS_REC_PRIVATE, 0, 0) }).map(drop)
}

/// Opens a new, not yet configured file system of `kind`.
pub(crate) fn fs_open(kind: &CStr) -> Result<Fd> {
    // SAFETY: fsopen(2) reads the NUL-terminated name; flag 1 is FSOPEN_CLOEXEC.
    check(unsafe { syscall6(430, kind.as_ptr().addr(), 1, 0, 0, 0, 0) }).map(fd_of)
}

/// Sets the option `key` to `value` (`FSCONFIG_SET_STRING`).
pub(crate) fn fs_set(fs: Fd, key: &CStr, value: &CStr) -> Result<()> {
    // SAFETY: fsconfig(2) reads two NUL-terminated strings.
    check(unsafe { syscall6(431, word(fs), 1, key.as_ptr().addr(), value.as_ptr().addr(), 0, 0) }).map(drop)
}

/// Sets the option `key`, which has no value (`FSCONFIG_SET_FLAG`).
pub(crate) fn fs_set_flag(fs: Fd, key: &CStr) -> Result<()> {
    // SAFETY: fsconfig(2) reads one NUL-terminated string.
    check(unsafe { syscall6(431, word(fs), 0, key.as_ptr().addr(), 0, 0, 0) }).map(drop)
}

/// `FSCONFIG_CMD_CREATE`: makes the super block.
pub(crate) fn fs_create(fs: Fd) -> Result<()> {
    // SAFETY: the command takes no further argument.
    check(unsafe { syscall6(431, word(fs), 6, 0, 0, 0, 0) }).map(drop)
}

/// `FSCONFIG_CMD_RECONFIGURE`: applies changed options to a live super block.
pub(crate) fn fs_reconfigure(fs: Fd) -> Result<()> {
    // SAFETY: the command takes no further argument.
    check(unsafe { syscall6(431, word(fs), 7, 0, 0, 0, 0) }).map(drop)
}

/// A detached mount of the created file system, with `attributes`.
pub(crate) fn fs_mount(fs: Fd, attributes: u64) -> Result<Fd> {
    // SAFETY: fsmount(2) takes numbers only; flag 1 is FSMOUNT_CLOEXEC.
    check(unsafe { syscall6(432, word(fs), 1, attributes as usize, 0, 0, 0) }).map(fd_of)
}

/// Opens the super block behind a mount for reconfiguration.
pub(crate) fn fs_pick(mount: Fd) -> Result<Fd> {
    const FSPICK_CLOEXEC_EMPTY_PATH: usize = 0x1 | 0x8;
    let empty = c"";
    // SAFETY: fspick(2) reads the empty path.
    check(unsafe { syscall6(433, word(mount), empty.as_ptr().addr(), FSPICK_CLOEXEC_EMPTY_PATH, 0, 0, 0) })
        .map(fd_of)
}

/// A detached copy of the mount tree at `path` below `dir`, submounts included.
pub(crate) fn open_tree(dir: Fd, path: &CStr) -> Result<Fd> {
    // OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE. Recursive, because a
    // less privileged mount namespace refuses to copy a directory without the mounts that lie over it.
    const FLAGS: usize = 0x1 | 0o2_000_000 | 0x1000 | 0x800 | 0x8000;
    // SAFETY: open_tree(2) reads the NUL-terminated path.
    check(unsafe { syscall6(428, word(dir), path.as_ptr().addr(), FLAGS, 0, 0, 0) }).map(fd_of)
}

/// How far an attribute change reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The one mount.
    Mount,
    /// The mount and everything mounted below it.
    Tree,
}

/// mount_setattr(2) on `mount`, which also becomes private: a copy of a shared mount (as systemd makes all of the host's)
/// would hand on to the host whatever is mounted over it later; with `user_namespace`, its id map is applied too.
pub(crate) fn set_attributes(mount: Fd, reach: Reach, set: u64, user_namespace: Option<Fd>) -> Result<()> {
    const AT_EMPTY_PATH: usize = 0x1000;
    const AT_RECURSIVE: usize = 0x8000;
    let flags = AT_EMPTY_PATH | if reach == Reach::Tree { AT_RECURSIVE } else { 0 };
    let set = set | if user_namespace.is_some() { ATTR_IDMAP } else { 0 };
    let fd = user_namespace.map_or(0, |fd| word(fd) as u64);
    let attributes: [u64; 4] = [set, 0, MS_PRIVATE, fd];
    let empty = c"";
    // SAFETY: mount_setattr(2) reads the empty path and the 32 bytes of struct mount_attr.
    let answer = unsafe {
        syscall6(
            442,
            word(mount),
            empty.as_ptr().addr(),
            flags,
            attributes.as_ptr().addr(),
            size_of_val(&attributes),
            0,
        )
    };
    check(answer).map(drop)
}

/// Attaches the detached `mount` to the directory or file behind `target`.
pub(crate) fn attach(mount: Fd, target: Fd) -> Result<()> {
    const BOTH_EMPTY: usize = 0x4 | 0x40; // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    let empty = c"";
    let at = empty.as_ptr().addr();
    // SAFETY: move_mount(2) reads two empty paths.
    check(unsafe { syscall6(429, word(mount), at, word(target), at, BOTH_EMPTY, 0) }).map(drop)
}

/// Makes the current directory, which must be a mount, the root, and puts the old root on top of it.
pub(crate) fn pivot_to_current() -> Result<()> {
    let here = c".";
    let at = here.as_ptr().addr();
    // SAFETY: pivot_root(2) reads two NUL-terminated paths.
    check(unsafe { syscall6(155, at, at, 0, 0, 0, 0) }).map(drop)
}

/// Detaches the mount on top of the current directory and everything below it (`MNT_DETACH`).
pub(crate) fn detach_current() -> Result<()> {
    let here = c".";
    // SAFETY: umount2(2) reads the NUL-terminated path.
    check(unsafe { syscall6(166, here.as_ptr().addr(), 2, 0, 0, 0, 0) }).map(drop)
}
