/* SPDX-License-Identifier: MIT */
/* Interest and silence: docs/protocol.md, section 15. Each case on both kinds of link. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/world.h"

static void subscribe(struct world *w, struct sim_client *c, unsigned index, const char *filter)
{
    world_subscribe(w, c, index, &(struct world_sub){.filter = filter, .window = 1000});
}

static void advertise(struct world *w, struct sim_client *c, uint32_t alias, const char *topic)
{
    struct wire_advertise m = {alias, text_from(topic), ADVERTISE_INTEREST};

    sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
}

static void unadvertise(struct world *w, struct sim_client *c, uint32_t alias)
{
    sim_send(&w->s, c, VERB_UNADVERTISE, &(struct wire_unadvertise){alias}, NULL, 0);
}

static void expect(struct world *w, struct sim_client *c, const char *due)
{
    sim_work_off(&w->s);
    router_check(w->s.router);
    world_expect(w, c, due);
}

/* ---- interest ---- */

static void test_interest_is_told_at_once_and_when_it_changes(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);

    advertise(w, p, 1, "t");
    expect(w, p, "INTEREST 1 0\n");
    subscribe(w, a, 0, "t");
    expect(w, p, "INTEREST 1 1\n");
    subscribe(w, a, 1, "t");
    subscribe(w, a, 2, "other");
    expect(w, p, "INTEREST 1 2\n");
    sim_unsubscribe(&w->s, a, 1);
    expect(w, p, "INTEREST 1 1\n");
    sim_disconnect(&w->s, a);
    expect(w, p, "INTEREST 1 0\n");
    expect(w, p, "");
}

static void test_subscriptions_that_are_there_before(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);

    subscribe(w, a, 0, "t/#");
    subscribe(w, a, 1, "t/x");
    subscribe(w, a, 2, "u/#");
    advertise(w, p, 3, "t/x");
    expect(w, p, "INTEREST 3 2\n");
}

static void test_wildcards_are_found_without_a_publish(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);

    advertise(w, p, 1, "t/x");
    advertise(w, p, 2, "u/x");
    expect(w, p, "INTEREST 1 0\nINTEREST 2 0\n");
    subscribe(w, a, 0, "+/x");
    expect(w, p, "INTEREST 1 1\nINTEREST 2 1\n");
    subscribe(w, a, 1, "u/#");
    expect(w, p, "INTEREST 2 2\n");
    sim_unsubscribe(&w->s, a, 0);
    expect(w, p, "INTEREST 1 0\nINTEREST 2 1\n");
    world_publish(w, p, "u/x");
    world_expect(w, a, "STATUS OK UNSUBSCRIBE sub=1\nMESSAGE 2 u/x 1.1\n");
}

static void test_changes_are_told_together(void **state)
{
    struct wire_subscribe m = {
        .subscription = 1, .filter = text_from("t"), .group = {"", 0}, .dead_letter = {"", 0}};
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);

    advertise(w, p, 1, "t");
    for (m.subscription = 1; m.subscription <= 8; m.subscription++) {
        sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
    }
    expect(w, p, "INTEREST 1 8\n");
    for (uint32_t i = 1; i <= 8; i++) {
        sim_send(&w->s, a, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = i}, NULL,
                 0);
    }
    for (m.subscription = 1; m.subscription <= 8; m.subscription++) {
        sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
    }
    expect(w, p, "");
}

static void test_own_subscriptions_without_local_do_not_count(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w);

    advertise(w, p, 1, "t");
    advertise(w, q, 1, "t");
    world_subscribe(w, p, 0, &(struct world_sub){.filter = "t", .window = 9, .no_local = true});
    world_subscribe(w, p, 1, &(struct world_sub){.filter = "+", .window = 9, .no_local = true});
    subscribe(w, p, 2, "t");
    world_subscribe(w, q, 0, &(struct world_sub){.filter = "t", .window = 9, .no_local = true});
    expect(w, p, "INTEREST 1 2\n");
    expect(w, q, "INTEREST 1 3\n");
}

static void test_two_aliases_of_one_topic(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);

    advertise(w, p, 1, "t");
    advertise(w, p, 2, "t");
    expect(w, p, "INTEREST 1 0\nINTEREST 2 0\n");
    unadvertise(w, p, 1);
    subscribe(w, a, 0, "#");
    expect(w, p, "INTEREST 2 1\n");
    unadvertise(w, p, 2);
    sim_unsubscribe(&w->s, a, 0);
    expect(w, p, "");
    advertise(w, p, 2, "t");
    expect(w, p, "INTEREST 2 0\n");
}

static void test_who_does_not_ask_is_not_told(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);

    sim_advertise(&w->s, p, 0, "t");
    subscribe(w, a, 0, "t");
    expect(w, p, "");
    assert_int_equal(router_counters(w->s.router)->interests_told, 0);
}

static void test_who_does_not_read_gets_the_newest(void **state)
{
    struct wire_ping ping = {1};
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);
    unsigned n_pongs = 0;

    advertise(w, p, 1, "t");
    expect(w, p, "INTEREST 1 0\n");
    for (; peer_output(p->peer)->bytes < 4096; n_pongs++) {
        sim_send(&w->s, p, VERB_PING, &ping, NULL, 0);
    }
    for (unsigned i = 0; i < 5; i++) {
        subscribe(w, a, i, i % 2 ? "t" : "+");
        sim_work_off(&w->s);
        router_check(w->s.router);
    }
    sim_read(&w->s, p, 10000);
    assert_null(strstr(w->text[p - w->s.clients], "INTEREST"));
    world_clear(w, p);
    expect(w, p, "INTEREST 1 5\n");
    assert_int_equal(p->n_pongs, n_pongs);
}

static void test_one_who_ends_while_it_waits(void **state)
{
    struct wire_ping ping = {1};
    struct world *w = *state;
    struct sim_client *p = world_join(w), *a = world_join(w);

    advertise(w, p, 1, "t");
    expect(w, p, "INTEREST 1 0\n");
    while (peer_output(p->peer)->bytes < 4096) {
        sim_send(&w->s, p, VERB_PING, &ping, NULL, 0);
    }
    subscribe(w, a, 0, "t");
    sim_work_off(&w->s);
    sim_disconnect(&w->s, p);
    sim_work_off(&w->s);
    router_check(w->s.router);
}

static void test_many_watched_topics_take_turns(void **state)
{
    struct limits l = LIMITS_DEFAULT;
    struct world *w;
    struct sim_client *p, *a;
    unsigned n = 0;

    w = world_like(*state, &l);
    p = world_join(w);
    a = world_join(w);
    for (uint32_t i = 1; i <= 5000; i++) {
        char topic[16];

        snprintf(topic, sizeof(topic), "t/%u", i);
        advertise(w, p, i, topic);
    }
    sim_work_off(&w->s);
    w->s.on_frame = NULL;
    sim_read(&w->s, p, 10000);
    assert_int_equal(router_counters(w->s.router)->interests_told, 5000);
    subscribe(w, a, 0, "t/+");
    assert_true(sim_work_off(&w->s) >= 3);
    assert_int_equal(router_counters(w->s.router)->interests_told, 10000);
    for (; peer_output(p->peer)->bytes > 0; n++) {
        sim_read(&w->s, p, 1);
    }
    assert_true(n > 0);
    world_free(w);
}

static void test_interest_with_failing_allocations(void **state)
{
    FOR_EACH_FAILING_MALLOC (n) {
        struct world *w;
        struct sim_client *p, *a;
        struct wire_subscribe m = {.subscription = 1, .filter = text_from("+/x"), .group = {"", 0}};
        bool watched, subscribed;

        (void) failmalloc_disarm();
        w = world_like(*state, NULL);
        p = world_join(w);
        a = world_join(w);
        failmalloc_arm(n);
        advertise(w, p, 1, "t/x");
        watched = !peer_is_closing(p->peer) && router_counters(w->s.router)->topics_now > 0;
        sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
        subscribed = router_counters(w->s.router)->subscriptions_now > 0;
        for (unsigned i = 0; i < 4; i++) {
            sim_advance(&w->s, 60 * MS);
            router_check(w->s.router);
        }
        (void) failmalloc_disarm();
        sim_read(&w->s, p, 100);
        if (watched && !peer_is_closing(p->peer)) {
            assert_non_null(strstr(w->text[p - w->s.clients],
                                   subscribed ? "INTEREST 1 1\n" : "INTEREST 1 0\n"));
        }
        world_free(w);
    }
}

/* The largest will that the router still takes: then there is not a byte left. */
static void use_up(struct world *w, struct sim_client *c)
{
    static char body[65536];
    size_t low = 0, high = sizeof(body);

    while (low < high) {
        size_t bytes = (low + high + 1) / 2;
        uint64_t before = c->n_status[BUS_STATUS_LIMIT];

        sim_send(&w->s, c, VERB_WILL, &(struct wire_will){text_from("w")}, body, bytes);
        sim_read(&w->s, c, 100);
        if (c->n_status[BUS_STATUS_LIMIT] > before) {
            high = bytes - 1;
        } else {
            low = bytes;
        }
        sim_send(&w->s, c, VERB_WILL, &(struct wire_will){text_from("w"), 1}, NULL, 0);
    }
    sim_send(&w->s, c, VERB_WILL, &(struct wire_will){text_from("w")}, body, low);
    world_clear(w, c);
}

/* A subscriber that has no memory left for a match counts all the same, and holds up no events. */
static void test_a_subscriber_at_its_limit_counts(void **state)
{
    struct limits l = sim_small_limits();
    struct sim_client *p, *a, *b;
    struct world *w;

    l.client_bytes_max = 64 * 1024;
    l.stream_inline_max = 1 << 20;
    w = world_like(*state, &l);
    w->s.looks_away = true;
    p = world_join(w);
    a = world_join(w);
    b = world_join(w);
    subscribe(w, b, 0, "$bus/client/+/left");
    subscribe(w, a, 0, "+");
    use_up(w, a);
    advertise(w, p, 1, "t");
    sim_advance(&w->s, 0);
    router_check(w->s.router);
    world_expect(w, p, "INTEREST 1 1\n");
    /* it is looked at again, but not at once */
    assert_true(router_deadline(w->s.router) > w->s.now.monotonic_ns);
    assert_true(router_deadline(w->s.router) <= w->s.now.monotonic_ns + 50 * MS);
    sim_disconnect(&w->s, world_join(w));
    sim_advance(&w->s, 0);
    world_expect(w, b, "MESSAGE 1 $bus/client/4/left 0.0\n");
    sim_disconnect(&w->s, a);
    sim_advance(&w->s, 60 * MS);
    sim_advance(&w->s, 60 * MS);
    world_expect(w, p, "INTEREST 1 0\n");
    world_free(w);
}

/* ---- silence ---- */

static void subscribe_silence(struct world *w, struct sim_client *c, unsigned index,
                              const char *filter, uint32_t silence_ms, uint32_t flags)
{
    struct wire_subscribe m = {.filter = text_from(filter),
                               .window_messages = 1000,
                               .window_bytes = 100000,
                               .flags = flags,
                               .silence_ms = silence_ms};

    assert_true(sim_subscribe(&w->s, c, index, &m));
    sim_read(&w->s, c, 100);
    world_clear(w, c);
}

static void advance_ms(struct world *w, uint64_t ms)
{
    sim_advance(&w->s, ms * MS);
    router_check(w->s.router);
}

static void test_silence_is_told_once(void **state)
{
    struct world *w = *state;
    struct sim_client *a = world_join(w), *p = world_join(w);

    subscribe_silence(w, a, 0, "t", 100, 0);
    advance_ms(w, 99);
    world_expect(w, a, "");
    advance_ms(w, 1);
    world_expect(w, a, "SILENCE 1 100\n");
    advance_ms(w, 1000);
    world_expect(w, a, "");
    world_publish(w, p, "t");
    world_expect(w, a, "MESSAGE 1 t 2.1\n");
    advance_ms(w, 99);
    world_expect(w, a, "");
    advance_ms(w, 10);
    world_expect(w, a, "SILENCE 1 109\n");
    assert_int_equal(router_counters(w->s.router)->silences_told, 2);
}

static void test_messages_postpone_it(void **state)
{
    struct world *w = *state;
    struct sim_client *a = world_join(w), *p = world_join(w);

    subscribe_silence(w, a, 0, "t/#", 100, 0);
    for (unsigned i = 0; i < 10; i++) {
        advance_ms(w, 60);
        world_publish(w, p, i % 2 ? "t/1" : "t/2");
        world_publish(w, p, "u");
    }
    sim_read(&w->s, a, 100);
    assert_null(strstr(w->text[a - w->s.clients], "SILENCE"));
    world_clear(w, a);
    advance_ms(w, 99);
    world_expect(w, a, "");
    advance_ms(w, 1);
    world_expect(w, a, "SILENCE 1 100\n");
}

static void test_what_is_not_for_it_is_silence(void **state)
{
    struct world *w = *state;
    struct sim_client *a = world_join(w);

    subscribe_silence(w, a, 0, "t", 100, 1);
    advance_ms(w, 60);
    world_publish(w, a, "t");
    advance_ms(w, 40);
    world_expect(w, a, "SILENCE 1 100\n");
}

static void test_what_waits_is_no_silence(void **state)
{
    struct wire_subscribe m = {
        .filter = text_from("t"), .window_messages = 1, .window_bytes = 1000, .silence_ms = 100};
    struct world *w = *state;
    struct sim_client *a = world_join(w), *p = world_join(w);

    assert_true(sim_subscribe(&w->s, a, 0, &m));
    world_publish(w, p, "t");
    advance_ms(w, 60);
    world_publish(w, p, "t");
    advance_ms(w, 60);
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 t 2.1\n");
    advance_ms(w, 40);
    world_expect(w, a, "SILENCE 1 100\n");
    world_credit(w, a, 0, 1, 10);
    world_expect(w, a, "MESSAGE 1 t 2.2\n");
}

static void test_it_ends_with_its_subscription(void **state)
{
    struct world *w = *state;
    struct sim_client *a = world_join(w), *b = world_join(w);

    subscribe_silence(w, a, 0, "t", 100, 0);
    subscribe_silence(w, a, 5, "t", 200, 0);
    subscribe_silence(w, b, 0, "t", 100, 0);
    sim_unsubscribe(&w->s, a, 0);
    sim_read(&w->s, a, 100);
    world_clear(w, a);
    sim_disconnect(&w->s, b);
    advance_ms(w, 300);
    world_expect(w, a, "SILENCE 6 300\n");
}

static void test_refusals_of_silence(void **state)
{
    struct wire_subscribe m = {
        .subscription = 1, .filter = text_from("t"), .group = {"", 0}, .silence_ms = 9};
    struct limits l = sim_small_limits();
    struct world *w;
    struct sim_client *a;

    l.alarms_max = 1;
    w = world_like(*state, &l);
    a = world_join(w);
    sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
    world_expect(w, a, "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n");
    m.silence_ms = 10;
    sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
    m.subscription = 2;
    sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=1\nSTATUS LIMIT SUBSCRIBE sub=2\n");
    sim_send(&w->s, a, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = 1}, NULL, 0);
    sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
    world_expect(w, a, "STATUS OK UNSUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=2\n");
    world_free(w);
}

static void test_silence_for_one_who_does_not_read(void **state)
{
    struct wire_ping ping = {1};
    struct world *w = *state;
    struct sim_client *a = world_join(w);

    subscribe_silence(w, a, 0, "t", 100, 0);
    while (peer_output(a->peer)->bytes < 4096) {
        sim_send(&w->s, a, VERB_PING, &ping, NULL, 0);
    }
    advance_ms(w, 100);
    sim_read(&w->s, a, 10000);
    world_clear(w, a);
    advance_ms(w, 99);
    world_expect(w, a, "");
    advance_ms(w, 1);
    world_expect(w, a, "SILENCE 1 200\n");
}

static void test_silence_with_failing_allocations(void **state)
{
    FOR_EACH_FAILING_MALLOC (n) {
        struct wire_subscribe m = {
            .subscription = 1, .filter = text_from("t"), .group = {"", 0}, .silence_ms = 100};
        struct world *w;
        struct sim_client *a;

        (void) failmalloc_disarm();
        w = world_like(*state, NULL);
        a = world_join(w);
        failmalloc_arm(n);
        sim_send(&w->s, a, VERB_SUBSCRIBE, &m, NULL, 0);
        for (unsigned i = 0; i < 4; i++) {
            advance_ms(w, 110);
        }
        (void) failmalloc_disarm();
        sim_read(&w->s, a, 100);
        if (a->peer && !peer_is_closing(a->peer)) {
            const char *text = w->text[a - w->s.clients];
            const char *said = strstr(text, "SILENCE 1 ");

            assert_int_equal(strstr(text, "STATUS OK") != NULL, said != NULL);
            assert_true(!said || !strstr(said + 1, "SILENCE"));
        }
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_interest_is_told_at_once_and_when_it_changes),
        WORLD_CASES(test_subscriptions_that_are_there_before),
        WORLD_CASES(test_wildcards_are_found_without_a_publish),
        WORLD_CASES(test_changes_are_told_together),
        WORLD_CASES(test_own_subscriptions_without_local_do_not_count),
        WORLD_CASES(test_two_aliases_of_one_topic),
        WORLD_CASES(test_who_does_not_ask_is_not_told),
        WORLD_CASES(test_who_does_not_read_gets_the_newest),
        WORLD_CASES(test_one_who_ends_while_it_waits),
        WORLD_CASES(test_many_watched_topics_take_turns),
        WORLD_CASES(test_interest_with_failing_allocations),
        WORLD_CASES(test_a_subscriber_at_its_limit_counts),
        WORLD_CASES(test_silence_is_told_once),
        WORLD_CASES(test_messages_postpone_it),
        WORLD_CASES(test_what_is_not_for_it_is_silence),
        WORLD_CASES(test_what_waits_is_no_silence),
        WORLD_CASES(test_it_ends_with_its_subscription),
        WORLD_CASES(test_refusals_of_silence),
        WORLD_CASES(test_silence_for_one_who_does_not_read),
        WORLD_CASES(test_silence_with_failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
