/* SPDX-License-Identifier: MIT */
#pragma once
/* Every counter of the router, once: this table makes the struct, the snapshot and
 * docs/counters.md. */

#include <stdbool.h>
#include <stdint.h>

/* name, unit, meaning */
#define COUNTERS(X)                                                                                \
    X(clients_now, "clients", "connected now")                                                     \
    X(clients_total, "clients", "connected since the start")                                       \
    X(clients_refused, "clients", "turned away at a limit")                                        \
    X(subscriptions_now, "", "subscriptions now")                                                  \
    X(subscriptions_drained, "", "subscriptions that ended when what waited for them had gone")    \
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
    X(messages_expired, "messages", "of those lost, for their time to live was over")              \
    X(messages_discarded, "messages", "waiting when their subscription ended")                     \
    X(messages_queued_now, "messages", "waiting in queues now")                                    \
    X(denials, "", "times somebody had no right to what it asked for, or lost it")                 \
    X(events_published, "messages", "of the router's own, as that clients came and went")          \
    X(wills_now, "messages", "kept now, of clients that are there and that wait after their end")  \
    X(wills_published, "messages", "after the ends of their clients")                              \
    X(wills_cancelled, "messages", "because their clients returned in time")                       \
    X(interests_told, "", "times a publisher was told how many subscriptions there are")           \
    X(silences_told, "", "times a subscription was told that no message came")                     \
    X(retained_messages_now, "messages", "kept by topics now")                                     \
    X(retained_bytes_now, "bytes", "charged to users for them")                                    \
    X(groups_now, "", "groups of subscriptions now")                                               \
    X(messages_unacknowledged_now, "messages", "delivered to members of groups, who work on them") \
    X(messages_returned, "messages", "came back from members of groups, not acknowledged")         \
    X(messages_redelivered, "messages", "of these, delivered again")                               \
    X(messages_dead_lettered, "messages", "of these, given up and sent to a dead-letter topic")    \
    X(subscriptions_over, "",                                                                      \
      "subscriptions that ended because one topic matched too many of a user")                     \
    X(rate_pauses, "", "times a user's clients were not read because its rate was used up")        \
    X(stalls, "", "subscriptions that lost their right to block")                                  \
    X(reliable_stalls, "", "subscriptions that publishers of reliable topics ceased to wait for")  \
    X(acknowledgements, "", "times a publisher was told how far reliable topics are consumed")     \
    X(requests, "requests", "accepted from requesters")                                            \
    X(requests_now, "requests", "open now")                                                        \
    X(requests_failed, "requests", "that ended without their answer, or were refused")             \
    X(requests_inside, "requests", "answered by the router itself, and in none of the others")     \
    X(calls_now, "calls", "open at servers, or waiting for one")                                   \
    X(replies, "replies", "handed on to requesters")                                               \
    X(replies_refused, "replies", "refused to servers")                                            \
    X(monitor_records, "records", "records given to monitors")                                     \
    X(monitor_records_lost, "records", "records dropped because a monitor was too slow")           \
    X(config_reloads, "", "times the configuration was read anew, and swapped")                    \
    X(config_reloads_failed, "", "times it had errors, and nothing was changed")                   \
    X(charged_bytes_now, "bytes", "memory held for clients now")

struct counters {
#define X(name, unit, meaning) uint64_t name;
    COUNTERS(X)
#undef X
};

#define X(name, unit, meaning) +1
enum { COUNTERS_COUNT = 0 COUNTERS(X) };
#undef X

/* By their places in the list, below COUNTERS_COUNT. */
const char *counter_name(unsigned counter);
uint64_t counter_get(const struct counters *c, unsigned counter);
void counter_set(struct counters *c, unsigned counter, uint64_t value);
/* Whether it says what there is now; the others count up for ever. */
bool counter_is_momentary(unsigned counter);
