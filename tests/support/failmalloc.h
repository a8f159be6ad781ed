/* SPDX-License-Identifier: MIT */
#pragma once
/* Allocations that fail on request: malloc, calloc, realloc, reallocarray and strdup of everything
 * that is linked statically into a test (linker option --wrap, so it works with the sanitizers).
 * Not for allocations inside shared libraries. One thread.
 *
 *     FOR_EACH_FAILING_MALLOC (n) {
 *         r = thing_new(&t);          // its n-th allocation fails
 *         if (r == 0) thing_free(t);  // n was beyond its last one: the loop ends after this turn
 *     }
 */

#include <stdbool.h>

/* The n-th allocation from now on fails, beginning with 1, and none after it. */
void failmalloc_arm(unsigned long n);
/* The n-th allocation from now on and all after it fail. */
void failmalloc_arm_from(unsigned long n);
/* Ends it. Returns how many allocations were made to fail. */
unsigned long failmalloc_disarm(void);
/* Whether one was made to fail since the last failmalloc_arm(). */
bool failmalloc_has_failed(void);
/* Allocations asked for since the last failmalloc_arm(), failed ones included. */
unsigned long failmalloc_count(void);

/* For the macro: arms again, or disarms and returns false if nothing failed in the last turn. */
bool failmalloc_step(unsigned long *n);

/* Ends after the first turn in which nothing failed. Leave it by break only after
 * failmalloc_disarm(). */
#define FOR_EACH_FAILING_MALLOC(n) for (unsigned long n = 0; failmalloc_step(&n);)
