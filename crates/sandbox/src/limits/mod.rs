//! Who holds memory, tasks and CPU: a cgroup of version 2 or 1, or, where none can be made, rlimits with a sampler.

mod cgroup;
mod io;
mod pool;
mod sampler;

use std::fmt;

pub use cgroup::CgroupError;
pub(crate) use cgroup::{Leaf, mark, sweep_directories};
pub(crate) use io::IoMeter;
pub(crate) use pool::{Held, Pool};
pub(crate) use sampler::{Sampler, Verdict};

/// A limits back-end, as asked for or as used.
///
/// ```
/// use ringfence_sandbox::Backend;
/// assert_eq!(Backend::from_name("sampler"), Some(Backend::Sampler));
/// assert_eq!(Backend::default().name(), "auto");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// The first that works here: v2, v1, sampler.
    #[default]
    Auto,
    /// The first cgroup that works here: v2, v1. The launch is refused where only the sampler would.
    Cgroup,
    /// A cgroup v2 directory, in which the sandbox is born.
    CgroupV2,
    /// Cgroup v1 directories of memory, pids and cpu.
    CgroupV1,
    /// `RLIMIT_DATA`, `RLIMIT_NPROC`, and a look at every process ten times a second.
    Sampler,
}

impl Backend {
    /// The name in configuration, reports and `doctor`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cgroup => "cgroup",
            Self::CgroupV2 => "cgroup-v2",
            Self::CgroupV1 => "cgroup-v1",
            Self::Sampler => "sampler",
        }
    }

    /// The back-end of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Cgroup, Self::CgroupV2, Self::CgroupV1, Self::Sampler]
            .into_iter()
            .find(|backend| backend.name() == name)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

/// What a sandbox has used. Peaks are of this sandbox only.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio};
/// let plan = Plan::new(Program::find("true".as_ref(), "/".as_ref())?);
/// let mut sandbox = Launcher::start()?.launch(&plan, Stdio::null()?)?;
/// sandbox.wait()?;
/// println!("{} ms, {} bytes", sandbox.usage().cpu_ms, sandbox.usage().memory_peak_bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory now, in bytes, without the kernel's copies of files that it would let go.
    pub memory_bytes: u64,
    /// The most memory at any time (the most seen, with the sampler), in bytes; in a cgroup with copies of files.
    pub memory_peak_bytes: u64,
    /// CPU time, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// How many processes the kernel killed for lack of memory under the limit.
    pub oom_kills: u64,
    /// How often a process or thread was refused because of the task limit.
    pub task_refusals: u64,
}

/// What a sandbox has read from and written to storage, as [`Sandbox::io`](crate::Sandbox::io) tells it. Memory does not count:
/// pipes, sockets, a private `/tmp`, and files that are cached already.
///
/// ```
/// assert_eq!(ringfence_sandbox::Io::default().written_bytes, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Io {
    /// Bytes that were fetched from storage.
    pub read_bytes: u64,
    /// Bytes that were sent to storage, without those that were thrown away before.
    pub written_bytes: u64,
}

impl Io {
    fn plus(self, other: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
        }
    }
}
