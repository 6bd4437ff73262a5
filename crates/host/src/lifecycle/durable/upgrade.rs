//! Upgrade: another version waits beside the one that runs, until it is accepted or abandoned; and the way back.

use std::path::Path;

use ringfence_api::{ErrorCode, Manifest, Permission, PluginName};

use super::install::{Candidate, Inspect, Origin, prepare};
use super::recover;
use crate::lock::LifecycleLock;
use crate::store::{Actor, PackageRow, PluginRow, Store, UpgradeGrants};
use crate::{Error, package};

/// What the new version asks for beyond what was asked before: given the plugin, the copy of the new package, and its
/// manifest.
pub(crate) type Wider<'a> = &'a dyn Fn(&PluginRow, &Path, &Manifest) -> Result<Vec<Permission>, Error>;

/// An upgrade that waits.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    /// The plugin, with the version that waits in `pending`; without, when the very same package is installed.
    pub(crate) row: PluginRow,
    /// What is asked for beyond before.
    pub(crate) wider: Vec<Permission>,
}

/// Copies and judges another version of an installed plugin and lets it wait, in place of one that waited before. The
/// plugin runs on as it is. On the disk, with its audit record, before it returns. The package that is installed changes
/// nothing, and ends the waiting of another.
///
/// # Errors
/// Those of the package; `not_found` when no plugin of that name is installed; `usage` without `allow_downgrade` for an
/// older version or other bytes of the same version; what `wider` refuses; `permission_denied` when the plugin's seal does
/// not fit; `busy`; `io`.
pub(crate) fn stage_upgrade(
    store: &Store,
    origin: Origin<'_>,
    allow_downgrade: bool,
    by: &Actor,
    inspect: Inspect<'_>,
    wider: Wider<'_>,
) -> Result<Staged, Error> {
    let candidate = prepare(store, origin, inspect)?;
    let Candidate { staged, loaded, row } = candidate;
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let current = store.trusted(&row.plugin)?.plugin;
    if current.package.digest == row.digest {
        let row = match current.pending {
            Some(_) => store.abandon_upgrade(current.name(), by)?,
            None => current,
        };
        recover::sweep_later(store);
        return Ok(Staged { row, wider: Vec::new() });
    }
    if !allow_downgrade {
        require_newer(&current, &row)?;
    }
    let wider = wider(&current, staged.path(), &loaded.manifest)?;
    let added = wider.iter().map(ToString::to_string).collect();
    staged.publish(&store.layout().packages(), &row.digest)?;
    let staged = store.stage_upgrade(row, &current.package.digest, added, by);
    // Either the version that waited before has no row any more, or after a failure the new one.
    recover::sweep_later(store);
    Ok(Staged { row: staged?, wider })
}

fn require_newer(current: &PluginRow, row: &PackageRow) -> Result<(), Error> {
    let installed = &current.package.version;
    let what = match row.version.cmp_precedence(installed) {
        std::cmp::Ordering::Greater => return Ok(()),
        std::cmp::Ordering::Equal => format!("another package of version {installed} is installed"),
        std::cmp::Ordering::Less => format!("version {installed} is installed, and {} is older", row.version),
    };
    Err(Error::new(ErrorCode::Usage, format!("plugin '{}' is not upgraded: {what}", current.name()))
        .with_hint("give the package a higher version, or say --allow-downgrade"))
}

/// Makes the version that waits the installed one. The version before is kept, with its grants, for [`rollback`]. Grants
/// that are to be kept, and whose permission the new version does not ask for at all, are gone.
///
/// # Errors
/// `not_found` without a waiting version; `busy` when it is not the one of this digest any more; `invalid_package` when its
/// files were changed meanwhile; `consent_required` when grants are to be kept over a change of publisher;
/// `permission_denied`, `busy`, `io`.
pub(crate) fn commit_upgrade(
    store: &Store,
    name: &PluginName,
    digest: &str,
    granted: UpgradeGrants,
    by: &Actor,
) -> Result<PluginRow, Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let pending = store.trusted(name)?.plugin.pending;
    // Before its files are looked at: those of a version that another process has put away are gone.
    if pending.as_ref().is_none_or(|pending| pending.digest != digest) {
        let message = format!("the version of plugin '{name}' that waited is not waiting any more");
        return Err(
            Error::new(ErrorCode::Busy, message).with_hint("somebody else has changed it; look again")
        );
    }
    let granted = match (granted, pending) {
        (UpgradeGrants::Keep(mut rows), Some(pending)) => {
            let asked = pending.manifest()?.requested().map_err(|e| {
                Error::new(ErrorCode::InvalidPermission, "a permission of the manifest is not valid")
                    .with_source(e)
            })?;
            rows.retain(|row| asked.iter().any(|(asked, _)| asked.name() == row.permission.name()));
            UpgradeGrants::Keep(rows)
        }
        (granted, _) => granted,
    };
    package::verify(store, digest)?;
    let row = store.commit_upgrade(name, digest, granted, by)?;
    recover::sweep_later(store);
    Ok(row)
}

/// Forgets the version that waits, and removes its files. The plugin runs on as it is.
///
/// # Errors
/// `not_found` without a waiting version; `conflict` when it is not the one of this digest; `permission_denied`, `busy`, `io`.
pub(crate) fn abandon_upgrade(
    store: &Store,
    name: &PluginName,
    digest: Option<&str>,
    by: &Actor,
) -> Result<PluginRow, Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let pending = store.trusted(name)?.plugin.pending;
    if let (Some(pending), Some(digest)) = (pending, digest)
        && pending.digest != digest
    {
        let message = format!("another version of {name} has come to wait since this one was looked at");
        return Err(Error::new(ErrorCode::Conflict, message).with_hint("look at what it asks for now"));
    }
    let row = store.abandon_upgrade(name, by)?;
    recover::sweep_later(store);
    Ok(row)
}

/// Brings the version before the last upgrade back, with the grants it had, and removes the files of the one that goes.
///
/// # Errors
/// `not_found` when there is none; `invalid_package` when its files were changed meanwhile: then nothing happens;
/// `permission_denied`, `busy`, `io`.
pub(crate) fn rollback(
    store: &Store,
    name: &PluginName,
    reason: &str,
    by: &Actor,
) -> Result<PluginRow, Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    if let Some(previous) = store.trusted(name)?.plugin.previous {
        package::verify(store, &previous.digest)?;
    }
    let row = store.rollback(name, reason, by)?;
    recover::sweep_later(store);
    Ok(row)
}
