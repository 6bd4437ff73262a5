//! Each layer alone, the others off, so that a broken one cannot hide behind another.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;

use ringfence_sandbox::{Access, Backend, Ending, Launcher, Layer, Layers, Limits};

use crate::rig::{self, bare, both, canary, errno, found, has_secret, number, only, plan, run};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EACCES: i32 = 13;
const ENOSYS: i32 = 38;
const ENETUNREACH: i32 = 101;
const SIGXFSZ: i32 = 25;

#[test]
fn every_layer_is_proven_by_default() {
    both(|| {
        let run = run(&plan(&["true"]));
        assert!(run.is_ok(), "{run:?}");
        assert_eq!(run.report.layers, Layers::ALL);
        assert!(run.report.limits_by.is_some() && run.report.landlock_abi > 0);
    });
}

#[test]
fn mount_alone_hides_a_file() {
    both(|| {
        let (place, path) = canary();
        assert!(has_secret(&bare(&["read", &path])));
        let mut plan = only(&[Layer::Mount], &["read", &path]);
        let denied = run(&plan);
        assert_eq!(denied.errno(), Some(ENOENT), "{denied:?}");
        assert!(!has_secret(&denied.text));
        plan.mount(found(place.path()), Access::READ);
        assert!(has_secret(&run(&plan).text));
    });
}

#[test]
fn landlock_alone_refuses_a_file() {
    both(|| {
        let (place, path) = canary();
        assert!(has_secret(&bare(&["read", &path])));
        let mut plan = only(&[Layer::Landlock], &["read", &path]);
        let denied = run(&plan);
        assert_eq!(denied.errno(), Some(EACCES), "{denied:?}");
        assert!(!has_secret(&denied.text));
        plan.mount(found(place.path()), Access::READ);
        assert!(has_secret(&run(&plan).text));
    });
}

#[test]
fn network_alone_cuts_off_the_loopback() {
    both(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        assert!(bare(&["tcp", "127.0.0.1", &port]).ends_with("ok connected\n"));
        let mut byte = [0; 1];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        listener.set_nonblocking(true).unwrap();
        let denied = run(&only(&[Layer::Network], &["tcp", "127.0.0.1", &port]));
        assert_eq!(denied.errno(), Some(ENETUNREACH), "{denied:?}");
        assert!(listener.accept().is_err(), "not one byte arrives");
        // The same without the layer gets through: it is this layer that holds.
        assert!(run(&only(&[Layer::Uts], &["tcp", "127.0.0.1", &port])).is_ok());
        assert!(listener.accept().is_ok());
        let datagram = run(&only(&[Layer::Network], &["udp", "127.0.0.1", &port]));
        assert_eq!(datagram.errno(), Some(ENETUNREACH), "{datagram:?}");
    });
}

#[test]
fn pid_alone_hides_other_processes() {
    both(|| {
        let host = std::process::id().to_string();
        assert!(bare(&["kill", &host]).ends_with("ok there\n"));
        let denied = run(&only(&[Layer::Pid], &["kill", &host]));
        assert_eq!(denied.errno(), Some(ESRCH), "{denied:?}");
        assert!(run(&only(&[Layer::Pid], &["kill", "1"])).errno() != Some(ESRCH));
        // With /proc of its own: PID 1 and itself, and nobody else.
        let listed = run(&plan(&["pids"]));
        let pids: Vec<_> = listed.text.lines().filter(|line| line.starts_with("pid ")).collect();
        assert_eq!(pids, ["pid 1", "pid 2"], "{listed:?}");
    });
}

/// The calls that the filter must refuse and PID 1 must tell of (attacks PROC-05 to PROC-15).
const REFUSED: &[&str] = &[
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "setns",
    "name_to_handle_at",
    "open_by_handle_at",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "kcmp",
    "process_madvise",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "fanotify_init",
    "fanotify_mark",
    "vmsplice",
    "quotactl",
    "add_key",
    "request_key",
    "keyctl",
    "kexec_load",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "iopl",
    "ioperm",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "personality",
    "mbind",
    "migrate_pages",
    "move_pages",
    "seccomp",
    "chmod",
    "mknod",
    "ioctl",
    "socket",
    "unshare",
];
/// The calls that must look as if this kernel did not have them, because programs then fall back.
const MISSING: &[&str] = &["io_uring_setup", "io_uring_enter", "io_uring_register", "openat2", "clone3"];

#[test]
fn seccomp_alone_refuses_every_listed_call() {
    both(|| {
        let outside = bare(&["calls"]);
        let mut plan = only(&[Layer::Seccomp], &["calls"]);
        plan.processes(ringfence_sandbox::Processes::Denied);
        let run = run(&plan);
        for (line, control) in run.text.lines().zip(outside.lines()) {
            let Some((name, answer)) = line.split_once(' ').filter(|(name, _)| *name != "ok") else {
                continue;
            };
            let answer: i32 = answer.parse().unwrap();
            let (named, before) = control.split_once(' ').unwrap();
            assert_eq!(name, named);
            let before: i32 = before.parse().unwrap();
            if MISSING.contains(&name) {
                assert_eq!(answer, ENOSYS, "{name}");
                assert_ne!(before, ENOSYS, "{name} is missing on this kernel: the case is void");
                continue;
            }
            let told = run.refusals.iter().find(|refusal| refusal.operation == name);
            assert!(told.is_some(), "{name} answered {answer} and was not told");
            assert!(answer == EPERM || answer == EACCES, "{name} answered {answer}");
            if rig::is_root() {
                assert!(
                    before != EPERM && before != EACCES,
                    "{name} answers {before} outside: the case is void"
                );
            }
        }
        for name in REFUSED.iter().chain(&["fork"]) {
            assert!(run.refusals.iter().any(|refusal| refusal.operation == *name), "{name} was not tried");
        }
        let sockets = run.refusals.iter().filter(|refusal| refusal.operation == "socket").count();
        assert_eq!(sockets, 7, "every kind of socket is told apart: {:?}", run.refusals);
        let terminal = run.refusals.iter().find(|refusal| refusal.operation == "ioctl").unwrap();
        assert_eq!(terminal.count, 2, "the upper half of a terminal command does not hide it");
    });
}

/// PROC-01: nothing but the program itself, not even by way of the one exec that is allowed.
#[test]
fn seccomp_alone_holds_the_one_exec() {
    both(|| {
        let number = 1024; // the default limit of open files: where the program's own descriptor was
        for layers in [&[Layer::Seccomp][..], &[Layer::Seccomp, Layer::Limits], &Layer::ALL] {
            for attack in ["exec", "exec-absolute", "exec-memory"] {
                let mut plan = only(layers, &[attack, &number.to_string()]);
                plan.processes(ringfence_sandbox::Processes::Denied);
                let denied = run(&plan);
                assert!(!denied.text.contains("escaped") && denied.errno().is_some(), "{attack}: {denied:?}");
            }
        }
        let allowed = run(&only(&[Layer::Seccomp], &["exec"]));
        assert!(allowed.text.contains("escaped"), "{allowed:?}");
        assert!(bare(&["exec-absolute", "0"]).contains("escaped"));
        assert!(errno(&bare(&["exec-memory", "100"])).is_none());
    });
}

#[test]
fn no_new_privileges_and_capabilities_alone_show_in_the_status() {
    both(|| {
        let status = |layers: &[Layer]| run(&only(layers, &["read", "/proc/self/status"])).text;
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let outside = bare(&["read", "/proc/self/status"]);
        assert_eq!(field(&outside, "NoNewPrivs:"), 0);
        assert_ne!(field(&outside, "CapBnd:"), 0);
        assert_eq!(field(&status(&[Layer::NoNewPrivileges]), "NoNewPrivs:"), 1);
        let bounded = status(&[Layer::User, Layer::Capabilities]);
        assert_ne!(field(&status(&[Layer::User]), "CapBnd:"), 0);
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(&bounded, name), 0, "{name}");
        }
        if rig::is_root() {
            let bounded = status(&[Layer::Capabilities]);
            assert_eq!(field(&bounded, "CapEff:") | field(&bounded, "CapBnd:"), 0);
        }
    });
}

#[test]
fn limits_alone_hold_files_and_descriptors() {
    both(|| {
        let place = rig::directory(0o777);
        let path = place.path().join("large");
        let path = path.to_str().unwrap();
        let two_megabytes = (2 << 20).to_string();
        let words = ["write", path, &two_megabytes];
        assert!(bare(&words).ends_with("ok written\n"));
        std::fs::remove_file(path).unwrap();
        let limits = Limits {
            file_size_bytes: Some(1 << 20),
            open_files: 100,
            backend: Backend::Sampler,
            ..Limits::default()
        };
        let mut plan = only(&[Layer::Limits], &words);
        plan.limits(limits.clone());
        let denied = run(&plan);
        assert_eq!(denied.ending, Ending::Signaled(SIGXFSZ), "{denied:?}");
        assert_eq!(std::fs::metadata(path).unwrap().len(), 1 << 20, "exactly the limit was written");
        plan.limits(Limits { file_size_bytes: None, ..limits.clone() });
        std::fs::remove_file(path).unwrap();
        assert!(run(&plan).is_ok());
        let nofile = rustix::process::Resource::Nofile as u32;
        let mut plan = only(&[Layer::Limits, Layer::Capabilities], &["limit", "7"]);
        assert_eq!(nofile, 7);
        plan.limits(limits);
        let held = run(&plan);
        assert_eq!((number(&held.text, "limit "), held.errno()), (100, Some(EPERM)), "{held:?}");
    });
}

#[test]
fn session_alone_is_a_session() {
    both(|| {
        assert!(run(&only(&[Layer::Session], &["session"])).text.ends_with("ok own\n"));
        assert!(run(&only(&[Layer::Uts], &["session"])).text.ends_with("ok foreign\n"));
    });
}

#[test]
fn a_leaked_descriptor_does_not_arrive() {
    both(|| {
        let (_place, path) = canary();
        let leaked = std::fs::File::open(path).unwrap();
        let leaked = rustix::io::fcntl_dupfd_cloexec(&leaked, 77).unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        let number = format!("fd {}\n", leaked.as_raw_fd());
        assert!(bare(&["descriptors"]).contains(&number));
        for layers in [&[Layer::Descriptors][..], &Layer::ALL] {
            // A launcher that was started with the leak in place.
            let seen = rig::run_with(&Launcher::start().unwrap(), &only(layers, &["descriptors"]));
            assert_eq!(seen.text, "fd 0\nfd 1\nfd 2\nok descriptors\n");
        }
    });
}

#[test]
fn uts_alone_has_a_name_of_its_own() {
    both(|| {
        let inside = run(&only(&[Layer::Uts], &["hostname"])).text;
        assert!(inside.starts_with("name sandbox\n"), "{inside}");
        assert_ne!(bare(&["hostname"]), inside);
    });
}

#[test]
fn ipc_alone_has_segments_of_its_own() {
    both(|| {
        let key = (0x5246_0000 + std::process::id() % 0xffff).to_string();
        assert!(bare(&["segment-make", &key]).ends_with("ok segment\n"));
        let inside = run(&only(&[Layer::Ipc], &["segment-find", &key]));
        let without = run(&only(&[Layer::Uts], &["segment-find", &key]));
        assert!(bare(&["segment-remove", &key]).ends_with("ok segment\n"));
        assert_eq!(inside.errno(), Some(ENOENT), "{inside:?}");
        assert!(without.is_ok(), "{without:?}");
    });
}

#[test]
fn user_alone_is_another_user() {
    both(|| {
        let inside = run(&only(&[Layer::User], &["ids"])).text;
        assert!(inside.starts_with("ids 1000 1000\n"), "{inside}");
        let map = run(&only(&[Layer::User], &["read", "/proc/self/uid_map"])).text;
        let words: Vec<u32> =
            map.lines().next().unwrap().split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [1000, outside, 1] = words[..] else { panic!("{map}") };
        if rig::is_root() {
            assert!(
                outside >= 0x9000_0000,
                "never root, and no number that /etc/subuid hands out: {outside}"
            );
        } else {
            assert_eq!(outside, rig::USER);
        }
    });
}

#[test]
fn cgroup_alone_is_another_namespace() {
    both(|| {
        let inode = |text: &str| number(text, "inode ");
        let inside = inode(&run(&only(&[Layer::Cgroup], &["namespace", "cgroup"])).text);
        let host = inode(&bare(&["namespace", "cgroup"]));
        assert_ne!(inside, host);
        assert_eq!(inode(&run(&only(&[Layer::Uts], &["namespace", "cgroup"])).text), host);
        // The place in the host's hierarchy does not show.
        let places = run(&plan(&["read", "/proc/self/cgroup"])).text;
        assert!(places.lines().any(|line| line.ends_with(":/")) && !places.contains("ringfence"), "{places}");
    });
}

/// All layers together: what a program can learn of the host from /proc and /dev (attacks FS-09, FS-28).
#[test]
fn nothing_of_the_host_shows_in_proc() {
    both(|| {
        for path in [
            "/proc/kcore",
            "/proc/sys/kernel/core_pattern",
            "/proc/sysrq-trigger",
            "/proc/kallsyms",
            "/sys/kernel",
            "/dev/mem",
            "/dev/tty",
        ] {
            assert_eq!(run(&plan(&["read", path])).errno(), Some(ENOENT), "{path}");
        }
        for path in [
            "/proc/1/maps",
            "/proc/1/environ",
            "/proc/1/mem",
            "/proc/1/root/etc/shadow",
            "/proc/1/cwd/etc/shadow",
        ] {
            let refused = run(&plan(&["read", path])).errno();
            assert!(matches!(refused, Some(EACCES | EPERM | ENOENT)), "{path}: {refused:?}");
        }
        for path in ["/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/self/status"] {
            assert!(run(&plan(&["read", path])).is_ok(), "{path}");
        }
    });
}
