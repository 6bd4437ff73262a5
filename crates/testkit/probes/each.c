/* All that can be done to the files of a tree, in one run: `each TOP KPATH...`, where K is the kind that is expected at PATH:
 * f a file, d a directory, e an empty one, l a link. The list has parents before what is in them, and TOP is a directory of it.
 *
 * What is said of a path: the identity of what is there (`i`, a link itself) and of what it leads to (`j`), as inode and the
 * nanoseconds of its time, and then for each act its error number. The acts are so ordered that none spoils another:
 * first what changes nothing, then what makes something new, then renaming and back, and last what takes away. */
#include "probe.h"
#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ROOM 1024
#define LONGEST 4096

struct place {
	char kind;
	const char *path;
	int there; /* its renaming was undone */
	size_t at;
	char said[ROOM];
};

static void say(struct place *p, const char *act, long rc)
{
	int err = rc < 0 ? errno : 0;
	p->at += (size_t)snprintf(p->said + p->at, ROOM - p->at, " %s=%d", act, err);
}

static void identity(struct place *p, const char *name, const struct stat *s, int rc)
{
	if (rc)
		return;
	p->at += (size_t)snprintf(p->said + p->at, ROOM - p->at, " %s=%llu.%ld", name, (unsigned long long)s->st_ino,
				  s->st_mtim.tv_nsec);
}

/* DIRECTORY/NAMEnumber. */
static const char *below(char *to, const char *directory, const char *name, int number)
{
	if (number < 0)
		snprintf(to, LONGEST, "%s/%s", directory, name);
	else
		snprintf(to, LONGEST, "%s/%s%d", directory, name, number);
	return to;
}

static const char *parent(char *to, const char *path)
{
	snprintf(to, LONGEST, "%s", path);
	char *slash = strrchr(to, '/');
	if (slash)
		*slash = 0;
	return to;
}

/* Closes what was opened. */
static long opened(const char *path, int flags)
{
	char byte;
	int fd = open(path, flags | O_NONBLOCK);
	if (fd < 0)
		return -1;
	long rc = 0;
	if (!(flags & O_WRONLY) && read(fd, &byte, 1) < 0 && errno != EISDIR)
		rc = -1;
	int err = errno;
	close(fd);
	errno = err;
	return rc;
}

static void look(struct place *p)
{
	struct stat self, led;
	int is_there = lstat(p->path, &self), leads = stat(p->path, &led);
	identity(p, "i", &self, is_there);
	identity(p, "j", &led, leads);
	errno = ENOENT;
	say(p, "stat", is_there);
	if (p->kind == 'd' || p->kind == 'e') {
		DIR *d = opendir(p->path);
		errno = d ? 0 : errno;
		long rc = d && readdir(d) ? 0 : -1;
		say(p, "list", rc);
		if (d)
			closedir(d);
	} else {
		say(p, "read", opened(p->path, O_RDONLY));
		say(p, "write", opened(p->path, O_WRONLY));
	}
	if (p->kind == 'l' || leads)
		return;
	if (p->kind == 'f')
		say(p, "truncate", truncate(p->path, led.st_size));
	struct timespec same[2] = { led.st_atim, led.st_mtim };
	say(p, "chmod", chmod(p->path, led.st_mode & 0777));
	say(p, "utime", utimensat(AT_FDCWD, p->path, same, 0));
	say(p, "setxattr", setxattr(p->path, "user.ringfence", "1", 1, 0));
}

static void make(struct place *p, const char *top, int number)
{
	char to[LONGEST], own[LONGEST];
	if (p->kind == 'd') {
		int fd = open(below(to, p->path, "new.txt", -1), O_WRONLY | O_CREAT | O_EXCL, 0644);
		say(p, "create", fd);
		if (fd >= 0)
			close(fd);
		say(p, "mkdir", mkdir(below(to, p->path, "newdir", -1), 0755));
		say(p, "symlink", symlink("nowhere", below(to, p->path, "newlink", -1)));
	} else if (p->kind != 'e') {
		say(p, "link", link(p->path, below(to, parent(own, p->path), "hard", number)));
		say(p, "linktop", link(p->path, below(to, top, "tophard", number)));
	}
}

static void move(struct place *p, const char *act, const char *directory, const char *name, int number)
{
	char to[LONGEST];
	int rc = rename(p->path, below(to, directory, name, number));
	say(p, act, rc);
	if (!rc && rename(to, p->path)) {
		say(p, "back", -1);
		p->there = 0;
	}
}

static int act_each(int c, char **v)
{
	const char *top = v[0];
	char own[LONGEST];
	int count = c - 1;
	struct place *all = calloc((size_t)count + 1, sizeof *all);
	char *text = calloc((size_t)count + 1, ROOM + 2);
	if (!all || !text)
		return 2;
	for (int i = 0; i < count; i++) {
		all[i].kind = v[i + 1][0];
		all[i].path = v[i + 1] + 1;
		all[i].there = 1;
		look(&all[i]);
	}
	for (int i = 0; i < count; i++)
		make(&all[i], top, i);
	for (int i = count - 1; i >= 0; i--) {
		move(&all[i], "rename", parent(own, all[i].path), "moved", i);
		if (all[i].there && strncmp(top, all[i].path, strlen(all[i].path)))
			move(&all[i], "renametop", top, "topmoved", i);
	}
	for (int i = count - 1; i >= 0; i--) {
		if (all[i].kind == 'e')
			say(&all[i], "rmdir", rmdir(all[i].path));
		else if (all[i].kind != 'd')
			say(&all[i], "unlink", unlink(all[i].path));
	}
	size_t at = 0;
	for (int i = 0; i < count; i++)
		at += (size_t)sprintf(text + at, "%s|", all[i].said);
	return report_bytes("each", 0, text, at);
}

const struct act each_acts[] = { { "each", 2, act_each }, { 0, 0, 0 } };
