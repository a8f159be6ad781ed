/* SPDX-License-Identifier: MIT */
/* What comes with a message but not in its bytes: how a publish brings it, how it goes onto a link
 * and is leased, and how its publisher gets it back. docs/protocol.md, section 10. */
#include "core/cargo.h"
#include <stdlib.h>
#include <string.h>
#include "core/envelope.h"
#include "core/state.h"
#include "wire/hot.h"

/* Buffers on their way to one client, before it has answered the PING behind them. */
#define BUFFERS_FLYING_MAX 16u

/* ---- what is returned to publishers ---- */

static bool return_send(struct peer *p, const struct cargo *c)
{
    uint8_t *dst;
    size_t n;

    if (!c->buffer->registered) {
        return true;
    }
    dst = outq_reserve(&p->out, FRAME_PREFIX_BYTES + HOT_PLACE_MAX);
    if (!dst) {
        return false;
    }
    n = hot_put_returned(dst + FRAME_PREFIX_BYTES, c->buffer->number, c->offset);
    frame_write_prefix(dst, VERB_RETURNED, n, 0);
    outq_commit(&p->out, FRAME_PREFIX_BYTES + n);
    peer_mark_dirty(p);
    return true;
}

static void cargo_free(struct cargo *c)
{
    if (c->buffer) {
        buffer_unref(c->buffer);
    }
    if (c->origin) {
        message_unref(c->origin);
    }
    free(c);
}

void cargo_return_all(struct peer *p)
{
    while (p->returns) {
        struct cargo *c = p->returns;

        if (p->state != PEER_CLOSING && !return_send(p, c)) {
            peer_retry_later(p);
            return;
        }
        p->returns = c->next;
        cargo_free(c);
    }
}

struct cargo *cargo_new(struct buffer *buffer, uint64_t offset, uint32_t bytes,
                        struct parcel *parcel)
{
    struct cargo *c = malloc(sizeof(*c));

    if (c) {
        *c = (struct cargo){.buffer = buffer ? buffer_ref(buffer) : NULL,
                            .offset = offset,
                            .bytes = bytes,
                            .n_wanted = 1,
                            .parcel = parcel ? parcel_ref(parcel) : NULL};
        if (buffer) {
            buffer->n_open++;
        }
    }
    return c;
}

struct cargo *cargo_share(struct message *m)
{
    struct cargo *c = cargo_new(m->cargo->buffer, m->cargo->offset, m->cargo->bytes, NULL);

    if (c) {
        c->origin = message_ref(m->cargo->origin ? m->cargo->origin : m);
    }
    return c;
}

static void cargo_drop_parcel(struct cargo *c)
{
    if (c->parcel) {
        parcel_unref(c->parcel);
        charge_fini(&c->charge);
        c->parcel = NULL;
    }
}

void cargo_unwant(struct cargo *c)
{
    if (--c->n_wanted == 0) {
        cargo_drop_parcel(c);
    }
}

void cargo_settle(struct cargo *c)
{
    if (c->settled) {
        return;
    }
    c->settled = true;
    cargo_drop_parcel(c);
    if (c->buffer) {
        c->buffer->n_open--;
        buffer_close(c->buffer);
    }
}

void cargo_discard(struct cargo *c)
{
    cargo_settle(c);
    cargo_free(c);
}

void cargo_end(struct cargo *c)
{
    struct peer *p = c->buffer && !c->origin ? c->buffer->sender->peer : NULL;

    cargo_settle(c);
    if (!p || p->state == PEER_CLOSING || return_send(p, c)) {
        cargo_free(c);
        return;
    }
    /* no memory to say so: it must not be forgotten */
    c->next = p->returns;
    p->returns = c;
    peer_retry_later(p);
}

/* ---- PUBLISH ---- */

static const char *cargo_check(struct peer *p, const struct wire_publish *m, unsigned n_fds,
                               const struct parcel *parcel, enum bus_status *ret)
{
    const struct buffer *b = buffer_by_number(p, m->buffer);

    *ret = BUS_STATUS_UNKNOWN_BUFFER;
    if (m->buffer != 0 && !b) {
        return "no buffer is registered under that number";
    }
    *ret = BUS_STATUS_INVALID_ARGUMENT;
    if (!b && (m->offset != 0 || m->bytes != 0)) {
        return "offset and bytes are those of a body in a buffer";
    }
    if (b && (m->offset > b->bytes || m->bytes > b->bytes - m->offset)) {
        return "not within the buffer";
    }
    *ret = BUS_STATUS_LIMIT;
    if (m->bytes > p->router->config.limits.body_max) {
        return "body_max";
    }
    if (n_fds > 0 && (parcel ? !quota_allows(&p->sender->descriptors, n_fds) : p->is_over_limit)) {
        return quota_refusal(p, &p->sender->descriptors, n_fds);
    }
    *ret = BUS_STATUS_BAD_DESCRIPTORS;
    if (n_fds > 0 && !parcel) {
        return "the descriptors did not arrive";
    }
    *ret = BUS_STATUS_OK;
    return "";
}

const char *cargo_load(struct peer *p, const struct wire_publish *m, unsigned n_fds,
                       struct parcel *parcel, struct cargo **ret_cargo, enum bus_status *ret)
{
    const char *why = cargo_check(p, m, n_fds, parcel, ret);
    struct cargo *c;

    if (*ret != BUS_STATUS_OK) {
        return why;
    }
    c = cargo_new(buffer_by_number(p, m->buffer), m->offset, (uint32_t) m->bytes,
                  n_fds > 0 ? parcel : NULL);
    if (!c) {
        *ret = BUS_STATUS_NO_MEMORY;
        return "out of memory";
    }
    charge_init(&c->charge, &p->sender->descriptors);
    charge_force(&c->charge, n_fds);
    *ret_cargo = c;
    return why;
}

void cargo_refused(struct peer *p, const struct wire_publish *m)
{
    struct cargo *c;

    if (!buffer_by_number(p, m->buffer)) {
        return;
    }
    c = cargo_new(buffer_by_number(p, m->buffer), m->offset, 0, NULL);
    if (c) {
        cargo_end(c);
    } else {
        peer_end(p, BUS_GOODBYE_NO_MEMORY, "out of memory");
    }
}

/* ---- onto a link ---- */

static bool takes_buffers(const struct peer *p)
{
    return p->features & FEATURE_BUFFERS;
}

/* Whether the body goes as a reference to its buffer. */
static bool goes_by_reference(const struct peer *p, const struct cargo *c)
{
    return c->buffer && takes_buffers(p);
}

static unsigned fds_for(const struct envelope *e, const struct cargo *c)
{
    return e->wants_fds ? cargo_n_fds(c) : 0;
}

bool cargo_fits(const struct peer *p, const struct cargo *c)
{
    return !c->buffer || takes_buffers(p) || c->bytes <= p->inline_max;
}

/* What a lease keeps here: the message with its headers, and what it names. */
static uint64_t lease_memory(const struct message *m)
{
    return message_memory(m) + sizeof(*m->cargo) + sizeof(*m->cargo->buffer);
}

/* One message can always be held; so whoever may not hold more has something to return. */
static bool may_lease(const struct peer *p, const struct message *m)
{
    const struct limits *l = &p->router->config.limits;

    return p->leases.n_used == 0 || (p->leases.n_used < l->leases_max &&
                                     p->lease_bytes + m->cargo->bytes <= l->lease_bytes_max &&
                                     quota_allows(&p->quota, lease_memory(m)));
}

bool cargo_may_go(const struct envelope *e, const struct message *m)
{
    const struct peer *p = e->peer;
    const struct cargo *c = m->cargo;

    if (p->router->is_shutting_down) {
        return true;
    }
    if (fds_for(e, c) > 0 && p->fds_flying > 0) {
        return false;
    }
    if (!goes_by_reference(p, c)) {
        return true;
    }
    return may_lease(p, m) &&
           (idset_has(&p->known_buffers, c->buffer->id) || p->fds_flying < BUFFERS_FLYING_MAX);
}

/* The end of what outq_reserve_with() began, with the same parcel, which may be NULL. */
static void frame_commit(struct peer *p, size_t bytes, struct parcel *parcel)
{
    outq_commit_with(&p->out, bytes, parcel);
    p->fds_flying += parcel_count(parcel);
}

/* A frame with descriptors, at the beginning of a packet. header is not in r->scratch. */
static bool put_with_parcel(struct peer *p, enum verb verb, const uint8_t *header, size_t bytes,
                            struct parcel *parcel)
{
    uint8_t *dst = outq_reserve_with(&p->out, FRAME_PREFIX_BYTES + bytes, parcel);

    if (!dst) {
        return false;
    }
    frame_write_prefix_fds(dst, verb, bytes, 0, parcel->n);
    memcpy(dst + FRAME_PREFIX_BYTES, header, bytes);
    frame_commit(p, FRAME_PREFIX_BYTES + bytes, parcel);
    peer_mark_dirty(p);
    return true;
}

static bool buffer_introduce(struct peer *p, struct buffer *b)
{
    struct wire_buffer m = {b->id, b->bytes, b->immutable ? BUFFER_IMMUTABLE : 0};
    uint8_t header[32];
    long n = codec_encode(&p->router->arena, VERB_BUFFER, &m, header, sizeof(header));

    /* first the note, without which it could not be taken back */
    if (n < 0 || !idset_add(&p->known_buffers, b->id)) {
        return false;
    }
    if (!put_with_parcel(p, VERB_BUFFER, header, (size_t) n, b->parcel)) {
        idset_remove(&p->known_buffers, b->id);
        return false;
    }
    b->n_known++;
    return true;
}

/* The header; with a lease it says where the body is. The fields for that have the same numbers in
 * all verbs that have them. */
static size_t put_header(uint8_t *dst, const struct envelope *e, const struct message *m,
                         uint32_t lease)
{
    size_t n = e->lead_bytes;

    memcpy(dst, e->lead, n);
    memcpy(dst + n, m->data + e->skip, m->header_bytes - e->skip);
    n += m->header_bytes - e->skip;
    if (lease) {
        const struct cargo *c = m->cargo;
        struct hot_place place = {c->buffer->id, lease, c->offset, c->bytes};

        n += hot_put_place(dst + n, HOT_MESSAGE_PLACE, &place);
    }
    return n;
}

/* The frame of a message whose body is a reference, with or without descriptors. */
static bool put_reference(const struct envelope *e, const struct message *m, uint32_t lease,
                          struct parcel *parcel)
{
    size_t most = e->lead_bytes + m->header_bytes + HOT_PLACE_MAX;
    uint8_t *dst = outq_reserve_with(&e->peer->out, FRAME_PREFIX_BYTES + most, parcel);
    size_t n;

    if (!dst) {
        return false;
    }
    n = put_header(dst + FRAME_PREFIX_BYTES, e, m, lease);
    frame_write_prefix_fds(dst, e->verb, n, 0, parcel_count(parcel));
    frame_commit(e->peer, FRAME_PREFIX_BYTES + n, parcel);
    return true;
}

/* The body in the frame: it always was there, or it is read from its buffer for a client that
 * cannot map it. */
static bool put_inline(const struct envelope *e, const struct message *m, struct parcel *parcel)
{
    const struct cargo *c = m->cargo;
    size_t body_bytes = c->buffer ? c->bytes : m->body_bytes;
    size_t header_bytes = e->lead_bytes + m->header_bytes - e->skip;
    size_t bytes = FRAME_PREFIX_BYTES + header_bytes + body_bytes;
    uint8_t *dst = outq_reserve_with(&e->peer->out, bytes, parcel);

    if (!dst) {
        return false;
    }
    frame_write_prefix_fds(dst, e->verb, header_bytes, body_bytes, parcel_count(parcel));
    dst += FRAME_PREFIX_BYTES;
    dst += put_header(dst, e, m, 0);
    if (!c->buffer) {
        memcpy(dst, m->data + m->header_bytes, body_bytes);
    } else if (!cargo_read(e->peer->router, c, dst, body_bytes)) {
        return false;
    }
    frame_commit(e->peer, bytes, parcel);
    return true;
}

bool cargo_read(const struct router *r, const struct cargo *c, void *dst, size_t bytes)
{
    return bytes == 0 ||
           r->config.descriptors->read(c->buffer->parcel->fds[0], c->offset, dst, bytes);
}

/* It has its number. What it keeps here, and the table that grew for it, is the client's cost. */
static void lease_begin(struct peer *p, struct message *m, uint32_t n_slots_before)
{
    charge_force(&p->charge, (uint64_t) (p->leases.n_slots - n_slots_before) * sizeof(uintptr_t) +
                                 lease_memory(m));
    p->router->counters.leases_now++;
    p->lease_bytes += m->cargo->bytes;
    m->cargo->n_leases++;
    (void) message_ref(m);
}

static uint32_t lease_new(struct peer *p, struct message *m)
{
    uint32_t n_before = p->leases.n_slots;
    uint32_t lease = idpool_add(&p->leases, m);

    if (lease == 0) {
        return 0;
    }
    lease_begin(p, m, n_before);
    return lease;
}

static void lease_end(struct peer *p, uint32_t lease)
{
    struct message *m = idpool_get(&p->leases, lease);

    idpool_remove(&p->leases, lease);
    p->router->counters.leases_now--;
    charge_release(&p->charge, lease_memory(m));
    p->lease_bytes -= m->cargo->bytes;
    m->cargo->n_leases--;
    message_unref(m);
}

bool cargo_put(const struct envelope *e, struct message *m)
{
    struct parcel *parcel = fds_for(e, m->cargo) > 0 ? m->cargo->parcel : NULL;
    struct peer *p = e->peer;
    uint32_t lease = 0;
    bool done;

    if (goes_by_reference(p, m->cargo)) {
        if (!idset_has(&p->known_buffers, m->cargo->buffer->id) &&
            !buffer_introduce(p, m->cargo->buffer)) {
            return false;
        }
        lease = lease_new(p, m);
        if (lease == 0) {
            return false;
        }
    }
    done = lease ? put_reference(e, m, lease, parcel) : put_inline(e, m, parcel);
    if (!done && lease) {
        lease_end(p, lease);
    }
    descriptors_ping(p);
    return done;
}

/* ---- RELEASE ---- */

bool release_plain(struct peer *p, const uint8_t *header, size_t bytes)
{
    uint32_t lease = 0;

    if (!hot_get_field_1(header, bytes, &lease) || !idpool_get(&p->leases, lease)) {
        return false;
    }
    lease_end(p, lease);
    if (UNLIKELY(p->waiting != 0 || p->answers)) {
        peer_pump_waiting(p);
    }
    return true;
}

void release_handle(struct peer *p, const struct wire_release *m)
{
    struct message *held = idpool_get(&p->leases, m->lease);

    if (!held) {
        struct wire_status status = {
            .code = BUS_STATUS_INVALID_ARGUMENT, .verb = VERB_RELEASE, .text = text_from("lease")};

        peer_send_status(p, &status);
        return;
    }
    if (m->flags & RELEASE_FORGET) {
        buffer_unlearn(p, held->cargo->buffer);
    }
    lease_end(p, m->lease);
    peer_pump_waiting(p);
}

bool lease_restore(struct peer *p, uint32_t lease, struct message *m)
{
    uint32_t n_before = p->leases.n_slots;

    if (!m->cargo || !m->cargo->buffer || !idpool_put(&p->leases, lease, m)) {
        return false;
    }
    lease_begin(p, m, n_before);
    return true;
}

void leases_drop_all(struct peer *p)
{
    for (uint32_t lease = 1; lease <= p->leases.n_slots && p->leases.n_used > 0; lease++) {
        if (idpool_get(&p->leases, lease)) {
            lease_end(p, lease);
        }
    }
    charge_release(&p->charge, (uint64_t) p->leases.n_slots * sizeof(uintptr_t));
    idpool_fini(&p->leases);
}

void cargo_drop_all(struct peer *p)
{
    buffers_drop_all(p);
    cargo_return_all(p);
    router_settle_parcels(p);
}
