//! STATE-01 over HTTP: `kill -9` of the daemon at writes, synchronisations and renames of each change. A daemon that is started
//! afterwards has the old state or the new one, what was answered is there, the audit trail is whole, and there is no litter.
//!
//! strace is attached to a daemon that is ready and kills whichever thread enters a system call for the k-th time. The ordinary
//! test takes a seeded sample of the points; `state_01_every_point_of_the_daemon` (ignored, part of `cargo xtask soak state`)
//! takes all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

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

/// One change over HTTP.
struct Step {
    name: &'static str,
    /// Commands that make the home it begins with.
    prepared: &'static [&'static [&'static str]],
    /// Method and path; `{token}` is the number of the one token that there is.
    request: &'static str,
    body: Sent,
    /// A request that leaves a state between the old and the new one, which a kill may leave as well.
    between: Option<(&'static str, Sent)>,
}

#[derive(Clone, Copy)]
enum Sent {
    Nothing,
    Document(&'static str),
    /// The package of this version, as an archive.
    Package(&'static str),
}

const INSTALLED: &[&str] = &["install", "notes-1.0.0", "--grant-requested"];
const ACTIVE: &[&str] = &["activate", "notes"];
const UPGRADED: &[&str] = &["upgrade", "notes-2.0.0", "--grant-requested"];
const TOKEN: &[&str] = &["token", "create", "--role", "viewer"];

const STEPS: &[Step] = &[
    Step {
        name: "install",
        prepared: &[],
        request: "POST /api/v1/plugins",
        body: Sent::Package("1.0.0"),
        between: None,
    },
    Step {
        name: "grants",
        prepared: &[INSTALLED, ACTIVE],
        request: "PUT /api/v1/plugins/notes/grants",
        body: Sent::Document(r#"{"permissions": ["env:read=LANG"]}"#),
        between: None,
    },
    Step {
        name: "config",
        prepared: &[INSTALLED],
        request: "PUT /api/v1/plugins/notes/config",
        body: Sent::Document(r#"{"language": "fr"}"#),
        between: None,
    },
    Step {
        name: "activate",
        prepared: &[INSTALLED],
        request: "POST /api/v1/plugins/notes/activate",
        body: Sent::Nothing,
        between: None,
    },
    Step {
        name: "deactivate",
        prepared: &[INSTALLED, ACTIVE],
        request: "POST /api/v1/plugins/notes/deactivate",
        body: Sent::Nothing,
        between: None,
    },
    Step {
        name: "upgrade",
        prepared: &[INSTALLED, ACTIVE],
        request: "POST /api/v1/plugins/notes/upgrade?grant_requested=true",
        body: Sent::Package("2.0.0"),
        between: Some(("POST /api/v1/plugins/notes/upgrade", Sent::Package("2.0.0"))),
    },
    Step {
        name: "rollback",
        prepared: &[INSTALLED, ACTIVE, UPGRADED],
        request: "POST /api/v1/plugins/notes/rollback",
        body: Sent::Nothing,
        between: None,
    },
    Step {
        name: "uninstall",
        prepared: &[INSTALLED, ACTIVE],
        request: "DELETE /api/v1/plugins/notes",
        body: Sent::Nothing,
        between: None,
    },
    Step {
        name: "token create",
        prepared: &[],
        request: "POST /api/v1/tokens",
        body: Sent::Document(r#"{"role": "operator"}"#),
        between: None,
    },
    Step {
        name: "token revoke",
        prepared: &[TOKEN],
        request: "DELETE /api/v1/tokens/{token}",
        body: Sent::Nothing,
        between: None,
    },
];

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
        remove(&world.path("begin"));
        let prepare = |words: &[&str]| {
            let ran = world.command(words).env("RINGFENCE_HOME", world.path("begin")).output().unwrap();
            assert!(ran.status.success(), "{}: {words:?} {ran:?}", step.name);
        };
        prepare(&["list"]);
        step.prepared.iter().for_each(|words| prepare(words));
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
        trial.between = step.between.map(|(request, body)| {
            trial.copy();
            let daemon = trial.daemon();
            let answer = trial.ask(request, body);
            assert!(answer.is_some_and(|(status, _)| status < 300), "{}: {request}", step.name);
            assert_eq!(daemon.end("TERM").code, Some(0));
            trial.state()
        });
        trial.copy();
        let trace = world.path("trace");
        let daemon = trial.daemon();
        let strace =
            Strace::attach(&daemon, &["-o", trace.to_str().unwrap(), "-e", &format!("trace={CALLS}")]);
        let answer = trial.ask(step.request, step.body);
        assert!(answer.as_ref().is_some_and(|(status, _)| *status < 300), "{}: {answer:?}", step.name);
        drop(strace);
        assert_eq!(daemon.end("TERM").code, Some(0));
        trial.new = trial.state();
        assert_ne!(trial.old, trial.new, "{} does something", step.name);
        trial.counts = counts(&std::fs::read_to_string(trace).unwrap());
        trial
    }

    /// A fresh copy of the home that the step begins with.
    fn copy(&self) {
        remove(&self.home());
        let copied = Command::new("cp").arg("-a").args([self.world.path("begin"), self.home()]).status();
        assert!(copied.unwrap().success());
    }

    fn home(&self) -> PathBuf {
        self.world.path("trial")
    }

    fn daemon(&self) -> Daemon {
        let mut command = self.world.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        command.env("RINGFENCE_HOME", self.home());
        Daemon::of(command)
    }

    fn ask(&self, request: &str, body: Sent) -> Option<(u16, Value)> {
        let stream = || {
            let stream = UnixStream::connect(self.home().join("daemon.sock")).unwrap();
            stream.set_read_timeout(Some(LONGEST)).unwrap();
            stream
        };
        let mut request = request.to_owned();
        if request.contains("{token}") {
            let (_, tokens) = ask(stream(), "GET /api/v1/tokens", "application/json", b"")?;
            request = request.replace("{token}", tokens[0]["id"].as_str()?);
        }
        match body {
            Sent::Nothing => ask(stream(), &request, "application/json", b""),
            Sent::Document(text) => ask(stream(), &request, "application/json", text.as_bytes()),
            Sent::Package(version) => {
                let mut tar = tar::Builder::new(Vec::new());
                tar.append_dir_all(".", self.world.path(&format!("notes-{version}"))).unwrap();
                ask(stream(), &request, "application/x-tar", &tar.into_inner().unwrap())
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
        }
        for token in get("/tokens").as_array().unwrap() {
            writeln!(text, "token {}", token["role"]).unwrap();
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
        let answer = self.ask(self.step.request, self.step.body);
        drop(strace);
        let killed = daemon.end_if_alive();
        let found = self.state();
        let (step, is_new) = (self.step.name, found == self.new);
        assert!(
            is_new || found == self.old || self.between.as_ref() == Some(&found),
            "{step}, killed at {call} {k}:\n{found}\nold:\n{}\nnew:\n{}",
            self.old,
            self.new
        );
        let answered = answer.is_some_and(|(status, _)| status < 300);
        assert!(is_new || !answered, "{step}, killed at {call} {k}: answered, and not done");
        (killed, is_new)
    }

    fn kill_at(&self, points: impl IntoIterator<Item = (String, usize)>) -> Tally {
        let mut tally = Tally::default();
        for (call, k) in points {
            let (killed, is_new) = self.kill(&call, k);
            tally.tried += 1;
            tally.killed += usize::from(killed);
            tally.done += usize::from(is_new);
        }
        tally
    }

    fn points(&self) -> Vec<(String, usize)> {
        let all = self.counts.iter();
        all.flat_map(|(call, most)| (1..=*most).map(move |k| (call.clone(), k))).collect()
    }
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
}

#[test]
fn state_01_a_daemon_killed_at_some_points_has_the_old_state_or_the_new_one() {
    if ringfence_testkit::lacks("strace") {
        return;
    }
    let Some(world) = World::new() else { return };
    packages(&world);
    let mut seed: u64 = 0x5eed;
    let mut random = |below: usize| {
        // A linear congruential generator (Knuth): the same points each time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut all = Tally::default();
    for step in STEPS {
        let trial = Trial::new(&world, step);
        let points = trial.points();
        let chosen: Vec<_> = (0..SAMPLED).map(|_| points[random(points.len())].clone()).collect();
        let tally = trial.kill_at(chosen);
        (all.tried, all.killed) = (all.tried + tally.tried, all.killed + tally.killed);
    }
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
    for step in STEPS {
        let trial = Trial::new(&world, step);
        let tally = trial.kill_at(trial.points());
        assert!(tally.done > 0 && tally.killed * 2 >= tally.tried, "{}: {tally:?}", step.name);
        println!(
            "{}: killed at {} points, {} of them left the new state",
            step.name, tally.killed, tally.done
        );
    }
}
