/* SPDX-License-Identifier: MIT */
/* Subscriptions that end when what waits for them has gone: docs/protocol.md, section 18. */
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/parties.h"
/* after world.h */
#include "support/calls.h"

#define OK_1 "STATUS OK UNSUBSCRIBE sub=1\n"

static void unsubscribe(struct world *w, struct sim_client *c, uint32_t flags)
{
    struct wire_unsubscribe m = {1, flags};

    sim_send(&w->s, c, VERB_UNSUBSCRIBE, &m, NULL, 0);
}

static void test_without_anything_waiting_it_ends_at_once(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 10});

    sim_drain(&w->s, x.c, 0);
    world_publish(w, x.p, "a");
    world_expect(w, x.c, OK_1);
    assert_int_equal(COUNTER(w, subscriptions_now), 0);
    assert_int_equal(COUNTER(w, subscriptions_drained), 1);
    /* the number is free again */
    world_subscribe(w, x.c, 0, &(struct world_sub){"a", .window = 10});
    world_publish(w, x.p, "a");
    world_expect(w, x.c, "MESSAGE 1 a 1.2\n");
}

static void test_what_waits_comes_and_nothing_new(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3});
    struct sim_publish confirmed = {.topic = "a", .body_bytes = WORLD_BODY, .confirm = true};

    world_publish_n(w, x.p, "a", 5); /* 2 is dropped */
    sim_drain(&w->s, x.c, 0);
    assert_true(sim_publish(&w->s, x.p, &confirmed));
    world_expect(w, x.p, "CONFIRM 6 0 0 0 0\n");
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "LOSS 1 1 10 QUEUE_FULL\nMESSAGE 1 a 1.3\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.4\n");
    assert_int_equal(COUNTER(w, subscriptions_now), 1);
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.5\n" OK_1);
    assert_int_equal(COUNTER(w, subscriptions_now), 0);
    assert_int_equal(COUNTER(w, messages_discarded), 0);
}

static void test_what_waits_for_room_in_the_output_comes_too(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 100, .queue = 100});

    world_fill_output(w, x.c);
    world_publish(w, x.p, "a");
    assert_int_equal(COUNTER(w, messages_queued_now), 1);
    sim_drain(&w->s, x.c, 0);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n" OK_1);
}

static void test_what_expires_does_not_hold_it_up(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3});
    struct sim_publish brief = {.topic = "a", .body_bytes = WORLD_BODY, .ttl_ms = 10};

    world_publish(w, x.p, "a");
    assert_true(sim_publish(&w->s, x.p, &brief));
    sim_drain(&w->s, x.c, 0);
    world_advance_ms(w, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "LOSS 1 1 10 EXPIRED\n" OK_1);
}

static void test_a_further_unsubscribe_ends_it_at_once(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3});

    world_publish_n(w, x.p, "a", 2);
    unsubscribe(w, x.c, UNSUBSCRIBE_DRAIN);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    x.c->subs[0].used = false; /* the oracle is not to wait for the rest */
    unsubscribe(w, x.c, 0);
    world_expect(w, x.c, OK_1 OK_1); /* each has its answer */
    assert_int_equal(COUNTER(w, subscriptions_drained), 0);
    assert_int_equal(COUNTER(w, messages_discarded), 1);
    /* the same if the first had been answered before the second came */
    world_subscribe(w, x.c, 0, &(struct world_sub){"a", .window = 1});
    unsubscribe(w, x.c, UNSUBSCRIBE_DRAIN);
    unsubscribe(w, x.c, 0);
    world_expect(w, x.c, OK_1 "STATUS UNKNOWN_SUBSCRIPTION UNSUBSCRIBE sub=1\n");
    x.c->subs[0].used = false;
}

static void test_what_is_refused_changes_nothing(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3});

    unsubscribe(w, x.c, 2);
    unsubscribe(w, x.c, 3);
    world_expect(w, x.c,
                 "STATUS INVALID_ARGUMENT UNSUBSCRIBE sub=1\n"
                 "STATUS INVALID_ARGUMENT UNSUBSCRIBE sub=1\n");
    world_publish_n(w, x.p, "a", 2);
    sim_drain(&w->s, x.c, 0);
    unsubscribe(w, x.c, UNSUBSCRIBE_DRAIN);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nSTATUS UNEXPECTED UNSUBSCRIBE sub=1\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.2\n" OK_1);
}

static void test_a_client_may_leave_meanwhile(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3});

    world_publish_n(w, x.p, "a", 2);
    sim_drain(&w->s, x.c, 0);
    sim_disconnect(&w->s, x.c);
    (void) sim_work_off(&w->s);
    assert_int_equal(COUNTER(w, subscriptions_now), 0);
    assert_int_equal(COUNTER(w, messages_queued_now), 0);
}

static void test_many_end_in_parts(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (unsigned i = 0; i < SIM_SUBS; i++) {
        world_subscribe(w, c, i, &(struct world_sub){"a", .window = 1, .queue = 3});
    }
    world_fill_output(w, c);
    world_publish(w, c, "a");
    for (unsigned i = 0; i < SIM_SUBS; i++) {
        sim_drain(&w->s, c, i);
    }
    sim_settle(&w->s);
    assert_int_equal(COUNTER(w, subscriptions_drained), SIM_SUBS);
    assert_int_equal(c->n_status[BUS_STATUS_OK], 2 * SIM_SUBS);
}

/* ---- what else can wait ---- */

static void test_kept_messages_come_first(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_advertise keep = {.alias = 1, .topic = text_from("a"), .retain_messages = 3};
    struct wire_subscribe m = world_subscribe_of(
        &(struct world_sub){"a", .window = 1, .queue = 3, .retained = BUS_RETAINED_ALL});

    sim_send(&w->s, p, VERB_ADVERTISE, &keep, NULL, 0);
    world_publish_n(w, p, "a", 2);
    w->s.looks_away = true; /* what is kept is not due */
    assert_true(sim_subscribe(&w->s, c, 0, &m));
    unsubscribe(w, c, UNSUBSCRIBE_DRAIN);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\n");
    world_credit(w, c, 0, 1, 10);
    world_expect(w, c, "MESSAGE 1 a 1.2 retained\nLIVE 1 2\n" OK_1);
    sim_send(&w->s, p, VERB_CLEAR, &(struct wire_clear){.topic = text_from("a")}, NULL, 0);
}

static void test_what_waits_for_an_interval_goes_at_once(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", .window = 10, .queue = 3, .min_interval_ms = 1000});

    world_publish_n(w, x.p, "a", 3);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    sim_drain(&w->s, x.c, 0);
    world_expect(w, x.c, "LOSS 1 1 10 CONFLATED\nMESSAGE 1 a 1.3\n" OK_1);
}

static void test_it_counts_for_nobodys_interest(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3});
    struct wire_advertise m = {.alias = 1, .topic = text_from("a"), .flags = 2};

    sim_send(&w->s, x.p, VERB_ADVERTISE, &m, NULL, 0);
    world_advance_ms(w, 1);
    world_expect(w, x.p, "INTEREST 1 1\n");
    world_publish_n(w, x.p, "a", 2);
    sim_drain(&w->s, x.c, 0);
    world_advance_ms(w, 1);
    world_expect(w, x.p, "INTEREST 1 0\n");
    sim_settle(&w->s);
    world_advance_ms(w, 1);
    world_expect(w, x.p, "");
}

/* ---- groups ---- */

static const struct world_sub member = {"a", .window = 2, .queue = 9, .group = "g"};
static const struct world_sub worker = {"a", .window = 1, .queue = 9, .group = "g", .ack = true};

static void test_a_member_gets_nothing_more(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &member);

    world_publish_n(w, x.p, "a", 5); /* two each, and one waits */
    sim_drain(&w->s, x.m[0], 0);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\n" OK_1);
    world_credit(w, x.m[1], 0, 2, 20);
    world_publish(w, x.p, "a");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.4\nMESSAGE 1 a 1.5\nMESSAGE 1 a 1.6\n");
}

static void test_a_member_acknowledges_what_it_has(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &worker);

    world_publish_n(w, x.p, "a", 3);
    sim_drain(&w->s, x.m[0], 0);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2 #1\n");
    world_ack(w, x.m[0], 0, 1, false);
    world_expect(w, x.m[0], OK_1);
    world_expect(w, x.m[1], "");
    world_ack(w, x.m[1], 0, 1, false);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.3 #2\n");
    assert_int_equal(x.k->messages_redelivered, 0);
}

static void test_what_it_refuses_goes_to_others(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &worker);

    world_publish_n(w, x.p, "a", 2);
    sim_drain(&w->s, x.m[0], 0);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\n");
    world_ack(w, x.m[0], 0, 1, true);
    world_expect(w, x.m[0], OK_1);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2 #1\n");
    world_ack(w, x.m[1], 0, 1, false);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.1 #2 again 1\n");
}

static void test_the_last_ones_get_what_waits_for_the_group(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &worker);

    world_publish_n(w, x.p, "a", 4);
    sim_drain(&w->s, x.m[0], 0);
    sim_drain(&w->s, x.m[1], 0);
    world_publish(w, x.p, "a"); /* nobody is there for it */
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2 #1\n");
    world_ack(w, x.m[0], 0, 1, false);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.3 #2\n");
    world_ack(w, x.m[0], 0, 2, false);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.4 #3\n");
    world_ack(w, x.m[0], 0, 3, false);
    world_expect(w, x.m[0], OK_1);
    world_ack(w, x.m[1], 0, 1, false);
    world_expect(w, x.m[1], OK_1);
    assert_int_equal(x.k->groups_now, 0);
    assert_int_equal(x.k->messages_discarded, 0);
}

static void test_a_new_member_takes_over(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *old = world_join(w), *new = world_join(w);

    world_subscribe(w, old, 0, &worker);
    world_publish_n(w, p, "a", 3);
    sim_drain(&w->s, old, 0);
    world_expect(w, old, "MESSAGE 1 a 1.1 #1\n");
    assert_true(sim_subscribe(&w->s, new, 0,
                              &(struct wire_subscribe){.filter = text_from("a"),
                                                       .group = text_from("g"),
                                                       .window_messages = 3,
                                                       .window_bytes = 100000,
                                                       .queue_messages = 9,
                                                       .queue_bytes = 100000,
                                                       .flags = 8}));
    world_publish(w, p, "a");
    world_expect(w, new,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.2 #1\nMESSAGE 1 a 1.3 #2\n"
                 "MESSAGE 1 a 1.4 #3\n");
    world_ack(w, old, 0, 1, false);
    world_expect(w, old, OK_1);
}

static void test_keys_go_to_those_who_stay(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(
        w, &(struct world_sub){"a", .window = 1, .queue = 9, .group = "g", .sticky = true});
    struct sim_client *owner, *other;

    world_publish_key(w, x.p, "a", "k"); /* delivered to its owner */
    world_publish_key(w, x.p, "a", "k"); /* waits for the same */
    sim_read(&w->s, x.m[0], 100);
    sim_read(&w->s, x.m[1], 100);
    owner = x.m[0]->subs[0].delivered ? x.m[0] : x.m[1];
    other = owner == x.m[0] ? x.m[1] : x.m[0];
    world_clear(w, owner);
    sim_drain(&w->s, owner, 0);
    world_publish_key(w, x.p, "a", "k");
    world_expect(w, owner, OK_1);
    world_expect(w, other, "MESSAGE 1 a 1.2\n");
    world_credit(w, other, 0, 1, 10);
    world_expect(w, other, "MESSAGE 1 a 1.3\n");
}

static void test_what_it_refuses_goes_to_whoever_has_the_key_now(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &(struct world_sub){"a", .window = 1, .queue = 9, .group = "g",
                                                     .ack = true, .sticky = true});
    struct sim_client *owner, *other;

    world_publish_key(w, x.p, "a", "k");
    sim_read(&w->s, x.m[0], 100);
    sim_read(&w->s, x.m[1], 100);
    owner = x.m[0]->subs[0].delivered ? x.m[0] : x.m[1];
    other = owner == x.m[0] ? x.m[1] : x.m[0];
    world_clear(w, owner);
    sim_drain(&w->s, owner, 0);
    world_ack(w, owner, 0, 1, true);
    world_expect(w, owner, OK_1);
    world_expect(w, other, "MESSAGE 1 a 1.1 #1 again 1\n");
}

/* ---- servers ---- */

static void test_a_server_answers_the_calls_that_it_has(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = world_join(w);

    world_request(w, c, 1, "a");
    unsubscribe(w, s, UNSUBSCRIBE_DRAIN);
    world_request(w, c, 2, "a");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    world_expect(w, c, "DONE NO_RESPONDER 2\n");
    world_reply_more(w, s, 1);
    world_reply(w, s, 1);
    world_expect(w, s, OK_1);
    world_expect(w, c, "ANSWER 1 1 MORE\nANSWER 1 1\n");
}

static void test_others_serve_on(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *other = world_join_server(w, "a", 1),
                      *c = world_join(w);

    for (unsigned i = 1; i <= 3; i++) { /* one each, and one waits */
        world_request(w, c, i, "a");
    }
    unsubscribe(w, s, UNSUBSCRIBE_DRAIN);
    world_expect(w, s, "CALL 1 a 3 call=1 3600000\n");
    world_expect(w, other, "CALL 1 a 3 call=2 3600000\n");
    world_reply(w, s, 1);
    world_expect(w, s, OK_1);
    world_expect(w, other, "");
    world_reply(w, other, 2);
    world_expect(w, other, "CALL 1 a 3 call=3 3600000\n");
    world_reply(w, other, 3);
    world_expect(w, c, "ANSWER 2 1\nANSWER 1 2\nANSWER 3 2\n");
}

static void test_what_waits_for_the_last_server_ends(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    unsubscribe(w, s, UNSUBSCRIBE_DRAIN);
    world_expect(w, c, "DONE NO_RESPONDER 2\n");
    world_cancel(w, c, 1);
    world_expect(w, c, "DONE CANCELLED 1\n");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\nCANCEL call=1 CANCELLED\n" OK_1);
}

static void test_calls_to_all_that_wait_for_it_still_come(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request_all(w, c, 1, "a");
    world_request_all(w, c, 2, "a");
    unsubscribe(w, s, UNSUBSCRIBE_DRAIN);
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    world_reply(w, s, 1);
    world_expect(w, s, "CALL 1 a 2 call=2 3600000\n");
    world_reply(w, s, 2);
    world_expect(w, s, OK_1);
    world_expect(w, c, "ANSWER 1.1 1\nDONE OK 1 1/0/0\nANSWER 2.1 1\nDONE OK 2 1/0/0\n");
}

/* ---- want of memory ---- */

static void test_without_memory_it_goes_on_as_before(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 9});
    unsigned n_refused = 0;

    world_publish_n(w, x.p, "a", 2);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    x.c->peer->quota.limit = x.c->peer->quota.used + 1;
    unsubscribe(w, x.c, UNSUBSCRIBE_DRAIN);
    x.c->peer->quota.limit = 1 << 20;
    world_expect(w, x.c, "STATUS NO_MEMORY UNSUBSCRIBE sub=1\n");
    FOR_EACH_FAILING_MALLOC (n) {
        unsubscribe(w, x.c, UNSUBSCRIBE_DRAIN);
        n_refused += x.c->peer && !(x.c->peer->subs[0]->flags & SUB_DRAINING);
    }
    assert_true(n_refused > 0);
    x.c->subs[0].drains = true;
    sim_settle(&w->s);
    assert_int_equal(COUNTER(w, subscriptions_drained), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_without_anything_waiting_it_ends_at_once),
        WORLD_CASES(test_what_waits_comes_and_nothing_new),
        WORLD_CASES(test_what_waits_for_room_in_the_output_comes_too),
        WORLD_CASE(test_what_expires_does_not_hold_it_up),
        WORLD_CASE(test_a_further_unsubscribe_ends_it_at_once),
        WORLD_CASE(test_what_is_refused_changes_nothing),
        WORLD_CASE(test_a_client_may_leave_meanwhile),
        WORLD_CASE(test_many_end_in_parts),
        WORLD_CASE(test_kept_messages_come_first),
        WORLD_CASE(test_what_waits_for_an_interval_goes_at_once),
        WORLD_CASE(test_it_counts_for_nobodys_interest),
        WORLD_CASE(test_a_member_gets_nothing_more),
        WORLD_CASE(test_a_member_acknowledges_what_it_has),
        WORLD_CASE(test_what_it_refuses_goes_to_others),
        WORLD_CASE(test_the_last_ones_get_what_waits_for_the_group),
        WORLD_CASE(test_a_new_member_takes_over),
        WORLD_CASE(test_keys_go_to_those_who_stay),
        WORLD_CASE(test_what_it_refuses_goes_to_whoever_has_the_key_now),
        WORLD_CASE(test_a_server_answers_the_calls_that_it_has),
        WORLD_CASE(test_others_serve_on),
        WORLD_CASE(test_what_waits_for_the_last_server_ends),
        WORLD_CASE(test_calls_to_all_that_wait_for_it_still_come),
        WORLD_CASE(test_without_memory_it_goes_on_as_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
