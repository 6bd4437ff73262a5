//! The product as a stranger sees it: every test drives the release binary through `ringfence exec`.
//!
//! Names start with the case of the attack catalogue (`fs_05_...`, `proc_17_...`, `res_01_...`) where there is one.
//! Reading order: `files` and `files_more`, `below_tmp`, `differential`, `processes`, `syscalls`, `network`, `resources`, `endings`, `ladder`,
//! `output`, `usage`, `lean`, `runtimes`, `posture`; `outside` holds the cases of others.
#![expect(clippy::unwrap_used, reason = "a failure of the harness is a failed test")]

mod below_tmp;
mod differential;
mod endings;
mod files;
mod files_more;
mod ladder;
mod lean;
mod network;
mod output;
mod outside;
mod posture;
mod processes;
mod resources;
mod runtimes;
mod syscalls;
mod usage;

/// Error numbers that a refusal may have, by what they say.
mod errno {
    /// It does not exist inside.
    pub(crate) const ABSENT: &[i64] = &[2];
    /// It exists and may not be changed: EPERM, EACCES, EROFS.
    pub(crate) const FORBIDDEN: &[i64] = &[1, 13, 30];
    /// A system call that the filter stops: EPERM, ENOSYS.
    pub(crate) const FILTERED: &[i64] = &[1, 38];
}
