/* SPDX-License-Identifier: MIT */
/* Connections that have ended, for another router. */
#include "core/handover.h"

/* Fields of struct closed that are numbers and stand for themselves. */
#define CLOSED_PLAIN_FIELDS(X)                                                                     \
    X(CLOSED_NUMBER, number)                                                                       \
    X(CLOSED_CONNECTION, connection_id)                                                            \
    X(CLOSED_SESSION, session)                                                                     \
    X(CLOSED_SINCE_NS, since_ns)                                                                   \
    X(CLOSED_UNTIL_NS, until_ns)                                                                   \
    X(CLOSED_TIMES, times)                                                                         \
    X(CLOSED_PUBLISHED, published_messages)                                                        \
    X(CLOSED_PUBLISHED_BYTES, published_bytes)                                                     \
    X(CLOSED_REFUSED, refused_messages)                                                            \
    X(CLOSED_DELIVERED, delivered_messages)                                                        \
    X(CLOSED_DELIVERED_BYTES, delivered_bytes)                                                     \
    X(CLOSED_LOST, lost_messages)                                                                  \
    X(CLOSED_QUEUED, queued_messages)                                                              \
    X(CLOSED_CHARGED_BYTES, charged_bytes)                                                         \
    X(CLOSED_UID, uid)                                                                             \
    X(CLOSED_GID, gid)                                                                             \
    X(CLOSED_PID, pid)                                                                             \
    X(CLOSED_SUBSCRIPTIONS, subscriptions)                                                         \
    X(CLOSED_PACKETS, packets)                                                                     \
    X(CLOSED_REASON, reason)

void save_closed(struct save *s)
{
    const struct closed_ring *ring = &s->router->closed;

    for (const struct closed *c = closed_after(ring, 0); c; c = closed_after(ring, c->number)) {
        record_begin(s->w, STATE_CLOSED);
#define X(field, name) record_number(s->w, field, (uint64_t) c->name);
        CLOSED_PLAIN_FIELDS(X)
#undef X
        record_bytes(s->w, CLOSED_NAME, c->name, c->name_len);
        record_bytes(s->w, CLOSED_TEXT, c->text, c->text_len);
        record_end(s->w);
    }
}

bool load_closed(struct load *l)
{
    struct text name = record_text(l->record, CLOSED_NAME);
    struct text text = record_text(l->record, CLOSED_TEXT);
    struct closed c = {0};

#define X(field, name) c.name = (__typeof__(c.name)) record_get(l->record, field);
    CLOSED_PLAIN_FIELDS(X)
#undef X
    if (name.len > sizeof(c.name) || text.len > sizeof(c.text) || c.times == 0) {
        return load_refuse(l, "the end of a client");
    }
    memcpy(c.name, name.data, name.len);
    memcpy(c.text, text.data, text.len);
    c.name_len = (uint8_t) name.len;
    c.text_len = (uint8_t) text.len;
    return closed_restore(&l->router->closed, &c) || load_refuse(l, "the end of a client");
}
