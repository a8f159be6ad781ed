/* SPDX-License-Identifier: MIT */
#pragma once
/* What is measured, from the command line. */

#include "measure.h"

#define RUNS_MAX 99
#define LIST_MAX 16

/* One line of the report. */
struct row {
    const struct peer_entry *entry;
    struct spec spec;
    struct result worst; /* the first that is not ok, or the last */
    unsigned n_runs;
    double per_second[RUNS_MAX]; /* of each run */
};

/* Numbers separated by commas. */
struct list {
    uint64_t values[LIST_MAX];
    unsigned n;
};

struct plan {
    bool json;
    struct list bytes;
    struct list n;
    unsigned runs;
    double seconds;
    uint64_t window_messages;
    uint64_t window_bytes;
    const char *skipped[LIST_MAX]; /* of each peer: why it takes no part, or NULL */
    bool is_wanted[LIST_MAX];
    struct row *rows;
    unsigned n_rows;
};

/* The command line: -1 to go on, or an exit code. */
int plan_parse(struct plan *p, int argc, char **argv);
void plan_fini(struct plan *p);
