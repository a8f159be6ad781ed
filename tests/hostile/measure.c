/* SPDX-License-Identifier: MIT */
#include "hostile/measure.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define SAMPLE_MS 10
#define SAMPLES_A_LOOK 20u /* the administrator looks so often */

struct counts {
    uint64_t sent, got, lost, missing, refused, foreign, broken;
    uint64_t latency[LATENCY_BUCKETS], turn[LATENCY_BUCKETS];
};

static void counts_read(struct pair_board *b, struct counts *ret)
{
    *ret = (struct counts){b->sent,    b->got,    b->lost, b->missing, b->refused,
                           b->foreign, b->broken, {0},     {0}};
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        ret->latency[i] = b->latency[i];
        ret->turn[i] = b->turn[i];
    }
}

static uint64_t bucket_us(unsigned bucket)
{
    unsigned power = bucket / 8;

    return (UINT64_C(1) << power) + (((uint64_t) (bucket % 8) << power) >> 3);
}

static uint64_t percentile(const uint64_t from[LATENCY_BUCKETS], const uint64_t to[LATENCY_BUCKETS],
                           unsigned percent)
{
    uint64_t n = 0, at = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        n += to[i] - from[i];
    }
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        at += to[i] - from[i];
        if (n > 0 && at * 100 >= n * percent) {
            return bucket_us(i);
        }
    }
    return 0;
}

static void pair_measured(const struct counts *from, const struct counts *to, double seconds,
                          struct measured_pair *ret)
{
    *ret = (struct measured_pair){
        .sent = to->sent - from->sent,
        .got = to->got - from->got,
        .lost = to->lost - from->lost,
        .missing = to->missing - from->missing,
        .refused = to->refused - from->refused,
        .foreign = to->foreign - from->foreign,
        .broken = to->broken - from->broken,
        .rate = (double) (to->got - from->got) / seconds,
        .p50_us = percentile(from->latency, to->latency, 50),
        .p99_us = percentile(from->latency, to->latency, 99),
        .turn_us = percentile(from->turn, to->turn, 99),
    };
}

static void attackers_add(struct board *b, struct measured *m, double sign)
{
    for (unsigned i = 0; i < n_attack_kinds; i++) {
        m->connections += sign * (double) b->attacks[i].connections;
        m->frames += sign * (double) b->attacks[i].frames;
    }
}

static void watch(struct stage *s, struct probe *p, struct measured *m)
{
    uint64_t until_ns = now_ns() + s->settings.phase_ms * NS_PER_MS;

    for (unsigned i = 0; now_ns() < until_ns; i++) {
        uint64_t rss_bytes = process_rss_bytes(s->parties[PARTY_ROUTER]);

        m->rss_bytes = rss_bytes > m->rss_bytes ? rss_bytes : m->rss_bytes;
        if (i % SAMPLES_A_LOOK == 0) {
            uint64_t look_ns = probe_look(s, p);

            m->look_ns = look_ns > m->look_ns ? look_ns : m->look_ns;
            if (look_ns == 0) {
                wrong(s, "the administrator cannot look any more");
                return;
            }
        }
        (void) poll(NULL, 0, SAMPLE_MS);
    }
}

void measure(struct stage *s, struct probe *p, struct measured *ret)
{
    static struct counts from[PAIRS_MAX], to[PAIRS_MAX];
    pid_t router = s->parties[PARTY_ROUTER];
    uint64_t begin_ns = now_ns(), got = 0, cpu_ns, starved_ns, cpu_end_ns, starved_end_ns;

    *ret = (struct measured){0};
    process_times(router, &cpu_ns, &starved_ns);
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        counts_read(&s->board->pairs[i], &from[i]);
    }
    attackers_add(s->board, ret, -1);
    watch(s, p, ret);
    attackers_add(s->board, ret, 1);
    ret->seconds = (double) (now_ns() - begin_ns) / 1e9;
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        counts_read(&s->board->pairs[i], &to[i]);
        pair_measured(&from[i], &to[i], ret->seconds, &ret->pairs[i]);
        got += ret->pairs[i].got;
    }
    process_times(router, &cpu_end_ns, &starved_end_ns);
    ret->cpu = (double) (cpu_end_ns - cpu_ns) / 1e9 / ret->seconds;
    ret->starved = (double) (starved_end_ns - starved_ns) / 1e9 / ret->seconds;
    ret->cpu_us_each = got ? (double) (cpu_end_ns - cpu_ns) / 1e3 / (double) got : 0;
    ret->connections /= ret->seconds;
    ret->frames /= ret->seconds;
}

/* ---- trials ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return (x > y) - (x < y);
}

/* What counts of all rounds: the median; or the best one, where the machine may spoil some. */
static double of_rounds(const struct trial *t, double *values, bool more_is_better)
{
    unsigned n = t->n_rounds;

    qsort(values, n, sizeof(values[0]), compare);
    if (t->best_counts) {
        return values[more_is_better ? n - 1 : 0];
    }
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

uint64_t trial_turn_us(const struct trial *t, unsigned pair)
{
    double turns[ROUNDS_MAX];

    for (unsigned i = 0; i < t->n_rounds; i++) {
        turns[i] = (double) t->during[i].pairs[pair].turn_us;
    }
    return (uint64_t) of_rounds(t, turns, false);
}

double trial_kept(const struct trial *t, unsigned pair)
{
    double kept[ROUNDS_MAX];

    for (unsigned i = 0; i < t->n_rounds; i++) {
        double before = t->before[i].pairs[pair].rate;

        kept[i] = before > 0 ? t->during[i].pairs[pair].rate / before : 0;
    }
    return of_rounds(t, kept, true);
}

unsigned trial_worst(const struct trial *t)
{
    unsigned worst = 0;

    for (unsigned i = 1; i < n_victim_kinds; i++) {
        if (trial_kept(t, i) < trial_kept(t, worst)) {
            worst = i;
        }
    }
    return worst;
}
