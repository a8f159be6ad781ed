/* SPDX-License-Identifier: MIT */
/* bus-pub: publishes its argument, a file, or each line of standard input. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "body.h"
#include "common.h"
#include "pub_input.h"
#include "pub_send.h"

static const char help[] =
    "usage: bus-pub [OPTION]... TOPIC [MESSAGE]\n"
    "Publish to TOPIC through bus-router: MESSAGE, or a file, or else each line of standard input\n"
    "as one message, without its newline. Any bytes are fine; an empty line is an empty message.\n"
    "\n"
    "  -a, --address ADDRESS    the router: seqpacket:PATH, stream:PATH or PATH; @NAME is "
    "abstract\n"
    "  -f, --file FILE          publish FILE as one message; - is standard input\n"
    "  -0, --null               messages of standard input end with a NUL byte, not a newline\n"
    "  -r, --rate N             at most N messages a second; fractions are allowed\n"
    "  -n, --repeat N           publish each message N times; 0: again and again (MESSAGE or "
    "FILE)\n"
    "  -H, --header NAME=VALUE  add a text header; may be given more than once\n"
    "  -d, --descriptor FD      attach descriptor FD, open in this program; may be given more "
    "than\n"
    "                           once: bus-pub -d 3 TOPIC MESSAGE 3<FILE\n"
    "  -k, --key KEY            messages of one KEY go to one member of a group of subscribers\n"
    "                           that asked for it (bus-sub --sticky)\n"
    "  -c, --confirm            ask the router what became of each message; with -v the sum is\n"
    "                           printed to standard error\n"
    "      --retain[=N]         the router keeps the last N (1) messages of TOPIC for later\n"
    "                           subscriptions, after the end of this program too\n"
    "      --retain-ttl MS      each for at most so many milliseconds\n"
    "      --owned              what this program published is kept until it ends, not longer\n"
    "      --ttl MS             what still waits somewhere after so long is not delivered any "
    "more\n"
    "      --clear              publish nothing: the router drops what it keeps of TOPIC\n"
    "  -m, --must-match         --confirm, and exit code 4 if a message matched no subscription\n"
    "  -W, --wait-subscribers N wait before the first message until N subscriptions match\n"
    "      --will TOPIC=TEXT    what the router publishes if this program is killed; may be given\n"
    "                           more than once\n"
    "      --will-delay MS      only so long after that, unless a bus-pub with the same token is "
    "back\n"
    "      --resume-token TEXT  by which the router knows that it is the same: a secret, up to 64 "
    "bytes\n"
    "      --reconnect          when the link to the router breaks, wait for it to come back; what "
    "has\n"
    "                           not left by then is kept, what was on its way may be lost\n"
    "  -v, --verbose            say on standard error what was published\n"
    "  -h, --help               this text\n"
    "  -V, --version            the version\n"
    "\n"
    "A subscriber with policy block may make this program wait. It exits when the router has\n"
    "handled everything.\n"
    "Exit codes: 0 everything was published (after SIGINT or SIGTERM: everything read so far);\n"
    "1 failure, such as no router, a message that is too long, or a refusal; 2 wrong usage;\n"
    "4 --must-match, and a message matched no subscription.\n";

struct settings {
    struct sender_settings sender;
    const char *message; /* or NULL */
    const char *file;    /* or NULL */
    char delimiter;
    bool clear;
    struct bus_header headers[BUS_HEADERS_MAX];
    int fds[BUS_FDS_MAX];
    struct will wills[WILLS_MAX];
};

static int publish_file(struct sender *sender, const char *path)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    size_t limit = bus_body_max(sender->conn);
    size_t bytes = 0;
    char *data = NULL;
    int r;

    r = fd < 0 ? -errno : tool_read_all(fd, limit, &data, &bytes);
    if (fd > STDERR_FILENO) {
        (void) close(fd);
    }
    if (r < 0) {
        tool_error("cannot read %s: %s", path, strerror(-r));
        return r;
    }
    if (bytes > limit) {
        tool_error("%s is larger than %zu bytes, the most that one message can have here%s", path,
                   limit, sender_size_hint(sender));
        r = -EMSGSIZE;
    } else {
        r = sender_publish(sender, data, bytes);
    }
    free(data);
    return r;
}

static int run(struct settings *s)
{
    struct sender sender;
    int r = sender_open(&sender, &s->sender);

    if (r < 0) {
        return TOOL_FAILURE;
    }
    r = sender_wait_subscribers(&sender);
    if (r < 0) {
        return sender_close(&sender, r);
    }
    if (s->clear) {
        r = sender_clear(&sender);
    } else if (s->message) {
        r = sender_publish(&sender, s->message, strlen(s->message));
        if (r == -EMSGSIZE) {
            tool_error("the message is longer than %zu bytes, the most that one can have here%s",
                       bus_body_max(sender.conn), sender_size_hint(&sender));
        }
    } else if (s->file) {
        r = publish_file(&sender, s->file);
    } else {
        r = input_publish(&sender, STDIN_FILENO, s->delimiter);
    }
    return sender_close(&sender, r);
}

/* ---- options ---- */

enum {
    OPT_WILL = 256,
    OPT_WILL_DELAY,
    OPT_RESUME_TOKEN,
    OPT_RETAIN,
    OPT_RETAIN_TTL,
    OPT_OWNED,
    OPT_TTL,
    OPT_CLEAR,
    OPT_RECONNECT
};

static const struct option long_options[] = {
    {"address", required_argument, NULL, 'a'},
    {"file", required_argument, NULL, 'f'},
    {"null", no_argument, NULL, '0'},
    {"rate", required_argument, NULL, 'r'},
    {"repeat", required_argument, NULL, 'n'},
    {"header", required_argument, NULL, 'H'},
    {"descriptor", required_argument, NULL, 'd'},
    {"key", required_argument, NULL, 'k'},
    {"confirm", no_argument, NULL, 'c'},
    {"must-match", no_argument, NULL, 'm'},
    {"wait-subscribers", required_argument, NULL, 'W'},
    {"will", required_argument, NULL, OPT_WILL},
    {"will-delay", required_argument, NULL, OPT_WILL_DELAY},
    {"resume-token", required_argument, NULL, OPT_RESUME_TOKEN},
    {"verbose", no_argument, NULL, 'v'},
    {"retain", optional_argument, NULL, OPT_RETAIN},
    {"retain-ttl", required_argument, NULL, OPT_RETAIN_TTL},
    {"owned", no_argument, NULL, OPT_OWNED},
    {"ttl", required_argument, NULL, OPT_TTL},
    {"clear", no_argument, NULL, OPT_CLEAR},
    {"reconnect", no_argument, NULL, OPT_RECONNECT},
    TOOL_HELP_OPTIONS,
    {NULL, 0, NULL, 0},
};

static int add_will(struct settings *s, char *text)
{
    char *equals = strchr(text, '=');

    if (!equals) {
        return tool_usage("--will %s: not TOPIC=TEXT", text);
    }
    *equals = '\0';
    if (!bus_topic_valid(text)) {
        return tool_usage("--will %s=...: not a topic", text);
    }
    if (s->sender.n_wills == WILLS_MAX) {
        return tool_usage("more than %d wills", WILLS_MAX);
    }
    s->wills[s->sender.n_wills++] = (struct will){.topic = text, .body = equals + 1};
    return 0;
}

static int set_will_delay(struct settings *s, const char *text)
{
    uint64_t value;

    if (!tool_parse_u64(text, 0, UINT32_MAX, &value)) {
        return tool_usage("--will-delay %s: not a number of milliseconds", text);
    }
    s->sender.will_delay_ms = (uint32_t) value;
    return 0;
}

static int set_resume_token(struct settings *s, const char *text)
{
    if (!*text || strlen(text) > BUS_RESUME_TOKEN_MAX) {
        return tool_usage("--resume-token: not 1 to %d bytes", BUS_RESUME_TOKEN_MAX);
    }
    s->sender.resume_token = text;
    return 0;
}

static int add_descriptor(struct settings *s, const char *text)
{
    uint64_t fd;

    if (!tool_parse_u64(text, 0, INT_MAX, &fd) || fcntl((int) fd, F_GETFD) < 0) {
        return tool_usage("--descriptor %s: not the number of a descriptor that is open", text);
    }
    if (s->sender.n_fds == BUS_FDS_MAX) {
        return tool_usage("more than %d descriptors", BUS_FDS_MAX);
    }
    s->fds[s->sender.n_fds++] = (int) fd;
    return 0;
}

static int parse_u32(const char *name, const char *text, uint32_t *ret)
{
    uint64_t value;

    if (!tool_parse_u64(text, 1, UINT32_MAX, &value)) {
        return tool_usage("--%s %s: not a whole number of at least 1", name, text);
    }
    *ret = (uint32_t) value;
    return 0;
}

/* What is to be kept, and for how long: 0 or an exit code. */
static int parse_lifetime(int option, struct settings *s)
{
    switch (option) {
    case OPT_RETAIN:
        return parse_u32("retain", optarg ? optarg : "1", &s->sender.topic_opts.retain_messages);
    case OPT_RETAIN_TTL:
        return parse_u32("retain-ttl", optarg, &s->sender.topic_opts.retain_ttl_ms);
    case OPT_OWNED:
        s->sender.topic_opts.flags |= BUS_TOPIC_OWNED;
        return 0;
    case OPT_TTL:
        return parse_u32("ttl", optarg, &s->sender.ttl_ms);
    case OPT_CLEAR:
        s->clear = true;
        return 0;
    default:
        return tool_usage("wrong option");
    }
}

/* One option: 0 or an exit code. */
static int parse_option(int option, void *settings)
{
    struct settings *s = settings;

    switch (option) {
    case 'a':
        s->sender.address = optarg;
        return 0;
    case 'f':
        s->file = optarg;
        return 0;
    case '0':
        s->delimiter = '\0';
        return 0;
    case 'r':
        return tool_parse_double(optarg, 1e-6, 1e9, &s->sender.rate)
                   ? 0
                   : tool_usage("--rate %s: not a number of messages a second", optarg);
    case 'n':
        return tool_parse_u64(optarg, 0, UINT64_MAX, &s->sender.repeat)
                   ? 0
                   : tool_usage("--repeat %s: not a whole number", optarg);
    case 'H':
        return tool_add_header(s->headers, &s->sender.n_headers, optarg);
    case 'd':
        return add_descriptor(s, optarg);
    case 'k':
        if (!*optarg || strlen(optarg) > BUS_TOPIC_MAX) {
            return tool_usage("--key %s: not 1 to %d bytes", optarg, BUS_TOPIC_MAX);
        }
        s->sender.key = optarg;
        return 0;
    case 'm':
        s->sender.must_match = true;
        s->sender.confirm = true;
        return 0;
    case 'c':
        s->sender.confirm = true;
        return 0;
    case 'W':
        return tool_parse_u64(optarg, 1, UINT32_MAX, &s->sender.wait_subscribers)
                   ? 0
                   : tool_usage("--wait-subscribers %s: not a whole number of at least 1", optarg);
    case OPT_WILL:
        return add_will(s, optarg);
    case OPT_WILL_DELAY:
        return set_will_delay(s, optarg);
    case OPT_RESUME_TOKEN:
        return set_resume_token(s, optarg);
    case OPT_RECONNECT:
        s->sender.reconnect = true;
        return 0;
    case 'v':
        s->sender.verbose = true;
        return 0;
    default:
        return parse_lifetime(option, s);
    }
}

/* What is left after the options: 0 or an exit code. */
static int parse_operands(struct settings *s, char **operands, int n)
{
    if (n == 0) {
        return tool_usage("no TOPIC");
    }
    if (n > 2) {
        return tool_usage("%s: what is that? A MESSAGE of several words needs quotes", operands[2]);
    }
    s->sender.topic = operands[0];
    s->message = n > 1 ? operands[1] : NULL;
    if (!bus_topic_valid(s->sender.topic)) {
        return tool_usage("%s: not a topic: 1 to %d bytes of UTF-8 without control characters, at "
                          "most %d levels, no + and #",
                          s->sender.topic, BUS_TOPIC_MAX, BUS_LEVELS_MAX);
    }
    if (s->message && s->file) {
        return tool_usage("a MESSAGE and --file: which one?");
    }
    if (s->clear && (s->message || s->file)) {
        return tool_usage("--clear publishes nothing");
    }
    if (s->sender.topic_opts.retain_ttl_ms && !s->sender.topic_opts.retain_messages) {
        return tool_usage("--retain-ttl needs --retain");
    }
    if (s->delimiter == '\0' && (s->message || s->file)) {
        return tool_usage("--null is for messages of standard input");
    }
    if (s->sender.repeat == 0 && !s->message && !s->file) {
        return tool_usage("--repeat 0 needs a MESSAGE or --file");
    }
    return 0;
}

static const struct tool_syntax syntax = {"a:f:0r:n:H:d:k:cmvW:hV", long_options, help,
                                          parse_option};

int main(int argc, char **argv)
{
    struct settings s = {
        .delimiter = '\n', .sender.repeat = 1, .sender.topic_opts = BUS_TOPIC_OPTS_INIT};
    int r;

    s.sender.headers = s.headers;
    s.sender.fds = s.fds;
    s.sender.wills = s.wills;
    if (!tool_options(argc, argv, &syntax, &s, &r)) {
        return r;
    }
    r = parse_operands(&s, argv + optind, argc - optind);
    if (r) {
        return r;
    }
    return tool_catch_signals() ? run(&s) : TOOL_FAILURE;
}
