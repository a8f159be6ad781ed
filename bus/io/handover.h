/* SPDX-License-Identifier: MIT */
#pragma once
/* What two routers say to each other when one takes the other's place: over a pair of sockets, with
 * waiting, for while that lasts neither of them does anything else. Knows nothing of what the state
 * is. docs/decisions/030-replacing.md. */

#include <stddef.h>
#include <stdint.h>
#include "io/failure.h"

/* ---- the one that goes ---- */

/* The state and the descriptors, and then waits for the other one to say that it is ready, until
 * deadline_ns (monotonic). 0, or a negative errno said in *f: then the other one will not take
 * over, whatever becomes of it. */
int handover_offer(int fd, const void *state, size_t bytes, const int *fds, size_t n_fds,
                   uint64_t deadline_ns, struct failure *f);
/* From here on the other one serves. 0, or a negative errno if it is gone. */
int handover_go(int fd);
/* It is not to be: says why. */
void handover_refuse(int fd, const char *why);

/* ---- the one that comes ---- */

struct handover {
    const uint8_t *state; /* mapped */
    size_t bytes;
    int *fds;
    size_t n_fds;
};

/* What the other one offers. 0, or a negative errno said in *f. */
int handover_receive(int fd, struct handover *ret, struct failure *f);
/* The mapping and the list; the descriptors are the caller's affair. */
void handover_fini(struct handover *h);
/* Says that everything is there, and waits for the word. 0, or a negative errno said in *f: then
 * the other one goes on. */
int handover_ready(int fd, struct failure *f);
