/* SPDX-License-Identifier: MIT */
#pragma once
/* Who takes part in most cases of tests/sim: a publisher and a subscriber, or two in a group. */

#include "support/world.h"

/* Connection 1 publishes, connection 2 subscribes. */
struct pair {
    struct sim_client *p, *c;
};

static inline struct pair join_pair(struct world *w, const struct world_sub *sub)
{
    struct pair pair = {.p = world_join(w)};

    pair.c = world_join(w);
    world_subscribe(w, pair.c, 0, sub);
    return pair;
}

/* Connection 1 publishes, 2 and 3 are members. */
struct trio {
    struct sim_client *p, *m[2];
    const struct counters *k;
};

static inline struct trio join_trio(struct world *w, const struct world_sub *sub)
{
    struct trio x = {.p = world_join(w), .k = router_counters(w->s.router)};

    for (unsigned i = 0; i < 2; i++) {
        x.m[i] = world_join(w);
        world_subscribe(w, x.m[i], 0, sub);
    }
    return x;
}
