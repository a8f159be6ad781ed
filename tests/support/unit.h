/* SPDX-License-Identifier: MIT */
#pragma once
/* What every unit test includes: cmocka with what it needs before it, and random numbers that can
 * be repeated. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "base/macros.h"

struct rng {
    uint64_t state;
};

/* Seeds from $TEST_SEED, or the clock, and prints the seed: cmocka's output is shown when a test
 * fails. */
static inline struct rng rng_from_env(void)
{
    const char *text = getenv("TEST_SEED");
    uint64_t seed =
        text ? strtoull(text, NULL, 0) : (uint64_t) time(NULL) * 1000003u + (uint64_t) clock();

    (void) fprintf(stderr, "TEST_SEED=%llu\n", (unsigned long long) seed);
    return (struct rng){seed};
}

/* splitmix64 */
static inline uint64_t rng_u64(struct rng *r)
{
    uint64_t z = r->state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* 0 to n - 1 */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t) (rng_u64(r) % n);
}

/* All magnitudes are equally likely, so that every length of a varint comes up. */
static inline uint64_t rng_magnitude(struct rng *r)
{
    return rng_u64(r) >> rng_below(r, 64);
}
