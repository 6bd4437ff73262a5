/* Acts that use up a resource, and acts that produce output of an exact shape. */
#include "probe.h"
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MIB (1024L * 1024L)

/* Touches v[0] MiB of anonymous memory, holds it v[1] ms; says how far it came when refused. */
static int act_mem(int c, char **v)
{
	long want = atol(v[0]);
	char b[32];
	for (long i = 0; i < want; i++) {
		char *p = mmap(0, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		snprintf(b, sizeof b, "%ld", i);
		if (p == MAP_FAILED) {
			perror("mem");
			errno = ENOMEM;
			return report("mem", -1, b);
		}
		for (long k = 0; k < MIB; k += 4096)
			p[k] = 1;
	}
	usleep(c > 1 ? (useconds_t)atol(v[1]) * 1000 : 0);
	snprintf(b, sizeof b, "%ld", want);
	return report("mem", 0, b);
}
static int fill(const char *act, int fd, long mib)
{
	static char block[MIB];
	char b[32];
	memset(block, 'x', sizeof block);
	for (long i = 0; i < mib; i++)
		if (write_all(fd, block, sizeof block)) {
			snprintf(b, sizeof b, "%ld", i);
			return report(act, -1, b);
		}
	snprintf(b, sizeof b, "%ld", mib);
	return report(act, 0, b);
}
static int act_fillfile(int c, char **v)
{
	(void)c;
	signal(SIGXFSZ, SIG_IGN);
	int fd = open(v[0], O_WRONLY | O_CREAT, 0600);
	return fd < 0 ? report("fillfile", -1, "open") : fill("fillfile", fd, atol(v[1]));
}
/* Many files of v[2] MiB each: no single one passes the limit on file size. */
static int act_fillmany(int c, char **v)
{
	(void)c;
	long total = atol(v[1]), each = atol(v[2]);
	static char block[MIB];
	char name[512], b[32];
	memset(block, 'x', sizeof block);
	for (long i = 0; i < total; i++) {
		snprintf(name, sizeof name, "%s/fill-%ld", v[0], i / each);
		int fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
		snprintf(b, sizeof b, "%ld", i);
		if (fd < 0 || write_all(fd, block, sizeof block))
			return report("fillmany", -1, b);
		close(fd);
	}
	snprintf(b, sizeof b, "%ld", total);
	return report("fillmany", 0, b);
}
static int act_memfd(int c, char **v)
{
	(void)c; /* MFD_NOEXEC_SEAL: the harmless kind */
	signal(SIGXFSZ, SIG_IGN);
	long total = atol(v[0]);
	static char block[MIB];
	char b[32];
	memset(block, 'x', sizeof block);
	int fd = -1;
	for (long i = 0; i < total; i++) {
		if (i % 32 == 0)
			fd = (int)syscall(SYS_memfd_create, "fill", 8u);
		snprintf(b, sizeof b, "%ld", i);
		if (fd < 0 || write_all(fd, block, sizeof block))
			return report("memfd", -1, b);
	}
	snprintf(b, sizeof b, "%ld", total);
	return report("memfd", 0, b);
}
static double spin_end;
static void *spin(void *p)
{
	volatile unsigned long x = 0;
	while (now_s() < spin_end)
		for (int i = 0; i < 10000; i++)
			x += (unsigned long)i;
	return p;
}
/* v[0] seconds, v[1] threads; prints CPU seconds per second of wall time. */
static int act_spin(int c, char **v)
{
	(void)c;
	pthread_t t[128];
	int n = atoi(v[1]);
	double start = now_s();
	spin_end = start + atof(v[0]);
	for (int i = 0; i < n && i < 128; i++)
		if (pthread_create(&t[i], 0, spin, 0))
			return report("spin", -1, "thread");
	for (int i = 0; i < n && i < 128; i++)
		pthread_join(t[i], 0);
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	double cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	char b[32];
	snprintf(b, sizeof b, "%.3f", cpu / (now_s() - start));
	return report("spin", 0, b);
}
/* Tries v[0] children that stay; prints how many there were at once. */
static int act_forkbomb(int c, char **v)
{
	(void)c;
	int want = atoi(v[0]), made = 0, err = 0;
	static pid_t kids[20000];
	for (int i = 0; i < want && i < 20000; i++) {
		pid_t p = fork();
		if (p == 0) {
			pause();
			_exit(0);
		}
		if (p < 0) {
			err = errno;
			break;
		}
		kids[made++] = p;
	}
	char b[32];
	snprintf(b, sizeof b, "%d", made);
	for (int i = 0; i < made; i++)
		kill(kids[i], SIGKILL);
	for (int i = 0; i < made; i++)
		waitpid(kids[i], 0, 0);
	errno = err;
	if (err)
		perror("fork");
	errno = err;
	return report("forkbomb", made == want ? 0 : -1, b);
}
static void *stay(void *p)
{
	pause();
	return p;
}
static int act_threadbomb(int c, char **v)
{
	(void)c;
	int want = atoi(v[0]), made = 0, rc = 0;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 65536);
	for (; made < want; made++) {
		pthread_t t;
		if ((rc = pthread_create(&t, &a, stay, 0)))
			break;
	}
	char b[32];
	snprintf(b, sizeof b, "%d", made);
	errno = rc;
	if (rc)
		perror("pthread_create");
	errno = rc;
	int st = report("threadbomb", made == want ? 0 : -1, b);
	_exit(st);
}
static int act_fdbomb(int c, char **v)
{
	(void)c;
	int want = atoi(v[0]), made = 0, err = 0;
	for (; made < want; made++)
		if (dup(1) < 0) {
			err = errno;
			break;
		}
	char b[32];
	snprintf(b, sizeof b, "%d", made);
	errno = err;
	return report("fdbomb", made == want ? 0 : -1, b);
}
/* Makes one file too large in the way v[1]; SIGXFSZ is ignored when v[2] is there. */
static int act_bigfile(int c, char **v)
{
	if (c > 2)
		signal(SIGXFSZ, SIG_IGN);
	int fd = open(v[0], O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		return report("bigfile", -1, "open");
	static char block[65536];
	long rc = 0;
	if (strcmp(v[1], "write") == 0)
		for (int i = 0; i < 64 && rc == 0; i++)
			rc = write_all(fd, block, sizeof block);
	else if (strcmp(v[1], "append") == 0)
		for (int i = 0; i < 64 && rc == 0; i++) {
			int again = open(v[0], O_WRONLY | O_APPEND);
			rc = write_all(again, block, sizeof block);
			close(again);
		}
	else if (strcmp(v[1], "pwrite") == 0)
		rc = pwrite(fd, "x", 1, 1L << 40);
	else if (strcmp(v[1], "fallocate") == 0)
		rc = fallocate(fd, 0, 0, 4 * MIB);
	else
		rc = ftruncate(fd, 1L << 40);
	return report("bigfile", rc, v[1]);
}
/* v[1] bytes to descriptor v[0], a pattern that shows a lost or doubled byte: byte i is the i-th of a fixed sequence. */
static int act_emit(int c, char **v)
{
	(void)c;
	static unsigned char block[65536];
	int fd = atoi(v[0]);
	unsigned long total = strtoul(v[1], 0, 10), at = 0, x = (unsigned long)fd * 7919u;
	while (at < total) {
		size_t n = total - at < sizeof block ? total - at : sizeof block;
		for (size_t i = 0; i < n; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			block[i] = (unsigned char)(x >> 56);
		}
		if (write_all(fd, block, n))
			return 3;
		at += n;
	}
	return 0;
}
/* Writes each argument to standard output as it is, with v[0] ms between: `pieces 20 gh p_abc`. */
static int act_pieces(int c, char **v)
{
	for (int i = 1; i < c; i++) {
		write_all(1, v[i], strlen(v[i]));
		if (i + 1 < c)
			usleep((useconds_t)atoi(v[0]) * 1000);
	}
	return 0;
}
/* v[0] times v[1] bytes `a`, then the word v[2], all in one run of writes. */
static int act_padded(int c, char **v)
{
	(void)c;
	size_t n = strtoul(v[0], 0, 10), w = strlen(v[1]);
	char *p = malloc(n + w + 1);
	memset(p, '.', n);
	memcpy(p + n, v[1], w);
	p[n + w] = '\n';
	return write_all(1, p, n + w + 1) ? 3 : 0;
}
/* One byte each v[0] ms, v[1] times. */
static int act_drip(int c, char **v)
{
	(void)c;
	for (int i = 0; i < atoi(v[1]); i++) {
		if (write_all(1, ".", 1))
			return 3;
		usleep((useconds_t)atoi(v[0]) * 1000);
	}
	return 0;
}
/* Flips between the streams: v[0] numbered lines on each. */
static int act_twostreams(int c, char **v)
{
	(void)c;
	char b[64];
	for (int i = 0; i < atoi(v[0]); i++) {
		write_all(1, b, (size_t)sprintf(b, "out %d\n", i));
		write_all(2, b, (size_t)sprintf(b, "err %d\n", i));
	}
	return 0;
}
static int act_endless(int c, char **v)
{
	(void)c;
	static char block[65536];
	memset(block, 'x', sizeof block);
	signal(SIGPIPE, SIG_IGN);
	for (double end = now_s() + 60; now_s() < end;)
		if (write_all(atoi(v[0]), block, sizeof block))
			usleep(10000);
	return 3;
}
static int act_cat(int c, char **v)
{
	(void)c;
	(void)v;
	static char b[65536];
	ssize_t n;
	while ((n = read(0, b, sizeof b)) > 0)
		if (write_all(1, b, (size_t)n))
			return 3;
	return 0;
}
static int act_say(int c, char **v)
{
	(void)c; /* v[0] descriptor, v[1] text, v[2] exit status */
	write_all(atoi(v[0]), v[1], strlen(v[1]));
	return atoi(v[2]);
}

const struct act res_acts[] = {
	{ "mem", 1, act_mem }, { "fillfile", 2, act_fillfile }, { "fillmany", 3, act_fillmany }, { "memfd", 1, act_memfd },
	{ "spin", 2, act_spin }, { "forkbomb", 1, act_forkbomb }, { "threadbomb", 1, act_threadbomb },
	{ "fdbomb", 1, act_fdbomb }, { "bigfile", 2, act_bigfile }, { "emit", 2, act_emit }, { "pieces", 2, act_pieces },
	{ "padded", 2, act_padded }, { "drip", 2, act_drip }, { "twostreams", 1, act_twostreams },
	{ "endless", 1, act_endless }, { "cat", 0, act_cat }, { "say", 3, act_say }, { 0, 0, 0 },
};
