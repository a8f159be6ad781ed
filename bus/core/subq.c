/* SPDX-License-Identifier: MIT */
#include "core/subq.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/macros.h"
#include "core/cargo.h"
#include "core/topics.h"

/* One trailing gap for each reason can be noted without memory. */
#define SUBQ_SPARE (SUBQ_REASONS - 1u)
#define SUBQ_CAPACITY_MIN 16u

static struct subq_item *item_at(const struct subq *q, uint64_t pos)
{
    return &q->ring[pos & (q->capacity - 1)];
}

static uint64_t ring_memory(uint32_t capacity)
{
    return capacity * sizeof(struct subq_item);
}

void subq_init(struct subq *q, struct charge *charge)
{
    *q = (struct subq){.charge = charge};
}

static unsigned fds_of(const struct subq *q, const struct message *m)
{
    return m->cargo && q->wants_fds ? cargo_n_fds(m->cargo) : 0;
}

static void message_drop(struct subq *q, struct message *m)
{
    q->n_fds -= fds_of(q, m);
    q->n_messages--;
    q->bytes -= m->size;
    charge_release(q->charge, message_memory(m));
    if (m->cargo && q->wants_fds) {
        cargo_unwant(m->cargo);
    }
    message_unref(m);
}

void subq_fini(struct subq *q, subq_release_fn release)
{
    subq_release_all(q, release);
    for (uint64_t pos = q->head; pos != q->tail; pos++) {
        if (item_at(q, pos)->message) {
            message_drop(q, item_at(q, pos)->message);
        }
    }
    charge_release(q->charge, ring_memory(q->capacity));
    free(q->ring);
    *q = (struct subq){.charge = q->charge, .wants_fds = q->wants_fds, .bounds_fds = q->bounds_fds};
}

/* ---- room ---- */

static void item_move(struct subq_item *to, const struct subq_item *from, uint64_t pos)
{
    *to = *from;
    if (to->message) {
        to->match->latest_pos = (uint32_t) pos;
    }
}

/* The gap of a reason behind the last message before end, or NULL. */
static struct subq_item *gap_before(const struct subq *q, uint64_t end, unsigned reason)
{
    for (uint64_t pos = end; pos != q->head && !item_at(q, pos - 1)->message; pos--) {
        if (item_at(q, pos - 1)->gap_reason == reason) {
            return item_at(q, pos - 1);
        }
    }
    return NULL;
}

/* Joins gaps of one reason between two messages. Positions change, so not while messages hold
 * credit: then there are no inner gaps. */
static void ring_compact(struct subq *q)
{
    uint64_t to = q->head;

    for (uint64_t from = q->head; from != q->tail; from++) {
        struct subq_item *item = item_at(q, from);
        struct subq_item *gap = item->message ? NULL : gap_before(q, to, item->gap_reason);

        if (gap) {
            gap->gap_count += item->gap_count;
            gap->gap_bytes += item->gap_bytes;
        } else {
            item_move(item_at(q, to), item, to);
            to++;
        }
    }
    q->tail = to;
}

static bool ring_resize(struct subq *q, uint32_t capacity)
{
    struct subq_item *ring;
    uint64_t more = ring_memory(capacity) - ring_memory(q->capacity);

    if (!charge_add(q->charge, more)) {
        return false;
    }
    ring = malloc(ring_memory(capacity));
    if (!ring) {
        charge_release(q->charge, more);
        return false;
    }
    for (uint64_t pos = q->head; pos != q->tail; pos++) {
        ring[pos & (capacity - 1)] = *item_at(q, pos);
    }
    free(q->ring);
    q->ring = ring;
    q->capacity = capacity;
    return true;
}

static bool ring_has_room(const struct subq *q, uint32_t n)
{
    return q->tail - q->head + n <= q->capacity;
}

static bool ring_make_room(struct subq *q, uint32_t n)
{
    if (ring_has_room(q, n)) {
        return true;
    }
    if (q->tail - q->head > 2 * (uint64_t) q->n_messages + SUBQ_SPARE && !subq_has_held(q)) {
        ring_compact(q);
        if (ring_has_room(q, n + q->capacity / 4)) {
            return true;
        }
    }
    return ring_resize(q, q->capacity ? q->capacity * 2 : SUBQ_CAPACITY_MIN);
}

uint64_t subq_needs(const struct subq *q, const struct message *m)
{
    uint32_t more = q->capacity ? q->capacity : SUBQ_CAPACITY_MIN;

    return message_memory(m) + (ring_has_room(q, 2 + SUBQ_SPARE) ? 0 : ring_memory(more));
}

bool subq_prepare(struct subq *q, const struct message *m)
{
    if (!ring_make_room(q, 2 + SUBQ_SPARE)) {
        return false;
    }
    if (q->bounds_fds && q->n_fds > 0 && fds_of(q, m) > 0 &&
        q->n_fds + fds_of(q, m) > SUBQ_FDS_MAX) {
        return false;
    }
    return charge_add(q->charge, message_memory(m));
}

/* ---- gaps ---- */

static void item_set_gap(struct subq_item *item, enum bus_loss_reason reason, const struct gap *gap)
{
    item->message = NULL;
    item->gap_bytes = gap->bytes;
    item->gap_count = gap->count & ((UINT64_C(1) << 56) - 1);
    item->gap_reason = (uint8_t) reason;
}

/* A gap behind the last message, into one of the same reason if there is one. False if there is no
 * slot. */
static bool ring_note_gap(struct subq *q, enum bus_loss_reason reason, const struct gap *gap)
{
    struct subq_item *item = gap_before(q, q->tail, reason);

    if (item) {
        item->gap_count += gap->count;
        item->gap_bytes += gap->bytes;
        return true;
    }
    if (!ring_has_room(q, 1) && !ring_make_room(q, 1)) {
        return false;
    }
    item_set_gap(item_at(q, q->tail), reason, gap);
    q->tail++;
    return true;
}

void subq_note_loss(struct subq *q, enum bus_loss_reason reason, uint64_t count, uint64_t bytes)
{
    struct gap gap = {count, bytes};

    if (q->starved.count == 0 && ring_note_gap(q, reason, &gap)) {
        return;
    }
    /* not even memory for a gap: whatever the reason was, it is want of memory now */
    q->starved.count += count;
    q->starved.bytes += bytes;
}

bool subq_evict(struct subq *q, enum bus_loss_reason reason, uint64_t *bytes)
{
    struct gap gaps[SUBQ_REASONS] = {0};
    uint64_t pos = q->head;

    if (q->n_messages == 0) {
        return false;
    }
    for (; !item_at(q, pos)->message; pos++) {
        gaps[item_at(q, pos)->gap_reason].count += item_at(q, pos)->gap_count;
        gaps[item_at(q, pos)->gap_reason].bytes += item_at(q, pos)->gap_bytes;
    }
    gaps[reason].count++;
    gaps[reason].bytes += item_at(q, pos)->message->size;
    *bytes += item_at(q, pos)->message->size;
    message_drop(q, item_at(q, pos)->message);
    /* what was passed is at least as many slots as there are reasons in it */
    pos++;
    for (unsigned i = 0; i < SUBQ_REASONS; i++) {
        if (gaps[i].count > 0) {
            item_set_gap(item_at(q, --pos), (enum bus_loss_reason) i, &gaps[i]);
        }
    }
    q->head = pos;
    return true;
}

const struct message *subq_oldest(const struct subq *q)
{
    uint64_t pos = q->head;

    while (pos != q->tail && !item_at(q, pos)->message) {
        pos++;
    }
    return pos != q->tail ? item_at(q, pos)->message : NULL;
}

const struct message *subq_newest(const struct subq *q)
{
    uint64_t pos = q->tail;

    while (pos != q->head && !item_at(q, pos - 1)->message) {
        pos--;
    }
    return pos != q->head ? item_at(q, pos - 1)->message : NULL;
}

bool subq_evict_newest(struct subq *q, enum bus_loss_reason reason, uint64_t *bytes)
{
    struct gap gaps[SUBQ_REASONS] = {0};
    uint64_t pos = q->tail;

    if (q->n_messages == 0) {
        return false;
    }
    for (; !item_at(q, pos - 1)->message; pos--) {
        gaps[item_at(q, pos - 1)->gap_reason].count += item_at(q, pos - 1)->gap_count;
        gaps[item_at(q, pos - 1)->gap_reason].bytes += item_at(q, pos - 1)->gap_bytes;
    }
    pos--;
    gaps[reason].count++;
    gaps[reason].bytes += item_at(q, pos)->message->size;
    *bytes += item_at(q, pos)->message->size;
    message_drop(q, item_at(q, pos)->message);
    /* as many slots as there are reasons, at most, were passed */
    for (unsigned i = 0; i < SUBQ_REASONS; i++) {
        if (gaps[i].count > 0) {
            item_set_gap(item_at(q, pos++), (enum bus_loss_reason) i, &gaps[i]);
        }
    }
    q->tail = pos;
    return true;
}

void subq_shrink(struct subq *q)
{
    uint32_t capacity = q->capacity;
    struct subq_item *ring;

    while (capacity > SUBQ_CAPACITY_MIN && (q->tail - q->head + SUBQ_SPARE) * 4 < capacity) {
        capacity /= 2;
    }
    ring = capacity < q->capacity ? malloc(ring_memory(capacity)) : NULL;
    if (!ring) {
        return; /* then it goes with the queue */
    }
    for (uint64_t pos = q->head; pos != q->tail; pos++) {
        ring[pos & (capacity - 1)] = *item_at(q, pos);
    }
    charge_release(q->charge, ring_memory(q->capacity) - ring_memory(capacity));
    free(q->ring);
    q->ring = ring;
    q->capacity = capacity;
}

bool subq_supersede(struct subq *q, struct match *match, uint64_t *bytes)
{
    /* the ring is far shorter than 2^32; a position that is long past names an item of something
     * else */
    uint64_t pos = q->head + (uint32_t) (match->latest_pos - (uint32_t) q->head);
    struct subq_item *item;
    struct gap gap;

    if (q->capacity == 0 || pos >= q->tail) {
        return false;
    }
    item = item_at(q, pos);
    if (!item->message || item->match != match) {
        return false;
    }
    gap = (struct gap){1, item->message->size};
    *bytes += gap.bytes;
    message_drop(q, item->message);
    item_set_gap(item, BUS_LOSS_CONFLATED, &gap);
    return true;
}

/* ---- in and out ---- */

void subq_push(struct subq *q, struct message *m, struct match *match)
{
    struct subq_item *item;

    if (q->starved.count > 0) {
        item_set_gap(item_at(q, q->tail), BUS_LOSS_NO_MEMORY, &q->starved);
        q->tail++;
        q->starved = (struct gap){0};
    }
    item = item_at(q, q->tail);
    item->message = message_ref(m);
    item->match = match;
    item->gap_count = 0;
    item->gap_reason = 0;
    match->latest_pos = (uint32_t) q->tail;
    q->tail++;
    q->n_messages++;
    q->bytes += m->size;
    q->n_fds += fds_of(q, m);
    if (m->cargo && q->wants_fds) {
        m->cargo->n_wanted++;
    }
}

static bool inside_fits(const struct subq *q, const struct subq_bounds *b, uint64_t size)
{
    return q->n_inside == 0 || (q->n_inside < b->messages && q->bytes_inside <= b->bytes &&
                                size <= b->bytes - q->bytes_inside);
}

bool subq_has_held(const struct subq *q)
{
    return q->n_inside < q->n_messages && q->held_from < q->tail && q->n_inside > 0;
}

bool subq_push_held(struct subq *q, struct message *m, struct match *match,
                    const struct subq_bounds *b)
{
    bool held = subq_has_held(q) || !inside_fits(q, b, m->size);

    subq_push(q, m, match);
    if (!held) {
        q->n_inside++;
        q->bytes_inside += m->size;
        q->held_from = q->tail;
        return false;
    }
    m->holds++;
    return true;
}

static void message_unhold(struct message *m, subq_release_fn release)
{
    if (--m->holds == 0) {
        release(m);
    }
}

/* Room inside the bounds has come free: the next ones move in. */
static void held_advance(struct subq *q, const struct subq_bounds *b, subq_release_fn release)
{
    while (q->held_from < q->tail) {
        struct message *m = item_at(q, q->held_from)->message;

        if (m && !inside_fits(q, b, m->size)) {
            return;
        }
        if (m) {
            q->n_inside++;
            q->bytes_inside += m->size;
            message_unhold(m, release);
        }
        q->held_from++;
    }
}

void subq_release_all(struct subq *q, subq_release_fn release)
{
    if (subq_has_held(q)) {
        for (uint64_t pos = q->held_from; pos != q->tail; pos++) {
            if (item_at(q, pos)->message) {
                message_unhold(item_at(q, pos)->message, release);
            }
        }
    }
    q->n_inside = 0;
    q->bytes_inside = 0;
    q->held_from = q->tail;
}

struct message *subq_front(struct subq *q, struct match **ret_match, struct gap *ret_gap,
                           enum bus_loss_reason *ret_reason)
{
    struct subq_item *item;

    if (q->head == q->tail) {
        *ret_gap = q->starved;
        *ret_reason = BUS_LOSS_NO_MEMORY;
        return NULL;
    }
    item = item_at(q, q->head);
    if (item->message) {
        *ret_match = item->match;
        return item->message;
    }
    while (q->head + 1 != q->tail && !item_at(q, q->head + 1)->message &&
           item_at(q, q->head + 1)->gap_reason == item->gap_reason) {
        struct subq_item *next = item_at(q, ++q->head);

        next->gap_count += item->gap_count;
        next->gap_bytes += item->gap_bytes;
        item = next;
    }
    *ret_gap = (struct gap){item->gap_count, item->gap_bytes};
    *ret_reason = (enum bus_loss_reason) item->gap_reason;
    return NULL;
}

void subq_pop(struct subq *q, const struct subq_bounds *b, subq_release_fn release)
{
    struct message *m;

    if (q->head == q->tail) {
        q->starved = (struct gap){0};
        return;
    }
    m = item_at(q, q->head)->message;
    q->head++;
    if (!m) {
        return;
    }
    if (q->n_inside > 0) {
        q->n_inside--;
        q->bytes_inside -= m->size;
        held_advance(q, b, release);
    }
    message_drop(q, m);
}

/* Whether the time of a message is over. */
static bool item_is_over(const struct subq_item *item, uint64_t now_ns)
{
    const struct message *m = item->message;

    return m && m->expires_ns && m->expires_ns <= now_ns;
}

uint32_t subq_expire(struct subq *q, uint64_t now_ns, const struct subq_bounds *b,
                     subq_release_fn release, uint64_t *bytes)
{
    struct gap gap = {0};
    uint32_t n = 0;

    /* each goes as if it was sent, and leaves its slot to all that went before it */
    for (; q->head != q->tail && item_is_over(item_at(q, q->head), now_ns); n++) {
        struct message *m = item_at(q, q->head)->message;

        gap.count++;
        gap.bytes += m->size;
        m->topic->lost_messages++; /* which may end with it */
        subq_pop(q, b, release);
    }
    item_set_gap(item_at(q, --q->head), BUS_LOSS_EXPIRED, &gap);
    *bytes += gap.bytes;
    return n;
}

uint32_t subq_lose(struct subq *q, const struct match *match, enum bus_loss_reason reason,
                   const struct subq_bounds *b, subq_release_fn release, uint64_t *bytes)
{
    bool holds = subq_has_held(q);
    uint32_t n = 0;

    for (uint64_t pos = q->head; pos != q->tail; pos++) {
        struct subq_item *item = item_at(q, pos);
        struct message *m = item->message;
        struct gap gap;

        if (!m || (match && item->match != match)) {
            continue;
        }
        gap = (struct gap){1, m->size};
        if (holds && pos >= q->held_from) {
            message_unhold(m, release);
        } else if (q->n_inside > 0 && pos < q->held_from) {
            q->n_inside--;
            q->bytes_inside -= m->size;
        }
        m->topic->lost_messages++; /* which may end with it */
        *bytes += gap.bytes;
        n++;
        message_drop(q, m);
        item_set_gap(item, reason, &gap);
    }
    if (holds) {
        held_advance(q, b, release);
    }
    if (q->n_messages == 0) {
        ring_compact(q); /* one of each reason is left */
    }
    return n;
}

void subq_check(const struct subq *q)
{
    uint32_t n = 0;
    uint64_t bytes = 0;

    for (uint64_t pos = q->head; pos != q->tail; pos++) {
        const struct subq_item *item = item_at(q, pos);

        if (item->message) {
            n++;
            bytes += item->message->size;
            assert(item->message->refs > 0);
            assert(item->match->topic == item->message->topic);
        } else {
            assert(item->gap_count > 0 && item->gap_reason < SUBQ_REASONS);
        }
    }
    assert(n == q->n_messages);
    assert(bytes == q->bytes);
    assert(q->tail - q->head <= q->capacity);
    assert(q->n_inside <= q->n_messages);
}
