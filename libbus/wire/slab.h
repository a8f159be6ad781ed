/* SPDX-License-Identifier: MIT */
#pragma once
/* Blocks of received bytes that outputs share instead of copying them. The reader of a loop reads
 * into the current slab; whoever keeps a part of it takes a reference. Counts are not atomic: a
 * pool and all that refers to it belong to one thread. Knows nothing of sockets and frames. */

#include <stddef.h>
#include <stdint.h>
#include "base/macros.h"

#define SLAB_BYTES (512u * 1024u)
/* What may be pinned in all; beyond it, what is received is copied. */
#define SLAB_POOL_MAX 64u
/* Kept for the next user. More are freed: they were needed while somebody was slow. */
#define SLAB_FREE_MAX 4u
/* Parts that are kept are followed by the next read at the next line of the cache. */
#define SLAB_ALIGN_BYTES 64u

struct slab_pool;

struct slab {
    struct slab_pool *pool; /* not owned; outlives every reference */
    struct slab *next;      /* slab_pool.free */
    uint32_t refs;          /* one as slab_pool.current, and one for each part that is kept */
    uint32_t used;          /* parts that are kept lie before this; reads go behind it */
    uint8_t data[];         /* SLAB_BYTES */
};

struct slab_pool {
    struct slab *current; /* read into; NULL if there is none */
    struct slab *free;    /* of slab.next */
    uint32_t n_free;
    uint32_t n_slabs; /* all that are allocated */
    uint32_t n_max;
};

/* At most n_max slabs at a time. */
void slab_pool_init(struct slab_pool *pool, uint32_t n_max);
/* Nothing may be pinned any more. */
void slab_pool_fini(struct slab_pool *pool);

/* The slab to read into, with at least so many bytes of room; NULL if all are pinned or there is no
 * memory. What is read is there until the next call, and longer if it is kept. */
struct slab *slab_pool_current(struct slab_pool *pool, size_t room_bytes);

/* The slow half of slab_unref(). */
void slab_release(struct slab *s);

static inline uint8_t *slab_room(struct slab *s)
{
    return s->data + s->used;
}

static inline size_t slab_room_bytes(const struct slab *s)
{
    return SLAB_BYTES - s->used;
}

/* One more reference, for a part of what has been read. */
static inline void slab_keep(struct slab *s, const uint8_t *data, size_t bytes)
{
    size_t end = (size_t) (data - s->data) + bytes;

    end = MIN((end + SLAB_ALIGN_BYTES - 1) & ~((size_t) SLAB_ALIGN_BYTES - 1), SLAB_BYTES);
    s->used = MAX(s->used, (uint32_t) end);
    s->refs++;
}

static inline void slab_unref(struct slab *s)
{
    if (--s->refs == 0) {
        slab_release(s);
    }
}

/* How many are pinned: what is left of these when nothing is kept is a leak. */
static inline uint32_t slab_pool_pinned(const struct slab_pool *pool)
{
    return pool->n_slabs - pool->n_free - (pool->current && pool->current->refs == 1);
}
