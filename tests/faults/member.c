/* SPDX-License-Identifier: MIT */
/* A member of the group that works on jobs: acknowledges most at once, some later, and refuses
 * some. The anchor is there for as long as the router lets it, and reads the dead letters too. */
#include <string.h>
#include "faults/client.h"

static void note_job(struct client *c, enum record_kind kind, const struct body *b, unsigned again)
{
    records_add(c->records,
                &(struct record){
                    .kind = (uint8_t) kind, .life = b->life, .n = b->n, .again = (uint8_t) again});
}

static void note(struct client *c, enum record_kind kind, unsigned reason)
{
    records_add(c->records, &(struct record){.kind = (uint8_t) kind, .reason = (uint8_t) reason});
}

/* Written before it is said: whoever dies between the two has done the job. */
static void acknowledge(struct client *c, const struct bus_message *m)
{
    struct body b;

    memcpy(&b, bus_message_data(m), sizeof(b));
    note_job(c, RECORD_ACKED, &b, 0);
    if (bus_message_ack(m) < 0) { /* its link is not there any more: somebody else gets it */
        note_job(c, RECORD_UNACKED, &b, 0);
    }
}

static void on_job(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct client *c = userdata;
    bool is_calm = client_phase(c) != PHASE_CHAOS;
    struct bus_message *kept;
    struct body b;

    (void) sub;
    if (!body_read(bus_message_data(m), bus_message_bytes(m), &b) || b.class != CLASS_JOB) {
        note(c, RECORD_WRONG, WRONG_BODY);
        return;
    }
    note_job(c, RECORD_GOT, &b, bus_message_deliveries(m));
    if (!is_calm && dice_below(&c->dice, 10) == 0) {
        (void) bus_message_refuse(m);
        return;
    }
    if (!is_calm && c->n_kept < KEPT_MAX && dice_below(&c->dice, 5) == 0) {
        kept = bus_message_ref(m);
        if (kept) {
            c->kept[c->n_kept++] = kept;
            return;
        }
    }
    acknowledge(c, m);
}

static void on_dead_letter(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct client *c = userdata;
    struct body b;

    (void) sub;
    if (!body_read(bus_message_data(m), bus_message_bytes(m), &b)) {
        note(c, RECORD_WRONG, WRONG_BODY);
        return;
    }
    note_job(c, RECORD_DEAD, &b, 0);
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    records_add(c->records, &(struct record){.kind = RECORD_LOST,
                                             .number = (uint32_t) loss->count,
                                             .reason = (uint8_t) loss->reason});
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct client *c = userdata;

    (void) sub;
    (void) text;
    if (status == BUS_STATUS_OK) {
        note(c, RECORD_READY, 0);
    }
}

static void ask(struct client *c)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;

    opts.policy = BUS_POLICY_BLOCK;
    opts.flags = BUS_SUB_ACK | BUS_SUB_STICKY;
    opts.group = "workers";
    opts.window_messages = 4 + dice_below(&c->dice, 30);
    opts.deliveries_max = 4;
    opts.dead_letter = "dead";
    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    note(c, RECORD_ASKED, 0);
    if (bus_subscribe(c->conn, "jobs", &opts, on_job, c, &c->sub) < 0) {
        c->sub = NULL;
    }
}

/* Before its jobs, so that no dead letter is missed. */
static void ask_dead(struct client *c)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;

    opts.policy = BUS_POLICY_BLOCK;
    opts.on_loss = on_loss;
    if (bus_subscribe(c->conn, "dead", &opts, on_dead_letter, c, &c->dead) < 0) {
        c->dead = NULL;
    }
}

static void step(struct client *c)
{
    if (c->is_anchor && !c->dead) {
        ask_dead(c);
    }
    if (!c->sub && (!c->is_anchor || c->dead)) {
        ask(c);
    }
    while (c->n_kept > 0 && (client_phase(c) != PHASE_CHAOS || dice_below(&c->dice, 20) == 0)) {
        struct bus_message *m = c->kept[--c->n_kept];

        acknowledge(c, m);
        bus_message_unref(m);
    }
}

static void opened(struct client *c)
{
    c->sub = c->dead = NULL;
    step(c);
}

static bool is_idle(const struct client *c)
{
    return c->sub && c->n_kept == 0;
}

static void nothing(struct client *c)
{
    (void) c;
}

static void closed(struct client *c)
{
    while (c->n_kept > 0) {
        bus_message_unref(c->kept[--c->n_kept]);
    }
}

const struct role member_role = {
    .name = "member",
    .count = 4,
    .opened = opened,
    .step = step,
    .is_idle = is_idle,
    .settled = nothing,
    .closed = closed,
};
