/* SPDX-License-Identifier: MIT */
#include "turns.h"
#include <stdlib.h>
#include <utlist.h>

static void turns_remove(struct turns *turns, struct user_lane *u)
{
    DL_DELETE(turns->users, u);
    free(u);
}

struct user_lane *turns_get(struct turns *turns, uint32_t uid)
{
    struct user_lane *u, *next, *found = NULL;

    DL_FOREACH_SAFE (turns->users, u, next) {
        if (u->uid == uid) {
            found = u;
        } else if (u->refs == 0 && !lane_owes(&u->lane)) {
            turns_remove(turns, u);
        }
    }
    if (!found) {
        found = calloc(1, sizeof(*found));
        if (!found) {
            return NULL;
        }
        found->uid = uid;
        lane_init(&found->lane, turns->lanes);
        DL_APPEND(turns->users, found);
    }
    found->refs++;
    return found;
}

void turns_put(struct user_lane *lane)
{
    if (lane) {
        lane->refs--;
    }
}

void turns_fini(struct turns *turns)
{
    while (turns->users) {
        turns_remove(turns, turns->users);
    }
}
