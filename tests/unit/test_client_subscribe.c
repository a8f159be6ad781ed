/* SPDX-License-Identifier: MIT */
/* Subscribing: numbers, answers, messages, losses and credit. */
#include "client/conn.h"
#include "unit/test_client_seen.h"

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
    opts.flags = 0x20;
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
    struct wire_message m = {1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, headers, 3};
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
