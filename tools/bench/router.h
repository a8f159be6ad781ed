/* SPDX-License-Identifier: MIT */
#pragma once
/* A router of our own. */

#include <sys/types.h>

#include "bench.h"

struct router_process {
    pid_t pid;
    char address[64]; /* for the link asked for */
};

/* path NULL: the router of this build tree, else of this program's folder, else of $PATH. Waits
 * until it listens. 0 or -1, and it has been said why not. */
int router_start(const char *path, enum link link, struct router_process *ret);
/* Stops it: 0, or -1 if it did not end well, and that has been said. */
int router_stop(struct router_process *r);
/* Memory of a process that is its own alone, in bytes; -1 if that cannot be known. */
double router_private_bytes(int pid);
