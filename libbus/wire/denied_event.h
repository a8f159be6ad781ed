/* SPDX-License-Identifier: MIT */
#pragma once
/* DeniedEvent of schemas/events.proto, written and read by hand: see wire/events.h. */

#include "wire/events.h"
#include "wire/pb.h"

#define DENIED_VERB_MAX 32u

/* Number, kind and name of each field, in the order of the schema. */
/* clang-format off */
#define DENIED_EVENT_FIELDS(U32, U64, TEXT)                                                        \
    U64(1, connection_id)                                                                          \
    U32(2, uid)                                                                                    \
    U32(3, gid)                                                                                    \
    U32(4, pid)                                                                                    \
    TEXT(5, name, BUS_NAME_MAX)                                                                    \
    TEXT(6, verb, DENIED_VERB_MAX)                                                                 \
    TEXT(7, topic, BUS_TOPIC_MAX)                                                                  \
    TEXT(8, rule, EVENT_TEXT_MAX)                                                                  \
    TEXT(9, text, EVENT_TEXT_MAX)                                                                  \
    U32(10, taken)                                                                                 \
    U64(11, left_out)
/* clang-format on */

#define DENIED_U32(number, name) uint32_t name;
#define DENIED_U64(number, name) uint64_t name;
#define DENIED_TEXT(number, name, max) struct text name;
struct denied_event {
    DENIED_EVENT_FIELDS(DENIED_U32, DENIED_U64, DENIED_TEXT)
};
#undef DENIED_U32
#undef DENIED_U64
#undef DENIED_TEXT

/* With all numbers and texts of their greatest length. */
#define DENIED_U32(number, name) +PB_NUMBER_MAX
#define DENIED_U64(number, name) +PB_NUMBER_MAX
#define DENIED_TEXT(number, name, max) +PB_NUMBER_MAX + (max)
enum { DENIED_EVENT_MAX = 0 DENIED_EVENT_FIELDS(DENIED_U32, DENIED_U64, DENIED_TEXT) };
#undef DENIED_U32
#undef DENIED_U64
#undef DENIED_TEXT

/* Texts are cut to their greatest length. Returns the length. */
size_t denied_event_encode(const struct denied_event *e, uint8_t dst[DENIED_EVENT_MAX]);
/* False if it is not valid protobuf or a known field has another type. Texts point into the
 * bytes. */
bool denied_event_decode(const uint8_t *data, size_t bytes, struct denied_event *ret);
