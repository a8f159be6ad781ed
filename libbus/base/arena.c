/* SPDX-License-Identifier: MIT */
#include "base/arena.h"
#include <errno.h>
#include <stdlib.h>

int arena_init(struct arena *a, size_t capacity)
{
    uint8_t *base = malloc(capacity);

    if (!base) {
        return -ENOMEM;
    }
    *a = (struct arena){.base = base, .capacity = capacity};
    return 0;
}

void arena_fini(struct arena *a)
{
    free(a->base);
    *a = (struct arena){0};
}
