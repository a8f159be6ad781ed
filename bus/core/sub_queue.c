/* SPDX-License-Identifier: MIT */
#include "core/sub_queue.h"
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <utlist.h>
#include "core/pace.h"
#include "core/reliance.h"
#include "core/replay.h"
#include "core/state.h"

static struct sub_queue *queue_new(struct sub *s)
{
    struct sub_queue *sq = calloc(1, sizeof(*sq));

    if (sq) {
        sq->sub = s;
        sq->began_ns = sq->moved_ns = s->peer->router->now.monotonic_ns;
        charge_init(&sq->charge, &s->peer->quota);
        charge_force(&sq->charge, sizeof(*sq)); /* allowed, as the caller has seen */
        subq_init(&sq->q, &sq->charge);
        sq->q.wants_fds = s->flags & SUB_DESCRIPTORS;
        sq->q.bounds_fds = s->policy != BUS_POLICY_BLOCK;
    }
    return sq;
}

static struct sub_queue *queue_make(struct sub *s)
{
    struct sub_queue *sq = queue_new(s);

    if (sq) {
        sq->q.starved = (struct gap){s->starved_count, s->starved_count > 0 ? s->starved_bytes : 0};
        s->starved_count = 0;
        s->queue = sq;
    }
    return sq;
}

struct sub_queue *queue_get(struct sub *s)
{
    if (sub_queue(s)) {
        return s->queue;
    }
    return quota_allows(&s->peer->quota, sizeof(struct sub_queue)) ? queue_make(s) : NULL;
}

bool sub_force_queue(struct sub *s)
{
    return sub_queue(s) || queue_make(s);
}

bool sub_make_queue(struct sub *s)
{
    return queue_get(s) != NULL;
}

void stalling_remove(struct sub_queue *sq)
{
    if (sq->is_stalling) {
        DL_DELETE2(sq->sub->peer->router->stalling, sq, stalling_prev, stalling_next);
        sq->is_stalling = false;
    }
}

void stalling_append(struct sub_queue *sq)
{
    struct router *r = sq->sub->peer->router;

    stalling_remove(sq);
    sq->progress_ns = r->now.monotonic_ns;
    sq->is_stalling = true;
    DL_APPEND2(r->stalling, sq, stalling_prev, stalling_next);
}

void sub_note_progress(struct sub *s)
{
    s->peer->progress_ns = s->peer->router->now.monotonic_ns;
    if (sub_queue(s) && s->queue->is_stalling) {
        stalling_append(s->queue);
    }
    if (UNLIKELY(sub_reliance(s) != NULL)) {
        reliance_progress(s->queue->reliance);
    }
}

void queue_free(struct sub *s)
{
    struct sub_queue *sq = s->queue;

    stalling_remove(sq);
    assert(!sq->replay && !sq->pacer && !sq->reliance);
    sub_count_queued(s, -(int64_t) sq->q.n_messages, -(int64_t) sq->q.bytes);
    s->peer->router->counters.messages_discarded += sq->q.n_messages;
    subq_fini(&sq->q, publish_release);
    charge_fini(&sq->charge);
    free(sq);
    s->queue = NULL;
}

void queue_trim(struct sub *s)
{
    struct sub_queue *sq = s->queue;

    if (!sq->pacer && !sq->reliance) {
        queue_free(s);
    } else if (!sq->pacer) {
        subq_fini(&sq->q, publish_release); /* which leaves an empty one */
    }
}

/* The field of a neighbour, or of the peer, that names the one before or after. */
static uint32_t *waiting_next_of(struct peer *p, uint32_t number)
{
    return number ? &p->subs[number - 1]->waiting_next : &p->waiting;
}

static uint32_t *waiting_prev_of(struct peer *p, uint32_t number)
{
    return number ? &p->subs[number - 1]->waiting_prev : &p->waiting_last;
}

void sub_unwait(struct sub *s)
{
    if (s->is_waiting) {
        *waiting_next_of(s->peer, s->waiting_prev) = s->waiting_next;
        *waiting_prev_of(s->peer, s->waiting_next) = s->waiting_prev;
        s->is_waiting = false;
    }
}

static void waiting_set(struct sub *s)
{
    struct peer *p = s->peer;

    sub_unwait(s);
    s->is_waiting = true;
    s->waiting_prev = p->waiting_last;
    s->waiting_next = 0;
    *waiting_next_of(p, p->waiting_last) = sub_id(s);
    p->waiting_last = sub_id(s);
}

void sub_wait(struct sub *s)
{
    if (!s->is_waiting) {
        waiting_set(s); /* its place is kept: peer_pump_waiting() goes up to the last one */
    }
}

/* ---- the end ---- */

/* Discards what waits, a message or a gap for each unit. False if something is left. */
static bool waiting_drop(struct sub *s, struct subq *q, unsigned *budget)
{
    struct subq_bounds bounds = sub_bounds(s);

    for (; q->n_messages > 0; (*budget)--) {
        uint32_t n = q->n_messages;
        uint64_t bytes = q->bytes;

        if (*budget == 0) {
            return false;
        }
        subq_pop(q, &bounds, publish_release);
        s->peer->router->counters.messages_discarded += n - q->n_messages;
        sub_count_queued(s, (int64_t) q->n_messages - (int64_t) n,
                         (int64_t) q->bytes - (int64_t) bytes);
    }
    return true;
}

bool queue_drop(struct sub *s, unsigned *budget)
{
    struct sub_queue *sq = sub_queue(s);

    if (!sq) {
        return true;
    }
    if (sq->replay) {
        if (!waiting_drop(s, &sq->replay->q, budget)) {
            return false;
        }
        replay_free(s);
    }
    if (!pacer_drop(s, budget) || !waiting_drop(s, &sq->q, budget)) {
        return false;
    }
    queue_free(s);
    return true;
}

void sub_drop_queue(struct sub *s)
{
    unsigned all = UINT_MAX;

    (void) queue_drop(s, &all);
}
