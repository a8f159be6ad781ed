/* SPDX-License-Identifier: MIT */
#include "wire/frame.h"

const char *verb_name(uint8_t verb)
{
    switch (verb) {
#define X(name, number, pb, member, body)                                                          \
    case number:                                                                                   \
        return #name;
        VERB_LIST(X)
#undef X
    }
    return "?";
}

bool verb_has_body(uint8_t verb)
{
    return verb == VERB_PUBLISH || verb == VERB_MESSAGE || verb == VERB_MONITORED;
}

enum frame_verdict frame_parse(const uint8_t *data, size_t len, uint32_t body_max,
                               struct frame *ret, size_t *ret_bytes)
{
    uint32_t body_bytes;
    uint16_t header_bytes;
    size_t bytes;

    if (len < FRAME_PREFIX_BYTES) {
        *ret_bytes = FRAME_PREFIX_BYTES;
        return FRAME_PARTIAL;
    }
    body_bytes = load_u32le(data);
    header_bytes = (uint16_t) (data[4] | data[5] << 8);
    if (body_bytes > 0 && (body_bytes > body_max || !verb_has_body(data[6]))) {
        return FRAME_TOO_LARGE;
    }
    bytes = FRAME_PREFIX_BYTES + header_bytes + (size_t) body_bytes;
    *ret_bytes = bytes;
    if (len < bytes) {
        return FRAME_PARTIAL;
    }
    ret->header = data + FRAME_PREFIX_BYTES;
    ret->body = ret->header + header_bytes;
    ret->body_bytes = body_bytes;
    ret->header_bytes = header_bytes;
    ret->verb = data[6];
    ret->fds = data[7];
    return FRAME_OK;
}
