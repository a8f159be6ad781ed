/* SPDX-License-Identifier: MIT */
#pragma once
/* Every limit of the router, once: this table makes the struct, the defaults, the command line
 * options and docs/limits.md. */

#include <stdint.h>
#include "wire/messages.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)

/* What all connections of one user share: name of the slot, what the router's own user and root
 * have of it, then as in LIMITS for everybody else. A limit user_SLOT_max is made of each. */
#define USER_SLOTS_AS(S, X)                                                                        \
    S(X, bytes, l->total_bytes_max, 64 * MIB, 64 * KIB, 1024 * 1024 * MIB, "bytes",                \
      "memory that all clients of one user can make the router hold")                              \
    S(X, descriptors, 4096, 512, 1, 1000000, "descriptors",                                        \
      "descriptors that all clients of one user can make the router keep")                         \
    S(X, connections, l->clients_max, 256, 1, 1000000, "clients",                                  \
      "connections of one user at the same time")                                                  \
    S(X, subscriptions, 1000000000, 8192, 1, 1000000000, "",                                       \
      "subscriptions of all clients of one user")                                                  \
    S(X, wildcards, 1000000000, 2048, 1, 1000000000, "",                                           \
      "of these subscriptions, those whose filters have wildcards")                                \
    S(X, topics, 1000000000, 8192, 1, 1000000000, "",                                              \
      "topics that all clients of one user advertise, each as often as it is")                     \
    S(X, retained_bytes, l->total_bytes_max, 32 * MIB, 4096, 1024 * 1024 * MIB, "bytes",           \
      "memory for what topics keep of all clients of one user, bodies in buffers included")        \
    S(X, will_bytes, l->user_will_bytes_max, MIB, 0, 1024 * MIB, "bytes",                          \
      "wills that wait after the ends of all clients of one user")                                 \
    S(X, requests, 1000000000, 8192, 1, 1000000000, "requests",                                    \
      "open requests of all clients of one user")                                                  \
    S(X, matches, 1000000000, 32, 1, 1000000000, "",                                               \
      "subscriptions of all clients of one user that one topic may match")                         \
    S(X, rate, 1000000000, 1000000, 1000, 1000000000, "steps",                                     \
      "steps in a second of all clients of one user: a frame that is handled, or a delivery")

#define USER_SLOTS(X) USER_SLOTS_AS(USER_SLOT_ITSELF, X)
#define USER_SLOT_ITSELF(X, slot, own, ...) X(slot, own, __VA_ARGS__)

/* name, default, lowest, highest, unit, meaning */
#define LIMITS(X)                                                                                  \
    X(hello_timeout_ms, 5000, 10, 600000, "ms", "time for a client to send its HELLO")             \
    X(stall_timeout_ms, 30000, 10, 3600000, "ms",                                                  \
      "time without progress after which a subscription may no longer block publishers")           \
    X(linger_ms, 2000, 10, 600000, "ms",                                                           \
      "time for a client that is being disconnected to read what is left for it")                  \
    X(clients_max, 8192, 1, 1000000, "clients", "connections at the same time")                    \
    X(client_bytes_max, 128 * MIB, 64 * KIB, 1024 * 1024 * MIB, "bytes",                           \
      "memory that one client can make the router hold")                                           \
    X(total_bytes_max, 1024 * MIB, MIB, 1024 * 1024 * MIB, "bytes",                                \
      "memory that all clients together can make the router hold")                                 \
    X(stream_inline_max, MIB, 4096, 64 * MIB, "bytes", "largest body on a stream link")            \
    X(subscriptions_max, 131072, 1, 1000000, "", "subscriptions of one client")                    \
    X(aliases_max, 131072, 1, 1000000, "", "advertised topics of one client")                      \
    X(publish_window_messages, 16384, 2, 1000000, "messages",                                      \
      "what a client may publish ahead of the router")                                             \
    X(publish_window_bytes, 4 * MIB, 4096, 1024 * MIB, "bytes",                                    \
      "what a client may publish ahead of the router")                                             \
    X(window_messages_default, 16384, 1, 1048576, "messages", "window of a subscription")          \
    X(window_messages_max, 1048576, 1, 1048576, "messages",                                        \
      "largest window a subscription may ask for")                                                 \
    X(window_bytes_default, 4 * MIB, 1, 1024 * MIB, "bytes", "window of a subscription")           \
    X(window_bytes_max, 256 * MIB, 1, 1024 * MIB, "bytes",                                         \
      "largest window a subscription may ask for")                                                 \
    X(queue_messages_default, 16384, 1, 1048576, "messages", "queue of a subscription")            \
    X(queue_messages_max, 1048576, 1, 1048576, "messages",                                         \
      "largest queue a subscription may ask for")                                                  \
    X(queue_bytes_default, 8 * MIB, 1, 1024 * MIB, "bytes", "queue of a subscription")             \
    X(block_queue_bytes_default, MIB, 1, 1024 * MIB, "bytes",                                      \
      "queue of a subscription with policy block")                                                 \
    X(queue_bytes_max, 64 * MIB, 1, 1024 * MIB, "bytes",                                           \
      "largest queue a subscription may ask for")                                                  \
    X(output_bytes_max, 512 * KIB, 4096, 64 * MIB, "bytes",                                        \
      "output waiting on one link before messages wait in their queues instead")                   \
    X(body_max, 1024 * MIB, 4096, 2047 * MIB, "bytes", "largest body in a buffer")                 \
    X(buffers_max, 128, 1, 4096, "buffers", "buffers that one client may register")                \
    X(buffer_bytes_max, 4096 * MIB, 4096, 1024 * 1024 * MIB, "bytes",                              \
      "size of all buffers of one client together")                                                \
    X(leases_max, 16384, 1, 1000000, "messages",                                                   \
      "messages in buffers that one client may hold at the same time")                             \
    X(lease_bytes_max, 512 * MIB, MIB, 1024 * 1024 * MIB, "bytes",                                 \
      "bodies in buffers that one client may hold at the same time; one of any size it always "    \
      "may")                                                                                       \
    X(client_descriptors_max, 256, 1, 65536, "descriptors",                                        \
      "descriptors that one client can make the router keep")                                      \
    X(groups_bytes_max, 256 * MIB, 64 * KIB, 1024 * 1024 * MIB, "bytes",                           \
      "memory that the groups which one user has begun can make the router hold")                  \
    X(requests_max, 65536, 1, 1000000, "requests", "open requests of one client")                  \
    X(request_timeout_max_ms, 3600000, 10, 86400000, "ms",                                         \
      "longest time that a request may wait for an answer")                                        \
    X(wills_max, 16, 0, 1000, "messages", "wills of one client")                                   \
    X(will_bytes_max, 64 * KIB, 0, MIB, "bytes", "largest body of a will")                         \
    X(will_delay_max_ms, 3600000, 10, 86400000, "ms", "longest delay of a will")                   \
    X(alarms_max, 1024, 0, 1000000, "", "subscriptions of one client with silence_ms")             \
    X(retained_messages_max, 1024, 1, 1048576, "messages", "messages that one topic can keep")     \
    X(monitors_max, 64, 0, 10000, "", "monitors at the same time")                                 \
    USER_SLOTS_AS(USER_SLOT_LIMIT, X)

#define USER_SLOT_LIMIT(X, slot, own, ...) X(user_##slot##_max, __VA_ARGS__)

struct limits {
#define X(name, default_value, low, high, unit, meaning) uint64_t name;
    LIMITS(X)
#undef X
};

#define LIMITS_DEFAULT                                                                             \
    {                                                                                              \
        LIMITS(LIMITS_DEFAULT_OF)                                                                  \
    }
#define LIMITS_DEFAULT_OF(name, default_value, low, high, unit, meaning) .name = (default_value),

enum user_slot {
#define X(slot, own, default_value, low, high, unit, meaning) USER_SLOT_##slot,
    USER_SLOTS(X)
#undef X
        USER_SLOTS_COUNT
};

/* What one user may have of each slot. */
struct user_limits {
#define X(slot, own, default_value, low, high, unit, meaning) uint64_t slot;
    USER_SLOTS(X)
#undef X
};

/* For one user something else than the limits say. */
struct user_override {
    uint32_t uid;
    uint32_t set; /* which slots: bits 1 << USER_SLOT_ */
    struct user_limits limits;
    struct text place; /* where it was said, for people: the router does not keep it */
};
