/* SPDX-License-Identifier: MIT */
/* Bodies in shared memory and descriptors, as the router speaks of them: buffers that it binds,
 * what it returns and refuses. docs/protocol.md, section 10. */

#include <errno.h>
#include <string.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/publish.h"

/* From here on handing a body over beats copying it through two sockets; measured, see
 * docs/performance.md. */
#define BUFFER_FROM_BYTES ((size_t) 4 * 1024)
#define POOL_BYTES_MAX ((size_t) 256 << 20)
#define NUMBERS_USED 4096u

void bus__buffers_init(struct bus_conn *c, const struct wire_welcome *m)
{
    bool usable = m->features & FEATURE_BUFFERS;

    c->body_max = usable ? (size_t) MIN(m->body_max, (uint64_t) 1 << SLOT_SHIFT_MAX) : 0;
    c->buffer_from = !usable ? SIZE_MAX : c->buffer_wish ? c->buffer_wish : BUFFER_FROM_BYTES;
    if (!c->sequence_due) {
        bus__publish_count_on(c);
    }
    bus__pool_limit(
        &c->pool, MIN(m->buffers_max, NUMBERS_USED),
        (size_t) MIN(c->pool_bytes_max ? c->pool_bytes_max : POOL_BYTES_MAX, m->buffer_bytes_max));
    c->pool.keeps_fds = c->session != NULL;
}

void bus__buffers_fini(struct bus_conn *c)
{
    for (uint32_t i = 0; i < c->buffers.n; i++) {
        bus__mapping_unref(c->buffers.at[i]);
    }
    bus__table_fini(&c->buffers);
    bus__mappings_orphan(c);
    while (c->n_parcels > 0) {
        parcel_unref(c->parcels[--c->n_parcels]);
    }
}

/* ---- descriptors ---- */

struct parcel *bus__claim_parcel(struct bus_conn *c, unsigned n)
{
    struct parcel *first;

    if (c->n_parcels == 0) {
        return NULL;
    }
    first = c->parcels[0];
    c->n_parcels--;
    memmove(c->parcels, c->parcels + 1, c->n_parcels * sizeof(struct parcel *));
    first->truncated = first->truncated || first->n != n;
    return first;
}

/* ---- the router's buffers ---- */

void bus__on_buffer(struct bus_conn *c, const struct wire_buffer *m, const struct parcel *parcel)
{
    struct mapping *mapping;

    if (m->bytes == 0 || m->bytes > PTRDIFF_MAX) {
        bus__fail_protocol(c, "BUFFER of an impossible size");
        return;
    }
    if (!bus__bind_reserve(c, &c->buffers, m->id)) {
        return;
    }
    mapping = bus__mapping_new(c, parcel && parcel->truncated ? NULL : parcel, m->bytes,
                               m->flags & BUFFER_IMMUTABLE);
    if (!mapping) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    bus__mapping_unref(c->buffers.at[m->id]);
    c->buffers.at[m->id] = mapping;
}

void bus__on_unbuffer(struct bus_conn *c, const struct wire_unbuffer *m)
{
    struct mapping *mapping = bus__table_get(&c->buffers, m->id);

    if (!mapping) {
        bus__fail_protocol(c, "UNBUFFER of an unknown buffer");
        return;
    }
    c->buffers.at[m->id] = NULL;
    bus__mapping_unref(mapping);
}

bool bus__body_find(struct bus_conn *c, const struct hot_place *w, struct bus_message *m)
{
    struct mapping *mapping = bus__table_get(&c->buffers, w->buffer);

    if (!mapping || w->lease == 0 || w->offset > mapping->bytes ||
        w->bytes > mapping->bytes - w->offset) {
        bus__fail_protocol(c, "MESSAGE in an unknown buffer, or not within it");
        return false;
    }
    m->lease = bus__lease_new(mapping, w->lease, w->offset, w->bytes);
    if (!m->lease) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return false;
    }
    m->data = mapping->data ? mapping->data + w->offset : NULL; /* then it is not looked at */
    m->bytes = w->bytes;
    m->buf = NULL;
    return true;
}

/* A copy that nobody else can write. */
static bool body_copy(struct bus_conn *c, struct bus_message *m)
{
    struct rxbuf *copy = bus__rxbuf_new(c->rxpool, m->bytes);

    if (!copy) {
        return false;
    }
    memcpy(copy->data, m->data, m->bytes);
    m->data = copy->data;
    m->buf = copy;
    bus__lease_unref(m->lease);
    m->lease = NULL;
    return true;
}

enum bus_loss_reason bus__message_secure(struct bus_conn *c, bool immutable, struct bus_message *m)
{
    const struct mapping *mapping;

    if (!m->lease) {
        return BUS_LOSS_NONE;
    }
    mapping = m->lease->mapping;
    if (!mapping->data) {
        return mapping->why;
    }
    if (immutable && !mapping->immutable && !body_copy(c, m)) {
        return BUS_LOSS_NO_MEMORY;
    }
    return BUS_LOSS_NONE;
}

/* ---- our own ---- */

void bus__give_slot(struct bus_conn *c, struct slot slot)
{
    struct wire_unbuffer m = {0};

    bus__pool_give(&c->pool, slot, &m.id);
    if (m.id && !bus__forked(c)) {
        bus__send_or_fail(c, VERB_UNBUFFER, &m);
    }
}

void bus__on_returned(struct bus_conn *c, const struct wire_returned *m)
{
    struct slot slot = bus__pool_find(&c->pool, m->buffer, m->offset);

    if (!slot.segment) {
        bus__fail_protocol(c, "RETURNED of what was not published");
        return;
    }
    if (bus__pool_returned(slot)) {
        bus__give_slot(c, slot);
    }
}

void bus__on_buffer_status(struct bus_conn *c, const struct wire_status *m)
{
    c->buffer_status = m->code;
    bus__pool_refused(&c->pool, m->buffer);
}
