//! PROC-01 to PROC-06, PROC-20, PROC-24: execution, environment, signals, and what the kernel shares between processes.

use ringfence_testkit::{Case, Who, World, alive_with_marker, lacks, users};

const EXECUTE: &[&str] = &["--grant", "subprocess:execute", "--ro", "{grant}"];

fn programs(world: &World) {
    world.put_probe("data/grant/other");
    world.put_script("data/grant/script", "#!{probe} hello\n");
}

#[test]
fn proc_01_nothing_else_is_executed() {
    let acts: [&[&str]; 7] = [
        &["exec", "{grant}/other", "hello"],
        &["exec", "{probe}", "hello"],
        &["exec", "/proc/self/exe", "hello"],
        &["exec", "{grant}/script"],
        &["execveat", "{grant}/other", "hello"],
        &["exec", "/bin/echo", r#"{"act":"echo","ok":true}"#],
        &["spawn", "{grant}/other", "hello"],
    ];
    for act in acts {
        Case::new("proc_01", act).setup(programs).denied(&["--ro", "{grant}"]).granted(EXECUTE).check();
    }
}

#[test]
fn proc_01_the_loader_runs_nothing() {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    if lacks(loader) {
        return;
    }
    let act = &["exec", loader, "/bin/echo", r#"{"act":"echo","ok":true}"#];
    Case::new("proc_01 loader", act).denied(&["--ro", "{grant}"]).granted(EXECUTE).check();
}

#[test]
fn proc_01_descriptor_tricks() {
    Case::new("proc_01 memfd", &["memfdexec", "{grant}/other", "hello"])
        .setup(programs)
        .denied(&["--ro", "{grant}"])
        .check();
    Case::new("proc_01 memfd, granted", &["memfdexec", "{grant}/other", "hello"])
        .setup(programs)
        .denied(EXECUTE)
        .check();
    Case::new("proc_01 dup", &["execveat-dup", "{grant}/other", "hello"])
        .setup(programs)
        .denied(&["--ro", "{grant}"])
        .granted(EXECUTE)
        .check();
}

#[test]
fn proc_01_no_process_but_threads() {
    for act in ["fork", "vfork"] {
        Case::new("proc_01", &[act]).denied(&[]).granted(EXECUTE).check();
    }
    // clone3 hides its flags behind a pointer: it is always ENOSYS, and libraries fall back to clone.
    Case::new("proc_01 clone3", &["clone3"]).denied(&[]).errnos(&[38]).check();
    for who in users() {
        let run = World::new(who).probe(&[], &["thread", "16"]).run();
        assert!(run.act().ok, "threads need no grant, as {who:?}\n{run}");
    }
}

#[test]
fn proc_01_a_writable_tree_is_not_executed() {
    let act = &["exec", "{grant}/other", "hello"];
    Case::new("noexec", act)
        .setup(programs)
        .denied(&["--rw", "{grant}", "--grant", "subprocess:execute"])
        .granted(&["--rw", "{grant}", "--grant", "subprocess:execute={grant}/**"])
        .check();
    let loader = "/lib64/ld-linux-x86-64.so.2";
    if !lacks(loader) {
        let act = &["exec", loader, "{grant}/echo", r#"{"act":"echo","ok":true}"#];
        Case::new("noexec by the loader", act)
            .may_die()
            .setup(|world| {
                world.put_program(std::path::Path::new("/bin/echo"), "data/grant/echo");
            })
            .denied(&["--rw", "{grant}", "--grant", "subprocess:execute"])
            .granted(&["--rw", "{grant}", "--grant", "subprocess:execute={grant}/**"])
            .check();
    }
}

#[test]
fn a_program_outside_the_base_is_granted_by_its_file() {
    for who in users() {
        let world = World::new(who);
        world.put_probe("data/tool");
        let refused = world.exec(&[], &["{data}/tool", "hello"]).run();
        refused.expect_code(127);
        assert!(refused.err().contains("--ro"), "names the grant, as {who:?}\n{refused}");
        for name in ["{data}/tool", "./tool"] {
            let run = world.exec(&["--ro", "{data}/tool"], &[name, "list", "{data}"]).run();
            assert!(
                run.act().ok && run.act().data.trim() == "tool",
                "its neighbours stay absent, as {who:?}\n{run}"
            );
        }
    }
}

#[test]
fn proc_03_proc_04_the_environment_is_cleared() {
    for who in users() {
        let world = World::new(who);
        let job = |flags: &[&str]| {
            let mut job = world.probe(flags, &["environ"]).env("RF_PLAIN", "plain-value");
            for name in [
                "LD_PRELOAD_X",
                "GLIBC_TUNABLES",
                "BASH_ENV",
                "NODE_OPTIONS",
                "PYTHONSTARTUP",
                "GIT_SSH_COMMAND",
            ] {
                job = job.env(name, "{canary}");
            }
            job
        };
        let bare = world.bare(&["environ"]).run();
        assert!(bare.out().contains(&world.canary), "bare\n{bare}");
        let run = job(&[]).run();
        assert!(run.act().ok && !run.out().contains(&world.canary), "as {who:?}\n{run}");
        for name in
            ["RF_PLAIN", "GLIBC_TUNABLES", "BASH_ENV", "NODE_OPTIONS", "PYTHONSTARTUP", "RINGFENCE_HOME"]
        {
            assert!(!run.act().data.contains(name), "{name} as {who:?}\n{run}");
        }
        assert!(!run.act().data.contains(&*world.path("tmp").to_string_lossy()), "TMPDIR as {who:?}\n{run}");
        assert!(
            !run.act().data.contains(&*world.path("home").to_string_lossy()),
            "the home's path, as {who:?}\n{run}"
        );
        let set = job(&["--env", "RF_PLAIN=set-here"]).run();
        assert!(set.act().data.contains("RF_PLAIN=set-here"), "--env as {who:?}\n{set}");
        let granted = job(&["--grant", "env:read=RF_PLAIN"]).run();
        assert!(granted.act().data.contains("RF_PLAIN=plain-value"), "env:read as {who:?}\n{granted}");
        assert!(!granted.out().contains(&world.canary), "{granted}");
    }
}

#[test]
fn proc_06_signals_do_not_leave() {
    const WINCH: &str = "28";
    for who in users() {
        let world = World::new(who);
        let other = World::new(who);
        let mut witness = other.bare(&["witness", WINCH]).open_stdin().spawn();
        witness.wait_for("ready");
        let pid = witness.pid().to_string();
        for act in ["kill", "tgkill", "sigqueue", "pidfdkill", "setown"] {
            let run = world.probe(&["--grant", "subprocess:execute"], &[act, &pid, WINCH]).run();
            assert!(!run.act().ok, "{act} as {who:?}\n{run}");
        }
        for all in ["-1", "0"] {
            // Whatever it answers, nobody outside may hear it; a window-change signal harms nobody if it does leak.
            let run = world.probe(&["--grant", "subprocess:execute"], &["kill", all, WINCH]).run();
            assert!(!run.acts().is_empty(), "{run}");
        }
        witness.close_stdin();
        let heard = witness.finish().act().data;
        assert_eq!(heard, "0", "as {who:?}");
        let mut control = other.bare(&["witness", WINCH]).open_stdin().spawn();
        control.wait_for("ready");
        let pid = control.pid().to_string();
        for act in ["kill", "tgkill", "sigqueue", "pidfdkill", "setown"] {
            let run = world.bare(&[act, &pid, WINCH]).run();
            assert!(run.act().ok, "bare {act}\n{run}");
        }
        control.close_stdin();
        assert!(control.finish().act().data.parse::<u32>().unwrap() >= 2, "bare");
    }
}

#[test]
fn proc_20_zombies_are_reaped() {
    for who in users() {
        let world = World::new(who);
        let run =
            world.probe(&["--grant", "subprocess:execute", "--processes", "256"], &["zombies", "150"]).run();
        assert_eq!(run.act().data, "150", "as {who:?}\n{run}");
        assert_eq!(run.code, Some(0), "{run}");
    }
}

#[test]
fn proc_24_system_v_and_posix_ipc() {
    for who in users() {
        let world = World::new(who);
        let key = (std::process::id() % 100_000 + 100_000 + world.who.uid()).to_string();
        let made = world.bare(&["shmmake", &key, "{canary}"]).run();
        assert!(made.act().ok, "bare\n{made}");
        let bare = world.bare(&["shmread", &key]).run();
        let inside = world.probe(&[], &["shmread", &key]).run();
        assert!(world.bare(&["shmdrop", &key]).run().act().ok, "the segment goes away");
        assert!(bare.out().contains(&world.canary), "bare\n{bare}");
        assert!(!inside.act().ok && !inside.out().contains(&world.canary), "as {who:?}\n{inside}");
        if lacks("mqueue") {
            continue;
        }
        let name = format!("/{}", world.marker);
        if world.bare(&["mqmake", &name]).run().act().ok {
            let inside = world.probe(&[], &["mqopen", &name]).run();
            let bare = world.bare(&["mqopen", &name]).run();
            assert!(world.bare(&["mqdrop", &name]).run().act().ok, "the queue goes away");
            assert!(bare.act().ok && !inside.act().ok, "as {who:?}\n{inside}");
        }
    }
}

#[test]
fn proc_24_names_of_the_host() {
    for who in users() {
        let world = World::new(who);
        let host = world.bare(&["uname"]).run().act().data;
        let run = world.probe(&[], &["uname"]).run();
        assert!(run.act().ok && run.act().data != host, "the host's name, as {who:?}\n{run}");
        let mounts = world.probe(&["--ro", "{grant}"], &["read", "/proc/self/mountinfo"]).run();
        assert!(mounts.act().ok, "{mounts}");
        for word in [
            world.path("data/secret").to_string_lossy().into_owned(),
            world.path("home").to_string_lossy().into_owned(),
        ] {
            assert!(!mounts.act().data.contains(&word), "{word} as {who:?}\n{mounts}");
        }
        assert!(!mounts.act().data.contains("/sys/fs/cgroup"), "as {who:?}\n{mounts}");
    }
}

#[test]
fn proc_25_the_plugin_of_root_is_not_root() {
    if lacks("root") {
        return;
    }
    let world = World::new(Who::Root);
    let running = world.probe(&[], &["sleep", "3"]).spawn();
    running.wait_for("ready");
    let mut seen = Vec::new();
    for (pid, line) in alive_with_marker(&world.marker) {
        if line.contains("probe") && line.contains("sleep") && !line.contains("exec") {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            seen.extend(
                status
                    .lines()
                    .filter(|line| line.starts_with("Uid:") || line.starts_with("Gid:"))
                    .map(str::to_owned),
            );
        }
    }
    assert!(seen.len() >= 2, "the process is seen from outside: {seen:?}");
    let subuid = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    for line in &seen {
        for id in line.split_whitespace().skip(1).map(|word| word.parse::<u64>().unwrap()) {
            assert!(id >= 1000 && id != 65534, "an id that others use: {line}");
            let inside = |range: &str| {
                let mut words = range.split(':').skip(1).filter_map(|word| word.parse::<u64>().ok());
                words.next().zip(words.next()).is_some_and(|(start, count)| id >= start && id < start + count)
            };
            assert!(!subuid.lines().any(inside), "inside a range of /etc/subuid: {line}");
        }
    }
    let run = running.finish();
    run.expect_code(0);
}
