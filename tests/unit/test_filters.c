/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "core/filters.h"
#include "core/sub.h"
#include "support/failmalloc.h"
#include "support/topic_reference.h"
#include "support/unit.h"

#define SUBS 120u

struct entry {
    struct sub sub;
    char tail[256]; /* what filters_add() puts behind it */
    char filter[256];
    unsigned n_found;
    bool in;
};

struct fixture {
    struct filters filters;
    struct entry subs[SUBS];
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    filters_init(&f.filters, 5);
    *state = &f;
    return 0;
}

static void assert_empty(const struct filters *f)
{
    assert_null(f->root);
    assert_int_equal(f->edges.n, 0);
    assert_int_equal(f->exact.n, 0);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < SUBS; i++) {
        if (f->subs[i].in) {
            filters_remove(&f->filters, &f->subs[i].sub);
        }
    }
    assert_empty(&f->filters);
    filters_fini(&f->filters);
    return 0;
}

static void add(struct fixture *f, size_t i, const char *filter)
{
    struct entry *e = &f->subs[i];

    assert_true(ref_filter_valid(filter, strlen(filter)));
    snprintf(e->filter, sizeof(e->filter), "%s", filter);
    assert_int_equal(filters_add(&f->filters, filter, strlen(filter), &e->sub), 0);
    e->in = true;
}

static void take(struct fixture *f, size_t i)
{
    filters_remove(&f->filters, &f->subs[i].sub);
    f->subs[i].in = false;
}

static void found(struct sub *sub, void *ctx)
{
    struct entry *e = container_of(sub, struct entry, sub);

    (void) ctx;
    assert_true(e->in);
    e->n_found++;
}

static void match(struct fixture *f, const char *topic)
{
    for (size_t i = 0; i < SUBS; i++) {
        f->subs[i].n_found = 0;
    }
    filters_match(&f->filters, topic, strlen(topic), found, NULL);
}

/* Exactly those that the reference says, each once. */
static void assert_matches_like_reference(struct fixture *f, const char *topic)
{
    match(f, topic);
    for (size_t i = 0; i < SUBS; i++) {
        const struct entry *e = &f->subs[i];
        bool due = e->in && ref_matches(e->filter, strlen(e->filter), topic, strlen(topic));

        if (e->n_found != due) {
            fail_msg("filter \"%s\" and topic \"%s\": %u", e->filter, topic, e->n_found);
        }
    }
}

/* Few texts and few levels, so that much matches; empty levels and $ among them. */
static void random_levels(struct rng *rng, const char *const *texts, uint32_t n_texts, char *dst)
{
    uint32_t n = 1 + rng_below(rng, 5);
    size_t len = 0;

    for (uint32_t i = 0; i < n; i++) {
        const char *text = texts[rng_below(rng, n_texts)];

        if (strcmp(text, "#") == 0 && i + 1 < n) {
            text = "+";
        }
        len += (size_t) sprintf(dst + len, "%s%s", i ? "/" : "", text);
    }
    if (len == 0) {
        strcpy(dst, "a");
    }
}

static const char *const level_texts[] = {"", "a", "b", "ab", "$x", "$", "+", "#"};
#define TOPIC_TEXTS 6u

static void test_random_filters_match_like_the_reference(void **state)
{
    struct fixture *f = *state;
    struct rng rng = rng_from_env();
    char text[256];

    for (unsigned turn = 0; turn < 2500; turn++) {
        size_t i = rng_below(&rng, SUBS);

        if (f->subs[i].in) {
            take(f, i);
        } else {
            random_levels(&rng, level_texts, (uint32_t) ARRAY_LEN(level_texts), text);
            add(f, i, text);
        }
        random_levels(&rng, level_texts, TOPIC_TEXTS, text);
        assert_matches_like_reference(f, text);
    }
}

static void test_nothing_is_left_when_all_are_removed_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct rng rng = rng_from_env();
    char text[256];

    for (unsigned turn = 0; turn < 20; turn++) {
        size_t left = SUBS;

        for (size_t i = 0; i < SUBS; i++) {
            random_levels(&rng, level_texts, (uint32_t) ARRAY_LEN(level_texts), text);
            add(f, i, text);
        }
        while (left > 0) {
            size_t i = rng_below(&rng, SUBS);

            if (f->subs[i].in) {
                take(f, i);
                left--;
            }
        }
        assert_empty(&f->filters);
    }
}

static void test_hash_matches_the_parent_level_too(void **state)
{
    struct fixture *f = *state;

    add(f, 0, "a/#");
    add(f, 1, "a/b/#");
    add(f, 2, "a/+/#");
    add(f, 3, "#");
    match(f, "a");
    assert_int_equal(f->subs[0].n_found, 1);
    assert_int_equal(f->subs[1].n_found + f->subs[2].n_found, 0);
    assert_int_equal(f->subs[3].n_found, 1);
    match(f, "a/b");
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(f->subs[i].n_found, 1);
    }
}

static void test_leading_wildcards_do_not_see_topics_of_the_system(void **state)
{
    struct fixture *f = *state;

    add(f, 0, "#");
    add(f, 1, "+/a");
    add(f, 2, "$s/#");
    add(f, 3, "$s/+");
    match(f, "$s/a");
    assert_int_equal(f->subs[0].n_found + f->subs[1].n_found, 0);
    assert_int_equal(f->subs[2].n_found, 1);
    assert_int_equal(f->subs[3].n_found, 1);
    /* below the first level a $ is nothing special */
    add(f, 4, "x/+");
    match(f, "x/$s");
    assert_int_equal(f->subs[4].n_found, 1);
    assert_int_equal(f->subs[0].n_found, 1);
}

static void equal_filters(struct fixture *f, const char *filter, const char *topic)
{
    static const size_t order[] = {1, 0, 3, 2};

    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        add(f, i, filter);
    }
    assert_int_equal(f->filters.exact.n + f->filters.edges.n, 1);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        assert_matches_like_reference(f, topic);
        take(f, order[i]);
    }
    assert_empty(&f->filters);
}

/* From the middle, from the front, from the end, and the last. */
static void test_equal_filters_share_an_entry_and_are_found_each(void **state)
{
    struct fixture *f = *state;

    equal_filters(f, "a/b", "a/b");
    equal_filters(f, "a/+", "a/b");
    equal_filters(f, "a/#", "a/b");
}

static void test_filters_without_wildcards_are_not_in_the_trie(void **state)
{
    struct fixture *f = *state;

    add(f, 0, "a/b/c");
    add(f, 1, "$s/a");
    assert_null(f->filters.root);
    assert_int_equal(f->filters.edges.n, 0);
    assert_int_equal(f->filters.exact.n, 2);
    assert_matches_like_reference(f, "a/b/c");
    assert_matches_like_reference(f, "$s/a");
    assert_matches_like_reference(f, "a/b");
}

/* What it costs to find them is what docs/decisions/020 promises. */
static void test_wildcards_at_the_end_need_no_node(void **state)
{
    struct fixture *f = *state;

    add(f, 0, "#");
    add(f, 1, "+");
    assert_int_equal(f->filters.edges.n, 0);
    add(f, 2, "a/b/#");
    assert_int_equal(f->filters.edges.n, 2);
    add(f, 3, "a/b/+");
    assert_int_equal(f->filters.edges.n, 2);
    add(f, 4, "a/+/b");
    assert_int_equal(f->filters.edges.n, 4);
    take(f, 4);
    assert_int_equal(f->filters.edges.n, 2);
}

static void test_removal_keeps_nodes_that_others_need(void **state)
{
    struct fixture *f = *state;

    add(f, 0, "+/b/c");
    add(f, 1, "+");
    add(f, 2, "+/b/+");
    add(f, 3, "+/#");
    take(f, 0);
    assert_int_equal(f->filters.edges.n, 2);
    assert_matches_like_reference(f, "a");
    assert_matches_like_reference(f, "a/b/c");
    take(f, 2);
    assert_int_equal(f->filters.edges.n, 1);
    assert_matches_like_reference(f, "a");
    take(f, 3);
    assert_int_equal(f->filters.edges.n, 0);
    assert_matches_like_reference(f, "a");
}

/* The search is counted in nodes, so it must not pass more of them because there are others. */
static void test_search_costs_the_same_with_many_other_filters(void **state)
{
    struct fixture *f = *state;
    char filter[32];
    size_t passed;

    add(f, 0, "a/1");
    add(f, 1, "a/+/#");
    passed = filters_match(&f->filters, "a/1", 3, found, NULL);
    for (size_t i = 2; i < SUBS; i++) {
        snprintf(filter, sizeof(filter), "a/%zu%s", i, i % 2 ? "" : "/#");
        add(f, i, filter);
    }
    assert_int_equal(filters_match(&f->filters, "a/1", 3, found, NULL), passed);
}

static void test_text_of_a_filter_is_found_again(void **state)
{
    static const char *const texts[] = {"a",  "/",  "//",  "#",      "+/#",   "a//b",
                                        "/a", "a/", "$/+", "a/+/b/", "+/+/#", "ab/c",
                                        "+",  "/+", "+/",  "+//",    "//+/#", "/#"};
    struct fixture *f = *state;
    char longest[256], buf[256];

    memset(longest, 'x', 255);
    for (size_t i = 1; i < 62; i += 2) {
        longest[i] = '/';
    }
    longest[255] = '\0';
    for (size_t i = 0; i <= ARRAY_LEN(texts); i++) {
        const char *text = i < ARRAY_LEN(texts) ? texts[i] : longest;

        add(f, i, text);
        assert_int_equal(filters_text(&f->subs[i].sub, buf), strlen(text));
        assert_memory_equal(buf, text, strlen(text));
    }
}

static void test_failing_allocation_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    const char *filter = "a/b/+/c/#";

    add(f, 0, "a/+");
    FOR_EACH_FAILING_MALLOC (n) {
        uint32_t edges = f->filters.edges.n, exact = f->filters.exact.n;
        int r = filters_add(&f->filters, filter, strlen(filter), &f->subs[1].sub);

        if (r == 0) {
            filters_remove(&f->filters, &f->subs[1].sub);
        } else {
            assert_int_equal(r, -ENOMEM);
        }
        assert_int_equal(f->filters.edges.n, edges);
        assert_int_equal(f->filters.exact.n, exact);
    }
    assert_matches_like_reference(f, "a/b");
    take(f, 0);
}

static void add_and_take_failing(struct fixture *f, const char *filter)
{
    FOR_EACH_FAILING_MALLOC (n) {
        if (filters_add(&f->filters, filter, strlen(filter), &f->subs[0].sub) == 0) {
            filters_remove(&f->filters, &f->subs[0].sub);
        }
        assert_empty(&f->filters);
    }
}

static void test_failing_allocation_with_no_other_filter_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    add_and_take_failing(f, "a/+/b");
    add_and_take_failing(f, "a/b");
    add_and_take_failing(f, "#");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_random_filters_match_like_the_reference),
        CASE(test_nothing_is_left_when_all_are_removed_in_any_order),
        CASE(test_hash_matches_the_parent_level_too),
        CASE(test_leading_wildcards_do_not_see_topics_of_the_system),
        CASE(test_equal_filters_share_an_entry_and_are_found_each),
        CASE(test_filters_without_wildcards_are_not_in_the_trie),
        CASE(test_wildcards_at_the_end_need_no_node),
        CASE(test_search_costs_the_same_with_many_other_filters),
        CASE(test_removal_keeps_nodes_that_others_need),
        CASE(test_text_of_a_filter_is_found_again),
        CASE(test_failing_allocation_leaves_nothing_behind),
        CASE(test_failing_allocation_with_no_other_filter_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
