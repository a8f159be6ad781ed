/* SPDX-License-Identifier: MIT */
#pragma once
/* What the files that make publishes know of one that is not plain. */

#include "client/conn.h"
#include "client/handlers.h"
#include "client/topic_handle.h"

/* A publish whose outcome has been asked for. */
struct confirm {
    struct confirm *prev, *next; /* bus_conn.confirms, or bus_conn.unknown */
    uint64_t sequence;
    bus_confirm_fn on_confirm;
    void *userdata;
};

/* A publish that is not plain, or a request or a reply. */
struct publish {
    const struct outgoing *outgoing; /* NULL: it is a publish */
    const struct bus_topic *topic;   /* NULL: by name */
    const char *name;
    const void *data;
    size_t bytes;
    const struct bus_publish_opts *opts; /* may be NULL */
    size_t text_bytes;                   /* names and values of the headers */
    size_t header_max;
    uint64_t sequence;     /* to be said in the header, or 0 */
    struct slot slot;      /* the body is there already, or will be copied there; or no segment */
    struct parcel *parcel; /* descriptors, or NULL */
};

/* Room for prefix and header. */
static inline size_t bus__publish_frame_max(const struct publish *p)
{
    return FRAME_PREFIX_BYTES + p->header_max;
}

/* ---- publish_encode.c ---- */

/* The header; returns its length, or less than 0 if out of memory. */
long bus__publish_encode(const struct publish *p, uint8_t *dst);

/* ---- outcome.c ---- */

/* What waits for the outcome, or NULL if nobody asks. -ENOMEM. */
int bus__publish_confirm_new(const struct publish *p, struct confirm **ret);
/* From now on; NULL is allowed. */
void bus__publish_confirm_add(struct bus_conn *c, struct confirm *confirm, uint64_t sequence);
bool bus__publish_confirm_waits(const struct bus_conn *c, uint64_t sequence);

/* ---- publish.c ---- */

/* 0: the body has been copied into p->slot; 1: it goes into the frame; or a negative errno. */
int bus__publish_place(struct bus_conn *c, struct publish *p);
/* BUFFER, before the first publish from a segment. 0 or -ENOMEM. */
int bus__publish_announce(struct bus_conn *c, struct segment *s);
/* Nothing else will lie in it: the router keeps it for those who get it, however long they do, and
 * its number can be another's. */
void bus__publish_unregister(struct bus_conn *c, struct segment *s);
/* Whether it is to be kept until it is acknowledged. */
static inline bool bus__publish_is_reliable(const struct publish *p)
{
    return p->topic && !p->outgoing && (p->topic->flags & BUS_TOPIC_RELIABLE);
}

/* The router counts on as this side does: publishes need not say their numbers. */
void bus__publish_count_on(struct bus_conn *c);
/* Publish number sequence, which it says, is in the output, for which the router has given credit.
 */
void bus__publish_charge(struct bus_conn *c, uint64_t sequence, size_t message_bytes);
