/* SPDX-License-Identifier: MIT */
#pragma once
/* The headers of all frames as plain structs, generated with their conversions from one list of
 * fields for each message. Texts are views: into the arena after decoding. Meaning of the fields:
 * docs/protocol.md. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "wire/frame.h"

struct text {
    const char *data; /* not NUL-terminated; never NULL after decoding */
    size_t len;
};

static inline struct text text_from(const char *s)
{
    return (struct text){s, strlen(s)};
}

/* Its first bytes, at most max. */
static inline struct text text_cut(struct text t, size_t max)
{
    return (struct text){t.data, t.len < max ? t.len : max};
}

static inline bool text_equals(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

struct wire_header {
    struct text name;
    struct text value;
};

struct wire_recipient {
    uint32_t peer, subscription, verdict, reason, evicted;
};

/* One list of fields for each message, in the order of schemas/bus.proto. */
/* clang-format off */
/* Kinds of field: U32, U64, TEXT, and the repeated TEXTS, HEADERS, RECIPIENTS. */
#define WIRE_FIELDS_HELLO(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                              \
    U32(protocol_min) U32(protocol_max) TEXT(client_name) U64(features) TEXT(resume_token)     \
    U64(session)
#define WIRE_FIELDS_WELCOME(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                            \
    U32(protocol) U64(connection_id) U64(router_epoch) TEXT(router_version) U64(features)          \
    U32(inline_max) U32(publish_window_messages) U64(publish_window_bytes) U32(aliases_max)        \
    U32(subscriptions_max) U32(queue_messages_max) U64(queue_bytes_max) U32(window_messages_max)   \
    U64(window_bytes_max) U32(stall_timeout_ms) U64(body_max) U32(buffers_max)                     \
    U64(buffer_bytes_max) U32(descriptors_max) U32(leases_max) U32(requests_max)                   \
    U32(request_timeout_max_ms)
#define WIRE_FIELDS_STATUS(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                             \
    U32(code) U32(verb) U32(alias) U32(subscription) U64(sequence) TEXT(text) U32(buffer)   \
    U64(call)
#define WIRE_FIELDS_GOODBYE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(reason) TEXT(text)
#define WIRE_FIELDS_PING(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U64(token)
#define WIRE_FIELDS_PONG(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U64(token)
#define WIRE_FIELDS_ADVERTISE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                          \
    U32(alias) TEXT(topic) U32(flags) U32(retain_messages) U32(retain_ttl_ms)
#define WIRE_FIELDS_UNADVERTISE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(alias)
#define WIRE_FIELDS_PUBLISH(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                            \
    U32(alias) TEXT(topic) U32(flags) U32(buffer) U64(offset) U64(bytes) TEXT(key) U32(ttl_ms)     \
    U64(sequence) HEADERS(headers)
#define WIRE_FIELDS_PUBLISH_CREDIT(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                     \
    U32(messages) U64(bytes)
#define WIRE_FIELDS_CONFIRM(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                            \
    U64(sequence) U32(matched) U32(delivered) U32(queued) U32(dropped)
#define WIRE_FIELDS_BUFFER(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                             \
    U32(id) U64(bytes) U32(flags)
#define WIRE_FIELDS_UNBUFFER(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(id)
#define WIRE_FIELDS_RETURNED(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(buffer) U64(offset)
#define WIRE_FIELDS_SUBSCRIBE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                          \
    U32(subscription) TEXT(filter) U32(policy) U32(window_messages) U64(window_bytes)              \
    U32(queue_messages) U64(queue_bytes) U32(flags) TEXT(group) U32(retained)                      \
    U32(min_interval_ms) U32(silence_ms) U32(deliveries_max) TEXT(dead_letter)
#define WIRE_FIELDS_UNSUBSCRIBE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                        \
    U32(subscription) U32(flags)
#define WIRE_FIELDS_MESSAGE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                             \
    U32(subscription) U32(topic) U32(sender) U64(sequence) U64(time) U32(flags) U32(buffer)        \
    U64(offset) U64(bytes) U32(lease) U32(descriptors) HEADERS(headers) U32(delivery)              \
    U32(deliveries)
#define WIRE_FIELDS_TOPIC(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(id) TEXT(name)
#define WIRE_FIELDS_PEER(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                               \
    U32(id) U64(connection_id) U32(uid) U32(gid) U32(pid) TEXT(name) U64(session)
#define WIRE_FIELDS_CREDIT(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                             \
    U32(subscription) U32(messages) U64(bytes) U64(call) U32(part)
#define WIRE_FIELDS_LOSS(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                               \
    U32(subscription) U64(count) U64(bytes) U32(reason)
#define WIRE_FIELDS_RELEASE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(lease) U32(flags)
#define WIRE_FIELDS_MONITOR(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                            \
    TEXTS(filters) U32(snap_bytes) U64(queue_bytes)
#define WIRE_FIELDS_MONITORED(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                          \
    U64(order) U32(topic) U32(sender) U64(sequence) U64(time) U64(body_bytes) U32(status)          \
    RECIPIENTS(recipients) U32(recipients_omitted) U32(descriptors) U32(kind) U64(call)            \
    HEADERS(headers) U32(error)
#define WIRE_FIELDS_SNAPSHOT(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                           \
    U32(kind) U64(after) U32(limit)
#define WIRE_FIELDS_CLIENT_STATS(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                       \
    U64(connection_id) U32(uid) U32(gid) U32(pid) TEXT(name) U64(published_messages)               \
    U64(published_bytes) U64(delivered_messages) U64(delivered_bytes) U64(lost_messages)           \
    U64(queued_messages) U64(queued_bytes) U32(subscriptions) U32(aliases) U64(charged_bytes)      \
    U64(refused_messages)
#define WIRE_FIELDS_TOPIC_STATS(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                        \
    U32(id) TEXT(name) U64(published_messages) U64(published_bytes) U64(delivered_messages)        \
    U64(lost_messages) U32(publishers) U32(subscriptions) U64(retained_messages)                   \
    U64(retained_bytes)
#define WIRE_FIELDS_COUNTER(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) TEXT(name) U64(value)
#define WIRE_FIELDS_SNAPSHOT_END(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                       \
    U32(kind) U64(next) U32(subscription) U64(messages)
#define WIRE_FIELDS_CLEAR(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(alias) TEXT(topic)
#define WIRE_FIELDS_INTEREST(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                           \
    U32(alias) U32(subscriptions)
#define WIRE_FIELDS_WILL(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                               \
    TEXT(topic) U32(flags) U32(delay_ms) HEADERS(headers)
#define WIRE_FIELDS_ACK(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                                \
    U32(subscription) U32(delivery) U32(flags)
#define WIRE_FIELDS_SILENCE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                            \
    U32(subscription) U64(since_ms)
#define WIRE_FIELDS_REQUEST(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                            \
    U32(alias) TEXT(topic) U32(flags) U32(buffer) U64(offset) U64(bytes) U32(call)                 \
    U32(timeout_ms) HEADERS(headers)
#define WIRE_FIELDS_CALL(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                               \
    U32(subscription) U32(topic) U32(sender) U64(call) U64(time) U32(flags) U32(buffer)            \
    U64(offset) U64(bytes) U32(lease) U32(descriptors) U32(timeout_ms) HEADERS(headers)
#define WIRE_FIELDS_REPLY(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                              \
    U64(call) U32(flags) U32(buffer) U64(offset) U64(bytes) U32(error) HEADERS(headers)
#define WIRE_FIELDS_ANSWER(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                             \
    U32(call) U32(part) U32(sender) U64(time) U32(flags) U32(buffer) U64(offset) U64(bytes)        \
    U32(lease) U32(descriptors) U32(error) HEADERS(headers)
#define WIRE_FIELDS_DONE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS)                               \
    U32(call) U32(status) U32(replied) U32(gone) U32(timed_out) TEXT(text)
#define WIRE_FIELDS_CANCEL(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U64(call) U32(reason)
#define WIRE_FIELDS_RESTORED(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(flags)
#define WIRE_FIELDS_STOPPING(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(deadline_ms)
#define WIRE_FIELDS_REPLACE(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U32(version)
#define WIRE_FIELDS_ACKED(U32, U64, TEXT, TEXTS, HEADERS, RECIPIENTS) U64(sequence)

/* clang-format on */

#define FIELD_U32(name) uint32_t name;
#define FIELD_U64(name) uint64_t name;
#define FIELD_TEXT(name) struct text name;
#define FIELD_TEXTS(name)                                                                          \
    const struct text *name;                                                                       \
    size_t n_##name;
#define FIELD_HEADERS(name)                                                                        \
    const struct wire_header *name;                                                                \
    size_t n_##name;
#define FIELD_RECIPIENTS(name)                                                                     \
    const struct wire_recipient *name;                                                             \
    size_t n_##name;

/* struct wire_hello, struct wire_welcome, … */
#define X(upper, number, pb, member, body)                                                         \
    struct wire_##member {                                                                         \
        WIRE_FIELDS_##upper(FIELD_U32, FIELD_U64, FIELD_TEXT, FIELD_TEXTS, FIELD_HEADERS,          \
                            FIELD_RECIPIENTS)                                                      \
    };
VERB_LIST(X)
#undef X

/* What a decoded header is; the verb says which member. */
union wire_any {
#define X(upper, number, pb, member, body) struct wire_##member member;
    VERB_LIST(X)
#undef X
};
