/* SPDX-License-Identifier: MIT */
#pragma once
/* What the fuzz targets share: a failing check that also works in builds without assert(), and
 * reading of the input. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            (void) fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct input {
    const uint8_t *data;
    size_t left;
};

/* 0 when nothing is left */
static inline uint8_t take_u8(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static inline uint32_t take_u16(struct input *in)
{
    uint32_t high = take_u8(in);

    return high << 8 | take_u8(in);
}

static inline const uint8_t *take_bytes(struct input *in, size_t *len)
{
    const uint8_t *p = in->data;

    if (*len > in->left) {
        *len = in->left;
    }
    in->data += *len;
    in->left -= *len;
    return p;
}

/* A copy of exactly that length, so that a sanitizer sees any byte read behind it. free() it. */
static inline void *exact_copy(const void *p, size_t len)
{
    void *copy = malloc(len ? len : 1);

    CHECK(copy);
    if (len > 0) {
        memcpy(copy, p, len);
    }
    return copy;
}
