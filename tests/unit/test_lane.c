/* SPDX-License-Identifier: MIT */
/* Turns of users: whatever one of them does, another one gets his share, counted in units of work.
 */
#include "io/lane.h"
#include "support/unit.h"

#define LINKS_MAX 1000u

/* A link that always has something to be read. Each time it is served it uses what it is given, and
 * cost more. */
struct busy_link {
    struct lane_task task;
    uint64_t used;
    unsigned cost, n;
};

struct fixture {
    struct lanes all;
    struct lane good, bad;
    struct busy_link good_link, links[LINKS_MAX];
};

static void on_run(struct lane_task *t)
{
    struct busy_link *l = container_of(t, struct busy_link, task);
    unsigned units = lane_budget(t->lane) + l->cost;

    lane_spend(t->lane, units);
    l->used += units;
    l->n++;
    lane_wait(t);
}

static void link_init(struct busy_link *l, struct lane *lane, unsigned cost)
{
    *l = (struct busy_link){.task = {.lane = lane, .on_run = on_run}, .cost = cost};
    lane_wait(&l->task);
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    lanes_init(&f.all);
    lane_init(&f.good, &f.all);
    lane_init(&f.bad, &f.all);
    *state = &f;
    return 0;
}

static void turns(struct fixture *f, unsigned n)
{
    while (n-- > 0) {
        lanes_turn(&f->all);
        lanes_run(&f->all);
    }
}

static uint64_t used(const struct fixture *f, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        sum += f->links[i].used;
    }
    return sum;
}

static void expect_half(struct fixture *f, unsigned n_links, unsigned cost)
{
    link_init(&f->good_link, &f->good, 0);
    for (unsigned i = 0; i < n_links; i++) {
        link_init(&f->links[i], &f->bad, cost);
    }
    turns(f, 5000);
    assert_true(f->good_link.used >= UINT64_C(4990) * LANE_TURN_SHARED);
    assert_true(used(f, n_links) <= f->good_link.used + 2 * (uint64_t) (LANE_LINK_MAX + cost));
    assert_true(used(f, n_links) >= f->good_link.used / 2);
}

static void test_one_link_gets_as_much_as_another_user_with_one(void **state)
{
    expect_half(*state, 1, 0);
}

static void test_one_link_gets_as_much_as_a_thousand_of_another_user(void **state)
{
    expect_half(*state, LINKS_MAX, 0);
}

/* One publish may be for thousands of subscriptions: that cannot be stopped in the middle. */
static void test_what_exceeds_a_turn_is_a_debt_to_the_next_ones(void **state)
{
    expect_half(*state, LINKS_MAX, 65536);
}

static void test_links_of_one_user_take_turns(void **state)
{
    struct fixture *f = *state;
    unsigned least = UINT32_MAX, most = 0;

    for (unsigned i = 0; i < LINKS_MAX; i++) {
        link_init(&f->links[i], &f->bad, 0);
    }
    turns(f, 10000);
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        least = MIN(least, f->links[i].n);
        most = MAX(most, f->links[i].n);
    }
    assert_true(least > 0);
    assert_in_range(most - least, 0, 1);
}

static void test_a_turn_is_long_for_one_user_and_short_for_two(void **state)
{
    struct fixture *f = *state;
    uint64_t before;

    link_init(&f->links[0], &f->bad, 0);
    turns(f, LANE_SHARED_TURNS + 10);
    before = f->links[0].used;
    turns(f, 100);
    assert_in_range(f->links[0].used - before, 100u * LANE_LINK_MAX, 100u * LANE_TURN_ALONE);
    lanes_turn(&f->all); /* somebody comes once */
    assert_true(lane_may_pass(&f->good));
    lanes_run(&f->all);
    before = f->links[0].used;
    turns(f, 100);
    assert_in_range(f->links[0].used - before, 0, 101u * LANE_TURN_SHARED);
}

static void test_who_waits_in_line_is_not_passed(void **state)
{
    struct fixture *f = *state;

    lanes_turn(&f->all);
    assert_true(lane_may_pass(&f->bad));
    link_init(&f->links[0], &f->bad, 0);
    assert_true(lane_may_go(&f->bad));
    assert_false(lane_may_pass(&f->bad));
    assert_true(lane_may_pass(&f->good));
    assert_true(lanes_are_waiting(&f->all));
    lane_leave(&f->links[0].task);
    lane_leave(&f->links[0].task);
    assert_true(lane_may_pass(&f->bad));
    assert_false(lanes_are_waiting(&f->all));
}

/* Frames that were received can be handled, whatever is owed. */
static void test_a_budget_is_never_nothing(void **state)
{
    struct fixture *f = *state;

    lanes_turn(&f->all);
    lane_spend(&f->bad, 1000000);
    assert_false(lane_may_go(&f->bad));
    assert_true(lane_owes(&f->bad));
    assert_int_equal(lane_budget(&f->bad), LANE_LINK_MIN);
    turns(f, 1000000 / LANE_TURN_SHARED + 1);
    assert_false(lane_owes(&f->bad));
    assert_true(lane_may_go(&f->bad));
}

#define CASE(name) cmocka_unit_test_setup(test_##name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_link_gets_as_much_as_another_user_with_one),
        CASE(one_link_gets_as_much_as_a_thousand_of_another_user),
        CASE(what_exceeds_a_turn_is_a_debt_to_the_next_ones),
        CASE(links_of_one_user_take_turns),
        CASE(a_turn_is_long_for_one_user_and_short_for_two),
        CASE(who_waits_in_line_is_not_passed),
        CASE(a_budget_is_never_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
