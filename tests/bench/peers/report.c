/* SPDX-License-Identifier: MIT */
/* Medians as a table or as JSON. */

#include "report.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common.h"

struct figure {
    double median, low, high;
};

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *) a;
    double y = *(const double *) b;

    return (x > y) - (x < y);
}

/* Deliveries a second of all runs. */
static struct figure figure_of(const struct row *row)
{
    double values[RUNS_MAX];
    unsigned n = row->n_runs;

    memcpy(values, row->per_second, sizeof(values));
    qsort(values, n, sizeof(double), compare_double);
    return (struct figure){
        .median = (values[n / 2] + values[(n - 1) / 2]) / 2,
        .low = values[0],
        .high = values[n - 1],
    };
}

static bool is_fine(const struct row *row)
{
    return row->n_runs > 0 && row->worst.outcome == OUTCOME_OK;
}

/* What a program says of its version: the first words. */
static void program_version(const struct peer *peer, char *buf, size_t size)
{
    char path[PATH_MAX], command[PATH_MAX + 64];
    unsigned blanks = 0;
    FILE *f;

    buf[0] = '\0';
    if (!peer->program || !program_find(peer->program, path, sizeof(path))) {
        return;
    }
    (void) snprintf(command, sizeof(command), "'%s' %s 2>/dev/null", path, peer->version);
    f = popen(command, "r");
    if (!f) {
        return;
    }
    if (!fgets(buf, (int) size, f)) {
        buf[0] = '\0';
    }
    (void) pclose(f);
    for (char *at = buf; *at; at++) {
        blanks += *at == ' ';
        if (*at == '\n' || blanks == 3) {
            *at = '\0';
            break;
        }
    }
}

/* ---- table ---- */

/* Three digits that count. */
static const char *short_number(double value, char *buf, size_t size)
{
    int digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;

    (void) snprintf(buf, size, "%.*f", digits, value);
    return buf;
}

/* Median and range, in units of so much. */
static void table_figure(const struct figure *f, double unit)
{
    char median[32], low[32], high[32], range[72];

    (void) snprintf(range, sizeof(range), "(%s-%s)", short_number(f->low / unit, low, sizeof(low)),
                    short_number(f->high / unit, high, sizeof(high)));
    (void) printf(" %8s %-17s", short_number(f->median / unit, median, sizeof(median)), range);
}

static void table_row(const struct row *row)
{
    struct figure f;

    (void) printf("%3u %8zu %6u %-10s", row->spec.n, row->spec.bytes, spec_window(&row->spec),
                  row->entry->name);
    if (!is_fine(row)) {
        (void) printf(" %s: %s\n", row->worst.outcome == OUTCOME_CANNOT ? "not possible" : "FAILED",
                      row->worst.reason);
        return;
    }
    f = figure_of(row);
    table_figure(&f, 1e6 / (double) row->spec.bytes);
    table_figure(&f, 1e3);
    (void) printf("\n");
}

static void table_peer(const struct plan *p, unsigned i)
{
    const struct peer_entry *entry = &peer_entries[i];
    char library[64], program[64];

    if (p->skipped[i]) {
        (void) printf("%-10s SKIPPED: %s (%s)\n", entry->name, p->skipped[i],
                      entry->peer ? entry->peer->program : entry->package);
        return;
    }
    entry->peer->client_library(library, sizeof(library));
    program_version(entry->peer, program, sizeof(program));
    (void) printf("%-10s %s (%s%s%s)\n", entry->name, entry->peer->about, program,
                  program[0] ? ", " : "", library);
}

void report_table(const struct plan *p)
{
    for (unsigned i = 0; i < n_peer_entries; i++) {
        if (p->is_wanted[i]) {
            table_peer(p, i);
        }
    }
    (void) printf("\n%ld processors, %g s a run, median of %u runs (lowest-highest); all "
                  "deliveries to N subscribers\n"
                  "%3s %8s %6s %-10s %8s %-17s %8s\n",
                  sysconf(_SC_NPROCESSORS_ONLN), p->seconds, p->runs, "N", "bytes", "window",
                  "peer", "MB/s", "", "1000/s");
    for (unsigned i = 0; i < p->n_rows; i++) {
        const struct row *row = &p->rows[i];

        if (i > 0 && row->spec.bytes != row[-1].spec.bytes) {
            (void) printf("\n");
        }
        table_row(row);
    }
}

/* ---- JSON ---- */

/* The texts are ours or a server's last words: printable, or replaced. */
static void json_text(const char *name, const char *text)
{
    (void) printf(",\"%s\":\"", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char) *text;

        if (c == '"' || c == '\\') {
            (void) printf("\\%c", c);
        } else {
            (void) putchar(c >= ' ' && c < 127 ? c : '?');
        }
    }
    (void) putchar('"');
}

static void json_figure(const char *name, const struct figure *f, double unit)
{
    (void) printf(",\"%s\":{\"median\":%.1f,\"lowest\":%.1f,\"highest\":%.1f}", name,
                  f->median / unit, f->low / unit, f->high / unit);
}

static void json_row(const struct row *row)
{
    static const char *const outcomes[] = {"ok", "failed", "cannot"};
    struct figure f;

    (void) printf("{\"subscribers\":%u,\"bytes\":%zu,\"window\":%u", row->spec.n, row->spec.bytes,
                  spec_window(&row->spec));
    json_text("peer", row->entry->name);
    json_text("outcome", outcomes[row->worst.outcome]);
    if (is_fine(row)) {
        f = figure_of(row);
        json_figure("per_second", &f, 1);
        json_figure("bytes_per_second", &f, 1 / (double) row->spec.bytes);
    } else {
        json_text("reason", row->worst.reason);
    }
    (void) printf("}");
}

static void json_peer(const struct plan *p, unsigned i)
{
    const struct peer_entry *entry = &peer_entries[i];
    char text[64];

    (void) printf("%s{\"index\":%u", i > 0 ? ",\n" : "\n", i);
    json_text("name", entry->name);
    if (!p->is_wanted[i] || p->skipped[i]) {
        json_text("skipped", p->skipped[i] ? p->skipped[i] : "not asked for");
    } else {
        json_text("about", entry->peer->about);
        program_version(entry->peer, text, sizeof(text));
        json_text("server", text);
        entry->peer->client_library(text, sizeof(text));
        json_text("library", text);
    }
    (void) printf("}");
}

void report_json(const struct plan *p)
{
    (void) printf("{\"processors\":%ld,\"runs\":%u,\"seconds\":%g,\"window_messages\":%llu,"
                  "\"window_bytes\":%llu,\"peers\":[",
                  sysconf(_SC_NPROCESSORS_ONLN), p->runs, p->seconds,
                  (unsigned long long) p->window_messages, (unsigned long long) p->window_bytes);
    for (unsigned i = 0; i < n_peer_entries; i++) {
        json_peer(p, i);
    }
    (void) printf("],\n\"rows\":[");
    for (unsigned i = 0; i < p->n_rows; i++) {
        (void) printf(i > 0 ? ",\n" : "\n");
        json_row(&p->rows[i]);
    }
    (void) printf("]}\n");
}
