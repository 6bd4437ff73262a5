//! The calls, in groups with a reason each. What no group names fails with `ENOSYS`, as on a kernel that has not heard
//! of it: programs then fall back instead of failing.

use std::collections::BTreeMap;

use super::{Action, Judgement, Test, assemble};
use crate::wire::canary;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const CLONE_THREAD: u32 = 0x0001_0000;
/// Every `CLONE_NEW*` flag of clone(2) and unshare(2): time, mount, cgroup, uts, ipc, user, pid, net.
const NEW_NAMESPACES: u32 = 0x0000_0080
    | 0x0002_0000
    | 0x0200_0000
    | 0x0400_0000
    | 0x0800_0000
    | 0x1000_0000
    | 0x2000_0000
    | 0x4000_0000;
/// Where the numbering of new calls begins (statx is 332, rseq 334): what a program finds missing from here on, it does
/// without.
const FIRST_NEW_CALL: u32 = 335;
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
    /// The address of the empty path of that exec. An absolute path there would be executed instead of the descriptor, so
    /// the address is a secret of one launch: the memory that it was in is gone when the program runs.
    pub(crate) program_text: u64,
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

/// Numbers by their names. A macro, so that a group of forty calls stays a few lines.
macro_rules! calls {
    ($($name:ident)*) => {
        &[$(libc::$name),*]
    };
}

/// Allowed whatever the arguments.
const ALLOWED: &[Group] = &[
    Group {
        reason: "reading and writing what is already open",
        calls: calls![
            SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv
            SYS_pwritev SYS_preadv2 SYS_pwritev2 SYS_close SYS_close_range SYS_lseek
            SYS_sendfile SYS_splice SYS_tee SYS_copy_file_range SYS_dup SYS_dup2 SYS_dup3
            SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range
            SYS_ftruncate SYS_fallocate SYS_fadvise64 SYS_readahead SYS_pipe SYS_pipe2
            SYS_getdents SYS_getdents64
        ],
    },
    Group {
        reason: "paths: mounts and Landlock decide what they reach",
        calls: calls![
            SYS_stat SYS_fstat SYS_lstat SYS_newfstatat SYS_statx SYS_access SYS_faccessat
            SYS_faccessat2 SYS_readlink SYS_readlinkat SYS_getcwd SYS_chdir SYS_fchdir
            SYS_rename SYS_renameat SYS_renameat2 SYS_rmdir SYS_link SYS_linkat SYS_unlink
            SYS_unlinkat SYS_symlink SYS_symlinkat SYS_truncate SYS_umask SYS_utime SYS_utimes
            SYS_futimesat SYS_utimensat SYS_statfs SYS_fstatfs SYS_chown SYS_fchown SYS_lchown
            SYS_fchownat SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr
            SYS_flistxattr SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr
            SYS_lremovexattr SYS_fremovexattr SYS_inotify_init SYS_inotify_init1
            SYS_inotify_add_watch SYS_inotify_rm_watch
        ],
    },
    Group {
        reason: "own memory; limits and the cgroup bound it",
        calls: calls![
            SYS_brk SYS_mmap SYS_munmap SYS_mprotect SYS_mremap SYS_madvise SYS_msync
            SYS_mincore SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall
            SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_membarrier SYS_mseal
        ],
    },
    Group {
        reason: "threads, waiting and time",
        calls: calls![
            SYS_futex SYS_futex_waitv SYS_set_robust_list SYS_get_robust_list SYS_rseq
            SYS_set_tid_address SYS_gettid SYS_sched_yield SYS_sched_getaffinity
            SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler
            SYS_sched_setscheduler SYS_sched_getattr SYS_sched_setattr
            SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval
            SYS_getpriority SYS_setpriority SYS_ioprio_get SYS_ioprio_set SYS_nanosleep
            SYS_clock_nanosleep SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_time
            SYS_times SYS_getcpu SYS_alarm SYS_getitimer SYS_setitimer SYS_timer_create
            SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete
            SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_poll SYS_ppoll
            SYS_select SYS_pselect6 SYS_epoll_create SYS_epoll_create1 SYS_epoll_ctl
            SYS_epoll_wait SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd SYS_eventfd2
            SYS_signalfd SYS_signalfd4 SYS_io_setup SYS_io_destroy SYS_io_submit
            SYS_io_getevents SYS_io_cancel SYS_restart_syscall
        ],
    },
    Group {
        reason: "signals and processes of the own pid namespace",
        calls: calls![
            SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigsuspend
            SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo
            SYS_sigaltstack SYS_pause SYS_kill SYS_tkill SYS_tgkill SYS_exit SYS_exit_group
            SYS_wait4 SYS_waitid SYS_getpid SYS_getppid SYS_getpgid SYS_getpgrp SYS_setpgid
            SYS_getsid SYS_setsid SYS_pidfd_open SYS_pidfd_send_signal SYS_getrusage
            SYS_getrlimit SYS_setrlimit SYS_prlimit64
        ],
    },
    Group {
        reason: "own identity: nothing can be gained with no_new_privs and no capability",
        calls: calls![
            SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid
            SYS_getgroups SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid
            SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capget SYS_capset
            SYS_prctl SYS_arch_prctl SYS_uname SYS_sysinfo SYS_getrandom
            SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
        ],
    },
    Group {
        reason: "sockets once made; the network namespace decides whom they reach",
        calls: calls![
            SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_getsockname SYS_getpeername
            SYS_getsockopt SYS_setsockopt SYS_shutdown SYS_recvfrom SYS_recvmsg SYS_recvmmsg
            SYS_sendmsg SYS_sendmmsg
        ],
    },
    Group {
        reason: "message queues of the own ipc namespace, bounded by RLIMIT_MSGQUEUE",
        calls: calls![
            SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify
            SYS_mq_getsetattr SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_semget SYS_semop
            SYS_semctl SYS_semtimedop
        ],
    },
];

/// Refused, and told: no plugin needs them, and each has been part of an escape or reaches beyond the sandbox.
const REFUSED: &[Group] = &[
    Group {
        reason: "mounts and roots",
        calls: calls![
            SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_fsopen SYS_fsconfig SYS_fsmount
            SYS_fspick SYS_open_tree SYS_move_mount SYS_mount_setattr SYS_setns
        ],
    },
    Group {
        reason: "files by handle pass every mount",
        calls: calls![SYS_name_to_handle_at SYS_open_by_handle_at],
    },
    Group {
        reason: "other processes' memory and descriptors",
        calls: calls![
            SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_kcmp
            SYS_process_madvise SYS_process_mrelease SYS_move_pages SYS_migrate_pages
        ],
    },
    Group {
        reason: "large kernel interfaces that plugins do not need",
        calls: calls![
            SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_fanotify_init SYS_fanotify_mark
            SYS_vmsplice SYS_quotactl SYS_quotactl_fd SYS_modify_ldt SYS_remap_file_pages
            SYS_mbind SYS_set_mempolicy SYS_get_mempolicy SYS_set_mempolicy_home_node
        ],
    },
    Group { reason: "keys are not in any namespace", calls: calls![SYS_add_key SYS_request_key SYS_keyctl] },
    Group {
        reason: "the machine itself",
        calls: calls![
            SYS_kexec_load SYS_kexec_file_load SYS_init_module SYS_finit_module
            SYS_delete_module SYS_reboot SYS_swapon SYS_swapoff SYS_acct SYS_syslog SYS_iopl
            SYS_ioperm SYS_sethostname SYS_setdomainname SYS_settimeofday SYS_clock_settime
            SYS_clock_adjtime SYS_adjtimex SYS_vhangup SYS_lookup_dcookie SYS_uselib
            SYS_personality
        ],
    },
];

/// Calls that name a path or an address, for `--explain`. Those that no group allows are told and then fail as they would
/// without being watched.
const OBSERVED: &[libc::c_long] = calls![
    SYS_open SYS_openat SYS_stat SYS_lstat SYS_newfstatat SYS_statx SYS_access SYS_faccessat
    SYS_faccessat2 SYS_readlink SYS_readlinkat SYS_chdir SYS_truncate SYS_mkdir SYS_mkdirat
    SYS_mknod SYS_mknodat SYS_rmdir SYS_creat SYS_unlink SYS_unlinkat SYS_rename SYS_renameat
    SYS_renameat2 SYS_link SYS_linkat SYS_symlink SYS_symlinkat SYS_chmod SYS_fchmodat
    SYS_fchmodat2 SYS_chown SYS_lchown SYS_fchownat SYS_utime SYS_utimes SYS_futimesat
    SYS_utimensat SYS_getxattr SYS_lgetxattr SYS_listxattr SYS_llistxattr SYS_setxattr
    SYS_lsetxattr SYS_removexattr SYS_lremovexattr SYS_statfs SYS_inotify_add_watch SYS_bind
    SYS_openat2
];
/// setxattrat, getxattrat, listxattrat, removexattrat (Linux 6.13), which the libc crate has no names for yet.
const OBSERVED_NEW: [libc::c_long; 4] = [463, 464, 465, 466];

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
    // Old calls that no group names are refused like their neighbours: fewer ranges, a shorter program.
    for number in 0..FIRST_NEW_CALL {
        judged.insert(number, Judgement::always(refuse));
    }
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
        // PID 1 refuses what the filter would refuse: it tells both apart by the same registers (`stage::observe`).
        OBSERVED.iter().chain(&OBSERVED_NEW).for_each(|call| set(*call, Judgement::always(Action::Report)));
        if choice.processes {
            let thread = vec![masked(0, NEW_NAMESPACES | CLONE_THREAD, CLONE_THREAD)];
            set(libc::SYS_clone, when(thread, Action::Allow, Action::Report));
            for call in [libc::SYS_fork, libc::SYS_vfork, libc::SYS_execve] {
                set(call, Judgement::always(Action::Report));
            }
            // The program's own exec, which nobody could answer yet: PID 1 waits for it. Nothing else knows that address.
            let own = vec![Test::Whole { argument: 1, value: choice.program_text }];
            set(libc::SYS_execveat, when(own, Action::Allow, Action::Report));
        }
    }
    set(
        libc::c_long::from(canary::NUMBER),
        Judgement::always(Action::Errno(canary::ERRNO.unsigned_abs() as u16)),
    );
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
        let clauses = kinds
            .map(|kind| (vec![masked(mode, FILE_TYPE_BITS | SET_ID_BITS, kind)], Action::Allow))
            .to_vec();
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
        for (kind, protocol) in
            [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
        {
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
        (libc::SYS_sendto, when(vec![Test::Whole { argument: 4, value: 0 }], Action::Allow, refuse)),
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
    let empty = Test::Whole { argument: 1, value: choice.program_text };
    let prepared = vec![equals(0, choice.program_fd), equals(4, AT_EMPTY_PATH), empty];
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

/// The filter of PID 1: what its loop calls, and nothing else.
pub(crate) fn init_filter() -> Vec<u8> {
    let mut judged: Vec<_> = [
        libc::SYS_read,
        libc::SYS_close,
        libc::SYS_poll,
        libc::SYS_wait4,
        libc::SYS_kill,
        libc::SYS_sendmsg,
        libc::SYS_ioctl,
        libc::SYS_process_vm_readv,
        libc::SYS_readlinkat,
        libc::SYS_mmap,
        libc::SYS_getpid,
        libc::SYS_exit_group,
        libc::SYS_openat,
        libc::SYS_fstatfs,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_fcntl,
        libc::SYS_connect,
        // How the kernel resumes poll(2) after PID 1 was stopped and continued, or frozen.
        libc::SYS_restart_syscall,
    ]
    .map(|call| (u32::try_from(call).unwrap_or(u32::MAX), Judgement::always(Action::Allow)))
    .to_vec();
    judged.sort_by_key(|(number, _)| *number);
    assemble(&judged, &Judgement::always(Action::Kill))
}
