/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/inside_fields.h - what a router says of itself: lists, and the fields of their entries
 *
 * Each table below is one message of schemas/inside.proto: X(number of the field, kind, name, meaning). The kinds are TEXT, NUMBER, and numbers that have
 * names: POLICY (enum bus_policy), GOODBYE (enum bus_goodbye), LINK, STATE and SLOW (the lists in this file). The structs of <bus/inside.h> are
 * made of these tables; programs may use them to write all fields of an entry by their names. Fields may be added. docs/protocol.md, section 22.
 */

#include <bus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The requests to these topics are answered by the router. */
#define BUS_INSIDE_PREFIX "$bus/"

/* name, number, last level of its topic, name of its table */
#define BUS_INSIDE_LISTS(X)                                                                        \
    X(CLIENTS, 1, clients, CLIENT)                                                                 \
    X(TOPICS, 2, topics, TOPIC)                                                                    \
    X(SUBSCRIPTIONS, 3, subscriptions, SUBSCRIPTION)                                               \
    X(GROUPS, 4, groups, GROUP)                                                                    \
    X(QUOTAS, 5, quotas, QUOTA)                                                                    \
    X(CLOSED, 6, closed, CLOSED)                                                                   \
    X(COUNTERS, 7, counters, COUNTER)

/** A list that the router answers with. */
enum bus_inside_list {
#define X(name, number, level, table) BUS_INSIDE_##name = number,
    BUS_INSIDE_LISTS(X)
#undef X
};
#define BUS_INSIDE_LISTS_END 8 /**< one more than the highest of them */

#define BUS_LINK_LIST(X)                                                                           \
    X(SEQPACKET, 1, "seqpacket")                                                                   \
    X(STREAM, 2, "stream")

/** Kinds of link. */
enum bus_link {
#define X(name, number, text) BUS_LINK_##name = number,
    BUS_LINK_LIST(X)
#undef X
};

#define BUS_CLIENT_STATE_LIST(X)                                                                   \
    X(GREETING, 1, "greeting")                                                                     \
    X(READY, 2, "ready")                                                                           \
    X(CLOSING, 3, "closing")

/** How far a client is. */
enum bus_client_state {
#define X(name, number, text) BUS_CLIENT_STATE_##name = number,
    BUS_CLIENT_STATE_LIST(X)
#undef X
};

#define BUS_SLOW_LIST(X)                                                                           \
    X(NONE, 0, "it keeps up")                                                                      \
    X(LINK, 1, "does not read its socket")                                                         \
    X(CREDIT, 2, "has not given credit back for what it was sent")                                 \
    X(ACK, 3, "has not acknowledged what it was sent")                                             \
    X(LEASES, 4, "holds as many bodies in shared memory as it may")                                \
    X(DESCRIPTORS, 5, "has not answered for the descriptors that it was sent")                     \
    X(CALLS, 6, "has as many calls open as it takes")                                              \
    X(BLOCKED, 7, "may not publish: a subscription with policy block is full")                     \
    X(HELD, 8, "waits for others to come back after a restart")                                    \
    X(BEHIND, 9, "takes what waits for it, but has not caught up")

/** What a client is waited for, or waits for. */
enum bus_slow {
#define X(name, number, text) BUS_SLOW_##name = number,
    BUS_SLOW_LIST(X)
#undef X
};

/* ---- entries ---------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define BUS_INSIDE_CLIENT_FIELDS(X)                                                                \
    X(1, NUMBER, connection_id, "as in bus_peer.connection_id")                                    \
    X(2, NUMBER, uid, "these three are the kernel's knowledge of who connected")                   \
    X(3, NUMBER, gid, "")                                                                          \
    X(4, NUMBER, pid, "")                                                                          \
    X(5, TEXT, name, "what it calls itself: a claim; empty before its HELLO")                      \
    X(6, NUMBER, session, "0: none")                                                               \
    X(7, LINK, link, "kind of its link")                                                           \
    X(8, STATE, state, "how far it is")                                                            \
    X(9, NUMBER, since_ns, "when it connected: nanoseconds since 1970-01-01 UTC")                  \
    X(10, NUMBER, idle_ms, "since something came from it")                                         \
    X(11, NUMBER, published_messages, "since it connected, as the next ones")                      \
    X(12, NUMBER, published_bytes, "")                                                             \
    X(13, NUMBER, refused_messages, "its publishes that were refused")                             \
    X(14, NUMBER, delivered_messages, "put on its link")                                           \
    X(15, NUMBER, delivered_bytes, "")                                                             \
    X(16, NUMBER, lost_messages, "reported as lost to its subscriptions; by reason:")              \
    X(17, NUMBER, lost_queue_full, "")                                                             \
    X(18, NUMBER, lost_conflated, "")                                                              \
    X(19, NUMBER, lost_no_memory, "")                                                              \
    X(20, NUMBER, lost_too_large, "")                                                              \
    X(21, NUMBER, lost_expired, "")                                                                \
    X(22, NUMBER, lost_denied, "")                                                                 \
    X(23, NUMBER, queued_messages, "waiting now in its subscriptions' queues")                     \
    X(24, NUMBER, queued_bytes, "")                                                                \
    X(25, NUMBER, output_bytes, "waiting now for its link")                                        \
    X(26, NUMBER, output_stalled_ms, "so long its link has taken nothing of that")                 \
    X(27, NUMBER, subscriptions, "now, as the next ones")                                          \
    X(28, NUMBER, topics, "advertised")                                                            \
    X(29, NUMBER, requests, "open, of its own")                                                    \
    X(30, NUMBER, wills, "")                                                                       \
    X(31, NUMBER, leases, "bodies in shared memory that it holds")                                 \
    X(32, NUMBER, lease_bytes, "")                                                                 \
    X(33, NUMBER, buffer_bytes, "registered buffers")                                              \
    X(34, NUMBER, descriptors, "that it makes the router keep")                                    \
    X(35, NUMBER, charged_bytes, "memory of the router that it holds")                             \
    X(36, SLOW, slow, "what it is waited for, or waits for")                                       \
    X(37, NUMBER, slow_ms, "for so long")                                                          \
    X(38, NUMBER, slow_subscription, "its number, if it is about one")                             \
    X(39, NUMBER, slow_messages, "that wait there")                                                \
    X(40, NUMBER, is_monitor, "1: it is one")

#define BUS_INSIDE_TOPIC_FIELDS(X)                                                                 \
    X(1, NUMBER, id, "the router's number of it")                                                  \
    X(2, TEXT, name, "")                                                                           \
    X(3, NUMBER, published_messages, "since somebody knows it, as the next ones")                  \
    X(4, NUMBER, published_bytes, "")                                                              \
    X(5, NUMBER, delivered_messages, "")                                                           \
    X(6, NUMBER, lost_messages, "")                                                                \
    X(7, NUMBER, publishers, "who have advertised it")                                             \
    X(8, NUMBER, subscriptions, "that match and were found")                                       \
    X(9, NUMBER, retained_messages, "kept for later subscriptions")                                \
    X(10, NUMBER, retained_bytes, "memory that these are charged with")

#define BUS_INSIDE_SUBSCRIPTION_FIELDS(X)                                                          \
    X(1, NUMBER, connection_id, "whose it is")                                                     \
    X(2, NUMBER, subscription, "its number there")                                                 \
    X(3, TEXT, filter, "")                                                                         \
    X(4, TEXT, group, "of which it is a member; or empty")                                         \
    X(5, POLICY, policy, "in force now")                                                           \
    X(6, NUMBER, flags, "as in SUBSCRIBE")                                                         \
    X(7, NUMBER, is_draining, "1: it gets nothing new")                                            \
    X(8, NUMBER, window_messages, "the credit granted")                                            \
    X(9, NUMBER, window_bytes, "")                                                                 \
    X(10, NUMBER, used_messages, "of it, not given back")                                          \
    X(11, NUMBER, used_bytes, "")                                                                  \
    X(12, NUMBER, queue_messages, "bound of its queue")                                            \
    X(13, NUMBER, queue_bytes, "")                                                                 \
    X(14, NUMBER, queued_messages, "waiting now")                                                  \
    X(15, NUMBER, queued_bytes, "")                                                                \
    X(16, NUMBER, waiting_ms, "so long something has been waiting without a break")                \
    X(17, NUMBER, stalled_ms, "so long nothing of that has moved")                                 \
    X(18, SLOW, slow, "what is waited for; NONE: nothing waits")

#define BUS_INSIDE_GROUP_FIELDS(X)                                                                 \
    X(1, TEXT, filter, "")                                                                         \
    X(2, TEXT, name, "")                                                                           \
    X(3, POLICY, policy, "in force now")                                                           \
    X(4, NUMBER, flags, "as in SUBSCRIBE")                                                         \
    X(5, NUMBER, members, "")                                                                      \
    X(6, NUMBER, ready_members, "of these, can take something now")                                \
    X(7, NUMBER, draining_members, "of these, get nothing new")                                    \
    X(8, NUMBER, lost_messages, "since its first member")                                          \
    X(9, NUMBER, queued_messages, "waiting now for any member")                                    \
    X(10, NUMBER, queued_bytes, "")                                                                \
    X(11, NUMBER, returned_messages, "of these, came back unacknowledged")                         \
    X(12, NUMBER, unacknowledged_messages, "that members work on")                                 \
    X(13, NUMBER, charged_bytes, "memory of the router that it holds")                             \
    X(14, NUMBER, waiting_ms, "so long something has been waiting without a break")

#define BUS_INSIDE_QUOTA_FIELDS(X)                                                                 \
    X(1, NUMBER, is_total, "1: of all users together; uid says nothing then")                      \
    X(2, NUMBER, uid, "")                                                                          \
    X(3, TEXT, slot, "what is limited")                                                            \
    X(4, NUMBER, used, "")                                                                         \
    X(5, NUMBER, limit, "")

#define BUS_INSIDE_CLOSED_FIELDS(X)                                                                \
    X(1, NUMBER, number, "counts ends, from 1")                                                    \
    X(2, NUMBER, connection_id, "0: it was never let in")                                          \
    X(3, NUMBER, uid, "these three are the kernel's knowledge of who connected")                   \
    X(4, NUMBER, gid, "")                                                                          \
    X(5, NUMBER, pid, "")                                                                          \
    X(6, TEXT, name, "what it called itself")                                                      \
    X(7, NUMBER, session, "0: none")                                                               \
    X(8, LINK, link, "kind of its link")                                                           \
    X(9, GOODBYE, reason, "NONE: the connection broke without a word")                             \
    X(10, TEXT, text, "more about it, for people")                                                 \
    X(11, NUMBER, since_ns, "when it connected: nanoseconds since 1970-01-01 UTC")                 \
    X(12, NUMBER, until_ns, "when it ended; if there were several, the last of them")              \
    X(13, NUMBER, times, "so many alike in a row, that were not let in")                           \
    X(14, NUMBER, published_messages, "in all that time, as the next ones")                        \
    X(15, NUMBER, published_bytes, "")                                                             \
    X(16, NUMBER, refused_messages, "")                                                            \
    X(17, NUMBER, delivered_messages, "")                                                          \
    X(18, NUMBER, delivered_bytes, "")                                                             \
    X(19, NUMBER, lost_messages, "")                                                               \
    X(20, NUMBER, queued_messages, "that were still waiting for it")                               \
    X(21, NUMBER, charged_bytes, "memory of the router that it held")                              \
    X(22, NUMBER, subscriptions, "that it had")

#define BUS_INSIDE_COUNTER_FIELDS(X)                                                               \
    X(1, TEXT, name, "docs/counters.md")                                                           \
    X(2, NUMBER, value, "")

/* ---- questions and answers -------------------------------------------------------------------------------------- */

/** Body of a request to a list. An empty one asks for the beginning of it. */
#define BUS_INSIDE_QUERY_FIELDS(X)                                                                 \
    X(1, NUMBER, after, "PAGE.next of the page before; 0: from the beginning")                     \
    X(2, NUMBER, limit, "so many entries at most; 0: as many as the router gives at once")         \
    X(3, NUMBER, connection_id, "0: all; else clients, subscriptions and ends of this one only")

/** Body of a request to `$bus/control/disconnect`. */
#define BUS_INSIDE_DISCONNECT_FIELDS(X)                                                            \
    X(1, NUMBER, connection_id, "")                                                                \
    X(2, TEXT, text, "for whoever is there; or empty")

/** Body of the answer to a request to `$bus/control/...`. */
#define BUS_INSIDE_CONTROLLED_FIELDS(X)                                                            \
    X(1, TEXT, text, "what was done; with an error, why not")
/* clang-format on */

#ifdef __cplusplus
}
#endif
