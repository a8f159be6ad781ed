/* SPDX-License-Identifier: MIT */
#pragma once
/* A frame with a body on its way to one client. Its header begins with the fields that are this
 * receiver's alone; behind them is what all receivers share. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/macros.h"
#include "core/message.h"
#include "wire/frame.h"
#include "wire/outq.h"

struct envelope {
    struct peer *peer;
    enum verb verb;
    const uint8_t *lead; /* the receiver's own fields */
    size_t lead_bytes;
    size_t lead_copied; /* at least lead_bytes; a constant makes it one store. There is slack. */
    bool wants_fds;
    size_t skip; /* bytes at the front of the message's header that lead has, or replaces */
};

/* Bodies from here on are not copied into each output. A shorter one is copied in less time than a
 * piece of its own costs in the kernel, and would pin a whole slab. */
#define SHARED_BODY_MIN 4096u

/* Prefix and header; returns their end. */
static inline uint8_t *envelope_write_header(uint8_t *dst, const struct envelope *e,
                                             const struct message_parts *parts)
{
    frame_write_prefix(dst, e->verb, e->lead_bytes + parts->header_bytes, parts->body_bytes);
    dst += FRAME_PREFIX_BYTES;
    memcpy(dst, e->lead, e->lead_copied);
    dst += e->lead_bytes;
    memcpy(dst, parts->header, parts->header_bytes);
    return dst + parts->header_bytes;
}

/* False if the body is to be copied. */
static inline bool envelope_put_shared(struct outq *out, const struct envelope *e,
                                       const struct message_parts *parts)
{
    size_t bytes = FRAME_PREFIX_BYTES + e->lead_bytes + parts->header_bytes;
    uint8_t *dst = outq_reserve_shared(out, bytes, parts->slab, parts->body_bytes);

    if (!dst) {
        return false;
    }
    (void) envelope_write_header(dst, e, parts);
    outq_commit_shared(out, bytes, parts->slab, parts->body, parts->body_bytes);
    return true;
}

static inline bool envelope_put_copied(struct outq *out, const struct envelope *e,
                                       const struct message_parts *parts)
{
    size_t bytes = FRAME_PREFIX_BYTES + e->lead_bytes + parts->header_bytes + parts->body_bytes;
    uint8_t *dst = outq_reserve(out, bytes);

    if (UNLIKELY(!dst)) {
        return false;
    }
    dst = envelope_write_header(dst, e, parts);
    if (parts->body_bytes > 0) {
        memcpy(dst, parts->body, parts->body_bytes);
    }
    outq_commit(out, bytes);
    return true;
}

/* A frame whose body is in its bytes, into the output of e->peer. False if out of memory. */
static inline bool envelope_put(struct outq *out, const struct envelope *e,
                                const struct message_parts *parts)
{
    return (UNLIKELY(parts->body_bytes >= SHARED_BODY_MIN && parts->slab) &&
            envelope_put_shared(out, e, parts)) ||
           envelope_put_copied(out, e, parts);
}
