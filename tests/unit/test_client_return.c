/* SPDX-License-Identifier: MIT */
/* Coming back: what is said on the next link, and what the application is told. */
#include "unit/test_client_return.h"
#include "client/conn.h"

/* ---- what is set up again ---- */

static void on_silence(struct bus_sub *sub, uint64_t since_ms, void *userdata)
{
    (void) sub;
    (void) since_ms;
    (void) userdata;
}

static struct bus_sub *subscribe_with_everything(struct seen *s)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub = NULL;

    opts.flags = BUS_SUB_ACK | BUS_SUB_NO_LOCAL;
    opts.policy = BUS_POLICY_LATEST;
    opts.window_messages = 3;
    opts.window_bytes = 4;
    opts.queue_messages = 5;
    opts.queue_bytes = 6;
    opts.group = "g";
    opts.deliveries_max = 7;
    opts.dead_letter = "dead";
    opts.silence_ms = 800;
    opts.on_silence = on_silence;
    assert_int_equal(bus_subscribe(s->f->conn, "all/#", &opts, on_message, s, &sub), 0);
    return sub;
}

static void hear_everything(struct fake *f)
{
    union wire_any m = fake_hear(f, VERB_SUBSCRIBE);

    assert_int_equal(m.subscribe.subscription, 2);
    assert_text(m.subscribe.filter, "all/#");
    assert_int_equal(m.subscribe.flags, BUS_SUB_ACK | BUS_SUB_NO_LOCAL);
    assert_int_equal(m.subscribe.policy, BUS_POLICY_LATEST);
    assert_int_equal(m.subscribe.window_messages, 3);
    assert_int_equal(m.subscribe.window_bytes, 4);
    assert_int_equal(m.subscribe.queue_messages, 5);
    assert_int_equal(m.subscribe.queue_bytes, 6);
    assert_text(m.subscribe.group, "g");
    assert_int_equal(m.subscribe.deliveries_max, 7);
    assert_text(m.subscribe.dead_letter, "dead");
    assert_int_equal(m.subscribe.silence_ms, 800);
}

static void test_subscriptions_are_asked_for_again_in_their_order(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_sub *second, *gone;
    union wire_any hello, again;

    return_quickly(f);
    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), 0);
    fake_accept(f);
    hello = fake_hear(f, VERB_HELLO);
    assert_int_not_equal(hello.hello.session, 0);
    assert_int_equal(hello.hello.features, FEATURE_BUFFERS | FEATURE_RETURNS);
    fake_welcome(f);
    gone = subscribe(&s, "gone", on_message);
    second = subscribe_with_everything(&s);
    bus_sub_unref(gone);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 2, 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_non_null(subscribe(&s, "later", on_message)); /* has the number 1 */
    fake_lose(f);
    assert_string_equal(states.log, "lost0 ");
    fake_accept_again(f);
    again = fake_hear(f, VERB_HELLO);
    assert_int_equal(again.hello.session, hello.hello.session);
    assert_int_equal(again.hello.features, hello.hello.features);
    assert_text(again.hello.client_name, "tester");
    hear_everything(f);
    again = fake_hear(f, VERB_SUBSCRIBE);
    assert_text(again.subscribe.filter, "later");
    assert_int_equal(again.subscribe.subscription, 1);
    assert_int_equal(fake_hear(f, VERB_RESTORED).restored.flags, 0);
    fake_hear_nothing(f);
    assert_int_equal(bus_is_away(f->conn), 1);
    fake_welcome(f);
    assert_int_equal(bus_is_away(f->conn), 0);
    assert_string_equal(states.log, "lost0 restored0 ");
    fake_say_status(f, BUS_STATUS_UNEXPECTED, VERB_RESTORED, 0, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status + f->n_closed, 0);
    bus_sub_unref(second);
    assert_int_equal(fake_hear(f, VERB_UNSUBSCRIBE).unsubscribe.subscription, 2);
}

static void test_topics_and_wills_are_set_up_again(void **state)
{
    struct fake *f = *state;
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct bus_will_opts will = BUS_WILL_OPTS_INIT;
    struct bus_header header = {"k", "v"};
    struct bus_topic *t, *gone;
    struct frame frame;
    union wire_any m;

    return_quickly(f);
    fake_start(f);
    opts.flags = BUS_TOPIC_OWNED;
    opts.retain_messages = 2;
    opts.retain_ttl_ms = 3;
    assert_int_equal(bus_advertise(f->conn, "gone", &gone), 0);
    assert_int_equal(bus_advertise_with(f->conn, "kept", &opts, &t), 0);
    bus_topic_unref(gone);
    will.delay_ms = 4;
    will.headers = &header;
    will.n_headers = 1;
    assert_int_equal(bus_will(f->conn, "w/1", "old", 3, NULL), 0);
    assert_int_equal(bus_will(f->conn, "w/2", "two", 3, NULL), 0);
    assert_int_equal(bus_will(f->conn, "w/3", "x", 1, NULL), 0);
    assert_int_equal(bus_will(f->conn, "w/1", "new", 3, &will), 0);
    assert_int_equal(bus_will_clear(f->conn, "w/3"), 0);
    fake_lose(f);
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    m = fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(m.advertise.alias, 2);
    assert_text(m.advertise.topic, "kept");
    assert_int_equal(m.advertise.flags, ADVERTISE_OWNED);
    assert_int_equal(m.advertise.retain_messages, 2);
    assert_int_equal(m.advertise.retain_ttl_ms, 3);
    m = fake_hear_frame(f, VERB_WILL, &frame);
    assert_text(m.will.topic, "w/1");
    assert_int_equal(m.will.delay_ms, 4);
    assert_int_equal(m.will.n_headers, 1);
    assert_int_equal(frame.body_bytes, 3);
    assert_memory_equal(frame.body, "new", 3);
    m = fake_hear(f, VERB_WILL);
    assert_text(m.will.topic, "w/2");
    (void) fake_hear(f, VERB_RESTORED);
    fake_hear_nothing(f);
    fake_welcome(f);
    assert_int_equal(bus_topic_publish(t, "x", 1, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.alias, 2);
}

static void test_what_is_set_up_while_away_is_said_at_the_return(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_topic *t, *gone;
    struct bus_sub *sub;

    return_quickly(f);
    fake_start(f);
    sub = subscribe(&s, "old", on_message);
    assert_int_equal(bus_advertise(f->conn, "old", &gone), 0);
    fake_lose(f);
    bus_sub_unref(sub);
    bus_topic_unref(gone);
    assert_non_null(subscribe(&s, "new", on_message));
    assert_int_equal(bus_advertise(f->conn, "new", &t), 0);
    assert_int_equal(bus_will(f->conn, "will", "w", 1, NULL), 0);
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    assert_text(fake_hear(f, VERB_SUBSCRIBE).subscribe.filter, "new");
    assert_text(fake_hear(f, VERB_ADVERTISE).advertise.topic, "new");
    assert_text(fake_hear(f, VERB_WILL).will.topic, "will");
    (void) fake_hear(f, VERB_RESTORED);
    fake_welcome(f);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r0 "); /* it was not there before: no gap */
}

/* ---- gaps ---- */

static void note_reason(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    (void) sub;
    assert_int_equal(loss->count, 0);
    assert_int_equal(loss->bytes, 0);
    note(userdata, "gap", loss->reason);
}

static void test_the_gap_stands_before_what_comes_on_the_new_link(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s = {.f = f};

    return_quickly(f);
    fake_start(f);
    opts.on_loss = note_reason;
    opts.on_ready = on_ready;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, &s, NULL), 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    fake_say_message(f, 1, 1, "x", 1);
    fake_send(f);
    fake_lose(f);                      /* what was there to be read is read before */
    for (unsigned i = 0; i < 2; i++) { /* lost again before the answer: still one gap */
        fake_accept_again(f);
        (void) fake_hear(f, VERB_HELLO);
        (void) fake_hear(f, VERB_SUBSCRIBE);
        fake_welcome(f);
        if (i == 0) {
            fake_lose(f);
        }
    }
    assert_string_equal(s.log, "r0 m1 ");
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    fake_say_message(f, 1, 1, "x", 1);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r0 m1 gap7 r0 m1 ");
    assert_string_equal(states.log, "lost0 restored0 lost0 restored0 ");
}

static void unref_in_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    (void) loss;
    note(userdata, "gap", 0);
    bus_sub_unref(sub);
}

static void test_a_subscription_ended_in_its_gap_is_not_told_more(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s = {.f = f};

    return_quickly(f);
    fake_start(f);
    opts.on_loss = unref_in_loss;
    opts.on_ready = on_ready;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, &s, NULL), 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    fake_lose(f);
    fake_accept_again(f);
    fake_say(f, VERB_WELCOME, &f->welcome);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r0 gap0 ");
    assert_int_equal(f->conn->n_subs, 0);
}

static void test_credit_of_the_old_link_is_not_given_to_the_new(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s = {.f = f};

    return_quickly(f);
    fake_start(f);
    opts.window_messages = 4; /* CREDIT after two */
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, &s, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
        fake_bind(f, 1, "a");
        fake_bind_peer(f, 1, "peer");
        fake_say_message(f, 1, 1, "x", 1);
        assert_int_equal(fake_settle(f), 0);
        if (i == 0) {
            fake_lose(f);
            fake_accept_again(f);
            fake_welcome(f);
            fake_forget(f);
        }
    }
    (void) fake_read(f);
    for (struct frame frame; f->in_pos < f->in_len;) {
        union wire_any m;

        assert_true(fake_next(f, &frame, &m));
        assert_int_not_equal(frame.verb, VERB_CREDIT);
    }
    fake_say_message(f, 1, 2, "x", 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.messages, 2);
}

/* ---- which ends are for good ---- */

static void check_goodbye(struct fake *f, enum bus_goodbye reason, bool returns)
{
    struct wire_goodbye m = {.reason = reason, .text = {"why", 3}};
    char expected[32];

    return_quickly(f);
    f->opts.reconnect_min_ms = f->opts.reconnect_max_ms = 60000; /* not before it is closed */
    fake_start(f);
    fake_say(f, VERB_GOODBYE, &m);
    fake_send(f);
    while (bus_process(f->conn) > 0) {
        continue;
    }
    (void) snprintf(expected, sizeof(expected), "lost%dwhy ", (int) reason);
    assert_string_equal(states.log, returns ? expected : "");
    assert_int_equal(f->n_closed, !returns);
    assert_int_equal(bus_is_away(f->conn), returns);
    assert_int_equal(bus_process(f->conn), returns ? 0 : -ENOTCONN);
    bus_close(TAKE(f->conn));
    fake_hang_up(f);
    fake_forget(f);
    f->n_closed = 0;
}

static void test_goodbyes_that_are_for_good(void **state)
{
    struct fake *f = *state;

    check_goodbye(f, BUS_GOODBYE_SHUTDOWN, true);
    check_goodbye(f, BUS_GOODBYE_NONE, true);
    check_goodbye(f, BUS_GOODBYE_SLOW_CONSUMER, true);
    check_goodbye(f, BUS_GOODBYE_LIMIT, true);
    check_goodbye(f, BUS_GOODBYE_NO_MEMORY, true);
    check_goodbye(f, BUS_GOODBYE_HELLO_TIMEOUT, true);
    check_goodbye(f, (enum bus_goodbye) 99, true);
    check_goodbye(f, BUS_GOODBYE_PROTOCOL_ERROR, false);
    check_goodbye(f, BUS_GOODBYE_VERSION, false);
    check_goodbye(f, BUS_GOODBYE_NORMAL, false);
}

static void test_without_the_flag_the_end_is_the_end(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    fake_hang_up(f);
    while (bus_process(f->conn) >= 0) {
        continue;
    }
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(bus_is_away(f->conn), 0);
}

static void test_it_gives_up_in_time(void **state)
{
    struct fake *f = *state;

    return_quickly(f);
    f->opts.reconnect_timeout_ms = 20;
    fake_start(f);
    assert_int_equal(close(f->listen_fd), 0);
    fake_hang_up(f);
    assert_int_equal(bus_run(f->conn), -ENOTCONN);
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(f->goodbye, BUS_GOODBYE_NONE);
    assert_string_equal(states.log, "lost0 ");
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), -ENOTCONN);
    assert_int_equal(bus_is_away(f->conn), 0);
    assert_int_equal(unlink(strchr(f->address, ':') + 1), 0);
    fake_listen(f); /* for the end of the test */
}

static void test_a_router_that_does_not_answer_is_left_again(void **state)
{
    struct fake *f = *state;

    return_quickly(f);
    f->opts.timeout_ms = 10;
    fake_start(f);
    fake_lose(f);
    for (unsigned i = 0; i < 3; i++) {
        fake_accept_again(f);
        (void) fake_hear(f, VERB_HELLO);
        (void) fake_hear(f, VERB_RESTORED);
        while (f->conn->state == CONN_GREETING) {
            assert_int_equal(bus_wait(f->conn, PATIENCE_MS), 1);
            assert_true(bus_process(f->conn) >= 0);
        }
        fake_hang_up(f);
        fake_forget(f);
    }
    assert_string_equal(states.log, "lost0 "); /* once */
    f->conn->session->greeting_ms = PATIENCE_MS;
    fake_come_back(f);
    assert_string_equal(states.log, "lost0 restored0 ");
}

/* ---- waiting ---- */

static void test_the_descriptor_stays_and_says_when_to_try(void **state)
{
    struct fake *f = *state;
    struct pollfd p = {.events = POLLIN};

    return_quickly(f);
    fake_start(f);
    p.fd = bus_fd(f->conn);
    fake_hang_up(f);
    while (f->fd < 0) {
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        assert_true(bus_process(f->conn) >= 0);
        f->fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    assert_int_equal(bus_fd(f->conn), p.fd);
    fake_forget(f);
    assert_int_equal(poll(&p, 1, 0), 0);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_RESTORED);
    fake_say(f, VERB_WELCOME, &f->welcome);
    fake_send(f);
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_string_equal(states.log, "lost0 restored0 ");
}

static void test_flush_asks_again_on_the_new_link(void **state)
{
    struct fake *f = *state;
    struct wire_pong pong;
    union wire_any m;

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT);
    fake_lose(f);
    assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT); /* one more, while away */
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_RESTORED);
    fake_welcome(f);
    m = fake_hear(f, VERB_PING);
    fake_hear_nothing(f);
    pong.token = m.ping.token;
    assert_int_equal(f->conn->ping_token, pong.token);
    fake_say(f, VERB_PONG, &pong);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->conn->pong_token, pong.token);
    assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT);
    assert_int_equal(fake_hear(f, VERB_PING).ping.token, pong.token + 1);
}

/* ---- callbacks that end it ---- */

static void close_when_lost(struct bus_conn *conn, enum bus_conn_state state)
{
    if (state == BUS_CONN_LOST) {
        bus_close(conn);
    }
}

static void test_close_in_on_state(void **state)
{
    struct fake *f = *state;

    return_quickly(f);
    fake_start(f);
    states.act = close_when_lost;
    fake_hang_up(f);
    assert_int_equal(bus_run(f->conn), -ENOTCONN);
    f->conn = NULL;
    assert_int_equal(f->n_closed, 0);
}

static void close_when_restored(struct bus_conn *conn, enum bus_conn_state state)
{
    if (state == BUS_CONN_RESTORED) {
        bus_close(conn);
    }
}

static void test_close_at_the_return(void **state)
{
    struct fake *f = *state;

    return_quickly(f);
    fake_start(f);
    states.act = close_when_restored;
    fake_lose(f);
    fake_accept_again(f);
    fake_say(f, VERB_WELCOME, &f->welcome);
    fake_send(f);
    assert_int_equal(bus_run(f->conn), -ENOTCONN);
    f->conn = NULL;
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_RESTORED);
    (void) fake_hear(f, VERB_GOODBYE);
}

/* In the callback of a message the link breaks, is noticed, and the next one is there. */
static void return_inside(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    note(s, "m", bus_message_sequence(message));
    if (bus_message_sequence(message) == 1) {
        fake_lose(s->f);
        fake_accept_again(s->f);
        fake_say(s->f, VERB_WELCOME, &s->f->welcome);
        fake_say_status(s->f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
        fake_bind(s->f, 1, "a");
        fake_bind_peer(s->f, 1, "peer");
        fake_say_message(s->f, 1, 3, "x", 1);
        assert_int_equal(fake_settle(s->f), 0);
        assert_string_equal(bus_message_topic(message), "a");
        assert_memory_equal(bus_message_data(message), "x", 1);
    }
}

static void test_return_within_a_callback(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s = {.f = f};

    return_quickly(f);
    fake_start(f);
    opts.window_messages = 2; /* CREDIT for each */
    opts.on_loss = note_reason;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, return_inside, &s, NULL), 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a");
    fake_bind_peer(f, 1, "peer");
    fake_say_message(f, 1, 1, "x", 1);
    fake_say_message(f, 1, 2, "x", 1);
    assert_int_equal(fake_settle(f), 0);
    /* what was behind the first in the buffer is read before the link is given up */
    assert_string_equal(s.log, "m1 m2 gap7 m3 ");
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    (void) fake_hear(f, VERB_RESTORED);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.messages, 1);
    fake_hear_nothing(f); /* none for the first, which came on the old link */
}

static void on_record(struct bus_conn *conn, const struct bus_record *record, void *userdata)
{
    (void) conn;
    (void) record;
    (void) userdata;
}

static void test_monitors_do_not_come_back(void **state)
{
    struct fake *f = *state;

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_monitor(f->conn, NULL, 0, NULL, on_record, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_subscriptions_are_asked_for_again_in_their_order),
        ON_BOTH_LINKS(test_topics_and_wills_are_set_up_again),
        ON_BOTH_LINKS(test_what_is_set_up_while_away_is_said_at_the_return),
        ON_BOTH_LINKS(test_the_gap_stands_before_what_comes_on_the_new_link),
        ON_BOTH_LINKS(test_a_subscription_ended_in_its_gap_is_not_told_more),
        ON_BOTH_LINKS(test_credit_of_the_old_link_is_not_given_to_the_new),
        ON_BOTH_LINKS(test_goodbyes_that_are_for_good),
        ON_BOTH_LINKS(test_without_the_flag_the_end_is_the_end),
        ON_BOTH_LINKS(test_it_gives_up_in_time),
        ON_BOTH_LINKS(test_a_router_that_does_not_answer_is_left_again),
        ON_BOTH_LINKS(test_the_descriptor_stays_and_says_when_to_try),
        ON_BOTH_LINKS(test_flush_asks_again_on_the_new_link),
        ON_BOTH_LINKS(test_close_in_on_state),
        ON_BOTH_LINKS(test_close_at_the_return),
        ON_BOTH_LINKS(test_return_within_a_callback),
        ON_BOTH_LINKS(test_monitors_do_not_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
