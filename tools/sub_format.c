/* SPDX-License-Identifier: MIT */
/* How bus-sub writes one message as text or by a format string. */

#include "sub_format.h"
#include <stdio.h>

const char *format_parse(struct format *f, const char *text)
{
    static const struct {
        const char *name;
        enum format_kind kind;
    } names[] = {{"text", FORMAT_TEXT}, {"raw", FORMAT_RAW}, {"json", FORMAT_JSON}};
    const char *p = text;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i].name) == 0) {
            f->kind = names[i].kind;
            return NULL;
        }
    }
    if (!strchr(text, '%')) {
        return "not text, raw or json, and no format string, which has a %-directive";
    }
    while ((p = strchr(p, '%')) != NULL) {
        if (p[1] == '{' && (p = strchr(p, '}')) == NULL) {
            return "%{ without }";
        }
        if (*p == '%') {
            if (!p[1] || !strchr("%tbdnrzsTNqicpug", p[1])) {
                return "unknown %-directive";
            }
            p++;
        }
        p++;
    }
    f->kind = FORMAT_STRING;
    f->string = text;
    return NULL;
}

void format_time(struct format *f, struct out *o, uint64_t time_ns)
{
    time_t second = (time_t) (time_ns / 1000000000u);
    uint64_t rest = time_ns % 1000000000u;
    char digits[10] = "000000000";

    if (second != f->second || !f->date[0]) {
        struct tm tm;

        f->second = second;
        f->date[0] = '\0';
        if (gmtime_r(&second, &tm)) {
            (void) strftime(f->date, sizeof(f->date), "%Y-%m-%dT%H:%M:%S.", &tm);
        }
    }
    for (int i = 8; i >= 0; i--) {
        digits[i] = (char) ('0' + rest % 10);
        rest /= 10;
    }
    out_text(o, f->date);
    out_bytes(o, digits, 9);
    out_byte(o, 'Z');
}

/* %{name}: the first header of that name, nothing if there is none. Returns the end of the
 * directive. */
static const char *header_directive(struct out *o, const char *p, const struct bus_message *message)
{
    char name[BUS_TOPIC_MAX + 1];
    const char *end = strchr(p, '}');
    size_t n = (size_t) (end - p - 1);
    const char *value = NULL;

    if (n < sizeof(name)) {
        memcpy(name, p + 1, n);
        name[n] = '\0';
        value = bus_message_header(message, name);
    }
    out_text(o, value ? value : "");
    return end;
}

static void directive(struct format *f, struct out *o, char c, const struct bus_message *message)
{
    const struct bus_peer *sender = bus_message_sender(message);

    switch (c) {
    case 't':
        out_text(o, bus_message_topic(message));
        return;
    case 'b':
        out_bytes(o, bus_message_data(message), bus_message_bytes(message));
        return;
    case 's':
        out_u64(o, bus_message_bytes(message));
        return;
    case 'd':
        out_u64(o, bus_message_n_fds(message));
        return;
    case 'T':
        format_time(f, o, bus_message_time_ns(message));
        return;
    case 'N':
        out_u64(o, bus_message_time_ns(message));
        return;
    case 'q':
        out_u64(o, bus_message_sequence(message));
        return;
    case 'i':
        out_u64(o, sender->connection_id);
        return;
    case 'c':
        out_text(o, sender->name);
        return;
    case 'p':
        out_u64(o, sender->pid);
        return;
    case 'u':
        out_u64(o, sender->uid);
        return;
    case 'g':
        out_u64(o, sender->gid);
        return;
    case 'r':
        out_text(o, bus_message_is_retained(message) ? "retained" : "live");
        return;
    case 'n':
        out_byte(o, '\n');
        return;
    case 'z':
        out_byte(o, '\0');
        return;
    default:
        out_byte(o, c); /* %% */
        return;
    }
}

static void string_message(struct format *f, struct out *o, const struct bus_message *message)
{
    const char *p = f->string;

    while (*p) {
        size_t plain = strcspn(p, "%");

        out_bytes(o, p, plain);
        p += plain;
        if (!*p) {
            break;
        }
        p++;
        if (*p == '{') {
            p = header_directive(o, p, message);
        } else {
            directive(f, o, *p, message);
        }
        p++;
    }
    if (f->terminator == '\0') {
        out_byte(o, '\0');
    }
}

/* A terminal obeys control characters, and whoever may publish must not be able to give it orders.
 */
static void terminal_body(struct out *o, const unsigned char *p, size_t bytes)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *end = p + bytes;

    while (p < end) {
        size_t n = utf8_length(p, end);
        bool c1 = n == 2 && p[0] == 0xc2 && p[1] < 0xa0;

        if (n > 0 && !c1 && (*p >= 0x20 || *p == '\t' || *p == '\n') && *p != 0x7f) {
            out_bytes(o, p, n);
            p += n;
            continue;
        }
        out_bytes(o, "\\x", 2);
        out_byte(o, hex[*p >> 4]);
        out_byte(o, hex[*p & 15]);
        p++;
        if (c1) { /* its second byte means nothing by itself: show both */
            out_bytes(o, "\\x", 2);
            out_byte(o, hex[*p >> 4]);
            out_byte(o, hex[*p & 15]);
            p++;
        }
    }
}

void format_message(struct format *f, struct out *o, const struct bus_message *message)
{
    switch (f->kind) {
    case FORMAT_JSON:
        json_message(f, o, message);
        return;
    case FORMAT_STRING:
        string_message(f, o, message);
        return;
    case FORMAT_RAW:
        out_bytes(o, bus_message_data(message), bus_message_bytes(message));
        return;
    case FORMAT_TEXT:
        if (f->with_topic) {
            out_text(o, bus_message_topic(message));
            out_byte(o, '\t');
        }
        if (event_text(o, message)) { /* no control characters in it */
        } else if (f->to_terminal) {
            terminal_body(o, bus_message_data(message), bus_message_bytes(message));
        } else {
            out_bytes(o, bus_message_data(message), bus_message_bytes(message));
        }
        out_byte(o, f->terminator);
        return;
    }
}
