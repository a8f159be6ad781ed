/* SPDX-License-Identifier: MIT */
/* A router that is to stop: who is told, and what it waits for. docs/protocol.md, section 18. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/parties.h"
/* after world.h */
#include "support/calls.h"

static void stop(struct world *w, uint64_t ms)
{
    router_drain(w->s.router, w->s.now.monotonic_ns + ms * MS, &w->s.now);
    router_check(w->s.router);
}

static bool is_drained(const struct world *w)
{
    return router_is_drained(w->s.router);
}

static struct sim_client *join_asking(struct world *w)
{
    struct sim_client *c;

    w->s.features = FEATURE_STOPPING;
    c = world_join(w);
    w->s.features = 0;
    return c;
}

static void test_those_who_asked_are_told_and_all_are_served_on(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 10});
    struct sim_client *asking = join_asking(w);

    world_subscribe(w, asking, 0, &(struct world_sub){"a", .window = 10});
    stop(w, 1500);
    assert_true(is_drained(w));
    world_publish(w, x.p, "a");
    world_expect(w, asking, "STOPPING 1500\nMESSAGE 1 a 1.1\n");
    world_expect(w, x.c, "MESSAGE 1 a 1.1\n");
    router_shutdown(w->s.router, &w->s.now);
    world_expect(w, asking, "GOODBYE SHUTDOWN\n");
    world_expect(w, x.c, "GOODBYE SHUTDOWN\n");
}

static void test_who_greets_later_is_told_what_is_left(void **state)
{
    struct world *w = *state;
    struct sim_client *late[2] = {world_attach(w), world_attach(w)};
    struct wire_hello m = {1, 1, text_from("late"), FEATURE_STOPPING, text_from("")};

    stop(w, 1500);
    world_advance_ms(w, 1000);
    sim_send(&w->s, late[0], VERB_HELLO, &m, NULL, 0);
    world_expect(w, late[0], "WELCOME\nSTOPPING 500\n");
    world_advance_ms(w, 1000);
    sim_send(&w->s, late[1], VERB_HELLO, &m, NULL, 0);
    world_expect(w, late[1], "WELCOME\nSTOPPING 0\n");
}

static void test_it_waits_for_queues(void **state)
{
    struct world *w = *state;
    struct pair x = join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3});

    world_publish_n(w, x.p, "a", 2);
    stop(w, 1000);
    assert_false(is_drained(w));
    world_credit(w, x.c, 0, 1, 10);
    assert_true(is_drained(w));
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
}

static void test_it_waits_for_acknowledgements(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", .window = 1, .queue = 3, .group = "g", .ack = true});

    world_publish(w, x.p, "a");
    world_expect(w, x.c, "MESSAGE 1 a 1.1 #1\n");
    stop(w, 1000);
    assert_false(is_drained(w));
    world_ack(w, x.c, 0, 1, false);
    assert_true(is_drained(w));
}

static void test_it_waits_for_requests(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request(w, c, 1, "a");
    stop(w, 1000);
    world_request(w, c, 2, "a"); /* new ones too */
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    world_reply(w, s, 1);
    assert_false(is_drained(w));
    world_expect(w, s, "CALL 1 a 2 call=2 3600000\n");
    world_reply(w, s, 2);
    assert_true(is_drained(w));
    world_expect(w, c, "ANSWER 1 1\nANSWER 2 1\n");
}

static void test_it_does_not_wait_for_intervals(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_pair(w, &(struct world_sub){"a", .window = 2, .queue = 3, .min_interval_ms = 10000});

    world_publish_n(w, x.p, "a", 2);
    stop(w, 1000);
    assert_true(is_drained(w));
    router_shutdown(w->s.router, &w->s.now);
    world_expect(w, x.c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nGOODBYE SHUTDOWN\n");
}

static void test_who_cannot_be_told_for_want_of_memory_is_ended(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_asking(w);

    failmalloc_arm_from(1);
    stop(w, 1000);
    assert_true(failmalloc_disarm() > 0);
    assert_true(peer_is_closing(c->peer));
    assert_int_equal(peer_goodbye(c->peer), BUS_GOODBYE_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_those_who_asked_are_told_and_all_are_served_on),
        WORLD_CASE(test_who_greets_later_is_told_what_is_left),
        WORLD_CASE(test_it_waits_for_queues),
        WORLD_CASE(test_it_waits_for_acknowledgements),
        WORLD_CASE(test_it_waits_for_requests),
        WORLD_CASE(test_it_does_not_wait_for_intervals),
        WORLD_CASE(test_who_cannot_be_told_for_want_of_memory_is_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
