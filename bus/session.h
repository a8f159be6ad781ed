/* SPDX-License-Identifier: MIT */
#pragma once
/* One client: joins a link (bus/io) to a peer (bus/core). The fault boundary: whatever goes wrong
 * with a client ends here and costs that client its connection, nothing else. */

#include <stdbool.h>
#include <stddef.h>
#include "core/image.h"
#include "core/router.h"
#include "io/link.h"
#include "io/listener.h"
#include "turns.h"

struct session;

/* All sessions of a router process. */
struct sessions {
    struct loop *loop; /* not owned; outlives every session */
    struct turns turns;
    struct router *router;                   /* not owned; outlives every session */
    struct session *head;                    /* of session.prev/next */
    size_t n;                                /* also those whose link is still closing */
    void (*on_closed)(struct sessions *all); /* one less */
    void (*on_unread)(struct sessions *all); /* there may be work for sessions_end_gone() */
};

/* Serves a new connection to that listener; takes the descriptor (*take_fd = -1) or leaves it to be
 * closed. */
void session_open(struct sessions *all, const struct listener *l, int *take_fd);

/* Sends the output of a peer that is dirty, and ends the session if that was its last. */
void session_flush(struct peer *p);

/* Ends the session of a peer without a goodbye. */
void session_drop(struct peer *p);

/* ---- another process takes over ---- */

/* Records of all sessions, and their descriptors; they go on as they are. */
void sessions_save(const struct sessions *all, struct image *image);
/* A session that was another process's; takes the descriptor. Nothing is read or written before
 * sessions_start(). 0 or a negative errno. */
int session_adopt(struct sessions *all, struct peer *p, const struct record *record, int *take_fd);
void sessions_start(struct sessions *all);

/* A client may send its own end of the link, which keeps the link open when its process has gone.
 * As long as the link is read that is seen; who does not read its answers is not read. Ends those
 * whose output has not been taken for stall_timeout_ms and whose process has gone. False: nobody is
 * left to be looked at. */
bool sessions_end_gone(struct sessions *all, uint64_t now_ns);

/* Ends all sessions at once. */
void sessions_close_all(struct sessions *all);
