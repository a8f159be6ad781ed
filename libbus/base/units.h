/* SPDX-License-Identifier: MIT */
#pragma once
/* Times are in nanoseconds. Apart from the clocks, which bus/core and libbus/wire must not see. */

#include <stdint.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
