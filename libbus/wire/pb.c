/* SPDX-License-Identifier: MIT */
#include "wire/pb.h"

enum { FIELD_NUMBER_MAX = (1 << 29) - 1 };

/* ---- writing ---- */

uint8_t *pb_put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        *p++ = (uint8_t) (v | 0x80);
    }
    *p++ = (uint8_t) v;
    return p;
}

size_t pb_varint_bytes(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7) {
        n++;
    }
    return n;
}

uint8_t *pb_put_number(uint8_t *p, unsigned field, uint64_t v)
{
    return v ? pb_put_varint(pb_put_varint(p, field << 3 | PB_VARINT), v) : p;
}

uint8_t *pb_put_text(uint8_t *p, unsigned field, struct text t)
{
    if (t.len == 0) {
        return p;
    }
    p = pb_put_varint(pb_put_varint(p, field << 3 | PB_BYTES), t.len);
    memcpy(p, t.data, t.len);
    return p + t.len;
}

/* ---- reading ---- */

static bool get_varint(struct pb_reader *in, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < PB_VARINT_MAX && in->p < in->end; i++) {
        uint8_t b = *in->p++;

        v |= (uint64_t) (b & 0x7F) << 7 * i;
        if (b < 0x80) {
            *ret = v;
            return i < PB_VARINT_MAX - 1 || b <= 1;
        }
    }
    return false;
}

static bool get_bytes(struct pb_reader *in, uint64_t len, struct text *ret)
{
    if (len > (uint64_t) (in->end - in->p)) {
        return false;
    }
    *ret = (struct text){(const char *) in->p, (size_t) len};
    in->p += len;
    return true;
}

static bool get_value(struct pb_reader *in, struct pb_field *f)
{
    uint64_t len;

    switch (f->kind) {
    case PB_VARINT:
        return get_varint(in, &f->value);
    case PB_FIXED64:
        return get_bytes(in, 8, &f->bytes);
    case PB_BYTES:
        return get_varint(in, &len) && get_bytes(in, len, &f->bytes);
    case PB_FIXED32:
        return get_bytes(in, 4, &f->bytes);
    }
    return false;
}

bool pb_next(struct pb_reader *in, struct pb_field *ret)
{
    uint64_t tag;

    if (!get_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX) {
        return false;
    }
    *ret = (struct pb_field){
        .number = (uint32_t) (tag >> 3), .kind = (enum pb_kind)(tag & 7), .bytes = {"", 0}};
    return get_value(in, ret);
}

bool pb_take_u32(const struct pb_field *f, uint32_t *to)
{
    *to = (uint32_t) f->value; /* as protobuf says for what is too large */
    return f->kind == PB_VARINT;
}

bool pb_take_u64(const struct pb_field *f, uint64_t *to)
{
    *to = f->value;
    return f->kind == PB_VARINT;
}

bool pb_take_text(const struct pb_field *f, struct text *to)
{
    *to = f->bytes;
    return f->kind == PB_BYTES;
}
