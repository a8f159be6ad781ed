/* SPDX-License-Identifier: MIT */
#pragma once
/* Users who do not trust each other: made for the test where that can be done, else numbers that
 * nobody has. Needs root. */

#include <stdbool.h>
#include <sys/types.h>

#define USER_NAME_BYTES 32

struct user {
    char name[USER_NAME_BYTES]; /* "" if it is only a number */
    uid_t uid;
    gid_t gid;
    bool is_made; /* to be removed */
};

enum party { PARTY_ROUTER, PARTY_VICTIM, PARTY_ATTACKER, N_PARTIES };

/* Real users if useradd(8) is there, else numbers. False, having said why, if neither can be. */
bool users_make(struct user users[N_PARTIES]);
/* Removes those that were made, and those of earlier runs that were killed. */
void users_remove(struct user users[N_PARTIES]);
/* In a new process: becomes that user, in a session of its own, and ends with its parent. Exits if
 * that fails. */
void user_become(const struct user *u);
