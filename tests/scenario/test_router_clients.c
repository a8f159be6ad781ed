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

static void test_a_refused_client_is_told_and_costs_nothing(void **state)
{
    const char *const args[] = {"--clients-max", "1", NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct raw_client c, refused;

    (void) state;
    router_start(&f, &o);
    raw_greet(&c, f.stream);
    raw_connect(&refused, f.stream);
    raw_expect_goodbye(&refused, BUS_GOODBYE_LIMIT);
    raw_close(&refused);
    raw_round_trip(&c, 1);
    router_log(&f.process, text);
    assert_says(text, "client.refused");
    raw_close(&c);
    router_stop(&f);
}

/* ---- much at once ---- */

static void expect_pongs(struct raw_client *c, uint64_t n)
{
    union wire_any m;

    for (uint64_t token = 1; token <= n; token++) {
        assert_int_equal(raw_next(c, &m), VERB_PONG);
        assert_int_equal(m.pong.token, token);
    }
}

/* The rest of the packet, or of what was read, waits for the next turns and goes first. */
static void test_more_frames_than_one_turn_handles_are_all_handled(void **state)
{
    struct router_fixture f;

    (void) state;
    router_start(&f, NULL);
    for (int i = 0; i < 2; i++) {
        uint8_t buf[65536];
        struct raw_client c;
        uint64_t n = 0;
        size_t len = 0;

        raw_greet(&c, i ? f.stream : f.seqpacket);
        while (len + 64 < sizeof(buf)) {
            const struct wire_ping ping = {++n};

            len += raw_frame(buf + len, sizeof(buf) - len, VERB_PING, &ping);
        }
        assert_true(n > 4096);
        raw_send(&c, buf, len);
        raw_send_ping(&c, n + 1);
        expect_pongs(&c, n + 1);
        raw_close(&c);
    }
    router_stop(&f);
}

/* Then it is not read either, and everything goes on when it does. */
static void test_a_client_that_does_not_read_is_served_when_it_does(void **state)
{
    struct router_fixture f;

    (void) state;
    router_start(&f, NULL);
    for (int i = 0; i < 2; i++) {
        struct raw_client c, other;
        uint64_t n;

        raw_greet(&c, f.seqpacket);
        raw_greet(&other, f.stream);
        n = raw_fill(&c);
        raw_round_trip(&other, 1);
        expect_pongs(&c, n);
        raw_round_trip(&c, 1);
        raw_close(&c);
        raw_close(&other);
    }
    router_stop(&f);
}

/* Waiting for a client (to read, to complete a frame, to greet) is done asleep. */
static void test_waiting_for_clients_costs_no_time(void **state)
{
    static const uint8_t half[] = {0, 0, 1, 0, 10, 0, VERB_PUBLISH, 0, 8};
    struct raw_client full, partial, silent, quiet;
    struct router_fixture f;
    uint64_t before_ns;
    unsigned n_fds;

    (void) state;
    router_start(&f, NULL);
    raw_greet(&quiet, f.stream);
    n_fds = router_fd_count(&f.process);
    raw_greet(&full, f.seqpacket);
    (void) raw_fill(&full);
    raw_greet(&partial, f.stream);
    raw_send(&partial, half, sizeof(half));
    raw_connect(&silent, f.stream);
    raw_round_trip(&quiet, 1);
    before_ns = router_cpu_ns(&f.process);
    assert_false(raw_is_readable(&quiet, 500));
    assert_true(router_cpu_ns(&f.process) - before_ns < 50 * 1000 * 1000);
    /* and none of them leaves anything */
    raw_close(&full);
    raw_close(&partial);
    raw_close(&silent);
    while (router_fd_count(&f.process) > n_fds) {
        raw_round_trip(&quiet, 2);
    }
    raw_close(&quiet);
    router_stop(&f);
}

/* ---- large bodies ---- */

#define BODIES 60
#define BODIES_MAX (6u * 1024u * 1024u)

/* PUBLISH frames with bodies of all magnitudes, each byte the number of its message. */
static size_t make_publishes(uint8_t *dst, struct rng *rng, uint32_t body_bytes[BODIES])
{
    const struct wire_publish publish = {.topic = text_from("large")};
    size_t len = 0;

    for (unsigned i = 0; i < BODIES; i++) {
        uint32_t n = len < BODIES_MAX / 2 ? rng_below(rng, 1u << rng_below(rng, 20)) : 0;
        size_t frame = raw_frame(dst + len, 1024, VERB_PUBLISH, &publish);

        frame_write_prefix(dst + len, VERB_PUBLISH, frame - FRAME_PREFIX_BYTES, n);
        memset(dst + len + frame, (int) i, n);
        len += frame + n;
        body_bytes[i] = n;
        assert_true(len < BODIES_MAX);
    }
    return len;
}

static void expect_body(struct raw_client *c, unsigned number, uint32_t bytes)
{
    struct frame frame;
    size_t frame_bytes;

    for (;;) {
        while (frame_parse(c->data, c->len, UINT32_MAX, &frame, &frame_bytes) != FRAME_OK) {
            assert_true(raw_receive(c));
        }
        if (frame.verb == VERB_MESSAGE) {
            break;
        }
        c->len -= frame_bytes;
        memmove(c->data, c->data + frame_bytes, c->len);
    }
    assert_int_equal(frame.body_bytes, bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        assert_int_equal(frame.body[i], number);
    }
    c->len -= frame_bytes;
    memmove(c->data, c->data + frame_bytes, c->len);
}

static void test_large_bodies_pass_however_the_stream_is_cut(void **state)
{
    const struct wire_subscribe subscribe = {
        .subscription = 1,
        .filter = text_from("large"),
        .window_bytes = 64u * 1024u * 1024u,
    };
    struct rng rng = rng_from_env();
    uint8_t *buf = malloc(BODIES_MAX);
    uint32_t body_bytes[BODIES];
    struct raw_client c, listener;
    struct router_fixture f;
    union wire_any m;
    size_t len;

    (void) state;
    assert_non_null(buf);
    router_start(&f, NULL);
    raw_greet(&listener, f.stream);
    raw_send_frame(&listener, VERB_SUBSCRIBE, &subscribe);
    assert_int_equal(raw_next(&listener, &m), VERB_STATUS);
    raw_greet(&c, f.stream);
    len = make_publishes(buf, &rng, body_bytes);
    for (size_t at = 0, n; at < len; at += n) {
        n = MIN(len - at, 1 + rng_below(&rng, 1u << rng_below(&rng, 18)));
        raw_send(&c, buf + at, n);
    }
    for (unsigned i = 0; i < BODIES; i++) {
        expect_body(&listener, i, body_bytes[i]);
    }
    raw_close(&c);
    raw_close(&listener);
    router_stop(&f);
    free(buf);
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
        cmocka_unit_test(test_a_refused_client_is_told_and_costs_nothing),
        cmocka_unit_test(test_more_frames_than_one_turn_handles_are_all_handled),
        cmocka_unit_test(test_a_client_that_does_not_read_is_served_when_it_does),
        cmocka_unit_test(test_waiting_for_clients_costs_no_time),
        cmocka_unit_test(test_large_bodies_pass_however_the_stream_is_cut),
        cmocka_unit_test(test_without_descriptors_it_serves_who_is_there),
        cmocka_unit_test(test_a_flood_of_mistakes_is_counted_not_logged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
