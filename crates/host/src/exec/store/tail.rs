//! The output of a stored run as it grows: for those who follow a run that goes on, whichever process runs it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::reader::{REPLAY_CHUNK_BYTES, ReplayChunk, StoredRun, TIMELINE_LINE_MAX_BYTES};
use super::{OUTPUT, TIMELINE, TimelineEntry};
use crate::error::Error;
use crate::private_file;

/// Follows a run. What it gives has its place in time, so nothing is given before its line of the timeline is whole.
///
/// ```
/// use ringfence::exec::{RunMeta, RunStore, StoreLimits, Stream};
///
/// # let dir = tempfile::tempdir()?;
/// let store = RunStore::new(&ringfence::Home::at(dir.path()), StoreLimits::default());
/// let meta = RunMeta { command: vec!["echo".into()], started_at_ms: 0, grants: vec![] };
/// let mut writer = store.begin(meta)?;
/// let mut tail = store.show(writer.id())?.follow();
/// assert!(tail.next()?.is_none());
/// writer.append(Stream::Stdout, 3, b"hi\n")?;
/// writer.settle()?;
/// assert_eq!(tail.next()?.map(|chunk| chunk.bytes), Some(b"hi\n".to_vec()));
/// assert_eq!(tail.offset(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    output: Option<File>,
    timeline: Option<BufReader<File>>,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
    /// What is left of the current entry.
    entry: Option<TimelineEntry>,
    offset: u64,
}

impl StoredRun {
    /// The output from its beginning, and on as it is written.
    #[must_use]
    pub fn follow(&self) -> Tail {
        Tail {
            dir: self.dir().to_owned(),
            output: None,
            timeline: None,
            line: Vec::new(),
            entry: None,
            offset: 0,
        }
    }
}

impl Tail {
    /// How many bytes were given so far, of both streams together. The same run gives the same bytes at the same place.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next piece, at most 64 KiB; `None` when there is no more for now.
    ///
    /// # Errors
    /// `io` when the files cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it goes on after None, as no iterator should")]
    pub fn next(&mut self) -> Result<Option<ReplayChunk>, Error> {
        self.read().map_err(|error| Error::file("follow the output of", &self.dir, error))
    }

    fn read(&mut self) -> io::Result<Option<ReplayChunk>> {
        let Some(entry) = self.entry()? else { return Ok(None) };
        let Some(output) = opened(&mut self.output, &self.dir.join(OUTPUT), |file| file)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        output.take(entry.len.min(REPLAY_CHUNK_BYTES)).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let length = bytes.len() as u64;
        self.entry = Some(TimelineEntry { len: entry.len.saturating_sub(length), ..entry });
        self.offset = self.offset.saturating_add(length);
        Ok(Some(ReplayChunk { stream: Some(entry.stream), t_ms: entry.t_ms, bytes }))
    }

    /// The entry that the next bytes belong to, once its line is whole.
    fn entry(&mut self) -> io::Result<Option<TimelineEntry>> {
        while self.entry.is_none_or(|entry| entry.len == 0) {
            let Some(timeline) = opened(&mut self.timeline, &self.dir.join(TIMELINE), BufReader::new)? else {
                return Ok(None);
            };
            let room = TIMELINE_LINE_MAX_BYTES.saturating_sub(self.line.len() as u64);
            timeline.take(room).read_until(b'\n', &mut self.line)?;
            let Some(whole) = self.line.strip_suffix(b"\n") else { return Ok(None) };
            let entry = serde_json::from_slice(whole).map_err(io::Error::other)?;
            self.line.clear();
            self.entry = Some(entry);
        }
        Ok(self.entry)
    }
}

/// A file of the run, opened when it is there.
fn opened<'a, T>(
    slot: &'a mut Option<T>,
    path: &Path,
    make: impl FnOnce(File) -> T,
) -> io::Result<Option<&'a mut T>> {
    if slot.is_none() {
        match private_file::open_read(path) {
            Ok(file) => *slot = Some(make(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(slot.as_mut())
}
