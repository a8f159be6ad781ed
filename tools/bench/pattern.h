/* SPDX-License-Identifier: MIT */
#pragma once
/* The bodies: every byte depends on who sent the message and on its number, and every byte is
 * checked. Cheap enough not to dominate: a sum a word, which compilers vectorise. Bodies of a
 * page or more take functions made for the processor at hand: they are handed over faster than
 * plain code could read them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PATTERN_BYTES_MIN ((size_t) 8)
#define PATTERN_LARGE_BYTES ((size_t) 4096)
/* A cache line. Large bodies, which begin with one, are checked from the second one on: no access
 * of the vectorised loop crosses two. */
#define PATTERN_LINE_WORDS ((size_t) 8)

/* First word of a body: bits 0 to 47 the number, beginning with 0, 48 to 62 the publisher, 63 set
 * in its last message. */
#define PATTERN_LAST (UINT64_C(1) << 63)

static inline uint64_t pattern_word(unsigned publisher, uint64_t number, bool is_last)
{
    return (uint64_t) publisher << 48 | number | (is_last ? PATTERN_LAST : 0);
}

static inline uint64_t pattern_number(uint64_t word)
{
    return word & ((UINT64_C(1) << 48) - 1);
}

static inline unsigned pattern_publisher(uint64_t word)
{
    return (unsigned) (word >> 48 & 0x7fff);
}

/* The words after the first. */
static inline uint64_t pattern_base(uint64_t word)
{
    return word * UINT64_C(0x9e3779b97f4a7c15);
}

/* The words base, base + 1, ... of large bodies. */
void pattern_fill_words(unsigned char *words, size_t n, uint64_t base);
bool pattern_words_match(const unsigned char *words, size_t n, uint64_t base);

/* The same for small ones. Always inline, because a function compiled for AVX2 must not call them.
 */
#define PATTERN_INLINE static inline __attribute__((always_inline))
PATTERN_INLINE void pattern_fill_few(unsigned char *words, size_t n, uint64_t base)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t w = base + i;

        memcpy(words + 8 * i, &w, 8);
    }
}

PATTERN_INLINE bool pattern_few_match(const unsigned char *words, size_t n, uint64_t base)
{
    uint64_t differences = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t w;

        memcpy(&w, words + 8 * i, 8);
        differences |= w ^ (base + i);
    }
    return differences == 0;
}

static inline void pattern_fill(unsigned char *body, size_t bytes, uint64_t word)
{
    uint64_t base = pattern_base(word);
    size_t n = bytes / 8;
    uint64_t tail = base + n;

    if (bytes < PATTERN_LARGE_BYTES) {
        pattern_fill_few(body, n, base);
    } else {
        pattern_fill_words(body, n, base);
    }
    memcpy(body, &word, 8); /* in place of the first */
    memcpy(body + 8 * n, &tail, bytes % 8);
}

static inline uint64_t pattern_first_word(const unsigned char *body)
{
    uint64_t word;

    memcpy(&word, body, 8);
    return word;
}

/* Whether all bytes after the first word are as pattern_fill() made them. */
static inline bool pattern_matches(const unsigned char *body, size_t bytes)
{
    uint64_t base = pattern_base(pattern_first_word(body));
    size_t n = bytes / 8;
    uint64_t tail = base + n;
    bool fine;

    if (bytes < PATTERN_LARGE_BYTES) {
        fine = pattern_few_match(body + 8, n - 1, base + 1);
    } else {
        fine = pattern_few_match(body + 8, PATTERN_LINE_WORDS - 1, base + 1) &&
               pattern_words_match(body + 8 * PATTERN_LINE_WORDS, n - PATTERN_LINE_WORDS,
                                   base + PATTERN_LINE_WORDS);
    }
    return fine && memcmp(body + 8 * n, &tail, bytes % 8) == 0;
}
