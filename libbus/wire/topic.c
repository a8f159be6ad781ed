/* SPDX-License-Identifier: MIT */
#include "wire/topic.h"
#include <bus/types.h>
#include <stdint.h>
#include <string.h>

/* Length of the well-formed sequence at s, or 0: Unicode 15, table 3-7. *ret_code is its code
 * point. */
static size_t utf8_sequence(const uint8_t *s, size_t len, uint32_t *ret_code)
{
    static const struct {
        uint8_t first_min, first_max, second_min, second_max, bytes;
    } forms[] = {
        {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
        {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
        {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        size_t n = forms[i].bytes;
        uint32_t code;

        if (s[0] < forms[i].first_min || s[0] > forms[i].first_max) {
            continue;
        }
        if (n > len || s[1] < forms[i].second_min || s[1] > forms[i].second_max) {
            return 0;
        }
        code = s[0] & (0x7Fu >> n);
        for (size_t k = 1; k < n; k++) {
            if ((s[k] & 0xC0) != 0x80) {
                return 0;
            }
            code = code << 6 | (s[k] & 0x3Fu);
        }
        *ret_code = code;
        return n;
    }
    return 0;
}

static bool utf8_check(const char *text, size_t len, bool controls_allowed)
{
    const uint8_t *s = (const uint8_t *) text;

    for (size_t i = 0; i < len;) {
        uint32_t code = s[i];
        size_t n = 1;

        if (code >= 0x80) {
            n = utf8_sequence(s + i, len - i, &code);
        }
        if (n == 0 || code == 0) {
            return false;
        }
        if (!controls_allowed && (code < 0x20 || (code >= 0x7F && code <= 0x9F))) {
            return false;
        }
        i += n;
    }
    return true;
}

bool utf8_valid(const char *s, size_t len)
{
    return utf8_check(s, len, true);
}

bool utf8_valid_printable(const char *s, size_t len)
{
    return utf8_check(s, len, false);
}

size_t topic_level_len(const char *s, size_t len)
{
    const char *slash = len ? memchr(s, '/', len) : NULL;

    return slash ? (size_t) (slash - s) : len;
}

static bool common_valid(const char *s, size_t len)
{
    size_t levels = 1;

    if (len == 0 || len > BUS_TOPIC_MAX || !utf8_valid_printable(s, len)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        levels += s[i] == '/';
    }
    return levels <= BUS_LEVELS_MAX;
}

bool filter_has_wildcard(const char *s, size_t len)
{
    return memchr(s, '+', len) || memchr(s, '#', len);
}

bool topic_valid(const char *s, size_t len)
{
    return common_valid(s, len) && !filter_has_wildcard(s, len);
}

bool filter_valid(const char *s, size_t len)
{
    if (!common_valid(s, len)) {
        return false;
    }
    for (;;) {
        size_t n = topic_level_len(s, len);

        if (n > 1 && filter_has_wildcard(s, n)) {
            return false;
        }
        if (n == 1 && *s == '#') {
            return n == len;
        }
        if (n == len) {
            return true;
        }
        s += n + 1;
        len -= n + 1;
    }
}

bool filter_matches(const char *filter, size_t filter_len, const char *topic, size_t topic_len)
{
    if (topic[0] == '$' && (filter[0] == '+' || filter[0] == '#')) {
        return false;
    }
    for (;;) {
        size_t fn = topic_level_len(filter, filter_len);
        size_t tn = topic_level_len(topic, topic_len);

        if (fn == 1 && *filter == '#') {
            return true;
        }
        if (!(fn == 1 && *filter == '+') && (fn != tn || memcmp(filter, topic, fn) != 0)) {
            return false;
        }
        if (fn == filter_len) {
            return tn == topic_len;
        }
        filter += fn + 1;
        filter_len -= fn + 1;
        if (tn == topic_len) {
            /* "a/#" matches "a": the rest of the filter must be exactly "#" */
            return filter_len == 1 && *filter == '#';
        }
        topic += tn + 1;
        topic_len -= tn + 1;
    }
}

bool topic_is_reserved(const char *s, size_t len)
{
    return topic_level_len(s, len) == 4 && memcmp(s, "$bus", 4) == 0;
}
