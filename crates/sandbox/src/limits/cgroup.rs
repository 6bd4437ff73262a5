//! One leaf directory for each sandbox, made before and removed after it.
//!
//! All leaves of this machine's root hang below `ringfence` at the top of each hierarchy; those of an ordinary user below
//! `ringfence-UID`, which an administrator makes and gives to that user (delegation), or below the user's own v2 cgroup
//! where systemd has delegated it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};

use super::sampler::cpu_of;
use super::{Backend, Usage};
use crate::plan::Limits;

const TOP: &str = "/sys/fs/cgroup";
/// The v1 controllers that hold a limit.
const V1_CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
const CPU_PERIOD_US: u64 = 100_000;
/// Processes of the leaf are gone when it is removed, but the kernel may still be putting them away.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// How much memory may still be charged to an empty leaf that is used again. The kernel charges in batches of 64 pages for
/// each processor and frees some things late, so an empty leaf seldom shows 0.
const LEFTOVER_MAX_BYTES: u64 = 1 << 20;

/// Why no cgroup can be used.
///
/// ```
/// use ringfence_sandbox::{Backend, CgroupError};
/// let error = CgroupError::Missing { backend: Backend::CgroupV2 };
/// assert!(error.to_string().starts_with("cgroup-v2 is not mounted"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The kernel or the system offers no such hierarchy.
    #[error("{backend} is not mounted with the controllers memory, pids and cpu below {TOP}")]
    Missing {
        /// Which version was looked for.
        backend: Backend,
    },
    /// It is there, but this user may not make a directory in it.
    #[error("{} is not writable for uid {uid}", path.display())]
    NotDelegated {
        /// The directory that would hold the leaves.
        path: PathBuf,
        /// Who asked.
        uid: u32,
    },
    /// A step failed.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// What was done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A leaf: one directory (v2) or one for each controller (v1). Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Leaf {
    backend: Backend,
    name: OsString,
    /// memory, pids, cpu; all the same on v2.
    directories: Vec<PathBuf>,
    /// What the launcher needs: the v2 directory, or the v1 `tasks` files.
    handles: Vec<OwnedFd>,
    /// CPU time of earlier sandboxes in the same leaf, in milliseconds.
    cpu_before_ms: u64,
    removed: bool,
}

/// The mark of this process's leaves: its id, when it began, and the pid namespace in which the id means something. The
/// launcher removes what carries it if this process dies, and what carries that of a process that has gone.
pub(crate) fn mark() -> String {
    let [_user, _mount, pids, ..] = crate::kernel::Facts::get().namespaces;
    format!("{}-{:x}.{pids:x}-", std::process::id(), start_time())
}

/// The name of a leaf in use.
fn next_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}{}", mark(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The name of a leaf that waits for its next sandbox.
fn free_name() -> String {
    format!("{}{}", String::from_utf8_lossy(crate::wire::FREE), next_name())
}

/// Makes the mark differ from that of an earlier process with the same id, whose launcher may still be sweeping.
fn start_time() -> u128 {
    static START: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
    *START.get_or_init(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_millis())
    })
}

/// The directories in which leaves of this user may lie.
pub(crate) fn sweep_directories(uid: u32) -> Vec<PathBuf> {
    if uid == 0 {
        // The launcher opens them before the first leaf is made.
        for controller in
            V1_CONTROLLERS.iter().filter(|name| Path::new(TOP).join(name).join("tasks").exists())
        {
            let _there_or_impossible = fs::create_dir(v1_base(controller, uid));
        }
    }
    let mut all: Vec<PathBuf> = V1_CONTROLLERS.iter().map(|controller| v1_base(controller, uid)).collect();
    all.extend(v2_base(uid));
    all.retain(|path| path.exists());
    all
}

fn base_name(uid: u32) -> String {
    if uid == 0 { "ringfence".to_owned() } else { format!("ringfence-{uid}") }
}

fn v1_base(controller: &str, uid: u32) -> PathBuf {
    Path::new(TOP).join(controller).join(base_name(uid))
}

/// Where v2 leaves go: for root at the top; for a user at the top if it was delegated there, else below the cgroup that
/// systemd delegated to this process.
fn v2_base(uid: u32) -> Option<PathBuf> {
    let top = Path::new(TOP);
    if !top.join("cgroup.controllers").exists() {
        return None;
    }
    let at_top = top.join(base_name(uid));
    if uid == 0 || at_top.exists() {
        return Some(at_top);
    }
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = top.join(own.trim_start_matches('/'));
    // The process itself sits in a delegated unit or in its `ringfence-host` child, where `delegated` has moved it.
    let unit = if own.ends_with(HOST_CHILD) { own.parent()?.to_owned() } else { own };
    Some(unit.join(base_name(uid)))
}

/// Where a host in a delegated cgroup moves itself: a v2 cgroup cannot hold processes and give controllers to children.
const HOST_CHILD: &str = "ringfence-host";

impl Leaf {
    /// Makes a leaf with the limits set, for the back-end asked for.
    ///
    /// # Errors
    /// Why this back-end cannot hold the limits here.
    pub(crate) fn make(backend: Backend, limits: &Limits, uid: u32) -> Result<Self, CgroupError> {
        let name = OsString::from(next_name());
        let mut leaf = Self {
            backend,
            name,
            directories: Vec::new(),
            handles: Vec::new(),
            cpu_before_ms: 0,
            removed: false,
        };
        if backend == Backend::CgroupV2 {
            leaf.make_v2(limits, uid)?
        } else {
            leaf.make_v1(limits, uid)?
        }
        Ok(leaf)
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// How many lines of /proc/self/cgroup must name the leaf.
    pub(crate) fn lines(&self) -> u32 {
        u32::try_from(self.directories.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.handles.iter().map(AsFd::as_fd)
    }

    fn make_v1(&mut self, limits: &Limits, uid: u32) -> Result<(), CgroupError> {
        for controller in V1_CONTROLLERS {
            let top = Path::new(TOP).join(controller);
            if !top.join("tasks").exists() {
                return Err(CgroupError::Missing { backend: self.backend });
            }
            let directory = self.make_directory(&v1_base(controller, uid), uid)?;
            let tasks = directory.join("tasks");
            // First what must be removed, then what can fail.
            self.directories.push(directory);
            self.handles.push(open(&tasks, OFlags::WRONLY)?);
        }
        let [memory, pids, cpu] = self.directories.as_slice() else { return Ok(()) };
        if let Some(bytes) = limits.memory_bytes {
            write(memory, "memory.limit_in_bytes", bytes)?;
            // Where swap is accounted, it must not extend the limit; where it is not, the file is missing.
            let _no_swap_accounting = write(memory, "memory.memsw.limit_in_bytes", bytes);
        }
        if let Some(tasks) = limits.tasks {
            write(pids, "pids.max", tasks.saturating_add(1))?;
        }
        if let Some(percent) = limits.cpu_percent {
            write(cpu, "cpu.cfs_quota_us", CPU_PERIOD_US * u64::from(percent) / 100)?;
        }
        Ok(())
    }

    fn make_v2(&mut self, limits: &Limits, uid: u32) -> Result<(), CgroupError> {
        let base = v2_base(uid).ok_or(CgroupError::Missing { backend: self.backend })?;
        let directory = match self.make_directory(&base, uid) {
            Ok(directory) if has_controllers(&directory) => directory,
            Ok(directory) => {
                let _removed = fs::remove_dir(&directory);
                give_controllers(&base, uid)?;
                self.make_directory(&base, uid)?
            }
            Err(CgroupError::NotDelegated { .. }) => {
                give_controllers(&base, uid)?;
                self.make_directory(&base, uid)?
            }
            Err(error) => return Err(error),
        };
        self.directories.push(directory.clone());
        if !has_controllers(&directory) {
            return Err(CgroupError::Missing { backend: self.backend });
        }
        if let Some(bytes) = limits.memory_bytes {
            write(&directory, "memory.max", bytes)?;
            let _no_swap = write(&directory, "memory.swap.max", 0);
        }
        if let Some(tasks) = limits.tasks {
            write(&directory, "pids.max", tasks.saturating_add(1))?;
        }
        if let Some(percent) = limits.cpu_percent {
            let quota = format!("{} {CPU_PERIOD_US}", CPU_PERIOD_US * u64::from(percent) / 100);
            write(&directory, "cpu.max", quota)?;
        }
        self.handles.push(open(&directory, OFlags::DIRECTORY | OFlags::PATH)?);
        Ok(())
    }

    fn make_directory(&self, base: &Path, uid: u32) -> Result<PathBuf, CgroupError> {
        let directory = base.join(&self.name);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound && uid == 0 => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                return Err(CgroupError::NotDelegated { path: base.to_owned(), uid });
            }
            Err(source) => return Err(CgroupError::Io { step: "make", path: directory, source }),
        }
        fs::create_dir_all(&directory).map_err(|source| {
            if source.kind() == io::ErrorKind::PermissionDenied || source.raw_os_error() == Some(libc::EROFS)
            {
                CgroupError::NotDelegated { path: base.to_owned(), uid }
            } else {
                CgroupError::Io { step: "make", path: directory.clone(), source }
            }
        })?;
        Ok(directory)
    }

    /// What this sandbox has used so far. The kernel fills a cgroup up to its limit with copies of files that were read, and
    /// lets them go when memory is needed: they are no use of memory now, although they are in the kernel's peak.
    pub(crate) fn usage(&self) -> Usage {
        let Some(memory) = self.directories.first() else { return Usage::default() };
        if self.backend == Backend::CgroupV2 {
            let events = read_text(memory, "memory.events");
            let stat = read_text(memory, "memory.stat");
            let cache = field(&stat, "file").saturating_sub(field(&stat, "shmem"));
            return Usage {
                memory_bytes: number(&read_text(memory, "memory.current")).saturating_sub(cache),
                // memory.peak came with Linux 5.19; before it, what is used now is the best that is known.
                memory_peak_bytes: number(&read_text(memory, "memory.peak")),
                cpu_ms: field(&read_text(memory, "cpu.stat"), "usage_usec") / 1000,
                oom_kills: field(&events, "oom_kill"),
                task_refusals: field(&read_text(memory, "pids.events"), "max"),
            };
        }
        let [memory, pids, cpu] = self.directories.as_slice() else { return Usage::default() };
        let stat = read_text(memory, "memory.stat");
        let cache = field(&stat, "total_cache").saturating_sub(field(&stat, "total_shmem"));
        Usage {
            memory_bytes: number(&read_text(memory, "memory.usage_in_bytes")).saturating_sub(cache),
            memory_peak_bytes: number(&read_text(memory, "memory.max_usage_in_bytes")),
            cpu_ms: self.cpu_ms(pids, cpu),
            oom_kills: field(&read_text(memory, "memory.oom_control"), "oom_kill"),
            task_refusals: field(&read_text(pids, "pids.events"), "max"),
        }
    }

    /// Processes and threads now, PID 1 aside.
    pub(crate) fn tasks(&self) -> u64 {
        let directory = match self.directories.as_slice() {
            [all] => all,
            [_, pids, _] => pids,
            _ => return 0,
        };
        number(&read_text(directory, "pids.current")).saturating_sub(1)
    }

    /// Where cpu and cpuacct are one hierarchy, what the leaf was charged. Else what its living processes and the children
    /// that they have waited for have used: at the end PID 1's count of all that it has reaped is larger, and stands.
    fn cpu_ms(&self, pids: &Path, cpu: &Path) -> u64 {
        let charged = read_text(cpu, "cpuacct.usage");
        if charged.is_empty() {
            let living = read_text(pids, "cgroup.procs");
            let living = String::from_utf8_lossy(&living);
            return living.lines().filter_map(|pid| pid.trim().parse().ok()).map(cpu_of).sum();
        }
        (number(&charged) / 1_000_000).saturating_sub(self.cpu_before_ms)
    }

    /// Makes an empty leaf ready for another sandbox. `false` when something of the last one could be told from it; it must
    /// then be removed.
    ///
    /// On v2 the peak cannot be set back before Linux 6.12, and a leaf is one directory, so it is always removed.
    pub(crate) fn begin_anew(&mut self) -> bool {
        let [memory, pids, cpu] = self.directories.as_slice() else { return false };
        let broken = field(&read_text(memory, "memory.oom_control"), "oom_kill") > 0
            || field(&read_text(pids, "pids.events"), "max") > 0;
        let left = number(&read_text(memory, "memory.usage_in_bytes"));
        if self.removed || broken || left > LEFTOVER_MAX_BYTES || !read_text(pids, "tasks").is_empty() {
            return false;
        }
        self.handles.clear();
        self.cpu_before_ms = number(&read_text(cpu, "cpuacct.usage")) / 1_000_000;
        write(memory, "memory.max_usage_in_bytes", 0).is_ok() && self.rename(&free_name())
    }

    /// Makes a free leaf a used one, with a name that no other ever had.
    pub(crate) fn take_into_use(&mut self) -> bool {
        self.rename(&next_name())
            && self.directories.iter().all(|directory| match open(&directory.join("tasks"), OFlags::WRONLY) {
                Ok(tasks) => {
                    self.handles.push(tasks);
                    true
                }
                Err(_) => false,
            })
    }

    fn rename(&mut self, name: &str) -> bool {
        for directory in &mut self.directories {
            let new = directory.with_file_name(name);
            if fs::rename(&*directory, &new).is_err() {
                return false;
            }
            *directory = new;
        }
        self.name = OsString::from(name);
        true
    }

    /// Removes the directories. Called by drop; calling it earlier tells of failures.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.handles.clear();
        self.removed = true;
        for directory in &self.directories {
            remove_directory(directory)?;
        }
        Ok(())
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if !self.removed {
            // The launcher sweeps what is left when this process ends.
            let _left_for_the_launcher = self.remove();
        }
    }
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    for _ in 0..REMOVE_TRIES {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(REMOVE_PAUSE),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
    fs::remove_dir(directory)
}

fn has_controllers(directory: &Path) -> bool {
    ["memory.max", "pids.max", "cpu.max"].iter().all(|file| directory.join(file).exists())
}

/// Hands memory, pids and cpu down to `base` and to its leaves. In a cgroup delegated by systemd this process first moves
/// into a child of its own, because a v2 cgroup with processes gives no controllers to its children.
fn give_controllers(base: &Path, uid: u32) -> Result<(), CgroupError> {
    const ALL: &str = "+memory +pids +cpu";
    let parent = base.parent().unwrap_or(Path::new(TOP));
    let denied = |_| CgroupError::NotDelegated { path: base.to_owned(), uid };
    if parent != Path::new(TOP) {
        let child = parent.join(HOST_CHILD);
        fs::create_dir_all(&child).map_err(denied)?;
        fs::write(child.join("cgroup.procs"), "0").map_err(denied)?;
    }
    fs::write(parent.join("cgroup.subtree_control"), ALL).map_err(denied)?;
    fs::create_dir_all(base).map_err(denied)?;
    fs::write(base.join("cgroup.subtree_control"), ALL).map_err(denied)
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|error| CgroupError::Io { step: "open", path: path.to_owned(), source: error.into() })
}

fn write(directory: &Path, file: &'static str, value: impl ToString) -> Result<(), CgroupError> {
    let path = directory.join(file);
    fs::write(&path, value.to_string()).map_err(|source| CgroupError::Io { step: "write", path, source })
}

fn read_text(directory: &Path, file: &str) -> Vec<u8> {
    fs::read(directory.join(file)).unwrap_or_default()
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The number behind `name` in lines of "name number".
fn field(text: &[u8], name: &str) -> u64 {
    let lines = text.split(|byte| *byte == b'\n');
    let value = lines
        .filter_map(|line| line.strip_prefix(OsStr::new(name).as_bytes()))
        .find(|rest| rest.starts_with(b" "));
    value.map_or(0, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let events = b"low 1\nmax 7\noom 3\noom_kill 2\n";
        assert_eq!(field(events, "oom"), 3);
        assert_eq!(field(events, "oom_kill"), 2);
        assert_eq!(field(events, "ma"), 0);
        assert_eq!(number(b"12345\n"), 12345);
        assert_eq!(number(b"max\n"), 0);
    }

    #[test]
    fn names_differ_and_carry_the_mark() {
        assert!(mark().starts_with(&std::process::id().to_string()));
        assert_eq!(mark(), mark());
    }
}
