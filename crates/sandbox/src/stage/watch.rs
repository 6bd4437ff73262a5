//! Answers what the seccomp filter reports, and tells the host about it.
//!
//! INVARIANT: nothing is decided here that memory of the program could change afterwards. A denied call is denied
//! whatever its pointers hold, [`connect`] works on its own copy, and a call that is only observed would be let through
//! by this layer in any case: mounts and Landlock decide.

use super::connect::{self, Outcome};
use super::observe::{self, Named, Noted, Table, low};
use super::send_event;
use crate::sys::calls::{self, Errno, Fd, NO_FD};
use crate::sys::privileges::{self, Notification};
use crate::wire::{Request, event, flag, role};

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ENOSYS: i32 = 38;
/// The longest directory and the longest path that are told of. A longer one is counted as not told.
const PATH_BYTES: usize = 2048;
const TEXT_BYTES: usize = 2 * PATH_BYTES;
/// How many different denials are told apart in one run; further ones are counted together.
const DENIALS_MAX: usize = 128;
/// Repeated denials that are told at once before there is a moment of quiet. Whoever repeats them in a loop costs the host no
/// more; what is not told at once is told as a count.
const REPEATS_AT_ONCE: u32 = 32;
/// How long nothing must be reported before that begins anew, in milliseconds.
pub(super) const QUIET_MS: i32 = 100;
/// How many counts go into one message.
const COUNTS_IN_MESSAGE: usize = 256;

mod number {
    pub(super) use crate::stage::observe::number::{BIND, CONNECT, EXECVE};
    pub(super) const SENDTO: i32 = 44;
    pub(super) const SOCKET: i32 = 41;
    pub(super) const SOCKETPAIR: i32 = 53;
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    key: u64,
    number: i32,
    count: u32,
    /// How many of them the host knows of.
    told: u32,
}

/// Counts denials and remembers what was observed.
#[derive(Debug)]
pub(crate) struct Watcher {
    control: Fd,
    /// Starting programs is allowed, so it is watched and not refused.
    processes: bool,
    denials: [Seen; DENIALS_MAX],
    denials_used: usize,
    /// Repeats that may still be told at once.
    at_once: u32,
    /// What was only watched; `None` unless asked for.
    observed: Option<Table>,
    lost: u32,
}

impl Watcher {
    pub(crate) fn new(control: Fd, request: &Request<'_>) -> Self {
        let nothing = Seen { key: 0, number: 0, count: 0, told: 0 };
        // The table is taken only by the runs that need it; an idle PID 1 stays small.
        let observed = if request.has(flag::OBSERVE) { Table::new() } else { None };
        let processes = request.has(flag::PROCESSES);
        Self {
            control,
            processes,
            denials: [nothing; DENIALS_MAX],
            denials_used: 0,
            at_once: REPEATS_AT_ONCE,
            observed,
            lost: 0,
        }
    }

    /// Takes one report, answers it, and passes on what is new.
    pub(crate) fn answer_next(&mut self, listener: Fd) {
        let Ok(report) = privileges::notification_receive(listener) else { return };
        let mut text = [0u8; TEXT_BYTES];
        let errno = match report.number {
            number::CONNECT => {
                let outcome = connect::on_behalf(listener, &report);
                match &outcome {
                    Outcome::Refused(about) => self.deny(report.number, about.as_bytes()),
                    // A socket file that is not shown cannot be found.
                    Outcome::Answered(errno) if *errno != 0 => self.watch_address(listener, &report),
                    Outcome::Answered(_) => {}
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
            watched if self.observed.is_some() && observe::is_watched(watched, self.processes) => {
                self.watch(listener, &report)
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
            // Told before the program gets its answer, so the host knows what it was doing. See below for not waiting.
            if self.at_once > 0 {
                self.at_once -= 1;
                let numbers = [event::DENIED, number.cast_unsigned(), 1, low(key), high(key)];
                if send_event(self.control, &numbers, &[], false).is_ok() {
                    seen.told = seen.told.saturating_add(1);
                }
            }
            return;
        }
        let numbers = [event::DENIED, number.cast_unsigned(), 1, low(key), high(key)];
        match self.denials.get_mut(self.denials_used) {
            // Not waiting: a program must not be slowed by a host that reads later.
            Some(slot) if send_event(self.control, &numbers, about, false).is_ok() => {
                *slot = Seen { key, number, count: 1, told: 1 };
                self.denials_used += 1;
            }
            _ => self.lost = self.lost.saturating_add(1),
        }
    }

    /// A call that is only watched: tells what it names, and answers as the filter would have.
    fn watch(&mut self, listener: Fd, report: &Notification) -> Option<i32> {
        if observe::is_refused(report) {
            self.deny(report.number, &[]);
            return Some(EPERM);
        }
        if observe::is_start(report.number) {
            self.pass_on(listener, report, (role::NOTHING, 0), &[]);
        }
        if report.number == number::BIND {
            self.watch_address(listener, report);
        }
        // The second path counts as another one where it belongs to another first path.
        let mut first = 0;
        for (role, named) in (role::PATH..).zip(observe::named(report.number)) {
            let Some(named) = named else { continue };
            let mut text = [0u8; TEXT_BYTES];
            match read_path(report, named, &mut text) {
                Text::Whole(0) => {}
                Text::Whole(used) => {
                    let about = text.get(..used).unwrap_or_default();
                    self.pass_on(listener, report, (role, first), about);
                    first = digest(0, about);
                }
                Text::Cut => self.lost = self.lost.saturating_add(1),
            }
        }
        observe::is_missing(report.number).then_some(ENOSYS)
    }

    /// The address of a bind, or of a connect that failed.
    fn watch_address(&mut self, listener: Fd, report: &Notification) {
        let [_, pointer, length, ..] = report.arguments;
        let address = connect::address(report, pointer, length);
        let Some(path) = address.path() else {
            self.pass_on(listener, report, (role::ADDRESS, 0), address.as_bytes());
            return;
        };
        let mut text = [0u8; TEXT_BYTES];
        let base = if path.first() == Some(&b'/') { 0 } else { read_base(report.pid, None, &mut text) };
        let used = append(&mut text, base, path);
        self.pass_on(listener, report, (role::PATH, 0), text.get(..used).unwrap_or_default());
    }

    /// Tells of a text, what it is to the call, and what it belongs to, unless the same was told before.
    fn pass_on(&mut self, listener: Fd, report: &Notification, (role, of): (u32, u64), about: &[u8]) {
        // Whoever asked may have been killed while its memory was read, and its number given to somebody else.
        if !privileges::notification_is_waiting(listener, report.id) {
            return;
        }
        let Some(table) = &mut self.observed else { return };
        let flags = observe::flags(report);
        let kind = report.number ^ flags.rotate_left(8).cast_signed() ^ role.rotate_left(30).cast_signed();
        match table.note(digest(kind, about) ^ of) {
            Noted::First => {}
            Noted::Again => return,
            Noted::Full => {
                self.lost = self.lost.saturating_add(1);
                return;
            }
        }
        let numbers = [event::OBSERVED, report.number.cast_unsigned(), flags, role];
        // The program waits for this answer anyway, so a host that is slow to read slows only this program; one that has
        // gone makes this fail at once.
        let _host_gone = send_event(self.control, &numbers, about, true);
    }

    /// How long to wait for the next report before [`Watcher::rest`]; -1 for as long as it takes.
    pub(crate) fn patience_ms(&self) -> i32 {
        if self.at_once < REPEATS_AT_ONCE { QUIET_MS } else { -1 }
    }

    /// Nothing was reported for a while: the counts are told, and repeats are told at once again.
    pub(crate) fn rest(&mut self) {
        self.at_once = REPEATS_AT_ONCE;
        self.tell_repeats(false);
    }

    /// Tells how often what the host knows of came again without its knowing.
    fn tell_repeats(&mut self, wait: bool) {
        for seen in self.denials.iter_mut().take(self.denials_used).filter(|seen| seen.count > seen.told) {
            let more = seen.count - seen.told;
            let numbers = [event::REPEATED, seen.number.cast_unsigned(), more, low(seen.key), high(seen.key)];
            if send_event(self.control, &numbers, &[], wait).is_ok() {
                seen.told = seen.count;
            }
        }
    }

    /// Tells the final counts. The program has ended, so the host is waiting for this.
    pub(crate) fn finish(&mut self) {
        self.tell_repeats(true);
        self.tell_counts();
        if self.lost > 0 {
            let _host_gone = send_event(self.control, &[event::LOST, self.lost], &[], true);
        }
    }

    fn tell_counts(&self) {
        let Some(table) = &self.observed else { return };
        let mut numbers = [0u32; 1 + 2 * COUNTS_IN_MESSAGE];
        let [kind, ..] = &mut numbers;
        *kind = event::COUNTED;
        let mut used = 1;
        for (act, count) in table.repeated() {
            if let Some([number, times]) = numbers.get_mut(used..used + 2) {
                (*number, *times) = (act, count);
                used += 2;
            }
            if used == numbers.len() {
                let _host_gone = send_event(self.control, &numbers, &[], true);
                used = 1;
            }
        }
        if used > 1 {
            let _host_gone = send_event(self.control, numbers.get(..used).unwrap_or_default(), &[], true);
        }
    }
}

fn high(key: u64) -> u32 {
    (key >> 32) as u32
}

/// What was read of the program's memory.
enum Text {
    /// This many bytes. None at all where no path is named: the call is about a descriptor.
    Whole(usize),
    /// It is longer than what is told.
    Cut,
}

/// "BASE NUL PATH": the base is empty for an absolute path, else what the descriptor or the working directory names.
fn read_path(report: &Notification, named: Named, into: &mut [u8; TEXT_BYTES]) -> Text {
    let argument = |index: usize| report.arguments.get(index).copied().unwrap_or(0);
    let mut text = [0u8; PATH_BYTES];
    let used = read_text(report.pid, argument(named.path), &mut text);
    if used == 0 {
        return Text::Whole(0);
    }
    let base = if text.first() == Some(&b'/') {
        0
    } else {
        let directory = named.directory.map(|index| low(argument(index)).cast_signed());
        read_base(report.pid, directory.filter(|fd| *fd >= 0), into)
    };
    if used == PATH_BYTES || base == PATH_BYTES - 1 {
        return Text::Cut;
    }
    Text::Whole(append(into, base, text.get(..used).unwrap_or_default()))
}

/// Puts a NUL and the path behind the first `base` bytes; how many there are then.
fn append(into: &mut [u8; TEXT_BYTES], base: usize, path: &[u8]) -> usize {
    let Some([separator, rest @ ..]) = into.get_mut(base..) else { return base };
    *separator = 0;
    let mut used = base + 1;
    for (slot, byte) in rest.iter_mut().zip(path) {
        *slot = *byte;
        used += 1;
    }
    used
}

/// Where the descriptor leads, or the working directory; at most `PATH_BYTES - 1` bytes.
fn read_base(pid: i32, descriptor: Option<i32>, into: &mut [u8; TEXT_BYTES]) -> usize {
    let mut link = calls::Line::<64>::new();
    link.text(b"/proc/").number(pid.unsigned_abs());
    match descriptor {
        Some(fd) => link.text(b"/fd/").number(fd.unsigned_abs()),
        None => link.text(b"/cwd"),
    };
    let room = into.get_mut(..PATH_BYTES - 1).unwrap_or_default();
    calls::read_link(NO_FD, link.as_c_str(), room).unwrap_or(0)
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
