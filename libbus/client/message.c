/* SPDX-License-Identifier: MIT */
#include "client/message.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t headers_text_bytes(const struct bus_message *m)
{
    size_t bytes = 0;

    for (size_t i = 0; i < m->n_headers; i++) {
        bytes += strlen(m->headers[i].name) + strlen(m->headers[i].value) + 2;
    }
    return bytes;
}

static const char *text_copy(char **to, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = *to;

    memcpy(copy, text, bytes);
    *to += bytes;
    return copy;
}

size_t bus__headers_bytes(const struct bus_message *m)
{
    return m->n_headers * sizeof(*m->headers) + headers_text_bytes(m);
}

/* The headers, and then their texts. */
void bus__headers_copy(struct bus_message *to, void *memory, const struct bus_message *from)
{
    struct bus_header *headers = memory;
    char *text = (char *) (headers + from->n_headers);

    for (size_t i = 0; i < from->n_headers; i++) {
        headers[i].name = text_copy(&text, from->headers[i].name);
        headers[i].value = text_copy(&text, from->headers[i].value);
    }
    to->headers = headers;
}

void bus__message_hold(struct bus_message *m)
{
    m->topic->refs++;
    m->sender->refs++;
    if (m->buf) {
        (void) bus__rxbuf_ref(m->buf);
    }
    if (m->parcel) {
        (void) parcel_ref(m->parcel);
    }
}

void bus__message_drop(struct bus_message *m)
{
    bus__topic_name_unref(m->topic);
    bus__peer_name_unref(m->sender);
    bus__rxbuf_unref(m->buf);
    parcel_unref(m->parcel);
}

struct bus_message *bus_message_ref(const struct bus_message *message)
{
    struct bus_message *m = (struct bus_message *) message;

    if (message->refs > 0) {
        m->refs++;
        return m;
    }
    m = malloc(sizeof(*m) + bus__headers_bytes(message));
    if (!m) {
        return NULL;
    }
    *m = *message;
    m->refs = 1;
    bus__message_hold(m);
    if (m->lease) {
        m->lease->refs++;
    }
    if (m->ack) {
        m->ack->refs++;
    }
    bus__headers_copy(m, m + 1, message);
    return m;
}

void bus_message_unref(struct bus_message *message)
{
    if (!message || --message->refs > 0) {
        return;
    }
    bus__lease_unref(message->lease);
    bus__ack_unref(message->ack);
    bus__message_drop(message);
    free(message);
}

const void *bus_message_data(const struct bus_message *message)
{
    return message->data;
}

size_t bus_message_bytes(const struct bus_message *message)
{
    return message->bytes;
}

int bus_message_is_immutable(const struct bus_message *message)
{
    return !message->lease || message->lease->mapping->immutable;
}

size_t bus_message_n_fds(const struct bus_message *message)
{
    return message->n_fds;
}

int bus_message_fd(const struct bus_message *message, size_t index)
{
    if (index >= message->n_fds) {
        return -EINVAL;
    }
    if (!message->parcel) {
        return -ENOTSUP;
    }
    return index < message->parcel->n && !message->parcel->truncated ? message->parcel->fds[index]
                                                                     : -EMFILE;
}

const char *bus_message_topic(const struct bus_message *message)
{
    return message->topic->name;
}

const struct bus_peer *bus_message_sender(const struct bus_message *message)
{
    return &message->sender->peer;
}

uint64_t bus_message_sequence(const struct bus_message *message)
{
    return message->sequence;
}

uint64_t bus_message_time_ns(const struct bus_message *message)
{
    return message->time_ns;
}

size_t bus_message_n_headers(const struct bus_message *message)
{
    return message->n_headers;
}

const struct bus_header *bus_message_header_at(const struct bus_message *message, size_t index)
{
    return index < message->n_headers ? &message->headers[index] : NULL;
}

const char *bus_message_header(const struct bus_message *message, const char *name)
{
    for (size_t i = 0; i < message->n_headers; i++) {
        if (strcmp(message->headers[i].name, name) == 0) {
            return message->headers[i].value;
        }
    }
    return NULL;
}
