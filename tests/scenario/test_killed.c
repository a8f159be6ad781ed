/* SPDX-License-Identifier: MIT */
/* Clients that are killed in the midst of their work: nobody else loses anything, and nothing of
 * them stays in the router. */
#include "support/children.h"

#define KILLS 200
#define CROWD 10
#define MIB_BYTES (1024u * 1024u)
#define RSS_MAX ((size_t) 128 * MIB_BYTES)

struct killing {
    struct router_fixture f;
    struct bus_conn *conn; /* asks for the counters */
    struct rng rng;
    struct healthy_pair pair;
    struct child crowd[CROWD];
    size_t rss_max;
};

/* ---- who is killed ---- */

static void on_record(struct bus_conn *conn, const struct bus_record *record, void *userdata)
{
    struct child_self *self = userdata;

    (void) conn;
    (void) record;
    self->report->done++;
}

static void monitor_child(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_conn *conn;

    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_monitor(conn, NULL, 0, NULL, on_record, self) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    child_receive(self, conn);
}

/* It gets what the healthy one gets, too, so that its end concerns them. */
static void start_subscriber(struct killing *k, struct child *c, const char *address)
{
    static const char *const filters[] = {"#", "noise/+", "healthy/#", "+/0"};
    struct child_role role = {
        .address = address,
        .topic = filters[rng_below(&k->rng, ARRAY_LEN(filters))],
        .opts = BUS_SUB_OPTS_INIT,
    };

    role.opts.policy = rng_below(&k->rng, BUS_POLICY_DISCONNECT + 1);
    role.opts.window_messages = 10 + rng_below(&k->rng, 1000);
    role.opts.queue_messages = 1 + rng_below(&k->rng, 1000);
    child_start(c, child_subscriber, &role);
}

static void start_random_child(struct killing *k, struct child *c)
{
    static const char *const topics[] = {"noise/0", "noise/1", "noise/2", "elsewhere"};
    struct child_role role = {
        .address = rng_below(&k->rng, 2) ? k->f.seqpacket : k->f.stream,
        .topic = topics[rng_below(&k->rng, ARRAY_LEN(topics))],
        .body_bytes = CHILD_BODY_MIN + rng_below(&k->rng, 2000),
    };
    unsigned kind = rng_below(&k->rng, 10);

    if (kind < 2) {
        child_start(c, child_publisher, &role);
    } else if (kind < 4) {
        child_start(c, monitor_child, &role);
    } else {
        start_subscriber(k, c, role.address);
    }
    if (rng_below(&k->rng, 2)) {
        (void) child_is_readable(c, FIXTURE_TIMEOUT_MS); /* ready; else it is killed before */
    }
}

/* ---- the killing ---- */

static void watch(struct killing *k, uint64_t n, int ms)
{
    size_t rss;

    pair_watch(&k->pair, n, ms);
    rss = router_rss_bytes(&k->f.process);
    k->rss_max = MAX(k->rss_max, rss);
}

/* Sometimes its queues are full before, because it was stopped for a moment. Disconnected ones are
 * dead already. */
static void kill_one(struct killing *k, struct child *c)
{
    if (rng_below(&k->rng, 3) == 0) {
        (void) kill(c->pid, SIGSTOP);
        watch(k, 0, 20);
    }
    child_kill9(c);
}

static void kill_many(struct killing *k)
{
    for (int i = 0; i < CROWD; i++) {
        start_random_child(k, &k->crowd[i]);
    }
    for (int i = 0; i < KILLS; i++) {
        struct child *c = &k->crowd[rng_below(&k->rng, CROWD)];

        watch(k, i % 10 == 0, 5);
        kill_one(k, c);
        start_random_child(k, c);
    }
    for (int i = 0; i < CROWD; i++) {
        child_kill9(&k->crowd[i]);
    }
}

static void test_200_killed_clients_leave_nothing_behind(void **state)
{
    struct killing k = {.rng = rng_from_env()};
    struct router_state before;

    (void) state;
    router_start(&k.f, NULL);
    before = router_ask(&k.f, &k.conn);
    assert_int_equal(before.clients, 1);
    pair_start(&k.pair, &k.f);
    kill_many(&k);
    while (router_counter(k.conn, "clients_now") > 3) {
        watch(&k, 1, 0);
    }
    assert_int_equal(router_counter(k.conn, "subscriptions_now"), 1);
    assert_int_equal(router_counter(k.conn, "monitors_now"), 0);
    (void) pair_finish(&k.pair);
    print_message("router: RSS %.1f MiB at most\n", (double) k.rss_max / MIB_BYTES);
    expect_router_state(&k.f, k.conn, &before);
    if (!CHILDREN_SANITIZED) {
        assert_true(k.rss_max < RSS_MAX);
    }
    bus_close(k.conn);
    router_stop(&k.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_200_killed_clients_leave_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
