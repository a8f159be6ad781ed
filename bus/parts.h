/* SPDX-License-Identifier: MIT */
#pragma once
/* What the router process is made of: private to broker.c, bequest.c and inherit.c. */

#include "broker.h"
#include "names.h"
#include "roster.h"
#include "service.h"
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
    const struct options *options; /* in force: started or reloaded */
    const struct options *started; /* not owned; outlives the broker */
    struct options *reloaded;      /* NULL: they were not read anew */
    enum broker_state state;
    uv_loop_t uv;
    struct loop loop;
    struct router *router;
    struct sessions sessions;
    struct names names;   /* of users and groups, for rules that have them */
    struct roster roster; /* who would come back */
    struct listener listeners[ACCEPTOR_SOCKETS_MAX];
    size_t n_listeners;
    struct acceptor acceptor;
    struct service service; /* the manager that has started this process, if there is one */
    uv_timer_t deadline;    /* router_tick() is due */
    uint64_t deadline_ns;   /* what the timer is set to; UINT64_MAX: not set */
    uv_timer_t drain;       /* stopping takes too long */
    uv_timer_t catch_up;    /* log_catch_up() is due */
    uv_timer_t unread;      /* runs while links are not read */
    uv_timer_t grace;       /* runs while the router holds what is published */
    uv_timer_t replace;     /* another router is to take over, in the next turn */
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
/* Where a listener at that address is to be made: behind those that there are. NULL if one of these
 * is there already. 0, or -EINVAL said in *f. */
int broker_next_listener(struct broker *b, const struct address *a, struct listener **ret,
                         struct failure *f);
/* Clients can connect from now on. */
int broker_listen(struct broker *b, struct failure *f);
void broker_say_ready(struct broker *b);
/* What has been made for clients goes onto their links. */
void broker_send(struct broker *b);

/* ---- reload.c ---- */

/* What the router must know of them. 0 or a negative errno; the policy is the caller's. */
int broker_settings(const struct options *o, struct router_settings *ret);
/* Reads the configuration anew, and swaps it in one step. 0, or a negative errno said in *f:
 * nothing has changed. */
int broker_reload(struct broker *b, struct failure *f);
void broker_forget_options(struct broker *b);

/* ---- bequest.c ---- */

/* Starts the program that is now where this one came from, to take over. */
void broker_start_successor(struct broker *b);
/* For the timer broker.replace: the next process has asked. Does not return if that one serves now.
 */
void broker_hand_over(uv_timer_t *handle);

/* Everything that a signal to stop does, while it serves. */
void broker_stop(struct broker *b);

/* ---- controls.c ---- */

/* What administrators may ask of the process; the userdata is the broker. */
extern const struct router_controls broker_controls;

/* ---- inherit.c ---- */

/* Takes the place of the router at one of the addresses, and serves. 0, or a negative errno said in
 * *f; does not return if the other one goes on. */
int broker_inherit(struct broker *b, struct failure *f);
