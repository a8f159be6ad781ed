/* SPDX-License-Identifier: MIT */
#pragma once
/* Entries as rows of a table. */

#include "rates.h"
#include "table.h"

/** The columns of a list. */
const struct table_column *row_columns(enum bus_inside_list list, size_t *ret_n);

/** A row for an entry. @rates: RATES of them, or NULL: then totals are shown in their place. */
void row_add(struct table *t, const struct bus_inside_entry *entry, const double *rates);
