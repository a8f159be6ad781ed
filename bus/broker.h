/* SPDX-License-Identifier: MIT */
#pragma once
/* The router process: assembles loop, listeners, sessions and the router core, and stops them in
 * order. */

#include "io/failure.h"
#include "options.h"

struct broker;

/* Everything up to listening. 0, or a negative errno said in *failure. The options must outlive the
 * broker. */
int broker_new(const struct options *o, struct broker **ret, struct failure *failure);
/* Serves until a signal stops it. */
void broker_run(struct broker *b);
/* NULL is fine. Returns NULL. */
struct broker *broker_free(struct broker *b);
