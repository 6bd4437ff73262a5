//! Who may use a home at the same time: any number of hosts, one of which may be its daemon.
//!
//! The lock is one of the kernel on an open file, so it goes with its process, however that ends; the file itself may
//! stay behind and means nothing. A second lock serialises the short durable steps of install, upgrade and uninstall
//! between all processes. What runs is the business of [`run`].

mod run;

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfence_api::ErrorCode;

pub(crate) use run::{Retired, RunLock, RunLocks};

use crate::{Error, Home, private_file};

/// How long a daemon waits for one that is just stopping.
pub(crate) const HOME_WAIT: Duration = Duration::from_secs(5);
/// How long a lifecycle step waits for that of another process.
pub(crate) const LIFECYCLE_WAIT: Duration = Duration::from_secs(30);
/// How often a lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// The longest text of a holder that is read, in bytes.
const HOLDER_MAX_BYTES: u64 = 64;

/// The right to be the daemon of a home, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct HomeLock {
    // INVARIANT: the lock belongs to this open file; closing it is what gives the lock back.
    _file: File,
}

impl HomeLock {
    /// The home for a daemon, the only one.
    ///
    /// # Errors
    /// `busy`, after at most `wait`, when another daemon has the home, naming its process; `io` when the
    /// lock file cannot be made.
    pub(crate) fn daemon(home: &Home, wait: Duration) -> Result<Self, Error> {
        let (mut file, path) = open(home, "daemon.lock")?;
        if !acquire(wait, || file.try_lock()).map_err(|e| Error::file("lock", &path, e))? {
            return Err(busy(&mut file, home));
        }
        let pid = format!("{}\n", std::process::id());
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes()));
        written.map_err(|e| Error::file("write", &path, e))?;
        Ok(Self { _file: file })
    }
}

/// The right to take the durable steps of a lifecycle operation, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct LifecycleLock {
    _file: File,
}

impl LifecycleLock {
    /// Waits for the operations of others to end.
    ///
    /// # Errors
    /// `busy` after [`LIFECYCLE_WAIT`]; `io` when the lock file cannot be made.
    pub(crate) fn acquire(home: &Path) -> Result<Self, Error> {
        Self::acquire_within(home, LIFECYCLE_WAIT)
    }

    fn acquire_within(home: &Path, wait: Duration) -> Result<Self, Error> {
        let path = home.join("lifecycle.lock");
        let file = private_file::open_or_create(&path).map_err(|e| Error::file("open the lock", &path, e))?;
        if acquire(wait, || file.try_lock()).map_err(|e| Error::file("lock", &path, e))? {
            return Ok(Self { _file: file });
        }
        Err(Error::new(
            ErrorCode::Busy,
            format!(
                "another install, upgrade or uninstall in '{}' has not ended in {} s",
                home.display(),
                wait.as_secs()
            ),
        )
        .with_hint("try again when it is done"))
    }
}

fn open(home: &Home, name: &str) -> Result<(File, PathBuf), Error> {
    home.create()?;
    let path = home.path().join(name);
    let file = private_file::open_or_create(&path).map_err(|e| Error::file("open the lock", &path, e))?;
    Ok((file, path))
}

fn acquire(wait: Duration, mut attempt: impl FnMut() -> Result<(), TryLockError>) -> std::io::Result<bool> {
    let end = Instant::now() + wait;
    loop {
        match attempt() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= end => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY_EVERY),
        }
    }
}

/// The refusal, with the process that wrote its number last if it still runs.
fn busy(file: &mut File, home: &Home) -> Error {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(HOLDER_MAX_BYTES).read_to_string(&mut text));
    let holder = match text.trim().parse::<u32>() {
        // A number of a daemon that has ended says nothing about who holds the lock now.
        Ok(pid) if read.is_ok() && is_alive(pid) => format!("a daemon (process {pid})"),
        _ => "another daemon".to_owned(),
    };
    Error::new(ErrorCode::Busy, format!("{holder} holds the home '{}'", home.path().display()))
        .with_hint("stop it, wait for it, or set RINGFENCE_HOME to another directory")
}

/// Without /proc nobody is known to have ended.
fn is_alive(pid: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        (dir, home)
    }

    #[test]
    fn a_second_daemon_is_refused_and_told_who_holds_the_home() {
        let (_dir, home) = home();
        let first = HomeLock::daemon(&home, Duration::ZERO).unwrap();
        let error = HomeLock::daemon(&home, Duration::ZERO).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Busy);
        assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        HomeLock::daemon(&home, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_daemon_waits_for_one_that_is_just_stopping() {
        let (_dir, home) = home();
        let first = HomeLock::daemon(&home, Duration::ZERO).unwrap();
        let waits = home.clone();
        assert_waits(first, move || HomeLock::daemon(&waits, Duration::from_secs(20)).is_ok());
    }

    /// What wants the lock has not got it as long as it is held, and gets it when it is let go.
    fn assert_waits(held: impl Sized, wants: impl FnOnce() -> bool + Send + 'static) {
        let (told, got) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            told.send(None).unwrap();
            told.send(Some(wants())).unwrap();
        });
        assert_eq!(got.recv(), Ok(None), "it has begun");
        let early = got.recv_timeout(Duration::from_millis(200));
        assert!(early.is_err(), "it did not wait: {early:?}");
        drop(held);
        assert_eq!(got.recv(), Ok(Some(true)));
        waiting.join().unwrap();
    }

    #[test]
    fn lifecycle_steps_wait_for_each_other_and_not_for_ever() {
        let (_dir, home) = home();
        home.create().unwrap();
        let held = LifecycleLock::acquire(home.path()).unwrap();
        let error = LifecycleLock::acquire_within(home.path(), Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Busy);
        let place = home.path().to_owned();
        assert_waits(held, move || LifecycleLock::acquire_within(&place, Duration::from_secs(20)).is_ok());
    }
}
