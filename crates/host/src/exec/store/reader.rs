//! Reading stored runs: the list, one run, and its output as it came.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ringfence_api::{ErrorCode, RunReport, RunStatus, Violation};
use serde::Serialize;

use super::index::Index;
use super::{OUTPUT, REPORT, REPORT_TEMPORARY, ReportFile, RunId, RunStore, TIMELINE, TimelineEntry};
use crate::exec::Stream;
use crate::{Error, private_file};

/// The most runs in one answer of [`RunStore::list`].
pub const PAGE_MAX: usize = 1_000;
/// The largest report that is read, in bytes. Command, grants and denials are bounded far below.
const REPORT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The largest piece of a replay, in bytes.
pub(super) const REPLAY_CHUNK_BYTES: u64 = 64 * 1024;
/// The longest line of a timeline, in bytes; the largest numbers make 90.
pub(super) const TIMELINE_LINE_MAX_BYTES: u64 = 256;

/// Where a stored run stands.
///
/// ```
/// use ringfence::exec::store::RunState;
///
/// assert_eq!(RunState::Unfinished.as_str(), "unfinished");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It ended, and its report is there.
    Finished,
    /// It goes on now, or Ringfence was killed before it could write the report.
    Unfinished,
    /// Its report cannot be read: damaged, or of a newer version.
    Unreadable,
}

impl RunState {
    /// The word: `finished`, `unfinished` or `unreadable`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Unfinished => "unfinished",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One run in a list.
///
/// ```
/// use ringfence::exec::{RunStore, StoreLimits};
///
/// # let dir = tempfile::tempdir()?;
/// let store = RunStore::new(&ringfence::Home::at(dir.path()), StoreLimits::default());
/// for run in store.list(None, 20)?.runs {
///     println!("{} {} {:?}", run.id, run.command.join(" "), run.status);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunSummary {
    /// Its number.
    pub id: RunId,
    /// Whether it ended.
    pub state: RunState,
    /// Whether it goes on at this moment.
    pub running: bool,
    /// The command and its arguments; empty when the report cannot be read.
    pub command: Vec<String>,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// How it ended; `None` while it is unfinished.
    pub status: Option<RunStatus>,
    /// The command's exit status, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The violation, if one is proven.
    pub violation: Option<Violation>,
    /// How long it took, in milliseconds; `None` while it is unfinished.
    pub duration_ms: Option<u64>,
    /// Stored output, in bytes.
    pub stored_bytes: u64,
    /// Whether output was left out of the store.
    pub stored_truncated: bool,
}

/// A part of the list of runs, newest first.
///
/// ```
/// use ringfence::exec::{RunStore, StoreLimits};
///
/// # let dir = tempfile::tempdir()?;
/// let store = RunStore::new(&ringfence::Home::at(dir.path()), StoreLimits::default());
/// let page = store.list(None, 20)?;
/// assert!(page.runs.is_empty() && page.before.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunSummary>,
    /// What to give to [`RunStore::list`] for the older ones; `None` when there are none.
    pub before: Option<RunId>,
}

/// One stored run with everything that was kept of it. See [`RunStore`] for an example.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredRun {
    /// What the list says about it.
    pub summary: RunSummary,
    /// What it was granted, as text.
    pub grants: Vec<String>,
    /// Its report; `None` while it is unfinished or when it cannot be read.
    pub report: Option<RunReport>,
    #[serde(skip)]
    dir: PathBuf,
}

impl RunStore {
    /// The newest runs with ids below `before` (all, if `None`), at most `limit` of them (1 to [`PAGE_MAX`];
    /// other values are moved there). A store that does not exist is empty.
    ///
    /// # Errors
    ///
    /// `io` when the store cannot be read, `busy` when another process holds its index for more than 2 s.
    pub fn list(&self, before: Option<RunId>, limit: usize) -> Result<RunPage, Error> {
        let Some(Index { oldest, next, .. }) = self.read_index()? else {
            return Ok(RunPage { runs: Vec::new(), before: None });
        };
        let mut runs = Vec::new();
        let limit = limit.clamp(1, PAGE_MAX);
        let end = before.map_or(next, |before| before.get().min(next));
        for id in (oldest..end).rev() {
            if runs.len() == limit {
                return Ok(RunPage { runs, before: id.checked_add(1).map(RunId) });
            }
            match self.show(RunId(id)) {
                Ok(run) => runs.push(run.summary),
                // Removed by hand, or by a rotation since the index was read.
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(RunPage { runs, before: None })
    }

    /// One run.
    ///
    /// # Errors
    ///
    /// `not_found` when there is no such run (any more), `io` when its files cannot be opened, such as when one
    /// of them is a link.
    pub fn show(&self, id: RunId) -> Result<StoredRun, Error> {
        let dir = self.run_dir(id.get());
        match super::is_real_dir(&self.runs).and_then(|runs| Ok(runs && super::is_real_dir(&dir)?)) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Error::file("open", &dir, io::Error::from(io::ErrorKind::NotADirectory)));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(no_such_run(id)),
            Err(e) => return Err(Error::file("open", &dir, e)),
        }
        // Asked first: a run that ends in between then has its report.
        let running = self.is_running(id.get());
        let mut content = None;
        // The report gets its final name at the end: looking twice leaves no gap.
        for name in [REPORT, REPORT_TEMPORARY, REPORT] {
            content = read_report(&dir.join(name))?;
            if content.is_some() {
                break;
            }
        }
        let running = running && content.as_ref().is_none_or(|content| content.report.is_none());
        Ok(StoredRun::new(id, dir, content, running))
    }
}

fn no_such_run(id: RunId) -> Error {
    Error::new(ErrorCode::NotFound, format!("there is no stored run {id}"))
        .with_hint("`ringfence runs list` shows those that are kept; old ones are removed")
}

/// The content of a report file; `None` when there is none, or none that this version understands.
fn read_report(path: &Path) -> Result<Option<ReportFile>, Error> {
    let file = match private_file::open_read(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::file("open", path, e)),
    };
    let mut bytes = Vec::new();
    file.take(REPORT_MAX_BYTES).read_to_end(&mut bytes).map_err(|e| Error::file("read", path, e))?;
    Ok(serde_json::from_slice(&bytes).ok())
}

impl StoredRun {
    fn new(id: RunId, dir: PathBuf, content: Option<ReportFile>, running: bool) -> Self {
        let size = |name| std::fs::symlink_metadata(dir.join(name)).map_or(0, |found| found.len());
        let Some(content) = content else {
            let made = std::fs::symlink_metadata(&dir).and_then(|found| found.modified());
            let made = made.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            let summary = RunSummary {
                id,
                // Killed in its first moment, before it could say what it runs.
                state: if dir.join(REPORT).exists() { RunState::Unreadable } else { RunState::Unfinished },
                running,
                command: Vec::new(),
                started_at_ms: u64::try_from(made.as_millis()).unwrap_or_default(),
                status: None,
                exit_code: None,
                signal: None,
                violation: None,
                duration_ms: None,
                stored_bytes: size(OUTPUT),
                stored_truncated: true,
            };
            return Self { summary, grants: Vec::new(), report: None, dir };
        };
        let ReportFile { command, started_at_ms, grants, stored_bytes, stored_truncated, report, .. } =
            content;
        let state = if report.is_some() { RunState::Finished } else { RunState::Unfinished };
        let summary = RunSummary {
            id,
            state,
            running,
            command,
            started_at_ms,
            status: report.as_ref().map(|report| report.status),
            exit_code: report.as_ref().and_then(|report| report.exit_code),
            signal: report.as_ref().and_then(|report| report.signal),
            violation: report.as_ref().and_then(|report| report.violation),
            duration_ms: report.as_ref().map(|report| report.duration_ms),
            stored_bytes: if report.is_some() { stored_bytes } else { size(OUTPUT) },
            stored_truncated,
        };
        Self { summary, grants, report, dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The output, piece by piece, in the order in which it was read.
    ///
    /// # Errors
    ///
    /// `io` when the files cannot be opened. Missing files are an empty output.
    pub fn replay(&self) -> Result<Replay, Error> {
        let open = |name| {
            let path = self.dir.join(name);
            match private_file::open_read(&path) {
                Ok(file) => Ok(Some(BufReader::new(file))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::file("open", &path, e)),
            }
        };
        let (output, timeline) = (open(OUTPUT)?, open(TIMELINE)?);
        Ok(Replay { dir: self.dir.clone(), output, timeline, entry: None, last_ms: 0 })
    }

    /// The last `most_bytes` of what it has written up to now, from the beginning of a line where there is one: it costs no more
    /// for a run that has written much.
    ///
    /// # Errors
    ///
    /// `io` when the output cannot be read. A missing file is an empty output.
    pub fn output_tail(&self, most_bytes: u64) -> Result<OutputTail, Error> {
        let path = self.dir.join(OUTPUT);
        let mut file = match private_file::open_read(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(OutputTail::default()),
            Err(e) => return Err(Error::file("open", &path, e)),
        };
        let failed = |e| Error::file("read", &path, e);
        let length = file.metadata().map_err(failed)?.len();
        let begin = length.saturating_sub(most_bytes);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(begin)).map_err(failed)?;
        file.take(most_bytes).read_to_end(&mut bytes).map_err(failed)?;
        let line = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        if let Some(line) = line.filter(|line| begin > 0 && *line < bytes.len()) {
            bytes.drain(..line);
        }
        Ok(OutputTail { bytes, cut: begin > 0 })
    }
}

/// The end of what a run has written.
///
/// ```
/// use ringfence::exec::store::OutputTail;
///
/// let tail = OutputTail { bytes: b"done\n".to_vec(), cut: true };
/// assert!(tail.cut);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputTail {
    /// Both streams in the order in which they were read, redacted as they were shown.
    pub bytes: Vec<u8>,
    /// Whether there is more before it.
    pub cut: bool,
}

/// A piece of stored output; at most 64 KiB.
///
/// ```
/// use ringfence::exec::Stream;
/// use ringfence::exec::store::ReplayChunk;
///
/// let chunk = ReplayChunk { stream: Some(Stream::Stderr), t_ms: 5, bytes: b"oops".to_vec() };
/// assert_eq!(chunk.stream.map(Stream::as_str), Some("stderr"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayChunk {
    /// The stream; `None` when Ringfence was killed before it noted that.
    pub stream: Option<Stream>,
    /// When it was read, in milliseconds since the start of the run.
    pub t_ms: u64,
    /// The bytes, redacted as they were shown.
    pub bytes: Vec<u8>,
}

/// An iterator over the output of a stored run. See [`RunStore`] for an example.
///
/// It yields an `io` error once when reading fails, and then ends.
#[derive(Debug)]
pub struct Replay {
    dir: PathBuf,
    output: Option<BufReader<File>>,
    timeline: Option<BufReader<File>>,
    /// What is left of the current entry.
    entry: Option<TimelineEntry>,
    last_ms: u64,
}

impl Replay {
    /// The entry that the next bytes belong to; `None` when the timeline says nothing about them.
    fn entry(&mut self) -> io::Result<Option<TimelineEntry>> {
        while self.entry.is_none_or(|entry| entry.len == 0) {
            let Some(timeline) = &mut self.timeline else { return Ok(None) };
            let mut line = Vec::new();
            timeline.take(TIMELINE_LINE_MAX_BYTES).read_until(b'\n', &mut line)?;
            // A half line is one that was being written when Ringfence was killed.
            let parsed = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
            if parsed.is_none() {
                self.timeline = None;
            }
            self.entry = parsed;
        }
        Ok(self.entry)
    }

    fn read(&mut self) -> io::Result<Option<ReplayChunk>> {
        let entry = self.entry()?;
        let Some(output) = &mut self.output else { return Ok(None) };
        let want = entry.map_or(REPLAY_CHUNK_BYTES, |entry| entry.len.min(REPLAY_CHUNK_BYTES));
        let mut bytes = Vec::new();
        output.take(want).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Some(entry) = &mut self.entry {
            entry.len = entry.len.saturating_sub(bytes.len() as u64);
            self.last_ms = entry.t_ms;
        }
        Ok(Some(ReplayChunk { stream: entry.map(|entry| entry.stream), t_ms: self.last_ms, bytes }))
    }
}

impl Iterator for Replay {
    type Item = Result<ReplayChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            (self.output, self.timeline) = (None, None);
        }
        read.map_err(|e| Error::file("read the output of", &self.dir, e)).transpose()
    }
}
