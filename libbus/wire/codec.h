/* SPDX-License-Identifier: MIT */
#pragma once
/* Headers to bytes and back. protobuf-c does it, on an arena; the two headers that pass millions of
 * times a second have a short way in wire/hot.h, which tests hold equal to this one. */

#include "base/arena.h"
#include "wire/messages.h"

/* Enough for any header within the limits that is worth decoding. */
#define CODEC_ARENA_BYTES (256u * 1024u)

enum codec_verdict {
    CODEC_OK,
    CODEC_MALFORMED, /* no such verb, not valid protobuf, or beyond the limits */
};

/* Decodes the header of a verb. The result points into the arena, which is not reset here. */
enum codec_verdict codec_decode(struct arena *a, uint8_t verb, const uint8_t *header, size_t bytes,
                                union wire_any *ret);

/* Encodes a header to dst (room for cap bytes). Returns its length, or -1 if it does not fit or the
 * arena is exhausted. The arena is used for scratch only. m points to the struct of the verb
 * (struct wire_status for VERB_STATUS …). */
long codec_encode(struct arena *a, enum verb verb, const void *m, uint8_t *dst, size_t cap);
