/* SPDX-License-Identifier: MIT */
#include "core/template.h"
#include <string.h>
#include "base/macros.h"
#include "wire/topic.h"

#define NUMBER_MAX 10u

static size_t number_put(uint32_t number, char dst[NUMBER_MAX])
{
    char reversed[NUMBER_MAX];
    size_t n = 0;

    do {
        reversed[n++] = (char) ('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (size_t i = 0; i < n; i++) {
        dst[i] = reversed[n - 1 - i];
    }
    return n;
}

/* What stands for a letter; number is room for it. Not known: empty. */
static struct text value_of(const struct subject *s, char letter, char number[NUMBER_MAX])
{
    switch (letter) {
    case 'u':
        return s->user;
    case 'U':
        return (struct text){number, number_put(s->uid, number)};
    case 'g':
        return s->group;
    case 'G':
        return (struct text){number, number_put(s->gid, number)};
    case 'n':
        return s->name;
    default:
        return (struct text){"%", 1};
    }
}

static bool value_fits(struct text value)
{
    return value.len > 0 && !memchr(value.data, '/', value.len) &&
           !filter_has_wildcard(value.data, value.len) &&
           utf8_valid_printable(value.data, value.len);
}

/* False if a value does not fit in, or there is no room. */
static bool expand(struct text t, const struct subject *s, char dst[BUS_TOPIC_MAX], size_t *ret_len)
{
    char number[NUMBER_MAX];
    size_t n = 0;

    for (size_t i = 0; i < t.len; i++) {
        struct text piece = {&t.data[i], 1};

        if (t.data[i] == '%') {
            piece = value_of(s, t.data[++i], number);
            if (!value_fits(piece)) {
                return false;
            }
        }
        if (piece.len > BUS_TOPIC_MAX - n) {
            return false;
        }
        memcpy(dst + n, piece.data, piece.len);
        n += piece.len;
    }
    *ret_len = n;
    return true;
}

const char *template_check(struct text t)
{
    const struct subject any = {.user = {"x", 1}, .group = {"x", 1}, .name = {"x", 1}};
    char filter[BUS_TOPIC_MAX];
    size_t len = 0;

    for (size_t i = 0; i < t.len; i++) {
        if (t.data[i] == '%' && (++i == t.len || !memchr("uUgGn%", t.data[i], 6))) {
            return "behind % in a topic comes one of u, U, g, G, n, %";
        }
    }
    return t.len <= BUS_TOPIC_MAX && expand(t, &any, filter, &len) && filter_valid(filter, len)
               ? NULL
               : "its topic is not a valid topic filter";
}

bool template_has(struct text t, char letter)
{
    for (size_t i = 0; i + 1 < t.len; i++) {
        if (t.data[i] == '%' && t.data[++i] == letter) {
            return true;
        }
    }
    return false;
}

bool template_is_plain(struct text t)
{
    return t.len == 0 || !memchr(t.data, '%', t.len);
}

/* Each level in which something is to be put in becomes "+", which is not longer. */
static size_t expand_wild(struct text t, char dst[BUS_TOPIC_MAX])
{
    size_t n = 0;

    for (;;) {
        size_t level = topic_level_len(t.data, t.len);
        bool is_plain = template_is_plain((struct text){t.data, level});

        memcpy(dst + n, is_plain ? t.data : "+", is_plain ? level : 1);
        n += is_plain ? level : 1;
        if (level == t.len) {
            return n;
        }
        dst[n++] = '/';
        t.data += level + 1;
        t.len -= level + 1;
    }
}

/* Names must not make a way to the topics that begin with "$" of a rule that is not about them. */
static bool is_escape(struct text t, const char *dst)
{
    struct text first = {t.data, topic_level_len(t.data, t.len)};

    return dst[0] == '$' && !template_is_plain(first);
}

size_t template_expand(struct text t, const struct subject *s, bool wild, char dst[BUS_TOPIC_MAX])
{
    size_t len = 0;

    if (!expand(t, s, dst, &len)) {
        return wild ? expand_wild(t, dst) : 0;
    }
    return wild || !is_escape(t, dst) ? len : 0;
}
