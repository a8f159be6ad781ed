/* SPDX-License-Identifier: MIT */
#pragma once
/* Bytes on their way out of one link, packed into chunks of whole frames. On seqpacket a chunk is a
 * packet; on stream chunks are written back to back. A chunk may hold, between its own bytes, spans
 * of received bytes that it shares with others. Knows nothing of sockets. Invariant: bytes == sum
 * of what is not sent over the chunks, their own bytes and their spans. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/macros.h"
#include "base/parcel.h"
#include "wire/slab.h"

/* Frames are packed up to this size; a larger frame gets a chunk of its own. */
#define OUTQ_CHUNK_BYTES (64u * 1024u)
/* Memory of such a chunk: also the largest body with a header of the usual length gets it, which so
 * often comes alone, rather than memory that malloc gives back to the kernel each time. */
#define OUTQ_CHUNK_CAPACITY (OUTQ_CHUNK_BYTES + 1024u)
/* What an otherwise idle link gets for its few bytes. */
#define OUTQ_SMALL_BYTES (2u * 1024u)
/* outq_reserve() grants this much room behind what was asked for, so that short copies may be done
 * in fixed sizes. */
#define OUTQ_SLACK_BYTES 64u
/* Spans in one chunk, and the pieces that it has then at most. */
#define OUTQ_SPANS_MAX 32
#define OUTQ_PACKET_IOV (2 * OUTQ_SPANS_MAX + 1)
/* What one queue pins: with so many changes from one slab to another between its spans it gets no
 * more of them. */
#define OUTQ_RUNS_MAX 2u

/* Bytes that are not copied: they lie in a slab. */
struct outq_span {
    const uint8_t *data;
    struct slab *slab; /* a reference of its own */
    uint32_t len;
    uint32_t at;    /* goes behind so many of the chunk's own bytes */
    bool opens_run; /* the span before it lay in another slab */
};

struct outq_spans {
    uint32_t n;
    uint32_t first;      /* those before it are sent and released */
    uint32_t first_sent; /* bytes of the first */
    uint32_t left;       /* bytes of all that are not sent */
    uint32_t total;      /* bytes of all */
    struct outq_span span[OUTQ_SPANS_MAX];
};

struct outq_chunk {
    struct outq_chunk *next;  /* outq.head, or outq_pool.free */
    struct outq_spans *spans; /* NULL if it never had any */
    uint32_t len;             /* its own bytes */
    uint32_t sent;            /* of these */
    uint32_t limit;           /* of len: what is packed, and less if spans take the room */
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
    size_t bytes;                 /* not yet sent */
    size_t capacity_bytes;        /* memory held by the chunks, and the lengths of their spans */
    struct outq_pool *pool;       /* not owned; outlives the queue */
    const struct slab *last_slab; /* of the last span; only to be compared */
    uint32_t n_runs;              /* spans that open a run; it pins one slab more at most */
    uint8_t busy;                 /* the last burst outgrew a small chunk */
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

    if (LIKELY(c && bytes <= c->limit - c->len)) {
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

/* The same for a frame that may be without descriptors: parcel may be NULL. */
static inline uint8_t *outq_reserve_with(struct outq *q, size_t bytes, const struct parcel *parcel)
{
    return parcel ? outq_reserve_first(q, bytes) : outq_reserve(q, bytes);
}

static inline void outq_commit_with(struct outq *q, size_t bytes, struct parcel *parcel)
{
    if (parcel) {
        outq_commit_parcel(q, bytes, parcel);
    } else {
        outq_commit(q, bytes);
    }
}

/* Room for the beginning of a frame whose last span_bytes lie in a slab, or NULL: out of memory, or
 * the queue pins enough already; then they are to be copied. Nothing is queued before
 * outq_commit_shared(). */
uint8_t *outq_reserve_shared(struct outq *q, size_t bytes, const struct slab *slab,
                             size_t span_bytes);
/* Takes a reference to the slab. Cannot fail. */
void outq_commit_shared(struct outq *q, size_t bytes, struct slab *slab, const uint8_t *span,
                        size_t span_bytes);

/* Fills iov with what is to be sent next, of as many chunks as fit up to one with descriptors, one
 * entry a piece; returns how many. A chunk without spans is one piece. */
int outq_peek(const struct outq *q, struct iovec *iov, int n);
/* The same for the next chunk alone, which is a packet. */
int outq_peek_packet(const struct outq *q, struct iovec iov[OUTQ_PACKET_IOV]);
/* Of any chunk: what of it is not sent, as one packet, and the descriptors that go with it. */
int outq_chunk_peek(struct outq_chunk *c, struct iovec iov[OUTQ_PACKET_IOV]);
const struct parcel *outq_chunk_parcel(const struct outq_chunk *c);
/* The descriptors that go with what either of them returned, or NULL. */
const struct parcel *outq_parcel(const struct outq *q);

/* The first bytes have been sent. */
void outq_consume(struct outq *q, size_t bytes);
