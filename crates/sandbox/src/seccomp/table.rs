//! The calls, in groups with a reason each. What no group names fails with `ENOSYS`, as on a kernel that has not heard
//! of it: programs then fall back instead of failing.

use std::collections::BTreeMap;

use super::{Action, Judgement, Test, assemble};
use crate::wire::canary;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const CLONE_THREAD: u32 = 0x0001_0000;
/// Every `CLONE_NEW*` flag of clone(2) and unshare(2): time, mount, cgroup, uts, ipc, user, pid, net.
const NEW_NAMESPACES: u32 = 0x0000_0080 | 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
const SET_ID_BITS: u32 = 0o6000;
const FILE_TYPE_BITS: u32 = 0o170_000;
const MFD_NOEXEC_SEAL: u32 = 0x8;
const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 0x8;

/// Which variant of the filter a plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Choice {
    /// The program may start processes.
    pub(crate) processes: bool,
    /// The number of the descriptor whose exec is allowed when it may not.
    pub(crate) program_fd: u32,
    /// Denied calls are reported to PID 1 instead of only failing.
    pub(crate) report: bool,
    /// Calls that name a path are reported too, and go on.
    pub(crate) observe: bool,
    /// Memory that only a cgroup would count (memfd, System V segments) is refused.
    pub(crate) countable_memory_only: bool,
}

/// A group of calls that share a judgement and a reason.
struct Group {
    reason: &'static str,
    calls: &'static [libc::c_long],
}

/// Allowed whatever the arguments.
const ALLOWED: &[Group] = &[
    Group {
        reason: "reading and writing what is already open",
        calls: &[
            libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
            libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_close,
            libc::SYS_close_range, libc::SYS_lseek, libc::SYS_sendfile, libc::SYS_splice, libc::SYS_tee,
            libc::SYS_copy_file_range, libc::SYS_dup, libc::SYS_dup2, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_flock,
            libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync, libc::SYS_syncfs, libc::SYS_sync_file_range,
            libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fadvise64, libc::SYS_readahead, libc::SYS_pipe,
            libc::SYS_pipe2, libc::SYS_getdents, libc::SYS_getdents64,
        ],
    },
    Group {
        reason: "paths: mounts and Landlock decide what they reach",
        calls: &[
            libc::SYS_stat, libc::SYS_fstat, libc::SYS_lstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_access,
            libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlink, libc::SYS_readlinkat, libc::SYS_getcwd,
            libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_rmdir,
            libc::SYS_link, libc::SYS_linkat, libc::SYS_unlink, libc::SYS_unlinkat, libc::SYS_symlink, libc::SYS_symlinkat,
            libc::SYS_truncate, libc::SYS_umask, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_utimensat,
            libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_chown, libc::SYS_fchown, libc::SYS_lchown, libc::SYS_fchownat,
            libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr,
            libc::SYS_flistxattr, libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr,
            libc::SYS_lremovexattr, libc::SYS_fremovexattr, libc::SYS_inotify_init, libc::SYS_inotify_init1,
            libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
        ],
    },
    Group {
        reason: "own memory; limits and the cgroup bound it",
        calls: &[
            libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise,
            libc::SYS_msync, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock, libc::SYS_mlockall,
            libc::SYS_munlockall, libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect, libc::SYS_membarrier,
            libc::SYS_mseal,
        ],
    },
    Group {
        reason: "threads, waiting and time",
        calls: &[
            libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq,
            libc::SYS_set_tid_address, libc::SYS_gettid, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
            libc::SYS_sched_setaffinity, libc::SYS_sched_getparam, libc::SYS_sched_setparam, libc::SYS_sched_getscheduler,
            libc::SYS_sched_setscheduler, libc::SYS_sched_getattr, libc::SYS_sched_setattr,
            libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min, libc::SYS_sched_rr_get_interval,
            libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_ioprio_get, libc::SYS_ioprio_set, libc::SYS_nanosleep,
            libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday,
            libc::SYS_time, libc::SYS_times, libc::SYS_getcpu, libc::SYS_alarm, libc::SYS_getitimer, libc::SYS_setitimer,
            libc::SYS_timer_create, libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun,
            libc::SYS_timer_delete, libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
            libc::SYS_poll, libc::SYS_ppoll, libc::SYS_select, libc::SYS_pselect6, libc::SYS_epoll_create,
            libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_wait, libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2, libc::SYS_eventfd, libc::SYS_eventfd2, libc::SYS_signalfd, libc::SYS_signalfd4,
            libc::SYS_io_setup, libc::SYS_io_destroy, libc::SYS_io_submit, libc::SYS_io_getevents, libc::SYS_io_cancel,
            libc::SYS_restart_syscall,
        ],
    },
    Group {
        reason: "signals and processes of the own pid namespace",
        calls: &[
            libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend,
            libc::SYS_rt_sigpending, libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
            libc::SYS_sigaltstack, libc::SYS_pause, libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_exit,
            libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid, libc::SYS_getpid, libc::SYS_getppid,
            libc::SYS_getpgid, libc::SYS_getpgrp, libc::SYS_setpgid, libc::SYS_getsid, libc::SYS_setsid,
            libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_getrusage, libc::SYS_getrlimit,
            libc::SYS_setrlimit, libc::SYS_prlimit64,
        ],
    },
    Group {
        reason: "own identity: nothing can be gained with no_new_privs and no capability",
        calls: &[
            libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid,
            libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid,
            libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setfsuid, libc::SYS_setfsgid,
            libc::SYS_setgroups, libc::SYS_capget, libc::SYS_capset, libc::SYS_prctl, libc::SYS_arch_prctl,
            libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom, libc::SYS_landlock_create_ruleset,
            libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
        ],
    },
    Group {
        reason: "sockets once made; the network namespace decides whom they reach",
        calls: &[
            libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_getsockname,
            libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_shutdown, libc::SYS_recvfrom,
            libc::SYS_recvmsg, libc::SYS_recvmmsg, libc::SYS_sendmsg, libc::SYS_sendmmsg,
        ],
    },
    Group {
        reason: "message queues of the own ipc namespace, bounded by RLIMIT_MSGQUEUE",
        calls: &[
            libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend, libc::SYS_mq_timedreceive,
            libc::SYS_mq_notify, libc::SYS_mq_getsetattr, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv,
            libc::SYS_msgctl, libc::SYS_semget, libc::SYS_semop, libc::SYS_semctl, libc::SYS_semtimedop,
        ],
    },
];

/// Refused, and told: no plugin needs them, and each has been part of an escape or reaches beyond the sandbox.
const REFUSED: &[Group] = &[
    Group {
        reason: "mounts and roots",
        calls: &[
            libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_fsopen, libc::SYS_fsconfig,
            libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_mount_setattr,
            libc::SYS_setns,
        ],
    },
    Group {
        reason: "files by handle pass every mount",
        calls: &[libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at],
    },
    Group {
        reason: "other processes' memory and descriptors",
        calls: &[
            libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd,
            libc::SYS_kcmp, libc::SYS_process_madvise, libc::SYS_process_mrelease, libc::SYS_move_pages,
            libc::SYS_migrate_pages,
        ],
    },
    Group {
        reason: "large kernel interfaces that plugins do not need",
        calls: &[
            libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_fanotify_init,
            libc::SYS_fanotify_mark, libc::SYS_vmsplice, libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_modify_ldt,
            libc::SYS_remap_file_pages, libc::SYS_mbind, libc::SYS_set_mempolicy, libc::SYS_get_mempolicy,
            libc::SYS_set_mempolicy_home_node,
        ],
    },
    Group {
        reason: "keys are not in any namespace",
        calls: &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl],
    },
    Group {
        reason: "the machine itself",
        calls: &[
            libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_init_module, libc::SYS_finit_module,
            libc::SYS_delete_module, libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct,
            libc::SYS_syslog, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_sethostname, libc::SYS_setdomainname,
            libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex,
            libc::SYS_vhangup, libc::SYS_lookup_dcookie, libc::SYS_uselib, libc::SYS_personality,
        ],
    },
];

/// Calls that name a path, for `--explain`.
const OBSERVED: &[libc::c_long] = &[
    libc::SYS_open, libc::SYS_openat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_newfstatat, libc::SYS_statx,
    libc::SYS_access, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlink, libc::SYS_readlinkat, libc::SYS_chdir,
    libc::SYS_truncate, libc::SYS_mkdir, libc::SYS_mkdirat, libc::SYS_rmdir, libc::SYS_creat, libc::SYS_unlink,
    libc::SYS_unlinkat, libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_symlinkat,
    libc::SYS_chmod, libc::SYS_fchmodat,
];

/// Every group with its reason and the numbers it names: allowed first, then refused. For people and tests.
///
/// ```
/// let names_mount = ringfence_sandbox::seccomp_reasons().any(|(_, numbers, allowed)| !allowed && numbers.contains(&165));
/// assert!(names_mount);
/// ```
pub fn reasons() -> impl Iterator<Item = (&'static str, &'static [libc::c_long], bool)> {
    let allowed = ALLOWED.iter().map(|group| (group.reason, group.calls, true));
    allowed.chain(REFUSED.iter().map(|group| (group.reason, group.calls, false)))
}

/// The filter of a plugin.
pub(crate) fn filter(choice: Choice) -> Vec<u8> {
    let refuse = if choice.report { Action::Report } else { Action::Errno(EPERM) };
    let mut judged: BTreeMap<u32, Judgement> = BTreeMap::new();
    let mut set = |call: libc::c_long, judgement: Judgement| {
        judged.insert(u32::try_from(call).unwrap_or(u32::MAX), judgement);
    };
    for group in ALLOWED {
        group.calls.iter().for_each(|call| set(*call, Judgement::always(Action::Allow)));
    }
    for group in REFUSED {
        group.calls.iter().for_each(|call| set(*call, Judgement::always(refuse)));
    }
    for (call, judgement) in conditional(choice, refuse) {
        set(call, judgement);
    }
    if choice.observe {
        for call in OBSERVED {
            set(*call, observing(*call));
        }
    }
    set(libc::c_long::from(canary::NUMBER), Judgement::always(Action::Errno(canary::ERRNO.unsigned_abs() as u16)));
    let judged: Vec<_> = judged.into_iter().collect();
    assemble(&judged, &Judgement::always(Action::Errno(ENOSYS)))
}

fn when(tests: Vec<Test>, action: Action, otherwise: Action) -> Judgement {
    Judgement { clauses: vec![(tests, action)], otherwise }
}

fn equals(argument: u8, value: u32) -> Test {
    Test::Masked { argument, mask: u32::MAX, value }
}

fn masked(argument: u8, mask: u32, value: u32) -> Test {
    Test::Masked { argument, mask, value }
}

/// Calls whose arguments decide.
fn conditional(choice: Choice, refuse: Action) -> Vec<(libc::c_long, Judgement)> {
    let mut calls = files(refuse);
    calls.extend(sockets(refuse));
    calls.extend(processes(choice, refuse));
    calls.extend(memory(choice, refuse));
    calls.push((libc::SYS_personality, when(vec![equals(0, u32::MAX)], Action::Allow, refuse)));
    calls.push((libc::SYS_unshare, when(vec![masked(0, NEW_NAMESPACES, 0)], Action::Allow, refuse)));
    // A listener of its own would let a program answer for its children; the kernel allows only one anyway.
    let no_listener = masked(1, SECCOMP_FILTER_FLAG_NEW_LISTENER, 0);
    calls.push((libc::SYS_seccomp, when(vec![no_listener], Action::Allow, refuse)));
    // Commands that type into, or take over, a terminal. Only the low half counts: the kernel reads 32 bits.
    let terminal = [0x5412, 0x541c, 0x5423, 0x541d, 0x540e].map(|command| (vec![equals(1, command)], refuse));
    calls.push((libc::SYS_ioctl, Judgement { clauses: terminal.to_vec(), otherwise: Action::Allow }));
    calls
}

/// File modes: no set-id bit, no device. A mode counts only where the call creates (open(2)).
fn files(refuse: Action) -> Vec<(libc::c_long, Judgement)> {
    let no_set_id = |argument| when(vec![masked(argument, SET_ID_BITS, 0)], Action::Allow, refuse);
    let mut calls: Vec<_> = [
        (libc::SYS_chmod, 1),
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (libc::SYS_fchmodat2, 2),
        (libc::SYS_mkdir, 1),
        (libc::SYS_mkdirat, 2),
        (libc::SYS_creat, 1),
    ]
    .map(|(call, argument)| (call, no_set_id(argument)))
    .to_vec();
    for (call, mode) in [(libc::SYS_mknod, 1), (libc::SYS_mknodat, 2)] {
        let kinds = [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK];
        let clauses = kinds.map(|kind| (vec![masked(mode, FILE_TYPE_BITS | SET_ID_BITS, kind)], Action::Allow)).to_vec();
        calls.push((call, Judgement { clauses, otherwise: refuse }));
    }
    calls.push((libc::SYS_open, opening(1, 2, refuse)));
    calls.push((libc::SYS_openat, opening(2, 3, refuse)));
    // The flags of openat2 lie in memory, out of the filter's sight; libraries fall back to openat.
    calls.push((libc::SYS_openat2, Judgement::always(Action::Errno(ENOSYS))));
    calls
}

fn opening(flags: u8, mode: u8, refuse: Action) -> Judgement {
    const O_CREAT: u32 = 0o100;
    const O_TMPFILE_BIT: u32 = 0o20_000_000;
    Judgement {
        clauses: vec![
            (vec![masked(mode, SET_ID_BITS, 0)], Action::Allow),
            (vec![masked(flags, O_CREAT | O_TMPFILE_BIT, 0)], Action::Allow),
        ],
        otherwise: refuse,
    }
}

/// Socket kinds: an allow-list of families, and no internet protocol beside TCP and UDP. Connecting is PID 1's work:
/// it refuses internet addresses by name, and connects unix sockets on the program's behalf, after looking where the
/// socket file lies (a read-only mount does not stop a connect). Where PID 1 cannot listen, connecting fails.
fn sockets(refuse: Action) -> Vec<(libc::c_long, Judgement)> {
    const SOCKET_TYPE_BITS: u32 = 0xf;
    // No unix datagrams: their sendmsg(2) can name any socket file, and the name lies in memory, out of sight.
    let unix: Vec<_> = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET]
        .map(|kind| {
            (vec![equals(0, libc::AF_UNIX as u32), masked(1, SOCKET_TYPE_BITS, kind as u32)], Action::Allow)
        })
        .to_vec();
    let mut clauses = unix.clone();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)] {
            for protocol in [0, protocol] {
                let tests = vec![
                    equals(0, family as u32),
                    masked(1, SOCKET_TYPE_BITS, kind as u32),
                    equals(2, protocol as u32),
                ];
                clauses.push((tests, Action::Allow));
            }
        }
    }
    // getifaddrs(3) and if_nameindex(3) ask over netlink; the answer is the empty namespace's.
    clauses.push((vec![equals(0, libc::AF_NETLINK as u32), equals(2, 0)], Action::Allow));
    vec![
        (libc::SYS_socket, Judgement { clauses, otherwise: refuse }),
        (libc::SYS_socketpair, Judgement { clauses: unix, otherwise: refuse }),
        (libc::SYS_connect, Judgement::always(refuse)),
        (libc::SYS_sendto, when(vec![Test::Zero { argument: 4 }], Action::Allow, refuse)),
    ]
}

/// Without the permission: threads, and the one exec that PID 1 prepared. The flags of clone3 lie in memory, so it
/// does not exist here; libraries fall back to clone.
fn processes(choice: Choice, refuse: Action) -> Vec<(libc::c_long, Judgement)> {
    const AT_EMPTY_PATH: u32 = 0x1000;
    let missing = (libc::SYS_clone3, Judgement::always(Action::Errno(ENOSYS)));
    if choice.processes {
        let allow = Judgement::always(Action::Allow);
        return vec![
            missing,
            (libc::SYS_clone, when(vec![masked(0, NEW_NAMESPACES, 0)], Action::Allow, refuse)),
            (libc::SYS_fork, allow.clone()),
            (libc::SYS_vfork, allow.clone()),
            (libc::SYS_execve, allow.clone()),
            (libc::SYS_execveat, allow),
        ];
    }
    let thread = masked(0, NEW_NAMESPACES | CLONE_THREAD, CLONE_THREAD);
    let prepared = vec![equals(0, choice.program_fd), equals(4, AT_EMPTY_PATH)];
    vec![
        missing,
        (libc::SYS_clone, when(vec![thread], Action::Allow, refuse)),
        (libc::SYS_fork, Judgement::always(refuse)),
        (libc::SYS_vfork, Judgement::always(refuse)),
        (libc::SYS_execve, Judgement::always(refuse)),
        (libc::SYS_execveat, when(prepared, Action::Allow, refuse)),
    ]
}

/// Memory behind a descriptor or a System V key. With processes, a memfd must not be executable: it would be a file
/// that no mount option holds.
fn memory(choice: Choice, refuse: Action) -> Vec<(libc::c_long, Judgement)> {
    let segments = [libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmdt, libc::SYS_shmctl];
    let (memfd, segment) = if choice.countable_memory_only {
        (Judgement::always(Action::Errno(ENOSYS)), Action::Errno(ENOSYS))
    } else if choice.processes {
        (when(vec![masked(1, MFD_NOEXEC_SEAL, MFD_NOEXEC_SEAL)], Action::Allow, refuse), Action::Allow)
    } else {
        (Judgement::always(Action::Allow), Action::Allow)
    };
    let mut calls = segments.map(|call| (call, Judgement::always(segment))).to_vec();
    calls.push((libc::SYS_memfd_create, memfd));
    calls
}

/// As the call's own judgement, but told: what the filter would allow is reported and goes on.
fn observing(call: libc::c_long) -> Judgement {
    let own = files(Action::Errno(EPERM)).into_iter().find(|(known, _)| *known == call).map(|(_, judgement)| judgement);
    let Some(mut own) = own else { return Judgement::always(Action::Report) };
    let told = |action: Action| if action == Action::Allow { Action::Report } else { action };
    own.clauses.iter_mut().for_each(|(_, action)| *action = told(*action));
    own.otherwise = told(own.otherwise);
    own
}

/// The filter of PID 1: what its loop calls, and nothing else.
pub(crate) fn init_filter() -> Vec<u8> {
    let mut judged: Vec<_> = [
        libc::SYS_read, libc::SYS_close, libc::SYS_poll, libc::SYS_wait4, libc::SYS_kill, libc::SYS_sendmsg,
        libc::SYS_ioctl, libc::SYS_process_vm_readv, libc::SYS_readlinkat, libc::SYS_mmap, libc::SYS_getpid,
        libc::SYS_exit_group, libc::SYS_openat, libc::SYS_fstatfs, libc::SYS_pidfd_open, libc::SYS_pidfd_getfd,
        libc::SYS_fcntl, libc::SYS_connect,
    ]
    .map(|call| (u32::try_from(call).unwrap_or(u32::MAX), Judgement::always(Action::Allow)))
    .to_vec();
    judged.sort_by_key(|(number, _)| *number);
    assemble(&judged, &Judgement::always(Action::Kill))
}
