/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/types.h - numbers that the wire protocol and the API share
 *
 * The values are those of docs/protocol.md, section 11, and never change. Values may be added: treat an unknown one as
 * "something else", as the name functions do.
 */

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BUS_API __attribute__((visibility("default")))
#else
#define BUS_API
#endif

/** Longest topic, filter and header name, in bytes without the NUL. */
#define BUS_TOPIC_MAX 255
/** Most levels of a topic or filter. */
#define BUS_LEVELS_MAX 32
/** Longest client name, in bytes without the NUL. */
#define BUS_NAME_MAX 64
/** Longest resume token, see bus_opts. */
#define BUS_RESUME_TOKEN_MAX 64
/** Most text headers of one message. */
#define BUS_HEADERS_MAX 64
/** Most descriptors of one message. */
#define BUS_FDS_MAX 16

/* name, number, text for people */
#define BUS_STATUS_LIST(X)                                                                         \
    X(OK, 0, "ok")                                                                                 \
    X(MALFORMED, 1, "the frame's header could not be decoded")                                     \
    X(UNKNOWN_VERB, 2, "the router does not know this verb")                                       \
    X(UNEXPECTED, 3, "this verb is not allowed here or now")                                       \
    X(INVALID_TOPIC, 4, "not a valid topic")                                                       \
    X(INVALID_FILTER, 5, "not a valid topic filter")                                               \
    X(INVALID_ARGUMENT, 6, "a field is out of its range")                                          \
    X(IN_USE, 7, "that number is in use")                                                          \
    X(UNKNOWN_ALIAS, 8, "no topic is advertised under that alias")                                 \
    X(UNKNOWN_SUBSCRIPTION, 9, "no such subscription")                                             \
    X(DENIED, 10, "not allowed for this user")                                                     \
    X(LIMIT, 11, "a limit of the router is reached")                                               \
    X(NO_CREDIT, 12, "published without credit")                                                   \
    X(NO_MEMORY, 13, "the router is out of memory")                                                \
    X(STALLED, 14, "no progress for too long: the subscription may no longer block publishers")    \
    X(UNSUPPORTED, 15, "this frame takes no descriptors")                                          \
    X(UNKNOWN_BUFFER, 16, "no buffer is registered under that number")                             \
    X(BAD_DESCRIPTORS, 17, "descriptors are missing, or not of the kind that is needed here")      \
    X(NO_RESPONDER, 18, "nobody serves that topic")                                                \
    X(RESPONDER_GONE, 19, "who was to answer has gone")                                            \
    X(TIMEOUT, 20, "no answer in time")                                                            \
    X(CANCELLED, 21, "the requester has cancelled it")                                             \
    X(UNKNOWN_CALL, 22, "no such call is open here")                                               \
    X(UNKNOWN_DELIVERY, 23, "no such message waits to be acknowledged")                            \
    X(DISCONNECTED, 24, "the link to the router has broken")

/** What the router says about a request. */
enum bus_status {
#define X(name, number, text) BUS_STATUS_##name = number,
    BUS_STATUS_LIST(X)
#undef X
};

#define BUS_GOODBYE_LIST(X)                                                                        \
    X(NONE, 0, "the connection broke without a word")                                              \
    X(NORMAL, 1, "done")                                                                           \
    X(SHUTDOWN, 2, "the router stops")                                                             \
    X(PROTOCOL_ERROR, 3, "protocol error")                                                         \
    X(HELLO_TIMEOUT, 4, "no HELLO in time")                                                        \
    X(SLOW_CONSUMER, 5, "a subscription with policy disconnect was too slow")                      \
    X(LIMIT, 6, "a limit of the router is reached")                                                \
    X(NO_MEMORY, 7, "the router is out of memory")                                                 \
    X(VERSION, 8, "no common protocol version")                                                    \
    X(ADMIN, 9, "disconnected by an administrator")

/** Why a connection ended. */
enum bus_goodbye {
#define X(name, number, text) BUS_GOODBYE_##name = number,
    BUS_GOODBYE_LIST(X)
#undef X
};

#define BUS_LOSS_LIST(X)                                                                           \
    X(NONE, 0, "none")                                                                             \
    X(QUEUE_FULL, 1, "queue full")                                                                 \
    X(CONFLATED, 2, "replaced by a newer value")                                                   \
    X(NO_MEMORY, 3, "router memory limit")                                                         \
    X(TOO_LARGE, 4, "too large for the receiver's link")                                           \
    X(NO_DESCRIPTORS, 5, "this process has too many descriptors open to take the body")     \
    X(EXPIRED, 6, "older than its time to live")                                                   \
    X(ROUTER_RESTART, 7, "the connection was lost and has come back")                              \
    X(DENIED, 8, "no right to it any more")

/** Why messages did not reach a subscription. */
enum bus_loss_reason {
#define X(name, number, text) BUS_LOSS_##name = number,
    BUS_LOSS_LIST(X)
#undef X
};

#define BUS_VERDICT_LIST(X)                                                                        \
    X(NONE, 0, "none")                                                                             \
    X(DELIVERED, 1, "delivered")                                                                   \
    X(QUEUED, 2, "queued")                                                                         \
    X(DROPPED, 3, "dropped")                                                                       \
    X(DISCONNECTED, 4, "disconnected")

/** What became of a message for one recipient, as a monitor sees it. */
enum bus_verdict {
#define X(name, number, text) BUS_VERDICT_##name = number,
    BUS_VERDICT_LIST(X)
#undef X
};

#define BUS_POLICY_LIST(X)                                                                         \
    X(DROP_OLDEST, 0, "drop_oldest")                                                               \
    X(DROP_NEWEST, 1, "drop_newest")                                                               \
    X(LATEST, 2, "latest")                                                                         \
    X(BLOCK, 3, "block")                                                                           \
    X(DISCONNECT, 4, "disconnect")

/** What happens to messages for a subscription whose window and queue are full: docs/protocol.md, section 6. */
enum bus_policy {
#define X(name, number, text) BUS_POLICY_##name = number,
    BUS_POLICY_LIST(X)
#undef X
};

/** What a subscription gets of what was published before it. */
enum bus_retained {
    BUS_RETAINED_NONE = 0,
    BUS_RETAINED_LAST = 1, /**< the last message of each topic */
    BUS_RETAINED_ALL = 2,  /**< all that are kept of it */
};

/** Kinds of snapshot, see bus_snapshot(). */
enum bus_snapshot_kind {
    BUS_SNAPSHOT_CLIENTS = 1,
    BUS_SNAPSHOT_TOPICS = 2,
    BUS_SNAPSHOT_COUNTERS = 3,
};

#ifdef __cplusplus
}
#endif
