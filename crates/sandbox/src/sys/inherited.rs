//! Descriptors that this process was started with, and those that it would hand on.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, FdFlags};

/// Where a service manager puts the first one (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// Takes over `count` descriptors from number 3 on that listen for connections, and closes them on exec from now on. The
/// second call takes nothing.
///
/// # Errors
/// When one of them is not open, was not inherited, or does not listen; what was taken before it is closed.
pub(crate) fn take_listening(count: usize) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    (0..count).map(|index| take(FIRST.saturating_add(i32::try_from(index).unwrap_or(i32::MAX)))).collect()
}

fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number == RawFd::MAX {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the borrow ends with this function. `number` is not -1. If nothing is open under it, the first call below says
    // EBADF and nothing else is done with it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(borrowed)?;
    // INVARIANT: everything that this program opens is close-on-exec from its first moment, here and in the standard
    // library. What is not was open when the program began, so no part of it owns the number.
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it was opened by this program itself"));
    }
    if !rustix::net::sockopt::socket_acceptconn(borrowed)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen for connections"));
    }
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the descriptor is open (it answered above), and nobody owns it: it was inherited, by the invariant, and each
    // number is taken once, by the only call that gets past `TAKEN`.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor but the first three on exec, whoever opened it (close_range(2), Linux 5.11).
///
/// # Errors
/// What close_range(2) says.
pub(crate) fn hand_on_nothing() -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC close_range(2) closes nothing now: it takes numbers and sets a flag.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
