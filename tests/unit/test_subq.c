/* SPDX-License-Identifier: MIT */
#include "core/subq.h"
#include "support/failmalloc.h"
#include "support/subq_fixture.h"

/* ---- in and out ---- */

static void test_messages_come_out_in_order_and_are_counted(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < 100; i++) {
        push(f, i % TOPICS, i, 10 + i);
        assert_int_equal(f->q.n_messages, i + 1);
    }
    assert_int_equal(f->q.bytes, 100 * 10 + 99 * 50);
    for (uint64_t i = 0; i < 100; i++) {
        assert_message(f, i);
    }
    assert_empty(f);
}

static void test_empty_queue_holds_no_memory(void **state)
{
    struct fixture *f = *state;

    assert_true(subq_is_empty(&f->q));
    assert_null(f->q.ring);
    assert_int_equal(f->charge.bytes, 0);
}

static void test_queue_takes_a_reference_and_a_charge_for_each_message(void **state)
{
    struct fixture *f = *state;
    struct message *m = make(f, 0, 1, 5);
    uint64_t ring;

    push(f, 1, 0, 1);
    ring = f->charge.bytes - message_memory(m);
    assert_true(subq_prepare(&f->q, m));
    subq_push(&f->q, m, &f->match[0]);
    assert_int_equal(m->refs, 2);
    assert_int_equal(f->charge.bytes, ring + 2 * message_memory(m));
    assert_message(f, 0);
    assert_message(f, 1);
    assert_int_equal(m->refs, 1);
    assert_int_equal(f->charge.bytes, ring);
    message_unref(m);
}

static void test_ring_grows_with_a_head_anywhere_in_it(void **state)
{
    for (uint64_t shift = 0; shift < 40; shift++) {
        struct fixture *f = *state;

        for (uint64_t i = 0; i < shift; i++) {
            push(f, 0, i, 1);
            assert_message(f, i);
        }
        for (uint64_t i = 0; i < 70; i++) {
            push(f, i % TOPICS, i, 1);
        }
        for (uint64_t i = 0; i < 70; i++) {
            assert_message(f, i);
        }
        (void) teardown(state);
        (void) setup(state);
    }
}

static void test_bounds_count_messages_and_bytes_and_an_empty_queue_takes_any_size(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {3, 100};

    assert_true(subq_fits(&f->q, &b, 1000000));
    push(f, 0, 1, 60);
    assert_true(subq_fits(&f->q, &b, 40));
    assert_false(subq_fits(&f->q, &b, 41));
    push(f, 0, 2, 40);
    assert_true(subq_fits(&f->q, &b, 0));
    assert_false(subq_fits(&f->q, &b, 1));
    push(f, 0, 3, 0);
    assert_false(subq_fits(&f->q, &b, 0));
    assert_message(f, 1);
    assert_true(subq_fits(&f->q, &b, 60));
    push(f, 0, 4, 200); /* beyond the bounds: no size fits any more */
    assert_message(f, 2);
    assert_false(subq_fits(&f->q, &b, 0));
}

/* ---- gaps ---- */

static void test_gap_stands_where_it_was_noted(void **state)
{
    struct fixture *f = *state;

    push(f, 0, 1, 5);
    lose(f, BUS_LOSS_QUEUE_FULL, 1, 7);
    push(f, 0, 2, 5);
    lose(f, BUS_LOSS_TOO_LARGE, 1, 9);
    assert_message(f, 1);
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 1, 7);
    assert_message(f, 2);
    assert_gap(f, BUS_LOSS_TOO_LARGE, 1, 9);
    assert_empty(f);
}

static void test_losses_behind_one_message_are_summed_by_reason(void **state)
{
    struct fixture *f = *state;

    push(f, 0, 1, 5);
    for (unsigned i = 0; i < 100; i++) {
        lose(f, BUS_LOSS_QUEUE_FULL, 1, 3);
        lose(f, BUS_LOSS_TOO_LARGE, 2, 5);
    }
    assert_int_equal(f->q.tail - f->q.head, 3);
    assert_message(f, 1);
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 100, 300);
    assert_gap(f, BUS_LOSS_TOO_LARGE, 200, 500);
    assert_empty(f);
}

static void test_losses_on_both_sides_of_a_message_stay_apart(void **state)
{
    struct fixture *f = *state;

    lose(f, BUS_LOSS_QUEUE_FULL, 1, 1);
    push(f, 0, 1, 5);
    lose(f, BUS_LOSS_QUEUE_FULL, 2, 2);
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 1, 1);
    assert_message(f, 1);
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 2, 2);
}

static void test_a_gap_of_every_reason_needs_no_memory_behind_any_number_of_messages(void **state)
{
    struct fixture *f = *state;

    for (uint64_t n = 0; n < 100; n++) {
        push(f, 0, n, 1);
        failmalloc_arm_from(1);
        for (unsigned reason = 1; reason < SUBQ_REASONS; reason++) {
            lose(f, (enum bus_loss_reason) reason, 1, 1);
        }
        assert_int_equal(failmalloc_disarm(), 0);
        assert_int_equal(f->q.starved.count, 0);
        for (unsigned i = 1; i < SUBQ_REASONS; i++) {
            f->q.tail--; /* forget them: only the room was asked for */
        }
    }
}

static void test_loss_without_any_memory_is_kept_and_comes_last(void **state)
{
    struct fixture *f = *state;

    failmalloc_arm_from(1);
    lose(f, BUS_LOSS_QUEUE_FULL, 2, 20);
    lose(f, BUS_LOSS_CONFLATED, 1, 1);
    (void) failmalloc_disarm();
    assert_false(subq_is_empty(&f->q));
    assert_null(f->q.ring);
    assert_gap(f, BUS_LOSS_NO_MEMORY, 3, 21);
    assert_empty(f);
}

static void test_starved_loss_stands_before_the_next_message(void **state)
{
    struct fixture *f = *state;

    f->quota.limit = 0;
    lose(f, BUS_LOSS_QUEUE_FULL, 2, 20);
    f->quota.limit = 1 << 20;
    lose(f, BUS_LOSS_TOO_LARGE, 1, 1); /* behind the starved one, so together with it */
    push(f, 0, 1, 5);
    lose(f, BUS_LOSS_TOO_LARGE, 1, 1);
    assert_gap(f, BUS_LOSS_NO_MEMORY, 3, 21);
    assert_message(f, 1);
    assert_gap(f, BUS_LOSS_TOO_LARGE, 1, 1);
    assert_empty(f);
}

/* ---- memory ---- */

static void test_message_that_cannot_be_paid_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct message *m = make(f, 0, 1, 1);
    uint64_t used;

    f->quota.limit = 10;
    assert_false(subq_prepare(&f->q, m));
    assert_int_equal(f->charge.bytes, 0);
    f->quota.limit = 1 << 20;
    failmalloc_arm_from(1);
    assert_false(subq_prepare(&f->q, m));
    (void) failmalloc_disarm();
    assert_int_equal(f->charge.bytes, 0);
    push(f, 0, 0, 1);
    used = f->charge.bytes;
    f->quota.limit = used + message_memory(m) - 1;
    assert_false(subq_prepare(&f->q, m));
    assert_int_equal(f->charge.bytes, used);
    f->quota.limit++;
    assert_true(subq_prepare(&f->q, m));
    subq_push(&f->q, m, &f->match[0]);
    message_unref(m);
}

static void test_failed_growth_keeps_what_waits(void **state)
{
    struct fixture *f = *state;
    struct message *m = make(f, 0, 99, 1);
    uint64_t n = 0;

    for (bool full = false; !full;) {
        failmalloc_arm_from(1);
        full = !subq_prepare(&f->q, m) && n > 0;
        if (failmalloc_disarm() == 0) {
            charge_release(&f->charge, message_memory(m));
        }
        if (!full) {
            push(f, 0, n++, 1);
        }
    }
    message_unref(m);
    assert_true(n > 5);
    for (uint64_t i = 0; i < n; i++) {
        assert_message(f, i);
    }
    assert_empty(f);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_messages_come_out_in_order_and_are_counted),
        CASE(test_empty_queue_holds_no_memory),
        CASE(test_queue_takes_a_reference_and_a_charge_for_each_message),
        CASE(test_ring_grows_with_a_head_anywhere_in_it),
        CASE(test_bounds_count_messages_and_bytes_and_an_empty_queue_takes_any_size),
        CASE(test_gap_stands_where_it_was_noted),
        CASE(test_losses_behind_one_message_are_summed_by_reason),
        CASE(test_losses_on_both_sides_of_a_message_stay_apart),
        CASE(test_a_gap_of_every_reason_needs_no_memory_behind_any_number_of_messages),
        CASE(test_loss_without_any_memory_is_kept_and_comes_last),
        CASE(test_starved_loss_stands_before_the_next_message),
        CASE(test_message_that_cannot_be_paid_changes_nothing),
        CASE(test_failed_growth_keeps_what_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
