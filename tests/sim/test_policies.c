/* SPDX-License-Identifier: MIT */
/* The five policies: which messages arrive, and where the losses stand. docs/protocol.md,
 * section 6. What block does to publishers is in test_credit.c. */
#include "core/router.h"
#include "support/parties.h"

static void test_drop_oldest_keeps_the_newest_and_reports_the_gap_before_them(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 2, .queue = 3});

    world_publish_n(w, x.p, "a", 8);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
    world_credit(w, x.c, 0, 2, 20);
    world_expect(w, x.c, "LOSS 1 3 30 QUEUE_FULL\nMESSAGE 1 a 1.6\nMESSAGE 1 a 1.7\n");
    world_credit(w, x.c, 0, 2, 20);
    world_expect(w, x.c, "MESSAGE 1 a 1.8\n");
}

static void test_drop_oldest_tells_one_gap_however_long_it_grows(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 1});

    world_publish_n(w, x.p, "a", 102);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "LOSS 1 100 1000 QUEUE_FULL\nMESSAGE 1 a 1.102\n");
}

static void test_drop_oldest_makes_room_in_bytes(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1,
                                                     .queue = 100, .queue_bytes = 60});

    world_publish_n(w, x.p, "a", 7); /* 2 to 7 fill the queue */
    assert_true(world_publish_bytes(w, x.p, "a", 25));
    world_credit(w, x.c, 0, 1, 100);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nLOSS 1 3 30 QUEUE_FULL\nMESSAGE 1 a 1.5\n");
    sim_settle(&w->s);
    world_expect(w, x.c, "MESSAGE 1 a 1.6\nMESSAGE 1 a 1.7\nMESSAGE 1 a 1.8\n");
}

static void test_drop_newest_keeps_the_oldest_and_reports_the_gap_behind_them(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 2, .queue = 3});

    world_publish_n(w, x.p, "a", 8);
    world_credit(w, x.c, 0, 2, 20);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\nMESSAGE 1 a 1.4\n");
    world_publish(w, x.p, "a");
    world_credit(w, x.c, 0, 2, 20);
    world_expect(w, x.c, "MESSAGE 1 a 1.5\nLOSS 1 3 30 QUEUE_FULL\nMESSAGE 1 a 1.9\n");
}

static void test_loss_behind_which_nothing_waits_needs_no_credit(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 1, .queue = 1});

    world_publish_n(w, x.p, "a", 4);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    world_credit(w, x.c, 0, 1, 10); /* it takes the one that waits, and no more */
    world_expect(w, x.c, "MESSAGE 1 a 1.2\nLOSS 1 2 20 QUEUE_FULL\n");
}

static void test_drop_newest_drops_what_does_not_fit_and_takes_what_does(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 1,
                                                     .queue = 100, .queue_bytes = 30});

    world_publish_n(w, x.p, "a", 2);
    assert_true(world_publish_bytes(w, x.p, "a", 21)); /* one byte too much */
    assert_true(world_publish_bytes(w, x.p, "a", 20));
    sim_settle(&w->s);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nLOSS 1 1 21 QUEUE_FULL\n"
                 "MESSAGE 1 a 1.4\n");
}

static void test_message_larger_than_the_queue_enters_an_empty_one(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 1,
                                                     .queue = 100, .queue_bytes = 30});

    world_publish(w, x.p, "a");
    assert_true(world_publish_bytes(w, x.p, "a", 500));
    world_publish(w, x.p, "a");
    sim_settle(&w->s);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nLOSS 1 1 10 QUEUE_FULL\n");
}

static void test_message_larger_than_the_queue_empties_it_under_drop_oldest(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1,
                                                     .queue = 100, .queue_bytes = 30});

    world_publish_n(w, x.p, "a", 3);
    assert_true(world_publish_bytes(w, x.p, "a", 500));
    sim_settle(&w->s);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nLOSS 1 2 20 QUEUE_FULL\nMESSAGE 1 a 1.4\n");
}

static void test_latest_replaces_the_waiting_message_and_the_newer_goes_to_the_end(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"#", BUS_POLICY_LATEST, .window = 1, .queue = 10});

    world_publish(w, x.p, "a");
    world_publish(w, x.p, "a");
    world_publish(w, x.p, "b");
    world_publish(w, x.p, "c");
    world_publish(w, x.p, "a");
    world_publish(w, x.p, "b");
    sim_settle(&w->s);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nLOSS 1 2 20 CONFLATED\nMESSAGE 1 c 1.4\n"
                 "MESSAGE 1 a 1.5\nMESSAGE 1 b 1.6\n");
}

static void test_latest_reports_what_was_replaced_where_it_would_have_come(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"#", BUS_POLICY_LATEST, .window = 1, .queue = 10});

    world_publish(w, x.p, "a");
    world_publish(w, x.p, "a");
    world_publish(w, x.p, "b");
    world_publish(w, x.p, "c");
    world_publish(w, x.p, "b");
    sim_settle(&w->s);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nLOSS 1 1 10 CONFLATED\n"
                 "MESSAGE 1 c 1.4\nMESSAGE 1 b 1.5\n");
}

static void test_latest_that_is_full_all_the_same_drops_the_oldest(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"#", BUS_POLICY_LATEST, .window = 1, .queue = 2});

    world_publish(w, x.p, "a");
    world_publish(w, x.p, "a");
    world_publish(w, x.p, "b");
    world_publish(w, x.p, "c"); /* no room: the waiting a goes */
    world_publish(w, x.p, "b"); /* replaces: room */
    sim_settle(&w->s);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nLOSS 1 1 10 QUEUE_FULL\nLOSS 1 1 10 CONFLATED\n"
                 "MESSAGE 1 c 1.4\nMESSAGE 1 b 1.5\n");
}

static void test_latest_keeps_one_of_each_topic_through_many_changes(void **state)
{
    static const char *const topics[] = {"a", "b", "c"};
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"#", BUS_POLICY_LATEST, .window = 1, .queue = 10});

    world_publish(w, x.p, "a");
    for (unsigned i = 0; i < 300; i++) {
        world_publish(w, x.p, topics[i % 7 % 3]);
    }
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 3);
    sim_settle(&w->s);
    /* 301 is i == 299: 299 % 7 == 5, topic c; before it b and a */
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nLOSS 1 297 2970 CONFLATED\nMESSAGE 1 a 1.299\n"
                 "MESSAGE 1 b 1.300\nMESSAGE 1 c 1.301\n");
}

static void test_disconnect_ends_the_slow_client_behind_what_it_got(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DISCONNECT, .window = 1, .queue = 2});
    struct sim_client *other = world_join(w);

    world_subscribe(w, other, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 10, .queue = 1});
    world_publish_n(w, x.p, "a", 3);
    assert_false(peer_is_closing(x.c->peer));
    world_publish_n(w, x.p, "a", 2);
    assert_int_equal(peer_goodbye(x.c->peer), BUS_GOODBYE_SLOW_CONSUMER);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nGOODBYE SLOW_CONSUMER\n");
    assert_null(x.c->peer);
    world_expect(w, other,
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\n"
                 "MESSAGE 1 a 1.4\nMESSAGE 1 a 1.5\n");
    world_expect(w, x.p, "");
}

static void test_disconnect_spares_the_client_while_it_keeps_up(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DISCONNECT, .window = 1, .queue = 2});

    for (unsigned i = 0; i < 50; i++) {
        world_publish_n(w, x.p, "a", 2);
        world_credit(w, x.c, 0, 1, 10);
        world_credit(w, x.c, 0, 1, 10);
        sim_read(&w->s, x.c, 10);
        assert_non_null(x.c->peer);
    }
    sim_settle(&w->s);
}

static void test_disconnect_ends_a_client_once_though_two_subscriptions_are_full(void **state)
{
    struct world *w = *state;
    struct world_sub sub = {"a", BUS_POLICY_DISCONNECT, .window = 1, .queue = 1};
    struct pair x = join_pair(w, &sub);

    world_subscribe(w, x.c, 1, &sub);
    world_publish_n(w, x.p, "a", 3);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 2 a 1.1\nGOODBYE SLOW_CONSUMER\n");
}

/* ---- other reasons ---- */

static struct world *world_with_large_streams(void)
{
    struct limits limits = sim_small_limits();

    limits.stream_inline_max = 256 * KIB;
    limits.publish_window_bytes = MIB;
    limits.client_bytes_max = MIB;
    return world_new(&limits);
}

static void test_message_too_large_for_the_link_is_lost_in_its_place(void **state)
{
    struct world *w = world_with_large_streams();
    struct sim_client *p = sim_connect(&w->s, false), *packets = world_join(w);
    struct sim_client *stream = sim_connect(&w->s, false);
    struct world_sub sub = {"a", .window = 10, .queue = 10, .queue_bytes = 500000,
                            .window_bytes = 500000};

    (void) state;
    world_subscribe(w, packets, 0, &sub);
    world_subscribe(w, stream, 0, &sub);
    world_publish(w, p, "a");
    assert_true(world_publish_bytes(w, p, "a", FRAME_INLINE_MAX_SEQPACKET + 1));
    assert_true(world_publish_bytes(w, p, "a", FRAME_INLINE_MAX_SEQPACKET));
    sim_settle(&w->s);
    world_expect(w, packets, "MESSAGE 1 a 1.1\nLOSS 1 1 65537 TOO_LARGE\nMESSAGE 1 a 1.3\n");
    world_expect(w, stream, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\n");
    world_free(w);
}

static void test_message_too_large_takes_no_room_in_a_queue(void **state)
{
    struct world *w = world_with_large_streams();
    struct sim_client *p = sim_connect(&w->s, false), *c = world_join(w);

    (void) state;
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DISCONNECT, .window = 1, .queue = 2});
    world_publish_n(w, p, "a", 2);
    assert_true(world_publish_bytes(w, p, "a", 100000));
    world_publish(w, p, "a");
    assert_true(world_publish_bytes(w, p, "a", 100000));
    world_expect(w, c, "MESSAGE 1 a 1.1\n");
    world_credit(w, c, 0, 2, 20);
    world_credit(w, c, 0, 1, 10);
    world_expect(w, c,
                 "MESSAGE 1 a 1.2\nLOSS 1 1 100000 TOO_LARGE\nMESSAGE 1 a 1.4\n"
                 "LOSS 1 1 100000 TOO_LARGE\n");
    world_free(w);
}

static struct world *world_with_little_memory(void)
{
    struct limits limits = sim_small_limits();

    limits.client_bytes_max = 64 * KIB;
    return world_new(&limits);
}

static void test_router_bound_drops_the_oldest_with_its_own_reason(void **state)
{
    struct world *w = world_with_little_memory();
    struct sim_client *p = world_join(w), *c = world_join(w);
    char *text;

    (void) state;
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 1000,
                                        .queue_bytes = 10000000});
    for (unsigned i = 0; i < 100; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
    }
    assert_in_range(router_counters(w->s.router)->charged_bytes_now, 50000, 66 * 1024);
    sim_settle(&w->s);
    text = w->text[c - w->s.clients];
    assert_ptr_equal(strstr(text, "MESSAGE 1 a 1.1\nLOSS 1 "), text);
    assert_non_null(strstr(text, " NO_MEMORY\nMESSAGE"));
    assert_non_null(strstr(text, "MESSAGE 1 a 1.100\n"));
    assert_null(strstr(strstr(text, "LOSS") + 1, "LOSS"));
    world_free(w);
}

static void test_router_bound_drops_the_new_message_of_the_other_policies(void **state)
{
    static const enum bus_policy policies[] = {BUS_POLICY_DROP_NEWEST, BUS_POLICY_BLOCK,
                                               BUS_POLICY_DISCONNECT};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        struct world *w = world_with_little_memory();
        struct sim_client *p = world_join(w), *c = world_join(w);
        const char *text = w->text[c - w->s.clients];

        world_subscribe(w, c, 0,
                        &(struct world_sub){"a", policies[i], .window = 1, .queue = 1000,
                                            .queue_bytes = 10000000});
        for (unsigned k = 0; k < 100; k++) {
            assert_true(world_publish_bytes(w, p, "a", 1000));
        }
        assert_non_null(c->peer);
        sim_settle(&w->s);
        assert_non_null(strstr(text, "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\n"));
        assert_non_null(strstr(text, " NO_MEMORY\n"));
        assert_null(strstr(text, "MESSAGE 1 a 1.100\n"));
        world_free(w);
    }
}

static void test_full_output_queues_as_missing_credit_does(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 100, .queue = 2});

    /* 4096 bytes of output: nothing more is put behind two of these */
    for (unsigned i = 0; i < 8; i++) {
        assert_true(world_publish_bytes(w, x.p, "a", 2000));
    }
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nLOSS 1 4 8000 QUEUE_FULL\n"
                 "MESSAGE 1 a 1.7\nMESSAGE 1 a 1.8\n");
}

static void test_unsubscribe_discards_what_waits_without_a_loss(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 2});

    world_publish_n(w, x.p, "a", 5);
    sim_unsubscribe(&w->s, x.c, 0);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nSTATUS OK UNSUBSCRIBE sub=1\n");
    world_publish(w, x.p, "a");
    world_expect(w, x.c, "");
    assert_int_equal(router_counters(w->s.router)->messages_discarded, 2);
    /* the number may be used again, and nothing of the old subscription comes */
    world_subscribe(w, x.c, 0,
                    &(struct world_sub){"a", BUS_POLICY_LATEST, .window = 5, .queue = 5});
    world_publish(w, x.p, "a");
    world_expect(w, x.c, "MESSAGE 1 a 1.7\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_drop_oldest_keeps_the_newest_and_reports_the_gap_before_them),
        WORLD_CASE(test_drop_oldest_tells_one_gap_however_long_it_grows),
        WORLD_CASE(test_drop_oldest_makes_room_in_bytes),
        WORLD_CASE(test_drop_newest_keeps_the_oldest_and_reports_the_gap_behind_them),
        WORLD_CASE(test_loss_behind_which_nothing_waits_needs_no_credit),
        WORLD_CASE(test_drop_newest_drops_what_does_not_fit_and_takes_what_does),
        WORLD_CASE(test_message_larger_than_the_queue_enters_an_empty_one),
        WORLD_CASE(test_message_larger_than_the_queue_empties_it_under_drop_oldest),
        WORLD_CASE(test_latest_replaces_the_waiting_message_and_the_newer_goes_to_the_end),
        WORLD_CASE(test_latest_reports_what_was_replaced_where_it_would_have_come),
        WORLD_CASE(test_latest_that_is_full_all_the_same_drops_the_oldest),
        WORLD_CASE(test_latest_keeps_one_of_each_topic_through_many_changes),
        WORLD_CASE(test_disconnect_ends_the_slow_client_behind_what_it_got),
        WORLD_CASE(test_disconnect_spares_the_client_while_it_keeps_up),
        WORLD_CASE(test_disconnect_ends_a_client_once_though_two_subscriptions_are_full),
        cmocka_unit_test(test_message_too_large_for_the_link_is_lost_in_its_place),
        cmocka_unit_test(test_message_too_large_takes_no_room_in_a_queue),
        cmocka_unit_test(test_router_bound_drops_the_oldest_with_its_own_reason),
        cmocka_unit_test(test_router_bound_drops_the_new_message_of_the_other_policies),
        WORLD_CASE(test_full_output_queues_as_missing_credit_does),
        WORLD_CASE(test_unsubscribe_discards_what_waits_without_a_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
