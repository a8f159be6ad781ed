/* SPDX-License-Identifier: MIT */
/* Random schedules of clients that register buffers, publish from them and with descriptors, hold
 * what they get and let go of it, answer or do not, and die. After every step the router's own
 * invariants and the oracles of support/sim hold; at the end every descriptor is closed, once, and
 * every place that was published has been returned. */
#include "core/router.h"
#include "support/cargo.h"

static struct sim_client *random_client(struct sim *s)
{
    struct sim_client *c = &s->clients[rng_below(&s->rng, SIM_CLIENTS)];

    return c->peer && !peer_is_closing(c->peer) ? c : NULL;
}

static bool is_there(const struct sim_client *c)
{
    return c->peer && !peer_is_closing(c->peer);
}

static void do_subscribe(struct sim *s, struct sim_client *c)
{
    unsigned index = rng_below(&s->rng, 3);
    struct wire_subscribe m = {.filter = text_from(sim_random_filter(s)),
                               .policy = rng_below(&s->rng, 8) ? rng_below(&s->rng, 4) : 4,
                               .window_messages = 1 + rng_below(&s->rng, 8),
                               .window_bytes = 1 + rng_below(&s->rng, 3000),
                               .queue_messages = 1 + rng_below(&s->rng, 6),
                               .queue_bytes = 1 + rng_below(&s->rng, 4000),
                               .flags = rng_below(&s->rng, 4)};

    if (c->monitoring) {
        return;
    }
    if (c->subs[index].used) {
        sim_unsubscribe(s, c, index);
    }
    if (is_there(c)) {
        (void) sim_subscribe(s, c, index, &m);
    }
}

static void do_register(struct sim *s, struct sim_client *c)
{
    unsigned number = 1 + rng_below(&s->rng, SIM_BUFFERS);

    if (c->buffers[number - 1].fd) {
        sim_unregister(s, c, number);
    }
    if (is_there(c)) {
        (void) sim_register(s, c, number, 64 << rng_below(&s->rng, 6), rng_below(&s->rng, 2));
    }
}

/* A place that nobody else has: RETURNED has been read. */
static bool random_place(struct sim *s, const struct sim_client *c, struct sim_publish *p)
{
    unsigned number = rng_below(&s->rng, SIM_BUFFERS), slot = rng_below(&s->rng, SIM_SLOTS);

    if (!c->buffers[number].fd || c->buffers[number].due[slot] > 0) {
        return false;
    }
    p->buffer = number + 1;
    p->slot = slot;
    p->body_bytes = 8 + rng_below(&s->rng, (uint32_t) c->buffers[number].slot_bytes - 7);
    return true;
}

static void do_publish(struct sim *s, struct sim_client *c)
{
    struct sim_publish p = {.topic = sim_random_topic(s),
                            .body_bytes = 8 + rng_below(&s->rng, 300),
                            .confirm = rng_below(&s->rng, 4) == 0,
                            .n_headers = rng_below(&s->rng, 6) ? 0 : rng_below(&s->rng, 4)};

    if (rng_below(&s->rng, 4)) {
        (void) random_place(s, c, &p);
    }
    if (rng_below(&s->rng, 4) == 0) {
        p.n_fds = rng_below(&s->rng, 18);
    }
    if (rng_below(&s->rng, 20) == 0 && *c->aliases[0]) {
        p.topic = NULL;
    } else if (rng_below(&s->rng, 20) == 0 && !c->monitoring) {
        sim_advertise(s, c, 0, sim_random_topic(s));
    }
    if (is_there(c)) {
        (void) sim_publish(s, c, &p);
    }
}

static void do_release(struct sim *s, struct sim_client *c)
{
    uint32_t start = 1 + rng_below(&s->rng, 40);

    for (uint32_t i = 0; c->n_leases > 0 && i < 64; i++) {
        uint32_t lease = 1 + (start + i) % 64;

        if (c->leases[lease].fd) {
            bool forgets = rng_below(&s->rng, 10) == 0;

            if (forgets) {
                sim_read(s, c, 10000); /* then nothing in that buffer is on its way */
            }
            if (is_there(c)) {
                sim_release(s, c, lease, forgets ? RELEASE_FORGET : 0);
            }
            return;
        }
    }
}

/* Batches that fit no frame, frames without their batch, and numbers that are in use by nobody. */
static void do_odd(struct sim *s, struct sim_client *c)
{
    struct wire_buffer b = {rng_below(&s->rng, SIM_BUFFERS + 3), rng_below(&s->rng, 100), 0};
    struct wire_release release = {1000 + rng_below(&s->rng, 3000), rng_below(&s->rng, 2)};
    struct wire_unbuffer unbuffer = {SIM_BUFFERS + rng_below(&s->rng, 3) + 1};
    struct wire_pong wrong = {rng_u64(&s->rng) | 1 << 20};
    int fd;

    switch (rng_below(&s->rng, 8)) {
    case 0: /* no buffer of this kind is ever taken */
        sim_send_parcel(s, c, VERB_BUFFER, &b, NULL, 0, 1, sim_parcel_of(1 + b.bytes % 3));
        break;
    case 1:
        fd = sim_fd_new(100, false);
        sim_send_parcel(s, c, VERB_BUFFER, &b, NULL, 0, 1, sim_parcel(&fd, 1, true));
        break;
    case 2:
        sim_send(s, c, VERB_RELEASE, &release, NULL, 0);
        break;
    case 3:
        sim_send(s, c, VERB_UNBUFFER, &unbuffer, NULL, 0);
        break;
    case 4:
        sim_send(s, c, VERB_PONG, &wrong, NULL, 0);
        break;
    case 5:
        router_add_parcel(s->router, c->peer, sim_parcel_of(2), &s->now);
        if (rng_below(&s->rng, 2)) {
            router_settle_parcels(c->peer);
        }
        break;
    case 6:
        sim_send_parcel(s, c, VERB_PING, &(struct wire_ping){1}, NULL, 0, rng_below(&s->rng, 20),
                        sim_parcel_of(2));
        break;
    default:
        if (rng_below(&s->rng, 6) == 0) {
            sim_disconnect(s, c);
        }
    }
}

static void do_monitor(struct sim *s, struct sim_client *c)
{
    struct wire_monitor m = {.snap_bytes = rng_below(&s->rng, 64), .queue_bytes = 2000};
    uint64_t before = router_counters(s->router)->monitors_now;

    sim_send(s, c, VERB_MONITOR, &m, NULL, 0);
    c->monitoring = c->monitoring || router_counters(s->router)->monitors_now > before;
}

static void step(struct sim *s)
{
    unsigned action = rng_below(&s->rng, 100);
    struct sim_client *c = random_client(s);

    if (!c) {
        s->features = rng_below(&s->rng, 4) ? FEATURE_BUFFERS : 0;
        s->uid = 1000 + rng_below(&s->rng, 2);
        (void) sim_connect(s, rng_below(&s->rng, 2));
    } else if (action < 8) {
        do_subscribe(s, c);
    } else if (action < 10) {
        sim_unsubscribe(s, c, rng_below(&s->rng, 3));
    } else if (action < 18) {
        do_register(s, c);
    } else if (action < 48) {
        do_publish(s, c);
    } else if (action < 64) {
        sim_read(s, c, 1 + rng_below(&s->rng, 3));
    } else if (action < 76) {
        do_release(s, c);
    } else if (action < 84) {
        sim_pong(s, c);
    } else if (action < 92) {
        sim_give_credit(s, c, rng_below(&s->rng, 3));
    } else if (action < 97) {
        do_odd(s, c);
    } else if (action < 98) {
        do_monitor(s, c);
    } else {
        sim_advance(s, (uint64_t) rng_below(&s->rng, 4000) * 1000000);
    }
}

static struct limits random_limits(struct rng *rng)
{
    struct limits l = sim_small_limits();

    l.leases_max = 1 + rng_below(rng, 20);
    l.lease_bytes_max = 1 + rng_below(rng, 5000);
    l.client_descriptors_max = 1 + rng_below(rng, 40);
    l.user_descriptors_max = 1 + rng_below(rng, 100);
    l.buffers_max = 1 + rng_below(rng, 8);
    l.buffer_bytes_max = 4096 << rng_below(rng, 4);
    l.body_max = 64 << rng_below(rng, 6);
    l.client_bytes_max = 64 * KIB << rng_below(rng, 3);
    l.stall_timeout_ms = 1 + rng_below(rng, 30000);
    return l;
}

/* All that was published has been returned to those who are there still. */
static void expect_all_returned(struct sim *s)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        for (unsigned k = 0; k < SIM_BUFFERS; k++) {
            const struct sim_buffer *b = &s->clients[i].buffers[k];

            for (unsigned slot = 0; s->clients[i].peer && b->fd && slot < SIM_SLOTS; slot++) {
                assert_int_equal(b->due[slot], 0);
            }
        }
    }
    assert_int_equal(router_counters(s->router)->leases_now, 0);
}

static void run_schedule(struct rng *seeds, unsigned steps, bool starving)
{
    struct limits limits = random_limits(seeds);
    struct sim s;

    sim_init(&s, &limits);
    s.rng.state = rng_u64(seeds);
    sim_replace_sometimes(&s, seeds);
    for (unsigned i = 0; i < steps; i++) {
        if (starving) {
            failmalloc_arm(1 + rng_below(&s.rng, 6));
        }
        step(&s);
        (void) failmalloc_disarm();
        sim_check(&s);
        if (i % 250 == 249) {
            sim_settle(&s);
            expect_all_returned(&s);
        }
    }
    sim_settle(&s);
    expect_all_returned(&s);
    sim_fini(&s); /* asserts that no descriptor is left */
}

static void test_nothing_is_kept_and_nothing_is_changed_while_it_is_held(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 60; i++) {
        run_schedule(&rng, 1000, false);
    }
}

static void test_the_same_holds_while_allocations_fail(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 40; i++) {
        run_schedule(&rng, 1000, true);
    }
}

static void test_shutdown_closes_everything(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 20; i++) {
        struct limits limits = random_limits(&rng);
        struct sim s;

        sim_init(&s, &limits);
        s.rng.state = rng_u64(&rng);
        for (unsigned k = 0; k < 300; k++) {
            step(&s);
        }
        for (unsigned k = 0; k < SIM_CLIENTS; k++) {
            sim_read(&s, &s.clients[k], 10000);
            sim_pong(&s, &s.clients[k]);
        }
        router_shutdown(s.router, &s.now);
        router_check(s.router);
        sim_fini(&s); /* with all that is in the outputs */
    }
}

/* ---- each allocation, one after the other ---- */

struct scene {
    struct world *w;
    struct sim_client *c, *d, *p;
};

static void scene_start(struct scene *x)
{
    x->w = world_new(NULL);
    x->c = cargo_subscriber(x->w,
                            &(struct world_sub){"a", .window = 2, .queue = 9, .descriptors = true});
    x->d = world_join(x->w);
    world_subscribe(x->w, x->d, 0,
                    &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 2, .queue = 9});
    x->p = world_join(x->w);
}

static void scene_play(struct scene *x)
{
    struct sim *s = &x->w->s;
    struct sim_publish m = {.topic = "a", .buffer = 1, .body_bytes = 500, .n_fds = 2};

    if (!sim_register(s, x->p, 1, SLOT_BYTES, false)) {
        m.buffer = 0;
    }
    for (m.slot = 0; is_there(x->p) && m.slot < 5; m.slot++) {
        (void) sim_publish(s, x->p, &m);
    }
    for (unsigned turn = 0; turn < 3; turn++) {
        sim_read(s, x->c, 100);
        sim_release_all(s, x->c);
        sim_pong(s, x->c);
        if (x->c->peer) {
            sim_give_credit(s, x->c, 0);
        }
        sim_read(s, x->d, 100);
        if (x->d->peer) {
            sim_give_credit(s, x->d, 0);
        }
    }
    sim_unregister(s, x->p, 1);
}

static void test_each_allocation_fails_once(void **state)
{
    unsigned long failed = 1;
    unsigned long n = 0;

    (void) state;
    while (failed > 0) {
        struct scene x;

        scene_start(&x);
        failmalloc_arm(++n);
        scene_play(&x);
        failed = failmalloc_disarm();
        sim_settle(&x.w->s);
        expect_all_returned(&x.w->s);
        if (failed == 0) {
            assert_int_equal(x.c->subs[0].delivered, 5);
            assert_int_equal(x.d->subs[0].delivered, 5);
        }
        world_free(x.w);
    }
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_kept_and_nothing_is_changed_while_it_is_held),
        cmocka_unit_test(test_the_same_holds_while_allocations_fail),
        cmocka_unit_test(test_shutdown_closes_everything),
        cmocka_unit_test(test_each_allocation_fails_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
