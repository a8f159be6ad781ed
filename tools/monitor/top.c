/* SPDX-License-Identifier: MIT */
/* The live table: asks for lists at each interval, feeds the model, and shows it on the screen
 * or as plain text. The terminal is taken only when the first lists are there, so that a
 * refusal is said on a plain one. */
#include "top.h"

#include <bus/inside.h>
#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "common.h"
#include "top_model.h"
#include "top_screen.h"
#include "top_view.h"

#define LISTS 5

struct top;

/* What an answer belongs to. */
struct request {
    struct top *top;
    enum bus_inside_list list;
};

struct top {
    struct session *session;
    struct top_model model;
    struct top_screen screen;
    struct request requests[LISTS];
    bool on_terminal; /* use the screen, once it is open */
    bool screen_open;
    bool keys;         /* stdin is a terminal too */
    unsigned pending;  /* lists asked for and not complete */
    uint64_t due_ns;   /* when to ask again */
    uint64_t n_tables; /* shown so far */
    enum exit_code code;
    bool done;
};

static void top_end(struct top *t, enum exit_code code)
{
    if (t->done) {
        return;
    }
    t->done = true;
    t->code = code;
    if (t->screen_open) {
        screen_close();
        t->screen_open = false;
    }
}

static void top_fail(struct top *t, const char *what, int error)
{
    if (!t->done) {
        top_end(t, EXIT_FAILED);
        tool_error("%s: %s", what, strerror(-error));
    }
}

static bool wanted(const struct top *t, const char *topic)
{
    const struct options *options = t->session->options;

    for (size_t i = 0; i < options->n_filters; i++) {
        if (bus_filter_matches(options->filters[i], topic)) {
            return true;
        }
    }
    return options->n_filters == 0;
}

static int add_entry(struct top *t, const struct bus_inside_entry *entry)
{
    return entry->topic && !wanted(t, entry->topic->name) ? 0 : top_model_add(&t->model, entry);
}

static void print_tables(struct top *t)
{
    char clock[32];
    time_t now = time(NULL);
    struct tm tm;

    if (localtime_r(&now, &tm) && strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%S", &tm)) {
        printf("-- %s\n", clock);
    }
    errno = 0;
    view_print(stdout, &t->model, t->screen.charset);
    if (!fflush(stdout)) {
        return;
    }
    if (errno == EPIPE || tool_interrupted()) {
        top_end(t, EXIT_DONE);
    } else {
        top_fail(t, "cannot write to standard output", -errno);
    }
}

static void show(struct top *t)
{
    if (t->n_tables++ == 0) {
        session_ready(t->session);
        if (t->on_terminal && screen_open(&t->screen) < 0) {
            top_end(t, EXIT_FAILED);
            tool_error("the terminal type '%s' is not known here; set TERM to a known "
                       "one, or use \'bus-monitor --top | cat\' for plain tables",
                       getenv("TERM") ? getenv("TERM") : "");
            return;
        }
        t->screen_open = t->on_terminal;
    }
    if (t->screen_open) {
        screen_draw(&t->screen);
    } else {
        print_tables(t);
    }
    if (t->n_tables == t->session->options->count) {
        top_end(t, EXIT_DONE);
    }
}

static void on_entry(struct bus_conn *conn, const struct bus_inside_entry *entry,
                     enum bus_status status, const char *text, void *userdata)
{
    struct request *request = userdata;
    struct top *t = request->top;
    int r;

    (void) conn;
    if (t->done) {
        return;
    }
    if (!entry && status != BUS_STATUS_OK) {
        top_end(t, EXIT_FAILED);
        t->code = session_refused(t->session, status, text);
        return;
    }
    r = entry ? add_entry(t, entry) : top_model_commit(&t->model, request->list, tool_now_ns());
    if (r < 0) {
        top_fail(t, "cannot keep the router's answer", r);
    } else if (!entry && --t->pending == 0) {
        show(t);
    }
}

static void ask(struct top *t)
{
    t->due_ns = tool_now_ns() + t->session->options->interval_ns;
    for (int i = 0; i < LISTS && !t->done; i++) {
        int r = bus_inside(t->session->conn, t->requests[i].list, NULL, on_entry, &t->requests[i]);

        if (r < 0) {
            top_fail(t, "cannot ask the router", r);
            return;
        }
        t->pending++;
    }
}

/* Until there is input, a key, a signal, or it is time to ask again or to end. */
static void wait_for_more(struct top *t)
{
    struct pollfd fds[] = {
        {.fd = bus_fd(t->session->conn), .events = POLLIN},
        {.fd = tool_signal_fd(), .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = 0},
        {.fd = t->screen_open && t->keys ? STDIN_FILENO : -1, .events = POLLIN},
    };
    uint64_t until = t->session->deadline_ns;
    int r;

    if (!t->pending && !t->screen.paused && t->due_ns < until) {
        until = t->due_ns;
    }
    r = poll(fds, sizeof(fds) / sizeof(fds[0]), session_poll_ms(until));
    if (r > 0 && (fds[2].revents & (POLLERR | POLLNVAL) || fds[3].revents & (POLLHUP | POLLERR))) {
        top_end(t, EXIT_DONE);
        return;
    }
    /* Also after EINTR: a change of the window's size arrives as a signal and is read as a key. */
    if (t->screen_open && (r < 0 || fds[3].revents) && screen_keys(&t->screen) == SCREEN_QUIT) {
        top_end(t, EXIT_DONE);
    }
}

static void step(struct top *t)
{
    uint64_t now_ns = tool_now_ns();
    int r;

    if (!t->pending && !t->screen.paused && now_ns >= t->due_ns) {
        ask(t);
    }
    r = t->done ? 0 : bus_process(t->session->conn);
    if (r < 0 && !t->done) {
        top_end(t, EXIT_FAILED);
        session_say_lost(t->session, r);
    } else if (r == 0 && !t->done) {
        wait_for_more(t);
    }
    if (tool_interrupted()) {
        top_end(t, EXIT_DONE);
    } else if (now_ns >= t->session->deadline_ns) {
        top_end(t, t->session->options->count ? EXIT_TIMEOUT : EXIT_DONE);
    }
}

static bool use_colour(const struct options *options)
{
    const char *no_color = getenv("NO_COLOR");

    return options->colour == COLOUR_ALWAYS ||
           (options->colour == COLOUR_AUTO && !(no_color && no_color[0]));
}

enum exit_code top_run(struct session *session)
{
    static const enum bus_inside_list lists[LISTS] = {BUS_INSIDE_COUNTERS, BUS_INSIDE_TOPICS,
                                                      BUS_INSIDE_CLIENTS, BUS_INSIDE_GROUPS,
                                                      BUS_INSIDE_QUOTAS};
    struct top t = {
        .session = session,
        .on_terminal = isatty(STDOUT_FILENO),
        .keys = isatty(STDIN_FILENO),
    };

    top_model_init(&t.model);
    t.screen.model = &t.model;
    t.screen.title = session_address(session->options);
    t.screen.title = t.screen.title ? t.screen.title : "";
    t.screen.interval_s = (double) session->options->interval_ns / 1e9;
    t.screen.colour = use_colour(session->options);
    t.screen.charset = strcmp(nl_langinfo(CODESET), "UTF-8") ? SAFE_ASCII : SAFE_UTF8;
    for (int i = 0; i < LISTS; i++) {
        t.requests[i] = (struct request){.top = &t, .list = lists[i]};
    }
    while (!t.done) {
        step(&t);
    }
    top_model_fini(&t.model);
    return t.code;
}
