//! What a sandbox must be, as data: nothing here touches the system.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::layer::Layers;
use crate::resolve::{Program, Resolved};

/// What a mount allows. [`Access::default`] allows nothing.
///
/// Mounts hold reading against writing; deleting apart from writing is held by Landlock alone, and executing what lies in
/// a writable tree by the mount (`noexec`).
///
/// ```
/// use ringfence_sandbox::Access;
/// let save_only = Access { read: true, write: true, ..Access::default() };
/// assert!(!save_only.delete && !save_only.execute);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Access {
    /// Open for reading, list, stat.
    pub read: bool,
    /// Create, write, truncate, make directories, change modes.
    pub write: bool,
    /// Unlink, remove directories, rename away or over.
    pub delete: bool,
    /// Execute files although the tree is writable. Trees that are only readable are always executable.
    pub execute: bool,
}

impl Access {
    /// Reading only.
    pub const READ: Self = Self { read: true, write: false, delete: false, execute: false };
    /// Reading, writing and deleting, but not executing.
    pub const READ_WRITE: Self = Self { read: true, write: true, delete: true, execute: false };

    /// All that either allows.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            write: self.write || other.write,
            delete: self.delete || other.delete,
            execute: self.execute || other.execute,
        }
    }

    /// Whether the mount must be writable.
    #[must_use]
    pub fn changes(self) -> bool {
        self.write || self.delete
    }
}

/// One thing of the host that the sandbox shows.
///
/// ```
/// use ringfence_sandbox::{Access, Plan, Program, Resolved};
/// let mut plan = Plan::new(Program::find("ls".as_ref(), "/".as_ref())?);
/// plan.mount(Resolved::find("/usr/share".as_ref())?, Access::READ);
/// assert_eq!(plan.mounts()[0].access, Access::READ);
/// # Ok::<(), ringfence_sandbox::ResolveError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the host, with its identity: the launch is refused if something else is there by then.
    pub source: Resolved,
    /// What is allowed on it.
    pub access: Access,
}

/// Whether the program may start processes.
///
/// ```
/// use ringfence_sandbox::{Plan, Processes, Program};
/// let mut plan = Plan::new(Program::find("sh".as_ref(), "/".as_ref())?);
/// plan.argument("-c").argument("ls | wc -l").processes(Processes::Allowed);
/// # Ok::<(), ringfence_sandbox::ResolveError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Processes {
    /// Threads only; nothing but the program itself is ever executed.
    Denied,
    /// Children in the same sandbox, under the same limits.
    Allowed,
}

/// Where the empty network comes from.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Network, Plan, Program, Stdio};
/// let launcher = Launcher::start_with_shared_network()?;
/// let mut plan = Plan::new(Program::find("true".as_ref(), "/".as_ref())?);
/// let sandbox = launcher.launch(plan.network(Network::Shared), Stdio::null()?)?;
/// assert!(sandbox.report().shared_network);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// A network namespace of its own. Costs about 0.4 ms and 200 KiB of kernel memory.
    Fresh,
    /// The launcher's empty one, shared by all its sandboxes. Needs Landlock ABI 6, which keeps abstract unix sockets
    /// apart; their names can be seen by the others (/proc/self/net/unix), so they must not be secrets. A launcher that holds none makes a fresh one.
    Shared,
}

/// Limits of one sandbox. `None` lifts one. The defaults are Ringfence's (see `Limits::default`).
///
/// ```
/// let limits = ringfence_sandbox::Limits::default();
/// assert_eq!(limits.memory_bytes, Some(500_000_000));
/// assert_eq!(limits.tasks, Some(256));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all processes together, files in /tmp and shared memory included. Default 500 MB.
    pub memory_bytes: Option<u64>,
    /// CPU time in percent of one core, over periods of 100 ms. Default 80.
    pub cpu_percent: Option<u32>,
    /// Processes and threads, PID 1 not counted. Default 256.
    pub tasks: Option<u64>,
    /// The largest file that can be written (`RLIMIT_FSIZE`). Default 100 MB.
    pub file_size_bytes: Option<u64>,
    /// Open descriptors of each process (`RLIMIT_NOFILE`). Default 1024. Without the right to start processes it must
    /// be below the host's hard limit, since the program's own descriptor is kept out of reach above it.
    pub open_files: u64,
    /// Who holds memory, tasks and CPU. Default [`crate::Backend::Auto`].
    pub backend: crate::Backend,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: Some(500_000_000),
            cpu_percent: Some(80),
            tasks: Some(256),
            file_size_bytes: Some(100_000_000),
            open_files: 1024,
            backend: crate::Backend::Auto,
        }
    }
}

/// Where the files of [`Plan::note`] are, inside.
pub const NOTES: &str = "/etc/ringfence";

/// A request that can never be right, whatever the system.
///
/// ```
/// let error = ringfence_sandbox::PlanError::Reserved { path: "/proc".into() };
/// assert_eq!(error.to_string(), "/proc cannot be granted: a sandbox has its own, or it belongs to the kernel");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Arguments, environment and paths are C strings for the kernel.
    #[error("{what} contains a NUL byte, which no program can receive")]
    Nul {
        /// What it was: "an argument", "an environment entry", "a path".
        what: &'static str,
    },
    /// The sandbox has its own.
    #[error("{0} cannot be granted: a sandbox has its own, or it belongs to the kernel", path.display())]
    Reserved {
        /// The path that was to be granted.
        path: PathBuf,
    },
    /// Too much for one request.
    #[error("the plan is too large: {what} (limit {limit})")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
}

/// What one sandbox must be: the program and its world, its limits, and the layers that hold it.
///
/// ```no_run
/// use ringfence_sandbox::{Access, Launcher, Plan, Program, Resolved, Stdio};
///
/// let program = Program::find("ls".as_ref(), "/".as_ref())?;
/// let mut plan = Plan::new(program);
/// plan.argument("/srv/notes");
/// plan.mount(Resolved::find("/srv/notes".as_ref())?, Access::READ);
/// let launcher = Launcher::start()?;
/// let mut sandbox = launcher.launch(&plan, Stdio::inherit()?)?;
/// println!("{:?}", sandbox.wait()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(crate) program: Program,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) working_directory: PathBuf,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    pub(crate) hidden: Vec<Resolved>,
    pub(crate) processes: Processes,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
    pub(crate) layers: Layers,
    pub(crate) observe: bool,
    pub(crate) throw_away: bool,
    pub(crate) notes: Vec<(&'static str, &'static str)>,
    #[cfg(feature = "break-layers")]
    pub(crate) broken: Layers,
}

impl Plan {
    /// A plan with every layer, default limits, no grant, no network, no right to start processes, and an environment
    /// that names nothing of the host (`PATH`, `HOME=/tmp`, `TMPDIR=/tmp`, `USER`, `LANG=C.UTF-8`).
    #[must_use]
    pub fn new(program: Program) -> Self {
        let environment = [
            ("PATH", crate::resolve::SEARCH_PATH),
            ("HOME", "/tmp"),
            ("TMPDIR", "/tmp"),
            ("USER", crate::compile::USER_NAME),
            ("LOGNAME", crate::compile::USER_NAME),
            ("LANG", "C.UTF-8"),
        ];
        Self {
            arguments: Vec::new(),
            environment: environment.map(|(name, value)| (name.into(), value.into())).to_vec(),
            working_directory: PathBuf::from("/tmp"),
            mounts: Vec::new(),
            links: Vec::new(),
            hidden: Vec::new(),
            processes: Processes::Denied,
            network: Network::Fresh,
            limits: Limits::default(),
            layers: Layers::ALL,
            observe: false,
            throw_away: false,
            notes: Vec::new(),
            program,
            #[cfg(feature = "break-layers")]
            broken: Layers::NONE,
        }
    }

    /// Adds an argument after the program's name.
    pub fn argument(&mut self, argument: impl Into<OsString>) -> &mut Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable, replacing one of the same name.
    pub fn variable(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> &mut Self {
        let name = name.into();
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
        self
    }

    /// The directory in which the program starts, as seen inside. Default `/tmp`.
    pub fn working_directory(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.working_directory = path.into();
        self
    }

    /// Shows `source` at its own path with `access`; what is already granted on the same path is added.
    pub fn mount(&mut self, source: Resolved, access: Access) -> &mut Self {
        if let Some(known) = self.mounts.iter_mut().find(|mount| mount.source.path() == source.path()) {
            known.access = known.access.union(access);
        } else {
            self.mounts.push(Mount { source, access });
        }
        self
    }

    /// Makes the path `from` a symbolic link to `to` inside, for grants that were named by way of a link. Ignored where
    /// a mount already covers `from`.
    pub fn link(&mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> &mut Self {
        self.links.push((from.into(), to.into()));
        self
    }

    /// Hides what is at `path` below a mount: an empty directory, or an empty file that cannot be read, is in its place.
    /// A mount below `path` lies on top of it: the way there can be gone, and not listed.
    pub fn hide(&mut self, path: Resolved) -> &mut Self {
        self.hidden.push(path);
        self
    }

    /// Whether the program may start processes. Default [`Processes::Denied`].
    pub fn processes(&mut self, processes: Processes) -> &mut Self {
        self.processes = processes;
        self
    }

    /// Where the empty network comes from. Default [`Network::Fresh`].
    pub fn network(&mut self, network: Network) -> &mut Self {
        self.network = network;
        self
    }

    /// Replaces the limits.
    pub fn limits(&mut self, limits: Limits) -> &mut Self {
        self.limits = limits;
        self
    }

    /// Reports every path that the program names (`exec --explain`). Each named path costs about 30 µs.
    pub fn observe(&mut self, observe: bool) -> &mut Self {
        self.observe = observe;
        self
    }

    /// Puts a small file of this text at the path `name` below [`NOTES`], where the program may read it and nobody can change it.
    /// `name` is relative, without `.` and `..`.
    pub fn note(&mut self, name: &'static str, text: &'static str) -> &mut Self {
        self.notes.push((name, text));
        self
    }

    /// Lets the program change copies of what it may change: everything is as granted inside, and nothing outside is changed.
    /// The copies are in memory, which the limit counts, and gone with the sandbox. Default off.
    ///
    /// It needs overlayfs in a user namespace (Linux 5.11); a launch fails as [`crate::LaunchError::Step`] where that is
    /// missing. A directory with mounts of the host below it is copied without them.
    pub fn throw_away(&mut self, throw_away: bool) -> &mut Self {
        self.throw_away = throw_away;
        self
    }

    /// Leaves layers out. This is the only way to a weaker sandbox: the report then lists what is left, and a caller that
    /// offers it must make the choice visible.
    pub fn weaken(&mut self, without: Layers) -> &mut Self {
        self.layers = self.layers.without(without);
        self
    }

    /// Skips setting up `layers` while still demanding them, to show that the self-check refuses the start.
    #[cfg(feature = "break-layers")]
    pub fn break_layers(&mut self, layers: Layers) -> &mut Self {
        self.broken = layers;
        self
    }

    /// The layers that this plan demands.
    #[must_use]
    pub fn layers(&self) -> Layers {
        self.layers
    }

    /// The files that are executed or interpreted: the program, and the scripts that lead to it.
    pub fn program_files(&self) -> impl Iterator<Item = &Resolved> {
        self.program.scripts().iter().chain([self.program.file()])
    }

    /// Whether the program may start processes.
    #[must_use]
    pub fn may_start(&self) -> Processes {
        self.processes
    }

    /// What an environment variable holds, if it is set.
    #[must_use]
    pub fn value_of(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// Where the program is started.
    #[must_use]
    pub fn starts_in(&self) -> &Path {
        &self.working_directory
    }

    /// The mounts that were granted, in the order given.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    pub(crate) fn check(&self) -> Result<(), PlanError> {
        let nul = |what, text: &OsStr| {
            if text.as_bytes().contains(&0) { Err(PlanError::Nul { what }) } else { Ok(()) }
        };
        self.arguments.iter().try_for_each(|text| nul("an argument", text))?;
        for (name, value) in &self.environment {
            nul("an environment entry", name)?;
            nul("an environment entry", value)?;
        }
        nul("a path", self.working_directory.as_os_str())?;
        let limit = crate::wire::STRINGS_MAX - 8;
        for (what, count) in
            [("arguments", self.arguments.len()), ("environment entries", self.environment.len())]
        {
            if count > limit {
                return Err(PlanError::TooLarge { what, limit });
            }
        }
        self.mounts.iter().try_for_each(check_grantable)
    }
}

/// A grant may not replace what only a sandbox's own can be: the root, its processes, its devices; nor may the kernel's
/// settings be written, among which are the limits of delegated cgroups.
fn check_grantable(mount: &Mount) -> Result<(), PlanError> {
    let path = mount.source.path();
    let own = path == Path::new("/") || path.starts_with("/proc") || path.starts_with("/dev");
    if own || mount.access.changes() && path.starts_with("/sys") {
        return Err(PlanError::Reserved { path: path.to_owned() });
    }
    Ok(())
}
