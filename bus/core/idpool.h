/* SPDX-License-Identifier: MIT */
#pragma once
/* Small numbers for objects, 1 and up, used again after they are given back; and sets of such
 * numbers. */

#include <stdbool.h>
#include <stdint.h>

struct idpool {
    uintptr_t *slots; /* an object, or (next free slot << 1 | 1) */
    uint32_t n_slots;
    uint32_t n_used;
    uint32_t free; /* first free slot, or n_slots */
};

void idpool_fini(struct idpool *pool);
/* The new object's number, or 0 if out of memory. The object's address must be even. */
uint32_t idpool_add(struct idpool *pool, void *object);
void idpool_remove(struct idpool *pool, uint32_t id);
/* For a pool that is built up again: gives an object that very number, at most IDPOOL_PUT_MAX.
 * False if it is out of range or taken, or there is no memory. Between these and idpool_relink()
 * the pool is used for nothing but looking up and removing. */
#define IDPOOL_PUT_MAX (1u << 24)
bool idpool_put(struct idpool *pool, uint32_t id, void *object);
/* Free numbers can be given out again. */
void idpool_relink(struct idpool *pool);
/* NULL if there is none. */
void *idpool_get(const struct idpool *pool, uint32_t id);

struct idset {
    uint64_t *words;
    uint32_t n_words;
};

void idset_fini(struct idset *s);
/* False, and nothing changed, if out of memory. */
bool idset_add(struct idset *s, uint32_t id);

static inline uint64_t idset_memory(const struct idset *s)
{
    return s->n_words * sizeof(uint64_t);
}
/* The same when id has been added. */
uint64_t idset_memory_with(const struct idset *s, uint32_t id);

static inline bool idset_has(const struct idset *s, uint32_t id)
{
    return id / 64 < s->n_words && (s->words[id / 64] >> (id % 64) & 1);
}

static inline void idset_remove(struct idset *s, uint32_t id)
{
    if (id / 64 < s->n_words) {
        s->words[id / 64] &= ~(UINT64_C(1) << (id % 64));
    }
}
