/* SPDX-License-Identifier: MIT */
#pragma once
/* Medians as a table or as JSON, on stdout. */

#include "plan.h"

void report_table(const struct plan *p);
void report_json(const struct plan *p);
