/* SPDX-License-Identifier: MIT */
#pragma once
/* Replacing the router of a simulated world. */

#include "support/sim.h"

/* How often simulations do it that do not say: SIM_REPLACE of the environment, 0 if it is not set.
 */
unsigned sim_replace_each(void);
