/* SPDX-License-Identifier: MIT */
/* The state of a router as records: what publishers of reliable topics wait for. Where rounds are
 * is left out: they begin anew, which makes nothing done too early. So the marks of a publisher
 * become one. docs/decisions/031-reliable-topics.md. */
#include <stdlib.h>
#include <utlist.h>
#include "core/handover.h"
#include "core/member.h"
#include "core/reliance.h"

struct places {
    struct numbering seen;
    uint8_t *row;
    size_t n, n_max;
};

/* Whose it is: of a client, or of a group; and its number there. Each place once. */
static void place_add(struct save *s, struct places *all, const struct reliance *place)
{
    struct numbered *slot = numbering_find(&all->seen, place);
    const struct sub *sub = place->sub;
    const struct group *g = sub->peer->group;
    uint8_t *p;

    if (!slot) {
        s->w->is_failed = true;
        return;
    }
    if (slot->number) {
        return;
    }
    slot->number = 1;
    if (all->n_max - all->n < 2 * NUMBER_MAX) {
        size_t n_max = 2 * all->n_max + 16 * NUMBER_MAX;
        uint8_t *row = realloc(all->row, n_max);

        if (!row) {
            s->w->is_failed = true;
            return;
        }
        all->row = row;
        all->n_max = n_max;
    }
    p = number_put(all->row + all->n, g ? (uint64_t) save_group_number(s, g) << 1 | 1
                                        : (uint64_t) peer_number(sub->peer) << 1);
    all->n = (size_t) (number_put(p, sub_id(sub)) - all->row);
}

static void save_one(struct save *s, const struct peer *p)
{
    const struct reliable *rel = p->reliable;
    struct places all = {.n = 0};
    const struct mark *m;
    const struct note *n;

    DL_FOREACH (rel->marks, m) {
        DL_FOREACH2(m->notes, n, mark_next)
        {
            place_add(s, &all, n->place);
        }
    }
    record_begin(s->w, STATE_RELIABLE);
    record_number(s->w, RELIABLE_PEER, peer_number(p));
    record_number(s->w, RELIABLE_DONE, rel->done);
    record_number(s->w, RELIABLE_TOLD, rel->told);
    record_number(s->w, RELIABLE_SEQUENCE, rel->marks ? rel->marks->prev->sequence : 0);
    record_bytes(s->w, RELIABLE_PLACES, all.row, all.n);
    record_end(s->w);
    numbering_fini(&all.seen);
    free(all.row);
}

static void save_stalled(struct save *s, const struct sub *sub)
{
    if (!sub || !sub_reliance(sub) || !sub->queue->reliance->is_stalled) {
        return;
    }
    record_begin(s->w, STATE_STALLED);
    if (sub->peer->group) {
        record_number(s->w, STALLED_GROUP, save_group_number(s, sub->peer->group));
    } else {
        record_number(s->w, STALLED_PEER, peer_number(sub->peer));
        record_number(s->w, STALLED_SUB, sub_id(sub));
    }
    record_end(s->w);
}

void save_reliable(struct save *s)
{
    const struct group *g;
    const struct peer *p;

    DL_FOREACH (s->router->peers, p) {
        for (uint32_t i = 0; i < p->n_subs_max; i++) {
            save_stalled(s, p->subs[i]);
        }
    }
    DL_FOREACH (s->router->groups.list, g) {
        save_stalled(s, g->face);
    }
    DL_FOREACH (s->router->peers, p) {
        if (p->reliable && p->state == PEER_READY) {
            save_one(s, p);
        }
    }
}
