/* SPDX-License-Identifier: MIT */
#pragma once
/* One subscription: its filter, its credit, its queue. Owned by its peer. Kept small: a client may
 * have 100,000 of them. */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/quota.h"
#include "core/subq.h"
#include "wire/hot.h"

struct filter_node;
struct match;
struct message_parts;
struct peer;

/* A subscription's queue and, for policy block, how long it has made no progress. */
struct sub_queue {
    struct subq q;
    struct sub *sub;                 /* owner */
    struct sub_queue *stalling_prev; /* router.stalling, in order of progress_ns */
    struct sub_queue *stalling_next;
    uint64_t progress_ns; /* last credit, or when it began to hold publishers up */
    bool is_stalling;
};

struct sub {
    struct peer *peer;          /* owner */
    struct filter_node *filter; /* where it is in the trie */
    struct sub *filter_prev;    /* filter_node.subs */
    struct sub *filter_next;
    struct match *matches;    /* of match.sub_next: topics that have found this subscription */
    struct sub_queue *queue;  /* NULL until something has to wait */
    struct gap starved;       /* lost when there was no memory even for a queue */
    struct sub *waiting_prev; /* peer.waiting: could go on if the output had room */
    struct sub *waiting_next;
    struct charge charge;
    int64_t credit_bytes;
    uint64_t window_bytes;
    uint64_t queue_bytes;
    uint64_t mark; /* topics.mark of the last resolve that saw it */
    uint32_t queue_messages;
    uint32_t credit_messages;
    uint32_t window_messages;
    uint32_t id;
    uint8_t policy;                      /* enum bus_policy */
    uint8_t flags;                       /* SUB_ flags */
    uint8_t field_bytes;                 /* length of field */
    uint8_t field[HOT_SUBSCRIPTION_MAX]; /* the subscription field of its MESSAGE headers */
    bool is_waiting;                     /* on peer.waiting */
};

enum { SUB_NO_LOCAL = 1, SUB_DESCRIPTORS = 2, SUB_FLAGS = SUB_NO_LOCAL | SUB_DESCRIPTORS };

static inline bool sub_has_credit(const struct sub *s)
{
    return s->credit_messages > 0 && s->credit_bytes > 0;
}

static inline void sub_take_credit(struct sub *s, uint32_t size)
{
    s->credit_messages--;
    s->credit_bytes -= size;
}

static inline bool sub_has_backlog(const struct sub *s)
{
    return s->starved.count > 0 || (s->queue && !subq_is_empty(&s->queue->q));
}

static inline struct subq_bounds sub_bounds(const struct sub *s)
{
    return (struct subq_bounds){s->queue_messages, s->queue_bytes};
}

/* What became of a message for a subscription. */
struct sub_outcome {
    enum bus_verdict verdict;
    enum bus_loss_reason reason; /* if dropped */
    uint32_t evicted;            /* older messages that had to go */
};

/* Sends the message now if nothing is in its way. False if it has to wait. */
bool sub_send(struct sub *s, struct match *match, const struct message_parts *parts);
/* Otherwise: queue, or what the policy says. *message is made from parts when the first
 * subscription needs it. */
struct sub_outcome sub_enqueue(struct sub *s, struct match *match,
                               const struct message_parts *parts, struct message **message);
/* Notes a loss and sends the notice as soon as its place has come. Cannot fail. */
void sub_lose(struct sub *s, enum bus_loss_reason reason, uint64_t count, uint64_t bytes);
/* Sends what waits, as far as credit and output allow. */
void sub_pump(struct sub *s);
/* The client has given credit back: more room, and a sign of progress. */
void sub_add_credit(struct sub *s, uint32_t messages, uint64_t bytes);
/* It may no longer block publishers. */
void sub_end_blocking(struct sub *s);

/* Ends a subscription: out of the trie, the queue discarded, memory released. */
void sub_free(struct sub *s);
