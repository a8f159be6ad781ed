/* SPDX-License-Identifier: MIT */
#pragma once
/* The state of a router as bytes: a row of records, each a kind, a length and a message in the
 * encoding of protobuf. What they mean: core/kinds.h and schemas/state.proto. Knows nothing of
 * routers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/messages.h"

/* Field numbers are below this. */
#define RECORD_FIELDS 48u

/* Begins as zeroes; data is to be freed. */
struct record_writer {
    uint8_t *data;
    size_t len;
    size_t capacity;
    size_t start;   /* of the record that is being written */
    bool is_failed; /* out of memory: nothing more is written */
};

void record_begin(struct record_writer *w, unsigned kind);
/* A field that is 0 is left out, as in protobuf, and so is an empty text. */
void record_number(struct record_writer *w, unsigned field, uint64_t value);
void record_bytes(struct record_writer *w, unsigned field, const void *data, size_t len);
/* So many bytes of a field, to be written at once. NULL if out of memory. */
uint8_t *record_room(struct record_writer *w, unsigned field, size_t len);
void record_end(struct record_writer *w);

struct record_reader {
    const uint8_t *data;
    size_t len;
};

struct record_field {
    uint64_t number;     /* or the length of the text */
    const uint8_t *data; /* NULL: it is a number */
};

struct record {
    uint32_t kind;
    uint64_t present; /* fields, by bit */
    struct record_field fields[RECORD_FIELDS];
};

enum record_verdict { RECORD_OK, RECORD_LAST, RECORD_MALFORMED };

/* The next one; RECORD_LAST: there is none. Fields that are not known are skipped. */
enum record_verdict record_next(struct record_reader *from, struct record *ret);

/* 0 if it is absent or a text. */
static inline uint64_t record_get(const struct record *r, unsigned field)
{
    return (r->present >> field & 1) && !r->fields[field].data ? r->fields[field].number : 0;
}

/* At most UINT32_MAX: what is beyond is out of every range. */
static inline uint32_t record_get_32(const struct record *r, unsigned field)
{
    uint64_t v = record_get(r, field);

    return v > UINT32_MAX ? UINT32_MAX : (uint32_t) v;
}

/* A view; empty if it is absent or a number. */
static inline struct text record_text(const struct record *r, unsigned field)
{
    const struct record_field *f = &r->fields[field];

    return (r->present >> field & 1) && f->data
               ? (struct text){(const char *) f->data, (size_t) f->number}
               : (struct text){"", 0};
}

/* Numbers in a row, in a field of bytes. */
#define NUMBER_MAX 10u
uint8_t *number_put(uint8_t *dst, uint64_t v);
/* Takes the first off the row. False if there is none. */
bool number_take(struct text *row, uint64_t *ret);

/* Signed numbers, so that small ones are short. */
static inline uint64_t number_fold(int64_t v)
{
    return (uint64_t) v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static inline int64_t number_unfold(uint64_t v)
{
    return (int64_t) (v >> 1 ^ (v & 1 ? UINT64_MAX : 0));
}

/* Objects get numbers, 1 and up, in the order in which they are first asked for. Begins as zeroes.
 */
struct numbering {
    struct numbered {
        const void *object; /* NULL: empty */
        uint32_t number;
    } * slots;
    uint32_t n, n_slots; /* n_slots: a power of two, or 0 */
};

/* The place of an object: number is 0 if it is new, and to be set then. NULL if out of memory. */
struct numbered *numbering_find(struct numbering *all, const void *object);
void numbering_fini(struct numbering *all);
