/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "core/policy.h"
#include "core/template.h"
#include "support/failmalloc.h"
#include "support/unit.h"

static const char *check(bool deny, uint32_t rights, const char *topic)
{
    struct policy_rule rule = {.deny = deny, .verbs = rights, .topic = text_from(topic)};

    return policy_rule_check(&rule);
}

static void test_verbs_have_words(void **state)
{
    (void) state;
    assert_int_equal(policy_verb_find(text_from("publish")), POLICY_PUBLISH);
    assert_int_equal(policy_verb_find(text_from("descriptors")), POLICY_DESCRIPTORS);
    assert_int_equal(policy_verb_find(text_from("publis")), 0);
    assert_int_equal(policy_verb_find(text_from("")), 0);
    assert_string_equal(policy_verb_name(POLICY_SERVE), "serve");
    assert_string_equal(policy_verb_name(POLICY_SERVE | POLICY_BLOCK), "?");
    assert_int_equal(POLICY_ALL, 255);
}

static void test_rules_are_checked(void **state)
{
    (void) state;
    assert_null(check(false, POLICY_ALL, "#"));
    assert_null(check(false, POLICY_PUBLISH, "a/%u/%U-%g.%G/%n/%%/#"));
    assert_null(check(true, POLICY_PUBLISH, "a/%u/%%n"));
    assert_non_null(check(false, 0, "#"));
    assert_non_null(check(false, 256, "#"));
    assert_non_null(check(false, POLICY_PUBLISH, ""));
    assert_non_null(check(false, POLICY_PUBLISH, "a/#/b"));
    assert_non_null(check(false, POLICY_PUBLISH, "a/%x"));
    assert_non_null(check(false, POLICY_PUBLISH, "a/%"));
    assert_non_null(check(true, POLICY_PUBLISH, "a/%n"));
    assert_non_null(check(true, POLICY_PUBLISH, "a/%%%n"));
}

static void expect(const char *template, const struct subject *s, bool wild, const char *filter)
{
    char dst[BUS_TOPIC_MAX];
    size_t len = template_expand(text_from(template), s, wild, dst);

    if (len != strlen(filter) || memcmp(dst, filter, len) != 0) {
        fail_msg("%s: \"%.*s\" and not \"%s\"", template, (int) len, dst, filter);
    }
}

static void test_names_are_put_in(void **state)
{
    struct subject s = {.uid = 1000,
                        .gid = 100,
                        .user = text_from("alice"),
                        .group = text_from("users"),
                        .name = text_from("shell")};

    (void) state;
    expect("home/%u/#", &s, false, "home/alice/#");
    expect("%U/%g-%G/%n", &s, false, "1000/users-100/shell");
    expect("a/%%u/+", &s, true, "a/%u/+");
    s.uid = UINT32_MAX;
    s.gid = 0;
    expect("%U.%G", &s, true, "4294967295.0");
}

static void test_names_that_do_not_fit_allow_nothing_and_deny_more(void **state)
{
    static const char *const names[] = {"",     "a/b",  "+",    "#",       "a+",
                                        "a\nb", "\x7f", "\xff", "\xc2\x85"};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct subject s = {.user = text_from(names[i])};

        expect("home/x-%u/#", &s, false, "");
        expect("home/x-%u/#", &s, true, "home/+/#");
        expect("%u/%U/b", &s, true, "+/+/b");
    }
}

static void test_a_name_is_no_way_to_topics_with_a_dollar(void **state)
{
    struct subject s = {.user = text_from("$bus"), .name = text_from("us")};

    (void) state;
    expect("%u/#", &s, false, "");
    expect("$b%n/#", &s, false, "");
    expect("%u/#", &s, true, "$bus/#");
    expect("a/%u", &s, false, "a/$bus");
    expect("$bus/%n", &s, false, "$bus/us");
}

static void test_a_filter_that_gets_too_long_is_like_a_name_that_does_not_fit(void **state)
{
    char name[254];
    struct subject s = {.user = {name, sizeof(name)}};

    (void) state;
    memset(name, 'n', sizeof(name));
    expect("a/%u", &s, false, "");
    expect("a/%u", &s, true, "a/+");
    s.user.len = 253;
    name[253] = 0;
    char dst[BUS_TOPIC_MAX];
    assert_int_equal(template_expand(text_from("a/%u"), &s, false, dst), 255);
}

static void test_a_policy_keeps_its_own_texts(void **state)
{
    char topic[] = "home/%u", place[] = "file:1", listener[] = "in", label[] = "lab";
    struct policy_rule rule = {.verbs = POLICY_PUBLISH,
                               .by_uid = true,
                               .uid = 7,
                               .topic = text_from(topic),
                               .place = text_from(place),
                               .listener = text_from(listener),
                               .label = text_from(label)};
    struct policy *p = NULL;

    (void) state;
    assert_int_equal(policy_new(&rule, 1, &p), 0);
    memset(topic, 0, sizeof(topic));
    memset(place, 0, sizeof(place));
    memset(listener, 0, sizeof(listener));
    memset(label, 0, sizeof(label));
    assert_int_equal(policy_count(p), 1);
    assert_memory_equal(policy_rule_at(p, 0)->topic.data, "home/%u", 7);
    assert_memory_equal(policy_rule_at(p, 0)->place.data, "file:1", 6);
    assert_memory_equal(policy_rule_at(p, 0)->listener.data, "in", 2);
    assert_memory_equal(policy_rule_at(p, 0)->label.data, "lab", 3);
    assert_int_equal(policy_rule_at(p, 0)->uid, 7);
    assert_true(policy_needs_names(p));
    assert_false(policy_needs_client_name(p));
    policy_unref(policy_ref(p));
    policy_unref(p);
}

static void test_what_names_are_needed(void **state)
{
    struct policy_rule rules[] = {{.verbs = POLICY_PUBLISH, .topic = text_from("%%u/%U/%G")},
                                  {.verbs = POLICY_PUBLISH, .topic = text_from("%n")}};
    struct policy *p = NULL;

    (void) state;
    assert_int_equal(policy_new(rules, 2, &p), 0);
    assert_false(policy_needs_names(p));
    assert_true(policy_needs_client_name(p));
    policy_unref(p);
    assert_false(policy_needs_names(NULL));
    policy_unref(NULL);
    assert_null(policy_ref(NULL));
}

static void test_rules_that_are_not_valid_make_no_policy(void **state)
{
    static struct policy_rule many[POLICY_RULES_MAX + 1];
    struct policy_rule rule = {.verbs = POLICY_PUBLISH, .topic = text_from("a/%x")};
    struct policy *p = NULL;

    (void) state;
    assert_int_equal(policy_new(&rule, 1, &p), -EINVAL);
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = (struct policy_rule){.verbs = POLICY_PUBLISH, .topic = text_from("a")};
    }
    assert_int_equal(policy_new(many, ARRAY_LEN(many), &p), -EINVAL);
    assert_int_equal(policy_new(many, POLICY_RULES_MAX, &p), 0);
    policy_unref(p);
    p = NULL;
    FOR_EACH_FAILING_MALLOC (n) {
        int r = policy_new(many, 3, &p);

        assert_true(r == 0 || r == -ENOMEM);
        policy_unref(TAKE(p));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs_have_words),
        cmocka_unit_test(test_rules_are_checked),
        cmocka_unit_test(test_names_are_put_in),
        cmocka_unit_test(test_names_that_do_not_fit_allow_nothing_and_deny_more),
        cmocka_unit_test(test_a_name_is_no_way_to_topics_with_a_dollar),
        cmocka_unit_test(test_a_filter_that_gets_too_long_is_like_a_name_that_does_not_fit),
        cmocka_unit_test(test_a_policy_keeps_its_own_texts),
        cmocka_unit_test(test_what_names_are_needed),
        cmocka_unit_test(test_rules_that_are_not_valid_make_no_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
