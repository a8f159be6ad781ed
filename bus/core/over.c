/* SPDX-License-Identifier: MIT */
#include "core/over.h"
#include <utlist.h>
#include "core/drain.h"
#include "core/member.h"
#include "core/state.h"
#include "core/withdraw.h"

/* A group ends with its members. */
static bool group_note(struct group *g)
{
    struct member *m;

    DL_FOREACH (g->members, m) {
        if (!over_note(&m->sub)) {
            return false;
        }
    }
    return true;
}

/* The event needs to know how many there are. */
static void note_excess(struct peer *p)
{
    struct quota *matches = &p->user->matches;

    matches->used = matches->limit;
    excess_note(p, matches, 1);
    matches->used = 0;
}

bool over_note(struct sub *s)
{
    struct peer *p = s->peer;

    if (s->is_over) {
        return true;
    }
    if (p->group) {
        return group_note(p->group);
    }
    if (!drain_reserve(s)) {
        return false;
    }
    s->is_over = true;
    p->router->counters.subscriptions_over++;
    note_excess(p);
    drain_note(s);
    return true;
}

void over_end(struct sub *s)
{
    sub_dismiss(s, BUS_LOSS_NO_MEMORY, BUS_STATUS_LIMIT,
                "it has ended: one topic matches more subscriptions of this user than "
                "user_matches_max");
}
