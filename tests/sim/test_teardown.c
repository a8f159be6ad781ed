/* SPDX-License-Identifier: MIT */
/* A client that goes may own a hundred thousand things: they are dropped in parts, and the others
 * do not notice. */
#include <utlist.h>
#include "core/state.h"
#include "support/world.h"

#define MANY 5000u

static struct world *world_of_many(void)
{
    struct limits limits = sim_small_limits();

    limits.subscriptions_max = limits.aliases_max = 2 * MANY;
    limits.client_bytes_max = 64 * MIB;
    limits.output_bytes_max = MIB;
    return world_new(&limits);
}

/* In one piece: the router does nothing else in between. */
static void subscribe_many(struct world *w, struct sim_client *c, const char *front)
{
    static uint8_t buf[MANY * 64];
    size_t len = 0;

    for (uint32_t i = 1; i <= MANY; i++) {
        char filter[32];
        struct wire_subscribe m = {.subscription = i};
        long n;

        (void) snprintf(filter, sizeof(filter), "%s/%u%s", front, i, i % 2 ? "" : "/#");
        m.filter = text_from(filter);
        n = codec_encode(&w->s.arena, VERB_SUBSCRIBE, &m, buf + len + FRAME_PREFIX_BYTES, 56);
        assert_true(n > 0);
        frame_write_prefix(buf + len, VERB_SUBSCRIBE, (size_t) n, 0);
        len += FRAME_PREFIX_BYTES + (size_t) n;
    }
    assert_int_equal(sim_send_raw(&w->s, c, buf, len).consumed, len);
}

static void advertise_many(struct world *w, struct sim_client *c)
{
    for (uint32_t i = 1; i <= MANY; i++) {
        char name[16];
        struct wire_advertise m = {i, {name, (size_t) snprintf(name, sizeof(name), "t/%u", i)}};

        sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
    }
}

/* No turn drops more than its part. */
static void expect_parts(struct world *w, const uint32_t *left)
{
    assert_int_equal(router_deadline(w->s.router), 0);
    while (router_deadline(w->s.router) == 0) {
        uint32_t before = *left;

        router_tick(w->s.router, &w->s.now);
        assert_true(before - *left <= REAP_IN_A_TURN);
        router_check(w->s.router);
    }
}

static void test_subscriptions_of_a_client_that_is_gone_end_in_parts(void **state)
{
    struct world *w = world_of_many();
    struct sim_client *c = world_join(w), *other = world_join(w);
    const struct counters *k = router_counters(w->s.router);
    const uint32_t *left = &w->s.router->topics.filters.exact.n;

    (void) state;
    subscribe_many(w, c, "t");
    world_subscribe(w, other, 0,
                    &(struct world_sub){"t/1", BUS_POLICY_DROP_OLDEST, 10, .queue = 9});
    assert_int_equal(k->subscriptions_now, MANY + 1);
    sim_disconnect(&w->s, c);
    assert_int_equal(k->clients_now, 1);
    assert_int_equal(k->subscriptions_now, 1);
    assert_true(c->peer == NULL && *left > MANY / 4);
    /* what is still there gets nothing, and counts as nothing */
    world_publish(w, other, "t/1");
    world_publish(w, other, "t/2/x");
    assert_int_equal(k->messages_matched, 1);
    expect_parts(w, left);
    assert_int_equal(*left, 1);
    world_free(w);
}

static void test_aliases_of_a_client_that_is_gone_end_in_parts(void **state)
{
    struct world *w = world_of_many();
    struct sim_client *p = world_join(w), *c = world_join(w);
    const struct counters *k;

    (void) state;
    advertise_many(w, p);
    k = router_counters(w->s.router);
    assert_int_equal(k->topics_now, MANY);
    world_subscribe(w, c, 0, &(struct world_sub){"#", BUS_POLICY_DROP_OLDEST, 10, .queue = 9});
    sim_disconnect(&w->s, p);
    /* a topic that is about to end is as good as any other */
    world_publish(w, c, "t/1");
    sim_read(&w->s, c, 100);
    assert_int_equal(c->subs[0].delivered, 1);
    assert_true(sim_work_off(&w->s) >= MANY / REAP_IN_A_TURN);
    assert_int_equal(router_counters(w->s.router)->topics_now, 0);
    world_free(w);
}

/* One subscription alone may have that much. */
static void test_matches_of_one_subscription_end_in_parts(void **state)
{
    struct world *w = world_of_many();
    struct sim_client *p = world_join(w), *c = world_join(w);

    (void) state;
    advertise_many(w, p);
    world_subscribe(w, c, 0,
                    &(struct world_sub){"t/+", BUS_POLICY_DROP_NEWEST, 1, .queue = MANY,
                                        .queue_bytes = 100 * MANY});
    for (uint32_t i = 1; i <= MANY; i++) {
        uint8_t body[WORLD_BODY] = {0};
        struct wire_publish m = {.alias = i};

        sim_send(&w->s, p, VERB_PUBLISH, &m, body, sizeof(body));
        sim_read(&w->s, p, 10);
    }
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, MANY - 1);
    sim_disconnect(&w->s, c);
    assert_true(router_counters(w->s.router)->messages_queued_now > MANY / 2);
    assert_true(sim_work_off(&w->s) >= 2 * MANY / REAP_IN_A_TURN);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
    assert_int_equal(router_counters(w->s.router)->messages_discarded, MANY - 1);
    world_free(w);
}

/* GOODBYE comes at once; the link may end before, or long after everything is dropped. */
static void test_client_says_goodbye_and_leaves_before_its_things_are_dropped(void **state)
{
    (void) state;
    for (unsigned leaves_late = 0; leaves_late < 2; leaves_late++) {
        struct world *w = world_of_many();
        struct sim_client *c = world_join(w), *other = world_join(w);
        struct peer *peer = c->peer;

        w->s.on_frame = NULL; /* too long for a transcript */
        subscribe_many(w, c, "t");
        sim_send(&w->s, c, VERB_GOODBYE, &(struct wire_goodbye){1, {"", 0}}, NULL, 0);
        assert_true(peer_is_closing(peer));
        assert_int_equal(router_deadline(w->s.router), 0);
        if (leaves_late) {
            assert_true(sim_work_off(&w->s) > 0);
            router_check(w->s.router);
        }
        sim_read(&w->s, c, 10000); /* GOODBYE, and disconnects */
        assert_null(c->peer);
        router_check(w->s.router);
        assert_true(leaves_late || sim_work_off(&w->s) > 0);
        assert_int_equal(router_counters(w->s.router)->subscriptions_now, 0);
        assert_int_equal(router_counters(w->s.router)->clients_now, 1);
        assert_non_null(other->peer);
        world_free(w);
    }
}

/* Somebody small does not wait behind somebody large. */
static void test_small_client_is_dropped_before_the_rest_of_a_large_one(void **state)
{
    struct world *w = world_of_many();
    struct sim_client *c = world_join(w), *small = world_join(w);
    struct peer *large = c->peer;
    uint64_t before;

    (void) state;
    subscribe_many(w, c, "t");
    world_subscribe(w, small, 0, &(struct world_sub){"#", BUS_POLICY_BLOCK, 1, .queue = 1});
    sim_disconnect(&w->s, c);
    before = large->n_subs_max;
    sim_disconnect(&w->s, small);
    assert_ptr_equal(w->s.router->peers, large);
    assert_null(large->next);
    assert_in_range(large->n_subs_max, before - REAP_AT_ONCE, before);
    world_free(w);
}

static void test_large_clients_take_turns(void **state)
{
    struct world *w = world_of_many();
    struct sim_client *c[2] = {world_join(w), world_join(w)};
    struct peer *peers[2] = {c[0]->peer, c[1]->peer};
    uint32_t most = 0;

    (void) state;
    subscribe_many(w, c[0], "t");
    subscribe_many(w, c[1], "t");
    sim_disconnect(&w->s, c[0]);
    sim_disconnect(&w->s, c[1]);
    while (w->s.router->doomed && w->s.router->doomed->doomed_next) {
        uint32_t a = peers[0]->n_subs_max, b = peers[1]->n_subs_max;

        most = MAX(most, MAX(a, b) - MIN(a, b));
        router_tick(w->s.router, &w->s.now);
    }
    assert_in_range(most, 1, 2 * REAP_IN_A_TURN);
    world_free(w);
}

/* Whoever comes and goes cannot make more than is dropped meanwhile. */
static void test_clients_that_come_and_go_leave_no_growing_rest(void **state)
{
    struct world *w = world_of_many();
    unsigned n, most = 0;

    (void) state;
    for (unsigned i = 0; i < 30; i++) {
        struct sim_client *c = world_join(w);
        const struct peer *p;

        subscribe_many(w, c, "t");
        sim_disconnect(&w->s, c);
        router_tick(w->s.router, &w->s.now);
        n = 0;
        DL_FOREACH2(w->s.router->doomed, p, doomed_next)
        {
            n++;
        }
        most = MAX(most, n);
    }
    assert_in_range(most, 0, 2);
    world_free(w);
}

/* A full queue that holds publishers up lets them go, part by part. */
static void test_publishers_that_a_leaving_client_blocked_get_their_credit_back(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *p, *c;
    struct world *w;

    (void) state;
    limits.publish_window_messages = 2 * MANY;
    limits.publish_window_bytes = limits.client_bytes_max = 64 * MIB;
    w = world_new(&limits);
    p = world_join(w);
    c = world_join(w);
    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_BLOCK, 1, .queue = 10});
    world_publish_n(w, p, "a", 2 * MANY);
    assert_false(world_publish_bytes(w, p, "a", WORLD_BODY)); /* no credit left */
    sim_disconnect(&w->s, c);
    assert_true(sim_work_off(&w->s) > 0);
    sim_read(&w->s, p, 100);
    assert_true(world_publish_bytes(w, p, "a", WORLD_BODY));
    assert_int_equal(router_counters(w->s.router)->messages_discarded, 2 * MANY - 1);
    world_free(w);
}

/* router_free() does not wait for turns. */
static void test_router_ends_while_things_are_still_to_be_dropped(void **state)
{
    struct world *w = world_of_many();
    struct sim_client *c = world_join(w);

    (void) state;
    subscribe_many(w, c, "t");
    sim_disconnect(&w->s, c);
    (void) world_join(w);
    assert_int_equal(router_deadline(w->s.router), 0);
    sim_fini(&w->s);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscriptions_of_a_client_that_is_gone_end_in_parts),
        cmocka_unit_test(test_aliases_of_a_client_that_is_gone_end_in_parts),
        cmocka_unit_test(test_matches_of_one_subscription_end_in_parts),
        cmocka_unit_test(test_client_says_goodbye_and_leaves_before_its_things_are_dropped),
        cmocka_unit_test(test_small_client_is_dropped_before_the_rest_of_a_large_one),
        cmocka_unit_test(test_large_clients_take_turns),
        cmocka_unit_test(test_clients_that_come_and_go_leave_no_growing_rest),
        cmocka_unit_test(test_publishers_that_a_leaving_client_blocked_get_their_credit_back),
        cmocka_unit_test(test_router_ends_while_things_are_still_to_be_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
