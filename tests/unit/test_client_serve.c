/* SPDX-License-Identifier: MIT */
/* Servers and calls in the client library, against a router that says what the test wants. */
#include <sys/wait.h>
#include "client/conn.h"
#include "unit/test_client_asked.h"

/* ---- serving ---- */

/* Serves a/b, and has got a call. */
static void start_with_call(struct seen *s, struct fake *f, uint64_t call)
{
    start(s, f);
    serve(s);
    say_call(s->f, call, "q");
    settle(s);
}

static void test_arguments_of_servers(void **state)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    struct bus_reply_opts reply = BUS_REPLY_OPTS_INIT;
    struct seen s;

    start(&s, *state);
    assert_int_equal(bus_serve(s.f->conn, "a", NULL, NULL, &s, NULL), -EINVAL);
    assert_int_equal(bus_serve(s.f->conn, "a#", NULL, on_call, &s, NULL), -EINVAL);
    assert_int_equal(bus_serve(s.f->conn, NULL, NULL, on_call, &s, NULL), -EINVAL);
    opts.flags = BUS_SUB_NO_LOCAL;
    assert_int_equal(bus_serve(s.f->conn, "a", &opts, on_call, &s, NULL), -EINVAL);
    opts.flags = 0;
    opts.size--;
    assert_int_equal(bus_serve(s.f->conn, "a", &opts, on_call, &s, NULL), -EINVAL);
    fake_hear_nothing(s.f);
    serve(&s);
    say_call(s.f, 77, "q");
    settle(&s);
    expect(&s, "call(a/b q 1234) ");
    assert_int_equal(bus_call_reply(s.call, NULL, 1, NULL), -EINVAL);
    assert_int_equal(bus_call_reply(s.call, "x", 3u << 20, NULL), -EMSGSIZE);
    reply.flags = 2;
    assert_int_equal(bus_call_reply(s.call, "", 0, &reply), -EINVAL);
    reply.flags = 0;
    reply.error = BUS_ERROR_DROPPED;
    assert_int_equal(bus_call_reply(s.call, "", 0, &reply), -EINVAL);
    assert_int_equal(bus_call_fail(s.call, BUS_ERROR_DROPPED, "x"), -EINVAL);
    assert_int_equal(bus_call_fail(s.call, 0, "x"), -EINVAL);
    assert_int_equal(bus_call_fail(s.call, 1, NULL), -EINVAL);
    reply.error = 0;
    reply.n_headers = 1;
    assert_int_equal(bus_call_reply(s.call, "", 0, &reply), -EINVAL);
    bus_call_drop(NULL);
    fake_hear_nothing(s.f);
}

static void test_replies_on_the_wire(void **state)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;
    struct bus_header header = {"k", "v"};
    struct frame frame;
    union wire_any m;
    struct seen s;

    start_with_call(&s, *state, UINT64_C(1) << 40);
    opts.flags = BUS_REPLY_MORE;
    opts.headers = &header;
    opts.n_headers = 1;
    assert_int_equal(bus_call_reply(s.call, "one", 3, &opts), 0);
    m = fake_hear_frame(s.f, VERB_REPLY, &frame);
    assert_int_equal(m.reply.call, UINT64_C(1) << 40);
    assert_int_equal(m.reply.flags, 1);
    assert_int_equal(m.reply.error, 0);
    assert_int_equal(m.reply.n_headers, 1);
    assert_memory_equal(frame.body, "one", 3);
    assert_int_equal(bus_call_fail(s.call, 7, "no"), 0);
    m = fake_hear_frame(s.f, VERB_REPLY, &frame);
    assert_int_equal(m.reply.call, UINT64_C(1) << 40);
    assert_int_equal(m.reply.flags, 0);
    assert_int_equal(m.reply.error, 7);
    assert_memory_equal(frame.body, "no", 2);
    say_call(s.f, 5, "r");
    settle(&s);
    bus_call_drop(s.call);
    m = fake_hear(s.f, VERB_REPLY);
    assert_int_equal(m.reply.call, 5);
    assert_int_equal(m.reply.error, BUS_ERROR_DROPPED);
    fake_hear_nothing(s.f);
}

static void test_no_more_than_64_replies_ahead(void **state)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;
    struct wire_credit credit = {.call = 5, .messages = 10};
    struct wire_cancel cancel = {5, BUS_STATUS_TIMEOUT};
    struct seen s;

    start_with_call(&s, *state, 5);
    opts.flags = BUS_REPLY_MORE;
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(bus_call_reply(s.call, "", 0, &opts), 0);
    }
    assert_int_equal(bus_call_reply(s.call, "", 0, &opts), -EAGAIN);
    settle(&s);
    assert_int_equal(s.f->n_writable, 0);
    assert_int_equal(bus_wait_writable(s.f->conn, 0), -ETIMEDOUT);
    fake_say(s.f, VERB_CREDIT, &credit);
    fake_send(s.f);
    assert_int_equal(bus_wait_writable(s.f->conn, 1000), 0);
    assert_int_equal(s.f->n_writable, 1);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(bus_call_reply(s.call, "", 0, &opts), 0);
    }
    assert_int_equal(bus_call_reply(s.call, "", 0, &opts), -EAGAIN);
    fake_say(s.f, VERB_CANCEL, &cancel); /* then it need not wait any more */
    fake_send(s.f);
    assert_int_equal(bus_wait_writable(s.f->conn, 1000), 0);
    assert_int_equal(s.f->n_writable, 2);
    assert_int_equal(bus_call_reply(s.call, "", 0, &opts), 0);
    assert_int_equal(bus_call_reply(s.call, "", 0, NULL), 0);
    expect(&s, "call(a/b q 1234) cancel(20) ");
    for (unsigned i = 0; i < 74; i++) {
        (void) fake_hear(s.f, VERB_REPLY);
    }
    fake_hear_nothing(s.f);
}

static void test_the_last_reply_needs_no_credit(void **state)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;
    struct seen s;

    start_with_call(&s, *state, 5);
    opts.flags = BUS_REPLY_MORE;
    while (bus_call_reply(s.call, "", 0, &opts) == 0) {
        continue;
    }
    assert_int_equal(bus_call_reply(s.call, "", 0, NULL), 0);
    assert_int_equal(bus_wait_writable(s.f->conn, 0), 0); /* it waits for nothing */
}

static void test_cancelled_calls(void **state)
{
    struct wire_cancel m = {5, BUS_STATUS_CANCELLED};
    struct seen s;

    start(&s, *state);
    serve(&s);
    say_call(s.f, 5, "q");
    fake_say(s.f, VERB_CANCEL, &m);
    fake_say(s.f, VERB_CANCEL, &m); /* twice means nothing */
    m.call = 6;
    fake_say(s.f, VERB_CANCEL, &m); /* nor does one that is not open */
    settle(&s);
    expect(&s, "call(a/b q 1234) cancel(21) ");
    assert_int_equal(bus_call_is_cancelled(s.call), 1);
    assert_int_equal(bus_call_reply(s.call, "x", 1, NULL), 0);
    fake_hear_nothing(s.f);
}

static void test_refused_replies(void **state)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;
    struct wire_status m = {.code = BUS_STATUS_UNKNOWN_CALL, .verb = VERB_REPLY, .call = 5};
    struct seen s;

    start_with_call(&s, *state, 5);
    assert_int_equal(bus_call_reply(s.call, "x", 1, NULL), 0);
    (void) fake_hear(s.f, VERB_REPLY);
    fake_say(s.f, VERB_STATUS, &m); /* it had just ended */
    settle(&s);
    assert_int_equal(s.f->n_status, 0);
    fake_hear_nothing(s.f);
    m.code = BUS_STATUS_LIMIT; /* nobody has answered, then: libbus does */
    fake_say(s.f, VERB_STATUS, &m);
    settle(&s);
    assert_int_equal(s.f->n_status, 1);
    assert_int_equal(fake_hear(s.f, VERB_REPLY).reply.error, BUS_ERROR_DROPPED);
    say_call(s.f, 6, "q");
    settle(&s);
    opts.flags = BUS_REPLY_MORE;
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(bus_call_reply(s.call, "", 0, &opts), 0);
        (void) fake_hear(s.f, VERB_REPLY);
    }
    m.call = 6;
    fake_say(s.f, VERB_STATUS, &m); /* one of several: its credit is given back */
    settle(&s);
    fake_hear_nothing(s.f);
    assert_int_equal(bus_call_reply(s.call, "", 0, &opts), 0);
    assert_int_equal(bus_call_reply(s.call, "", 0, &opts), -EAGAIN);
}

static void act_unref(struct seen *s)
{
    bus_sub_unref(s->server);
}

static void act_reply(struct seen *s)
{
    assert_int_equal(bus_call_reply(s->call, "r", 1, NULL), 0);
}

static void act_drop(struct seen *s)
{
    bus_call_drop(s->call);
}

static void test_ending_a_server_in_a_call(void **state)
{
    struct seen s;

    start(&s, *state);
    serve(&s);
    s.act = act_unref;
    say_call(s.f, 5, "q");
    say_call(s.f, 6, "never");
    settle(&s);
    expect(&s, "call(a/b q 1234) ");
    assert_int_equal(bus_call_is_cancelled(s.call), 1);
    assert_string_equal(bus_message_topic(bus_call_message(s.call)), "a/b"); /* it is kept */
    assert_int_equal(bus_call_reply(s.call, "x", 1, NULL), 0);
    (void) fake_hear(s.f, VERB_UNSUBSCRIBE);
    fake_hear_nothing(s.f);
    fake_say_status(s.f, BUS_STATUS_OK, VERB_UNSUBSCRIBE, 0, 1, 0);
    settle(&s);
}

static void test_answering_and_dropping_in_callbacks(void **state)
{
    struct wire_cancel m = {6, BUS_STATUS_TIMEOUT};
    struct seen s;

    start(&s, *state);
    serve(&s);
    s.act = act_reply;
    say_call(s.f, 5, "q");
    settle(&s);
    (void) fake_hear(s.f, VERB_REPLY);
    say_call(s.f, 6, "r");
    settle(&s);
    s.act = act_drop;
    fake_say(s.f, VERB_CANCEL, &m);
    settle(&s);
    fake_hear_nothing(s.f);
    assert_null(s.f->conn->calls);
}

static void test_closing_with_calls_and_requests(void **state)
{
    struct seen s;

    start(&s, *state);
    serve(&s);
    (void) ask(&s, 0);
    (void) ask(&s, BUS_REQUEST_ALL);
    say_call(s.f, 5, "q");
    s.act = act_close;
    say_call(s.f, 6, "r");
    fake_send(s.f);
    (void) bus_process(s.f->conn); /* closes in the first call; nothing leaks or is called */
    assert_null(s.f->conn);
    expect(&s, "call(a/b q 1234) ");
}

static void test_calls_when_the_connection_ends(void **state)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;
    struct seen s;

    start_with_call(&s, *state, 5);
    opts.flags = BUS_REPLY_MORE;
    fake_hang_up(s.f);
    assert_int_equal(fake_settle(s.f), -ENOTCONN);
    expect(&s, "call(a/b q 1234) ");
    assert_int_equal(bus_call_is_cancelled(s.call), 1);
    assert_int_equal(bus_call_reply(s.call, "x", 1, NULL), -ENOTCONN);
    assert_int_equal(bus_call_reply(s.call, "x", 1, &opts), -ENOTCONN);
    assert_memory_equal(bus_message_data(bus_call_message(s.call)), "q", 1);
    bus_call_drop(s.call);
}

static void test_messages_that_are_kept_outlive_everything(void **state)
{
    struct fake *f = fake_new(((struct fake *) *state)->seqpacket);
    struct bus_message *kept;
    struct seen s;

    start(&s, f);
    serve(&s);
    say_call(f, 5, "question");
    settle(&s);
    kept = bus_message_ref(bus_call_message(s.call));
    bus_call_drop(s.call);
    fake_free(f);
    assert_memory_equal(bus_message_data(kept), "question", 8);
    assert_string_equal(bus_message_topic(kept), "a/b");
    bus_message_unref(kept);
}

static void test_a_child_process_uses_none_of_it(void **state)
{
    struct bus_answer answer;
    struct seen s;
    int status;
    pid_t pid;

    start(&s, *state);
    serve(&s);
    (void) ask(&s, 0);
    say_call(s.f, 5, "q");
    settle(&s);
    pid = fork();
    if (pid == 0) {
        struct bus_conn *c = s.f->conn;
        bool ok = bus_request(c, "a/b", "", 0, NULL, on_reply, &s, NULL) == -ECHILD &&
                  bus_request_wait(c, "a/b", "", 0, NULL, &answer) == -ECHILD &&
                  bus_serve(c, "a", NULL, on_call, &s, NULL) == -ECHILD &&
                  bus_call_reply(s.call, "x", 1, NULL) == -ECHILD &&
                  bus_call_fail(s.call, 1, "x") == -ECHILD;

        bus_request_cancel(s.request);
        bus_call_drop(s.call);
        bus_close(c);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fake_hear_nothing(s.f);
    assert_int_equal(bus_call_reply(s.call, "x", 1, NULL), 0);
    (void) fake_hear(s.f, VERB_REPLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_arguments_of_servers),
        ON_BOTH_LINKS(test_replies_on_the_wire),
        ON_BOTH_LINKS(test_no_more_than_64_replies_ahead),
        ON_BOTH_LINKS(test_the_last_reply_needs_no_credit),
        ON_BOTH_LINKS(test_cancelled_calls),
        ON_BOTH_LINKS(test_refused_replies),
        ON_BOTH_LINKS(test_ending_a_server_in_a_call),
        ON_BOTH_LINKS(test_answering_and_dropping_in_callbacks),
        ON_BOTH_LINKS(test_closing_with_calls_and_requests),
        ON_BOTH_LINKS(test_calls_when_the_connection_ends),
        ON_BOTH_LINKS(test_messages_that_are_kept_outlive_everything),
        ON_BOTH_LINKS(test_a_child_process_uses_none_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
