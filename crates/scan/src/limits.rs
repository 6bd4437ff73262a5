//! How much is read and for how long. What is cut off by a limit is said in [`Report::not_read`](crate::Report::not_read).

use std::time::{Duration, Instant};

/// The largest source or text that is read, in bytes.
pub const SOURCE_MAX_BYTES: u64 = 1024 * 1024;
/// The largest ELF or wasm file that is read, in bytes.
pub const BINARY_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The most that is read of a whole package, in bytes.
pub const TOTAL_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// The most entries of a package that are looked at.
pub const ENTRIES_MAX: usize = 50_000;
/// How deep directories may nest.
pub const DEPTH_MAX: usize = 64;
/// How long a whole package may take.
pub const TOTAL_TIME: Duration = Duration::from_secs(20);
/// How long one file may take.
pub const FILE_TIME: Duration = Duration::from_secs(3);
/// The most nodes of one syntax tree that are looked at.
pub const NODES_MAX: usize = 1_000_000;
/// The most findings of one rule in one file; the rest is counted.
pub const FINDINGS_PER_FILE_MAX: usize = 5;
/// The most findings of a package; the rest is counted.
pub const FINDINGS_MAX: usize = 1_000;
/// The most files that are named as not read; the rest is counted.
pub const NOT_READ_MAX: usize = 500;
/// The longest name of a file that is reported, in bytes.
pub const PATH_MAX_BYTES: usize = 4_096;
/// The longest text of a finding's subject, in characters.
pub const SUBJECT_MAX_CHARS: usize = 120;
/// How deep an expression is followed to know what it names.
pub(crate) const EXPRESSION_DEPTH_MAX: usize = 32;
/// How many things one name may stand for.
pub(crate) const MEANINGS_MAX: usize = 4;
/// How many names of a file are remembered.
pub(crate) const BINDINGS_MAX: usize = 20_000;
/// The longest text that is put together from pieces, in bytes.
pub(crate) const FOLDED_MAX_BYTES: usize = 4_096;

/// What is left of a package's time and bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) deadline: Instant,
    pub(crate) bytes_left: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { deadline: Instant::now() + TOTAL_TIME, bytes_left: TOTAL_MAX_BYTES }
    }

    /// When the file that begins now must be done.
    pub(crate) fn file_deadline(&self) -> Instant {
        self.deadline.min(Instant::now() + FILE_TIME)
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}
