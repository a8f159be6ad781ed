/* SPDX-License-Identifier: MIT */
/* Any header of any verb: what is decoded can be encoded, and decoding that gives the same; the
 * short way of wire/hot.h never disagrees. Input: the verb, the header. */
#include "fuzz/fuzz.h"
#include "support/header_equal.h"
#include "wire/codec.h"
#include "wire/hot.h"

static struct arena arena, arena_again, scratch;
static uint8_t encoded[FRAME_HEADER_MAX];

static void check_hot(const uint8_t *header, size_t len, enum codec_verdict v,
                      const union wire_any *m, uint8_t verb)
{
    struct hot_message hot;
    uint32_t alias;

    if (verb == VERB_PUBLISH && hot_get_field_1(header, len, &alias)) {
        CHECK(v == CODEC_OK && m->publish.alias == alias);
        CHECK(m->publish.topic.len == 0 && m->publish.flags == 0 && m->publish.n_headers == 0);
    }
    if (verb == VERB_MESSAGE && hot_get_message(header, len, &hot)) {
        CHECK(v == CODEC_OK && m->message.subscription == hot.subscription);
        CHECK(m->message.topic == hot.topic && m->message.sender == hot.sender);
        CHECK(m->message.sequence == hot.sequence && m->message.time == hot.time_ns);
        CHECK(m->message.flags == hot.flags && m->message.n_headers == 0);
    }
}

static void check_again(uint8_t verb, const union wire_any *m)
{
    union wire_any again;
    long n = codec_encode(&scratch, verb, m, encoded, sizeof(encoded));

    if (n < 0) {
        return; /* unpacked varints may be shorter than 65,535 bytes, and the arena is finite */
    }
    CHECK(codec_decode(&arena_again, verb, encoded, (size_t) n, &again) == CODEC_OK);
    CHECK(headers_equal(verb, m, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    uint8_t verb = take_u8(&in);
    size_t n = in.left > FRAME_HEADER_MAX ? FRAME_HEADER_MAX : in.left;
    uint8_t *header = exact_copy(in.data, n);
    enum codec_verdict v;
    union wire_any m;

    if (!arena.base) {
        CHECK(arena_init(&arena, CODEC_ARENA_BYTES) == 0);
        CHECK(arena_init(&arena_again, CODEC_ARENA_BYTES) == 0);
        CHECK(arena_init(&scratch, CODEC_ARENA_BYTES) == 0);
    }
    arena_reset(&arena);
    arena_reset(&arena_again);
    arena_reset(&scratch);
    v = codec_decode(&arena, verb, header, n, &m);
    check_hot(header, n, v, &m, verb);
    memset(header, 0xEE, n); /* what was decoded must not point here */
    if (v == CODEC_OK) {
        check_again(verb, &m);
    }
    free(header);
    return 0;
}
