//! Cuts bytes into lines and never holds more than one of the greatest length.

use memchr::memchr;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// How much an idle buffer keeps; what a long line needed beyond it is given back.
const KEEP_BYTES: usize = 4 * READ_BYTES;
/// How many bytes of a line that is too long are kept to say what it was.
const SAMPLE_BYTES: usize = 256;
/// After so many reads in a row that needed little, a large buffer is given back.
const SMALL_READS: u32 = 64;

/// What has come in and is not yet taken, at most one line of the greatest length and one read.
///
/// The limit counts the line end: with a limit of 10, nine bytes and `\n` are a line, ten bytes and `\n` are too long.
///
/// ```
/// use ringfence::rpc::codec::{Line, Lines};
///
/// let mut lines = Lines::new(10);
/// lines.extend(b"123456789\r\nand this is too long\nshort\n");
/// assert!(matches!(lines.next(), Some(Line::TooLong(_))));
/// assert!(matches!(lines.next(), Some(Line::TooLong(_))));
/// assert!(matches!(lines.next(), Some(Line::Whole(b"short"))));
/// assert!(lines.next().is_none());
/// ```
#[derive(Debug)]
pub struct Lines {
    /// All of it is initialised; what counts stands in `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// No line end stands before it (from `start` on).
    searched: usize,
    max_bytes: usize,
    skipping: Skipping,
    small_reads: u32,
    skipped_bytes: u64,
}

/// Whether the rest of a line that is too long is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipping {
    No,
    ToLineEnd,
}

/// One line, without its end.
///
/// ```
/// use ringfence::rpc::codec::{Line, Lines};
///
/// let mut lines = Lines::new(100);
/// lines.extend(b"{}\r\n");
/// assert!(matches!(lines.next(), Some(Line::Whole(b"{}"))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The line.
    Whole(&'a [u8]),
    /// The beginning of a line that is too long; the rest of it is skipped as it comes.
    TooLong(&'a [u8]),
}

impl Lines {
    /// Nothing yet; lines have at most `max_bytes` (at least 1), line end included.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            max_bytes: max_bytes.max(1),
            skipping: Skipping::No,
            small_reads: 0,
            skipped_bytes: 0,
        }
    }

    /// Adds bytes. Whoever reads from a descriptor uses [`Lines::space`] and [`Lines::filled`] and saves the copy.
    ///
    /// Take all lines before the next bytes come; else what is held grows by them.
    pub fn extend(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(READ_BYTES) {
            if let Some(space) = self.space().get_mut(..piece.len()) {
                space.copy_from_slice(piece);
            }
            self.filled(piece.len());
        }
    }

    /// Where the next bytes go: 64 KiB. Call it after [`Lines::next`] has given `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end, self.searched) = (0, 0, 0);
        }
        if self.buffer.len() - self.end < READ_BYTES {
            self.make_space();
        }
        let end = self.end;
        self.buffer.get_mut(end..end + READ_BYTES).unwrap_or_default()
    }

    /// `count` bytes of the space have been filled.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count.min(READ_BYTES)).min(self.buffer.len());
    }

    /// Whether a line has begun that has not ended.
    #[must_use]
    pub fn is_within_line(&self) -> bool {
        self.start < self.end || self.skipping == Skipping::ToLineEnd
    }

    /// How many bytes of lines that are too long have been skipped so far.
    #[must_use]
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// The beginning of a line that has begun and not ended.
    #[must_use]
    pub fn rest_of_input(&self) -> &[u8] {
        self.sample(self.start, self.end)
    }

    /// How much memory is held, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next line, if a whole one is there.
    #[expect(
        clippy::should_implement_trait,
        reason = "the line borrows from here, which no iterator can say"
    )]
    pub fn next(&mut self) -> Option<Line<'_>> {
        if self.skipping == Skipping::ToLineEnd && !self.skip() {
            return None;
        }
        let (start, end, searched) = (self.start, self.end, self.searched.max(self.start));
        let found = memchr(b'\n', self.buffer.get(searched..end).unwrap_or_default());
        let Some(length) = found.map(|at| searched + at - start) else {
            self.searched = end;
            if end - start < self.max_bytes {
                return None;
            }
            // Even the shortest way to end it would be too long.
            self.skipping = Skipping::ToLineEnd;
            self.skipped_bytes += (end - start) as u64;
            (self.start, self.searched) = (end, end);
            return Some(Line::TooLong(self.sample(start, end)));
        };
        self.start = start + length + 1;
        self.searched = self.start;
        if length >= self.max_bytes {
            self.skipped_bytes += length as u64;
            return Some(Line::TooLong(self.sample(start, start + length)));
        }
        let line = self.buffer.get(start..start + length).unwrap_or_default();
        Some(Line::Whole(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    fn sample(&self, start: usize, end: usize) -> &[u8] {
        self.buffer.get(start..end.min(start + SAMPLE_BYTES)).unwrap_or_default()
    }

    /// Drops what belongs to a line that is too long. Whether its end was reached.
    fn skip(&mut self) -> bool {
        let held = self.buffer.get(self.start..self.end).unwrap_or_default();
        let end = memchr(b'\n', held);
        self.skipped_bytes += end.unwrap_or(held.len()) as u64;
        self.start = end.map_or(self.end, |at| self.start + at + 1);
        self.searched = self.start;
        if end.is_some() {
            self.skipping = Skipping::No;
        }
        end.is_some()
    }

    /// Moves what is held to the front, and makes the buffer as large as it has to be.
    fn make_space(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.searched = self.searched.saturating_sub(self.start);
        self.end -= self.start;
        self.start = 0;
        let needed = self.end + READ_BYTES;
        if needed > self.buffer.len() {
            // A line is never longer than the limit, and one read may come on top of it.
            let most = (self.max_bytes + READ_BYTES).max(needed);
            let wanted = (self.buffer.len() * 2).clamp(needed, most);
            self.buffer.reserve_exact(wanted - self.buffer.len());
            self.buffer.resize(wanted, 0);
            self.small_reads = 0;
        }
    }

    /// Gives back what a long line needed, when none has come for a while. Call it once for each read.
    pub(crate) fn rest(&mut self) {
        if self.buffer.len() <= KEEP_BYTES || self.end > KEEP_BYTES {
            self.small_reads = 0;
            return;
        }
        self.small_reads += 1;
        if self.small_reads > SMALL_READS {
            self.buffer.truncate(KEEP_BYTES);
            self.buffer.shrink_to_fit();
            self.small_reads = 0;
        }
    }
}
