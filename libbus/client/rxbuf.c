/* SPDX-License-Identifier: MIT */
#include "client/rxbuf.h"
#include <stdlib.h>
#include "base/macros.h"

struct rxpool *bus__rxpool_new(void)
{
    struct rxpool *pool = calloc(1, sizeof(*pool));

    if (pool) {
        pool->refs = 1;
        pool->open = 1;
    }
    return pool;
}

static void rxpool_unref(struct rxpool *pool)
{
    if (--pool->refs == 0) {
        free(pool);
    }
}

void bus__rxpool_close(struct rxpool *pool)
{
    if (!pool) {
        return;
    }
    while (pool->free) {
        struct rxbuf *b = pool->free;

        pool->free = b->next;
        free(b);
    }
    pool->n_free = 0;
    pool->open = 0;
    rxpool_unref(pool);
}

struct rxbuf *bus__rxbuf_new(struct rxpool *pool, size_t capacity)
{
    struct rxbuf *b = pool->free;

    if (b && capacity <= b->capacity) {
        pool->free = b->next;
        pool->n_free--;
    } else {
        capacity = MAX(capacity, (size_t) RXBUF_BYTES);
        b = malloc(sizeof(*b) + capacity);
        if (!b) {
            return NULL;
        }
        b->capacity = capacity;
    }
    b->pool = pool;
    b->refs = 1;
    pool->refs++;
    return b;
}

void bus__rxbuf_free(struct rxbuf *b)
{
    struct rxpool *pool = b->pool;

    if (pool->open && b->capacity == RXBUF_BYTES && pool->n_free < RXBUF_FREE_MAX) {
        b->next = pool->free;
        pool->free = b;
        pool->n_free++;
    } else {
        free(b);
    }
    rxpool_unref(pool);
}
