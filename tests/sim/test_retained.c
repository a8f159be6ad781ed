/* SPDX-License-Identifier: MIT */
/* What topics keep for later subscriptions, how it joins what is published after it, and how it
 * ends. docs/protocol.md, section 14. */
#include "core/state.h"
#include "support/cargo.h"
#include "support/sim_keep.h"
#include "support/sim_policy.h"

static struct kept_model model;

static int keep_setup(void **state)
{
    memset(&model, 0, sizeof(model));
    return world_setup(state);
}

/* What is kept outlives its clients: it is cleared, so that nothing may be left. */
static int keep_teardown(void **state)
{
    struct world *w = *state;

    kept_clear_all(&model, &w->s);
    return world_teardown(state);
}

#define KEEP_CASE(f) cmocka_unit_test_setup_teardown(f, keep_setup, keep_teardown)

static void advertise(struct world *w, struct sim_client *p, unsigned index, const char *topic,
                      struct kept_wish wish)
{
    assert_true(kept_advertise(&model, &w->s, p, index, topic, wish));
}

static void publish_with(struct world *w, struct sim_client *p, const struct sim_publish *with)
{
    assert_true(kept_publish(&model, &w->s, p, with));
}

static void publish(struct world *w, struct sim_client *p, const char *topic)
{
    publish_with(w, p, &(struct sim_publish){.topic = topic, .body_bytes = WORLD_BODY});
}

static void publish_n(struct world *w, struct sim_client *p, const char *topic, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        publish(w, p, topic);
    }
}

static struct wire_subscribe wanting(const char *filter, enum bus_retained retained)
{
    return (struct wire_subscribe){.filter = text_from(filter),
                                   .window_messages = 100,
                                   .window_bytes = 100000,
                                   .queue_messages = 100,
                                   .queue_bytes = 100000,
                                   .retained = retained};
}

static void subscribe(struct world *w, struct sim_client *c, unsigned index,
                      const struct wire_subscribe *m)
{
    assert_true(kept_subscribe(&model, &w->s, c, index, m));
}

static void subscribe_to(struct world *w, struct sim_client *c, unsigned index, const char *filter,
                         enum bus_retained retained)
{
    struct wire_subscribe m = wanting(filter, retained);

    subscribe(w, c, index, &m);
}

/* A subscriber that is there for this alone. */
static void expect_kept(struct world *w, const char *filter, enum bus_retained retained,
                        const char *due)
{
    struct sim_client *c = world_join(w);

    subscribe_to(w, c, 0, filter, retained);
    world_expect(w, c, due);
    sim_disconnect(&w->s, c);
    router_check(w->s.router);
}

/* ---- what is kept ---- */

static void test_last_message_is_kept_for_later_subscriptions(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    publish(w, p, "a"); /* nobody had asked for it yet */
    advertise(w, p, 0, "a", (struct kept_wish){1});
    subscribe_to(w, c, 0, "a", BUS_RETAINED_LAST);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
    publish_n(w, p, "a", 3);
    world_expect(w, c, "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\nMESSAGE 1 a 1.4\n");
    expect_kept(w, "a", BUS_RETAINED_LAST,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.4 retained\nLIVE 1 1\n");
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.4 retained\nLIVE 1 1\n");
    expect_kept(w, "a", BUS_RETAINED_NONE, "STATUS OK SUBSCRIBE sub=1\n");
    expect_kept(w, "b", BUS_RETAINED_ALL, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
}

static void test_by_alias_and_by_name_and_by_others_is_kept_alike(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){9});
    publish_with(w, p, &(struct sim_publish){.alias = 0, .body_bytes = WORLD_BODY});
    publish(w, q, "a");
    sim_advertise(&w->s, q, 0, "a");
    publish_with(w, q, &(struct sim_publish){.alias = 0, .body_bytes = WORLD_BODY});
    publish_with(w, q, &(struct sim_publish){.topic = "a", .body_bytes = 20, .n_headers = 2});
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\n"
                "MESSAGE 1 a 1.1 retained\nMESSAGE 1 a 2.1 retained\n"
                "MESSAGE 1 a 2.2 retained\nMESSAGE 1 a 2.3 retained\nLIVE 1 4\n");
}

static void test_the_last_n_are_kept_and_the_largest_n_holds(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){2});
    publish_n(w, p, "a", 5);
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\n"
                "MESSAGE 1 a 1.4 retained\nMESSAGE 1 a 1.5 retained\nLIVE 1 2\n");
    advertise(w, q, 0, "a", (struct kept_wish){3});
    advertise(w, q, 1, "a", (struct kept_wish){1});
    publish_n(w, p, "a", 2);
    kept_unadvertise(&model, &w->s, q, 0); /* still 3, as long as something is kept */
    publish(w, p, "a");
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.6 retained\n"
                "MESSAGE 1 a 1.7 retained\nMESSAGE 1 a 1.8 retained\nLIVE 1 3\n");
}

static void test_whoever_asks_when_the_others_have_gone_decides_alone(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){5});
    publish_n(w, p, "a", 4);
    sim_disconnect(&w->s, p);
    advertise(w, q, 0, "a", (struct kept_wish){2, .ttl_ms = 10});
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\n"
                "MESSAGE 1 a 1.3 retained\nMESSAGE 1 a 1.4 retained\nLIVE 1 2\n");
    publish(w, q, "a");
    sim_advance(&w->s, 10 * MS);
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.4 retained\nLIVE 1 1\n");
}

/* ---- what the router publishes ---- */

static bool publish_in_the_name_of(struct world *w, struct sim_client *p)
{
    struct publication pub = {
        .sender = p->peer->sender, .topic = text_from("a"), .body = "12345678", .body_bytes = 8};

    return publish_as(w->s.router, &pub);
}

static void test_what_the_router_publishes_is_kept_too(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    uint64_t bytes;

    advertise(w, p, 0, "a", (struct kept_wish){1});
    publish(w, p, "a");
    bytes = router_counters(w->s.router)->retained_bytes_now;
    assert_true(publish_in_the_name_of(w, p));
    router_check(w->s.router);
    assert_int_equal(router_counters(w->s.router)->retained_messages_now, 1);
    assert_true(router_counters(w->s.router)->retained_bytes_now < bytes); /* 8 in place of 10 */
}

static void test_if_that_cannot_be_kept_nothing_older_stands_for_it(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    unsigned n_cleared = 0;

    advertise(w, p, 0, "a", (struct kept_wish){1});
    for (unsigned long n = 1; n < 6; n++) {
        bool done, failed;

        publish(w, p, "a");
        failmalloc_arm(n);
        done = publish_in_the_name_of(w, p);
        failed = failmalloc_disarm() > 0;
        router_check(w->s.router);
        if (done && failed) {
            assert_int_equal(router_counters(w->s.router)->retained_messages_now, 0);
            n_cleared++;
        }
        sim_read(&w->s, p, 10);
    }
    assert_true(n_cleared > 0);
}

/* ---- order ---- */

static void test_topics_come_in_the_order_in_which_they_were_published(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    advertise(w, p, 0, "a/x", (struct kept_wish){2});
    advertise(w, p, 1, "a/y", (struct kept_wish){2});
    advertise(w, p, 2, "b", (struct kept_wish){2});
    publish(w, p, "a/x");
    publish(w, p, "a/y");
    publish(w, p, "b");
    publish(w, p, "a/x");
    publish(w, p, "a/none");
    expect_kept(w, "a/+", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a/x 1.1 retained\n"
                "MESSAGE 1 a/y 1.2 retained\nMESSAGE 1 a/x 1.4 retained\nLIVE 1 3\n");
    expect_kept(w, "#", BUS_RETAINED_LAST,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a/y 1.2 retained\n"
                "MESSAGE 1 b 1.3 retained\nMESSAGE 1 a/x 1.4 retained\nLIVE 1 3\n");
}

static void test_with_no_local_ones_own_is_left_out(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_subscribe m = wanting("a", BUS_RETAINED_ALL);

    advertise(w, p, 0, "a", (struct kept_wish){5});
    publish(w, p, "a");
    publish(w, c, "a");
    m.flags = 1;
    subscribe(w, c, 0, &m);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\nLIVE 1 1\n");
}

/* ---- joining ---- */

static void test_what_is_published_meanwhile_follows_without_gap_or_duplicate(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_subscribe m = wanting("#", BUS_RETAINED_ALL);

    m.window_messages = 2;
    advertise(w, p, 0, "a", (struct kept_wish){3});
    publish_n(w, p, "a", 3);
    subscribe(w, c, 0, &m);
    publish(w, p, "a"); /* replaces the first, which is on its way all the same */
    publish(w, p, "b");
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\n"
                 "MESSAGE 1 a 1.1 retained\nMESSAGE 1 a 1.2 retained\n");
    world_credit(w, c, 0, 1, 10);
    kept_clear(&model, &w->s, p, "a"); /* what was kept at SUBSCRIBE comes */
    world_credit(w, c, 0, 1, 10);
    world_expect(w, c, "MESSAGE 1 a 1.3 retained\nLIVE 1 3\nMESSAGE 1 a 1.4\n");
    sim_settle(&w->s);
    world_expect(w, c, "MESSAGE 1 b 1.5\n");
}

static void test_policy_and_bounds_are_for_what_follows(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_subscribe m = wanting("a", BUS_RETAINED_ALL);

    m.window_messages = 1;
    m.queue_messages = 2;
    advertise(w, p, 0, "a", (struct kept_wish){4});
    publish_n(w, p, "a", 4);
    subscribe(w, c, 0, &m);
    publish_n(w, p, "a", 5);
    sim_settle(&w->s);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\n"
                 "MESSAGE 1 a 1.1 retained\nMESSAGE 1 a 1.2 retained\nMESSAGE 1 a 1.3 retained\n"
                 "MESSAGE 1 a 1.4 retained\nLIVE 1 4\n"
                 "LOSS 1 3 30 QUEUE_FULL\nMESSAGE 1 a 1.8\nMESSAGE 1 a 1.9\n");
}

static void test_latest_replaces_what_follows_and_not_what_was_kept(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_subscribe m = wanting("#", BUS_RETAINED_LAST);

    m.window_messages = 1;
    m.policy = BUS_POLICY_LATEST;
    advertise(w, p, 0, "a", (struct kept_wish){1});
    advertise(w, p, 1, "b", (struct kept_wish){1});
    publish(w, p, "a");
    publish(w, p, "b");
    subscribe(w, c, 0, &m);
    publish_n(w, p, "b", 3);
    sim_settle(&w->s);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\n"
                 "MESSAGE 1 b 1.2 retained\nLIVE 1 2\n"
                 "LOSS 1 2 20 CONFLATED\nMESSAGE 1 b 1.5\n");
}

static void test_block_holds_publishers_for_what_follows(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_subscribe m = wanting("a", BUS_RETAINED_ALL);

    m.window_messages = 1;
    m.queue_messages = 1;
    m.policy = BUS_POLICY_BLOCK;
    advertise(w, p, 0, "a", (struct kept_wish){3});
    publish_n(w, p, "a", 3);
    subscribe(w, c, 0, &m);
    publish_n(w, p, "a", 10);
    router_check(w->s.router);
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered, 13);
    sim_settle(&w->s);
    world_clear(w, p);
    publish_n(w, p, "a", 3); /* all of the credit has come back */
    sim_settle(&w->s);
}

static void test_no_room_at_the_subscriber_is_told_in_place(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *p, *c;
    struct wire_subscribe m = wanting("#", BUS_RETAINED_ALL);

    (void) state;
    memset(&model, 0, sizeof(model));
    limits.client_bytes_max = 64 * KIB;
    w = world_new(&limits);
    p = world_join(w);
    c = world_join(w);
    m.window_messages = 1;
    advertise(w, p, 0, "a", (struct kept_wish){100});
    for (unsigned i = 0; i < 100; i++) {
        publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 1000});
    }
    subscribe(w, c, 0, &m);
    publish(w, p, "b");
    sim_settle(&w->s);
    assert_non_null(strstr(w->text[c - w->s.clients], "000 NO_MEMORY\nLIVE 1 "));
    assert_int_equal(c->subs[0].delivered + c->subs[0].lost, 101);
    assert_true(c->subs[0].lost > 10 && c->subs[0].delivered > 10);
    kept_clear_all(&model, &w->s);
    world_free(w);
}

static void test_a_body_larger_than_the_link_takes_is_told(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *p, *c;

    (void) state;
    memset(&model, 0, sizeof(model));
    limits.client_bytes_max = MIB;
    limits.publish_window_bytes = MIB;
    w = world_new(&limits);
    p = world_join(w);
    c = sim_connect(&w->s, false); /* 8 KiB */
    world_clear(w, c);
    advertise(w, p, 0, "a", (struct kept_wish){2});
    publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 9000});
    publish(w, p, "a");
    subscribe_to(w, c, 0, "a", BUS_RETAINED_ALL);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nLOSS 1 1 9000 TOO_LARGE\n"
                 "MESSAGE 1 a 1.2 retained\nLIVE 1 1\n");
    kept_clear_all(&model, &w->s);
    world_free(w);
}

/* ---- ends ---- */

static void test_what_is_kept_outlives_its_publisher(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){1});
    publish(w, p, "a");
    sim_disconnect(&w->s, p);
    expect_kept(w, "+", BUS_RETAINED_LAST,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\nLIVE 1 1\n");
    publish(w, q, "a"); /* nobody asks any more, but what is kept is not to be out of date */
    expect_kept(w, "+", BUS_RETAINED_LAST,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 2.1 retained\nLIVE 1 1\n");
    kept_clear(&model, &w->s, q, "a");
    publish(w, q, "a");
    expect_kept(w, "+", BUS_RETAINED_LAST, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
}

static void test_clear_drops_it_and_later_ones_are_kept_again(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);
    struct wire_clear by_alias = {.alias = 1};

    advertise(w, p, 0, "a", (struct kept_wish){5});
    publish_n(w, p, "a", 2);
    kept_clear(&model, &w->s, q, "a");
    kept_clear(&model, &w->s, q, "a"); /* again: no error */
    kept_clear(&model, &w->s, q, "never/seen");
    world_expect(w, q, "");
    expect_kept(w, "a", BUS_RETAINED_ALL, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
    publish_n(w, p, "a", 2);
    expect_kept(w, "a", BUS_RETAINED_LAST,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.4 retained\nLIVE 1 1\n");
    sim_send(&w->s, p, VERB_CLEAR, &by_alias, NULL, 0);
    kept_remove_all(&model, "a", 0);
    expect_kept(w, "a", BUS_RETAINED_ALL, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
}

static void test_clear_is_refused_to_those_who_may_not_publish(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct wire_monitor monitor = {0};
    const struct wire_clear wrong[] = {
        {0},           {.alias = 1, .topic = text_from("a")}, {.alias = 1},
        {.alias = 77}, {.topic = text_from("a/#")},           {.topic = text_from("$bus/x")}};

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        sim_send(&w->s, p, VERB_CLEAR, &wrong[i], NULL, 0);
    }
    world_expect(w, p,
                 "STATUS INVALID_ARGUMENT CLEAR\nSTATUS INVALID_ARGUMENT CLEAR alias=1\n"
                 "STATUS UNKNOWN_ALIAS CLEAR alias=1\nSTATUS UNKNOWN_ALIAS CLEAR alias=77\n"
                 "STATUS INVALID_TOPIC CLEAR\nSTATUS DENIED CLEAR\n");
    sim_send(&w->s, p, VERB_MONITOR, &monitor, NULL, 0);
    p->monitoring = true;
    sim_send(&w->s, p, VERB_CLEAR, &(struct wire_clear){.topic = text_from("a")}, NULL, 0);
    world_expect(w, p, "STATUS OK MONITOR\nSTATUS UNEXPECTED CLEAR\n");
}

static void test_owned_goes_with_unadvertise(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){5, .owned = true});
    advertise(w, q, 0, "a", (struct kept_wish){5, .owned = true});
    publish(w, p, "a");
    publish(w, q, "a");
    kept_unadvertise(&model, &w->s, p, 0);
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 2.1 retained\nLIVE 1 1\n");
    kept_unadvertise(&model, &w->s, q, 0);
    expect_kept(w, "a", BUS_RETAINED_ALL, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
}

static void test_owned_goes_with_its_connection_however_that_ends(void **state)
{
    struct wire_goodbye goodbye = {BUS_GOODBYE_NORMAL, {"", 0}};
    struct world *w = *state;

    for (unsigned i = 0; i < 2; i++) {
        struct sim_client *p = world_join(w);

        advertise(w, p, 0, "a", (struct kept_wish){1, .owned = true});
        advertise(w, p, 1, "b", (struct kept_wish){1});
        publish(w, p, "a");
        publish(w, p, "b");
        if (i == 0) {
            sim_send(&w->s, p, VERB_GOODBYE, &goodbye, NULL, 0);
        } else {
            sim_disconnect(&w->s, p);
        }
        expect_kept(w, "a", BUS_RETAINED_ALL, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
        kept_clear_all(&model, &w->s);
    }
}

static void test_owned_without_a_wish_of_its_own_takes_away_what_it_published(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){5});
    advertise(w, q, 0, "a", (struct kept_wish){0, .owned = true});
    publish(w, q, "a");
    publish(w, p, "a");
    kept_unadvertise(&model, &w->s, q, 0);
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\nLIVE 1 1\n");
}

static void test_time_to_live_of_the_topic_and_of_the_message(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){5, .ttl_ms = 100});
    publish(w, p, "a");
    publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .ttl_ms = 20});
    publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .ttl_ms = 200});
    sim_advance(&w->s, 19 * MS);
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\n"
                "MESSAGE 1 a 1.2 retained\nMESSAGE 1 a 1.3 retained\nLIVE 1 3\n");
    sim_advance(&w->s, MS);
    publish(w, p, "a");
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\n"
                "MESSAGE 1 a 1.3 retained\nMESSAGE 1 a 1.4 retained\nLIVE 1 3\n");
    sim_advance(&w->s, 80 * MS);
    expect_kept(w, "a", BUS_RETAINED_ALL,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.4 retained\nLIVE 1 1\n");
    sim_advance(&w->s, 20 * MS);
    assert_int_equal(router_counters(w->s.router)->retained_messages_now, 0);
}

static void test_what_is_due_but_not_yet_dropped_is_not_given(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    advertise(w, p, 0, "a", (struct kept_wish){1, .ttl_ms = 10});
    publish(w, p, "a");
    w->s.now.monotonic_ns += 10 * MS; /* no tick */
    expect_kept(w, "+", BUS_RETAINED_LAST, "STATUS OK SUBSCRIBE sub=1\nLIVE 1 0\n");
    assert_int_equal(router_deadline(w->s.router), w->s.now.monotonic_ns);
    sim_advance(&w->s, 0);
    assert_int_equal(router_counters(w->s.router)->retained_messages_now, 0);
}

/* ---- bounds ---- */

static void test_what_cannot_be_kept_is_refused_and_what_is_kept_stays_true(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *p, *c;

    (void) state;
    memset(&model, 0, sizeof(model));
    limits.user_retained_bytes_max = 4096;
    w = world_new(&limits);
    w->s.uid = 2000; /* the router's own user has more */
    sim_allow_everybody(&w->s);
    p = world_join(w);
    c = world_join(w);
    subscribe_to(w, c, 0, "a", BUS_RETAINED_NONE);
    advertise(w, p, 0, "a", (struct kept_wish){1});
    publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 2000});
    /* in its place, which is counted once */
    publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 3000});
    world_expect(w, p, "");
    assert_false(
        kept_publish(&model, &w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 4000}));
    world_expect(w, p, "STATUS LIMIT PUBLISH seq=3\n");
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
    expect_kept(w, "a", BUS_RETAINED_LAST,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.2 retained\nLIVE 1 1\n");
    /* the bound is the user's, also of connections that have gone */
    sim_disconnect(&w->s, p);
    p = world_join(w);
    advertise(w, p, 0, "b", (struct kept_wish){1});
    assert_false(
        kept_publish(&model, &w->s, p, &(struct sim_publish){.topic = "b", .body_bytes = 1000}));
    world_expect(w, p, "STATUS LIMIT PUBLISH seq=1\n");
    sim_allow_everybody(&w->s);
    w->s.uid = 1001;
    c = world_join(w);
    w->s.uid = 1000;
    publish_with(w, c, &(struct sim_publish){.topic = "b", .body_bytes = 1000});
    kept_clear(&model, &w->s, p, "a");
    publish_with(w, p, &(struct sim_publish){.topic = "b", .body_bytes = 1000});
    kept_clear_all(&model, &w->s);
    world_free(w);
}

static void test_advertise_with_too_much_or_unknown_flags_is_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct wire_advertise much = {1, text_from("a"), 0, 1025}, flags = {1, text_from("a"), 1 << 7};

    sim_send(&w->s, p, VERB_ADVERTISE, &much, NULL, 0);
    sim_send(&w->s, p, VERB_ADVERTISE, &flags, NULL, 0);
    world_expect(w, p,
                 "STATUS LIMIT ADVERTISE alias=1\nSTATUS INVALID_ARGUMENT ADVERTISE alias=1\n");
    assert_int_equal(router_counters(w->s.router)->topics_now, 0);
}

static void test_subscribe_with_wrong_values_is_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_subscribe m = wanting("a", (enum bus_retained) 3);

    m.subscription = 1;
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    m.retained = BUS_RETAINED_LAST;
    m.group = text_from("workers");
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    m.retained = 0;
    m.min_interval_ms = 10;
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    m.group = text_from("");
    m.policy = BUS_POLICY_BLOCK;
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    world_expect(w, c,
                 "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n"
                 "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n"
                 "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n"
                 "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n");
}

static struct wire_topic_stats topic_stats;

static void keep_stats(struct sim *s, struct sim_client *c, const struct frame *f,
                       const union wire_any *m)
{
    (void) s;
    (void) c;
    if (f->verb == VERB_TOPIC_STATS) {
        topic_stats = m->topic_stats;
    }
}

static void test_it_is_listed_and_counted(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct wire_snapshot m = {BUS_SNAPSHOT_TOPICS, 0, 0};

    advertise(w, p, 0, "a", (struct kept_wish){5});
    publish_n(w, p, "a", 3);
    w->s.on_frame = keep_stats;
    sim_send(&w->s, p, VERB_SNAPSHOT, &m, NULL, 0);
    sim_read(&w->s, p, 100);
    assert_int_equal(topic_stats.retained_messages, 3);
    assert_true(topic_stats.retained_bytes > 30);
    assert_int_equal(router_counters(w->s.router)->retained_messages_now, 3);
    assert_int_equal(router_counters(w->s.router)->retained_bytes_now, topic_stats.retained_bytes);
}

/* ---- bodies in buffers, descriptors ---- */

static void test_a_body_in_a_buffer_is_returned_when_it_is_not_kept_any_more(void **state)
{
    struct world *w = *state;
    struct sim_client *p = cargo_publisher(w), *c = world_join_mapping(w);

    advertise(w, p, 0, "a", (struct kept_wish){1});
    publish_with(w, p, &(struct sim_publish){.topic = "a", .buffer = 1, .body_bytes = 100});
    world_expect(w, p, "");
    subscribe_to(w, c, 0, "a", BUS_RETAINED_LAST);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nBUFFER 1 8192\n"
                 "MESSAGE 1 a 1.1 in 1 0 100 1 retained\nPING\nLIVE 1 1\n");
    sim_release_all(&w->s, c);
    world_expect(w, p, "");
    publish_with(w, p,
                 &(struct sim_publish){.topic = "a", .buffer = 1, .slot = 1, .body_bytes = 100});
    world_expect(w, p, "RETURNED 1 0\n");
    sim_read(&w->s, c, 100);
    sim_release_all(&w->s, c);
    kept_clear(&model, &w->s, p, "a");
    world_expect(w, p, "RETURNED 1 1024\n");
}

static void test_a_body_in_a_buffer_outlives_its_publisher(void **state)
{
    struct world *w = *state;
    struct sim_client *p = cargo_publisher(w), *c;

    advertise(w, p, 0, "a", (struct kept_wish){1});
    publish_with(w, p, &(struct sim_publish){.topic = "a", .buffer = 1, .body_bytes = 100});
    sim_disconnect(&w->s, p);
    router_check(w->s.router);
    assert_int_equal(router_counters(w->s.router)->descriptors_now, 1);
    c = world_join_mapping(w);
    subscribe_to(w, c, 0, "#", BUS_RETAINED_ALL);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nBUFFER 1 8192\n"
                 "MESSAGE 1 a 1.1 in 1 0 100 1 retained\nPING\nLIVE 1 1\n");
    sim_release_all(&w->s, c);
    sim_pong(&w->s, c);
    /* in the frame for those who cannot map it */
    expect_kept(w, "a", BUS_RETAINED_LAST,
                "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\nLIVE 1 1\n");
    kept_clear_all(&model, &w->s);
    assert_int_equal(router_counters(w->s.router)->descriptors_now, 0);
}

static void test_a_refused_body_in_a_buffer_is_returned_once(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *p;

    (void) state;
    memset(&model, 0, sizeof(model));
    limits.user_retained_bytes_max = 4096;
    w = world_new(&limits);
    w->s.uid = 2000; /* the router's own user has more */
    sim_allow_everybody(&w->s);
    p = world_join(w);
    assert_true(sim_register(&w->s, p, 1, 8192, false));
    advertise(w, p, 0, "a", (struct kept_wish){1});
    assert_false(kept_publish(
        &model, &w->s, p, &(struct sim_publish){.topic = "a", .buffer = 1, .body_bytes = 5000}));
    world_expect(w, p, "STATUS LIMIT PUBLISH seq=1\nRETURNED 1 0\n");
    kept_clear_all(&model, &w->s);
    world_free(w);
}

static void test_descriptors_are_not_kept(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w), *slow = world_join(w);
    struct wire_subscribe m = wanting("a", BUS_RETAINED_LAST);

    m.flags = 2;
    advertise(w, p, 0, "a", (struct kept_wish){1});
    publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .n_fds = 2});
    assert_int_equal(router_counters(w->s.router)->descriptors_now, 0);
    subscribe(w, c, 0, &m);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 0/2 retained\nLIVE 1 1\n");
    /* also while they wait elsewhere */
    m.retained = 0;
    m.window_messages = 1;
    subscribe(w, slow, 0, &m);
    publish(w, p, "a");
    publish_with(w, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .n_fds = 2});
    world_expect(w, c, "MESSAGE 1 a 1.2\nMESSAGE 1 a 1.3 2/2\nPING\n");
    sim_pong(&w->s, c);
    assert_int_equal(router_counters(w->s.router)->descriptors_now, 2);
    sim_unsubscribe(&w->s, c, 0);
    world_expect(w, c, "STATUS OK UNSUBSCRIBE sub=1\n");
    m.retained = BUS_RETAINED_ALL;
    subscribe(w, c, 0, &m);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.3 0/2 retained\nLIVE 1 1\n");
    sim_settle(&w->s);
}

/* ---- deaths ---- */

static void test_subscriber_that_goes_in_the_middle_leaves_nothing(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct wire_goodbye goodbye = {BUS_GOODBYE_NORMAL, {"", 0}};
    struct wire_subscribe m = wanting("#", BUS_RETAINED_ALL);

    m.window_messages = 3;
    advertise(w, p, 0, "a", (struct kept_wish){100});
    publish_n(w, p, "a", 16);
    publish_n(w, p, "a", 16);
    for (unsigned i = 0; i < 3; i++) {
        struct sim_client *c = world_join(w);

        subscribe(w, c, 0, &m);
        publish(w, p, "a");
        router_check(w->s.router);
        if (i == 0) {
            sim_disconnect(&w->s, c);
        } else if (i == 1) {
            sim_send(&w->s, c, VERB_GOODBYE, &goodbye, NULL, 0);
            sim_read(&w->s, c, 100);
        } else {
            sim_unsubscribe(&w->s, c, 0);
        }
        sim_work_off(&w->s);
        router_check(w->s.router);
        assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
    }
}

static void test_shutdown_sends_what_is_within_credit(void **state)
{
    struct world *w;
    struct sim_client *p, *c;
    struct wire_subscribe m = wanting("#", BUS_RETAINED_ALL);

    (void) state;
    memset(&model, 0, sizeof(model));
    w = world_new(NULL);
    p = world_join(w);
    c = world_join(w);
    m.window_messages = 3;
    advertise(w, p, 0, "a", (struct kept_wish){100});
    publish_n(w, p, "a", 5);
    subscribe(w, c, 0, &m);
    router_shutdown(w->s.router, &w->s.now);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1 retained\n"
                 "MESSAGE 1 a 1.2 retained\nMESSAGE 1 a 1.3 retained\nGOODBYE SHUTDOWN\n");
    router_check(w->s.router);
    sim_disconnect(&w->s, p);
    sim_fini(&w->s); /* what is kept goes with the router */
    free(w);
}

/* ---- want of memory ---- */

static void fails_at(unsigned long n, bool packets)
{
    struct world *w;
    struct sim_client *p, *c;
    struct wire_subscribe m = wanting("+", BUS_RETAINED_ALL);
    struct wire_subscribe exact = wanting("a", BUS_RETAINED_LAST);

    memset(&model, 0, sizeof(model));
    w = world_new(NULL);
    p = sim_connect(&w->s, packets);
    c = sim_connect(&w->s, packets);
    failmalloc_arm(n);
    if (kept_advertise(&model, &w->s, p, 0, "a", (struct kept_wish){2, .owned = true}) &&
        kept_publish(&model, &w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 10}) &&
        kept_publish(&model, &w->s, p, &(struct sim_publish){.topic = "b", .body_bytes = 10})) {
        (void) kept_publish(&model, &w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 9});
    }
    if (!peer_is_closing(c->peer) && kept_subscribe(&model, &w->s, c, 0, &m) &&
        !peer_is_closing(c->peer)) {
        (void) kept_subscribe(&model, &w->s, c, 1, &exact);
    }
    if (!peer_is_closing(p->peer)) {
        (void) kept_publish(&model, &w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 9});
    }
    (void) failmalloc_disarm();
    router_check(w->s.router);
    sim_settle(&w->s);
    kept_clear_all(&model, &w->s);
    world_free(w);
}

static void test_any_failing_allocation_is_survived_and_told(void **state)
{
    (void) state;
    for (unsigned long n = 1; n < 60; n++) {
        fails_at(n, n % 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEEP_CASE(test_last_message_is_kept_for_later_subscriptions),
        KEEP_CASE(test_by_alias_and_by_name_and_by_others_is_kept_alike),
        KEEP_CASE(test_the_last_n_are_kept_and_the_largest_n_holds),
        KEEP_CASE(test_whoever_asks_when_the_others_have_gone_decides_alone),
        KEEP_CASE(test_what_the_router_publishes_is_kept_too),
        KEEP_CASE(test_if_that_cannot_be_kept_nothing_older_stands_for_it),
        KEEP_CASE(test_topics_come_in_the_order_in_which_they_were_published),
        KEEP_CASE(test_with_no_local_ones_own_is_left_out),
        KEEP_CASE(test_what_is_published_meanwhile_follows_without_gap_or_duplicate),
        KEEP_CASE(test_policy_and_bounds_are_for_what_follows),
        KEEP_CASE(test_latest_replaces_what_follows_and_not_what_was_kept),
        KEEP_CASE(test_block_holds_publishers_for_what_follows),
        cmocka_unit_test(test_no_room_at_the_subscriber_is_told_in_place),
        cmocka_unit_test(test_a_body_larger_than_the_link_takes_is_told),
        KEEP_CASE(test_what_is_kept_outlives_its_publisher),
        KEEP_CASE(test_clear_drops_it_and_later_ones_are_kept_again),
        KEEP_CASE(test_clear_is_refused_to_those_who_may_not_publish),
        KEEP_CASE(test_owned_goes_with_unadvertise),
        KEEP_CASE(test_owned_goes_with_its_connection_however_that_ends),
        KEEP_CASE(test_owned_without_a_wish_of_its_own_takes_away_what_it_published),
        KEEP_CASE(test_time_to_live_of_the_topic_and_of_the_message),
        KEEP_CASE(test_what_is_due_but_not_yet_dropped_is_not_given),
        cmocka_unit_test(test_what_cannot_be_kept_is_refused_and_what_is_kept_stays_true),
        KEEP_CASE(test_advertise_with_too_much_or_unknown_flags_is_refused),
        KEEP_CASE(test_subscribe_with_wrong_values_is_refused),
        KEEP_CASE(test_it_is_listed_and_counted),
        KEEP_CASE(test_a_body_in_a_buffer_is_returned_when_it_is_not_kept_any_more),
        KEEP_CASE(test_a_body_in_a_buffer_outlives_its_publisher),
        cmocka_unit_test(test_a_refused_body_in_a_buffer_is_returned_once),
        KEEP_CASE(test_descriptors_are_not_kept),
        KEEP_CASE(test_subscriber_that_goes_in_the_middle_leaves_nothing),
        cmocka_unit_test(test_shutdown_sends_what_is_within_credit),
        cmocka_unit_test(test_any_failing_allocation_is_survived_and_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
