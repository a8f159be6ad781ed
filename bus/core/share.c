/* SPDX-License-Identifier: MIT */
/* Which member of a group gets what, and when. */
#include <assert.h>
#include <utlist.h>
#include "core/cargo.h"
#include "core/drain.h"
#include "core/group.h"
#include "core/member.h"
#include "core/reliance.h"

/* ---- who can take something: a heap ---- */

static uint32_t window_used(const struct member *m)
{
    return sub_window(&m->sub)->messages - m->sub.credit_messages;
}

static bool is_before(const struct member *a, const struct member *b)
{
    uint32_t used_a = window_used(a), used_b = window_used(b);

    return used_a != used_b ? used_a < used_b : a->turn < b->turn;
}

static void ready_put(struct group *g, uint32_t place, struct member *m)
{
    g->ready[place - 1] = m;
    m->place = place;
}

/* Moves it to where it belongs. */
static void ready_settle(struct group *g, struct member *m)
{
    uint32_t place = m->place, child;

    for (; place > 1 && is_before(m, g->ready[place / 2 - 1]); place /= 2) {
        ready_put(g, place, g->ready[place / 2 - 1]);
    }
    while ((child = 2 * place) <= g->n_ready) {
        child += child < g->n_ready && is_before(g->ready[child], g->ready[child - 1]);
        if (!is_before(g->ready[child - 1], m)) {
            break;
        }
        ready_put(g, place, g->ready[child - 1]);
        place = child;
    }
    ready_put(g, place, m);
}

static void ready_remove(struct member *m)
{
    struct group *g = m->group;
    struct member *last;

    if (m->place == 0) {
        return;
    }
    last = g->ready[--g->n_ready];
    if (last != m) {
        last->place = m->place;
        ready_settle(g, last);
    }
    m->place = 0;
}

static bool has_room(const struct member *m)
{
    return m->sub.peer->out.bytes < m->sub.peer->output_max;
}

/* Nothing of its own is before what would come now. */
static bool is_open(const struct member *m)
{
    return member_takes(m) && sub_has_credit(&m->sub) && !m->returned && !sub_has_backlog(&m->sub);
}

void member_refresh(struct member *m)
{
    bool is_ready = is_open(m);

    if (is_ready && !has_room(m)) {
        sub_wait(&m->sub); /* it hears of it when there is */
        is_ready = false;
    }
    if (!is_ready) {
        ready_remove(m);
        return;
    }
    if (m->place == 0) {
        m->place = ++m->group->n_ready;
        assert(m->group->n_ready <= m->group->n_ready_max);
    }
    ready_settle(m->group, m);
}

void member_restore_ready(struct member *m)
{
    m->place = ++m->group->n_ready;
    ready_settle(m->group, m);
}

/* The one that is to get the next message; NULL if none can take any. Outputs fill up, and clients
 * end, without a word to the group. */
static struct member *ready_first(struct group *g)
{
    while (g->n_ready > 0) {
        struct member *m = g->ready[0];

        if (is_open(m) && has_room(m)) {
            return m;
        }
        member_refresh(m);
    }
    return NULL;
}

/* ---- keys ---- */

/* Those that stay are asked first, and those that drain last. */
static unsigned rank_for_slots(const struct member *m)
{
    return member_takes(m) ? 2 : !(m->sub.flags & SUB_DRAINING);
}

static struct member *fewest_slots(const struct group *g)
{
    struct member *m, *best = NULL;

    DL_FOREACH (g->members, m) {
        unsigned rank = rank_for_slots(m), best_rank = best ? rank_for_slots(best) : 0;

        if (!best || rank > best_rank || (rank == best_rank && m->n_slots < best->n_slots)) {
            best = m;
        }
    }
    return best;
}

struct member *group_slot(struct group *g, uint32_t key)
{
    struct member **slot = &g->slots[key % GROUP_SLOTS];

    if (!*slot) {
        *slot = fewest_slots(g);
        (*slot)->n_slots++;
        g->peer.router->work += g->n_members;
    }
    return *slot;
}

/* ---- one message ---- */

enum offered { OFFER_TAKEN, OFFER_WAITS, OFFER_NO_MEMORY };

/* It has credit and room. */
static enum offered member_take(struct member *m, const struct offering *o)
{
    const struct message *whole = o->parts->whole;
    bool done;

    if (whole && whole->cargo && !sub_takes_cargo(&m->sub, whole)) {
        sub_wait(&m->sub);
        return OFFER_WAITS;
    }
    done = m->sub.flags & SUB_ACK ? delivery_put(m, o) : sub_put(&m->sub, o->match, o->parts, NULL);
    if (!done) {
        sub_wait(&m->sub);
        peer_retry_later(m->sub.peer);
        return OFFER_NO_MEMORY;
    }
    m->turn = ++m->group->turn;
    member_refresh(m);
    return OFFER_TAKEN;
}

/* Whoever has just refused it is asked last. */
static bool is_tried_later(const struct offering *o, const struct member *m)
{
    return o->back && o->back->refused_by == m->number;
}

static enum offered group_offer(struct group *g, const struct offering *o, struct member **ret)
{
    struct member *aside = NULL, *later = NULL, *m;
    enum offered outcome = OFFER_WAITS;

    while (outcome == OFFER_WAITS && (m = ready_first(g))) {
        g->peer.router->work++;
        if (is_tried_later(o, m)) {
            later = m;
        } else if (sub_fits(&m->sub, o->parts)) {
            *ret = m;
            outcome = member_take(m, o);
        }
        if (outcome == OFFER_WAITS) {
            ready_remove(m);
            m->aside = aside;
            aside = m;
        }
    }
    for (; aside; aside = aside->aside) {
        member_refresh(aside);
    }
    if (outcome == OFFER_WAITS && later && sub_fits(&later->sub, o->parts)) {
        *ret = later;
        outcome = member_take(later, o);
    }
    return outcome;
}

/* Whether its body may be too large for some links. */
static bool is_large(const struct group *g, const struct message_parts *parts)
{
    return message_parts_body_bytes(parts) >
           MIN(FRAME_INLINE_MAX_SEQPACKET, g->peer.router->config.limits.stream_inline_max);
}

static bool fits_any(const struct group *g, const struct message_parts *parts)
{
    struct member *m;

    if (!is_large(g, parts)) {
        return true;
    }
    DL_FOREACH (g->members, m) {
        g->peer.router->work++;
        if (sub_fits(&m->sub, parts)) {
            return true;
        }
    }
    return false;
}

/* ---- what waits ---- */

static bool group_waits(const struct group *g)
{
    return g->n_untold > 0 || g->returned || sub_has_backlog(g->face);
}

void group_note_gap(struct group *g, enum bus_loss_reason reason, const struct gap *gap)
{
    g->gaps[reason].count += gap->count;
    g->gaps[reason].bytes += gap->bytes;
    g->n_untold += gap->count;
}

/* Whom a loss is told. Behind which nothing waits, it needs no credit. */
static struct member *find_listener(struct group *g, bool is_followed)
{
    struct member *m = ready_first(g);

    if (m || is_followed) {
        return m;
    }
    DL_FOREACH (g->members, m) {
        if (member_is_live(m) && has_room(m)) {
            return m;
        }
        if (member_is_live(m)) {
            sub_wait(&m->sub);
        }
    }
    return NULL;
}

static bool gap_tell(struct group *g, const struct gap *gap, enum bus_loss_reason reason,
                     bool is_followed)
{
    struct member *m = find_listener(g, is_followed);

    if (!m) {
        return false;
    }
    if (!sub_tell_loss(&m->sub, gap, reason)) {
        sub_wait(&m->sub);
        peer_retry_later(m->sub.peer);
        return false;
    }
    m->sub.peer->lost_messages += gap->count;
    m->sub.peer->lost_by[reason] += gap->count;
    return true;
}

static uint32_t queue_length(const struct group *g)
{
    return sub_queue(g->face) ? g->face->queue->q.n_messages : 0;
}

static bool pump_gaps(struct group *g)
{
    for (unsigned i = 0; i < SUBQ_REASONS; i++) {
        struct gap *gap = &g->gaps[i];

        if (gap->count == 0) {
            continue;
        }
        if (!gap_tell(g, gap, (enum bus_loss_reason) i, g->returned || queue_length(g) > 0)) {
            return false;
        }
        g->n_untold -= gap->count;
        *gap = (struct gap){0};
    }
    return true;
}

static void count_delivered(struct group *g, uint32_t size)
{
    struct counters *c = &g->peer.router->counters;

    c->messages_delivered++;
    c->bytes_delivered += size;
    g->peer.router->work++;
    sub_count_queued(g->face, -1, -(int64_t) size);
}

/* It waited, and will not be delivered any more. */
static void lose_waiting(struct group *g, uint32_t size, enum bus_loss_reason reason)
{
    g->peer.router->counters.messages_lost++;
    sub_count_queued(g->face, -1, -(int64_t) size);
    group_note_gap(g, reason, &(struct gap){1, size});
}

/* The same for one that came back. */
static void lose_returned(struct group *g, struct delivery **list, struct delivery *d,
                          enum bus_loss_reason reason)
{
    DL_DELETE(*list, d);
    g->n_returned--;
    lose_waiting(g, d->message->size, reason);
    delivery_free(d);
}

/* The first of what came back, to anybody or, if it is theirs, to that member. False if it must
 * wait. */
static bool pump_back(struct group *g, struct delivery **list, struct member *only)
{
    struct delivery *d = *list;
    struct message *m = d->message;
    struct message_parts parts = message_parts_of(m);
    struct match view = {.topic = m->topic}; /* members do not note in it what they know */
    struct offering o = {&view, &parts, &m, d, list, true};
    enum offered outcome = OFFER_WAITS;
    uint32_t size = m->size;
    struct member *taker;

    if (message_is_over(m, g->peer.router)) {
        g->peer.router->counters.messages_expired++;
        lose_returned(g, list, d, BUS_LOSS_EXPIRED);
        return true;
    }
    if (d->deliveries >= g->deliveries_max) {
        return delivery_give_up(d, list);
    }
    if (!only) {
        outcome = group_offer(g, &o, &taker);
    } else if (sub_has_credit(&only->sub) && sub_fits(&only->sub, &parts)) {
        outcome = has_room(only) ? member_take(only, &o) : OFFER_WAITS;
    }
    if (outcome == OFFER_TAKEN) {
        count_delivered(g, size);
        return true;
    }
    if (only ? sub_fits(&only->sub, &parts) : fits_any(g, &parts)) {
        return false;
    }
    lose_returned(g, list, d, BUS_LOSS_TOO_LARGE);
    return true;
}

static bool pump_queue(struct group *g)
{
    enum bus_loss_reason reason = BUS_LOSS_NONE;
    struct match *match = NULL;
    struct gap gap = {0};
    struct message *m = sub_front(g->face, &match, &gap, &reason);
    struct message_parts parts;
    struct member *taker;
    uint32_t size;

    if (!m) {
        if (!gap_tell(g, &gap, reason, queue_length(g) > 0)) {
            return false;
        }
        sub_pop(g->face);
        return true;
    }
    parts = message_parts_of(m);
    size = m->size;

    struct offering o = {match, &parts, &m, NULL, NULL, true};

    if (group_offer(g, &o, &taker) == OFFER_TAKEN) {
        count_delivered(g, size);
    } else if (fits_any(g, &parts)) {
        return false;
    } else {
        lose_waiting(g, size, BUS_LOSS_TOO_LARGE);
    }
    sub_pop(g->face);
    return true;
}

/* They may be over. */
static void members_note(struct group *g)
{
    struct member *m;

    DL_FOREACH (g->members, m) {
        drain_note(&m->sub);
    }
    g->peer.router->work += g->n_members;
}

void group_pump(struct group *g)
{
    bool moves = g->members != NULL;

    while (moves && group_waits(g)) {
        if (g->n_untold > 0) {
            moves = pump_gaps(g);
        } else if (g->returned) {
            moves = pump_back(g, &g->returned, NULL);
        } else {
            moves = pump_queue(g);
        }
    }
    if (g->members && UNLIKELY(sub_reliance(g->face) != NULL)) {
        reliance_look(g->face->queue->reliance);
    }
    if (UNLIKELY(g->n_draining > 0) && group_drains(g) && !group_waits(g)) {
        members_note(g);
    }
}

bool member_is_idle(const struct sub *s)
{
    const struct member *m = (const struct member *) (const void *) s;

    return m->n_unacked == 0 && !m->returned && !(group_drains(m->group) && group_waits(m->group));
}

void member_pump(struct sub *s)
{
    struct member *m = member_of(s);

    sub_unwait(s); /* if it must wait again, it goes to the end */
    while (m->returned && pump_back(m->group, &m->returned, m)) {
    }
    if (!m->returned) {
        sub_pump_queue(s);
    } else if (sub_has_credit(s) && !has_room(m)) {
        sub_wait(s);
    }
    member_refresh(m);
    if (UNLIKELY(sub_reliance(m->group->face) != NULL)) {
        reliance_look_member(m->group->face->queue->reliance, m);
    }
    group_pump(m->group);
}

bool member_put(struct sub *s, struct match *match, const struct message_parts *parts)
{
    struct message *m = parts->whole;
    struct offering o = {match, parts, &m, NULL, NULL, true};

    return delivery_put(member_of(s), &o);
}

void member_note_progress(struct sub *s, uint32_t messages)
{
    struct member *m = member_of(s);
    struct sub *face = m->group->face;

    sub_note_progress(face);
    if (UNLIKELY(sub_reliance(face) != NULL)) {
        reliance_credit_member(face->queue->reliance, m, messages);
    }
}

/* ---- what is published ---- */

static struct sub_outcome keyed_publish(struct member *m, const struct offering *o)
{
    struct sub_outcome outcome = {BUS_VERDICT_DELIVERED, BUS_LOSS_NONE, 0};

    if (!is_open(m) || !has_room(m) || !sub_fits(&m->sub, o->parts) ||
        member_take(m, o) != OFFER_TAKEN) {
        outcome = sub_enqueue(&m->sub, o->match, o->parts, o->message);
        member_refresh(m);
    }
    return outcome;
}

struct sub_outcome group_publish(struct match *match, const struct message_parts *parts,
                                 struct message **message, struct sub **ret)
{
    struct sub_outcome outcome = {BUS_VERDICT_DELIVERED, BUS_LOSS_NONE, 0};
    struct group *g = match->sub->peer->group;
    struct offering o = {match, parts, message, NULL, NULL, false};
    struct member *taker = g->members;

    if (group_drains(g)) { /* or there is none */
        return (struct sub_outcome){BUS_VERDICT_NONE, BUS_LOSS_NONE, 0};
    }
    if (g->slots && parts->key) {
        taker = group_slot(g, parts->key);
        *ret = &taker->sub;
        return keyed_publish(taker, &o);
    }
    if (!group_waits(g) && group_offer(g, &o, &taker) == OFFER_TAKEN) {
        *ret = &taker->sub;
        return outcome;
    }
    *ret = &g->members->sub;
    if (fits_any(g, parts)) {
        outcome = sub_enqueue(g->face, match, parts, message);
    } else {
        sub_lose(g->face, BUS_LOSS_TOO_LARGE, 1, parts->size);
        outcome = (struct sub_outcome){BUS_VERDICT_DROPPED, BUS_LOSS_TOO_LARGE, 0};
    }
    group_pump(g);
    return outcome;
}

struct sub *group_lose(struct sub *face, uint64_t size)
{
    struct group *g = face->peer->group;

    if (group_drains(g)) {
        return NULL;
    }
    sub_lose(face, BUS_LOSS_NO_MEMORY, 1, size);
    group_pump(g);
    return &g->members->sub;
}

void group_tell_stalled(struct group *g)
{
    struct member *m;

    DL_FOREACH (g->members, m) {
        struct wire_status status = {.code = BUS_STATUS_STALLED,
                                     .verb = VERB_SUBSCRIBE,
                                     .subscription = sub_id(&m->sub),
                                     .text = text_from("no member gets on; the policy is "
                                                       "drop_oldest now")};

        peer_send_status(m->sub.peer, &status);
    }
    group_pump(g);
}
