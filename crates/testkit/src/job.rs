//! One run: how it is started, how long it may take, and what came out.

use crate::post;
use crate::world::{Backend, Who, World};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a run may take before the harness ends it and fails.
const DEADLINE: Duration = Duration::from_secs(25);
/// How much of a stream is kept, in bytes: what a broken cap lets through must not take the machine down.
const KEEP: usize = 32 << 20;

/// One line that an act printed.
#[derive(Clone, Debug)]
pub struct Act {
    /// The name of the act.
    pub name: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// The error number when it did not.
    pub errno: i64,
    /// What it found.
    pub data: String,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    /// The command line, for the text of a failure.
    pub line: String,
    /// The exit status, or none after a signal.
    pub code: Option<i32>,
    /// The signal that ended the started process itself.
    pub signal: Option<i32>,
    /// Standard output, byte for byte.
    pub stdout: Vec<u8>,
    /// Standard error, byte for byte.
    pub stderr: Vec<u8>,
    /// The document of `--report`; null when there is none.
    pub report: Value,
    /// From start to end, as seen from outside.
    pub elapsed: Duration,
}

impl Run {
    /// The lines that acts printed.
    #[must_use]
    pub fn acts(&self) -> Vec<Act> {
        String::from_utf8_lossy(&self.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|value| {
                Some(Act {
                    name: value.get("act")?.as_str()?.to_owned(),
                    ok: value.get("ok")?.as_bool()?,
                    errno: value.get("errno").and_then(Value::as_i64).unwrap_or(0),
                    data: value.get("data").and_then(Value::as_str).unwrap_or_default().to_owned(),
                })
            })
            .collect()
    }

    /// The last line that an act printed.
    ///
    /// # Panics
    /// When there is none: the program did not run to its end.
    #[must_use]
    pub fn act(&self) -> Act {
        self.acts().pop().unwrap_or_else(|| panic!("no act reported\n{self}"))
    }

    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// A text field of the report; empty when it is null or not there.
    #[must_use]
    pub fn word(&self, field: &str) -> String {
        self.report.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A number of the report.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<i64> {
        self.report.get(field).and_then(Value::as_i64)
    }

    /// Asserts the exit status.
    ///
    /// # Panics
    /// When it is another one.
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "exit status\n{self}");
        self
    }

    /// Asserts exit status and the violation named in the report (empty: none).
    ///
    /// # Panics
    /// When either differs.
    pub fn expect_violation(&self, code: i32, violation: &str) -> &Self {
        self.expect_code(code);
        assert_eq!(self.word("violation"), violation, "violation\n{self}");
        self
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(3000)]).into_owned();
        write!(
            f,
            "  command: {}\n  code {:?} signal {:?} after {:?}\n  stdout ({} bytes): {}\n  stderr ({} bytes): {}\n  report: {}",
            self.line,
            self.code,
            self.signal,
            self.elapsed,
            self.stdout.len(),
            short(&self.stdout),
            self.stderr.len(),
            short(&self.stderr),
            self.report
        )
    }
}

/// A run that is being prepared.
#[derive(Debug)]
pub struct Job<'w> {
    world: &'w World,
    who: Who,
    inside: bool,
    flags: Vec<String>,
    words: Vec<String>,
    prefix: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Option<Vec<u8>>,
    keep_stdin: bool,
    cwd: PathBuf,
    deadline: Duration,
    raw: bool,
    report: bool,
    post: bool,
}

impl World {
    /// `ringfence exec FLAGS --ro BIN -- probe ACT...`, where BIN is the directory of the probe.
    #[must_use]
    pub fn probe(&self, flags: &[&str], act: &[&str]) -> Job<'_> {
        let mut job = self.exec(flags, &["{probe}", "mark={marker}"]);
        job.flags.extend(["--ro".to_owned(), self.fill("{bin}")]);
        job.words.extend(act.iter().map(|word| self.fill(word)));
        job
    }

    /// `ringfence exec FLAGS -- WORDS...`.
    #[must_use]
    pub fn exec(&self, flags: &[&str], words: &[&str]) -> Job<'_> {
        Job {
            world: self,
            who: self.who,
            inside: true,
            flags: flags.iter().map(|word| self.fill(word)).collect(),
            words: words.iter().map(|word| self.fill(word)).collect(),
            prefix: Vec::new(),
            env: Vec::new(),
            stdin: None,
            keep_stdin: false,
            cwd: self.path("data"),
            deadline: DEADLINE,
            raw: false,
            report: true,
            post: true,
        }
    }

    /// Any command line of the product, as it is: `ringfence WORDS...`.
    #[must_use]
    pub fn ringfence(&self, words: &[&str]) -> Job<'_> {
        let mut job = self.exec(&[], words);
        job.raw = true;
        job.report = false;
        job
    }

    /// The probe outside the sandbox, as this world's user.
    #[must_use]
    pub fn bare(&self, act: &[&str]) -> Job<'_> {
        let mut words = vec!["{probe}", "mark={marker}"];
        words.extend(act);
        self.bare_program(&words)
    }

    /// Any program outside the sandbox, as this world's user.
    #[must_use]
    pub fn bare_program(&self, words: &[&str]) -> Job<'_> {
        let mut job = self.exec(&[], words);
        job.inside = false;
        job.report = false;
        job.post = false;
        job
    }
}

impl Job<'_> {
    /// Runs as somebody else than the world's user.
    #[must_use]
    pub fn run_as(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// Sets a variable in the environment that the product is started with.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), self.world.fill(value)));
        self
    }

    /// Forces how limits are held.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        self.env("RINGFENCE_LIMITS_BACKEND", backend.word())
    }

    /// Gives these bytes on standard input, then its end.
    #[must_use]
    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = Some(bytes.to_vec());
        self
    }

    /// Keeps standard input open and silent until the run ends.
    #[must_use]
    pub fn open_stdin(mut self) -> Self {
        self.keep_stdin = true;
        self
    }

    /// Starts in this directory (placeholders allowed).
    #[must_use]
    pub fn cwd(mut self, dir: &str) -> Self {
        self.cwd = PathBuf::from(self.world.fill(dir));
        self
    }

    /// Fails the run when it takes longer than this; 25 s by default.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Starts the command line through another program, which becomes it.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        self.prefix = words.iter().map(|word| self.world.fill(word)).collect();
        self
    }

    /// Leaves `--report` away.
    #[must_use]
    pub fn no_report(mut self) -> Self {
        self.report = false;
        self
    }

    fn words(&self) -> Vec<String> {
        let mut words = self.prefix.clone();
        if self.inside {
            words.push(self.world.rig().ringfence().to_string_lossy().into_owned());
            if !self.raw {
                words.push("exec".to_owned());
                words.extend(self.flags.clone());
                if self.report {
                    words.extend(["--report".to_owned(), self.world.fill("{world}/out/report.json")]);
                }
                words.extend(["--env".to_owned(), format!("RF_MARK={}", self.world.marker), "--".to_owned()]);
            }
        }
        words.extend(self.words.clone());
        words
    }

    /// Starts it and hands it over.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(self) -> Running {
        let before = post::Before::take();
        std::fs::remove_file(self.world.path("out/report.json")).ok();
        let words = self.words();
        #[expect(clippy::disallowed_methods, reason = "the harness starts the product as a stranger would")]
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.cwd).env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.world.path("home"))
            .env("RINGFENCE_HOME", self.world.path("home/state"))
            .env("TMPDIR", self.world.path("tmp"))
            .env("LANG", "C.UTF-8")
            .env("RF_CANARY", &self.world.canary)
            .env("RF_MARK", &self.world.marker)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if self.who == Who::Nobody {
            // Without supplementary groups: the standard library drops them when root sets a uid.
            command.uid(Who::Nobody.uid()).gid(Who::Nobody.uid());
        }
        let piped = self.stdin.is_some() || self.keep_stdin;
        command
            .stdin(if piped { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{words:?} does not start: {error}"));
        let input = child.stdin.take();
        let held = match (input, self.stdin) {
            (Some(mut pipe), Some(bytes)) => {
                // A reader that ends early is no failure of the harness.
                std::thread::spawn(move || pipe.write_all(&bytes).ok());
                None
            }
            (pipe, _) => pipe,
        };
        let out = Stream::collect(child.stdout.take().expect("piped"));
        let err = Stream::collect(child.stderr.take().expect("piped"));
        Running {
            line: words.join(" "),
            child,
            held,
            out,
            err,
            started,
            deadline: self.deadline,
            report: self.world.path("out/report.json"),
            post: self.post.then(|| (before, self.world.marker.clone(), self.world.path("tmp"))),
        }
    }

    /// Runs it to its end and checks the post-conditions.
    ///
    /// # Panics
    /// When it takes too long or leaves something behind.
    #[must_use]
    pub fn run(self) -> Run {
        self.spawn().finish()
    }
}

/// Reads one stream to its end, in the background.
#[derive(Debug)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Stream {
    fn collect(pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::with_capacity(65536, pipe);
            while let Ok(chunk) = pipe.fill_buf() {
                let length = chunk.len();
                if length == 0 {
                    break;
                }
                let mut kept = copy.lock().unwrap();
                let room = KEEP - kept.len();
                kept.extend_from_slice(&chunk[..length.min(room)]);
                drop(kept);
                pipe.consume(length);
            }
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Waits a moment for the end of the stream; false when somebody still holds it.
    fn ended(&self) -> bool {
        let start = Instant::now();
        while !self.reader.is_finished() && start.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.reader.is_finished()
    }
}

/// A run under way. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    held: Option<std::process::ChildStdin>,
    out: Stream,
    err: Stream,
    started: Instant,
    deadline: Duration,
    report: PathBuf,
    post: Option<(post::Before, String, PathBuf)>,
}

impl Running {
    /// The pid of the started process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the started process.
    pub fn signal(&self, signal: i32) {
        assert!(crate::kill(self.child.id(), signal), "no signal {signal} to {}", self.line);
    }

    /// Waits until `word` came on standard output.
    ///
    /// # Panics
    /// When it does not come in 10 s.
    pub fn wait_for(&self, word: &str) {
        for _ in 0..1000 {
            if self.so_far().windows(word.len()).any(|part| part == word.as_bytes()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "`{word}` did not come from: {}\n got: {}",
            self.line,
            String::from_utf8_lossy(&self.so_far())
        );
    }

    /// What came on standard output so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<u8> {
        self.out.so_far()
    }

    /// What came on standard error so far.
    #[must_use]
    pub fn told_so_far(&self) -> String {
        String::from_utf8_lossy(&self.err.so_far()).into_owned()
    }

    /// Writes to standard input that was kept open.
    ///
    /// # Panics
    /// When it was not kept open.
    pub fn write(&mut self, bytes: &[u8]) {
        self.held.as_mut().expect("an open standard input").write_all(bytes).unwrap();
    }

    /// Ends standard input.
    pub fn close_stdin(&mut self) {
        self.held = None;
    }

    /// Waits for the end and checks the post-conditions.
    ///
    /// # Panics
    /// When it takes longer than its deadline, or leaves something behind.
    #[must_use]
    pub fn finish(mut self) -> Run {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.started.elapsed() > self.deadline {
                self.child.kill().ok();
                self.child.wait().ok();
                panic!(
                    "still running after {:?}: {}\n got: {}",
                    self.deadline,
                    self.line,
                    String::from_utf8_lossy(&self.so_far())
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.started.elapsed();
        let (out_ended, err_ended) = (self.out.ended(), self.err.ended());
        let run = Run {
            line: std::mem::take(&mut self.line),
            code: status.code(),
            signal: status.signal(),
            stdout: self.out.so_far(),
            stderr: self.err.so_far(),
            report: std::fs::read(&self.report)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or(Value::Null),
            elapsed,
        };
        assert!(self.post.is_none() || (out_ended && err_ended), "somebody still holds the output\n{run}");
        if let Some((before, marker, tmp)) = self.post.take() {
            let left = before.check(&marker, &tmp);
            assert!(left.is_empty(), "left behind: {left:#?}\n{run}");
        }
        run
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
