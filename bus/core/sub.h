/* SPDX-License-Identifier: MIT */
#pragma once
/* One subscription: its filter, its credit, its queue. Owned by its peer. Kept small, for a client
 * may have 100,000 of them: docs/decisions/021-small-subscriptions.md. */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/filters.h"
#include "core/quota.h"
#include "core/subq.h"

struct match;
struct message;
struct message_extra;
struct message_parts;
struct pacer;
struct peer;
struct reliance;
struct sender;
struct server;
struct user;
struct replay;

/* A subscription's queue and, for policy block, how long it has made no progress. */
struct sub_queue {
    struct subq q;
    struct replay *replay;           /* what was kept, and goes first; NULL when that is done */
    struct pacer *pacer;             /* NULL: no min_interval_ms */
    struct reliance *reliance;       /* NULL before it has got reliable messages */
    struct charge charge;            /* itself and the queue */
    struct sub *sub;                 /* owner */
    struct sub_queue *stalling_prev; /* router.stalling, in order of progress_ns */
    struct sub_queue *stalling_next;
    uint64_t began_ns;    /* since when something has been waiting without a break */
    uint64_t moved_ns;    /* when something of it went last */
    uint64_t progress_ns; /* last credit, or when it began to hold publishers up */
    bool is_stalling;
};

/* Numbers of subscriptions are below 2^21: tag and varint of such a field. */
#define SUB_FIELD_BYTES 4u
/* Of sub.window. */
#define SUB_WINDOW_MAX ((1u << 30) - 1)

/* First what each message needs. Behind the struct is the text of its filter or its filter_node, as
 * filters_add() says. */
struct sub {
    struct peer *peer;      /* owner */
    uint64_t starved_count; /* lost when there was no memory even for a queue */
    union {
        struct sub_queue *queue; /* NULL until something has to wait */
        uint64_t starved_bytes;  /* while starved_count > 0: there is no queue then */
        struct server *server;   /* with SUB_SERVE; NULL once it has ended */
    };
    int64_t credit_bytes;
    uint32_t credit_messages;
    uint32_t window : 30;           /* number of its sub_window */
    uint32_t is_narrow : 1;         /* its client wants those topics that it may get */
    uint32_t is_denied : 1;         /* it has lost its right, and is about to end */
    uint8_t field[SUB_FIELD_BYTES]; /* the subscription field of its MESSAGE headers: its number */
    uint8_t field_bytes : 4;        /* length of field */
    uint8_t is_over : 1;            /* by over_note(): it is about to end */
    uint8_t is_put_off : 1;         /* it serves, and goes on when all has been judged */
    uint8_t flags;                  /* SUB_ flags */
    uint8_t filter_len;             /* if place is FILTER_EXACT */
    uint8_t policy : 3;             /* enum bus_policy */
    uint8_t place : 2;              /* enum filter_place */
    bool is_waiting : 1;            /* on peer.waiting */
    bool is_marked : 1;             /* during topic_resolve() */
    bool is_ended : 1;              /* by sub_end() */
    struct match *matches;   /* of match.sub_next: topics that have found this subscription */
    struct sub *filter_prev; /* filter_node.subs, or those of the same text */
    struct sub *filter_next;
    uint32_t waiting_prev; /* peer.waiting, by number: for room, a lease or a PONG */
    uint32_t waiting_next;
};

enum {
    SUB_NO_LOCAL = 1,
    SUB_DESCRIPTORS = 2,
    SUB_ACK = 8,
    SUB_STICKY = 16,
    SUB_SERVE = 32,
    /* the router's own, not on the wire: */
    SUB_DRAINING = 4, /* by drain_begin() */
    SUB_ALARM = 64,   /* it has one */
    SUB_MEMBER = 128, /* it is a struct member */
    /* those that are understood, besides SUBSCRIBE_NARROW */
    SUB_FLAGS = SUB_NO_LOCAL | SUB_DESCRIPTORS | SUB_ACK | SUB_STICKY | SUB_SERVE
};

/* On the wire alone: sub.is_narrow. */
#define SUBSCRIBE_NARROW 64u

static inline bool sub_has_credit(const struct sub *s)
{
    return s->credit_messages > 0 && s->credit_bytes > 0;
}

static inline void sub_take_credit(struct sub *s, uint32_t size)
{
    s->credit_messages--;
    s->credit_bytes -= size;
}

/* NULL if there is none. */
static inline struct sub_queue *sub_queue(const struct sub *s)
{
    return s->starved_count > 0 || (s->flags & SUB_SERVE) ? NULL : s->queue;
}

static inline bool sub_has_backlog(const struct sub *s)
{
    return s->starved_count > 0 || (s->queue && (!subq_is_empty(&s->queue->q) || s->queue->replay));
}

/* What it gets now was kept. */
static inline bool sub_is_replaying(const struct sub *s)
{
    return sub_queue(s) && s->queue->replay;
}

static inline struct pacer *sub_pacer(const struct sub *s)
{
    return sub_queue(s) ? s->queue->pacer : NULL;
}

static inline struct reliance *sub_reliance(const struct sub *s)
{
    return sub_queue(s) ? s->queue->reliance : NULL;
}

/* Whether a new message may pass by the queue. */
static inline bool sub_is_open(const struct sub *s)
{
    return s->starved_count == 0 &&
           (!s->queue || (subq_is_empty(&s->queue->q) && !s->queue->replay && !s->queue->pacer));
}

/* Its number at the client, which the field holds. */
static inline uint32_t sub_id(const struct sub *s)
{
    uint32_t id = 0;

    for (unsigned i = 1; i < s->field_bytes; i++) {
        id |= (uint32_t) (s->field[i] & 0x7F) << 7 * (i - 1);
    }
    return id;
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
/* Binds the ids of topic and sender on the link, if they are not. False if out of memory. */
bool sub_introduce(struct sub *s, struct match *match, struct sender *sender);
/* sub_pump() is to be called when there is room on the link. */
void sub_wait(struct sub *s);
void sub_unwait(struct sub *s);
/* Sends it or queues it, whatever the interval is. */
struct sub_outcome sub_pass(struct sub *s, struct match *match, const struct message_parts *parts,
                            struct message **message);
/* Whether a message of this kind and size can be given to that client at all. */
bool sub_takes(const struct sub *s, const struct message *m);
/* What a queue needs that has a replay or a pacer: 0 messages and none of both yet. False if limits
 * or memory forbid. */
bool sub_make_queue(struct sub *s);
/* The same whatever the limits are. */
bool sub_force_queue(struct sub *s);
/* Takes that back. */
void sub_drop_queue(struct sub *s);
/* Notes a loss and sends the notice as soon as its place has come. Cannot fail. */
void sub_lose(struct sub *s, enum bus_loss_reason reason, uint64_t count, uint64_t bytes);
/* Sends what waits, as far as credit and output allow. */
void sub_pump(struct sub *s);
/* The client has given credit back: more room, and a sign of progress. */
void sub_add_credit(struct sub *s, uint32_t messages, uint64_t bytes);
/* It may no longer block publishers. */
void sub_end_blocking(struct sub *s);

/* ---- for groups ---- */

/* One MESSAGE into the output, with fields behind its header if extra is not NULL. False if out of
 * memory. */
bool sub_put(struct sub *s, struct match *match, const struct message_parts *parts,
             const struct message_extra *extra);
/* Whether its client can get it now, or must return something or answer first. */
bool sub_takes_cargo(const struct sub *s, const struct message *m);
/* Whether such a body can be given to that client at all. */
bool sub_fits(const struct sub *s, const struct message_parts *parts);
/* sub_pump() without what a member of a group does besides. */
void sub_pump_queue(struct sub *s);
/* The first of what waits: a message, or NULL and a gap. */
struct message *sub_front(struct sub *s, struct match **match, struct gap *gap,
                          enum bus_loss_reason *reason);
void sub_pop(struct sub *s);
bool sub_tell_loss(struct sub *s, const struct gap *gap, enum bus_loss_reason reason);
/* A loss that has been counted, behind what waits. */
void sub_note_gap(struct sub *s, enum bus_loss_reason reason, uint64_t count, uint64_t bytes);
/* A sign of progress, for policy block. */
void sub_note_progress(struct sub *s);

/* Its client has gone, so it gets nothing any more. */
bool sub_is_gone(const struct sub *s);
/* Whose it is. */
struct user *sub_user(const struct sub *s);
/* Who pays for what is noted about it. */
struct quota *sub_quota(const struct sub *s);
/* What itself and its filter are charged with. */
uint64_t sub_memory(const struct sub *s);
/* Ends a subscription: nothing finds it any more, the queue is discarded, memory released. */
void sub_free(struct sub *s);
/* The same in parts: does at most *budget units of work, which it counts down. False if the
 * subscription is still there and this is to be called again. */
bool sub_end(struct sub *s, unsigned *budget);
