//! Stored runs: what each command wrote, when, and how it ended.
//!
//! Every run has a directory `runs/<id>` in the home with `output` (the bytes of both streams in the order in
//! which they were read), `timeline` (one JSON line for each piece: stream, time, length) and `report.json`.
//! Ids are numbers that only grow. A small index beside them knows the next id, the oldest one and the total
//! size, so that keeping within the limits never needs to list the directory: a new run removes exactly what
//! it pushes out. The index is rebuilt by a scan only when it is missing or unreadable, and counted again by
//! one when the run that is pushed out shows that a removal was cut short or happened by hand.
//!
//! Nothing here is synchronised to disk: a power cut may cost the last runs, and never more. Files are for
//! this user alone, links are not followed, and any number of processes may use one store at once.
//!
//! Read on: [`RunStore::begin`] and [`RunWriter`] while a command runs, [`RunStore::list`] and
//! [`RunStore::show`] afterwards.

mod index;
mod reader;
mod tail;
mod writer;

pub use reader::{OutputTail, PAGE_MAX, Replay, ReplayChunk, RunPage, RunState, RunSummary, StoredRun};
pub use tail::Tail;
pub use writer::RunWriter;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ringfence_api::{ErrorCode, RunReport};
use serde::{Deserialize, Serialize};

use super::Stream;
use crate::{Error, Home};

/// The names of the files of a run.
const OUTPUT: &str = "output";
const TIMELINE: &str = "timeline";
const REPORT: &str = "report.json";
/// The report while the run goes on: command and grants, and no ending yet. Its lock is held meanwhile.
const REPORT_TEMPORARY: &str = "report.json.tmp";
/// In the order in which a run loses them. INVARIANT: the reports go first, so that a run whose removal was cut
/// short has none, which is how the next removal knows that the total is to be counted again.
const FILES: [&str; 4] = [REPORT, REPORT_TEMPORARY, OUTPUT, TIMELINE];

/// The number of a stored run. Larger is newer; a number is never used twice.
///
/// ```
/// use ringfence::exec::RunId;
///
/// let id: RunId = "17".parse()?;
/// assert_eq!((id.get(), id.to_string()), (17, "17".to_owned()));
/// assert!("017".parse::<RunId>().is_err());
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct RunId(u64);

impl RunId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = Error;

    /// # Errors
    ///
    /// `usage` when the text is not a number as [`Display`](fmt::Display) writes it.
    fn from_str(text: &str) -> Result<Self, Error> {
        number(text).map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::new(ErrorCode::Usage, format!("'{}' is not the number of a run", shown.escape_debug()))
                .with_hint("`ringfence runs list` shows the numbers")
        })
    }
}

/// A decimal number of one spelling: no sign, no leading zero, not 0.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

/// How much of past runs is kept.
///
/// ```
/// use ringfence::exec::StoreLimits;
///
/// assert_eq!(StoreLimits::default().max_runs, 200);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// How many runs, the newest included; 200. At least 1 is kept.
    pub max_runs: u64,
    /// All files of all ended runs together, in bytes; 256 MiB. The newest run is kept in any case.
    pub max_total_bytes: u64,
    /// Output and timeline of one run together, in bytes; 64 MiB. What is beyond is not stored.
    pub max_run_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { max_runs: 200, max_total_bytes: 256 * 1024 * 1024, max_run_bytes: 64 * 1024 * 1024 }
    }
}

/// What is known about a run when it begins.
///
/// ```
/// use ringfence::exec::RunMeta;
///
/// let meta = RunMeta { command: vec!["ls".into()], started_at_ms: 1_700_000_000_000, grants: vec![] };
/// assert_eq!(meta.command.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMeta {
    /// The command and its arguments; what is not UTF-8 is replaced. The caller hides secrets in it.
    pub command: Vec<String>,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// What it was granted, as text.
    pub grants: Vec<String>,
}

/// The content of `report.json`.
#[derive(Debug, Serialize, Deserialize)]
struct ReportFile {
    id: RunId,
    command: Vec<String>,
    started_at_ms: u64,
    grants: Vec<String>,
    /// Bytes in `output`.
    stored_bytes: u64,
    /// Whether output was left out of the store, at its limit or because the disk failed.
    stored_truncated: bool,
    /// Nothing until the run has ended.
    report: Option<RunReport>,
}

/// One line of `timeline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TimelineEntry {
    t_ms: u64,
    stream: Stream,
    len: u64,
}

/// The stored runs of one home.
///
/// ```
/// use ringfence::exec::{RunMeta, RunStore, StoreLimits, Stream};
/// use ringfence_api::{RunReport, RunStatus};
///
/// # let dir = tempfile::tempdir()?;
/// let home = ringfence::Home::at(dir.path());
/// let store = RunStore::new(&home, StoreLimits::default());
/// let meta = RunMeta { command: vec!["echo".into(), "hi".into()], started_at_ms: 0, grants: vec![] };
/// let mut writer = store.begin(meta)?;
/// writer.append(Stream::Stdout, 3, b"hi\n")?;
/// let id = writer.id();
/// writer.finish(&RunReport::new(RunStatus::Exited))?;
///
/// let run = store.show(id)?;
/// assert_eq!(run.summary.command, ["echo", "hi"]);
/// let chunks: Vec<_> = run.replay()?.collect::<Result<_, _>>()?;
/// assert_eq!((chunks[0].t_ms, &chunks[0].bytes[..]), (3, &b"hi\n"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RunStore {
    home: Home,
    runs: PathBuf,
    limits: StoreLimits,
}

impl RunStore {
    /// The store of this home. Touches no file.
    #[must_use]
    pub fn new(home: &Home, limits: StoreLimits) -> Self {
        Self { home: home.clone(), runs: home.runs_dir(), limits }
    }

    fn run_dir(&self, id: u64) -> PathBuf {
        self.runs.join(id.to_string())
    }
}

/// Whether `path` is a directory itself and not a link to one.
fn is_real_dir(path: &Path) -> std::io::Result<bool> {
    Ok(std::fs::symlink_metadata(path)?.file_type().is_dir())
}

#[cfg(test)]
mod tests;
