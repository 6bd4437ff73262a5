/* Finds the act and runs it. `probe mark=WORD ACT ARG...`: the word only serves to find the process later. */
#include "probe.h"
#include <time.h>

int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int report_bytes(const char *act, long rc, const char *data, size_t len)
{
	int failed = rc < 0, err = failed ? errno : 0;
	char *out = malloc(len * 6 + 256);
	if (!out)
		return 2;
	size_t at = (size_t)sprintf(out, "{\"act\":\"%s\",\"ok\":%s,\"errno\":%d,\"data\":\"", act,
				    failed ? "false" : "true", err);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)data[i];
		if (c == '"' || c == '\\' || c < 32 || c > 126)
			at += (size_t)sprintf(out + at, "\\u%04x", c);
		else
			out[at++] = (char)c;
	}
	at += (size_t)sprintf(out + at, "\"}\n");
	write_all(1, out, at);
	free(out);
	return failed ? 1 : 0;
}

int report(const char *act, long rc, const char *data)
{
	return report_bytes(act, rc, data ? data : "", data ? strlen(data) : 0);
}

double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int become(char **argv)
{
	extern char **environ;
	return execve(argv[0], argv, environ);
}

int main(int argc, char **argv)
{
	const struct act *tables[] = { fs_acts, proc_acts, life_acts, res_acts, net_acts, sys_acts, each_acts };
	if (argc > 1 && strncmp(argv[1], "mark=", 5) == 0) {
		argc--;
		argv++;
	}
	if (argc < 2) {
		fprintf(stderr, "usage: probe [mark=WORD] ACT ARG...\n");
		return 2;
	}
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct act *a = tables[t]; a->name; a++)
			if (strcmp(a->name, argv[1]) == 0) {
				if (argc - 2 < a->args) {
					fprintf(stderr, "probe: %s needs %d arguments\n", a->name, a->args);
					return 2;
				}
				return a->run(argc - 2, argv + 2);
			}
	fprintf(stderr, "probe: no act named %s\n", argv[1]);
	return 2;
}
