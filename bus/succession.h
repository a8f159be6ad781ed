/* SPDX-License-Identifier: MIT */
#pragma once
/* One router process takes the place of another: what the broker does for it on either side.
 * docs/decisions/030-replacing.md. */

#include "core/image.h"
#include "io/handover.h"
#include "io/listener.h"
#include "options.h"
#include "session.h"

/* ---- the one that goes ---- */

struct estate {
    struct router *router;
    struct sessions *sessions;
    const struct listener *listeners;
    size_t n_listeners;
};

/* Hands everything over through that socket. 0: the other one serves now, and this process must do
 * nothing any more but exit. A negative errno said in *f: this one goes on, nothing has changed. */
int estate_hand_over(const struct estate *e, int fd, uint64_t timeout_ms, struct failure *f);

/* Starts the program at path with these arguments, as a child. 0 or a negative errno. */
int successor_start(const char *path, char **argv);
/* Where the program of this process is, or was before it was replaced. False if that cannot be
 * told. */
bool program_path(char *buf, size_t bytes);

/* ---- the one that comes ---- */

struct succession {
    int fd;
    struct handover handover;
    struct image_source source;
};

/* Asks whoever listens there, and receives everything. 0, or a negative errno said in *f. */
int succession_begin(struct succession *s, const struct address *a, struct failure *f);
/* The router. 0, or a negative errno said in *f. */
int succession_load(struct succession *s, const struct router_config *config, struct router **ret,
                    struct failure *f);
/* Its listeners, at most ACCEPTOR_SOCKETS_MAX, and its links. 0, or a negative errno said in *f. */
int succession_adopt(struct succession *s, struct sessions *sessions, struct listener *listeners,
                     size_t *n_listeners, struct failure *f);
/* Everything is there: 0 when the other one has let go, or a negative errno said in *f. */
int succession_end(struct succession *s, struct failure *f);
