/* SPDX-License-Identifier: MIT */
#include "core/filters.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "base/macros.h"
#include "core/sub.h"
#include "wire/topic.h"

struct text_key {
    const struct filter_node *parent; /* of an edge */
    const char *text;
    size_t len;
};

void filters_init(struct filters *f, uint64_t seed)
{
    memset(f, 0, sizeof(*f));
    table_init(&f->exact, seed);
    table_init(&f->edges, seed);
}

/* ---- what follows a subscription ---- */

static char *exact_text(const struct sub *s)
{
    return (char *) (uintptr_t) (s + 1);
}

static struct filter_node **node_slot(const struct sub *s)
{
    return (struct filter_node **) (uintptr_t) (s + 1);
}

size_t filters_tail(const char *filter, size_t len)
{
    return filter_has_wildcard(filter, len) ? sizeof(struct filter_node *) : len;
}

uint64_t filters_memory(const char *filter, size_t len)
{
    uint64_t memory = filters_tail(filter, len) + TABLE_ENTRY_BYTES;

    if (filter_has_wildcard(filter, len)) {
        memory += len;
        for (size_t i = 0; i < len; i++) {
            memory += filter[i] == '/' ? sizeof(struct filter_node) + TABLE_ENTRY_BYTES : 0;
        }
        memory += sizeof(struct filter_node);
    }
    return memory;
}

/* ---- filters without wildcards ---- */

static bool exact_equals(const void *object, const void *key)
{
    const struct sub *s = object;
    const struct text_key *k = key;

    return s->filter_len == k->len && memcmp(exact_text(s), k->text, k->len) == 0;
}

static uint32_t exact_hash(const struct filters *f, const char *text, size_t len)
{
    return table_hash(&f->exact, 0, text, len);
}

static struct sub *exact_find(const struct filters *f, uint32_t hash, const char *text, size_t len)
{
    return table_find(&f->exact, hash, exact_equals, &(struct text_key){NULL, text, len});
}

static int exact_add(struct filters *f, const char *text, size_t len, struct sub *sub)
{
    uint32_t hash = exact_hash(f, text, len);
    struct sub *first = exact_find(f, hash, text, len), *list = first;

    if (!first && table_prepare(&f->exact) < 0) {
        return -ENOMEM;
    }

    /* nothing fails from here on */
    sub->place = FILTER_EXACT;
    sub->filter_len = (uint8_t) len;
    memcpy(exact_text(sub), text, len);
    DL_APPEND2(list, sub, filter_prev, filter_next);
    if (!first) {
        table_insert(&f->exact, hash, sub);
    }
    return 0;
}

static void exact_remove(struct filters *f, struct sub *sub)
{
    uint32_t hash = exact_hash(f, exact_text(sub), sub->filter_len);
    struct sub *first = exact_find(f, hash, exact_text(sub), sub->filter_len), *list = first;

    DL_DELETE2(list, sub, filter_prev, filter_next);
    if (!list) {
        table_remove(&f->exact, hash, first);
    } else if (list != first) {
        table_replace(&f->exact, hash, first, list);
    }
}

/* ---- the trie ---- */

static bool edge_equals(const void *object, const void *key)
{
    const struct filter_node *n = object;
    const struct text_key *k = key;

    return n->parent == k->parent && n->len == k->len && memcmp(n->text, k->text, k->len) == 0;
}

static uint32_t edge_hash(const struct filters *f, const struct text_key *k)
{
    return table_hash(&f->edges, (uint64_t) (uintptr_t) k->parent, k->text, k->len);
}

static struct filter_node *child_find(const struct filters *f, const struct filter_node *parent,
                                      const char *text, size_t len)
{
    struct text_key key = {parent, text, len};

    return parent->n_children > 0 ? table_find(&f->edges, edge_hash(f, &key), edge_equals, &key)
                                  : NULL;
}

static bool is_level(const char *text, size_t len, char c)
{
    return len == 1 && *text == c;
}

static struct filter_node *node_new(struct filter_node *parent, const char *text, size_t len)
{
    struct filter_node *n = calloc(1, MAX(sizeof(*n), offsetof(struct filter_node, text) + len));

    if (n) {
        n->parent = parent;
        n->len = (uint8_t) len;
        memcpy(n->text, text, len);
    }
    return n;
}

static struct filter_node *child_get(struct filters *f, struct filter_node *parent,
                                     const char *text, size_t len)
{
    struct text_key key = {parent, text, len};
    struct filter_node *n = child_find(f, parent, text, len);

    if (n) {
        return n;
    }
    if (table_prepare(&f->edges) < 0) {
        return NULL;
    }
    n = node_new(parent, text, len);
    if (!n) {
        return NULL;
    }
    table_insert(&f->edges, edge_hash(f, &key), n);
    parent->n_children++;
    parent->has_plus = parent->has_plus || is_level(text, len, '+');
    return n;
}

static bool node_is_needed(const struct filter_node *n)
{
    return n->n_children > 0 || n->subs[FILTER_BELOW] || n->subs[FILTER_PLUS] ||
           n->subs[FILTER_HASH];
}

/* Frees a node and its ancestors as far as nothing needs them. */
static void node_prune(struct filters *f, struct filter_node *n)
{
    while (n && !node_is_needed(n)) {
        struct filter_node *parent = n->parent;

        if (parent) {
            struct text_key key = {parent, n->text, n->len};

            table_remove(&f->edges, edge_hash(f, &key), n);
            parent->n_children--;
            parent->has_plus = parent->has_plus && !is_level(n->text, n->len, '+');
        } else {
            f->root = NULL;
        }
        free(n);
        n = parent;
    }
}

/* The node and the place there of a filter with wildcards; new nodes as need be. */
static struct filter_node *node_get(struct filters *f, const char *filter, size_t len,
                                    enum filter_place *ret_place)
{
    struct filter_node *n = f->root, *child;

    for (;;) {
        size_t level = topic_level_len(filter, len);

        if (level == len && is_level(filter, level, '#')) {
            *ret_place = FILTER_HASH;
            return n;
        }
        if (level == len && is_level(filter, level, '+')) {
            *ret_place = FILTER_PLUS;
            return n;
        }
        child = child_get(f, n, filter, level);
        if (!child) {
            node_prune(f, n);
            return NULL;
        }
        n = child;
        if (level == len) {
            *ret_place = FILTER_BELOW;
            return n;
        }
        filter += level + 1;
        len -= level + 1;
    }
}

static int wildcard_add(struct filters *f, const char *filter, size_t len, struct sub *sub)
{
    enum filter_place place = FILTER_BELOW;
    struct filter_node *n;

    if (!f->root) {
        f->root = node_new(NULL, "", 0);
    }
    n = f->root ? node_get(f, filter, len, &place) : NULL;
    if (!n) {
        return -ENOMEM;
    }
    sub->place = place;
    sub->filter_len = 0;
    *node_slot(sub) = n;
    DL_APPEND2(n->subs[place], sub, filter_prev, filter_next);
    return 0;
}

static void wildcard_remove(struct filters *f, struct sub *sub)
{
    struct filter_node *n = *node_slot(sub);

    DL_DELETE2(n->subs[sub->place], sub, filter_prev, filter_next);
    node_prune(f, n);
}

/* ---- both ---- */

int filters_add(struct filters *f, const char *filter, size_t len, struct sub *sub)
{
    return filter_has_wildcard(filter, len) ? wildcard_add(f, filter, len, sub)
                                            : exact_add(f, filter, len, sub);
}

void filters_remove(struct filters *f, struct sub *sub)
{
    if (sub->place == FILTER_EXACT) {
        exact_remove(f, sub);
    } else {
        wildcard_remove(f, sub);
    }
}

static void match_subs(struct sub *list, filters_match_fn fn, void *ctx)
{
    struct sub *sub;

    DL_FOREACH2(list, sub, filter_next)
    {
        fn(sub, ctx);
    }
}

/* The recursion is as deep as the topic has levels: BUS_LEVELS_MAX. */
static size_t match_below(const struct filters *f, const struct filter_node *n, const char *topic,
                          size_t len, bool wildcards, filters_match_fn fn, void *ctx)
{
    size_t level = topic_level_len(topic, len);
    size_t passed = 0;
    const struct filter_node *next[2] = {
        child_find(f, n, topic, level), wildcards && n->has_plus ? child_find(f, n, "+", 1) : NULL};

    if (wildcards) {
        match_subs(n->subs[FILTER_HASH], fn, ctx);
    }
    if (wildcards && level == len) {
        match_subs(n->subs[FILTER_PLUS], fn, ctx);
    }
    for (int i = 0; i < 2; i++) {
        if (!next[i]) {
            continue;
        }
        if (level == len) {
            match_subs(next[i]->subs[FILTER_BELOW], fn, ctx);
            match_subs(next[i]->subs[FILTER_HASH], fn, ctx);
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
    match_subs(exact_find(f, exact_hash(f, topic, len), topic, len), fn, ctx);
    return f->root ? match_below(f, f->root, topic, len, topic[0] != '$', fn, ctx) : 0;
}

/* Texts are written from the end of buf and then moved to its beginning. */
static size_t node_text(const struct filter_node *n, enum filter_place place, char buf[256])
{
    bool is_last = place == FILTER_BELOW;
    size_t at = 256;

    if (!is_last) {
        buf[--at] = place == FILTER_PLUS ? '+' : '#';
    }
    for (; n->parent; n = n->parent) {
        if (!is_last) {
            buf[--at] = '/';
        }
        is_last = false;
        at -= n->len;
        memcpy(buf + at, n->text, n->len);
    }
    memmove(buf, buf + at, 256 - at);
    return 256 - at;
}

size_t filters_text(const struct sub *sub, char buf[256])
{
    if (sub->place != FILTER_EXACT) {
        return node_text(*node_slot(sub), sub->place, buf);
    }
    memcpy(buf, exact_text(sub), sub->filter_len);
    return sub->filter_len;
}

void filters_fini(struct filters *f)
{
    table_fini(&f->exact);
    table_fini(&f->edges);
}
