/* SPDX-License-Identifier: MIT */
/* Requests and calls in the client library, against a router that says what the test wants. */
#include <bus/request.h>
#include <sys/wait.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_fake.h"

/* What callbacks have seen, as one line of text, and what they are to do. */
struct seen {
    struct fake *f;
    char log[512];
    struct bus_request *request;
    struct bus_call *call; /* the last */
    struct bus_sub *server;
    struct bus_message *kept;
    void (*act)(struct seen *s); /* in the callback */
};

static void note(struct seen *s, const char *format, ...)
{
    size_t len = strlen(s->log);
    va_list args;

    va_start(args, format);
    (void) vsnprintf(s->log + len, sizeof(s->log) - len, format, args);
    va_end(args);
}

static void act(struct seen *s)
{
    void (*fn)(struct seen * s) = s->act;

    s->act = NULL;
    if (fn) {
        fn(s);
    }
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct seen *s = userdata;

    assert_ptr_equal(conn, s->f->conn);
    if (reply->message) {
        note(s, "%.*s", (int) bus_message_bytes(reply->message),
             (const char *) bus_message_data(reply->message));
        assert_string_equal(bus_message_topic(reply->message), "a/b");
        assert_string_equal(bus_message_sender(reply->message)->name, "peer");
        assert_int_equal(bus_message_sequence(reply->message), 0);
    } else {
        note(s, "status=%d", (int) reply->status);
    }
    if (reply->error) {
        note(s, " error=%u", reply->error);
    }
    if (reply->part) {
        note(s, " part=%u", reply->part);
    }
    if (reply->replied + reply->gone + reply->timed_out > 0) {
        note(s, " %u/%u/%u", reply->replied, reply->gone, reply->timed_out);
    }
    note(s, reply->more ? ", " : ". ");
    act(s);
}

static void on_call(struct bus_call *call, void *userdata)
{
    struct seen *s = userdata;
    const struct bus_message *m = bus_call_message(call);

    note(s, "call(%s %.*s %u) ", bus_message_topic(m), (int) bus_message_bytes(m),
         (const char *) bus_message_data(m), bus_call_timeout_ms(call));
    s->call = call;
    act(s);
}

static void on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct seen *s = userdata;

    assert_true(bus_call_is_cancelled(call));
    note(s, "cancel(%d) ", (int) reason);
    act(s);
}

static void expect(struct seen *s, const char *log)
{
    assert_string_equal(s->log, log);
    s->log[0] = '\0';
}

static void start(struct seen *s, struct fake *f)
{
    *s = (struct seen){.f = f};
    fake_start(f);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    assert_int_equal(fake_settle(f), 0);
}

/* A request that the router has got; its number. */
static uint32_t ask(struct seen *s, uint32_t flags)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct frame frame;
    union wire_any m;

    opts.flags = flags;
    assert_int_equal(bus_request(s->f->conn, "a/b", "q", 1, &opts, on_reply, s, &s->request), 0);
    do {
        assert_true(fake_next(s->f, &frame, &m));
    } while (frame.verb == VERB_ADVERTISE);
    assert_int_equal(frame.verb, VERB_REQUEST);
    return m.request.call;
}

static void say_answer(struct fake *f, uint32_t call, uint32_t part, uint32_t flags,
                       const char *body)
{
    struct wire_answer m = {.call = call, .part = part, .sender = 1, .time = 5, .flags = flags};

    fake_say_body(f, VERB_ANSWER, &m, body, strlen(body));
}

static void say_done(struct fake *f, uint32_t call, enum bus_status status)
{
    struct wire_done m = {.call = call, .status = (uint32_t) status, .text = {"why", 3}};

    fake_say(f, VERB_DONE, &m);
}

static void serve(struct seen *s)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    union wire_any m;

    opts.on_cancel = on_cancel;
    opts.calls_max = 7;
    opts.calls_bytes_max = 70;
    assert_int_equal(bus_serve(s->f->conn, "a/+", &opts, on_call, s, &s->server), 0);
    m = fake_hear(s->f, VERB_SUBSCRIBE);
    assert_int_equal(m.subscribe.flags, 32);
    assert_int_equal(m.subscribe.window_messages, 7);
    assert_int_equal(m.subscribe.window_bytes, 70);
    fake_say_status(s->f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, m.subscribe.subscription, 0);
    assert_int_equal(fake_settle(s->f), 0);
}

static void say_call(struct fake *f, uint64_t id, const char *body)
{
    struct wire_call m = {
        .subscription = 1, .topic = 1, .sender = 1, .call = id, .time = 5, .timeout_ms = 1234};

    fake_say_body(f, VERB_CALL, &m, body, strlen(body));
}

static void settle(struct seen *s)
{
    assert_int_equal(fake_settle(s->f), 0);
}

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
    fake_hear_nothing(f);
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

static void act_close(struct seen *s)
{
    bus_close(s->f->conn);
    s->f->conn = NULL;
}

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

/* ---- serving ---- */

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

    start(&s, *state);
    serve(&s);
    say_call(s.f, UINT64_C(1) << 40, "q");
    settle(&s);
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

    start(&s, *state);
    serve(&s);
    say_call(s.f, 5, "q");
    settle(&s);
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

    start(&s, *state);
    serve(&s);
    say_call(s.f, 5, "q");
    settle(&s);
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

    start(&s, *state);
    serve(&s);
    say_call(s.f, 5, "q");
    settle(&s);
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

    start(&s, *state);
    serve(&s);
    say_call(s.f, 5, "q");
    settle(&s);
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

/* ---- routers that break the protocol ---- */

static void expect_violation(struct seen *s)
{
    assert_int_equal(fake_settle(s->f), -ENOTCONN);
    assert_int_equal(s->f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
    assert_int_equal(s->f->n_closed, 1);
}

static void say_answer_unasked(struct fake *f)
{
    say_answer(f, 9, 0, 0, "x");
}

static void say_answer_0(struct fake *f)
{
    say_answer(f, 0, 0, 0, "x");
}

static void say_answer_huge(struct fake *f)
{
    say_answer(f, UINT32_MAX, 0, 0, "x");
}

static void say_answer_of_nobody(struct fake *f)
{
    struct wire_answer m = {.call = 1, .sender = 9};

    fake_say(f, VERB_ANSWER, &m);
}

static void say_answer_in_no_buffer(struct fake *f)
{
    struct wire_answer m = {.call = 1, .sender = 1, .buffer = 4, .bytes = 100, .lease = 1};

    fake_say(f, VERB_ANSWER, &m);
}

static void say_answer_twice(struct fake *f)
{
    say_answer(f, 1, 0, 0, "x");
    say_answer(f, 1, 0, 0, "x");
}

static void say_done_unasked(struct fake *f)
{
    say_done(f, 9, BUS_STATUS_TIMEOUT);
}

static void say_done_ok_of_one(struct fake *f)
{
    say_done(f, 1, BUS_STATUS_OK);
}

static void say_call_of_no_server(struct fake *f)
{
    struct wire_call m = {.subscription = 9, .topic = 1, .sender = 1, .call = 1};

    fake_say(f, VERB_CALL, &m);
}

static void say_call_of_a_subscription(struct fake *f)
{
    struct wire_call m = {.subscription = 2, .topic = 1, .sender = 1, .call = 1};

    fake_say(f, VERB_CALL, &m);
}

static void say_call_of_no_topic(struct fake *f)
{
    struct wire_call m = {.subscription = 1, .topic = 9, .sender = 1, .call = 1};

    fake_say(f, VERB_CALL, &m);
}

static void say_call_twice(struct fake *f)
{
    say_call(f, 5, "x");
    say_call(f, 5, "x");
}

static void say_message_for_a_server(struct fake *f)
{
    fake_say_message(f, 1, 1, "x", 1);
}

static void say_cold_message_for_a_server(struct fake *f)
{
    struct wire_header header = {{"a", 1}, {"b", 1}};
    struct wire_message m = {1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, &header, 1};

    fake_say(f, VERB_MESSAGE, &m);
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) message;
    (void) userdata;
}

static void test_violations(void **state)
{
    static void (*const say[])(struct fake *) = {
        say_answer_unasked,
        say_answer_0,
        say_answer_huge,
        say_answer_of_nobody,
        say_answer_in_no_buffer,
        say_answer_twice,
        say_done_unasked,
        say_done_ok_of_one,
        say_call_of_no_server,
        say_call_of_no_topic,
        say_call_of_a_subscription,
        say_call_twice,
        say_message_for_a_server,
        say_cold_message_for_a_server,
    };

    for (size_t i = 0; i < ARRAY_LEN(say); i++) {
        struct fake *f = fake_new(((struct fake *) *state)->seqpacket);
        struct seen s;

        start(&s, f);
        serve(&s);
        assert_int_equal(bus_subscribe(f->conn, "b", NULL, on_message, &s, NULL), 0);
        (void) fake_hear(f, VERB_SUBSCRIBE);
        assert_int_equal(ask(&s, 0), 1);
        say[i](f);
        expect_violation(&s);
        fake_free(f);
    }
}

/* What has no meaning now may have had one when it was sent. */
static void test_what_may_come_too_late(void **state)
{
    struct wire_credit credit = {.call = 99, .messages = UINT32_MAX};
    struct wire_cancel cancel = {99, 99};
    struct wire_status status = {.code = BUS_STATUS_UNKNOWN_CALL, .verb = VERB_REPLY, .call = 99};
    struct seen s;

    start(&s, *state);
    serve(&s);
    fake_say(s.f, VERB_CREDIT, &credit);
    fake_say(s.f, VERB_CANCEL, &cancel);
    fake_say(s.f, VERB_STATUS, &status);
    settle(&s);
    say_call(s.f, 99, "q");
    fake_say(s.f, VERB_CREDIT, &credit); /* more than was used */
    settle(&s);
    expect(&s, "call(a/b q 1234) ");
    assert_int_equal(s.f->n_closed, 0);
}

/* ---- without memory ---- */

static void test_asking_and_serving_without_memory(void **state)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct bus_header header = {"a", "b"};
    struct seen s;
    int r = -1;

    start(&s, *state);
    opts.headers = &header;
    opts.n_headers = 1;
    FOR_EACH_FAILING_MALLOC (n) {
        r = bus_request(s.f->conn, "a/b", "x", 1, &opts, on_reply, &s, NULL);
        assert_true(r == 0 || r == -ENOMEM);
    }
    assert_int_equal(r, 0);
    FOR_EACH_FAILING_MALLOC (n) {
        r = bus_serve(s.f->conn, "a/+", NULL, on_call, &s, NULL);
        assert_true(r == 0 || r == -ENOMEM);
    }
    assert_int_equal(r, 0);
    (void) fake_hear(s.f, VERB_ADVERTISE);
    (void) fake_hear(s.f, VERB_REQUEST);
    (void) fake_hear(s.f, VERB_SUBSCRIBE);
    fake_hear_nothing(s.f);
    assert_int_equal(s.f->n_closed, 0);
}

static void keep(struct seen *s)
{
    s->kept = s->call ? bus_message_ref(bus_call_message(s->call)) : NULL; /* or it is the end */
}

/* A whole conversation of both kinds: whatever fails, the connection ends cleanly or goes on. */
static bool converse(bool seqpacket, unsigned long n)
{
    struct fake *f = fake_new(seqpacket);
    struct bus_reply_opts more = BUS_REPLY_OPTS_INIT;
    unsigned long failed;
    struct seen s;
    uint32_t number;
    int r;

    start(&s, f);
    serve(&s);
    number = ask(&s, 0);
    say_call(f, 5, "q");
    say_call(f, 6, "r");
    say_answer(f, number, 0, 1, "one");
    say_answer(f, number, 0, 0, "two");
    s.act = keep;
    failmalloc_arm(n);
    r = fake_settle(f);
    more.flags = BUS_REPLY_MORE;
    if (r == 0 && s.call) {
        (void) bus_call_reply(s.call, "x", 1, &more);
        bus_call_drop(s.call);
        r = fake_settle(f);
    }
    failed = failmalloc_disarm();
    assert_true(r == 0 || r == -ENOTCONN);
    assert_int_equal(f->n_closed, r != 0);
    bus_message_unref(s.kept);
    fake_free(f);
    return failed > 0;
}

static void test_conversing_without_memory(void **state)
{
    (void) state;
    for (unsigned k = 0; k < 2; k++) {
        unsigned long n = 1;

        while (converse(k == 0, n)) {
            n++;
        }
        assert_true(n > 5);
    }
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
        ON_BOTH_LINKS(test_violations),
        ON_BOTH_LINKS(test_what_may_come_too_late),
        ON_BOTH_LINKS(test_asking_and_serving_without_memory),
        cmocka_unit_test(test_conversing_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
