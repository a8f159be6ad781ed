/* SPDX-License-Identifier: MIT */
/* Gaps of different reasons between two messages take no more room than there are reasons. */
#include "core/subq.h"
#include "support/failmalloc.h"
#include "support/subq_fixture.h"

/* Policy latest, and every other message is too large for the link. */
static void test_gaps_of_changing_reasons_do_not_grow_without_end(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    push(f, 0, 0, 10);
    for (uint64_t i = 1; i <= 10000; i++) {
        lose(f, BUS_LOSS_TOO_LARGE, 1, 100);
        assert_true(subq_supersede(&f->q, &f->match[0], &bytes));
        push(f, 0, i, 10);
    }
    subq_check(&f->q);
    assert_true(f->q.capacity <= 64);
    while (f->q.n_messages > 0) {
        enum bus_loss_reason reason = BUS_LOSS_NONE;
        struct match *match;
        struct gap gap;

        if (subq_front(&f->q, &match, &gap, &reason)) {
            break;
        }
        bytes -= reason == BUS_LOSS_CONFLATED ? gap.bytes : 0;
        subq_pop(&f->q, &no_bounds, on_release);
    }
    assert_int_equal(bytes, 0);
    assert_message(f, 10000);
    assert_empty(f);
}

/* ---- from the other end ---- */

static void test_the_newest_goes_and_leaves_its_gap(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    assert_null(subq_newest(&f->q));
    assert_null(subq_oldest(&f->q));
    assert_false(subq_evict_newest(&f->q, BUS_LOSS_NO_MEMORY, &bytes));
    for (uint64_t i = 0; i < 3; i++) {
        push(f, 0, i, 10 + i);
    }
    lose(f, BUS_LOSS_TOO_LARGE, 2, 200);
    assert_int_equal(number_of(subq_oldest(&f->q)), 0);
    assert_int_equal(number_of(subq_newest(&f->q)), 2);
    assert_true(subq_evict_newest(&f->q, BUS_LOSS_NO_MEMORY, &bytes));
    assert_true(subq_evict_newest(&f->q, BUS_LOSS_NO_MEMORY, &bytes));
    assert_int_equal(bytes, 23);
    subq_check(&f->q);
    push(f, 0, 7, 10);
    assert_message(f, 0);
    assert_gap(f, BUS_LOSS_NO_MEMORY, 2, 23);
    assert_gap(f, BUS_LOSS_TOO_LARGE, 2, 200);
    assert_message(f, 7);
    assert_empty(f);
}

static void test_a_queue_that_was_long_gives_memory_back(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0, before;
    uint32_t capacity;

    for (uint64_t i = 0; i < 1000; i++) {
        push(f, 0, i, 10);
    }
    before = f->quota.used;
    capacity = f->q.capacity;
    while (f->q.n_messages > 10) {
        assert_true(subq_evict(&f->q, BUS_LOSS_NO_MEMORY, &bytes));
    }
    failmalloc_arm(1);
    subq_shrink(&f->q); /* then not now */
    assert_int_equal(failmalloc_disarm(), 1);
    assert_int_equal(f->q.capacity, capacity);
    subq_shrink(&f->q);
    assert_true(f->q.capacity < capacity / 8);
    assert_true(f->quota.used < before / 10);
    subq_check(&f->q);
    assert_gap(f, BUS_LOSS_NO_MEMORY, 990, 9900);
    for (uint64_t i = 990; i < 1000; i++) {
        assert_message(f, i);
    }
    push(f, 1, 1000, 10);
    assert_message(f, 1000);
    assert_empty(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gaps_of_changing_reasons_do_not_grow_without_end,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_newest_goes_and_leaves_its_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_queue_that_was_long_gives_memory_back, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
