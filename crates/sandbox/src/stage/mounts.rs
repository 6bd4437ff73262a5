//! Builds the root: sources are taken from the host's tree as descriptors, attached below a fresh tmpfs that only
//! this sandbox has, and the host's tree is detached.
//!
//! INVARIANT: a mount point is created only on our own tmpfs. Inside a granted tree a target must exist already, and
//! the walk to it follows no link.

use core::ffi::CStr;

use super::Failure;
use super::roots::PROC;
use crate::sys::calls::{
    self, E2BIG, EEXIST, EINVAL, ESTALE, Errno, Fd, NO_FD, O_DIRECTORY, O_NOFOLLOW, O_PATH,
};
use crate::sys::mounts::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Reach};
use crate::wire::{Recipe, Records, Request, SOURCES_MAX, SourceRecord, Step, build, source};

const CLONE_NEWUSER: u64 = 0x1000_0000;
const SIGKILL: i32 = 9;
const SIGCHLD: u64 = 17;
/// How many id maps the launcher keeps: one for each (owner, plugin id) pair in use.
const ID_MAPS_MAX: usize = 16;
const INERT: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;

/// User namespaces that exist only as id maps for mounts.
#[derive(Debug)]
pub(crate) struct IdMaps {
    known: [Option<IdMap>; ID_MAPS_MAX],
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct IdMap {
    from: (u32, u32),
    to: (u32, u32),
    namespace: Fd,
}

impl IdMaps {
    pub(crate) fn new() -> Self {
        Self { known: [None; ID_MAPS_MAX], next: 0 }
    }

    /// The namespace that shows files of `from` (uid, gid) as those of `to`.
    fn get(&mut self, from: (u32, u32), to: (u32, u32)) -> Result<Fd, Errno> {
        if let Some(map) = self.known.iter().flatten().find(|map| map.from == from && map.to == to) {
            return Ok(map.namespace);
        }
        let namespace = make_id_map(from, to)?;
        let at = self.next % ID_MAPS_MAX;
        self.next += 1;
        if let Some(slot) = self.known.get_mut(at)
            && let Some(old) = slot.replace(IdMap { from, to, namespace })
        {
            calls::close(old.namespace);
        }
        Ok(namespace)
    }
}

/// Makes a user namespace by way of a process that waits in it until its maps are written, and then dies.
fn make_id_map(from: (u32, u32), to: (u32, u32)) -> Result<Fd, Errno> {
    let mut unused = NO_FD;
    let pid = calls::clone_process(CLONE_NEWUSER, SIGCHLD, &mut unused, None)?;
    if pid == 0 {
        // Should the launcher be killed at this moment, nobody else would end this process.
        if crate::sys::privileges::set_death_signal(SIGKILL.unsigned_abs() as usize).is_err() {
            calls::exit(1);
        }
        loop {
            calls::sleep_ms(-1);
        }
    }
    let pid = i32::try_from(pid).map_err(|_| EINVAL)?;
    let made = write_id_map(pid, from, to);
    calls::kill(pid, SIGKILL)?;
    calls::wait_for(pid);
    made
}

fn write_id_map(pid: i32, from: (u32, u32), to: (u32, u32)) -> Result<Fd, Errno> {
    for (file, from, to) in [(&b"/uid_map"[..], from.0, to.0), (b"/gid_map", from.1, to.1)] {
        let mut path = calls::Line::<64>::new();
        path.number(pid.unsigned_abs()).text(file);
        let mut line = calls::Line::<64>::new();
        line.number(from).text(b" ").number(to).text(b" 1");
        let map = calls::open_at(PROC, path.as_c_str(), calls::O_WRONLY, 0)?;
        let written = calls::write(map, line.as_bytes());
        calls::close(map);
        written?;
    }
    let mut path = calls::Line::<64>::new();
    path.number(pid.unsigned_abs()).text(b"/ns/user");
    calls::open_at(PROC, path.as_c_str(), 0, 0)
}

/// Takes what is granted, before PID 1 is born. Only who has every capability over the host's mounts can. `first` is the
/// number of the first one in the host's count.
pub(crate) fn take_granted(
    request: &Request<'_>,
    first: usize,
    id_maps: &mut IdMaps,
    granted: &mut [Fd; SOURCES_MAX],
) -> Result<(), Failure> {
    let mut from = request.sources.reader.clone();
    for (index, slot) in granted.iter_mut().enumerate().take(request.sources.count as usize) {
        let record = SourceRecord::read(&mut from);
        let map = if record.flags & source::ID_MAPPED == 0 {
            None
        } else {
            let owner = (record.owner_uid, record.owner_gid);
            let plugin = (request.outside_uid, request.outside_gid);
            Some(id_maps.get(owner, plugin).map_err(Failure::at(Step::IdMap, first + index))?)
        };
        *slot = take_source(&record, map).map_err(Failure::at(Step::Source, first + index))?;
    }
    Ok(())
}

/// Opens the path, makes sure that it is still what the host saw, and copies its mount.
pub(crate) fn take_source(record: &SourceRecord<'_>, id_map: Option<Fd>) -> Result<Fd, Errno> {
    if record.flags & source::SYSTEM != 0 {
        return take_system(record);
    }
    let found = calls::open_beneath(NO_FD, record.path, O_PATH | O_NOFOLLOW, 0, calls::RESOLVE_NO_LINKS)?;
    let taken = take_opened(record, found, id_map);
    calls::close(found);
    taken
}

/// A part of the system that only its administrator changes: there is nothing to compare it with, and a package may have
/// replaced or removed it since the library looked. What is missing is left out (`NO_FD`).
fn take_system(record: &SourceRecord<'_>) -> Result<Fd, Errno> {
    const ENOENT: Errno = Errno(2);
    match mounts::open_tree(NO_FD, record.path) {
        Ok(mount) => mounts::set_attributes(mount, Reach::Tree, record.attributes, None).map(|()| mount),
        Err(ENOENT) => Ok(NO_FD),
        Err(error) => Err(error),
    }
}

fn take_opened(record: &SourceRecord<'_>, found: Fd, id_map: Option<Fd>) -> Result<Fd, Errno> {
    const FILE_TYPE: u32 = 0o170_000;
    const CHARACTER_DEVICE: u32 = 0o020_000;
    let seen = calls::stat_at(found, c"", false)?;
    let same = if record.flags & source::DEVICE == 0 {
        seen.device == record.device && seen.inode == record.inode
    } else {
        seen.mode & FILE_TYPE == CHARACTER_DEVICE && seen.special == record.device
    };
    if !same {
        return Err(ESTALE);
    }
    let mount = mounts::open_tree(found, c"")?;
    match mounts::set_attributes(mount, Reach::Tree, record.attributes, id_map) {
        // This file system cannot be id-mapped (tmpfs before Linux 6.3). What is only read is then read as anybody may read
        // it, which is less; what is to be written is refused.
        Err(EINVAL) if id_map.is_some() && record.attributes & ATTR_RDONLY != 0 => {
            mounts::set_attributes(mount, Reach::Tree, record.attributes, None)?;
        }
        other => other?,
    }
    Ok(mount)
}

/// Builds what only this sandbox has into a prepared root, which PID 1 is in already.
pub(crate) fn complete_root(request: &Request<'_>, granted: &[Fd; SOURCES_MAX]) -> Result<(), Failure> {
    let root = calls::open_at(NO_FD, c"/", O_PATH | O_DIRECTORY, 0).map_err(Failure::of(Step::RootMount))?;
    run_steps(root, &request.steps, granted)?;
    close_all(granted);
    calls::close(root);
    Ok(())
}

/// Builds the root and enters it. Nothing of the host's tree is left but what the sources name.
pub(crate) fn build_root(request: &Request<'_>, granted: &[Fd; SOURCES_MAX]) -> Result<(), Failure> {
    mounts::make_all_private().map_err(Failure::of(Step::RootMount))?;
    let recipe = Recipe::parse(request.recipe).ok_or_else(|| Failure::of(Step::Request)(EINVAL))?;
    let mut system = [NO_FD; SOURCES_MAX];
    take_all(&recipe.sources, 0, &mut system)?;
    let mut sources = *granted;
    take_all(&request.sources, recipe.sources.count as usize, &mut sources)?;
    let root = make_root().map_err(Failure::of(Step::RootMount))?;
    run_steps(root, &recipe.steps, &system)?;
    run_steps(root, &request.steps, &sources)?;
    // PID 1 stays, and needs none of them any more.
    close_all(&system);
    close_all(&sources);
    enter(root).map_err(Failure::of(Step::Pivot))
}

/// Builds a root that many sandboxes will start from, but for its /proc.
pub(crate) fn begin_shared_root(recipe: &Recipe<'_>, sources: &[Fd; SOURCES_MAX]) -> Result<Fd, Failure> {
    let root = make_root().map_err(Failure::of(Step::RootMount))?;
    run_steps(root, &recipe.steps, sources)?;
    Ok(root)
}

/// Closes the file system of a shared root for writing for good (no mount of it, whatever its attributes, can change it
/// then), and enters it.
pub(crate) fn finish_shared_root(root: Fd, empty_proc: Fd) -> Result<(), Failure> {
    attach_at(empty_proc, root, c"proc").map_err(Failure::of(Step::Proc))?;
    let seal = || {
        let instance = mounts::fs_pick(root)?;
        mounts::fs_set_flag(instance, c"ro")?;
        let sealed = mounts::fs_reconfigure(instance);
        calls::close(instance);
        sealed
    };
    seal().map_err(Failure::of(Step::RootMount))?;
    enter(root).map_err(Failure::of(Step::Pivot))
}

/// Takes those sources that nobody has taken before.
fn take_all(sources: &Records<'_>, first: usize, into: &mut [Fd; SOURCES_MAX]) -> Result<(), Failure> {
    let mut from = sources.reader.clone();
    for (index, slot) in into.iter_mut().enumerate().take(sources.count as usize) {
        let record = SourceRecord::read(&mut from);
        if *slot == NO_FD {
            *slot = take_source(&record, None).map_err(Failure::at(Step::Source, first + index))?;
        }
    }
    Ok(())
}

fn close_all(fds: &[Fd; SOURCES_MAX]) {
    for fd in fds.iter().filter(|fd| **fd != NO_FD) {
        calls::close(*fd);
    }
}

fn run_steps(root: Fd, records: &Records<'_>, sources: &[Fd; SOURCES_MAX]) -> Result<(), Failure> {
    let mut steps = records.reader.clone();
    let mut builder = Builder { root, sources, parent: None };
    for index in 0..records.count as usize {
        let kind = steps.u32();
        let step = if kind == build::PROC { Step::Proc } else { Step::Build };
        builder.run_step(kind, &mut steps).map_err(Failure::at(step, index))?;
    }
    builder.forget_parent();
    if steps.is_broken() { Err(Failure::of(Step::Request)(EINVAL)) } else { Ok(()) }
}

/// A tmpfs over the host's root directory: attached there because that directory always exists, and because a
/// pivot needs a mount that is in the tree (a detached root works only on the newest kernels).
fn make_root() -> Result<Fd, Errno> {
    let fs = mounts::fs_open(c"tmpfs")?;
    mounts::fs_set(fs, c"mode", c"0755")?;
    mounts::fs_set(fs, c"size", c"4m")?;
    mounts::fs_create(fs)?;
    let root = mounts::fs_mount(fs, ATTR_NOSUID | ATTR_NODEV)?;
    calls::close(fs);
    let host_root = calls::open_at(NO_FD, c"/", O_PATH | O_DIRECTORY, 0)?;
    mounts::attach(root, host_root)?;
    calls::close(host_root);
    Ok(root)
}

/// Carries out the steps, one after another.
struct Builder<'a> {
    root: Fd,
    sources: &'a [Fd; SOURCES_MAX],
    /// The directory in which the last thing was made: most steps make several in one.
    parent: Option<(&'a CStr, Fd)>,
}

impl<'a> Builder<'a> {
    fn run_step(&mut self, kind: u32, from: &mut crate::wire::Reader<'a>) -> Result<(), Errno> {
        let root = self.root;
        match kind {
            build::DIRECTORY => {
                let mode = from.u32();
                let (parent, name) = self.place(from)?;
                match calls::make_dir(parent, name, mode) {
                    Err(EEXIST) => Ok(()),
                    other => other,
                }
            }
            build::SYMLINK => {
                let target = from.text();
                let (parent, name) = self.place(from)?;
                calls::make_symlink(target, parent, name)
            }
            build::FILE => {
                let mode = from.u32();
                let (parent, name) = self.place(from)?;
                write_file(parent, name, mode, from.blob())
            }
            build::ATTACH => {
                let source = self.sources.get(from.u32() as usize).copied().ok_or(E2BIG)?;
                let path = from.text();
                self.forget_parent();
                // A part of the system that is missing leaves its empty place.
                if source == NO_FD { Ok(()) } else { attach_at(source, root, path) }
            }
            build::SCRATCH => {
                self.forget_parent();
                let (size, attributes) = (from.text(), from.u64());
                let scratch = make_scratch(size, attributes)?;
                let attached = attach_at(scratch, root, from.text());
                calls::close(scratch);
                attached
            }
            build::PROC => {
                self.forget_parent();
                mount_proc(root, from.text())
            }
            build::COPY => {
                self.forget_parent();
                lay_copy(root, from)
            }
            build::COVER => {
                self.forget_parent();
                cover(root, from)
            }
            _ => Err(EINVAL),
        }
    }

    /// Where something is made: a directory that is reached without following any link, and the name in it. An absolute
    /// link in the new root would still lead into the host's tree here, before the pivot.
    fn place(&mut self, from: &mut crate::wire::Reader<'a>) -> Result<(Fd, &'a CStr), Errno> {
        let (parent, name) = (from.text(), from.text());
        if name.is_empty() || name.to_bytes().contains(&b'/') {
            return Err(EINVAL);
        }
        if parent.is_empty() {
            return Ok((self.root, name));
        }
        if let Some((known, fd)) = self.parent
            && known == parent
        {
            return Ok((fd, name));
        }
        self.forget_parent();
        let flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
        let fd = calls::open_beneath(self.root, parent, flags, 0, calls::RESOLVE_STRICT)?;
        self.parent = Some((parent, fd));
        Ok((fd, name))
    }

    /// Something is mounted: what a path leads to may have changed.
    fn forget_parent(&mut self) {
        if let Some((_, fd)) = self.parent.take() {
            calls::close(fd);
        }
    }
}

fn cover(root: Fd, from: &mut crate::wire::Reader<'_>) -> Result<(), Errno> {
    let cover = open_existing(root, from.text())?;
    let mount = mounts::open_tree(cover, c"")?;
    calls::close(cover);
    mounts::set_attributes(mount, Reach::Tree, INERT, None)?;
    let target = open_existing(root, from.text())?;
    let seen = calls::stat_at(target, c"", false)?;
    // What was to be hidden may have been moved to another name meanwhile, where nothing would cover it.
    let wanted = (from.u64(), from.u64());
    let same = wanted == (0, 0) || (seen.device, seen.inode) == wanted;
    let covered = if same { mounts::attach(mount, target) } else { Err(ESTALE) };
    calls::close(target);
    calls::close(mount);
    covered
}

/// Lays a throw-away copy over a place: an overlay whose lower layer is the granted directory (`l` in the directory of the
/// copies) and whose upper one is memory of this sandbox (`u`, `w`). Nothing that is changed in it reaches the lower layer.
fn lay_copy(root: Fd, from: &mut crate::wire::Reader<'_>) -> Result<(), Errno> {
    let (place, attributes, path, name) = (from.text(), from.u64(), from.text(), from.text());
    // The kernel takes layers by their paths, which begin here.
    calls::change_dir_to(root)?;
    let fs = mounts::fs_open(c"overlay")?;
    for (key, layer) in [(c"lowerdir", b"/l"), (c"upperdir", b"/u"), (c"workdir", b"/w")] {
        let mut text = calls::Line::<64>::new();
        text.text(place.to_bytes()).text(layer);
        mounts::fs_set(fs, key, text.as_c_str())?;
    }
    // Its marks in attributes that a user namespace may write (Linux 5.11).
    mounts::fs_set_flag(fs, c"userxattr")?;
    mounts::fs_create(fs)?;
    let copy = mounts::fs_mount(fs, attributes)?;
    calls::close(fs);
    let laid = if name.is_empty() {
        attach_at(copy, root, path)
    } else {
        // A mount can be taken from only where it is attached: over its own lower layer, which nobody sees.
        let mut at = calls::Line::<64>::new();
        at.text(place.to_bytes()).text(b"/m");
        attach_at(copy, root, at.as_c_str()).and_then(|()| {
            let file = open_existing(copy, name)?;
            let mount = mounts::open_tree(file, c"")?;
            calls::close(file);
            let laid = attach_at(mount, root, path);
            calls::close(mount);
            laid
        })
    };
    calls::close(copy);
    laid
}

fn write_file(root: Fd, path: &CStr, mode: u32, content: &[u8]) -> Result<(), Errno> {
    let file =
        calls::open_at(root, path, calls::O_CREAT | calls::O_EXCL | calls::O_WRONLY | O_NOFOLLOW, mode)?;
    let written = if content.is_empty() { Ok(()) } else { calls::write(file, content) };
    calls::close(file);
    written
}

fn open_existing(root: Fd, path: &CStr) -> Result<Fd, Errno> {
    calls::open_beneath(root, path, O_PATH | O_NOFOLLOW, 0, calls::RESOLVE_STRICT)
}

fn attach_at(mount: Fd, root: Fd, path: &CStr) -> Result<(), Errno> {
    let target = open_existing(root, path)?;
    let attached = mounts::attach(mount, target);
    calls::close(target);
    attached
}

fn make_scratch(size: &CStr, attributes: u64) -> Result<Fd, Errno> {
    let fs = mounts::fs_open(c"tmpfs")?;
    mounts::fs_set(fs, c"mode", c"1777")?;
    mounts::fs_set(fs, c"size", size)?;
    mounts::fs_set(fs, c"nr_inodes", c"100k")?;
    mounts::fs_create(fs)?;
    let mount = mounts::fs_mount(fs, attributes)?;
    calls::close(fs);
    Ok(mount)
}

/// /proc of the own pid namespace, with nothing of the host in it but cpuinfo, meminfo and stat.
///
/// A procfs with `subset=pid` has only processes, and nothing can be created in it to mount over. So the three files
/// are bound onto themselves while the instance is still whole, and then the instance is reduced: their names stay,
/// because a mount point pins its directory entry, and every other name is gone.
fn mount_proc(root: Fd, path: &CStr) -> Result<(), Errno> {
    let fs = mounts::fs_open(c"proc")?;
    mounts::fs_create(fs)?;
    let proc = mounts::fs_mount(fs, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)?;
    calls::close(fs);
    attach_at(proc, root, path)?;
    for name in [c"cpuinfo", c"meminfo", c"stat"] {
        let file = open_existing(proc, name)?;
        let mount = mounts::open_tree(file, c"")?;
        mounts::set_attributes(mount, Reach::Mount, INERT, None)?;
        mounts::attach(mount, file)?;
        calls::close(mount);
        calls::close(file);
    }
    let instance = mounts::fs_pick(proc)?;
    mounts::fs_set(instance, c"subset", c"pid")?;
    mounts::fs_reconfigure(instance)?;
    calls::close(instance);
    calls::close(proc);
    Ok(())
}

/// A detached procfs of the caller's pid namespace with nothing in it but processes.
pub(crate) fn empty_proc() -> Result<Fd, Errno> {
    let fs = mounts::fs_open(c"proc")?;
    mounts::fs_set(fs, c"subset", c"pid")?;
    mounts::fs_create(fs)?;
    let proc = mounts::fs_mount(fs, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)?;
    calls::close(fs);
    Ok(proc)
}

/// Makes `root` the root directory, lets go of the host's tree and closes the root for writing.
fn enter(root: Fd) -> Result<(), Errno> {
    calls::change_dir_to(root)?;
    mounts::pivot_to_current()?;
    mounts::detach_current()?;
    calls::change_dir(c"/")?;
    mounts::set_attributes(root, Reach::Mount, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, None)?;
    calls::close(root);
    Ok(())
}

/// No further user namespace below this one, for whoever gets past the seccomp filter. Written through the host's
/// /proc; the value belongs to the writer's own user namespace (user_namespaces(7)).
pub(crate) fn forbid_user_namespaces() -> Result<(), Errno> {
    let file = calls::open_at(PROC, c"sys/user/max_user_namespaces", calls::O_WRONLY, 0)?;
    let written = calls::write(file, b"0");
    calls::close(file);
    written
}
