//! Pipes to and from a sandbox, and waiting for them, for a host that must never block: the few calls that an executor
//! needs beside the standard library.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::launch::Stdio;

/// The kernel's default limit for one user's pipe (`/proc/sys/fs/pipe-max-size`): fewer wake-ups for the same bytes.
const PIPE_BYTES: usize = 1 << 20;
/// A pipe that is ready for writing takes this much without blocking (`PIPE_BUF`, pipe(7)).
const ATOMIC_BYTES: usize = 4096;

/// The host's ends of a program's pipes. All are non-blocking and close-on-exec.
///
/// ```no_run
/// use std::os::fd::AsFd;
///
/// use ringfence_sandbox::stream::{Input, read_now};
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio};
///
/// let (stdio, pipes) = Stdio::pipes(Input::Closed)?;
/// let plan = Plan::new(Program::find("id".as_ref(), "/".as_ref())?);
/// Launcher::start()?.launch(&plan, stdio)?.wait()?;
/// let mut buffer = [0; 1024];
/// println!("{:?} bytes", read_now(pipes.stdout.as_fd(), &mut buffer)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pipes {
    /// Write here what the program reads; `None` when its input is closed. Closing it ends the input.
    pub stdin: Option<OwnedFd>,
    /// What the program writes.
    pub stdout: OwnedFd,
    /// What the program complains about.
    pub stderr: OwnedFd,
}

/// What a program's standard input is.
///
/// ```
/// use ringfence_sandbox::{Stdio, stream::Input};
/// let (_, pipes) = Stdio::pipes(Input::Pipe)?;
/// assert!(pipes.stdin.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing: reading it ends at once.
    Closed,
    /// A pipe that the host writes to.
    Pipe,
}

impl Stdio {
    /// Pipes for output and error, and for input if asked for. Never a terminal.
    ///
    /// # Errors
    /// When no descriptor is free, or `/dev/null` cannot be opened.
    pub fn pipes(input: Input) -> io::Result<(Self, Pipes)> {
        let (stdout, stdout_end) = pipe_to_host()?;
        let (stderr, stderr_end) = pipe_to_host()?;
        let (stdin_end, stdin) = match input {
            Input::Closed => (OwnedFd::from(std::fs::File::open("/dev/null")?), None),
            Input::Pipe => {
                let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
                (reader, Some(writer))
            }
        };
        let stdio = Self { stdin: stdin_end, stdout: stdout_end, stderr: stderr_end };
        Ok((stdio, Pipes { stdin, stdout, stderr }))
    }
}

/// A pipe whose reading end is the host's and does not block; the program's end blocks, as programs expect.
fn pipe_to_host() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    Ok((reader, writer))
}

/// Opens a file for a program's input without ever waiting: for the writer of a named pipe, say.
///
/// # Errors
/// As open(2); `IsADirectory` for a directory.
pub fn open_input(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    let seen = rustix::fs::fstat(&opened)?;
    if rustix::fs::FileType::from_raw_mode(seen.st_mode).is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(opened)
}

/// This process's own standard input, opened anew where that is possible, so that reading it never waits, although others
/// may read the same pipe or terminal, and their description of it stays as it is.
///
/// # Errors
/// When no descriptor is free.
pub fn own_input() -> io::Result<OwnedFd> {
    let own = io::stdin();
    let kind = rustix::fs::fstat(own.as_fd()).map(|seen| rustix::fs::FileType::from_raw_mode(seen.st_mode));
    if kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device())
        && let Ok(anew) = open_input("/proc/self/fd/0".as_ref())
    {
        return Ok(anew);
    }
    own.as_fd().try_clone_to_owned()
}

/// Makes the pipe behind `fd` as large as an unprivileged user may, for programs that write much. Not being allowed to is
/// no failure.
pub fn widen(fd: BorrowedFd<'_>) {
    let _smaller_then = rustix::pipe::fcntl_setpipe_size(fd, PIPE_BYTES);
}

/// What a descriptor is waited for.
///
/// ```
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// use ringfence_sandbox::stream::{Interest, wait_ready};
/// let (reader, writer) = std::io::pipe()?;
/// let wanted = [(reader.as_fd(), Interest::Read), (writer.as_fd(), Interest::Write)];
/// assert_eq!(wait_ready(&wanted, Some(Duration::ZERO))?, [false, true]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, an event, or the end.
    Read,
    /// Room for bytes, or nobody left to read them.
    Write,
}

/// Waits until one of the descriptors is ready, or for `timeout` (`None`: for ever). The answer says which are; none after
/// the timeout or a signal.
///
/// # Errors
/// When the kernel is out of memory.
pub fn wait_ready(wanted: &[(BorrowedFd<'_>, Interest)], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let flags = |interest| if interest == Interest::Read { PollFlags::IN } else { PollFlags::OUT };
    let mut entries: Vec<PollFd<'_>> =
        wanted.iter().map(|(fd, interest)| PollFd::from_borrowed_fd(*fd, flags(*interest))).collect();
    let timeout = timeout.and_then(|timeout| rustix::event::Timespec::try_from(timeout).ok());
    match rustix::event::poll(&mut entries, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(entries.iter().map(|entry| !entry.revents().is_empty()).collect())
}

/// Reads what is there now. `None` when nothing is; `Some(0)` at the end.
///
/// # Errors
/// As read(2), other than that nothing is there.
pub fn read_now(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::read(fd, into) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes can be read now.
///
/// # Errors
/// When `fd` has no such count (it is no pipe, socket or terminal).
pub fn readable_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(fd)?)
}

/// Writes what can be written without waiting, although `fd` itself may block: it may be shared with the caller's shell,
/// whose descriptor must not be made non-blocking. 0 when nothing can be.
///
/// # Errors
/// As write(2): `BrokenPipe` when nobody reads any more.
pub fn write_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let at_current = u64::MAX;
    match rustix::io::pwritev2(fd, &[io::IoSlice::new(bytes)], at_current, ReadWriteFlags::NOWAIT) {
        Ok(count) => return Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
        // Terminals, most files, and pipes before Linux 6.4 do not know the flag.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready = wait_ready(&[(fd, Interest::Write)], Some(Duration::ZERO))?.first() == Some(&true);
    if !is_ready {
        return Ok(0);
    }
    let whole =
        rustix::fs::fstat(fd).is_ok_and(|seen| rustix::fs::FileType::from_raw_mode(seen.st_mode).is_file());
    let now = if whole { bytes } else { bytes.get(..ATOMIC_BYTES).unwrap_or(bytes) };
    match rustix::io::write(fd, now) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Whether nobody can write into the pipe `fd` any more. What was written before may still be there to be read.
///
/// # Errors
/// When the kernel is out of memory.
pub fn has_hung_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut entry = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    match rustix::event::poll(&mut entry, Some(&now)) {
        Ok(_) | Err(Errno::INTR) => Ok(entry.iter().any(|entry| entry.revents().contains(PollFlags::HUP))),
        Err(error) => Err(error.into()),
    }
}

/// Moves up to `count` bytes from the pipe `from` to `to` without copying them through this process (splice(2)). `None`
/// when that is not possible between these two, or nothing can be moved now; `Some(0)` at the end of `from`.
///
/// # Errors
/// `BrokenPipe` when nobody reads `to` any more.
pub fn move_now(from: BorrowedFd<'_>, to: BorrowedFd<'_>, count: usize) -> io::Result<Option<usize>> {
    match rustix::pipe::splice(from, None, to, None, count, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
        Ok(moved) => Ok(Some(moved)),
        Err(Errno::PIPE) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(_) => Ok(None),
    }
}

/// Signals as something to wait for: the descriptor becomes readable when one arrives.
///
/// ```no_run
/// use ringfence_sandbox::stream::Signals;
/// let signals = Signals::catch(&[2, 15])?;
/// if signals.next()?.is_some() {
///     println!("shall end");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks these signals for the calling thread and all that it starts from now on, and catches them here. Call it before
    /// other threads exist.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn catch(numbers: &[i32]) -> io::Result<Self> {
        crate::sys::signal_descriptor(numbers).map(|fd| Self { fd })
    }

    /// The number of a signal that has arrived, without waiting.
    ///
    /// # Errors
    /// As read(2).
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut record = [0u8; 128];
        let read = read_now(self.fd.as_fd(), &mut record)?;
        let number = record.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes).cast_signed());
        Ok(number.filter(|_| read == Some(record.len())))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_full_pipe_takes_nothing_and_does_not_block() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let block = vec![7u8; 1 << 16];
        let mut written = 0;
        loop {
            match write_now(writer.as_fd(), &block).unwrap() {
                0 => break,
                count => written += count,
            }
        }
        assert!(written >= 4096);
        assert_eq!(readable_bytes(reader.as_fd()).unwrap(), written as u64);
        let mut half = vec![0u8; written];
        reader.read_exact(&mut half).unwrap();
        assert!(half.iter().all(|byte| *byte == 7));
        assert!(write_now(writer.as_fd(), &block).unwrap() > 0);
    }

    #[test]
    fn files_take_all_and_nobody_is_a_broken_pipe() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(write_now(file.as_fd(), &[1; 100_000]).unwrap(), 100_000);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(write_now(writer.as_fd(), b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn input_is_opened_without_waiting_and_directories_are_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let opened = open_input(file.path()).unwrap();
        let mut buffer = [0u8; 8];
        assert_eq!(read_now(opened.as_fd(), &mut buffer).unwrap(), Some(3));
        assert_eq!(open_input("/".as_ref()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(open_input("/no/such".as_ref()).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(own_input().is_ok());
    }

    #[test]
    fn a_pipe_hangs_up_with_its_last_writer_whatever_is_left_in_it() {
        let (reader, writer) = std::io::pipe().unwrap();
        let second = writer.try_clone().unwrap();
        assert_eq!(write_now(writer.as_fd(), b"abc").unwrap(), 3);
        drop(writer);
        assert!(!has_hung_up(reader.as_fd()).unwrap());
        drop(second);
        assert!(has_hung_up(reader.as_fd()).unwrap());
        assert_eq!(readable_bytes(reader.as_fd()).unwrap(), 3);
    }

    #[test]
    fn nothing_something_and_the_end() {
        let (stdio, pipes) = Stdio::pipes(Input::Closed).unwrap();
        let mut buffer = [0u8; 8];
        assert_eq!(read_now(pipes.stdout.as_fd(), &mut buffer).unwrap(), None);
        assert_eq!(write_now(stdio.stdout.as_fd(), b"abc").unwrap(), 3);
        assert_eq!(read_now(pipes.stdout.as_fd(), &mut buffer).unwrap(), Some(3));
        drop(stdio);
        assert_eq!(read_now(pipes.stdout.as_fd(), &mut buffer).unwrap(), Some(0));
        assert!(pipes.stdin.is_none());
    }
}
