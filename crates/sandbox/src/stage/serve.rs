//! The launcher's loop: one request, one clone, no waiting for what was cloned.
//!
//! PID 1 of each sandbox is made with `CLONE_PARENT`, so it is the host's own child and nothing of ours stands
//! between. The launcher stays for two reasons: the next request needs no exec, and if the host dies it removes
//! the cgroup directories that the host can no longer remove.

use core::ffi::CStr;

use super::roots::{self, PROC, Roots};
use super::{Failure, Handles, Place, init, maker, mounts, send_failure};
use crate::sys::calls::{self, EINVAL, Errno, Fd, NO_FD};
use crate::sys::privileges;
use crate::sys::sockets::{self, DESCRIPTORS_MAX};
use crate::wire::{self, FREE, REQUEST_MAX, Reader, Request, SOURCES_MAX, Step, event, flag, layer, setup};

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

/// Runs until the host says goodbye or, killed, closes the socket without a word. The first message is the task, the second the
/// set-up, every other a request.
pub(crate) fn run() -> ! {
    let Ok(first) = calls::region(REQUEST_MAX) else { calls::exit(UNUSABLE) };
    let Ok(buffer) = calls::region(REQUEST_MAX) else { calls::exit(UNUSABLE) };
    let mut fds = [NO_FD; DESCRIPTORS_MAX];
    let task = Task::read(next_message(buffer));
    let begun = begin(&task);
    // Whatever has failed: the host is still to say all of it before it listens.
    let set_up = next_message(first);
    let mut launcher = match begun.and_then(|begun| begun.finish(&task, set_up)) {
        Ok(launcher) => launcher,
        Err(failure) => {
            send_failure(SOCKET, failure);
            calls::exit(UNUSABLE);
        }
    };
    let mut something_left = true;
    let mut swept = false;
    loop {
        match sockets::receive(SOCKET, buffer, &mut fds) {
            Ok((0, _)) => break,
            Ok((1, _)) if buffer.first() == Some(&setup::NOTHING_LEFT) => something_left = false,
            Ok((length, count)) => {
                something_left = true;
                let message = buffer.get(..length).unwrap_or_default();
                if message == wire::GOODBYE {
                    something_left = false;
                    break;
                }
                launcher.answer(message, fds.get(..count).unwrap_or_default());
                if !swept {
                    // Now nobody waits.
                    sweep_stale(set_up);
                    swept = true;
                }
            }
            Err(calls::EINTR) => {}
            Err(_) => break,
        }
    }
    if something_left {
        sweep(set_up);
    }
    if let Some(roots) = &launcher.roots {
        roots.end();
    }
    calls::exit(0)
}

/// What a launcher keeps between requests.
struct Launcher {
    /// None when every PID 1 builds its root by itself, from the host's mounts.
    roots: Option<Roots>,
    id_maps: mounts::IdMaps,
    user_namespace: u64,
}

/// The next message of a host that is still telling what it wants. One that says nothing any more has left nothing behind.
fn next_message(buffer: &mut [u8]) -> &[u8] {
    loop {
        match sockets::receive(SOCKET, buffer, &mut [NO_FD; DESCRIPTORS_MAX]) {
            Ok((length @ 1.., _)) => return buffer.get(..length).unwrap_or_default(),
            Err(calls::EINTR) => {}
            _ => calls::exit(UNUSABLE),
        }
    }
}

/// What the launcher is for, and for whom.
struct Task {
    flags: u32,
    uid: u32,
    gid: u32,
}

impl Task {
    fn read(bytes: &[u8]) -> Self {
        let mut from = Reader::new(bytes);
        Self { flags: from.u32(), uid: from.u32(), gid: from.u32() }
    }

    fn has(&self, bit: u32) -> bool {
        self.flags & bit != 0
    }
}

/// The set-up message, read in place.
struct SetUp<'a> {
    recipe: &'a [u8],
    mark: &'a CStr,
    directories: wire::Reader<'a>,
    count: usize,
}

impl<'a> SetUp<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut from = Reader::new(bytes);
        let (recipe, mark) = (from.blob(), from.text());
        let count = (from.u32() as usize).min(roots::CGROUPS_MAX);
        Self { recipe, mark, directories: from, count }
    }
}

/// A launcher in its own namespaces.
struct Begun {
    user_namespace: u64,
    maker: Option<maker::Maker>,
}

/// Own session (a Ctrl-C at the terminal is not for the launcher), no foreign descriptors, and the empty network that sandboxes
/// share if asked for.
fn begin(task: &Task) -> Result<Begun, Failure> {
    enter_own_namespaces(task).map_err(Failure::of(Step::Clone))?;
    let user_namespace = calls::stat_at(PROC, c"self/ns/user", true).map_err(Failure::of(Step::Clone))?.inode;
    let brief = task.has(setup::PREPARE) && task.has(setup::BRIEF);
    if brief && !task.has(setup::ROOT) {
        calls::unshare(CLONE_NEWNS).map_err(Failure::of(Step::RootMount))?;
    }
    let made = if brief { Some(maker::start(task.has(setup::HOLD_NETWORK))) } else { None };
    let maker = made.transpose().map_err(Failure::of(Step::Clone))?;
    Ok(Begun { user_namespace, maker })
}

impl Begun {
    /// Takes along what of the host cannot be seen from a prepared root, and builds the first one.
    fn finish(self, task: &Task, message: &[u8]) -> Result<Launcher, Failure> {
        let set_up = SetUp::read(message);
        keep_cgroups(&set_up).map_err(Failure::of(Step::Clone))?;
        let mut roots = None;
        if task.has(setup::PREPARE) {
            let (as_root, brief) = (task.has(setup::ROOT), task.has(setup::BRIEF));
            let mut prepared =
                Roots::start(as_root || brief, self.maker).map_err(Failure::of(Step::RootMount))?;
            let entered = prepared.enter(set_up.recipe);
            // Whoever may go back to the host's mounts starts plans that need no root from there. A plan that needs one fails
            // at the same step as this, and hears it from its own request. A brief one is not in its network yet.
            if !as_root || brief {
                entered?;
            }
            roots = Some(prepared);
        }
        Ok(Launcher { roots, id_maps: mounts::IdMaps::new(), user_namespace: self.user_namespace })
    }
}

fn enter_own_namespaces(task: &Task) -> Result<(), Errno> {
    calls::close_range(4, 0)?;
    roots::reserve_numbers()?;
    calls::set_session()?;
    calls::umask(0o022);
    calls::default_signals();
    privileges::set_name(c"ringfence");
    privileges::set_dumpable(false)?;
    // A brief launcher has it made beside.
    let own = task.has(setup::HOLD_NETWORK) && !(task.has(setup::BRIEF) && task.has(setup::PREPARE));
    let network = if own { CLONE_NEWNET } else { 0 };
    if task.has(setup::ROOT) {
        privileges::drop_groups()?;
        privileges::keep_capabilities_across_ids()?;
        if network != 0 {
            calls::unshare(network)?;
        }
    } else if task.has(setup::HOLD_NETWORK) || task.has(setup::PREPARE) {
        calls::unshare(CLONE_NEWUSER | network)?;
        // The files of an undumpable process in /proc are root's, and its maps could not be written.
        privileges::set_dumpable(true)?;
        init::write_maps(task.uid, task.uid, task.gid, task.gid)?;
        privileges::set_dumpable(false)?;
    }
    Ok(())
}

/// Opens the directories of cgroups, which cannot be seen from a prepared root. One that is missing holds no cgroup.
fn keep_cgroups(set_up: &SetUp<'_>) -> Result<(), Errno> {
    let mut directories = set_up.directories.clone();
    for number in (roots::CGROUPS_FIRST..).take(set_up.count) {
        if let Ok(opened) = calls::open_at(NO_FD, directories.text(), calls::O_DIRECTORY, 0) {
            calls::dup_onto(opened, Fd(number), true)?;
            calls::close(opened);
        }
    }
    Ok(())
}

impl Launcher {
    fn answer(&mut self, message: &[u8], fds: &[Fd]) {
        let [control, stdin, stdout, stderr, host, cgroups @ ..] = fds else {
            for fd in fds {
                calls::close(*fd);
            }
            return;
        };
        let mut granted = [NO_FD; SOURCES_MAX];
        let outcome = match Request::parse(message) {
            Some(request) => self.find_place(&request, &mut granted).and_then(|place| {
                let stdio = [*stdin, *stdout, *stderr];
                let handles = Handles { control: *control, stdio, host: *host, cgroups, place };
                give_birth(&request, &handles, &granted)
            }),
            None => Err(Failure::of(Step::Request)(EINVAL)),
        };
        if let Err(failure) = outcome {
            send_failure(*control, failure);
        }
        for fd in granted.iter().filter(|fd| **fd != NO_FD).chain(fds) {
            calls::close(*fd);
        }
    }

    /// Goes where PID 1 shall be born, and takes what is granted if PID 1 cannot.
    fn find_place(
        &mut self,
        request: &Request<'_>,
        granted: &mut [Fd; SOURCES_MAX],
    ) -> Result<Place, Failure> {
        let among_hosts = Place { prepared: false, namespaces: [self.user_namespace, 0] };
        let own_mounts = request.layers & layer::MOUNT != 0;
        match &mut self.roots {
            Some(roots) if own_mounts => {
                let mounts = roots.enter_for(request, &mut self.id_maps, granted)?;
                Ok(Place { prepared: true, namespaces: [self.user_namespace, mounts] })
            }
            Some(roots) => {
                roots.enter_host().map_err(Failure::of(Step::RootMount))?;
                Ok(among_hosts)
            }
            None => {
                if own_mounts && request.has(flag::SWITCH_IDS) {
                    let first = wire::Recipe::parse(request.recipe).map_or(0, |recipe| recipe.sources.count);
                    mounts::take_granted(request, first as usize, &mut self.id_maps, granted)?;
                }
                Ok(among_hosts)
            }
        }
    }
}

fn give_birth(
    request: &Request<'_>,
    handles: &Handles<'_>,
    granted: &[Fd; SOURCES_MAX],
) -> Result<(), Failure> {
    let mut pidfd = NO_FD;
    let into = handles.cgroups.first().copied().filter(|_| request.has(flag::CGROUP_V2));
    take_ids(request).map_err(Failure::of(Step::Ids))?;
    let born = calls::clone_process(clone_flags(request, into.is_some()), 0, &mut pidfd, into);
    if born == Ok(0) {
        calls::close(SOCKET);
        init::run(request, handles, granted)
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
fn sweep(message: &[u8]) {
    let set_up = SetUp::read(message);
    for _ in 0..SWEEP_TRIES {
        let mut left = 0;
        for number in (roots::CGROUPS_FIRST..).take(set_up.count) {
            left += sweep_directory(Fd(number), set_up.mark.to_bytes());
        }
        if left == 0 || set_up.mark.is_empty() {
            return;
        }
        calls::sleep_ms(SWEEP_PAUSE_MS);
    }
}

/// Removes the cgroup directories of hosts that were killed after their launchers had ended.
fn sweep_stale(message: &[u8]) {
    let Ok(own) = calls::stat_at(PROC, c"self/ns/pid", true) else { return };
    for number in (roots::CGROUPS_FIRST..).take(SetUp::read(message).count) {
        remove_from(Fd(number), |name| is_stale(name, own.inode));
    }
}

/// Whether the name is a mark of ours, and the process that it names has gone. A process of another pid namespace may
/// be there without being seen.
fn is_stale(name: &[u8], namespace: u64) -> bool {
    const ENOENT: Errno = Errno(2);
    let mut parts = name.strip_prefix(FREE).unwrap_or(name).split(|byte| *byte == b'-');
    let (Some(pid), Some(mark), Some(_number), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let named = mark.split(|byte| *byte == b'.').nth(1).and_then(hexadecimal);
    if pid.is_empty() || !pid.iter().all(u8::is_ascii_digit) || named != Some(namespace) {
        return false;
    }
    let mut path = calls::Line::<64>::new();
    path.text(pid);
    calls::stat_at(PROC, path.as_c_str(), false).err() == Some(ENOENT)
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(u64::from);
    text.iter().try_fold(0u64, |number, byte| Some(number.checked_mul(16)? + digit(byte)?))
}

/// How many directories with the mark are left below `kept`.
fn sweep_directory(kept: Fd, mark: &[u8]) -> u32 {
    // One in use is named by the mark and a number; one that waits for a sandbox has a word before it.
    let own = |name: &[u8]| !mark.is_empty() && name.strip_prefix(FREE).unwrap_or(name).starts_with(mark);
    remove_from(kept, own)
}

/// Removes the directories below `kept` whose names are `wanted`; how many could not be removed.
fn remove_from(kept: Fd, wanted: impl Fn(&[u8]) -> bool) -> u32 {
    // Opened anew, to be read from its beginning.
    let Ok(dir) = calls::open_at(kept, c".", calls::O_DIRECTORY, 0) else { return 0 };
    let mut left = 0;
    let mut buffer = [0u8; 4096];
    while let Ok(length @ 1..) = calls::list_dir(dir, &mut buffer) {
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((name, tail)) = wire::next_directory_entry(rest) {
            rest = tail;
            if wanted(name.to_bytes()) && calls::remove_dir(dir, name).is_err() {
                left += 1;
            }
        }
    }
    calls::close(dir);
    left
}
