/* SPDX-License-Identifier: MIT */
/* How long close() takes is up to whoever made a descriptor: a TCP socket may linger. The router's
 * clients do not wait for that, nor does its end. */
#include <bus/bus.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "support/children.h"

#define LINGER_S 60
#define AT_MOST_NS (UINT64_C(40) * 1000000000)

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

/* A process that hands one over; its own close() may be the one that waits, so it is killed. */
static pid_t hand_over(const char *address)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_conn *conn;
    pid_t pid = fork();
    int fd, other;

    if (pid != 0) {
        assert_true(pid > 0);
        return pid;
    }
    fd = lingering_socket(&other);
    opts.fds = &fd;
    opts.n_fds = 1;
    if (bus_open(address, NULL, &conn) == 0) {
        bus_cork(conn);
        (void) bus_publish_with(conn, "t", "", 0, &opts);
        (void) close(fd);
        (void) bus_uncork(conn);
    }
    for (;;) {
        (void) pause();
    }
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) message;
    ++*(unsigned *) userdata;
    bus_stop(bus_sub_conn(sub));
}

static void nobody_waits_for_a_socket_that_lingers(bool packets)
{
    struct bus_conn *other;
    struct router_fixture f;
    const char *address;
    uint64_t start_ns;
    unsigned seen = 0;
    pid_t pids[4];

    router_start(&f, NULL);
    address = packets ? f.seqpacket : f.stream;
    assert_int_equal(bus_open(address, NULL, &other), 0);
    assert_int_equal(bus_subscribe(other, "t", NULL, on_message, &seen, NULL), 0);
    assert_int_equal(bus_flush(other, -1), 0);
    start_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < ARRAY_LEN(pids); i++) {
        pids[i] = hand_over(address);
        while (seen <= i) {
            assert_int_equal(bus_run(other), 0);
        }
        assert_int_equal(bus_flush(other, -1), 0);
    }
    bus_close(other);
    for (unsigned i = 0; i < ARRAY_LEN(pids); i++) {
        assert_int_equal(kill(pids[i], SIGKILL), 0);
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    }
    router_stop(&f);
    assert_true(clock_monotonic_ns() - start_ns < AT_MOST_NS);
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
