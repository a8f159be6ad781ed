/* SPDX-License-Identifier: MIT */
/* Windows of subscriptions, and the credit of publishers: docs/protocol.md, sections 6 and 7. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/parties.h"

#define SECOND_NS UINT64_C(1000000000)

static struct pair join_blocking(struct world *w)
{
    return join_pair(w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 2});
}

/* ---- the window of a subscription ---- */

static void test_window_counts_messages(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 3, .queue = 10});

    world_publish_n(w, x.p, "a", 5);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.4\n");
    world_credit(w, x.c, 0, 0, 10);
    world_expect(w, x.c, "");
}

static void test_window_counts_bytes_which_one_message_may_overdraw(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 100,
                                                     .queue = 10, .window_bytes = 11});

    world_publish_n(w, x.p, "a", 3); /* 11, 1, -9 */
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
    world_credit(w, x.c, 0, 2, 9); /* 0: not enough */
    world_expect(w, x.c, "");
    world_credit(w, x.c, 0, 0, 1); /* 1 */
    world_expect(w, x.c, "MESSAGE 1 a 1.3\n");
}

static void test_message_larger_than_the_whole_window_is_sent_and_paid_back_in_full(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 100,
                                                     .queue = 10, .window_bytes = 20});

    assert_true(world_publish_bytes(w, x.p, "a", 500)); /* -480 */
    world_publish(w, x.p, "a");
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    world_credit(w, x.c, 0, 1, 480);
    world_expect(w, x.c, "");
    world_credit(w, x.c, 0, 1, 20);
    world_expect(w, x.c, "MESSAGE 1 a 1.2\n");
}

static void test_headers_of_a_message_use_the_window_too(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 100,
                                                     .queue = 10, .window_bytes = 35});
    struct sim_publish p = {.topic = "a", .body_bytes = 10, .n_headers = 2};

    /* n=value, traceparent=00-1-2-3: 6 and 19 bytes, so 35 in all */
    assert_true(sim_publish(&w->s, x.p, &p));
    world_publish(w, x.p, "a");
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    world_credit(w, x.c, 0, 1, 1);
    world_expect(w, x.c, "MESSAGE 1 a 1.2\n");
}

static void test_credit_beyond_the_window_is_cut_to_it(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 2,
                                                     .queue = 10, .window_bytes = 1000});

    world_credit(w, x.c, 0, UINT32_MAX, UINT64_MAX);
    router_check(w->s.router);
    world_publish_n(w, x.p, "a", 4);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
    world_credit(w, x.c, 0, UINT32_MAX, UINT64_MAX);
    world_publish(w, x.p, "a");
    world_expect(w, x.c, "MESSAGE 1 a 1.3\nMESSAGE 1 a 1.4\n");
}

static void test_bytes_beyond_the_window_are_cut_to_it(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 100,
                                                     .queue = 10, .window_bytes = 15});

    world_publish_n(w, x.p, "a", 2); /* -5 */
    world_credit(w, x.c, 0, 2, UINT64_MAX);
    world_publish_n(w, x.p, "a", 3);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\nMESSAGE 1 a 1.4\n");
}

static void test_credit_for_a_subscription_that_is_not_there_is_ignored(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_credit m[] = {{0, 1, 1}, {1, 1, 1}, {UINT32_MAX, 1, 1}};

    for (size_t i = 0; i < ARRAY_LEN(m); i++) {
        sim_send(&w->s, c, VERB_CREDIT, &m[i], NULL, 0);
    }
    world_expect(w, c, "");
}

static void test_windows_of_two_subscriptions_are_separate(void **state)
{
    struct world *w = *state;
    struct world_sub sub = {"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 10};
    struct pair x = join_pair(w, &sub);

    world_subscribe(w, x.c, 1, &sub);
    world_publish_n(w, x.p, "a", 2);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 2 a 1.1\n");
    world_credit(w, x.c, 1, 1, 10);
    world_expect(w, x.c, "MESSAGE 2 a 1.2\n");
}

/* ---- the window of a publisher: 16 messages, 16384 bytes ---- */

static void test_publish_credit_comes_back_in_steps_of_half_a_window(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    world_publish_n(w, p, "a", 7);
    world_expect(w, p, "");
    world_publish(w, p, "a");
    world_expect(w, p, "PUBLISH_CREDIT 8 80\n");
    world_publish_n(w, p, "a", 8);
    world_expect(w, p, "PUBLISH_CREDIT 8 80\n");
}

static void test_publish_credit_comes_back_for_half_the_bytes(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    assert_true(world_publish_bytes(w, p, "a", 8191));
    world_expect(w, p, "");
    assert_true(world_publish_bytes(w, p, "a", 8));
    world_expect(w, p, "PUBLISH_CREDIT 2 8199\n");
    assert_true(world_publish_bytes(w, p, "a", 50000)); /* below zero by one message */
    world_expect(w, p, "PUBLISH_CREDIT 1 50000\n");
}

static void test_refused_publish_uses_no_credit(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    world_publish_n(w, p, "a", 7);
    for (unsigned i = 0; i < 100; i++) {
        assert_false(world_publish_bytes(w, p, "a/#", 10));
    }
    sim_read(&w->s, p, 100);
    world_clear(w, p);
    world_publish(w, p, "a");
    world_expect(w, p, "PUBLISH_CREDIT 8 80\n");
}

/* ---- block ---- */

static void test_block_withholds_credit_beyond_the_bounds_and_gives_it_back_inside(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    /* 1 is delivered, 2 and 3 are within the bounds, 13 hold credit */
    world_publish_n(w, x.p, "a", 16);
    world_expect(w, x.p, "");
    assert_false(world_publish_bytes(w, x.p, "a", 10));
    world_expect(w, x.p, "STATUS NO_CREDIT PUBLISH seq=17\n");
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    for (unsigned i = 0; i < 4; i++) {
        world_credit(w, x.c, 0, 1, 10);
    }
    world_expect(w, x.p, ""); /* 3 + 4 */
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.p, "PUBLISH_CREDIT 8 80\n");
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\nMESSAGE 1 a 1.4\nMESSAGE 1 a 1.5\n"
                 "MESSAGE 1 a 1.6\n");
    world_publish(w, x.p, "a");
    sim_settle(&w->s);
}

static void test_block_loses_nothing(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);
    unsigned accepted = 0;

    for (unsigned i = 0; i < 500; i++) {
        accepted += world_publish_bytes(w, x.p, "a", 8 + i % 50);
        if (i % 3 == 0) {
            world_credit(w, x.c, 0, 1, 1000);
        }
        sim_read(&w->s, x.c, 10);
    }
    assert_in_range(accepted, 160, 190);
    sim_settle(&w->s);
    assert_int_equal(x.c->subs[0].delivered, accepted);
    assert_int_equal(router_counters(w->s.router)->messages_lost, 0);
}

static void test_block_bounds_in_bytes_withhold_credit(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1,
                                                     .queue = 100, .queue_bytes = 45});

    /* 1 delivered; 4 within 45 bytes; so 5 are free and 11 hold */
    world_publish_n(w, x.p, "a", 16);
    world_credit(w, x.c, 0, 1, 10);
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.p, "");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.p, "PUBLISH_CREDIT 8 80\n");
}

static void test_blocked_publisher_still_gets_everything_else(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);
    struct sim_client *other = world_join(w);
    struct wire_ping ping = {77};

    world_subscribe(w, x.p, 0,
                    &(struct world_sub){"b", BUS_POLICY_DROP_OLDEST, .window = 10, .queue = 1});
    world_publish_n(w, x.p, "a", 16);
    world_publish(w, other, "b");
    sim_send(&w->s, x.p, VERB_PING, &ping, NULL, 0);
    world_expect(w, x.p, "MESSAGE 1 b 3.1\nPONG 77\n");
}

static void test_block_stops_nobody_who_does_not_publish_to_it(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);
    struct sim_client *other = world_join(w);

    world_subscribe(w, x.c, 1,
                    &(struct world_sub){"b", BUS_POLICY_DROP_OLDEST, .window = 100, .queue = 1});
    world_publish_n(w, x.p, "a", 16);
    world_publish_n(w, other, "b", 40);
    assert_int_equal(router_counters(w->s.router)->messages_refused, 0);
    sim_read(&w->s, x.c, 100);
    assert_int_equal(x.c->subs[1].delivered, 40);
}

static void test_message_held_by_two_subscriptions_is_credited_when_both_let_it_in(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_subscribe(w, x.c, 1, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 2});
    world_publish_n(w, x.p, "a", 16);
    world_credit(w, x.c, 0, 1, 10);
    for (unsigned i = 0; i < 20; i++) {
        world_credit(w, x.c, 0, 1, 10); /* everything of the first, nothing of the second */
    }
    world_expect(w, x.p, "");
    for (unsigned i = 0; i < 5; i++) {
        world_credit(w, x.c, 1, 1, 10);
    }
    world_expect(w, x.p, "PUBLISH_CREDIT 8 80\n");
}

static void test_unsubscribe_gives_back_the_credit_that_was_held(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_publish_n(w, x.p, "a", 16);
    sim_unsubscribe(&w->s, x.c, 0);
    world_expect(w, x.p, "PUBLISH_CREDIT 8 80\nPUBLISH_CREDIT 8 80\n");
}

static void test_end_of_a_blocking_client_gives_back_the_credit_that_was_held(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_publish_n(w, x.p, "a", 16);
    sim_disconnect(&w->s, x.c);
    world_expect(w, x.p, "PUBLISH_CREDIT 8 80\nPUBLISH_CREDIT 8 80\n");
    router_check(w->s.router);
}

static void test_messages_of_a_publisher_that_has_gone_are_still_delivered(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_publish_n(w, x.p, "a", 5);
    sim_disconnect(&w->s, x.p);
    sim_settle(&w->s);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\nMESSAGE 1 a 1.4\n"
                 "MESSAGE 1 a 1.5\n");
}

static void test_publisher_that_blocks_itself_can_free_itself(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1});
    world_publish_n(w, c, "a", 16);
    assert_false(world_publish_bytes(w, c, "a", 10));
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered, 16);
    world_publish(w, c, "a");
}

/* ---- stalls ---- */

static void test_blocking_without_progress_ends_after_the_stall_timeout(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_publish_n(w, x.p, "a", 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    sim_advance(&w->s, 30 * SECOND_NS - 1);
    world_expect(w, x.c, "");
    assert_int_equal(router_deadline(w->s.router), w->s.now.monotonic_ns + 1);
    sim_advance(&w->s, 1);
    world_expect(w, x.c, "STATUS STALLED SUBSCRIBE sub=1\n");
    world_expect(w, x.p, "PUBLISH_CREDIT 8 80\n");
    assert_int_equal(router_counters(w->s.router)->stalls, 1);
    /* what is within the bounds stays, and it is drop_oldest from here on */
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 2);
    world_publish_n(w, x.p, "a", 2);
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "LOSS 1 9 90 QUEUE_FULL\nMESSAGE 1 a 1.11\n");
    sim_settle(&w->s);
    world_expect(w, x.c, "MESSAGE 1 a 1.12\n");
}

static void test_stall_keeps_the_newest_within_the_bounds(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_publish_n(w, x.p, "a", 6);
    sim_advance(&w->s, 30 * SECOND_NS);
    sim_settle(&w->s);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nSTATUS STALLED SUBSCRIBE sub=1\n"
                 "LOSS 1 3 30 QUEUE_FULL\nMESSAGE 1 a 1.5\nMESSAGE 1 a 1.6\n");
}

static void test_credit_is_progress_and_puts_the_stall_off(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_publish_n(w, x.p, "a", 10);
    for (unsigned i = 0; i < 6; i++) {
        sim_advance(&w->s, 29 * SECOND_NS);
        world_credit(w, x.c, 0, 1, 10);
    }
    assert_int_equal(router_counters(w->s.router)->stalls, 0);
    sim_advance(&w->s, 29 * SECOND_NS);
    assert_int_equal(router_counters(w->s.router)->stalls, 0);
    sim_advance(&w->s, SECOND_NS);
    assert_int_equal(router_counters(w->s.router)->stalls, 1);
    sim_settle(&w->s);
}

static void test_what_waits_within_the_bounds_never_stalls(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_publish_n(w, x.p, "a", 3);
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
    sim_advance(&w->s, 1000 * SECOND_NS);
    /* the clock starts when somebody is held up */
    world_publish(w, x.p, "a");
    sim_advance(&w->s, 29 * SECOND_NS);
    assert_int_equal(router_counters(w->s.router)->stalls, 0);
    world_credit(w, x.c, 0, 1, 10); /* within the bounds again */
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
    sim_advance(&w->s, 1000 * SECOND_NS);
    assert_int_equal(router_counters(w->s.router)->stalls, 0);
    sim_settle(&w->s);
}

static void test_stalls_come_in_the_order_of_their_last_progress(void **state)
{
    struct world *w = *state;
    struct pair x = join_blocking(w);

    world_subscribe(w, x.c, 1, &(struct world_sub){"b", BUS_POLICY_BLOCK, .window = 1, .queue = 1});
    world_publish_n(w, x.p, "a", 6);
    sim_advance(&w->s, 10 * SECOND_NS);
    world_publish_n(w, x.p, "b", 4);
    world_credit(w, x.c, 0, 1, 10); /* now b is the older one */
    sim_advance(&w->s, 5 * SECOND_NS);
    world_credit(w, x.c, 0, 1, 10);
    sim_read(&w->s, x.c, 100);
    world_clear(w, x.c);
    sim_advance(&w->s, 25 * SECOND_NS);
    world_expect(w, x.c, "STATUS STALLED SUBSCRIBE sub=2\n");
    sim_advance(&w->s, 5 * SECOND_NS);
    world_expect(w, x.c, "STATUS STALLED SUBSCRIBE sub=1\n");
    sim_settle(&w->s);
}

/* ---- want of memory ---- */

static void test_credit_that_could_not_be_sent_for_want_of_memory_comes_later(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_publish by_alias = {.alias = 0, .body_bytes = WORLD_BODY};

    sim_advertise(&w->s, p, 0, "a");
    failmalloc_arm_from(1);
    for (unsigned i = 0; i < 16; i++) {
        assert_true(sim_publish(&w->s, p, &by_alias));
    }
    assert_int_not_equal(failmalloc_disarm(), 0);
    assert_int_not_equal(router_deadline(w->s.router), UINT64_MAX);
    sim_advance(&w->s, SECOND_NS);
    world_expect(w, p, "PUBLISH_CREDIT 16 160\n");
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_window_counts_messages),
        WORLD_CASE(test_window_counts_bytes_which_one_message_may_overdraw),
        WORLD_CASE(test_message_larger_than_the_whole_window_is_sent_and_paid_back_in_full),
        WORLD_CASE(test_headers_of_a_message_use_the_window_too),
        WORLD_CASE(test_credit_beyond_the_window_is_cut_to_it),
        WORLD_CASE(test_bytes_beyond_the_window_are_cut_to_it),
        WORLD_CASE(test_credit_for_a_subscription_that_is_not_there_is_ignored),
        WORLD_CASE(test_windows_of_two_subscriptions_are_separate),
        WORLD_CASE(test_publish_credit_comes_back_in_steps_of_half_a_window),
        WORLD_CASE(test_publish_credit_comes_back_for_half_the_bytes),
        WORLD_CASE(test_refused_publish_uses_no_credit),
        WORLD_CASE(test_block_withholds_credit_beyond_the_bounds_and_gives_it_back_inside),
        WORLD_CASE(test_block_loses_nothing),
        WORLD_CASE(test_block_bounds_in_bytes_withhold_credit),
        WORLD_CASE(test_blocked_publisher_still_gets_everything_else),
        WORLD_CASE(test_block_stops_nobody_who_does_not_publish_to_it),
        WORLD_CASE(test_message_held_by_two_subscriptions_is_credited_when_both_let_it_in),
        WORLD_CASE(test_unsubscribe_gives_back_the_credit_that_was_held),
        WORLD_CASE(test_end_of_a_blocking_client_gives_back_the_credit_that_was_held),
        WORLD_CASE(test_messages_of_a_publisher_that_has_gone_are_still_delivered),
        WORLD_CASE(test_publisher_that_blocks_itself_can_free_itself),
        WORLD_CASE(test_blocking_without_progress_ends_after_the_stall_timeout),
        WORLD_CASE(test_stall_keeps_the_newest_within_the_bounds),
        WORLD_CASE(test_credit_is_progress_and_puts_the_stall_off),
        WORLD_CASE(test_what_waits_within_the_bounds_never_stalls),
        WORLD_CASE(test_stalls_come_in_the_order_of_their_last_progress),
        WORLD_CASE(test_credit_that_could_not_be_sent_for_want_of_memory_comes_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
