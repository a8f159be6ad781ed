/* SPDX-License-Identifier: MIT */
#include "core/rate.h"
#include <utlist.h>
#include "base/macros.h"
#include "base/units.h"
#include "core/state.h"

/* Their links cease to be read, or are read again: peer_wants_input(). */
static void peers_turn(struct router *r, struct user *u)
{
    struct peer *p;

    DL_FOREACH2(u->payers, p, user_next)
    {
        if (!p->group && p->state != PEER_CLOSING) { /* who greets is not read either */
            peer_mark_dirty(p);
        }
    }
    r->work += u->n_payers;
}

/* When so much is paid that it may go on. */
static uint64_t pause_end(const struct user *u)
{
    return u->paid_ns - RATE_BURST_NS + RATE_PAUSE_NS;
}

static void debt_look(struct router *r, struct timer *t)
{
    struct user *u = container_of(t, struct user, debt);
    uint64_t end_ns = pause_end(u);

    if (end_ns > r->now.monotonic_ns) {
        timer_set(&r->timers, t, end_ns, debt_look);
        return;
    }
    u->is_in_debt = false;
    peers_turn(r, u);
}

static void debt_begin(struct peer *p, uint64_t units)
{
    struct router *r = p->router;
    struct user *u = p->user;

    u->is_in_debt = true;
    r->counters.rate_pauses++;
    excess_note(p, &u->rate, units);
    peers_turn(r, u);
    timer_set(&r->timers, &u->debt, pause_end(u), debt_look);
}

void rate_spend(struct peer *p, uint64_t units)
{
    uint64_t now_ns = p->router->now.monotonic_ns;
    struct user *u = p->user;

    u->work += units;
    u->paid_ns = MAX(u->paid_ns, now_ns) + units * NS_PER_S / u->rate.limit;
    if (UNLIKELY(u->paid_ns > now_ns + RATE_BURST_NS) && !u->is_in_debt) {
        debt_begin(p, units);
    }
}
