/* SPDX-License-Identifier: MIT */
#include "client/reliable.h"
#include <bus/bus.h>
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "client/publish.h"
#include "client/session.h"
#include "client/topic_handle.h"
#include "wire/codec.h"

#define CHUNK_BYTES ((size_t) 64 * 1024)
/* What is added to a header when it is sent again. */
#define AGAIN_HEADER_MAX 48u

enum {
    RECORD_SENT = 1,  /* on this link or an earlier one */
    RECORD_CARGO = 2, /* a struct cargo stands behind the record */
};

/* Then the cargo, the header as it was encoded, and the body, unless that is in a slot. */
struct reliable_record {
    uint64_t sequence;
    uint64_t expires_ns; /* or 0 */
    uint32_t bytes;      /* of all that, rounded up */
    uint32_t alias;
    uint32_t header_bytes; /* 0: {alias} */
    uint32_t body_bytes;   /* behind the header */
    uint32_t message_bytes;
    uint32_t flags;
};

struct cargo {
    struct slot slot;
    struct parcel *parcel;
};

struct reliable_chunk {
    struct reliable_chunk *next;
    size_t first; /* of the records that are kept */
    size_t len;
    size_t capacity;
    _Alignas(struct reliable_record) uint8_t data[];
};

static struct reliable *reliable_of(const struct bus_conn *c)
{
    return &c->session->reliable;
}

static struct reliable_record *record_at(struct reliable_chunk *k, size_t at)
{
    return (struct reliable_record *) (void *) (k->data + at);
}

static struct cargo *cargo_of(struct reliable_record *r)
{
    return r->flags & RECORD_CARGO ? (struct cargo *) (void *) (r + 1) : NULL;
}

static uint8_t *header_of(struct reliable_record *r)
{
    return (uint8_t *) (r + 1) + (r->flags & RECORD_CARGO ? sizeof(struct cargo) : 0);
}

/* What it counts for in the bound. */
static size_t charge_of(struct reliable_record *r)
{
    const struct cargo *cargo = cargo_of(r);

    return r->bytes + (cargo && cargo->slot.segment ? r->message_bytes : 0);
}

/* ---- keeping ---- */

static size_t round_up(size_t bytes)
{
    return (bytes + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
}

bool bus__reliable_has_room(const struct bus_conn *c)
{
    const struct reliable *v = reliable_of(c);

    return v->bytes == 0 || v->want_bytes <= v->bytes_max - MIN(v->bytes, v->bytes_max);
}

/* A single one may exceed the bound. */
static int room_check(struct bus_conn *c, size_t bytes)
{
    struct reliable *v = reliable_of(c);

    if (LIKELY(v->bytes == 0 || bytes <= v->bytes_max - MIN(v->bytes, v->bytes_max))) {
        return 0;
    }
    c->want_writable = true;
    c->starved = false;
    v->want_bytes = bytes;
    return -EAGAIN;
}

static struct reliable_chunk *chunk_new(struct reliable *v, size_t bytes)
{
    struct reliable_chunk *k = v->spare;

    if (k && bytes <= k->capacity) {
        v->spare = NULL;
    } else {
        k = malloc(sizeof(*k) + MAX(bytes, CHUNK_BYTES));
        if (!k) {
            return NULL;
        }
        k->capacity = MAX(bytes, CHUNK_BYTES);
    }
    k->next = NULL;
    k->first = k->len = 0;
    return k;
}

static void chunk_drop(struct reliable *v, struct reliable_chunk *k)
{
    if (!v->spare && k->capacity == CHUNK_BYTES) {
        v->spare = k;
    } else {
        free(k);
    }
}

/* Room for a record behind the others, or NULL. Nothing is kept before commit(). */
static inline struct reliable_record *reserve(struct reliable *v, size_t bytes)
{
    struct reliable_chunk *k = v->tail;

    if (LIKELY(k && bytes <= k->capacity - k->len)) {
        return record_at(k, k->len);
    }
    k = chunk_new(v, bytes);
    if (!k) {
        return NULL;
    }
    if (v->tail) {
        v->tail->next = k;
    } else {
        v->head = k;
    }
    v->tail = k;
    return record_at(k, 0);
}

static inline void commit(struct reliable *v, struct reliable_record *r)
{
    v->tail->len += r->bytes;
    v->bytes += charge_of(r);
}

int bus__reliable_note_plain(struct bus_conn *c, const struct bus_topic *t, const void *data,
                             size_t bytes)
{
    size_t record_bytes = round_up(sizeof(struct reliable_record) + bytes);
    struct reliable *v = reliable_of(c);
    struct reliable_record *r;
    int e = t->refused ? 1 : room_check(c, record_bytes);

    if (UNLIKELY(e != 0)) {
        return MIN(e, 0);
    }
    r = reserve(v, record_bytes);
    if (UNLIKELY(!r)) {
        return -ENOMEM;
    }
    *r = (struct reliable_record){.sequence = c->sequence + 1,
                                  .bytes = (uint32_t) record_bytes,
                                  .alias = t->alias,
                                  .body_bytes = (uint32_t) bytes,
                                  .message_bytes = (uint32_t) bytes,
                                  .flags = RECORD_SENT};
    if (LIKELY(bytes > 0)) {
        memcpy(r + 1, data, bytes);
    }
    commit(v, r);
    return 0;
}

static size_t record_bytes_of(const struct publish *p, size_t header_bytes)
{
    return round_up(sizeof(struct reliable_record) +
                    (p->slot.segment || p->parcel ? sizeof(struct cargo) : 0) + header_bytes +
                    (p->slot.segment ? 0 : p->bytes));
}

/* Room for the record of a publish, filled in but for its header. */
static int record_begin(struct bus_conn *c, const struct publish *p, size_t header_max,
                        struct reliable_record **ret)
{
    size_t bytes = record_bytes_of(p, header_max);
    struct reliable_record *r;
    int e = room_check(c, bytes + (p->slot.segment ? p->bytes : 0));

    if (e < 0) {
        return e;
    }
    r = reserve(reliable_of(c), bytes);
    if (!r) {
        return -ENOMEM;
    }
    *r = (struct reliable_record){.sequence = c->sequence + 1,
                                  .alias = p->topic->alias,
                                  .body_bytes = p->slot.segment ? 0 : (uint32_t) p->bytes,
                                  .message_bytes = (uint32_t) (p->text_bytes + p->bytes)};
    if (p->opts && p->opts->ttl_ms) {
        r->expires_ns = clock_monotonic_ns() + p->opts->ttl_ms * NS_PER_MS;
    }
    if (p->slot.segment || p->parcel) {
        r->flags |= RECORD_CARGO;
        *cargo_of(r) = (struct cargo){p->slot, p->parcel};
    }
    *ret = r;
    return 0;
}

/* The header is there. */
static void record_end(struct bus_conn *c, const struct publish *p, struct reliable_record *r,
                       size_t header_bytes)
{
    r->header_bytes = (uint32_t) header_bytes;
    r->bytes = (uint32_t) record_bytes_of(p, header_bytes);
    if (r->body_bytes > 0) {
        memcpy(header_of(r) + header_bytes, p->data, r->body_bytes);
    }
    if (p->parcel) {
        (void) parcel_ref(p->parcel);
    }
    if (p->slot.segment) {
        bus__pool_keep(p->slot);
    }
    commit(reliable_of(c), r);
}

int bus__reliable_note(struct bus_conn *c, const struct publish *p, const uint8_t *header,
                       size_t header_bytes)
{
    struct reliable_record *r;
    int e = p->topic->refused ? 1 : record_begin(c, p, header_bytes, &r);

    if (e != 0) {
        return MIN(e, 0);
    }
    memcpy(header_of(r), header, header_bytes);
    r->flags |= RECORD_SENT;
    record_end(c, p, r, header_bytes);
    return 0;
}

static int put_placed(struct bus_conn *c, struct publish *p)
{
    struct reliable *v = reliable_of(c);
    struct confirm *confirm = NULL;
    struct reliable_record *r;
    int e = bus__publish_confirm_new(p, &confirm);
    long n;

    e = e < 0 ? e : record_begin(c, p, p->header_max, &r);
    n = e < 0 ? -1 : bus__publish_encode(p, header_of(r));
    if (n < 0) {
        free(confirm);
        return e < 0 ? e : -ENOMEM;
    }
    if (p->slot.segment && p->slot.segment->once) {
        bus__pool_seal(p->slot.segment);
    }
    record_end(c, p, r, (size_t) n);
    if (!v->unsent) {
        v->unsent = r;
        v->unsent_chunk = v->tail;
    }
    c->sequence++;
    bus__publish_confirm_add(c, confirm, c->sequence);
    return 0;
}

int bus__reliable_put(struct bus_conn *c, struct publish *p)
{
    bool is_ours = !p->slot.segment;
    int r;

    if (c->inline_max == 0) { /* not even the first router has said what it takes */
        c->want_writable = true;
        return -EAGAIN;
    }
    r = is_ours ? bus__publish_place(c, p) : 0;
    r = r < 0 ? r : put_placed(c, p);
    if (r < 0 && is_ours && p->slot.segment) {
        bus__give_slot(c, p->slot);
    }
    return r;
}

/* ---- sending again ---- */

uint64_t bus__reliable_next(const struct bus_conn *c)
{
    const struct reliable *v = reliable_of(c);

    return v->unsent ? v->unsent->sequence : UINT64_MAX;
}

/* The record that begins there in that chunk, or the first behind it. Chunks may be empty: reserved
 * and then not used. */
static void unsent_set(struct reliable *v, struct reliable_chunk *k, size_t at)
{
    while (k && at == k->len) {
        k = k->next;
        at = k ? k->first : 0;
    }
    v->unsent_chunk = k;
    v->unsent = k ? record_at(k, at) : NULL;
}

static void unsent_advance(struct reliable *v)
{
    size_t at = (size_t) ((uint8_t *) v->unsent - v->unsent_chunk->data);

    unsent_set(v, v->unsent_chunk, at + v->unsent->bytes);
}

static uint32_t ttl_left(const struct reliable_record *r)
{
    uint64_t now = clock_monotonic_ns();

    if (r->expires_ns == 0) {
        return 0;
    }
    return r->expires_ns > now ? (uint32_t) ((r->expires_ns - now) / NS_PER_MS) + 1 : 1;
}

/* Its header for this link; returns the length, or less than 0. */
static long encode_again(const struct bus_conn *c, struct reliable_record *r, uint8_t *dst)
{
    struct arena a = {0}, scratch = {0};
    union wire_any m = {.publish = {.alias = r->alias, .topic = {"", 0}, .key = {"", 0}}};
    long n = -1;

    if (arena_init(&a, CODEC_ARENA_BYTES) < 0) {
        return -1;
    }
    if (arena_init(&scratch, CODEC_ARENA_BYTES) == 0 &&
        (r->header_bytes == 0 ||
         codec_decode(&a, VERB_PUBLISH, header_of(r), r->header_bytes, &m) == CODEC_OK)) {
        if (r->flags & RECORD_SENT) {
            m.publish.flags &= bus__publish_confirm_waits(c, r->sequence) ? UINT32_MAX : 0;
            m.publish.flags |= PUBLISH_RESENT;
        }
        m.publish.sequence = r->sequence;
        m.publish.ttl_ms = ttl_left(r);
        n = codec_encode(&scratch, VERB_PUBLISH, &m.publish, dst,
                         r->header_bytes + AGAIN_HEADER_MAX);
    }
    arena_fini(&a);
    arena_fini(&scratch);
    return n;
}

/* {alias, flags, sequence}, without the codec. */
static long encode_plain_again(const struct reliable_record *r, uint8_t *dst)
{
    uint8_t *p = hot_put_field(dst, 1, r->alias);

    p = hot_put_field(p, HOT_PUBLISH_FLAGS, r->flags & RECORD_SENT ? PUBLISH_RESENT : 0);
    return hot_put_field(p, HOT_PUBLISH_SEQUENCE, r->sequence) - dst;
}

static int record_write(struct bus_conn *c, struct reliable_record *r)
{
    struct cargo *cargo = cargo_of(r);
    struct segment *s = cargo ? cargo->slot.segment : NULL;
    struct parcel *parcel = cargo ? cargo->parcel : NULL;
    uint8_t *dst;
    long n;

    if (s && !s->announced && bus__publish_announce(c, s) < 0) {
        return -ENOMEM;
    }
    dst = outq_reserve_with(
        &c->outq, FRAME_PREFIX_BYTES + r->header_bytes + AGAIN_HEADER_MAX + r->body_bytes, parcel);
    if (!dst) {
        return -ENOMEM;
    }
    n = r->header_bytes ? encode_again(c, r, dst + FRAME_PREFIX_BYTES)
                        : encode_plain_again(r, dst + FRAME_PREFIX_BYTES);
    if (n < 0) {
        return -ENOMEM;
    }
    frame_write_prefix_fds(dst, VERB_PUBLISH, (size_t) n, r->body_bytes, parcel_count(parcel));
    memcpy(dst + FRAME_PREFIX_BYTES + n, header_of(r) + r->header_bytes, r->body_bytes);
    if (s) {
        bus__pool_publish(cargo->slot);
        bus__pool_keep(cargo->slot);
    }
    outq_commit_with(&c->outq, FRAME_PREFIX_BYTES + (size_t) n + r->body_bytes, parcel);
    c->urgent = c->urgent || parcel;
    return 0;
}

bool bus__reliable_send_next(struct bus_conn *c)
{
    struct reliable *v = reliable_of(c);
    struct reliable_record *r = v->unsent;

    if (r->body_bytes > c->inline_max) {
        bus__fail_protocol(c, "the router takes only shorter bodies than before");
        return false;
    }
    if (record_write(c, r) < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return false;
    }
    r->flags |= RECORD_SENT;
    unsent_advance(v);
    bus__publish_charge(c, r->sequence, r->message_bytes);
    return true;
}

void bus__reliable_lost(struct bus_conn *c)
{
    struct reliable *v = reliable_of(c);

    unsent_set(v, v->head, v->head ? v->head->first : 0);
}

/* ---- letting go ---- */

static void record_drop(struct bus_conn *c, struct reliable_record *r)
{
    struct cargo *cargo = cargo_of(r);

    if (cargo && cargo->slot.segment && bus__pool_unkeep(cargo->slot)) {
        bus__give_slot(c, cargo->slot);
    }
    if (cargo) {
        parcel_unref(cargo->parcel);
    }
}

/* Chunks in front of which nothing is left. */
static void chunks_drop(struct reliable *v)
{
    while (v->head && v->head->first == v->head->len) {
        struct reliable_chunk *k = v->head;

        v->head = k->next;
        v->tail = v->head ? v->tail : NULL;
        chunk_drop(v, k);
    }
}

/* The first, if there is one. */
static struct reliable_record *first_of(struct reliable *v)
{
    chunks_drop(v);
    return v->head ? record_at(v->head, v->head->first) : NULL;
}

static void pop(struct bus_conn *c, struct reliable_record *r)
{
    struct reliable *v = reliable_of(c);

    v->bytes -= charge_of(r);
    v->head->first += r->bytes;
    record_drop(c, r);
}

/* A topic that the router has refused is not acknowledged, for there is nothing to wait for. */
static bool is_done(const struct bus_conn *c, const struct reliable_record *r)
{
    const struct bus_topic *t;

    if (LIKELY(r->sequence <= reliable_of(c)->acked)) {
        return true;
    }
    t = bus__table_get(&c->aliases, r->alias);
    return !t || t->refused;
}

void bus__reliable_settle(struct bus_conn *c)
{
    struct reliable *v = reliable_of(c);

    for (;;) {
        struct reliable_record *r = first_of(v);

        if (!r || r == v->unsent || !is_done(c, r)) {
            break;
        }
        pop(c, r);
    }
    if (UNLIKELY(c->departing != NULL)) {
        bus__session_settle(c);
    }
}

uint64_t bus__reliable_first(const struct bus_conn *c)
{
    const struct reliable_record *r = first_of(reliable_of(c));

    return r ? r->sequence : UINT64_MAX;
}

void bus__on_acked(struct bus_conn *c, const struct wire_acked *m)
{
    if (!c->session || m->sequence > c->sequence) {
        bus__fail_protocol(c, "ACKED of what was not published");
        return;
    }
    reliable_of(c)->acked = MAX(reliable_of(c)->acked, m->sequence);
    bus__reliable_settle(c);
}

void bus__reliable_fini(struct bus_conn *c)
{
    struct reliable *v = reliable_of(c);

    while (first_of(v)) {
        pop(c, first_of(v));
    }
    free(v->spare);
    *v = (struct reliable){0};
}

/* ---- waiting ---- */

static bool is_all_acked(const struct bus_conn *c, uint64_t unused)
{
    (void) unused;
    return c->session->reliable.bytes == 0;
}

int bus_wait_acked(struct bus_conn *conn, int timeout_ms)
{
    int r = bus__forked(conn) ? -ECHILD : conn->state >= CONN_ENDED ? -ENOTCONN : 0;

    if (r < 0 || !conn->session) {
        return r;
    }
    conn->pins++;
    r = bus__run_until(conn, is_all_acked, 0, bus__deadline_ns(timeout_ms));
    return bus__unpin(conn, r);
}
