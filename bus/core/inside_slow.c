/* SPDX-License-Identifier: MIT */
/* Who is slow, and why: what waits for a client longest, and what would have to happen. */
#include "core/inside.h"
#include "core/member.h"
#include "core/replay.h"
#include "core/request.h"

/* More of a client's subscriptions are not looked at. */
#define SUBS_LOOKED_AT 1024u

/* Why what waits for a subscription does not move. */
static enum bus_slow sub_obstacle(const struct sub *s)
{
    const struct peer *p = s->peer;
    const struct limits *l = &p->router->config.limits;

    if (p->out.bytes >= p->output_max) {
        return BUS_SLOW_LINK;
    }
    if (!sub_has_credit(s)) {
        return s->flags & SUB_ACK ? BUS_SLOW_ACK : BUS_SLOW_CREDIT;
    }
    if (s->is_waiting && p->fds_flying > 0) {
        return BUS_SLOW_DESCRIPTORS;
    }
    if (s->is_waiting && p->leases.n_used > 0 &&
        (p->leases.n_used >= l->leases_max || p->lease_bytes >= l->lease_bytes_max / 2)) {
        return BUS_SLOW_LEASES;
    }
    return BUS_SLOW_BEHIND;
}

static struct slowness queue_slowness(const struct sub *s, const struct sub *queue_of)
{
    const struct sub_queue *sq = sub_queue(queue_of);
    struct slowness slow = {.why = sub_obstacle(s),
                            .since_ns = s->peer->router->now.monotonic_ns,
                            .subscription = sub_id(s)};

    if (sq) {
        slow.since_ns = sq->began_ns;
        slow.messages = sq->q.n_messages + (sq->replay ? sq->replay->q.n_messages : 0);
    }
    return slow;
}

struct slowness sub_slowness(const struct sub *s)
{
    const struct group *g = sub_group(s);

    if (s->flags & SUB_SERVE) {
        return (struct slowness){.why = sub_has_credit(s) ? BUS_SLOW_NONE : BUS_SLOW_CALLS,
                                 .since_ns = s->peer->router->now.monotonic_ns,
                                 .subscription = sub_id(s)};
    }
    if (sub_has_backlog(s)) {
        return queue_slowness(s, s);
    }
    if (g && g->face && sub_has_backlog(g->face) && !sub_has_credit(s)) {
        return queue_slowness(s, g->face);
    }
    return (struct slowness){.subscription = sub_id(s)};
}

/* What it waits for itself, or does not take though it is no subscription. */
static struct slowness own_slowness(const struct peer *p)
{
    const struct limits *l = &p->router->config.limits;
    struct slowness slow = {.since_ns = p->router->now.monotonic_ns};

    if (p->out.bytes > 0 && p->blocked_ns) {
        slow.why = BUS_SLOW_LINK;
        slow.since_ns = p->blocked_ns;
    } else if (p->is_held) {
        slow.why = BUS_SLOW_HELD;
    } else if (p->used_messages >= l->publish_window_messages ||
               p->used_bytes >= l->publish_window_bytes) {
        slow.why = BUS_SLOW_BLOCKED;
    }
    return slow;
}

struct slowness peer_slowness(const struct peer *p, uint32_t *steps)
{
    uint32_t n = MIN(MIN(p->n_subs_max, SUBS_LOOKED_AT), *steps);
    struct slowness worst = own_slowness(p);

    *steps -= n;
    for (uint32_t i = 0; i < n; i++) {
        struct slowness slow = p->subs[i] ? sub_slowness(p->subs[i]) : worst;

        if (slow.why != BUS_SLOW_NONE &&
            (worst.why == BUS_SLOW_NONE || slow.since_ns < worst.since_ns)) {
            worst = slow;
        }
    }
    /* what has only just begun to wait is on its way */
    if (worst.why <= BUS_SLOW_DESCRIPTORS || worst.why == BUS_SLOW_BEHIND) {
        uint64_t now_ns = p->router->now.monotonic_ns;

        return worst.since_ns + INSIDE_SLOW_NS <= now_ns ? worst : (struct slowness){0};
    }
    return worst;
}
