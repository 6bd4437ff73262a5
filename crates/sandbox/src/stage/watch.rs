//! Answers what the seccomp filter reports, and tells the host about it.
//!
//! INVARIANT: nothing is decided here that memory of the program could change afterwards. A denied call is denied
//! whatever its pointers hold, [`connect`] works on its own copy, and a call that is only observed would be let through
//! by this layer in any case: mounts and Landlock decide.

use core::ffi::CStr;

use super::connect::{self, Outcome};
use super::send_event;
use crate::sys::calls::{self, Errno, Fd, NO_FD};
use crate::sys::privileges::{self, Notification};
use crate::wire::event;

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const PATH_BYTES: usize = 1024;
/// How many different denials are told apart in one run; further ones are counted together.
const DENIALS_MAX: usize = 128;
/// How many different observations one run passes on (`exec --explain`).
const OBSERVATIONS_MAX: usize = 4096;

mod number {
    pub(super) const OPEN: i32 = 2;
    pub(super) const CONNECT: i32 = 42;
    pub(super) const SENDTO: i32 = 44;
    pub(super) const SOCKET: i32 = 41;
    pub(super) const SOCKETPAIR: i32 = 53;
    pub(super) const EXECVE: i32 = 59;
    pub(super) const OPENAT: i32 = 257;
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    key: u64,
    number: i32,
    count: u32,
}

/// Counts denials and remembers what was observed.
#[derive(Debug)]
pub(crate) struct Watcher {
    control: Fd,
    observe: bool,
    denials: [Seen; DENIALS_MAX],
    denials_used: usize,
    observed: Option<&'static mut [usize]>,
    observed_used: usize,
    lost: u32,
}

impl Watcher {
    pub(crate) fn new(control: Fd, observe: bool) -> Self {
        let nothing = Seen { key: 0, number: 0, count: 0 };
        // The table is taken only by the runs that need it; an idle PID 1 stays small.
        let observed = if observe { calls::words(OBSERVATIONS_MAX * 2).ok() } else { None };
        Self {
            control,
            observe,
            denials: [nothing; DENIALS_MAX],
            denials_used: 0,
            observed,
            observed_used: 0,
            lost: 0,
        }
    }

    /// Takes one report, answers it, and passes on what is new.
    pub(crate) fn answer_next(&mut self, listener: Fd) {
        let Ok(report) = privileges::notification_receive(listener) else { return };
        let mut text = [0u8; 2 * PATH_BYTES];
        let errno = match report.number {
            number::CONNECT => {
                let outcome = connect::on_behalf(listener, &report);
                if let Outcome::Refused(about) = &outcome {
                    self.deny(report.number, about.as_bytes());
                }
                Some(outcome.errno())
            }
            number::SENDTO => {
                let about = connect::address(&report, report.arguments[4], report.arguments[5]);
                self.deny(report.number, about.as_bytes());
                Some(EACCES)
            }
            number::SOCKET | number::SOCKETPAIR => {
                let [family, kind, protocol, ..] = report.arguments;
                let mut line = calls::Line::<64>::new();
                let low = |value: u64| (value & 0xffff_ffff) as u32;
                line.number(low(family)).text(b" ").number(low(kind)).text(b" ").number(low(protocol));
                self.deny(report.number, line.as_bytes());
                Some(EACCES)
            }
            _ if self.observe && is_observed(report.number) => {
                let used = read_path(&report, &mut text);
                self.pass_on(&report, text.get(..used).unwrap_or_default());
                None
            }
            number::EXECVE => {
                let used = read_text(report.pid, report.arguments[0], &mut text);
                self.deny(report.number, text.get(..used).unwrap_or_default());
                Some(EPERM)
            }
            _ => {
                self.deny(report.number, &[]);
                Some(EPERM)
            }
        };
        // The caller may have been killed meanwhile (ENOENT): nobody waits for the answer then.
        let _caller_gone = privileges::notification_answer(listener, report.id, errno);
    }

    fn deny(&mut self, number: i32, about: &[u8]) {
        let key = digest(number, about);
        if let Some(seen) = self
            .denials
            .iter_mut()
            .take(self.denials_used)
            .find(|seen| seen.key == key && seen.number == number)
        {
            seen.count = seen.count.saturating_add(1);
            return;
        }
        let numbers = [event::DENIED, number.cast_unsigned(), 1, low(key), high(key)];
        match self.denials.get_mut(self.denials_used) {
            // Not waiting: a program must not be slowed by a host that reads later.
            Some(slot) if send_event(self.control, &numbers, about, false).is_ok() => {
                *slot = Seen { key, number, count: 1 };
                self.denials_used += 1;
            }
            _ => self.lost = self.lost.saturating_add(1),
        }
    }

    fn pass_on(&mut self, report: &Notification, about: &[u8]) {
        let flags = open_flags(report);
        let key = digest(report.number ^ flags.rotate_left(8).cast_signed(), about) | 1;
        let Some(table) = &mut self.observed else { return };
        if self.observed_used >= OBSERVATIONS_MAX {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let mask = table.len() - 1;
        let mut at = usize::try_from(key).unwrap_or(0) & mask;
        while let Some(slot) = table.get_mut(at) {
            if *slot as u64 == key {
                return;
            }
            if *slot == 0 {
                *slot = usize::try_from(key).unwrap_or(1);
                break;
            }
            at = (at + 1) & mask;
        }
        self.observed_used += 1;
        let numbers = [event::OBSERVED, report.number.cast_unsigned(), flags];
        // The program waits for this answer anyway, so a host that is slow to read slows only this program.
        let _host_gone = send_event(self.control, &numbers, about, true);
    }

    /// Tells the final counts. The program has ended, so the host is waiting for this.
    pub(crate) fn finish(&mut self) {
        for seen in self.denials.iter().take(self.denials_used).filter(|seen| seen.count > 1) {
            let numbers =
                [event::DENIED, seen.number.cast_unsigned(), seen.count, low(seen.key), high(seen.key)];
            let _host_gone = send_event(self.control, &numbers, &[], true);
        }
        if self.lost > 0 {
            let _host_gone = send_event(self.control, &[event::LOST, self.lost], &[], true);
        }
    }
}

fn low(key: u64) -> u32 {
    (key & 0xffff_ffff) as u32
}

fn high(key: u64) -> u32 {
    (key >> 32) as u32
}

fn is_observed(number: i32) -> bool {
    !matches!(number, number::EXECVE) && path_arguments(number).is_some()
}

/// Which arguments hold the directory descriptor and the path of an observed call.
fn path_arguments(number: i32) -> Option<(Option<usize>, usize)> {
    match number {
        // open stat lstat access execve truncate chdir rename mkdir rmdir creat link unlink symlink readlink chmod
        2
        | 4
        | 6
        | 21
        | 59
        | 76
        | 80
        | 82..=90
        | 92
        | 94
        | 132
        | 133
        | 235
        | 188
        | 189
        | 191
        | 192
        | 194
        | 195 => Some((None, 0)),
        // openat mkdirat fchownat futimesat newfstatat unlinkat renameat linkat readlinkat fchmodat faccessat utimensat
        // renameat2 statx faccessat2 fchmodat2
        257..=265 | 267..=269 | 280 | 316 | 332 | 439 | 452 => Some((Some(0), 1)),
        // symlinkat
        266 => Some((Some(1), 2)),
        _ => None,
    }
}

fn open_flags(report: &Notification) -> u32 {
    match report.number {
        number::OPEN => low(report.arguments[1]),
        number::OPENAT => low(report.arguments[2]),
        _ => 0,
    }
}

/// "BASE NUL PATH": the base is empty for an absolute path, else what the descriptor or the working directory names.
fn read_path(report: &Notification, into: &mut [u8; 2 * PATH_BYTES]) -> usize {
    let Some((directory, path)) = path_arguments(report.number) else { return 0 };
    let argument = |index: usize| report.arguments.get(index).copied().unwrap_or(0);
    let mut text = [0u8; PATH_BYTES];
    let used = read_text(report.pid, argument(path), &mut text);
    let base = if text.first() == Some(&b'/') {
        0
    } else {
        let mut link = calls::Line::<64>::new();
        link.text(b"/proc/").number(report.pid.unsigned_abs());
        match directory.map(|index| low(argument(index)).cast_signed()) {
            Some(fd) if fd >= 0 => link.text(b"/fd/").number(fd.unsigned_abs()),
            _ => link.text(b"/cwd"),
        };
        read_base(link.as_c_str(), into)
    };
    let room = into.get_mut(base..).unwrap_or_default();
    let [separator, rest @ ..] = room else { return base };
    *separator = 0;
    for (slot, byte) in rest.iter_mut().zip(text.iter().take(used)) {
        *slot = *byte;
    }
    base + 1 + used
}

fn read_base(link: &CStr, into: &mut [u8; 2 * PATH_BYTES]) -> usize {
    let room = into.get_mut(..PATH_BYTES - 1).unwrap_or_default();
    calls::read_link(NO_FD, link, room).unwrap_or(0)
}

/// Reads a NUL-terminated text of the program; page by page, because the next page may not be there.
fn read_text(pid: i32, address: u64, into: &mut [u8]) -> usize {
    const PAGE: u64 = 4096;
    let limit = into.len().min(PATH_BYTES);
    let mut used = 0;
    while used < limit {
        let at = address.wrapping_add(used as u64);
        let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
        let step = in_page.min(limit - used);
        let Some(room) = into.get_mut(used..used + step) else { break };
        let got: Result<usize, Errno> = calls::read_memory(pid, at, room);
        let Ok(got) = got else { break };
        if let Some(end) = room.iter().take(got).position(|byte| *byte == 0) {
            return used + end;
        }
        used += got;
        if got < step {
            break;
        }
    }
    used
}

/// FNV-1a, 64 bits: to tell texts apart in a table, not to protect anything. Whoever makes two collide hides one of
/// their own denials from the list, never from the filter.
fn digest(number: i32, text: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in number.to_le_bytes().iter().chain(text) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}
