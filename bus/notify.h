/* SPDX-License-Identifier: MIT */
#pragma once
/* Telling a service manager how things are: datagrams of lines KEY=VALUE to the socket that
 * $NOTIFY_SOCKET names, as sd_notify(3) lays down. Owned by the router process. Nobody need listen
 * there, and whoever does need not read: nothing here waits but notify_last(), and nothing fails.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/* One notice; what is longer is cut. */
#define NOTIFY_BYTES 768u
/* Notices that are kept for a manager that has no time now. */
#define NOTIFY_OWED_MAX 4u
/* How long notify_last() waits, for what is owed and for the last word. */
#define NOTIFY_LAST_MS 1000

struct notify {
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un sun;
    socklen_t bytes;
    unsigned n_owed;
    char owed[NOTIFY_OWED_MAX][NOTIFY_BYTES];
};

/* address: of a socket, as in $NOTIFY_SOCKET: a path, or an abstract name behind '@'. NULL, or one
 * of a kind that is not known: nobody is told anything. */
void notify_open(struct notify *n, const char *address);
void notify_close(struct notify *n);
/* Whether somebody wants to know. */
bool notify_is_open(const struct notify *n);

/* Says what will be said again anyway: if it is not taken at once, it is forgotten. */
void notify_say(struct notify *n, const char *text);
/* Says what is said once: if it is not taken at once, it is owed. If too much is owed, the oldest
 * goes, for what comes last is how things are. */
void notify_change(struct notify *n, const char *text);
/* Tries again what is owed; whether anything still is. */
bool notify_retry(struct notify *n);
/* For a process that will not come back to its loop: says what is owed and this, and waits for it
 * if need be. */
void notify_last(struct notify *n, const char *text);
