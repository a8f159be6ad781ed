/* SPDX-License-Identifier: MIT */
#pragma once
/* All subscriptions by their filters: those without a wildcard in a table by their whole text, the
 * others in a trie of levels. Matching a topic costs a look into the table, O(levels) in the trie,
 * and what matches, however many other filters there are. Knows nothing of peers and messages. Why:
 * docs/decisions/020-exact-filters-in-a-table.md. */

#include <stddef.h>
#include <stdint.h>
#include "core/table.h"

struct sub;

/* Where a subscription is found. */
enum filter_place {
    FILTER_BELOW, /* in the trie: the filter ends at a node with a text */
    FILTER_PLUS,  /* in the trie: the filter is that of a node and "+" */
    FILTER_HASH,  /* in the trie: the filter is that of a node and "#" */
    FILTER_EXACT, /* in the table: the text follows the subscription */
};
#define FILTER_LISTS 3u

/* One level of one or more filters: a text, or "+" with more levels below it. The root has no text.
 * Wildcards at the end have no node. */
struct filter_node {
    struct filter_node *parent;     /* NULL for the root */
    struct sub *subs[FILTER_LISTS]; /* of sub.filter_next, by place */
    uint32_t n_children;            /* in filters.edges */
    bool has_plus;                  /* one of them is "+" */
    uint8_t len;                    /* of the text, which follows it */
    char text[];
};

struct filters {
    struct table exact; /* the first subscription of each filter without a wildcard, by the text */
    struct table edges; /* nodes by parent and text */
    struct filter_node *root; /* NULL if there are no wildcards */
};

typedef void (*filters_match_fn)(struct sub *sub, void *ctx);

void filters_init(struct filters *f, uint64_t seed);
void filters_fini(struct filters *f);

/* Room that a subscription to that filter needs behind its struct: for the text, or for its node.
 */
size_t filters_tail(const char *filter, size_t len);
/* Memory that it costs there and in the table or the trie. */
uint64_t filters_memory(const char *filter, size_t len);

/* Puts a subscription under a valid filter: sets its filter fields and what follows it. 0 or
 * -ENOMEM.
 */
int filters_add(struct filters *f, const char *filter, size_t len, struct sub *sub);
void filters_remove(struct filters *f, struct sub *sub);

/* Calls fn for each subscription that matches a valid topic. fn must not add or remove filters.
 * Returns how many nodes it passed on the way: with many "+" they can be many more than match. */
size_t filters_match(const struct filters *f, const char *topic, size_t len, filters_match_fn fn,
                     void *ctx);

/* Writes the filter of a subscription, without NUL; returns its length. */
size_t filters_text(const struct sub *sub, char buf[256]);
