/* SPDX-License-Identifier: MIT */
/* Messages with a time to live: told as lost where they would have come. docs/protocol.md,
 * section 14. */
#include "core/router.h"
#include "support/cargo.h"
#include "support/parties.h"

static void publish(struct world *w, struct sim_client *p, const char *topic, uint32_t ttl_ms)
{
    assert_true(sim_publish(
        &w->s, p,
        &(struct sim_publish){.topic = topic, .body_bytes = WORLD_BODY, .ttl_ms = ttl_ms}));
}

static void test_what_goes_at_once_does_not_expire(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 10, .queue = 10});

    publish(w, x.p, "a", 1);
    sim_advance(&w->s, 100 * MS); /* it is on the link */
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
}

static void test_what_waited_too_long_is_lost_in_its_place(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, "a", 0);
    publish(w, x.p, "a", 0);
    publish(w, x.p, "a", 10);
    publish(w, x.p, "a", 5);
    publish(w, x.p, "a", 0);
    publish(w, x.p, "a", 20);
    sim_advance(&w->s, 10 * MS); /* to the nanosecond */
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "LOSS 1 2 20 EXPIRED\nMESSAGE 1 a 1.5\n");
    sim_settle(&w->s);
    world_expect(w, x.c, "MESSAGE 1 a 1.6\n");
    assert_int_equal(router_counters(w->s.router)->messages_expired, 2);
}

static void test_just_before_its_time_it_goes(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, "a", 0);
    publish(w, x.p, "a", 10);
    sim_advance(&w->s, 10 * MS - 1);
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
}

static void test_what_has_expired_uses_no_credit(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, "a", 0);
    publish(w, x.p, "a", 10);
    sim_advance(&w->s, 10 * MS);
    publish(w, x.p, "a", 10); /* which moves the queue */
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    sim_advance(&w->s, 10 * MS);
    world_credit(w, x.c, 0, 1, 10); /* which none of it uses */
    world_expect(w, x.c, "LOSS 1 1 10 EXPIRED\nLOSS 1 1 10 EXPIRED\n");
    publish(w, x.p, "a", 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.4\n");
}

static void test_under_every_policy_the_sum_is_right(void **state)
{
    (void) state;
    for (enum bus_policy policy = 0; policy < BUS_POLICY_DISCONNECT; policy++) {
        struct world *w = world_new(NULL);
        struct pair x = join_pair(w, &(struct world_sub){"#", policy, .window = 1, .queue = 4});

        for (unsigned i = 0; i < 14; i++) {
            publish(w, x.p, i % 2 ? "a" : "b", i % 3 ? 5 + i : 0);
            sim_advance(&w->s, MS);
            router_check(w->s.router);
        }
        sim_advance(&w->s, 30 * MS);
        sim_settle(&w->s);
        assert_int_equal(x.c->subs[0].delivered + x.c->subs[0].lost, 14);
        assert_true(router_counters(w->s.router)->messages_expired > 0);
        world_free(w);
    }
}

static void test_block_gives_credit_back_for_what_expires(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1});

    for (unsigned i = 0; i < 16; i++) { /* the whole publish window */
        publish(w, x.p, "a", i ? 10 : 0);
    }
    world_expect(w, x.p, "");
    sim_advance(&w->s, 10 * MS);
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nLOSS 1 15 150 EXPIRED\n");
    router_check(w->s.router);
    world_expect(w, x.p, "PUBLISH_CREDIT 8 80\nPUBLISH_CREDIT 8 80\n");
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX); /* nobody stalls any more */
}

static void test_bodies_in_buffers_are_returned(void **state)
{
    struct world *w = *state;
    struct sim_client *p = cargo_publisher(w);
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, p, "a", 0);
    assert_true(sim_publish(
        &w->s, p,
        &(struct sim_publish){.topic = "a", .buffer = 1, .body_bytes = 100, .ttl_ms = 5}));
    world_expect(w, p, "");
    sim_advance(&w->s, 5 * MS);
    world_credit(w, c, 0, 1, 10);
    world_expect(w, c, "MESSAGE 1 a 1.1\nLOSS 1 1 100 EXPIRED\n");
    world_expect(w, p, "RETURNED 1 0\n");
}

static void test_what_was_kept_expires_on_its_way_too(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_advertise keep = {1, text_from("a"), ADVERTISE_OWNED, 5};
    struct wire_subscribe m = {
        .filter = text_from("a"), .window_messages = 1, .retained = BUS_RETAINED_ALL};

    sim_send(&w->s, p, VERB_ADVERTISE, &keep, NULL, 0);
    publish(w, p, "a", 0);
    publish(w, p, "a", 10);
    publish(w, p, "a", 0);
    assert_true(sim_subscribe(&w->s, c, 0, &m));
    for (uint64_t number = 1; number <= 3; number++) {
        sim_due(&c->subs[0], number);
    }
    sim_advance(&w->s, 10 * MS);
    sim_settle(&w->s);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\n"
                 "LOSS 1 1 10 EXPIRED\nMESSAGE 1 a 1.3 retained\nLIVE 1 2\n");
}

static void fails_at(unsigned long n)
{
    struct world *w = world_new(NULL);
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    failmalloc_arm(n);
    for (unsigned i = 0; i < 3 && !peer_is_closing(x.p->peer); i++) {
        (void) sim_publish(&w->s, x.p,
                           &(struct sim_publish){.topic = "a", .body_bytes = 10, .ttl_ms = 10});
    }
    (void) failmalloc_disarm();
    sim_advance(&w->s, 10 * MS);
    sim_settle(&w->s);
    world_free(w);
}

static void test_any_failing_allocation_is_survived_and_told(void **state)
{
    (void) state;
    for (unsigned long n = 1; n < 20; n++) {
        fails_at(n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_what_goes_at_once_does_not_expire),
        WORLD_CASE(test_what_waited_too_long_is_lost_in_its_place),
        WORLD_CASE(test_just_before_its_time_it_goes),
        WORLD_CASE(test_what_has_expired_uses_no_credit),
        cmocka_unit_test(test_under_every_policy_the_sum_is_right),
        WORLD_CASE(test_block_gives_credit_back_for_what_expires),
        WORLD_CASE(test_bodies_in_buffers_are_returned),
        WORLD_CASE(test_what_was_kept_expires_on_its_way_too),
        cmocka_unit_test(test_any_failing_allocation_is_survived_and_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
