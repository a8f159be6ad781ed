/* SPDX-License-Identifier: MIT */
#pragma once
/* The floor: what the kernel alone lets two processes exchange through a third. */

#include "bench.h"

/* n connected pairs of sockets. 0, or -1 after saying why not. */
int net_init(struct net *net, const struct spec *spec, unsigned n_sources, unsigned n_targets);
void net_fini(struct net *net);

/* party_fn: hands everything it reads from a source to all targets, without looking at it. */
int relay_run(struct party *p);

/* Sends all of it, blocking. 0 or -1. */
int send_all(int fd, const void *data, size_t bytes);
