/* SPDX-License-Identifier: MIT */
#include "core/message.h"
#include <stdlib.h>
#include <string.h>
#include "base/macros.h"
#include "core/cargo.h"
#include "core/topics.h"
#include "core/user.h"

struct sender *sender_ref(struct sender *s)
{
    s->refs++;
    return s;
}

void sender_unref(struct sender *s)
{
    if (--s->refs > 0) {
        return;
    }
    idpool_remove(s->ids, s->id);
    user_unref(s->user);
    free(s);
}

static size_t pool_class(size_t bytes)
{
    return (bytes - 1) / MESSAGE_POOL_STEP;
}

static void *pool_alloc(struct message_pool *pool, size_t bytes)
{
    size_t class = pool_class(bytes);
    void *p;

    if (class >= MESSAGE_POOL_CLASSES) {
        return malloc(bytes);
    }
    p = pool->free[class];
    if (!p) {
        return malloc((class + 1) * MESSAGE_POOL_STEP);
    }
    memcpy(&pool->free[class], p, sizeof(void *));
    pool->bytes -= (class + 1) * MESSAGE_POOL_STEP;
    return p;
}

static void pool_free(struct message_pool *pool, void *p, size_t bytes)
{
    size_t class = pool_class(bytes);

    if (class >= MESSAGE_POOL_CLASSES || pool->bytes >= MESSAGE_POOL_BYTES) {
        free(p);
        return;
    }
    memcpy(p, &pool->free[class], sizeof(void *));
    pool->free[class] = p;
    pool->bytes += (class + 1) * MESSAGE_POOL_STEP;
}

void message_pool_fini(struct message_pool *pool)
{
    for (size_t class = 0; class < MESSAGE_POOL_CLASSES; class ++) {
        while (pool->free[class]) {
            void *p = pool->free[class];

            memcpy(&pool->free[class], p, sizeof(void *));
            free(p);
        }
    }
    pool->bytes = 0;
}

struct message *message_new(const struct message_parts *parts)
{
    struct message *m = pool_alloc(&parts->topic->topics->messages,
                                   sizeof(*m) + parts->header_bytes + parts->body_bytes);

    if (!m) {
        return NULL;
    }
    m->refs = 1;
    m->holds = 1;
    m->topic = topic_ref(parts->topic);
    m->sender = sender_ref(parts->sender);
    m->cargo = NULL;
    m->expires_ns = 0;
    m->size = (uint32_t) parts->size;
    m->body_bytes = (uint32_t) parts->body_bytes;
    m->header_bytes = (uint16_t) parts->header_bytes;
    m->flags = parts->flags;
    m->key = parts->key;
    m->topic_bytes = (uint16_t) topic_memory(m->topic->len);
    memcpy(m->data, parts->header, parts->header_bytes);
    if (parts->body_bytes > 0) {
        memcpy(m->data + parts->header_bytes, parts->body, parts->body_bytes);
    }
    return m;
}

struct message *message_ref(struct message *m)
{
    m->refs++;
    return m;
}

void message_unref(struct message *m)
{
    struct topic *t = m->topic;

    if (--m->refs > 0) {
        if (UNLIKELY(m->cargo != NULL)) {
            cargo_note_unref(m->cargo, m->refs);
        }
        return;
    }
    if (m->cargo) {
        cargo_end(m->cargo);
    }
    sender_unref(m->sender);
    pool_free(&t->topics->messages, m, sizeof(*m) + m->header_bytes + m->body_bytes);
    topic_unref(t);
}

size_t message_parts_body_bytes(const struct message_parts *parts)
{
    const struct cargo *c = parts->whole ? parts->whole->cargo : NULL;

    return c && c->buffer ? c->bytes : parts->body_bytes;
}

void message_release(struct message *m)
{
    if (m->cargo) {
        cargo_unwant(m->cargo);
    }
    message_unref(m);
}
