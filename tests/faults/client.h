/* SPDX-License-Identifier: MIT */
#pragma once
/* A client of bus-faults: a process that connects, does what its role is, and connects again
 * whenever its connection has ended, until it is told that it is over. Public API only. */

#include <bus/bus.h>
#include "faults/shared.h"

#define KEPT_MAX 8u

struct client {
    unsigned index;
    const char *dir;
    struct control *control;
    struct records *records;
    struct dice dice;
    struct bus_conn *conn;
    uint64_t life; /* of this connection */
    bool is_over;
    bool returns;   /* BUS_OPEN_RECONNECT */
    bool is_anchor; /* never killed: keeps the group together */
    /* publishers */
    uint32_t n[N_CLASSES], nk[KINDS_OF_TOPIC];
    struct bus_topic *topics[KINDS_OF_TOPIC]; /* of one who is reliable */
    uint32_t n_unconfirmed;
    /* subscribers, members, servers */
    struct bus_sub *sub, *dead;
    bool is_draining, is_reliable;
    void *kept[KEPT_MAX]; /* messages of members, calls of servers */
    unsigned n_kept;
    /* requesters */
    uint32_t n_open;
};

struct role {
    const char *name;
    unsigned count; /* processes */
    bool returns;   /* always; others draw it */
    void (*opened)(struct client *c);
    void (*step)(struct client *c); /* again and again */
    /* Whether nothing of its own is under way. */
    bool (*is_idle)(const struct client *c);
    /* Everything has come. */
    void (*settled)(struct client *c);
    /* The connection has ended, or will. */
    void (*closed)(struct client *c);
};

extern const struct role publisher_role, subscriber_role, member_role, requester_role, server_role,
    reliable_publisher_role, reliable_subscriber_role;

/* Runs until PHASE_END. Returns an exit code. */
int client_run(const struct role *role, struct client *c, const char *const addresses[2]);

static inline enum phase client_phase(const struct client *c)
{
    return (enum phase) c->control->phase;
}

/* Writes a body with that beginning into dst, which has room. */
void body_write(struct body *b, uint8_t *dst);
/* False if it is not what was written. */
bool body_read(const void *data, size_t bytes, struct body *ret);
#define BODY_MAX (192u * 1024u)
/* Mostly small; some go through shared memory. */
uint32_t body_size(struct dice *d);

/* A process that does what no client should, for a while. */
int hostile_run(const char *const addresses[2], uint64_t seed);
