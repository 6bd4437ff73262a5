//! The socket on which the kernel hands out its audit records (`AUDIT_NLGRP_READLOG`), and how one is had.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt};

use super::ledger::Ledger;
use super::record::{Record, TEXT_MAX_BYTES};
use super::{LOGGING_ABI, Recording, Unavailable};
use crate::compile::GRANTS;
use crate::kernel::Facts;
use crate::report::Object;
use crate::run::is_readable;

/// struct nlmsghdr (netlink(7)): length, type, flags, sequence, port.
const HEADER_BYTES: usize = 16;
/// The multicast group of records, as a mask.
const READLOG: u32 = 1;
const AUDIT_GET: u16 = 1000;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// Room for about a thousand records between two looks.
const BUFFER_BYTES: usize = 1 << 20;
/// How many records one look takes at most: whoever floods must not keep the host from its other work.
const LOOK_MAX: usize = 2048;
/// How long the kernel has for the answer whether audit is on; it answers from its own memory.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// How long a run's last records are waited for: the kernel's queue is emptied by a thread of its own.
const LAST_WITHIN: Duration = Duration::from_millis(200);
/// The same where no denial was recorded, so that the end will not be either.
const QUIET_FOR: Duration = Duration::from_millis(30);
/// The first namespaces' inodes are fixed (include/linux/proc_ns.h).
const FIRST_USER: u64 = 0xEFFF_FFFD;
const FIRST_PID: u64 = 0xEFFF_FFFC;

/// An open socket, and what has come of it.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    /// Whether only the kernel's messages count. Always, but for a test's socket.
    from_kernel: bool,
    recording: Recording,
    ledger: Ledger,
    /// How often the socket was full.
    overruns: u64,
    /// The host's path of each source: what is granted below the private /tmp lies elsewhere inside, under its number.
    sources: Vec<PathBuf>,
}

impl Channel {
    /// Listens for the denials of a sandbox that is made afterwards; [`Channel::expect`] says which.
    pub(crate) fn open(facts: &Facts) -> Result<Self, Unavailable> {
        if facts.landlock_abi < LOGGING_ABI {
            return Err(Unavailable::OldLandlock { abi: facts.landlock_abi });
        }
        let [user, _, pid, _, _, network, _] = facts.namespaces;
        if user != FIRST_USER {
            return Err(Unavailable::Namespace("user"));
        }
        if pid != FIRST_PID {
            // Records name processes as the first namespace does.
            return Err(Unavailable::Namespace("pid"));
        }
        let recording = recording(&socket()?)?;
        let socket = socket()?;
        let everything = SocketAddrNetlink::new(0, READLOG);
        match rustix::net::bind(&socket, &everything) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS) => return Err(Unavailable::NotPermitted),
            Err(error) => return Err(failed("listen for audit records", error)),
        }
        // Only the first network namespace is told. Who may listen may also look where the first process is.
        let first = std::fs::metadata("/proc/1/ns/net").map_or(network, |seen| seen.ino());
        if first != network {
            return Err(Unavailable::Namespace("network"));
        }
        // Without the larger buffer more is lost, and counted.
        let _smaller = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES));
        Ok(Self {
            socket,
            from_kernel: true,
            recording,
            ledger: Ledger::of(0),
            overruns: 0,
            sources: Vec::new(),
        })
    }

    /// The denials that count are those of the sandbox of this PID 1, which shows these sources.
    pub(crate) fn expect(&mut self, process: u32, sources: Vec<PathBuf>) {
        self.ledger = Ledger::of(process);
        self.sources = sources;
    }

    pub(crate) fn recording(&self) -> Recording {
        self.recording
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How often records were lost because the socket was full.
    pub(crate) fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Takes in what is there, without waiting, and no more than [`LOOK_MAX`] records.
    pub(crate) fn read(&mut self) {
        let mut buffer = vec![0u8; HEADER_BYTES + TEXT_MAX_BYTES + 1];
        for _ in 0..LOOK_MAX {
            match rustix::net::recvfrom(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((length, _, sender)) => {
                    if !self.from_kernel || sender.is_some_and(|sender| is_kernel(&sender)) {
                        self.take(buffer.get(..length).unwrap_or_default());
                    }
                }
                Err(Errno::NOBUFS) => self.overruns += 1,
                Err(Errno::INTR) => {}
                // Nothing more for now, or a socket that tells nothing more: what is known stays.
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: &[u8]) {
        let record = message.split_at_checked(HEADER_BYTES).and_then(|(header, text)| {
            // The length in the header is not gone by: kernels have counted it in two ways.
            let kind = u16::from_le_bytes(*header.get(4..)?.first_chunk()?);
            Record::parse(kind, text)
        });
        if let Some(record) = record {
            self.ledger.take(self.as_granted(record));
        }
    }

    /// The record with the path that was granted, where the grant is attached elsewhere.
    fn as_granted(&self, mut record: Record) -> Record {
        if let Record::Refused { object: Object::Path(path), .. } = &mut record
            && let Ok(inside) = Path::new(path).strip_prefix(GRANTS)
        {
            let mut names = inside.components();
            let number = names.next().and_then(|name| name.as_os_str().to_str()?.parse::<usize>().ok());
            if let Some(source) = number.and_then(|number| self.sources.get(number)) {
                let rest = names.as_path();
                let whole = if rest.as_os_str().is_empty() { source.clone() } else { source.join(rest) };
                *path = whole.into_os_string();
            }
        }
        record
    }

    /// After the end of the sandbox: waits for what the kernel has still to tell, at most [`LAST_WITHIN`].
    pub(crate) fn settle(&mut self) {
        let begun = Instant::now();
        loop {
            self.read();
            let seen = !self.ledger.denials().is_empty();
            let limit = if seen { LAST_WITHIN } else { QUIET_FOR };
            let Some(left) = limit.checked_sub(begun.elapsed()) else { return };
            if self.ledger.is_closed() || !is_readable(self.socket.as_fd(), Some(left)).unwrap_or(false) {
                return;
            }
        }
    }
}

/// Whether the kernel's records of Landlock's denials can be read here. Nothing is left behind.
///
/// # Errors
/// Why not.
///
/// ```
/// match ringfence_sandbox::audit::availability() {
///     Ok(recording) => println!("{recording:?}"),
///     Err(why) => println!("{why}"),
/// }
/// ```
pub fn availability() -> Result<Recording, Unavailable> {
    Channel::open(Facts::get()).map(|channel| channel.recording())
}

fn socket() -> Result<OwnedFd, Unavailable> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::AUDIT));
    made.map_err(|error| match error {
        Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => Unavailable::NoAudit,
        error => failed("make an audit socket", error),
    })
}

/// Asks whether audit is on. That needs more rights than listening.
fn recording(socket: &OwnedFd) -> Result<Recording, Unavailable> {
    let mut request = [0u8; HEADER_BYTES];
    let length = u32::try_from(HEADER_BYTES).unwrap_or_default();
    request[..4].copy_from_slice(&length.to_le_bytes());
    request[4..6].copy_from_slice(&AUDIT_GET.to_le_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_le_bytes());
    match rustix::net::send(socket, &request, SendFlags::DONTWAIT) {
        Ok(_) => {}
        Err(Errno::CONNREFUSED) => return Err(Unavailable::Namespace("user")),
        Err(Errno::PERM) => return Ok(Recording::Unknown),
        Err(error) => return Err(failed("ask whether audit is on", error)),
    }
    let deadline = Instant::now() + ANSWER_WITHIN;
    let mut answer = [0u8; 512];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !is_readable(socket.as_fd(), Some(left)).unwrap_or(false) {
            return Ok(Recording::Unknown);
        }
        let received = rustix::net::recvfrom(socket, &mut answer, RecvFlags::DONTWAIT);
        let Ok((length, _, Some(sender))) = received else { continue };
        if is_kernel(&sender)
            && let Some(found) = answered(answer.get(..length).unwrap_or_default())
        {
            return found;
        }
    }
}

/// What the kernel answers to `AUDIT_GET`: struct audit_status (mask, enabled, ...), or an error number.
fn answered(message: &[u8]) -> Option<Result<Recording, Unavailable>> {
    let (header, body) = message.split_at_checked(HEADER_BYTES)?;
    let word = |at: usize| body.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    match u16::from_le_bytes(*header.get(4..)?.first_chunk()?) {
        AUDIT_GET => Some(if word(4)? == 0 { Err(Unavailable::Off) } else { Ok(Recording::On) }),
        NLMSG_ERROR => match Errno::from_raw_os_error(word(0)?.cast_signed().wrapping_neg()) {
            Errno::CONNREFUSED => Some(Err(Unavailable::Namespace("user"))),
            _ => Some(Ok(Recording::Unknown)),
        },
        _ => None,
    }
}

fn is_kernel(sender: &SocketAddrAny) -> bool {
    SocketAddrNetlink::try_from(sender.clone()).is_ok_and(|sender| sender.pid() == 0)
}

fn failed(step: &'static str, error: Errno) -> Unavailable {
    Unavailable::Failed { step, cause: io::Error::from(error).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{ACCESS, DOMAIN};
    use rustix::net::socketpair;

    /// A channel over a socket of the test's, and the end to write to.
    fn fake(from_kernel: bool) -> (Channel, OwnedFd) {
        let flags = SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
        let channel = Channel {
            socket: ours,
            from_kernel,
            recording: Recording::On,
            ledger: Ledger::of(24282),
            overruns: 0,
            sources: vec!["/tmp/granted".into()],
        };
        (channel, theirs)
    }

    fn framed(kind: u16, text: &str) -> Vec<u8> {
        let mut message = vec![0u8; HEADER_BYTES];
        message[4..6].copy_from_slice(&kind.to_le_bytes());
        message.extend_from_slice(text.as_bytes());
        message
    }

    fn tell(to: &OwnedFd, kind: u16, text: &str) {
        rustix::net::send(to, &framed(kind, text), SendFlags::empty()).unwrap();
    }

    const FIRST: &str =
        r#"audit(1.0:1): domain=1dae989c6 blockers=fs.read_file path="/etc/shadow" dev="vda" ino=737"#;
    const OWNER: &str = "audit(1.0:1): domain=1dae989c6 status=allocated mode=enforcing pid=24282 uid=0";
    const LAST: &str = "audit(1.0:2): domain=1dae989c6 status=deallocated denials=2";

    #[test]
    fn recorded_lines_become_denials() {
        let (mut channel, kernel) = fake(false);
        for (kind, text) in
            [(1300, "audit(1.0:0): arch=c000003e"), (ACCESS, FIRST), (DOMAIN, OWNER), (DOMAIN, LAST)]
        {
            tell(&kernel, kind, text);
        }
        rustix::net::send(&kernel, b"short", SendFlags::empty()).unwrap();
        channel.read();
        let [denial] = channel.ledger().denials() else { panic!("{channel:?}") };
        assert_eq!((denial.object.to_string().as_str(), denial.count), ("/etc/shadow", 1));
        assert_eq!((channel.ledger().is_closed(), channel.ledger().unrecorded(1)), (true, 0));
    }

    #[test]
    fn a_grant_that_is_attached_elsewhere_is_told_by_its_own_path() {
        let (mut channel, kernel) = fake(false);
        tell(&kernel, DOMAIN, OWNER);
        for path in ["/.grants/0", "/.grants/0/in/a", "/.grants/7/x", "/.grantsx"] {
            let line = format!("audit(1.0:1): domain=1dae989c6 blockers=fs.remove_file path=\"{path}\"");
            tell(&kernel, ACCESS, &line);
        }
        channel.read();
        let told: Vec<String> =
            channel.ledger().denials().iter().map(|denial| denial.object.to_string()).collect();
        assert_eq!(told, ["/tmp/granted", "/tmp/granted/in/a", "/.grants/7/x", "/.grantsx"]);
    }

    #[test]
    fn what_does_not_come_from_the_kernel_does_not_count() {
        let (mut channel, stranger) = fake(true);
        tell(&stranger, ACCESS, FIRST);
        tell(&stranger, DOMAIN, OWNER);
        channel.read();
        assert!(channel.ledger().denials().is_empty());
    }

    #[test]
    fn nothing_waits_and_the_end_is_waited_for_only_so_long() {
        let (mut channel, kernel) = fake(false);
        let begun = Instant::now();
        channel.read();
        channel.settle();
        assert!(begun.elapsed() < LAST_WITHIN, "nothing was recorded, so little is waited for");
        tell(&kernel, ACCESS, FIRST);
        tell(&kernel, DOMAIN, OWNER);
        let begun = Instant::now();
        channel.settle();
        assert!(begun.elapsed() >= LAST_WITHIN, "the end was not told");
        tell(&kernel, DOMAIN, LAST);
        let begun = Instant::now();
        channel.settle();
        assert!(begun.elapsed() < LAST_WITHIN && channel.ledger().is_closed());
    }

    #[test]
    fn the_answer_says_whether_audit_is_on() {
        let status = |kind: u16, words: [u32; 2]| {
            let mut message = framed(kind, "");
            words.iter().for_each(|word| message.extend_from_slice(&word.to_le_bytes()));
            answered(&message)
        };
        let refused = |errno: Errno| errno.raw_os_error().wrapping_neg().cast_unsigned();
        assert_eq!(status(AUDIT_GET, [0, 0]), Some(Err(Unavailable::Off)));
        assert_eq!(status(AUDIT_GET, [0, 1]), Some(Ok(Recording::On)));
        assert_eq!(status(NLMSG_ERROR, [refused(Errno::PERM), 0]), Some(Ok(Recording::Unknown)));
        assert_eq!(
            status(NLMSG_ERROR, [refused(Errno::CONNREFUSED), 0]),
            Some(Err(Unavailable::Namespace("user")))
        );
        assert_eq!(status(1300, [0, 0]), None);
        assert_eq!(answered(b"short"), None);
    }

    #[test]
    fn an_old_landlock_and_a_foreign_namespace_are_said_before_anything_is_opened() {
        let old = Facts { landlock_abi: 6, ..Facts::get().clone() };
        assert_eq!(Channel::open(&old).unwrap_err(), Unavailable::OldLandlock { abi: 6 });
        for (index, kind) in [(0, "user"), (2, "pid")] {
            let mut namespaces = [FIRST_USER, 0, FIRST_PID, 0, 0, 0, 0];
            namespaces[index] = 1;
            let elsewhere = Facts { landlock_abi: LOGGING_ABI, namespaces, ..Facts::get().clone() };
            let why = Channel::open(&elsewhere).unwrap_err();
            assert_eq!(why, Unavailable::Namespace(kind));
            assert!(why.mend().is_some() && why.to_string().contains(kind));
        }
    }
}
