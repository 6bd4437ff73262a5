//! Giving up: ids, capabilities, limits, Landlock and seccomp; and reading back what is left.

use core::ffi::CStr;

use super::calls::{Errno, Fd, Result, check, fd_of, scalar, word};
use super::raw::syscall6;

const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_DUMPABLE: usize = 4;
const PR_GET_SECCOMP: usize = 21;
const PR_CAPBSET_READ: usize = 23;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_SECUREBITS: usize = 28;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const PR_GET_NO_NEW_PRIVS: usize = 39;
/// The highest capability number a kernel has had (`CAP_CHECKPOINT_RESTORE`, Linux 5.9) is 40; asking beyond the
/// last one gives EINVAL, which ends the loops below.
const CAPABILITIES_MAX: usize = 64;

fn prctl(option: usize, value: usize) -> Result<usize> {
    scalar(157, option, value, 0, 0)
}

/// Asks for SIGKILL when the parent thread ends; `0` takes it back.
pub(crate) fn set_death_signal(signal: usize) -> Result<()> {
    prctl(PR_SET_PDEATHSIG, signal).map(drop)
}

/// The name that process lists show.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: PR_SET_NAME reads up to 16 bytes, up to the NUL.
    let _unnamed = unsafe { syscall6(157, 15, name.as_ptr().addr(), 0, 0, 0, 0) };
}

pub(crate) fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(PR_SET_DUMPABLE, usize::from(dumpable)).map(drop)
}

/// Keeps capabilities when the user id changes (`SECBIT_NO_SETUID_FIXUP`), for the launcher as root.
pub(crate) fn keep_capabilities_across_ids() -> Result<()> {
    prctl(PR_SET_SECUREBITS, 0x4).map(drop)
}

/// No id change and no program file gives a capability any more, and this cannot be undone: `NOROOT`,
/// `NO_SETUID_FIXUP`, `NO_CAP_AMBIENT_RAISE`, each with its lock (capabilities(7)); `KEEP_CAPS` locked off.
pub(crate) fn lock_secure_bits() -> Result<()> {
    prctl(PR_SET_SECUREBITS, 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80).map(drop)
}

/// Empties the bounding set.
pub(crate) fn drop_bounding_set() -> Result<()> {
    for capability in 0..CAPABILITIES_MAX {
        match prctl(PR_CAPBSET_DROP, capability) {
            Ok(_) => {}
            Err(Errno(22)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether any capability is left in the bounding set.
pub(crate) fn bounding_set_is_empty() -> bool {
    for capability in 0..CAPABILITIES_MAX {
        match prctl(PR_CAPBSET_READ, capability) {
            Ok(0) => {}
            Ok(_) => return false,
            Err(_) => return capability > 0,
        }
    }
    true
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Clears the effective, permitted and inheritable sets (which clears the ambient set too).
pub(crate) fn drop_capabilities() -> Result<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: capset(2) reads the 8-byte header and, for version 3, 24 bytes of data.
    check(unsafe { syscall6(126, header.as_ptr().addr(), none.as_ptr().addr(), 0, 0, 0, 0) }).map(drop)
}

/// Whether this thread holds no capability at all.
pub(crate) fn has_no_capabilities() -> bool {
    let mut header = [CAPABILITY_VERSION_3, 0];
    let mut data = [u32::MAX; 6];
    // SAFETY: capget(2) may write the version into the 8-byte header and writes 24 bytes of data.
    let answer = unsafe { syscall6(125, header.as_mut_ptr().addr(), data.as_mut_ptr().addr(), 0, 0, 0, 0) };
    check(answer).is_ok() && data == [0; 6]
}

pub(crate) fn set_no_new_privileges() -> Result<()> {
    prctl(PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

pub(crate) fn has_no_new_privileges() -> bool {
    prctl(PR_GET_NO_NEW_PRIVS, 0) == Ok(1)
}

/// The seccomp mode of this thread: 2 is "filter".
pub(crate) fn seccomp_mode() -> Result<usize> {
    prctl(PR_GET_SECCOMP, 0)
}

/// setresgid(2); the group id `u32::MAX` means "leave".
pub(crate) fn set_group_ids(real: u32, effective: u32, saved: u32) -> Result<()> {
    scalar(119, real as usize, effective as usize, saved as usize, 0).map(drop)
}

/// setresuid(2); the user id `u32::MAX` means "leave".
pub(crate) fn set_user_ids(real: u32, effective: u32, saved: u32) -> Result<()> {
    scalar(117, real as usize, effective as usize, saved as usize, 0).map(drop)
}

pub(crate) fn drop_groups() -> Result<()> {
    scalar(116, 0, 0, 0, 0).map(drop)
}

pub(crate) fn user_id() -> usize {
    scalar(102, 0, 0, 0, 0).unwrap_or(usize::MAX)
}

pub(crate) fn process_id() -> usize {
    scalar(39, 0, 0, 0, 0).unwrap_or(usize::MAX)
}

pub(crate) fn session_id() -> usize {
    scalar(124, 0, 0, 0, 0).unwrap_or(usize::MAX)
}

pub(crate) fn set_host_name(name: &CStr) -> Result<()> {
    let length = name.to_bytes().len();
    // SAFETY: sethostname(2) reads `length` bytes of the name.
    check(unsafe { syscall6(170, name.as_ptr().addr(), length, 0, 0, 0, 0) }).map(drop)
}

/// prlimit(2) of this process: sets soft and hard limit of `resource`.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limits = [soft, hard];
    // SAFETY: prlimit64(2) reads 16 bytes of the new limit; the old one is not asked for.
    check(unsafe { syscall6(302, 0, resource as usize, limits.as_ptr().addr(), 0, 0, 0) }).map(drop)
}

/// The soft and hard limit of `resource`.
pub(crate) fn limit(resource: u32) -> Result<(u64, u64)> {
    let mut limits = [0u64; 2];
    // SAFETY: prlimit64(2) writes 16 bytes of the old limit; no new one is given.
    check(unsafe { syscall6(302, 0, resource as usize, 0, limits.as_mut_ptr().addr(), 0, 0) })?;
    let [soft, hard] = limits;
    Ok((soft, hard))
}

/// A Landlock rule set that handles these access rights and scopes. `size` is how much of the structure the
/// kernel's ABI knows: 8 (ABI 1), 16 (ABI 4) or 24 (ABI 6).
pub(crate) fn landlock_create(files: u64, network: u64, scopes: u64, size: usize) -> Result<Fd> {
    let attributes = [files, network, scopes];
    if size > size_of_val(&attributes) {
        return Err(super::calls::EINVAL);
    }
    // SAFETY: landlock_create_ruleset(2) reads `size` bytes, which the check above bounds.
    check(unsafe { syscall6(444, attributes.as_ptr().addr(), size, 0, 0, 0, 0) }).map(fd_of)
}

/// Allows `access` below the file or directory behind `target`.
pub(crate) fn landlock_allow(rules: Fd, target: Fd, access: u64) -> Result<()> {
    // struct landlock_path_beneath_attr is packed: u64 access, then i32 descriptor.
    let mut rule = [0u8; 12];
    let (rights, descriptor) = rule.split_at_mut(8);
    rights.copy_from_slice(&access.to_le_bytes());
    descriptor.copy_from_slice(&target.0.to_le_bytes());
    // SAFETY: landlock_add_rule(2) of type 1 (path beneath) reads the 12 bytes of the rule.
    check(unsafe { syscall6(445, word(rules), 1, rule.as_ptr().addr(), 0, 0, 0) }).map(drop)
}

/// `flags` say which denials are recorded ([`crate::wire::landlock`]); kernels before ABI 7 know none.
pub(crate) fn landlock_restrict(rules: Fd, flags: u32) -> Result<()> {
    scalar(446, word(rules), flags as usize, 0, 0).map(drop)
}

/// Installs the classic BPF `program` (8 bytes an instruction) as seccomp filter; with `listen`, returns the
/// descriptor on which the filter reports.
pub(crate) fn seccomp_install(program: &[u8], listen: bool) -> Result<Option<Fd>> {
    const SET_MODE_FILTER: usize = 1;
    const NEW_LISTENER: usize = 1 << 3;
    let length = program.len() / 8;
    let filter: [u64; 2] = [length as u64, program.as_ptr().addr() as u64];
    let flags = if listen { NEW_LISTENER } else { 0 };
    // SAFETY: seccomp(2) reads struct sock_fprog (u16 length in the first word, little endian, then the address)
    // and `length` instructions of 8 bytes, which `program` holds.
    let answer = check(unsafe { syscall6(317, SET_MODE_FILTER, flags, filter.as_ptr().addr(), 0, 0, 0) })?;
    Ok(listen.then(|| fd_of(answer)))
}

/// One report of the seccomp filter (`struct seccomp_notif`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    pub(crate) pid: i32,
    pub(crate) number: i32,
    pub(crate) arguments: [u64; 6],
}

/// Takes the next report from the listener.
pub(crate) fn notification_receive(listener: Fd) -> Result<Notification> {
    const SECCOMP_IOCTL_NOTIF_RECV: usize = 0xc050_2100;
    let mut raw = [0u64; 10];
    // SAFETY: the ioctl writes the 80 bytes of struct seccomp_notif, which must be zeroed and are.
    check(unsafe {
        syscall6(16, word(listener), SECCOMP_IOCTL_NOTIF_RECV, raw.as_mut_ptr().addr(), 0, 0, 0)
    })?;
    let [id, pid_flags, number_arch, _instruction, a, b, c, d, e, f] = raw;
    Ok(Notification {
        id,
        pid: (pid_flags & 0xffff_ffff) as i32,
        number: (number_arch & 0xffff_ffff) as i32,
        arguments: [a, b, c, d, e, f],
    })
}

/// Answers the report `id`: with `Some(errno)` the call fails, with `None` the kernel goes on with it.
pub(crate) fn notification_answer(listener: Fd, id: u64, errno: Option<i32>) -> Result<()> {
    const SECCOMP_IOCTL_NOTIF_SEND: usize = 0xc018_2101;
    const CONTINUE: u64 = 1 << 32;
    let error_and_flags = match errno {
        Some(errno) => u64::from((-errno).cast_unsigned()),
        None => CONTINUE,
    };
    let raw = [id, 0, error_and_flags];
    // SAFETY: the ioctl reads the 24 bytes of struct seccomp_notif_resp.
    check(unsafe { syscall6(16, word(listener), SECCOMP_IOCTL_NOTIF_SEND, raw.as_ptr().addr(), 0, 0, 0) })
        .map(drop)
}

/// Whether the report `id` still waits for an answer: if so, its pid has not been given to somebody else.
pub(crate) fn notification_is_waiting(listener: Fd, id: u64) -> bool {
    const SECCOMP_IOCTL_NOTIF_ID_VALID: usize = 0x4008_2102;
    let at = core::ptr::from_ref(&id).addr();
    // SAFETY: the ioctl reads the 8 bytes of the id.
    check(unsafe { syscall6(16, word(listener), SECCOMP_IOCTL_NOTIF_ID_VALID, at, 0, 0, 0) }).is_ok()
}

/// One call of the seccomp self-check: what the kernel (or the filter) answers to a call with harmless arguments.
pub(crate) fn try_call(number: usize, a: usize, b: usize) -> Result<usize> {
    scalar(number, a, b, 0, 0)
}
