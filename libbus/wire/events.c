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
    FIELD_TEXT = 8
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

static bool take_field(struct client_event *e, const struct pb_field *f)
{
    switch (f->number) {
    case FIELD_KIND:
        return pb_take_u32(f, &e->kind);
    case FIELD_CONNECTION_ID:
        return pb_take_u64(f, &e->connection_id);
    case FIELD_UID:
        return pb_take_u32(f, &e->uid);
    case FIELD_GID:
        return pb_take_u32(f, &e->gid);
    case FIELD_PID:
        return pb_take_u32(f, &e->pid);
    case FIELD_NAME:
        return pb_take_text(f, &e->name);
    case FIELD_REASON:
        return pb_take_u32(f, &e->reason);
    case FIELD_TEXT:
        return pb_take_text(f, &e->text);
    }
    return true; /* of a later version */
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
