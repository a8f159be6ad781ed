/* SPDX-License-Identifier: MIT */
#pragma once
/* Entries as JSON lines for programs: all fields, by the names of schemas/inside.proto. */

#include <stdio.h>
#include "rates.h"

/** One object and a line feed. @rates: RATES of them, or NULL. */
void ctl_json_entry(FILE *out, const struct bus_inside_entry *entry, const double *rates);
void ctl_json_result(FILE *out, const char *command, const struct bus_control_result *result);
