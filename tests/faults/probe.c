/* SPDX-License-Identifier: MIT */
/* What the router says about itself, and the kernel about it. */
#include <bus/monitor.h>
#include <stdio.h>
#include <string.h>
#include "faults/stage.h"

#define PATIENCE_NS (UINT64_C(60) * 1000000000)

static const char *const names[] = {
    "messages_queued_now",
    "messages_unacknowledged_now",
    "requests_now",
    "calls_now",
    /* from here on they are of clients that are there */
    "clients_now",
    "subscriptions_now",
    "groups_now",
    "buffers_now",
    "leases_now",
    "descriptors_now",
};
#define N_NAMES (sizeof(names) / sizeof(names[0]))
#define N_UNDER_WAY 4u
#define CLIENTS_NOW 4u

struct probe {
    uint64_t values[N_NAMES];
    bool is_done, is_good;
};

static void on_entry(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                     enum bus_status status, void *userdata)
{
    struct probe *p = userdata;

    if (!entry) {
        p->is_done = true;
        p->is_good = status == BUS_STATUS_OK;
        bus_stop(conn);
        return;
    }
    for (unsigned i = 0; i < N_NAMES; i++) {
        if (strcmp(entry->counter->name, names[i]) == 0) {
            p->values[i] = entry->counter->value;
        }
    }
}

/* With the descriptors of the router while this connection is there. */
static bool probe(struct stage *s, struct probe *p, unsigned *ret_fds)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;

    *p = (struct probe){0};
    opts.flags =
        BUS_OPEN_RECONNECT; /* the router opens its file of sessions for the first of them */
    opts.reconnect_timeout_ms = 1000;
    if (bus_open(s->addresses[0], &opts, &conn) < 0) {
        return false;
    }
    if (bus_snapshot(conn, BUS_SNAPSHOT_COUNTERS, on_entry, p) == 0) {
        (void) bus_run(conn);
    }
    *ret_fds = count_fds(s->router.pid);
    bus_close(conn);
    return p->is_good;
}

static void say(const struct probe *p, unsigned n_fds)
{
    for (unsigned i = 0; i < N_NAMES; i++) {
        (void) fprintf(stderr, " %s=%llu", names[i], (unsigned long long) p->values[i]);
    }
    (void) fprintf(stderr, " descriptors=%u\n", n_fds);
}

static bool nothing_is_under_way(struct stage *s, struct probe *p, unsigned *n_fds)
{
    for (unsigned i = 0; i < s->n_clients; i++) {
        if (!s->records[i]->is_idle) {
            return false;
        }
    }
    if (!probe(s, p, n_fds)) {
        return false;
    }
    for (unsigned i = 0; i < N_UNDER_WAY; i++) {
        if (p->values[i] > 0) {
            return false;
        }
    }
    return true;
}

bool stage_settle(struct stage *s)
{
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    unsigned n_fds = 0;
    struct probe p = {0};

    s->control->shim_is_on = 0;
    process_continue(&s->router);
    for (unsigned i = 0; i < s->n_clients; i++) {
        process_continue(&s->clients[i]);
    }
    hostiles_end(s);
    s->control->phase = PHASE_QUIET;
    do {
        if (now_ns() > until_ns || s->n_wrong > 0) {
            (void) fputs("bus-faults: WRONG: it does not come to rest:", stderr);
            for (unsigned i = 0; i < s->n_clients; i++) {
                if (!s->records[i]->is_idle) {
                    (void) fprintf(stderr, " %s-%u", s->clients[i].role->name, i);
                }
            }
            say(&p, n_fds);
            return false;
        }
        stage_turn(s);
    } while (!nothing_is_under_way(s, &p, &n_fds));
    return true;
}

bool router_is_at_rest(struct stage *s, bool first)
{
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    struct probe p = {0};
    unsigned n_fds = 0;
    bool is_good;

    do {
        stage_turn(s);
        is_good = probe(s, &p, &n_fds);
        for (unsigned i = 0; i < N_NAMES; i++) {
            is_good = is_good && p.values[i] == (i == CLIENTS_NOW);
        }
        if (is_good && first) {
            s->n_router_fds = n_fds;
        }
    } while (!(is_good && n_fds == s->n_router_fds) && now_ns() < until_ns);
    if (!is_good || n_fds != s->n_router_fds) {
        (void) fprintf(stderr,
                       "bus-faults: WRONG: the router has kept something (%u descriptors "
                       "at first):",
                       s->n_router_fds);
        say(&p, n_fds);
        return false;
    }
    return true;
}
