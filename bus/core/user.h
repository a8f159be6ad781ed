/* SPDX-License-Identifier: MIT */
#pragma once
/* One user of the system: what all connections of a uid share. Lives as long as a sender of it. */

#include <stdint.h>
#include "core/quota.h"

struct user {
    struct user *prev, *next; /* users.list */
    struct users *users;      /* not owned; outlives every user */
    uint32_t refs;
    uint32_t uid;
    uint64_t work; /* units done for its connections, until peer_take_work() */
    struct quota descriptors; /* that its connections make the router keep */
    struct quota wills;       /* of connections that have ended, in bytes */
    struct quota retained;    /* bytes of what topics keep of them */
};

struct users {
    struct user *list;
    struct quota *memory; /* not owned; what retained counts in */
    uint64_t retained_max;
};

/* The user of that uid with one more reference; NULL if out of memory. descriptors is what those of
 * all users count in. */
struct user *users_get(struct users *users, uint32_t uid, struct quota *descriptors,
                       uint64_t descriptors_max);
/* NULL is fine. */
void user_unref(struct user *u);
