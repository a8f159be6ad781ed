/* SPDX-License-Identifier: MIT */
/* How many subscriptions of one user a topic may match: the ones beyond that end, and are told so.
 */
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/sim_policy.h"
#include "support/world.h"

#define ENOUGH 2u

static struct sim_client *join_as(struct world *w, uint32_t uid)
{
    struct sim_client *c;

    if (!w->s.config.policy) { /* without rules other users may do nothing */
        sim_allow_everybody(&w->s);
    }
    w->s.uid = uid;
    c = world_join(w);
    w->s.uid = 1000;
    c->peer->user->matches.limit = ENOUGH;
    return c;
}

static void subscribe(struct world *w, struct sim_client *c, uint32_t number, const char *filter)
{
    struct wire_subscribe m = {.subscription = number, .filter = text_from(filter)};

    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
}

static void publish(struct world *w, struct sim_client *c, const char *topic)
{
    struct wire_publish m = {.topic = text_from(topic)};

    sim_send(&w->s, c, VERB_PUBLISH, &m, "1234567890", WORLD_BODY);
}

static unsigned count(struct world *w, struct sim_client *c, const char *text)
{
    const char *at = w->text[c - w->s.clients];
    unsigned n = 0;

    sim_read(&w->s, c, 1000);
    while ((at = strstr(at, text))) {
        at++;
        n++;
    }
    return n;
}

static void test_a_third_exact_subscription_is_refused_where_the_topic_is_known(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000), *other = join_as(w, 2001);

    w->s.looks_away = true;
    sim_advertise(&w->s, p, 0, "a/b");
    publish(w, p, "a/b");
    subscribe(w, c, 1, "a/b");
    subscribe(w, c, 2, "a/b");
    subscribe(w, c, 3, "a/b");
    subscribe(w, other, 1, "a/b");
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=2\n"
                 "STATUS LIMIT SUBSCRIBE sub=3\n");
    world_expect(w, other, "STATUS OK SUBSCRIBE sub=1\n");
    assert_int_equal(router_counters(w->s.router)->subscriptions_now, 3);
    router_check(w->s.router);
}

static void test_subscriptions_that_are_too_many_end_when_the_topic_is_published_to(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000), *d = join_as(w, 2000);

    w->s.looks_away = true;
    subscribe(w, c, 1, "a/b");
    subscribe(w, c, 2, "a/+");
    subscribe(w, d, 1, "a/b");
    subscribe(w, d, 2, "#");
    subscribe(w, d, 3, "z/#");
    publish(w, p, "a/b");
    (void) sim_work_off(&w->s);
    assert_int_equal(count(w, c, "MESSAGE") + count(w, d, "MESSAGE"), ENOUGH);
    assert_int_equal(count(w, c, "STATUS LIMIT SUBSCRIBE") + count(w, d, "STATUS LIMIT SUBSCRIBE"),
                     2);
    assert_int_equal(c->peer->n_subs + d->peer->n_subs, ENOUGH + 1);
    assert_int_equal(c->peer->user->subscriptions.used, ENOUGH + 1);
    assert_int_equal(router_counters(w->s.router)->subscriptions_over, 2);
    router_check(w->s.router);
}

/* From then on a publish costs what is left. */
static void test_what_a_publish_costs_is_bounded_for_each_user(void **state)
{
    struct limits l = sim_small_limits();
    struct world *w = world_like(*state, &l);
    struct sim_client *p, *c;
    uint64_t before, filters = 0;

    l.subscriptions_max = 1000;
    w->s.config.limits = w->s.router->config.limits = l;
    p = world_join(w);
    c = join_as(w, 2000);
    w->s.looks_away = true;
    sim_advertise(&w->s, p, 0, "a/b");
    for (uint32_t i = 1; i <= 300; i++) {
        subscribe(w, c, i, i % 2 ? "a/+" : "#");
        filters = router_counters(w->s.router)->subscriptions_now;
        sim_read(&w->s, c, 10);
    }
    assert_int_equal(filters, 300);
    publish(w, p, "a/b");
    while (sim_work_off(&w->s) > 0) {
    }
    assert_int_equal(router_counters(w->s.router)->subscriptions_now, ENOUGH);
    before = w->s.router->work;
    publish(w, p, "a/b");
    assert_in_range(w->s.router->work - before, 1, 20);
    router_check(w->s.router);
    world_free(w);
}

static void test_a_group_that_is_too_many_ends_for_all_its_members(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000), *d = join_as(w, 2000);
    struct wire_subscribe m = {
        .subscription = 5, .filter = text_from("a/#"), .group = text_from("g")};

    w->s.looks_away = true;
    subscribe(w, c, 1, "a/b");
    subscribe(w, c, 2, "a/b");
    sim_advertise(&w->s, p, 0, "a/b");
    publish(w, p, "a/b"); /* they are found */
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    sim_send(&w->s, d, VERB_SUBSCRIBE, &m, NULL, 0);
    publish(w, p, "a/b");
    (void) sim_work_off(&w->s);
    assert_int_equal(count(w, c, "STATUS LIMIT SUBSCRIBE sub=5"), 1);
    assert_int_equal(count(w, d, "STATUS LIMIT SUBSCRIBE sub=5"), 1);
    assert_int_equal(router_counters(w->s.router)->groups_now, 0);
    router_check(w->s.router);
}

/* As what a single one asks for. */
static void test_a_group_that_is_too_many_is_refused_where_the_topic_is_known(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000);
    struct wire_subscribe m = {
        .subscription = 3, .filter = text_from("a/b"), .group = text_from("g")};

    w->s.looks_away = true;
    sim_advertise(&w->s, p, 0, "a/b");
    publish(w, p, "a/b");
    subscribe(w, c, 1, "a/b");
    subscribe(w, c, 2, "a/b");
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    assert_int_equal(count(w, c, "STATUS LIMIT SUBSCRIBE sub=3"), 1);
    assert_int_equal(router_counters(w->s.router)->groups_now, 0);
    router_check(w->s.router);
    sim_disconnect(&w->s, c);
    router_check(w->s.router);
}

/* What waits for it is lost, and said before the end. */
static void test_what_waits_for_one_that_ends_is_told_as_lost(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000);
    struct wire_subscribe m = {
        .subscription = 3, .filter = text_from("#"), .window_messages = 1, .queue_messages = 10};

    w->s.looks_away = true;
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    for (unsigned i = 0; i < 4; i++) {
        publish(w, p, "x");
    }
    subscribe(w, c, 1, "a/b");
    subscribe(w, c, 2, "a/b");
    publish(w, p, "a/b");
    (void) sim_work_off(&w->s);
    assert_int_equal(count(w, c, "STATUS LIMIT SUBSCRIBE sub="), 1);
    if (count(w, c, "STATUS LIMIT SUBSCRIBE sub=3") == 1) {
        assert_int_equal(count(w, c, "MESSAGE 3"), 1);
        assert_int_equal(count(w, c, "LOSS 3 3 30 NO_MEMORY"), 1);
    }
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, c->peer->queued_messages);
    router_check(w->s.router);
}

/* The third one that matches "a", with something waiting in it already. */
static void end_one(struct world *w, struct sim_client *p, struct sim_client *c)
{
    subscribe(w, c, 1, "a");
    subscribe(w, c, 2, "a");
    publish(w, p, "a");
    (void) sim_work_off(&w->s);
    router_check(w->s.router);
    assert_int_equal(router_counters(w->s.router)->messages_queued_now, 0);
    assert_int_equal(c->peer->n_subs, ENOUGH);
}

/* Its end was asked for, and is said as that; what waits for it is lost all the same. */
static void test_what_waits_for_one_that_drains_is_told_as_lost(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000);
    struct wire_subscribe m = {.subscription = 3, .filter = text_from("#"), .window_messages = 1};
    struct wire_unsubscribe drain = {.subscription = 3, .flags = UNSUBSCRIBE_DRAIN};

    w->s.looks_away = true;
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    for (unsigned i = 0; i < 3; i++) {
        publish(w, p, "x");
    }
    sim_send(&w->s, c, VERB_UNSUBSCRIBE, &drain, NULL, 0);
    end_one(w, p, c);
    assert_int_equal(count(w, c,
                           "LOSS 3 2 20 NO_MEMORY\n"
                           "STATUS OK UNSUBSCRIBE sub=3\n"),
                     1);
}

static void test_what_waits_for_an_interval_is_told_as_lost(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000);
    struct wire_subscribe m = {
        .subscription = 3, .filter = text_from("#"), .min_interval_ms = 1000};

    w->s.looks_away = true;
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    for (unsigned i = 0; i < 3; i++) {
        publish(w, p, "x");
    }
    end_one(w, p, c);
    assert_int_equal(count(w, c,
                           "LOSS 3 1 10 CONFLATED\nLOSS 3 1 10 NO_MEMORY\n"
                           "STATUS LIMIT SUBSCRIBE sub=3\n"),
                     1);
}

static void test_what_was_kept_is_told_as_lost(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000);
    struct wire_advertise keep = {.alias = 1, .topic = text_from("x"), .retain_messages = 3};
    struct wire_subscribe m = {.subscription = 3,
                               .filter = text_from("#"),
                               .window_messages = 1,
                               .retained = BUS_RETAINED_ALL};

    w->s.looks_away = true;
    sim_send(&w->s, p, VERB_ADVERTISE, &keep, NULL, 0);
    for (unsigned i = 0; i < 3; i++) {
        publish(w, p, "x");
    }
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    end_one(w, p, c);
    assert_int_equal(count(w, c, "MESSAGE 3"), 1);
    assert_int_equal(count(w, c,
                           "LOSS 3 2 20 NO_MEMORY\n"
                           "STATUS LIMIT SUBSCRIBE sub=3\n"),
                     1);
    sim_send(&w->s, p, VERB_CLEAR, &(struct wire_clear){.topic = text_from("x")}, NULL, 0);
}

/* What is left of a client that has gone is in the way of nobody. */
static void test_those_of_a_client_that_is_going_do_not_count(void **state)
{
    struct limits l = sim_small_limits();
    struct world *w = world_like(*state, &l);
    struct sim_client *p, *c, *d;

    l.subscriptions_max = 1000;
    w->s.config.limits = w->s.router->config.limits = l;
    p = world_join(w);
    c = join_as(w, 2000);
    d = join_as(w, 2000);
    w->s.looks_away = true;
    sim_advertise(&w->s, p, 0, "a/b");
    publish(w, p, "a/b");
    subscribe(w, c, 1, "a/b");
    subscribe(w, c, 2, "a/b");
    for (uint32_t i = 3; i <= 600; i++) { /* more than goes at once */
        subscribe(w, c, i, "z");
        sim_read(&w->s, c, 10);
    }
    sim_disconnect(&w->s, c);
    subscribe(w, d, 1, "a/b");
    subscribe(w, d, 2, "a/+");
    publish(w, p, "a/b");
    assert_int_equal(count(w, d, "MESSAGE"), 2);
    assert_int_equal(count(w, d, "STATUS LIMIT"), 0);
    subscribe(w, d, 3, "a/b");
    assert_int_equal(count(w, d, "STATUS LIMIT SUBSCRIBE sub=3"), 1);
    (void) sim_work_off(&w->s);
    assert_int_equal(d->peer->n_subs, ENOUGH);
    assert_int_equal(router_counters(w->s.router)->subscriptions_over, 0);
    router_check(w->s.router);
    world_free(w);
}

/* It is found again until it can be noted. */
static void test_without_memory_it_ends_later(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, 2000);

    w->s.looks_away = true;
    w->s.starving = true;
    sim_advertise(&w->s, p, 0, "a/b");
    for (uint32_t i = 1; i <= ENOUGH + 1; i++) {
        subscribe(w, c, i, "a/+");
    }
    for (uint32_t fail = 1; fail < 20; fail++) {
        failmalloc_arm(fail);
        publish(w, p, "a/b");
        (void) failmalloc_disarm();
        router_check(w->s.router);
    }
    publish(w, p, "a/b");
    (void) sim_work_off(&w->s);
    assert_int_equal(count(w, c, "STATUS LIMIT SUBSCRIBE"), 1);
    assert_int_equal(c->peer->n_subs, ENOUGH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_a_third_exact_subscription_is_refused_where_the_topic_is_known),
        WORLD_CASE(test_subscriptions_that_are_too_many_end_when_the_topic_is_published_to),
        WORLD_CASE(test_what_a_publish_costs_is_bounded_for_each_user),
        WORLD_CASE(test_a_group_that_is_too_many_ends_for_all_its_members),
        WORLD_CASE(test_a_group_that_is_too_many_is_refused_where_the_topic_is_known),
        WORLD_CASE(test_what_waits_for_one_that_ends_is_told_as_lost),
        WORLD_CASE(test_what_waits_for_one_that_drains_is_told_as_lost),
        WORLD_CASE(test_what_waits_for_an_interval_is_told_as_lost),
        WORLD_CASE(test_what_was_kept_is_told_as_lost),
        WORLD_CASE(test_those_of_a_client_that_is_going_do_not_count),
        WORLD_CASE(test_without_memory_it_ends_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
