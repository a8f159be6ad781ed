/* SPDX-License-Identifier: MIT */
/* One measurement: starts the processes, watches them, ends them. */

#include "measure.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common.h"

#define WINDOW_MIN 4

/* The publisher has index 0, the subscribers come behind it. */
struct crew {
    struct job *job;
    unsigned n;
    pid_t pids[SUBSCRIBERS_MAX + 1];
    int pidfds[SUBSCRIBERS_MAX + 1];
};

/* ---- reasons ---- */

__attribute__((format(printf, 2, 0))) static void
note_reason(const struct job *job, const char *format, va_list args, bool cannot)
{
    if (__atomic_fetch_add(&job->board->n_failures, 1, __ATOMIC_SEQ_CST) == 0) {
        job->board->cannot = cannot;
        (void) vsnprintf(job->board->reason, sizeof(job->board->reason), format, args);
    }
}

int job_fail(const struct job *job, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note_reason(job, format, args, false);
    va_end(args);
    return -1;
}

int job_cannot(const struct job *job, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note_reason(job, format, args, true);
    va_end(args);
    return -1;
}

/* ---- processes ---- */

static _Noreturn void run_child(const struct job *job, unsigned index)
{
    int r;

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void) prctl(PR_SET_TIMERSLACK, 1); /* as in bus-bench: 50 us would be added to each sleep */
    if (index == 0) {
        (void) close(job->acks[1]);
        r = publisher_run(job);
    } else {
        (void) close(job->acks[0]);
        r = subscriber_run(job, index - 1);
    }
    _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static int start_child(struct crew *c, unsigned index)
{
    pid_t pid = fork();

    if (pid == 0) {
        run_child(c->job, index);
    }
    c->pids[index] = pid;
    c->pidfds[index] = pid < 0 ? -1 : pidfd_open(pid, 0);
    if (c->pidfds[index] < 0) {
        return job_fail(c->job, "cannot start a process: %s", strerror(errno));
    }
    return 0;
}

static int start_all(struct crew *c)
{
    for (unsigned i = 0; i <= c->job->n; i++) {
        c->n++;
        if (start_child(c, i) < 0) {
            return -1;
        }
    }
    return 0;
}

static void end_all(struct crew *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->pids[i] > 0) {
            (void) kill(c->pids[i], SIGKILL);
            (void) waitpid(c->pids[i], NULL, 0);
        }
        if (c->pidfds[i] >= 0) {
            (void) close(c->pidfds[i]);
        }
    }
}

static const char *role(unsigned index)
{
    return index == 0 ? "the publisher" : "a subscriber";
}

/* One that has ended. */
static int reap(struct crew *c, unsigned i)
{
    int status = 0;

    (void) waitpid(c->pids[i], &status, 0);
    c->pids[i] = 0;
    if (WIFSIGNALED(status)) {
        return job_fail(c->job, "%s was killed: %s", role(i), strsignal(WTERMSIG(status)));
    }
    return WEXITSTATUS(status) == 0 ? 0 : job_fail(c->job, "%s failed without a reason", role(i));
}

static int say_hangs(const struct job *job)
{
    const struct board *b = job->board;
    unsigned last = 0;

    for (unsigned i = 1; i < job->n; i++) {
        if (b->subscribers[i].received < b->subscribers[last].received) {
            last = i;
        }
    }
    return job_fail(job,
                    "hangs: of about %llu messages that were sent, subscriber %u has got %llu or "
                    "a few more: lost, or stuck",
                    (unsigned long long) b->sent, last,
                    (unsigned long long) b->subscribers[last].received);
}

/* The server is to outlive the others. */
static int look_at_ends(struct crew *c, struct pollfd *fds, unsigned *left)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (fds[i].fd >= 0 && fds[i].revents) {
            fds[i].fd = -1;
            --*left;
            if (reap(c, i) < 0) {
                return -1;
            }
        }
    }
    if (fds[c->n].revents) {
        return job_fail(c->job, "its server has ended in the middle of it");
    }
    return 0;
}

static int wait_all(struct crew *c)
{
    uint64_t patience_ns = PATIENCE_MS * UINT64_C(1000000) * 3 / 2;
    uint64_t deadline_ns = tool_now_ns() + (uint64_t) (c->job->seconds * 1e9) + patience_ns;
    struct pollfd fds[SUBSCRIBERS_MAX + 3];
    unsigned left = c->n;

    for (unsigned i = 0; i < c->n; i++) {
        fds[i] = (struct pollfd){.fd = c->pidfds[i], .events = POLLIN};
    }
    fds[c->n] = (struct pollfd){.fd = c->job->server->pidfd, .events = POLLIN};
    fds[c->n + 1] = (struct pollfd){.fd = tool_signal_fd(), .events = POLLIN};
    while (left > 0) {
        uint64_t now_ns = tool_now_ns();
        int timeout_ms = now_ns < deadline_ns ? (int) ((deadline_ns - now_ns) / 1000000) + 1 : 0;
        int r = poll(fds, c->n + 2, timeout_ms);

        if (r == 0) {
            return say_hangs(c->job);
        }
        if (tool_interrupted()) {
            return job_fail(c->job, "interrupted");
        }
        if (r > 0 && look_at_ends(c, fds, &left) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- result ---- */

/* All deliveries, from the first message's beginning to the last one's arrival. */
static int sum_up(const struct job *job, struct result *ret)
{
    const struct board *b = job->board;
    uint64_t last_ns = 0;

    for (unsigned i = 0; i < job->n; i++) {
        if (b->subscribers[i].received != b->sent) {
            return job_fail(job, "subscriber %u has got %llu of %llu messages", i,
                            (unsigned long long) b->subscribers[i].received,
                            (unsigned long long) b->sent);
        }
        if (b->subscribers[i].last_ns > last_ns) {
            last_ns = b->subscribers[i].last_ns;
        }
    }
    ret->deliveries = b->sent * job->n;
    ret->per_second = (double) ret->deliveries * 1e9 / (double) (last_ns - b->first_ns);
    return 0;
}

static void note_outcome(const struct job *job, int r, struct result *ret)
{
    ret->outcome = OUTCOME_OK;
    if (r < 0) {
        ret->outcome = job->board->cannot ? OUTCOME_CANNOT : OUTCOME_FAILED;
        memcpy(ret->reason, job->board->reason, sizeof(ret->reason));
    }
}

static int run_processes(struct job *job)
{
    struct crew crew = {.job = job};
    int r = start_all(&crew) < 0 || wait_all(&crew) < 0 ? -1 : 0;

    end_all(&crew);
    return r;
}

static int run_with_server(struct job *job, struct result *ret)
{
    struct server server;
    int r = server_init(&server, job);

    job->server = &server;
    if (r == 0) {
        r = job->peer->start(&server, job);
    }
    if (r == 0) {
        r = run_processes(job);
    }
    if (r == 0) {
        r = sum_up(job, ret);
    }
    server_stop(&server);
    return r;
}

unsigned spec_window(const struct spec *spec)
{
    uint64_t by_bytes = spec->window_bytes / spec->bytes;
    uint64_t window = by_bytes < spec->window_messages ? by_bytes : spec->window_messages;

    return window < WINDOW_MIN ? WINDOW_MIN : (unsigned) window;
}

static int open_acks(struct job *job)
{
    if (pipe2(job->acks, O_CLOEXEC) || fcntl(job->acks[0], F_SETFL, O_NONBLOCK)) {
        return job_fail(job, "cannot make a pipe: %s", strerror(errno));
    }
    return 0;
}

int measure(const struct spec *spec, struct result *ret)
{
    struct job job = {.peer = spec->peer,
                      .bytes = spec->bytes,
                      .n = spec->n,
                      .seconds = spec->seconds,
                      .window = spec_window(spec),
                      .acks = {-1, -1}};
    void *memory =
        mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r;

    *ret = (struct result){.outcome = OUTCOME_FAILED};
    if (memory == MAP_FAILED) {
        (void) snprintf(ret->reason, sizeof(ret->reason), "cannot map memory: %s", strerror(errno));
        return 0;
    }
    job.board = memory;
    job.step = job.window / 4;
    r = open_acks(&job);
    if (r == 0) {
        r = run_with_server(&job, ret);
        (void) close(job.acks[0]);
        (void) close(job.acks[1]);
    }
    note_outcome(&job, r, ret);
    (void) munmap(memory, sizeof(struct board));
    return tool_interrupted() ? -1 : 0;
}
