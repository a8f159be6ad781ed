/* SPDX-License-Identifier: MIT */
#pragma once
/* The short way for the two headers that pass millions of times a second: PUBLISH by alias alone,
 * and MESSAGE without flags and text headers. What is written here is what protobuf-c would write;
 * whatever does not look exactly like it goes through the codec. Why:
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

/* PUBLISH {alias} and nothing else. */
static inline bool hot_get_publish(const uint8_t *header, size_t bytes, uint32_t *ret_alias)
{
    return hot_get_u32(header, header + bytes, HOT_TAG_1_VARINT, ret_alias) == header + bytes;
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

struct hot_message {
    uint32_t subscription, topic, sender;
    uint64_t sequence, time_ns;
};

/* MESSAGE {subscription, topic, sender, sequence, time} in this order and nothing else. */
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
    if (!p || end - p != 9 || *p != HOT_TAG_5_FIXED64) {
        return false;
    }
    ret->time_ns = load_u64le(p + 1);
    return true;
}
