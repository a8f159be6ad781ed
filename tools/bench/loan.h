/* SPDX-License-Identifier: MIT */
#pragma once
/* Where a publisher on the bus writes its bodies: memory of its own, which the library copies, or
 * with --loan a buffer of the library, where subscribers read it. */

#include "bus_side.h"

struct outlet {
    struct client *client;
    struct bus_topic *topic;
    size_t bytes;
    unsigned char *own;    /* NULL: loans */
    struct bus_loan *loan; /* the one to be filled */
};

/* 0 or -1. */
int outlet_init(struct outlet *o, struct client *c, struct bus_topic *topic);
void outlet_fini(struct outlet *o);
/* Where the next body is to be written, when there is room; NULL on failure. */
unsigned char *outlet_body(struct outlet *o);
/* Publishes what is there, waiting for room if there is none. 0 or -1. */
int outlet_publish(struct outlet *o);
