/* SPDX-License-Identifier: MIT */
/* Requesters and servers. Servers answer most calls at once, some later, and drop some. */
#include <bus/request.h>
#include <stdlib.h>
#include "faults/client.h"

#define OPEN_MAX_REQUESTS 16u
#define TIMEOUT_MS 1500u

/* ---- requesters ---- */

struct asked {
    struct client *client;
    struct body body;
};

static void note_end(struct client *c, const struct body *b, const struct bus_reply *reply)
{
    records_add(c->records, &(struct record){.kind = RECORD_ENDED,
                                             .life = b->life,
                                             .n = b->n,
                                             .reason = (uint8_t) reply->status,
                                             .again = reply->error != 0});
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct asked *a = userdata;
    struct client *c = a->client;
    struct body b;

    (void) conn;
    if (reply->message && reply->error == 0 &&
        (!body_read(bus_message_data(reply->message), bus_message_bytes(reply->message), &b) ||
         b.life != a->body.life || b.n != a->body.n)) {
        records_add(c->records, &(struct record){.kind = RECORD_WRONG, .reason = WRONG_ANSWER});
    }
    if (!reply->more) {
        note_end(c, &a->body, reply);
        c->n_open--;
        free(a);
    }
}

static bool request(struct client *c)
{
    static uint8_t data[BODY_MAX];
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct body b = {.life = c->life,
                     .n = c->n[CLASS_MESSAGE] + 1,
                     .is_to_all = dice_below(&c->dice, 8) == 0,
                     .bytes = body_size(&c->dice)};
    struct asked *a = malloc(sizeof(*a));
    struct record record = {.kind = RECORD_BEGUN, .life = b.life, .n = b.n, .again = b.is_to_all};

    if (!a) {
        return false;
    }
    body_write(&b, data);
    *a = (struct asked){c, b};
    opts.flags = b.is_to_all ? BUS_REQUEST_ALL : 0;
    opts.timeout_ms = TIMEOUT_MS;
    records_add(c->records, &record);
    if (bus_request(c->conn, "work/some", data, b.bytes, &opts, on_reply, a, NULL) < 0) {
        record.kind = RECORD_UNBEGUN;
        records_add(c->records, &record);
        free(a);
        return false;
    }
    c->n[CLASS_MESSAGE]++;
    c->n_open++;
    return true;
}

static void requester_step(struct client *c)
{
    if (client_phase(c) != PHASE_CHAOS) {
        return;
    }
    for (uint32_t i = dice_below(&c->dice, 4); i > 0 && c->n_open < OPEN_MAX_REQUESTS; i--) {
        if (!request(c)) {
            return;
        }
    }
}

static void requester_opened(struct client *c)
{
    c->n[CLASS_MESSAGE] = 0;
    c->n_open = 0;
}

static bool requester_is_idle(const struct client *c)
{
    return c->n_open == 0;
}

static void nothing(struct client *c)
{
    (void) c;
}

const struct role requester_role = {
    .name = "requester",
    .count = 2,
    .opened = requester_opened,
    .step = requester_step,
    .is_idle = requester_is_idle,
    .settled = nothing,
    .closed = nothing,
};

/* ---- servers ---- */

static void answer(struct bus_call *call)
{
    const struct bus_message *m = bus_call_message(call);

    if (bus_call_reply(call, bus_message_data(m), bus_message_bytes(m), NULL) < 0) {
        bus_call_drop(call);
    }
}

static void on_call(struct bus_call *call, void *userdata)
{
    struct client *c = userdata;
    const struct bus_message *m = bus_call_message(call);
    struct body b;

    if (!body_read(bus_message_data(m), bus_message_bytes(m), &b)) {
        records_add(c->records, &(struct record){.kind = RECORD_WRONG, .reason = WRONG_BODY});
        bus_call_drop(call);
        return;
    }
    records_add(
        c->records,
        &(struct record){.kind = RECORD_CALLED, .life = b.life, .n = b.n, .again = b.is_to_all});
    if (client_phase(c) == PHASE_CHAOS && c->n_kept < KEPT_MAX && dice_below(&c->dice, 6) == 0) {
        c->kept[c->n_kept++] = call;
    } else if (dice_below(&c->dice, 20) == 0) {
        bus_call_drop(call);
    } else {
        answer(call);
    }
}

static void server_step(struct client *c)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;

    if (!c->sub) {
        opts.calls_max = 4;
        if (bus_serve(c->conn, "work/#", &opts, on_call, c, &c->sub) < 0) {
            c->sub = NULL;
        }
    }
    while (c->n_kept > 0 && (client_phase(c) != PHASE_CHAOS || dice_below(&c->dice, 30) == 0)) {
        answer(c->kept[--c->n_kept]);
    }
}

static void server_opened(struct client *c)
{
    c->sub = NULL;
    c->n_kept = 0;
    server_step(c);
}

static bool server_is_idle(const struct client *c)
{
    return c->sub && c->n_kept == 0;
}

/* Its calls go with the connection. */
static void server_closed(struct client *c)
{
    c->n_kept = 0;
}

const struct role server_role = {
    .name = "server",
    .count = 3,
    .opened = server_opened,
    .step = server_step,
    .is_idle = server_is_idle,
    .settled = nothing,
    .closed = server_closed,
};
