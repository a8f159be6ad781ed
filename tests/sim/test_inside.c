/* SPDX-License-Identifier: MIT */
/* What the router says of itself: what is in the lists, and that they come in pages.
 * docs/protocol.md, section 22. */
#include "core/counters.h"
#include "support/inside.h"

#define ALL_OF ((struct inside_query){0})

static void test_clients_come_in_pages(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *second = world_join(w);
    union inside_any any;
    unsigned n = 0;

    (void) world_join(w);
    (void) world_join(w);
    assert_int_equal(inside_ask_for(w, c, BUS_INSIDE_CLIENTS, ALL_OF, &any), 4);
    assert_int_equal(heard.next, 0);
    assert_int_equal(any.client.connection_id, 4);
    assert_int_equal(
        inside_page_at(w, c, BUS_INSIDE_CLIENTS, &(struct inside_query){.limit = 2}, 0, &any), 2);
    assert_int_equal(any.client.connection_id, 1);
    assert_int_not_equal(heard.next, 0);
    sim_disconnect(&w->s, second); /* between the pages */
    sim_work_off(&w->s);
    for (uint64_t after = heard.next; after; after = heard.next) {
        n += inside_ask_for(w, c, BUS_INSIDE_CLIENTS,
                            (struct inside_query){.after = after, .limit = 1}, &any);
    }
    assert_int_equal(n, 2);
    assert_int_equal(any.client.connection_id, 4);
    assert_int_equal(
        inside_ask_for(w, c, BUS_INSIDE_CLIENTS, (struct inside_query){.after = UINT64_MAX}, NULL),
        0);
}

static void test_clients_say_what_happened(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *c = world_join(w);
    struct inside_client e;

    sim_advertise(&w->s, p, 0, "a");
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 3, .queue = 2});
    sim_advance(&w->s, 7 * MS);
    world_publish_n(w, p, "a", 9);
    assert_false(world_publish_bytes(w, p, "+", 10));
    e = inside_client_of(w, watch, 2);
    assert_int_equal(e.uid, 1000);
    assert_int_equal(e.link, w->on_streams ? BUS_LINK_STREAM : BUS_LINK_SEQPACKET);
    assert_int_equal(e.state, BUS_CLIENT_STATE_READY);
    assert_int_equal(e.published_messages, 9);
    assert_int_equal(e.published_bytes, 90);
    assert_int_equal(e.refused_messages, 1);
    assert_int_equal(e.topics, 1);
    assert_int_equal(e.slow, BUS_SLOW_NONE);
    assert_int_equal(e.idle_ms, 0);
    e = inside_client_of(w, watch, 3);
    assert_int_equal(e.since_ns, 1700000000000000000);
    assert_int_equal(e.idle_ms, 7);
    assert_int_equal(e.delivered_messages, 3);
    assert_int_equal(e.delivered_bytes, 30);
    assert_int_equal(e.queued_messages, 2);
    assert_int_equal(e.queued_bytes, 20);
    assert_int_equal(e.lost_messages, 4);
    assert_int_equal(e.lost_queue_full, 4);
    assert_int_equal(e.subscriptions, 1);
    assert_true(e.charged_bytes > 1000);
    sim_settle(&w->s);
}

static void test_losses_are_told_by_reason(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *c = world_join(w);
    struct inside_client e;

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_LATEST, .window = 1, .queue = 9});
    world_publish_n(w, p, "a", 4);
    assert_true(
        sim_publish(&w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .ttl_ms = 5}));
    sim_advance(&w->s, 10 * MS);
    sim_read(&w->s, c, 100);
    sim_give_credit(&w->s, c, 0);
    e = inside_client_of(w, watch, 3);
    assert_int_equal(e.lost_conflated, 3);
    assert_int_equal(e.lost_expired, 1);
    assert_int_equal(e.lost_messages, 4);
    sim_settle(&w->s);
}

/* ---- who is slow ---- */

static void test_a_subscriber_without_credit_is_slow(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *c = world_join(w);
    struct inside_client e;
    union inside_any any;

    world_subscribe(w, c, 1, &(struct world_sub){"a", BUS_POLICY_LATEST, .window = 1, .queue = 9});
    world_publish_n(w, p, "a", 2);
    assert_int_equal(inside_client_of(w, watch, 3).slow, BUS_SLOW_NONE);
    sim_advance(&w->s, 3000 * MS);
    e = inside_client_of(w, watch, 3);
    assert_int_equal(e.slow, BUS_SLOW_CREDIT);
    assert_int_equal(e.slow_ms, 3000);
    assert_int_equal(e.slow_subscription, 2);
    assert_int_equal(e.slow_messages, 1);
    assert_int_equal(inside_ask_for(w, watch, BUS_INSIDE_SUBSCRIPTIONS, ALL_OF, &any), 1);
    assert_int_equal(any.subscription.slow, BUS_SLOW_CREDIT);
    assert_int_equal(any.subscription.waiting_ms, 3000);
    assert_int_equal(any.subscription.stalled_ms, 3000);
    sim_settle(&w->s);
    assert_int_equal(inside_client_of(w, watch, 3).slow, BUS_SLOW_NONE);
}

static void test_a_client_that_does_not_read_is_slow(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *c = world_join(w);
    struct inside_client e;

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 90, .queue = 90});
    for (unsigned i = 0; i < 8; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000));
        sim_read(&w->s, p, 100); /* its credit */
    }
    while (router_next_dirty(w->s.router)) {
    }
    sim_advance(&w->s, 2000 * MS);
    e = inside_client_of(w, watch, 3);
    assert_int_equal(e.slow, BUS_SLOW_LINK);
    assert_int_equal(e.slow_ms, 2000);
    assert_int_equal(e.output_stalled_ms, 2000);
    assert_true(e.output_bytes > 4096);
    sim_settle(&w->s);
    e = inside_client_of(w, watch, 3);
    assert_int_equal(e.slow, BUS_SLOW_NONE);
    assert_int_equal(e.output_bytes, 0);
}

static void test_a_member_that_does_not_acknowledge_is_slow(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *c = world_join(w);
    struct inside_client e;
    union inside_any any;

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 9,
                                        .group = "g", .ack = true});
    world_publish_n(w, p, "a", 3);
    sim_advance(&w->s, 1500 * MS);
    e = inside_client_of(w, watch, 3);
    assert_int_equal(e.slow, BUS_SLOW_ACK);
    assert_int_equal(e.slow_ms, 1500);
    assert_int_equal(e.slow_messages, 2);
    assert_int_equal(inside_ask_for(w, watch, BUS_INSIDE_GROUPS, ALL_OF, &any), 1);
    assert_text(any.group.filter, "a");
    assert_text(any.group.name, "g");
    assert_int_equal(any.group.members, 1);
    assert_int_equal(any.group.ready_members, 0);
    assert_int_equal(any.group.queued_messages, 2);
    assert_int_equal(any.group.unacknowledged_messages, 1);
    assert_int_equal(any.group.waiting_ms, 1500);
    assert_int_equal(any.group.flags, SUB_ACK);
}

static void test_a_server_that_is_full_and_a_publisher_that_is_held_up(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *s = world_join_server(w, "s", 1);
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_request(w, p, 5, "s");
    assert_int_equal(inside_client_of(w, watch, 2).slow, BUS_SLOW_CALLS);
    assert_int_equal(inside_client_of(w, watch, 3).requests, 1);
    sim_read(&w->s, s, 100);
    world_subscribe(w, c, 0, &(struct world_sub){"b", BUS_POLICY_BLOCK, .window = 1, .queue = 1});
    for (unsigned i = 0; i < 18; i++) { /* its window is 16 */
        (void) world_publish_bytes(w, p, "b", 10);
    }
    assert_int_equal(inside_client_of(w, watch, 3).slow, BUS_SLOW_BLOCKED);
}

/* ---- the other lists ---- */

static void test_topics_are_listed_without_the_one_that_was_asked(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct world *w = *state;
    struct sim_client *c = world_join(w), *p = world_join(w);
    struct wire_unadvertise hole = {2};
    union inside_any any;

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        sim_advertise(&w->s, p, i, names[i]);
    }
    sim_send(&w->s, p, VERB_UNADVERTISE, &hole, NULL, 0);
    assert_int_equal(
        inside_page_at(w, c, BUS_INSIDE_TOPICS, &(struct inside_query){.limit = 2}, 1, &any), 2);
    assert_text(any.topic.name, "c");
    assert_int_equal(any.topic.publishers, 1);
    assert_int_equal(inside_page_at(w, c, BUS_INSIDE_TOPICS,
                                    &(struct inside_query){.after = heard.next}, 0, &any),
                     2);
    assert_text(any.topic.name, "d");
    assert_int_equal(heard.next, 0);
}

static void test_subscriptions_are_listed_of_all_or_of_one(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *a = world_join(w), *b = world_join_server(w, "s/#", 5);
    union inside_any any;
    unsigned n = 0;

    world_subscribe(
        w, a, 0,
        &(struct world_sub){"x/+", BUS_POLICY_LATEST, .window = 3, .queue = 7, .no_local = true});
    world_subscribe(
        w, a, 4,
        &(struct world_sub){"y", BUS_POLICY_BLOCK, .window = 2, .queue = 8, .group = "workers"});
    (void) b;
    assert_int_equal(inside_page_at(w, c, BUS_INSIDE_SUBSCRIPTIONS, &ALL_OF, 0, &any), 3);
    assert_int_equal(any.subscription.connection_id, 2);
    assert_int_equal(any.subscription.subscription, 1);
    assert_text(any.subscription.filter, "x/+");
    assert_text(any.subscription.group, "");
    assert_int_equal(any.subscription.policy, BUS_POLICY_LATEST);
    assert_int_equal(any.subscription.flags, SUB_NO_LOCAL);
    assert_int_equal(any.subscription.window_messages, 3);
    assert_int_equal(any.subscription.queue_messages, 7);
    assert_int_equal(any.subscription.slow, BUS_SLOW_NONE);
    (void) inside_page_at(w, c, BUS_INSIDE_SUBSCRIPTIONS, &ALL_OF, 1, &any);
    assert_int_equal(any.subscription.subscription, 5);
    assert_text(any.subscription.group, "workers");
    assert_text(any.subscription.filter, "y");
    (void) inside_page_at(w, c, BUS_INSIDE_SUBSCRIPTIONS, &ALL_OF, 2, &any);
    assert_int_equal(any.subscription.flags, SUB_SERVE);
    assert_text(any.subscription.filter, "s/#");
    assert_int_equal(inside_ask_for(w, c, BUS_INSIDE_SUBSCRIPTIONS,
                                    (struct inside_query){.connection_id = 2}, NULL),
                     2);
    heard.next = 0;
    do { /* one at a time */
        n += inside_ask_for(w, c, BUS_INSIDE_SUBSCRIPTIONS,
                            (struct inside_query){.after = heard.next, .limit = 1}, NULL);
    } while (heard.next);
    assert_int_equal(n, 3);
}

static void test_used_credit_of_a_subscription(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *a = world_join(w);
    union inside_any any;

    world_subscribe(w, a, 0, &(struct world_sub){"x", BUS_POLICY_LATEST, .window = 3, .queue = 7});
    world_publish_n(w, c, "x", 2);
    (void) inside_ask_for(w, c, BUS_INSIDE_SUBSCRIPTIONS, ALL_OF, &any);
    assert_int_equal(any.subscription.used_messages, 2);
    assert_int_equal(any.subscription.used_bytes, 2 * WORLD_BODY);
    assert_int_equal(any.subscription.queued_messages, 0);
    sim_settle(&w->s);
}

static void test_quotas_are_those_of_all_and_of_each_user(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    union inside_any any;
    unsigned n, n_totals = 0, n_of_1001 = 0;

    w->s.uid = 1001;
    (void) world_join(w);
    n = inside_ask_for(w, c, BUS_INSIDE_QUOTAS, ALL_OF, NULL);
    for (unsigned i = 0; i < n; i++) {
        (void) inside_page_at(w, c, BUS_INSIDE_QUOTAS, &ALL_OF, i, &any);
        n_totals += any.quota.is_total;
        n_of_1001 += !any.quota.is_total && any.quota.uid == 1001;
        assert_true(any.quota.slot.len > 0 && any.quota.used <= any.quota.limit);
    }
    assert_true(n_totals > 0 && n_of_1001 > 0);
    (void) inside_page_at(w, c, BUS_INSIDE_QUOTAS, &ALL_OF, 0, &any);
    assert_text(any.quota.slot, "bytes");
    assert_true(any.quota.used > 2000);
    heard.next = 0;
    do { /* one at a time: the same */
        n -= inside_ask_for(w, c, BUS_INSIDE_QUOTAS,
                            (struct inside_query){.after = heard.next, .limit = 1}, NULL);
    } while (heard.next);
    assert_int_equal(n, 0);
}

static void test_every_counter_is_listed(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    union inside_any any;

    world_publish_n(w, c, "a", 3);
    assert_int_equal(inside_ask_for(w, c, BUS_INSIDE_COUNTERS, ALL_OF, NULL), COUNTERS_COUNT);
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        assert_int_equal(
            inside_ask_for(w, c, BUS_INSIDE_COUNTERS, (struct inside_query){i, 1}, &any), 1);
        assert_text(any.counter.name, counter_name(i));
        if (strcmp(counter_name(i), "messages_published") == 0) {
            assert_int_equal(any.counter.value, 3);
        }
    }
}

/* ---- bounds ---- */

static void test_a_page_is_bounded_in_entries_and_bytes(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *p;
    struct world *w;
    unsigned n, pages = 0;

    (void) state;
    limits.aliases_max = 2000;
    limits.client_bytes_max = 16 * MIB;
    w = world_new(&limits);
    c = world_join(w);
    p = world_join(w);
    for (uint32_t i = 1; i <= 1500; i++) {
        char name[16];
        struct wire_advertise m = {i, {name, (size_t) snprintf(name, sizeof(name), "t/%u", i)}};

        sim_send(&w->s, p, VERB_ADVERTISE, &m, NULL, 0);
    }
    n = inside_ask_for(w, c, BUS_INSIDE_TOPICS, (struct inside_query){.limit = 5000}, NULL);
    assert_int_equal(n, 1000);
    heard.next = n = 0;
    do {
        n += inside_ask_for(w, c, BUS_INSIDE_TOPICS,
                            (struct inside_query){.after = heard.next, .limit = 5000}, NULL);
        pages++;
    } while (heard.next);
    assert_int_equal(n, 1500);
    assert_int_equal(pages, 2);
    world_free(w);
}

static void test_a_page_fits_onto_a_narrow_link(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *c;
    unsigned n = 0;

    (void) state;
    limits.stream_inline_max = 4096;
    limits.output_bytes_max = 65536;
    w = world_new(&limits);
    w->on_streams = true;
    c = world_join(w);
    heard.next = 0;
    do {
        n += inside_ask_for(w, c, BUS_INSIDE_COUNTERS, (struct inside_query){.after = heard.next},
                            NULL);
        assert_true(heard.bytes <= 4096);
    } while (heard.next);
    assert_int_equal(n, COUNTERS_COUNT);
    world_free(w);
}

/* Places that are empty are looked at, too. */
static void test_a_page_is_bounded_in_work(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *p;
    struct world *w;
    unsigned pages = 0, n = 0;

    (void) state;
    limits.subscriptions_max = 100000;
    limits.client_bytes_max = 16 * MIB;
    w = world_new(&limits);
    w->s.replace_each = 0; /* another router counts its work anew */
    c = world_join(w);
    p = world_join(w);
    sim_send(&w->s, p, VERB_SUBSCRIBE,
             &(struct wire_subscribe){.subscription = 100000, .filter = {"a", 1}}, NULL, 0);
    heard.next = 0;
    do {
        uint64_t before = w->s.router->work;

        n += inside_ask_for(w, c, BUS_INSIDE_SUBSCRIPTIONS,
                            (struct inside_query){.after = heard.next}, NULL);
        assert_true(w->s.router->work - before < 2 * INSIDE_STEPS);
        pages++;
    } while (heard.next);
    assert_int_equal(n, 1);
    assert_true(pages >= 100000 / INSIDE_STEPS);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_clients_come_in_pages),
        WORLD_CASES(test_clients_say_what_happened),
        WORLD_CASE(test_losses_are_told_by_reason),
        WORLD_CASE(test_a_subscriber_without_credit_is_slow),
        WORLD_CASES(test_a_client_that_does_not_read_is_slow),
        WORLD_CASE(test_a_member_that_does_not_acknowledge_is_slow),
        WORLD_CASE(test_a_server_that_is_full_and_a_publisher_that_is_held_up),
        WORLD_CASE(test_topics_are_listed_without_the_one_that_was_asked),
        WORLD_CASE(test_subscriptions_are_listed_of_all_or_of_one),
        WORLD_CASE(test_used_credit_of_a_subscription),
        WORLD_CASE(test_quotas_are_those_of_all_and_of_each_user),
        WORLD_CASES(test_every_counter_is_listed),
        cmocka_unit_test(test_a_page_is_bounded_in_entries_and_bytes),
        cmocka_unit_test(test_a_page_fits_onto_a_narrow_link),
        cmocka_unit_test(test_a_page_is_bounded_in_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
