/* SPDX-License-Identifier: MIT */
/* Records as text for people: a header line, then indented headers, body and recipients.
 * Each kind of line has its own first character, so that no publisher can forge another kind. Knows
 * no connection. */
#include "text.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "conversations.h"

/** Names listed for one verdict before the rest is only counted. */
#define RECIPIENTS_SHOWN 8
#define HEX_BYTES 16

#define RED "31"
#define GREEN "32"
#define YELLOW "33"
#define BOLD "1"
#define DIM "2"

static void colour_on(const struct text_out *out, const char *code)
{
    if (out->colour) {
        fprintf(out->file, "\033[%sm", code);
    }
}

static void colour_off(const struct text_out *out)
{
    if (out->colour) {
        fputs("\033[0m", out->file);
    }
}

static void write_time(struct text_out *out, uint64_t time_ns)
{
    time_t seconds = (time_t) (time_ns / 1000000000U);
    struct tm tm;
    char text[64];

    if (!localtime_r(&seconds, &tm)) {
        fprintf(out->file, "@%" PRIu64, time_ns);
        return;
    }
    if (tm.tm_year != out->year || tm.tm_yday != out->day) {
        out->year = tm.tm_year;
        out->day = tm.tm_yday;
        strftime(text, sizeof(text), "%Y-%m-%d, UTC%z", &tm);
        fprintf(out->file, "-- %s\n", text);
    }
    colour_on(out, DIM);
    fprintf(out->file, "%02d:%02d:%02d.%06u", tm.tm_hour, tm.tm_min, tm.tm_sec,
            (unsigned) (time_ns % 1000000000U / 1000U));
    colour_off(out);
}

static void write_headers(const struct text_out *out, const struct bus_record *record)
{
    for (size_t i = 0; i < record->n_headers; i++) {
        const struct bus_header *header = &record->headers[i];

        fputs("    [", out->file);
        safe_text(out->file, header->name, strlen(header->name), ":\\]", out->charset);
        fputs(": ", out->file);
        safe_text(out->file, header->value, strlen(header->value), "\\]", out->charset);
        fputs("]\n", out->file);
    }
}

static void write_hex(const struct text_out *out, const unsigned char *data, size_t n)
{
    for (size_t at = 0; at < n; at += HEX_BYTES) {
        size_t here = n - at < HEX_BYTES ? n - at : HEX_BYTES;

        fprintf(out->file, "    %04zx ", at);
        for (size_t i = 0; i < HEX_BYTES; i++) {
            if (i < here) {
                fprintf(out->file, i == HEX_BYTES / 2 ? "  %02x" : " %02x", data[at + i]);
            } else {
                fputs(i == HEX_BYTES / 2 ? "    " : "   ", out->file);
            }
        }
        fputs("  |", out->file);
        for (size_t i = 0; i < here; i++) {
            int c = data[at + i];

            putc(c >= 0x20 && c < 0x7f ? c : '.', out->file);
        }
        fputs("|\n", out->file);
    }
}

static void write_lines(const struct text_out *out, const char *data, size_t n)
{
    while (n) {
        const char *end = memchr(data, '\n', n);
        size_t length = end ? (size_t) (end - data) : n;
        const char *rest = data;
        size_t left = length;

        fputs("    | ", out->file);
        /* Tabs only move forward: they are kept, the escaped form would be unreadable. */
        while (left) {
            const char *tab = memchr(rest, '\t', left);
            size_t span = tab ? (size_t) (tab - rest) : left;

            safe_text(out->file, rest, span, "", out->charset);
            if (tab) {
                putc('\t', out->file);
                span++;
            }
            rest += span;
            left -= span;
        }
        putc('\n', out->file);
        length += end ? 1 : 0;
        data += length;
        n -= length;
    }
}

static void write_body(const struct text_out *out, const struct bus_record *record)
{
    bool cut = record->snap_bytes < record->body_bytes;
    size_t shown = record->snap_bytes;

    if (utf8_valid(record->data, record->snap_bytes, cut, &shown) &&
        safe_is_readable(record->data, shown)) {
        write_lines(out, record->data, shown);
    } else {
        shown = record->snap_bytes;
        write_hex(out, record->data, shown);
    }
    if (shown < record->body_bytes) {
        fprintf(out->file, "    + %" PRIu64 " more bytes\n", record->body_bytes - shown);
    }
}

static bool same_fate(const struct bus_recipient *a, const struct bus_recipient *b)
{
    return a->verdict == b->verdict && a->reason == b->reason && a->evicted == b->evicted;
}

static const char *verdict_colour(enum bus_verdict verdict)
{
    return verdict == BUS_VERDICT_DELIVERED ? GREEN : verdict == BUS_VERDICT_QUEUED ? YELLOW : RED;
}

/* One line for all recipients that share the fate of recipients[first], the first of them. */
static void write_fate(const struct text_out *out, const struct bus_record *record, size_t first)
{
    const struct bus_recipient *all = record->recipients;
    size_t n = 0;

    fputs("    -> ", out->file);
    colour_on(out, verdict_colour(all[first].verdict));
    fputs(bus_verdict_text(all[first].verdict), out->file);
    if (all[first].reason != BUS_LOSS_NONE) {
        fprintf(out->file, " (%s)", bus_loss_text(all[first].reason));
    }
    if (all[first].evicted) {
        fprintf(out->file, " (%u older dropped)", all[first].evicted);
    }
    colour_off(out);
    fputs(": ", out->file);
    for (size_t i = first; i < record->n_recipients; i++) {
        if (!same_fate(&all[i], &all[first]) || ++n > RECIPIENTS_SHOWN) {
            continue;
        }
        fputs(n > 1 ? "; " : "", out->file);
        safe_word(out->file, all[i].peer->name, out->charset);
        fprintf(out->file, " pid=%u uid=%u conn=%" PRIu64, all[i].peer->pid, all[i].peer->uid,
                all[i].peer->connection_id);
        if (all[i].subscription != 0) { /* not for one who has asked */
            fprintf(out->file, " sub=%u", all[i].subscription);
        }
    }
    if (n > RECIPIENTS_SHOWN) {
        fprintf(out->file, "; and %zu more", n - RECIPIENTS_SHOWN);
    }
    putc('\n', out->file);
}

static void write_recipients(const struct text_out *out, const struct bus_record *record)
{
    if (!record->n_recipients && !record->recipients_omitted) {
        fputs(record->kind == BUS_RECORD_REQUEST ? "    -> waits for a server that is free\n"
                                                 : "    -> nobody\n",
              out->file);
    }
    for (size_t i = 0; i < record->n_recipients; i++) {
        size_t earlier = 0;

        while (earlier < i && !same_fate(&record->recipients[earlier], &record->recipients[i])) {
            earlier++;
        }
        if (earlier == i) {
            write_fate(out, record, i);
        }
    }
    if (record->recipients_omitted) {
        fprintf(out->file, "    -> and %u more that the router did not list\n",
                record->recipients_omitted);
    }
}

static void write_after(const struct text_out *out, uint64_t after_ns)
{
    if (after_ns != CONVERSATION_UNKNOWN) {
        fprintf(out->file, " after %" PRIu64 ".%03u ms", after_ns / 1000000U,
                (unsigned) (after_ns / 1000U % 1000U));
    }
}

/* Which part of which conversation it is; nothing for a publish. */
static void write_conversation(const struct text_out *out, const struct bus_record *record,
                               uint64_t after_ns)
{
    switch (record->kind) {
    case BUS_RECORD_PUBLISH:
        return;
    case BUS_RECORD_REQUEST:
        fprintf(out->file, "request %" PRIu64 " ", record->call);
        return;
    case BUS_RECORD_REPLY:
        fprintf(out->file, "reply to %" PRIu64, record->call);
        break;
    case BUS_RECORD_REPLY_MORE:
        fprintf(out->file, "reply to %" PRIu64 ", more follow,", record->call);
        break;
    case BUS_RECORD_END:
        fprintf(out->file, "end of %" PRIu64, record->call);
        break;
    }
    if (record->error) {
        fprintf(out->file, " error %" PRIu32, record->error);
    }
    write_after(out, after_ns);
    fputs("  ", out->file);
}

static void write_sender(const struct text_out *out, const struct bus_record *record)
{
    const struct bus_peer *sender = record->sender;

    fputs(record->kind == BUS_RECORD_END ? "asked by " : "from ", out->file);
    safe_word(out->file, sender->name, out->charset);
    fprintf(out->file, " pid=%u uid=%u conn=%" PRIu64, sender->pid, sender->uid,
            sender->connection_id);
    if (record->kind == BUS_RECORD_PUBLISH) {
        fprintf(out->file, " seq=%" PRIu64, record->sequence);
    }
    putc('\n', out->file);
}

static void write_refusal(const struct text_out *out, const char *what, enum bus_status status)
{
    fputs("    !! ", out->file);
    colour_on(out, RED);
    fprintf(out->file, "%s%s", what, bus_status_text(status));
    colour_off(out);
    putc('\n', out->file);
}

static void write_end(const struct text_out *out, const struct bus_record *record)
{
    if (record->status != BUS_STATUS_OK) {
        write_refusal(out, "", record->status);
    }
}

void text_record(struct text_out *out, const struct bus_record *record, uint64_t after_ns)
{
    bool is_end = record->kind == BUS_RECORD_END;

    write_time(out, record->time_ns);
    fputs("  ", out->file);
    colour_on(out, BOLD);
    safe_word(out->file, record->topic, out->charset);
    colour_off(out);
    fputs("  ", out->file);
    if (!is_end) {
        fprintf(out->file, "%" PRIu64 " bytes  ", record->body_bytes);
    }
    if (record->n_fds > 0) {
        fprintf(out->file, "%u descriptor%s  ", record->n_fds, record->n_fds == 1 ? "" : "s");
    }
    write_conversation(out, record, after_ns);
    write_sender(out, record);
    if (is_end) {
        write_end(out, record);
        return;
    }
    write_headers(out, record);
    if (!out->no_body) {
        write_body(out, record);
    }
    if (record->status == BUS_STATUS_OK) {
        write_recipients(out, record);
    } else {
        write_refusal(out, "refused: ", record->status);
    }
}

void text_loss(struct text_out *out, const struct bus_loss *loss)
{
    fputs("-- ", out->file);
    colour_on(out, RED);
    fprintf(out->file, "monitor missed %" PRIu64 " record%s (%" PRIu64 " bytes): %s", loss->count,
            loss->count == 1 ? "" : "s", loss->bytes, bus_loss_text(loss->reason));
    colour_off(out);
    putc('\n', out->file);
}
