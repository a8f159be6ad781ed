/* SPDX-License-Identifier: MIT */
#pragma once
/* What the router process is made of: private to broker.c and inherit.c. */

#include "broker.h"
#include "roster.h"
#include "session.h"
#include "succession.h"

#define BROKER_SIGNALS 4u

enum broker_state {
    BROKER_SERVING,
    BROKER_DRAINING, /* nobody is accepted any more; until nothing waits, everything goes on */
    BROKER_ENDING,   /* GOODBYE is said; clients read what is left */
    BROKER_CLOSING,
};

struct broker {
    const struct options *options; /* not owned; outlives the broker */
    enum broker_state state;
    uv_loop_t uv;
    struct loop loop;
    struct router *router;
    struct sessions sessions;
    struct roster roster; /* who would come back */
    struct listener listeners[ACCEPTOR_SOCKETS_MAX];
    size_t n_listeners;
    struct acceptor acceptor;
    uv_timer_t deadline;                /* router_tick() is due */
    uint64_t deadline_ns;               /* what the timer is set to; UINT64_MAX: not set */
    uv_timer_t drain;                   /* stopping takes too long */
    uv_timer_t catch_up;                /* log_catch_up() is due */
    uv_timer_t grace;                   /* runs while the router holds what is published */
    uv_timer_t replace;                 /* another router is to take over, in the next turn */
    char program[ADDRESS_PATH_MAX + 1]; /* what this process runs; empty if that cannot be told */
    uv_signal_t signals[BROKER_SIGNALS];
};

/* ---- broker.c: steps of starting ---- */

/* A new one, or what another router has left if from is not NULL. */
int broker_open_router(struct broker *b, struct succession *from, struct failure *f);
/* After the first handle was made, only broker_run() and broker_free() can take it back. */
int broker_open_loop(struct broker *b);
int broker_open_signals(struct broker *b);
/* The file beside the first socket that is one: its lock is this router's. */
void broker_init_roster(struct broker *b);
/* Clients can connect from now on. */
int broker_listen(struct broker *b, struct failure *f);
void broker_say_ready(struct broker *b);

/* Everything that a signal to stop does, while it serves. */
void broker_stop(struct broker *b);

/* ---- controls.c ---- */

/* What administrators may ask of the process; the userdata is the broker. */
extern const struct router_controls broker_controls;

/* ---- inherit.c ---- */

/* Takes the place of the router at the first address, and serves. 0, or a negative errno said in
 * *f; does not return if the other one goes on. */
int broker_inherit(struct broker *b, struct failure *f);
