/* SPDX-License-Identifier: MIT */
#pragma once
/* What was published to reliable topics and is not acknowledged yet: whole bodies, in the order of
 * their numbers, in chunks of memory, so that keeping one is a copy and no allocation.
 * docs/protocol.md, section 17. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bus_conn;
struct bus_topic;
struct publish;
struct reliable_chunk;
struct reliable_record;
struct wire_acked;

struct reliable {
    struct reliable_chunk *head; /* of reliable_chunk.next */
    struct reliable_chunk *tail;
    struct reliable_chunk *spare; /* kept for the next, or NULL */
    /* the first that this link has not got, with its chunk; NULL: it has all of them */
    struct reliable_record *unsent;
    struct reliable_chunk *unsent_chunk;
    size_t bytes; /* of all records, bodies in buffers included */
    size_t bytes_max;
    size_t want_bytes; /* what returned -EAGAIN last for want of room here, or 0 */
    uint64_t acked;
};

/* Whether what returned -EAGAIN for want of room here would fit now. */
bool bus__reliable_has_room(const struct bus_conn *c);
/* Keeps a plain publish that is about to be sent as number bus_conn.sequence + 1: 0, -EAGAIN or
 * -ENOMEM. */
int bus__reliable_note_plain(struct bus_conn *c, const struct bus_topic *t, const void *data,
                             size_t bytes);
/* The same for any other, whose header is encoded. Its slot is published and kept. */
int bus__reliable_note(struct bus_conn *c, const struct publish *p, const uint8_t *header,
                       size_t header_bytes);
/* Keeps a publish that was checked and found fit while there is no link. On success its slot is not
 * the caller's any more. */
int bus__reliable_put(struct bus_conn *c, struct publish *p);
/* Number of the first that this link has not got, or UINT64_MAX. */
uint64_t bus__reliable_next(const struct bus_conn *c);
/* Sends that one. False if the link has ended over it. */
bool bus__reliable_send_next(struct bus_conn *c);
/* The link has ended: nothing is known to have arrived but what was acknowledged. */
void bus__reliable_lost(struct bus_conn *c);
void bus__on_acked(struct bus_conn *c, const struct wire_acked *m);
/* Lets go of what is acknowledged, and of what will never be. */
void bus__reliable_settle(struct bus_conn *c);
/* Number of the first that is kept, or UINT64_MAX. */
uint64_t bus__reliable_first(const struct bus_conn *c);
void bus__reliable_fini(struct bus_conn *c);
