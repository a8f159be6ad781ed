/* SPDX-License-Identifier: MIT */
/* What an application hears of rights that it does not have, or not any more. */
#include <bus/request.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_return.h"

#define PLACE "rules.conf:7: deny subscribe a/#"

static void say_denied(struct fake *f, enum verb verb, uint32_t alias, uint32_t sub,
                       uint64_t sequence)
{
    fake_say_status(f, BUS_STATUS_DENIED, verb, alias, sub, sequence);
}

static void hear_unsubscribe(struct fake *f, uint32_t number)
{
    assert_int_equal(fake_hear(f, VERB_UNSUBSCRIBE).unsubscribe.subscription, number);
}

/* ---- subscriptions ---- */

static void test_narrow_is_asked_for(void **state)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct fake *f = *state;
    struct seen s = {.f = f};

    fake_start(f);
    opts.flags = BUS_SUB_NARROW;
    opts.on_ready = on_ready;
    assert_int_equal(bus_subscribe(f->conn, "a/#", &opts, on_message, &s, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.flags, 64);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r0 "); /* with the text, which on_ready compares */
}

static void test_a_subscription_may_end_later(void **state)
{
    struct wire_loss loss = {1, 3, 30, BUS_LOSS_DENIED};
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    fake_say_message(f, 1, 1, "", 0);
    fake_say(f, VERB_LOSS, &loss);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 l3 r10 ");
    (void) subscribe(&s, "b", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 2);
    bus_sub_unref(sub);
    fake_hear_nothing(f); /* the router knows it no more */
    (void) subscribe(&s, "c", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 1);
}

/* One topic matches too many of this user. */
static void test_a_subscription_that_is_one_too_many_ends_later(void **state)
{
    struct wire_loss loss = {1, 2, 20, BUS_LOSS_NO_MEMORY};
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    fake_say(f, VERB_LOSS, &loss);
    fake_say_status(f, BUS_STATUS_LIMIT, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "l2 r11 ");
    bus_sub_unref(sub);
    fake_hear_nothing(f); /* the router knows it no more */
}

static void test_an_end_without_on_ready_goes_to_on_status(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "a/#", NULL, on_message, NULL, NULL), 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 0);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(f->status, BUS_STATUS_DENIED);
    assert_string_equal(f->status_topic, "a/#");
    assert_string_equal(f->status_text, "why");
}

/* Both ends cross on their way. */
static void test_an_end_that_meets_unsubscribe(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    bus_sub_unref(sub);
    hear_unsubscribe(f, 1);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    fake_say_status(f, BUS_STATUS_UNKNOWN_SUBSCRIPTION, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "");
    assert_int_equal(f->n_status, 0);
    (void) subscribe(&s, "c", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 1);
}

static void on_drained(struct bus_sub *sub, enum bus_status status, void *userdata)
{
    (void) sub;
    note(userdata, "d", status);
}

/* The UNSUBSCRIBE with DRAIN is still to be answered, so the number is in use until it is. */
static void test_an_end_that_meets_a_drain(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained), 0);
    hear_unsubscribe(f, 1);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    bus_sub_unref(sub);
    fake_hear_nothing(f);
    (void) subscribe(&s, "c", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 2);
    fake_say_status(f, BUS_STATUS_UNKNOWN_SUBSCRIPTION, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r10 ");
    (void) subscribe(&s, "d", on_message);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 1);
}

static void test_a_drain_that_was_denied_is_told(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained), 0);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    fake_say_status(f, BUS_STATUS_UNKNOWN_SUBSCRIPTION, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r10 d9 ");
    hear_unsubscribe(f, 1);
    bus_sub_unref(sub);
    fake_hear_nothing(f);
}

static void on_ready_unref(struct bus_sub *sub, enum bus_status status, const char *text,
                           void *userdata)
{
    (void) text;
    note(userdata, "r", status);
    if (status == BUS_STATUS_DENIED) {
        bus_sub_unref(sub);
    }
}

static void test_it_may_be_given_back_in_on_ready(void **state)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct fake *f = *state;
    struct seen s = {.f = f};

    fake_start(f);
    opts.on_ready = on_ready_unref;
    assert_int_equal(bus_subscribe(f->conn, "a/#", &opts, on_message, &s, NULL), 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r0 r10 ");
    (void) fake_hear(f, VERB_SUBSCRIBE);
    fake_hear_nothing(f);
}

/* ---- servers ---- */

static struct bus_call *the_call;

static void on_call(struct bus_call *call, void *userdata)
{
    note(userdata, "c", 0);
    the_call = call;
}

static void on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    assert_ptr_equal(call, the_call);
    assert_int_equal(bus_call_is_cancelled(call), 1);
    note(userdata, "x", reason);
}

static void test_calls_of_a_server_that_is_denied_are_cancelled(void **state)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    struct wire_call call = {.subscription = 1, .call = 9, .topic = 1, .sender = 1};
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_sub *sub;

    fake_start(f);
    opts.flags = BUS_SUB_NARROW;
    opts.on_ready = on_ready;
    opts.on_cancel = on_cancel;
    assert_int_equal(bus_serve(f->conn, "a/#", &opts, on_call, &s, &sub), 0);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.flags, 64 | 32);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    fake_say(f, VERB_CALL, &call);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r0 c0 x10 r10 ");
    assert_int_equal(bus_call_reply(the_call, "", 0, NULL), 0); /* which only frees it */
    bus_sub_unref(sub);
    fake_hear_nothing(f);
}

/* ---- topics ---- */

static void test_publishes_to_a_muted_topic_are_refused_one_by_one(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "a/b", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    say_denied(f, VERB_PUBLISH, 1, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(f->status, BUS_STATUS_DENIED);
    assert_int_equal(f->status_sequence, 0);
    assert_string_equal(f->status_topic, "a/b");
    assert_int_equal(bus_topic_publish(t, "", 0, NULL), 0); /* the right may be back */
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.alias, 1);
    say_denied(f, VERB_PUBLISH, 1, 0, 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 2);
    assert_int_equal(f->status_sequence, 1);
    assert_string_equal(f->status_topic, "a/b");
}

/* Of topics that bus_publish() has advertised the application knows nothing. */
static void test_a_muted_topic_without_a_handle_is_told_at_the_next_publish(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    assert_int_equal(bus_publish(f->conn, "a/b", "", 0), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_PUBLISH);
    say_denied(f, VERB_PUBLISH, 1, 0, 0);
    say_denied(f, VERB_PUBLISH, 99, 0, 0); /* one that has ended meanwhile */
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 0);
    assert_int_equal(bus_publish(f->conn, "a/b", "", 0), 0);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.alias, 1);
    say_denied(f, VERB_PUBLISH, 1, 0, 2);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_string_equal(f->status_text, "why");
}

static void say_refused(struct fake *f, const char *text)
{
    struct wire_status m = {
        .code = BUS_STATUS_DENIED, .verb = VERB_ADVERTISE, .alias = 1, .text = text_from(text)};

    fake_say(f, VERB_STATUS, &m);
}

/* The publish says why, not that its alias is unknown. */
static void test_a_refused_publish_has_the_text_of_its_topic(void **state)
{
    struct wire_status unknown = {.code = BUS_STATUS_UNKNOWN_ALIAS,
                                  .verb = VERB_PUBLISH,
                                  .alias = 1,
                                  .sequence = 1,
                                  .text = text_from("alias")};
    struct fake *f = *state;

    fake_start(f);
    assert_int_equal(bus_publish(f->conn, "a/b", "", 0), 0);
    say_refused(f, PLACE);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 0);
    assert_int_equal(bus_publish(f->conn, "a/b", "", 0), 0); /* asks again */
    fake_say(f, VERB_STATUS, &unknown);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->status, BUS_STATUS_DENIED);
    assert_string_equal(f->status_text, PLACE);
    assert_string_equal(f->status_topic, "a/b");
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct seen *s = userdata;

    (void) conn;
    note(s, "e", reply->status);
    assert_string_equal(reply->text, PLACE);
}

static void test_a_refused_request_has_the_text_of_its_topic(void **state)
{
    struct wire_done done = {
        .call = 1, .status = BUS_STATUS_UNKNOWN_ALIAS, .text = text_from("alias")};
    struct fake *f = *state;
    struct seen s = {.f = f};

    fake_start(f);
    assert_int_equal(bus_request(f->conn, "a/b", "", 0, NULL, on_reply, &s, NULL), 0);
    say_refused(f, PLACE);
    fake_say(f, VERB_DONE, &done);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "e10 ");
}

/* A text longer than any is cut, and without memory the status speaks for itself. */
static void test_texts_of_refusals_are_bounded(void **state)
{
    struct wire_status unknown = {
        .code = BUS_STATUS_UNKNOWN_ALIAS, .verb = VERB_PUBLISH, .alias = 1, .sequence = 1};
    struct fake *f = *state;
    char text[1000];

    fake_start(f);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(bus_publish(f->conn, "a/b", "", 0), 0);
    say_refused(f, text);
    fake_say(f, VERB_STATUS, &unknown);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(strlen(f->status_text), GOODBYE_TEXT_MAX);
    assert_int_equal(bus_publish(f->conn, "a/b", "", 0), 0);
    say_refused(f, text);
    unknown.sequence = 2;
    fake_say(f, VERB_STATUS, &unknown);
    fake_send(f);
    failmalloc_arm_from(1);
    (void) fake_settle(f);
    (void) failmalloc_disarm();
    assert_int_equal(f->status, BUS_STATUS_DENIED);
    assert_string_equal(f->status_text, bus_status_text(BUS_STATUS_DENIED));
}

/* ---- coming back ---- */

static void hear_again(struct fake *f, unsigned n_subs)
{
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    for (unsigned i = 0; i < n_subs; i++) {
        (void) fake_hear(f, VERB_SUBSCRIBE);
    }
    (void) fake_hear(f, VERB_RESTORED);
    fake_hear_nothing(f);
    fake_welcome(f);
}

/* Another router may have other rules: once on each link, and never without a word. */
static void test_what_was_denied_is_asked_for_again_once_and_told(void **state)
{
    struct fake *f = *state;
    struct seen s;

    return_quickly(f);
    (void) start(&s, f, on_message);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    fake_lose(f);
    hear_again(f, 1);
    say_denied(f, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    fake_hear_nothing(f);
    fake_lose(f);
    hear_again(f, 1);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r10 r10 r0 "); /* no gap: it had ended */
}

static void test_a_reliable_topic_that_is_muted_keeps_what_it_had_sent(void **state)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct wire_acked acked = {1};
    struct fake *f = *state;
    struct bus_topic *t;

    return_quickly(f);
    fake_start(f);
    opts.flags = BUS_TOPIC_RELIABLE;
    assert_int_equal(bus_advertise_with(f->conn, "r", &opts, &t), 0);
    assert_int_equal(bus_topic_publish(t, "x", 1, NULL), 0);
    say_denied(f, VERB_PUBLISH, 1, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_wait_acked(f->conn, 0), -ETIMEDOUT);
    fake_say(f, VERB_ACKED, &acked);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_wait_acked(f->conn, 0), 0);
}

/* ---- monitors ---- */

static void on_record(struct bus_conn *conn, const struct bus_record *record, void *userdata)
{
    (void) conn;
    note(userdata, "m", record->order);
}

static void on_monitor_ready(struct bus_conn *conn, enum bus_status status, const char *text,
                             void *userdata)
{
    (void) conn;
    assert_string_equal(text, "why");
    note(userdata, "r", status);
}

static void test_a_monitor_without_the_right_is_an_ordinary_connection(void **state)
{
    struct bus_monitor_opts opts = BUS_MONITOR_OPTS_INIT;
    struct fake *f = *state;
    struct seen s = {.f = f};

    fake_start(f);
    opts.on_ready = on_monitor_ready;
    assert_int_equal(bus_monitor(f->conn, NULL, 0, &opts, on_record, &s), 0);
    (void) fake_hear(f, VERB_MONITOR);
    fake_say_status(f, BUS_STATUS_OK, VERB_MONITOR, 0, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, on_message, &s, NULL), -EBUSY);
    say_denied(f, VERB_MONITOR, 0, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r0 r10 ");
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, on_message, &s, NULL), 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_narrow_is_asked_for),
        ON_BOTH_LINKS(test_a_subscription_may_end_later),
        ON_BOTH_LINKS(test_a_subscription_that_is_one_too_many_ends_later),
        ON_BOTH_LINKS(test_an_end_without_on_ready_goes_to_on_status),
        ON_BOTH_LINKS(test_an_end_that_meets_unsubscribe),
        ON_BOTH_LINKS(test_an_end_that_meets_a_drain),
        ON_BOTH_LINKS(test_a_drain_that_was_denied_is_told),
        ON_BOTH_LINKS(test_it_may_be_given_back_in_on_ready),
        ON_BOTH_LINKS(test_calls_of_a_server_that_is_denied_are_cancelled),
        ON_BOTH_LINKS(test_publishes_to_a_muted_topic_are_refused_one_by_one),
        ON_BOTH_LINKS(test_a_muted_topic_without_a_handle_is_told_at_the_next_publish),
        ON_BOTH_LINKS(test_a_refused_publish_has_the_text_of_its_topic),
        ON_BOTH_LINKS(test_a_refused_request_has_the_text_of_its_topic),
        ON_BOTH_LINKS(test_texts_of_refusals_are_bounded),
        ON_BOTH_LINKS(test_what_was_denied_is_asked_for_again_once_and_told),
        ON_BOTH_LINKS(test_a_reliable_topic_that_is_muted_keeps_what_it_had_sent),
        ON_BOTH_LINKS(test_a_monitor_without_the_right_is_an_ordinary_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
