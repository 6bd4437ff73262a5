//! What must be true after every run inside: P1 and P2 need a daemon and do not apply to one command; P3 (the canary
//! tree is unchanged) is judged by the case; P4 (nothing is left behind) is judged here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of a dead process or an empty cgroup.
const GRACE: Duration = Duration::from_secs(1);
/// How deep below a controller's mount leaves are looked for.
const CGROUP_DEPTH: usize = 4;

/// The state before a run.
#[derive(Debug)]
pub struct Before {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
}

impl Before {
    /// Looks at the machine before a run.
    #[must_use]
    pub fn take() -> Self {
        Self { mounts: mounts(), cgroups: cgroups() }
    }

    /// Names everything that a run with this marker left behind; empty when all is well.
    #[must_use]
    pub fn check(&self, marker: &str, tmp: &Path) -> Vec<String> {
        let mut left = Vec::new();
        if !wait_until(|| crate::alive_with_marker(marker).is_empty()) {
            left.extend(crate::alive_with_marker(marker).iter().map(|found| format!("process {found:?}")));
        }
        left.extend(mounts().difference(&self.mounts).map(|line| format!("mount {line}")));
        let new: Vec<PathBuf> = cgroups().difference(&self.cgroups).cloned().collect();
        // Another test's leaf is busy; one that stays and is empty was forgotten.
        left.extend(
            new.iter()
                .filter(|dir| !wait_until(|| !forgotten(dir)))
                .map(|dir| format!("cgroup {}", dir.display())),
        );
        left.extend(names(tmp).into_iter().map(|name| format!("temporary file {name}")));
        left
    }
}

/// The names in a directory; empty when it cannot be read.
#[must_use]
pub fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

/// Polls until it holds; false when it does not within the grace of one second.
pub fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() > GRACE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The product's mounts in the namespace of the host: there must never be one.
fn mounts() -> BTreeSet<String> {
    std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains("ringfence"))
        .map(str::to_owned)
        .collect()
}

fn cgroups() -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut todo: Vec<(PathBuf, usize)> = Vec::new();
    for root in std::iter::once(PathBuf::from("/sys/fs/cgroup")).chain(subdirs(Path::new("/sys/fs/cgroup"))) {
        todo.extend(subdirs(&root).into_iter().map(|dir| (dir, 1)));
    }
    while let Some((dir, depth)) = todo.pop() {
        let ours = dir.to_string_lossy().contains("ringfence");
        if depth < CGROUP_DEPTH && (ours || depth == 1) {
            todo.extend(subdirs(&dir).into_iter().map(|below| (below, depth + 1)));
        }
        // The directory that holds the leaves may stay; a leaf may not.
        if dir.parent().is_some_and(|parent| parent.to_string_lossy().contains("ringfence")) {
            all.insert(dir);
        }
    }
    all
}

fn subdirs(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// An empty leaf that nobody holds. One whose name begins with `free-` waits for the next sandbox of the process that the
/// name goes on with, and is forgotten when that process has gone.
fn forgotten(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let holder = name.strip_prefix("free-").and_then(|rest| rest.split('-').next());
    if holder.is_some_and(|pid| Path::new("/proc").join(pid).exists()) {
        return false;
    }
    dir.is_dir() && std::fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|text| text.trim().is_empty())
}
