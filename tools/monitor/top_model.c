/* SPDX-License-Identifier: MIT */
/* Lists of a router and their differences. Owned by the live table; knows neither connection
 * nor screen. Invariants: now[t].rows is sorted by id and complete; now[t].order is a permutation
 * of its indexes. */
#include "top_model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "words.h"

/* Most wanted first: what does not fit on the screen is reached by scrolling to the right. */
static const struct top_column topic_columns[] = {
    {"TOPIC", TOP_FROM_NAME, TOP_VALUES, 28},     {"MSG/s", TOP_FROM_RATE, TOP_PUB_MESSAGES, 6},
    {"B/s", TOP_FROM_RATE, TOP_PUB_BYTES, 6},     {"OUT/s", TOP_FROM_RATE, TOP_OUT_MESSAGES, 6},
    {"LOST/s", TOP_FROM_RATE, TOP_LOST, 6},       {"MSGS", TOP_FROM_TOTAL, TOP_PUB_MESSAGES, 6},
    {"LOST", TOP_FROM_TOTAL, TOP_LOST, 6},        {"SUBS", TOP_FROM_TOTAL, TOP_SUBSCRIPTIONS, 5},
    {"BYTES", TOP_FROM_TOTAL, TOP_PUB_BYTES, 6},  {"PUBS", TOP_FROM_TOTAL, TOP_PUBLISHERS, 5},
    {"OUT", TOP_FROM_TOTAL, TOP_OUT_MESSAGES, 6}, {"KEPT", TOP_FROM_TOTAL, TOP_KEPT, 6},
};

static const struct top_column client_columns[] = {
    {"CLIENT", TOP_FROM_NAME, TOP_VALUES, 12},
    {"PUB/s", TOP_FROM_RATE, TOP_PUB_MESSAGES, 6},
    {"PUBB/s", TOP_FROM_RATE, TOP_PUB_BYTES, 6},
    {"OUT/s", TOP_FROM_RATE, TOP_OUT_MESSAGES, 6},
    {"OUTB/s", TOP_FROM_RATE, TOP_OUT_BYTES, 6},
    {"QUEUE", TOP_FROM_TOTAL, TOP_QUEUE_MESSAGES, 6},
    {"QUEUEB", TOP_FROM_TOTAL, TOP_QUEUE_BYTES, 6},
    {"LOST/s", TOP_FROM_RATE, TOP_LOST, 6},
    {"LOST", TOP_FROM_TOTAL, TOP_LOST, 6},
    {"SLOW", TOP_FROM_NOTE, TOP_SLOW_MS, 12},
    {"SUBS", TOP_FROM_TOTAL, TOP_SUBSCRIPTIONS, 4},
    {"MEMORY", TOP_FROM_TOTAL, TOP_MEMORY, 6},
    {"PID", TOP_FROM_PID, TOP_VALUES, 7},
    {"UID", TOP_FROM_UID, TOP_VALUES, 6},
    {"PUB", TOP_FROM_TOTAL, TOP_PUB_MESSAGES, 6},
    {"PUBB", TOP_FROM_TOTAL, TOP_PUB_BYTES, 6},
    {"OUT", TOP_FROM_TOTAL, TOP_OUT_MESSAGES, 6},
    {"OUTB", TOP_FROM_TOTAL, TOP_OUT_BYTES, 6},
    {"REFUSE", TOP_FROM_TOTAL, TOP_REFUSED, 6},
    {"TOPICS", TOP_FROM_TOTAL, TOP_PUBLISHERS, 6},
    {"CONN", TOP_FROM_ID, TOP_VALUES, 6},
};

static const struct top_column group_columns[] = {
    {"GROUP", TOP_FROM_NAME, TOP_VALUES, 28},
    {"MEMBER", TOP_FROM_TOTAL, TOP_MEMBERS, 6},
    {"READY", TOP_FROM_TOTAL, TOP_READY, 6},
    {"QUEUE", TOP_FROM_TOTAL, TOP_QUEUE_MESSAGES, 6},
    {"QUEUEB", TOP_FROM_TOTAL, TOP_QUEUE_BYTES, 6},
    {"UNACK", TOP_FROM_TOTAL, TOP_UNACKED, 6},
    {"WAITms", TOP_FROM_TOTAL, TOP_WAITING_MS, 6},
    {"LOST", TOP_FROM_TOTAL, TOP_LOST, 6},
    {"MEMORY", TOP_FROM_TOTAL, TOP_MEMORY, 6},
};

static const struct top_column quota_columns[] = {
    {"USER", TOP_FROM_NAME, TOP_VALUES, 28},
    {"USED", TOP_FROM_TOTAL, TOP_USED, 8},
    {"LIMIT", TOP_FROM_TOTAL, TOP_LIMIT, 8},
    {"%", TOP_FROM_TOTAL, TOP_PERCENT, 4},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct top_column *top_columns(enum top_table_id table, size_t *ret_n)
{
    static const struct {
        const struct top_column *columns;
        size_t n;
    } all[TOP_TABLES] = {
        [TOP_TOPICS] = {topic_columns, COUNT(topic_columns)},
        [TOP_CLIENTS] = {client_columns, COUNT(client_columns)},
        [TOP_GROUPS] = {group_columns, COUNT(group_columns)},
        [TOP_QUOTAS] = {quota_columns, COUNT(quota_columns)},
    };

    *ret_n = all[table].n;
    return all[table].columns;
}

/* ---- memory ---- */

static void table_fini(struct top_table *t)
{
    for (size_t i = 0; i < t->n_rows; i++) {
        free(t->rows[i].name);
        free(t->rows[i].note);
    }
    free(t->rows);
    free(t->order);
    *t = (struct top_table){0};
}

static void counters_fini(struct top_counters *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->entries[i].name);
    }
    *c = (struct top_counters){0};
}

void top_model_init(struct top_model *m)
{
    *m = (struct top_model){0};
    m->sort[TOP_TOPICS].column = 1;
    m->sort[TOP_CLIENTS].column = 1;
    m->sort[TOP_GROUPS].column = 3;
    m->sort[TOP_QUOTAS].column = 3;
}

void top_model_fini(struct top_model *m)
{
    for (int i = 0; i < TOP_TABLES; i++) {
        table_fini(&m->now[i]);
        table_fini(&m->next[i]);
    }
    counters_fini(&m->counters);
    counters_fini(&m->next_counters);
}

static int table_add(struct top_table *t, uint64_t id, const char *name, struct top_row **ret_row)
{
    struct top_row *row;
    char *copy;

    if (t->n_rows == t->n_allocated) {
        size_t n = t->n_allocated ? t->n_allocated * 2 : 64;
        struct top_row *rows = reallocarray(t->rows, n, sizeof(*rows));

        if (!rows) {
            return -ENOMEM;
        }
        t->rows = rows;
        t->n_allocated = n;
    }
    copy = strdup(name);
    if (!copy) {
        return -ENOMEM;
    }
    row = &t->rows[t->n_rows++];
    *row = (struct top_row){.id = id, .name = copy};
    *ret_row = row;
    return 0;
}

static int client_add(struct top_model *m, const struct bus_inside_client *c)
{
    struct top_row *row;
    int r = table_add(&m->next[TOP_CLIENTS], c->connection_id, c->name, &row);
    char slow[SLOW_BYTES];

    if (r < 0) {
        return r;
    }
    row->pid = (uint32_t) c->pid;
    row->uid = (uint32_t) c->uid;
    row->total[TOP_PUB_MESSAGES] = c->published_messages;
    row->total[TOP_PUB_BYTES] = c->published_bytes;
    row->total[TOP_OUT_MESSAGES] = c->delivered_messages;
    row->total[TOP_OUT_BYTES] = c->delivered_bytes;
    row->total[TOP_LOST] = c->lost_messages;
    row->total[TOP_REFUSED] = c->refused_messages;
    row->total[TOP_QUEUE_MESSAGES] = c->queued_messages;
    row->total[TOP_QUEUE_BYTES] = c->queued_bytes;
    row->total[TOP_MEMORY] = c->charged_bytes;
    row->total[TOP_SUBSCRIPTIONS] = c->subscriptions;
    row->total[TOP_PUBLISHERS] = c->topics;
    /* also those that began just now come before those that are not slow */
    row->total[TOP_SLOW_MS] = c->slow ? c->slow_ms + 1 : 0;
    row->note = c->slow ? strdup(word_of_slowness_short(c, slow)) : NULL;
    return c->slow && !row->note ? -ENOMEM : 0;
}

static int topic_add(struct top_model *m, const struct bus_inside_topic *t)
{
    struct top_row *row;
    int r = table_add(&m->next[TOP_TOPICS], t->id, t->name, &row);

    if (r < 0) {
        return r;
    }
    row->total[TOP_PUB_MESSAGES] = t->published_messages;
    row->total[TOP_PUB_BYTES] = t->published_bytes;
    row->total[TOP_OUT_MESSAGES] = t->delivered_messages;
    row->total[TOP_LOST] = t->lost_messages;
    row->total[TOP_SUBSCRIPTIONS] = t->subscriptions;
    row->total[TOP_PUBLISHERS] = t->publishers;
    row->total[TOP_KEPT] = t->retained_messages;
    return 0;
}

static int group_add(struct top_model *m, const struct bus_inside_group *g)
{
    struct top_table *next = &m->next[TOP_GROUPS];
    struct top_row *row;
    char name[512];
    int r;

    snprintf(name, sizeof(name), "%s of %s", g->name, g->filter);
    r = table_add(next, next->n_rows + 1, name, &row);
    if (r < 0) {
        return r;
    }
    row->total[TOP_MEMBERS] = g->members;
    row->total[TOP_READY] = g->ready_members;
    row->total[TOP_QUEUE_MESSAGES] = g->queued_messages;
    row->total[TOP_QUEUE_BYTES] = g->queued_bytes;
    row->total[TOP_UNACKED] = g->unacknowledged_messages;
    row->total[TOP_WAITING_MS] = g->waiting_ms;
    row->total[TOP_LOST] = g->lost_messages;
    row->total[TOP_MEMORY] = g->charged_bytes;
    return 0;
}

static int quota_add(struct top_model *m, const struct bus_inside_quota *q)
{
    struct top_table *next = &m->next[TOP_QUOTAS];
    struct top_row *row;
    char name[128];
    int r;

    if (q->used == 0) {
        return 0;
    }
    if (q->is_total) {
        snprintf(name, sizeof(name), "all: %.64s", q->slot);
    } else {
        snprintf(name, sizeof(name), "%" PRIu64 ": %.64s", q->uid, q->slot);
    }
    r = table_add(next, next->n_rows + 1, name, &row);
    if (r < 0) {
        return r;
    }
    row->total[TOP_USED] = q->used;
    row->total[TOP_LIMIT] = q->limit;
    row->total[TOP_PERCENT] =
        q->limit ? (uint64_t) (100.0 * (double) q->used / (double) q->limit) : 100;
    return 0;
}

static int counter_add(struct top_model *m, const struct bus_inside_counter *counter)
{
    struct top_counters *next = &m->next_counters;
    char *copy;

    if (next->n == TOP_COUNTERS_MAX) {
        return 0; /* a later router that counts more: what we know of comes first */
    }
    copy = strdup(counter->name);
    if (!copy) {
        return -ENOMEM;
    }
    next->entries[next->n++] = (struct top_counter){.name = copy, .value = counter->value};
    return 0;
}

int top_model_add(struct top_model *m, const struct bus_inside_entry *entry)
{
    return entry->client    ? client_add(m, entry->client)
           : entry->topic   ? topic_add(m, entry->topic)
           : entry->group   ? group_add(m, entry->group)
           : entry->quota   ? quota_add(m, entry->quota)
           : entry->counter ? counter_add(m, entry->counter)
                            : 0;
}

/* ---- differences ---- */

static int compare_id(const void *a, const void *b)
{
    const struct top_row *x = a;
    const struct top_row *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

/* Topic numbers are used again: the same number is the same topic only under the same name, and
 * only as long as nothing has been counted down. */
static bool continues(const struct top_row *before, const struct top_row *row)
{
    if (before->id != row->id || strcmp(before->name, row->name) != 0) {
        return false;
    }
    for (int i = 0; i < TOP_GAUGES; i++) {
        if (row->total[i] < before->total[i]) {
            return false;
        }
    }
    return true;
}

static void row_set_rates(struct top_row *row, const struct top_row *before, double seconds)
{
    for (int i = 0; i < TOP_GAUGES; i++) {
        uint64_t base = before ? before->total[i] : 0;

        row->rate[i] = (double) (row->total[i] - base) / seconds;
    }
    row->has_rate = true;
}

/* Both tables are sorted by id. A row that is new has counted everything since the snapshot before.
 */
static void table_set_rates(struct top_table *next, const struct top_table *before, double seconds)
{
    size_t at = 0;

    for (size_t i = 0; i < next->n_rows; i++) {
        struct top_row *row = &next->rows[i];

        while (at < before->n_rows && before->rows[at].id < row->id) {
            at++;
        }
        row_set_rates(row,
                      at < before->n_rows && continues(&before->rows[at], row) ? &before->rows[at]
                                                                               : NULL,
                      seconds);
    }
}

/* An entry that changed its place between two parts of a snapshot comes twice; one is enough. */
static void table_drop_twins(struct top_table *t)
{
    size_t kept = 0;

    for (size_t i = 0; i < t->n_rows; i++) {
        if (kept && t->rows[kept - 1].id == t->rows[i].id) {
            free(t->rows[kept - 1].name);
            free(t->rows[kept - 1].note);
            kept--;
        }
        t->rows[kept++] = t->rows[i];
    }
    t->n_rows = kept;
}

static void sort_table(struct top_model *m, enum top_table_id table);

static int commit_table(struct top_model *m, enum top_table_id id, uint64_t now_ns)
{
    struct top_table *next = &m->next[id];
    struct top_table *now = &m->now[id];

    next->order = calloc(next->n_rows ? next->n_rows : 1, sizeof(*next->order));
    if (!next->order) {
        return -ENOMEM;
    }

    /* No failure below. */
    if (next->n_rows) {
        qsort(next->rows, next->n_rows, sizeof(*next->rows), compare_id);
    }
    table_drop_twins(next);
    next->time_ns = now_ns;
    if (now->time_ns && now_ns > now->time_ns) {
        table_set_rates(next, now, (double) (now_ns - now->time_ns) / 1e9);
    }
    table_fini(now);
    *now = *next;
    *next = (struct top_table){0};
    sort_table(m, id);
    return 0;
}

static void commit_counters(struct top_model *m, uint64_t now_ns)
{
    struct top_counters *next = &m->next_counters;
    double seconds = (double) (now_ns - m->counters.time_ns) / 1e9;

    next->time_ns = now_ns;
    for (size_t i = 0; i < next->n; i++) {
        struct top_counter *c = &next->entries[i];
        const struct top_counter *before = top_model_counter(m, c->name);

        if (before && c->value >= before->value && now_ns > m->counters.time_ns) {
            c->rate = (double) (c->value - before->value) / seconds;
            c->has_rate = true;
        }
    }
    counters_fini(&m->counters);
    m->counters = *next;
    *next = (struct top_counters){0};
}

int top_model_commit(struct top_model *m, enum bus_inside_list list, uint64_t now_ns)
{
    switch (list) {
    case BUS_INSIDE_CLIENTS:
        return commit_table(m, TOP_CLIENTS, now_ns);
    case BUS_INSIDE_TOPICS:
        return commit_table(m, TOP_TOPICS, now_ns);
    case BUS_INSIDE_GROUPS:
        return commit_table(m, TOP_GROUPS, now_ns);
    case BUS_INSIDE_QUOTAS:
        return commit_table(m, TOP_QUOTAS, now_ns);
    case BUS_INSIDE_COUNTERS:
        commit_counters(m, now_ns);
        return 0;
    case BUS_INSIDE_SUBSCRIPTIONS:
    case BUS_INSIDE_CLOSED:
        break; /* not shown here */
    }
    return -EINVAL;
}

const struct top_counter *top_model_counter(const struct top_model *m, const char *name)
{
    for (size_t i = 0; i < m->counters.n; i++) {
        if (!strcmp(m->counters.entries[i].name, name)) {
            return &m->counters.entries[i];
        }
    }
    return NULL;
}

/* ---- order ---- */

double top_row_number(const struct top_row *row, const struct top_column *column, bool *ret_known)
{
    *ret_known = true;
    switch (column->source) {
    case TOP_FROM_NAME:
        break;
    case TOP_FROM_ID:
        return (double) row->id;
    case TOP_FROM_PID:
        return row->pid;
    case TOP_FROM_UID:
        return row->uid;
    case TOP_FROM_NOTE:
    case TOP_FROM_TOTAL:
        return (double) row->total[column->value];
    case TOP_FROM_RATE:
        *ret_known = row->has_rate;
        return row->rate[column->value];
    }
    return 0;
}

struct sorting {
    const struct top_row *rows;
    const struct top_column *column;
    bool reverse;
};

/* Equals stay in the order of their ids in both directions, so that rows do not jump about. */
static int compare_rows(const void *a, const void *b, void *userdata)
{
    const struct sorting *sorting = userdata;
    const struct top_row *x = &sorting->rows[*(const size_t *) a];
    const struct top_row *y = &sorting->rows[*(const size_t *) b];
    int result;

    if (sorting->column->source == TOP_FROM_NAME) {
        result = strcmp(x->name, y->name);
    } else {
        bool known;
        double p = top_row_number(x, sorting->column, &known);
        double q = top_row_number(y, sorting->column, &known);

        result = (q > p) - (q < p);
    }
    if (result) {
        return sorting->reverse ? -result : result;
    }
    return compare_id(x, y);
}

static void sort_table(struct top_model *m, enum top_table_id table)
{
    struct top_table *t = &m->now[table];
    size_t n_columns;
    const struct top_column *columns = top_columns(table, &n_columns);
    struct sorting sorting = {
        .rows = t->rows,
        .column = &columns[m->sort[table].column],
        .reverse = m->sort[table].reverse,
    };

    for (size_t i = 0; i < t->n_rows; i++) {
        t->order[i] = i;
    }
    if (t->n_rows) {
        qsort_r(t->order, t->n_rows, sizeof(*t->order), compare_rows, &sorting);
    }
}

void top_model_sort(struct top_model *m, enum top_table_id table, struct top_sort sort)
{
    size_t n_columns;

    (void) top_columns(table, &n_columns);
    sort.column = sort.column < n_columns ? sort.column : 0;
    m->sort[table] = sort;
    sort_table(m, table);
}

const struct top_row *top_model_row(const struct top_model *m, enum top_table_id table,
                                    size_t position)
{
    const struct top_table *t = &m->now[table];

    return position < t->n_rows ? &t->rows[t->order[position]] : NULL;
}
