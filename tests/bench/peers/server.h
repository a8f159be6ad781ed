/* SPDX-License-Identifier: MIT */
#pragma once
/* The process in the middle, with a directory of its own for its sockets, files and log. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct job;

struct server {
    const struct job *job;
    pid_t pid;
    int pidfd; /* readable when it has ended */
    char dir[64];
    char address[128]; /* of the peer's choosing, for its clients */
};

/* Makes the directory. 0 or -1, as all below, after job_fail(). */
int server_init(struct server *s, const struct job *job);
/* Ends the process, by force if it does not listen, and removes the directory. */
void server_stop(struct server *s);

/* Starts a program; its output goes to the log. */
int server_exec(struct server *s, char *const argv[]);
/* Starts a process of ours, which serves until it is killed or returns after job_fail(). */
int server_fork(struct server *s, int (*serve)(const struct server *s));

/* Writes a file into the directory. */
int server_write(const struct server *s, const char *name, const char *text);
/* Waits until somebody listens on a socket in the directory. */
int server_wait_socket(struct server *s, const char *name);
/* Waits until a file in the directory is there and holds a text; reads it, NUL-terminated. */
int server_wait_text(struct server *s, const char *name, const char *text, char *buf, size_t size);

/* For a process of ours: it listens, and the other side waits for that. A connection made only to
 * see whether somebody listens is not harmless for each library. */
int server_say_ready(const struct server *s);
int server_wait_ready(struct server *s);

/* A program along $PATH and in /usr/sbin. False if there is none. */
bool program_find(const char *name, char *buf, size_t size);
