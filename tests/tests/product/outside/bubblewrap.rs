//! bubblewrap: `tests/test-run.sh`, `tests/test-seccomp.py` with `try-syscall`.
//!
//! | case | ours |
//! |---|---|
//! | cannot read /etc/shadow by binding it | [`a_file_that_the_user_cannot_read`], [`another_owner_in_a_tree_of_root`] |
//! | cannot read a file in an unreadable directory | [`a_file_in_a_directory_that_the_user_cannot_enter`] |
//! | can bind a destination over a symlink | `files_more::fs_25_*`; nothing is made at a destination |
//! | all expected devices were created | [`the_usual_devices`], `posture::proc_27_devices_and_files` |
//! | can run as pid 1 | none: PID 1 is always ours |
//! | can mount /proc, pivot recursively | [`a_sandbox_inside_is_refused`]: the opposite is promised here |
//! | error prefixing for a missing source | `files_more::fs_25_a_grant_must_exist_*` |
//! | no caps as uid != 0, expected caps as uid 0 | `posture::proc_27_privileges` |
//! | die with parent, shown by a lock | [`a_lock_goes_with_the_host`] |
//! | arguments from a descriptor | none: there is no such flag |
//! | `--`, an inadvisable executable name, options behind `--` | [`what_stands_behind_the_dashes_is_the_command`] |
//! | bind of / and of /tmp exposes the real /tmp | `files_more::a_grant_below_tmp_*`; a grant of / keeps a private /tmp |
//! | oldroot and newroot are invisible | [`nothing_of_the_building_site_is_left`] |
//! | permissions of mount points, of --dir, of parents, of --file, --bind-data | none: there are no such flags, and no mount point is made in a granted tree |
//! | tmpfs has expected permissions | [`tmp_is_everybodys_and_sticky`] |
//! | a socket bound onto a socket | none: a socket cannot be granted by itself (`files_more::fs_20_*`) |
//! | FUSE directory as a source | none: needs a FUSE mount |
//! | environment manipulation | `processes::proc_03_proc_04_*` |
//! | user namespaces disabled | `syscalls::proc_09_new_namespaces` |
//! | seccomp: chmod, chroot, clone3, TIOCNOTTY, TIOCSTI, TIOCSTI with high bits, listen, prctl | [`calls_are_told_apart_by_a_bad_pointer`], `syscalls::proc_07_terminal_tricks`, `processes::proc_01_no_process_*` |
//! | seccomp: stacked, invalid filters | none: a caller hands no filters in; `syscalls::proc_15_*` loosens ours in vain |

use ringfence_testkit::{Who, World, lacks, post, users};
use std::os::unix::fs::{PermissionsExt, chown};

/// A file that only root reads, in a tree of the world's user.
fn roots_file(world: &World, name: &str) {
    world.put(name, &world.canary);
    chown(world.path(name), Some(0), Some(0)).unwrap();
    std::fs::set_permissions(world.path(name), PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn a_file_that_the_user_cannot_read() {
    if lacks("root") {
        return;
    }
    let world = World::new(Who::Nobody);
    roots_file(&world, "data/grant/roots.txt");
    let act = ["read", "{grant}/roots.txt"];
    let bare = world.bare(&act).run_as(Who::Root).run();
    assert!(bare.act().ok && bare.out().contains(&world.canary), "bare\n{bare}");
    for flags in [&["--ro", "{grant}"][..], &["--ro", "{grant}/roots.txt"], &["--rw", "{grant}"]] {
        let run = world.probe(flags, &act).run();
        let read = run.acts().pop().is_some_and(|act| act.ok);
        assert!(!read && !run.out().contains(&world.canary), "{flags:?}\n{run}");
    }
    world.own(&world.path("data/grant/roots.txt"));
    let granted = world.probe(&["--ro", "{grant}"], &act).run();
    assert!(granted.act().ok && granted.out().contains(&world.canary), "granted\n{granted}");
}

/// Root's own program acts as the owner of the granted tree, and so reads nothing that this owner could not.
#[test]
fn another_owner_in_a_tree_of_root() {
    if lacks("root") {
        return;
    }
    let world = World::new(Who::Root);
    for name in ["data/grant", "data/grant/file.txt", "data/grant/sub"] {
        chown(world.path(name), Some(1234), Some(1234)).unwrap();
    }
    roots_file(&world, "data/grant/roots.txt");
    let bare = world.bare(&["read", "{grant}/roots.txt"]).run();
    assert!(bare.act().ok && bare.out().contains(&world.canary), "bare\n{bare}");
    for flags in [&["--ro", "{grant}"][..], &["--rw", "{grant}"]] {
        for act in [["read", "{grant}/roots.txt"], ["openw", "{grant}/roots.txt"]] {
            let run = world.probe(flags, &act).run();
            assert!(!run.act().ok && !run.out().contains(&world.canary), "{flags:?} {act:?}\n{run}");
        }
    }
    let granted = world.probe(&["--ro", "{grant}"], &["read", "{grant}/file.txt"]).run();
    assert!(granted.act().ok, "granted\n{granted}");
}

#[test]
fn a_file_in_a_directory_that_the_user_cannot_enter() {
    if lacks("root") {
        return;
    }
    let world = World::new(Who::Nobody);
    world.mkdir("data/locked");
    world.put("data/locked/file.txt", &world.canary);
    let act = ["read", "{data}/locked/file.txt"];
    let granted = world.probe(&["--ro", "{data}/locked/file.txt"], &act).run();
    assert!(granted.act().ok, "granted\n{granted}");
    chown(world.path("data/locked"), Some(0), Some(0)).unwrap();
    std::fs::set_permissions(world.path("data/locked"), PermissionsExt::from_mode(0o700)).unwrap();
    let bare = world.bare(&act).run_as(Who::Root).run();
    assert!(bare.act().ok, "bare\n{bare}");
    let run = world.probe(&["--ro", "{data}/locked/file.txt"], &act).run();
    assert!(run.acts().is_empty() && !run.out().contains(&world.canary), "{run}");
    run.expect_code(125);
}

#[test]
fn the_usual_devices() {
    for who in users() {
        let world = World::new(who);
        for name in ["stdin", "stdout", "stderr", "null", "zero", "full", "random", "urandom", "fd"] {
            let path = format!("/dev/{name}");
            let run = world.probe(&[], &["stat", &path]).run();
            assert!(run.act().ok, "{path} as {who:?}\n{run}");
        }
        let run = world.probe(&[], &["write", "/dev/null"]).run();
        assert!(run.act().ok, "as {who:?}\n{run}");
    }
}

#[test]
fn a_sandbox_inside_is_refused() {
    for who in users() {
        let world = World::new(who);
        let flags = ["--grant", "subprocess:execute", "--ro", "{bin}"];
        let inner = world.exec(&flags, &["{bin}/ringfence", "exec", "--", "/bin/echo", "escaped"]).run();
        assert_eq!(inner.code, Some(125), "as {who:?}\n{inner}");
        assert!(!inner.out().contains("escaped"), "as {who:?}\n{inner}");
        if lacks("bwrap") {
            continue;
        }
        let words = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "/bin/echo", "nested"];
        let bare = world.bare_program(&words).run();
        assert!(bare.out().contains("nested"), "bare, as {who:?}\n{bare}");
        let inner = world.exec(&flags, &words).run();
        assert!(inner.code != Some(0) && !inner.out().contains("nested"), "as {who:?}\n{inner}");
    }
}

#[test]
fn a_lock_goes_with_the_host() {
    for who in users() {
        let world = World::new(who);
        let running = world.probe(&["--rw", "{grant}"], &["lockhold", "{grant}/file.txt"]).spawn();
        running.wait_for("ready");
        let free = || world.bare(&["locktry", "{grant}/file.txt"]).run().act().ok;
        assert!(!free(), "the lock is held across the wall, as {who:?}");
        running.signal(9);
        assert!(post::wait_until(free), "still held, as {who:?}");
        assert_eq!(running.finish().signal, Some(9));
    }
}

#[test]
fn what_stands_behind_the_dashes_is_the_command() {
    for who in users() {
        let world = World::new(who);
        let run = world.exec(&[], &["--rw", "{secret}", "/bin/echo", "escaped"]).run();
        run.expect_code(127);
        assert!(!run.out().contains("escaped"), "as {who:?}\n{run}");
        world.put_script("data/grant/--name", "#!/bin/sh\necho it ran\n");
        let run = world.exec(&["--ro", "{grant}"], &["{grant}/--name"]).run();
        assert!(run.code == Some(0) && run.out().contains("it ran"), "as {who:?}\n{run}");
    }
}

#[test]
fn nothing_of_the_building_site_is_left() {
    for who in users() {
        let world = World::new(who);
        for path in ["/oldroot", "/newroot", "/tmp/oldroot", "/tmp/newroot", "/.old_root", "/put_old"] {
            let run = world.probe(&["--rw", "{grant}"], &["stat", path]).run();
            assert!(!run.act().ok && run.act().errno == 2, "{path} as {who:?}\n{run}");
        }
        let run = world.probe(&["--rw", "{grant}"], &["create", "/planted"]).run();
        assert!(!run.act().ok, "the root itself cannot be written, as {who:?}\n{run}");
    }
}

#[test]
fn tmp_is_everybodys_and_sticky() {
    for who in users() {
        let run = World::new(who).probe(&[], &["stat", "/tmp"]).run();
        let mode = run.act().data;
        assert!(mode.starts_with("mode=41777 ") || mode.starts_with("mode=40700 "), "as {who:?}: {mode}");
        let run = World::new(who).probe(&[], &["create", "/tmp/mine"]).run();
        assert!(run.act().ok, "as {who:?}\n{run}");
    }
}

#[test]
fn calls_are_told_apart_by_a_bad_pointer() {
    const EPERM: i64 = 1;
    const ENOSYS: i64 = 38;
    // What reaches the kernel answers as it does outside; what does not, answers for the filter.
    let reach = ["chmod 0644", "ioctl TIOCNOTTY", "listen", "prctl"];
    for who in users() {
        let bare = World::new(who).bare(&["apart"]).run().acts();
        let inside = World::new(who).probe(&["--grant", "subprocess:execute"], &["apart"]).run();
        assert_eq!(bare.len(), inside.acts().len(), "as {who:?}\n{inside}");
        for (outside, act) in bare.iter().zip(inside.acts()) {
            if reach.contains(&act.name.as_str()) {
                assert_eq!(act.errno, outside.errno, "{} as {who:?}\n{inside}", act.name);
            } else {
                assert!([EPERM, ENOSYS].contains(&act.errno), "{} as {who:?}\n{inside}", act.name);
            }
        }
    }
}
