//! Makes two slow things beside the launcher: the network namespace that it keeps, and the empty procfs of its first root.
//!
//! A launcher for one sandbox is waited for from its first moment. A network namespace alone takes the kernel as long as all
//! that the launcher does until it can take a request, and two processors are seldom both busy then.

use super::mounts;
use super::roots::PROC;
use crate::sys::calls::{self, EINVAL, Errno, Fd, NO_FD};
use crate::sys::privileges;

/// Where the child puts what it makes: it shares the launcher's descriptors.
const NETWORK: Fd = Fd(18);
const EMPTY_PROC: Fd = Fd(19);
const CLONE_FILES: u64 = 0x400;
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_NEWNET: u64 = 0x4000_0000;
const SIGKILL: usize = 9;
const SIGCHLD: u64 = 17;

/// The child at work.
#[derive(Debug)]
pub(crate) struct Maker {
    pid: i32,
    holds_network: bool,
}

/// Starts the child in a pid namespace of its own, which is the one of the empty procfs. The mount namespace must be one in
/// which the launcher may mount.
pub(crate) fn start(holds_network: bool) -> Result<Maker, Errno> {
    for number in [NETWORK, EMPTY_PROC] {
        calls::dup_onto(Fd(0), number, true)?;
    }
    let mut unused = NO_FD;
    let pid = calls::clone_process(CLONE_FILES | CLONE_NEWPID, SIGCHLD, &mut unused, None)?;
    if pid == 0 {
        let made = make(holds_network);
        // Error numbers are small; 0 is success.
        calls::exit(made.err().map_or(0, |errno| errno.0.clamp(1, 255)));
    }
    Ok(Maker { pid: i32::try_from(pid).map_err(|_| EINVAL)?, holds_network })
}

fn make(holds_network: bool) -> Result<(), Errno> {
    privileges::set_death_signal(SIGKILL)?;
    let proc = mounts::empty_proc()?;
    calls::dup_onto(proc, EMPTY_PROC, true)?;
    calls::close(proc);
    if holds_network {
        calls::unshare(CLONE_NEWNET)?;
        let network = calls::open_at(PROC, c"self/ns/net", 0, 0)?;
        calls::dup_onto(network, NETWORK, true)?;
        calls::close(network);
    }
    Ok(())
}

impl Maker {
    /// Waits for the child, enters the network namespace if one was asked for, and hands over the procfs.
    pub(crate) fn finish(self) -> Result<Fd, Errno> {
        match calls::exit_status_of(self.pid) {
            Some(0) => {}
            Some(errno) => return Err(Errno(errno.cast_signed())),
            None => return Err(EINVAL),
        }
        if self.holds_network {
            calls::enter_network(NETWORK)?;
        }
        calls::close(NETWORK);
        Ok(EMPTY_PROC)
    }
}
