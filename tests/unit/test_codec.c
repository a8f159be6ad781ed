/* SPDX-License-Identifier: MIT */
#include <bus/types.h>
#include "support/failmalloc.h"
#include "support/random_header.h"
#include "support/unit.h"
#include "wire/codec.h"

struct fixture {
    struct arena decoded;
    struct arena scratch;
    uint8_t bytes[FRAME_HEADER_MAX];
};

static int setup(void **state)
{
    static struct fixture f;

    *state = &f;
    return arena_init(&f.decoded, CODEC_ARENA_BYTES) < 0 ||
           arena_init(&f.scratch, CODEC_ARENA_BYTES) < 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    arena_fini(&f->decoded);
    arena_fini(&f->scratch);
    return 0;
}

/* Decodes from memory of exactly that length, so that a sanitizer sees any byte read behind it. */
static enum codec_verdict decode(struct fixture *f, uint8_t verb, const void *header, size_t bytes,
                                 union wire_any *ret)
{
    AUTO_FREE uint8_t *copy = malloc(bytes ? bytes : 1);
    enum codec_verdict v;

    assert_non_null(copy);
    memcpy(copy, header, bytes);
    arena_reset(&f->decoded);
    v = codec_decode(&f->decoded, verb, copy, bytes, ret);
    memset(copy, 0xEE, bytes); /* what was decoded must not point here */
    return v;
}

static const uint8_t verbs[] = {
#define X(upper, number, pb, member, body) number,
    VERB_LIST(X)
#undef X
};

static void test_every_verb_round_trips_with_random_fields(void **state)
{
    struct fixture *f = *state;
    struct rng r = rng_from_env();

    for (unsigned turn = 0; turn < 400; turn++) {
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
            struct random_header h;
            union wire_any m;
            long n;

            random_header_fill(&h, &r, verbs[i]);
            n = codec_encode(&f->scratch, verbs[i], &h.m, f->bytes, sizeof(f->bytes));
            assert_true(n >= 0);
            assert_int_equal(f->scratch.used, 0);
            assert_int_equal(decode(f, verbs[i], f->bytes, (size_t) n, &m), CODEC_OK);
            if (!headers_equal(verbs[i], &h.m, &m)) {
                fail_msg("%s came back changed", verb_name(verbs[i]));
            }
        }
    }
}

static void test_empty_header_is_all_defaults_for_every_verb(void **state)
{
    static const union wire_any zero;
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        union wire_any m;

        memset(&m, 0xEE, sizeof(m));
        assert_int_equal(decode(f, verbs[i], "", 0, &m), CODEC_OK);
        assert_true(headers_equal(verbs[i], &zero, &m));
        assert_int_equal(codec_encode(&f->scratch, verbs[i], &zero, f->bytes, 0), 0);
    }
}

static void test_absent_texts_are_empty_and_not_null(void **state)
{
    struct fixture *f = *state;
    union wire_any m;

    assert_int_equal(decode(f, VERB_HELLO, "", 0, &m), CODEC_OK);
    assert_non_null(m.hello.client_name.data);
    assert_non_null(m.hello.resume_token.data);
    assert_int_equal(m.hello.client_name.len, 0);
}

static void test_unknown_verbs_are_malformed(void **state)
{
    struct fixture *f = *state;
    union wire_any m = {0};

    for (unsigned verb = 0; verb < 256; verb++) {
        bool known = memchr(verbs, (int) verb, sizeof(verbs)) != NULL;

        assert_int_equal(decode(f, (uint8_t) verb, "", 0, &m), known ? CODEC_OK : CODEC_MALFORMED);
        if (!known) {
            assert_int_equal(codec_encode(&f->scratch, (enum verb) verb, &m, f->bytes, 100), -1);
        }
    }
}

/* clang-format off */
#define BYTES(...) sizeof((const uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__}
/* clang-format on */

static void test_malformed_headers_are_refused(void **state)
{
    const struct {
        const char *what;
        uint8_t verb;
        size_t n;
        const uint8_t *bytes;
    } rows[] = {
        {"tag without a value", VERB_PING, BYTES(0x08)},
        {"varint that does not end", VERB_PING, BYTES(0x08, 0x80)},
        {"varint of eleven bytes", VERB_PING,
         BYTES(0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01)},
        {"tag that does not end", VERB_PING, BYTES(0x80)},
        {"field number 0", VERB_PING, BYTES(0x00, 0x01)},
        {"text longer than the header", VERB_GOODBYE, BYTES(0x12, 0x05, 'a')},
        {"text of a huge length", VERB_GOODBYE, BYTES(0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 'a')},
        {"text where a number belongs", VERB_PING, BYTES(0x0A, 0x01, 0x01)},
        {"number where a text belongs", VERB_GOODBYE, BYTES(0x10, 0x01)},
        {"varint where fixed64 belongs", VERB_MESSAGE, BYTES(0x28, 0x01)},
        {"fixed64 cut off", VERB_MESSAGE, BYTES(0x29, 1, 2, 3, 4, 5, 6, 7)},
        {"fixed32 cut off", VERB_PING, BYTES(0x7D, 1, 2, 3)},
        {"start of a group", VERB_PING, BYTES(0x0B, 0x0C)},
        {"wire type 6", VERB_PING, BYTES(0x0E, 0x01)},
        {"text header cut off inside", VERB_PUBLISH, BYTES(0x7A, 0x03, 0x0A, 0x05, 'a')},
        {"recipient with a text", VERB_MONITORED, BYTES(0x42, 0x03, 0x0A, 0x01, 'a')},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        union wire_any m;

        if (decode(f, rows[i].verb, rows[i].bytes, rows[i].n, &m) != CODEC_MALFORMED) {
            fail_msg("%s must be malformed", rows[i].what);
        }
    }
}

static void test_unknown_fields_are_ignored(void **state)
{
    /* fields 100 as varint, 101 as text, 102 as fixed64, 103 as fixed32, around token = 7 */
    static const uint8_t header[] = {0xA0, 0x06, 0x2A, 0xAA, 0x06, 0x02, 'h', 'i', 0x08,
                                     0x07, 0xB1, 0x06, 1,    2,    3,    4,   5,   6,
                                     7,    8,    0xBD, 0x06, 1,    2,    3,   4};
    struct fixture *f = *state;
    union wire_any m;

    assert_int_equal(decode(f, VERB_PING, header, sizeof(header), &m), CODEC_OK);
    assert_int_equal(m.ping.token, 7);
}

static void test_last_of_a_repeated_single_field_counts(void **state)
{
    static const uint8_t numbers[] = {0x08, 0x01, 0x08, 0x02};
    static const uint8_t texts[] = {0x12, 0x01, 'a', 0x12, 0x02, 'b', 'c'};
    struct fixture *f = *state;
    union wire_any m;

    assert_int_equal(decode(f, VERB_PING, numbers, sizeof(numbers), &m), CODEC_OK);
    assert_int_equal(m.ping.token, 2);
    assert_int_equal(decode(f, VERB_GOODBYE, texts, sizeof(texts), &m), CODEC_OK);
    assert_int_equal(m.goodbye.text.len, 2);
    assert_memory_equal(m.goodbye.text.data, "bc", 2);
}

static void test_fields_may_come_in_any_order(void **state)
{
    static const uint8_t header[] = {0x12, 0x01, 'a', 0x08, 0x05};
    struct fixture *f = *state;
    union wire_any m;

    assert_int_equal(decode(f, VERB_ADVERTISE, header, sizeof(header), &m), CODEC_OK);
    assert_int_equal(m.advertise.alias, 5);
    assert_int_equal(m.advertise.topic.len, 1);
}

static void test_nul_inside_a_text_survives(void **state)
{
    static const uint8_t header[] = {0x12, 0x03, 'a', 0, 'b'};
    struct fixture *f = *state;
    union wire_any m;

    assert_int_equal(decode(f, VERB_GOODBYE, header, sizeof(header), &m), CODEC_OK);
    assert_int_equal(m.goodbye.text.len, 3);
    assert_memory_equal(m.goodbye.text.data, "a\0b", 3);
}

static size_t many_text_headers(uint8_t *dst, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        static const uint8_t one[] = {0x7A, 0x06, 0x0A, 0x01, 'k', 0x12, 0x01, 'v'};

        memcpy(dst + i * sizeof(one), one, sizeof(one));
    }
    return n * 8u;
}

static void test_64_text_headers_are_fine_and_65_are_not(void **state)
{
    static const uint8_t with_headers[] = {VERB_PUBLISH, VERB_MESSAGE, VERB_MONITORED};
    struct fixture *f = *state;
    union wire_any m;

    for (size_t i = 0; i < sizeof(with_headers); i++) {
        size_t n = many_text_headers(f->bytes, 64);

        assert_int_equal(decode(f, with_headers[i], f->bytes, n, &m), CODEC_OK);
        n = many_text_headers(f->bytes, 65);
        assert_int_equal(decode(f, with_headers[i], f->bytes, n, &m), CODEC_MALFORMED);
    }
}

static void test_exhausted_arena_is_malformed_at_every_size(void **state)
{
    struct fixture *f = *state;
    struct rng r = rng_from_env();

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        struct random_header h;
        union wire_any m;
        size_t capacity = 0;
        long n;

        random_header_fill(&h, &r, verbs[i]);
        n = codec_encode(&f->scratch, verbs[i], &h.m, f->bytes, sizeof(f->bytes));
        for (;; capacity += 16) {
            struct arena small = {.base = f->decoded.base, .capacity = capacity};

            if (codec_decode(&small, verbs[i], f->bytes, (size_t) n, &m) == CODEC_OK) {
                break;
            }
            assert_true(capacity < CODEC_ARENA_BYTES);
        }
        assert_true(capacity > 0);
        assert_true(headers_equal(verbs[i], &h.m, &m));
    }
}

static void test_encoding_without_arena_or_room_fails_and_frees_scratch(void **state)
{
    struct fixture *f = *state;
    struct rng r = rng_from_env();

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        struct random_header h;
        struct arena none = {0};
        long n;

        random_header_fill(&h, &r, verbs[i]);
        n = codec_encode(&f->scratch, verbs[i], &h.m, f->bytes, sizeof(f->bytes));
        assert_int_equal(codec_encode(&none, verbs[i], &h.m, f->bytes, sizeof(f->bytes)), -1);
        assert_int_equal(codec_encode(&f->scratch, verbs[i], &h.m, f->bytes, (size_t) n), n);
        if (n > 0) {
            assert_int_equal(codec_encode(&f->scratch, verbs[i], &h.m, f->bytes, (size_t) n - 1),
                             -1);
        }
        assert_int_equal(f->scratch.used, 0);
    }
}

static void test_header_over_65535_bytes_is_not_encoded(void **state)
{
    static char value[70000];
    static uint8_t dst[80000];
    struct fixture *f = *state;
    struct wire_goodbye m = {.reason = 1, .text = {value, 65535 - 6}};

    assert_int_equal(codec_encode(&f->scratch, VERB_GOODBYE, &m, dst, sizeof(dst)), 65535);
    m.text.len++;
    assert_int_equal(codec_encode(&f->scratch, VERB_GOODBYE, &m, dst, sizeof(dst)), -1);
}

static void test_every_cut_of_a_header_is_decoded_or_refused(void **state)
{
    struct fixture *f = *state;
    struct rng r = rng_from_env();

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        struct random_header h;
        union wire_any m;
        long n;

        random_header_fill(&h, &r, verbs[i]);
        n = codec_encode(&f->scratch, verbs[i], &h.m, f->bytes, sizeof(f->bytes));
        for (long cut = 0; cut < n; cut++) {
            (void) decode(f, verbs[i], f->bytes, (size_t) cut, &m);
        }
    }
}

static void test_codec_asks_the_heap_for_nothing(void **state)
{
    struct fixture *f = *state;
    struct rng r = rng_from_env();
    struct random_header h;
    union wire_any m;
    long n;

    random_header_fill(&h, &r, VERB_MONITORED);
    failmalloc_arm_from(1);
    n = codec_encode(&f->scratch, VERB_MONITORED, &h.m, f->bytes, sizeof(f->bytes));
    assert_int_equal(codec_decode(&f->decoded, VERB_MONITORED, f->bytes, (size_t) n, &m), CODEC_OK);
    assert_int_equal(failmalloc_disarm(), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_verb_round_trips_with_random_fields),
        CASE(empty_header_is_all_defaults_for_every_verb),
        CASE(absent_texts_are_empty_and_not_null),
        CASE(unknown_verbs_are_malformed),
        CASE(malformed_headers_are_refused),
        CASE(unknown_fields_are_ignored),
        CASE(last_of_a_repeated_single_field_counts),
        CASE(fields_may_come_in_any_order),
        CASE(nul_inside_a_text_survives),
        CASE(64_text_headers_are_fine_and_65_are_not),
        CASE(exhausted_arena_is_malformed_at_every_size),
        CASE(encoding_without_arena_or_room_fails_and_frees_scratch),
        CASE(header_over_65535_bytes_is_not_encoded),
        CASE(every_cut_of_a_header_is_decoded_or_refused),
        CASE(codec_asks_the_heap_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
