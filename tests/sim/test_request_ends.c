/* SPDX-License-Identifier: MIT */
/* Each request ends exactly once, whatever happens to it and to whom: docs/protocol.md, section 12.
 */
#include "core/request.h"
#include "support/calls.h"

/* A request with 1,000 ms. */
static void ask(struct world *w, struct sim_client *c, uint32_t number)
{
    sim_request(&w->s, c, &(struct sim_request){number, "a", .timeout_ms = 1000});
}

/* ---- time ---- */

static void test_without_an_answer_it_ends_in_time(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    ask(w, c, 1);
    world_advance_ms(w, 300);
    ask(w, c, 2); /* waits */
    world_expect(w, s, "CALL 1 a 2 call=1 1000\n");
    world_advance_ms(w, 699);
    world_expect(w, c, "");
    world_advance_ms(w, 1);
    world_expect(w, c, "DONE TIMEOUT 1 0/0/1\n");
    /* it is told, and can take the next one, of which 300 ms are left */
    world_expect(w, s, "CANCEL call=1 TIMEOUT\nCALL 1 a 2 call=2 300\n");
    world_reply(w, s, 1);
    world_expect(w, s, "STATUS UNKNOWN_CALL REPLY call=1\n");
    world_expect(w, c, "");
    world_reply(w, s, 2);
    world_expect(w, c, "ANSWER 2 1\n");
}

static void test_who_has_not_got_it_does_not_hear_of_its_end(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request(w, c, 1, "a");
    ask(w, c, 2);
    sim_request(&w->s, c, &(struct sim_request){3, "a", .timeout_ms = 1});
    world_cancel(w, c, 2);
    world_advance_ms(w, 1);
    world_expect(w, c, "DONE CANCELLED 2\nDONE TIMEOUT 3 0/0/1\n");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    world_reply(w, s, 1);
    world_expect(w, s, "");
}

static void test_a_call_waits_with_the_time_that_is_left_rounded_up(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request(w, c, 1, "a");
    ask(w, c, 2);
    sim_advance(&w->s, 999999999);
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    world_reply(w, s, 1);
    world_expect(w, s, "CALL 1 a 2 call=2 1\n");
    sim_advance(&w->s, 1);
    world_expect(w, c, "ANSWER 1 1\nDONE TIMEOUT 2 0/0/1\n");
}

static void test_the_longest_time_is_the_default(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request(w, c, 1, "a");
    world_advance_ms(w, 3600000 - 1);
    world_expect(w, c, "");
    world_advance_ms(w, 1);
    world_expect(w, c, "DONE TIMEOUT 1 0/0/1\n");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\nCANCEL call=1 TIMEOUT\n");
}

/* ---- CANCEL ---- */

static void test_cancel_ends_it_once(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    ask(w, c, 1);
    world_cancel(w, c, 1);
    world_cancel(w, c, 1); /* it has ended: nothing */
    world_cancel(w, c, 2);
    world_cancel(w, c, 0);
    world_expect(w, s, "CALL 1 a 2 call=1 1000\nCANCEL call=1 CANCELLED\n");
    world_expect(w, c, "DONE CANCELLED 1\n");
    world_reply(w, s, 1);
    world_expect(w, s, "STATUS UNKNOWN_CALL REPLY call=1\n");
    ask(w, c, 1); /* its number is free */
    world_expect(w, s, "CALL 1 a 2 call=2 1000\n");
    world_reply(w, s, 2);
    world_cancel(w, c, 1); /* too late */
    world_expect(w, c, "ANSWER 1 1\n");
    world_expect(w, s, "");
    world_advance_ms(w, 5000);
    world_expect(w, c, "");
}

static void test_cancel_of_a_request_to_all_tells_those_who_have_it(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *s[3];

    for (unsigned i = 0; i < 3; i++) {
        s[i] = world_join_server(w, "a", 1);
    }
    world_request(w, c, 1, "a"); /* s[1] is busy */
    world_request_all(w, c, 2, "a");
    world_expect(w, s[1], "CALL 1 a 1 call=1 3600000\n");
    world_expect(w, s[0], "CALL 1 a 1 call=2 3600000\n");
    world_expect(w, s[2], "CALL 1 a 1 call=3 3600000\n");
    world_reply(w, s[0], 2);
    world_cancel(w, c, 2);
    world_expect(w, c, "ANSWER 2.1 2\nDONE CANCELLED 2 1/0/0\n");
    world_expect(w, s[0], "");
    world_expect(w, s[2], "CANCEL call=3 CANCELLED\n");
    world_reply(w, s[1], 1);
    world_expect(w, s[1], "");
    world_expect(w, c, "ANSWER 1 3\n");
}

/* ---- replies nobody waits for ---- */

static void test_replies_to_calls_that_are_not_open_are_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *x = world_join_server(w, "a", 10), *c = world_join(w), *y = world_join(w);

    ask(w, c, 1);
    world_expect(w, x, "CALL 1 a 2 call=1 1000\n");
    world_reply(w, y, 1); /* another's */
    world_expect(w, y, "STATUS UNKNOWN_CALL REPLY call=1\n");
    world_reply(w, c, 1); /* its own question */
    world_expect(w, c, "STATUS UNKNOWN_CALL REPLY call=1\n");
    world_reply(w, x, 1);
    world_reply(w, x, 1); /* answered already */
    world_reply_more(w, x, 1);
    world_expect(w, x, "STATUS UNKNOWN_CALL REPLY call=1\nSTATUS UNKNOWN_CALL REPLY call=1\n");
    world_expect(w, c, "ANSWER 1 1\n");
    /* numbers that nobody has */
    sim_reply(&w->s, x, &(struct sim_reply){1});
    sim_reply(&w->s, x, &(struct sim_reply){UINT64_MAX});
    world_expect(w, x, "STATUS UNKNOWN_CALL REPLY call=2\nSTATUS UNKNOWN_CALL REPLY call=3\n");
    assert_int_equal(COUNTER(w, replies_refused), 6);
    assert_int_equal(COUNTER(w, replies), 1);
}

static void test_a_call_that_waits_cannot_be_answered(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    ask(w, c, 1);
    world_expect(w, s, "CALL 1 a 2 call=1 1000\n");
    ask(w, c, 2);
    /* as it numbers them: the second place, the second call */
    sim_reply(&w->s, s, &(struct sim_reply){UINT64_C(2) << CALL_PLACE_BITS | 2});
    world_expect(w, s, "STATUS UNKNOWN_CALL REPLY call=2\n");
    world_expect(w, c, "");
}

static void test_wrong_replies_leave_the_call_open(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);
    struct wire_reply m = {.buffer = 1};

    ask(w, c, 1);
    world_expect(w, s, "CALL 1 a 2 call=1 1000\n");
    m.call = world_call(w, 1);
    sim_send(&w->s, s, VERB_REPLY, &m, "body", 4); /* in both places */
    sim_reply(&w->s, s, &(struct sim_reply){.flags = 2});
    m.bytes = 4;
    sim_send(&w->s, s, VERB_REPLY, &m, NULL, 0);
    world_expect(w, s,
                 "STATUS INVALID_ARGUMENT REPLY call=1\nSTATUS INVALID_ARGUMENT REPLY call=1\n"
                 "STATUS UNKNOWN_BUFFER REPLY call=1\n");
    world_reply(w, s, 1);
    world_expect(w, c, "ANSWER 1 1\n");
}

/* ---- the server goes ---- */

static void go_unsubscribe(struct world *w, struct sim_client *s)
{
    world_unsubscribe(w, s, 0);
}

static void go_disconnect(struct world *w, struct sim_client *s)
{
    sim_disconnect(&w->s, s);
}

static void go_goodbye(struct world *w, struct sim_client *s)
{
    world_leave(w, s);
}

static void go_wrong(struct world *w, struct sim_client *s)
{
    static const uint8_t bad[FRAME_PREFIX_BYTES] = {1, 0, 0, 0, 0, 0, VERB_PING, 0};

    sim_send_raw(&w->s, s, bad, sizeof(bad)); /* a PING with a body */
}

static void (*const ways_to_go[])(struct world *, struct sim_client *) = {
    go_unsubscribe, go_goodbye, go_wrong, go_disconnect};

static void test_a_call_is_never_delivered_twice(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (size_t i = 0; i < ARRAY_LEN(ways_to_go); i++) {
        struct sim_client *x = world_join_server(w, "a", 1), *y;

        ask(w, c, 1);
        ask(w, c, 2);
        y = world_join_server(w, "a", 5); /* has taken what waited */
        ways_to_go[i](w, x);
        world_expect(w, c, "DONE RESPONDER_GONE 1 0/1/0\n");
        sim_read(&w->s, y, 10);
        world_clear(w, y);
        sim_reply(&w->s, y, &(struct sim_reply){0});
        sim_read(&w->s, c, 10);
        world_clear(w, c);
        world_expect(w, y, "");
        sim_disconnect(&w->s, y);
        if (x->peer) {
            sim_disconnect(&w->s, x);
        }
    }
}

static void test_the_last_server_takes_with_it_what_waits(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (size_t i = 0; i < ARRAY_LEN(ways_to_go); i++) {
        struct sim_client *x = world_join_server(w, "a", 1), *y = world_join_server(w, "+", 1);

        for (unsigned n = 1; n <= 5; n++) {
            ask(w, c, n);
        }
        ways_to_go[i](w, y);
        world_expect(w, c, "DONE RESPONDER_GONE 1 0/1/0\n");
        ways_to_go[i](w, x);
        world_expect(w, c,
                     "DONE RESPONDER_GONE 2 0/1/0\nDONE NO_RESPONDER 3\nDONE NO_RESPONDER 4\n"
                     "DONE NO_RESPONDER 5\n");
        for (unsigned k = 0; k < 2; k++) {
            struct sim_client *gone = k ? x : y;

            if (gone->peer) {
                sim_disconnect(&w->s, gone);
            }
        }
    }
}

static void test_what_was_answered_in_part_ends_when_the_server_goes(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (size_t i = 0; i < ARRAY_LEN(ways_to_go); i++) {
        struct sim_client *x = world_join_server(w, "a", 1);

        ask(w, c, 1);
        sim_read(&w->s, x, 10);
        sim_reply(&w->s, x, &(struct sim_reply){.flags = REPLY_MORE});
        sim_reply(&w->s, x, &(struct sim_reply){.flags = REPLY_MORE});
        ways_to_go[i](w, x);
        sim_read(&w->s, c, 10);
        assert_non_null(strstr(w->text[c - w->s.clients], " MORE\nDONE RESPONDER_GONE 1 0/1/0\n"));
        world_clear(w, c);
        if (x->peer) {
            sim_disconnect(&w->s, x);
        }
    }
}

static void test_what_was_answered_stays_when_the_server_goes(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x = world_join_server(w, "a", 1);

    world_fill_output(w, c);
    ask(w, c, 1);
    sim_read(&w->s, x, 10);
    world_reply(w, x, 1);
    sim_disconnect(&w->s, x);
    assert_int_equal(COUNTER(w, requests_now), 0);
    world_expect(w, c, "ANSWER 1 2\n");
}

static void test_two_subscriptions_of_one_client_are_two_servers(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_serve_as(w, s, 1, &(struct world_server){"+", 1});
    ask(w, c, 1);
    ask(w, c, 2);
    ask(w, c, 3);
    world_expect(w, s,
                 "STATUS OK SUBSCRIBE sub=2\nCALL 2 a 2 call=1 1000\nCALL 1 a 2 call=2 1000\n");
    world_unsubscribe(w, s, 0);
    world_expect(w, s, "STATUS OK UNSUBSCRIBE sub=1\n");
    world_expect(w, c, "DONE RESPONDER_GONE 2 0/1/0\n");
    world_reply(w, s, 2);
    world_expect(w, s, "STATUS UNKNOWN_CALL REPLY call=2\n");
    world_reply(w, s, 1);
    world_expect(w, s, "CALL 2 a 2 call=3 1000\n");
    world_unsubscribe(w, s, 1);
    world_expect(w, c, "ANSWER 1 1\nDONE RESPONDER_GONE 3 0/1/0\n");
    world_serve_as(w, s, 1, &(struct world_server){"a", 1}); /* the number may be used again */
    ask(w, c, 1);
    world_expect(
        w, s, "STATUS OK UNSUBSCRIBE sub=2\nSTATUS OK SUBSCRIBE sub=2\nCALL 2 a 2 call=4 1000\n");
}

/* ---- the requester goes ---- */

static void test_the_end_of_a_connection_cancels_its_requests(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 2);

    for (size_t i = 1; i < ARRAY_LEN(ways_to_go); i++) {
        struct sim_client *c = world_join(w), *other = world_join(w);
        char due[200];

        ask(w, c, 1);
        ask(w, c, 5);
        ask(w, c, 9); /* waits */
        ask(w, other, 1);
        sim_read(&w->s, s, 10);
        world_reply_more(w, s, w->n_calls);
        world_clear(w, s);
        ways_to_go[i](w, c);
        sim_read(&w->s, s, 10);
        snprintf(due, sizeof(due),
                 "CANCEL call=%u CANCELLED\nCALL 1 a %u call=%u 1000\nCANCEL call=%u CANCELLED\n",
                 w->n_calls - 1, (unsigned) other->id, w->n_calls, w->n_calls - 2);
        assert_string_equal(w->text[0], due);
        world_clear(w, s);
        sim_reply(&w->s, s, &(struct sim_reply){w->calls[w->n_calls - 2]});
        sim_read(&w->s, s, 10);
        assert_int_equal(s->last_status, BUS_STATUS_UNKNOWN_CALL);
        world_reply(w, s, w->n_calls);
        world_expect(w, other, "ANSWER 1 1\n");
        world_clear(w, s);
        sim_disconnect(&w->s, other);
        if (c->peer) {
            sim_disconnect(&w->s, c);
        }
    }
}

static void test_answers_that_wait_go_with_the_requester(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x = world_join_server(w, "a", 2);

    world_fill_output(w, c);
    ask(w, c, 1);
    ask(w, c, 2);
    world_expect(w, x, "CALL 1 a 1 call=1 1000\nCALL 1 a 1 call=2 1000\n");
    world_reply_more(w, x, 1);
    world_reply(w, x, 2);
    router_check(w->s.router);
    sim_disconnect(&w->s, c);
    world_expect(w, x, "CANCEL call=1 CANCELLED\n");
}

static void test_a_client_that_asks_itself_may_go(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(ways_to_go); i++) {
        struct sim_client *c = world_join_server(w, "a", 1);

        ask(w, c, 1);
        ask(w, c, 2);
        world_request_all(w, c, 3, "a");
        ways_to_go[i](w, c);
        router_check(w->s.router);
        if (c->peer) {
            sim_disconnect(&w->s, c);
        }
        assert_int_equal(COUNTER(w, requests_now), 0);
    }
}

/* ---- the router goes ---- */

static void test_shutdown_sends_the_answers_that_wait_and_no_new_calls(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x = world_join_server(w, "a", 3);

    world_fill_output(w, c);
    for (unsigned n = 1; n <= 4; n++) {
        ask(w, c, n);
    }
    sim_read(&w->s, x, 10);
    world_reply_more(w, x, 1);
    world_cancel(w, c, 3);
    world_reply(w, x, 2);
    sim_read(&w->s, x, 10);
    world_clear(w, x);
    ask(w, c, 5);
    ask(w, c, 6);
    router_shutdown(w->s.router, &w->s.now);
    sim_work_off(&w->s);
    world_expect(w, c, "ANSWER 1 2 MORE\nDONE CANCELLED 3\nANSWER 2 2\nGOODBYE SHUTDOWN\n");
    sim_read(&w->s, x, 10);
    assert_null(strstr(w->text[1], "call=6"));
    assert_non_null(strstr(w->text[1], "GOODBYE SHUTDOWN\n"));
    assert_int_equal(COUNTER(w, requests_now), 0);
}

/* ---- to all ---- */

static void test_a_request_to_all_survives_servers_that_go(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *s[4];

    for (unsigned i = 0; i < 4; i++) {
        s[i] = world_join_server(w, "a", 1);
    }
    world_request_all(w, c, 1, "a");
    for (unsigned i = 0; i < 4; i++) {
        sim_read(&w->s, s[i], 10);
    }
    world_reply_more(w, s[3], 4);
    go_unsubscribe(w, s[3]);
    go_disconnect(w, s[2]);
    go_goodbye(w, s[1]);
    world_expect(w, c, "ANSWER 1.4 5 MORE\n");
    world_reply(w, s[0], 1);
    world_expect(w, c, "ANSWER 1.1 2\nDONE OK 1 1/3/0\n");
    world_request_all(w, c, 1, "a");
    go_disconnect(w, s[0]);
    world_expect(w, c, "DONE OK 1 0/1/0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_without_an_answer_it_ends_in_time),
        WORLD_CASES(test_who_has_not_got_it_does_not_hear_of_its_end),
        WORLD_CASES(test_a_call_waits_with_the_time_that_is_left_rounded_up),
        WORLD_CASES(test_the_longest_time_is_the_default),
        WORLD_CASES(test_cancel_ends_it_once),
        WORLD_CASES(test_cancel_of_a_request_to_all_tells_those_who_have_it),
        WORLD_CASES(test_replies_to_calls_that_are_not_open_are_refused),
        WORLD_CASES(test_a_call_that_waits_cannot_be_answered),
        WORLD_CASES(test_wrong_replies_leave_the_call_open),
        WORLD_CASES(test_a_call_is_never_delivered_twice),
        WORLD_CASES(test_the_last_server_takes_with_it_what_waits),
        WORLD_CASES(test_what_was_answered_in_part_ends_when_the_server_goes),
        WORLD_CASES(test_what_was_answered_stays_when_the_server_goes),
        WORLD_CASES(test_two_subscriptions_of_one_client_are_two_servers),
        WORLD_CASES(test_the_end_of_a_connection_cancels_its_requests),
        WORLD_CASES(test_answers_that_wait_go_with_the_requester),
        WORLD_CASES(test_a_client_that_asks_itself_may_go),
        WORLD_CASES(test_shutdown_sends_the_answers_that_wait_and_no_new_calls),
        WORLD_CASES(test_a_request_to_all_survives_servers_that_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
