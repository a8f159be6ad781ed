/* SPDX-License-Identifier: MIT */
/* Text from other processes, made safe to show. Pure functions: what they write depends on their
 * arguments only. */
#include "safe.h"

#include <stdlib.h>
#include <string.h>

static int utf8_length(unsigned char lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        return 3;
    }
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* The second byte is where overlong forms, surrogates and what lies beyond U+10FFFF are excluded.
 */
static bool utf8_second_ok(unsigned char lead, unsigned char second)
{
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;

    return second >= low && second <= high;
}

int utf8_next(const unsigned char *s, size_t n, uint32_t *ret_code)
{
    int length = utf8_length(s[0]);
    uint32_t code;

    if (length <= 1) {
        *ret_code = s[0];
        return length;
    }
    code = s[0] & (0xffU >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((size_t) i >= n) {
            return -1;
        }
        if (i == 1 ? !utf8_second_ok(s[0], s[1]) : (s[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (s[i] & 0x3fU);
    }
    *ret_code = code;
    return length;
}

size_t utf8_prefix(const void *data, size_t n)
{
    const unsigned char *s = data;
    size_t at = 0;

    while (at < n) {
        uint32_t code;
        int length = utf8_next(s + at, n - at, &code);

        if (length <= 0) {
            break;
        }
        at += (size_t) length;
    }
    return at;
}

bool utf8_valid(const void *data, size_t n, bool cut, size_t *ret_n)
{
    const unsigned char *s = data;
    size_t good = utf8_prefix(data, n);
    uint32_t code;

    if (good < n && (!cut || utf8_next(s + good, n - good, &code) != -1)) {
        return false;
    }
    *ret_n = good;
    return true;
}

bool safe_is_hidden(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } hidden[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0x61c, 0x61c},   {0x180e, 0x180e},
        {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfdd0, 0xfdef},
        {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe0fff},
    };

    if (code >= 0x20 && code < 0x7f) {
        return false;
    }
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        if (code >= hidden[i].first && code <= hidden[i].last) {
            return true;
        }
    }
    return false;
}

bool safe_is_readable(const void *data, size_t n)
{
    const unsigned char *s = data;
    size_t at = 0;

    while (at < n) {
        uint32_t code;
        int length = utf8_next(s + at, n - at, &code);

        if (length <= 0) {
            return false;
        }
        if ((code < 0x20 && code != '\t' && code != '\n' && code != '\r') ||
            (code >= 0x7f && code < 0xa0)) {
            return false;
        }
        at += (size_t) length;
    }
    return true;
}

static void escape(FILE *out, uint32_t code)
{
    static const char named[] = "\aa\bb\tt\nn\vv\ff\rr\x1b"
                                "e";

    for (size_t i = 0; i + 1 < sizeof(named); i += 2) {
        if (code == (uint32_t) named[i]) {
            fprintf(out, "\\%c", named[i + 1]);
            return;
        }
    }
    fprintf(out, code < 0x100 ? "\\x%02x" : "\\u{%x}", (unsigned) code);
}

void safe_text(FILE *out, const void *data, size_t n, const char *also, enum safe_charset charset)
{
    const unsigned char *s = data;
    size_t written = 0;
    size_t at = 0;

    while (at < n) {
        uint32_t code = s[at];
        int length = utf8_next(s + at, n - at, &code);
        bool marked = code != 0 && code < 0x80 && strchr(also, (int) code);

        if (length > 0 && !marked && !safe_is_hidden(code) &&
            (code < 0x80 || charset == SAFE_UTF8)) {
            at += (size_t) length;
            continue;
        }
        fwrite_unlocked(s + written, 1, at - written, out);
        if (marked) {
            fprintf(out, "\\%c", (int) code);
        } else {
            escape(out, length > 0 ? code : s[at]);
        }
        at += length > 0 ? (size_t) length : 1;
        written = at;
    }
    fwrite_unlocked(s + written, 1, n - written, out);
}

void safe_word(FILE *out, const char *text, enum safe_charset charset)
{
    size_t n = strlen(text);

    if (n && !strpbrk(text, " \"\\;,()")) {
        safe_text(out, text, n, "", charset);
        return;
    }
    putc_unlocked('"', out);
    safe_text(out, text, n, "\"\\", charset);
    putc_unlocked('"', out);
}

char *safe_dup(const char *text, enum safe_charset charset)
{
    char *copy = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&copy, &n);

    if (!out) {
        return NULL;
    }
    safe_text(out, text, strlen(text), "", charset);
    if (fclose(out)) {
        free(copy);
        return NULL;
    }
    return copy;
}
