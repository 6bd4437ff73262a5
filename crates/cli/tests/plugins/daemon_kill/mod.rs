//! STATE-01 over HTTP: `kill -9` of the daemon at writes, synchronisations and renames of each change. A daemon that is started
//! afterwards has the old state or the new one, what was answered is there, the audit trail is whole and has a record of each change
//! that was made, and there is no litter.
//!
//! `steps` has the changes, `migration` the start that brings an older home to the newest schema. Not here: shortening the audit
//! trail, which no route does (`state_kill.rs` of `tests`), and a hook that a plugin registers while it runs, which is not on the
//! disk. strace is attached to a daemon that is ready and kills whichever thread enters a system call for the k-th time. The ordinary
//! test takes a seeded sample of the points; `state_01_every_point_of_the_daemon` (ignored, part of `cargo xtask soak state`)
//! takes all of them.

mod migration;
mod steps;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::steps::{Act, Between, STEPS, Sent, Step};
use crate::daemon::{Daemon, ask, signal};
use crate::world::World;

/// What changes anything on the disk. The question mark: not every processor has every name.
const CALLS: &str = "?pwrite64,?fsync,?fdatasync,?syncfs,?rename,?renameat,?renameat2,?unlink,?unlinkat,?mkdir,?mkdirat,\
    ?ftruncate,?fchmod";
/// Points of each step in the ordinary test.
const SAMPLED: usize = 2;
/// How long strace may take to let go of what it traces.
const LETTING_GO: Duration = Duration::from_secs(2);
/// Nothing takes longer, under strace too.
const LONGEST: Duration = Duration::from_secs(60);
/// Ends the line before it.
const KEY: &str = "\r\nidempotency-key: once";
/// The records of changes. Those of what runs differ from start to start.
const CHANGES: [&str; 12] = [
    "install",
    "consent",
    "revoke",
    "config",
    "upgrade",
    "rollback",
    "uninstall",
    "activate",
    "deactivate",
    "token_create",
    "token_revoke",
    "policy",
];

/// A call, and for which time a thread makes it.
type Point = (String, usize);

/// One step with the states it may leave.
struct Trial<'a> {
    world: &'a World,
    step: &'a Step,
    old: String,
    between: Option<String>,
    new: String,
    /// How often each call is made at most by one thread: strace counts for each thread by itself.
    counts: BTreeMap<String, usize>,
}

/// What came of killing a step at some points.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    killed: usize,
    done: usize,
}

impl<'a> Trial<'a> {
    fn new(world: &'a World, step: &'a Step) -> Self {
        prepare(world, step.prepared);
        let mut trial = Self {
            world,
            step,
            old: String::new(),
            between: None,
            new: String::new(),
            counts: BTreeMap::new(),
        };
        trial.copy();
        trial.old = trial.state();
        trial.between = match step.between {
            Between::Nothing => None,
            Between::Recorded => Some(trial.old.replace(" activate 0", " activate 1")),
            Between::Request(request, body) => {
                trial.copy();
                let daemon = trial.daemon();
                let answer = trial.ask(request, body);
                assert!(answer.is_some_and(|(status, _)| status < 300), "{}: {request}", step.name);
                assert_eq!(daemon.end("TERM").code, Some(0));
                Some(trial.state())
            }
        };
        trial.copy();
        let trace = world.path("trace");
        let daemon = trial.daemon();
        let strace =
            Strace::attach(&daemon, &["-o", trace.to_str().unwrap(), "-e", &format!("trace={CALLS}")]);
        let answer = trial.act();
        assert!(answer.is_some_and(|status| status < 300), "{}: {answer:?}", step.name);
        drop(strace);
        assert_eq!(daemon.end("TERM").code, Some(0));
        trial.new = trial.state();
        assert_ne!(trial.old, trial.new, "{} does something", step.name);
        if let Act::Keyed(request, body) = step.act {
            trial.again(request, body, true, &trial.new);
        }
        trial.counts = counts(&std::fs::read_to_string(trace).unwrap());
        trial
    }

    /// A fresh copy of the home that the step begins with.
    fn copy(&self) {
        copy(&self.world.path("begin"), &self.home());
    }

    fn home(&self) -> PathBuf {
        self.world.path("trial")
    }

    fn daemon(&self) -> Daemon {
        let mut command = self.world.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        command.env("RINGFENCE_HOME", self.home());
        Daemon::of(command)
    }

    /// Makes the change; gives the status of the answer, `None` when the daemon went away before there was one.
    fn act(&self) -> Option<u16> {
        let text = match self.step.act {
            Act::Request(request, body) => return self.ask(request, body).map(|(status, _)| status),
            Act::Keyed(request, body) => return self.ask_with(request, body, KEY).map(|(status, _)| status),
            Act::Policy(text) => text,
        };
        let new = self.home().join("policy.new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&new, self.home().join("policy.toml")).unwrap();
        let begun = Instant::now();
        loop {
            let (status, page) = self.ask("GET /api/v1/audit?event=policy", Sent::Nothing)?;
            if page["records"].as_array().is_some_and(|records| !records.is_empty()) {
                return Some(status);
            }
            assert!(begun.elapsed() < LONGEST, "the policy is not taken up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a request with a key again, to the next daemon: what was answered is not done again, what was begun at most once.
    fn again(&self, request: &str, body: Sent, was_answered: bool, found: &str) {
        let daemon = self.daemon();
        let (status, answer) = self.ask_with(request, body, KEY).unwrap();
        assert_eq!(daemon.end("TERM").code, Some(0));
        let (name, after) = (self.step.name, self.state());
        if status < 300 {
            assert!(!was_answered, "{name}: answered, and taken for new");
            assert_eq!(after, self.new, "{name}: sent again");
        } else {
            assert_eq!((status, &answer["error"]["code"]), (412, &json!("conflict")), "{name}: {answer}");
            assert_eq!(after, found, "{name}: refused, and done");
        }
    }

    fn ask(&self, request: &str, body: Sent) -> Option<(u16, Value)> {
        self.ask_with(request, body, "")
    }

    /// The same with one more line in its head.
    fn ask_with(&self, request: &str, body: Sent, line: &str) -> Option<(u16, Value)> {
        let stream = || {
            // One that is gone listens no more.
            let stream = UnixStream::connect(self.home().join("daemon.sock")).ok()?;
            stream.set_read_timeout(Some(LONGEST)).unwrap();
            Some(stream)
        };
        let mut request = request.to_owned();
        if request.contains("{token}") {
            let (_, tokens) = ask(stream()?, "GET /api/v1/tokens", "application/json", b"")?;
            request = request.replace("{token}", tokens[0]["id"].as_str()?);
        }
        let media = |media: &str| format!("{media}{line}");
        match body {
            Sent::Nothing => ask(stream()?, &request, &media("application/json"), b""),
            Sent::Document(text) => ask(stream()?, &request, &media("application/json"), text.as_bytes()),
            Sent::Package(version) => {
                let mut tar = tar::Builder::new(Vec::new());
                tar.append_dir_all(".", self.world.path(&format!("notes-{version}"))).unwrap();
                ask(stream()?, &request, &media("application/x-tar"), &tar.into_inner().unwrap())
            }
        }
    }

    /// Everything that somebody could see, as a daemon has it that is started now.
    fn state(&self) -> String {
        let daemon = self.daemon();
        let get = |path: &str| {
            let answer = self.ask(&format!("GET /api/v1{path}"), Sent::Nothing).unwrap();
            assert_eq!(answer.0, 200, "{path}: {}", answer.1);
            answer.1
        };
        let verdict = get("/audit/verify");
        assert!(verdict.get("first_bad").is_some_and(Value::is_null), "{verdict}");
        let mut text = String::new();
        for plugin in get("/plugins").as_array().unwrap() {
            let name = plugin["name"].as_str().unwrap();
            let shown = get(&format!("/plugins/{name}"));
            let grants = get(&format!("/plugins/{name}/grants"));
            let grants: Vec<_> =
                grants.as_array().unwrap().iter().map(|grant| &grant["permission"]).collect();
            let config = get(&format!("/plugins/{name}/config"));
            let (version, state, waits) = (&shown["version"], &shown["state"], &shown["pending"]["version"]);
            writeln!(text, "{name} {version} {state} waits {waits} grants {grants:?} config {config}")
                .unwrap();
            if name == "keeper" && state == "active" {
                let kept =
                    self.ask("POST /api/v1/plugins/keeper/call", Sent::Document(r#"{"tool": "count"}"#));
                writeln!(text, "kept {}", kept.unwrap().1["result"]).unwrap();
            }
        }
        for hook in get("/hooks").as_array().unwrap() {
            writeln!(text, "hook {} {}", hook["plugin"], hook["event"]).unwrap();
        }
        for token in get("/tokens").as_array().unwrap() {
            writeln!(text, "token {}", token["role"]).unwrap();
        }
        let records = get("/audit?limit=1000");
        let records = records["records"].as_array().unwrap();
        for change in CHANGES {
            let count = records.iter().filter(|record| record["event"] == change).count();
            write!(text, "{change} {count} ").unwrap();
        }
        assert_eq!(daemon.end("TERM").code, Some(0));
        let count = |below: &str| std::fs::read_dir(self.home().join(below)).map_or(0, Iterator::count);
        assert_eq!(count("staging"), 0, "litter in staging");
        writeln!(text, "packages {} data {} kept {}", count("store"), count("data"), count("kept")).unwrap();
        text
    }

    /// Kills the daemon at the k-th `call`; gives whether it was killed, and whether the new state is there.
    fn kill(&self, call: &str, k: usize) -> (bool, bool) {
        self.copy();
        let daemon = self.daemon();
        let inject = format!("inject={call}:signal=SIGKILL:when={k}");
        let strace =
            Strace::attach(&daemon, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        let answer = self.act();
        drop(strace);
        let killed = daemon.end_if_alive();
        let found = self.state();
        let (step, is_new) = (self.step.name, found == self.new);
        let is_old = found == self.old && !matches!(self.step.act, Act::Policy(_));
        assert!(
            is_new || is_old || self.between.as_ref() == Some(&found),
            "{step}, killed at {call} {k}:\n{found}\nold:\n{}\nnew:\n{}",
            self.old,
            self.new
        );
        let answered = answer.is_some_and(|status| status < 300);
        assert!(is_new || !answered, "{step}, killed at {call} {k}: answered, and not done");
        if let Act::Keyed(request, body) = self.step.act {
            self.again(request, body, answered, &found);
        }
        (killed, is_new)
    }

    fn kill_at(&self, points: impl IntoIterator<Item = Point>) -> Tally {
        let mut tally = Tally::default();
        for (call, k) in points {
            let (killed, is_new) = self.kill(&call, k);
            tally.tried += 1;
            tally.killed += usize::from(killed);
            tally.done += usize::from(killed && is_new);
        }
        tally
    }

    fn points(&self) -> Vec<Point> {
        let all = self.counts.iter();
        all.flat_map(|(call, most)| (1..=*most).map(move |k| (call.clone(), k))).collect()
    }
}

/// Makes the home `begin` with these commands.
fn prepare(world: &World, commands: &[&[&str]]) {
    remove(&world.path("begin"));
    for words in [&[&["list"][..]], commands].concat() {
        let ran = world.command(words).env("RINGFENCE_HOME", world.path("begin")).output().unwrap();
        assert!(ran.status.success(), "{words:?} {ran:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    remove(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn remove(path: &Path) {
    // Packages are read-only.
    Command::new("chmod").args(["-R", "u+w"]).arg(path).stderr(Stdio::null()).status().unwrap();
    std::fs::remove_dir_all(path).ok();
}

fn counts(trace: &str) -> BTreeMap<String, usize> {
    let mut by_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            *by_thread.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let known = most.entry(call.to_owned()).or_default();
        *known = (*known).max(count);
    }
    most
}

/// strace on a running daemon. Dropped, it lets go of it and has ended.
struct Strace(Child);

impl Strace {
    fn attach(daemon: &Daemon, options: &[&str]) -> Self {
        let pid = daemon.pid().to_string();
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &pid])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        // Read to its end, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self(strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let runs = |strace: &mut Child| strace.try_wait().is_ok_and(|status| status.is_none());
        if runs(&mut self.0) && !std::thread::panicking() {
            signal(self.0.id(), "INT");
        }
        // It may wait for a process of a sandbox whose end the kernel has taken on itself; what it traces is let go of with it.
        let begun = Instant::now();
        while runs(&mut self.0) && begun.elapsed() < LETTING_GO {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn packages(world: &World) {
    world.notes();
    let mut asks = world.asks();
    asks.as_array_mut().unwrap().push(json!({"permission": "env:read", "scope": ["TERM"]}));
    world.package("2.0.0", &asks);
    let keeper = world.path("keeper");
    std::fs::create_dir(&keeper).unwrap();
    let manifest = json!({
        "name": "keeper", "version": "1.0.0", "runtime": "native", "entry_point": "keeper.py",
        "tools": [{"name": "add"}, {"name": "count"}], "hooks": [{"event": "onRequest", "kind": "observer"}]
    });
    std::fs::write(keeper.join("plugin.json"), manifest.to_string()).unwrap();
    std::fs::write(keeper.join("keeper.py"), include_str!("../keeper.py")).unwrap();
    std::fs::set_permissions(keeper.join("keeper.py"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn state_01_a_daemon_killed_at_some_points_has_the_old_state_or_the_new_one() {
    if ringfence_testkit::lacks("strace") {
        return;
    }
    let Some(world) = World::new() else { return };
    packages(&world);
    let mut seed: u64 = 0x5eed;
    let mut some = |points: Vec<Point>| -> Vec<Point> {
        let mut one = || {
            // A linear congruential generator (Knuth): the same points each time.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            points[usize::try_from(seed >> 33).unwrap() % points.len()].clone()
        };
        (0..SAMPLED).map(|_| one()).collect()
    };
    let mut all = Tally::default();
    let mut add =
        |tally: &Tally| (all.tried, all.killed) = (all.tried + tally.tried, all.killed + tally.killed);
    for step in STEPS {
        let trial = Trial::new(&world, step);
        add(&trial.kill_at(some(trial.points())));
    }
    add(&migration::kill_at(&world, &mut some));
    // A call may come in another thread this time, or not at all.
    assert!(all.killed * 2 >= all.tried, "{all:?}");
}

#[test]
#[ignore = "takes half an hour; part of the soak"]
fn state_01_every_point_of_the_daemon() {
    if ringfence_testkit::lacks("strace") {
        return;
    }
    let Some(world) = World::new() else { return };
    packages(&world);
    let tell = |name: &str, tally: &Tally| {
        // Processes of sandboxes make calls as well, and are killed instead of the daemon.
        assert!(tally.done > 0 && tally.killed * 3 >= tally.tried, "{name}: {tally:?}");
        println!("{name}: killed at {} points, {} of them left the new state", tally.killed, tally.done);
    };
    for step in STEPS {
        let trial = Trial::new(&world, step);
        tell(step.name, &trial.kill_at(trial.points()));
    }
    tell("migration", &migration::kill_at(&world, |points| points));
}
