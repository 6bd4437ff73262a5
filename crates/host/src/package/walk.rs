//! One walk through a directory that a stranger made: judged, hashed, and copied if asked, in a single pass.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};

use ringfence_sandbox::tree::{Dir, EntryKind as Kind, Status};
use sha2::{Digest as _, Sha256};

use super::listing::{Entry, EntryKind, Listing};
use super::{BYTES_MAX, DEPTH_MAX, ENTRIES_MAX, PATH_MAX_BYTES, Problem, names};

/// How much of a file is read at once, in bytes.
const CHUNK_BYTES: usize = 128 * 1024;
/// Files and directories that are written to the disk one by one; beyond, the whole file system is asked once, which is
/// faster by far for a package of thousands of files.
const SYNC_EACH_MAX: usize = 100;
/// Links that are followed while one is judged (`MAXSYMLINKS` of Linux).
const LINKS_MAX: usize = 40;
/// The longest target of a link, in bytes.
const TARGET_MAX_BYTES: usize = 1_024;
/// The modes of what is copied: nobody may write, and all may read.
const DIRECTORY_MODE: u32 = 0o555;
const FILE_MODE: u32 = 0o444;
const EXECUTABLE_MODE: u32 = 0o555;
const SET_ID_BITS: u32 = 0o6000;
const OWNER_EXECUTES: u32 = 0o100;

/// Whether clutter is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// `.git`, `__pycache__` and the interpreter of a virtual environment: for what is to be installed.
    Clutter,
    /// Nothing: for what is installed, where anything more is a change.
    Nothing,
}

/// What was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Relative to the root.
    pub(crate) path: String,
    /// In words.
    pub(crate) why: &'static str,
}

/// What a walk gives.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    /// What the package holds.
    pub(crate) listing: Listing,
    /// What was left out.
    pub(crate) skipped: Vec<Skipped>,
}

/// Walks a package. With `copy`, everything is made again there, read-only and on the disk.
///
/// # Errors
/// The first [`Problem`]; then the copy is incomplete.
pub(crate) fn walk(root: &Dir, copy: Option<&Dir>, leave: Leave) -> Result<Walked, Problem> {
    let mut walk = Walk {
        leave,
        entries: Vec::new(),
        skipped: Vec::new(),
        links: BTreeMap::new(),
        hard_links: HashMap::new(),
        bytes: 0,
        synced: 0,
        buffer: vec![0; CHUNK_BYTES],
    };
    walk.directory(root, copy, "", 1)?;
    walk.check_hard_links()?;
    walk.links(copy)?;
    if let Some(copy) = copy.filter(|_| walk.synced >= SYNC_EACH_MAX) {
        copy.sync_file_system().map_err(Problem::io("write the copy of", ""))?;
    }
    Ok(Walked { listing: Listing::new(walk.entries), skipped: walk.skipped })
}

struct Walk {
    leave: Leave,
    entries: Vec<Entry>,
    skipped: Vec<Skipped>,
    /// Links wait until everything else is known: path, and target.
    links: BTreeMap<String, String>,
    /// Files with several names: how many it has, how many were seen, and one of them.
    hard_links: HashMap<(u64, u64), (u64, u64, String)>,
    bytes: u64,
    /// Files and directories that were written one by one.
    synced: usize,
    buffer: Vec<u8>,
}

impl Walk {
    fn directory(&mut self, dir: &Dir, copy: Option<&Dir>, path: &str, depth: usize) -> Result<(), Problem> {
        let left = ENTRIES_MAX.saturating_sub(self.entries.len() + self.links.len());
        // Clutter does not count, but is read: a little more than what is left.
        let mut names = dir.names(left + names::LEFT_OUT.len()).map_err(|error| match error.kind() {
            std::io::ErrorKind::QuotaExceeded => too_many(),
            _ => Problem::io("read the directory", path)(error),
        })?;
        names.sort();
        let mut folded: HashMap<String, OsString> = HashMap::with_capacity(names.len());
        for name in names {
            let (text, path) = judge_name(&name, path)?;
            if self.leave == Leave::Clutter && names::LEFT_OUT.contains(&text.as_str()) {
                self.skipped.push(Skipped { path, why: "is not needed to run" });
                continue;
            }
            if let Some(other) = folded.insert(names::fold(&text), name.clone()) {
                let other = other.to_string_lossy().into_owned();
                return Err(Problem::entry(
                    &path,
                    format!("is too much like '{}' beside it", crate::manifest::text::shown(&other)),
                ));
            }
            self.entry(dir, copy, &name, path, depth)?;
        }
        if let Some(copy) = copy {
            // The root gets its mode after it was moved: a read-only directory cannot change its parent.
            if depth > 1 {
                copy.set_mode(DIRECTORY_MODE).map_err(Problem::io("protect the copy of", path))?;
            }
            if self.syncs_each() {
                copy.sync().map_err(Problem::io("write the copy of", path))?;
            }
        }
        Ok(())
    }

    /// Whether the next one is written to the disk by itself.
    fn syncs_each(&mut self) -> bool {
        let each = self.synced < SYNC_EACH_MAX;
        self.synced += usize::from(each);
        each
    }

    fn entry(
        &mut self,
        dir: &Dir,
        copy: Option<&Dir>,
        name: &OsStr,
        path: String,
        depth: usize,
    ) -> Result<(), Problem> {
        if self.entries.len() + self.links.len() >= ENTRIES_MAX {
            return Err(too_many());
        }
        let status = dir.status(name).map_err(Problem::io("read", &path))?;
        match status.kind {
            Kind::Directory if depth >= DEPTH_MAX => {
                Err(Problem::entry(&path, format!("is nested deeper than {DEPTH_MAX} directories")))
            }
            Kind::Directory => {
                refuse_set_id(&path, &status)?;
                let inner = dir.open_dir(name).map_err(Problem::io("open", &path))?;
                let made = copy.map(|copy| copy.create_dir(name, 0o700)).transpose();
                let made = made.map_err(Problem::io("copy", &path))?;
                self.directory(&inner, made.as_ref(), &path, depth + 1)?;
                self.entries.push(Entry { path, kind: EntryKind::Directory });
                Ok(())
            }
            Kind::File => {
                let kind = self.file(dir, copy, name, &path)?;
                self.entries.push(Entry { path, kind });
                Ok(())
            }
            Kind::Link => {
                let target = dir.read_link(name).map_err(Problem::io("read the link", &path))?;
                let target = target.into_string().ok().filter(|target| {
                    !target.is_empty() && target.len() <= TARGET_MAX_BYTES && names::judge(target).is_ok()
                });
                let target =
                    target.ok_or_else(|| Problem::entry(&path, "is a link with an unreadable target"))?;
                self.links.insert(path, target);
                Ok(())
            }
            Kind::Device => Err(Problem::entry(&path, "is a device")),
            Kind::Fifo => Err(Problem::entry(&path, "is a named pipe")),
            Kind::Socket => Err(Problem::entry(&path, "is a socket")),
            Kind::Unknown => Err(Problem::entry(&path, "is neither a file, a directory nor a link")),
        }
    }

    fn file(
        &mut self,
        dir: &Dir,
        copy: Option<&Dir>,
        name: &OsStr,
        path: &str,
    ) -> Result<EntryKind, Problem> {
        let (mut file, status) = dir.open_file(name).map_err(Problem::io("open", path))?;
        refuse_set_id(path, &status)?;
        if status.links > 1 {
            let seen = self.hard_links.entry(status.identity).or_insert((status.links, 0, path.to_owned()));
            seen.1 += 1;
        }
        // Before reading: a file of a terabyte of nothing takes no time to refuse.
        if self.bytes.saturating_add(status.size) > BYTES_MAX {
            return Err(too_many_bytes());
        }
        let executable = status.mode & OWNER_EXECUTES != 0;
        let mode = if executable { EXECUTABLE_MODE } else { FILE_MODE };
        let made = copy.map(|copy| copy.create_file(name, mode)).transpose();
        let mut made = made.map_err(Problem::io("copy", path))?;
        let (size, sha256) = self.content(&mut file, made.as_mut(), path)?;
        if let Some(made) = made.filter(|_| self.syncs_each()) {
            made.sync_all().map_err(Problem::io("write the copy of", path))?;
        }
        Ok(EntryKind::File { executable, size, sha256 })
    }

    fn content(
        &mut self,
        from: &mut File,
        mut to: Option<&mut File>,
        path: &str,
    ) -> Result<(u64, [u8; 32]), Problem> {
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        loop {
            let count = match from.read(&mut self.buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(Problem::io("read", path))?,
            };
            let Some(chunk) = self.buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
            // A file that grows while it is read is counted as it is read.
            self.bytes = self.bytes.saturating_add(chunk.len() as u64);
            if self.bytes > BYTES_MAX {
                return Err(too_many_bytes());
            }
            size += chunk.len() as u64;
            hash.update(chunk);
            if let Some(to) = to.as_deref_mut() {
                to.write_all(chunk).map_err(Problem::io("write the copy of", path))?;
            }
        }
        Ok((size, hash.finalize().into()))
    }

    /// A file that has a name outside could be changed from there while it is read.
    fn check_hard_links(&self) -> Result<(), Problem> {
        // In the store every copy has one name of its own.
        for (names, seen, path) in self.hard_links.values() {
            if names > seen || self.leave == Leave::Nothing {
                return Err(Problem::entry(path, "has another name outside of the package (a hard link)"));
            }
        }
        Ok(())
    }

    /// Judges the links, now that everything they may lead to is known, and makes them again.
    fn links(&mut self, copy: Option<&Dir>) -> Result<(), Problem> {
        let links = std::mem::take(&mut self.links);
        let entries: HashMap<&str, bool> = self
            .entries
            .iter()
            .map(|entry| (entry.path.as_str(), entry.kind == EntryKind::Directory))
            .collect();
        let places = Places { links: &links, entries: &entries };
        let mut kept = Vec::new();
        for (path, target) in &links {
            match places.resolve(path) {
                Ok(()) => kept.push((path.clone(), target.clone())),
                Err(_) if self.leave == Leave::Clutter && names::is_interpreter_link(path) => {
                    let why = "leads to an interpreter of this machine, which is chosen by the host";
                    self.skipped.push(Skipped { path: path.clone(), why });
                }
                Err(why) => return Err(Problem::entry(path, why)),
            }
        }
        for (path, target) in kept {
            if let Some(copy) = copy {
                make_link(copy, &path, &target)?;
            }
            self.entries.push(Entry { path, kind: EntryKind::Link { target } });
        }
        Ok(())
    }
}

/// What is in the package, for following links in mind and not on the disk.
struct Places<'a> {
    links: &'a BTreeMap<String, String>,
    /// Path, and whether it is a directory.
    entries: &'a HashMap<&'a str, bool>,
}

impl Places<'_> {
    /// Follows the link as the kernel would; it must end inside, at something that is there.
    fn resolve(&self, path: &str) -> Result<(), &'static str> {
        let mut at: Vec<&str> = Vec::new();
        let mut rest: Vec<&str> = path.rsplit('/').collect();
        let mut followed = 0;
        while let Some(part) = rest.pop() {
            match part {
                "" | "." => continue,
                ".." => {
                    at.pop().ok_or("is a link that leads out of the package")?;
                    continue;
                }
                name => at.push(name),
            }
            let here = at.join("/");
            if let Some(target) = self.links.get(&here) {
                followed += 1;
                if followed > LINKS_MAX {
                    return Err("is a link that leads to itself");
                }
                if target.starts_with('/') {
                    return Err("is a link that leads out of the package");
                }
                at.pop();
                rest.extend(target.rsplit('/'));
            } else {
                match self.entries.get(here.as_str()) {
                    None => return Err("is a link that leads to nothing in the package"),
                    Some(false) if !rest.is_empty() => return Err("is a link that goes through a file"),
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Links are made last, when their directories are read-only already: those are opened for a moment.
fn make_link(copy: &Dir, path: &str, target: &str) -> Result<(), Problem> {
    let failed = |error| Problem::io("copy the link", path)(error);
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut dir = copy.try_clone().map_err(failed)?;
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        dir = dir.open_dir(parent.as_ref()).map_err(failed)?;
    }
    if !parents.is_empty() {
        dir.set_mode(0o700).map_err(failed)?;
    }
    dir.create_link(name.as_ref(), target.as_ref()).map_err(failed)?;
    if !parents.is_empty() {
        dir.set_mode(DIRECTORY_MODE).map_err(failed)?;
    }
    dir.sync().map_err(failed)
}

fn judge_name(name: &OsStr, parent: &str) -> Result<(String, String), Problem> {
    let join = |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
    let Some(text) = name.to_str() else {
        return Err(Problem::entry(&join(&name.to_string_lossy()), "has a name that is not UTF-8"));
    };
    let path = join(text);
    if path.len() > PATH_MAX_BYTES {
        let shown: String = path.chars().take(60).collect();
        return Err(Problem::entry(&shown, format!("has a path longer than {PATH_MAX_BYTES} bytes")));
    }
    names::judge(text).map_err(|why| Problem::entry(&path, why))?;
    Ok((text.to_owned(), path))
}

fn refuse_set_id(path: &str, status: &Status) -> Result<(), Problem> {
    // A directory with set-group-id only passes its group on: that is how shared directories are made.
    if status.kind == Kind::File && status.mode & SET_ID_BITS != 0 {
        return Err(Problem::entry(path, "has a set-user-id or set-group-id bit"));
    }
    Ok(())
}

fn too_many() -> Problem {
    Problem::TooMuch { limit: format!("{ENTRIES_MAX} files, directories and links") }
}

fn too_many_bytes() -> Problem {
    Problem::TooMuch { limit: format!("{BYTES_MAX} bytes") }
}
