/* SPDX-License-Identifier: MIT */
#pragma once
/* The command line of bus-monitor. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Exit codes, documented in --help. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_TIMEOUT = 3,
    EXIT_DENIED = 4
};

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_TOP };
enum colour_when { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };

#define FILTERS_MAX 32

struct options {
    const char *address;        /* NULL: the library's default */
    const char *const *filters; /* in argv; NULL-terminated */
    size_t n_filters;
    enum output output;
    enum colour_when colour;
    bool no_body;
    bool has_snap;
    uint64_t snap_bytes;  /* 0: all */
    uint64_t queue_bytes; /* 0: the router's default */
    uint64_t count;       /* records, or tables with --top; 0: no end */
    uint64_t timeout_ns;  /* 0: none */
    uint64_t interval_ns; /* of --top */
    int ready_fd;         /* -1: none */
};

/** What the command line asks for; anything but OPTIONS_RUN has been answered on stdout or stderr.
 */
enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG, OPTIONS_FAILED };

/** Read the command line; @argv must outlive @ret_options. */
enum options_verdict options_parse(int argc, char **argv, struct options *ret_options);
