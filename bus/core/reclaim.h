/* SPDX-License-Identifier: MIT */
#pragma once
/* Room for what comes, made by whoever holds the most: docs/protocol.md, section 21. */

#include <stdbool.h>
#include <stdint.h>

struct message;
struct peer;
struct sub;

/* What a connection inside a user may have waiting before others are spared: half of what its user
 * may hold, divided by those that have something waiting; but so much. */
#define SOFT_SHARE_MIN (UINT64_C(256) * 1024)

/* At the bound of its user, or of the router, queues give way until the peer may have so many bytes
 * more, and some more than that, so that it is not asked for with each message. Queues stay, also
 * empty ones, and the peer is not ended: so it may be called where either is in use. False if there
 * is nothing that could go, or the bound is the peer's own. */
bool room_make(struct peer *p, uint64_t bytes);
/* The same for something that a subscription is charged with: false also if it is not the bounds
 * that are in the way. */
bool room_make_for(struct sub *s, uint64_t bytes);
/* The same for one more message in a queue, or for the queue. */
bool room_make_in(struct sub *s, const struct message *m);
