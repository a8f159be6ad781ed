/* SPDX-License-Identifier: MIT */
#include "core/table.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_SLOTS_MIN 16u

void table_init(struct table *t, uint64_t seed)
{
    *t = (struct table){.seed = seed};
}

void table_fini(struct table *t)
{
    free(t->slots);
    *t = (struct table){.seed = t->seed};
}

/* ---- SipHash-1-3: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012 ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

uint32_t table_hash(const struct table *t, uint64_t from, const void *data, size_t len)
{
    struct sip s = {t->seed ^ 0x736f6d6570736575, from ^ 0x646f72616e646f6d,
                    t->seed ^ 0x6c7967656e657261, from ^ 0x7465646279746573};
    const uint8_t *p = data;
    uint64_t last = (uint64_t) len << 56;
    size_t i = 0;

    for (; i + 8 <= len; i += 8) {
        uint64_t word;

        memcpy(&word, p + i, 8);
        sip_word(&s, word);
    }
    if (len > i) {
        uint64_t word = 0;

        memcpy(&word, p + i, len - i);
        last |= word;
    }
    sip_word(&s, last);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return (uint32_t) (s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}

void *table_find(const struct table *t, uint32_t hash, table_equals_fn equals, const void *key)
{
    if (!t->slots) {
        return NULL;
    }
    for (uint32_t i = hash & t->mask; t->slots[i].object; i = (i + 1) & t->mask) {
        if (t->slots[i].hash == hash && equals(t->slots[i].object, key)) {
            return t->slots[i].object;
        }
    }
    return NULL;
}

static void slot_put(struct table_slot *slots, uint32_t mask, uint32_t hash, void *object)
{
    uint32_t i = hash & mask;

    while (slots[i].object) {
        i = (i + 1) & mask;
    }
    slots[i] = (struct table_slot){object, hash};
}

int table_prepare(struct table *t)
{
    uint32_t n_slots = t->slots ? t->mask + 1 : 0;
    uint32_t n_new = n_slots ? n_slots * 2 : TABLE_SLOTS_MIN;
    struct table_slot *slots;

    /* at most four fifths: 2^17 slots are enough for 100,000 entries */
    if (n_slots && t->n + 1 <= n_slots - n_slots / 5) {
        return 0;
    }
    slots = calloc(n_new, sizeof(*slots));
    if (!slots) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n_slots; i++) {
        if (t->slots[i].object) {
            slot_put(slots, n_new - 1, t->slots[i].hash, t->slots[i].object);
        }
    }
    free(t->slots);
    t->slots = slots;
    t->mask = n_new - 1;
    return 0;
}

void table_insert(struct table *t, uint32_t hash, void *object)
{
    assert(t->slots && t->n < t->mask);
    slot_put(t->slots, t->mask, hash, object);
    t->n++;
}

/* Closes the hole by moving back what had been pushed past it, so that no tombstones are needed. */
static void slot_close(struct table *t, uint32_t hole)
{
    for (uint32_t i = (hole + 1) & t->mask; t->slots[i].object; i = (i + 1) & t->mask) {
        uint32_t home = t->slots[i].hash & t->mask;

        if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole].object = NULL;
}

static uint32_t slot_of(const struct table *t, uint32_t hash, const void *object)
{
    uint32_t i = hash & t->mask;

    while (t->slots[i].object != object) {
        assert(t->slots[i].object);
        i = (i + 1) & t->mask;
    }
    return i;
}

void table_replace(struct table *t, uint32_t hash, const void *object, void *with)
{
    t->slots[slot_of(t, hash, object)].object = with;
}

void table_remove(struct table *t, uint32_t hash, const void *object)
{
    slot_close(t, slot_of(t, hash, object));
    t->n--;
    if (t->n == 0) {
        free(t->slots);
        t->slots = NULL;
        t->mask = 0;
    }
}
