//! FS-01 to FS-19: names, links, descriptors, and what a read-only grant forbids.

use crate::errno::{ABSENT, FILTERED, FORBIDDEN};
use ringfence_testkit::{Case, World, users};

const SECRET: &str = "{secret}/canary.txt";

#[test]
fn fs_01_an_ungranted_path_is_absent() {
    for act in ["read", "stat", "opath", "openw"] {
        Case::new("fs_01", &[act, SECRET])
            .denied(&["--rw", "{grant}"])
            .errnos(ABSENT)
            .granted(&["--rw", "{secret}"])
            .check();
    }
    Case::new("fs_01 list", &["list", "{secret}"])
        .denied(&["--rw", "{grant}"])
        .errnos(ABSENT)
        .granted(&["--ro", "{secret}"])
        .check();
}

#[test]
fn fs_01_the_error_does_not_tell_whether_a_name_exists() {
    for who in users() {
        let world = World::new(who);
        for act in ["stat", "read", "openw", "list"] {
            let there = world.probe(&[], &[act, SECRET]).run().act();
            let not_there = world.probe(&[], &[act, "{secret}/no-such-name"]).run().act();
            assert!(!there.ok && there.errno == not_there.errno, "{act}: {there:?} but {not_there:?}");
        }
    }
}

#[test]
fn fs_01_system_secrets_and_the_state_of_the_product_are_absent() {
    for path in ["/etc/shadow", "/etc/sudoers", "/root", "/home", "/boot", "/var/log", "/var/lib"] {
        if std::path::Path::new(path).exists() {
            let act = if std::path::Path::new(path).is_dir() { "list" } else { "read" };
            let run = |world: &World| world.probe(&[], &[act, path]).run().act();
            for who in users() {
                let found = run(&World::new(who));
                // A directory that the sandbox makes itself on the way to a grant may be there, and empty.
                assert!(!found.ok || found.data.trim().is_empty(), "{path} as {who:?}: {found:?}");
            }
        }
    }
    Case::new("fs_01 state", &["read", "{home}/state/token"])
        .denied(&["--ro", "{grant}"])
        .errnos(ABSENT)
        .check();
}

#[test]
fn fs_02_nothing_outside_the_grants_can_be_changed() {
    let acts: [&[&str]; 10] = [
        &["create", "{secret}/new"],
        &["write", SECRET],
        &["append", SECRET],
        &["truncate", SECRET],
        &["rename", SECRET, "{secret}/moved"],
        &["unlink", SECRET],
        &["mkdir", "{secret}/newdir"],
        &["rmdir", "{secret}/dir"],
        &["symlink", "x", "{secret}/link"],
        &["mkfifo", "{secret}/fifo"],
    ];
    for act in acts {
        Case::new("fs_02", act)
            .denied(&["--rw", "{grant}"])
            .errnos(ABSENT)
            .granted(&["--rw", "{secret}"])
            .check();
    }
}

#[test]
fn fs_03_other_spellings_of_an_outside_path() {
    for path in [
        "{grant}/../secret/canary.txt",
        "{grant}//..//secret///canary.txt",
        "{grant}/./../secret/./canary.txt",
        "{grant}/sub/../../secret/canary.txt",
        "{grant}/sub/../sub/../../grant/../secret/canary.txt",
        "/../../../{secret}/canary.txt",
        "/proc/self/cwd/../{secret}/canary.txt",
    ] {
        let mut act = vec!["read", path];
        if path.starts_with("/proc") {
            act = vec!["read", "/proc/self/root{secret}/canary.txt"];
        }
        Case::new("fs_03", &act)
            .denied(&["--rw", "{grant}"])
            .granted(&["--rw", "{grant}", "--ro", "{secret}"])
            .check();
    }
    Case::new("fs_03 slash", &["list", "{grant}/../secret/"])
        .denied(&["--rw", "{grant}"])
        .granted(&["--rw", "{grant}", "--ro", "{secret}"])
        .check();
}

#[test]
fn fs_04_a_sibling_with_the_same_prefix() {
    Case::new("fs_04", &["read", "{grant}-secret/canary.txt"])
        .denied(&["--rw", "{grant}"])
        .errnos(ABSENT)
        .granted(&["--ro", "{grant}-secret"])
        .check();
}

#[test]
fn fs_05_symlink_inside_a_grant() {
    let both: &[&str] = &["--rw", "{grant}", "--rw", "{secret}"];
    let links = |world: &World| {
        world.symlink("{secret}/canary.txt", "data/grant/link");
        world.symlink("../secret/canary.txt", "data/grant/relative");
        world.symlink("{secret}", "data/grant/dir");
        world.symlink("{secret}/new", "data/grant/dangling");
    };
    let acts: [&[&str]; 9] = [
        &["read", "{grant}/link"],
        &["read", "{grant}/relative"],
        &["read", "{grant}/dir/canary.txt"],
        &["list", "{grant}/dir/"],
        &["write", "{grant}/link"],
        &["through", "{grant}/dangling"],
        &["create", "{grant}/dir/new"],
        &["truncate", "{grant}/link"],
        &["chmod", "{grant}/link", "0600"],
    ];
    for act in acts {
        Case::new("fs_05", act)
            .setup(links)
            .denied(&["--rw", "{grant}"])
            .errnos(ABSENT)
            .granted(both)
            .check();
    }
}

#[test]
fn fs_05_a_link_made_inside_leads_nowhere() {
    for who in users() {
        let world = World::new(who);
        let made =
            world.probe(&["--rw", "{grant}"], &["symlink", "{secret}/canary.txt", "{grant}/mine"]).run();
        assert!(made.act().ok, "{made}");
        let read = world.probe(&["--rw", "{grant}"], &["read", "{grant}/mine"]).run();
        assert!(!read.act().ok && !read.out().contains(&world.canary), "{read}");
    }
}

/// The host moves the directory away while a program inside holds it.
fn held_walk(world: &World, flags: Option<&[&str]>, moved: bool, name: &str) -> ringfence_testkit::Run {
    let act = ["heldwalk", "{grant}/sub/held", "{grant}/go", name];
    world.mkdir("data/grant/sub/held");
    let running = match flags {
        Some(flags) => world.probe(flags, &act).spawn(),
        None => world.bare(&act).spawn(),
    };
    running.wait_for("ready");
    if moved {
        std::fs::rename(world.path("data/grant/sub/held"), world.path("data/secret/held")).unwrap();
    }
    world.put("data/grant/go", "");
    running.finish()
}

#[test]
fn fs_07_a_held_directory_moved_out_of_the_grant() {
    for who in users() {
        let world = World::new(who);
        let bare = held_walk(&world, None, true, "../canary.txt");
        assert!(bare.act().ok && bare.out().contains(&world.canary), "bare\n{bare}");
        let world = World::new(who);
        let denied = held_walk(&world, Some(&["--rw", "{grant}"]), true, "../canary.txt");
        assert!(!denied.act().ok && !denied.out().contains(&world.canary), "denied\n{denied}");
        let world = World::new(who);
        let granted = held_walk(&world, Some(&["--rw", "{grant}"]), false, "../inner.txt");
        assert!(granted.act().ok && granted.out().contains("inner"), "granted\n{granted}");
    }
}

#[test]
fn fs_08_hard_links_of_outside_files() {
    for act in ["link", "linkfd"] {
        Case::new("fs_08", &[act, SECRET, "{grant}/alias"])
            .denied(&["--rw", "{grant}"])
            .errnos(ABSENT)
            .granted(&["--rw", "{data}"])
            .check();
    }
    Case::new("fs_08", &["linkempty", SECRET, "{grant}/alias"])
        .as_root()
        .denied(&["--rw", "{grant}"])
        .check();
    // Read here, written there: a link would turn the one into the other.
    for act in ["link", "linkfd"] {
        Case::new("fs_08 ro to rw", &[act, SECRET, "{grant}/alias"])
            .denied(&["--rw", "{grant}", "--ro", "{secret}"])
            .granted(&["--rw", "{data}"])
            .check();
    }
}

#[test]
fn fs_09_no_host_process_is_visible() {
    for who in users() {
        let world = World::new(who);
        let other = World::new(who);
        let host = other.bare(&["sleep", "20"]).spawn();
        host.wait_for("ready");
        let pid = host.pid().to_string();
        for name in ["environ", "maps", "fd", "cwd", "root", "exe", "mem", "status"] {
            let act = if name == "fd" || name == "cwd" || name == "root" { "list" } else { "openr" };
            let path = format!("/proc/{pid}/{name}");
            let bare = world.bare(&[act, &path]).run();
            assert!(bare.act().ok, "bare {path}\n{bare}");
            let inside = world.probe(&[], &[act, &path]).run();
            assert!(!inside.act().ok, "{path}\n{inside}");
        }
        let listed = world.probe(&[], &["list", "/proc"]).run().act();
        let pids: Vec<u32> = listed.data.split(' ').filter_map(|name| name.parse().ok()).collect();
        assert!(listed.ok && !pids.is_empty() && pids.iter().all(|pid| *pid < 100), "{listed:?}");
        let own = world.probe(&[], &["openr", "/proc/self/environ"]).run();
        assert!(own.act().ok, "own /proc\n{own}");
    }
}

#[test]
fn fs_09_roots_of_proc_lead_into_the_own_sandbox() {
    Case::new("fs_09", &["read", "/proc/self/root{secret}/canary.txt"])
        .denied(&["--rw", "{grant}"])
        .granted(&["--ro", "{secret}"])
        .check();
    for who in users() {
        // Process 1 inside is the sandbox's own: there is no bare run that means the same.
        for path in ["/proc/1/root{secret}/canary.txt", "/proc/1/cwd/canary.txt"] {
            let world = World::new(who);
            let run = world.probe(&[], &["read", path]).run();
            assert!(!run.act().ok && !run.out().contains(&world.canary), "{path} as {who:?}\n{run}");
        }
        let run = World::new(who).probe(&[], &["list", "/proc/1/fd"]).run();
        assert!(!run.act().ok, "the descriptors of process 1, as {who:?}\n{run}");
    }
}

#[test]
fn fs_10_reopening_a_descriptor_for_writing() {
    for how in ["ro", "path"] {
        for dir in ["/proc/self/fd", "/dev/fd"] {
            Case::new("fs_10", &["reopen", "{grant}/file.txt", how, dir])
                .denied(&["--ro", "{grant}"])
                .granted(&["--rw", "{grant}"])
                .check();
        }
    }
}

#[test]
fn fs_11_programs_and_libraries_cannot_be_changed() {
    // Only opened for writing, never written: a broken sandbox must not take the machine down.
    for path in ["/usr/bin/env", "/etc/passwd", "/etc/hosts", "/etc/ld.so.cache", "/usr/bin/printf"] {
        if std::path::Path::new(path).exists() {
            Case::new("fs_11", &["openw", path]).as_root().denied(&[]).errnos(FORBIDDEN).check();
        }
    }
    let own: [&[&str]; 4] = [
        &["truncate", "{grant}/program"],
        &["openw", "{grant}/program"],
        &["rename", "{grant}/program", "{grant}/other"],
        &["unlink", "{grant}/program"],
    ];
    for act in own {
        Case::new("fs_11 own program", act)
            .setup(|world| world.put_probe("data/grant/program"))
            .denied(&["--ro", "{grant}"])
            .errnos(FORBIDDEN)
            .granted(&["--rw", "{grant}"])
            .check();
    }
    for who in users() {
        for path in ["/proc/self/exe", "/proc/1/exe", "{probe}", "/lib64/ld-linux-x86-64.so.2"] {
            let run = World::new(who).probe(&[], &["openw", path]).run();
            assert!(!run.act().ok, "{path} as {who:?}\n{run}");
        }
    }
}

#[test]
fn fs_12_no_descriptor_is_inherited() {
    for who in users() {
        let world = World::new(who);
        let leak = &["{probe}", "leak", SECRET];
        let bare = world.bare(&["fds"]).through(leak).run().act();
        assert!(bare.data.contains("canary.txt") && bare.data.contains("777="), "bare {bare:?}");
        let inside = world.probe(&[], &["fds"]).through(leak).run();
        assert_eq!(inside.act().data, "", "as {who:?}\n{inside}");
        let passed = world.probe(&["--stdin", "pass"], &["fds"]).through(leak).run();
        assert_eq!(passed.act().data, "", "as {who:?}\n{passed}");
    }
}

#[test]
fn fs_14_file_handles() {
    Case::new("fs_14", &["handle", "{grant}/file.txt"])
        .as_root()
        .denied(&["--rw", "{grant}"])
        .errnos(FILTERED)
        .check();
}

#[test]
fn fs_15_device_nodes() {
    for (kind, major, minor) in [("c", "1", "5"), ("b", "254", "0"), ("c", "10", "200")] {
        Case::new("fs_15", &["mknod", "{grant}/node", kind, major, minor])
            .as_root()
            .denied(&["--rw", "{grant}"])
            .may_change_grant()
            .harmed(|world| world.path("data/grant/node").exists())
            .check();
    }
    for device in [
        "/dev/kmsg",
        "/dev/mem",
        "/dev/kvm",
        "/dev/fuse",
        "/dev/net/tun",
        "/dev/vda",
        "/dev/sda",
        "/dev/ptmx",
    ] {
        if std::path::Path::new(device).exists() {
            for who in users() {
                let run = World::new(who).probe(&[], &["openr", device]).run();
                assert!(!run.act().ok, "{device} as {who:?}\n{run}");
            }
        }
    }
    for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
        for who in users() {
            let run = World::new(who).probe(&[], &["openr", device]).run();
            assert!(run.act().ok, "{device} as {who:?}\n{run}");
        }
    }
}

#[test]
fn fs_15_a_device_node_inside_a_grant_does_nothing() {
    if ringfence_testkit::lacks("root") {
        return;
    }
    Case::new("fs_15 grant", &["openw", "{grant}/zero"])
        .setup(|world| {
            let path = world.path("data/grant/zero").to_string_lossy().into_owned();
            assert!(ringfence_testkit::probe_ok(&["mknod", &path, "c", "1", "5"]), "mknod as root");
            assert!(ringfence_testkit::probe_ok(&["chmod", &path, "666"]), "chmod as root");
        })
        .denied(&["--rw", "{grant}"])
        .check();
}
