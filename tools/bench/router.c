/* SPDX-License-Identifier: MIT */
/* A router of our own, on abstract names. */

#include "router.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common.h"

#define START_MS 10000

/* The first of the usual places where there is a router; else execvp() looks along $PATH. */
static void find_router(char *buf, size_t bytes)
{
    static const char *const places[] = {"../../bus/bus-router", "../bus/bus-router", "bus-router"};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n > 0) {
        self[n] = '\0';
        slash = strrchr(self, '/');
        *slash = '\0'; /* it is absolute */
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
            int length = snprintf(buf, bytes, "%s/%s", self, places[i]);

            if (length > 0 && (size_t) length < bytes && access(buf, X_OK) == 0) {
                return;
            }
        }
    }
    (void) snprintf(buf, bytes, "bus-router");
}

static _Noreturn void exec_router(const char *path, const char *address, int ready)
{
    char fd_text[16];
    char *argv[] = {(char *) (uintptr_t) path,
                    "--no-config",
                    "--listen",
                    (char *) (uintptr_t) address,
                    "--ready-fd",
                    fd_text,
                    "--log-level",
                    "warn",
                    NULL};

    (void) snprintf(fd_text, sizeof(fd_text), "%d", ready);
    (void) fcntl(ready, F_SETFD, 0);
    (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void) signal(SIGINT,
                  SIG_IGN); /* a key press at the terminal is for the parent, which stops us */
    (void) execvp(path, argv);
    tool_error("cannot run %s: %s: give the router with --router, or --address of a running one",
               path, strerror(errno));
    _exit(127);
}

static int wait_listening(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char text[8];
    int r;

    do {
        r = poll(&p, 1, START_MS);
    } while (r < 0 && errno == EINTR && !tool_interrupted());
    if (r <= 0 || read(fd, text, sizeof(text)) <= 0) {
        return -1;
    }
    return 0;
}

int router_start(const char *path, enum link link, struct router_process *ret)
{
    char found[PATH_MAX];
    int ready[2];
    int r;

    if (!path) {
        find_router(found, sizeof(found));
        path = found;
    }
    if (pipe2(ready, O_CLOEXEC)) {
        tool_error("cannot make a pipe: %s", strerror(errno));
        return -1;
    }
    (void) snprintf(ret->address, sizeof(ret->address), "%s:@bus-bench-%ld", link_name(link),
                    (long) getpid());
    ret->pid = fork();
    if (ret->pid == 0) {
        exec_router(path, ret->address, ready[1]);
    }
    (void) close(ready[1]);
    r = ret->pid < 0 ? -1 : wait_listening(ready[0]);
    (void) close(ready[0]);
    if (r < 0) {
        tool_error("the router %s did not start", path);
        (void) router_stop(ret);
    }
    return r;
}

int router_stop(struct router_process *r)
{
    int status = 0;

    if (r->pid <= 0) {
        return 0;
    }
    (void) kill(r->pid, SIGTERM);
    while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR) {
    }
    r->pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        tool_error("the router ended with %s %d", WIFEXITED(status) ? "exit code" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        return -1;
    }
    return 0;
}

double router_private_bytes(int pid)
{
    char path[64], line[256];
    long total = 0;
    bool found = false;
    FILE *file;

    (void) snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
    file = pid > 0 ? fopen(path, "re") : NULL;
    if (!file) {
        return -1;
    }
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, "Private_Clean:", 14) == 0 || strncmp(line, "Private_Dirty:", 14) == 0) {
            total += strtol(line + 14, NULL, 10);
            found = true;
        }
    }
    (void) fclose(file);
    return found ? (double) total * 1024 : -1;
}
