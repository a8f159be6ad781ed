/* SPDX-License-Identifier: MIT */
#pragma once
/* Headers with random fields, for every verb, from the same lists as the headers themselves. */

#include "support/header_equal.h"
#include "support/unit.h"

#define RANDOM_TEXT_MAX 300
#define RANDOM_LIST_MAX 64

/* A header and what its pointers point to. */
struct random_header {
    union wire_any m;
    struct text texts[RANDOM_LIST_MAX];
    struct wire_header headers[RANDOM_LIST_MAX];
    struct wire_recipient recipients[RANDOM_LIST_MAX];
};

/* One buffer for all: texts begin somewhere in it, and may hold any byte. */
static inline struct text random_text_field(struct rng *r)
{
    static char pool[4 * RANDOM_TEXT_MAX];

    if (pool[0] == 0) {
        for (size_t i = 0; i < sizeof(pool); i++) {
            pool[i] = (char) (1 + i * 7 % 255);
        }
    }
    if (rng_below(r, 3) == 0) {
        return (struct text){NULL, 0};
    }
    return (struct text){pool + rng_below(r, 3 * RANDOM_TEXT_MAX), rng_below(r, RANDOM_TEXT_MAX)};
}

static inline uint32_t random_u32(struct rng *r)
{
    return rng_below(r, 4) ? (uint32_t) (rng_magnitude(r) >> 32) : 0;
}

static inline size_t random_texts(struct random_header *h, struct rng *r)
{
    size_t n = rng_below(r, 4);

    for (size_t i = 0; i < n; i++) {
        h->texts[i] = random_text_field(r);
    }
    return n;
}

static inline size_t random_text_headers(struct random_header *h, struct rng *r)
{
    size_t n = rng_below(r, 8) ? rng_below(r, 4) : rng_below(r, RANDOM_LIST_MAX + 1);

    for (size_t i = 0; i < n; i++) {
        h->headers[i] = (struct wire_header){random_text_field(r), random_text_field(r)};
    }
    return n;
}

static inline size_t random_recipients(struct random_header *h, struct rng *r)
{
    size_t n = rng_below(r, RANDOM_LIST_MAX + 1);

    for (size_t i = 0; i < n; i++) {
        h->recipients[i] = (struct wire_recipient){random_u32(r), random_u32(r), random_u32(r),
                                                   random_u32(r), random_u32(r)};
    }
    return n;
}

#define RANDOM_U32(name) m->name = random_u32(r);
#define RANDOM_U64(name) m->name = rng_below(r, 4) ? rng_magnitude(r) : 0;
#define RANDOM_TEXT(name) m->name = random_text_field(r);
#define RANDOM_TEXTS(name)                                                                         \
    m->n_##name = random_texts(h, r);                                                              \
    m->name = h->texts;
#define RANDOM_HEADERS(name)                                                                       \
    m->n_##name = random_text_headers(h, r);                                                       \
    m->name = h->headers;
#define RANDOM_RECIPIENTS(name)                                                                    \
    m->n_##name = random_recipients(h, r);                                                         \
    m->name = h->recipients;

static inline void random_header_fill(struct random_header *h, struct rng *r, uint8_t verb)
{
    memset(h, 0, sizeof(*h));
    switch (verb) {
#define X(upper, number, pb, member, body)                                                         \
    case number: {                                                                                 \
        struct wire_##member *m = &h->m.member;                                                    \
        WIRE_FIELDS_##upper(RANDOM_U32, RANDOM_U64, RANDOM_TEXT, RANDOM_TEXTS, RANDOM_HEADERS,     \
                            RANDOM_RECIPIENTS) break;                                              \
    }
        VERB_LIST(X)
#undef X
    }
}
