//! The child that becomes the plugin. It shares PID 1's memory until its exec, so it reports through cells.

use core::cell::Cell;

use super::{Failure, check};
use crate::sys::calls::{self, EINVAL, ESTALE, Errno, Fd, NO_FD, O_PATH};
use crate::sys::privileges;
use crate::wire::{Records, Request, Step, flag, layer};

const RLIMIT_NOFILE: u32 = 7;
const SIGKILL: usize = 9;
const CLOSE_RANGE_CLOEXEC: u32 = 4;
/// The program could not be executed: the cells say why.
const NOT_EXECUTED: i32 = 1;
/// Where a test of the self-check leaves a descriptor behind.
const LEAK: Fd = Fd(9);

/// What PID 1 hands to the child, and what comes back.
pub(crate) struct Birth<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) program_fd: Fd,
    /// Where the empty path for the exec lies.
    pub(crate) program_text: usize,
    pub(crate) control: Fd,
    /// The launcher's own user and mount namespaces.
    pub(crate) launcher: [u64; 2],
    pub(crate) arguments: &'a [usize],
    pub(crate) environment: &'a [usize],
    pub(crate) failure: Cell<Option<Failure>>,
    /// Layers that were found in force.
    pub(crate) proven: Cell<u32>,
    /// Layers that are required and were not.
    pub(crate) unproven: Cell<u32>,
    pub(crate) listener: Cell<Option<Fd>>,
}

/// Opens the program where the sandbox shows it, and makes sure that it is the file that the host looked at.
///
/// Without the right to start processes, the descriptor is put at a number that is out of the program's reach: the
/// filter allows the one exec of that number, and no call of the program can give a descriptor that number again,
/// because it is above the hard limit that is set before the exec.
pub(crate) fn open(request: &Request<'_>) -> Result<Fd, Failure> {
    let opened = calls::open_beneath(NO_FD, request.program_path, O_PATH, 0, calls::RESOLVE_NO_LINKS)
        .map_err(Failure::of(Step::Program))?;
    let seen = calls::stat_at(opened, c"", false).map_err(Failure::of(Step::Program))?;
    if seen.device != request.program_device || seen.inode != request.program_inode {
        return Err(Failure::of(Step::Program)(ESTALE));
    }
    if request.has(flag::PROCESSES) {
        return Ok(opened);
    }
    let (_, hard) = privileges::limit(RLIMIT_NOFILE).map_err(Failure::of(Step::Descriptors))?;
    privileges::set_limit(RLIMIT_NOFILE, hard, hard).map_err(Failure::of(Step::Descriptors))?;
    let number = i32::try_from(request.program_fd).map_err(|_| Failure::of(Step::Descriptors)(EINVAL))?;
    let placed = calls::dup_onto(opened, Fd(number), true).map_err(Failure::of(Step::Descriptors))?;
    calls::close(opened);
    Ok(placed)
}

/// The argument and environment tables for execveat(2): addresses of the request's own texts, then NULL.
pub(crate) fn tables(request: &Request<'_>) -> Result<(&'static [usize], &'static [usize]), Errno> {
    Ok((table(&request.arguments)?, table(&request.environment)?))
}

fn table(records: &Records<'_>) -> Result<&'static [usize], Errno> {
    let table = calls::words(records.count as usize + 1)?;
    let mut from = records.reader.clone();
    for slot in table.iter_mut().take(records.count as usize) {
        *slot = from.text().as_ptr().expose_provenance();
    }
    if from.is_broken() { Err(EINVAL) } else { Ok(table) }
}

/// The child's whole life before the exec.
pub(crate) fn become_program(birth: &Birth<'_>) -> ! {
    if let Err(failure) = prepare(birth) {
        birth.failure.set(Some(failure));
        calls::exit(NOT_EXECUTED);
    }
    let missing = birth.request.required & !birth.proven.get();
    if missing != 0 {
        birth.unproven.set(missing);
        calls::exit(NOT_EXECUTED);
    }
    let errno = calls::execute(birth.program_fd, birth.program_text, birth.arguments, birth.environment);
    birth.failure.set(Some(Failure::of(Step::Execute)(errno)));
    calls::exit(NOT_EXECUTED)
}

fn prepare(birth: &Birth<'_>) -> Result<(), Failure> {
    let request = birth.request;
    if request.builds(layer::SESSION) {
        calls::set_session().map_err(Failure::of(Step::Session))?;
    }
    calls::change_dir(request.working_directory).map_err(Failure::of(Step::WorkingDirectory))?;
    if !request.builds(layer::PID) {
        // Without a pid namespace nothing else takes the program along when its supervisor is killed.
        privileges::set_death_signal(SIGKILL).map_err(Failure::of(Step::Lifeline))?;
    }
    calls::block_signals(0).map_err(Failure::of(Step::Session))?;
    calls::close_range(3, CLOSE_RANGE_CLOEXEC).map_err(Failure::of(Step::Descriptors))?;
    if request.broken & layer::DESCRIPTORS != 0 {
        calls::dup_onto(birth.control, LEAK, false).map_err(Failure::of(Step::Descriptors))?;
    }
    let before = check::before_filter(request, birth.launcher);
    if request.builds(layer::SECCOMP) {
        let listener = privileges::seccomp_install(request.filter, request.has(flag::LISTEN))
            .map_err(Failure::of(Step::Seccomp))?;
        birth.listener.set(listener);
    }
    // After the filter: where a few descriptors are allowed, its listener would be one too many.
    set_limits(request)?;
    birth.proven.set(before | check::behind_filter(request));
    Ok(())
}

fn set_limits(request: &Request<'_>) -> Result<(), Failure> {
    if request.builds(layer::LIMITS) {
        let mut from = request.limits.reader.clone();
        for index in 0..request.limits.count as usize {
            let (resource, soft, hard) = (from.u32(), from.u64(), from.u64());
            privileges::set_limit(resource, soft, hard).map_err(Failure::at(Step::Limits, index))?;
        }
    } else if !request.has(flag::PROCESSES) {
        // INVARIANT: the program cannot put a file of its own at the number whose exec is allowed, also when the plan
        // leaves the limits out.
        let number = u64::from(request.program_fd);
        privileges::set_limit(RLIMIT_NOFILE, number, number).map_err(Failure::of(Step::Descriptors))?;
    }
    Ok(())
}
