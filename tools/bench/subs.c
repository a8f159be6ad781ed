/* SPDX-License-Identifier: MIT */
/* Many subscriptions of one client, each to a topic of its own: how fast they are made, and what
 * each costs the router. */

#include <bus/bus.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "bench.h"
#include "common.h"
#include "router.h"

#define PATIENCE_MS 20000

struct subscriptions {
    struct bus_conn *conn;
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
    struct subscriptions *s = userdata;

    if (status == BUS_STATUS_OK) {
        s->n_ready++;
        return;
    }
    if (!s->failed) { /* if one is too many, so are all after it */
        tool_error("subscription to %s: %s %s", bus_sub_filter(sub), bus_status_text(status), text);
    }
    s->failed = true;
}

static int subscribe(struct subscriptions *s, const char *filter)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    int r;

    opts.on_ready = on_ready;
    r = bus_subscribe(s->conn, filter, &opts, on_message, s, NULL);
    while (r == -EAGAIN) {
        r = bus_wait_writable(s->conn, PATIENCE_MS);
        if (r == 0) {
            r = bus_subscribe(s->conn, filter, &opts, on_message, s, NULL);
        }
    }
    return r;
}

static int subscribe_all(struct subscriptions *s, unsigned n)
{
    int r = 0;

    for (s->n = 0; s->n < n && r == 0 && !s->failed && !tool_interrupted(); s->n++) {
        char filter[32];

        (void) snprintf(filter, sizeof(filter), "bench/subs/%u", s->n);
        r = subscribe(s, filter);
    }
    if (r == 0) {
        r = bus_flush(s->conn, PATIENCE_MS);
    }
    if (r < 0) {
        tool_error("subscription %u: %s%s", s->n, strerror(-r),
                   r == -ENOSPC ? ": the router takes more with --subscriptions-max" : "");
    }
    return r == 0 && s->n_ready == n ? 0 : -1;
}

int subs_measure(const struct spec *spec, struct result *ret)
{
    struct subscriptions s = {0};
    double before, after;
    uint64_t start_ns;
    int r;

    if (tool_connect(spec->address, NULL, &s.conn) < 0) {
        return -1;
    }
    before = router_private_bytes(spec->router_pid);
    start_ns = tool_now_ns();
    r = subscribe_all(&s, spec->n);
    if (r == 0) {
        uint64_t took_ns = tool_now_ns() - start_ns;

        *ret = (struct result){.messages = spec->n, .bytes_each = -1};
        ret->rate = (double) spec->n * 1e9 / (double) took_ns;
        after = router_private_bytes(spec->router_pid);
        if (before >= 0 && after >= 0) {
            ret->bytes_each = (after - before) / spec->n;
        }
    }
    bus_close(s.conn);
    return r;
}
