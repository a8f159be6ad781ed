/* SPDX-License-Identifier: MIT */
/* Messages and losses as lines of JSON. */

#include <limits.h>
#include <stdio.h>
#include <unistd.h>
#include "sub_format.h"

size_t utf8_length(const unsigned char *p, const unsigned char *end)
{
    static const unsigned char lowest_second[] = {0x80, 0xa0, 0x90};
    size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : (*p & 0xf0) == 0xe0 ? 3 : 4;

    if (n == 1) {
        return 1;
    }
    if (*p < 0xc2 || *p > 0xf4 || (size_t) (end - p) < n) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* overlong forms, surrogates, and what lies above U+10FFFF */
    if ((*p == 0xe0 && p[1] < lowest_second[1]) || (*p == 0xf0 && p[1] < lowest_second[2]) ||
        (*p == 0xed && p[1] > 0x9f) || (*p == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

static bool utf8_valid(const unsigned char *p, size_t bytes)
{
    const unsigned char *end = p + bytes;

    while (p < end) {
        size_t n = utf8_length(p, end);

        if (n == 0) {
            return false;
        }
        p += n;
    }
    return true;
}

static void json_escape(struct out *o, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[] = "\\u0000";

    switch (c) {
    case '\n':
        out_bytes(o, "\\n", 2);
        return;
    case '\t':
        out_bytes(o, "\\t", 2);
        return;
    case '"':
    case '\\':
        out_byte(o, '\\');
        out_byte(o, (char) c);
        return;
    default:
        text[4] = hex[c >> 4];
        text[5] = hex[c & 15];
        out_bytes(o, text, 6);
        return;
    }
}

/* Valid UTF-8 as a JSON string. */
static void json_string(struct out *o, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    const unsigned char *end = p + bytes;

    out_byte(o, '"');
    while (p < end) {
        const unsigned char *plain = p;

        /* DEL is legal in JSON, but would reach a terminal */
        while (p < end && *p >= 0x20 && *p != '"' && *p != '\\' && *p != 0x7f) {
            p++;
        }
        out_bytes(o, plain, (size_t) (p - plain));
        if (p < end) {
            json_escape(o, *p++);
        }
    }
    out_byte(o, '"');
}

void json_text(struct out *o, const char *text)
{
    json_string(o, text, strlen(text));
}

static void json_base64(struct out *o, const unsigned char *p, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    out_byte(o, '"');
    for (size_t i = 0; i < bytes; i += 3) {
        unsigned n = bytes - i < 3 ? (unsigned) (bytes - i) : 3;
        unsigned v = (unsigned) p[i] << 16 | (n > 1 ? (unsigned) p[i + 1] << 8 : 0) |
                     (n > 2 ? (unsigned) p[i + 2] : 0);
        char text[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                        n > 2 ? digits[v & 63] : '='};

        out_bytes(o, text, 4);
    }
    out_byte(o, '"');
}

static void json_number(struct out *o, const char *name, uint64_t value)
{
    out_text(o, name);
    out_u64(o, value);
}

static void json_sender(struct out *o, const struct bus_peer *sender)
{
    json_number(o, ",\"sender\":{\"id\":", sender->connection_id);
    out_text(o, ",\"name\":");
    json_text(o, sender->name);
    json_number(o, ",\"pid\":", sender->pid);
    json_number(o, ",\"uid\":", sender->uid);
    json_number(o, ",\"gid\":", sender->gid);
    out_byte(o, '}');
}

static void json_headers(struct out *o, const struct bus_message *message)
{
    size_t n = bus_message_n_headers(message);

    out_text(o, ",\"headers\":[");
    for (size_t i = 0; i < n; i++) {
        const struct bus_header *header = bus_message_header_at(message, i);

        out_text(o, i > 0 ? ",[" : "[");
        json_text(o, header->name);
        out_byte(o, ',');
        json_text(o, header->value);
        out_byte(o, ']');
    }
    out_byte(o, ']');
}

/* What a descriptor is, as /proc names it. */
static void json_descriptor(struct out *o, int fd)
{
    char link[32], target[PATH_MAX];
    ssize_t n;

    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, target, sizeof(target) - 1);
    if (n < 0) {
        out_text(o, "null");
        return;
    }
    target[n] = '\0';
    json_text(o, target);
}

/* Their number always; what they are, if they came along. */
static void json_descriptors(struct out *o, const struct bus_message *message)
{
    size_t n = bus_message_n_fds(message);

    json_number(o, ",\"descriptors\":", n);
    if (n == 0 || bus_message_fd(message, 0) < 0) {
        return;
    }
    out_text(o, ",\"descriptor_targets\":[");
    for (size_t i = 0; i < n; i++) {
        out_text(o, i > 0 ? "," : "");
        json_descriptor(o, bus_message_fd(message, i));
    }
    out_byte(o, ']');
}

void json_message(struct format *f, struct out *o, const struct bus_message *message)
{
    const void *data = bus_message_data(message);
    size_t bytes = bus_message_bytes(message);

    out_text(o, "{\"topic\":");
    json_text(o, bus_message_topic(message));
    if (utf8_valid(data, bytes)) {
        out_text(o, ",\"body\":");
        json_string(o, data, bytes);
    } else {
        out_text(o, ",\"body_base64\":");
        json_base64(o, data, bytes);
    }
    event_json(o, message);
    json_number(o, ",\"bytes\":", bytes);
    out_text(o, ",\"time\":\"");
    format_time(f, o, bus_message_time_ns(message));
    json_number(o, "\",\"sequence\":", bus_message_sequence(message));
    json_sender(o, bus_message_sender(message));
    json_headers(o, message);
    json_descriptors(o, message);
    if (bus_message_is_redelivered(message)) {
        json_number(o, ",\"deliveries\":", bus_message_deliveries(message));
    }
    out_text(o, bus_message_is_retained(message) ? ",\"retained\":true}\n" : "}\n");
}

void json_live(struct out *o, const char *filter, uint64_t messages)
{
    json_number(o, "{\"live\":true,\"retained\":", messages);
    out_text(o, ",\"filter\":");
    json_text(o, filter);
    out_text(o, "}\n");
}

void json_loss(struct out *o, const char *filter, const struct bus_loss *loss)
{
    json_number(o, "{\"lost\":", loss->count);
    json_number(o, ",\"bytes\":", loss->bytes);
    out_text(o, ",\"reason\":");
    json_text(o, bus_loss_text(loss->reason));
    out_text(o, ",\"filter\":");
    json_text(o, filter);
    out_text(o, "}\n");
}

void json_silence(struct out *o, const char *filter, uint64_t since_ms)
{
    json_number(o, "{\"silent_ms\":", since_ms);
    out_text(o, ",\"filter\":");
    json_text(o, filter);
    out_text(o, "}\n");
}
