/* SPDX-License-Identifier: MIT */
/* Publishers, subscribers and what is between them: puts the processes of a measurement together.
 */

#include <stdlib.h>
#include <unistd.h>
#include "harness.h"
#include "parties.h"
#include "pool.h"
#include "relay.h"

/* What bodies go through. */
enum way { WAY_BUS, WAY_SOCKETS, WAY_MEMORY, N_WAYS };

/* Who takes part: sources have the first sockets of the net. */
struct cast {
    unsigned n_sources;
    unsigned n_targets;
    party_fn source[N_WAYS];
    party_fn target[N_WAYS];
};

static enum way way_of(const struct spec *spec)
{
    if (spec->side == SIDE_BUS) {
        return WAY_BUS;
    }
    return spec->in_memory ? WAY_MEMORY : WAY_SOCKETS;
}

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

/* All deliveries, over the time from the earliest first to the latest last. A subscriber takes the
 * time of the first when it has it: that one does not count. Round trips do, from their beginning.
 */
static bool has_samples_of_all(enum mode mode)
{
    return mode == MODE_RTT || mode == MODE_REQUEST || mode == MODE_REQUESTS;
}

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
        uint64_t timed = ret->messages - (!has_samples_of_all(c->spec->mode));

        ret->rate = (double) timed * 1e9 / (double) (last_ns - first_ns);
    }
    percentiles(c->shared->samples, n_samples, ret);
}

static int start_cast(struct crew *c, const struct cast *cast, const struct net *net)
{
    enum way way = way_of(c->spec);

    if (net) {
        if (crew_start(c, relay_run, 0, net, -1) < 0) {
            return -1;
        }
        crew_mark_server(c);
    }
    for (unsigned i = 0; i < cast->n_targets; i++) {
        if (crew_start(c, cast->target[way], i, net, net ? net->client[cast->n_sources + i] : -1)) {
            return -1;
        }
    }
    for (unsigned i = 0; i < cast->n_sources; i++) {
        if (crew_start(c, cast->source[way], i, net, net ? net->client[i] : -1)) {
            return -1;
        }
    }
    return 0;
}

/* Starts everybody, with what the floor needs in between. 0 or -1. */
static int start(struct crew *c, const struct cast *cast)
{
    const struct spec *spec = c->spec;
    struct net net = {0};
    struct pool pool = {0};
    int r;

    if (spec->side == SIDE_BUS) {
        return start_cast(c, cast, NULL);
    }
    r = net_init(&net, spec, cast->n_sources, cast->n_targets);
    if (r == 0 && spec->in_memory) {
        /* In round trips both send. */
        r = pool_init(&pool, spec->mode == MODE_RTT ? net.n : net.n_sources, spec->bytes);
        net.pool = &pool;
    }
    if (r == 0) {
        r = start_cast(c, cast, &net);
    }
    /* The processes hold what they need; so they see when another one dies. */
    pool_fini(&pool);
    net_fini(&net);
    return r;
}

static int perform(const struct spec *spec, const struct cast *cast, struct result *ret)
{
    struct crew crew;
    int r;

    if (crew_init(&crew, spec) < 0) {
        return -1;
    }
    r = start(&crew, cast);
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
                        .source = {bus_publisher, floor_publisher, memory_publisher},
                        .target = {bus_subscriber, floor_subscriber, memory_subscriber}};

    return perform(spec, &cast, ret);
}

int latency_measure(const struct spec *spec, struct result *ret)
{
    struct cast cast = {
        .n_sources = 1,
        .n_targets = 1,
        .source = {bus_paced_publisher, floor_paced_publisher, memory_paced_publisher},
        .target = {bus_subscriber, floor_subscriber, memory_subscriber}};

    return perform(spec, &cast, ret);
}

int pingpong_measure(const struct spec *spec, struct result *ret)
{
    struct cast cast = {.n_sources = 1,
                        .n_targets = 1,
                        .source = {bus_pinger, floor_pinger, memory_pinger},
                        .target = {bus_ponger, floor_ponger, memory_ponger}};

    return perform(spec, &cast, ret);
}

int request_measure(const struct spec *spec, struct result *ret)
{
    struct cast cast = {
        .n_sources = 1, .n_targets = 1, .source = {bus_requester}, .target = {bus_server}};

    return perform(spec, &cast, ret);
}
