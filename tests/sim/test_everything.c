/* SPDX-License-Identifier: MIT */
/* All verbs at random, on both kinds of link: subscriptions of all kinds, groups, kept values,
 * wills, requests, buffers and descriptors meet each other, with and without memory that fails. The
 * router's invariants hold after each step. In the end each request has ended once, publishers have
 * their credit back, and nothing is charged any more; if nobody has left, what was delivered and
 * what was told to be lost is all that there was. */
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/sim_cargo.h"
#include "support/world.h"
/* after world.h */
#include "support/calls.h"

#define NS_PER_MS UINT64_C(1000000)
#define N_CLIENTS SIM_CLIENTS
#define N_NUMBERS 9u
#define N_OPEN 512u

struct seen {
    uint64_t calls[N_OPEN];
    unsigned n_calls;
    struct wire_ack acks[N_OPEN];
    unsigned n_acks;
    bool asked[N_NUMBERS]; /* requests that have not ended */
};

static struct {
    struct world w;
    struct seen seen[N_CLIENTS];
    uint64_t n_messages, n_lost; /* that clients were told of */
    bool is_exact;               /* nobody leaves */
    bool has_no_fds;             /* the router stops, and then does not wait for PONGs */
} x;

static const char *const topics[] = {"a", "a/b", "b", "dead", "w/1"};
static const char *const filters[] = {"a", "a/#", "#", "b", "dead", "+/1", "$bus/client/#", "w/1"};
static const char *const keys[] = {NULL, "k1", "k2", "k3"};

#define ANY(list) list[rng_below(&x.w.s.rng, ARRAY_LEN(list))]

static unsigned below(unsigned n)
{
    return rng_below(&x.w.s.rng, n);
}

static unsigned some_fds(void)
{
    return below(6) || x.has_no_fds ? 0 : 1 + below(2);
}

static struct seen *seen_of(const struct sim_client *c)
{
    return &x.seen[c - x.w.s.clients];
}

static void on_end(struct seen *seen, uint32_t number)
{
    assert_true(number < N_NUMBERS && seen->asked[number]);
    seen->asked[number] = false;
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    struct seen *seen = seen_of(c);
    uint64_t bytes;

    (void) s;
    switch (f->verb) {
    case VERB_MESSAGE:
        (void) sim_body(c, &m->message, f, &bytes); /* the lease, if there is one */
        x.n_messages++;
        if (m->message.delivery && seen->n_acks < N_OPEN) {
            seen->acks[seen->n_acks++] =
                (struct wire_ack){m->message.subscription, m->message.delivery, 0};
        }
        break;
    case VERB_LOSS:
        x.n_lost += m->loss.subscription ? m->loss.count : 0;
        break;
    case VERB_CALL:
        if (seen->n_calls < N_OPEN) {
            seen->calls[seen->n_calls++] = m->call.call;
        }
        break;
    case VERB_ANSWER:
        if (m->answer.part == 0 && !(m->answer.flags & REPLY_MORE)) {
            on_end(seen, m->answer.call);
        }
        break;
    case VERB_DONE:
        on_end(seen, m->done.call);
        break;
    default:
        break;
    }
}

static bool is_there(const struct sim_client *c)
{
    return c->peer && c->id != 0 && !peer_is_closing(c->peer);
}

/* ---- what clients do ---- */

/* What members of the group of each filter agree on: all but their window. */
static const struct {
    uint32_t policy, flags;
    const char *dead_letter;
} groups[ARRAY_LEN(filters)] = {
    {BUS_POLICY_BLOCK, SUB_STICKY, ""},        {BUS_POLICY_DROP_NEWEST, SUB_ACK, "dead"},
    {BUS_POLICY_LATEST, SUB_ACK, ""},          {BUS_POLICY_BLOCK, SUB_ACK | SUB_STICKY, "dead"},
    {BUS_POLICY_DROP_OLDEST, 0, ""},           {BUS_POLICY_DROP_OLDEST, SUB_STICKY, ""},
    {BUS_POLICY_DROP_OLDEST, SUB_ACK, "dead"}, {BUS_POLICY_BLOCK, 0, ""},
};

static void group_options(struct wire_subscribe *m, unsigned filter)
{
    m->group = text_from("g");
    m->queue_messages = 3;
    m->queue_bytes = 900;
    m->policy = groups[filter].policy;
    m->flags = groups[filter].flags | SUB_DESCRIPTORS;
    m->deliveries_max = m->flags & SUB_ACK ? 2 : 0;
    m->dead_letter = text_from(groups[filter].dead_letter);
}

static void subscribe(struct sim_client *c)
{
    unsigned filter = below(ARRAY_LEN(filters));
    struct wire_subscribe m = {.subscription = 1 + below(SIM_SUBS),
                               .filter = text_from(filters[filter]),
                               .policy = below(x.is_exact ? 4 : 5),
                               .window_messages = 1 + below(4),
                               .window_bytes = 1 + below(2000),
                               .queue_messages = 1 + below(5),
                               .queue_bytes = 1 + below(2000),
                               .flags = below(4)};

    switch (below(5)) {
    case 0:
    case 4:
        group_options(&m, filter);
        break;
    case 1:
        m.flags = SUB_SERVE | (m.flags & SUB_DESCRIPTORS);
        break;
    case 2:
        m.retained = below(3);
        m.min_interval_ms = m.policy == BUS_POLICY_BLOCK ? 0 : below(3) * 20;
        m.silence_ms = below(2) * 50;
        break;
    default:
        break;
    }
    sim_send(&x.w.s, c, VERB_SUBSCRIBE, &m, NULL, 0);
}

static void join(void)
{
    static const char *const names[] = {"", "one", "two"};
    struct wire_hello m = {1, 1, text_from(ANY(names)),
                           below(2) ? FEATURE_BUFFERS : FEATURE_STOPPING,
                           text_from(below(2) ? "token" : "")};
    struct sim_client *c = sim_attach(&x.w.s, below(2));

    if (c) {
        *seen_of(c) = (struct seen){0};
        c->features = m.features;
        sim_send(&x.w.s, c, VERB_HELLO, &m, NULL, 0);
        sim_read(&x.w.s, c, 100);
    }
    if (c && is_there(c) && below(2)) {
        (void) sim_register(&x.w.s, c, 1, 1024, below(2));
    }
    for (unsigned i = 0; c && is_there(c) && i < 4; i++) {
        subscribe(c);
    }
}

static void advertise(struct sim_client *c)
{
    struct wire_advertise m = {.alias = 1 + below(SIM_ALIASES),
                               .topic = text_from(ANY(topics)),
                               .flags = below(4),
                               .retain_messages = below(3),
                               .retain_ttl_ms = below(2) * 100};

    if (*c->aliases[m.alias - 1]) {
        sim_send(&x.w.s, c, VERB_UNADVERTISE, &(struct wire_unadvertise){m.alias}, NULL, 0);
    }
    snprintf(c->aliases[m.alias - 1], sizeof(c->aliases[0]), "%s", m.topic.data);
    if (is_there(c)) {
        sim_send(&x.w.s, c, VERB_ADVERTISE, &m, NULL, 0);
    }
}

/* A place of its buffer that nobody reads; 0 if there is none. */
static unsigned place(const struct sim_client *c, unsigned *ret_slot)
{
    *ret_slot = below(SIM_SLOTS);
    return below(4) == 0 && c->buffers[0].fd && c->buffers[0].due[*ret_slot] == 0;
}

static void publish(struct sim_client *c)
{
    struct sim_publish p = {.topic = ANY(topics),
                            .body_bytes = 8 + below(400),
                            .confirm = below(3) == 0,
                            .n_headers = below(3),
                            .n_fds = some_fds(),
                            .ttl_ms = below(3) ? 0 : 1 + below(60),
                            .key = ANY(keys)};

    p.buffer = place(c, &p.slot);
    p.alias = below(SIM_ALIASES);
    if (*c->aliases[p.alias] && below(2)) {
        p.topic = NULL;
    }
    (void) sim_publish(&x.w.s, c, &p);
}

static void request(struct sim_client *c)
{
    struct sim_request q = {.call = 1 + below(N_NUMBERS - 1),
                            .topic = ANY(topics),
                            .flags = below(4),
                            .timeout_ms = 1 + below(1000),
                            .body = {.bytes = 8 + below(400), .n_headers = below(3)}};

    if (!seen_of(c)->asked[q.call]) {
        seen_of(c)->asked[q.call] = true;
        q.body.n_fds = some_fds();
        q.body.buffer = place(c, &q.body.slot);
        sim_request(&x.w.s, c, &q);
    }
}

static void reply(struct sim_client *c)
{
    struct seen *seen = seen_of(c);
    struct sim_reply q = {.flags = below(3) ? 0 : REPLY_MORE, .body = {.bytes = 8 + below(400)}};
    unsigned i = seen->n_calls ? below(seen->n_calls) : 0;

    if (seen->n_calls > 0) {
        q.call = seen->calls[i];
        q.body.n_fds = some_fds();
        q.body.buffer = place(c, &q.body.slot);
        if (q.flags == 0) {
            seen->calls[i] = seen->calls[--seen->n_calls];
        }
        sim_reply(&x.w.s, c, &q);
    }
}

static void acknowledge(struct sim_client *c, bool refuse)
{
    struct seen *seen = seen_of(c);
    unsigned i = seen->n_acks ? below(seen->n_acks) : 0;
    struct wire_ack m;

    if (seen->n_acks > 0) {
        m = seen->acks[i];
        m.flags = refuse ? ACK_REFUSE : 0;
        seen->acks[i] = seen->acks[--seen->n_acks];
        sim_send(&x.w.s, c, VERB_ACK, &m, NULL, 0);
    }
}

static void will(struct sim_client *c)
{
    struct wire_will m = {.topic = text_from(ANY(topics)),
                          .flags = below(5) == 0,
                          .delay_ms = below(2) * below(200),
                          .headers = sim_headers,
                          .n_headers = below(3)};

    sim_send(&x.w.s, c, VERB_WILL, &m, "last words", m.flags ? 0 : 10);
}

static void credit(struct sim_client *c, unsigned n)
{
    struct wire_credit m = {.subscription = 1 + below(SIM_SUBS), .messages = n, .bytes = n * 600};

    if (below(4) == 0) {
        m = (struct wire_credit){.call = 1 + below(N_NUMBERS - 1), .part = below(3), .messages = n};
    }
    sim_send(&x.w.s, c, VERB_CREDIT, &m, NULL, 0);
}

static void look(struct sim_client *c)
{
    struct wire_snapshot m = {.kind = 1 + below(3), .limit = 5};

    sim_send(&x.w.s, c, VERB_SNAPSHOT, &m, NULL, 0);
}

static void leave(struct sim_client *c)
{
    switch (below(4)) {
    case 0:
        sim_send(&x.w.s, c, VERB_GOODBYE, &(struct wire_goodbye){1, {"", 0}}, NULL, 0);
        break;
    case 1: /* a mistake */
        sim_send_raw(&x.w.s, c, "\xff\xff\xff\xff\x01\x00\x10\x00", 8);
        break;
    case 2:
        if (below(4) == 0) {
            c->monitoring = true;
            sim_send(&x.w.s, c, VERB_MONITOR, &(struct wire_monitor){.snap_bytes = 20}, NULL, 0);
            break;
        }
        /* fall through */
    default:
        sim_disconnect(&x.w.s, c);
    }
}

static void clear(struct sim_client *c)
{
    sim_send(&x.w.s, c, VERB_CLEAR, &(struct wire_clear){.topic = text_from(ANY(topics))}, NULL, 0);
}

static void step_seldom(struct sim_client *c)
{
    struct wire_unsubscribe un = {1 + below(SIM_SUBS), below(3)};
    struct wire_cancel cancel = {1 + below(N_NUMBERS - 1), 0};

    switch (below(x.is_exact ? 4 : 7)) {
    case 0:
        clear(c);
        break;
    case 1:
        look(c);
        break;
    case 2:
        sim_send(&x.w.s, c, VERB_CANCEL, &cancel, NULL, 0);
        break;
    case 3: /* nothing is discarded by that */
        un.flags = UNSUBSCRIBE_DRAIN;
        sim_send(&x.w.s, c, VERB_UNSUBSCRIBE, &un, NULL, 0);
        break;
    case 4:
        leave(c);
        break;
    default:
        sim_send(&x.w.s, c, VERB_UNSUBSCRIBE, &un, NULL, 0);
        break;
    }
}

static void step(void)
{
    struct sim_client *c = &x.w.s.clients[below(N_CLIENTS)];
    unsigned action = below(100);

    if (!c->peer) {
        join();
    } else if (!is_there(c)) {
        sim_read(&x.w.s, c, 10);
    } else if (action < 4) {
        subscribe(c);
    } else if (action < 7) {
        advertise(c);
    } else if (action < 30) {
        publish(c);
    } else if (action < 36) {
        request(c);
    } else if (action < 44) {
        reply(c);
    } else if (action < 54) {
        acknowledge(c, below(2));
    } else if (action < 56) {
        will(c);
    } else if (action < 68) {
        credit(c, 1 + below(4));
    } else if (action < 86) {
        sim_read(&x.w.s, c, 1 + below(4));
    } else if (action < 90) {
        sim_release_all(&x.w.s, c);
        sim_pong(&x.w.s, c);
    } else if (action < 97) {
        step_seldom(c);
    } else {
        sim_advance(&x.w.s, below(100) ? below(30) * NS_PER_MS : 10000 * NS_PER_MS);
    }
}

static void check(void)
{
    sim_check(&x.w.s);
    (void) sim_work_off(&x.w.s);
}

/* ---- the end ---- */

static void work(struct sim_client *c)
{
    sim_read(&x.w.s, c, 10000);
    for (uint32_t i = 1; is_there(c) && i <= SIM_SUBS; i++) {
        struct wire_credit m = {.subscription = i, .messages = 100, .bytes = 100000};

        sim_send(&x.w.s, c, VERB_CREDIT, &m, NULL, 0);
    }
    while (is_there(c) && seen_of(c)->n_acks > 0) {
        acknowledge(c, false);
    }
    while (is_there(c) && seen_of(c)->n_calls > 0) {
        reply(c);
    }
    if (is_there(c)) {
        sim_release_all(&x.w.s, c);
        sim_pong(&x.w.s, c);
    }
}

static void settle(void)
{
    const struct counters *k;
    unsigned turns = 0;

    do {
        assert_true(turns++ < 2000);
        for (unsigned i = 0; i < N_CLIENTS; i++) {
            work(&x.w.s.clients[i]);
        }
        sim_advance(&x.w.s, 100 * NS_PER_MS);
        check();
        k = router_counters(x.w.s.router); /* it may be another one now */
    } while (turns < 20 || k->messages_queued_now > 0 || k->messages_unacknowledged_now > 0 ||
             k->requests_now > 0);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        struct sim_client *c = &x.w.s.clients[i];

        sim_read(&x.w.s, c, 10000);
        for (unsigned n = 0; is_there(c) && n < N_NUMBERS; n++) {
            assert_false(x.seen[i].asked[n]);
        }
        if (is_there(c)) {
            assert_int_equal(c->peer->used_messages, c->peer->free_messages);
            assert_int_equal(c->peer->used_bytes, c->peer->free_bytes);
            assert_null(c->peer->answers);
        }
    }
    k = router_counters(x.w.s.router);
    assert_int_equal(k->calls_now, 0);
    if (x.is_exact) {
        assert_int_equal(k->clients_now, k->clients_total);
        assert_int_equal(x.n_messages, k->messages_delivered);
        assert_int_equal(x.n_lost, k->messages_lost);
    }
}

static void clear_all(void)
{
    struct sim_client *c;

    for (unsigned i = 0; i < N_CLIENTS; i++) {
        if (x.w.s.clients[i].peer) {
            sim_disconnect(&x.w.s, &x.w.s.clients[i]);
        }
    }
    (void) sim_work_off(&x.w.s);
    sim_advance(&x.w.s, 1000 * NS_PER_MS); /* wills that wait, and what has no memory */
    (void) sim_work_off(&x.w.s);
    c = sim_connect(&x.w.s, true);
    assert_non_null(c);
    for (unsigned i = 0; i < ARRAY_LEN(topics); i++) {
        sim_send(&x.w.s, c, VERB_CLEAR, &(struct wire_clear){.topic = text_from(topics[i])}, NULL,
                 0);
    }
    sim_disconnect(&x.w.s, c);
    (void) sim_work_off(&x.w.s);
    router_check(x.w.s.router);
    assert_int_equal(router_counters(x.w.s.router)->charged_bytes_now, 0);
    assert_int_equal(router_counters(x.w.s.router)->topics_now, 0);
    assert_int_equal(router_counters(x.w.s.router)->groups_now, 0);
    assert_int_equal(router_counters(x.w.s.router)->wills_now, 0);
    assert_int_equal(router_counters(x.w.s.router)->descriptors_now, 0);
}

/* Whoever reads learns of it; nothing is published after that. */
static void shut_down(void)
{
    const struct counters *k = router_counters(x.w.s.router);
    uint64_t n_published;

    router_shutdown(x.w.s.router, &x.w.s.now);
    n_published = k->messages_published;
    check();
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        struct sim_client *c = &x.w.s.clients[i];

        while (c->peer && peer_output(c->peer)->bytes > 0) {
            sim_read(&x.w.s, c, 1);
        }
        if (c->peer) {
            sim_disconnect(&x.w.s, c);
        }
        check();
    }
    assert_true(k->messages_published <= n_published + k->messages_dead_lettered);
    assert_int_equal(k->clients_now, 0);
    if (k->wills_now == 0) {
        assert_int_equal(router_counters(x.w.s.router)->charged_bytes_now, k->retained_bytes_now);
    }
    sim_fini(&x.w.s);
}

static void begin(struct rng *seeds, const struct limits *limits)
{
    memset(&x, 0, sizeof(x));
    sim_init(&x.w.s, limits);
    x.w.s.looks_away = true;
    x.w.s.on_frame = on_frame;
    x.w.s.rng.state = rng_u64(seeds);
    sim_replace_sometimes(&x.w.s, seeds);
}

static void end(void)
{
    settle();
    clear_all();
    sim_fini(&x.w.s);
}

#define N_STEPS 3000u

static unsigned n_runs(unsigned n)
{
    const char *text = getenv("TEST_ROUNDS");

    return text ? n * (unsigned) strtoul(text, NULL, 10) : n;
}

static void run(bool is_exact, const struct limits *limits)
{
    struct rng rng = rng_from_env();

    for (unsigned i = 0; i < n_runs(10); i++) {
        begin(&rng, limits);
        x.is_exact = is_exact;
        for (unsigned k = 0; k < N_STEPS; k++) {
            step();
            check();
        }
        end();
    }
}

static void test_everything_until_the_router_stops(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < n_runs(50); i++) {
        begin(&rng, NULL);
        x.has_no_fds = true;
        for (unsigned k = below(N_STEPS / 4); k > 0; k--) {
            step();
            check();
        }
        router_drain(x.w.s.router, x.w.s.now.monotonic_ns, &x.w.s.now);
        for (unsigned k = below(100); k > 0; k--) { /* everything goes on */
            step();
            check();
        }
        shut_down();
    }
}

static void test_everything_at_once(void **state)
{
    struct limits limits = sim_small_limits();

    (void) state;
    run(false, &limits);
}

static void test_everything_is_accounted_for_if_nobody_leaves(void **state)
{
    struct limits limits = sim_small_limits();

    (void) state;
    limits.client_bytes_max = 16 * MIB;
    run(true, &limits);
}

static void test_everything_with_little_memory_for_each(void **state)
{
    struct limits limits = sim_small_limits();

    (void) state;
    limits.client_bytes_max = 24 * KIB;
    limits.groups_bytes_max = 24 * KIB;
    limits.user_retained_bytes_max = 2 * KIB;
    limits.leases_max = 2;
    run(false, &limits);
}

static void test_everything_with_little_memory_for_all(void **state)
{
    struct limits limits = sim_small_limits();

    (void) state;
    limits.total_bytes_max = MIB;
    run(false, &limits);
}

static void test_everything_while_allocations_fail(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < n_runs(10); i++) {
        begin(&rng, NULL);
        x.w.s.starving = true;
        for (unsigned k = 0; k < N_STEPS; k++) {
            if (below(20) == 0) {
                failmalloc_arm_from(1 + below(6));
            } else {
                failmalloc_arm(1 + below(12));
            }
            step();
            (void) failmalloc_disarm();
            check();
        }
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_everything_is_accounted_for_if_nobody_leaves),
        cmocka_unit_test(test_everything_with_little_memory_for_each),
        cmocka_unit_test(test_everything_with_little_memory_for_all),
        cmocka_unit_test(test_everything_while_allocations_fail),
        cmocka_unit_test(test_everything_until_the_router_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
