/* SPDX-License-Identifier: MIT */
#pragma once
/* Bytes on their way out of one link, packed into chunks of whole frames. On seqpacket a chunk is a
 * packet; on stream chunks are written back to back. Knows nothing of sockets. Invariant: bytes ==
 * sum of (len - sent) over the chunks. */

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/macros.h"
#include "base/parcel.h"

/* Frames are packed up to this size; a larger frame gets a chunk of its own. */
#define OUTQ_CHUNK_BYTES (64u * 1024u)
/* What an otherwise idle link gets for its few bytes. */
#define OUTQ_SMALL_BYTES (2u * 1024u)
/* outq_reserve() grants this much room behind what was asked for, so that short copies may be done
 * in fixed sizes. */
#define OUTQ_SLACK_BYTES 64u

struct outq_chunk {
    struct outq_chunk *next; /* outq.head, or outq_pool.free */
    uint32_t len;
    uint32_t sent;
    uint32_t capacity;
    struct parcel *parcel; /* goes with the first byte of the chunk, whose first frame owns it */
    uint8_t data[];
};

/* Full-size chunks kept for the next user; shared by all queues of one thread. */
struct outq_pool {
    struct outq_chunk *free;
    unsigned n_free;
    unsigned n_free_max;
};

struct outq {
    struct outq_chunk *head;
    struct outq_chunk *tail;
    size_t bytes;           /* not yet sent */
    size_t capacity_bytes;  /* memory held by the chunks */
    struct outq_pool *pool; /* not owned; outlives the queue */
    uint8_t busy;           /* the last burst outgrew a small chunk */
};

void outq_pool_init(struct outq_pool *pool, unsigned n_free_max);
void outq_pool_fini(struct outq_pool *pool);

void outq_init(struct outq *q, struct outq_pool *pool);
void outq_fini(struct outq *q);

/* The slow half of outq_reserve(). */
uint8_t *outq_grow(struct outq *q, size_t bytes);

/* Room for one or more whole frames of that length together, or NULL if out of memory. Nothing is
 * queued before outq_commit(). */
static inline uint8_t *outq_reserve(struct outq *q, size_t bytes)
{
    struct outq_chunk *c = q->tail;

    if (LIKELY(c && bytes <= c->capacity - c->len)) {
        return c->data + c->len;
    }
    return outq_grow(q, bytes);
}

static inline void outq_commit(struct outq *q, size_t bytes)
{
    q->tail->len += (uint32_t) bytes;
    q->bytes += bytes;
}

/* Room for a frame with descriptors at the beginning of a chunk of its own; takes a reference with
 * outq_commit_parcel(). NULL if out of memory. */
uint8_t *outq_reserve_first(struct outq *q, size_t bytes);
void outq_commit_parcel(struct outq *q, size_t bytes, struct parcel *parcel);

/* Fills iov with what is to be sent next, one entry a chunk, up to a chunk with descriptors;
 * returns how many. */
int outq_peek(const struct outq *q, struct iovec *iov, int n);
/* The descriptors that go with what outq_peek() returned, or NULL. */
const struct parcel *outq_parcel(const struct outq *q);

/* The first bytes have been sent. */
void outq_consume(struct outq *q, size_t bytes);
