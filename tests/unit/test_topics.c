/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/topic_reference.h"
#include "support/unit.h"

#define SUBS 12u

struct entry {
    struct sub sub;
    char tail[64];    /* what filters_add() puts behind it */
    struct peer peer; /* its owner, for the quota */
};

struct fixture {
    struct topics topics;
    struct quota quota;
    struct user user;
    struct entry subs[SUBS];
    char filters[SUBS][64]; /* "": not subscribed */
    unsigned n_missing;
    unsigned n_new;
};

static void on_new(struct topic *t, void *userdata)
{
    assert_non_null(t);
    ((struct fixture *) userdata)->n_new++;
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    topics_init(&f.topics, 9);
    f.topics.on_new = on_new;
    f.topics.userdata = &f;
    quota_init(&f.quota, 1 << 20, NULL);
    f.user.matches.limit = UINT64_MAX;
    for (size_t i = 0; i < SUBS; i++) {
        quota_init(&f.subs[i].peer.quota, UINT64_MAX, &f.quota);
        f.subs[i].sub.peer = &f.subs[i].peer;
        f.subs[i].peer.user = &f.user;
    }
    *state = &f;
    return 0;
}

static void unsubscribe(struct fixture *f, size_t i)
{
    unsigned all = UINT_MAX;

    topics_remove_sub(&f->topics, &f->subs[i].sub);
    assert_true(topics_forget_sub(&f->subs[i].sub, &all));
    assert_null(f->subs[i].sub.matches);
    assert_int_equal(f->subs[i].peer.quota.used, 0);
    f->filters[i][0] = '\0';
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < SUBS; i++) {
        if (f->filters[i][0]) {
            unsubscribe(f, i);
        }
    }
    assert_int_equal(f->quota.used, 0);
    assert_int_equal(f->topics.ids.n_used, 0);
    assert_int_equal(f->topics.by_name.n, 0);
    assert_int_equal(f->topics.filters.edges.n, 0);
    assert_int_equal(f->topics.filters.exact.n, 0);
    assert_null(f->topics.filters.root);
    topics_fini(&f->topics);
    return 0;
}

static void subscribe(struct fixture *f, size_t i, const char *filter)
{
    assert_int_equal(topics_add_sub(&f->topics, filter, strlen(filter), &f->subs[i].sub), 0);
    snprintf(f->filters[i], sizeof(f->filters[i]), "%s", filter);
}

static struct topic *get(struct fixture *f, const char *name)
{
    return topics_get(&f->topics, name, strlen(name));
}

static void missing(struct sub *sub, void *ctx)
{
    assert_non_null(sub);
    ((struct fixture *) ctx)->n_missing++;
}

static void resolve(struct fixture *f, struct topic *t)
{
    f->n_missing = 0;
    topic_resolve(t, missing, f);
}

static bool is_noted(const struct topic *t, const struct sub *s)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < t->n_matches; i++) {
        const struct match *m = t->matches[i];

        assert_int_equal(m->index, i);
        assert_ptr_equal(m->topic, t);
        n += m->sub == s;
    }
    assert_in_range(n, 0, 1);
    return n == 1;
}

/* A topic knows exactly the subscriptions that match it. */
static void assert_complete(struct fixture *f, const struct topic *t)
{
    for (size_t i = 0; i < SUBS; i++) {
        const char *filter = f->filters[i];
        bool due = *filter && ref_matches(filter, strlen(filter), t->name, t->len);

        assert_int_equal(is_noted(t, &f->subs[i].sub), due);
    }
}

static void test_topic_of_a_name_is_one_while_it_is_held(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a/b"), *other = get(f, "a/c");

    assert_ptr_equal(get(f, "a/b"), t);
    assert_int_equal(t->refs, 2);
    assert_int_equal(f->n_new, 2);
    assert_int_not_equal(t->id, other->id);
    topic_unref(t);
    assert_ptr_equal(idpool_get(&f->topics.ids, t->id), t);
    topic_unref(t);
    assert_int_equal(f->topics.ids.n_used, 1);
    topic_unref(other);
}

static void test_new_topic_finds_older_subscriptions_when_it_is_resolved(void **state)
{
    struct fixture *f = *state;
    struct topic *t;

    subscribe(f, 0, "a/+");
    subscribe(f, 1, "a/b");
    subscribe(f, 2, "b");
    t = get(f, "a/b");
    assert_false(topic_is_resolved(t));
    assert_int_equal(t->n_matches, 0);
    resolve(f, t);
    assert_true(topic_is_resolved(t));
    assert_complete(f, t);
    topic_unref(t);
}

static void test_wildcard_subscription_is_found_at_the_next_resolve_only(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a/b"), *other = get(f, "x");

    resolve(f, t);
    resolve(f, other);
    subscribe(f, 0, "a/#");
    assert_false(topic_is_resolved(t));
    assert_false(topic_is_resolved(other));
    assert_int_equal(t->n_matches, 0);
    resolve(f, t);
    assert_complete(f, t);
    assert_true(topic_is_resolved(t));
    assert_false(topic_is_resolved(other));
    topic_unref(t);
    topic_unref(other);
}

static void test_exact_subscription_is_told_to_its_topic_at_once(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a/b"), *other = get(f, "x");

    resolve(f, t);
    resolve(f, other);
    subscribe(f, 0, "a/b");
    assert_true(is_noted(t, &f->subs[0].sub));
    assert_true(topic_is_resolved(t));
    assert_true(topic_is_resolved(other));
    assert_int_equal(f->subs[0].peer.quota.used, MATCH_BYTES);
    topic_unref(t);
    topic_unref(other);
}

static void test_exact_subscription_of_an_unresolved_topic_is_noted_once(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a/b");

    subscribe(f, 0, "a/b");
    subscribe(f, 1, "a/+");
    resolve(f, t);
    resolve(f, t);
    assert_complete(f, t);
    assert_int_equal(t->n_matches, 2);
    topic_unref(t);
}

static void test_match_ends_with_its_topic(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a"), *other = get(f, "b");

    subscribe(f, 0, "+");
    resolve(f, t);
    resolve(f, other);
    assert_int_equal(f->subs[0].peer.quota.used, 2 * MATCH_BYTES);
    topic_unref(t);
    assert_int_equal(f->subs[0].peer.quota.used, MATCH_BYTES);
    assert_ptr_equal(f->subs[0].sub.matches->topic, other);
    topic_unref(other);
    assert_null(f->subs[0].sub.matches);
}

static void test_match_ends_with_its_subscription_and_the_others_stay(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a");

    for (size_t i = 0; i < 6; i++) {
        subscribe(f, i, i % 2 ? "a" : "+");
    }
    resolve(f, t);
    unsubscribe(f, 0);
    assert_complete(f, t);
    unsubscribe(f, 5);
    unsubscribe(f, 2);
    assert_complete(f, t);
    assert_int_equal(t->n_matches, 3);
    topic_unref(t);
}

/* What a match is charged with pays for its place in any case. */
static void assert_array_is_paid_for(const struct topic *t)
{
    if (t->n_matches_max > 1) {
        assert_true(t->n_matches_max <= 3 * t->n_matches);
    }
}

static void test_one_match_needs_no_array_and_many_leave_none_behind(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a");

    for (size_t turn = 0; turn < 2; turn++) {
        subscribe(f, 0, "a");
        assert_int_equal(t->n_matches_max, 1);
        for (size_t i = 1; i < SUBS; i++) {
            subscribe(f, i, "a");
            assert_array_is_paid_for(t);
        }
        assert_int_equal(t->n_matches_max, 16);
        for (size_t i = 0; i < SUBS - 1; i++) {
            unsubscribe(f, i);
            assert_complete(f, t);
            assert_array_is_paid_for(t);
        }
        assert_int_equal(t->n_matches_max, 1);
        unsubscribe(f, SUBS - 1);
    }
    topic_unref(t);
}

/* The array may stay as it is when there is no memory to make it smaller. */
static void test_matches_end_also_when_their_array_cannot_shrink(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a");

    for (size_t i = 0; i < SUBS; i++) {
        subscribe(f, i, "a");
    }
    failmalloc_arm_from(1);
    for (size_t i = 0; i < SUBS; i++) {
        unsubscribe(f, i);
        assert_complete(f, t);
    }
    assert_true(failmalloc_disarm() > 0);
    subscribe(f, 0, "a");
    unsubscribe(f, 0);
    assert_int_equal(t->n_matches_max, 16 / 2);
    topic_unref(t);
}

static void test_matches_of_a_removed_subscription_end_in_parts(void **state)
{
    struct fixture *f = *state;
    struct topic *t[5];
    unsigned budget = 2;

    subscribe(f, 0, "#");
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        t[i] = get(f, (const char *[]){"a", "b", "c", "d", "e"}[i]);
        resolve(f, t[i]);
    }
    topics_remove_sub(&f->topics, &f->subs[0].sub);
    f->filters[0][0] = '\0';
    assert_false(topics_forget_sub(&f->subs[0].sub, &budget));
    assert_int_equal(budget, 0);
    assert_int_equal(f->subs[0].peer.quota.used, 3 * MATCH_BYTES);
    budget = 10;
    assert_true(topics_forget_sub(&f->subs[0].sub, &budget));
    assert_int_equal(budget, 7);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        assert_complete(f, t[i]);
        topic_unref(t[i]);
    }
}

static void test_new_match_is_not_announced_yet(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a");

    subscribe(f, 0, "a");
    assert_false(t->matches[0]->announced);
    t->matches[0]->announced = true;
    topic_unref(t);
    t = get(f, "a");
    resolve(f, t);
    assert_false(t->matches[0]->announced);
    topic_unref(t);
}

static void test_subscription_that_cannot_be_noted_is_missing_each_time_until_it_can(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a");

    subscribe(f, 0, "+");
    subscribe(f, 1, "#");
    f->quota.limit = MATCH_BYTES;
    for (unsigned i = 0; i < 3; i++) {
        resolve(f, t);
        assert_int_equal(f->n_missing, 1);
        assert_false(topic_is_resolved(t));
        assert_int_equal(t->n_matches, 1);
    }
    f->quota.limit = 1 << 20;
    resolve(f, t);
    assert_int_equal(f->n_missing, 0);
    assert_true(topic_is_resolved(t));
    assert_complete(f, t);
    topic_unref(t);
}

static void test_exact_subscription_that_cannot_be_noted_leaves_its_topic_unresolved(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a");

    resolve(f, t);
    f->quota.limit = 0;
    subscribe(f, 0, "a");
    assert_false(topic_is_resolved(t));
    f->quota.limit = 1 << 20;
    resolve(f, t);
    assert_complete(f, t);
    topic_unref(t);
}

static void test_resolve_leaves_no_mark_behind(void **state)
{
    struct fixture *f = *state;
    struct topic *t = get(f, "a");

    subscribe(f, 0, "+");
    subscribe(f, 1, "a");
    for (unsigned i = 0; i < 2; i++) {
        resolve(f, t);
        assert_int_equal(t->n_matches, 2);
        assert_false(f->subs[0].sub.is_marked);
        assert_false(f->subs[1].sub.is_marked);
    }
    topic_unref(t);
}

static void test_random_changes_keep_resolved_topics_complete(void **state)
{
    static const char *const names[] = {"a", "b", "a/b", "a/c", "b/b", "$s/a", "/", "a/b/c"};
    static const char *const filters[] = {"a",   "a/b", "+",    "#",   "a/+",
                                          "+/b", "a/#", "$s/#", "b/b", "a/b/c"};
    struct fixture *f = *state;
    struct rng rng = rng_from_env();
    struct topic *held[ARRAY_LEN(names)] = {0};

    for (unsigned turn = 0; turn < 4000; turn++) {
        size_t k = rng_below(&rng, (uint32_t) ARRAY_LEN(names)), i = rng_below(&rng, SUBS);

        switch (rng_below(&rng, 4)) {
        case 0:
            if (held[k]) {
                topic_unref(held[k]);
            }
            held[k] = held[k] ? NULL : get(f, names[k]);
            break;
        case 1:
            if (f->filters[i][0]) {
                unsubscribe(f, i);
            } else {
                subscribe(f, i, filters[rng_below(&rng, (uint32_t) ARRAY_LEN(filters))]);
            }
            break;
        default:
            if (held[k] && !topic_is_resolved(held[k])) {
                resolve(f, held[k]);
            }
        }
        for (k = 0; k < ARRAY_LEN(names); k++) {
            if (held[k] && topic_is_resolved(held[k])) {
                assert_complete(f, held[k]);
            }
        }
    }
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        if (held[k]) {
            topic_unref(held[k]);
        }
    }
}

static void test_failing_allocation_makes_no_topic_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    FOR_EACH_FAILING_MALLOC (n) {
        struct topic *t = get(f, "a/b");

        if (t) {
            topic_unref(t);
        }
        assert_int_equal(f->topics.ids.n_used, 0);
        assert_int_equal(f->topics.by_name.n, 0);
    }
}

static void test_failing_allocation_makes_no_subscription_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = f->topics.epoch;

    FOR_EACH_FAILING_MALLOC (n) {
        int r = topics_add_sub(&f->topics, "a/+/b", 5, &f->subs[0].sub);

        if (r == 0) {
            topics_remove_sub(&f->topics, &f->subs[0].sub);
        } else {
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(f->topics.epoch, epoch);
        }
        assert_null(f->topics.filters.root);
    }
}

static void test_failing_allocation_in_resolve_is_handed_over_and_made_good(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < SUBS; i++) {
        subscribe(f, i, i % 2 ? "a" : "#");
    }
    FOR_EACH_FAILING_MALLOC (n) {
        struct topic *t = get(f, "a");

        if (t) {
            resolve(f, t);
            assert_int_equal(t->n_matches + f->n_missing, SUBS);
            assert_int_equal(topic_is_resolved(t), f->n_missing == 0);
            resolve(f, t);
            assert_complete(f, t);
            topic_unref(t);
        }
        assert_int_equal(f->quota.used, 0);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_topic_of_a_name_is_one_while_it_is_held),
        CASE(test_new_topic_finds_older_subscriptions_when_it_is_resolved),
        CASE(test_wildcard_subscription_is_found_at_the_next_resolve_only),
        CASE(test_exact_subscription_is_told_to_its_topic_at_once),
        CASE(test_exact_subscription_of_an_unresolved_topic_is_noted_once),
        CASE(test_match_ends_with_its_topic),
        CASE(test_match_ends_with_its_subscription_and_the_others_stay),
        CASE(test_one_match_needs_no_array_and_many_leave_none_behind),
        CASE(test_matches_end_also_when_their_array_cannot_shrink),
        CASE(test_matches_of_a_removed_subscription_end_in_parts),
        CASE(test_new_match_is_not_announced_yet),
        CASE(test_subscription_that_cannot_be_noted_is_missing_each_time_until_it_can),
        CASE(test_exact_subscription_that_cannot_be_noted_leaves_its_topic_unresolved),
        CASE(test_resolve_leaves_no_mark_behind),
        CASE(test_random_changes_keep_resolved_topics_complete),
        CASE(test_failing_allocation_makes_no_topic_and_leaves_nothing),
        CASE(test_failing_allocation_makes_no_subscription_and_leaves_nothing),
        CASE(test_failing_allocation_in_resolve_is_handed_over_and_made_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
