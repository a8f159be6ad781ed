/* SPDX-License-Identifier: MIT */
#pragma once
/* Cells and lines of the live table as text; for the screen and for plain tables. Knows no curses.
 */

#include <stddef.h>
#include <stdio.h>
#include "safe.h"
#include "top_model.h"

/** Room for any cell of up to VIEW_WIDTH_MAX columns. */
#define VIEW_WIDTH_MAX 512
#define VIEW_CELL_BYTES (VIEW_WIDTH_MAX * 8)

/** A number in at most 6 columns, such as 12345, 0.5, 123.4k. */
void view_number(double value, char *buffer, size_t bytes);

/** Text in exactly @width columns: hidden characters escaped, the middle left out if it is too
 * long, padded. */
void view_fit(const char *text, int width, enum safe_charset charset, char buffer[VIEW_CELL_BYTES]);

/** Columns that a text takes. */
int view_columns(const char *text, enum safe_charset charset);

/** A cell in exactly @width columns. */
void view_cell(const struct top_row *row, enum top_table_id table, const struct top_column *column,
               int width, enum safe_charset charset, char buffer[VIEW_CELL_BYTES]);

/** The router's totals: lines 0 to VIEW_SUMMARY_LINES - 1, without a line feed. */
#define VIEW_SUMMARY_LINES 3
void view_summary(const struct top_model *m, int line, char *buffer, size_t bytes);

/** All tables, all rows, all columns. */
void view_print(FILE *out, const struct top_model *m, enum safe_charset charset);
