/* SPDX-License-Identifier: MIT */
/* Clients in processes that are killed, stopped and started again: events, wills, interest and
 * silence through a real router and the library, over both kinds of link. */
#include <bus/bus.h>
#include <bus/events.h>
#include <bus/monitor.h>
#include "support/children.h"

#define TOKEN "an example of a secret"

struct seen {
    char text[4096];
    unsigned n;
};

static void note(struct seen *s, const char *what)
{
    size_t len = strlen(s->text);

    (void) snprintf(s->text + len, sizeof(s->text) - len, "%s;", what);
    s->n++;
}

static void on_message(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct bus_client_event e = BUS_CLIENT_EVENT_INIT;
    char text[600];

    (void) sub;
    if (bus_message_sender(m)->connection_id != 0) {
        (void) snprintf(text, sizeof(text), "%s=%.*s", bus_message_topic(m),
                        (int) bus_message_bytes(m), (const char *) bus_message_data(m));
        note(userdata, text);
        return;
    }
    assert_string_equal(bus_message_sender(m)->name, "bus-router");
    assert_int_equal(bus_message_sender(m)->uid, getuid());
    assert_int_equal(bus_client_event_parse(bus_message_data(m), bus_message_bytes(m), &e), 0);
    assert_int_equal(e.uid, getuid());
    assert_int_equal(e.gid, getgid());
    (void) snprintf(text, sizeof(text), "%s %s %d", e.name,
                    e.kind == BUS_CLIENT_JOINED ? "joined" : "left", (int) e.reason);
    note(userdata, text);
}

struct scene {
    struct router_fixture f;
    struct bus_conn *c;
    struct seen s;
    bool packets;
};

static const char *address(const struct scene *x)
{
    return x->packets ? x->f.seqpacket : x->f.stream;
}

/* A watcher of events and of everything below w, on the other kind of link than the others. */
static void scene_start(struct scene *x, bool packets)
{
    memset(x, 0, sizeof(*x));
    x->packets = packets;
    router_start(&x->f, NULL);
    assert_int_equal(bus_open(packets ? x->f.stream : x->f.seqpacket, NULL, &x->c), 0);
    assert_int_equal(bus_subscribe(x->c, BUS_EVENTS_CLIENTS, NULL, on_message, &x->s, NULL), 0);
    assert_int_equal(bus_subscribe(x->c, "w/#", NULL, on_message, &x->s, NULL), 0);
    assert_int_equal(bus_flush(x->c, FIXTURE_TIMEOUT_MS), 0);
}

static void scene_stop(struct scene *x)
{
    bus_close(x->c);
    router_stop(&x->f);
}

/* So many notes have come, and they are these. */
static void expect(struct scene *x, unsigned n, const char *due)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    while (x->s.n < n && clock_monotonic_ns() < deadline_ns) {
        assert_true(bus_wait(x->c, 100) >= 0);
        assert_true(bus_process(x->c) >= 0);
    }
    assert_string_equal(x->s.text, due);
    x->s = (struct seen){.n = 0};
}

struct mortal {
    const char *address;
    const char *body;
    uint32_t delay_ms;
    bool says_goodbye;
};

/* Leaves a will, says that it is in force, and waits for its end. */
static void child_mortal(struct child_self *self)
{
    const struct mortal *role = self->role;
    struct bus_will_opts will = BUS_WILL_OPTS_INIT;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;

    opts.name = "mortal";
    opts.resume_token = TOKEN;
    opts.resume_token_bytes = strlen(TOKEN);
    will.delay_ms = role->delay_ms;
    CHILD_CHECK(self, bus_open(role->address, &opts, &conn) == 0);
    CHILD_CHECK(self, bus_will(conn, "w/will", role->body, strlen(role->body), &will) == 0);
    CHILD_CHECK(self, bus_publish(conn, "w/life", role->body, strlen(role->body)) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    (void) child_wait(self, -1, -1);
    if (role->says_goodbye) {
        bus_close(conn);
    }
}

static void mortal_start(struct child *c, const struct mortal *role)
{
    child_start(c, child_mortal, role);
    child_expect_ready(c);
}

static void a_killed_client_leaves_its_will(bool packets)
{
    struct child c;
    struct scene x;

    scene_start(&x, packets);
    mortal_start(&c, &(struct mortal){.address = address(&x), .body = "1"});
    expect(&x, 2, "mortal joined 0;w/life=1;");
    child_kill9(&c);
    expect(&x, 2, "mortal left 0;w/will=1;");
    scene_stop(&x);
}
ON_BOTH_LINKS(a_killed_client_leaves_its_will)

static void one_that_says_goodbye_leaves_none(bool packets)
{
    struct child c;
    struct scene x;

    scene_start(&x, packets);
    mortal_start(&c, &(struct mortal){.address = address(&x), .body = "1", .says_goodbye = true});
    child_finish(&c);
    child_join(&c);
    child_forget(&c);
    /* whatever there is comes before what the next one does */
    mortal_start(&c, &(struct mortal){.address = address(&x), .body = "2"});
    expect(&x, 5, "mortal joined 0;w/life=1;mortal left 1;mortal joined 0;w/life=2;");
    child_kill9(&c);
    expect(&x, 2, "mortal left 0;w/will=2;");
    scene_stop(&x);
}
ON_BOTH_LINKS(one_that_says_goodbye_leaves_none)

struct asked {
    const char *name;
    uint64_t value;
    bool done;
};

static void on_counter(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                       enum bus_status status, void *userdata)
{
    struct asked *a = userdata;

    (void) conn;
    assert_int_equal(status, BUS_STATUS_OK);
    if (!entry) {
        a->done = true;
    } else if (strcmp(entry->counter->name, a->name) == 0) {
        a->value = entry->counter->value;
    }
}

static uint64_t counter(struct scene *x, const char *name)
{
    struct asked a = {.name = name, .value = UINT64_MAX};

    assert_int_equal(bus_snapshot(x->c, BUS_SNAPSHOT_COUNTERS, on_counter, &a), 0);
    while (!a.done) { /* it comes in parts */
        assert_int_equal(bus_flush(x->c, FIXTURE_TIMEOUT_MS), 0);
    }
    return a.value;
}

static void a_return_cancels_a_delayed_will(bool packets)
{
    struct child c;
    struct scene x;

    scene_start(&x, packets);
    mortal_start(&c, &(struct mortal){address(&x), "first", 3600000, false});
    child_kill9(&c);
    expect(&x, 3, "mortal joined 0;w/life=first;mortal left 0;");
    mortal_start(&c, &(struct mortal){address(&x), "second", 200, false});
    child_kill9(&c);
    expect(&x, 4, "mortal joined 0;w/life=second;mortal left 0;w/will=second;");
    assert_int_equal(counter(&x, "wills_cancelled"), 1);
    assert_int_equal(counter(&x, "wills_published"), 1);
    assert_int_equal(counter(&x, "wills_now"), 0);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_return_cancels_a_delayed_will)

static void a_delayed_will_is_not_published_after_a_return(bool packets)
{
    struct child a, b;
    struct scene x;

    scene_start(&x, packets);
    mortal_start(&a, &(struct mortal){address(&x), "first", 300, false});
    mortal_start(&b, &(struct mortal){address(&x), "second", 600, false});
    child_kill9(&a); /* while the second one is there: it has returned already */
    expect(&x, 5, "mortal joined 0;w/life=first;mortal joined 0;w/life=second;mortal left 0;");
    child_kill9(&b);
    expect(&x, 2, "mortal left 0;w/will=second;"); /* 600 ms later, and no first */
    scene_stop(&x);
}
ON_BOTH_LINKS(a_delayed_will_is_not_published_after_a_return)

static void a_stopped_router_says_nothing(bool packets)
{
    struct child c;
    struct scene x;

    scene_start(&x, packets);
    mortal_start(&c, &(struct mortal){.address = address(&x), .body = "1"});
    expect(&x, 2, "mortal joined 0;w/life=1;");
    router_stop(&x.f);
    while (bus_process(x.c) >= 0) {
        assert_true(bus_wait(x.c, FIXTURE_TIMEOUT_MS) != 0);
    }
    assert_string_equal(x.s.text, "");
    child_kill9(&c);
    bus_close(x.c);
}
ON_BOTH_LINKS(a_stopped_router_says_nothing)

/* ---- interest and silence ---- */

static void on_interest(struct bus_topic *topic, uint32_t subscriptions, void *userdata)
{
    char text[16];

    assert_int_equal(bus_topic_subscriptions(topic), subscriptions);
    (void) snprintf(text, sizeof(text), "%u", subscriptions);
    note(userdata, text);
}

static void interest_follows_subscribers_that_are_killed(bool packets)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct child_role role = {.topic = "t/#", .opts = BUS_SUB_OPTS_INIT};
    struct child a, b;
    struct scene x;
    struct bus_topic *t;

    memset(&x, 0, sizeof(x));
    router_start(&x.f, NULL);
    role.address = x.f.stream;
    x.packets = packets;
    assert_int_equal(bus_open(address(&x), NULL, &x.c), 0);
    opts.on_interest = on_interest;
    opts.userdata = &x.s;
    assert_int_equal(bus_advertise_with(x.c, "t/1", &opts, &t), 0);
    expect(&x, 1, "0;");
    child_start(&a, child_subscriber, &role);
    expect(&x, 1, "1;");
    child_start(&b, child_subscriber, &role);
    expect(&x, 1, "2;");
    child_kill9(&b);
    expect(&x, 1, "1;");
    child_kill9(&a);
    expect(&x, 1, "0;");
    bus_topic_unref(t);
    scene_stop(&x);
}
ON_BOTH_LINKS(interest_follows_subscribers_that_are_killed)

static void on_silence(struct bus_sub *sub, uint64_t since_ms, void *userdata)
{
    assert_true(since_ms >= 20);
    assert_string_equal(bus_sub_filter(sub), "w/quiet");
    note(userdata, "silence");
}

static void silence_is_told_once(bool packets)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *c;
    struct scene x;

    memset(&x, 0, sizeof(x));
    router_start(&x.f, NULL);
    x.packets = packets;
    assert_int_equal(bus_open(address(&x), NULL, &x.c), 0);
    assert_int_equal(bus_open(x.f.stream, NULL, &c), 0);
    opts.silence_ms = 20;
    opts.on_silence = on_silence;
    assert_int_equal(bus_subscribe(x.c, "w/quiet", &opts, on_message, &x.s, NULL), 0);
    expect(&x, 1, "silence;");
    assert_int_equal(bus_publish(c, "w/quiet", "!", 1), 0);
    expect(&x, 2, "w/quiet=!;silence;");
    bus_close(c);
    scene_stop(&x);
}
ON_BOTH_LINKS(silence_is_told_once)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(a_killed_client_leaves_its_will),
        BOTH_CASES(one_that_says_goodbye_leaves_none),
        BOTH_CASES(a_return_cancels_a_delayed_will),
        BOTH_CASES(a_delayed_will_is_not_published_after_a_return),
        BOTH_CASES(a_stopped_router_says_nothing),
        BOTH_CASES(interest_follows_subscribers_that_are_killed),
        BOTH_CASES(silence_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
