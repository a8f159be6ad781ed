/* SPDX-License-Identifier: MIT */
/* The invariants of the whole router, for tests. */
#include <assert.h>
#include <utlist.h>
#include "core/state.h"

static void leases_check(const struct peer *p)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    for (uint32_t lease = 1; lease <= p->leases.n_slots; lease++) {
        const struct message *m = idpool_get(&p->leases, lease);

        if (m) {
            n++;
            bytes += m->cargo->bytes;
            assert(m->cargo->n_leases > 0 && m->cargo->n_leases <= m->refs);
            assert(m->cargo->settled == (m->cargo->n_leases == m->refs));
        }
    }
    assert(n == p->leases.n_used && bytes == p->lease_bytes);
}

/* Returns how many are registered. */
static uint32_t peer_buffers_check(const struct peer *p)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_buffers_max; i++) {
        const struct buffer *b = p->buffers[i];

        if (b) {
            n++;
            bytes += b->bytes;
            assert(b->registered && b->number == i + 1 && b->sender == p->sender);
            assert(idpool_get(&p->router->buffer_ids, b->id) == b);
        }
    }
    assert(bytes == p->buffer_bytes);
    for (uint32_t id = 1; id / 64 < p->known_buffers.n_words; id++) {
        assert(!idset_has(&p->known_buffers, id) || idpool_get(&p->router->buffer_ids, id));
    }
    assert(p->fds_pinged <= p->fds_flying);
    assert(p->n_parcels <= PEER_PARCELS_MAX);
    assert(p->is_claiming == (p->state == PEER_READY && p->n_parcels > 0));
    return n;
}

/* Descriptors that are kept are charged, and those that nobody can need are not kept. */
static void buffers_check(const struct router *r)
{
    uint64_t charged = 0, of_users = 0;
    uint32_t n = 0, n_leases = 0, n_registered = 0;
    const struct peer *p;
    const struct user *u;

    for (uint32_t id = 1; id <= r->buffer_ids.n_slots; id++) {
        const struct buffer *b = idpool_get(&r->buffer_ids, id);

        if (b) {
            n++;
            n_registered += b->registered;
            charged += b->charge.bytes;
            assert(b->refs > 0 && b->charge.bytes == (b->parcel != NULL));
            assert((b->parcel != NULL) == (b->registered || b->n_open > 0));
        }
    }
    DL_FOREACH (r->peers, p) {
        leases_check(p);
        n_registered -= peer_buffers_check(p);
        n_leases += p->leases.n_used;
    }
    DL_FOREACH (r->users.list, u) {
        of_users += u->descriptors.used;
        assert(u->refs > 0);
    }
    assert(n == r->counters.buffers_now && n_registered == 0);
    assert(n_leases == r->counters.leases_now);
    assert(charged <= r->descriptors.used && of_users == r->descriptors.used);
}

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
    buffers_check(r);
    /* the contract: nothing that matched is unaccounted for */
    assert(r->counters.messages_matched ==
           r->counters.messages_delivered + r->counters.messages_lost +
               r->counters.messages_queued_now + r->counters.messages_discarded);
}
