//! What a process that stays needs of the system: sockets that a service manager has bound for it, and to leave the terminal that
//! it was started from.
//!
//! Nothing here is about sandboxes, and nothing here can start anything but the program that is running: the words of
//! [`start_again`] are arguments, never a program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use crate::sys;

/// More sockets than any unit names.
const HANDED_OVER_MAX: usize = 64;

/// A socket that listens.
///
/// ```
/// use ringfence_sandbox::resident::HandedSocket;
/// let socket = HandedSocket::Tcp(std::net::TcpListener::bind("127.0.0.1:0")?);
/// assert!(matches!(socket, HandedSocket::Tcp(_)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum HandedSocket {
    /// Of IPv4 or IPv6.
    Tcp(TcpListener),
    /// With a name in the file system, or without.
    Unix(UnixListener),
}

/// The sockets that a service manager has bound for this process (`LISTEN_PID`, `LISTEN_FDS`; sd_listen_fds(3)). None when
/// there are none, or they are another process's. They are handed out once: the second call has none.
///
/// Call it before this process starts others: until then they would inherit the sockets.
///
/// # Errors
/// When there are more than 64, or one of them does not listen or is neither TCP nor Unix.
pub fn handed_over() -> io::Result<Vec<HandedSocket>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = usize::try_from(number("LISTEN_FDS").unwrap_or(0)).unwrap_or(usize::MAX);
    if count > HANDED_OVER_MAX {
        let message = format!("LISTEN_FDS is {count}; at most {HANDED_OVER_MAX} sockets are taken");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    sys::take_listening(count)?.into_iter().map(known).collect()
}

fn known(socket: OwnedFd) -> io::Result<HandedSocket> {
    let address = rustix::net::getsockname(&socket)?;
    match address.address_family() {
        rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6 => {
            Ok(HandedSocket::Tcp(TcpListener::from(socket)))
        }
        rustix::net::AddressFamily::UNIX => Ok(HandedSocket::Unix(UnixListener::from(socket))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a TCP nor a Unix socket")),
    }
}

/// Starts the program that is running once more, with these arguments, no input, its output on a pipe and its complaints in
/// `log`. This process is not copied: the standard library uses posix_spawn(3) here. It gets this process's environment, with
/// `variables` set anew, and no other descriptor, whoever opened it.
///
/// # Errors
/// What the system says.
pub fn start_again(arguments: &[OsString], variables: &[(&str, &OsStr)], log: File) -> io::Result<Child> {
    sys::hand_on_nothing()?;
    // The link of this process names the file that runs, also when another one has its name by now.
    #[expect(clippy::disallowed_methods, reason = "it names no program: only this one can be started here")]
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(arguments).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()
}

/// Makes this process the leader of a session without a terminal (setsid(2)), so that neither a closed terminal nor its Ctrl-C
/// reaches it, and gives it back the name that it lost when it was started by way of a link of the system.
///
/// # Errors
/// `PermissionDenied` for a process that leads a group already, as one that a shell has started does.
pub fn leave_session(name: &std::ffi::CStr) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::thread::set_name(name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_another_process_are_not_taken() {
        // The test's own process has no LISTEN_PID; the command's tests hand real ones over.
        assert!(handed_over().unwrap().is_empty());
    }

    #[test]
    fn what_this_program_has_opened_itself_is_never_taken() {
        let own = std::fs::File::open("/dev/null").unwrap();
        // Number 3 belongs to somebody here: the harness, or the file above.
        assert!(sys::take_listening(1).is_err());
        assert!(own.metadata().is_ok());
        assert!(sys::take_listening(1).unwrap().is_empty(), "once");
    }

    #[test]
    fn a_socket_is_known_by_its_family() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(known(tcp.into()).unwrap(), HandedSocket::Tcp(_)));
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(dir.path().join("s")).unwrap();
        assert!(matches!(known(unix.into()).unwrap(), HandedSocket::Unix(_)));
    }
}
