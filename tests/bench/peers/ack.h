/* SPDX-License-Identifier: MIT */
#pragma once
/* What subscribers tell the publisher, outside of the peer: one pipe for all, each record in one
 * atomic write. */

#include <stdint.h>

/* Messages that do not count come from this publisher of the pattern, those that count from 0. */
#define PROBE_PUBLISHER 1

struct ack {
    uint64_t index;    /* of the subscriber */
    uint64_t received; /* 0: a probe has arrived */
};
