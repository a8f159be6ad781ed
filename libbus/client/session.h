/* SPDX-License-Identifier: MIT */
#pragma once
/* A connection that comes back: what it keeps for that while its links come and go. A link ends in
 * two steps: bus__session_leave() where it breaks, so that nothing more is written to it, and
 * bus__session_lost() at the end of the turn, when nobody looks at what belonged to it. */

#include "base/address.h"
#include "client/backlog.h"
#include "client/conn.h"
#include "client/reliable.h"

/* A frame that is said again on each link. */
struct kept_frame {
    size_t bytes;
    uint8_t data[];
};

struct kept_will {
    struct kept_will *prev, *next; /* session.wills */
    struct kept_frame *frame;
    char topic[];
};

struct session {
    struct address address; /* of the kind of link that it had first */
    struct kept_frame *hello;
    struct kept_will *wills; /* in the order in which they were first set */
    bus_state_fn on_state;
    uint32_t greeting_ms; /* how long an answer to HELLO may take */
    uint32_t pause_min_ms;
    uint32_t pause_max_ms;
    uint32_t timeout_ms; /* how long it tries to come back; 0: for ever */
    uint32_t pause_ms;   /* upper bound of the next pause */
    uint64_t greeted_ns; /* when the last link was */
    bool is_told;        /* the application knows that it is away */
    uint64_t give_up_ns; /* when that is over; UINT64_MAX: never */
    uint64_t random;     /* state of the generator for pauses */
    bool ping_due;       /* a bus_flush() waits for what is behind the backlog */
    struct backlog backlog;
    struct reliable reliable;
};

/* For a connection that is being opened: 0, -ENOMEM, or an errno of getrandom(2). */
int bus__session_new(struct bus_conn *c, const struct address *a, const struct bus_opts *opts,
                     struct wire_hello *hello);
void bus__session_fini(struct bus_conn *c);

/* Whether there will be another link after an end for that reason. */
bool bus__session_returns(const struct bus_conn *c, enum bus_goodbye reason);
/* Nothing can be written any more. What was not sent is kept as far as the backlog keeps it. */
void bus__session_leave(struct bus_conn *c);
/* LOST becomes AWAY. Runs callbacks; the connection may be CLOSED after it. */
void bus__session_lost(struct bus_conn *c);
/* AWAY: tries to come back, if it is time. */
void bus__session_try(struct bus_conn *c);
/* WELCOME of a link has come, and it can be written to. Runs callbacks. */
void bus__session_greeted(struct bus_conn *c);
/* The PING of a flush has to wait for the backlog, behind which it will be sent. */
bool bus__session_ping_later(struct bus_conn *c);
/* Number of the first publish that this link has to get yet, or UINT64_MAX. */
uint64_t bus__session_next(const struct bus_conn *c);
/* Whether what is published now has to wait behind others. */
bool bus__session_waits(const struct bus_conn *c);
/* Sends of what waits what there is credit for, in the order of its numbers. */
void bus__session_send(struct bus_conn *c);
/* What waits may all have been sent now. */
void bus__session_settle(struct bus_conn *c);

/* Keeps a will in place of an earlier one to that topic; without a frame there is none any more.
 * Takes the frame. 0 or -ENOMEM. */
int bus__session_will(struct bus_conn *c, const char *topic, struct kept_frame *frame);

/* A copy of a frame without body: 0 or -ENOMEM. */
int bus__kept_frame_new(enum verb verb, const void *m, size_t header_max, struct kept_frame **ret);
/* Queues it, if there is a link: 0 or -ENOMEM. */
int bus__kept_frame_send(struct bus_conn *c, const struct kept_frame *k);
