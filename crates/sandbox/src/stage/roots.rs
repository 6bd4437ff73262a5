//! The roots that the launcher keeps ready, and in one of which it lives.
//!
//! Most of a root is the same for many sandboxes: a tmpfs with a few directories, links and files, and parts of the host's
//! system mounted among them. It is built once for each recipe, in a mount namespace that holds nothing else, and its file
//! system is then closed for writing for good. A sandbox is born as a copy of that namespace: it gets all those mounts at
//! once, locked by the kernel, and PID 1 adds what only this sandbox has.
//!
//! INVARIANT: nothing is written into a prepared root after it was built, neither by the launcher nor by a sandbox, so it
//! carries nothing from one sandbox to another.

use core::cell::Cell;

use super::maker::Maker;
use super::opener::{self, Opener};
use super::{Failure, mounts};
use crate::sys::calls::{self, EINVAL, Errno, Fd, NO_FD, Namespaces};
use crate::sys::mounts as kernel;
use crate::wire::{REQUEST_MAX, Recipe, Records, Request, SOURCES_MAX, SourceRecord, Step};

/// The host's /proc, which no prepared root shows.
pub(crate) const PROC: Fd = Fd(4);
/// The way back to the host's mounts: their namespace, or the socket of the opener.
pub(crate) const HOST: Fd = Fd(5);
/// The mount namespaces of the prepared roots.
const ROOT_FIRST: i32 = 6;
/// How many roots are kept. Plans of one host differ in few ways; the one that was not used for longest makes room.
const ROOTS_MAX: usize = 8;
/// The directories in which cgroups of this host lie.
pub(crate) const CGROUPS_FIRST: i32 = 14;
pub(crate) const CGROUPS_MAX: usize = 4;
/// The last descriptor that is the launcher's alone.
pub(crate) const KEPT_LAST: Fd = Fd(17);

const CLONE_NEWNS: u64 = 0x2_0000;
const STACK_BYTES: usize = 16 * 1024;

/// Puts something at every number that will be the launcher's own, so that no request's descriptor gets one of them.
pub(crate) fn reserve_numbers() -> Result<(), Errno> {
    let proc = calls::open_at(NO_FD, c"/proc", calls::O_PATH | calls::O_DIRECTORY, 0)?;
    if proc != PROC {
        calls::dup_onto(proc, PROC, true)?;
        calls::close(proc);
    }
    for number in HOST.0..=KEPT_LAST.0 {
        calls::dup_onto(Fd(0), Fd(number), true)?;
    }
    Ok(())
}

/// How the launcher gets at the host's mounts.
#[derive(Debug)]
enum Host {
    /// It may enter them.
    Entered,
    /// Another process opens for it.
    Opened(Opener),
}

#[derive(Debug)]
struct Root {
    recipe: &'static mut [u8],
    length: usize,
    last_use: u32,
    /// The inode of its mount namespace.
    namespace: u64,
}

/// The prepared roots.
#[derive(Debug)]
pub(crate) struct Roots {
    host: Host,
    known: [Option<Root>; ROOTS_MAX],
    /// In which the launcher is.
    here: Option<usize>,
    uses: u32,
    /// Makes the empty procfs of the first root.
    maker: Option<Maker>,
    message: &'static mut [u8],
    stack: &'static mut [u8],
}

impl Roots {
    /// With no root yet; the launcher is still among the host's mounts, or among a copy of them that is its own. In both
    /// cases but for an ordinary user among the host's own it may come back to them.
    pub(crate) fn start(may_return: bool, maker: Option<Maker>) -> Result<Self, Errno> {
        let host = if may_return {
            let own = calls::open_at(PROC, c"self/ns/mnt", 0, 0)?;
            calls::dup_onto(own, HOST, true)?;
            calls::close(own);
            Host::Entered
        } else {
            let mut opener = opener::start()?;
            opener.keep_at(HOST)?;
            Host::Opened(opener)
        };
        Ok(Self {
            host,
            known: [const { None }; ROOTS_MAX],
            here: None,
            uses: 0,
            maker,
            message: calls::region(REQUEST_MAX)?,
            stack: calls::region(STACK_BYTES)?,
        })
    }

    /// Takes what is granted from the host's mounts, and enters the root that `request` asks for. The inode of the mount
    /// namespace in which the launcher is then.
    pub(crate) fn enter_for(
        &mut self,
        request: &Request<'_>,
        id_maps: &mut mounts::IdMaps,
        granted: &mut [Fd; SOURCES_MAX],
    ) -> Result<u64, Failure> {
        let recipe = Recipe::parse(request.recipe).ok_or_else(|| Failure::of(Step::Request)(EINVAL))?;
        if request.sources.count > 0 {
            let first = recipe.sources.count as usize;
            match &self.host {
                Host::Entered => {
                    self.enter_host().map_err(Failure::of(Step::RootMount))?;
                    mounts::take_granted(request, first, id_maps, granted)?;
                }
                Host::Opened(opener) => {
                    opener.take(&request.sources, self.message, granted).map_err(opener::failure(first))?
                }
            }
        }
        self.enter(request.recipe)
    }

    /// Enters the root of `bytes`, a recipe, after building it if there is none.
    pub(crate) fn enter(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        for (index, root) in self.known.iter_mut().enumerate() {
            let Some(root) = root else { continue };
            if root.recipe.get(..root.length) == Some(bytes) {
                root.last_use = uses;
                if self.here != Some(index) {
                    calls::enter_mounts(number_of(index)).map_err(Failure::of(Step::RootMount))?;
                    self.here = Some(index);
                }
                return Ok(root.namespace);
            }
        }
        let recipe = Recipe::parse(bytes).ok_or_else(|| Failure::of(Step::Request)(EINVAL))?;
        let mut sources = [NO_FD; SOURCES_MAX];
        let built =
            self.take_system(&recipe.sources, &mut sources).and_then(|()| self.build(&recipe, &sources));
        for fd in sources.iter().filter(|fd| **fd != NO_FD) {
            calls::close(*fd);
        }
        built?;
        self.remember(bytes).map_err(Failure::of(Step::RootMount))
    }

    fn take_system(&mut self, sources: &Records<'_>, into: &mut [Fd; SOURCES_MAX]) -> Result<(), Failure> {
        match &self.host {
            Host::Opened(opener) => {
                opener.take(sources, self.message, into).map_err(opener::failure(0))?;
            }
            Host::Entered => {
                self.enter_host().map_err(Failure::of(Step::RootMount))?;
                let mut from = sources.reader.clone();
                for (index, slot) in into.iter_mut().enumerate().take(sources.count as usize) {
                    let record = SourceRecord::read(&mut from);
                    *slot = mounts::take_source(&record, None).map_err(Failure::at(Step::Source, index))?;
                }
            }
        }
        Ok(())
    }

    fn build(&mut self, recipe: &Recipe<'_>, sources: &[Fd; SOURCES_MAX]) -> Result<(), Failure> {
        calls::unshare(CLONE_NEWNS).map_err(Failure::of(Step::RootMount))?;
        self.here = None;
        kernel::make_all_private().map_err(Failure::of(Step::RootMount))?;
        let root = mounts::begin_shared_root(recipe, sources)?;
        let empty = match self.maker.take() {
            // It enters the network namespace too.
            Some(maker) => maker.finish().map_err(Failure::of(Step::Clone))?,
            None => self.empty_proc().map_err(Failure::of(Step::Proc))?,
        };
        let built = mounts::finish_shared_root(root, empty);
        calls::close(empty);
        built
    }

    /// A procfs of a pid namespace that has ended, with nothing in it but processes, of which there are none.
    ///
    /// The kernel lets a user namespace mount a procfs only where one can be seen already (`mount_too_revealing`). In a
    /// prepared root this one is to be seen, and not the host's. PID 1 mounts its own over it.
    fn empty_proc(&mut self) -> Result<Fd, Errno> {
        let made = Cell::new(Err(EINVAL));
        let pid = calls::run_sharing_memory(self.stack, &made, make_empty_proc, Namespaces::Pid)?;
        calls::wait_for(i32::try_from(pid).unwrap_or(0));
        made.get()
    }

    /// Keeps the mount namespace that the launcher is in as the root of `bytes`.
    fn remember(&mut self, bytes: &[u8]) -> Result<u64, Errno> {
        let free = self.known.iter().position(Option::is_none);
        let oldest = || {
            let age = |root: &Option<Root>| root.as_ref().map(|root| self.uses.wrapping_sub(root.last_use));
            (0..ROOTS_MAX).max_by_key(|index| self.known.get(*index).and_then(age)).unwrap_or(0)
        };
        let index = free.unwrap_or_else(oldest);
        let own = calls::open_at(PROC, c"self/ns/mnt", 0, 0)?;
        let namespace = calls::stat_at(own, c"", false).map(|seen| seen.inode);
        let kept = calls::dup_onto(own, number_of(index), true);
        calls::close(own);
        kept?;
        let namespace = namespace?;
        let last_use = self.uses;
        let slot = self.known.get_mut(index).ok_or(EINVAL)?;
        let recipe = match slot.take() {
            Some(Root { recipe, .. }) => recipe,
            None => calls::region(REQUEST_MAX)?,
        };
        recipe.get_mut(..bytes.len()).ok_or(EINVAL)?.copy_from_slice(bytes);
        *slot = Some(Root { recipe, length: bytes.len(), last_use, namespace });
        self.here = Some(index);
        Ok(namespace)
    }

    /// Goes back among the host's mounts, if it may.
    pub(crate) fn enter_host(&mut self) -> Result<(), Errno> {
        self.here = None;
        match self.host {
            Host::Entered => calls::enter_mounts(HOST),
            Host::Opened(_) => Err(calls::EPERM),
        }
    }

    /// Ends what was started for the roots.
    pub(crate) fn end(&self) {
        if let Host::Opened(opener) = &self.host {
            opener.end();
        }
    }
}

fn number_of(index: usize) -> Fd {
    Fd(ROOT_FIRST + i32::try_from(index).unwrap_or(0))
}

fn make_empty_proc(made: &Cell<Result<Fd, Errno>>) -> ! {
    made.set(mounts::empty_proc());
    calls::exit(0)
}
