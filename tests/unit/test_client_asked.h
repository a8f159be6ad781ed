/* SPDX-License-Identifier: MIT */
#pragma once
/* Callbacks of requests and calls that write down what they were called with, and what routers say
 * about them. */

#include <bus/request.h>
#include <stdarg.h>
#include "client/conn.h"
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

static inline void note(struct seen *s, const char *format, ...)
{
    size_t len = strlen(s->log);
    va_list args;

    va_start(args, format);
    (void) vsnprintf(s->log + len, sizeof(s->log) - len, format, args);
    va_end(args);
}

static inline void act(struct seen *s)
{
    void (*fn)(struct seen * s) = s->act;

    s->act = NULL;
    if (fn) {
        fn(s);
    }
}

static inline void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
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

static inline void on_call(struct bus_call *call, void *userdata)
{
    struct seen *s = userdata;
    const struct bus_message *m = bus_call_message(call);

    note(s, "call(%s %.*s %u) ", bus_message_topic(m), (int) bus_message_bytes(m),
         (const char *) bus_message_data(m), bus_call_timeout_ms(call));
    s->call = call;
    act(s);
}

static inline void on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct seen *s = userdata;

    assert_true(bus_call_is_cancelled(call));
    note(s, "cancel(%d) ", (int) reason);
    act(s);
}

static inline void expect(struct seen *s, const char *log)
{
    assert_string_equal(s->log, log);
    s->log[0] = '\0';
}

static inline void start(struct seen *s, struct fake *f)
{
    *s = (struct seen){.f = f};
    fake_start(f);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    assert_int_equal(fake_settle(f), 0);
}

/* A request that the router has got; its number. */
static inline uint32_t ask(struct seen *s, uint32_t flags)
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

static inline void say_answer(struct fake *f, uint32_t call, uint32_t part, uint32_t flags,
                              const char *body)
{
    struct wire_answer m = {.call = call, .part = part, .sender = 1, .time = 5, .flags = flags};

    fake_say_body(f, VERB_ANSWER, &m, body, strlen(body));
}

static inline void say_done(struct fake *f, uint32_t call, enum bus_status status)
{
    struct wire_done m = {.call = call, .status = (uint32_t) status, .text = {"why", 3}};

    fake_say(f, VERB_DONE, &m);
}

static inline void serve(struct seen *s)
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

static inline void say_call(struct fake *f, uint64_t id, const char *body)
{
    struct wire_call m = {
        .subscription = 1, .topic = 1, .sender = 1, .call = id, .time = 5, .timeout_ms = 1234};

    fake_say_body(f, VERB_CALL, &m, body, strlen(body));
}

static inline void settle(struct seen *s)
{
    assert_int_equal(fake_settle(s->f), 0);
}

static inline void act_close(struct seen *s)
{
    bus_close(s->f->conn);
    s->f->conn = NULL;
}
