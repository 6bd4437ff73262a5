//! From a plan to a request: which sources to take, how to build the root, what Landlock allows. Decides everything, so
//! that the launcher decides nothing; touches the system only to see which of the usual files exist.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::encode::{Records, Writer};
use crate::kernel::Facts;
use crate::layer::Layer;
use crate::plan::{Access, Plan, Processes};
use crate::resolve::Resolved;
use crate::seccomp;
use crate::wire::{self, build, flag, source};

/// The user and group inside. Nothing outside has these numbers: as root they stand for an unused uid, else for the
/// caller's own.
pub(crate) const INSIDE_ID: u32 = 1000;
pub(crate) const USER_NAME: &str = "sandbox";
/// Not readable for the program by Landlock alone: proof that Landlock is on.
const PROBE: &str = "/.ringfence";
/// What covers a hidden directory or file: made in the root, empty, without any permission.
const EMPTY_DIRECTORY: &str = ".hidden-directory";
const EMPTY_FILE: &str = ".hidden-file";
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const TOP_LEVEL: [&str; 7] = ["bin", "sbin", "lib", "lib64", "lib32", "libx32", "usr"];
/// What of the host's /etc programs need and tells nothing: library cache, certificates, alternatives, names of
/// protocols and services. The rest is made up.
const ETC_SHOWN: [&str; 12] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const RDONLY: u64 = 0x1;
/// The launcher's own descriptors are below: a dozen, and one for each cgroup and listener.
const PROGRAM_FD_MIN: u32 = 64;
/// Without a cgroup, files in /tmp are counted by their size limit alone.
const SCRATCH_WITHOUT_LIMIT: u64 = 1 << 30;

mod right {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const REMOVE: u64 = 1 << 4 | 1 << 5;
    pub(super) const MAKE: u64 = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12;
    pub(super) const REFER: u64 = 1 << 13;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    pub(super) const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
    /// Rights that a rule on a regular file may name.
    pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15;
}

/// Why a plan cannot be turned into a sandbox although the layers are there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The program lies where the sandbox shows nothing.
    #[error("{} exists, but the sandbox does not show it", path.display())]
    NotVisible {
        /// The program, or the script that its interpreter must read.
        path: PathBuf,
    },
    /// The plan itself is wrong.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
}

/// The request, without what only a launch knows (ids, cgroup leaf).
pub(crate) struct Compiled {
    pub(crate) flags: u32,
    /// The path of each source, to name the one that fails.
    pub(crate) source_paths: Vec<PathBuf>,
    /// The path that each step hides, by the step's number.
    pub(crate) covers: Vec<(u32, PathBuf)>,
    tail: Writer,
}

/// The parts of a request that differ from launch to launch.
pub(crate) struct Launch<'a> {
    pub(crate) outside: (u32, u32),
    pub(crate) cgroup_leaf: &'a OsStr,
    pub(crate) cgroup_lines: u32,
    pub(crate) extra_flags: u32,
}

impl Compiled {
    pub(crate) fn request(&self, plan: &Plan, facts: &Facts, launch: &Launch<'_>) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(wire::MAGIC).u32(self.flags | launch.extra_flags);
        #[cfg(feature = "break-layers")]
        let broken = plan.broken.bits();
        #[cfg(not(feature = "break-layers"))]
        let broken = 0;
        to.u32(plan.layers.bits()).u32(plan.layers.bits()).u32(broken);
        to.u32(launch.outside.0).u32(launch.outside.1).u32(INSIDE_ID).u32(INSIDE_ID);
        facts.namespaces.iter().for_each(|inode| {
            to.u64(*inode);
        });
        to.text(OsStr::new(USER_NAME)).text(plan.working_directory.as_os_str());
        to.text(launch.cgroup_leaf).u32(launch.cgroup_lines);
        let mut bytes = to.into_bytes();
        bytes.extend(self.tail.clone().into_bytes());
        bytes
    }
}

/// Which network namespace a sandbox is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkFrom {
    /// One of its own.
    Fresh,
    /// The one that the launcher is in, which is empty.
    Launcher,
}

/// Compiles `plan` for this kernel. `counted` says whether a cgroup counts memory.
pub(crate) fn compile(
    plan: &Plan,
    facts: &Facts,
    counted: bool,
    network: NetworkFrom,
) -> Result<Compiled, CompileError> {
    plan.check()?;
    let mut root = Root::new(facts);
    if plan.layers.contains(Layer::Mount) {
        root.base();
        // A grant of /tmp itself shows the host's; shared memory then has a place of its own.
        let granted = plan.mounts.iter().any(|mount| mount.source.path() == Path::new("/tmp"));
        root.scratch(if granted { ".scratch" } else { "tmp" }, scratch_bytes(plan));
        root.var_tmp(plan);
        root.grants(plan);
        root.program(plan)?;
    } else {
        root.landlock_without_root(plan);
    }
    if root.sources.count() as usize > wire::SOURCES_MAX {
        return Err(crate::plan::PlanError::TooLarge { what: "mounts", limit: wire::SOURCES_MAX }.into());
    }
    let mut flags = 0;
    let allowed = plan.processes == Processes::Allowed;
    let fresh = network == NetworkFrom::Fresh;
    for (bit, set) in [
        (flag::FRESH_NETWORK, fresh),
        (flag::PROCESSES, allowed),
        (flag::LISTEN, facts.listener && plan.layers.contains(Layer::Seccomp)),
        (flag::OBSERVE, plan.observe),
        (flag::SWITCH_IDS, facts.root),
    ] {
        if set {
            flags |= bit;
        }
    }
    let open_files = open_files(plan, facts);
    // Above the limit, and above what the launcher itself has open.
    let program_fd = u32::try_from(open_files).unwrap_or(u32::MAX).max(PROGRAM_FD_MIN);
    let choice = seccomp::Choice {
        processes: allowed,
        program_fd,
        program_text: secret_address(),
        report: facts.listener,
        observe: plan.observe && facts.listener,
        countable_memory_only: !counted && plan.limits.memory_bytes.is_some(),
    };
    let source_paths = std::mem::take(&mut root.source_paths);
    let covers = std::mem::take(&mut root.covers);
    Ok(Compiled { flags, source_paths, covers, tail: tail(plan, facts, root, choice, counted) })
}

/// An address that no program can guess: 47 bits, each guess costs a system call. Above what a static program and below
/// what stacks and libraries take. Keyed hashes of the standard library are keyed by the kernel's random source.
fn secret_address() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    const FIRST: u64 = 1 << 32;
    const COUNT: u64 = 0x7e00_0000_0000;
    FIRST + RandomState::new().build_hasher().finish() % COUNT
}

/// The descriptor limit: as asked, but one below the hard limit if the program's descriptor must lie above.
fn open_files(plan: &Plan, facts: &Facts) -> u64 {
    let room = if plan.processes == Processes::Denied {
        facts.open_files_max.saturating_sub(1)
    } else {
        facts.open_files_max
    };
    plan.limits.open_files.min(room)
}

/// /tmp and /dev/shm may hold as much as all memory: a cgroup counts their pages with the rest, and where there is
/// none the sampler adds what they hold.
fn scratch_bytes(plan: &Plan) -> u64 {
    plan.limits.memory_bytes.unwrap_or(SCRATCH_WITHOUT_LIMIT)
}

fn tail(plan: &Plan, facts: &Facts, root: Root<'_>, choice: seccomp::Choice, counted: bool) -> Writer {
    let mut to = Writer::default();
    to.blob(&seccomp::filter(choice)).blob(&seccomp::init_filter());
    let landlock = facts.landlock_handled();
    to.u32(landlock.size).u64(landlock.files).u64(landlock.network).u64(landlock.scopes);
    to.text(OsStr::new(if plan.layers.contains(Layer::Mount) { PROBE } else { "/" }));
    let program = plan.program.file();
    let (device, inode) = program.identity();
    to.text(program.path().as_os_str())
        .u64(device)
        .u64(inode)
        .u32(choice.program_fd)
        .u64(choice.program_text);
    let mut limits = Records::default();
    for (resource, value) in resource_limits(plan, open_files(plan, facts), counted) {
        limits.add().u32(resource).u64(value).u64(value);
    }
    let mut arguments = Records::default();
    for argument in plan.program.arguments().iter().chain(&plan.arguments) {
        arguments.add().text(argument);
    }
    let mut environment = Records::default();
    for (name, value) in &plan.environment {
        let mut entry = OsString::with_capacity(name.len() + value.len() + 1);
        entry.push(name);
        entry.push("=");
        entry.push(value);
        environment.add().text(&entry);
    }
    to.records(&limits).records(&root.rules).records(&root.sources).records(&root.steps);
    to.records(&arguments).records(&environment);
    to
}

/// Limits that the kernel holds for each process (getrlimit(2)); soft and hard alike.
fn resource_limits(plan: &Plan, open_files: u64, counted: bool) -> Vec<(u32, u64)> {
    // Locked memory is real memory that cannot be swapped; 64 KiB is what unprivileged users had for long.
    const LOCKED_BYTES: u64 = 64 * 1024;
    const QUEUE_BYTES: u64 = 819_200;
    let mut limits = vec![
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_MEMLOCK, LOCKED_BYTES),
        (libc::RLIMIT_MSGQUEUE, if counted { QUEUE_BYTES } else { 0 }),
        (libc::RLIMIT_NOFILE, open_files),
    ];
    if let Some(bytes) = plan.limits.file_size_bytes {
        limits.push((libc::RLIMIT_FSIZE, bytes));
    }
    if let (Some(bytes), false) = (plan.limits.memory_bytes, counted) {
        // One process can never pass the whole limit between two samples.
        limits.push((libc::RLIMIT_DATA, bytes));
    }
    if let (Some(tasks), false) = (plan.limits.tasks, counted) {
        // Counted for each user namespace since Linux 5.14; PID 1 is one of them.
        limits.push((libc::RLIMIT_NPROC, tasks.saturating_add(1)));
    }
    limits
}

/// The root under construction.
struct Root<'a> {
    facts: &'a Facts,
    /// The file rights that this kernel's Landlock knows.
    handled: u64,
    sources: Records,
    source_paths: Vec<PathBuf>,
    steps: Records,
    /// The steps that hide something, with its path.
    covers: Vec<(u32, PathBuf)>,
    rules: Records,
    /// Paths (without the leading slash) that exist in our own file systems.
    made: BTreeSet<PathBuf>,
    /// Mount points of the host's trees: nothing may be created below.
    foreign: Vec<PathBuf>,
}

impl<'a> Root<'a> {
    fn new(facts: &'a Facts) -> Self {
        Self {
            facts,
            handled: facts.landlock_handled().files,
            sources: Records::default(),
            source_paths: Vec::new(),
            steps: Records::default(),
            covers: Vec::new(),
            rules: Records::default(),
            made: BTreeSet::new(),
            foreign: Vec::new(),
        }
    }

    /// Everything that each sandbox has.
    fn base(&mut self) {
        self.file(Path::new(PROBE.trim_start_matches('/')), 0o444, b"");
        for name in TOP_LEVEL {
            self.show_top_level(name);
        }
        self.etc();
        self.directory(Path::new("proc"));
        self.steps.add().u32(build::PROC).text(OsStr::new("proc"));
        self.rule("/proc", right::READ_FILE | right::READ_DIR | right::WRITE_FILE);
        self.devices();
        self.rule("/", right::READ_DIR);
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
            self.show(&path, seen.dev(), seen.ino());
        }
    }

    /// Shows a part of the host's system read-only at its own path. `dev` and `ino` are what was seen.
    fn show(&mut self, path: &Path, device: u64, inode: u64) {
        let source = self.source(path, (device, inode), 0, (0, 0), RDONLY | NOSUID | NODEV);
        let directory = std::fs::metadata(path).is_ok_and(|seen| seen.is_dir());
        self.attach(source, path, directory);
        let access = if directory { right::READ } else { right::READ & right::OF_FILES };
        self.rule(path, access);
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
        let mut shown: Vec<PathBuf> = ETC_SHOWN.iter().map(|name| Path::new("/etc").join(name)).collect();
        shown.extend(java_directories());
        for path in shown {
            self.show_etc(&path);
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
        let source = self.source(path, (seen.dev(), seen.ino()), 0, (0, 0), RDONLY | NOSUID | NODEV | NOEXEC);
        self.attach(source, path, seen.is_dir());
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
            let source =
                self.source(&path, (seen.rdev(), 0), source::DEVICE, (0, 0), RDONLY | NOSUID | NOEXEC);
            self.attach(source, &path, false);
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
        if !plan.mounts.iter().any(|mount| mount.source.path().starts_with("/var/tmp")) {
            self.symlink("/tmp", Path::new("var/tmp"));
        }
    }

    /// A private, empty, writable directory in memory. `.shm` below it is /dev/shm.
    fn scratch(&mut self, name: &str, bytes: u64) {
        self.directory(Path::new(name));
        let size = OsString::from(bytes.to_string());
        self.steps.add().u32(build::SCRATCH).text(&size).u64(NOSUID | NODEV | NOEXEC).text(OsStr::new(name));
        let shared = Path::new(name).join(".shm");
        self.made.insert(shared.clone());
        place(self.steps.add().u32(build::DIRECTORY).u32(0o777), &shared);
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

    /// The grants, shallow ones first so that a deeper one lies on top, then what is hidden.
    fn grants(&mut self, plan: &Plan) {
        let mut mounts: Vec<_> = plan.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.source.path().components().count());
        for mount in &mounts {
            let found = &mount.source;
            let mut attributes = NOSUID | NODEV;
            if mount.access.changes() {
                attributes |= if mount.access.execute { 0 } else { NOEXEC };
            } else {
                attributes |= RDONLY;
            }
            let source = self.granted_source(found, attributes);
            let place = self.place(mount);
            self.attach(source, &place, found.is_directory());
            self.rule(&place, rights(mount.access, found.is_directory()));
        }
        for (from, to) in &plan.links {
            let from = from.strip_prefix("/").unwrap_or(from);
            if !self.is_foreign(from) && !self.made.contains(from) {
                self.symlink(to, from);
            }
        }
        if plan.hidden.is_empty() {
            return;
        }
        place(self.steps.add().u32(build::DIRECTORY).u32(0), Path::new(EMPTY_DIRECTORY));
        place(self.steps.add().u32(build::FILE).u32(0), Path::new(EMPTY_FILE)).blob(b"");
        for hidden in &plan.hidden {
            let cover = if hidden.is_directory() { EMPTY_DIRECTORY } else { EMPTY_FILE };
            let path = hidden.path().strip_prefix("/").unwrap_or(hidden.path());
            if self.is_foreign(path) {
                let (device, inode) = hidden.identity();
                self.covers.push((self.steps.count(), hidden.path().to_owned()));
                let to = self.steps.add().u32(build::COVER).text(OsStr::new(cover));
                to.text(path.as_os_str()).u64(device).u64(inode);
            }
        }
    }

    /// Where a grant is attached: at its own path, but for one case. Landlock's rules reach down, so below the private /tmp,
    /// where all is allowed, it could not hold writing against deleting. Such a grant is attached elsewhere, and its path is
    /// a link.
    fn place(&mut self, mount: &crate::plan::Mount) -> PathBuf {
        let path = mount.source.path();
        let split = mount.access.write != mount.access.delete || !mount.access.read;
        let below_scratch = path.starts_with("/tmp") && path != Path::new("/tmp");
        let inside = path.strip_prefix("/").unwrap_or(path);
        if !(mount.access.changes() && split && below_scratch) || self.is_foreign(inside) {
            return path.to_owned();
        }
        let place = Path::new("/.grants").join(self.sources.count().to_string());
        self.symlink(&place, inside);
        place
    }

    fn granted_source(&mut self, found: &Resolved, attributes: u64) -> u32 {
        // As root, the plugin's user could neither walk to the tree nor own what it makes there.
        let flags = if self.facts.root { source::EARLY | source::ID_MAPPED } else { 0 };
        self.source(found.path(), found.identity(), flags, found.owner(), attributes)
    }

    /// Makes sure that the program and its scripts are shown. A program in a writable tree lies on a `noexec` mount; it is
    /// mounted over itself, read-only, so that it alone can be executed and cannot be replaced.
    fn program(&mut self, plan: &Plan) -> Result<(), CompileError> {
        for file in plan.program.scripts().iter().chain([plan.program.file()]) {
            let shown = self
                .foreign
                .iter()
                .any(|mount| file.path().strip_prefix("/").is_ok_and(|path| path.starts_with(mount)));
            let hidden = plan.hidden.iter().any(|hidden| file.path().starts_with(hidden.path()));
            if !shown || hidden {
                return Err(CompileError::NotVisible { path: file.path().to_owned() });
            }
        }
        let file = plan.program.file();
        let deepest = plan.mounts.iter().filter(|mount| file.path().starts_with(mount.source.path()));
        let deepest = deepest.max_by_key(|mount| mount.source.path().components().count());
        if deepest.is_some_and(|mount| mount.access.changes() && !mount.access.execute) {
            let source = self.granted_source(file, RDONLY | NOSUID | NODEV);
            self.attach(source, file.path(), false);
            self.rule(file.path(), right::READ & right::OF_FILES);
        }
        Ok(())
    }

    /// With the host's own root (a weakened plan) Landlock alone says what is shown.
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
            self.rule(found.path(), rights(mount.access, found.is_directory()));
        }
    }

    fn source(
        &mut self,
        path: &Path,
        identity: (u64, u64),
        flags: u32,
        owner: (u32, u32),
        attributes: u64,
    ) -> u32 {
        let number = self.sources.count();
        self.source_paths.push(path.to_owned());
        let to = self.sources.add().u32(flags).u32(owner.0).u32(owner.1).u64(attributes);
        to.u64(identity.0).u64(identity.1).text(path.as_os_str());
        number
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
                place(self.steps.add().u32(build::DIRECTORY).u32(0o755), parent);
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
        place(self.steps.add().u32(build::FILE).u32(mode), path).blob(content);
    }

    fn symlink(&mut self, target: impl AsRef<Path>, path: &Path) {
        self.parent(path);
        self.made.insert(path.to_owned());
        place(self.steps.add().u32(build::SYMLINK).text(target.as_ref().as_os_str()), path);
    }
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
    own || path.strip_prefix("/etc").is_ok_and(|rest| {
        let java = rest.as_os_str().as_bytes().starts_with(b"java");
        java || ETC_SHOWN.iter().chain(&MADE_UP).any(|name| rest.starts_with(name))
    })
}

/// Where distributions keep the configuration of Java: /etc/java-17-openjdk and the like. Only Java's launcher, which is
/// a link into /usr/lib/jvm, makes it worth looking.
fn java_directories() -> Vec<PathBuf> {
    if !Path::new("/usr/lib/jvm").exists() {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir("/etc") else { return Vec::new() };
    let is_java = |name: &OsStr| name.as_bytes().starts_with(b"java");
    entries.flatten().filter(|entry| is_java(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// What Landlock allows below a grant.
fn rights(access: Access, directory: bool) -> u64 {
    let mut rights = 0;
    if access.read {
        rights |= right::READ_FILE | right::READ_DIR;
        if !access.changes() || access.execute {
            rights |= right::EXECUTE;
        }
    }
    if access.write {
        rights |= right::WRITE_FILE | right::TRUNCATE | right::MAKE;
    }
    if access.delete {
        rights |= right::REMOVE;
    }
    if access.write && access.delete {
        rights |= right::REFER;
    }
    if directory { rights } else { rights & right::OF_FILES }
}
