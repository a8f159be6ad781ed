/* SPDX-License-Identifier: MIT */
/* Medium bodies, which outputs share with the memory they were received in: every byte is checked
 * by the oracle, what slow clients pin is bounded, and at the end of every case nothing is pinned
 * (support/sim). */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/world.h"

#define BODY 16384u

static struct limits medium_limits(void)
{
    struct limits l = LIMITS_DEFAULT;

    l.clients_max = SIM_CLIENTS;
    l.client_bytes_max = 4 * MIB;
    l.publish_window_bytes = MIB;
    l.output_bytes_max = 128 * KIB;
    return l;
}

static int setup(void **state)
{
    struct limits limits = medium_limits();

    *state = world_new(&limits);
    return 0;
}

#define MEDIUM_CASE(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

static struct sim_client *subscriber(struct world *w, bool packets, enum bus_policy policy)
{
    struct sim_client *c = sim_connect(&w->s, packets);

    assert_non_null(c);
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", policy, .window = 1000, .queue = 100,
                                        .queue_bytes = 20 * BODY, .window_bytes = 1000 * BODY});
    return c;
}

static void publish_n(struct world *w, struct sim_client *p, size_t body_bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_true(world_publish_bytes(w, p, "a", body_bytes));
        sim_read(&w->s, p, 10);
    }
}

/* Slabs in which this output keeps something. */
static bool shares(const struct sim_client *c)
{
    const struct outq *q = peer_output(c->peer);

    return q->bytes >= BODY && q->capacity_bytes > q->bytes && q->tail->spans;
}

/* ---- sharing ---- */

static void test_medium_body_is_held_once_for_all_subscribers(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c[6];

    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = subscriber(w, i % 2, BUS_POLICY_BLOCK);
    }
    publish_n(w, p, BODY, 3);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        assert_true(shares(c[i]));
    }
    assert_int_equal(slab_pool_pinned(&w->s.slabs), 1);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        assert_int_equal(slab_pool_pinned(&w->s.slabs), 1);
        sim_read(&w->s, c[i], 1000);
        assert_int_equal(c[i]->subs[0].delivered, 3);
    }
    assert_int_equal(slab_pool_pinned(&w->s.slabs), 0);
}

static void test_what_is_shared_is_charged_to_each(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    uint64_t before;

    (void) subscriber(w, true, BUS_POLICY_BLOCK);
    (void) subscriber(w, false, BUS_POLICY_BLOCK);
    sim_check(&w->s); /* takes them off the dirty list */
    before = router_counters(w->s.router)->charged_bytes_now;
    publish_n(w, p, BODY, 2);
    sim_check(&w->s);
    assert_in_range(router_counters(w->s.router)->charged_bytes_now - before, 4 * BODY,
                    4 * BODY + 2 * (OUTQ_SMALL_BYTES + sizeof(struct outq_spans) +
                                    sizeof(uint64_t))); /* a set of senders that are known */
    sim_settle(&w->s);
    assert_in_range(router_counters(w->s.router)->charged_bytes_now, 0,
                    before + 2 * sizeof(uint64_t));
}

static void test_small_and_medium_bodies_keep_their_order(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    for (unsigned i = 0; i < 6; i++) {
        (void) subscriber(w, i % 2, BUS_POLICY_DROP_OLDEST);
    }
    for (unsigned i = 0; i < 200; i++) {
        publish_n(w, p, 8 + rng_below(&w->s.rng, i % 3 ? 200 : 65536 - 8), 1);
        sim_read(&w->s, &w->s.clients[1 + rng_below(&w->s.rng, 6)], 2);
    }
    sim_settle(&w->s);
}

/* ---- slow ones ---- */

static void test_stopped_subscriber_costs_the_others_nothing(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_client *slow = subscriber(w, true, BUS_POLICY_DROP_OLDEST);
    struct sim_client *c = subscriber(w, true, BUS_POLICY_BLOCK);
    struct sim_client *d = subscriber(w, false, BUS_POLICY_BLOCK);

    for (unsigned i = 0; i < 200; i++) {
        publish_n(w, p, BODY, 1);
        assert_true(shares(c) && shares(d));
        sim_read(&w->s, c, 100);
        sim_read(&w->s, d, 100);
        assert_true(slab_pool_pinned(&w->s.slabs) <= OUTQ_RUNS_MAX + 1);
        sim_give_credit(&w->s, c, 0);
        sim_give_credit(&w->s, d, 0);
    }
    assert_int_equal(c->subs[0].delivered, 200);
    assert_int_equal(d->subs[0].delivered, 200);
    sim_settle(&w->s);
    assert_true(slow->subs[0].lost > 0);
}

/* Each of them keeps a part of another slab. */
static void test_slow_subscribers_may_pin_all_slabs(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c[8];

    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = subscriber(w, i % 2, BUS_POLICY_DROP_NEWEST);
        publish_n(w, p, 65536, 3); /* its output takes two */
    }
    assert_null(slab_pool_current(&w->s.slabs, 1));
    publish_n(w, p, 65536, 5); /* copied */
    sim_settle(&w->s);
    assert_int_equal(slab_pool_pinned(&w->s.slabs), 0);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        assert_true(c[i]->subs[0].delivered >= 2);
    }
}

/* ---- ends ---- */

static void test_subscribers_that_go_release_what_they_share(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c[4];

    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = subscriber(w, i % 2, BUS_POLICY_BLOCK);
    }
    publish_n(w, p, BODY, 4);
    sim_read(&w->s, c[0], 1);
    sim_read(&w->s, c[2], 1); /* a part of a body */
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        assert_int_equal(slab_pool_pinned(&w->s.slabs), 1);
        sim_disconnect(&w->s, c[i]);
    }
    assert_int_equal(slab_pool_pinned(&w->s.slabs), 0);
}

static void test_closing_subscriber_reads_what_it_shares_before_its_goodbye(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_client *c = subscriber(w, true, BUS_POLICY_BLOCK);
    struct sim_client *d = subscriber(w, false, BUS_POLICY_BLOCK);

    publish_n(w, p, BODY, 4);
    sim_send_raw(&w->s, c, "\1", 1); /* a packet that ends inside a frame */
    assert_true(peer_is_closing(c->peer));
    sim_disconnect(&w->s, p);
    publish_n(w, (p = world_join(w)), BODY, 20); /* over what nobody keeps */
    sim_read(&w->s, c, 100);                     /* the oracle looks at each byte */
    assert_null(c->peer);
    sim_settle(&w->s);
    assert_int_equal(d->subs[0].delivered, 24);
}

static void test_lingering_subscriber_that_never_reads_releases_at_its_deadline(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = subscriber(w, true, BUS_POLICY_BLOCK);

    publish_n(w, p, BODY, 4);
    sim_send_raw(&w->s, c, "\1", 1);
    assert_int_equal(slab_pool_pinned(&w->s.slabs), 1);
    sim_advance(&w->s, UINT64_C(60000000000));
    assert_null(c->peer);
    assert_int_equal(slab_pool_pinned(&w->s.slabs), 0);
}

/* ---- no memory, and everything at random ---- */

static void test_without_memory_bodies_are_copied_or_told_as_lost(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    for (unsigned i = 0; i < 6; i++) {
        (void) subscriber(w, i % 2, BUS_POLICY_DROP_OLDEST);
    }
    for (unsigned n = 1; n < 30; n++) {
        failmalloc_arm(n);
        (void) world_publish_bytes(w, p, "a", BODY);
        (void) failmalloc_disarm();
        failmalloc_arm_from(n);
        (void) world_publish_bytes(w, p, "a", BODY);
        (void) failmalloc_disarm();
        sim_settle(&w->s);
    }
}

static void step(struct world *w, struct sim_client *p)
{
    struct sim_client *c = &w->s.clients[1 + rng_below(&w->s.rng, SIM_CLIENTS - 1)];
    unsigned action = rng_below(&w->s.rng, 100);

    if (action < 40) {
        (void) world_publish_bytes(w, p, "a", 8 + rng_below(&w->s.rng, 1u << (6 + action % 11)));
        sim_read(&w->s, p, 10);
    } else if (!c->peer) {
        (void) failmalloc_disarm();
        if (action % 4 == 0) {
            (void) subscriber(w, rng_below(&w->s.rng, 2), 1 + rng_below(&w->s.rng, 4));
        }
    } else if (action < 90) {
        sim_read(&w->s, c, 1 + rng_below(&w->s.rng, 3));
    } else if (c->peer && action < 98) {
        sim_give_credit(&w->s, c, 0);
    } else if (action == 98) {
        sim_send_raw(&w->s, c, "\1", c->packets);
    } else {
        sim_disconnect(&w->s, c);
    }
}

static void run_random(struct world *w, bool starves)
{
    struct sim_client *p = world_join(w);

    w->s.rng = rng_from_env();
    w->s.on_frame = NULL; /* the transcript has its bound */
    for (unsigned i = 0; i < 6000; i++) {
        if (starves && i % 4 == 0) {
            failmalloc_arm(1 + rng_below(&w->s.rng, 6));
        }
        step(w, p);
        (void) failmalloc_disarm();
        sim_check(&w->s);
        if (!p->peer || peer_is_closing(p->peer)) { /* it got no memory for an answer */
            break;
        }
    }
    sim_settle(&w->s);
    assert_int_equal(slab_pool_pinned(&w->s.slabs), 0);
}

static void test_random_schedule_delivers_every_byte(void **state)
{
    run_random(*state, false);
}

static void test_the_same_while_allocations_fail(void **state)
{
    run_random(*state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEDIUM_CASE(test_medium_body_is_held_once_for_all_subscribers),
        MEDIUM_CASE(test_what_is_shared_is_charged_to_each),
        MEDIUM_CASE(test_small_and_medium_bodies_keep_their_order),
        MEDIUM_CASE(test_stopped_subscriber_costs_the_others_nothing),
        MEDIUM_CASE(test_slow_subscribers_may_pin_all_slabs),
        MEDIUM_CASE(test_subscribers_that_go_release_what_they_share),
        MEDIUM_CASE(test_closing_subscriber_reads_what_it_shares_before_its_goodbye),
        MEDIUM_CASE(test_lingering_subscriber_that_never_reads_releases_at_its_deadline),
        MEDIUM_CASE(test_without_memory_bodies_are_copied_or_told_as_lost),
        MEDIUM_CASE(test_random_schedule_delivers_every_byte),
        MEDIUM_CASE(test_the_same_while_allocations_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
