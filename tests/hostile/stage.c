/* SPDX-License-Identifier: MIT */
#include "hostile/stage.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS (UINT64_C(60) * 1000000000)
#define TURN_MS 5

extern char **environ;

void wrong(struct stage *s, const char *format, ...)
{
    va_list args;

    s->n_wrong++;
    (void) fflush(stdout);
    (void) fputs("bus-hostile: WRONG: ", stderr);
    va_start(args, format);
    (void) vfprintf(stderr, format, args);
    va_end(args);
    (void) fputc('\n', stderr);
}

/* ---- processes ---- */

pid_t party_fork(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

bool party_start(struct stage *s, enum party party, party_fn fn, const void *arg)
{
    pid_t pid = fork();

    if (pid == 0) {
        user_become(&s->users[party]);
        _exit(fn(s, arg));
    }
    s->parties[party] = pid > 0 ? pid : 0;
    return pid > 0;
}

void party_kill(struct stage *s, enum party party)
{
    pid_t pid = s->parties[party];

    if (pid > 0) {
        (void) kill(-pid, SIGKILL); /* it is the leader of a session, so of a process group */
        (void) kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        s->parties[party] = 0;
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) { /* those it has left behind are ours now */
    }
}

bool party_lives(struct stage *s, enum party party)
{
    siginfo_t info = {0};

    return s->parties[party] > 0 &&
           waitid(P_PID, (id_t) s->parties[party], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

/* ---- the router ---- */

/* As an administrator might have it: everybody has a place of their own, and one where others may
 * listen. Limits are the defaults. */
static bool config_write(const struct stage *s)
{
    char path[96];
    FILE *f;

    (void) snprintf(path, sizeof(path), "%s/bus.conf", s->dir);
    f = fopen(path, "w");
    if (!f) {
        return false;
    }
    (void) fprintf(
        f,
        "listen = ( { address = \"%s\"; mode = \"0666\"; },\n"
        "           { address = \"%s\"; mode = \"0666\"; } );\n"
        "rules = ( { allow = \"all\"; topic = \"home/%%U/#\"; },\n"
        "          { allow = \"publish\"; topic = \"public/%%U/#\"; },\n"
        "          { allow = \"subscribe\"; topic = \"public/#\"; },\n"
        "          { allow = [\"subscribe\", \"request\", \"monitor\"]; user = \"root\";\n"
        "            topic = [\"#\", \"$bus/#\"]; } );\n",
        s->addresses[0], s->addresses[1]);
    return fclose(f) == 0 && chmod(path, 0644) == 0;
}

struct router_start {
    int program_fd; /* its user need not reach the folder that it is in */
    int ready_fd;
};

static int router_become(const struct stage *s, const void *arg)
{
    const struct router_start *start = arg;
    char config[ADDRESS_BYTES + 16], ready[32], log[96];
    char name[] = "bus-router";
    int fd;

    (void) snprintf(ready, sizeof(ready), "--ready-fd=%d", dup(start->ready_fd));
    (void) snprintf(log, sizeof(log), "%s/run/log", s->dir);
    (void) snprintf(config, sizeof(config), "--config=%s/bus.conf", s->dir);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        (void) dup2(fd, STDERR_FILENO);
        (void) close(fd);
    }
    (void) fexecve(start->program_fd, (char *const[]){name, config, ready, NULL}, environ);
    return 127;
}

bool router_start(struct stage *s)
{
    struct router_start start = {.program_fd = open(s->settings.router, O_PATH | O_CLOEXEC)};
    char text[8];
    clockid_t clock;
    int fds[2];
    ssize_t n;

    if (start.program_fd < 0 || pipe2(fds, O_CLOEXEC) < 0) {
        wrong(s, "no router %s: %s", s->settings.router, strerror(errno));
        return false;
    }
    start.ready_fd = fds[1];
    if (!party_start(s, PARTY_ROUTER, router_become, &start)) {
        return false;
    }
    (void) close(fds[1]);
    (void) close(start.program_fd);
    do {
        n = read(fds[0], text, sizeof(text));
    } while (n < 0 && errno == EINTR);
    (void) close(fds[0]);
    if (n <= 0 || clock_getcpuclockid(s->parties[PARTY_ROUTER], &clock) != 0) {
        wrong(s, "the router does not start");
        return false;
    }
    s->board->router_clock = clock;
    return true;
}

bool router_stop(struct stage *s)
{
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    int status = -1;
    pid_t pid = 0;

    (void) kill(s->parties[PARTY_ROUTER], SIGTERM);
    while (pid == 0 && now_ns() < until_ns) {
        pid = waitpid(s->parties[PARTY_ROUTER], &status, WNOHANG);
        (void) poll(NULL, 0, TURN_MS);
    }
    if (pid == 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        wrong(s, "the router does not end with 0: status %x", (unsigned) status);
        return false;
    }
    s->parties[PARTY_ROUTER] = 0;
    return true;
}

/* ---- all ---- */

/* Everybody may pass; only the router's user may write, and only where it has its sockets. */
static bool dirs_make(struct stage *s)
{
    const char *tmp = getenv("TMPDIR");
    char run[80];
    int n = snprintf(s->dir, sizeof(s->dir), "%s/bus-hostile-XXXXXX", tmp && *tmp ? tmp : "/tmp");

    if (n < 0 || (size_t) n >= sizeof(s->dir) || !mkdtemp(s->dir)) {
        (void) fprintf(stderr, "bus-hostile: no directory %s: %s\n", s->dir, strerror(errno));
        return false;
    }
    (void) snprintf(run, sizeof(run), "%s/run", s->dir);
    if (chmod(s->dir, 0755) < 0 || mkdir(run, 0755) < 0 || chmod(run, 0755) < 0 ||
        chown(run, s->users[PARTY_ROUTER].uid, s->users[PARTY_ROUTER].gid) < 0) {
        (void) fprintf(stderr, "bus-hostile: no directory %s: %s\n", run, strerror(errno));
        return false;
    }
    (void) snprintf(s->addresses[0], ADDRESS_BYTES, "seqpacket:%s/s", run);
    (void) snprintf(s->addresses[1], ADDRESS_BYTES, "stream:%s/t", run);
    return true;
}

/* As a service has it: as many descriptors as it may have. */
static void descriptors_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int stage_open(struct stage *s)
{
    descriptors_raise();
    /* what an attacker has started, and what it leaves behind, ends up here */
    (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
    s->board =
        mmap(NULL, sizeof(*s->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->board == MAP_FAILED) {
        s->board = NULL;
        return -1;
    }
    return dirs_make(s) && config_write(s) ? 0 : -1;
}

void stage_close(struct stage *s)
{
    char run[80];

    for (unsigned i = N_PARTIES; i-- > 0;) {
        party_kill(s, (enum party) i);
    }
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    if (s->dir[0] && (s->n_wrong == 0 && !s->settings.keeps)) {
        (void) snprintf(run, sizeof(run), "%s/run", s->dir);
        dir_remove(run); /* dir_remove() knows no folders in folders */
        dir_remove(s->dir);
    } else if (s->dir[0]) {
        (void) fprintf(stderr, "bus-hostile: the router's log is %s/run/log\n", s->dir);
    }
    if (s->board) {
        (void) munmap(s->board, sizeof(*s->board));
    }
}
