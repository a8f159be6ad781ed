/* SPDX-License-Identifier: MIT */
#pragma once
/* Short texts for people, put together without stdio. What does not fit is left out. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "wire/messages.h"

struct words {
    char *at, *end;
};

static inline void words_bytes(struct words *w, const char *data, size_t len)
{
    size_t room = (size_t) (w->end - w->at);

    len = len < room ? len : room;
    memcpy(w->at, data, len);
    w->at += len;
}

static inline void words_put(struct words *w, const char *text)
{
    words_bytes(w, text, strlen(text));
}

static inline void words_number(struct words *w, uint64_t v)
{
    char digits[20];
    size_t n = sizeof(digits);

    do {
        digits[--n] = (char) ('0' + v % 10);
        v /= 10;
    } while (v > 0);
    words_bytes(w, digits + n, sizeof(digits) - n);
}
