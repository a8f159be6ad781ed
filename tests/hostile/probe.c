/* SPDX-License-Identifier: MIT */
/* What the router says about itself, and the kernel about it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "hostile/measure.h"

/* What the victims' own connections may have grown by since the base. */
#define CHARGED_TOLERANCE (1024u * 1024u)
#define GROWTH_MAX 64u

static const char *const names[N_PROBES] = {
#define X(name) #name,
    PROBE_COUNTERS(X)
#undef X
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
    for (unsigned i = 0; i < N_PROBES; i++) {
        if (strcmp(entry->counter->name, names[i]) == 0) {
            p->counters[i] = entry->counter->value;
        }
    }
    if (strcmp(entry->counter->name, "charged_bytes_now") == 0) {
        p->charged_bytes = entry->counter->value;
    }
}

/* Victims keep memory for large bodies, and give it back when they have not used it for a while. */
static bool may_grow(unsigned i)
{
    return i == PROBE_buffers_now || i == PROBE_descriptors_now;
}

bool probe_open(const struct stage *s, struct probe *p)
{
    struct bus_opts opts = BUS_OPTS_INIT;

    *p = (struct probe){0};
    opts.name = "administrator";
    opts.timeout_ms = 60000;
    opts.spin_us = BUS_SPIN_OFF;
    return bus_open(s->addresses[0], &opts, &p->conn) == 0;
}

void probe_close(struct probe *p)
{
    if (p->conn) {
        bus_close(p->conn);
        p->conn = NULL;
    }
}

uint64_t probe_look(const struct stage *s, struct probe *p)
{
    uint64_t begin_ns = now_ns();

    p->is_good = false;
    if (bus_snapshot(p->conn, BUS_SNAPSHOT_COUNTERS, on_entry, p) == 0) {
        (void) bus_run(p->conn);
    }
    p->n_fds = count_fds(s->parties[PARTY_ROUTER]);
    return p->is_good ? now_ns() - begin_ns : 0;
}

bool probe_is_at_base(const struct probe *p, const struct probe *base, bool is_loud)
{
    bool is_good = true;

    for (unsigned i = 0; i < N_PROBES; i++) {
        if (p->counters[i] > base->counters[i] + (may_grow(i) ? GROWTH_MAX : 0)) {
            is_good = false;
            if (is_loud) {
                (void) fprintf(stderr, "bus-hostile: %s is %llu, was %llu\n", names[i],
                               (unsigned long long) p->counters[i],
                               (unsigned long long) base->counters[i]);
            }
        }
    }
    if (p->charged_bytes > base->charged_bytes + CHARGED_TOLERANCE ||
        p->n_fds > base->n_fds + GROWTH_MAX) {
        is_good = false;
        if (is_loud) {
            (void) fprintf(stderr, "bus-hostile: charged %llu bytes, was %llu; %u fds, was %u\n",
                           (unsigned long long) p->charged_bytes,
                           (unsigned long long) base->charged_bytes, p->n_fds, base->n_fds);
        }
    }
    return is_good;
}

uint64_t process_rss_bytes(pid_t pid)
{
    unsigned long long size = 0, resident = 0;
    char path[64];
    FILE *f;

    (void) snprintf(path, sizeof(path), "/proc/%d/statm", (int) pid);
    f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%llu %llu", &size, &resident) != 2) {
            resident = 0;
        }
        (void) fclose(f);
    }
    return resident * (unsigned long long) sysconf(_SC_PAGESIZE);
}

void process_times(pid_t pid, uint64_t *ret_cpu_ns, uint64_t *ret_starved_ns)
{
    unsigned long long cpu_ns = 0, starved_ns = 0;
    char path[64];
    FILE *f;

    (void) snprintf(path, sizeof(path), "/proc/%d/schedstat", (int) pid);
    f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%llu %llu", &cpu_ns, &starved_ns) != 2) {
            cpu_ns = starved_ns = 0;
        }
        (void) fclose(f);
    }
    *ret_cpu_ns = cpu_ns;
    *ret_starved_ns = starved_ns;
}
