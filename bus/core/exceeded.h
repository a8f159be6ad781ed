/* SPDX-License-Identifier: MIT */
#pragma once
/* What is refused for want of room: why, to the client, and `$bus/quota/exceeded` to whoever
 * watches. docs/protocol.md, section 21. */

#include <stdbool.h>
#include <stdint.h>
#include "core/user.h"

struct peer;
struct quota;
struct router;

#define REFUSAL_MAX 160u

/* Whether the client's user may have so many more of a slot: NULL, or why not. That is valid until
 * the next refusal. */
const char *slot_refusal(struct peer *p, enum user_slot slot, uint64_t more);
/* The same for one more of somebody who has no connection. */
const char *user_refusal(struct router *r, struct user *u, enum user_slot slot);
/* Why so many more are refused by one of the bounds of a quota of that client: the same. */
const char *quota_refusal(struct peer *p, const struct quota *q, uint64_t more);
/* The same for memory. */
const char *bytes_refusal(struct peer *p, uint64_t more);
/* A bound of a client is reached. Said at the next turn, and once in a second for each user and
 * slot. */
void excess_note(struct peer *p, const struct quota *bound, uint64_t more);

/* Says what is due. False if out of memory: then again later. */
bool excesses_turn(struct router *r);
/* At the end: nobody is told any more. */
void excesses_drop(struct router *r);
