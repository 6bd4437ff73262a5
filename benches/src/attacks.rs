//! Attacks on whoever starts a program, and what becomes of them: the same for every sandbox that stands beside ours.
//!
//! Each is a few lines of Python that need nothing but its standard library. Whether one went through is judged by what it
//! reached: what it could read it says, what it could change is looked at outside.

use std::fs;
use std::io::{self, Read as _};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::{self, PYTHON};

/// How long one attack may take; the slowest peer needs two seconds to start.
const WITHIN: Duration = Duration::from_secs(30);
/// How long what an attack has left behind is looked for.
const SURVIVES: Duration = Duration::from_millis(300);

/// What comes before each attack: what it is told of the world, and a word that it runs.
const PRELUDE: &str = r"
import ctypes, json, os, socket, sys
w = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def begun(): os.write(1, b'BEGUN\n')
def through(): os.write(1, b'THROUGH\n')
def call(*numbers):
    if libc.syscall(*numbers) < 0: raise OSError(ctypes.get_errno())
begun()
";

/// How it is known that an attack went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// It says so: it has what it wanted.
    Said,
    /// The canary has other content.
    Changed,
    /// A file is there that was not.
    Made,
    /// The canary is gone.
    Gone,
    /// A datagram has come.
    Datagram,
    /// A process of it still runs.
    Survivor,
}

/// One attack.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// What it tries, for people.
    pub name: &'static str,
    code: &'static str,
    proof: Proof,
}

const fn said(name: &'static str, code: &'static str) -> Attack {
    Attack { name, code, proof: Proof::Said }
}

/// All of them.
pub const ATTACKS: &[Attack] = &[
    said("read a file of the caller's", "assert open(w['canary']).read() == 'canary\\n'; through()"),
    said("learn that a file exists", "os.stat(w['canary']); through()"),
    Attack { name: "change a file", code: "open(w['canary'], 'w').write('changed')", proof: Proof::Changed },
    Attack { name: "make a file", code: "open(w['new'], 'w').write('new')", proof: Proof::Made },
    Attack { name: "delete a file", code: "os.unlink(w['canary'])", proof: Proof::Gone },
    said(
        "read a secret of the caller's environment",
        "assert os.environ['RINGFENCE_BENCH_SECRET']; through()",
    ),
    said("read an open file that was left to it", "assert os.read(9, 7) == b'canary\\n'; through()"),
    said("list the machine's users", "assert len(open('/etc/passwd').readlines()) > 8; through()"),
    said(
        "see a process of the caller's",
        "assert w['marker'] in open(f\"/proc/{w['victim']}/cmdline\").read(); through()",
    ),
    said("signal a process of the caller's", "os.kill(w['victim'], 0); through()"),
    said(
        "trace a process of the caller's",
        "assert libc.ptrace(0x4206, w['victim'], 0, 0) == 0; libc.ptrace(17, w['victim'], 0, 0); through()",
    ),
    said(
        "connect to a TCP port of the machine",
        "socket.create_connection(('127.0.0.1', w['tcp']), 5); through()",
    ),
    Attack {
        name: "send a datagram to the machine",
        code: "socket.socket(2, 2).sendto(b'x', ('127.0.0.1', w['udp']))",
        proof: Proof::Datagram,
    },
    said("connect to a Unix socket by path", "socket.socket(1).connect(w['socket']); through()"),
    said("connect to an abstract Unix socket", "socket.socket(1).connect('\\0' + w['marker']); through()"),
    said("make a user namespace of its own", "call(272, 0x10000000); through()"),
    said("use io_uring", "call(425, 4, ctypes.byref(ctypes.create_string_buffer(120))); through()"),
    said("use the kernel's keyrings", "call(248, b'user', b'x', b'x', 1, -3); through()"),
    said("use userfaultfd", "call(323, 1); through()"),
    said(
        "use perf events",
        "a = ctypes.create_string_buffer(128); a[0] = 1; a[4] = 112; call(298, ctypes.byref(a), 0, -1, -1, 0); through()",
    ),
    said("open a netlink socket", "socket.socket(16, 3, 0); through()"),
    said("take a gigabyte of memory", "b = bytearray(1 << 30); b[::4096] = b'x' * (1 << 18); through()"),
    said(
        "run 600 processes",
        "
import signal, time
children = []
try:
    for _ in range(600):
        child = os.fork()
        if child == 0:
            time.sleep(20); os._exit(0)
        children.append(child)
    through()
finally:
    for child in children: os.kill(child, signal.SIGKILL)",
    ),
    Attack {
        name: "go on after its end",
        code: "
import time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        os.execv('/usr/bin/python3', [w['survivor'], '-I', '-S', '-c', 'import time; time.sleep(20)'])
    os._exit(0)
time.sleep(0.2)",
        proof: Proof::Survivor,
    },
];

/// What became of an attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It got nothing.
    Refused,
    /// It reached what it wanted.
    Through,
    /// It did not run, and why: nothing is said of it.
    NotRun(String),
}

/// What is attacked: files, listeners, a process.
#[derive(Debug)]
pub struct World {
    directory: PathBuf,
    marker: String,
    victim: Child,
    tcp: TcpListener,
    udp: UdpSocket,
    _listeners: [UnixListener; 2],
}

impl World {
    /// Makes everything in `directory`, which no sandbox replaces by one of its own.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let marker = format!("ringfence-bench-{}", std::process::id());
        let mut victim = peers::command("sh");
        victim.args(["-c", "read line", &marker]).stdin(Stdio::piped()).stdout(Stdio::null());
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        udp.set_nonblocking(true)?;
        let socket = directory.join("socket");
        let by_path = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let abstract_name = SocketAddr::from_abstract_name(&marker)?;
        Ok(Self {
            directory: directory.to_owned(),
            victim: victim.spawn()?,
            tcp: TcpListener::bind("127.0.0.1:0")?,
            udp,
            _listeners: [by_path, UnixListener::bind_addr(&abstract_name)?],
            marker,
        })
    }

    fn canary(&self) -> PathBuf {
        self.directory.join("canary")
    }

    fn new_file(&self) -> PathBuf {
        self.directory.join("new")
    }

    fn survivor(&self) -> String {
        format!("{}-survivor", self.marker)
    }

    /// The words of a program that makes the attack.
    fn program(&self, attack: Attack) -> io::Result<Vec<String>> {
        let world = serde_json::json!({
            "canary": self.canary(), "new": self.new_file(), "socket": self.directory.join("socket"),
            "victim": self.victim.id(), "marker": self.marker, "survivor": self.survivor(),
            "tcp": self.tcp.local_addr()?.port(), "udp": self.udp.local_addr()?.port(),
        });
        let code = format!("{PRELUDE}{}", attack.code);
        Ok([PYTHON, "-I", "-S", "-c", &code, &world.to_string()].map(str::to_owned).to_vec())
    }

    /// Makes the attack in what `start` gives for its words.
    ///
    /// # Errors
    /// When the world cannot be made as it was.
    pub fn attack(&self, attack: Attack, start: &dyn Fn(&[String]) -> Command) -> io::Result<Outcome> {
        fs::write(self.canary(), "canary\n")?;
        fs::set_permissions(self.canary(), std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        if self.new_file().exists() {
            fs::remove_file(self.new_file())?;
        }
        let mut byte = [0u8; 8];
        while self.udp.recv(&mut byte).is_ok() {}
        let words = self.program(attack)?;
        // Descriptor 9 is left open, as a careless application does.
        let inner = start(&words);
        let mut run = peers::command("/bin/sh");
        run.args(["-c", "exec 9<\"$0\"; exec \"$@\""]).arg(self.canary());
        run.arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            if let Some(value) = value {
                run.env(name, value);
            }
        }
        run.env("RINGFENCE_BENCH_SECRET", "secret").current_dir("/");
        let (said, told) = match run_within(&mut run) {
            Ok(ended) => ended,
            Err(error) => return Ok(Outcome::NotRun(error.to_string())),
        };
        let reached = match attack.proof {
            Proof::Said => said.contains("THROUGH"),
            Proof::Changed => fs::read_to_string(self.canary())? != "canary\n",
            Proof::Made => self.new_file().exists(),
            Proof::Gone => !self.canary().exists(),
            Proof::Datagram => self.udp.recv(&mut byte).is_ok(),
            Proof::Survivor => self.end_survivor()?,
        };
        Ok(match (reached, said.contains("BEGUN")) {
            (true, _) => Outcome::Through,
            (false, true) => Outcome::Refused,
            (false, false) => Outcome::NotRun(told.lines().next().unwrap_or("it said nothing").to_owned()),
        })
    }

    /// Whether something of the attack still runs; ends it.
    fn end_survivor(&self) -> io::Result<bool> {
        std::thread::sleep(SURVIVES);
        let mut found = false;
        for entry in fs::read_dir("/proc")?.flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line.starts_with(self.survivor().as_bytes()) {
                found = true;
                peers::command("kill").arg("-KILL").arg(entry.file_name()).status()?;
            }
        }
        Ok(found)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It waits for a line that never comes; nobody is left to be told that it cannot be killed.
        drop(self.victim.kill().and_then(|()| self.victim.wait()));
    }
}

/// What it wrote to stdout and to stderr; killed at [`WITHIN`].
fn run_within(command: &mut Command) -> io::Result<(String, String)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + WITHIN;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("did not end within {} s", WITHIN.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let (mut said, mut told) = (Vec::new(), Vec::new());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut said)?;
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_end(&mut told)?;
    }
    Ok((String::from_utf8_lossy(&said).into_owned(), String::from_utf8_lossy(&told).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attack_reaches_bare_it_reaches_and_nothing_is_reached_by_nobody() {
        let directory = std::env::temp_dir().join(format!("ringfence-attacks-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let world = World::new(&directory).unwrap();
        let bare = |words: &[String]| {
            let mut command = peers::command(&words[0]);
            command.args(&words[1..]);
            command
        };
        let nothing = |_: &[String]| {
            let mut command = peers::command("/bin/echo");
            command.arg("BEGUN");
            command
        };
        let unwilling = |_: &[String]| peers::command("/bin/false");
        for attack in
            ATTACKS.iter().filter(|attack| attack.proof != Proof::Said || attack.code.contains("canary"))
        {
            assert_eq!(world.attack(*attack, &bare).unwrap(), Outcome::Through, "{}", attack.name);
            assert_eq!(world.attack(*attack, &nothing).unwrap(), Outcome::Refused, "{}", attack.name);
            assert!(
                matches!(world.attack(*attack, &unwilling).unwrap(), Outcome::NotRun(_)),
                "{}",
                attack.name
            );
        }
        drop(world);
        fs::remove_dir_all(&directory).unwrap();
    }
}
