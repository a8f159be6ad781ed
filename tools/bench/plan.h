/* SPDX-License-Identifier: MIT */
#pragma once
/* What is measured, from the command line: rows, each for the bus, the floor or both. */

#include "bench.h"

#define ROWS_MAX 256
#define RUNS_MAX 99
#define BYTES_MAX_LIST 16

/* One line of the report. */
struct row {
    struct spec spec; /* without the side */
    bool sides[2];
    struct result *results[2]; /* of each run */
};

struct plan {
    const char *address; /* NULL: routers of our own */
    const char *router;  /* their program, or NULL */
    bool json;
    bool modes[N_MODES];
    bool sides[2];
    bool links[2];
    size_t bytes[BYTES_MAX_LIST];
    unsigned n_bytes;
    uint64_t buffer_from; /* bus_opts.buffer_threshold_bytes */
    uint64_t memory_from; /* the floor hands over bodies of so many bytes in memory */
    bool in_place;
    bool reliable;
    unsigned n; /* 0: the mode's default */
    unsigned runs;
    uint64_t count;
    double seconds;
    double rate;
    uint64_t window_messages;
    uint64_t window_bytes;
    struct row rows[ROWS_MAX];
    unsigned n_rows;
};

/* The command line: -1 to go on, or an exit code. */
int plan_parse(struct plan *p, int argc, char **argv);
