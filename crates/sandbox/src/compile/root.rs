//! The root that a sandbox sees: what every one has, what is granted, what is hidden, and the Landlock rules that go with
//! each.
//!
//! It comes in two parts. The recipe is what can be the same for many sandboxes: directories, links, small files, and parts of
//! the system. The launcher builds each recipe once. The steps are what only this sandbox has, and only mount: its /proc,
//! its /tmp, what is granted, what is hidden.

mod granted;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use granted::GRANTS;

use super::{CompileError, INSIDE_ID, USER_NAME, right};
use crate::encode::{Records, Writer};
use crate::kernel::Facts;
use crate::plan::{Mount, NOTES, Plan, Processes};
use crate::wire::{build, source};

/// Not readable for the program by Landlock alone: proof that Landlock is on.
pub(super) const PROBE: &str = "/.ringfence";
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const TOP_LEVEL: [&str; 7] = ["bin", "sbin", "lib", "lib64", "lib32", "libx32", "usr"];
/// What of the host's /etc programs need and tells nothing: library cache, certificates, alternatives, names of
/// protocols and services. The rest is made up.
const ETC_SHOWN: [&str; 10] = [
    "alternatives",
    "crypto-policies",
    "ld.so.cache",
    "locale.alias",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];
/// Where a sandbox has its private, writable directory if /tmp itself is not granted.
const PLAIN_SCRATCH: &str = "tmp";
/// Where distributions keep Java.
const JAVA_HOMES: &str = "/usr/lib/jvm";
/// How old the picture of the host's system may be: a file of it that was replaced is seen by sandboxes started this much
/// later. What changes below a directory that is shown is seen at once.
pub(crate) const SYSTEM_AGE_MAX: Duration = Duration::from_secs(1);
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const RDONLY: u64 = 0x1;

/// The root under construction.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// Grants are taken by the launcher, and id-mapped.
    as_root: bool,
    /// The file rights that this kernel's Landlock knows.
    handled: u64,
    /// Parts of the system, which the recipe mounts.
    system: Records,
    system_paths: Vec<PathBuf>,
    recipe: Records,
    /// Mounts of the recipe, to be carried out when all of it is made.
    attached: Records,
    /// What is granted.
    pub(super) sources: Records,
    source_paths: Vec<PathBuf>,
    pub(super) steps: Records,
    /// The one directory that is not part of the recipe, although it is ours: it is private and can be written.
    scratch: Option<PathBuf>,
    /// The steps that hide something, with its path.
    pub(super) covers: Vec<(u32, PathBuf)>,
    pub(super) rules: Records,
    /// Paths (without the leading slash) that exist in our own file systems.
    made: BTreeSet<PathBuf>,
    /// Which of these are links.
    linked: BTreeSet<PathBuf>,
    /// Mount points of the host's trees: nothing may be created below.
    foreign: Vec<PathBuf>,
    /// Grants that are attached elsewhere than at their own path, and where.
    elsewhere: Vec<(PathBuf, PathBuf)>,
}

impl Root {
    /// The root of a plan: what every sandbox has, then what is granted.
    ///
    /// # Errors
    /// [`CompileError::NotVisible`] when the program would not be shown.
    pub(super) fn of(plan: &Plan, facts: &Facts, scratch_bytes: u64) -> Result<Self, CompileError> {
        let mut root = Self::base(facts);
        root.listing(plan);
        root.java(plan);
        for (name, text) in &plan.notes {
            root.file(&Path::new(NOTES.trim_start_matches('/')).join(name), 0o444, text.as_bytes());
        }
        root.steps.add().u32(build::PROC).text(OsStr::new("proc"));
        // A grant of /tmp itself shows the host's; shared memory then has a place of its own.
        let granted = plan.mounts.iter().any(|mount| mount.source.path() == Path::new("/tmp"));
        root.scratch(if granted { ".scratch" } else { PLAIN_SCRATCH }, scratch_bytes);
        root.var_tmp(plan);
        root.grants(plan, scratch_bytes);
        root.program(plan)?;
        Ok(root)
    }

    /// The recipe of a plan that is granted nothing: what a launcher prepares before it knows of any plan.
    pub(super) fn plain_recipe(facts: &Facts) -> Vec<u8> {
        let mut root = Self::base(facts);
        root.scratch(PLAIN_SCRATCH, 0);
        root.symlink("/tmp", Path::new("var/tmp"));
        root.recipe()
    }

    /// What the launcher builds once for all plans in which this is the same.
    pub(super) fn recipe(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.records(&self.system).records(&self.recipe);
        to.into_bytes()
    }

    /// The path of each source: the recipe's, then what is granted.
    pub(super) fn take_source_paths(&mut self) -> Vec<PathBuf> {
        let mut paths = std::mem::take(&mut self.system_paths);
        paths.append(&mut self.source_paths);
        paths
    }

    /// How many sources there are.
    pub(super) fn source_count(&self) -> usize {
        self.system_paths.len() + self.source_paths.len()
    }

    /// With the host's own root (a weakened plan) Landlock alone says what is shown.
    pub(super) fn of_the_host(plan: &Plan, facts: &Facts) -> Self {
        let mut root = Self::new(facts);
        root.landlock_without_root(plan);
        root
    }

    fn new(facts: &Facts) -> Self {
        Self {
            as_root: facts.root,
            handled: facts.landlock_handled().files,
            system: Records::default(),
            system_paths: Vec::new(),
            recipe: Records::default(),
            attached: Records::default(),
            sources: Records::default(),
            source_paths: Vec::new(),
            steps: Records::default(),
            scratch: None,
            covers: Vec::new(),
            rules: Records::default(),
            made: BTreeSet::new(),
            linked: BTreeSet::new(),
            foreign: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    /// Everything that each sandbox has, as it was [`SYSTEM_AGE_MAX`] ago at most.
    fn base(facts: &Facts) -> Self {
        static BASE: Mutex<Option<(Instant, Root)>> = Mutex::new(None);
        let mut base = BASE.lock().unwrap_or_else(PoisonError::into_inner);
        match &*base {
            Some((seen, known)) if seen.elapsed() < SYSTEM_AGE_MAX && known.as_root == facts.root => {
                known.clone()
            }
            _ => {
                let new = Self::look(facts);
                *base = Some((Instant::now(), new.clone()));
                new
            }
        }
    }

    /// Making comes before mounting, so that the launcher opens each directory once.
    fn look(facts: &Facts) -> Self {
        let mut root = Self::new(facts);
        root.file(Path::new(PROBE.trim_start_matches('/')), 0o444, b"");
        root.etc();
        root.devices();
        for name in TOP_LEVEL {
            root.show_top_level(name);
        }
        root.directory(Path::new("proc"));
        root.rule("/proc", right::READ_FILE | right::READ_DIR | right::WRITE_FILE);
        root.mount_attached();
        root
    }

    /// What the root itself and the directories on the way to the grants hold may be listed. Landlock's rules reach down, so
    /// it may not when something is granted that may be changed and not read: the names in it would be told.
    fn listing(&mut self, plan: &Plan) {
        let is_blind = |mount: &Mount| mount.access.changes() && !mount.access.read;
        self.rule(if plan.mounts.iter().any(is_blind) { "/dev" } else { "/" }, right::READ_DIR);
    }

    fn mount_attached(&mut self) {
        let attached = std::mem::take(&mut self.attached);
        self.recipe.append(&attached);
    }

    /// /usr, and what stands beside it: a link on merged systems, a directory on others.
    fn show_top_level(&mut self, name: &str) {
        let path = Path::new("/").join(name);
        let Ok(seen) = std::fs::symlink_metadata(&path) else { return };
        if seen.is_symlink() {
            if let Ok(target) = std::fs::read_link(&path) {
                self.symlink(&target, Path::new(name));
            }
        } else if seen.is_dir() {
            self.show(&path, &seen);
        }
    }

    /// Shows a directory of the host's system read-only at its own path.
    fn show(&mut self, path: &Path, seen: &Metadata) {
        self.attach_later(path, identity(seen), source::SYSTEM, RDONLY | NOSUID | NODEV, true);
        self.rule(path, right::READ);
    }

    fn etc(&mut self) {
        let id = INSIDE_ID;
        let passwd = format!(
            "root:x:0:0:root:/:/usr/sbin/nologin\n{USER_NAME}:x:{id}:{id}:{USER_NAME}:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
        );
        let group = format!("root:x:0:\n{USER_NAME}:x:{id}:\nnogroup:x:65534:\n");
        for (name, content) in [
            ("passwd", passwd.as_str()),
            ("group", group.as_str()),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("hostname", concat!("sandbox", "\n")),
            (
                "nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
            ),
            ("resolv.conf", ""),
        ] {
            self.file(&Path::new("etc").join(name), 0o444, content.as_bytes());
        }
        for name in ETC_SHOWN {
            self.show_etc(&Path::new("/etc").join(name));
        }
        self.local_time();
        self.rule("/etc", right::READ);
    }

    fn show_etc(&mut self, path: &Path) {
        let Ok(seen) = std::fs::symlink_metadata(path) else { return };
        if seen.is_symlink() {
            if let Ok(target) = std::fs::read_link(path) {
                self.symlink(&target, path.strip_prefix("/").unwrap_or(path));
            }
            return;
        }
        let attributes = RDONLY | NOSUID | NODEV | NOEXEC;
        self.attach_later(path, identity(&seen), source::SYSTEM, attributes, seen.is_dir());
    }

    /// The configuration of Java, for its own launcher and for whoever may start it.
    fn java(&mut self, plan: &Plan) {
        let is_java = plan.program.file().path().starts_with(JAVA_HOMES);
        if is_java || plan.processes == Processes::Allowed {
            for path in java_directories() {
                self.show_etc(&path);
            }
            self.mount_attached();
        }
    }

    /// The time zone: a link into /usr/share/zoneinfo as on the host; a file elsewhere is shown.
    fn local_time(&mut self) {
        let path = Path::new("/etc/localtime");
        match std::fs::read_link(path) {
            Ok(target) => self.symlink(&target, Path::new("etc/localtime")),
            Err(_) => self.show_etc(path),
        }
    }

    fn devices(&mut self) {
        self.directory(Path::new("dev"));
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            let Ok(seen) = std::fs::metadata(&path) else { continue };
            if !seen.file_type().is_char_device() {
                continue;
            }
            self.attach_later(&path, (seen.rdev(), 0), source::DEVICE, RDONLY | NOSUID | NOEXEC, false);
            self.rule(path, right::READ_FILE | right::WRITE_FILE);
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            self.symlink(target, &Path::new("dev").join(name));
        }
    }

    /// /var/tmp is /tmp, unless something below it was granted: then it holds that and nothing else.
    fn var_tmp(&mut self, plan: &Plan) {
        let granted = plan.mounts.iter().map(|mount| mount.source.path());
        let named = plan.links.iter().map(|(from, _)| from.as_path());
        if !granted.chain(named).any(|path| path.starts_with("/var/tmp")) {
            self.symlink("/tmp", Path::new("var/tmp"));
        }
    }

    /// A private, empty, writable directory in memory. `.shm` below it is /dev/shm.
    fn scratch(&mut self, name: &str, bytes: u64) {
        self.directory(Path::new(name));
        self.scratch = Some(PathBuf::from(name));
        let size = OsString::from(bytes.to_string());
        self.steps.add().u32(build::SCRATCH).text(&size).u64(NOSUID | NODEV | NOEXEC).text(OsStr::new(name));
        let shared = Path::new(name).join(".shm");
        self.made.insert(shared.clone());
        place(self.maker(&shared).u32(build::DIRECTORY).u32(0o777), &shared);
        self.symlink(Path::new("/").join(&shared), Path::new("dev/shm"));
        let all = right::READ_FILE
            | right::READ_DIR
            | right::WRITE_FILE
            | right::REMOVE
            | right::MAKE
            | right::REFER
            | right::TRUNCATE;
        self.rule(format!("/{name}"), all);
    }

    /// Makes sure that the program and its scripts are shown. A program in a writable tree lies on a `noexec` mount; it is
    /// mounted over itself, read-only, so that it alone can be executed and cannot be replaced.
    fn program(&mut self, plan: &Plan) -> Result<(), CompileError> {
        for file in plan.program.scripts().iter().chain([plan.program.file()]) {
            let shown = self.is_foreign(&self.located(file.path().strip_prefix("/").unwrap_or(file.path())));
            let deepest = |path: &Path| file.path().starts_with(path).then(|| path.components().count());
            let hidden = plan.hidden.iter().filter_map(|hidden| deepest(hidden.path())).max();
            let granted = plan.mounts.iter().filter_map(|mount| deepest(mount.source.path())).max();
            let hidden = hidden.is_some_and(|hidden| granted.is_none_or(|granted| granted <= hidden));
            if !shown || hidden {
                return Err(CompileError::NotVisible { path: file.path().to_owned() });
            }
        }
        let file = plan.program.file();
        let deepest = plan.mounts.iter().filter(|mount| file.path().starts_with(mount.source.path()));
        let deepest = deepest.max_by_key(|mount| mount.source.path().components().count());
        // In a copy it would be another file than the one that was looked at.
        if deepest.is_some_and(|mount| mount.access.changes() && (!mount.access.execute || plan.throw_away)) {
            let source = self.granted_source(file, RDONLY | NOSUID | NODEV);
            let place = self.located(file.path().strip_prefix("/").unwrap_or(file.path()));
            let place = Path::new("/").join(place);
            self.attach(source, &place, false);
            self.rule(&place, right::READ & right::OF_FILES);
        }
        Ok(())
    }

    fn landlock_without_root(&mut self, plan: &Plan) {
        for path in ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/proc"] {
            if let Ok(seen) = std::fs::metadata(path) {
                self.rule(path, if seen.is_dir() { right::READ } else { right::READ & right::OF_FILES });
            }
        }
        for name in DEVICES {
            self.rule(format!("/dev/{name}"), right::READ_FILE | right::WRITE_FILE);
        }
        for mount in &plan.mounts {
            let found = &mount.source;
            self.rule(found.path(), right::of(mount.access, found.is_directory()));
        }
    }

    /// Makes the mount point of a part of the system now, and mounts when all of the recipe is made.
    ///
    /// The identity is not compared with what will be found, because a package may be replacing the file at this moment; but
    /// it makes the recipe another one when the file has been replaced.
    fn attach_later(
        &mut self,
        path: &Path,
        identity: (u64, u64),
        kind: u32,
        attributes: u64,
        directory: bool,
    ) {
        let number = self.system.count();
        self.system_paths.push(path.to_owned());
        write_source(self.system.add(), path, identity, kind, (0, 0), attributes);
        let target = path.strip_prefix("/").unwrap_or(path);
        if directory {
            self.directory(target);
        } else {
            self.file(target, 0o444, b"");
        }
        self.attached.add().u32(build::ATTACH).u32(number).text(target.as_os_str());
        self.foreign.push(target.to_owned());
    }

    fn attach(&mut self, source: u32, target: &Path, directory: bool) {
        let target = target.strip_prefix("/").unwrap_or(target);
        if directory {
            self.directory(target);
        } else if !self.is_foreign(target) && !self.made.contains(target) {
            self.file(target, 0o444, b"");
        }
        self.steps.add().u32(build::ATTACH).u32(source).text(target.as_os_str());
        self.foreign.push(target.to_owned());
    }

    /// Allows what of `access` this kernel's Landlock knows; a rule that would allow nothing is an error for the kernel.
    fn rule(&mut self, path: impl AsRef<Path>, access: u64) {
        let access = access & self.handled;
        if access != 0 {
            self.rules.add().u64(access).text(path.as_ref().as_os_str());
        }
    }

    fn is_foreign(&self, path: &Path) -> bool {
        self.foreign.iter().any(|mount| path.starts_with(mount))
    }

    /// Makes `path` and its parents on our own file systems; what lies below a host's tree must exist there.
    fn directory(&mut self, path: &Path) {
        let mut parents: Vec<&Path> =
            path.ancestors().filter(|parent| !parent.as_os_str().is_empty()).collect();
        parents.reverse();
        for parent in parents {
            if !self.is_foreign(parent) && self.made.insert(parent.to_owned()) {
                place(self.maker(parent).u32(build::DIRECTORY).u32(0o755), parent);
            }
        }
    }

    fn parent(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
    }

    fn file(&mut self, path: &Path, mode: u32, content: &[u8]) {
        self.parent(path);
        self.made.insert(path.to_owned());
        place(self.maker(path).u32(build::FILE).u32(mode), path).blob(content);
    }

    fn symlink(&mut self, target: impl AsRef<Path>, path: &Path) {
        self.parent(path);
        self.made.insert(path.to_owned());
        self.linked.insert(path.to_owned());
        place(self.maker(path).u32(build::SYMLINK).text(target.as_ref().as_os_str()), path);
    }

    /// Where something new is written down: in the recipe, unless it lies in the one directory that is not part of it.
    fn maker(&mut self, path: &Path) -> &mut Writer {
        let private =
            self.scratch.as_ref().is_some_and(|scratch| path.starts_with(scratch) && path != scratch);
        if private { self.steps.add() } else { self.recipe.add() }
    }
}

fn identity(seen: &Metadata) -> (u64, u64) {
    (seen.dev(), seen.ino())
}

fn write_source(
    to: &mut Writer,
    path: &Path,
    identity: (u64, u64),
    flags: u32,
    owner: (u32, u32),
    attributes: u64,
) {
    to.u32(flags).u32(owner.0).u32(owner.1).u64(attributes);
    to.u64(identity.0).u64(identity.1).text(path.as_os_str());
}

/// Writes where something is made: the directory, empty for the root, and the name in it. The launcher opens the
/// directory without following links, so nothing can be made through one of the root's own links.
fn place<'a>(to: &'a mut Writer, path: &Path) -> &'a mut Writer {
    to.text(path.parent().unwrap_or(Path::new("")).as_os_str()).text(path.file_name().unwrap_or_default())
}

/// Whether every sandbox has something at `path` without any grant: the host's own, or a made-up one in its place.
#[must_use]
pub fn is_always_shown(path: &Path) -> bool {
    const MADE_UP: [&str; 7] =
        ["hostname", "hosts", "group", "localtime", "nsswitch.conf", "passwd", "resolv.conf"];
    let own = TOP_LEVEL
        .iter()
        .chain(&["proc", "dev", "tmp"])
        .any(|name| path.starts_with(Path::new("/").join(name)));
    let above = ["/etc", "/var/tmp"].iter().any(|made| Path::new(made).starts_with(path));
    own || above
        || path.strip_prefix("/etc").is_ok_and(|rest| {
            let java = rest.as_os_str().as_bytes().starts_with(b"java");
            java || ETC_SHOWN
                .iter()
                .chain(&MADE_UP)
                .any(|name| rest.starts_with(name) || Path::new(name).starts_with(rest))
        })
}

/// Where distributions keep the configuration of Java: /etc/java-17-openjdk and the like. Only Java's launcher, which is
/// a link into /usr/lib/jvm, makes it worth looking.
fn java_directories() -> Vec<PathBuf> {
    if !Path::new(JAVA_HOMES).exists() {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir("/etc") else { return Vec::new() };
    let is_java = |name: &OsStr| name.as_bytes().starts_with(b"java");
    entries.flatten().filter(|entry| is_java(&entry.file_name())).map(|entry| entry.path()).collect()
}
