/* SPDX-License-Identifier: MIT */
#pragma once
/* Entries as rows of a table. */

#include "rates.h"
#include "table.h"

/** The columns of a list. */
const struct table_column *row_columns(enum bus_inside_list list, size_t *ret_n);

/** A row for an entry. @rates: RATES of them, or NULL: then totals are shown in their place. */
void row_add(struct table *t, const struct bus_inside_entry *entry, const double *rates);

/** What is slow about a client or a subscription, such as "credit 3.2s sub 2 (120 wait)"; "" if
 * nothing is. */
const char *row_slow(uint64_t slow, uint64_t ms, uint64_t subscription, uint64_t messages,
                     char buffer[96]);
