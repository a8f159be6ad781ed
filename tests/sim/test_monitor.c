/* SPDX-License-Identifier: MIT */
/* Monitors: what they see, what they may, and that they change nothing. docs/protocol.md, section
 * 9. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/world.h"

static void send_monitor(struct world *w, struct sim_client *c, const struct wire_monitor *m)
{
    c->monitoring = true; /* for the oracle */
    sim_send(&w->s, c, VERB_MONITOR, m, NULL, 0);
}

static struct sim_client *join_monitor(struct world *w, const struct wire_monitor *m)
{
    struct sim_client *c = world_join(w);

    send_monitor(w, c, m);
    world_expect(w, c, "STATUS OK MONITOR\n");
    return c;
}

/* ---- what it sees ---- */

static void test_record_tells_the_verdict_for_each_recipient(void **state)
{
    static const enum bus_policy policies[] = {BUS_POLICY_DROP_OLDEST, BUS_POLICY_DROP_NEWEST,
                                               BUS_POLICY_LATEST, BUS_POLICY_BLOCK};
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){0});
    struct sim_client *p = world_join(w), *c = world_join(w), *d = world_join(w);

    for (unsigned i = 0; i < ARRAY_LEN(policies); i++) {
        world_subscribe(w, c, i, &(struct world_sub){"a", policies[i], .window = 1, .queue = 1});
    }
    world_subscribe(w, d, 0,
                    &(struct world_sub){"a", BUS_POLICY_DISCONNECT, .window = 1, .queue = 1});
    world_publish_n(w, p, "a", 4);
    world_expect(w, m,
                 "MONITORED 1 a 2.1 10/10 OK [3/1 DELIVERED NONE 0] [3/2 DELIVERED NONE 0]"
                 " [3/3 DELIVERED NONE 0] [3/4 DELIVERED NONE 0] [4/1 DELIVERED NONE 0]\n"
                 "MONITORED 2 a 2.2 10/10 OK [3/1 QUEUED NONE 0] [3/2 QUEUED NONE 0]"
                 " [3/3 QUEUED NONE 0] [3/4 QUEUED NONE 0] [4/1 QUEUED NONE 0]\n"
                 "MONITORED 3 a 2.3 10/10 OK [3/1 QUEUED NONE 1] [3/2 DROPPED QUEUE_FULL 0]"
                 " [3/3 QUEUED NONE 1] [3/4 QUEUED NONE 0] [4/1 DISCONNECTED QUEUE_FULL 0]\n"
                 "MONITORED 4 a 2.4 10/10 OK [3/1 QUEUED NONE 1] [3/2 DROPPED QUEUE_FULL 0]"
                 " [3/3 QUEUED NONE 1] [3/4 QUEUED NONE 0]\n");
    sim_settle(&w->s);
}

static void test_record_tells_other_reasons_of_a_drop(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *m, *p, *c;
    struct world *w;

    (void) state;
    limits.stream_inline_max = 100000;
    limits.client_bytes_max = 64 * KIB;
    w = world_new(&limits);
    m = join_monitor(w, &(struct wire_monitor){.snap_bytes = 1});
    p = sim_connect(&w->s, false);
    c = world_join(w);
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 1, .queue = 9,
                                        .queue_bytes = 1000000});
    assert_true(world_publish_bytes(w, p, "a", 65537));
    world_publish(w, p, "a");
    assert_true(world_publish_bytes(w, p, "a", 65536));
    world_expect(w, m,
                 "MONITORED 1 a 2.1 1/65537 OK [3/1 DROPPED TOO_LARGE 0]\n"
                 "MONITORED 2 a 2.2 1/10 OK [3/1 DELIVERED NONE 0]\n"
                 "MONITORED 3 a 2.3 1/65536 OK [3/1 DROPPED NO_MEMORY 0]\n");
    sim_settle(&w->s);
    world_free(w);
}

static void test_record_of_a_publish_nobody_wants_has_no_recipients(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){0}), *p = world_join(w);

    world_subscribe(
        w, p, 0,
        &(struct world_sub){"a", BUS_POLICY_LATEST, .window = 1, .queue = 1, .no_local = true});
    world_publish(w, p, "a");
    world_expect(w, m, "MONITORED 1 a 2.1 10/10 OK\n");
}

static void test_refused_publish_is_shown_with_its_status_and_the_order_before_it(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){0});
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_header bad = {text_from(""), text_from("")};
    struct wire_publish bad_header = {.topic = text_from("a"), .headers = &bad, .n_headers = 1};

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1});
    world_publish(w, p, "a");
    sim_send(&w->s, p, VERB_PUBLISH, &bad_header, NULL, 0);
    p->sequence++;
    world_publish_n(w, p, "a", 15);
    sim_read(&w->s, m, 1000);
    world_clear(w, m);
    assert_false(world_publish_bytes(w, p, "a", 10));
    assert_false(world_publish_bytes(w, p, "a/+", 10)); /* no topic, nothing to show */
    world_expect(w, m, "MONITORED 16 a 2.18 10/10 NO_CREDIT\n");
    sim_settle(&w->s);
}

static void test_refused_header_is_shown_as_invalid(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){0}), *p = world_join(w);
    struct wire_header bad = {text_from(""), text_from("")};
    struct wire_publish bad_header = {.topic = text_from("a"), .headers = &bad, .n_headers = 1};

    sim_send(&w->s, p, VERB_PUBLISH, &bad_header, "xyz", 3);
    world_expect(w, m, "MONITORED 0 a 2.1 3/3 INVALID_ARGUMENT\n");
}

static void test_body_is_cut_to_what_the_monitor_asked_for(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){.snap_bytes = 9});
    struct sim_client *p = world_join(w);

    assert_true(world_publish_bytes(w, p, "a", 8));
    assert_true(world_publish_bytes(w, p, "a", 9));
    assert_true(world_publish_bytes(w, p, "a", 3000));
    world_expect(w, m,
                 "MONITORED 1 a 2.1 8/8 OK\nMONITORED 2 a 2.2 9/9 OK\n"
                 "MONITORED 3 a 2.3 9/3000 OK\n");
}

static void test_body_is_cut_to_the_inline_limit_of_the_monitors_link(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *m, *p;
    struct world *w;

    (void) state;
    limits.stream_inline_max = 200000;
    w = world_new(&limits);
    m = join_monitor(w, &(struct wire_monitor){0});
    p = sim_connect(&w->s, false);
    assert_true(world_publish_bytes(w, p, "a", 100000));
    world_expect(w, m, "MONITORED 1 a 2.1 65536/100000 OK\n");
    world_free(w);
}

static void test_filters_choose_topics_and_none_means_all(void **state)
{
    struct text filters[] = {text_from("a/+"), text_from("$x/#")};
    struct world *w = *state;
    struct sim_client *some =
        join_monitor(w, &(struct wire_monitor){.filters = filters, .n_filters = 2});
    struct sim_client *all = join_monitor(w, &(struct wire_monitor){0}), *p = world_join(w);

    world_publish(w, p, "a/b");
    world_publish(w, p, "a");
    world_publish(w, p, "$x/y");
    world_publish(w, p, "$sys");
    world_expect(w, some, "MONITORED 1 a/b 3.1 10/10 OK\nMONITORED 3 $x/y 3.3 10/10 OK\n");
    world_expect(w, all,
                 "MONITORED 1 a/b 3.1 10/10 OK\nMONITORED 2 a 3.2 10/10 OK\n"
                 "MONITORED 3 $x/y 3.3 10/10 OK\nMONITORED 4 $sys 3.4 10/10 OK\n");
}

static void test_names_are_told_before_their_first_use_and_when_they_change(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){0});
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 9, .queue = 9});
    w->shows_names = true;
    world_publish_n(w, p, "a", 1);
    world_publish_n(w, p, "b", 1); /* the number 1 of "a" again */
    sim_disconnect(&w->s, p);
    p = world_join(w);
    world_publish_n(w, p, "b", 1);
    world_expect(w, m,
                 "PEER 2 2 sim\nPEER 3 3 sim\nTOPIC 1 a\n"
                 "MONITORED 1 a 2.1 10/10 OK [3/1 DELIVERED NONE 0]\nTOPIC 1 b\n"
                 "MONITORED 2 b 2.2 10/10 OK\nPEER 2 4 sim\nTOPIC 1 b\n"
                 "MONITORED 3 b 4.1 10/10 OK\n");
    w->shows_names = false;
    sim_settle(&w->s);
}

/* ---- what it misses ---- */

static void test_what_does_not_fit_is_reported_in_its_place(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){.queue_bytes = 100});
    struct sim_client *p = world_join(w);

    sim_advertise(&w->s, p, 0, "a");
    world_publish_n(w, p, "a", 9);
    world_expect(w, m,
                 "MONITORED 1 a 2.1 10/10 OK\nMONITORED 2 a 2.2 10/10 OK\n"
                 "LOSS 0 7 70 QUEUE_FULL\n");
    world_publish(w, p, "a");
    world_expect(w, m, "MONITORED 10 a 2.10 10/10 OK\n");
    assert_int_equal(router_counters(w->s.router)->monitor_records, 3);
    assert_int_equal(router_counters(w->s.router)->monitor_records_lost, 7);
}

static void test_loss_that_could_not_be_told_for_want_of_memory_comes_later(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){0}), *p = world_join(w);

    sim_advertise(&w->s, p, 0, "a");
    sim_read(&w->s, m, 100);
    /* a monitor turns the plain way off: the first allocation is for the publisher's header */
    failmalloc_arm_from(2);
    (void) sim_publish(&w->s, p, &(struct sim_publish){.alias = 0, .body_bytes = 10});
    assert_int_not_equal(failmalloc_disarm(), 0);
    assert_int_equal(router_counters(w->s.router)->monitor_records_lost, 1);
    sim_advance(&w->s, 1000000000);
    world_expect(w, m, "LOSS 0 1 10 QUEUE_FULL\n");
}

static void test_slow_monitor_changes_nothing_for_others(void **state)
{
    char without[WORLD_TEXT];

    (void) state;
    for (unsigned with = 0; with < 2; with++) {
        struct world *w = world_new(NULL);
        struct sim_client *p = world_join(w), *c = world_join(w);

        w->s.rng.state = 5;
        if (with) {
            (void) join_monitor(w, &(struct wire_monitor){.queue_bytes = 500});
        }
        for (unsigned i = 0; i < 4; i++) {
            world_subscribe(w, c, i,
                            &(struct world_sub){"#", (enum bus_policy) i, .window = 2, .queue = 3});
        }
        for (unsigned i = 0; i < 200; i++) {
            (void) world_publish_bytes(w, p, sim_random_topic(&w->s), 10 + i);
            sim_read(&w->s, c, 5);
            sim_read(&w->s, p, 5);
            sim_give_credit(&w->s, c, i % 4);
        }
        if (with) {
            assert_string_equal(w->text[c - w->s.clients], without);
        } else {
            memcpy(without, w->text[c - w->s.clients], WORLD_TEXT);
        }
        world_free(w);
    }
}

static struct wire_monitored record;

static void keep_record(struct sim *s, struct sim_client *c, const struct frame *f,
                        const union wire_any *m)
{
    (void) s;
    (void) c;
    if (f->verb == VERB_MONITORED) {
        record = m->monitored;
    }
}

static void test_at_most_1000_recipients_are_listed_and_the_others_counted(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *m, *p, *c;
    struct world *w;

    (void) state;
    limits.subscriptions_max = 2000;
    limits.client_bytes_max = 4 * MIB;
    w = world_new(&limits);
    m = join_monitor(w, &(struct wire_monitor){0});
    p = world_join(w);
    c = world_join(w);
    for (uint32_t i = 1; i <= 1005; i++) {
        struct wire_subscribe sub = {.subscription = i, .filter = text_from("a")};

        sim_send(&w->s, c, VERB_SUBSCRIBE, &sub, NULL, 0);
    }
    world_publish(w, p, "a");
    w->s.on_frame = keep_record;
    sim_read(&w->s, m, 100);
    assert_int_equal(record.n_recipients, 1000);
    assert_int_equal(record.recipients_omitted, 5);
    world_free(w);
}

/* ---- what it may ---- */

static void test_only_the_routers_user_and_root_may_monitor(void **state)
{
    struct world *w = *state;
    struct sim_client *c;

    w->s.uid = 1001;
    c = world_join(w);
    send_monitor(w, c, &(struct wire_monitor){0});
    world_expect(w, c, "STATUS DENIED MONITOR\n");
    assert_int_equal(router_counters(w->s.router)->monitors_now, 0);
    w->s.uid = 0;
    (void) join_monitor(w, &(struct wire_monitor){0});
    w->s.uid = 1000;
    (void) join_monitor(w, &(struct wire_monitor){0});
    assert_int_equal(router_counters(w->s.router)->monitors_now, 2);
}

static void test_monitor_cannot_publish_or_subscribe(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join_monitor(w, &(struct wire_monitor){0});
    struct wire_subscribe sub = {.subscription = 1, .filter = text_from("a")};
    struct wire_advertise advertise = {1, text_from("a")};
    struct wire_monitor again = {0};
    struct wire_ping ping = {1};

    assert_false(world_publish_bytes(w, m, "a", 10));
    sim_send(&w->s, m, VERB_SUBSCRIBE, &sub, NULL, 0);
    sim_send(&w->s, m, VERB_ADVERTISE, &advertise, NULL, 0);
    sim_send(&w->s, m, VERB_MONITOR, &again, NULL, 0);
    sim_send(&w->s, m, VERB_PING, &ping, NULL, 0);
    world_expect(w, m,
                 "STATUS UNEXPECTED PUBLISH seq=1\nSTATUS UNEXPECTED SUBSCRIBE sub=1\n"
                 "STATUS UNEXPECTED ADVERTISE alias=1\nSTATUS UNEXPECTED MONITOR\n"
                 "PONG 1\n");
}

static void test_connection_in_other_use_cannot_become_a_monitor(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_unadvertise unadvertise = {1};

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_LATEST, .window = 1, .queue = 1});
    send_monitor(w, c, &(struct wire_monitor){0});
    world_expect(w, c, "STATUS UNEXPECTED MONITOR\n");
    sim_unsubscribe(&w->s, c, 0);
    sim_advertise(&w->s, c, 0, "a");
    send_monitor(w, c, &(struct wire_monitor){0});
    sim_send(&w->s, c, VERB_UNADVERTISE, &unadvertise, NULL, 0);
    send_monitor(w, c, &(struct wire_monitor){0});
    world_expect(w, c,
                 "STATUS OK UNSUBSCRIBE sub=1\nSTATUS UNEXPECTED MONITOR\n"
                 "STATUS OK MONITOR\n");
}

static void test_monitor_beyond_the_limits_is_refused(void **state)
{
    struct text filters[33];
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        filters[i] = text_from("a");
    }
    send_monitor(w, c, &(struct wire_monitor){.filters = filters, .n_filters = 33});
    send_monitor(w, c, &(struct wire_monitor){.queue_bytes = 16 * MIB + 1});
    filters[31] = text_from("a#");
    send_monitor(w, c, &(struct wire_monitor){.filters = filters, .n_filters = 32});
    filters[31] = text_from("b");
    send_monitor(
        w, c, &(struct wire_monitor){.filters = filters, .n_filters = 32, .queue_bytes = 16 * MIB});
    world_expect(w, c,
                 "STATUS LIMIT MONITOR\nSTATUS LIMIT MONITOR\n"
                 "STATUS INVALID_FILTER MONITOR\nSTATUS OK MONITOR\n");
}

static void test_number_of_monitors_is_limited(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *m, *c;
    struct world *w;

    (void) state;
    limits.monitors_max = 1;
    w = world_new(&limits);
    m = join_monitor(w, &(struct wire_monitor){0});
    c = world_join(w);
    send_monitor(w, c, &(struct wire_monitor){0});
    sim_disconnect(&w->s, m);
    send_monitor(w, c, &(struct wire_monitor){0});
    world_expect(w, c, "STATUS LIMIT MONITOR\nSTATUS OK MONITOR\n");
    world_free(w);
}

static void test_monitor_that_finds_no_memory_is_refused_and_changes_nothing(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (unsigned long n = 1; n <= 2; n++) {
        failmalloc_arm(n);
        send_monitor(w, c, &(struct wire_monitor){0});
        assert_int_equal(failmalloc_disarm(), 1);
        world_expect(w, c, "STATUS NO_MEMORY MONITOR\n");
        router_check(w->s.router);
    }
    send_monitor(w, c, &(struct wire_monitor){0});
    world_expect(w, c, "STATUS OK MONITOR\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_record_tells_the_verdict_for_each_recipient),
        cmocka_unit_test(test_record_tells_other_reasons_of_a_drop),
        WORLD_CASE(test_record_of_a_publish_nobody_wants_has_no_recipients),
        WORLD_CASE(test_refused_publish_is_shown_with_its_status_and_the_order_before_it),
        WORLD_CASE(test_refused_header_is_shown_as_invalid),
        WORLD_CASE(test_body_is_cut_to_what_the_monitor_asked_for),
        cmocka_unit_test(test_body_is_cut_to_the_inline_limit_of_the_monitors_link),
        WORLD_CASE(test_filters_choose_topics_and_none_means_all),
        WORLD_CASE(test_names_are_told_before_their_first_use_and_when_they_change),
        WORLD_CASE(test_what_does_not_fit_is_reported_in_its_place),
        WORLD_CASE(test_loss_that_could_not_be_told_for_want_of_memory_comes_later),
        cmocka_unit_test(test_slow_monitor_changes_nothing_for_others),
        cmocka_unit_test(test_at_most_1000_recipients_are_listed_and_the_others_counted),
        WORLD_CASE(test_only_the_routers_user_and_root_may_monitor),
        WORLD_CASE(test_monitor_cannot_publish_or_subscribe),
        WORLD_CASE(test_connection_in_other_use_cannot_become_a_monitor),
        WORLD_CASE(test_monitor_beyond_the_limits_is_refused),
        cmocka_unit_test(test_number_of_monitors_is_limited),
        WORLD_CASE(test_monitor_that_finds_no_memory_is_refused_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
