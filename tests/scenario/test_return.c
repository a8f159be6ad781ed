/* SPDX-License-Identifier: MIT */
/* Clients that come back to a router that was killed, stopped, or has thrown them out. */
#include <bus/bus.h>
#include <bus/request.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "support/router_fixture.h"
#include "support/unit.h"

#define KILLS 15u

/* One client with everything that it gets. */
struct client {
    struct bus_conn *conn;
    unsigned n_lost, n_restored, n_closed;
    unsigned n_ready, n_gaps, n_live;
    uint64_t n_messages;
    uint64_t last; /* the number in the last message */
    bool is_ordered;
    enum bus_goodbye reason;
};

struct scene {
    struct router_fixture f;
    struct client reader, writer;
    struct bus_topic *topic;
    const char *address;
    uint64_t n_published;
};

static void on_state(struct bus_conn *conn, const struct bus_state_event *event, void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    c->n_lost += event->state == BUS_CONN_LOST;
    c->n_restored += event->state == BUS_CONN_RESTORED;
    if (event->state == BUS_CONN_LOST) {
        c->reason = event->reason;
    }
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    (void) reason;
    (void) text;
    c->n_closed++;
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct client *c = userdata;
    uint64_t number;

    (void) sub;
    assert_true(bus_message_bytes(message) >= sizeof(number));
    memcpy(&number, bus_message_data(message), sizeof(number));
    c->is_ordered = c->is_ordered && number > c->last;
    c->last = number;
    c->n_messages++;
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    assert_int_equal(loss->reason, BUS_LOSS_ROUTER_RESTART);
    assert_int_equal(loss->count, 0);
    c->n_gaps++;
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    (void) text;
    assert_int_equal(status, BUS_STATUS_OK);
    c->n_ready++;
}

static void on_live(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    (void) messages;
    c->n_live++;
}

static void client_open(struct client *c, const char *address, uint64_t backlog)
{
    struct bus_opts opts = BUS_OPTS_INIT;

    *c = (struct client){.is_ordered = true};
    opts.flags = BUS_OPEN_RECONNECT;
    opts.on_state = on_state;
    opts.on_closed = on_closed;
    opts.userdata = c;
    opts.reconnect_max_ms = 20;
    opts.backlog_bytes_max = backlog;
    assert_int_equal(bus_open(address, &opts, &c->conn), 0);
}

static struct bus_sub *client_subscribe(struct client *c, const char *filter,
                                        enum bus_retained retained)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub = NULL;

    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    opts.on_live = on_live;
    opts.retained = retained;
    assert_int_equal(bus_subscribe(c->conn, filter, &opts, on_message, c, &sub), 0);
    assert_int_equal(bus_flush(c->conn, FIXTURE_TIMEOUT_MS), 0);
    return sub;
}

/* Both do what there is to do. */
static void turn(struct scene *x)
{
    struct pollfd p[] = {{bus_fd(x->reader.conn), POLLIN, 0}, {bus_fd(x->writer.conn), POLLIN, 0}};

    assert_true(poll(p, ARRAY_LEN(p), FIXTURE_TIMEOUT_MS) > 0);
    assert_true(bus_process(x->reader.conn) >= 0);
    assert_true(bus_process(x->writer.conn) >= 0);
}

static void publish(struct scene *x)
{
    uint64_t number = ++x->n_published;
    int r;

    while ((r = bus_topic_publish(x->topic, &number, sizeof(number), NULL)) == -EAGAIN) {
        turn(x);
    }
    assert_int_equal(r, 0);
}

static void scene_start(struct scene *x, bool seqpacket, uint64_t backlog)
{
    *x = (struct scene){0};
    router_start(&x->f, NULL);
    x->address = seqpacket ? x->f.seqpacket : x->f.stream;
    client_open(&x->reader, x->address, 0);
    client_open(&x->writer, x->address, backlog);
    assert_int_equal(bus_advertise(x->writer.conn, "numbers", &x->topic), 0);
}

static void scene_stop(struct scene *x)
{
    bus_close(x->reader.conn);
    bus_close(x->writer.conn);
    assert_int_equal(x->reader.n_closed + x->writer.n_closed, 0);
    router_stop(&x->f);
}

/* Until all that is published now has arrived. */
static void wait_for_last(struct scene *x)
{
    while (x->reader.last < x->n_published) {
        turn(x);
    }
    assert_true(x->reader.is_ordered);
}

/* ---- a router that was killed ---- */

static void a_killed_router_is_come_back_to(bool seqpacket)
{
    struct scene x;

    scene_start(&x, seqpacket, 0);
    (void) client_subscribe(&x.reader, "numbers", BUS_RETAINED_NONE);
    publish(&x);
    wait_for_last(&x);
    router_kill9(&x.f);
    while (x.reader.n_lost + x.writer.n_lost < 2) {
        turn(&x);
    }
    assert_int_equal(bus_is_away(x.writer.conn), 1);
    assert_int_equal(bus_topic_publish(x.topic, "12345678", 8, NULL), -ENOTCONN);
    router_restart(&x.f, NULL);
    assert_int_equal(bus_flush(x.reader.conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(bus_wait_writable(x.writer.conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(x.reader.n_gaps, 1);
    assert_int_equal(x.reader.n_ready, 2);
    publish(&x);
    wait_for_last(&x);
    assert_int_equal(x.reader.n_restored, 1);
    assert_int_equal(x.writer.n_restored, 1);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_killed_router_is_come_back_to)

static void what_is_published_meanwhile_arrives(bool seqpacket)
{
    struct scene x;

    scene_start(&x, seqpacket, 1u << 20);
    (void) client_subscribe(&x.reader, "numbers", BUS_RETAINED_NONE);
    router_kill9(&x.f);
    while (x.reader.n_lost + x.writer.n_lost < 2) {
        turn(&x);
    }
    for (unsigned i = 0; i < 1000; i++) {
        publish(&x);
    }
    router_restart(&x.f, NULL);
    assert_int_equal(bus_flush(x.reader.conn, FIXTURE_TIMEOUT_MS), 0); /* it is there first */
    assert_int_equal(bus_flush(x.writer.conn, FIXTURE_TIMEOUT_MS), 0);
    wait_for_last(&x);
    assert_int_equal(x.reader.n_messages, 1000);
    assert_int_equal(bus_sequence(x.writer.conn), 1000);
    scene_stop(&x);
}
ON_BOTH_LINKS(what_is_published_meanwhile_arrives)

/* Under load, again and again: order holds, each loss is told, and it always goes on. */
static void a_router_killed_again_and_again(bool seqpacket)
{
    struct scene x;

    scene_start(&x, seqpacket, 64u << 10);
    (void) client_subscribe(&x.reader, "numbers", BUS_RETAINED_NONE);
    for (unsigned i = 1; i <= KILLS; i++) {
        for (unsigned n = 0; n < 2000; n++) {
            publish(&x);
            if (n % 50 == i) {
                (void) bus_process(x.reader.conn);
            }
        }
        router_kill9(&x.f);
        for (unsigned n = 0; n < 50; n++) {
            publish(&x);
        }
        router_restart(&x.f, NULL);
        while (x.reader.n_restored < i || x.writer.n_restored < i) {
            turn(&x);
        }
        assert_int_equal(bus_flush(x.reader.conn, FIXTURE_TIMEOUT_MS), 0);
        publish(&x);
        wait_for_last(&x);
        assert_int_equal(x.reader.n_gaps, i);
    }
    assert_int_equal(x.reader.n_lost, KILLS);
    assert_int_equal(x.writer.n_lost, KILLS);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_router_killed_again_and_again)

/* ---- a router that was stopped ---- */

static void on_call(struct bus_call *call, void *userdata)
{
    (void) userdata;
    assert_int_equal(bus_call_reply(call, "pong", 4, NULL), 0);
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    (void) conn;
    *(enum bus_status *) userdata = reply->status;
}

static void servers_and_retained_values_come_back(bool seqpacket)
{
    enum bus_status status = BUS_STATUS_TIMEOUT;
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct scene x;

    scene_start(&x, seqpacket, 1u << 20);
    bus_topic_unref(x.topic);
    opts.retain_messages = 1;
    assert_int_equal(bus_advertise_with(x.writer.conn, "numbers", &opts, &x.topic), 0);
    assert_int_equal(bus_serve(x.reader.conn, "ping", NULL, on_call, NULL, NULL), 0);
    publish(&x);
    assert_int_equal(bus_flush(x.writer.conn, FIXTURE_TIMEOUT_MS), 0);
    (void) client_subscribe(&x.reader, "numbers", BUS_RETAINED_LAST);
    assert_int_equal(x.reader.n_live, 1);
    assert_int_equal(x.reader.n_messages, 1);
    assert_int_equal(kill(x.f.process.pid, SIGTERM), 0);
    assert_int_equal(router_wait(&x.f.process), 0);
    router_discard(&x.f.process);
    while (x.reader.n_lost + x.writer.n_lost < 2) {
        turn(&x);
    }
    assert_int_equal(x.reader.reason, BUS_GOODBYE_SHUTDOWN);
    publish(&x); /* which the next router keeps */
    router_restart(&x.f, NULL);
    while (x.reader.n_live < 2 || x.reader.last < 2) {
        turn(&x);
    }
    assert_int_equal(bus_request(x.writer.conn, "ping", NULL, 0, NULL, on_reply, &status, NULL), 0);
    while (status == BUS_STATUS_TIMEOUT) {
        turn(&x);
    }
    assert_int_equal(status, BUS_STATUS_OK);
    scene_stop(&x);
}
ON_BOTH_LINKS(servers_and_retained_values_come_back)

/* bus_request_wait() does not outlive the link. */
static void on_stuck(struct bus_call *call, void *userdata)
{
    struct scene *x = userdata;

    (void) call;
    router_kill9(&x->f);
}

static void a_request_ends_with_its_link(bool seqpacket)
{
    enum bus_status status = BUS_STATUS_OK;
    struct scene x;

    scene_start(&x, seqpacket, 0);
    assert_int_equal(bus_serve(x.reader.conn, "ping", NULL, on_stuck, &x, NULL), 0);
    assert_int_equal(bus_flush(x.reader.conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(bus_request(x.writer.conn, "ping", NULL, 0, NULL, on_reply, &status, NULL), 0);
    while (status == BUS_STATUS_OK) {
        turn(&x);
    }
    assert_int_equal(status, BUS_STATUS_DISCONNECTED);
    router_restart(&x.f, NULL);
    while (x.writer.n_restored == 0) {
        turn(&x);
    }
    scene_stop(&x);
}
ON_BOTH_LINKS(a_request_ends_with_its_link)

/* ---- a router that has thrown it out ---- */

static void a_slow_consumer_comes_back_to_the_same_router(bool seqpacket)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct scene x;

    scene_start(&x, seqpacket, 0);
    opts.policy = BUS_POLICY_DISCONNECT;
    opts.window_messages = 2;
    opts.queue_messages = 2;
    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    assert_int_equal(bus_subscribe(x.reader.conn, "numbers", &opts, on_message, &x.reader, NULL),
                     0);
    assert_int_equal(bus_flush(x.reader.conn, FIXTURE_TIMEOUT_MS), 0);
    for (unsigned i = 0; i < 10; i++) {
        publish(&x);
    }
    assert_int_equal(bus_flush(x.writer.conn, FIXTURE_TIMEOUT_MS), 0);
    while (x.reader.n_gaps == 0) {
        turn(&x);
    }
    assert_int_equal(x.reader.reason, BUS_GOODBYE_SLOW_CONSUMER);
    assert_int_equal(x.reader.n_messages, 2); /* what was within the window was read */
    publish(&x);
    wait_for_last(&x);
    assert_int_equal(x.writer.n_lost, 0);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_slow_consumer_comes_back_to_the_same_router)

/* ---- large bodies ---- */

static void memory_is_registered_again(bool seqpacket)
{
    static uint8_t body[1u << 20];
    struct scene x;

    scene_start(&x, seqpacket, 8u << 20);
    (void) client_subscribe(&x.reader, "numbers", BUS_RETAINED_NONE);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t number = ++x.n_published;

        memcpy(body, &number, sizeof(number));
        assert_int_equal(bus_topic_publish(x.topic, body, sizeof(body), NULL), 0);
        if (i % 4 == 1) {
            assert_int_equal(bus_flush(x.writer.conn, FIXTURE_TIMEOUT_MS), 0);
            wait_for_last(&x);
        }
        if (i % 4 == 2) { /* this one may or may not arrive */
            router_kill9(&x.f);
        }
        if (i % 4 == 3) { /* and this one may have waited for the return */
            router_restart(&x.f, NULL);
            assert_int_equal(bus_flush(x.reader.conn, FIXTURE_TIMEOUT_MS), 0);
            assert_int_equal(bus_flush(x.writer.conn, FIXTURE_TIMEOUT_MS), 0);
        }
    }
    publish(&x);
    wait_for_last(&x);
    scene_stop(&x);
}
ON_BOTH_LINKS(memory_is_registered_again)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(a_killed_router_is_come_back_to),
        BOTH_CASES(what_is_published_meanwhile_arrives),
        BOTH_CASES(a_router_killed_again_and_again),
        BOTH_CASES(servers_and_retained_values_come_back),
        BOTH_CASES(a_request_ends_with_its_link),
        BOTH_CASES(a_slow_consumer_comes_back_to_the_same_router),
        BOTH_CASES(memory_is_registered_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
