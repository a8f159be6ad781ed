/* SPDX-License-Identifier: MIT */
#pragma once
/* What a command finds in its environment about the call that it answers. */

#include <bus/request.h>

/* A copy of this program's environment with the call's variables in it: one allocation for free().
 * NULL if out of memory. */
char **serve_env_new(const struct bus_call *call);
