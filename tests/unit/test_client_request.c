/* SPDX-License-Identifier: MIT */
/* Requests in the client library, against a router that says what the test wants. */
#include "client/conn.h"
#include "unit/test_client_asked.h"

/* ---- asking ---- */

static void test_a_request_on_the_wire(void **state)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct bus_header header = {"k", "v"};
    struct frame frame;
    union wire_any m;
    struct seen s;

    start(&s, *state);
    assert_int_equal(bus_request(s.f->conn, "a/b", "what", 4, NULL, on_reply, &s, NULL), 0);
    m = fake_hear(s.f, VERB_ADVERTISE);
    assert_text(m.advertise.topic, "a/b");
    m = fake_hear_frame(s.f, VERB_REQUEST, &frame);
    assert_int_equal(m.request.call, 1);
    assert_int_equal(m.request.alias, 1);
    assert_int_equal(m.request.flags, 0);
    assert_int_equal(m.request.timeout_ms, 30000);
    assert_int_equal(frame.body_bytes, 4);
    assert_memory_equal(frame.body, "what", 4);
    opts.flags = BUS_REQUEST_ALL | BUS_REQUEST_DESCRIPTORS;
    opts.timeout_ms = UINT32_MAX;
    opts.headers = &header;
    opts.n_headers = 1;
    assert_int_equal(bus_request(s.f->conn, "a/b", NULL, 0, &opts, on_reply, &s, NULL), 0);
    m = fake_hear(s.f, VERB_REQUEST);
    assert_int_equal(m.request.call, 2);
    assert_int_equal(m.request.flags, opts.flags);
    assert_int_equal(m.request.timeout_ms, 3600000);
    assert_int_equal(m.request.n_headers, 1);
    assert_text(m.request.headers[0].value, "v");
    assert_int_equal(bus_request(s.f->conn, "$bus/x", NULL, 0, NULL, on_reply, &s, NULL), 0);
    m = fake_hear(s.f, VERB_REQUEST); /* by name: it could not be advertised */
    assert_text(m.request.topic, "$bus/x");
    assert_int_equal(bus_sequence(s.f->conn), 0);
    fake_hear_nothing(s.f);
}

static void test_arguments_of_requests(void **state)
{
    struct fake *f = *state;
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct bus_answer answer;
    struct seen s = {.f = f};
    struct frame frame;
    union wire_any m;
    int fd = -1;

    fake_connect(f);
    assert_int_equal(bus_request(f->conn, "a", "", 0, NULL, on_reply, &s, NULL), -EAGAIN);
    fake_welcome(f);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_request(f->conn, "a", "", 0, NULL, NULL, &s, NULL), -EINVAL);
    assert_int_equal(bus_request(f->conn, NULL, "", 0, NULL, on_reply, &s, NULL), -EINVAL);
    assert_int_equal(bus_request(f->conn, "a/#", "", 0, NULL, on_reply, &s, NULL), -EINVAL);
    assert_int_equal(bus_request(f->conn, "a", NULL, 1, NULL, on_reply, &s, NULL), -EINVAL);
    assert_int_equal(bus_request(f->conn, "a", "x", 3u << 20, NULL, on_reply, &s, NULL), -EMSGSIZE);
    opts.size--;
    assert_int_equal(bus_request(f->conn, "a", "", 0, &opts, on_reply, &s, NULL), -EINVAL);
    opts.size++;
    opts.flags = 4;
    assert_int_equal(bus_request(f->conn, "a", "", 0, &opts, on_reply, &s, NULL), -EINVAL);
    opts.flags = 0;
    opts.n_headers = 1;
    assert_int_equal(bus_request(f->conn, "a", "", 0, &opts, on_reply, &s, NULL), -EINVAL);
    opts.n_headers = 0;
    opts.n_fds = 1;
    assert_int_equal(bus_request(f->conn, "a", "", 0, &opts, on_reply, &s, NULL), -EINVAL);
    opts.fds = &fd;
    assert_int_equal(bus_request(f->conn, "a", "", 0, &opts, on_reply, &s, NULL), -EBADF);
    opts = (struct bus_request_opts) BUS_REQUEST_OPTS_INIT;
    opts.flags = BUS_REQUEST_ALL;
    assert_int_equal(bus_request_wait(f->conn, "a", "", 0, &opts, &answer), -EINVAL);
    bus_request_cancel(NULL);
    while (fake_next(f, &frame, &m)) {
        assert_int_equal(frame.verb, VERB_ADVERTISE); /* an alias may have been made, and no more */
    }
    fake_hang_up(f);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(bus_request(f->conn, "a", "", 0, NULL, on_reply, &s, NULL), -ENOTCONN);
    assert_int_equal(bus_request_wait(f->conn, "a", "", 0, NULL, &answer), -ENOTCONN);
    expect(&s, "");
}

static void test_a_monitor_asks_and_serves_nothing(void **state)
{
    struct seen s;

    start(&s, *state);
    s.f->conn->monitor.on_record = (bus_record_fn) (void (*)(void)) on_reply;
    assert_int_equal(bus_request(s.f->conn, "a", "", 0, NULL, on_reply, &s, NULL), -EBUSY);
    assert_int_equal(bus_serve(s.f->conn, "a", NULL, on_call, &s, NULL), -EBUSY);
    fake_hear_nothing(s.f);
}

static void test_ends_of_requests(void **state)
{
    struct seen s;
    uint32_t n;

    start(&s, *state);
    n = ask(&s, 0);
    say_answer(s.f, n, 0, 0, "yes");
    settle(&s);
    expect(&s, "yes. ");
    n = ask(&s, 0);
    say_done(s.f, n, BUS_STATUS_NO_RESPONDER);
    settle(&s);
    expect(&s, "status=18. ");
    n = ask(&s, 0);
    say_answer(s.f, n, 0, 1, "one");
    say_answer(s.f, n, 0, 1, "two");
    say_done(s.f, n, BUS_STATUS_RESPONDER_GONE);
    settle(&s);
    expect(&s, "one, two, status=19. ");
    say_done(s.f, ask(&s, 0), (enum bus_status) 12345); /* of a later version */
    settle(&s);
    expect(&s, "status=12345. ");
    fake_hear_nothing(s.f);
}

static void test_all_of_several(void **state)
{
    struct wire_done done = {.replied = 2, .gone = 1, .timed_out = 3};
    struct wire_answer m = {.part = 2, .sender = 1, .error = 9};
    union wire_any heard;
    struct seen s;

    start(&s, *state);
    done.call = m.call = ask(&s, BUS_REQUEST_ALL);
    say_answer(s.f, m.call, 3, 1, "x");
    say_answer(s.f, m.call, 3, 0, "y");
    fake_say_body(s.f, VERB_ANSWER, &m, "bad", 3);
    settle(&s);
    expect(&s, "x part=3, y part=3, bad error=9 part=2, ");
    heard = fake_hear(s.f, VERB_CREDIT);
    assert_int_equal(heard.credit.call, m.call);
    assert_int_equal(heard.credit.part, 3);
    assert_int_equal(heard.credit.messages, 1);
    fake_say(s.f, VERB_DONE, &done);
    settle(&s);
    expect(&s, "status=0 2/1/3. ");
    fake_hear_nothing(s.f);
}

static void test_credit_for_streams(void **state)
{
    unsigned messages = 0;
    struct frame frame;
    union wire_any m;
    struct seen s;
    uint32_t n;

    start(&s, *state);
    n = ask(&s, 0);
    for (unsigned i = 0; i < 1000; i++) {
        say_answer(s.f, n, 0, 1, "");
        settle(&s);
        s.log[0] = '\0';
        while (fake_next(s.f, &frame, &m)) {
            assert_int_equal(frame.verb, VERB_CREDIT);
            assert_int_equal(m.credit.call, n);
            messages += m.credit.messages;
        }
        assert_true(i + 1 - messages < 64); /* the server is never at its end */
    }
}

static void test_cancelled_requests_keep_their_number_until_their_end(void **state)
{
    struct seen s;
    uint32_t n;

    start(&s, *state);
    n = ask(&s, 0);
    bus_request_cancel(s.request);
    assert_int_equal(fake_hear(s.f, VERB_CANCEL).cancel.call, n);
    say_answer(s.f, n, 0, 1, "no");
    settle(&s);
    assert_int_not_equal(ask(&s, 0), n);
    say_done(s.f, n, BUS_STATUS_CANCELLED);
    settle(&s);
    expect(&s, "");
    assert_int_equal(ask(&s, 0), n);
    say_answer(s.f, n, 0, 0, "new");
    settle(&s);
    expect(&s, "new. ");
}

static void test_as_many_as_the_router_allows(void **state)
{
    struct seen s;

    start(&s, *state);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(ask(&s, 0), i + 1);
    }
    assert_int_equal(bus_request(s.f->conn, "a/b", "", 0, NULL, on_reply, &s, NULL), -ENOSPC);
    say_answer(s.f, 50, 0, 0, "");
    settle(&s);
    assert_int_equal(ask(&s, 0), 50);
    fake_hang_up(s.f);
    s.log[0] = '\0';
    assert_int_equal(fake_settle(s.f), -ENOTCONN);
    for (unsigned i = 0; i < 46; i++) { /* what of it the log holds */
        assert_memory_equal(s.log + 11 * (size_t) i, "status=24. ", 11);
    }
    assert_int_equal(s.f->n_closed, 1);
}

/* ---- callbacks that do something ---- */

static void act_cancel(struct seen *s)
{
    bus_request_cancel(s->request);
}

static void act_ask_again(struct seen *s)
{
    assert_int_equal(bus_request(s->f->conn, "a/b", "", 0, NULL, on_reply, s, NULL), 0);
}

static void act_process(struct seen *s)
{
    while (bus_process(s->f->conn) > 0) {
        continue;
    }
}

static void act_fail_to_ask(struct seen *s)
{
    assert_int_equal(bus_request(s->f->conn, "a/b", "", 0, NULL, on_reply, s, NULL), -ENOTCONN);
}

static void test_closing_in_a_reply(void **state)
{
    for (unsigned more = 0; more < 2; more++) {
        struct fake *f = fake_new(((struct fake *) *state)->seqpacket);
        struct seen s;
        uint32_t n;

        start(&s, f);
        (void) ask(&s, 0);
        n = ask(&s, 0);
        s.act = act_close;
        say_answer(f, n, 0, more, "bye");
        say_answer(f, n, 0, 0, "never");
        fake_send(f);
        (void) bus_process(f->conn);
        assert_null(f->conn);
        expect(&s, more ? "bye, " : "bye. ");
        fake_free(f);
    }
}

static void test_closing_when_the_connection_ends(void **state)
{
    struct fake *f = fake_new(((struct fake *) *state)->seqpacket);
    struct seen s;

    start(&s, f);
    for (unsigned i = 0; i < 3; i++) {
        (void) ask(&s, 0);
    }
    s.act = act_close;
    fake_hang_up(f);
    while (f->conn) {
        (void) bus_process(f->conn);
    }
    expect(&s, "status=24. ");
    assert_int_equal(f->n_closed, 0);
    fake_free(f);
}

static void test_asking_when_the_connection_ends(void **state)
{
    struct seen s;

    start(&s, *state);
    (void) ask(&s, 0);
    s.act = act_fail_to_ask;
    fake_hang_up(s.f);
    assert_int_equal(fake_settle(s.f), -ENOTCONN);
    expect(&s, "status=24. ");
    assert_int_equal(s.f->n_closed, 1);
}

static void test_cancelling_in_a_reply(void **state)
{
    struct seen s;
    uint32_t n;

    start(&s, *state);
    n = ask(&s, 0);
    s.act = act_cancel;
    say_answer(s.f, n, 0, 1, "one");
    say_answer(s.f, n, 0, 0, "two");
    settle(&s);
    expect(&s, "one, ");
    assert_int_equal(fake_hear(s.f, VERB_CANCEL).cancel.call, n);
    assert_int_equal(ask(&s, 0), n);
}

static void test_asking_again_in_a_reply(void **state)
{
    struct seen s;
    uint32_t n;

    start(&s, *state);
    n = ask(&s, 0);
    s.act = act_ask_again;
    say_answer(s.f, n, 0, 0, "one");
    settle(&s);
    assert_int_equal(fake_hear(s.f, VERB_REQUEST).request.call, n); /* its number was free */
    say_answer(s.f, n, 0, 0, "two");
    settle(&s);
    expect(&s, "one. two. ");
}

static void test_processing_in_a_reply(void **state)
{
    struct seen s;
    uint32_t n, other;

    start(&s, *state);
    n = ask(&s, 0);
    other = ask(&s, 0);
    s.act = act_process;
    say_answer(s.f, n, 0, 1, "one");
    say_answer(s.f, other, 0, 0, "other");
    say_answer(s.f, n, 0, 0, "two");
    settle(&s);
    expect(&s, "one, other. two. ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_a_request_on_the_wire),
        ON_BOTH_LINKS(test_arguments_of_requests),
        ON_BOTH_LINKS(test_a_monitor_asks_and_serves_nothing),
        ON_BOTH_LINKS(test_ends_of_requests),
        ON_BOTH_LINKS(test_all_of_several),
        ON_BOTH_LINKS(test_credit_for_streams),
        ON_BOTH_LINKS(test_cancelled_requests_keep_their_number_until_their_end),
        ON_BOTH_LINKS(test_as_many_as_the_router_allows),
        ON_BOTH_LINKS(test_closing_in_a_reply),
        ON_BOTH_LINKS(test_closing_when_the_connection_ends),
        ON_BOTH_LINKS(test_asking_when_the_connection_ends),
        ON_BOTH_LINKS(test_cancelling_in_a_reply),
        ON_BOTH_LINKS(test_asking_again_in_a_reply),
        ON_BOTH_LINKS(test_processing_in_a_reply),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
