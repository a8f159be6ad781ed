/* SPDX-License-Identifier: MIT */
/* What the callbacks of a subscription may do, and messages that are kept beyond them. */
#include "client/conn.h"
#include "unit/test_client_seen.h"

/* ---- what callbacks may do ---- */

static void unref_self(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    note(s, "m", bus_message_sequence(message));
    bus_sub_unref(sub);
    assert_string_equal(bus_message_topic(message), "a/b");
}

static void test_unref_in_its_own_callback(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, unref_self);
    fake_say_message(f, 1, 1, "", 0);
    fake_say_message(f, 1, 2, "", 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 ");
    (void) fake_hear(f, VERB_UNSUBSCRIBE);
}

static void unref_other(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    note(s, "m", bus_message_sequence(message));
    bus_sub_unref(s->other);
    s->other = NULL;
}

static void test_unref_of_another_in_a_callback(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct wire_loss loss = {2, 1, 1, BUS_LOSS_QUEUE_FULL};

    (void) start(&s, f, unref_other);
    s.other = subscribe(&s, "b", on_message);
    fake_say_message(f, 2, 7, "", 0);
    fake_say_message(f, 1, 1, "", 0);
    fake_say_message(f, 2, 8, "", 0);
    fake_say(f, VERB_LOSS, &loss);
    fake_say_status(f, BUS_STATUS_STALLED, VERB_SUBSCRIBE, 0, 2, 0);
    fake_say_message(f, 1, 2, "", 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m7 m1 m2 ");
}

static void close_in_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    note(s, "m", bus_message_sequence(message));
    s->kept[s->n_kept++] = bus_message_ref(message);
    bus_close(bus_sub_conn(sub));
    assert_memory_equal(bus_message_data(message), "hello", 5);
    assert_string_equal(bus_message_topic(message), "a/b");
    s->f->conn = NULL;
}

static void test_close_in_a_callback(void **state)
{
    struct fake *f = *state;
    struct bus_conn *c;
    struct seen s;

    (void) start(&s, f, close_in_message);
    fake_say_message(f, 1, 1, "hello", 5);
    fake_say_message(f, 1, 2, "hello", 5);
    fake_send(f);
    c = f->conn;
    assert_int_equal(bus_run(c), -ENOTCONN);
    assert_string_equal(s.log, "m1 ");
    assert_int_equal(f->n_closed, 0);
    assert_memory_equal(bus_message_data(s.kept[0]), "hello", 5);
    assert_string_equal(bus_message_sender(s.kept[0])->name, "peer");
    bus_message_unref(s.kept[0]);
    (void) fake_hear(f, VERB_GOODBYE);
}

/* The inner step takes up where the outer one is, and more comes in meanwhile. */
static void process_inside(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;
    struct fake *f = s->f;
    uint64_t sequence = bus_message_sequence(message);

    (void) sub;
    note(s, "m", sequence);
    if (sequence == 2) {
        fake_say_message(f, 1, 5, "five", 4);
        fake_bind(f, 1, "a/new");
        fake_bind_peer(f, 1, "new");
        fake_say_message(f, 1, 6, "six", 3);
        fake_send(f);
        while (bus_process(f->conn) > 0) {
            continue;
        }
        note(s, "end", 2);
        assert_memory_equal(bus_message_data(message), "two", 3);
        assert_string_equal(bus_message_topic(message), "a/b");
        assert_string_equal(bus_message_sender(message)->name, "peer");
    }
}

static void test_nested_processing_keeps_the_order(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, process_inside);
    fake_say_message(f, 1, 1, "one", 3);
    fake_say_message(f, 1, 2, "two", 3);
    fake_say_message(f, 1, 3, "three", 5);
    fake_say_message(f, 1, 4, "four", 4);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 m2 m3 m4 m5 m6 end2 ");
}

static void close_inside_process(struct bus_sub *sub, const struct bus_message *message,
                                 void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    note(s, "m", bus_message_sequence(message));
    if (bus_message_sequence(message) == 1) {
        assert_int_equal(bus_process(s->f->conn), -ENOTCONN);
        assert_memory_equal(bus_message_data(message), "hello", 5);
    } else {
        bus_close(s->f->conn);
        s->f->conn = NULL;
    }
}

static void test_close_in_nested_processing(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, close_inside_process);
    fake_say_message(f, 1, 1, "hello", 5);
    fake_say_message(f, 1, 2, "hello", 5);
    fake_say_message(f, 1, 3, "hello", 5);
    fake_send(f);
    assert_int_equal(bus_process(f->conn), -ENOTCONN);
    assert_string_equal(s.log, "m1 m2 ");
}

static void publish_inside(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    note(s, "m", bus_message_sequence(message));
    assert_int_equal(bus_publish(bus_sub_conn(sub), "answer", "x", 1), 0);
    fake_hear_nothing(s->f);
}

static void test_answers_are_packed(void **state)
{
    struct fake *f = *state;
    struct seen s;
    size_t packets;

    (void) start(&s, f, publish_inside);
    for (unsigned i = 1; i <= 10; i++) {
        fake_say_message(f, 1, i, "", 0);
    }
    packets = f->n_packets;
    assert_int_equal(fake_settle(f), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    for (unsigned i = 1; i <= 10; i++) {
        (void) fake_hear(f, VERB_PUBLISH);
    }
    assert_int_equal(f->n_packets - packets, 1);
}

static void stop_inside(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    note(userdata, "m", bus_message_sequence(message));
    bus_stop(bus_sub_conn(sub));
}

static void test_stop_in_a_callback(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, stop_inside);
    fake_say_message(f, 1, 1, "", 0);
    fake_send(f);
    assert_int_equal(bus_run(f->conn), 0);
    assert_string_equal(s.log, "m1 ");
}

static void flush_inside(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    note(s, "m", bus_message_sequence(message));
    if (bus_message_sequence(message) == 1) {
        assert_int_equal(bus_flush(bus_sub_conn(sub), 1000), 0);
        note(s, "flushed", 1);
    }
}

static void test_flush_in_a_callback(void **state)
{
    struct fake *f = *state;
    struct wire_pong pong = {1};
    struct seen s;

    (void) start(&s, f, flush_inside);
    fake_say_message(f, 1, 1, "", 0);
    fake_say_message(f, 1, 2, "", 0);
    fake_say(f, VERB_PONG, &pong);
    fake_say_message(f, 1, 3, "", 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 m2 m3 flushed1 ");
}

/* What the callback has published goes out before an inner loop waits for the answer to it. */
static void run_inside(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    note(s, "m", bus_message_sequence(message));
    if (bus_message_sequence(message) == 1) {
        assert_int_equal(bus_publish(bus_sub_conn(sub), "question", "?", 1), 0);
        fake_say_message(s->f, 1, 2, "!", 1);
        fake_send(s->f);
        assert_int_equal(bus_run(bus_sub_conn(sub)), 0);
        note(s, "ran", 1);
    } else {
        (void) fake_hear(s->f, VERB_ADVERTISE);
        (void) fake_hear(s->f, VERB_PUBLISH);
        bus_stop(bus_sub_conn(sub));
    }
}

static void test_run_in_a_callback(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, run_inside);
    fake_say_message(f, 1, 1, "", 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 m2 ran1 ");
}

/* ---- kept messages ---- */

static void keep(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    assert_true(s->n_kept < ARRAY_LEN(s->kept));
    s->kept[s->n_kept] = bus_message_ref(message);
    assert_non_null(s->kept[s->n_kept]);
    assert_ptr_equal(bus_message_data(s->kept[s->n_kept]), bus_message_data(message));
    s->n_kept++;
}

static void check_kept(const struct seen *s, unsigned n, size_t bytes)
{
    assert_int_equal(s->n_kept, n);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *data = bus_message_data(s->kept[i]);

        assert_int_equal(bus_message_bytes(s->kept[i]), bytes);
        for (size_t k = 0; k < bytes; k++) {
            assert_int_equal(data[k], i);
        }
        assert_int_equal(bus_message_sequence(s->kept[i]), i + 1);
        assert_string_equal(bus_message_topic(s->kept[i]), "a/b");
        assert_string_equal(bus_message_sender(s->kept[i])->name, "peer");
    }
}

static void test_kept_messages_outlive_the_connection(void **state)
{
    struct fake *f = *state;
    struct seen s;
    static uint8_t body[60000];

    (void) start(&s, f, keep);
    for (unsigned i = 0; i < 40; i++) {
        memset(body, (int) i, sizeof(body));
        fake_say_message(f, 1, i + 1, body, sizeof(body));
        assert_int_equal(fake_settle(f), 0);
    }
    fake_bind(f, 1, "other");
    fake_bind_peer(f, 1, "other");
    assert_int_equal(fake_settle(f), 0);
    check_kept(&s, 40, sizeof(body));
    bus_close(f->conn);
    f->conn = NULL;
    check_kept(&s, 40, sizeof(body));
    assert_ptr_equal(bus_message_ref(s.kept[0]), s.kept[0]);
    bus_message_unref(s.kept[0]);
    for (unsigned i = 0; i < 40; i++) {
        bus_message_unref(s.kept[i]);
    }
    bus_message_unref(NULL);
}

/* Small kept messages share buffers, and buffers are used again once nothing is kept. */
static void test_buffers_are_shared_and_reused(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct rxbuf *first;

    (void) start(&s, f, keep);
    first = f->conn->rx;
    for (unsigned i = 0; i < 50; i++) {
        uint8_t byte = (uint8_t) i;

        fake_say_message(f, 1, i + 1, &byte, 1);
        assert_int_equal(fake_settle(f), 0);
    }
    check_kept(&s, 50, 1);
    assert_ptr_equal(f->conn->rx, first);
    assert_int_equal(first->refs, 51);
    for (unsigned i = 0; i < 50; i++) {
        bus_message_unref(s.kept[i]);
    }
    assert_int_equal(first->refs, 1);
    fake_bind(f, 2, "x");
    assert_int_equal(fake_settle(f), 0);
    assert_true(f->conn->rx_len < 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_unref_in_its_own_callback),
        ON_BOTH_LINKS(test_unref_of_another_in_a_callback),
        ON_BOTH_LINKS(test_close_in_a_callback),
        ON_BOTH_LINKS(test_nested_processing_keeps_the_order),
        ON_BOTH_LINKS(test_close_in_nested_processing),
        ON_BOTH_LINKS(test_answers_are_packed),
        ON_BOTH_LINKS(test_stop_in_a_callback),
        ON_BOTH_LINKS(test_flush_in_a_callback),
        ON_BOTH_LINKS(test_run_in_a_callback),
        ON_BOTH_LINKS(test_kept_messages_outlive_the_connection),
        ON_BOTH_LINKS(test_buffers_are_shared_and_reused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
