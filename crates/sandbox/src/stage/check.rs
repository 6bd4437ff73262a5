//! Proves each layer from the inside, at every start, by what the kernel answers and not by which step was run.
//!
//! Where a layer can be tested by a forbidden act, the act is tried: making a directory in the root, reading a file
//! that only Landlock guards, calling what only the filter answers. A layer is proven only if the refusal is the one
//! that this layer gives. All of it takes about 20 µs.

use core::ffi::CStr;

use super::roots::PROC;
use crate::sys::calls::{self, EINVAL, Errno, Fd, NO_FD};
use crate::sys::privileges;
use crate::wire::{Request, canary, flag, layer};

const TMPFS_MAGIC: u64 = 0x0102_1994;
const ST_RDONLY: u64 = 1;
const EACCES: Errno = Errno(13);
const EROFS: Errno = Errno(30);
const ENOSYS: Errno = Errno(38);
const IO_URING_SETUP: usize = 425;
const SECCOMP_MODE_FILTER: usize = 2;
/// Descriptors beyond the first dozen come only from a leak in the host, which the launcher has closed.
const DESCRIPTORS_CHECKED: i32 = 40;

/// The layers that can be proven before the filter is on: their checks use calls that the filter may report, and
/// nobody answers reports yet.
pub(crate) fn before_filter(request: &Request<'_>, launcher: [u64; 2]) -> u32 {
    let mut proven = namespaces(request, launcher);
    if request.layers & layer::MOUNT != 0 && !root_is_ours() {
        proven &= !layer::MOUNT;
    }
    if request.layers & layer::USER != 0 && privileges::user_id() != request.inside_uid as usize {
        proven &= !layer::USER;
    }
    for (bit, holds) in [
        (layer::LANDLOCK, read_refused(request.landlock_probe)),
        (layer::NO_NEW_PRIVILEGES, privileges::has_no_new_privileges()),
        (layer::CAPABILITIES, has_no_powers(request)),
        (layer::DESCRIPTORS, (3..DESCRIPTORS_CHECKED).all(|number| !calls::survives_exec(Fd(number)))),
        (layer::SESSION, privileges::session_id() == privileges::process_id()),
    ] {
        if holds {
            proven |= bit;
        }
    }
    proven
}

/// The filter is on, it is this one (the canary), and it refuses what it must; and the limits, which are set last.
pub(crate) fn behind_filter(request: &Request<'_>) -> u32 {
    let ours = privileges::try_call(canary::NUMBER as usize, 0, 0) == Err(Errno(canary::ERRNO));
    let refuses = privileges::try_call(IO_URING_SETUP, 0, 0) == Err(ENOSYS);
    let on = privileges::seccomp_mode() == Ok(SECCOMP_MODE_FILTER);
    let filtered = if ours && refuses && on { layer::SECCOMP } else { 0 };
    filtered | if limits_are_set(request) { layer::LIMITS } else { 0 }
}

/// A namespace is proven if it is neither the host's nor one that the launcher has for itself (`launcher`: user and mount).
/// The order is that of `Request::host_namespaces`. The network namespace may be the launcher's: it is empty.
fn namespaces(request: &Request<'_>, launcher: [u64; 2]) -> u32 {
    let names: [(u32, &CStr); 7] = [
        (layer::USER, c"user"),
        (layer::MOUNT, c"mnt"),
        (layer::PID, c"pid"),
        (layer::IPC, c"ipc"),
        (layer::UTS, c"uts"),
        (layer::NETWORK, c"net"),
        (layer::CGROUP, c"cgroup"),
    ];
    let flags = calls::O_PATH | calls::O_DIRECTORY;
    let Ok(directory) = calls::open_at(NO_FD, c"/proc/self/ns", flags, 0) else { return 0 };
    let mut proven = 0;
    for ((bit, name), host) in names.into_iter().zip(request.host_namespaces) {
        let mut text = [0u8; 64];
        let own = calls::read_link(directory, name, &mut text)
            .ok()
            .and_then(|length| number_in(text.get(..length)?));
        if own.is_some_and(|own| own != host && !launcher.contains(&own)) {
            proven |= bit;
        }
    }
    calls::close(directory);
    proven
}

/// The inode in a text like "mnt:[4026531841]". Reading the link is cheaper than following it.
fn number_in(text: &[u8]) -> Option<u64> {
    let digits = text.split(|byte| matches!(byte, b'[' | b']')).nth(1)?;
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'9' => Some(number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))),
        _ => None,
    })
}

fn root_is_ours() -> bool {
    let refused = calls::make_dir(NO_FD, c"/.ringfence-check", 0o700) == Err(EROFS);
    matches!(calls::file_system(c"/"), Ok((TMPFS_MAGIC, flags)) if flags & ST_RDONLY != 0) && refused
}

fn read_refused(probe: &CStr) -> bool {
    match calls::open_at(NO_FD, probe, 0, 0) {
        Err(error) => error == EACCES,
        Ok(fd) => {
            calls::close(fd);
            false
        }
    }
}

/// The bounding set can be emptied only by who had `CAP_SETPCAP`, which an ordinary user has only in a user namespace.
fn has_no_powers(request: &Request<'_>) -> bool {
    let could = request.layers & layer::USER != 0 || request.has(flag::SWITCH_IDS);
    privileges::has_no_capabilities() && (!could || privileges::bounding_set_is_empty())
}

fn limits_are_set(request: &Request<'_>) -> bool {
    let mut from = request.limits.reader.clone();
    (0..request.limits.count).all(|_| {
        let (resource, soft, hard) = (from.u32(), from.u64(), from.u64());
        privileges::limit(resource) == Ok((soft, hard))
    })
}

/// Makes sure that this process sits in the leaf that the host prepared, in as many hierarchies as it prepared.
pub(crate) fn find_cgroup_leaf(request: &Request<'_>) -> Result<(), Errno> {
    if request.layers & layer::LIMITS == 0 || request.cgroup_lines == 0 {
        return Ok(());
    }
    let mut buffer = [0u8; 4096];
    let file = calls::open_at(PROC, c"self/cgroup", 0, 0)?;
    let length = calls::read(file, &mut buffer);
    calls::close(file);
    let text = buffer.get(..length?).unwrap_or_default();
    let leaf = request.cgroup_leaf.to_bytes();
    let found = text.split(|byte| *byte == b'\n').filter(|line| line.ends_with(leaf)).count();
    if found >= request.cgroup_lines as usize { Ok(()) } else { Err(EINVAL) }
}
