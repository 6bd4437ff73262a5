//! Starts sandboxes: the one function of Ringfence that starts processes is [`Launcher::launch`].

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions};

use crate::compile::{self, Compiled, Launch, NetworkFrom};
use crate::encode::Writer;
use crate::kernel::Facts;
use crate::layer::{Layer, Layers};
use crate::limits::{self, Backend, CgroupError, Leaf, Sampler};
use crate::plan::Plan;
use crate::report::{LaunchError, Report, launch_error};
use crate::run::{Sandbox, is_readable};
use crate::wire::{self, event, flag, setup};

/// The launcher program, built by this crate's build script.
static LAUNCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ringfence-launcher"));
/// Descriptors handed to the launcher's child must not collide with its 0 to 3.
const DESCRIPTOR_MIN: i32 = 10;
/// Outside uids of plugins started by root: above every range that distributions put into /etc/subuid (which end below
/// 2^31), and below what 32 bits hold. Each start takes the next one, so no two plugins alive share one.
const OUTSIDE_FIRST: u32 = 0x9000_0000;
const OUTSIDE_COUNT: u32 = 0x1000_0000;
/// Events are small; a denied path of 2 KiB is the largest.
pub(crate) const EVENT_BYTES: usize = 8 * 1024;

/// How long a launch may take: a network file system below a grant that does not answer must not hang the host.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long the launcher's last word on a failed launch is waited for.
const ABANDON_LIMIT: Duration = Duration::from_secs(1);

/// The three standard descriptors of a program.
///
/// ```
/// use ringfence_sandbox::Stdio;
/// let mut stdio = Stdio::null()?;
/// stdio.stdout = std::fs::File::create("/dev/null")?.into();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// Copies of this process's own. The program then holds the caller's terminal or files themselves; a host that wants
    /// limits on output gives pipes.
    ///
    /// # Errors
    /// When one of the three is closed or no descriptor is free.
    pub fn inherit() -> io::Result<Self> {
        Ok(Self {
            stdin: io::stdin().as_fd().try_clone_to_owned()?,
            stdout: io::stdout().as_fd().try_clone_to_owned()?,
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }

    /// `/dev/null` three times.
    ///
    /// # Errors
    /// When `/dev/null` cannot be opened.
    pub fn null() -> io::Result<Self> {
        let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
        Ok(Self { stdin: null.try_clone()?, stdout: null.try_clone()?, stderr: null })
    }
}

/// Starts sandboxes, one after another or from many threads at once. Keeps one small process, which ends with it.
///
/// Dropping it does not end its sandboxes. But only a launcher removes their cgroup directories when this process is
/// killed, so keep it for as long as they run.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio};
/// let launcher = Launcher::start()?;
/// let plan = Plan::new(Program::find("true".as_ref(), "/".as_ref())?);
/// let mut sandbox = launcher.launch(&plan, Stdio::null()?)?;
/// assert_eq!(sandbox.wait()?, ringfence_sandbox::Ending::Exited(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Launcher {
    /// Closed first, by drop: that is how the launcher learns that it shall end.
    socket: Option<OwnedFd>,
    process: OwnedFd,
    host: OwnedFd,
    holds: Holds,
}

/// Which empty network namespace the launcher keeps.
#[derive(Debug)]
enum Holds {
    /// None: every sandbox gets a fresh one.
    Nothing,
    /// One for all plans that share.
    Shared,
    /// One for the first sandbox, made while the host is still preparing it; the flag says whether it is taken.
    First(AtomicBool),
}

impl Launcher {
    /// Starts the launcher process. The calling process is not copied, whatever its size.
    ///
    /// # Errors
    /// [`LaunchError::Launcher`] when the process cannot be started; [`LaunchError::NotEnforceable`] on a system without
    /// sandboxes.
    pub fn start() -> Result<Self, LaunchError> {
        Self::start_with(Holds::Nothing)
    }

    /// As [`Launcher::start`], and the launcher keeps an empty network namespace that plans with
    /// [`crate::Network::Shared`] use: starting is about a third faster and takes 200 KiB less kernel memory each.
    ///
    /// # Errors
    /// As for [`Launcher::start`].
    pub fn start_with_shared_network() -> Result<Self, LaunchError> {
        Self::start_with(Holds::Shared)
    }

    /// As [`Launcher::start`], for a host that starts one sandbox: its network namespace is made ahead, while the caller
    /// prepares the plan. Further sandboxes get fresh ones as usual.
    ///
    /// # Errors
    /// As for [`Launcher::start`].
    pub fn start_for_one() -> Result<Self, LaunchError> {
        Self::start_with(Holds::First(AtomicBool::new(true)))
    }

    fn start_with(holds: Holds) -> Result<Self, LaunchError> {
        if LAUNCHER.is_empty() {
            return Err(LaunchError::NotEnforceable {
                layer: Layer::User,
                cause: "sandboxes exist on Linux on x86_64 only".to_owned(),
                hint: "run Ringfence on Linux",
            });
        }
        let failed = |what| move |source: io::Error| LaunchError::Launcher { what, source };
        let program = launcher_file().map_err(failed("cannot be put into memory"))?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .and_then(high)
            .map_err(|error| failed("cannot have /dev/null")(error.into()))?;
        let (socket, theirs) = socket_pair().map_err(|error| failed("cannot have a socket")(error.into()))?;
        let theirs = high(theirs).map_err(|error| failed("cannot have a socket")(error.into()))?;
        let launched = crate::sys::start_launcher(program.as_fd(), theirs.as_fd(), null.as_fd())
            .map_err(failed("cannot be started"))?;
        let host = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(|error| failed("cannot watch this process")(error.into()))?;
        let launcher = Self { socket: Some(socket), process: launched.pidfd, host, holds };
        launcher.set_up().map_err(|error| failed("does not answer")(error.into()))?;
        Ok(launcher)
    }

    fn set_up(&self) -> Result<(), Errno> {
        let facts = Facts::get();
        let mut to = Writer::default();
        let flags = if matches!(self.holds, Holds::Nothing) { 0 } else { setup::HOLD_NETWORK }
            | if facts.root { setup::ROOT } else { 0 };
        to.u32(flags).u32(facts.uid).u32(facts.gid).text(limits::mark().as_ref());
        let directories = limits::sweep_directories(facts.uid);
        to.u32(u32::try_from(directories.len()).unwrap_or(0));
        for directory in directories {
            to.text(directory.as_os_str());
        }
        send(self.socket()?, &to.into_bytes(), &[])
    }

    /// Whether this plan's sandbox is born into the launcher's network namespace or makes a fresh one.
    ///
    /// Sharing needs Landlock ABI 6, which keeps abstract unix sockets of one network namespace apart.
    fn network_for(&self, plan: &Plan, facts: &Facts) -> NetworkFrom {
        let held = match &self.holds {
            Holds::Nothing => false,
            Holds::Shared => plan.network == crate::Network::Shared && facts.landlock_abi >= 6,
            Holds::First(free) => plan.layers.contains(Layer::Network) && free.swap(false, Ordering::Relaxed),
        };
        if held { NetworkFrom::Launcher } else { NetworkFrom::Fresh }
    }

    /// Why the launcher has gone, if it could say so: it may not have been allowed to make the network namespace that it
    /// was to keep.
    fn last_words(&self, plan: &Plan, compiled: &Compiled, source: io::Error) -> LaunchError {
        let now = Instant::now();
        let heard = || self.socket.as_ref().map(|socket| receive_until(socket, now));
        // A socket whose other end closed with our request unread says so first (ECONNRESET), then what it holds.
        let words = match heard() {
            Some(Err(_)) => heard(),
            other => other,
        };
        match words {
            Some(Ok(Some(Message { words: [event::FAILED, step, errno, index], .. }))) => {
                launch_error(plan, compiled, [step, errno, index])
            }
            _ => lost(source),
        }
    }

    /// Ends the launcher now that every sandbox it made has ended and has been dropped: it need not look for what they
    /// left. Dropping it is right in any case.
    pub fn end(self) {
        // If it cannot be told, it looks.
        let _not_told = self.socket().and_then(|socket| send(socket, &[setup::NOTHING_LEFT], &[]));
    }

    fn socket(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.socket.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// Builds the sandbox of `plan` and starts its program in it. Returns when the program has been executed, with every
    /// demanded layer proven; blocks for about a millisecond, and for 30 seconds at most.
    ///
    /// # Errors
    /// Nothing is running after any of them: [`LaunchError::NotEnforceable`] when a layer cannot be had,
    /// [`LaunchError::Unproven`] when the self-check fails, [`LaunchError::Replaced`] when a granted path holds another file
    /// by now, [`LaunchError::Execute`] when the kernel cannot execute the file, [`LaunchError::Limits`] when the demanded
    /// back-end is not there, [`LaunchError::Plan`] when the plan contradicts itself, [`LaunchError::Step`] and
    /// [`LaunchError::Launcher`] when the system is out of something.
    pub fn launch(&self, plan: &Plan, stdio: Stdio) -> Result<Sandbox, LaunchError> {
        let facts = Facts::get();
        if plan.layers.contains(Layer::Landlock) && facts.landlock_abi == 0 {
            return Err(LaunchError::NotEnforceable {
                layer: Layer::Landlock,
                cause: "this kernel has no Landlock, or it is switched off".to_owned(),
                hint: "boot with `landlock` in `lsm=`; Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK",
            });
        }
        let leaf = make_leaf(plan, facts.uid)?;
        let counted = leaf.is_some() || !plan.layers.contains(Layer::Limits);
        let compiled = compile::compile(plan, facts, counted, self.network_for(plan, facts))?;
        let outside = if facts.root { next_outside_ids() } else { (facts.uid, facts.gid) };
        if facts.root {
            give_pipes(&stdio, outside);
        }
        let request = request(plan, facts, &compiled, leaf.as_ref(), outside);
        if request.len() > wire::REQUEST_MAX {
            let limit = wire::REQUEST_MAX;
            return Err(compile::CompileError::from(crate::plan::PlanError::TooLarge {
                what: "bytes in all",
                limit,
            })
            .into());
        }
        let (control, theirs) = socket_pair().map_err(|error| lost(error.into()))?;
        let mut handles = vec![
            theirs.as_fd(),
            stdio.stdin.as_fd(),
            stdio.stdout.as_fd(),
            stdio.stderr.as_fd(),
            self.host.as_fd(),
        ];
        handles.extend(leaf.iter().flat_map(Leaf::handles));
        let sent = self.socket().and_then(|socket| send(socket, &request, &handles));
        sent.map_err(|error| self.last_words(plan, &compiled, error.into()))?;
        drop((theirs, stdio));
        let birth = Birth::await_start(&control, plan, &compiled).map_err(|error| match error {
            LaunchError::Launcher { source, .. } => self.last_words(plan, &compiled, source),
            other => other,
        })?;
        let limits_by = plan
            .layers
            .contains(Layer::Limits)
            .then(|| leaf.as_ref().map_or(Backend::Sampler, Leaf::backend));
        let report = Report {
            layers: Layers::from_bits(birth.proven & plan.layers.bits()),
            limits_by,
            landlock_abi: facts.landlock_abi,
            shared_network: compiled.flags & flag::FRESH_NETWORK == 0 && matches!(self.holds, Holds::Shared),
            program: birth.program,
        };
        let sampler = match (limits_by, pid_of(&birth.process)) {
            (Some(Backend::Sampler), Some(pid)) => {
                Some(Sampler::new(pid, plan.limits.memory_bytes, plan.limits.cpu_percent))
            }
            _ => None,
        };
        Ok(Sandbox::new(birth.process, control, report, leaf, sampler).having_told(&birth.early))
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Without this word the launcher takes this process for dead and removes its cgroups.
        let _launcher_gone = self.socket().and_then(|socket| send(socket, wire::GOODBYE, &[]));
        self.socket = None;
        // It ends at once; waiting leaves no zombie behind. Another waiter of the application may have been faster.
        let _reaped = rustix::process::waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
    }
}

fn lost(source: io::Error) -> LaunchError {
    LaunchError::Launcher { what: "was lost", source }
}

/// The launcher in memory, sealed: nobody, not even this process, can change it once it is there.
fn launcher_file() -> io::Result<&'static OwnedFd> {
    static FILE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(file) = FILE.get() {
        return Ok(file);
    }
    Ok(FILE.get_or_init({
        let made = make_launcher_file()?;
        move || made
    }))
}

fn make_launcher_file() -> io::Result<OwnedFd> {
    use rustix::fs::MemfdFlags;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since Linux 6.3 executable memory files are asked for; before, the flag is unknown.
    let made = match rustix::fs::memfd_create("ringfence-launcher", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create("ringfence-launcher", flags),
        other => other,
    };
    let mut file = File::from(high(made?)?);
    file.write_all(LAUNCHER)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    // A file that is open for writing cannot be executed (ETXTBSY): the launcher is started from a read-only opening.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Ok(high(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?)
}

fn high(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(&fd, DESCRIPTOR_MIN)
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let pair =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // A request must fit: the kernel doubles the number and takes its own share.
    rustix::net::sockopt::set_socket_send_buffer_size(&pair.0, wire::REQUEST_MAX)?;
    Ok(pair)
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() && !control.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(Errno::TOOBIG);
    }
    rustix::net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Makes the leaf that holds the limits, or none if the sampler shall.
fn make_leaf(plan: &Plan, uid: u32) -> Result<Option<Leaf>, LaunchError> {
    if !plan.layers.contains(Layer::Limits) {
        return Ok(None);
    }
    match plan.limits.backend {
        Backend::Sampler => Ok(None),
        choice @ (Backend::Auto | Backend::Cgroup) => {
            let mut refused = None;
            for backend in [Backend::CgroupV2, Backend::CgroupV1] {
                match Leaf::make(backend, &plan.limits, uid) {
                    Ok(leaf) => return Ok(Some(leaf)),
                    Err(error @ (CgroupError::Missing { .. } | CgroupError::NotDelegated { .. })) => {
                        refused = Some(error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            match refused {
                Some(error) if choice == Backend::Cgroup => Err(error.into()),
                _ => Ok(None),
            }
        }
        backend => Ok(Some(Leaf::make(backend, &plan.limits, uid)?)),
    }
}

fn request(
    plan: &Plan,
    facts: &Facts,
    compiled: &Compiled,
    leaf: Option<&Leaf>,
    outside: (u32, u32),
) -> Vec<u8> {
    let v2 = leaf.is_some_and(|leaf| leaf.backend() == Backend::CgroupV2);
    let launch = Launch {
        outside,
        cgroup_leaf: leaf.map(Leaf::name).unwrap_or_default(),
        cgroup_lines: leaf.map_or(0, Leaf::lines),
        extra_flags: if v2 { flag::CGROUP_V2 } else { 0 },
    };
    compiled.request(plan, facts, &launch)
}

/// Makes the plugin's user the owner of its pipes: programs open them again as /dev/stdout, and a pipe's mode lets only
/// its owner do so. What is no pipe is not touched.
fn give_pipes(stdio: &Stdio, (uid, gid): (u32, u32)) {
    use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
    for fd in [&stdio.stdin, &stdio.stdout, &stdio.stderr] {
        if fstat(fd).is_ok_and(|seen| FileType::from_raw_mode(seen.st_mode) == FileType::Fifo) {
            // Without it only opening by name fails.
            let _still_ours = fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
}

/// The next unused outside ids. The process id spreads several hosts over the range; the counter, one host's plugins.
fn next_outside_ids() -> (u32, u32) {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let id = OUTSIDE_FIRST + std::process::id().wrapping_mul(64).wrapping_add(number) % OUTSIDE_COUNT;
    (id, id)
}

fn pid_of(process: &OwnedFd) -> Option<u32> {
    use std::os::fd::AsRawFd;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

/// A sandbox whose PID 1 exists and whose program runs.
struct Birth {
    process: OwnedFd,
    proven: u32,
    program: u32,
    /// What PID 1 told meanwhile.
    early: Vec<Message>,
}

impl Birth {
    /// Waits for the launcher's pidfd and for PID 1's word, which come in either order.
    fn await_start(control: &OwnedFd, plan: &Plan, compiled: &Compiled) -> Result<Self, LaunchError> {
        let deadline = Instant::now() + START_LIMIT;
        let mut process = None;
        let mut started = None;
        let mut early = Vec::new();
        loop {
            let message = match receive_until(control, deadline) {
                Ok(Some(message)) => message,
                Ok(None) => {
                    abandon(control, process);
                    return Err(LaunchError::Launcher {
                        what: "did not answer in time",
                        source: io::ErrorKind::TimedOut.into(),
                    });
                }
                Err(error) => {
                    abandon(control, process);
                    return Err(lost(error));
                }
            };
            match message.words {
                [event::BORN, ..] => process = message.descriptor,
                [event::STARTED, proven, program, _] => started = Some((proven, program)),
                [event::FAILED, step, errno, index] => {
                    abandon(control, process);
                    return Err(launch_error(plan, compiled, [step, errno, index]));
                }
                [event::UNPROVEN, layers, ..] => {
                    abandon(control, process);
                    return Err(LaunchError::Unproven { layers: Layers::from_bits(layers) });
                }
                _ if message.bytes.is_empty() => {
                    abandon(control, process);
                    return Err(lost(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
                // A short program can have ended before the launcher's word arrives.
                _ => early.push(message),
            }
            match (process, started) {
                (Some(process), Some((proven, program))) => {
                    return Ok(Self { process, proven, program, early });
                }
                (waiting, _) => process = waiting,
            }
        }
    }
}

/// Takes a failed PID 1 off the process table; it has ended or is about to. It may have been faster than the launcher's
/// word of its birth: that word, or the end of the socket that both held, comes at once.
fn abandon(control: &OwnedFd, mut process: Option<OwnedFd>) {
    let deadline = Instant::now() + ABANDON_LIMIT;
    while process.is_none() {
        match receive_until(control, deadline) {
            Ok(Some(message)) if !message.bytes.is_empty() => process = message.descriptor,
            _ => return,
        }
    }
    reap(process.as_ref());
}

/// The next event, or none by `deadline`.
fn receive_until(control: &OwnedFd, deadline: Instant) -> io::Result<Option<Message>> {
    let left = deadline.saturating_duration_since(Instant::now());
    if is_readable(control.as_fd(), Some(left))? { Ok(Some(receive(control)?)) } else { Ok(None) }
}

fn reap(process: Option<&OwnedFd>) {
    if let Some(process) = process {
        let _already_gone = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
        let _reaped = rustix::process::waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
    }
}

/// One event. No bytes is the end.
#[derive(Debug)]
pub(crate) struct Message {
    /// The first four words; 0 where there are none.
    pub(crate) words: [u32; 4],
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptor: Option<OwnedFd>,
}

/// Receives the next event, waiting for it.
pub(crate) fn receive(control: &OwnedFd) -> Result<Message, Errno> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut bytes = vec![0u8; EVENT_BYTES];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [io::IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(control, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    bytes.truncate(received.bytes);
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let mut words = [0u32; 4];
    for (slot, chunk) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *slot = u32::from_le_bytes(*chunk);
    }
    Ok(Message { words, bytes, descriptor })
}
