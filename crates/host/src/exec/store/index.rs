//! The index of the stored runs, and with it the rotation.
//!
//! Every change happens under an exclusive lock of the index file. Its text is small and written with one
//! call, so a process that is killed leaves either the old or the new one; anything else is noticed and
//! rebuilt. The old one then still has the runs that the killed process was removing: they are the oldest, so
//! the next rotation comes upon them first, finds them missing or without a report, and counts everything
//! again.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use ringfence_api::ErrorCode;

use super::{FILES, REPORT, REPORT_TEMPORARY, RunStore, is_real_dir, number};
use crate::{Error, private_file};

const INDEX: &str = "index";
const FIRST_LINE: &str = "ringfence-runs 1";
const LAST_LINE: &str = "end";
/// An index is some hundred bytes: 200 open runs of seven digits are 1.6 KB.
const INDEX_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// How long another process may hold the lock. Each holds it for microseconds; a stopped one for ever.
pub(super) const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(1);
/// How many runs that never ended are looked at when a new one begins: the work stays small even when
/// hundreds run at once.
const SETTLE_MAX: usize = 8;

/// What the index file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    /// The next id.
    pub(super) next: u64,
    /// The smallest id that may still exist; `next` when there is none.
    pub(super) oldest: u64,
    /// All files of the ended runs, in bytes.
    pub(super) total_bytes: u64,
    /// Runs that began and are not counted in `total_bytes`.
    pub(super) open: Vec<u64>,
}

impl Index {
    pub(super) const fn empty() -> Self {
        Self { next: 1, oldest: 1, total_bytes: 0, open: Vec::new() }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        if value("ringfence-runs")? != "1" {
            return None;
        }
        let next = number(value("next")?)?;
        let oldest = number(value("oldest")?)?;
        let total_bytes = value("total")?.parse().ok()?;
        let open = value("open")?.split_terminator(' ').map(number).collect::<Option<Vec<_>>>()?;
        let sound = oldest <= next && lines.next()? == LAST_LINE;
        sound.then_some(Self { next, oldest, total_bytes, open })
    }

    pub(super) fn text(&self) -> String {
        let open: Vec<String> = self.open.iter().map(u64::to_string).collect();
        let Self { next, oldest, total_bytes, .. } = self;
        let open = open.join(" ");
        format!("{FIRST_LINE}\nnext {next}\noldest {oldest}\ntotal {total_bytes}\nopen {open}\n{LAST_LINE}\n")
    }
}

/// The index while its lock is held.
pub(super) struct Locked<'a> {
    store: &'a RunStore,
    file: File,
    pub(super) index: Index,
}

/// Whether a missing store is to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

impl RunStore {
    /// Locks and reads the index; `None` when there is no store and none is to be made.
    pub(super) fn lock(&self, missing: Missing) -> Result<Option<Locked<'_>>, Error> {
        let path = self.runs.join(INDEX);
        match is_real_dir(&self.runs) {
            Ok(true) => {}
            Ok(false) => return Err(self.not_a_directory()),
            Err(e) if e.kind() == io::ErrorKind::NotFound && missing == Missing::Refuse => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.create()?,
            Err(e) => return Err(Error::file("open", &self.runs, e)),
        }
        let mut file = private_file::open_or_create(&path).map_err(|e| Error::file("open", &path, e))?;
        lock_within(|| file.try_lock(), LOCK_WAIT_MAX, &path)?;
        let index = self.read_or_scan(&mut file)?;
        Ok(Some(Locked { store: self, file, index }))
    }

    /// The index as it is now, without making or changing anything; `None` when there is no store.
    pub(super) fn read_index(&self) -> Result<Option<Index>, Error> {
        let path = self.runs.join(INDEX);
        match is_real_dir(&self.runs) {
            Ok(true) => {}
            Ok(false) => return Err(self.not_a_directory()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file("open", &self.runs, e)),
        }
        let mut file = match private_file::open_read(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.scan().map(Some),
            Err(e) => return Err(Error::file("open", &path, e)),
        };
        lock_within(|| file.try_lock_shared(), LOCK_WAIT_MAX, &path)?;
        self.read_or_scan(&mut file).map(Some)
    }

    fn read_or_scan(&self, file: &mut File) -> Result<Index, Error> {
        let mut text = String::new();
        let read = file.take(INDEX_MAX_BYTES).read_to_string(&mut text);
        match read.ok().and_then(|_| Index::parse(&text)) {
            Some(index) => Ok(index),
            None => self.scan(),
        }
    }

    fn not_a_directory(&self) -> Error {
        let message = format!("'{}' is not a directory", self.runs.display());
        Error::new(ErrorCode::Io, message)
            .with_hint("a link is not followed here; set RINGFENCE_HOME instead")
    }

    fn create(&self) -> Result<(), Error> {
        self.home.create()?;
        match private_file::create_dir(&self.runs) {
            // Another process was quicker.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(|e| Error::file("create", &self.runs, e)),
        }
    }

    /// Builds the index from the directories: only when there is none that can be used.
    fn scan(&self) -> Result<Index, Error> {
        Ok(self.count(&self.ids()?))
    }

    /// The ids of all runs that have a directory, in no order.
    fn ids(&self) -> Result<Vec<u64>, Error> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.runs).map_err(|e| Error::file("list", &self.runs, e))? {
            let name = entry.map_err(|e| Error::file("list", &self.runs, e))?.file_name();
            ids.extend(name.to_str().and_then(number));
        }
        Ok(ids)
    }

    /// The index of a store that has exactly these runs.
    fn count(&self, ids: &[u64]) -> Index {
        let mut index = Index::empty();
        for &id in ids {
            if self.is_running(id) {
                index.open.push(id);
            } else {
                index.total_bytes = index.total_bytes.saturating_add(self.size_of(id));
            }
        }
        index.open.sort_unstable();
        index.next = ids.iter().max().map_or(1, |id| id.saturating_add(1));
        index.oldest = ids.iter().min().copied().unwrap_or(index.next);
        index
    }

    /// Whether the process that began this run still holds it.
    pub(super) fn is_running(&self, id: u64) -> bool {
        let report = private_file::open_read(&self.run_dir(id).join(REPORT_TEMPORARY));
        // What cannot be asked counts as over: its files are then counted and can be rotated.
        report.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The sizes of the files of a run together, in bytes.
    fn size_of(&self, id: u64) -> u64 {
        let dir = self.run_dir(id);
        let size = |name| fs::symlink_metadata(dir.join(name)).map_or(0, |found| found.len());
        FILES.into_iter().map(size).fold(0, u64::saturating_add)
    }

    /// Removes a run and tells what was found in its place. What cannot be removed is no reason to fail: it
    /// goes when the runs are counted again.
    fn remove(&self, id: u64) -> Found {
        let dir = self.run_dir(id);
        match is_real_dir(&dir) {
            Ok(true) => {}
            Ok(false) => {
                // A link in the place of a run: the link goes, what it points to stays.
                drop(fs::remove_file(&dir));
                return Found::Remains;
            }
            Err(_) => return Found::Remains,
        }
        let mut found = Found::Remains;
        for name in FILES {
            let removed = fs::remove_file(dir.join(name));
            let missing = matches!(&removed, Err(e) if e.kind() == io::ErrorKind::NotFound);
            if !missing && [REPORT, REPORT_TEMPORARY].contains(&name) {
                found = Found::Run;
            }
        }
        // Something else lies in it: then all of it goes, links unfollowed.
        drop(fs::remove_dir(&dir).or_else(|_| fs::remove_dir_all(&dir)));
        found
    }
}

/// What was in the place of a run that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// A run with a report, begun or complete: what was counted for it is what it had.
    Run,
    /// Nothing, or a run without any report: somebody removed it or a part of it before, or its process was
    /// killed in its first moment. What was counted for it may not be what it had.
    Remains,
}

pub(super) fn lock_within(
    try_lock: impl Fn() -> Result<(), TryLockError>,
    patience: Duration,
    path: &Path,
) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if started.elapsed() < patience => std::thread::sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => {
                let message =
                    format!("another process has held '{}' for {} s", path.display(), patience.as_secs());
                return Err(Error::new(ErrorCode::Busy, message).with_hint("is a ringfence process stopped?"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::file("lock", path, e)),
        }
    }
}

impl Locked<'_> {
    /// Counts the runs whose process is gone.
    pub(super) fn settle(&mut self) {
        let candidates: Vec<u64> = self.index.open.iter().copied().take(SETTLE_MAX).collect();
        for id in candidates {
            if !self.store.is_running(id) {
                self.close(id);
            }
        }
    }

    /// Counts a run that has ended; a run that is already counted or removed is left as it is.
    pub(super) fn close(&mut self, id: u64) {
        if let Some(place) = self.index.open.iter().position(|&open| open == id) {
            self.index.open.remove(place);
            self.index.total_bytes = self.index.total_bytes.saturating_add(self.store.size_of(id));
        }
    }

    /// Removes the oldest runs while there are more than the limits allow; `newest` stays in any case.
    pub(super) fn rotate(&mut self, newest: u64) {
        let limits = self.store.limits;
        let mut recounted = false;
        loop {
            let Index { next, oldest, total_bytes, .. } = self.index;
            let count = next - oldest;
            let too_much = count > limits.max_runs.max(1) || total_bytes > limits.max_total_bytes;
            if !too_much || oldest >= newest.min(next) {
                return;
            }
            // Once is enough, as nobody else changes what was counted while the lock is held.
            if self.evict(oldest) == Found::Remains && !recounted {
                self.recount();
                recounted = true;
            }
        }
    }

    fn evict(&mut self, id: u64) -> Found {
        match self.index.open.iter().position(|&open| open == id) {
            Some(place) => {
                self.index.open.remove(place);
            }
            None => self.index.total_bytes = self.index.total_bytes.saturating_sub(self.store.size_of(id)),
        }
        self.index.oldest = id + 1;
        self.store.remove(id)
    }

    /// Counts what is there: a process was killed while it removed runs, or somebody removed some by hand.
    ///
    /// A directory that cannot be listed leaves the index as it is.
    fn recount(&mut self) {
        let Ok(mut ids) = self.store.ids() else { return };
        ids.retain(|&id| {
            let kept = id >= self.index.oldest;
            if !kept {
                // Removed before, and something was left: no list shows it, and no rotation would meet it.
                self.store.remove(id);
            }
            kept
        });
        let counted = self.store.count(&ids);
        // A process that was killed while it began a run has not moved `next`. Its run is counted now, and must
        // not be met, and counted, a second time.
        let next = self.index.next.max(counted.next);
        let oldest = if ids.is_empty() { next } else { counted.oldest };
        self.index = Index { next, oldest, ..counted };
    }

    /// Writes the index and releases the lock.
    pub(super) fn save(mut self) -> Result<(), Error> {
        let text = self.index.text();
        let path = self.store.runs.join(INDEX);
        // What a longer text left behind the last line is never read: cutting it off would only cost time.
        let written = self.file.rewind().and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|e| Error::file("write", &path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_as_it_was_written() {
        for index in [
            Index::empty(),
            Index { next: 17, oldest: 3, total_bytes: 12_345, open: vec![] },
            Index { next: u64::MAX, oldest: u64::MAX, total_bytes: u64::MAX, open: vec![5, 16] },
        ] {
            assert_eq!(Index::parse(&index.text()), Some(index.clone()));
            let with_remains = index.text() + "nd\nleft over";
            assert_eq!(Index::parse(&with_remains), Some(index));
        }
    }

    #[test]
    fn anything_else_is_not_an_index() {
        let good = Index { next: 17, oldest: 3, total_bytes: 5, open: vec![4, 5] }.text();
        for cut in 0..good.len() - 1 {
            assert_eq!(Index::parse(&good[..cut]), None, "{cut}");
        }
        for (from, to) in [
            ("runs 1", "runs 2"),
            ("next 17", "next 2"),
            ("next 17", "next x"),
            ("total 5", "total -5"),
            ("open 4 5", "open 4  5"),
            ("oldest 3", "oldest 0"),
            ("end", "END"),
        ] {
            assert_eq!(Index::parse(&good.replace(from, to)), None, "{to}");
        }
    }

    #[test]
    fn a_lock_that_is_never_released_is_an_error_and_not_a_hang() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let holder = private_file::open_or_create(&path).unwrap();
        holder.lock().unwrap();
        let waiter = private_file::open_or_create(&path).unwrap();
        let error = lock_within(|| waiter.try_lock(), Duration::from_millis(5), &path).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Busy);
        drop(holder);
        lock_within(|| waiter.try_lock_shared(), Duration::ZERO, &path).unwrap();
    }
}
