/* SPDX-License-Identifier: MIT */
#pragma once
/* docs/protocol.md section 4 a second time, as plainly as possible and without a look at
 * wire/topic.c, for comparisons with random and fuzzed input. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define REF_LEVELS 64

struct ref_level {
    const char *s;
    size_t len;
};

static inline size_t ref_split(const char *s, size_t len, struct ref_level levels[REF_LEVELS])
{
    size_t n = 0, start = 0;

    for (size_t i = 0; i <= len; i++) {
        if (i < len && s[i] != '/') {
            continue;
        }
        if (n == REF_LEVELS) {
            return n;
        }
        levels[n++] = (struct ref_level){s + start, i - start};
        start = i + 1;
    }
    return n;
}

/* Decodes by the shape of the first byte, then refuses what could have been written shorter. */
static inline bool ref_utf8_printable(const char *text, size_t len)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t i = 0;

    while (i < len) {
        uint8_t b = (uint8_t) text[i];
        size_t n = b < 0x80 ? 1 : b >> 5 == 6 ? 2 : b >> 4 == 14 ? 3 : b >> 3 == 30 ? 4 : 0;
        uint32_t code = n == 1 ? b : b & (0xFFu >> (n + 1));

        if (n == 0 || i + n > len) {
            return false;
        }
        for (size_t k = 1; k < n; k++) {
            uint8_t c = (uint8_t) text[i + k];

            if (c >> 6 != 2) {
                return false;
            }
            code = code * 64 + c % 64;
        }
        if (code < lowest[n] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
            return false;
        }
        if (code <= 0x1F || (code >= 0x7F && code <= 0x9F)) {
            return false;
        }
        i += n;
    }
    return true;
}

static inline bool ref_filter_valid(const char *s, size_t len)
{
    struct ref_level levels[REF_LEVELS];
    size_t n = ref_split(s, len, levels);

    if (len < 1 || len > 255 || n > 32 || !ref_utf8_printable(s, len)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < levels[i].len; k++) {
            char c = levels[i].s[k];

            if ((c == '+' || c == '#') && levels[i].len != 1) {
                return false;
            }
            if (c == '#' && i != n - 1) {
                return false;
            }
        }
    }
    return true;
}

static inline bool ref_topic_valid(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '+' || s[i] == '#') {
            return false;
        }
    }
    return ref_filter_valid(s, len);
}

static inline bool ref_is(const struct ref_level *l, char c)
{
    return l->len == 1 && l->s[0] == c;
}

static inline bool ref_levels_match(const struct ref_level *f, size_t nf, const struct ref_level *t,
                                    size_t nt)
{
    if (nf == 0) {
        return nt == 0;
    }
    if (ref_is(f, '#')) {
        return true;
    }
    if (nt == 0) {
        return false;
    }
    if (!ref_is(f, '+') && (f->len != t->len || memcmp(f->s, t->s, t->len) != 0)) {
        return false;
    }
    return ref_levels_match(f + 1, nf - 1, t + 1, nt - 1);
}

/* For a valid filter and a valid topic. */
static inline bool ref_matches(const char *filter, size_t filter_len, const char *topic,
                               size_t topic_len)
{
    struct ref_level f[REF_LEVELS], t[REF_LEVELS];
    size_t nf = ref_split(filter, filter_len, f), nt = ref_split(topic, topic_len, t);

    if (topic[0] == '$' && (ref_is(&f[0], '+') || ref_is(&f[0], '#'))) {
        return false;
    }
    return ref_levels_match(f, nf, t, nt);
}
