/* SPDX-License-Identifier: MIT */
#pragma once
/* Tables indexed by the small numbers of the protocol (ids chosen by the router, aliases and
 * subscriptions chosen here), and the giver of such numbers. Owned by struct bus_conn. They know
 * nothing of what the pointers mean. */

#include <stdint.h>
#include <stdlib.h>

/* No number above this is used or believed: a router that binds id 4 billion must not cost us 32
 * GiB. */
#define TABLE_INDEX_MAX (1u << 22)

struct table {
    void **at; /* n entries, NULL where nothing is */
    uint32_t n;
};

/* Makes at[index] exist: 0 or -ENOMEM. The index must not exceed TABLE_INDEX_MAX. */
int bus__table_reserve(struct table *t, uint32_t index);
void bus__table_fini(struct table *t);

static inline void *bus__table_get(const struct table *t, uint32_t index)
{
    return index < t->n ? t->at[index] : NULL;
}

/* Numbers from 1, the lately given back first, so that they stay small and dense. */
struct numbers {
    uint32_t
        *free; /* stack; has room for every number ever given, so that giving back cannot fail */
    uint32_t n_free;
    uint32_t capacity;
    uint32_t highest;
};

/* The number that bus__numbers_take() will take; nothing changes. 0, -ENOMEM, or -ENOSPC above max.
 */
int bus__numbers_peek(struct numbers *n, uint32_t max, uint32_t *ret);
void bus__numbers_take(struct numbers *n);
void bus__numbers_give(struct numbers *n, uint32_t number);
void bus__numbers_fini(struct numbers *n);
