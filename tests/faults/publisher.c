/* SPDX-License-Identifier: MIT */
/* Publishes messages to topics of its own and jobs for the group, and wants each confirmed. */
#include <stdio.h>
#include "faults/client.h"

#define UNCONFIRMED_MAX 400u
#define BURST_MAX 16u

static void on_confirm(struct bus_conn *conn, const struct bus_confirmation *confirmation,
                       void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    c->n_unconfirmed--;
    records_add(c->records, &(struct record){.kind = RECORD_CONFIRMED,
                                             .life = c->life,
                                             .number = (uint32_t) confirmation->sequence,
                                             .nk = confirmation->matched,
                                             .reason = (uint8_t) confirmation->status});
}

static void opened(struct client *c)
{
    for (unsigned i = 0; i < KINDS_OF_TOPIC; i++) {
        c->nk[i] = 0;
    }
    c->n[CLASS_MESSAGE] = c->n[CLASS_JOB] = c->n_unconfirmed = 0;
}

static int send_one(struct client *c, const struct body *b, const char *key)
{
    static uint8_t data[BODY_MAX];
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct body body = *b;
    char topic[32];

    if (b->class == CLASS_JOB) {
        (void) snprintf(topic, sizeof(topic), "jobs");
    } else {
        (void) snprintf(topic, sizeof(topic), "f/%u/%u", c->index, b->topic);
    }
    body_write(&body, data);
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    opts.userdata = c;
    opts.key = key;
    return bus_publish_with(c->conn, topic, data, b->bytes, &opts);
}

/* False if it is not worth to try more now. */
static bool publish(struct client *c)
{
    static const char *const keys[] = {NULL, "a", "b", "c", "d"};
    uint8_t class = dice_below(&c->dice, 6) == 0 ? CLASS_JOB : CLASS_MESSAGE;
    uint8_t topic = (uint8_t) dice_below(&c->dice, KINDS_OF_TOPIC);
    struct body b = {.life = c->life,
                     .n = c->n[class] + 1,
                     .nk = class == CLASS_JOB ? 0 : c->nk[topic] + 1,
                     .class = class,
                     .topic = topic,
                     .bytes = body_size(&c->dice)};
    struct record record = {.kind = RECORD_SENT,
                            .life = c->life,
                            .n = b.n,
                            .nk = b.nk,
                            .topic = topic,
                            .again = class,
                            .number = (uint32_t) bus_sequence(c->conn) + 1};

    records_add(c->records, &record);
    if (send_one(c, &b, class == CLASS_JOB ? keys[dice_below(&c->dice, 5)] : NULL) < 0) {
        record.kind = RECORD_UNSENT;
        records_add(c->records, &record);
        return false;
    }
    c->n[class]++;
    c->nk[topic] += class != CLASS_JOB;
    c->n_unconfirmed++;
    return true;
}

static void step(struct client *c)
{
    if (client_phase(c) != PHASE_CHAOS || dice_below(&c->dice, 3) == 0) {
        return;
    }
    for (uint32_t i = dice_below(&c->dice, BURST_MAX); i > 0 && c->n_unconfirmed < UNCONFIRMED_MAX;
         i--) {
        if (!publish(c)) {
            return;
        }
    }
}

static bool is_idle(const struct client *c)
{
    return c->n_unconfirmed == 0;
}

static void nothing(struct client *c)
{
    (void) c;
}

const struct role publisher_role = {
    .name = "publisher",
    .count = 3,
    .opened = opened,
    .step = step,
    .is_idle = is_idle,
    .settled = nothing,
    .closed = nothing,
};
