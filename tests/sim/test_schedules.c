/* SPDX-License-Identifier: MIT */
/* Random schedules of everything clients can do, with the oracle of support/sim looking on after
 * every step: what is delivered and what is reported lost is exactly what was published and
 * matched, in order and in place. */
#include "support/failmalloc.h"
#include "support/sim.h"

static struct sim_client *random_client(struct sim *s)
{
    struct sim_client *c = &s->clients[rng_below(&s->rng, SIM_CLIENTS)];

    return c->peer && !peer_is_closing(c->peer) ? c : NULL;
}

static void do_subscribe(struct sim *s, struct sim_client *c)
{
    unsigned index = rng_below(&s->rng, SIM_SUBS);
    struct wire_subscribe m = {.filter = text_from(sim_random_filter(s)),
                               .policy = rng_below(&s->rng, 5),
                               .window_messages = 1 + rng_below(&s->rng, 6),
                               .window_bytes = 1 + rng_below(&s->rng, 2000),
                               .queue_messages = 1 + rng_below(&s->rng, 10),
                               .queue_bytes = 1 + rng_below(&s->rng, 4000),
                               .flags = rng_below(&s->rng, 2)};

    if (c->monitoring) {
        return;
    }
    if (c->subs[index].used) {
        sim_unsubscribe(s, c, index);
    }
    if (c->peer && m.policy == BUS_POLICY_DISCONNECT && rng_below(&s->rng, 4)) {
        m.policy = BUS_POLICY_BLOCK;
    }
    if (c->peer && !peer_is_closing(c->peer)) {
        (void) sim_subscribe(s, c, index, &m);
    }
}

static void do_publish(struct sim *s, struct sim_client *c)
{
    unsigned alias = rng_below(&s->rng, SIM_ALIASES);
    struct sim_publish p = {.topic = sim_random_topic(s),
                            .body_bytes = 8 + rng_below(&s->rng, 300),
                            .confirm = rng_below(&s->rng, 4) == 0,
                            .n_headers = rng_below(&s->rng, 6) ? 0 : rng_below(&s->rng, 5)};

    if (rng_below(&s->rng, 3) && *c->aliases[alias]) {
        p.topic = NULL;
        p.alias = alias;
    }
    if (!c->packets && rng_below(&s->rng, 50) == 0) {
        p.body_bytes = 8000;
    }
    (void) sim_publish(s, c, &p);
}

static void do_monitor(struct sim *s, struct sim_client *c)
{
    struct text filters[2] = {text_from(sim_random_filter(s)), text_from(sim_random_filter(s))};
    struct wire_monitor m = {.filters = filters,
                             .n_filters = rng_below(&s->rng, 3),
                             .snap_bytes = rng_below(&s->rng, 64),
                             .queue_bytes = 2000};
    uint64_t before = router_counters(s->router)->monitors_now;

    sim_send(s, c, VERB_MONITOR, &m, NULL, 0);
    if (router_counters(s->router)->monitors_now > before) {
        c->monitoring = true;
    }
}

static void do_odd(struct sim *s, struct sim_client *c)
{
    struct wire_ping ping = {rng_u64(&s->rng)};
    struct wire_snapshot snapshot = {1 + rng_below(&s->rng, 3), 0, rng_below(&s->rng, 10)};
    uint8_t garbage[64];

    switch (rng_below(&s->rng, 5)) {
    case 0:
        sim_send(s, c, VERB_PING, &ping, NULL, 0);
        break;
    case 1:
        sim_send(s, c, VERB_SNAPSHOT, &snapshot, NULL, 0);
        break;
    case 2: /* a frame of random bytes with a true prefix: answered, or without effect */
        for (size_t i = 0; i < sizeof(garbage); i++) {
            garbage[i] = (uint8_t) rng_u64(&s->rng);
        }
        frame_write_prefix(garbage, (enum verb) rng_below(&s->rng, 17), 56, 0);
        sim_send_raw(s, c, garbage, sizeof(garbage));
        break;
    case 3:
        if (rng_below(&s->rng, 20) == 0) {
            do_monitor(s, c);
        }
        break;
    default:
        if (rng_below(&s->rng, 20) == 0) {
            sim_disconnect(s, c);
        }
    }
}

static void step(struct sim *s)
{
    unsigned action = rng_below(&s->rng, 100);
    struct sim_client *c = random_client(s);

    if (!c) {
        (void) sim_connect(s, rng_below(&s->rng, 2));
    } else if (action < 10) {
        do_subscribe(s, c);
    } else if (action < 12) {
        sim_unsubscribe(s, c, rng_below(&s->rng, SIM_SUBS));
    } else if (action < 18) {
        if (!c->monitoring) {
            sim_advertise(s, c, rng_below(&s->rng, SIM_ALIASES), sim_random_topic(s));
        }
    } else if (action < 60) {
        do_publish(s, c);
    } else if (action < 78) {
        sim_read(s, c, 1 + rng_below(&s->rng, 3));
    } else if (action < 92) {
        sim_give_credit(s, c, rng_below(&s->rng, SIM_SUBS));
    } else if (action < 97) {
        do_odd(s, c);
    } else {
        sim_advance(s, (uint64_t) rng_below(&s->rng, 4000) * 1000000);
    }
}

static void run_schedule(struct rng *seeds, unsigned steps)
{
    struct limits limits = sim_small_limits();
    struct sim s;

    limits.client_bytes_max = 64 * KIB << rng_below(seeds, 4);
    if (rng_below(seeds, 2)) { /* and then clients make room for each other */
        limits.total_bytes_max = MIB;
    }
    sim_init(&s, &limits);
    s.rng.state = rng_u64(seeds);
    sim_replace_sometimes(&s, seeds);
    for (unsigned i = 0; i < steps; i++) {
        step(&s);
        sim_check(&s);
        if (i % 500 == 499) {
            sim_settle(&s);
        }
    }
    sim_settle(&s);
    sim_fini(&s);
}

static void test_every_message_is_delivered_or_reported_in_place(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 60; i++) {
        run_schedule(&rng, 1000);
    }
}

static void test_the_same_holds_while_allocations_fail(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 40; i++) {
        struct sim s;

        sim_init(&s, NULL);
        s.rng.state = rng_u64(&rng);
        for (unsigned k = 0; k < 1000; k++) {
            failmalloc_arm(1 + rng_below(&s.rng, 6));
            step(&s);
            (void) failmalloc_disarm();
            sim_check(&s);
        }
        sim_settle(&s);
        sim_fini(&s);
    }
}

static void test_shutdown_delivers_what_is_within_credit(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 20; i++) {
        struct sim s;

        sim_init(&s, NULL);
        s.rng.state = rng_u64(&rng);
        for (unsigned k = 0; k < 300; k++) {
            step(&s);
        }
        sim_shutdown(&s);
        sim_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_is_delivered_or_reported_in_place),
        cmocka_unit_test(test_the_same_holds_while_allocations_fail),
        cmocka_unit_test(test_shutdown_delivers_what_is_within_credit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
