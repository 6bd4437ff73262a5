//! The host's side of starting the launcher.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The version of Landlock that this kernel has; 0 if it has none or it is switched off (landlock(7)).
pub(crate) fn landlock_abi() -> i32 {
    const CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag landlock_create_ruleset(2) takes a null pointer and size 0 and only answers a number.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    i32::try_from(answer).map_or(0, |abi| abi.max(0))
}

/// Whether seccomp filters can report to a listener (Linux 5.0, with `CONTINUE` since 5.5).
pub(crate) fn can_listen() -> bool {
    const GET_NOTIF_SIZES: libc::c_uint = 3;
    let mut sizes = [0u16; 3];
    // SAFETY: the operation writes the 6 bytes of struct seccomp_notif_sizes.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, GET_NOTIF_SIZES, 0u32, sizes.as_mut_ptr()) };
    // What the launcher reads and writes: 80 bytes of report, 24 of answer.
    answer == 0 && sizes[0] == 80 && sizes[1] == 24
}

/// Takes every right of this thread away but those over files that `user` and `group` have; see `tree::act_on_files_as`.
///
/// # Errors
/// What setgroups(2) or capset(2) says; `EPERM` when the ids were not taken.
pub(crate) fn act_on_files_as(user: u32, group: u32) -> io::Result<()> {
    const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
    // The raw calls change the calling thread alone; those of the C library would change all of them.
    // SAFETY: with a count of 0 setgroups(2) reads no list.
    if unsafe { libc::syscall(libc::SYS_setgroups, 0usize, std::ptr::null::<libc::gid_t>()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: setfsgid(2) takes a number and answers the id before; an id that is refused is found out below.
    unsafe { libc::setfsgid(group) };
    // SAFETY: as above, for setfsuid(2).
    unsafe { libc::setfsuid(user) };
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: capset(2) reads the 8-byte header and, for version 3, 24 bytes of data; both are alive here.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The id of all ones is never taken, so these calls only answer what holds.
    // SAFETY: a number in, a number out.
    let user_held = unsafe { libc::setfsuid(u32::MAX) };
    // SAFETY: as above.
    let group_held = unsafe { libc::setfsgid(u32::MAX) };
    if (user_held, group_held) != (user.cast_signed(), group.cast_signed())
        || user == u32::MAX
        || group == u32::MAX
    {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

/// A started launcher.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Readable when it has ended.
    pub(crate) pidfd: OwnedFd,
}

/// What the child needs, in the parent's memory.
struct Child {
    program: RawFd,
    socket: RawFd,
    null: RawFd,
    name: *const libc::c_char,
    error: i32,
}

/// The stack of the child, which calls five functions; a page would do.
const STACK_BYTES: usize = 32 * 1024;
/// Where the launcher finds its socket.
const SOCKET_NUMBER: RawFd = 3;

/// Starts the program behind `program` with descriptor 3 = `socket`, 0 to 2 = `null`, and nothing else, no argument and
/// no environment. The calling process is not copied: its size does not matter.
///
/// `program`, `socket` and `null` must be numbered 4 or higher and close-on-exec.
///
/// # Errors
/// What clone(2) or execveat(2) says.
pub(crate) fn start_launcher(
    program: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    null: BorrowedFd<'_>,
) -> io::Result<Launched> {
    let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
    let name = c"ringfence-launcher";
    let mut child = Child {
        program: program.as_raw_fd(),
        socket: socket.as_raw_fd(),
        null: null.as_raw_fd(),
        name: name.as_ptr(),
        error: 0,
    };
    let mut pidfd: RawFd = -1;
    let before = block_all_signals()?;
    let top = stack.as_mut_ptr_range().end.cast::<libc::c_void>();
    let argument = (&raw mut child).cast::<libc::c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: clone(2) runs `run_launcher` on `stack`, whose upper end is 16-byte aligned (u128) and which nobody else
    // touches: CLONE_VFORK suspends this thread until the child has executed or exited, so `stack`, `child` and `pidfd`
    // outlive the child's use. Other threads go on, but the child only makes system calls on its own copies of the
    // descriptors and writes `child.error`. All signals are blocked, so no handler of this process runs in the child.
    let pid = unsafe { libc::clone(run_launcher, top, flags, argument, &raw mut pidfd) };
    let cloned = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    restore_signals(&before);
    cloned?;
    // SAFETY: clone(2) succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if child.error != 0 {
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
            rustix::process::WaitIdOptions::EXITED,
        )?;
        return Err(io::Error::from_raw_os_error(child.error));
    }
    Ok(Launched { pidfd })
}

/// # Safety
/// Runs in the child of `start_launcher`, with its `Child` as argument.
extern "C" fn run_launcher(argument: *mut libc::c_void) -> libc::c_int {
    let child = argument.cast::<Child>();
    // SAFETY: the parent passes its `Child` and is suspended, so this is the only reference.
    let child = unsafe { &mut *child };
    for number in 0..=SOCKET_NUMBER {
        let from = if number == SOCKET_NUMBER { child.socket } else { child.null };
        // SAFETY: dup2(2) takes numbers; the copies are in this child's own table and not close-on-exec.
        if unsafe { libc::dup2(from, number) } < 0 {
            child.error = errno();
            return 1;
        }
    }
    let arguments = [child.name, std::ptr::null()];
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    let empty = c"";
    // SAFETY: execveat(2) reads the empty path and the two NULL-terminated tables, all alive here; on success this memory
    // is the parent's alone again.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            child.program,
            empty.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    child.error = errno();
    1
}

/// Blocks `numbers` for this thread and returns a non-blocking, close-on-exec descriptor that reads them (signalfd(2)).
///
/// # Errors
/// `EINVAL` for a number that is no signal; what signalfd(2) says.
pub(crate) fn signal_descriptor(numbers: &[i32]) -> io::Result<OwnedFd> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset(3) initialises the set behind the pointer.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for number in numbers {
        // SAFETY: sigaddset(3) changes the set initialised above; a wrong number is an error, not undefined.
        if unsafe { libc::sigaddset(set.as_mut_ptr(), *number) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: pthread_sigmask(3) reads the initialised set; the old mask is not asked for.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: signalfd(2) reads the initialised set and makes a new descriptor.
    let fd = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd(2) succeeded, so `fd` is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Changes the mode of what `file` is, also when it was opened with `O_PATH` (fchmodat2(2), Linux 6.6). No name is looked up.
///
/// # Errors
/// `ENOSYS` before Linux 6.6; what fchmodat2(2) says.
pub(crate) fn change_mode(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let empty = c"";
    // SAFETY: fchmodat2(2) reads the empty path, alive here; the other arguments are numbers.
    let answer = unsafe {
        libc::syscall(libc::SYS_fchmodat2, file.as_raw_fd(), empty.as_ptr(), mode, libc::AT_EMPTY_PATH)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn block_all_signals() -> io::Result<libc::sigset_t> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset(3) initialises the set behind the pointer.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: pthread_sigmask(3) reads `all`, initialised above, and writes the old mask to `before`.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: the call above succeeded and has written the whole set.
    Ok(unsafe { before.assume_init() })
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: `before` came from pthread_sigmask(3); no old mask is asked for. It cannot fail for a valid operation.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}
