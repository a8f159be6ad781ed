/* SPDX-License-Identifier: MIT */
#pragma once
/* Publishes that wait for their connection to come back. Each has its number already. Invariant:
 * while any wait there is no link, or no credit on it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backlog_entry;
struct bus_conn;
struct publish;

struct backlog {
    struct backlog_entry *first; /* of backlog_entry.next */
    struct backlog_entry *last;
    size_t bytes;     /* of all, as they are charged */
    size_t bytes_max; /* 0: none is kept */
    uint64_t n;
};

/* Number of the first, or UINT64_MAX. */
uint64_t bus__backlog_next(const struct bus_conn *c);
/* Whether a publish could be kept. */
bool bus__backlog_has_room(const struct bus_conn *c);
/* Keeps a publish that was checked and found fit. On success its slot is not the caller's any more.
 * -ENOTCONN if none is kept, -EAGAIN without room, -ENOMEM, or an errno of its body's memory. */
int bus__backlog_put(struct bus_conn *c, struct publish *p);
/* Keeps those publishes of the output that were not sent, in front of the others. */
void bus__backlog_salvage(struct bus_conn *c);
/* Sends the first. False if the link has ended over it. */
bool bus__backlog_send_next(struct bus_conn *c);
void bus__backlog_fini(struct bus_conn *c);
