/* SPDX-License-Identifier: MIT */
#pragma once
/* What the router's TOPIC and PEER frames bind ids to. Shared by the connection's tables, the
 * dispatcher and kept messages. */

#include <bus/bus.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct topic_name {
    uint32_t refs;
    char name[];
};

struct peer_name {
    struct bus_peer peer; /* peer.name points to name */
    uint64_t session;     /* or 0 */
    uint32_t refs;
    char name[];
};

/* NULL if out of memory. */
static inline struct topic_name *bus__topic_name_new(const char *name, size_t len)
{
    struct topic_name *t = malloc(sizeof(*t) + len + 1);

    if (t) {
        t->refs = 1;
        memcpy(t->name, name, len);
        t->name[len] = '\0';
    }
    return t;
}

static inline void bus__topic_name_unref(struct topic_name *t)
{
    if (t && --t->refs == 0) {
        free(t);
    }
}

static inline void bus__peer_name_unref(struct peer_name *p)
{
    if (p && --p->refs == 0) {
        free(p);
    }
}
