/* SPDX-License-Identifier: MIT */
#pragma once
/* How far a subscription has had what each reliable publisher sent: what it sends again after a
 * return is not shown twice. docs/protocol.md, section 17. */

#include <stdbool.h>
#include <stdint.h>

struct bus_conn;
struct bus_sub;
struct peer_name;
struct seen;
struct topic_name;

/* Of a bus_sub. Bounded: the publisher that was not heard for the longest time is forgotten first.
 */
struct seen_table {
    struct seen *by_key; /* uthash */
    struct seen *list;   /* of seen.next, the latest heard last */
    struct seen *last;   /* looked up last, or NULL */
    uint32_t n;
};

enum seen_verdict {
    SEEN_NEW,
    SEEN_BEFORE,
    SEEN_FAILED, /* out of memory: the connection has ended over it */
};

/* A message with the flag RELIABLE has come. */
enum seen_verdict bus__seen(struct bus_conn *c, struct bus_sub *sub, const struct peer_name *sender,
                            const struct topic_name *topic, uint64_t sequence, uint32_t flags);
void bus__seen_fini(struct seen_table *t);
