/* SPDX-License-Identifier: MIT */
/* Replies with MORE, answers that are not read, and what monitors see of requests. */
#include "core/request.h"
#include "support/calls.h"

static const char *call_line(unsigned call, unsigned timeout)
{
    static char line[64];

    snprintf(line, sizeof(line), "CALL 1 a 2 call=%u %u\n", call, timeout);
    return line;
}

/* A server that is the first client, a requester that is the second, and request 1 open. */
static void open_one(struct world *w, struct sim_client **ret_s, struct sim_client **ret_c,
                     uint32_t timeout_ms)
{
    *ret_s = world_join_server(w, "a", 10);
    *ret_c = world_join(w);
    sim_request(&w->s, *ret_c, &(struct sim_request){1, "a", .timeout_ms = timeout_ms});
    world_expect(w, *ret_s, call_line(1, timeout_ms));
}

/* ---- MORE ---- */

static void test_replies_with_more_come_before_the_last(void **state)
{
    struct sim_client *s, *c;
    struct world *w = *state;

    open_one(w, &s, &c, 1000);
    world_reply_more(w, s, 1);
    world_expect(w, c, "ANSWER 1 1 MORE\n");
    sim_reply(&w->s, s, &(struct sim_reply){.flags = REPLY_MORE, .error = 3, .body = {200}});
    world_reply(w, s, 1);
    world_expect(w, c, "ANSWER 1 1 MORE error=3\nANSWER 1 1\n");
    world_reply_more(w, s, 1);
    world_expect(w, s, "STATUS UNKNOWN_CALL REPLY call=1\n");
    world_expect(w, c, "");
}

static void test_each_reply_with_more_gives_new_time(void **state)
{
    struct sim_client *s, *c;
    struct world *w = *state;

    open_one(w, &s, &c, 100);
    for (unsigned i = 0; i < 5; i++) {
        world_advance_ms(w, 99);
        world_reply_more(w, s, 1);
        world_expect(w, c, "ANSWER 1 1 MORE\n");
    }
    world_advance_ms(w, 99);
    world_expect(w, c, "");
    world_advance_ms(w, 1);
    world_expect(w, c, "DONE TIMEOUT 1 0/0/1\n");
    world_expect(w, s, "CANCEL call=1 TIMEOUT\n");
}

static void test_64_replies_may_be_ahead_of_the_requester(void **state)
{
    struct sim_client *s, *c;
    struct world *w = *state;

    open_one(w, &s, &c, 1000);
    for (unsigned i = 0; i < 64; i++) {
        world_reply_more(w, s, 1);
    }
    world_expect(w, s, "");
    world_reply_more(w, s, 1);
    world_expect(w, s, "STATUS NO_CREDIT REPLY call=1\n");
    world_consume(w, c, 1, 0, 2);
    world_expect(w, s, "CREDIT call=1 2\n");
    world_reply_more(w, s, 1);
    world_reply_more(w, s, 1);
    world_reply_more(w, s, 1);
    world_expect(w, s, "STATUS NO_CREDIT REPLY call=1\n");
    world_consume(w, c, 1, 0, 1000); /* more than there were: cut */
    world_expect(w, s, "CREDIT call=1 64\n");
    world_consume(w, c, 1, 0, 1);
    world_consume(w, c, 1, 2, 1); /* no such part, or number */
    world_consume(w, c, 2, 0, 1);
    world_consume(w, c, UINT32_MAX, UINT32_MAX, 1);
    world_expect(w, s, "");
    sim_read(&w->s, c, 1000);
    world_clear(w, c);
    /* the last one needs no credit */
    for (unsigned i = 0; i < 64; i++) {
        world_reply_more(w, s, 1);
    }
    world_reply(w, s, 1);
    world_expect(w, s, "");
    world_consume(w, c, 1, 0, 64); /* it has ended: ignored */
    world_expect(w, s, "");
    assert_int_equal(COUNTER(w, requests_now), 0);
    assert_int_equal(COUNTER(w, replies), 64 + 2 + 64 + 1);
    assert_int_equal(COUNTER(w, replies_refused), 2);
}

static void test_each_part_has_credit_of_its_own(void **state)
{
    struct world *w = *state;
    struct sim_client *x = world_join_server(w, "a", 1), *y = world_join_server(w, "a", 1);
    struct sim_client *c = world_join(w);

    world_request_all(w, c, 1, "a");
    world_expect(w, x, "CALL 1 a 3 call=1 3600000\n");
    world_expect(w, y, "CALL 1 a 3 call=2 3600000\n");
    for (unsigned i = 0; i < 65; i++) {
        world_reply_more(w, x, 1);
    }
    world_expect(w, x, "STATUS NO_CREDIT REPLY call=1\n");
    world_reply_more(w, y, 2);
    world_expect(w, y, "");
    world_consume(w, c, 1, 1, 10);
    world_consume(w, c, 1, 2, 10);
    world_consume(w, c, 1, 3, 10);
    world_expect(w, x, "CREDIT call=1 10\n");
    world_expect(w, y, "CREDIT call=2 1\n");
    world_reply(w, x, 1);
    world_consume(w, c, 1, 1, 10); /* it has answered */
    world_expect(w, x, "");
    world_reply(w, y, 2);
    sim_read(&w->s, c, 1000);
    assert_non_null(strstr(w->text[2], "ANSWER 1.2 2\nDONE OK 1 2/0/0\n"));
}

/* ---- answers that are not read ---- */

static void test_answers_wait_in_their_order(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = world_join(w);
    uint64_t charged;

    for (unsigned n = 1; n <= 4; n++) {
        world_request(w, c, n, "a");
    }
    sim_read(&w->s, s, 10);
    world_clear(w, s);
    world_fill_output(w, c);
    charged = c->peer->charge.bytes;
    world_reply_more(w, s, 3);
    world_reply(w, s, 2);
    world_cancel(w, c, 4);
    sim_reply(&w->s, s, &(struct sim_reply){world_call(w, 3), .body = {1000}});
    world_reply(w, s, 1);
    router_check(w->s.router);
    assert_true(c->peer->charge.bytes > charged + 1000);
    world_expect(w, s, "CANCEL call=4 CANCELLED\n");
    world_expect(w, c, "ANSWER 3 1 MORE\nANSWER 2 1\nDONE CANCELLED 4\nANSWER 3 1\nANSWER 1 1\n");
    assert_null(c->peer->answers);
    world_request(w, c, 4, "a");
    world_expect(w, s, "CALL 1 a 2 call=5 3600000\n");
}

static void test_a_requester_that_leaves_too_much_unread_hits_its_limit(void **state)
{
    struct sim_client *s, *c;
    struct world *w = *state;
    unsigned n = 0;

    open_one(w, &s, &c, 1000);
    world_request(w, c, 2, "a");
    world_expect(w, s, call_line(2, 3600000));
    world_fill_output(w, c);
    while (COUNTER(w, requests_now) == 2) { /* client_bytes_max is 256 KiB */
        sim_reply(&w->s, s,
                  &(struct sim_reply){world_call(w, 1), .flags = REPLY_MORE, .body = {8000}});
        assert_true(++n < 64);
    }
    world_expect(w, s, "CANCEL call=1 LIMIT\n");
    sim_reply(&w->s, s, &(struct sim_reply){world_call(w, 2), .body = {8000}});
    world_expect(w, s, ""); /* it has answered */
    assert_int_equal(COUNTER(w, requests_now), 0);
    sim_read(&w->s, c, 1000);
    assert_non_null(strstr(w->text[1], "ANSWER 1 1 MORE\nDONE LIMIT 1\nDONE LIMIT 2\n"));
    /* and then all is as it was */
    world_clear(w, c);
    world_request(w, c, 1, "a");
    world_expect(w, s, call_line(3, 3600000));
    world_reply(w, s, 3);
    world_expect(w, c, "ANSWER 1 1\n");
}

/* Its output is empty, so its requests are read; what waits for it must be bounded all the same. */
static void test_refusals_do_not_wait_behind_answers(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = world_join(w);
    uint64_t used;

    for (unsigned n = 1; n <= 3; n++) {
        sim_request(&w->s, c, &(struct sim_request){n, "a", .flags = REQUEST_DESCRIPTORS});
    }
    sim_read(&w->s, s, 10);
    for (unsigned n = 1; n <= 2; n++) {
        sim_reply(&w->s, s, &(struct sim_reply){world_call(w, n), .body = {.n_fds = 1}});
    }
    world_expect(w, c, "ANSWER 1 1 1/1\nPING\n"); /* and no PONG: the second one waits */
    used = c->peer->quota.used;
    for (unsigned i = 0; i < 1000; i++) {
        world_request(w, c, 9, "nobody");
        sim_read(&w->s, c, 10);
    }
    assert_int_equal(c->peer->quota.used, used);
    world_clear(w, c);
    /* those that were open wait in their order, and use up the quota */
    world_cancel(w, c, 3);
    for (unsigned i = 0; i < 10000; i++) {
        world_request(w, c, 9, "a");
        world_cancel(w, c, 9);
        sim_read(&w->s, c, 10);
        sim_read(&w->s, s, 10);
        world_clear(w, c);
        world_clear(w, s);
        w->n_calls = 3;
    }
    assert_true(c->peer->quota.used <= c->peer->quota.limit);
    sim_pong(&w->s, c);
    sim_read(&w->s, c, 1);
    assert_int_equal(strncmp(w->text[1], "ANSWER 2 1 1/1\n", 15), 0);
    w->s.on_frame = NULL;
    sim_read(&w->s, c, 1000000);
}

/* ---- monitors ---- */

static struct sim_client *monitor_join(struct world *w)
{
    struct wire_monitor m = {.snap_bytes = 4};
    struct sim_client *c = world_join(w);

    c->monitoring = true;
    sim_send(&w->s, c, VERB_MONITOR, &m, NULL, 0);
    sim_read(&w->s, c, 10);
    world_clear(w, c);
    return c;
}

static void test_monitors_see_requests_replies_and_ends(void **state)
{
    struct world *w = *state;
    struct sim_client *m = monitor_join(w), *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_publish(w, c, "b");
    world_request(w, c, 7, "a");
    world_request(w, c, 8, "a"); /* waits */
    world_expect(w, m,
                 "MONITORED 1 b 3.1 4/10 OK\n"
                 "MONITORED REQUEST #1 1 a 3.0 4/10 OK [2/1 DELIVERED NONE 0]\n"
                 "MONITORED REQUEST #2 1 a 3.0 4/10 OK\n");
    sim_read(&w->s, s, 10);
    world_reply_more(w, s, 1);
    world_reply(w, s, 1);
    world_expect(w, m,
                 "MONITORED REPLY_MORE #1 1 a 2.0 4/10 OK [3/0 DELIVERED NONE 0]\n"
                 "MONITORED REPLY #1 1 a 2.0 4/10 OK [3/0 DELIVERED NONE 0]\n");
    world_cancel(w, c, 8);
    world_expect(w, m, "MONITORED DONE #2 1 a 3.0 0/0 CANCELLED\n");
    world_request(w, c, 7, "nobody");
    world_request(w, c, 7, "$bus/x");
    world_expect(w, m,
                 "MONITORED REQUEST #3 1 nobody 3.0 4/10 NO_RESPONDER\n"
                 "MONITORED REQUEST #4 1 $bus/x 3.0 4/10 NO_RESPONDER\n");
    world_request(w, c, 9, "a");
    sim_disconnect(&w->s, c);
    world_expect(w, m,
                 "MONITORED REQUEST #5 1 a 3.0 4/10 OK [2/1 DELIVERED NONE 0]\n"
                 "MONITORED DONE #5 1 a 3.0 0/0 CANCELLED\n");
}

static void test_monitors_see_requests_to_all(void **state)
{
    struct world *w = *state;
    struct sim_client *m = monitor_join(w), *x = world_join_server(w, "a", 1);
    struct sim_client *y = world_join_server(w, "a", 1), *c = world_join(w);

    world_request_all(w, c, 1, "a");
    world_request_all(w, c, 2, "a");
    world_expect(w, m,
                 "MONITORED REQUEST #1 0 a 4.0 4/10 OK [2/1 DELIVERED NONE 0]"
                 " [3/1 DELIVERED NONE 0]\n"
                 "MONITORED REQUEST #2 0 a 4.0 4/10 OK [2/1 QUEUED NONE 0]"
                 " [3/1 QUEUED NONE 0]\n");
    sim_read(&w->s, x, 10);
    world_reply(w, x, 1);
    sim_disconnect(&w->s, y);
    world_expect(w, m,
                 "MONITORED REPLY #1 0 a 2.0 4/10 OK [4/0 DELIVERED NONE 0]\n"
                 "MONITORED DONE #1 0 a 4.0 0/0 OK\n");
    sim_disconnect(&w->s, x);
    world_expect(w, m, "MONITORED DONE #2 0 a 4.0 0/0 OK\n");
}

static void test_monitors_see_what_becomes_of_replies(void **state)
{
    struct world *w = *state;
    struct sim_client *m = monitor_join(w), *s = world_join_server(w, "a", 3), *c = world_join(w);

    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    sim_read(&w->s, s, 10);
    sim_read(&w->s, m, 10);
    world_clear(w, m);
    world_fill_output(w, c);
    world_reply(w, s, 1);
    c->peer->quota.limit = 0;
    world_reply(w, s, 2);
    world_expect(w, m,
                 "MONITORED REPLY #1 0 a 2.0 4/10 OK [3/0 QUEUED NONE 0]\n"
                 "MONITORED REPLY #2 0 a 2.0 4/10 OK [3/0 DROPPED NONE 0]\n"
                 "MONITORED DONE #2 0 a 3.0 0/0 LIMIT\n");
}

static void test_monitors_are_told_how_many_recipients_are_not_listed(void **state)
{
    struct limits limits = LIMITS_DEFAULT;
    struct world *w = world_new(&limits);
    struct sim_client *m = monitor_join(w), *c = world_join(w), *s = world_join(w);

    (void) state;
    for (unsigned i = 1; i <= 1003; i++) {
        struct wire_subscribe serve = {
            .subscription = i, .filter = text_from("a"), .flags = SUBSCRIBE_SERVE};

        sim_send(&w->s, s, VERB_SUBSCRIBE, &serve, NULL, 0);
    }
    s->peer->output_max = 0; /* they are asked, but nothing reaches them */
    world_request_all(w, c, 1, "a");
    m->n_records = 0;
    w->s.on_frame = NULL; /* the transcript has no room for so many */
    sim_read(&w->s, m, 10000);
    assert_int_equal(m->n_records, 1);
    assert_int_equal(m->n_omitted, 3);
    w->s.on_frame = world_on_frame;
    sim_disconnect(&w->s, s);
    sim_work_off(&w->s);
    world_expect(w, c, "DONE OK 1 0/1003/0\n");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_replies_with_more_come_before_the_last),
        WORLD_CASES(test_each_reply_with_more_gives_new_time),
        WORLD_CASES(test_64_replies_may_be_ahead_of_the_requester),
        WORLD_CASES(test_each_part_has_credit_of_its_own),
        WORLD_CASES(test_answers_wait_in_their_order),
        WORLD_CASES(test_a_requester_that_leaves_too_much_unread_hits_its_limit),
        WORLD_CASE(test_refusals_do_not_wait_behind_answers),
        WORLD_CASES(test_monitors_see_requests_replies_and_ends),
        WORLD_CASES(test_monitors_see_requests_to_all),
        WORLD_CASES(test_monitors_see_what_becomes_of_replies),
        cmocka_unit_test(test_monitors_are_told_how_many_recipients_are_not_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
