/* SPDX-License-Identifier: MIT */
/* Interest: publishers are told how many subscriptions match their topics. Whatever changes the
 * matches of a watched topic only notes it; presence_turn() counts, once for all changes of a turn.
 * New wildcard subscriptions, which topics find when they are published to, are found for watched
 * topics by a sweep over these: docs/decisions/026-presence.md. */
#include "core/interest.h"
#include <assert.h>
#include <stdlib.h>
#include <utlist.h>
#include "core/state.h"

static void interest_change(struct interest *i)
{
    if (!i->is_changed) {
        i->is_changed = true;
        DL_APPEND2(i->router->presence.changed, i, changed_prev, changed_next);
    }
}

static void interest_settle(struct interest *i)
{
    if (i->is_changed) {
        i->is_changed = false;
        DL_DELETE2(i->router->presence.changed, i, changed_prev, changed_next);
    }
}

void interest_note(struct topic *t, void *userdata)
{
    (void) userdata;
    interest_change(t->interest);
}

void interest_note_sub(const struct sub *s)
{
    const struct match *m;

    DL_FOREACH2(s->matches, m, sub_next)
    {
        if (m->topic->interest) {
            interest_change(m->topic->interest);
        }
    }
}

/* ---- watching ---- */

static struct interest *interest_new(struct router *r, struct topic *t)
{
    struct interest *i = calloc(1, sizeof(*i));

    if (i) {
        i->router = r;
        i->topic = t;
        t->interest = i;
        DL_APPEND(r->presence.watched, i);
        r->presence.n_watched++;
    }
    return i;
}

static void interest_end(struct interest *i)
{
    struct presence *all = &i->router->presence;

    interest_settle(i);
    i->topic->interest = NULL;
    DL_DELETE(all->watched, i);
    all->n_watched--;
    all->n_to_sweep = MIN(all->n_to_sweep, all->n_watched);
    free(i);
}

bool interest_add(struct peer *p, struct topic *t, uint32_t alias)
{
    struct watch *w;

    if (!peer_table_reach(p, (void ***) &p->watches, &p->n_watches_max, alias) ||
        !charge_add(&p->charge, WATCH_BYTES)) {
        return false;
    }
    w = calloc(1, sizeof(*w));
    if (!w || (!t->interest && !interest_new(p->router, t))) {
        free(w);
        charge_release(&p->charge, WATCH_BYTES);
        return false;
    }
    w->interest = t->interest;
    w->peer = p;
    w->alias = alias;
    p->watches[alias - 1] = w;
    DL_APPEND(t->interest->watches, w);
    interest_change(t->interest);
    return true;
}

static void watch_stop_waiting(struct watch *w)
{
    if (w->is_waiting) {
        DL_DELETE2(w->peer->waiting_watches, w, waiting_prev, waiting_next);
        w->is_waiting = false;
    }
}

void interest_drop(struct peer *p, struct topic *t, uint32_t alias)
{
    struct watch *w = alias <= p->n_watches_max ? p->watches[alias - 1] : NULL;

    if (!w) {
        return;
    }
    p->watches[alias - 1] = NULL;
    watch_stop_waiting(w);
    DL_DELETE(t->interest->watches, w);
    charge_release(&p->charge, WATCH_BYTES);
    free(w);
    if (!t->interest->watches) {
        interest_end(t->interest);
    }
}

void interest_resume(struct peer *p)
{
    while (p->waiting_watches) {
        interest_change(p->waiting_watches->interest);
        watch_stop_waiting(p->waiting_watches);
    }
}

void interests_fini(struct peer *p)
{
    charge_release(&p->charge, p->n_watches_max * sizeof(void *));
    free(p->watches);
    p->watches = NULL;
    p->n_watches_max = 0;
}

/* ---- counting and telling ---- */

static bool sub_is_interest(const struct sub *s)
{
    if (s->flags & (SUB_SERVE | SUB_DRAINING)) {
        return false;
    }
    return s->peer->group ? !group_is_draining(s->peer->group) : s->peer->state != PEER_CLOSING;
}

static void count_missing(struct sub *s, void *ctx)
{
    *(uint32_t *) ctx += sub_is_interest(s);
}

/* False if out of memory. What does not fit into the output waits for room there. */
static bool watch_tell(struct watch *w, uint32_t n)
{
    struct wire_interest m = {w->alias, n};
    struct peer *p = w->peer;

    /* who may not publish is told nothing, until that changes */
    if (p->state == PEER_CLOSING || idset_has(&p->muted, w->alias) ||
        (w->is_told && w->told == n)) {
        watch_stop_waiting(w);
        return true;
    }
    if (p->out.bytes >= p->output_max) {
        if (!w->is_waiting) {
            w->is_waiting = true;
            DL_APPEND2(p->waiting_watches, w, waiting_prev, waiting_next);
        }
        return true;
    }
    if (!peer_try_send(p, VERB_INTEREST, &m)) {
        return false;
    }
    watch_stop_waiting(w);
    w->is_told = true;
    w->told = n;
    p->router->counters.interests_told++;
    return true;
}

/* False if it is to be done again, for want of memory. */
static bool interest_tell(struct interest *i)
{
    struct topic *t = i->topic;
    struct router *r = i->router;
    uint32_t total = 0, missing = 0;
    bool all_told = true;
    struct watch *w;

    if (!topic_is_resolved(t)) {
        uint32_t n = t->n_matches;

        r->work += topic_resolve(t, count_missing, &missing);
        servers_found(t, n);
    }
    for (uint32_t k = 0; k < t->n_matches; k++) {
        const struct sub *s = t->matches[k]->sub;

        total += sub_is_interest(s);
        s->peer->n_own += sub_is_interest(s) && (s->flags & SUB_NO_LOCAL);
    }
    DL_FOREACH (i->watches, w) {
        r->work++;
        all_told &= watch_tell(w, total + missing - w->peer->n_own);
    }
    for (uint32_t k = 0; k < t->n_matches; k++) {
        t->matches[k]->sub->peer->n_own = 0;
    }
    r->work += t->n_matches;
    return all_told && missing == 0;
}

/* The matches of all watched topics, one after the other, are looked at once after there were new
 * wildcards. */
static void interest_sweep(struct router *r, uint64_t end)
{
    struct presence *all = &r->presence;

    if (all->epoch != r->topics.epoch) {
        all->epoch = r->topics.epoch;
        all->n_to_sweep = all->n_watched;
    }
    for (; all->n_to_sweep > 0 && r->work < end; all->n_to_sweep--, r->work++) {
        struct interest *i = all->watched;

        DL_DELETE(all->watched, i);
        DL_APPEND(all->watched, i);
        if (!topic_is_resolved(i->topic)) {
            interest_change(i);
        }
    }
}

void interest_turn(struct router *r, uint64_t end)
{
    interest_sweep(r, end);
    while (r->presence.changed && r->work < end && !r->presence.is_interest_starved) {
        struct interest *i = r->presence.changed;
        bool is_done = interest_tell(i);

        interest_settle(i);
        if (!is_done) {
            interest_change(i); /* behind the others */
            r->presence.is_interest_starved = true;
            router_retry_later(r);
        }
    }
}

bool interest_is_due(const struct router *r)
{
    const struct presence *all = &r->presence;

    return (all->changed && !all->is_interest_starved) || all->n_to_sweep > 0 ||
           (all->n_watched > 0 && all->epoch != r->topics.epoch);
}

void interest_check(const struct router *r)
{
    const struct presence *all = &r->presence;
    const struct interest *i;
    const struct watch *w;
    uint32_t n = 0, n_changed = 0;

    DL_FOREACH (all->watched, i) {
        assert(i->topic->interest == i && i->watches);
        DL_FOREACH (i->watches, w) {
            assert(w->interest == i && w->peer->aliases[w->alias - 1] == i->topic);
            assert(w->peer->watches[w->alias - 1] == w);
        }
        n++;
        n_changed += i->is_changed;
    }
    DL_FOREACH2(all->changed, i, changed_next)
    {
        n_changed--;
    }
    assert(n == all->n_watched && n_changed == 0 && all->n_to_sweep <= n);
}
