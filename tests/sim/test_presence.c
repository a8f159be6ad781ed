/* SPDX-License-Identifier: MIT */
/* Events when clients come and go, and wills: docs/protocol.md, section 15. Each case on both kinds
 * of link. Bodies of events and wills are in the transcripts:
 *
 *     MESSAGE subscription topic connection.sequence
 *       JOINED connection name / LEFT connection name REASON text / "body" [name=value]
 */
#include <inttypes.h>
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/world.h"
#include "wire/events.h"

static void print_event(struct world *w, struct sim_client *c, const struct frame *f)
{
    struct client_event e;

    assert_true(client_event_decode(f->body, f->body_bytes, &e));
    world_print(w, c, "  %s %" PRIu64 " %.*s", e.kind == CLIENT_JOINED ? "JOINED" : "LEFT",
                e.connection_id, (int) e.name.len, e.name.data);
    if (e.kind == CLIENT_LEFT) {
        world_print(w, c, " %s %.*s", NAME_OF(world_goodbye, e.reason), (int) e.text.len,
                    e.text.data);
    }
    world_print(w, c, "\n");
    assert_true(e.uid == 1000 || e.uid == 1001);
    assert_int_equal(e.gid, 1000);
    assert_int_equal(e.pid, 77);
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    struct world *w = world_of(s);

    world_on_frame(s, c, f, m);
    if (f->verb != VERB_MESSAGE) {
        return;
    }
    if (strncmp(c->topics[m->message.topic], "$bus/", 5) == 0) {
        assert_int_equal(c->senders[m->message.sender], 0);
        assert_int_equal(m->message.sequence, 0);
        print_event(w, c, f);
        return;
    }
    world_print(w, c, "  \"%.*s\"", (int) MIN(f->body_bytes, 40u), (const char *) f->body);
    for (size_t i = 0; i < m->message.n_headers; i++) {
        world_print(w, c, " %.*s=%.*s", (int) m->message.headers[i].name.len,
                    m->message.headers[i].name.data, (int) m->message.headers[i].value.len,
                    m->message.headers[i].value.data);
    }
    world_print(w, c, "\n");
}

static struct world *presence_world(const struct limits *limits)
{
    struct world *w = world_new(limits);

    w->s.on_frame = on_frame;
    w->s.looks_away = true;
    return w;
}

static int setup(void **state)
{
    *state = presence_world(NULL);
    return 0;
}

static int setup_streams(void **state)
{
    struct world *w = presence_world(NULL);

    w->on_streams = true;
    *state = w;
    return 0;
}

/* A further one, for clients on the same kind of link. */
static struct world *presence_like(const struct world *other, const struct limits *limits)
{
    struct world *w = presence_world(limits);

    w->on_streams = other->on_streams;
    return w;
}

static int teardown(void **state)
{
    const struct counters *k = router_counters(((struct world *) *state)->s.router);
    struct world *w = *state;

    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (w->s.clients[i].peer) {
            sim_disconnect(&w->s, &w->s.clients[i]);
        }
    }
    sim_work_off(&w->s);
    sim_advance(&w->s, UINT64_C(3600000) * MS);
    sim_work_off(&w->s);
    assert_int_equal(k->wills_now, 0);
    world_free(w);
    return 0;
}

/* ---- clients ---- */

static void hello(struct world *w, struct sim_client *c, const char *name, const char *token)
{
    struct wire_hello m = {1, 1, text_from(name), 0, text_from(token)};

    sim_send(&w->s, c, VERB_HELLO, &m, NULL, 0);
}

static struct sim_client *join_as(struct world *w, const char *name, const char *token)
{
    struct sim_client *c = world_attach(w);

    assert_non_null(c);
    world_clear(w, c);
    hello(w, c, name, token);
    sim_read(&w->s, c, 100);
    world_clear(w, c);
    return c;
}

static struct sim_client *join(struct world *w, const char *name)
{
    return join_as(w, name, "");
}

static void subscribe(struct world *w, struct sim_client *c, unsigned index, const char *filter)
{
    world_subscribe(w, c, index, &(struct world_sub){.filter = filter, .window = 1000});
}

/* One that sees all events and everything below "w". */
static struct sim_client *watcher(struct world *w)
{
    struct sim_client *c = join(w, "watcher");

    subscribe(w, c, 0, "$bus/client/#");
    subscribe(w, c, 1, "w/#");
    return c;
}

static void will_with(struct world *w, struct sim_client *c, const char *topic, const char *body,
                      uint32_t delay_ms)
{
    struct wire_header header = {text_from("h"), text_from("v")};
    struct wire_will m = {text_from(topic), 0, delay_ms, &header, *body == 'H'};

    sim_send(&w->s, c, VERB_WILL, &m, body, strlen(body));
}

static void will(struct world *w, struct sim_client *c, const char *topic, const char *body)
{
    will_with(w, c, topic, body, 0);
}

static void goodbye(struct world *w, struct sim_client *c)
{
    struct wire_goodbye m = {BUS_GOODBYE_NORMAL, {"", 0}};

    sim_send(&w->s, c, VERB_GOODBYE, &m, NULL, 0);
}

static void publish(struct world *w, struct sim_client *c, const char *topic, const char *body)
{
    struct wire_publish m = {.topic = text_from(topic), .key = {"", 0}};

    sim_send(&w->s, c, VERB_PUBLISH, &m, body, strlen(body));
}

/* The transcript after what the router has left for its next turn. */
static void expect(struct world *w, struct sim_client *c, const char *due)
{
    sim_work_off(&w->s);
    router_check(w->s.router);
    world_expect(w, c, due);
}

static void advance_ms(struct world *w, uint64_t ms)
{
    sim_advance(&w->s, ms * MS);
    sim_work_off(&w->s);
    router_check(w->s.router);
}

/* ---- events ---- */

static void test_events_of_coming_and_of_a_goodbye(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b");

    expect(w, a, "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n");
    goodbye(w, b);
    expect(w, a, "MESSAGE 1 $bus/client/2/left 0.0\n  LEFT 2 b NORMAL \n");
    world_expect(w, b, "GOODBYE NORMAL\n");
    expect(w, a, "");
}

static void test_event_of_a_broken_connection(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "");

    sim_disconnect(&w->s, b);
    expect(w, a,
           "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 \n"
           "MESSAGE 1 $bus/client/2/left 0.0\n  LEFT 2  NONE \n");
}

static void test_event_of_a_protocol_error_once(void **state)
{
    static const uint8_t bad[8] = {1, 0, 0, 0, 0, 0, VERB_PING, 0};
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b");

    expect(w, a, "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n");
    sim_send_raw(&w->s, b, bad, sizeof(bad));
    expect(w, a,
           "MESSAGE 1 $bus/client/2/left 0.0\n"
           "  LEFT 2 b PROTOCOL_ERROR a body exceeds inline_max, or the verb has no body\n");
    sim_disconnect(&w->s, b);
    expect(w, a, "");
}

static void test_one_client_can_be_watched(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join(w, "b"), *c = join(w, "c");

    subscribe(w, a, 0, "$bus/client/3/+");
    subscribe(w, a, 1, "$bus/client/+/left");
    sim_disconnect(&w->s, b);
    sim_disconnect(&w->s, c);
    expect(w, a,
           "MESSAGE 2 $bus/client/2/left 0.0\n  LEFT 2 b NONE \n"
           "MESSAGE 1 $bus/client/3/left 0.0\n  LEFT 3 c NONE \n"
           "MESSAGE 2 $bus/client/3/left 0.0\n  LEFT 3 c NONE \n");
}

static void test_who_never_joined_never_leaves(void **state)
{
    struct wire_hello wrong = {7, 9, text_from("x"), 0, {"", 0}};
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = world_attach(w);
    struct sim_client *c = world_attach(w), *d = world_attach(w);

    sim_disconnect(&w->s, c);
    sim_send(&w->s, d, VERB_HELLO, &wrong, NULL, 0);
    advance_ms(w, 6000);
    sim_read(&w->s, b, 10);
    assert_int_equal(router_counters(w->s.router)->hello_timeouts, 1);
    expect(w, a, "");
}

static void test_joined_comes_before_the_first_publish(void **state)
{
    struct world *w = *state;
    struct wire_hello m = {1, 1, text_from("b"), 0, {"", 0}};
    struct wire_publish p = {.topic = text_from("w/x"), .key = {"", 0}};
    struct sim_client *a = watcher(w), *b = world_attach(w);
    uint8_t both[512];
    size_t n, k;

    n = (size_t) codec_encode(&w->s.arena, VERB_HELLO, &m, both + 8, 200);
    frame_write_prefix(both, VERB_HELLO, n, 0);
    k = (size_t) codec_encode(&w->s.arena, VERB_PUBLISH, &p, both + 8 + n + 8, 200);
    frame_write_prefix(both + 8 + n, VERB_PUBLISH, k, 0);
    sim_send_raw(&w->s, b, both, n + k + 16);
    world_expect(w, a,
                 "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n"
                 "MESSAGE 2 w/x 2.1\n  \"\"\n");
}

static void test_left_comes_after_what_was_published_and_before_the_next_joined(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b");

    expect(w, a, "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n");
    publish(w, b, "w/x", "last");
    sim_disconnect(&w->s, b);
    join(w, "b");
    expect(w, a,
           "MESSAGE 2 w/x 2.1\n  \"last\"\n"
           "MESSAGE 1 $bus/client/2/left 0.0\n  LEFT 2 b NONE \n"
           "MESSAGE 1 $bus/client/3/joined 0.0\n  JOINED 3 b\n");
}

static void test_nothing_is_published_for_nobody(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a");

    subscribe(w, a, 0, "#");
    join(w, "b");
    expect(w, a, "");
    assert_int_equal(router_counters(w->s.router)->messages_published, 0);
    assert_int_equal(router_counters(w->s.router)->events_published, 0);
}

static struct sim_client *monitor(struct world *w, const char *filter)
{
    struct text f = text_from(filter ? filter : "");
    struct wire_monitor m = {.filters = &f, .n_filters = filter != NULL};
    struct sim_client *c = join(w, "monitor");

    c->monitoring = true;
    sim_send(&w->s, c, VERB_MONITOR, &m, NULL, 0);
    world_expect(w, c, "STATUS OK MONITOR\n");
    return c;
}

static void test_monitors_see_events_that_somebody_wants(void **state)
{
    struct world *w = *state;
    struct sim_client *m = monitor(w, NULL), *a, *b = join(w, "b");

    sim_disconnect(&w->s, b);
    expect(w, m, "");
    a = join(w, "a");
    subscribe(w, a, 0, "$bus/client/+/joined");
    b = join(w, "b");
    expect(w, m, "MONITORED 1 $bus/client/4/joined 0.0 15/15 OK [3/1 DELIVERED NONE 0]\n");
    sim_disconnect(&w->s, b);
    expect(w, m, "");
}

static void test_a_monitor_can_ask_for_events(void **state)
{
    struct world *w = *state;
    struct sim_client *m = monitor(w, "$bus/client/+/left"), *b = join(w, "b");

    sim_disconnect(&w->s, b);
    expect(w, m, "MONITORED 1 $bus/client/2/left 0.0 15/15 OK\n");
}

static void test_nothing_is_said_when_the_router_stops(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b");

    expect(w, a, "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n");
    will(w, b, "w/x", "will");
    will_with(w, b, "w/y", "later", 100);
    router_shutdown(w->s.router, &w->s.now);
    expect(w, a, "GOODBYE SHUTDOWN\n");
    assert_int_equal(router_counters(w->s.router)->wills_now, 0);
}

static void test_an_event_ends_one_who_is_slow(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b"), *c;

    world_subscribe(
        w, b, 0,
        &(struct world_sub){
            .filter = "$bus/client/#", .policy = BUS_POLICY_DISCONNECT, .window = 1, .queue = 1});
    will(w, b, "w/b", "slow");
    expect(w, a, "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n");
    c = join(w, "c");
    sim_disconnect(&w->s, c);
    join(w, "d");
    expect(w, a,
           "MESSAGE 1 $bus/client/3/joined 0.0\n  JOINED 3 c\n"
           "MESSAGE 1 $bus/client/3/left 0.0\n  LEFT 3 c NONE \n"
           "MESSAGE 1 $bus/client/4/joined 0.0\n  JOINED 4 d\n"
           "MESSAGE 1 $bus/client/2/left 0.0\n"
           "  LEFT 2 b SLOW_CONSUMER a subscription with policy disconnect\n"
           "MESSAGE 2 w/b 2.0\n  \"slow\"\n");
    /* what it got before its end */
    expect(w, b, "MESSAGE 1 $bus/client/3/joined 0.0\n  JOINED 3 c\nGOODBYE SLOW_CONSUMER\n");
}

static void test_events_are_not_missed_without_memory(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b");

    sim_work_off(&w->s);
    sim_read(&w->s, a, 100);
    world_clear(w, a);
    will(w, b, "w/b", "gone");
    sim_disconnect(&w->s, b);
    failmalloc_arm_from(1);
    sim_advance(&w->s, 0);
    sim_advance(&w->s, 60 * MS);
    assert_true(failmalloc_disarm() > 0);
    router_check(w->s.router);
    world_expect(w, a, "");
    advance_ms(w, 60);
    expect(w, a,
           "MESSAGE 1 $bus/client/2/left 0.0\n  LEFT 2 b NONE \n"
           "MESSAGE 2 w/b 2.0\n  \"gone\"\n");
}

/* Counts joined and left of each client, and what was lost. */
static struct {
    uint8_t joined[4096], left[4096];
    uint64_t n, lost;
} storm;

static void on_frame_storm(struct sim *s, struct sim_client *c, const struct frame *f,
                           const union wire_any *m)
{
    struct client_event e;

    (void) s;
    if (f->verb == VERB_LOSS) {
        storm.lost += m->loss.count;
    } else if (f->verb == VERB_MESSAGE) {
        c->subs[0].consumed++;
        c->subs[0].consumed_bytes += f->body_bytes;
        storm.n++;
        assert_true(client_event_decode(f->body, f->body_bytes, &e));
        assert_true(e.connection_id < 4096);
        if (e.kind == CLIENT_JOINED) {
            assert_int_equal(storm.joined[e.connection_id]++, 0);
            assert_int_equal(storm.left[e.connection_id], 0);
        } else {
            assert_int_equal(storm.left[e.connection_id]++, 0);
        }
    }
}

static void storm_run(struct world *w, uint32_t queue, bool reading)
{
    struct sim_client *a = join(w, "a"), *others[8] = {NULL};
    unsigned n_pairs = 0;

    memset(&storm, 0, sizeof(storm));
    world_subscribe(w, a, 0,
                    &(struct world_sub){.filter = "$bus/client/#", .window = 64, .queue = queue});
    w->s.on_frame = on_frame_storm;
    for (unsigned i = 0; i < 1000; i++) {
        struct sim_client **c = &others[rng_below(&w->s.rng, 8)];

        if (*c) {
            sim_disconnect(&w->s, *c);
        }
        *c = join(w, "x");
        if (rng_below(&w->s.rng, 4) == 0) {
            sim_advance(&w->s, MS);
        }
        if (reading) {
            sim_read(&w->s, a, 10);
            sim_give_credit(&w->s, a, 0);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        if (others[i]) {
            sim_disconnect(&w->s, others[i]);
        }
    }
    for (unsigned i = 0; i < 200; i++) {
        sim_work_off(&w->s);
        sim_read(&w->s, a, 100);
        sim_give_credit(&w->s, a, 0);
    }
    assert_int_equal(storm.n + storm.lost, 2000);
    for (unsigned i = 0; i < 4096; i++) {
        n_pairs += storm.joined[i] && storm.left[i];
    }
    assert_true(storm.lost > 0 || n_pairs == 1000);
    assert_true(reading == (storm.lost == 0));
}

static void test_a_storm_of_clients_is_seen_whole(void **state)
{
    storm_run(*state, 4000, true);
}

static void test_a_storm_that_is_not_read_is_reported_lost(void **state)
{
    storm_run(*state, 100, false);
}

/* For want of memory nothing is published for a while: what waits for that is bounded. */
static void test_ends_that_wait_are_bounded(void **state)
{
    struct limits l = sim_small_limits();
    struct sim_client *a, *b;
    struct world *w;
    unsigned n = 0;

    l.clients_max = 4;
    w = presence_like(*state, &l);
    a = watcher(w);
    sim_disconnect(&w->s, join(w, "b"));
    failmalloc_arm_from(1);
    sim_advance(&w->s, 0);
    assert_true(failmalloc_disarm() > 0);
    for (b = world_attach(w); b && n < 100; b = world_attach(w), n++) {
        hello(w, b, "b", "");
        sim_disconnect(&w->s, b);
    }
    assert_int_equal(n, 3);
    assert_int_equal(router_counters(w->s.router)->clients_refused, 1);
    router_check(w->s.router);
    advance_ms(w, 60);
    assert_non_null(world_attach(w));
    expect(w, a,
           "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n"
           "MESSAGE 1 $bus/client/2/left 0.0\n  LEFT 2 b NONE \n"
           "MESSAGE 1 $bus/client/3/joined 0.0\n  JOINED 3 b\n"
           "MESSAGE 1 $bus/client/3/left 0.0\n  LEFT 3 b NONE \n"
           "MESSAGE 1 $bus/client/4/joined 0.0\n  JOINED 4 b\n"
           "MESSAGE 1 $bus/client/4/left 0.0\n  LEFT 4 b NONE \n"
           "MESSAGE 1 $bus/client/5/joined 0.0\n  JOINED 5 b\n"
           "MESSAGE 1 $bus/client/5/left 0.0\n  LEFT 5 b NONE \n");
    world_free(w);
}

/* ---- wills ---- */

static void test_a_will_follows_a_death(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b");

    will(w, b, "w/1", "one");
    will(w, b, "w/2", "Headed");
    will(w, b, "w/1", "one again");
    publish(w, b, "w/x", "last");
    assert_int_equal(router_counters(w->s.router)->wills_now, 2);
    sim_disconnect(&w->s, b);
    expect(w, a,
           "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n"
           "MESSAGE 2 w/x 2.1\n  \"last\"\n"
           "MESSAGE 1 $bus/client/2/left 0.0\n  LEFT 2 b NONE \n"
           "MESSAGE 2 w/2 2.0\n  \"Headed\" h=v\n"
           "MESSAGE 2 w/1 2.0\n  \"one again\"\n");
    assert_int_equal(router_counters(w->s.router)->wills_published, 2);
}

static void test_no_will_after_goodbye(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join(w, "b");

    subscribe(w, a, 1, "w/#");
    will(w, b, "w/1", "one");
    goodbye(w, b);
    assert_int_equal(router_counters(w->s.router)->wills_now, 0);
    sim_disconnect(&w->s, b);
    expect(w, a, "");
}

static void test_a_will_follows_an_end_by_the_router(void **state)
{
    static const uint8_t bad[8] = {1, 0, 0, 0, 0, 0, VERB_PING, 0};
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join(w, "b");

    subscribe(w, a, 1, "w/#");
    will(w, b, "w/1", "one");
    sim_send_raw(&w->s, b, bad, sizeof(bad));
    expect(w, a, "MESSAGE 2 w/1 2.0\n  \"one\"\n");
    sim_disconnect(&w->s, b);
    expect(w, a, "");
}

static void test_a_will_can_be_cleared(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join(w, "b");
    struct wire_will clear = {text_from("w/1"), 1, 0};

    subscribe(w, a, 1, "w/#");
    will(w, b, "w/1", "one");
    will(w, b, "w/2", "two");
    sim_send(&w->s, b, VERB_WILL, &clear, NULL, 0);
    sim_send(&w->s, b, VERB_WILL, &clear, NULL, 0);
    world_expect(w, b, "");
    sim_disconnect(&w->s, b);
    expect(w, a, "MESSAGE 2 w/2 2.0\n  \"two\"\n");
}

static void refused(struct world *w, struct sim_client *c, const struct wire_will *m,
                    size_t body_bytes, const char *due)
{
    static uint8_t body[70000];

    sim_send(&w->s, c, VERB_WILL, m, body, body_bytes);
    world_expect(w, c, due);
}

static void test_refusals_of_wills(void **state)
{
    struct world *w = *state;
    struct sim_client *b = join(w, "b"), *m;
    struct wire_header nameless = {text_from(""), text_from("v")};
    static char large[65480];
    struct wire_header huge = {text_from("h"), {large, sizeof(large)}};

    memset(large, 'x', sizeof(large));
    refused(w, b, &(struct wire_will){text_from("a/+")}, 0, "STATUS INVALID_TOPIC WILL\n");
    refused(w, b, &(struct wire_will){text_from("")}, 0, "STATUS INVALID_TOPIC WILL\n");
    refused(w, b, &(struct wire_will){text_from("$bus/x")}, 0, "STATUS DENIED WILL\n");
    refused(w, b, &(struct wire_will){text_from("a"), 2}, 0, "STATUS INVALID_ARGUMENT WILL\n");
    refused(w, b, &(struct wire_will){text_from("a"), 0, 3600001}, 0, "STATUS LIMIT WILL\n");
    refused(w, b, &(struct wire_will){text_from("a"), 0, 0, &nameless, 1}, 0,
            "STATUS INVALID_ARGUMENT WILL\n");
    refused(w, b, &(struct wire_will){text_from("a"), 0, 0, &huge, 1}, 0, "STATUS LIMIT WILL\n");
    for (unsigned i = 0; i < 16; i++) {
        char topic[8];

        snprintf(topic, sizeof(topic), "a/%u", i);
        will(w, b, topic, "x");
    }
    world_expect(w, b, "");
    will(w, b, "a/3", "in the place of another");
    world_expect(w, b, "");
    will(w, b, "a/16", "x");
    world_expect(w, b, "STATUS LIMIT WILL\n");
    m = monitor(w, "x");
    will(w, m, "a", "x");
    world_expect(w, m, "STATUS UNEXPECTED WILL\n");
    assert_int_equal(router_counters(w->s.router)->wills_now, 16);
}

static void test_a_large_will_is_refused(void **state)
{
    struct limits l = sim_small_limits();
    struct world *w;
    struct sim_client *b;

    l.will_bytes_max = 100;
    l.client_bytes_max = 64 * 1024;
    w = presence_like(*state, &l);
    b = join(w, "b");
    refused(w, b, &(struct wire_will){text_from("a")}, 100, "");
    refused(w, b, &(struct wire_will){text_from("a")}, 101, "STATUS LIMIT WILL\n");
    assert_int_equal(router_counters(w->s.router)->wills_now, 1);
    sim_disconnect(&w->s, b);
    sim_work_off(&w->s);
    world_free(w);
}

static void test_a_will_is_charged_to_its_client(void **state)
{
    struct limits l = sim_small_limits();
    struct world *w;
    struct sim_client *b;

    l.client_bytes_max = 64 * 1024;
    w = presence_like(*state, &l);
    b = join(w, "b");
    refused(w, b, &(struct wire_will){text_from("a")}, 8000, "");
    for (unsigned i = 0; i < 6; i++) {
        refused(w, b, &(struct wire_will){text_from("a")}, 8000, ""); /* each instead of the last */
    }
    for (char topic[] = "b"; *topic < 'k'; ++*topic) {
        struct wire_will m = {text_from(topic)};
        static uint8_t body[8000];

        sim_send(&w->s, b, VERB_WILL, &m, body, sizeof(body));
    }
    sim_read(&w->s, b, 100);
    assert_non_null(strstr(w->text[b - w->s.clients], "STATUS LIMIT WILL\n"));
    sim_disconnect(&w->s, b);
    sim_work_off(&w->s);
    world_free(w);
}

static void test_a_will_without_memory(void **state)
{
    struct world *w = *state;
    struct sim_client *b = join(w, "b");

    failmalloc_arm(1);
    will(w, b, "a", "x");
    assert_int_equal(failmalloc_disarm(), 1);
    world_expect(w, b, "STATUS NO_MEMORY WILL\n");
    assert_int_equal(router_counters(w->s.router)->wills_now, 0);
}

/* ---- delays and returns ---- */

static void test_a_delayed_will(void **state)
{
    struct world *w = *state;
    struct sim_client *a = watcher(w), *b = join(w, "b");

    will_with(w, b, "w/1", "in 100 ms", 100);
    will_with(w, b, "w/2", "in 50 ms", 50);
    will(w, b, "w/3", "now");
    sim_disconnect(&w->s, b);
    expect(w, a,
           "MESSAGE 1 $bus/client/2/joined 0.0\n  JOINED 2 b\n"
           "MESSAGE 1 $bus/client/2/left 0.0\n  LEFT 2 b NONE \n"
           "MESSAGE 2 w/3 2.0\n  \"now\"\n");
    advance_ms(w, 49);
    expect(w, a, "");
    advance_ms(w, 1);
    expect(w, a, "MESSAGE 2 w/2 2.0\n  \"in 50 ms\"\n");
    advance_ms(w, 49);
    expect(w, a, "");
    assert_int_equal(router_counters(w->s.router)->wills_now, 1);
    advance_ms(w, 1);
    expect(w, a, "MESSAGE 2 w/1 2.0\n  \"in 100 ms\"\n");
}

static void test_a_return_cancels_it(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join_as(w, "b", "secret");

    subscribe(w, a, 1, "w/#");
    will_with(w, b, "w/1", "later", 100);
    will_with(w, b, "w/2", "later", 200);
    will(w, b, "w/3", "now");
    sim_disconnect(&w->s, b);
    expect(w, a, "MESSAGE 2 w/3 2.0\n  \"now\"\n");
    advance_ms(w, 99);
    join_as(w, "b", "secret");
    assert_int_equal(router_counters(w->s.router)->wills_cancelled, 2);
    assert_int_equal(router_counters(w->s.router)->wills_now, 0);
    advance_ms(w, 1000);
    expect(w, a, "");
}

static void test_a_return_in_the_same_turn_cancels_it(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join_as(w, "b", "secret");

    subscribe(w, a, 1, "w/#");
    will_with(w, b, "w/1", "later", 100);
    sim_disconnect(&w->s, b);
    join_as(w, "b", "secret");
    advance_ms(w, 1000);
    expect(w, a, "");
    assert_int_equal(router_counters(w->s.router)->wills_cancelled, 1);
}

static void test_a_return_before_the_end_cancels_it(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join_as(w, "b", "secret"), *again;

    subscribe(w, a, 1, "w/#");
    will_with(w, b, "w/1", "old", 100);
    again = join_as(w, "b", "secret");
    will_with(w, again, "w/1", "new", 100);
    sim_disconnect(&w->s, b);
    advance_ms(w, 1000);
    expect(w, a, "");
    sim_disconnect(&w->s, again);
    advance_ms(w, 1000);
    advance_ms(w, 1000);
    expect(w, a, "MESSAGE 2 w/1 3.0\n  \"new\"\n");
}

static void test_others_do_not_return(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join_as(w, "b", "secret");

    subscribe(w, a, 1, "w/#");
    will_with(w, b, "w/1", "later", 100);
    sim_disconnect(&w->s, b);
    sim_work_off(&w->s);
    join_as(w, "b", "Secret");
    join_as(w, "b", "");
    join_as(w, "c", "secret");
    join_as(w, "bs", "ecret");
    w->s.uid = 1001;
    join_as(w, "b", "secret");
    w->s.uid = 1000;
    advance_ms(w, 100);
    expect(w, a, "MESSAGE 2 w/1 2.0\n  \"later\"\n");
    assert_int_equal(router_counters(w->s.router)->wills_cancelled, 0);
}

static void test_nobody_returns_without_a_name_or_a_token(void **state)
{
    struct world *w = *state;
    struct sim_client *a = join(w, "a"), *b = join_as(w, "", "secret"), *c = join_as(w, "c", "");

    subscribe(w, a, 1, "w/#");
    will_with(w, b, "w/b", "later", 100);
    will_with(w, c, "w/c", "later", 100);
    sim_disconnect(&w->s, b);
    sim_disconnect(&w->s, c);
    join_as(w, "", "secret");
    join_as(w, "c", "");
    advance_ms(w, 0);
    advance_ms(w, 100);
    expect(w, a, "MESSAGE 2 w/b 2.0\n  \"later\"\nMESSAGE 2 w/c 3.0\n  \"later\"\n");
}

static void test_a_token_may_have_64_bytes(void **state)
{
    char token[66];
    struct world *w = *state;
    struct sim_client *b;

    memset(token, 't', 65);
    token[65] = '\0';
    b = world_attach(w);
    world_clear(w, b);
    hello(w, b, "b", token);
    world_expect(w, b, "GOODBYE PROTOCOL_ERROR\n");
    token[64] = '\0';
    b = world_attach(w);
    world_clear(w, b);
    hello(w, b, "b", token);
    world_expect(w, b, "WELCOME\n");
}

static void test_a_user_has_room_for_so_many_that_wait(void **state)
{
    struct limits l = sim_small_limits();
    struct world *w;
    struct sim_client *a, *b;

    l.user_will_bytes_max = 1024;
    w = presence_like(*state, &l);
    a = join(w, "a");
    subscribe(w, a, 1, "w/#");
    b = join(w, "b");
    will_with(w, b, "w/1", "waits", 100);
    will_with(w, b, "w/2", "waits", 100);
    will_with(w, b, "w/3", "cannot wait", 100);
    sim_disconnect(&w->s, b);
    expect(w, a, "MESSAGE 2 w/3 2.0\n  \"cannot wait\"\n");
    advance_ms(w, 100);
    expect(w, a, "MESSAGE 2 w/1 2.0\n  \"waits\"\nMESSAGE 2 w/2 2.0\n  \"waits\"\n");
    world_free(w);
}

static void test_a_router_that_stops_forgets_what_waits(void **state)
{
    struct world *w = presence_like(*state, NULL);
    struct sim_client *b = join_as(w, "b", "secret");

    will_with(w, b, "w/1", "later", 100);
    will(w, b, "w/2", "now");
    sim_disconnect(&w->s, b);
    sim_work_off(&w->s);
    b = join_as(w, "c", "secret");
    will_with(w, b, "w/1", "later", 100);
    sim_disconnect(&w->s, b); /* and has not even been looked at */
    assert_int_equal(router_counters(w->s.router)->wills_now, 2);
    sim_fini(&w->s); /* which asserts that everything is paid back */
    free(w);
}

/* A life with everything, with each allocation failing once: the contract holds, nothing is left
 * over, and no event is silently missing. */
static void test_a_life_with_failing_allocations(void **state)
{
    FOR_EACH_FAILING_MALLOC (n) {
        struct world *w;
        struct sim_client *a, *b;
        unsigned n_joined = 0, n_left = 0;
        bool greeted;

        (void) failmalloc_disarm();
        w = presence_like(*state, NULL);
        w->s.starving = true;
        a = watcher(w);
        b = world_attach(w);
        world_clear(w, b);
        failmalloc_arm(n);
        hello(w, b, "b", "secret");
        greeted = !peer_is_closing(b->peer);
        if (greeted) {
            will_with(w, b, "w/1", "later", 100);
            will(w, b, "w/2", "now");
        }
        sim_disconnect(&w->s, b);
        for (unsigned i = 0; i < 6; i++) {
            sim_advance(&w->s, 60 * MS);
            router_check(w->s.router);
        }
        (void) failmalloc_disarm();
        sim_work_off(&w->s);
        sim_read(&w->s, a, 100);
        for (const char *p = w->text[a - w->s.clients]; (p = strstr(p, "JOINED 2")); p++) {
            n_joined++;
        }
        for (const char *p = w->text[a - w->s.clients]; (p = strstr(p, "LEFT 2")); p++) {
            n_left++;
        }
        if (!strstr(w->text[a - w->s.clients], "LOSS")) {
            assert_int_equal(n_joined, greeted);
            assert_int_equal(n_left, greeted);
        }
        world_free(w);
    }
}

#define CASES(f) WORLD_CASES_IN(f, setup, setup_streams, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(test_events_of_coming_and_of_a_goodbye),
        CASES(test_event_of_a_broken_connection),
        CASES(test_event_of_a_protocol_error_once),
        CASES(test_one_client_can_be_watched),
        CASES(test_who_never_joined_never_leaves),
        CASES(test_joined_comes_before_the_first_publish),
        CASES(test_left_comes_after_what_was_published_and_before_the_next_joined),
        CASES(test_nothing_is_published_for_nobody),
        CASES(test_monitors_see_events_that_somebody_wants),
        CASES(test_a_monitor_can_ask_for_events),
        CASES(test_nothing_is_said_when_the_router_stops),
        CASES(test_an_event_ends_one_who_is_slow),
        CASES(test_events_are_not_missed_without_memory),
        CASES(test_a_storm_of_clients_is_seen_whole),
        CASES(test_a_storm_that_is_not_read_is_reported_lost),
        CASES(test_ends_that_wait_are_bounded),
        CASES(test_a_will_follows_a_death),
        CASES(test_no_will_after_goodbye),
        CASES(test_a_will_follows_an_end_by_the_router),
        CASES(test_a_will_can_be_cleared),
        CASES(test_refusals_of_wills),
        CASES(test_a_large_will_is_refused),
        CASES(test_a_will_is_charged_to_its_client),
        CASES(test_a_will_without_memory),
        CASES(test_a_delayed_will),
        CASES(test_a_return_cancels_it),
        CASES(test_a_return_in_the_same_turn_cancels_it),
        CASES(test_a_return_before_the_end_cancels_it),
        CASES(test_others_do_not_return),
        CASES(test_nobody_returns_without_a_name_or_a_token),
        CASES(test_a_token_may_have_64_bytes),
        CASES(test_a_user_has_room_for_so_many_that_wait),
        CASES(test_a_router_that_stops_forgets_what_waits),
        CASES(test_a_life_with_failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
