//! What a watched call wanted of the host's files, and what a grant of it would have to name.
//!
//! A watched call says which path a program named, not what the kernel answered. So the path is looked for on the host, as
//! the program would have found it without a sandbox, and only what is there counts: what is missing there as well is no
//! refusal. Where the sandbox has something of its own at that path (`/proc`, the private `/tmp`, `/usr`, the small `/etc`),
//! that is what the program met. Deliberately nothing here asks which rules there are.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ringfence_policy::{CanonicalPath, FileOp, PathPattern};
use ringfence_sandbox::{Object, Observation, ResolveError, Resolved, is_always_shown};

use crate::exec::translate::lexical;

/// How many names that a program made in its private directories are remembered.
const OWN_NAMES_MAX: usize = 16 * 1024;
/// Where a sandbox has private, empty directories in place of the host's.
const PRIVATE: [&str; 2] = ["/tmp", "/var/tmp"];
/// What belongs to each sandbox alone, whatever is granted.
pub(crate) const KERNELS_OWN: [&str; 2] = ["/proc", "/dev"];
const O_WRONLY: u32 = 1;
const O_RDWR: u32 = 2;
const O_CREAT: u32 = 0o100;
const O_TRUNC: u32 = 0o1000;
const O_TMPFILE_BIT: u32 = 0o20_000_000;
const O_PATH: u32 = 0o10_000_000;
const RENAME_EXCHANGE: u32 = 2;

/// What an act needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Need {
    File(FileOp),
    /// To run a program that lies in a place that can be written.
    Execute,
    /// To connect to a socket file: its directory must be writable.
    Connect,
}

/// Where it is needed: what a grant would have to name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// This file.
    File(CanonicalPath),
    /// This directory: there is no grant of a directory without what is in it.
    Directory(CanonicalPath),
    /// A name in this directory: what makes, removes or renames something needs the right over its directory.
    In { directory: CanonicalPath, entry: CanonicalPath },
}

impl Place {
    /// The path that the act was about.
    pub(crate) fn object(&self) -> &CanonicalPath {
        match self {
            Self::File(path) | Self::Directory(path) | Self::In { entry: path, .. } => path,
        }
    }

    /// The path over which the right is needed.
    pub(crate) fn holder(&self) -> &CanonicalPath {
        match self {
            Self::File(path) | Self::Directory(path) | Self::In { directory: path, .. } => path,
        }
    }

    /// The narrowest pattern that has it.
    pub(crate) fn pattern(&self) -> PathPattern {
        match self {
            Self::File(path) => PathPattern::exact(path),
            Self::Directory(path) | Self::In { directory: path, .. } => PathPattern::subtree(path),
        }
    }
}

/// One right that one call needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Act {
    pub(crate) need: Need,
    pub(crate) place: Place,
    /// The same as the program named it, if that goes through a link: a grant of this name brings the link along.
    pub(crate) named: Option<PathBuf>,
    /// It was enough for the program to know of it: it was not opened.
    pub(crate) looks: bool,
}

/// What calls want with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// To know of it.
    Look,
    Read,
    /// To read it once it is made.
    ReadNew,
    /// To read it in its directory: a file that is granted alone is a mount, and no link leads out of one.
    ReadThere,
    /// To change what is there.
    Change,
    /// To make something of that name.
    Make,
    /// To change what is there, or make it.
    Put,
    /// To take the name away.
    Remove,
    Execute,
    Connect,
}

/// How paths of one run are looked at; it remembers what the program made for itself.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The caller's directory, if the command was started in /tmp instead: a relative name meant something there.
    left: Option<PathBuf>,
    /// Private directories that the plan replaces with the host's.
    shared: Vec<PathBuf>,
    /// What the program made in its private directories.
    own: HashSet<PathBuf>,
    /// What it made, or tried to make, elsewhere: the host has nothing of these names.
    made: HashSet<PathBuf>,
    /// The first path of the rename or link whose second one comes next.
    source: Option<PathBuf>,
}

impl View {
    /// A view of a run that was started in /tmp instead of `left`, and for which the host's `shared` are granted.
    pub(crate) fn new(left: Option<&Path>, shared: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { left: left.map(Path::to_owned), shared: shared.into_iter().collect(), ..Self::default() }
    }

    /// The rights that an observed call needed on the host, in the order in which the kernel asks for them.
    pub(crate) fn acts(&mut self, observation: &Observation) -> Vec<Act> {
        let Object::Path(path) = &observation.object else { return Vec::new() };
        let path = lexical(Path::new(path));
        if KERNELS_OWN.iter().any(|own| path.starts_with(own)) {
            return Vec::new();
        }
        let wants = wants(observation);
        let path = self.meant(path);
        if self.is_own(&path, &wants) {
            return Vec::new();
        }
        let mut acts: Vec<Act> = match self.above_what_it_made(&path, &wants) {
            Some(above) => wants.into_iter().filter_map(|want| of_its_own(&above, want)).collect(),
            None => wants.into_iter().filter_map(|want| needed(&path, want)).collect(),
        };
        acts.extend(self.between_directories(observation, path));
        acts
    }

    /// The deepest directory of the host above something that the program made itself; and remembers what it makes now.
    fn above_what_it_made(&mut self, path: &Path, wants: &[Want]) -> Option<PathBuf> {
        if path.symlink_metadata().is_ok() {
            return None;
        }
        let own = path.ancestors().any(|above| self.made.contains(above));
        let makes = wants.iter().any(|want| matches!(want, Want::Make | Want::Put));
        if makes && self.made.len() < OWN_NAMES_MAX {
            self.made.insert(path.to_owned());
        }
        own.then(|| path.ancestors().find(|above| above.is_dir()).map(Path::to_owned)).flatten()
    }

    /// Moving or linking from one directory to another changes both, for Landlock.
    fn between_directories(&mut self, observation: &Observation, path: PathBuf) -> Vec<Act> {
        if !observation.is_target {
            let moves =
                observation.operation.starts_with("rename") || observation.operation.starts_with("link");
            self.source = moves.then_some(path);
            return Vec::new();
        }
        let Some(source) = self.source.take().filter(|source| source.parent() != path.parent()) else {
            return Vec::new();
        };
        if source.symlink_metadata().is_err() {
            return Vec::new();
        }
        let needs = [Need::File(FileOp::Write), Need::File(FileOp::Delete)];
        needs.into_iter().flat_map(|need| [entry(&source, need), entry(&path, need)]).flatten().collect()
    }

    /// What a name in /tmp stands for if the command was written for another directory.
    fn meant(&self, path: PathBuf) -> PathBuf {
        let Ok(name) = path.strip_prefix("/tmp") else { return path };
        let there = self.left.as_ref().map(|left| left.join(name));
        match there.filter(|_| !name.as_os_str().is_empty()) {
            Some(there) if path.symlink_metadata().is_err() && there.symlink_metadata().is_ok() => there,
            _ => path,
        }
    }

    /// Whether the path belongs to what the program made in a private directory, or is being made there now.
    fn is_own(&mut self, path: &Path, wants: &[Want]) -> bool {
        let private = |root: &&&str| {
            path.starts_with(root) && !self.shared.iter().any(|shared| shared == Path::new(root))
        };
        let Some(root) = PRIVATE.iter().find(private) else { return false };
        if path == Path::new(root) || path.ancestors().any(|above| self.own.contains(above)) {
            return true;
        }
        let makes = wants.iter().any(|want| matches!(want, Want::Make | Want::Put));
        let own_parent = path.parent() == Some(Path::new(root));
        if makes && own_parent {
            if self.own.len() < OWN_NAMES_MAX {
                self.own.insert(path.to_owned());
            }
            return true;
        }
        false
    }
}

fn wants(observation: &Observation) -> Vec<Want> {
    let flags = observation.flags;
    match (observation.operation, observation.is_target) {
        ("open" | "openat", _) => opening(flags),
        ("creat", _) => vec![Want::Put],
        ("mkdir" | "mkdirat" | "mknod" | "mknodat" | "symlink" | "symlinkat" | "bind", _) => vec![Want::Make],
        ("link" | "linkat", false) => vec![Want::ReadThere],
        ("link" | "linkat", true) => vec![Want::Make],
        ("truncate" | "chmod" | "fchmodat" | "fchmodat2" | "chown" | "lchown" | "fchownat" | "utime", _) => {
            vec![Want::Change]
        }
        ("utimes" | "futimesat" | "utimensat" | "setxattr" | "lsetxattr" | "setxattrat", _) => {
            vec![Want::Change]
        }
        ("removexattr" | "lremovexattr" | "removexattrat", _) => vec![Want::Change],
        ("unlink" | "unlinkat" | "rmdir", _) => vec![Want::Remove],
        ("rename" | "renameat" | "renameat2", is_target) => {
            if is_target || flags & RENAME_EXCHANGE != 0 {
                vec![Want::Make, Want::Remove]
            } else {
                vec![Want::Remove]
            }
        }
        ("execve" | "execveat", _) => vec![Want::Read, Want::Execute],
        ("connect", _) => vec![Want::Connect],
        _ => vec![Want::Look],
    }
}

fn opening(flags: u32) -> Vec<Want> {
    let access = flags & 3;
    if flags & O_PATH != 0 {
        return vec![Want::Look];
    }
    let mut wants = Vec::new();
    if access != O_WRONLY {
        wants.push(if flags & O_CREAT != 0 { Want::ReadNew } else { Want::Read });
    }
    if flags & O_TMPFILE_BIT != 0 && access != 0 {
        wants.push(Want::Change);
    } else if flags & O_CREAT != 0 {
        wants.push(if matches!(access, O_WRONLY | O_RDWR) || flags & O_TRUNC != 0 {
            Want::Put
        } else {
            Want::Make
        });
    } else if matches!(access, O_WRONLY | O_RDWR) || flags & O_TRUNC != 0 {
        wants.push(Want::Change);
    }
    wants
}

/// What `want` needs of the host's object at `path`; nothing where the host has none, or would refuse it too.
fn needed(path: &Path, want: Want) -> Option<Act> {
    match want {
        Want::Look => needed(path, Want::Read).map(|act| Act { looks: true, ..act }),
        Want::Read => {
            let found = find(path)?;
            // What the sandbox has of its own at this name is what the program met.
            let made_up = is_always_shown(path) && path.starts_with("/etc");
            let shown = made_up || is_always_shown(&found.path) && !is_private(&found.path);
            (!shown && found.may(FileOp::Read)).then(|| found.act(Need::File(FileOp::Read)))
        }
        // Landlock asks for the right over a new file as well, and finds it at the directory.
        Want::ReadNew if path.symlink_metadata().is_ok() => needed(path, Want::Read),
        Want::ReadThere if path.symlink_metadata().is_err() => None,
        Want::ReadNew | Want::ReadThere => entry(path, Need::File(FileOp::Read)),
        Want::Change => {
            let found = find(path)?;
            found.may(FileOp::Write).then(|| found.act(Need::File(FileOp::Write)))
        }
        Want::Put => needed(path, Want::Change).or_else(|| needed(path, Want::Make)),
        // What is there already cannot be made; whether it may be known of is a question of its own.
        Want::Make if path.symlink_metadata().is_ok() => None,
        Want::Make => entry(path, Need::File(FileOp::Write)),
        Want::Remove => {
            path.symlink_metadata().ok()?;
            entry(path, Need::File(FileOp::Delete))
        }
        Want::Execute => Some(find(path)?.act(Need::Execute)),
        Want::Connect => {
            use std::os::unix::fs::FileTypeExt as _;
            let seen = path.metadata().ok()?;
            if seen.file_type().is_socket() { entry(path, Need::Connect) } else { None }
        }
    }
}

/// The same of something that the program made below the host's directory `above`.
fn of_its_own(above: &Path, want: Want) -> Option<Act> {
    let need = match want {
        // The directory is shown to whoever may make something in it.
        Want::Look => return None,
        Want::Read | Want::ReadNew | Want::ReadThere => Need::File(FileOp::Read),
        Want::Change | Want::Make | Want::Put => Need::File(FileOp::Write),
        Want::Remove => Need::File(FileOp::Delete),
        Want::Connect => Need::Connect,
        Want::Execute => Need::Execute,
    };
    let found = find(above)?;
    let shown = is_always_shown(&found.path) && !is_private(&found.path);
    (!shown || need != Need::File(FileOp::Read)).then(|| found.act(need))
}

/// Whether a sandbox has a private, empty directory there.
pub(crate) fn is_private(path: &Path) -> bool {
    PRIVATE.iter().any(|private| path.starts_with(private))
}

/// Something of the host.
struct Found {
    /// Without links.
    path: PathBuf,
    named: Option<PathBuf>,
    seen: std::fs::Metadata,
}

/// What the host has at the path, links followed. Sockets, pipes and devices are reached through their directory only.
fn find(path: &Path) -> Option<Found> {
    let real = match Resolved::find(path) {
        Ok(found) => found.path().to_owned(),
        Err(ResolveError::Special { .. }) => {
            let parent = Resolved::find(path.parent()?).ok()?;
            parent.path().join(path.file_name().unwrap_or(OsStr::new("")))
        }
        Err(_) => return None,
    };
    let seen = real.symlink_metadata().ok()?;
    let shown = is_always_shown(path) && !is_private(path);
    let named = (real != path && !shown).then(|| path.to_owned());
    Some(Found { path: real, named, seen })
}

impl Found {
    /// Whether the caller's own rights allow it: where they do not, no grant would help. Not exact: whether the caller is in
    /// the file's group is not asked, and root may always.
    fn may(&self, op: FileOp) -> bool {
        let user = ringfence_sandbox::user_id();
        let bit = match op {
            FileOp::Read => 0o4,
            FileOp::Write | FileOp::Delete => 0o2,
        };
        let mode = self.seen.mode();
        let bits = if self.seen.uid() == user { mode >> 6 } else { mode | mode >> 3 };
        // To know of a directory needs no right over it.
        user == 0 || bits & bit != 0 || op == FileOp::Read && self.seen.is_dir()
    }

    fn act(self, need: Need) -> Act {
        // A path that has no canonical form is longer than any grant can be.
        let path = CanonicalPath::new(&self.path).unwrap_or_else(|_| CanonicalPath::root());
        let place = if self.seen.is_dir() { Place::Directory(path) } else { Place::File(path) };
        Act { need, place, named: self.named, looks: false }
    }
}

/// A right over the directory of a name.
fn entry(path: &Path, need: Need) -> Option<Act> {
    let parent = find(path.parent()?)?;
    if !parent.seen.is_dir() || !parent.may(FileOp::Write) {
        return None;
    }
    let directory = CanonicalPath::new(&parent.path).ok()?;
    let entry = CanonicalPath::new(parent.path.join(path.file_name()?)).ok()?;
    Some(Act { need, place: Place::In { directory, entry }, named: parent.named, looks: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(operation: &'static str, path: &Path, flags: u32) -> Observation {
        Observation { operation, object: Object::Path(path.into()), is_target: false, flags, count: 1 }
    }

    /// Not in /tmp, of which a sandbox has its own.
    fn directory() -> (tempfile::TempDir, PathBuf) {
        let made = tempfile::Builder::new()
            .prefix("judge")
            .tempdir_in("/var")
            .or_else(|_| tempfile::tempdir_in("/dev/shm"))
            .unwrap();
        let path = Resolved::find(made.path()).unwrap().path().to_owned();
        (made, path)
    }

    fn needs(view: &mut View, observation: &Observation) -> Vec<(Need, String)> {
        view.acts(observation).into_iter().map(|act| (act.need, act.place.pattern().to_string())).collect()
    }

    #[test]
    fn each_call_needs_what_the_kernel_asks_for() {
        if ringfence_sandbox::user_id() != 0 {
            // Only root can make a directory outside of the private ones.
            return;
        }
        let (_made, root) = directory();
        let file = root.join("a");
        std::fs::write(&file, "x").unwrap();
        let (all, one) = (format!("{}/**", root.display()), file.display().to_string());
        let (read, write, delete) =
            (Need::File(FileOp::Read), Need::File(FileOp::Write), Need::File(FileOp::Delete));
        let new = root.join("new");
        for (operation, path, flags, expected) in [
            ("openat", &file, 0, vec![(read, one.clone())]),
            ("openat", &file, O_RDWR, vec![(read, one.clone()), (write, one.clone())]),
            ("openat", &file, O_WRONLY | O_CREAT | O_TRUNC, vec![(write, one.clone())]),
            ("openat", &new, O_WRONLY | O_CREAT, vec![(write, all.clone())]),
            ("openat", &new, O_RDWR | O_CREAT, vec![(read, all.clone()), (write, all.clone())]),
            ("openat", &new, 0, vec![]),
            ("statx", &root, 0, vec![(read, all.clone())]),
            ("mkdir", &new, 0, vec![(write, all.clone())]),
            ("mkdir", &root, 0, vec![]),
            ("unlink", &file, 0, vec![(delete, all.clone())]),
            ("unlink", &new, 0, vec![]),
            ("rename", &file, 0, vec![(delete, all.clone())]),
            ("fchmodat2", &file, 0, vec![(write, one.clone())]),
            ("setxattrat", &file, 0, vec![(write, one.clone())]),
            ("execve", &file, 0, vec![(read, one.clone()), (Need::Execute, one.clone())]),
        ] {
            assert_eq!(
                needs(&mut View::default(), &seen(operation, path, flags)),
                expected,
                "{operation} {flags:o}"
            );
        }
        let mut over = seen("renameat2", &file, 0);
        over.is_target = true;
        assert_eq!(needs(&mut View::default(), &over), [(delete, all)], "renaming over a file takes it away");
    }

    #[test]
    fn what_each_sandbox_has_of_its_own_is_no_refusal() {
        let view = &mut View::default();
        for path in
            ["/usr/bin/env", "/proc/self/status", "/dev/null", "/etc/passwd", "/etc", "/", "/tmp", "/var/tmp"]
        {
            assert_eq!(needs(view, &seen("openat", Path::new(path), 0)), [], "{path}");
        }
    }

    #[test]
    fn what_a_program_makes_in_its_own_tmp_is_its_own() {
        let made = tempfile::tempdir().unwrap();
        let root = Resolved::find(made.path()).unwrap().path().to_owned();
        let file = root.join("a");
        std::fs::write(&file, "x").unwrap();
        let pattern = file.display().to_string();
        let read = seen("openat", &file, 0);
        assert_eq!(needs(&mut View::default(), &read), [(Need::File(FileOp::Read), pattern)]);
        let mut view = View::default();
        if root.parent() == Some(Path::new("/tmp")) {
            assert_eq!(needs(&mut view, &seen("mkdir", &root, 0)), [], "a directory of the same name");
            assert_eq!(needs(&mut view, &read), []);
        }
    }

    #[test]
    fn a_relative_name_is_looked_for_where_the_caller_was() {
        let made = tempfile::tempdir_in("/var/tmp").unwrap();
        let left = Resolved::find(made.path()).unwrap().path().to_owned();
        let name = left.file_name().unwrap().to_owned();
        std::fs::write(left.join(&name), "x").unwrap();
        let inside = seen("openat", &Path::new("/tmp").join(&name), 0);
        let pattern = left.join(&name).display().to_string();
        assert_eq!(needs(&mut View::new(Some(&left), []), &inside), [(Need::File(FileOp::Read), pattern)]);
        assert_eq!(needs(&mut View::default(), &inside), [], "its own /tmp was meant");
    }
}
