/* SPDX-License-Identifier: MIT */
#pragma once
/* A command that runs, and the pipes to its standard descriptors. It leads a process group, so that
 * what it has started goes with it. */

#include <stdbool.h>
#include <sys/types.h>

struct child {
    pid_t pid;        /* 0: none */
    int in, out, err; /* our ends, not blocking; -1: closed */
    bool has_exited;
    int status; /* as of waitpid(), when it has exited */
};

#define CHILD_INIT                                                                                 \
    {                                                                                              \
        0, -1, -1, -1, false, 0                                                                    \
    }

/* 0 or a negative errno: -ENOENT if there is no such command. */
int child_start(struct child *c, char *const argv[], char *const env[]);
/* Whether it has ended by now. Its number is not given away before child_fini(). */
bool child_check_exit(struct child *c);
/* To it and what it has started. */
void child_signal(const struct child *c, int number);
void child_close(int *fd);
/* Of one that has exited, or was never started. */
void child_fini(struct child *c);
