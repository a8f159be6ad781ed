/* SPDX-License-Identifier: MIT */
/* Requests to the router's own topics: who may ask, how they are answered and shown, what the
 * controls do, and what is known of connections that have ended. docs/protocol.md, section 22. */
#include "core/closed.h"
#include "support/failmalloc.h"
#include "support/inside.h"
#include "support/sim_policy.h"

#define ALL_OF ((struct inside_query){0})

/* ---- asking ---- */

static void test_only_the_routers_user_and_root_may_ask(void **state)
{
    static const char *const topics[] = {"$bus/clients", "$bus/control/drain", "$bus/nothing"};
    struct world *w = *state;
    struct sim_client *c;

    w->s.uid = 1001;
    c = world_join(w);
    for (unsigned i = 0; i < ARRAY_LEN(topics); i++) {
        inside_send(w, c, topics[i], NULL, 0, 0);
        world_expect(w, c, "DONE DENIED 1\n");
    }
    w->s.uid = 0;
    c = world_join(w);
    assert_int_equal(inside_ask_for(w, c, BUS_INSIDE_CLIENTS, ALL_OF, NULL), 2);
}

static void test_rules_say_who_may_ask_for_what(void **state)
{
    static const struct policy_rule rules[] = {
        {.verbs = POLICY_REQUEST, .by_uid = true, .uid = 1001, .topic = {"$bus/clients", 12}},
        {.verbs = POLICY_REQUEST, .by_uid = true, .uid = 0, .topic = {"$bus/control/#", 14}}};
    struct world *w = *state;
    struct sim_client *c, *root;

    sim_set_rules(&w->s, rules, ARRAY_LEN(rules));
    w->s.uid = 1001;
    c = world_join(w);
    w->s.uid = 0;
    root = world_join(w);
    assert_int_equal(inside_ask_for(w, c, BUS_INSIDE_CLIENTS, ALL_OF, NULL), 2);
    inside_send(w, c, "$bus/topics", NULL, 0, 0);
    inside_send(w, c, "$bus/control/disconnect", NULL, 0, 0);
    world_expect(w, c, "DONE DENIED 1\nDONE DENIED 1\n");
    inside_send(w, root, "$bus/clients", NULL, 0, 0);
    inside_send(w, root, "$bus/control/drain", NULL, 0, 0);
    world_expect(w, root, "DONE DENIED 1\nDONE UNSUPPORTED 1\n");
}

static void test_what_is_wrong_is_refused(void **state)
{
    static const struct {
        const char *topic, *body;
        size_t bytes;
        uint32_t flags;
        const char *due;
    } cases[] = {
        {"$bus/nothing", "", 0, 0, "DONE NO_RESPONDER 1\n"},
        {"$bus", "", 0, 0, "DONE NO_RESPONDER 1\n"},
        {"$bus/client/1/joined", "", 0, 0, "DONE NO_RESPONDER 1\n"},
        {"$bus/clients/", "", 0, 0, "DONE NO_RESPONDER 1\n"},
        {"$bus/+", "", 0, 0, "DONE INVALID_TOPIC 1\n"},
        {"$bus/clients", "\x08", 1, 0, "DONE INVALID_ARGUMENT 1\n"},
        {"$bus/clients", "\x0a\x01x", 3, 0, "DONE INVALID_ARGUMENT 1\n"},
        {"$bus/clients", "", 0, 4, "DONE INVALID_ARGUMENT 1\n"},
        {"$bus/control/disconnect", "", 0, 0, "DONE INVALID_ARGUMENT 1\n"},
        {"$bus/control/disconnect", "\xff", 1, 0, "DONE INVALID_ARGUMENT 1\n"},
        {"$bus/control/disconnect", "\x08\x09", 2, 0, "DONE INVALID_ARGUMENT 1\n"},
        {"$bus/control/disconnect", "\x08\x01\x12\x01\x07", 5, 0, "DONE INVALID_ARGUMENT 1\n"},
        {"$bus/control/reload", "", 0, 0, "DONE UNSUPPORTED 1\n"},
        {"$bus/control/drain", "", 0, 0, "DONE UNSUPPORTED 1\n"},
    };
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        inside_send(w, c, cases[i].topic, cases[i].body, cases[i].bytes, cases[i].flags);
        world_expect(w, c, cases[i].due);
    }
}

static void test_nobody_else_can_serve_or_publish_there(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_subscribe serve = {
        .subscription = 1, .filter = text_from("$bus/clients"), .flags = SUB_SERVE};
    struct wire_advertise advertise = {1, text_from("$bus/clients")};

    sim_send(&w->s, c, VERB_SUBSCRIBE, &serve, NULL, 0);
    sim_send(&w->s, c, VERB_ADVERTISE, &advertise, NULL, 0);
    world_expect(w, c, "STATUS DENIED SUBSCRIBE sub=1\nSTATUS DENIED ADVERTISE alias=1\n");
}

static void test_a_request_to_all_is_answered_by_one(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    w->s.on_frame = inside_on_frame;
    inside_send(w, c, "$bus/counters", NULL, 0, REQUEST_ALL);
    world_expect(w, c, "ANSWER 1.1 0\nDONE OK 1 1/0/0\n");
}

static void test_monitors_see_requests_and_answers_of_the_router(void **state)
{
    struct world *w = *state;
    struct sim_client *m = world_join(w), *c = world_join(w);
    struct wire_monitor monitor = {.snap_bytes = 1};

    sim_send(&w->s, m, VERB_MONITOR, &monitor, NULL, 0);
    m->monitoring = w->s.looks_away = true; /* the router is a sender, too */
    world_expect(w, m, "STATUS OK MONITOR\n");
    w->s.on_frame = inside_on_frame;
    inside_send(w, c, "$bus/topics", NULL, 0, 0);
    sim_read(&w->s, c, 10);
    assert_int_equal(heard.bytes, 1 + pb_varint_bytes(w->s.now.monotonic_ns)); /* no topics */
    inside_send(w, c, "$bus/topics", NULL, 0, REQUEST_ALL);
    sim_read(&w->s, c, 10);
    inside_send(w, c, "$bus/x", NULL, 0, 0);
    world_expect(w, m,
                 "MONITORED REQUEST #1 0 $bus/topics 2.0 0/0 OK\n"
                 "MONITORED REPLY #1 0 $bus/topics 0.0 1/4 OK [2/0 DELIVERED NONE 0]\n"
                 "MONITORED REQUEST #2 0 $bus/topics 2.0 0/0 OK\n"
                 "MONITORED REPLY #2 0 $bus/topics 0.0 1/4 OK [2/0 DELIVERED NONE 0]\n"
                 "MONITORED DONE #2 0 $bus/topics 2.0 0/0 OK\n"
                 "MONITORED REQUEST #3 0 $bus/x 2.0 0/0 NO_RESPONDER\n");
}

/* ---- answers that are not read ---- */

static void test_answers_that_are_not_read_wait_and_are_charged(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *watch = world_join(w);
    struct wire_request m = {.topic = text_from("$bus/counters")};
    uint64_t charged = 0;
    uint32_t n = 0;

    w->s.on_frame = inside_on_frame;
    heard = (struct inside_heard){0};
    while (peer_wants_input(c->peer) && n < 2000) {
        m.call = ++n;
        sim_send(&w->s, c, VERB_REQUEST, &m, NULL, 0);
        charged = MAX(charged, c->peer->quota.used);
    }
    assert_true(c->peer->answers != NULL);
    /* and what is on its link, which is bounded otherwise */
    assert_true(charged <= w->s.config.limits.client_bytes_max + OUTQ_CHUNK_BYTES);
    assert_int_equal(inside_client_of(w, watch, 1).state, BUS_CLIENT_STATE_READY);
    heard = (struct inside_heard){0};
    sim_read(&w->s, c, 100000);
    assert_int_equal(heard.n_answers + heard.n_done, n); /* each ended once */
    assert_true(heard.n_answers > 10);
    world_clear(w, c);
}

/* The n-th allocation fails. False if there were not so many. */
static bool ask_with_failing_memory(unsigned long n)
{
    static const char *const topics[] = {"$bus/clients", "$bus/subscriptions",
                                         "$bus/control/disconnect"};
    struct world *w = world_new(NULL);
    struct sim_client *c = world_join(w), *other = world_join(w);
    bool has_failed;

    w->s.starving = true;
    w->s.on_frame = inside_on_frame;
    heard = (struct inside_heard){0};
    failmalloc_arm(n);
    for (unsigned i = 0; i < ARRAY_LEN(topics) && c->peer && !c->ended; i++) {
        inside_send(w, c, topics[i], "\x08\x02", i == 2 ? 2 : 0, 0);
        sim_read(&w->s, c, 100);
        assert_true(heard.n_answers + heard.n_done == i + 1 || c->ended || !c->peer);
    }
    has_failed = failmalloc_disarm() > 0;
    sim_read(&w->s, other, 100);
    w->s.starving = false;
    world_free(w);
    return has_failed;
}

static void test_requests_end_once_whatever_memory_fails(void **state)
{
    unsigned long n = 1;

    (void) state;
    while (ask_with_failing_memory(n)) {
        n++;
    }
    assert_true(n > 5);
}

/* ---- controls ---- */

static struct control_calls {
    struct world *w;
    unsigned n_reloads, n_drains;
    int ret;
    const char *text;
} calls;

static int on_reload(void *userdata, char *text, size_t size)
{
    struct control_calls *k = userdata;

    k->n_reloads++;
    (void) snprintf(text, size, "%s", k->text);
    return k->ret;
}

static void on_drain(void *userdata)
{
    struct control_calls *k = userdata;

    k->n_drains++;
    router_drain(k->w->s.router, k->w->s.now.monotonic_ns + 1000 * MS, &k->w->s.now);
}

static void controls_install(struct world *w)
{
    static const struct router_controls controls = {on_reload, on_drain};

    calls = (struct control_calls){.w = w, .text = ""};
    w->s.config.controls = w->s.router->config.controls = &controls;
    w->s.config.controls_userdata = w->s.router->config.controls_userdata = &calls;
    w->s.on_frame = inside_on_frame;
}

static struct inside_controlled controlled(void)
{
    struct inside_controlled m;

    assert_true(inside_decode(&inside_controlled_layout, heard.body, heard.bytes, &m));
    return m;
}

static void test_reload_answers_what_came_of_it(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    char longest[256];

    controls_install(w);
    inside_send(w, c, "$bus/control/reload", NULL, 0, 0);
    world_expect(w, c, "ANSWER 1 0\n");
    assert_text(controlled().text, "reloaded");
    calls.ret = -22;
    calls.text = "bus.conf:3:7: an integer is expected";
    inside_send(w, c, "$bus/control/reload", NULL, 0, 0);
    world_expect(w, c, "ANSWER 1 0 error=1\n");
    assert_text(controlled().text, "bus.conf:3:7: an integer is expected");
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    calls.text = longest;
    inside_send(w, c, "$bus/control/reload", NULL, 0, 0);
    world_expect(w, c, "ANSWER 1 0 error=1\n");
    assert_text(controlled().text, longest);
    calls.text = "cut in \xc3";
    inside_send(w, c, "$bus/control/reload", NULL, 0, 0);
    world_expect(w, c, "ANSWER 1 0 error=1\n");
    assert_text(controlled().text, "cut in ");
    assert_int_equal(calls.n_reloads, 4);
}

/* Other rules come into force while the request that has asked for that is being answered. */
static int on_reload_rules(void *userdata, char *text, size_t size)
{
    static const struct policy_rule nothing = {
        .verbs = POLICY_REQUEST, .by_uid = true, .uid = 4711, .topic = {"x", 1}};
    struct control_calls *k = userdata;

    (void) snprintf(text, size, "other rules");
    sim_set_rules(&k->w->s, &nothing, 1);
    return 0;
}

static void test_reload_takes_rights_from_who_has_asked(void **state)
{
    static const struct router_controls controls = {.reload = on_reload_rules};
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_LATEST, .window = 1, .queue = 1});
    controls_install(w);
    w->s.config.controls = w->s.router->config.controls = &controls;
    w->s.looks_away = true; /* the oracle's subscription ends */
    inside_send(w, c, "$bus/control/reload", NULL, 0, 0);
    world_expect(w, c, "STATUS DENIED SUBSCRIBE sub=1\nANSWER 1 0\n");
    c->subs[0].used = false;
    inside_send(w, c, "$bus/control/reload", NULL, 0, 0);
    world_expect(w, c, "DONE DENIED 1\n");
}

static void test_drain_stops_as_a_signal_does(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    controls_install(w);
    inside_send(w, c, "$bus/control/drain", NULL, 0, 0);
    world_expect(w, c, "ANSWER 1 0\n");
    assert_int_equal(calls.n_drains, 1);
    assert_true(router_is_drained(w->s.router));
    inside_send(w, c, "$bus/control/drain", NULL, 0, 0);
    inside_send(w, c, "$bus/control/reload", NULL, 0, 0);
    world_expect(w, c, "DONE UNEXPECTED 1\nDONE UNEXPECTED 1\n");
    assert_int_equal(calls.n_drains + calls.n_reloads, 1);
}

static void ask_to_disconnect(struct world *w, struct sim_client *c, uint64_t id, const char *text)
{
    const struct inside_disconnect m = {id, text_from(text)};

    w->s.on_frame = inside_on_frame;
    inside_send_message(w, c, "$bus/control/disconnect", &inside_disconnect_layout, &m);
}

static void test_disconnect_ends_one_client(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x = world_join(w), *y = world_join(w);
    struct inside_closed e;

    ask_to_disconnect(w, c, 2, "too loud");
    world_expect(w, c, "ANSWER 1 0\n");
    assert_text(controlled().text, "disconnected");
    world_expect(w, x, "GOODBYE ADMIN\n");
    e = inside_last_closed(w, c);
    assert_int_equal(e.connection_id, 2);
    assert_int_equal(e.reason, BUS_GOODBYE_ADMIN);
    assert_text(e.text, "too loud");
    ask_to_disconnect(w, c, 2, ""); /* it has gone */
    world_expect(w, c, "DONE INVALID_ARGUMENT 1\n");
    ask_to_disconnect(w, c, 1, ""); /* itself */
    world_expect(w, c, "ANSWER 1 0\nGOODBYE ADMIN\n");
    world_expect(w, y, "");
    e = inside_last_closed(w, y);
    assert_text(e.text, "disconnected by an administrator");
}

static void test_one_who_has_not_greeted_can_be_disconnected(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *x = world_attach(w);

    ask_to_disconnect(w, c, 2, "");
    world_expect(w, c, "ANSWER 1 0\n");
    world_expect(w, x, "GOODBYE ADMIN\n");
}

/* ---- ends ---- */

static void test_ends_are_known_with_their_reasons(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *x;
    struct inside_closed e;

    world_publish_n(w, p, "a", 3);
    sim_advance(&w->s, 5000 * MS);
    sim_disconnect(&w->s, p);
    e = inside_last_closed(w, watch);
    assert_int_equal(e.number, 1);
    assert_int_equal(e.connection_id, 2);
    assert_int_equal(e.uid, 1000);
    assert_int_equal(e.reason, BUS_GOODBYE_NONE);
    assert_int_equal(e.published_messages, 3);
    assert_int_equal(e.since_ns, 1700000000000000000);
    assert_int_equal(e.until_ns, w->s.now.realtime_ns);
    assert_int_equal(e.times, 1);
    x = world_join(w);
    world_leave(w, x);
    e = inside_last_closed(w, watch);
    assert_int_equal(e.number, 2);
    assert_int_equal(e.reason, BUS_GOODBYE_NORMAL);
    x = world_attach(w);
    assert_int_equal(sim_send_raw(&w->s, x, "hello world", 11).consumed, 11);
    e = inside_last_closed(w, watch);
    assert_int_equal(e.reason, BUS_GOODBYE_PROTOCOL_ERROR);
    assert_text(e.text, "text or another protocol was sent");
    assert_int_equal(e.link, w->on_streams ? BUS_LINK_STREAM : BUS_LINK_SEQPACKET);
}

static void test_who_is_not_let_in_is_noted_once_for_all_times(void **state)
{
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *c;
    struct inside_closed e;

    (void) state;
    limits.clients_max = 1;
    w = world_new(&limits);
    c = world_join(w);
    for (unsigned i = 0; i < 5000; i++) {
        assert_null(world_attach(w));
    }
    e = inside_last_closed(w, c);
    assert_int_equal(e.number, 1);
    assert_int_equal(e.connection_id, 0);
    assert_int_equal(e.reason, BUS_GOODBYE_LIMIT);
    assert_int_equal(e.times, 5000);
    w->s.uid = 1001;
    assert_null(world_attach(w));
    e = inside_last_closed(w, c);
    assert_int_equal(e.number, 2);
    assert_int_equal(e.uid, 1001);
    world_free(w);
}

static void test_the_last_thousand_ends_are_known_also_to_another_router(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w);
    union inside_any any;
    unsigned n;

    for (unsigned i = 0; i < 1500; i++) {
        sim_disconnect(&w->s, world_join(w));
    }
    for (unsigned round = 0; round < 2; round++) {
        n = 0;
        heard.next = 0;
        do {
            struct inside_query q = {.after = heard.next};
            unsigned of_page = inside_ask_for(w, watch, BUS_INSIDE_CLOSED, q, &any);

            (void) inside_page_at(w, watch, BUS_INSIDE_CLOSED, &q, 0, &any);
            assert_int_equal(any.closed.number, 501 + n);
            assert_int_equal(any.closed.connection_id, 502 + n);
            n += of_page;
        } while (heard.next);
        assert_int_equal(n, CLOSED_MAX);
        assert_true(sim_replace(&w->s));
    }
    assert_int_equal(inside_ask_for(w, watch, BUS_INSIDE_CLOSED,
                                    (struct inside_query){.connection_id = 777}, &any),
                     1);
    assert_int_equal(any.closed.connection_id, 777);
}

static void test_what_clients_have_done_is_known_to_another_router(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *c = world_join(w);
    struct inside_client e;

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 3, .queue = 2});
    world_publish_n(w, p, "a", 9);
    sim_advance(&w->s, 4000 * MS);
    assert_true(sim_replace(&w->s));
    e = inside_client_of(w, watch, 3);
    assert_int_equal(e.lost_queue_full, 4);
    assert_int_equal(e.since_ns, 1700000000000000000);
    assert_int_equal(e.idle_ms, 4000);
    sim_settle(&w->s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_only_the_routers_user_and_root_may_ask),
        WORLD_CASE(test_rules_say_who_may_ask_for_what),
        WORLD_CASE(test_what_is_wrong_is_refused),
        WORLD_CASE(test_nobody_else_can_serve_or_publish_there),
        WORLD_CASE(test_a_request_to_all_is_answered_by_one),
        WORLD_CASE(test_monitors_see_requests_and_answers_of_the_router),
        WORLD_CASES(test_answers_that_are_not_read_wait_and_are_charged),
        cmocka_unit_test(test_requests_end_once_whatever_memory_fails),
        WORLD_CASE(test_reload_answers_what_came_of_it),
        WORLD_CASE(test_reload_takes_rights_from_who_has_asked),
        WORLD_CASE(test_drain_stops_as_a_signal_does),
        WORLD_CASES(test_disconnect_ends_one_client),
        WORLD_CASE(test_one_who_has_not_greeted_can_be_disconnected),
        WORLD_CASES(test_ends_are_known_with_their_reasons),
        cmocka_unit_test(test_who_is_not_let_in_is_noted_once_for_all_times),
        WORLD_CASE(test_the_last_thousand_ends_are_known_also_to_another_router),
        WORLD_CASE(test_what_clients_have_done_is_known_to_another_router),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
