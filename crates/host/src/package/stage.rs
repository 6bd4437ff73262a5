//! The copy of a package on its way into the store.
//!
//! It is made below `staging` under a name that nobody can guess, in a directory of mode 0700 that is locked as long as its
//! maker lives: what is not locked was left behind by a process that was killed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ringfence_api::ErrorCode;
use ringfence_sandbox::tree::{Dir, random};

use super::archive::{self, Beneath, Contents};
use super::walk::{Leave, Skipped, walk};
use super::{Listing, Problem};
use crate::lock::LifecycleLock;
use crate::store::{Layout, hex};
use crate::{Error, private_file};

/// The only entry of a staging directory: the copy.
const CONTENT: &str = "package";
/// Random bytes of a staging name.
const NAME_BYTES: usize = 16;
/// Staging directories that are looked at in one recovery.
const STALE_MAX: usize = 100_000;

/// A directory of ours below `staging`. Dropped, it is removed.
#[derive(Debug)]
struct Place {
    staging: Dir,
    name: String,
    outer: Dir,
    path: PathBuf,
    // INVARIANT: the lock belongs to this open file; it tells others that the directory is not left over.
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.staging.remove_tree(OsStr::new(&self.name)) {
            // The next recovery removes it.
            tracing::warn!(error = %error, "a staging directory was not removed");
        }
    }
}

/// A complete copy that nobody names yet. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    place: Place,
    listing: Listing,
    skipped: Vec<Skipped>,
}

/// An archive that was unpacked, and that is not judged as a package yet. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Unpacked {
    place: Place,
    contents: Contents,
}

impl Unpacked {
    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// What it holds.
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }
}

impl Staged {
    /// Where the copy is, for reading its manifest.
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// What it holds.
    pub(crate) fn listing(&self) -> &Listing {
        &self.listing
    }

    /// What of the original was left out.
    pub(crate) fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Moves the copy to `packages/DIGEST`, durably. What lies there already is the same package, or was changed since: then
    /// it is replaced.
    ///
    /// INVARIANT: the caller holds the lifecycle lock, so no recovery removes the directory before a row names it.
    ///
    /// # Errors
    /// `io`; then nothing with that name was made.
    pub(crate) fn publish(self, packages: &Path, digest: &str) -> Result<(), Error> {
        let failed = |error| Error::file("store the package in", packages, error);
        let target = open_or_make(packages).map_err(failed)?;
        let name = OsStr::new(digest);
        match target.open_dir(name) {
            Ok(found) => {
                let same =
                    walk(&found, None, Leave::Nothing).is_ok_and(|found| found.listing.digest() == digest);
                if same {
                    found.set_mode(0o555).map_err(failed)?;
                    return Ok(());
                }
                target.remove_tree(name).map_err(failed)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => target.remove_tree(name).map_err(failed)?,
        }
        self.place.outer.rename_new(OsStr::new(CONTENT), &target, name).map_err(failed)?;
        target.open_dir(name).and_then(|moved| moved.set_mode(0o555)).map_err(failed)?;
        target.sync().map_err(failed)
    }
}

/// Copies a package below the staging directory of a home, reads the copy again from there, and compares.
///
/// # Errors
/// `invalid_package` or `too_large` naming what is refused; `io` when it cannot be read or copied. Nothing is left behind.
pub(crate) fn stage(package: &Path, layout: &Layout) -> Result<Staged, Error> {
    let source = Dir::open(package).map_err(|e| Error::file("read the package", package, e))?;
    let place = begin(layout)?;
    let failed = |error| Error::file("make a copy in", &layout.staging(), error);
    let content = place.outer.create_dir(OsStr::new(CONTENT), 0o700).map_err(failed)?;
    let walked =
        walk(&source, Some(&content), Leave::Clutter).map_err(|problem| problem.into_error(package))?;
    content.sync().and_then(|()| place.outer.sync()).map_err(failed)?;
    let again = walk(&content, None, Leave::Nothing).map_err(|problem| problem.into_error(&place.path))?;
    if again.listing != walked.listing {
        let changed =
            Problem::entry(&first_difference(&again.listing, &walked.listing), "is not as it was copied");
        return Err(changed.into_error(&place.path));
    }
    Ok(Staged { place, listing: walked.listing, skipped: walked.skipped })
}

/// Unpacks an archive below the staging directory of a home. `shown` is what it is called where something is refused.
///
/// Nothing of it is written to the disk for good: what is installed is a copy of it.
///
/// # Errors
/// `invalid_package` or `too_large` naming what is refused; `io` when it cannot be read or unpacked. Nothing is left behind.
pub(crate) fn unpack(archive: impl Read, shown: &Path, layout: &Layout) -> Result<Unpacked, Error> {
    let place = begin(layout)?;
    let failed = |error| Error::file("unpack a package in", &layout.staging(), error);
    let content = place.outer.create_dir(OsStr::new(CONTENT), 0o700).map_err(failed)?;
    let contents =
        archive::read(archive, &mut Beneath::new(content)).map_err(|problem| problem.into_error(shown))?;
    Ok(Unpacked { place, contents })
}

/// An empty staging directory with its lock.
fn begin(layout: &Layout) -> Result<Place, Error> {
    let staging = layout.staging();
    let failed = |error| Error::file("make a copy in", &staging, error);
    // Until the directory is locked, a recovery would take it for left over.
    let _lifecycle = LifecycleLock::acquire(layout.home())?;
    let dir = open_or_make(&staging).map_err(failed)?;
    let mut bytes = [0; NAME_BYTES];
    random(&mut bytes).map_err(failed)?;
    let name = hex(&bytes);
    // Fresh by O_EXCL, and ours alone; another one's directory of that name is an error.
    let outer = dir.create_dir(OsStr::new(&name), 0o700).map_err(failed)?;
    let lock = outer.to_file().map_err(failed)?;
    if let Err(error) = only_ours(&lock, layout) {
        dir.remove_tree(OsStr::new(&name)).map_err(failed)?;
        return Err(error);
    }
    let path = staging.join(&name).join(CONTENT);
    lock.lock().map_err(failed)?;
    Ok(Place { staging: dir, name, outer, path, _lock: lock })
}

/// Refuses directories that another user made in the places of ours: he could exchange what is in them at any time.
///
/// Ours is what belongs to whoever owns `made`, which is this process, or to the owner of the home.
fn only_ours(made: &File, layout: &Layout) -> Result<(), Error> {
    let owner = |path: &Path| std::fs::metadata(path).map(|found| found.uid());
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::file("look at the owner of", &path, error)
    };
    let us = made.metadata().map_err(failed(&layout.staging()))?.uid();
    let home = owner(layout.home()).map_err(failed(layout.home()))?;
    for path in [layout.staging(), layout.packages()] {
        let found = match owner(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            found => found.map_err(failed(&path))?,
        };
        if found != us && found != home {
            let shown = crate::manifest::text::shown(&path.display().to_string());
            let message = format!("'{shown}' belongs to the user {found}, who could change what is in it");
            return Err(Error::new(ErrorCode::Io, message).with_hint("look who made it, and remove it"));
        }
    }
    Ok(())
}

fn first_difference(one: &Listing, two: &Listing) -> String {
    let differs = one.entries().iter().zip(two.entries()).find(|(one, two)| one != two);
    differs.map_or_else(|| ".".to_owned(), |(one, _)| one.path.clone())
}

fn open_or_make(path: &Path) -> std::io::Result<Dir> {
    match Dir::open_no_follow(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match private_file::create_dir(path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            private_file::sync_parent(path)?;
            let made = Dir::open_no_follow(path)?;
            made.set_mode(0o700)?;
            Ok(made)
        }
        opened => opened,
    }
}

/// Removes what killed processes left in `staging`, and gives how many directories that were. What a living process fills
/// is locked and stays.
///
/// INVARIANT: the caller holds the lifecycle lock, under which makers make and lock their directories.
///
/// # Errors
/// When it cannot be read; a directory that cannot be removed is left for the next time.
pub(crate) fn remove_stale(staging: &Path) -> std::io::Result<usize> {
    let dir = match Dir::open_no_follow(staging) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let mut removed = 0;
    for name in dir.names(STALE_MAX)? {
        let lock = match dir.open_dir(&name) {
            Ok(found) => Some(found.to_file()?),
            Err(_) => None,
        };
        if lock.as_ref().is_some_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        match dir.remove_tree(&name) {
            Ok(()) => removed += 1,
            Err(error) => tracing::warn!(error = %error, "a left-over staging directory was not removed"),
        }
    }
    Ok(removed)
}
