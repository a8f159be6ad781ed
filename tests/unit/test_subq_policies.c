/* SPDX-License-Identifier: MIT */
/* What each policy does to a queue. */
#include "core/subq.h"
#include "support/subq_fixture.h"

/* ---- drop_oldest ---- */

static void test_evicted_message_leaves_a_gap_in_its_place(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    push(f, 0, 1, 10);
    push(f, 0, 2, 20);
    push(f, 0, 3, 30);
    assert_true(subq_evict(&f->q, BUS_LOSS_QUEUE_FULL, &bytes));
    assert_true(subq_evict(&f->q, BUS_LOSS_QUEUE_FULL, &bytes));
    assert_int_equal(bytes, 30);
    assert_int_equal(f->q.bytes, 30);
    assert_int_equal(f->q.tail - f->q.head, 2); /* the gaps are one */
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 2, 30);
    assert_message(f, 3);
    assert_false(subq_evict(&f->q, BUS_LOSS_QUEUE_FULL, &bytes));
    assert_int_equal(bytes, 30);
}

static void test_eviction_gathers_the_gaps_before_it_by_reason(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    lose(f, BUS_LOSS_TOO_LARGE, 4, 40);
    push(f, 0, 1, 10);
    lose(f, BUS_LOSS_QUEUE_FULL, 1, 1);
    lose(f, BUS_LOSS_NO_MEMORY, 2, 2);
    push(f, 0, 2, 20);
    push(f, 0, 3, 30);
    assert_true(subq_evict(&f->q, BUS_LOSS_QUEUE_FULL, &bytes));
    subq_check(&f->q);
    assert_true(subq_evict(&f->q, BUS_LOSS_NO_MEMORY, &bytes));
    subq_check(&f->q);
    assert_int_equal(bytes, 30);
    /* adjacent gaps may be told in any order */
    assert_gap(f, BUS_LOSS_TOO_LARGE, 4, 40);
    assert_gap(f, BUS_LOSS_NO_MEMORY, 3, 22);
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 2, 11);
    assert_message(f, 3);
}

static void test_full_queue_that_evicts_for_ever_does_not_grow(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;
    uint32_t capacity;

    for (uint64_t i = 0; i < 50; i++) {
        push(f, 0, i, 1);
    }
    capacity = f->q.capacity;
    for (uint64_t i = 50; i < 5000; i++) {
        assert_true(subq_evict(&f->q, BUS_LOSS_QUEUE_FULL, &bytes));
        push(f, 0, i, 1);
    }
    assert_int_equal(f->q.capacity, capacity);
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 4950, 4950);
    assert_message(f, 4950);
}

/* ---- latest ---- */

static void test_superseded_message_leaves_a_conflated_gap_in_its_place(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    push(f, 0, 1, 10);
    push(f, 1, 2, 20);
    push(f, 2, 3, 30);
    assert_true(subq_supersede(&f->q, &f->match[1], &bytes));
    assert_int_equal(bytes, 20);
    push(f, 1, 4, 40);
    assert_message(f, 1);
    assert_gap(f, BUS_LOSS_CONFLATED, 1, 20);
    assert_message(f, 3);
    assert_message(f, 4);
    assert_empty(f);
}

static void test_nothing_is_superseded_where_no_message_of_the_topic_waits(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    assert_false(subq_supersede(&f->q, &f->match[0], &bytes));
    push(f, 0, 1, 10);
    assert_false(subq_supersede(&f->q, &f->match[1], &bytes)); /* position 0 is another's */
    assert_true(subq_supersede(&f->q, &f->match[0], &bytes));
    assert_false(subq_supersede(&f->q, &f->match[0], &bytes)); /* a gap is there now */
    push(f, 0, 2, 10);
    assert_gap(f, BUS_LOSS_CONFLATED, 1, 10);
    assert_message(f, 2);
    assert_false(subq_supersede(&f->q, &f->match[0], &bytes)); /* it has left */
    assert_int_equal(bytes, 10);
}

static void test_adjacent_conflated_gaps_come_out_as_one(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    for (size_t i = 0; i < 4; i++) {
        push(f, i, i, 10);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_true(subq_supersede(&f->q, &f->match[i], &bytes));
    }
    assert_gap(f, BUS_LOSS_CONFLATED, 3, 30);
    assert_message(f, 3);
}

static void test_one_topic_that_changes_for_ever_does_not_grow_the_ring(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    push(f, 1, 1, 1);
    push(f, 0, 2, 1);
    for (uint64_t i = 3; i < 5000; i++) {
        assert_true(subq_supersede(&f->q, &f->match[0], &bytes));
        push(f, 0, i, 1);
        subq_check(&f->q);
        assert_int_equal(f->q.n_messages, 2);
    }
    assert_true(f->q.capacity <= 32);
    assert_int_equal(bytes, 4997);
    assert_message(f, 1);
    assert_gap(f, BUS_LOSS_CONFLATED, 4997, 4997);
    assert_message(f, 4999);
}

static void test_gaps_of_different_reasons_are_told_apart_in_any_growth(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0, lost[SUBQ_REASONS] = {0};

    for (uint64_t i = 0; i < 100; i++) {
        push(f, 0, i, 1);
        lose(f, BUS_LOSS_TOO_LARGE, 1, 2);
        assert_true(subq_supersede(&f->q, &f->match[0], &bytes));
    }
    while (!subq_is_empty(&f->q)) {
        enum bus_loss_reason reason;
        struct match *match;
        struct gap gap;

        assert_null(subq_front(&f->q, &match, &gap, &reason));
        assert_int_equal(gap.bytes, gap.count * (reason == BUS_LOSS_CONFLATED ? 1 : 2));
        lost[reason] += gap.count;
        subq_pop(&f->q, &no_bounds, on_release);
    }
    assert_int_equal(lost[BUS_LOSS_CONFLATED], 100);
    assert_int_equal(lost[BUS_LOSS_TOO_LARGE], 100);
    assert_empty(f);
}

/* Everything is numbered: what comes out before number n is n - 1 messages and losses. Of each
 * topic only the newest waits. */
static void test_latest_finds_its_message_after_any_growth_and_compaction(void **state)
{
    struct fixture *f = *state;
    struct rng rng = rng_from_env();
    uint64_t waiting[TOPICS] = {0}, out = 0;

    for (uint64_t i = 1; i < 20000; i++) {
        size_t t = rng_below(&rng, rng_below(&rng, 4) ? 2 : TOPICS);
        uint64_t bytes = 0;

        if (rng_below(&rng, 50) == 0) {
            lose(f, BUS_LOSS_TOO_LARGE, 1, 1);
            continue;
        }
        assert_int_equal(subq_supersede(&f->q, &f->match[t], &bytes), waiting[t] != 0);
        push(f, t, i, 1);
        waiting[t] = i;
        while (rng_below(&rng, 60) == 0 && !subq_is_empty(&f->q)) {
            enum bus_loss_reason reason;
            struct match *match;
            struct gap gap;
            struct message *m = subq_front(&f->q, &match, &gap, &reason);

            out += m ? 1 : gap.count;
            if (m) {
                assert_int_equal(number_of(m), out);
                assert_int_equal(waiting[match - f->match], out);
                waiting[match - f->match] = 0;
            }
            subq_pop(&f->q, &no_bounds, on_release);
        }
    }
    assert_true(f->q.n_messages <= TOPICS);
}

/* ---- block ---- */

static void test_messages_beyond_the_bounds_hold_credit_until_they_move_inside(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {2, 1000};

    assert_false(push_held(f, 1, 10, &b));
    assert_false(push_held(f, 2, 10, &b));
    assert_false(subq_has_held(&f->q));
    assert_true(push_held(f, 3, 10, &b));
    assert_true(push_held(f, 4, 10, &b));
    assert_true(subq_has_held(&f->q));
    subq_pop(&f->q, &b, on_release);
    assert_int_equal(n_released, 1);
    assert_int_equal(released[0], 3);
    subq_pop(&f->q, &b, on_release);
    assert_int_equal(n_released, 2);
    assert_int_equal(released[1], 4);
    assert_false(subq_has_held(&f->q));
    assert_int_equal(f->q.n_inside, 2);
    assert_message(f, 3);
    assert_message(f, 4);
    assert_empty(f);
    assert_int_equal(f->q.n_inside, 0);
    assert_int_equal(f->q.bytes_inside, 0);
}

static void test_bounds_in_bytes_hold_the_first_that_does_not_fit_and_all_behind_it(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {100, 50};

    assert_false(push_held(f, 1, 30, &b));
    assert_false(push_held(f, 2, 20, &b)); /* exactly */
    assert_true(push_held(f, 3, 25, &b));
    assert_true(push_held(f, 4, 0, &b)); /* would fit, but not before the one before it */
    subq_pop(&f->q, &b, on_release);     /* 20 inside */
    assert_int_equal(n_released, 2);
    assert_int_equal(f->q.bytes_inside, 45);
    assert_int_equal(f->q.n_inside, 3);
}

static void test_message_that_moves_inside_may_fill_the_bounds_for_the_next(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {100, 50};

    assert_false(push_held(f, 1, 40, &b));
    assert_true(push_held(f, 2, 50, &b));
    assert_true(push_held(f, 3, 1, &b));
    subq_pop(&f->q, &b, on_release);
    assert_int_equal(n_released, 1);
    assert_true(subq_has_held(&f->q));
    subq_pop(&f->q, &b, on_release);
    assert_int_equal(n_released, 2);
    assert_int_equal(f->q.bytes_inside, 1);
}

static void test_message_larger_than_the_bounds_enters_when_it_is_alone(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {100, 50};

    assert_false(push_held(f, 1, 500, &b));
    assert_true(push_held(f, 2, 500, &b));
    assert_true(push_held(f, 3, 0, &b));
    subq_pop(&f->q, &b, on_release);
    assert_int_equal(n_released, 1);
    assert_int_equal(released[0], 2);
    subq_pop(&f->q, &b, on_release);
    assert_int_equal(n_released, 2);
}

static void test_gaps_among_held_messages_do_not_stop_them(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {1, 1000};

    assert_false(push_held(f, 1, 1, &b));
    lose(f, BUS_LOSS_TOO_LARGE, 1, 1);
    assert_true(push_held(f, 2, 1, &b));
    lose(f, BUS_LOSS_TOO_LARGE, 1, 1);
    assert_true(push_held(f, 3, 1, &b));
    subq_pop(&f->q, &b, on_release); /* 1 */
    assert_int_equal(n_released, 1);
    subq_pop(&f->q, &b, on_release); /* the gap */
    assert_int_equal(n_released, 1);
    subq_pop(&f->q, &b, on_release); /* 2 */
    assert_int_equal(n_released, 2);
    assert_gap(f, BUS_LOSS_TOO_LARGE, 1, 1);
    assert_message(f, 3);
}

static void test_release_of_all_gives_every_held_message_back_once(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {1, 1000};

    for (uint64_t i = 1; i <= 5; i++) {
        assert_int_equal(push_held(f, i, 1, &b), i > 1);
    }
    subq_release_all(&f->q, on_release);
    assert_int_equal(n_released, 4);
    assert_false(subq_has_held(&f->q));
    subq_release_all(&f->q, on_release);
    assert_int_equal(n_released, 4);
    /* they stay, as in any other queue */
    for (uint64_t i = 1; i <= 5; i++) {
        assert_message(f, i);
    }
    assert_int_equal(n_released, 4);
}

static void test_end_of_the_queue_releases_what_it_holds(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {1, 1000};

    for (uint64_t i = 1; i <= 3; i++) {
        (void) push_held(f, i, 1, &b);
    }
    subq_fini(&f->q, on_release);
    assert_int_equal(n_released, 2);
    assert_empty(f);
    assert_int_equal(f->charge.bytes, 0);
}

static void test_message_held_by_two_queues_is_released_by_the_last(void **state)
{
    struct fixture *f = *state;
    struct subq_bounds b = {1, 1000};
    struct message *m = make(f, 0, 9, 1);
    struct subq other;

    subq_init(&other, &f->charge);
    (void) push_held(f, 1, 1, &b);
    assert_true(subq_prepare(&f->q, m));
    assert_true(subq_push_held(&f->q, m, &f->match[0], &b));
    assert_true(subq_prepare(&other, m));
    assert_false(subq_push_held(&other, m, &f->match[0], &b));
    assert_true(subq_prepare(&other, m));
    assert_true(subq_push_held(&other, m, &f->match[0], &b));
    assert_int_equal(m->holds, 2);
    subq_fini(&other, on_release);
    assert_int_equal(n_released, 0);
    subq_release_all(&f->q, on_release);
    assert_int_equal(n_released, 1);
    message_unref(m);
}

static void test_random_block_queue_agrees_with_a_naive_model(void **state)
{
    struct fixture *f = *state;
    struct rng rng = rng_from_env();
    struct subq_bounds b = {4, 100};
    uint64_t head = 0, tail = 0, inside = 0; /* numbers; inside: first that is held */
    static uint64_t sizes[RELEASED_MAX];

    for (unsigned i = 0; i < 4000; i++) {
        uint64_t bytes = 0;

        if (rng_below(&rng, 5) < 3 - i / 500 % 2) {
            sizes[tail] = rng_below(&rng, 60);
            (void) push_held(f, tail, sizes[tail], &b);
            tail++;
        } else if (head < tail) {
            subq_pop(&f->q, &b, on_release);
            head++;
        }
        inside = MAX(inside, head);
        for (uint64_t k = head; k < inside; k++) {
            bytes += sizes[k];
        }
        while (inside < tail && (inside == head || (inside - head < b.messages &&
                                                    bytes + sizes[inside] <= b.bytes))) {
            bytes += sizes[inside++];
        }
        assert_int_equal(f->q.n_inside, inside - head);
        assert_int_equal(f->q.bytes_inside, bytes);
        assert_int_equal(subq_has_held(&f->q), inside < tail);
        subq_check(&f->q);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_evicted_message_leaves_a_gap_in_its_place),
        CASE(test_eviction_gathers_the_gaps_before_it_by_reason),
        CASE(test_full_queue_that_evicts_for_ever_does_not_grow),
        CASE(test_superseded_message_leaves_a_conflated_gap_in_its_place),
        CASE(test_nothing_is_superseded_where_no_message_of_the_topic_waits),
        CASE(test_adjacent_conflated_gaps_come_out_as_one),
        CASE(test_one_topic_that_changes_for_ever_does_not_grow_the_ring),
        CASE(test_gaps_of_different_reasons_are_told_apart_in_any_growth),
        CASE(test_latest_finds_its_message_after_any_growth_and_compaction),
        CASE(test_messages_beyond_the_bounds_hold_credit_until_they_move_inside),
        CASE(test_bounds_in_bytes_hold_the_first_that_does_not_fit_and_all_behind_it),
        CASE(test_message_that_moves_inside_may_fill_the_bounds_for_the_next),
        CASE(test_message_larger_than_the_bounds_enters_when_it_is_alone),
        CASE(test_gaps_among_held_messages_do_not_stop_them),
        CASE(test_release_of_all_gives_every_held_message_back_once),
        CASE(test_end_of_the_queue_releases_what_it_holds),
        CASE(test_message_held_by_two_queues_is_released_by_the_last),
        CASE(test_random_block_queue_agrees_with_a_naive_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
