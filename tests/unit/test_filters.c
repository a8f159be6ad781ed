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

static void assert_trie_is_empty(const struct filters *f)
{
    assert_int_equal(f->root.n_children, 0);
    assert_null(f->root.plus);
    assert_null(f->root.hash);
    assert_null(f->root.subs);
    assert_int_equal(f->edges.n, 0);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < SUBS; i++) {
        if (f->subs[i].in) {
            filters_remove(&f->filters, &f->subs[i].sub);
        }
    }
    assert_trie_is_empty(&f->filters);
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
    assert_null(f->subs[i].sub.filter);
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
        assert_trie_is_empty(&f->filters);
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

static void test_equal_filters_share_a_node_and_are_found_each(void **state)
{
    struct fixture *f = *state;

    add(f, 0, "a/b");
    add(f, 1, "a/b");
    add(f, 2, "a/b");
    assert_ptr_equal(f->subs[0].sub.filter, f->subs[2].sub.filter);
    assert_int_equal(f->filters.edges.n, 2);
    take(f, 1);
    match(f, "a/b");
    assert_int_equal(f->subs[0].n_found, 1);
    assert_int_equal(f->subs[1].n_found, 0);
    assert_int_equal(f->subs[2].n_found, 1);
}

static void test_removal_keeps_nodes_that_others_need(void **state)
{
    struct fixture *f = *state;

    add(f, 0, "a/b/c");
    add(f, 1, "a");
    add(f, 2, "a/b/+");
    take(f, 0);
    assert_matches_like_reference(f, "a");
    assert_matches_like_reference(f, "a/b/c");
    take(f, 2);
    assert_int_equal(f->filters.edges.n, 1);
    assert_matches_like_reference(f, "a");
}

static void test_text_of_a_filter_is_found_again(void **state)
{
    static const char *const texts[] = {"a",  "/",  "//",  "#",      "+/#",   "a//b",
                                        "/a", "a/", "$/+", "a/+/b/", "+/+/#", "ab/c"};
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

    add(f, 0, "a/b");
    FOR_EACH_FAILING_MALLOC (n) {
        uint32_t edges = f->filters.edges.n;
        int r = filters_add(&f->filters, filter, strlen(filter), &f->subs[1].sub);

        if (r == 0) {
            filters_remove(&f->filters, &f->subs[1].sub);
        } else {
            assert_int_equal(r, -ENOMEM);
        }
        assert_int_equal(f->filters.edges.n, edges);
        assert_int_equal(f->subs[0].sub.filter->n_children, 0);
    }
    assert_matches_like_reference(f, "a/b");
}

static void test_failing_allocation_in_an_empty_trie_leaves_it_empty(void **state)
{
    struct fixture *f = *state;

    FOR_EACH_FAILING_MALLOC (n) {
        if (filters_add(&f->filters, "a/+/b", 5, &f->subs[0].sub) == 0) {
            filters_remove(&f->filters, &f->subs[0].sub);
        }
        assert_trie_is_empty(&f->filters);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_random_filters_match_like_the_reference),
        CASE(test_nothing_is_left_when_all_are_removed_in_any_order),
        CASE(test_hash_matches_the_parent_level_too),
        CASE(test_leading_wildcards_do_not_see_topics_of_the_system),
        CASE(test_equal_filters_share_a_node_and_are_found_each),
        CASE(test_removal_keeps_nodes_that_others_need),
        CASE(test_text_of_a_filter_is_found_again),
        CASE(test_failing_allocation_leaves_nothing_behind),
        CASE(test_failing_allocation_in_an_empty_trie_leaves_it_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
