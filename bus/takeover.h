/* SPDX-License-Identifier: MIT */
#pragma once
/* Asking the router at an address to hand over: as a client, with waiting. */

#include "base/address.h"
#include "io/failure.h"

/* *ret_fd: where io/handover.h goes on. 0, or a negative errno said in *f. */
int takeover_ask(const struct address *a, int *ret_fd, struct failure *f);
