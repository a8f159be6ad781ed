/* SPDX-License-Identifier: MIT */
/* Output that waits on links is charged without asking, for what is answered cannot be refused. So
 * that it is bounded all the same, each connection may have the less of it the more of them there
 * are: docs/protocol.md, section 21. */
#include <utlist.h>
#include "core/state.h"

/* Of what a user, or all, may hold: a quarter of it, if each has twice its share, as it can. */
#define OUTPUT_PART 8u
#define OUTPUT_SHARE_MIN 4096u

/* For so many connections: a power of two, that changes seldom. */
static uint32_t shares_for(uint32_t shares, uint64_t n)
{
    if (n <= shares && n > shares / 4) {
        return shares;
    }
    for (shares = 1; shares < n; shares *= 2) {
    }
    return shares;
}

static void user_apply(struct user *u, uint64_t max)
{
    struct peer *p;

    if (u->output_max == max) {
        return;
    }
    u->output_max = max;
    DL_FOREACH2(u->payers, p, user_next)
    {
        if (!p->group && !p->tap && !p->router->is_shutting_down) {
            p->output_max = max;
        }
    }
}

static uint64_t user_share(const struct router *r, const struct user *u)
{
    uint64_t share = MIN(u->bytes.limit / u->n_shares, r->quota.limit / r->n_shares) / OUTPUT_PART;

    return MIN(MAX(share, OUTPUT_SHARE_MIN), r->config.limits.output_bytes_max);
}

void outputs_share_all(struct router *r)
{
    struct user *u;

    r->n_shares = shares_for(r->n_shares, r->counters.clients_now);
    DL_FOREACH (r->users.list, u) {
        u->n_shares = shares_for(u->n_shares, u->connections.used);
        user_apply(u, user_share(r, u));
    }
}

void outputs_share(struct router *r, struct user *u)
{
    if (shares_for(r->n_shares, r->counters.clients_now) != r->n_shares) {
        outputs_share_all(r);
    } else {
        u->n_shares = shares_for(u->n_shares, u->connections.used);
        user_apply(u, user_share(r, u));
    }
}
