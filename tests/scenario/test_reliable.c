/* SPDX-License-Identifier: MIT */
/* Reliable topics across crashes of the router: everything arrives once and in order. */
#include <bus/bus.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include "support/router_fixture.h"
#include "support/unit.h"

#define KILLS 20u
#define READERS 3u
/* A machine that is busy must not make subscribers come too late. */
static const char *const patient[] = {"--restart-grace", "30000", NULL};
static const struct router_options options = {.args = patient};

/* Whoever subscribes: what came last, and how much. */
struct reader {
    struct bus_conn *conn;
    uint64_t last, n;
    unsigned n_gaps, n_lost;
    bool is_exact; /* each number once, without a gap */
};

struct scene {
    struct router_fixture f;
    struct reader readers[READERS];
    struct bus_conn *writer;
    struct bus_topic *topic;
    uint64_t n_published;
    bool is_dead; /* the router */
    struct rng rng;
};

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct reader *r = userdata;
    uint64_t number;

    (void) sub;
    assert_true(bus_message_bytes(message) >= sizeof(number));
    memcpy(&number, bus_message_data(message), sizeof(number));
    if (r->is_exact && number != r->last + 1) {
        print_error("%llu behind %llu\n", (unsigned long long) number,
                    (unsigned long long) r->last);
        r->is_exact = false;
    }
    r->last = number;
    r->n++;
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct reader *r = userdata;

    (void) sub;
    r->n_gaps += loss->reason == BUS_LOSS_ROUTER_RESTART;
    r->n_lost += loss->reason != BUS_LOSS_ROUTER_RESTART;
}

static struct bus_conn *open_conn(const char *address)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn = NULL;

    opts.flags = BUS_OPEN_RECONNECT;
    opts.reconnect_max_ms = 20;
    assert_int_equal(bus_open(address, &opts, &conn), 0);
    return conn;
}

static void reader_start(struct reader *r, const char *address)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;

    *r = (struct reader){.conn = open_conn(address), .is_exact = true};
    opts.on_loss = on_loss;
    opts.queue_messages = 1u << 20;
    opts.queue_bytes = 64u << 20;
    assert_int_equal(bus_subscribe(r->conn, "numbers", &opts, on_message, r, NULL), 0);
    assert_int_equal(bus_flush(r->conn, FIXTURE_TIMEOUT_MS), 0);
}

static void turn(struct scene *x, int timeout_ms)
{
    struct pollfd p[READERS + 1];

    for (unsigned i = 0; i < READERS; i++) {
        p[i] = (struct pollfd){bus_fd(x->readers[i].conn), POLLIN, 0};
    }
    p[READERS] = (struct pollfd){bus_fd(x->writer), POLLIN, 0};
    assert_true(poll(p, ARRAY_LEN(p), timeout_ms) > 0 || timeout_ms == 0);
    for (unsigned i = 0; i < READERS; i++) {
        assert_true(bus_process(x->readers[i].conn) >= 0);
    }
    assert_true(bus_process(x->writer) >= 0);
}

static void revive(struct scene *x)
{
    if (x->is_dead) {
        x->is_dead = false;
        router_restart(&x->f, &options);
    }
}

static void publish(struct scene *x, size_t bytes)
{
    static uint8_t body[1u << 20];
    uint64_t number = ++x->n_published;
    int r;

    memcpy(body, &number, sizeof(number));
    while ((r = bus_topic_publish(x->topic, body, bytes, NULL)) == -EAGAIN) {
        revive(x); /* or it would be for ever */
        turn(x, FIXTURE_TIMEOUT_MS);
    }
    assert_int_equal(r, 0);
}

static void scene_start(struct scene *x, bool seqpacket)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    const char *address;

    *x = (struct scene){.rng = {1}};
    router_start(&x->f, &options);
    address = seqpacket ? x->f.seqpacket : x->f.stream;
    for (unsigned i = 0; i < READERS; i++) {
        reader_start(&x->readers[i], address);
    }
    x->writer = open_conn(address);
    opts.flags = BUS_TOPIC_RELIABLE;
    assert_int_equal(bus_advertise_with(x->writer, "numbers", &opts, &x->topic), 0);
}

static bool has_all(const struct scene *x)
{
    for (unsigned i = 0; i < READERS; i++) {
        if (x->readers[i].last < x->n_published) {
            return false;
        }
    }
    return true;
}

static void expect_all(struct scene *x)
{
    while (!has_all(x)) {
        turn(x, FIXTURE_TIMEOUT_MS);
    }
    while (bus_wait_acked(x->writer, 0) == -ETIMEDOUT) {
        turn(x, FIXTURE_TIMEOUT_MS);
    }
    for (unsigned i = 0; i < READERS; i++) {
        assert_true(x->readers[i].is_exact);
        assert_int_equal(x->readers[i].n, x->n_published);
        assert_int_equal(x->readers[i].n_lost, 0);
    }
}

static void scene_stop(struct scene *x)
{
    for (unsigned i = 0; i < READERS; i++) {
        bus_close(x->readers[i].conn);
    }
    bus_close(x->writer);
    router_stop(&x->f);
}

static void without_a_crash_all_is_acknowledged(bool seqpacket)
{
    struct scene x;

    scene_start(&x, seqpacket);
    for (unsigned i = 0; i < 50000; i++) {
        publish(&x, 64);
    }
    expect_all(&x);
    assert_int_equal(bus_wait_acked(x.writer, FIXTURE_TIMEOUT_MS), 0);
    scene_stop(&x);
}
ON_BOTH_LINKS(without_a_crash_all_is_acknowledged)

static void kill_under_load(struct scene *x, size_t bytes_max, unsigned n)
{
    for (unsigned k = 0; k < KILLS; k++) {
        unsigned at = rng_below(&x->rng, n);

        for (unsigned i = 0; i < n; i++) {
            publish(x, sizeof(uint64_t) + rng_below(&x->rng, (uint32_t) bytes_max));
            if (rng_below(&x->rng, 20) == 0) {
                turn(x, 0);
            }
            if (i == at) {
                router_kill9(&x->f);
                x->is_dead = true;
            }
            if (i == at + 20 || i == n - 1) {
                revive(x);
            }
        }
        if (k % 4 == 0) {
            expect_all(x);
        }
    }
    expect_all(x);
}

static void crashes_under_load_lose_nothing(bool seqpacket)
{
    struct scene x;

    scene_start(&x, seqpacket);
    kill_under_load(&x, 200, 3000);
    scene_stop(&x);
}
ON_BOTH_LINKS(crashes_under_load_lose_nothing)

static void crashes_lose_no_large_bodies(bool seqpacket)
{
    struct scene x;

    scene_start(&x, seqpacket);
    kill_under_load(&x, 200000, 100);
    scene_stop(&x);
}
ON_BOTH_LINKS(crashes_lose_no_large_bodies)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(without_a_crash_all_is_acknowledged),
        BOTH_CASES(crashes_under_load_lose_nothing),
        BOTH_CASES(crashes_lose_no_large_bodies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
