/* SPDX-License-Identifier: MIT */
#pragma once
/* Stable names for the numbers of the protocol, for programs that read the monitor's output. */

#include <bus/types.h>

/** Longest name, with its NUL. */
#define NAME_BYTES 32

/* Each writes the lower-case name, such as "queue_full", or "unknown_17", to @buffer and returns
 * it. */
const char *name_of_status(enum bus_status status, char buffer[NAME_BYTES]);
const char *name_of_loss(enum bus_loss_reason reason, char buffer[NAME_BYTES]);
const char *name_of_verdict(enum bus_verdict verdict, char buffer[NAME_BYTES]);
