/* SPDX-License-Identifier: MIT */
#pragma once
/* Processes of a measurement: started one by one, released all at once, watched until they are
 * done. */

#include <sys/types.h>
#include "bench.h"

/* The processes of one measurement. */
struct crew {
    const struct spec *spec;
    unsigned n;
    pid_t pids[PARTIES_MAX];
    int controls[PARTIES_MAX];   /* our ends */
    bool is_server[PARTIES_MAX]; /* ends when we end it */
    struct shared *shared;
};

/* Memory that all of them share. */
struct shared {
    struct party_result results[PARTIES_MAX];
    uint64_t samples[SAMPLES_MAX];
};

/* 0 or -1. */
int crew_init(struct crew *c, const struct spec *spec);
/* Ends whoever still runs. */
void crew_fini(struct crew *c);
/* Starts a process and waits until it is ready. With a net it gets its client's end `socket`, or
 * all ends of the relay if that is -1, and closes the rest. 0 or -1. */
int crew_start(struct crew *c, party_fn fn, unsigned index, const struct net *net, int socket);
/* A process that serves the others and ends only when it is told to, like a relay: crew_wait() does
 * not wait for it. */
void crew_mark_server(struct crew *c);
/* Lets all of them begin at the same time and waits until they are done: 0, or -1 if one failed or
 * took far too long. */
int crew_wait(struct crew *c);

/* For the processes: tells the parent that all is set up and waits for the beginning. *ret_start_ns
 * is a time shared by all, a little in the future. 0, or -1 if the parent is gone. */
int party_ready(struct party *p, uint64_t *ret_start_ns);
/* Waits until a time of CLOCK_MONOTONIC. */
void sleep_until(uint64_t ns);
