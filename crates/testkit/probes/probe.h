/* One hostile program, many acts. Each act prints one line
 *   {"act":"NAME","ok":true|false,"errno":N,"data":"..."}
 * and exits 0 when the act succeeded, 1 when it did not, 2 when it was called wrongly.
 * The file is C because a hostile plugin is not polite Rust, and needs calls that no safe API offers. */
#ifndef PROBE_H
#define PROBE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct act {
	const char *name;
	int args; /* the least number of arguments */
	int (*run)(int argc, char **argv);
};

/* Prints the line; rc < 0 means failure with the errno of this moment. Gives the exit status. */
int report(const char *act, long rc, const char *data);
int report_bytes(const char *act, long rc, const char *data, size_t len);
/* Writes all of it, whatever write(2) takes at once. */
int write_all(int fd, const void *data, size_t len);
/* Runs argv[0..] as a further program; on success does not return. */
int become(char **argv);
double now_s(void);

extern const struct act fs_acts[], proc_acts[], life_acts[], res_acts[], net_acts[], sys_acts[],
	each_acts[];
#endif
