/* SPDX-License-Identifier: MIT */
#pragma once
/* Protobuf's encoding of single fields, for bodies that are written and read by hand: events and
 * what the router says of itself. Nothing is read or written beyond the end that is given. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/messages.h"

enum pb_kind { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

/* The longest varint, and the longest tag with one behind it. */
enum { PB_VARINT_MAX = 10, PB_NUMBER_MAX = 2 + PB_VARINT_MAX };

uint8_t *pb_put_varint(uint8_t *p, uint64_t v);
/* Length of a varint. */
size_t pb_varint_bytes(uint64_t v);
/* 0 is left out, as protobuf does. Numbers of fields are below 2048. */
uint8_t *pb_put_number(uint8_t *p, unsigned field, uint64_t v);
/* An empty text is left out. */
uint8_t *pb_put_text(uint8_t *p, unsigned field, struct text t);

struct pb_reader {
    const uint8_t *p, *end;
};

struct pb_field {
    uint32_t number;
    enum pb_kind kind;
    uint64_t value;    /* of PB_VARINT */
    struct text bytes; /* of the others */
};

/* The next field, whatever it is. False if the bytes are not valid; not to be called at the end. */
bool pb_next(struct pb_reader *in, struct pb_field *ret);

/* A field of a known type. False if it is of another. */
bool pb_take_u32(const struct pb_field *f, uint32_t *to);
bool pb_take_u64(const struct pb_field *f, uint64_t *to);
bool pb_take_text(const struct pb_field *f, struct text *to);
