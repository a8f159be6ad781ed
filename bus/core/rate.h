/* SPDX-License-Identifier: MIT */
#pragma once
/* What the clients of a user may make the router do in a second: a bucket, as a point in time up to
 * which the user has paid. Who owes is not read for a while; nothing is lost. docs/protocol.md,
 * section 21. */

#include <stdint.h>

struct peer;

/* So long nothing was done for a user: as much can be done at once. */
#define RATE_BURST_NS UINT64_C(250000000)
/* So much more than its debt a user waits for, that it is not stopped again at once. */
#define RATE_PAUSE_NS UINT64_C(50000000)

/* So many units of work were done for that client. */
void rate_spend(struct peer *p, uint64_t units);
