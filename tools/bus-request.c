/* SPDX-License-Identifier: MIT */
/* bus-request: asks who serves a topic and writes the replies to standard output. */

#include <bus/request.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "body.h"
#include "common.h"
#include "sub_format.h"

enum { ASK_NO_RESPONDER = 3, ASK_TIMEOUT, ASK_GONE, ASK_DENIED, ASK_ERROR };

#define BODY_READ_MAX ((size_t) 1 << 30)
/* A signal may come between looking for it and waiting: so often it is looked for again. */
#define SIGNAL_MS 200
/* After Ctrl-C: for the router to take back what was asked. */
#define LAST_FLUSH_MS 2000

static const char help[] =
    "usage: bus-request [OPTION]... TOPIC [BODY]\n"
    "Ask who serves TOPIC, through bus-router, and write the reply to standard output. What is\n"
    "asked is BODY, or a file, or else all of standard input.\n"
    "\n"
    "  -a, --address ADDRESS    the router: seqpacket:PATH, stream:PATH or PATH; @NAME is "
    "abstract\n"
    "  -f, --file FILE          ask with what is in FILE; - is standard input\n"
    "  -t, --timeout MS         wait so long for the reply, and from each reply of several to the\n"
    "                           next; default 30000, at most one hour\n"
    "  -A, --all                ask every server; who gave it stands before each reply, and how\n"
    "                           many replied is said on standard error\n"
    "  -H, --header NAME=VALUE  add a text header; may be given more than once\n"
    "  -F, --format FORMAT      raw: the bodies, nothing between them (default)\n"
    "                           text: body and newline (default with --all and on a terminal,\n"
    "                             where control characters are shown as \\xNN)\n"
    "                           json: one object a line, as of bus-sub, with error, part (--all)\n"
    "                             and more; how it ended otherwise: {\"status\":TEXT,...}\n"
    "                           or a text with directives, as of bus-sub\n"
    "  -j, --json               --format json\n"
    "  -q, --quiet              do not say on standard error what exit codes 3 to 7 say, nor how\n"
    "                           many replied\n"
    "  -h, --help               this text\n"
    "  -V, --version            the version\n"
    "\n"
    "Replies are written as they come. A server may give several: the last one, if it is empty,\n"
    "only ends them and is not written (json: it is).\n"
    "Exit codes: 0 answered; 1 another failure, such as no router, or a signal; 2 wrong usage;\n"
    "3 nobody serves TOPIC; 4 no reply in time; 5 the server has gone; 6 denied; 7 the server\n"
    "answered with an error: its text is on standard error. With --all 0 if all that were asked\n"
    "replied, else the first that is true of 4, 5 and 7 for any of them.\n";

struct settings {
    const char *address;
    const char *topic;
    const char *body; /* or NULL */
    const char *file; /* or NULL */
    struct bus_header headers[BUS_HEADERS_MAX];
    struct bus_request_opts request;
    struct format format;
    bool has_format;
    bool quiet;
};

struct state {
    struct settings *settings;
    struct bus_conn *conn;
    struct bus_request *request; /* NULL when it has ended */
    struct out out;
    struct out err; /* what servers say about errors */
    bool had_more;
    bool had_error;
    bool done;
    int code;
};

static bool is_to_all(const struct state *s)
{
    return s->settings->request.flags & BUS_REQUEST_ALL;
}

static void finish(struct state *s, int code)
{
    if (!s->done) {
        s->done = true;
        s->code = code;
    }
}

/* ---- replies ---- */

static void write_giver(struct out *o, const struct bus_message *message)
{
    const struct bus_peer *peer = bus_message_sender(message);

    out_text(o, peer->name);
    out_text(o, " pid=");
    out_u64(o, peer->pid);
}

/* What the server says may hold anything: on a terminal it must not give orders. */
static void say_error(struct state *s, const struct bus_reply *reply)
{
    struct format format = {.kind = FORMAT_TEXT, .terminator = '\n', .to_terminal = true};

    if (s->settings->quiet) {
        return;
    }
    out_flush(&s->out);
    out_text(&s->err, program_invocation_short_name);
    out_text(&s->err, ": ");
    write_giver(&s->err, reply->message);
    if (reply->error == BUS_ERROR_DROPPED) {
        out_text(&s->err, " gave no answer: ");
    } else {
        out_text(&s->err, " answered with error ");
        out_u64(&s->err, reply->error);
        out_text(&s->err, ": ");
    }
    format_message(&format, &s->err, reply->message);
    out_flush(&s->err);
}

static void write_json(struct state *s, const struct bus_reply *reply)
{
    struct format *format = &s->settings->format;
    char members[96];

    if (is_to_all(s)) {
        (void) snprintf(members, sizeof(members), ",\"error\":%u,\"part\":%u",
                        (unsigned) reply->error, (unsigned) reply->part);
    } else {
        (void) snprintf(members, sizeof(members), ",\"error\":%u,\"more\":%s",
                        (unsigned) reply->error, reply->more ? "true" : "false");
    }
    format->members = members;
    format_message(format, &s->out, reply->message);
    format->members = NULL;
}

static void write_reply(struct state *s, const struct bus_reply *reply)
{
    const struct format *format = &s->settings->format;

    if (format->kind == FORMAT_JSON) {
        write_json(s, reply);
        return;
    }
    if (reply->error != 0) {
        return;
    }
    if (!reply->more && s->had_more && bus_message_bytes(reply->message) == 0) {
        return; /* it only ends the others */
    }
    if (is_to_all(s) && format->kind == FORMAT_TEXT) {
        write_giver(&s->out, reply->message);
        out_byte(&s->out, '\t');
    }
    format_message(&s->settings->format, &s->out, reply->message);
}

/* ---- ends ---- */

static int code_of(enum bus_status status)
{
    switch ((unsigned) status) {
    case BUS_STATUS_NO_RESPONDER:
        return ASK_NO_RESPONDER;
    case BUS_STATUS_TIMEOUT:
        return ASK_TIMEOUT;
    case BUS_STATUS_RESPONDER_GONE:
        return ASK_GONE;
    case BUS_STATUS_DENIED:
        return ASK_DENIED;
    default:
        return TOOL_FAILURE;
    }
}

static void write_end(struct state *s, const struct bus_reply *reply)
{
    char counts[96] = "";

    if (s->settings->format.kind != FORMAT_JSON) {
        return;
    }
    if (is_to_all(s)) {
        (void) snprintf(counts, sizeof(counts), ",\"replied\":%u,\"gone\":%u,\"timed_out\":%u",
                        (unsigned) reply->replied, (unsigned) reply->gone,
                        (unsigned) reply->timed_out);
    }
    out_text(&s->out, "{\"status\":\"");
    out_text(&s->out, bus_status_text(reply->status));
    out_byte(&s->out, '"');
    out_text(&s->out, counts);
    out_text(&s->out, "}\n");
}

static void say_failure(const struct state *s, const struct bus_reply *reply, int code)
{
    const char *text = bus_status_text(reply->status);

    if (reply->status == BUS_STATUS_DISCONNECTED || (s->settings->quiet && code != TOOL_FAILURE)) {
        return; /* disconnected: on_closed says it */
    }
    if (reply->status == BUS_STATUS_DENIED) {
        tool_say_refused("ask", s->settings->topic, reply->status, reply->text);
    } else if (*reply->text && strcmp(reply->text, text) != 0) {
        tool_error("%s: %s: %s", s->settings->topic, text, reply->text);
    } else {
        tool_error("%s: %s", s->settings->topic, text);
    }
}

static int code_of_counts(const struct state *s, const struct bus_reply *reply)
{
    if (reply->timed_out > 0) {
        return ASK_TIMEOUT;
    }
    if (reply->gone > 0) {
        return ASK_GONE;
    }
    return s->had_error ? ASK_ERROR : TOOL_OK;
}

/* The end, and nothing else. */
static void end(struct state *s, const struct bus_reply *reply)
{
    write_end(s, reply);
    out_flush(&s->out);
    if (reply->status != BUS_STATUS_OK) {
        say_failure(s, reply, code_of(reply->status));
        finish(s, code_of(reply->status));
        return;
    }
    if (!s->settings->quiet) {
        tool_error("asked %u: %u replied, %u gone, %u not in time",
                   (unsigned) (reply->replied + reply->gone + reply->timed_out),
                   (unsigned) reply->replied, (unsigned) reply->gone, (unsigned) reply->timed_out);
    }
    finish(s, code_of_counts(s, reply));
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct state *s = userdata;

    (void) conn;
    if (!reply->more) {
        s->request = NULL;
    }
    if (s->done) {
        return;
    }
    if (!reply->message) {
        end(s, reply);
        return;
    }
    write_reply(s, reply);
    if (reply->error != 0) {
        s->had_error = true;
        say_error(s, reply);
    }
    s->had_more |= reply->more && !is_to_all(s);
    if (s->out.error || !reply->more) {
        finish(s, s->had_error ? ASK_ERROR : TOOL_OK);
    }
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct state *s = userdata;

    (void) conn;
    tool_say_closed(reason, text);
    finish(s, TOOL_FAILURE);
}

/* ---- asking ---- */

static int read_file(const char *path, char **ret, size_t *ret_bytes)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : tool_read_all(fd, BODY_READ_MAX, ret, ret_bytes);

    if (fd > STDERR_FILENO) {
        (void) close(fd);
    }
    if (r < 0 && !tool_interrupted()) {
        tool_error("cannot read %s: %s", path, strerror(-r));
    }
    return r;
}

static void say_not_asked(const struct state *s, int error)
{
    switch (error) {
    case -EMSGSIZE:
        tool_error("what is asked is longer than %zu bytes, the most that one request can have "
                   "here, or the headers are too long",
                   bus_body_max(s->conn));
        return;
    case -EINVAL: /* the topic has been checked */
        tool_error("a header is not valid: names are 1 to %d bytes of UTF-8 without control "
                   "characters, values UTF-8",
                   BUS_TOPIC_MAX);
        return;
    default:
        tool_error("cannot ask: %s", strerror(-error));
        return;
    }
}

static void ask(struct state *s, const void *body, size_t bytes)
{
    const struct settings *settings = s->settings;
    int r;

    while ((r = bus_request(s->conn, settings->topic, body, bytes, &settings->request, on_reply, s,
                            &s->request)) == -EAGAIN &&
           !tool_interrupted()) {
        (void) bus_wait_writable(s->conn, SIGNAL_MS);
    }
    if (r < 0) {
        if (!s->done && !tool_interrupted()) {
            say_not_asked(s, r);
        }
        finish(s, TOOL_FAILURE);
    }
}

/* Until the connection has something, a signal, or nobody reads our output. */
static void wait_for_work(struct state *s)
{
    struct pollfd fds[] = {{.fd = bus_fd(s->conn), .events = POLLIN},
                           {.fd = tool_signal_fd(), .events = POLLIN},
                           {.fd = s->out.fd, .events = 0}};

    if (poll(fds, ARRAY_LEN(fds), -1) > 0 && (fds[2].revents & (POLLERR | POLLNVAL))) {
        s->out.error = EPIPE;
        finish(s, TOOL_OK);
    }
}

static void receive(struct state *s)
{
    while (!s->done && !tool_interrupted()) {
        int r = bus_process(s->conn);

        if (r < 0) {
            finish(s, TOOL_FAILURE);
        }
        if (r == 1) {
            continue;
        }
        out_flush(&s->out); /* nothing more at the moment: what there is must not wait */
        if (s->out.error) {
            finish(s, TOOL_OK);
        }
        if (!s->done && !tool_interrupted()) {
            wait_for_work(s);
        }
    }
    out_flush(&s->out);
}

static int outcome(struct state *s)
{
    if (s->request) { /* its server need not go on */
        bus_request_cancel(s->request);
        (void) bus_flush(s->conn, LAST_FLUSH_MS);
    }
    if (s->out.error && s->out.error != EPIPE && s->out.error != EINTR) {
        tool_error("cannot write to standard output: %s", strerror(s->out.error));
        return TOOL_FAILURE;
    }
    return s->done ? s->code : TOOL_FAILURE;
}

static int ask_and_receive(struct state *s, const void *body, size_t bytes)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    int code = TOOL_FAILURE;

    opts.on_closed = on_closed;
    opts.userdata = s;
    if (tool_connect(s->settings->address, &opts, &s->conn) == 0) {
        ask(s, body, bytes);
        receive(s);
        code = outcome(s);
        bus_close(s->conn);
    }
    return code;
}

static int run(struct settings *settings)
{
    struct state s = {.settings = settings};
    const char *file = settings->file ? settings->file : "-";
    char *data = NULL;
    size_t bytes = settings->body ? strlen(settings->body) : 0;
    int code = TOOL_FAILURE;

    if (!out_init(&s.out, STDOUT_FILENO) || !out_init(&s.err, STDERR_FILENO)) {
        tool_error("out of memory");
    } else if (settings->body || read_file(file, &data, &bytes) == 0) {
        code = ask_and_receive(&s, settings->body ? settings->body : data, bytes);
    }
    free(data);
    out_fini(&s.out);
    out_fini(&s.err);
    return code;
}

/* ---- options ---- */

static const struct option long_options[] = {
    {"address", required_argument, NULL, 'a'},
    {"file", required_argument, NULL, 'f'},
    {"timeout", required_argument, NULL, 't'},
    {"all", no_argument, NULL, 'A'},
    {"header", required_argument, NULL, 'H'},
    {"format", required_argument, NULL, 'F'},
    {"json", no_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'q'},
    TOOL_HELP_OPTIONS,
    {NULL, 0, NULL, 0},
};

static int parse_format(struct settings *s, const char *text)
{
    const char *wrong = format_parse(&s->format, text);

    s->has_format = true;
    return wrong ? tool_usage("--format %s: %s", text, wrong) : 0;
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
    case 'f':
        s->file = optarg;
        return 0;
    case 't':
        if (!tool_parse_u64(optarg, 1, 3600000, &value)) {
            return tool_usage("--timeout %s: not a whole number of milliseconds, at least 1 and "
                              "at most 3600000",
                              optarg);
        }
        s->request.timeout_ms = (uint32_t) value;
        return 0;
    case 'A':
        s->request.flags |= BUS_REQUEST_ALL;
        return 0;
    case 'H':
        return tool_add_header(s->headers, &s->request.n_headers, optarg);
    case 'F':
        return parse_format(s, optarg);
    case 'j':
        return parse_format(s, "json");
    case 'q':
        s->quiet = true;
        return 0;
    default:
        return tool_usage("wrong option");
    }
}

/* What is left after the options: 0 or an exit code. */
static int parse_operands(struct settings *s, char **operands, int n)
{
    if (n == 0) {
        return tool_usage("no TOPIC");
    }
    if (n > 2) {
        return tool_usage("%s: what is that? A BODY of several words needs quotes", operands[2]);
    }
    s->topic = operands[0];
    s->body = n > 1 ? operands[1] : NULL;
    if (!bus_topic_valid(s->topic)) {
        return tool_usage("%s: not a topic: 1 to %d bytes of UTF-8 without control characters, at "
                          "most %d levels, no + and #",
                          s->topic, BUS_TOPIC_MAX, BUS_LEVELS_MAX);
    }
    return s->body && s->file ? tool_usage("a BODY and --file: which one?") : 0;
}

static const struct tool_syntax syntax = {"a:f:t:AH:F:jqhV", long_options, help, parse_option};

int main(int argc, char **argv)
{
    struct settings s = {.request = BUS_REQUEST_OPTS_INIT, .format.terminator = '\n'};
    int r;

    s.request.headers = s.headers;
    if (!tool_options(argc, argv, &syntax, &s, &r)) {
        return r;
    }
    r = parse_operands(&s, argv + optind, argc - optind);
    if (r) {
        return r;
    }
    s.format.to_terminal = isatty(STDOUT_FILENO);
    if (!s.has_format) {
        bool is_text = s.format.to_terminal || (s.request.flags & BUS_REQUEST_ALL);

        s.format.kind = is_text ? FORMAT_TEXT : FORMAT_RAW;
    }
    return tool_catch_signals() ? run(&s) : TOOL_FAILURE;
}
