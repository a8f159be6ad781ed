/* SPDX-License-Identifier: MIT */
/* More connections than the router has descriptors for, and connections that say nothing. */
#include "support/crowd.h"

#define ROUTER_NOFILE 1024
#define SILENT 1000

static struct crowd crowd;
static char text[FIXTURE_LOG_BYTES];

static void parse_both(const struct router_fixture *f, struct address a[2])
{
    assert_int_equal(address_parse(f->seqpacket, &a[0]), 0);
    assert_int_equal(address_parse(f->stream, &a[1]), 0);
}

/* ---- more than there are descriptors ---- */

/* Everybody greets and subscribes without waiting for anything. */
static void connect_all(const struct router_fixture *f, struct healthy_pair *pair,
                        struct bus_conn *conn)
{
    struct address a[2];
    uint8_t buf[256];
    size_t len = crowd_greeting(buf, sizeof(buf), "crowd/+");

    parse_both(f, a);
    for (int i = 0; i < CROWD_MAX; i++) {
        if (crowd_connect(&crowd, &a[i % 2])) {
            assert_int_equal(send(crowd.fds[crowd.n - 1].fd, buf, len, MSG_NOSIGNAL), len);
        }
        if (i % 500 == 0) {
            pair_watch(pair, 100, 0);
            (void) router_counter(conn, "clients_now");
        }
    }
}

/* Those that are served leave, until everybody was. */
static void serve_all(void)
{
    uint8_t buf[1024];
    int n = 0;

    while (n < crowd.n) {
        assert_true(poll(crowd.fds, (nfds_t) crowd.n, FIXTURE_TIMEOUT_MS) > 0);
        for (int i = 0; i < crowd.n; i++) {
            if (crowd.fds[i].fd >= 0 && crowd.fds[i].revents) {
                assert_true(crowd_read(&crowd, i, buf, sizeof(buf)) > 0);
                assert_int_equal(buf[6], VERB_WELCOME);
                crowd_close(&crowd, i);
                n++;
            }
        }
    }
    crowd_close_all(&crowd);
}

/* A few are accepted in each turn. */
static void await_pause(const struct router_fixture *f, struct healthy_pair *pair)
{
    uint64_t end_ns = clock_monotonic_ns() + UINT64_C(60000000000);

    do {
        pair_watch(pair, 1, 0);
        router_log(&f->process, text);
    } while (!strstr(text, "accept.paused") && clock_monotonic_ns() < end_ns);
    assert_says(text, "accept.paused");
}

static void test_5000_connections_with_1024_descriptors(void **state)
{
    const struct router_options o = {.nofile = ROUTER_NOFILE};
    struct router_state before;
    struct healthy_pair pair;
    struct router_fixture f;
    struct bus_conn *conn;
    uint64_t clients;

    (void) state;
    crowd_allow(CROWD_MAX);
    router_start(&f, &o);
    before = router_ask(&f, &conn);
    pair_start(&pair, &f);
    connect_all(&f, &pair, conn);
    await_pause(&f, &pair);
    clients = router_counter(conn, "clients_now");
    print_message("%d of %d connections were taken by the kernel, the router has %llu clients and "
                  "%u descriptors\n",
                  crowd.n, CROWD_MAX, (unsigned long long) clients, router_fd_count(&f.process));
    assert_in_range(clients, ROUTER_NOFILE - 64, ROUTER_NOFILE);
    /* those who were there are served as before, and longer than it takes to try again */
    pair_watch(&pair, 10000, 300);
    assert_in_range(router_counter(conn, "clients_now"), ROUTER_NOFILE - 64, ROUTER_NOFILE);
    serve_all();
    pair_watch(&pair, 1000, 0);
    (void) pair_finish(&pair);
    router_log(&f.process, text);
    assert_says(text, "accept.resumed");
    expect_router_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}

/* ---- silence ---- */

/* GOODBYE {HELLO_TIMEOUT} and the end, for each of them. */
static void expect_all_sent_away(void)
{
    uint8_t buf[1024];

    for (int i = 0; i < crowd.n; i++) {
        struct pollfd p = crowd.fds[i];

        assert_int_equal(poll(&p, 1, FIXTURE_TIMEOUT_MS), 1);
        assert_true(crowd_read(&crowd, i, buf, sizeof(buf)) > 0);
        assert_int_equal(buf[6], VERB_GOODBYE);
        assert_int_equal(poll(&p, 1, FIXTURE_TIMEOUT_MS), 1);
        assert_int_equal(crowd_read(&crowd, i, buf, sizeof(buf)), 0);
    }
}

static void test_1000_connections_that_say_nothing_are_sent_away(void **state)
{
    const char *const args[] = {"--hello-timeout", "2s", NULL};
    const struct router_options o = {.args = args};
    struct router_state before;
    struct healthy_pair pair;
    struct router_fixture f;
    struct bus_conn *conn;
    struct address a[2];

    (void) state;
    crowd_allow(SILENT);
    router_start(&f, &o);
    before = router_ask(&f, &conn);
    pair_start(&pair, &f);
    parse_both(&f, a);
    while (crowd.n < SILENT) {
        if (!crowd_connect(&crowd, &a[crowd.n % 2])) {
            pair_watch(&pair, 1, 0); /* the backlog is full: the router gets its turn */
        }
    }
    expect_all_sent_away();
    assert_int_equal(router_counter(conn, "hello_timeouts"), SILENT);
    (void) pair_finish(&pair);
    crowd_close_all(&crowd);
    expect_router_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_5000_connections_with_1024_descriptors),
        cmocka_unit_test(test_1000_connections_that_say_nothing_are_sent_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
