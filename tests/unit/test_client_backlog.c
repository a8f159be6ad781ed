/* SPDX-License-Identifier: MIT */
/* What is published while the router is away, and what was published and had not left yet. */
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_return.h"

#define BACKLOG_BYTES 4096u

struct outcome {
    unsigned n;
    uint64_t sequence;
    enum bus_status status;
};

static void on_confirm(struct bus_conn *conn, const struct bus_confirmation *c, void *userdata)
{
    struct outcome *o = userdata;

    (void) conn;
    o->n++;
    o->sequence = c->sequence;
    o->status = c->status;
}

static void start_with_backlog(struct fake *f, uint64_t bytes)
{
    return_quickly(f);
    f->opts.backlog_bytes_max = bytes;
    fake_start(f);
}

static void hear_body(struct fake *f, const char *expected)
{
    struct frame frame;

    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, strlen(expected));
    assert_memory_equal(frame.body, expected, frame.body_bytes);
}

/* HELLO, so many aliases, RESTORED and WELCOME. */
static void come_back_with(struct fake *f, unsigned n_aliases)
{
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    for (unsigned i = 0; i < n_aliases; i++) {
        (void) fake_hear(f, VERB_ADVERTISE);
    }
    (void) fake_hear(f, VERB_RESTORED);
    fake_hear_nothing(f);
    fake_welcome(f);
}

static void test_without_a_backlog_publishing_is_refused(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    start_with_backlog(f, 0);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    fake_lose(f);
    assert_int_equal(bus_topic_publish(t, "x", 1, NULL), -ENOTCONN);
    assert_int_equal(bus_publish(f->conn, "u", "x", 1), -ENOTCONN);
    assert_int_equal(bus_topic_clear(t), -ENOTCONN);
    assert_int_equal(bus_is_away(f->conn), 1);
    assert_int_equal(bus_wait_writable(f->conn, 0), -ETIMEDOUT);
    come_back_with(f, 2);
    assert_int_equal(bus_wait_writable(f->conn, PATIENCE_MS), 0);
    assert_int_equal(bus_topic_publish(t, "y", 1, NULL), 0);
    hear_body(f, "y");
    assert_int_equal(bus_sequence(f->conn), 1);
    fake_lose(f);
    come_back_with(f, 2);
    assert_int_equal(bus_topic_publish(t, "z", 1, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.sequence, 2);
    assert_int_equal(bus_topic_publish(t, "z", 1, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.sequence, 0);
}

static void test_what_is_published_meanwhile_is_sent_first(void **state)
{
    struct fake *f = *state;
    struct bus_header header = {"k", "v"};
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_topic *t;
    union wire_any m;

    start_with_backlog(f, BACKLOG_BYTES);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    fake_lose(f);
    opts.headers = &header;
    opts.n_headers = 1;
    opts.ttl_ms = 9;
    assert_int_equal(bus_topic_publish(t, "1", 1, NULL), 0);
    assert_int_equal(bus_topic_publish(t, "2", 1, &opts), 0);
    assert_int_equal(bus_publish(f->conn, "new", "3", 1), 0);
    assert_int_equal(bus_topic_publish(t, NULL, 0, NULL), 0);
    assert_int_equal(bus_sequence(f->conn), 4);
    assert_int_equal(bus_wait_writable(f->conn, 0), 0);
    come_back_with(f, 2);
    hear_body(f, "1");
    m = fake_hear(f, VERB_PUBLISH);
    assert_int_equal(m.publish.alias, 1);
    assert_int_equal(m.publish.ttl_ms, 9);
    assert_int_equal(m.publish.n_headers, 1);
    m = fake_hear(f, VERB_PUBLISH);
    assert_int_equal(m.publish.alias, 2);
    hear_body(f, "");
    fake_hear_nothing(f);
    assert_int_equal(bus_topic_publish(t, "5", 1, NULL), 0);
    hear_body(f, "5");
    assert_int_equal(f->conn->session->backlog.bytes, 0);
}

static void test_beyond_its_bound_the_backlog_takes_no_more(void **state)
{
    struct fake *f = *state;
    uint8_t body[1000] = {0};
    struct bus_topic *t;
    unsigned n = 0;

    start_with_backlog(f, BACKLOG_BYTES);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    fake_lose(f);
    while (bus_topic_publish(t, body, sizeof(body), NULL) == 0) {
        n++;
    }
    assert_in_range(n, 2, 4);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), -EAGAIN);
    assert_in_range(f->conn->session->backlog.bytes, 1, BACKLOG_BYTES);
    assert_int_equal(bus_wait_writable(f->conn, 0), -ETIMEDOUT);
    assert_int_equal(bus_sequence(f->conn), n);
    come_back_with(f, 1);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
}

static void test_the_backlog_waits_for_credit(void **state)
{
    struct fake *f = *state;
    struct wire_publish_credit credit = {.messages = 2, .bytes = 100};
    struct wire_pong pong;
    struct bus_topic *t, *u;

    f->welcome.publish_window_messages = 2;
    start_with_backlog(f, BACKLOG_BYTES);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    assert_int_equal(bus_advertise(f->conn, "u", &u), 0);
    fake_lose(f);
    assert_int_equal(bus_topic_publish(u, "1", 1, NULL), 0);
    assert_int_equal(bus_topic_publish(t, "2", 1, NULL), 0);
    assert_int_equal(bus_topic_publish(u, "3", 1, NULL), 0);
    bus_topic_unref(u); /* its alias is needed until they are sent */
    assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT);
    come_back_with(f, 2);
    hear_body(f, "1");
    hear_body(f, "2");
    fake_hear_nothing(f);
    assert_int_equal(bus_topic_publish(t, "4", 1, NULL), -EAGAIN);
    assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT);
    fake_hear_nothing(f); /* its PING goes behind the backlog */
    fake_say(f, VERB_PUBLISH_CREDIT, &credit);
    assert_int_equal(fake_settle(f), 0);
    hear_body(f, "3");
    assert_int_equal(fake_hear(f, VERB_UNADVERTISE).unadvertise.alias, 2);
    pong.token = fake_hear(f, VERB_PING).ping.token;
    fake_hear_nothing(f);
    assert_int_equal(pong.token, f->conn->ping_token);
    assert_int_equal(bus_topic_publish(t, "4", 1, NULL), 0);
    hear_body(f, "4");
    fake_say(f, VERB_PONG, &pong);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_closed, 0);
}

/* One count over all links. */
static void test_outcomes_have_the_numbers_of_their_publishes(void **state)
{
    struct fake *f = *state;
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct wire_confirm confirm = {.sequence = 3, .matched = 1, .delivered = 1};
    struct outcome sent = {0}, kept = {0};
    struct bus_topic *t;

    start_with_backlog(f, BACKLOG_BYTES);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    opts.userdata = &sent;
    assert_int_equal(bus_topic_publish(t, "1", 1, NULL), 0);
    assert_int_equal(bus_topic_publish(t, "2", 1, &opts), 0);
    fake_lose(f);
    assert_int_equal(sent.n, 1);
    assert_int_equal(sent.sequence, 2);
    assert_int_equal(sent.status, BUS_STATUS_DISCONNECTED);
    opts.userdata = &kept;
    assert_int_equal(bus_topic_publish(t, "3", 1, &opts), 0);
    assert_int_equal(bus_topic_publish(t, "4", 1, NULL), 0);
    come_back_with(f, 1);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.sequence, 3);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.sequence, 4);
    assert_int_equal(kept.n, 0);
    fake_say(f, VERB_CONFIRM, &confirm);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_PUBLISH, 1, 0, 4);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(kept.n, 1);
    assert_int_equal(kept.sequence, 3);
    assert_int_equal(kept.status, BUS_STATUS_OK);
    assert_int_equal(f->status_sequence, 4);
    assert_int_equal(sent.n, 1);
    assert_int_equal(bus_topic_publish(t, "5", 1, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.sequence, 0); /* the next one, of course */
}

/* ---- what was written, but not sent ---- */

static void test_corked_publishes_are_kept(void **state)
{
    struct fake *f = *state;
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct outcome o = {0};
    struct bus_topic *t;

    start_with_backlog(f, BACKLOG_BYTES);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    assert_int_equal(bus_topic_publish(t, "sent", 4, NULL), 0);
    bus_cork(f->conn);
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    opts.userdata = &o;
    assert_int_equal(bus_topic_publish(t, "1", 1, NULL), 0);
    assert_int_equal(bus_topic_publish(t, "2", 1, &opts), 0);
    bus_topic_unref(t); /* what waits in the output names its alias */
    fake_lose(f);
    assert_int_equal(o.n, 0);
    assert_int_equal(bus_publish(f->conn, "t", "3", 1), 0);
    assert_int_equal(bus_uncork(f->conn), 0);
    come_back_with(f, 2);
    hear_body(f, "1");
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.flags, 1);
    hear_body(f, "3");
    assert_int_equal(fake_hear(f, VERB_UNADVERTISE).unadvertise.alias, 1);
    fake_hear_nothing(f);
    assert_int_equal(bus_sequence(f->conn), 4);
}

static void test_what_does_not_fit_the_backlog_goes_from_the_front(void **state)
{
    struct fake *f = *state;
    uint8_t body[1000];
    struct bus_topic *t;
    struct frame frame;
    unsigned n = 0;

    start_with_backlog(f, BACKLOG_BYTES);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    bus_cork(f->conn);
    for (unsigned i = 0; i < 20; i++) {
        memset(body, (int) i, sizeof(body));
        assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    }
    fake_lose(f);
    assert_in_range(f->conn->session->backlog.bytes, 1, BACKLOG_BYTES);
    n = (unsigned) f->conn->session->backlog.n;
    assert_in_range(n, 2, 4);
    assert_int_equal(bus_uncork(f->conn), 0);
    come_back_with(f, 1);
    for (unsigned i = 20 - n; i < 20; i++) {
        (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
        assert_int_equal(frame.body[0], i);
    }
    fake_hear_nothing(f);
}

/* The socket is full: some have left, one may be cut, some have not. */
static void test_what_the_socket_did_not_take_is_kept(void **state)
{
    struct fake *f = *state;
    static uint8_t body[3000];
    struct bus_topic *t;
    struct frame frame;
    union wire_any m;
    uint32_t n = 0, first = UINT32_MAX, i;

    start_with_backlog(f, 16u << 20);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    for (; !f->conn->blocked || f->conn->outq.bytes < 200000; n++) {
        memcpy(body, &n, sizeof(n));
        assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    }
    while (fake_next(f, &frame, &m)) { /* what has left */
        if (frame.verb == VERB_PUBLISH) {
            memcpy(&first, frame.body, sizeof(first));
        }
    }
    assert_true(first < n - 1);
    fake_lose(f);
    memcpy(body, &n, sizeof(n));
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    come_back_with(f, 1);
    for (uint32_t next = first + 1; next <= n; next++) {
        while (!fake_next(f, &frame, &m)) {
            assert_true(bus_process(f->conn) >= 0);
        }
        assert_int_equal(frame.verb, VERB_PUBLISH);
        memcpy(&i, frame.body, sizeof(i));
        assert_int_equal(i, next);
    }
    fake_hear_nothing(f);
}

/* ---- bodies in buffers ---- */

static void test_large_bodies_wait_in_their_buffers(void **state)
{
    struct fake *f = *state;
    static uint8_t body[100000];
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct wire_returned returned = {0};
    struct bus_topic *t;
    uint32_t number;
    union wire_any m;

    fake_take_buffers(f);
    start_with_backlog(f, 1u << 20);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    fake_lose(f);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    opts.flags = BUS_PUBLISH_IMMUTABLE;
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), &opts), 0);
    come_back_with(f, 1);
    m = fake_hear(f, VERB_BUFFER);
    number = m.buffer.id;
    m = fake_hear(f, VERB_PUBLISH);
    assert_int_equal(m.publish.buffer, number);
    assert_int_equal(m.publish.bytes, sizeof(body));
    m = fake_hear(f, VERB_BUFFER);
    assert_int_not_equal(m.buffer.id, number);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.buffer, m.buffer.id);
    assert_int_equal(fake_hear(f, VERB_UNBUFFER).unbuffer.id, m.buffer.id);
    (void) fake_hear(f, VERB_PING);
    returned.buffer = number;
    fake_say(f, VERB_RETURNED, &returned);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_closed, 0);
}

static void test_unsent_bodies_in_buffers_are_kept(void **state)
{
    struct fake *f = *state;
    static uint8_t body[100000];
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct wire_pong pong;
    struct bus_topic *t;
    union wire_any m;

    fake_take_buffers(f);
    start_with_backlog(f, 1u << 20);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    bus_cork(f->conn);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    opts.flags = BUS_PUBLISH_IMMUTABLE;
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), &opts), 0);
    fake_lose(f);
    assert_int_equal(bus_uncork(f->conn), 0);
    come_back_with(f, 1);
    for (unsigned i = 0; i < 2; i++) {
        m = fake_hear(f, VERB_BUFFER);
        assert_non_null(f->parcel);
        assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.buffer, m.buffer.id);
    }
    (void) fake_hear(f, VERB_UNBUFFER);
    pong.token = fake_hear(f, VERB_PING).ping.token;
    fake_say(f, VERB_PONG, &pong);
    pong.token = fake_hear(f, VERB_PING).ping.token; /* for the one that was lost */
    fake_say(f, VERB_PONG, &pong);
    assert_int_equal(fake_settle(f), 0);
    fake_hear_nothing(f);
    assert_int_equal(f->n_closed, 0);
}

static void test_descriptors_wait_too(void **state)
{
    struct fake *f = *state;
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_topic *t;
    struct frame frame;
    int fds[2];

    fake_take_buffers(f);
    start_with_backlog(f, 1u << 20);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    opts.fds = fds;
    opts.n_fds = 2;
    bus_cork(f->conn);
    assert_int_equal(bus_topic_publish(t, "1", 1, &opts), 0);
    fake_lose(f);
    assert_int_equal(bus_topic_publish(t, "2", 1, &opts), 0);
    assert_int_equal(bus_uncork(f->conn), 0);
    (void) close(fds[0]);
    (void) close(fds[1]);
    come_back_with(f, 1);
    for (unsigned i = 0; i < 2; i++) {
        (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
        assert_int_equal(frame.fds, 2);
        assert_int_equal(frame.body[0], '1' + i);
    }
}

static void test_every_failed_allocation_of_a_publish_while_away(void **state)
{
    struct fake *f = *state;
    static uint8_t body[100000];
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct outcome o = {0};
    struct bus_topic *t;
    int r = -1;

    fake_take_buffers(f);
    start_with_backlog(f, 1u << 20);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    fake_lose(f);
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    opts.userdata = &o;
    for (unsigned i = 0; i < 2; i++) {
        FOR_EACH_FAILING_MALLOC (n) {
            r = bus_topic_publish(t, body, i ? 1 : sizeof(body), &opts);
            assert_true(r == 0 || r == -ENOMEM);
            if (r == 0) {
                (void) failmalloc_disarm();
                break;
            }
            assert_int_equal(bus_sequence(f->conn), i);
        }
        assert_int_equal(r, 0);
    }
    assert_int_equal(f->conn->session->backlog.n, 2);
}

/* Some are lost, but never one in the middle, and nothing is mixed up. */
static void test_every_failed_allocation_of_keeping_what_was_not_sent(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;
    struct frame frame;
    union wire_any m;

    start_with_backlog(f, BACKLOG_BYTES);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    FOR_EACH_FAILING_MALLOC (n) {
        (void) failmalloc_disarm();
        bus_cork(f->conn);
        for (char i = '1'; i <= '3'; i++) {
            assert_int_equal(bus_topic_publish(t, &i, 1, NULL), 0);
        }
        fake_hang_up(f);
        failmalloc_arm(n);
        while (f->conn->state < CONN_LOST) {
            (void) bus_process(f->conn);
        }
        if (failmalloc_disarm() == 0) {
            assert_int_equal(f->conn->session->backlog.n, 3);
            break;
        }
        assert_int_equal(bus_uncork(f->conn), 0);
        fake_forget(f);
        fake_accept_again(f);
        fake_welcome(f);
        for (char last = 0; fake_next(f, &frame, &m);) {
            if (frame.verb == VERB_PUBLISH) {
                assert_true(last == 0 || frame.body[0] == last + 1);
                last = (char) frame.body[0];
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_without_a_backlog_publishing_is_refused),
        ON_BOTH_LINKS(test_what_is_published_meanwhile_is_sent_first),
        ON_BOTH_LINKS(test_beyond_its_bound_the_backlog_takes_no_more),
        ON_BOTH_LINKS(test_the_backlog_waits_for_credit),
        ON_BOTH_LINKS(test_outcomes_have_the_numbers_of_their_publishes),
        ON_BOTH_LINKS(test_corked_publishes_are_kept),
        ON_BOTH_LINKS(test_what_does_not_fit_the_backlog_goes_from_the_front),
        ON_BOTH_LINKS(test_what_the_socket_did_not_take_is_kept),
        ON_BOTH_LINKS(test_large_bodies_wait_in_their_buffers),
        ON_BOTH_LINKS(test_unsent_bodies_in_buffers_are_kept),
        ON_BOTH_LINKS(test_descriptors_wait_too),
        ON_BOTH_LINKS(test_every_failed_allocation_of_a_publish_while_away),
        ON_BOTH_LINKS(test_every_failed_allocation_of_keeping_what_was_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
