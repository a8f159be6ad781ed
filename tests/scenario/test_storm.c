/* SPDX-License-Identifier: MIT */
/* 1,000 clients that come at once: how long it takes, and what each of them costs. */
#include <sched.h>
#include "support/crowd.h"

#define STORM 1000
#define WARM 20
#define TIME_MAX_MS 5000
#define MEMORY_MAX 2048

static struct crowd crowd;
static struct bus_conn *conns[STORM];

static double since_ms(uint64_t start_ns)
{
    return (double) (clock_monotonic_ns() - start_ns) / NS_PER_MS;
}

/* ---- raw clients ---- */

/* Takes WELCOME and STATUS {OK}; they may come in pieces on a stream. */
static void expect_welcome_and_ok(const struct crowd *c, int i)
{
    uint8_t buf[1024];
    struct frame frame;
    size_t len = 0, bytes;
    ssize_t n;

    for (int verb = VERB_WELCOME;; verb = VERB_STATUS) {
        while (frame_parse(buf, len, 0, &frame, &bytes) != FRAME_OK) {
            struct pollfd p = c->fds[i];

            assert_int_equal(poll(&p, 1, FIXTURE_TIMEOUT_MS), 1);
            n = crowd_read(c, i, buf + len, sizeof(buf) - len);
            assert_true(n > 0);
            len += (size_t) n;
        }
        assert_int_equal(frame.verb, verb);
        memmove(buf, buf + bytes, len - bytes);
        len -= bytes;
        if (verb == VERB_STATUS) {
            return; /* len is 0: nothing else is said to them */
        }
    }
}

/* All at once: nobody waits for an answer before the next one comes. */
static void storm(const char *address, int n)
{
    struct address a;
    uint8_t buf[256];

    assert_int_equal(address_parse(address, &a), 0);
    for (int i = crowd.n, end = i + n; i < end; i++) {
        char filter[32];
        size_t len;

        (void) snprintf(filter, sizeof(filter), "storm/%d/+", i);
        len = crowd_greeting(buf, sizeof(buf), filter);
        while (!crowd_connect(&crowd, &a)) {
            (void) sched_yield(); /* the backlog is smaller than this storm */
        }
        assert_int_equal(send(crowd.fds[i].fd, buf, len, MSG_NOSIGNAL), len);
    }
    for (int i = crowd.n - n; i < crowd.n; i++) {
        expect_welcome_and_ok(&crowd, i);
    }
}

/* Nothing may stay, and it must be as fast the second time. */
static void storm_twice(const struct router_fixture *f, const char *address)
{
    struct bus_conn *conn;
    const struct router_state before = router_ask(f, &conn);
    double ms;

    for (int i = 0; i < 2; i++) {
        uint64_t start_ns = clock_monotonic_ns();

        storm(address, STORM);
        ms = since_ms(start_ns);
        print_message("%d connections and subscriptions: %.1f ms\n", STORM, ms);
        assert_true(ms < TIME_MAX_MS);
        assert_int_equal(router_counter(conn, "subscriptions_now"), STORM);
        crowd_close_all(&crowd);
        expect_router_state(f, conn, &before);
    }
    bus_close(conn);
}

static void test_1000_clients_connect_and_subscribe_at_once_on_seqpacket(void **state)
{
    struct router_fixture f;

    (void) state;
    crowd_allow(STORM);
    router_start(&f, NULL);
    storm_twice(&f, f.seqpacket);
    router_stop(&f);
}

static void test_1000_clients_connect_and_subscribe_at_once_on_stream(void **state)
{
    struct router_fixture f;

    (void) state;
    crowd_allow(STORM);
    router_start(&f, NULL);
    storm_twice(&f, f.stream);
    router_stop(&f);
}

/* ---- libbus ---- */

static void on_message(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    (void) sub;
    (void) m;
    *(unsigned *) userdata += 1;
}

/* Each waits for its own greeting and subscription before the next one comes. */
static void test_1000_connections_of_libbus_one_after_the_other(void **state)
{
    struct router_fixture f;
    uint64_t start_ns;
    unsigned n = 0;
    double ms;

    (void) state;
    crowd_allow(3 * STORM);
    router_start(&f, NULL);
    start_ns = clock_monotonic_ns();
    for (int i = 0; i < STORM; i++) {
        assert_int_equal(bus_open(i % 2 ? f.stream : f.seqpacket, NULL, &conns[i]), 0);
        assert_int_equal(bus_subscribe(conns[i], "storm/+", NULL, on_message, &n, NULL), 0);
        assert_int_equal(bus_flush(conns[i], FIXTURE_TIMEOUT_MS), 0);
    }
    ms = since_ms(start_ns);
    print_message("%d connections of libbus, one after the other: %.1f ms\n", STORM, ms);
    assert_true(ms < TIME_MAX_MS);
    assert_int_equal(bus_publish(conns[0], "storm/all", "x", 1), 0);
    for (int i = 0; i < STORM; i++) {
        while (n <= (unsigned) i) {
            assert_int_equal(bus_wait(conns[i], FIXTURE_TIMEOUT_MS), 1);
            assert_true(bus_process(conns[i]) >= 0);
        }
    }
    for (int i = 0; i < STORM; i++) {
        bus_close(conns[i]);
    }
    router_stop(&f);
}

/* ---- memory ---- */

static void expect_little_memory(const char *kind, const struct router_fixture *f,
                                 const char *address)
{
    size_t before, after;
    double each;

    storm(address, WARM);
    before = router_rss_bytes(&f->process);
    storm(address, STORM);
    after = router_rss_bytes(&f->process);
    each = (double) (after - before) / STORM;
    print_message("%s: %.0f bytes for an idle connection with a subscription\n", kind, each);
    if (!CHILDREN_SANITIZED) {
        assert_true(each <= MEMORY_MAX);
    }
    crowd_close_all(&crowd);
}

static void test_an_idle_connection_with_a_subscription_costs_2_kib_on_seqpacket(void **state)
{
    struct router_fixture f;

    (void) state;
    crowd_allow(STORM + WARM);
    router_start(&f, NULL);
    expect_little_memory("seqpacket", &f, f.seqpacket);
    router_stop(&f);
}

static void test_an_idle_connection_with_a_subscription_costs_2_kib_on_stream(void **state)
{
    struct router_fixture f;

    (void) state;
    crowd_allow(STORM + WARM);
    router_start(&f, NULL);
    expect_little_memory("stream", &f, f.stream);
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_1000_clients_connect_and_subscribe_at_once_on_seqpacket),
        cmocka_unit_test(test_1000_clients_connect_and_subscribe_at_once_on_stream),
        cmocka_unit_test(test_1000_connections_of_libbus_one_after_the_other),
        cmocka_unit_test(test_an_idle_connection_with_a_subscription_costs_2_kib_on_seqpacket),
        cmocka_unit_test(test_an_idle_connection_with_a_subscription_costs_2_kib_on_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
