/* SPDX-License-Identifier: MIT */
#pragma once
/* The short way for requests, calls, replies and answers without texts: their headers hold nothing
 * but numbers. As in wire/hot.h, what does not look exactly so goes through the codec. */

#include "wire/hot.h"
#include "wire/messages.h"

/* Which fields of a header hold numbers, bit n for field n, 1 to 15. */
struct hot_numbers {
    uint32_t u32; /* varints; all of those that are no u64 */
    uint32_t u64;
    uint32_t fixed64;
};

#define HOT_NUMBERS_N 16u

/* A header that holds nothing but such fields, in whatever order: v[n] is field n, 0 if it is not
 * there. */
static inline bool hot_get_numbers(const uint8_t *header, size_t bytes,
                                   const struct hot_numbers *known, uint64_t v[HOT_NUMBERS_N])
{
    const uint8_t *end = header + bytes, *p = header;

    memset(v, 0, HOT_NUMBERS_N * sizeof(*v));
    while (p < end) {
        unsigned field = *p >> 3, type = *p & 7;

        if (*p >= 0x80) {
            return false;
        }
        p++;
        if (type == 1 && (known->fixed64 >> field & 1) && end - p >= 8) {
            v[field] = load_u64le(p);
            p += 8;
            continue;
        }
        p = type == 0 ? hot_get_varint(p, end, &v[field]) : NULL;
        if (!p ||
            !((known->u64 >> field & 1) || ((known->u32 >> field & 1) && v[field] <= UINT32_MAX))) {
            return false;
        }
    }
    return true;
}

#define HOT_FIELD(n) (UINT32_C(1) << (n))
#define HOT_PLACE_FIELDS(first) (HOT_FIELD((first) + 1) | HOT_FIELD((first) + 2)) /* u64 */

/* The fields of schemas/bus.proto that are numbers. */
static const struct hot_numbers hot_request = {HOT_FIELD(1) | HOT_FIELD(3) | HOT_FIELD(4) |
                                                   HOT_FIELD(9) | HOT_FIELD(10),
                                               HOT_PLACE_FIELDS(4), 0};
static const struct hot_numbers hot_call = {HOT_FIELD(1) | HOT_FIELD(2) | HOT_FIELD(3) |
                                                HOT_FIELD(6) | HOT_FIELD(7) | HOT_FIELD(10) |
                                                HOT_FIELD(11) | HOT_FIELD(12),
                                            HOT_FIELD(4) | HOT_PLACE_FIELDS(7), HOT_FIELD(5)};
static const struct hot_numbers hot_reply = {HOT_FIELD(3) | HOT_FIELD(4) | HOT_FIELD(9),
                                             HOT_FIELD(1) | HOT_PLACE_FIELDS(4), 0};
static const struct hot_numbers hot_answer = {HOT_FIELD(1) | HOT_FIELD(2) | HOT_FIELD(3) |
                                                  HOT_FIELD(6) | HOT_FIELD(7) | HOT_FIELD(10) |
                                                  HOT_FIELD(11) | HOT_FIELD(12),
                                              HOT_PLACE_FIELDS(7), HOT_FIELD(5)};

static inline bool hot_get_request(const uint8_t *header, size_t bytes, struct wire_request *ret)
{
    uint64_t v[HOT_NUMBERS_N];

    if (!hot_get_numbers(header, bytes, &hot_request, v)) {
        return false;
    }
    *ret = (struct wire_request){.alias = (uint32_t) v[1],
                                 .topic = {"", 0},
                                 .flags = (uint32_t) v[3],
                                 .buffer = (uint32_t) v[4],
                                 .offset = v[5],
                                 .bytes = v[6],
                                 .call = (uint32_t) v[9],
                                 .timeout_ms = (uint32_t) v[10]};
    return true;
}

static inline bool hot_get_call(const uint8_t *header, size_t bytes, struct wire_call *ret)
{
    uint64_t v[HOT_NUMBERS_N];

    if (!hot_get_numbers(header, bytes, &hot_call, v)) {
        return false;
    }
    *ret = (struct wire_call){.subscription = (uint32_t) v[1],
                              .topic = (uint32_t) v[2],
                              .sender = (uint32_t) v[3],
                              .call = v[4],
                              .time = v[5],
                              .flags = (uint32_t) v[6],
                              .buffer = (uint32_t) v[7],
                              .offset = v[8],
                              .bytes = v[9],
                              .lease = (uint32_t) v[10],
                              .descriptors = (uint32_t) v[11],
                              .timeout_ms = (uint32_t) v[12]};
    return true;
}

static inline bool hot_get_reply(const uint8_t *header, size_t bytes, struct wire_reply *ret)
{
    uint64_t v[HOT_NUMBERS_N];

    if (!hot_get_numbers(header, bytes, &hot_reply, v)) {
        return false;
    }
    *ret = (struct wire_reply){.call = v[1],
                               .flags = (uint32_t) v[3],
                               .buffer = (uint32_t) v[4],
                               .offset = v[5],
                               .bytes = v[6],
                               .error = (uint32_t) v[9]};
    return true;
}

static inline bool hot_get_answer(const uint8_t *header, size_t bytes, struct wire_answer *ret)
{
    uint64_t v[HOT_NUMBERS_N];

    if (!hot_get_numbers(header, bytes, &hot_answer, v)) {
        return false;
    }
    *ret = (struct wire_answer){.call = (uint32_t) v[1],
                                .part = (uint32_t) v[2],
                                .sender = (uint32_t) v[3],
                                .time = v[5],
                                .flags = (uint32_t) v[6],
                                .buffer = (uint32_t) v[7],
                                .offset = v[8],
                                .bytes = v[9],
                                .lease = (uint32_t) v[10],
                                .descriptors = (uint32_t) v[11],
                                .error = (uint32_t) v[12]};
    return true;
}

/* Sender and time, fields 3 and 5 of CALL and ANSWER. */
static inline uint8_t *hot_put_origin(uint8_t *p, uint32_t sender, uint64_t time_ns)
{
    p = hot_put_field(p, 3, sender);
    *p++ = HOT_TAG_5_FIXED64;
    store_u64le(p, time_ns);
    return p + 8;
}
