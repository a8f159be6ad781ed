/* SPDX-License-Identifier: MIT */
#pragma once
/* What a hostile user does, on many links at once, as fast as the router lets it. */

#include <stdbool.h>

/* name, what each link sends again and again */
#define ATTACKS(X)                                                                                 \
    X(publish, "small messages that nobody gets")                                                  \
    X(fanout, "small messages for its own 1,000 subscriptions")                                    \
    X(subscribe, "SUBSCRIBE and UNSUBSCRIBE")                                                      \
    X(connect, "HELLO on a new connection")                                                        \
    X(malformed, "frames that cannot be decoded")                                                  \
    X(pings, "PINGs with 60,000 bytes that nobody knows")                                          \
    X(requests, "requests without a server")                                                       \
    X(halves, "a byte at a time of a long frame")

enum attack {
    ATTACK_NONE,
#define X(name, meaning) ATTACK_##name,
    ATTACKS(X)
#undef X
        ATTACK_COUNT
};

const char *attack_name(enum attack a);

struct attack_plan {
    enum attack attack;
    const char *path; /* of the router's stream socket */
    unsigned n_links;
};

/* Begins, says so in *is_ready, and does not return. */
_Noreturn void attack_run(const struct attack_plan *plan, _Atomic bool *is_ready);
