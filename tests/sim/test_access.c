/* SPDX-License-Identifier: MIT */
/* Who may do what: docs/protocol.md, section 20. */
#include <errno.h>
#include "core/state.h"
#include "support/calls.h"
#include "support/failmalloc.h"
#include "support/sim_policy.h"
#include "support/world.h"

#define ALICE 1001u
#define BOB 1002u

static char last_text[512]; /* of the last STATUS or DONE */

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    struct text t = f->verb == VERB_STATUS ? m->status.text
                    : f->verb == VERB_DONE ? m->done.text
                                           : (struct text){"", 0};

    world_on_frame(s, c, f, m);
    if (f->verb == VERB_STATUS || f->verb == VERB_DONE) {
        snprintf(last_text, sizeof(last_text), "%.*s", (int) t.len, t.data);
    }
    if (f->verb == VERB_STATUS && m->status.verb == VERB_MONITOR) {
        c->monitoring = m->status.code == BUS_STATUS_OK;
    }
    if (f->verb == VERB_STATUS && m->status.verb == VERB_SUBSCRIBE &&
        m->status.code == BUS_STATUS_DENIED) {
        c->subs[m->status.subscription - 1].used = false;
    }
}

static struct world *make(bool on_streams)
{
    struct world *w = world_new(NULL);

    w->on_streams = on_streams;
    w->s.on_frame = on_frame;
    *last_text = '\0';
    return w;
}

static int setup(void **state)
{
    *state = make(false);
    return 0;
}

static int setup_streams(void **state)
{
    *state = make(true);
    return 0;
}

static struct sim_client *join_as(struct world *w, uint32_t uid)
{
    struct sim_client *c;

    w->s.uid = uid;
    c = world_join(w);
    w->s.uid = 1000;
    return c;
}

static struct policy_rule allow(uint32_t verbs, const char *topic)
{
    return (struct policy_rule){.verbs = verbs, .topic = text_from(topic), .place = {"f:1", 3}};
}

static struct policy_rule deny(uint32_t verbs, const char *topic)
{
    return (struct policy_rule){
        .deny = true, .verbs = verbs, .topic = text_from(topic), .place = {"f:2", 3}};
}

static struct policy_rule only(uint32_t uid, struct policy_rule rule)
{
    rule.by_uid = true;
    rule.uid = uid;
    return rule;
}

#define RULES(w, ...)                                                                              \
    do {                                                                                           \
        const struct policy_rule rules_[] = {__VA_ARGS__};                                         \
        sim_set_rules(&(w)->s, rules_, ARRAY_LEN(rules_));                                         \
    } while (0)

static void subscribe_with(struct world *w, struct sim_client *c, unsigned index,
                           const struct world_sub *sub, uint32_t flags)
{
    struct wire_subscribe m = world_subscribe_of(sub);

    m.flags |= flags;
    (void) sim_subscribe(&w->s, c, index, &m);
}

static void subscribe(struct world *w, struct sim_client *c, unsigned index, const char *filter,
                      uint32_t flags)
{
    subscribe_with(w, c, index, &(struct world_sub){.filter = filter, .window = 1000}, flags);
}

static void advertise(struct world *w, struct sim_client *c, unsigned alias, const char *topic,
                      uint32_t flags, uint32_t retain)
{
    struct wire_advertise m = {
        .alias = alias + 1, .topic = text_from(topic), .flags = flags, .retain_messages = retain};

    sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
    snprintf(c->aliases[alias], sizeof(c->aliases[alias]), "%s", topic);
}

static bool publish(struct world *w, struct sim_client *c, const char *topic)
{
    return world_publish_bytes(w, c, topic, WORLD_BODY);
}

static bool publish_alias(struct world *w, struct sim_client *c, unsigned alias)
{
    return sim_publish(&w->s, c, &(struct sim_publish){.alias = alias, .body_bytes = WORLD_BODY});
}

static void will(struct world *w, struct sim_client *c, const char *topic, uint32_t delay_ms)
{
    struct wire_will m = {.topic = text_from(topic), .delay_ms = delay_ms};
    uint64_t number = w->s.n_published; /* bodies begin with one */

    sim_send(&w->s, c, VERB_WILL, &m, &number, sizeof(number));
}

static void clear(struct world *w, struct sim_client *c, const char *topic)
{
    struct wire_clear m = {.topic = text_from(topic)};

    sim_send(&w->s, c, VERB_CLEAR, &m, NULL, 0);
}

static const struct counters *counters(struct world *w)
{
    return router_counters(w->s.router);
}

/* ---- asking ---- */

static void test_without_rules_others_may_nothing(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE), *root = join_as(w, 0);

    subscribe(w, c, 0, "a", 0);
    advertise(w, c, 0, "a", 0, 0);
    assert_false(publish(w, c, "a"));
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .topic = "a"});
    will(w, c, "a", 0);
    world_expect(w, c,
                 "STATUS DENIED SUBSCRIBE sub=1\nSTATUS DENIED ADVERTISE alias=1\n"
                 "STATUS DENIED PUBLISH seq=1\nDONE DENIED 1\nSTATUS DENIED WILL\n");
    assert_string_equal(last_text,
                        "there are no rules: only the router's own user and root may (publish a)");
    assert_int_equal(counters(w)->denials, 5);
    subscribe(w, root, 0, "$bus/#", 0);
    world_expect(w, root, "STATUS OK SUBSCRIBE sub=1\n");
}

static void test_rules_are_for_root_and_the_own_user_too(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, 0);

    RULES(w, only(ALICE, allow(POLICY_ALL, "#")));
    subscribe(w, c, 0, "a", 0);
    world_expect(w, c, "STATUS DENIED SUBSCRIBE sub=1\n");
    assert_string_equal(last_text, "no rule allows it");
}

static void test_a_refusal_names_the_place_of_the_rule(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_ALL, "#"), deny(POLICY_PUBLISH, "a/secret"));
    assert_true(publish(w, c, "a/b"));
    assert_false(publish(w, c, "a/secret"));
    world_expect(w, c, "STATUS DENIED PUBLISH seq=2\n");
    assert_string_equal(last_text, "f:2: this rule denies it");
}

static void test_a_refusal_names_the_right_that_is_not_that_of_the_frame(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_SUBSCRIBE, "#"), allow(POLICY_PUBLISH, "a"), deny(POLICY_RETAIN, "a"));
    subscribe_with(w, c, 0,
                   &(struct world_sub){.filter = "a", .window = 10, .policy = BUS_POLICY_BLOCK}, 0);
    world_expect(w, c, "STATUS DENIED SUBSCRIBE sub=1\n");
    assert_string_equal(last_text, "no rule allows it (block)");
    subscribe_with(
        w, c, 0,
        &(struct world_sub){
            .filter = "a", .window = 10, .group = "g", .ack = true, .dead_letter = "dead"},
        0);
    world_expect(w, c, "STATUS DENIED SUBSCRIBE sub=1\n");
    assert_string_equal(last_text, "no rule allows it (publish dead)");
    will(w, c, "last", 0);
    world_expect(w, c, "STATUS DENIED WILL\n");
    assert_string_equal(last_text, "no rule allows it (publish last)");
    clear(w, c, "a");
    world_expect(w, c, "STATUS DENIED CLEAR\n");
    assert_string_equal(last_text, "f:2: this rule denies it (retain)");
}

static void test_a_filter_wider_than_what_is_allowed_is_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_SUBSCRIBE, "a/#"), deny(POLICY_SUBSCRIBE, "a/x/#"));
    subscribe(w, c, 0, "a/b/#", 0);
    subscribe(w, c, 1, "a/#", 0);
    subscribe(w, c, 2, "+/b", 0);
    subscribe(w, c, 3, "#", 0);
    subscribe(w, c, 4, "b", SUBSCRIBE_NARROW);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nSTATUS DENIED SUBSCRIBE sub=2\n"
                 "STATUS DENIED SUBSCRIBE sub=3\nSTATUS DENIED SUBSCRIBE sub=4\n"
                 "STATUS DENIED SUBSCRIBE sub=5\n");
}

static void test_a_narrowed_subscription_gets_what_is_allowed(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_as(w, BOB), *c = join_as(w, ALICE);

    RULES(w, only(BOB, allow(POLICY_ALL, "#")), only(ALICE, allow(POLICY_SUBSCRIBE, "a/+")),
          only(ALICE, deny(POLICY_SUBSCRIBE, "a/x")));
    advertise(w, p, 0, "a/kept", 0, 1);
    advertise(w, p, 1, "a/x", 0, 1);
    w->s.looks_away = true;
    assert_true(publish(w, p, "a/kept"));
    assert_true(publish(w, p, "a/x"));
    subscribe_with(
        w, c, 0, &(struct world_sub){.filter = "#", .window = 1000, .retained = BUS_RETAINED_LAST},
        SUBSCRIBE_NARROW);
    sim_read(&w->s, c, 10);
    assert_string_equal(last_text, "f:2: this rule denies a part of it");
    world_publish(w, p, "a/b");
    world_publish(w, p, "a/x");
    world_publish(w, p, "b");
    world_publish(w, p, "a/b");
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a/kept 1.1 retained\nLIVE 1 1\n"
                 "MESSAGE 1 a/b 1.3\nMESSAGE 1 a/b 1.6\n");
    clear(w, p, "a/kept");
    clear(w, p, "a/x");
}

static void test_publishers_do_not_pay_for_what_narrowed_ones_do_not_get(void **state)
{
    enum { RULES_MANY = 320, SUBS = 16 };
    struct policy_rule rules[RULES_MANY + 2];
    struct world *w = *state;
    struct sim_client *p = join_as(w, BOB), *c = join_as(w, ALICE);
    uint64_t work;

    for (unsigned i = 0; i < RULES_MANY; i++) {
        rules[i] = only(ALICE, deny(POLICY_SUBSCRIBE | POLICY_BLOCK, "a/x"));
    }
    rules[RULES_MANY] = only(ALICE, allow(POLICY_SUBSCRIBE, "a/+"));
    rules[RULES_MANY + 1] = only(BOB, allow(POLICY_ALL, "#"));
    sim_set_rules(&w->s, rules, ARRAY_LEN(rules));
    w->s.looks_away = true;
    for (unsigned i = 0; i < SUBS; i++) {
        struct wire_subscribe m = {
            .subscription = i + 1, .filter = text_from("#"), .flags = SUBSCRIBE_NARROW};

        sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
    }
    assert_int_equal(counters(w)->subscriptions_now, SUBS);
    sim_work_off(&w->s);
    work = w->s.router->work;
    world_publish(w, p, "b"); /* which all of them match, and none may get */
    work = w->s.router->work - work;
    assert_in_range(work, 1, 2 * RULES_MANY / 16); /* not that for each of them */
    world_clear(w, c);
}

static void test_narrow_is_not_for_groups(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    subscribe_with(w, c, 0, &(struct world_sub){.filter = "#", .window = 10, .group = "g"},
                   SUBSCRIBE_NARROW);
    world_expect(w, c, "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n");
}

static void test_what_a_subscription_may_need_besides(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_SUBSCRIBE | POLICY_SERVE, "a/#"), allow(POLICY_BLOCK, "a/b"),
          allow(POLICY_PUBLISH, "dead/ok"), deny(POLICY_SERVE, "a/c"));
    subscribe_with(
        w, c, 0, &(struct world_sub){.filter = "a/b", .window = 10, .policy = BUS_POLICY_BLOCK}, 0);
    subscribe_with(
        w, c, 1, &(struct world_sub){.filter = "a/#", .window = 10, .policy = BUS_POLICY_BLOCK}, 0);
    subscribe(w, c, 2, "a/b", SUB_SERVE);
    subscribe(w, c, 3, "a/c", SUB_SERVE);
    subscribe_with(
        w, c, 4,
        &(struct world_sub){
            .filter = "a/#", .window = 10, .group = "g", .ack = true, .dead_letter = "dead/ok"},
        0);
    subscribe_with(
        w, c, 5,
        &(struct world_sub){
            .filter = "a/#", .window = 10, .group = "h", .ack = true, .dead_letter = "dead/no"},
        0);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nSTATUS DENIED SUBSCRIBE sub=2\n"
                 "STATUS OK SUBSCRIBE sub=3\nSTATUS DENIED SUBSCRIBE sub=4\n"
                 "STATUS OK SUBSCRIBE sub=5\nSTATUS DENIED SUBSCRIBE sub=6\n");
}

static void test_an_alias_is_good_for_what_is_allowed(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_REQUEST, "r"), allow(POLICY_PUBLISH, "p"), allow(POLICY_RETAIN, "k"));
    advertise(w, c, 0, "r", 0, 0);
    advertise(w, c, 1, "p", 0, 0);
    advertise(w, c, 2, "n", 0, 0);
    advertise(w, c, 3, "r", ADVERTISE_INTEREST, 0);
    advertise(w, c, 3, "p", 0, 1);
    world_expect(w, c,
                 "STATUS DENIED ADVERTISE alias=3\nSTATUS DENIED ADVERTISE alias=4\n"
                 "STATUS DENIED ADVERTISE alias=4\n");
    assert_false(publish_alias(w, c, 0));
    assert_true(publish_alias(w, c, 1));
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .alias = 0});
    sim_request(&w->s, c, &(struct sim_request){.call = 2, .alias = 1});
    world_expect(w, c, "STATUS DENIED PUBLISH alias=1 seq=1\nDONE NO_RESPONDER 1\nDONE DENIED 2\n");
}

static void test_clearing_needs_the_right_to_retain(void **state)
{
    struct wire_clear by_name = {.topic = text_from("p")}, by_alias = {.alias = 1};
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_PUBLISH, "p"));
    advertise(w, c, 0, "p", 0, 0);
    sim_send(&w->s, c, VERB_CLEAR, &by_name, NULL, 0);
    sim_send(&w->s, c, VERB_CLEAR, &by_alias, NULL, 0);
    world_expect(w, c, "STATUS DENIED CLEAR\nSTATUS DENIED CLEAR alias=1\n");
    RULES(w, allow(POLICY_PUBLISH | POLICY_RETAIN, "p"));
    sim_send(&w->s, c, VERB_CLEAR, &by_name, NULL, 0);
    sim_send(&w->s, c, VERB_CLEAR, &by_alias, NULL, 0);
    world_expect(w, c, "");
}

static void test_descriptors_need_a_right_of_their_own(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_PUBLISH | POLICY_REQUEST, "a"), allow(POLICY_ALL, "b"));
    assert_false(sim_publish(
        &w->s, c, &(struct sim_publish){.topic = "a", .body_bytes = WORLD_BODY, .n_fds = 1}));
    assert_true(sim_publish(
        &w->s, c, &(struct sim_publish){.topic = "b", .body_bytes = WORLD_BODY, .n_fds = 1}));
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .topic = "a", .body.n_fds = 1});
    world_expect(w, c, "STATUS DENIED PUBLISH seq=1\nDONE DENIED 1\n");
}

static void test_a_reply_with_descriptors_needs_the_right_to_them(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE), *server = join_as(w, BOB);

    RULES(w, allow(POLICY_REQUEST | POLICY_SERVE, "a"));
    subscribe(w, server, 0, "a", SUB_SERVE);
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .topic = "a", .timeout_ms = 1000});
    sim_read(&w->s, server, 100);
    world_clear(w, server);
    sim_reply(&w->s, server, &(struct sim_reply){.body.n_fds = 1});
    sim_reply(&w->s, server, &(struct sim_reply){0});
    world_expect(w, server, "STATUS DENIED REPLY call=1\n");
    world_expect(w, c, "ANSWER 1 2\n");
}

static void test_watching_needs_the_right_to_all_that_is_watched(void **state)
{
    const struct text filters[] = {{"a/#", 3}, {"b", 1}};
    struct wire_monitor all = {0}, some = {.filters = filters, .n_filters = 2};
    struct wire_snapshot counts = {.kind = BUS_SNAPSHOT_COUNTERS};
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_MONITOR, "a/#"));
    sim_send(&w->s, c, VERB_MONITOR, &some, NULL, 0);
    some.n_filters = 1;
    sim_send(&w->s, c, VERB_MONITOR, &all, NULL, 0);
    sim_send(&w->s, c, VERB_SNAPSHOT, &counts, NULL, 0);
    sim_send(&w->s, c, VERB_MONITOR, &some, NULL, 0);
    world_expect(w, c,
                 "STATUS DENIED MONITOR\nSTATUS DENIED MONITOR\nSTATUS DENIED SNAPSHOT\n"
                 "STATUS OK MONITOR\n");
}

static void test_a_monitor_without_filters_does_not_see_what_it_may_not(void **state)
{
    struct wire_monitor all = {0};
    struct world *w = *state;
    struct sim_client *m = join_as(w, ALICE), *p = join_as(w, BOB);

    RULES(w, only(ALICE, allow(POLICY_MONITOR, "#")), only(ALICE, allow(POLICY_MONITOR, "$bus/#")),
          only(BOB, allow(POLICY_PUBLISH, "#")), only(BOB, allow(POLICY_PUBLISH, "$own/#")));
    sim_send(&w->s, m, VERB_MONITOR, &all, NULL, 0);
    world_expect(w, m, "STATUS OK MONITOR\n");
    assert_true(publish(w, p, "$own/a"));
    assert_true(publish(w, p, "a"));
    world_expect(w, m, "MONITORED 2 a 2.2 10/10 OK\n");
}

static void test_a_client_is_known_by_what_it_calls_itself(void **state)
{
    struct wire_hello hello = {1, 1, text_from("mine"), 0, {"", 0}, 0};
    struct world *w = *state;
    struct sim_client *c;

    RULES(w, allow(POLICY_ALL, "by/%n/#"), allow(POLICY_ALL, "of/%U/%G"));
    w->s.uid = ALICE;
    c = world_attach(w);
    sim_send(&w->s, c, VERB_HELLO, &hello, NULL, 0);
    assert_true(publish(w, c, "by/mine/x"));
    assert_false(publish(w, c, "by/others/x"));
    assert_true(publish(w, c, "of/1001/1000"));
    world_expect(w, c, "WELCOME\nSTATUS DENIED PUBLISH seq=2\n");
}

/* ---- other rules ---- */

static void test_a_subscription_that_lost_its_right_ends(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_as(w, BOB), *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_ALL, "#"));
    subscribe_with(w, c, 0, &(struct world_sub){.filter = "a", .window = 2, .queue = 2}, 0);
    subscribe(w, c, 1, "b", 0);
    world_publish_n(w, p, "a", 5);
    world_publish(w, p, "b");
    RULES(w, allow(POLICY_ALL, "#"), only(ALICE, deny(POLICY_SUBSCRIBE, "a")));
    router_check(w->s.router);
    world_publish(w, p, "b");
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=2\n"
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 2 b 1.6\n"
                 "LOSS 1 1 10 QUEUE_FULL\nLOSS 1 2 20 DENIED\nSTATUS DENIED SUBSCRIBE sub=1\n"
                 "MESSAGE 2 b 1.7\n");
    assert_string_equal(last_text, "f:2: this rule denies it");
    subscribe(w, c, 0, "a", 0);
    world_expect(w, c, "STATUS DENIED SUBSCRIBE sub=1\n");
    assert_int_equal(counters(w)->subscriptions_now, 1);
}

static void test_what_waits_for_an_interval_or_was_kept_is_lost_too(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_as(w, BOB), *c = join_as(w, ALICE);

    w->s.looks_away = true;
    RULES(w, allow(POLICY_ALL, "#"));
    advertise(w, p, 0, "k", 0, 3);
    world_publish_n(w, p, "k", 3);
    subscribe_with(w, c, 0,
                   &(struct world_sub){.filter = "a", .window = 100, .min_interval_ms = 100}, 0);
    subscribe_with(
        w, c, 1, &(struct world_sub){.filter = "k", .window = 1, .retained = BUS_RETAINED_ALL}, 0);
    world_publish_n(w, p, "a", 4);
    RULES(w, only(BOB, allow(POLICY_ALL, "#")));
    router_check(w->s.router);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=2\n"
                 "MESSAGE 2 k 1.1 retained\nMESSAGE 1 a 1.4\nLOSS 1 2 20 CONFLATED\n"
                 "LOSS 1 1 10 DENIED\nSTATUS DENIED SUBSCRIBE sub=1\n"
                 "LOSS 2 2 20 DENIED\nSTATUS DENIED SUBSCRIBE sub=2\n");
    clear(w, p, "k");
}

static void test_a_blocking_subscription_lets_its_publishers_go(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_as(w, BOB), *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_ALL, "#"));
    subscribe_with(
        w, c, 0,
        &(struct world_sub){.filter = "a", .window = 1, .queue = 1, .policy = BUS_POLICY_BLOCK}, 0);
    world_publish_n(w, p, "a", 16); /* the publish window */
    assert_false(publish(w, p, "a"));
    world_expect(w, p, "STATUS NO_CREDIT PUBLISH seq=17\n");
    RULES(w, allow(POLICY_ALL & ~(uint32_t) POLICY_BLOCK, "#"));
    router_check(w->s.router);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1\n"
                 "LOSS 1 15 150 DENIED\nSTATUS DENIED SUBSCRIBE sub=1\n");
    sim_read(&w->s, p, 100);
    assert_true(publish(w, p, "a"));
}

static void test_narrowed_topics_leave_and_come(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_as(w, BOB), *c = join_as(w, ALICE);

    w->s.looks_away = true;
    RULES(w, only(BOB, allow(POLICY_ALL, "#")), only(ALICE, allow(POLICY_SUBSCRIBE, "a")),
          only(ALICE, allow(POLICY_SUBSCRIBE, "b")));
    subscribe_with(w, c, 0, &(struct world_sub){.filter = "+", .window = 1}, SUBSCRIBE_NARROW);
    world_publish(w, p, "a");
    world_publish(w, p, "a");
    world_publish(w, p, "b");
    world_publish(w, p, "a");
    world_publish(w, p, "c");
    RULES(w, only(BOB, allow(POLICY_ALL, "#")), only(ALICE, allow(POLICY_SUBSCRIBE, "b")),
          only(ALICE, allow(POLICY_SUBSCRIBE, "c")));
    router_check(w->s.router);
    world_publish(w, p, "a");
    world_publish(w, p, "c");
    world_credit(w, c, 0, 1, 1000);
    world_credit(w, c, 0, 1, 1000);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1\nLOSS 1 1 10 DENIED\n"
                 "MESSAGE 1 b 1.3\nLOSS 1 1 10 DENIED\nMESSAGE 1 c 1.7\n");
}

static void test_an_alias_is_muted_and_is_good_again(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_as(w, BOB);

    RULES(w, allow(POLICY_ALL, "#"));
    advertise(w, p, 0, "a", ADVERTISE_INTEREST, 0);
    advertise(w, p, 1, "b", 0, 1);
    sim_work_off(&w->s);
    world_expect(w, p, "INTEREST 1 0\n");
    RULES(w, allow(POLICY_ALL, "#"), deny(POLICY_PUBLISH, "a"), deny(POLICY_RETAIN, "b"));
    router_check(w->s.router);
    world_expect(w, p, "STATUS DENIED PUBLISH alias=1\nSTATUS DENIED CLEAR alias=2\n");
    assert_false(publish_alias(w, p, 0));
    assert_true(publish_alias(w, p, 1));
    assert_int_equal(counters(w)->retained_messages_now, 0);
    subscribe(w, world_join(w), 0, "a", 0);
    sim_work_off(&w->s);
    world_expect(w, p, "STATUS DENIED PUBLISH alias=1 seq=1\n");
    RULES(w, allow(POLICY_ALL, "#"));
    sim_work_off(&w->s);
    world_expect(w, p, "INTEREST 1 1\n");
    assert_true(publish_alias(w, p, 0));
}

static void test_a_will_that_lost_its_right_is_not_published(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join_as(w, ALICE), *b = join_as(w, ALICE), *c = world_join(w);

    w->s.looks_away = true;
    RULES(w, allow(POLICY_ALL, "#"));
    will(w, a, "w", 0);
    will(w, b, "w", 1000);
    sim_disconnect(&w->s, b);
    sim_work_off(&w->s);
    subscribe(w, c, 0, "w", 0);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\n");
    RULES(w, allow(POLICY_SUBSCRIBE, "#"), only(1000, allow(POLICY_ALL, "#")));
    router_check(w->s.router);
    world_expect(w, a, "STATUS DENIED WILL\n");
    sim_disconnect(&w->s, a);
    sim_work_off(&w->s);
    sim_advance(&w->s, 2000 * MS);
    sim_work_off(&w->s);
    world_expect(w, c, "");
    assert_int_equal(counters(w)->wills_now, 0);
}

/* A client with these further groups leaves a will, and another router takes over. */
static void leave_will(struct world *w, const uint32_t *groups, size_t n)
{
    const struct subject subject = {.groups = groups, .n_groups = n};
    struct sim_client *c;

    w->s.subject = &subject;
    c = join_as(w, ALICE);
    w->s.subject = NULL;
    will(w, c, "w", 1000);
    sim_disconnect(&w->s, c);
    sim_work_off(&w->s);
    assert_true(sim_replace(&w->s));
    assert_int_equal(counters(w)->wills_now, 1);
}

static void test_whose_a_will_was_is_known_to_the_next_router(void **state)
{
    const uint32_t groups[] = {6, 7};
    struct policy_rule guests = deny(POLICY_PUBLISH, "#");
    struct world *w = *state;

    guests.by_gid = true;
    guests.gid = 7;
    w->s.looks_away = true;
    RULES(w, allow(POLICY_ALL, "#"));
    leave_will(w, groups, 2);
    RULES(w, allow(POLICY_ALL, "#"), guests);
    assert_int_equal(counters(w)->wills_now, 0);

    RULES(w, allow(POLICY_ALL, "#"));
    leave_will(w, groups, 1);
    RULES(w, allow(POLICY_ALL, "#"), guests);
    assert_int_equal(counters(w)->wills_now, 1);
    sim_advance(&w->s, 2000 * MS);
    sim_work_off(&w->s);
}

static void test_a_server_that_lost_its_right_has_gone(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE), *server = join_as(w, BOB);

    RULES(w, allow(POLICY_ALL, "#"));
    subscribe_with(w, server, 0, &(struct world_sub){.filter = "a", .window = 1}, SUB_SERVE);
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .topic = "a", .timeout_ms = 1000});
    sim_request(&w->s, c, &(struct sim_request){.call = 2, .topic = "a", .timeout_ms = 1000});
    sim_read(&w->s, server, 100);
    world_clear(w, server);
    RULES(w, allow(POLICY_ALL, "#"), deny(POLICY_SERVE, "a"));
    router_check(w->s.router);
    world_expect(w, server, "STATUS DENIED SUBSCRIBE sub=1\n");
    world_expect(w, c, "DONE RESPONDER_GONE 1 0/1/0\nDONE NO_RESPONDER 2\n");
}

/* What a request leaves that has lost its right goes to no server that has lost its own. */
static void test_a_server_that_lost_its_right_gets_no_more_calls(void **state)
{
    struct world_sub one = {.filter = "a", .window = 1};
    struct world *w = *state;
    struct sim_client *alice = join_as(w, ALICE), *c = world_join(w), *stays = world_join(w);
    struct sim_client *server = join_as(w, BOB);

    RULES(w, allow(POLICY_ALL, "#"));
    subscribe_with(w, stays, 0, &one, SUB_SERVE);
    subscribe_with(w, server, 0, &one, SUB_SERVE);
    sim_request(&w->s, alice, &(struct sim_request){.call = 1, .topic = "a", .timeout_ms = 1000});
    for (uint32_t i = 1; i <= 2; i++) {
        sim_request(&w->s, c, &(struct sim_request){.call = i, .topic = "a", .timeout_ms = 1000});
    }
    world_expect(w, server, "STATUS OK SUBSCRIBE sub=1\nCALL 1 a 1 call=1 1000\n");
    RULES(w, allow(POLICY_ALL, "#"), only(ALICE, deny(POLICY_REQUEST, "a")),
          only(BOB, deny(POLICY_SERVE, "a")));
    router_check(w->s.router);
    world_expect(w, server, "CANCEL call=1 CANCELLED\nSTATUS DENIED SUBSCRIBE sub=1\n");
    world_expect(w, c, "");
    sim_read(&w->s, stays, 100);
    sim_reply(&w->s, stays, &(struct sim_reply){0});
    world_expect(w, stays,
                 "STATUS OK SUBSCRIBE sub=1\nCALL 1 a 2 call=2 1000\nCALL 1 a 2 call=3 1000\n");
}

/* The same for one that goes on with other topics. */
static void test_a_narrowed_server_gets_no_more_calls_of_what_it_lost(void **state)
{
    struct world_sub one = {.filter = "a", .window = 1}, all = {.filter = "#", .window = 1};
    struct world *w = *state;
    struct sim_client *alice = join_as(w, ALICE), *c = world_join(w), *stays = world_join(w);
    struct sim_client *server = join_as(w, BOB);

    RULES(w, only(ALICE, allow(POLICY_ALL, "#")), only(1000, allow(POLICY_ALL, "#")),
          only(BOB, allow(POLICY_SERVE, "a")), only(BOB, allow(POLICY_SERVE, "b")));
    subscribe_with(w, stays, 0, &one, SUB_SERVE);
    subscribe_with(w, server, 0, &all, SUB_SERVE | SUBSCRIBE_NARROW);
    for (uint32_t i = 1; i <= 2; i++) {
        sim_request(&w->s, alice,
                    &(struct sim_request){.call = i, .topic = "a", .timeout_ms = 1000});
    }
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .topic = "a", .timeout_ms = 1000});
    sim_read(&w->s, server, 100);
    sim_read(&w->s, stays, 100);
    world_clear(w, server);
    world_clear(w, stays);
    RULES(w, only(1000, allow(POLICY_ALL, "#")), only(BOB, allow(POLICY_SERVE, "b")));
    router_check(w->s.router);
    world_expect(w, server, "");
    world_expect(w, stays, "CANCEL call=2 CANCELLED\nCALL 1 a 2 call=3 1000\n");
    world_expect(w, c, "");
}

/* What waits for a server that is busy is not shown to it when its place comes free by the reload
 * that took the right to ask: not of the same client, nor of another. */
static void test_a_request_that_lost_its_right_reaches_no_server(void **state)
{
    struct world_sub one = {.filter = "a", .window = 1};
    struct world *w = *state;
    struct sim_client *alice = join_as(w, ALICE), *server = world_join(w), *bob = join_as(w, BOB);
    struct sim_client *c = world_join(w);

    RULES(w, allow(POLICY_ALL, "#"));
    subscribe_with(w, server, 0, &one, SUB_SERVE);
    for (uint32_t i = 1; i <= 2; i++) {
        sim_request(&w->s, alice,
                    &(struct sim_request){.call = i, .topic = "a", .timeout_ms = 1000});
    }
    sim_request(&w->s, bob, &(struct sim_request){.call = 1, .topic = "a", .timeout_ms = 1000});
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .topic = "a", .timeout_ms = 1000});
    world_expect(w, server, "STATUS OK SUBSCRIBE sub=1\nCALL 1 a 1 call=1 1000\n");
    RULES(w, allow(POLICY_ALL, "#"), only(ALICE, deny(POLICY_REQUEST, "a")),
          only(BOB, deny(POLICY_REQUEST, "a")));
    router_check(w->s.router);
    world_expect(w, server, "CANCEL call=1 CANCELLED\nCALL 1 a 4 call=2 1000\n");
    world_expect(w, alice, "DONE DENIED 1\nDONE DENIED 2\n");
    world_expect(w, bob, "DONE DENIED 1\n");
    world_expect(w, c, "");
}

static void test_a_narrowed_server_loses_the_calls_of_one_topic(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE), *server = join_as(w, BOB);

    RULES(w, only(ALICE, allow(POLICY_ALL, "#")), only(BOB, allow(POLICY_SERVE, "a")),
          only(BOB, allow(POLICY_SERVE, "b")));
    subscribe_with(w, server, 0, &(struct world_sub){.filter = "#", .window = 2},
                   SUB_SERVE | SUBSCRIBE_NARROW);
    for (unsigned i = 0; i < 4; i++) {
        sim_request(
            &w->s, c,
            &(struct sim_request){.call = i + 1, .topic = i % 2 ? "b" : "a", .timeout_ms = 1000});
    }
    sim_request(&w->s, c, &(struct sim_request){.call = 5, .topic = "c", .timeout_ms = 1000});
    world_expect(w, c, "DONE NO_RESPONDER 5\n");
    sim_read(&w->s, server, 100);
    world_clear(w, server);
    RULES(w, only(ALICE, allow(POLICY_ALL, "#")), only(BOB, allow(POLICY_SERVE, "b")));
    router_check(w->s.router);
    world_expect(w, c, "DONE RESPONDER_GONE 1 0/1/0\nDONE NO_RESPONDER 3\n");
    world_expect(w, server, "CALL 1 b 1 call=3 1000\n");
}

static void test_a_request_that_lost_its_right_ends(void **state)
{
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE), *server = join_as(w, BOB);

    RULES(w, allow(POLICY_ALL, "#"));
    subscribe(w, server, 0, "a", SUB_SERVE);
    sim_request(&w->s, c, &(struct sim_request){.call = 1, .topic = "a", .timeout_ms = 1000});
    sim_read(&w->s, server, 100);
    world_clear(w, server);
    RULES(w, allow(POLICY_ALL, "#"), only(ALICE, deny(POLICY_REQUEST, "a")));
    router_check(w->s.router);
    world_expect(w, c, "DONE DENIED 1\n");
    world_expect(w, server, "CANCEL call=1 CANCELLED\n");
}

static void test_a_monitor_that_lost_its_right_is_none_any_more(void **state)
{
    struct wire_monitor all = {0};
    struct world *w = *state;
    struct sim_client *m = join_as(w, ALICE), *p = join_as(w, BOB);

    RULES(w, allow(POLICY_ALL, "#"), allow(POLICY_ALL, "$bus/#"));
    sim_send(&w->s, m, VERB_MONITOR, &all, NULL, 0);
    assert_true(publish(w, p, "a"));
    RULES(w, allow(POLICY_ALL, "#"));
    router_check(w->s.router);
    assert_true(publish(w, p, "a"));
    assert_int_equal(counters(w)->monitors_now, 0);
    subscribe(w, m, 0, "b", 0);
    world_expect(w, m,
                 "STATUS OK MONITOR\nMONITORED 1 a 2.1 10/10 OK\nSTATUS DENIED MONITOR\n"
                 "STATUS OK SUBSCRIBE sub=1\n");
}

static void test_what_members_had_goes_to_those_who_still_may(void **state)
{
    const struct world_sub sub = {.filter = "a", .window = 2, .group = "g", .ack = true};
    struct world *w = *state;
    struct sim_client *p = world_join(w), *m[3];

    RULES(w, allow(POLICY_ALL, "#"));
    for (unsigned i = 0; i < 3; i++) {
        m[i] = join_as(w, i < 2 ? ALICE : BOB);
        world_subscribe(w, m[i], 0, &sub);
    }
    world_publish_n(w, p, "a", 6);
    for (unsigned i = 0; i < 3; i++) {
        sim_read(&w->s, m[i], 100);
        assert_int_equal(m[i]->subs[0].n_unacked, 2);
        world_clear(w, m[i]);
    }
    RULES(w, allow(POLICY_ALL, "#"), only(ALICE, deny(POLICY_SUBSCRIBE, "a")));
    router_check(w->s.router);
    world_expect(w, m[0], "STATUS DENIED SUBSCRIBE sub=1\n");
    world_expect(w, m[1], "STATUS DENIED SUBSCRIBE sub=1\n");
    sim_ack(&w->s, m[2], 0, true, false);
    sim_read(&w->s, m[2], 100);
    sim_ack(&w->s, m[2], 0, true, false);
    sim_read(&w->s, m[2], 100);
    assert_int_equal(m[2]->subs[0].delivered, 6);
    sim_ack(&w->s, m[2], 0, true, false);
}

static void test_a_draining_subscription_ends_as_it_was_asked_to(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = join_as(w, ALICE);

    RULES(w, allow(POLICY_ALL, "#"));
    subscribe_with(w, c, 0, &(struct world_sub){.filter = "a", .window = 1}, 0);
    world_publish_n(w, p, "a", 3);
    sim_drain(&w->s, c, 0);
    RULES(w, only(1000, allow(POLICY_ALL, "#")));
    router_check(w->s.router);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1\nLOSS 1 2 20 DENIED\n"
                 "STATUS OK UNSUBSCRIBE sub=1\n");
}

/* ---- memory ---- */

static void test_without_memory_the_old_rules_hold(void **state)
{
    const struct policy_rule rules[] = {only(1000, allow(POLICY_ALL, "#")),
                                        allow(POLICY_REQUEST, "by/%n")};
    struct router_settings settings = {0};
    struct policy *policy = NULL;
    struct world *w = *state;
    struct sim_client *c = join_as(w, ALICE);
    unsigned n_failed = 0;
    int r;

    RULES(w, allow(POLICY_ALL, "#"));
    advertise(w, c, 0, "a", 0, 0);
    subscribe(w, c, 0, "a", 0);
    will(w, c, "w", 0);
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\n");
    assert_int_equal(policy_new(rules, ARRAY_LEN(rules), &policy), 0);
    settings.limits = w->s.config.limits;
    settings.policy = policy;
    FOR_EACH_FAILING_MALLOC (n) {
        r = router_reconfigure(w->s.router, &settings, &w->s.now);
        assert_true(r == 0 || r == -ENOMEM);
        n_failed += r < 0;
        if (r < 0) {
            router_check(w->s.router);
            assert_int_equal(counters(w)->subscriptions_now, 1);
            assert_int_equal(counters(w)->wills_now, 1);
        }
    }
    assert_true(n_failed >= 4);
    router_check(w->s.router);
    assert_int_equal(counters(w)->subscriptions_now, 0);
    policy_unref(policy);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
#define CASES(f) WORLD_CASES_IN(f, setup, setup_streams, world_teardown)
    const struct CMUnitTest tests[] = {
        CASES(test_without_rules_others_may_nothing),
        CASE(test_rules_are_for_root_and_the_own_user_too),
        CASES(test_a_refusal_names_the_place_of_the_rule),
        CASES(test_a_refusal_names_the_right_that_is_not_that_of_the_frame),
        CASE(test_a_filter_wider_than_what_is_allowed_is_refused),
        CASES(test_a_narrowed_subscription_gets_what_is_allowed),
        CASE(test_publishers_do_not_pay_for_what_narrowed_ones_do_not_get),
        CASE(test_narrow_is_not_for_groups),
        CASE(test_what_a_subscription_may_need_besides),
        CASES(test_an_alias_is_good_for_what_is_allowed),
        CASE(test_clearing_needs_the_right_to_retain),
        CASES(test_descriptors_need_a_right_of_their_own),
        CASES(test_a_reply_with_descriptors_needs_the_right_to_them),
        CASE(test_watching_needs_the_right_to_all_that_is_watched),
        CASE(test_a_monitor_without_filters_does_not_see_what_it_may_not),
        CASE(test_a_client_is_known_by_what_it_calls_itself),
        CASES(test_a_subscription_that_lost_its_right_ends),
        CASE(test_what_waits_for_an_interval_or_was_kept_is_lost_too),
        CASE(test_a_blocking_subscription_lets_its_publishers_go),
        CASES(test_narrowed_topics_leave_and_come),
        CASES(test_an_alias_is_muted_and_is_good_again),
        CASE(test_a_will_that_lost_its_right_is_not_published),
        CASE(test_whose_a_will_was_is_known_to_the_next_router),
        CASE(test_a_server_that_lost_its_right_has_gone),
        CASE(test_a_server_that_lost_its_right_gets_no_more_calls),
        CASE(test_a_request_that_lost_its_right_reaches_no_server),
        CASE(test_a_narrowed_server_loses_the_calls_of_one_topic),
        CASE(test_a_narrowed_server_gets_no_more_calls_of_what_it_lost),
        CASE(test_a_request_that_lost_its_right_ends),
        CASE(test_a_monitor_that_lost_its_right_is_none_any_more),
        CASES(test_what_members_had_goes_to_those_who_still_may),
        CASE(test_a_draining_subscription_ends_as_it_was_asked_to),
        CASE(test_without_memory_the_old_rules_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
