//! Starts sandboxes: the one function of Ringfence that starts processes is [`Launcher::launch`].

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, WaitId, WaitIdOptions};

use crate::audit::Channel;
use crate::compile::{self, Compiled, Launch, NetworkFrom};
use crate::kernel::Facts;
use crate::layer::{Layer, Layers};
use crate::limits::{Backend, CgroupError, Held, Leaf, Pool, Sampler};
use crate::plan::Plan;
use crate::process::{Message, Process, Task, receive_until, send, socket_pair};
use crate::report::{LaunchError, Report, launch_error};
use crate::run::Sandbox;
use crate::wire::{self, event, flag};

/// How many compiled plans are kept. A host starts few different ones within a second.
const COMPILED_MAX: usize = 8;
/// Outside uids of plugins started by root: above every range that distributions put into /etc/subuid (which end below
/// 2^31), and below what 32 bits hold. Each start takes the next one, so no two plugins alive share one.
const OUTSIDE_FIRST: u32 = 0x9000_0000;
const OUTSIDE_COUNT: u32 = 0x1000_0000;
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

/// Starts sandboxes, one after another or from many threads at once. Keeps one small process (an ordinary user: two), which
/// ends with it.
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
    /// Lives in a prepared root.
    process: Process,
    /// For plans of an ordinary user without layers that a prepared root needs; started with the first of them.
    unprepared: OnceLock<Process>,
    host: OwnedFd,
    holds: Holds,
    /// The plans that were launched last, compiled.
    compiled: Mutex<VecDeque<Known>>,
    /// Cgroups whose sandboxes have ended.
    leaves: Arc<Pool>,
    /// When it was last seen that no cgroup can be had.
    no_cgroup: Mutex<Option<Instant>>,
}

/// A plan and what it was compiled to.
#[derive(Debug)]
struct Known {
    seen: Instant,
    plan: Plan,
    counted: bool,
    network: NetworkFrom,
    compiled: Arc<Compiled>,
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

    /// As [`Launcher::start`], for a host that starts one sandbox at once: its network namespace is made ahead, while the
    /// caller prepares the plan. Further sandboxes get fresh ones as usual, but an ordinary user's do not see what is mounted
    /// on the host after this.
    ///
    /// # Errors
    /// As for [`Launcher::start`].
    pub fn start_for_one() -> Result<Self, LaunchError> {
        Self::start_with(Holds::First(AtomicBool::new(true)))
    }

    fn start_with(holds: Holds) -> Result<Self, LaunchError> {
        let failed = |what| move |source: io::Error| LaunchError::Launcher { what, source };
        let brief = matches!(holds, Holds::First(_));
        let process = Process::start(Task { holds_network: holds.network(), prepares: true, brief })?;
        let host = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(|error| failed("cannot watch this process")(error.into()))?;
        Ok(Self {
            process,
            unprepared: OnceLock::new(),
            host,
            holds,
            compiled: Mutex::new(VecDeque::new()),
            leaves: Arc::default(),
            no_cgroup: Mutex::new(None),
        })
    }

    /// The process that starts this plan. An ordinary user's launcher cannot leave its prepared root, nor its user namespace;
    /// and where no root can be prepared, a plan that needs none is started by a process that prepares none.
    fn process_for(&self, plan: &Plan, facts: &Facts) -> Result<&Process, LaunchError> {
        let both = plan.layers.contains(Layer::User) && plan.layers.contains(Layer::Mount);
        if both || facts.root && !self.process.has_gone() {
            return Ok(&self.process);
        }
        if let Some(process) = self.unprepared.get() {
            return Ok(process);
        }
        let started =
            Process::start(Task { holds_network: self.holds.network(), prepares: false, brief: false })?;
        Ok(self.unprepared.get_or_init(|| started))
    }

    /// The compiled plan, of which the last few are kept for as long as the picture of the system is.
    fn compile(
        &self,
        plan: &Plan,
        facts: &Facts,
        counted: bool,
        network: NetworkFrom,
    ) -> Result<Arc<Compiled>, LaunchError> {
        let mut known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.seen.elapsed() < compile::SYSTEM_AGE_MAX);
        let same =
            |known: &&Known| known.counted == counted && known.network == network && known.plan == *plan;
        if let Some(known) = known.iter().find(same) {
            return Ok(Arc::clone(&known.compiled));
        }
        let compiled = Arc::new(compile::compile(plan, facts, counted, network)?);
        if known.len() == COMPILED_MAX {
            known.pop_front();
        }
        known.push_back(Known {
            seen: Instant::now(),
            plan: plan.clone(),
            counted,
            network,
            compiled: Arc::clone(&compiled),
        });
        Ok(compiled)
    }

    /// Makes the leaf that holds the limits, or none if the sampler shall. That none can be had is believed for a while.
    fn make_leaf(&self, plan: &Plan, uid: u32) -> Result<Option<Leaf>, LaunchError> {
        let mut refused = self.no_cgroup.lock().unwrap_or_else(PoisonError::into_inner);
        let automatic = plan.limits.backend == Backend::Auto && plan.layers.contains(Layer::Limits);
        if automatic && refused.is_some_and(|seen| seen.elapsed() < compile::SYSTEM_AGE_MAX) {
            return Ok(None);
        }
        drop(refused);
        if plan.layers.contains(Layer::Limits)
            && let Some(leaf) = self.leaves.take(&plan.limits)
        {
            return Ok(Some(leaf));
        }
        let leaf = make_leaf(plan, uid)?;
        if automatic {
            refused = self.no_cgroup.lock().unwrap_or_else(PoisonError::into_inner);
            *refused = leaf.is_none().then(Instant::now);
        }
        Ok(leaf)
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

    /// Ends the launcher now that every sandbox it made has ended and has been dropped: it need not look for what they
    /// left. Dropping it is right in any case.
    pub fn end(mut self) {
        self.dismiss();
    }

    /// As [`Launcher::end`], without waiting: the launcher's process ends while the caller goes on, and drop waits for it.
    /// Nothing can be launched any more ([`LaunchError::Launcher`]).
    pub fn dismiss(&mut self) {
        self.leaves.clear();
        self.process.dismiss();
        if let Some(process) = self.unprepared.get_mut() {
            process.dismiss();
        }
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
        let process = self.process_for(plan, facts)?;
        let leaf = self.make_leaf(plan, facts.uid)?;
        let counted = leaf.is_some() || !plan.layers.contains(Layer::Limits);
        let compiled = self.compile(plan, facts, counted, self.network_for(plan, facts))?;
        // A plan without any layer is no sandbox: the program is the caller's own, with the caller's own ids.
        let confined = facts.root && !plan.layers.is_empty();
        let outside = if confined { next_outside_ids() } else { (facts.uid, facts.gid) };
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
        // Before the sandbox is there: its first denial comes with the record that says whose it is.
        let mut records = plan.observe.then(|| Channel::open(facts));
        let (control, theirs) = socket_pair().map_err(|error| lost(error.into()))?;
        let mut handles = vec![
            theirs.as_fd(),
            stdio.stdin.as_fd(),
            stdio.stdout.as_fd(),
            stdio.stderr.as_fd(),
            self.host.as_fd(),
        ];
        handles.extend(leaf.iter().flat_map(Leaf::handles));
        let sent = process.socket().and_then(|socket| send(socket, &request, &handles));
        sent.map_err(|error| last_words(process, plan, &compiled, error.into()))?;
        drop((theirs, stdio));
        let birth = Birth::await_start(&control, plan, &compiled).map_err(|error| match error {
            LaunchError::Launcher { source, .. } => last_words(process, plan, &compiled, source),
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
        // Without a pid namespace something may outlive the program, in the leaf.
        let pool = plan.layers.contains(Layer::Pid).then(|| Arc::downgrade(&self.leaves));
        let leaf = leaf.map(|leaf| Held { leaf, limits: plan.limits.clone(), pool });
        if let (Some(Ok(channel)), Some(pid)) = (&mut records, pid_of(&birth.process)) {
            channel.expect(pid, compiled.granted_paths().to_vec());
        }
        Ok(Sandbox::new(birth.process, control, report, leaf, sampler)
            .with_records(records)
            .having_told(&birth.early))
    }
}

/// Why the launcher has gone, if it could say so: it may not have been allowed to make the network namespace or the root
/// that it was to keep.
fn last_words(process: &Process, plan: &Plan, compiled: &Compiled, source: io::Error) -> LaunchError {
    match process.last_words() {
        Some(words) => launch_error(plan, compiled, words),
        None => lost(source),
    }
}

impl Holds {
    fn network(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

fn lost(source: io::Error) -> LaunchError {
    LaunchError::Launcher { what: "was lost", source }
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

pub(crate) fn pid_of(process: &OwnedFd) -> Option<u32> {
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

fn reap(process: Option<&OwnedFd>) {
    if let Some(process) = process {
        let _already_gone = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
        let _reaped = rustix::process::waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
    }
}
