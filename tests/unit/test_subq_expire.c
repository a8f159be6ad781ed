/* SPDX-License-Identifier: MIT */
/* Messages at the front of a queue whose time is over. */
#include "core/subq.h"
#include "support/subq_fixture.h"

static const struct subq_bounds small = {2, 1000};

static void push_timed(struct fixture *f, size_t topic, uint64_t number, uint64_t expires_ns)
{
    struct message *m = make(f, topic, number, 10);

    m->expires_ns = expires_ns;
    assert_true(subq_prepare(&f->q, m));
    subq_push(&f->q, m, &f->match[topic]);
    message_unref(m);
}

static void test_a_run_at_the_front_becomes_one_gap(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    push_timed(f, 0, 1, 50);
    push_timed(f, 1, 2, 40);
    push_timed(f, 0, 3, 51);
    push_timed(f, 0, 4, 10); /* behind one that is still good */
    assert_int_equal(subq_expire(&f->q, 50, &no_bounds, on_release, &bytes), 2);
    assert_int_equal(bytes, 20);
    assert_int_equal(f->topic[0]->lost_messages, 1);
    assert_int_equal(f->topic[1]->lost_messages, 1);
    subq_check(&f->q);
    assert_gap(f, BUS_LOSS_EXPIRED, 2, 20);
    assert_message(f, 3);
    assert_int_equal(subq_expire(&f->q, 50, &no_bounds, on_release, &bytes), 1);
    assert_gap(f, BUS_LOSS_EXPIRED, 1, 10);
    assert_empty(f);
}

static void test_the_gap_joins_those_around_it(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    push_timed(f, 0, 1, 50);
    lose(f, BUS_LOSS_EXPIRED, 3, 30);
    lose(f, BUS_LOSS_QUEUE_FULL, 1, 10);
    push_timed(f, 0, 2, 0);
    assert_int_equal(subq_expire(&f->q, 60, &no_bounds, on_release, &bytes), 1);
    assert_gap(f, BUS_LOSS_EXPIRED, 4, 40);
    assert_gap(f, BUS_LOSS_QUEUE_FULL, 1, 10);
    assert_message(f, 2);
    assert_empty(f);
}

static void test_the_newest_of_a_topic_is_still_found(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0, superseded = 0;

    push_timed(f, 0, 1, 50);
    push_timed(f, 1, 2, 0);
    assert_int_equal(subq_expire(&f->q, 60, &no_bounds, on_release, &bytes), 1);
    assert_false(subq_supersede(&f->q, &f->match[0], &superseded));
    assert_true(subq_supersede(&f->q, &f->match[1], &superseded));
    assert_gap(f, BUS_LOSS_EXPIRED, 1, 10);
    assert_gap(f, BUS_LOSS_CONFLATED, 1, 10);
    assert_empty(f);
}

static void test_credit_comes_back_for_those_that_move_up(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;

    for (uint64_t i = 1; i <= 5; i++) {
        struct message *m = make(f, 0, i, 10);

        m->expires_ns = i <= 3 ? 50 : 0;
        assert_true(subq_prepare(&f->q, m));
        assert_int_equal(subq_push_held(&f->q, m, &f->match[0], &small), i > 2);
        message_unref(m);
    }
    assert_int_equal(subq_expire(&f->q, 60, &small, on_release, &bytes), 3);
    assert_int_equal(n_released, 3); /* 3, 4 and 5 have moved in */
    assert_false(subq_has_held(&f->q));
    subq_check(&f->q);
    assert_gap(f, BUS_LOSS_EXPIRED, 3, 30);
    assert_message(f, 4);
    assert_message(f, 5);
    assert_empty(f);
}

static void test_it_may_be_all_that_keeps_its_topic(void **state)
{
    struct fixture *f = *state;
    struct match match = {.topic = topics_get(&f->topics, "z", 1)};
    uint64_t bytes = 0, number = 1;
    struct message_parts parts = {
        match.topic, f->sender, (uint8_t *) &number, sizeof(number), NULL, 0, 10, NULL, NULL};
    struct message *m = message_new(&parts);

    m->holds = 0;
    m->expires_ns = 5;
    topic_unref(match.topic);
    assert_true(subq_prepare(&f->q, m));
    subq_push(&f->q, m, &match);
    message_unref(m);
    assert_int_equal(subq_expire(&f->q, 5, &no_bounds, on_release, &bytes), 1);
    assert_null(topics_find(&f->topics, "z", 1));
    assert_gap(f, BUS_LOSS_EXPIRED, 1, 10);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_run_at_the_front_becomes_one_gap),
        CASE(test_the_gap_joins_those_around_it),
        CASE(test_the_newest_of_a_topic_is_still_found),
        CASE(test_credit_comes_back_for_those_that_move_up),
        CASE(test_it_may_be_all_that_keeps_its_topic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
