//! The launcher's work, in order: [`serve`] takes a request and clones PID 1 in one of the [`roots`] that are kept ready; [`init`] is PID 1 from its first
//! instruction to its last; [`mounts`] builds the root; [`confine`] gives up privileges; [`program`] is the child
//! that becomes the plugin, with [`check`] proving every layer before it does; [`watch`] answers what the seccomp
//! filter reports, and [`observe`] knows what of it is only watched.
//!
//! INVARIANT: nothing here allocates, and nothing here decides what is allowed.

pub(crate) mod check;
pub(crate) mod confine;
pub(crate) mod connect;
pub(crate) mod init;
pub(crate) mod maker;
pub(crate) mod mounts;
pub(crate) mod observe;
pub(crate) mod opener;
pub(crate) mod program;
pub(crate) mod roots;
pub(crate) mod serve;
pub(crate) mod watch;

use crate::sys::calls::{Errno, Fd};
use crate::sys::sockets;
use crate::wire::{Step, event};

/// A launch that cannot go on: which step, what the kernel said, and which item of the step's list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: Errno,
    pub(crate) index: u32,
}

impl Failure {
    pub(crate) fn at(step: Step, index: usize) -> impl Fn(Errno) -> Self {
        move |errno| Self { step, errno, index: u32::try_from(index).unwrap_or(u32::MAX) }
    }

    pub(crate) fn of(step: Step) -> impl Fn(Errno) -> Self {
        Self::at(step, 0)
    }
}

/// The descriptors that come with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handles<'a> {
    /// Where events go and commands come from.
    pub(crate) control: Fd,
    pub(crate) stdio: [Fd; 3],
    /// A pidfd of the host: readable when the host has ended.
    pub(crate) host: Fd,
    /// v1 `tasks` files, or one v2 directory.
    pub(crate) cgroups: &'a [Fd],
    /// Where the launcher itself is: PID 1 must be elsewhere.
    pub(crate) place: Place,
}

/// Where the launcher is when PID 1 is born.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// In a prepared root; else among the host's mounts.
    pub(crate) prepared: bool,
    /// The inodes of its own user and mount namespaces.
    pub(crate) namespaces: [u64; 2],
}

/// Sends an event of numbers, then text. A host that does not read is not waited for when `wait` is false.
pub(crate) fn send_event(control: Fd, numbers: &[u32], text: &[u8], wait: bool) -> Result<(), Errno> {
    let mut buffer = [0u8; 4096 + 512];
    let mut length = 0;
    let words = numbers.iter().map(|number| number.to_le_bytes());
    for (slot, word) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *slot = word;
        length += 4;
    }
    if let Some(rest) = buffer.get_mut(length..) {
        for (slot, byte) in rest.iter_mut().zip(text) {
            *slot = *byte;
            length += 1;
        }
    }
    sockets::send(control, buffer.get(..length).unwrap_or_default(), None, wait)
}

/// Tells the host that the launch failed. If the host is gone, so is everyone who could care.
pub(crate) fn send_failure(control: Fd, failure: Failure) {
    let numbers = [event::FAILED, failure.step as u32, failure.errno.0.cast_unsigned(), failure.index];
    let _host_gone = send_event(control, &numbers, &[], true);
}
