/* SPDX-License-Identifier: MIT */
/* Records as JSON lines for programs: one object per line, every member always present unless said
 * otherwise. Characters that could disturb a terminal are escaped, so that the output may be looked
 * at too. */
#include "json.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "conversations.h"
#include "names.h"
#include "safe.h"

static void write_escape(FILE *out, uint32_t code)
{
    if (code == '"' || code == '\\') {
        fprintf(out, "\\%c", (int) code);
    } else if (code == '\n') {
        fputs("\\n", out);
    } else if (code < 0x10000) {
        fprintf(out, "\\u%04x", (unsigned) code);
    } else {
        fprintf(out, "\\u%04x\\u%04x", 0xd7c0U + (unsigned) (code >> 10),
                0xdc00U + (unsigned) (code & 0x3ff));
    }
}

void json_string(FILE *out, const void *data, size_t n)
{
    const unsigned char *s = data;
    size_t written = 0;
    size_t at = 0;

    putc_unlocked('"', out);
    while (at < n) {
        uint32_t code;
        int length = utf8_next(s + at, n - at, &code);

        if (length > 0 && code != '"' && code != '\\' && !safe_is_hidden(code)) {
            at += (size_t) length;
            continue;
        }
        fwrite_unlocked(s + written, 1, at - written, out);
        write_escape(out, length > 0 ? code : 0xfffd);
        at += length > 0 ? (size_t) length : 1;
        written = at;
    }
    fwrite_unlocked(s + written, 1, n - written, out);
    putc_unlocked('"', out);
}

void json_base64(FILE *out, const void *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *s = data;

    putc_unlocked('"', out);
    for (size_t at = 0; at < n; at += 3) {
        size_t here = n - at < 3 ? n - at : 3;
        uint32_t bits = (uint32_t) s[at] << 16;

        bits |= here > 1 ? (uint32_t) s[at + 1] << 8 : 0;
        bits |= here > 2 ? s[at + 2] : 0;
        putc_unlocked(digits[bits >> 18], out);
        putc_unlocked(digits[bits >> 12 & 63], out);
        putc_unlocked(here > 1 ? digits[bits >> 6 & 63] : '=', out);
        putc_unlocked(here > 2 ? digits[bits & 63] : '=', out);
    }
    putc_unlocked('"', out);
}

static void write_text(FILE *out, const char *text)
{
    json_string(out, text, strlen(text));
}

static void write_time(FILE *out, uint64_t time_ns)
{
    time_t seconds = (time_t) (time_ns / 1000000000U);
    struct tm tm;
    char text[32];

    if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm)) {
        text[0] = '\0';
    }
    fprintf(out, "\"time\":\"%s.%09" PRIu64 "Z\",\"time_ns\":%" PRIu64, text, time_ns % 1000000000U,
            time_ns);
}

static void write_peer(FILE *out, const struct bus_peer *peer)
{
    fprintf(out, "\"id\":%" PRIu64 ",\"name\":", peer->connection_id);
    write_text(out, peer->name);
    fprintf(out, ",\"pid\":%u,\"uid\":%u,\"gid\":%u", peer->pid, peer->uid, peer->gid);
}

static void write_headers(FILE *out, const struct bus_record *record)
{
    fputs(",\"headers\":[", out);
    for (size_t i = 0; i < record->n_headers; i++) {
        fputs(i ? ",[" : "[", out);
        write_text(out, record->headers[i].name);
        putc(',', out);
        write_text(out, record->headers[i].value);
        putc(']', out);
    }
    putc(']', out);
}

static void write_body(FILE *out, const struct bus_record *record)
{
    bool cut = record->snap_bytes < record->body_bytes;
    size_t shown = record->snap_bytes;

    if (utf8_valid(record->data, record->snap_bytes, cut, &shown)) {
        fprintf(out, ",\"bytes_shown\":%zu,\"body\":", shown);
        json_string(out, record->data, shown);
    } else {
        fprintf(out, ",\"bytes_shown\":%zu,\"body_base64\":", record->snap_bytes);
        json_base64(out, record->data, record->snap_bytes);
    }
}

static void write_recipients(FILE *out, const struct bus_record *record)
{
    char name[NAME_BYTES];

    fputs(",\"recipients\":[", out);
    for (size_t i = 0; i < record->n_recipients; i++) {
        const struct bus_recipient *recipient = &record->recipients[i];

        fputs(i ? ",{" : "{", out);
        write_peer(out, recipient->peer);
        fprintf(out, ",\"subscription\":%u,\"verdict\":\"%s\"", recipient->subscription,
                name_of_verdict(recipient->verdict, name));
        fprintf(out, ",\"reason\":\"%s\",\"evicted\":%u}", name_of_loss(recipient->reason, name),
                recipient->evicted);
    }
    fprintf(out, "],\"recipients_omitted\":%u", record->recipients_omitted);
}

static const char *type_of(enum bus_record_kind kind)
{
    switch (kind) {
    case BUS_RECORD_PUBLISH:
        return "message";
    case BUS_RECORD_REQUEST:
        return "request";
    case BUS_RECORD_REPLY:
    case BUS_RECORD_REPLY_MORE:
        return "reply";
    case BUS_RECORD_END:
        return "end";
    }
    return "unknown";
}

/* Members that messages do not have. */
static void write_conversation(FILE *out, const struct bus_record *record, uint64_t after_ns)
{
    if (record->kind == BUS_RECORD_PUBLISH) {
        return;
    }
    fprintf(out, "\"call\":%" PRIu64 ",", record->call);
    if (record->kind == BUS_RECORD_REPLY || record->kind == BUS_RECORD_REPLY_MORE) {
        fprintf(out, "\"more\":%s,", record->kind == BUS_RECORD_REPLY_MORE ? "true" : "false");
        fprintf(out, "\"error\":%" PRIu32 ",", record->error);
    }
    if (after_ns != CONVERSATION_UNKNOWN) {
        fprintf(out, "\"after_ns\":%" PRIu64 ",", after_ns);
    }
}

void json_record(FILE *out, const struct bus_record *record, uint64_t after_ns, bool no_body)
{
    char name[NAME_BYTES];

    fprintf(out, "{\"type\":\"%s\",\"order\":%" PRIu64 ",", type_of(record->kind), record->order);
    write_conversation(out, record, after_ns);
    write_time(out, record->time_ns);
    fputs(",\"topic\":", out);
    write_text(out, record->topic);
    fputs(",\"sender\":{", out);
    write_peer(out, record->sender);
    fprintf(out, "},\"sequence\":%" PRIu64 ",\"status\":\"%s\",\"bytes\":%" PRIu64,
            record->sequence, name_of_status(record->status, name), record->body_bytes);
    fprintf(out, ",\"descriptors\":%u", record->n_fds);
    if (!no_body) {
        write_body(out, record);
    }
    write_headers(out, record);
    write_recipients(out, record);
    fputs("}\n", out);
}

void json_loss(FILE *out, const struct bus_loss *loss)
{
    char name[NAME_BYTES];

    fprintf(out,
            "{\"type\":\"loss\",\"lost\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"reason\":\"%s\"}\n",
            loss->count, loss->bytes, name_of_loss(loss->reason, name));
}
