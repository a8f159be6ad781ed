/* SPDX-License-Identifier: MIT */
/* Which lane a user's links are in. */
#include "support/failmalloc.h"
#include "support/unit.h"
#include "turns.h"

static void test_links_of_a_user_are_in_one_lane(void **state)
{
    struct lanes lanes;
    struct turns turns = {.lanes = &lanes};
    struct user_lane *a, *b;

    (void) state;
    lanes_init(&lanes);
    a = turns_get(&turns, 1);
    b = turns_get(&turns, 2);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(turns_get(&turns, 1), a);
    assert_int_equal(a->refs, 2);
    turns_fini(&turns);
}

static void test_debts_stay_until_they_are_paid(void **state)
{
    struct lanes lanes;
    struct turns turns = {.lanes = &lanes};
    struct user_lane *a;

    (void) state;
    lanes_init(&lanes);
    lanes_turn(&lanes);
    a = turns_get(&turns, 1);
    assert_true(lane_may_go(&a->lane));
    lane_spend(&a->lane, 10 * LANE_TURN_ALONE);
    turns_put(a);
    turns_put(turns_get(&turns, 2)); /* would remove it */
    assert_ptr_equal(turns_get(&turns, 1), a);
    assert_false(lane_may_go(&a->lane));
    turns_put(a);
    for (unsigned i = 0; i < 1000; i++) {
        lanes_turn(&lanes);
    }
    turns_put(turns_get(&turns, 2));
    assert_int_equal(turns.users->uid, 2);
    assert_null(turns.users->next);
    turns_fini(&turns);
}

static void test_without_memory_there_is_none(void **state)
{
    struct lanes lanes;
    struct turns turns = {.lanes = &lanes};

    (void) state;
    lanes_init(&lanes);
    failmalloc_arm(1);
    assert_null(turns_get(&turns, 1));
    assert_int_equal(failmalloc_disarm(), 1);
    turns_put(NULL);
    turns_fini(&turns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_of_a_user_are_in_one_lane),
        cmocka_unit_test(test_debts_stay_until_they_are_paid),
        cmocka_unit_test(test_without_memory_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
