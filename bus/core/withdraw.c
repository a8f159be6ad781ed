/* SPDX-License-Identifier: MIT */
#include "core/withdraw.h"
#include <utlist.h>
#include "core/judge.h"
#include "core/pace.h"
#include "core/reliance.h"
#include "core/replay.h"
#include "core/request.h"
#include "core/sub_queue.h"

/* What waits, of a match or, with NULL, all of it, is lost for that reason. */
static void waiting_lose(struct sub *s, const struct match *match, enum bus_loss_reason reason)
{
    struct subq_bounds bounds = sub_bounds(s);
    struct sub_queue *sq = sub_queue(s);
    uint64_t bytes = 0;
    uint32_t n = 0;

    if (!sq) {
        return;
    }
    if (sq->replay) {
        n += subq_lose(&sq->replay->q, match, reason, &bounds, publish_release, &bytes);
    }
    n += subq_lose(&sq->q, match, reason, &bounds, publish_release, &bytes);
    sub_count_lost(s, reason, n);
    sub_count_queued(s, -(int64_t) n, -(int64_t) bytes);
    s->peer->router->work += n;
    if (sq->is_stalling && !subq_has_held(&sq->q)) {
        stalling_remove(sq);
    }
    pacer_lose(s, match, reason);
}

/* There are no messages in it any more: neighbours of one reason are one notice. */
static void gaps_tell(struct sub *s)
{
    while (s->peer->state == PEER_READY && sub_has_backlog(s)) {
        enum bus_loss_reason reason = BUS_LOSS_NONE;
        struct match *match = NULL;
        struct gap gap = {0};
        struct wire_loss loss;

        if (sub_is_replaying(s) && subq_is_empty(&s->queue->replay->q)) {
            replay_free(s);
            continue;
        }
        (void) sub_front(s, &match, &gap, &reason);
        loss = (struct wire_loss){sub_id(s), gap.count, gap.bytes, (uint32_t) reason};
        peer_send(s->peer, VERB_LOSS, &loss);
        sub_pop(s);
    }
}

void sub_dismiss(struct sub *s, enum bus_loss_reason reason, enum bus_status code, const char *why)
{
    struct peer *p = s->peer;
    struct wire_status status = {
        .code = code, .verb = VERB_SUBSCRIBE, .subscription = sub_id(s), .text = text_from(why)};

    /* what waits for a member or a server goes to others */
    if (!(s->flags & (SUB_MEMBER | SUB_SERVE))) {
        waiting_lose(s, NULL, reason);
        gaps_tell(s);
    }
    if (p->state != PEER_READY) {
        return;
    }
    if (s->flags & SUB_DRAINING) { /* its end was asked for, and is said as that */
        unsubscribe_finish(s);
        return;
    }
    subscription_end(s);
    peer_send_status(p, &status);
}

void sub_withdraw(struct sub *s, const char *why)
{
    sub_dismiss(s, BUS_LOSS_DENIED, BUS_STATUS_DENIED, why);
}

void sub_narrow(struct sub *s)
{
    struct match *m, *next;

    DL_FOREACH_SAFE2(s->matches, m, next, sub_next)
    {
        struct topic *t = m->topic;

        if (sub_may_get(t, s)) {
            continue;
        }
        (void) topic_ref(t); /* what waits may be all that keeps it, and so the match */
        if (s->flags & SUB_SERVE) {
            server_lose(s, m);
        } else {
            waiting_lose(s, m, BUS_LOSS_DENIED);
        }
        topics_forget_match(m);
        topic_unref(t);
    }
    sub_pump(s);
}
