/* SPDX-License-Identifier: MIT */
/* Whether what was loaded fits together, as far as this does not follow from how it was made. What
 * router_check() asserts of a router at any time, this finds out of one that somebody else
 * described; and it puts into place what is known only now. */
#include <utlist.h>
#include "core/handover.h"
#include "core/member.h"
#include "core/request.h"

/* ---- buffers ---- */

static bool buffers_are_known(struct router *r, const struct peer *p)
{
    for (uint32_t id = 0; id / 64 < p->known_buffers.n_words; id++) {
        struct buffer *b = idset_has(&p->known_buffers, id) ? idpool_get(&r->buffer_ids, id) : NULL;

        if (idset_has(&p->known_buffers, id) && !b) {
            return false;
        }
        if (b) {
            b->n_known++;
        }
    }
    return true;
}

static bool buffers_are_right(struct router *r)
{
    struct peer *p;

    DL_FOREACH (r->peers, p) {
        if (!buffers_are_known(r, p)) {
            return false;
        }
    }
    for (uint32_t id = 1; id <= r->buffer_ids.n_slots; id++) {
        const struct buffer *b = idpool_get(&r->buffer_ids, id);

        if (b && (b->parcel != NULL) != (b->registered || b->n_open > 0)) {
            return false;
        }
    }
    return true;
}

/* ---- subscriptions ---- */

static bool server_is_right(const struct sub *s)
{
    uint64_t n = s->credit_messages;
    int64_t bytes = s->credit_bytes;
    const struct call *c;

    DL_FOREACH (s->server->open, c) {
        n++;
        bytes += c->request->size;
    }
    return n == sub_window(s)->messages && bytes == (int64_t) sub_window(s)->bytes &&
           (!s->server->waiting || !sub_has_credit(s) || s->is_waiting);
}

static bool queue_is_right(const struct sub *s)
{
    const struct sub_queue *sq = sub_queue(s);

    return !sq || (sq->is_stalling == subq_has_held(&sq->q) &&
                   (sq->is_stalling ? sq->q.n_inside < sq->q.n_messages : true));
}

static bool subs_are_right(const struct peer *p)
{
    for (uint32_t i = 0; i < p->n_subs_max; i++) {
        const struct sub *s = p->subs[i];

        if (s && (!queue_is_right(s) || ((s->flags & SUB_SERVE) && !server_is_right(s)))) {
            return false;
        }
    }
    return true;
}

/* ---- groups ---- */

/* Those that can take something are found by what they have left: see member_refresh(). */
static bool member_ready(struct member *m)
{
    bool is_ready = m->aside != NULL;

    m->aside = NULL;
    if (!is_ready) {
        return true;
    }
    if (!sub_has_credit(&m->sub) || m->returned || sub_has_backlog(&m->sub)) {
        return false;
    }
    member_restore_ready(m);
    return true;
}

static bool group_is_right(struct group *g)
{
    struct member *m;

    if (!queue_is_right(g->face)) {
        return false;
    }
    DL_FOREACH (g->members, m) {
        if ((g->flags & SUB_ACK) &&
            (uint64_t) m->n_unacked + m->sub.credit_messages != sub_window(&m->sub)->messages) {
            return false;
        }
        if (!member_ready(m)) {
            return false;
        }
    }
    return true;
}

/* ---- requests ---- */

static bool request_is_right(const struct request *r)
{
    uint32_t n_waiting = 0;

    for (uint32_t i = 0; i < r->n_calls; i++) {
        n_waiting += r->calls[i].state == CALL_WAITING;
    }
    return n_waiting == r->n_waiting && (r->message != NULL) == (n_waiting > 0);
}

static bool requests_are_right(const struct peer *p)
{
    for (uint32_t i = 0; i < p->n_requests_max; i++) {
        if (p->requests[i] && !request_is_right(p->requests[i])) {
            return false;
        }
    }
    return true;
}

/* Whoever could take the first one will be asked. */
static bool row_is_right(const struct call_queue *q)
{
    const struct message_parts parts = message_parts_of(q->calls->request->message);

    for (uint32_t i = 0; i < q->topic->n_matches; i++) {
        const struct match *m = q->topic->matches[i];

        if (match_serves(m) && body_fits(m->sub->peer, &parts) && sub_has_credit(m->sub) &&
            !m->sub->is_waiting) {
            return false;
        }
    }
    return true;
}

/* ---- all of it ---- */

static const char *peers_check(const struct router *r)
{
    const struct peer *p;

    DL_FOREACH (r->peers, p) {
        if (!subs_are_right(p)) {
            return "queues that do not fit together";
        }
        if (!requests_are_right(p)) {
            return "requests that do not fit together";
        }
        if (p->state == PEER_CLOSING && (p->n_subs > 0 || p->n_aliases > 0)) {
            return "a client that is gone and owns something";
        }
    }
    return NULL;
}

/* The contract: what matched, or came back, is accounted for. */
static bool counters_are_right(const struct counters *c)
{
    return c->messages_matched + c->messages_returned ==
           c->messages_delivered + c->messages_lost + c->messages_queued_now +
               c->messages_discarded + c->messages_dead_lettered;
}

const char *load_check(struct router *r)
{
    const struct call_queue *q;
    const char *why = peers_check(r);
    struct group *g;

    if (why) {
        return why;
    }
    if (!buffers_are_right(r)) {
        return "buffers that do not fit together";
    }
    DL_FOREACH (r->groups.list, g) {
        if (!g->members || !g->face || !group_is_right(g)) {
            return "groups that do not fit together";
        }
    }
    DL_FOREACH (r->call_queues, q) {
        if (!row_is_right(q)) {
            return "calls that nobody would get";
        }
    }
    if (!counters_are_right(&r->counters)) {
        return "counters that do not add up";
    }
    return NULL;
}
