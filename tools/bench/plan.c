/* SPDX-License-Identifier: MIT */
/* The command line, and the rows that follow from it. */

#include "plan.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "common.h"
#include "pattern.h"

#define BODY_BYTES_MAX (UINT64_C(1) << 30)

static const char help[] =
    "usage: bus-bench [OPTION]... MODE...\n"
    "Measure the bus between processes of this host. Subscribers check every byte of every "
    "message,\n"
    "their order and their number; anything lost, repeated or changed is a failure.\n"
    "\n"
    "  throughput  one publisher, one subscriber\n"
    "  fanout      one publisher, -n subscribers (default 8); all deliveries are counted\n"
    "  fanin       -n publishers (default 4), one subscriber\n"
    "  rtt         round trips between two clients over two topics\n"
    "  request     the same as requests to a server, one at a time\n"
    "  requests    -n of them open at any time (default 64)\n"
    "  latency     one way at a fixed --rate, from the time at which a message was to be sent\n"
    "  connect     -n idle connections (default 1000) with one subscription each: time, and the\n"
    "              router's private memory for each\n"
    "  subs        -n subscriptions of one client (default 100000), each to a topic of its own: "
    "the\n"
    "              same\n"
    "  floor       all but requests, connect and subs through a bare relay process in place of "
    "the\n"
    "              router: no protocol, one large read, one write to each subscriber. What the "
    "kernel\n"
    "              allows.\n"
    "  all, suite  all of them, bus and floor in turn, with the ratio of both\n"
    "\n"
    "      --side SIDE          bus (default), floor, or both in turn\n"
    "  -l, --link LINK          seqpacket (default), stream or both\n"
    "  -b, --bytes N[,N]...     size of a body, 8 to 1G (default 64); K, M, G: times 1024, 1024^2, "
    "1024^3\n"
    "      --loan               publishers write bodies where subscribers read them, in buffers of "
    "the\n"
    "                           library, which copies them otherwise\n"
    "      --reliable           topics on the bus are reliable: publishers keep everything until "
    "it "
    "is\n"
    "                           consumed\n"
    "  -n, --number N           how many publishers, subscribers, open requests, connections or\n"
    "                           subscriptions\n"
    "  -s, --seconds S          how long to publish in each run (default 1)\n"
    "  -c, --count N            publish so many messages instead (each publisher)\n"
    "  -r, --rate N             latency: messages a second (default 10000)\n"
    "  -R, --runs N             runs, of which the median is reported (default 5)\n"
    "  -w, --window N[,BYTES]   window of the subscriptions, which have policy block (default: "
    "the\n"
    "                           router's). The floor has none: there the socket buffers decide.\n"
    "      --buffer-from N      publishers on the bus hand over bodies of so many bytes or more "
    "in\n"
    "                           shared memory (default: libbus' own choice)\n"
    "      --memory-from N      bodies of so many bytes or more have a floor of shared memory\n"
    "                           (default 65537), see below\n"
    "  -j, --json               JSON instead of a table\n"
    "  -a, --address ADDRESS    use a running router: seqpacket:PATH or stream:PATH; without it "
    "each\n"
    "                           run starts its own\n"
    "      --router PATH        its program (default: in the build tree, beside this, in PATH)\n"
    "  -h, --help               this text\n"
    "  -V, --version            the version\n"
    "\n"
    "There are two floors. Small bodies go through the relay's sockets with every byte. Large "
    "ones, and\n"
    "all with --loan, stay in memory: a publisher has a pool of sealed memfds, which subscribers "
    "have\n"
    "mapped; it copies a body into one that is free, or writes it there with --loan; a token of 16 "
    "bytes\n"
    "goes through the relay to each subscriber, and back when that one has checked the body in its "
    "place.\n"
    "\n"
    "Rates are taken at the subscribers, from the earliest first to the latest last message.\n"
    "Exit codes: 0 measured; 1 failure, also if a message was lost or wrong; 2 wrong usage.\n";

const char *mode_name(enum mode mode)
{
    static const char *const names[] = {"throughput", "fanout",  "fanin",   "rtt", "request",
                                        "requests",   "latency", "connect", "subs"};

    return names[mode];
}

const char *side_name(enum side side)
{
    return side == SIDE_BUS ? "bus" : "floor";
}

const char *link_name(enum link link)
{
    return link == LINK_SEQPACKET ? "seqpacket" : "stream";
}

int link_socket_type(enum link link)
{
    return link == LINK_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;
}

/* Whether messages flow, so that there is a floor. */
static bool has_floor(enum mode mode)
{
    return mode != MODE_CONNECT && mode != MODE_SUBS && mode != MODE_REQUEST &&
           mode != MODE_REQUESTS;
}

static bool add_mode(struct plan *p, const char *text)
{
    bool is_floor = strcmp(text, "floor") == 0;
    bool is_all = strcmp(text, "all") == 0 || strcmp(text, "suite") == 0;
    bool known = is_floor || is_all;

    for (int mode = 0; mode < N_MODES; mode++) {
        if (strcmp(text, mode_name((enum mode) mode)) == 0 || is_all ||
            (is_floor && has_floor((enum mode) mode))) {
            p->modes[mode] = true;
            known = true;
        }
    }
    p->sides[SIDE_FLOOR] |= is_floor || is_all;
    p->sides[SIDE_BUS] |= !is_floor;
    return known;
}

/* "a" or "b" or "both": sets two flags. */
static bool parse_two(const char *text, const char *first, const char *second, bool *flags)
{
    bool both = strcmp(text, "both") == 0;

    flags[0] = both || strcmp(text, first) == 0;
    flags[1] = both || strcmp(text, second) == 0;
    return flags[0] || flags[1];
}

/* A number with K, M, G or nothing behind it. */
static bool parse_size(const char *text, uint64_t low, uint64_t high, uint64_t *ret)
{
    static const char suffixes[] = "KMG";
    size_t length = strlen(text);
    const char *suffix = length > 0 ? strchr(suffixes, text[length - 1]) : NULL;
    unsigned shift = suffix ? (unsigned) (suffix - suffixes + 1) * 10 : 0;
    char digits[24];

    length -= suffix != NULL;
    if (length >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (!tool_parse_u64(digits, 0, high >> shift, ret)) {
        return false;
    }
    *ret <<= shift;
    return *ret >= low;
}

static int parse_bytes(struct plan *p, char *text)
{
    char *save;

    p->n_bytes = 0;
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        uint64_t value;

        if (p->n_bytes == BYTES_MAX_LIST ||
            !parse_size(word, PATTERN_BYTES_MIN, BODY_BYTES_MAX, &value)) {
            return tool_usage("--bytes: not 1 to %d numbers from %zu to 1G", BYTES_MAX_LIST,
                              PATTERN_BYTES_MIN);
        }
        p->bytes[p->n_bytes++] = value;
    }
    return p->n_bytes > 0 ? -1 : tool_usage("--bytes: no number");
}

enum { OPT_SIDE = 256, OPT_LOAN, OPT_RELIABLE, OPT_BUFFER_FROM, OPT_MEMORY_FROM, OPT_ROUTER };

static const struct option long_options[] = {
    {"side", required_argument, NULL, OPT_SIDE},
    {"link", required_argument, NULL, 'l'},
    {"bytes", required_argument, NULL, 'b'},
    {"loan", no_argument, NULL, OPT_LOAN},
    {"reliable", no_argument, NULL, OPT_RELIABLE},
    {"number", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 's'},
    {"count", required_argument, NULL, 'c'},
    {"rate", required_argument, NULL, 'r'},
    {"runs", required_argument, NULL, 'R'},
    {"window", required_argument, NULL, 'w'},
    {"buffer-from", required_argument, NULL, OPT_BUFFER_FROM},
    {"memory-from", required_argument, NULL, OPT_MEMORY_FROM},
    {"json", no_argument, NULL, 'j'},
    {"address", required_argument, NULL, 'a'},
    {"router", required_argument, NULL, OPT_ROUTER},
    TOOL_HELP_OPTIONS,
    {NULL, 0, NULL, 0},
};

/* The options with a number: -1 or an exit code. */
static int parse_number(struct plan *p, int option)
{
    uint64_t value = 0;
    bool fine;

    switch (option) {
    case 'n':
        fine = tool_parse_u64(optarg, 1, 1000000, &value);
        p->n = (unsigned) value;
        break;
    case 's':
        fine = tool_parse_double(optarg, 0.01, 3600, &p->seconds);
        break;
    case 'c':
        fine = tool_parse_u64(optarg, 1, UINT64_C(1) << 40, &p->count);
        break;
    case 'r':
        fine = tool_parse_double(optarg, 1, 1e7, &p->rate);
        break;
    case 'R':
        fine = tool_parse_u64(optarg, 1, RUNS_MAX, &value);
        p->runs = (unsigned) value;
        break;
    default: /* 'w' */
        fine = tool_parse_pair(optarg, &p->window_messages, &p->window_bytes);
        break;
    }
    return fine ? -1 : tool_usage("-%c %s: not a number, or out of range", option, optarg);
}

static int parse_option(struct plan *p, int option, bool *sides)
{
    switch (option) {
    case 'h':
        return tool_print(help);
    case 'V':
        return tool_version();
    case OPT_SIDE:
        return parse_two(optarg, "bus", "floor", sides)
                   ? -1
                   : tool_usage("--side %s: not bus, floor or both", optarg);
    case 'l':
        return parse_two(optarg, "seqpacket", "stream", p->links)
                   ? -1
                   : tool_usage("--link %s: not seqpacket, stream or both", optarg);
    case 'b':
        return parse_bytes(p, optarg);
    case OPT_LOAN:
        p->in_place = true;
        return -1;
    case OPT_RELIABLE:
        p->reliable = true;
        return -1;
    case OPT_BUFFER_FROM:
        return parse_size(optarg, 1, BODY_BYTES_MAX + 1, &p->buffer_from)
                   ? -1
                   : tool_usage("--buffer-from %s: not a number of bytes", optarg);
    case OPT_MEMORY_FROM:
        return parse_size(optarg, 0, BODY_BYTES_MAX + 1, &p->memory_from)
                   ? -1
                   : tool_usage("--memory-from %s: not a number of bytes", optarg);
    case 'j':
        p->json = true;
        return -1;
    case 'a':
        p->address = optarg;
        return -1;
    case OPT_ROUTER:
        p->router = optarg;
        return -1;
    case '?':
        return tool_usage("wrong option");
    default:
        return parse_number(p, option);
    }
}

static unsigned default_number(enum mode mode)
{
    switch (mode) {
    case MODE_FANOUT:
        return 8;
    case MODE_FANIN:
        return 4;
    case MODE_CONNECT:
        return 1000;
    case MODE_SUBS:
        return 100000;
    case MODE_REQUESTS:
        return 64;
    case MODE_THROUGHPUT:
    case MODE_RTT:
    case MODE_REQUEST:
    case MODE_LATENCY:
        break;
    }
    return 1;
}

/* No seqpacket socket takes larger bodies. */
static bool floor_in_memory(const struct plan *p, enum link link, size_t bytes)
{
    return p->in_place || bytes >= p->memory_from ||
           (link == LINK_SEQPACKET && bytes > PACKET_BYTES_MAX);
}

static int add_row(struct plan *p, enum mode mode, enum link link, size_t bytes)
{
    struct row *row = &p->rows[p->n_rows++];
    bool takes_number = default_number(mode) > 1;

    row->spec = (struct spec){.mode = mode,
                              .link = link,
                              .bytes = bytes,
                              .in_place = p->in_place,
                              .reliable = p->reliable,
                              .seconds = p->seconds,
                              .count = p->count,
                              .rate = p->rate,
                              .address = p->address,
                              .buffer_from = p->buffer_from,
                              .window_messages = (uint32_t) p->window_messages,
                              .window_bytes = p->window_bytes};
    row->spec.n = p->n > 0 && takes_number ? p->n : default_number(mode);
    if (mode == MODE_LATENCY && p->count == 0) {
        row->spec.count = (uint64_t) (p->seconds * p->rate) + 1;
    } else if (mode == MODE_LATENCY) {
        row->spec.seconds = (double) p->count / p->rate;
    }
    row->sides[SIDE_BUS] = p->sides[SIDE_BUS];
    row->sides[SIDE_FLOOR] = p->sides[SIDE_FLOOR] && has_floor(mode);
    row->spec.in_memory = row->sides[SIDE_FLOOR] && floor_in_memory(p, link, bytes);
    for (int side = 0; side < 2; side++) {
        row->results[side] = calloc(p->runs, sizeof(struct result));
        if (!row->results[side]) {
            tool_error("out of memory");
            return TOOL_FAILURE;
        }
    }
    return -1;
}

static int make_rows(struct plan *p)
{
    int r = -1;

    for (int mode = 0; mode < N_MODES; mode++) {
        for (int link = 0; link < 2; link++) {
            /* where no messages flow it does not matter what is in them */
            bool flows = mode != MODE_CONNECT && mode != MODE_SUBS;
            unsigned n = flows ? p->n_bytes : 1;

            for (unsigned i = 0; i < n && p->modes[mode] && p->links[link] && r < 0; i++) {
                r = add_row(p, (enum mode) mode, (enum link) link, p->bytes[i]);
            }
        }
    }
    return r;
}

static int check(struct plan *p)
{
    if (p->n > PARTIES_MAX - 2 && (p->modes[MODE_FANOUT] || p->modes[MODE_FANIN])) {
        return tool_usage("-n %u: at most %d processes", p->n, PARTIES_MAX - 2);
    }
    return make_rows(p);
}

int plan_parse(struct plan *p, int argc, char **argv)
{
    bool sides[2] = {false, false};
    int option;

    *p = (struct plan){.links = {true, false},
                       .bytes = {64},
                       .n_bytes = 1,
                       .runs = 5,
                       .seconds = 1,
                       .rate = 10000,
                       .memory_from = PACKET_BYTES_MAX + 1};
    while ((option = getopt_long(argc, argv, "l:b:n:s:c:r:R:w:ja:hV", long_options, NULL)) != -1) {
        int r = parse_option(p, option, sides);

        if (r >= 0) {
            return r;
        }
    }
    if (optind == argc) {
        return tool_usage("no MODE");
    }
    for (int i = optind; i < argc; i++) {
        if (!add_mode(p, argv[i])) {
            return tool_usage("%s: no such mode", argv[i]);
        }
    }
    if (sides[0] || sides[1]) {
        memcpy(p->sides, sides, sizeof(sides));
    }
    if (p->address) { /* the address knows its link */
        p->links[LINK_STREAM] |= strncmp(p->address, "stream:", 7) == 0;
        p->links[LINK_SEQPACKET] = !p->links[LINK_STREAM];
    }
    return check(p);
}
