/* The bad-pointer oracle: a call with arguments that cannot succeed. Outside, the kernel answers EFAULT, EBADF or
 * EINVAL; where a filter stops it first, the answer is EPERM or ENOSYS. Nothing here changes anything. */
#include "probe.h"
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>

#define BAD ((long)8) /* never mapped: vm.mmap_min_addr */
struct call {
	const char *name;
	long nr, a[6];
};

static const struct call denied_calls[] = {
	{ "mount", SYS_mount, { BAD, BAD, BAD, 0, BAD } },
	{ "umount2", SYS_umount2, { BAD, 0 } },
	{ "pivot_root", SYS_pivot_root, { BAD, BAD } },
	{ "chroot", SYS_chroot, { BAD } },
	{ "fsopen", SYS_fsopen, { BAD, 0 } },
	{ "fsconfig", SYS_fsconfig, { -1, 0, BAD, BAD, 0 } },
	{ "fsmount", SYS_fsmount, { -1, 0, 0 } },
	{ "fspick", SYS_fspick, { -1, BAD, 0 } },
	{ "open_tree", SYS_open_tree, { -1, BAD, 0 } },
	{ "move_mount", SYS_move_mount, { -1, BAD, -1, BAD, 0 } },
	{ "mount_setattr", SYS_mount_setattr, { -1, BAD, 0, BAD, 32 } },
	{ "open_tree_attr", 467, { -1, BAD, 0, 0, 0 } },
	{ "setns", SYS_setns, { -1, 0 } },
	{ "io_uring_setup", SYS_io_uring_setup, { 1, BAD } },
	{ "io_uring_enter", SYS_io_uring_enter, { -1, 0, 0, 0, 0, 0 } },
	{ "io_uring_register", SYS_io_uring_register, { -1, 0, BAD, 1 } },
	{ "bpf", SYS_bpf, { 0, BAD, 64 } },
	{ "perf_event_open", SYS_perf_event_open, { BAD, 0, -1, -1, 0 } },
	{ "userfaultfd", SYS_userfaultfd, { 0x7ff0 } },
	{ "kexec_load", SYS_kexec_load, { 0, 99, BAD, 0 } },
	{ "kexec_file_load", SYS_kexec_file_load, { -1, -1, 0, BAD, 0x7ff0 } },
	{ "init_module", SYS_init_module, { BAD, 0, BAD } },
	{ "finit_module", SYS_finit_module, { -1, BAD, 0 } },
	{ "delete_module", SYS_delete_module, { BAD, 0 } },
	{ "reboot", SYS_reboot, { 1, 2, 3, BAD } },
	{ "swapon", SYS_swapon, { BAD, 0 } },
	{ "swapoff", SYS_swapoff, { BAD } },
	{ "acct", SYS_acct, { BAD } },
	{ "quotactl", SYS_quotactl, { 0x7fffffff, BAD, 0, BAD } },
	{ "syslog", SYS_syslog, { 99, BAD, 0 } },
#ifdef SYS_modify_ldt
	{ "modify_ldt", SYS_modify_ldt, { 1, BAD, 16 } },
	{ "iopl", SYS_iopl, { 99 } },
	{ "ioperm", SYS_ioperm, { -1, -1, 1 } },
#endif
	{ "fanotify_init", SYS_fanotify_init, { 0x7fffffff, 0 } },
	{ "vmsplice", SYS_vmsplice, { -1, BAD, 1, 0 } },
	{ "ptrace", SYS_ptrace, { 0x5555, 0x3ffffff, 0, 0 } },
	{ "process_vm_readv", SYS_process_vm_readv, { 0x3ffffff, BAD, 1, BAD, 1, 0 } },
	{ "process_vm_writev", SYS_process_vm_writev, { 0x3ffffff, BAD, 1, BAD, 1, 0 } },
	{ "pidfd_getfd", SYS_pidfd_getfd, { -1, 0, 0 } },
	{ "kcmp", SYS_kcmp, { 0x3ffffff, 0x3ffffff, 0, 0, 0 } },
	{ "process_madvise", SYS_process_madvise, { -1, BAD, 1, 0, 0 } },
	{ "keyctl", SYS_keyctl, { 0x7fff, 0, 0, 0, 0 } },
	{ "add_key", SYS_add_key, { BAD, BAD, BAD, 1, 0 } },
	{ "request_key", SYS_request_key, { BAD, BAD, BAD, 0 } },
	{ "name_to_handle_at", SYS_name_to_handle_at, { -1, BAD, BAD, BAD, 0 } },
	{ "open_by_handle_at", SYS_open_by_handle_at, { -1, BAD, 0 } },
	{ "settimeofday", SYS_settimeofday, { BAD, 0 } },
	{ "clock_settime", SYS_clock_settime, { 0, BAD } },
	{ "clock_adjtime", SYS_clock_adjtime, { 0, BAD } },
	{ "sethostname", SYS_sethostname, { BAD, 4 } },
	{ "setdomainname", SYS_setdomainname, { BAD, 4 } },
	{ "move_pages", SYS_move_pages, { 0x3ffffff, 1, BAD, BAD, BAD, 0 } },
	{ "migrate_pages", SYS_migrate_pages, { 0x3ffffff, 64, BAD, BAD } },
	{ 0, 0, { 0 } },
};

/* What ordinary programs and language runtimes call: these must reach the kernel, so they answer EFAULT and the like. */
static const struct call allowed_calls[] = {
	{ "openat", SYS_openat, { -1, BAD, 0 } },
	{ "statx", SYS_statx, { -1, BAD, 0, 0, BAD } },
	{ "faccessat2", SYS_faccessat2, { -1, BAD, 0, 0 } },
	{ "futex", SYS_futex, { BAD, 0, 0, 0 } },
	{ "getrandom", SYS_getrandom, { BAD, 1, 0 } },
	{ "pipe2", SYS_pipe2, { BAD, 0 } },
	{ "epoll_pwait", SYS_epoll_pwait, { -1, BAD, 1, 0, 0, 8 } },
	{ "ppoll", SYS_ppoll, { BAD, 1, 0, 0, 8 } },
	{ "copy_file_range", SYS_copy_file_range, { -1, 0, -1, 0, 1, 0 } },
	{ "sendfile", SYS_sendfile, { -1, -1, 0, 1 } },
	{ "sched_getaffinity", SYS_sched_getaffinity, { 0, 8, BAD } },
	{ "prlimit64-read", SYS_prlimit64, { 0, 7, 0, BAD } },
	{ "rt_sigaction", SYS_rt_sigaction, { 1, BAD, 0, 8 } },
	{ "timer_create", SYS_timer_create, { 0, BAD, BAD } },
	{ "timerfd_settime", SYS_timerfd_settime, { -1, 0, BAD, 0 } },
	{ "signalfd4", SYS_signalfd4, { -1, BAD, 8, 0 } },
	{ "inotify_add_watch", SYS_inotify_add_watch, { -1, BAD, 1 } },
	{ "clock_nanosleep", SYS_clock_nanosleep, { 1, 0, BAD, 0 } },
	{ "getdents64", SYS_getdents64, { -1, BAD, 64 } },
	{ "pwritev2", SYS_pwritev2, { -1, BAD, 1, 0, 0, 0 } },
	{ "mremap", SYS_mremap, { 1, 4096, 4096, 0 } },
	{ "flock", SYS_flock, { -1, 1 } },
	{ "fsync", SYS_fsync, { -1 } },
	{ "sysinfo", SYS_sysinfo, { BAD } },
	{ "uname", SYS_uname, { BAD } },
	{ "waitid", SYS_waitid, { 1, 0x3ffffff, BAD, 4, 0 } },
	{ "socketpair", SYS_socketpair, { 1, 1, 0, BAD } },
	{ "utimensat", SYS_utimensat, { -1, BAD, 0, 0 } },
	{ "getcpu", SYS_getcpu, { BAD, 0, 0 } },
	{ 0, 0, { 0 } },
};

static int walk(const struct call *t)
{
	for (; t->name; t++)
		report(t->name, syscall(t->nr, t->a[0], t->a[1], t->a[2], t->a[3], t->a[4], t->a[5]), "");
	return 0;
}
static int act_denied(int c, char **v) { (void)c; (void)v; return walk(denied_calls); }
static int act_allowed(int c, char **v) { (void)c; (void)v; return walk(allowed_calls); }

/* One call each that a filter has to tell apart by its arguments: the answer of the kernel, or the filter's. */
static int act_apart(int c, char **v)
{
	(void)c;
	(void)v;
	report("chmod 0644", syscall(SYS_chmod, BAD, 0644), "");
	report("chmod 04755", syscall(SYS_chmod, BAD, 04755), "");
	report("ioctl TIOCNOTTY", syscall(SYS_ioctl, -1, 0x5422, 0), "");
	report("listen", syscall(SYS_listen, -1, 1), "");
	report("prctl", syscall(SYS_prctl, 16 /* PR_GET_NAME */, BAD, 0, 0, 0), "");
	report("chroot", syscall(SYS_chroot, BAD), "");
	return report("umount", syscall(SYS_umount2, "/proc", 0), "");
}
/* Terminal tricks on standard input, also with high bits set that a careless filter compares and the kernel drops. */
static int act_ttyioctl(int c, char **v)
{
	(void)c;
	(void)v;
	const struct { const char *name; unsigned long nr; } t[] = {
		{ "TIOCSTI", 0x5412 }, { "TIOCSTI+2^32", 0x100005412ul },
		{ "TIOCLINUX", 0x541C }, { "TIOCLINUX+2^32", 0x10000541Cul }, { "TIOCSETD", 0x5423 },
	};
	int pipes[2];
	if (pipe(pipes))
		return 2;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		report(t[i].name, syscall(SYS_ioctl, pipes[0], t[i].nr, BAD), "");
	return 0;
}
static int act_tiocsti(int c, char **v)
{
	(void)c;
	(void)v;
	char ch = '#';
	return report("tiocsti", ioctl(0, TIOCSTI, &ch), isatty(0) ? "tty" : "no tty");
}
/* A system call through the 32-bit gate: a filter that only knows x86-64 numbers would be blind to it. */
static int act_int80(int c, char **v)
{
	(void)c;
	(void)v;
#ifdef __x86_64__
	long rc;
	__asm__ volatile("int $0x80" : "=a"(rc) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
	errno = ENOSYS;
	return report("int80", rc > 0 ? 0 : -1, "getpid");
#else
	errno = ENOSYS;
	return report("int80", -1, "not this machine");
#endif
}
/* The x32 numbering: bit 30 set. */
static int act_x32(int c, char **v)
{
	(void)c;
	(void)v;
	return report("x32", syscall(0x40000000 | SYS_getpid), "getpid");
}

const struct act sys_acts[] = {
	{ "calls-denied", 0, act_denied }, { "calls-allowed", 0, act_allowed }, { "apart", 0, act_apart }, { "ttyioctl", 0, act_ttyioctl },
	{ "tiocsti", 0, act_tiocsti }, { "int80", 0, act_int80 }, { "x32", 0, act_x32 }, { 0, 0, 0 },
};
