/* SPDX-License-Identifier: MIT */
#pragma once
/* Who wants to know how many subscriptions a topic has: the inside of core/interest.c. */

#include "core/state.h"

/* One alias whose publisher wants to know. */
struct watch {
    struct watch *prev, *next;                 /* interest.watches */
    struct watch *waiting_prev, *waiting_next; /* peer.waiting_watches */
    struct interest *interest;
    struct peer *peer;
    uint32_t alias;
    uint32_t told;
    bool is_told;
    bool is_waiting;
};

/* A topic with such aliases. */
struct interest {
    struct interest *prev, *next;                 /* presence.watched */
    struct interest *changed_prev, *changed_next; /* presence.changed */
    struct router *router;
    struct topic *topic; /* its aliases keep it */
    struct watch *watches;
    bool is_changed;
};

#define WATCH_BYTES (sizeof(struct watch) + sizeof(struct interest))
