/* SPDX-License-Identifier: MIT */
#include "core/drain.h"
#include <utlist.h>
#include "base/macros.h"
#include "core/over.h"
#include "core/pace.h"
#include "core/request.h"
#include "core/state.h"

/* Its number fits into the set from here on. */
bool drain_reserve(struct sub *s)
{
    struct peer *p = s->peer;

    if (!peer_set_add(p, &p->drained, sub_id(s))) {
        return false;
    }
    idset_remove(&p->drained, sub_id(s));
    return true;
}

/* False if limits or memory forbid. */
static bool drain_mark(struct sub *s)
{
    if (!drain_reserve(s)) {
        return false;
    }
    alarm_drop(s);
    s->flags |= SUB_DRAINING;
    return true;
}

bool drain_begin(struct sub *s)
{
    if (!drain_mark(s)) {
        return false;
    }
    if (s->flags & SUB_SERVE) {
        server_drain(s);
    } else if (s->flags & SUB_MEMBER) {
        member_drain(s);
    } else {
        interest_note_sub(s);
        pacer_flush(s); /* nothing comes that would replace it */
    }
    return true;
}

bool drain_is_over(const struct sub *s)
{
    if (s->flags & SUB_SERVE) {
        return server_is_idle(s);
    }
    return !sub_has_backlog(s) && (!sub_pacer(s) || sub_pacer(s)->n_waiting == 0) &&
           (!(s->flags & SUB_MEMBER) || member_is_idle(s));
}

static void drains_append(struct peer *p)
{
    if (!p->is_draining) {
        p->is_draining = true;
        DL_APPEND2(p->router->draining, p, draining_prev, draining_next);
    }
}

void drains_drop(struct peer *p)
{
    if (p->is_draining) {
        p->is_draining = false;
        DL_DELETE2(p->router->draining, p, draining_prev, draining_next);
    }
}

void drain_note(struct sub *s)
{
    if (!s->is_ended && s->peer->state == PEER_READY) {
        (void) idset_add(&s->peer->drained, sub_id(s)); /* there is room for it */
        drains_append(s->peer);
    }
}

static void drain_finish(struct peer *p, uint32_t number)
{
    struct sub *s = p->subs[number - 1];

    idset_remove(&p->drained, number);
    /* the number may be another subscription's by now */
    if (s && (s->flags & SUB_DRAINING) && drain_is_over(s)) {
        p->router->counters.subscriptions_drained++;
        unsubscribe_finish(s);
    } else if (s && s->is_over) {
        over_end(s);
    }
}

/* Those of one peer. */
static void peer_finish(struct peer *p, unsigned *budget)
{
    for (uint32_t i = 0; i < p->drained.n_words; i++) {
        while (p->drained.words[i] && p->state == PEER_READY) {
            uint64_t begin = p->router->work;

            if (*budget == 0) {
                drains_append(p);
                return;
            }
            p->router->work++;
            drain_finish(p, i * 64 + (uint32_t) __builtin_ctzll(p->drained.words[i]));
            *budget -= (unsigned) MIN(p->router->work - begin, *budget);
        }
    }
}

void drains_finish(struct router *r, unsigned budget)
{
    while (r->draining && budget > 0) {
        struct peer *p = r->draining;

        drains_drop(p); /* it may become one again: what ends here may be what another waits for */
        peer_finish(p, &budget);
    }
}

/* ---- built up again ---- */

bool drain_restore(struct sub *s)
{
    if (!drain_mark(s)) {
        return false;
    }
    if (s->flags & SUB_MEMBER) {
        member_restore_draining(s);
    }
    return true;
}
