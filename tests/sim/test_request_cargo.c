/* SPDX-License-Identifier: MIT */
/* Bodies of requests and replies in buffers, bodies that do not fit, and descriptors. */
#include "core/request.h"
#include "support/calls.h"

static struct sim_client *join_mapping_server(struct world *w, const char *filter, uint32_t window)
{
    struct sim_client *c = world_join_mapping(w);

    world_serve(w, c, filter, window);
    return c;
}

/* To topic "a", 100 bytes in a place of buffer 1. */
static void ask_in(struct world *w, struct sim_client *c, uint32_t number, unsigned slot)
{
    sim_request(&w->s, c,
                &(struct sim_request){number, "a", .body = {100, .buffer = 1, .slot = slot}});
}

static void reply_in(struct world *w, struct sim_client *c, unsigned call, unsigned slot,
                     uint32_t flags)
{
    sim_reply(
        &w->s, c,
        &(struct sim_reply){world_call(w, call), flags, .body = {100, .buffer = 1, .slot = slot}});
}

/* ---- buffers ---- */

static void test_bodies_in_buffers_go_by_reference_both_ways(void **state)
{
    struct world *w = *state;
    struct sim_client *s = join_mapping_server(w, "a", 10), *c = world_join_mapping(w);

    assert_true(sim_register(&w->s, s, 1, SLOT_BYTES, true));
    assert_true(sim_register(&w->s, c, 1, SLOT_BYTES, false));
    ask_in(w, c, 5, 2);
    world_expect(w, s, "BUFFER 2 8192\nCALL 1 a 2 call=1 3600000 in 2 2048 100 1\nPING\n");
    assert_int_equal(s->body_number, w->s.n_asked);
    world_expect(w, c, "");
    sim_release(&w->s, s, 1, 0);
    world_expect(w, c, "RETURNED 1 2048\n"); /* while it is open: nobody needs it any more */
    reply_in(w, s, 1, 3, 0);
    world_expect(w, c, "BUFFER 1 8192 immutable\nANSWER 5 1 in 1 3072 100 1\nPING\n");
    assert_int_equal(c->body_number, w->s.n_asked);
    sim_release(&w->s, c, 1, 0);
    world_expect(w, s, "RETURNED 1 3072\n");
}

static void test_leases_of_calls_outlive_them(void **state)
{
    struct world *w = *state;
    struct sim_client *s = join_mapping_server(w, "a", 10), *c = cargo_publisher(w);

    ask_in(w, c, 1, 0);
    world_expect(w, s, "BUFFER 1 8192\nCALL 1 a 2 call=1 3600000 in 1 0 100 1\nPING\n");
    world_cancel(w, c, 1);
    world_expect(w, c, "DONE CANCELLED 1\n");
    world_expect(w, s, "CANCEL call=1 CANCELLED\n");
    sim_release(&w->s, s, 1, 0); /* checks the body */
    world_expect(w, c, "RETURNED 1 0\n");
}

static void test_who_cannot_map_gets_the_bytes(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = cargo_publisher(w);

    assert_true(sim_register(&w->s, s, 1, SLOT_BYTES, false));
    ask_in(w, c, 1, 0);
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    assert_int_equal(s->body_bytes, 100);
    world_expect(w, c, "RETURNED 1 0\n");
    reply_in(w, s, 1, 1, 0);
    world_expect(w, c, "ANSWER 1 1\n");
    assert_int_equal(c->body_bytes, 100);
    world_expect(w, s, "RETURNED 1 1024\n");
}

static void test_what_waits_is_returned_when_it_does_not_wait_any_more(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = cargo_publisher(w);

    world_request(w, c, 1, "a");
    ask_in(w, c, 2, 0);
    ask_in(w, c, 3, 1);
    sim_request(
        &w->s, c,
        &(struct sim_request){4, "a", .timeout_ms = 10, .body = {100, .buffer = 1, .slot = 2}});
    ask_in(w, c, 5, 3);
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    world_cancel(w, c, 2);
    world_advance_ms(w, 10);
    world_expect(w, c, "RETURNED 1 0\nDONE CANCELLED 2\nRETURNED 1 2048\nDONE TIMEOUT 4 0/0/1\n");
    world_reply(w, s, 1); /* the next one is delivered with its bytes, and open */
    world_expect(w, c, "ANSWER 1 1\nRETURNED 1 1024\n");
    sim_disconnect(&w->s, s);
    world_expect(w, c, "DONE RESPONDER_GONE 3 0/1/0\nRETURNED 1 3072\nDONE NO_RESPONDER 5\n");
}

static void test_refused_requests_and_replies_return_their_bodies(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join(w), *c = cargo_publisher(w);

    assert_true(sim_register(&w->s, s, 1, SLOT_BYTES, false));
    ask_in(w, c, 1, 0);
    world_expect(w, c, "DONE NO_RESPONDER 1\nRETURNED 1 0\n");
    sim_request(&w->s, c, &(struct sim_request){1, "$bus", .body = {100, .buffer = 1, .slot = 1}});
    world_expect(w, c, "DONE INVALID_ARGUMENT 1\nRETURNED 1 1024\n");
    world_serve(w, s, "a", 1);
    world_request(w, c, 1, "a");
    ask_in(w, c, 1, 2);
    ask_in(w, c, 0, 3);
    ask_in(w, c, UINT32_MAX, 4);
    sim_request(&w->s, c,
                &(struct sim_request){2, "a", .body = {SIM_SLOTS * SLOT_BYTES, .buffer = 1}});
    world_expect(w, c,
                 "STATUS IN_USE REQUEST call=1\nRETURNED 1 2048\n"
                 "STATUS INVALID_ARGUMENT REQUEST\nRETURNED 1 3072\n"
                 "STATUS LIMIT REQUEST call=4294967295\nRETURNED 1 4096\n");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    reply_in(w, s, 1, 0, 64); /* unknown flags */
    world_expect(w, s, "STATUS INVALID_ARGUMENT REPLY call=1\nRETURNED 1 0\n");
    world_cancel(w, c, 1);
    reply_in(w, s, 1, 0, 0);
    sim_read(&w->s, s, 100);
    assert_non_null(strstr(w->text[0], "STATUS UNKNOWN_CALL REPLY call=1\nRETURNED 1 0\n"));
    world_clear(w, s);
}

static void test_a_request_to_all_lends_one_body_to_all(void **state)
{
    struct world *w = *state;
    struct sim_client *x = join_mapping_server(w, "a", 1), *y = join_mapping_server(w, "a", 1);
    struct sim_client *c = cargo_publisher(w);

    world_request(w, c, 1, "a"); /* y is busy */
    sim_request(&w->s, c,
                &(struct sim_request){2, "a", .flags = REQUEST_ALL, .body = {100, .buffer = 1}});
    world_expect(w, y, "CALL 1 a 3 call=1 3600000\n");
    world_expect(w, x, "BUFFER 1 8192\nCALL 1 a 3 call=2 3600000 in 1 0 100 1\nPING\n");
    sim_release_all(&w->s, x);
    world_expect(w, c, "");
    world_reply(w, y, 1);
    world_expect(w, y, "BUFFER 1 8192\nCALL 1 a 3 call=3 3600000 in 1 0 100 1\nPING\n");
    sim_release_all(&w->s, y);
    world_expect(w, c, "ANSWER 1 2\nRETURNED 1 0\n");
    world_reply(w, x, 2);
    sim_disconnect(&w->s, y);
    world_expect(w, c, "ANSWER 2.1 1\nDONE OK 2 1/1/0\n");
}

static void test_calls_and_answers_wait_for_leases(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *s, *c;

    (void) state;
    limits.leases_max = 1;
    w = world_new(&limits);
    s = join_mapping_server(w, "a", 10);
    c = world_join_mapping(w);
    assert_true(sim_register(&w->s, s, 1, SLOT_BYTES, false));
    assert_true(sim_register(&w->s, c, 1, SLOT_BYTES, false));
    ask_in(w, c, 1, 0);
    ask_in(w, c, 2, 1);
    world_request(w, c, 3, "a"); /* behind it: the topic has one order */
    world_expect(w, s, "BUFFER 2 8192\nCALL 1 a 2 call=1 3600000 in 2 0 100 1\nPING\n");
    sim_release_all(&w->s, s);
    world_expect(w, s, "CALL 1 a 2 call=2 3600000 in 2 1024 100 1\nCALL 1 a 2 call=3 3600000\n");
    world_expect(w, c, "RETURNED 1 0\n");
    reply_in(w, s, 1, 0, 0);
    reply_in(w, s, 2, 1, 0);
    world_reply(w, s, 3);
    world_expect(w, c, "BUFFER 1 8192\nANSWER 1 1 in 1 0 100 1\nPING\n");
    sim_release_all(&w->s, c);
    world_expect(w, c, "ANSWER 2 1 in 1 1024 100 1\nANSWER 3 1\n");
    sim_release_all(&w->s, s);
    world_expect(w, c, "RETURNED 1 1024\n");
    world_expect(w, s, "RETURNED 1 0\n");
    world_free(w);
}

/* ---- too large ---- */

static struct sim_client *join_on(struct world *w, bool stream)
{
    struct sim_client *c;
    bool was = w->on_streams;

    w->on_streams = stream;
    c = world_join(w);
    w->on_streams = was;
    return c;
}

/* A stream takes 8,192 bytes in these tests. */
static void ask_large(struct world *w, struct sim_client *c, uint32_t number, uint32_t flags)
{
    sim_request(&w->s, c, &(struct sim_request){number, "a", .flags = flags, .body = {9000}});
}

static void test_bodies_go_to_servers_that_can_get_them(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_on(w, false), *narrow = join_on(w, true), *wide;

    world_serve(w, narrow, "a", 1);
    ask_large(w, c, 1, 0);
    ask_large(w, c, 2, REQUEST_ALL);
    world_expect(w, c, "DONE LIMIT 1\nDONE LIMIT 2\n");
    wide = join_on(w, false);
    world_serve(w, wide, "a", 1);
    ask_large(w, c, 1, 0);
    ask_large(w, c, 2, REQUEST_ALL); /* only who can get it is asked */
    world_expect(w, wide, "CALL 1 a 1 call=1 3600000\n");
    world_reply(w, wide, 1);
    world_expect(w, wide, "CALL 1 a 1 call=2 3600000\n");
    world_reply(w, wide, 2);
    world_expect(w, c, "ANSWER 1 3\nANSWER 2.1 3\nDONE OK 2 1/0/0\n");
    world_expect(w, narrow, "");
}

static void test_what_is_too_large_for_one_server_does_not_hold_up_the_rest(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_on(w, false), *narrow = join_on(w, true), *wide = join_on(w, false);

    world_serve(w, narrow, "a", 1);
    world_serve(w, wide, "a", 1);
    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    ask_large(w, c, 3, 0);
    ask_large(w, c, 4, 0);
    world_request(w, c, 5, "a");
    world_expect(w, wide, "CALL 1 a 1 call=1 3600000\n");
    world_expect(w, narrow, "CALL 1 a 1 call=2 3600000\n");
    world_reply(w, narrow, 2);
    world_expect(w, narrow, "CALL 1 a 1 call=3 3600000\n");
    world_reply(w, narrow, 3);
    world_advance_ms(w, 1);
    world_request(w, c, 6, "a"); /* nobody needs to wait for it */
    world_expect(w, narrow, "CALL 1 a 1 call=4 3600000\n");
    world_reply(w, wide, 1);
    world_expect(w, wide, "CALL 1 a 1 call=5 3599999\n");
    sim_disconnect(&w->s, wide);
    sim_read(&w->s, c, 10);
    assert_non_null(strstr(w->text[0], "DONE RESPONDER_GONE 3 0/1/0\n"));
    world_clear(w, c);
    world_advance_ms(w, 3600000); /* one that fits may come: until then it waits */
    world_expect(w, c, "DONE TIMEOUT 4 0/0/1\nDONE TIMEOUT 6 0/0/1\n");
}

static void test_an_answer_that_is_too_large_ends_the_request(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_on(w, true), *s = join_on(w, false);

    world_serve(w, s, "a", 3);
    world_request(w, c, 1, "a");
    world_request(w, c, 2, "a");
    world_expect(w, s, "CALL 1 a 1 call=1 3600000\nCALL 1 a 1 call=2 3600000\n");
    sim_reply(&w->s, s, &(struct sim_reply){world_call(w, 1), .body = {9000}});
    sim_reply(&w->s, s, &(struct sim_reply){world_call(w, 2), .flags = REPLY_MORE, .body = {9000}});
    world_expect(w, c, "DONE LIMIT 1\nDONE LIMIT 2\n");
    world_expect(w, s, "CANCEL call=2 LIMIT\n");
}

/* ---- descriptors ---- */

static void ask_with(struct world *w, struct sim_client *c, uint32_t number, unsigned n_fds)
{
    sim_request(
        &w->s, c,
        &(struct sim_request){number, "a", .flags = REQUEST_DESCRIPTORS, .body = {.n_fds = n_fds}});
}

static struct sim_client *join_fd_server(struct world *w, uint32_t window)
{
    struct sim_client *s = world_join(w);

    world_serve_as(w, s, 0, &(struct world_server){"a", window, .descriptors = true});
    sim_read(&w->s, s, 10);
    world_clear(w, s);
    return s;
}

static void test_descriptors_come_along_both_ways(void **state)
{
    struct world *w = *state;
    struct sim_client *s = join_fd_server(w, 10), *c = world_join(w);

    ask_with(w, c, 1, 3);
    world_expect(w, s, "CALL 1 a 2 call=1 3600000 3/3\nPING\n");
    assert_int_equal(sim_fds_open(), 0);
    sim_reply(&w->s, s, &(struct sim_reply){.body = {.n_fds = 2}});
    world_expect(w, c, "ANSWER 1 1 2/2\nPING\n");
    assert_int_equal(sim_fds_open(), 0);
}

static void test_who_does_not_want_descriptors_is_told_how_many_there_were(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 10), *c = world_join(w);

    sim_request(&w->s, c, &(struct sim_request){1, "a", .body = {.n_fds = 3}});
    world_expect(w, s, "CALL 1 a 2 call=1 3600000 0/3\n");
    sim_reply(&w->s, s, &(struct sim_reply){.body = {.n_fds = 2}});
    world_expect(w, c, "ANSWER 1 1 0/2\n");
    assert_int_equal(sim_fds_open(), 0);
}

static void test_one_frame_with_descriptors_at_a_time(void **state)
{
    struct world *w = *state;
    struct sim_client *s = join_fd_server(w, 10), *c = world_join(w);

    for (unsigned n = 1; n <= 3; n++) {
        ask_with(w, c, n, 1);
    }
    world_expect(w, s, "CALL 1 a 2 call=1 3600000 1/1\nPING\n");
    assert_int_equal(sim_fds_open(), 2);
    sim_pong(&w->s, s);
    world_expect(w, s, "CALL 1 a 2 call=2 3600000 1/1\nPING\n");
    world_cancel(w, c, 3);
    assert_int_equal(sim_fds_open(), 0);
    sim_pong(&w->s, s);
    world_expect(w, s, "");
    world_expect(w, c, "DONE CANCELLED 3\n");
    for (unsigned n = 1; n <= 2; n++) {
        sim_reply(&w->s, s, &(struct sim_reply){world_call(w, n), .body = {.n_fds = 4}});
    }
    world_expect(w, c, "ANSWER 1 1 4/4\nPING\n");
    assert_int_equal(sim_fds_open(), 4);
    sim_pong(&w->s, c);
    world_expect(w, c, "ANSWER 2 1 4/4\nPING\n");
    assert_int_equal(sim_fds_open(), 0);
}

static void test_descriptors_that_are_missing_or_too_many_are_refused(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *s, *c;
    const struct wire_request request = {.call = 1, .topic = {"a", 1}};
    struct wire_reply reply = {0};

    (void) state;
    limits.client_descriptors_max = 8;
    w = world_new(&limits);
    s = join_fd_server(w, 1);
    c = world_join(w);
    world_request(w, c, 1, "a");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
    reply.call = world_call(w, 1);
    for (unsigned i = 0; i < 2; i++) {
        struct sim_client *from = i ? c : s;
        enum verb verb = i ? VERB_REQUEST : VERB_REPLY;
        const void *m = i ? (const void *) &request : &reply;

        sim_send_parcel(&w->s, from, verb, m, NULL, 0, 2, NULL);
        sim_send_parcel(&w->s, from, verb, m, NULL, 0, 2, sim_parcel_of(1));
        sim_send_parcel(&w->s, from, verb, m, NULL, 0, 17, NULL);
        sim_send_parcel(&w->s, from, verb, m, NULL, 0, 9, sim_parcel_of(9));
        if (!i) {
            world_reply(w, s, 1);
            world_expect(w, s,
                         "STATUS BAD_DESCRIPTORS REPLY call=1\n"
                         "STATUS BAD_DESCRIPTORS REPLY call=1\n"
                         "STATUS UNSUPPORTED REPLY call=1\nSTATUS LIMIT REPLY call=1\n");
            world_expect(w, c, "ANSWER 1 1\n");
        }
    }
    world_expect(w, c,
                 "DONE BAD_DESCRIPTORS 1\nDONE BAD_DESCRIPTORS 1\nDONE UNSUPPORTED 1\n"
                 "DONE LIMIT 1\n");
    assert_int_equal(sim_fds_open(), 0);
    /* what waits is charged to who asked */
    world_request(w, c, 1, "a");
    ask_with(w, c, 2, 6);
    ask_with(w, c, 3, 6);
    world_expect(w, c, "DONE LIMIT 3\n");
    world_expect(w, s, "CALL 1 a 2 call=2 3600000\n");
    world_cancel(w, c, 2);
    ask_with(w, c, 3, 6);
    world_expect(w, c, "DONE CANCELLED 2\n");
    assert_int_equal(COUNTER(w, requests_now), 2);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_bodies_in_buffers_go_by_reference_both_ways),
        WORLD_CASES(test_leases_of_calls_outlive_them),
        WORLD_CASES(test_who_cannot_map_gets_the_bytes),
        WORLD_CASES(test_what_waits_is_returned_when_it_does_not_wait_any_more),
        WORLD_CASES(test_refused_requests_and_replies_return_their_bodies),
        WORLD_CASES(test_a_request_to_all_lends_one_body_to_all),
        cmocka_unit_test(test_calls_and_answers_wait_for_leases),
        WORLD_CASE(test_bodies_go_to_servers_that_can_get_them),
        WORLD_CASE(test_what_is_too_large_for_one_server_does_not_hold_up_the_rest),
        WORLD_CASE(test_an_answer_that_is_too_large_ends_the_request),
        WORLD_CASES(test_descriptors_come_along_both_ways),
        WORLD_CASES(test_who_does_not_want_descriptors_is_told_how_many_there_were),
        WORLD_CASES(test_one_frame_with_descriptors_at_a_time),
        cmocka_unit_test(test_descriptors_that_are_missing_or_too_many_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
