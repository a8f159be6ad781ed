/* SPDX-License-Identifier: MIT */
/* What a frame costs the router counts against the budget of the client that sent it, also where
 * nothing is delivered: or one client could keep all others waiting. */
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/sim_policy.h"
#include "support/world.h"

#define LEVELS 8u

struct burst {
    uint8_t data[1024];
    size_t len;
    size_t first; /* length of the first frame */
};

static void setup(struct sim *s)
{
    struct limits l = sim_small_limits();

    l.subscriptions_max = 1024;
    l.client_bytes_max = l.total_bytes_max;
    sim_init(s, &l);
}

static void subscribe(struct sim *s, struct sim_client *c, uint32_t number, const char *filter,
                      uint32_t flags)
{
    struct wire_subscribe m = {.subscription = number, .filter = text_from(filter), .flags = flags};

    sim_send(s, c, VERB_SUBSCRIBE, &m, NULL, 0);
}

/* The same PUBLISH, twice in one piece. */
static void burst_init(struct sim *s, struct burst *b, const char *topic)
{
    struct wire_publish m = {.topic = text_from(topic)};
    uint8_t *header = b->data + FRAME_PREFIX_BYTES;
    long n = codec_encode(&s->arena, VERB_PUBLISH, &m, header, sizeof(b->data) / 4);

    assert_true(n > 0);
    frame_write_prefix(b->data, VERB_PUBLISH, (size_t) n, 0);
    b->first = FRAME_PREFIX_BYTES + (size_t) n;
    memcpy(b->data + b->first, b->data, b->first);
    b->len = 2 * b->first;
}

/* Whether the first one alone uses up that budget. */
static bool fills(struct sim *s, struct sim_client *c, const struct burst *b, unsigned budget)
{
    struct received input = {b->data, b->len, NULL};
    struct input_result in = router_input(s->router, c->peer, &input, budget, &s->now);

    assert_true(in.consumed == b->first || in.consumed == b->len);
    return in.more && in.consumed == b->first;
}

static void test_subscriptions_passed_over_use_the_budget(void **state)
{
    struct sim s;
    struct sim_client *c;
    struct burst b;

    (void) state;
    setup(&s);
    c = sim_connect(&s, false);
    for (uint32_t i = 1; i <= 100; i++) {
        subscribe(&s, c, i, "a", 1); /* NO_LOCAL */
    }
    burst_init(&s, &b, "a");
    assert_true(fills(&s, c, &b, 100));
    assert_int_equal(router_counters(s.router)->messages_matched, 0);
    sim_fini(&s);
}

/* Filters in which each level is either "a" or "+" lead a topic of only "a" through all of them. */
static void test_the_search_for_filters_uses_the_budget(void **state)
{
    char filter[2 * LEVELS + 2] = {0};
    char topic[2 * LEVELS + 2] = {0};
    struct sim s;
    struct sim_client *c;
    struct burst b;

    (void) state;
    setup(&s);
    c = sim_connect(&s, false);
    for (uint32_t i = 0; i < 1u << LEVELS; i++) {
        for (uint32_t k = 0; k < LEVELS; k++) {
            filter[2 * k] = i >> k & 1 ? '+' : 'a';
            filter[2 * k + 1] = '/';
            topic[2 * k] = 'a';
            topic[2 * k + 1] = '/';
        }
        filter[2 * LEVELS] = 'z';
        topic[2 * LEVELS] = 'b';
        subscribe(&s, c, i + 1, filter, 0);
    }
    burst_init(&s, &b, topic);
    assert_true(fills(&s, c, &b, 1u << LEVELS));
    assert_int_equal(router_counters(s.router)->messages_matched, 0);
    sim_fini(&s);
}

static uint64_t work_of(struct sim *s, struct sim_client *c, enum verb verb, const void *m)
{
    uint64_t before = s->router->work;

    sim_send(s, c, verb, m, NULL, 0);
    return s->router->work - before;
}

#define MANY 500u

/* All that match the topic are looked at to count those of the user who asks. */
static void test_a_subscription_to_a_crowded_topic_uses_the_budget(void **state)
{
    const struct wire_subscribe m = {.subscription = 1, .filter = text_from("a")};
    struct sim_client *others, *c;
    struct burst b;
    struct sim s;

    (void) state;
    setup(&s);
    sim_allow_everybody(&s);
    others = sim_connect(&s, false);
    sim_advertise(&s, others, 0, "a");
    for (uint32_t i = 1; i <= MANY; i++) {
        subscribe(&s, others, i, "a", 1); /* NO_LOCAL */
    }
    burst_init(&s, &b, "a");
    (void) fills(&s, others, &b, 1); /* it knows them */
    s.uid = 2000;
    c = sim_connect(&s, false);
    assert_true(c->peer->user->matches.limit < MANY);
    assert_true(work_of(&s, c, VERB_SUBSCRIBE, &m) >= MANY);
    sim_fini(&s);
}

/* What waits for a subscription goes with it, and where it is noted. */
static void test_the_end_of_a_subscription_uses_the_budget(void **state)
{
    struct wire_subscribe m = {.subscription = 1,
                               .filter = text_from("#"),
                               .window_messages = 1,
                               .retained = BUS_RETAINED_ALL};
    struct limits l = sim_small_limits();
    struct sim_client *c;
    struct sim s;

    (void) state;
    l.aliases_max = MANY;
    l.client_bytes_max = l.total_bytes_max;
    sim_init(&s, &l);
    s.looks_away = true;
    c = sim_connect(&s, false);
    for (uint32_t i = 1; i <= MANY; i++) {
        char name[16];
        struct wire_advertise keep = {.alias = i, .retain_messages = 1};

        (void) snprintf(name, sizeof(name), "t/%u", i);
        keep.topic = text_from(name);
        sim_send(&s, c, VERB_ADVERTISE, &keep, NULL, 0);
        sim_send(&s, c, VERB_PUBLISH, &(struct wire_publish){.alias = i}, NULL, 0);
    }
    assert_true(work_of(&s, c, VERB_SUBSCRIBE, &m) >= MANY);
    assert_true(c->peer->queued_messages >= MANY - 1);
    assert_true(work_of(&s, c, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = 1}) >=
                2 * (MANY - 1));
    sim_fini(&s);
}

#define SOME 40u

/* More topics than the oracle keeps in mind. */
static void advertise(struct sim *s, struct sim_client *c, uint32_t alias, const char *topic)
{
    const struct wire_advertise m = {alias, text_from(topic), 0};

    sim_send(s, c, VERB_ADVERTISE, &m, NULL, 0);
}

/* Where many end in one turn, each counts as much as it frees. */
static void test_subscriptions_that_end_in_a_turn_use_its_budget(void **state)
{
    struct limits l = sim_small_limits();
    struct sim_client *c, *p;
    struct sim s;
    uint64_t before;

    (void) state;
    l.aliases_max = MANY + 1;
    l.subscriptions_max = SOME;
    l.client_bytes_max = l.total_bytes_max;
    sim_init(&s, &l);
    s.looks_away = true;
    p = sim_connect(&s, false);
    c = sim_connect(&s, false);
    for (uint32_t i = 1; i <= SOME; i++) {
        subscribe(&s, c, i, "#", 0);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        char name[16];

        (void) snprintf(name, sizeof(name), "t/%u", i);
        advertise(&s, p, i + 1, name);
        sim_send(&s, p, VERB_PUBLISH, &(struct wire_publish){.alias = i + 1}, NULL, 0);
        sim_read(&s, c, SOME);
    }
    sim_advance(&s, 1); /* how much may go in a turn depends on what was done before */
    c->peer->user->matches.limit = 1;
    advertise(&s, p, MANY + 1, "over");
    before = s.router->work;
    sim_send(&s, p, VERB_PUBLISH, &(struct wire_publish){.alias = MANY + 1}, NULL, 0);
    assert_true(s.router->work - before < 10 * MANY);
    assert_true(c->peer->n_subs > SOME / 2);
    for (unsigned i = 0; i < 100 && c->peer->n_subs > 1; i++) {
        before = s.router->work;
        sim_advance(&s, 1);
        assert_true(s.router->work - before < 10 * MANY);
    }
    assert_int_equal(c->peer->n_subs, 1);
    sim_fini(&s);
}

/* What a PUBLISH counts, and how much memory it asks for, once its topic is known. */
struct cost {
    uint64_t work;
    unsigned long allocations;
};

/* Without the oracle, which did not see these messages being published. */
static void drain(struct sim *s, struct sim_client *c)
{
    struct iovec iov;

    while (outq_peek(peer_output(c->peer), &iov, 1) > 0) {
        router_output_sent(s->router, c->peer, iov.iov_len);
    }
}

static struct cost cost_of_publish(struct sim *s, struct sim_client *c, const char *topic)
{
    const struct wire_publish m = {.alias = topic ? 0 : 1, .topic = text_from(topic ? topic : "")};
    uint64_t before = s->router->work;

    failmalloc_arm(UINT32_MAX); /* only counts */
    sim_send(s, c, VERB_PUBLISH, &m, NULL, 0);
    (void) failmalloc_disarm();
    drain(s, c);
    return (struct cost){s->router->work - before, failmalloc_count()};
}

/* By alias, and by a name that nobody has advertised, so that it is looked up each time. */
static void test_publishing_costs_the_same_with_10_and_with_10000_other_subscriptions(void **state)
{
    struct limits l = sim_small_limits();
    struct cost by_alias[2], by_name[2];
    struct sim_client *c, *others;
    struct sim s;

    (void) state;
    l.subscriptions_max = 20000;
    l.client_bytes_max = 64 * MIB;
    l.output_bytes_max = 4 * MIB;
    sim_init(&s, &l);
    c = sim_connect(&s, false);
    others = sim_connect(&s, false);
    subscribe(&s, c, 1, "dev/alias/temp", 0);
    subscribe(&s, c, 2, "dev/name/temp", 0);
    sim_advertise(&s, c, 0, "dev/alias/temp");
    for (uint32_t n = 0, turn = 0; turn < 2; turn++) {
        for (uint32_t end = turn ? 10000 : 10; n < end; n++) {
            static const char *const ends[] = {"temp", "+", "#", "a/+"};
            char filter[64];

            (void) snprintf(filter, sizeof(filter), "dev/%u/%s", n, ends[n % 4]);
            subscribe(&s, others, n + 1, filter, 0);
        }
        (void) cost_of_publish(&s, c, NULL); /* finds the new ones */
        by_alias[turn] = cost_of_publish(&s, c, NULL);
        by_name[turn] = cost_of_publish(&s, c, "dev/name/temp");
    }
    assert_int_equal(by_alias[1].work, by_alias[0].work);
    assert_int_equal(by_alias[1].allocations, by_alias[0].allocations);
    assert_int_equal(by_name[1].work, by_name[0].work);
    assert_int_equal(by_name[1].allocations, by_name[0].allocations);
    sim_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscriptions_passed_over_use_the_budget),
        cmocka_unit_test(test_the_search_for_filters_uses_the_budget),
        cmocka_unit_test(test_a_subscription_to_a_crowded_topic_uses_the_budget),
        cmocka_unit_test(test_the_end_of_a_subscription_uses_the_budget),
        cmocka_unit_test(test_subscriptions_that_end_in_a_turn_use_its_budget),
        cmocka_unit_test(test_publishing_costs_the_same_with_10_and_with_10000_other_subscriptions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
