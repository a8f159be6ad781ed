/* SPDX-License-Identifier: MIT */
#pragma once
/* How two filters lie to each other, as sets of topics: whether one contains the other, whether
 * they have topics in common, and which. Exact, but for the greatest length of a topic, of which
 * these know nothing. Pure functions on valid filters; a topic is one, too. */

#include <stdbool.h>
#include <stddef.h>
#include "wire/messages.h"

/* Whether every topic that inner matches is matched by outer. */
bool filter_contains(struct text outer, struct text inner);
/* Whether some topic is matched by both. */
bool filters_meet(struct text a, struct text b);

/* As long as the texts of two filters together. */
#define COMMON_MAX 520u
/* The topics that two filters have in common are a filter, too: writes it, without NUL, and returns
 * its length. 0: they have none. It may be longer than a filter that a client can send. */
size_t filters_common(struct text a, struct text b, char dst[COMMON_MAX]);
