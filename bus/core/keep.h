/* SPDX-License-Identifier: MIT */
#pragma once
/* What topics keep for subscriptions that come later: docs/protocol.md, section 14. A topic that
 * somebody asked to keep something has a keep, and is alive as long as that is. */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/quota.h"
#include "core/timers.h"

struct keep;
struct match;
struct message;
struct message_parts;
struct peer;
struct router;
struct sub;
struct topic;
struct wire_advertise;
struct wire_clear;

/* A message that is kept; charged to the user who published it. */
struct kept {
    struct keep *keep; /* owner */
    struct message *message;
    struct kept *prev, *next;         /* keep.list, in the router's order */
    struct kept *all_prev, *all_next; /* keeper.all, in the router's order */
    struct timer timer;               /* its end, if that is known */
    struct charge charge;             /* of the publishing user's retained quota */
    bool is_routers;                  /* a will or a dead letter: it does not go with an alias */
};

struct keep {
    struct router *router; /* not owned; outlives every topic */
    struct topic *topic;   /* a reference */
    struct kept *list;     /* of kept.next; the last is the newest */
    uint64_t bytes;
    uint32_t n, n_max;   /* n_max and ttl_ms: what those want who are there, or were the last */
    uint32_t ttl_ms;     /* 0: no end */
    uint32_t n_wishes;   /* aliases of those who want it */
    uint64_t walk;       /* the last one that came here, see keep_walk() */
    struct match *match; /* what that found; of no meaning afterwards */
};

struct keeper {
    struct kept *all; /* of kept.all_next */
    uint64_t n_walks;
};

/* An ADVERTISE that wants the topic to keep something: NULL, or why not and the status. */
const char *keep_wish(struct peer *p, const struct wire_advertise *m, struct topic *t,
                      enum bus_status *ret);
/* The alias of a topic ends, and what it wished with it. Returns how many messages it has looked
 * at.
 */
unsigned keep_unwish(struct peer *p, uint32_t alias, struct topic *t);
/* The same for the wish alone, which there is. */
void keep_lose_wish(struct peer *p, uint32_t alias, struct topic *t);

/* A place for a message that is to be published to a topic that keeps: NULL and the status if it
 * may not have one. body_bytes: of a body in a buffer too. */
struct kept *keep_prepare(struct topic *t, const struct message_parts *parts, uint64_t body_bytes,
                          enum bus_status *ret);
/* It will not be published. */
void keep_cancel(struct kept *k);
/* It was published: it is the newest now, and the oldest makes room. */
void keep_commit(struct kept *k, struct message *m);
/* Everything that the topic keeps ends; the keep too, if nobody wants it. */
void keep_clear(struct keep *k);
void keep_clear_all(struct router *r);

/* Calls visit for what topics that match a subscription keep, in the router's order: all of it, or
 * the newest of each. match is NULL if there was no memory for one. */
typedef void (*keep_visit_fn)(struct sub *s, struct match *match, struct message *m);
void keep_walk(struct sub *s, enum bus_retained retained, keep_visit_fn visit);

/* The topic keeps so much and so long, as in another router. False if out of memory. */
bool keep_restore(struct router *r, struct topic *t, uint32_t n_max, uint32_t ttl_ms);
/* What a topic kept in another router: end_ns is 0 if it has no end. False if out of memory, or the
 * topic does not keep that much. */
bool kept_restore(struct topic *t, struct message *m, uint64_t end_ns, bool is_routers);

void clear_handle(struct peer *p, const struct wire_clear *m);

/* Asserts the invariants; for tests. Returns what all users are charged with. */
uint64_t keeper_check(const struct router *r);
