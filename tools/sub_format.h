/* SPDX-License-Identifier: MIT */
#pragma once
/* How bus-sub writes one message: --format text, raw, json or a format string. */

#include <bus/bus.h>
#include <stdbool.h>
#include <time.h>
#include "sub_out.h"

enum format_kind { FORMAT_TEXT, FORMAT_RAW, FORMAT_JSON, FORMAT_STRING };

struct format {
    enum format_kind kind;
    const char *string; /* FORMAT_STRING: checked by format_parse(); not owned */
    char terminator;  /* behind each message: '\n', or '\0' with --null; FORMAT_STRING: only '\0' */
    bool with_topic;  /* --verbose: the topic and a tab in front, FORMAT_TEXT only */
    bool to_terminal; /* show control characters instead of obeying them, FORMAT_TEXT only */
    /* the date and time of the last message down to the second, so that it is made once a second */
    time_t second;
    char date[32];
};

/* What is wrong with a --format, or NULL if it is fine and *f knows it. */
const char *format_parse(struct format *f, const char *text);
void format_message(struct format *f, struct out *o, const struct bus_message *message);
/* RFC 3339 with nanoseconds, in UTC. */
void format_time(struct format *f, struct out *o, uint64_t time_ns);

/* One line of JSON each. */
void json_message(struct format *f, struct out *o, const struct bus_message *message);
void json_live(struct out *o, const char *filter, uint64_t messages);
void json_loss(struct out *o, const char *filter, const struct bus_loss *loss);
void json_silence(struct out *o, const char *filter, uint64_t since_ms);
/* A JSON string of valid UTF-8. */
void json_text(struct out *o, const char *text);

/* A message that is an event of the router, in words; false, and nothing written, if it is none. */
bool event_text(struct out *o, const struct bus_message *message);
/* As one more member of its object, if it is one. */
void event_json(struct out *o, const struct bus_message *message);
/* Length of the UTF-8 character at p, 0 if it is none. */
size_t utf8_length(const unsigned char *p, const unsigned char *end);
