/* SPDX-License-Identifier: MIT */
#pragma once
/* What the live table knows: the last two answers of a router, their differences, and their
 * order. Fed with the entries of bus_inside(); knows neither the connection nor the screen. Time
 * is a parameter. */

#include <bus/inside.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum top_table_id { TOP_TOPICS, TOP_CLIENTS, TOP_GROUPS, TOP_QUOTAS };
#define TOP_TABLES 4

/** What a row counts; a table uses those it has. Those before TOP_GAUGES only grow. */
enum top_value {
    TOP_PUB_MESSAGES,
    TOP_PUB_BYTES,
    TOP_OUT_MESSAGES,
    TOP_OUT_BYTES,
    TOP_LOST,
    TOP_REFUSED,
    TOP_GAUGES,
    TOP_QUEUE_MESSAGES = TOP_GAUGES,
    TOP_QUEUE_BYTES,
    TOP_MEMORY,
    TOP_SUBSCRIPTIONS,
    TOP_PUBLISHERS, /* of a topic; of a client: the topics it has advertised */
    TOP_KEPT,       /* of a topic */
    TOP_SLOW_MS,    /* of a client */
    TOP_MEMBERS,    /* these four of a group */
    TOP_READY,
    TOP_UNACKED,
    TOP_WAITING_MS,
    TOP_USED, /* these three of a quota */
    TOP_LIMIT,
    TOP_PERCENT,
    TOP_VALUES,
};

/** A topic, a client, a group or a quota. */
struct top_row {
    uint64_t id; /* of the topic, or of the connection; of others their place */
    char *name;
    char *note; /* why a client is slow; or NULL */
    uint32_t pid, uid;
    uint64_t total[TOP_VALUES];
    double rate[TOP_GAUGES]; /* per second */
    bool has_rate;           /* false in the first snapshot: nothing to compare with */
};

enum top_source {
    TOP_FROM_NAME,
    TOP_FROM_NOTE, /* ordered by its value */
    TOP_FROM_ID,
    TOP_FROM_PID,
    TOP_FROM_UID,
    TOP_FROM_TOTAL,
    TOP_FROM_RATE
};

/** A column of a table. The first column of each table is its name. */
struct top_column {
    const char *title;
    enum top_source source;
    enum top_value value; /* for NOTE, TOTAL and RATE */
    int width;            /* of a number; of a name: the least, it takes what is left */
};

struct top_table {
    struct top_row *rows; /* by id */
    size_t n_rows, n_allocated;
    size_t *order; /* rows as they are shown: n_rows indexes */
    uint64_t time_ns;
};

struct top_counter {
    char *name;
    uint64_t value;
    double rate;
    bool has_rate;
};

#define TOP_COUNTERS_MAX 128

struct top_counters {
    struct top_counter entries[TOP_COUNTERS_MAX];
    size_t n;
    uint64_t time_ns; /* 0: none yet */
};

struct top_sort {
    size_t column;
    bool reverse;
};

struct top_model {
    struct top_table now[TOP_TABLES];  /* complete, shown */
    struct top_table next[TOP_TABLES]; /* being received */
    struct top_counters counters, next_counters;
    struct top_sort sort[TOP_TABLES];
};

void top_model_init(struct top_model *m);
void top_model_fini(struct top_model *m);

/** An entry of a list that is being received; -ENOMEM, or 0. Quotas of which nothing is used are
 * left out. */
int top_model_add(struct top_model *m, const struct bus_inside_entry *entry);

/** A list is complete: compute rates and show it. -ENOMEM, or 0. */
int top_model_commit(struct top_model *m, enum bus_inside_list list, uint64_t now_ns);

/** Columns of a table. */
const struct top_column *top_columns(enum top_table_id table, size_t *ret_n);

/** Choose the column to sort by; numbers begin with the highest, names with the lowest. */
void top_model_sort(struct top_model *m, enum top_table_id table, struct top_sort sort);

/** Row number @position of a table as it is shown, NULL beyond the end. */
const struct top_row *top_model_row(const struct top_model *m, enum top_table_id table,
                                    size_t position);

/** The number that belongs to a column of a row; *@ret_known is false for a rate not known yet. */
double top_row_number(const struct top_row *row, const struct top_column *column, bool *ret_known);

/** A counter of the router by name, or NULL. */
const struct top_counter *top_model_counter(const struct top_model *m, const char *name);
