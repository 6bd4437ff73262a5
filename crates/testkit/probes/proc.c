/* Acts on processes, identity and kernel objects. */
#include "probe.h"
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ipc.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

extern char **environ;

static int act_hello(int c, char **v) { (void)c; (void)v; return report("hello", 0, "ran"); }
static int act_exec(int c, char **v) { (void)c; return report("exec", become(v), "execve"); }
static int act_execveat(int c, char **v)
{
	(void)c;
	int fd = open(v[0], O_PATH);
	return report("execveat", fd < 0 ? -1 : syscall(SYS_execveat, fd, "", v, environ, AT_EMPTY_PATH), 0);
}
/* The number 0x... of the program's own descriptor may be reused by nobody: try the highest ones too. */
static int act_execveat_dup(int c, char **v)
{
	(void)c;
	int fd = open(v[0], O_PATH), last = EBADF;
	struct rlimit r = { 0, 0 };
	getrlimit(RLIMIT_NOFILE, &r);
	for (long to = 3; to < 70000; to += to < 1100 ? 1 : 997) {
		int at = dup2(fd, (int)to);
		if (at < 0)
			continue;
		syscall(SYS_execveat, at, "", v, environ, AT_EMPTY_PATH);
		last = errno;
		if (at != fd)
			close(at);
	}
	errno = last;
	return report("execveat-dup", -1, "");
}
static int act_memfdexec(int c, char **v)
{
	(void)c;
	char buf[65536];
	ssize_t n;
	int in = open(v[0], O_RDONLY), fd = (int)syscall(SYS_memfd_create, "x", 0);
	if (in < 0 || fd < 0)
		return report("memfdexec", -1, "memfd");
	while ((n = read(in, buf, sizeof buf)) > 0)
		write_all(fd, buf, (size_t)n);
	return report("memfdexec", fexecve(fd, v, environ), "fexecve");
}
static int finish(const char *act, pid_t pid)
{
	int st = 0;
	if (pid < 0)
		return report(act, -1, "start");
	if (waitpid(pid, &st, 0) < 0)
		return report(act, -1, "wait");
	errno = ECHILD;
	return report(act, WIFEXITED(st) && WEXITSTATUS(st) == 0 ? 0 : -1, "child");
}
static int act_fork(int c, char **v)
{
	(void)c;
	(void)v;
	pid_t p = fork();
	if (p == 0)
		_exit(0);
	return finish("fork", p);
}
static int act_vfork(int c, char **v)
{
	(void)c;
	(void)v;
	pid_t p = vfork();
	if (p == 0)
		_exit(0);
	return finish("vfork", p);
}
static int act_clone3(int c, char **v)
{
	(void)c;
	(void)v;
	uint64_t args[8] = { 0, 0, 0, 0, SIGCHLD };
	long p = syscall(SYS_clone3, args, sizeof args);
	if (p == 0)
		_exit(0);
	return finish("clone3", (pid_t)p);
}
static int act_spawn(int c, char **v)
{
	(void)c;
	pid_t p;
	int rc = posix_spawn(&p, v[0], 0, 0, v, environ);
	errno = rc;
	return finish("spawn", rc ? -1 : p);
}
static void *nothing(void *p) { return p; }
static int act_thread(int c, char **v)
{
	int want = c > 0 ? atoi(v[0]) : 4;
	for (int i = 0; i < want; i++) {
		pthread_t t;
		int rc = pthread_create(&t, 0, nothing, 0);
		if (rc) {
			errno = rc;
			return report("thread", -1, "create");
		}
		pthread_join(t, 0);
	}
	return report("thread", 0, "");
}
static int act_newns(int c, char **v)
{
	(void)c;
	long flags = strtol(v[0], 0, 16);
	pid_t p = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (p == 0)
		_exit(0);
	return finish("newns", p);
}
static int act_unshare(int c, char **v) { (void)c; return report("unshare", unshare((int)strtol(v[0], 0, 16)), 0); }
static int act_chroot(int c, char **v) { (void)c; return report("chroot", chroot(v[0]), 0); }
static int act_traceme(int c, char **v) { (void)c; (void)v; return report("traceme", ptrace(PTRACE_TRACEME, 0, 0, 0), 0); }
static int act_vmread(int c, char **v)
{
	(void)c;
	(void)v;
	char from[8] = "canary", to[8] = "";
	struct iovec a = { to, 8 }, b = { from, 8 };
	return report("vmread", process_vm_readv(getpid(), &a, 1, &b, 1, 0), to);
}
static int act_getfd(int c, char **v)
{
	(void)c;
	(void)v;
	int p = (int)syscall(SYS_pidfd_open, getpid(), 0);
	return report("getfd", p < 0 ? -1 : syscall(SYS_pidfd_getfd, p, 1, 0), p < 0 ? "pidfd_open" : "");
}
/* The same against a process that is named, as a debugger does. */
static int act_attach(int c, char **v)
{
	(void)c;
	return report("attach", ptrace(PTRACE_SEIZE, atoi(v[0]), 0, 0), 0);
}
static int act_vmwrite(int c, char **v)
{
	(void)c;
	char from[8] = "PWNED";
	struct iovec a = { from, 6 }, b = { (void *)strtoul(v[1], 0, 16), 6 };
	return report("vmwrite", process_vm_writev(atoi(v[0]), &a, 1, &b, 1, 0), 0);
}
/* Host side: says where it can be written to, and waits for its end. */
static int act_target(int c, char **v)
{
	(void)c;
	(void)v;
	static char room[64] = "untouched";
	char b[64];
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	snprintf(b, sizeof b, "ready %lx.\n", (unsigned long)(uintptr_t)room);
	write_all(1, b, strlen(b));
	while (read(0, b, sizeof b) > 0)
		;
	return report("target", 0, room);
}
/* memfd_secret: memory that not even the kernel maps. */
static int act_memfdsecret(int c, char **v)
{
	(void)c;
	(void)v;
	return report("memfdsecret", syscall(447, 0), 0);
}
static int act_raisenofile(int c, char **v)
{
	(void)c;
	(void)v;
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_max += 1;
	return report("raisenofile", setrlimit(RLIMIT_NOFILE, &r), 0);
}
/* v[0] children, one after the other: never more than one at a time. */
static int act_forkeach(int c, char **v)
{
	(void)c;
	char b[32];
	int n = 0, st;
	for (; n < atoi(v[0]); n++) {
		pid_t p = fork();
		if (p == 0)
			_exit(0);
		if (p < 0 || waitpid(p, &st, 0) < 0)
			break;
	}
	snprintf(b, sizeof b, "%d", n);
	return report("forkeach", n == atoi(v[0]) ? 0 : -1, b);
}
/* A grandchild does it, in a session of its own. */
static int act_grandchild(int c, char **v)
{
	(void)c;
	int st = 0;
	pid_t p = fork();
	if (p == 0) {
		setsid();
		pid_t q = fork();
		if (q == 0) {
			become(v);
			_exit(report("grandchild", -1, "execve"));
		}
		_exit(q > 0 && waitpid(q, &st, 0) == q && WIFEXITED(st) ? WEXITSTATUS(st) : 1);
	}
	return p > 0 && waitpid(p, &st, 0) == p && WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}
/* Another name for the process; what is told about it must not go by that. */
static int act_rename_self(int c, char **v)
{
	(void)c;
	return report("renameself", prctl(PR_SET_NAME, v[0], 0, 0, 0), 0);
}
static int act_kill(int c, char **v) { (void)c; return report("kill", kill(atoi(v[0]), atoi(v[1])), 0); }
static int act_tgkill(int c, char **v)
{
	(void)c;
	return report("tgkill", syscall(SYS_tgkill, atoi(v[0]), atoi(v[0]), atoi(v[1])), 0);
}
static int act_sigqueue(int c, char **v)
{
	(void)c;
	union sigval x = { 0 };
	return report("sigqueue", sigqueue(atoi(v[0]), atoi(v[1]), x), 0);
}
static int act_pidfdkill(int c, char **v)
{
	(void)c;
	int p = (int)syscall(SYS_pidfd_open, atoi(v[0]), 0);
	return report("pidfdkill", p < 0 ? -1 : syscall(SYS_pidfd_send_signal, p, atoi(v[1]), 0, 0), 0);
}
/* SIGIO by descriptor ownership: the kernel sends it, not kill(2). */
static int act_setown(int c, char **v)
{
	(void)c;
	int p[2];
	if (pipe(p))
		return 2;
	int rc = fcntl(p[0], F_SETOWN, atoi(v[0]));
	fcntl(p[0], F_SETSIG, atoi(v[1]));
	fcntl(p[0], F_SETFL, O_ASYNC | O_NONBLOCK);
	write_all(p[1], "x", 1);
	usleep(50000);
	return report("setown", rc, 0);
}
static int act_setuid0(int c, char **v)
{
	(void)c;
	(void)v;
	return report("setuid0", setresuid(0, 0, 0) == 0 && setgid(0) == 0 && getuid() == 0 ? 0 : -1, 0);
}
static int act_euid(int c, char **v)
{
	(void)c;
	(void)v;
	char b[96];
	snprintf(b, sizeof b, "uid=%u euid=%u gid=%u egid=%u", getuid(), geteuid(), getgid(), getegid());
	return report("euid", 0, b);
}
static int act_ids(int c, char **v)
{
	(void)c;
	(void)v;
	char b[160], cwd[4096];
	snprintf(b, sizeof b, "pid=%d ppid=%d sid=%d pgid=%d dumpable=%d", getpid(), getppid(), getsid(0), getpgid(0), prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	return report("cwd", getcwd(cwd, sizeof cwd) ? 0 : -1, cwd) | report("ids", 0, b);
}
static int act_capset(int c, char **v)
{
	(void)c;
	(void)v;
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 1u << 21, 1u << 21, 0 }, { 0, 0, 0 } };
	return report("capset", syscall(SYS_capset, &h, d), "CAP_SYS_ADMIN");
}
static int act_ambient(int c, char **v)
{
	(void)c;
	(void)v;
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2];
	syscall(SYS_capget, &h, d);
	d[0].inheritable = d[0].permitted;
	syscall(SYS_capset, &h, d);
	return report("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0, 0, 0), "CAP_CHOWN");
}
static int act_securebits(int c, char **v) { (void)c; (void)v; return report("securebits", prctl(PR_SET_SECUREBITS, 1, 0, 0, 0), 0); }
static int act_personality(int c, char **v)
{
	(void)c;
	(void)v;
	return report("personality", personality(ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC), 0);
}
/* Installs a filter that allows all, then tries mount(2) with a bad pointer: a filter can only tighten. */
static int act_loosen(int c, char **v)
{
	(void)c;
	(void)v;
	struct sock_filter all[] = { { 6, 0, 0, SECCOMP_RET_ALLOW } };
	struct sock_fprog p = { 1, all };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p, 0, 0))
		return report("loosen", -1, "filter");
	syscall(SYS_mount, 8L, 8L, 8L, 0L, 8L);
	return report("loosen", errno == EPERM || errno == ENOSYS ? -1 : 0, "mount");
}
static int act_raise(int c, char **v)
{
	(void)c;
	(void)v;
	struct rlimit r;
	getrlimit(RLIMIT_RTPRIO, &r);
	r.rlim_max += 1;
	return report("raise", setrlimit(RLIMIT_RTPRIO, &r), "RTPRIO");
}
static int act_prlimit(int c, char **v)
{
	(void)c;
	struct rlimit r;
	return report("prlimit", prlimit(atoi(v[0]), RLIMIT_NOFILE, 0, &r), 0);
}
static int act_realtime(int c, char **v)
{
	(void)c;
	(void)v;
	struct sched_param p = { .sched_priority = 50 };
	return report("realtime", sched_setscheduler(0, SCHED_FIFO, &p), 0);
}
static int act_nice(int c, char **v) { (void)c; (void)v; return report("nice", setpriority(PRIO_PROCESS, 0, -20), 0); }
static int act_mlockall(int c, char **v) { (void)c; (void)v; return report("mlockall", mlockall(MCL_CURRENT), 0); }
static int act_oomadj(int c, char **v)
{
	(void)c;
	(void)v;
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	return report("oomadj", fd < 0 ? -1 : write_all(fd, "-1000", 5), 0);
}
static int act_key(int c, char **v)
{
	(void)c; /* KEY_SPEC_SESSION_KEYRING */
	return report("key", syscall(SYS_add_key, "user", v[0], "x", 1, -3), 0);
}
static int act_iouring(int c, char **v)
{
	(void)c;
	(void)v;
	unsigned char params[256] = { 0 };
	return report("iouring", syscall(SYS_io_uring_setup, 4, params), 0);
}
static int act_shmmake(int c, char **v)
{
	(void)c;
	int id = shmget((key_t)atoi(v[0]), 4096, IPC_CREAT | IPC_EXCL | 0666);
	char *p = id < 0 ? (char *)-1 : shmat(id, 0, 0);
	if (p == (char *)-1)
		return report("shmmake", -1, 0);
	strncpy(p, v[1], 4000);
	return report("shmmake", 0, 0);
}
static int act_shmread(int c, char **v)
{
	(void)c;
	int id = shmget((key_t)atoi(v[0]), 0, 0);
	char *p = id < 0 ? (char *)-1 : shmat(id, 0, SHM_RDONLY);
	return report("shmread", p == (char *)-1 ? -1 : 0, p == (char *)-1 ? "" : p);
}
static int act_shmdrop(int c, char **v)
{
	(void)c;
	int id = shmget((key_t)atoi(v[0]), 0, 0);
	return report("shmdrop", id < 0 ? -1 : shmctl(id, IPC_RMID, 0), 0);
}
static int act_mqmake(int c, char **v)
{
	(void)c;
	mode_t old = umask(0);
	int rc = (int)mq_open(v[0], O_CREAT | O_RDWR, 0666, 0);
	umask(old);
	return report("mqmake", rc, 0);
}
static int act_mqopen(int c, char **v) { (void)c; return report("mqopen", (int)mq_open(v[0], O_RDONLY), 0); }
static int act_mqdrop(int c, char **v) { (void)c; return report("mqdrop", mq_unlink(v[0]), 0); }
static int act_uname(int c, char **v)
{
	(void)c;
	(void)v;
	struct utsname u;
	int rc = uname(&u);
	return report("uname", rc, u.nodename);
}
static int act_cttysteal(int c, char **v)
{
	(void)c;
	(void)v;
	setsid();
	return report("cttysteal", ioctl(0, 0x540E /* TIOCSCTTY */, 1), 0);
}

const struct act proc_acts[] = {
	{ "hello", 0, act_hello }, { "exec", 1, act_exec }, { "execveat", 1, act_execveat },
	{ "execveat-dup", 1, act_execveat_dup }, { "memfdexec", 1, act_memfdexec }, { "fork", 0, act_fork },
	{ "vfork", 0, act_vfork }, { "clone3", 0, act_clone3 }, { "spawn", 1, act_spawn }, { "thread", 0, act_thread },
	{ "newns", 1, act_newns }, { "unshare", 1, act_unshare }, { "traceme", 0, act_traceme },
	{ "vmread", 0, act_vmread }, { "getfd", 0, act_getfd }, { "kill", 2, act_kill }, { "tgkill", 2, act_tgkill },
	{ "sigqueue", 2, act_sigqueue }, { "pidfdkill", 2, act_pidfdkill }, { "setown", 2, act_setown },
	{ "setuid0", 0, act_setuid0 }, { "euid", 0, act_euid }, { "ids", 0, act_ids }, { "capset", 0, act_capset }, { "ambient", 0, act_ambient },
	{ "securebits", 0, act_securebits }, { "personality", 0, act_personality }, { "loosen", 0, act_loosen },
	{ "raise", 0, act_raise }, { "prlimit", 1, act_prlimit }, { "realtime", 0, act_realtime }, { "nice", 0, act_nice },
	{ "mlockall", 0, act_mlockall }, { "oomadj", 0, act_oomadj }, { "key", 1, act_key }, { "iouring", 0, act_iouring },
	{ "shmmake", 2, act_shmmake }, { "shmread", 1, act_shmread }, { "shmdrop", 1, act_shmdrop },
	{ "mqmake", 1, act_mqmake }, { "mqopen", 1, act_mqopen }, { "mqdrop", 1, act_mqdrop }, { "uname", 0, act_uname },
	{ "chroot", 1, act_chroot }, { "attach", 1, act_attach }, { "vmwrite", 2, act_vmwrite }, { "target", 0, act_target },
	{ "memfdsecret", 0, act_memfdsecret }, { "raisenofile", 0, act_raisenofile }, { "forkeach", 1, act_forkeach },
	{ "grandchild", 1, act_grandchild }, { "renameself", 1, act_rename_self }, { "cttysteal", 0, act_cttysteal }, { 0, 0, 0 },
};
