//! Writing one run while it happens.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::PathBuf;

use ringfence_api::{ErrorCode, RunReport};

use super::index::{LOCK_WAIT_MAX, Missing, lock_within};
use super::{
    OUTPUT, REPORT, REPORT_TEMPORARY, ReportFile, RunId, RunMeta, RunStore, TIMELINE, TimelineEntry,
};
use crate::exec::Stream;
use crate::{Error, private_file};

/// The buffer of the timeline in bytes: some hundred pieces of output.
const TIMELINE_BUFFER_BYTES: usize = 8 * 1024;
/// After how much run time the buffered timeline is written out, so that it is there if Ringfence is killed.
const TIMELINE_FLUSH_MS: u64 = 1_000;

impl RunStore {
    /// Begins a run: takes the next id, removes what it pushes out, and notes that the run is going on.
    ///
    /// This is some ten system calls; a caller may do it while the command is already starting.
    ///
    /// # Errors
    ///
    /// `io` when the store cannot be made or written, `busy` when another process holds its index for more
    /// than 2 s. The run itself can go on without being stored.
    pub fn begin(&self, meta: RunMeta) -> Result<RunWriter, Error> {
        let Some(mut locked) = self.lock(Missing::Create)? else {
            return Err(Error::new(ErrorCode::Internal, "the store of runs was not made"));
        };
        locked.settle();
        let (id, dir) = loop {
            let id = locked.index.next;
            let dir = self.run_dir(id);
            locked.index.next =
                id.checked_add(1).ok_or_else(|| Error::new(ErrorCode::Internal, "no run id is left"))?;
            match private_file::create_dir(&dir) {
                Ok(()) => break (id, dir),
                // Begun by a process that was killed before it could say so: it is counted like any other.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => locked.index.open.push(id),
                Err(e) => return Err(Error::file("create", &dir, e)),
            }
        };
        locked.index.open.push(id);
        let RunMeta { command, started_at_ms, grants } = meta;
        let (stored_bytes, stored_truncated, report) = (0, false, None);
        let id = RunId(id);
        let content =
            ReportFile { id, command, started_at_ms, grants, stored_bytes, stored_truncated, report };
        let path = dir.join(REPORT_TEMPORARY);
        let begun = private_file::create_new(&path).and_then(|mut file| {
            // Before the index is released: until then nobody can ask whether this run is going on.
            // Only someone who just looks can hold it, and only for an instant.
            lock_within(|| file.try_lock(), LOCK_WAIT_MAX, &path).map_err(|e| io::Error::other(e.chain()))?;
            file.write_all(&serde_json::to_vec(&content)?)?;
            Ok(file)
        });
        let held = begun.map_err(|e| {
            // The directory would count as a run that never ended; it goes if it can.
            drop(fs::remove_file(&path));
            drop(fs::remove_dir(&dir));
            Error::file("write", &path, e)
        })?;
        locked.rotate(id.get());
        locked.save()?;
        let limit_bytes = self.limits.max_run_bytes.min(self.limits.max_total_bytes);
        Ok(RunWriter {
            store: self.clone(),
            dir,
            content,
            held,
            files: None,
            limit_bytes,
            used_bytes: 0,
            state: State::Good,
        })
    }
}

/// The record of one run while it happens. Dropping it without [`finish`](Self::finish) leaves a run that
/// shows as `unfinished`, with its output so far.
///
/// The files for output are made when the first byte comes. See [`RunStore`] for an example.
#[derive(Debug)]
pub struct RunWriter {
    store: RunStore,
    dir: PathBuf,
    content: ReportFile,
    /// The report file, under its temporary name; its lock tells other processes that this run goes on.
    held: File,
    files: Option<Files>,
    /// For output and timeline together.
    limit_bytes: u64,
    used_bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// The limit is reached: nothing more is stored.
    Full,
    /// Writing failed, and the caller was told.
    Failed,
}

#[derive(Debug)]
struct Files {
    output: File,
    timeline: BufWriter<File>,
    /// The last entry, which the next piece may still extend.
    entry: Option<TimelineEntry>,
    flushed_at_ms: u64,
}

impl RunWriter {
    /// The id of the run.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.content.id
    }

    /// Stores a piece of output, which should be what is shown (redacted). Pieces come in the order of
    /// reading, and `at_ms`, the time since the start of the run, does not run backwards.
    ///
    /// # Errors
    ///
    /// `io` the first time that writing fails, such as on a full disk. After that nothing is stored and nothing
    /// fails: the run goes on, and its record says `stored_truncated`.
    pub fn append(&mut self, stream: Stream, at_ms: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() || self.state != State::Good {
            self.content.stored_truncated |= !bytes.is_empty();
            return Ok(());
        }
        self.write(stream, at_ms, bytes).map_err(|e| {
            self.state = State::Failed;
            self.content.stored_truncated = true;
            Error::file("store the output of this run in", &self.dir, e)
                .with_hint("the command goes on; what it writes from here on is not stored")
        })
    }

    /// Writes out what is known of the output so far, for those who follow the run. Costs nothing when nothing came.
    ///
    /// # Errors
    ///
    /// As for [`RunWriter::append`].
    pub fn settle(&mut self) -> Result<(), Error> {
        let Some(files) = self.files.as_mut().filter(|files| files.entry.is_some()) else { return Ok(()) };
        files.end().map_err(|e| {
            self.state = State::Failed;
            self.content.stored_truncated = true;
            Error::file("store the output of this run in", &self.dir, e)
        })
    }

    fn write(&mut self, stream: Stream, at_ms: u64, bytes: &[u8]) -> io::Result<()> {
        let files = match &mut self.files {
            Some(files) => files,
            none => none.insert(Files::create(&self.dir)?),
        };
        let entry = TimelineEntry { t_ms: at_ms, stream, len: 0 };
        let extends = files.entry.is_some_and(|last| TimelineEntry { len: 0, ..last } == entry);
        // The line of this piece is not yet written; the length of its largest form is.
        let line_bytes =
            if extends { 0 } else { line(TimelineEntry { len: bytes.len() as u64, ..entry })?.len() as u64 };
        let room = self.limit_bytes.saturating_sub(self.used_bytes.saturating_add(line_bytes));
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let stored = bytes.get(..fits).unwrap_or_default();
        if fits < bytes.len() {
            self.state = State::Full;
            self.content.stored_truncated = true;
        }
        if stored.is_empty() {
            return Ok(());
        }
        files.output.write_all(stored)?;
        files.note(TimelineEntry { len: stored.len() as u64, ..entry }, extends)?;
        self.content.stored_bytes = self.content.stored_bytes.saturating_add(stored.len() as u64);
        self.used_bytes = self.used_bytes.saturating_add(line_bytes).saturating_add(stored.len() as u64);
        Ok(())
    }

    /// Ends the record: writes the report and removes the oldest runs when there is too much in all.
    ///
    /// # Errors
    ///
    /// `io` or `busy` when that fails; the run then shows as `unfinished`. A run that newer ones have already
    /// pushed out of the store is no error.
    pub fn finish(mut self, report: &RunReport) -> Result<(), Error> {
        if let Some(files) = &mut self.files
            && files.end().is_err()
        {
            // The report tells: a timeline that could not be written out is a truncated record.
            self.content.stored_truncated = true;
        }
        self.content.report = Some(report.clone());
        match self.write_report() {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.dir.exists() => return Ok(()),
            Err(e) => return Err(Error::file("write the report of this run to", &self.dir, e)),
        }
        let id = self.content.id.get();
        let Some(mut locked) = self.store.lock(Missing::Refuse)? else { return Ok(()) };
        locked.close(id);
        let newest = locked.index.next.saturating_sub(1);
        locked.rotate(newest);
        locked.save()
    }

    /// What kill -9 does to a writer: its lock is gone, and nothing buffered is written.
    #[cfg(test)]
    pub(super) fn forget_as_if_killed(self) {
        self.held.unlock().expect("the lock was held");
        std::mem::forget(self);
    }

    /// From here on output goes to `file`.
    #[cfg(test)]
    pub(super) fn break_output(&mut self, file: File) {
        self.files.as_mut().expect("something was stored before").output = file;
    }

    /// Writes the whole content over the one from the beginning, and gives it its final name: the name
    /// appears with the complete report or not at all.
    fn write_report(&mut self) -> io::Result<()> {
        let content = serde_json::to_vec(&self.content)?;
        self.held.rewind()?;
        self.held.write_all(&content)?;
        // The end is longer than the beginning; cut all the same, so that no remains can ever follow it.
        self.held.set_len(content.len() as u64)?;
        fs::rename(self.dir.join(REPORT_TEMPORARY), self.dir.join(REPORT))
    }
}

impl Files {
    fn create(dir: &std::path::Path) -> io::Result<Self> {
        let output = private_file::create_new(&dir.join(OUTPUT))?;
        let timeline = private_file::create_new(&dir.join(TIMELINE))?;
        let timeline = BufWriter::with_capacity(TIMELINE_BUFFER_BYTES, timeline);
        Ok(Self { output, timeline, entry: None, flushed_at_ms: 0 })
    }

    /// Adds a piece to the timeline: to its last entry, or as a new one.
    fn note(&mut self, entry: TimelineEntry, extends: bool) -> io::Result<()> {
        if let Some(last) = &mut self.entry {
            if extends {
                last.len = last.len.saturating_add(entry.len);
                return Ok(());
            }
            self.timeline.write_all(&line(*last)?)?;
        }
        self.entry = Some(entry);
        if entry.t_ms.saturating_sub(self.flushed_at_ms) >= TIMELINE_FLUSH_MS {
            self.flushed_at_ms = entry.t_ms;
            self.timeline.flush()?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(last) = self.entry.take() {
            self.timeline.write_all(&line(last)?)?;
        }
        self.timeline.flush()
    }
}

fn line(entry: TimelineEntry) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&entry)?;
    line.push(b'\n');
    Ok(line)
}
