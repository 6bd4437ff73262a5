//! The place of one file: how it is reached without following a link, with whose rights, and what is done there.
//!
//! As root the thread takes on the rights of the tree's owner, as the sandbox's id-mapped mounts do: what belongs to others
//! in it stays closed, and what is made belongs to the owner. That cannot be undone, so each visit has a thread of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use ringfence_policy::{CanonicalPath, Effect, PathPattern, Rule, RuleSet};
use ringfence_sandbox::tree::{self, Dir, EntryKind, Status};
use serde::Serialize;

use crate::exec::held::Holding;
use crate::exec::translate::{file_op, lexical};
use crate::pin::Seen;

/// Top-level directories of which every sandbox has its own: a grant of everything does not open the host's.
const OWN_TOP_LEVEL: [&[u8]; 4] = [b"proc", b"dev", b"tmp", b"sys"];
/// The mode of a new file, as the sandbox's umask makes it.
const NEW_FILE_MODE: u32 = 0o644;
/// What a file is called while it is written. A plugin that finds one may take it away: then the write fails.
const TEMPORARY_PREFIX: &str = ".ringfence-";

/// What a path is opened below: the deepest grant that it lies in, as the sandbox would mount it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// A directory with all that is in it.
    Tree(PathBuf),
    /// The file alone.
    File,
}

impl Root {
    /// The deepest grant over files that has this path; `None` when only grants of everything have it, in a directory that
    /// each sandbox has its own of.
    pub(super) fn of(rules: &RuleSet, path: &CanonicalPath) -> Option<Self> {
        let granted = rules.rules().iter().filter(|rule| rule.effect() == Effect::Allow);
        let over_files = granted.filter(|rule| file_op(rule).is_some()).filter_map(Rule::path);
        let roots =
            over_files.filter(|pattern| pattern.matches(path)).filter_map(|pattern| root(pattern, path));
        roots.max_by_key(|root| match root {
            Self::Tree(directory) => directory.components().count(),
            Self::File => usize::MAX,
        })
    }
}

/// Where the pattern, which matches the path, begins to match whole directories on the way there.
fn root(pattern: &PathPattern, path: &CanonicalPath) -> Option<Root> {
    let prefix = pattern.literal_prefix();
    let is_everything = prefix == CanonicalPath::root();
    if is_everything && path.segments().next().is_some_and(|first| OWN_TOP_LEVEL.contains(&first)) {
        return None;
    }
    if pattern.is_exact() {
        return Some(Root::File);
    }
    if pattern.is_subtree() && !is_everything {
        return Some(Root::Tree(prefix.as_path().to_owned()));
    }
    // A name that stands for any other in the directory.
    let whole = |directory: &Path| {
        let inside = CanonicalPath::new(directory.join("\u{1}"));
        let itself = CanonicalPath::new(directory);
        inside.is_ok_and(|inside| pattern.matches(&inside))
            && itself.is_ok_and(|itself| pattern.matches(&itself))
    };
    let mut above: Vec<&Path> = path.as_path().ancestors().collect();
    above.reverse();
    let mut below_root = above.into_iter().filter(|directory| *directory != Path::new("/"));
    let top = below_root.find(|directory| directory.starts_with(prefix.as_path()) && whole(directory));
    Some(top.map_or(Root::File, |directory| Root::Tree(directory.to_owned())))
}

/// Why it was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// A link stands on the way, or in place of the file; this is where it leads. To be judged anew.
    Elsewhere(PathBuf),
    /// The granted directory is not the one that was granted.
    Replaced(PathBuf),
    /// It is not something for which this is done.
    Refused(&'static str),
    TooLarge(String),
    Quota(String),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What becomes of a link in the place of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// What it leads to is meant.
    Followed,
    /// It is meant itself.
    Itself,
}

/// An entry of a directory.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    kind: &'static str,
    size_bytes: u64,
}

/// An open directory and the name of one entry in it.
#[derive(Debug)]
pub(super) struct Spot {
    directory: Dir,
    /// `None` for the granted directory itself.
    name: Option<OsString>,
    path: PathBuf,
    /// Whom a new file is given to, where this thread has kept all rights.
    heir: Option<(u32, u32)>,
    /// What a single file must be to be read, where a plugin could put another one in its place.
    very: Option<Seen>,
}

impl Spot {
    /// Opens the directory in which the path's last name is, below `root`, and takes on the rights that the sandbox has there.
    ///
    /// # Errors
    /// [`Fault::Elsewhere`] for a link; [`Fault::Replaced`] for another directory in the place of the root; [`Fault::Refused`] for what is the kernel's own; [`Fault::Io`].
    pub(super) fn enter(root: &Root, path: &Path, last: Last, holding: &Holding) -> Result<Self, Fault> {
        let above = match root {
            Root::Tree(directory) => directory.as_path(),
            Root::File => path.parent().unwrap_or(Path::new("/")),
        };
        let top = match Dir::open_exact(above) {
            Err(error) if tree::is_link(&error) => {
                return Err(link_on(&Dir::open_exact(Path::new("/"))?, Path::new("/"), path)?);
            }
            opened => opened?,
        };
        let owner = top.own_status()?;
        if matches!(root, Root::Tree(_)) && !holding.is(above, owner.identity) {
            return Err(Fault::Replaced(above.to_owned()));
        }
        // A wildcard names a directory as well, somewhere above.
        for directory in holding.on_the_way(path).filter(|directory| *directory != above) {
            let there = Dir::open_exact(directory).and_then(|opened| opened.own_status());
            if !there.is_ok_and(|there| holding.is(directory, there.identity)) {
                return Err(Fault::Replaced(directory.to_owned()));
            }
        }
        if *root == Root::File && !holding.is(above, owner.identity) {
            return Err(Fault::Replaced(above.to_owned()));
        }
        if matches!(root, Root::Tree(_)) && ringfence_sandbox::is_root() {
            tree::act_on_files_as(owner.uid, owner.gid)?;
        }
        let below = path.strip_prefix(above).unwrap_or(path);
        let (name, parent) = (below.file_name(), below.parent().unwrap_or(Path::new("")));
        let directory = if parent.as_os_str().is_empty() {
            top
        } else {
            match top.open_dir_beneath(parent) {
                Err(error) if tree::is_link(&error) => return Err(link_on(&top, above, path)?),
                opened => opened?,
            }
        };
        if tree::is_kernels_own(&directory)? {
            return Err(Fault::Refused("is made up by the kernel, and is not served by the host"));
        }
        let heir = (*root == Root::File && ringfence_sandbox::is_root()).then_some((owner.uid, owner.gid));
        let (name, very) = (name.map(OsStr::to_owned), holding.very(path));
        let spot = Self { directory, name, path: path.to_owned(), heir, very };
        if last == Last::Followed
            && let Some(name) = spot.name.as_deref()
            && spot.status(name)?.is_some_and(|status| status.kind == EntryKind::Link)
        {
            return Err(Fault::Elsewhere(led_to(
                &spot.path,
                &spot.directory.read_link(name)?,
                Path::new(""),
            )));
        }
        Ok(spot)
    }

    fn status(&self, name: &OsStr) -> io::Result<Option<Status>> {
        match self.directory.status(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// The name of a file; a directory has no content.
    fn file_name(&self) -> Result<&OsStr, Fault> {
        self.name.as_deref().ok_or(Fault::Refused("is a directory"))
    }

    /// A link that came between is looked at again.
    fn swapped(&self, error: io::Error) -> Fault {
        if tree::is_link(&error) { Fault::Elsewhere(self.path.clone()) } else { Fault::Io(error) }
    }

    /// The content of a regular file. What is too large is known before it is read.
    pub(super) fn read(&self, bytes_max: u64) -> Result<Vec<u8>, Fault> {
        let name = self.file_name()?;
        regular(&self.directory.status(name)?)?;
        let (file, status) = self.directory.open_file(name).map_err(|error| self.swapped(error))?;
        if tree::is_kernels_own(&file)? {
            return Err(Fault::Refused("is made up by the kernel, and is not served by the host"));
        }
        if self.very.as_ref().is_some_and(|very| !very.is_inode(status.identity)) {
            return Err(Fault::Replaced(self.path.clone()));
        }
        let too_large = |size: &dyn std::fmt::Display| {
            Fault::TooLarge(format!("has {size} bytes; {bytes_max} are the most that a message takes"))
        };
        if status.size > bytes_max {
            return Err(too_large(&status.size));
        }
        let mut content = Vec::with_capacity(usize::try_from(status.size).unwrap_or(0));
        file.take(bytes_max + 1).read_to_end(&mut content)?;
        if content.len() as u64 > bytes_max {
            return Err(too_large(&"more"));
        }
        Ok(content)
    }

    /// Makes the file or replaces it, in one step: whoever reads sees the old content or the new, and on failure nothing is
    /// left. The mode stays, set-id bits do not.
    pub(super) fn write(&self, content: &[u8]) -> Result<(), Fault> {
        let name = self.file_name()?;
        let before = self.status(name)?;
        if let Some(before) = &before {
            regular(before)?;
            // Replacing asks only for the directory; what the owner may not write stays as it is.
            self.directory.may_write(name)?;
        }
        let mode = before.map_or(NEW_FILE_MODE, |before| before.mode & 0o777);
        let mut unguessable = [0; 8];
        tree::random(&mut unguessable)?;
        let temporary = OsString::from(format!("{TEMPORARY_PREFIX}{}", HEXLOWER.encode(&unguessable)));
        let file = self.directory.create_file(&temporary, mode)?;
        let filled = self.fill(file, content, before.map(|before| (before.uid, before.gid)));
        let placed = filled.and_then(|()| self.directory.rename_over(&temporary, name));
        if let Err(error) = placed {
            // What cannot be removed either has been taken away.
            let _gone = self.directory.remove_file(&temporary);
            return Err(Fault::Io(error));
        }
        Ok(())
    }

    fn fill(&self, mut file: File, content: &[u8], before: Option<(u32, u32)>) -> io::Result<()> {
        file.write_all(content)?;
        if let Some((user, group)) = self.heir.map(|heir| before.unwrap_or(heir)) {
            std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
        }
        file.sync_data()
    }

    /// Removes a regular file or a link; whether there was one.
    pub(super) fn delete(&self) -> Result<bool, Fault> {
        let name = self.file_name()?;
        let Some(status) = self.status(name)? else { return Ok(false) };
        if status.kind != EntryKind::Link {
            regular(&status)?;
        }
        match self.directory.remove_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => Ok(removed.map(|()| true)?),
        }
    }

    /// What is in a directory, sorted by name, without what may not be read. Links are not followed.
    pub(super) fn list(
        &self,
        count_max: usize,
        may_read: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Entry>, Fault> {
        let directory = match &self.name {
            None => self.directory.to_list()?,
            Some(name) => self
                .directory
                .open_dir_beneath(Path::new(name))
                .and_then(|directory| directory.to_list())
                .map_err(|error| self.swapped(error))?,
        };
        let mut names = directory.names(count_max).map_err(|error| match error.kind() {
            io::ErrorKind::QuotaExceeded => Fault::TooLarge(format!(
                "holds more than {count_max} entries, which is the most that is listed"
            )),
            _ => Fault::Io(error),
        })?;
        names.sort_unstable();
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            // What is gone since is left out, and so is what is denied or protected.
            let Ok(status) = directory.status(&name) else { continue };
            if may_read(&self.path.join(&name)) {
                entries.push(entry(&name, &status));
            }
        }
        Ok(entries)
    }
}

fn entry(name: &OsStr, status: &Status) -> Entry {
    let text = name.to_str().map(str::to_owned);
    Entry {
        name_base64: text.is_none().then(|| BASE64.encode(name.as_bytes())),
        name: text,
        kind: match status.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Link => "link",
            EntryKind::Device => "device",
            EntryKind::Fifo => "fifo",
            EntryKind::Socket => "socket",
            EntryKind::Unknown => "unknown",
        },
        size_bytes: if status.kind == EntryKind::File { status.size } else { 0 },
    }
}

/// Opening a pipe, a socket or a device acts on what is behind it.
fn regular(status: &Status) -> Result<(), Fault> {
    match status.kind {
        EntryKind::File => Ok(()),
        EntryKind::Directory => Err(Fault::Refused("is a directory")),
        // It was none a moment ago.
        EntryKind::Link => Err(Fault::Refused("was replaced by a link meanwhile")),
        EntryKind::Fifo | EntryKind::Socket | EntryKind::Device | EntryKind::Unknown => {
            Err(Fault::Refused("is a pipe, a socket or a device, and only regular files are served"))
        }
    }
}

/// The first link on the way from `top`, which is at `above`, to `path`; the path itself when it is gone again.
fn link_on(top: &Dir, above: &Path, path: &Path) -> io::Result<Fault> {
    let below = path.strip_prefix(above).unwrap_or(path);
    let mut names = below.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let (mut directory, mut at) = (top.try_clone()?, above.to_owned());
    while let Some(name) = names.next() {
        at.push(name);
        match directory.status(name)?.kind {
            EntryKind::Link => {
                let rest: PathBuf = names.collect();
                return Ok(Fault::Elsewhere(led_to(&at, &directory.read_link(name)?, &rest)));
            }
            EntryKind::Directory => match directory.open_dir_beneath(Path::new(name)) {
                Err(error) if tree::is_link(&error) => break,
                opened => directory = opened?,
            },
            _ => break,
        }
    }
    Ok(Fault::Elsewhere(path.to_owned()))
}

/// The path behind a link at `link`. `..` is taken off by name, and what is left is judged and opened as it stands.
fn led_to(link: &Path, leads_to: &OsStr, rest: &Path) -> PathBuf {
    let from = link.parent().unwrap_or(Path::new("/"));
    lexical(&from.join(leads_to).join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::Vars;

    fn root_of(grants: &[&str], path: &str) -> Option<Root> {
        let vars = Vars::new(CanonicalPath::root());
        let rules = grants.iter().map(|text| Rule::parse(Effect::Allow, text, &vars, "grant").unwrap());
        Root::of(&RuleSet::new(rules.collect()), &CanonicalPath::new(path).unwrap())
    }

    #[test]
    fn a_path_is_opened_below_the_deepest_grant_that_has_it() {
        let tree = |path: &str| Some(Root::Tree(path.into()));
        for (grants, path, root) in [
            (&["file:read=/srv/**"][..], "/srv/a/b", tree("/srv")),
            (&["file:read=/srv/**", "file:write=/srv/a/**"], "/srv/a/b", tree("/srv/a")),
            (&["file:read=/srv/**", "file:read=/srv/a/b"], "/srv/a/b", Some(Root::File)),
            (&["file:read=/srv/*/notes/**"], "/srv/ada/notes/x/y", tree("/srv/ada/notes")),
            (&["file:read=/srv/**/*.txt"], "/srv/a/b.txt", Some(Root::File)),
            (&["file:read"], "/srv/a/b", tree("/srv")),
            (&["file:read=/**"], "/srv", tree("/srv")),
            (&["file:read"], "/tmp/a", None),
            (&["file:read=/**/*.txt"], "/proc/1/a.txt", None),
            (&["file:read", "file:read=/tmp/a/**"], "/tmp/a/b", tree("/tmp/a")),
            (&["env:read", "subprocess:execute=/srv/**"], "/srv/a", None),
        ] {
            assert_eq!(root_of(grants, path), root, "{grants:?} {path}");
        }
    }

    #[test]
    fn a_link_leads_where_its_text_says_from_where_it_lies() {
        let led =
            |link: &str, leads_to: &str, rest: &str| led_to(link.as_ref(), leads_to.as_ref(), rest.as_ref());
        assert_eq!(led("/a/link", "b", "c"), Path::new("/a/b/c"));
        assert_eq!(led("/a/link", "../b", ""), Path::new("/b"));
        assert_eq!(led("/a/link", "/etc", "passwd"), Path::new("/etc/passwd"));
        assert_eq!(led("/a/link", "../../../..", ""), Path::new("/"));
    }

    #[test]
    fn a_kernel_file_is_not_served_even_by_its_name() {
        for path in ["/proc/version", "/proc/self/environ", "/sys/kernel/uevent_seqnum"] {
            let entered = Spot::enter(&Root::File, path.as_ref(), Last::Followed, &Holding::default());
            let refused = match entered {
                // The way through /proc/self is a link, and judged anew.
                Err(Fault::Elsewhere(next)) => {
                    Spot::enter(&Root::File, &next, Last::Followed, &Holding::default()).unwrap_err()
                }
                entered => entered.unwrap_err(),
            };
            assert!(matches!(refused, Fault::Refused(why) if why.contains("kernel")), "{path}: {refused:?}");
        }
        let own = tempfile::tempdir().unwrap();
        std::fs::write(own.path().join("file"), "content").unwrap();
        let spot =
            Spot::enter(&Root::File, &own.path().join("file"), Last::Followed, &Holding::default()).unwrap();
        assert_eq!(spot.read(7).unwrap(), b"content");
        assert!(matches!(spot.read(6).unwrap_err(), Fault::TooLarge(_)));
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_and_nothing_else() {
        let own = tempfile::tempdir().unwrap();
        std::fs::create_dir(own.path().join("directory")).unwrap();
        std::fs::write(own.path().join("file"), "before").unwrap();
        let at = |name: &str| {
            Spot::enter(&Root::File, &own.path().join(name), Last::Followed, &Holding::default()).unwrap()
        };
        assert!(matches!(at("directory").write(b"x").unwrap_err(), Fault::Refused("is a directory")));
        let spot = at("file");
        // It becomes a directory between the look and the rename.
        let filled = spot.directory.create_file(OsStr::new("new"), 0o600).unwrap();
        spot.fill(filled, b"x", None).unwrap();
        assert!(spot.directory.rename_over(OsStr::new("new"), OsStr::new("directory")).is_err());
        spot.directory.remove_file(OsStr::new("new")).unwrap();
        spot.write(b"after").unwrap();
        assert_eq!(std::fs::read(own.path().join("file")).unwrap(), b"after");
        let mut names: Vec<_> =
            std::fs::read_dir(own.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["directory", "file"]);
    }

    #[test]
    fn a_list_is_sorted_bounded_and_without_what_may_not_be_read() {
        let own = tempfile::tempdir().unwrap();
        for name in ["b", "a", "secret"] {
            std::fs::write(own.path().join(name), name).unwrap();
        }
        std::fs::create_dir(own.path().join("directory")).unwrap();
        std::fs::write(own.path().join(OsStr::from_bytes(b"\xff")), "").unwrap();
        let place = own.path().to_owned();
        let enter =
            move || Spot::enter(&Root::Tree(place.clone()), &place, Last::Followed, &Holding::default());
        // On a thread of its own, because as root it gives rights away.
        let spot = std::thread::spawn(enter).join().unwrap().unwrap();
        let may_read = |path: &Path| !path.ends_with("secret");
        let listed = serde_json::to_value(spot.list(5, &may_read).unwrap()).unwrap();
        let expected = serde_json::json!([
            {"name": "a", "kind": "file", "size_bytes": 1}, {"name": "b", "kind": "file", "size_bytes": 1},
            {"name": "directory", "kind": "directory", "size_bytes": 0},
            {"name_base64": "/w==", "kind": "file", "size_bytes": 0},
        ]);
        assert_eq!(listed, expected);
        assert_eq!(spot.list(5, &|_| true).unwrap().len(), 5);
        assert!(matches!(spot.list(4, &may_read).unwrap_err(), Fault::TooLarge(_)));
    }
}
