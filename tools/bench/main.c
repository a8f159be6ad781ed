/* SPDX-License-Identifier: MIT */
/* bus-bench: runs the measurements in turn and reports. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "common.h"
#include "plan.h"
#include "report.h"
#include "router.h"

static int measure_mode(const struct spec *spec, struct result *ret)
{
    switch (spec->mode) {
    case MODE_THROUGHPUT:
    case MODE_FANOUT:
    case MODE_FANIN:
        return flow_measure(spec, ret);
    case MODE_REQUEST:
    case MODE_REQUESTS:
        return request_measure(spec, ret);
    case MODE_RTT:
        return pingpong_measure(spec, ret);
    case MODE_LATENCY:
        return latency_measure(spec, ret);
    case MODE_CONNECT:
        return connect_measure(spec, ret);
    case MODE_SUBS:
        return subs_measure(spec, ret);
    }
    return -1;
}

/* On the bus without an address: with a router of its own, so that no measurement finds what
 * another left behind. */
static int measure(const struct plan *p, const struct row *row, enum side side, struct result *ret)
{
    struct router_process router = {0};
    struct spec spec = row->spec;
    int r;

    spec.side = side;
    if (side == SIDE_BUS && !p->address) {
        if (router_start(p->router, spec.link, &router) < 0) {
            return -1;
        }
        spec.address = router.address;
        spec.router_pid = router.pid;
    }
    r = measure_mode(&spec, ret);
    if (router_stop(&router) < 0) {
        r = -1;
    }
    return r;
}

static int measure_row(const struct plan *p, struct row *row, unsigned run)
{
    for (int side = 0; side < 2; side++) {
        if (row->sides[side] && measure(p, row, (enum side) side, &row->results[side][run]) < 0) {
            if (!tool_interrupted()) {
                tool_error("%s of the %s over %s with %zu bytes failed", mode_name(row->spec.mode),
                           side_name((enum side) side), link_name(row->spec.link), row->spec.bytes);
            }
            return -1;
        }
    }
    return 0;
}

/* Connections need descriptors, here and in the router, which inherits the limit. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit); /* what is missing shows when connecting */
    }
}

static int run(struct plan *p)
{
    for (unsigned run = 0; run < p->runs; run++) {
        for (unsigned i = 0; i < p->n_rows; i++) {
            if (measure_row(p, &p->rows[i], run) < 0) {
                return TOOL_FAILURE;
            }
        }
    }
    if (p->json) {
        report_json(p);
    } else {
        report_table(p);
    }
    return tool_print("");
}

int main(int argc, char **argv)
{
    static struct plan plan;
    int r = plan_parse(&plan, argc, argv);

    if (r < 0) {
        if (!tool_catch_signals()) {
            return TOOL_FAILURE;
        }
        raise_file_limit();
        r = run(&plan);
    }
    for (unsigned i = 0; i < plan.n_rows; i++) {
        free(plan.rows[i].results[0]);
        free(plan.rows[i].results[1]);
    }
    return r;
}
