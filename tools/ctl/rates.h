/* SPDX-License-Identifier: MIT */
#pragma once
/* What has grown between two answers of the router. */

#include <bus/inside.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rate { RATE_PUBLISHED, RATE_DELIVERED, RATE_LOST, RATE_VALUE, RATES };

/** The counts of an entry that only grow. */
struct sample {
    uint64_t id;    /* of the connection or the topic; of a counter its place */
    uint64_t since; /* when the connection began: another one is another one */
    uint64_t time_ns;
    uint64_t counts[RATES];
};

struct samples {
    struct sample *all;
    size_t n, n_allocated;
    bool is_sorted;
};

/** Whether there are rates of that list. */
bool rates_of_list(enum bus_inside_list list);

/** An entry of the first answer; false if out of memory. */
bool samples_add(struct samples *s, const struct bus_inside_entry *entry);

/** Counts per second of an entry of the second answer. False if it was not in the first one. */
bool samples_rates(struct samples *s, const struct bus_inside_entry *entry, double rates[RATES]);

void samples_fini(struct samples *s);
