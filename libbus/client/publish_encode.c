/* SPDX-License-Identifier: MIT */
/* The headers of publishes, requests and replies: by hand where nothing but numbers goes into them,
 * else by the codec. */

#include "client/publish.h"
#include "wire/codec.h"

#define CODEC_SCRATCH_BYTES 8192

static size_t headers_of(const struct publish *p, struct wire_header headers[BUS_HEADERS_MAX])
{
    size_t n = p->opts ? p->opts->n_headers : 0;

    for (size_t i = 0; i < n; i++) {
        headers[i].name = text_from(p->opts->headers[i].name);
        headers[i].value = text_from(p->opts->headers[i].value);
    }
    return n;
}

static long encode(const struct publish *p, uint8_t *dst)
{
    _Alignas(16) uint8_t memory[CODEC_SCRATCH_BYTES];
    struct arena scratch = {memory, 0, sizeof(memory)};
    struct wire_header headers[BUS_HEADERS_MAX];
    struct wire_publish m = {.topic = {"", 0}, .key = {"", 0}, .headers = headers};

    if (p->topic) {
        m.alias = p->topic->alias;
    } else {
        m.topic = text_from(p->name);
    }
    if (p->slot.segment) {
        m.buffer = p->slot.segment->number;
        m.offset = bus__slot_offset(p->slot);
        m.bytes = p->bytes;
    }
    m.sequence = p->sequence;
    if (p->opts) {
        m.flags = p->opts->flags & BUS_PUBLISH_CONFIRM;
        m.key = text_from(p->opts->key ? p->opts->key : "");
        m.ttl_ms = p->opts->ttl_ms;
    }
    m.n_headers = headers_of(p, headers);
    return codec_encode(&scratch, VERB_PUBLISH, &m, dst, p->header_max);
}

static struct hot_place place_of(const struct publish *p)
{
    if (!p->slot.segment) {
        return (struct hot_place){0};
    }
    return (struct hot_place){p->slot.segment->number, 0, bus__slot_offset(p->slot), p->bytes};
}

/* Nothing but an alias and the place of the body, which need no codec. */
static bool is_bare(const struct publish *p)
{
    return p->topic && p->slot.segment && !p->opts && !p->outgoing && !p->sequence;
}

static long encode_bare(const struct publish *p, uint8_t *dst)
{
    struct hot_place place = place_of(p);
    size_t n = hot_put_field_1(dst, p->topic->alias);

    return (long) (n + hot_put_place(dst + n, HOT_PUBLISH_PLACE, &place));
}

/* The fields before the place of the body have the numbers 1 and 3 in both, those behind it 9 and
 * 10; what protobuf-c would write. */
static long encode_outgoing_bare(const struct publish *p, uint8_t *dst)
{
    const struct outgoing *o = p->outgoing;
    struct hot_place place = place_of(p);
    bool is_reply = o->verb == VERB_REPLY;
    uint8_t *at = hot_put_field(dst, 1, is_reply ? o->call : p->topic->alias);

    at = hot_put_field(at, 3, o->flags);
    at += hot_put_place(at, HOT_PUBLISH_PLACE, &place);
    at = hot_put_field(at, 9, is_reply ? o->error : o->call);
    return hot_put_field(at, 10, is_reply ? 0 : o->timeout_ms) - dst;
}

static long encode_outgoing(const struct publish *p, uint8_t *dst)
{
    _Alignas(16) uint8_t memory[CODEC_SCRATCH_BYTES];
    struct arena scratch = {memory, 0, sizeof(memory)};
    struct wire_header headers[BUS_HEADERS_MAX];
    const struct outgoing *o = p->outgoing;
    struct hot_place place = place_of(p);
    struct wire_reply reply = {o->call,     o->flags, place.buffer, place.offset,
                               place.bytes, o->error, headers,      headers_of(p, headers)};
    struct wire_request request = {.topic = {"", 0},
                                   .flags = o->flags,
                                   .buffer = place.buffer,
                                   .offset = place.offset,
                                   .bytes = place.bytes,
                                   .call = (uint32_t) o->call,
                                   .timeout_ms = o->timeout_ms,
                                   .headers = headers,
                                   .n_headers = reply.n_headers};

    if (reply.n_headers == 0 && (p->topic || o->verb == VERB_REPLY)) {
        return encode_outgoing_bare(p, dst);
    }
    if (o->verb == VERB_REPLY) {
        return codec_encode(&scratch, VERB_REPLY, &reply, dst, p->header_max);
    }
    if (p->topic) {
        request.alias = p->topic->alias;
    } else {
        request.topic = text_from(p->name);
    }
    return codec_encode(&scratch, VERB_REQUEST, &request, dst, p->header_max);
}

long bus__publish_encode(const struct publish *p, uint8_t *dst)
{
    if (p->outgoing) {
        return encode_outgoing(p, dst);
    }
    return is_bare(p) ? encode_bare(p, dst) : encode(p, dst);
}
