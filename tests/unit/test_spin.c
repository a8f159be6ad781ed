/* SPDX-License-Identifier: MIT */
/* Looking before sleeping: when it is done, when it is given up, and that who is idle never does.
 */
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/spin.h"
#include "support/unit.h"

#define US UINT64_C(1000)

static struct spin spin_of(uint32_t max_us)
{
    return (struct spin){.max_ns = max_us * 1000, .was_short = true};
}

/* Waits from *now_ns on until `comes_ns` later, looking each `step_ns`. How often it looked. */
static unsigned wait_for(struct spin *s, uint64_t *now_ns, uint64_t comes_ns, uint64_t step_ns)
{
    uint64_t end_ns = *now_ns + comes_ns;
    unsigned looks = 0;

    spin_begin(s, *now_ns);
    assert_true(spin_is_waiting(s));
    while (*now_ns < end_ns && spin_again(s, *now_ns)) {
        looks++;
        *now_ns += step_ns;
    }
    *now_ns = *now_ns < end_ns ? end_ns : *now_ns;
    if (s->is_looking) {
        spin_paid(s);
    } else {
        spin_slept(s, *now_ns);
    }
    assert_false(spin_is_waiting(s));
    return looks;
}

static void test_short_waits_look(void **state)
{
    struct spin s = spin_of(100);
    uint64_t now_ns = 1000;

    (void) state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(wait_for(&s, &now_ns, 20 * US, US), 20);
    }
}

static void test_at_most_as_long_as_allowed(void **state)
{
    struct spin s = spin_of(100);
    uint64_t now_ns = 1000;

    (void) state;
    assert_int_equal(wait_for(&s, &now_ns, 300 * US, US), 100);
}

static void test_after_a_long_wait_none(void **state)
{
    struct spin s = spin_of(100);
    uint64_t now_ns = 1000;

    (void) state;
    (void) wait_for(&s, &now_ns, 5000 * US, US);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(wait_for(&s, &now_ns, 5000 * US, US), 0);
    }
}

/* Waits that always are a little too long to be looked through cost less and less. */
static void test_what_does_not_pay_becomes_rare(void **state)
{
    struct spin s = spin_of(100);
    uint64_t now_ns = 1000;
    unsigned looked = 0;

    (void) state;
    for (int i = 0; i < 10000; i++) {
        looked += wait_for(&s, &now_ns, 200 * US, US) > 0;
    }
    assert_in_range(looked, 10000 / SPIN_SKIP_MAX, 10000 / SPIN_SKIP_MAX + 20);
    /* and one that pays makes it usual again */
    for (uint32_t i = 0; i <= SPIN_SKIP_MAX && s.skip_next > 0; i++) {
        (void) wait_for(&s, &now_ns, 20 * US, US);
    }
    assert_int_equal(s.skip_next, 0);
    assert_int_equal(wait_for(&s, &now_ns, 20 * US, US), 20);
}

/* While somebody who works with us has the processor, we do not use it up. */
static void test_time_of_others_is_not_counted(void **state)
{
    struct spin s = spin_of(100);
    uint64_t now_ns = 1000;

    (void) state;
    assert_int_equal(wait_for(&s, &now_ns, 900 * US, 90 * US), 10);
    assert_int_equal(s.skip, 0);
}

static void test_gives_up_when_the_processor_was_taken(void **state)
{
    struct spin s = spin_of(100);
    uint64_t now_ns = 1000;

    (void) state;
    assert_int_equal(wait_for(&s, &now_ns, 10000 * US, 3000 * US), 1);
    assert_int_equal(s.skip_next, 1);
}

static void test_never(void **state)
{
    struct spin s = spin_of(0);
    uint64_t now_ns = 1000;

    (void) state;
    assert_int_equal(wait_for(&s, &now_ns, 20 * US, US), 0);
}

/* Who looks there keeps the other from working. */
static void test_never_with_one_processor(void **state)
{
    int status;
    pid_t pid = fork();

    (void) state;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct spin s;
        cpu_set_t set;
        bool ok = sched_getaffinity(0, sizeof(set), &set) == 0;

        spin_init(&s, 100);
        ok = ok && s.max_ns == (CPU_COUNT(&set) < 2 ? 0 : 100000);
        for (int i = 0, found = 0; i < CPU_SETSIZE; i++) {
            if (CPU_ISSET(i, &set) && found++ > 0) {
                CPU_CLR(i, &set);
            }
        }
        ok = ok && sched_setaffinity(0, sizeof(set), &set) == 0;
        spin_init(&s, 100);
        _exit(ok && s.max_ns == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_waits_look),
        cmocka_unit_test(test_at_most_as_long_as_allowed),
        cmocka_unit_test(test_after_a_long_wait_none),
        cmocka_unit_test(test_what_does_not_pay_becomes_rare),
        cmocka_unit_test(test_time_of_others_is_not_counted),
        cmocka_unit_test(test_gives_up_when_the_processor_was_taken),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_never_with_one_processor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
