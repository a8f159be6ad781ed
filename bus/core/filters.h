/* SPDX-License-Identifier: MIT */
#pragma once
/* All subscriptions by their filters, in a trie of levels. Matching a topic costs O(levels) plus
 * what matches, however many other filters there are. Knows nothing of peers and messages. */

#include <stddef.h>
#include <stdint.h>
#include "core/table.h"

struct sub;

/* One level of one or more filters. The root has no text. */
struct filter_node {
    struct filter_node *parent; /* NULL for the root */
    struct filter_node *plus;   /* child "+" */
    struct filter_node *hash;   /* child "#" */
    struct sub *subs;           /* of sub.filter_next: filters that end here */
    uint32_t n_children;        /* plus and hash included */
    uint32_t edge_hash;         /* in filters.edges, unless wildcard or root */
    uint8_t len;                /* of the text, which follows the struct */
};

static inline const char *filter_node_text(const struct filter_node *n)
{
    return (const char *) (n + 1);
}

struct filters {
    struct table edges; /* children with a text, by parent and text */
    struct filter_node root;
};

typedef void (*filters_match_fn)(struct sub *sub, void *ctx);

void filters_init(struct filters *f, uint64_t seed);
void filters_fini(struct filters *f);

/* Puts a subscription under a valid filter: sets its filter_node and links it there. 0 or -ENOMEM.
 */
int filters_add(struct filters *f, const char *filter, size_t len, struct sub *sub);
void filters_remove(struct filters *f, struct sub *sub);

/* Calls fn for each subscription that matches a valid topic. fn must not add or remove filters.
 * Returns how many nodes it passed on the way: with many "+" they can be many more than match. */
size_t filters_match(const struct filters *f, const char *topic, size_t len, filters_match_fn fn,
                     void *ctx);

/* Writes the filter of a subscription, without NUL; returns its length. */
size_t filters_text(const struct sub *sub, char buf[256]);
