/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "core/access.h"
#include "support/failmalloc.h"
#include "support/policy_oracle.h"
#include "support/unit.h"

#define OWNER 500u

static struct policy *policy_of(const struct policy_rule *rules, size_t n)
{
    struct policy *p = NULL;

    assert_int_equal(policy_new(rules, n, &p), 0);
    return p;
}

static struct access *access_of(struct policy *p, const struct subject *s)
{
    struct access *a = NULL;

    assert_int_equal(access_new(p, OWNER, s, &a), 0);
    return a;
}

static void assert_place(struct access_verdict v, bool is_allowed, const char *place)
{
    assert_int_equal(v.is_allowed, is_allowed);
    if (v.place.len != strlen(place) || memcmp(v.place.data, place, v.place.len) != 0) {
        fail_msg("\"%.*s\" and not \"%s\" decided", (int) v.place.len, v.place.data, place);
    }
}

/* ---- without rules ---- */

static void test_without_rules_the_owner_and_root_may_everything_and_others_nothing(void **state)
{
    const uint32_t uids[] = {OWNER, 0, 501};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(uids); i++) {
        struct access *a = access_of(NULL, &(struct subject){.uid = uids[i]});
        bool due = uids[i] != 501;

        assert_int_equal(access_topic(a, POLICY_PUBLISH, text_from("a")).is_allowed, due);
        assert_int_equal(access_filter(a, POLICY_SUBSCRIBE, text_from("$bus/#")).is_allowed, due);
        assert_int_equal(access_filter(a, POLICY_MONITOR, text_from("#")).is_allowed, due);
        assert_false(access_filter_partly(a, POLICY_SUBSCRIBE, text_from("#")));
        access_unref(a);
    }
}

static void test_no_rule_among_rules_is_denied_to_everybody(void **state)
{
    struct policy *p = policy_of(NULL, 0);
    struct access *a = access_of(p, &(struct subject){.uid = 0});

    (void) state;
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("a")), false, "");
    assert_place(access_filter(a, POLICY_SUBSCRIBE, text_from("#")), false, "");
    access_unref(a);
    policy_unref(p);
}

/* ---- which rule decides ---- */

#define RULE(is_deny, rights, filter, at, ...)                                                     \
    {                                                                                              \
        .deny = (is_deny), .verbs = (rights), .topic = {(filter), sizeof(filter) - 1},             \
        .place = {(at), sizeof(at) - 1}, __VA_ARGS__                                               \
    }
#define ALLOW(rights, filter, at, ...) RULE(false, rights, filter, at, __VA_ARGS__)
#define DENY(rights, filter, at, ...) RULE(true, rights, filter, at, __VA_ARGS__)

static void test_deny_beats_allow_and_the_most_specific_decides(void **state)
{
    const struct policy_rule rules[] = {
        ALLOW(POLICY_ALL, "#", "all"),
        ALLOW(POLICY_PUBLISH, "a/#", "hash"),
        ALLOW(POLICY_PUBLISH, "a/+", "plus"),
        ALLOW(POLICY_PUBLISH, "a/b", "literal"),
        ALLOW(POLICY_PUBLISH, "a/+", "user", .by_uid = true, .uid = 7),
        ALLOW(POLICY_PUBLISH, "a/+", "group", .by_gid = true, .gid = 9),
        DENY(POLICY_PUBLISH, "a/+/secret", "denied"),
        DENY(POLICY_PUBLISH, "a/b/#", "only verb publish"),
    };
    const uint32_t groups[] = {3, 9};
    struct policy *p = policy_of(rules, ARRAY_LEN(rules));
    struct access *seven =
        access_of(p, &(struct subject){.uid = 7, .groups = groups, .n_groups = 2});
    struct access *other =
        access_of(p, &(struct subject){.uid = 8, .groups = groups, .n_groups = 2});
    struct access *third = access_of(p, &(struct subject){.uid = 8});

    (void) state;
    assert_place(access_topic(seven, POLICY_PUBLISH, text_from("a/x")), true, "user");
    assert_place(access_topic(other, POLICY_PUBLISH, text_from("a/x")), true, "group");
    assert_place(access_topic(third, POLICY_PUBLISH, text_from("a/x")), true, "plus");
    assert_place(access_topic(third, POLICY_PUBLISH, text_from("a/x/y")), true, "hash");
    assert_place(access_topic(third, POLICY_PUBLISH, text_from("x")), true, "all");
    assert_place(access_topic(third, POLICY_PUBLISH, text_from("a/b")), false, "only verb publish");
    assert_place(access_topic(third, POLICY_REQUEST, text_from("a/b")), true, "all");
    assert_place(access_topic(third, POLICY_PUBLISH, text_from("a/c/secret")), false, "denied");
    assert_place(access_topic(third, POLICY_PUBLISH, text_from("$bus/x")), false, "");
    access_unref(seven);
    access_unref(other);
    access_unref(third);
    policy_unref(p);
}

static void test_a_rule_for_a_listener_or_a_label_is_for_no_other(void **state)
{
    const struct policy_rule rules[] = {
        ALLOW(POLICY_ALL, "#", "in", .listener = {"in", 2}),
        ALLOW(POLICY_ALL, "a/#", "label", .label = {"lab", 3}),
        ALLOW(POLICY_ALL, "a/#", "both", .label = {"lab", 3}, .listener = {"in", 2}),
    };
    struct policy *p = policy_of(rules, ARRAY_LEN(rules));
    struct access *in = access_of(p, &(struct subject){.listener = text_from("in")});
    struct access *none = access_of(p, &(struct subject){.listener = text_from("i")});
    struct access *both =
        access_of(p, &(struct subject){.listener = text_from("in"), .label = text_from("lab")});

    (void) state;
    assert_place(access_topic(in, POLICY_PUBLISH, text_from("a")), true, "in");
    assert_place(access_topic(none, POLICY_PUBLISH, text_from("a")), false, "");
    assert_place(access_topic(both, POLICY_PUBLISH, text_from("a")), true, "both");
    access_unref(in);
    access_unref(none);
    access_unref(both);
    policy_unref(p);
}

static void test_what_is_not_known_of_a_subject_denies_and_does_not_allow(void **state)
{
    const struct policy_rule rules[] = {
        DENY(POLICY_PUBLISH, "a", "group", .by_gid = true, .gid = 5),
        DENY(POLICY_PUBLISH, "b", "listener", .listener = {"in", 2}),
        DENY(POLICY_PUBLISH, "c", "label", .label = {"lab", 3}),
        DENY(POLICY_PUBLISH, "d", "user", .by_uid = true, .uid = 8, .by_gid = true, .gid = 5),
        ALLOW(POLICY_PUBLISH, "#", "uid", .by_uid = true, .uid = 7),
        ALLOW(POLICY_ALL, "#", "six", .by_gid = true, .gid = 6),
        ALLOW(POLICY_BLOCK, "#", "four", .by_gid = true, .gid = 4),
    };
    struct policy *p = policy_of(rules, ARRAY_LEN(rules));
    struct access *a = access_of(p, &(struct subject){.uid = 7, .gid = 4, .is_vague = true});

    (void) state;
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("a")), false, "group");
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("b")), false, "listener");
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("c")), false, "label");
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("d")), true, "uid");
    assert_place(access_topic(a, POLICY_REQUEST, text_from("d")), false, "");
    assert_place(access_topic(a, POLICY_BLOCK, text_from("d")), true, "four");
    access_unref(a);
    policy_unref(p);
}

static void test_names_of_the_subject_are_part_of_the_rules(void **state)
{
    const struct policy_rule rules[] = {
        ALLOW(POLICY_ALL, "home/%u/#", "own"),
        ALLOW(POLICY_ALL, "name/%n", "name"),
        DENY(POLICY_ALL, "home/%u/.ssh/#", "ssh"),
    };
    struct policy *p = policy_of(rules, ARRAY_LEN(rules));
    char user[] = "alice";
    struct access *a = access_of(p, &(struct subject){.user = text_from(user)});

    (void) state;
    memset(user, 'x', sizeof(user) - 1);
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("home/alice/x")), true, "own");
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("home/bob/x")), false, "");
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("home/alice/.ssh/x")), false, "ssh");
    assert_place(access_topic(a, POLICY_PUBLISH, text_from("name/")), false, "");
    assert_int_equal(access_subject(a)->user.len, 5);
    assert_memory_equal(access_subject(a)->user.data, "alice", 5);
    access_unref(a);
    policy_unref(p);
}

static void test_what_is_said_of_filters(void **state)
{
    const struct policy_rule rules[] = {
        ALLOW(POLICY_SUBSCRIBE, "a/#", "a"),    ALLOW(POLICY_SUBSCRIBE, "b/+", "b"),
        ALLOW(POLICY_SUBSCRIBE, "c/+", "c"),    DENY(POLICY_SUBSCRIBE, "a/x/+", "x"),
        DENY(POLICY_SUBSCRIBE, "b/#", "not b"),
    };
    struct policy *p = policy_of(rules, ARRAY_LEN(rules));
    struct access *a = access_of(p, &(struct subject){0});
    struct access_verdict v;
    char text[ACCESS_TEXT_MAX];

    (void) state;
    assert_place(access_filter(a, POLICY_SUBSCRIBE, text_from("a/y/#")), true, "a");
    v = access_filter(a, POLICY_SUBSCRIBE, text_from("#"));
    assert_place(v, false, "x");
    assert_true(access_filter_partly(a, POLICY_SUBSCRIBE, text_from("#")));
    v = access_filter(a, POLICY_SUBSCRIBE, text_from("c/#"));
    assert_place(v, false, "c");
    assert_true(access_filter_partly(a, POLICY_SUBSCRIBE, text_from("c/#")));
    assert_int_equal(access_text(&v, text), strlen("c: this rule allows only a part of it"));
    assert_memory_equal(text, "c: this", 7);
    v = access_filter(a, POLICY_SUBSCRIBE, text_from("b/+"));
    assert_place(v, false, "not b");
    assert_false(access_filter_partly(a, POLICY_SUBSCRIBE, text_from("b/+")));
    v = access_filter(a, POLICY_SUBSCRIBE, text_from("d/#"));
    assert_place(v, false, "");
    assert_false(access_filter_partly(a, POLICY_SUBSCRIBE, text_from("d/#")));
    assert_int_equal(access_text(&v, text), strlen("no rule allows it"));
    access_unref(a);
    policy_unref(p);
}

static void test_a_long_place_leaves_room_for_the_reason(void **state)
{
    static char place[2000];
    struct access_verdict v = {.place = {place, sizeof(place)}, .why = "because"};
    char text[ACCESS_TEXT_MAX];

    (void) state;
    memset(place, 'p', sizeof(place));
    assert_int_equal(access_text(&v, text), ACCESS_TEXT_MAX);
    assert_memory_equal(text + ACCESS_TEXT_MAX - 9, ": because", 9);
}

/* ---- against the plain reading of the rules ---- */

static void compare(const struct oracle *o, const struct access *a, struct rng *rng)
{
    for (size_t k = 0; k < o->n_topics; k++) {
        bool due = oracle_topic(o, POLICY_SUBSCRIBE, o->topics[k]);

        if (access_topic(a, POLICY_SUBSCRIBE, text_from(o->topics[k])).is_allowed != due) {
            fail_msg("topic \"%s\"", o->topics[k]);
        }
    }
    for (unsigned i = 0; i < 40; i++) {
        char filter[ORACLE_TEXT];
        struct access_verdict v;
        bool is_partial;

        oracle_random_filter(rng, filter);
        v = access_filter(a, POLICY_SUBSCRIBE, text_from(filter));
        is_partial = access_filter_partly(a, POLICY_SUBSCRIBE, text_from(filter));
        if (v.is_allowed != oracle_filter(o, POLICY_SUBSCRIBE, filter) ||
            (!v.is_allowed && is_partial != oracle_partial(o, POLICY_SUBSCRIBE, filter))) {
            fail_msg("filter \"%s\": %d %d", filter, v.is_allowed, is_partial);
        }
    }
}

static void test_random_rules_say_what_their_topics_say(void **state)
{
    static struct oracle o;
    struct rng rng = rng_from_env();

    (void) state;
    oracle_init(&o);
    for (unsigned turn = 0; turn < 300; turn++) {
        struct policy *p;
        struct access *a;

        oracle_random(&o, &rng, 1 + rng_below(&rng, ORACLE_RULES));
        p = policy_of(o.rules, o.n);
        a = access_of(p, &o.subject);
        compare(&o, a, &rng);
        access_unref(a);
        policy_unref(p);
    }
}

static void test_memory_that_runs_out(void **state)
{
    const struct policy_rule rules[] = {ALLOW(POLICY_ALL, "%u/#", "own")};
    struct subject s = {.user = text_from("alice")};
    struct policy *p = policy_of(rules, 1);

    (void) state;
    FOR_EACH_FAILING_MALLOC (n) {
        struct access_verdict v;
        struct access *a = NULL;
        int r = access_new(p, OWNER, &s, &a);

        assert_true(r == (a ? 0 : -ENOMEM));
        access_unref(a);
        r = policy_explain(p, OWNER, &s, POLICY_PUBLISH, text_from("alice/x"), &v);
        assert_true(r == -ENOMEM || v.is_allowed);
    }
    policy_unref(p);
}

static void test_explaining(void **state)
{
    const struct policy_rule rules[] = {ALLOW(POLICY_ALL, "%u/#", "own")};
    struct subject s = {.user = text_from("alice")};
    struct policy *p = policy_of(rules, 1);
    struct access_verdict v;

    (void) state;
    assert_int_equal(policy_explain(p, OWNER, &s, POLICY_SUBSCRIBE, text_from("alice/+"), &v), 0);
    assert_place(v, true, "own");
    assert_int_equal(policy_explain(p, OWNER, &s, POLICY_PUBLISH, text_from("alice/+"), &v),
                     -EINVAL);
    assert_int_equal(policy_explain(p, OWNER, &s, POLICY_PUBLISH, text_from(""), &v), -EINVAL);
    assert_int_equal(policy_explain(NULL, OWNER, &s, POLICY_PUBLISH, text_from("a"), &v), 0);
    assert_place(v, true, "");
    policy_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_rules_the_owner_and_root_may_everything_and_others_nothing),
        cmocka_unit_test(test_no_rule_among_rules_is_denied_to_everybody),
        cmocka_unit_test(test_deny_beats_allow_and_the_most_specific_decides),
        cmocka_unit_test(test_a_rule_for_a_listener_or_a_label_is_for_no_other),
        cmocka_unit_test(test_what_is_not_known_of_a_subject_denies_and_does_not_allow),
        cmocka_unit_test(test_names_of_the_subject_are_part_of_the_rules),
        cmocka_unit_test(test_what_is_said_of_filters),
        cmocka_unit_test(test_a_long_place_leaves_room_for_the_reason),
        cmocka_unit_test(test_random_rules_say_what_their_topics_say),
        cmocka_unit_test(test_memory_that_runs_out),
        cmocka_unit_test(test_explaining),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
