//! sandbox-runtime (srt): `test/sandbox/pid-namespace-isolation`, `integration`, `symlink-boundary`, `linux-ancestor-pin`,
//! `mandatory-deny-paths`, `unix-socket-allowlist`.
//!
//! | case | ours |
//! |---|---|
//! | the command is PID 2 under an init of the sandbox | `posture::proc_27_namespaces` |
//! | only the inner namespace shows in /proc; helpers outside are hidden | `files::fs_09_no_host_process_is_visible` |
//! | exit codes, signal exits | [`the_command_s_own_end_is_passed_on`] |
//! | SIGTERM from outside reaches the command | `ladder::cancelling_a_stubborn_program` |
//! | orphaned grandchildren are reaped | `processes::proc_20_zombies_are_reaped` |
//! | ends with the command, a background process or not | `ladder::proc_17_*` |
//! | AF_UNIX blocked, AF_INET socket works | differs: connecting is judged by path (`files_more::fs_20_*`) |
//! | io_uring_setup, io_uring_enter blocked | `syscalls::proc_12_io_uring`, `syscalls::proc_13_each_*` |
//! | ptrace, process_vm_writev, /proc/1/mem against PID 1 | [`pid_1_is_out_of_reach`] |
//! | no effective capability, no umount of /proc | `posture::proc_27_privileges`, `bubblewrap::calls_are_told_apart_*` |
//! | fails closed without or with a broken filter | none: the filter is assembled in memory, and its work is proven at each start |
//! | writes outside and inside the directory, symlink escapes | `files::fs_02_*`, `files::fs_05_*` |
//! | ancestors of a denied path cannot be moved away | [`what_holds_a_denied_directory_cannot_be_moved`] |
//! | mandatory deny paths (shell start-up files, .git/hooks, …) | the floor: `files_more::fs_23_*`; others by `--deny`: `codex::a_denied_directory_*` |
//! | credential masks, domain patterns, proxies, TLS, config reload, Windows, macOS | none: other mechanisms, or not of this system |

use ringfence_testkit::{Case, Who, World, lacks, users};

const EXECUTE: &[&str] = &["--grant", "subprocess:execute"];

#[test]
fn the_command_s_own_end_is_passed_on() {
    for who in users() {
        for code in [0, 1, 42, 127] {
            let run = World::new(who).exec(EXECUTE, &["sh", "-c", &format!("exit {code}")]).run();
            assert_eq!(run.code, Some(code), "as {who:?}\n{run}");
        }
        let run = World::new(who).exec(EXECUTE, &["sh", "-c", "kill -TERM $$"]).run();
        assert_eq!(run.code, Some(143), "as {who:?}\n{run}");
        let run = World::new(who).exec(EXECUTE, &["sh", "-c", "(sleep 0.2 &) ; exit 7"]).run();
        assert_eq!(run.code, Some(7), "as {who:?}\n{run}");
    }
}

#[test]
fn pid_1_is_out_of_reach() {
    let acts: [&[&str]; 9] = [
        &["attach", "1"],
        &["vmwrite", "1", "10000"],
        &["openw", "/proc/1/mem"],
        &["openr", "/proc/1/mem"],
        &["openw", "/proc/1/oom_score_adj"],
        &["openr", "/proc/1/environ"],
        &["list", "/proc/1/fd"],
        &["list", "/proc/1/map_files"],
        &["readlink", "/proc/1/exe"],
    ];
    for who in users() {
        let world = World::new(who);
        for act in acts {
            let run = world.probe(EXECUTE, act).run();
            assert!(!run.act().ok && run.code == Some(1), "{act:?} as {who:?}\n{run}");
        }
        // It takes no signal from inside: the command goes on and ends as it likes.
        for signal in ["KILL", "STOP", "TERM", "SEGV"] {
            let script = format!("kill -{signal} 1; sleep 0.1; echo still here; exit 3");
            let run = world.exec(EXECUTE, &["sh", "-c", &script]).run();
            assert!(run.code == Some(3) && run.out().contains("still here"), "{signal} as {who:?}\n{run}");
        }
        // The control: against a process of the same user outside, the calls work.
        if who != Who::Root && lacks("root") {
            continue;
        }
        let other = World::new(who);
        let mut target = other.bare(&["target"]).open_stdin().spawn();
        target.wait_for(".\n");
        let said = String::from_utf8_lossy(&target.so_far()).into_owned();
        let place = said.split_whitespace().nth(1).unwrap().trim_end_matches('.').to_owned();
        let pid = target.pid().to_string();
        for act in [&["vmwrite", &pid, &place][..], &["attach", &pid]] {
            let inside = world.probe(EXECUTE, act).run();
            assert!(!inside.act().ok, "{act:?} as {who:?}\n{inside}");
            let bare = world.bare(act).run_as(Who::Root).run();
            assert!(bare.act().ok, "bare {act:?}\n{bare}");
        }
        target.close_stdin();
        assert_eq!(target.finish().act().data, "PWNED", "bare");
    }
}

#[test]
fn what_holds_a_denied_directory_cannot_be_moved() {
    let deep = |world: &World| {
        for name in ["data/grant/a", "data/grant/a/b", "data/grant/a/b/held"] {
            world.mkdir(name);
        }
    };
    let denied: &[&str] = &["--rw", "{grant}", "--deny", "file:write={grant}/a/b/held/**"];
    for act in [
        ["rename", "{grant}/a", "{grant}/moved"],
        ["rename", "{grant}/a/b", "{grant}/moved"],
        ["rename", "{grant}/a/b/held", "{grant}/moved"],
    ] {
        Case::new("srt ancestor", &act).setup(deep).denied(denied).granted(&["--rw", "{grant}"]).check();
    }
}
