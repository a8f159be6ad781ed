/* SPDX-License-Identifier: MIT */
#include "core/overlap.h"
#include "base/macros.h"
#include "wire/topic.h"

/* The rest of a filter, level by level. */
struct levels {
    struct text rest;
    bool is_over;
};

static struct levels levels_of(struct text filter)
{
    return (struct levels){filter, false};
}

static struct text level(const struct levels *l)
{
    return (struct text){l->rest.data, topic_level_len(l->rest.data, l->rest.len)};
}

static void level_next(struct levels *l)
{
    size_t n = level(l).len;

    if (n == l->rest.len) {
        l->is_over = true;
        return;
    }
    l->rest.data += n + 1;
    l->rest.len -= n + 1;
}

static bool level_is(const struct levels *l, char c)
{
    struct text t = level(l);

    return !l->is_over && t.len == 1 && *t.data == c;
}

static bool levels_equal(const struct levels *a, const struct levels *b)
{
    struct text x = level(a), y = level(b);

    return x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
}

/* Whether the rest matches where a topic has no further levels. */
static bool may_end(const struct levels *l)
{
    return l->is_over || level_is(l, '#');
}

/* A wildcard in front does not match what begins with "$". */
static bool is_apart(struct text wild, struct text literal)
{
    return (wild.data[0] == '+' || wild.data[0] == '#') && literal.data[0] == '$';
}

/* No topic is empty, so "#" and "/#" have a level more than they show. */
static struct text spelled_out(struct text filter)
{
    if (filter.len == 1 && *filter.data == '#') {
        return text_from("+/#");
    }
    return filter.len == 2 && memcmp(filter.data, "/#", 2) == 0 ? text_from("/+/#") : filter;
}

bool filter_contains(struct text outer, struct text inner)
{
    struct levels o = levels_of(outer), i = levels_of(spelled_out(inner));

    if (is_apart(outer, inner)) {
        return false;
    }
    for (;;) {
        if (level_is(&o, '#')) {
            return true;
        }
        if (o.is_over || i.is_over) {
            return o.is_over && i.is_over;
        }
        if (level_is(&i, '#') ||
            (!level_is(&o, '+') && (level_is(&i, '+') || !levels_equal(&o, &i)))) {
            return false;
        }
        level_next(&o);
        level_next(&i);
    }
}

bool filters_meet(struct text a, struct text b)
{
    char common[COMMON_MAX];

    return filters_common(a, b, common) > 0;
}

struct writer {
    char *dst;
    size_t len;
};

static void put_level(struct writer *w, struct text t, bool is_first)
{
    if (!is_first) {
        w->dst[w->len++] = '/';
    }
    memcpy(w->dst + w->len, t.data, t.len);
    w->len += t.len;
}

static void put_rest(struct writer *w, struct levels l, bool is_first)
{
    if (!l.is_over) {
        put_level(w, l.rest, is_first);
    }
}

size_t filters_common(struct text a, struct text b, char dst[COMMON_MAX])
{
    struct levels x = levels_of(a), y = levels_of(b);
    struct writer w = {dst, 0};

    if (is_apart(a, b) || is_apart(b, a)) {
        return 0;
    }
    for (bool is_first = true;; is_first = false) {
        if (level_is(&x, '#') || level_is(&y, '#')) {
            put_rest(&w, level_is(&x, '#') ? y : x, is_first);
            return w.len;
        }
        if (x.is_over || y.is_over) {
            return may_end(&x) && may_end(&y) ? w.len : 0;
        }
        if (level_is(&x, '+')) {
            put_level(&w, level(&y), is_first);
        } else if (level_is(&y, '+') || levels_equal(&x, &y)) {
            put_level(&w, level(&x), is_first);
        } else {
            return 0;
        }
        level_next(&x);
        level_next(&y);
    }
}
