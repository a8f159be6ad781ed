/* SPDX-License-Identifier: MIT */
#pragma once
/* The floor: what the kernel alone lets two processes exchange through a third. Bodies go through
 * the sockets, or tokens that stand for them. */

#include "bench.h"

/* n connected pairs of sockets. 0, or -1 after saying why not. */
int net_init(struct net *net, const struct spec *spec, unsigned n_sources, unsigned n_targets);
void net_fini(struct net *net);

/* What stands for a body in memory. A target gives it back to its source when it has read it. */
struct token {
    uint32_t source;
    uint32_t buffer; /* of the source's */
    uint64_t number; /* of the message */
};

/* party_fn: hands everything it reads from a source to all targets, without looking at it; tokens
 * that come back from a target to their source. */
int relay_run(struct party *p);

/* Sends all of it, blocking. 0 or -1. */
int send_all(int fd, const void *data, size_t bytes);
