/* SPDX-License-Identifier: MIT */
/* Subscriptions of which publishers want to know what is consumed: rounds. */
#include "core/reliance.h"
#include <assert.h>
#include <stdlib.h>
#include <utlist.h>
#include "base/units.h"
#include "core/member.h"
#include "core/pace.h"

/* It belongs to the queue, so that a subscription without is no larger for it. No limit applies:
 * who has no memory left must not keep publishers waiting. There is one for each subscription. */
struct reliance *reliance_get(struct sub *s)
{
    struct reliance *rel;

    if (sub_reliance(s)) {
        return s->queue->reliance;
    }
    if (!sub_force_queue(s)) {
        return NULL;
    }
    rel = calloc(1, sizeof(*rel));
    if (!rel) {
        return NULL;
    }
    rel->sub = s;
    charge_force(&s->queue->charge, sizeof(*rel));
    s->queue->reliance = rel;
    return rel;
}

static struct group *group_of(const struct reliance *rel)
{
    return rel->sub->peer->group;
}

/* ---- who is awaited ---- */

static void await_stop(struct reliance *rel)
{
    if (rel->is_awaited) {
        DL_DELETE2(rel->sub->peer->router->awaited, rel, late_prev, late_next);
        rel->is_awaited = false;
    }
}

static void await(struct reliance *rel)
{
    struct router *r = rel->sub->peer->router;

    rel->progress_ns = r->now.monotonic_ns;
    rel->is_awaited = true;
    DL_APPEND2(r->awaited, rel, late_prev, late_next);
}

void reliance_progress(struct reliance *rel)
{
    rel->is_stalled = false;
    if (rel->is_awaited) {
        await_stop(rel);
        await(rel);
    }
}

void reliance_rest(struct reliance *rel)
{
    if (!rel->current && !rel->next) {
        rel->stage = PLACE_IDLE;
        await_stop(rel);
    }
}

/* ---- what is old ---- */

static uint64_t queue_end(const struct sub *s)
{
    return sub_queue(s) ? s->queue->q.tail : 0;
}

/* Gaps are told sooner or later, whoever waits for it. Positions may have become smaller meanwhile,
 * never larger. */
static bool queue_is_past(const struct sub *s, uint64_t end)
{
    return !sub_queue(s) || s->queue->q.n_messages == 0 || s->queue->q.head >= end;
}

/* Messages of keys wait at the members. */
static void members_begin(struct reliance *rel, struct group *g)
{
    struct member *m;

    DL_FOREACH (g->members, m) {
        m->old_end = queue_end(&m->sub);
        m->is_old = !queue_is_past(&m->sub, m->old_end);
        rel->n_left += m->is_old;
    }
    g->peer.router->work += g->n_members;
}

static uint32_t sent_by(const struct sub *s)
{
    return sub_window(s)->messages - s->credit_messages;
}

static void group_sent_begin(struct reliance *rel, struct group *g)
{
    struct member *m;

    if (g->flags & SUB_ACK) {
        g->round++;
        rel->n_left = g->n_deliveries;
        return;
    }
    DL_FOREACH (g->members, m) {
        m->n_old = sent_by(&m->sub);
        rel->n_left += m->n_old;
    }
    g->peer.router->work += g->n_members;
}

/* Whoever waits for the end of an interval owes nothing. */
static void paced_begin(struct reliance *rel)
{
    struct pacer *pacer = sub_pacer(rel->sub);

    if (pacer) {
        await_stop(rel);
        pacer_begin_round(pacer);
    }
}

static void queued_begin(struct reliance *rel)
{
    rel->queue_end = queue_end(rel->sub);
    if (!rel->is_awaited) {
        await(rel);
    }
}

static void stage_begin(struct reliance *rel, enum place_stage stage)
{
    struct group *g = group_of(rel);

    rel->stage = stage;
    rel->n_left = 0;
    if (stage == PLACE_PACED) {
        paced_begin(rel);
    } else if (stage == PLACE_QUEUED) {
        queued_begin(rel);
    } else if (stage == PLACE_MEMBERS && g && g->slots) {
        members_begin(rel, g);
    } else if (stage == PLACE_SENT && g) {
        group_sent_begin(rel, g);
    } else if (stage == PLACE_SENT) {
        rel->n_left = sent_by(rel->sub);
    }
}

static bool stage_is_over(const struct reliance *rel)
{
    const struct pacer *pacer = sub_pacer(rel->sub);

    if (rel->stage == PLACE_PACED) {
        return !pacer || pacer->n_old == 0;
    }
    return rel->stage == PLACE_QUEUED ? queue_is_past(rel->sub, rel->queue_end) : rel->n_left == 0;
}

/* ---- rounds ---- */

static void round_begin(struct reliance *rel)
{
    struct note *n;

    DL_FOREACH (rel->next, n) {
        note_leave_next(n);
    }
    DL_CONCAT(rel->current, rel->next);
    rel->next = NULL;
    stage_begin(rel, PLACE_PACED);
}

static void round_end(struct reliance *rel)
{
    while (rel->current) {
        note_done(rel->current);
    }
    if (rel->next) {
        round_begin(rel);
    }
}

void reliance_look(struct reliance *rel)
{
    while (!rel->is_frozen && rel->stage != PLACE_IDLE && stage_is_over(rel)) {
        if (rel->stage == PLACE_SENT) {
            round_end(rel);
        } else {
            stage_begin(rel, rel->stage + 1);
        }
    }
}

void reliance_add(struct reliance *rel, struct note *n)
{
    n->place = rel;
    n->is_next = rel->stage != PLACE_IDLE;
    if (n->is_next) {
        DL_APPEND(rel->next, n);
        return;
    }
    DL_APPEND(rel->current, n);
    round_begin(rel);
}

void reliance_freeze(struct reliance *rel)
{
    rel->is_frozen = true;
}

void reliance_thaw(struct reliance *rel)
{
    rel->is_frozen = false;
    if (rel->stage != PLACE_IDLE) {
        round_begin(rel);
        reliance_look(rel);
    }
}

/* ---- what is consumed ---- */

static void consume(struct reliance *rel, uint64_t messages)
{
    rel->n_left -= messages;
    reliance_look(rel);
}

void reliance_credit(struct reliance *rel, uint32_t messages)
{
    if (rel->stage == PLACE_SENT) {
        consume(rel, MIN(messages, rel->n_left));
    }
}

void reliance_credit_member(struct reliance *rel, struct member *m, uint32_t messages)
{
    messages = MIN(messages, m->n_old);
    if (rel->stage == PLACE_SENT && !(m->group->flags & SUB_ACK)) {
        m->n_old -= messages;
        consume(rel, messages);
    }
}

void reliance_delivery_ended(struct reliance *rel, const struct delivery *d)
{
    if (rel->stage == PLACE_SENT && d->round != d->group->round) {
        consume(rel, 1);
    }
}

void reliance_look_member(struct reliance *rel, struct member *m)
{
    if (rel->stage == PLACE_MEMBERS && m->is_old && queue_is_past(&m->sub, m->old_end)) {
        m->is_old = false;
        consume(rel, 1);
    }
}

/* ---- the end ---- */

static bool notes_end(struct reliance *rel, unsigned *budget)
{
    while (rel->current || rel->next) {
        if (*budget == 0) {
            return false;
        }
        --*budget;
        note_done(rel->current ? rel->current : rel->next);
    }
    return true;
}

bool reliance_end(struct sub *s, unsigned *budget)
{
    struct reliance *rel = sub_reliance(s);

    if (!rel) {
        return true;
    }
    if (!notes_end(rel, budget)) {
        return false;
    }
    charge_release(&s->queue->charge, sizeof(*rel));
    free(rel);
    s->queue->reliance = NULL;
    return true;
}

static void stall_tell(const struct sub *s)
{
    struct wire_status status = {.code = BUS_STATUS_STALLED,
                                 .verb = VERB_SUBSCRIBE,
                                 .subscription = sub_id(s),
                                 .text = text_from("no credit; publishers of reliable topics do "
                                                   "not wait for it until it gives some")};

    peer_send_status(s->peer, &status);
}

static void stall(struct reliance *rel)
{
    struct group *g = group_of(rel);
    unsigned all = UINT32_MAX;
    struct member *m;

    rel->is_stalled = true;
    rel->sub->peer->router->counters.reliable_stalls++;
    (void) notes_end(rel, &all);
    if (!g) {
        stall_tell(rel->sub);
        return;
    }
    DL_FOREACH (g->members, m) {
        stall_tell(&m->sub);
    }
}

uint64_t reliance_deadline(const struct router *r)
{
    return r->awaited ? r->awaited->progress_ns + r->config.limits.stall_timeout_ms * NS_PER_MS
                      : UINT64_MAX;
}

void reliance_expire(struct router *r, uint64_t now_ns)
{
    while (reliance_deadline(r) <= now_ns) {
        stall(r->awaited);
    }
}

/* ---- tests ---- */

static void notes_check(const struct reliance *rel, const struct note *list, bool is_next)
{
    const struct note *n;

    DL_FOREACH (list, n) {
        assert(n->place == rel && n->is_next == is_next && n->mark->owner->peer->reliable);
    }
}

static void group_round_check(const struct reliance *rel, const struct group *g)
{
    const struct member *m;
    uint64_t n = 0;

    DL_FOREACH (g->members, m) {
        n += rel->stage == PLACE_MEMBERS ? m->is_old : m->n_old;
        assert(rel->stage != PLACE_SENT || m->n_old <= sent_by(&m->sub));
    }
    if (rel->stage == PLACE_MEMBERS || (rel->stage == PLACE_SENT && !(g->flags & SUB_ACK))) {
        assert(n == rel->n_left);
    } else {
        assert(rel->stage != PLACE_SENT || rel->n_left <= g->n_deliveries);
    }
}

void reliance_check(const struct sub *s)
{
    const struct reliance *rel = sub_reliance(s);

    if (!rel) {
        return;
    }
    assert(rel->sub == s && !rel->is_frozen);
    notes_check(rel, rel->current, false);
    notes_check(rel, rel->next, true);
    assert((rel->stage == PLACE_IDLE) == (!rel->current && !rel->next));
    assert(rel->stage == PLACE_IDLE || !rel->is_stalled);
    assert(rel->is_awaited == (rel->stage >= PLACE_QUEUED) || rel->stage == PLACE_PACED);
    assert(s->is_ended || rel->stage == PLACE_IDLE || !stage_is_over(rel));
    if (group_of(rel)) {
        group_round_check(rel, group_of(rel));
    } else if (rel->stage == PLACE_SENT) {
        assert(rel->n_left <= sent_by(s));
    }
}
