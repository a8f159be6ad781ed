/* SPDX-License-Identifier: MIT */
/* Processes of a measurement. The parent holds a socket to each: "ready" comes up, the time of the
 * beginning goes down, and its end of file says that the process has ended. */

#include "harness.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "common.h"

/* How much longer than planned a measurement may take before it counts as hanging. */
#define PATIENCE_NS (30 * NS_PER_S)
#define START_DELAY_NS (NS_PER_S / 100)

int crew_init(struct crew *c, const struct spec *spec)
{
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    *c = (struct crew){.spec = spec};
    if (memory == MAP_FAILED) {
        tool_error("cannot map memory: %s", strerror(errno));
        return -1;
    }
    c->shared = memory;
    return 0;
}

void crew_fini(struct crew *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->pids[i] > 0) {
            (void) kill(c->pids[i], SIGKILL);
            (void) waitpid(c->pids[i], NULL, 0);
        }
        if (c->controls[i] >= 0) {
            (void) close(c->controls[i]);
        }
    }
    (void) munmap(c->shared, sizeof(struct shared));
}

static _Noreturn void run_party(struct crew *c, party_fn fn, struct party *p)
{
    /* Timer slack would add 50 us to every sleep; a parent that dies takes us along. */
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void) prctl(PR_SET_TIMERSLACK, 1);
    for (unsigned i = 0; i < c->n; i++) {
        (void) close(c->controls[i]);
    }
    _exit(fn(p) ? EXIT_FAILURE : EXIT_SUCCESS);
}

static int wait_ready(int control)
{
    struct pollfd fds[] = {{.fd = control, .events = POLLIN},
                           {.fd = tool_signal_fd(), .events = POLLIN}};
    char byte;
    int r = poll(fds, ARRAY_LEN(fds), (int) (PATIENCE_NS / 1000000));

    if (r <= 0 || fds[1].revents || recv(control, &byte, 1, 0) != 1) {
        tool_error("a process of the measurement did not start%s", r == 0 ? " in time" : "");
        return -1;
    }
    return 0;
}

/* What a new process inherited and must not hold: else nobody would see the end of file. */
static void close_foreign_ends(const struct net *net, int socket)
{
    for (unsigned i = 0; i < net->n; i++) {
        if (net->client[i] != socket) {
            (void) close(net->client[i]);
        }
        if (socket >= 0) {
            (void) close(net->relay[i]);
        }
    }
}

int crew_start(struct crew *c, party_fn fn, unsigned index, const struct net *net, int socket)
{
    struct party p = {.spec = c->spec, .index = index, .net = net, .socket = socket};
    int pair[2];
    pid_t pid;

    if (c->n == PARTIES_MAX || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        tool_error("cannot start another process: %s",
                   strerror(c->n == PARTIES_MAX ? ENFILE : errno));
        return -1;
    }
    p.control = pair[1];
    p.result = &c->shared->results[c->n];
    p.samples = c->shared->samples;
    pid = fork();
    if (pid == 0) {
        (void) close(pair[0]);
        if (net) {
            close_foreign_ends(net, socket);
        }
        run_party(c, fn, &p);
    }
    (void) close(pair[1]);
    c->pids[c->n] = pid;
    c->controls[c->n] = pair[0];
    c->n++;
    if (pid < 0) {
        tool_error("cannot fork: %s", strerror(errno));
        return -1;
    }
    return wait_ready(pair[0]);
}

void crew_mark_server(struct crew *c)
{
    c->is_server[c->n - 1] = true;
}

/* One that is done: 0, or -1 if it failed. */
static int reap(struct crew *c, unsigned i)
{
    int status;
    pid_t pid = c->pids[i];

    c->pids[i] = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        if (WIFSIGNALED(status)) {
            tool_error("a process of the measurement was killed: %s", strsignal(WTERMSIG(status)));
        }
        return -1;
    }
    return 0;
}

static int wait_ends(struct crew *c, uint64_t deadline_ns)
{
    struct pollfd fds[PARTIES_MAX + 1];
    unsigned left = 0;

    for (unsigned i = 0; i < c->n; i++) {
        fds[i] = (struct pollfd){.fd = c->is_server[i] ? -1 : c->controls[i], .events = POLLIN};
        left += !c->is_server[i];
    }
    fds[c->n] = (struct pollfd){.fd = tool_signal_fd(), .events = POLLIN};
    while (left > 0) {
        uint64_t now_ns = tool_now_ns();
        int timeout_ms = now_ns < deadline_ns ? (int) ((deadline_ns - now_ns) / 1000000) + 1 : 0;

        if (poll(fds, c->n + 1, timeout_ms) == 0) {
            tool_error("the measurement hangs");
            return -1;
        }
        if (tool_interrupted()) {
            return -1;
        }
        for (unsigned i = 0; i < c->n; i++) {
            if (fds[i].fd >= 0 && fds[i].revents) {
                fds[i].fd = -1;
                left--;
                if (reap(c, i) < 0) {
                    return -1;
                }
            }
        }
    }
    return 0;
}

int crew_wait(struct crew *c)
{
    uint64_t start_ns = tool_now_ns() + START_DELAY_NS;
    uint64_t planned_ns = (uint64_t) (c->spec->seconds * 1e9);

    for (unsigned i = 0; i < c->n; i++) {
        if (send(c->controls[i], &start_ns, sizeof(start_ns), MSG_NOSIGNAL) < 0) {
            tool_error("a process of the measurement has ended early");
            return -1;
        }
    }
    return wait_ends(c, start_ns + planned_ns * 2 + PATIENCE_NS);
}

int party_ready(struct party *p, uint64_t *ret_start_ns)
{
    if (send(p->control, "R", 1, MSG_NOSIGNAL) != 1 ||
        recv(p->control, ret_start_ns, sizeof(*ret_start_ns), 0) != sizeof(*ret_start_ns)) {
        return -1;
    }
    return 0;
}

void sleep_until(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t) (ns / NS_PER_S), .tv_nsec = (long) (ns % NS_PER_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR &&
           !tool_interrupted()) {
    }
}
