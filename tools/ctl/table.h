/* SPDX-License-Identifier: MIT */
#pragma once
/* A table for people: columns as wide as what is in them. Knows nothing of the bus. */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "safe.h"

#define TABLE_COLUMNS_MAX 20

struct table_column {
    const char *title;
    bool is_number; /* to the right */
};

struct table {
    const struct table_column *columns; /* not owned */
    size_t n_columns;
    enum safe_charset charset;
    char **cells; /* of all rows */
    size_t n_rows, n_allocated;
    bool is_failed; /* out of memory: rows are missing */
};

void table_init(struct table *t, const struct table_column *columns, size_t n,
                enum safe_charset charset);
/** A new row, whose cells are empty. */
void table_begin_row(struct table *t);
/** A cell of the last row: text of others, made safe. */
void table_set(struct table *t, size_t column, const char *text);
void table_setf(struct table *t, size_t column, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** With titles. */
void table_print(const struct table *t, FILE *out);
void table_fini(struct table *t);
