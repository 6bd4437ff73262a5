//! Memory, tasks and CPU with each back-end forced.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use ringfence_sandbox::{Access, Backend, Ending, LaunchError, Limits, Plan, Processes, Program, Stdio};

use crate::rig::{self, both, launcher, number, plan, root_only, root_without_users, run};

const MEGABYTE: u64 = 1 << 20;
const SIGKILL: i32 = 9;
const ENOMEM: i32 = 12;

fn has_v1() -> bool {
    ["memory", "pids", "cpu"].iter().all(|name| Path::new("/sys/fs/cgroup").join(name).join("tasks").exists())
}

fn limited(words: &[&str], limits: Limits) -> Plan {
    let mut plan = plan(words);
    plan.processes(Processes::Allowed).limits(limits);
    plan
}

fn forced(backend: Backend) -> Limits {
    Limits { backend, ..Limits::default() }
}

/// What must hold whoever holds it.
fn hold(backend: Backend) {
    let memory = |bytes, megabytes: &str| {
        run(&limited(&["hog", megabytes], Limits { memory_bytes: bytes, ..forced(backend) }))
    };
    let over = memory(Some(64 * MEGABYTE), "200");
    assert_eq!(over.report.limits_by, Some(backend));
    match backend {
        Backend::CgroupV1 => {
            assert_eq!(over.ending, Ending::Signaled(SIGKILL), "{over:?}");
            assert!(over.usage.oom_kills > 0 && over.usage.memory_peak_bytes >= 60 * MEGABYTE, "{over:?}");
            assert!(over.usage.memory_peak_bytes <= 64 * MEGABYTE, "{over:?}");
        }
        // One process is held by RLIMIT_DATA; several together by the look at all of them.
        _ => assert!(over.errno() == Some(ENOMEM) || over.ending != Ending::Exited(0), "{over:?}"),
    }
    assert!(memory(Some(400 * MEGABYTE), "200").is_ok());
    assert!(memory(None, "200").is_ok());

    for kind in ["threads", "forks"] {
        let tasks = |tasks| run(&limited(&[kind, "60"], Limits { tasks, ..forced(backend) }));
        let few = tasks(Some(20));
        assert_eq!(number(&few.text, "made "), 19, "{kind}, the program itself is one of 20: {few:?}");
        if backend == Backend::CgroupV1 {
            assert!(few.usage.task_refusals > 0, "{few:?}");
        }
        assert_eq!(number(&tasks(None).text, "made "), 60);
    }

    let spun = |percent| {
        let run = run(&limited(&["spin", "1500"], Limits { cpu_percent: percent, ..forced(backend) }));
        number(&run.text, "cpu_ms ")
    };
    let half = spun(Some(30));
    assert!((10..=700).contains(&half), "30 % of 1.5 s is 450 ms, but it was {half} ms");
    // This machine has other work too: the best of ten.
    assert!((0..10).any(|_| spun(None) > 700), "without the limit it gets more");
}

#[test]
fn held_by_cgroup_v1() {
    root_only(|| {
        if !has_v1() {
            return rig::skip("cgroup-v1");
        }
        hold(Backend::CgroupV1);
    });
}

/// Directories that an administrator made for the ordinary user, as long as this lives.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    fn make() -> Option<Self> {
        let paths = ["memory", "pids", "cpu"]
            .map(|name| Path::new("/sys/fs/cgroup").join(name).join(format!("ringfence-{}", rig::USER)));
        // Another test may have delegated them at this moment; then they are its to remove.
        if paths.iter().any(|path| path.exists()) {
            return None;
        }
        let made = Self(paths.to_vec());
        for path in &made.0 {
            fs::create_dir(path).unwrap();
            chown(path, Some(rig::USER), Some(rig::USER)).unwrap();
        }
        Some(made)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // The launcher of a process that has just ended removes the leaves that waited for its next sandbox: a moment later.
        let removed = |path: &std::path::PathBuf| fs::remove_dir(path).is_ok() || !path.exists();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
        while !self.0.iter().all(removed) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn as_user(case: &str, role: &str) {
    use std::os::unix::process::CommandExt as _;
    let output = rig::with_role(case, role).uid(rig::USER).gid(rig::USER).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{role}: {text}{errors}");
}

/// A back-end that is demanded and not there is refused; left to choose, the sandbox takes the sampler and says so.
fn refused_by_name() {
    let refused = launcher().launch(&limited(&["true"], forced(Backend::CgroupV1)), Stdio::null().unwrap());
    let error = refused.expect_err("nothing is delegated");
    assert!(error.to_string().contains("not writable for uid 65534") && error.hint().is_some(), "{error}");
    let run = run(&limited(&["true"], Limits::default()));
    assert_eq!(run.report.limits_by, Some(Backend::Sampler));
}

#[test]
fn held_by_a_delegated_cgroup_v1() {
    root_without_users(|| {
        match rig::role().as_deref() {
            Some("delegated") => return hold(Backend::CgroupV1),
            Some(_) => return refused_by_name(),
            None => {}
        }
        if !has_v1() {
            return rig::skip("cgroup-v1");
        }
        let delegated = Delegated::make();
        if delegated.is_some() {
            as_user("limits::held_by_a_delegated_cgroup_v1", "delegated");
        }
        let paths = delegated.as_ref().map(|delegated| delegated.0.clone()).unwrap_or_default();
        drop(delegated);
        assert!(paths.iter().all(|path| !path.exists()), "nothing is left in them");
        if !paths.is_empty() {
            as_user("limits::held_by_a_delegated_cgroup_v1", "not delegated");
        }
    });
}

#[test]
fn held_by_the_sampler() {
    both(|| hold(Backend::Sampler));
}

/// Each process is below the limit, all together are not: the look at all of them ends the run. So does what lies in /tmp.
#[test]
fn the_sampler_counts_all_processes_and_tmp() {
    both(|| {
        let probe = rig::probe();
        let together = format!("for i in 1 2 3 4; do {} hold 40 & done; wait", probe.display());
        let in_tmp = format!("{} write /tmp/large 50000000 && {} hold 30", probe.display(), probe.display());
        for (script, enough) in [(together, 400), (in_tmp, 200)] {
            let with = |megabytes: u64| {
                let mut plan = Plan::new(Program::find("sh".as_ref(), "/".as_ref()).unwrap());
                plan.argument("-c").argument(&script).processes(Processes::Allowed);
                plan.mount(rig::found(&probe), Access::READ);
                plan.limits(Limits { memory_bytes: Some(megabytes * MEGABYTE), ..forced(Backend::Sampler) });
                run(&plan)
            };
            let over = with(70);
            assert_eq!(over.ending, Ending::Killed, "{script}: {over:?}");
            assert!(over.usage.memory_peak_bytes > 70 * MEGABYTE, "{over:?}");
            let below = with(enough);
            assert_eq!(below.ending, Ending::Exited(0), "{script}: {below:?}");
        }
    });
}

#[test]
fn held_by_cgroup_v2() {
    both(|| {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        let all = ["memory", "pids", "cpu"]
            .iter()
            .all(|name| controllers.split_whitespace().any(|has| has == *name));
        if !all {
            let refused =
                launcher().launch(&limited(&["true"], forced(Backend::CgroupV2)), Stdio::null().unwrap());
            assert!(
                matches!(refused, Err(LaunchError::Limits(_))),
                "a back-end that is not there is refused by name"
            );
            return rig::skip("cgroup-v2");
        }
        hold(Backend::CgroupV2);
    });
}

#[test]
fn ticks_tell_what_is_used() {
    both(|| {
        let (stdio, out, errors) = rig::files();
        let mut sandbox = launcher().launch(&limited(&["spin", "600"], Limits::default()), stdio).unwrap();
        let mut seen = 0;
        while sandbox.try_wait().unwrap().is_none() {
            let tick = sandbox.tick();
            assert!(!tick.over_memory);
            seen = seen.max(tick.usage.memory_bytes);
            std::thread::sleep(ringfence_sandbox::TICK);
        }
        let run = rig::finish(sandbox, &out, &errors);
        assert!(seen > 0 && run.usage.memory_peak_bytes > 0, "{run:?}");
        assert!(run.usage.cpu_ms >= 20, "{run:?}");
    });
}
