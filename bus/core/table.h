/* SPDX-License-Identifier: MIT */
#pragma once
/* A hash table of pointers with open addressing: 20 to 40 bytes an entry, where uthash's handle
 * alone has 56 in every object. Keys stay in the objects; the caller hashes with table_hash(),
 * whose seed keeps peers from choosing names that collide. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_slot {
    void *object; /* NULL: empty */
    uint32_t hash;
};

/* What an entry is charged with. */
#define TABLE_ENTRY_BYTES 24u

struct table {
    struct table_slot *slots;
    uint32_t mask; /* number of slots - 1 */
    uint32_t n;
    uint64_t seed;
};

typedef bool (*table_equals_fn)(const void *object, const void *key);

void table_init(struct table *t, uint64_t seed);
void table_fini(struct table *t);

/* Hash of bytes, beginning from another hash or 0 (SipHash-1-3). */
uint32_t table_hash(const struct table *t, uint64_t from, const void *data, size_t len);

void *table_find(const struct table *t, uint32_t hash, table_equals_fn equals, const void *key);
/* Makes sure that the next table_insert() cannot fail: 0 or -ENOMEM. */
int table_prepare(struct table *t);
void table_insert(struct table *t, uint32_t hash, void *object);
void table_remove(struct table *t, uint32_t hash, const void *object);
/* Puts another object of the same key in the place of one. */
void table_replace(struct table *t, uint32_t hash, const void *object, void *with);
