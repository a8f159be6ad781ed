/* SPDX-License-Identifier: MIT */
/* What topics keep, as libbus sees it. */
#include "client/conn.h"
#include "unit/test_client_seen.h"

static void on_live(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    (void) sub;
    note(userdata, "live", messages);
}

static void on_kept_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    note(userdata, bus_message_is_retained(message) ? "kept" : "m", bus_message_sequence(message));
}

static void on_live_unref(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    note(userdata, "live", messages);
    bus_sub_unref(sub);
}

static struct bus_sub *subscribe_live(struct seen *s, struct fake *f, bus_live_fn live)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub;

    *s = (struct seen){.f = f};
    opts.retained = BUS_RETAINED_ALL;
    opts.min_interval_ms = 30;
    opts.on_live = live;
    opts.on_loss = on_loss;
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "#", &opts, on_kept_message, s, &sub), 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    return sub;
}

static void say_kept(struct fake *f, uint64_t sequence)
{
    struct wire_message m = {.subscription = 1,
                             .topic = 1,
                             .sender = 1,
                             .sequence = sequence,
                             .flags = MESSAGE_RETAINED};

    fake_say_body(f, VERB_MESSAGE, &m, "body", 4);
}

static void test_subscribe_asks_for_it(void **state)
{
    struct fake *f = *state;
    union wire_any m;
    struct seen s;

    (void) subscribe_live(&s, f, on_live);
    m = fake_hear(f, VERB_SUBSCRIBE);
    assert_int_equal(m.subscribe.retained, 2);
    assert_int_equal(m.subscribe.min_interval_ms, 30);
}

static void test_kept_ones_are_marked_and_then_it_is_live(void **state)
{
    struct wire_snapshot_end end = {.subscription = 1, .messages = 2};
    struct wire_loss loss = {1, 3, 30, BUS_LOSS_EXPIRED};
    struct fake *f = *state;
    struct seen s;

    (void) subscribe_live(&s, f, on_live);
    say_kept(f, 5);
    fake_say(f, VERB_LOSS, &loss);
    say_kept(f, 9);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    fake_say_message(f, 1, 10, "x", 1);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "kept5 l3 kept9 live2 m10 ");
}

static void test_live_is_not_needed(void **state)
{
    struct wire_snapshot_end end = {.subscription = 1};
    struct fake *f = *state;
    struct seen s;

    (void) subscribe_live(&s, f, NULL);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "");
}

static void test_subscription_may_be_ended_in_live(void **state)
{
    struct wire_snapshot_end end = {.subscription = 1};
    struct fake *f = *state;
    struct seen s;

    (void) subscribe_live(&s, f, on_live_unref);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    fake_say(f, VERB_SNAPSHOT_END, &end); /* was on its way */
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "live0 ");
}

static void test_end_of_what_was_not_subscribed_ends_the_connection(void **state)
{
    struct wire_snapshot_end end = {.subscription = 7};
    struct fake *f = *state;
    struct seen s;

    (void) subscribe_live(&s, f, on_live);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    assert_true(fake_settle(f) < 0);
}

static void test_advertise_and_publish_say_it(void **state)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct bus_publish_opts publish = BUS_PUBLISH_OPTS_INIT;
    struct fake *f = *state;
    struct bus_topic *t;
    union wire_any m;

    fake_start(f);
    opts.flags = BUS_TOPIC_OWNED;
    opts.retain_messages = 7;
    opts.retain_ttl_ms = 500;
    assert_int_equal(bus_advertise_with(f->conn, "a", &opts, &t), 0);
    m = fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(m.advertise.flags, ADVERTISE_OWNED);
    assert_int_equal(m.advertise.retain_messages, 7);
    assert_int_equal(m.advertise.retain_ttl_ms, 500);
    publish.ttl_ms = 20;
    assert_int_equal(bus_topic_publish(t, "x", 1, &publish), 0);
    m = fake_hear(f, VERB_PUBLISH);
    assert_int_equal(m.publish.ttl_ms, 20);
    assert_int_equal(m.publish.alias, 1);
}

static void test_clear(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;
    union wire_any m;

    fake_start(f);
    assert_int_equal(bus_clear(f->conn, "a/+"), -EINVAL);
    assert_int_equal(bus_clear(f->conn, NULL), -EINVAL);
    assert_int_equal(bus_clear(f->conn, "a/b"), 0);
    m = fake_hear(f, VERB_CLEAR);
    assert_int_equal(m.clear.alias, 0);
    assert_text(m.clear.topic, "a/b");
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(bus_topic_clear(t), 0);
    m = fake_hear(f, VERB_CLEAR);
    assert_int_equal(m.clear.alias, 1);
    assert_text(m.clear.topic, "");
    fake_say_status(f, BUS_STATUS_DENIED, VERB_CLEAR, 1, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_string_equal(f->status_topic, "t");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_subscribe_asks_for_it),
        ON_BOTH_LINKS(test_kept_ones_are_marked_and_then_it_is_live),
        ON_BOTH_LINKS(test_live_is_not_needed),
        ON_BOTH_LINKS(test_subscription_may_be_ended_in_live),
        ON_BOTH_LINKS(test_end_of_what_was_not_subscribed_ends_the_connection),
        ON_BOTH_LINKS(test_advertise_and_publish_say_it),
        ON_BOTH_LINKS(test_clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
