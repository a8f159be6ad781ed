/* SPDX-License-Identifier: MIT */
/* A router that was started again holds what is published until those who were there have come
 * back. docs/protocol.md, section 16. */
#include <errno.h>
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/sim_cargo.h"
#include "support/world.h"

/* Frames of a client that the router has not taken yet. */
struct letter {
    uint8_t data[4096];
    size_t n;
};

static void add(struct world *w, struct letter *l, enum verb verb, const void *m)
{
    uint8_t *dst = l->data + l->n;
    long n = codec_encode(&w->s.arena, verb, m, dst + FRAME_PREFIX_BYTES, 1024);

    assert_true(n >= 0);
    frame_write_prefix(dst, verb, (size_t) n, 0);
    l->n += FRAME_PREFIX_BYTES + (size_t) n;
    assert_true(l->n < sizeof(l->data) - 2048);
}

/* Returns whether all was taken; what was not stays, as in a link. */
static bool offer(struct world *w, struct sim_client *c, struct letter *l)
{
    struct input_result r = sim_send_raw(&w->s, c, l->data, l->n);

    memmove(l->data, l->data + r.consumed, l->n - r.consumed);
    l->n -= r.consumed;
    assert_true(l->n == 0 || r.more);
    router_check(w->s.router);
    return l->n == 0;
}

static void expect(struct world *w, unsigned n, const uint64_t *sessions)
{
    struct session_id ids[4];

    for (unsigned i = 0; i < n; i++) {
        ids[i] = (struct session_id){w->s.uid, 77, sessions[i]};
    }
    assert_int_equal(router_expect(w->s.router, ids, n, w->s.now.monotonic_ns + 2000 * MS), 0);
}

static struct sim_client *join(struct world *w, uint64_t session)
{
    struct sim_client *c;

    w->s.session = session;
    c = world_join(w);
    w->s.session = 0;
    return c;
}

static void restored(struct world *w, struct sim_client *c)
{
    sim_send(&w->s, c, VERB_RESTORED, &(struct wire_restored){0}, NULL, 0);
}

static const struct wire_publish publish_a = {.topic = {"a", 1}};
static const struct wire_subscribe subscribe_a = {
    .subscription = 1, .filter = {"a", 1}, .window_messages = 9, .window_bytes = 9999};

/* The publisher is there first and gets nowhere; the subscriber gets what it publishes. */
static void test_no_publisher_overtakes_its_subscribers(void **state)
{
    struct world *w = *state;
    struct letter l = {.n = 0};
    struct sim_client *p, *c;

    w->s.looks_away = true;
    expect(w, 2, (const uint64_t[]){5, 6});
    p = join(w, 5);
    add(w, &l, VERB_RESTORED, &(struct wire_restored){0});
    add(w, &l, VERB_PING, &(struct wire_ping){1});
    add(w, &l, VERB_PUBLISH, &publish_a);
    add(w, &l, VERB_PING, &(struct wire_ping){2});
    assert_false(offer(w, p, &l));
    world_expect(w, p, "PONG 1\n");
    assert_false(peer_wants_input(p->peer));
    c = join(w, 6);
    c->subs[0].used = true;
    sim_send(&w->s, c, VERB_SUBSCRIBE, &subscribe_a, NULL, 0);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\n");
    assert_true(router_is_holding(w->s.router));
    while (router_next_dirty(w->s.router)) {
    }
    restored(w, c);
    assert_true(router_next_dirty(w->s.router) == p->peer); /* so its link goes on */
    assert_true(peer_wants_input(p->peer));
    assert_true(offer(w, p, &l));
    world_expect(w, c, "MESSAGE 1 a 1.1\n");
    world_expect(w, p, "PONG 2\n");
}

static void test_requests_and_clears_are_held_too_and_all_else_is_not(void **state)
{
    static const struct wire_request request = {.call = 1, .topic = {"a", 1}};
    static const struct wire_clear clear = {.topic = {"a", 1}};
    struct world *w = *state;
    struct letter l[2] = {{.n = 0}, {.n = 0}};
    struct sim_client *c[2], *other;

    expect(w, 1, (const uint64_t[]){5});
    c[0] = join(w, 0);
    c[1] = join(w, 0);
    other = join(w, 0);
    add(w, &l[0], VERB_REQUEST, &request);
    add(w, &l[1], VERB_CLEAR, &clear);
    assert_false(offer(w, c[0], &l[0]));
    assert_false(offer(w, c[1], &l[1]));
    sim_advertise(&w->s, other, 0, "a");
    sim_send(&w->s, other, VERB_WILL, &(struct wire_will){.topic = {"w", 1}}, NULL, 0);
    sim_send(&w->s, other, VERB_GOODBYE, &(struct wire_goodbye){0}, NULL, 0);
    world_expect(w, other, "GOODBYE NORMAL\n");
    restored(w, join(w, 5));
    assert_true(offer(w, c[0], &l[0]) && offer(w, c[1], &l[1]));
    world_expect(w, c[0], "DONE NO_RESPONDER 1\n");
    world_expect(w, c[1], "");
}

static void test_the_grace_ends(void **state)
{
    struct world *w = *state;
    struct letter l = {.n = 0};
    struct sim_client *p;

    expect(w, 1, (const uint64_t[]){5});
    assert_true(router_deadline(w->s.router) <= w->s.now.monotonic_ns + 2000 * MS);
    p = join(w, 0);
    add(w, &l, VERB_PUBLISH, &publish_a);
    assert_false(offer(w, p, &l));
    sim_advance(&w->s, 2000 * MS - 1);
    assert_true(router_is_holding(w->s.router));
    assert_false(offer(w, p, &l)); /* whoever asks again */
    sim_advance(&w->s, 1);
    assert_false(router_is_holding(w->s.router));
    assert_true(offer(w, p, &l));
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
}

static void test_who_has_died_is_not_waited_for(void **state)
{
    struct world *w = *state;
    struct session_id gone = {w->s.uid, 77, 5}, other = {w->s.uid, 78, 5};

    expect(w, 1, (const uint64_t[]){5});
    router_unexpect(w->s.router, &other);
    assert_true(router_is_holding(w->s.router));
    router_unexpect(w->s.router, &gone);
    assert_false(router_is_holding(w->s.router));
    router_unexpect(w->s.router, &gone);
}

static void test_only_the_same_session_is_that_session(void **state)
{
    struct world *w = *state;
    struct sim_client *c;

    expect(w, 1, (const uint64_t[]){5});
    restored(w, join(w, 6));
    restored(w, join(w, 0));
    w->s.uid++;
    restored(w, join(w, 5));
    w->s.uid--;
    assert_true(router_is_holding(w->s.router));
    c = join(w, 5);
    sim_disconnect(&w->s, c); /* which has not said it: it may come again */
    assert_true(router_is_holding(w->s.router));
    c = join(w, 5);
    restored(w, c);
    assert_false(router_is_holding(w->s.router));
    restored(w, c); /* means nothing */
    sim_send(&w->s, c, VERB_RESTORED, &(struct wire_restored){1}, NULL, 0);
    world_expect(w, c, "STATUS INVALID_ARGUMENT RESTORED\n");
}

static void test_one_that_is_expected_twice_comes_once(void **state)
{
    struct world *w = *state;

    expect(w, 3, (const uint64_t[]){5, 5, 5});
    restored(w, join(w, 5));
    assert_false(router_is_holding(w->s.router));
}

static void test_half_a_frame_is_held_and_goes_on(void **state)
{
    struct world *w = *state;
    struct letter l = {.n = 0}, half = {.n = 0};
    struct sim_client *p;

    expect(w, 1, (const uint64_t[]){5});
    w->on_streams = true;
    p = join(w, 0);
    add(w, &l, VERB_PUBLISH, &publish_a);
    half.n = FRAME_PREFIX_BYTES;
    memcpy(half.data, l.data, l.n);
    assert_false(offer(w, p, &half));
    sim_advance(&w->s, 2000 * MS);
    assert_int_equal(sim_send_raw(&w->s, p, half.data, half.n).need, l.n);
    assert_true(offer(w, p, &l));
    assert_int_equal(router_counters(w->s.router)->messages_published, 1);
}

/* They would be after 30 s, if their frame did not come. */
static void test_descriptors_of_a_held_frame_are_not_late(void **state)
{
    struct world *w = *state;
    const struct session_id id = {1, 2, 3};
    struct letter l = {.n = 0};
    struct sim_client *p;

    assert_int_equal(router_expect(w->s.router, &id, 1, w->s.now.monotonic_ns + 40000 * MS), 0);
    p = join(w, 0);
    add(w, &l, VERB_PUBLISH, &publish_a);
    l.data[FRAME_PREFIX_BYTES - 1] = 1;
    router_add_parcel(w->s.router, p->peer, sim_parcel_of(1), &w->s.now);
    assert_false(offer(w, p, &l));
    sim_advance(&w->s, 39999 * MS);
    router_check(w->s.router);
    assert_false(peer_is_closing(p->peer));
    sim_advance(&w->s, MS);
    router_check(w->s.router);
    assert_true(offer(w, p, &l));
    assert_int_equal(router_counters(w->s.router)->messages_published, 1);
}

static void test_the_end_of_a_held_client_or_of_the_router_is_an_end(void **state)
{
    struct world *w = *state;
    struct letter l[2] = {{.n = 0}, {.n = 0}};
    struct sim_client *p[2];

    expect(w, 1, (const uint64_t[]){5});
    for (unsigned i = 0; i < 2; i++) {
        p[i] = join(w, 0);
        add(w, &l[i], VERB_PUBLISH, &publish_a);
        assert_false(offer(w, p[i], &l[i]));
    }
    sim_disconnect(&w->s, p[0]);
    router_shutdown(w->s.router, &w->s.now);
    router_check(w->s.router);
    assert_true(offer(w, p[1], &l[1]));
    world_expect(w, p[1], "GOODBYE SHUTDOWN\n");
}

static void test_without_memory_nobody_is_expected(void **state)
{
    struct world *w = *state;
    const struct session_id ids[2] = {{1, 2, 3}, {1, 2, 4}};

    for (unsigned long n = 1; n <= 2; n++) {
        failmalloc_arm(n);
        assert_int_equal(router_expect(w->s.router, ids, 2, UINT64_MAX), -ENOMEM);
        assert_true(failmalloc_disarm());
        assert_false(router_is_holding(w->s.router));
    }
}

/* ---- who would come back ---- */

static int n_there;

static void on_begun(void *userdata, const struct session_id *id)
{
    assert_ptr_equal(userdata, &n_there);
    assert_true(id->uid == 1000 && id->pid == 77 && id->session == 5);
    n_there++;
}

static void on_ended(void *userdata, const struct session_id *id)
{
    on_begun(userdata, id);
    n_there -= 2;
}

static void test_sessions_that_would_return_are_told_with_begin_and_end(void **state)
{
    static const struct session_ops ops = {on_begun, on_ended};
    struct router_config config = {.limits = sim_small_limits(),
                                   .version = "test",
                                   .sessions = &ops,
                                   .sessions_userdata = &n_there};
    struct world *w = *state;
    struct sim_client *c[3];

    w->s.router = router_free(w->s.router);
    assert_int_equal(router_new(&config, &w->s.router), 0);
    (void) join(w, 5); /* which does not say that it returns */
    w->s.features = FEATURE_RETURNS;
    (void) join(w, 0); /* is no session */
    assert_int_equal(n_there, 0);
    for (unsigned i = 0; i < 3; i++) {
        c[i] = join(w, 5);
    }
    assert_int_equal(n_there, 3);
    sim_disconnect(&w->s, c[0]);
    assert_int_equal(n_there, 2);
    sim_send(&w->s, c[1], VERB_GOODBYE, &(struct wire_goodbye){0}, NULL, 0);
    assert_int_equal(n_there, 1);
    sim_read(&w->s, c[1], 100);
    assert_int_equal(n_there, 1);
    sim_disconnect(&w->s, c[2]);
    assert_int_equal(n_there, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_no_publisher_overtakes_its_subscribers),
        WORLD_CASES(test_requests_and_clears_are_held_too_and_all_else_is_not),
        WORLD_CASE(test_the_grace_ends),
        WORLD_CASE(test_who_has_died_is_not_waited_for),
        WORLD_CASE(test_only_the_same_session_is_that_session),
        WORLD_CASE(test_one_that_is_expected_twice_comes_once),
        WORLD_CASE(test_half_a_frame_is_held_and_goes_on),
        WORLD_CASE(test_descriptors_of_a_held_frame_are_not_late),
        WORLD_CASE(test_the_end_of_a_held_client_or_of_the_router_is_an_end),
        WORLD_CASE(test_without_memory_nobody_is_expected),
        WORLD_CASE(test_sessions_that_would_return_are_told_with_begin_and_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
