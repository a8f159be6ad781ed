/* SPDX-License-Identifier: MIT */
#pragma once
/* The page that all processes of bus-hostile share: what the victims are to do, and what they and
 * the attackers count. */

#include <stdatomic.h>
#include <stdint.h>
#include "faults/shared.h" /* now_ns(), dice */

#define PAIRS_MAX 8u
#define ATTACKS_MAX 16u
/* Eighths of powers of two, of microseconds. */
#define LATENCY_BUCKETS 256u

enum tempo {
    TEMPO_REST,  /* nothing is sent */
    TEMPO_PACED, /* at the rate that pair_board.rate says */
    TEMPO_FULL,  /* as fast as it goes */
};

/* What one publisher and its subscriber, or a requester and its server, have counted. */
struct pair_board {
    _Atomic uint64_t rate; /* messages in a second */
    _Atomic uint64_t sent, got;
    _Atomic uint64_t lost;    /* told as LOSS, or as the end of a request without its answer */
    _Atomic uint64_t missing; /* not told, or twice, or out of order */
    _Atomic uint64_t refused; /* what the router said no to */
    _Atomic uint64_t foreign; /* came from another user */
    _Atomic uint64_t broken;  /* connections that the router has ended, or could not be opened */
    _Atomic uint64_t latency[LATENCY_BUCKETS];
    /* The same by the router's own clock, which goes on only while it has a processor: whatever
     * else this machine does, that is how much others got done before it was this pair's turn. */
    _Atomic uint64_t turn[LATENCY_BUCKETS];
};

struct attack_board {
    _Atomic uint64_t connections, frames;
    _Atomic uint64_t refused; /* statuses other than OK, where somebody reads them */
    _Atomic uint64_t ended;   /* connections that the router has ended */
};

struct board {
    _Atomic uint32_t tempo;   /* enum tempo */
    _Atomic uint32_t n_ready; /* victims that are set up */
    _Atomic uint32_t n_attacking;
    _Atomic int32_t router_clock; /* clockid_t: time that the router has had on a processor */
    struct pair_board pairs[PAIRS_MAX];
    struct attack_board attacks[ATTACKS_MAX];
};
