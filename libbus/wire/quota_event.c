/* SPDX-License-Identifier: MIT */
#include "wire/quota_event.h"

enum {
    EVENT_UID = 1,
    EVENT_CONNECTION_ID,
    EVENT_SLOT,
    EVENT_LIMIT,
    EVENT_USED,
    EVENT_REQUESTED,
    EVENT_TIMES,
    EVENT_HOLDERS
};
enum { HOLDER_UID = 1, HOLDER_CONNECTION_ID, HOLDER_USED, HOLDER_NAME };

/* ---- writing ---- */

static size_t holder_encode(const struct quota_holder *h, uint8_t dst[QUOTA_HOLDER_MAX])
{
    uint8_t *p = pb_put_number(dst, HOLDER_UID, h->uid);

    p = pb_put_number(p, HOLDER_CONNECTION_ID, h->connection_id);
    p = pb_put_number(p, HOLDER_USED, h->used);
    p = pb_put_text(p, HOLDER_NAME, text_cut(h->name, BUS_NAME_MAX));
    return (size_t) (p - dst);
}

size_t quota_event_encode(const struct quota_event *e, uint8_t dst[QUOTA_EVENT_MAX])
{
    uint8_t *p = pb_put_number(dst, EVENT_UID, e->uid);

    p = pb_put_number(p, EVENT_CONNECTION_ID, e->connection_id);
    p = pb_put_text(p, EVENT_SLOT, text_cut(e->slot, QUOTA_SLOT_MAX));
    p = pb_put_number(p, EVENT_LIMIT, e->limit);
    p = pb_put_number(p, EVENT_USED, e->used);
    p = pb_put_number(p, EVENT_REQUESTED, e->requested);
    p = pb_put_number(p, EVENT_TIMES, e->times);
    for (uint32_t i = 0; i < e->n_holders; i++) {
        uint8_t holder[QUOTA_HOLDER_MAX];
        size_t n = holder_encode(&e->holders[i], holder);

        p = pb_put_text(p, EVENT_HOLDERS, (struct text){(const char *) holder, n});
    }
    return (size_t) (p - dst);
}

/* ---- reading ---- */

static bool holder_take(struct quota_holder *h, const struct pb_field *f)
{
    switch (f->number) {
    case HOLDER_UID:
        return pb_take_u32(f, &h->uid);
    case HOLDER_CONNECTION_ID:
        return pb_take_u64(f, &h->connection_id);
    case HOLDER_USED:
        return pb_take_u64(f, &h->used);
    case HOLDER_NAME:
        return pb_take_text(f, &h->name);
    }
    return true; /* of a later version */
}

static bool holder_decode(struct text bytes, struct quota_event *e)
{
    struct quota_holder h = {.name = {"", 0}};
    struct pb_reader in = {(const uint8_t *) bytes.data, (const uint8_t *) bytes.data + bytes.len};
    struct pb_field f;

    while (in.p < in.end) {
        if (!pb_next(&in, &f) || !holder_take(&h, &f)) {
            return false;
        }
    }
    if (e->n_holders < QUOTA_HOLDERS_MAX) {
        e->holders[e->n_holders++] = h;
    }
    return true;
}

static bool event_take(struct quota_event *e, const struct pb_field *f)
{
    switch (f->number) {
    case EVENT_UID:
        return pb_take_u32(f, &e->uid);
    case EVENT_CONNECTION_ID:
        return pb_take_u64(f, &e->connection_id);
    case EVENT_SLOT:
        return pb_take_text(f, &e->slot);
    case EVENT_LIMIT:
        return pb_take_u64(f, &e->limit);
    case EVENT_USED:
        return pb_take_u64(f, &e->used);
    case EVENT_REQUESTED:
        return pb_take_u64(f, &e->requested);
    case EVENT_TIMES:
        return pb_take_u64(f, &e->times);
    case EVENT_HOLDERS:
        return f->kind == PB_BYTES && holder_decode(f->bytes, e);
    }
    return true;
}

bool quota_event_decode(const uint8_t *data, size_t bytes, struct quota_event *ret)
{
    struct quota_event e = {.slot = {"", 0}};
    struct pb_reader in = {data, data + bytes};
    struct pb_field f;

    while (in.p < in.end) {
        if (!pb_next(&in, &f) || !event_take(&e, &f)) {
            return false;
        }
    }
    *ret = e;
    return true;
}
