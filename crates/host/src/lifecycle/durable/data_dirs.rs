//! The private data directories: made with the plugin, kept or removed with it, never inherited by another publisher.
//!
//! `data/NAME` belongs to the installed plugin of that name; `kept/NAME-PUBLISHER` waits for the same name by the same
//! publisher. Rows decide: [`settle`] moves and removes directories until they are as the rows say, and is repeated after a
//! crash.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use ringfence_sandbox::tree::Dir;

use crate::store::{Layout, Owner, Store};
use crate::{Error, private_file};

/// Directories that are looked at in one go.
const DIRECTORIES_MAX: usize = 100_000;

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    |error| Error::file("arrange the data directories in", path, error)
}

fn open_or_make(path: &Path) -> Result<Dir, Error> {
    match private_file::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(path)(error)),
        Ok(()) => crate::store::sync_parent(path).map_err(failed(path))?,
        Err(_) => {}
    }
    Dir::open_no_follow(path).map_err(failed(path))
}

/// Makes the directory of a plugin that is about to have a row, unless one of it waits: that one comes with
/// [`settle`].
///
/// INVARIANT: [`settle`] ran before under the same lock, so nothing without a row has that name.
pub(super) fn make(layout: &Layout, owner: &Owner, kept: &[Owner]) -> Result<(), Error> {
    if kept.contains(owner) {
        return Ok(());
    }
    let path = layout.data_dirs();
    let data = open_or_make(&path)?;
    let made = data.create_dir(OsStr::new(owner.name().as_str()), 0o700);
    made.and_then(|_| data.sync()).map_err(failed(&path))
}

/// Brings the directories to what the rows say. It writes nothing when they are so.
///
/// INVARIANT: the caller holds the lifecycle lock.
pub(super) fn settle(store: &Store) -> Result<(), Error> {
    let plugins: BTreeMap<String, Owner> =
        store.plugins()?.iter().map(|row| (row.name().as_str().to_owned(), row.owner())).collect();
    let waiting = store.kept_data()?;
    let layout = store.layout();
    let dirs = Dirs { data: open_or_make(&layout.data_dirs())?, kept: open_or_make(&layout.kept_dirs())? };
    let changed = dirs
        .put_away(&plugins, &waiting)
        .and_then(|away| Ok(dirs.bring_back(&plugins, &waiting)? || away))
        .and_then(|back| Ok(dirs.forget(&waiting)? || back))
        .map_err(failed(&layout.data_dirs()))?;
    if changed {
        dirs.kept.sync().and_then(|()| dirs.data.sync()).map_err(failed(&layout.data_dirs()))?;
    }
    Ok(())
}

/// Each step gives whether it changed anything.
struct Dirs {
    data: Dir,
    kept: Dir,
}

impl Dirs {
    /// Directories of plugins that were uninstalled are kept, or removed.
    fn put_away(&self, plugins: &BTreeMap<String, Owner>, waiting: &[Owner]) -> std::io::Result<bool> {
        let mut changed = false;
        for name in self.data.names(DIRECTORIES_MAX)? {
            if name.to_str().is_some_and(|name| plugins.contains_key(name)) {
                continue;
            }
            // A name has at most one owner that waits without its directory: the one that had it last.
            let last = waiting
                .iter()
                .find(|owner| name == owner.name().as_str() && self.kept.status(&kept_name(owner)).is_err());
            match last {
                Some(owner) => self.data.rename_new(&name, &self.kept, &kept_name(owner))?,
                None => self.data.remove_tree(&name)?,
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Plugins that are back get their directory back; those without one get an empty one.
    fn bring_back(&self, plugins: &BTreeMap<String, Owner>, waiting: &[Owner]) -> std::io::Result<bool> {
        let mut changed = false;
        for (name, owner) in plugins {
            let (name, kept_name) = (OsStr::new(name), kept_name(owner));
            if self.kept.status(&kept_name).is_ok() && !waiting.contains(owner) {
                self.data.remove_tree(name)?;
                self.kept.rename_new(&kept_name, &self.data, name)?;
                changed = true;
            } else if self.data.status(name).is_err() {
                drop(self.data.create_dir(name, 0o700)?);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Directories that nobody waits for any more are removed.
    fn forget(&self, waiting: &[Owner]) -> std::io::Result<bool> {
        let waiting: BTreeSet<OsString> = waiting.iter().map(kept_name).collect();
        let mut changed = false;
        for name in self.kept.names(DIRECTORIES_MAX)? {
            if !waiting.contains(&name) {
                self.kept.remove_tree(&name)?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

fn kept_name(owner: &Owner) -> OsString {
    Layout::kept_name(owner.name().as_str(), owner.publisher()).into()
}
