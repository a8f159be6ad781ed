/* SPDX-License-Identifier: MIT */
#pragma once
/* The way back from a message to the subscription it is to be acknowledged to. Both may end first:
 * a message that is kept may outlive subscription and connection. Counts are not atomic: all of
 * them belong to one thread. */

#include <stdbool.h>
#include <stdint.h>

struct bus_sub;

/* One for each subscription that acknowledges. */
struct ack_link {
    uint32_t refs;       /* the subscription, and each struct ack */
    struct bus_sub *sub; /* NULL when it has ended */
};

/* One for each message of it, shared by what the application keeps of it. */
struct ack {
    uint32_t refs;
    uint32_t delivery;
    uint32_t generation; /* of the link it came on */
    struct ack_link *link;
    bool is_done;
};

/* NULL if out of memory. */
struct ack_link *bus__ack_link_new(void);
/* Its subscription has ended. NULL is allowed. */
void bus__ack_link_end(struct ack_link *link);

/* NULL if out of memory. */
struct ack *bus__ack_new(struct ack_link *link, uint32_t delivery);
/* NULL is allowed. */
void bus__ack_unref(struct ack *a);
/* ACK with these flags: 0, -EALREADY, -ESTALE, -ENOTCONN, -ECHILD or -ENOMEM. */
int bus__ack_send(struct ack *a, uint32_t flags);
