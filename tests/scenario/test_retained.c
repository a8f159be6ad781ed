/* SPDX-License-Identifier: MIT */
/* Retained values through real processes: what was kept and what follows join without gap or
 * duplicate while a publisher does not pause, over both kinds of link. */
#include <bus/bus.h>
#include <errno.h>
#include "support/children.h"

#define KEPT 50u
#define TOPICS 5u
#define SUBSCRIBERS 15u
#define LARGE 200000u

/* One subscription; numbers of messages count up over all topics. */
struct seen {
    uint64_t last; /* of all */
    unsigned n_retained, n_live, n_bad;
    unsigned n_lost;
    uint64_t said; /* by on_live */
    bool is_live;
    size_t bytes; /* of the last */
};

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;
    uint64_t number;

    (void) sub;
    memcpy(&number, bus_message_data(message), sizeof(number));
    s->bytes = bus_message_bytes(message);
    if (bus_message_is_retained(message)) {
        s->n_bad += s->is_live;
        s->n_retained++;
    } else {
        s->n_bad += !s->is_live;
        s->n_live++;
    }
    /* everything published is kept, KEPT of each of TOPICS in turn: so each is the next one */
    s->n_bad += s->last != 0 && number != s->last + 1;
    s->last = number;
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    s->n_lost += (unsigned) loss->count;
}

static void on_live(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    s->is_live = true;
    s->said = messages;
}

static struct bus_sub *subscribe(struct bus_conn *c, const char *filter, enum bus_retained retained,
                                 struct seen *s)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub;

    memset(s, 0, sizeof(*s));
    opts.retained = retained;
    opts.policy = BUS_POLICY_BLOCK;
    opts.window_messages = 60; /* less than is kept */
    opts.on_loss = on_loss;
    opts.on_live = on_live;
    assert_int_equal(bus_subscribe(c, filter, &opts, on_message, s, &sub), 0);
    return sub;
}

struct publisher {
    struct bus_conn *conn;
    struct bus_topic *topics[TOPICS];
    uint64_t n;
};

static void publisher_open(struct publisher *p, const char *address)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;

    memset(p, 0, sizeof(*p));
    opts.retain_messages = KEPT;
    assert_int_equal(bus_open(address, NULL, &p->conn), 0);
    for (unsigned i = 0; i < TOPICS; i++) {
        char name[16];

        (void) snprintf(name, sizeof(name), "t/%u", i);
        assert_int_equal(bus_advertise_with(p->conn, name, &opts, &p->topics[i]), 0);
    }
}

/* As many as may go now. */
static void publisher_go(struct publisher *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t number = p->n + 1;
        int r = bus_topic_publish(p->topics[p->n % TOPICS], &number, sizeof(number), NULL);

        if (r == -EAGAIN) {
            break;
        }
        assert_int_equal(r, 0);
        p->n++;
    }
    assert_true(bus_process(p->conn) >= 0);
}

static void join_under_load(const char *address, const char *other)
{
    struct publisher p;
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    publisher_open(&p, address);
    while (p.n < KEPT * TOPICS) {
        publisher_go(&p, 100);
    }
    assert_int_equal(bus_flush(p.conn, 5000), 0);
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        struct bus_conn *c;
        struct bus_sub *sub;
        struct seen s;

        assert_int_equal(bus_open(other, NULL, &c), 0);
        publisher_go(&p, 7);
        sub = subscribe(c, "t/+", BUS_RETAINED_ALL, &s);
        while (s.n_live < 100 && clock_monotonic_ns() < deadline_ns) {
            publisher_go(&p, 10);
            assert_true(bus_wait(c, 1) >= 0);
            assert_true(bus_process(c) >= 0);
        }
        assert_true(s.n_live >= 100);
        assert_int_equal(s.n_retained, KEPT * TOPICS);
        assert_int_equal(s.said, KEPT * TOPICS);
        assert_int_equal(s.n_bad + s.n_lost, 0);
        bus_sub_unref(sub);
        bus_close(c);
    }
    bus_close(p.conn);
}

static void test_kept_and_live_join_without_gap_or_duplicate(void **state)
{
    (void) state;
    for (unsigned packets = 0; packets < 2; packets++) {
        struct router_fixture f;

        router_start(&f, NULL);
        join_under_load(packets ? f.seqpacket : f.stream, packets ? f.stream : f.seqpacket);
        router_stop(&f);
    }
}

static void settle(struct bus_conn *c, const struct seen *s)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    while (!s->is_live && clock_monotonic_ns() < deadline_ns) {
        assert_true(bus_wait(c, 100) >= 0);
        assert_true(bus_process(c) >= 0);
    }
    assert_true(s->is_live);
}

/* What the last value of a topic is, for who comes now. Returns its length, 0 if there is none. */
static size_t last_of(const char *address, const char *topic)
{
    struct bus_conn *c;
    struct seen s;

    assert_int_equal(bus_open(address, NULL, &c), 0);
    (void) subscribe(c, topic, BUS_RETAINED_LAST, &s);
    settle(c, &s);
    assert_int_equal(s.n_retained, s.said);
    bus_close(c);
    return s.n_retained ? s.bytes : 0;
}

static void keep_one(struct router_fixture *f, bool owned, size_t bytes, struct bus_conn **ret)
{
    static uint8_t body[LARGE];
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct bus_topic *t;

    opts.retain_messages = 1;
    opts.flags = owned ? BUS_TOPIC_OWNED : 0;
    assert_int_equal(bus_open(f->seqpacket, NULL, ret), 0);
    assert_int_equal(bus_advertise_with(*ret, "one", &opts, &t), 0);
    assert_int_equal(bus_topic_publish(t, body, bytes, NULL), 0);
    assert_int_equal(bus_flush(*ret, 5000), 0);
}

static void test_values_outlive_their_publisher_or_go_with_it(void **state)
{
    static const size_t sizes[] = {8, LARGE};

    (void) state;
    for (unsigned i = 0; i < 4; i++) {
        struct router_fixture f;
        bool owned = i & 1;
        struct bus_conn *p;

        router_start(&f, NULL);
        keep_one(&f, owned, sizes[i / 2], &p);
        assert_int_equal(last_of(f.stream, "one"), sizes[i / 2]);
        bus_close(p);
        assert_int_equal(last_of(f.stream, "one"), owned ? 0 : sizes[i / 2]);
        assert_int_equal(last_of(f.seqpacket, "#"), owned ? 0 : sizes[i / 2]);
        router_stop(&f);
    }
}

static void test_clear_and_expiry(void **state)
{
    struct bus_publish_opts publish = BUS_PUBLISH_OPTS_INIT;
    struct router_fixture f;
    struct bus_conn *p;
    struct bus_conn *c;
    uint64_t deadline_ns;
    struct seen s;

    (void) state;
    router_start(&f, NULL);
    keep_one(&f, false, 8, &p);
    assert_int_equal(bus_clear(p, "one"), 0);
    assert_int_equal(bus_flush(p, 5000), 0);
    assert_int_equal(last_of(f.stream, "one"), 0);
    publish.ttl_ms = 1;
    assert_int_equal(bus_publish_with(p, "one", "12345678", 8, &publish), 0);
    assert_int_equal(bus_flush(p, 5000), 0);
    deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
    while (last_of(f.stream, "one") > 0) {
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
    assert_int_equal(bus_open(f.stream, NULL, &c), 0);
    (void) subscribe(c, "#", BUS_RETAINED_ALL, &s);
    settle(c, &s);
    assert_int_equal(s.said, 0);
    bus_close(c);
    bus_close(p);
    router_stop(&f);
}

/* Two topics at full speed for a while: few of each come, the newest at the end, and all are
 * accounted for. */
static void test_interval(void **state)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct router_fixture f;
    struct bus_conn *p, *c;
    uint64_t deadline_ns, n = 0, end_ns;
    struct seen s = {.is_live = true};

    (void) state;
    router_start(&f, NULL);
    assert_int_equal(bus_open(f.seqpacket, NULL, &p), 0);
    assert_int_equal(bus_open(f.stream, NULL, &c), 0);
    opts.min_interval_ms = 20;
    opts.on_loss = on_loss;
    assert_int_equal(bus_subscribe(c, "a", &opts, on_message, &s, NULL), 0);
    assert_int_equal(bus_flush(c, 5000), 0);
    end_ns = clock_monotonic_ns() + 200 * NS_PER_MS;
    deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
    while (clock_monotonic_ns() < end_ns) {
        uint64_t number = n + 1;
        int r = bus_publish(p, "a", &number, sizeof(number));

        assert_true(r == 0 || r == -EAGAIN);
        n += r == 0;
        assert_true(bus_process(p) >= 0);
        assert_true(bus_process(c) >= 0);
    }
    while (s.last < n && clock_monotonic_ns() < deadline_ns) {
        assert_true(bus_process(p) >= 0);
        assert_true(bus_wait(c, 10) >= 0);
        assert_true(bus_process(c) >= 0);
    }
    assert_int_equal(s.last, n);
    assert_int_equal(s.n_live + s.n_lost, n);
    /* one at once, then at most one in 20 ms, however late they are */
    assert_true(s.n_live <=
                2 + (clock_monotonic_ns() - (end_ns - 200 * NS_PER_MS)) / (20 * NS_PER_MS));
    bus_close(p);
    bus_close(c);
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_and_live_join_without_gap_or_duplicate),
        cmocka_unit_test(test_values_outlive_their_publisher_or_go_with_it),
        cmocka_unit_test(test_clear_and_expiry),
        cmocka_unit_test(test_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
