/* SPDX-License-Identifier: MIT */
#pragma once
/* The bodies: every byte depends on who sent the message and on its number, and every byte is
 * checked. Cheap enough not to dominate: a sum a word, which compilers vectorise. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PATTERN_BYTES_MIN ((size_t) 8)

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

static inline void pattern_fill(unsigned char *body, size_t bytes, uint64_t word)
{
    uint64_t base = pattern_base(word);
    size_t n = bytes / 8;
    uint64_t tail;

    memcpy(body, &word, 8);
    for (size_t i = 1; i < n; i++) {
        uint64_t w = base + i;

        memcpy(body + 8 * i, &w, 8);
    }
    tail = base + n;
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
    uint64_t differences = 0;
    size_t n = bytes / 8;
    uint64_t tail;

    for (size_t i = 1; i < n; i++) {
        uint64_t w;

        memcpy(&w, body + 8 * i, 8);
        differences |= w ^ (base + i);
    }
    tail = base + n;
    return differences == 0 && memcmp(body + 8 * n, &tail, bytes % 8) == 0;
}
