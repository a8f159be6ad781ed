/* SPDX-License-Identifier: MIT */
/* Random schedules of requesters and servers that come, go and stop reading: each request ends
 * once, for a reason that there is: tests/support/calls_oracle.h. */
#include "core/request.h"
#include "support/calls_oracle.h"
#include "support/failmalloc.h"

static const char *const topics[] = {"a", "a/b", "b", "c/d"};
static const char *const filters[] = {"a", "a/#", "+", "#", "a/b", "c/+"};

static struct sim_client *random_client(struct sim *s)
{
    struct sim_client *c = &s->clients[rng_below(&s->rng, SIM_CLIENTS)];

    return c->peer && !peer_is_closing(c->peer) && c->id != 0 ? c : NULL;
}

static void do_serve(struct oracle *o, struct sim_client *c)
{
    struct sim *s = &o->w.s;
    unsigned index = rng_below(&s->rng, 3);
    const char *filter = filters[rng_below(&s->rng, ARRAY_LEN(filters))];
    struct wire_subscribe m = {.subscription = index + 1,
                               .filter = text_from(filter),
                               .window_messages = 1 + rng_below(&s->rng, 4),
                               .window_bytes = 1 + rng_below(&s->rng, 2000),
                               .flags = SUBSCRIBE_SERVE | (rng_below(&s->rng, 2) ? 2 : 0)};
    const struct counters *k = router_counters(s->router);
    uint64_t before = k->subscriptions_now;

    if (o->servers[c - s->clients][index].connection == c->id) {
        oracle_unserve(o, c, index);
        world_unsubscribe(&o->w, c, index);
        return;
    }
    sim_send(s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    if (k->subscriptions_now == before + 1) {
        oracle_serve(o, c, index, filter);
    }
}

/* In the buffer, if there is a place that nobody reads. */
static void random_place(struct sim *s, const struct sim_client *c, struct sim_body *body)
{
    unsigned slot = rng_below(&s->rng, SIM_SLOTS);

    if (rng_below(&s->rng, 4) == 0 && c->buffers[0].fd && c->buffers[0].due[slot] == 0) {
        body->buffer = 1;
        body->slot = slot;
    }
}

static void do_request(struct oracle *o, struct sim_client *c)
{
    struct sim *s = &o->w.s;
    struct sim_request q = {.topic = topics[rng_below(&s->rng, ARRAY_LEN(topics))],
                            .flags = rng_below(&s->rng, 4) ? 0 : REQUEST_ALL,
                            .timeout_ms = 1 + rng_below(&s->rng, 5000),
                            .body = {8 + rng_below(&s->rng, 600), rng_below(&s->rng, 3)}};

    q.call = oracle_free_number(o, c, 12);
    if (q.call != 0 && o->n_requests < ORACLE_REQUESTS - 1 && o->n_calls < ORACLE_CALLS - 12) {
        random_place(s, c, &q.body);
        q.flags |= rng_below(&s->rng, 2) ? REQUEST_DESCRIPTORS : 0;
        q.body.n_fds = rng_below(&s->rng, 8) ? 0 : 1 + rng_below(&s->rng, 3);
        oracle_request(o, c, &q);
    }
}

static void do_reply(struct oracle *o, struct sim_client *c)
{
    struct sim *s = &o->w.s;
    struct oracle_call *call = oracle_any_call(o, c);
    struct sim_reply q = {.flags = rng_below(&s->rng, 3) ? 0 : REPLY_MORE,
                          .error = rng_below(&s->rng, 3),
                          .body = {8 + rng_below(&s->rng, 600), rng_below(&s->rng, 3)}};

    if (call && !(q.flags && call->n_ahead >= (int) REPLIES_AHEAD_MAX)) {
        random_place(s, c, &q.body);
        q.body.n_fds = rng_below(&s->rng, 8) ? 0 : 1 + rng_below(&s->rng, 3);
        oracle_reply(o, c, call, &q);
    }
}

static void do_go(struct oracle *o, struct sim_client *c)
{
    if (rng_below(&o->w.s.rng, 2)) {
        oracle_unserve(o, c, SIM_SUBS);
        world_leave(&o->w, c); /* it may still read what was for it */
    } else {
        oracle_gone(o, c);
        sim_disconnect(&o->w.s, c);
    }
}

static void do_join(struct oracle *o)
{
    struct sim *s = &o->w.s;
    struct sim_client *c;

    s->features = rng_below(&s->rng, 2) ? FEATURE_BUFFERS : 0;
    c = sim_connect(s, rng_below(&s->rng, 2));
    if (c && c->peer && c->id && rng_below(&s->rng, 2)) {
        (void) sim_register(s, c, 1, SLOT_BYTES, false);
    }
}

static void do_consume(struct oracle *o, struct sim_client *c)
{
    struct sim *s = &o->w.s;

    world_consume(&o->w, c, 1 + rng_below(&s->rng, 12), rng_below(&s->rng, 4),
                  1 + rng_below(&s->rng, 10));
}

static void step(struct oracle *o)
{
    struct sim *s = &o->w.s;
    unsigned action = rng_below(&s->rng, 100);
    struct sim_client *c = random_client(s);

    if (!c) {
        do_join(o);
    } else if (action < 8) {
        do_serve(o, c);
    } else if (action < 35) {
        do_request(o, c);
    } else if (action < 60) {
        do_reply(o, c);
    } else if (action < 84) {
        sim_read(s, c, 1 + rng_below(&s->rng, 3));
    } else if (action < 88) {
        sim_release_all(s, c);
        sim_pong(s, c);
    } else if (action < 91) {
        oracle_cancel(o, c, 1 + rng_below(&s->rng, 12));
    } else if (action < 95) {
        do_consume(o, c);
    } else if (action < 97) {
        do_go(o, c);
    } else {
        sim_advance(s, (uint64_t) rng_below(&s->rng, 2000) * 1000000);
    }
}

static void check(struct oracle *o)
{
    sim_check(&o->w.s);
    (void) sim_work_off(&o->w.s);
}

static void run(struct rng *seeds, const struct limits *limits, unsigned steps, uint64_t *n_ended)
{
    struct oracle *o = oracle_new(limits);

    o->is_small = limits->client_bytes_max < MIB;
    o->w.s.rng.state = rng_u64(seeds);
    sim_replace_sometimes(&o->w.s, seeds);
    for (unsigned i = 0; i < steps; i++) {
        step(o);
        check(o);
    }
    oracle_settle(o);
    for (unsigned i = 0; i < ARRAY_LEN(o->n_ended); i++) {
        n_ended[i] += o->n_ended[i];
    }
    oracle_free(o);
}

static void test_each_request_ends_once_for_a_possible_reason(void **state)
{
    struct limits limits = sim_small_limits();
    struct rng rng = rng_from_env();
    uint64_t n_ended[32] = {0};

    (void) state;
    limits.client_bytes_max = 16 * MIB;
    for (unsigned i = 0; i < 60; i++) {
        run(&rng, &limits, 1500, n_ended);
    }
    /* all of that happens */
    assert_true(n_ended[BUS_STATUS_OK] > 100);
    assert_true(n_ended[BUS_STATUS_NO_RESPONDER] > 10);
    assert_true(n_ended[BUS_STATUS_RESPONDER_GONE] > 10);
    assert_true(n_ended[BUS_STATUS_TIMEOUT] > 10);
    assert_true(n_ended[BUS_STATUS_CANCELLED] > 10);
}

static void test_the_same_with_little_memory_for_each(void **state)
{
    struct limits limits = sim_small_limits();
    struct rng rng = rng_from_env();
    uint64_t n_ended[32] = {0};

    (void) state;
    limits.client_bytes_max = 64 * KIB;
    limits.leases_max = 2;
    for (unsigned i = 0; i < 30; i++) {
        run(&rng, &limits, 1500, n_ended);
    }
}

static void test_each_request_ends_once_while_allocations_fail(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 60; i++) {
        struct oracle *o = oracle_new(NULL);
        struct rng *r = &o->w.s.rng;

        o->is_starving = true;
        r->state = rng_u64(&rng);
        for (unsigned k = 0; k < 1000; k++) {
            if (rng_below(r, 20) == 0) {
                failmalloc_arm_from(1 + rng_below(r, 6));
            } else {
                failmalloc_arm(1 + rng_below(r, 12));
            }
            step(o);
            (void) failmalloc_disarm();
            check(o);
        }
        oracle_settle(o);
        oracle_free(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_request_ends_once_for_a_possible_reason),
        cmocka_unit_test(test_the_same_with_little_memory_for_each),
        cmocka_unit_test(test_each_request_ends_once_while_allocations_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
