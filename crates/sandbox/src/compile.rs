//! From a plan to a request: which sources to take, how to build the root, what Landlock allows. Decides everything, so
//! that the launcher decides nothing; touches the system only to see which of the usual files exist.

mod right;
mod root;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::audit::LOGGING_ABI;
use crate::encode::{Records, Writer};
use crate::kernel::Facts;
use crate::layer::Layer;
use crate::plan::{Plan, Processes};
use crate::seccomp;
use crate::wire::{self, flag};

pub use root::is_always_shown;
pub(crate) use root::{GRANTS, SYSTEM_AGE_MAX};
use root::{PROBE, Root};

/// The user and group inside. Nothing outside has these numbers: as root they stand for an unused uid, else for the
/// caller's own.
pub(crate) const INSIDE_ID: u32 = 1000;
pub(crate) const USER_NAME: &str = "sandbox";
/// The launcher's own descriptors are below: a dozen, and one for each cgroup and listener.
const PROGRAM_FD_MIN: u32 = 64;
/// Without a cgroup, files in /tmp are counted by their size limit alone.
const SCRATCH_WITHOUT_LIMIT: u64 = 1 << 30;

/// Why a plan cannot be turned into a sandbox although the layers are there.
///
/// ```no_run
/// use ringfence_sandbox::{CompileError, LaunchError, Launcher, Plan, Program, Stdio};
///
/// // Nothing below /opt is shown unless it is granted.
/// let plan = Plan::new(Program::find("/opt/tool".as_ref(), "/".as_ref())?);
/// let refused = Launcher::start()?.launch(&plan, Stdio::null()?);
/// assert!(matches!(refused, Err(LaunchError::Plan(CompileError::NotVisible { .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// The request, without what only a launch knows (ids, cgroup leaf, the secret address).
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) flags: u32,
    /// The path of each source, to name the one that fails.
    pub(crate) source_paths: Vec<PathBuf>,
    /// How many of these are the system's, which come first; then what is granted.
    system_sources: usize,
    /// The path that each step hides, by the step's number.
    pub(crate) covers: Vec<(u32, PathBuf)>,
    tail: Vec<u8>,
    /// Where in `tail` the secret of a launch goes, and which half of it.
    secrets: Vec<(usize, Half)>,
}

/// A half of a 64-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Low,
    High,
}

/// The parts of a request that differ from launch to launch.
pub(crate) struct Launch<'a> {
    pub(crate) outside: (u32, u32),
    pub(crate) cgroup_leaf: &'a OsStr,
    pub(crate) cgroup_lines: u32,
    pub(crate) extra_flags: u32,
}

impl Compiled {
    /// The path of each source that is granted, in the order of their numbers.
    pub(crate) fn granted_paths(&self) -> &[PathBuf] {
        self.source_paths.get(self.system_sources..).unwrap_or_default()
    }

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
        let start = bytes.len();
        bytes.extend_from_slice(&self.tail);
        let secret = secret_address();
        for (at, half) in &self.secrets {
            let word = match half {
                Half::Low => secret & 0xffff_ffff,
                Half::High => secret >> 32,
            };
            let at = start + at;
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&u32::try_from(word).unwrap_or(0).to_le_bytes());
            }
        }
        bytes
    }
}

/// What a launcher prepares before it knows of any plan.
pub(crate) fn plain_recipe(facts: &Facts) -> Vec<u8> {
    Root::plain_recipe(facts)
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
    let mut root = if plan.layers.contains(Layer::Mount) {
        Root::of(plan, facts, scratch_bytes(plan))?
    } else {
        Root::of_the_host(plan, facts)
    };
    if root.source_count() > wire::SOURCES_MAX {
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
    // Above the limit, and above what the launcher itself has open, as far as the host's own limit has room for that.
    let room = facts.open_files_max.saturating_sub(1);
    let lowest = u64::from(PROGRAM_FD_MIN).min(room);
    let program_fd = u32::try_from(open_files.max(lowest)).unwrap_or(u32::MAX);
    let choice = seccomp::Choice {
        processes: allowed,
        program_fd,
        program_text: PLACE_OF_SECRET,
        report: facts.listener,
        observe: plan.observe && facts.listener,
        countable_memory_only: !counted && plan.limits.memory_bytes.is_some(),
    };
    let system_sources = root.source_count().saturating_sub(root.sources.count() as usize);
    let source_paths = root.take_source_paths();
    let covers = std::mem::take(&mut root.covers);
    let (tail, secrets) = tail(plan, facts, root, choice, counted);
    Ok(Compiled { flags, source_paths, system_sources, covers, tail, secrets })
}

/// Stands for the secret address of a launch in what is compiled once for many. Neither half is anything else that a filter
/// compares with.
const PLACE_OF_SECRET: u64 = u64::from_le_bytes([0xf7, 0x01, 0xfe, 0x9d, 0xf9, 0x02, 0xfb, 0x83]);

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

/// Where the secret stands in `filter`: an instruction is 8 bytes, and what it compares with is the last four.
fn places_of_secret(filter: &[u8]) -> Vec<(usize, Half)> {
    let instructions = filter.as_chunks::<8>().0.iter().enumerate();
    instructions
        .filter_map(|(index, instruction)| {
            let value = u64::from(u32::from_le_bytes(*instruction.last_chunk()?));
            let half = match value {
                value if value == PLACE_OF_SECRET & 0xffff_ffff => Half::Low,
                value if value == PLACE_OF_SECRET >> 32 => Half::High,
                _ => return None,
            };
            Some((index * 8 + 4, half))
        })
        .collect()
}

fn tail(
    plan: &Plan,
    facts: &Facts,
    root: Root,
    choice: seccomp::Choice,
    counted: bool,
) -> (Vec<u8>, Vec<(usize, Half)>) {
    let mut to = Writer::default();
    let filter = seccomp::filter(choice);
    // The filter comes first, behind its length.
    let mut secrets: Vec<_> =
        places_of_secret(&filter).into_iter().map(|(at, half)| (at + 4, half)).collect();
    to.blob(&filter).blob(&seccomp::init_filter());
    let landlock = facts.landlock_handled();
    to.u32(landlock.size)
        .u32(landlock_flags(plan, facts))
        .u64(landlock.files)
        .u64(landlock.network)
        .u64(landlock.scopes);
    to.text(OsStr::new(if plan.layers.contains(Layer::Mount) { PROBE } else { "/" }));
    let program = plan.program.file();
    let (device, inode) = program.identity();
    to.text(program.path().as_os_str()).u64(device).u64(inode).u32(choice.program_fd);
    secrets.extend([(to.length(), Half::Low), (to.length() + 4, Half::High)]);
    to.u64(choice.program_text);
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
    let recipe = if plan.layers.contains(Layer::Mount) { root.recipe() } else { Vec::new() };
    to.records(&limits).records(&root.rules).blob(&recipe).records(&root.sources).records(&root.steps);
    to.records(&arguments).records(&environment);
    (to.into_bytes(), secrets)
}

/// What the kernel is to record of Landlock's denials. Older kernels refuse every flag, and record nothing.
fn landlock_flags(plan: &Plan, facts: &Facts) -> u32 {
    if facts.landlock_abi < LOGGING_ABI {
        return 0;
    }
    let program = if plan.observe { wire::landlock::LOG_NEW_EXEC_ON } else { 0 };
    wire::landlock::LOG_SAME_EXEC_OFF | program
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

#[cfg(test)]
mod tests;
