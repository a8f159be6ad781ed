/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAME(name, number, text)                                                                   \
    case number:                                                                                   \
        known = #name;                                                                             \
        break;

static const char *lower(const char *name, uint64_t number, char buffer[WORD_BYTES])
{
    size_t i = 0;

    if (!name) {
        (void) snprintf(buffer, WORD_BYTES, "unknown_%" PRIu64, number);
        return buffer;
    }
    for (; name[i] && i < WORD_BYTES - 1; i++) {
        buffer[i] = (char) tolower((unsigned char) name[i]);
    }
    buffer[i] = '\0';
    return buffer;
}

const char *word_of_policy(uint64_t policy, char buffer[WORD_BYTES])
{
    const char *known = NULL;

    switch (policy) {
        BUS_POLICY_LIST(NAME)
    }
    return lower(known, policy, buffer);
}

const char *word_of_goodbye(uint64_t reason, char buffer[WORD_BYTES])
{
    const char *known = NULL;

    switch (reason) {
        BUS_GOODBYE_LIST(NAME)
    }
    return lower(known, reason, buffer);
}

const char *word_of_link(uint64_t link, char buffer[WORD_BYTES])
{
    const char *known = NULL;

    switch (link) {
        BUS_LINK_LIST(NAME)
    }
    return lower(known, link, buffer);
}

const char *word_of_state(uint64_t state, char buffer[WORD_BYTES])
{
    const char *known = NULL;

    switch (state) {
        BUS_CLIENT_STATE_LIST(NAME)
    }
    return lower(known, state, buffer);
}

const char *word_of_status(uint64_t status, char buffer[WORD_BYTES])
{
    const char *known = NULL;

    switch (status) {
        BUS_STATUS_LIST(NAME)
    }
    return lower(known, status, buffer);
}

const char *word_of_slow(uint64_t slow, char buffer[WORD_BYTES])
{
    const char *known = NULL;

    switch (slow) {
        BUS_SLOW_LIST(NAME)
    }
    return lower(known, slow, buffer);
}

const char *word_of_ms(uint64_t ms, char buffer[WORD_BYTES])
{
    uint64_t s = ms / 1000;

    if (ms < 1000) {
        (void) snprintf(buffer, WORD_BYTES, "%" PRIu64 "ms", ms);
    } else if (s < 60) {
        (void) snprintf(buffer, WORD_BYTES, "%" PRIu64 ".%" PRIu64 "s", s, ms / 100 % 10);
    } else if (s < 3600) {
        (void) snprintf(buffer, WORD_BYTES, "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
    } else if (s < 86400) {
        (void) snprintf(buffer, WORD_BYTES, "%" PRIu64 "h%" PRIu64 "m", s / 3600, s / 60 % 60);
    } else {
        (void) snprintf(buffer, WORD_BYTES, "%" PRIu64 "d%" PRIu64 "h", s / 86400, s / 3600 % 24);
    }
    return buffer;
}

const char *word_of_time(uint64_t ns, char buffer[WORD_BYTES])
{
    time_t seconds = (time_t) (ns / 1000000000u);
    struct tm tm;

    if (!localtime_r(&seconds, &tm) ||
        strftime(buffer, WORD_BYTES, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        (void) snprintf(buffer, WORD_BYTES, "%" PRIu64, ns);
    }
    return buffer;
}

const char *word_of_slowness(const struct bus_inside_client *c, char buffer[SLOW_BYTES])
{
    char word[WORD_BYTES], time[WORD_BYTES], where[48] = "";

    buffer[0] = '\0';
    if (c->slow == BUS_SLOW_NONE) {
        return buffer;
    }
    if (c->slow_subscription) {
        (void) snprintf(where, sizeof(where), " sub %" PRIu64, c->slow_subscription);
    }
    (void) snprintf(buffer, SLOW_BYTES, "%s%s%s%s", word_of_slow(c->slow, word),
                    c->slow_ms ? " " : "", c->slow_ms ? word_of_ms(c->slow_ms, time) : "", where);
    if (c->slow_messages) {
        size_t n = strlen(buffer);

        (void) snprintf(buffer + n, SLOW_BYTES - n, " (%" PRIu64 " wait)", c->slow_messages);
    }
    return buffer;
}

const char *word_of_slowness_short(const struct bus_inside_client *c, char buffer[SLOW_BYTES])
{
    char word[WORD_BYTES], time[WORD_BYTES];

    if (c->slow == BUS_SLOW_NONE) {
        return "-";
    }
    (void) snprintf(buffer, SLOW_BYTES, "%s%s%s", word_of_slow(c->slow, word),
                    c->slow_ms ? ":" : "", c->slow_ms ? word_of_ms(c->slow_ms, time) : "");
    return buffer;
}
