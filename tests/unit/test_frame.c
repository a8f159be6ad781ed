/* SPDX-License-Identifier: MIT */
#include "support/unit.h"
#include "wire/frame.h"

static void test_prefix_is_eight_bytes_little_endian(void **state)
{
    static const uint8_t expected[] = {0x04, 0x03, 0x02, 0x01, 0x06, 0x05, 18, 0};
    uint8_t p[FRAME_PREFIX_BYTES];

    (void) state;
    frame_write_prefix(p, VERB_PUBLISH, 0x0506, 0x01020304);
    assert_memory_equal(p, expected, sizeof(expected));
    assert_int_equal((uint32_t) load_u64le(p), 0x01020304);
}

static void test_whole_frame_is_parsed_into_views(void **state)
{
    uint8_t data[] = {3, 0, 0, 0, 2, 0, 18, 0, 0xAA, 0xBB, 'x', 'y', 'z', 99};
    struct frame f;
    size_t bytes;

    (void) state;
    assert_int_equal(frame_parse(data, sizeof(data), 3, &f, &bytes), FRAME_OK);
    assert_int_equal(bytes, 13);
    assert_ptr_equal(f.header, data + 8);
    assert_int_equal(f.header_bytes, 2);
    assert_ptr_equal(f.body, data + 10);
    assert_int_equal(f.body_bytes, 3);
    assert_int_equal(f.verb, VERB_PUBLISH);
    assert_int_equal(f.fds, 0);
}

static void test_every_cut_of_a_frame_is_partial(void **state)
{
    static const uint8_t data[] = {3, 0, 0, 0, 2, 0, 34, 0, 0xAA, 0xBB, 'x', 'y', 'z'};
    struct frame f;
    size_t bytes;

    (void) state;
    for (size_t len = 0; len < sizeof(data); len++) {
        AUTO_FREE uint8_t *cut = malloc(len ? len : 1);

        memcpy(cut, data, len);
        assert_int_equal(frame_parse(cut, len, 100, &f, &bytes), FRAME_PARTIAL);
        assert_int_equal(bytes, len < 8 ? 8 : sizeof(data));
    }
}

static void test_frame_without_header_and_body_is_eight_bytes(void **state)
{
    static const uint8_t data[8] = {[6] = 5};
    struct frame f;
    size_t bytes;

    (void) state;
    assert_int_equal(frame_parse(data, 8, 0, &f, &bytes), FRAME_OK);
    assert_int_equal(bytes, 8);
    assert_int_equal(f.header_bytes + f.body_bytes, 0);
}

static void test_body_over_the_limit_is_refused_at_the_prefix(void **state)
{
    uint8_t data[8] = {[6] = 18};
    struct frame f;
    size_t bytes;

    (void) state;
    frame_write_prefix(data, VERB_PUBLISH, 0, 65536);
    assert_int_equal(frame_parse(data, 8, 65536, &f, &bytes), FRAME_PARTIAL);
    assert_int_equal(bytes, 8 + 65536);
    frame_write_prefix(data, VERB_PUBLISH, 0, 65537);
    assert_int_equal(frame_parse(data, 8, 65536, &f, &bytes), FRAME_TOO_LARGE);
    frame_write_prefix(data, VERB_PUBLISH, 65535, UINT32_MAX);
    assert_int_equal(frame_parse(data, 8, UINT32_MAX - 1, &f, &bytes), FRAME_TOO_LARGE);
}

static void test_only_some_verbs_have_bodies(void **state)
{
    (void) state;
    for (unsigned verb = 0; verb < 256; verb++) {
        uint8_t data[9] = {1, [6] = (uint8_t) verb};
        bool body =
            verb == 18 || verb == 29 || verb == 34 || verb == 49 || (verb >= 64 && verb <= 67);
        struct frame f;
        size_t bytes;

        assert_int_equal(verb_has_body((uint8_t) verb), body);
        assert_int_equal(frame_parse(data, 9, 100, &f, &bytes), body ? FRAME_OK : FRAME_TOO_LARGE);
    }
}

static void test_table_of_verbs_agrees_with_verb_has_body(void **state)
{
    (void) state;
#define X(name, number, pb, member, body) assert_int_equal(verb_has_body(number), body);
    VERB_LIST(X)
#undef X
}

static void test_verb_names(void **state)
{
    (void) state;
    assert_string_equal(verb_name(1), "HELLO");
    assert_string_equal(verb_name(54), "SNAPSHOT_END");
    assert_string_equal(verb_name(0), "?");
    assert_string_equal(verb_name(7), "RESTORED");
    assert_string_equal(verb_name(10), "?");
    assert_string_equal(verb_name(255), "?");
}

static void test_fds_byte_is_handed_on(void **state)
{
    static const uint8_t data[8] = {[6] = 5, [7] = 2};
    struct frame f;
    size_t bytes;

    (void) state;
    assert_int_equal(frame_parse(data, 8, 0, &f, &bytes), FRAME_OK);
    assert_int_equal(f.fds, 2);
}

static void test_frames_back_to_back_are_found_one_by_one(void **state)
{
    uint8_t data[64];
    size_t at = 0, len = 0, found = 0;

    (void) state;
    for (uint8_t i = 0; i < 4; i++) {
        frame_write_prefix(data + len, VERB_PUBLISH, i, 3);
        memset(data + len + 8, i, i + 3u);
        len += 8u + i + 3u;
    }
    while (at < len) {
        struct frame f;
        size_t bytes;

        assert_int_equal(frame_parse(data + at, len - at, 3, &f, &bytes), FRAME_OK);
        assert_int_equal(f.header_bytes, found);
        assert_int_equal(f.body[2], found);
        at += bytes;
        found++;
    }
    assert_int_equal(at, len);
    assert_int_equal(found, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix_is_eight_bytes_little_endian),
        cmocka_unit_test(test_whole_frame_is_parsed_into_views),
        cmocka_unit_test(test_every_cut_of_a_frame_is_partial),
        cmocka_unit_test(test_frame_without_header_and_body_is_eight_bytes),
        cmocka_unit_test(test_body_over_the_limit_is_refused_at_the_prefix),
        cmocka_unit_test(test_only_some_verbs_have_bodies),
        cmocka_unit_test(test_table_of_verbs_agrees_with_verb_has_body),
        cmocka_unit_test(test_verb_names),
        cmocka_unit_test(test_fds_byte_is_handed_on),
        cmocka_unit_test(test_frames_back_to_back_are_found_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
