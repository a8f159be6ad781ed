/* SPDX-License-Identifier: MIT */
/* Acknowledging messages of groups: docs/protocol.md, section 13. */
#include "client/ack.h"
#include <errno.h>
#include <stdlib.h>
#include "client/conn.h"
#include "client/handlers.h"

struct ack_link *bus__ack_link_new(void)
{
    struct ack_link *link = calloc(1, sizeof(*link));

    if (link) {
        link->refs = 1;
    }
    return link;
}

static void link_unref(struct ack_link *link)
{
    if (--link->refs == 0) {
        free(link);
    }
}

void bus__ack_link_end(struct ack_link *link)
{
    if (link) {
        link->sub = NULL;
        link_unref(link);
    }
}

struct ack *bus__ack_new(struct ack_link *link, uint32_t delivery)
{
    struct ack *a = malloc(sizeof(*a));

    if (a) {
        *a = (struct ack){.refs = 1, .delivery = delivery, .link = link};
        a->generation = link->sub->conn->generation;
        link->refs++;
    }
    return a;
}

void bus__ack_unref(struct ack *a)
{
    if (a && --a->refs == 0) {
        link_unref(a->link);
        free(a);
    }
}

int bus__ack_send(struct ack *a, uint32_t flags)
{
    struct bus_sub *sub = a->link->sub;
    struct wire_ack m = {.delivery = a->delivery, .flags = flags};
    int r;

    /* first the state: a dead subscription's connection may be gone */
    if (!sub || sub->state >= SUB_ENDING) {
        return -ENOTCONN;
    }
    r = bus__usable(sub->conn);
    if (r == 0 && a->is_done) {
        return -EALREADY;
    }
    if (r == 0 && (a->generation != sub->conn->generation || !bus__has_link(sub->conn))) {
        return -ESTALE;
    }
    m.subscription = sub->number;
    r = r < 0 ? r : bus__send(sub->conn, VERB_ACK, &m, CONTROL_HEADER_MAX);
    a->is_done = a->is_done || r == 0;
    return r;
}

int bus_message_ack(const struct bus_message *message)
{
    return message->ack ? bus__ack_send(message->ack, 0) : -EINVAL;
}

int bus_message_refuse(const struct bus_message *message)
{
    return message->ack ? bus__ack_send(message->ack, ACK_REFUSE) : -EINVAL;
}

uint32_t bus_message_deliveries(const struct bus_message *message)
{
    return message->deliveries;
}

int bus_message_is_redelivered(const struct bus_message *message)
{
    return (message->flags & MESSAGE_REDELIVERED) != 0;
}
