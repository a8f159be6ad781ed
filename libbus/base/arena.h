/* SPDX-License-Identifier: MIT */
#pragma once
/* A bump allocator of fixed size for what lives during one dispatch: the decoded header of one
 * frame. Never grows, so a peer cannot make it grow; an exhausted arena returns NULL. */

#include <stddef.h>
#include <stdint.h>

struct arena {
    uint8_t *base;
    size_t used;
    size_t capacity;
};

/* 0 or -ENOMEM */
int arena_init(struct arena *a, size_t capacity);
void arena_fini(struct arena *a);

/* Memory aligned for any type, or NULL if the arena is exhausted. */
static inline void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t need = (bytes + 15) & ~(size_t) 15;

    if (need < bytes || need > a->capacity - a->used) {
        return NULL;
    }
    a->used += need;
    return a->base + a->used - need;
}

/* Forgets everything allocated so far. */
static inline void arena_reset(struct arena *a)
{
    a->used = 0;
}
