/* SPDX-License-Identifier: MIT */
/* What is done to processes. A further kind of fault is a line in the table. */
#include <signal.h>
#include "faults/stage.h"

#define NS_PER_MS UINT64_C(1000000)
#define CLIENT_STOP_MS 1200u /* beyond --stall-timeout */
#define ROUTER_STOP_MS 150u

/* Not the anchor: if the group ended, nobody could say what became of its jobs. */
static struct process *any_client(struct stage *s)
{
    struct process *p = &s->clients[dice_below(&s->dice, s->n_clients)];

    return p->index != s->anchor && p->pid > 0 && !p->is_killed ? p : NULL;
}

static bool kill_client(struct stage *s)
{
    struct process *p = any_client(s);

    if (p) {
        process_kill(p);
    }
    return p != NULL;
}

static bool stop_client(struct stage *s)
{
    struct process *p = any_client(s);
    uint32_t most = dice_below(&s->dice, 8) ? 100 : CLIENT_STOP_MS;

    if (!p || p->stopped_ns) {
        return false;
    }
    process_stop(p, (1 + dice_below(&s->dice, most)) * NS_PER_MS);
    return true;
}

static bool flood(struct stage *s)
{
    return hostile_start(s);
}

static bool stop_router(struct stage *s)
{
    if (s->router.stopped_ns) {
        return false;
    }
    process_stop(&s->router, (1 + dice_below(&s->dice, ROUTER_STOP_MS)) * NS_PER_MS);
    return true;
}

static bool kill_router(struct stage *s)
{
    process_continue(&s->router);
    process_kill(&s->router);
    return true;
}

/* It drains, and another one is started. */
static bool end_router(struct stage *s)
{
    process_continue(&s->router);
    return !s->router.is_killed && router_stop(s);
}

static const struct fault {
    const char *name;
    unsigned weight;
    bool (*strike)(struct stage *s); /* false: not now */
} faults[] = {
    {"client killed", 20, kill_client},     {"client stopped", 40, stop_client},
    {"hostile client", 12, flood},          {"router stopped", 6, stop_router},
    {"router killed", 2, kill_router},      {"router told to end", 2, end_router},
    {"router replaced", 3, router_replace},
};

const unsigned n_faults = sizeof(faults) / sizeof(faults[0]);

const char *fault_name(unsigned fault)
{
    return faults[fault].name;
}

void strike(struct stage *s, uint64_t counts[FAULTS_MAX])
{
    uint32_t total = 0, at;
    unsigned i = 0;

    for (unsigned k = 0; k < n_faults; k++) {
        total += faults[k].weight;
    }
    at = dice_below(&s->dice, total);
    while (at >= faults[i].weight) {
        at -= faults[i++].weight;
    }
    counts[i] += faults[i].strike(s);
}
