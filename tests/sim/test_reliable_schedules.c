/* SPDX-License-Identifier: MIT */
/* Random schedules of reliable and other topics, with subscribers of all kinds that consume, drop,
 * refuse, leave and die as they like. What is acknowledged is not in anybody's hands any more and
 * never comes to anybody later; and when everything is consumed everything is acknowledged.
 * docs/protocol.md, section 17. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/sim.h"

/* The last messages that a subscription has got. Windows are far smaller. */
#define LAST 64u

static struct got {
    struct {
        uint64_t connection, sequence; /* 0 if it was not reliable */
        uint32_t delivery;
    } last[LAST];
    uint64_t n;
} got[SIM_CLIENTS][SIM_SUBS];

/* Of each connection. */
static struct publisher {
    uint64_t published; /* the highest sequence of what it has published reliably */
    uint64_t acked;
} publishers[65536];

static bool is_reliable[SIM_CLIENTS][SIM_ALIASES];

/* Its subscriptions have ended with it, whatever it still reads; so have those that drain, as soon
 * as all is sent. */
static bool is_gone(const struct sim_client *c)
{
    return !c->peer || peer_is_closing(c->peer);
}

static void on_message(struct sim *s, struct sim_client *c, const struct wire_message *m)
{
    struct got *g = &got[c - s->clients][m->subscription - 1];
    bool reliable = m->flags & MESSAGE_RELIABLE;
    uint64_t connection = c->senders[m->sender];

    assert_true(connection < ARRAY_LEN(publishers));
    assert_true(!reliable || is_gone(c) || c->subs[m->subscription - 1].drains ||
                m->sequence > publishers[connection].acked);
    g->last[g->n % LAST].connection = reliable ? connection : 0;
    g->last[g->n % LAST].sequence = m->sequence;
    g->last[g->n % LAST].delivery = m->delivery;
    g->n++;
}

/* Whether a subscription has got its i-th last one and not given it back. */
static bool is_held(const struct sim_sub *sub, const struct got *g, uint64_t i)
{
    if (!sub->acks) {
        return i < sub->consumed;
    }
    for (size_t k = 0; k < sub->n_unacked; k++) {
        if (sub->unacked[k] == g->last[(g->n - 1 - i) % LAST].delivery) {
            return true;
        }
    }
    return false;
}

static void on_acked(struct sim *s, struct sim_client *c, uint64_t sequence)
{
    struct publisher *p = &publishers[c->id];

    assert_true(sequence > p->acked && sequence <= c->sequence);
    p->acked = sequence;
    for (unsigned i = 0; i < SIM_CLIENTS * SIM_SUBS; i++) {
        const struct sim_sub *sub = &s->clients[i / SIM_SUBS].subs[i % SIM_SUBS];
        const struct got *g = &got[i / SIM_SUBS][i % SIM_SUBS];

        if (!sub->used || sub->drains || is_gone(&s->clients[i / SIM_SUBS])) {
            continue;
        }
        assert_true(sub->consumed < LAST && sub->n_unacked < LAST);
        for (uint64_t k = 0; k < MIN(g->n, LAST); k++) {
            uint64_t at = (g->n - 1 - k) % LAST;

            assert_true(!is_held(sub, g, k) || g->last[at].connection != c->id ||
                        g->last[at].sequence > sequence);
        }
    }
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    if (f->verb == VERB_MESSAGE) {
        on_message(s, c, &m->message);
    } else if (f->verb == VERB_ACKED) {
        on_acked(s, c, m->acked.sequence);
    }
}

static struct sim_client *random_client(struct sim *s)
{
    struct sim_client *c = &s->clients[rng_below(&s->rng, SIM_CLIENTS)];

    return c->peer && !peer_is_closing(c->peer) ? c : NULL;
}

static void do_connect(struct sim *s)
{
    struct sim_client *c;

    s->session = 1 + rng_below(&s->rng, 3);
    c = sim_connect(s, rng_below(&s->rng, 2));
    if (c) {
        memset(got[c - s->clients], 0, sizeof(got[0]));
        memset(is_reliable[c - s->clients], 0, sizeof(is_reliable[0]));
    }
}

static void do_subscribe(struct sim *s, struct sim_client *c)
{
    static const char *const groups[] = {"plain", "keys", "ack", "both"};
    unsigned index = rng_below(&s->rng, SIM_SUBS), group = rng_below(&s->rng, 12);
    struct wire_subscribe m = {.filter = text_from(sim_random_filter(s)),
                               .policy = rng_below(&s->rng, 5),
                               .window_messages = 1 + rng_below(&s->rng, 6),
                               .window_bytes = 1 + rng_below(&s->rng, 2000),
                               .queue_messages = 1 + rng_below(&s->rng, 10),
                               .queue_bytes = 1 + rng_below(&s->rng, 4000),
                               .flags = rng_below(&s->rng, 2)};

    if (group < ARRAY_LEN(groups)) {
        m.filter = text_from(rng_below(&s->rng, 2) ? "a/#" : "b");
        m.group = text_from(groups[group]);
        m.policy = BUS_POLICY_DROP_OLDEST;
        m.queue_messages = 6;
        m.queue_bytes = 4000;
        m.flags = (group & 1 ? 16u : 0u) | (group & 2 ? 8u : 0u);
        m.deliveries_max = group & 2 ? 3 : 0;
    } else if (group == 5) {
        m.min_interval_ms = 1 + rng_below(&s->rng, 50);
    } else if (group == 6) {
        m.retained = BUS_RETAINED_ALL; /* there is nothing, but the queue is another */
    }
    if (c->subs[index].drains) {
        return; /* whose end is not known yet */
    }
    if (c->subs[index].used) {
        sim_unsubscribe(s, c, index);
    }
    if (m.policy == BUS_POLICY_DISCONNECT && rng_below(&s->rng, 4)) {
        m.policy = BUS_POLICY_BLOCK;
    }
    if (c->peer && !peer_is_closing(c->peer)) {
        got[c - s->clients][index].n = 0;
        (void) sim_subscribe(s, c, index, &m);
    }
}

static void do_advertise(struct sim *s, struct sim_client *c)
{
    unsigned alias = rng_below(&s->rng, SIM_ALIASES);
    bool reliable = rng_below(&s->rng, 3) > 0;

    sim_advertise_with(s, c, alias, sim_random_topic(s), reliable ? ADVERTISE_RELIABLE : 0);
    is_reliable[c - s->clients][alias] = reliable;
}

static void do_publish(struct sim *s, struct sim_client *c)
{
    static const char *const keys[] = {NULL, "x", "y", "z"};
    unsigned alias = rng_below(&s->rng, SIM_ALIASES);
    struct sim_publish p = {.topic = sim_random_topic(s),
                            .body_bytes = 8 + rng_below(&s->rng, 300),
                            .confirm = rng_below(&s->rng, 8) == 0,
                            .key = keys[rng_below(&s->rng, ARRAY_LEN(keys))],
                            .ttl_ms = rng_below(&s->rng, 4) ? 0 : 1 + rng_below(&s->rng, 100)};
    bool reliable = false;

    if (rng_below(&s->rng, 5) && *c->aliases[alias]) {
        reliable = is_reliable[c - s->clients][alias];
        p.topic = NULL;
        p.alias = alias;
        if (rng_below(&s->rng, 2)) { /* as plain as can be */
            p.key = NULL;
            p.ttl_ms = 0;
            p.confirm = false;
        }
    }
    if (rng_below(&s->rng, 10) == 0) {
        p.sequence = c->sequence + 1 + rng_below(&s->rng, 5);
    }
    if (sim_publish(s, c, &p) && reliable) {
        publishers[c->id].published = c->sequence;
    }
}

static void do_drain(struct sim *s, struct sim_client *c)
{
    const struct counters *k = router_counters(s->router);
    unsigned index = rng_below(&s->rng, SIM_SUBS);
    uint64_t refused = k->frames_refused;

    if (!c->subs[index].used || c->subs[index].drains) {
        return;
    }
    sim_drain(s, c, index);
    k = router_counters(s->router);    /* it may be another one now */
    if (k->frames_refused > refused) { /* for want of memory: it goes on */
        c->subs[index].drains = false;
        c->n_endings[index]--;
    }
}

static void step(struct sim *s)
{
    unsigned action = rng_below(&s->rng, 100);
    struct sim_client *c = random_client(s);

    if (!c) {
        do_connect(s);
    } else if (action < 12) {
        do_subscribe(s, c);
    } else if (action < 18) {
        do_advertise(s, c);
    } else if (action < 54) {
        do_publish(s, c);
    } else if (action < 70) {
        sim_read(s, c, 1 + rng_below(&s->rng, 3));
    } else if (action < 82) {
        sim_give_credit(s, c, rng_below(&s->rng, SIM_SUBS));
    } else if (action < 92) {
        sim_ack(s, c, rng_below(&s->rng, SIM_SUBS), false, rng_below(&s->rng, 3) == 0);
    } else if (action < 93) {
        do_drain(s, c);
    } else if (action < 94) {
        sim_disconnect(s, c);
    } else {
        sim_advance(s, (uint64_t) rng_below(&s->rng, 40) * MS);
    }
}

/* Everybody consumes everything: then nothing is left to be acknowledged. */
static void settle(struct sim *s)
{
    sim_settle(s);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        const struct sim_client *c = &s->clients[i];

        if (!is_gone(c)) {
            assert_true(publishers[c->id].acked >= publishers[c->id].published);
        }
    }
}

static void begin(struct sim *s, struct rng *seeds)
{
    struct limits limits = sim_small_limits();

    memset(publishers, 0, sizeof(publishers));
    limits.client_bytes_max = 64 * KIB << rng_below(seeds, 4);
    limits.stall_timeout_ms = 3600000; /* nobody is given up here */
    sim_init(s, &limits);
    s->on_frame = on_frame;
    s->rng.state = rng_u64(seeds);
    sim_replace_sometimes(s, seeds);
}

static void test_only_what_is_done_is_acknowledged_and_in_the_end_everything(void **state)
{
    struct rng rng = rng_from_env();
    uint64_t n = 0;

    (void) state;
    for (unsigned i = 0; i < 60; i++) {
        struct sim s;

        begin(&s, &rng);
        for (unsigned k = 0; k < 1000; k++) {
            step(&s);
            sim_check(&s);
            if (k % 250 == 249) {
                settle(&s);
            }
        }
        n += router_counters(s.router)->acknowledgements;
        sim_fini(&s);
    }
    assert_true(n > 1000);
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
            sim_check(&s);
        }
        settle(&s);
        sim_fini(&s);
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
        cmocka_unit_test(test_only_what_is_done_is_acknowledged_and_in_the_end_everything),
        cmocka_unit_test(test_the_same_holds_while_allocations_fail),
        cmocka_unit_test(test_shutdown_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
