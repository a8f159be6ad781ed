/* SPDX-License-Identifier: MIT */
#include "core/idpool.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

void idpool_fini(struct idpool *pool)
{
    free(pool->slots);
    *pool = (struct idpool){0};
}

static bool idpool_grow(struct idpool *pool)
{
    uint32_t n = pool->n_slots ? pool->n_slots * 2 : 16;
    uintptr_t *slots = reallocarray(pool->slots, n, sizeof(*slots));

    if (!slots) {
        return false;
    }
    for (uint32_t i = pool->n_slots; i < n; i++) {
        slots[i] = (uintptr_t) (i + 1) << 1 | 1;
    }
    pool->slots = slots;
    pool->n_slots = n;
    return true;
}

uint32_t idpool_add(struct idpool *pool, void *object)
{
    uint32_t i;

    if (pool->free == pool->n_slots && !idpool_grow(pool)) {
        return 0;
    }
    i = pool->free;
    pool->free = (uint32_t) (pool->slots[i] >> 1);
    pool->slots[i] = (uintptr_t) object;
    pool->n_used++;
    return i + 1;
}

void idpool_remove(struct idpool *pool, uint32_t id)
{
    assert(idpool_get(pool, id));
    pool->slots[id - 1] = (uintptr_t) pool->free << 1 | 1;
    pool->free = id - 1;
    pool->n_used--;
}

bool idpool_put(struct idpool *pool, uint32_t id, void *object)
{
    if (id == 0 || id > IDPOOL_PUT_MAX) {
        return false;
    }
    while (id > pool->n_slots) {
        if (!idpool_grow(pool)) {
            return false;
        }
    }
    if (!(pool->slots[id - 1] & 1)) {
        return false;
    }
    pool->slots[id - 1] = (uintptr_t) object;
    pool->n_used++;
    return true;
}

void idpool_relink(struct idpool *pool)
{
    pool->free = pool->n_slots;
    for (uint32_t i = pool->n_slots; i-- > 0;) {
        if (pool->slots[i] & 1) {
            pool->slots[i] = (uintptr_t) pool->free << 1 | 1;
            pool->free = i;
        }
    }
}

void *idpool_get(const struct idpool *pool, uint32_t id)
{
    if (id == 0 || id > pool->n_slots || (pool->slots[id - 1] & 1)) {
        return NULL;
    }
    return (void *) pool->slots[id - 1];
}

void idset_fini(struct idset *s)
{
    free(s->words);
    *s = (struct idset){0};
}

/* Half as much again as is needed, so that it does not grow at each id. */
static uint32_t words_with(const struct idset *s, uint32_t id)
{
    uint32_t n = id / 64 + 1;

    return n <= s->n_words ? s->n_words : n + n / 2;
}

uint64_t idset_memory_with(const struct idset *s, uint32_t id)
{
    return words_with(s, id) * sizeof(uint64_t);
}

bool idset_add(struct idset *s, uint32_t id)
{
    uint32_t n = words_with(s, id);

    if (n > s->n_words) {
        uint64_t *words = reallocarray(s->words, n, sizeof(*words));

        if (!words) {
            return false;
        }
        memset(words + s->n_words, 0, (n - s->n_words) * sizeof(*words));
        s->words = words;
        s->n_words = n;
    }
    s->words[id / 64] |= UINT64_C(1) << (id % 64);
    return true;
}
