/* SPDX-License-Identifier: MIT */
/* Requests and calls in the client library, when the router breaks the protocol, without memory,
 * and at random. */
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_asked.h"

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

/* ---- at random ---- */

#define DICE_REQUESTS 64u
#define DICE_CALLS 16u

struct dice_request {
    struct dice *dice;
    struct bus_request *request;
    bool is_over; /* ended or cancelled: not to be heard of again */
};

/* A router that says anything, and an application that does anything in its callbacks. */
struct dice {
    struct fake *f;
    struct rng rng;
    struct dice_request requests[DICE_REQUESTS];
    unsigned n_requests;
    struct bus_call *calls[DICE_CALLS];
    struct bus_sub *servers[2];
    unsigned depth;
};

static uint32_t throw(struct dice * d, uint32_t n)
{
    return (uint32_t) (rng_u64(&d->rng) % n);
}

static void dice_act(struct dice *d);

static void dice_on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct dice_request *r = userdata;

    (void) conn;
    assert_false(r->is_over);
    r->is_over = !reply->more;
    dice_act(r->dice);
}

static void dice_ask(struct dice *d)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct dice_request *r = &d->requests[d->n_requests];

    opts.flags = throw(d, 2);
    if (d->n_requests < DICE_REQUESTS) {
        *r = (struct dice_request){.dice = d};
        d->n_requests +=
            bus_request(d->f->conn, "a/b", "x", 1, &opts, dice_on_reply, r, &r->request) == 0;
    }
}

static void dice_cancel(struct dice *d)
{
    struct dice_request *r = &d->requests[throw(d, DICE_REQUESTS)];

    if (r->request && !r->is_over) {
        r->is_over = true;
        bus_request_cancel(r->request);
    }
}

static void dice_reply(struct dice *d)
{
    struct bus_call **call = &d->calls[throw(d, DICE_CALLS)];
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;

    opts.flags = throw(d, 2);
    if (!*call) {
        return;
    }
    if (throw(d, 3) == 0) {
        bus_call_drop(TAKE(*call));
    } else if (bus_call_reply(*call, "y", 1, &opts) == 0 && opts.flags == 0) {
        *call = NULL;
    }
}

/* The last thing: nothing of the connection may be used after it. */
static void dice_close(struct dice *d)
{
    memset(d->calls, 0, sizeof(d->calls));
    bus_close(TAKE(d->f->conn));
}

static void dice_act(struct dice *d)
{
    unsigned i;

    if (!d->f->conn || d->depth > 2) {
        return;
    }
    d->depth++;
    switch (throw(d, 12)) {
    case 0:
    case 1:
        dice_ask(d);
        break;
    case 2:
        dice_cancel(d);
        break;
    case 3:
    case 4:
    case 5:
        dice_reply(d);
        break;
    case 6:
        i = throw(d, 2);
        bus_sub_unref(TAKE(d->servers[i]));
        break;
    case 7:
        (void) bus_process(d->f->conn);
        break;
    case 8:
        if (throw(d, 20) == 0) {
            dice_close(d);
        }
        break;
    }
    d->depth--;
}

static void dice_on_call(struct bus_call *call, void *userdata)
{
    struct dice *d = userdata;
    unsigned i = throw(d, DICE_CALLS);

    bus_call_drop(d->calls[i]);
    d->calls[i] = call;
    dice_act(d);
}

static void dice_on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    (void) reason;
    assert_true(bus_call_is_cancelled(call));
    dice_act(userdata);
}

/* What it says is mostly in order: routers that are not do not last long. */
static void dice_say(struct dice *d)
{
    struct wire_status status = {.code = throw(d, 25), .verb = VERB_REPLY, .call = throw(d, 30)};
    struct wire_credit credit = {.call = throw(d, 30), .messages = throw(d, 100)};
    struct wire_cancel cancel = {throw(d, 30), throw(d, 25)};
    uint32_t number = 1 + throw(d, 8);

    if (!bus__table_get(&d->f->conn->requests, number) && throw(d, 50) > 0) {
        number = 0;
    }
    switch (throw(d, 8)) {
    case 0:
    case 1:
        if (number) {
            say_answer(d->f, number, throw(d, 3), throw(d, 3) > 0, "z");
        }
        break;
    case 2:
        if (number) {
            say_done(d->f, number, (enum bus_status)(1 + throw(d, 24)));
        }
        break;
    case 3:
    case 4:
        say_call(d->f, throw(d, 200), "q");
        break;
    case 5:
        fake_say(d->f, VERB_CANCEL, &cancel);
        break;
    case 6:
        fake_say(d->f, VERB_CREDIT, &credit);
        break;
    case 7:
        fake_say(d->f, VERB_STATUS, &status);
        break;
    }
}

static void dice_start(struct dice *d)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;

    fake_start(d->f);
    fake_bind(d->f, 1, "a/b");
    fake_bind_peer(d->f, 1, "peer");
    assert_int_equal(fake_settle(d->f), 0);
    opts.on_cancel = dice_on_cancel;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(bus_serve(d->f->conn, "a/b", &opts, dice_on_call, d, &d->servers[i]), 0);
    }
}

static void dice_play(struct dice *d)
{
    for (unsigned i = 0; i < 200 && d->f->conn && d->f->n_closed == 0; i++) {
        dice_act(d);
        if (!d->f->conn) {
            return;
        }
        dice_say(d);
        if (throw(d, 3) == 0) {
            (void) send(d->f->fd, d->f->out, d->f->out_len, MSG_NOSIGNAL);
            d->f->out_len = 0;
            (void) bus_process(d->f->conn);
        }
        while (fake_read(d->f)) { /* what the client says does not matter */
            d->f->in_len = d->f->in_pos = 0;
        }
    }
}

static void test_anything_may_happen_in_any_order(void **state)
{
    struct rng rng = rng_from_env();
    unsigned n_over = 0;

    (void) state;
    for (unsigned i = 0; i < 2000; i++) {
        struct dice d = {.f = fake_new(i % 2), .rng = rng};

        dice_start(&d);
        dice_play(&d);
        for (unsigned k = 0; k < d.n_requests; k++) {
            n_over += d.requests[k].is_over;
        }
        rng = d.rng;
        fake_free(d.f);
    }
    assert_true(n_over > 1000); /* it was worth the while */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_violations),
        ON_BOTH_LINKS(test_what_may_come_too_late),
        ON_BOTH_LINKS(test_asking_and_serving_without_memory),
        cmocka_unit_test(test_conversing_without_memory),
        cmocka_unit_test(test_anything_may_happen_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
