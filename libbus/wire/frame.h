/* SPDX-License-Identifier: MIT */
#pragma once
/* Frames: the prefix, the verbs, and finding whole frames in received bytes. docs/protocol.md,
 * sections 2 and 11. */

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRAME_PREFIX_BYTES 8u
#define FRAME_HEADER_MAX 65535u
#define FRAME_INLINE_MAX_SEQPACKET 65536u
/* Most descriptors of one frame. */
#define FRAME_FDS_MAX 16u
/* Largest packet of a seqpacket link; a receive buffer must hold it. */
#define FRAME_PACKET_MAX (FRAME_PREFIX_BYTES + FRAME_HEADER_MAX + FRAME_INLINE_MAX_SEQPACKET)

/* name, number, protobuf message, member of union wire_any, may have a body */
#define VERB_LIST(X)                                                                               \
    X(HELLO, 1, Hello, hello, 0)                                                                   \
    X(WELCOME, 2, Welcome, welcome, 0)                                                             \
    X(STATUS, 3, Status, status, 0)                                                                \
    X(GOODBYE, 4, Goodbye, goodbye, 0)                                                             \
    X(PING, 5, Ping, ping, 0)                                                                      \
    X(PONG, 6, Pong, pong, 0)                                                                      \
    X(RESTORED, 7, Restored, restored, 0)                                                          \
    X(STOPPING, 8, Stopping, stopping, 0)                                                          \
    X(REPLACE, 9, Replace, replace, 0)                                                             \
    X(ADVERTISE, 16, Advertise, advertise, 0)                                                      \
    X(UNADVERTISE, 17, Unadvertise, unadvertise, 0)                                                \
    X(PUBLISH, 18, Publish, publish, 1)                                                            \
    X(PUBLISH_CREDIT, 19, PublishCredit, publish_credit, 0)                                        \
    X(CONFIRM, 20, Confirm, confirm, 0)                                                            \
    X(BUFFER, 21, Buffer, buffer, 0)                                                               \
    X(UNBUFFER, 22, Unbuffer, unbuffer, 0)                                                         \
    X(RETURNED, 23, Returned, returned, 0)                                                         \
    X(CLEAR, 27, Clear, clear, 0)                                                                  \
    X(INTEREST, 28, Interest, interest, 0)                                                         \
    X(WILL, 29, Will, will, 1)                                                                     \
    X(ACKED, 30, Acked, acked, 0)                                                                  \
    X(SUBSCRIBE, 32, Subscribe, subscribe, 0)                                                      \
    X(UNSUBSCRIBE, 33, Unsubscribe, unsubscribe, 0)                                                \
    X(MESSAGE, 34, Message, message, 1)                                                            \
    X(TOPIC, 35, Topic, topic, 0)                                                                  \
    X(PEER, 36, Peer, peer, 0)                                                                     \
    X(CREDIT, 37, Credit, credit, 0)                                                               \
    X(LOSS, 38, Loss, loss, 0)                                                                     \
    X(RELEASE, 39, Release, release, 0)                                                            \
    X(ACK, 41, Ack, ack, 0)                                                                        \
    X(SILENCE, 42, Silence, silence, 0)                                                            \
    X(MONITOR, 48, Monitor, monitor, 0)                                                            \
    X(MONITORED, 49, Monitored, monitored, 1)                                                      \
    X(SNAPSHOT, 50, Snapshot, snapshot, 0)                                                         \
    X(CLIENT_STATS, 51, ClientStats, client_stats, 0)                                              \
    X(TOPIC_STATS, 52, TopicStats, topic_stats, 0)                                                 \
    X(COUNTER, 53, Counter, counter, 0)                                                            \
    X(SNAPSHOT_END, 54, SnapshotEnd, snapshot_end, 0)                                              \
    X(REQUEST, 64, Request, request, 1)                                                            \
    X(CALL, 65, Call, call, 1)                                                                     \
    X(REPLY, 66, Reply, reply, 1)                                                                  \
    X(ANSWER, 67, Answer, answer, 1)                                                               \
    X(DONE, 68, Done, done, 0)                                                                     \
    X(CANCEL, 69, Cancel, cancel, 0)

enum verb {
#define X(name, number, pb, member, body) VERB_##name = number,
    VERB_LIST(X)
#undef X
};

/* Bits of HELLO.features and WELCOME.features. */
enum { FEATURE_BUFFERS = 1, FEATURE_DESCRIPTORS = 2, FEATURE_RETURNS = 4, FEATURE_STOPPING = 8 };
/* Bits of ADVERTISE.flags, PUBLISH.flags (beyond those of bus_publish_opts), SUBSCRIBE.flags
 * (beyond those of bus_sub_opts), UNSUBSCRIBE.flags, MESSAGE.flags and ACK.flags. */
enum { ADVERTISE_OWNED = 1, ADVERTISE_INTEREST = 2, ADVERTISE_RELIABLE = 4 };
enum { PUBLISH_RESENT = 2 };
enum { SUBSCRIBE_SERVE = 32 };
enum { UNSUBSCRIBE_DRAIN = 1 };
enum { MESSAGE_RETAINED = 1, MESSAGE_REDELIVERED = 2, MESSAGE_RELIABLE = 4, MESSAGE_RESENT = 8 };
enum { ACK_REFUSE = 1 };
/* Bits of REQUEST.flags and CALL.flags, and of REPLY.flags and ANSWER.flags. */
enum { REQUEST_ALL = 1, REQUEST_DESCRIPTORS = 2 };
enum { REPLY_MORE = 1 };
/* Bits of BUFFER.flags and of RELEASE.flags. */
enum { BUFFER_IMMUTABLE = 1 };
enum { RELEASE_FORGET = 1 };

/* A whole frame; the pointers are views into the received bytes. */
struct frame {
    const uint8_t *header;
    const uint8_t *body;
    uint32_t body_bytes;
    uint16_t header_bytes;
    uint8_t verb; /* any value: what a peer sent */
    uint8_t fds;
};

enum frame_verdict {
    FRAME_OK,
    FRAME_PARTIAL,   /* more bytes are needed: *ret_bytes says how many in all, at least */
    FRAME_TOO_LARGE, /* the body exceeds body_max, or the verb has none */
};

/* Name of a verb, or "?". */
const char *verb_name(uint8_t verb);

/* Whether frames of this verb may have a body; unknown verbs may not. */
static inline bool verb_has_body(uint8_t verb)
{
    return verb == VERB_PUBLISH || verb == VERB_MESSAGE || verb == VERB_MONITORED ||
           (verb >= VERB_REQUEST && verb <= VERB_ANSWER) || verb == VERB_WILL;
}

static inline uint64_t load_u64le(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static inline void store_u64le(void *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

/* The prefix is one little-endian number of 64 bits, and handled as one. */
static inline void frame_write_prefix_fds(uint8_t *dst, enum verb verb, size_t header_bytes,
                                          size_t body_bytes, unsigned fds)
{
    store_u64le(dst, (uint64_t) (uint32_t) body_bytes | (uint64_t) (uint16_t) header_bytes << 32 |
                         (uint64_t) verb << 48 | (uint64_t) fds << 56);
}

static inline void frame_write_prefix(uint8_t *dst, enum verb verb, size_t header_bytes,
                                      size_t body_bytes)
{
    frame_write_prefix_fds(dst, verb, header_bytes, body_bytes, 0);
}

/* Of the frame whose prefix begins there. */
static inline uint8_t frame_peek_verb(const uint8_t prefix[FRAME_PREFIX_BYTES])
{
    return prefix[6];
}

/* First frame in data. *ret_bytes: its length, or what is needed for FRAME_PARTIAL. */
static inline enum frame_verdict frame_parse(const uint8_t *data, size_t len, uint32_t body_max,
                                             struct frame *ret, size_t *ret_bytes)
{
    uint64_t prefix;

    if (len < FRAME_PREFIX_BYTES) {
        *ret_bytes = FRAME_PREFIX_BYTES;
        return FRAME_PARTIAL;
    }
    prefix = load_u64le(data);
    ret->body_bytes = (uint32_t) prefix;
    ret->header_bytes = (uint16_t) (prefix >> 32);
    ret->verb = (uint8_t) (prefix >> 48);
    ret->fds = (uint8_t) (prefix >> 56);
    if (ret->body_bytes > 0 && (ret->body_bytes > body_max || !verb_has_body(ret->verb))) {
        return FRAME_TOO_LARGE;
    }
    *ret_bytes = FRAME_PREFIX_BYTES + ret->header_bytes + (size_t) ret->body_bytes;
    ret->header = data + FRAME_PREFIX_BYTES;
    ret->body = ret->header + ret->header_bytes;
    return len < *ret_bytes ? FRAME_PARTIAL : FRAME_OK;
}
