//! After a crash: directories become what the rows say, and the check that they are.

use std::collections::BTreeSet;
use std::ffi::OsString;

use ringfence_api::PluginName;
use ringfence_sandbox::tree::Dir;

use super::data_dirs;
use crate::Error;
use crate::lock::LifecycleLock;
use crate::package;
use crate::store::{AuditVerdict, Store};

/// Packages that are looked at in one go.
const PACKAGES_MAX: usize = 100_000;

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

/// Removes packages that no row names, and settles the data directories.
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
            let mut removed = false;
            for name in packages.names(PACKAGES_MAX).map_err(failed)? {
                if !named.contains(&name) {
                    removed = true;
                    if let Err(error) = packages.remove_tree(&name) {
                        tracing::warn!(package = %name.display(), error = %error, "a package is removed later");
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

/// What a look at the whole home found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreReport {
    /// Plugins whose rows were edited by hand.
    pub(crate) broken_seals: Vec<PluginName>,
    /// Packages that are missing, were changed, or that no row names, each with the reason.
    pub(crate) packages: Vec<String>,
    /// Data directories that are missing or that no row names.
    pub(crate) data: Vec<String>,
    /// What lies in `staging`.
    pub(crate) staging: Vec<String>,
    /// The audit trail.
    pub(crate) audit: AuditVerdict,
}

impl StoreReport {
    /// Whether everything is as it should be.
    pub(crate) fn is_clean(&self) -> bool {
        self.broken_seals.is_empty()
            && self.packages.is_empty()
            && self.data.is_empty()
            && self.staging.is_empty()
            && self.audit.first_bad.is_none()
    }
}

/// Compares rows, directories and the audit trail. It changes nothing; what another process does meanwhile may be shown.
///
/// # Errors
/// `busy` or `io` when something cannot be read.
pub(crate) fn check(store: &Store) -> Result<StoreReport, Error> {
    let layout = store.layout();
    let names = |path: &std::path::Path| match Dir::open_no_follow(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        opened => opened
            .and_then(|dir| dir.names(PACKAGES_MAX))
            .map(|names| names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
            .map_err(|e| Error::file("read", path, e)),
    };
    let difference = |wanted: BTreeSet<String>, found: BTreeSet<String>| {
        let missing = wanted.difference(&found).map(|name| format!("{name} is missing"));
        let unknown = found.difference(&wanted).map(|name| format!("{name} has no row"));
        missing.chain(unknown).collect::<Vec<_>>()
    };
    let digests: BTreeSet<String> = store.package_digests()?.into_iter().collect();
    let mut packages = difference(digests.clone(), names(&layout.packages())?);
    for digest in &digests {
        if let Err(error) = package::verify(store, digest) {
            packages.push(error.chain());
        }
    }
    let plugins = store.plugins()?.iter().map(|row| row.name().as_str().to_owned()).collect();
    let kept = store.kept_data()?;
    let kept =
        kept.iter().map(|owner| crate::store::Layout::kept_name(owner.name().as_str(), owner.publisher()));
    let mut data = difference(plugins, names(&layout.data_dirs())?);
    data.extend(difference(kept.collect(), names(&layout.kept_dirs())?));
    Ok(StoreReport {
        broken_seals: store.broken_seals()?,
        packages,
        data,
        staging: names(&layout.staging())?.into_iter().collect(),
        audit: store.audit_verify()?,
    })
}
