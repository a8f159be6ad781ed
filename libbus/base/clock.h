/* SPDX-License-Identifier: MIT */
#pragma once
/* The two clocks, read by the shell only: bus/core and libbus/wire get times as parameters. */

#include <stdint.h>
#include <time.h>
#include "base/units.h"

static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    (void) clock_gettime(id, &ts); /* cannot fail for the two ids below */
    return (uint64_t) ts.tv_sec * NS_PER_S + (uint64_t) ts.tv_nsec;
}

/* For deadlines. */
static inline uint64_t clock_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* For time stamps. */
static inline uint64_t clock_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}
