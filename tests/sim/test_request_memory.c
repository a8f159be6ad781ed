/* SPDX-License-Identifier: MIT */
/* Requests without memory: each allocation of a conversation fails once, quotas are used up, and
 * everything is charged to somebody. */
#include "core/request.h"
#include "support/calls_oracle.h"
#include "support/failmalloc.h"

/* ---- allocations that fail ---- */

struct talk {
    struct oracle *o;
    struct sim_client *x, *y, *c; /* servers and requester */
};

static bool is_alive(const struct sim_client *c)
{
    return c->peer && c->id != 0 && !peer_is_closing(c->peer);
}

static void talk_begin(struct talk *t)
{
    struct sim *s;

    t->o = oracle_new(NULL);
    t->o->is_starving = true;
    s = &t->o->w.s;
    s->features = FEATURE_BUFFERS;
    t->x = sim_connect(s, true);
    t->y = sim_connect(s, false);
    t->c = sim_connect(s, true);
    assert_true(sim_register(s, t->c, 1, SLOT_BYTES, false));
    assert_true(sim_register(s, t->x, 1, SLOT_BYTES, false));
}

static void talk_serve(struct talk *t, struct sim_client *c, unsigned number, const char *filter)
{
    struct wire_subscribe m = {.subscription = number,
                               .filter = text_from(filter),
                               .window_messages = 2,
                               .flags = SUBSCRIBE_SERVE | 2};

    const struct counters *k = router_counters(t->o->w.s.router);
    uint64_t before = k->subscriptions_now;

    if (is_alive(c)) {
        sim_send(&t->o->w.s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    }
    if (k->subscriptions_now > before) {
        oracle_serve(t->o, c, number - 1, filter);
    }
}

static void talk_ask(struct talk *t, const struct sim_request *q)
{
    if (is_alive(t->c)) {
        oracle_request(t->o, t->c, q);
    }
}

static void talk_read(struct talk *t)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        sim_read(&t->o->w.s, &t->o->w.s.clients[i], 1000);
    }
}

static void talk_reply(struct talk *t, struct sim_client *c, const struct sim_reply *q)
{
    struct oracle_call *call = is_alive(c) ? oracle_any_call(t->o, c) : NULL;

    if (call) {
        oracle_reply(t->o, c, call, q);
    }
}

/* Everything that there is, once. */
static void talk(struct talk *t)
{
    struct world *w = &t->o->w;

    talk_serve(t, t->x, 1, "a");
    talk_serve(t, t->y, 1, "+");
    talk_ask(t, &(struct sim_request){1, "a", .body = {300, 2}});
    talk_ask(t, &(struct sim_request){2, "a", .flags = REQUEST_ALL, .body = {5000}});
    talk_ask(t, &(struct sim_request){3, "a", .flags = 2, .body = {.buffer = 1}});
    talk_ask(t, &(struct sim_request){4, "a", .body = {.n_fds = 2}});
    talk_ask(t, &(struct sim_request){5, "b", .body = {500}});
    talk_ask(t, &(struct sim_request){6, "a", .timeout_ms = 50});
    talk_ask(t, &(struct sim_request){90, "a", .body = {5000}});
    talk_read(t);
    talk_reply(t, t->x, &(struct sim_reply){.flags = REPLY_MORE, .body = {100, 1}});
    talk_reply(t, t->x, &(struct sim_reply){.body = {.n_fds = 1}});
    talk_reply(t, t->y, &(struct sim_reply){.body = {5000}});
    if (is_alive(t->c)) {
        world_fill_output(w, t->c);
        world_consume(w, t->c, 1, 0, 1);
    }
    talk_read(t);
    talk_reply(t, t->x, &(struct sim_reply){.body = {.buffer = 1}});
    talk_reply(t, t->y, &(struct sim_reply){.flags = REPLY_MORE});
    if (is_alive(t->c)) {
        world_fill_output(w, t->c);
    }
    talk_reply(t, t->x, &(struct sim_reply){.flags = REPLY_MORE});
    talk_reply(t, t->y, &(struct sim_reply){0});
    if (is_alive(t->c)) {
        oracle_cancel(t->o, t->c, 4);
    }
    world_advance_ms(w, 60);
    talk_serve(t, t->x, 2, "b");
    if (is_alive(t->y)) {
        oracle_gone(t->o, t->y);
        sim_disconnect(&w->s, t->y);
    }
    talk_read(t);
}

static void talk_end(struct talk *t)
{
    router_check(t->o->w.s.router);
    oracle_settle(t->o);
    oracle_free(t->o);
}

static void test_each_allocation_of_a_conversation_may_fail(void **state)
{
    unsigned long failed = 1;

    (void) state;
    for (unsigned long n = 1; failed > 0; n++) {
        struct talk t;

        talk_begin(&t);
        failmalloc_arm(n);
        talk(&t);
        failed = failmalloc_disarm();
        if (failed == 0) { /* the whole of it, for once */
            assert_int_equal(n > 30, true);
        }
        talk_end(&t);
    }
}

static void test_all_allocations_from_one_on_may_fail(void **state)
{
    unsigned long failed = 1;

    (void) state;
    for (unsigned long n = 1; failed > 0; n++) {
        struct talk t;

        talk_begin(&t);
        failmalloc_arm_from(n);
        talk(&t);
        failed = failmalloc_disarm();
        talk_end(&t);
    }
}

/* ---- quotas ---- */

static void test_what_waits_is_charged_to_the_requester(void **state)
{
    struct world *w = *state; /* client_bytes_max is 256 KiB */
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);
    uint64_t used = c->peer->quota.used;
    uint32_t n = 0;

    do {
        sim_request(&w->s, c, &(struct sim_request){++n, "a", .body = {8000}});
        sim_read(&w->s, c, 10);
    } while (w->len[1] == 0);
    assert_in_range(n, 25, 33);
    assert_non_null(strstr(w->text[1], "DONE LIMIT"));
    world_clear(w, c);
    router_check(w->s.router);
    for (uint32_t i = 1; i < n; i++) {
        world_cancel(w, c, i);
        sim_read(&w->s, c, 10);
    }
    assert_true(c->peer->quota.used < used + 5000); /* the table is left, and the output */
    world_clear(w, c);
    sim_read(&w->s, s, 10);
    world_clear(w, s);
    world_request(w, c, 1, "a");
    sim_read(&w->s, s, 10);
    assert_int_equal(COUNTER(w, calls_now), 1);
}

static void test_topics_that_only_a_request_needs_are_charged_to_it(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "#", 100), *c = world_join(w);
    char topic[201];
    uint64_t used;

    world_request(w, c, 64, "a"); /* the table */
    used = c->peer->quota.used;
    memset(topic, 't', 200);
    topic[200] = '\0';
    for (uint32_t i = 1; i <= 10; i++) {
        topic[0] = (char) ('a' + i);
        world_request(w, c, i, topic);
    }
    assert_int_equal(COUNTER(w, topics_now), 11);
    assert_true(c->peer->quota.used >= used + 10 * (200 + sizeof(struct request)));
    sim_disconnect(&w->s, s);
    sim_work_off(&w->s);
    assert_int_equal(COUNTER(w, topics_now), 0);
}

static void test_a_number_whose_place_is_too_far_is_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *s = world_join_server(w, "a", 1), *c = world_join(w);

    world_request(w, c, 65536, "a"); /* a table of 512 KiB */
    world_expect(w, c, "DONE NO_MEMORY 65536\n");
    world_request(w, c, 1, "a");
    world_expect(w, s, "CALL 1 a 2 call=1 3600000\n");
}

static void test_a_request_to_many_is_charged_for_each(void **state)
{
    struct limits limits = LIMITS_DEFAULT;
    struct world *w;
    struct sim_client *s, *c;

    (void) state;
    limits.client_bytes_max = 256 * KIB;
    w = world_new(&limits);
    s = world_join(w);
    c = world_join(w);
    s->peer->quota.limit = 16 * MIB;
    for (unsigned i = 1; i <= 5000; i++) {
        struct wire_subscribe serve = {
            .subscription = i, .filter = text_from("a"), .flags = SUBSCRIBE_SERVE};

        sim_send(&w->s, s, VERB_SUBSCRIBE, &serve, NULL, 0);
    }
    s->peer->output_max = 0;
    world_request_all(w, c, 1, "a");
    world_expect(w, c, "DONE LIMIT 1\n");
    assert_int_equal(COUNTER(w, calls_now), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_of_a_conversation_may_fail),
        cmocka_unit_test(test_all_allocations_from_one_on_may_fail),
        WORLD_CASES(test_what_waits_is_charged_to_the_requester),
        WORLD_CASES(test_topics_that_only_a_request_needs_are_charged_to_it),
        WORLD_CASES(test_a_number_whose_place_is_too_far_is_refused),
        cmocka_unit_test(test_a_request_to_many_is_charged_for_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
