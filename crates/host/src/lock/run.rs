//! Who runs a plugin at this moment, in whatever process: a lock that each running instance holds.
//!
//! An instance shares the lock of its plugin from before it reads what it may do until its sandbox has ended. Whoever
//! changes what is stored *retires* the lock after the change: the file gets another name, and later starts make a new one.
//! So an instance that holds the new file knows the change, one that knows the change may move over to the new file, and
//! when nobody holds a retired file any more, nothing runs that is older than the change.
//!
//! A second lock, on the digest of a package, says that somebody runs from its files.
//!
//! Only the host can write to the directory of these files. A retired one is marked by its length, so that whoever holds it
//! can ask without looking for its name; else their content is nothing. A file that stays behind means nothing. The locks are the kernel's and go with their process.

use std::fs::{File, TryLockError};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringfence_api::{ErrorCode, PluginName};

use super::acquire;
use crate::{Error, private_file};

/// How long a start waits for whoever looks whether a lock is free, which takes microseconds.
const HOLD_WAIT: Duration = Duration::from_secs(5);
/// Files of the directory that are looked at in one go.
const FILES_MAX: usize = 100_000;
/// Processes that one error names.
const HOLDERS_SHOWN: usize = 5;
/// The end of the name of a plugin's lock. A plugin's name has no dot, so no lock is taken for another's.
const PLUGIN: &str = ".run";
/// The end of the name of a package's lock.
const PACKAGE: &str = ".package";

/// The locks of one home.
#[derive(Clone, Debug)]
pub(crate) struct RunLocks {
    directory: PathBuf,
}

/// What tells that a name stands for the file that was opened.
type Identity = (u64, u64);

/// The right of one instance to run, until it is let go, dropped, or the process ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    path: PathBuf,
    // INVARIANT: the locks belong to these open files.
    held: Mutex<Option<Held>>,
    package: Mutex<Option<Held>>,
}

/// One shared lock.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    identity: Identity,
}

/// The locks of what was started before a change, as far as somebody holds them.
#[derive(Debug)]
pub(crate) struct Retired {
    files: Vec<(PathBuf, File)>,
}

impl RunLocks {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn plugin(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}{PLUGIN}"))
    }

    fn package(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}{PACKAGE}"))
    }

    /// The right to run a plugin, with others. Taken before what it may do is read.
    ///
    /// # Errors
    /// `io` when the file cannot be made; `busy` when it is held against us for [`HOLD_WAIT`].
    pub(crate) fn hold(&self, name: &PluginName) -> Result<RunLock, Error> {
        let path = self.plugin(name.as_str());
        let held = self.share(&path)?;
        Ok(RunLock { path, held: Mutex::new(Some(held)), package: Mutex::new(None) })
    }

    /// The lock that belongs to the plugin now, for an instance that moves over to it.
    ///
    /// # Errors
    /// As for [`RunLocks::hold`].
    pub(crate) fn share_again(&self, lock: &RunLock) -> Result<Held, Error> {
        self.share(&lock.path)
    }

    /// Keeps the files of a package from being removed for as long as `lock` is held.
    ///
    /// # Errors
    /// As for [`RunLocks::hold`].
    pub(crate) fn hold_package(&self, lock: &RunLock, digest: &str) -> Result<(), Error> {
        let held = self.share(&self.package(digest))?;
        *lock.package.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(())
    }

    fn share(&self, path: &Path) -> Result<Held, Error> {
        let failed = |error| Error::file("lock", path, error);
        let end = Instant::now() + HOLD_WAIT;
        loop {
            let file = self.open(path).map_err(|error| Error::file("open the lock", path, error))?;
            let left = end.saturating_duration_since(Instant::now());
            let locked = acquire(left, || file.try_lock_shared()).map_err(failed)?;
            let identity = identity_of(&file).map_err(failed)?;
            // Whoever retired or removed it between the opening and the lock does not know of this holder.
            if locked && identity_at(path).map_err(failed)? == Some(identity) {
                return Ok(Held { file, identity });
            }
            if Instant::now() >= end {
                let message =
                    format!("the lock '{}' is not to be had in {} s", path.display(), HOLD_WAIT.as_secs());
                return Err(Error::new(ErrorCode::Busy, message).with_hint("try again"));
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match private_file::open_or_create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match private_file::create_dir(&self.directory) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
                private_file::open_or_create(path)
            }
            opened => opened,
        }
    }

    /// After a change is durable: whoever starts from now on takes another lock. What is given back are the locks of what
    /// was started before, this change's and those of earlier ones, as far as somebody holds them.
    ///
    /// # Errors
    /// `io` when the directory cannot be read or written.
    pub(crate) fn retire(&self, name: &PluginName) -> Result<Retired, Error> {
        let path = self.plugin(name.as_str());
        self.retire_at(&path).map_err(|error| Error::file("retire the lock", &path, error))
    }

    fn retire_at(&self, path: &Path) -> io::Result<Retired> {
        if is_held(path)?.is_some() {
            let retired = self.retired_name(path);
            match std::fs::rename(path, &retired) {
                Ok(()) => mark(&retired)?,
                // Somebody else has just retired it: it is among the files below.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut files = Vec::new();
        // After the rename: a file that is renamed while a directory is read may be missed under both names.
        for retired in self.retired(path)? {
            if let Some(file) = is_held(&retired)? {
                files.push((retired, file));
            }
        }
        Ok(Retired { files })
    }

    fn retired_name(&self, path: &Path) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut name = path.file_name().unwrap_or_default().to_owned();
        // A name that was there before would lose its file, and with it those who are waited for.
        name.push(format!(".{}-{count}-{since}", std::process::id()));
        self.directory.join(name)
    }

    fn retired(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut start = path.file_name().unwrap_or_default().to_os_string();
        start.push(".");
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries.take(FILES_MAX) {
            let name = entry?.file_name();
            if name.as_encoded_bytes().starts_with(start.as_encoded_bytes()) {
                found.push(self.directory.join(name));
            }
        }
        Ok(found)
    }

    /// Whether something of this plugin runs, here or in another process, however long ago it was started. Locks that
    /// nobody holds are removed.
    ///
    /// INVARIANT: the caller holds the lifecycle lock, and no row names the plugin: so nothing is about to start.
    ///
    /// # Errors
    /// When the files cannot be looked at; then it must be taken to run.
    pub(crate) fn is_run(&self, name: &str) -> io::Result<bool> {
        let path = self.plugin(name);
        let retired = self.retire_at(&path)?;
        if retired.files.is_empty() {
            remove_free(&path)?;
        }
        Ok(!retired.files.is_empty())
    }

    /// Does `remove` with the files of a package, unless somebody runs from them. Whether it was done.
    ///
    /// # Errors
    /// When the lock cannot be looked at, and what `remove` gives.
    pub(crate) fn unless_run(
        &self,
        digest: &str,
        remove: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let path = self.package(digest);
        // Made where there is none, so that a start that is about to take it waits, and finds no package then.
        let file = self.open(&path)?;
        match file.try_lock() {
            Ok(()) if identity_at(&path)? == Some(identity_of(&file)?) => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let removed = remove().and_then(|()| remove_file(&path));
        give_back(&file);
        removed.map(|()| true)
    }
}

impl RunLock {
    /// Whether this is the lock that a start would take now. False after a change that this instance may not know.
    pub(crate) fn is_current(&self) -> bool {
        match &*self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => identity_at(&self.path).is_ok_and(|found| found == Some(held.identity)),
            None => true,
        }
    }

    /// Whether nobody has said that it is retired: what each call asks, because it takes a fifth of a microsecond and
    /// [`RunLock::is_current`] ten times that. The same, but for what retired it and ended before it could mark it; that one
    /// has not answered for its change either.
    pub(crate) fn is_unmarked(&self) -> bool {
        match &*self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => (&held.file).seek(SeekFrom::End(0)).is_ok_and(|length| length == 0),
            None => true,
        }
    }

    /// Moves over to `next`: what runs has been compared with what is stored after `next` was taken. One that has been let
    /// go stays so.
    pub(crate) fn renew(&self, next: Held) {
        if let Some(held) = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            *held = next;
        }
    }

    /// Nothing of it runs any more.
    pub(crate) fn let_go(&self) {
        self.package.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        give_back(&self.file);
    }
}

/// Unlocks. Closing the file would do so only when no process that is just being started has it, too: such a one shares it
/// from its `fork` until its `exec` (flock(2)).
fn give_back(file: &File) {
    // What is not locked or cannot be unlocked is closed next, and that is all that can be done.
    drop(file.unlock());
}

impl Retired {
    /// Whether everything that was started before the change has ended or knows it.
    ///
    /// # Errors
    /// `io` when a lock cannot be tried.
    pub(crate) fn is_over(&mut self) -> Result<bool, Error> {
        let mut left = Vec::new();
        for (path, file) in std::mem::take(&mut self.files) {
            match file.try_lock() {
                Ok(()) => remove_file(&path).map_err(|error| Error::file("remove the lock", &path, error))?,
                Err(TryLockError::WouldBlock) => left.push((path, file)),
                Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path, error)),
            }
        }
        self.files = left;
        Ok(self.files.is_empty())
    }

    /// Who holds them still, for people. The kernel knows; where it does not tell, it is another process.
    pub(crate) fn holders(&self) -> String {
        let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let mut pids: Vec<u32> = self
            .files
            .iter()
            .filter_map(|(_, file)| identity_of(file).ok())
            .flat_map(|id| holders(&table, id))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        let own = std::process::id();
        let shown: Vec<String> = pids
            .iter()
            .take(HOLDERS_SHOWN)
            .map(|pid| if *pid == own { "this process".to_owned() } else { format!("process {pid}") })
            .collect();
        match shown.is_empty() {
            true => "another process".to_owned(),
            false => shown.join(", "),
        }
    }
}

/// The file if somebody holds it. One that nobody holds and that was retired is removed.
fn is_held(path: &Path) -> io::Result<Option<File>> {
    let Some(file) = open_existing(path)? else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => {
            let is_retired = path.extension().is_none_or(|end| end != "run");
            let removed = if is_retired { remove_file(path) } else { Ok(()) };
            give_back(&file);
            removed.map(|()| None)
        }
        Err(TryLockError::WouldBlock) => Ok(Some(file)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Says to those who hold a retired file that it is one: its length is not 0 any more.
fn mark(path: &Path) -> io::Result<()> {
    match private_file::open_write(path).and_then(|file| file.set_len(1)) {
        // Its last holder has ended, and somebody has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        marked => marked,
    }
}

/// Removes a lock file unless somebody holds it. Whoever opened it before finds that it has gone, and makes another.
fn remove_free(path: &Path) -> io::Result<()> {
    let Some(file) = open_existing(path)? else { return Ok(()) };
    match file.try_lock() {
        Ok(()) => remove_file(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match private_file::open_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn identity_of(file: &File) -> io::Result<Identity> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

fn identity_at(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(|found| Some((found.dev(), found.ino()))),
    }
}

/// The processes that the kernel's table names for a file. Its device is left out: file systems that are made of others
/// show another number there than they give to the file.
fn holders(table: &str, (_, inode): Identity) -> Vec<u32> {
    let mut found = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, "FLOCK", _, "READ", pid, place, ..] = words.as_slice()
            && place.rsplit(':').next() == Some(inode.to_string().as_str())
        {
            found.extend(pid.parse::<u32>().ok().filter(|pid| *pid > 0));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks() -> (tempfile::TempDir, RunLocks, PluginName) {
        let dir = tempfile::tempdir().unwrap();
        let locks = RunLocks::new(dir.path().join("running"));
        (dir, locks, "notes".parse().unwrap())
    }

    fn files(locks: &RunLocks) -> usize {
        std::fs::read_dir(&locks.directory).unwrap().count()
    }

    #[test]
    fn a_change_waits_for_what_was_started_before_it_and_not_for_what_comes_after() {
        let (_dir, locks, name) = locks();
        assert!(locks.retire(&name).unwrap().is_over().unwrap(), "nothing has ever run");
        let before = locks.hold(&name).unwrap();
        let mut retired = locks.retire(&name).unwrap();
        let after = locks.hold(&name).unwrap();
        assert!(!retired.is_over().unwrap() && !before.is_current() && after.is_current());
        assert!(!before.is_unmarked() && after.is_unmarked(), "whoever holds it can tell without its name");
        assert_eq!(retired.holders(), "this process");
        before.let_go();
        assert!(retired.is_over().unwrap());
        assert_eq!(files(&locks), 1, "retired locks are removed");
        drop(after);
        assert!(locks.retire(&name).unwrap().is_over().unwrap());
        assert!(locks.hold(&name).unwrap().is_current(), "a lock that nobody held was not retired");
    }

    #[test]
    fn a_second_change_waits_for_what_the_first_one_has_retired() {
        let (_dir, locks, name) = locks();
        let oldest = locks.hold(&name).unwrap();
        let mut first = locks.retire(&name).unwrap();
        let mut second = locks.retire(&name).unwrap();
        assert!(!first.is_over().unwrap() && !second.is_over().unwrap());
        drop(oldest);
        assert!(second.is_over().unwrap() && first.is_over().unwrap());
    }

    #[test]
    fn who_knows_the_change_moves_over_and_is_not_waited_for() {
        let (_dir, locks, name) = locks();
        let lock = locks.hold(&name).unwrap();
        let mut retired = locks.retire(&name).unwrap();
        let next = locks.share_again(&lock).unwrap();
        assert!(!retired.is_over().unwrap());
        lock.renew(next);
        assert!(lock.is_current() && retired.is_over().unwrap());
        // What has been let go takes nothing up again.
        let next = locks.share_again(&lock).unwrap();
        lock.let_go();
        lock.renew(next);
        assert!(!locks.is_run(name.as_str()).unwrap());
    }

    #[test]
    fn what_runs_in_any_age_counts_and_free_files_go() {
        let (_dir, locks, name) = locks();
        let old = locks.hold(&name).unwrap();
        drop(locks.retire(&name).unwrap());
        assert!(locks.is_run(name.as_str()).unwrap());
        let other: PluginName = "note".parse().unwrap();
        assert!(!locks.is_run(other.as_str()).unwrap(), "a name that begins another is another");
        drop(old);
        assert!(!locks.is_run(name.as_str()).unwrap());
        assert_eq!(files(&locks), 0);
    }

    #[test]
    fn a_process_that_is_just_being_started_keeps_no_lock() {
        let (_dir, locks, name) = locks();
        let lock = locks.hold(&name).unwrap();
        locks.hold_package(&lock, "abc").unwrap();
        // As a process has it that was forked and has not called `exec` yet.
        let copy =
            |held: &Mutex<Option<Held>>| held.lock().unwrap().as_ref().unwrap().file.try_clone().unwrap();
        let copies = [copy(&lock.held), copy(&lock.package)];
        assert!(locks.is_run(name.as_str()).unwrap() && !locks.unless_run("abc", || Ok(())).unwrap());
        drop(lock);
        assert!(!locks.is_run(name.as_str()).unwrap() && locks.unless_run("abc", || Ok(())).unwrap());
        drop(copies);
    }

    #[test]
    fn the_files_of_a_package_stay_while_somebody_runs_from_them() {
        let (_dir, locks, name) = locks();
        let lock = locks.hold(&name).unwrap();
        locks.hold_package(&lock, "abc").unwrap();
        let mut removed = false;
        assert!(
            !locks
                .unless_run("abc", || {
                    removed = true;
                    Ok(())
                })
                .unwrap()
                && !removed
        );
        lock.let_go();
        assert!(
            locks
                .unless_run("abc", || {
                    removed = true;
                    Ok(())
                })
                .unwrap()
                && removed
        );
        assert!(locks.unless_run("other", || Ok(())).unwrap(), "nobody has ever run from it");
    }

    #[test]
    fn the_kernel_says_who_holds_a_lock() {
        let table = "1: FLOCK  ADVISORY  WRITE 11 fe:00:42 0 EOF\n2: FLOCK  ADVISORY  READ 12 fe:00:42 0 EOF\n\
                     2: -> FLOCK  ADVISORY  READ 13 fe:00:42 0 EOF\n3: POSIX  ADVISORY  READ 14 fe:00:42 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 15 fe:00:421 0 EOF\n5: FLOCK  ADVISORY  READ 0 fe:00:42 0 EOF\n";
        assert_eq!(holders(table, (0, 42)), [12]);
        assert!(holders("", (0, 42)).is_empty());
    }
}
