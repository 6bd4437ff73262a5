//! fence: `internal/sandbox/integration_linux_test.go`.
//!
//! | case | ours |
//! |---|---|
//! | Landlock blocks writes outside, allows them inside, blocks system files | `files::fs_02_*`, `files::fs_11_*` |
//! | protects git hooks, git config, .bashrc | the floor (`files_more::fs_23_*`); `.git` by `--deny` (`codex::a_denied_directory_*`) |
//! | allows reading system files | [`programs_find_their_user`] |
//! | allows /tmp/fence | none: /tmp is private (`files_more::fs_30_*`) |
//! | a symlinked global git config does not break the start | [`odd_links_in_the_home_do_not_break_a_start`] |
//! | runtime exec deny, chroot blocked | none: execution is about processes, never about names; `chroot` itself: `syscalls::proc_13_each_*` |
//! | denyRead blocks files and directories, takes precedence | `files_more::deny_beats_grant`, [`deny_of_one_file_below_a_written_tree`] |
//! | default deny does not expose files of the home | `files::fs_01_*` |
//! | curl, nc, /dev/tcp blocked | `codex::everyday_clients_reach_nobody` |
//! | exposed port, proxy allows domains | none: no command is given network |
//! | seccomp blocks dangerous calls | `syscalls` |
//! | Python multiprocessing, getpwuid, a pseudo terminal | [`python_s_multiprocessing_works`], [`programs_find_their_user`]; no terminal by decision (`syscalls::proc_07_*`) |
//! | symlink escape, path traversal, device access | `files::fs_03_*`, `fs_05_*`, `fs_15_*` |
//! | /proc/self readable | `files::fs_09_no_host_process_is_visible` |
//! | a glob allows writing a matching file | differs: writing is granted by directory or file (`mounts` in `crates/host`) |

use ringfence_testkit::{Case, World, lacks, users};

#[test]
fn odd_links_in_the_home_do_not_break_a_start() {
    for who in users() {
        let world = World::new(who);
        world.symlink("/proc/version", "home/.gitconfig");
        world.symlink("{home}/.circle", "home/.circle");
        world.symlink("{data}/nowhere", "home/.profile");
        for flags in [&[][..], &["--ro", "{home}"], &["--ro", "{grant}"]] {
            let run = world.probe(flags, &["hello"]).run();
            assert!(run.act().ok, "{flags:?} as {who:?}\n{run}");
        }
    }
}

#[test]
fn deny_of_one_file_below_a_written_tree() {
    let denied: &[&str] = &["--rw", "{grant}", "--deny", "file:read={grant}/sub/inner.txt"];
    for act in ["read", "openw", "truncate", "unlink"] {
        Case::new("fence deny", &[act, "{grant}/sub/inner.txt"])
            .denied(denied)
            .granted(&["--rw", "{grant}"])
            .check();
    }
    Case::new("fence deny, moved", &["rename", "{grant}/sub", "{grant}/moved"])
        .denied(&["--rw", "{grant}", "--deny", "file:write={grant}/sub/inner.txt"])
        .granted(&["--rw", "{grant}"])
        .check();
}

#[test]
fn python_s_multiprocessing_works() {
    if lacks("python3") {
        return;
    }
    const PROGRAM: &str = "from multiprocessing import Lock, Process, Queue\n\
                           def work(lock, queue):\n    with lock:\n        queue.put(6 * 7)\n\
                           if __name__ == '__main__':\n    queue = Queue()\n    lock = Lock()\n    \
                           child = Process(target=work, args=(lock, queue))\n    child.start()\n    \
                           print('answer', queue.get())\n    child.join()\n";
    for who in users() {
        let world = World::new(who);
        world.put("data/grant/many.py", PROGRAM);
        let words = ["python3", "{grant}/many.py"];
        let granted = world.exec(&["--ro", "{grant}", "--grant", "subprocess:execute"], &words).run();
        assert!(granted.code == Some(0) && granted.out().contains("answer 42"), "as {who:?}\n{granted}");
        let denied = world.exec(&["--ro", "{grant}"], &words).run();
        assert!(denied.code != Some(0) && !denied.out().contains("answer"), "as {who:?}\n{denied}");
    }
}

#[test]
fn programs_find_their_user() {
    if lacks("python3") {
        return;
    }
    const PROGRAM: &str = "import os, pwd, grp\nme = pwd.getpwuid(os.getuid())\nprint('name', me.pw_name, me.pw_dir, \
                           grp.getgrgid(os.getgid()).gr_name)";
    for who in users() {
        let world = World::new(who);
        let run = world.exec(&[], &["python3", "-c", PROGRAM]).run();
        assert!(run.code == Some(0) && run.out().contains("name "), "as {who:?}\n{run}");
        assert!(!run.out().contains(&world.fill("{home}")), "as {who:?}\n{run}");
    }
}
