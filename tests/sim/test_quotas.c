/* SPDX-License-Identifier: MIT */
/* What the connections of one user share, and what is said at its bounds: docs/protocol.md, section
 * 21. */
#include <errno.h>
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/sim_policy.h"
#include "support/world.h"
#include "wire/quota_event.h"

#define OTHER 2000u

/* What was said last. */
static struct said {
    char text[REFUSAL_MAX];
    unsigned n_events;
    struct quota_event event;
    uint8_t body[QUOTA_EVENT_MAX];
    unsigned n_told;
    char told[64];
} said;

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    if (f->verb == VERB_STATUS || f->verb == VERB_GOODBYE) {
        struct text t = f->verb == VERB_STATUS ? m->status.text : m->goodbye.text;

        assert_true(t.len < sizeof(said.text));
        memcpy(said.text, t.data, t.len);
        said.text[t.len] = '\0';
    }
    if (f->verb == VERB_MESSAGE &&
        strcmp(c->topics[m->message.topic], "$bus/quota/exceeded") == 0) {
        memcpy(said.body, f->body, f->body_bytes);
        assert_true(quota_event_decode(said.body, f->body_bytes, &said.event));
        said.n_events++;
    }
    world_on_frame(s, c, f, m);
}

static void on_quota(void *userdata, const struct quota_event *e)
{
    struct said *to = userdata;

    to->n_told++;
    (void) snprintf(to->told, sizeof(to->told), "%.*s of %u", (int) e->slot.len, e->slot.data,
                    e->uid);
}

static struct world *make(const struct limits *limits)
{
    struct world *w = world_new(limits);

    sim_allow_everybody(&w->s);

    memset(&said, 0, sizeof(said));
    w->s.on_frame = on_frame;
    w->s.uid = OTHER;
    return w;
}

static void subscribe(struct world *w, struct sim_client *c, uint32_t number)
{
    const struct wire_subscribe m = {.subscription = number, .filter = text_from("a/+")};

    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
}

static void advertise(struct world *w, struct sim_client *c, uint32_t alias, const char *topic)
{
    sim_send(&w->s, c, VERB_ADVERTISE, &(struct wire_advertise){alias, text_from(topic)}, NULL, 0);
}

static void request(struct world *w, struct sim_client *c, uint32_t call)
{
    const struct wire_request m = {.call = call, .topic = text_from("r")};

    sim_send(&w->s, c, VERB_REQUEST, &m, NULL, 0);
}

/* ---- slots ---- */

static void test_subscriptions_of_all_clients_of_a_user_are_bounded(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a, *b;
    struct world *w;

    (void) state;
    limits.user_subscriptions_max = 3;
    w = make(&limits);
    a = world_join(w);
    b = world_join(w);
    subscribe(w, a, 1);
    subscribe(w, a, 2);
    subscribe(w, b, 1);
    subscribe(w, b, 2);
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=2\n");
    world_expect(w, b, "STATUS OK SUBSCRIBE sub=1\nSTATUS LIMIT SUBSCRIBE sub=2\n");
    assert_string_equal(said.text, "subscriptions of uid 2000: 3 of 3 used, 1 more asked for");
    sim_send(&w->s, a, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = 1}, NULL, 0);
    subscribe(w, b, 2);
    world_expect(w, b, "STATUS OK SUBSCRIBE sub=2\n");
    sim_disconnect(&w->s, b); /* who has gone holds nothing */
    subscribe(w, a, 3);
    subscribe(w, a, 4);
    world_expect(w, a,
                 "STATUS OK UNSUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=3\n"
                 "STATUS OK SUBSCRIBE sub=4\n");
    world_free(w);
}

/* They cost whoever publishes to a new topic. */
static void test_filters_with_wildcards_are_bounded_by_themselves(void **state)
{
    struct wire_subscribe plain = {.subscription = 3, .filter = text_from("a/b")};
    struct wire_subscribe member = {
        .subscription = 4, .filter = text_from("a/#"), .group = text_from("g")};
    struct limits limits = sim_small_limits();
    struct sim_client *a, *b;
    struct world *w;

    (void) state;
    limits.user_wildcards_max = 2;
    w = make(&limits);
    a = world_join(w);
    b = world_join(w);
    subscribe(w, a, 1);
    sim_send(&w->s, b, VERB_SUBSCRIBE, &member, NULL, 0);
    subscribe(w, a, 2);
    sim_send(&w->s, a, VERB_SUBSCRIBE, &plain, NULL, 0);
    world_expect(w, a,
                 "STATUS OK SUBSCRIBE sub=1\nSTATUS LIMIT SUBSCRIBE sub=2\n"
                 "STATUS OK SUBSCRIBE sub=3\n");
    world_expect(w, b, "STATUS OK SUBSCRIBE sub=4\n");
    assert_true(sim_replace(&w->s));
    router_check(w->s.router);
    subscribe(w, a, 2);
    world_expect(w, a, "STATUS LIMIT SUBSCRIBE sub=2\n");
    assert_string_equal(said.text, "wildcards of uid 2000: 2 of 2 used, 1 more asked for");
    sim_send(&w->s, b, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = 4}, NULL, 0);
    subscribe(w, a, 2);
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=2\n");
    sim_disconnect(&w->s, a);
    assert_int_equal(users_find(&w->s.router->users, OTHER)->wildcards.used, 0);
    world_free(w);
}

static void test_topics_of_all_clients_of_a_user_are_bounded(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a, *b;
    struct world *w;

    (void) state;
    limits.user_topics_max = 2;
    w = make(&limits);
    a = world_join(w);
    b = world_join(w);
    advertise(w, a, 1, "a");
    advertise(w, b, 1, "b");
    advertise(w, b, 2, "c");
    world_expect(w, a, "");
    world_expect(w, b, "STATUS LIMIT ADVERTISE alias=2\n");
    assert_string_equal(said.text, "topics of uid 2000: 2 of 2 used, 1 more asked for");
    sim_send(&w->s, a, VERB_UNADVERTISE, &(struct wire_unadvertise){1}, NULL, 0);
    advertise(w, b, 2, "c");
    world_expect(w, b, "");
    world_free(w);
}

static void test_requests_of_all_clients_of_a_user_are_bounded(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a, *b, *server;
    struct world *w;

    (void) state;
    limits.user_requests_max = 2;
    w = make(&limits);
    server = world_join(w);
    a = world_join(w);
    b = world_join(w);
    sim_send(
        &w->s, server, VERB_SUBSCRIBE,
        &(struct wire_subscribe){.subscription = 1, .filter = text_from("r"), .flags = SUB_SERVE},
        NULL, 0);
    request(w, a, 1);
    request(w, b, 1);
    request(w, b, 2);
    world_expect(w, b, "STATUS LIMIT REQUEST call=2\n");
    assert_string_equal(said.text, "requests of uid 2000: 2 of 2 used, 1 more asked for");
    sim_send(&w->s, a, VERB_CANCEL, &(struct wire_cancel){.call = 1}, NULL, 0);
    request(w, b, 2);
    world_expect(w, b, "");
    world_free(w);
}

static void test_connections_of_a_user_are_bounded_and_others_get_in(void **state)
{
    struct limits limits = sim_small_limits();
    uint8_t goodbye[256];
    struct sim_client *a;
    struct world *w;

    (void) state;
    limits.user_connections_max = 2;
    w = make(&limits);
    a = world_join(w);
    (void) world_join(w);
    assert_null(world_attach(w));
    assert_string_equal(router_refusal_text(w->s.router),
                        "connections of uid 2000: 2 of 2 used, 1 more asked for");
    assert_true(router_refusal(w->s.router, goodbye, sizeof(goodbye)) > 0);
    assert_int_equal(router_counters(w->s.router)->clients_refused, 1);
    w->s.uid = 3000;
    (void) world_join(w);
    w->s.uid = 1000; /* the router's own user and root are bounded by clients_max alone */
    for (unsigned i = 0; i < 3; i++) {
        (void) world_join(w);
    }
    w->s.uid = 0;
    for (unsigned i = 0; i < 3; i++) {
        (void) world_join(w);
    }
    w->s.uid = OTHER;
    sim_disconnect(&w->s, a);
    (void) world_join(w);
    world_free(w);
}

static void test_bytes_of_all_clients_of_a_user_are_bounded(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a, *b, *other;
    struct world *w;
    uint32_t n = 0;

    (void) state;
    limits.user_bytes_max = 64 * KIB;
    limits.subscriptions_max = 10000;
    w = make(&limits);
    a = world_join(w);
    b = world_join(w);
    w->s.uid = 3000;
    other = world_join(w);
    while (a->n_status[BUS_STATUS_LIMIT] == 0 && a->n_status[BUS_STATUS_NO_MEMORY] == 0) {
        subscribe(w, a, ++n);
        sim_read(&w->s, a, 10);
        world_clear(w, a);
        assert_true(n < 1000);
    }
    subscribe(w, b, 1);
    world_expect(w, b, "STATUS LIMIT SUBSCRIBE sub=1\n");
    assert_memory_equal(said.text, "bytes of uid 2000: ", 19);
    subscribe(w, other, 1);
    world_expect(w, other, "STATUS OK SUBSCRIBE sub=1\n");
    world_free(w);
}

/* ---- overrides and other limits ---- */

static void reconfigure(struct world *w, const struct limits *limits, const struct user_override *o,
                        size_t n)
{
    struct router_settings settings = {
        .limits = *limits, .policy = w->s.config.policy, .overrides = o, .n_overrides = n};

    assert_int_equal(router_reconfigure(w->s.router, &settings, &w->s.now), 0);
    w->s.config.limits = *limits; /* for the router that takes its place */
    w->s.config.overrides = o;
    w->s.config.n_overrides = n;
    router_check(w->s.router);
}

static void test_an_override_gives_one_user_something_else(void **state)
{
    const struct user_override o = {
        .uid = OTHER, .set = 1u << USER_SLOT_subscriptions, .limits = {.subscriptions = 1}};
    struct limits limits = sim_small_limits();
    struct sim_client *a, *b;
    struct world *w = make(&limits);

    (void) state;
    a = world_join(w);
    w->s.uid = 3000;
    b = world_join(w);
    reconfigure(w, &limits, &o, 1);
    for (uint32_t i = 1; i <= 2; i++) {
        subscribe(w, a, i);
        subscribe(w, b, i);
    }
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=1\nSTATUS LIMIT SUBSCRIBE sub=2\n");
    world_expect(w, b, "STATUS OK SUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=2\n");
    reconfigure(w, &limits, NULL, 0);
    subscribe(w, a, 2);
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=2\n");
    world_free(w);
}

static void test_what_is_above_a_new_limit_stays_until_it_goes(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a;
    struct world *w = make(&limits);

    (void) state;
    a = world_join(w);
    for (uint32_t i = 1; i <= 3; i++) {
        subscribe(w, a, i);
    }
    limits.user_subscriptions_max = 1;
    limits.user_bytes_max = 64 * KIB;
    reconfigure(w, &limits, NULL, 0);
    world_expect(w, a,
                 "STATUS OK SUBSCRIBE sub=1\nSTATUS OK SUBSCRIBE sub=2\n"
                 "STATUS OK SUBSCRIBE sub=3\n");
    for (uint32_t i = 1; i <= 3; i++) {
        subscribe(w, a, 4);
        world_expect(w, a, "STATUS LIMIT SUBSCRIBE sub=4\n");
        sim_send(&w->s, a, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = i}, NULL,
                 0);
        sim_read(&w->s, a, 100);
        world_clear(w, a);
    }
    subscribe(w, a, 4);
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=4\n");
    world_free(w);
}

static void test_without_memory_nothing_is_changed(void **state)
{
    const struct user_override o = {
        .uid = OTHER, .set = 1u << USER_SLOT_topics, .limits = {.topics = 1}};
    struct limits limits = sim_small_limits();
    struct world *w = make(&limits);
    struct router_settings settings = {
        .limits = limits, .policy = w->s.config.policy, .overrides = &o, .n_overrides = 1};
    struct sim_client *a = world_join(w);

    (void) state;
    settings.limits.user_topics_max = 7;
    failmalloc_arm(1);
    assert_int_equal(router_reconfigure(w->s.router, &settings, &w->s.now), -ENOMEM);
    assert_int_equal(failmalloc_disarm(), 1);
    assert_int_equal(a->peer->user->topics.limit, limits.user_topics_max);
    assert_int_equal(router_reconfigure(w->s.router, &settings, &w->s.now), 0);
    assert_int_equal(a->peer->user->topics.limit, 1);
    world_free(w);
}

static void test_counts_and_overrides_hold_in_the_router_that_takes_its_place(void **state)
{
    const struct user_override o = {
        .uid = OTHER, .set = 1u << USER_SLOT_topics, .limits = {.topics = 2}};
    struct limits limits = sim_small_limits();
    struct world *w = make(&limits);
    struct sim_client *a = world_join(w);
    const struct user *u;

    (void) state;
    reconfigure(w, &limits, &o, 1);
    subscribe(w, a, 1);
    advertise(w, a, 1, "a");
    advertise(w, a, 2, "b");
    assert_true(sim_replace(&w->s));
    router_check(w->s.router);
    u = users_find(&w->s.router->users, OTHER);
    assert_int_equal(u->connections.used, 1);
    assert_int_equal(u->subscriptions.used, 1);
    assert_int_equal(u->topics.used, 2);
    assert_int_equal(u->topics.limit, 2);
    assert_int_equal(u->subscriptions.limit, limits.user_subscriptions_max);
    advertise(w, a, 3, "c");
    world_expect(w, a, "STATUS OK SUBSCRIBE sub=1\nSTATUS LIMIT ADVERTISE alias=3\n");
    world_free(w);
}

/* ---- events ---- */

static void test_an_event_names_who_and_what_and_comes_once_in_a_second(void **state)
{
    static const struct router_events events = {.quota = on_quota};
    struct limits limits = sim_small_limits();
    struct sim_client *watcher, *a, *b;
    struct world *w;

    (void) state;
    limits.user_topics_max = 3;
    w = make(&limits);
    w->s.router->config.events = &events;
    w->s.router->config.events_userdata = &said;
    w->s.uid = 1000;
    watcher = world_join(w);
    w->s.looks_away = true;
    world_subscribe(w, watcher, 0, &(struct world_sub){"$bus/quota/#", .window = 100});
    w->s.uid = OTHER;
    a = world_join(w);
    b = world_join(w);
    advertise(w, b, 1, "a");
    advertise(w, a, 1, "a");
    advertise(w, a, 2, "b");
    for (uint32_t i = 3; i < 8; i++) {
        advertise(w, a, i, "c");
    }
    sim_advance(&w->s, MS);
    sim_read(&w->s, watcher, 100);
    assert_int_equal(said.n_events, 1);
    assert_int_equal(said.event.uid, OTHER);
    assert_int_equal(said.event.connection_id, a->id);
    assert_int_equal(said.event.slot.len, 6);
    assert_memory_equal(said.event.slot.data, "topics", 6);
    assert_int_equal(said.event.limit, 3);
    assert_int_equal(said.event.used, 3);
    assert_int_equal(said.event.requested, 1);
    assert_int_equal(said.event.times, 5);
    assert_int_equal(said.event.n_holders, 2);
    assert_int_equal(said.event.holders[0].connection_id, a->id);
    assert_int_equal(said.event.holders[0].used, 2);
    assert_memory_equal(said.event.holders[0].name.data, "sim", 3);
    assert_int_equal(said.event.holders[1].connection_id, b->id);
    assert_int_equal(said.event.holders[1].used, 1);
    assert_int_equal(said.n_told, 1);
    assert_string_equal(said.told, "topics of 2000");

    advertise(w, b, 2, "c"); /* not so soon again, but counted */
    sim_advance(&w->s, 900 * MS);
    sim_read(&w->s, watcher, 100);
    assert_int_equal(said.n_events, 1);
    sim_advance(&w->s, 200 * MS);
    advertise(w, b, 2, "c");
    sim_advance(&w->s, MS);
    sim_read(&w->s, watcher, 100);
    assert_int_equal(said.n_events, 2);
    assert_int_equal(said.event.times, 2);
    assert_int_equal(said.event.connection_id, b->id);
    sim_read(&w->s, a, 100);
    sim_read(&w->s, b, 100);
    world_free(w);
}

/* The user may be gone when it is said, or the router end before. */
static void test_an_event_that_is_due_is_nobodys_when_all_have_gone(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *a;
    struct world *w;

    (void) state;
    limits.user_topics_max = 1;
    w = make(&limits);
    a = world_join(w);
    advertise(w, a, 1, "a");
    advertise(w, a, 2, "b");
    sim_disconnect(&w->s, a);
    sim_advance(&w->s, MS);
    assert_null(users_find(&w->s.router->users, OTHER));
    a = world_join(w);
    advertise(w, a, 1, "a");
    advertise(w, a, 2, "b");
    world_free(w);
}

static void test_an_event_comes_later_if_there_is_no_memory_for_it(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *watcher, *a;
    struct world *w;

    (void) state;
    limits.user_topics_max = 1;
    w = make(&limits);
    w->s.uid = 1000;
    watcher = world_join(w);
    w->s.looks_away = true;
    world_subscribe(w, watcher, 0, &(struct world_sub){"$bus/quota/#", .window = 100});
    w->s.uid = OTHER;
    a = world_join(w);
    advertise(w, a, 1, "a");
    advertise(w, a, 2, "b");
    failmalloc_arm_from(1);
    sim_advance(&w->s, MS);
    assert_true(failmalloc_disarm() > 0);
    sim_read(&w->s, watcher, 100);
    assert_int_equal(said.n_events, 0);
    sim_advance(&w->s, 100 * MS);
    sim_read(&w->s, watcher, 100);
    assert_int_equal(said.n_events, 1);
    sim_read(&w->s, a, 100);
    world_free(w);
}

/* All that is left of the next user is a message that has to give way to the event. */
static void test_an_event_may_be_the_end_of_another_user(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *watcher, *p, *last;
    struct world *w;
    struct user *u;

    (void) state;
    limits.user_topics_max = 1;
    w = make(&limits);
    w->s.looks_away = true;
    w->s.uid = 1000;
    p = world_join(w);
    w->s.uid = OTHER;
    watcher = world_join(w);
    world_subscribe(w, watcher, 0, &(struct world_sub){"$bus/quota/#", .window = 1});
    world_subscribe(w, watcher, 1, &(struct world_sub){"a", .window = 1, .queue = 100});
    advertise(w, watcher, 1, "a");
    for (unsigned i = 0; i < 2; i++) { /* an event uses the window, and another waits */
        advertise(w, watcher, 2, "b");
        sim_advance(&w->s, MS);
        sim_advance(&w->s, 2000 * MS);
    }
    w->s.uid = 3000;
    last = world_join(w);
    world_publish(w, p, "a");
    world_publish(w, last, "a");
    world_publish(w, p, "a");
    sim_disconnect(&w->s, last);
    assert_non_null(users_find(&w->s.router->users, 3000));
    advertise(w, watcher, 2, "b");
    u = watcher->peer->user;
    u->bytes.limit = u->bytes.used / 2;
    sim_advance(&w->s, MS);
    assert_null(users_find(&w->s.router->users, 3000));
    router_check(w->s.router);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscriptions_of_all_clients_of_a_user_are_bounded),
        cmocka_unit_test(test_filters_with_wildcards_are_bounded_by_themselves),
        cmocka_unit_test(test_topics_of_all_clients_of_a_user_are_bounded),
        cmocka_unit_test(test_requests_of_all_clients_of_a_user_are_bounded),
        cmocka_unit_test(test_connections_of_a_user_are_bounded_and_others_get_in),
        cmocka_unit_test(test_bytes_of_all_clients_of_a_user_are_bounded),
        cmocka_unit_test(test_an_override_gives_one_user_something_else),
        cmocka_unit_test(test_what_is_above_a_new_limit_stays_until_it_goes),
        cmocka_unit_test(test_without_memory_nothing_is_changed),
        cmocka_unit_test(test_counts_and_overrides_hold_in_the_router_that_takes_its_place),
        cmocka_unit_test(test_an_event_names_who_and_what_and_comes_once_in_a_second),
        cmocka_unit_test(test_an_event_that_is_due_is_nobodys_when_all_have_gone),
        cmocka_unit_test(test_an_event_comes_later_if_there_is_no_memory_for_it),
        cmocka_unit_test(test_an_event_may_be_the_end_of_another_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
