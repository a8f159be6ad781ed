/* SPDX-License-Identifier: MIT */
#pragma once
/* Accepts connections from all listening sockets of the router. When descriptors or memory run out
 * it stops polling, because a level-triggered listener would spin, and tries again after a while or
 * when told that a connection has gone. */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>
#include "io/lane.h"
#include "io/listener.h"

#define ACCEPTOR_SOCKETS_MAX 16
#define ACCEPTOR_BATCH 128
#define ACCEPTOR_RETRY_MS 100
/* Accepting has turns of its own; in a shared one eight are taken, or many more are turned away:
 * those who wait behind them may be others. */
#define ACCEPTOR_UNITS (LANE_TURN_SHARED / 8)
#define ACCEPTOR_REFUSED_UNITS (LANE_TURN_SHARED / 128)

struct acceptor;

struct acceptor_ops {
    /* A new connection to that listener; takes the descriptor (*take_fd = -1), or leaves it to be
     * closed. */
    void (*on_accept)(struct acceptor *a, const struct listener *l, int *take_fd);
    /* Accepting failed with this errno and is paused. */
    void (*on_paused)(struct acceptor *a, int error);
    /* The first connection after that. */
    void (*on_resumed)(struct acceptor *a);
};

struct acceptor_socket {
    uv_poll_t poll;
    struct acceptor *acceptor;
    const struct listener *listener; /* not owned; outlives the handle */
};

struct acceptor {
    uv_loop_t *uv;
    struct lane lane;
    const struct acceptor_ops *ops;
    struct acceptor_socket sockets[ACCEPTOR_SOCKETS_MAX];
    size_t n_sockets;
    uv_timer_t retry;
    bool paused;  /* not polling */
    bool starved; /* the last attempt failed */
    bool closed;
};

void acceptor_open(struct acceptor *a, uv_loop_t *uv, struct lanes *lanes,
                   const struct acceptor_ops *ops);
/* Adds a listener that listens; polls at once. 0 or a negative errno. */
int acceptor_add(struct acceptor *a, const struct listener *l);
/* Tries again if accepting is paused. */
void acceptor_resume(struct acceptor *a);
/* Ends the handles, before the sockets are closed; the struct may go when uv_run() has returned. */
void acceptor_close(struct acceptor *a);
