/* SPDX-License-Identifier: MIT */
#include "core/filters.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/sub.h"
#include "wire/topic.h"

struct edge_key {
    const struct filter_node *parent;
    const char *text;
    size_t len;
};

void filters_init(struct filters *f, uint64_t seed)
{
    memset(f, 0, sizeof(*f));
    table_init(&f->edges, seed);
}

static bool edge_equals(const void *object, const void *key)
{
    const struct filter_node *n = object;
    const struct edge_key *k = key;

    return n->parent == k->parent && n->len == k->len &&
           memcmp(filter_node_text(n), k->text, k->len) == 0;
}

static uint32_t edge_hash(const struct filters *f, const struct edge_key *k)
{
    return table_hash(&f->edges, (uint64_t) (uintptr_t) k->parent, k->text, k->len);
}

static struct filter_node *child_find(const struct filters *f, const struct edge_key *k)
{
    return table_find(&f->edges, edge_hash(f, k), edge_equals, k);
}

static bool is_level(const char *text, size_t len, char c)
{
    return len == 1 && *text == c;
}

/* The pointer of a wildcard child, or NULL if the level is a text. */
static struct filter_node **wildcard_slot(struct filter_node *parent, const char *text, size_t len)
{
    if (is_level(text, len, '+')) {
        return &parent->plus;
    }
    return is_level(text, len, '#') ? &parent->hash : NULL;
}

static struct filter_node *child_get(struct filters *f, struct filter_node *parent,
                                     const char *text, size_t len)
{
    struct edge_key key = {parent, text, len};
    struct filter_node **slot = wildcard_slot(parent, text, len);
    struct filter_node *n = slot ? *slot : child_find(f, &key);

    if (n) {
        return n;
    }
    if (!slot && table_prepare(&f->edges) < 0) {
        return NULL;
    }
    n = calloc(1, sizeof(*n) + len);
    if (!n) {
        return NULL;
    }
    n->parent = parent;
    n->len = (uint8_t) len;
    memcpy(n + 1, text, len);
    if (slot) {
        *slot = n;
    } else {
        n->edge_hash = edge_hash(f, &key);
        table_insert(&f->edges, n->edge_hash, n);
    }
    parent->n_children++;
    return n;
}

/* Frees a node and its ancestors as far as nothing needs them. */
static void node_prune(struct filters *f, struct filter_node *n)
{
    while (n->parent && !n->subs && n->n_children == 0) {
        struct filter_node *parent = n->parent;
        struct filter_node **slot = wildcard_slot(parent, filter_node_text(n), n->len);

        if (slot) {
            *slot = NULL;
        } else {
            table_remove(&f->edges, n->edge_hash, n);
        }
        parent->n_children--;
        free(n);
        n = parent;
    }
}

int filters_add(struct filters *f, const char *filter, size_t len, struct sub *sub)
{
    struct filter_node *n = &f->root;

    for (;;) {
        size_t level = topic_level_len(filter, len);
        struct filter_node *child = child_get(f, n, filter, level);

        if (!child) {
            node_prune(f, n);
            return -ENOMEM;
        }
        n = child;
        if (level == len) {
            break;
        }
        filter += level + 1;
        len -= level + 1;
    }
    sub->filter = n;
    DL_APPEND2(n->subs, sub, filter_prev, filter_next);
    return 0;
}

void filters_remove(struct filters *f, struct sub *sub)
{
    struct filter_node *n = sub->filter;

    DL_DELETE2(n->subs, sub, filter_prev, filter_next);
    sub->filter = NULL;
    node_prune(f, n);
}

static void match_subs(const struct filter_node *n, filters_match_fn fn, void *ctx)
{
    struct sub *sub;

    if (n) {
        DL_FOREACH2(n->subs, sub, filter_next)
        {
            fn(sub, ctx);
        }
    }
}

/* The recursion is as deep as the topic has levels: BUS_LEVELS_MAX. */
static size_t match_below(const struct filters *f, const struct filter_node *n, const char *topic,
                          size_t len, bool wildcards, filters_match_fn fn, void *ctx)
{
    size_t level = topic_level_len(topic, len);
    size_t passed = 0;
    const struct filter_node *next[2] = {child_find(f, &(struct edge_key){n, topic, level}),
                                         wildcards ? n->plus : NULL};

    if (wildcards) {
        match_subs(n->hash, fn, ctx);
    }
    for (int i = 0; i < 2; i++) {
        if (!next[i]) {
            continue;
        }
        if (level == len) {
            match_subs(next[i], fn, ctx);
            match_subs(next[i]->hash, fn, ctx);
        } else {
            passed +=
                1 + match_below(f, next[i], topic + level + 1, len - level - 1, true, fn, ctx);
        }
    }
    return passed;
}

size_t filters_match(const struct filters *f, const char *topic, size_t len, filters_match_fn fn,
                     void *ctx)
{
    return match_below(f, &f->root, topic, len, topic[0] != '$', fn, ctx);
}

size_t filters_text(const struct sub *sub, char buf[256])
{
    size_t len = 0, at;

    for (const struct filter_node *n = sub->filter; n->parent; n = n->parent) {
        len += n->len + (n->parent->parent ? 1u : 0u);
    }
    at = len;
    for (const struct filter_node *n = sub->filter; n->parent; n = n->parent) {
        at -= n->len;
        memcpy(buf + at, filter_node_text(n), n->len);
        if (n->parent->parent) {
            buf[--at] = '/';
        }
    }
    return len;
}

void filters_fini(struct filters *f)
{
    table_fini(&f->edges);
}
