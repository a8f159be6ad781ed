/* SPDX-License-Identifier: MIT */
/* Records of subscriptions, groups, and what waits for them. */
#include <string.h>
#include <utlist.h>
#include "core/alarm.h"
#include "core/drain.h"
#include "core/handover.h"
#include "core/member.h"
#include "core/pace.h"
#include "core/replay.h"
#include "core/sub_queue.h"

/* ---- subscriptions ---- */

static struct wire_subscribe subscribe_of(const struct record *rec)
{
    return (struct wire_subscribe){
        .subscription = record_get_32(rec, SUB_NUMBER),
        .filter = record_text(rec, SUB_FILTER),
        .policy = record_get_32(rec, SUB_POLICY),
        .window_messages = record_get_32(rec, SUB_WINDOW_MESSAGES),
        .window_bytes = record_get(rec, SUB_WINDOW_BYTES),
        .queue_messages = record_get_32(rec, SUB_QUEUE_MESSAGES),
        .queue_bytes = record_get(rec, SUB_QUEUE_BYTES),
        .flags = record_get_32(rec, SUB_FLAGS_WORD),
        .group = record_text(rec, SUB_GROUP),
        .silence_ms = record_get_32(rec, SUB_SILENCE_MS),
        .deliveries_max = record_get_32(rec, SUB_DELIVERIES_MAX),
        .dead_letter = record_text(rec, SUB_DEAD_LETTER),
    };
}

/* The policy is what was asked for, or what became of one that blocked. */
static bool policy_restore(struct load *l, struct sub *s, uint32_t now)
{
    if (now != s->policy && !(s->policy == BUS_POLICY_BLOCK && now == BUS_POLICY_DROP_OLDEST)) {
        return load_refuse(l, "subscription: policy");
    }
    s->policy = now & 7;
    return true;
}

static bool credit_restore(struct load *l, struct sub *s)
{
    const struct sub_window *w = sub_window(s);
    uint32_t messages = record_get_32(l->record, SUB_CREDIT_MESSAGES);
    int64_t bytes = number_unfold(record_get(l->record, SUB_CREDIT_BYTES));

    /* one message may have been larger than what was left */
    if (messages > w->messages || bytes > (int64_t) w->bytes || bytes < -(INT64_C(1) << 40)) {
        return load_refuse(l, "subscription: credit");
    }
    s->credit_messages = messages;
    s->credit_bytes = bytes;
    return true;
}

/* Lost, with no memory even for a queue. */
static bool lost_restore(struct sub *s, uint64_t count, uint64_t bytes)
{
    if (count > 0 && (s->flags & SUB_SERVE)) {
        return false;
    }
    if (count > 0) {
        s->starved_count = count;
        s->starved_bytes = bytes;
    }
    return true;
}

static bool member_restore(struct load *l, struct member *m)
{
    const struct record *rec = l->record;
    const struct member *before = m == m->group->members ? NULL : m->prev;
    uint32_t number = record_get_32(rec, SUB_MEMBER_NUMBER);

    if (number == 0 || (before && before->number >= number) || (l->group && l->group != m->group)) {
        return load_refuse(l, "member of a group: its number, or its place");
    }
    l->group = m->group;
    m->number = number;
    m->turn = record_get(rec, SUB_MEMBER_TURN);
    m->last_delivery = record_get_32(rec, SUB_LAST_DELIVERY);
    m->aside = record_get(rec, SUB_IS_READY) ? m : NULL; /* until what waits for it is known */
    return true;
}

bool load_sub(struct load *l)
{
    const struct record *rec = l->record;
    const struct wire_subscribe m = subscribe_of(rec);
    struct peer *p = load_peer_of(l, SUB_PEER);
    struct sub *s = p ? sub_restore(p, &m) : NULL;

    if (!s) {
        return load_refuse(l, "subscription, or memory for it");
    }
    if (s->flags & SUB_ALARM) {
        alarm_restore(s, record_get(rec, SUB_SILENCE_LAST_NS), record_get(rec, SUB_SILENCE_TOLD),
                      record_get(rec, SUB_SILENCE_NS));
    }
    return (!(s->flags & SUB_MEMBER) || member_restore(l, member_of(s))) &&
           (!record_get(rec, SUB_IS_DRAINING) || drain_restore(s) || load_starve(l)) &&
           policy_restore(l, s, record_get_32(rec, SUB_POLICY_NOW)) && credit_restore(l, s) &&
           (lost_restore(s, record_get(rec, SUB_LOST), record_get(rec, SUB_LOST_BYTES)) ||
            load_refuse(l, "subscription: losses"));
}

/* ---- groups ---- */

static bool gaps_restore(struct load *l, struct group *g)
{
    struct text row = record_text(l->record, GROUP_GAPS);

    for (unsigned i = 0; row.len > 0 && i < SUBQ_REASONS; i++) {
        struct gap gap;

        if (!number_take(&row, &gap.count) || !number_take(&row, &gap.bytes)) {
            return load_refuse(l, "group: losses");
        }
        group_note_gap(g, (enum bus_loss_reason) i, &gap);
    }
    return true;
}

static struct member *member_by_number(const struct group *g, uint64_t number)
{
    struct member *m;

    DL_FOREACH (g->members, m) {
        if (m->number == number) {
            return m;
        }
    }
    return NULL;
}

static bool slots_restore(struct load *l, struct group *g)
{
    struct text row = record_text(l->record, GROUP_SLOT_NUMBERS);
    uint64_t number;

    for (uint32_t i = 0; g->slots && i < GROUP_SLOTS && number_take(&row, &number); i++) {
        g->slots[i] = number ? member_by_number(g, number) : NULL;
        if (number && !g->slots[i]) {
            return load_refuse(l, "group: slots");
        }
        if (g->slots[i]) {
            g->slots[i]->n_slots++;
        }
    }
    return true;
}

bool load_group(struct load *l)
{
    const struct record *rec = l->record;
    struct group *g = l->group;

    if (!g || record_get_32(rec, GROUP_LAST_NUMBER) < g->members->prev->number) {
        return load_refuse(l, "group");
    }
    l->group = NULL;
    if (!load_reach(l, (void ***) &l->groups, l->n_groups, &l->n_groups_max)) {
        return false;
    }
    l->groups[l->n_groups++] = g;
    g->turn = record_get(rec, GROUP_TURN);
    g->last_number = record_get_32(rec, GROUP_LAST_NUMBER);
    return policy_restore(l, g->face, record_get_32(rec, GROUP_POLICY_NOW)) &&
           lost_restore(g->face, record_get(rec, GROUP_LOST), record_get(rec, GROUP_LOST_BYTES)) &&
           gaps_restore(l, g) && slots_restore(l, g);
}

/* ---- queues ---- */

static bool replay_restore(struct load *l, struct sub *s)
{
    if (!record_get(l->record, QUEUE_HAS_REPLAY)) {
        return true;
    }
    if ((s->flags & SUB_MEMBER) || s->peer->group) {
        return load_refuse(l, "queue: replay");
    }
    if (!replay_new(s)) {
        return load_starve(l);
    }
    s->queue->replay->n_sent = record_get(l->record, QUEUE_REPLAYED);
    return true;
}

static bool pacer_restore(struct load *l, struct sub *s)
{
    uint32_t interval_ms = record_get_32(l->record, QUEUE_INTERVAL_MS);

    if (interval_ms == 0) {
        return true;
    }
    if ((s->flags & SUB_MEMBER) || s->peer->group || s->policy == BUS_POLICY_BLOCK) {
        return load_refuse(l, "queue: min_interval_ms");
    }
    return pacer_new(s, interval_ms) || load_starve(l);
}

/* By progress: queues come in the order of their subscriptions. */
static void stalling_insert(struct router *r, struct sub_queue *sq, uint64_t progress_ns)
{
    struct sub_queue *before = r->stalling ? r->stalling->stalling_prev : NULL;

    while (before && before->progress_ns > progress_ns) {
        before = before == r->stalling ? NULL : before->stalling_prev;
    }
    sq->progress_ns = progress_ns;
    sq->is_stalling = true;
    if (before) {
        DL_APPEND_ELEM2(r->stalling, before, sq, stalling_prev, stalling_next);
    } else {
        DL_PREPEND2(r->stalling, sq, stalling_prev, stalling_next);
    }
}

bool load_queue(struct load *l)
{
    const struct record *rec = l->record;
    struct group *g = load_group_of(l, QUEUE_GROUP);
    struct sub *s = g ? g->face : load_sub_of(l, QUEUE_PEER, QUEUE_SUB);
    uint64_t progress_ns = record_get(rec, QUEUE_PROGRESS_NS);
    uint32_t n_inside = record_get_32(rec, QUEUE_INSIDE);

    l->queue_of = NULL;
    if (!s || (s->flags & SUB_SERVE) || s->queue || s->starved_count > 0 ||
        (n_inside > 0 && s->policy != BUS_POLICY_BLOCK)) {
        return load_refuse(l, "queue");
    }
    if (!sub_make_queue(s)) {
        return load_starve(l);
    }
    s->queue->q.starved =
        (struct gap){record_get(rec, QUEUE_LOST), record_get(rec, QUEUE_LOST_BYTES)};
    if (!replay_restore(l, s) || !pacer_restore(l, s)) {
        return false;
    }
    s->queue->began_ns = record_get(rec, QUEUE_BEGAN_NS);
    s->queue->moved_ns = record_get(rec, QUEUE_MOVED_NS);
    if (record_get(rec, QUEUE_IS_STALLING)) {
        stalling_insert(l->router, s->queue, progress_ns);
    }
    if (s->queue->replay) {
        s->queue->replay->q.starved = (struct gap){record_get(rec, QUEUE_REPLAY_LOST),
                                                   record_get(rec, QUEUE_REPLAY_LOST_BYTES)};
    }
    l->queue_of = s;
    l->n_inside = n_inside;
    return true;
}

/* The match of a message's topic at that place, if it is that subscription's. */
static struct match *match_of(const struct load *l, const struct topic *t, unsigned field,
                              const struct sub *s)
{
    uint64_t index = record_get(l->record, field);

    return t && index < t->n_matches && t->matches[index]->sub == s ? t->matches[index] : NULL;
}

/* For members, whose queues name matches of their group. */
static const struct sub *matched_sub(const struct sub *s)
{
    return sub_group(s) ? sub_group(s)->face : s;
}

/* Losses for which there was no memory come behind everything: they are put aside meanwhile. */
static bool item_gap(struct load *l, struct subq *q)
{
    struct gap starved = q->starved;
    uint64_t reason = record_get(l->record, ITEM_REASON);
    uint64_t count = record_get(l->record, ITEM_LOST);
    bool noted;

    if (count == 0 || count >> 56 || reason == 0 || reason >= SUBQ_REASONS) {
        return load_refuse(l, "queue: a loss");
    }
    q->starved = (struct gap){0};
    subq_note_loss(q, (enum bus_loss_reason) reason, count, record_get(l->record, ITEM_LOST_BYTES));
    noted = q->starved.count == 0;
    q->starved = starved;
    return noted || load_starve(l);
}

static void item_push(struct load *l, struct subq *q, struct message *m, struct match *match)
{
    struct gap starved = q->starved;

    q->starved = (struct gap){0};
    subq_push(q, m, match);
    q->starved = starved;
    sub_count_queued(l->queue_of, 1, m->size);
    if (l->n_inside == 0 || q != &l->queue_of->queue->q) {
        return;
    }
    if (q->n_messages <= l->n_inside) {
        q->n_inside++;
        q->bytes_inside += m->size;
        q->held_from = q->tail;
    } else {
        m->holds++; /* beyond the bounds */
    }
}

bool load_item(struct load *l)
{
    struct message *m = load_message_of(l, ITEM_MESSAGE);
    struct sub *s = l->queue_of;
    bool is_replay = record_get(l->record, ITEM_IS_REPLAY);
    struct match *match;
    struct subq *q;

    if (!s || (is_replay && !s->queue->replay)) {
        return load_refuse(l, "queue: an item of none");
    }
    q = is_replay ? &s->queue->replay->q : &s->queue->q;
    if (!record_get(l->record, ITEM_MESSAGE)) {
        return item_gap(l, q);
    }
    match = m ? match_of(l, m->topic, ITEM_MATCH, matched_sub(s)) : NULL;
    if (!match) {
        return load_refuse(l, "queue: a message");
    }
    q->bounds_fds = false; /* they were within the bounds when they came */
    if (!subq_prepare(q, m)) {
        return load_starve(l);
    }
    item_push(l, q, m, match);
    q->bounds_fds = !is_replay && s->policy != BUS_POLICY_BLOCK;
    return true;
}

bool load_pace(struct load *l)
{
    const struct record *rec = l->record;
    struct sub *s = l->queue_of;
    struct message *m = load_message_of(l, PACE_MESSAGE);
    const struct gap lost = {record_get(rec, PACE_LOST), record_get(rec, PACE_LOST_BYTES)};
    struct match *match =
        s && s->queue->pacer ? match_of(l, load_topic_of(l, PACE_TOPIC), PACE_MATCH, s) : NULL;

    if (!match || (record_get(rec, PACE_MESSAGE) && !m)) {
        return load_refuse(l, "interval");
    }
    return pace_restore(s, match, m, &lost, record_get(rec, PACE_NS)) ||
           load_refuse(l, "interval, or memory for it");
}

/* ---- deliveries ---- */

bool load_delivery(struct load *l)
{
    const struct record *rec = l->record;
    uint64_t number = record_get(rec, DELIVERY_MEMBER);
    struct delivery as = {
        .message = load_message_of(l, DELIVERY_MESSAGE),
        .group = load_group_of(l, DELIVERY_GROUP),
        .number = record_get_32(rec, DELIVERY_NUMBER),
        .deliveries = record_get_32(rec, DELIVERY_COUNT),
        .refused_by = record_get_32(rec, DELIVERY_REFUSED_BY),
    };
    struct member *m = as.group && number ? member_by_number(as.group, number) : NULL;

    if (!as.group || !as.message || (number && !m)) {
        return load_refuse(l, "delivery");
    }
    return delivery_restore(&as, m, record_get(rec, DELIVERY_IS_OUT)) ||
           load_refuse(l, "delivery, or memory for it");
}

/* ---- who waits for room ---- */

bool load_waiting(struct load *l)
{
    const struct peer *p = load_peer_of(l, WAITING_PEER);
    struct text row = record_text(l->record, WAITING_SUBS);

    for (; p && row.len >= sizeof(uint32_t); row.len -= sizeof(uint32_t)) {
        uint32_t number;

        memcpy(&number, row.data, sizeof(number));
        row.data += sizeof(number);
        if (number == 0 || number > p->n_subs_max || !p->subs[number - 1]) {
            return load_refuse(l, "waiting");
        }
        sub_wait(p->subs[number - 1]);
    }
    return p || load_refuse(l, "waiting");
}
