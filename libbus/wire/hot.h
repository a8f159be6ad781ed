/* SPDX-License-Identifier: MIT */
#pragma once
/* The short way for the headers that pass millions of times a second: PUBLISH by alias alone,
 * MESSAGE without flags and text headers, both also with the body in a buffer, RELEASE and
 * RETURNED; requests and answers are in wire/hot_requests.h. What is written here is what
 * protobuf-c would write; whatever does not look exactly like it goes through the codec. Why:
 * docs/decisions/002-hot-headers.md. Field numbers: schemas/bus.proto. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/macros.h"
#include "wire/frame.h"

#define HOT_VARINT_MAX 10u
/* MESSAGE: field 1 alone, and fields 2 to 5 */
#define HOT_SUBSCRIPTION_MAX 6u
#define HOT_MESSAGE_MAX (6u + 6u + 11u + 9u)

enum { HOT_TAG_1_VARINT = 0x08, HOT_TAG_2_VARINT = 0x10, HOT_TAG_3_VARINT = 0x18 };
enum { HOT_TAG_4_VARINT = 0x20, HOT_TAG_5_FIXED64 = 0x29 };

static inline uint8_t *hot_put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t) (v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t) v;
    return p;
}

/* NULL if there is none before end, or it is longer than it could be. */
static inline const uint8_t *hot_get_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned shift = 0; p < end && shift < 63; shift += 7) {
        uint8_t b = *p++;

        v |= (uint64_t) (b & 0x7F) << shift;
        if (b < 0x80) {
            *ret = v;
            return p;
        }
    }
    return NULL;
}

static inline const uint8_t *hot_get_u32(const uint8_t *p, const uint8_t *end, uint8_t tag,
                                         uint32_t *ret)
{
    uint64_t v;

    if (p >= end || *p != tag) {
        return NULL;
    }
    p = hot_get_varint(p + 1, end, &v);
    if (!p || v > UINT32_MAX) {
        return NULL;
    }
    *ret = (uint32_t) v;
    return p;
}

/* Field 1 of any message as a varint: PUBLISH.alias, MESSAGE.subscription. Not for 0, which
 * protobuf leaves out. */
static inline size_t hot_put_field_1(uint8_t dst[HOT_SUBSCRIPTION_MAX], uint32_t v)
{
    dst[0] = HOT_TAG_1_VARINT;
    return (size_t) (hot_put_varint(dst + 1, v) - dst);
}

/* Field 1 and nothing else: PUBLISH {alias}, RELEASE {lease}. */
static inline bool hot_get_field_1(const uint8_t *header, size_t bytes, uint32_t *ret)
{
    return hot_get_u32(header, header + bytes, HOT_TAG_1_VARINT, ret) == header + bytes;
}

/* Where a body is: PUBLISH fields 4 to 6, MESSAGE fields 7 to 10, with the numbers of the fields
 * counted from `first`. */
struct hot_place {
    uint32_t buffer;
    uint32_t lease; /* MESSAGE; 0 in PUBLISH */
    uint64_t offset;
    uint64_t bytes;
};

enum { HOT_PUBLISH_PLACE = 4, HOT_MESSAGE_PLACE = 7 };
/* Of a PUBLISH that says more than its alias. */
enum { HOT_PUBLISH_FLAGS = 3, HOT_PUBLISH_SEQUENCE = 10 };
/* All four fields. */
#define HOT_PLACE_MAX (6u + 11u + 11u + 6u)

/* A field of one byte of tag; 0 is left out, as protobuf does. */
static inline uint8_t *hot_put_field(uint8_t *p, unsigned field, uint64_t v)
{
    if (v == 0) {
        return p;
    }
    *p++ = (uint8_t) (field << 3);
    return hot_put_varint(p, v);
}

static inline size_t hot_put_place(uint8_t *dst, unsigned first, const struct hot_place *place)
{
    uint8_t *p = hot_put_field(dst, first, place->buffer);

    p = hot_put_field(p, first + 1, place->offset);
    p = hot_put_field(p, first + 2, place->bytes);
    return (size_t) (hot_put_field(p, first + 3, place->lease) - dst);
}

/* A field that may be missing: then *ret is 0. NULL if it is there and wrong. */
static inline const uint8_t *hot_get_field(const uint8_t *p, const uint8_t *end, unsigned field,
                                           uint64_t *ret)
{
    *ret = 0;
    return p && p < end && *p == field << 3 ? hot_get_varint(p + 1, end, ret) : p;
}

/* Those fields in their order and nothing else up to the end. */
static inline bool hot_get_place(const uint8_t *p, const uint8_t *end, unsigned first,
                                 struct hot_place *ret)
{
    uint64_t buffer, lease;

    p = hot_get_field(p, end, first, &buffer);
    p = hot_get_field(p, end, first + 1, &ret->offset);
    p = hot_get_field(p, end, first + 2, &ret->bytes);
    p = hot_get_field(p, end, first + 3, &lease);
    ret->buffer = (uint32_t) buffer;
    ret->lease = (uint32_t) lease;
    return p == end && buffer > 0 && buffer <= UINT32_MAX && lease <= UINT32_MAX;
}

/* PUBLISH {alias, buffer, offset, bytes} and nothing else. */
static inline bool hot_get_publish_place(const uint8_t *header, size_t bytes, uint32_t *ret_alias,
                                         struct hot_place *ret)
{
    const uint8_t *end = header + bytes;
    const uint8_t *p = hot_get_u32(header, end, HOT_TAG_1_VARINT, ret_alias);

    return p && hot_get_place(p, end, HOT_PUBLISH_PLACE, ret) && ret->lease == 0;
}

/* RETURNED {buffer, offset} and nothing else. */
static inline size_t hot_put_returned(uint8_t *dst, uint32_t buffer, uint64_t offset)
{
    uint8_t *p = hot_put_field(dst, 1, buffer);

    return (size_t) (hot_put_field(p, 2, offset) - dst);
}

static inline bool hot_get_returned(const uint8_t *header, size_t bytes, uint32_t *ret_buffer,
                                    uint64_t *ret_offset)
{
    const uint8_t *end = header + bytes;
    const uint8_t *p = hot_get_u32(header, end, HOT_TAG_1_VARINT, ret_buffer);

    return p && hot_get_field(p, end, 2, ret_offset) == end;
}

/* MESSAGE fields 2 to 5; the ids and the sequence are never 0. */
static inline size_t hot_put_message(uint8_t dst[HOT_MESSAGE_MAX], uint32_t topic, uint32_t sender,
                                     uint64_t sequence, uint64_t time_ns)
{
    uint8_t *p = dst;

    *p++ = HOT_TAG_2_VARINT;
    p = hot_put_varint(p, topic);
    *p++ = HOT_TAG_3_VARINT;
    p = hot_put_varint(p, sender);
    *p++ = HOT_TAG_4_VARINT;
    p = hot_put_varint(p, sequence);
    *p++ = HOT_TAG_5_FIXED64;
    store_u64le(p, time_ns);
    return (size_t) (p + 8 - dst);
}

/* MESSAGE fields 6, 12 and 13, behind everything else. */
#define HOT_DELIVERY_MAX (6u + 6u + 6u)
enum { HOT_MESSAGE_FLAGS = 6, HOT_MESSAGE_DELIVERY = 12, HOT_MESSAGE_DELIVERIES = 13 };

static inline size_t hot_put_delivery(uint8_t dst[HOT_DELIVERY_MAX], uint32_t flags,
                                      uint32_t delivery, uint32_t deliveries)
{
    uint8_t *p = hot_put_field(dst, HOT_MESSAGE_FLAGS, flags);

    p = hot_put_field(p, HOT_MESSAGE_DELIVERY, delivery);
    return (size_t) (hot_put_field(p, HOT_MESSAGE_DELIVERIES, deliveries) - dst);
}

/* Where fields 2 to 5 of a MESSAGE header end that was written here, with or without a subscription
 * in front: field 6 is next if it is there. */
static inline size_t hot_message_end(const uint8_t *header, size_t bytes)
{
    const uint8_t *p = header, *end = header + bytes;
    uint64_t v;

    while (p && p < end && *p <= HOT_TAG_4_VARINT) {
        p = hot_get_varint(p + 1, end, &v);
    }
    if (p && end - p >= 9 && *p == HOT_TAG_5_FIXED64) {
        p += 9;
    }
    return p ? (size_t) (p - header) : 0;
}

/* MESSAGE {flags} as it stands behind field 5: below 128. */
#define HOT_FLAGS_BYTES 2u

struct hot_message {
    uint32_t subscription, topic, sender;
    uint64_t sequence, time_ns;
    uint32_t flags;         /* those of reliable topics, or 0 */
    struct hot_place place; /* buffer is 0 if the body is in the frame */
};

/* MESSAGE {subscription, topic, sender, sequence, time} in this order, RELIABLE, with or without
 * RESENT, and the place of a body in a buffer, if they are there, and nothing else. */
static inline bool hot_get_message(const uint8_t *header, size_t bytes, struct hot_message *ret)
{
    const uint8_t *end = header + bytes, *p;

    p = hot_get_u32(header, end, HOT_TAG_1_VARINT, &ret->subscription);
    p = p ? hot_get_u32(p, end, HOT_TAG_2_VARINT, &ret->topic) : NULL;
    p = p ? hot_get_u32(p, end, HOT_TAG_3_VARINT, &ret->sender) : NULL;
    if (!p || p >= end || *p != HOT_TAG_4_VARINT) {
        return false;
    }
    p = hot_get_varint(p + 1, end, &ret->sequence);
    if (!p || end - p < 9 || *p != HOT_TAG_5_FIXED64) {
        return false;
    }
    ret->time_ns = load_u64le(p + 1);
    ret->place.buffer = 0;
    ret->flags = 0;
    p += 9;
    if (UNLIKELY(end - p >= 2 && *p == HOT_MESSAGE_FLAGS << 3)) {
        ret->flags = p[1];
        p += 2;
        if ((ret->flags & ~(uint32_t) MESSAGE_RESENT) != MESSAGE_RELIABLE) {
            return false;
        }
    }
    return p == end || hot_get_place(p, end, HOT_MESSAGE_PLACE, &ret->place);
}
