/* SPDX-License-Identifier: MIT */
#pragma once
/* bus-router --explain: what the rules say to one question. */

#include "options.h"

/* The question is in o->arguments. Writes the answer to out, and what is wrong with the question to
 * the report. Returns an exit code. */
int explain(const struct options *o, FILE *out, struct report *report);
