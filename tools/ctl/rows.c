/* SPDX-License-Identifier: MIT */
#include "rows.h"

#include <inttypes.h>
#include <stdio.h>
#include "top_view.h"
#include "words.h"

static const struct table_column client_columns[] = {
    {"ID", true},     {"NAME", false},  {"PID", true},  {"UID", true},    {"STATE", false},
    {"IDLE", true},   {"PUB", true},    {"OUT", true},  {"LOST", true},   {"QUEUED", true},
    {"QBYTES", true}, {"MEMORY", true}, {"SUBS", true}, {"TOPICS", true}, {"SLOW", false},
};
static const struct table_column topic_columns[] = {
    {"TOPIC", false}, {"PUB", true},  {"OUT", true},  {"LOST", true},
    {"PUBS", true},   {"SUBS", true}, {"KEPT", true}, {"KBYTES", true},
};
static const struct table_column subscription_columns[] = {
    {"CONN", true},    {"SUB", true},    {"FILTER", false}, {"GROUP", false},
    {"POLICY", false}, {"WINDOW", true}, {"USED", true},    {"QUEUE", true},
    {"QUEUED", true},  {"QBYTES", true}, {"WAITS", true},   {"SLOW", false},
};
static const struct table_column group_columns[] = {
    {"FILTER", false},  {"GROUP", false}, {"POLICY", false}, {"MEMBERS", true},
    {"READY", true},    {"QUEUED", true}, {"QBYTES", true},  {"UNACKED", true},
    {"RETURNED", true}, {"LOST", true},   {"MEMORY", true},  {"WAITS", true},
};
static const struct table_column quota_columns[] = {
    {"USER", true}, {"SLOT", false}, {"USED", true}, {"LIMIT", true}, {"%", true},
};
static const struct table_column closed_columns[] = {
    {"ENDED", false}, {"ID", true},      {"NAME", false}, {"PID", true},
    {"UID", true},    {"AFTER", true},   {"PUB", true},   {"OUT", true},
    {"LOST", true},   {"REASON", false}, {"TEXT", false},
};
static const struct table_column counter_columns[] = {
    {"COUNTER", false},
    {"VALUE", true},
    {"PER SECOND", true},
};

#define COLUMNS(c)                                                                                 \
    {                                                                                              \
        c, sizeof(c) / sizeof((c)[0])                                                              \
    }

const struct table_column *row_columns(enum bus_inside_list list, size_t *ret_n)
{
    static const struct {
        const struct table_column *columns;
        size_t n;
    } all[BUS_INSIDE_LISTS_END] = {
        [BUS_INSIDE_CLIENTS] = COLUMNS(client_columns),
        [BUS_INSIDE_TOPICS] = COLUMNS(topic_columns),
        [BUS_INSIDE_SUBSCRIPTIONS] = COLUMNS(subscription_columns),
        [BUS_INSIDE_GROUPS] = COLUMNS(group_columns),
        [BUS_INSIDE_QUOTAS] = COLUMNS(quota_columns),
        [BUS_INSIDE_CLOSED] = COLUMNS(closed_columns),
        [BUS_INSIDE_COUNTERS] = COLUMNS(counter_columns),
    };

    *ret_n = all[list].n;
    return all[list].columns;
}

static void set_number(struct table *t, size_t column, uint64_t value)
{
    table_setf(t, column, "%" PRIu64, value);
}

/* Many bytes are shortened: 1.2M. */
static void set_amount(struct table *t, size_t column, double value)
{
    char text[WORD_BYTES];

    view_number(value < 0 ? -value : value, text, sizeof(text));
    table_setf(t, column, "%s%s", value < 0 ? "-" : "", text);
}

/* A count, or how fast it grows. */
static void set_count(struct table *t, size_t column, uint64_t total, const double *rates,
                      enum rate rate)
{
    char text[WORD_BYTES];

    if (rates) {
        view_number(rates[rate], text, sizeof(text));
        table_setf(t, column, "%s/s", text);
    } else {
        set_number(t, column, total);
    }
}

static void set_ms(struct table *t, size_t column, uint64_t ms)
{
    char text[WORD_BYTES];

    table_set(t, column, word_of_ms(ms, text));
}

static void row_of_client(struct table *t, const struct bus_inside_client *c, const double *rates)
{
    char word[WORD_BYTES], slow[SLOW_BYTES];
    size_t i = 0;

    set_number(t, i++, c->connection_id);
    table_set(t, i++, c->name);
    set_number(t, i++, c->pid);
    set_number(t, i++, c->uid);
    table_set(t, i++, c->is_monitor ? "monitor" : word_of_state(c->state, word));
    set_ms(t, i++, c->idle_ms);
    set_count(t, i++, c->published_messages, rates, RATE_PUBLISHED);
    set_count(t, i++, c->delivered_messages, rates, RATE_DELIVERED);
    set_count(t, i++, c->lost_messages, rates, RATE_LOST);
    set_number(t, i++, c->queued_messages);
    set_amount(t, i++, (double) c->queued_bytes);
    set_amount(t, i++, (double) c->charged_bytes);
    set_number(t, i++, c->subscriptions);
    set_number(t, i++, c->topics);
    table_set(t, i, word_of_slowness(c, slow));
}

static void row_of_topic(struct table *t, const struct bus_inside_topic *e, const double *rates)
{
    size_t i = 0;

    table_set(t, i++, e->name);
    set_count(t, i++, e->published_messages, rates, RATE_PUBLISHED);
    set_count(t, i++, e->delivered_messages, rates, RATE_DELIVERED);
    set_count(t, i++, e->lost_messages, rates, RATE_LOST);
    set_number(t, i++, e->publishers);
    set_number(t, i++, e->subscriptions);
    set_number(t, i++, e->retained_messages);
    set_amount(t, i, (double) e->retained_bytes);
}

static void row_of_subscription(struct table *t, const struct bus_inside_subscription *s)
{
    char word[WORD_BYTES];
    size_t i = 0;

    set_number(t, i++, s->connection_id);
    set_number(t, i++, s->subscription);
    table_set(t, i++, s->filter);
    table_set(t, i++, s->group);
    /* SUBSCRIBE {flags} 32: docs/protocol.md, section 12 */
    table_set(t, i++, s->flags & 32 ? "serves" : word_of_policy(s->policy, word));
    set_number(t, i++, s->window_messages);
    set_number(t, i++, s->used_messages);
    set_number(t, i++, s->queue_messages);
    set_number(t, i++, s->queued_messages);
    set_amount(t, i++, (double) s->queued_bytes);
    set_ms(t, i++, s->waiting_ms);
    table_set(t, i, s->slow ? word_of_slow(s->slow, word) : s->is_draining ? "drains" : "");
}

static void row_of_group(struct table *t, const struct bus_inside_group *g)
{
    char word[WORD_BYTES];
    size_t i = 0;

    table_set(t, i++, g->filter);
    table_set(t, i++, g->name);
    table_set(t, i++, word_of_policy(g->policy, word));
    set_number(t, i++, g->members);
    set_number(t, i++, g->ready_members);
    set_number(t, i++, g->queued_messages);
    set_amount(t, i++, (double) g->queued_bytes);
    set_number(t, i++, g->unacknowledged_messages);
    set_number(t, i++, g->returned_messages);
    set_number(t, i++, g->lost_messages);
    set_amount(t, i++, (double) g->charged_bytes);
    set_ms(t, i, g->waiting_ms);
}

static void row_of_quota(struct table *t, const struct bus_inside_quota *q)
{
    if (q->is_total) {
        table_set(t, 0, "all");
    } else {
        set_number(t, 0, q->uid);
    }
    table_set(t, 1, q->slot);
    set_number(t, 2, q->used);
    set_number(t, 3, q->limit);
    table_setf(t, 4, "%.1f", q->limit ? 100.0 * (double) q->used / (double) q->limit : 0.0);
}

static void row_of_closed(struct table *t, const struct bus_inside_closed *c)
{
    char word[WORD_BYTES];
    size_t i = 0;

    table_set(t, i++, word_of_time(c->until_ns, word));
    if (c->connection_id) {
        set_number(t, i++, c->connection_id);
    } else {
        table_setf(t, i++, "refused %" PRIu64 "x", c->times);
    }
    table_set(t, i++, c->name);
    set_number(t, i++, c->pid);
    set_number(t, i++, c->uid);
    set_ms(t, i++, c->until_ns > c->since_ns ? (c->until_ns - c->since_ns) / 1000000 : 0);
    set_number(t, i++, c->published_messages);
    set_number(t, i++, c->delivered_messages);
    set_number(t, i++, c->lost_messages);
    table_set(t, i++, c->reason ? word_of_goodbye(c->reason, word) : "broke");
    table_set(t, i, c->text);
}

static void row_of_counter(struct table *t, const struct bus_inside_counter *c, const double *rates)
{
    table_set(t, 0, c->name);
    set_number(t, 1, c->value);
    if (rates) {
        set_amount(t, 2, rates[RATE_VALUE]);
    }
}

void row_add(struct table *t, const struct bus_inside_entry *entry, const double *rates)
{
    table_begin_row(t);
    if (t->is_failed) {
        return;
    }
    if (entry->client) {
        row_of_client(t, entry->client, rates);
    } else if (entry->topic) {
        row_of_topic(t, entry->topic, rates);
    } else if (entry->subscription) {
        row_of_subscription(t, entry->subscription);
    } else if (entry->group) {
        row_of_group(t, entry->group);
    } else if (entry->quota) {
        row_of_quota(t, entry->quota);
    } else if (entry->closed) {
        row_of_closed(t, entry->closed);
    } else {
        row_of_counter(t, entry->counter, rates);
    }
}
