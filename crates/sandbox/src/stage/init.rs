//! PID 1 of a sandbox: builds it from the inside, starts the program, and stays as the one that cannot be killed from
//! within, reaps what is orphaned, and ends everything by ending itself.

use core::cell::Cell;

use super::roots::{HOST, KEPT_LAST, PROC};
use super::{Failure, Handles, check, confine, mounts, program, send_event, send_failure, watch};
use crate::sys::calls::{self, EAGAIN, EINVAL, Errno, Fd, Namespaces, PollEntry, READABLE, Reaped};
use crate::sys::privileges;
use crate::wire::{Request, SOURCES_MAX, Step, command, event, flag, layer};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGCHLD: u32 = 17;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;
const CLONE_NEWCGROUP: u64 = 0x0200_0000;
const EVERYBODY: i32 = -1;
/// The stack of the child until it executes the program; it runs a dozen shallow functions.
const PROGRAM_STACK_BYTES: usize = 64 * 1024;
/// The launcher could not do its work: the event has said why.
const SET_UP_FAILED: i32 = 1;
/// The host has gone.
const ALONE: i32 = 2;

/// From the first instruction in the new namespaces to the end of the sandbox.
pub(crate) fn run(request: &Request<'_>, handles: &Handles<'_>, granted: &[Fd; SOURCES_MAX]) -> ! {
    match set_up(request, handles, granted).and_then(|()| start(request, handles)) {
        Ok(started) => supervise(request, handles, &started),
        Err(failure) => {
            send_failure(handles.control, failure);
            calls::exit(SET_UP_FAILED)
        }
    }
}

fn set_up(request: &Request<'_>, handles: &Handles<'_>, granted: &[Fd; SOURCES_MAX]) -> Result<(), Failure> {
    // Of the launcher's own descriptors only its /proc is needed, and that not for long.
    calls::close_between(HOST, KEPT_LAST).map_err(Failure::of(Step::Lifeline))?;
    // Until the lifeline is watched, the death of the host's launching thread must end this process.
    privileges::set_death_signal(SIGKILL.unsigned_abs() as usize).map_err(Failure::of(Step::Lifeline))?;
    if request.builds(layer::USER) {
        // Another id than the parent's made this process undumpable, and then its own /proc files are root's.
        privileges::set_dumpable(true).map_err(Failure::of(Step::Maps))?;
        write_maps(request.inside_uid, request.outside_uid, request.inside_gid, request.outside_gid)
            .map_err(Failure::of(Step::Maps))?;
    }
    privileges::set_dumpable(false).map_err(Failure::of(Step::Maps))?;
    join_cgroups(request, handles).map_err(Failure::of(Step::CgroupAttach))?;
    if request.builds(layer::UTS) {
        privileges::set_host_name(request.host_name).map_err(Failure::of(Step::HostName))?;
    }
    if request.builds(layer::USER) {
        mounts::forbid_user_namespaces().map_err(Failure::of(Step::NamespaceLimit))?;
    }
    if request.builds(layer::MOUNT) {
        if handles.place.prepared {
            mounts::complete_root(request, granted)?;
        } else {
            mounts::build_root(request, granted)?;
        }
    }
    calls::close(PROC);
    confine::give_up_privileges(request)?;
    confine::restrict_files(request)
}

/// Writes the one-line maps of this process's own user namespace: `inside` is what the program sees, `outside` what
/// the launcher's namespace calls it (user_namespaces(7)).
pub(crate) fn write_maps(
    inside_uid: u32,
    outside_uid: u32,
    inside_gid: u32,
    outside_gid: u32,
) -> Result<(), Errno> {
    let mut users = calls::Line::<64>::new();
    users.number(inside_uid).text(b" ").number(outside_uid).text(b" 1");
    let mut groups = calls::Line::<64>::new();
    groups.number(inside_gid).text(b" ").number(outside_gid).text(b" 1");
    for (path, line) in [
        (c"self/uid_map", users.as_bytes()),
        (c"self/setgroups", b"deny"),
        (c"self/gid_map", groups.as_bytes()),
    ] {
        let file = calls::open_at(PROC, path, calls::O_WRONLY, 0)?;
        let written = calls::write(file, line);
        calls::close(file);
        written?;
    }
    Ok(())
}

/// Enters the prepared leaves and makes sure of it, then hides where they hang.
///
/// On v1 a process moves by its own thread id: writing `0` to `tasks` moves only the caller, for which the kernel
/// does not take the lock that waits for a grace period (cgroup_procs_write_start), so it costs microseconds where
/// `cgroup.procs` can cost milliseconds.
fn join_cgroups(request: &Request<'_>, handles: &Handles<'_>) -> Result<(), Errno> {
    if request.builds(layer::LIMITS) && !request.has(flag::CGROUP_V2) {
        for tasks in handles.cgroups {
            calls::write(*tasks, b"0")?;
        }
    }
    check::find_cgroup_leaf(request)?;
    if request.builds(layer::CGROUP) { calls::unshare(CLONE_NEWCGROUP) } else { Ok(()) }
}

/// What PID 1 holds while the program runs.
struct Started {
    program: i32,
    listener: Option<Fd>,
    signals: Fd,
}

fn start(request: &Request<'_>, handles: &Handles<'_>) -> Result<Started, Failure> {
    let child_ended = 1u64 << (SIGCHLD - 1);
    calls::block_signals(child_ended).map_err(Failure::of(Step::Lifeline))?;
    let signals = calls::signal_fd(child_ended).map_err(Failure::of(Step::Lifeline))?;
    let program_fd = program::open(request)?;
    for (number, fd) in (0..).zip(handles.stdio) {
        calls::dup_onto(fd, Fd(number), false).map_err(Failure::of(Step::Descriptors))?;
    }
    let stack = calls::region(PROGRAM_STACK_BYTES).map_err(Failure::of(Step::Execute))?;
    let (arguments, environment) = program::tables(request).map_err(Failure::of(Step::Execute))?;
    let program_text = usize::try_from(request.program_text).unwrap_or(0);
    calls::empty_text_at(program_text).map_err(Failure::of(Step::Execute))?;
    let birth = program::Birth {
        request,
        program_fd,
        program_text,
        control: handles.control,
        launcher: handles.place.namespaces,
        arguments,
        environment,
        failure: Cell::new(None),
        proven: Cell::new(0),
        unproven: Cell::new(0),
        listener: Cell::new(None),
    };
    let pid = calls::run_sharing_memory(stack, &birth, program::become_program, Namespaces::Shared)
        .map_err(Failure::of(Step::Execute))?;
    calls::forget_text_at(program_text).map_err(Failure::of(Step::Execute))?;
    if birth.unproven.get() != 0 {
        let _host_gone = send_event(handles.control, &[event::UNPROVEN, birth.unproven.get()], &[], true);
        calls::exit(SET_UP_FAILED);
    }
    if let Some(failure) = birth.failure.get() {
        return Err(failure);
    }
    let pid = i32::try_from(pid).map_err(|_| Failure::of(Step::Execute)(EINVAL))?;
    let numbers = [event::STARTED, birth.proven.get(), pid.unsigned_abs()];
    let _host_gone = send_event(handles.control, &numbers, &[], true);
    privileges::set_death_signal(0).map_err(Failure::of(Step::Lifeline))?;
    // The program has its own copies; one left here would keep a closed pipe open.
    for fd in [Fd(0), Fd(1), Fd(2), program_fd].iter().chain(&handles.stdio).chain(handles.cgroups) {
        calls::close(*fd);
    }
    if request.builds(layer::SECCOMP) {
        privileges::seccomp_install(request.init_filter, false).map_err(Failure::of(Step::InitFilter))?;
    }
    Ok(Started { program: pid, listener: birth.listener.get(), signals })
}

fn supervise(request: &Request<'_>, handles: &Handles<'_>, started: &Started) -> ! {
    let mut watcher = watch::Watcher::new(handles.control, request);
    let entry = |fd: Fd| PollEntry { fd: fd.0, wanted: READABLE, got: 0 };
    let listener = started.listener.unwrap_or(Fd(-1));
    let mut entries = [entry(handles.control), entry(handles.host), entry(started.signals), entry(listener)];
    loop {
        match calls::poll(&mut entries, watcher.patience_ms()) {
            Ok(0) => watcher.rest(),
            Ok(_) => {}
            Err(_) => continue,
        }
        let [control, host, signals, reports] = &mut entries;
        if reports.got & READABLE != 0 {
            watcher.answer_next(listener);
        } else if reports.got != 0 {
            // Nobody is left who could report (seccomp_unotify(2)); a hung-up descriptor would keep poll awake.
            reports.fd = -1;
        }
        if host.got != 0 || (control.got != 0 && obey(handles.control, started.program).is_err()) {
            calls::exit(ALONE);
        }
        if signals.got != 0 {
            reap_all(handles.control, started, &mut watcher);
        }
    }
}

/// Reaps every ended child; when the program itself has ended, so does the sandbox.
fn reap_all(control: Fd, started: &Started, watcher: &mut watch::Watcher) {
    let mut drained = [0u8; 128];
    while calls::read(started.signals, &mut drained).is_ok() {}
    while let Ok(Some(reaped)) = calls::reap() {
        if reaped.pid == started.program {
            watcher.finish();
            let _host_gone = send_event(control, &ending(&reaped), &[], true);
            if privileges::process_id() != 1 {
                end_group(started.program);
            }
            calls::exit(0);
        }
    }
}

fn ending(reaped: &Reaped) -> [u32; 5] {
    let cut = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    [
        event::ENDED,
        reaped.status,
        cut(reaped.user_us / 1000),
        cut(reaped.system_us / 1000),
        cut(reaped.peak_kib),
    ]
}

/// Carries out the host's commands; an error means that the host has closed its end.
fn obey(control: Fd, program: i32) -> Result<(), Errno> {
    let mut buffer = [0u8; 16];
    let length = match calls::read(control, &mut buffer) {
        Ok(length) => length,
        Err(EAGAIN | calls::EINTR) => return Ok(()),
        Err(error) => return Err(error),
    };
    if length == 0 {
        return Err(EINVAL);
    }
    for byte in buffer.get(..length).unwrap_or_default() {
        let signal = match *byte {
            command::TERMINATE => SIGTERM,
            command::STOP => SIGSTOP,
            command::CONTINUE => SIGCONT,
            _ => continue,
        };
        // Only PID 1 may mean everybody: without a pid namespace that would be everybody on the host.
        let whom = if privileges::process_id() == 1 { EVERYBODY } else { -program };
        let _nobody_left = calls::kill(whom, signal);
        if *byte == command::TERMINATE {
            // A stopped process learns of it only when it goes on.
            let _nobody_left = calls::kill(whom, SIGCONT);
        }
    }
    Ok(())
}

/// Without a pid namespace (a weakened plan), the program's process group is all that can be named.
fn end_group(program: i32) {
    let _nobody_left = calls::kill(-program, SIGKILL);
}
