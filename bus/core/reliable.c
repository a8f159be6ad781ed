/* SPDX-License-Identifier: MIT */
/* Publishers of reliable topics: which aliases these are, their marks, and ACKED. */
#include <assert.h>
#include <stdlib.h>
#include <utlist.h>
#include "core/member.h"
#include "core/reliance.h"

/* What a note is charged with: itself, and its place in reliable.next. */
#define NOTE_BYTES (sizeof(struct note) + TABLE_ENTRY_BYTES)

/* ---- aliases ---- */

static struct reliable *reliable_get(struct peer *p)
{
    if (!p->reliable && quota_allows(&p->quota, sizeof(*p->reliable))) {
        p->reliable = calloc(1, sizeof(*p->reliable));
        if (p->reliable) {
            p->reliable->peer = p;
            table_init(&p->reliable->next, p->router->config.hash_seed);
            charge_force(&p->charge, sizeof(*p->reliable)); /* allowed, as was seen above */
        }
    }
    return p->reliable;
}

/* Room for all of them, so that reliable_note() cannot fail. */
static bool list_reach(struct reliable *rel, uint32_t n)
{
    uint32_t n_new = rel->n_listed_max ? 2 * rel->n_listed_max : 4;
    uint64_t more = (uint64_t) (n_new - rel->n_listed_max) * sizeof(*rel->list);
    uint32_t *list;

    if (n <= rel->n_listed_max) {
        return true;
    }
    if (!charge_add(&rel->peer->charge, more)) {
        return false;
    }
    list = reallocarray(rel->list, n_new, sizeof(*list));
    if (!list) {
        charge_release(&rel->peer->charge, more);
        return false;
    }
    rel->list = list;
    rel->n_listed_max = n_new;
    return true;
}

bool reliable_add(struct peer *p, struct topic *t, uint32_t alias)
{
    struct reliable *rel = reliable_get(p);

    if (!rel || !list_reach(rel, rel->n_aliases + 1) || !peer_set_add(p, &rel->noted, alias)) {
        return false;
    }
    idset_remove(&rel->noted, alias); /* there is room for it now */
    if (!peer_set_add(p, &rel->aliases, alias)) {
        return false;
    }
    rel->n_aliases++;
    t->n_reliable++;
    return true;
}

void reliable_remove(struct peer *p, struct topic *t, uint32_t alias)
{
    struct reliable *rel = p->reliable;

    if (!alias_is_reliable(p, alias)) {
        return;
    }
    if (p->state == PEER_READY && idset_has(&rel->noted, alias)) {
        reliable_settle(p);
        if (rel->n_listed > 0) { /* who has got it can not be found any more */
            peer_end(p, BUS_GOODBYE_NO_MEMORY, "no memory for what is not acknowledged");
        }
    }
    idset_remove(&rel->noted, alias);
    idset_remove(&rel->aliases, alias);
    rel->n_aliases--;
    t->n_reliable--;
}

void reliable_note(struct peer *p, uint32_t alias)
{
    struct reliable *rel = p->reliable;

    if (!idset_has(&rel->noted, alias)) {
        (void) idset_add(&rel->noted, alias); /* there is room */
        rel->list[rel->n_listed++] = alias;
    }
}

/* ---- ACKED ---- */

static void acked_say(struct reliable *rel)
{
    struct wire_acked acked = {rel->done};
    struct peer *p = rel->peer;

    /* without room it is said when there is some: reliable_retry() */
    if (p->state != PEER_READY || rel->told == rel->done || p->out.bytes >= p->output_max) {
        return;
    }
    if (!peer_try_send(p, VERB_ACKED, &acked)) {
        peer_retry_later(p);
        return;
    }
    rel->told = rel->done;
    p->router->counters.acknowledgements++;
}

static void telling_stop(struct reliable *rel)
{
    if (rel->is_telling) {
        DL_DELETE2(rel->peer->router->telling, rel, telling_prev, telling_next);
        rel->is_telling = false;
    }
}

void reliable_tell_all(struct router *r)
{
    while (r->telling) {
        struct reliable *rel = r->telling;

        telling_stop(rel);
        acked_say(rel);
    }
}

static void done_up_to(struct reliable *rel, uint64_t sequence)
{
    rel->done = sequence;
    if (!rel->is_telling) {
        rel->is_telling = true;
        DL_APPEND2(rel->peer->router->telling, rel, telling_prev, telling_next);
    }
}

void reliable_retry(struct peer *p)
{
    if (p->reliable && p->state == PEER_READY) {
        reliable_settle(p);
        acked_say(p->reliable);
    }
}

/* ---- marks ---- */

static void mark_free(struct mark *m)
{
    charge_release(&m->owner->peer->charge, sizeof(*m));
    free(m);
}

/* Those in front that are done. */
static void marks_collect(struct reliable *rel)
{
    while (rel->marks && !rel->marks->notes) {
        struct mark *m = rel->marks;

        done_up_to(rel, m->sequence);
        DL_DELETE(rel->marks, m);
        mark_free(m);
    }
}

static uint32_t place_hash(const struct reliable *rel, const struct reliance *place)
{
    return table_hash(&rel->next, 0, &place, sizeof(place));
}

static bool place_equals(const void *object, const void *key)
{
    return ((const struct note *) object)->place == key;
}

void note_leave_next(struct note *n)
{
    struct reliable *rel = n->mark->owner;

    table_remove(&rel->next, place_hash(rel, n->place), n);
    n->is_next = false;
}

void note_free(struct note *n)
{
    struct reliance *place = n->place;

    if (n->is_next) {
        note_leave_next(n);
        DL_DELETE(place->next, n);
    } else {
        DL_DELETE(place->current, n);
    }
    DL_DELETE2(n->mark->notes, n, mark_prev, mark_next);
    charge_release(&n->mark->owner->peer->charge, NOTE_BYTES);
    free(n);
    reliance_rest(place);
}

void note_done(struct note *n)
{
    struct reliable *rel = n->mark->owner;

    note_free(n);
    marks_collect(rel);
}

/* False if limits or memory forbid. */
static bool note_new(struct mark *m, struct reliance *place)
{
    struct reliable *rel = m->owner;
    struct note *n;

    if (!quota_allows(&rel->peer->quota, NOTE_BYTES) || table_prepare(&rel->next) < 0) {
        return false;
    }
    n = calloc(1, sizeof(*n));
    if (!n) {
        return false;
    }
    charge_force(&rel->peer->charge, NOTE_BYTES); /* allowed, as was seen above */
    n->mark = m;
    DL_APPEND2(m->notes, n, mark_prev, mark_next);
    reliance_add(place, n);
    if (n->is_next) {
        table_insert(&rel->next, place_hash(rel, place), n);
    }
    return true;
}

/* Whether what this client publishes goes to it. */
static bool is_served(const struct peer *p, const struct sub *s)
{
    if (s->peer->group) {
        return s->peer->group->members != NULL;
    }
    return s->peer->state != PEER_CLOSING && !(s->flags & SUB_SERVE) &&
           !((s->flags & SUB_NO_LOCAL) && s->peer == p);
}

/* A note at a subscription, if there is none of this client that will do. */
static bool mark_sub(struct mark *m, struct sub *s)
{
    struct reliable *rel = m->owner;
    struct router *r = rel->peer->router;
    struct reliance *place;

    if (!is_served(rel->peer, s)) {
        return true;
    }
    place = reliance_get(s);
    if (!place) {
        return false;
    }
    if (place->is_stalled || place->settle == r->n_settles) {
        return true;
    }
    place->settle = r->n_settles;
    return table_find(&rel->next, place_hash(rel, place), place_equals, place) ||
           note_new(m, place);
}

static bool mark_topic(struct mark *m, const struct topic *t)
{
    for (uint32_t i = 0; i < t->n_matches; i++) {
        if (!mark_sub(m, t->matches[i]->sub)) {
            return false;
        }
    }
    m->owner->peer->router->work += t->n_matches;
    return true;
}

/* NULL if limits or memory forbid. */
static struct mark *mark_new(struct reliable *rel)
{
    struct peer *p = rel->peer;
    struct mark *m;

    if (!charge_add(&p->charge, sizeof(*m))) {
        return NULL;
    }
    m = calloc(1, sizeof(*m));
    if (!m) {
        charge_release(&p->charge, sizeof(*m));
        return NULL;
    }
    m->owner = rel;
    m->sequence = p->sequence;
    p->router->n_settles++;
    for (uint32_t i = 0; i < rel->n_listed; i++) {
        if (!mark_topic(m, p->aliases[rel->list[i] - 1])) {
            while (m->notes) {
                note_free(m->notes);
            }
            mark_free(m);
            return NULL;
        }
    }
    return m;
}

/* Where nothing waits and everything is consumed it is done already. */
static void mark_look(struct mark *m)
{
    struct note *n, *next;

    for (n = m->notes; n; n = next) {
        next = n->mark_next; /* at another place: this one may end n, and the last one the mark */
        reliance_look(n->place);
    }
}

/* The notes of others will do, if it has none: they are of marks that have to be done before. */
static void mark_commit(struct reliable *rel, struct mark *m)
{
    bool is_alone = !m->notes;

    if (!is_alone) {
        DL_APPEND(rel->marks, m);
        mark_look(m);
        return;
    }
    if (rel->marks) {
        rel->marks->prev->sequence = m->sequence; /* the newest */
    } else {
        done_up_to(rel, m->sequence);
    }
    mark_free(m);
}

void reliable_settle(struct peer *p)
{
    struct reliable *rel = p->reliable;
    struct mark *m;

    if (rel->n_listed == 0) {
        return;
    }
    m = mark_new(rel);
    if (!m) {
        peer_retry_later(p);
        return;
    }
    while (rel->n_listed > 0) {
        idset_remove(&rel->noted, rel->list[--rel->n_listed]);
    }
    mark_commit(rel, m);
}

/* ---- the end ---- */

bool reliable_drop(struct peer *p, unsigned *budget)
{
    struct reliable *rel = p->reliable;

    while (rel && rel->marks) {
        struct mark *m = rel->marks;

        for (; m->notes; --*budget) {
            if (*budget == 0) {
                return false;
            }
            note_free(m->notes);
        }
        DL_DELETE(rel->marks, m);
        mark_free(m);
    }
    return true;
}

void reliable_fini(struct peer *p)
{
    struct reliable *rel = p->reliable;

    if (rel) {
        assert(!rel->marks && rel->next.n == 0);
        telling_stop(rel);
        table_fini(&rel->next);
        idset_fini(&rel->aliases);
        idset_fini(&rel->noted);
        free(rel->list);
        free(rel);
        p->reliable = NULL;
    }
}

/* ---- tests ---- */

void reliable_check(const struct peer *p)
{
    const struct reliable *rel = p->reliable;
    uint32_t n_next = 0, n_noted = 0, n_aliases = 0;
    uint64_t sequence;
    const struct mark *m;
    const struct note *n;

    if (!rel) {
        return;
    }
    sequence = rel->done;
    assert(rel->peer == p && !rel->is_telling && rel->told <= rel->done);
    DL_FOREACH (rel->marks, m) {
        assert(m->owner == rel && (m->notes || m != rel->marks));
        assert(m->sequence > sequence && m->sequence <= p->sequence);
        sequence = m->sequence;
        DL_FOREACH2(m->notes, n, mark_next)
        {
            assert(n->mark == m);
            n_next += n->is_next;
        }
    }
    for (uint32_t i = 1; i <= p->n_aliases_max; i++) {
        n_aliases += idset_has(&rel->aliases, i) && p->aliases[i - 1];
        n_noted += idset_has(&rel->noted, i);
    }
    assert(n_next == rel->next.n && n_aliases == rel->n_aliases);
    assert(p->state == PEER_CLOSING || n_noted == rel->n_listed);
}

/* ---- built up again ---- */

bool reliable_restore(struct peer *p, uint64_t done, uint64_t told)
{
    struct reliable *rel = reliable_get(p);

    if (!rel || rel->marks || rel->done > 0) {
        return false;
    }
    rel->done = done;
    rel->told = told;
    return true;
}

bool reliable_restore_note(struct peer *p, struct sub *s, uint64_t sequence)
{
    struct reliable *rel = p->reliable;
    struct reliance *place = reliance_get(s);
    struct mark *m = rel->marks;
    struct note *n;

    if (!place || place->is_stalled || (s->peer->state == PEER_CLOSING && !s->peer->group)) {
        return false;
    }
    if (!m) {
        m = calloc(1, sizeof(*m));
        if (!m) {
            return false;
        }
        charge_force(&p->charge, sizeof(*m));
        m->owner = rel;
        m->sequence = sequence;
    }
    DL_FOREACH2(m->notes, n, mark_next)
    {
        if (n->place == place) {
            return false; /* never for a new mark, which has none */
        }
    }
    if (!note_new(m, place)) {
        if (!rel->marks) {
            mark_free(m);
        }
        return false;
    }
    if (!rel->marks) {
        DL_APPEND(rel->marks, m);
    }
    return true;
}
