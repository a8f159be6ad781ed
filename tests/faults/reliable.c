/* SPDX-License-Identifier: MIT */
/* Publishes to reliable topics: what it was allowed to publish reaches everybody, whatever becomes
 * of the router. */
#include <stdio.h>
#include "faults/client.h"

#define BURST_MAX 8u

static void opened(struct client *c)
{
    c->n[CLASS_RELIABLE] = 0;
    for (unsigned i = 0; i < KINDS_OF_TOPIC; i++) {
        c->nk[i] = 0;
        c->topics[i] = NULL;
    }
}

static struct bus_topic *topic_of(struct client *c, unsigned i)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    char name[32];

    if (!c->topics[i]) {
        (void) snprintf(name, sizeof(name), "r/%u/%u", c->index, i);
        opts.flags = BUS_TOPIC_RELIABLE;
        if (bus_advertise_with(c->conn, name, &opts, &c->topics[i]) < 0) {
            c->topics[i] = NULL;
        }
    }
    return c->topics[i];
}

static bool publish(struct client *c)
{
    static uint8_t data[BODY_MAX];
    uint8_t i = (uint8_t) dice_below(&c->dice, KINDS_OF_TOPIC);
    struct bus_topic *topic = topic_of(c, i);
    struct body b = {.life = c->life,
                     .n = c->n[CLASS_RELIABLE] + 1,
                     .nk = c->nk[i] + 1,
                     .class = CLASS_RELIABLE,
                     .topic = i,
                     .bytes = body_size(&c->dice)};
    struct record record = {.kind = RECORD_SENT,
                            .life = c->life,
                            .n = b.n,
                            .nk = b.nk,
                            .topic = i,
                            .again = CLASS_RELIABLE,
                            .number = (uint32_t) bus_sequence(c->conn) + 1};

    if (!topic) {
        return false;
    }
    body_write(&b, data);
    records_add(c->records, &record);
    if (bus_topic_publish(topic, data, b.bytes, NULL) < 0) {
        record.kind = RECORD_UNSENT;
        records_add(c->records, &record);
        return false;
    }
    c->n[CLASS_RELIABLE]++;
    c->nk[i]++;
    return true;
}

static void step(struct client *c)
{
    if (client_phase(c) != PHASE_CHAOS || dice_below(&c->dice, 3) == 0) {
        return;
    }
    for (uint32_t i = dice_below(&c->dice, BURST_MAX); i > 0 && publish(c); i--) {
    }
}

/* All of it is done. */
static bool is_idle(const struct client *c)
{
    return bus_wait_acked(c->conn, 0) == 0;
}

static void nothing(struct client *c)
{
    (void) c;
}

const struct role reliable_publisher_role = {
    .name = "reliable-publisher",
    .count = 2,
    .returns = true,
    .opened = opened,
    .step = step,
    .is_idle = is_idle,
    .settled = nothing,
    .closed = nothing,
};
