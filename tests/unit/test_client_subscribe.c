/* SPDX-License-Identifier: MIT */
/* Subscribing: numbers, credit, losses, what callbacks may do, and messages that are kept. */
#include "client/conn.h"
#include "client/handlers.h"
#include "unit/test_client_fake.h"

/* What the callbacks of a test have seen, as one line of text. */
struct seen {
    struct fake *f;
    unsigned n;
    char log[512];
    struct bus_sub *other;
    struct bus_message *kept[64];
    unsigned n_kept;
};

static void note(struct seen *s, const char *what, unsigned long number)
{
    size_t len = strlen(s->log);

    (void) snprintf(s->log + len, sizeof(s->log) - len, "%s%lu ", what, number);
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    s->n++;
    note(s, "m", bus_message_sequence(message));
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    (void) sub;
    note(userdata, "l", loss->count);
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    (void) sub;
    assert_string_equal(text, "why");
    note(userdata, "r", status);
}

static struct bus_sub *subscribe(struct seen *s, const char *filter, bus_message_fn fn)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub = NULL;

    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    assert_int_equal(bus_subscribe(s->f->conn, filter, &opts, fn, s, &sub), 0);
    return sub;
}

/* A subscription that the router has accepted, and a topic and a sender to use. */
static struct bus_sub *start(struct seen *s, struct fake *f, bus_message_fn fn)
{
    struct bus_sub *sub;

    *s = (struct seen){.f = f};
    fake_start(f);
    sub = subscribe(s, "a/#", fn);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s->log, "r0 ");
    s->log[0] = '\0';
    (void) fake_hear(f, VERB_SUBSCRIBE);
    return sub;
}

/* ---- the frame and the answer ---- */

static void test_subscribe_frame(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s = {.f = f};
    struct bus_sub *sub;
    union wire_any m;

    fake_start(f);
    opts.flags = BUS_SUB_NO_LOCAL;
    opts.policy = BUS_POLICY_BLOCK;
    opts.window_messages = 10;
    opts.window_bytes = 11;
    opts.queue_messages = 12;
    opts.queue_bytes = 13;
    assert_int_equal(bus_subscribe(f->conn, "a/+/#", &opts, on_message, &s, &sub), 0);
    m = fake_hear(f, VERB_SUBSCRIBE);
    assert_int_equal(m.subscribe.subscription, 1);
    assert_text(m.subscribe.filter, "a/+/#");
    assert_int_equal(m.subscribe.policy, 3);
    assert_int_equal(m.subscribe.window_messages, 10);
    assert_int_equal(m.subscribe.window_bytes, 11);
    assert_int_equal(m.subscribe.queue_messages, 12);
    assert_int_equal(m.subscribe.queue_bytes, 13);
    assert_int_equal(m.subscribe.flags, 1);
    assert_string_equal(bus_sub_filter(sub), "a/+/#");
    assert_ptr_equal(bus_sub_conn(sub), f->conn);
}

static void test_subscribe_arguments(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub = NULL;

    f->welcome.subscriptions_max = 1;
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, NULL, NULL, &sub), -EINVAL);
    assert_int_equal(bus_subscribe(f->conn, "a#", NULL, on_message, NULL, &sub), -EINVAL);
    opts.flags = 2;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, NULL, &sub), -EINVAL);
    opts.flags = 0;
    opts.policy = (enum bus_policy) 5;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, NULL, &sub), -EINVAL);
    opts.policy = BUS_POLICY_LATEST;
    opts.size = 1;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, NULL, &sub), -EINVAL);
    assert_null(sub);
    fake_hear_nothing(f);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, on_message, NULL, NULL), 0);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, on_message, NULL, &sub), -ENOSPC);
}

static void test_refusal_goes_to_on_ready(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_sub *sub;

    fake_start(f);
    sub = subscribe(&s, "a", on_message);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r10 ");
    assert_int_equal(f->n_status, 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    bus_sub_unref(sub);
    fake_hear_nothing(f); /* the router has no such subscription: its number is free at once */
    (void) subscribe(&s, "a", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 1);
}

static void test_refusal_without_on_ready_goes_to_on_status(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "a/#", NULL, on_message, NULL, NULL), 0);
    fake_say_status(f, BUS_STATUS_LIMIT, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(f->status, BUS_STATUS_LIMIT);
    assert_string_equal(f->status_topic, "a/#");
}

static void test_stalled_comes_later(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, on_message);
    fake_say_message(f, 1, 1, "", 0);
    fake_say_status(f, BUS_STATUS_STALLED, VERB_SUBSCRIBE, 0, 1, 0);
    fake_say_message(f, 1, 2, "", 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 r14 m2 ");
}

static void test_number_is_free_after_the_answer(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    bus_sub_unref(sub);
    assert_int_equal(fake_hear(f, VERB_UNSUBSCRIBE).unsubscribe.subscription, 1);
    (void) subscribe(&s, "b", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 2);
    fake_say_message(f, 1, 1, "", 0); /* was on its way */
    fake_say_status(f, BUS_STATUS_OK, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "");
    (void) subscribe(&s, "c", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 1);
}

/* ---- messages ---- */

static void check_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;
    const struct bus_peer *sender = bus_message_sender(message);

    (void) sub;
    s->n++;
    assert_int_equal(bus_message_bytes(message), 5);
    assert_memory_equal(bus_message_data(message), "hello", 5);
    assert_string_equal(bus_message_topic(message), "a/b");
    assert_int_equal(bus_message_sequence(message), 77);
    assert_int_equal(bus_message_time_ns(message), 1077);
    assert_int_equal(sender->connection_id, 41);
    assert_int_equal(sender->uid, 1000);
    assert_int_equal(sender->gid, 1001);
    assert_int_equal(sender->pid, 1002);
    assert_string_equal(sender->name, "peer");
    assert_int_equal(bus_message_n_headers(message), 0);
    assert_null(bus_message_header(message, "x"));
    assert_null(bus_message_header_at(message, 0));
}

static void test_message_fields(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, check_message);
    fake_say_message(f, 1, 77, "hello", 5);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n, 1);
}

static void check_headers(const struct bus_message *message)
{
    assert_int_equal(bus_message_n_headers(message), 3);
    assert_string_equal(bus_message_header_at(message, 0)->name, "a");
    assert_string_equal(bus_message_header_at(message, 1)->value, "");
    assert_null(bus_message_header_at(message, 3));
    assert_string_equal(bus_message_header(message, "n"), "");
    assert_string_equal(bus_message_header(message, "a"), "1");
    assert_null(bus_message_header(message, "b"));
}

static void on_headers(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    check_headers(message);
    s->kept[s->n_kept++] = bus_message_ref(message);
}

static void test_message_headers(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct wire_header headers[] = {
        {{"a", 1}, {"1", 1}}, {{"n", 1}, {"", 0}}, {{"n", 1}, {"2", 1}}};
    struct wire_message m = {1, 1, 1, 1, 1, 0, headers, 3};
    struct bus_sub *sub = start(&s, f, on_headers);

    fake_say_body(f, VERB_MESSAGE, &m, "xy", 2);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n_kept, 1);
    check_headers(s.kept[0]);
    bus_message_unref(s.kept[0]);
    assert_int_equal(sub->used_bytes, 2 + 5);
}

static void test_losses_in_place(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct wire_loss loss = {1, 40, 400, BUS_LOSS_QUEUE_FULL};

    (void) start(&s, f, on_message);
    fake_say_message(f, 1, 1, "", 0);
    fake_say(f, VERB_LOSS, &loss);
    fake_say_message(f, 1, 42, "", 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 l40 m42 ");
}

/* Frames that arrive byte by byte, and frames larger than any buffer before. */
static void test_stream_reassembly(void **state)
{
    struct fake *f = *state;
    struct seen s;
    static uint8_t body[900000];

    if (f->seqpacket) {
        return;
    }
    (void) start(&s, f, on_message);
    fake_say_message(f, 1, 1, "abc", 3);
    for (size_t i = 0; i < f->out_len; i++) {
        assert_int_equal(send(f->fd, f->out + i, 1, 0), 1);
        assert_int_equal(bus_process(f->conn), 0);
    }
    f->out_len = 0;
    assert_string_equal(s.log, "m1 ");
    fake_say_message(f, 1, 2, "abc", 3);
    fake_say_message(f, 1, 3, body, sizeof(body));
    fake_say_message(f, 1, 4, "abc", 3);
    fake_say_message(f, 1, 5, body, 300000);
    fake_say_message(f, 1, 6, "abc", 3);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 m2 m3 m4 m5 m6 ");
}

/* ---- credit ---- */

static void test_credit_comes_back_in_halves(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s = {.f = f};
    union wire_any m;

    fake_start(f);
    opts.window_messages = 4;
    opts.window_bytes = 100;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, &s, NULL), 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    fake_bind(f, 1, "a");
    fake_bind_peer(f, 1, "p");
    fake_say_message(f, 1, 1, "ab", 2);
    assert_int_equal(fake_settle(f), 0);
    fake_hear_nothing(f);
    fake_say_message(f, 1, 2, "abc", 3);
    assert_int_equal(fake_settle(f), 0);
    m = fake_hear(f, VERB_CREDIT);
    assert_int_equal(m.credit.subscription, 1);
    assert_int_equal(m.credit.messages, 2);
    assert_int_equal(m.credit.bytes, 5);
    fake_say_message(f, 1, 3, "12345678901234567890123456789012345678901234567890", 50);
    assert_int_equal(fake_settle(f), 0);
    m = fake_hear(f, VERB_CREDIT);
    assert_int_equal(m.credit.messages, 1);
    assert_int_equal(m.credit.bytes, 50);
}

static void test_credit_of_the_default_window(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, on_message);
    for (unsigned i = 1; i <= 8191; i++) {
        fake_say_message(f, 1, i, "", 0);
        if (i % 1000 == 0) {
            assert_int_equal(fake_settle(f), 0);
        }
    }
    assert_int_equal(fake_settle(f), 0);
    fake_hear_nothing(f);
    fake_say_message(f, 1, 8192, "", 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.messages, 8192);
}

/* Also under a cork: the application may hold its messages back, not the flow of others. */
static void test_credit_passes_a_cork(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s = {.f = f};

    fake_start(f);
    opts.window_messages = 1;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, &s, NULL), 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    bus_cork(f->conn);
    fake_bind(f, 1, "a");
    fake_bind_peer(f, 1, "p");
    fake_say_message(f, 1, 1, "", 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.messages, 1);
}

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
        ON_BOTH_LINKS(test_subscribe_frame),
        ON_BOTH_LINKS(test_subscribe_arguments),
        ON_BOTH_LINKS(test_refusal_goes_to_on_ready),
        ON_BOTH_LINKS(test_refusal_without_on_ready_goes_to_on_status),
        ON_BOTH_LINKS(test_stalled_comes_later),
        ON_BOTH_LINKS(test_number_is_free_after_the_answer),
        ON_BOTH_LINKS(test_message_fields),
        ON_BOTH_LINKS(test_message_headers),
        ON_BOTH_LINKS(test_losses_in_place),
        ON_BOTH_LINKS(test_stream_reassembly),
        ON_BOTH_LINKS(test_credit_comes_back_in_halves),
        ON_BOTH_LINKS(test_credit_of_the_default_window),
        ON_BOTH_LINKS(test_credit_passes_a_cork),
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
