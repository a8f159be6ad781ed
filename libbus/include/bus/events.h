/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/events.h - what the router itself publishes
 *
 * Subscribe to BUS_EVENTS_CLIENTS, or to `$bus/client/ID/#` for one connection, and hand the bodies to
 * bus_client_event_parse(); to BUS_EVENTS_DENIED, and hand them to bus_denied_event_parse();
 * to BUS_EVENTS_QUOTA, and hand them to bus_quota_event_parse(). They are protobuf messages of schemas/events.proto, which may also be
 * read with any protobuf library. docs/protocol.md, sections 15, 20 and 21.
 */

#include <stddef.h>
#include <stdint.h>
#include <bus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The filter of all events of clients: `$bus/client/ID/joined` and `$bus/client/ID/left`. */
#define BUS_EVENTS_CLIENTS "$bus/client/#"

/** What has happened. */
enum bus_client_event_kind {
    BUS_CLIENT_JOINED = 1, /**< it has connected and been greeted */
    BUS_CLIENT_LEFT = 2,   /**< its connection ends */
};

/** A client has come or gone. */
struct bus_client_event {
    uint32_t size;
    enum bus_client_event_kind kind;
    uint64_t connection_id; /**< as in bus_peer.connection_id */
    uint32_t uid;           /**< these three are the kernel's knowledge of who connected */
    uint32_t gid;
    uint32_t pid;
    enum bus_goodbye reason;     /**< BUS_CLIENT_LEFT: why; NONE: the connection broke, most often because the process ended */
    char name[BUS_NAME_MAX + 1]; /**< what the client calls itself: a claim */
    char text[256];              /**< BUS_CLIENT_LEFT: more about it, for people; or "" */
};
#define BUS_CLIENT_EVENT_INIT {sizeof(struct bus_client_event), BUS_CLIENT_JOINED, 0, 0, 0, 0, BUS_GOODBYE_NONE, "", ""}

/**
 * bus_client_event_parse() - read the body of an event
 * @data:       body of a message of the router: of one whose bus_message_sender() has connection_id 0
 * @bytes:      its length
 * @ret_event:  receives it; initialised with BUS_CLIENT_EVENT_INIT
 *
 * Texts are copied, and cut if they are too long. Fields that this version does not know are ignored; kinds and reasons it does not know
 * come as their numbers.
 *
 * Returns: 0.
 *
 * Errors:
 *   -EBADMSG  not such a body
 *   -EINVAL   ret_event->size is unknown, or @data is NULL and @bytes is not 0
 *
 * Ownership: nothing is kept.
 * Threads: any.
 * Since: 0.2
 */
BUS_API int bus_client_event_parse(const void *data, size_t bytes, struct bus_client_event *ret_event);

/** The topic of refusals for want of a right. */
#define BUS_EVENTS_DENIED "$bus/access/denied"

/** Somebody had no right to what it asked for, or has lost it. */
struct bus_denied_event {
    uint32_t size;
    int taken;              /**< 1: it had the right before the rules of the router were changed */
    uint64_t connection_id; /**< as in bus_peer.connection_id */
    uint32_t uid;           /**< these three are the kernel's knowledge of who connected */
    uint32_t gid;
    uint32_t pid;
    uint64_t left_out;           /**< refusals since the last such event that were not published, because there were too many */
    char name[BUS_NAME_MAX + 1]; /**< what the client calls itself: a claim */
    char verb[33];               /**< the right, as in the router's rules: publish, subscribe, request, serve, monitor, retain, block, descriptors */
    char topic[BUS_TOPIC_MAX + 1]; /**< the topic, or the filter */
    char rule[256];              /**< where the rule is that decided, such as FILE:LINE; "" if there is none */
    char text[256];              /**< more about it, for people; or "" */
};
#define BUS_DENIED_EVENT_INIT {sizeof(struct bus_denied_event), 0, 0, 0, 0, 0, 0, "", "", "", "", ""}

/**
 * bus_denied_event_parse() - read the body of such an event
 * @data:       body of a message of the router: of one whose bus_message_sender() has connection_id 0
 * @bytes:      its length
 * @ret_event:  receives it; initialised with BUS_DENIED_EVENT_INIT
 *
 * Texts are copied, and cut if they are too long. Fields that this version does not know are ignored.
 *
 * Returns: 0.
 *
 * Errors:
 *   -EBADMSG  not such a body
 *   -EINVAL   ret_event->size is unknown, or @data is NULL and @bytes is not 0
 *
 * Ownership: nothing is kept.
 * Threads: any.
 * Since: 0.4
 */
BUS_API int bus_denied_event_parse(const void *data, size_t bytes, struct bus_denied_event *ret_event);

/** The topic of bounds that users have met. */
#define BUS_EVENTS_QUOTA "$bus/quota/exceeded"

/** Holders that one event names at most. */
#define BUS_QUOTA_HOLDERS_MAX 3

/** Who holds how much of something. */
struct bus_quota_holder {
    uint32_t uid;
    uint64_t connection_id; /**< 0: all connections of that user, or a group that it has begun */
    uint64_t used;
    char name[BUS_NAME_MAX + 1]; /**< what the client calls itself: a claim */
};

/** A user has met a bound of what its connections share, or one of the router. */
struct bus_quota_event {
    uint32_t size;
    uint32_t uid;           /**< whose connections they are */
    uint64_t connection_id; /**< the one that met it; 0: none, it was a group or a connection that was turned away */
    char slot[33];          /**< what it is, as in the router's configuration: bytes, connections, ...; total_bytes: the bound of the router */
    uint64_t limit;
    uint64_t used;      /**< at that moment */
    uint64_t requested; /**< so much more was asked for */
    uint64_t times;     /**< how often, since the last such event of that user and slot */
    uint32_t n_holders;
    struct bus_quota_holder holders[BUS_QUOTA_HOLDERS_MAX]; /**< who holds the most of it, the largest first */
};
#define BUS_QUOTA_EVENT_INIT {sizeof(struct bus_quota_event), 0, 0, "", 0, 0, 0, 0, 0, {{0, 0, 0, ""}}}

/**
 * bus_quota_event_parse() - read the body of such an event
 * @data:       body of a message of the router: of one whose bus_message_sender() has connection_id 0
 * @bytes:      its length
 * @ret_event:  receives it; initialised with BUS_QUOTA_EVENT_INIT
 *
 * Texts are copied, and cut if they are too long. Fields that this version does not know are ignored.
 *
 * Returns: 0.
 *
 * Errors:
 *   -EBADMSG  not such a body
 *   -EINVAL   ret_event->size is unknown, or @data is NULL and @bytes is not 0
 *
 * Ownership: nothing is kept.
 * Threads: any.
 * Since: 0.4
 */
BUS_API int bus_quota_event_parse(const void *data, size_t bytes, struct bus_quota_event *ret_event);

#ifdef __cplusplus
}
#endif
