/* SPDX-License-Identifier: MIT */
#include "client/table.h"
#include <errno.h>
#include <string.h>
#include "base/macros.h"

#define TABLE_MIN 16u

int bus__table_reserve(struct table *t, uint32_t index)
{
    uint32_t n = MAX(t->n, TABLE_MIN);
    void **at;

    if (index < t->n) {
        return 0;
    }
    while (n <= index) {
        n *= 2;
    }
    at = realloc(t->at, n * sizeof(*at));
    if (!at) {
        return -ENOMEM;
    }
    memset(at + t->n, 0, (n - t->n) * sizeof(*at));
    t->at = at;
    t->n = n;
    return 0;
}

void bus__table_fini(struct table *t)
{
    free(t->at);
    *t = (struct table){0};
}

int bus__numbers_peek(struct numbers *n, uint32_t max, uint32_t *ret)
{
    uint32_t *grown;

    if (n->n_free > 0) {
        *ret = n->free[n->n_free - 1];
        return 0;
    }
    if (n->highest >= MIN(max, TABLE_INDEX_MAX)) {
        return -ENOSPC;
    }
    if (n->highest >= n->capacity) {
        grown = realloc(n->free, MAX(n->capacity * 2, TABLE_MIN) * sizeof(*grown));
        if (!grown) {
            return -ENOMEM;
        }
        n->free = grown;
        n->capacity = MAX(n->capacity * 2, TABLE_MIN);
    }
    *ret = n->highest + 1;
    return 0;
}

void bus__numbers_take(struct numbers *n)
{
    if (n->n_free > 0) {
        n->n_free--;
    } else {
        n->highest++;
    }
}

void bus__numbers_give(struct numbers *n, uint32_t number)
{
    n->free[n->n_free++] = number;
}

void bus__numbers_fini(struct numbers *n)
{
    free(n->free);
    *n = (struct numbers){0};
}
