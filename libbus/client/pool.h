/* SPDX-License-Identifier: MIT */
#pragma once
/* The publisher's buffers: memory that subscribers map and only the publisher can write. A segment
 * is one memfd, cut into slots of one size; a slot holds one body and is used again when the router
 * has returned it. Knows nothing of connections and frames. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/parcel.h"
#include "client/table.h"

/* Slots are powers of two from 4 KiB to 1 GiB. */
#define SLOT_SHIFT_MIN 12u
#define SLOT_SHIFT_MAX 30u
#define SLOT_SIZES (SLOT_SHIFT_MAX - SLOT_SHIFT_MIN + 1)

enum slot_state {
    SLOT_FREE,
    SLOT_TAKEN,          /* ours, or lent to the application */
    SLOT_PUBLISHED,      /* until the router returns it */
    SLOT_KEPT,           /* ours, and to be published again if need be */
    SLOT_PUBLISHED_KEPT, /* both */
};

struct segment {
    uint32_t number; /* BUFFER.id; index into pool.segments */
    uint8_t shift;   /* a slot has 1 << shift bytes */
    bool dead;      /* the router refused it, or an earlier one of that number: not used any more */
    bool once;      /* for one body; unregistered as soon as that is published */
    bool announced; /* BUFFER is sent */
    bool keeps_fd;  /* it may have to be registered again */
    uint64_t left_at; /* unregistered: the router may still have said RETURNED before, so that the
                         number is not free before the PONG of this token; 0: registered */
    struct parcel *parcel; /* its descriptor as long as it is needed, or NULL */
    uint8_t *data;         /* NULL: sealed, nobody can write it */
    size_t bytes;
    uint32_t n_slots;
    uint32_t n_used;
    uint8_t state[]; /* enum slot_state of n_slots */
};

struct slot {
    struct segment *segment; /* NULL: none */
    uint32_t index;
};

/* The slots of one size. */
struct slot_list {
    struct slot *free; /* a stack, for the caches' sake: what was returned last is used next */
    uint32_t n_free;
    uint32_t n_slots; /* free and used */
    uint32_t peak;    /* most slots used at a time lately */
    uint32_t n_takes; /* since peak was looked at */
};

struct pool {
    struct table segments; /* by number */
    struct numbers numbers;
    uint32_t numbers_max;
    size_t bytes; /* of all segments that are kept */
    size_t bytes_max;
    uint32_t n_leaving; /* segments whose numbers wait for a PONG */
    bool keeps_fds;     /* what is registered may have to be registered again */
    bool no_memfd;      /* this system has none, or none that can be sealed */
    struct slot_list sizes[SLOT_SIZES];
};

/* What the router allows; of a pool of zeros, or of one that is in use. */
void bus__pool_limit(struct pool *pool, uint32_t numbers_max, size_t bytes_max);
void bus__pool_fini(struct pool *pool);

/* A slot of at least that size: 0, -ENOBUFS if the pool is as large as it may be, or another
 * negative errno. */
int bus__pool_take(struct pool *pool, size_t bytes, struct slot *ret);
/* A segment of its own for one body, writable until bus__pool_seal(). */
int bus__pool_take_once(struct pool *pool, size_t bytes, struct slot *ret);
/* Makes it immutable, unless a child process can still write it: neither the bytes nor the
 * descriptor are reachable here any more. */
void bus__pool_seal(struct segment *segment);
/* It is the router's now, who returns it. */
void bus__pool_publish(struct slot slot);
/* A slot is free again. May free its segment; *ret_drop is then its number, to be unregistered, or
 * 0.
 */
void bus__pool_give(struct pool *pool, struct slot slot, uint32_t *ret_drop);
/* The slot at that place if it is published, else one without a segment. */
struct slot bus__pool_find(const struct pool *pool, uint32_t number, uint64_t offset);
/* A segment is unregistered: its number is free when it is returned, or with that PONG. */
void bus__pool_leave(struct pool *pool, struct segment *segment, uint64_t token);
/* The PONG of that token has come. */
void bus__pool_settle(struct pool *pool, uint64_t token);
/* The router has refused a segment of that number. It is not used any more; one that holds a single
 * body is gone, for that will not be returned, unless it is lent, waits or is kept here. */
void bus__pool_refused(struct pool *pool, uint32_t number);

/* What is in it, published or not, may have to be published again: it is not given before
 * bus__pool_unkeep(). */
void bus__pool_keep(struct slot slot);
/* Whether it is to be given now; else when the router returns it. */
bool bus__pool_unkeep(struct slot slot);
/* The router has returned it. Whether it is to be given now; else it is kept. */
bool bus__pool_returned(struct slot slot);
/* What was published in it was not sent: it is ours again. */
void bus__pool_reclaim(struct pool *pool, struct slot slot);
/* The router has gone, and with it all registrations. Slots that were published are not used again:
 * nobody would say when their readers are done. */
void bus__pool_lost(struct pool *pool);

static inline uint64_t bus__slot_offset(struct slot slot)
{
    return (uint64_t) slot.index << slot.segment->shift;
}

static inline uint8_t *bus__slot_data(struct slot slot)
{
    return slot.segment->data + bus__slot_offset(slot);
}
