//! Removes whole trees that somebody else made, however deep they nest and whatever their modes are.
//!
//! Descriptors and memory are bounded: at most [`LEVELS_MAX`] directories are open below each other, and a directory that
//! lies deeper is moved up into the top of the tree, where the next round finds it. A listing is read as it is worked off, so a
//! directory of millions of files costs no more memory than one of ten.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Dir, EntryKind, random, single};

/// Directories below each other that are worked off by way of their parents; each costs two descriptors. A tree of ours is
/// never deeper, so moving is for what plugins make.
const LEVELS_MAX: usize = 64;
/// Entries that one removal looks at. Whoever fills a tree while it is emptied makes the removal fail here, and not go on for
/// ever; of a larger tree the next removal takes the rest.
const ENTRIES_MAX: u64 = 2_000_000;
/// Rounds in which nothing had to be moved and something was left all the same: whoever fills the tree is faster.
const VAIN_ROUNDS_MAX: u32 = 8;
/// The rights of the owner without which a directory cannot be emptied.
const ALL_RIGHTS: u32 = 0o700;

impl Dir {
    /// Removes an entry and everything below it, directories that their owner may not write or even list too, at any depth.
    /// Links are removed, not followed. An entry that is missing already is as good.
    ///
    /// At most 128 descriptors are open at the same time, and memory does not grow with the tree.
    ///
    /// # Errors
    /// When something below cannot be removed; when more than 2,000,000 entries were met ([`io::ErrorKind::QuotaExceeded`]); when
    /// somebody fills it meanwhile ([`io::ErrorKind::DirectoryNotEmpty`]). What was removed until then stays removed.
    pub fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        match self.remove_whole(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn remove_whole(&self, name: &OsStr) -> io::Result<()> {
        if self.status(name)?.kind != EntryKind::Directory {
            return self.remove_file(name);
        }
        let top = self.open_dir_with(name, ALL_RIGHTS)?;
        let mut removal = Removal { top: top.try_clone()?, entries_left: ENTRIES_MAX, moved: false };
        let mut vain_rounds = 0;
        loop {
            removal.moved = false;
            removal.empty(&top, LEVELS_MAX)?;
            match rustix::fs::unlinkat(&self.fd, single(name)?, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) if removal.moved => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) if vain_rounds < VAIN_ROUNDS_MAX => vain_rounds += 1,
                done => return Ok(done?),
            }
        }
    }
}

/// The removal of one tree.
struct Removal {
    /// Its top directory.
    top: Dir,
    entries_left: u64,
    /// Whether something was moved into the top since this was last set.
    moved: bool,
}

impl Removal {
    fn count(&mut self) -> io::Result<()> {
        self.entries_left =
            self.entries_left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        Ok(())
    }

    /// Removes what is in a directory. What is deeper than `levels` is in the top afterwards.
    fn empty(&mut self, dir: &Dir, levels: usize) -> io::Result<()> {
        dir.each_name(|name| {
            self.count()?;
            match self.remove(dir, name, levels) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
    }

    fn remove(&mut self, dir: &Dir, name: &OsStr, levels: usize) -> io::Result<()> {
        if dir.status(name)?.kind != EntryKind::Directory {
            return dir.remove_file(name);
        }
        // Also before it is moved: its entry `..` changes, which only who may write it can do.
        let inner = dir.open_dir_with(name, ALL_RIGHTS)?;
        let Some(levels) = levels.checked_sub(1) else {
            drop(inner);
            self.moved = true;
            return dir.rename_new(name, &self.top, &fresh_name()?);
        };
        self.empty(&inner, levels)?;
        match rustix::fs::unlinkat(&dir.fd, single(name)?, AtFlags::REMOVEDIR) {
            // Somebody is filling it; the next round finds it again.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            done => Ok(done?),
        }
    }
}

/// A name that nobody can have taken beforehand.
fn fresh_name() -> io::Result<OsString> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    Ok(format!(".moved-{:032x}", u128::from_ne_bytes(bytes)).into())
}
