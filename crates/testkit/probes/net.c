/* Acts on sockets. Each sends the word it is given, so that a listener outside can tell whether it arrived. */
#include "probe.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static int dial(const char *act, int type, int proto, char **v)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(v[1])) };
	inet_pton(AF_INET, v[0], &a.sin_addr);
	int fd = socket(AF_INET, type, proto);
	if (fd < 0)
		return report(act, -1, "socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		return report(act, -1, "connect");
	return report(act, send(fd, v[2], strlen(v[2]), MSG_NOSIGNAL), "send");
}
static int act_tcp(int c, char **v) { (void)c; return dial("tcp", SOCK_STREAM, 0, v); }
static int act_mptcp(int c, char **v) { (void)c; return dial("mptcp", SOCK_STREAM, 262, v); }
static int act_udp(int c, char **v) { (void)c; return dial("udp", SOCK_DGRAM, 0, v); }
/* Data in the SYN: no connect(2) that a filter could see. */
static int act_fastopen(int c, char **v)
{
	(void)c;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(v[1])) };
	inet_pton(AF_INET, v[0], &a.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		return report("fastopen", -1, "socket");
	return report("fastopen", sendto(fd, v[2], strlen(v[2]), MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&a, sizeof a), "sendto");
}
static int local(const char *act, int abstract, char **v)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(v[0]);
	if (n + 2 > sizeof a.sun_path)
		return 2;
	memcpy(a.sun_path + abstract, v[0], n);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return report(act, -1, "socket");
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (connect(fd, (struct sockaddr *)&a, len) < 0)
		return report(act, -1, "connect");
	return report(act, send(fd, v[1], strlen(v[1]), MSG_NOSIGNAL), "send");
}
static int act_unix(int c, char **v) { (void)c; return local("unix", 0, v); }
static int act_abstract(int c, char **v) { (void)c; return local("abstract", 1, v); }
static int act_socket(int c, char **v)
{
	(void)c;
	return report("socket", socket(atoi(v[0]), atoi(v[1]), atoi(v[2])), 0);
}
static int act_socketpair(int c, char **v)
{
	(void)c;
	(void)v;
	int s[2];
	return report("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
}
static int act_listen(int c, char **v)
{
	(void)c;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(v[0])) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	if (fd < 0)
		return report("listen", -1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
	rc = rc ? rc : listen(fd, 1);
	write_all(1, "ready\n", 6);
	sleep((unsigned)atoi(v[1]));
	return report("listen", rc, 0);
}
/* A datagram to a named socket, by sendto, sendmsg, sendmmsg, or by the half of a pair that is connected elsewhere. */
static int act_unixdgram(int c, char **v)
{
	(void)c;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	strncpy(a.sun_path, v[1], sizeof a.sun_path - 1);
	int pair[2] = { -1, -1 }, fd;
	if (strcmp(v[0], "pair") == 0)
		fd = socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) ? -1 : pair[0];
	else
		fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0)
		return report("unixdgram", -1, "socket");
	struct iovec one = { v[2], strlen(v[2]) };
	struct mmsghdr many = { .msg_hdr = { .msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &one, .msg_iovlen = 1 } };
	if (strcmp(v[0], "sendto") == 0)
		return report("unixdgram", sendto(fd, v[2], strlen(v[2]), 0, (struct sockaddr *)&a, sizeof a), v[0]);
	if (strcmp(v[0], "sendmmsg") == 0)
		return report("unixdgram", sendmmsg(fd, &many, 1, 0), v[0]);
	return report("unixdgram", sendmsg(fd, &many.msg_hdr, 0), v[0]);
}
/* Host side: a named datagram socket; prints what arrives until its input ends. */
static int act_unixdgram_listen(int c, char **v)
{
	(void)c;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char buf[256];
	strncpy(a.sun_path, v[0], sizeof a.sun_path - 1);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (bind(fd, (struct sockaddr *)&a, sizeof a))
		return report("unixdgram-listen", -1, "bind");
	write_all(1, "ready\n", 6);
	for (;;) {
		ssize_t got = recv(fd, buf, sizeof buf, 0);
		if (got > 0)
			write_all(1, buf, (size_t)got);
	}
}
/* Host side: listens on an abstract name, prints what arrives until its input ends. */
static int act_abstract_listen(int c, char **v)
{
	(void)c;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char buf[256];
	size_t n = strlen(v[0]);
	memcpy(a.sun_path + 1, v[0], n);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1)) || listen(fd, 8))
		return report("abstract-listen", -1, "bind");
	write_all(1, "ready\n", 6);
	for (;;) {
		int s = accept(fd, 0, 0);
		ssize_t got = read(s, buf, sizeof buf);
		if (got > 0)
			write_all(1, buf, (size_t)got);
		close(s);
	}
}

const struct act net_acts[] = {
	{ "tcp", 3, act_tcp }, { "mptcp", 3, act_mptcp }, { "udp", 3, act_udp }, { "fastopen", 3, act_fastopen },
	{ "unix", 2, act_unix }, { "abstract", 2, act_abstract }, { "socket", 3, act_socket },
	{ "unixdgram", 3, act_unixdgram }, { "unixdgram-listen", 1, act_unixdgram_listen }, { "socketpair", 0, act_socketpair }, { "listen", 2, act_listen }, { "abstract-listen", 1, act_abstract_listen },
	{ 0, 0, 0 },
};
