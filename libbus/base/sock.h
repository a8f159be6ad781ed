/* SPDX-License-Identifier: MIT */
#pragma once
/* Unix sockets: names of any length, connecting, and who is on the other side. Every descriptor is
 * CLOEXEC and non-blocking. */

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include "base/address.h"
#include "base/parcel.h"

struct creds {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

/* A socket address for a path of any length. A long path is reached through a descriptor of its
 * directory, which must stay open while the address is used: close dir_fd (-1 if there is none)
 * afterwards. */
struct sock_name {
    struct sockaddr_un sun;
    socklen_t bytes;
    int dir_fd;
};

/* 0, -ENAMETOOLONG, or the errno of opening the directory. */
int sock_name_init(struct sock_name *name, const struct address *a);
void sock_name_fini(struct sock_name *name);

/* A new socket of a type (SOCK_SEQPACKET, SOCK_STREAM), or a negative errno. */
int sock_new(int type);

/* Connects; ADDRESS_ANY tries seqpacket and on EPROTOTYPE stream. Returns the descriptor and sets
 * *ret_type to the socket type; -EAGAIN if the listener's backlog is full. */
int sock_connect(const struct address *a, int *ret_type);
/* The same, but stands in line for so long if the backlog is full: whoever only tries again finds
 * it full for ever if others crowd in. Also -EINTR. */
int sock_connect_within(const struct address *a, unsigned timeout_ms, int *ret_type);

/* Who connected, or who listens: SO_PEERCRED. 0 or a negative errno. */
int sock_peer_creds(int fd, struct creds *ret);

/* Supplementary groups of who connected, as they were then: SO_PEERGROUPS (Linux 4.13; before that
 * nobody has any). 0 or a negative errno, -E2BIG if there are more than max; *ret_groups is the
 * caller's to free, NULL if there are none. */
int sock_peer_groups(int fd, size_t max, gid_t **ret_groups, size_t *ret_n);

/* What a security module calls who connected: SO_PEERSEC, without the NUL that some put behind it.
 * 0 or a negative errno; *ret_label is the caller's to free, NULL if there is none. */
int sock_peer_label(int fd, char **ret_label);

/* Sends without raising SIGPIPE and without waiting; the descriptors of parcel (or NULL) go with
 * the first byte. Returns bytes or a negative errno; never -EINTR. */
ssize_t sock_send(int fd, const struct iovec *iov, int n, const struct parcel *parcel);

struct sock_received {
    struct parcel *parcel; /* descriptors that came along, one reference; NULL if none */
    int flags;             /* MSG_TRUNC */
};

/* recvmsg(): returns bytes or a negative errno; -ENOMEM also if there is no memory to note
 * descriptors that came along: these are closed and the bytes lost. */
ssize_t sock_receive(int fd, struct iovec *iov, int n, int flags, struct sock_received *ret);

/* For parcels of real descriptors. */
void sock_close_fd(int fd);
