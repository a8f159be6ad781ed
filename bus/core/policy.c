/* SPDX-License-Identifier: MIT */
#include "core/policy.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/macros.h"
#include "core/template.h"
#include "wire/topic.h"

static const struct {
    uint32_t verb;
    const char *word;
} verbs[] = {
#define X(name, number, word, meaning) {number, word},
    POLICY_VERBS(X)
#undef X
};

const char *policy_verb_name(uint32_t verb)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (verbs[i].verb == verb) {
            return verbs[i].word;
        }
    }
    return "?";
}

uint32_t policy_verb_find(struct text word)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strlen(verbs[i].word) == word.len && memcmp(verbs[i].word, word.data, word.len) == 0) {
            return verbs[i].verb;
        }
    }
    return 0;
}

const char *policy_rule_check(const struct policy_rule *rule)
{
    const char *why;

    if (rule->verbs == 0 || (rule->verbs & ~(uint32_t) POLICY_ALL)) {
        return "it must name at least one verb, and only verbs there are";
    }
    why = template_check(rule->topic);
    if (why) {
        return why;
    }
    if (rule->deny && template_has(rule->topic, 'n')) {
        return "a rule that denies cannot go by %n: a client chooses its name itself";
    }
    return NULL;
}

struct policy {
    uint32_t refs;
    bool needs_names, needs_client_name;
    size_t n;
    struct policy_rule rules[]; /* their texts follow */
};

static size_t texts_bytes(const struct policy_rule *r)
{
    return r->listener.len + r->label.len + r->topic.len + r->place.len;
}

static struct text text_move(char **to, struct text t)
{
    struct text moved = {*to, t.len};

    if (t.len > 0) {
        memcpy(*to, t.data, t.len);
    }
    *to += t.len;
    return moved;
}

static void rule_take(struct policy *p, const struct policy_rule *rule, char **texts)
{
    struct policy_rule *r = &p->rules[p->n++];

    *r = *rule;
    r->listener = text_move(texts, rule->listener);
    r->label = text_move(texts, rule->label);
    r->topic = text_move(texts, rule->topic);
    r->place = text_move(texts, rule->place);
    p->needs_names |= template_has(r->topic, 'u') || template_has(r->topic, 'g');
    p->needs_client_name |= template_has(r->topic, 'n');
}

int policy_new(const struct policy_rule *rules, size_t n, struct policy **ret)
{
    size_t bytes = 0;
    struct policy *p;
    char *texts;

    if (n > POLICY_RULES_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (policy_rule_check(&rules[i])) {
            return -EINVAL;
        }
        bytes += texts_bytes(&rules[i]);
    }
    p = calloc(1, sizeof(*p) + n * sizeof(*rules) + bytes);
    if (!p) {
        return -ENOMEM;
    }
    p->refs = 1;
    texts = (char *) &p->rules[n];
    for (size_t i = 0; i < n; i++) {
        rule_take(p, &rules[i], &texts);
    }
    *ret = p;
    return 0;
}

struct policy *policy_ref(struct policy *p)
{
    if (p) {
        p->refs++;
    }
    return p;
}

void policy_unref(struct policy *p)
{
    if (p && --p->refs == 0) {
        free(p);
    }
}

size_t policy_count(const struct policy *p)
{
    return p->n;
}

const struct policy_rule *policy_rule_at(const struct policy *p, size_t i)
{
    return &p->rules[i];
}

bool policy_needs_names(const struct policy *p)
{
    return p && p->needs_names;
}

bool policy_needs_client_name(const struct policy *p)
{
    return p && p->needs_client_name;
}
