/* SPDX-License-Identifier: MIT */
/* Draining in the client library, against a router that says what the test wants. */
#include <bus/drain.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_seen.h"

static void on_drained(struct bus_sub *sub, enum bus_status status, void *userdata)
{
    (void) sub;
    note(userdata, "d", status);
}

static void on_drained_unref(struct bus_sub *sub, enum bus_status status, void *userdata)
{
    note(userdata, "u", status);
    bus_sub_unref(sub);
}

static void on_drained_close(struct bus_sub *sub, enum bus_status status, void *userdata)
{
    struct seen *s = userdata;

    note(userdata, "c", status);
    bus_close(bus_sub_conn(sub));
    s->f->conn = NULL;
}

static void hear_drain(struct fake *f)
{
    union wire_any m = fake_hear(f, VERB_UNSUBSCRIBE);

    assert_int_equal(m.unsubscribe.subscription, 1);
    assert_int_equal(m.unsubscribe.flags, UNSUBSCRIBE_DRAIN);
}

static void hear_end(struct fake *f)
{
    assert_int_equal(fake_hear(f, VERB_UNSUBSCRIBE).unsubscribe.flags, 0);
}

static void say_end(struct fake *f, enum bus_status code)
{
    fake_say_status(f, code, VERB_UNSUBSCRIBE, 0, 1, 0);
}

/* Its number is not given to another one before it may be. */
static void expect_number(struct seen *s, uint32_t number)
{
    (void) subscribe(s, "b", on_message);
    assert_int_equal(fake_hear(s->f, VERB_SUBSCRIBE).subscribe.subscription, number);
}

static void test_what_waits_comes_first(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);
    struct wire_loss loss = {1, 2, 20, BUS_LOSS_QUEUE_FULL};

    assert_int_equal(bus_sub_drain(sub, on_drained), 0);
    assert_int_equal(bus_sub_drain(sub, on_drained), -EALREADY);
    hear_drain(f);
    fake_say(f, VERB_LOSS, &loss);
    fake_say_message(f, 1, 3, "x", 1);
    say_end(f, BUS_STATUS_OK);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "l2 m3 d0 ");
    assert_int_equal(bus_sub_drain(sub, on_drained), -EALREADY);
    expect_number(&s, 2);
    bus_sub_unref(sub); /* the router knows of no such subscription any more */
    expect_number(&s, 1);
    fake_hear_nothing(f);
}

static void test_letting_go_meanwhile(void **state)
{
    const enum bus_status second[] = {BUS_STATUS_OK, BUS_STATUS_UNKNOWN_SUBSCRIPTION};

    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        struct fake *f = fake_new(((struct fake *) *state)->seqpacket);
        struct seen s;
        struct bus_sub *sub = start(&s, f, on_message);

        assert_int_equal(bus_sub_drain(sub, on_drained), 0);
        bus_sub_unref(sub);
        hear_drain(f);
        hear_end(f);
        say_end(f, BUS_STATUS_OK);
        assert_int_equal(fake_settle(f), 0);
        expect_number(&s, 2);
        say_end(f, second[i]);
        assert_int_equal(fake_settle(f), 0);
        expect_number(&s, 1);
        assert_string_equal(s.log, "");
        fake_free(f);
    }
}

static void test_ending_it_in_the_callback(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained_unref), 0);
    say_end(f, BUS_STATUS_OK);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "u0 ");
    hear_drain(f);
    expect_number(&s, 1);
}

static void test_closing_in_the_callback(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained_close), 0);
    say_end(f, BUS_STATUS_OK);
    fake_send(f);
    assert_int_equal(bus_process(f->conn), -ENOTCONN);
    assert_string_equal(s.log, "c0 ");
}

static void test_a_router_without_memory(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained), 0);
    say_end(f, BUS_STATUS_NO_MEMORY);
    fake_say_message(f, 1, 1, "x", 1); /* it goes on */
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "d13 m1 ");
    assert_int_equal(bus_sub_drain(sub, NULL), 0);
    say_end(f, BUS_STATUS_OK);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "d13 m1 ");
    hear_drain(f);
    hear_drain(f);
    bus_sub_unref(sub);
    fake_hear_nothing(f);
}

static void test_what_was_refused_cannot_drain(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_sub *sub, *other;

    fake_start(f);
    sub = subscribe(&s, "a", on_message);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_SUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_sub_drain(sub, on_drained), -EINVAL);
    /* before the refusal is known */
    other = subscribe(&s, "b", on_message);
    assert_int_equal(bus_sub_drain(other, on_drained), 0);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_SUBSCRIBE, 0, 2, 0);
    fake_say_status(f, BUS_STATUS_UNKNOWN_SUBSCRIPTION, VERB_UNSUBSCRIBE, 0, 2, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "r10 r10 d9 ");
    assert_int_equal(bus_sub_drain(other, on_drained), -EINVAL);
    bus_sub_unref(other);
    bus_sub_unref(sub);
}

static void test_the_end_of_the_connection(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message), *other = subscribe(&s, "b", on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained_unref), 0);
    assert_int_equal(bus_sub_drain(other, on_drained), 0);
    fake_hang_up(f);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_string_equal(s.log, "u24 d24 ");
    assert_int_equal(bus_sub_drain(other, on_drained), -ENOTCONN);
    assert_int_equal(bus_drain(f->conn, 0), -ENOTCONN);
}

static void test_closing_when_the_connection_ends(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message), *other = subscribe(&s, "b", on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained_close), 0);
    assert_int_equal(bus_sub_drain(other, on_drained), 0);
    fake_hang_up(f);
    while (f->conn && bus_process(f->conn) >= 0) {
    }
    assert_string_equal(s.log, "c24 ");
}

static void test_answers_that_nobody_asked_for(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    assert_int_equal(bus_sub_drain(sub, on_drained), 0);
    say_end(f, BUS_STATUS_OK);
    say_end(f, BUS_STATUS_OK);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
}

static void test_want_of_memory(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);
    int r = -ENOMEM;

    FOR_EACH_FAILING_MALLOC (n) {
        if (r == -ENOMEM) {
            r = bus_sub_drain(sub, on_drained);
        }
    }
    assert_int_equal(r, 0);
    hear_drain(f);
    fake_hear_nothing(f);
}

/* ---- all of them ---- */

static void test_draining_a_connection(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_sub *sub = start(&s, f, on_message);

    assert_int_equal(bus_drain(f->conn, 0), -ETIMEDOUT);
    hear_drain(f);
    fake_say_message(f, 1, 1, "x", 1);
    fake_send(f);
    assert_int_equal(bus_drain(f->conn, 0), -ETIMEDOUT);
    fake_hear_nothing(f); /* it is draining */
    say_end(f, BUS_STATUS_OK);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 ");
    fake_say(f, VERB_PONG, &(struct wire_pong){1}); /* to be read behind the PING */
    fake_send(f);
    assert_int_equal(bus_drain(f->conn, -1), 0);
    assert_int_equal(fake_hear(f, VERB_PING).ping.token, 1);
    fake_hear_nothing(f);
    bus_sub_unref(sub);
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    (void) conn;
    note(userdata, "a", reply->status);
}

static void test_it_waits_for_requests(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct wire_done done = {.call = 1, .status = BUS_STATUS_TIMEOUT};

    fake_start(f);
    assert_int_equal(bus_request(f->conn, "a", NULL, 0, NULL, on_reply, &s, NULL), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_REQUEST);
    assert_int_equal(bus_drain(f->conn, 0), -ETIMEDOUT);
    fake_hear_nothing(f); /* no PING before that */
    fake_say(f, VERB_DONE, &done);
    fake_send(f);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "a20 ");
    fake_say(f, VERB_PONG, &(struct wire_pong){1});
    fake_send(f);
    assert_int_equal(bus_drain(f->conn, -1), 0);
    assert_int_equal(fake_hear(f, VERB_PING).ping.token, 1);
}

/* Only packets are read one by one, so that the PONG is read behind the PING. */
static void test_a_router_that_cannot_drain_all(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, on_message);
    say_end(f, BUS_STATUS_NO_MEMORY);
    fake_send(f);
    fake_say(f, VERB_PONG, &(struct wire_pong){1});
    fake_send(f);
    assert_int_equal(bus_drain(f->conn, -1), -ENOMEM);
    hear_drain(f);
    (void) fake_hear(f, VERB_PING);
    say_end(f, BUS_STATUS_OK); /* the next time it can */
    fake_send(f);
    fake_say(f, VERB_PONG, &(struct wire_pong){2});
    fake_send(f);
    assert_int_equal(bus_drain(f->conn, -1), 0);
}

/* ---- the router stops ---- */

static void on_stopping(struct bus_conn *conn, uint32_t deadline_ms, void *userdata)
{
    struct fake *f = userdata;

    assert_ptr_equal(conn, f->conn);
    f->n_status += deadline_ms;
}

static void test_stopping_is_told_to_those_who_asked(void **state)
{
    struct fake *f = *state;

    f->opts.on_stopping = on_stopping;
    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), 0);
    fake_accept(f);
    assert_int_equal(fake_hear(f, VERB_HELLO).hello.features, FEATURE_BUFFERS | FEATURE_STOPPING);
    fake_welcome(f);
    fake_say(f, VERB_STOPPING, &(struct wire_stopping){1500});
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1500);
}

static void test_stopping_is_told_to_nobody_else(void **state)
{
    struct fake *f = *state;

    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), 0);
    fake_accept(f);
    assert_int_equal(fake_hear(f, VERB_HELLO).hello.features & FEATURE_STOPPING, 0);
    fake_welcome(f);
    fake_say(f, VERB_STOPPING, &(struct wire_stopping){1500});
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_what_waits_comes_first),
        ON_BOTH_LINKS(test_letting_go_meanwhile),
        ON_BOTH_LINKS(test_ending_it_in_the_callback),
        ON_BOTH_LINKS(test_closing_in_the_callback),
        ON_BOTH_LINKS(test_a_router_without_memory),
        ON_BOTH_LINKS(test_what_was_refused_cannot_drain),
        ON_BOTH_LINKS(test_the_end_of_the_connection),
        ON_BOTH_LINKS(test_closing_when_the_connection_ends),
        ON_BOTH_LINKS(test_answers_that_nobody_asked_for),
        ON_BOTH_LINKS(test_want_of_memory),
        ON_BOTH_LINKS(test_draining_a_connection),
        ON_BOTH_LINKS(test_it_waits_for_requests),
        {"test_a_router_that_cannot_drain_all@seqpacket", test_a_router_that_cannot_drain_all,
         fake_set_up_seqpacket, fake_tear_down, NULL},
        ON_BOTH_LINKS(test_stopping_is_told_to_those_who_asked),
        ON_BOTH_LINKS(test_stopping_is_told_to_nobody_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
