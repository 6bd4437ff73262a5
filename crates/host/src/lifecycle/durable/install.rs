//! Install: a directory becomes a package in the store and a plugin that awaits consent.

use std::path::Path;

use ringfence_api::{ErrorCode, Manifest};

use super::{data_dirs, recover};
use crate::Error;
use crate::clock::now_ms;
use crate::lock::LifecycleLock;
use crate::manifest::{self, Loaded};
use crate::package::{self, Staged};
use crate::store::{Actor, Owner, PackageRow, PluginRow, Store};

/// A look at the copy of a package before it is installed: whether the policy admits it, and whether a Python class exists, for
/// example. It never gets the stranger's directory, which may change while it is looked at.
pub(crate) type Inspect<'a> = &'a dyn Fn(&Path, &Manifest, &PackageRow) -> Result<(), Error>;

/// Where a package lies, and what people call it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// A directory that holds it, or holds one that does.
    Directory(&'a Path),
    /// An archive that was unpacked; `name` is that of the archive.
    Unpacked {
        /// What was unpacked.
        package: &'a package::Unpacked,
        /// The archive's.
        name: &'a Path,
    },
}

impl Origin<'_> {
    fn path(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Unpacked { package, .. } => package.path(),
        }
    }

    /// What is written down of where it came from.
    fn record(&self, found: &Path) -> String {
        match self {
            Self::Directory(_) => {
                std::path::absolute(found).unwrap_or_else(|_| found.to_owned()).to_string_lossy().into_owned()
            }
            Self::Unpacked { package, name } => {
                format!("{} sha256:{}", name.display(), package.contents().sha256)
            }
        }
    }

    /// An error in words of whoever named the package: they know nothing of where it was unpacked.
    fn tell(&self, error: Error) -> Error {
        match self {
            Self::Directory(_) => error,
            Self::Unpacked { package, name } => renamed(&error, package.path(), name),
        }
    }
}

/// What an install gives.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// The plugin as it is now.
    pub(crate) row: PluginRow,
    /// Whether anything was done; not, when the same package was installed already.
    pub(crate) changed: bool,
    /// What a dialect's fields became, and what of the directory was left out.
    pub(crate) notes: Vec<String>,
}

/// A package that was copied, read and judged, and that no row names yet. Dropped, the copy is removed.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) staged: Staged,
    pub(super) loaded: Loaded,
    pub(super) row: PackageRow,
}

impl Candidate {
    pub(super) fn notes(&self) -> Vec<String> {
        let skipped = self.staged.skipped().iter();
        let skipped = skipped.map(|skipped| format!("{} was left out: it {}", skipped.path, skipped.why));
        self.loaded.notes.iter().map(ToString::to_string).chain(skipped).collect()
    }
}

/// Copies the package (or the one directly below it) and judges the copy.
///
/// # Errors
/// `path_not_found`, `invalid_package`, `invalid_manifest` or `too_large` naming what is wrong; what `inspect` refuses; `io`.
/// Nothing is left behind.
pub(super) fn prepare(store: &Store, origin: Origin<'_>, inspect: Inspect<'_>) -> Result<Candidate, Error> {
    copy_and_judge(store, origin, inspect).map_err(|error| origin.tell(error))
}

fn copy_and_judge(store: &Store, origin: Origin<'_>, inspect: Inspect<'_>) -> Result<Candidate, Error> {
    let found = package::find(origin.path())?;
    // The original first: most mistakes are found before anything is copied. What counts is the copy.
    manifest::load(&found)?;
    let staged = package::stage(&found, store.layout())?;
    let original = |error: &Error| renamed(error, staged.path(), &found);
    let loaded = manifest::load(staged.path()).map_err(|findings| original(&findings.into()))?;
    manifest::entry_point(staged.path(), &loaded.manifest).map_err(|finding| original(&finding.into()))?;
    let owner = Owner::unsigned(&loaded.manifest);
    let manifest = serde_json::to_string(&loaded.manifest)
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot write the manifest down").with_source(e))?;
    let row = PackageRow {
        digest: staged.listing().digest(),
        plugin: owner.name().clone(),
        publisher: owner.publisher().to_owned(),
        version: loaded.manifest.version.clone(),
        manifest,
        source: origin.record(&found),
        stored_at_ms: now_ms(),
    };
    inspect(staged.path(), &loaded.manifest, &row).map_err(|error| original(&error))?;
    Ok(Candidate { staged, loaded, row })
}

/// The same error, with the path that the caller knows in place of that of a copy.
fn renamed(error: &Error, copy: &Path, known: &Path) -> Error {
    let (from, to) = (copy.display().to_string(), known.display().to_string());
    let renamed = Error::new(error.code(), error.chain().replace(&from, &to));
    match error.hint() {
        Some(hint) => renamed.with_hint(hint.replace(&from, &to)),
        None => renamed,
    }
}

/// Installs a package, or the one that lies in a directory directly below it. On the disk, with its audit
/// record, before it returns. The same package again changes nothing.
///
/// # Errors
/// Those of the package, as above; `already_installed` when the name has another package; `busy` when another process
/// installs, upgrades or uninstalls for longer than 30 s. Then nothing was changed and nothing is left behind.
pub(crate) fn install(
    store: &Store,
    origin: Origin<'_>,
    by: &Actor,
    inspect: Inspect<'_>,
) -> Result<Placed, Error> {
    let candidate = prepare(store, origin, inspect)?;
    let notes = candidate.notes();
    let Candidate { staged, row, .. } = candidate;
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    if let Some(found) = store.plugin(&row.plugin)? {
        if found.package.digest == row.digest {
            return Ok(Placed { row: found, changed: false, notes });
        }
        // The row refuses it too; here nothing was renamed yet.
        return Err(crate::store::already_installed(&found, &row));
    }
    // First, so that nothing which an uninstall left behind is taken for this plugin's.
    recover::sweep(store)?;
    staged.publish(&store.layout().packages(), &row.digest)?;
    let placed = data_dirs::make(store.layout(), &row.owner(), &store.kept_data()?)
        .and_then(|()| store.add_plugin(row, by));
    // Without a row the directories are litter; with one, data that waited comes back.
    recover::sweep_later(store);
    Ok(Placed { row: placed?, changed: true, notes })
}
