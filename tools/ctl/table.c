/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "top_view.h"

void table_init(struct table *t, const struct table_column *columns, size_t n,
                enum safe_charset charset)
{
    *t = (struct table){.columns = columns, .n_columns = n, .charset = charset};
}

void table_begin_row(struct table *t)
{
    if (t->n_rows == t->n_allocated) {
        size_t n = t->n_allocated ? 2 * t->n_allocated : 64;
        char **more = reallocarray(t->cells, n, t->n_columns * sizeof(*more));

        if (!more) {
            t->is_failed = true;
            return;
        }
        t->cells = more;
        t->n_allocated = n;
    }
    memset(t->cells + t->n_rows * t->n_columns, 0, t->n_columns * sizeof(*t->cells));
    t->n_rows++;
}

void table_set(struct table *t, size_t column, const char *text)
{
    char **cell;

    if (t->is_failed) {
        return;
    }
    cell = &t->cells[(t->n_rows - 1) * t->n_columns + column];
    free(*cell);
    *cell = safe_dup(text, t->charset);
    t->is_failed = !*cell;
}

void table_setf(struct table *t, size_t column, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void) vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    table_set(t, column, text);
}

static const char *cell_of(const struct table *t, size_t row, size_t column)
{
    const char *cell = t->cells[row * t->n_columns + column];

    return cell ? cell : "";
}

static int width_of(const struct table *t, size_t column)
{
    int width = (int) strlen(t->columns[column].title);

    for (size_t row = 0; row < t->n_rows; row++) {
        int w = view_columns(cell_of(t, row, column), t->charset);

        width = w > width ? w : width;
    }
    return width;
}

static void put_cell(const struct table *t, size_t column, int width, const char *text, FILE *out)
{
    int pad = width - view_columns(text, t->charset);
    bool is_last = column + 1 == t->n_columns;

    if (t->columns[column].is_number) {
        (void) fprintf(out, "%*s%s", pad, "", text);
    } else {
        (void) fprintf(out, "%s%*s", text, is_last ? 0 : pad, "");
    }
    (void) fputs(is_last ? "\n" : "  ", out);
}

void table_print(const struct table *t, FILE *out)
{
    int widths[TABLE_COLUMNS_MAX];

    for (size_t i = 0; i < t->n_columns; i++) {
        widths[i] = width_of(t, i);
    }
    for (size_t i = 0; i < t->n_columns; i++) {
        put_cell(t, i, widths[i], t->columns[i].title, out);
    }
    for (size_t row = 0; row < t->n_rows; row++) {
        for (size_t i = 0; i < t->n_columns; i++) {
            put_cell(t, i, widths[i], cell_of(t, row, i), out);
        }
    }
}

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->n_rows * t->n_columns; i++) {
        free(t->cells[i]);
    }
    free(t->cells);
    *t = (struct table){0};
}
