/* Acts on files. Each does exactly one thing to the path it is given. */
#include "probe.h"
#include <dirent.h>
#include <ftw.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static int act_read(int c, char **v)
{
	(void)c;
	char buf[65536];
	int fd = open(v[0], O_RDONLY | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf);
	return report_bytes("read", n, buf, n > 0 ? (size_t)n : 0);
}
static int act_openr(int c, char **v) { (void)c; return report("openr", open(v[0], O_RDONLY | O_NONBLOCK), 0); }
static int act_openw(int c, char **v) { (void)c; return report("openw", open(v[0], O_WRONLY | O_NONBLOCK), 0); }
static int act_opath(int c, char **v) { (void)c; return report("opath", open(v[0], O_PATH), 0); }
static int act_stat(int c, char **v)
{
	(void)c;
	struct stat s;
	char buf[96];
	int rc = stat(v[0], &s);
	snprintf(buf, sizeof buf, "mode=%o uid=%u size=%lld", s.st_mode, s.st_uid, (long long)s.st_size);
	return report("stat", rc, rc ? "" : buf);
}
static int act_list(int c, char **v)
{
	(void)c;
	char buf[65536];
	size_t at = 0;
	DIR *d = opendir(v[0]);
	struct dirent *e;
	while (d && (e = readdir(d)) && at + 300 < sizeof buf)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			at += (size_t)snprintf(buf + at, sizeof buf - at, "%s ", e->d_name);
	return report_bytes("list", d ? 0 : -1, buf, at);
}
static int put(const char *act, const char *path, int flags)
{
	int fd = open(path, flags, 0644);
	int rc = fd < 0 ? -1 : write_all(fd, "PWNED", 5);
	return report(act, rc, "");
}
static int act_create(int c, char **v) { (void)c; return put("create", v[0], O_WRONLY | O_CREAT | O_EXCL); }
static int act_write(int c, char **v) { (void)c; return put("write", v[0], O_WRONLY); }
static int act_append(int c, char **v) { (void)c; return put("append", v[0], O_WRONLY | O_APPEND); }
static int act_through(int c, char **v) { (void)c; return put("through", v[0], O_WRONLY | O_CREAT); }
static int act_truncate(int c, char **v) { (void)c; return report("truncate", truncate(v[0], 0), 0); }
static int act_rename(int c, char **v) { (void)c; return report("rename", rename(v[0], v[1]), 0); }
static int act_unlink(int c, char **v) { (void)c; return report("unlink", unlink(v[0]), 0); }
static int act_mkdir(int c, char **v) { (void)c; return report("mkdir", mkdir(v[0], 0755), 0); }
static int act_rmdir(int c, char **v) { (void)c; return report("rmdir", rmdir(v[0]), 0); }
static int act_symlink(int c, char **v) { (void)c; return report("symlink", symlink(v[0], v[1]), 0); }
static int act_mkfifo(int c, char **v) { (void)c; return report("mkfifo", mkfifo(v[0], 0644), 0); }
static int act_chmod(int c, char **v)
{
	(void)c;
	return report("chmod", chmod(v[0], (mode_t)strtol(v[1], 0, 8)), 0);
}
static int act_fchmod(int c, char **v)
{
	(void)c;
	int fd = open(v[0], O_RDONLY);
	return report("fchmod", fd < 0 ? -1 : fchmod(fd, (mode_t)strtol(v[1], 0, 8)), 0);
}
static int act_mkmode(int c, char **v)
{
	(void)c; /* the mode comes with the creation, not by a later chmod */
	umask(0);
	return report("mkmode", open(v[0], O_WRONLY | O_CREAT | O_EXCL, (mode_t)strtol(v[1], 0, 8)), 0);
}
static int act_chown(int c, char **v) { (void)c; return report("chown", chown(v[0], getuid(), getgid()), 0); }
static int act_utime(int c, char **v)
{
	(void)c;
	struct timespec t[2] = { { 1, 0 }, { 1, 0 } };
	return report("utime", utimensat(AT_FDCWD, v[0], t, 0), 0);
}
static int act_setxattr(int c, char **v)
{
	(void)c;
	return report("setxattr", setxattr(v[0], "user.ringfence", "PWNED", 5, 0), 0);
}
static int act_setcap(int c, char **v)
{
	(void)c; /* revision 2, cap_setuid permitted and effective */
	static const unsigned char cap[20] = { 1, 0, 0, 2, 0x80 };
	return report("setcap", setxattr(v[0], "security.capability", cap, sizeof cap, 0), 0);
}
static int act_link(int c, char **v) { (void)c; return report("link", link(v[0], v[1]), 0); }
static int act_linkfd(int c, char **v)
{
	(void)c; /* by /proc/self/fd/N, the way without a capability */
	char name[64];
	int fd = open(v[0], O_PATH);
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	return report("linkfd", fd < 0 ? -1 : linkat(AT_FDCWD, name, AT_FDCWD, v[1], AT_SYMLINK_FOLLOW), 0);
}
static int act_linkempty(int c, char **v)
{
	(void)c;
	int fd = open(v[0], O_PATH);
	return report("linkempty", fd < 0 ? -1 : linkat(fd, "", AT_FDCWD, v[1], AT_EMPTY_PATH), 0);
}
static int act_mknod(int c, char **v)
{
	(void)c;
	mode_t kind = v[1][0] == 'b' ? S_IFBLK : S_IFCHR;
	return report("mknod", mknod(v[0], kind | 0666, makedev((unsigned)atoi(v[2]), (unsigned)atoi(v[3]))), 0);
}
static int act_mmapwrite(int c, char **v)
{
	(void)c;
	int fd = open(v[0], O_RDWR);
	char *p = fd < 0 ? MAP_FAILED : mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		memcpy(p, "PWNED", 5);
	return report("mmapwrite", p == MAP_FAILED ? -1 : 0, 0);
}
static int act_fallocate(int c, char **v)
{
	(void)c;
	int fd = open(v[0], O_WRONLY);
	return report("fallocate", fd < 0 ? -1 : fallocate(fd, 0, 0, 65536), 0);
}
static int act_otmpfile(int c, char **v)
{
	(void)c;
	int fd = open(v[0], O_TMPFILE | O_WRONLY, 0600);
	return report("otmpfile", fd < 0 ? -1 : write_all(fd, "PWNED", 5), 0);
}
/* v[1] is how the first descriptor is opened: ro, path; v[2] the directory of magic links. */
static int act_reopen(int c, char **v)
{
	(void)c;
	char name[64];
	int fd = open(v[0], v[1][0] == 'p' ? O_PATH : O_RDONLY);
	if (fd < 0)
		return report("reopen", -1, "first open");
	snprintf(name, sizeof name, "%s/%d", v[2], fd);
	int again = open(name, O_WRONLY);
	return report("reopen", again < 0 ? -1 : write_all(again, "PWNED", 5), "second open");
}
/* Holds the directory v[0], says so, waits until v[1] is there, then reads v[2] beside or above the held one. */
static int act_heldwalk(int c, char **v)
{
	(void)c;
	char buf[4096];
	int dir = open(v[0], O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return report("heldwalk", -1, "hold");
	write_all(1, "ready\n", 6);
	for (int i = 0; i < 1000 && access(v[1], F_OK); i++)
		usleep(10000);
	int fd = openat(dir, v[2], O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf);
	return report_bytes("heldwalk", n, buf, n > 0 ? (size_t)n : 0);
}
static int act_handle(int c, char **v)
{
	(void)c;
	struct { struct file_handle h; unsigned char room[128]; } f;
	int mount_id;
	char buf[4096];
	f.h.handle_bytes = sizeof f.room;
	int rc = name_to_handle_at(AT_FDCWD, v[0], &f.h, &mount_id, 0);
	if (rc < 0)
		return report("handle", -1, "name");
	int at = open(v[0], O_RDONLY);
	int fd = open_by_handle_at(at, &f.h, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf);
	return report_bytes("handle", n, buf, n > 0 ? (size_t)n : 0);
}
static int act_readlink(int c, char **v)
{
	char buf[4096], all[16384];
	size_t at = 0;
	ssize_t n = 0;
	for (int i = 0; i < c && n >= 0; i++) {
		n = readlink(v[i], buf, sizeof buf - 1);
		buf[n > 0 ? n : 0] = 0;
		at += (size_t)snprintf(all + at, sizeof all - at, "%s ", buf);
	}
	return report_bytes("readlink", n, all, at);
}
static int act_fds(int c, char **v)
{
	(void)c;
	(void)v;
	char buf[16384], target[256];
	size_t at = 0;
	for (int fd = 3; fd < 4096; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		char name[64];
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(name, target, sizeof target - 1);
		target[n > 0 ? n : 0] = 0;
		at += (size_t)snprintf(buf + at, sizeof buf - at, "%d=%s ", fd, target);
		if (at + 400 > sizeof buf)
			break;
	}
	return report_bytes("fds", 0, buf, at);
}
/* Leaves a file, a directory, a socket pair and an epoll open and becomes v[1..]. */
static int act_leak(int c, char **v)
{
	(void)c;
	int s[2];
	if (open(v[0], O_RDONLY) < 0 || open("/", O_RDONLY | O_DIRECTORY) < 0 || epoll_create1(0) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, s) < 0)
		return report("leak", -1, "open");
	dup2(s[0], 777);
	return report("leak", become(v + 1), "exec");
}
static int act_environ(int c, char **v)
{
	(void)c;
	(void)v;
	extern char **environ;
	static char buf[262144];
	const char *files[] = { "/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline", "/proc/self/auxv" };
	size_t at = 0;
	for (char **e = environ; *e && at + strlen(*e) + 2 < sizeof buf; e++)
		at += (size_t)sprintf(buf + at, "%s ", *e);
	for (size_t i = 0; i < 4; i++) {
		int fd = open(files[i], O_RDONLY);
		ssize_t n = fd < 0 ? 0 : read(fd, buf + at, 32768);
		at += n > 0 ? (size_t)n : 0;
		close(fd);
		if (at > sizeof buf - 40000)
			break;
	}
	return report_bytes("environ", 0, buf, at);
}
/* Takes a lock on v[0], says so, and holds it until it is killed. */
static int act_lockhold(int c, char **v)
{
	(void)c;
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(v[0], O_RDWR);
	if (fd < 0 || fcntl(fd, F_SETLK, &l))
		return report("lockhold", -1, 0);
	write_all(1, "ready\n", 6);
	for (;;)
		pause();
}
static int act_locktry(int c, char **v)
{
	(void)c;
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(v[0], O_RDWR);
	return report("locktry", fd < 0 ? -1 : fcntl(fd, F_SETLK, &l), 0);
}
/* Saves as editors do: a new file v[1] beside, renamed over v[0]. */
static int act_replace(int c, char **v)
{
	(void)c;
	int fd = open(v[1], O_WRONLY | O_CREAT | O_EXCL, 0644);
	int rc = fd < 0 ? -1 : write_all(fd, "PWNED", 5);
	return report("replace", rc ? rc : rename(v[1], v[0]), 0);
}
/* Writes through v[0] again and again while somebody swaps what it is; says how often that went well. */
static int act_swaprace(int c, char **v)
{
	(void)c;
	char b[32];
	int went = 0;
	for (int i = 0; i < 4000; i++) {
		int fd = open(v[0], O_WRONLY | O_APPEND);
		if (fd >= 0 && write(fd, "PWNED", 5) == 5)
			went++;
		close(fd);
	}
	snprintf(b, sizeof b, "%d", went);
	return report("swaprace", went ? 0 : -1, b);
}
/* Two links in turn under one name, v[0]: to v[1], to v[2]. Made anew beside and renamed over, so there always is one. */
static int act_swapper(int c, char **v)
{
	(void)c;
	char beside[4096];
	snprintf(beside, sizeof beside, "%s.next", v[0]);
	write_all(1, "ready\n", 6);
	for (int i = 0;; i++) {
		unlink(beside);
		if (symlink(v[1 + i % 2], beside) || rename(beside, v[0]))
			return report("swapper", -1, 0);
	}
}
static int gone(const char *path, const struct stat *s, int type, struct FTW *f)
{
	(void)s;
	(void)type;
	(void)f;
	remove(path);
	return 0;
}
/* Waits until its input ends, then removes the tree v[0] and the empty directories v[1..]: the harness may die in any way. */
static int act_janitor(int c, char **v)
{
	char b[16];
	while (read(0, b, sizeof b) > 0)
		;
	for (int i = 1; i < c; i++)
		rmdir(v[i]);
	return nftw(v[0], gone, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

const struct act fs_acts[] = {
	{ "read", 1, act_read }, { "openr", 1, act_openr }, { "openw", 1, act_openw }, { "opath", 1, act_opath },
	{ "stat", 1, act_stat }, { "list", 1, act_list }, { "create", 1, act_create }, { "write", 1, act_write },
	{ "append", 1, act_append }, { "through", 1, act_through }, { "truncate", 1, act_truncate },
	{ "rename", 2, act_rename }, { "unlink", 1, act_unlink }, { "mkdir", 1, act_mkdir }, { "rmdir", 1, act_rmdir },
	{ "symlink", 2, act_symlink }, { "mkfifo", 1, act_mkfifo }, { "chmod", 2, act_chmod },
	{ "fchmod", 2, act_fchmod }, { "mkmode", 2, act_mkmode }, { "chown", 1, act_chown }, { "utime", 1, act_utime },
	{ "setxattr", 1, act_setxattr }, { "setcap", 1, act_setcap }, { "link", 2, act_link },
	{ "linkfd", 2, act_linkfd }, { "linkempty", 2, act_linkempty }, { "mknod", 4, act_mknod },
	{ "mmapwrite", 1, act_mmapwrite }, { "fallocate", 1, act_fallocate }, { "otmpfile", 1, act_otmpfile },
	{ "reopen", 3, act_reopen }, { "heldwalk", 3, act_heldwalk }, { "handle", 1, act_handle }, { "fds", 0, act_fds },
	{ "leak", 2, act_leak }, { "readlink", 1, act_readlink }, { "environ", 0, act_environ },
	{ "lockhold", 1, act_lockhold }, { "locktry", 1, act_locktry }, { "replace", 2, act_replace },
	{ "swaprace", 1, act_swaprace }, { "swapper", 3, act_swapper }, { "janitor", 1, act_janitor }, { 0, 0, 0 },
};
