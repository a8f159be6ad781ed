/* SPDX-License-Identifier: MIT */
/* bus-sub: subscribes and writes what comes to standard output. */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common.h"
#include "sub_format.h"

enum { SUB_TIMEOUT = 3, SUB_LOSS = 5 };

static const char help[] =
    "usage: bus-sub [OPTION]... FILTER...\n"
    "Subscribe to topics through bus-router and write each message to standard output.\n"
    "In a FILTER the level + matches any one level, and a last level # everything below.\n"
    "A message that matches two of the FILTERs comes twice. $bus/client/# are the events of the\n"
    "router when clients come and go, $bus/access/denied those of what was not allowed; text and\n"
    "json show them readably.\n"
    "\n"
    "  -a, --address ADDRESS  the router: seqpacket:PATH, stream:PATH or PATH; @NAME is abstract\n"
    "  -f, --format FORMAT    text: the body and a newline (default); on a terminal, control\n"
    "                           characters are shown as \\xNN\n"
    "                         raw: bodies only, nothing between them\n"
    "                         json: one object a line: topic, body (or body_base64 if it is not\n"
    "                           UTF-8), bytes, time, sequence, sender, headers, descriptors; and\n"
    "                           in the place of a gap "
    "{\"lost\":N,\"bytes\":N,\"reason\":TEXT,\"filter\":TEXT}\n"
    "                         or a text with directives, written as it is:\n"
    "                           %t topic     %b body       %s bytes of the body   %q sequence\n"
    "                           %d descriptors that were attached\n"
    "                           %T time      %N time in nanoseconds since 1970\n"
    "                           %c sender's name  %i its connection's number  %p pid  %u uid\n"
    "                           %g gid       %{NAME} value of that header\n"
    "                           %r retained or live\n"
    "                           %n newline   %z NUL byte   %% percent sign\n"
    "  -0, --null             end each message with a NUL byte (text: in place of the newline)\n"
    "  -v, --verbose          text: write the topic and a tab before each body\n"
    "  -d, --descriptors      receive attached descriptors; json: descriptor_targets says what "
    "they\n"
    "                         are. They are closed again.\n"
    "  -n, --count N          exit when N messages have been written\n"
    "  -t, --timeout SECONDS  exit after so long\n"
    "  -p, --policy POLICY    what the router does when this program reads too slowly:\n"
    "                         drop_oldest (default), drop_newest, latest (keeps the newest of "
    "each\n"
    "                         topic), block (publishers wait), disconnect\n"
    "  -w, --window N[,BYTES] how much may be on its way, unread; the router has a default\n"
    "  -q, --queue N[,BYTES]  how much more may wait in the router\n"
    "  -s, --silence MS       say so, once, when no message has come on a FILTER for so long: on\n"
    "                         standard error, with --format json as\n"
    "                         {\"silent_ms\":N,\"filter\":TEXT}\n"
    "      --retained WHICH   first what the router keeps of matching topics: last (the last "
    "message\n"
    "                         of each) or all; json: these have \"retained\":true, and behind "
    "them\n"
    "                         comes {\"live\":true,\"retained\":N,\"filter\":TEXT}; other "
    "formats:\n"
    "                         a line on standard error\n"
    "      --min-interval MS  of each topic at most one message in so many milliseconds, the "
    "newest\n"
    "      --narrow           where only some topics of a FILTER are allowed: these; without it "
    "that\n"
    "                         is refused\n"
    "  -g, --group NAME       share the messages with all others who subscribe to this FILTER in\n"
    "                         this group: each message goes to one of them\n"
    "      --ack              in a group: a message that was not written to its end, because this\n"
    "                         program was killed, goes to another\n"
    "      --sticky           in a group: messages of one key (bus-pub --key) go to one of them\n"
    "      --deliveries N     --ack: give a message up after so many deliveries (default 5)\n"
    "      --dead-letter TOPIC  --ack: publish to TOPIC what is given up\n"
    "      --reconnect        when the link to the router breaks, wait for it to come back; "
    "messages\n"
    "                         may be missing then: said as a loss of 0, for nobody knows\n"
    "      --ready-fd FD      write a line READY to descriptor FD when all subscriptions are\n"
    "                         in force\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n"
    "\n"
    "Exit codes: 0 done (also after SIGINT, SIGTERM, or when nobody reads the output any more);\n"
    "1 failure; 2 wrong usage; 3 timeout or signal before --count messages; 5 as 0, but messages\n"
    "were lost, or may have been. Losses are reported on standard error, or in place with\n"
    "--format json. What policy latest replaces by something newer is not counted as lost.\n";

struct settings {
    const char *address;
    struct format format;
    struct bus_sub_opts sub;
    uint64_t count; /* 0: no end */
    double timeout; /* seconds; < 0: none */
    int ready_fd;   /* -1: none */
    bool reconnect;
    char **filters;
    uint32_t n_filters;
};

struct state {
    struct settings *settings;
    struct out out;
    uint64_t written;
    uint32_t n_ready;
    bool done;
    bool failed;
    bool lost;
};

/* It is done when it is written, and not before. */
static void acknowledge(struct state *s, const struct bus_message *message)
{
    out_flush(&s->out);
    if (!s->out.error) {
        (void) bus_message_ack(message); /* a connection that has ended says so itself */
    }
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct state *s = userdata;

    if (s->done) {
        return; /* was on its way when the last one came */
    }
    format_message(&s->settings->format, &s->out, message);
    s->written++;
    if (s->settings->sub.flags & BUS_SUB_ACK) {
        acknowledge(s, message);
    }
    if (s->written == s->settings->count || s->out.error) {
        s->done = true;
        bus_stop(bus_sub_conn(sub));
    }
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct state *s = userdata;

    if (s->done) {
        return;
    }
    if (loss->reason != BUS_LOSS_CONFLATED) {
        s->lost = true;
    }
    if (s->settings->format.kind == FORMAT_JSON) {
        json_loss(&s->out, bus_sub_filter(sub), loss);
    } else if (loss->count == 0) {
        tool_error("messages of %s may be missing: %s", bus_sub_filter(sub),
                   bus_loss_text(loss->reason));
    } else if (loss->reason != BUS_LOSS_CONFLATED) {
        tool_error("lost %llu messages (%llu bytes) of %s: %s", (unsigned long long) loss->count,
                   (unsigned long long) loss->bytes, bus_sub_filter(sub),
                   bus_loss_text(loss->reason));
    }
}

static void on_silence(struct bus_sub *sub, uint64_t since_ms, void *userdata)
{
    struct state *s = userdata;

    if (s->done) {
        return;
    }
    if (s->settings->format.kind == FORMAT_JSON) {
        json_silence(&s->out, bus_sub_filter(sub), since_ms);
    } else {
        tool_error("no message of %s for %llu ms", bus_sub_filter(sub),
                   (unsigned long long) since_ms);
    }
}

static void on_live(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    struct state *s = userdata;

    if (s->done) {
        return;
    }
    if (s->settings->format.kind == FORMAT_JSON) {
        json_live(&s->out, bus_sub_filter(sub), messages);
        return;
    }
    out_flush(&s->out); /* what was kept stands before this line, wherever both go */
    tool_error("%s: %llu retained messages; live from here on", bus_sub_filter(sub),
               (unsigned long long) messages);
}

static void say_ready(struct state *s)
{
    static const char ready[] = "READY\n";

    if (s->settings->ready_fd >= 0 && write(s->settings->ready_fd, ready, 6) != 6) {
        tool_error("cannot write READY to descriptor %d: %s", s->settings->ready_fd,
                   strerror(errno));
        s->failed = s->done = true;
    }
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct state *s = userdata;

    if (status == BUS_STATUS_OK) {
        if (*text) {
            tool_error("only a part of %s is allowed: %s", bus_sub_filter(sub), text);
        }
        s->n_ready++;
        if (s->n_ready == s->settings->n_filters) {
            say_ready(s);
        }
        return;
    }
    if (status == BUS_STATUS_STALLED) { /* goes on as drop_oldest, losses are reported */
        tool_error("the router no longer waits for %s: %s%s%s", bus_sub_filter(sub),
                   bus_status_text(status), *text ? ": " : "", text);
        return;
    }
    tool_say_refused("subscribe to", bus_sub_filter(sub), status, text);
    s->failed = s->done = true;
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct state *s = userdata;

    (void) conn;
    if (!s->done) {
        tool_say_closed(reason, text);
        s->failed = s->done = true;
    }
}

static int subscribe_all(struct state *s, struct bus_conn *conn)
{
    for (uint32_t i = 0; i < s->settings->n_filters; i++) {
        const char *filter = s->settings->filters[i];
        int r = bus_subscribe(conn, filter, &s->settings->sub, on_message, s, NULL);

        while (r == -EAGAIN && !tool_interrupted()) { /* thousands of filters */
            (void) bus_flush(conn, -1);
            r = bus_subscribe(conn, filter, &s->settings->sub, on_message, s, NULL);
        }
        if (r < 0 && !s->done) {
            tool_error("cannot subscribe to %s: %s", filter, strerror(-r));
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* Until the connection has something, a signal, the timeout, or nobody reads our output: then done.
 */
static void wait_for_work(struct state *s, struct bus_conn *conn, uint64_t deadline_ns)
{
    struct pollfd fds[] = {{.fd = bus_fd(conn), .events = POLLIN},
                           {.fd = tool_signal_fd(), .events = POLLIN},
                           {.fd = s->out.fd, .events = 0}}; /* errors are always reported */
    uint64_t now_ns = deadline_ns == UINT64_MAX ? 0 : tool_now_ns();
    struct timespec left;
    int r;

    if (deadline_ns != UINT64_MAX) {
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

        left.tv_sec = (time_t) (left_ns / 1000000000u);
        left.tv_nsec = (long) (left_ns % 1000000000u);
    }
    r = ppoll(fds, ARRAY_LEN(fds), deadline_ns == UINT64_MAX ? NULL : &left, NULL);
    if (r == 0 || (r > 0 && fds[2].revents)) {
        s->done = true;
    }
}

static void receive(struct state *s, struct bus_conn *conn, uint64_t deadline_ns)
{
    while (!s->done && !tool_interrupted()) {
        int r = bus_process(conn);

        if (r < 0) {
            s->failed |= !s->done;
            s->done = true;
        }
        if (r == 1) {
            /* More is there; but a timeout must end a busy stream too. */
            if (deadline_ns != UINT64_MAX && tool_now_ns() >= deadline_ns) {
                break;
            }
            continue;
        }
        out_flush(&s->out); /* nothing more at the moment: what there is must not wait */
        s->done |= s->out.error != 0;
        if (!s->done && !tool_interrupted()) {
            wait_for_work(s, conn, deadline_ns);
        }
    }
    out_flush(&s->out);
}

static int outcome(const struct state *s)
{
    if (s->out.error && s->out.error != EPIPE && s->out.error != EINTR) {
        tool_error("cannot write to standard output: %s", strerror(s->out.error));
        return TOOL_FAILURE;
    }
    if (s->failed) {
        return TOOL_FAILURE;
    }
    if (s->out.error == EPIPE) {
        return TOOL_OK;
    }
    if (s->settings->count > 0 && s->written < s->settings->count) {
        return SUB_TIMEOUT;
    }
    return s->lost ? SUB_LOSS : TOOL_OK;
}

static int run(struct settings *settings)
{
    struct state s = {.settings = settings};
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;
    uint64_t deadline_ns = UINT64_MAX;
    int r;

    if (!out_init(&s.out, STDOUT_FILENO)) {
        tool_error("out of memory");
        return TOOL_FAILURE;
    }
    opts.on_closed = on_closed;
    opts.userdata = &s;
    if (settings->reconnect) {
        opts.flags |= BUS_OPEN_RECONNECT;
        opts.on_state = tool_say_state;
    }
    settings->sub.on_loss = on_loss;
    settings->sub.on_ready = on_ready;
    settings->sub.on_silence = on_silence;
    settings->sub.on_live = on_live;
    if (settings->format.kind != FORMAT_RAW) {
        settings->sub.flags |= BUS_SUB_IMMUTABLE; /* what was checked must be what is written */
    }
    if (settings->timeout >= 0) {
        deadline_ns = tool_now_ns() + (uint64_t) (settings->timeout * 1e9);
    }
    if (tool_connect(settings->address, &opts, &conn) < 0) {
        out_fini(&s.out);
        return TOOL_FAILURE;
    }
    if (subscribe_all(&s, conn) < 0) {
        s.failed = s.done = true;
    }
    receive(&s, conn, deadline_ns);
    r = outcome(&s);
    bus_close(conn);
    out_fini(&s.out);
    return r;
}

/* ---- options ---- */

enum {
    OPT_READY_FD = 256,
    OPT_RETAINED,
    OPT_MIN_INTERVAL,
    OPT_ACK,
    OPT_STICKY,
    OPT_NARROW,
    OPT_DELIVERIES,
    OPT_DEAD_LETTER,
    OPT_RECONNECT
};

static const struct option long_options[] = {
    {"address", required_argument, NULL, 'a'},
    {"format", required_argument, NULL, 'f'},
    {"null", no_argument, NULL, '0'},
    {"verbose", no_argument, NULL, 'v'},
    {"descriptors", no_argument, NULL, 'd'},
    {"count", required_argument, NULL, 'n'},
    {"timeout", required_argument, NULL, 't'},
    {"policy", required_argument, NULL, 'p'},
    {"window", required_argument, NULL, 'w'},
    {"queue", required_argument, NULL, 'q'},
    {"silence", required_argument, NULL, 's'},
    {"retained", required_argument, NULL, OPT_RETAINED},
    {"min-interval", required_argument, NULL, OPT_MIN_INTERVAL},
    {"group", required_argument, NULL, 'g'},
    {"ack", no_argument, NULL, OPT_ACK},
    {"sticky", no_argument, NULL, OPT_STICKY},
    {"narrow", no_argument, NULL, OPT_NARROW},
    {"deliveries", required_argument, NULL, OPT_DELIVERIES},
    {"dead-letter", required_argument, NULL, OPT_DEAD_LETTER},
    {"reconnect", no_argument, NULL, OPT_RECONNECT},
    {"ready-fd", required_argument, NULL, OPT_READY_FD},
    TOOL_HELP_OPTIONS,
    {NULL, 0, NULL, 0},
};

static int parse_pair(const char *name, uint32_t *messages, uint64_t *bytes)
{
    uint64_t value;

    if (!tool_parse_pair(optarg, &value, bytes)) {
        return tool_usage("--%s %s: not MESSAGES or MESSAGES,BYTES, each at least 1", name, optarg);
    }
    *messages = (uint32_t) value;
    return 0;
}

static int parse_retained(struct bus_sub_opts *sub)
{
    if (strcmp(optarg, "last") == 0) {
        sub->retained = BUS_RETAINED_LAST;
    } else if (strcmp(optarg, "all") == 0) {
        sub->retained = BUS_RETAINED_ALL;
    } else {
        return tool_usage("--retained %s: not last or all", optarg);
    }
    return 0;
}

/* One option: 0 or an exit code. */
static int parse_option(int option, void *settings)
{
    struct settings *s = settings;
    uint64_t value;
    const char *wrong;

    switch (option) {
    case 'a':
        s->address = optarg;
        return 0;
    case 'f':
        wrong = format_parse(&s->format, optarg);
        return wrong ? tool_usage("--format %s: %s", optarg, wrong) : 0;
    case '0':
        s->format.terminator = '\0';
        return 0;
    case 'v':
        s->format.with_topic = true;
        return 0;
    case 'd':
        s->sub.flags |= BUS_SUB_DESCRIPTORS;
        return 0;
    case 'n':
        return tool_parse_u64(optarg, 1, UINT64_MAX, &s->count)
                   ? 0
                   : tool_usage("--count %s: not a whole number of at least 1", optarg);
    case 't':
        return tool_parse_double(optarg, 0, 1e9, &s->timeout)
                   ? 0
                   : tool_usage("--timeout %s: not a number of seconds", optarg);
    case 'p':
        return bus_policy_parse(optarg, &s->sub.policy) == 0
                   ? 0
                   : tool_usage("--policy %s: not drop_oldest, drop_newest, latest, block or "
                                "disconnect",
                                optarg);
    case 'w':
        return parse_pair("window", &s->sub.window_messages, &s->sub.window_bytes);
    case 'q':
        return parse_pair("queue", &s->sub.queue_messages, &s->sub.queue_bytes);
    case 's':
        if (!tool_parse_u64(optarg, 10, UINT32_MAX, &value)) {
            return tool_usage("--silence %s: not a number of milliseconds of at least 10", optarg);
        }
        s->sub.silence_ms = (uint32_t) value;
        return 0;
    case OPT_RETAINED:
        return parse_retained(&s->sub);
    case OPT_MIN_INTERVAL:
        if (!tool_parse_u64(optarg, 1, UINT32_MAX, &value)) {
            return tool_usage("--min-interval %s: not a whole number of at least 1", optarg);
        }
        s->sub.min_interval_ms = (uint32_t) value;
        return 0;
    case 'g':
        s->sub.group = optarg;
        return 0;
    case OPT_ACK:
        s->sub.flags |= BUS_SUB_ACK;
        return 0;
    case OPT_STICKY:
        s->sub.flags |= BUS_SUB_STICKY;
        return 0;
    case OPT_NARROW:
        s->sub.flags |= BUS_SUB_NARROW;
        return 0;
    case OPT_DELIVERIES:
        if (!tool_parse_u64(optarg, 1, UINT32_MAX, &value)) {
            return tool_usage("--deliveries %s: not a whole number of at least 1", optarg);
        }
        s->sub.deliveries_max = (uint32_t) value;
        return 0;
    case OPT_DEAD_LETTER:
        s->sub.dead_letter = optarg;
        return 0;
    case OPT_RECONNECT:
        s->reconnect = true;
        return 0;
    case OPT_READY_FD:
        if (!tool_parse_u64(optarg, 0, 1048576, &value)) {
            return tool_usage("--ready-fd %s: not a descriptor", optarg);
        }
        s->ready_fd = (int) value;
        return 0;
    default:
        return tool_usage("wrong option");
    }
}

static int check_group(const struct bus_sub_opts *sub)
{
    if (sub->group && (!*sub->group || strlen(sub->group) > BUS_NAME_MAX)) {
        return tool_usage("--group %s: not 1 to %d bytes", sub->group, BUS_NAME_MAX);
    }
    if (!sub->group && (sub->flags & (BUS_SUB_ACK | BUS_SUB_STICKY))) {
        return tool_usage("--ack and --sticky go with --group only");
    }
    if (!(sub->flags & BUS_SUB_ACK) && (sub->dead_letter || sub->deliveries_max)) {
        return tool_usage("--deliveries and --dead-letter go with --ack only");
    }
    if (sub->dead_letter && !bus_topic_valid(sub->dead_letter)) {
        return tool_usage("--dead-letter %s: not a topic", sub->dead_letter);
    }
    return 0;
}

static int check_settings(const struct settings *s)
{
    if (s->n_filters == 0) {
        return tool_usage("no FILTER: # is everything");
    }
    for (uint32_t i = 0; i < s->n_filters; i++) {
        if (!bus_filter_valid(s->filters[i])) {
            return tool_usage("%s: not a topic filter: 1 to %d bytes of UTF-8, at most %d levels, "
                              "+ and # fill a level, # is the last",
                              s->filters[i], BUS_TOPIC_MAX, BUS_LEVELS_MAX);
        }
    }
    if (s->sub.min_interval_ms && s->sub.policy == BUS_POLICY_BLOCK) {
        return tool_usage("--min-interval does not go with --policy block");
    }
    if (s->format.with_topic && s->format.kind != FORMAT_TEXT) {
        return tool_usage("--verbose goes with --format text only");
    }
    if (s->format.terminator == '\0' &&
        (s->format.kind == FORMAT_RAW || s->format.kind == FORMAT_JSON)) {
        return tool_usage("--null does not go with --format raw or json");
    }
    return check_group(&s->sub);
}

static const struct tool_syntax syntax = {"a:f:0vn:t:p:w:q:dg:s:hV", long_options, help,
                                          parse_option};

int main(int argc, char **argv)
{
    struct settings s = {
        .sub = BUS_SUB_OPTS_INIT, .timeout = -1, .ready_fd = -1, .format.terminator = '\n'};
    int r;

    if (!tool_options(argc, argv, &syntax, &s, &r)) {
        return r;
    }
    s.filters = argv + optind;
    s.n_filters = (uint32_t) (argc - optind);
    s.format.to_terminal = isatty(STDOUT_FILENO);
    r = check_settings(&s);
    if (r) {
        return r;
    }
    return tool_catch_signals() ? run(&s) : TOOL_FAILURE;
}
