/* SPDX-License-Identifier: MIT */
#include "core/quota.h"
#include "support/unit.h"

static void test_charge_is_counted_in_every_quota_above_it(void **state)
{
    struct quota all, one, other;
    struct charge a, b;

    (void) state;
    quota_init(&all, 100, NULL);
    quota_init(&one, 60, &all);
    quota_init(&other, 60, &all);
    charge_init(&a, &one);
    charge_init(&b, &other);
    assert_true(charge_add(&a, 40));
    assert_true(charge_add(&b, 50));
    assert_int_equal(all.used, 90);
    assert_int_equal(one.used, 40);
    charge_fini(&a);
    assert_int_equal(one.used, 0);
    assert_int_equal(all.used, 50);
    charge_release(&b, 20);
    assert_int_equal(b.bytes, 30);
    charge_fini(&b);
    assert_int_equal(all.used, 0);
}

static void test_charge_reaches_its_bound_exactly_and_not_beyond(void **state)
{
    struct quota q;
    struct charge c;

    (void) state;
    quota_init(&q, 10, NULL);
    charge_init(&c, &q);
    assert_false(charge_add(&c, 11));
    assert_true(charge_add(&c, 10));
    assert_false(charge_add(&c, 1));
    assert_true(charge_add(&c, 0));
    assert_int_equal(c.bytes, 10);
    assert_int_equal(q.used, 10);
    charge_fini(&c);
}

/* For objects that compute their charge instead of keeping it. */
static void test_quota_is_used_without_a_charge_within_the_same_bounds(void **state)
{
    struct quota all, one;

    (void) state;
    quota_init(&all, 10, NULL);
    quota_init(&one, 8, &all);
    assert_false(quota_add(&one, 9));
    assert_true(quota_add(&one, 8));
    assert_int_equal(all.used, 8);
    quota_force(&one, 5);
    assert_int_equal(all.used, 13);
    quota_release(&one, 13);
    assert_int_equal(one.used, 0);
    assert_int_equal(all.used, 0);
}

static void test_refused_charge_changes_nothing_at_any_level(void **state)
{
    struct quota all, one;
    struct charge c;

    (void) state;
    quota_init(&all, 10, NULL);
    quota_init(&one, 100, &all);
    charge_init(&c, &one);
    assert_true(charge_add(&c, 8));
    assert_false(charge_add(&c, 3));
    assert_int_equal(c.bytes, 8);
    assert_int_equal(one.used, 8);
    assert_int_equal(all.used, 8);
    charge_fini(&c);
}

static void test_forced_charge_passes_the_bound_and_closes_it_for_others(void **state)
{
    struct quota q;
    struct charge forced, polite;

    (void) state;
    quota_init(&q, 10, NULL);
    charge_init(&forced, &q);
    charge_init(&polite, &q);
    charge_force(&forced, 25);
    assert_int_equal(q.used, 25);
    assert_false(charge_add(&polite, 0));
    assert_false(charge_add(&polite, UINT64_MAX));
    charge_release(&forced, 20);
    assert_true(charge_add(&polite, 5));
    charge_fini(&forced);
    charge_fini(&polite);
    assert_int_equal(q.used, 0);
}

static void test_amounts_near_the_largest_number_do_not_wrap(void **state)
{
    struct quota q;
    struct charge c;

    (void) state;
    quota_init(&q, UINT64_MAX, NULL);
    charge_init(&c, &q);
    assert_true(charge_add(&c, UINT64_MAX - 5));
    assert_false(charge_add(&c, 6));
    assert_true(charge_add(&c, 5));
    charge_fini(&c);
    assert_int_equal(q.used, 0);
}

static void test_charge_of_nobody_ends_without_effect(void **state)
{
    struct charge c = {0};

    (void) state;
    charge_fini(&c);
    assert_int_equal(c.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_charge_is_counted_in_every_quota_above_it),
        cmocka_unit_test(test_charge_reaches_its_bound_exactly_and_not_beyond),
        cmocka_unit_test(test_quota_is_used_without_a_charge_within_the_same_bounds),
        cmocka_unit_test(test_refused_charge_changes_nothing_at_any_level),
        cmocka_unit_test(test_forced_charge_passes_the_bound_and_closes_it_for_others),
        cmocka_unit_test(test_amounts_near_the_largest_number_do_not_wrap),
        cmocka_unit_test(test_charge_of_nobody_ends_without_effect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
