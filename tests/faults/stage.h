/* SPDX-License-Identifier: MIT */
#pragma once
/* The stage of bus-faults: a router and its clients as processes, which are started again when they
 * are made to end, and noticed when they end by themselves. */

#include <sys/types.h>
#include "faults/check.h"
#include "faults/client.h"

#define HOSTILES_MAX 4u

struct settings {
    const char *router; /* the program */
    const char *self;
    const char *shim; /* NULL: none */
    uint64_t seed;
    uint64_t round_ms;
    unsigned rounds;
    uint32_t router_one_in, client_one_in; /* system calls that fail */
    bool keeps;                            /* the records, whatever comes */
};

struct process {
    pid_t pid; /* 0: none */
    const struct role *role;
    unsigned index;
    unsigned n_started;
    bool is_killed;      /* its end is our doing */
    uint64_t stopped_ns; /* until then; 0: it runs */
};

struct stage {
    struct settings settings;
    char dir[64];
    char addresses[2][96];
    struct dice dice;
    struct control *control;
    struct records *records[CLIENTS_MAX];
    enum client_kind kinds[CLIENTS_MAX];
    struct process clients[CLIENTS_MAX];
    unsigned n_clients, anchor;
    struct process hostiles[HOSTILES_MAX];
    struct process router;
    bool can_replace;      /* the router knows --replace */
    unsigned n_router_fds; /* at rest */
    unsigned n_wrong;      /* processes that have ended by themselves */
};

/* 0, or it says why not. */
int stage_open(struct stage *s, const struct settings *settings);
/* Kills what is left. The directory goes if nothing was wrong. */
void stage_close(struct stage *s, bool is_good);

bool router_start(struct stage *s);
/* Another one takes its place, if it can. */
bool router_replace(struct stage *s);
/* SIGTERM: whether it exits with 0. */
bool router_stop(struct stage *s);
/* Starts what has been made to end, and ends stops that are over. */
void stage_turn(struct stage *s);
void clients_begin(struct stage *s);
/* Waits until all have exited, as they should. */
bool clients_end(struct stage *s);
void process_kill(struct process *p);
void process_stop(struct process *p, uint64_t for_ns);
void process_continue(struct process *p);
bool hostile_start(struct stage *s);
/* Waits for them. */
void hostiles_end(struct stage *s);

/* ---- probe.c ---- */

/* Nothing is under way in the router, and publishers and requesters have heard of all ends. */
bool stage_settle(struct stage *s);
/* Nothing is left of the clients in the router. first: remembers what that is. */
bool router_is_at_rest(struct stage *s, bool first);

/* ---- chaos.c ---- */

#define FAULTS_MAX 16u
extern const unsigned n_faults;
const char *fault_name(unsigned fault);
/* One of them, drawn from the dice. counts: by fault. */
void strike(struct stage *s, uint64_t counts[FAULTS_MAX]);
