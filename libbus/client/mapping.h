/* SPDX-License-Identifier: MIT */
#pragma once
/* What a subscriber has mapped: the router's buffers, and the leases by which messages hold them.
 * Both outlive the connection as long as the application keeps messages. */

#include <bus/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/parcel.h"

struct bus_conn;

struct mapping {
    struct mapping *prev, *next; /* bus_conn.mappings */
    struct bus_conn *conn;       /* NULL once it is closed */
    const uint8_t *data;         /* NULL: it could not be mapped, because of why */
    size_t bytes;
    struct lease *leases; /* of lease.next */
    uint32_t refs;        /* its place in bus_conn.buffers, and each lease */
    enum bus_loss_reason why;
    bool immutable;
    bool forgotten; /* the router has been told that it could not be mapped */
};

/* One message's hold on a mapping. */
struct lease {
    struct lease *prev, *next; /* mapping.leases */
    struct mapping *mapping;
    size_t offset, bytes; /* the body */
    uint32_t number;
    uint32_t refs; /* dispatcher and kept messages */
};

/* A mapping of what the parcel holds, which may be NULL or of no use: then data is NULL. Returns
 * NULL if out of memory. */
struct mapping *bus__mapping_new(struct bus_conn *c, const struct parcel *parcel, size_t bytes,
                                 bool immutable);
void bus__mapping_unref(struct mapping *m);
/* The connection is about to be closed, and with it the router's promise that nobody writes to what
 * is held: what could change becomes a private copy, at the same address. */
void bus__mappings_detach(struct bus_conn *c);
/* The connection is closed: nothing can be released to the router any more. */
void bus__mappings_orphan(struct bus_conn *c);

/* A hold on a body within the mapping. NULL if out of memory. */
struct lease *bus__lease_new(struct mapping *m, uint32_t number, size_t offset, size_t bytes);
/* Tells the router with the last reference. */
void bus__lease_unref(struct lease *l);
