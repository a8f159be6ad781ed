/* SPDX-License-Identifier: MIT */
#include "core/reclaim.h"
#include <utlist.h>
#include "base/units.h"
#include "core/exceeded.h"
#include "core/member.h"
#include "core/state.h"

/* So large a part of a bound is made free at a time. */
#define PIECES 64u
/* So many queues, of so many connections, in one go. */
#define TRIES_MAX 16u
#define AGE_MS_MAX 3600000u

/* What is to be done for whom. */
struct reclaim {
    struct peer *asking;
    struct quota *bound;
    uint64_t target; /* for what is used of it */
};

static bool is_done(const struct reclaim *c)
{
    return c->bound->used <= c->target;
}

/* What waits for it, about as it is charged. */
static uint64_t held_by(const struct peer *p)
{
    return p->queued_bytes + p->queued_messages * sizeof(struct message);
}

/* ---- one queue ---- */

static bool drops_newest(const struct sub *s)
{
    return s->policy == BUS_POLICY_DROP_NEWEST;
}

static bool queue_give(struct sub *s)
{
    struct peer *p = s->peer;
    struct subq *q = &s->queue->q;
    bool is_over = p->state == PEER_CLOSING && !p->group;
    const struct message *m;
    uint64_t bytes = 0;

    m = drops_newest(s) ? subq_newest(q) : subq_oldest(q);
    if (!m) {
        return false;
    }
    m->topic->lost_messages += !is_over;
    if (!(drops_newest(s) ? subq_evict_newest(q, BUS_LOSS_NO_MEMORY, &bytes)
                          : subq_evict(q, BUS_LOSS_NO_MEMORY, &bytes))) {
        return false;
    }
    if (is_over) { /* nobody is left to be told of a loss */
        p->router->counters.messages_discarded++;
    } else {
        sub_count_lost(s, BUS_LOSS_NO_MEMORY, 1);
    }
    sub_count_queued(s, -1, -(int64_t) bytes);
    p->router->work++;
    return true;
}

/* Its policy as far as it is more than which message goes. */
static void policy_enforce(struct sub *s)
{
    if (s->peer->state == PEER_CLOSING && !s->peer->group) {
        subq_release_all(&s->queue->q, publish_release); /* what goes now must not keep credit */
        return;
    }
    if (s->policy == BUS_POLICY_BLOCK) {
        sub_end_blocking(s);
    } else if (s->policy == BUS_POLICY_DISCONNECT) {
        peer_end(s->peer, BUS_GOODBYE_SLOW_CONSUMER, "a subscription with policy disconnect");
    }
}

/* A group has a queue for all its members; the gap in it is told with what comes behind it. */
static uint32_t messages_left(const struct sub *s)
{
    return s->peer->group ? 1 : 0;
}

/* Until that is met, or there is nothing that may go. */
static void queue_shorten(struct sub *s, const struct reclaim *c)
{
    struct subq *q;

    policy_enforce(s);
    if (!sub_queue(s)) {
        return; /* a group has found that the time of all that waited was over */
    }
    q = &s->queue->q;
    while (!is_done(c) && q->n_messages > messages_left(s) && queue_give(s)) {
    }
    subq_shrink(q);
    if (q->n_messages == 0 && s->peer->state == PEER_READY) {
        sub_wait(s); /* the gap has nothing before it: but not now, for queues are being walked */
        peer_retry_later(s->peer);
    }
}

/* ---- one connection, or group ---- */

static bool may_give(const struct sub *s, const struct reclaim *c, uint64_t at_least)
{
    const struct sub_queue *sq = sub_queue(s);

    /* whoever asks is not to be ended in the middle of what it asks for */
    if (!sq || (s->peer == c->asking &&
                (s->policy == BUS_POLICY_BLOCK || s->policy == BUS_POLICY_DISCONNECT))) {
        return false;
    }
    return sq->q.n_messages > messages_left(s) &&
           sq->q.bytes + sq->q.n_messages * sizeof(struct message) >= at_least;
}

/* Its large queues in turn: those of at least half the usual size, which have half of it all. */
static void payer_shorten(struct peer *p, const struct reclaim *c)
{
    uint64_t at_least = held_by(p) / (2 * (uint64_t) MAX(p->n_subs_max, 1u));

    if (p->group) {
        if (p->group->face && may_give(p->group->face, c, 0)) {
            queue_shorten(p->group->face, c);
        }
        return;
    }
    for (uint32_t i = 0; i < p->n_subs_max && !is_done(c); i++) {
        struct sub *s;

        p->reclaim_at = p->reclaim_at < p->n_subs_max ? p->reclaim_at : 0;
        s = p->subs[p->reclaim_at];
        p->router->work++;
        if (s && may_give(s, c, at_least)) {
            queue_shorten(s, c);
        }
        p->reclaim_at += !is_done(c);
    }
}

/* ---- who ---- */

/* How many of one user have something waiting. */
static uint32_t payers_of(const struct user *u)
{
    const struct peer *p;
    uint32_t n = 0;

    DL_FOREACH2(u->payers, p, user_next)
    {
        n += p->queued_messages > 0;
    }
    return n;
}

static uint64_t soft_share(const struct user *u)
{
    return MAX(u->bytes.limit / 2 / MAX(payers_of(u), 1u), SOFT_SHARE_MIN);
}

/* The longer it has made no progress, and the more it holds, the sooner it pays; whoever keeps
 * within its share only after all others. */
static uint64_t weight_of(const struct peer *p, uint64_t share)
{
    uint64_t age_ms = (p->router->now.monotonic_ns - p->progress_ns) / NS_PER_MS;
    uint64_t held = held_by(p);

    if (p->state == PEER_CLOSING && !p->group) {
        return UINT64_MAX - 1; /* it goes anyway */
    }
    held = MIN(held, UINT64_C(1) << 40) * (MIN(age_ms, AGE_MS_MAX) + 1);
    return held_by(p) > share ? held + (UINT64_C(1) << 63) : held;
}

/* The one that is to pay, of those that weigh less than the last one did; NULL if there is none. */
static struct peer *payer_find(const struct user *u, uint64_t share, uint64_t *below)
{
    struct peer *found = NULL, *p;
    uint64_t most = 0;

    DL_FOREACH2(u->payers, p, user_next)
    {
        uint64_t weight = p->queued_messages > 0 ? weight_of(p, share) : 0;

        p->router->work++;
        if (weight > most && weight < *below) {
            found = p;
            most = weight;
        }
    }
    *below = most;
    return found;
}

/* All users have the same share in what the router may hold: so whoever holds the most is the
 * furthest beyond it. */
static struct user *user_find(const struct router *r, uint64_t below)
{
    struct user *found = NULL, *u;

    DL_FOREACH (r->users.list, u) {
        if (u->bytes.used < below && (!found || u->bytes.used > found->bytes.used) &&
            payers_of(u) > 0) {
            found = u;
        }
    }
    return found;
}

/* ---- room ---- */

/* The payers of one user, the heaviest first, until the bound is met. False if whoever asks had its
 * turn: nobody pays for one that holds more. */
static bool user_shorten(struct user *u, const struct reclaim *c)
{
    uint64_t share = soft_share(u), below = UINT64_MAX;

    for (unsigned i = 0; i < TRIES_MAX && !is_done(c); i++) {
        struct peer *p = payer_find(u, share, &below);

        if (p) {
            payer_shorten(p, c);
        }
        if (!p || p == c->asking) {
            return !p;
        }
    }
    return true;
}

static void bound_shorten(const struct reclaim *c)
{
    struct router *r = c->asking->router;
    uint64_t below = UINT64_MAX;

    if (c->bound != &r->quota) {
        (void) user_shorten(c->asking->user, c);
        return;
    }
    for (unsigned i = 0; i < TRIES_MAX && !is_done(c); i++) {
        struct user *u = user_find(r, below);

        if (!u) {
            return;
        }
        below = u->bytes.used;
        if (!user_shorten(u, c) || u == c->asking->user) {
            return;
        }
    }
}

/* What is to be left in use: with room for so much more, and a piece besides. */
static uint64_t target_of(const struct quota *bound, uint64_t bytes)
{
    uint64_t room = MAX(bytes, bound->limit / PIECES);

    return bound->limit > room ? bound->limit - room : 0;
}

static struct quota *bound_of(struct quota *q, uint64_t bytes)
{
    while (q && quota_fits(q, bytes)) {
        q = q->parent;
    }
    return q;
}

bool room_make(struct peer *p, uint64_t bytes)
{
    struct router *r = p->router;
    struct reclaim c = {p, NULL, 0};

    for (unsigned i = 0; i < 2 && (c.bound = bound_of(&p->quota, bytes)); i++) {
        if ((c.bound != &r->quota && c.bound != &p->user->bytes) ||
            p->full_ns == r->now.monotonic_ns) {
            return false;
        }
        excess_note(p, c.bound, bytes);
        c.target = target_of(c.bound, bytes);
        bound_shorten(&c);
        if (!quota_fits(c.bound, bytes)) {
            p->full_ns = r->now.monotonic_ns; /* to look again in this dispatch would not help */
            return false;
        }
    }
    return quota_allows(&p->quota, bytes);
}

bool room_make_for(struct sub *s, uint64_t bytes)
{
    return !quota_allows(&s->peer->quota, bytes) && room_make(s->peer, bytes);
}

bool room_make_in(struct sub *s, const struct message *m)
{
    return room_make_for(s, sub_queue(s) ? subq_needs(&s->queue->q, m) : sizeof(struct sub_queue));
}
