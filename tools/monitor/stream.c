/* SPDX-License-Identifier: MIT */
/* Records as they come: asks for them, writes them, and decides when to flush and when to end.
 * Output is buffered while more is at hand and flushed before each wait, so that a pipe gets large
 * pieces under load and every line at once otherwise. */
#include "stream.h"

#include <bus/monitor.h>
#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common.h"
#include "conversations.h"
#include "json.h"
#include "text.h"

struct stream {
    struct session *session;
    struct text_out text;
    struct conversations conversations;
    uint64_t n_records;
    enum exit_code code;
    bool done;
};

static void stream_end(struct stream *s, enum exit_code code)
{
    if (!s->done) {
        s->done = true;
        s->code = code;
    }
}

/* A reader that has gone has seen enough; any other failure to write is one. */
static void check_output(struct stream *s, int failed)
{
    int error = errno;

    if (!failed || s->done) {
        return;
    }
    if (error == EPIPE || tool_interrupted()) {
        stream_end(s, EXIT_DONE);
        return;
    }
    tool_error("cannot write to standard output: %s", strerror(error));
    stream_end(s, EXIT_FAILED);
}

static void on_record(struct bus_conn *conn, const struct bus_record *record, void *userdata)
{
    struct stream *s = userdata;
    const struct options *options = s->session->options;
    uint64_t after_ns;

    (void) conn;
    if (s->done || tool_interrupted()) {
        return;
    }
    after_ns = conversations_note(&s->conversations, record);
    errno = 0;
    if (options->output == OUTPUT_JSON) {
        json_record(stdout, record, after_ns, options->no_body);
    } else {
        text_record(&s->text, record, after_ns);
    }
    check_output(s, ferror(stdout));
    if (++s->n_records == options->count) {
        stream_end(s, EXIT_DONE);
    }
}

static void on_loss(struct bus_conn *conn, const struct bus_loss *loss, void *userdata)
{
    struct stream *s = userdata;

    (void) conn;
    if (s->done || tool_interrupted()) {
        return;
    }
    if (s->session->options->output == OUTPUT_JSON) {
        json_loss(stdout, loss);
    } else {
        text_loss(&s->text, loss);
    }
    check_output(s, ferror(stdout));
}

static void on_ready(struct bus_conn *conn, enum bus_status status, const char *text,
                     void *userdata)
{
    struct stream *s = userdata;

    (void) conn;
    if (status != BUS_STATUS_OK) {
        stream_end(s, session_refused(s->session, status, text));
        return;
    }
    session_ready(s->session);
    if (isatty(STDOUT_FILENO) && isatty(STDERR_FILENO)) {
        tool_error("connected; Ctrl-C ends");
    }
}

static bool use_colour(const struct options *options)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    if (options->colour != COLOUR_AUTO) {
        return options->colour == COLOUR_ALWAYS;
    }
    return isatty(STDOUT_FILENO) && !(no_color && no_color[0]) && !(term && !strcmp(term, "dumb"));
}

static int ask(struct stream *s)
{
    const struct options *options = s->session->options;
    struct bus_monitor_opts opts = BUS_MONITOR_OPTS_INIT;

    /* Nothing shorter than one byte can be asked for. */
    opts.snap_bytes = options->no_body ? 1 : (uint32_t) options->snap_bytes;
    opts.queue_bytes = options->queue_bytes;
    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    return bus_monitor(s->session->conn, options->n_filters ? options->filters : NULL,
                       options->n_filters, &opts, on_record, s);
}

/* Until there is input, a signal, the deadline, or nobody who reads the output any more. */
static void wait_for_more(struct stream *s)
{
    struct pollfd fds[] = {
        {.fd = bus_fd(s->session->conn), .events = POLLIN},
        {.fd = tool_signal_fd(), .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = 0},
    };

    if (poll(fds, 3, session_poll_ms(s->session->deadline_ns)) > 0 &&
        fds[2].revents & (POLLERR | POLLNVAL)) {
        stream_end(s, EXIT_DONE);
    }
}

static void step(struct stream *s)
{
    int r = bus_process(s->session->conn);

    if (r < 0) {
        if (!s->done) {
            fflush(stdout);
            session_say_lost(s->session, r);
        }
        stream_end(s, EXIT_FAILED);
    } else if (r == 0 && !s->done) {
        errno = 0;
        check_output(s, fflush(stdout));
        if (!s->done) {
            wait_for_more(s);
        }
    }
    if (tool_interrupted()) {
        stream_end(s, EXIT_DONE);
    } else if (tool_now_ns() >= s->session->deadline_ns) {
        stream_end(s, s->session->options->count ? EXIT_TIMEOUT : EXIT_DONE);
    }
}

/* After Ctrl-C nothing may wait for a reader that does not read: what it does not take now is given
 * up, and a second Ctrl-C has its usual effect. */
static enum exit_code finish_output(const struct stream *s)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    if (tool_interrupted()) {
        if (poll(&out, 1, 0) <= 0 || !(out.revents & POLLOUT)) {
            __fpurge(stdout);
        }
    }
    errno = 0;
    if (!fflush(stdout)) {
        return s->code;
    }
    __fpurge(stdout);
    if (errno == EPIPE || tool_interrupted() || s->code != EXIT_DONE) {
        return s->code;
    }
    tool_error("cannot write to standard output: %s", strerror(errno));
    return EXIT_FAILED;
}

enum exit_code stream_run(struct session *session)
{
    struct stream s = {
        .session = session,
        .text = {.file = stdout, .charset = SAFE_UTF8, .year = -1, .day = -1},
    };
    int r;

    s.text.colour = use_colour(session->options);
    s.text.no_body = session->options->no_body;
    if (isatty(STDOUT_FILENO) && strcmp(nl_langinfo(CODESET), "UTF-8")) {
        s.text.charset = SAFE_ASCII;
    }
    setvbuf(stdout, NULL, _IOFBF, 65536);
    r = conversations_init(&s.conversations) ? ask(&s) : -ENOMEM;
    if (r < 0) {
        tool_error("cannot ask the router for records: %s", strerror(-r));
        stream_end(&s, EXIT_FAILED);
    }
    while (!s.done) {
        step(&s);
    }
    conversations_fini(&s.conversations);
    return finish_output(&s);
}
