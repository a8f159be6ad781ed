/* SPDX-License-Identifier: MIT */
#include "wire/denied_event.h"

size_t denied_event_encode(const struct denied_event *e, uint8_t dst[DENIED_EVENT_MAX])
{
    uint8_t *p = dst;

#define NUMBER(number, name) p = pb_put_number(p, number, e->name);
#define TEXT(number, name, max) p = pb_put_text(p, number, text_cut(e->name, max));
    DENIED_EVENT_FIELDS(NUMBER, NUMBER, TEXT)
#undef NUMBER
#undef TEXT
    return (size_t) (p - dst);
}

/* False if it is of another type. Unknown ones are of a later version. */
static bool take(struct denied_event *e, const struct pb_field *f)
{
    switch (f->number) {
#define U32(field, name)                                                                           \
    case field:                                                                                    \
        return pb_take_u32(f, &e->name);
#define U64(field, name)                                                                           \
    case field:                                                                                    \
        return pb_take_u64(f, &e->name);
#define TEXT(field, name, max)                                                                     \
    case field:                                                                                    \
        return pb_take_text(f, &e->name);
        DENIED_EVENT_FIELDS(U32, U64, TEXT)
#undef U32
#undef U64
#undef TEXT
    }
    return true;
}

bool denied_event_decode(const uint8_t *data, size_t bytes, struct denied_event *ret)
{
    const struct text none = {"", 0};
    struct denied_event e = {.name = none, .verb = none, .topic = none, .rule = none, .text = none};
    struct pb_reader in = {data, data + bytes};
    struct pb_field f;

    while (in.p < in.end) {
        if (!pb_next(&in, &f) || !take(&e, &f)) {
            return false;
        }
    }
    *ret = e;
    return true;
}
