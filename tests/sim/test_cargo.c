/* SPDX-License-Identifier: MIT */
/* Bodies in buffers, from registration to RETURNED: docs/protocol.md, section 10. */
#include "core/router.h"
#include "support/cargo.h"
#include "support/sim_policy.h"

/* ---- BUFFER, UNBUFFER ---- */

struct registration {
    uint32_t id;
    uint64_t bytes;
    unsigned n_fds, n_sent; /* announced; in the batch, 0: no batch */
    uint64_t memfd_bytes;   /* 0: it is no buffer */
    bool truncated;
    const char *answer;
};

static void try_register(struct world *w, struct sim_client *c, const struct registration *t)
{
    struct wire_buffer m = {t->id, t->bytes, 0};
    struct parcel *parcel = NULL;
    int fds[2];

    for (unsigned i = 0; i < t->n_sent; i++) {
        fds[i] = sim_fd_new(t->memfd_bytes, false);
    }
    if (t->n_sent > 0) {
        parcel = sim_parcel(fds, t->n_sent, t->truncated);
    }
    sim_send_parcel(&w->s, c, VERB_BUFFER, &m, NULL, 0, t->n_fds, parcel);
}

static void test_registrations_are_checked(void **state)
{
    static const struct registration cases[] = {
        {1, 4096, 0, 0, 0, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 4096, 1, 0, 0, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 4096, 2, 2, 4096, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 4096, 1, 2, 4096, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 4096, 1, 1, 4096, true, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 4096, 1, 1, 0, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 4097, 1, 1, 4096, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 0, 1, 1, 4096, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {0, 4096, 1, 1, 4096, false, "STATUS INVALID_ARGUMENT BUFFER\n"},
        {5, 4096, 1, 1, 4096, false, "STATUS LIMIT BUFFER buffer=5\n"},
        {1, 8193, 1, 1, 9000, false, "STATUS LIMIT BUFFER buffer=1\n"},
        {1, UINT64_MAX, 1, 1, 4096, false, "STATUS BAD_DESCRIPTORS BUFFER buffer=1\n"},
        {1, 4096, 17, 1, 4096, false, "STATUS UNSUPPORTED BUFFER\n"},
        {4, 4095, 1, 1, 4096, false, ""},
        {4, 4096, 1, 1, 4096, false, "STATUS IN_USE BUFFER buffer=4\n"},
        {1, 4098, 1, 1, 4098, false, "STATUS LIMIT BUFFER buffer=1\n"},
        {1, 4097, 1, 1, 4097, false, ""},
        {2, 1, 1, 1, 1, false, "STATUS LIMIT BUFFER buffer=2\n"},
    };
    struct limits limits = sim_small_limits();
    struct sim_client *c;
    struct world *w;

    (void) state;
    limits.buffers_max = 4;
    limits.buffer_bytes_max = 8192;
    w = world_new(&limits);
    c = world_join(w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        try_register(w, c, &cases[i]);
        world_expect(w, c, cases[i].answer);
        router_check(w->s.router);
    }
    assert_int_equal(COUNTER(w, buffers_now), 2);
    assert_int_equal(sim_fds_open(), 2); /* what was refused is closed */
    world_free(w);
}

/* A bound that was set below what is there is not the end of it. */
static void test_a_lower_bound_for_buffers_holds_from_then_on(void **state)
{
    static const struct registration first = {1, 8192, 1, 1, 8192, false, ""};
    static const struct registration second = {2, 4096, 1, 1, 4096, false, ""};
    struct limits limits = sim_small_limits();
    struct router_settings settings = {0};
    struct sim_client *c;
    struct world *w;

    (void) state;
    limits.buffer_bytes_max = 8192;
    w = world_new(&limits);
    c = world_join(w);
    try_register(w, c, &first);
    limits.buffer_bytes_max = 4096;
    settings.limits = limits;
    assert_int_equal(router_reconfigure(w->s.router, &settings, &w->s.now), 0);
    try_register(w, c, &second);
    world_expect(w, c, "STATUS LIMIT BUFFER buffer=2\n");
    world_free(w);
}

static void test_a_number_is_free_at_once_after_unbuffer(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_publisher(w);
    struct wire_unbuffer m = {2};

    sim_send(&w->s, c, VERB_UNBUFFER, &m, NULL, 0);
    world_expect(w, c, "STATUS UNKNOWN_BUFFER UNBUFFER buffer=2\n");
    m.id = 0;
    sim_send(&w->s, c, VERB_UNBUFFER, &m, NULL, 0);
    m.id = UINT32_MAX;
    sim_send(&w->s, c, VERB_UNBUFFER, &m, NULL, 0);
    world_expect(w, c,
                 "STATUS UNKNOWN_BUFFER UNBUFFER\n"
                 "STATUS UNKNOWN_BUFFER UNBUFFER buffer=4294967295\n");
    sim_unregister(&w->s, c, 1);
    assert_int_equal(sim_fds_open(), 0);
    assert_true(sim_register(&w->s, c, 1, SLOT_BYTES, true));
    world_expect(w, c, "");
    assert_int_equal(sim_fds_open(), 1);
}

static void test_descriptors_of_a_client_and_of_a_user_are_limited(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a, *b, *other;
    struct world *w;

    (void) state;
    limits.client_descriptors_max = 3;
    limits.user_descriptors_max = 4;
    w = world_new(&limits);
    w->s.uid = 8; /* the router's own user has more */
    a = world_join(w);
    b = world_join(w);
    sim_allow_everybody(&w->s);
    w->s.uid = 7;
    other = world_join(w);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(sim_register(&w->s, a, i, 64, false));
    }
    assert_false(sim_register(&w->s, a, 4, 64, false));
    world_expect(w, a, "STATUS LIMIT BUFFER buffer=4\n");
    assert_true(sim_register(&w->s, b, 1, 64, false));
    assert_false(sim_register(&w->s, b, 2, 64, false));
    world_expect(w, b, "STATUS LIMIT BUFFER buffer=2\n");
    assert_false(cargo_try_fds(w, b, 1));
    world_expect(w, b, "STATUS LIMIT PUBLISH seq=1\n");
    assert_true(sim_register(&w->s, other, 1, 64, false)); /* another user */
    assert_true(cargo_try_fds(w, other, 2));               /* nobody gets them */
    sim_unregister(&w->s, a, 2);
    assert_true(sim_register(&w->s, b, 2, 64, false));
    assert_int_equal(COUNTER(w, descriptors_now), 5);
    world_free(w);
}

static void test_a_router_without_descriptors_refuses_them(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct sim_client *c;

    (void) state;
    sim_init_with(&w->s, NULL, NULL);
    w->s.on_frame = world_on_frame;
    c = world_join_mapping(w);
    assert_int_equal(c->features, 0);
    assert_false(sim_register(&w->s, c, 1, 64, false));
    assert_false(cargo_try_fds(w, c, 1));
    world_expect(w, c, "STATUS UNSUPPORTED BUFFER\nSTATUS UNSUPPORTED PUBLISH seq=1\n");
    world_free(w);
}

/* ---- PUBLISH ---- */

static void publish_raw(struct world *w, struct sim_client *c, struct wire_publish m,
                        size_t body_bytes)
{
    static const uint8_t body[64];

    if (!m.topic.data) {
        m.topic = text_from("a");
    }
    c->sequence++;
    sim_send(&w->s, c, VERB_PUBLISH, &m, body, body_bytes);
}

static void test_places_are_checked(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *p;
    struct world *w;

    (void) state;
    limits.body_max = 4096;
    w = world_new(&limits);
    p = cargo_publisher(w); /* 8192 bytes */
    publish_raw(w, p, (struct wire_publish){.buffer = 2, .bytes = 1}, 0);
    publish_raw(w, p, (struct wire_publish){.buffer = UINT32_MAX, .bytes = 1}, 0);
    world_expect(w, p,
                 "STATUS UNKNOWN_BUFFER PUBLISH seq=1\nSTATUS UNKNOWN_BUFFER PUBLISH seq=2\n");
    publish_raw(w, p, (struct wire_publish){.offset = 1}, 0);
    publish_raw(w, p, (struct wire_publish){.bytes = 1}, 0);
    world_expect(w, p,
                 "STATUS INVALID_ARGUMENT PUBLISH seq=3\nSTATUS INVALID_ARGUMENT PUBLISH seq=4\n");
    p->buffers[0].slot_bytes = 1; /* RETURNED of any place */
    p->buffers[0].due[0] = 9;
    publish_raw(w, p, (struct wire_publish){.buffer = 1, .bytes = 8193}, 0);
    publish_raw(w, p, (struct wire_publish){.buffer = 1, .bytes = 4097}, 0);
    publish_raw(w, p, (struct wire_publish){.buffer = 1, .bytes = 10}, 1);
    publish_raw(w, p, (struct wire_publish){.buffer = 1, .bytes = 10, .flags = 4}, 0);
    publish_raw(w, p, (struct wire_publish){.buffer = 1, .bytes = 10, .alias = 3}, 0);
    publish_raw(w, p, (struct wire_publish){.buffer = 1, .bytes = 10, .topic = text_from("$bus/x")},
                0);
    world_expect(w, p,
                 "STATUS INVALID_ARGUMENT PUBLISH seq=5\nRETURNED 1 0\n"
                 "STATUS LIMIT PUBLISH seq=6\nRETURNED 1 0\n"
                 "STATUS INVALID_ARGUMENT PUBLISH seq=7\nRETURNED 1 0\n"
                 "STATUS INVALID_ARGUMENT PUBLISH seq=8\nRETURNED 1 0\n"
                 "STATUS INVALID_ARGUMENT PUBLISH alias=3 seq=9\nRETURNED 1 0\n"
                 "STATUS DENIED PUBLISH seq=10\nRETURNED 1 0\n");
    p->buffers[0].due[0] = 0;
    world_free(w);
}

/* Offsets at the end of what is there, and numbers that overflow. */
static void test_places_at_the_edge(void **state)
{
    static const struct {
        uint64_t offset, bytes;
        bool taken;
    } cases[] = {{8192, 0, true},  {8193, 0, false},          {8191, 1, true},
                 {8191, 2, false}, {UINT64_MAX, 1, false},    {1, UINT64_MAX, false},
                 {0, 8192, true},  {UINT64_MAX - 7, 8, false}};
    struct world *w = *state;
    struct sim_client *p = cargo_publisher(w);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t before = COUNTER(w, messages_published);

        publish_raw(
            w, p,
            (struct wire_publish){.buffer = 1, .offset = cases[i].offset, .bytes = cases[i].bytes},
            0);
        assert_int_equal(COUNTER(w, messages_published) - before, cases[i].taken);
        w->s.on_frame = NULL;
        outq_fini(peer_output(p->peer)); /* the oracle knows places only */
    }
}

static void test_a_body_in_a_buffer_reaches_its_subscriber(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 10});
    struct sim_client *p = cargo_publisher(w);

    cargo_publish(w, p, 3);
    world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 3072 100 1\nPING\n");
    world_expect(w, p, "");
    cargo_publish(w, p, 4);
    world_expect(w, c, "MESSAGE 1 a 2.2 in 1 4096 100 2\n"); /* no second BUFFER */
    sim_release(&w->s, c, 2, 0);
    world_expect(w, p, "RETURNED 1 4096\n");
    sim_release(&w->s, c, 1, 0);
    world_expect(w, p, "RETURNED 1 3072\n");
    cargo_publish(w, p, 3);
    world_expect(w, c, "MESSAGE 1 a 2.3 in 1 3072 100 1\n");
}

static void test_nobody_to_get_it_returns_it_at_once(void **state)
{
    struct world *w = *state;
    struct sim_client *p = cargo_publisher(w);

    cargo_publish(w, p, 0);
    cargo_publish(w, p, 0);
    world_expect(w, p, "RETURNED 1 0\nRETURNED 1 0\n");
}

static void test_all_subscriptions_share_the_place(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 10});
    struct sim_client *d = cargo_subscriber(w, &(struct world_sub){"#", .window = 10});
    struct sim_client *p = cargo_publisher(w);

    world_subscribe(w, d, 1, &(struct world_sub){"+", .window = 10});
    cargo_publish(w, p, 1);
    world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 3.1 in 1 1024 100 1\nPING\n");
    sim_read(&w->s, d, 100);
    assert_int_equal(d->n_leases, 2); /* one for each */
    sim_release_all(&w->s, c);
    sim_release(&w->s, d, 2, 0);
    world_expect(w, p, "");
    sim_release(&w->s, d, 1, 0);
    world_expect(w, p, "RETURNED 1 1024\n");
}

static void test_headers_and_confirmations_go_with_it(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 10});
    struct sim_client *p = cargo_publisher(w);
    struct sim_publish m = {
        .topic = "a", .buffer = 1, .body_bytes = 100, .n_headers = 3, .confirm = true};

    assert_true(sim_publish(&w->s, p, &m));
    m.n_fds = 2;
    m.slot = 1;
    assert_true(sim_publish(&w->s, p, &m));
    world_expect(w, c,
                 "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 100 1\nPING\n"
                 "MESSAGE 1 a 2.2 in 1 1024 100 2 0/2\n");
    world_expect(w, p, "CONFIRM 1 1 1 0 0\nCONFIRM 2 1 1 0 0\n");
    assert_int_equal(sim_fds_open(), 1);
}

static void test_a_refused_publish_is_returned(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *p;
    struct world *w;
    unsigned n = 0;

    (void) state;
    limits.publish_window_messages = 4;
    w = world_new(&limits);
    c = cargo_subscriber(w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1});
    p = cargo_publisher(w);

    while (cargo_try(w, p, "a", n % SIM_SLOTS)) {
        n++;
    }
    sim_read(&w->s, p, 100);
    assert_int_equal(n, 6); /* 4 of them are beyond the bounds */
    assert_int_equal(p->n_status[BUS_STATUS_NO_CREDIT], 1);
    assert_int_equal(p->n_returned, 1);
    sim_settle(&w->s);
    assert_int_equal(p->n_returned, n + 1);
    assert_int_equal(c->subs[0].delivered, n);
    world_free(w);
}

/* What cannot be sent at all for its verb or its number of descriptors is a publish like any. */
static void test_a_publish_with_too_many_descriptors_is_returned(void **state)
{
    struct world *w = *state;
    struct sim_client *p = cargo_publisher(w);
    struct wire_publish m = {.topic = text_from("a"), .buffer = 1, .offset = 1024, .bytes = 10};

    p->buffers[0].due[1]++;
    sim_send_parcel(&w->s, p, VERB_PUBLISH, &m, NULL, 0, 17, sim_parcel_of(17));
    world_expect(w, p, "STATUS UNSUPPORTED PUBLISH seq=1\nRETURNED 1 1024\n");
    p->buffers[0].due[1]++;
    sim_send_parcel(&w->s, p, VERB_PUBLISH, &m, NULL, 0, 2, NULL);
    world_expect(w, p, "STATUS BAD_DESCRIPTORS PUBLISH seq=2\nRETURNED 1 1024\n");
    assert_int_equal(sim_fds_open(), 1);
}

/* ---- policies ---- */

static void test_what_a_policy_drops_is_returned(void **state)
{
    static const enum bus_policy policies[] = {BUS_POLICY_DROP_OLDEST, BUS_POLICY_DROP_NEWEST,
                                               BUS_POLICY_LATEST};
    static const char *const after[] = {
        "LOSS 1 3 300 QUEUE_FULL\nMESSAGE 1 a 2.5 in 1 4096 100 2\n"
        "MESSAGE 1 a 2.6 in 1 5120 100 3\n",
        "MESSAGE 1 a 2.2 in 1 1024 100 2\nMESSAGE 1 a 2.3 in 1 2048 100 3\n"
        "LOSS 1 3 300 QUEUE_FULL\n",
        "LOSS 1 4 400 CONFLATED\nMESSAGE 1 a 2.6 in 1 5120 100 2\n"};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        struct world *w = world_new(NULL);
        struct sim_client *c =
            cargo_subscriber(w, &(struct world_sub){"a", policies[i], .window = 1, .queue = 2});
        struct sim_client *p = cargo_publisher(w);

        for (unsigned slot = 0; slot < 6; slot++) {
            cargo_publish(w, p, slot);
        }
        world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 100 1\nPING\n");
        sim_read(&w->s, p, 100);
        assert_int_equal(p->n_returned, policies[i] == BUS_POLICY_LATEST ? 4 : 3);
        world_credit(w, c, 0, 1, 100);
        world_credit(w, c, 0, 1, 100);
        sim_settle(&w->s);
        world_expect(w, c, after[i]);
        assert_int_equal(p->n_returned, 6);
        world_free(w);
    }
}

static void test_block_withholds_credit_and_returns_what_is_consumed(void **state)
{
    struct world *w = *state;
    struct sim_client *c =
        cargo_subscriber(w, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1});
    struct sim_client *p = cargo_publisher(w);

    for (unsigned slot = 0; slot < 8; slot++) {
        cargo_publish(w, p, slot);
    }
    sim_read(&w->s, c, 100);
    sim_release_all(&w->s, c);
    world_expect(w, p, "RETURNED 1 0\n");
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered, 8);
    assert_int_equal(p->n_returned, 8);
}

static void test_a_disconnected_subscriber_holds_nothing_back(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(
        w, &(struct world_sub){"a", BUS_POLICY_DISCONNECT, .window = 1, .queue = 1});
    struct sim_client *p = cargo_publisher(w);

    for (unsigned slot = 0; slot < 3; slot++) {
        cargo_publish(w, p, slot);
    }
    sim_read(&w->s, p, 100);
    assert_int_equal(p->n_returned, 2); /* not the one it is still to read */
    world_expect(w, c,
                 "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 100 1\nPING\n"
                 "GOODBYE SLOW_CONSUMER\n");
    assert_null(c->peer);
    sim_read(&w->s, p, 100);
    assert_int_equal(p->n_returned, 3);
}

static void test_unsubscribing_returns_what_waits(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 9});
    struct sim_client *p = cargo_publisher(w);

    for (unsigned slot = 0; slot < 4; slot++) {
        cargo_publish(w, p, slot);
    }
    sim_unsubscribe(&w->s, c, 0);
    world_expect(w, p, "RETURNED 1 1024\nRETURNED 1 2048\nRETURNED 1 3072\n");
    sim_release_all(&w->s, c);
    world_expect(w, p, "RETURNED 1 0\n");
}

/* ---- ends ---- */

static void test_a_subscriber_that_dies_returns_what_it_holds(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 2, .queue = 9});
    struct sim_client *p = cargo_publisher(w);

    for (unsigned slot = 0; slot < 5; slot++) {
        cargo_publish(w, p, slot); /* held after reading, on the link, and waiting */
        if (slot == 0) {
            sim_read(&w->s, c, 100);
        }
    }
    sim_disconnect(&w->s, c);
    sim_read(&w->s, p, 100);
    assert_int_equal(p->n_returned, 5);
    assert_int_equal(COUNTER(w, leases_now), 0);
}

static void test_bodies_outlive_their_publisher(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 9});
    struct sim_client *p = cargo_publisher(w);

    for (unsigned slot = 0; slot < 3; slot++) {
        cargo_publish(w, p, slot);
    }
    sim_disconnect(&w->s, p);
    assert_int_equal(COUNTER(w, buffers_now), 1);
    sim_read(&w->s, c, 100);
    assert_int_equal(sim_fds_open(), 1); /* what waits may have to be introduced again */
    world_clear(w, c);
    world_credit(w, c, 0, 1, 100);
    world_expect(w, c, "MESSAGE 1 a 2.2 in 1 1024 100 2\n");
    world_credit(w, c, 0, 1, 100);
    world_expect(w, c, "MESSAGE 1 a 2.3 in 1 2048 100 3\n");
    assert_int_equal(sim_fds_open(), 0); /* all of them are held: nobody will need it */
    sim_release(&w->s, c, 1, 0);
    sim_release(&w->s, c, 3, 0);
    world_expect(w, c, "");
    assert_int_equal(COUNTER(w, buffers_now), 1);
    sim_release(&w->s, c, 2, 0);
    world_expect(w, c, "UNBUFFER 1\n");
    assert_int_equal(COUNTER(w, buffers_now), 0);
}

static void test_messages_on_their_way_are_not_affected_by_unbuffer(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 9});
    struct sim_client *p = cargo_publisher(w);

    cargo_publish(w, p, 0);
    cargo_publish(w, p, 1);
    sim_unregister(&w->s, p, 1);
    assert_true(sim_register(&w->s, p, 1, SLOT_BYTES, true));
    cargo_publish(w, p, 2);
    world_expect(w, c, "BUFFER 1 8192\nMESSAGE 1 a 2.1 in 1 0 100 1\nPING\n");
    sim_pong(&w->s, c);
    world_credit(w, c, 0, 1, 100);
    world_credit(w, c, 0, 1, 100);
    world_expect(w, c,
                 "MESSAGE 1 a 2.2 in 1 1024 100 2\nBUFFER 2 8192 immutable\nMESSAGE 1 a 2.3 in 2 "
                 "2048 100 3\n"
                 "PING\n");
    sim_release(&w->s, c, 1, 0);
    sim_release(&w->s, c, 2, 0);
    world_expect(w, c, "UNBUFFER 1\n");
    world_expect(w, p, ""); /* nothing of a buffer that is not registered any more */
    sim_release(&w->s, c, 3, 0);
    world_expect(w, p, "RETURNED 1 2048\n");
}

static void test_ids_are_bound_again(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9});
    struct sim_client *p = cargo_publisher(w);

    for (unsigned turn = 0; turn < 3; turn++) {
        cargo_publish(w, p, turn);
        sim_read(&w->s, c, 100);
        world_clear(w, c);
        sim_pong(&w->s, c);
        sim_release_all(&w->s, c);
        sim_unregister(&w->s, p, 1);
        world_expect(w, c, "UNBUFFER 1\n");
        assert_true(sim_register(&w->s, p, 1, SLOT_BYTES, turn == 1));
    }
}

static void test_own_messages_can_be_held_by_their_publisher(void **state)
{
    struct world *w = *state;
    struct sim_client *c = cargo_subscriber(w, &(struct world_sub){"a", .window = 1, .queue = 9});

    assert_true(sim_register(&w->s, c, 1, SLOT_BYTES, false));
    cargo_publish(w, c, 0);
    cargo_publish(w, c, 1);
    cargo_publish(w, c, 2);
    sim_read(&w->s, c, 100);
    sim_disconnect(&w->s, c);
    assert_int_equal(COUNTER(w, buffers_now), 0);
    assert_int_equal(sim_fds_open(), 0);
}

static void test_shutdown_gives_what_is_within_credit(void **state)
{
    struct world *w = *state;
    struct sim_client *c =
        cargo_subscriber(w, &(struct world_sub){"a", .window = 3, .queue = 9, .descriptors = true});
    struct sim_client *p = cargo_publisher(w);

    for (unsigned i = 0; i < 3; i++) {
        assert_true(cargo_try_fds(w, p, 2));
    }
    router_shutdown(w->s.router, &w->s.now);
    sim_read(&w->s, p, 100);
    c->n_carriers_flying = 0;
    while (c->peer) {
        sim_read(&w->s, c, 1);
        c->n_carriers_flying = 0; /* there will be no PONG any more */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registrations_are_checked),
        cmocka_unit_test(test_a_lower_bound_for_buffers_holds_from_then_on),
        WORLD_CASE(test_a_number_is_free_at_once_after_unbuffer),
        cmocka_unit_test(test_descriptors_of_a_client_and_of_a_user_are_limited),
        cmocka_unit_test(test_a_router_without_descriptors_refuses_them),
        cmocka_unit_test(test_places_are_checked),
        WORLD_CASE(test_places_at_the_edge),
        WORLD_CASE(test_a_body_in_a_buffer_reaches_its_subscriber),
        WORLD_CASE(test_nobody_to_get_it_returns_it_at_once),
        WORLD_CASE(test_all_subscriptions_share_the_place),
        WORLD_CASE(test_headers_and_confirmations_go_with_it),
        cmocka_unit_test(test_a_refused_publish_is_returned),
        WORLD_CASE(test_a_publish_with_too_many_descriptors_is_returned),
        cmocka_unit_test(test_what_a_policy_drops_is_returned),
        WORLD_CASE(test_block_withholds_credit_and_returns_what_is_consumed),
        WORLD_CASE(test_a_disconnected_subscriber_holds_nothing_back),
        WORLD_CASE(test_unsubscribing_returns_what_waits),
        WORLD_CASE(test_a_subscriber_that_dies_returns_what_it_holds),
        WORLD_CASE(test_bodies_outlive_their_publisher),
        WORLD_CASE(test_messages_on_their_way_are_not_affected_by_unbuffer),
        WORLD_CASE(test_ids_are_bound_again),
        WORLD_CASE(test_own_messages_can_be_held_by_their_publisher),
        WORLD_CASE(test_shutdown_gives_what_is_within_credit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
