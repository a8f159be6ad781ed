/* SPDX-License-Identifier: MIT */
/* Publishing to reliable topics: what is kept, when it is let go of, and how it is sent again. */
#include <fcntl.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_return.h"

static struct bus_topic *advertise(struct fake *f, const char *name)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct bus_topic *t = NULL;

    opts.flags = BUS_TOPIC_RELIABLE;
    assert_int_equal(bus_advertise_with(f->conn, name, &opts, &t), 0);
    return t;
}

/* One reliable topic, which the router has. */
static struct bus_topic *begin(struct fake *f, uint64_t bytes)
{
    struct bus_topic *t;

    return_quickly(f);
    f->opts.reliable_bytes_max = bytes;
    fake_start(f);
    t = advertise(f, "r");
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.flags, ADVERTISE_RELIABLE);
    return t;
}

static void say_acked(struct fake *f, uint64_t sequence)
{
    struct wire_acked m = {sequence};

    fake_say(f, VERB_ACKED, &m);
    (void) fake_settle(f);
}

static void publish_text(struct bus_topic *t, const char *text)
{
    assert_int_equal(bus_topic_publish(t, text, strlen(text), NULL), 0);
}

/* The next PUBLISH. */
static struct wire_publish hear(struct fake *f, const char *body)
{
    struct frame frame;
    union wire_any m = fake_hear_frame(f, VERB_PUBLISH, &frame);

    assert_int_equal(frame.body_bytes, strlen(body));
    assert_memory_equal(frame.body, body, frame.body_bytes);
    return m.publish;
}

static void hear_number(struct fake *f, const char *body, uint64_t sequence, uint32_t flags)
{
    struct wire_publish m = hear(f, body);

    assert_int_equal(m.sequence, sequence);
    assert_int_equal(m.flags, flags);
}

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

static void test_it_needs_a_connection_that_comes_back(void **state)
{
    struct fake *f = *state;
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct bus_topic *t;

    fake_start(f);
    opts.flags = BUS_TOPIC_RELIABLE;
    assert_int_equal(bus_advertise_with(f->conn, "r", &opts, &t), -EINVAL);
    assert_int_equal(bus_wait_acked(f->conn, 0), 0); /* nothing to wait for */
}

static void test_what_is_not_acknowledged_is_sent_again(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f, 0);

    for (char i = '1'; i <= '5'; i++) {
        assert_int_equal(bus_topic_publish(t, &i, 1, NULL), 0);
        assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.sequence, 0);
    }
    say_acked(f, 2);
    fake_lose(f);
    publish_text(t, "6");
    come_back_with(f, 1);
    hear_number(f, "3", 3, PUBLISH_RESENT);
    hear_number(f, "4", 4, PUBLISH_RESENT);
    hear_number(f, "5", 5, PUBLISH_RESENT);
    hear_number(f, "6", 6, 0);
    publish_text(t, "7");
    hear_number(f, "7", 0, 0);
    fake_hear_nothing(f);
    assert_int_equal(bus_sequence(f->conn), 7);
    say_acked(f, 4);
    fake_lose(f); /* and once more */
    come_back_with(f, 1);
    hear_number(f, "5", 5, PUBLISH_RESENT);
    hear_number(f, "6", 6, PUBLISH_RESENT);
    hear_number(f, "7", 7, PUBLISH_RESENT);
    fake_hear_nothing(f);
}

static void test_an_empty_body_too(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f, 0);

    assert_int_equal(bus_topic_publish(t, NULL, 0, NULL), 0);
    fake_lose(f);
    come_back_with(f, 1);
    hear_number(f, "", 1, PUBLISH_RESENT);
}

static void test_waiting_for_acknowledgement(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f, 0);

    assert_int_equal(bus_wait_acked(f->conn, 0), 0);
    publish_text(t, "1");
    publish_text(t, "2");
    assert_int_equal(bus_wait_acked(f->conn, 0), -ETIMEDOUT);
    say_acked(f, 1);
    assert_int_equal(bus_wait_acked(f->conn, 0), -ETIMEDOUT);
    fake_lose(f);
    assert_int_equal(bus_wait_acked(f->conn, 0), -ETIMEDOUT);
    fake_accept_again(f);
    fake_welcome(f);
    say_acked(f, 2);
    assert_int_equal(bus_wait_acked(f->conn, PATIENCE_MS), 0);
    assert_int_equal(f->conn->session->reliable.bytes, 0);
}

static void test_other_topics_keep_their_place(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t, *u;

    f->opts.backlog_bytes_max = 1u << 16;
    t = begin(f, 0);
    assert_int_equal(bus_advertise(f->conn, "u", &u), 0);
    publish_text(t, "1");
    publish_text(u, "lost");
    bus_cork(f->conn);
    publish_text(t, "3");
    publish_text(u, "4");
    fake_lose(f);
    publish_text(u, "5");
    publish_text(t, "6");
    publish_text(u, "7");
    assert_int_equal(bus_uncork(f->conn), 0);
    come_back_with(f, 2);
    hear_number(f, "1", 1, PUBLISH_RESENT);
    hear_number(f, "3", 3, PUBLISH_RESENT);
    hear_number(f, "4", 4, 0);
    hear_number(f, "5", 5, 0);
    hear_number(f, "6", 6, 0);
    hear_number(f, "7", 7, 0);
    fake_hear_nothing(f);
    bus_cork(f->conn); /* what says its number can be kept, too */
    fake_lose(f);
    publish_text(u, "8");
    assert_int_equal(bus_uncork(f->conn), 0);
    come_back_with(f, 2);
    hear_number(f, "1", 1, PUBLISH_RESENT);
    hear_number(f, "3", 3, PUBLISH_RESENT);
    hear_number(f, "6", 6, PUBLISH_RESENT);
    hear_number(f, "8", 8, 0);
    fake_hear_nothing(f);
}

/* ---- bounds ---- */

static void test_beyond_its_bound_publishing_waits(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f, 1000);
    unsigned n = 0;

    while (bus_topic_publish(t, "123456789", 9, NULL) == 0) {
        n++;
    }
    assert_in_range(n, 10, 30);
    assert_int_equal(bus_topic_publish(t, "123456789", 9, NULL), -EAGAIN);
    assert_int_equal(bus_sequence(f->conn), n);
    assert_int_equal(bus_wait_writable(f->conn, 0), -ETIMEDOUT);
    assert_in_range(f->conn->session->reliable.bytes, 1, 1000);
    say_acked(f, 1);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_topic_publish(t, "123456789", 9, NULL), 0);
    assert_int_equal(bus_topic_publish(t, "123456789", 9, NULL), -EAGAIN);
    fake_lose(f); /* and while it is away */
    assert_int_equal(bus_topic_publish(t, "123456789", 9, NULL), -EAGAIN);
    come_back_with(f, 1);
    say_acked(f, n + 1);
    assert_int_equal(f->conn->session->reliable.bytes, 0);
    assert_int_equal(f->n_writable, 2);
}

static void test_a_body_larger_than_the_bound_goes_alone(void **state)
{
    struct fake *f = *state;
    static uint8_t body[3000];
    struct bus_topic *t = begin(f, 1000);

    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    assert_int_equal(bus_topic_publish(t, "", 0, NULL), -EAGAIN);
    say_acked(f, 1);
    assert_int_equal(bus_topic_publish(t, "", 0, NULL), 0);
}

static void test_many_go_through_little_memory(void **state)
{
    struct fake *f = *state;
    static uint8_t body[300];
    struct bus_topic *t = begin(f, 1u << 20);
    struct wire_publish_credit credit = {.messages = 1000, .bytes = 1u << 20};

    for (uint64_t i = 1; i <= 20000; i++) {
        assert_int_equal(bus_topic_publish(t, body, i % sizeof(body), NULL), 0);
        if (i % 1000 == 0) {
            while (fake_read(f)) {
                f->in_pos = f->in_len;
            }
            fake_say(f, VERB_PUBLISH_CREDIT, &credit);
            say_acked(f, i - i % 3);
        }
    }
    assert_in_range(f->conn->session->reliable.bytes, 0, 3 * 400);
}

static void test_credit_bounds_what_is_sent_again(void **state)
{
    struct fake *f = *state;
    struct wire_publish_credit credit = {.messages = 1, .bytes = 1};
    struct bus_topic *t;

    f->welcome.publish_window_messages = 2;
    t = begin(f, 0);
    publish_text(t, "1");
    publish_text(t, "2");
    fake_lose(f);
    publish_text(t, "3");
    come_back_with(f, 1);
    hear_number(f, "1", 1, PUBLISH_RESENT);
    hear_number(f, "2", 2, PUBLISH_RESENT);
    fake_hear_nothing(f);
    assert_int_equal(bus_topic_publish(t, "4", 1, NULL), -EAGAIN);
    say_acked(f, 3); /* a lie, or of another: what was not sent stays */
    fake_say(f, VERB_PUBLISH_CREDIT, &credit);
    assert_int_equal(fake_settle(f), 0);
    hear_number(f, "3", 3, 0);
    fake_hear_nothing(f);
}

static void test_acked_of_what_was_not_published(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f, 0);

    publish_text(t, "1");
    say_acked(f, 2);
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
}

static void test_acked_without_a_session(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    say_acked(f, 0);
    assert_int_equal(f->n_closed, 1);
}

/* ---- what a publish has besides ---- */

static void on_confirm(struct bus_conn *conn, const struct bus_confirmation *c, void *userdata)
{
    (void) conn;
    *(enum bus_status *) userdata = c->status;
}

static void test_options_are_sent_again(void **state)
{
    struct fake *f = *state;
    struct bus_header header = {"name", "value"};
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    enum bus_status sent = BUS_STATUS_OK, away = BUS_STATUS_TIMEOUT;
    struct wire_confirm confirm = {.sequence = 2};
    struct bus_topic *t = begin(f, 0);
    struct wire_publish m;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    opts.headers = &header;
    opts.n_headers = 1;
    opts.key = "key";
    opts.ttl_ms = PATIENCE_MS;
    opts.fds = fds;
    opts.n_fds = 2;
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    opts.userdata = &sent;
    assert_int_equal(bus_topic_publish(t, "1", 1, &opts), 0);
    fake_lose(f);
    assert_int_equal(sent, BUS_STATUS_DISCONNECTED);
    opts.ttl_ms = 0;
    opts.n_fds = 0;
    opts.userdata = &away;
    assert_int_equal(bus_topic_publish(t, "2", 1, &opts), 0);
    (void) close(fds[0]);
    (void) close(fds[1]);
    come_back_with(f, 1);
    m = hear(f, "1");
    assert_int_equal(m.sequence, 1);
    assert_int_equal(m.flags, PUBLISH_RESENT); /* who asked for its outcome has been told */
    assert_in_range(m.ttl_ms, 1, PATIENCE_MS);
    assert_text(m.key, "key");
    assert_int_equal(m.n_headers, 1);
    assert_text(m.headers[0].value, "value");
    assert_int_equal(f->parcel->n, 2);
    m = hear(f, "2");
    assert_int_equal(m.flags, BUS_PUBLISH_CONFIRM);
    assert_int_equal(m.sequence, 2);
    fake_say(f, VERB_CONFIRM, &confirm);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(away, BUS_STATUS_OK);
    say_acked(f, 2);
    assert_int_equal(f->conn->session->reliable.bytes, 0);
}

/* ---- refusals and ends ---- */

static void test_what_a_refused_topic_has_kept_is_let_go_of(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f, 0), *u = advertise(f, "u");

    publish_text(t, "1");
    publish_text(u, "2");
    publish_text(t, "3");
    fake_say_status(f, BUS_STATUS_DENIED, VERB_ADVERTISE, 1, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    say_acked(f, 2);
    assert_int_equal(f->conn->session->reliable.bytes, 0);
    publish_text(t, "4"); /* the router will refuse it, and say so */
    assert_int_equal(f->conn->session->reliable.bytes, 0);
}

static void test_an_ended_topic_keeps_its_alias_until_all_is_done(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f, 0);

    publish_text(t, "1");
    bus_topic_unref(t);
    (void) fake_hear(f, VERB_PUBLISH);
    fake_hear_nothing(f);
    assert_int_equal(f->conn->n_topics, 0);
    t = advertise(f, "other");
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.alias, 2);
    fake_lose(f);
    come_back_with(f, 2);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.alias, 1);
    publish_text(t, "2");
    (void) fake_hear(f, VERB_PUBLISH);
    say_acked(f, 1);
    assert_int_equal(fake_hear(f, VERB_UNADVERTISE).unadvertise.alias, 1);
    bus_topic_unref(t);
    fake_hear_nothing(f);
}

/* ---- bodies in buffers ---- */

static void test_a_body_in_a_buffer_stays_until_it_is_acknowledged(void **state)
{
    struct fake *f = *state;
    static uint8_t body[16384] = "body";
    struct wire_returned returned = {0};
    struct bus_topic *t;
    union wire_any m;
    char text[4];

    fake_take_buffers(f);
    t = begin(f, 0);
    for (unsigned i = 0; i < 2; i++) { /* returned first, then acknowledged, and the reverse */
        assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
        if (i == 0) {
            (void) fake_hear(f, VERB_BUFFER);
        }
        m = fake_hear(f, VERB_PUBLISH);
        returned.buffer = m.publish.buffer;
        returned.offset = m.publish.offset;
        if (i == 1) {
            say_acked(f, 2);
        }
        fake_say(f, VERB_RETURNED, &returned);
        assert_int_equal(fake_settle(f), 0);
        assert_int_equal(f->conn->session->reliable.bytes > 0, i == 0);
        if (i == 0) {
            say_acked(f, 1);
        }
        assert_int_equal(f->conn->session->reliable.bytes, 0);
    }
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.offset, returned.offset); /* free again */
    fake_lose(f);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    come_back_with(f, 1);
    m = fake_hear(f, VERB_BUFFER);
    assert_int_equal(pread(f->parcel->fds[0], text, 4, (off_t) returned.offset), 4);
    assert_memory_equal(text, "body", 4);
    m = fake_hear(f, VERB_PUBLISH);
    assert_int_equal(m.publish.flags, PUBLISH_RESENT);
    assert_int_equal(m.publish.bytes, sizeof(body));
    (void) fake_hear(f, VERB_BUFFER); /* memory that may still be read is not used again */
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.sequence, 4);
    returned.buffer = m.publish.buffer;
    fake_say(f, VERB_RETURNED, &returned);
    say_acked(f, 3);
    assert_int_equal(f->n_closed, 0);
    assert_int_equal(fake_hear(f, VERB_UNBUFFER).unbuffer.id, returned.buffer);
}

static void test_an_immutable_body_and_a_loan_are_kept(void **state)
{
    struct fake *f = *state;
    static uint8_t body[100000];
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct wire_returned returned[2] = {{0}};
    struct bus_loan *loan;
    struct bus_topic *t;
    union wire_any m;

    fake_take_buffers(f);
    t = begin(f, 0);
    opts.flags = BUS_PUBLISH_IMMUTABLE;
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), &opts), 0);
    assert_int_equal(bus_loan(t, sizeof(body), &loan), 0);
    assert_int_equal(bus_loan_publish(loan, sizeof(body), NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        (void) fake_hear(f, VERB_BUFFER);
        (void) fake_hear(f, VERB_PUBLISH);
    }
    fake_hear_nothing(f); /* it is registered until it is acknowledged */
    fake_lose(f);
    come_back_with(f, 1);
    for (unsigned i = 0; i < 2; i++) {
        (void) fake_hear(f, VERB_BUFFER);
        m = fake_hear(f, VERB_PUBLISH);
        assert_int_equal(m.publish.flags, PUBLISH_RESENT);
        returned[i] = (struct wire_returned){m.publish.buffer, m.publish.offset};
    }
    say_acked(f, 2);
    fake_say(f, VERB_RETURNED, &returned[0]);
    fake_say(f, VERB_RETURNED, &returned[1]);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_UNBUFFER).unbuffer.id, returned[0].buffer);
    assert_int_equal(fake_hear(f, VERB_UNBUFFER).unbuffer.id, returned[1].buffer);
    assert_int_equal(f->conn->pool.bytes, 0);
}

/* A router that gives a body back and then says that it never took it. */
static void test_what_is_kept_outlives_the_refusal_of_its_buffer(void **state)
{
    struct fake *f = *state;
    static uint8_t body[100000];
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct wire_status refused = {
        .code = BUS_STATUS_LIMIT, .verb = VERB_BUFFER, .text = {"why", 3}};
    struct wire_returned returned = {0};
    struct bus_topic *t;

    fake_take_buffers(f);
    t = begin(f, 0);
    opts.flags = BUS_PUBLISH_IMMUTABLE;
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), &opts), 0);
    returned.buffer = refused.buffer = fake_hear(f, VERB_BUFFER).buffer.id;
    (void) fake_hear(f, VERB_PUBLISH);
    fake_say(f, VERB_RETURNED, &returned);
    fake_say(f, VERB_STATUS, &refused);
    assert_int_equal(fake_settle(f), 0);
    assert_non_null(bus__table_get(&f->conn->pool.segments, returned.buffer));
    say_acked(f, 1);
    assert_null(bus__table_get(&f->conn->pool.segments, returned.buffer));
    assert_int_equal(f->conn->session->reliable.bytes, 0);
}

/* ---- memory ---- */

static void test_every_failed_allocation(void **state)
{
    struct fake *f = *state;
    static uint8_t body[16384];
    struct bus_header header = {"a", "b"};
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_topic *t;
    uint64_t n_published = 0;
    int r = -1;

    fake_take_buffers(f);
    t = begin(f, 0);
    opts.headers = &header;
    opts.n_headers = 1;
    for (unsigned i = 0; i < 6; i++) {
        FOR_EACH_FAILING_MALLOC (n) {
            r = bus_topic_publish(t, body, i % 3 ? 1 : sizeof(body), i % 3 == 2 ? &opts : NULL);
            if (r == 0) {
                (void) failmalloc_disarm();
                break;
            }
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(bus_sequence(f->conn), n_published);
        }
        assert_int_equal(r, 0);
        n_published++;
        if (i == 2) {
            fake_lose(f);
        }
    }
    FOR_EACH_FAILING_MALLOC (n) { /* of sending them again */
        struct frame frame;
        uint64_t expected = 1;
        union wire_any m;

        while (f->conn->state != CONN_READY) {
            (void) bus_wait(f->conn, PATIENCE_MS);
            assert_true(bus_process(f->conn) >= 0);
            if (f->conn->state == CONN_GREETING) {
                fake_accept_newest(f);
                fake_say(f, VERB_WELCOME, &f->welcome);
                fake_send(f);
            }
        }
        while (fake_next(f, &frame, &m)) {
            if (frame.verb == VERB_PUBLISH) {
                assert_int_equal(m.publish.sequence, expected);
                expected++;
            }
        }
        assert_int_equal(expected, 7);
        if (failmalloc_disarm() == 0) {
            break;
        }
        fake_lose(f);
    }
    assert_int_equal(f->n_closed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_it_needs_a_connection_that_comes_back),
        ON_BOTH_LINKS(test_what_is_not_acknowledged_is_sent_again),
        ON_BOTH_LINKS(test_an_empty_body_too),
        ON_BOTH_LINKS(test_waiting_for_acknowledgement),
        ON_BOTH_LINKS(test_other_topics_keep_their_place),
        ON_BOTH_LINKS(test_beyond_its_bound_publishing_waits),
        ON_BOTH_LINKS(test_a_body_larger_than_the_bound_goes_alone),
        ON_BOTH_LINKS(test_many_go_through_little_memory),
        ON_BOTH_LINKS(test_credit_bounds_what_is_sent_again),
        ON_BOTH_LINKS(test_acked_of_what_was_not_published),
        ON_BOTH_LINKS(test_acked_without_a_session),
        ON_BOTH_LINKS(test_options_are_sent_again),
        ON_BOTH_LINKS(test_what_a_refused_topic_has_kept_is_let_go_of),
        ON_BOTH_LINKS(test_an_ended_topic_keeps_its_alias_until_all_is_done),
        ON_BOTH_LINKS(test_a_body_in_a_buffer_stays_until_it_is_acknowledged),
        ON_BOTH_LINKS(test_an_immutable_body_and_a_loan_are_kept),
        ON_BOTH_LINKS(test_what_is_kept_outlives_the_refusal_of_its_buffer),
        ON_BOTH_LINKS(test_every_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
