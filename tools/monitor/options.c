/* SPDX-License-Identifier: MIT */
/* The command line of bus-monitor: says what is wrong with it, to which option, and how it should
 * be. */
#include "options.h"

#include <bus/bus.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>
#include "common.h"

#define NS_PER_S 1000000000.0
#define QUEUE_MAX (UINT64_C(16) << 20)
#define SNAP_MAX (UINT64_C(64) << 20)

static const char help[] =
    "Usage: bus-monitor [OPTION...] [FILTER...]\n"
    "Show every message, request and reply that passes through a bus-router, and what became of\n"
    "it, without affecting it. FILTERs choose topics (+ is one level, a final # the rest); "
    "without\n"
    "any, all are shown. Only the router's own user and root may monitor.\n"
    "\n"
    "  -a, --address=ADDRESS  seqpacket:PATH, stream:PATH or PATH; default $BUS_ADDRESS\n"
    "  -j, --json             one JSON object per line, for programs\n"
    "      --top              live table of topics, clients, groups and quotas; plain tables if\n"
    "                         not on a terminal\n"
    "  -n, --count=N          end after N records (with --top: after N tables)\n"
    "  -t, --timeout=SECONDS  end after this time; exit code 3 if --count was not reached\n"
    "      --interval=SECONDS time between two tables of --top (default 1)\n"
    "      --snap=BYTES       how much of each body to show; 0: all (default 256, --json: all)\n"
    "      --no-body          do not show bodies (also --quiet-body)\n"
    "      --queue=BYTES      how much may wait for this monitor in the router (default 1M, at "
    "most\n"
    "                         16M); what does not fit is missed, and shown as missed\n"
    "      --color=WHEN       auto (default), always or never; NO_COLOR is respected\n"
    "      --ready-fd=N       write READY and a line feed to descriptor N once the router agreed\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "BYTES may end in K or M.\n"
    "\n"
    "Exit codes: 0 done or interrupted, 1 failure (no router, connection lost), 2 wrong usage,\n"
    "3 timeout before --count was reached, 4 not allowed.\n"
    "\n"
    "Examples:\n"
    "  bus-monitor 'sensors/#'              everything below sensors\n"
    "  bus-monitor --json | jq .topic       topics only\n"
    "  bus-monitor --top                    who sends how much\n";

enum long_only {
    OPT_TOP = 256,
    OPT_INTERVAL,
    OPT_SNAP,
    OPT_NO_BODY,
    OPT_QUEUE,
    OPT_COLOUR,
    OPT_READY_FD,
};

static const struct option long_options[] = {
    {"address", required_argument, NULL, 'a'},
    {"json", no_argument, NULL, 'j'},
    {"top", no_argument, NULL, OPT_TOP},
    {"count", required_argument, NULL, 'n'},
    {"timeout", required_argument, NULL, 't'},
    {"interval", required_argument, NULL, OPT_INTERVAL},
    {"snap", required_argument, NULL, OPT_SNAP},
    {"no-body", no_argument, NULL, OPT_NO_BODY},
    {"quiet-body", no_argument, NULL, OPT_NO_BODY},
    {"queue", required_argument, NULL, OPT_QUEUE},
    {"color", required_argument, NULL, OPT_COLOUR},
    {"colour", required_argument, NULL, OPT_COLOUR},
    {"ready-fd", required_argument, NULL, OPT_READY_FD},
    TOOL_HELP_OPTIONS,
    {NULL, 0, NULL, 0},
};

static bool wrong(const char *option, const char *value, const char *expected)
{
    (void) tool_usage("%s: '%s' is not %s", option, value, expected);
    return false;
}

/* A number of bytes, which may end in K or M. */
static bool parse_bytes(const char *text, uint64_t most, uint64_t *ret_bytes)
{
    static const char units[] = "kKmM";
    char digits[24];
    size_t n = strlen(text);
    const char *unit = n ? strchr(units, text[n - 1]) : NULL;
    unsigned shift = !unit ? 0 : unit - units < 2 ? 10 : 20;

    n -= unit ? 1 : 0;
    if (n >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, text, n);
    digits[n] = '\0';
    if (!tool_parse_u64(digits, 0, most >> shift, ret_bytes)) {
        return false;
    }
    *ret_bytes <<= shift;
    return true;
}

static bool parse_seconds(const char *text, double least, uint64_t *ret_ns)
{
    double seconds;

    if (!tool_parse_double(text, least, 1e9, &seconds)) {
        return false;
    }
    *ret_ns = (uint64_t) (seconds * NS_PER_S);
    return true;
}

static bool parse_colour(const char *text, enum colour_when *ret_colour)
{
    static const char *const names[] = {"auto", "always", "never"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!strcmp(text, names[i])) {
            *ret_colour = (enum colour_when) i;
            return true;
        }
    }
    return false;
}

static bool parse_fd(const char *text, int *ret_fd)
{
    uint64_t fd;

    if (!tool_parse_u64(text, 0, INT_MAX, &fd) || fcntl((int) fd, F_GETFD) < 0) {
        return false;
    }
    *ret_fd = (int) fd;
    return true;
}

static bool parse_output(enum output output, struct options *o)
{
    if (o->output != OUTPUT_TEXT && o->output != output) {
        (void) tool_usage("--json and --top cannot be combined");
        return false;
    }
    o->output = output;
    return true;
}

static bool parse_option(int option, const char *value, struct options *o)
{
    switch (option) {
    case 'a':
        o->address = value;
        return true;
    case 'j':
        return parse_output(OUTPUT_JSON, o);
    case OPT_TOP:
        return parse_output(OUTPUT_TOP, o);
    case 'n':
        return tool_parse_u64(value, 1, UINT64_MAX, &o->count) ||
               wrong("--count", value, "a number from 1");
    case 't':
        return parse_seconds(value, 0.001, &o->timeout_ns) ||
               wrong("--timeout", value, "a time in seconds, such as 10 or 0.5");
    case OPT_INTERVAL:
        return parse_seconds(value, 0.1, &o->interval_ns) ||
               wrong("--interval", value, "a time in seconds, at least 0.1");
    case OPT_SNAP:
        o->has_snap = true;
        return parse_bytes(value, SNAP_MAX, &o->snap_bytes) ||
               wrong("--snap", value, "a number of bytes from 0 to 64M");
    case OPT_NO_BODY:
        o->no_body = true;
        return true;
    case OPT_QUEUE:
        return parse_bytes(value, QUEUE_MAX, &o->queue_bytes) ||
               wrong("--queue", value, "a number of bytes from 0 to 16M");
    case OPT_COLOUR:
        return parse_colour(value, &o->colour) || wrong("--color", value, "auto, always or never");
    case OPT_READY_FD:
        return parse_fd(value, &o->ready_fd) || wrong("--ready-fd", value, "an open descriptor");
    default:
        (void) tool_usage("wrong option"); /* getopt_long() has said which */
        return false;
    }
}

static bool check_filters(const struct options *o)
{
    if (o->n_filters > FILTERS_MAX) {
        (void) tool_usage("%zu filters given, at most %d are possible", o->n_filters, FILTERS_MAX);
        return false;
    }
    for (size_t i = 0; i < o->n_filters; i++) {
        if (!bus_filter_valid(o->filters[i])) {
            (void) tool_usage(
                "'%s' is not a topic filter: it is 1 to %d bytes in at most %d levels "
                "separated by '/'; '+' and '#' fill a whole level, and '#' may only "
                "be the last one",
                o->filters[i], BUS_TOPIC_MAX, BUS_LEVELS_MAX);
            return false;
        }
    }
    return true;
}

enum options_verdict options_parse(int argc, char **argv, struct options *ret_options)
{
    struct options o = {.interval_ns = (uint64_t) NS_PER_S, .ready_fd = -1};
    int option;

    while ((option = getopt_long(argc, argv, "a:jn:t:hV", long_options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            int r = option == 'h' ? tool_print(help) : tool_version();

            return r == TOOL_OK ? OPTIONS_DONE : OPTIONS_FAILED;
        }
        if (!parse_option(option, optarg, &o)) {
            return OPTIONS_WRONG;
        }
    }
    o.filters = (const char *const *) argv + optind;
    o.n_filters = (size_t) (argc - optind);
    if (!check_filters(&o)) {
        return OPTIONS_WRONG;
    }
    if (!o.has_snap) {
        o.snap_bytes = o.output == OUTPUT_JSON ? 0 : 256;
    }
    *ret_options = o;
    return OPTIONS_RUN;
}
