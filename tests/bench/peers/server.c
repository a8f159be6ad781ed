/* SPDX-License-Identifier: MIT */
/* The process in the middle. */

#include "server.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common.h"
#include "peer.h"

#define START_MS 10000
#define LOOK_MS 2
#define STOP_MS 3000
#define LOG_NAME "log"
#define READY_NAME "ready"
#define READY_TEXT "yes"

int server_init(struct server *s, const struct job *job)
{
    const char *tmp = getenv("TMPDIR");
    int n;

    *s = (struct server){.job = job, .pidfd = -1};
    n = snprintf(s->dir, sizeof(s->dir), "%s/bus-peers-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    /* socket addresses hold 107 bytes, and names come behind it */
    if (n < 0 || (size_t) n >= sizeof(s->dir) || !mkdtemp(s->dir)) {
        s->dir[0] = '\0';
        return job_fail(job, "cannot make a directory below %s: %s: set TMPDIR to a short path",
                        tmp ? tmp : "/tmp", strerror(errno ? errno : ENAMETOOLONG));
    }
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    (void) remove(path); /* what is left over is below the temporary directory */
    return 0;
}

static bool has_ended(const struct server *s, int timeout_ms)
{
    struct pollfd p = {.fd = s->pidfd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) > 0;
}

void server_stop(struct server *s)
{
    if (s->pid > 0) {
        (void) kill(s->pid, SIGTERM);
        if (s->pidfd < 0 || !has_ended(s, STOP_MS)) {
            (void) kill(s->pid, SIGKILL);
        }
        (void) waitpid(s->pid, NULL, 0);
        s->pid = 0;
    }
    if (s->pidfd >= 0) {
        (void) close(s->pidfd);
        s->pidfd = -1;
    }
    if (s->dir[0]) {
        (void) nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        s->dir[0] = '\0';
    }
}

bool program_find(const char *name, char *buf, size_t size)
{
    const char *path = getenv("PATH");
    char places[4096];
    char *save;

    if (strchr(name, '/')) {
        (void) snprintf(buf, size, "%s", name);
        return access(buf, X_OK) == 0;
    }
    (void) snprintf(places, sizeof(places), "%s:/usr/sbin:/usr/local/sbin", path ? path : "");
    for (char *dir = strtok_r(places, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        int n = snprintf(buf, size, "%s/%s", dir, name);

        if (n > 0 && (size_t) n < size && access(buf, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

/* In the child: what the parent's signals and end mean to it. */
static void be_child(void)
{
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void) signal(SIGINT, SIG_IGN); /* a key press is for the parent, which stops us */
    (void) signal(SIGTERM, SIG_DFL);
}

static void redirect_output(const struct server *s)
{
    char path[PATH_MAX];
    int fd;

    (void) snprintf(path, sizeof(path), "%s/" LOG_NAME, s->dir);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        (void) dup2(fd, STDOUT_FILENO);
        (void) dup2(fd, STDERR_FILENO);
        (void) close(fd);
    }
}

/* 0 in both processes, or -1. */
static int start_process(struct server *s)
{
    s->pid = fork();
    if (s->pid == 0) {
        be_child();
        return 0;
    }
    s->pidfd = s->pid < 0 ? -1 : pidfd_open(s->pid, 0);
    if (s->pidfd < 0) {
        return job_fail(s->job, "cannot start a process: %s", strerror(errno));
    }
    return 0;
}

int server_exec(struct server *s, char *const argv[])
{
    char path[PATH_MAX];

    if (!program_find(argv[0], path, sizeof(path))) {
        return job_fail(s->job, "there is no program %s: install it, or set PATH", argv[0]);
    }
    if (start_process(s) < 0) {
        return -1;
    }
    if (s->pid == 0) {
        redirect_output(s);
        (void) execv(path, argv);
        tool_error("cannot run %s: %s", path, strerror(errno));
        _exit(127);
    }
    return 0;
}

int server_fork(struct server *s, int (*serve)(const struct server *s))
{
    if (start_process(s) < 0) {
        return -1;
    }
    if (s->pid == 0) {
        _exit(serve(s) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    return 0;
}

static int in_dir(const struct server *s, const char *name, char *buf, size_t size)
{
    int n = snprintf(buf, size, "%s/%s", s->dir, name);

    return n > 0 && (size_t) n < size ? 0 : job_fail(s->job, "%s: name too long", name);
}

int server_write(const struct server *s, const char *name, const char *text)
{
    char path[PATH_MAX];
    FILE *f;
    bool is_fine;

    if (in_dir(s, name, path, sizeof(path)) < 0) {
        return -1;
    }
    f = fopen(path, "we");
    is_fine = f && fputs(text, f) != EOF;
    if (f && fclose(f) == EOF) {
        is_fine = false;
    }
    return is_fine ? 0 : job_fail(s->job, "cannot write %s: %s", path, strerror(errno));
}

/* Reads a small file, "" if there is none. */
static void read_text(const struct server *s, const char *name, char *buf, size_t size)
{
    char path[PATH_MAX];
    ssize_t n = -1;
    int fd;

    (void) snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, buf, size - 1);
        (void) close(fd);
    }
    buf[n > 0 ? n : 0] = '\0';
}

/* With what the server said last. */
static int fail_start(const struct server *s, const char *what)
{
    char log[4096];
    char *line, *end;

    read_text(s, LOG_NAME, log, sizeof(log));
    for (end = log + strlen(log); end > log && end[-1] == '\n'; end--) {
        end[-1] = '\0';
    }
    line = strrchr(log, '\n');
    return job_fail(s->job, "its server %s%s%s", what, log[0] ? ": " : "", line ? line + 1 : log);
}

/* Looks again and again: not each server can say when it is ready. */
static int wait_until(struct server *s, bool (*is_ready)(const struct server *s, void *what),
                      void *what)
{
    uint64_t deadline_ns = tool_now_ns() + START_MS * UINT64_C(1000000);

    while (!is_ready(s, what)) {
        if (has_ended(s, LOOK_MS)) {
            return fail_start(s, "has ended early");
        }
        if (tool_interrupted()) {
            return job_fail(s->job, "interrupted");
        }
        if (tool_now_ns() > deadline_ns) {
            return fail_start(s, "did not start in time");
        }
    }
    return 0;
}

/* 0, or the errno of connecting with a socket of this type. */
static int try_connect(const struct sockaddr_un *address, int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0) {
        return errno;
    }
    r = connect(fd, (const struct sockaddr *) address, sizeof(*address)) ? errno : 0;
    (void) close(fd);
    return r;
}

static bool is_listening(const struct server *s, void *what)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s", (const char *) what);

    (void) s;
    return n > 0 && (size_t) n < sizeof(address.sun_path) &&
           (try_connect(&address, SOCK_STREAM) == 0 || try_connect(&address, SOCK_SEQPACKET) == 0);
}

int server_wait_socket(struct server *s, const char *name)
{
    char path[PATH_MAX];

    return in_dir(s, name, path, sizeof(path)) < 0 ? -1 : wait_until(s, is_listening, path);
}

struct wanted {
    const char *name;
    const char *text;
    char *buf;
    size_t size;
};

static bool has_text(const struct server *s, void *what)
{
    const struct wanted *w = what;

    read_text(s, w->name, w->buf, w->size);
    return strstr(w->buf, w->text) != NULL;
}

int server_wait_text(struct server *s, const char *name, const char *text, char *buf, size_t size)
{
    struct wanted w = {.name = name, .text = text, .buf = buf, .size = size};

    return wait_until(s, has_text, &w);
}

int server_say_ready(const struct server *s)
{
    return server_write(s, READY_NAME, READY_TEXT);
}

int server_wait_ready(struct server *s)
{
    char text[sizeof(READY_TEXT)];

    return server_wait_text(s, READY_NAME, READY_TEXT, text, sizeof(text));
}
