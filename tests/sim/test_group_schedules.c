/* SPDX-License-Identifier: MIT */
/* Random schedules of groups: members join, work, refuse, stand still, drain and die. The oracle
 * knows for each message who has had it: it goes to one member, again only when it came back, never
 * when it was acknowledged; keys stay with their member and in order; and at the end each one was
 * done, given up, lost or discarded. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/sim.h"
#include "support/sim_cargo.h"

#define N_KINDS 6u
#define N_KEYS 7u
#define N_MESSAGES 8192u
#define N_DELIVERIES 4096u

static const struct wire_subscribe kinds[N_KINDS] = {
    {.filter = {"a", 1}, .group = {"g", 1}, .queue_messages = 5},
    {.filter = {"b/#", 3},
     .group = {"g", 1},
     .queue_messages = 5,
     .policy = BUS_POLICY_BLOCK,
     .flags = 16},
    {.filter = {"c", 1},
     .group = {"g", 1},
     .queue_messages = 6,
     .flags = 8,
     .deliveries_max = 3,
     .dead_letter = {"dead", 4}},
    {.filter = {"+/d", 3},
     .group = {"g", 1},
     .queue_messages = 7,
     .policy = BUS_POLICY_DROP_NEWEST,
     .flags = 24},
    {.filter = {"e", 1},
     .group = {"g", 1},
     .queue_messages = 4,
     .policy = BUS_POLICY_LATEST,
     .flags = 8},
    {.filter = {"dead", 4}, .group = {"g", 1}, .queue_messages = 9},
};
static const char *const topics[N_KINDS - 1] = {"a", "b/c", "c", "x/d", "e"};
static const char *const keys[N_KEYS] = {NULL, "k1", "k2", "k3", "k4", "k5", "k6"};

/* A number that a client or a subscription never has again. */
struct holder {
    uint64_t client;
    unsigned sub;
    unsigned life;
};

struct oracle {
    struct sim s; /* first, so that on_frame() finds it */
    struct {
        uint8_t kind, key, seen, acked, dead;
    } messages[N_MESSAGES];
    uint16_t number_of[SIM_CLIENTS][SIM_SUBS][N_DELIVERIES];
    unsigned life[SIM_CLIENTS][SIM_SUBS]; /* counts subscriptions of that number */
    unsigned kind_of[SIM_CLIENTS][SIM_SUBS];
    struct holder holders[N_KINDS][N_KEYS];
    uint64_t last[N_KINDS][N_KEYS];
    uint64_t n_plain, n_acked; /* what was seen where nothing is acknowledged, and the rest */
    uint64_t n_told;
    bool is_exact; /* whoever dies has read */
};

static bool is_sticky(unsigned kind)
{
    return kinds[kind].flags & 16;
}

static bool is_alive(const struct oracle *o, const struct holder *h)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        const struct sim_client *c = &o->s.clients[i];

        if (c->peer && c->id == h->client) {
            return !peer_is_closing(c->peer) && c->subs[h->sub].used && !c->subs[h->sub].drains &&
                   o->life[i][h->sub] == h->life;
        }
    }
    return false;
}

/* A key goes to its member for as long as that is there; what comes for the first time is in order.
 */
static void key_check(struct oracle *o, const struct sim_client *c, unsigned sub, uint64_t number,
                      const struct wire_message *m)
{
    unsigned kind = o->messages[number].kind, key = o->messages[number].key;
    size_t client = (size_t) (c - o->s.clients);
    struct holder me = {c->id, sub, o->life[client][sub]};
    struct holder *h = &o->holders[kind][key];

    if (!is_sticky(kind) || key == 0 || !is_alive(o, &me)) {
        return;
    }
    if (is_alive(o, h)) {
        assert_true(h->client == me.client && h->sub == me.sub);
    }
    *h = me;
    if (m->deliveries == 0) {
        assert_true(number > o->last[kind][key]);
        o->last[kind][key] = number;
    }
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    struct oracle *o = (struct oracle *) (void *) s;
    size_t client = (size_t) (c - s->clients);
    unsigned sub = m->message.subscription - 1, kind;
    uint64_t number;

    if (f->verb == VERB_LOSS) {
        o->n_told += m->loss.count;
    }
    if (f->verb != VERB_MESSAGE) {
        return;
    }
    memcpy(&number,
           m->message.buffer ? sim_fd_data(c->bound[m->message.buffer]) + m->message.offset
                             : f->body,
           sizeof(number));
    kind = o->kind_of[client][sub];
    assert_true(number < N_MESSAGES);
    if (kind == N_KINDS - 1) { /* a dead letter */
        assert_int_equal(o->messages[number].kind, 2);
        assert_int_equal(o->messages[number].acked, 0);
        assert_int_equal(o->messages[number].dead++, 0);
        o->n_plain++;
        return;
    }
    assert_int_equal(o->messages[number].kind, kind);
    if (peer_is_closing(c->peer) && (kinds[kind].flags & 8)) {
        return; /* it reads what others may have by now */
    }
    assert_int_equal(o->messages[number].acked, 0);
    assert_int_equal(o->messages[number].dead, 0);
    assert_true(m->message.deliveries > 0 || o->messages[number].seen == 0);
    assert_true(m->message.deliveries < (kind == 2 ? 3u : 5u));
    o->messages[number].seen = 1;
    key_check(o, c, sub, number, &m->message);
    if (kinds[kind].flags & 8) {
        o->number_of[client][sub][m->message.delivery % N_DELIVERIES] = (uint16_t) number;
    } else {
        o->n_plain++;
    }
}

static void do_ack(struct oracle *o, struct sim_client *c, unsigned k, bool refuse)
{
    struct sim_sub *sub = &c->subs[k];
    size_t client = (size_t) (c - o->s.clients), i;
    uint32_t delivery;

    if (!sub->used || sub->n_unacked == 0) {
        return;
    }
    i = rng_below(&o->s.rng, (uint32_t) sub->n_unacked);
    delivery = sub->unacked[i];
    sub->unacked[i] = sub->unacked[0];
    sub->unacked[0] = delivery;
    if (!refuse) {
        o->messages[o->number_of[client][k][delivery % N_DELIVERIES]].acked++;
        o->n_acked++;
    }
    sim_ack(&o->s, c, k, false, refuse);
}

static void do_subscribe(struct oracle *o, struct sim_client *c)
{
    unsigned k = rng_below(&o->s.rng, SIM_SUBS), kind = rng_below(&o->s.rng, N_KINDS);
    size_t client = (size_t) (c - o->s.clients);
    struct wire_subscribe m = kinds[kind];

    m.window_messages = 1 + rng_below(&o->s.rng, 5);
    m.window_bytes = 1 + rng_below(&o->s.rng, 2000);
    m.queue_bytes = 1000;
    if (c->subs[k].used) {
        sim_unsubscribe(&o->s, c, k);
    }
    if (c->peer && !peer_is_closing(c->peer)) {
        o->kind_of[client][k] = kind;
        o->life[client][k]++;
        (void) sim_subscribe(&o->s, c, k, &m);
    }
}

/* Sometimes the body lies in a place of a buffer that nobody has. */
static void choose_place(struct oracle *o, const struct sim_client *c, struct sim_publish *p)
{
    unsigned slot = rng_below(&o->s.rng, SIM_SLOTS);

    if (c->buffers[0].fd && c->buffers[0].due[slot] == 0 && rng_below(&o->s.rng, 2)) {
        p->buffer = 1;
        p->slot = slot;
    }
    if (rng_below(&o->s.rng, 5) == 0) {
        p->n_fds = 1 + rng_below(&o->s.rng, 3);
    }
}

static void do_cargo(struct oracle *o, struct sim_client *c)
{
    switch (rng_below(&o->s.rng, 4)) {
    case 0:
        if (!c->buffers[0].fd) {
            (void) sim_register(&o->s, c, 1, 256, rng_below(&o->s.rng, 2));
        }
        break;
    case 1:
        sim_pong(&o->s, c);
        break;
    default:
        if (sim_any_lease(c)) {
            sim_release(&o->s, c, sim_any_lease(c), 0);
        }
    }
}

static void do_publish(struct oracle *o, struct sim_client *c)
{
    struct sim_publish p;
    unsigned kind = rng_below(&o->s.rng, N_KINDS - 1), key = rng_below(&o->s.rng, N_KEYS);
    uint64_t number = o->s.n_published + 1;

    if (number >= N_MESSAGES) {
        return;
    }
    o->messages[number].kind = (uint8_t) kind;
    o->messages[number].key = (uint8_t) key;
    p = (struct sim_publish){.topic = topics[kind],
                             .body_bytes = 8 + rng_below(&o->s.rng, 200),
                             .confirm = rng_below(&o->s.rng, 4) == 0,
                             .n_headers = rng_below(&o->s.rng, 3),
                             .key = keys[key]};
    choose_place(o, c, &p);
    (void) sim_publish(&o->s, c, &p);
}

static void do_death(struct oracle *o, struct sim_client *c)
{
    if (o->is_exact) {
        sim_read(&o->s, c, 100000);
    }
    if (!c->peer) {
        return;
    }
    if (rng_below(&o->s.rng, 2)) {
        sim_disconnect(&o->s, c);
    } else {
        sim_send(&o->s, c, VERB_GOODBYE, &(struct wire_goodbye){1, {"", 0}}, NULL, 0);
    }
}

static void do_drain(struct oracle *o, struct sim_client *c, unsigned k)
{
    if (o->is_exact) {
        sim_read(&o->s, c, 100000); /* what it has may be another's otherwise */
    }
    if (c->peer && !peer_is_closing(c->peer) && c->subs[k].used && !c->subs[k].drains) {
        sim_drain(&o->s, c, k);
    }
}

static void step(struct oracle *o)
{
    struct sim_client *c = &o->s.clients[rng_below(&o->s.rng, SIM_CLIENTS)];
    unsigned action = rng_below(&o->s.rng, 100), k = rng_below(&o->s.rng, SIM_SUBS);

    if (!c->peer || peer_is_closing(c->peer)) {
        if (!c->peer) {
            o->s.features = rng_below(&o->s.rng, 2) ? FEATURE_BUFFERS : 0;
            (void) sim_connect(&o->s, rng_below(&o->s.rng, 2));
        } else {
            sim_read(&o->s, c, 10);
        }
    } else if (action < 10) {
        do_subscribe(o, c);
    } else if (action < 40) {
        do_publish(o, c);
    } else if (action < 55) {
        do_cargo(o, c);
    } else if (action < 65) {
        sim_read(&o->s, c, 1 + rng_below(&o->s.rng, 3));
    } else if (action < 80) {
        sim_give_credit(&o->s, c, k);
    } else if (action < 93) {
        do_ack(o, c, k, rng_below(&o->s.rng, 3) == 0);
    } else if (action < 94) {
        sim_unsubscribe(&o->s, c, k);
    } else if (action < 95) {
        do_drain(o, c, k);
    } else if (action < 97) {
        sim_advance(&o->s, (uint64_t) rng_below(&o->s.rng, 9000) * 1000000);
    } else if (action < 98) {
        do_death(o, c);
    } else {
        do_cargo(o, c);
    }
}

/* Everybody works until there is nothing left. */
static void settle(struct oracle *o)
{
    const struct counters *k;
    unsigned turns = 0;

    do {
        assert_true(turns++ < 5000);
        for (unsigned i = 0; i < SIM_CLIENTS * SIM_SUBS; i++) {
            struct sim_client *c = &o->s.clients[i / SIM_SUBS];

            sim_read(&o->s, c, 1000);
            while (c->peer && c->subs[i % SIM_SUBS].used && c->subs[i % SIM_SUBS].n_unacked > 0) {
                do_ack(o, c, i % SIM_SUBS, false);
            }
            if (c->peer) {
                sim_give_credit(&o->s, c, i % SIM_SUBS);
                sim_release_all(&o->s, c);
                sim_pong(&o->s, c);
            }
        }
        sim_advance(&o->s, 100000000);
        k = router_counters(o->s.router); /* it may be another one now */
    } while (k->messages_unacknowledged_now > 0 || k->messages_queued_now > 0);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        sim_read(&o->s, &o->s.clients[i], 1000);
    }
    sim_settle(&o->s);
    k = router_counters(o->s.router);
    if (o->is_exact) {
        assert_int_equal(o->n_plain + o->n_acked, k->messages_delivered - k->messages_returned);
    }
    assert_true(o->n_told <= k->messages_lost);
}

static struct oracle *oracle_new(struct rng *seeds)
{
    struct limits limits = sim_small_limits();
    struct oracle *o = calloc(1, sizeof(*o));

    assert_non_null(o);
    limits.client_bytes_max = 64 * KIB << rng_below(seeds, 4);
    limits.groups_bytes_max = 64 * KIB << rng_below(seeds, 4);
    sim_init(&o->s, &limits);
    o->s.rng.state = rng_u64(seeds);
    sim_replace_sometimes(&o->s, seeds);
    o->s.on_frame = on_frame;
    o->is_exact = rng_below(seeds, 2);
    return o;
}

static void oracle_free(struct oracle *o)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (o->s.clients[i].peer) {
            sim_disconnect(&o->s, &o->s.clients[i]);
        }
    }
    (void) sim_work_off(&o->s);
    assert_int_equal(router_counters(o->s.router)->charged_bytes_now, 0);
    assert_int_equal(router_counters(o->s.router)->groups_now, 0);
    sim_fini(&o->s);
    free(o);
}

static void test_each_message_is_done_once_given_up_or_reported(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 20; i++) {
        struct oracle *o = oracle_new(&rng);

        for (unsigned k = 0; k < 2500; k++) {
            step(o);
            sim_check(&o->s);
            if (k % 800 == 799) {
                settle(o);
            }
        }
        settle(o);
        oracle_free(o);
    }
}

static void test_the_same_holds_while_allocations_fail(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 25; i++) {
        struct oracle *o = oracle_new(&rng);

        o->is_exact = false;
        for (unsigned k = 0; k < 1500; k++) {
            failmalloc_arm(1 + rng_below(&o->s.rng, 6));
            step(o);
            (void) failmalloc_disarm();
            sim_check(&o->s);
        }
        settle(o);
        oracle_free(o);
    }
}

static void test_shutdown_at_any_moment(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 30; i++) {
        struct oracle *o = oracle_new(&rng);

        for (unsigned k = 0; k < 400; k++) {
            step(o);
        }
        router_shutdown(o->s.router, &o->s.now);
        router_check(o->s.router);
        for (unsigned k = 0; k < SIM_CLIENTS; k++) {
            sim_read(&o->s, &o->s.clients[k], 100000);
            assert_null(o->s.clients[k].peer);
        }
        oracle_free(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_message_is_done_once_given_up_or_reported),
        cmocka_unit_test(test_the_same_holds_while_allocations_fail),
        cmocka_unit_test(test_shutdown_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
