/* SPDX-License-Identifier: MIT */
/* At most one message of each topic in an interval, the newest. docs/protocol.md, section 14. */
#include "core/router.h"
#include "support/cargo.h"

#define INTERVAL_MS 10

static struct sim_client *join_paced(struct world *w, struct world_sub sub)
{
    struct sim_client *c = world_join(w);

    sub.window = sub.window ? sub.window : 10;
    sub.queue = sub.queue ? sub.queue : 10;
    sub.min_interval_ms = INTERVAL_MS;
    world_subscribe(w, c, 0, &sub);
    return c;
}

static void test_first_goes_at_once_and_the_newest_when_the_interval_ends(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_paced(w, (struct world_sub){"a"});

    world_publish_n(w, p, "a", 4);
    world_expect(w, c, "MESSAGE 1 a 1.1\n");
    sim_advance(&w->s, 9 * MS);
    world_publish(w, p, "a");
    world_expect(w, c, "");
    sim_advance(&w->s, MS);
    world_expect(w, c, "LOSS 1 3 30 CONFLATED\nMESSAGE 1 a 1.5\n");
    world_publish(w, p, "a"); /* which began the next one */
    world_expect(w, c, "");
    sim_advance(&w->s, 10 * MS);
    world_expect(w, c, "MESSAGE 1 a 1.6\n");
    sim_advance(&w->s, 10 * MS); /* nothing waited: it ends */
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
    world_publish(w, p, "a");
    world_expect(w, c, "MESSAGE 1 a 1.7\n");
}

static void test_each_topic_has_its_own_interval(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_paced(w, (struct world_sub){"#"});

    world_publish_n(w, p, "a", 2);
    sim_advance(&w->s, 5 * MS);
    world_publish_n(w, p, "b", 3);
    world_expect(w, c, "MESSAGE 1 a 1.1\nMESSAGE 1 b 1.3\n");
    sim_advance(&w->s, 5 * MS);
    world_expect(w, c, "MESSAGE 1 a 1.2\n");
    sim_advance(&w->s, 5 * MS);
    world_expect(w, c, "LOSS 1 1 10 CONFLATED\nMESSAGE 1 b 1.5\n");
}

static void test_others_get_all_of_them(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_paced(w, (struct world_sub){"a"}),
                      *all = world_join(w);

    world_subscribe(w, all, 0, &(struct world_sub){"a", .window = 10, .queue = 10});
    world_publish_n(w, p, "a", 3);
    world_expect(w, all, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\n");
    sim_settle(&w->s);
    world_expect(w, c, "MESSAGE 1 a 1.1\nLOSS 1 1 10 CONFLATED\nMESSAGE 1 a 1.3\n");
}

static void test_credit_and_policy_follow(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_client *c = join_paced(w, (struct world_sub){"a", .window = 1, .queue = 2});

    for (unsigned i = 0; i < 5; i++) {
        world_publish_n(w, p, "a", 2);
        sim_advance(&w->s, 10 * MS);
    }
    world_expect(w, c, "MESSAGE 1 a 1.1\n");
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered, 3);
    assert_int_equal(c->subs[0].lost, 7);
}

static void test_confirm_and_monitor_say_that_it_waits(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_paced(w, (struct world_sub){"a"});

    for (unsigned i = 0; i < 3; i++) {
        assert_true(sim_publish(
            &w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .confirm = true}));
    }
    world_expect(w, p, "CONFIRM 1 1 1 0 0\nCONFIRM 2 1 0 1 0\nCONFIRM 3 1 0 1 0\n");
    sim_settle(&w->s);
    world_expect(w, c, "MESSAGE 1 a 1.1\nLOSS 1 1 10 CONFLATED\nMESSAGE 1 a 1.3\n");
}

static void test_what_waits_for_its_interval_expires_too(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_paced(w, (struct world_sub){"a"});

    world_publish_n(w, p, "a", 2);
    assert_true(
        sim_publish(&w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .ttl_ms = 5}));
    sim_advance(&w->s, 10 * MS);
    world_expect(w, c, "MESSAGE 1 a 1.1\nLOSS 1 1 10 CONFLATED\nLOSS 1 1 10 EXPIRED\n");
}

static void test_bodies_that_are_replaced_are_returned(void **state)
{
    struct world *w = *state;
    struct sim_client *p = cargo_publisher(w), *c = world_join_mapping(w);

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", .window = 9, .queue = 9, .min_interval_ms = 10});
    for (unsigned slot = 0; slot < 3; slot++) {
        cargo_publish(w, p, slot);
    }
    world_expect(w, p, "RETURNED 1 1024\n");
    sim_advance(&w->s, 10 * MS);
    world_expect(w, c,
                 "BUFFER 1 8192\nMESSAGE 1 a 1.1 in 1 0 100 1\nPING\n"
                 "LOSS 1 1 100 CONFLATED\nMESSAGE 1 a 1.3 in 1 2048 100 2\n");
    sim_settle(&w->s);
    world_expect(w, p, "RETURNED 1 0\nRETURNED 1 2048\n");
}

static void test_descriptors_wait_with_their_message(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_client *c = join_paced(w, (struct world_sub){"a", .descriptors = true});

    world_publish(w, p, "a");
    assert_true(cargo_try_fds(w, p, 3));
    assert_true(cargo_try_fds(w, p, 2));
    assert_int_equal(router_counters(w->s.router)->descriptors_now, 2);
    sim_advance(&w->s, 10 * MS);
    world_expect(w, c, "MESSAGE 1 a 1.1\nLOSS 1 1 10 CONFLATED\nMESSAGE 1 a 1.3 2/2\nPING\n");
    sim_settle(&w->s);
}

static void test_ends_leave_nothing(void **state)
{
    struct wire_goodbye goodbye = {BUS_GOODBYE_NORMAL, {"", 0}};
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    for (unsigned i = 0; i < 3; i++) {
        struct sim_client *c = join_paced(w, (struct world_sub){"#"});

        world_publish_n(w, p, "a", 3);
        world_publish_n(w, p, "b", 3);
        if (i == 0) {
            sim_disconnect(&w->s, c);
        } else if (i == 1) {
            sim_send(&w->s, c, VERB_GOODBYE, &goodbye, NULL, 0);
            sim_read(&w->s, c, 100);
        } else {
            sim_unsubscribe(&w->s, c, 0);
        }
        router_check(w->s.router);
        assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
        assert_int_equal(router_counters(w->s.router)->topics_now, 0);
        sim_settle(&w->s);
    }
}

static void test_shutdown_sends_what_waits(void **state)
{
    struct world *w;
    struct sim_client *p, *c;

    (void) state;
    w = world_new(NULL);
    p = world_join(w);
    c = join_paced(w, (struct world_sub){"#"});
    world_publish_n(w, p, "a", 3);
    world_publish_n(w, p, "b", 2);
    router_shutdown(w->s.router, &w->s.now);
    world_expect(w, c,
                 "MESSAGE 1 a 1.1\nMESSAGE 1 b 1.4\nLOSS 1 1 10 CONFLATED\n"
                 "MESSAGE 1 a 1.3\nMESSAGE 1 b 1.5\nGOODBYE SHUTDOWN\n");
    sim_fini(&w->s);
    free(w);
}

static void test_disconnect_policy_ends_it_when_the_interval_does(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_client *c =
        join_paced(w, (struct world_sub){"#", BUS_POLICY_DISCONNECT, .window = 1, .queue = 1});

    world_publish(w, p, "a");
    world_publish(w, p, "b");
    world_publish_n(w, p, "a", 2);
    sim_advance(&w->s, 10 * MS);
    world_expect(w, c, "MESSAGE 1 a 1.1\nGOODBYE SLOW_CONSUMER\n");
    router_check(w->s.router);
    sim_advance(&w->s, 10 * MS);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
}

/* ---- want of memory ---- */

static void fails_at(unsigned long n)
{
    struct world *w = world_new(NULL);
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_subscribe m = {
        .filter = text_from("#"), .window_messages = 5, .min_interval_ms = INTERVAL_MS};

    failmalloc_arm(n);
    if (sim_subscribe(&w->s, c, 0, &m)) {
        for (unsigned i = 0; i < 8 && !peer_is_closing(p->peer); i++) {
            (void) sim_publish(
                &w->s, p, &(struct sim_publish){.topic = i % 2 ? "a" : "b", .body_bytes = 10 + i});
        }
    }
    (void) failmalloc_disarm();
    router_check(w->s.router);
    sim_settle(&w->s);
    world_free(w);
}

static void test_any_failing_allocation_is_survived_and_told(void **state)
{
    (void) state;
    for (unsigned long n = 1; n < 40; n++) {
        fails_at(n);
    }
}

static void test_topics_are_bounded_by_the_subscribers_memory(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *p, *c;
    char name[16];

    (void) state;
    limits.client_bytes_max = 64 * KIB;
    limits.output_bytes_max = MIB;
    limits.window_messages_max = 1048576;
    w = world_new(&limits);
    p = world_join(w);
    c = join_paced(w, (struct world_sub){"#", .window = 10000});
    for (unsigned i = 0; i < 500; i++) {
        (void) snprintf(name, sizeof(name), "t/%u", i % 250);
        (void) world_publish_bytes(w, p, name, 10);
        sim_read(&w->s, p, 10);
    }
    router_check(w->s.router);
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered + c->subs[0].lost, 500);
    assert_true(c->subs[0].lost > 50 && c->subs[0].delivered > 50);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_first_goes_at_once_and_the_newest_when_the_interval_ends),
        WORLD_CASE(test_each_topic_has_its_own_interval),
        WORLD_CASE(test_others_get_all_of_them),
        WORLD_CASE(test_credit_and_policy_follow),
        WORLD_CASE(test_confirm_and_monitor_say_that_it_waits),
        WORLD_CASE(test_what_waits_for_its_interval_expires_too),
        WORLD_CASE(test_bodies_that_are_replaced_are_returned),
        WORLD_CASE(test_descriptors_wait_with_their_message),
        WORLD_CASE(test_ends_leave_nothing),
        cmocka_unit_test(test_shutdown_sends_what_waits),
        WORLD_CASE(test_disconnect_policy_ends_it_when_the_interval_does),
        cmocka_unit_test(test_any_failing_allocation_is_survived_and_told),
        cmocka_unit_test(test_topics_are_bounded_by_the_subscribers_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
