/* SPDX-License-Identifier: MIT */
#include "core/pace.h"
#include <assert.h>
#include <stdlib.h>
#include <utlist.h>
#include "base/units.h"
#include "core/reliance.h"
#include "core/state.h"

bool pacer_new(struct sub *s, uint32_t interval_ms)
{
    struct router *r = s->peer->router;
    struct sub_queue *sq = s->queue;

    if (!charge_add(&sq->charge, sizeof(*sq->pacer))) {
        return false;
    }
    sq->pacer = calloc(1, sizeof(*sq->pacer));
    if (!sq->pacer) {
        charge_release(&sq->charge, sizeof(*sq->pacer));
        return false;
    }
    table_init(&sq->pacer->by_topic, r->config.hash_seed);
    sq->pacer->interval_ns = interval_ms * NS_PER_MS;
    return true;
}

/* ---- one topic ---- */

static uint32_t topic_hash(const struct pacer *pacer, const struct topic *t)
{
    return table_hash(&pacer->by_topic, 0, &t->id, sizeof(t->id));
}

static bool topic_equals(const void *object, const void *key)
{
    return ((const struct pace *) object)->match->topic == key;
}

static uint64_t pace_memory(const struct topic *t)
{
    return sizeof(struct pace) + TABLE_ENTRY_BYTES + topic_memory(t->len);
}

static unsigned fds_of(const struct sub *s, const struct message *m)
{
    return m->cargo && (s->flags & SUB_DESCRIPTORS) ? cargo_n_fds(m->cargo) : 0;
}

/* Whether one more may wait; then it is charged. */
static bool waiting_allowed(struct pace *pace, const struct message *m)
{
    struct pacer *pacer = pace->sub->queue->pacer;
    unsigned n_fds = fds_of(pace->sub, m);

    return !(n_fds > 0 && pacer->n_fds > 0 && pacer->n_fds + n_fds > SUBQ_FDS_MAX) &&
           charge_add(&pace->sub->queue->charge, message_memory(m));
}

static void waiting_set(struct pace *pace, struct message *m)
{
    struct pacer *pacer = pace->sub->queue->pacer;

    pace->waiting = message_ref(m);
    pace->round = pacer->round;
    pacer->n_waiting++;
    pace->sub->peer->router->n_paced++;
    pacer->waiting_bytes += m->size;
    pacer->n_fds += fds_of(pace->sub, m);
    sub_count_queued(pace->sub, 1, m->size);
    if (m->cargo && (pace->sub->flags & SUB_DESCRIPTORS)) {
        m->cargo->n_wanted++;
    }
}

/* With its reference, and its claim on its descriptors. */
static struct message *waiting_take(struct pace *pace)
{
    struct pacer *pacer = pace->sub->queue->pacer;
    struct message *m = pace->waiting;

    pace->waiting = NULL;
    pacer->n_old -= pace->round != pacer->round;
    pacer->n_waiting--;
    pace->sub->peer->router->n_paced--;
    pacer->waiting_bytes -= m->size;
    pacer->n_fds -= fds_of(pace->sub, m);
    sub_count_queued(pace->sub, -1, -(int64_t) m->size);
    charge_release(&pace->sub->queue->charge, message_memory(m));
    return m;
}

static void waiting_put(const struct sub *s, struct message *m)
{
    if (m->cargo && (s->flags & SUB_DESCRIPTORS)) {
        cargo_unwant(m->cargo);
    }
    message_unref(m);
}

static void on_interval(struct router *r, struct timer *t);

static struct pace *pace_new(struct sub *s, struct match *match)
{
    struct router *r = s->peer->router;
    struct pacer *pacer = s->queue->pacer;
    uint64_t memory = pace_memory(match->topic);
    struct pace *pace;

    if (!quota_allows(s->queue->charge.quota, memory) || table_prepare(&pacer->by_topic) < 0) {
        return NULL;
    }
    pace = calloc(1, sizeof(*pace));
    if (!pace) {
        return NULL;
    }
    charge_force(&s->queue->charge, memory); /* allowed, as was seen above */
    pace->sub = s;
    pace->match = match;
    (void) topic_ref(match->topic);
    DL_APPEND(pacer->list, pace);
    table_insert(&pacer->by_topic, topic_hash(pacer, match->topic), pace);
    timer_set(&r->timers, &pace->timer, r->now.monotonic_ns + pacer->interval_ns, on_interval);
    return pace;
}

static void pace_free(struct pace *pace)
{
    struct sub *s = pace->sub;
    struct pacer *pacer = s->queue->pacer;
    struct topic *t = pace->match->topic;

    if (pace->waiting) {
        waiting_put(s, waiting_take(pace));
        s->peer->router->counters.messages_discarded++;
    }
    timer_stop(&s->peer->router->timers, &pace->timer);
    table_remove(&pacer->by_topic, topic_hash(pacer, t), pace);
    DL_DELETE(pacer->list, pace);
    charge_release(&s->queue->charge, pace_memory(t));
    free(pace);
    topic_unref(t);
}

/* ---- the end of an interval ---- */

/* Puts the notice into its place; the losses were counted when they happened. */
static void conflated_note(struct pace *pace)
{
    if (pace->conflated.count > 0) {
        subq_note_loss(&pace->sub->queue->q, BUS_LOSS_CONFLATED, pace->conflated.count,
                       pace->conflated.bytes);
        pace->conflated = (struct gap){0};
    }
}

/* What became of it, as fan_out() counts it of others. */
static void outcome_count(struct sub *s, const struct message *m, const struct sub_outcome *o)
{
    struct counters *c = &s->peer->router->counters;

    m->topic->lost_messages += o->evicted + (o->verdict == BUS_VERDICT_DROPPED);
    if (o->verdict == BUS_VERDICT_DELIVERED) {
        c->messages_delivered++;
        c->bytes_delivered += m->size;
    }
}

static void pace_go(struct pace *pace)
{
    struct sub *s = pace->sub;
    struct router *r = s->peer->router;
    struct message *m = waiting_take(pace);
    struct message_parts parts = message_parts_of(m);
    struct sub_outcome o = {BUS_VERDICT_DROPPED, BUS_LOSS_EXPIRED, 0};

    conflated_note(pace);
    r->work++;
    if (m->expires_ns && m->expires_ns <= r->now.monotonic_ns) {
        r->counters.messages_expired++;
        sub_lose(s, BUS_LOSS_EXPIRED, 1, m->size);
    } else {
        o = sub_pass(s, pace->match, &parts, &m);
    }
    outcome_count(s, m, &o);
    waiting_put(s, m);
    if (UNLIKELY(s->queue->reliance != NULL)) {
        reliance_look(s->queue->reliance);
    }
}

static void on_interval(struct router *r, struct timer *t)
{
    struct pace *pace = container_of(t, struct pace, timer);

    if (!pace->waiting || pace->sub->peer->state == PEER_CLOSING) {
        pace_free(pace);
        return;
    }
    pace_go(pace);
    timer_set(&r->timers, &pace->timer, r->now.monotonic_ns + pace->sub->queue->pacer->interval_ns,
              on_interval);
}

/* ---- publishing ---- */

static void pace_supersede(struct pace *pace)
{
    struct message *m = waiting_take(pace);

    pace->conflated.count++;
    pace->conflated.bytes += m->size;
    sub_count_lost(pace->sub, BUS_LOSS_CONFLATED, 1);
    waiting_put(pace->sub, m);
}

static struct sub_outcome pace_wait(struct pace *pace, const struct message_parts *parts,
                                    struct message **message)
{
    struct sub_outcome o = {BUS_VERDICT_QUEUED, BUS_LOSS_NONE, pace->waiting != NULL};

    if (pace->waiting) {
        pace_supersede(pace);
    }
    if (!*message) {
        *message = message_new(parts);
    }
    if (*message && waiting_allowed(pace, *message)) {
        waiting_set(pace, *message);
        if (UNLIKELY(pace->sub->queue->reliance != NULL)) {
            reliance_look(pace->sub->queue->reliance);
        }
        return o;
    }
    conflated_note(pace);
    sub_lose(pace->sub, BUS_LOSS_NO_MEMORY, 1, parts->size);
    o.verdict = BUS_VERDICT_DROPPED;
    o.reason = BUS_LOSS_NO_MEMORY;
    return o;
}

struct sub_outcome pace_message(struct sub *s, struct match *match,
                                const struct message_parts *parts, struct message **message)
{
    const struct pacer *pacer = s->queue->pacer;
    struct sub_outcome lost = {BUS_VERDICT_DROPPED, BUS_LOSS_NO_MEMORY, 0};
    struct pace *pace =
        table_find(&pacer->by_topic, topic_hash(pacer, match->topic), topic_equals, match->topic);

    if (pace) {
        return pace_wait(pace, parts, message);
    }
    if (!pace_new(s, match)) {
        sub_lose(s, BUS_LOSS_NO_MEMORY, 1, parts->size);
        return lost;
    }
    return sub_pass(s, match, parts, message);
}

/* ---- built up again ---- */

bool pace_restore(struct sub *s, struct match *match, struct message *m,
                  const struct gap *conflated, uint64_t end_ns)
{
    struct router *r = s->peer->router;
    const struct pacer *pacer = s->queue->pacer;
    struct pace *pace;

    if (match->sub != s || (m && m->topic != match->topic) || (!m && conflated->count > 0) ||
        table_find(&pacer->by_topic, topic_hash(pacer, match->topic), topic_equals, match->topic)) {
        return false;
    }
    pace = pace_new(s, match);
    if (!pace) {
        return false;
    }
    timer_set(&r->timers, &pace->timer, end_ns, on_interval);
    if (m) {
        charge_force(&s->queue->charge, message_memory(m));
        waiting_set(pace, m);
        pace->conflated = *conflated;
    }
    return true;
}

/* ---- all of them ---- */

void pacer_begin_round(struct pacer *pacer)
{
    pacer->round++;
    pacer->n_old = pacer->n_waiting;
}

void pacer_flush(struct sub *s)
{
    struct pacer *pacer = sub_pacer(s);
    struct pace *pace = pacer ? pacer->list : NULL;

    for (; pace; pace = pace->next) {
        if (pace->waiting) {
            pace_go(pace);
        }
    }
}

static void pace_lose(struct pace *pace, enum bus_loss_reason reason)
{
    struct message *m = waiting_take(pace);

    conflated_note(pace);
    subq_note_loss(&pace->sub->queue->q, reason, 1, m->size);
    sub_count_lost(pace->sub, reason, 1);
    m->topic->lost_messages++;
    waiting_put(pace->sub, m);
}

void pacer_lose(struct sub *s, const struct match *match, enum bus_loss_reason reason)
{
    struct pacer *pacer = sub_pacer(s);
    struct pace *pace = pacer ? pacer->list : NULL, *next;

    for (; pace; pace = next) {
        next = pace->next;
        if (match && pace->match != match) {
            continue;
        }
        if (pace->waiting) {
            pace_lose(pace, reason);
        }
        pace_free(pace);
    }
}

bool pacer_drop(struct sub *s, unsigned *budget)
{
    struct pacer *pacer = sub_pacer(s);

    if (!pacer) {
        return true;
    }
    for (; pacer->list; (*budget)--) {
        if (*budget == 0) {
            return false;
        }
        pace_free(pacer->list);
    }
    table_fini(&pacer->by_topic);
    free(pacer);
    s->queue->pacer = NULL;
    charge_release(&s->queue->charge, sizeof(*pacer));
    return true;
}

void pacer_check(const struct pacer *pacer)
{
    const struct pace *pace;
    uint32_t n = 0, n_waiting = 0, n_old = 0;
    uint64_t bytes = 0;

    DL_FOREACH (pacer->list, pace) {
        n++;
        assert(pace->match->sub == pace->sub && pace->timer.is_set);
        assert(pace->waiting || pace->conflated.count == 0);
        if (pace->waiting) {
            n_waiting++;
            n_old += pace->round != pacer->round;
            bytes += pace->waiting->size;
            assert(pace->waiting->topic == pace->match->topic);
        }
    }
    assert(n == pacer->by_topic.n && n_old == pacer->n_old);
    assert(n_waiting == pacer->n_waiting && bytes == pacer->waiting_bytes);
}
