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

    if (capacity == OUTQ_CHUNK_CAPACITY && c) {
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
    c->spans = NULL;
    c->limit = MIN(c->capacity, OUTQ_CHUNK_BYTES);
    c->len = 0;
    c->sent = 0;
    return c;
}

static void chunk_free(struct outq_pool *pool, struct outq_chunk *c)
{
    if (c->capacity != OUTQ_CHUNK_CAPACITY || pool->n_free >= pool->n_free_max) {
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

static size_t chunk_left(const struct outq_chunk *c)
{
    return c->len - c->sent + (c->spans ? c->spans->left : 0);
}

/* ---- spans ---- */

/* The first span is sent, or will not be. */
static void span_release(struct outq *q, struct outq_spans *s)
{
    struct outq_span *span = &s->span[s->first++];

    s->left -= span->len - s->first_sent;
    s->first_sent = 0;
    q->n_runs -= span->opens_run;
    q->capacity_bytes -= span->len;
    slab_unref(span->slab);
}

static void spans_free(struct outq *q, struct outq_spans *s)
{
    while (s->first < s->n) {
        span_release(q, s);
    }
    q->capacity_bytes -= sizeof(*s);
    free(s);
}

static bool spans_make(struct outq *q, struct outq_chunk *c)
{
    if (c->spans) {
        return true;
    }
    c->spans = malloc(sizeof(*c->spans));
    if (!c->spans) {
        return false;
    }
    c->spans->n = c->spans->first = c->spans->first_sent = 0;
    c->spans->left = c->spans->total = 0;
    q->capacity_bytes += sizeof(*c->spans);
    return true;
}

/* The span that comes behind so many own bytes, if those before it are sent; or NULL. */
static const struct outq_span *span_behind(const struct outq_chunk *c, uint32_t own, uint32_t index)
{
    const struct outq_spans *s = c->spans;

    return s && index < s->n && s->span[index].at == own ? &s->span[index] : NULL;
}

/* Where the own bytes end that come before that span. */
static uint32_t own_end(const struct outq_chunk *c, uint32_t index)
{
    return c->spans && index < c->spans->n ? c->spans->span[index].at : c->len;
}

static size_t own_advance(struct outq_chunk *c, size_t bytes)
{
    uint32_t end = own_end(c, c->spans ? c->spans->first : 0);
    size_t n = MIN(bytes, end - c->sent);

    c->sent += (uint32_t) n;
    return n;
}

static size_t span_advance(struct outq *q, struct outq_spans *s, size_t bytes)
{
    size_t n = MIN(bytes, s->span[s->first].len - s->first_sent);

    s->first_sent += (uint32_t) n;
    s->left -= (uint32_t) n;
    if (s->first_sent == s->span[s->first].len) {
        span_release(q, s);
    }
    return n;
}

/* So much of a chunk is sent, but not all of it. */
static void chunk_advance(struct outq *q, struct outq_chunk *c, size_t bytes)
{
    q->bytes -= bytes;
    while (bytes > 0) {
        if (c->spans && span_behind(c, c->sent, c->spans->first)) {
            bytes -= span_advance(q, c->spans, bytes);
        } else {
            bytes -= own_advance(c, bytes);
        }
    }
}

static int chunk_peek(struct outq_chunk *c, struct iovec *iov, int n)
{
    uint32_t own = c->sent, index = c->spans ? c->spans->first : 0;
    uint32_t skip = c->spans ? c->spans->first_sent : 0;
    int i = 0;

    for (; i < n; i++) {
        const struct outq_span *span = span_behind(c, own, index);

        if (span) {
            /* iovec has no const; nobody writes there */
            iov[i] = (struct iovec){(void *) (uintptr_t) (span->data + skip), span->len - skip};
            skip = 0;
            index++;
        } else if (own < own_end(c, index)) {
            iov[i] = (struct iovec){c->data + own, own_end(c, index) - own};
            own = own_end(c, index);
        } else {
            break;
        }
    }
    return i;
}

/* ---- the queue ---- */

static void outq_pop(struct outq *q)
{
    struct outq_chunk *c = q->head;

    q->head = c->next;
    if (!q->head) {
        q->tail = NULL;
    }
    parcel_unref(c->parcel);
    q->bytes -= chunk_left(c);
    q->capacity_bytes -= c->capacity;
    if (c->spans) {
        spans_free(q, c->spans);
    }
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
    if (bytes > OUTQ_CHUNK_CAPACITY) {
        return bytes;
    }
    if (!q->busy && !q->head && bytes <= OUTQ_SMALL_BYTES) {
        return OUTQ_SMALL_BYTES;
    }
    q->busy = 1;
    return OUTQ_CHUNK_CAPACITY;
}

static struct outq_chunk *outq_append(struct outq *q, size_t capacity)
{
    struct outq_chunk *c = chunk_new(q->pool, capacity);

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
    return c;
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
    c = outq_append(q, chunk_capacity(q, bytes));
    if (!c) {
        return NULL;
    }
    c->limit = MAX(c->limit, (uint32_t) bytes);
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

int outq_chunk_peek(struct outq_chunk *c, struct iovec iov[OUTQ_PACKET_IOV])
{
    return chunk_peek(c, iov, OUTQ_PACKET_IOV);
}

const struct parcel *outq_chunk_parcel(const struct outq_chunk *c)
{
    return c->sent == 0 ? c->parcel : NULL;
}

const struct parcel *outq_parcel(const struct outq *q)
{
    const struct outq_chunk *c = q->head;

    while (c && chunk_left(c) == 0) {
        c = c->next; /* reserved and never used */
    }
    return c ? outq_chunk_parcel(c) : NULL;
}

/* Whether a chunk takes a span behind so many bytes; alone it may be of any length. */
static bool chunk_takes(const struct outq_chunk *c, size_t bytes, size_t span_bytes)
{
    size_t total = c->len + bytes + span_bytes + (c->spans ? c->spans->total : 0);

    return bytes <= c->limit - c->len && (c->len == 0 || total <= OUTQ_CHUNK_BYTES) &&
           (!c->spans || c->spans->n < OUTQ_SPANS_MAX);
}

uint8_t *outq_reserve_shared(struct outq *q, size_t bytes, const struct slab *slab,
                             size_t span_bytes)
{
    struct outq_chunk *c = q->tail;

    if (bytes > OUTQ_SMALL_BYTES || (q->n_runs >= OUTQ_RUNS_MAX && slab != q->last_slab)) {
        return NULL;
    }
    if (!c || !chunk_takes(c, bytes, span_bytes)) {
        c = outq_append(q, OUTQ_SMALL_BYTES); /* for beginnings only */
    }
    return c && spans_make(q, c) ? c->data + c->len : NULL;
}

void outq_commit_shared(struct outq *q, size_t bytes, struct slab *slab, const uint8_t *span,
                        size_t span_bytes)
{
    struct outq_chunk *c = q->tail;
    struct outq_spans *s = c->spans;
    uint32_t len = (uint32_t) span_bytes;

    outq_commit(q, bytes);
    s->span[s->n++] = (struct outq_span){
        .data = span, .slab = slab, .len = len, .at = c->len, .opens_run = slab != q->last_slab};
    s->left += len;
    s->total += len;
    /* what is packed behind it must not make the packet too large */
    c->limit = MIN(c->limit, OUTQ_CHUNK_BYTES - MIN(s->total, OUTQ_CHUNK_BYTES));
    c->limit = MAX(c->limit, c->len);
    slab_keep(slab, span, span_bytes);
    q->n_runs += slab != q->last_slab;
    q->last_slab = slab;
    q->bytes += span_bytes;
    q->capacity_bytes += span_bytes;
}

int outq_peek(const struct outq *q, struct iovec *iov, int n)
{
    int i = 0;

    for (struct outq_chunk *c = q->head; c && i < n; c = c->next) {
        if (i > 0 && c->parcel) {
            break;
        }
        i += chunk_peek(c, iov + i, n - i);
    }
    return i;
}

int outq_peek_packet(const struct outq *q, struct iovec iov[OUTQ_PACKET_IOV])
{
    int i = 0;

    for (struct outq_chunk *c = q->head; c && i == 0; c = c->next) {
        i = chunk_peek(c, iov, OUTQ_PACKET_IOV);
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
        size_t left = chunk_left(c);

        if (bytes < left) {
            chunk_advance(q, c, bytes);
            return;
        }
        bytes -= left;
        outq_pop(q);
    }
    if (q->bytes == 0) {
        outq_fini(q); /* a chunk that was reserved and never used */
    }
}
