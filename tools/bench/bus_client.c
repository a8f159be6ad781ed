/* SPDX-License-Identifier: MIT */
/* A client of the bus in a measurement. */

#include <errno.h>
#include <string.h>
#include "bus_side.h"
#include "common.h"

/* Nothing in a measurement waits longer, unless it hangs. */
#define PATIENCE_MS 20000

/* conn is NULL as long as bus_open() runs. */
static void client_end(struct client *c, bool *why)
{
    *why = true;
    if (c->conn) {
        bus_stop(c->conn);
    }
}

void client_fail(struct client *c)
{
    client_end(c, &c->failed);
}

void client_finish(struct client *c)
{
    client_end(c, &c->done);
}

static void on_status(struct bus_conn *conn, const struct bus_status_event *event, void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    if (!c->failed) {
        tool_error("the router refused publish %llu: %s %s", (unsigned long long) event->sequence,
                   bus_status_text(event->status), event->text);
    }
    client_fail(c);
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    tool_say_closed(reason, text);
    client_fail(c);
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    tool_error("%llu messages were lost: %s", (unsigned long long) loss->count,
               bus_loss_text(loss->reason));
    client_fail(c);
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct client *c = userdata;

    if (status != BUS_STATUS_OK) {
        tool_error("subscription to %s: %s %s", bus_sub_filter(sub), bus_status_text(status), text);
        client_fail(c);
    }
}

int client_open(struct client *c, struct party *p)
{
    struct bus_opts opts = BUS_OPTS_INIT;

    *c = (struct client){.party = p};
    opts.flags = p->spec->reliable ? BUS_OPEN_RECONNECT : 0;
    opts.buffer_threshold_bytes = p->spec->buffer_from;
    opts.on_status = on_status;
    opts.on_closed = on_closed;
    opts.userdata = c;
    if (tool_connect(p->spec->address, &opts, &c->conn) < 0) {
        return -1;
    }
    if (p->spec->bytes > bus_body_max(c->conn)) {
        tool_error("%zu bytes are more than this link takes, which is %zu", p->spec->bytes,
                   bus_body_max(c->conn));
        return -1;
    }
    return 0;
}

int client_subscribe(struct client *c, const char *filter, bus_message_fn on_message)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    int r;

    opts.policy = BUS_POLICY_BLOCK;
    opts.window_messages = c->party->spec->window_messages;
    opts.window_bytes = c->party->spec->window_bytes;
    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    r = bus_subscribe(c->conn, filter, &opts, on_message, c, NULL);
    if (r == 0) {
        r = bus_flush(c->conn, PATIENCE_MS);
    }
    if (r < 0) {
        tool_error("cannot subscribe to %s: %s", filter, strerror(-r));
    }
    return r < 0 || c->failed ? -1 : 0;
}

int client_advertise(struct client *c, const char *topic, struct bus_topic **ret)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    int r;

    opts.flags = c->party->spec->reliable ? BUS_TOPIC_RELIABLE : 0;
    r = bus_advertise_with(c->conn, topic, &opts, ret);
    if (r < 0) {
        tool_error("cannot advertise %s: %s", topic, strerror(-r));
    }
    return r < 0 ? -1 : 0;
}

int client_wait_writable(struct client *c)
{
    return c->failed ? -ECONNABORTED : bus_wait_writable(c->conn, PATIENCE_MS);
}

int client_publish(struct client *c, struct bus_topic *topic, const void *data, size_t bytes)
{
    int r = bus_topic_publish(topic, data, bytes, NULL);

    while (r == -EAGAIN) {
        r = client_wait_writable(c);
        if (r == 0) {
            r = bus_topic_publish(topic, data, bytes, NULL);
        }
    }
    if (r < 0) {
        tool_error("cannot publish: %s", strerror(-r));
    }
    return r < 0 || c->failed ? -1 : 0;
}

int client_run(struct client *c)
{
    int r = 0;

    while (!c->done && !c->failed && r == 0) {
        r = bus_run(c->conn);
        r = r == -EINTR ? 0 : r;
    }
    if (r < 0 && !c->done && !c->failed) {
        tool_error("cannot receive: %s", strerror(-r));
    }
    return c->done && !c->failed ? 0 : -1;
}

int client_close(struct client *c)
{
    int r = bus_flush(c->conn, PATIENCE_MS);

    if (r < 0) {
        tool_error("the router does not answer: %s", strerror(-r));
    }
    bus_close(c->conn);
    return r < 0 || c->failed ? -1 : 0;
}
