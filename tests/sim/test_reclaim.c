/* SPDX-License-Identifier: MIT */
/* At the bound of a user, or of the router, room is made by whoever holds the most and does not
 * read, and nobody else sees anything of it: docs/protocol.md, section 21. */
#include "core/reclaim.h"
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/sim_policy.h"
#include "support/world.h"

#define ROUNDS 2000u
#define HEALTHY 9u
#define PER_CLIENT 3u
#define OTHER 2000u
#define THIRD 3000u

static struct world *make(uint64_t user_bytes, uint64_t total_bytes)
{
    struct limits limits = sim_small_limits();
    struct world *w;

    limits.client_bytes_max = 64 * MIB;
    limits.user_bytes_max = user_bytes;
    limits.total_bytes_max = total_bytes;
    limits.publish_window_messages = 1000000;
    limits.publish_window_bytes = 1024 * MIB;
    w = world_new(&limits);
    sim_allow_everybody(&w->s);
    w->s.on_frame = NULL;
    return w;
}

static struct sim_client *join_as(struct world *w, uint32_t uid)
{
    struct sim_client *c;

    w->s.uid = uid;
    c = world_join(w);
    w->s.uid = 1000;
    return c;
}

static void subscribe(struct world *w, struct sim_client *c, unsigned index, enum bus_policy policy,
                      uint32_t window)
{
    struct world_sub sub = {"a",
                            policy,
                            .window = window,
                            .queue = 100000,
                            .queue_bytes = 64 * MIB,
                            .window_bytes = MIB};

    world_subscribe(w, c, index, &sub);
}

static struct sim_client *stuck_as(struct world *w, uint32_t uid, enum bus_policy policy)
{
    struct sim_client *c = join_as(w, uid);

    subscribe(w, c, 0, policy, 1);
    return c;
}

static struct sim_client *healthy_as(struct world *w, uint32_t uid)
{
    struct sim_client *c = join_as(w, uid);

    for (unsigned i = 0; i < PER_CLIENT; i++) {
        subscribe(w, c, i, BUS_POLICY_DROP_OLDEST, 32); /* and 4 KiB on its link */
    }
    return c;
}

/* It takes what there is, and gives all credit back. */
static void keep_up(struct world *w, struct sim_client *c)
{
    sim_read(&w->s, c, 10000);
    for (unsigned i = 0; i < PER_CLIENT; i++) {
        sim_give_credit(&w->s, c, i);
    }
    sim_read(&w->s, c, 10000);
}

static void assert_lost_nothing(const struct sim_client *c)
{
    assert_non_null(c->peer);
    assert_false(c->ended);
    for (unsigned i = 0; i < PER_CLIENT; i++) {
        assert_int_equal(c->subs[i].lost, 0);
        assert_int_equal(c->subs[i].delivered, ROUNDS);
    }
}

/* Bursts that are more than the links of those who keep up take, so that they have queues, too. */
static void flood(struct world *w, struct sim_client *p, struct sim_client *const *healthy,
                  const struct quota *bound)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
        assert_true(bound->used <= bound->limit + bound->limit / 8);
        if (i % 16 == 15) {
            sim_advance(&w->s, MS);
            for (unsigned k = 0; k < HEALTHY; k++) {
                keep_up(w, healthy[k]);
            }
        }
    }
    for (unsigned k = 0; k < HEALTHY; k++) {
        keep_up(w, healthy[k]);
    }
    router_check(w->s.router);
}

/* ---- one user ---- */

static void test_one_that_does_not_read_pays_for_the_other_clients_of_its_user(void **state)
{
    static const enum bus_policy policies[] = {BUS_POLICY_DROP_OLDEST, BUS_POLICY_DROP_NEWEST,
                                               BUS_POLICY_BLOCK, BUS_POLICY_DISCONNECT};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        struct world *w = make(MIB, 64 * MIB);
        struct sim_client *p = world_join(w), *healthy[HEALTHY];
        struct sim_client *stuck = stuck_as(w, OTHER, policies[i]);
        struct user *u = users_find(&w->s.router->users, OTHER);

        for (unsigned k = 0; k < HEALTHY; k++) {
            healthy[k] = healthy_as(w, OTHER);
        }
        flood(w, p, healthy, &u->bytes);
        for (unsigned k = 0; k < HEALTHY; k++) {
            assert_lost_nothing(healthy[k]);
        }
        sim_settle(&w->s);
        if (policies[i] == BUS_POLICY_DISCONNECT) {
            assert_null(stuck->peer); /* it has read its GOODBYE */
        } else {
            assert_true(stuck->subs[0].lost > 0);
            assert_int_equal(stuck->subs[0].delivered + stuck->subs[0].lost, ROUNDS);
        }
        world_free(w);
    }
}

/* ---- several users ---- */

static void test_the_user_who_holds_the_most_pays_at_the_bound_of_the_router(void **state)
{
    struct world *w = make(64 * MIB, MIB);
    struct sim_client *p = world_join(w), *healthy[HEALTHY];
    struct sim_client *stuck = stuck_as(w, THIRD, BUS_POLICY_DROP_OLDEST);

    (void) state;
    for (unsigned k = 0; k < HEALTHY; k++) {
        healthy[k] = healthy_as(w, k % 2 ? OTHER : 1000);
    }
    flood(w, p, healthy, &w->s.router->quota);
    for (unsigned k = 0; k < HEALTHY; k++) {
        assert_lost_nothing(healthy[k]);
    }
    sim_settle(&w->s);
    assert_true(stuck->subs[0].lost > 0);
    assert_int_equal(stuck->subs[0].delivered + stuck->subs[0].lost, ROUNDS);
    world_free(w);
}

static void test_a_user_at_its_bound_leaves_others_alone(void **state)
{
    struct world *w = make(256 * KIB, 64 * MIB);
    struct sim_client *p = world_join(w);
    struct sim_client *hog = stuck_as(w, OTHER, BUS_POLICY_DROP_OLDEST);
    struct sim_client *slow = join_as(w, THIRD);

    (void) state;
    world_subscribe(w, slow, 0, &(struct world_sub){"b", .window = 1, .queue = 1000});
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
        if (i % 20 == 0) {
            assert_true(world_publish_bytes(w, p, "b", 1000));
        }
    }
    sim_settle(&w->s);
    assert_true(hog->subs[0].lost > 700);
    assert_int_equal(slow->subs[0].lost, 0);
    assert_int_equal(slow->subs[0].delivered, 50);
    world_free(w);
}

/* A topic that is new has to note who gets it: that needs room, too. */
static void test_room_is_made_to_note_a_subscription_at_a_new_topic(void **state)
{
    struct world *w = make(MIB, 64 * MIB);
    struct sim_client *p = world_join(w);
    struct sim_client *stuck = stuck_as(w, OTHER, BUS_POLICY_DROP_OLDEST);
    struct sim_client *healthy = join_as(w, OTHER);
    struct user *u = users_find(&w->s.router->users, OTHER);

    (void) state;
    world_subscribe(w, healthy, 0, &(struct world_sub){"b", .window = 10});
    world_subscribe(w, healthy, 1, &(struct world_sub){"b/+", .window = 10});
    for (unsigned i = 0; i < 100; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
    }
    u->bytes.limit = u->bytes.used;
    world_publish(w, p, "b");
    u->bytes.limit = u->bytes.used;
    world_publish(w, p, "b/c");
    router_check(w->s.router);
    sim_settle(&w->s);
    assert_int_equal(healthy->subs[0].delivered, 1);
    assert_int_equal(healthy->subs[1].delivered, 1);
    assert_int_equal(healthy->subs[0].lost + healthy->subs[1].lost, 0);
    assert_true(stuck->subs[0].lost > 0);
    world_free(w);
}

/* A group is paid for by who made it, and gives way like a client. */
static void test_groups_give_way_too(void **state)
{
    struct world *w = make(512 * KIB, 64 * MIB);
    struct sim_client *p = world_join(w), *member = join_as(w, OTHER);
    struct sim_client *healthy = healthy_as(w, OTHER);

    (void) state;
    world_subscribe(w, member, 0,
                    &(struct world_sub){"a", .window = 1, .queue = 100000, .queue_bytes = 64 * MIB,
                                        .group = "g"});
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
        if (i % 16 == 15) {
            sim_advance(&w->s, MS);
            keep_up(w, healthy);
        }
    }
    router_check(w->s.router);
    keep_up(w, healthy);
    assert_lost_nothing(healthy);
    sim_settle(&w->s);
    assert_true(member->subs[0].lost > ROUNDS / 2);
    assert_int_equal(member->subs[0].delivered + member->subs[0].lost, ROUNDS);
    world_free(w);
}

/* The time of all that waits in the queue of a group is over when it is to give way: then it goes,
 * and with it the queue. */
static void test_a_group_has_no_queue_left_to_give(void **state)
{
    struct world *w = make(8 * MIB, 64 * MIB);
    struct sim_client *p = world_join(w), *member = join_as(w, OTHER);
    struct sim_client *asking = join_as(w, OTHER);
    struct sim_publish brief = {.topic = "a", .body_bytes = WORLD_BODY, .ttl_ms = 10};
    struct user *u = users_find(&w->s.router->users, OTHER);

    (void) state;
    world_subscribe(w, member, 0,
                    &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 100000,
                                        .queue_bytes = 64 * MIB, .group = "g"});
    world_subscribe(w, asking, 0, &(struct world_sub){"b", .window = 1, .queue = 100});
    sim_advertise(&w->s, p, 0, "b");
    for (unsigned i = 0; i < 5000; i++) { /* more than a queue keeps room for */
        assert_true(sim_publish(&w->s, p, &brief));
    }
    world_publish(w, p, "b");
    sim_advance(&w->s, 10 * MS);
    u->bytes.limit = u->bytes.used / 2;
    world_publish(w, p, "b");
    router_check(w->s.router);
    assert_int_equal(router_counters(w->s.router)->messages_expired, 4999);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 1);
    sim_settle(&w->s);
    assert_int_equal(member->subs[0].lost, 4999);
    assert_int_equal(asking->subs[0].delivered, 2);
    world_free(w);
}

/* Many small queues of one connection are as good as a large one. */
static void test_a_connection_with_many_queues_pays_with_all_of_them(void **state)
{
    struct world *w = make(512 * KIB, 64 * MIB);
    struct sim_client *p = world_join(w), *stuck = join_as(w, OTHER);
    struct sim_client *healthy = healthy_as(w, OTHER);

    (void) state;
    for (unsigned i = 0; i < SIM_SUBS; i++) {
        subscribe(w, stuck, i, BUS_POLICY_DROP_OLDEST, 1);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
        if (i % 16 == 15) {
            sim_advance(&w->s, MS);
            keep_up(w, healthy);
        }
    }
    keep_up(w, healthy);
    assert_lost_nothing(healthy);
    sim_settle(&w->s);
    for (unsigned i = 0; i < SIM_SUBS; i++) {
        assert_true(stuck->subs[i].lost > ROUNDS / 2);
        assert_int_equal(stuck->subs[i].delivered + stuck->subs[i].lost, ROUNDS);
    }
    world_free(w);
}

static void test_the_queue_of_one_that_leaves_keeps_no_credit(void **state)
{
    struct world *w = make(256 * KIB, 64 * MIB);
    struct sim_client *p = join_as(w, OTHER), *leaver = join_as(w, THIRD);
    struct sim_client *asking = join_as(w, THIRD);
    struct world_sub blocks = {"a", BUS_POLICY_BLOCK, .window = 1, .queue = 4};

    (void) state;
    world_subscribe(w, leaver, 0, &blocks);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
    }
    assert_true(p->peer->used_messages - p->peer->free_messages > 90);
    peer_end(leaver->peer, BUS_GOODBYE_ADMIN, "go");
    assert_int_equal(leaver->peer->state, PEER_CLOSING);
    assert_true(room_make(asking->peer, 180 * KIB));
    (void) sim_work_off(&w->s);
    assert_int_equal(p->peer->used_messages, p->peer->free_messages);
    router_check(w->s.router);
    world_free(w);
}

/* Also without memory for anything: nothing is lost but what is told. */
static void test_room_is_made_whatever_allocation_fails(void **state)
{
    bool failed = true;

    (void) state;
    for (unsigned long n = 1; failed && n < 400; n++) {
        struct world *w = make(128 * KIB, 64 * MIB);
        struct sim_client *p = world_join(w), *healthy;
        struct sim_client *stuck = stuck_as(w, OTHER, n % 4 == 3 ? BUS_POLICY_BLOCK : n % 4);

        healthy = healthy_as(w, OTHER);
        w->s.starving = true;
        for (unsigned i = 0; i < 120; i++) {
            (void) world_publish_bytes(w, p, "a", 1000);
        }
        failmalloc_arm(n);
        for (unsigned i = 0; i < 40; i++) {
            (void) world_publish_bytes(w, p, "a", 1000);
        }
        failed = failmalloc_disarm() > 0;
        router_check(w->s.router);
        keep_up(w, healthy);
        (void) stuck;
        sim_settle(&w->s);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_does_not_read_pays_for_the_other_clients_of_its_user),
        cmocka_unit_test(test_the_user_who_holds_the_most_pays_at_the_bound_of_the_router),
        cmocka_unit_test(test_a_user_at_its_bound_leaves_others_alone),
        cmocka_unit_test(test_room_is_made_to_note_a_subscription_at_a_new_topic),
        cmocka_unit_test(test_groups_give_way_too),
        cmocka_unit_test(test_a_group_has_no_queue_left_to_give),
        cmocka_unit_test(test_a_connection_with_many_queues_pays_with_all_of_them),
        cmocka_unit_test(test_the_queue_of_one_that_leaves_keeps_no_credit),
        cmocka_unit_test(test_room_is_made_whatever_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
