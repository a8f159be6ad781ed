/* SPDX-License-Identifier: MIT */
#pragma once
/* Output of bus-sub: one large buffer in front of a descriptor, blocking, with the first error
 * remembered. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define OUT_BYTES ((size_t) 256 * 1024)

struct out {
    int fd;
    int error; /* the errno of the first failure; nothing is written after it */
    size_t used;
    char *buffer; /* OUT_BYTES */
};

/* False if out of memory. */
bool out_init(struct out *o, int fd);
void out_fini(struct out *o);
/* Writes everything: blocks until the reader has taken it, a write fails, or a signal asks to stop
 * (error EINTR). */
void out_flush(struct out *o);
/* out_bytes() when the buffer is too full for it. */
void out_bytes_slowly(struct out *o, const void *data, size_t bytes);
void out_u64(struct out *o, uint64_t value);

static inline void out_bytes(struct out *o, const void *data, size_t bytes)
{
    if (bytes > OUT_BYTES - o->used) {
        out_bytes_slowly(o, data, bytes);
        return;
    }
    memcpy(o->buffer + o->used, data, bytes);
    o->used += bytes;
}

static inline void out_byte(struct out *o, char c)
{
    out_bytes(o, &c, 1);
}

static inline void out_text(struct out *o, const char *text)
{
    out_bytes(o, text, strlen(text));
}
