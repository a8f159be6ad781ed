/* SPDX-License-Identifier: MIT */
/* Medians as a table or as JSON. */

#include "report.h"
#include <bus/bus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const percentile_names[N_PERCENTILES] = {"p50", "p90", "p99", "p99.9"};

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *) a;
    double y = *(const double *) b;

    return (x > y) - (x < y);
}

/* One figure of all runs. */
struct figure {
    double median, low, high;
};

static struct figure figure_of(const struct plan *p, const struct row *row, enum side side,
                               size_t offset)
{
    double values[RUNS_MAX];

    for (unsigned i = 0; i < p->runs; i++) {
        memcpy(&values[i], (const char *) &row->results[side][i] + offset, sizeof(double));
    }
    qsort(values, p->runs, sizeof(double), compare_double);
    return (struct figure){
        .median = (values[p->runs / 2] + values[(p->runs - 1) / 2]) / 2,
        .low = values[0],
        .high = values[p->runs - 1],
    };
}

static struct figure scaled(struct figure f, double by)
{
    return (struct figure){f.median * by, f.low * by, f.high * by};
}

static size_t percentile_offset(int i)
{
    return offsetof(struct result, percentile_us) + sizeof(double) * (size_t) i;
}

/* Whether messages flow as fast as they can. */
static bool has_gigabytes(const struct row *row)
{
    enum mode mode = row->spec.mode;

    return mode == MODE_THROUGHPUT || mode == MODE_FANOUT || mode == MODE_FANIN;
}

/* Gigabytes a second, of messages a second. */
static struct figure gigabytes(const struct row *row, struct figure rate)
{
    return scaled(rate, (double) row->spec.bytes / 1e9);
}

static bool has_percentiles(const struct row *row)
{
    return row->spec.mode == MODE_RTT || row->spec.mode == MODE_REQUEST ||
           row->spec.mode == MODE_REQUESTS || row->spec.mode == MODE_LATENCY;
}

/* ---- table ---- */

/* A number with the suffix that makes it short. */
static const char *short_number(double value, char *buf, size_t bytes)
{
    if (value >= 1e6) {
        (void) snprintf(buf, bytes, "%.2fM", value / 1e6);
    } else if (value >= 1e4) {
        (void) snprintf(buf, bytes, "%.1fk", value / 1e3);
    } else {
        (void) snprintf(buf, bytes, "%.1f", value);
    }
    return buf;
}

/* As -b takes it. */
static const char *short_bytes(size_t value, char *buf, size_t bytes)
{
    static const char *const suffixes[] = {"", "K", "M", "G"};
    size_t i = 0;

    while (i + 1 < sizeof(suffixes) / sizeof(suffixes[0]) && value >= 1024 && value % 1024 == 0) {
        value /= 1024;
        i++;
    }
    (void) snprintf(buf, bytes, "%zu%s", value, suffixes[i]);
    return buf;
}

static void table_side(const struct plan *p, const struct row *row, enum side side, size_t offset)
{
    char median[32], low[32], high[32], range[72], volume[32] = "";
    struct figure f;

    if (!row->sides[side]) {
        (void) printf(" %9s %-17s %6s", "-", "", "");
        return;
    }
    f = figure_of(p, row, side, offset);
    (void) snprintf(range, sizeof(range), "(%s-%s)", short_number(f.low, low, sizeof(low)),
                    short_number(f.high, high, sizeof(high)));
    if (has_gigabytes(row)) {
        (void) snprintf(volume, sizeof(volume), "%.2f", gigabytes(row, f).median);
    }
    (void) printf(" %9s %-17s %6s", short_number(f.median, median, sizeof(median)), range, volume);
}

static void table_line(const struct plan *p, const struct row *row, const char *unit, size_t offset)
{
    char bytes[32];

    (void) printf("%-10s %-9s %7s %6u %-12s", mode_name(row->spec.mode), link_name(row->spec.link),
                  short_bytes(row->spec.bytes, bytes, sizeof(bytes)), row->spec.n, unit);
    table_side(p, row, SIDE_BUS, offset);
    table_side(p, row, SIDE_FLOOR, offset);
    (void) printf(row->spec.in_memory ? " *" : "  ");
    if (row->sides[SIDE_BUS] && row->sides[SIDE_FLOOR]) {
        double bus = figure_of(p, row, SIDE_BUS, offset).median;
        double base = figure_of(p, row, SIDE_FLOOR, offset).median;

        (void) printf(" %7.2f", base > 0 ? bus / base : 0.0);
    }
    (void) printf("\n");
}

static void table_row(const struct plan *p, const struct row *row)
{
    size_t rate = offsetof(struct result, rate);

    switch (row->spec.mode) {
    case MODE_REQUEST:
    case MODE_REQUESTS:
    case MODE_RTT:
        table_line(p, row, "trips/s", rate);
        break;
    case MODE_LATENCY:
        table_line(p, row, "messages/s", rate);
        break;
    case MODE_CONNECT:
        table_line(p, row, "connects/s", rate);
        table_line(p, row, "bytes each", offsetof(struct result, bytes_each));
        return;
    case MODE_SUBS:
        table_line(p, row, "subscribes/s", rate);
        table_line(p, row, "bytes each", offsetof(struct result, bytes_each));
        return;
    case MODE_THROUGHPUT:
    case MODE_FANOUT:
    case MODE_FANIN:
        table_line(p, row, "deliveries/s", rate);
        return;
    }
    for (int i = 0; i < N_PERCENTILES; i++) {
        char unit[16];

        (void) snprintf(unit, sizeof(unit), "%s us", percentile_names[i]);
        table_line(p, row, unit, percentile_offset(i));
    }
}

void report_table(const struct plan *p)
{
    bool in_memory = false;

    (void) printf("libbus %s, %ld processors, median of %u runs (lowest-highest); "
                  "of bytes and us less is better\n",
                  bus_version(), sysconf(_SC_NPROCESSORS_ONLN), p->runs);
    (void) printf("%-10s %-9s %7s %6s %-12s %9s %-17s %6s %9s %-17s %6s %9s\n", "mode", "link",
                  "bytes", "n", "unit", "bus", "", "GB/s", "floor", "", "GB/s", "bus/floor");
    for (unsigned i = 0; i < p->n_rows; i++) {
        table_row(p, &p->rows[i]);
        in_memory |= p->rows[i].spec.in_memory;
    }
    if (in_memory) {
        (void) printf("* the floor hands bodies over in memory\n");
    }
    if (p->in_place) {
        (void) printf("publishers wrote bodies in place (--loan)\n");
    }
    if (p->reliable) {
        (void) printf("topics on the bus were reliable (--reliable)\n");
    }
}

/* ---- JSON ---- */

static void json_figure(const char *name, struct figure f)
{
    (void) printf(",\"%s\":{\"median\":%.3f,\"lowest\":%.3f,\"highest\":%.3f}", name, f.median,
                  f.low, f.high);
}

static void json_side(const struct plan *p, const struct row *row, enum side side)
{
    struct figure rate = figure_of(p, row, side, offsetof(struct result, rate));
    uint64_t messages = 0;

    for (unsigned i = 0; i < p->runs; i++) {
        messages += row->results[side][i].messages;
    }
    (void) printf(",\"%s\":{\"checked\":%llu", side_name(side), (unsigned long long) messages);
    if (side == SIDE_FLOOR) {
        (void) printf(",\"through\":\"%s\"", row->spec.in_memory ? "memory" : "sockets");
    }
    json_figure("per_second", rate);
    if (has_gigabytes(row)) {
        json_figure("gigabytes_per_second", gigabytes(row, rate));
    }
    for (int i = 0; has_percentiles(row) && i < N_PERCENTILES; i++) {
        char name[16];

        (void) snprintf(name, sizeof(name), "%s_us", percentile_names[i]);
        json_figure(name, figure_of(p, row, side, percentile_offset(i)));
    }
    if (row->spec.mode == MODE_CONNECT || row->spec.mode == MODE_SUBS) {
        size_t offset = offsetof(struct result, bytes_each);

        json_figure("bytes_each", figure_of(p, row, side, offset));
    }
    (void) printf("}");
}

static void json_row(const struct plan *p, const struct row *row)
{
    const struct spec *s = &row->spec;

    (void) printf("{\"mode\":\"%s\",\"link\":\"%s\",\"bytes\":%zu,\"loan\":%s,"
                  "\"reliable\":%s,\"n\":%u,\"seconds\":%g",
                  mode_name(s->mode), link_name(s->link), s->bytes, s->in_place ? "true" : "false",
                  s->reliable ? "true" : "false", s->n, s->seconds);
    if (s->mode == MODE_LATENCY) {
        (void) printf(",\"rate\":%g", s->rate);
    }
    for (int side = 0; side < 2; side++) {
        if (row->sides[side]) {
            json_side(p, row, (enum side) side);
        }
    }
    if (row->sides[SIDE_BUS] && row->sides[SIDE_FLOOR]) {
        size_t rate = offsetof(struct result, rate);
        double base = figure_of(p, row, SIDE_FLOOR, rate).median;

        (void) printf(",\"bus_to_floor\":%.4f",
                      base > 0 ? figure_of(p, row, SIDE_BUS, rate).median / base : 0.0);
    }
    (void) printf("}");
}

void report_json(const struct plan *p)
{
    (void) printf("{\"version\":\"%s\",\"processors\":%ld,\"runs\":%u,\"rows\":[", bus_version(),
                  sysconf(_SC_NPROCESSORS_ONLN), p->runs);
    for (unsigned i = 0; i < p->n_rows; i++) {
        (void) printf(i > 0 ? ",\n" : "\n");
        json_row(p, &p->rows[i]);
    }
    (void) printf("\n]}\n");
}
