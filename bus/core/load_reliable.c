/* SPDX-License-Identifier: MIT */
/* Records of what publishers of reliable topics wait for. */
#include <utlist.h>
#include "core/drain.h"
#include "core/handover.h"
#include "core/member.h"
#include "core/reliance.h"

static struct sub *place_take(struct load *l, struct text *row)
{
    const struct sender *sender;
    uint64_t whose, number;

    if (!number_take(row, &whose) || !number_take(row, &number) || whose >> 1 > UINT32_MAX) {
        return NULL;
    }
    if (whose & 1) {
        return whose >> 1 && whose >> 1 <= l->n_groups ? l->groups[(whose >> 1) - 1]->face : NULL;
    }
    sender = idpool_get(&l->router->sender_ids, (uint32_t) (whose >> 1));
    return sender && sender->peer && number > 0 && number <= sender->peer->n_subs_max
               ? sender->peer->subs[number - 1]
               : NULL;
}

/* Whether messages may be noted at it: not at a member, whose group's they are. */
static bool is_place(const struct sub *s)
{
    return s && !(s->flags & (SUB_SERVE | SUB_MEMBER));
}

bool load_reliable(struct load *l)
{
    const struct record *rec = l->record;
    struct peer *p = load_peer_of(l, RELIABLE_PEER);
    uint64_t done = record_get(rec, RELIABLE_DONE), told = record_get(rec, RELIABLE_TOLD);
    uint64_t sequence = record_get(rec, RELIABLE_SEQUENCE);
    struct text row = record_text(rec, RELIABLE_PLACES);

    if (!p || p->state != PEER_READY || told > done || done > p->sequence ||
        (sequence && (sequence <= done || sequence > p->sequence)) ||
        (row.len > 0) != (sequence > 0)) {
        return load_refuse(l, "reliable topics of a client");
    }
    if (!reliable_restore(p, done, told)) {
        return load_refuse(l, "reliable topics of a client: twice, or memory");
    }
    while (row.len > 0) {
        struct sub *s = place_take(l, &row);

        if (!is_place(s)) {
            return load_refuse(l, "reliable topics: who got them");
        }
        if (!reliable_restore_note(p, s, sequence)) {
            return load_refuse(l, "reliable topics: who got them, twice, or memory");
        }
    }
    return true;
}

bool load_stalled(struct load *l)
{
    struct group *g = load_group_of(l, STALLED_GROUP);
    struct sub *s = g ? g->face : load_sub_of(l, STALLED_PEER, STALLED_SUB);
    struct reliance *rel;

    if (!is_place(s)) {
        return load_refuse(l, "who is not waited for");
    }
    rel = reliance_get(s);
    if (!rel) {
        return load_starve(l);
    }
    if (rel->stage != PLACE_IDLE) {
        return load_refuse(l, "who is not waited for, and is");
    }
    rel->is_stalled = true;
    return true;
}

static void place_look(const struct sub *s)
{
    if (sub_reliance(s)) {
        reliance_look(s->queue->reliance);
    }
}

/* Ends nothing that is walked over: who ends them does it in the next turn. */
static void subs_look(const struct peer *p)
{
    for (uint32_t i = 0; i < p->n_subs_max; i++) {
        struct sub *s = p->subs[i];

        if (s) {
            place_look(s);
        }
        if (s && (s->flags & SUB_DRAINING) && drain_is_over(s)) {
            drain_note(s);
        }
    }
}

void load_reliable_end(struct router *r)
{
    struct group *g;
    struct peer *p;

    DL_FOREACH (r->peers, p) {
        subs_look(p);
    }
    DL_FOREACH (r->groups.list, g) {
        place_look(g->face);
    }
    reliable_tell_all(r);
}
