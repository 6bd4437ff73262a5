//! After a crash: directories become what the rows say.

use std::collections::BTreeSet;
use std::ffi::OsString;

use ringfence_sandbox::tree::Dir;

use super::data_dirs;
use crate::Error;
use crate::lock::{LifecycleLock, RunLocks};
use crate::package;
use crate::store::Store;

/// Packages that are looked at in one go.
pub(super) const PACKAGES_MAX: usize = 100_000;

/// Removes what killed processes left behind and finishes what they began. Called once when a home is opened for changes;
/// it writes nothing when nothing is to be done.
///
/// # Errors
/// `busy` when another process installs, upgrades or uninstalls for longer than 30 s; `io`.
pub(crate) fn recover(store: &Store) -> Result<(), Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let staging = store.layout().staging();
    package::remove_stale(&staging).map_err(|e| Error::file("clear", &staging, e))?;
    sweep(store)
}

/// Removes what an earlier step had to leave because something still ran from it.
///
/// # Errors
/// `busy` when another process installs, upgrades or uninstalls for longer than 30 s; `io`.
pub(crate) fn tidy(store: &Store) -> Result<(), Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    sweep(store)
}

/// Removes packages that no row names, and settles the data directories. What still runs keeps both.
///
/// INVARIANT: the caller holds the lifecycle lock.
pub(super) fn sweep(store: &Store) -> Result<(), Error> {
    let path = store.layout().packages();
    let failed = |error| Error::file("clear", &path, error);
    match Dir::open_no_follow(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        opened => {
            let packages = opened.map_err(failed)?;
            let named: BTreeSet<OsString> =
                store.package_digests()?.into_iter().map(OsString::from).collect();
            let locks = RunLocks::new(store.layout().running());
            let mut removed = false;
            for name in packages.names(PACKAGES_MAX).map_err(failed)? {
                if !named.contains(&name) {
                    let digest = name.to_string_lossy();
                    match locks.unless_run(&digest, || packages.remove_tree(&name)) {
                        Ok(done) => removed |= done,
                        Err(error) => {
                            removed = true;
                            tracing::warn!(package = %name.display(), error = %error, "a package is removed later");
                        }
                    }
                }
            }
            if removed {
                packages.sync().map_err(failed)?;
            }
        }
    }
    data_dirs::settle(store)
}

/// The same after the rows were changed: a failure is logged, and the next recovery does it.
pub(super) fn sweep_later(store: &Store) {
    if let Err(error) = sweep(store) {
        tracing::warn!(error = error.chain(), "directories that are not needed are removed later");
    }
}
