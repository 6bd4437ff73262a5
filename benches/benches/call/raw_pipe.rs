//! The limit for anything that talks over two pipes: blocking reads and writes of a known length, and nothing else.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStdin, ChildStdout};
use std::time::Instant;

use ringfence_benches::turns::Row;
use ringfence_sandbox::stream;

use super::{CALL_BYTES, CALLS, LARGE_BYTES, LARGE_CALLS, Other};

/// The other side; the length follows.
pub(super) const PART: &str = "raw-";

/// The other side: gives back so many bytes at a time until its input ends.
pub(super) fn answer(part: &str) -> io::Result<()> {
    let bytes = part.strip_prefix(PART).and_then(|length| length.parse().ok());
    let mut buffer = vec![0u8; bytes.ok_or_else(|| io::Error::other("raw- needs a length"))?];
    // As files: the standard handles have buffers of their own.
    let mut input = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    loop {
        match input.read_exact(&mut buffer) {
            Ok(()) => output.write_all(&buffer)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

struct Raw {
    to: ChildStdin,
    from: ChildStdout,
    buffer: Vec<u8>,
    // Last, so that its input has ended before it is waited for.
    _other: Other,
}

impl Raw {
    fn start(bytes: usize) -> io::Result<Self> {
        let mut other = Other::start(&format!("{PART}{bytes}"))?;
        let (to, from) = other.pipes()?;
        // As the product does.
        stream::widen(to.as_fd());
        stream::widen(from.as_fd());
        Ok(Self { to, from, buffer: vec![0; bytes], _other: other })
    }

    fn seconds(&mut self, count: usize) -> io::Result<f64> {
        let begun = Instant::now();
        for _ in 0..count {
            self.to.write_all(&self.buffer)?;
            self.from.read_exact(&mut self.buffer)?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}

pub(super) fn call_row(name: &str) -> io::Result<Row<'static>> {
    let mut raw = Raw::start(CALL_BYTES)?;
    Ok(Row::new(name, move || Ok(raw.seconds(CALLS)? * 1e6 / CALLS as f64)))
}

pub(super) fn large_row(name: &str) -> io::Result<Row<'static>> {
    let mut raw = Raw::start(LARGE_BYTES)?;
    Ok(Row::new(name, move || Ok(LARGE_CALLS as f64 / raw.seconds(LARGE_CALLS)?)))
}
