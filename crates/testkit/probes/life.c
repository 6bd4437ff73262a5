/* Acts about living and dying: processes that hide, hang on, refuse to end, or end in a particular way. */
#include "probe.h"
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>

static void ready(void) { write_all(1, "ready\n", 6); }
static int act_exit(int c, char **v) { (void)c; return atoi(v[0]); }
static int act_die(int c, char **v)
{
	(void)c; /* by its own signal */
	struct rlimit none = { 0, 0 };
	setrlimit(RLIMIT_CORE, &none);
	signal(atoi(v[0]), SIG_DFL);
	kill(getpid(), atoi(v[0]));
	sleep(5);
	return 3;
}
static int act_segv(int c, char **v)
{
	(void)c;
	(void)v;
	struct rlimit none = { 0, 0 };
	setrlimit(RLIMIT_CORE, &none);
	*(volatile int *)8 = 1;
	return 3;
}
/* A core file is wanted: the limit goes as high as it can, then a real fault. */
static int act_core(int c, char **v)
{
	(void)c;
	(void)v;
	struct rlimit r = { RLIM_INFINITY, RLIM_INFINITY };
	if (setrlimit(RLIMIT_CORE, &r)) {
		getrlimit(RLIMIT_CORE, &r);
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_CORE, &r);
	}
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	*(volatile int *)8 = 1;
	return 3;
}
static int act_sleep(int c, char **v)
{
	(void)c;
	ready();
	double end = now_s() + atof(v[0]);
	while (now_s() < end)
		usleep(20000);
	return report("sleep", 0, "");
}
static volatile double asked;
static void on_term(int s) { (void)s; asked = now_s(); }
/* Answers SIGTERM only by noting the time; writes the time since then, again and again, into the file. */
static int act_ignoreterm(int c, char **v)
{
	(void)c;
	signal(SIGTERM, on_term);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	int fd = open(v[0], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ready();
	for (double end = now_s() + 60; now_s() < end; usleep(10000)) {
		char b[32];
		int n = snprintf(b, sizeof b, "%015.6f", asked > 0 ? now_s() - asked : 0.0);
		if (pwrite(fd, b, (size_t)n, 0) < 0)
			return 3;
	}
	return 3;
}
/* Ends at once and politely when asked. */
static void leave(int s) { (void)s; _exit(7); }
static int act_polite(int c, char **v)
{
	(void)c;
	(void)v;
	signal(SIGTERM, leave);
	ready();
	for (int i = 0; i < 6000; i++)
		usleep(10000);
	return 3;
}
static int act_stopself(int c, char **v)
{
	(void)c;
	(void)v;
	signal(SIGTERM, SIG_IGN);
	ready();
	kill(getpid(), SIGSTOP);
	sleep(60);
	return 3;
}
/* Double fork, new session, all descriptors closed; only the grandchild lives on. v[0] seconds, v[1] how the first ends. */
static int act_daemonize(int c, char **v)
{
	(void)c;
	pid_t p = fork();
	if (p < 0)
		return report("daemonize", -1, "fork");
	if (p == 0) {
		setsid();
		if (fork() == 0) {
			signal(SIGTERM, SIG_IGN);
			signal(SIGHUP, SIG_IGN);
			for (int fd = 0; fd < 64; fd++)
				close(fd);
			sleep((unsigned)atoi(v[0]));
		}
		_exit(0);
	}
	waitpid(p, 0, 0);
	ready();
	if (strcmp(v[1], "stay") == 0)
		sleep(60);
	return report("daemonize", 0, "");
}
/* A grandchild in its own session keeps standard output open; the first process ends. */
static int act_holdpipe(int c, char **v)
{
	(void)c;
	pid_t p = fork();
	if (p < 0)
		return report("holdpipe", -1, "fork");
	if (p == 0) {
		setsid();
		signal(SIGTERM, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		sleep((unsigned)atoi(v[0]));
		_exit(0);
	}
	return report("holdpipe", 0, "");
}
/* The parent ends as soon as the child lives: whoever walks the tree of processes comes too late. */
static int act_forkrace(int c, char **v)
{
	(void)c;
	signal(SIGTERM, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	ready();
	if (fork() > 0)
		sleep((unsigned)atoi(v[0]));
	for (double end = now_s() + atof(v[0]); now_s() < end;) {
		pid_t p = fork();
		if (p > 0)
			_exit(0);
		if (p < 0)
			usleep(1000);
		else
			setsid();
	}
	return 3;
}
/* A SIGTERM handler that forks, and a process that waits inside vfork. */
static void fork_more(int s) { (void)s; if (fork() == 0) sleep(60); }
static int act_forkonterm(int c, char **v)
{
	(void)c;
	(void)v;
	signal(SIGTERM, fork_more);
	ready();
	for (int i = 0; i < 6000; i++)
		usleep(10000);
	return 3;
}
static int act_vforkwait(int c, char **v)
{
	(void)c;
	(void)v;
	signal(SIGTERM, SIG_IGN);
	ready();
	if (vfork() == 0) {
		sleep(60);
		_exit(0);
	}
	return 3;
}
/* v[0] children that end and are never waited for, half of them reparented. */
static int act_zombies(int c, char **v)
{
	(void)c;
	int made = 0, want = atoi(v[0]);
	for (int i = 0; i < want; i++) {
		pid_t p = fork();
		if (p == 0) {
			if (i % 2 && fork() == 0)
				_exit(0);
			_exit(0);
		}
		made += p > 0;
		if (p < 0)
			usleep(100);
	}
	char b[32];
	snprintf(b, sizeof b, "%d", made);
	return report("zombies", 0, b);
}
/* Counts the signal v[0] until its input ends, then prints how many came. */
static volatile sig_atomic_t came;
static void count(int s) { (void)s; came++; }
static int act_witness(int c, char **v)
{
	(void)c;
	char b[32];
	struct sigaction a = { .sa_handler = count };
	sigaction(atoi(v[0]), &a, 0);
	ready();
	ssize_t n;
	while ((n = read(0, b, sizeof b)) > 0 || (n < 0 && errno == EINTR))
		;
	snprintf(b, sizeof b, "%d", (int)came);
	return report("witness", 0, b);
}
/* Runs v[0..] on a new terminal that is also its controlling one, and relays what it prints. */
static int act_withpty(int c, char **v)
{
	(void)c;
	char buf[4096];
	int m = posix_openpt(O_RDWR | O_NOCTTY);
	if (m < 0 || grantpt(m) || unlockpt(m))
		return report("withpty", -1, "pty");
	const char *name = ptsname(m);
	pid_t p = fork();
	if (p == 0) {
		setsid();
		int s = open(name, O_RDWR);
		struct termios t;
		ioctl(s, TIOCSCTTY, 0);
		tcgetattr(s, &t);
		cfmakeraw(&t);
		tcsetattr(s, TCSANOW, &t);
		dup2(s, 0);
		dup2(s, 1);
		dup2(s, 2);
		close(s);
		close(m);
		become(v);
		_exit(126);
	}
	int st = 0;
	ssize_t n;
	struct pollfd pf = { m, POLLIN, 0 };
	while (poll(&pf, 1, 15000) > 0 && (n = read(m, buf, sizeof buf)) > 0)
		write_all(1, buf, (size_t)n);
	kill(p, SIGKILL);
	waitpid(p, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128;
}
/* v[0] lowers the number of open files, then becomes v[1..]. */
static int act_fewfiles(int c, char **v)
{
	(void)c;
	struct rlimit r = { (rlim_t)atoi(v[0]), (rlim_t)atoi(v[0]) };
	setrlimit(RLIMIT_NOFILE, &r);
	return report("fewfiles", become(v + 1), 0);
}

const struct act life_acts[] = {
	{ "exit", 1, act_exit }, { "die", 1, act_die }, { "segv", 0, act_segv }, { "core", 0, act_core },
	{ "sleep", 1, act_sleep }, { "ignoreterm", 1, act_ignoreterm }, { "polite", 0, act_polite },
	{ "stopself", 0, act_stopself }, { "daemonize", 2, act_daemonize }, { "holdpipe", 1, act_holdpipe },
	{ "forkrace", 1, act_forkrace }, { "forkonterm", 0, act_forkonterm }, { "vforkwait", 0, act_vforkwait },
	{ "zombies", 1, act_zombies }, { "witness", 1, act_witness }, { "withpty", 1, act_withpty },
	{ "fewfiles", 2, act_fewfiles }, { 0, 0, 0 },
};
