//! The launcher's process as the host sees it: starting it, and messages to and from it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{WaitId, WaitIdOptions};

use crate::encode::Writer;
use crate::kernel::Facts;
use crate::layer::Layer;
use crate::limits;
use crate::report::LaunchError;
use crate::run::is_readable;
use crate::wire::{self, setup};

/// The launcher program, built by this crate's build script.
static LAUNCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ringfence-launcher"));
/// Descriptors handed to the launcher's child must not collide with its 0 to 3.
const DESCRIPTOR_MIN: i32 = 10;
/// Events are small; a denied path of 2 KiB is the largest.
const EVENT_BYTES: usize = 8 * 1024;

/// A launcher process. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    /// Closed first, by drop: that is how the launcher learns that it shall end.
    socket: Option<OwnedFd>,
    process: OwnedFd,
    /// Why it has gone, once that was heard: it says so only once, and everybody who asks later wants to know as well.
    said: OnceLock<[u32; 3]>,
}

/// What a launcher process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Task {
    /// Keep an empty network namespace.
    pub(crate) holds_network: bool,
    /// Keep prepared roots.
    pub(crate) prepares: bool,
    /// One sandbox follows, at once.
    pub(crate) brief: bool,
}

impl Process {
    /// Starts it and tells it what it is for. The calling process is not copied, whatever its size.
    pub(crate) fn start(task: Task) -> Result<Self, LaunchError> {
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
        let started = Self { socket: Some(socket), process: launched.pidfd, said: OnceLock::new() };
        let told = started.say_task(task).and_then(|()| started.set_up(task));
        told.map_err(|error| failed("does not answer")(error.into()))?;
        Ok(started)
    }

    /// What it is for, and for whom. It makes its namespaces while this process still looks at the system.
    fn say_task(&self, task: Task) -> Result<(), Errno> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let mut flags = 0;
        for (bit, set) in [
            (setup::HOLD_NETWORK, task.holds_network),
            (setup::ROOT, uid.is_root()),
            (setup::PREPARE, task.prepares),
            (setup::BRIEF, task.brief),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let mut to = Writer::default();
        to.u32(flags).u32(uid.as_raw()).u32(gid.as_raw());
        send(self.socket()?, &to.into_bytes(), &[])
    }

    fn set_up(&self, task: Task) -> Result<(), Errno> {
        let facts = Facts::get();
        let mut to = Writer::default();
        let recipe = if task.prepares { crate::compile::plain_recipe(facts) } else { Vec::new() };
        to.blob(&recipe).text(limits::mark().as_ref());
        let directories = limits::sweep_directories(facts.uid);
        to.u32(u32::try_from(directories.len()).unwrap_or(0));
        for directory in directories {
            to.text(directory.as_os_str());
        }
        send(self.socket()?, &to.into_bytes(), &[])
    }

    /// Where requests go.
    pub(crate) fn socket(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.socket.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// Whether the process has ended.
    pub(crate) fn has_gone(&self) -> bool {
        is_readable(self.process.as_fd(), Some(Duration::ZERO)).unwrap_or(true)
    }

    /// What the process said when it went, if it said anything: step, errno and index of a failure.
    pub(crate) fn last_words(&self) -> Option<[u32; 3]> {
        if let Some(said) = self.said.get() {
            return Some(*said);
        }
        let now = Instant::now();
        let heard = || self.socket.as_ref().map(|socket| receive_until(socket, now));
        // A socket whose other end closed with our request unread says so first (ECONNRESET), then what it holds.
        let words = match heard() {
            Some(Err(_)) => heard(),
            other => other,
        };
        match words {
            Some(Ok(Some(Message { words: [wire::event::FAILED, step, errno, index], .. }))) => {
                Some(*self.said.get_or_init(|| [step, errno, index]))
            }
            _ => None,
        }
    }

    /// Tells it that every sandbox it made has ended and is put away, and to end. Does not wait for that; drop does.
    pub(crate) fn dismiss(&mut self) {
        // If it cannot be told, it looks.
        let _not_told = self.socket().and_then(|socket| send(socket, &[setup::NOTHING_LEFT], &[]));
        self.socket = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without this word the launcher takes this process for dead and removes its cgroups.
        let _launcher_gone = self.socket().and_then(|socket| send(socket, wire::GOODBYE, &[]));
        self.socket = None;
        // It ends at once; waiting leaves no zombie behind. Another waiter of the application may have been faster.
        let _reaped = rustix::process::waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
    }
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

pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let pair =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // A request must fit: the kernel doubles the number and takes its own share.
    rustix::net::sockopt::set_socket_send_buffer_size(&pair.0, wire::REQUEST_MAX)?;
    Ok(pair)
}

/// Sends one message, with descriptors.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() && !control.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(Errno::TOOBIG);
    }
    rustix::net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// The next event, or none by `deadline`.
pub(crate) fn receive_until(control: &OwnedFd, deadline: Instant) -> io::Result<Option<Message>> {
    let left = deadline.saturating_duration_since(Instant::now());
    if is_readable(control.as_fd(), Some(left))? { Ok(Some(receive(control)?)) } else { Ok(None) }
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
