/* SPDX-License-Identifier: MIT */
#pragma once
/* A received message. What a callback gets is on the dispatcher's stack and borrows everything;
 * bus_message_ref() makes a copy on the heap that has its own references. */

#include <bus/bus.h>
#include "client/ack.h"
#include "client/mapping.h"
#include "client/names.h"
#include "client/rxbuf.h"

struct bus_message {
    const void *data;
    size_t bytes;
    struct topic_name *topic;
    struct peer_name *sender;
    uint64_t sequence;
    uint64_t time_ns;
    const struct bus_header *headers; /* in the arena, or behind the heap copy */
    size_t n_headers;
    struct rxbuf *buf;     /* holds data, unless it is in a buffer */
    struct lease *lease;   /* holds data that is in a buffer */
    struct parcel *parcel; /* descriptors that came along, or NULL */
    struct ack *ack;       /* NULL: it is not to be acknowledged */
    uint32_t n_fds;        /* that were published with it */
    uint32_t flags;        /* of MESSAGE */
    uint32_t delivery;     /* number to acknowledge it by, or 0 */
    uint32_t deliveries;   /* that went before this one */
    uint32_t refs;         /* 0: on the dispatcher's stack, or part of a call */
};

/* Room that its headers need behind a copy, and putting them there. */
size_t bus__headers_bytes(const struct bus_message *m);
void bus__headers_copy(struct bus_message *to, void *memory, const struct bus_message *from);
/* References to what it borrows; those to its lease are not counted here. */
void bus__message_hold(struct bus_message *m);
void bus__message_drop(struct bus_message *m);
