/* deny MODE PROGRAM ARG... : takes one thing away from this process, for real, and executes the program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "deny: %s: %s\n", what, strerror(errno));
    exit(99);
}

static void put(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    must(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(file);
}

/* A user namespace in which this process is the ordinary user 1000. */
static void become_ordinary(int more) {
    char map[64];
    unsigned user = getuid(), group = getgid();
    must(unshare(CLONE_NEWUSER | more) == 0, "unshare");
    snprintf(map, sizeof map, "1000 %u 1", user);
    put("/proc/self/uid_map", map);
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "1000 %u 1", group);
    put("/proc/self/gid_map", map);
}

/* A filter that answers `error` to every call from `first` to `last`. */
static void refuse(unsigned first, unsigned last, unsigned error) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "filter");
}

int main(int count, char **words) {
    must(count > 2, "usage");
    const char *mode = words[1];
    if (!strcmp(mode, "user-namespaces")) {
        become_ordinary(0);
        put("/proc/sys/user/max_user_namespaces", "0");
    } else if (!strcmp(mode, "landlock")) {
        refuse(444, 446, ENOSYS);
    } else if (!strcmp(mode, "mounting")) {
        refuse(428, 433, EPERM); /* open_tree to fspick: the mount calls of Linux 5.2 */
    } else if (!strcmp(mode, "proc")) {
        become_ordinary(CLONE_NEWNS);
        must(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0, "private");
        must(mount("/dev/null", "/proc/version", 0, MS_BIND, 0) == 0, "cover");
    } else if (!strcmp(mode, "executable-memory")) {
        must(unshare(CLONE_NEWPID) == 0, "unshare");
        int child = fork(), status = 0;
        must(child >= 0, "fork");
        if (child > 0) {
            must(waitpid(child, &status, 0) == child, "wait");
            return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
        }
        put("/proc/sys/vm/memfd_noexec", "2");
    } else {
        must(!strcmp(mode, "nothing"), "mode");
    }
    execv(words[2], words + 2);
    must(0, words[2]);
}
