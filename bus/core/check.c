/* SPDX-License-Identifier: MIT */
/* The invariants of the whole router, for tests. */
#include <assert.h>
#include <utlist.h>
#include "core/drain.h"
#include "core/judge.h"
#include "core/member.h"
#include "core/pace.h"
#include "core/reliance.h"
#include "core/replay.h"
#include "core/request.h"
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

static void losses_check(const struct peer *p)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < PEER_LOSS_REASONS; i++) {
        n += p->lost_by[i];
    }
    assert(n == p->lost_messages);
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
    assert(p->is_claiming == (p->state == PEER_READY && p->n_parcels > 0 && !p->is_held));
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

static uint64_t matches_check(const struct sub *s)
{
    const struct match *m;
    uint64_t charged = 0;

    DL_FOREACH2(s->matches, m, sub_next)
    {
        assert(m->sub == s);
        assert(m->index < m->topic->n_matches && m->topic->matches[m->index] == m);
        charged += MATCH_BYTES;
    }
    return charged;
}

/* Its window is what is open and what is not. Returns what it is charged with. */
static uint64_t server_check(const struct sub *s)
{
    int64_t bytes = s->credit_bytes;
    uint32_t n = s->credit_messages;
    const struct call *c;

    DL_FOREACH (s->server->open, c) {
        assert(c->state == CALL_OPEN && c->match->sub == s);
        bytes += c->request->size;
        n++;
    }
    DL_FOREACH (s->server->waiting, c) {
        assert(c->state == CALL_WAITING && c->match->sub == s && c->request->to_all);
    }
    assert(!s->server->waiting || !sub_has_credit(s) || s->is_waiting || s->is_ended ||
           s->peer->state != PEER_READY);
    assert(n == sub_window(s)->messages && bytes == (int64_t) sub_window(s)->bytes);
    return sizeof(*s->server);
}

/* Returns what it is charged with. */
static uint64_t sub_check(const struct peer *p, const struct sub *s, uint32_t number)
{
    const struct sub_queue *sq = sub_queue(s);
    const struct server *server = s->flags & SUB_SERVE ? s->server : NULL;

    assert(s->peer == p && sub_id(s) == number);
    assert(s->credit_messages <= sub_window(s)->messages);
    assert(s->credit_bytes <= (int64_t) sub_window(s)->bytes);
    assert(!s->is_marked);
    assert(p->windows.slots[s->window].refs > 0);
    if (sq) {
        subq_check(&sq->q);
        if (sq->replay) {
            subq_check(&sq->replay->q);
        }
        if (sq->pacer) {
            pacer_check(sq->pacer);
        }
        assert(s->policy == BUS_POLICY_BLOCK || !sq->is_stalling);
        assert(s->is_ended || !sq->is_stalling == !subq_has_held(&sq->q));
    }
    reliance_check(s);
    assert(server || s->is_ended || !(s->flags & SUB_SERVE));
    /* what is over is noted */
    assert(!(s->flags & SUB_DRAINING) || p->state != PEER_READY || !drain_is_over(s) ||
           (p->is_draining && idset_has(&p->drained, number)));
    return (s->is_ended ? 0 : sub_memory(s)) + matches_check(s) + (sq ? sq->charge.bytes : 0) +
           (server ? server_check(s) : 0);
}

static uint64_t sub_queued(const struct sub *s)
{
    const struct sub_queue *sq = sub_queue(s);

    return sq ? (uint64_t) sq->q.n_messages + (sq->replay ? sq->replay->q.n_messages : 0) +
                    (sq->pacer ? sq->pacer->n_waiting : 0)
              : 0;
}

static uint32_t waiting_check(const struct peer *p)
{
    uint32_t n = 0, last = 0;

    for (uint32_t number = p->waiting; number; number = p->subs[number - 1]->waiting_next) {
        assert(p->subs[number - 1]->is_waiting);
        assert(p->subs[number - 1]->waiting_prev == last);
        last = number;
        n++;
    }
    assert(p->waiting_last == last);
    return n;
}

/* That it is in one list only follows from the numbers of calls in all of them: see calls_check().
 */
static void call_check(const struct router *r, const struct call *c)
{
    const struct request *q = c->request;

    if (c->state == CALL_OVER) {
        return;
    }
    assert(idpool_get(&r->calls, (uint32_t) (c->id & CALLS_MAX)) == c);
    assert(c->state == CALL_WAITING || c->state == CALL_OPEN);
    assert(c->n_ahead <= REPLIES_AHEAD_MAX);
    assert(!c->match || c->match->topic == q->topic);
    assert(c->match || (c->state == CALL_WAITING && !q->to_all));
    assert(c->state == CALL_OPEN || q->message);
}

/* Returns how many calls are not over. */
static uint32_t request_check(const struct peer *p, const struct request *q, uint32_t number)
{
    uint32_t n_over = 0, n_waiting = 0;

    for (uint32_t i = 0; i < q->n_calls; i++) {
        assert(q->calls[i].request == q);
        call_check(p->router, &q->calls[i]);
        n_over += q->calls[i].state == CALL_OVER;
        n_waiting += q->calls[i].state == CALL_WAITING;
    }
    assert(q->peer == p && q->number == number && q->topic->refs > 0);
    assert(q->n_calls > 0 && (q->to_all || q->n_calls == 1));
    assert(n_over == q->n_over && n_over < q->n_calls);
    assert(q->n_replied + q->n_gone + q->n_timed_out <= n_over);
    assert((q->message != NULL) == (n_waiting > 0));
    assert(q->timer.is_set);
    return q->n_calls - n_over;
}

/* Returns what they are charged with. */
static uint64_t requests_check(const struct peer *p, uint64_t *n_calls)
{
    uint64_t charged = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_requests_max; i++) {
        if (p->requests[i]) {
            n++;
            *n_calls += request_check(p, p->requests[i], i + 1);
            charged += p->requests[i]->charge.bytes;
        }
    }
    assert(n == p->n_requests);
    return charged;
}

static uint32_t servers_count(const struct peer *p)
{
    const struct call *c;
    uint32_t n = 0, k;

    for (uint32_t i = 0; i < p->n_subs_max; i++) {
        const struct sub *s = p->subs[i];

        if (s && s->flags & SUB_SERVE && s->server) {
            DL_COUNT(s->server->open, c, k);
            n += k;
            DL_COUNT(s->server->waiting, c, k);
            n += k;
        }
    }
    return n;
}

/* The first one waits only for those who will be pumped. */
static void call_queue_check(const struct call_queue *q)
{
    const struct call *first = q->calls;
    const struct message_parts parts = message_parts_of(first->request->message);

    for (uint32_t i = 0; i < q->topic->n_matches; i++) {
        const struct match *m = q->topic->matches[i];

        assert(!match_serves(m) || !body_fits(m->sub->peer, &parts) || !sub_has_credit(m->sub) ||
               m->sub->is_waiting);
    }
}

/* Each call that is not over is in one list: at a server, or at its topic. */
static void calls_check(const struct router *r)
{
    uint64_t n_calls = 0, n_requests = 0, n_listed = 0;
    const struct call_queue *q;
    const struct peer *p;
    const struct call *c;

    DL_FOREACH (r->peers, p) {
        (void) requests_check(p, &n_calls);
        n_requests += p->n_requests;
        n_listed += servers_count(p);
    }
    DL_FOREACH (r->call_queues, q) {
        assert(q->calls && q->topic->calls == q && q->topic->refs > 0);
        call_queue_check(q);
        DL_FOREACH (q->calls, c) {
            assert(c->state == CALL_WAITING && !c->match && c->request->topic == q->topic);
            n_listed++;
        }
    }
    assert(n_listed == n_calls && n_calls == r->calls.n_used);
    assert(n_calls == r->counters.calls_now && n_requests == r->counters.requests_now);
}

static uint64_t peer_check(const struct peer *p)
{
    uint64_t charged = p->charge.bytes + windows_memory(&p->windows), queued = 0;
    uint32_t n_subs = 0, n_waiting = 0;
    uint64_t n_calls = 0;

    for (uint32_t i = 0; i < p->n_subs_max; i++) {
        const struct sub *s = p->subs[i];

        if (!s) {
            continue;
        }
        n_subs++;
        charged += sub_check(p, s, i + 1);
        queued += sub_queued(s);
        n_waiting += s->is_waiting;
    }
    assert(n_waiting == waiting_check(p));
    for (uint32_t id = 0; id < p->known.n_words * 64; id++) {
        assert(!idset_has(&p->known, id) || idset_has(&p->router->introduced, id));
    }
    assert(p->n_subs == (p->is_doomed ? 0 : n_subs));
    losses_check(p);
    charged += requests_check(p, &n_calls);
    reliable_check(p);
    assert(!p->is_held || p->state == PEER_CLOSING || router_is_holding(p->router));
    assert(queued == p->queued_messages);
    assert(charged == p->quota.used);
    assert(p->free_messages <= p->used_messages && p->free_bytes <= p->used_bytes);
    return charged;
}

/* Sums over what is in a list of deliveries. */
struct delivery_sums {
    uint64_t charged, bytes;
    uint32_t n;
};

static void deliveries_check(const struct group *g, const struct delivery *list,
                             struct delivery_sums *sums)
{
    const struct delivery *d;

    DL_FOREACH (list, d) {
        assert(d->group == g && d->message->refs > 0);
        sums->charged += delivery_memory(d);
        sums->bytes += d->message->size;
        sums->n++;
    }
}

/* Returns how many it has not acknowledged. */
static uint32_t member_check(const struct group *g, const struct member *m,
                             struct delivery_sums *returned, uint64_t *charged)
{
    struct delivery_sums unacked = {0};

    assert(m->group == g && (m->sub.flags & SUB_MEMBER) && !m->sub.is_ended);
    assert(m->place == 0 || g->ready[m->place - 1] == m);
    assert(m->place == 0 || m->sub.peer->state == PEER_CLOSING ||
           (sub_has_credit(&m->sub) && !m->returned && !sub_has_backlog(&m->sub)));
    deliveries_check(g, m->unacked, &unacked);
    deliveries_check(g, m->returned, returned);
    assert(unacked.n == m->n_unacked && unacked.bytes == m->unacked_bytes);
    assert(unacked.n == m->deliveries.n);
    /* what it has in work is what its window is used for */
    assert(!(g->flags & SUB_ACK) ||
           m->n_unacked + m->sub.credit_messages == sub_window(&m->sub)->messages);
    *charged += unacked.charged;
    return unacked.n;
}

static uint64_t group_check_one(const struct group *g, uint64_t *n_unacked)
{
    uint64_t charged = g->charge.bytes + windows_memory(&g->peer.windows);
    struct delivery_sums returned = {0}, dead = {0};
    uint32_t n = 0, n_slots = 0, n_dead = 0, n_draining = 0;
    const struct delivery *d;
    const struct member *m;

    DL_FOREACH (g->members, m) {
        *n_unacked += member_check(g, m, &returned, &charged);
        n_slots += m->n_slots;
        n_draining += (m->sub.flags & SUB_DRAINING) != 0;
        n++;
    }
    assert(n == g->n_members && g->n_ready <= n && n_draining == g->n_draining);
    for (uint32_t i = 0; g->slots && i < GROUP_SLOTS; i++) {
        n_slots -= g->slots[i] != NULL;
    }
    assert(n_slots == 0);
    deliveries_check(g, g->returned, &returned);
    assert(returned.n == g->n_returned);
    DL_FOREACH (g->peer.router->groups.dead, d) {
        if (d->group == g) {
            n_dead++;
            dead.charged += delivery_memory(d);
        }
    }
    assert(g->refs == n_dead + (g->members || g->face || g->n_returned > 0));
    charged += g->face ? sub_check(&g->peer, g->face, 0) : 0;
    charged += returned.charged + dead.charged;
    assert(charged == g->peer.quota.used);
    n = g->face && sub_queue(g->face) ? g->face->queue->q.n_messages : 0;
    assert(n + returned.n == g->peer.queued_messages);
    return charged;
}

/* Returns what they are charged with. */
static uint64_t groups_check(const struct router *r, uint64_t *queued)
{
    uint64_t charged = 0, n_unacked = 0;
    const struct group *g;
    uint32_t n = 0;

    DL_FOREACH (r->groups.list, g) {
        charged += group_check_one(g, &n_unacked);
        *queued += g->peer.queued_messages;
        n += g->members != NULL;
    }
    assert(n == r->counters.groups_now && n == r->groups.by_name.n);
    assert(n_unacked == r->counters.messages_unacknowledged_now);
    return charged;
}

/* What the slots of a user say is what its connections and groups have. */
static void user_check(const struct router *r, const struct user *u)
{
    uint64_t bytes = accesses_memory(&r->accesses, u->uid) + u->retained_bytes.used +
                     u->will_bytes.used,
             groups = 0;
    uint64_t connections = 0, subscriptions = 0, wildcards = 0, topics = 0, requests = 0;
    uint32_t n = 0;
    const struct peer *p;

    DL_FOREACH2(u->payers, p, user_next)
    {
        assert(p->user == u);
        n++;
        bytes += p->quota.used;
        groups += p->group ? p->quota.used : 0;
        if (!p->group) {
            connections += !p->is_gone;
            subscriptions += p->n_subs;
            wildcards += p->n_wildcards;
            topics += p->n_aliases;
            requests += p->n_requests;
        }
    }
    assert(u->n_shares >= u->connections.used);
    assert(n == u->n_payers && groups == u->groups.used);
    assert(connections == u->connections.used && subscriptions == u->subscriptions.used);
    assert(wildcards == u->wildcards.used && wildcards <= subscriptions);
    assert(topics == u->topics.used && requests == u->requests.used);
    /* and wills of those who have just ended */
    assert(bytes <= u->bytes.used);
}

static void users_check(const struct router *r)
{
    const struct user *u;
    uint64_t bytes = 0;
    uint32_t n = 0;

    DL_FOREACH (r->users.list, u) {
        user_check(r, u);
        bytes += u->bytes.used;
        n++;
    }
    assert(n == r->users.n && bytes == r->quota.used);
}

static void topics_check(const struct topics *ts)
{
    uint32_t n = 0;

    for (uint32_t id = 1; id <= ts->ids.n_slots; id++) {
        const struct topic *t = idpool_get(&ts->ids, id);

        if (!t) {
            continue;
        }
        n++;
        assert(t->id == id && t->refs > 0 && t->topics == ts);
        assert(t->n_matches <= t->n_matches_max);
        assert(!t->calls || t->calls->topic == t);
        assert((t->matches == &t->first) == (t->n_matches_max == 1));
        for (uint32_t i = 0; i < t->n_matches; i++) {
            assert(t->matches[i]->topic == t && t->matches[i]->index == i);
        }
    }
    assert(n == ts->ids.n_used && n == ts->by_name.n);
}

/* What is there is allowed. Returns what all accesses are charged with. */
static uint64_t rights_check(const struct router *r)
{
    const struct peer *p;
    const struct user *u;
    uint64_t bytes = 0;

    DL_FOREACH (r->users.list, u) {
        bytes += accesses_memory(&r->accesses, u->uid);
    }
    DL_FOREACH (r->peers, p) {
        if (p->state == PEER_READY) {
            peer_rights_check(p);
        }
    }
    return bytes;
}

void router_check(const struct router *r)
{
    uint64_t charged = 0, queued = 0, subscriptions = 0;
    const struct peer *p;
    uint64_t n = 0;

    DL_FOREACH (r->peers, p) {
        charged += peer_check(p);
        queued += p->queued_messages;
        subscriptions += p->n_subs;
        n += !p->is_gone;
        assert(p->is_doomed || !p->is_gone);
    }
    topics_check(&r->topics);
    charged += presence_check(r);
    charged += keeper_check(r);
    charged += groups_check(r, &queued);
    charged += rights_check(r);
    assert(charged == r->quota.used);
    users_check(r);
    assert(queued == r->counters.messages_queued_now);
    assert(n == r->counters.clients_now);
    closed_check(&r->closed);
    assert(r->control.kind == 0);
    buffers_check(r);
    calls_check(r);
    assert(subscriptions == r->counters.subscriptions_now);
    /* the contract: nothing that matched, or came back, is unaccounted for */
    assert(r->counters.messages_matched + r->counters.messages_returned ==
           r->counters.messages_delivered + r->counters.messages_lost +
               r->counters.messages_queued_now + r->counters.messages_discarded +
               r->counters.messages_dead_lettered);
}
