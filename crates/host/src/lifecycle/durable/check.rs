//! What tests hold after every step, killed or not: rows, directories and the audit trail agree.

use std::collections::BTreeSet;

use ringfence_api::PluginName;
use ringfence_sandbox::tree::Dir;

use super::recover::PACKAGES_MAX;
use crate::Error;
use crate::package;
use crate::store::{AuditVerdict, Store};

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
