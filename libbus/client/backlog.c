/* SPDX-License-Identifier: MIT */
/* Publishes that wait for a link: whole frames, so that sending them is copying them. */

#include "client/backlog.h"
#include <errno.h>
#include <string.h>
#include <utlist.h>
#include "client/publish.h"
#include "client/session.h"
#include "wire/codec.h"

/* What a descriptor that waits is charged with: it costs no memory of ours, but it is none too
 * many.
 */
#define DESCRIPTOR_CHARGE 1024u
/* Room for PUBLISH.sequence. */
#define SEQUENCE_FIELD_MAX 11u

struct backlog_entry {
    struct backlog_entry *next;
    struct slot slot;      /* with the body, or no segment */
    struct parcel *parcel; /* descriptors, or NULL */
    uint64_t sequence;
    size_t charge;
    size_t message_bytes;
    size_t frame_bytes;
    bool says_sequence; /* the frame does */
    uint8_t frame[];
};

struct entries {
    struct backlog_entry *first, **end;
    size_t bytes;
    uint64_t n;
};

static struct backlog *backlog_of(const struct bus_conn *c)
{
    return &c->session->backlog;
}

uint64_t bus__backlog_next(const struct bus_conn *c)
{
    const struct backlog_entry *first = c->session->backlog.first;

    return first ? first->sequence : UINT64_MAX;
}

bool bus__backlog_has_room(const struct bus_conn *c)
{
    const struct backlog *b = backlog_of(c);

    return c->inline_max > 0 && b->bytes < b->bytes_max && c->want_bytes <= b->bytes_max - b->bytes;
}

static void entry_free(struct bus_conn *c, struct backlog_entry *e)
{
    if (e->slot.segment) {
        bus__give_slot(c, e->slot);
    }
    parcel_unref(e->parcel);
    free(e);
}

static struct backlog_entry *pop(struct backlog *b)
{
    struct backlog_entry *e = b->first;

    b->first = e->next;
    b->last = b->first ? b->last : NULL;
    b->bytes -= e->charge;
    b->n--;
    return e;
}

static void push_front(struct backlog *b, struct backlog_entry *e)
{
    e->next = b->first;
    b->first = e;
    b->last = b->last ? b->last : e;
    b->bytes += e->charge;
    b->n++;
}

void bus__backlog_fini(struct bus_conn *c)
{
    while (backlog_of(c)->first) {
        entry_free(c, pop(backlog_of(c)));
    }
}

/* ---- keeping ---- */

static void append(struct backlog *b, struct backlog_entry *e)
{
    struct backlog_entry **at = b->last ? &b->last->next : &b->first;

    *at = e;
    b->last = e;
    b->bytes += e->charge;
    b->n++;
}

static size_t charge_of(const struct publish *p)
{
    return sizeof(struct backlog_entry) + bus__publish_frame_max(p) + p->bytes +
           (size_t) parcel_count(p->parcel) * DESCRIPTOR_CHARGE;
}

static int room_check(struct bus_conn *c, size_t charge)
{
    const struct backlog *b = backlog_of(c);

    if (b->bytes_max == 0) {
        return -ENOTCONN;
    }
    if (c->inline_max == 0 || b->bytes >= b->bytes_max || charge > b->bytes_max - b->bytes) {
        c->want_writable = true; /* not even the first router has said what it takes; or full */
        c->want_bytes = charge;
        c->starved = false;
        return -EAGAIN;
    }
    return 0;
}

/* The frame, with the body if it does not lie in a slot. */
static int entry_new(const struct publish *p, struct backlog_entry **ret)
{
    size_t body_bytes = p->slot.segment ? 0 : p->bytes;
    struct backlog_entry *e = malloc(sizeof(*e) + bus__publish_frame_max(p) + body_bytes);
    struct backlog_entry *fitting;
    long n;

    if (!e) {
        return -ENOMEM;
    }
    n = bus__publish_encode(p, e->frame + FRAME_PREFIX_BYTES);
    if (n < 0) {
        free(e);
        return -ENOMEM;
    }
    frame_write_prefix_fds(e->frame, VERB_PUBLISH, (size_t) n, body_bytes, parcel_count(p->parcel));
    if (body_bytes > 0) {
        memcpy(e->frame + FRAME_PREFIX_BYTES + n, p->data, body_bytes);
    }
    e->next = NULL;
    e->says_sequence = false;
    e->frame_bytes = FRAME_PREFIX_BYTES + (size_t) n + body_bytes;
    e->message_bytes = p->text_bytes + p->bytes;
    e->charge = charge_of(p);
    fitting = realloc(e, sizeof(*e) + e->frame_bytes);
    *ret = fitting ? fitting : e;
    return 0;
}

static int put_placed(struct bus_conn *c, struct publish *p)
{
    struct confirm *confirm = NULL;
    struct backlog_entry *e;
    int r = bus__publish_confirm_new(p, &confirm);

    r = r < 0 ? r : entry_new(p, &e);
    if (r < 0) {
        free(confirm);
        return r;
    }
    if (p->slot.segment && p->slot.segment->once) {
        bus__pool_seal(p->slot.segment);
    }
    e->slot = p->slot;
    e->parcel = p->parcel ? parcel_ref(p->parcel) : NULL;
    e->sequence = ++c->sequence;
    append(backlog_of(c), e);
    bus__publish_confirm_add(c, confirm, c->sequence);
    return 0;
}

int bus__backlog_put(struct bus_conn *c, struct publish *p)
{
    int r = room_check(c, charge_of(p));
    bool is_ours = !p->slot.segment;

    if (r < 0) {
        return r;
    }
    r = is_ours ? bus__publish_place(c, p) : 0;
    r = r < 0 ? r : put_placed(c, p);
    if (r < 0 && is_ours && p->slot.segment) {
        bus__give_slot(c, p->slot);
    }
    return r;
}

/* ---- what was written, but not sent ---- */

static struct backlog_entry *entry_of(struct bus_conn *c, const uint8_t *frame, size_t bytes,
                                      struct slot slot, struct parcel *parcel, uint64_t sequence)
{
    struct backlog_entry *e = malloc(sizeof(*e) + bytes);

    if (!e) {
        return NULL;
    }
    *e = (struct backlog_entry){.slot = slot, .frame_bytes = bytes, .sequence = sequence};
    e->parcel = parcel ? parcel_ref(parcel) : NULL;
    e->message_bytes = c->sizes[sequence & c->sizes_mask];
    e->charge = sizeof(*e) + bytes + (slot.segment ? e->message_bytes : 0) +
                (size_t) parcel_count(parcel) * DESCRIPTOR_CHARGE;
    memcpy(e->frame, frame, bytes);
    return e;
}

/* Whether it is kept elsewhere until it is acknowledged. */
static bool is_reliable(const struct bus_conn *c, uint32_t alias)
{
    const struct bus_topic *t = alias ? bus__table_get(&c->aliases, alias) : NULL;

    return t && (t->flags & BUS_TOPIC_RELIABLE);
}

/* Calls fn for each PUBLISH that was not sent whole; returns how many. */
static uint64_t for_each_unsent(struct bus_conn *c,
                                void (*fn)(struct bus_conn *c, const struct frame *f,
                                           const uint8_t *data, size_t bytes, struct parcel *parcel,
                                           void *arg),
                                void *arg)
{
    uint64_t n = 0;

    for (struct outq_chunk *k = c->outq.head; k; k = k->next) {
        size_t bytes;
        struct frame f;

        for (size_t at = 0; at < k->len && frame_parse(k->data + at, k->len - at, UINT32_MAX, &f,
                                                       &bytes) == FRAME_OK;
             at += bytes) {
            if (f.verb == VERB_PUBLISH && at + bytes > k->sent) {
                n++;
                if (fn) {
                    fn(c, &f, k->data + at, bytes, f.fds ? k->parcel : NULL, arg);
                }
            }
        }
    }
    return n;
}

struct salvage {
    struct arena arena;
    struct entries kept;
    uint64_t sequence; /* of the last one looked at */
};

static void entries_drop_first(struct bus_conn *c, struct entries *v)
{
    struct backlog_entry *e = v->first;

    v->first = e->next;
    v->end = v->first ? v->end : &v->first;
    v->bytes -= e->charge;
    v->n--;
    entry_free(c, e);
}

/* What is kept is the last ones, without a gap: where memory is short the earlier ones go. */
static void salvage_one(struct bus_conn *c, const struct frame *f, const uint8_t *data,
                        size_t bytes, struct parcel *parcel, void *arg)
{
    struct salvage *s = arg;
    struct slot slot = {NULL, 0};
    struct backlog_entry *e;
    union wire_any m;

    arena_reset(&s->arena); /* which is large enough for any header; this one is ours */
    (void) codec_decode(&s->arena, f->verb, f->header, f->header_bytes, &m);
    s->sequence = m.publish.sequence ? m.publish.sequence : s->sequence + 1;
    if (is_reliable(c, m.publish.alias)) {
        return;
    }
    if (m.publish.buffer) {
        slot = bus__pool_find(&c->pool, m.publish.buffer, m.publish.offset);
    }
    e = entry_of(c, data, bytes, slot, parcel, s->sequence);
    if (!e) {
        while (s->kept.first) {
            entries_drop_first(c, &s->kept);
        }
        return;
    }
    e->says_sequence = m.publish.sequence != 0;
    if (slot.segment) {
        bus__pool_reclaim(&c->pool, slot);
    }
    *s->kept.end = e;
    s->kept.end = &e->next;
    s->kept.bytes += e->charge;
    s->kept.n++;
}

/* In front of what waits already. */
static void entries_join(struct bus_conn *c, struct entries *v)
{
    struct backlog *b = backlog_of(c);

    while (v->first && v->bytes > b->bytes_max - MIN(b->bytes, b->bytes_max)) {
        entries_drop_first(c, v);
    }
    if (!v->first) {
        return;
    }
    *v->end = b->first;
    b->last = b->last ? b->last : container_of(v->end, struct backlog_entry, next);
    b->first = v->first;
    b->bytes += v->bytes;
    b->n += v->n;
}

void bus__backlog_salvage(struct bus_conn *c)
{
    struct backlog *b = backlog_of(c);
    struct salvage s = {.kept = {.end = &s.kept.first}};
    uint64_t n;

    if (b->bytes_max == 0 || c->outq.bytes == 0) {
        return;
    }
    n = for_each_unsent(c, NULL, NULL);
    if (n == 0 || arena_init(&s.arena, CODEC_ARENA_BYTES) < 0) {
        return;
    }
    s.sequence = c->sequence - n; /* or they all say their numbers, for the link is new */
    (void) for_each_unsent(c, salvage_one, &s);
    arena_fini(&s.arena);
    entries_join(c, &s.kept);
}

/* ---- sending ---- */

/* With its number behind the header; returns the length. */
static size_t frame_copy(uint8_t *dst, const struct backlog_entry *e)
{
    struct frame f = {0};
    size_t at, n = 0;

    (void) frame_parse(e->frame, e->frame_bytes, UINT32_MAX, &f, &at); /* it is whole */
    at = FRAME_PREFIX_BYTES + (size_t) f.header_bytes;
    memcpy(dst, e->frame, at);
    if (!e->says_sequence) {
        n = (size_t) (hot_put_field(dst + at, HOT_PUBLISH_SEQUENCE, e->sequence) - (dst + at));
    }
    frame_write_prefix_fds(dst, VERB_PUBLISH, f.header_bytes + n, f.body_bytes, f.fds);
    memcpy(dst + at + n, e->frame + at, e->frame_bytes - at);
    return e->frame_bytes + n;
}

static int entry_write(struct bus_conn *c, struct backlog_entry *e)
{
    struct segment *s = e->slot.segment;
    uint8_t *dst;
    size_t bytes;

    if (s && !s->announced && bus__publish_announce(c, s) < 0) {
        return -ENOMEM;
    }
    dst = outq_reserve_with(&c->outq, e->frame_bytes + SEQUENCE_FIELD_MAX, e->parcel);
    if (!dst) {
        return -ENOMEM;
    }
    bytes = frame_copy(dst, e);
    if (s) {
        bus__pool_publish(e->slot);
        e->slot.segment = NULL;
    }
    outq_commit_with(&c->outq, bytes, e->parcel);
    c->urgent = c->urgent || e->parcel;
    return 0;
}

static bool fits(const struct bus_conn *c, const struct backlog_entry *e)
{
    struct frame f;
    size_t bytes;

    return frame_parse(e->frame, e->frame_bytes, c->inline_max, &f, &bytes) == FRAME_OK;
}

bool bus__backlog_send_next(struct bus_conn *c)
{
    struct backlog *b = backlog_of(c);
    struct backlog_entry *e = pop(b);
    uint64_t sequence = e->sequence;
    struct segment *once = e->slot.segment && e->slot.segment->once ? e->slot.segment : NULL;
    size_t message_bytes = e->message_bytes;

    if (!fits(c, e)) {
        push_front(b, e);
        bus__fail_protocol(c, "the router takes only shorter bodies than before");
        return false;
    }
    if (entry_write(c, e) < 0) {
        push_front(b, e);
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return false;
    }
    entry_free(c, e);
    bus__publish_charge(c, sequence, message_bytes);
    if (once) {
        bus__publish_unregister(c, once);
    }
    return true;
}
