/* SPDX-License-Identifier: MIT */
#pragma once
/* At most one message of each topic in an interval, the newest, for subscriptions that asked for
 * it: docs/protocol.md, section 14. */

#include <stdbool.h>
#include <stdint.h>
#include "core/sub.h"
#include "core/table.h"
#include "core/timers.h"

struct message;

/* A topic of which something has gone less than an interval ago. */
struct pace {
    struct sub *sub;          /* owner */
    struct match *match;      /* of its topic, to which this is a reference */
    struct pace *prev, *next; /* pacer.list */
    struct message *waiting;  /* the newest, or NULL */
    uint32_t round;           /* pacer.round when that came */
    struct gap conflated;     /* those it has replaced: lost, and not yet told */
    struct timer timer;       /* the end of the interval */
};

struct pacer {
    struct table by_topic; /* of pace, by topic id */
    struct pace *list;
    uint64_t interval_ns;
    uint64_t waiting_bytes;
    uint32_t n_waiting;
    uint32_t round; /* for reliance.c: what came in an earlier one is old, */
    uint32_t n_old; /* so many of those that wait */
    uint32_t n_fds; /* descriptors that wait with these */
};

/* The subscription has a queue of its own by sub_make_queue(). False if limits or memory forbid. */
bool pacer_new(struct sub *s, uint32_t interval_ms);
/* Discards everything, a topic for each unit, and then itself. False if something is left. There
 * may be none. */
bool pacer_drop(struct sub *s, unsigned *budget);
/* A message is published: it goes now, or waits and replaces the one before. */
struct sub_outcome pace_message(struct sub *s, struct match *match,
                                const struct message_parts *parts, struct message **message);
/* What waits is old from now on. */
void pacer_begin_round(struct pacer *pacer);
/* What waits goes now. There may be no pacer. */
void pacer_flush(struct sub *s);
/* What waits of that match, or with NULL everything, is lost for that reason, and its place in the
 * interval forgotten. There may be no pacer. */
void pacer_lose(struct sub *s, const struct match *match, enum bus_loss_reason reason);
/* A topic whose interval has begun in another router, and what waits for its end, or NULL. False if
 * out of memory, or it cannot be. */
bool pace_restore(struct sub *s, struct match *match, struct message *m,
                  const struct gap *conflated, uint64_t end_ns);
/* Asserts the invariants; for tests. */
void pacer_check(const struct pacer *pacer);
