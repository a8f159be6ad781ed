/* SPDX-License-Identifier: MIT */
#include "rates.h"

#include <stdlib.h>
#include <string.h>

bool rates_of_list(enum bus_inside_list list)
{
    return list == BUS_INSIDE_CLIENTS || list == BUS_INSIDE_TOPICS || list == BUS_INSIDE_COUNTERS;
}

/* Counters have no number: their names are told apart by a hash, which is enough for so few. */
static uint64_t hash(const char *name)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (; *name; name++) {
        h = (h ^ (unsigned char) *name) * UINT64_C(1099511628211);
    }
    return h;
}

static struct sample sample_of(const struct bus_inside_entry *e)
{
    struct sample s = {.time_ns = e->time_ns};

    if (e->client) {
        s.id = e->client->connection_id;
        s.since = e->client->since_ns;
        s.counts[RATE_PUBLISHED] = e->client->published_messages;
        s.counts[RATE_DELIVERED] = e->client->delivered_messages;
        s.counts[RATE_LOST] = e->client->lost_messages;
    } else if (e->topic) {
        s.id = e->topic->id;
        s.since = hash(e->topic->name);
        s.counts[RATE_PUBLISHED] = e->topic->published_messages;
        s.counts[RATE_DELIVERED] = e->topic->delivered_messages;
        s.counts[RATE_LOST] = e->topic->lost_messages;
    } else if (e->counter) {
        s.id = hash(e->counter->name);
        s.counts[RATE_VALUE] = e->counter->value;
    }
    return s;
}

bool samples_add(struct samples *s, const struct bus_inside_entry *entry)
{
    if (s->n == s->n_allocated) {
        size_t n = s->n_allocated ? 2 * s->n_allocated : 256;
        struct sample *more = reallocarray(s->all, n, sizeof(*more));

        if (!more) {
            return false;
        }
        s->all = more;
        s->n_allocated = n;
    }
    s->all[s->n++] = sample_of(entry);
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

bool samples_rates(struct samples *s, const struct bus_inside_entry *entry, double rates[RATES])
{
    struct sample now = sample_of(entry);
    const struct sample *before;

    if (!s->is_sorted && s->n > 0) {
        qsort(s->all, s->n, sizeof(*s->all), compare);
        s->is_sorted = true;
    }
    before = s->n > 0 ? bsearch(&now, s->all, s->n, sizeof(*s->all), compare) : NULL;
    if (!before || before->since != now.since || now.time_ns <= before->time_ns) {
        return false;
    }
    for (unsigned i = 0; i < RATES; i++) {
        /* of what goes up and down, it is how fast */
        rates[i] = ((double) now.counts[i] - (double) before->counts[i]) * 1e9 /
                   (double) (now.time_ns - before->time_ns);
    }
    return true;
}

void samples_fini(struct samples *s)
{
    free(s->all);
    *s = (struct samples){0};
}
