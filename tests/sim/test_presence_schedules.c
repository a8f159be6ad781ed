/* SPDX-License-Identifier: MIT */
/* Random schedules of clients that come, leave wills, subscribe, and go in all ways, with and
 * without memory that fails. In the end an observer has seen each of them come and go once, each
 * will was published, cancelled or taken back, and publishers know how many subscriptions they
 * have; or it was told what it missed. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/sim.h"
#include "wire/events.h"
#include "wire/topic.h"

#define N_IDS 100000u
#define N_STEPS 4000u
#define N_TOPICS 4u
struct client {
    struct sim_client *c;
    uint64_t id;        /* of the connection: its place may be another's since it ended */
    char filters[4][8]; /* "" if there is no such subscription */
};

static struct {
    struct sim s;
    struct sim_client *observer, *publisher;
    struct client clients[SIM_CLIENTS - 2];
    bool starving;
    uint8_t greeted[N_IDS]; /* WELCOME was received or READY */
    uint8_t joined[N_IDS], left[N_IDS];
    uint64_t n_wills, lost, last_number;
    uint32_t interest[N_TOPICS];
    bool told[N_TOPICS];
} x;

static const char *const topics[N_TOPICS] = {"t/1", "t/2", "u/1", "u"};
static const char *const filters[] = {"t/1", "t/+", "#", "+/1", "u/#", "u"};

static void on_event(const struct client_event *e)
{
    assert_true(e->connection_id < N_IDS);
    if (e->kind == CLIENT_JOINED) {
        assert_int_equal(x.left[e->connection_id], 0);
        assert_int_equal(x.joined[e->connection_id]++, 0);
    } else {
        assert_int_equal(x.left[e->connection_id]++, 0);
        assert_true(x.joined[e->connection_id] || x.lost > 0);
    }
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    struct client_event e;

    (void) s;
    if (c == x.publisher && f->verb == VERB_INTEREST) {
        x.interest[m->interest.alias - 1] = m->interest.subscriptions;
        x.told[m->interest.alias - 1] = true;
    }
    if (c != x.observer) {
        return;
    }
    if (f->verb == VERB_LOSS) {
        x.lost += m->loss.count;
    } else if (f->verb == VERB_MESSAGE) {
        c->subs[m->message.subscription - 1].consumed++;
        c->subs[m->message.subscription - 1].consumed_bytes += f->body_bytes;
        if (m->message.subscription == 1) {
            assert_true(client_event_decode(f->body, f->body_bytes, &e));
            on_event(&e);
        } else {
            x.n_wills++;
        }
    }
}

static bool is_connected(const struct client *k)
{
    return k->c && k->c->peer && peer_connection_id(k->c->peer) == k->id;
}

static void read_all(struct sim_client *c)
{
    if (c->peer) {
        sim_read(&x.s, c, 100);
    }
    for (unsigned i = 0; c->peer && i < SIM_SUBS; i++) {
        sim_give_credit(&x.s, c, i);
    }
}

static void settle(void)
{
    for (unsigned i = 0; i < 20; i++) {
        sim_work_off(&x.s);
        for (unsigned k = 0; k < ARRAY_LEN(x.clients); k++) {
            if (is_connected(&x.clients[k])) {
                read_all(x.clients[k].c);
            }
        }
        read_all(x.observer);
        read_all(x.publisher);
        sim_advance(&x.s, 20 * MS);
    }
    router_check(x.s.router);
}

static bool is_there(const struct client *k)
{
    return is_connected(k) && !peer_is_closing(k->c->peer);
}

static void forget(struct client *k)
{
    if (is_connected(k)) {
        sim_disconnect(&x.s, k->c);
    }
    *k = (struct client){0};
}

static void do_connect(struct client *k)
{
    static const char *const names[] = {"a", "b", ""}, *const tokens[] = {"x", "y", ""};
    struct wire_hello m = {1, 1, text_from(names[rng_below(&x.s.rng, 3)]), 0,
                           text_from(tokens[rng_below(&x.s.rng, 3)])};

    forget(k);
    k->c = sim_attach(&x.s, rng_below(&x.s.rng, 2));
    if (!k->c) {
        return; /* for want of memory */
    }
    k->id = peer_connection_id(k->c->peer);
    if (rng_below(&x.s.rng, 8) > 0) {
        sim_send(&x.s, k->c, VERB_HELLO, &m, NULL, 0);
        x.greeted[peer_connection_id(k->c->peer)] = !peer_is_closing(k->c->peer);
    }
}

static void do_goodbye(struct client *k)
{
    static const uint8_t bad[8] = {1, 0, 0, 0, 0, 0, VERB_PING, 0};
    struct wire_goodbye m = {BUS_GOODBYE_NORMAL, {"", 0}};

    if (rng_below(&x.s.rng, 2)) {
        sim_send(&x.s, k->c, VERB_GOODBYE, &m, NULL, 0);
    } else {
        (void) sim_send_raw(&x.s, k->c, bad, sizeof(bad));
    }
}

static void do_will(struct client *k)
{
    char topic[] = "w/0";
    struct wire_will m = {.topic = {topic, 3},
                          .flags = rng_below(&x.s.rng, 6) == 0,
                          .delay_ms = rng_below(&x.s.rng, 2) ? rng_below(&x.s.rng, 60) : 0};

    topic[2] = (char) ('0' + rng_below(&x.s.rng, 4));
    sim_send(&x.s, k->c, VERB_WILL, &m, "body of a will", rng_below(&x.s.rng, 14));
}

static void do_subscribe(struct client *k)
{
    const struct counters *n = router_counters(x.s.router);
    uint32_t index = rng_below(&x.s.rng, 4);
    const char *filter = filters[rng_below(&x.s.rng, ARRAY_LEN(filters))];
    struct wire_subscribe m = {.subscription = index + 1,
                               .filter = text_from(filter),
                               .group = {"", 0},
                               .dead_letter = {"", 0},
                               .silence_ms = rng_below(&x.s.rng, 3) ? 0 : 10};
    uint64_t before = n->subscriptions_now;

    if (*k->filters[index]) {
        sim_send(&x.s, k->c, VERB_UNSUBSCRIBE,
                 &(struct wire_unsubscribe){.subscription = index + 1}, NULL, 0);
        *k->filters[index] = '\0';
        return;
    }
    sim_send(&x.s, k->c, VERB_SUBSCRIBE, &m, NULL, 0);
    if (n->subscriptions_now == before + 1) {
        (void) snprintf(k->filters[index], sizeof(k->filters[index]), "%s", filter);
    }
}

static void step(void)
{
    struct client *k = &x.clients[rng_below(&x.s.rng, ARRAY_LEN(x.clients))];
    unsigned what = rng_below(&x.s.rng, 16);

    if (x.starving && rng_below(&x.s.rng, 4) == 0) {
        failmalloc_arm(1 + rng_below(&x.s.rng, 6));
    }
    if (what == 0) {
        sim_advance(&x.s, rng_below(&x.s.rng, 30) * MS);
    } else if (!is_there(k)) {
        do_connect(k);
    } else if (what == 1) {
        forget(k);
    } else if (x.greeted[peer_connection_id(k->c->peer)]) {
        if (what == 2) {
            do_goodbye(k);
        } else if (what < 8) {
            do_will(k);
        } else if (what < 14) {
            do_subscribe(k);
        } else {
            read_all(k->c);
        }
    }
    (void) failmalloc_disarm();
    if (rng_below(&x.s.rng, 8) == 0) {
        read_all(x.observer);
        read_all(x.publisher);
    }
    router_check(x.s.router);
}

static uint32_t count_interest(const char *topic)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(x.clients); i++) {
        for (unsigned f = 0; is_there(&x.clients[i]) && f < 4; f++) {
            const char *filter = x.clients[i].filters[f];

            n += *filter && filter_matches(filter, strlen(filter), topic, strlen(topic));
        }
    }
    return n;
}

static void check_interest(void)
{
    for (unsigned i = 0; i < N_TOPICS; i++) {
        assert_true(x.told[i]);
        assert_int_equal(x.interest[i], count_interest(topics[i]));
    }
}

static void check_events(void)
{
    const struct counters *n = router_counters(x.s.router);
    uint64_t missing = 0;

    for (unsigned i = 3; i < N_IDS; i++) {
        assert_true(x.joined[i] <= x.greeted[i] && x.left[i] <= x.greeted[i]);
        missing += (unsigned) (x.greeted[i] - x.joined[i]) + (unsigned) (x.greeted[i] - x.left[i]);
    }
    assert_int_equal(n->wills_now, 0);
    missing += n->wills_published - x.n_wills;
    assert_int_equal(missing, x.lost);
    assert_true(x.starving || x.lost == 0);
    assert_true(n->wills_published > 0 && n->wills_cancelled > 0);
}

static struct sim_client *join(bool packets)
{
    struct sim_client *c = sim_connect(&x.s, packets);

    assert_non_null(c);
    return c;
}

static void schedule(bool packets, bool starving)
{
    struct wire_subscribe events = {.filter = text_from("$bus/client/#"),
                                    .window_messages = 1000,
                                    .window_bytes = 1000000,
                                    .queue_messages = 100000,
                                    .queue_bytes = 10000000};
    struct wire_subscribe wills = events;
    struct limits l = LIMITS_DEFAULT;

    memset(&x, 0, sizeof(x));
    sim_init(&x.s, &l);
    x.s.rng = rng_from_env();
    x.s.looks_away = true;
    x.s.on_frame = on_frame;
    x.starving = x.s.starving = starving;
    sim_replace_sometimes(&x.s, &x.s.rng);
    x.observer = join(packets);
    x.publisher = join(!packets);
    wills.filter = text_from("w/+");
    assert_true(sim_subscribe(&x.s, x.observer, 0, &events));
    assert_true(sim_subscribe(&x.s, x.observer, 1, &wills));
    for (uint32_t i = 0; i < N_TOPICS; i++) {
        struct wire_advertise m = {i + 1, text_from(topics[i]), ADVERTISE_INTEREST};

        sim_send(&x.s, x.publisher, VERB_ADVERTISE, &m, NULL, 0);
    }
    for (unsigned n = 0; n < N_STEPS; n++) {
        step();
        if (n % 500 == 499) {
            settle();
            check_interest();
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(x.clients); i++) {
        forget(&x.clients[i]);
    }
    settle();
    check_interest();
    check_events();
    sim_disconnect(&x.s, x.observer);
    sim_disconnect(&x.s, x.publisher);
    sim_work_off(&x.s);
    assert_int_equal(router_counters(x.s.router)->charged_bytes_now, 0);
    sim_fini(&x.s);
}

static void test_random_presence_on_seqpacket(void **state)
{
    (void) state;
    schedule(true, false);
}

static void test_random_presence_on_stream(void **state)
{
    (void) state;
    schedule(false, false);
}

static void test_random_presence_without_memory(void **state)
{
    (void) state;
    schedule(true, true);
    schedule(false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_presence_on_seqpacket),
        cmocka_unit_test(test_random_presence_on_stream),
        cmocka_unit_test(test_random_presence_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
