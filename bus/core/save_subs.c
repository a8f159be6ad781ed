/* SPDX-License-Identifier: MIT */
/* The state of a router as records: subscriptions, groups, and what waits for them. */
#include <string.h>
#include <utlist.h>
#include "core/alarm.h"
#include "core/handover.h"
#include "core/member.h"
#include "core/pace.h"
#include "core/replay.h"

/* ---- subscriptions ---- */

static void write_alarm(struct save *s, const struct sub *sub)
{
    const struct alarm *a = sub->flags & SUB_ALARM ? sub->peer->alarms[sub_id(sub) - 1] : NULL;

    if (a) {
        record_number(s->w, SUB_SILENCE_MS, a->period_ns / UINT64_C(1000000));
        record_number(s->w, SUB_SILENCE_LAST_NS, a->last_ns);
        record_number(s->w, SUB_SILENCE_TOLD, a->is_told);
        record_number(s->w, SUB_SILENCE_NS, a->timer.is_set ? a->timer.ns : 0);
    }
}

static void write_member(struct save *s, const struct sub *sub)
{
    const struct member *m = (const struct member *) (const void *) sub;
    const struct group *g = m->group;

    record_bytes(s->w, SUB_FILTER, g->text, g->filter_len);
    record_number(s->w, SUB_POLICY, g->policy);
    record_bytes(s->w, SUB_GROUP, group_name(g), g->name_len);
    record_bytes(s->w, SUB_DEAD_LETTER, group_dead_letter(g), g->dead_letter_len);
    record_number(s->w, SUB_DELIVERIES_MAX, g->flags & SUB_ACK ? g->deliveries_max : 0);
    record_number(s->w, SUB_MEMBER_NUMBER, m->number);
    record_number(s->w, SUB_MEMBER_TURN, m->turn);
    record_number(s->w, SUB_LAST_DELIVERY, m->last_delivery);
    record_number(s->w, SUB_IS_READY, m->place != 0);
}

static void save_sub(struct save *s, const struct sub *sub)
{
    const struct sub_window *w = sub_window(sub);
    char filter[256];

    record_begin(s->w, STATE_SUB);
    record_number(s->w, SUB_PEER, peer_number(sub->peer));
    record_number(s->w, SUB_NUMBER, sub_id(sub));
    if (sub->flags & SUB_MEMBER) {
        write_member(s, sub);
    } else {
        record_bytes(s->w, SUB_FILTER, filter, filters_text(sub, filter));
        record_number(s->w, SUB_POLICY, sub->policy);
    }
    record_number(s->w, SUB_FLAGS_WORD,
                  (sub->flags & SUB_FLAGS) | (sub->is_narrow ? SUBSCRIBE_NARROW : 0));
    record_number(s->w, SUB_IS_DRAINING, (sub->flags & SUB_DRAINING) != 0);
    record_number(s->w, SUB_POLICY_NOW, sub->policy);
    record_number(s->w, SUB_CREDIT_MESSAGES, sub->credit_messages);
    record_number(s->w, SUB_CREDIT_BYTES, number_fold(sub->credit_bytes));
    record_number(s->w, SUB_WINDOW_MESSAGES, w->messages);
    record_number(s->w, SUB_WINDOW_BYTES, w->bytes);
    record_number(s->w, SUB_QUEUE_MESSAGES, w->queue.messages);
    record_number(s->w, SUB_QUEUE_BYTES, w->queue.bytes);
    if (sub->starved_count > 0) {
        record_number(s->w, SUB_LOST, sub->starved_count);
        record_number(s->w, SUB_LOST_BYTES, sub->starved_bytes);
    }
    write_alarm(s, sub);
    record_end(s->w);
}

static void write_gaps(struct save *s, const struct group *g)
{
    uint8_t row[SUBQ_REASONS * 2 * NUMBER_MAX], *p = row;

    for (unsigned i = 0; i < SUBQ_REASONS; i++) {
        p = number_put(number_put(p, g->gaps[i].count), g->gaps[i].bytes);
    }
    record_bytes(s->w, GROUP_GAPS, row, g->n_untold > 0 ? (size_t) (p - row) : 0);
}

static void write_slots(struct save *s, const struct group *g)
{
    uint8_t row[GROUP_SLOTS * NUMBER_MAX], *p = row;

    for (uint32_t i = 0; g->slots && i < GROUP_SLOTS; i++) {
        p = number_put(p, g->slots[i] ? g->slots[i]->number : 0);
    }
    record_bytes(s->w, GROUP_SLOT_NUMBERS, row, (size_t) (p - row));
}

/* Its members first: the first one makes it. */
static void save_group(struct save *s, const struct group *g)
{
    const struct member *m;

    (void) save_group_number(s, g);
    DL_FOREACH (g->members, m) {
        save_sub(s, &m->sub);
    }
    record_begin(s->w, STATE_GROUP);
    record_number(s->w, GROUP_TURN, g->turn);
    record_number(s->w, GROUP_LAST_NUMBER, g->last_number);
    record_number(s->w, GROUP_POLICY_NOW, g->face->policy);
    if (g->face->starved_count > 0) {
        record_number(s->w, GROUP_LOST, g->face->starved_count);
        record_number(s->w, GROUP_LOST_BYTES, g->face->starved_bytes);
    }
    write_gaps(s, g);
    write_slots(s, g);
    record_end(s->w);
}

void save_subs(struct save *s)
{
    const struct group *g;
    const struct peer *p;

    DL_FOREACH (s->router->peers, p) {
        for (uint32_t i = 0; i < p->n_subs_max; i++) {
            if (p->subs[i] && !(p->subs[i]->flags & SUB_MEMBER)) {
                save_sub(s, p->subs[i]);
            }
        }
    }
    DL_FOREACH (s->router->groups.list, g) {
        save_group(s, g);
    }
}

/* ---- queues ---- */

/* Gaps between two messages, joined by reason in the order in which these come. */
struct gaps_between {
    struct gap gaps[SUBQ_REASONS];
    uint8_t reasons[SUBQ_REASONS];
    unsigned n;
};

static void gaps_flush(struct save *s, struct gaps_between *g, bool is_replay)
{
    for (unsigned i = 0; i < g->n; i++) {
        record_begin(s->w, STATE_ITEM);
        record_number(s->w, ITEM_LOST, g->gaps[i].count);
        record_number(s->w, ITEM_LOST_BYTES, g->gaps[i].bytes);
        record_number(s->w, ITEM_REASON, g->reasons[i]);
        record_number(s->w, ITEM_IS_REPLAY, is_replay);
        record_end(s->w);
    }
    g->n = 0;
}

static void gaps_add(struct gaps_between *g, const struct subq_item *item)
{
    unsigned i = 0;

    while (i < g->n && g->reasons[i] != item->gap_reason) {
        i++;
    }
    if (i == g->n) {
        g->reasons[g->n] = item->gap_reason;
        g->gaps[g->n++] = (struct gap){0};
    }
    g->gaps[i].count += item->gap_count;
    g->gaps[i].bytes += item->gap_bytes;
}

static void save_items(struct save *s, const struct subq *q, bool is_replay)
{
    struct gaps_between gaps = {.n = 0};

    for (uint64_t pos = q->head; pos != q->tail; pos++) {
        const struct subq_item *item = &q->ring[pos & (q->capacity - 1)];
        uint32_t message = save_message(s, item->message);

        if (!item->message) {
            gaps_add(&gaps, item);
            continue;
        }
        gaps_flush(s, &gaps, is_replay);
        record_begin(s->w, STATE_ITEM);
        record_number(s->w, ITEM_MESSAGE, message);
        record_number(s->w, ITEM_MATCH, item->match->index);
        record_number(s->w, ITEM_IS_REPLAY, is_replay);
        record_end(s->w);
    }
    gaps_flush(s, &gaps, is_replay);
}

static void save_paces(struct save *s, const struct pacer *pacer)
{
    const struct pace *pace;

    DL_FOREACH (pacer->list, pace) {
        uint32_t message = save_message(s, pace->waiting);

        record_begin(s->w, STATE_PACE);
        record_number(s->w, PACE_TOPIC, pace->match->topic->id);
        record_number(s->w, PACE_MATCH, pace->match->index);
        record_number(s->w, PACE_MESSAGE, message);
        record_number(s->w, PACE_LOST, pace->conflated.count);
        record_number(s->w, PACE_LOST_BYTES, pace->conflated.bytes);
        record_number(s->w, PACE_NS, pace->timer.ns);
        record_end(s->w);
    }
}

static void save_queue(struct save *s, const struct sub *sub)
{
    const struct sub_queue *sq = sub_queue(sub);

    if (!sq || (subq_is_empty(&sq->q) && !sq->replay && !sq->pacer)) {
        return; /* an empty one is made when it is needed */
    }
    record_begin(s->w, STATE_QUEUE);
    if (sub->peer->group) {
        record_number(s->w, QUEUE_GROUP, save_group_number(s, sub->peer->group));
    } else {
        record_number(s->w, QUEUE_PEER, peer_number(sub->peer));
        record_number(s->w, QUEUE_SUB, sub_id(sub));
    }
    record_number(s->w, QUEUE_INSIDE, sub->policy == BUS_POLICY_BLOCK ? sq->q.n_inside : 0);
    record_number(s->w, QUEUE_IS_STALLING, sq->is_stalling);
    record_number(s->w, QUEUE_PROGRESS_NS, sq->is_stalling ? sq->progress_ns : 0);
    record_number(s->w, QUEUE_BEGAN_NS, sq->began_ns);
    record_number(s->w, QUEUE_MOVED_NS, sq->moved_ns);
    record_number(s->w, QUEUE_LOST, sq->q.starved.count);
    record_number(s->w, QUEUE_LOST_BYTES, sq->q.starved.bytes);
    if (sq->replay) {
        record_number(s->w, QUEUE_HAS_REPLAY, 1);
        record_number(s->w, QUEUE_REPLAYED, sq->replay->n_sent);
        record_number(s->w, QUEUE_REPLAY_LOST, sq->replay->q.starved.count);
        record_number(s->w, QUEUE_REPLAY_LOST_BYTES, sq->replay->q.starved.bytes);
    }
    if (sq->pacer) {
        record_number(s->w, QUEUE_INTERVAL_MS, sq->pacer->interval_ns / UINT64_C(1000000));
    }
    record_end(s->w);
    if (sq->replay) {
        save_items(s, &sq->replay->q, true);
    }
    save_items(s, &sq->q, false);
    if (sq->pacer) {
        save_paces(s, sq->pacer);
    }
}

/* ---- deliveries ---- */

static void save_deliveries(struct save *s, const struct group *g, const struct delivery *list,
                            uint32_t member, bool is_out)
{
    const struct delivery *d;

    DL_FOREACH (list, d) {
        uint32_t message = save_message(s, d->message);

        record_begin(s->w, STATE_DELIVERY);
        record_number(s->w, DELIVERY_GROUP, save_group_number(s, g));
        record_number(s->w, DELIVERY_MEMBER, member);
        record_number(s->w, DELIVERY_IS_OUT, is_out);
        record_number(s->w, DELIVERY_MESSAGE, message);
        record_number(s->w, DELIVERY_NUMBER, is_out ? d->number : 0);
        record_number(s->w, DELIVERY_COUNT, d->deliveries);
        record_number(s->w, DELIVERY_REFUSED_BY, d->refused_by);
        record_end(s->w);
    }
}

static void save_group_queues(struct save *s, const struct group *g)
{
    const struct member *m;

    save_queue(s, g->face);
    save_deliveries(s, g, g->returned, 0, false);
    DL_FOREACH (g->members, m) {
        save_deliveries(s, g, m->unacked, m->number, true);
        save_deliveries(s, g, m->returned, m->number, false);
    }
}

/* ---- who waits for room ---- */

static void save_waiting(struct save *s, const struct peer *p)
{
    size_t n = 0;
    uint8_t *dst;

    if (!p->waiting) {
        return;
    }
    for (uint32_t i = p->waiting; i; i = p->subs[i - 1]->waiting_next) {
        n++;
    }
    record_begin(s->w, STATE_WAITING);
    record_number(s->w, WAITING_PEER, peer_number(p));
    dst = record_room(s->w, WAITING_SUBS, n * sizeof(uint32_t));
    for (uint32_t i = p->waiting; dst && i; i = p->subs[i - 1]->waiting_next) {
        memcpy(dst, &i, sizeof(i));
        dst += sizeof(i);
    }
    record_end(s->w);
}

void save_queues(struct save *s)
{
    const struct group *g;
    const struct peer *p;

    DL_FOREACH (s->router->peers, p) {
        for (uint32_t i = 0; i < p->n_subs_max; i++) {
            if (p->subs[i]) {
                save_queue(s, p->subs[i]);
            }
        }
        save_waiting(s, p);
    }
    DL_FOREACH (s->router->groups.list, g) {
        save_group_queues(s, g);
    }
}
