/* SPDX-License-Identifier: MIT */
#pragma once
/* A file whose lock says who may use the path beside it; the kernel drops the lock when its holder
 * dies. The holder's pid is in the file, for people. The file is removed by the holder while it
 * holds the lock; that is safe because a claim counts only if the file that was locked is still the
 * one under that name. */

#include <sys/types.h>

enum lockfile_verdict {
    LOCKFILE_OK,
    LOCKFILE_HELD, /* by somebody else */
};

/* LOCKFILE_OK and the descriptor that holds the lock, LOCKFILE_HELD and the holder's pid (0: not
 * known), or a negative errno. */
int lockfile_claim(const char *path, int *ret_fd, pid_t *ret_pid);
/* The lock came with its descriptor from another process: this one is its holder now. */
void lockfile_sign(int fd);
/* Removes the file and gives the lock back; fd may be -1. */
void lockfile_release(const char *path, int fd);
