/* SPDX-License-Identifier: MIT */
/* Other limits and rules while the router runs. */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>
#include "core/judge.h"
#include "core/member.h"

void limits_apply(struct router *r, const struct limits *l)
{
    struct group *g;
    struct peer *p;

    r->config.limits = *l;
    r->quota.limit = l->total_bytes_max;
    users_apply(&r->users);
    for (uint32_t id = 1; id <= r->sender_ids.n_slots; id++) {
        struct sender *s = idpool_get(&r->sender_ids, id);

        if (s) {
            s->descriptors.limit = l->client_descriptors_max;
        }
    }
    DL_FOREACH (r->peers, p) {
        p->quota.limit = l->client_bytes_max;
    }
    DL_FOREACH (r->groups.list, g) {
        g->peer.quota.limit = l->client_bytes_max;
    }
    outputs_share_all(r);
}

int router_reconfigure(struct router *r, const struct router_settings *settings,
                       const struct now *now)
{
    struct limits limits = settings->limits;
    struct user_override *overrides;
    struct judgement *j;

    if (!overrides_copy(settings->overrides, settings->n_overrides, &overrides)) {
        return -ENOMEM;
    }
    j = judge_prepare(r, settings->policy);
    if (!j) {
        free(overrides);
        return -ENOMEM;
    }

    /* nothing fails from here on */
    r->now = *now;
    limits.publish_window_messages = r->config.limits.publish_window_messages;
    limits.publish_window_bytes = r->config.limits.publish_window_bytes;
    users_override(&r->users, overrides, settings->n_overrides);
    limits_apply(r, &limits);
    arena_reset(&r->arena);
    judge_commit(r, j);
    router_reap(r, REAP_AT_ONCE);
    return 0;
}

void router_count_reload(struct router *r, bool is_good)
{
    if (is_good) {
        r->counters.config_reloads++;
    } else {
        r->counters.config_reloads_failed++;
    }
}
