/* SPDX-License-Identifier: MIT */
#include <bus/types.h>
#include "support/topic_reference.h"
#include "support/unit.h"
#include "wire/topic.h"

/* Copies a text to memory of exactly its length, so that a sanitizer sees any byte read behind it.
 */
static char *exact(const char *s, size_t len)
{
    char *p = malloc(len ? len : 1);

    assert_non_null(p);
    memcpy(p, s, len);
    return p;
}

static bool topic_ok(const char *s, size_t len)
{
    AUTO_FREE char *p = exact(s, len);
    bool ok = topic_valid(p, len);

    assert_int_equal(ok, ref_topic_valid(p, len));
    return ok;
}

static bool filter_ok(const char *s, size_t len)
{
    AUTO_FREE char *p = exact(s, len);
    bool ok = filter_valid(p, len);

    assert_int_equal(ok, ref_filter_valid(p, len));
    return ok;
}

static bool matches(const char *filter, const char *topic)
{
    size_t fn = strlen(filter), tn = strlen(topic);
    AUTO_FREE char *f = exact(filter, fn), *t = exact(topic, tn);
    bool match = filter_matches(f, fn, t, tn);

    assert_true(filter_ok(filter, fn));
    assert_true(topic_ok(topic, tn));
    assert_int_equal(match, ref_matches(f, fn, t, tn));
    return match;
}

struct match_row {
    const char *filter;
    const char *topic;
    bool match;
};

static void assert_rows(const struct match_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (matches(rows[i].filter, rows[i].topic) != rows[i].match) {
            fail_msg("filter %s, topic %s: expected %d", rows[i].filter, rows[i].topic,
                     rows[i].match);
        }
    }
}

/* MQTT 5.0, 4.7.1.2 */
static void test_multi_level_wildcard_matches_parent_and_below(void **state)
{
    static const struct match_row rows[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player10", false},
        {"sport/tennis/player1/#", "sport/tennis", false},
        {"sport/#", "sport", true},
        {"sport/#", "sport/", true},
        {"sport/#", "sports", false},
        {"#", "sport/tennis", true},
        {"#", "/", true},
        {"/#", "/", true},
        {"/#", "/a", true},
        {"/#", "a", false},
        {"a/b/#", "a", false},
    };

    (void) state;
    assert_rows(rows, ARRAY_LEN(rows));
}

/* MQTT 5.0, 4.7.1.3 */
static void test_single_level_wildcard_matches_exactly_one_level(void **state)
{
    static const struct match_row rows[] = {
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player2", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+", "finance", true},
        {"+", "/finance", false},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+/tennis/#", "sport/tennis", true},
        {"+/tennis/#", "sport/golf/tennis", false},
        {"sport/+/player1", "sport/tennis/player1", true},
        {"sport/+/player1", "sport//player1", true},
        {"sport/+/player1", "sport/player1", false},
        {"+/#", "a", true},
        {"a/+/#", "a", false},
        {"a/+/#", "a/b", true},
    };

    (void) state;
    assert_rows(rows, ARRAY_LEN(rows));
}

/* MQTT 5.0, 4.7.2 */
static void test_leading_wildcard_does_not_match_dollar_topics(void **state)
{
    static const struct match_row rows[] = {
        {"#", "$SYS", false},
        {"#", "$SYS/monitor/Clients", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"+", "$", false},
        {"+/#", "$bus/x", false},
        {"$SYS/#", "$SYS/monitor/Clients", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"$SYS/+/Clients", "$SYS/monitor/Clients", true},
        {"+/+", "a/$b", true},
        {"#", "a/$b", true},
        {"+/$x", "/$x", true},
    };

    (void) state;
    assert_rows(rows, ARRAY_LEN(rows));
}

/* MQTT 5.0, 4.7.3 */
static void test_matching_is_by_bytes_and_empty_levels_count(void **state)
{
    static const struct match_row rows[] = {
        {"ACCOUNTS", "Accounts", false},
        {"Accounts payable", "Accounts payable", true},
        {"/finance", "finance", false},
        {"a", "a/", false},
        {"a/", "a", false},
        {"a//b", "a/b", false},
        {"a/+/b", "a//b", true},
        {"//", "//", true},
        {"+/+/+", "//", true},
        {"+/+", "//", false},
        {"a", "ab", false},
        {"ab", "a", false},
        {"a/b", "a/b/c", false},
        {"a/b/c", "a/b", false},
        {"\xC3\xA9", "e\xCC\x81", false}, /* one letter, two spellings */
    };

    (void) state;
    assert_rows(rows, ARRAY_LEN(rows));
}

struct valid_row {
    const char *text;
    bool topic, filter;
};

static void test_wildcards_must_fill_a_level_and_hash_be_last(void **state)
{
    static const struct valid_row rows[] = {
        {"sport/tennis/#", false, true},
        {"sport/tennis#", false, false},
        {"sport/tennis/#/ranking", false, false},
        {"#/a", false, false},
        {"#/", false, false},
        {"##", false, false},
        {"#", false, true},
        {"+", false, true},
        {"+/tennis/#", false, true},
        {"sport+", false, false},
        {"a+", false, false},
        {"+a", false, false},
        {"++", false, false},
        {"+#", false, false},
        {"#+", false, false},
        {"a/+b/c", false, false},
        {"a/b+/c", false, false},
        {"/+/", false, true},
        {"/#", false, true},
        {"a//b", true, true},
        {"/", true, true},
        {"a/", true, true},
        {"/a", true, true},
        {"$", true, true},
        {"$bus/x", true, true},
        {" ", true, true},
        {"a b", true, true},
        {"", false, false},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = strlen(rows[i].text);

        if (topic_ok(rows[i].text, len) != rows[i].topic ||
            filter_ok(rows[i].text, len) != rows[i].filter) {
            fail_msg("wrong verdict for %s", rows[i].text);
        }
    }
}

static void test_255_bytes_are_valid_and_256_are_not(void **state)
{
    char text[256];

    (void) state;
    memset(text, 'x', sizeof(text));
    assert_true(topic_ok(text, 255));
    assert_true(filter_ok(text, 255));
    assert_false(topic_ok(text, 256));
    assert_false(filter_ok(text, 256));
}

static void test_32_levels_are_valid_and_33_are_not(void **state)
{
    char text[64];

    (void) state;
    memset(text, '/', sizeof(text));
    assert_true(topic_ok(text, 31));
    assert_true(filter_ok(text, 31));
    assert_false(topic_ok(text, 32));
    assert_false(filter_ok(text, 32));
    text[31] = '#';
    assert_true(filter_ok(text + 1, 31));
    assert_true(filter_ok(text, 32));
    text[32] = '#';
    text[31] = '/';
    assert_false(filter_ok(text, 33));
}

static void test_ill_formed_utf8_is_refused(void **state)
{
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "a\xC3",
        "\xC3",
        "\xE2\x82",
        "\xF0\x9F\x98", /* cut off */
        "\xC0\x80",
        "\xC1\xBF",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xF0\x80\x80\x80", /* overlong */
        "\xF0\x8F\xBF\xBF",
        "\xED\xA0\x80",
        "\xED\xBF\xBF", /* surrogates */
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFE",
        "\xFF", /* beyond U+10FFFF */
        "\xC3(",
        "\xE2\x82(",
        "\xE2(\xA1",
        "\xF0\x9F\x98(", /* no continuation */
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTO_FREE char *p = exact(bad[i], strlen(bad[i]));

        if (topic_ok(bad[i], strlen(bad[i])) || filter_ok(bad[i], strlen(bad[i])) ||
            utf8_valid(p, strlen(bad[i]))) {
            fail_msg("row %zu is not UTF-8", i);
        }
    }
}

static void test_well_formed_utf8_of_every_length_is_valid(void **state)
{
    static const char *const good[] = {
        "\xC2\xA0",         "\xDF\xBF",         "\xE0\xA0\x80",
        "\xED\x9F\xBF",     "\xEE\x80\x80",     "\xEF\xBF\xBF",
        "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a/\xC3\xA9/\xE2\x82\xAC",
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(topic_ok(good[i], strlen(good[i])));
    }
}

static void test_control_characters_are_refused_in_names_only(void **state)
{
    (void) state;
    for (unsigned code = 0; code <= 0xA0; code++) {
        char text[2] = {(char) code};
        size_t len = 1;
        bool control = code <= 0x1F || (code >= 0x7F && code <= 0x9F);

        if (code >= 0x80) {
            text[0] = (char) (0xC0 | code >> 6);
            text[1] = (char) (0x80 | (code & 0x3F));
            len = 2;
        }
        assert_int_equal(utf8_valid_printable(text, len), !control);
        assert_int_equal(utf8_valid(text, len), code != 0);
        if (code != '+' && code != '#') {
            assert_int_equal(topic_ok(text, len), !control);
        }
    }
}

static void test_empty_text_is_valid_utf8(void **state)
{
    (void) state;
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid_printable("", 0));
}

static void test_reserved_is_the_level_bus_and_below(void **state)
{
    static const struct {
        const char *topic;
        bool reserved;
    } rows[] = {
        {"$bus", true}, {"$bus/", true},  {"$bus/x/y", true}, {"$busy", false}, {"$bu", false},
        {"bus", false}, {"/$bus", false}, {"$BUS/x", false},  {"$SYS", false},  {"$", false},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = strlen(rows[i].topic);
        AUTO_FREE char *p = exact(rows[i].topic, len);

        assert_int_equal(topic_is_reserved(p, len), rows[i].reserved);
    }
}

static void test_level_len_stops_at_the_first_slash(void **state)
{
    (void) state;
    assert_int_equal(topic_level_len("abc/d", 5), 3);
    assert_int_equal(topic_level_len("abc", 3), 3);
    assert_int_equal(topic_level_len("/", 1), 0);
    assert_int_equal(topic_level_len("", 0), 0);
    assert_int_equal(topic_level_len("ab/", 2), 2);
}

static size_t random_text(struct rng *r, char *dst, const char *letters)
{
    size_t len = 1 + rng_below(r, 12), n = strlen(letters);

    for (size_t i = 0; i < len; i++) {
        dst[i] = letters[rng_below(r, (uint32_t) n)];
    }
    return len;
}

static void test_random_filters_agree_with_the_reference(void **state)
{
    struct rng r = rng_from_env();
    unsigned compared = 0, matched = 0;

    (void) state;
    while (compared < 200000) {
        char f[16], t[16];
        size_t fn = random_text(&r, f, "aab//++#$"), tn = random_text(&r, t, "aab//$");

        assert_int_equal(filter_valid(f, fn), ref_filter_valid(f, fn));
        assert_int_equal(topic_valid(t, tn), ref_topic_valid(t, tn));
        if (!filter_valid(f, fn)) {
            continue;
        }
        if (filter_matches(f, fn, t, tn) != ref_matches(f, fn, t, tn)) {
            fail_msg("filter %.*s, topic %.*s", (int) fn, f, (int) tn, t);
        }
        matched += filter_matches(f, fn, t, tn);
        compared++;
    }
    assert_true(matched > compared / 100);
}

static void test_random_bytes_agree_with_the_reference(void **state)
{
    struct rng r = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 200000; i++) {
        static const uint8_t firsts[] = {0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xE1, 0x41};
        char text[5];

        for (size_t k = 0; k < sizeof(text); k++) {
            text[k] = (char) (rng_below(&r, 2) ? 0x80 + rng_below(&r, 64) : rng_below(&r, 256));
        }
        text[0] = (char) firsts[rng_below(&r, sizeof(firsts))];
        for (size_t len = 1; len <= sizeof(text); len++) {
            assert_int_equal(utf8_valid_printable(text, len), ref_utf8_printable(text, len));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_multi_level_wildcard_matches_parent_and_below),
        cmocka_unit_test(test_single_level_wildcard_matches_exactly_one_level),
        cmocka_unit_test(test_leading_wildcard_does_not_match_dollar_topics),
        cmocka_unit_test(test_matching_is_by_bytes_and_empty_levels_count),
        cmocka_unit_test(test_wildcards_must_fill_a_level_and_hash_be_last),
        cmocka_unit_test(test_255_bytes_are_valid_and_256_are_not),
        cmocka_unit_test(test_32_levels_are_valid_and_33_are_not),
        cmocka_unit_test(test_ill_formed_utf8_is_refused),
        cmocka_unit_test(test_well_formed_utf8_of_every_length_is_valid),
        cmocka_unit_test(test_control_characters_are_refused_in_names_only),
        cmocka_unit_test(test_empty_text_is_valid_utf8),
        cmocka_unit_test(test_reserved_is_the_level_bus_and_below),
        cmocka_unit_test(test_level_len_stops_at_the_first_slash),
        cmocka_unit_test(test_random_filters_agree_with_the_reference),
        cmocka_unit_test(test_random_bytes_agree_with_the_reference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
