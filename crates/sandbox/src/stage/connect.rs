//! `connect` on the program's behalf.
//!
//! A read-only mount does not stop a connect to a socket file that lies in it, and before Linux 7.1 Landlock does not
//! either, so a granted directory that happens to hold a service's socket would give the service away. PID 1 therefore
//! copies the address once, looks at that copy, and connects a copy of the descriptor with it: what was looked at is
//! what is connected. PID 1 is as confined as the program, so it can reach nothing that the program could not.

use crate::sys::calls::{self, Errno, Fd, NO_FD, O_PATH};
use crate::sys::privileges::{self, Notification};
use crate::sys::sockets;

const EACCES: Errno = Errno(13);
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The largest address that is copied: struct sockaddr_un with a full path.
const ADDRESS_BYTES: usize = 110;
const ST_RDONLY: u64 = 1;

/// What became of the attempt.
pub(crate) enum Outcome {
    /// The kernel's answer: 0 for success.
    Answered(i32),
    /// Refused; the address is what it was about.
    Refused(Address),
}

impl Outcome {
    /// The errno for the program. 0 makes the call succeed.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Answered(errno) => *errno,
            Self::Refused(_) => EACCES.0,
        }
    }
}

/// A socket address as the program gave it.
pub(crate) struct Address {
    bytes: [u8; ADDRESS_BYTES],
    length: usize,
}

impl Address {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn family(&self) -> u16 {
        self.as_bytes().first_chunk().map_or(0, |pair| u16::from_le_bytes(*pair))
    }

    /// The path of a unix address that has one: up to the first NUL, not empty, not abstract.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        if self.family() != AF_UNIX {
            return None;
        }
        let name = self.as_bytes().get(2..)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.get(..end).filter(|path| !path.is_empty())
    }
}

/// Copies an address out of the program.
pub(crate) fn address(report: &Notification, pointer: u64, length: u64) -> Address {
    let mut bytes = [0u8; ADDRESS_BYTES];
    let wanted = usize::try_from(length & 0xffff_ffff).unwrap_or(0).min(ADDRESS_BYTES);
    let got = match bytes.get_mut(..wanted) {
        Some(room) if wanted > 0 => calls::read_memory(report.pid, pointer, room).unwrap_or(0),
        _ => 0,
    };
    Address { bytes, length: got }
}

/// Judges and carries out one connect.
pub(crate) fn on_behalf(listener: Fd, report: &Notification) -> Outcome {
    let [descriptor, pointer, length, ..] = report.arguments;
    let address = address(report, pointer, length);
    if matches!(address.family(), AF_INET | AF_INET6) {
        return Outcome::Refused(address);
    }
    match attempt(listener, report, (descriptor & 0xffff_ffff) as u32, &address) {
        Ok(()) => Outcome::Answered(0),
        Err(EACCES) => Outcome::Refused(address),
        Err(error) => Outcome::Answered(error.0),
    }
}

fn attempt(listener: Fd, report: &Notification, descriptor: u32, address: &Address) -> Result<(), Errno> {
    let process = group_of(report.pid)?;
    let socket = sockets::take_descriptor(process, descriptor)?;
    let connected = if privileges::notification_is_waiting(listener, report.id) {
        connect(report, socket, address)
    } else {
        Err(EACCES)
    };
    calls::close(socket);
    connected
}

fn connect(report: &Notification, socket: Fd, address: &Address) -> Result<(), Errno> {
    let Some(path) = address.path() else {
        return sockets::connect(socket, address.as_bytes());
    };
    let place = open_socket_file(report, path)?;
    let allowed = sockets::mount_flags(place)
        .and_then(|flags| if flags & ST_RDONLY == 0 { Ok(()) } else { Err(EACCES) });
    let connected = allowed.and_then(|()| {
        // By way of the opened file, so that nothing can be put in its place.
        let mut name = calls::Line::<64>::new();
        name.text(&AF_UNIX.to_le_bytes()).text(b"/proc/self/fd/").number(place.0.unsigned_abs()).text(b"\0");
        sockets::connect(socket, name.as_bytes())
    });
    calls::close(place);
    connected
}

/// The socket file as the program would find it: from its working directory, in the root that both share.
fn open_socket_file(report: &Notification, path: &[u8]) -> Result<Fd, Errno> {
    let mut text = calls::Line::<ADDRESS_BYTES>::new();
    text.text(path);
    if path.first() == Some(&b'/') {
        return calls::open_at(NO_FD, text.as_c_str(), O_PATH, 0);
    }
    let mut link = calls::Line::<64>::new();
    link.text(b"/proc/").number(report.pid.unsigned_abs()).text(b"/cwd");
    let directory = calls::open_at(NO_FD, link.as_c_str(), O_PATH, 0)?;
    let opened = calls::open_at(directory, text.as_c_str(), O_PATH, 0);
    calls::close(directory);
    opened
}

/// The process that a thread belongs to, from its status file: a pidfd is of a process.
fn group_of(thread: i32) -> Result<u32, Errno> {
    const LABEL: &[u8] = b"Tgid:\t";
    let mut path = calls::Line::<64>::new();
    path.text(b"/proc/").number(thread.unsigned_abs()).text(b"/status");
    let file = calls::open_at(NO_FD, path.as_c_str(), 0, 0)?;
    let mut buffer = [0u8; 512];
    let length = calls::read(file, &mut buffer);
    calls::close(file);
    let text = buffer.get(..length?).unwrap_or_default();
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(LABEL));
    let digits = line.ok_or(EACCES)?.iter().take_while(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add(u32::from(*digit - b'0'))))
}
