//! sandlock: `crates/sandlock-core/tests/integration`: `test_landlock`, `test_procfs`, `test_resource`, `test_seccomp_enforce`.
//!
//! | case | ours |
//! |---|---|
//! | can read allowed, cannot read outside, can write writable, cannot write read-only | `files::fs_01_*`, `files::fs_02_*`, `files_more::fs_19_*` |
//! | a denied path blocks reading | `files_more::deny_beats_grant` |
//! | a denied path blocks execution | none: execution is granted, never denied by name |
//! | a rule on a regular file | `files_more::a_grant_of_one_file_is_that_file` |
//! | a rule on a device node, on a FIFO | [`pipes_and_devices_are_no_grants_and_nothing_hangs`] |
//! | isolate_ipc, abstract socket contained | `network::abstract_and_path_name_sockets` |
//! | named socket: connect without and with a write grant | `files_more::fs_20_a_socket_inside_a_grant` |
//! | named socket by a symlink out of the grant | [`a_socket_by_way_of_a_link`] |
//! | named datagram: sendto, sendmsg, sendmmsg without a write grant | [`datagrams_to_a_named_socket`] |
//! | signal scope | `processes::proc_06_signals_do_not_leave` |
//! | num_cpus, meminfo virtualised | none: the host's counts are shown read-only, by decision |
//! | sensitive /proc blocked | `files_more::fs_28_kernel_settings` |
//! | /proc/net/tcp hides the host's ports | [`no_port_of_the_host_shows`] |
//! | /proc/mounts, mountinfo virtualised | `processes::proc_24_names_of_the_host` |
//! | CPU throttle | `resources::res_05_processor_time` |
//! | timeout kills, spawn and kill | `ladder` |
//! | process limit enforced, bare fork counted | `resources::res_06_*` |
//! | process limit allows reuse one after the other | [`a_limit_counts_what_lives_not_what_was_started`] |
//! | threads do not count | differs: threads count (DESIGN 6), `resources::res_06_*` |
//! | memory limit | `resources::res_01_*` |
//! | CPU cores | none: there is no such limit |
//! | open files enforced and not to be raised; never wider than inherited | [`the_limit_of_open_files_is_one_way`] |
//! | mount, ptrace, personality blocked | `syscalls::proc_13_each_*`, `proc_05_*`, `proc_15_*` |
//! | raw sockets, ICMP datagrams | `network::odd_socket_families` |
//! | UDP denied by default | `network::tcp_and_udp_to_the_host`: sockets exist, nobody is there |
//! | System V memory denied | `processes::proc_24_system_v_and_posix_ipc`: a namespace of its own instead |

use ringfence_testkit::{Listener, World, users};
use std::time::Duration;

#[test]
fn pipes_and_devices_are_no_grants_and_nothing_hangs() {
    for who in users() {
        let world = World::new(who);
        assert!(world.bare(&["mkfifo", "{grant}/pipe"]).run().act().ok);
        for (flag, path) in [("--ro", "{grant}/pipe"), ("--rw", "{grant}/pipe"), ("--rw", "/dev/null")] {
            let run = world.probe(&[flag, path], &["hello"]).deadline(Duration::from_secs(20)).run();
            run.expect_code(125);
            assert!(run.err().contains(&world.fill(path)), "names it, as {who:?}\n{run}");
        }
        // Lying in a granted directory it is no obstacle.
        for flag in ["--ro", "--rw"] {
            let run = world.probe(&[flag, "{grant}"], &["stat", "{grant}/pipe"]).run();
            assert!(run.act().ok, "{flag} as {who:?}\n{run}");
        }
    }
}

#[test]
fn a_socket_by_way_of_a_link() {
    for who in users() {
        let world = World::new(who);
        let host = Listener::unix(&world.path("data/secret/host.sock"));
        world.symlink("{secret}/host.sock", "data/grant/link.sock");
        world.symlink("{secret}", "data/grant/dir");
        for path in ["{grant}/link.sock", "{grant}/dir/host.sock"] {
            let act = ["unix", path, "{canary}"];
            for flags in [&["--rw", "{grant}"][..], &["--rw", "{grant}", "--ro", "{secret}"]] {
                let run = world.probe(flags, &act).run();
                assert!(!run.act().ok && host.heard() == 0, "{path} {flags:?} as {who:?}\n{run}");
            }
        }
        let bare = world.bare(&["unix", "{grant}/link.sock", "{canary}"]).run();
        assert!(bare.act().ok && host.heard() > 0, "bare\n{bare}");
        let before = host.heard();
        let both = ["--rw", "{grant}", "--rw", "{secret}"];
        let granted = world.probe(&both, &["unix", "{grant}/link.sock", "{canary}"]).run();
        assert!(granted.act().ok && host.heard() > before, "as {who:?}\n{granted}");
    }
}

/// The name in sendmsg(2) lies in memory, where no filter can judge it: there are no unix datagrams inside, with any grant.
#[test]
fn datagrams_to_a_named_socket() {
    for who in users() {
        let world = World::new(who);
        let other = World::new(who);
        let path = world.path("data/grant/host.sock").to_string_lossy().into_owned();
        let host = other.bare(&["unixdgram-listen", &path]).spawn();
        host.wait_for("ready");
        for how in ["sendto", "sendmsg", "sendmmsg", "pair"] {
            let act = ["unixdgram", how, &path, "{canary}"];
            for flags in [&["--ro", "{grant}"][..], &["--rw", "{grant}"]] {
                let run = world.probe(flags, &act).run();
                assert!(!run.act().ok, "{how} {flags:?} as {who:?}\n{run}");
            }
        }
        assert!(!String::from_utf8_lossy(&host.so_far()).contains(&world.canary), "as {who:?}");
        for how in ["sendto", "sendmsg", "sendmmsg", "pair"] {
            let bare = world.bare(&["unixdgram", how, &path, "{canary}"]).run();
            assert!(bare.act().ok, "bare {how}\n{bare}");
        }
        host.wait_for(&world.canary);
    }
}

#[test]
fn no_port_of_the_host_shows() {
    for who in users() {
        let world = World::new(who);
        let host = Listener::tcp();
        let port = format!(":{:04X} ", host.port);
        let bare = world.bare(&["read", "/proc/net/tcp"]).run();
        assert!(bare.act().ok && bare.act().data.contains(&port), "bare\n{bare}");
        for path in ["/proc/net/tcp", "/proc/self/net/tcp", "/proc/1/net/tcp", "/proc/thread-self/net/tcp"] {
            let run = world.probe(&[], &["read", path]).run();
            assert!(!run.act().data.contains(&port), "{path} as {who:?}\n{run}");
        }
        let unix = world.probe(&[], &["read", "/proc/net/unix"]).run();
        assert!(unix.act().data.lines().count() <= 1, "no socket of the host, as {who:?}\n{unix}");
    }
}

#[test]
fn a_limit_counts_what_lives_not_what_was_started() {
    for who in users() {
        let flags = ["--grant", "subprocess:execute", "--processes", "8"];
        let run = World::new(who).probe(&flags, &["forkeach", "60"]).run();
        assert_eq!(run.act().data, "60", "as {who:?}\n{run}");
        let bomb = World::new(who).probe(&flags, &["forkbomb", "60"]).run();
        assert_eq!(bomb.word("violation"), "processes", "as {who:?}\n{bomb}");
    }
}

#[test]
fn the_limit_of_open_files_is_one_way() {
    for who in users() {
        let flags = ["--max-open-files", "64"];
        let run = World::new(who).probe(&flags, &["raisenofile"]).run();
        assert!(!run.act().ok && run.act().errno == 1, "as {who:?}\n{run}");
        // A limit above what the caller itself has is no gift.
        let few = World::new(who)
            .probe(&["--max-open-files", "4096"], &["fdbomb", "1000"])
            .through(&["{probe}", "fewfiles", "200"])
            .run();
        let made: u32 = few.act().data.parse().unwrap_or(0);
        assert!(few.code == Some(125) || made <= 200, "as {who:?}\n{few}");
    }
}
