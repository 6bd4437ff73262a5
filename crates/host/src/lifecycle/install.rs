//! Install: a directory becomes a package in the store and a plugin that awaits consent.
//!
//! Copy to staging → read and judge the copy → rename below its digest → one transaction with the row and its audit
//! record. Whoever is killed in between leaves the old state and a directory that no row names, which
//! [`recover`](super::recover) removes.

use std::path::{Path, PathBuf};

use ringfence_api::{ErrorCode, Manifest};

use super::{data_dirs, recover};
use crate::Error;
use crate::lock::LifecycleLock;
use crate::manifest::{self, Loaded};
use crate::package::{self, Skipped, Staged};
use crate::store::{Owner, PackageRow, PluginRow, Store, now_ms};

/// A look at a staged package before it is installed: the check of a Python class in the sandbox, for example.
///
/// It gets the copy, never the stranger's directory.
pub(crate) type Inspect<'a> = &'a dyn Fn(&Path, &Loaded) -> Result<(), Error>;

/// What an install gives.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// The plugin as it is now.
    pub(crate) plugin: PluginRow,
    /// Whether anything was done; not, when the same package was installed already.
    pub(crate) changed: bool,
    /// What a dialect's fields became.
    pub(crate) notes: Vec<manifest::Note>,
    /// What of the directory was left out.
    pub(crate) skipped: Vec<Skipped>,
}

/// A package that was copied, read and judged, and that no row names yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(super) staged: Staged,
    pub(super) loaded: Loaded,
    pub(super) row: PackageRow,
}

impl Candidate {
    /// What it says of itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.loaded.manifest
    }

    /// Name and publisher.
    pub(crate) fn owner(&self) -> Owner {
        self.row.owner()
    }

    /// Its row.
    pub(crate) fn package(&self) -> &PackageRow {
        &self.row
    }
}

/// Copies the package at `path` (or the one directly below it) and judges it. Nothing is installed; dropped, the copy is
/// removed.
///
/// # Errors
/// `path_not_found`, `invalid_package`, `invalid_manifest` or `too_large` naming what is wrong; what `inspect` refuses; `io`.
pub(crate) fn prepare(store: &Store, path: &Path, inspect: Inspect<'_>) -> Result<Candidate, Error> {
    let found = package::find(path)?;
    let source = std::path::absolute(&found).unwrap_or_else(|_| found.clone());
    // The manifest of the original first: most mistakes are found before anything is copied. What counts is the copy.
    manifest::load(&found)?;
    let staged = package::stage(&found, store.layout())?;
    let loaded =
        manifest::load(staged.path()).map_err(|findings| original(findings.into(), &staged, &found))?;
    manifest::entry_point(staged.path(), &loaded.manifest)
        .map_err(|finding| original(finding.into(), &staged, &found))?;
    inspect(staged.path(), &loaded)?;
    let owner = Owner::unsigned(&loaded.manifest);
    let manifest = serde_json::to_string(&loaded.manifest)
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot write the manifest down").with_source(e))?;
    let row = PackageRow {
        digest: staged.listing().digest(),
        plugin: owner.name().clone(),
        publisher: owner.publisher().to_owned(),
        version: loaded.manifest.version.clone(),
        manifest,
        source: source.to_string_lossy().into_owned(),
        stored_at_ms: now_ms(),
    };
    Ok(Candidate { staged, loaded, row })
}

/// The same error with the path that the caller knows in place of that of the copy.
fn original(error: Error, staged: &Staged, package: &Path) -> Error {
    let (from, to) = (staged.path().display().to_string(), package.display().to_string());
    let renamed = Error::new(error.code(), error.message().replace(&from, &to));
    match error.hint() {
        Some(hint) => renamed.with_hint(hint),
        None => renamed,
    }
}

/// Installs the package at `path`, or the one that lies in a directory directly below it. On the disk, with its audit
/// record, before it returns. The same package again changes nothing.
///
/// # Errors
/// As [`prepare`]; `already_installed` when the name has another package; `busy` when another process installs, upgrades
/// or uninstalls for longer than 30 s. Then nothing was changed and nothing is left behind.
pub(crate) fn install(store: &Store, path: &Path, inspect: Inspect<'_>) -> Result<Installed, Error> {
    let candidate = prepare(store, path, inspect)?;
    let Candidate { staged, loaded, row } = candidate;
    let (notes, skipped) = (loaded.notes, staged.skipped().to_vec());
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let (name, digest) = (row.plugin.clone(), row.digest.clone());
    if let Some(found) = store.plugin(&name)? {
        if found.package.digest == digest {
            return Ok(Installed { plugin: found, changed: false, notes, skipped });
        }
        // The row refuses it too; here nothing was renamed yet.
        return Err(already_installed(&found, &row));
    }
    // First, so that nothing which an uninstall left behind is taken for this plugin's.
    recover::sweep(store)?;
    staged.publish(&store.layout().packages(), &digest)?;
    data_dirs::make(store.layout(), &row.owner(), &store.kept_data()?)?;
    let plugin = match store.add_plugin(row) {
        Ok(plugin) => plugin,
        Err(error) => {
            // Without a row the directories are litter; if this fails too, the next recovery takes them.
            recover::sweep_later(store);
            return Err(error);
        }
    };
    recover::sweep_later(store);
    Ok(Installed { plugin, changed: true, notes, skipped })
}

fn already_installed(found: &PluginRow, row: &PackageRow) -> Error {
    Error::new(
        ErrorCode::AlreadyInstalled,
        format!(
            "plugin '{}' is installed in version {}, and this is another package of version {}",
            found.name(),
            found.package.version,
            row.version
        ),
    )
    .with_hint("use `ringfence upgrade`, or uninstall it first")
}

/// Where the package of a plugin is, for starting it.
///
/// # Errors
/// `invalid_package` when anything of it was changed since it was installed.
pub(crate) fn verified_package(store: &Store, plugin: &PluginRow) -> Result<PathBuf, Error> {
    package::verify(store, &plugin.package.digest)?;
    Ok(store.layout().package(&plugin.package.digest))
}
