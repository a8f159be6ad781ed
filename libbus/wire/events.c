/* SPDX-License-Identifier: MIT */
#include "wire/events.h"
#include "base/macros.h"

/* Protobuf's kinds of field. */
enum { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };
enum { VARINT_BYTES_MAX = 10, FIELD_NUMBER_MAX = (1 << 29) - 1 };

/* Numbers of the fields. */
enum {
    FIELD_KIND = 1,
    FIELD_CONNECTION_ID = 2,
    FIELD_UID = 3,
    FIELD_GID = 4,
    FIELD_PID = 5,
    FIELD_NAME = 6,
    FIELD_REASON = 7,
    FIELD_TEXT = 8,
    FIELDS_END
};

/* ---- writing ---- */

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        *p++ = (uint8_t) (v | 0x80);
    }
    *p++ = (uint8_t) v;
    return p;
}

/* 0 is left out, as protobuf does. */
static uint8_t *put_number(uint8_t *p, unsigned field, uint64_t v)
{
    return v ? put_varint(put_varint(p, field << 3 | PB_VARINT), v) : p;
}

static uint8_t *put_text(uint8_t *p, unsigned field, struct text t, size_t max)
{
    size_t len = MIN(t.len, max);

    if (len == 0) {
        return p;
    }
    p = put_varint(put_varint(p, field << 3 | PB_BYTES), len);
    memcpy(p, t.data, len);
    return p + len;
}

size_t client_event_encode(const struct client_event *e, uint8_t dst[CLIENT_EVENT_MAX])
{
    uint8_t *p = put_number(dst, FIELD_KIND, e->kind);

    p = put_number(p, FIELD_CONNECTION_ID, e->connection_id);
    p = put_number(p, FIELD_UID, e->uid);
    p = put_number(p, FIELD_GID, e->gid);
    p = put_number(p, FIELD_PID, e->pid);
    p = put_text(p, FIELD_NAME, e->name, BUS_NAME_MAX);
    p = put_number(p, FIELD_REASON, e->reason);
    p = put_text(p, FIELD_TEXT, e->text, EVENT_TEXT_MAX);
    return (size_t) (p - dst);
}

/* ---- reading ---- */

struct reader {
    const uint8_t *p, *end;
};

static bool get_varint(struct reader *in, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < VARINT_BYTES_MAX && in->p < in->end; i++) {
        uint8_t b = *in->p++;

        v |= (uint64_t) (b & 0x7F) << 7 * i;
        if (b < 0x80) {
            *ret = v;
            return i < VARINT_BYTES_MAX - 1 || b <= 1;
        }
    }
    return false;
}

static bool get_bytes(struct reader *in, uint64_t len, struct text *ret)
{
    if (len > (uint64_t) (in->end - in->p)) {
        return false;
    }
    *ret = (struct text){(const char *) in->p, (size_t) len};
    in->p += len;
    return true;
}

/* A field whatever it is: its number or its bytes. */
static bool get_value(struct reader *in, unsigned kind, uint64_t *number, struct text *text)
{
    switch (kind) {
    case PB_VARINT:
        return get_varint(in, number);
    case PB_FIXED64:
        return get_bytes(in, 8, text);
    case PB_BYTES:
        return get_varint(in, number) && get_bytes(in, *number, text);
    case PB_FIXED32:
        return get_bytes(in, 4, text);
    }
    return false;
}

static void set_number(struct client_event *e, unsigned field, uint64_t v)
{
    uint32_t *const places[FIELDS_END] = {[FIELD_KIND] = &e->kind,
                                          [FIELD_UID] = &e->uid,
                                          [FIELD_GID] = &e->gid,
                                          [FIELD_PID] = &e->pid,
                                          [FIELD_REASON] = &e->reason};

    if (field == FIELD_CONNECTION_ID) {
        e->connection_id = v;
    } else {
        *places[field] = (uint32_t) v; /* as protobuf says for what is too large */
    }
}

static bool get_field(struct reader *in, struct client_event *e)
{
    struct text text = {"", 0};
    uint64_t tag, field, v = 0;
    unsigned kind;

    if (!get_varint(in, &tag)) {
        return false;
    }
    kind = tag & 7;
    field = tag >> 3;
    if (field == 0 || field > FIELD_NUMBER_MAX || !get_value(in, kind, &v, &text)) {
        return false;
    }
    if (field >= FIELDS_END) {
        return true; /* of a later version */
    }
    if (field == FIELD_NAME || field == FIELD_TEXT) {
        *(field == FIELD_NAME ? &e->name : &e->text) = text;
        return kind == PB_BYTES;
    }
    if (kind == PB_VARINT) {
        set_number(e, (unsigned) field, v);
    }
    return kind == PB_VARINT;
}

bool client_event_decode(const uint8_t *data, size_t bytes, struct client_event *ret)
{
    struct client_event e = {.name = {"", 0}, .text = {"", 0}};
    struct reader in = {data, data + bytes};

    while (in.p < in.end) {
        if (!get_field(&in, &e)) {
            return false;
        }
    }
    *ret = e;
    return true;
}
