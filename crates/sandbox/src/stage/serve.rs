//! The launcher's loop: one request, one clone, no waiting for what was cloned.
//!
//! PID 1 of each sandbox is made with `CLONE_PARENT`, so it is the host's own child and nothing of ours stands
//! between. The launcher stays for two reasons: the next request needs no exec, and if the host dies it removes
//! the cgroup directories that the host can no longer remove.

use core::ffi::CStr;

use super::{Failure, Handles, init, mounts, send_event, send_failure};
use crate::sys::calls::{self, EINVAL, Errno, Fd, NO_FD};
use crate::sys::privileges;
use crate::sys::sockets::{self, DESCRIPTORS_MAX};
use crate::wire::{self, REQUEST_MAX, Reader, Request, SOURCES_MAX, Step, event, flag, layer, setup};

const SOCKET: Fd = Fd(3);
const CLONE_NEWNS: u64 = 0x2_0000;
const CLONE_NEWUTS: u64 = 0x400_0000;
const CLONE_NEWIPC: u64 = 0x800_0000;
const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_NEWNET: u64 = 0x4000_0000;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// How often and how long the launcher tries to remove what a dead host left: 100 times 20 ms.
const SWEEP_TRIES: u32 = 100;
const SWEEP_PAUSE_MS: i32 = 20;
/// Exit status when the launcher cannot even start.
const UNUSABLE: i32 = 102;

/// Runs until the host says goodbye or, killed, closes the socket without a word. The first message is the set-up, every other a request.
pub(crate) fn run() -> ! {
    let Ok(first) = calls::region(REQUEST_MAX) else { calls::exit(UNUSABLE) };
    let Ok(buffer) = calls::region(REQUEST_MAX) else { calls::exit(UNUSABLE) };
    let mut fds = [NO_FD; DESCRIPTORS_MAX];
    let Ok((length, _)) = sockets::receive(SOCKET, first, &mut fds) else { calls::exit(UNUSABLE) };
    let set_up = first.get(..length).unwrap_or_default();
    if let Err(errno) = prepare(set_up) {
        let _host_gone =
            send_event(SOCKET, &[event::FAILED, Step::Clone as u32, errno.0.cast_unsigned()], &[], true);
        calls::exit(UNUSABLE);
    }
    let mut id_maps = mounts::IdMaps::new();
    let mut something_left = true;
    loop {
        match sockets::receive(SOCKET, buffer, &mut fds) {
            Ok((0, _)) => break,
            Ok((1, _)) if buffer.first() == Some(&setup::NOTHING_LEFT) => something_left = false,
            Ok((length, count)) => {
                something_left = true;
                let message = buffer.get(..length).unwrap_or_default();
                if message == wire::GOODBYE {
                    calls::exit(0);
                }
                answer(message, fds.get(..count).unwrap_or_default(), &mut id_maps);
            }
            Err(calls::EINTR) => {}
            Err(_) => break,
        }
    }
    if something_left {
        sweep(set_up);
    }
    calls::exit(0)
}

/// Own session (a Ctrl-C at the terminal is not for the launcher), no foreign descriptors, and the empty network
/// that sandboxes share if asked for.
fn prepare(set_up: &[u8]) -> Result<(), Errno> {
    let mut from = Reader::new(set_up);
    let flags = from.u32();
    let (uid, gid) = (from.u32(), from.u32());
    calls::close_range(4, 0)?;
    calls::set_session()?;
    calls::umask(0o022);
    calls::default_signals();
    privileges::set_name(c"ringfence");
    privileges::set_dumpable(false)?;
    if flags & setup::ROOT != 0 {
        privileges::drop_groups()?;
        privileges::keep_capabilities_across_ids()?;
        if flags & setup::HOLD_NETWORK != 0 {
            calls::unshare(CLONE_NEWNET)?;
        }
    } else if flags & setup::HOLD_NETWORK != 0 {
        calls::unshare(CLONE_NEWUSER | CLONE_NEWNET)?;
        // The files of an undumpable process in /proc are root's, and its maps could not be written.
        privileges::set_dumpable(true)?;
        init::write_maps(uid, uid, gid, gid)?;
        privileges::set_dumpable(false)?;
    }
    Ok(())
}

fn answer(message: &[u8], fds: &[Fd], id_maps: &mut mounts::IdMaps) {
    let [control, stdin, stdout, stderr, host, cgroups @ ..] = fds else {
        for fd in fds {
            calls::close(*fd);
        }
        return;
    };
    let handles = Handles { control: *control, stdio: [*stdin, *stdout, *stderr], host: *host, cgroups };
    let mut early = [NO_FD; SOURCES_MAX];
    let outcome = match Request::parse(message) {
        Some(request) => mounts::clone_early(&request, id_maps, &mut early)
            .and_then(|()| give_birth(&request, &handles, &early)),
        None => Err(Failure::of(Step::Request)(EINVAL)),
    };
    if let Err(failure) = outcome {
        send_failure(handles.control, failure);
    }
    for fd in early.iter().filter(|fd| **fd != NO_FD).chain(fds) {
        calls::close(*fd);
    }
}

fn give_birth(
    request: &Request<'_>,
    handles: &Handles<'_>,
    early: &[Fd; SOURCES_MAX],
) -> Result<(), Failure> {
    let mut pidfd = NO_FD;
    let into = handles.cgroups.first().copied().filter(|_| request.has(flag::CGROUP_V2));
    take_ids(request).map_err(Failure::of(Step::Ids))?;
    let born = calls::clone_process(clone_flags(request, into.is_some()), 0, &mut pidfd, into);
    if born == Ok(0) {
        calls::close(SOCKET);
        init::run(request, handles, early)
    }
    let back = give_back_ids(request);
    born.map_err(Failure::of(Step::Clone))?;
    let sent = sockets::send(handles.control, &event::BORN.to_le_bytes(), Some(pidfd), true);
    calls::close(pidfd);
    // A launcher that is not root again would fail later in stranger ways.
    if back.is_err() {
        calls::exit(UNUSABLE);
    }
    sent.map_err(Failure::of(Step::Lifeline))
}

/// The new process gets the outside ids at birth: the owner of its user namespace, and what its id map may name.
/// The capabilities stay (see `keep_capabilities_across_ids`), so the launcher can take its own ids back.
fn take_ids(request: &Request<'_>) -> Result<(), Errno> {
    if !request.has(flag::SWITCH_IDS) {
        return Ok(());
    }
    privileges::set_group_ids(request.outside_gid, request.outside_gid, 0)?;
    privileges::set_user_ids(request.outside_uid, request.outside_uid, 0)
}

fn give_back_ids(request: &Request<'_>) -> Result<(), Errno> {
    if !request.has(flag::SWITCH_IDS) {
        return Ok(());
    }
    privileges::set_user_ids(0, 0, 0)?;
    privileges::set_group_ids(0, 0, 0)
}

fn clone_flags(request: &Request<'_>, into_cgroup: bool) -> u64 {
    let mut flags = CLONE_PIDFD | CLONE_PARENT | if into_cgroup { CLONE_INTO_CGROUP } else { 0 };
    for (bit, clone) in [
        (layer::USER, CLONE_NEWUSER),
        (layer::MOUNT, CLONE_NEWNS),
        (layer::PID, CLONE_NEWPID),
        (layer::IPC, CLONE_NEWIPC),
        (layer::UTS, CLONE_NEWUTS),
    ] {
        if request.builds(bit) {
            flags |= clone;
        }
    }
    if request.builds(layer::NETWORK) && request.has(flag::FRESH_NETWORK) {
        flags |= CLONE_NEWNET;
    }
    flags
}

/// Removes the cgroup directories that carry this launcher's mark. The host has usually done so; after `kill -9` of
/// the host nobody else can. The processes inside are dying at that moment, hence the retries.
fn sweep(set_up: &[u8]) {
    for _ in 0..SWEEP_TRIES {
        let mut from = Reader::new(set_up);
        let _flags_and_ids = (from.u32(), from.u32(), from.u32());
        let mark = from.text();
        let count = from.u32();
        let mut left = 0;
        for _ in 0..count {
            left += sweep_directory(from.text(), mark.to_bytes());
        }
        if left == 0 || mark.is_empty() {
            return;
        }
        calls::sleep_ms(SWEEP_PAUSE_MS);
    }
}

/// How many directories with the mark are left below `path`.
fn sweep_directory(path: &CStr, mark: &[u8]) -> u32 {
    let Ok(dir) = calls::open_at(NO_FD, path, calls::O_DIRECTORY, 0) else { return 0 };
    let mut left = 0;
    let mut buffer = [0u8; 4096];
    while let Ok(length @ 1..) = calls::list_dir(dir, &mut buffer) {
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((name, tail)) = wire::next_directory_entry(rest) {
            rest = tail;
            if !mark.is_empty() && name.to_bytes().starts_with(mark) && calls::remove_dir(dir, name).is_err()
            {
                left += 1;
            }
        }
    }
    calls::close(dir);
    left
}
