/* SPDX-License-Identifier: MIT */
/* Cells and lines of the live table as text. Pure functions of the model; knows no curses and no
 * connection. */
#include "top_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define NAME_WIDTH_MIN 12
#define NAME_WIDTH_MAX 80
#define CHARS_MAX 4096

void view_number(double value, char *buffer, size_t bytes)
{
    static const char units[] = "kMGTPE";
    int unit = -1;

    if (value < 9.95 && value - (double) (uint64_t) value > 0.049) {
        snprintf(buffer, bytes, "%.1f", value);
        return;
    }
    if (value < 99999.5) {
        snprintf(buffer, bytes, "%.0f", value);
        return;
    }
    while (value >= 999.95 && units[unit + 1]) {
        value /= 1000;
        unit++;
    }
    snprintf(buffer, bytes, "%.1f%c", value, units[unit]);
}

/* ---- text of a given width ---- */

struct glyph {
    const char *text;
    int bytes;
    int width;
};

static struct glyph next_glyph(const char *text, enum safe_charset charset)
{
    struct glyph g = {.text = text, .bytes = 1, .width = 1};
    uint32_t code;
    int length;

    if (charset == SAFE_UTF8) {
        length = utf8_next((const unsigned char *) text, strlen(text), &code);
        g.bytes = length > 0 ? length : 1;
        g.width = length > 0 ? wcwidth((wchar_t) code) : -1;
    }
    if (g.width < 0) {
        g.text = "?"; /* one the C library does not know: who knows what the terminal makes of it */
        g.width = 1;
    }
    return g;
}

static size_t split_glyphs(const char *text, enum safe_charset charset,
                           struct glyph glyphs[CHARS_MAX], int *ret_width)
{
    size_t n = 0;

    *ret_width = 0;
    while (*text && n < CHARS_MAX) {
        glyphs[n] = next_glyph(text, charset);
        text += glyphs[n].bytes;
        *ret_width += glyphs[n].width;
        n++;
    }
    return n;
}

static void put_glyph(FILE *out, const struct glyph *g)
{
    fwrite(g->text, 1, g->text[0] == '?' ? 1 : (size_t) g->bytes, out);
}

/* The beginning says where a topic belongs and the end which one it is: the middle goes. */
static int put_shortened(FILE *out, const struct glyph *glyphs, size_t n, int width)
{
    int used = 0;
    int tail = 0;
    size_t head;
    size_t from = n;

    for (head = 0; head < n && used + glyphs[head].width <= width / 3; head++) {
        used += glyphs[head].width;
        put_glyph(out, &glyphs[head]);
    }
    putc('~', out);
    used++;
    while (from > head && used + tail + glyphs[from - 1].width <= width) {
        tail += glyphs[--from].width;
    }
    for (; from < n; from++) {
        put_glyph(out, &glyphs[from]);
    }
    return used + tail;
}

void view_fit(const char *text, int width, enum safe_charset charset, char buffer[VIEW_CELL_BYTES])
{
    struct glyph glyphs[CHARS_MAX];
    char *safe = safe_dup(text, charset);
    FILE *out = fmemopen(buffer, VIEW_CELL_BYTES, "w");
    int used = 0;
    size_t n;

    buffer[0] = '\0';
    if (!safe || !out || width <= 0) {
        free(safe);
        if (out) {
            fclose(out);
        }
        return;
    }
    n = split_glyphs(safe, charset, glyphs, &used);
    if (used > width) {
        used = put_shortened(out, glyphs, n, width);
    } else {
        for (size_t i = 0; i < n; i++) {
            put_glyph(out, &glyphs[i]);
        }
    }
    fprintf(out, "%*s", width - used, "");
    fclose(out);
    free(safe);
}

int view_columns(const char *text, enum safe_charset charset)
{
    struct glyph glyphs[CHARS_MAX];
    char *safe = safe_dup(text, charset);
    int width = 0;

    if (safe) {
        (void) split_glyphs(safe, charset, glyphs, &width);
    }
    free(safe);
    return width;
}

/* ---- cells ---- */

#define LABEL_BYTES 320 /* a topic, or a name, '#' and a number */

static void row_label(const struct top_row *row, enum top_table_id table, char label[LABEL_BYTES])
{
    if (table == TOP_CLIENTS) {
        snprintf(label, LABEL_BYTES, "%s#%" PRIu64, row->name, row->id);
    } else {
        snprintf(label, LABEL_BYTES, "%s", row->name);
    }
}

void view_cell(const struct top_row *row, enum top_table_id table, const struct top_column *column,
               int width, enum safe_charset charset, char buffer[VIEW_CELL_BYTES])
{
    char label[LABEL_BYTES];
    char number[32] = "-";
    double value;
    bool known;

    if (column->source == TOP_FROM_NAME) {
        row_label(row, table, label);
        view_fit(label, width, charset, buffer);
        return;
    }
    if (column->source == TOP_FROM_NOTE) {
        view_fit(row->note ? row->note : "-", width, charset, buffer);
        return;
    }
    value = top_row_number(row, column, &known);
    if (column->source != TOP_FROM_TOTAL && column->source != TOP_FROM_RATE) {
        snprintf(number, sizeof(number), "%.0f", value); /* a name in digits: never rounded */
    } else if (known) {
        view_number(value, number, sizeof(number));
    }
    snprintf(buffer, VIEW_CELL_BYTES, "%*s", width, number);
}

/* ---- totals ---- */

static void put_total(FILE *out, const struct top_model *m, const char *label, const char *name)
{
    const struct top_counter *c = top_model_counter(m, name);
    char number[32] = "?";

    if (c) {
        view_number((double) c->value, number, sizeof(number));
    }
    fprintf(out, "%s %s", label, number);
}

static void put_rate(FILE *out, const struct top_model *m, const char *label, const char *name,
                     const char *unit)
{
    const struct top_counter *c = top_model_counter(m, name);
    char number[32] = "-";

    if (c && c->has_rate) {
        view_number(c->rate, number, sizeof(number));
    }
    fprintf(out, "%s %s%s/s", label, number, unit);
}

void view_summary(const struct top_model *m, int line, char *buffer, size_t bytes)
{
    FILE *out = fmemopen(buffer, bytes, "w");

    buffer[0] = '\0';
    if (!out) {
        return;
    }
    if (line == 0) {
        put_total(out, m, "clients", "clients_now");
        put_total(out, m, "  subscriptions", "subscriptions_now");
        put_total(out, m, "  topics", "topics_now");
        put_total(out, m, "  monitors", "monitors_now");
        put_total(out, m, "  queued", "messages_queued_now");
        put_total(out, m, "  memory", "charged_bytes_now");
    } else if (line == 2) {
        put_rate(out, m, "requests", "requests", "");
        put_rate(out, m, "  replies", "replies", "");
        put_total(out, m, "  open", "requests_now");
        put_total(out, m, "  failed", "requests_failed");
    } else {
        put_rate(out, m, "in", "messages_published", "");
        put_rate(out, m, "", "bytes_published", "B");
        put_rate(out, m, "  out", "messages_delivered", "");
        put_rate(out, m, "", "bytes_delivered", "B");
        put_rate(out, m, "  lost", "messages_lost", "");
        put_total(out, m, ", in all", "messages_lost");
        put_total(out, m, "  refused", "messages_refused");
    }
    fclose(out);
}

/* ---- plain tables ---- */

static int name_width(const struct top_model *m, enum top_table_id table, enum safe_charset charset)
{
    int width = NAME_WIDTH_MIN;
    const struct top_row *row;

    for (size_t i = 0; (row = top_model_row(m, table, i)); i++) {
        char label[LABEL_BYTES];
        int here;

        row_label(row, table, label);
        here = view_columns(label, charset);
        width = here > width ? here : width;
    }
    return width > NAME_WIDTH_MAX ? NAME_WIDTH_MAX : width;
}

static void print_table(FILE *out, const struct top_model *m, enum top_table_id table,
                        enum safe_charset charset)
{
    size_t n;
    const struct top_column *columns = top_columns(table, &n);
    int width = name_width(m, table, charset);
    const struct top_row *row;
    char cell[VIEW_CELL_BYTES];

    fprintf(out, "%-*s", width, columns[0].title);
    for (size_t i = 1; i < n; i++) {
        fprintf(out, " %*s", columns[i].width, columns[i].title);
    }
    putc('\n', out);
    for (size_t at = 0; (row = top_model_row(m, table, at)); at++) {
        for (size_t i = 0; i < n; i++) {
            view_cell(row, table, &columns[i], i ? columns[i].width : width, charset, cell);
            fprintf(out, i ? " %s" : "%s", cell);
        }
        putc('\n', out);
    }
}

void view_print(FILE *out, const struct top_model *m, enum safe_charset charset)
{
    char line[256];

    for (int i = 0; i < VIEW_SUMMARY_LINES; i++) {
        view_summary(m, i, line, sizeof(line));
        fprintf(out, "%s\n", line);
    }
    putc('\n', out);
    print_table(out, m, TOP_TOPICS, charset);
    putc('\n', out);
    print_table(out, m, TOP_CLIENTS, charset);
    putc('\n', out);
    for (int table = TOP_GROUPS; table <= TOP_QUOTAS; table++) {
        if (m->now[table].n_rows > 0) {
            print_table(out, m, (enum top_table_id) table, charset);
            putc('\n', out);
        }
    }
}
