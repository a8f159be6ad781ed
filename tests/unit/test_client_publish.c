/* SPDX-License-Identifier: MIT */
/* Publishing: what goes over the wire and when, credit, confirmations, names and their aliases. */
#include "client/conn.h"
#include "unit/test_client_fake.h"

static uint8_t big[2u << 20];

/* ---- frames and packets ---- */

static void test_first_publish_advertises(void **state)
{
    struct fake *f = *state;
    struct frame frame;
    union wire_any m;

    fake_start(f);
    assert_int_equal(bus_publish(f->conn, "a/b", "hello", 5), 0);
    assert_int_equal(bus_sequence(f->conn), 1);
    m = fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(m.advertise.alias, 1);
    assert_text(m.advertise.topic, "a/b");
    m = fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(m.publish.alias, 1);
    assert_int_equal(m.publish.topic.len, 0);
    assert_int_equal(m.publish.flags, 0);
    assert_int_equal(frame.body_bytes, 5);
    assert_memory_equal(frame.body, "hello", 5);
    assert_int_equal(bus_publish(f->conn, "a/b", NULL, 0), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 0);
    fake_hear_nothing(f);
}

static void test_plain_publish_bytes(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(bus_topic_publish(t, "xyz", 3, NULL), 0);
    assert_true(fake_read(f));
    assert_int_equal(f->in_len, 13);
    assert_memory_equal(f->in, "\3\0\0\0\2\0\22\0\10\1xyz", 13);
    f->in_pos = f->in_len;
}

static void test_publish_is_sent_at_once(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(bus_topic_publish(t, "x", 1, NULL), 0);
        (void) fake_hear(f, VERB_PUBLISH);
    }
}

static void test_cork_packs(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;
    size_t packets;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    packets = f->n_packets;
    bus_cork(f->conn);
    bus_cork(f->conn);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(bus_topic_publish(t, "x", 1, NULL), 0);
    }
    assert_int_equal(bus_uncork(f->conn), 0);
    fake_hear_nothing(f);
    assert_int_equal(bus_uncork(f->conn), 0);
    for (unsigned i = 0; i < 20; i++) {
        (void) fake_hear(f, VERB_PUBLISH);
    }
    assert_int_equal(f->n_packets - packets, 1);
}

/* A cork bounds neither memory nor latency away: full packets go. */
static void test_cork_sends_full_packets(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;
    size_t packets;
    unsigned heard = 0;
    struct frame frame;
    union wire_any m;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    packets = f->n_packets;
    bus_cork(f->conn);
    for (unsigned i = 0; i < 2000; i++) {
        assert_int_equal(bus_topic_publish(t, big, 64, NULL), 0);
    }
    assert_true(f->conn->outq.bytes < 2 * OUTQ_CHUNK_BYTES);
    while (fake_next(f, &frame, &m)) {
        heard++;
    }
    assert_true(heard > 800 && heard < 2000);
    assert_true(f->n_packets - packets <= 3);
    assert_int_equal(bus_uncork(f->conn), 0);
    while (fake_next(f, &frame, &m)) {
        heard++;
    }
    assert_int_equal(heard, 2000);
}

static void test_largest_body(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;
    struct frame frame;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    memset(big, 'b', sizeof(big));
    assert_int_equal(bus_topic_publish(t, big, bus_body_max(f->conn) + 1, NULL), -EMSGSIZE);
    assert_int_equal(bus_topic_publish(t, big, bus_body_max(f->conn), NULL), 0);
    /* a stream takes it in pieces */
    while (f->conn->outq.bytes > 0) {
        assert_true(fake_read(f));
        assert_true(bus_process(f->conn) >= 0);
    }
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, bus_body_max(f->conn));
    assert_memory_equal(frame.body, big, frame.body_bytes);
    memset(big, 0, sizeof(big));
}

static void test_headers_travel(void **state)
{
    struct fake *f = *state;
    struct bus_header headers[] = {{"content-type", "text/plain"}, {"n", ""}, {"n", "\303\244\n"}};
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct frame frame;
    union wire_any m;

    fake_start(f);
    opts.headers = headers;
    opts.n_headers = 3;
    assert_int_equal(bus_publish_with(f->conn, "a", "body", 4, &opts), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    m = fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(m.publish.alias, 1);
    assert_int_equal(m.publish.n_headers, 3);
    assert_text(m.publish.headers[0].name, "content-type");
    assert_text(m.publish.headers[0].value, "text/plain");
    assert_text(m.publish.headers[2].value, "\303\244\n");
    assert_memory_equal(frame.body, "body", 4);
    /* size of a message: body and texts */
    assert_int_equal(f->conn->credit_bytes, f->conn->window_bytes - 4 - (12 + 10) - 1 - (1 + 3));
}

static void test_the_most_headers(void **state)
{
    struct fake *f = *state;
    struct bus_header headers[BUS_HEADERS_MAX + 1];
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    static char value[900];

    fake_start(f);
    memset(value, 'v', sizeof(value) - 1);
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        headers[i] = (struct bus_header){"name", value};
    }
    opts.headers = headers;
    opts.n_headers = BUS_HEADERS_MAX + 1;
    assert_int_equal(bus_publish_with(f->conn, "a", "", 0, &opts), -EINVAL);
    opts.n_headers = BUS_HEADERS_MAX;
    assert_int_equal(bus_publish_with(f->conn, "a", "", 0, &opts), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.n_headers, BUS_HEADERS_MAX);
}

static void test_arguments(void **state)
{
    struct fake *f = *state;
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_header header = {"a", "b"};
    static char huge[70000];
    struct bus_topic *t;

    fake_start(f);
    memset(huge, 'h', sizeof(huge) - 1);
    assert_int_equal(bus_publish(f->conn, "", "x", 1), -EINVAL);
    assert_int_equal(bus_publish(f->conn, "a/+", "x", 1), -EINVAL);
    assert_int_equal(bus_publish(f->conn, huge, "x", 1), -EINVAL);
    assert_int_equal(bus_publish(f->conn, "a", NULL, 1), -EINVAL);
    assert_int_equal(bus_advertise(f->conn, "#", &t), -EINVAL);
    opts.size = 3;
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    opts.size = sizeof(opts);
    opts.flags = 4;
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    opts.flags = BUS_PUBLISH_CONFIRM;
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    opts.flags = 0;
    opts.n_headers = 1;
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    opts.headers = &header;
    header.name = "";
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    header.name = "\n";
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    header.name = "a";
    header.value = "\377";
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    header.value = NULL;
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EINVAL);
    header.value = huge;
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), -EMSGSIZE);
    assert_int_equal(bus_sequence(f->conn), 0);
    fake_hear_nothing(f);
    header.value = "b";
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), 0);
}

/* ---- credit and room ---- */

static void test_nowait_publish_waits_for_welcome(void **state)
{
    struct fake *f = *state;

    fake_connect(f);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), -EAGAIN);
    fake_welcome(f);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
}

static void test_message_credit(void **state)
{
    struct fake *f = *state;
    struct wire_publish_credit credit = {.messages = 2, .bytes = 2};

    f->welcome.publish_window_messages = 4;
    fake_start(f);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    }
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), -EAGAIN);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), -EAGAIN);
    assert_int_equal(bus_wait_writable(f->conn, 0), -ETIMEDOUT);
    assert_int_equal(f->n_writable, 0);
    fake_say(f, VERB_PUBLISH_CREDIT, &credit);
    fake_send(f);
    assert_int_equal(bus_wait_writable(f->conn, 1000), 0);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), -EAGAIN);
    assert_int_equal(bus_sequence(f->conn), 6);
}

static void test_byte_credit_goes_below_zero_once(void **state)
{
    struct fake *f = *state;
    struct wire_publish_credit credit = {.messages = 1, .bytes = 5};

    f->welcome.publish_window_bytes = 10;
    fake_start(f);
    assert_int_equal(bus_publish(f->conn, "a", "123456789", 9), 0);
    assert_int_equal(bus_publish(f->conn, "a", "12345", 5), 0);
    assert_int_equal(f->conn->credit_bytes, -4);
    assert_int_equal(bus_publish(f->conn, "a", "", 0), -EAGAIN);
    fake_say(f, VERB_PUBLISH_CREDIT, &credit);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_publish(f->conn, "a", "", 0), 0);
}

static void test_credit_is_cut_to_the_window(void **state)
{
    struct fake *f = *state;
    struct wire_publish_credit credit = {.messages = UINT32_MAX, .bytes = UINT64_MAX};

    fake_start(f);
    fake_say(f, VERB_PUBLISH_CREDIT, &credit);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->conn->credit_messages, f->welcome.publish_window_messages);
    assert_int_equal(f->conn->credit_bytes, f->welcome.publish_window_bytes);
}

static void test_refused_publish_gives_its_credit_back(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    f->welcome.publish_window_messages = 2;
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    assert_int_equal(bus_topic_publish(t, "abc", 3, NULL), 0);
    assert_int_equal(bus_topic_publish(t, "abcdef", 6, NULL), 0);
    assert_int_equal(bus_topic_publish(t, "", 0, NULL), -EAGAIN);
    fake_say_status(f, BUS_STATUS_NO_MEMORY, VERB_PUBLISH, 1, 0, 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(f->status, BUS_STATUS_NO_MEMORY);
    assert_int_equal(f->status_sequence, 1);
    assert_string_equal(f->status_topic, "t");
    assert_int_equal(f->conn->credit_messages, 1);
    assert_int_equal(f->conn->credit_bytes, f->conn->window_bytes - 6);
    assert_int_equal(f->n_writable, 1);
}

/* The router does not read: output waits up to max_out_bytes, and on_writable tells the end of it.
 */
static void test_output_is_bounded(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;
    struct pollfd p;
    unsigned sent = 0;
    unsigned heard = 0;
    struct frame frame;
    union wire_any m;

    f->opts.max_out_bytes = 256u << 10;
    fake_start(f);
    p = (struct pollfd){bus_fd(f->conn), POLLIN, 0};
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    while (bus_topic_publish(t, big, 1000, NULL) == 0) {
        sent++;
    }
    assert_int_equal(bus_topic_publish(t, big, 1000, NULL), -EAGAIN);
    assert_true(f->conn->outq.bytes <= 256u << 10);
    assert_true(f->conn->outq.bytes > 250u << 10);
    assert_int_equal(poll(&p, 1, 0), 0); /* no busy loop */
    while (f->n_writable == 0) {
        assert_true(fake_next(f, &frame, &m));
        heard += frame.verb == VERB_PUBLISH;
        if (poll(&p, 1, 0) > 0) {
            assert_true(bus_process(f->conn) >= 0);
        }
    }
    assert_true(f->conn->outq.bytes <= 128u << 10);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_topic_publish(t, big, 1000, NULL), 0);
    while (heard < sent + 1) {
        assert_true(bus_process(f->conn) >= 0);
        while (fake_next(f, &frame, &m)) {
            heard += frame.verb == VERB_PUBLISH;
        }
    }
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(f->conn->outq.bytes, 0);
}

/* Control frames are not held up by messages. */
static void test_control_may_exceed_the_bound(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t, *other = NULL;
    struct wire_ping ping = {5};
    size_t before;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    while (bus_topic_publish(t, big, 60000, NULL) == 0) {
        continue;
    }
    while (bus_topic_publish(t, big, 1, NULL) == 0) {
        continue;
    }
    while (bus_publish(f->conn, "t", "", 0) == 0) {
        continue;
    }
    before = f->conn->outq.bytes;
    fake_say(f, VERB_PING, &ping);
    assert_int_equal(fake_settle(f), 0);
    assert_true(f->conn->outq.bytes > before);
    bus_topic_unref(t);
    assert_true(f->conn->outq.bytes >= f->conn->max_out_bytes);
    assert_int_equal(bus_advertise(f->conn, "u", &other), -EAGAIN);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_first_publish_advertises),
        ON_BOTH_LINKS(test_plain_publish_bytes),
        ON_BOTH_LINKS(test_publish_is_sent_at_once),
        ON_BOTH_LINKS(test_cork_packs),
        ON_BOTH_LINKS(test_cork_sends_full_packets),
        ON_BOTH_LINKS(test_largest_body),
        ON_BOTH_LINKS(test_headers_travel),
        ON_BOTH_LINKS(test_the_most_headers),
        ON_BOTH_LINKS(test_arguments),
        ON_BOTH_LINKS(test_nowait_publish_waits_for_welcome),
        ON_BOTH_LINKS(test_message_credit),
        ON_BOTH_LINKS(test_byte_credit_goes_below_zero_once),
        ON_BOTH_LINKS(test_credit_is_cut_to_the_window),
        ON_BOTH_LINKS(test_refused_publish_gives_its_credit_back),
        ON_BOTH_LINKS(test_output_is_bounded),
        ON_BOTH_LINKS(test_control_may_exceed_the_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
