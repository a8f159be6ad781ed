/* SPDX-License-Identifier: MIT */
/* The words of large bodies: the loops of pattern.h, compiled a second time for processors with
 * AVX2, which fill and check twice as much a second. This file is compiled with unrolled loops:
 * another factor of two. */

#include "pattern.h"

#ifdef __x86_64__
#define FOR_AVX2 __attribute__((target("avx2")))
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#else
#define FOR_AVX2
#define HAS_AVX2 0
#endif

FOR_AVX2 static void fill_avx2(unsigned char *words, size_t n, uint64_t base)
{
    pattern_fill_few(words, n, base);
}

FOR_AVX2 static bool match_avx2(const unsigned char *words, size_t n, uint64_t base)
{
    return pattern_few_match(words, n, base);
}

void pattern_fill_words(unsigned char *words, size_t n, uint64_t base)
{
    if (HAS_AVX2) {
        fill_avx2(words, n, base);
    } else {
        pattern_fill_few(words, n, base);
    }
}

bool pattern_words_match(const unsigned char *words, size_t n, uint64_t base)
{
    return HAS_AVX2 ? match_avx2(words, n, base) : pattern_few_match(words, n, base);
}
