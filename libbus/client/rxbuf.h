/* SPDX-License-Identifier: MIT */
#pragma once
/* Receive buffers. A buffer is shared by the connection that reads into it, the dispatchers that
 * walk through it and the messages that the application keeps; it may outlive the connection.
 * Counts are not atomic: all of them belong to one thread. */

#include <stddef.h>
#include <stdint.h>
#include "wire/frame.h"

/* Room for a seqpacket packet behind another one: less memory is held by kept messages. */
#define RXBUF_BYTES (256u * 1024u)
/* A larger buffer is given back as soon as it has been read. */
#define RXBUF_KEEP_BYTES (2u * 1024u * 1024u)
#define RXBUF_FREE_MAX 3u

/* Buffers of the usual size for reuse. Lives as long as its connection or any buffer. */
struct rxpool {
    struct rxbuf *free;
    uint32_t n_free;
    uint32_t refs; /* the connection while it is open, and each buffer in use */
    int open;
};

struct rxbuf {
    struct rxbuf *next; /* rxpool.free */
    struct rxpool *pool;
    size_t capacity;
    uint32_t refs;
    uint8_t data[];
};

/* NULL if out of memory */
struct rxpool *bus__rxpool_new(void);
/* The connection is done with it. NULL is allowed. */
void bus__rxpool_close(struct rxpool *pool);

/* A buffer of at least that capacity with one reference, or NULL if out of memory. */
struct rxbuf *bus__rxbuf_new(struct rxpool *pool, size_t capacity);
/* The slow half of bus__rxbuf_unref(). */
void bus__rxbuf_free(struct rxbuf *b);

static inline struct rxbuf *bus__rxbuf_ref(struct rxbuf *b)
{
    b->refs++;
    return b;
}

static inline void bus__rxbuf_unref(struct rxbuf *b)
{
    if (b && --b->refs == 0) {
        bus__rxbuf_free(b);
    }
}
