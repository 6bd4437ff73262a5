//! `kill -9` at every write, synchronisation and rename of a durable step: afterwards there is the old state or the new
//! one, nothing else is left, and nothing that was there is lost.
//!
//! The step runs in a process of its own, this test binary once more, under `strace`, which kills it when a thread enters a
//! system call for the k-th time. What to do stands in the file `job` of its working directory. The ordinary test takes a
//! seeded sample of the points; `every_point` (ignored, part of the soak) takes all.

use super::check::check;
use super::upgrade::Staged;
use super::*;
use crate::lock::{HomeLock, LifecycleLock};
use crate::store::{AuditFilter, Consent, KeepData, Places, Store, UpgradeGrants};
use crate::{Error, Home};
use ringfence_api::PluginName;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the steps use to change anything. The question mark: not every processor has every name.
const CALLS: [&str; 16] = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "symlinkat",
    "ftruncate",
    "fchmod",
    "flock",
];
/// The ordinary test kills at one point of one in so many calls of each step.
const SAMPLE_ONE_IN: usize = 4;

const STEPS: [&str; 12] = [
    "open",
    "install",
    "archive",
    "consent",
    "grant",
    "revoke",
    "config",
    "stage",
    "commit",
    "rollback",
    "uninstall",
    "keep",
];

fn name() -> PluginName {
    "notes".parse().unwrap()
}

fn package(dir: &Path, version: &str) -> PathBuf {
    let path = dir.join(version);
    fs::create_dir_all(path.join("src")).unwrap();
    let manifest = format!(
        r#"{{"name": "notes", "version": "{version}", "runtime": "python", "entry_point": "src/main.py"}}"#
    );
    fs::write(path.join("plugin.json"), manifest).unwrap();
    fs::write(path.join("src/main.py"), "pass\n").unwrap();
    if !path.join("link").exists() {
        std::os::unix::fs::symlink("src/main.py", path.join("link")).unwrap();
    }
    path
}

/// The same package as one file.
fn install_archive(store: &Store, dir: &Path) -> Result<(), Error> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in ["plugin.json", "src/main.py"] {
        tar.append_path_with_name(package(dir, "1.0.0").join(file), file).unwrap();
    }
    let archive = tar.into_inner().unwrap();
    let unpacked = crate::package::unpack(archive.as_slice(), "p.tar".as_ref(), store.layout())?;
    let origin = Origin::Unpacked { package: &unpacked, name: "p.tar".as_ref() };
    install(store, origin, &"ada".into(), &|_, _, _| Ok(())).map(drop)
}

fn consent(store: &Store, digest: &str) -> Result<(), Error> {
    let granted = vec!["file:read=/srv/**".parse().unwrap()];
    let consent = Consent {
        digest: digest.to_owned(),
        asked: granted.clone(),
        granted,
        places: Places::new(),
        by: "ada".into(),
    };
    store.consent(&name(), consent).map(drop)
}

fn stage(store: &Store, dir: &Path) -> Result<Staged, Error> {
    stage_upgrade(
        store,
        Origin::Directory(&package(dir, "2.0.0")),
        false,
        &"ada".into(),
        &|_, _, _| Ok(()),
        &|_, _, _| Ok(Vec::new()),
    )
}

fn commit(store: &Store) -> Result<(), Error> {
    let pending = store.plugin(&name())?.unwrap().pending.unwrap();
    let grants = UpgradeGrants::Keep(store.grants(&name())?);
    commit_upgrade(store, &name(), &pending.digest, grants, &"ada".into()).map(drop)
}

/// The state that a step starts from. Relative paths of packages do not matter: they lie in `dir`.
fn set_up(dir: &Path, step: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("job"), step).unwrap();
    package(dir, "1.0.0");
    package(dir, "2.0.0");
    if step == "open" {
        return;
    }
    let store = Store::open(&Home::at(dir.join("home"))).unwrap();
    recover(&store).unwrap();
    if matches!(step, "install" | "archive") {
        return;
    }
    let placed =
        install(&store, Origin::Directory(&package(dir, "1.0.0")), &"ada".into(), &|_, _, _| Ok(())).unwrap();
    fs::write(store.layout().data_dir(&name()).join("file"), "mine").unwrap();
    store.data_put(&placed.row.owner(), "key", b"value".to_vec(), 100, 100_000).unwrap();
    if step != "consent" {
        consent(&store, &placed.row.package.digest).unwrap();
    }
    if matches!(step, "commit" | "rollback") {
        stage(&store, dir).unwrap();
    }
    if step == "rollback" {
        commit(&store).unwrap();
    }
}

fn carry_out(dir: &Path, step: &str) -> Result<(), Error> {
    let home = Home::at(dir.join("home"));
    let store = Store::open(&home)?;
    recover(&store)?;
    match step {
        "open" => Ok(()),
        "install" => {
            install(&store, Origin::Directory(&package(dir, "1.0.0")), &"ada".into(), &|_, _, _| Ok(()))
                .map(drop)
        }
        "archive" => install_archive(&store, dir),
        "consent" => {
            let digest = store.plugin(&name())?.unwrap().package.digest;
            consent(&store, &digest)
        }
        "grant" => {
            store.grant(&name(), vec!["env:read=LANG".parse().unwrap()], Places::new(), "ada").map(drop)
        }
        "revoke" => store.revoke(&name(), vec!["file:read=/srv/**".parse().unwrap()], "ada").map(drop),
        "config" => {
            let owner = store.plugin(&name())?.unwrap().owner();
            store.set_config(&owner, serde_json::json!({"a": 1}), None, "ada").map(drop)
        }
        "stage" => stage(&store, dir).map(drop),
        "commit" => commit(&store),
        "rollback" => rollback(&store, &name(), "by hand", &"ada".into()).map(drop),
        "uninstall" => uninstall(&store, &name(), KeepData::Remove, &"ada".into()),
        "keep" => uninstall(&store, &name(), KeepData::Keep, &"ada".into()),
        other => panic!("no step {other}"),
    }
}

/// Everything that somebody could see, after the recovery.
fn state(dir: &Path) -> String {
    let home = Home::at(dir.join("home"));
    // What a killed process held is free.
    let _lock = HomeLock::daemon(&home, Duration::ZERO).unwrap();
    let store = Store::open(&home).unwrap();
    drop(LifecycleLock::acquire(home.path()).unwrap());
    recover(&store).unwrap();
    let report = check(&store).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let mut text = String::new();
    for row in store.plugins().unwrap() {
        let version = |package: &Option<crate::store::PackageRow>| {
            package.as_ref().map(|package| package.version.to_string())
        };
        let trusted = store.trusted(row.name()).unwrap();
        let grants: Vec<_> = trusted.grants.iter().map(|grant| grant.permission.to_string()).collect();
        let data = fs::read_to_string(store.layout().data_dir(row.name()).join("file")).ok();
        let config = store.config(&row.owner()).unwrap().map(|row| row.value.to_string());
        writeln!(
            text,
            "{} {} {} revision {} previous {:?} pending {:?} grants {grants:?} consent {:?} data {data:?} {:?} config {config:?}",
            row.name(),
            row.package.version,
            row.state,
            row.revision,
            version(&row.previous),
            version(&row.pending),
            trusted.consent.is_some(),
            store.data_get(&row.owner(), "key").unwrap(),
        )
        .unwrap();
    }
    let kept = fs::read_dir(store.layout().kept_dirs())
        .unwrap()
        .map(|dir| fs::read_to_string(dir.unwrap().path().join("file")).ok());
    let events = store.audit_list(&AuditFilter::default(), None, 1_000).unwrap().records;
    let events: Vec<_> = events.into_iter().map(|record| record.event).collect();
    writeln!(text, "kept {:?} {:?} events {events:?}", store.kept_data().unwrap(), kept.collect::<Vec<_>>())
        .unwrap();
    drop(store);
    let mut names: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // The locks stay; staging, packages and the locks of what runs are made when they are first needed, and mean nothing when
    // they are empty.
    names.retain(|name| !matches!(name.as_str(), "staging" | "store" | "running"));
    writeln!(text, "home {names:?}").unwrap();
    text
}

/// Runs the step of `dir` under strace with more options: how it ended, and what it said.
fn traced(dir: &Path, options: &[&str]) -> (std::process::ExitStatus, String) {
    #[expect(clippy::disallowed_methods, reason = "a test kills a process of its own")]
    let mut command = std::process::Command::new("strace");
    command.arg("-f").arg("-qq").args(options).arg(std::env::current_exe().unwrap()).current_dir(dir);
    command.args(["--exact", "lifecycle::durable::kill_tests::child", "--ignored", "-q", "--test-threads=1"]);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&said).into_owned())
}

/// How often each call is made at most by one thread: strace counts for each thread by itself.
fn counts(trace: &str) -> BTreeMap<&str, usize> {
    let mut by_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        *by_thread.entry((thread, call)).or_default() += 1;
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let entry = most.entry(call).or_default();
        *entry = count.max(*entry);
    }
    most
}

/// A step with its two states and the calls that it makes.
struct Trial {
    step: &'static str,
    scratch: tempfile::TempDir,
    /// `None`: there is no home yet.
    old: Option<String>,
    new: String,
    counts: BTreeMap<String, usize>,
}

impl Trial {
    fn new(step: &'static str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let dir = |number: &str| scratch.path().join(number);
        set_up(&dir("old"), step);
        let old = if step == "open" { None } else { Some(state(&dir("old"))) };
        set_up(&dir("new"), step);
        let list: Vec<String> = CALLS.iter().map(|call| format!("?{call}")).collect();
        let all = format!("trace={}", list.join(","));
        let trace = dir("trace");
        let (status, said) = traced(&dir("new"), &["-o", trace.to_str().unwrap(), "-e", &all]);
        assert!(status.success(), "{step}: {said}");
        let new = state(&dir("new"));
        assert_ne!(old.as_ref(), Some(&new), "{step} does something");
        let trace = fs::read_to_string(trace).unwrap();
        let counts = counts(&trace).into_iter().map(|(call, most)| (call.to_owned(), most)).collect();
        Self { step, scratch, old, new, counts }
    }

    /// Does `what` to the step at the k-th `call`; gives whether the new state is there, how it ended and what it said.
    fn disturb(&self, call: &str, k: usize, what: &str) -> (bool, std::process::ExitStatus, String) {
        let place = self.scratch.path().join(format!("{call}-{k}"));
        set_up(&place, self.step);
        let (filter, inject) = (format!("trace={call}"), format!("inject={call}:{what}"));
        let (status, said) = traced(&place, &["-o", "/dev/null", "-e", &filter, "-e", &inject]);
        let found = state(&place);
        let is_new = found == self.new;
        let (step, old, new) = (self.step, &self.old, &self.new);
        assert!(
            is_new || old.as_ref() == Some(&found),
            "{step}, {what} at {call} {k}:\n{found}\nold:\n{old:?}\nnew:\n{new}\n{said}"
        );
        assert!(is_new || !status.success(), "{step}, {what} at {call} {k}: answered, and not done");
        ringfence_sandbox::tree::Dir::open(self.scratch.path())
            .and_then(|dir| dir.remove_tree(place.file_name().unwrap()))
            .unwrap();
        (is_new, status, said)
    }
}

/// What came of killing a step at some points.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    /// How many of them were killed at all: a call may come less often this time.
    killed: usize,
    /// How many left the new state.
    done: usize,
}

/// Kills the step at the points that `choose` takes of `1..=most`.
fn kill_at(step: &'static str, mut choose: impl FnMut(usize) -> Vec<usize>) -> Tally {
    let trial = Trial::new(step);
    let mut tally = Tally::default();
    for (call, most) in &trial.counts {
        for k in choose(*most) {
            let (is_new, status, said) = trial.disturb(call, k, &format!("signal=SIGKILL:when={k}"));
            assert!(status.success() || status.signal() == Some(9), "{step} {call} {k}: {status} {said}");
            tally.tried += 1;
            tally.killed += usize::from(status.signal() == Some(9));
            tally.done += usize::from(is_new);
        }
    }
    tally
}

#[test]
fn a_full_or_failing_disk_is_a_clean_error_and_changes_nothing() {
    if ringfence_testkit::lacks("strace") {
        return;
    }
    let mut refused = 0;
    for step in ["install", "archive", "stage", "config"] {
        let trial = Trial::new(step);
        for (call, error) in [
            ("pwrite64", "ENOSPC"),
            ("fsync", "EIO"),
            ("fdatasync", "EIO"),
            ("mkdirat", "ENOSPC"),
            ("renameat2", "EIO"),
        ] {
            let Some(most) = trial.counts.get(call) else { continue };
            // From there on every one fails: a disk does not get better by itself.
            let k = most.div_ceil(2);
            let (_, status, said) = trial.disturb(call, k, &format!("error={error}:when={k}+"));
            if !status.success() {
                assert!(
                    said.contains("code: Io") || said.contains("code: Busy"),
                    "{step} {call} {k}: {status} {said}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused >= 5, "{refused}");
}

/// The step itself, in the process that is killed.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let dir = std::env::current_dir().unwrap();
    let step = fs::read_to_string(dir.join("job")).unwrap();
    carry_out(&dir, &step).unwrap();
}

#[test]
fn killed_at_some_points_there_is_the_old_state_or_the_new_one() {
    if ringfence_testkit::lacks("strace") {
        return;
    }
    let mut seed: u64 = 0x5eed;
    let mut random = |below: usize| {
        // A linear congruential generator (Knuth): the same points each time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let (mut all, mut killed) = (0, 0);
    for step in STEPS {
        let choose = |most| if random(SAMPLE_ONE_IN) == 0 { vec![1 + random(most)] } else { Vec::new() };
        let tally = kill_at(step, choose);
        (all, killed) = (all + tally.tried, killed + tally.killed);
    }
    assert!(all >= 10 && killed * 10 >= all * 9, "{killed} of {all} were killed at all");
}

#[test]
#[ignore = "takes minutes; part of the soak"]
fn every_point() {
    if ringfence_testkit::lacks("strace") {
        return;
    }
    for step in STEPS {
        let tally = kill_at(step, |most| (1..=most).collect());
        let Tally { tried, killed, done } = tally;
        assert!(step == "open" || (done > 0 && done < tried), "{step}: both states are seen");
        assert!(killed * 10 >= tried * 9, "{step}: {tally:?}");
        println!("{step}: killed at {tried} points, {done} of them left the new state");
    }
}
