//! Typed system calls for the launcher: no allocation, no libc, every failure an [`Errno`].
//!
//! Compiled into the launcher, and into the library's tests. File descriptors are plain numbers here: the
//! launcher is one thread that lives for a moment, marks every descriptor close-on-exec, and ends by exec or
//! exit, so ownership is the process's.

use core::ffi::CStr;

use super::raw::{CloneArguments, clone_onto_stack, syscall6};

/// A file descriptor number of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fd(pub(crate) i32);

/// Stands for "the current directory" (`AT_FDCWD`) or "no descriptor", as the call defines.
pub(crate) const NO_FD: Fd = Fd(-100);

/// The kernel's error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// Error numbers that the launcher tells apart (errno(3)).
pub(crate) const EPERM: Errno = Errno(1);
pub(crate) const EINTR: Errno = Errno(4);
pub(crate) const EAGAIN: Errno = Errno(11);
pub(crate) const EEXIST: Errno = Errno(17);
pub(crate) const EINVAL: Errno = Errno(22);
pub(crate) const E2BIG: Errno = Errno(7);
pub(crate) const ESTALE: Errno = Errno(116);

pub(crate) const O_PATH: u32 = 0o10_000_000;
pub(crate) const O_CLOEXEC: u32 = 0o2_000_000;
pub(crate) const O_DIRECTORY: u32 = 0o200_000;
pub(crate) const O_NOFOLLOW: u32 = 0o400_000;
pub(crate) const O_WRONLY: u32 = 1;
pub(crate) const O_CREAT: u32 = 0o100;
pub(crate) const O_EXCL: u32 = 0o200;
/// `RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH` of openat2(2).
pub(crate) const RESOLVE_STRICT: u64 = 0x02 | 0x04 | 0x08;
/// `RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS` of openat2(2), for absolute canonical paths.
pub(crate) const RESOLVE_NO_LINKS: u64 = 0x02 | 0x04;

pub(super) fn check(answer: isize) -> Result<usize> {
    if answer < 0 {
        Err(Errno(i32::try_from(-answer).unwrap_or(i32::MAX)))
    } else {
        Ok(answer.cast_unsigned())
    }
}

pub(super) fn fd_of(answer: usize) -> Fd {
    Fd(i32::try_from(answer).unwrap_or(i32::MAX))
}

#[inline]
pub(super) fn word(fd: Fd) -> usize {
    isize::try_from(fd.0).unwrap_or(-1).cast_unsigned()
}

/// A call whose arguments are numbers only.
pub(crate) fn scalar(number: usize, a: usize, b: usize, c: usize, d: usize) -> Result<usize> {
    // SAFETY: callers in this module pass only calls that take no address, so the kernel touches no memory of ours.
    check(unsafe { syscall6(number, a, b, c, d, 0, 0) })
}

/// Ends this process at once with `status`.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        let status = isize::try_from(status).unwrap_or(1).cast_unsigned();
        // SAFETY: exit_group(2) takes a number and does not return.
        let _never = unsafe { syscall6(231, status, 0, 0, 0, 0, 0) };
    }
}

pub(crate) fn close(fd: Fd) {
    // close(2) frees the number even when it reports an error; there is nothing to do about one.
    let _freed = scalar(3, word(fd), 0, 0, 0);
}

/// close_range(2) from `first` up; `flags` 4 marks close-on-exec instead of closing.
pub(crate) fn close_range(first: u32, flags: u32) -> Result<()> {
    scalar(436, first as usize, u32::MAX as usize, flags as usize, 0).map(drop)
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_between(first: Fd, last: Fd) -> Result<()> {
    scalar(436, word(first), word(last), 0, 0).map(drop)
}

/// Duplicates `fd` onto the number `to`; close-on-exec if `cloexec`.
pub(crate) fn dup_onto(fd: Fd, to: Fd, cloexec: bool) -> Result<Fd> {
    if fd == to {
        // dup3(2) refuses equal numbers; set or clear the flag instead (fcntl F_SETFD).
        return scalar(72, word(fd), 2, usize::from(cloexec), 0).map(|_| to);
    }
    let flags = if cloexec { O_CLOEXEC as usize } else { 0 };
    scalar(292, word(fd), word(to), flags, 0).map(fd_of)
}

pub(crate) fn open_at(dir: Fd, path: &CStr, flags: u32, mode: u32) -> Result<Fd> {
    // SAFETY: openat(2) reads the NUL-terminated path, which outlives the call.
    let answer = unsafe {
        syscall6(257, word(dir), path.as_ptr().addr(), (flags | O_CLOEXEC) as usize, mode as usize, 0, 0)
    };
    check(answer).map(fd_of)
}

/// openat2(2): as [`open_at`], with `RESOLVE_*` rules for the walk.
pub(crate) fn open_beneath(dir: Fd, path: &CStr, flags: u32, mode: u32, resolve: u64) -> Result<Fd> {
    let how: [u64; 3] = [u64::from(flags | O_CLOEXEC), u64::from(mode), resolve];
    // SAFETY: openat2(2) reads the path and 24 bytes of `how`; both outlive the call.
    let answer = unsafe {
        syscall6(437, word(dir), path.as_ptr().addr(), how.as_ptr().addr(), size_of_val(&how), 0, 0)
    };
    check(answer).map(fd_of)
}

pub(crate) fn read(fd: Fd, into: &mut [u8]) -> Result<usize> {
    // SAFETY: read(2) writes at most `len` bytes into the exclusive slice.
    check(unsafe { syscall6(0, word(fd), into.as_mut_ptr().addr(), into.len(), 0, 0, 0) })
}

/// Writes all of `bytes`; a short write is an error (`EINVAL`), since every caller writes one small record.
pub(crate) fn write(fd: Fd, bytes: &[u8]) -> Result<()> {
    // SAFETY: write(2) reads at most `len` bytes of the slice.
    let wrote = check(unsafe { syscall6(1, word(fd), bytes.as_ptr().addr(), bytes.len(), 0, 0, 0) })?;
    if wrote == bytes.len() { Ok(()) } else { Err(EINVAL) }
}

pub(crate) fn make_dir(dir: Fd, path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: mkdirat(2) reads the NUL-terminated path.
    check(unsafe { syscall6(258, word(dir), path.as_ptr().addr(), mode as usize, 0, 0, 0) }).map(drop)
}

pub(crate) fn make_symlink(target: &CStr, dir: Fd, path: &CStr) -> Result<()> {
    // SAFETY: symlinkat(2) reads two NUL-terminated paths.
    check(unsafe { syscall6(266, target.as_ptr().addr(), word(dir), path.as_ptr().addr(), 0, 0, 0) })
        .map(drop)
}

/// Removes the empty directory `path` below `dir`.
pub(crate) fn remove_dir(dir: Fd, path: &CStr) -> Result<()> {
    const AT_REMOVEDIR: usize = 0x200;
    // SAFETY: unlinkat(2) reads the NUL-terminated path.
    check(unsafe { syscall6(263, word(dir), path.as_ptr().addr(), AT_REMOVEDIR, 0, 0, 0) }).map(drop)
}

/// What the launcher wants to know of a file (`struct stat`, x86_64).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) special: u64,
}

/// newfstatat(2), following a final symlink only when `follow`.
pub(crate) fn stat_at(dir: Fd, path: &CStr, follow: bool) -> Result<Stat> {
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    const AT_EMPTY_PATH: usize = 0x1000;
    let flags = AT_EMPTY_PATH | if follow { 0 } else { AT_SYMLINK_NOFOLLOW };
    let mut stat = [0u64; 18];
    // SAFETY: newfstatat(2) reads the path and writes the 144 bytes of struct stat, which `stat` holds.
    check(unsafe { syscall6(262, word(dir), path.as_ptr().addr(), stat.as_mut_ptr().addr(), flags, 0, 0) })?;
    let [device, inode, _links, mode_and_uid, _gid, special, ..] = stat;
    Ok(Stat { device, inode, mode: (mode_and_uid & 0xffff_ffff) as u32, special })
}

/// The type number and mount flags of the file system that holds `path` (statfs(2)).
pub(crate) fn file_system(path: &CStr) -> Result<(u64, u64)> {
    let mut answer = [0u64; 15];
    // SAFETY: statfs(2) reads the path and writes the 120 bytes of struct statfs, which `answer` holds.
    check(unsafe { syscall6(137, path.as_ptr().addr(), answer.as_mut_ptr().addr(), 0, 0, 0, 0) })?;
    let [kind, _, _, _, _, _, _, _, _, _, flags, ..] = answer;
    Ok((kind, flags))
}

pub(crate) fn read_link(dir: Fd, path: &CStr, into: &mut [u8]) -> Result<usize> {
    // SAFETY: readlinkat(2) reads the path and writes at most `len` bytes into the exclusive slice.
    let answer =
        unsafe { syscall6(267, word(dir), path.as_ptr().addr(), into.as_mut_ptr().addr(), into.len(), 0, 0) };
    check(answer)
}

pub(crate) fn list_dir(dir: Fd, into: &mut [u8]) -> Result<usize> {
    // SAFETY: getdents64(2) writes at most `len` bytes into the exclusive slice.
    check(unsafe { syscall6(217, word(dir), into.as_mut_ptr().addr(), into.len(), 0, 0, 0) })
}

pub(crate) fn change_dir(path: &CStr) -> Result<()> {
    // SAFETY: chdir(2) reads the NUL-terminated path.
    check(unsafe { syscall6(80, path.as_ptr().addr(), 0, 0, 0, 0, 0) }).map(drop)
}

pub(crate) fn change_dir_to(fd: Fd) -> Result<()> {
    scalar(81, word(fd), 0, 0, 0).map(drop)
}

pub(crate) fn umask(mask: u32) {
    // umask(2) cannot fail.
    let _before = scalar(95, mask as usize, 0, 0, 0);
}

/// Starts a copy of this process (fork semantics) with `flags` of clone3(2); its pidfd is stored in `pidfd` when
/// `CLONE_PIDFD` is among them. Returns 0 in the child.
pub(crate) fn clone_process(
    flags: u64,
    exit_signal: u64,
    pidfd: &mut Fd,
    cgroup: Option<Fd>,
) -> Result<usize> {
    let mut arguments = CloneArguments { flags, exit_signal, ..CloneArguments::default() };
    arguments.pidfd = core::ptr::from_mut(&mut pidfd.0).addr() as u64;
    if let Some(fd) = cgroup {
        arguments.cgroup = word(fd) as u64;
    }
    let at = core::ptr::from_ref(&arguments).addr();
    // SAFETY: clone3(2) reads 88 bytes of `arguments` and writes 4 bytes to `pidfd`, both alive here. Without
    // CLONE_VM the child gets a copy of all memory, so it runs on from here as fork(2) would.
    check(unsafe { syscall6(435, at, size_of::<CloneArguments>(), 0, 0, 0, 0) })
}

/// Runs `body(context)` in a child that shares memory and descriptors with this process, on `stack`, and returns
/// the child's pid after it has executed a program or ended. `body` reports through cells in `context`. `namespaces` are
/// the `CLONE_NEW*` flags of what the child gets of its own.
pub(crate) fn run_sharing_memory<T>(
    stack: &mut [u8],
    context: &T,
    body: fn(&T) -> !,
    namespaces: Namespaces,
) -> Result<usize> {
    const CLONE_VM: u64 = 0x100;
    const CLONE_FILES: u64 = 0x400;
    const CLONE_VFORK: u64 = 0x4000;
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const SIGCHLD: u64 = 17;
    let start = Start { context, body };
    let base = stack.as_mut_ptr().expose_provenance();
    let arguments = CloneArguments {
        flags: CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_CLEAR_SIGHAND | namespaces as u64,
        exit_signal: SIGCHLD,
        stack: base as u64,
        // Rounded down so that the top is 16-byte aligned whatever the slice's address is.
        stack_size: (((base + stack.len()) & !15) - base) as u64,
        ..CloneArguments::default()
    };
    let argument = core::ptr::from_ref(&start).expose_provenance();
    // SAFETY: `stack` is exclusively borrowed until this returns, and CLONE_VFORK suspends this process until the
    // child has left the shared memory, so nobody else uses the stack, and `start` outlives the child's use of it.
    // The flags are those demanded. `body` does not return by its type, and the launcher is built with panic=abort,
    // so it cannot unwind.
    check(unsafe {
        clone_onto_stack(&raw const arguments, size_of::<CloneArguments>(), enter::<T>, argument)
    })
}

/// What a child that shares memory has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Namespaces {
    Shared = 0,
    /// A copy of the mounts.
    Mount = 0x2_0000,
    /// A pid namespace, which ends with it.
    Pid = 0x2000_0000,
}

struct Start<'a, T> {
    context: &'a T,
    body: fn(&T) -> !,
}

/// # Safety
/// `argument` must be the exposed address of a live `Start<T>`.
unsafe extern "C" fn enter<T>(argument: usize) -> ! {
    let start: *const Start<'_, T> = core::ptr::with_exposed_provenance(argument);
    // SAFETY: `run_sharing_memory::<T>` passes the address of its `Start<T>`, alive until this child has gone.
    let start = unsafe { &*start };
    (start.body)(start.context)
}

pub(crate) fn unshare(flags: u64) -> Result<()> {
    scalar(272, flags as usize, 0, 0, 0).map(drop)
}

/// Enters the mount namespace behind `fd` (setns(2)); root and working directory become its root.
pub(crate) fn enter_mounts(fd: Fd) -> Result<()> {
    const CLONE_NEWNS: usize = 0x2_0000;
    scalar(308, word(fd), CLONE_NEWNS, 0, 0).map(drop)
}

/// Enters the network namespace behind `fd` (setns(2)).
pub(crate) fn enter_network(fd: Fd) -> Result<()> {
    const CLONE_NEWNET: usize = 0x4000_0000;
    scalar(308, word(fd), CLONE_NEWNET, 0, 0).map(drop)
}

pub(crate) fn set_session() -> Result<()> {
    scalar(112, 0, 0, 0, 0).map(drop)
}

/// execveat(2) of the program behind `program` itself (`AT_EMPTY_PATH`). Returns only on failure.
///
/// `empty` is the address that [`empty_text_at`] has mapped; `argv` and `envp` are NULL-terminated tables of addresses of NUL-terminated strings that live on.
pub(crate) fn execute(program: Fd, empty: usize, argv: &[usize], envp: &[usize]) -> Errno {
    const AT_EMPTY_PATH: usize = 0x1000;
    if argv.last() != Some(&0) || envp.last() != Some(&0) {
        return EINVAL;
    }
    // SAFETY: execveat(2) reads the text at `empty` (an address that is not mapped is EFAULT, not undefined) and both tables up to their NULL, checked above; the strings were
    // taken from the request, which is never freed in this process. On success nothing of this program remains.
    let answer = unsafe {
        syscall6(322, word(program), empty, argv.as_ptr().addr(), envp.as_ptr().addr(), AT_EMPTY_PATH, 0)
    };
    check(answer).err().unwrap_or(EINVAL)
}

/// kill(2); `pid` -1 is every process of this pid namespace but PID 1.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    let pid = isize::try_from(pid).unwrap_or(0).cast_unsigned();
    scalar(62, pid, signal.unsigned_abs() as usize, 0, 0).map(drop)
}

/// One reaped child: pid, wait status and resource usage of it and what it had reaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    pub(crate) status: u32,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) peak_kib: u64,
}

/// wait4(2) for any child without blocking; `None` when no child has ended.
pub(crate) fn reap() -> Result<Option<Reaped>> {
    const WNOHANG: usize = 1;
    const WALL: usize = 0x4000_0000;
    let mut status = 0u32;
    let mut usage = [0u64; 18];
    let any = (-1isize).cast_unsigned();
    let at = core::ptr::from_mut(&mut status).addr();
    // SAFETY: wait4(2) writes 4 bytes of status and the 144 bytes of struct rusage, both alive and exclusive.
    let pid = check(unsafe { syscall6(61, any, at, WNOHANG | WALL, usage.as_mut_ptr().addr(), 0, 0) })?;
    if pid == 0 {
        return Ok(None);
    }
    let [user_s, user_us, system_s, system_us, peak_kib, ..] = usage;
    Ok(Some(Reaped {
        pid: i32::try_from(pid).unwrap_or(i32::MAX),
        status,
        user_us: user_s.wrapping_mul(1_000_000).wrapping_add(user_us),
        system_us: system_s.wrapping_mul(1_000_000).wrapping_add(system_us),
        peak_kib,
    }))
}

/// One entry of poll(2).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollEntry {
    pub(crate) fd: i32,
    pub(crate) wanted: i16,
    pub(crate) got: i16,
}

/// `POLLIN`.
pub(crate) const READABLE: i16 = 1;

/// poll(2); `timeout_ms` below 0 waits for ever.
pub(crate) fn poll(entries: &mut [PollEntry], timeout_ms: i32) -> Result<usize> {
    let timeout = isize::try_from(timeout_ms).unwrap_or(-1).cast_unsigned();
    // SAFETY: poll(2) reads and writes `len` entries of 8 bytes, the layout of struct pollfd.
    check(unsafe { syscall6(7, entries.as_mut_ptr().addr(), entries.len(), timeout, 0, 0, 0) })
}

/// Blocks the signals of `mask` (bit n-1 = signal n) for this thread, replacing the mask.
pub(crate) fn block_signals(mask: u64) -> Result<()> {
    const SIG_SETMASK: usize = 2;
    let at = core::ptr::from_ref(&mask).addr();
    // SAFETY: rt_sigprocmask(2) reads the 8 bytes of `mask`; no old mask is asked for.
    check(unsafe { syscall6(14, SIG_SETMASK, at, 0, 8, 0, 0) }).map(drop)
}

/// Gives every signal its default meaning: what the host ignores (Rust programs ignore SIGPIPE) a plugin must not.
pub(crate) fn default_signals() {
    const SIGNALS: usize = 64;
    let default = [0usize; 4];
    for signal in 1..=SIGNALS {
        // SAFETY: rt_sigaction(2) reads the 32 bytes of struct sigaction: handler SIG_DFL, no flags, empty mask. SIGKILL and
        // SIGSTOP answer EINVAL, and they are at their default anyway.
        let _refused = unsafe { syscall6(13, signal, default.as_ptr().addr(), 0, 8, 0, 0) };
    }
}

/// A descriptor that becomes readable when a signal of `mask` is pending.
pub(crate) fn signal_fd(mask: u64) -> Result<Fd> {
    const SFD_CLOEXEC_NONBLOCK: usize = 0o2_000_000 | 0o4_000;
    let at = core::ptr::from_ref(&mask).addr();
    // SAFETY: signalfd4(2) reads the 8 bytes of `mask`.
    check(unsafe { syscall6(289, usize::MAX, at, 8, SFD_CLOEXEC_NONBLOCK, 0, 0) }).map(fd_of)
}

/// Reads `into.len()` bytes at `address` of process `pid` (process_vm_readv(2)); how many were there.
pub(crate) fn read_memory(pid: i32, address: u64, into: &mut [u8]) -> Result<usize> {
    let local = [into.as_mut_ptr().addr(), into.len()];
    let remote = [address as usize, into.len()];
    // SAFETY: process_vm_readv(2) reads both one-entry iovec tables and writes at most `len` bytes into the
    // exclusive slice; the remote address belongs to the other process and cannot hurt this one.
    let answer = unsafe {
        syscall6(310, pid.unsigned_abs() as usize, local.as_ptr().addr(), 1, remote.as_ptr().addr(), 1, 0)
    };
    check(answer)
}

pub(crate) fn sleep_ms(ms: i32) {
    let _interrupted = poll(&mut [], ms);
}

/// A fresh, zeroed, private memory region that lives as long as the process; pages cost nothing until touched.
pub(crate) fn region(length: usize) -> Result<&'static mut [u8]> {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: mmap(2) of a new anonymous private mapping, placed by the kernel, changes no existing memory.
    let address =
        check(unsafe { syscall6(9, 0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0) })?;
    let start = core::ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: the kernel has just mapped `length` readable and writable zero bytes at `start`; nobody else knows the
    // address, and the mapping is never removed, so an exclusive slice of static life is right.
    Ok(unsafe { core::slice::from_raw_parts_mut(start, length) })
}

const PAGE_BYTES: usize = 4096;

/// Maps the zeroed page around `address`, so that an empty text lies there. Refused if anything is there already.
pub(crate) fn empty_text_at(address: usize) -> Result<()> {
    const PROT_READ: usize = 1;
    const MAP_PRIVATE_ANONYMOUS_AT_FREE: usize = 0x22 | 0x10_0000;
    let page = address & !(PAGE_BYTES - 1);
    // SAFETY: mmap(2) with MAP_FIXED_NOREPLACE maps new zeroed memory and never replaces any.
    let answer =
        unsafe { syscall6(9, page, PAGE_BYTES, PROT_READ, MAP_PRIVATE_ANONYMOUS_AT_FREE, usize::MAX, 0) };
    match check(answer)? {
        mapped if mapped == page => Ok(()),
        // A kernel before 4.17 takes the address as a hint.
        _ => Err(EEXIST),
    }
}

/// Takes back what [`empty_text_at`] mapped at this address.
///
/// The caller must have had [`empty_text_at`] succeed with it: the page then holds nothing that Rust knows of.
pub(crate) fn forget_text_at(address: usize) -> Result<()> {
    scalar(11, address & !(PAGE_BYTES - 1), PAGE_BYTES, 0, 0).map(drop)
}

/// As [`region`], for `count` machine words.
pub(crate) fn words(count: usize) -> Result<&'static mut [usize]> {
    let bytes = region(count.saturating_mul(size_of::<usize>()))?;
    let start = bytes.as_mut_ptr().cast::<usize>();
    // SAFETY: the region is page-aligned, holds `count` words, is zeroed (a valid word), lives for ever, and its only
    // reference, `bytes`, is given up here.
    Ok(unsafe { core::slice::from_raw_parts_mut(start, count) })
}

/// Whether `fd` is open and would survive an exec.
pub(crate) fn survives_exec(fd: Fd) -> bool {
    const F_GETFD: usize = 1;
    matches!(scalar(72, word(fd), F_GETFD, 0, 0), Ok(flags) if flags & 1 == 0)
}

/// Waits for the child `pid` to end (wait4(2)).
pub(crate) fn wait_for(pid: i32) {
    while scalar(61, pid.unsigned_abs() as usize, 0, 0, 0) == Err(EINTR) {}
}

/// As [`wait_for`], with the status that the child exited with; `None` if it was killed, or is no child.
pub(crate) fn exit_status_of(pid: i32) -> Option<u32> {
    let mut status = 0u32;
    loop {
        let at = core::ptr::from_mut(&mut status).addr();
        // SAFETY: wait4(2) writes the 4 bytes of `status`; usage is not asked for.
        match check(unsafe { syscall6(61, pid.unsigned_abs() as usize, at, 0, 0, 0, 0) }) {
            Ok(_) => return (status & 0x7f == 0).then_some(status >> 8 & 0xff),
            Err(EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// A short text that is put together without allocating, always NUL-terminated. What does not fit is cut, which
/// the kernel then refuses as a wrong path; every caller's texts fit by far.
#[derive(Debug)]
pub(crate) struct Line<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Line<N> {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    pub(crate) fn text(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            if self.length + 1 < N
                && let Some(slot) = self.bytes.get_mut(self.length)
            {
                *slot = *byte;
                self.length += 1;
            }
        }
        self
    }

    pub(crate) fn number(&mut self, number: u32) -> &mut Self {
        let mut digits = [0u8; 10];
        let mut rest = number;
        let mut used = 0;
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        self.text(digits.get(digits.len() - used..).unwrap_or_default())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}
