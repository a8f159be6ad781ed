/* SPDX-License-Identifier: MIT */
/* Many idle connections, each with one subscription: how fast they are made, and what each costs
 * the router. */

#include <bus/bus.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench.h"
#include "common.h"
#include "router.h"

struct idle {
    struct bus_conn **conns;
    unsigned n;
    unsigned n_ready;
    bool failed;
};

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) message;
    (void) userdata;
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct idle *idle = userdata;

    if (status == BUS_STATUS_OK) {
        idle->n_ready++;
        return;
    }
    tool_error("subscription to %s: %s %s", bus_sub_filter(sub), bus_status_text(status), text);
    idle->failed = true;
}

static int open_one(struct idle *idle, const struct spec *spec, struct bus_conn **ret)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    char filter[32];
    int r = tool_connect(spec->address, NULL, ret);

    if (r < 0) {
        return r;
    }
    opts.on_ready = on_ready;
    (void) snprintf(filter, sizeof(filter), "bench/idle/%u", idle->n);
    r = bus_subscribe(*ret, filter, &opts, on_message, idle, NULL);
    if (r < 0) {
        tool_error("cannot subscribe to %s: %s", filter, strerror(-r));
        bus_close(*ret);
    }
    return r;
}

static int open_all(struct idle *idle, const struct spec *spec)
{
    int r = 0;

    while (r == 0 && idle->n < spec->n && !tool_interrupted()) {
        r = open_one(idle, spec, &idle->conns[idle->n]);
        idle->n += r == 0;
    }
    for (unsigned i = 0; r == 0 && i < idle->n; i++) {
        r = bus_flush(idle->conns[i], 5000);
        if (r < 0) {
            tool_error("connection %u: the router does not answer: %s", i, strerror(-r));
        }
    }
    return r == 0 && idle->n_ready == spec->n && !idle->failed ? 0 : -1;
}

int connect_measure(const struct spec *spec, struct result *ret)
{
    struct idle idle = {.conns = calloc(spec->n, sizeof(struct bus_conn *))};
    double before = router_private_bytes(spec->router_pid);
    uint64_t start_ns = tool_now_ns();
    double after;
    int r;

    if (!idle.conns) {
        tool_error("out of memory");
        return -1;
    }
    r = open_all(&idle, spec);
    if (r == 0) {
        uint64_t took_ns = tool_now_ns() - start_ns;

        *ret = (struct result){.messages = spec->n, .bytes_each = -1};
        ret->rate = (double) spec->n * 1e9 / (double) took_ns;
        after = router_private_bytes(spec->router_pid);
        if (before >= 0 && after >= 0) {
            ret->bytes_each = (after - before) / spec->n;
        }
    }
    for (unsigned i = 0; i < idle.n; i++) {
        bus_close(idle.conns[i]);
    }
    free(idle.conns);
    return r;
}
