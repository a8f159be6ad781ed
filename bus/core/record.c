/* SPDX-License-Identifier: MIT */
#include "core/record.h"
#include <stdlib.h>
#include <string.h>
#include "base/macros.h"

#define HEAD_BYTES 8u
#define RECORD_CAPACITY_MIN 4096u
#define NUMBERING_MIN 64u

/* Kinds of field of protobuf. */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* ---- numbers ---- */

uint8_t *number_put(uint8_t *dst, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        *dst++ = (uint8_t) (v | 0x80);
    }
    *dst++ = (uint8_t) v;
    return dst;
}

bool number_take(struct text *row, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned shift = 0; row->len > 0 && shift < 64; shift += 7) {
        uint8_t byte = (uint8_t) *row->data++;

        row->len--;
        v |= (uint64_t) (byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

/* ---- writing ---- */

static uint8_t *writer_reserve(struct record_writer *w, size_t bytes)
{
    size_t capacity = MAX(w->capacity, RECORD_CAPACITY_MIN);
    uint8_t *data;

    if (w->is_failed) {
        return NULL;
    }
    if (bytes <= w->capacity - w->len) {
        return w->data + w->len;
    }
    while (capacity - w->len < bytes) {
        capacity *= 2;
    }
    data = realloc(w->data, capacity);
    if (!data) {
        w->is_failed = true;
        return NULL;
    }
    w->data = data;
    w->capacity = capacity;
    return data + w->len;
}

void record_begin(struct record_writer *w, unsigned kind)
{
    uint8_t *dst = writer_reserve(w, HEAD_BYTES);

    if (dst) {
        store_u64le(dst, kind);
        w->start = w->len;
        w->len += HEAD_BYTES;
    }
}

void record_end(struct record_writer *w)
{
    uint64_t bytes = w->len - w->start - HEAD_BYTES;

    if (w->is_failed) {
        return;
    }
    if (bytes > UINT32_MAX) {
        w->is_failed = true;
        return;
    }
    store_u64le(w->data + w->start, load_u64le(w->data + w->start) | bytes << 32);
}

void record_number(struct record_writer *w, unsigned field, uint64_t value)
{
    uint8_t *dst = value ? writer_reserve(w, 2 * NUMBER_MAX) : NULL;

    if (dst) {
        dst = number_put(number_put(dst, field << 3 | WIRE_VARINT), value);
        w->len = (size_t) (dst - w->data);
    }
}

uint8_t *record_room(struct record_writer *w, unsigned field, size_t len)
{
    uint8_t *dst = writer_reserve(w, 2 * NUMBER_MAX + len);

    if (dst) {
        dst = number_put(number_put(dst, field << 3 | WIRE_BYTES), len);
        w->len = (size_t) (dst - w->data) + len;
    }
    return dst;
}

void record_bytes(struct record_writer *w, unsigned field, const void *data, size_t len)
{
    uint8_t *dst = len > 0 ? record_room(w, field, len) : NULL;

    if (dst) {
        memcpy(dst, data, len);
    }
}

/* ---- reading ---- */

/* The value of one field, off the row. False if it is malformed. */
static bool field_take(struct text *row, unsigned wire, struct record_field *ret)
{
    size_t skipped = wire == WIRE_64 ? 8 : 4;

    *ret = (struct record_field){0};
    if (wire == WIRE_VARINT) {
        return number_take(row, &ret->number);
    }
    if (wire == WIRE_BYTES) {
        if (!number_take(row, &ret->number) || ret->number > row->len) {
            return false;
        }
        ret->data = (const uint8_t *) row->data;
        skipped = (size_t) ret->number;
    } else if ((wire != WIRE_64 && wire != WIRE_32) || skipped > row->len) {
        return false;
    }
    row->data += skipped;
    row->len -= skipped;
    return true;
}

static bool fields_take(struct text row, struct record *ret)
{
    while (row.len > 0) {
        struct record_field field;
        uint64_t tag;

        if (!number_take(&row, &tag) || !field_take(&row, tag & 7, &field)) {
            return false;
        }
        if (tag >> 3 < RECORD_FIELDS) {
            ret->fields[tag >> 3] = field;
            ret->present |= UINT64_C(1) << (tag >> 3);
        }
    }
    return true;
}

enum record_verdict record_next(struct record_reader *from, struct record *ret)
{
    uint64_t head;
    size_t bytes;

    if (from->len == 0) {
        return RECORD_LAST;
    }
    if (from->len < HEAD_BYTES) {
        return RECORD_MALFORMED;
    }
    head = load_u64le(from->data);
    bytes = head >> 32;
    if (bytes > from->len - HEAD_BYTES) {
        return RECORD_MALFORMED;
    }
    ret->kind = (uint32_t) head;
    ret->present = 0;
    if (!fields_take((struct text){(const char *) from->data + HEAD_BYTES, bytes}, ret)) {
        return RECORD_MALFORMED;
    }
    from->data += HEAD_BYTES + bytes;
    from->len -= HEAD_BYTES + bytes;
    return RECORD_OK;
}

/* ---- numbering ---- */

static struct numbered *slot_find(struct numbered *slots, uint32_t n_slots, const void *object)
{
    uint64_t hash = (uint64_t) (uintptr_t) object * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t i = (uint32_t) (hash >> 32) & (n_slots - 1);

    while (slots[i].object && slots[i].object != object) {
        i = (i + 1) & (n_slots - 1);
    }
    return &slots[i];
}

static bool numbering_grow(struct numbering *all)
{
    uint32_t n = all->n_slots ? all->n_slots * 2 : NUMBERING_MIN;
    struct numbered *slots = calloc(n, sizeof(*slots));

    if (!slots) {
        return false;
    }
    for (uint32_t i = 0; i < all->n_slots; i++) {
        if (all->slots[i].object) {
            *slot_find(slots, n, all->slots[i].object) = all->slots[i];
        }
    }
    free(all->slots);
    all->slots = slots;
    all->n_slots = n;
    return true;
}

struct numbered *numbering_find(struct numbering *all, const void *object)
{
    struct numbered *place;

    if (all->n >= all->n_slots / 2 && !numbering_grow(all)) {
        return NULL;
    }
    place = slot_find(all->slots, all->n_slots, object);
    if (!place->object) {
        place->object = object;
        place->number = 0;
        all->n++;
    }
    return place;
}

void numbering_fini(struct numbering *all)
{
    free(all->slots);
    *all = (struct numbering){0};
}
