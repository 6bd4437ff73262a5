//! What a launch must know of this kernel and user; read once in a process.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// Access rights that each Landlock ABI brought (landlock(7)): number of file rights, whether TCP, whether scopes.
const FILE_RIGHTS: [(i32, u32); 4] = [(1, 13), (2, 14), (3, 15), (5, 16)];

/// What a launch must know.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Effective uid 0: grants are id-mapped and the plugin gets an unused uid.
    pub(crate) root: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// 0 where there is none.
    pub(crate) landlock_abi: i32,
    /// Whether a seccomp filter can report (Linux 5.5, and no other listener around us).
    pub(crate) listener: bool,
    pub(crate) open_files_max: u64,
    /// Inodes of the host's namespaces: user, mnt, pid, ipc, uts, net, cgroup.
    pub(crate) namespaces: [u64; 7],
}

/// What a Landlock rule set handles on this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handled {
    pub(crate) files: u64,
    pub(crate) network: u64,
    pub(crate) scopes: u64,
    /// How much of the structure this ABI knows.
    pub(crate) size: u32,
}

impl Facts {
    /// The facts of this process, read at the first call.
    pub(crate) fn get() -> &'static Self {
        static FACTS: OnceLock<Facts> = OnceLock::new();
        FACTS.get_or_init(Self::read)
    }

    fn read() -> Self {
        let namespace =
            |name| std::fs::metadata(format!("/proc/self/ns/{name}")).map_or(0, |seen| seen.ino());
        let uid = rustix::process::geteuid().as_raw();
        Self {
            root: uid == 0,
            uid,
            gid: rustix::process::getegid().as_raw(),
            landlock_abi: crate::sys::landlock_abi(),
            listener: crate::sys::can_listen(),
            open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .maximum
                .unwrap_or(1 << 20),
            namespaces: ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"].map(namespace),
        }
    }

    pub(crate) fn landlock_handled(&self) -> Handled {
        let abi = self.landlock_abi;
        let rights =
            FILE_RIGHTS.iter().rev().find(|(since, _)| abi >= *since).map_or(0, |(_, rights)| *rights);
        Handled {
            files: (1u64 << rights) - 1,
            network: if abi >= 4 { 3 } else { 0 },
            scopes: if abi >= 6 { 3 } else { 0 },
            size: if abi >= 6 {
                24
            } else if abi >= 4 {
                16
            } else {
                8
            },
        }
    }
}
