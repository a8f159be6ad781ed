/* SPDX-License-Identifier: MIT */
/* What happens because time passes: deadlines, and the orderly end. */
#include <limits.h>
#include <utlist.h>
#include "base/units.h"
#include "core/pace.h"
#include "core/reliance.h"
#include "core/request.h"
#include "core/state.h"

/* The rest is due at once in the next turn. */
#define TIMERS_IN_A_TURN 1024u
#define QUEUES_IN_A_TURN 256u

static uint64_t stall_deadline(const struct router *r)
{
    return r->stalling ? r->stalling->progress_ns + r->config.limits.stall_timeout_ms * NS_PER_MS
                       : UINT64_MAX;
}

uint64_t router_deadline(const struct router *r)
{
    uint64_t deadline = MIN(stall_deadline(r), reliance_deadline(r));

    if (r->doomed || r->draining || presence_is_due(r) || groups_have_work(&r->groups)) {
        return 0; /* at once, and then the next part */
    }
    if (r->greeting) {
        deadline = MIN(deadline, r->greeting->deadline_ns);
    }
    if (r->claiming) {
        deadline = MIN(deadline, r->claiming->deadline_ns);
    }
    if (r->lingering) {
        deadline = MIN(deadline, r->lingering->deadline_ns);
    }
    deadline = MIN(deadline, hold_deadline(r));
    deadline = MIN(deadline, timers_next_ns(&r->timers));
    if (r->retry_ns) {
        deadline = MIN(deadline, r->retry_ns);
    }
    return deadline;
}

static void retry_all(struct router *r)
{
    struct peer *p;

    r->retry_ns = 0;
    if (r->calls_unresolved) {
        calls_resolve(r, QUEUES_IN_A_TURN);
    }
    presence_retry(r);
    r->groups.is_starved = false;
    DL_FOREACH (r->peers, p) {
        if (p->state == PEER_READY) {
            peer_pump_waiting(p);
            tap_flush_loss(p);
            publish_retry(p);
            reliable_retry(p);
            cargo_return_all(p);
        }
    }
}

void router_retry(struct router *r)
{
    if (r->retry_ns) {
        retry_all(r);
    }
}

static void reap_turn(struct router *r)
{
    uint64_t budget = r->work - r->reaped_work + REAP_IN_A_TURN;

    router_reap(r, (unsigned) MIN(budget, UINT_MAX));
    r->reaped_work = r->work; /* its own work is nothing that it has to keep pace with */
}

void router_tick(struct router *r, const struct now *now)
{
    uint64_t t = now->monotonic_ns;

    r->now = *now;
    while (r->greeting && r->greeting->deadline_ns <= t) {
        r->counters.hello_timeouts++;
        peer_end(r->greeting, BUS_GOODBYE_HELLO_TIMEOUT, "no HELLO in time");
    }
    while (r->claiming && r->claiming->deadline_ns <= t) {
        peer_end(r->claiming, BUS_GOODBYE_PROTOCOL_ERROR,
                 "a frame with descriptors was not finished");
    }
    while (r->lingering && r->lingering->deadline_ns <= t) {
        struct peer *p = r->lingering;

        p->is_expired = true;
        p->deadline_ns = UINT64_MAX;
        DL_DELETE2(r->lingering, p, timed_prev, timed_next);
        DL_APPEND2(r->lingering, p, timed_prev, timed_next);
        peer_mark_dirty(p);
    }
    while (stall_deadline(r) <= t) {
        sub_end_blocking(r->stalling->sub);
    }
    hold_expire(r, t);
    reliance_expire(r, t);
    timers_run(&r->timers, r, t, TIMERS_IN_A_TURN);
    if (r->retry_ns && r->retry_ns <= t) {
        retry_all(r);
    }
    reap_turn(r);
    presence_turn(r);
    reliable_tell_all(r);
}

void router_tell_stopping(struct peer *p)
{
    const struct router *r = p->router;
    uint64_t now_ns = r->now.monotonic_ns;
    uint64_t left_ns = r->stopping_ns > now_ns ? r->stopping_ns - now_ns : 0;
    struct wire_stopping m = {(uint32_t) MIN(left_ns / NS_PER_MS, UINT32_MAX)};

    if (p->state == PEER_READY && (p->features & FEATURE_STOPPING)) {
        peer_send(p, VERB_STOPPING, &m);
    }
}

void router_drain(struct router *r, uint64_t deadline_ns, const struct now *now)
{
    struct peer *p;

    r->now = *now;
    r->is_stopping = true;
    r->stopping_ns = deadline_ns;
    DL_FOREACH (r->peers, p) {
        router_tell_stopping(p);
    }
    router_reap(r, REAP_AT_ONCE);
}

bool router_is_drained(const struct router *r)
{
    const struct counters *c = &r->counters;

    return c->messages_queued_now == r->n_paced && c->messages_unacknowledged_now == 0 &&
           c->requests_now == 0;
}

void router_shutdown(struct router *r, const struct now *now)
{
    struct peer *p;

    r->now = *now;
    r->is_shutting_down = true;
    DL_FOREACH (r->peers, p) {
        p->output_max = UINT64_MAX; /* what waits within credit is bounded by that */
        answers_pump(p);
        for (uint32_t i = 0; p->state == PEER_READY && i < p->n_subs_max; i++) {
            if (p->subs[i]) {
                pacer_flush(p->subs[i]);
                sub_pump(p->subs[i]);
            }
        }
        peer_end(p, BUS_GOODBYE_SHUTDOWN, "the router stops");
    }
    router_reap(r, REAP_AT_ONCE);
}
