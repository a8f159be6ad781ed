/* SPDX-License-Identifier: MIT */
#pragma once
/* What is seen of the router and of the victims in a length of time. */

#include <bus/monitor.h>
#include "hostile/stage.h"

/* What must be as it was when the attackers have gone. */
#define PROBE_COUNTERS(X)                                                                          \
    X(clients_now)                                                                                 \
    X(subscriptions_now)                                                                           \
    X(topics_now)                                                                                  \
    X(buffers_now)                                                                                 \
    X(leases_now)                                                                                  \
    X(descriptors_now)                                                                             \
    X(groups_now)                                                                                  \
    X(monitors_now)                                                                                \
    X(requests_now)                                                                                \
    X(calls_now)                                                                                   \
    X(messages_queued_now)                                                                         \
    X(messages_unacknowledged_now)                                                                 \
    X(wills_now)                                                                                   \
    X(retained_messages_now)

enum {
#define X(name) PROBE_##name,
    PROBE_COUNTERS(X)
#undef X
        N_PROBES
};

struct probe {
    struct bus_conn *conn;
    uint64_t counters[N_PROBES];
    uint64_t charged_bytes;
    unsigned n_fds;
    bool is_done, is_good;
};

/* A connection of the administrator, who may look. */
bool probe_open(const struct stage *s, struct probe *p);
void probe_close(struct probe *p);
/* Looks once. Returns how long that took, or 0: it has failed. */
uint64_t probe_look(const struct stage *s, struct probe *p);
/* Whether nothing is there but what was in base, or less: the library gives back memory in time.
 * is_loud: says what is. */
bool probe_is_at_base(const struct probe *p, const struct probe *base, bool is_loud);
uint64_t process_rss_bytes(pid_t pid);
/* Time that it has had on a processor, and that it has waited for one. */
void process_times(pid_t pid, uint64_t *ret_cpu_ns, uint64_t *ret_starved_ns);

struct measured_pair {
    uint64_t sent, got, lost, missing, refused, foreign, broken;
    double rate; /* got, in a second */
    uint64_t p50_us, p99_us;
    uint64_t turn_us; /* 99 of 100 were handed on before the router had worked so long */
};

struct measured {
    struct measured_pair pairs[PAIRS_MAX];
    double seconds;
    double cpu;                 /* of one processor, by the router */
    double starved;             /* it would have worked, but others had the processors */
    double cpu_us_each;         /* for each message of the victims */
    uint64_t rss_bytes;         /* the most */
    uint64_t look_ns;           /* the longest look of the administrator */
    double connections, frames; /* of the attackers, in a second */
};

/* Measures for as long as the settings say. */
void measure(struct stage *s, struct probe *p, struct measured *ret);

/* One attack, all its rounds. */
#define ROUNDS_MAX 16u
struct trial {
    const char *name;
    unsigned which; /* bits of attack_kinds */
    enum tempo tempo;
    bool best_counts; /* of the rounds, and not the median */
    unsigned n_rounds;
    struct measured before[ROUNDS_MAX], during[ROUNDS_MAX];
    uint64_t released_ns; /* the longest until nothing of the attackers was left */
};

/* The part of its rate that a pair has kept, of all rounds. */
double trial_kept(const struct trial *t, unsigned pair);
/* How long the router has worked before it was this pair's turn, of all rounds. */
uint64_t trial_turn_us(const struct trial *t, unsigned pair);
/* The pair that has kept least. */
unsigned trial_worst(const struct trial *t);

void report_head(const struct stage *s);
void report_trial(const struct trial *t);
void report_pairs(const struct trial *t);

/* The whole of it. The exit code. */
int play(struct stage *s);
