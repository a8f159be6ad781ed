/* SPDX-License-Identifier: MIT */
/* Publishers, subscribers and what is between them: puts the processes of a measurement together.
 */

#include <stdlib.h>
#include <unistd.h>
#include "harness.h"
#include "parties.h"
#include "relay.h"

/* Who takes part: sources have the first sockets of the net. */
struct cast {
    unsigned n_sources;
    unsigned n_targets;
    party_fn source[2]; /* by side */
    party_fn target[2];
};

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a;
    uint64_t y = *(const uint64_t *) b;

    return (x > y) - (x < y);
}

static void percentiles(uint64_t *samples, size_t n, struct result *ret)
{
    static const double points[N_PERCENTILES] = {0.5, 0.9, 0.99, 0.999};

    if (n == 0) {
        return;
    }
    qsort(samples, n, sizeof(*samples), compare_u64);
    for (int i = 0; i < N_PERCENTILES; i++) {
        ret->percentile_us[i] = (double) samples[(size_t) (points[i] * (double) (n - 1))] / 1000;
    }
}

/* All deliveries, over the time from the earliest first to the latest last. */
static void sum_up(struct crew *c, struct result *ret)
{
    uint64_t first_ns = UINT64_MAX, last_ns = 0;
    size_t n_samples = 0;

    for (unsigned i = 0; i < c->n; i++) {
        const struct party_result *r = &c->shared->results[i];

        if (r->first_ns > 0) {
            first_ns = r->first_ns < first_ns ? r->first_ns : first_ns;
            last_ns = r->last_ns > last_ns ? r->last_ns : last_ns;
            ret->messages += r->messages;
        }
        n_samples += r->n_samples;
    }
    if (last_ns > first_ns) {
        ret->rate = (double) ret->messages * 1e9 / (double) (last_ns - first_ns);
    }
    percentiles(c->shared->samples, n_samples, ret);
}

static int start_cast(struct crew *c, const struct cast *cast, const struct net *net)
{
    enum side side = c->spec->side;

    if (net) {
        if (crew_start(c, relay_run, 0, net, -1) < 0) {
            return -1;
        }
        crew_mark_server(c);
    }
    for (unsigned i = 0; i < cast->n_targets; i++) {
        if (crew_start(c, cast->target[side], i, net,
                       net ? net->client[cast->n_sources + i] : -1)) {
            return -1;
        }
    }
    for (unsigned i = 0; i < cast->n_sources; i++) {
        if (crew_start(c, cast->source[side], i, net, net ? net->client[i] : -1)) {
            return -1;
        }
    }
    return 0;
}

static int perform(const struct spec *spec, const struct cast *cast, struct result *ret)
{
    struct crew crew;
    struct net net = {0};
    int r;

    if (crew_init(&crew, spec) < 0) {
        return -1;
    }
    r = spec->side == SIDE_FLOOR ? net_init(&net, spec, cast->n_sources, cast->n_targets) : 0;
    if (r == 0) {
        r = start_cast(&crew, cast, spec->side == SIDE_FLOOR ? &net : NULL);
    }
    net_fini(&net); /* the processes hold what they need; so they see when another one dies */
    if (r == 0) {
        r = crew_wait(&crew);
    }
    if (r == 0) {
        *ret = (struct result){0};
        sum_up(&crew, ret);
    }
    crew_fini(&crew);
    return r;
}

int flow_measure(const struct spec *spec, struct result *ret)
{
    struct cast cast = {.n_sources = spec->mode == MODE_FANIN ? spec->n : 1,
                        .n_targets = spec->mode == MODE_FANOUT ? spec->n : 1,
                        .source = {bus_publisher, floor_publisher},
                        .target = {bus_subscriber, floor_subscriber}};

    return perform(spec, &cast, ret);
}

int latency_measure(const struct spec *spec, struct result *ret)
{
    struct cast cast = {.n_sources = 1,
                        .n_targets = 1,
                        .source = {bus_paced_publisher, floor_paced_publisher},
                        .target = {bus_subscriber, floor_subscriber}};

    return perform(spec, &cast, ret);
}

int pingpong_measure(const struct spec *spec, struct result *ret)
{
    struct cast cast = {.n_sources = 1,
                        .n_targets = 1,
                        .source = {bus_pinger, floor_pinger},
                        .target = {bus_ponger, floor_ponger}};

    return perform(spec, &cast, ret);
}
