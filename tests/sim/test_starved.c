/* SPDX-License-Identifier: MIT */
/* Losses for which there is no memory at all are kept in the subscription itself, in the place of a
 * queue, and told like any other. */
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/world.h"

#define SUBS 3u

static const struct world_sub any = {"a", BUS_POLICY_DROP_NEWEST, .window = 1000, .queue = 10};

/* A client that reads nothing, whose output is full, and who may have no more memory. */
static struct sim_client *join_starving(struct world *w, struct sim_client *p)
{
    struct sim_client *c = world_join(w);
    uint32_t n = 0;

    for (unsigned i = 0; i < SUBS; i++) {
        world_subscribe(w, c, i, &any);
    }
    sim_advertise(&w->s, p, 0, "a"); /* a topic that stays, and knows them from here on */
    world_publish(w, p, "a");
    c->peer->quota.limit = 0;
    while (!c->peer->subs[SUBS - 1]->is_waiting) {
        world_publish(w, p, "a");
        sim_read(&w->s, p, 10);
        assert_true(++n < 1000);
    }
    return c;
}

static void expect_starved(const struct sim_client *c, uint64_t count)
{
    for (unsigned i = 0; i < SUBS; i++) {
        const struct sub *s = c->peer->subs[i];

        /* the last message that fitted was not for all of them */
        assert_in_range(s->starved_count, count - 1, count);
        assert_int_equal(s->starved_bytes, s->starved_count * WORLD_BODY);
        assert_null(sub_queue(s));
        assert_true(s->is_waiting);
    }
}

static void test_losses_without_memory_are_told_when_there_is_room(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_starving(w, p);
    uint64_t lost = c->peer->subs[SUBS - 1]->starved_count;

    world_publish_n(w, p, "a", 5);
    router_check(w->s.router);
    expect_starved(c, lost + 5);
    sim_settle(&w->s);
    for (unsigned i = 0; i < SUBS; i++) {
        assert_true(c->subs[i].lost >= lost + 4);
        assert_int_equal(c->peer->subs[i]->starved_count, 0);
        assert_null(sub_queue(c->peer->subs[i]));
        assert_false(c->peer->subs[i]->is_waiting);
    }
    /* and then all is as it was */
    c->peer->quota.limit = MIB;
    world_publish(w, p, "a");
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered + c->subs[0].lost, p->sequence);
}

static void test_losses_without_memory_come_before_what_waits_later(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_starving(w, p);
    uint64_t lost = c->peer->subs[0]->starved_count;

    c->peer->quota.limit = MIB;
    world_publish_n(w, p, "a", 2);
    for (unsigned i = 0; i < SUBS; i++) {
        const struct sub_queue *sq = sub_queue(c->peer->subs[i]);

        assert_non_null(sq);
        assert_int_equal(sq->q.n_messages, 2);
        assert_int_equal(c->peer->subs[i]->starved_count, 0);
    }
    sim_settle(&w->s); /* the oracle knows the order */
    assert_int_equal(c->subs[0].lost, lost);
    assert_int_equal(c->subs[0].delivered + lost, p->sequence);
}

static void test_starving_subscriptions_wait_in_a_list_that_any_may_leave(void **state)
{
    static const unsigned order[][SUBS] = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}};

    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        struct world *w = *state;
        struct sim_client *p = world_join(w), *c = join_starving(w, p);

        for (unsigned k = 0; k < SUBS; k++) {
            struct wire_unsubscribe m = {order[i][k] + 1};

            sim_send(&w->s, c, VERB_UNSUBSCRIBE, &m, NULL, 0);
            router_check(w->s.router);
        }
        assert_int_equal(c->peer->waiting, 0);
        sim_disconnect(&w->s, c);
        sim_disconnect(&w->s, p);
    }
}

/* malloc and not the quota is what fails. */
static void test_losses_are_noted_when_every_allocation_fails(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    uint8_t body[WORLD_BODY] = {0};

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, 1, .queue = 10});
    sim_advertise(&w->s, p, 0, "a");
    assert_true(sim_publish(&w->s, p, &(struct sim_publish){.body_bytes = sizeof(body)}));
    c->peer->output_max = 0;
    failmalloc_arm_from(1);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(sim_publish(&w->s, p, &(struct sim_publish){.body_bytes = sizeof(body)}));
    }
    assert_true(failmalloc_disarm() > 0);
    assert_int_equal(c->peer->subs[0]->starved_count, 3);
    router_check(w->s.router);
    c->peer->output_max = 4096;
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].lost, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_losses_without_memory_are_told_when_there_is_room),
        WORLD_CASE(test_losses_without_memory_come_before_what_waits_later),
        WORLD_CASE(test_starving_subscriptions_wait_in_a_list_that_any_may_leave),
        WORLD_CASE(test_losses_are_noted_when_every_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
