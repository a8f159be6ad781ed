/* SPDX-License-Identifier: MIT */
#pragma once
/* One address to listen on: claiming it so that exactly one router gets it, binding, and giving it
 * back. Owned by the router process. Accepting is io/acceptor.h's business. */

#include <stdbool.h>
#include <sys/types.h>
#include "base/address.h"
#include "io/failure.h"

#define LISTENER_KEEP_ID ((unsigned) -1)

struct listener_access {
    mode_t mode;
    uid_t owner; /* LISTENER_KEEP_ID: as it is */
    gid_t group; /* LISTENER_KEEP_ID: as it is */
};

/* With the NUL behind it. */
#define LISTENER_NAME_BYTES 64

/* Invariant: lock_fd >= 0 while the path is ours, which one that was given never is; fd >= 0 once
 * it is bound. */
struct listener {
    struct address address;
    char name[LISTENER_NAME_BYTES]; /* for the rules of the access policy; "": none */
    bool is_given; /* opened by whoever started the router: it stays there when the router ends */
    int fd;
    int lock_fd;
    dev_t dev; /* of the socket file, to know it again */
    ino_t ino;
};

/* Claims and binds the address; nobody can connect before listener_listen(). 0, or a negative errno
 * said in *failure. The access applies to the socket file only, an abstract name has none. */
int listener_open(struct listener *l, const struct address *a, const struct listener_access *access,
                  struct failure *failure);
int listener_listen(struct listener *l, struct failure *failure);
/* SOCK_SEQPACKET or SOCK_STREAM */
int listener_sock_type(const struct listener *l);
/* One that another process has bound, with its lock (-1: none): takes both. Nothing is changed
 * before listener_own(), and listener_leave() lets go of them without a trace. */
void listener_adopt(struct listener *l, const struct address *a, int fd, int lock_fd, dev_t dev,
                    ino_t ino);
void listener_own(struct listener *l);
/* One that was given to this process: takes the descriptor, and never touches its file. */
void listener_given(struct listener *l, const struct address *a, int fd, const char *name);
bool listener_is_at(const struct listener *l, const struct address *a);
void listener_leave(struct listener *l);
/* Closes the socket and removes the files if they are still ours. */
void listener_close(struct listener *l);
