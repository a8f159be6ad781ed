/* SPDX-License-Identifier: MIT */
#include "support/header_equal.h"
#include "support/unit.h"
#include "wire/codec.h"
#include "wire/hot_requests.h"

static int setup(void **state)
{
    static struct arena a;

    *state = &a;
    return arena_init(&a, CODEC_ARENA_BYTES);
}

static int teardown(void **state)
{
    arena_fini(*state);
    return 0;
}

static uint32_t id(struct rng *r)
{
    uint32_t v = (uint32_t) (rng_magnitude(r) >> 32);

    return v ? v : 1;
}

static size_t write_hot(uint8_t *dst, const struct wire_message *m)
{
    size_t n = hot_put_field_1(dst, m->subscription);

    return n + hot_put_message(dst + n, m->topic, m->sender, m->sequence, m->time);
}

static struct wire_message random_message(struct rng *r)
{
    uint64_t sequence = rng_magnitude(r);
    uint64_t time = rng_magnitude(r);

    return (struct wire_message){.subscription = id(r),
                                 .topic = id(r),
                                 .sender = id(r),
                                 .sequence = sequence ? sequence : 1,
                                 .time = time ? time : 1};
}

static void test_message_is_written_as_the_codec_writes_it(void **state)
{
    struct rng r = rng_from_env();

    for (unsigned i = 0; i < 100000; i++) {
        struct wire_message m = random_message(&r);
        uint8_t hot[HOT_SUBSCRIPTION_MAX + HOT_MESSAGE_MAX], codec[64];
        size_t n = write_hot(hot, &m);

        assert_true(n <= sizeof(hot));
        assert_int_equal(codec_encode(*state, VERB_MESSAGE, &m, codec, sizeof(codec)), n);
        assert_memory_equal(hot, codec, n);
    }
}

/* The flags can be replaced without looking at anything else. */
static void test_flags_of_a_message_are_found_where_the_codec_writes_them(void **state)
{
    struct rng r = rng_from_env();
    struct wire_header text = {{"k", 1}, {"v", 1}};

    for (unsigned i = 0; i < 100000; i++) {
        struct wire_message m = random_message(&r);
        uint8_t with[96], without[96];
        long n_with, n;
        size_t at;

        m.subscription = 0; /* the header that all share has none */
        m.sequence = m.sequence >> 2 | 1;
        m.time = i % 8 ? m.time : 0;
        m.descriptors = i % 3;
        m.headers = &text;
        m.n_headers = i % 2;
        n = codec_encode(*state, VERB_MESSAGE, &m, without, sizeof(without));
        m.flags = 1 + i % 127;
        n_with = codec_encode(*state, VERB_MESSAGE, &m, with, sizeof(with));
        at = hot_message_end(with, (size_t) n_with);
        assert_int_equal(n_with, n + (long) HOT_FLAGS_BYTES);
        assert_int_equal(with[at], HOT_MESSAGE_FLAGS << 3);
        assert_int_equal(with[at + 1], m.flags);
        assert_memory_equal(with, without, at);
        assert_memory_equal(with + at + HOT_FLAGS_BYTES, without + at, (size_t) n - at);
    }
}

static void test_message_is_read_as_the_codec_reads_it(void **state)
{
    struct rng r = rng_from_env();

    for (unsigned i = 0; i < 100000; i++) {
        struct wire_message m = random_message(&r);
        uint8_t codec[64];
        struct hot_message hot;
        long n;

        m.flags = i % 3 == 0 ? 0 : MESSAGE_RELIABLE | (i % 3 == 1 ? MESSAGE_RESENT : 0);
        n = codec_encode(*state, VERB_MESSAGE, &m, codec, sizeof(codec));
        if (!hot_get_message(codec, (size_t) n, &hot)) {
            assert_true(m.sequence >> 63); /* a varint of ten bytes is left to the codec */
            continue;
        }
        assert_int_equal(hot.subscription, m.subscription);
        assert_int_equal(hot.topic, m.topic);
        assert_int_equal(hot.sender, m.sender);
        assert_int_equal(hot.sequence, m.sequence);
        assert_int_equal(hot.time_ns, m.time);
        assert_int_equal(hot.flags, m.flags);
    }
}

static void test_publish_by_alias_is_read_as_the_codec_reads_it(void **state)
{
    struct rng r = rng_from_env();

    for (unsigned i = 0; i < 100000; i++) {
        struct wire_publish m = {.alias = id(&r)};
        uint8_t codec[16], hot[HOT_SUBSCRIPTION_MAX];
        long n = codec_encode(*state, VERB_PUBLISH, &m, codec, sizeof(codec));
        uint32_t alias = 0;

        assert_int_equal(hot_put_field_1(hot, m.alias), n);
        assert_memory_equal(hot, codec, (size_t) n);
        assert_true(hot_get_field_1(codec, (size_t) n, &alias));
        assert_int_equal(alias, m.alias);
    }
}

static uint64_t maybe(struct rng *r, uint64_t v)
{
    return rng_below(r, 4) ? v : 0;
}

/* Where a body lies: fields that are 0 are left out, as protobuf does. */
static void test_places_are_written_and_read_as_the_codec_does(void **state)
{
    struct rng r = rng_from_env();

    for (unsigned i = 0; i < 100000; i++) {
        struct wire_message m = random_message(&r);
        struct hot_place place = {id(&r), (uint32_t) maybe(&r, id(&r)),
                                  maybe(&r, rng_magnitude(&r) >> 1),
                                  maybe(&r, rng_magnitude(&r) >> 1)};
        struct wire_publish p = {
            .alias = id(&r), .buffer = place.buffer, .offset = place.offset, .bytes = place.bytes};
        uint8_t hot[HOT_SUBSCRIPTION_MAX + HOT_MESSAGE_MAX + HOT_PLACE_MAX], codec[128];
        struct hot_message got;
        uint32_t alias = 0;
        size_t n;

        m.sequence >>= 1;
        m.sequence |= 1;
        n = write_hot(hot, &m);
        n += hot_put_place(hot + n, HOT_MESSAGE_PLACE, &place);
        m.buffer = place.buffer;
        m.offset = place.offset;
        m.bytes = place.bytes;
        m.lease = place.lease;
        assert_true(n <= sizeof(hot));
        assert_int_equal(codec_encode(*state, VERB_MESSAGE, &m, codec, sizeof(codec)), n);
        assert_memory_equal(hot, codec, n);
        assert_true(hot_get_message(codec, n, &got));
        assert_memory_equal(&got.place, &place, sizeof(place));
        n = (size_t) codec_encode(*state, VERB_PUBLISH, &p, codec, sizeof(codec));
        assert_true(hot_get_publish_place(codec, n, &alias, &got.place));
        assert_int_equal(alias, p.alias);
        assert_int_equal(got.place.buffer, p.buffer);
        assert_int_equal(got.place.offset, p.offset);
        assert_int_equal(got.place.bytes, p.bytes);
    }
}

static void test_returned_is_written_and_read_as_the_codec_does(void **state)
{
    struct rng r = rng_from_env();

    for (unsigned i = 0; i < 100000; i++) {
        struct wire_returned m = {id(&r), maybe(&r, rng_magnitude(&r) >> 1)};
        uint8_t hot[HOT_PLACE_MAX], codec[64];
        size_t n = hot_put_returned(hot, m.buffer, m.offset);
        uint32_t buffer = 0;
        uint64_t offset = 7;

        assert_int_equal(codec_encode(*state, VERB_RETURNED, &m, codec, sizeof(codec)), n);
        assert_memory_equal(hot, codec, n);
        assert_true(hot_get_returned(codec, n, &buffer, &offset));
        assert_int_equal(buffer, m.buffer);
        assert_int_equal(offset, m.offset);
    }
}

/* A place without a buffer, or with descriptors, headers, flags. */
static void test_other_places_are_left_to_the_codec(void **state)
{
    struct wire_header text = {{"k", 1}, {"v", 1}};
    struct wire_publish publish[] = {{.alias = 1, .offset = 1},
                                     {.alias = 1, .bytes = 1},
                                     {.alias = 1, .flags = 1, .buffer = 1},
                                     {.topic = {"a", 1}, .buffer = 1},
                                     {.buffer = 1},
                                     {.alias = 1, .buffer = 1, .headers = &text, .n_headers = 1}};
    struct wire_message message = {1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, NULL, 0};
    struct hot_message hot;
    uint8_t bytes[64];
    uint32_t alias;
    long n;

    for (size_t i = 0; i < ARRAY_LEN(publish); i++) {
        n = codec_encode(*state, VERB_PUBLISH, &publish[i], bytes, sizeof(bytes));
        assert_false(hot_get_publish_place(bytes, (size_t) n, &alias, &hot.place));
    }
    n = codec_encode(*state, VERB_MESSAGE, &message, bytes, sizeof(bytes));
    assert_false(hot_get_message(bytes, (size_t) n, &hot));
    message.descriptors = 0;
    message.buffer = 0;
    n = codec_encode(*state, VERB_MESSAGE, &message, bytes, sizeof(bytes));
    assert_false(hot_get_message(bytes, (size_t) n, &hot));
}

static void test_everything_else_is_left_to_the_codec(void **state)
{
    struct wire_header text = {{"k", 1}, {"v", 1}};
    struct wire_publish rows[] = {
        {.alias = 1, .flags = 1},
        {.topic = {"a", 1}},
        {.alias = 1, .headers = &text, .n_headers = 1},
        {0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t bytes[64];
        long n = codec_encode(*state, VERB_PUBLISH, &rows[i], bytes, sizeof(bytes));
        uint32_t alias;

        assert_false(hot_get_field_1(bytes, (size_t) n, &alias));
    }
}

static void test_message_with_flags_or_headers_is_left_to_the_codec(void **state)
{
    struct rng r = rng_from_env();
    struct wire_header text = {{"k", 1}, {"v", 1}};
    struct wire_message m = random_message(&r);
    struct hot_message hot;
    uint8_t bytes[64];
    long n;

    for (m.flags = 1; m.flags < 200; m.flags++) {
        bool is_short =
            m.flags == MESSAGE_RELIABLE || m.flags == (MESSAGE_RELIABLE | MESSAGE_RESENT);

        n = codec_encode(*state, VERB_MESSAGE, &m, bytes, sizeof(bytes));
        assert_int_equal(hot_get_message(bytes, (size_t) n, &hot), is_short);
    }
    m.flags = 0;
    m.headers = &text;
    m.n_headers = 1;
    n = codec_encode(*state, VERB_MESSAGE, &m, bytes, sizeof(bytes));
    assert_false(hot_get_message(bytes, (size_t) n, &hot));
}

/* Whatever the bytes are: if the short way accepts them, it must say what the codec says. */
static void assert_agrees_with_codec(struct arena *a, const uint8_t *bytes, size_t n)
{
    AUTO_FREE uint8_t *copy = malloc(n ? n : 1);
    struct hot_message hot;
    union wire_any m;
    uint32_t alias;

    memcpy(copy, bytes, n);
    arena_reset(a);
    if (hot_get_field_1(copy, n, &alias)) {
        assert_int_equal(codec_decode(a, VERB_PUBLISH, copy, n, &m), CODEC_OK);
        assert_int_equal(m.publish.alias, alias);
        assert_int_equal(m.publish.topic.len + m.publish.flags + m.publish.n_headers, 0);
        assert_int_equal(m.publish.buffer + m.publish.offset + m.publish.bytes, 0);
    }
    if (hot_get_publish_place(copy, n, &alias, &hot.place)) {
        assert_int_equal(codec_decode(a, VERB_PUBLISH, copy, n, &m), CODEC_OK);
        assert_int_equal(m.publish.alias, alias);
        assert_int_equal(m.publish.topic.len + m.publish.flags + m.publish.n_headers, 0);
        assert_int_equal(m.publish.buffer, hot.place.buffer);
        assert_int_equal(m.publish.offset, hot.place.offset);
        assert_int_equal(m.publish.bytes, hot.place.bytes);
    }
    if (hot_get_returned(copy, n, &alias, &hot.place.offset)) {
        assert_int_equal(codec_decode(a, VERB_RETURNED, copy, n, &m), CODEC_OK);
        assert_int_equal(m.returned.buffer, alias);
        assert_int_equal(m.returned.offset, hot.place.offset);
    }
    if (hot_get_message(copy, n, &hot)) {
        assert_int_equal(codec_decode(a, VERB_MESSAGE, copy, n, &m), CODEC_OK);
        assert_int_equal(m.message.subscription, hot.subscription);
        assert_int_equal(m.message.topic, hot.topic);
        assert_int_equal(m.message.sender, hot.sender);
        assert_int_equal(m.message.sequence, hot.sequence);
        assert_int_equal(m.message.time, hot.time_ns);
        assert_int_equal(m.message.flags, hot.flags);
        assert_int_equal(m.message.n_headers + m.message.descriptors, 0);
        assert_int_equal(m.message.buffer, hot.place.buffer);
        if (hot.place.buffer) {
            assert_int_equal(m.message.offset, hot.place.offset);
            assert_int_equal(m.message.bytes, hot.place.bytes);
            assert_int_equal(m.message.lease, hot.place.lease);
        }
    }
}

/* The same for the verbs of requests. */
static void assert_requests_agree_with_codec(struct arena *a, const uint8_t *bytes, size_t n)
{
    AUTO_FREE uint8_t *copy = malloc(n ? n : 1);
    union wire_any hot = {0}, m;

    memcpy(copy, bytes, n);
#define AGREES(VERB, member)                                                                       \
    arena_reset(a);                                                                                \
    memset(&hot, 0, sizeof(hot));                                                                  \
    if (hot_get_##member(copy, n, &hot.member)) {                                                  \
        assert_int_equal(codec_decode(a, VERB, copy, n, &m), CODEC_OK);                            \
        assert_true(headers_equal(VERB, &hot, &m));                                                \
    }
    AGREES(VERB_REQUEST, request)
    AGREES(VERB_CALL, call)
    AGREES(VERB_REPLY, reply)
    AGREES(VERB_ANSWER, answer)
#undef AGREES
}

/* Fields of numbers in any order, known and unknown, twice too. */
static size_t random_numbers(struct rng *r, uint8_t *dst)
{
    uint8_t *p = dst;

    for (unsigned i = rng_below(r, 10); i > 0; i--) {
        unsigned field = 1 + (unsigned) rng_below(r, 13);

        if (field == 5 && rng_below(r, 2)) {
            *p++ = HOT_TAG_5_FIXED64;
            store_u64le(p, rng_u64(r));
            p += 8;
        } else {
            *p++ = (uint8_t) (field << 3);
            p = hot_put_varint(p, rng_magnitude(r));
        }
    }
    return (size_t) (p - dst);
}

static void test_requests_never_disagree_with_the_codec(void **state)
{
    struct rng r = rng_from_env();

    for (unsigned i = 0; i < 100000; i++) {
        uint8_t bytes[128];
        size_t n = random_numbers(&r, bytes);

        for (unsigned damage = rng_below(&r, 3); damage > 0 && n > 0; damage--) {
            bytes[rng_below(&r, (uint32_t) n)] = (uint8_t) rng_u64(&r);
        }
        n = rng_below(&r, 3) ? n : rng_below(&r, (uint32_t) n + 1);
        assert_requests_agree_with_codec(*state, bytes, n);
    }
}

static void test_requests_without_texts_take_the_short_way(void **state)
{
    struct wire_request request = {
        .alias = 1, .flags = 3, .buffer = 4, .offset = 5, .bytes = 6, .call = 7, .timeout_ms = 8};
    struct wire_reply reply = {UINT64_MAX >> 1, 1, 2, 3, 4, 5};
    struct wire_call call = {1, 2, 3, UINT64_MAX >> 1, 5, 6, 7, 8, 9, 10, 11, 12};
    struct wire_answer answer = {1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12};
    union wire_any out;
    uint8_t bytes[256];
    long n;

#define SHORT(VERB, member)                                                                        \
    n = codec_encode(*state, VERB, &member, bytes, sizeof(bytes));                                 \
    assert_true(n > 0 && hot_get_##member(bytes, (size_t) n, &out.member));
    SHORT(VERB_REQUEST, request)
    assert_int_equal(out.request.timeout_ms, 8);
    SHORT(VERB_REPLY, reply)
    assert_int_equal(out.reply.error, 5);
    SHORT(VERB_CALL, call)
    assert_int_equal(out.call.timeout_ms, 12);
    SHORT(VERB_ANSWER, answer)
    assert_int_equal(out.answer.error, 12);
#undef SHORT
}

static void test_damaged_headers_never_disagree_with_the_codec(void **state)
{
    struct rng r = rng_from_env();

    for (unsigned i = 0; i < 100000; i++) {
        struct wire_message m = random_message(&r);
        struct hot_place place = {id(&r), rng_below(&r, 2), rng_magnitude(&r), rng_magnitude(&r)};
        uint8_t bytes[128];
        size_t n = write_hot(bytes, &m);
        unsigned first = HOT_MESSAGE_PLACE;

        if (rng_below(&r, 2)) {
            n = hot_put_field_1(bytes, m.subscription);
            first = rng_below(&r, 2) ? HOT_PUBLISH_PLACE : 2; /* or like RETURNED */
        }
        if (rng_below(&r, 2)) {
            n += hot_put_place(bytes + n, first, &place);
        }
        for (unsigned damage = rng_below(&r, 3); damage > 0; damage--) {
            bytes[rng_below(&r, (uint32_t) n)] = (uint8_t) rng_u64(&r);
        }
        n = rng_below(&r, 3) ? n : rng_below(&r, (uint32_t) n + 1);
        assert_agrees_with_codec(*state, bytes, n);
    }
}

static void test_padded_and_too_long_varints(void **state)
{
    static const uint8_t padded[] = {0x08, 0x85, 0x80, 0x00};
    static const uint8_t beyond_u32[] = {0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F};
    static const uint8_t unfinished[] = {0x08, 0x85, 0x80};
    static const uint8_t eleven[] = {0x08, 0x80, 0x80, 0x80, 0x80, 0x80,
                                     0x80, 0x80, 0x80, 0x80, 0x80, 0x01};
    uint32_t alias;

    assert_true(hot_get_field_1(padded, sizeof(padded), &alias));
    assert_int_equal(alias, 5);
    assert_false(hot_get_field_1(beyond_u32, sizeof(beyond_u32), &alias));
    assert_false(hot_get_field_1(unfinished, sizeof(unfinished), &alias));
    assert_false(hot_get_field_1(eleven, sizeof(eleven), &alias));
    assert_agrees_with_codec(*state, padded, sizeof(padded));
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(message_is_written_as_the_codec_writes_it),
        CASE(flags_of_a_message_are_found_where_the_codec_writes_them),
        CASE(message_is_read_as_the_codec_reads_it),
        CASE(publish_by_alias_is_read_as_the_codec_reads_it),
        CASE(places_are_written_and_read_as_the_codec_does),
        CASE(returned_is_written_and_read_as_the_codec_does),
        CASE(other_places_are_left_to_the_codec),
        CASE(everything_else_is_left_to_the_codec),
        CASE(message_with_flags_or_headers_is_left_to_the_codec),
        CASE(damaged_headers_never_disagree_with_the_codec),
        CASE(requests_never_disagree_with_the_codec),
        CASE(requests_without_texts_take_the_short_way),
        CASE(padded_and_too_long_varints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
