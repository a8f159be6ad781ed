/* SPDX-License-Identifier: MIT */
#pragma once
/* What waits in queues: the identity of a sender, and a message that all queues share. Both are
 * counted; a message holds its topic and its sender. */

#include <bus/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/idpool.h"
#include "core/quota.h"
#include "wire/frame.h"

struct cargo;
struct identity;
struct peer;
struct slab;
struct topic;
struct user;
struct will;

/* Who published. Lives as long as the connection, and after it as long as messages of it wait. */
struct sender {
    uint32_t refs;
    uint32_t id;        /* PEER.id; in router.sender_ids */
    struct peer *peer;  /* NULL when the connection has ended */
    struct idpool *ids; /* not owned; outlives every sender */
    struct user *user;
    struct quota descriptors; /* that this connection makes the router keep */
    uint64_t connection_id;
    uint64_t session; /* HELLO.session; 0: none */
    uint32_t uid;
    uint32_t gid;
    uint32_t pid;
    /* presence.h */
    struct sender *due_prev, *due_next; /* presence.due */
    struct will *wills;                 /* of will.next */
    struct identity *identity;          /* a reference, or NULL: it cannot return */
    const char *goodbye_text;           /* static */
    uint8_t goodbye;                    /* enum bus_goodbye */
    uint8_t due;                        /* DUE_ bits */
    bool is_present;                    /* greeted, and not ending yet */
    uint8_t name_len;
    char name[BUS_NAME_MAX + 1];
};

/* Flags of messages: the router made it, so its publisher has used no credit for it; and those that
 * are in its header, too. */
enum { MESSAGE_UNCREDITED = 128, MESSAGE_SHARED_FLAGS = MESSAGE_RELIABLE | MESSAGE_RESENT };

struct message {
    uint32_t refs;
    /* Queues of block subscriptions in which it waits beyond the bounds, and 1 for the fan-out that
     * is still running: the publisher gets its credit back when this becomes 0. */
    uint32_t holds;
    struct topic *topic;
    struct sender *sender;
    struct cargo *cargo; /* NULL: there is nothing but its bytes */
    uint64_t expires_ns; /* when it must not be sent any more, monotonic; 0: never */
    uint32_t size;       /* what windows and queues count: body and text headers */
    uint32_t body_bytes;
    uint16_t header_bytes; /* MESSAGE header without its subscription field */
    uint16_t topic_bytes;  /* what its topic costs, which lives as long as it waits */
    uint32_t key;          /* PUBLISH.key, hashed; 0: none */
    uint8_t flags;         /* MESSAGE_ flags */
    uint8_t data[];        /* that header, then the body */
};

/* Memory of small messages that are gone, for the next ones: queues let messages go in the order in
 * which they came, which is what malloc is slowest at. */
#define MESSAGE_POOL_STEP 64u
#define MESSAGE_POOL_CLASSES 20u
#define MESSAGE_POOL_BYTES (4u << 20)

struct message_pool {
    void *free[MESSAGE_POOL_CLASSES]; /* each begins with the pointer to the next */
    size_t bytes;
};

void message_pool_fini(struct message_pool *pool);

struct sender *sender_ref(struct sender *s);
void sender_unref(struct sender *s);

/* The parts of a message before it is one. */
struct message_parts {
    struct topic *topic;
    struct sender *sender;
    const uint8_t *header;
    size_t header_bytes;
    const uint8_t *body;
    size_t body_bytes;
    size_t size;
    struct message *whole; /* the message, if it is one already; it is if it has cargo */
    struct slab *slab;     /* where the body lies, if outputs may keep it there; or NULL */
    uint8_t flags;         /* MESSAGE_ flags */
    uint32_t key;          /* PUBLISH.key, hashed; 0: none */
};

#define MESSAGE_EXTRA_MAX 18u /* HOT_DELIVERY_MAX */

/* Fields behind the header of one MESSAGE that the other subscribers do not get. */
struct message_extra {
    uint8_t n;
    uint8_t bytes[MESSAGE_EXTRA_MAX];
};

/* A message with one reference and one hold, or NULL if out of memory. */
struct message *message_new(const struct message_parts *parts);
/* Length of the body, wherever it is. */
size_t message_parts_body_bytes(const struct message_parts *parts);
struct message *message_ref(struct message *m);
void message_unref(struct message *m);

/* A message that is one already, in parts. */
static inline struct message_parts message_parts_of(struct message *m)
{
    return (struct message_parts){m->topic,
                                  m->sender,
                                  m->data,
                                  m->header_bytes,
                                  m->data + m->header_bytes,
                                  m->body_bytes,
                                  m->size,
                                  m,
                                  NULL,
                                  m->flags,
                                  m->key};
}

static inline bool has_cargo(const struct message_parts *parts)
{
    return parts->whole && parts->whole->cargo;
}

/* Drops a reference whose owner wanted the descriptors of the message, too. */
void message_release(struct message *m);

/* Memory that a waiting message costs at most: it may be all that keeps its topic alive. */
static inline uint64_t message_memory(const struct message *m)
{
    return sizeof(*m) + m->header_bytes + m->body_bytes + m->topic_bytes;
}
