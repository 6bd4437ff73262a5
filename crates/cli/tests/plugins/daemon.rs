//! A daemon for a test: started, waited for, and gone at the end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Ran, World};

/// Nothing that a test waits for takes longer.
const LONGEST: Duration = Duration::from_secs(60);

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) ready: Value,
    /// The lines that it writes to standard error, as they come.
    lines: Receiver<String>,
    said: String,
}

impl Daemon {
    /// The daemon of this world's home, on a free port.
    pub(crate) fn start(world: &World) -> Self {
        Self::of(world.command(&["serve", "--listen", "127.0.0.1:0", "--json"]))
    }

    /// What this command starts, when it says that it is ready.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let lines = follow(child.stderr.take().unwrap());
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        if ready["pid"].is_null() {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it is not ready: {line} {}", lines.iter().collect::<String>());
        }
        Self { child, ready, lines, said: String::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens for HTTP.
    pub(crate) fn address(&self) -> String {
        self.ready["addresses"][0].as_str().unwrap().strip_prefix("http://").unwrap().to_owned()
    }

    /// Waits until it says this; gives the line.
    pub(crate) fn says(&mut self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LONGEST).unwrap_or_else(|_| panic!("{words}: {}", self.said));
            self.said.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The other end of its standard input.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end(self, name: &str) -> Ran {
        signal(self.pid(), name);
        self.ended()
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ran {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < LONGEST, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let err = std::mem::take(&mut self.said) + &self.lines.iter().collect::<String>();
        Ran { code: status.code(), out: self.ready.to_string(), err }
    }
}

impl Daemon {
    /// Ends it in order unless it was killed already; gives whether it was.
    pub(crate) fn end_if_alive(mut self) -> bool {
        // A killed process is gone when the kernel says so, which may be a moment after its connections are.
        for _ in 0..20 {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.end("TERM").code, Some(0));
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already where the test came to its end.
        let runs = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_none());
        if runs(&mut self.child) && !std::thread::panicking() {
            signal(self.pid(), "TERM");
            let begun = Instant::now();
            while runs(&mut self.child) && begun.elapsed() < LONGEST {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if runs(&mut self.child) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Reads all the time: a daemon whose log nobody reads would wait.
fn follow(mut stderr: ChildStderr) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stderr.by_ref());
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                line.clear();
            }
        }
    });
    lines
}

/// The whole answer to a request below `/api/v1`.
pub(crate) fn get(address: &str, path: &str, token: Option<&str>) -> String {
    get_at(address, &format!("/api/v1{path}"), token)
}

/// The whole answer to a request for any address.
pub(crate) fn get_at(address: &str, target: &str, token: Option<&str>) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{token}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The answer to one request: status and document; `None` when the daemon went away before all of it was there.
pub(crate) fn ask(
    mut stream: impl std::io::Read + std::io::Write,
    request: &(impl AsRef<str> + ?Sized),
    media: &str,
    body: &[u8],
) -> Option<(u16, Value)> {
    let head = format!(
        "{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
        request.as_ref(),
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

pub(crate) fn alive(pid: u32) -> bool {
    // A process that nobody has waited for yet has ended, too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|fields| !fields.is_empty() && !fields.starts_with('Z'))
}

/// Waits until it is so.
pub(crate) fn within(mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONGEST, "it has not become so");
        std::thread::sleep(Duration::from_millis(5));
    }
}
