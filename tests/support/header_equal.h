/* SPDX-License-Identifier: MIT */
#pragma once
/* Whether two headers of one verb say the same. */

#include <stdbool.h>
#include "wire/messages.h"

static inline bool text_equal(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool texts_equal(const struct text *a, const struct text *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!text_equal(a[i], b[i])) {
            return false;
        }
    }
    return true;
}

static inline bool text_headers_equal(const struct wire_header *a, const struct wire_header *b,
                                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!text_equal(a[i].name, b[i].name) || !text_equal(a[i].value, b[i].value)) {
            return false;
        }
    }
    return true;
}

static inline bool recipients_equal(const struct wire_recipient *a, const struct wire_recipient *b,
                                    size_t n)
{
    return n == 0 || memcmp(a, b, n * sizeof(*a)) == 0; /* five u32: no padding */
}

#define EQUAL_NUMBER(name) &&a->name == b->name
#define EQUAL_TEXT(name) &&text_equal(a->name, b->name)
#define EQUAL_TEXTS(name) &&a->n_##name == b->n_##name &&texts_equal(a->name, b->name, a->n_##name)
#define EQUAL_HEADERS(name)                                                                        \
    &&a->n_##name == b->n_##name &&text_headers_equal(a->name, b->name, a->n_##name)
#define EQUAL_RECIPIENTS(name)                                                                     \
    &&a->n_##name == b->n_##name &&recipients_equal(a->name, b->name, a->n_##name)

static inline bool headers_equal(uint8_t verb, const union wire_any *left,
                                 const union wire_any *right)
{
    switch (verb) {
#define X(upper, number, pb, member, body)                                                         \
    case number: {                                                                                 \
        const struct wire_##member *a = &left->member, *b = &right->member;                        \
        return true WIRE_FIELDS_##upper(EQUAL_NUMBER, EQUAL_NUMBER, EQUAL_TEXT, EQUAL_TEXTS,       \
                                        EQUAL_HEADERS, EQUAL_RECIPIENTS);                          \
    }
        VERB_LIST(X)
#undef X
    }
    return false;
}
