/* SPDX-License-Identifier: MIT */
#pragma once
/* What the clients of a user may make the router do in a second: a bucket, as the time for which
 * the user has used it already. Who is too far ahead is not read for a while; nothing is lost.
 * docs/protocol.md, section 21. */

#include <stdint.h>

struct peer;

/* How far ahead a user may be: what can be done at once. */
#define RATE_BURST_NS UINT64_C(250000000)
/* So much less than that it must be before it goes on, or it would be stopped again at once. */
#define RATE_PAUSE_NS UINT64_C(50000000)

/* So many units of work were done for that client. */
void rate_spend(struct peer *p, uint64_t units);
