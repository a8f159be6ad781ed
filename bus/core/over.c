/* SPDX-License-Identifier: MIT */
#include "core/over.h"
#include <utlist.h>
#include "core/drain.h"
#include "core/member.h"
#include "core/state.h"

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

/* What waits for a member or a server goes to others. */
static void waiting_lose(struct sub *s)
{
    enum bus_loss_reason reason = BUS_LOSS_NONE;
    struct match *match = NULL;
    struct message *m;
    struct gap gap;

    while (!(s->flags & (SUB_MEMBER | SUB_SERVE)) && sub_has_backlog(s)) {
        m = sub_front(s, &match, &gap, &reason);
        if (m) {
            gap = (struct gap){1, m->size};
            reason = BUS_LOSS_NO_MEMORY;
            sub_count_queued(s, -1, -(int64_t) m->size);
            sub_count_lost(s, reason, 1);
            m->topic->lost_messages++;
        }
        if (!sub_tell_loss(s, &gap, reason)) {
            peer_end(s->peer, BUS_GOODBYE_NO_MEMORY, "out of memory");
            return;
        }
        sub_pop(s);
    }
}

void over_end(struct sub *s)
{
    const struct wire_status status = {
        .code = BUS_STATUS_LIMIT,
        .verb = VERB_SUBSCRIBE,
        .subscription = sub_id(s),
        .text = text_from("it has ended: one topic matches more subscriptions of this user than "
                          "user_matches_max")};
    struct peer *p = s->peer;

    waiting_lose(s);
    if (p->state != PEER_READY) {
        return;
    }
    subscription_end(s);
    peer_send_status(p, &status);
}
