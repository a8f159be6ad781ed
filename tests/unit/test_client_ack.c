/* SPDX-License-Identifier: MIT */
/* Acknowledging: what is said to the router, when it is refused here, and messages that outlive
 * what they belong to. */
#include "client/conn.h"
#include "unit/test_client_seen.h"

struct work {
    struct fake *f;
    int in_callback; /* 1: ack, 2: refuse, 3: end the subscription, 4: close */
    int r;
    unsigned n;
    uint32_t deliveries;
    int redelivered;
    struct bus_message *kept;
    struct bus_sub *sub;
};

static void on_work(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct work *w = userdata;

    w->n++;
    w->deliveries = bus_message_deliveries(m);
    w->redelivered = bus_message_is_redelivered(m);
    w->kept = bus_message_ref(m);
    assert_non_null(w->kept);
    if (w->in_callback == 1) {
        w->r = bus_message_ack(m);
    } else if (w->in_callback == 2) {
        w->r = bus_message_refuse(m);
    } else if (w->in_callback == 3) {
        bus_sub_unref(sub);
        w->r = bus_message_ack(m);
    } else if (w->in_callback == 4) {
        bus_close(TAKE(w->f->conn));
        w->r = bus_message_ack(m);
    }
}

static void begin(struct fake *f, struct work *w, uint32_t flags)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    union wire_any m;

    *w = (struct work){.f = f, .in_callback = w->in_callback};
    fake_start(f);
    opts.group = "g";
    opts.flags = flags;
    opts.deliveries_max = 7;
    opts.dead_letter = "dead";
    opts.window_messages = 2;
    assert_int_equal(bus_subscribe(f->conn, "t", &opts, on_work, w, &w->sub), 0);
    m = fake_hear(f, VERB_SUBSCRIBE);
    assert_text(m.subscribe.group, "g");
    assert_text(m.subscribe.dead_letter, "dead");
    assert_int_equal(m.subscribe.flags, flags);
    assert_int_equal(m.subscribe.deliveries_max, 7);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_say(f, VERB_TOPIC, &(struct wire_topic){1, text_from("t")});
    fake_say(f, VERB_PEER, &(struct wire_peer){.id = 1, .connection_id = 9, .name = {"", 0}});
}

static void say_work(struct fake *f, uint32_t delivery, uint32_t deliveries)
{
    struct wire_message m = {.subscription = 1,
                             .topic = 1,
                             .sender = 1,
                             .sequence = 1,
                             .time = 1,
                             .flags = deliveries ? MESSAGE_REDELIVERED : 0,
                             .delivery = delivery,
                             .deliveries = deliveries};

    fake_say_body(f, VERB_MESSAGE, &m, "work", 4);
}

static void expect_ack(struct fake *f, uint32_t delivery, uint32_t flags)
{
    union wire_any m = fake_hear(f, VERB_ACK);

    assert_int_equal(m.ack.subscription, 1);
    assert_int_equal(m.ack.delivery, delivery);
    assert_int_equal(m.ack.flags, flags);
}

static void test_acknowledged_in_the_callback(void **state)
{
    struct fake *f = *state;
    struct work w = {.in_callback = 1};

    begin(f, &w, BUS_SUB_ACK);
    say_work(f, 5, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(w.r, 0);
    assert_int_equal(w.deliveries + (unsigned) w.redelivered, 0);
    expect_ack(f, 5, 0);
    fake_hear_nothing(f);                                 /* no CREDIT besides */
    assert_int_equal(bus_message_ack(w.kept), -EALREADY); /* the same message */
    assert_int_equal(bus_message_refuse(w.kept), -EALREADY);
    bus_message_unref(w.kept);
}

static void test_refused_in_the_callback(void **state)
{
    struct fake *f = *state;
    struct work w = {.in_callback = 2};

    begin(f, &w, BUS_SUB_ACK | BUS_SUB_STICKY);
    say_work(f, 6, 3);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(w.r, 0);
    assert_int_equal(w.deliveries, 3);
    assert_int_equal(w.redelivered, 1);
    expect_ack(f, 6, ACK_REFUSE);
    bus_message_unref(w.kept);
}

static void test_acknowledged_later_and_never_twice(void **state)
{
    struct fake *f = *state;
    struct work w = {0};
    struct bus_message *again;

    begin(f, &w, BUS_SUB_ACK);
    say_work(f, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    fake_hear_nothing(f);
    again = bus_message_ref(w.kept);
    assert_int_equal(bus_message_ack(w.kept), 0);
    bus_message_unref(w.kept);
    expect_ack(f, 1, 0);
    assert_int_equal(bus_message_ack(again), -EALREADY);
    bus_message_unref(again);
    fake_hear_nothing(f);
}

static void test_credit_comes_back_by_acknowledgement_alone(void **state)
{
    struct fake *f = *state;
    struct work w = {0};

    begin(f, &w, BUS_SUB_ACK);
    for (uint32_t i = 1; i < 100; i++) {
        say_work(f, i, 0);
        assert_int_equal(fake_settle(f), 0);
        bus_message_unref(w.kept);
    }
    assert_int_equal(w.n, 99);
    fake_hear_nothing(f);
}

static void test_subscriptions_without_ack_do_not_acknowledge(void **state)
{
    struct fake *f = *state;
    struct work w = {.in_callback = 1};

    begin(f, &w, 0);
    say_work(f, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(w.r, -EINVAL);
    assert_int_equal(bus_message_refuse(w.kept), -EINVAL);
    bus_message_unref(w.kept);
}

static void test_messages_outlive_their_subscription(void **state)
{
    struct fake *f = *state;
    struct work w = {.in_callback = 3};

    begin(f, &w, BUS_SUB_ACK);
    say_work(f, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(w.r, -ENOTCONN);
    (void) fake_hear(f, VERB_UNSUBSCRIBE);
    assert_int_equal(bus_message_ack(w.kept), -ENOTCONN);
    fake_say_status(f, BUS_STATUS_OK, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_message_ack(w.kept), -ENOTCONN);
    bus_message_unref(w.kept);
}

static void test_messages_outlive_their_connection(void **state)
{
    struct fake *f = *state;
    struct work w = {.in_callback = 4};

    begin(f, &w, BUS_SUB_ACK);
    say_work(f, 1, 0);
    fake_send(f);
    (void) bus_process(f->conn);
    assert_int_equal(w.r, -ENOTCONN);
    assert_int_equal(bus_message_ack(w.kept), -ENOTCONN);
    bus_message_unref(w.kept);
}

static void test_messages_outlive_the_router(void **state)
{
    struct fake *f = *state;
    struct work w = {0};

    begin(f, &w, BUS_SUB_ACK);
    say_work(f, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    fake_hang_up(f);
    while (bus_process(f->conn) >= 0) {
    }
    assert_int_equal(bus_message_ack(w.kept), -ENOTCONN);
    bus_message_unref(w.kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_acknowledged_in_the_callback),
        ON_BOTH_LINKS(test_refused_in_the_callback),
        ON_BOTH_LINKS(test_acknowledged_later_and_never_twice),
        ON_BOTH_LINKS(test_credit_comes_back_by_acknowledgement_alone),
        ON_BOTH_LINKS(test_subscriptions_without_ack_do_not_acknowledge),
        ON_BOTH_LINKS(test_messages_outlive_their_subscription),
        ON_BOTH_LINKS(test_messages_outlive_their_connection),
        ON_BOTH_LINKS(test_messages_outlive_the_router),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
