//! Uninstall: rows first, in one transaction, then the directories that no row names any more.

use ringfence_api::PluginName;

use super::recover;
use crate::Error;
use crate::lock::LifecycleLock;
use crate::store::{Actor, KeepData, Store};

/// Removes a plugin: its rows, grants, consents, configuration and packages, and its data unless that is kept for the same
/// name by the same publisher. The caller has stopped it. On the disk, with its audit record, before it returns.
///
/// # Errors
/// `not_found` without such a plugin; `busy` when another process installs, upgrades or uninstalls for longer than 30 s;
/// `io`. Then the plugin is still there. Directories that cannot be removed are left to the next recovery.
pub(crate) fn uninstall(store: &Store, name: &PluginName, keep: KeepData, by: &Actor) -> Result<(), Error> {
    let _lock = LifecycleLock::acquire(store.layout().home())?;
    store.remove_plugin(name, keep, by)?;
    recover::sweep_later(store);
    Ok(())
}
