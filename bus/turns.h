/* SPDX-License-Identifier: MIT */
#pragma once
/* Which lane of the loop a user's links are in. A user who has gone keeps it as long as it is in
 * debt: coming again is not the way to be rid of that. */

#include <stdint.h>
#include "io/lane.h"

struct user_lane {
    struct user_lane *prev, *next; /* turns.users */
    struct lane lane;
    uint32_t uid;
    unsigned refs; /* sessions */
};

struct turns {
    struct lanes *lanes; /* not owned; outlives every lane */
    struct user_lane *users;
};

/* The lane of that user, with one more reference; NULL if out of memory. */
struct user_lane *turns_get(struct turns *turns, uint32_t uid);
/* NULL is fine. */
void turns_put(struct user_lane *lane);
void turns_fini(struct turns *turns);
