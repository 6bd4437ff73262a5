//! How much has come in, how much that has become, and what stopped it.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::super::Problem;
use super::ARCHIVE_BYTES_MAX;
use crate::store::hex;

/// How many times larger than what came in the inside may be, once it has more than [`RATIO_FREE_BYTES`]. Text shrinks to a
/// tenth; gzip itself ends at a thousandth.
const RATIO_MAX: u64 = 200;
/// What may come out of nearly nothing: a few files of zeros are no attack.
const RATIO_FREE_BYTES: u64 = 8_000_000;

/// What both readers of one archive know.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    came: Cell<u64>,
    inflated: Cell<u64>,
    /// Whether the inside has been read to its end.
    ended: Cell<bool>,
    hash: RefCell<Sha256>,
    /// What is behind an error that libraries have passed on in their own words.
    problem: RefCell<Option<Problem>>,
}

impl Gauge {
    /// What a failure of reading means: what stopped it, or `otherwise` when the archive itself is at fault.
    pub(super) fn told(&self, otherwise: &'static str) -> Problem {
        self.problem.take().unwrap_or_else(|| Problem::archive(otherwise))
    }

    /// Whether the inside has been read to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// The digest of all that came in.
    pub(super) fn sha256(&self) -> String {
        hex(&self.hash.borrow().clone().finalize())
    }

    fn stop(&self, problem: Problem) -> io::Error {
        *self.problem.borrow_mut() = Some(problem);
        io::Error::other("it was stopped")
    }
}

/// The archive as it comes in.
pub(super) struct Incoming<R> {
    archive: R,
    gauge: Rc<Gauge>,
}

impl<R: Read> Incoming<R> {
    pub(super) fn new(archive: R, gauge: Rc<Gauge>) -> Self {
        Self { archive, gauge }
    }
}

impl<R: Read> Read for Incoming<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match self.archive.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(source) => return Err(self.gauge.stop(Problem::io("read", "")(source))),
            Ok(count) => count,
        };
        let came = self.gauge.came.get().saturating_add(count as u64);
        self.gauge.came.set(came);
        if came > ARCHIVE_BYTES_MAX {
            return Err(self.gauge.stop(Problem::TooMuch { limit: format!("{ARCHIVE_BYTES_MAX} bytes") }));
        }
        self.gauge.hash.borrow_mut().update(into.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// What is inside.
pub(super) struct Inflated<R> {
    inside: R,
    gauge: Rc<Gauge>,
}

impl<R: Read> Inflated<R> {
    pub(super) fn new(inside: R, gauge: Rc<Gauge>) -> Self {
        Self { inside, gauge }
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inside.read(into)?;
        if count == 0 && !into.is_empty() {
            self.gauge.ended.set(true);
        }
        let inflated = self.gauge.inflated.get().saturating_add(count as u64);
        self.gauge.inflated.set(inflated);
        if inflated > ARCHIVE_BYTES_MAX {
            let limit = format!("{ARCHIVE_BYTES_MAX} bytes with its headers");
            return Err(self.gauge.stop(Problem::TooMuch { limit }));
        }
        if inflated > self.gauge.came.get().saturating_mul(RATIO_MAX).saturating_add(RATIO_FREE_BYTES) {
            let limit = format!("{RATIO_MAX} times the bytes that it is compressed to");
            return Err(self.gauge.stop(Problem::TooMuch { limit }));
        }
        Ok(count)
    }
}
