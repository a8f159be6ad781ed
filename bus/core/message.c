/* SPDX-License-Identifier: MIT */
#include "core/message.h"
#include <stdlib.h>
#include <string.h>
#include "core/topics.h"

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
    free(s);
}

struct message *message_new(const struct message_parts *parts)
{
    struct message *m = malloc(sizeof(*m) + parts->header_bytes + parts->body_bytes);

    if (!m) {
        return NULL;
    }
    m->refs = 1;
    m->holds = 1;
    m->topic = topic_ref(parts->topic);
    m->sender = sender_ref(parts->sender);
    m->size = (uint32_t) parts->size;
    m->body_bytes = (uint32_t) parts->body_bytes;
    m->header_bytes = (uint16_t) parts->header_bytes;
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
    if (--m->refs > 0) {
        return;
    }
    topic_unref(m->topic);
    sender_unref(m->sender);
    free(m);
}
