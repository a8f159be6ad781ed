/* SPDX-License-Identifier: MIT */
#pragma once
/* Whether what the clients of a round have written down is what docs/protocol.md promises. */

#include <bus/types.h>
#include "faults/shared.h"

#define CLIENTS_MAX 32u
/* One more than the last reason of a loss. */
enum {
#define X(name, number, text) +1
    N_REASONS = 0 BUS_LOSS_LIST(X)
#undef X
};
#define N_STATUS 32u

struct tally {
    uint64_t sent, confirmed, refused;
    uint64_t delivered, lost[N_REASONS];
    uint64_t subscriptions; /* that came to an end at which everything is accounted for */
    uint64_t cut;           /* those that did not */
    uint64_t uncertain;     /* messages sent while one of the former began or ended */
    uint64_t jobs, redelivered, dead;
    uint64_t requests, ends[N_STATUS];
    uint64_t longest_ns; /* from a publish to its confirmation */
};

enum client_kind {
    CLIENT_PUBLISHER,
    CLIENT_SUBSCRIBER,
    CLIENT_MEMBER,
    CLIENT_REQUESTER,
    CLIENT_SERVER,
    CLIENT_RELIABLE_PUBLISHER,
    CLIENT_RELIABLE_SUBSCRIBER,
    N_CLIENT_KINDS,
};

/* The records of one round, by client; anchor: which of them keeps the group together. Says on
 * stderr what is wrong. Returns how many things are. */
unsigned check_round(struct records *const records[CLIENTS_MAX], unsigned n, unsigned anchor,
                     const enum client_kind kinds[CLIENTS_MAX], struct tally *tally);
