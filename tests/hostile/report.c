/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include "hostile/measure.h"

#define MIB (1024.0 * 1024.0)

void report_head(const struct stage *s)
{
    (void) printf("bus-hostile: router %u, victims %u, attackers %u\n",
                  (unsigned) s->users[PARTY_ROUTER].uid, (unsigned) s->users[PARTY_VICTIM].uid,
                  (unsigned) s->users[PARTY_ATTACKER].uid);
    (void) printf("%-14s %5s %-11s %9s %9s %8s %5s %7s %8s %6s %6s %8s %8s %9s\n", "attack", "kept",
                  "by", "p99 us", "before", "turn us", "CPU", "starved", "us each", "before",
                  "RSS M", "look ms", "conns/s", "frames/s");
}

void report_trial(const struct trial *t)
{
    unsigned worst = trial_worst(t);
    const struct measured *d = &t->during[t->n_rounds - 1], *b = &t->before[t->n_rounds - 1];
    uint64_t turn_us = 0;

    for (unsigned i = 0; i < n_victim_kinds; i++) {
        turn_us = d->pairs[i].turn_us > turn_us ? d->pairs[i].turn_us : turn_us;
    }
    (void) printf(
        "%-14s %4.0f%% %-11s %9llu %9llu %8llu %4.0f%% %6.0f%% %8.2f %6.2f %6.0f %8.1f %8.0f %9.0f"
        "  released in %.0f ms\n",
        t->name, 100 * trial_kept(t, worst), victim_kinds[worst].name,
        (unsigned long long) d->pairs[worst].p99_us, (unsigned long long) b->pairs[worst].p99_us,
        (unsigned long long) turn_us, 100 * d->cpu, 100 * d->starved, d->cpu_us_each,
        b->cpu_us_each, (double) d->rss_bytes / MIB, (double) d->look_ns / 1e6, d->connections,
        d->frames, (double) t->released_ns / 1e6);
    (void) fflush(stdout);
}

void report_pairs(const struct trial *t)
{
    const struct measured *d = &t->during[t->n_rounds - 1], *b = &t->before[t->n_rounds - 1];

    for (unsigned i = 0; i < n_victim_kinds; i++) {
        const struct measured_pair *pd = &d->pairs[i], *pb = &b->pairs[i];

        (void) printf(
            "    %-12s %4.0f%%  %8.0f/s, before %8.0f/s; us: p50 %llu, before %llu; p99 %llu, "
            "before %llu; turn %llu, before %llu\n",
            victim_kinds[i].name, 100 * trial_kept(t, i), pd->rate, pb->rate,
            (unsigned long long) pd->p50_us, (unsigned long long) pb->p50_us,
            (unsigned long long) pd->p99_us, (unsigned long long) pb->p99_us,
            (unsigned long long) pd->turn_us, (unsigned long long) pb->turn_us);
    }
    (void) fflush(stdout);
}
