/* SPDX-License-Identifier: MIT */
#pragma once
/* Room for what comes, made by whoever holds the most: docs/protocol.md, section 21. */

#include <stdbool.h>
#include <stdint.h>

struct peer;
struct sub;

/* At the bound of its user, or of the router, queues give way until the peer may have so many bytes
 * more, and some more than that, so that it is not asked for with each message. keep: a
 * subscription that is being walked: its queue stays, though what is in it may go; or NULL. False
 * if there is nothing that could go, or the bound is the peer's own. */
bool room_make(struct peer *p, const struct sub *keep, uint64_t bytes);

/* What a connection inside a user may have waiting before others are spared: half of what its user
 * may hold, divided by those that have something waiting. */
#define SOFT_SHARE_MIN (UINT64_C(256) * 1024)
