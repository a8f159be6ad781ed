/* SPDX-License-Identifier: MIT */
#pragma once
/* Bodies of requests to the router's own topics and of their answers: schemas/inside.proto, written
 * and read by one function each, which the tables of <bus/inside_fields.h> tell what there is.
 * docs/protocol.md, section 22. */

#include <bus/inside_fields.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/pb.h"

/* A message of each table; texts point elsewhere. */
#define INSIDE_TYPE_TEXT struct text
#define INSIDE_TYPE_NUMBER uint64_t
#define INSIDE_TYPE_POLICY uint64_t
#define INSIDE_TYPE_GOODBYE uint64_t
#define INSIDE_TYPE_LINK uint64_t
#define INSIDE_TYPE_STATE uint64_t
#define INSIDE_TYPE_SLOW uint64_t
#define INSIDE_MEMBER(number, kind, name, meaning) INSIDE_TYPE_##kind name;
struct inside_client {
    BUS_INSIDE_CLIENT_FIELDS(INSIDE_MEMBER)
};
struct inside_topic {
    BUS_INSIDE_TOPIC_FIELDS(INSIDE_MEMBER)
};
struct inside_subscription {
    BUS_INSIDE_SUBSCRIPTION_FIELDS(INSIDE_MEMBER)
};
struct inside_group {
    BUS_INSIDE_GROUP_FIELDS(INSIDE_MEMBER)
};
struct inside_quota {
    BUS_INSIDE_QUOTA_FIELDS(INSIDE_MEMBER)
};
struct inside_closed {
    BUS_INSIDE_CLOSED_FIELDS(INSIDE_MEMBER)
};
struct inside_counter {
    BUS_INSIDE_COUNTER_FIELDS(INSIDE_MEMBER)
};
struct inside_query {
    BUS_INSIDE_QUERY_FIELDS(INSIDE_MEMBER)
};
struct inside_disconnect {
    BUS_INSIDE_DISCONNECT_FIELDS(INSIDE_MEMBER)
};
struct inside_controlled {
    BUS_INSIDE_CONTROLLED_FIELDS(INSIDE_MEMBER)
};
#undef INSIDE_MEMBER

/* An entry of any list. */
union inside_any {
    struct inside_client client;
    struct inside_topic topic;
    struct inside_subscription subscription;
    struct inside_group group;
    struct inside_quota quota;
    struct inside_closed closed;
    struct inside_counter counter;
};

/* Where the fields of a message are. */
struct inside_layout {
    const struct inside_field {
        uint8_t number;
        bool is_text;
        uint16_t at;
    } * fields;
    uint16_t n_fields;
    uint16_t bytes; /* of the struct */
};

extern const struct inside_layout inside_query_layout, inside_disconnect_layout,
    inside_controlled_layout;
/* Of an entry; NULL: there is no such list. */
const struct inside_layout *inside_layout_of(unsigned list);

/* The list or the control that a topic stands for: its last level, behind "$bus/" or
 * "$bus/control/". 0: none. */
enum inside_control { INSIDE_RELOAD = 1, INSIDE_DRAIN = 2, INSIDE_DISCONNECT = 3 };
unsigned inside_list_of(struct text topic);
unsigned inside_control_of(struct text topic);

/* Returns the length, or 0 if it is more than cap. An empty message has length 0, too. */
size_t inside_encode(const struct inside_layout *layout, const void *message, uint8_t *dst,
                     size_t cap);
/* False if it is not valid protobuf, or a known field has another type. Texts point into the bytes.
 */
bool inside_decode(const struct inside_layout *layout, const uint8_t *data, size_t bytes,
                   void *ret);

/* A page of a list. */
struct inside_page {
    uint8_t *dst;
    size_t cap, len;
};

/* False if there is no room for it, and for the end of the page behind it. */
bool inside_page_add(struct inside_page *page, const struct inside_layout *layout,
                     const void *entry);
void inside_page_end(struct inside_page *page, uint64_t next, uint64_t time_ns);

struct inside_page_reader {
    struct pb_reader in;
    uint64_t next, time_ns;
};

enum inside_step { INSIDE_ENTRY, INSIDE_END, INSIDE_MALFORMED };

/* The next entry. What is behind the entries is known at the end. */
enum inside_step inside_page_next(struct inside_page_reader *page,
                                  const struct inside_layout *layout, void *ret);
