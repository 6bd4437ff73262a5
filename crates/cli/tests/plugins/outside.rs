//! What others wrote and tests use: installed once, in exactly one version, into the build directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One installation at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// What is missing, and why that is known.
pub(crate) type Missing = (&'static str, String);

/// Where something is installed, after `install` has done it there; `None`, and the need is said, when it could not.
pub(crate) fn installed(what: &str, install: impl FnOnce(&Path) -> Result<(), Missing>) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside").join(what.replace(['/', '@'], "_"));
    // A test that failed while it held the lock has installed all or nothing.
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let complete = place.join("complete");
    if complete.is_file() {
        return Some(place);
    }
    std::fs::remove_dir_all(&place).ok();
    std::fs::create_dir_all(&place).unwrap();
    match install(&place) {
        Ok(()) => {
            std::fs::write(complete, what).unwrap();
            Some(place)
        }
        Err((need, why)) => {
            ringfence_testkit::missing(need, &format!("{what} cannot be installed: {why}"));
            None
        }
    }
}

/// Runs a program that fails where `need` is missing.
pub(crate) fn run(need: &'static str, command: &mut Command) -> Result<(), Missing> {
    let output = command.output().map_err(|error| (need, error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err((need, last.to_owned()))
}
