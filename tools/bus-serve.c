/* SPDX-License-Identifier: MIT */
/* bus-serve: answers requests by running a command for each. */

#include <bus/drain.h>
#include <bus/request.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "common.h"
#include "serve_jobs.h"

#define JOBS_MAX 1024u
/* At the end: for the router to hear of it. */
#define LAST_FLUSH_MS 2000
#define N_OWN_FDS 3u
#define DRAIN_MS_MAX 3600000u

static const char help[] =
    "usage: bus-serve [OPTION]... FILTER -- COMMAND [ARGUMENT]...\n"
    "       bus-serve [OPTION]... --echo FILTER\n"
    "       bus-serve [OPTION]... --text TEXT FILTER\n"
    "Answer requests to the topics that match FILTER, through bus-router. For each, COMMAND is\n"
    "run: what was asked is its standard input, what it writes to standard output is the reply.\n"
    "Quote a FILTER with # in it. In its environment COMMAND finds:\n"
    "  BUS_TOPIC          what was asked\n"
    "  BUS_SENDER_UID, BUS_SENDER_PID, BUS_SENDER_NAME\n"
    "                     who asked; the name is a claim, the others are not\n"
    "  BUS_TIMEOUT_MS     how long the requester waits\n"
    "  BUS_HEADER_NAME    the value of the header NAME; in capitals, with _ for what is neither\n"
    "                     letter nor digit\n"
    "When COMMAND exits with another code than 0, the requester gets that code as error, with\n"
    "what COMMAND wrote to standard error as its text (at most 4096 bytes); 128 + N if signal N\n"
    "ended it; 127 or 126 if it cannot be started; 256 if it wrote more than a reply can have.\n"
    "When nobody waits for the answer any more, COMMAND and what it has started get SIGTERM, and\n"
    "two seconds later SIGKILL.\n"
    "\n"
    "  -a, --address ADDRESS  the router: seqpacket:PATH, stream:PATH or PATH; @NAME is abstract\n"
    "  -j, --jobs N           run at most N commands at a time, 1 to 1024; other requests go to\n"
    "                         other servers, or wait; default: the number of processors\n"
    "  -s, --stream           each line that COMMAND writes is a reply of its own, at once; an\n"
    "                         empty last one, or an error, follows when it exits\n"
    "  -e, --echo             reply with what was asked, and its headers\n"
    "  -T, --text TEXT        reply with TEXT\n"
    "  -v, --verbose          show what COMMAND writes to standard error\n"
    "  -d, --drain-timeout MS after a signal, finish what is under way for so long; default: 5000\n"
    "      --reconnect        when the link to the router breaks, wait for it to come back\n"
    "      --ready-fd FD      write a line READY to descriptor FD when requests can come\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n"
    "\n"
    "With SIGINT or SIGTERM it takes no further requests, finishes what it has, and ends; a "
    "second\n"
    "signal ends it at once. Requesters that still wait then hear that the server has gone.\n"
    "Exit codes: 0 after a signal; 1 failure, such as no router, or a refusal; 2 wrong usage.\n";

struct settings {
    const char *address;
    const char *filter;
    struct serve_settings serve;
    bool has_jobs;
    uint64_t drain_ms;
    int ready_fd; /* -1: none */
    bool reconnect;
};

struct state {
    struct settings *settings;
    struct bus_conn *conn;
    struct jobs jobs;
    struct pollfd *fds; /* our own, then those of jobs */
    int child_fd;       /* readable after SIGCHLD */
    bool is_ready;
    bool done;
    bool drained;
    bool failed;
};

static void fail(struct state *s)
{
    s->failed = s->done = true;
}

static void say_ready(struct state *s)
{
    int fd = s->settings->ready_fd;

    if (fd >= 0 && write(fd, "READY\n", 6) != 6) {
        tool_error("cannot write READY to descriptor %d: %s", fd, strerror(errno));
        fail(s);
    }
}

static struct state *state_of(struct jobs *jobs)
{
    return (struct state *) ((char *) jobs - offsetof(struct state, jobs));
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct state *s = state_of(userdata);

    if (status == BUS_STATUS_OK) {
        if (!s->is_ready) { /* and not again after a return */
            s->is_ready = true;
            say_ready(s);
        }
        return;
    }
    tool_say_refused("serve", bus_sub_filter(sub), status, text);
    fail(s);
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct state *s = userdata;

    (void) conn;
    if (!s->done) {
        tool_say_closed(reason, text);
        fail(s);
    }
}

static int serve(struct state *s, struct bus_sub **ret)
{
    const struct serve_settings *serve = &s->settings->serve;
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    int r;

    opts.calls_max = serve->mode == SERVE_COMMAND || s->settings->has_jobs ? serve->jobs_max : 0;
    opts.on_ready = on_ready;
    opts.on_cancel = jobs_on_cancel;
    r = bus_serve(s->conn, s->settings->filter, &opts, jobs_on_call, &s->jobs, ret);
    if (r < 0) {
        tool_error("cannot serve %s: %s", s->settings->filter, strerror(-r));
    }
    return r;
}

/* ---- the loop ---- */

static int left_ms(uint64_t until_ns)
{
    uint64_t now_ns = tool_now_ns();

    if (until_ns == UINT64_MAX) {
        return -1;
    }
    return until_ns > now_ns ? (int) ((until_ns - now_ns) / 1000000u) + 1 : 0;
}

/* conn_fd -1: only for the commands. */
static void wait_for_work(struct state *s, int conn_fd, bool may_wait, uint64_t until_ns)
{
    size_t n = N_OWN_FDS + jobs_poll(&s->jobs, s->fds + N_OWN_FDS, &until_ns);
    struct signalfd_siginfo info;

    s->fds[0] = (struct pollfd){.fd = conn_fd, .events = POLLIN};
    s->fds[1] = (struct pollfd){.fd = tool_interrupted() ? -1 : tool_signal_fd(), .events = POLLIN};
    s->fds[2] = (struct pollfd){.fd = s->child_fd, .events = POLLIN};
    if (poll(s->fds, (nfds_t) n, may_wait ? left_ms(until_ns) : 0) <= 0) {
        return;
    }
    jobs_polled(&s->jobs);
    if (s->fds[2].revents) {
        (void) !read(s->child_fd, &info, sizeof(info)); /* one may stand for many */
        jobs_reap(&s->jobs);
    }
}

static void loop(struct state *s)
{
    while (!s->done && !tool_interrupted()) {
        int r = bus_process(s->conn);

        if (r < 0) {
            fail(s);
            return;
        }
        jobs_step(&s->jobs);
        if (!s->done && !tool_interrupted()) {
            wait_for_work(s, bus_fd(s->conn), r == 0, UINT64_MAX);
        }
    }
}

static void on_drained(struct bus_sub *sub, enum bus_status status, void *userdata)
{
    (void) sub;
    (void) status;
    state_of(userdata)->drained = true;
}

/* Others get what comes from now on. What this server has is finished, as far as there is time. */
static void drain(struct state *s, struct bus_sub *sub)
{
    uint64_t until_ns = tool_now_ns() + s->settings->drain_ms * 1000000u;

    if (s->done || !sub || bus_sub_drain(sub, on_drained) < 0) {
        return;
    }
    while (!s->done && !s->drained && tool_now_ns() < until_ns) {
        int r = bus_process(s->conn);

        if (r < 0) {
            fail(s);
            return;
        }
        jobs_step(&s->jobs);
        if (!s->done && !s->drained) {
            wait_for_work(s, bus_fd(s->conn), r == 0, until_ns);
        }
    }
}

/* Requesters hear at once that nobody will answer; then the commands have time to end. */
static void stop(struct state *s, struct bus_sub *sub)
{
    s->done = true;
    if (sub) {
        bus_sub_unref(sub);
        (void) bus_flush(s->conn, LAST_FLUSH_MS);
    }
    jobs_abandon(&s->jobs);
    jobs_step(&s->jobs);
    while (s->jobs.first) {
        wait_for_work(s, -1, true, UINT64_MAX);
        jobs_step(&s->jobs);
    }
}

/* SIGCHLD comes through a descriptor. */
static int child_fd_open(void)
{
    sigset_t set;

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL)) {
        return -errno;
    }
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int connect_and_serve(struct state *s)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_sub *sub = NULL;

    opts.on_closed = on_closed;
    opts.userdata = s;
    if (s->settings->reconnect) {
        opts.flags |= BUS_OPEN_RECONNECT;
        opts.on_state = tool_say_state;
    }
    if (tool_connect(s->settings->address, &opts, &s->conn) < 0) {
        return TOOL_FAILURE;
    }
    s->jobs = (struct jobs){.settings = &s->settings->serve, .conn = s->conn};
    if (serve(s, &sub) < 0) {
        fail(s);
    }
    loop(s);
    drain(s, sub);
    stop(s, sub);
    bus_close(s->conn);
    return s->failed ? TOOL_FAILURE : TOOL_OK;
}

static int run(struct settings *settings)
{
    struct state s = {.settings = settings, .child_fd = child_fd_open()};
    int code = TOOL_FAILURE;

    s.fds = calloc(N_OWN_FDS + jobs_fds_max(&settings->serve), sizeof(*s.fds));
    if (s.child_fd < 0) {
        tool_error("cannot watch commands: %s", strerror(errno));
    } else if (!s.fds) {
        tool_error("out of memory");
    } else {
        code = connect_and_serve(&s);
    }
    free(s.fds);
    return code;
}

/* ---- options ---- */

enum { OPT_READY_FD = 256, OPT_RECONNECT };

static const struct option long_options[] = {
    {"address", required_argument, NULL, 'a'},
    {"jobs", required_argument, NULL, 'j'},
    {"stream", no_argument, NULL, 's'},
    {"echo", no_argument, NULL, 'e'},
    {"text", required_argument, NULL, 'T'},
    {"verbose", no_argument, NULL, 'v'},
    {"drain-timeout", required_argument, NULL, 'd'},
    {"reconnect", no_argument, NULL, OPT_RECONNECT},
    {"ready-fd", required_argument, NULL, OPT_READY_FD},
    TOOL_HELP_OPTIONS,
    {NULL, 0, NULL, 0},
};

static int set_mode(struct settings *s, enum serve_mode mode)
{
    if (s->serve.mode != SERVE_COMMAND) {
        return tool_usage("--echo and --text: one of them, once");
    }
    s->serve.mode = mode;
    s->serve.text = optarg;
    return 0;
}

static int parse_ready_fd(struct settings *s)
{
    uint64_t fd;

    /* not for the commands */
    if (!tool_parse_u64(optarg, 0, INT_MAX, &fd) || fcntl((int) fd, F_SETFD, FD_CLOEXEC) < 0) {
        return tool_usage("--ready-fd %s: not the number of a descriptor that is open", optarg);
    }
    s->ready_fd = (int) fd;
    return 0;
}

/* One option: 0 or an exit code. */
static int parse_option(int option, void *settings)
{
    struct settings *s = settings;
    uint64_t value;

    switch (option) {
    case 'a':
        s->address = optarg;
        return 0;
    case 'j':
        if (!tool_parse_u64(optarg, 1, JOBS_MAX, &value)) {
            return tool_usage("--jobs %s: not a whole number from 1 to %u", optarg, JOBS_MAX);
        }
        s->serve.jobs_max = (uint32_t) value;
        s->has_jobs = true;
        return 0;
    case 's':
        s->serve.stream = true;
        return 0;
    case 'e':
        return set_mode(s, SERVE_ECHO);
    case 'T':
        return set_mode(s, SERVE_TEXT);
    case 'v':
        s->serve.verbose = true;
        return 0;
    case 'd':
        return tool_parse_u64(optarg, 0, DRAIN_MS_MAX, &s->drain_ms)
                   ? 0
                   : tool_usage("--drain-timeout %s: not a whole number of milliseconds from 0 "
                                "to %u",
                                optarg, DRAIN_MS_MAX);
    case OPT_RECONNECT:
        s->reconnect = true;
        return 0;
    case OPT_READY_FD:
        return parse_ready_fd(s);
    default:
        return tool_usage("wrong option");
    }
}

/* What is left after the options: 0 or an exit code. */
static int parse_operands(struct settings *s, char **operands, int n)
{
    if (n == 0) {
        return tool_usage("no FILTER: # is everything");
    }
    s->filter = operands[0];
    if (!bus_filter_valid(s->filter)) {
        return tool_usage("%s: not a topic filter: 1 to %d bytes of UTF-8, at most %d levels, "
                          "+ and # fill a level, # is the last",
                          s->filter, BUS_TOPIC_MAX, BUS_LEVELS_MAX);
    }
    if (s->serve.mode != SERVE_COMMAND) {
        if (n > 1 || s->serve.stream || s->serve.verbose) {
            return tool_usage("--echo and --text go without COMMAND, --stream and --verbose");
        }
        return 0;
    }
    operands++;
    if (n > 1 && strcmp(operands[0], "--") == 0) { /* behind FILTER getopt_long() leaves it */
        operands++;
    }
    s->serve.argv = operands;
    return operands[0] ? 0 : tool_usage("no COMMAND, and no --echo or --text");
}

/* Otherwise a pipe could become one of them, and reach a command under a wrong number. */
static bool has_standard_fds(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        (void) close(fd);
    }
    return fd >= 0;
}

static uint32_t default_jobs(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > (long) JOBS_MAX ? JOBS_MAX : (uint32_t) n;
}

/* +: what is behind FILTER is COMMAND's */
static const struct tool_syntax syntax = {"+a:d:j:seT:vhV", long_options, help, parse_option};

int main(int argc, char **argv)
{
    struct settings s = {.serve.jobs_max = default_jobs(), .drain_ms = 5000, .ready_fd = -1};
    int r;

    if (!tool_options(argc, argv, &syntax, &s, &r)) {
        return r;
    }
    r = parse_operands(&s, argv + optind, argc - optind);
    if (r) {
        return r;
    }
    if (!has_standard_fds()) {
        tool_error("cannot open /dev/null: %s", strerror(errno));
        return TOOL_FAILURE;
    }
    return tool_catch_signals() ? run(&s) : TOOL_FAILURE;
}
