//! What exists on this machine at one moment, and what a loop left behind.
//!
//! Names, not counts: a leak is something that was not there before the loop and is still there at every look until
//! the end of a grace period. So what other programs start and end meanwhile does not count, and a leak has a name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Scratch;
use super::{Figure, Held, Setting};

/// How long things may take to go: the kernel frees namespaces and cgroups late.
const GRACE: Duration = Duration::from_secs(10);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Names of leaks that a figure shows.
const NAMED_MAX: usize = 5;

/// Directories whose new entries count as files left behind.
const SHARED: &[&str] = &["/tmp", "/dev/shm", "/run"];

const CGROUPS: &str = "/sys/fs/cgroup";

/// Deepest cgroup that is looked at.
const CGROUP_DEPTH: usize = 12;

/// One moment.
#[derive(Debug)]
pub(crate) struct Census {
    kinds: Vec<(&'static str, BTreeSet<String>)>,
}

impl Census {
    /// Looks at everything.
    pub(crate) fn take(setting: &Setting, scratch: &Scratch) -> Self {
        let processes = processes();
        let mut places: Vec<PathBuf> = SHARED.iter().map(PathBuf::from).collect();
        places.push(scratch.temporary());
        let mut cgroup_paths = BTreeSet::new();
        cgroups(Path::new(CGROUPS), CGROUP_DEPTH, &mut cgroup_paths);
        Self {
            kinds: vec![
                ("descriptors kept", descriptors(&processes, &setting.binary)),
                ("network namespaces left", namespaces(&processes)),
                ("processes left", processes.iter().map(|(pid, name)| format!("{pid} {name}")).collect()),
                ("mounts left", lines("/proc/self/mountinfo")),
                ("cgroups left", cgroup_paths),
                ("files left", places.iter().flat_map(|place| entries(place)).collect()),
            ],
        }
    }

    /// What is there now and was not before, as figures that promise nothing. Waits for the grace period, or until
    /// nothing is left.
    pub(crate) fn leaks(&self, setting: &Setting, scratch: &Scratch) -> Vec<Figure> {
        let deadline = Instant::now() + GRACE;
        let mut left = Self::take(setting, scratch).since(self);
        while left.iter().any(|(_, names)| !names.is_empty()) && Instant::now() < deadline {
            thread::sleep(PAUSE);
            let now = Self::take(setting, scratch).since(self);
            for ((_, names), (_, still)) in left.iter_mut().zip(now) {
                names.retain(|name| still.contains(name));
            }
        }
        left.into_iter()
            .map(|(kind, names)| {
                let held = Held::from(names.is_empty());
                Figure::promised(kind, named(&names), "0", held)
            })
            .collect()
    }

    fn since(&self, before: &Self) -> Vec<(&'static str, BTreeSet<String>)> {
        let pairs = self.kinds.iter().zip(&before.kinds);
        pairs.map(|((kind, now), (_, before))| (*kind, now.difference(before).cloned().collect())).collect()
    }
}

/// A count with the first names.
fn named(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "0".to_owned();
    }
    let first: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    format!("{} ({})", names.len(), first.join("; "))
}

/// Pids and names of all processes but the kernel's own threads and the helpers of this chore.
fn processes() -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for pid in pids() {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name stands in brackets and may hold anything, brackets included.
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let parent = tail.split_whitespace().nth(1).unwrap_or_default();
        if parent != "2" && pid != 2 {
            found.push((pid, name.to_owned()));
        }
    }
    found
}

/// All process ids that can be seen now.
pub(crate) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Open descriptors of this chore and of every process that runs the binary, such as one that holds a namespace.
fn descriptors(processes: &[(u32, String)], binary: &Path) -> BTreeSet<String> {
    let own = std::process::id();
    let mut found = BTreeSet::new();
    for (pid, name) in processes {
        let is_ours = *pid == own || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary);
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        if !is_ours {
            continue;
        }
        for entry in open.filter_map(Result::ok) {
            // The descriptor that lists the directory is open only now.
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if !target.ends_with(format!("{pid}/fd")) && !target.as_os_str().is_empty() {
                found.insert(format!("{name} {pid} fd {} {}", entry.file_name().display(), target.display()));
            }
        }
    }
    found
}

fn namespaces(processes: &[(u32, String)]) -> BTreeSet<String> {
    let link = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    processes.iter().filter_map(|(pid, _)| Some(link(pid)?.display().to_string())).collect()
}

fn cgroups(directory: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if depth > 0 && path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            cgroups(&path, depth - 1, found);
            found.insert(path.display().to_string());
        }
    }
}

fn lines(path: &str) -> BTreeSet<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn entries(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    let name = |entry: fs::DirEntry| {
        // The inode tells a file that was made anew under an old name.
        let inode = entry.metadata().map_or(0, |metadata| metadata.ino());
        format!("{} (inode {inode})", entry.path().display())
    };
    entries.filter_map(|entry| entry.ok().map(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::account::Account;
    use super::*;
    use crate::process;

    /// A leak of each kind that a test can make is found, named, and gone once it is gone.
    #[test]
    fn a_process_and_a_file_that_stay_are_named() {
        let setting = Setting { binary: PathBuf::from("/bin/sleep"), quick: true, seed: 1, only: None };
        let scratch = Scratch::new("census-test", Account::Caller).unwrap();
        let before = Census::take(&setting, &scratch);
        let mut child = process::program("/bin/sleep").arg("60").spawn().unwrap();
        fs::write(scratch.temporary().join("left-behind"), "x").unwrap();
        let since = Census::take(&setting, &scratch).since(&before);
        let of = |since: &[(&str, BTreeSet<String>)], kind: &str| {
            since.iter().find(|(name, _)| *name == kind).map(|(_, names)| names.clone()).unwrap()
        };
        let name = format!("{} sleep", child.id());
        assert!(of(&since, "processes left").contains(&name));
        assert!(of(&since, "files left").iter().any(|file| file.contains("left-behind")));
        child.kill().unwrap();
        child.wait().unwrap();
        let since = Census::take(&setting, &scratch).since(&before);
        assert!(!of(&since, "processes left").contains(&name));
    }

    #[test]
    fn an_empty_set_is_zero_and_a_full_one_names_some() {
        assert_eq!(named(&BTreeSet::new()), "0");
        let many: BTreeSet<String> = (0..9).map(|n| n.to_string()).collect();
        assert_eq!(named(&many), "9 (0; 1; 2; 3; 4)");
    }
}
