/* SPDX-License-Identifier: MIT */
#include "core/user.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- limits ---- */

/* What somebody without an override has. The router's own user and root are not to be kept from
 * what the router as a whole may do. */
static struct user_limits limits_of_uid(const struct users *users, uint32_t uid)
{
    const struct limits *l = users->limits;
    const bool is_own = uid == 0 || uid == users->owner_uid;
    struct user_limits ret;

#define X(slot, own, default_value, low, high, unit, meaning)                                      \
    ret.slot = is_own ? (own) : l->user_##slot##_max;
    USER_SLOTS(X)
#undef X
    return ret;
}

static void override_apply(const struct user_override *o, struct user_limits *to)
{
#define X(slot, own, default_value, low, high, unit, meaning)                                      \
    if (o->set & 1u << USER_SLOT_##slot) {                                                         \
        to->slot = o->limits.slot;                                                                 \
    }
    USER_SLOTS(X)
#undef X
}

static void user_configure(struct user *u)
{
    const struct users *users = u->users;
    struct user_limits l = limits_of_uid(users, u->uid);

    for (size_t i = 0; i < users->n_overrides; i++) {
        if (users->overrides[i].uid == u->uid) {
            override_apply(&users->overrides[i], &l);
        }
    }
#define X(slot, own, default_value, low, high, unit, meaning) u->slot.limit = l.slot;
    USER_SLOTS(X)
#undef X
    u->groups.limit = users->limits->groups_bytes_max;
}

bool overrides_copy(const struct user_override *from, size_t n, struct user_override **ret)
{
    *ret = n > 0 ? malloc(n * sizeof(*from)) : NULL;
    if (n > 0 && !*ret) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        (*ret)[i] = from[i];
        (*ret)[i].place = (struct text){"", 0};
    }
    return true;
}

/* ---- all users ---- */

void users_init(struct users *users, const struct limits *limits, uint32_t owner_uid,
                struct quota *bytes, struct quota *descriptors)
{
    *users = (struct users){
        .limits = limits, .owner_uid = owner_uid, .bytes = bytes, .descriptors = descriptors};
}

void users_fini(struct users *users)
{
    assert(!users->list);
    free(users->overrides);
    users->overrides = NULL;
}

void users_override(struct users *users, struct user_override *overrides, size_t n)
{
    free(users->overrides);
    users->overrides = overrides;
    users->n_overrides = n;
    users_apply(users);
}

void users_apply(struct users *users)
{
    struct user *u;

    DL_FOREACH (users->list, u) {
        user_configure(u);
    }
}

/* ---- one of them ---- */

static void user_init(struct user *u, struct users *users, uint32_t uid)
{
    u->refs = 1;
    u->uid = uid;
    u->users = users;
    u->bytes.parent = users->bytes;
    u->descriptors.parent = users->descriptors;
    u->retained_bytes.parent = &u->bytes;
    u->will_bytes.parent = &u->bytes;
    u->groups.parent = &u->bytes;
    user_configure(u);
}

struct user *users_find(const struct users *users, uint32_t uid)
{
    struct user *u;

    DL_FOREACH (users->list, u) {
        if (u->uid == uid) {
            return u;
        }
    }
    return NULL;
}

struct user *users_get(struct users *users, uint32_t uid)
{
    struct user *u = users_find(users, uid);

    if (u) {
        return user_ref(u);
    }
    u = calloc(1, sizeof(*u));
    if (u) {
        user_init(u, users, uid);
        DL_APPEND(users->list, u);
        users->n++;
    }
    return u;
}

struct user *user_ref(struct user *u)
{
    u->refs++;
    return u;
}

void user_unref(struct user *u)
{
    if (!u || --u->refs > 0) {
        return;
    }
    assert(!u->payers && u->bytes.used == 0);
    timer_stop(u->users->timers, &u->debt);
    DL_DELETE(u->users->list, u);
    u->users->n--;
    free(u);
}

const char *user_slot_name(enum user_slot slot)
{
    static const char *const names[] = {
#define X(name, own, default_value, low, high, unit, meaning) #name,
        USER_SLOTS(X)
#undef X
    };

    return names[slot];
}
