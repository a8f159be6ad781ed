/* SPDX-License-Identifier: MIT */
/* What clients can make the router hold. Every case ends with all charges paid back
 * (support/world).
 */
#include "core/state.h"
#include "support/world.h"

/* ---- counts ---- */

static void test_clients_beyond_the_limit_are_turned_away_until_one_leaves(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a;
    struct world *w;

    (void) state;
    limits.clients_max = 2;
    w = world_new(&limits);
    a = world_join(w);
    (void) world_join(w);
    assert_null(sim_attach(&w->s, true));
    assert_int_equal(router_counters(w->s.router)->clients_refused, 1);
    sim_disconnect(&w->s, a);
    assert_non_null(sim_attach(&w->s, true));
    world_free(w);
}

/* NO_MEMORY: for the table of numbers to grow. */
static unsigned n_refused(const struct sim_client *c)
{
    return c->n_status[BUS_STATUS_LIMIT] + c->n_status[BUS_STATUS_NO_MEMORY];
}

static void test_memory_of_a_client_bounds_its_subscriptions_and_aliases(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *other;
    struct world *w;

    (void) state;
    limits.client_bytes_max = 64 * KIB;
    limits.subscriptions_max = limits.aliases_max = 1000;
    w = world_new(&limits);
    c = world_join(w);
    other = world_join(w);
    for (uint32_t i = 1; i <= 1000 && n_refused(c) == 0; i++) {
        struct wire_subscribe m = {.subscription = i, .filter = text_from("a/b/c/d/e/+")};

        sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
        sim_read(&w->s, c, 10);
    }
    assert_int_equal(n_refused(c), 1);
    for (uint32_t i = 1; i <= 1000 && n_refused(other) == 0; i++) {
        char name[16];
        struct wire_advertise m = {i, {name, (size_t) snprintf(name, sizeof(name), "%u", i)}};

        sim_send(&w->s, other, VERB_ADVERTISE, &m, NULL, 0);
        sim_read(&w->s, other, 10);
    }
    assert_int_equal(n_refused(other), 1);
    assert_in_range(router_counters(w->s.router)->charged_bytes_now, 120 * KIB, 132 * KIB);
    world_free(w);
}

static void test_table_of_numbers_beyond_the_memory_of_a_client_is_refused(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c;
    struct world *w;

    (void) state;
    limits.client_bytes_max = 64 * KIB;
    limits.subscriptions_max = limits.aliases_max = 1000000;
    w = world_new(&limits);
    c = world_join(w);
    sim_send(&w->s, c, VERB_SUBSCRIBE,
             &(struct wire_subscribe){.subscription = 1000000, .filter = text_from("a")}, NULL, 0);
    sim_send(&w->s, c, VERB_ADVERTISE, &(struct wire_advertise){1000000, text_from("a")}, NULL, 0);
    world_expect(w, c,
                 "STATUS NO_MEMORY SUBSCRIBE sub=1000000\n"
                 "STATUS NO_MEMORY ADVERTISE alias=1000000\n");
    assert_in_range(router_counters(w->s.router)->charged_bytes_now, 0, 4096);
    world_free(w);
}

static void test_total_bound_holds_for_all_clients_together(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *p, *c[4];
    struct world *w;

    (void) state;
    limits.client_bytes_max = 64 * KIB;
    limits.total_bytes_max = 100 * KIB;
    w = world_new(&limits);
    p = world_join(w);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = world_join(w);
        world_subscribe(w, c[i], 0,
                        &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 1000,
                                            .queue_bytes = 1000000});
    }
    for (unsigned i = 0; i < 200; i++) {
        assert_true(world_publish_bytes(w, p, "a", 500));
        while (router_next_dirty(w->s.router)) {
        }
        assert_in_range(router_counters(w->s.router)->charged_bytes_now, 0, 130 * KIB);
    }
    sim_settle(&w->s);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        assert_int_equal(c[i]->subs[0].delivered + c[i]->subs[0].lost, 200);
    }
    world_free(w);
}

static uint64_t charged_without_output(const struct peer *p)
{
    return p->charge.bytes - p->out_charged;
}

static void test_what_a_client_was_told_of_senders_and_topics_is_charged(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w), *tap = world_join(w);
    uint64_t before, tap_before;

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, 10, .queue = 10});
    sim_send(&w->s, tap, VERB_MONITOR, &(struct wire_monitor){0}, NULL, 0);
    before = charged_without_output(c->peer);
    tap_before = charged_without_output(tap->peer);
    world_publish(w, p, "a");
    assert_int_equal(charged_without_output(c->peer), before + idset_memory(&c->peer->known));
    assert_true(idset_memory(&c->peer->known) > 0);
    assert_int_equal(charged_without_output(tap->peer),
                     tap_before + idset_memory(&tap->peer->known) +
                         idset_memory(&tap->peer->tap->known_topics));
    assert_true(idset_memory(&tap->peer->tap->known_topics) > 0);
}

/* ---- the output ---- */

static void test_output_of_a_client_that_never_reads_is_bounded_for_messages(void **state)
{
    static const enum bus_policy policies[] = {BUS_POLICY_DROP_OLDEST, BUS_POLICY_DROP_NEWEST,
                                               BUS_POLICY_LATEST};
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    for (unsigned i = 0; i < ARRAY_LEN(policies); i++) {
        world_subscribe(w, c, i,
                        &(struct world_sub){"#", policies[i], .window = 100000, .queue = 20,
                                            .queue_bytes = 5000, .window_bytes = 100000000});
    }
    for (unsigned i = 0; i < 3000; i++) {
        assert_true(world_publish_bytes(w, p, i % 2 ? "a" : "b", 400));
        sim_read(&w->s, p, 10);
        assert_in_range(peer_output(c->peer)->bytes, 0, 4096 + 600);
        assert_in_range(router_counters(w->s.router)->messages_queued_now, 0, 60);
    }
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered + c->subs[0].lost, 3000);
}

static void test_client_that_does_not_read_its_answers_is_not_read(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_ping ping = {UINT64_MAX};
    unsigned n = 0;

    while (peer_wants_input(c->peer)) {
        sim_send(&w->s, c, VERB_PING, &ping, NULL, 0);
        assert_true(++n < 1000);
    }
    /* twice the output of messages, and one answer */
    assert_in_range(peer_output(c->peer)->bytes, 2 * 4096 + 1, 2 * 4096 + 64);
    sim_read(&w->s, c, 1);
    assert_true(peer_wants_input(c->peer));
    sim_read(&w->s, c, 1000);
    assert_int_equal(c->n_pongs, n);
}

static void test_full_output_of_one_client_delays_nobody_else(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *slow = world_join(w), *c = world_join(w);
    struct world_sub sub = {"a", BUS_POLICY_DROP_OLDEST, .window = 10000, .queue = 5};

    world_subscribe(w, slow, 0, &sub);
    world_subscribe(w, c, 0, &sub);
    for (unsigned i = 0; i < 300; i++) {
        world_publish(w, p, "a");
        sim_read(&w->s, c, 10);
        assert_int_equal(c->subs[0].delivered, i + 1);
        sim_give_credit(&w->s, c, 0);
    }
    assert_in_range(peer_output(slow->peer)->bytes, 4096, 4200);
    sim_settle(&w->s);
}

static void test_waiting_subscriptions_of_one_link_take_turns(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    for (unsigned i = 0; i < 4; i++) {
        world_subscribe(
            w, c, i,
            &(struct world_sub){"#", BUS_POLICY_DROP_OLDEST, .window = 1000, .queue = 1000});
    }
    for (unsigned i = 0; i < 40; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
    }
    /* 4096 bytes go out at a time; nobody is forgotten */
    for (unsigned i = 0; i < 10; i++) {
        sim_read(&w->s, c, 1);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_in_range(c->subs[i].delivered, 3, 30);
    }
    sim_settle(&w->s);
}

/* ---- queues ---- */

static void test_queue_of_the_largest_size_holds_that_many(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *p, *c;
    struct world *w;

    (void) state;
    limits.client_bytes_max = 16 * MIB;
    w = world_new(&limits);
    p = world_join(w);
    c = world_join(w);
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 5000,
                                        .queue_bytes = 1000000});
    world_publish_n(w, p, "a", 5001);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 5000);
    assert_int_equal(router_counters(w->s.router)->messages_lost, 0);
    world_publish(w, p, "a");
    assert_int_equal(router_counters(w->s.router)->messages_lost, 1);
    w->s.on_frame = NULL; /* too long for a transcript */
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered, 5001);
    /* a queue that had grown is given back when it is empty */
    assert_in_range(router_counters(w->s.router)->charged_bytes_now, 0, 64 * KIB);
    world_free(w);
}

static void test_message_to_many_subscriptions_is_held_once_and_freed_with_the_last(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c[4];

    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = world_join(w);
        for (unsigned k = 0; k < 4; k++) {
            world_subscribe(w, c[i], k,
                            &(struct world_sub){"#", (enum bus_policy) k, .window = 1, .queue = 3});
        }
    }
    world_publish_n(w, p, "a", 12);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        router_check(w->s.router);
        sim_unsubscribe(&w->s, c[i], (unsigned) i);
        sim_disconnect(&w->s, c[i]);
    }
    assert_int_equal(router_counters(w->s.router)->topics_now, 0);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_beyond_the_limit_are_turned_away_until_one_leaves),
        cmocka_unit_test(test_memory_of_a_client_bounds_its_subscriptions_and_aliases),
        cmocka_unit_test(test_table_of_numbers_beyond_the_memory_of_a_client_is_refused),
        cmocka_unit_test(test_total_bound_holds_for_all_clients_together),
        WORLD_CASE(test_what_a_client_was_told_of_senders_and_topics_is_charged),
        WORLD_CASE(test_output_of_a_client_that_never_reads_is_bounded_for_messages),
        WORLD_CASE(test_client_that_does_not_read_its_answers_is_not_read),
        WORLD_CASE(test_full_output_of_one_client_delays_nobody_else),
        WORLD_CASE(test_waiting_subscriptions_of_one_link_take_turns),
        cmocka_unit_test(test_queue_of_the_largest_size_holds_that_many),
        WORLD_CASE(test_message_to_many_subscriptions_is_held_once_and_freed_with_the_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
