/* SPDX-License-Identifier: MIT */
#pragma once
/* The topics somebody has advertised or that messages wait for, each with the subscriptions that
 * match it, so that publishing walks an array and looks nothing up. A topic finds new wildcard
 * subscriptions when it is next published to: adding one costs nothing per topic. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/filters.h"
#include "core/idpool.h"
#include "core/message.h"
#include "core/table.h"

struct call_queue;
struct interest;
struct keep;
struct sub;
struct topics;

/* A topic and a subscription that match. Exists until one of them ends. */
struct match {
    struct sub *sub;
    struct topic *topic;
    struct match *sub_prev; /* sub.matches */
    struct match *sub_next;
    uint32_t latest_pos; /* policy latest: low bits of where the topic's newest message is in the
                            queue; may be past */
    uint32_t index : 31; /* in topic.matches */
    bool announced : 1;  /* TOPIC was sent on the subscriber's link */
};

struct topic {
    uint32_t refs;         /* aliases and messages */
    uint32_t id;           /* TOPIC.id; in topics.ids */
    struct topics *topics; /* not owned; outlives every topic */
    struct match **matches;
    struct match *first; /* where matches points while one place is enough */
    uint32_t n_matches;
    uint32_t n_matches_max;
    uint64_t epoch;      /* topics.epoch up to which matches is complete */
    struct keep *keep;   /* what it keeps; NULL: nobody asked for it */
    uint64_t n_reliable; /* aliases with ADVERTISE_RELIABLE */
    uint64_t published_messages;
    uint64_t published_bytes;
    uint64_t delivered_messages;
    uint64_t lost_messages;
    struct interest *interest; /* who wants to know its matches; NULL: nobody */
    uint32_t n_publishers;
    uint32_t last_server;     /* index of the match that got the last call */
    struct call_queue *calls; /* calls that wait for any server; NULL if none does */
    uint8_t len;
    char name[];
};

struct topics {
    struct table by_name;
    struct idpool ids;
    struct filters filters;
    struct message_pool messages; /* of all topics */
    uint64_t epoch;               /* grows with each wildcard subscription */
    uint64_t resolving;           /* topic_resolve(): which one, from 1; 0: none */
    uint64_t n_resolved;
    uint64_t n_counted; /* matches looked at to count those of one user: who asked pays for it */
    void (*on_new)(struct topic *t, void *userdata); /* a number is in use again */
    void (*on_matches)(struct topic *t,
                       void *userdata); /* of one with interest, there are others */
    /* there are too many of its user at a topic; false if that could not be noted */
    bool (*on_over)(struct sub *sub);
    /* so much is made free for what a subscription is charged with, which is at a bound; NULL:
     * nothing can be */
    bool (*make_room)(struct sub *sub, uint64_t bytes);
    /* whether a subscription with is_narrow gets a topic that its filter matches */
    bool (*suits)(const struct topic *t, const struct sub *sub);
    void *userdata;
};

/* A verdict of topics_add_sub(), and what its client is told. */
#define TOPICS_OVER 1
#define TOPICS_OVER_TEXT "user_matches_max: too many subscriptions of this user match that topic"

void topics_init(struct topics *ts, uint64_t seed);
void topics_fini(struct topics *ts);

/* The topic of that name with one more reference, new if need be; NULL if out of memory. */
struct topic *topics_get(struct topics *ts, const char *name, size_t len);
/* The same without a reference; NULL if there is none. */
struct topic *topics_find(const struct topics *ts, const char *name, size_t len);
struct topic *topic_ref(struct topic *t);
void topic_unref(struct topic *t);

/* Puts a subscription under its filter: 0, TOPICS_OVER if its topic matches too many of its user,
 * or -ENOMEM. */
int topics_add_sub(struct topics *ts, const char *filter, size_t len, struct sub *sub);
void topics_remove_sub(struct topics *ts, struct sub *sub);
/* Ends the matches of a subscription that was removed, at most *budget of them, which it counts
 * down. False if some are left. */
bool topics_forget_sub(struct sub *sub, unsigned *budget);

/* Ends one match. */
void topics_forget_match(struct match *m);
/* Whether a subscription whose filter matches a topic is to have it. */
bool topic_suits(const struct topic *t, const struct sub *sub);

typedef void (*topics_missing_fn)(struct sub *sub, void *ctx);

/* Completes t->matches. Those that are too many of their user are handed to on_over; subscriptions
 * that match but cannot be noted for want of memory are handed to missing, and again the next time.
 * Returns what it cost, as filters_match() counts. */
size_t topic_resolve(struct topic *t, topics_missing_fn missing, void *ctx);

/* The match of a subscription that is new and matches: noted now, if it is not yet. NULL for want
 * of memory: then it is looked for again later. */
struct match *topic_match(struct topic *t, struct sub *sub);

/* For topics that are built up again: a new one with that number and one reference. NULL if there
 * is one of that name or number, or no memory. */
struct topic *topics_restore(struct topics *ts, uint32_t id, const char *name, size_t len);
/* The next of its matches. NULL if out of memory. */
struct match *topic_restore_match(struct topic *t, struct sub *sub);

static inline bool topic_is_resolved(const struct topic *t)
{
    return t->epoch == t->topics->epoch;
}

/* Memory a topic costs whoever advertises it or keeps a message of it: itself, and its places in
 * two tables. */
static inline uint64_t topic_memory(size_t name_len)
{
    return sizeof(struct topic) + name_len + TABLE_ENTRY_BYTES + 2 * sizeof(uintptr_t);
}

/* Memory a match costs its subscription: itself, and its place in topic.matches, which is never
 * more than three times as long as it must be. */
#define MATCH_BYTES (sizeof(struct match) + 3 * sizeof(struct match *))
