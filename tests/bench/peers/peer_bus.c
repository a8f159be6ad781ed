/* SPDX-License-Identifier: MIT */
/* This tree's own: bus-router and libbus with their defaults. */

#include <bus/bus.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common.h"
#include "peer.h"

#define SOCKET_NAME "bus.sock"
#define TOPIC "bench/flow"

/* What the callbacks of a connection know. */
struct client {
    const struct job *job;
    struct bus_conn *conn;
    struct subscriber *subscriber;
    struct bus_topic *topic;
    bool failed;
};

/* ---- server ---- */

/* link: what comes before the path in an address, "" for the default. */
static int start_router(struct server *s, const char *link)
{
    char *argv[] = {BUS_ROUTER, "--no-config", "--listen", s->address, "--log-level", "warn", NULL};

    (void) snprintf(s->address, sizeof(s->address), "%s%s/" SOCKET_NAME, link, s->dir);
    return server_exec(s, argv) < 0 ? -1 : server_wait_socket(s, SOCKET_NAME);
}

static int start_default(struct server *s, const struct job *job)
{
    (void) job;
    return start_router(s, "");
}

static int start_stream(struct server *s, const struct job *job)
{
    (void) job;
    return start_router(s, "stream:");
}

/* ---- connection ---- */

static void fail(struct client *c)
{
    c->failed = true;
    if (c->conn) {
        bus_stop(c->conn);
    }
}

static void on_status(struct bus_conn *conn, const struct bus_status_event *event, void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    job_fail(c->job, "refused: %s %s", bus_status_text(event->status), event->text);
    fail(c);
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    job_fail(c->job, "the connection has ended: %s %s", bus_goodbye_text(reason), text);
    fail(c);
}

static int client_open(struct client *c)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    int r;

    opts.on_status = on_status;
    opts.on_closed = on_closed;
    opts.userdata = c;
    r = bus_open(c->job->server->address, &opts, &c->conn);
    if (r < 0) {
        return job_fail(c->job, "cannot connect: %s", strerror(-r));
    }
    if (c->job->bytes > bus_body_max(c->conn)) {
        return job_cannot(c->job, "this link takes bodies of %zu bytes at most",
                          bus_body_max(c->conn));
    }
    return 0;
}

/* ---- publisher ---- */

static int publisher_open(struct publisher *p)
{
    struct client *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        return job_fail(p->job, "out of memory");
    }
    c->job = p->job;
    p->state = c;
    if (client_open(c) < 0) {
        return -1;
    }
    r = bus_advertise(c->conn, TOPIC, &c->topic);
    if (r < 0) {
        return job_fail(p->job, "cannot advertise: %s", strerror(-r));
    }
    bus_cork(c->conn);
    return 0;
}

static int publisher_send(struct publisher *p, uint64_t word)
{
    struct client *c = p->state;
    int r;

    publisher_fill(p, p->body, word);
    while ((r = bus_topic_publish(c->topic, p->body, p->job->bytes, NULL)) == -EAGAIN) {
        r = bus_wait_writable(c->conn, PATIENCE_MS);
        if (r < 0) {
            break;
        }
    }
    return r < 0 ? job_fail(p->job, "cannot publish: %s", strerror(-r)) : 0;
}

/* Held back again from the next message on. */
static int publisher_flush(struct publisher *p)
{
    struct client *c = p->state;
    int r = bus_uncork(c->conn);

    bus_cork(c->conn);
    return r < 0 || c->failed ? job_fail(p->job, "cannot send: %s", strerror(-r)) : 0;
}

static int publisher_watch(struct publisher *p, short *ret_events)
{
    struct client *c = p->state;

    *ret_events = POLLIN;
    return bus_fd(c->conn);
}

static int publisher_service(struct publisher *p)
{
    struct client *c = p->state;
    int r = bus_process(c->conn);

    return r < 0 || c->failed ? job_fail(p->job, "cannot process: %s", strerror(-r)) : 0;
}

static void publisher_close(struct publisher *p)
{
    struct client *c = p->state;

    bus_close(c->conn);
    free(c);
}

/* ---- subscriber ---- */

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    if (subscriber_message(c->subscriber, bus_message_data(message), bus_message_bytes(message))) {
        bus_stop(c->conn);
    }
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    job_fail(c->job, "%llu messages were lost: %s", (unsigned long long) loss->count,
             bus_loss_text(loss->reason));
    fail(c);
}

static int subscribe(struct subscriber *s)
{
    struct client c = {.job = s->job, .subscriber = s};
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    int r;

    opts.policy = BUS_POLICY_BLOCK;
    opts.on_loss = on_loss;
    if (client_open(&c) < 0) {
        return -1;
    }
    r = bus_subscribe(c.conn, TOPIC, &opts, on_message, &c, NULL);
    while (r == 0 && !s->is_done && !s->failed && !c.failed) {
        r = bus_run(c.conn);
    }
    if (r < 0) {
        job_fail(s->job, "cannot receive: %s", strerror(-r));
    }
    bus_close(c.conn);
    return s->is_done && !c.failed ? 0 : -1;
}

static void client_library(char *buf, size_t size)
{
    (void) snprintf(buf, size, "libbus %s", bus_version());
}

/* The kind of socket is all they differ in. */
#define BUS_PEER(name_of, about_of, start_of)                                                      \
    {                                                                                              \
        .name = (name_of), .about = (about_of), .program = BUS_ROUTER, .version = "--version",     \
        .client_library = client_library, .start = (start_of), .open = publisher_open,             \
        .send = publisher_send, .flush = publisher_flush, .watch = publisher_watch,                \
        .service = publisher_service, .close = publisher_close, .subscribe = subscribe,            \
    }

const struct peer peer_bus =
    BUS_PEER("bus", "bus-router, Unix socket of the default kind (seqpacket); subscriptions block",
             start_default);

const struct peer peer_bus_stream =
    BUS_PEER("bus-stream", "bus-router, Unix stream socket; subscriptions block", start_stream);
