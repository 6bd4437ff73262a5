//! A running sandbox: watching it, stopping it, and what it has used.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::audit::{Channel, KernelDenial, Recording, Unavailable};
use crate::launch;
use crate::layer::Layer;
use crate::limits::{Held, Io, IoMeter, Sampler, Usage};
use crate::process;
use crate::report::{Ending, Object, Observation, Refusal, Report, call_name};
use crate::stream::{Interest, wait_ready};
use crate::wire::{command, event, role};

/// How long SIGTERM has to work before SIGKILL follows (ARCHITECTURE.md, "An end, in order").
pub const TERM_GRACE: Duration = Duration::from_secs(3);
/// How often [`Sandbox::tick`] wants to be called: the sampler's period, and the warning's.
pub const TICK: Duration = Duration::from_millis(100);

/// What the kernel counts of each sandbox's own self-check (`stage/check.rs`), and was told not to record.
const SELF_CHECK_DENIALS: u64 = 1;

/// What a tick found.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio, TICK};
/// let plan = Plan::new(Program::find("true".as_ref(), "/".as_ref())?);
/// let mut sandbox = Launcher::start()?.launch(&plan, Stdio::null()?)?;
/// while sandbox.try_wait()?.is_none() {
///     if sandbox.tick().over_memory {
///         sandbox.kill()?;
///     }
///     std::thread::sleep(TICK);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tick {
    /// What has been used so far.
    pub usage: Usage,
    /// The memory limit is broken: the caller must stop the sandbox.
    pub over_memory: bool,
}

/// A running sandbox. Dropping it kills everything inside and waits until it is gone.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio, TERM_GRACE};
/// let mut plan = Plan::new(Program::find("sleep".as_ref(), "/".as_ref())?);
/// let mut sandbox = Launcher::start()?.launch(plan.argument("60"), Stdio::null()?)?;
/// println!("{:?}, {:?}", sandbox.stop(TERM_GRACE)?, sandbox.usage());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sandbox {
    process: OwnedFd,
    control: OwnedFd,
    report: Report,
    leaf: Option<Held>,
    sampler: Option<Sampler>,
    io: IoMeter,
    ending: Option<Ending>,
    /// What PID 1 counted of reaped processes.
    reaped_cpu_ms: u64,
    reaped_peak_bytes: u64,
    refusals: Vec<(u64, Refusal)>,
    observations: Vec<Observation>,
    lost: u64,
    reaped: bool,
    last_usage: Usage,
    /// The kernel's own records of what Landlock refused; nothing where nobody asked for them.
    records: Option<Result<Channel, Unavailable>>,
}

impl Sandbox {
    pub(crate) fn new(
        process: OwnedFd,
        control: OwnedFd,
        report: Report,
        leaf: Option<Held>,
        sampler: Option<Sampler>,
    ) -> Self {
        Self {
            process,
            control,
            report,
            leaf,
            sampler,
            io: IoMeter::default(),
            ending: None,
            reaped_cpu_ms: 0,
            reaped_peak_bytes: 0,
            refusals: Vec::new(),
            observations: Vec::new(),
            lost: 0,
            reaped: false,
            last_usage: Usage::default(),
            records: None,
        }
    }

    /// Reads the kernel's records, too, or knows why not.
    pub(crate) fn with_records(mut self, records: Option<Result<Channel, Unavailable>>) -> Self {
        self.records = records;
        self
    }

    /// Takes in events that came during the launch.
    pub(crate) fn having_told(mut self, early: &[process::Message]) -> Self {
        early.iter().for_each(|message| self.take_event(message.words, &message.bytes));
        self
    }

    /// What is enforced.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Readable when everything inside has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Readable when [`Sandbox::read_events`] has something to read, and at the end.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Takes in what PID 1 has sent, without waiting. `true` when there will be no more.
    ///
    /// # Errors
    /// When the socket fails for another reason than having nothing to read.
    pub fn read_events(&mut self) -> io::Result<bool> {
        if let Some(Ok(channel)) = &mut self.records {
            channel.read();
        }
        while is_readable(self.control.as_fd(), Some(Duration::ZERO))? {
            let message = match process::receive(&self.control) {
                Ok(received) => received,
                Err(Errno::CONNRESET) => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            if message.bytes.is_empty() {
                return Ok(true);
            }
            self.take_event(message.words, &message.bytes);
        }
        Ok(false)
    }

    fn take_event(&mut self, words: [u32; 4], bytes: &[u8]) {
        match words {
            [kind @ (event::DENIED | event::REPEATED), number, count, low] => {
                let key = u64::from(low) | u64::from(word(bytes, 4)) << 32;
                let at_once = if kind == event::DENIED { count } else { 0 };
                self.take_denial(number, (count, at_once), key, bytes.get(20..).unwrap_or_default());
            }
            [event::OBSERVED, number, flags, role] => {
                let about = bytes.get(16..).unwrap_or_default();
                let object = match role {
                    role::ADDRESS => address(about),
                    role::NOTHING => Object::Unknown,
                    _ => Object::Path(join(about)),
                };
                let is_target = role == role::TARGET;
                let operation = call_name(number);
                self.observations.push(Observation { operation, object, is_target, flags, count: 1 });
            }
            [event::COUNTED, ..] => {
                let words = bytes.as_chunks::<4>().0.iter().skip(1).map(|word| u32::from_le_bytes(*word));
                self.take_counts(&words.collect::<Vec<_>>());
            }
            [event::ENDED, status, user_ms, system_ms] => {
                self.reaped_cpu_ms = u64::from(user_ms) + u64::from(system_ms);
                self.reaped_peak_bytes = u64::from(word(bytes, 4)) * 1024;
                self.ending = Some(ending(status));
            }
            [event::LOST, count, ..] => self.lost += u64::from(count),
            _ => {}
        }
    }

    fn take_counts(&mut self, pairs: &[u32]) {
        for [number, count] in pairs.as_chunks::<2>().0 {
            if let Some(known) = self.observations.get_mut(*number as usize) {
                known.count = u64::from(*count);
            }
        }
    }

    fn take_denial(&mut self, number: u32, (count, at_once): (u32, u32), key: u64, about: &[u8]) {
        let (count, at_once) = (u64::from(count), u64::from(at_once));
        let operation = call_name(number);
        if let Some((_, known)) =
            self.refusals.iter_mut().find(|(known, refusal)| *known == key && refusal.operation == operation)
        {
            known.count = known.count.saturating_add(count);
            known.told_at_once = known.told_at_once.saturating_add(at_once);
            return;
        }
        let object = object(operation, about);
        let network = matches!(object, Object::Address(_) | Object::Socket { .. })
            || matches!(operation, "connect" | "sendto");
        let layer = if network { Layer::Network } else { Layer::Seccomp };
        self.refusals.push((key, Refusal { layer, operation, object, count, told_at_once: at_once }));
    }

    /// What was refused so far, in the order of its first time.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter().map(|(_, refusal)| refusal)
    }

    /// The paths and addresses that the program named, each once for each kind of call ([`crate::Plan::observe`]).
    #[must_use]
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// How many refusals or observations were too many to be told apart, or recorded by the kernel and lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let Some(Ok(channel)) = &self.records else { return self.lost };
        // What PID 1 tried on the program's behalf the kernel counts, and does not record.
        let network = self.refusals().filter(|refusal| refusal.layer == Layer::Network);
        let quiet = SELF_CHECK_DENIALS + network.map(|refusal| refusal.count).sum::<u64>();
        let ledger = channel.ledger();
        let unrecorded = ledger.unrecorded(quiet).max(channel.overruns());
        self.lost + ledger.unlisted() + unrecorded
    }

    /// Whether the kernel's own records of Landlock's denials are read in this run; nothing where nobody asked for them
    /// ([`crate::Plan::observe`]).
    ///
    /// # Errors
    /// Why they cannot be read here.
    pub fn kernel_records(&self) -> Option<Result<Recording, &Unavailable>> {
        self.records.as_ref().map(|records| records.as_ref().map(Channel::recording))
    }

    /// What Landlock refused to the program, as the kernel recorded it so far.
    #[must_use]
    pub fn kernel_denials(&self) -> &[KernelDenial] {
        match &self.records {
            Some(Ok(channel)) => channel.ledger().denials(),
            _ => &[],
        }
    }

    /// Waits, after the end, for what the kernel has still to record: 0.2 s at most, and not at all where nobody asked.
    pub fn settle_records(&mut self) {
        if let Some(Ok(channel)) = &mut self.records {
            channel.settle();
        }
    }

    /// Sends SIGTERM to everything inside. Returns at once.
    ///
    /// # Errors
    /// Never because the sandbox has ended already.
    pub fn terminate(&self) -> io::Result<()> {
        self.command(command::TERMINATE)
    }

    fn command(&self, command: u8) -> io::Result<()> {
        match rustix::net::send(&self.control, &[command], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills everything inside: PID 1 dies, and the kernel kills the rest before PID 1 can be waited for.
    ///
    /// # Errors
    /// Never because the sandbox has ended already.
    pub fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at what is used and holds what no cgroup holds. Call it every [`TICK`] while the sandbox runs.
    pub fn tick(&mut self) -> Tick {
        use crate::limits::Verdict;
        if let Some(Ok(channel)) = &mut self.records {
            channel.read();
        }
        if let Some(leaf) = &self.leaf {
            self.last_usage = leaf.leaf.usage();
            return Tick { usage: self.last_usage, over_memory: self.last_usage.oom_kills > 0 };
        }
        let Some(sampler) = self.sampler.as_mut().filter(|_| !self.reaped) else { return Tick::default() };
        let (usage, verdict) = sampler.look(Instant::now());
        // A command that cannot be sent means that PID 1 is gone, and with it everybody.
        let _nobody_left = match verdict {
            Verdict::Pause => self.command(command::STOP),
            Verdict::Resume => self.command(command::CONTINUE),
            Verdict::Fine | Verdict::OverMemory => Ok(()),
        };
        self.last_usage = usage;
        Tick { usage, over_memory: verdict == Verdict::OverMemory }
    }

    /// Whether the sampler holds the limits, so that [`Sandbox::tick`] must be called in time.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampler.is_some()
    }

    /// How many processes and threads it has now, PID 1 aside, which is no program's; 0 once it has ended. Read from the kernel at
    /// each call: for a look now and then.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        match (&self.leaf, &self.sampler) {
            _ if self.reaped => 0,
            (Some(leaf), _) => leaf.leaf.tasks(),
            (None, Some(sampler)) => sampler.tasks(),
            (None, None) => 0,
        }
    }

    /// What its processes have read from and written to storage, as far as such looks have seen it: what one did between the
    /// last look and its end is missing. Reads a file of the kernel's for each process: for a look now and then.
    pub fn io(&mut self) -> Io {
        match launch::pid_of(&self.process).filter(|_| !self.reaped) {
            Some(init) => self.io.look(init),
            None => self.io.last(),
        }
    }

    /// What was used; exact once the sandbox has ended.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = match (&self.leaf, &self.sampler) {
            (Some(leaf), _) => leaf.leaf.usage(),
            (None, Some(sampler)) => sampler.usage(),
            (None, None) => Usage::default(),
        };
        usage.cpu_ms = usage.cpu_ms.max(self.reaped_cpu_ms);
        if self.leaf.is_none() {
            // Between two looks a process may have grown and gone: VmHWM of the largest, as the kernel kept it.
            usage.memory_peak_bytes = usage.memory_peak_bytes.max(self.reaped_peak_bytes);
        }
        usage
    }

    /// How it ended, if everything inside has ended. Takes in events, too.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn try_wait(&mut self) -> io::Result<Option<Ending>> {
        if !self.reaped && !self.await_end(Some(Duration::ZERO))? {
            return Ok(None);
        }
        self.wait().map(Some)
    }

    /// Waits until everything inside has ended. Not interrupted by signals; see [`Sandbox::stop`] for an end in time.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn wait(&mut self) -> io::Result<Ending> {
        while !self.reaped {
            self.await_end(None)?;
            match rustix::process::waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED) {
                // ECHILD: the application reaps all its children itself; a readable pidfd is proof enough.
                Ok(_) => self.reaped = true,
                Err(Errno::CHILD) => {
                    is_readable(self.process.as_fd(), None)?;
                    self.reaped = true;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.read_events()?;
        Ok(*self.ending.get_or_insert(Ending::Killed))
    }

    /// Whether everything inside has ended by `timeout`. Takes in events meanwhile: PID 1 does not end before it has told
    /// how the program ended, so a host that only waited could wait for ever.
    fn await_end(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut told = false;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut wanted = vec![(self.process.as_fd(), Interest::Read)];
            if !told {
                wanted.push((self.control.as_fd(), Interest::Read));
            }
            let ready = wait_ready(&wanted, left)?;
            if ready.first() == Some(&true) {
                return Ok(true);
            }
            if ready.get(1) == Some(&true) {
                told = self.read_events()?;
            }
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
        }
    }

    /// The stop ladder: SIGTERM now, SIGKILL after [`TERM_GRACE`] (or `grace`), and waits for the end of all.
    ///
    /// # Errors
    /// As for [`Sandbox::wait`].
    pub fn stop(&mut self, grace: Duration) -> io::Result<Ending> {
        self.terminate()?;
        if !self.await_end(Some(grace))? {
            self.kill()?;
        }
        self.wait()
    }

    /// Removes the cgroup, or leaves it to the launcher's next sandbox. Done by drop as well; here failures can be seen.
    ///
    /// # Errors
    /// When a directory cannot be removed.
    pub fn close(mut self) -> io::Result<()> {
        self.kill()?;
        self.wait()?;
        self.leaf.take().map_or(Ok(()), Held::put_away)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Nothing to report to: the process is ours, and a failure here means that it is gone already.
        let _killed = self.kill();
        let gone = self.wait();
        if let (Ok(_), Some(leaf)) = (gone, self.leaf.take()) {
            // What cannot be removed now is left to the launcher.
            let _left = leaf.put_away();
        }
    }
}

pub(crate) fn is_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    bytes.as_chunks::<4>().0.get(index).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// A wait status as wait4(2) encodes it.
fn ending(status: u32) -> Ending {
    match status & 0x7f {
        0 => Ending::Exited((status >> 8 & 0xff).cast_signed()),
        signal => Ending::Signaled(signal.cast_signed()),
    }
}

/// "BASE NUL PATH" to one path.
fn join(text: &[u8]) -> OsString {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let (base, path) = text.split_at_checked(end).unwrap_or((text, &[]));
    let path = path.strip_prefix(b"\0").unwrap_or(path);
    if base.is_empty() {
        return OsString::from_vec(path.to_vec());
    }
    std::path::Path::new(std::ffi::OsStr::from_bytes(base))
        .join(std::ffi::OsStr::from_bytes(path))
        .into_os_string()
}

/// What a denied call was about, from the bytes that PID 1 copied.
fn object(operation: &str, about: &[u8]) -> Object {
    match operation {
        "connect" | "sendto" => address(about),
        "socket" | "socketpair" => {
            let text = String::from_utf8_lossy(about);
            let mut numbers =
                text.split(' ').filter_map(|number| number.parse::<u32>().ok()).map(u32::cast_signed);
            match (numbers.next(), numbers.next(), numbers.next()) {
                (Some(family), Some(kind), Some(protocol)) => {
                    Object::Socket { family, kind: kind & 0xf, protocol }
                }
                _ => Object::Unknown,
            }
        }
        "execve" if !about.is_empty() => Object::Path(OsString::from_vec(about.to_vec())),
        _ => Object::Unknown,
    }
}

/// struct sockaddr_in, sockaddr_in6 or sockaddr_un (ip(7), ipv6(7), unix(7)).
fn address(bytes: &[u8]) -> Object {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return Object::Unknown };
    match (i32::from(u16::from_le_bytes(*family)), rest.split_first_chunk::<2>()) {
        (libc::AF_INET, Some((port, rest))) if rest.len() >= 4 => {
            let ip = rest.first_chunk::<4>().map_or(Ipv4Addr::UNSPECIFIED, |ip| Ipv4Addr::from(*ip));
            Object::Address(SocketAddr::from((ip, u16::from_be_bytes(*port))))
        }
        (libc::AF_INET6, Some((port, rest))) if rest.len() >= 20 => {
            let ip = rest
                .get(4..)
                .and_then(<[u8]>::first_chunk::<16>)
                .map_or(Ipv6Addr::UNSPECIFIED, |ip| Ipv6Addr::from(*ip));
            Object::Address(SocketAddr::from((ip, u16::from_be_bytes(*port))))
        }
        (libc::AF_UNIX, _) => {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            let path = rest.get(..end).unwrap_or_default();
            if path.is_empty() { Object::Unknown } else { Object::Path(OsString::from_vec(path.to_vec())) }
        }
        _ => Object::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        assert_eq!(ending(0), Ending::Exited(0));
        assert_eq!(ending(3 << 8), Ending::Exited(3));
        assert_eq!(ending(9), Ending::Signaled(9));
        assert_eq!(ending(11 | 0x80), Ending::Signaled(11), "the core bit is not part of the signal");
    }

    #[test]
    fn addresses_are_read_in_network_order() {
        let v4 = [2, 0, 0x01, 0xbb, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(object("connect", &v4).to_string(), "192.0.2.1:443");
        let mut v6 = [0u8; 28];
        (v6[0], v6[3], v6[23]) = (10, 80, 1);
        assert_eq!(object("connect", &v6).to_string(), "[::1]:80");
        assert_eq!(object("connect", b"\x01\0/run/x.sock\0"), Object::Path("/run/x.sock".into()));
        assert_eq!(object("connect", b"\x01\0\0abstract"), Object::Unknown);
        assert_eq!(object("connect", b"\x02"), Object::Unknown);
        assert_eq!(object("socket", b"16 3 6"), Object::Socket { family: 16, kind: 3, protocol: 6 });
    }

    #[test]
    fn observed_paths_are_joined() {
        assert_eq!(join(b"/a/b\0c"), OsString::from("/a/b/c"));
        assert_eq!(join(b"\0/etc/passwd"), OsString::from("/etc/passwd"));
        assert_eq!(join(b""), OsString::new());
    }
}
