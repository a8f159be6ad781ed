/* SPDX-License-Identifier: MIT */
#pragma once
/* QuotaEvent of schemas/events.proto, written and read by hand: see wire/events.h. */

#include "wire/events.h"
#include "wire/pb.h"

#define QUOTA_SLOT_MAX 32u
#define QUOTA_HOLDERS_MAX 3u

struct quota_holder {
    uint32_t uid;
    uint64_t connection_id; /* 0: all of that user, or a group */
    uint64_t used;
    struct text name;
};

struct quota_event {
    uint32_t uid;
    uint64_t connection_id;
    struct text slot;
    uint64_t limit, used, requested, times;
    uint32_t n_holders;
    struct quota_holder holders[QUOTA_HOLDERS_MAX];
};

/* With numbers and texts of their greatest length. */
#define QUOTA_HOLDER_MAX (4u * PB_NUMBER_MAX + BUS_NAME_MAX)
#define QUOTA_EVENT_MAX                                                                            \
    (7u * PB_NUMBER_MAX + QUOTA_SLOT_MAX + QUOTA_HOLDERS_MAX * (PB_NUMBER_MAX + QUOTA_HOLDER_MAX))

/* Texts are cut to their greatest length. Returns the length. */
size_t quota_event_encode(const struct quota_event *e, uint8_t dst[QUOTA_EVENT_MAX]);
/* False if it is not valid protobuf or a known field has another type. Texts point into the bytes;
 * more holders than there is room for are left out. */
bool quota_event_decode(const uint8_t *data, size_t bytes, struct quota_event *ret);
