/* SPDX-License-Identifier: MIT */
#include "core/timers.h"
#include "support/unit.h"

#define N 500u

static struct timer timers[N];
static uint64_t fired_ns[N];
static unsigned n_fired;

static void note(struct router *r, struct timer *t)
{
    (void) r;
    assert_false(t->is_set);
    fired_ns[n_fired++] = t->ns;
}

static int setup(void **state)
{
    (void) state;
    memset(timers, 0, sizeof(timers));
    n_fired = 0;
    return 0;
}

static void test_timers_fire_in_the_order_of_their_times(void **state)
{
    struct rng r = rng_from_env();
    struct timers ts = {0};

    (void) state;
    for (unsigned i = 0; i < N; i++) {
        timer_set(&ts, &timers[i], rng_below(&r, 1000), note);
    }
    timers_run(&ts, NULL, 499, UINT32_MAX);
    assert_true(n_fired > 0 && n_fired < N);
    assert_true(fired_ns[n_fired - 1] <= 499 && timers_next_ns(&ts) >= 500);
    timers_run(&ts, NULL, 1000, UINT32_MAX);
    assert_int_equal(n_fired, N);
    for (unsigned i = 1; i < N; i++) {
        assert_true(fired_ns[i - 1] <= fired_ns[i]);
    }
    assert_true(timers_next_ns(&ts) == UINT64_MAX);
}

static void test_a_budget_leaves_the_later_ones_for_the_next_time(void **state)
{
    struct timers ts = {0};

    (void) state;
    for (unsigned i = 0; i < 10; i++) {
        timer_set(&ts, &timers[i], 10 - i, note);
    }
    timers_run(&ts, NULL, 100, 3);
    assert_int_equal(n_fired, 3);
    assert_int_equal(fired_ns[2], 3);
    assert_int_equal(timers_next_ns(&ts), 4);
    timers_run(&ts, NULL, 100, UINT32_MAX);
    assert_int_equal(n_fired, 10);
}

/* Against a plain array: set, moved and stopped at random. */
static void test_what_is_stopped_does_not_fire_and_what_is_moved_fires_once(void **state)
{
    struct rng r = rng_from_env();
    struct timers ts = {0};
    uint64_t due[N];

    (void) state;
    for (unsigned i = 0; i < N; i++) {
        due[i] = UINT64_MAX;
    }
    for (unsigned turn = 0; turn < 20 * N; turn++) {
        unsigned i = (unsigned) rng_below(&r, N);
        uint64_t first = UINT64_MAX;

        if (rng_below(&r, 3) == 0) {
            due[i] = UINT64_MAX;
            timer_stop(&ts, &timers[i]);
        } else {
            due[i] = rng_below(&r, 100000);
            timer_set(&ts, &timers[i], due[i], note);
        }
        for (unsigned k = 0; k < N; k++) {
            first = MIN(first, due[k]);
        }
        assert_true(timers_next_ns(&ts) == first);
        if (rng_below(&r, 8) == 0 && first != UINT64_MAX) {
            n_fired = 0;
            timers_run(&ts, NULL, first, 1);
            assert_int_equal(n_fired, 1);
            for (i = 0; due[i] != first || timers[i].is_set; i++) {
            }
            due[i] = UINT64_MAX;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_timers_fire_in_the_order_of_their_times, setup),
        cmocka_unit_test_setup(test_a_budget_leaves_the_later_ones_for_the_next_time, setup),
        cmocka_unit_test_setup(test_what_is_stopped_does_not_fire_and_what_is_moved_fires_once,
                               setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
