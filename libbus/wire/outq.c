/* SPDX-License-Identifier: MIT */
#include "wire/outq.h"
#include <assert.h>

void outq_pool_init(struct outq_pool *pool, unsigned n_free_max)
{
    *pool = (struct outq_pool){.n_free_max = n_free_max};
}

void outq_pool_fini(struct outq_pool *pool)
{
    while (pool->free) {
        struct outq_chunk *c = pool->free;

        pool->free = c->next;
        free(c);
    }
    pool->n_free = 0;
}

static struct outq_chunk *chunk_new(struct outq_pool *pool, size_t capacity)
{
    struct outq_chunk *c = pool->free;

    if (capacity == OUTQ_CHUNK_BYTES && c) {
        pool->free = c->next;
        pool->n_free--;
    } else {
        c = malloc(sizeof(*c) + capacity + OUTQ_SLACK_BYTES);
        if (!c) {
            return NULL;
        }
        c->capacity = (uint32_t) capacity;
    }
    c->next = NULL;
    c->parcel = NULL;
    c->len = 0;
    c->sent = 0;
    return c;
}

static void chunk_free(struct outq_pool *pool, struct outq_chunk *c)
{
    if (c->capacity != OUTQ_CHUNK_BYTES || pool->n_free >= pool->n_free_max) {
        free(c);
        return;
    }
    c->next = pool->free;
    pool->free = c;
    pool->n_free++;
}

void outq_init(struct outq *q, struct outq_pool *pool)
{
    *q = (struct outq){.pool = pool};
}

static void outq_pop(struct outq *q)
{
    struct outq_chunk *c = q->head;

    q->head = c->next;
    if (!q->head) {
        q->tail = NULL;
    }
    parcel_unref(c->parcel);
    q->bytes -= c->len - c->sent;
    q->capacity_bytes -= c->capacity;
    chunk_free(q->pool, c);
}

void outq_fini(struct outq *q)
{
    while (q->head) {
        outq_pop(q);
    }
}

static size_t chunk_capacity(struct outq *q, size_t bytes)
{
    if (bytes > OUTQ_CHUNK_BYTES) {
        return bytes;
    }
    if (!q->busy && !q->head && bytes <= OUTQ_SMALL_BYTES) {
        return OUTQ_SMALL_BYTES;
    }
    q->busy = 1;
    return OUTQ_CHUNK_BYTES;
}

uint8_t *outq_grow(struct outq *q, size_t bytes)
{
    struct outq_chunk *c;

    if (bytes > UINT32_MAX - OUTQ_SLACK_BYTES) {
        return NULL;
    }
    /* an empty tail is left when a reservation was not committed: replace it */
    if (q->tail && q->tail->len == 0 && q->tail == q->head) {
        outq_pop(q);
    }
    c = chunk_new(q->pool, chunk_capacity(q, bytes));
    if (!c) {
        return NULL;
    }
    if (q->tail) {
        q->tail->next = c;
    } else {
        q->head = c;
    }
    q->tail = c;
    q->capacity_bytes += c->capacity;
    return c->data;
}

uint8_t *outq_reserve_first(struct outq *q, size_t bytes)
{
    if (q->tail && q->tail->len == 0) {
        return outq_reserve(q, bytes);
    }
    return outq_grow(q, bytes);
}

void outq_commit_parcel(struct outq *q, size_t bytes, struct parcel *parcel)
{
    q->tail->parcel = parcel_ref(parcel);
    outq_commit(q, bytes);
}

const struct parcel *outq_parcel(const struct outq *q)
{
    return q->head && q->head->sent == 0 ? q->head->parcel : NULL;
}

int outq_peek(const struct outq *q, struct iovec *iov, int n)
{
    int i = 0;

    for (struct outq_chunk *c = q->head; c && i < n; c = c->next) {
        if (i > 0 && c->parcel) {
            break;
        }
        if (c->len > c->sent) {
            iov[i++] = (struct iovec){c->data + c->sent, c->len - c->sent};
        }
    }
    return i;
}

void outq_consume(struct outq *q, size_t bytes)
{
    assert(bytes <= q->bytes);
    if (q->head && !q->head->next && bytes == q->bytes && q->head->len < OUTQ_SMALL_BYTES) {
        q->busy = 0;
    }
    while (bytes > 0) {
        struct outq_chunk *c = q->head;
        size_t left = c->len - c->sent;

        if (bytes < left) {
            c->sent += (uint32_t) bytes;
            q->bytes -= bytes;
            return;
        }
        bytes -= left;
        outq_pop(q);
    }
    if (q->bytes == 0) {
        outq_fini(q); /* a chunk that was reserved and never used */
    }
}
