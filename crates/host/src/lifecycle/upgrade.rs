//! Upgrade: another version waits beside the one that runs, until it is accepted or abandoned; and the way back.
//!
//! These are the durable steps. Stopping, starting and judging health belong to the supervisor, which calls
//! [`commit_upgrade`] when consent is there, and [`rollback`] when the new version is not healthy.

use std::path::Path;

use ringfence_api::{ErrorCode, Manifest, Permission, PluginName};
use ringfence_policy::{CanonicalPath, Effect, Rule, Vars, is_wider};

use super::install::{Candidate, Inspect, prepare};
use super::recover;
use crate::Error;
use crate::lock::LifecycleLock;
use crate::manifest::Note;
use crate::package::Skipped;
use crate::store::{Consent, GrantRow, PackageRow, PluginRow, Store, UpgradeGrants};

/// Where relative scopes of both manifests are taken from when they are compared: the place does not matter, only that it
/// is the same.
const COMPARED_AT: &str = "/package";

/// Whether an older version, or other bytes of the same version, may replace what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Downgrade {
    /// The version must rise.
    Refuse,
    /// `--allow-downgrade`.
    Allow,
}

/// What changes in what a plugin asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PermissionDiff {
    /// Asked for now, and not covered by what was asked for before; with whether it is optional.
    pub(crate) added: Vec<(Permission, bool)>,
    /// Asked for before, and not covered by what is asked for now.
    pub(crate) removed: Vec<Permission>,
}

/// An upgrade that waits.
#[derive(Clone, Debug)]
pub(crate) struct StagedUpgrade {
    /// The plugin, with the version that waits in `pending`.
    pub(crate) plugin: PluginRow,
    /// What changes.
    pub(crate) diff: PermissionDiff,
    /// Whether it is by another publisher: then everything is asked anew, and nothing is inherited.
    pub(crate) publisher_changed: bool,
    /// What a dialect's fields became.
    pub(crate) notes: Vec<Note>,
    /// What of the directory was left out.
    pub(crate) skipped: Vec<Skipped>,
}

impl StagedUpgrade {
    /// Whether a person must be asked before [`commit_upgrade`].
    pub(crate) fn needs_consent(&self) -> bool {
        self.publisher_changed || !self.diff.added.is_empty()
    }
}

fn rules(permissions: &[Permission]) -> Result<Vec<Rule>, Error> {
    let base = CanonicalPath::new(COMPARED_AT)
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot compare permissions").with_source(e))?;
    // Without a home `~` cannot be compared; the place matters as little as that of the package.
    let home = CanonicalPath::new("/user")
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot compare permissions").with_source(e))?;
    let data = CanonicalPath::new("/data")
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot compare permissions").with_source(e))?;
    let vars = Vars::new(base).with_home(home).with_data(data);
    permissions
        .iter()
        .map(|permission| {
            Rule::parse(Effect::Allow, &permission.to_string(), &vars, "manifest").map_err(|e| {
                Error::new(
                    ErrorCode::InvalidPermission,
                    format!("the permission '{permission}' of the manifest cannot be granted: {e}"),
                )
            })
        })
        .collect()
}

/// The members of `wanted` that `held` does not have all of.
fn beyond(wanted: &[Permission], held: &[Permission]) -> Result<Vec<Permission>, Error> {
    let (wanted_rules, held_rules) = (rules(wanted)?, rules(held)?);
    let mut beyond = Vec::new();
    for (permission, rule) in wanted.iter().zip(&wanted_rules) {
        if !is_wider(std::slice::from_ref(rule), &held_rules).is_empty() && !beyond.contains(permission) {
            beyond.push(permission.clone());
        }
    }
    Ok(beyond)
}

fn requested(manifest: &Manifest) -> Result<Vec<(Permission, bool)>, Error> {
    manifest.requested().map_err(|e| {
        Error::new(ErrorCode::InvalidPermission, "a permission of the manifest is not valid").with_source(e)
    })
}

/// What changes from one manifest to another.
///
/// # Errors
/// `invalid_permission` when a scope is no pattern.
pub(crate) fn compare(old: &Manifest, new: &Manifest) -> Result<PermissionDiff, Error> {
    let (old, new) = (requested(old)?, requested(new)?);
    let names = |list: &[(Permission, bool)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let added = beyond(&names(&new), &names(&old))?;
    let removed = beyond(&names(&old), &names(&new))?;
    let added = added.into_iter().map(|permission| {
        // Asked for twice, it is optional only when it is so each time.
        let optional = new.iter().filter(|(name, _)| *name == permission).all(|(_, optional)| *optional);
        (permission, optional)
    });
    Ok(PermissionDiff { added: added.collect(), removed })
}

/// Copies and judges another version of an installed plugin and lets it wait. The plugin runs on as it is. On the disk, with
/// its audit record, before it returns.
///
/// # Errors
/// As [`prepare`]; `not_found` when no plugin of that name is installed; `already_installed` for the very same package, and
/// without [`Downgrade::Allow`] for an older version or other bytes of the same version; `permission_denied` when the
/// plugin's seal does not fit; `busy`; `io`.
pub(crate) fn stage_upgrade(
    store: &Store,
    path: &Path,
    downgrade: Downgrade,
    inspect: Inspect<'_>,
    by: &str,
) -> Result<StagedUpgrade, Error> {
    let Candidate { staged, loaded, row } = prepare(store, path, inspect)?;
    let (notes, skipped) = (loaded.notes, staged.skipped().to_vec());
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let current = store.trusted(&row.plugin)?.plugin;
    judge_version(&current, &row, downgrade)?;
    let diff = compare(&current.package.manifest()?, &loaded.manifest)?;
    let publisher_changed = current.package.publisher != row.publisher;
    staged.publish(&store.layout().packages(), &row.digest)?;
    let added = diff.added.iter().map(|(permission, _)| permission.to_string()).collect();
    let staged_row = store.stage_upgrade(row, &current.package.digest, added, by);
    // Either the version that waited before, or on failure the new one, has no row any more.
    recover::sweep_later(store);
    Ok(StagedUpgrade { plugin: staged_row?, diff, publisher_changed, notes, skipped })
}

fn judge_version(current: &PluginRow, row: &PackageRow, downgrade: Downgrade) -> Result<(), Error> {
    let (name, installed) = (current.name(), &current.package);
    if installed.digest == row.digest {
        return Err(Error::new(
            ErrorCode::AlreadyInstalled,
            format!("this very package of plugin '{name}' {} is installed", row.version),
        )
        .with_hint("there is nothing to upgrade"));
    }
    if downgrade == Downgrade::Allow || row.version > installed.version {
        return Ok(());
    }
    let what = if row.version == installed.version {
        format!("another package of the same version {} is installed", row.version)
    } else {
        format!("version {} is installed, and {} is older", installed.version, row.version)
    };
    Err(Error::new(ErrorCode::AlreadyInstalled, format!("plugin '{name}' is not upgraded: {what}"))
        .with_hint("give the package a higher version, or say --allow-downgrade"))
}

/// What a person must be asked for the version that waits, computed again from the rows: another process may commit what
/// one has staged.
///
/// # Errors
/// `not_found` without such a plugin or a waiting version; `permission_denied` when the seal does not fit.
pub(crate) fn pending_upgrade(store: &Store, name: &PluginName) -> Result<StagedUpgrade, Error> {
    let plugin = store.trusted(name)?.plugin;
    let Some(pending) = &plugin.pending else {
        return Err(Error::new(ErrorCode::NotFound, format!("no other version of plugin '{name}' waits"))
            .with_hint("stage one with `ringfence upgrade`"));
    };
    let diff = compare(&plugin.package.manifest()?, &pending.manifest()?)?;
    let publisher_changed = plugin.package.publisher != pending.publisher;
    Ok(StagedUpgrade { plugin, diff, publisher_changed, notes: Vec::new(), skipped: Vec::new() })
}

/// Makes the version that waits the installed one. With `consent` its grants become all grants; without, those of the old
/// grants stay that the new version still asks for. The version before is kept for [`rollback`].
///
/// # Errors
/// `consent_required` when more is asked for, or by another publisher, and `consent` is `None`; `not_found` without a
/// waiting version; `invalid_package` when its files were changed meanwhile; `permission_denied`, `busy`, `io`.
pub(crate) fn commit_upgrade(
    store: &Store,
    name: &PluginName,
    consent: Option<Consent>,
    by: &str,
) -> Result<PluginRow, Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let waiting = pending_upgrade(store, name)?;
    let Some(pending) = &waiting.plugin.pending else {
        return Err(Error::new(ErrorCode::Internal, "the waiting version is gone"));
    };
    crate::package::verify(store, &pending.digest)?;
    let granted = match consent {
        Some(consent) => UpgradeGrants::Consented(consent),
        None if waiting.needs_consent() => return Err(consent_required(name, &waiting)),
        None => UpgradeGrants::Keep(still_asked(&store.grants(name)?, &pending.manifest()?)?),
    };
    let digest = pending.digest.clone();
    let row = store.commit_upgrade(name, &digest, granted, by)?;
    recover::sweep_later(store);
    Ok(row)
}

fn still_asked(grants: &[GrantRow], manifest: &Manifest) -> Result<Vec<GrantRow>, Error> {
    let asked: Vec<_> = requested(manifest)?.into_iter().map(|(permission, _)| permission).collect();
    let held: Vec<_> = grants.iter().map(|grant| grant.permission.clone()).collect();
    let gone = beyond(&held, &asked)?;
    Ok(grants.iter().filter(|grant| !gone.contains(&grant.permission)).cloned().collect())
}

fn consent_required(name: &PluginName, waiting: &StagedUpgrade) -> Error {
    let added: Vec<_> = waiting.diff.added.iter().map(|(permission, _)| permission.to_string()).collect();
    let what = match (waiting.publisher_changed, added.is_empty()) {
        (true, _) => "is by another publisher".to_owned(),
        (false, _) => format!("asks for more: {}", added.join(", ")),
    };
    Error::new(ErrorCode::ConsentRequired, format!("the new version of plugin '{name}' {what}"))
        .with_hint("the version before runs on; look at what is asked and accept it, all or less")
}

/// Forgets the version that waits, and removes its files.
///
/// # Errors
/// `not_found` without a waiting version; `permission_denied`, `busy`, `io`.
pub(crate) fn abandon_upgrade(store: &Store, name: &PluginName, by: &str) -> Result<PluginRow, Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    let row = store.abandon_upgrade(name, by)?;
    recover::sweep_later(store);
    Ok(row)
}

/// Brings the version before the last upgrade back, with the grants it had, and removes the files of the one that goes.
/// The caller has stopped it.
///
/// # Errors
/// `not_found` when there is none; `invalid_package` when its files were changed meanwhile: then nothing happens;
/// `permission_denied`, `busy`, `io`.
pub(crate) fn rollback(store: &Store, name: &PluginName, reason: &str, by: &str) -> Result<PluginRow, Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    if let Some(previous) = store.trusted(name)?.plugin.previous {
        crate::package::verify(store, &previous.digest)?;
    }
    let row = store.rollback(name, reason, by)?;
    recover::sweep_later(store);
    Ok(row)
}
