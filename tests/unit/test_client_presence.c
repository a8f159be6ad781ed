/* SPDX-License-Identifier: MIT */
/* Wills, interest, silence and events in the library. */
#include <bus/events.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_seen.h"
#include "wire/events.h"

static void on_interest(struct bus_topic *topic, uint32_t subscriptions, void *userdata)
{
    note(userdata, "i", subscriptions);
    assert_int_equal(bus_topic_subscriptions(topic), subscriptions);
    if (subscriptions == 99) {
        bus_topic_unref(topic);
    }
}

/* ---- wills ---- */

static void test_will_frame(void **state)
{
    const struct bus_header headers[] = {{"h", "v"}, {"h", ""}};
    struct bus_will_opts opts = BUS_WILL_OPTS_INIT;
    struct fake *f = *state;
    struct frame frame;
    union wire_any m;

    fake_start(f);
    assert_int_equal(bus_will(f->conn, "a/b", "body", 4, NULL), 0);
    m = fake_hear_frame(f, VERB_WILL, &frame);
    assert_text(m.will.topic, "a/b");
    assert_int_equal(m.will.flags, 0);
    assert_int_equal(m.will.delay_ms, 0);
    assert_int_equal(m.will.n_headers, 0);
    assert_int_equal(frame.body_bytes, 4);
    assert_memory_equal(frame.body, "body", 4);
    opts.delay_ms = 7;
    opts.headers = headers;
    opts.n_headers = 2;
    assert_int_equal(bus_will(f->conn, "a/b", NULL, 0, &opts), 0);
    m = fake_hear_frame(f, VERB_WILL, &frame);
    assert_int_equal(m.will.delay_ms, 7);
    assert_int_equal(m.will.n_headers, 2);
    assert_text(m.will.headers[0].name, "h");
    assert_text(m.will.headers[0].value, "v");
    assert_int_equal(frame.body_bytes, 0);
    assert_int_equal(bus_will_clear(f->conn, "a/b"), 0);
    m = fake_hear_frame(f, VERB_WILL, &frame);
    assert_int_equal(m.will.flags, 1);
    assert_text(m.will.topic, "a/b");
    assert_int_equal(bus_sequence(f->conn), 0); /* it is no publish */
}

static void test_will_arguments(void **state)
{
    static char body[65537];
    struct bus_header header = {"", "v"};
    struct bus_will_opts opts = BUS_WILL_OPTS_INIT;
    struct fake *f = *state;

    fake_connect(f);
    assert_int_equal(bus_will(f->conn, "a", "", 0, NULL), -EAGAIN);
    fake_welcome(f);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_will(f->conn, "a/#", "", 0, NULL), -EINVAL);
    assert_int_equal(bus_will(f->conn, NULL, "", 0, NULL), -EINVAL);
    assert_int_equal(bus_will(f->conn, "a", NULL, 1, NULL), -EINVAL);
    assert_int_equal(bus_will(f->conn, "a", body, sizeof(body), NULL), -EMSGSIZE);
    opts.headers = &header;
    opts.n_headers = 1;
    assert_int_equal(bus_will(f->conn, "a", "", 0, &opts), -EINVAL);
    memset(body, 'x', sizeof(body) - 1);
    header = (struct bus_header){"h", body};
    assert_int_equal(bus_will(f->conn, "a", "", 0, &opts), -EMSGSIZE);
    opts.n_headers = 0;
    opts.flags = 1;
    assert_int_equal(bus_will(f->conn, "a", "", 0, &opts), -EINVAL);
    opts.flags = 0;
    opts.size = 1;
    assert_int_equal(bus_will(f->conn, "a", "", 0, &opts), -EINVAL);
    fake_hear_nothing(f);
    assert_int_equal(bus_will(f->conn, "a", body, sizeof(body) - 1, NULL), 0);
    assert_int_equal(fake_settle(f), 0);
    (void) fake_hear(f, VERB_WILL);
    fake_hang_up(f);
    while (bus_process(f->conn) >= 0) {
    }
    assert_int_equal(bus_will(f->conn, "a", "", 0, NULL), -ENOTCONN);
}

/* Each call in a connection of its own: what cannot be reported otherwise ends it. */
static void test_will_and_interest_without_memory(void **state)
{
    const struct fake *f = *state;

    FOR_EACH_FAILING_MALLOC (n) {
        static const char body[60000];
        struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
        struct bus_topic *t = NULL;
        struct fake *own;
        struct seen s;
        int r;

        (void) failmalloc_disarm();
        own = fake_new(f->seqpacket);
        s = (struct seen){.f = own};
        fake_start(own);
        opts.on_interest = on_interest;
        opts.userdata = &s;
        failmalloc_arm(n);
        r = bus_will(own->conn, "a", body, sizeof(body), NULL);
        assert_true(r == 0 || r == -ENOMEM);
        r = bus_advertise_with(own->conn, "a", &opts, &t);
        assert_true(r == 0 || r == -ENOMEM);
        bus_topic_unref(t);
        (void) bus_process(own->conn);
        (void) failmalloc_disarm();
        fake_free(own);
    }
}

static void test_refused_will_goes_to_on_status(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    assert_int_equal(bus_will(f->conn, "$bus/x", "", 0, NULL), 0);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_WILL, 0, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(f->status, BUS_STATUS_DENIED);
}

static void test_resume_token(void **state)
{
    static const char token[65] = {1, 0, 2};
    struct fake *f = *state;
    union wire_any m;

    f->opts.resume_token = token;
    f->opts.resume_token_bytes = 65;
    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), -EINVAL);
    f->opts.resume_token = NULL;
    f->opts.resume_token_bytes = 1;
    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), -EINVAL);
    f->opts.resume_token = token;
    f->opts.resume_token_bytes = 64;
    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), 0);
    fake_accept(f);
    m = fake_hear(f, VERB_HELLO);
    assert_int_equal(m.hello.resume_token.len, 64);
    assert_memory_equal(m.hello.resume_token.data, token, 64);
}

/* ---- interest ---- */

static struct bus_topic *advertise(struct seen *s, const char *name)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct bus_topic *t = NULL;

    opts.on_interest = on_interest;
    opts.userdata = s;
    assert_int_equal(bus_advertise_with(s->f->conn, name, &opts, &t), 0);
    return t;
}

static void say_interest(struct fake *f, uint32_t alias, uint32_t n)
{
    fake_say(f, VERB_INTEREST, &(struct wire_interest){alias, n});
    assert_int_equal(fake_settle(f), 0);
}

static void test_interest_is_told(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_topic *t, *plain;

    fake_start(f);
    t = advertise(&s, "a");
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.flags, ADVERTISE_INTEREST);
    assert_int_equal(bus_advertise(f->conn, "b", &plain), 0);
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.flags, 0);
    assert_int_equal(bus_topic_subscriptions(t), -1);
    say_interest(f, 1, 0);
    assert_int_equal(bus_topic_subscriptions(t), 0);
    say_interest(f, 1, 3);
    say_interest(f, 2, 5); /* of another topic before it */
    assert_int_equal(bus_topic_subscriptions(plain), -1);
    say_interest(f, 9, 5);
    assert_string_equal(s.log, "i0 i3 ");
    assert_int_equal(bus_topic_subscriptions(t), 3);
}

static void test_topic_ended_in_its_callback(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};

    fake_start(f);
    (void) advertise(&s, "a");
    (void) fake_hear(f, VERB_ADVERTISE);
    say_interest(f, 1, 99);
    (void) fake_hear(f, VERB_UNADVERTISE);
    say_interest(f, 1, 98);
    assert_string_equal(s.log, "i99 ");
}

/* A number that was on its way is not taken for one of the next topic. */
static void test_alias_is_free_when_the_router_has_seen_its_end(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_topic *t;
    uint64_t token;

    fake_start(f);
    t = advertise(&s, "a");
    (void) fake_hear(f, VERB_ADVERTISE);
    bus_topic_unref(t);
    assert_int_equal(fake_hear(f, VERB_UNADVERTISE).unadvertise.alias, 1);
    token = fake_hear(f, VERB_PING).ping.token;
    t = advertise(&s, "b");
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.alias, 2);
    say_interest(f, 1, 7);
    assert_string_equal(s.log, "");
    fake_say(f, VERB_PONG, &(struct wire_pong){token});
    assert_int_equal(fake_settle(f), 0);
    (void) advertise(&s, "c");
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.alias, 1);
    bus_topic_unref(t); /* and is left so when the connection is closed */
}

/* ---- silence ---- */

static void on_silence(struct bus_sub *sub, uint64_t since_ms, void *userdata)
{
    note(userdata, "s", since_ms);
    if (since_ms == 99) {
        bus_sub_unref(sub);
    }
}

static void test_silence_is_told(void **state)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct bus_sub *sub;

    fake_start(f);
    opts.silence_ms = 50;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, &s, &sub), -EINVAL);
    opts.on_silence = on_silence;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, &s, &sub), 0);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.silence_ms, 50);
    fake_say(f, VERB_SILENCE, &(struct wire_silence){1, 51});
    fake_say(f, VERB_SILENCE, &(struct wire_silence){1, 99});
    fake_say(f, VERB_SILENCE, &(struct wire_silence){1, 52});
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "s51 s99 ");
}

static void test_silence_that_was_not_asked_for(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) start(&s, f, on_message);
    fake_say(f, VERB_SILENCE, &(struct wire_silence){1, 51});
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
}

/* ---- events ---- */

static void test_events_are_read(void **state)
{
    struct bus_client_event e = BUS_CLIENT_EVENT_INIT;
    struct client_event left = {CLIENT_LEFT, 7, 1, 2, 3, {"name", 4}, BUS_GOODBYE_SLOW_CONSUMER,
                                {"why", 3}};
    uint8_t body[CLIENT_EVENT_MAX + 400];
    size_t n = client_event_encode(&left, body);

    (void) state;
    assert_int_equal(bus_client_event_parse(body, n, &e), 0);
    assert_int_equal(e.kind, BUS_CLIENT_LEFT);
    assert_int_equal(e.connection_id, 7);
    assert_int_equal(e.uid, 1);
    assert_int_equal(e.gid, 2);
    assert_int_equal(e.pid, 3);
    assert_int_equal(e.reason, BUS_GOODBYE_SLOW_CONSUMER);
    assert_string_equal(e.name, "name");
    assert_string_equal(e.text, "why");
    assert_int_equal(bus_client_event_parse(body, n - 1, &e), -EBADMSG);
    assert_int_equal(bus_client_event_parse(NULL, 0, &e), -EBADMSG);
    assert_int_equal(bus_client_event_parse(NULL, 1, &e), -EINVAL);
    e.size = 8;
    assert_int_equal(bus_client_event_parse(body, n, &e), -EINVAL);
    /* a name that is too long, in a later version */
    e.size = sizeof(e);
    memcpy(body, "\x08\x01\x32\xc8\x01", 5);
    memset(body + 5, 'x', 200);
    assert_int_equal(bus_client_event_parse(body, 205, &e), 0);
    assert_int_equal(strlen(e.name), BUS_NAME_MAX);
    assert_string_equal(e.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_will_frame),
        ON_BOTH_LINKS(test_will_arguments),
        ON_BOTH_LINKS(test_will_and_interest_without_memory),
        ON_BOTH_LINKS(test_refused_will_goes_to_on_status),
        ON_BOTH_LINKS(test_resume_token),
        ON_BOTH_LINKS(test_interest_is_told),
        ON_BOTH_LINKS(test_topic_ended_in_its_callback),
        ON_BOTH_LINKS(test_alias_is_free_when_the_router_has_seen_its_end),
        ON_BOTH_LINKS(test_silence_is_told),
        ON_BOTH_LINKS(test_silence_that_was_not_asked_for),
        cmocka_unit_test(test_events_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
