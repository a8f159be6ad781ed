/* SPDX-License-Identifier: MIT */
#include "wire/events.h"
#include "wire/pb.h"

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

size_t client_event_encode(const struct client_event *e, uint8_t dst[CLIENT_EVENT_MAX])
{
    uint8_t *p = pb_put_number(dst, FIELD_KIND, e->kind);

    p = pb_put_number(p, FIELD_CONNECTION_ID, e->connection_id);
    p = pb_put_number(p, FIELD_UID, e->uid);
    p = pb_put_number(p, FIELD_GID, e->gid);
    p = pb_put_number(p, FIELD_PID, e->pid);
    p = pb_put_text(p, FIELD_NAME, text_cut(e->name, BUS_NAME_MAX));
    p = pb_put_number(p, FIELD_REASON, e->reason);
    p = pb_put_text(p, FIELD_TEXT, text_cut(e->text, EVENT_TEXT_MAX));
    return (size_t) (p - dst);
}

/* ---- reading ---- */

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

static bool take_field(struct client_event *e, const struct pb_field *f)
{
    if (f->number >= FIELDS_END) {
        return true; /* of a later version */
    }
    if (f->number == FIELD_NAME || f->number == FIELD_TEXT) {
        *(f->number == FIELD_NAME ? &e->name : &e->text) = f->bytes;
        return f->kind == PB_BYTES;
    }
    if (f->kind == PB_VARINT) {
        set_number(e, f->number, f->value);
    }
    return f->kind == PB_VARINT;
}

bool client_event_decode(const uint8_t *data, size_t bytes, struct client_event *ret)
{
    struct client_event e = {.name = {"", 0}, .text = {"", 0}};
    struct pb_reader in = {data, data + bytes};
    struct pb_field field;

    while (in.p < in.end) {
        if (!pb_next(&in, &field) || !take_field(&e, &field)) {
            return false;
        }
    }
    *ret = e;
    return true;
}
