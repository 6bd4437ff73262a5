/* What the library tests run, inside a sandbox and outside: each command tries one thing and says what the kernel
 * answered. The last line is `ok ...` or `errno N`; the exit status is 0 or 1. Never judge by the status alone: the
 * tests look at what came of it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(void) {
    printf("errno %d\n", errno);
    return 1;
}

static int ok(const char *what) {
    printf("ok %s\n", what);
    return 0;
}

static int cat(const char *path) {
    char buffer[65536];
    int fd = open(path, O_RDONLY);
    if (fd < 0) return fail();
    ssize_t length = read(fd, buffer, sizeof buffer);
    if (length < 0) return fail();
    fwrite(buffer, 1, (size_t)length, stdout);
    printf("\n");
    return ok("read");
}

static int make(const char *path, long bytes) {
    static char block[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return fail();
    while (bytes > 0) {
        ssize_t wrote = write(fd, block, bytes < (long)sizeof block ? (size_t)bytes : sizeof block);
        if (wrote < 0) return fail();
        bytes -= wrote;
    }
    return ok("written");
}

static int unix_address(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    size_t length = strlen(path);
    memcpy(address->sun_path, path, length);
    /* A leading @ stands for the NUL of an abstract name. */
    if (path[0] == '@') address->sun_path[0] = 0;
    return (int)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] != '@'));
}

static int connect_unix(const char *path, int kind) {
    struct sockaddr_un address;
    int length = unix_address(path, &address);
    int fd = socket(AF_UNIX, kind, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, (socklen_t)length) < 0) return fail();
    if (write(fd, "x", 1) != 1) return fail();
    return ok("connected");
}

static int listen_unix(const char *path) {
    struct sockaddr_un address;
    int length = unix_address(path, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, (socklen_t)length) < 0 || listen(fd, 8) < 0) return fail();
    return fd < 0 ? fail() : 0;
}

static int connect_tcp(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return fail();
    if (write(fd, "x", 1) != 1) return fail();
    return ok("connected");
}

static int send_udp(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct iovec bytes = {.iov_base = "x", .iov_len = 1};
    struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &bytes, .msg_iovlen = 1};
    /* sendmsg(2): its address lies in memory, so no filter can see it. */
    if (fd < 0 || sendmsg(fd, &message, 0) < 0) return fail();
    return ok("sent");
}

/* Every call with arguments that cannot do anything: outside, as root, none of them answers EPERM or ENOSYS. */
static const struct { const char *name; long number; unsigned long a, b, c, d, e; } CALLS[] = {
#define CALL(name, ...) {#name, SYS_##name, __VA_ARGS__}
    CALL(mount, 1, 1, 1, 0, 1), CALL(umount2, 1, 0), CALL(pivot_root, 1, 1), CALL(chroot, 1), CALL(fsopen, 1, 0),
    CALL(fsconfig, -1, 0, 1, 1, 0), CALL(fsmount, -1, 0, 0), CALL(fspick, -1, 1, 0), CALL(open_tree, -1, 1, 0),
    CALL(move_mount, -1, 1, -1, 1, 0), CALL(mount_setattr, -1, 1, 0, 1, 32), CALL(setns, -1, 0),
    CALL(name_to_handle_at, -1, 1, 1, 1, 0), CALL(open_by_handle_at, -1, 1, 0), CALL(ptrace, 2, -1, 0, 0),
    CALL(process_vm_readv, 0x7ffffff0, 1, 1, 1, 1), CALL(process_vm_writev, 0x7ffffff0, 1, 1, 1, 1),
    CALL(pidfd_getfd, -1, 0, 0), CALL(kcmp, 0x7ffffff0, 0x7ffffff0, 0, 0, 0), CALL(process_madvise, -1, 1, 1, 0, 0),
    CALL(bpf, 0xffff, 1, 0), CALL(perf_event_open, 1, 0, -1, -1, 0), CALL(userfaultfd, 0xffff),
    CALL(fanotify_init, -1, 0), CALL(fanotify_mark, -1, 0, 0, 0, 1), CALL(vmsplice, -1, 1, 1, 0),
    CALL(quotactl, -1, 1, 0, 1), CALL(add_key, 1, 1, 1, 0, 0), CALL(request_key, 1, 1, 1, 0), CALL(keyctl, 0xffff, 0),
    CALL(kexec_load, 0, 100000, 0, 0), CALL(init_module, 1, 0, 1), CALL(finit_module, -1, 1, 0),
    CALL(delete_module, 1, 0), CALL(reboot, 0, 0, 0, 0), CALL(swapon, 1, 0), CALL(swapoff, 1), CALL(acct, 1),
    CALL(syslog, 0xffff, 0, 0), CALL(iopl, 99), CALL(ioperm, 0x10000, 1, 1), CALL(sethostname, 1, -1),
    CALL(setdomainname, 1, -1), CALL(settimeofday, 1, 0), CALL(clock_settime, 0xffff, 1), CALL(adjtimex, 1),
    CALL(personality, 0x0008), CALL(mbind, 1, 1, 0xffff, 0, 0),
    CALL(migrate_pages, 0x7ffffff0, 0, 0, 0), CALL(move_pages, 0x7ffffff0, 1, 1, 0, 1),
    CALL(io_uring_setup, 0, 1), CALL(io_uring_enter, -1, 0, 0, 0, 0), CALL(io_uring_register, -1, 0, 0, 0),
    CALL(openat2, -1, 1, 1, 24), CALL(clone3, 0, 0), CALL(seccomp, 1, 8, 1), CALL(chmod, (unsigned long)"/nowhere", 04755),
    CALL(mknod, (unsigned long)"/nowhere/x", S_IFCHR | 0600, 0x103), CALL(ioctl, 0, 0x5412, 1),
    CALL(ioctl, 0, 0x100005412, 1), CALL(socket, AF_VSOCK, SOCK_STREAM, 0), CALL(socket, AF_PACKET, SOCK_RAW, 0),
    CALL(socket, AF_ALG, SOCK_SEQPACKET, 0), CALL(socket, AF_INET, SOCK_RAW, 1), CALL(socket, AF_INET, SOCK_STREAM, 262),
    CALL(socket, AF_UNIX, SOCK_DGRAM, 0), CALL(socket, AF_NETLINK, SOCK_RAW, 9), CALL(unshare, 0x10000000), CALL(fork, 0),
};

static int calls(void) {
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        errno = 0;
        fflush(stdout);
        long answer = syscall(CALLS[i].number, CALLS[i].a, CALLS[i].b, CALLS[i].c, CALLS[i].d, CALLS[i].e, 0);
        if (CALLS[i].number == SYS_fork && answer == 0) _exit(0);
        printf("%s %d\n", CALLS[i].name, answer < 0 ? errno : 0);
    }
    return ok("calls");
}

static void *idle(void *unused) {
    pause();
    return unused;
}

static int threads(int wanted) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    int made = 0;
    for (pthread_t thread; made < wanted && pthread_create(&thread, &small, idle, NULL) == 0;) made++;
    printf("made %d\n", made);
    return ok("threads");
}

static int forks(int wanted) {
    int made = 0;
    for (; made < wanted; made++) {
        pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        if (child < 0) break;
    }
    printf("made %d\n", made);
    return ok("forks");
}

static int hog(long megabytes) {
    for (long i = 0; i < megabytes; i++) {
        char *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) return fail();
        memset(block, 1, 1 << 20);
    }
    return ok("hogged");
}

/* Nothing but time: how much CPU this process got in so many milliseconds of the wall clock. */
static int spin(long milliseconds) {
    struct timespec start, now, cpu;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        for (volatile int i = 0; i < 100000; i++) {}
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < milliseconds);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("cpu_ms %ld\n", cpu.tv_sec * 1000 + cpu.tv_nsec / 1000000);
    return ok("spun");
}

static int descriptors(void) {
    for (int fd = 0; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) printf("fd %d\n", fd);
    }
    return ok("descriptors");
}

static int pids(void) {
    DIR *proc = opendir("/proc");
    if (!proc) return fail();
    for (struct dirent *entry; (entry = readdir(proc));) {
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') printf("pid %s\n", entry->d_name);
    }
    return ok("pids");
}

/* An absolute path makes execveat(2) ignore the descriptor, whatever AT_EMPTY_PATH says. */
static int exec_absolute(int number) {
    char *arguments[] = {"sh", "-c", "echo escaped", NULL}, *environment[] = {NULL};
    syscall(SYS_execveat, number, "/bin/sh", arguments, environment, AT_EMPTY_PATH);
    return fail();
}

/* A copy of the shell in memory, under the number of the descriptor that may be executed. */
static int exec_memory(int number) {
    char *arguments[] = {"sh", "-c", "echo escaped", NULL}, *environment[] = {NULL};
    static char buffer[1 << 20];
    int from = open("/bin/sh", O_RDONLY), to = memfd_create("x", 0);
    for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;) {
        if (write(to, buffer, (size_t)got) != got) return fail();
    }
    struct rlimit more = {(rlim_t)number + 8, (rlim_t)number + 8};
    setrlimit(RLIMIT_NOFILE, &more);
    if (dup2(to, number) < 0) return fail();
    syscall(SYS_execveat, number, "", arguments, environment, AT_EMPTY_PATH);
    return fail();
}

static int many_denials(int wanted) {
    static char path[1000];
    char *arguments[] = {"x", NULL};
    memset(path, 'x', sizeof path - 1);
    for (int i = 0; i < wanted; i++) {
        snprintf(path, 8, "/%06d", i);
        path[7] = 'x';
        execve(path, arguments, arguments + 1);
    }
    return ok("denied");
}

/* Leaves a process behind that has nothing to do with this one any more. */
static int leave_behind(void) {
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            for (int fd = 0; fd < 64; fd++) close(fd);
            for (;;) pause();
        }
        _exit(0);
    }
    wait(NULL);
    return ok("left");
}

static void fork_on_term(int signal_number) {
    (void)signal_number;
    if (fork() == 0) {
        for (;;) pause();
    }
}

static int stay(int handler) {
    if (handler) signal(SIGTERM, fork_on_term);
    else signal(SIGTERM, SIG_IGN);
    if (!handler && fork() == 0) {
        for (;;) pause();
    }
    ok("staying");
    fflush(stdout);
    for (;;) pause();
    return 0;
}

static int loopback(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0) return fail();
    return ok(request.ifr_flags & IFF_UP ? "up" : "down");
}

static int namespace(const char *name) {
    char path[64];
    struct stat seen;
    snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    if (stat(path, &seen) < 0) return fail();
    printf("inode %lu\n", (unsigned long)seen.st_ino);
    return ok("namespace");
}

static int segment(const char *key, int flags, int remove) {
    int id = shmget((key_t)atoi(key), 4096, flags | 0666);
    if (id < 0 || (remove && shmctl(id, IPC_RMID, NULL) < 0)) return fail();
    return ok("segment");
}

static int run(int count, char **words) {
    const char *command = words[0], *a = count > 1 ? words[1] : "", *b = count > 2 ? words[2] : "";
#define IS(name) (strcmp(command, name) == 0)
    if (IS("true")) return ok("true");
    if (IS("read")) return cat(a);
    if (IS("stat")) { struct stat seen; return stat(a, &seen) < 0 ? fail() : ok("seen"); }
    if (IS("write")) return make(a, *b ? atol(b) : 1);
    if (IS("unlink")) return unlink(a) < 0 ? fail() : ok("unlinked");
    if (IS("rename")) return rename(a, b) < 0 ? fail() : ok("renamed");
    if (IS("chmod")) return chmod(a, 0777) < 0 ? fail() : ok("changed");
    if (IS("connect")) return connect_unix(a, SOCK_STREAM);
    if (IS("datagram")) return connect_unix(a, SOCK_DGRAM);
    if (IS("connect-own")) return listen_unix(a) ? 1 : connect_unix(*b ? b : a, SOCK_STREAM);
    if (IS("connect-link")) return symlink(a, b) < 0 ? fail() : connect_unix(b, SOCK_STREAM);
    if (IS("connect-from")) return chdir(a) < 0 ? fail() : connect_unix(b, SOCK_STREAM);
    if (IS("listen")) { if (listen_unix(a)) return 1; ok("listening"); fflush(stdout); for (;;) pause(); }
    if (IS("tcp")) return connect_tcp(a, b);
    if (IS("udp")) return send_udp(a, b);
    if (IS("calls")) return calls();
    if (IS("threads")) return threads(atoi(a));
    if (IS("forks")) return forks(atoi(a));
    if (IS("hog")) return hog(atol(a));
    if (IS("hold")) { if (hog(atol(a))) return 1; usleep(1500000); return 0; }
    if (IS("spin")) return spin(atol(a));
    if (IS("descriptors")) return descriptors();
    if (IS("pids")) return pids();
    if (IS("kill")) return kill(atoi(a), 0) < 0 ? fail() : ok("there");
    if (IS("exec-absolute")) return exec_absolute(atoi(a));
    if (IS("exec-memory")) return exec_memory(atoi(a));
    if (IS("exec")) { char *words[] = {"sh", "-c", "echo escaped", NULL}; execv("/bin/sh", words); return fail(); }
    if (IS("many-denials")) return many_denials(atoi(a));
    if (IS("leave-behind")) return leave_behind();
    if (IS("ignore-term")) return stay(0);
    if (IS("fork-on-term")) return stay(1);
    if (IS("stop-self")) { ok("stopping"); fflush(stdout); raise(SIGSTOP); return ok("continued"); }
    if (IS("pause")) { ok("paused"); fflush(stdout); for (;;) pause(); }
    if (IS("loopback")) return loopback();
    if (IS("namespace")) return namespace(a);
    if (IS("segment-make")) return segment(a, IPC_CREAT | IPC_EXCL, 0);
    if (IS("segment-find")) return segment(a, 0, 0);
    if (IS("segment-remove")) return segment(a, 0, 1);
    if (IS("hostname")) { char name[256] = ""; gethostname(name, sizeof name - 1); printf("name %s\n", name); return ok("named"); }
    if (IS("ids")) { printf("ids %d %d\n", (int)getuid(), (int)getgid()); return ok("ids"); }
    if (IS("session")) return ok(getsid(0) == getpid() ? "own" : "foreign");
    if (IS("limit")) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t)atoi(a), &limit) < 0) return fail();
        printf("limit %lu %lu\n", (unsigned long)limit.rlim_cur, (unsigned long)limit.rlim_max);
        limit.rlim_cur = limit.rlim_max = limit.rlim_max + 1;
        return setrlimit((__rlimit_resource_t)atoi(a), &limit) < 0 ? fail() : ok("raised");
    }
    fprintf(stderr, "no command %s\n", command);
    return 2;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    int status = count > 1 ? run(count - 1, words + 1) : 2;
    fflush(stdout);
    return status;
}
