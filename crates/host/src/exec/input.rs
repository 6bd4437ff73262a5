//! The command's input on its way in: from a file, a pipe or this process's own standard input, as fast as the command
//! reads it. Neither side is ever waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ringfence_api::ErrorCode;
use ringfence_sandbox::stream::{self, Interest};

use crate::error::Error;
use crate::exec::request::{Exec, Stdin};
use crate::exec::run::CHUNK_BYTES;

/// Where the command's input comes from, if it gets any.
pub(crate) fn source(exec: &Exec) -> Result<Option<OwnedFd>, Error> {
    match &exec.stdin {
        Stdin::Close => Ok(None),
        Stdin::Pass => stream::own_input()
            .map(Some)
            .map_err(|error| Error::new(ErrorCode::Io, "cannot pass the standard input").with_source(error)),
        Stdin::File(path) => {
            let path = exec.directory.as_ref().map_or_else(|| path.clone(), |from| from.join(path));
            stream::open_input(&path).map(Some).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    let message = format!("--stdin: {} does not exist", path.display());
                    Error::new(ErrorCode::PathNotFound, message)
                }
                _ => Error::file("open", &path, error),
            })
        }
    }
}

/// Bytes on their way into the command. Dropping it ends the command's input.
#[derive(Debug)]
pub(crate) struct Feed {
    source: OwnedFd,
    pipe: OwnedFd,
    waiting: Vec<u8>,
    at: usize,
}

impl Feed {
    pub(crate) fn new(source: OwnedFd, pipe: OwnedFd) -> Self {
        Self { source, pipe, waiting: Vec::new(), at: 0 }
    }

    /// What the next step waits for: the source, or room in the pipe for what was read.
    pub(crate) fn wanted(&self) -> (BorrowedFd<'_>, Interest) {
        if self.at < self.waiting.len() {
            (self.pipe.as_fd(), Interest::Write)
        } else {
            (self.source.as_fd(), Interest::Read)
        }
    }

    /// Moves bytes from the source towards the command; `false` at the end of the source.
    pub(crate) fn step(&mut self) -> io::Result<bool> {
        if self.at >= self.waiting.len() {
            self.waiting.resize(CHUNK_BYTES, 0);
            let count = stream::read_now(self.source.as_fd(), &mut self.waiting)?;
            self.waiting.truncate(count.unwrap_or(0));
            self.at = 0;
            if count == Some(0) {
                return Ok(false);
            }
        }
        let rest = self.waiting.get(self.at..).unwrap_or_default();
        self.at += stream::write_now(self.pipe.as_fd(), rest)?;
        Ok(true)
    }
}
