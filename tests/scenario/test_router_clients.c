/* SPDX-License-Identifier: MIT */
/* What bus-router does with clients that are not what they should be, or too many. */
#include <bus/types.h>
#include <errno.h>
#include <sys/socket.h>
#include "support/router_fixture.h"
#include "support/unit.h"

static char text[FIXTURE_LOG_BYTES]; /* log of the router that was last looked at */

/* ---- clients that are not what they should be ---- */

static void expect_one_line(const char *address, const char *sent)
{
    struct raw_client c;

    raw_connect(&c, address);
    raw_send(&c, sent, strlen(sent));
    while (raw_receive(&c)) {
    }
    assert_true(c.len > 0);
    c.data[c.len] = '\0';
    assert_ptr_equal(memchr(c.data, '\n', c.len), c.data + c.len - 1);
    assert_non_null(strstr((const char *) c.data, "bus-router"));
    raw_close(&c);
}

static void test_text_by_mistake_is_answered_with_one_line(void **state)
{
    struct router_fixture f;

    (void) state;
    router_start(&f, NULL);
    expect_one_line(f.seqpacket, "hello?\n");
    expect_one_line(f.stream, "hello?\n");
    expect_one_line(f.stream, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_one_line(f.seqpacket, "x");
    router_stop(&f);
}

/* Random bytes behind a HELLO: whatever becomes of that client, the others do not notice. */
static void send_garbage(const char *address, struct rng *rng)
{
    uint8_t buf[4096];
    struct raw_client c;

    raw_greet(&c, address);
    for (size_t i = 0; i < sizeof(buf); i++) {
        buf[i] = (uint8_t) rng_u64(rng);
    }
    (void) send(c.fd, buf, 1 + rng_below(rng, sizeof(buf)), MSG_NOSIGNAL);
    if (raw_is_readable(&c, 0)) {
        (void) raw_receive(&c);
    }
    raw_close(&c);
}

static void test_garbage_costs_only_its_sender(void **state)
{
    struct rng rng = rng_from_env();
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    router_start(&f, NULL);
    raw_greet(&c, f.seqpacket);
    for (int i = 0; i < 50; i++) {
        send_garbage(i % 2 ? f.seqpacket : f.stream, &rng);
        raw_round_trip(&c, (uint64_t) i);
    }
    raw_close(&c);
    router_stop(&f);
}

static void test_a_packet_larger_than_the_read_buffer_is_a_protocol_error(void **state)
{
    const size_t bytes = 300 * 1024;
    struct router_fixture f;
    struct raw_client c;
    uint8_t *buf = calloc(1, bytes);
    int sndbuf = 1024 * 1024, r;

    (void) state;
    assert_non_null(buf);
    router_start(&f, NULL);
    raw_greet(&c, f.seqpacket);
    (void) setsockopt(c.fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
    r = (int) send(c.fd, buf, bytes, MSG_NOSIGNAL);
    if (r < 0 && errno == EMSGSIZE) {
        skip(); /* net.core.wmem_max does not allow such packets here */
    }
    raw_expect_goodbye(&c, BUS_GOODBYE_PROTOCOL_ERROR);
    raw_close(&c);
    router_stop(&f);
    free(buf);
}

static void test_half_a_frame_and_an_end_leave_nothing_behind(void **state)
{
    static const uint8_t half[] = {0, 0, 1, 0, 10, 0, VERB_PUBLISH, 0, 8};
    struct router_fixture f;
    struct raw_client c, other;
    unsigned n_fds;

    (void) state;
    router_start(&f, NULL);
    raw_greet(&other, f.stream);
    n_fds = router_fd_count(&f.process);
    for (int i = 0; i < 20; i++) {
        raw_greet(&c, f.stream);
        raw_send(&c, half, sizeof(half));
        raw_round_trip(&other, 1);
        raw_close(&c);
    }
    raw_round_trip(&other, 2);
    assert_int_equal(router_fd_count(&f.process), n_fds);
    raw_close(&other);
    router_stop(&f);
}

/* Byte by byte, and many frames at once: how a stream is cut does not matter. */
static void test_a_stream_may_be_cut_anywhere(void **state)
{
    struct router_fixture f;
    struct raw_client c;
    union wire_any m;
    uint8_t buf[4096];
    size_t len = 0;

    (void) state;
    router_start(&f, NULL);
    raw_greet(&c, f.stream);
    for (uint64_t token = 1; token <= 100; token++) {
        const struct wire_ping ping = {token};

        len += raw_frame(buf + len, sizeof(buf) - len, VERB_PING, &ping);
    }
    for (size_t i = 0; i < len / 2; i++) {
        raw_send(&c, buf + i, 1);
    }
    raw_send(&c, buf + len / 2, len - len / 2);
    for (uint64_t token = 1; token <= 100; token++) {
        assert_int_equal(raw_next(&c, &m), VERB_PONG);
        assert_int_equal(m.pong.token, token);
    }
    raw_close(&c);
    router_stop(&f);
}

static void test_a_client_without_hello_is_sent_away(void **state)
{
    const char *const args[] = {"--hello-timeout", "50ms", NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    router_start(&f, &o);
    raw_connect(&c, f.seqpacket);
    raw_expect_goodbye(&c, BUS_GOODBYE_HELLO_TIMEOUT);
    raw_close(&c);
    raw_connect(&c, f.stream);
    raw_expect_goodbye(&c, BUS_GOODBYE_HELLO_TIMEOUT);
    raw_close(&c);
    router_stop(&f);
}

/* The last words of a client that does not read its answers are heard; on seqpacket the kernel
 * reports its end before them. */
static void expect_last_words(const char *address)
{
    const struct wire_subscribe subscribe = {.subscription = 1, .filter = text_from("last")};
    const struct wire_publish publish = {.topic = text_from("last")};
    struct raw_client c, listener;
    union wire_any m;
    unsigned n = 0;
    int verb;

    raw_greet(&listener, address);
    raw_send_frame(&listener, VERB_SUBSCRIBE, &subscribe);
    assert_int_equal(raw_next(&listener, &m), VERB_STATUS);
    raw_connect(&c, address);
    raw_send_hello(&c, "brief");
    for (uint64_t i = 0; i < 50; i++) {
        raw_send_ping(&c, i);
        raw_send_frame(&c, VERB_PUBLISH, &publish);
    }
    raw_close(&c);
    while (n < 50) {
        verb = raw_next(&listener, &m);
        assert_int_not_equal(verb, 0);
        n += verb == VERB_MESSAGE;
    }
    raw_close(&listener);
}

static void test_what_a_client_sent_before_its_end_is_handled(void **state)
{
    struct router_fixture f;

    (void) state;
    router_start(&f, NULL);
    for (int i = 0; i < 10; i++) {
        expect_last_words(f.seqpacket);
        expect_last_words(f.stream);
    }
    router_stop(&f);
}

static void test_a_refused_client_costs_nothing(void **state)
{
    const char *const args[] = {"--clients-max", "1", NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct raw_client c, refused;

    (void) state;
    router_start(&f, &o);
    raw_greet(&c, f.stream);
    raw_connect(&refused, f.stream);
    assert_false(raw_receive(&refused));
    raw_close(&refused);
    raw_round_trip(&c, 1);
    router_log(&f.process, text);
    assert_says(text, "client.refused");
    raw_close(&c);
    router_stop(&f);
}

/* ---- running out of descriptors ---- */

#define CROWD 40

/* After three round trips of another client the router has tried to accept it. */
static bool is_served(struct raw_client *c, struct raw_client *other)
{
    for (uint64_t i = 0; i < 3; i++) {
        raw_round_trip(other, i);
    }
    return raw_is_readable(c, 0);
}

static void test_without_descriptors_it_serves_who_is_there(void **state)
{
    const struct router_options o = {.nofile = 32};
    struct raw_client crowd[CROWD], first;
    struct router_fixture f;
    union wire_any m;
    int n_served = 0;

    (void) state;
    router_start(&f, &o);
    raw_greet(&first, f.seqpacket);
    for (int i = 0; i < CROWD; i++) {
        raw_connect(&crowd[i], i % 2 ? f.stream : f.seqpacket);
        raw_send_hello(&crowd[i], "crowd");
        n_served += is_served(&crowd[i], &first);
    }
    assert_in_range(n_served, 1, 31);
    router_log(&f.process, text);
    assert_says(text, "accept.paused");
    raw_round_trip(&first, 99);
    /* as those who are served leave, the others are */
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(raw_next(&crowd[i], &m), VERB_WELCOME);
        raw_close(&crowd[i]);
    }
    raw_round_trip(&first, 100);
    router_log(&f.process, text);
    assert_says(text, "accept.resumed");
    raw_close(&first);
    router_stop(&f);
}

static void test_a_flood_of_mistakes_is_counted_not_logged(void **state)
{
    struct router_fixture f;
    unsigned n = 0;

    (void) state;
    router_start(&f, NULL);
    for (int i = 0; i < 100; i++) {
        expect_one_line(f.stream, "again\n");
    }
    router_log(&f.process, text);
    for (const char *p = text; (p = strstr(p, "client.closed")); p++) {
        n++;
    }
    assert_in_range(n, 10, 50);
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_by_mistake_is_answered_with_one_line),
        cmocka_unit_test(test_garbage_costs_only_its_sender),
        cmocka_unit_test(test_a_packet_larger_than_the_read_buffer_is_a_protocol_error),
        cmocka_unit_test(test_half_a_frame_and_an_end_leave_nothing_behind),
        cmocka_unit_test(test_a_stream_may_be_cut_anywhere),
        cmocka_unit_test(test_a_client_without_hello_is_sent_away),
        cmocka_unit_test(test_what_a_client_sent_before_its_end_is_handled),
        cmocka_unit_test(test_a_refused_client_costs_nothing),
        cmocka_unit_test(test_without_descriptors_it_serves_who_is_there),
        cmocka_unit_test(test_a_flood_of_mistakes_is_counted_not_logged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
