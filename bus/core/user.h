/* SPDX-License-Identifier: MIT */
#pragma once
/* One user of the system: what all connections of a uid share (docs/protocol.md, section 21). Lives
 * as long as a sender of it, or a group that it has begun. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/limits.h"
#include "core/quota.h"
#include "core/timers.h"

struct peer;

/* What may be exceeded: a slot, or the bound of the router. */
enum {
    EXCESS_TOTAL = USER_SLOTS_COUNT,
    EXCESSES_COUNT,
    EXCESS_NONE = EXCESSES_COUNT,
};

/* The last time that a slot was exceeded: core/exceeded.h. */
struct user_excess {
    uint64_t next_ns; /* before that nothing more is said about it */
    uint64_t connection_id, used, limit, requested;
    uint64_t n; /* so often since it was said the last time */
    bool is_due;
};

struct user {
    struct user *prev, *next; /* users.list */
    struct users *users;      /* not owned; outlives every user */
    uint32_t refs;
    uint32_t uid;
    uint64_t work; /* units done for its connections, until peer_take_work() */
    struct timer debt;
    uint64_t paid_ns; /* core/rate.h */
    bool is_in_debt;  /* its clients are not read: debt is set */
    union {
        struct {
#define X(slot, own, default_value, low, high, unit, meaning) struct quota slot;
            USER_SLOTS(X)
#undef X
        };
        struct quota slots[USER_SLOTS_COUNT];
    };
    struct quota groups; /* inside bytes: what the groups hold that it has begun */
    struct peer *payers; /* of peer.user_next: its connections, and the peers of those groups */
    uint32_t n_payers;
    uint32_t n_shares;   /* of ceiling.c: at least so many as it has connections */
    uint64_t output_max; /* of each of them, but of monitors */
    struct user_excess excesses[EXCESSES_COUNT];
    uint32_t n_here; /* during topic_resolve(): matches of that topic */
};

struct users {
    struct user *list;
    uint32_t n;
    const struct limits *limits; /* these four are the router's and outlive every user */
    struct timers *timers;
    struct quota *bytes;
    struct quota *descriptors;
    uint32_t owner_uid;
    struct user_override *overrides;
    size_t n_overrides;
};

/* For users_override(): NULL for none. False if out of memory. */
bool overrides_copy(const struct user_override *from, size_t n, struct user_override **ret);

void users_init(struct users *users, const struct limits *limits, uint32_t owner_uid,
                struct quota *bytes, struct quota *descriptors);
/* When no users are left. */
void users_fini(struct users *users);
/* Other overrides from here on: takes them over. What is held already stays. */
void users_override(struct users *users, struct user_override *overrides, size_t n);
/* The same when the limits are others. */
void users_apply(struct users *users);

/* The user of that uid with one more reference; NULL if out of memory. */
struct user *users_get(struct users *users, uint32_t uid);
/* NULL if there is none now. */
struct user *users_find(const struct users *users, uint32_t uid);
struct user *user_ref(struct user *u);
/* NULL is fine. */
void user_unref(struct user *u);

/* "bytes" and its like. */
const char *user_slot_name(enum user_slot slot);
