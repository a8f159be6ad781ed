/* SPDX-License-Identifier: MIT */
/* Random schedules of all that keeps, expires and paces, with the oracle looking on: what a
 * subscription gets is what was kept when it came, then what was published, in order and without
 * gap or duplicate; and nothing is lost in silence. docs/protocol.md, section 14. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/sim_keep.h"

static struct kept_model model;
/* The number of the newest message of each topic that a subscription has got. */
static struct newest {
    unsigned n;
    struct {
        char topic[64];
        uint64_t number;
    } of[16];
} newest[SIM_CLIENTS][SIM_SUBS];

/* Where topics may overtake each other, those of one topic still do not. */
static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    struct newest *n;
    uint64_t number;
    unsigned i = 0;

    if (f->verb != VERB_MESSAGE || !c->subs[m->message.subscription - 1].is_paced) {
        return;
    }
    n = &newest[c - s->clients][m->message.subscription - 1];
    memcpy(&number, f->body, sizeof(number));
    while (i < n->n && strcmp(n->of[i].topic, c->topics[m->message.topic]) != 0) {
        i++;
    }
    assert_true(i < ARRAY_LEN(n->of));
    assert_true(i == n->n || n->of[i].number < number);
    snprintf(n->of[i].topic, sizeof(n->of[i].topic), "%s", c->topics[m->message.topic]);
    n->of[i].number = number;
    n->n = MAX(n->n, i + 1);
}

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
                               .retained = rng_below(&s->rng, 3),
                               .flags = rng_below(&s->rng, 2)};

    if (rng_below(&s->rng, 4) == 0) {
        m.min_interval_ms = 1 + rng_below(&s->rng, 50);
    }
    if (c->subs[index].used) {
        sim_unsubscribe(s, c, index);
    }
    if (m.policy == BUS_POLICY_DISCONNECT && rng_below(&s->rng, 4)) {
        m.policy = BUS_POLICY_BLOCK;
    }
    if (c->peer && !peer_is_closing(c->peer)) {
        newest[c - s->clients][index] = (struct newest){0};
        (void) kept_subscribe(&model, s, c, index, &m);
    }
}

static void do_publish(struct sim *s, struct sim_client *c)
{
    unsigned alias = rng_below(&s->rng, SIM_ALIASES);
    struct sim_publish p = {.topic = sim_random_topic(s),
                            .body_bytes = 8 + rng_below(&s->rng, 300),
                            .confirm = rng_below(&s->rng, 8) == 0,
                            .n_headers = rng_below(&s->rng, 6) ? 0 : rng_below(&s->rng, 5),
                            .ttl_ms = rng_below(&s->rng, 4) ? 0 : 1 + rng_below(&s->rng, 100)};

    if (rng_below(&s->rng, 3) && *c->aliases[alias]) {
        p.topic = NULL;
        p.alias = alias;
    }
    (void) kept_publish(&model, s, c, &p);
}

static void do_advertise(struct sim *s, struct sim_client *c)
{
    struct kept_wish wish = {.messages = rng_below(&s->rng, 6),
                             .ttl_ms = rng_below(&s->rng, 2) ? 0 : 1 + rng_below(&s->rng, 200),
                             .owned = rng_below(&s->rng, 3) == 0};

    (void) kept_advertise(&model, s, c, rng_below(&s->rng, SIM_ALIASES), sim_random_topic(s), wish);
}

static void step(struct sim *s)
{
    unsigned action = rng_below(&s->rng, 100);
    struct sim_client *c = random_client(s);

    if (!c) {
        (void) sim_connect(s, rng_below(&s->rng, 2));
    } else if (action < 12) {
        do_subscribe(s, c);
    } else if (action < 20) {
        do_advertise(s, c);
    } else if (action < 60) {
        do_publish(s, c);
    } else if (action < 76) {
        sim_read(s, c, 1 + rng_below(&s->rng, 3));
    } else if (action < 90) {
        sim_give_credit(s, c, rng_below(&s->rng, SIM_SUBS));
    } else if (action < 92) {
        kept_clear(&model, s, c, sim_random_topic(s));
    } else if (action < 93) {
        sim_disconnect(s, c);
    } else {
        sim_advance(s, (uint64_t) rng_below(&s->rng, 40) * 1000000);
    }
    kept_sweep(&model, s);
}

static void check(struct sim *s)
{
    const struct counters *k = router_counters(s->router);

    sim_check(s);
    /* clients that have ended may still be on their way out: they own what the oracle has dropped
     */
    if (router_deadline(s->router) > 0) {
        assert_int_equal(k->retained_messages_now, model.n);
    }
}

static void begin(struct sim *s, struct rng *seeds)
{
    struct limits limits = sim_small_limits();

    memset(&model, 0, sizeof(model));
    limits.client_bytes_max = 64 * KIB << rng_below(seeds, 4);
    limits.user_retained_bytes_max = rng_below(seeds, 2) ? 16 * KIB : MIB;
    sim_init(s, &limits);
    s->on_frame = on_frame;
    s->rng.state = rng_u64(seeds);
    sim_replace_sometimes(s, seeds);
}

static void end(struct sim *s)
{
    sim_settle(s);
    kept_clear_all(&model, s);
    assert_int_equal(router_counters(s->router)->retained_messages_now, 0);
    assert_int_equal(router_counters(s->router)->retained_bytes_now, 0);
    sim_fini(s);
}

static void test_what_is_kept_and_what_follows_join_without_gap_or_duplicate(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 60; i++) {
        struct sim s;

        begin(&s, &rng);
        for (unsigned k = 0; k < 1000; k++) {
            step(&s);
            check(&s);
            if (k % 500 == 499) {
                sim_settle(&s);
            }
        }
        end(&s);
    }
}

static void test_the_same_holds_while_allocations_fail(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 40; i++) {
        struct sim s;

        begin(&s, &rng);
        for (unsigned k = 0; k < 1000; k++) {
            failmalloc_arm(1 + rng_below(&s.rng, 8));
            step(&s);
            (void) failmalloc_disarm();
            check(&s);
        }
        end(&s);
    }
}

static void test_shutdown_at_any_moment(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 20; i++) {
        struct sim s;

        begin(&s, &rng);
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
        cmocka_unit_test(test_what_is_kept_and_what_follows_join_without_gap_or_duplicate),
        cmocka_unit_test(test_the_same_holds_while_allocations_fail),
        cmocka_unit_test(test_shutdown_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
