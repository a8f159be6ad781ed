/* SPDX-License-Identifier: MIT */
/* Subscribes with one of the policies, and drains and subscribes again now and then. */
#include <bus/drain.h>
#include <poll.h>
#include <stdio.h>
#include "faults/client.h"

#define N_POLICIES 5u

static void note(struct client *c, enum record_kind kind, unsigned reason)
{
    records_add(c->records, &(struct record){.kind = (uint8_t) kind, .reason = (uint8_t) reason});
}

static void on_message(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct client *c = userdata;
    struct body b;

    (void) sub;
    if (!body_read(bus_message_data(m), bus_message_bytes(m), &b)) {
        note(c, RECORD_WRONG, WRONG_BODY);
        return;
    }
    records_add(c->records,
                &(struct record){
                    .kind = RECORD_GOT, .life = b.life, .n = b.n, .nk = b.nk, .topic = b.topic});
    if (dice_below(&c->dice, 500) == 0 && client_phase(c) == PHASE_CHAOS) {
        (void) poll(NULL, 0, (int) dice_below(&c->dice, 20)); /* it is slow */
    }
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    records_add(c->records, &(struct record){.kind = RECORD_LOST,
                                             .number = (uint32_t) loss->count,
                                             .reason = (uint8_t) loss->reason});
}

static void give_up(struct client *c, enum over how)
{
    if (c->sub) {
        note(c, RECORD_OVER, how);
        bus_sub_unref(c->sub);
        c->sub = NULL;
        c->is_draining = false;
    }
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    (void) text;
    if (status == BUS_STATUS_OK) {
        note(c, RECORD_READY, 0);
    } else if (status == BUS_STATUS_STALLED) {
        note(c, RECORD_STALLED, 0);
    } else {
        give_up(c, OVER_LOST);
    }
}

static void ask(struct client *c)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    unsigned topic = c->is_reliable            ? TOPIC_RELIABLE
                     : dice_below(&c->dice, 2) ? TOPIC_ALL
                                               : dice_below(&c->dice, KINDS_OF_TOPIC);
    char filter[32];

    if (topic < KINDS_OF_TOPIC) {
        (void) snprintf(filter, sizeof(filter), "f/+/%u", topic);
    } else {
        (void) snprintf(filter, sizeof(filter), c->is_reliable ? "r/#" : "f/#");
    }
    opts.policy = c->is_reliable ? BUS_POLICY_BLOCK : (enum bus_policy)(c->index % N_POLICIES);
    opts.window_messages = 4 + dice_below(&c->dice, 200);
    opts.queue_messages = 8 + dice_below(&c->dice, 500);
    opts.on_ready = on_ready;
    opts.on_loss = on_loss;
    records_add(c->records, &(struct record){.kind = RECORD_ASKED,
                                             .topic = (uint8_t) topic,
                                             .reason = (uint8_t) opts.policy});
    if (bus_subscribe(c->conn, filter, &opts, on_message, c, &c->sub) < 0) {
        note(c, RECORD_OVER, OVER_LOST);
        c->sub = NULL;
    }
}

static void on_drained(struct bus_sub *sub, enum bus_status status, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    c->is_draining = false;
    if (status == BUS_STATUS_OK) {
        give_up(c, OVER_DRAINED);
    } else if (status != BUS_STATUS_NO_MEMORY) {
        give_up(c, OVER_LOST);
    }
}

static void step(struct client *c)
{
    if (!c->sub) {
        ask(c);
    } else if (!c->is_draining && client_phase(c) == PHASE_CHAOS &&
               dice_below(&c->dice, 1000) == 0) {
        note(c, RECORD_DRAINS, 0);
        c->is_draining = bus_sub_drain(c->sub, on_drained) == 0;
    }
}

static void opened(struct client *c)
{
    c->sub = NULL;
    c->is_draining = false;
    ask(c);
}

static bool is_idle(const struct client *c)
{
    return c->sub && !c->is_draining;
}

static void settled(struct client *c)
{
    give_up(c, OVER_SETTLED);
}

static void closed(struct client *c)
{
    give_up(c, OVER_LOST);
}

const struct role subscriber_role = {
    .name = "subscriber",
    .count = N_POLICIES + 1,
    .opened = opened,
    .step = step,
    .is_idle = is_idle,
    .settled = settled,
    .closed = closed,
};

static void opened_reliable(struct client *c)
{
    c->is_reliable = true;
    opened(c);
}

const struct role reliable_subscriber_role = {
    .name = "reliable-subscriber",
    .count = 2,
    .returns = true,
    .opened = opened_reliable,
    .step = step,
    .is_idle = is_idle,
    .settled = settled,
    .closed = closed,
};
