/* SPDX-License-Identifier: MIT */
/* Gaps of different reasons between two messages take no more room than there are reasons. */
#include "core/subq.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gaps_of_changing_reasons_do_not_grow_without_end,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
