//! Opens what is granted, on behalf of a launcher that sees none of it.
//!
//! A launcher lives in a prepared root. As root it may go back to the host's mounts for a moment; an ordinary user's
//! launcher may not, because they belong to another user namespace. It therefore has a child that stays there. For each
//! request that one runs a child of its own in a fresh copy of the host's mounts, as they are at that moment, which takes the
//! sources and sends them back as detached mounts.

use super::{Failure, mounts};
use crate::sys::calls::{self, EINVAL, Errno, Fd, NO_FD, Namespaces};
use crate::sys::privileges;
use crate::sys::sockets::{self, DESCRIPTORS_MAX};
use crate::wire::{REQUEST_MAX, Reader, Records, SOURCES_MAX, SourceRecord, Step};

const SOCKET: Fd = Fd(3);
const SIGKILL: usize = 9;
const SIGCHLD: u64 = 17;
/// The stack of the child that opens; it runs half a dozen shallow functions.
const STACK_BYTES: usize = 32 * 1024;

/// The launcher's end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opener {
    socket: Fd,
    pid: i32,
}

/// Starts the child. It ends when the launcher closes its socket or dies.
pub(crate) fn start() -> Result<Opener, Errno> {
    let (ours, theirs) = sockets::pair()?;
    let mut unused = NO_FD;
    let pid = calls::clone_process(0, SIGCHLD, &mut unused, None)?;
    if pid == 0 {
        calls::close(ours);
        serve(theirs);
    }
    calls::close(theirs);
    Ok(Opener { socket: ours, pid: i32::try_from(pid).map_err(|_| EINVAL)? })
}

impl Opener {
    /// Moves the launcher's end to the descriptor `to`.
    pub(crate) fn keep_at(&mut self, to: Fd) -> Result<(), Errno> {
        calls::dup_onto(self.socket, to, true)?;
        calls::close(self.socket);
        self.socket = to;
        Ok(())
    }

    /// Takes all `sources` from the host's mounts as they are now. `message` is room for the request.
    pub(crate) fn take(
        &self,
        sources: &Records<'_>,
        message: &mut [u8],
        into: &mut [Fd; SOURCES_MAX],
    ) -> Result<(), (Errno, usize)> {
        let bytes = sources.reader.rest();
        let length = bytes.len() + 4;
        let whole = message.get_mut(..length).ok_or((EINVAL, 0))?;
        let (count, records) = whole.split_at_mut(4);
        count.copy_from_slice(&sources.count.to_le_bytes());
        records.copy_from_slice(bytes);
        sockets::send(self.socket, whole, None, true).map_err(|errno| (errno, 0))?;
        for (index, slot) in into.iter_mut().enumerate().take(sources.count as usize) {
            let mut answer = [0u8; 8];
            let mut fds = [NO_FD; DESCRIPTORS_MAX];
            let (length, _) =
                sockets::receive(self.socket, &mut answer, &mut fds).map_err(|errno| (errno, index))?;
            let mut from = Reader::new(answer.get(..length).unwrap_or_default());
            let (number, errno) = (from.u32(), from.u32().cast_signed());
            if errno != 0 {
                return Err((Errno(errno), number as usize));
            }
            if from.is_broken() || number as usize != index {
                return Err((EINVAL, index));
            }
            *slot = fds.first().copied().unwrap_or(NO_FD);
        }
        Ok(())
    }

    /// Ends the child and waits for it, so that nothing is left when the launcher has ended.
    pub(crate) fn end(&self) {
        calls::close(self.socket);
        calls::wait_for(self.pid);
    }
}

struct Job<'a> {
    count: usize,
    records: Reader<'a>,
}

fn serve(socket: Fd) -> ! {
    let ready = privileges::set_death_signal(SIGKILL)
        .and_then(|()| calls::dup_onto(socket, SOCKET, true))
        .and_then(|_| calls::close_range(SOCKET.0.unsigned_abs() + 1, 0));
    let (Ok(()), Ok(buffer), Ok(stack)) = (ready, calls::region(REQUEST_MAX), calls::region(STACK_BYTES))
    else {
        calls::exit(1)
    };
    let mut fds = [NO_FD; DESCRIPTORS_MAX];
    loop {
        match sockets::receive(SOCKET, buffer, &mut fds) {
            Ok((0, _)) => calls::exit(0),
            Ok((length, _)) => {
                let mut records = Reader::new(buffer.get(..length).unwrap_or_default());
                let job = Job { count: records.u32() as usize, records };
                match calls::run_sharing_memory(stack, &job, open_all, Namespaces::Mount) {
                    Ok(pid) => calls::wait_for(i32::try_from(pid).unwrap_or(0)),
                    Err(errno) => answer(0, errno, None),
                }
            }
            Err(calls::EINTR) => {}
            Err(_) => calls::exit(1),
        }
    }
}

fn open_all(job: &Job<'_>) -> ! {
    let mut records = job.records.clone();
    for index in 0..job.count {
        let record = SourceRecord::read(&mut records);
        match mounts::take_source(&record, None) {
            Ok(NO_FD) => answer(index, Errno(0), None),
            Ok(fd) => {
                answer(index, Errno(0), Some(fd));
                calls::close(fd);
            }
            Err(errno) => {
                answer(index, errno, None);
                calls::exit(1);
            }
        }
    }
    calls::exit(0)
}

fn answer(index: usize, errno: Errno, mount: Option<Fd>) {
    let mut bytes = [0u8; 8];
    let (number, code) = bytes.split_at_mut(4);
    number.copy_from_slice(&u32::try_from(index).unwrap_or(u32::MAX).to_le_bytes());
    code.copy_from_slice(&errno.0.to_le_bytes());
    // A launcher that has gone asks for nothing any more.
    let _launcher_gone = sockets::send(SOCKET, &bytes, mount, true);
}

/// As the launcher names it: which source, counted from `first`.
pub(crate) fn failure(first: usize) -> impl Fn((Errno, usize)) -> Failure {
    move |(errno, index)| Failure::at(Step::Source, first + index)(errno)
}
