/* SPDX-License-Identifier: MIT */
#include "core/user.h"
#include <stdlib.h>
#include <utlist.h>

struct user *users_get(struct users *users, uint32_t uid, struct quota *descriptors,
                       uint64_t descriptors_max)
{
    struct user *u;

    DL_FOREACH (users->list, u) {
        if (u->uid == uid) {
            u->refs++;
            return u;
        }
    }
    u = calloc(1, sizeof(*u));
    if (!u) {
        return NULL;
    }
    u->refs = 1;
    u->uid = uid;
    u->users = users;
    quota_init(&u->descriptors, descriptors_max, descriptors);
    quota_init(&u->retained, users->retained_max, users->memory);
    DL_APPEND(users->list, u);
    return u;
}

void user_unref(struct user *u)
{
    if (!u || --u->refs > 0) {
        return;
    }
    DL_DELETE(u->users->list, u);
    free(u);
}
