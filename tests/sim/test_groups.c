/* SPDX-License-Identifier: MIT */
/* Groups: who gets what, what waits, and where losses are told. docs/protocol.md, section 13.
 * Acknowledgement is in test_ack.c. */
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/parties.h"
#include "support/sim_cargo.h"

static const struct world_sub plain = {"a", .window = 2, .queue = 3, .group = "g"};

static void test_each_message_goes_to_one_member_in_turn(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);

    world_publish_n(w, x.p, "a", 4);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.4\n");
    sim_settle(&w->s);
}

/* What waits for any member too long is lost to the group, in its place. */
static void test_messages_expire_in_the_queue_of_a_group(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &(struct world_sub){"a", .window = 1, .queue = 5, .group = "g"});
    struct sim_publish brief = {.topic = "a", .body_bytes = WORLD_BODY, .ttl_ms = 10};

    world_publish_n(w, x.p, "a", 2); /* one each */
    assert_true(sim_publish(&w->s, x.p, &brief));
    assert_true(sim_publish(&w->s, x.p, &brief));
    world_publish(w, x.p, "a");
    sim_advance(&w->s, 10 * UINT64_C(1000000));
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\n");
    world_credit(w, x.m[1], 0, 1, 10);
    world_expect(w, x.m[1], "LOSS 1 2 20 EXPIRED\nMESSAGE 1 a 1.5\n");
    world_expect(w, x.m[0], "");
    assert_int_equal(router_counters(w->s.router)->messages_expired, 2);
    sim_settle(&w->s);
}

static void test_member_with_least_in_work_is_first(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &(struct world_sub){"a", .window = 10, .queue = 3, .group = "g"});

    world_publish_n(w, x.p, "a", 6); /* three each */
    world_credit(w, x.m[1], 0, 3, 30);
    world_publish_n(w, x.p, "a", 3); /* it has nothing, the other three */
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\nMESSAGE 1 a 1.5\n");
    world_expect(w, x.m[1],
                 "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.4\nMESSAGE 1 a 1.6\nMESSAGE 1 a 1.7\n"
                 "MESSAGE 1 a 1.8\nMESSAGE 1 a 1.9\n");
    sim_settle(&w->s);
}

static void test_stuck_member_is_passed_over(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);

    for (unsigned i = 0; i < 20; i++) {
        world_publish(w, x.p, "a");
        sim_read(&w->s, x.m[1], 100);
        sim_give_credit(&w->s, x.m[1], 0);
    }
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\n");
    assert_int_equal(x.m[1]->subs[0].delivered, 19);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
}

static void test_member_that_does_not_read_is_passed_over(void **state)
{
    struct world *w = *state;
    struct trio x =
        join_trio(w, &(struct world_sub){"a", .window = 1000, .queue = 3, .group = "g"});

    /* both have credit for all of it; the output of the first is full soon */
    for (unsigned i = 0; i < 100; i++) {
        assert_true(world_publish_bytes(w, x.p, "a", 200));
        sim_read(&w->s, x.p, 10);
        sim_read(&w->s, x.m[1], 100);
        sim_give_credit(&w->s, x.m[1], 0);
    }
    assert_in_range(x.m[1]->subs[0].delivered, 80, 99);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
    sim_settle(&w->s);
    assert_int_equal(x.m[0]->subs[0].delivered + x.m[1]->subs[0].delivered, 100);
    /* when it has read, it gets its part again */
    world_publish(w, x.p, "a");
    world_publish(w, x.p, "a");
    sim_settle(&w->s);
    assert_int_equal(x.m[0]->subs[0].lost + x.m[1]->subs[0].lost, 0);
    assert_in_range(x.m[0]->subs[0].delivered, 2, 22);
}

static void test_what_waits_goes_to_whoever_can_take_it_first(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);

    world_publish_n(w, x.p, "a", 6);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 2);
    world_credit(w, x.m[1], 0, 2, 20);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.4\nMESSAGE 1 a 1.5\nMESSAGE 1 a 1.6\n");
    sim_settle(&w->s);
}

static void test_loss_is_told_to_whoever_gets_the_next_message(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);

    world_publish_n(w, x.p, "a", 10); /* 5 to 7 are dropped */
    world_credit(w, x.m[1], 0, 1, 10);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\n");
    world_expect(w, x.m[1],
                 "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.4\nLOSS 1 3 30 QUEUE_FULL\nMESSAGE 1 a 1.8\n");
    world_credit(w, x.m[0], 0, 1, 10);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.9\n");
    sim_settle(&w->s);
}

static void test_loss_behind_which_nothing_waits_is_told_without_credit(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(
        w, &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 1, .queue = 1, .group = "g"});

    world_publish_n(w, x.p, "a", 5);
    world_credit(w, x.m[1], 0, 1, 10);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nLOSS 1 2 20 QUEUE_FULL\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\n");
}

static void test_latest_conflates_what_waits_for_the_group(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(
        w, &(struct world_sub){"#", BUS_POLICY_LATEST, .window = 1, .queue = 10, .group = "g"});

    world_publish(w, x.p, "x");
    world_publish(w, x.p, "x");
    world_publish(w, x.p, "a"); /* waits, and is replaced */
    world_publish(w, x.p, "b");
    world_publish(w, x.p, "a");
    world_credit(w, x.m[0], 0, 1, 10);
    world_credit(w, x.m[1], 0, 1, 10);
    world_expect(w, x.m[0], "MESSAGE 1 x 1.1\nLOSS 1 1 10 CONFLATED\nMESSAGE 1 b 1.4\n");
    world_expect(w, x.m[1], "MESSAGE 1 x 1.2\nMESSAGE 1 a 1.5\n");
}

static void test_block_withholds_credit_until_a_member_gets_on(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(
        w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1, .group = "g"});

    world_publish_n(w, x.p, "a", 16); /* two go, one waits, thirteen are held */
    assert_false(world_publish_bytes(w, x.p, "a", WORLD_BODY));
    world_clear(w, x.p);
    world_expect(w, x.p, "STATUS NO_CREDIT PUBLISH seq=17\n");
    sim_settle(&w->s);
    assert_int_equal(x.m[0]->subs[0].delivered + x.m[1]->subs[0].delivered, 16);
    world_publish(w, x.p, "a");
    sim_settle(&w->s);
}

static void test_block_ends_for_all_members_when_none_gets_on(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(
        w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1, .group = "g"});

    world_publish_n(w, x.p, "a", 6);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\n");
    sim_advance(&w->s, UINT64_C(29000000000));
    world_credit(w, x.m[1], 0, 1, 10); /* one of them is enough */
    sim_advance(&w->s, UINT64_C(29000000000));
    world_expect(w, x.m[0], "");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.3\n");
    sim_advance(&w->s, UINT64_C(2000000000));
    world_expect(w, x.m[0], "STATUS STALLED SUBSCRIBE sub=1\n");
    world_expect(w, x.m[1], "STATUS STALLED SUBSCRIBE sub=1\n");
    world_credit(w, x.m[0], 0, 1, 10);
    world_expect(w, x.m[0], "LOSS 1 2 20 QUEUE_FULL\nMESSAGE 1 a 1.6\n");
}

static void test_last_member_takes_what_waits_with_it(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);
    const struct counters *k = router_counters(w->s.router);

    world_publish_n(w, x.p, "a", 10);
    sim_unsubscribe(&w->s, x.m[0], 0);
    assert_int_equal(k->messages_queued_now, 3);
    sim_unsubscribe(&w->s, x.m[1], 0);
    assert_int_equal(k->messages_queued_now, 0);
    assert_int_equal(k->messages_discarded, 3);
    assert_int_equal(k->groups_now, 0);
    world_publish(w, x.p, "a");
    assert_int_equal(k->messages_matched, 10);
}

static void test_new_member_gets_what_waits_behind_its_answer(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);
    struct sim_client *c = world_join(w);
    struct wire_subscribe m = world_subscribe_of(&plain);

    world_publish_n(w, x.p, "a", 8);
    assert_true(sim_subscribe(&w->s, c, 0, &m));
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nLOSS 1 1 10 QUEUE_FULL\nMESSAGE 1 a 1.6\n"
                 "MESSAGE 1 a 1.7\n");
    sim_settle(&w->s);
}

static void test_groups_are_by_filter_and_name_and_others_get_all(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);
    struct sim_client *c = world_join(w);

    world_subscribe(w, c, 0, &(struct world_sub){"a", .window = 9, .queue = 3, .group = "h"});
    world_subscribe(w, c, 1, &(struct world_sub){"+", .window = 9, .queue = 3, .group = "g"});
    world_subscribe(w, c, 2, &(struct world_sub){"a", .window = 9, .queue = 3});
    assert_int_equal(router_counters(w->s.router)->groups_now, 3);
    assert_true(
        sim_publish(&w->s, x.p, &(struct sim_publish){"a", .body_bytes = 10, .confirm = true}));
    sim_read(&w->s, c, 100);
    assert_int_equal(c->subs[0].delivered + c->subs[1].delivered + c->subs[2].delivered, 3);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\n");
    world_expect(w, x.m[1], "");
    world_expect(w, x.p, "CONFIRM 1 4 4 0 0\n");
}

static void test_two_members_may_be_of_one_connection(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0, &plain);
    world_subscribe(w, c, 1, &plain);
    world_publish_n(w, p, "a", 5);
    world_expect(w, c, "MESSAGE 1 a 1.1\nMESSAGE 2 a 1.2\nMESSAGE 1 a 1.3\nMESSAGE 2 a 1.4\n");
    world_credit(w, c, 1, 1, 10);
    world_expect(w, c, "MESSAGE 2 a 1.5\n");
}

static void test_topic_is_bound_on_each_members_link_and_again_with_its_number(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &(struct world_sub){"#", .window = 9, .queue = 3, .group = "g"});

    w->shows_names = true;
    world_publish_n(w, x.p, "a", 2);
    world_publish_n(w, x.p, "b", 2); /* the same number */
    world_expect(w, x.m[0],
                 "TOPIC 1 a\nPEER 1 1 sim\nMESSAGE 1 a 1.1\nTOPIC 1 b\nMESSAGE 1 b 1.3\n");
    world_expect(w, x.m[1],
                 "TOPIC 1 a\nPEER 1 1 sim\nMESSAGE 1 a 1.2\nTOPIC 1 b\nMESSAGE 1 b 1.4\n");
}

static void test_monitor_sees_the_member_that_got_it(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(
        w, &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 1, .queue = 1, .group = "g"});
    struct sim_client *c = world_join(w);

    sim_send(&w->s, c, VERB_MONITOR, &(struct wire_monitor){.n_filters = 0}, NULL, 0);
    c->monitoring = true;
    sim_read(&w->s, c, 100);
    world_clear(w, c);
    world_publish_n(w, x.p, "a", 4);
    world_expect(w, c,
                 "MONITORED 1 a 1.1 10/10 OK [2/1 DELIVERED NONE 0]\n"
                 "MONITORED 2 a 1.2 10/10 OK [3/1 DELIVERED NONE 0]\n"
                 "MONITORED 3 a 1.3 10/10 OK [2/1 QUEUED NONE 0]\n"
                 "MONITORED 4 a 1.4 10/10 OK [2/1 DROPPED QUEUE_FULL 0]\n");
}

static void test_closing_member_gets_nothing(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);

    sim_send(&w->s, x.m[0], VERB_GOODBYE, &(struct wire_goodbye){.reason = 1}, NULL, 0);
    world_publish_n(w, x.p, "a", 3);
    world_expect(w, x.m[0], "GOODBYE NORMAL\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
    sim_settle(&w->s);
}

/* ---- bodies that do not go onto every link ---- */

static void publish_large(struct world *w, struct sim_client *p, unsigned slot)
{
    assert_true(sim_publish(
        &w->s, p,
        &(struct sim_publish){.topic = "a", .body_bytes = 100000, .buffer = 1, .slot = slot}));
}

static void test_large_body_goes_to_a_member_that_can_take_it_or_is_lost(void **state)
{
    const struct world_sub sub = {
        "a",         .window = 1, .queue = 3, .window_bytes = 1000000, .queue_bytes = 1000000,
        .group = "g"};
    struct world *w = *state;
    struct sim_client *p = world_join_mapping(w), *small = world_join(w), *large;

    world_subscribe(w, small, 0, &sub);
    assert_true(sim_register(&w->s, p, 1, 100000, true));
    publish_large(w, p, 0);
    world_expect(w, small, "LOSS 1 1 100000 TOO_LARGE\n");
    large = world_join_mapping(w);
    world_subscribe(w, large, 0, &sub);
    publish_large(w, p, 1);
    sim_read(&w->s, large, 100);
    assert_int_equal(large->subs[0].delivered, 1);
    publish_large(w, p, 2); /* waits, for nobody else can take it */
    world_expect(w, small, "");
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 1);
    sim_unsubscribe(&w->s, large, 0);
    world_expect(w, small, "LOSS 1 1 100000 TOO_LARGE\n");
    sim_settle(&w->s);
    assert_int_equal(p->n_returned, 3);
}

/* ---- keys ---- */

static const struct world_sub sticky = {"a", .window = 2, .queue = 4, .group = "g", .sticky = true};

/* Two keys that belong to different members of a trio: the first is the first member's. */
static void test_key_stays_with_its_member(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &sticky);
    struct sim_client *c;

    for (unsigned i = 0; i < 2; i++) {
        world_publish_key(w, x.p, "a", "one");
        world_publish_key(w, x.p, "a", "two");
    }
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.4\n");
    /* also if it is stuck, and a new one has nothing to do */
    c = world_join(w);
    world_subscribe(w, c, 0, &sticky);
    world_publish_key(w, x.p, "a", "one");
    world_publish_key(w, x.p, "a", "three"); /* a new key: the one with the fewest */
    world_expect(w, x.m[0], "");
    world_expect(w, c, "MESSAGE 1 a 1.6\n");
    world_publish(w, x.p, "a"); /* without a key: whoever has the least to do */
    world_expect(w, c, "MESSAGE 1 a 1.7\n");
    world_credit(w, x.m[0], 0, 1, 10);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.5\n");
    sim_settle(&w->s);
}

static void test_stuck_key_holds_no_other_up(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &sticky);

    for (unsigned i = 0; i < 9; i++) {
        world_publish_key(w, x.p, "a", "one");
        world_publish_key(w, x.p, "a", "two");
        sim_read(&w->s, x.m[1], 10);
        sim_give_credit(&w->s, x.m[1], 0);
        sim_read(&w->s, x.p, 10);
    }
    assert_int_equal(x.m[1]->subs[0].delivered, 9);
    world_credit(w, x.m[0], 0, 2, 20);
    world_expect(w, x.m[0],
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\nLOSS 1 3 30 QUEUE_FULL\n"
                 "MESSAGE 1 a 1.11\nMESSAGE 1 a 1.13\n");
    sim_settle(&w->s);
}

static void test_keys_of_a_member_that_goes_are_given_to_others_with_what_waits(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &sticky);

    for (unsigned i = 0; i < 8; i++) {
        world_publish_key(w, x.p, "a", "one"); /* two go, two are dropped, four wait */
    }
    sim_disconnect(&w->s, x.m[0]);
    router_check(w->s.router);
    /* the loss was not told yet */
    world_expect(w, x.m[1], "LOSS 1 2 20 QUEUE_FULL\nMESSAGE 1 a 1.5\nMESSAGE 1 a 1.6\n");
    world_publish_key(w, x.p, "a", "one");
    world_credit(w, x.m[1], 0, 3, 30);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.7\nMESSAGE 1 a 1.8\n");
    world_credit(w, x.m[1], 0, 2, 20);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.9\n");
}

static void test_key_with_policy_block_gives_its_credit_back_once(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 2,
                                                     .group = "g", .sticky = true});

    for (unsigned i = 0; i < 10; i++) {
        world_publish_key(w, x.p, "a", "one");
    }
    sim_disconnect(&w->s, x.m[0]);
    router_check(w->s.router);
    sim_settle(&w->s);
    assert_int_equal(x.m[1]->subs[0].delivered, 9);
    assert_int_equal(x.p->peer->used_messages, x.p->peer->free_messages);
}

static void test_keys_mean_nothing_to_others(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &plain);
    char key[BUS_TOPIC_MAX + 2];

    memset(key, 'k', sizeof(key));
    world_publish_key(w, x.p, "a", "one");
    world_publish_key(w, x.p, "a", "one");
    key[BUS_TOPIC_MAX] = '\0';
    world_publish_key(w, x.p, "a", key);
    key[BUS_TOPIC_MAX] = 'k';
    key[BUS_TOPIC_MAX + 1] = '\0';
    assert_false(sim_publish(&w->s, x.p, &(struct sim_publish){"a", .body_bytes = 10, .key = key}));
    world_expect(w, x.p, "STATUS INVALID_ARGUMENT PUBLISH seq=4\n");
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\n");
}

/* ---- SUBSCRIBE ---- */

static void expect_answer(struct world *w, struct sim_client *c, struct wire_subscribe m,
                          const char *status)
{
    char line[64];

    m.subscription = 2;
    snprintf(line, sizeof(line), "STATUS %s SUBSCRIBE sub=2\n", status);
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    router_check(w->s.router);
    world_expect(w, c, line);
}

static void expect_refused(struct world *w, struct sim_client *c, const struct world_sub *sub,
                           const char *status)
{
    expect_answer(w, c, world_subscribe_of(sub), status);
}

static void test_members_agree(void **state)
{
    static const struct world_sub first = {"a",
                                           .window = 2,
                                           .queue = 3,
                                           .group = "g",
                                           .ack = true,
                                           .deliveries_max = 3,
                                           .dead_letter = "dead",
                                           .queue_bytes = 500};
    struct world *w = *state;
    struct sim_client *a = world_join(w), *b = world_join(w);
    struct world_sub other[8];

    world_subscribe(w, a, 0, &first);
    for (unsigned i = 0; i < ARRAY_LEN(other); i++) {
        other[i] = first;
    }
    other[0].policy = BUS_POLICY_BLOCK;
    other[1].queue = 4;
    other[2].queue_bytes = 501;
    other[3].descriptors = true;
    other[4].sticky = true;
    other[5].deliveries_max = 4;
    other[6].dead_letter = "deaf";
    other[7].dead_letter = NULL;
    for (unsigned i = 0; i < ARRAY_LEN(other); i++) {
        expect_refused(w, b, &other[i], "INVALID_ARGUMENT");
    }
    other[0] = first;
    other[0].window = 7; /* that is its own affair */
    other[0].window_bytes = 8;
    expect_refused(w, b, &other[0], "OK");
    assert_int_equal(router_counters(w->s.router)->groups_now, 1);
}

static void test_what_groups_cannot_do_is_refused(void **state)
{
    static const struct world_sub wrong[] = {
        {"a", BUS_POLICY_DISCONNECT, .group = "g"},
        {"a", BUS_POLICY_LATEST, .group = "g", .sticky = true},
        {"a", .group = "g", .no_local = true},
        {"a", .group = "g", .deliveries_max = 1},
        {"a", .group = "g", .dead_letter = "dead"},
        {"a", .group = "g\x01"},
        {"a", .group = "\xff"},
        {"a", .ack = true},
        {"a", .sticky = true},
        {"a", .deliveries_max = 1},
        {"a", .dead_letter = "dead"},
        {"a", .group = "g", .ack = true, .dead_letter = "dead/#"},
        {"a/#", .group = "g", .ack = true, .dead_letter = "a/dead"},
    };
    struct wire_subscribe m = {.filter = text_from("a"), .group = text_from("g")};
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    char name[GROUP_NAME_MAX + 2];

    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        expect_refused(w, c, &wrong[i], "INVALID_ARGUMENT");
    }
    expect_refused(w, c,
                   &(struct world_sub){"a", .group = "g", .ack = true, .dead_letter = "$bus/x"},
                   "DENIED");
    m.retained = 1;
    expect_answer(w, c, m, "INVALID_ARGUMENT");
    m.retained = 0;
    m.min_interval_ms = 1;
    expect_answer(w, c, m, "INVALID_ARGUMENT");
    m.min_interval_ms = 0;
    m.silence_ms = 1;
    expect_answer(w, c, m, "INVALID_ARGUMENT");
    m.silence_ms = 0;
    memset(name, 'g', sizeof(name));
    m.group = (struct text){name, GROUP_NAME_MAX + 1};
    expect_answer(w, c, m, "INVALID_ARGUMENT");
    assert_int_equal(router_counters(w->s.router)->groups_now, 0);
    m.group.len = GROUP_NAME_MAX;
    expect_answer(w, c, m, "OK");
}

/* ---- limits and memory ---- */

static void test_groups_bytes_max_bounds_what_waits_in_all_groups(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct trio x;

    (void) state;
    limits.groups_bytes_max = 64 * KIB;
    limits.publish_window_messages = 1000;
    limits.publish_window_bytes = 1000000;
    w = world_new(&limits);
    x = join_trio(w, &(struct world_sub){"a", .window = 1, .queue = 1000, .queue_bytes = 1000000,
                                         .group = "g"});
    for (unsigned i = 0; i < 200; i++) {
        assert_true(world_publish_bytes(w, x.p, "a", 1000));
    }
    assert_in_range(w->s.router->users.list->groups.used, 50000, 64 * KIB);
    assert_true(router_counters(w->s.router)->messages_lost > 0);
    sim_settle(&w->s);
    assert_int_equal(x.m[0]->subs[0].at + x.m[1]->subs[0].at, 200);
    world_free(w);
}

/* The n-th allocation fails while members join and messages wait. Returns whether
 * there was one. */
static bool failing_turn(struct world *w, const struct world_sub *sub, unsigned long n)
{
    const struct counters *k = router_counters(w->s.router);
    const struct counters before = *k;
    struct trio x = {.p = world_join(w)};
    bool joined = true, failed;

    x.m[0] = world_join(w);
    x.m[1] = world_join(w);
    failmalloc_arm(n);
    for (unsigned i = 0; i < 2; i++) {
        struct wire_subscribe m = world_subscribe_of(sub);

        joined = sim_subscribe(&w->s, x.m[i], 0, &m) && joined;
        router_check(w->s.router);
    }
    for (unsigned i = 0; i < 8 && !peer_is_closing(x.p->peer); i++) {
        (void) sim_publish(&w->s, x.p,
                           &(struct sim_publish){"a", .body_bytes = 10, .key = i % 3 ? "x" : NULL});
        router_check(w->s.router);
    }
    failed = failmalloc_disarm() > 0;
    sim_settle(&w->s);
    if (joined && x.m[0]->peer && x.m[1]->peer) {
        assert_int_equal(x.m[0]->subs[0].at + x.m[1]->subs[0].at,
                         k->messages_matched - before.messages_matched);
    }
    assert_int_equal(k->messages_returned, before.messages_returned);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (w->s.clients[i].peer) {
            sim_disconnect(&w->s, &w->s.clients[i]);
        }
        world_clear(w, &w->s.clients[i]);
    }
    assert_int_equal(router_counters(w->s.router)->charged_bytes_now, 0);
    return failed;
}

static void test_failing_allocations_lose_nothing_in_silence(void **state)
{
    static const struct world_sub kinds[] = {
        {"a", .window = 1, .queue = 2, .group = "g"},
        {"a", .window = 1, .queue = 2, .group = "g", .sticky = true},
        {"a", .window = 1, .queue = 2, .group = "g", .ack = true},
        {"a", .window = 1, .queue = 2, .group = "g", .ack = true, .sticky = true},
    };
    struct world *w = *state;

    for (unsigned kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        unsigned long n = 1;

        while (failing_turn(w, &kinds[kind], n)) {
            n++;
        }
        assert_true(n > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_each_message_goes_to_one_member_in_turn),
        WORLD_CASES(test_messages_expire_in_the_queue_of_a_group),
        WORLD_CASES(test_member_with_least_in_work_is_first),
        WORLD_CASES(test_stuck_member_is_passed_over),
        WORLD_CASES(test_member_that_does_not_read_is_passed_over),
        WORLD_CASES(test_what_waits_goes_to_whoever_can_take_it_first),
        WORLD_CASES(test_loss_is_told_to_whoever_gets_the_next_message),
        WORLD_CASES(test_loss_behind_which_nothing_waits_is_told_without_credit),
        WORLD_CASES(test_latest_conflates_what_waits_for_the_group),
        WORLD_CASES(test_block_withholds_credit_until_a_member_gets_on),
        WORLD_CASES(test_block_ends_for_all_members_when_none_gets_on),
        WORLD_CASES(test_last_member_takes_what_waits_with_it),
        WORLD_CASES(test_new_member_gets_what_waits_behind_its_answer),
        WORLD_CASES(test_groups_are_by_filter_and_name_and_others_get_all),
        WORLD_CASES(test_two_members_may_be_of_one_connection),
        WORLD_CASES(test_topic_is_bound_on_each_members_link_and_again_with_its_number),
        WORLD_CASES(test_monitor_sees_the_member_that_got_it),
        WORLD_CASES(test_closing_member_gets_nothing),
        WORLD_CASES(test_large_body_goes_to_a_member_that_can_take_it_or_is_lost),
        WORLD_CASES(test_key_stays_with_its_member),
        WORLD_CASES(test_stuck_key_holds_no_other_up),
        WORLD_CASES(test_keys_of_a_member_that_goes_are_given_to_others_with_what_waits),
        WORLD_CASES(test_key_with_policy_block_gives_its_credit_back_once),
        WORLD_CASES(test_keys_mean_nothing_to_others),
        WORLD_CASES(test_members_agree),
        WORLD_CASES(test_what_groups_cannot_do_is_refused),
        cmocka_unit_test(test_groups_bytes_max_bounds_what_waits_in_all_groups),
        WORLD_CASES(test_failing_allocations_lose_nothing_in_silence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
