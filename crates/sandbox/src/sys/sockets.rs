//! Messages with descriptors over a `SOCK_SEQPACKET` socket (unix(7)).

use super::calls::{Errno, Fd, Result, check, close, fd_of, scalar, word};
use super::raw::syscall6;

/// How many descriptors one request can carry (`SCM_MAX_FD` is 253).
pub(crate) const DESCRIPTORS_MAX: usize = 32;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_DONTWAIT: usize = 0x40;
const SCM_RIGHTS_AT_SOL_SOCKET: u64 = 1 | (1 << 32);
const HEADER: usize = 16;

/// struct msghdr of x86_64: name, name length, iovec, iovec count, control, control length, flags.
type MessageHeader = [usize; 7];

/// Two connected sockets that keep the bounds of messages.
pub(crate) fn pair() -> Result<(Fd, Fd)> {
    const AF_UNIX: usize = 1;
    const SOCK_SEQPACKET_CLOEXEC: usize = 5 | 0o2_000_000;
    let mut pair = [0i32; 2];
    // SAFETY: socketpair(2) writes two descriptor numbers into `pair`.
    check(unsafe { syscall6(53, AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0, pair.as_mut_ptr().addr(), 0, 0) })?;
    let [one, other] = pair;
    Ok((Fd(one), Fd(other)))
}

/// Receives one message: its length and how many descriptors came with it. Length 0 is the end.
///
/// A message that does not fit `into`, or carries more descriptors than [`DESCRIPTORS_MAX`], is refused (`E2BIG`).
pub(crate) fn receive(
    socket: Fd,
    into: &mut [u8],
    descriptors: &mut [Fd; DESCRIPTORS_MAX],
) -> Result<(usize, usize)> {
    const TRUNCATED: usize = 0x20 | 0x8;
    let data = [into.as_mut_ptr().addr(), into.len()];
    let mut control = [0u64; (HEADER + 4 * DESCRIPTORS_MAX) / 8];
    let mut header: MessageHeader =
        [0, 0, data.as_ptr().addr(), 1, control.as_mut_ptr().addr(), size_of_val(&control), 0];
    // SAFETY: recvmsg(2) reads the header and the one iovec, writes at most `len` bytes into the exclusive slice, at
    // most the size of `control` into it, and the result fields into `header`.
    let answer = unsafe { syscall6(47, word(socket), header.as_mut_ptr().addr(), MSG_CMSG_CLOEXEC, 0, 0, 0) };
    let length = check(answer)?;
    let [.., control_length, flags] = header;
    if flags & TRUNCATED != 0 {
        return Err(super::calls::E2BIG);
    }
    let [first, kind, rest @ ..] = &control;
    if control_length < HEADER || *kind != SCM_RIGHTS_AT_SOL_SOCKET {
        return Ok((length, 0));
    }
    let count = (usize::try_from(*first).unwrap_or(0).saturating_sub(HEADER) / 4).min(DESCRIPTORS_MAX);
    let numbers = rest.iter().flat_map(|pair| [(*pair & 0xffff_ffff) as i32, (*pair >> 32) as i32]);
    for (slot, number) in descriptors.iter_mut().zip(numbers).take(count) {
        *slot = Fd(number);
    }
    Ok((length, count))
}

/// Sends `bytes`, with one descriptor if given. Never raises SIGPIPE; with `wait` false a full socket is `EAGAIN`.
pub(crate) fn send(socket: Fd, bytes: &[u8], descriptor: Option<Fd>, wait: bool) -> Result<()> {
    let data = [bytes.as_ptr().addr(), bytes.len()];
    let mut control = [20u64, SCM_RIGHTS_AT_SOL_SOCKET, 0];
    let [_, _, number] = &mut control;
    let mut control_length = 0;
    if let Some(fd) = descriptor {
        *number = u64::from(fd.0.cast_unsigned());
        control_length = size_of_val(&control);
    }
    let header: MessageHeader = [
        0,
        0,
        data.as_ptr().addr(),
        1,
        if control_length > 0 { control.as_ptr().addr() } else { 0 },
        control_length,
        0,
    ];
    let flags = MSG_NOSIGNAL | if wait { 0 } else { MSG_DONTWAIT };
    // SAFETY: sendmsg(2) reads the header, the one iovec, `len` bytes of the slice and the control record.
    let sent = check(unsafe { syscall6(46, word(socket), header.as_ptr().addr(), flags, 0, 0, 0) })?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno(5)) }
}

/// A copy of descriptor `number` of process `pid` (pidfd_open(2), pidfd_getfd(2)).
pub(crate) fn take_descriptor(pid: u32, number: u32) -> Result<Fd> {
    let process = scalar(434, pid as usize, 0, 0, 0).map(fd_of)?;
    let taken = scalar(438, word(process), number as usize, 0, 0).map(fd_of);
    close(process);
    taken
}

/// Connects `socket` without waiting: a full backlog is `EAGAIN` even if the socket is a blocking one.
pub(crate) fn connect(socket: Fd, address: &[u8]) -> Result<()> {
    const F_GETFL: usize = 3;
    const F_SETFL: usize = 4;
    const O_NONBLOCK: usize = 0o4_000;
    let flags = scalar(72, word(socket), F_GETFL, 0, 0)?;
    scalar(72, word(socket), F_SETFL, flags | O_NONBLOCK, 0)?;
    // SAFETY: connect(2) reads `len` bytes of the address.
    let connected =
        check(unsafe { syscall6(42, word(socket), address.as_ptr().addr(), address.len(), 0, 0, 0) })
            .map(drop);
    scalar(72, word(socket), F_SETFL, flags, 0)?;
    connected
}

/// The flags of the mount that `fd` lies on (fstatfs(2)).
pub(crate) fn mount_flags(fd: Fd) -> Result<u64> {
    let mut answer = [0u64; 15];
    // SAFETY: fstatfs(2) writes the 120 bytes of struct statfs, which `answer` holds.
    check(unsafe { syscall6(138, word(fd), answer.as_mut_ptr().addr(), 0, 0, 0, 0) })?;
    let [_, _, _, _, _, _, _, _, _, _, flags, ..] = answer;
    Ok(flags)
}
