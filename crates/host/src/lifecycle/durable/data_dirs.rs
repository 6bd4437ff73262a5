//! The private data directories: made with the plugin, kept or removed with it, never inherited by another publisher.
//!
//! `data/NAME` belongs to the installed plugin of that name; `kept/NAME-PUBLISHER` waits for the same name by the same
//! publisher. Rows decide: [`settle`] moves and removes directories until they are as the rows say, and is repeated after a
//! crash. What is in them, and even their modes, is the plugin's doing: nothing there may keep others from theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use ringfence_api::ErrorCode;
use ringfence_sandbox::tree::{Dir, random};

use crate::lock::RunLocks;
use crate::store::{Layout, Owner, Store};
use crate::{Error, private_file};

/// Directories that are looked at in one go.
const DIRECTORIES_MAX: usize = 100_000;
/// How the name of what is being removed begins; no name of a plugin does.
const REMOVED: &str = ".removed-";

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    |error| Error::file("arrange the data directories in", path, error)
}

fn open_or_make(path: &Path) -> Result<Dir, Error> {
    match private_file::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(path)(error)),
        Ok(()) => private_file::sync_parent(path).map_err(failed(path))?,
        Err(_) => {}
    }
    Dir::open_no_follow(path).map_err(failed(path))
}

/// Makes the directory of a plugin that is about to have a row, unless one of it waits: that one comes with
/// [`settle`].
///
/// # Errors
/// `busy` when a plugin of that name that was uninstalled still runs; `io`, also when something that belongs to nobody could not be moved out of the way: nobody inherits it.
///
/// INVARIANT: [`settle`] ran before under the same lock, so nothing without a row has that name.
pub(super) fn make(layout: &Layout, owner: &Owner, kept: &[Owner]) -> Result<(), Error> {
    let path = layout.data_dirs();
    let data = open_or_make(&path)?;
    let name = OsStr::new(owner.name().as_str());
    if data.status(name).is_ok()
        && RunLocks::new(layout.running()).is_run(owner.name().as_str()).map_err(failed(&path))?
    {
        let message =
            format!("a plugin '{}' that was uninstalled still runs in another process", owner.name());
        return Err(Error::new(ErrorCode::Busy, message)
            .with_hint("try again when that process has gone on, or end it"));
    }
    if kept.contains(owner) {
        return match data.status(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(&path)(error)),
            Ok(_) => Err(failed(&path.join(name))(io::ErrorKind::AlreadyExists.into())),
        };
    }
    data.create_dir(name, 0o700).and_then(|_| data.sync()).map_err(failed(&path))
}

/// Brings the directories to what the rows say. It writes nothing when they are so.
///
/// What cannot be done for one plugin is logged and tried again the next time; it keeps no other from its data, and no home
/// from being opened.
///
/// # Errors
/// `io` and `busy` when the rows or the home's own directories cannot be read.
///
/// INVARIANT: the caller holds the lifecycle lock.
pub(super) fn settle(store: &Store) -> Result<(), Error> {
    let plugins: BTreeMap<String, Owner> =
        store.plugins()?.iter().map(|row| (row.name().as_str().to_owned(), row.owner())).collect();
    let waiting = store.kept_data()?;
    let layout = store.layout();
    let mut dirs = Dirs {
        data: open_or_make(&layout.data_dirs())?,
        kept: open_or_make(&layout.kept_dirs())?,
        locks: RunLocks::new(layout.running()),
        changed: false,
    };
    dirs.put_away(&plugins, &waiting).map_err(failed(&layout.data_dirs()))?;
    dirs.bring_back(&plugins, &waiting);
    dirs.forget(&waiting).map_err(failed(&layout.kept_dirs()))?;
    if dirs.changed {
        dirs.kept.sync().and_then(|()| dirs.data.sync()).map_err(failed(&layout.data_dirs()))?;
    }
    Ok(())
}

struct Dirs {
    data: Dir,
    kept: Dir,
    locks: RunLocks,
    /// Whether either was.
    changed: bool,
}

impl Dirs {
    /// Directories of plugins that were uninstalled are kept, or removed.
    fn put_away(&mut self, plugins: &BTreeMap<String, Owner>, waiting: &[Owner]) -> io::Result<()> {
        for name in self.data.names(DIRECTORIES_MAX)? {
            if name.to_str().is_some_and(|name| plugins.contains_key(name)) {
                continue;
            }
            // What still runs keeps its directory until it has ended.
            match self.locks.is_run(&name.to_string_lossy()) {
                Ok(false) => {}
                Ok(true) => continue,
                Err(error) => {
                    self.note(&name, Err(error));
                    continue;
                }
            }
            // A name has at most one owner that waits without its directory: the one that had it last.
            let last = waiting
                .iter()
                .find(|owner| name == owner.name().as_str() && self.kept.status(&kept_name(owner)).is_err());
            let done = match last {
                Some(owner) => hand_over(&self.data, &name, &self.kept, &kept_name(owner)),
                None => discard(&self.data, &name),
            };
            self.note(&name, done);
        }
        Ok(())
    }

    /// Plugins that are back get their directory back; those without one get an empty one.
    fn bring_back(&mut self, plugins: &BTreeMap<String, Owner>, waiting: &[Owner]) {
        for (name, owner) in plugins {
            let (name, kept_name) = (OsStr::new(name), kept_name(owner));
            let done = if self.kept.status(&kept_name).is_ok() && !waiting.contains(owner) {
                discard(&self.data, name).and_then(|()| hand_over(&self.kept, &kept_name, &self.data, name))
            } else if self.data.status(name).is_err() {
                self.data.create_dir(name, 0o700).map(drop)
            } else {
                continue;
            };
            self.note(name, done);
        }
    }

    /// Directories that nobody waits for any more are removed.
    fn forget(&mut self, waiting: &[Owner]) -> io::Result<()> {
        let waiting: BTreeSet<OsString> = waiting.iter().map(kept_name).collect();
        for name in self.kept.names(DIRECTORIES_MAX)? {
            if !waiting.contains(&name) {
                let done = discard(&self.kept, &name);
                self.note(&name, done);
            }
        }
        Ok(())
    }

    fn note(&mut self, name: &OsStr, done: io::Result<()>) {
        self.changed = true;
        if let Err(error) = done {
            tracing::warn!(directory = %name.display(), error = %error, "a data directory is put in its place later");
        }
    }
}

/// Moves a directory. Its entry `..` changes, so its owner must be allowed to write it, whatever the plugin made of its mode.
fn hand_over(from: &Dir, name: &OsStr, to: &Dir, new_name: &OsStr) -> io::Result<()> {
    drop(from.open_dir_with(name, 0o700)?);
    from.rename_new(name, to, new_name)
}

/// Removes a directory, after its name was taken from it: whoever gets the name next finds nothing of it, even when it cannot
/// be removed. What is left is tried again the next time.
fn discard(dir: &Dir, name: &OsStr) -> io::Result<()> {
    let aside = if name.as_encoded_bytes().starts_with(REMOVED.as_bytes()) {
        name.to_owned()
    } else {
        let mut bytes = [0; 8];
        random(&mut bytes)?;
        let aside = OsString::from(format!("{REMOVED}{:016x}", u64::from_ne_bytes(bytes)));
        match dir.rename_new(name, dir, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        aside
    };
    if let Err(error) = dir.remove_tree(&aside) {
        tracing::warn!(directory = %name.display(), error = %error, "what a plugin left is removed later");
    }
    Ok(())
}

fn kept_name(owner: &Owner) -> OsString {
    Layout::kept_name(owner.name().as_str(), owner.publisher()).into()
}
