//! STATE-01: `kill -9` at writes, synchronisations and renames of whole commands. Afterwards there is the old state or the
//! new one, no litter, the audit trail is whole, and the home works on.
//!
//! The command runs under strace, which kills whichever thread enters a system call for the k-th time, and so its process.
//! The ordinary test takes a seeded sample of the points; `state_01_every_point` (ignored, part of `cargo xtask soak state`) takes
//! all of them.

use crate::place::{Place, document};
use ringfence_testkit::{Run, post};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What changes anything on the disk. The question mark: not every processor has every name.
pub(crate) const CALLS: &str = "?write,?pwrite64,?fsync,?fdatasync,?syncfs,?rename,?renameat,?renameat2,?unlink,?unlinkat,?mkdir,\
    ?mkdirat,?ftruncate,?fchmod";
/// Points of each step in the ordinary test.
const SAMPLED: usize = 2;
/// A command under strace is slower.
const DEADLINE: Duration = Duration::from_secs(60);

/// One command, and the home that it begins with.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    words: &'static [&'static str],
    prepared: &'static [&'static [&'static str]],
}

const INSTALLED: &[&str] = &["install", "{one}", "--grant-requested"];
const ACTIVE: &[&str] = &["activate", "hostile"];
const GRANT: &[&str] = &["grant", "hostile", "env:read=LANG"];
const UPGRADE: &[&str] = &["upgrade", "{two}"];
const TOKEN: &[&str] = &["token", "create", "--role", "viewer"];

pub(crate) const STEPS: &[Step] = &[
    Step { name: "install", words: &["install", "{one}"], prepared: &[] },
    Step { name: "activate", words: ACTIVE, prepared: &[INSTALLED] },
    Step { name: "grant", words: GRANT, prepared: &[INSTALLED, ACTIVE] },
    Step {
        name: "revoke",
        words: &["revoke", "hostile", "env:read=LANG"],
        prepared: &[INSTALLED, ACTIVE, GRANT],
    },
    Step { name: "config", words: &["config", "set", "hostile", "a=2"], prepared: &[INSTALLED] },
    Step { name: "upgrade", words: UPGRADE, prepared: &[INSTALLED, ACTIVE] },
    Step { name: "rollback", words: &["rollback", "hostile"], prepared: &[INSTALLED, ACTIVE, UPGRADE] },
    Step { name: "deactivate", words: &["deactivate", "hostile"], prepared: &[INSTALLED, ACTIVE] },
    Step { name: "uninstall", words: &["uninstall", "hostile"], prepared: &[INSTALLED, ACTIVE] },
    Step { name: "token create", words: TOKEN, prepared: &[INSTALLED] },
    Step { name: "token revoke", words: &["token", "revoke", "{token}"], prepared: &[INSTALLED, TOKEN] },
    // All that is older than when this begins.
    Step { name: "prune", words: &["audit", "prune", "--keep", "1ms"], prepared: &[INSTALLED, ACTIVE] },
];

/// A place with the homes that steps begin with.
pub(crate) struct Trials {
    pub(crate) place: Place,
    one: String,
    two: String,
}

impl Trials {
    pub(crate) fn new() -> Option<Self> {
        if ringfence_testkit::lacks("strace") {
            return None;
        }
        let place = Place::ordinary()?;
        let schema = json!({"config_schema": {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}});
        let named = |version: &str| {
            let mut more = schema.clone();
            (more["name"], more["version"]) = ("hostile".into(), version.into());
            more
        };
        let one = place.hostile("one", &named("1.0.0"), "good");
        let two = place.hostile("two", &named("2.0.0"), "good");
        Some(Self { place, one, two })
    }

    fn words(&self, home: &str, words: &[&str]) -> Vec<String> {
        let place = |word: &&str| match *word {
            "{one}" => self.one.clone(),
            "{two}" => self.two.clone(),
            // The one that there is.
            "{token}" => {
                let listed = self.on(home, &[], &["token", "list", "--json"]);
                document(&listed)[0]["id"].as_str().unwrap().to_owned()
            }
            word => word.to_owned(),
        };
        words.iter().map(place).collect()
    }

    fn home(&self, name: &str) -> PathBuf {
        self.place.world.path("home").join(name)
    }

    /// Runs a command on one of the homes.
    pub(crate) fn on(&self, home: &str, prefix: &[&str], words: &[&str]) -> Run {
        let words = self.words(home, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let home = self.home(home).to_string_lossy().into_owned();
        self.place.job(&words).env("RINGFENCE_HOME", &home).through(prefix).deadline(DEADLINE).run()
    }

    /// Makes the home that a step begins with.
    pub(crate) fn prepare(&self, step: &Step) {
        std::fs::remove_dir_all(self.home("begin")).ok();
        self.on("begin", &[], &["list"]).expect_code(0);
        for words in step.prepared {
            self.on("begin", &[], words).expect_code(0);
        }
    }

    /// A fresh copy of it.
    pub(crate) fn copy(&self) {
        self.remove();
        let (from, to) = (self.home("begin"), self.home("trial"));
        let paths = [from.to_string_lossy().into_owned(), to.to_string_lossy().into_owned()];
        self.place.world.bare_program(&["/bin/cp", "-a", &paths[0], &paths[1]]).run().expect_code(0);
    }

    fn remove(&self) {
        let trial = self.home("trial").to_string_lossy().into_owned();
        self.place
            .world
            .bare_program(&["/bin/sh", "-c", "chmod -R u+w \"$0\" 2>&-; rm -rf \"$0\"", &trial])
            .run()
            .expect_code(0);
    }

    /// Runs the step on a fresh copy, under strace with these options.
    pub(crate) fn step(&self, step: &Step, options: &[&str]) -> Run {
        self.copy();
        let prefix = [&["/usr/bin/strace", "-f", "-qq"][..], options].concat();
        self.on("trial", &prefix, &[step.words, &["--json"]].concat())
    }

    /// How often each call is made at most by one thread: strace counts for each thread by itself.
    pub(crate) fn counts(&self, step: &Step) -> BTreeMap<String, usize> {
        let trace = self.place.world.path("out/trace").to_string_lossy().into_owned();
        self.step(step, &["-o", &trace, "-e", &format!("trace={CALLS}")]).expect_code(0);
        let mut by_thread: BTreeMap<(String, String), usize> = BTreeMap::new();
        for line in self.place.world.text("out/trace").lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
            // A number that exists nowhere, which the self-check of a sandbox tries: strace has no name to inject at.
            if call.starts_with("syscall_") {
                continue;
            }
            *by_thread.entry((thread.to_owned(), call.to_owned())).or_default() += 1;
        }
        let mut most = BTreeMap::new();
        for ((_, call), count) in by_thread {
            let entry: &mut usize = most.entry(call).or_default();
            *entry = count.max(*entry);
        }
        most
    }

    /// Everything that somebody can see of the trial's home, after its recovery.
    pub(crate) fn state(&self) -> Value {
        let look = |words: &[&str]| {
            let run = self.on("trial", &[], words);
            run.expect_code(0);
            serde_json::from_slice::<Value>(&run.stdout).unwrap()
        };
        let list = look(&["list", "--json"]);
        look(&["audit", "verify", "--json"]);
        assert!(post::names(&self.home("trial/staging")).is_empty(), "staging is cleared");
        let Some(plugin) = list.as_array().unwrap().first() else {
            for name in ["store", "data", "kept"] {
                let left = post::names(&self.home("trial").join(name));
                assert!(left.is_empty(), "{name} holds {left:?} of nobody");
            }
            return json!("nothing");
        };
        let shown = look(&["show", "hostile", "--json"]);
        json!({
            "version": plugin["version"], "state": plugin["state"], "pending": shown["pending"]["version"],
            "grants": look(&["grants", "hostile", "--json"]).as_array().unwrap().len(),
            "config": look(&["config", "get", "hostile", "--json"]),
            "tokens": look(&["token", "list", "--json"]).as_array().unwrap().len(),
            "first": look(&["audit", "list", "--oldest-first", "--limit", "1", "--json"])["records"][0]["seq"],
        })
    }

    /// Whether a command that was cut off may leave this: the old state, the new one, or one between two durable steps of it.
    pub(crate) fn is_whole(&self, step: &Step, found: &Value, old: &Value, new: &Value) -> bool {
        let mut between = old.clone();
        let mut calm = found.clone();
        if found["state"] == "errored" {
            // Where only the launcher was killed, the command lived on and says truly that the start failed.
            calm["state"] = "active".into();
        }
        match step.name {
            // It is installed, and since it asks for nothing that is consented to.
            "install" => {
                return found == old || found == new || found["state"] == "installed" && found["grants"] == 0;
            }
            // The new version is noted before it takes over.
            "upgrade" => between["pending"] = "2.0.0".into(),
            // It is stopped, and then removed.
            "uninstall" => between["state"] = "inactive".into(),
            _ => {}
        }
        calm == *old || calm == *new || calm == between
    }

    /// The home works on: what is installed can be called or activated, and be uninstalled without a trace.
    pub(crate) fn works_on(&self, found: &Value) {
        if *found == json!("nothing") {
            self.on("trial", &[], INSTALLED).expect_code(0);
        } else if matches!(found["state"].as_str(), Some("active" | "errored")) {
            self.on("trial", &[], &["call", "hostile", "ok"]).expect_code(0);
        }
        self.on("trial", &[], &["uninstall", "hostile"]).expect_code(0);
        assert_eq!(self.state(), json!("nothing"));
    }
}

/// A call, and for which time a thread makes it.
pub(crate) type Point = (String, usize);

/// The same points each time: a linear congruential generator (Knuth).
pub(crate) struct Chosen(pub(crate) u64);

impl Chosen {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most.max(1)
    }

    /// Some of these.
    pub(crate) fn some(&mut self, mut all: Vec<Point>, count: usize) -> Vec<Point> {
        let mut taken = Vec::new();
        while taken.len() < count && !all.is_empty() {
            taken.push(all.swap_remove(self.below(all.len())));
        }
        taken
    }
}

/// All points of a step.
pub(crate) fn points(counts: &BTreeMap<String, usize>) -> Vec<Point> {
    counts.iter().flat_map(|(call, most)| (1..=*most).map(move |k| (call.clone(), k))).collect()
}

/// Kills at the chosen points until `enough` have met the command; gives how many did, and how many of all that were tried left
/// the new state. How often a thread makes a call differs from run to run, so a late point may not be reached.
fn kill_at(
    step: &Step,
    enough: usize,
    choose: &mut dyn FnMut(Vec<Point>) -> Vec<Point>,
) -> Option<(usize, usize)> {
    let trials = Trials::new()?;
    trials.prepare(step);
    trials.copy();
    let old = trials.state();
    let counts = trials.counts(step);
    let new = trials.state();
    assert_ne!(old, new, "{} does something", step.name);
    let (mut tried, mut done, mut killed) = (0, 0, 0);
    for (call, k) in choose(points(&counts)) {
        if killed == enough {
            break;
        }
        let inject = format!("inject={call}:signal=SIGKILL:when={k}");
        let run = trials.step(step, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        let found = trials.state();
        let at = format!("{} killed at {call} {k}", step.name);
        assert!(trials.is_whole(step, &found, &old, &new), "{at}: {found}\nold {old}\nnew {new}\n{run}");
        assert!(run.code != Some(0) || found == new, "{at}: answered, and not done\n{run}");
        if tried % 2 == 0 {
            trials.works_on(&found);
        }
        tried += 1;
        killed += usize::from(run.signal == Some(9));
        done += usize::from(found == new);
    }
    assert!(killed * 3 >= tried, "{}: {killed} of {tried} were killed at all", step.name);
    Some((killed, done))
}

#[test]
fn state_01_killed_at_some_points_there_is_the_old_state_or_the_new_one() {
    let mut chosen = Chosen(0x5eed);
    for step in STEPS {
        let mut some = |all| chosen.some(all, SAMPLED * 3);
        let Some((killed, _)) = kill_at(step, SAMPLED, &mut some) else { return };
        assert_eq!(killed, SAMPLED, "{}", step.name);
    }
}

#[test]
#[ignore = "takes long; `cargo xtask soak state` runs it"]
fn state_01_every_point() {
    for step in STEPS {
        let Some((killed, done)) = kill_at(step, usize::MAX, &mut |all| all) else { return };
        ringfence_testkit::say(&format!(
            "{}: killed at {killed} points, {done} left the new state",
            step.name
        ));
    }
}
