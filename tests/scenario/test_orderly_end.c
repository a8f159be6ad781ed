/* SPDX-License-Identifier: MIT */
/* SIGTERM while something is under way: docs/protocol.md, section 18. */
#include <bus/types.h>
#include <signal.h>
#include <string.h>
#include "support/router_fixture.h"
#include "support/unit.h"

static const char *const patient[] = {"--drain-timeout", "600s", NULL};
static const char *const hasty[] = {"--drain-timeout", "100ms", NULL};

/* A client that wants to know. */
static void greet(struct raw_client *c, const char *address)
{
    struct wire_hello m = {1, 1, text_from("raw"), FEATURE_STOPPING, text_from("")};
    union wire_any any;

    raw_connect(c, address);
    raw_send_frame(c, VERB_HELLO, &m);
    assert_int_equal(raw_next(c, &any), VERB_WELCOME);
}

static void subscribe(struct raw_client *c, uint32_t flags, uint32_t window)
{
    struct wire_subscribe m = {
        .subscription = 1, .filter = text_from("a"), .flags = flags, .window_messages = window};
    union wire_any any;

    raw_send_frame(c, VERB_SUBSCRIBE, &m);
    assert_int_equal(raw_next(c, &any), VERB_STATUS);
    assert_int_equal(any.status.code, BUS_STATUS_OK);
}

/* Skips what binds ids. */
static int next(struct raw_client *c, union wire_any *m)
{
    int verb;

    do {
        verb = raw_next(c, m);
    } while (verb == VERB_TOPIC || verb == VERB_PEER);
    return verb;
}

static void term(struct router_fixture *f, struct raw_client *c)
{
    union wire_any m;

    assert_int_equal(kill(f->process.pid, SIGTERM), 0);
    assert_int_equal(next(c, &m), VERB_STOPPING);
    assert_true(m.stopping.deadline_ms <= 600000);
}

static void finish(struct router_fixture *f)
{
    assert_int_equal(router_wait(&f->process), 0);
    router_discard(&f->process);
    fixture_dir_remove(f->dir);
}

/* ---- cases ---- */

static void queues_are_emptied_first(bool seqpacket)
{
    const struct router_options o = {.args = patient};
    struct wire_publish publish = {.topic = text_from("a")};
    struct router_fixture f;
    struct raw_client c;
    union wire_any m;

    router_start(&f, &o);
    greet(&c, seqpacket ? f.seqpacket : f.stream);
    subscribe(&c, 0, 1);
    for (int i = 0; i < 3; i++) {
        raw_send_frame(&c, VERB_PUBLISH, &publish);
    }
    assert_int_equal(next(&c, &m), VERB_MESSAGE);
    term(&f, &c);
    for (unsigned i = 2; i <= 3; i++) {
        raw_send_frame(&c, VERB_CREDIT, &(struct wire_credit){.subscription = 1, .messages = 1});
        assert_int_equal(next(&c, &m), VERB_MESSAGE);
        assert_int_equal(m.message.sequence, i);
    }
    raw_expect_goodbye(&c, BUS_GOODBYE_SHUTDOWN);
    raw_close(&c);
    finish(&f);
}
ON_BOTH_LINKS(queues_are_emptied_first)

static void requests_are_answered_first(bool seqpacket)
{
    const struct router_options o = {.args = patient};
    struct wire_request request = {.call = 1, .topic = text_from("a")};
    struct router_fixture f;
    struct raw_client server, client;
    union wire_any m;
    uint64_t call;

    router_start(&f, &o);
    greet(&server, seqpacket ? f.seqpacket : f.stream);
    greet(&client, seqpacket ? f.seqpacket : f.stream);
    subscribe(&server, SUBSCRIBE_SERVE, 1);
    raw_send_frame(&client, VERB_REQUEST, &request);
    assert_int_equal(next(&server, &m), VERB_CALL);
    call = m.call.call;
    term(&f, &server);
    assert_int_equal(next(&client, &m), VERB_STOPPING);
    raw_send_frame(&server, VERB_REPLY, &(struct wire_reply){.call = call});
    assert_int_equal(next(&client, &m), VERB_ANSWER);
    raw_expect_goodbye(&client, BUS_GOODBYE_SHUTDOWN);
    raw_expect_goodbye(&server, BUS_GOODBYE_SHUTDOWN);
    raw_close(&client);
    raw_close(&server);
    finish(&f);
}
ON_BOTH_LINKS(requests_are_answered_first)

static void who_gives_no_credit_is_cut_off(bool seqpacket)
{
    const struct router_options o = {.args = hasty};
    struct wire_publish publish = {.topic = text_from("a")};
    struct router_fixture f;
    struct raw_client c;
    union wire_any m;
    char log[FIXTURE_LOG_BYTES];

    router_start(&f, &o);
    greet(&c, seqpacket ? f.seqpacket : f.stream);
    subscribe(&c, 0, 1);
    raw_send_frame(&c, VERB_PUBLISH, &publish);
    raw_send_frame(&c, VERB_PUBLISH, &publish);
    assert_int_equal(next(&c, &m), VERB_MESSAGE);
    term(&f, &c);
    raw_expect_goodbye(&c, BUS_GOODBYE_SHUTDOWN);
    raw_close(&c);
    assert_int_equal(router_wait(&f.process), 0);
    router_log(&f.process, log);
    assert_says(log, "router.cut_off messages=1 requests=0");
    router_discard(&f.process);
    fixture_dir_remove(f.dir);
}
ON_BOTH_LINKS(who_gives_no_credit_is_cut_off)

static void test_a_second_signal_does_not_wait(void **state)
{
    const struct router_options o = {.args = patient};
    struct wire_request request = {.call = 1, .topic = text_from("a")};
    struct router_fixture f;
    struct raw_client c;
    union wire_any m;

    (void) state;
    router_start(&f, &o);
    greet(&c, f.seqpacket);
    subscribe(&c, SUBSCRIBE_SERVE, 1);
    raw_send_frame(&c, VERB_REQUEST, &request); /* nobody answers it */
    assert_int_equal(next(&c, &m), VERB_CALL);
    term(&f, &c);
    raw_round_trip(&c, 1); /* it serves on */
    assert_int_equal(kill(f.process.pid, SIGTERM), 0);
    finish(&f);
    raw_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(queues_are_emptied_first),
        BOTH_CASES(requests_are_answered_first),
        BOTH_CASES(who_gives_no_credit_is_cut_off),
        cmocka_unit_test(test_a_second_signal_does_not_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
