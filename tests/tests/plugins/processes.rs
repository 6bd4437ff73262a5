//! PROC-17 to PROC-25 for plugins: whatever one does to stay alive it is gone, what it sees is its own, and it is never root.

use crate::place::{Place, refusal};
use ringfence_testkit::{Who, alive_with_marker, post, users};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// What a busy machine adds to a whole command.
const SLACK: Duration = Duration::from_secs(4);

fn forks() -> Value {
    json!({"permissions": [{"permission": "subprocess:execute", "reason": "to work"}]})
}

/// A place whose plugin may make processes, or may not.
fn place(who: Who, may_fork: bool) -> Option<Place> {
    let place = Place::new(who)?;
    place.active("hostile", &if may_fork { forks() } else { json!({}) });
    Some(place)
}

#[test]
fn proc_17_19_what_it_leaves_behind_is_gone_with_it() {
    for who in users() {
        let Some(granted) = place(who, true) else { return };
        let granted = granted.with_witness();
        for how in
            [json!({"how": "daemon"}), json!({"how": "daemon", "deaf": true}), json!({"how": "forkrace"})]
        {
            // `run` looks for every process that carries the marker, for a second after the command has ended.
            let run = granted.run(&["call", "hostile", "act", &how.to_string(), "--json"]);
            let said = if how["how"] == "daemon" { "\"left\"" } else { "\"racing\"" };
            assert_eq!((run.code, run.out().trim()), (Some(0), said), "{how} as {who:?}\n{run}");
            assert!(run.elapsed < Duration::from_secs(6) + SLACK, "{how} as {who:?}\n{run}");
            granted.witness();
        }
        // Without the grant not one is made.
        let Some(denied) = place(who, false) else { return };
        denied.act_refused("hostile", &json!({"how": "daemon"}), 5, "plugin_failed");
        let why = denied.json(&["why", "hostile"]);
        assert!(why.to_string().contains("subprocess:execute"), "as {who:?}: {why}");
        assert_eq!(denied.act("hostile", &json!({"how": "good"})), "right");
    }
}

#[test]
fn proc_17_the_bare_daemon_survives() {
    let Some(place) = Place::ordinary() else { return };
    let program = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.closerange(0, 99)\n        time.sleep(30)\n    os._exit(0)\nos.wait()";
    let run = place.world.bare_program(&["/usr/bin/python3", "-c", program, "{marker}"]).run();
    run.expect_code(0);
    assert!(!alive_with_marker(&place.world.marker).is_empty(), "the control\n{run}");
}

#[test]
fn proc_18_stubborn_plugins_are_killed_in_time() {
    for who in users() {
        let Some(place) = place(who, true) else { return };
        let place = place.with_witness();
        // What is stopped hears no SIGTERM, so nothing is waited for.
        for (how, least) in [("deaf", 3_900), ("stopself", 1_000), ("forkonterm", 3_900)] {
            let words =
                ["call", "hostile", "act", &json!({"how": how}).to_string(), "--timeout", "1s", "--json"];
            let run = place.run(&words);
            refusal(&run, 6, "timeout");
            // A call that was given up is not waited for: SIGTERM at once, SIGKILL 3 s later.
            assert!(run.elapsed > Duration::from_millis(least), "{how} as {who:?}\n{run}");
            assert!(run.elapsed < Duration::from_secs(5) + SLACK, "{how} as {who:?}\n{run}");
        }
        place.witness();
        assert_eq!(place.act("hostile", &json!({"how": "good"})), "right", "the twin");
    }
}

#[test]
fn proc_20_the_dead_are_bounded_and_leave_nothing() {
    let Some(place) = Place::ordinary() else { return };
    let mut asks = forks();
    asks["limits"] = json!({"processes": 40});
    place.active("hostile", &asks);
    let made = place.act("hostile", &json!({"how": "zombies", "count": 10_000}));
    assert!(made.as_i64().unwrap() < 40, "{made}");
    assert_eq!(place.act("hostile", &json!({"how": "zombies", "count": 20})), 20, "the twin");
}

#[test]
fn proc_21_kill_9_of_the_command_ends_the_plugin() {
    for who in users() {
        let Some(place) = place(who, true) else { return };
        for how in [json!({"how": "wait"}), json!({"how": "deaf"}), json!({"how": "stopself"})] {
            let running = place.job(&["call", "hostile", "act", &how.to_string()]).spawn();
            let name = place.entry_point();
            let begun = Instant::now();
            while alive_with_marker(&name).is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(20), "{how} never ran as {who:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
            // Sometimes while it is being built, sometimes while it works.
            std::thread::sleep(Duration::from_millis(if how["how"] == "wait" { 0 } else { 300 }));
            running.signal(9);
            let killed = Instant::now();
            assert!(
                post::wait_until(|| alive_with_marker(&name).is_empty()),
                "{how} as {who:?}: {:?}",
                alive_with_marker(&name)
            );
            assert!(killed.elapsed() < Duration::from_millis(1_500), "{how} as {who:?}");
            assert_eq!(running.finish().signal, Some(9));
            assert_eq!(
                place.act("hostile", &json!({"how": "good"})),
                "right",
                "the next one starts as {who:?}"
            );
        }
    }
}

#[test]
fn proc_24_it_sees_itself_and_nothing_of_the_host() {
    for who in users() {
        let Some(place) = place(who, false) else { return };
        let seen = place.act("hostile", &json!({"how": "posture"}));
        assert!(seen["pids"].as_i64().unwrap() <= 3, "as {who:?}: {seen}");
        assert_eq!((&seen["caps"], &seen["nnp"]), (&json!("0000000000000000"), &json!("1")), "{seen}");
        assert_eq!(seen["seccomp"], "2", "{seen}");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_ne!(seen["hostname"], host.trim(), "as {who:?}");
        // 0 to 2, and the one that lists them.
        assert_eq!(seen["fds"].as_array().unwrap().len(), 4, "as {who:?}: {seen}");
        let environment = seen["environ"].as_object().unwrap();
        assert!(
            !seen.to_string().contains(&place.world.canary) && !environment.contains_key("RF_CANARY"),
            "{seen}"
        );
        assert!(environment.contains_key("RINGFENCE_DATA_DIR"), "{seen}");
        for how in ["sethostname", "settime"] {
            assert_eq!(place.act("hostile", &json!({"how": how})), false, "{how} as {who:?}");
        }
    }
}

#[test]
fn proc_24_shared_memory_of_the_host_is_not_there() {
    for who in users() {
        let Some(place) = place(who, false) else { return };
        let key = 0x5246_0000 + i64::from(std::process::id() % 60_000);
        let host = |act: &str| {
            let program = format!(
                "import ctypes, sys\nlibc = ctypes.CDLL(None)\nsegment = libc.shmget({key}, 4096, {})\n{}\nsys.exit(segment < 0)",
                if act == "make" { "0o1666" } else { "0" },
                if act == "remove" { "libc.shmctl(segment, 0, None)" } else { "" },
            );
            place.world.bare_program(&["/usr/bin/python3", "-c", &program]).run().code
        };
        assert_eq!(host("make"), Some(0));
        assert_eq!(host("look"), Some(0), "the control");
        let found =
            place.run(&["call", "hostile", "act", &json!({"how": "shm", "key": key}).to_string(), "--json"]);
        assert_eq!(host("remove"), Some(0));
        assert_eq!((found.code, found.out().trim()), (Some(0), "false"), "as {who:?}");
    }
}

#[test]
fn proc_25_it_is_never_root_and_its_files_belong_to_the_homes_owner() {
    for who in users() {
        let Some(place) = place(who, false) else { return };
        assert_eq!(place.act("hostile", &json!({"how": "write_data", "name": "mine"})), true);
        let made = place.home("data/hostile/mine").metadata().unwrap();
        let home = place.home("").metadata().unwrap();
        assert_eq!((made.uid(), made.mode() & 0o7000), (home.uid(), 0), "as {who:?}");

        let running = place.job(&["call", "hostile", "act", &json!({"how": "wait"}).to_string()]).spawn();
        let begun = Instant::now();
        let pid = loop {
            if let Some((pid, _)) = alive_with_marker(&place.entry_point()).into_iter().next_back() {
                break pid;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it never ran as {who:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        running.signal(2);
        running.finish().expect_code(130);
        for field in ["Uid:", "Gid:"] {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            assert!(line.split_whitespace().skip(1).all(|id| id != "0"), "as {who:?}: {line}");
        }
        let data = place.home("data/hostile").metadata().unwrap();
        assert_eq!(data.uid(), home.uid());
        // Elsewhere it writes nothing; the twin is granted, and what it makes there belongs to whoever owns the tree.
        let tree = place.world.path("data/grant");
        let outside = tree.join("new");
        if who == Who::Root {
            std::os::unix::fs::chown(&tree, Some(12_345), Some(12_345)).unwrap();
        }
        place.act_refused("hostile", &json!({"how": "write", "path": outside}), 5, "plugin_failed");
        assert!(!outside.exists());
        place.done(&["grant", "hostile", &format!("file:write={}/**", tree.display())]);
        assert_eq!(place.act("hostile", &json!({"how": "write", "path": outside})), "written");
        let (made, owner) = (outside.metadata().unwrap(), tree.metadata().unwrap());
        assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()), "as {who:?}");
        assert_ne!(made.uid(), 0, "never root's, as {who:?}");
    }
}
