/* SPDX-License-Identifier: MIT */
/* A job has two sides that end by themselves: the call, which is answered or cancelled, and the
 * command. It goes when both have. */

#include "serve_jobs.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common.h"
#include "serve_child.h"
#include "serve_env.h"

#define READ_BYTES ((size_t) 64 * 1024)
/* Of one command in one turn, so that others have theirs. */
#define TURN_BYTES ((size_t) 1024 * 1024)
#define ERROR_TEXT_MAX 4096u
/* From SIGTERM to SIGKILL. */
#define KILL_AFTER_NS (UINT64_C(2000) * 1000000)

enum { STDIN, STDOUT, STDERR };

struct job {
    struct job *next;      /* jobs.first */
    struct bus_call *call; /* NULL: answered, or nobody waits for the answer */
    struct child child;
    bool has_started;
    bool is_ready;         /* its last reply is known: error and text, or out */
    bool is_dry;           /* it has exited, and nothing more is in its output */
    bool is_stalled;       /* a reply of several has to wait: its output is not read meanwhile */
    bool may[JOB_FDS];     /* it is worth trying */
    struct pollfd *polled; /* of the last jobs_poll(), or NULL */
    uint64_t kill_ns;      /* when SIGKILL follows SIGTERM; 0: none was sent */
    size_t sent;           /* of the body */
    char *out;             /* what it has written and was not sent yet */
    size_t out_bytes, out_cap;
    size_t out_searched; /* of it, for the end of a line */
    uint32_t error;
    char text[ERROR_TEXT_MAX]; /* of its standard error; of an error of ours the reason */
    size_t text_bytes;
};

/* ---- replies ---- */

/* 1: sent; 0: has to wait; -1: cannot be, and the call has been dropped. */
static int reply(struct job *job, const void *data, size_t bytes, const struct bus_reply_opts *opts)
{
    int r = bus_call_reply(job->call, data, bytes, opts);

    if (r == -EAGAIN || r == -ENOTCONN) {
        return 0;
    }
    if (r < 0) {
        tool_error("cannot reply to %s: %s", bus_message_topic(bus_call_message(job->call)),
                   strerror(-r));
        bus_call_drop(job->call);
        job->call = NULL;
        return -1;
    }
    if (!(opts->flags & BUS_REPLY_MORE)) {
        job->call = NULL;
    }
    return 1;
}

static void reply_last(struct job *job)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;

    opts.error = job->error;
    if (job->error != 0) {
        (void) reply(job, job->text, job->text_bytes, &opts);
    } else {
        (void) reply(job, job->out, job->out_bytes, &opts);
    }
}

/* An answer that needs no command. */
static void reply_simple(struct jobs *j, struct job *job)
{
    const struct bus_message *m = bus_call_message(job->call);
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;

    if (j->settings->mode == SERVE_TEXT) {
        (void) reply(job, j->settings->text, strlen(j->settings->text), &opts);
        return;
    }
    opts.n_headers = bus_message_n_headers(m);
    opts.headers = opts.n_headers > 0 ? bus_message_header_at(m, 0) : NULL;
    (void) reply(job, bus_message_data(m), bus_message_bytes(m), &opts);
}

static void job_fail(struct job *job, uint32_t error, const char *text)
{
    job->error = error;
    job->is_ready = true;
    job->text_bytes = (size_t) snprintf(job->text, sizeof(job->text), "%s", text);
}

/* ---- the command's output ---- */

static bool out_reserve(struct job *job, size_t bytes)
{
    size_t cap = job->out_cap ? job->out_cap : READ_BYTES;
    char *grown;

    while (cap < job->out_bytes + bytes) {
        cap *= 2;
    }
    if (cap == job->out_cap) {
        return true;
    }
    grown = realloc(job->out, cap);
    if (!grown) {
        return false;
    }
    job->out = grown;
    job->out_cap = cap;
    return true;
}

static void fail_too_long(struct jobs *j, struct job *job)
{
    char text[128];

    (void) snprintf(
        text, sizeof(text), "%s is longer than %zu bytes, the most that a reply can have",
        j->settings->stream ? "a line of the output" : "the output", bus_body_max(j->conn));
    job_fail(job, SERVE_ERROR_TOO_LONG, text);
}

/* Sends what lines there are; at the end also one without a newline. */
static void send_lines(struct jobs *j, struct job *job)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;
    size_t at = 0;

    opts.flags = BUS_REPLY_MORE;
    job->is_stalled = false;
    while (at < job->out_bytes && job->call && !job->is_ready) {
        char *from = job->out + at + job->out_searched;
        char *end = memchr(from, '\n', job->out_bytes - at - job->out_searched);
        size_t n = end ? (size_t) (end - job->out) - at : job->out_bytes - at;

        if (n > bus_body_max(j->conn)) {
            fail_too_long(j, job);
        } else if (!end && !job->is_dry) {
            job->out_searched = n;
            break;
        } else if (reply(job, job->out + at, n, &opts) == 0) {
            job->is_stalled = true;
            break;
        }
        at += n + (end ? 1 : 0);
        job->out_searched = 0;
    }
    at = at < job->out_bytes ? at : job->out_bytes;
    if (at > 0) {
        memmove(job->out, job->out + at, job->out_bytes - at);
        job->out_bytes -= at;
    }
}

/* Reads once: false if there is nothing more now. */
static bool read_out(struct jobs *j, struct job *job)
{
    ssize_t n;

    if (!out_reserve(job, READ_BYTES)) {
        job_fail(job, SERVE_ERROR_TOO_LONG, "out of memory");
        return false;
    }
    n = read(job->child.out, job->out + job->out_bytes, READ_BYTES);
    if (n < 0 && errno == EINTR) {
        return true;
    }
    if (n <= 0) {
        job->may[STDOUT] = false;
        job->is_dry = n == 0 ? job->child.has_exited : job->child.has_exited && errno == EAGAIN;
        if (n == 0) {
            child_close(&job->child.out);
        }
        return false;
    }
    job->out_bytes += (size_t) n;
    if (j->settings->stream) {
        send_lines(j, job);
    } else if (job->out_bytes > bus_body_max(j->conn)) {
        fail_too_long(j, job);
    }
    return true;
}

static void collect_out(struct jobs *j, struct job *job)
{
    if (job->child.out < 0) {
        job->is_dry = job->child.has_exited;
        return;
    }
    for (size_t n = 0;
         n < TURN_BYTES && job->may[STDOUT] && !job->is_stalled && job->call && !job->is_ready;
         n += READ_BYTES) {
        if (!read_out(j, job)) {
            break;
        }
    }
}

/* What does not fit into the text of an error is read all the same: nobody likes to block. */
static void collect_err(struct jobs *j, struct job *job)
{
    char buffer[4096];
    ssize_t n;

    while (job->child.err >= 0 && job->may[STDERR]) {
        size_t room = sizeof(job->text) - job->text_bytes;

        n = read(job->child.err, buffer, sizeof(buffer));
        if (n <= 0) {
            job->may[STDERR] = n < 0 && errno == EINTR;
            if (n == 0) {
                child_close(&job->child.err);
            }
            continue;
        }
        if (j->settings->verbose) {
            (void) !write(STDERR_FILENO, buffer, (size_t) n);
        }
        if (!job->is_ready) {
            size_t take = (size_t) n < room ? (size_t) n : room;

            memcpy(job->text + job->text_bytes, buffer, take);
            job->text_bytes += take;
        }
    }
}

static void feed(struct job *job)
{
    const struct bus_message *m;

    if (job->child.in < 0 || !job->may[STDIN]) {
        return;
    }
    if (!job->call) {
        child_close(&job->child.in);
        return;
    }
    m = bus_call_message(job->call);
    while (job->sent < bus_message_bytes(m)) {
        ssize_t n = write(job->child.in, (const char *) bus_message_data(m) + job->sent,
                          bus_message_bytes(m) - job->sent);

        if (n < 0 && errno == EAGAIN) {
            job->may[STDIN] = false;
            return;
        }
        if (n < 0 && errno != EINTR) {
            break; /* EPIPE: it does not want to know */
        }
        job->sent += n > 0 ? (size_t) n : 0;
    }
    child_close(&job->child.in);
}

/* ---- the command's life ---- */

static void job_start(struct jobs *j, struct job *job)
{
    char **env = serve_env_new(job->call);
    int r = env ? child_start(&job->child, j->settings->argv, env) : -ENOMEM;

    free(env);
    job->has_started = true;
    if (r < 0) {
        char text[512];

        (void) snprintf(text, sizeof(text), "cannot start %s: %s", j->settings->argv[0],
                        strerror(-r));
        tool_error("%s", text);
        job_fail(job, r == -ENOENT ? 127 : 126, text);
        return;
    }
    j->n_running++;
    job->may[STDIN] = job->may[STDOUT] = job->may[STDERR] = true;
}

/* It has written everything: what it ended with decides what the answer is. */
static void job_conclude(struct jobs *j, struct job *job)
{
    int status = job->child.status;
    unsigned code = WIFEXITED(status) ? (unsigned) WEXITSTATUS(status) : 0;
    unsigned number = WIFSIGNALED(status) ? (unsigned) WTERMSIG(status) : 0;
    char text[512];

    job->is_ready = true;
    job->error = number > 0 ? 128 + number : code;
    while (job->text_bytes > 0 && job->text[job->text_bytes - 1] == '\n') {
        job->text_bytes--;
    }
    if (job->error == 0 || job->text_bytes > 0) {
        return;
    }
    (void) snprintf(text, sizeof(text),
                    number > 0 ? "%s was ended by signal %u" : "%s ended with code %u",
                    j->settings->argv[0], number > 0 ? number : code);
    job_fail(job, job->error, text);
}

/* Nobody waits for what it does. */
static void job_kill(struct job *job)
{
    uint64_t now_ns = tool_now_ns();

    if (job->kill_ns == 0) {
        child_signal(&job->child, SIGTERM);
        job->kill_ns = now_ns + KILL_AFTER_NS;
        child_close(&job->child.in);
        child_close(&job->child.out);
    } else if (now_ns >= job->kill_ns) {
        child_signal(&job->child, SIGKILL);
        job->kill_ns = now_ns + KILL_AFTER_NS;
    }
}

static void job_work(struct jobs *j, struct job *job)
{
    feed(job);
    if (j->settings->stream && job->is_stalled && job->call) {
        send_lines(j, job);
    }
    collect_out(j, job);
    collect_err(j, job);
    if (!job->call || job->is_ready || !job->is_dry) {
        return;
    }
    if (j->settings->stream) {
        send_lines(j, job);
    }
    if (job->call && !job->is_stalled && !job->is_ready) {
        job_conclude(j, job);
    }
}

static void job_end_child(struct jobs *j, struct job *job)
{
    if (!job->child.has_exited) {
        job_kill(job);
        return;
    }
    if (job->kill_ns != 0) {
        child_signal(&job->child, SIGKILL); /* what it has left behind */
    }
    child_fini(&job->child);
    j->n_running--;
}

/* True if it is over. */
static bool job_step(struct jobs *j, struct job *job)
{
    if (j->settings->mode != SERVE_COMMAND) {
        if (job->call) {
            reply_simple(j, job);
        }
        return !job->call;
    }
    if (job->call && !job->has_started && j->n_running < j->settings->jobs_max) {
        job_start(j, job);
    }
    if (job->child.pid > 0 && !job->is_ready) {
        job_work(j, job);
    }
    if (job->call && job->is_ready) {
        reply_last(job);
    }
    if (job->child.pid > 0 && (!job->call || job->is_ready)) {
        job_end_child(j, job);
    }
    return !job->call && job->child.pid == 0;
}

/* ---- all of them ---- */

void jobs_step(struct jobs *j)
{
    struct job **at = &j->first;

    while (*at) {
        struct job *job = *at;

        if (!job_step(j, job)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        free(job->out);
        free(job);
    }
}

void jobs_on_call(struct bus_call *call, void *userdata)
{
    struct jobs *j = userdata;
    struct job *job = calloc(1, sizeof(*job));
    struct job **at = &j->first;

    if (!job) {
        tool_error("out of memory");
        bus_call_drop(call);
        return;
    }
    job->call = call;
    job->child = (struct child) CHILD_INIT;
    if (j->settings->mode != SERVE_COMMAND && job_step(j, job)) {
        free(job);
        return;
    }
    while (*at) {
        at = &(*at)->next;
    }
    *at = job;
}

void jobs_on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct jobs *j = userdata;

    (void) reason;
    for (struct job *job = j->first; job; job = job->next) {
        if (job->call == call) {
            job->call = NULL;
        }
    }
    bus_call_drop(call);
}

size_t jobs_poll(struct jobs *j, struct pollfd *fds, uint64_t *until_ns)
{
    size_t n = 0;

    for (struct job *job = j->first; job; job = job->next) {
        const struct child *c = &job->child;
        bool reads = !job->is_stalled && job->call;

        job->polled = NULL;
        if (c->pid == 0) {
            continue;
        }
        job->polled = &fds[n];
        fds[n++] = (struct pollfd){.fd = c->in, .events = POLLOUT};
        fds[n++] = (struct pollfd){.fd = reads ? c->out : -1, .events = POLLIN};
        fds[n++] = (struct pollfd){.fd = c->err, .events = POLLIN};
        if (job->kill_ns != 0 && job->kill_ns < *until_ns) {
            *until_ns = job->kill_ns;
        }
    }
    return n;
}

void jobs_polled(struct jobs *j)
{
    for (struct job *job = j->first; job; job = job->next) {
        for (size_t i = 0; job->polled && i < JOB_FDS; i++) {
            job->may[i] |= job->polled[i].revents != 0;
        }
    }
}

void jobs_reap(struct jobs *j)
{
    for (struct job *job = j->first; job; job = job->next) {
        if (job->child.pid > 0 && !job->child.has_exited && child_check_exit(&job->child)) {
            job->may[STDOUT] = job->may[STDERR] = true; /* the last that there is */
        }
    }
}

void jobs_abandon(struct jobs *j)
{
    for (struct job *job = j->first; job; job = job->next) {
        bus_call_drop(job->call);
        job->call = NULL;
    }
}
