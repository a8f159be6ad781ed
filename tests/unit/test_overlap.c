/* SPDX-License-Identifier: MIT */
#include "core/overlap.h"
#include "support/topic_reference.h"
#include "support/unit.h"

/* All filters of up to three levels, and all topics of up to four, from few texts: enough to tell
 * any two of these filters apart, for "x" is in no filter, and "#" ends within three levels. */
#define FILTERS_MAX 400u
#define TOPICS_MAX 1000u

struct universe {
    char filters[FILTERS_MAX][16];
    char topics[TOPICS_MAX][16];
    uint8_t matches[FILTERS_MAX][TOPICS_MAX];
    size_t n_filters, n_topics;
};

static const char *const filter_levels[] = {"", "a", "$", "b", "+", "#"};
static const char *const topic_levels[] = {"", "a", "$", "b", "x"};

static void enumerate(char (*list)[16], size_t *n, const char *const *levels, size_t n_levels,
                      unsigned depth, const char *before)
{
    for (size_t i = 0; i < n_levels; i++) {
        char text[16];

        (void) snprintf(text, sizeof(text), "%s%s", before, levels[i]);
        if (ref_filter_valid(text, strlen(text))) {
            strcpy(list[(*n)++], text);
        }
        if (depth > 1 && strcmp(levels[i], "#") != 0) {
            strcat(text, "/");
            enumerate(list, n, levels, n_levels, depth - 1, text);
        }
    }
}

static int setup(void **state)
{
    struct universe *u = calloc(1, sizeof(*u));

    enumerate(u->filters, &u->n_filters, filter_levels, ARRAY_LEN(filter_levels), 3, "");
    enumerate(u->topics, &u->n_topics, topic_levels, ARRAY_LEN(topic_levels), 4, "");
    assert_true(u->n_filters > 150 && u->n_filters <= FILTERS_MAX);
    assert_true(u->n_topics > 700 && u->n_topics <= TOPICS_MAX);
    for (size_t i = 0; i < u->n_filters; i++) {
        for (size_t k = 0; k < u->n_topics; k++) {
            u->matches[i][k] = ref_matches(u->filters[i], strlen(u->filters[i]), u->topics[k],
                                           strlen(u->topics[k]));
        }
    }
    *state = u;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void test_containing_is_what_the_topics_say(void **state)
{
    const struct universe *u = *state;

    for (size_t i = 0; i < u->n_filters; i++) {
        for (size_t j = 0; j < u->n_filters; j++) {
            bool due = true;

            for (size_t k = 0; k < u->n_topics; k++) {
                due = due && (u->matches[i][k] || !u->matches[j][k]);
            }
            if (filter_contains(text_from(u->filters[i]), text_from(u->filters[j])) != due) {
                fail_msg("\"%s\" contains \"%s\"", u->filters[i], u->filters[j]);
            }
        }
    }
}

static void test_what_is_common_is_what_the_topics_say(void **state)
{
    const struct universe *u = *state;

    for (size_t i = 0; i < u->n_filters; i++) {
        for (size_t j = 0; j < u->n_filters; j++) {
            struct text a = text_from(u->filters[i]), b = text_from(u->filters[j]);
            char common[COMMON_MAX];
            size_t len = filters_common(a, b, common);
            bool any = false;

            for (size_t k = 0; k < u->n_topics; k++) {
                const char *t = u->topics[k];
                bool due = u->matches[i][k] && u->matches[j][k];

                any = any || due;
                if ((len > 0 && ref_matches(common, len, t, strlen(t))) != due) {
                    fail_msg("\"%s\" and \"%s\" have in common: \"%.*s\"", a.data, b.data,
                             (int) len, common);
                }
            }
            assert_int_equal(filters_meet(a, b), any);
        }
    }
}

/* The longest that two filters can have in common: each gives every second level. */
static void test_the_longest_filters_fit(void **state)
{
    char a[256] = "", b[256] = "", common[COMMON_MAX];
    size_t len;

    (void) state;
    memset(a, 'a', 253);
    memcpy(a + 253, "/+", 3);
    memset(b, 'b', 255);
    memcpy(b, "+/", 2);
    len = filters_common(text_from(a), text_from(b), common);
    assert_int_equal(len, 253 + 1 + 253);
    assert_memory_equal(common, a, 254);
    assert_memory_equal(common + 254, b + 2, 253);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_containing_is_what_the_topics_say, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_common_is_what_the_topics_say, setup,
                                        teardown),
        cmocka_unit_test(test_the_longest_filters_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
