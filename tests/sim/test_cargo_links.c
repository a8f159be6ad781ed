/* SPDX-License-Identifier: MIT */
/* How buffers and descriptors come onto a link and off it: introductions, leases, what is on its
 * way at a time, and batches of descriptors that arrive. docs/protocol.md, sections 2 and 10. */
#include "core/state.h"
#include "support/cargo.h"

static void pong(struct world *w, struct sim_client *c, uint64_t token)
{
    struct wire_pong m = {token};

    sim_send(&w->s, c, VERB_PONG, &m, NULL, 0);
}

static struct sim_client *fds_subscriber(struct world *w)
{
    return cargo_subscriber(w, &(struct world_sub){"a", .window = 99, .descriptors = true});
}

/* ---- links that cannot map ---- */

static void test_a_link_without_buffers_gets_the_body_in_the_frame(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *p = cargo_publisher(w);

    world_subscribe(w, c, 0, &(struct world_sub){"a", .window = 2, .queue = 9});
    for (unsigned slot = 0; slot < 4; slot++) {
        cargo_publish(w, p, slot); /* its bytes are compared by the oracle */
    }
    world_expect(w, c, "MESSAGE 1 a 2.1\nMESSAGE 1 a 2.2\n");
    world_expect(w, p, "RETURNED 1 0\nRETURNED 1 1024\n");
    world_credit(w, c, 0, 2, 200);
    world_expect(w, c, "MESSAGE 1 a 2.3\nMESSAGE 1 a 2.4\n");
    world_expect(w, p, "RETURNED 1 2048\nRETURNED 1 3072\n");
}

static void test_a_body_too_large_for_such_a_link_is_lost_there(void **state)
{
    struct world *w = *state;
    struct sim_client *stream = sim_connect(&w->s, false), *p = world_join(w);
    struct sim_publish m = {.topic = "a", .buffer = 1, .body_bytes = 8193};

    world_subscribe(w, stream, 0, &(struct world_sub){"a", .window = 9});
    assert_true(sim_register(&w->s, p, 1, 10000, false));
    assert_true(sim_publish(&w->s, p, &m));
    m.slot = 1;
    m.body_bytes = 8192;
    assert_true(sim_publish(&w->s, p, &m));
    world_expect(w, stream, "LOSS 1 1 8193 TOO_LARGE\nMESSAGE 1 a 2.2\n");
    world_expect(w, p,
                 "PUBLISH_CREDIT 1 8193\nRETURNED 1 0\nPUBLISH_CREDIT 1 8192\nRETURNED 1 10000\n");
}

static void test_monitors_see_the_bytes_of_a_body_in_a_buffer(void **state)
{
    struct wire_monitor m = {.snap_bytes = 8};
    struct world *w = *state;
    struct sim_client *tap = world_join(w), *p = cargo_publisher(w);
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});

    tap->monitoring = true;
    sim_send(&w->s, tap, VERB_MONITOR, &m, NULL, 0);
    cargo_publish(w, p, 1);
    assert_true(cargo_try_fds(w, p, 3));
    assert_true(cargo_try_fds(w, p, 1));
    world_expect(w, tap,
                 "STATUS OK MONITOR\nMONITORED 1 a 2.1 8/100 OK [3/1 DELIVERED NONE 0]\n"
                 "MONITORED 2 a 2.2 8/10 OK [3/1 DELIVERED NONE 0]\n"
                 "MONITORED 3 a 2.3 8/10 OK [3/1 DELIVERED NONE 0]\n");
    sim_read(&w->s, c, 100);
    sim_release_all(&w->s, c);
    world_expect(w, p, "RETURNED 1 1024\n");
}

static uint32_t monitored_descriptors;
static uint8_t monitored_byte;

static void keep_monitored(struct sim *s, struct sim_client *c, const struct frame *f,
                           const union wire_any *m)
{
    (void) s;
    (void) c;
    if (f->verb == VERB_MONITORED) {
        monitored_descriptors = m->monitored.descriptors;
        monitored_byte = f->body_bytes > 8 ? f->body[8] : 0;
    }
}

static void test_monitors_are_told_of_descriptors_and_get_none(void **state)
{
    struct wire_monitor m = {0};
    struct world *w = *state;
    struct sim_client *tap = world_join(w), *p = cargo_publisher(w);

    tap->monitoring = true;
    sim_send(&w->s, tap, VERB_MONITOR, &m, NULL, 0);
    w->s.on_frame = keep_monitored;
    assert_true(cargo_try_fds(w, p, 3));
    sim_read(&w->s, tap, 100);
    assert_int_equal(monitored_descriptors, 3);
    cargo_publish(w, p, 0);
    sim_read(&w->s, tap, 100);
    assert_int_equal(monitored_descriptors, 0);
    assert_int_equal(monitored_byte, w->s.n_published);
}

/* ---- introductions ---- */

static void test_each_link_is_told_of_a_buffer_before_its_first_message(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    struct sim_client *p = cargo_publisher(w), *late;

    cargo_publish(w, p, 0);
    late = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    cargo_publish(w, p, 1);
    world_expect(w, c,
                 "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 100 1\nPING\n"
                 "MESSAGE 1 a 2.2 in 1 1024 100 2\n");
    world_expect(w, late, "BUFFER 1 8192\nMESSAGE 1 a 2.2 in 1 1024 100 1\nPING\n");
}

static void test_what_was_forgotten_is_introduced_again(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    struct sim_client *p = cargo_publisher(w);

    cargo_publish(w, p, 0);
    sim_read(&w->s, c, 100);
    sim_pong(&w->s, c);
    world_clear(w, c);
    sim_release(&w->s, c, 1, RELEASE_FORGET);
    cargo_publish(w, p, 1);
    world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 2.2 in 1 1024 100 1\nPING\n");
    world_expect(w, p, "RETURNED 1 0\n");
}

/* Forgotten while more waits: the descriptor is there still. */
static void test_forgetting_with_messages_waiting(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 9});
    struct sim_client *p = cargo_publisher(w);

    cargo_publish(w, p, 0);
    cargo_publish(w, p, 1);
    sim_unregister(&w->s, p, 1);
    sim_read(&w->s, c, 100);
    sim_pong(&w->s, c);
    world_clear(w, c);
    sim_release(&w->s, c, 1, RELEASE_FORGET);
    world_credit(w, c, 0, 1, 100);
    world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 2.2 in 1 1024 100 1\nPING\n");
    assert_int_equal(sim_fds_open(), 0);
}

/* Others may be thousands, and each body may have a buffer of its own. */
static void test_taking_a_buffer_back_asks_no_more_links_than_know_it(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    struct sim_client *p = cargo_publisher(w);
    uint64_t before;

    for (unsigned i = 0; i < 8; i++) {
        (void) world_join(w);
    }
    assert_true(sim_register(&w->s, p, 2, SLOT_BYTES, false));
    before = w->s.router->work;
    sim_unregister(&w->s, p, 2);
    assert_int_equal(w->s.router->work - before, 1 + FRAME_UNITS);
    cargo_publish(w, p, 0);
    sim_settle(&w->s);
    world_clear(w, c);
    before = w->s.router->work;
    sim_unregister(&w->s, p, 1);
    assert_int_equal(w->s.router->work - before, 2 + FRAME_UNITS);
    world_expect(w, c, "UNBUFFER 1\n");
}

static void test_sixteen_buffers_are_on_their_way_at_most(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 99});
    struct sim_client *p[3];
    unsigned n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(p); i++) {
        p[i] = world_join(w);
        for (unsigned k = 1; k <= SIM_BUFFERS; k++) {
            assert_true(sim_register(&w->s, p[i], k, 64, false));
            assert_true(sim_publish(
                &w->s, p[i], &(struct sim_publish){.topic = "a", .buffer = k, .body_bytes = 64}));
        }
    }
    sim_read(&w->s, c, 100); /* asserts that there are 16 at most */
    assert_int_equal(c->subs[0].delivered, 16);
    pong(w, c, c->ping + 1);
    pong(w, c, c->ping - 1);
    sim_read(&w->s, c, 100);
    assert_int_equal(c->subs[0].delivered, 16);
    while (c->subs[0].delivered < 18 && n++ < 9) {
        sim_pong(&w->s, c);
        sim_read(&w->s, c, 100);
    }
    assert_int_equal(c->subs[0].delivered, 18);
}

/* ---- leases ---- */

static void test_leases_are_limited(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *p;
    struct world *w;

    (void) state;
    limits.leases_max = 2;
    w = world_new(&limits);
    c = cargo_subscriber(w, &(struct world_sub){"a", .window = 99});
    p = cargo_publisher(w);
    for (unsigned slot = 0; slot < 5; slot++) {
        cargo_publish(w, p, slot);
    }
    world_publish(w, p, "a"); /* in its place, behind them */
    world_expect(w, c,
                 "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 100 1\nPING\n"
                 "MESSAGE 1 a 2.2 in 1 1024 100 2\n");
    sim_pong(&w->s, c);
    world_expect(w, c, "");
    sim_release(&w->s, c, 2, 0);
    world_expect(w, c, "MESSAGE 1 a 2.3 in 1 2048 100 2\n");
    sim_release(&w->s, c, 1, 0);
    sim_release(&w->s, c, 2, 0);
    world_expect(w, c,
                 "MESSAGE 1 a 2.4 in 1 3072 100 1\nMESSAGE 1 a 2.5 in 1 4096 100 2\n"
                 "MESSAGE 1 a 2.6\n");
    world_expect(w, p, "RETURNED 1 1024\nRETURNED 1 0\nRETURNED 1 2048\n");
    world_free(w);
}

static void test_bytes_of_leases_are_limited_but_one_always_goes(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_publish m = {.topic = "a", .buffer = 1, .body_bytes = 1000};
    struct sim_client *c, *p;
    struct world *w;

    (void) state;
    limits.lease_bytes_max = 999;
    limits.publish_window_bytes = 100000;
    w = world_new(&limits);
    c = cargo_subscriber(w, &(struct world_sub){"a", .window = 99});
    p = cargo_publisher(w);
    for (m.slot = 0; m.slot < 3; m.slot++) {
        assert_true(sim_publish(&w->s, p, &m));
        m.body_bytes = 500;
    }
    world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 1000 1\nPING\n");
    sim_pong(&w->s, c);
    sim_release(&w->s, c, 1, 0);
    world_expect(w, c, "MESSAGE 1 a 2.2 in 1 1024 500 1\n"); /* two are 1,000 */
    sim_release(&w->s, c, 1, 0);
    world_expect(w, c, "MESSAGE 1 a 2.3 in 1 2048 500 1\n");
    world_free(w);
}

/* A message is small here if its body is elsewhere, but its headers may be long. */
static void test_what_leases_keep_here_is_charged(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    struct sim_client *p = cargo_publisher(w);
    uint64_t before = 0, each = 0;

    for (unsigned slot = 0; slot < 3; slot++) {
        before = COUNTER(w, charged_bytes_now);
        cargo_publish(w, p, slot);
        sim_read(&w->s, c, 100);
        sim_pong(&w->s, c);
        each = COUNTER(w, charged_bytes_now) - before;
    }
    world_clear(w, c);
    assert_true(each > sizeof(struct message));
    c->peer->quota.limit = c->peer->quota.used + each / 2;
    cargo_publish(w, p, 3); /* neither as a lease nor in the queue */
    world_expect(w, c, "LOSS 1 1 100 NO_MEMORY\n");
    sim_release(&w->s, c, 3, 0);
    cargo_publish(w, p, 4);
    world_expect(w, c, "MESSAGE 1 a 2.5 in 1 4096 100 3\n");
    router_check(w->s.router);
}

static void test_unknown_leases_are_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    struct sim_client *p = cargo_publisher(w);
    static const uint32_t unknown[] = {0, 1, 2, 16, 17, UINT32_MAX};

    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        struct wire_release m = {unknown[i], i & 1};

        sim_send(&w->s, c, VERB_RELEASE, &m, NULL, 0);
        world_expect(w, c, "STATUS INVALID_ARGUMENT RELEASE\n");
    }
    cargo_publish(w, p, 0);
    sim_read(&w->s, c, 100);
    sim_release(&w->s, c, 1, 0);
    world_clear(w, c);
    sim_send(&w->s, c, VERB_RELEASE, &(struct wire_release){1, 0}, NULL, 0);
    world_expect(w, c, "STATUS INVALID_ARGUMENT RELEASE\n");
    world_expect(w, p, "RETURNED 1 0\n");
}

/* What a client holds is charged to it; waiting subscriptions without end are the work of the
 * client that releases, not of the next one. */
static void test_releasing_costs_the_budget_of_who_releases(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *p;
    struct input_result r;
    struct received input;
    uint8_t frame[2 * (FRAME_PREFIX_BYTES + 2)];
    struct world *w;

    (void) state;
    limits.leases_max = 2;
    w = world_new(&limits);
    c = world_join_mapping(w);
    for (unsigned i = 0; i < SIM_SUBS; i++) {
        world_subscribe(w, c, i, &(struct world_sub){"a", .window = 99, .queue = 99});
    }
    p = cargo_publisher(w);
    cargo_publish(w, p, 0);
    cargo_publish(w, p, 1);
    sim_read(&w->s, c, 100);
    sim_pong(&w->s, c);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *at = frame + i * (FRAME_PREFIX_BYTES + 2);

        frame_write_prefix(at, VERB_RELEASE, 2, 0);
        at[FRAME_PREFIX_BYTES] = 8;
        at[FRAME_PREFIX_BYTES + 1] = (uint8_t) (i + 1);
    }
    input = (struct received){frame, sizeof(frame), NULL};
    r = router_input(w->s.router, c->peer, &input, 3, &w->s.now);
    assert_true(r.more);
    assert_int_equal(r.consumed, sizeof(frame) / 2);
    input = (struct received){frame + sizeof(frame) / 2, sizeof(frame) / 2, NULL};
    r = router_input(w->s.router, c->peer, &input, 3, &w->s.now);
    assert_int_equal(r.consumed, sizeof(frame) / 2);
    memset(c->leases, 0, sizeof(c->leases));
    c->n_leases = 0;
    sim_settle(&w->s);
    world_free(w);
}

/* ---- descriptors of applications ---- */

static void test_one_message_with_descriptors_is_on_its_way(void **state)
{
    struct world *w = *state;
    struct sim_client *c = fds_subscriber(w), *p = world_join(w);

    assert_true(cargo_try_fds(w, p, 1));
    assert_true(cargo_try_fds(w, p, 16));
    world_publish(w, p, "a");
    world_expect(w, c, "MESSAGE 1 a 2.1 1/1\nPING\n");
    pong(w, c, c->ping + 1);
    pong(w, c, 0);
    world_expect(w, c, "");
    sim_pong(&w->s, c);
    world_expect(w, c, "MESSAGE 1 a 2.2 16/16\nPING\nMESSAGE 1 a 2.3\n");
    pong(w, c, c->ping - 1); /* again */
    world_expect(w, c, "");
    sim_pong(&w->s, c);
    world_expect(w, c, "");
    assert_int_equal(sim_fds_open(), 0);
    assert_int_equal(COUNTER(w, descriptors_now), 0);
}

/* Or descriptors would pile up on the way to who does not read. */
static void test_the_answer_to_a_ping_cannot_be_guessed(void **state)
{
    struct world *w = *state;
    struct sim_client *c = fds_subscriber(w), *p = world_join(w);
    uint64_t first;

    for (unsigned i = 0; i < 3; i++) {
        assert_true(cargo_try_fds(w, p, 1));
    }
    world_expect(w, c, "MESSAGE 1 a 2.1 1/1\nPING\n");
    first = c->ping;
    sim_pong(&w->s, c);
    for (uint64_t guess = 0; guess < 1000; guess++) { /* without having read it */
        pong(w, c, guess);
        pong(w, c, first + guess);
    }
    world_expect(w, c, "MESSAGE 1 a 2.2 1/1\nPING\n");
}

static void test_who_has_not_asked_for_descriptors_is_not_held_up(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    struct sim_client *d = fds_subscriber(w), *p = world_join(w);

    world_subscribe(w, d, 1, &(struct world_sub){"#", .window = 9});
    assert_true(cargo_try_fds(w, p, 2));
    assert_true(cargo_try_fds(w, p, 3));
    world_expect(w, c, "MESSAGE 1 a 3.1 0/2\nMESSAGE 1 a 3.2 0/3\n");
    sim_read(&w->s, d, 100);
    assert_int_equal(d->subs[0].delivered, 1);
    assert_int_equal(d->subs[1].delivered, 2);
    assert_int_equal(sim_fds_open(), 3);
}

/* Whoever does not read would else keep the publisher from sending any more. */
static void test_queues_of_who_has_not_asked_keep_no_descriptors(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 50});
    struct sim_client *d = cargo_subscriber(
        w, &(struct world_sub){"a", .window = 1, .queue = 50, .descriptors = true});
    struct sim_client *p = world_join(w);

    for (unsigned i = 0; i < 5; i++) {
        assert_true(cargo_try_fds(w, p, 2));
    }
    assert_int_equal(COUNTER(w, descriptors_now), 8);
    sim_disconnect(&w->s, d); /* c still waits for four of them */
    assert_int_equal(COUNTER(w, descriptors_now), 0);
    assert_int_equal(sim_fds_open(), 0);
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered, 5);
}

static void test_descriptors_of_what_is_dropped_are_closed(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_client *c =
        cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 2, .descriptors = true});

    for (unsigned i = 0; i < 9; i++) {
        assert_true(cargo_try_fds(w, p, 2));
    }
    assert_int_equal(sim_fds_open(), 6);
    assert_int_equal(COUNTER(w, descriptors_now), 4); /* what is on the link is not charged */
    sim_disconnect(&w->s, c);
    assert_int_equal(sim_fds_open(), 0);
}

static void test_descriptors_and_a_body_in_a_buffer(void **state)
{
    struct world *w = *state;
    struct sim_client *c = fds_subscriber(w), *p = cargo_publisher(w);
    struct sim_publish m = {.topic = "a", .buffer = 1, .body_bytes = 50, .n_fds = 2};

    assert_true(sim_publish(&w->s, p, &m));
    world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 50 1 2/2\nPING\n");
    sim_pong(&w->s, c);
    sim_release_all(&w->s, c);
    world_expect(w, p, "RETURNED 1 0\n");
}

/* ---- batches that arrive ---- */

static void send_frames(struct world *w, struct sim_client *c, const char *fds, size_t n)
{
    uint8_t buf[256];
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        frame_write_prefix(buf + len, VERB_PUBLISH, 3, 8);
        buf[len + 7] = (uint8_t) fds[i];
        memcpy(buf + len + 8,
               "\x12\x01"
               "a",
               3);
        memset(buf + len + 11, 0, 8);
        len += 19;
    }
    sim_send_raw(&w->s, c, buf, len);
}

static void test_batches_belong_to_frames_in_order(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct parcel *batch[2] = {sim_parcel_of(1), sim_parcel_of(2)};

    router_add_parcel(w->s.router, p->peer, batch[0], &w->s.now);
    router_add_parcel(w->s.router, p->peer, batch[1], &w->s.now);
    send_frames(w, p, "\0\1\0\2\1", 5);
    world_expect(w, p, "STATUS BAD_DESCRIPTORS PUBLISH seq=5\n");
    assert_int_equal(COUNTER(w, messages_published), 4);
    assert_int_equal(sim_fds_open(), 0);
}

static void test_a_truncated_batch_costs_its_frame_only(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    int fd = sim_fd_new(0, false);

    router_add_parcel(w->s.router, p->peer, sim_parcel(&fd, 1, true), &w->s.now);
    router_add_parcel(w->s.router, p->peer, sim_parcel_of(2), &w->s.now);
    send_frames(w, p, "\1\2", 2);
    world_expect(w, p, "STATUS BAD_DESCRIPTORS PUBLISH seq=1\n");
    router_add_parcel(w->s.router, p->peer, sim_parcel(NULL, 0, true), &w->s.now);
    router_add_parcel(w->s.router, p->peer, sim_parcel_of(2), &w->s.now);
    send_frames(w, p, "\1\2", 2);
    world_expect(w, p, "STATUS BAD_DESCRIPTORS PUBLISH seq=3\n");
    assert_int_equal(COUNTER(w, messages_published), 2);
    assert_int_equal(sim_fds_open(), 0);
}

/* Frames that take none use up their batch all the same. */
static void test_a_refused_frame_takes_its_batch_with_it(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_ping m = {1};

    sim_send_parcel(&w->s, c, VERB_PING, &m, NULL, 0, 2, sim_parcel_of(2));
    world_expect(w, c, "STATUS UNSUPPORTED PING\n");
    assert_int_equal(sim_fds_open(), 0);
    router_add_parcel(w->s.router, c->peer, sim_parcel_of(1), &w->s.now);
    send_frames(w, c, "\377", 1);
    world_expect(w, c, "STATUS UNSUPPORTED PUBLISH seq=1\n");
    assert_int_equal(sim_fds_open(), 0);
}

static void test_batches_that_nobody_claims_are_closed(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *stranger = sim_attach(&w->s, true);

    for (unsigned i = 0; i < 5; i++) {
        router_add_parcel(w->s.router, c->peer, sim_parcel_of(3), &w->s.now);
    }
    assert_int_equal(sim_fds_open(), 6); /* for two frames, and never more */
    router_settle_parcels(c->peer);
    assert_int_equal(sim_fds_open(), 0);
    router_add_parcel(w->s.router, stranger->peer, sim_parcel_of(3), &w->s.now);
    sim_disconnect(&w->s, stranger);
    router_add_parcel(w->s.router, c->peer, sim_parcel_of(3), &w->s.now);
    sim_send(&w->s, c, VERB_GOODBYE, &(struct wire_goodbye){1, text_from("")}, NULL, 0);
    assert_int_equal(sim_fds_open(), 0);
    router_add_parcel(w->s.router, c->peer, sim_parcel_of(3), &w->s.now);
    assert_int_equal(sim_fds_open(), 0);
}

static void test_hello_takes_no_descriptors(void **state)
{
    struct wire_hello hello = {1, 1, text_from("x"), 0, {"", 0}};
    struct world *w = *state;
    struct sim_client *c = sim_attach(&w->s, true);

    sim_send_parcel(&w->s, c, VERB_HELLO, &hello, NULL, 0, 1, sim_parcel_of(1));
    world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    assert_int_equal(sim_fds_open(), 0);
}

/* Half a frame keeps its descriptors, and one of them may be the client's own end of the link: then
 * nobody but the router would ever close it. */
static void test_half_a_frame_with_descriptors_is_not_kept_for_ever(void **state)
{
    static const uint8_t half[] = {0, 0, 0, 0, 3, 0, VERB_PUBLISH, 1, 0x12};
    struct world *w = *state;
    struct sim_client *c = sim_connect(&w->s, false), *d = sim_connect(&w->s, false);

    world_clear(w, c);
    world_clear(w, d);
    sim_advance(&w->s, 1000000);
    router_add_parcel(w->s.router, c->peer, sim_parcel_of(1), &w->s.now);
    assert_int_equal(sim_send_raw(&w->s, c, half, sizeof(half)).consumed, 0);
    sim_advance(&w->s, UINT64_C(10000000000));
    router_add_parcel(w->s.router, d->peer, sim_parcel_of(1), &w->s.now);
    assert_int_equal(sim_send_raw(&w->s, d, half, sizeof(half)).consumed, 0);
    sim_advance(&w->s, UINT64_C(19999999999));
    world_expect(w, c, "");
    assert_int_equal(router_deadline(w->s.router), w->s.now.monotonic_ns + 1);
    sim_advance(&w->s, 1);
    world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    send_frames(w, d, "\1", 1); /* all of it: no more waiting */
    router_settle_parcels(d->peer);
    sim_advance(&w->s, UINT64_C(100000000000));
    world_expect(w, d, "");
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
    assert_int_equal(sim_fds_open(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_a_link_without_buffers_gets_the_body_in_the_frame),
        WORLD_CASE(test_a_body_too_large_for_such_a_link_is_lost_there),
        WORLD_CASE(test_monitors_see_the_bytes_of_a_body_in_a_buffer),
        WORLD_CASE(test_monitors_are_told_of_descriptors_and_get_none),
        WORLD_CASE(test_each_link_is_told_of_a_buffer_before_its_first_message),
        WORLD_CASE(test_what_was_forgotten_is_introduced_again),
        WORLD_CASE(test_forgetting_with_messages_waiting),
        WORLD_CASE(test_taking_a_buffer_back_asks_no_more_links_than_know_it),
        WORLD_CASE(test_sixteen_buffers_are_on_their_way_at_most),
        cmocka_unit_test(test_leases_are_limited),
        cmocka_unit_test(test_bytes_of_leases_are_limited_but_one_always_goes),
        WORLD_CASE(test_what_leases_keep_here_is_charged),
        WORLD_CASE(test_unknown_leases_are_refused),
        cmocka_unit_test(test_releasing_costs_the_budget_of_who_releases),
        WORLD_CASE(test_one_message_with_descriptors_is_on_its_way),
        WORLD_CASE(test_the_answer_to_a_ping_cannot_be_guessed),
        WORLD_CASE(test_who_has_not_asked_for_descriptors_is_not_held_up),
        WORLD_CASE(test_queues_of_who_has_not_asked_keep_no_descriptors),
        WORLD_CASE(test_descriptors_of_what_is_dropped_are_closed),
        WORLD_CASE(test_descriptors_and_a_body_in_a_buffer),
        WORLD_CASE(test_batches_belong_to_frames_in_order),
        WORLD_CASE(test_a_truncated_batch_costs_its_frame_only),
        WORLD_CASE(test_a_refused_frame_takes_its_batch_with_it),
        WORLD_CASE(test_batches_that_nobody_claims_are_closed),
        WORLD_CASE(test_hello_takes_no_descriptors),
        WORLD_CASE(test_half_a_frame_with_descriptors_is_not_kept_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
