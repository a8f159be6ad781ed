/* SPDX-License-Identifier: MIT */
#include "wire/slab.h"
#include <assert.h>
#include <stdlib.h>

void slab_pool_init(struct slab_pool *pool, uint32_t n_max)
{
    *pool = (struct slab_pool){.n_max = n_max};
}

static struct slab *slab_new(struct slab_pool *pool)
{
    struct slab *s = pool->free;

    if (s) {
        pool->free = s->next;
        pool->n_free--;
    } else if (pool->n_slabs < pool->n_max && (s = malloc(sizeof(*s) + SLAB_BYTES))) {
        pool->n_slabs++;
    } else {
        return NULL;
    }
    s->pool = pool;
    s->next = NULL;
    s->refs = 1;
    s->used = 0;
    return s;
}

static void slab_free(struct slab_pool *pool, struct slab *s)
{
    pool->n_slabs--;
    free(s);
}

void slab_pool_fini(struct slab_pool *pool)
{
    if (pool->current) {
        slab_unref(TAKE(pool->current));
    }
    while (pool->free) {
        struct slab *s = pool->free;

        pool->free = s->next;
        pool->n_free--;
        slab_free(pool, s);
    }
    assert(pool->n_slabs == 0); /* or somebody keeps a part */
}

struct slab *slab_pool_current(struct slab_pool *pool, size_t room_bytes)
{
    struct slab *s = pool->current;

    if (s && s->refs == 1) {
        s->used = 0; /* nothing of it is kept: the same memory again, which the caches have */
    }
    if (s && slab_room_bytes(s) >= room_bytes) {
        return s;
    }
    if (s) {
        slab_unref(s);
    }
    pool->current = slab_new(pool);
    return pool->current;
}

void slab_release(struct slab *s)
{
    struct slab_pool *pool = s->pool;

    if (pool->n_free >= SLAB_FREE_MAX) {
        slab_free(pool, s);
        return;
    }
    s->next = pool->free;
    pool->free = s;
    pool->n_free++;
}
