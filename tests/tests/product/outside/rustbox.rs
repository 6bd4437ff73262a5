//! orkait/rustbox-escape-tests: `payloads/*` (the same acts in up to eight languages; the kernel hears the same calls, so each is
//! one act of our probe).
//!
//! | case | ours |
//! |---|---|
//! | fork_bomb, thread_bomb | `resources::res_06_processes_and_threads`, `ladder::proc_19_*` |
//! | memory_bomb, cpu_spin, fd_exhaustion, file_size_bomb | `resources::res_01_*`, `res_05_*`, `res_07_*`, `res_08_*` |
//! | inode_bomb | [`names_without_end`] |
//! | sigxcpu_catch | none: processor time has no hard end; a spin is throttled, and ends by its timeout |
//! | ptrace_attempt, mount_attempt, clone_newuser, escape_chroot | `syscalls::proc_05_*`, `proc_09_*`, `proc_13_each_*` |
//! | setuid_root, setgid_root | `syscalls::proc_15_*` |
//! | execve_setuid_binary | `files_more::fs_17_a_set_id_program_gains_nothing` |
//! | tmp_noexec_check, devshm_noexec_check | [`nothing_is_executed_from_scratch_space`] |
//! | env_leak_check, hostname_check | `processes::proc_03_*`, `processes::proc_24_names_of_the_host` |
//! | read_etc_passwd, read_etc_shadow | `posture::proc_27_devices_and_files`, `files::fs_01_*`: a passwd of ours may be read |
//! | read_proc_cpuinfo, read_proc_meminfo | differ: shown read-only, or Node.js and the JVM count no processor |
//! | read_sys_hardware | [`nothing_of_the_hardware_shows`] |
//! | memfd_secret_check | [`secret_memory_is_refused`] |
//! | tcp_connect, dns_lookup | `network::tcp_and_udp_to_the_host` |
//! | rlimit_values_check | `posture::proc_27_limits` |
//! | prctl_set_name_spoof | [`another_name_changes_nothing`] |
//! | write_to_bin | `files::fs_11_*` |

use ringfence_testkit::{Case, World, users};

#[test]
fn names_without_end() {
    const PROGRAM: &str =
        "i=0; while [ $i -lt 400000 ] && : > DIR/f$i; do i=$((i+1)); done 2>/dev/null; echo made $i";
    for who in users() {
        for dir in ["/tmp", "/dev/shm"] {
            let script = PROGRAM.replace("DIR", dir);
            let flags = ["--timeout", "25s", "--cpu", "none"];
            let run = World::new(who).exec(&flags, &["sh", "-c", &script]).run();
            // The shell ends when a file cannot be made: the file system has no more names, or a limit ended all of it.
            let held = run.code != Some(0) && run.code != Some(125) && !run.out().contains("made");
            assert!(held, "{dir} as {who:?}\n{run}");
        }
    }
}

#[test]
fn nothing_is_executed_from_scratch_space() {
    for who in users() {
        for dir in ["/tmp", "/dev/shm"] {
            let script = format!("cp {{probe}} {dir}/copy && chmod 755 {dir}/copy && {dir}/copy hello");
            let world = World::new(who);
            let flags = ["--grant", "subprocess:execute", "--ro", "{bin}"];
            let run = world.exec(&flags, &["sh", "-c", &script]).run();
            assert!(run.acts().is_empty() && run.code == Some(126), "{dir} as {who:?}\n{run}");
            let granted = world.exec(&flags, &["sh", "-c", "{probe} hello"]).run();
            assert!(granted.act().ok, "as {who:?}\n{granted}");
        }
    }
}

#[test]
fn nothing_of_the_hardware_shows() {
    for path in ["/sys", "/sys/class", "/sys/block", "/sys/devices", "/sys/class/net", "/sys/class/dmi/id"] {
        if !std::path::Path::new(path).exists() {
            continue;
        }
        for who in users() {
            let world = World::new(who);
            let bare = world.bare(&["list", path]).run();
            assert!(bare.act().ok, "bare {path}\n{bare}");
            let run = world.probe(&[], &["list", path]).run();
            assert!(!run.act().ok || run.act().data.trim().is_empty(), "{path} as {who:?}\n{run}");
        }
    }
}

#[test]
fn secret_memory_is_refused() {
    if World::new(users()[0]).bare(&["memfdsecret"]).run().act().ok {
        Case::new("memfd_secret", &["memfdsecret"]).denied(&["--grant", "subprocess:execute"]).check();
    } else {
        ringfence_testkit::missing("memfd_secret", "this kernel refuses it outside as well");
        let run = World::new(users()[0]).probe(&[], &["memfdsecret"]).run();
        assert!(!run.act().ok, "{run}");
    }
}

#[test]
fn another_name_changes_nothing() {
    for who in users() {
        let world = World::new(who);
        let run = world.probe(&["--ro", "{grant}"], &["renameself", "ringfence"]).run();
        assert!(run.act().ok, "as {who:?}\n{run}");
        let script = "printf ringfence > /proc/self/comm; {probe} mark={marker} read {secret}/canary.txt";
        let flags = ["--grant", "subprocess:execute", "--ro", "{bin}"];
        let run = world.exec(&flags, &["sh", "-c", script]).run();
        assert!(!run.act().ok && run.act().errno == 2, "as {who:?}\n{run}");
        let granted = world.exec(&[&flags[..], &["--ro", "{secret}"]].concat(), &["sh", "-c", script]).run();
        assert!(granted.act().ok, "as {who:?}\n{granted}");
    }
}
