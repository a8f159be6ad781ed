/* SPDX-License-Identifier: MIT */
/* How long close() takes is up to whoever made a descriptor: a TCP socket may linger. The router's
 * clients do not wait for that, nor does its end. */
#include <bus/bus.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "support/children.h"

#define LINGER_S 60
#define AT_MOST_NS (UINT64_C(20) * 1000000000)

/* A connected socket with unsent data, whose last close() waits; *ret_other must stay open. */
static int lingering_socket(int *ret_other)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger linger = {1, LINGER_S};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t bytes = sizeof(a);
    static char data[65536];

    assert_int_equal(bind(listener, (struct sockaddr *) &a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *) &a, &bytes), 0);
    assert_int_equal(connect(s, (struct sockaddr *) &a, sizeof(a)), 0);
    *ret_other = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*ret_other >= 0);
    (void) close(listener);
    while (send(s, data, sizeof(data), MSG_DONTWAIT) > 0) {
    }
    assert_int_equal(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    return s;
}

/* The router gets the last reference of it. */
static void hand_over(struct bus_conn *conn, int fd)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;

    opts.fds = &fd;
    opts.n_fds = 1;
    bus_cork(conn);
    assert_int_equal(bus_publish_with(conn, "t", "", 0, &opts), 0);
    (void) close(fd);
    assert_int_equal(bus_uncork(conn), 0);
}

static void nobody_waits_for_a_socket_that_lingers(bool packets)
{
    struct bus_conn *sender, *other;
    struct router_fixture f;
    const char *address;
    uint64_t start_ns;
    int ends[4];

    router_start(&f, NULL);
    address = packets ? f.seqpacket : f.stream;
    assert_int_equal(bus_open(address, NULL, &sender), 0);
    assert_int_equal(bus_open(address, NULL, &other), 0);
    start_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
        hand_over(sender, lingering_socket(&ends[i]));
        assert_int_equal(bus_flush(other, -1), 0);
        assert_int_equal(bus_flush(sender, -1), 0);
        assert_int_equal(bus_flush(other, -1), 0);
    }
    bus_close(sender);
    bus_close(other);
    router_stop(&f);
    assert_true(clock_monotonic_ns() - start_ns < AT_MOST_NS);
    for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
        (void) close(ends[i]);
    }
}

static void test_nobody_waits_for_a_socket_that_lingers_on_seqpacket(void **state)
{
    (void) state;
    nobody_waits_for_a_socket_that_lingers(true);
}

static void test_nobody_waits_for_a_socket_that_lingers_on_stream(void **state)
{
    (void) state;
    nobody_waits_for_a_socket_that_lingers(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_waits_for_a_socket_that_lingers_on_seqpacket),
        cmocka_unit_test(test_nobody_waits_for_a_socket_that_lingers_on_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
