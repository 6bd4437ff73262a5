//! What `exec --explain` watches: which argument of a call names what, and a table that counts equal acts.
//!
//! INVARIANT: nothing here decides. What a watched call would be refused for is told by its registers alone
//! ([`is_refused`]), which the program cannot change while it waits; what its pointers lead to is only written down.

use crate::sys::calls;
use crate::sys::privileges::Notification;

/// How many different acts one run can tell apart; further ones are counted together.
pub(super) const OBSERVATIONS_MAX: usize = 32 * 1024;
/// Twice as many places as entries, so that looking for one ends soon.
const PLACES: usize = 2 * OBSERVATIONS_MAX;
const SET_ID_BITS: u32 = 0o6000;

pub(super) mod number {
    pub(crate) const OPEN: i32 = 2;
    pub(crate) const CONNECT: i32 = 42;
    pub(crate) const BIND: i32 = 49;
    pub(crate) const EXECVE: i32 = 59;
    pub(crate) const OPENAT: i32 = 257;
    pub(crate) const EXECVEAT: i32 = 322;
}

/// Which arguments hold a path, and the descriptor of the directory that it begins in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) directory: Option<usize>,
    pub(super) path: usize,
}

/// The paths that a call names: the one that it works on, and where a rename or a link leads to.
pub(super) fn named(number: i32) -> [Option<Named>; 2] {
    let plain = |path| Some(Named { directory: None, path });
    let below = |directory| Some(Named { directory: Some(directory), path: directory + 1 });
    match number {
        // open stat lstat access execve truncate chdir mkdir rmdir creat unlink readlink chmod chown lchown utime mknod
        2 | 4 | 6 | 21 | 59 | 76 | 80 | 83 | 84 | 85 | 87 | 89 | 90 | 92 | 94 | 132 | 133 => [plain(0), None],
        // statfs setxattr lsetxattr getxattr lgetxattr listxattr llistxattr removexattr lremovexattr utimes
        137 | 188 | 189 | 191 | 192 | 194 | 195 | 197 | 198 | 235 => [plain(0), None],
        // rename link
        82 | 86 => [plain(0), plain(1)],
        // symlink, whose first argument is only a text
        88 => [None, plain(1)],
        // inotify_add_watch
        254 => [plain(1), None],
        // openat mkdirat mknodat fchownat futimesat newfstatat unlinkat readlinkat fchmodat faccessat utimensat execveat statx
        // openat2 faccessat2 fchmodat2 setxattrat getxattrat listxattrat removexattrat
        257..=263 | 267..=269 | 280 | 322 | 332 | 437 | 439 | 452 | 463..=466 => [below(0), None],
        // renameat linkat renameat2
        264 | 265 | 316 => [below(0), below(2)],
        // symlinkat
        266 => [None, below(1)],
        _ => [None, None],
    }
}

/// Whether a call is watched. Programs are, where starting them is allowed; else each attempt is a refusal.
pub(super) fn is_watched(number: i32, processes: bool) -> bool {
    match number {
        number::EXECVE | number::EXECVEAT => processes,
        number::BIND => true,
        _ if is_start(number) => processes,
        _ => named(number) != [None, None],
    }
}

/// clone, fork and vfork: they make a process, where the filter does not let them pass as making a thread.
pub(super) fn is_start(number: i32) -> bool {
    matches!(number, 56..=58)
}

/// Calls that no sandbox has: openat2 (its flags lie in memory) and the xattr calls of Linux 6.13.
pub(super) fn is_missing(number: i32) -> bool {
    matches!(number, 437 | 463..=466)
}

/// Whether the filter of a run that is not watched would refuse this call: a set-id bit, or a device.
pub(super) fn is_refused(report: &Notification) -> bool {
    const O_CREAT: u32 = 0o100;
    const O_TMPFILE_BIT: u32 = 0o20_000_000;
    const KIND: u32 = 0o170_000;
    let argument = |index: usize| low(report.arguments.get(index).copied().unwrap_or(0));
    let set_id = |index| argument(index) & SET_ID_BITS != 0;
    match report.number {
        // clone with a new namespace: time, mount, cgroup, uts, ipc, user, pid, net
        56 => argument(0) & 0x7e02_0080 != 0,
        // chmod mkdir creat
        90 | 83 | 85 => set_id(1),
        // fchmodat fchmodat2 mkdirat
        268 | 452 | 258 => set_id(2),
        number::OPEN => set_id(2) && argument(1) & (O_CREAT | O_TMPFILE_BIT) != 0,
        number::OPENAT => set_id(3) && argument(2) & (O_CREAT | O_TMPFILE_BIT) != 0,
        // mknod mknodat: files, pipes and sockets only
        133 => set_id(1) || !matches!(argument(1) & KIND, 0 | 0o100_000 | 0o010_000 | 0o140_000),
        259 => set_id(2) || !matches!(argument(2) & KIND, 0 | 0o100_000 | 0o010_000 | 0o140_000),
        _ => false,
    }
}

/// The flags of an open or of a renameat2; 0 for other calls.
pub(super) fn flags(report: &Notification) -> u32 {
    let argument = |index: usize| low(report.arguments.get(index).copied().unwrap_or(0));
    match report.number {
        number::OPEN => argument(1),
        number::OPENAT => argument(2),
        316 => argument(4),
        _ => 0,
    }
}

pub(super) fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// What became of an act that was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Nobody has been told of one like it.
    First,
    /// It is counted with those before it.
    Again,
    /// There is no room to tell it apart.
    Full,
}

/// Acts that were told, by the digest of what they were, each with how often it was.
#[derive(Debug)]
pub(super) struct Table {
    /// Pairs: the digest (0 for a free place), then the act's own number and its count, 32 bits each.
    places: &'static mut [usize],
    used: usize,
}

impl Table {
    /// `None` when there is no memory for it.
    pub(super) fn new() -> Option<Self> {
        Some(Self { places: calls::words(PLACES * 2).ok()?, used: 0 })
    }

    /// Notes one act.
    pub(super) fn note(&mut self, digest: u64) -> Noted {
        // 0 marks a free place.
        let digest = usize::try_from(digest | 1).unwrap_or(1);
        let mut at = (digest >> 1) % PLACES;
        while let Some([known, value]) = self.places.get_mut(2 * at..2 * at + 2) {
            if *known == digest {
                *value = if *value & COUNT_MASK == COUNT_MASK { *value } else { *value + 1 };
                return Noted::Again;
            }
            if *known == 0 {
                if self.used >= OBSERVATIONS_MAX {
                    return Noted::Full;
                }
                *known = digest;
                *value = self.used << 32 | 1;
                self.used += 1;
                return Noted::First;
            }
            at = (at + 1) % PLACES;
        }
        Noted::Full
    }

    /// The acts that were made more than once: number and count.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let pairs = self.places.as_chunks::<2>().0.iter();
        pairs
            .filter(|[known, value]| *known != 0 && value & COUNT_MASK > 1)
            .map(|[_, value]| (low(*value as u64 >> 32), low(*value as u64)))
    }
}

const COUNT_MASK: usize = 0xffff_ffff;
