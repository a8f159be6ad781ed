/* SPDX-License-Identifier: MIT */
/* Buffers that clients register: what they must be, who knows them, and how long their descriptor
 * is kept. docs/protocol.md, section 10. */
#include <stdlib.h>
#include <utlist.h>
#include "core/state.h"

struct buffer *buffer_ref(struct buffer *b)
{
    b->refs++;
    return b;
}

void buffer_unlearn(struct peer *p, struct buffer *b)
{
    b->n_known -= idset_has(&p->known_buffers, b->id);
    idset_remove(&p->known_buffers, b->id);
}

/* Everybody who knows it may unmap it; then the number is free for another. */
static void buffer_forget(struct buffer *b)
{
    struct wire_unbuffer m = {b->id};

    for (struct peer *p = b->router->peers; p && b->n_known > 0; p = p->next) {
        b->router->work++; /* there may be thousands of others */
        if (idset_has(&p->known_buffers, b->id)) {
            buffer_unlearn(p, b);
            (void) peer_try_send(p, VERB_UNBUFFER,
                                 &m); /* without: unmapped when it is bound again */
        }
    }
}

void buffer_close(struct buffer *b)
{
    if (b->parcel && !b->registered && b->n_open == 0) {
        parcel_unref(b->parcel);
        b->parcel = NULL;
        charge_release(&b->charge, 1);
    }
}

void buffer_unref(struct buffer *b)
{
    if (--b->refs > 0) {
        return;
    }
    buffer_forget(b);
    buffer_close(b);
    idpool_remove(&b->router->buffer_ids, b->id);
    b->router->counters.buffers_now--;
    sender_unref(b->sender);
    free(b);
}

static struct buffer *buffer_new(struct peer *p, const struct wire_buffer *m, struct parcel *parcel)
{
    struct buffer *b = calloc(1, sizeof(*b));

    if (!b) {
        return NULL;
    }
    b->id = idpool_add(&p->router->buffer_ids, b);
    if (b->id == 0) {
        free(b);
        return NULL;
    }
    b->refs = 1;
    b->number = m->id;
    b->registered = true;
    b->router = p->router;
    b->sender = sender_ref(p->sender);
    b->parcel = parcel_ref(parcel);
    b->bytes = m->bytes;
    charge_init(&b->charge, &p->sender->descriptors);
    charge_force(&b->charge, 1);
    p->router->counters.buffers_now++;
    return b;
}

struct buffer *buffer_by_number(const struct peer *p, uint32_t number)
{
    return number > 0 && number <= p->n_buffers_max ? p->buffers[number - 1] : NULL;
}

/* What must hold before a buffer is made. */
static const char *buffer_check(struct peer *p, const struct wire_buffer *m,
                                const struct parcel *parcel, bool *immutable, enum bus_status *ret)
{
    const struct limits *l = &p->router->config.limits;
    struct descriptor_info info = {0};

    *ret = BUS_STATUS_LIMIT;
    if (!parcel && p->is_over_limit) {
        return quota_refusal(p, &p->sender->descriptors, 1);
    }
    *ret = BUS_STATUS_BAD_DESCRIPTORS;
    if (!parcel || parcel->n != 1) {
        return "one descriptor is needed and did not arrive";
    }
    if (p->router->config.descriptors->inspect(parcel->fds[0], &info) < 0 || !info.is_buffer) {
        return "not a memfd sealed as a buffer must be";
    }
    if (m->bytes == 0 || m->bytes > info.bytes) {
        return "the memfd is smaller than that";
    }
    *ret = BUS_STATUS_INVALID_ARGUMENT;
    if (m->id == 0) {
        return "id";
    }
    *ret = BUS_STATUS_LIMIT;
    if (m->id > l->buffers_max) {
        return "buffers_max";
    }
    if (p->buffer_bytes > l->buffer_bytes_max || m->bytes > l->buffer_bytes_max - p->buffer_bytes) {
        return "buffer_bytes_max";
    }
    if (!quota_allows(&p->sender->descriptors, 1)) {
        return quota_refusal(p, &p->sender->descriptors, 1);
    }
    *ret = BUS_STATUS_IN_USE;
    if (buffer_by_number(p, m->id)) {
        return "that number is in use";
    }
    *immutable = info.immutable;
    *ret = BUS_STATUS_OK;
    return "";
}

static bool buffer_add(struct peer *p, const struct wire_buffer *m, struct parcel *parcel,
                       bool immutable)
{
    struct buffer *b;

    if (!peer_table_reach(p, (void ***) &p->buffers, &p->n_buffers_max, m->id) ||
        !charge_add(&p->charge, sizeof(*b))) {
        return false;
    }
    b = buffer_new(p, m, parcel);
    if (!b) {
        charge_release(&p->charge, sizeof(*b));
        return false;
    }
    b->immutable = immutable;
    p->buffers[m->id - 1] = b;
    p->buffer_bytes += b->bytes;
    return true;
}

void buffer_handle(struct peer *p, const struct wire_buffer *m, struct parcel *parcel)
{
    bool immutable = false;
    enum bus_status code = BUS_STATUS_UNSUPPORTED;
    const char *why = "this router takes no buffers";

    if (p->tap) {
        code = BUS_STATUS_UNEXPECTED;
        why = "a monitor cannot publish";
    } else if (p->router->config.descriptors) {
        why = buffer_check(p, m, parcel, &immutable, &code);
    }
    if (code == BUS_STATUS_OK && !buffer_add(p, m, parcel, immutable)) {
        code = BUS_STATUS_NO_MEMORY;
        why = "out of memory";
    }
    if (code != BUS_STATUS_OK) {
        struct wire_status status = {
            .code = code, .verb = VERB_BUFFER, .buffer = m->id, .text = text_from(why)};

        peer_send_status(p, &status);
    }
}

static void buffer_drop(struct peer *p, uint32_t number)
{
    struct buffer *b = p->buffers[number - 1];

    p->buffers[number - 1] = NULL;
    p->buffer_bytes -= b->bytes;
    charge_release(&p->charge, sizeof(*b));
    b->registered = false;
    buffer_close(b);
    buffer_unref(b);
}

void unbuffer_handle(struct peer *p, const struct wire_unbuffer *m)
{
    struct wire_status status = {
        .code = BUS_STATUS_UNKNOWN_BUFFER, .verb = VERB_UNBUFFER, .buffer = m->id, .text = {"", 0}};

    if (buffer_by_number(p, m->id)) {
        buffer_drop(p, m->id);
    } else {
        peer_send_status(p, &status);
    }
}

void buffers_drop_all(struct peer *p)
{
    for (uint32_t i = 0; i < p->n_buffers_max; i++) {
        if (p->buffers[i]) {
            buffer_drop(p, i + 1);
        }
    }
    charge_release(&p->charge, (uint64_t) p->n_buffers_max * sizeof(void *));
    free(p->buffers);
    p->buffers = NULL;
    p->n_buffers_max = 0;
}

/* ---- built up again ---- */

struct buffer *buffer_restore(struct router *r, const struct buffer *as)
{
    struct peer *p = as->sender->peer;
    struct buffer *b;

    if (as->registered &&
        (!p || p->state == PEER_CLOSING || as->number == 0 ||
         as->number > r->config.limits.buffers_max ||
         !peer_table_reach(p, (void ***) &p->buffers, &p->n_buffers_max, as->number) ||
         p->buffers[as->number - 1])) {
        return NULL;
    }
    b = calloc(1, sizeof(*b));
    if (!b || !idpool_put(&r->buffer_ids, as->id, b)) {
        free(b);
        return NULL;
    }
    *b = *as;
    b->refs = 1;
    b->router = r;
    (void) sender_ref(b->sender);
    charge_init(&b->charge, &b->sender->descriptors);
    if (b->parcel) {
        (void) parcel_ref(b->parcel);
        charge_force(&b->charge, 1);
    }
    r->counters.buffers_now++;
    if (b->registered) {
        p->buffers[b->number - 1] = b;
        p->buffer_bytes += b->bytes;
        charge_force(&p->charge, sizeof(*b));
        (void) buffer_ref(b);
    }
    return b;
}
