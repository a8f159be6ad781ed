/* SPDX-License-Identifier: MIT */
#pragma once
/* Every counter of the router, once: this table makes the struct, the snapshot and
 * docs/counters.md. */

#include <stdint.h>

/* name, unit, meaning */
#define COUNTERS(X)                                                                                \
    X(clients_now, "clients", "connected now")                                                     \
    X(clients_total, "clients", "connected since the start")                                       \
    X(clients_refused, "clients", "turned away at a limit")                                        \
    X(subscriptions_now, "", "subscriptions now")                                                  \
    X(topics_now, "", "topics known now")                                                          \
    X(buffers_now, "buffers", "registered, or with messages in them")                              \
    X(leases_now, "messages", "bodies in buffers that clients hold now")                           \
    X(descriptors_now, "descriptors", "held now for buffers and messages")                         \
    X(monitors_now, "", "monitors now")                                                            \
    X(frames_in, "frames", "frames received")                                                      \
    X(frames_refused, "frames", "frames answered with a status other than ok")                     \
    X(protocol_errors, "clients", "connections ended for a protocol error")                        \
    X(hello_timeouts, "clients", "connections that did not greet in time")                         \
    X(messages_published, "messages", "accepted from publishers")                                  \
    X(bytes_published, "bytes", "their bodies and headers")                                        \
    X(messages_refused, "messages", "refused to publishers")                                       \
    X(messages_matched, "messages", "matches of messages and subscriptions")                       \
    X(messages_delivered, "messages", "put on a subscriber's link")                                \
    X(bytes_delivered, "bytes", "their bodies and headers")                                        \
    X(messages_lost, "messages", "lost to a subscription, and reported to it")                     \
    X(messages_discarded, "messages", "waiting when their subscription ended")                     \
    X(messages_queued_now, "messages", "waiting in queues now")                                    \
    X(groups_now, "", "groups of subscriptions now")                                               \
    X(messages_unacknowledged_now, "messages", "delivered to members of groups, who work on them") \
    X(messages_returned, "messages", "came back from members of groups, not acknowledged")         \
    X(messages_redelivered, "messages", "of these, delivered again")                               \
    X(messages_dead_lettered, "messages", "of these, given up and sent to a dead-letter topic")    \
    X(stalls, "", "subscriptions that lost their right to block")                                  \
    X(monitor_records, "records", "records given to monitors")                                     \
    X(monitor_records_lost, "records", "records dropped because a monitor was too slow")           \
    X(charged_bytes_now, "bytes", "memory held for clients now")

struct counters {
#define X(name, unit, meaning) uint64_t name;
    COUNTERS(X)
#undef X
};
