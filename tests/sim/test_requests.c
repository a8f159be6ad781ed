/* SPDX-License-Identifier: MIT */
/* Requests: who gets them, where they wait, and what is refused: docs/protocol.md, section 12. */
#include "core/router.h"
#include "support/calls.h"

/* ---- to one ---- */

static void test_a_request_is_answered_and_its_number_is_free_again(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = world_join(w);

    for (unsigned i = 1; i <= 2; i++) {
        char due[64];

        world_request(w, c, 7, "a");
        snprintf(due, sizeof(due), "CALL 1 a 2 call=%u 3600000\n", i);
        world_expect(w, s, due);
        assert_int_equal(s->body_number, w->s.n_asked);
        world_reply(w, s, i);
        world_expect(w, c, "ANSWER 7 1\n");
        assert_int_equal(c->body_number, w->s.n_asked);
    }
    assert_int_equal(COUNTER(w, requests), 2);
    assert_int_equal(COUNTER(w, requests_now), 0);
    assert_int_equal(COUNTER(w, requests_failed), 0);
    assert_int_equal(COUNTER(w, calls_now), 0);
    assert_int_equal(COUNTER(w, replies), 2);
}

static void test_bodies_headers_and_errors_arrive(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = world_join(w);

    sim_request(&w->s, c, &(struct sim_request){1, "a", .timeout_ms = 50, .body = {3000, 2}});
    world_expect(w, s, "CALL 1 a 2 call=1 50\n");
    assert_int_equal(s->body_bytes, 3000);
    assert_int_equal(s->n_text_headers, 2);
    sim_reply(&w->s, s, &(struct sim_reply){.error = 17, .body = {5000, 1}});
    world_expect(w, c, "ANSWER 1 1 error=17\n");
    assert_int_equal(c->body_bytes, 5000);
    assert_int_equal(c->n_text_headers, 1);
    sim_request(&w->s, c, &(struct sim_request){1, "a", .body = {NO_BODY}});
    world_expect(w, s, "CALL 1 a 2 call=2 3600000\n");
    assert_int_equal(s->body_bytes, 0);
    sim_reply(&w->s, s, &(struct sim_reply){.body = {NO_BODY}});
    world_expect(w, c, "ANSWER 1 1\n");
    assert_int_equal(c->body_bytes, 0);
}

static void test_an_alias_says_the_topic(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a/b", 10), *c = world_join(w);

    sim_advertise(&w->s, c, 3, "a/b");
    sim_request(&w->s, c, &(struct sim_request){1, .alias = 3});
    world_expect(w, s, "CALL 1 a/b 2 call=1 3600000\n");
    sim_advertise(&w->s, c, 3, "other");
    world_reply(w, s, 1);
    world_expect(w, c, "ANSWER 1 1\n");
}

static void test_a_client_may_ask_itself(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join_server(w, "a", 1);

    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    world_expect(w, c, "CALL 1 a 1 call=1 3600000\n");
    world_reply(w, c, 1);
    world_expect(w, c, "ANSWER 1 1\nCALL 1 a 1 call=2 3600000\n");
    world_cancel(w, c, 2);
    world_expect(w, c, "CANCEL call=2 CANCELLED\nDONE CANCELLED 2\n");
}

static void test_servers_get_no_messages_and_subscribers_no_calls(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = world_join(w);

    world_subscribe(w, c, 0, &(struct world_sub){"a", .window = 100});
    assert_true(sim_publish(
        &w->s, s, &(struct sim_publish){.topic = "a", .body_bytes = 10, .confirm = true}));
    world_expect(w, s, "CONFIRM 1 1 1 0 0\n");
    world_expect(w, c, "MESSAGE 1 a 1.1\n");
    world_request(w, c, 1, "a");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    world_expect(w, c, "");
    world_request(w, c, 2, "b");
    world_subscribe(w, s, 1, &(struct world_sub){"b", .window = 100});
    world_request(w, c, 3, "b");
    world_expect(w, c, "DONE NO_RESPONDER 2\nDONE NO_RESPONDER 3\n");
    world_expect(w, s, "");
}

static void test_requests_use_no_publish_credit_and_no_sequence_number(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 100), *c = world_join(w);

    world_subscribe(w, s, 1, &(struct world_sub){"m", .window = 100});
    for (unsigned i = 1; i <= 20; i++) { /* the window is 16 */
        world_request(w, c, i, "a");
    }
    world_publish(w, c, "m");
    sim_read(&w->s, s, 1000);
    assert_non_null(strstr(w->text[0], "MESSAGE 2 m 2.1\n"));
    world_expect(w, c, "");
}

/* ---- which server ---- */

static void test_equals_take_turns(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *s[3];
    uint32_t number = 0;

    for (unsigned i = 0; i < 3; i++) {
        s[i] = world_join_server(w, "a", 10);
    }
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < 3; i++) {
            world_request(w, c, ++number, "a");
        }
        for (unsigned i = 0; i < 3; i++) {
            sim_read(&w->s, s[i], 100);
            assert_int_equal(w->n_calls, 3 * turn + i + 1);
            sim_reply(&w->s, s[i], &(struct sim_reply){0});
        }
    }
    sim_read(&w->s, c, 100);
    assert_int_equal(COUNTER(w, replies), 9);
}

static void test_the_server_with_the_fewest_open_calls_gets_it(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x, *y;

    x = world_join_server(w, "a", 10);
    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    y = world_join_server(w, "a", 10);
    world_request(w, c, 3, "a");
    world_request(w, c, 4, "a");
    world_expect(w, x, "CALL 1 a 1 call=1 3600000\nCALL 1 a 1 call=2 3600000\n");
    world_expect(w, y, "CALL 1 a 1 call=3 3600000\nCALL 1 a 1 call=4 3600000\n");
    world_reply(w, x, 1);
    world_reply(w, x, 2);
    world_request(w, c, 5, "a");
    world_request(w, c, 6, "a");
    world_expect(w, x, "CALL 1 a 1 call=5 3600000\nCALL 1 a 1 call=6 3600000\n");
    world_expect(w, y, "");
}

static void test_calls_beyond_the_window_wait(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 2), *c = world_join(w);

    for (unsigned i = 1; i <= 4; i++) {
        world_request(w, c, i, "a");
    }
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\nCALL 1 a 2 call=2 3600000\n");
    assert_int_equal(COUNTER(w, calls_now), 4);
    world_reply(w, s, 2);
    world_expect(w, s, "CALL 1 a 2 call=3 3600000\n");
    world_credit(w, s, 0, 100, 100000); /* there is no CREDIT for servers */
    world_expect(w, s, "");
    world_reply(w, s, 3);
    world_expect(w, s, "CALL 1 a 2 call=4 3600000\n");
    world_reply(w, s, 4);
    world_reply(w, s, 1);
    world_expect(w, c, "ANSWER 2 1\nANSWER 3 1\nANSWER 4 1\nANSWER 1 1\n");
}

static void test_the_window_counts_bytes_too(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join(w), *c = world_join(w);

    world_serve_as(w, s, 0, &(struct world_server){"a", 10, .window_bytes = 15});
    sim_read(&w->s, s, 10);
    world_clear(w, s);
    for (unsigned i = 1; i <= 3; i++) {
        world_request(w, c, i, "a"); /* of 10 bytes */
    }
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\nCALL 1 a 2 call=2 3600000\n");
    world_reply(w, s, 1);
    world_expect(w, s, "CALL 1 a 2 call=3 3600000\n");
    sim_request(&w->s, c, &(struct sim_request){4, "a", .body = {2, 1}}); /* and a header of 6 */
    world_reply(w, s, 2);
    world_expect(w, s, "CALL 1 a 2 call=4 3600000\n");
    world_request(w, c, 5, "a");
    world_reply(w, s, 3);
    world_expect(w, s, "CALL 1 a 2 call=5 3600000\n");
    world_request(w, c, 6, "a");
    world_expect(w, s, "");
}

static void test_what_waits_goes_to_the_first_that_can_take_it(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x, *y, *z;

    x = world_join_server(w, "a", 1);
    y = world_join_server(w, "+", 1);
    for (unsigned i = 1; i <= 5; i++) {
        world_request(w, c, i, "a");
    }
    world_expect(w, x, "CALL 1 a 1 call=1 3600000\n");
    world_expect(w, y, "CALL 1 a 1 call=2 3600000\n");
    world_reply(w, y, 2);
    world_expect(w, y, "CALL 1 a 1 call=3 3600000\n");
    world_reply(w, x, 1);
    world_expect(w, x, "CALL 1 a 1 call=4 3600000\n");
    sim_read(&w->s, c, 10);
    world_clear(w, c);
    z = world_join(w);
    world_serve_as(w, z, 0, &(struct world_server){"#", 5}); /* a new server takes what waits */
    world_expect(w, z, "STATUS OK SUBSCRIBE sub=1\nCALL 1 a 1 call=5 3600000\n");
    world_reply(w, z, 5);
    world_reply(w, y, 3);
    world_reply(w, x, 4);
    world_expect(w, c, "ANSWER 5 4\nANSWER 3 3\nANSWER 4 2\n");
}

static void test_a_server_whose_link_is_full_is_passed_over(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x, *y;

    x = world_join_server(w, "a", 10);
    y = world_join_server(w, "a", 1);
    world_fill_output(w, x);
    world_request(w, c, 1, "a");
    world_expect(w, y, "CALL 1 a 1 call=1 3600000\n");
    world_request(w, c, 2, "a"); /* waits for either */
    world_request(w, c, 3, "a");
    world_reply(w, y, 1);
    world_expect(w, y, "CALL 1 a 1 call=2 3600000\n");
    world_expect(w, x, "CALL 1 a 1 call=3 3600000\n"); /* behind what filled it */
    world_reply(w, x, 3);
    world_reply(w, y, 2);
    world_expect(w, c, "ANSWER 1 3\nANSWER 3 2\nANSWER 2 3\n");
}

static void test_calls_to_other_topics_do_not_wait(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_serve_as(w, s, 1, &(struct world_server){"b", 1});
    sim_read(&w->s, s, 10);
    world_clear(w, s);
    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    world_request(w, c, 3, "b");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\nCALL 2 b 2 call=2 3600000\n");
}

static void test_topics_take_turns_at_a_server(void **state)
{
    static const char *const order[] = {"a", "b", "c", "a", "b", "c", "a", "c", "a"};
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "+", 1), *c = world_join(w);
    uint32_t n = 0;

    world_request(w, c, ++n, "x");
    for (unsigned i = 0; i < 3; i++) {
        world_request(w, c, ++n, "a");
        world_request(w, c, ++n, i < 2 ? "b" : "c");
        world_request(w, c, ++n, i < 2 ? "c" : "a");
    }
    world_expect(w, s, "CALL 1 x 2 call=1 3600000\n");
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        char due[64];

        world_reply(w, s, i + 1);
        snprintf(due, sizeof(due), "CALL 1 %s 2 call=%u 3600000\n", order[i], i + 2);
        world_expect(w, s, due);
    }
    sim_read(&w->s, c, 100);
}

static void test_wildcards_serve_what_they_match(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "x/#", 10), *c = world_join(w);

    world_request(w, c, 1, "x");
    world_request(w, c, 2, "x/y/z");
    world_request(w, c, 3, "y");
    world_expect(w, s, "CALL 1 x 2 call=1 3600000\nCALL 1 x/y/z 2 call=2 3600000\n");
    world_serve_as(w, s, 1, &(struct world_server){"#", 10});
    world_request(w, c, 4, "$x");
    world_request(w, c, 5, "y");
    world_expect(w, s, "STATUS OK SUBSCRIBE sub=2\nCALL 2 y 2 call=3 3600000\n");
    world_expect(w, c, "DONE NO_RESPONDER 3\nDONE NO_RESPONDER 4\n");
}

/* ---- to all ---- */

static void test_a_request_to_all_asks_every_server(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x, *y;

    x = world_join_server(w, "a", 10);
    y = world_join_server(w, "+", 10);
    world_serve_as(w, y, 1, &(struct world_server){"#", 10});
    sim_read(&w->s, y, 10);
    world_clear(w, y);
    world_request_all(w, c, 9, "a");
    world_expect(w, x, "CALL 1 a 1 call=1 3600000\n");
    world_expect(w, y, "CALL 2 a 1 call=2 3600000\nCALL 1 a 1 call=3 3600000\n");
    world_reply(w, y, 3);
    world_reply(w, x, 1);
    world_expect(w, c, "ANSWER 9.3 3\nANSWER 9.1 2\n");
    world_reply(w, y, 2);
    world_expect(w, c, "ANSWER 9.2 3\nDONE OK 9 3/0/0\n");
    world_request_all(w, c, 9, "b/c"); /* the number is free */
    world_expect(w, y, "CALL 2 b/c 1 call=4 3600000\n");
    world_reply(w, y, 4);
    world_expect(w, c, "ANSWER 9.1 3\nDONE OK 9 1/0/0\n");
}

static void test_a_request_to_all_without_servers_has_no_responder(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    world_request_all(w, c, 1, "a");
    world_expect(w, c, "DONE NO_RESPONDER 1\n");
}

static void test_each_server_is_asked_as_soon_as_it_can(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x, *y, *z;

    x = world_join_server(w, "a", 1);
    y = world_join_server(w, "a", 1);
    world_request(w, c, 1, "a"); /* y is the first in turn */
    world_request_all(w, c, 2, "a");
    world_request(w, c, 3, "a");
    world_expect(w, y, "CALL 1 a 1 call=1 3600000\n");
    world_expect(w, x, "CALL 1 a 1 call=2 3600000\n");
    z = world_join_server(w, "a", 1); /* too late for the request to all */
    world_clear(w, z);
    assert_int_equal(w->n_calls, 3);
    world_reply(w, y, 1);
    world_expect(w, y, "CALL 1 a 1 call=4 3600000\n");
    world_reply(w, y, 4);
    world_reply(w, x, 2);
    world_reply(w, z, 3);
    world_expect(w, c, "ANSWER 1 3\nANSWER 2.2 3\nANSWER 2.1 2\nDONE OK 2 2/0/0\nANSWER 3 4\n");
}

static void test_the_counts_of_a_request_to_all_add_up(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *s[5];

    for (unsigned i = 0; i < 5; i++) {
        s[i] = world_join_server(w, "a", 1);
    }
    world_fill_output(w, s[4]); /* it is asked, but does not hear of it */
    sim_request(&w->s, c, &(struct sim_request){1, "a", .flags = REQUEST_ALL, .timeout_ms = 1000});
    for (unsigned i = 0; i < 4; i++) {
        sim_read(&w->s, s[i], 100);
        world_clear(w, s[i]);
    }
    world_reply(w, s[0], 1);
    sim_disconnect(&w->s, s[1]);
    world_unsubscribe(w, s[2], 0);
    world_expect(w, c, "ANSWER 1.1 2\n");
    world_advance_ms(w, 1000);
    world_expect(w, c, "DONE OK 1 1/2/2\n");
    world_expect(w, s[3], "CANCEL call=4 TIMEOUT\n");
    world_expect(w, s[2], "STATUS OK UNSUBSCRIBE sub=1\n");
    world_expect(w, s[4], "");
}

/* ---- refusals ---- */

static void test_numbers_that_cannot_be_used_are_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    world_request(w, c, 1, "a"); /* open */
    world_request(w, c, 2, "a"); /* waits */
    world_request(w, c, 0, "a");
    world_request(w, c, 65536, "nobody");
    world_request(w, c, 65537, "a");
    world_request(w, c, UINT32_MAX, "a");
    world_expect(w, c,
                 "STATUS IN_USE REQUEST call=1\nSTATUS IN_USE REQUEST call=2\n"
                 "STATUS INVALID_ARGUMENT REQUEST\nDONE NO_RESPONDER 65536\n"
                 "STATUS LIMIT REQUEST call=65537\nSTATUS LIMIT REQUEST call=4294967295\n");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
}

static void test_requests_that_are_refused_are_done(void **state)
{
    static const struct {
        struct wire_request m;
        size_t body_bytes;
        const char *due;
    } cases[] = {
        {{.topic = {"$bus/x", 6}}, 0, "DONE NO_RESPONDER 1\n"},
        {{.topic = {"$bus", 4}}, 0, "DONE NO_RESPONDER 1\n"},
        {{.topic = {"$bus/+", 6}}, 0, "DONE INVALID_TOPIC 1\n"},
        {{.topic = {"$bush", 5}}, 0, "DONE NO_RESPONDER 1\n"},
        {{.topic = {"a/+", 3}}, 0, "DONE INVALID_TOPIC 1\n"},
        {{.alias = 0}, 0, "DONE INVALID_ARGUMENT 1\n"},
        {{.alias = 1, .topic = {"a", 1}}, 0, "DONE INVALID_ARGUMENT 1\n"},
        {{.alias = 5}, 0, "DONE UNKNOWN_ALIAS 1\n"},
        {{.topic = {"a", 1}, .flags = 4}, 0, "DONE INVALID_ARGUMENT 1\n"},
        {{.topic = {"a", 1}, .timeout_ms = 3600001}, 0, "DONE LIMIT 1\n"},
        {{.topic = {"a", 1}, .buffer = 1}, 5, "DONE INVALID_ARGUMENT 1\n"},
        {{.topic = {"a", 1}, .buffer = 1, .bytes = 5}, 0, "DONE UNKNOWN_BUFFER 1\n"},
        {{.topic = {"a", 1}, .bytes = 5}, 0, "DONE INVALID_ARGUMENT 1\n"},
    };
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_request m = cases[i].m;

        m.call = 1;
        if (!m.topic.data) {
            m.topic = text_from("");
        }
        sim_send(&w->s, c, VERB_REQUEST, &m, "body!", cases[i].body_bytes);
        world_expect(w, c, cases[i].due);
    }
    world_expect(w, s, "");
    assert_int_equal(COUNTER(w, requests_failed), ARRAY_LEN(cases));
    assert_int_equal(COUNTER(w, requests), 0);
}

static void test_bad_text_headers_are_refused(void **state)
{
    const struct wire_header headers[] = {{{"", 0}, {"v", 1}}};
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);
    const struct wire_request request = {
        .call = 1, .topic = {"a", 1}, .headers = headers, .n_headers = 1};
    struct wire_reply reply = {.headers = headers, .n_headers = 1};

    sim_send(&w->s, c, VERB_REQUEST, &request, NULL, 0);
    world_expect(w, c, "DONE INVALID_ARGUMENT 1\n");
    world_request(w, c, 1, "a");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    reply.call = world_call(w, 1);
    sim_send(&w->s, s, VERB_REPLY, &reply, NULL, 0);
    world_expect(w, s, "STATUS INVALID_ARGUMENT REPLY call=1\n");
    world_reply(w, s, 1); /* it is still open */
    world_expect(w, c, "ANSWER 1 1\n");
}

/* Headers that leave no room for the other fields. */
static void test_headers_that_do_not_fit_are_refused(void **state)
{
    static char value[65000];
    const struct wire_header headers[] = {{{"n", 1}, {value, sizeof(value)}},
                                          {{"m", 1}, {value, 500}}};
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);
    struct wire_request request = {
        .call = 1, .topic = {"a", 1}, .headers = headers, .n_headers = 2};
    struct wire_reply reply = {.headers = headers, .n_headers = 2};

    memset(value, 'v', sizeof(value));
    sim_send(&w->s, c, VERB_REQUEST, &request, NULL, 0);
    world_expect(w, c, "DONE LIMIT 1\n");
    request.n_headers = 1;
    sim_send(&w->s, c, VERB_REQUEST, &request, NULL, 0);
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    reply.call = world_call(w, 1);
    sim_send(&w->s, s, VERB_REPLY, &reply, NULL, 0);
    world_expect(w, s, "STATUS LIMIT REPLY call=1\n");
    reply.n_headers = 1;
    sim_send(&w->s, s, VERB_REPLY, &reply, NULL, 0);
    world_expect(w, c, "ANSWER 1 1\n");
}

static void send_garbage(struct world *w, struct sim_client *c, enum verb verb)
{
    uint8_t buf[FRAME_PREFIX_BYTES + 2] = {0};

    frame_write_prefix(buf, verb, 2, 0);
    memset(buf + FRAME_PREFIX_BYTES, 0xff, 2);
    sim_send_raw(&w->s, c, buf, sizeof(buf));
}

static void test_headers_that_cannot_be_decoded_are_malformed(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    send_garbage(w, c, VERB_REQUEST);
    send_garbage(w, c, VERB_REPLY);
    send_garbage(w, c, VERB_CANCEL);
    world_expect(w, c,
                 "STATUS MALFORMED REQUEST\nSTATUS MALFORMED REPLY\nSTATUS MALFORMED CANCEL\n");
}

static void test_verbs_of_the_router_are_unexpected(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    const struct wire_call call = {.subscription = 1};
    const struct wire_answer answer = {.call = 1};
    const struct wire_done done = {.call = 1};

    sim_send(&w->s, c, VERB_CALL, &call, NULL, 0);
    sim_send(&w->s, c, VERB_ANSWER, &answer, NULL, 0);
    sim_send(&w->s, c, VERB_DONE, &done, NULL, 0);
    world_expect(w, c,
                 "STATUS UNEXPECTED CALL\nSTATUS UNEXPECTED ANSWER\nSTATUS UNEXPECTED DONE\n");
}

static void test_the_routers_topics_cannot_be_served(void **state)
{
    static const char *const filters[] = {"$bus", "$bus/#", "$bus/x"};
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        struct wire_subscribe m = {
            .subscription = 1, .filter = text_from(filters[i]), .flags = SUBSCRIBE_SERVE};

        sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
        world_expect(w, c, "STATUS DENIED SUBSCRIBE sub=1\n");
    }
    assert_int_equal(COUNTER(w, subscriptions_now), 0);
}

static void test_monitors_cannot_take_part(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *m = world_join(w), *c = world_join(w);
    struct wire_subscribe serve = {
        .subscription = 1, .filter = text_from("a"), .flags = SUBSCRIBE_SERVE};
    struct wire_monitor monitor = {0};

    m->monitoring = true;
    sim_send(&w->s, m, VERB_MONITOR, &monitor, NULL, 0);
    world_expect(w, m, "STATUS OK MONITOR\n");
    world_request(w, m, 1, "a");
    sim_send(&w->s, m, VERB_SUBSCRIBE, &serve, NULL, 0);
    world_expect(w, m, "DONE UNEXPECTED 1\nSTATUS UNEXPECTED SUBSCRIBE sub=1\n");
    world_request(w, c, 1, "a");
    sim_send(&w->s, c, VERB_MONITOR, &monitor, NULL, 0); /* who has asked must hear the answer */
    world_expect(w, c, "STATUS UNEXPECTED MONITOR\n");
    world_expect(w, s, "CALL 1 a 3 call=1 3600000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_a_request_is_answered_and_its_number_is_free_again),
        WORLD_CASES(test_bodies_headers_and_errors_arrive),
        WORLD_CASES(test_an_alias_says_the_topic),
        WORLD_CASES(test_a_client_may_ask_itself),
        WORLD_CASES(test_servers_get_no_messages_and_subscribers_no_calls),
        WORLD_CASES(test_requests_use_no_publish_credit_and_no_sequence_number),
        WORLD_CASES(test_equals_take_turns),
        WORLD_CASES(test_the_server_with_the_fewest_open_calls_gets_it),
        WORLD_CASES(test_calls_beyond_the_window_wait),
        WORLD_CASES(test_the_window_counts_bytes_too),
        WORLD_CASES(test_what_waits_goes_to_the_first_that_can_take_it),
        WORLD_CASES(test_a_server_whose_link_is_full_is_passed_over),
        WORLD_CASES(test_calls_to_other_topics_do_not_wait),
        WORLD_CASES(test_topics_take_turns_at_a_server),
        WORLD_CASES(test_wildcards_serve_what_they_match),
        WORLD_CASES(test_a_request_to_all_asks_every_server),
        WORLD_CASES(test_a_request_to_all_without_servers_has_no_responder),
        WORLD_CASES(test_each_server_is_asked_as_soon_as_it_can),
        WORLD_CASES(test_the_counts_of_a_request_to_all_add_up),
        WORLD_CASES(test_numbers_that_cannot_be_used_are_refused),
        WORLD_CASES(test_requests_that_are_refused_are_done),
        WORLD_CASES(test_bad_text_headers_are_refused),
        WORLD_CASES(test_headers_that_do_not_fit_are_refused),
        WORLD_CASES(test_headers_that_cannot_be_decoded_are_malformed),
        WORLD_CASES(test_verbs_of_the_router_are_unexpected),
        WORLD_CASES(test_the_routers_topics_cannot_be_served),
        WORLD_CASES(test_monitors_cannot_take_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
