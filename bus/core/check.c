/* SPDX-License-Identifier: MIT */
/* The invariants of the whole router, for tests. */
#include <assert.h>
#include <utlist.h>
#include "core/state.h"

static uint64_t peer_check(const struct peer *p)
{
    uint64_t charged = p->charge.bytes, queued = 0;
    uint32_t n_subs = 0;

    for (uint32_t i = 0; i < p->n_subs_max; i++) {
        const struct sub *s = p->subs[i];

        if (!s) {
            continue;
        }
        n_subs++;
        charged += s->charge.bytes;
        assert(s->peer == p && s->id == i + 1);
        assert(s->credit_messages <= s->window_messages);
        assert(s->credit_bytes <= (int64_t) s->window_bytes);
        if (s->queue) {
            subq_check(&s->queue->q);
            queued += s->queue->q.n_messages;
            assert(s->policy == BUS_POLICY_BLOCK || !s->queue->is_stalling);
            assert(!s->queue->is_stalling == !subq_has_held(&s->queue->q));
        }
    }
    assert(n_subs == p->n_subs);
    assert(queued == p->queued_messages);
    assert(charged == p->quota.used);
    assert(p->free_messages <= p->used_messages && p->free_bytes <= p->used_bytes);
    return charged;
}

void router_check(const struct router *r)
{
    uint64_t charged = 0, queued = 0;
    const struct peer *p;
    uint64_t n = 0;

    DL_FOREACH (r->peers, p) {
        charged += peer_check(p);
        queued += p->queued_messages;
        n++;
    }
    assert(charged == r->quota.used);
    assert(queued == r->counters.messages_queued_now);
    assert(n == r->counters.clients_now);
    /* the contract: nothing that matched is unaccounted for */
    assert(r->counters.messages_matched ==
           r->counters.messages_delivered + r->counters.messages_lost +
               r->counters.messages_queued_now + r->counters.messages_discarded);
}
