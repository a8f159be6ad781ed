/* SPDX-License-Identifier: MIT */
#pragma once
/* The router answers requests to its own topics: lists of what it has, in pages that are bounded in
 * bytes and in work, and controls. docs/protocol.md, section 22.
 * inside.c: requests and answers; inside_lists.c: the lists; inside_slow.c: who is slow, and why.
 */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "wire/inside.h"

struct peer;
struct router;
struct sub;
struct topic;

/* A page is not longer, and the links of some clients take less. */
#define INSIDE_PAGE_BYTES (32u * 1024u)
#define INSIDE_LIMIT_MAX 1000u
/* So much is looked at for a page, whatever is found. */
#define INSIDE_STEPS 8192u
/* What waits for so long makes its client slow. */
#define INSIDE_SLOW_NS UINT64_C(1000000000)

/* A request that is in order, of somebody who may ask that. */
struct inside_ask {
    struct peer *peer;
    struct topic *topic;
    const uint8_t *body;
    size_t body_bytes;
    uint64_t id;     /* to monitors */
    uint32_t number; /* REQUEST.call */
    bool to_all;
};

/* OK: it was answered, or will be by inside_control_run(). Otherwise why not: static, in *ret_why.
 */
enum bus_status inside_handle(const struct inside_ask *ask, const char **ret_why);
/* An answer, which is the only one; or the end, if there is no room for it. */
void inside_answer(const struct inside_ask *ask, uint32_t error, const uint8_t *body, size_t bytes);

/* A control that was asked for with the frame that has just been handled. */
struct control {
    enum inside_control kind; /* 0: none */
    struct inside_ask ask;    /* with a reference to its topic */
    struct peer *target;      /* of INSIDE_DISCONNECT */
    struct text text;         /* the same; in the input */
};
/* Does it; what it changes must not be looked at by the caller. */
void inside_control_run(struct router *r);

/* ---- request.c ---- */

/* It will be answered: counted, and shown to monitors. */
void inside_begin(const struct inside_ask *ask);

/* ---- inside_lists.c ---- */

/* A page that is being made. */
struct inside_list {
    const struct router *router;
    const struct inside_layout *layout;
    const struct inside_query *query;
    const struct topic *asked; /* the request's own topic: there because of it, perhaps */
    struct inside_page page;
    uint32_t room;  /* entries that may still come */
    uint32_t steps; /* that may still be done */
    uint64_t next;  /* where the next page begins; 0: that was all */
};

void inside_list_fill(struct inside_list *l, enum bus_inside_list list);

/* ---- inside_slow.c ---- */

/* What is waited for, and since when. */
struct slowness {
    enum bus_slow why;
    uint64_t since_ns; /* monotonic */
    uint32_t subscription;
    uint32_t messages; /* that wait there */
};

struct slowness sub_slowness(const struct sub *s);
/* The longest wait of a client; looks at so many of its subscriptions, which it counts down. */
struct slowness peer_slowness(const struct peer *p, uint32_t *steps);
