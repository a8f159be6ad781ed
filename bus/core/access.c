/* SPDX-License-Identifier: MIT */
#include "core/access.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/macros.h"
#include "core/overlap.h"
#include "core/template.h"
#include "wire/topic.h"

/* A rule as it is for the subject. */
struct granted {
    const struct policy_rule *rule; /* of the policy */
    struct text filter;             /* of the rule, or what follows the access */
};

struct access {
    uint32_t refs;
    bool is_trusted; /* without rules */
    struct policy *policy;
    struct subject subject; /* its texts and groups follow */
    size_t memory;
    struct {
        uint64_t topic_of;
        uint32_t asked, allowed; /* verbs */
    } last;                      /* of access_topic_once() */
    size_t n_deny, n;            /* first those that deny; each part the most specific first */
    struct granted rules[];
};

/* ---- which rules, and which first ---- */

static bool in_group(const struct subject *s, uint32_t gid)
{
    for (size_t i = 0; i < s->n_groups; i++) {
        if (s->groups[i] == gid) {
            return true;
        }
    }
    return s->gid == gid;
}

static bool rule_concerns(const struct policy_rule *r, const struct subject *s)
{
    bool might = s->is_vague && r->deny;

    return (!r->by_uid || r->uid == s->uid) && (!r->by_gid || might || in_group(s, r->gid)) &&
           (r->listener.len == 0 || might || text_equals(r->listener, s->listener)) &&
           (r->label.len == 0 || might || text_equals(r->label, s->label));
}

struct rank {
    unsigned levels;   /* before the first wildcard */
    unsigned wildcard; /* of these: 2 none, 1 "+", 0 "#" */
    unsigned subject;
};

static struct rank rank_of(const struct granted *g)
{
    const struct policy_rule *r = g->rule;
    struct text f = g->filter;
    struct rank rank = {.wildcard = 2,
                        .subject = (r->label.len > 0) * 8u + r->by_uid * 4u + r->by_gid * 2u +
                                   (r->listener.len > 0)};

    for (;;) {
        size_t n = topic_level_len(f.data, f.len);

        if (n == 1 && (*f.data == '+' || *f.data == '#')) {
            rank.wildcard = *f.data == '+';
            return rank;
        }
        rank.levels++;
        if (n == f.len) {
            return rank;
        }
        f.data += n + 1;
        f.len -= n + 1;
    }
}

/* For qsort(): rules lie in one array, in the order in which they were given. */
static int granted_compare(const void *x, const void *y)
{
    const struct granted *a = x, *b = y;
    struct rank ra = rank_of(a), rb = rank_of(b);

    if (a->rule->deny != b->rule->deny) {
        return a->rule->deny ? -1 : 1;
    }
    if (ra.levels != rb.levels) {
        return ra.levels > rb.levels ? -1 : 1;
    }
    if (ra.wildcard != rb.wildcard) {
        return ra.wildcard > rb.wildcard ? -1 : 1;
    }
    if (ra.subject != rb.subject) {
        return ra.subject > rb.subject ? -1 : 1;
    }
    return a->rule < b->rule ? -1 : a->rule > b->rule;
}

/* ---- making it ---- */

static size_t subject_bytes(const struct subject *s)
{
    return s->n_groups * sizeof(*s->groups) + s->user.len + s->group.len + s->listener.len +
           s->label.len + s->name.len;
}

static struct text text_put(char **to, struct text t)
{
    struct text put = {*to, t.len};

    if (t.len > 0) {
        memcpy(*to, t.data, t.len);
    }
    *to += t.len;
    return put;
}

static void subject_put(struct subject *dst, const struct subject *s, char **to)
{
    *dst = *s;
    dst->groups = (const uint32_t *) (uintptr_t) *to;
    if (s->n_groups > 0) {
        memcpy(*to, s->groups, s->n_groups * sizeof(*s->groups));
    }
    *to += s->n_groups * sizeof(*s->groups);
    dst->user = text_put(to, s->user);
    dst->group = text_put(to, s->group);
    dst->listener = text_put(to, s->listener);
    dst->label = text_put(to, s->label);
    dst->name = text_put(to, s->name);
}

/* How many rules concern it, and the room that their filters need if names are put in. */
static size_t count_rules(const struct policy *p, const struct subject *s, size_t *bytes)
{
    char filter[BUS_TOPIC_MAX];
    size_t n = 0;

    for (size_t i = 0; p && i < policy_count(p); i++) {
        const struct policy_rule *r = policy_rule_at(p, i);
        size_t len = rule_concerns(r, s) ? template_expand(r->topic, s, r->deny, filter) : 0;

        n += len > 0;
        *bytes += template_is_plain(r->topic) ? 0 : len;
    }
    return n;
}

static void rules_put(struct access *a, char *to)
{
    for (size_t i = 0; a->policy && i < policy_count(a->policy); i++) {
        const struct policy_rule *r = policy_rule_at(a->policy, i);
        char filter[BUS_TOPIC_MAX];
        size_t len = rule_concerns(r, &a->subject)
                         ? template_expand(r->topic, &a->subject, r->deny, filter)
                         : 0;

        if (len > 0) {
            a->rules[a->n++] = (struct granted){r, template_is_plain(r->topic)
                                                       ? r->topic
                                                       : text_put(&to, (struct text){filter, len})};
            a->n_deny += r->deny;
        }
    }
    if (a->n > 1) {
        qsort(a->rules, a->n, sizeof(a->rules[0]), granted_compare);
    }
}

int access_new(struct policy *policy, uint32_t owner_uid, const struct subject *s,
               struct access **ret)
{
    size_t bytes = subject_bytes(s), n = count_rules(policy, s, &bytes);
    size_t memory = sizeof(struct access) + n * sizeof(struct granted) + bytes;
    struct access *a = calloc(1, memory);
    char *to;

    if (!a) {
        return -ENOMEM;
    }
    a->refs = 1;
    a->memory = memory;
    a->policy = policy_ref(policy);
    a->is_trusted = !policy && (s->uid == 0 || s->uid == owner_uid);
    to = (char *) &a->rules[n];
    subject_put(&a->subject, s, &to);
    rules_put(a, to);
    *ret = a;
    return 0;
}

struct access *access_ref(struct access *a)
{
    a->refs++;
    return a;
}

void access_unref(struct access *a)
{
    if (a && --a->refs == 0) {
        policy_unref(a->policy);
        free(a);
    }
}

uint32_t access_refs(const struct access *a)
{
    return a->refs;
}

const struct subject *access_subject(const struct access *a)
{
    return &a->subject;
}

size_t access_memory(const struct access *a)
{
    return a->memory;
}

size_t access_count(const struct access *a)
{
    return a->n;
}

/* ---- asking it ---- */

static struct access_verdict by_rule(const struct granted *g, bool is_allowed, const char *why)
{
    return (struct access_verdict){.is_allowed = is_allowed, .place = g->rule->place, .why = why};
}

static struct access_verdict without_rule(bool is_allowed, const char *why)
{
    return (struct access_verdict){.is_allowed = is_allowed, .place = {"", 0}, .why = why};
}

/* Where there are no rules for it. */
static struct access_verdict by_default(const struct access *a)
{
    if (a->policy) {
        return without_rule(false, "no rule allows it");
    }
    return a->is_trusted
               ? without_rule(true, "there are no rules, and this is the router's own user or root")
               : without_rule(false, "there are no rules: only the router's own user and root may");
}

static bool is_about(const struct granted *g, uint32_t verb)
{
    return g->rule->verbs & verb;
}

struct access_verdict access_topic(const struct access *a, uint32_t verb, struct text topic)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct granted *g = &a->rules[i];

        if (is_about(g, verb) &&
            filter_matches(g->filter.data, g->filter.len, topic.data, topic.len)) {
            return g->rule->deny ? by_rule(g, false, "this rule denies it")
                                 : by_rule(g, true, "this rule allows it");
        }
    }
    return by_default(a);
}

bool access_topic_once(struct access *a, uint64_t topic_of, uint32_t verb, struct text topic,
                       bool *ret_looked_up)
{
    if (a->last.topic_of != topic_of) {
        a->last.topic_of = topic_of;
        a->last.asked = a->last.allowed = 0;
    }
    *ret_looked_up = !(a->last.asked & verb);
    if (*ret_looked_up) {
        a->last.asked |= verb;
        a->last.allowed |= access_topic(a, verb, topic).is_allowed ? verb : 0;
    }
    return a->last.allowed & verb;
}

/* The first that denies all of it. */
static const struct granted *denied_by(const struct access *a, uint32_t verb, struct text filter)
{
    for (size_t i = 0; i < a->n_deny; i++) {
        if (is_about(&a->rules[i], verb) && filter_contains(a->rules[i].filter, filter)) {
            return &a->rules[i];
        }
    }
    return NULL;
}

static size_t levels_count(struct text f)
{
    size_t n = 1;

    for (size_t i = 0; i < f.len; i++) {
        n += f.data[i] == '/';
    }
    return n;
}

static bool ends_with_hash(struct text f)
{
    return f.data[f.len - 1] == '#';
}

/* The levels of a filter before "#", and so many of "+" behind them that there are depth in all. */
static size_t deep_put(char *dst, struct text filter, size_t depth)
{
    size_t base = levels_count(filter) - 1, len = base > 0 ? filter.len - 2 : 0;

    memcpy(dst, filter.data, len);
    for (size_t i = base; i < depth; i++) {
        if (i > 0) {
            dst[len++] = '/';
        }
        dst[len++] = '+';
    }
    return len;
}

/* Whether rules that deny leave nothing of a filter that ends with "#". What it matches differs for
 * them in the number of levels alone, for each "+" may be a text that no rule knows. So each number
 * is asked for, the largest first: whatever denies that by "#" denies many. */
static bool all_depths_denied(const struct access *a, uint32_t verb, struct text filter)
{
    char deep[COMMON_MAX + 2 * BUS_LEVELS_MAX];
    size_t depth = BUS_LEVELS_MAX; /* "/#": no topic is empty */
    size_t least = filter.len == 2 ? 2 : MAX(levels_count(filter) - 1, 1);

    while (depth >= least) {
        size_t len = deep_put(deep, filter, depth);
        const struct granted *g = denied_by(a, verb, (struct text){deep, len});

        if (!g) {
            return false;
        }
        if (ends_with_hash(g->filter)) {
            depth = MIN(depth, levels_count(g->filter) - 1);
        }
        if (depth == 0) {
            return true;
        }
        depth--;
    }
    return true;
}

static bool is_left_nothing_of(const struct access *a, uint32_t verb, struct text filter)
{
    return ends_with_hash(filter) ? all_depths_denied(a, verb, filter)
                                  : denied_by(a, verb, filter) != NULL;
}

bool access_filter_partly(const struct access *a, uint32_t verb, struct text filter)
{
    char common[COMMON_MAX];

    for (size_t i = a->n_deny; i < a->n; i++) {
        size_t len =
            is_about(&a->rules[i], verb) ? filters_common(a->rules[i].filter, filter, common) : 0;

        if (len > 0 && !is_left_nothing_of(a, verb, (struct text){common, len})) {
            return true;
        }
    }
    return false;
}

/* The first of those that allow, or of those that deny, that has something to do with it. */
static const struct granted *first_meeting(const struct access *a, uint32_t verb, bool deny,
                                           struct text filter)
{
    for (size_t i = deny ? 0 : a->n_deny; i < (deny ? a->n_deny : a->n); i++) {
        if (is_about(&a->rules[i], verb) && filters_meet(a->rules[i].filter, filter)) {
            return &a->rules[i];
        }
    }
    return NULL;
}

static const struct granted *first_containing(const struct access *a, uint32_t verb,
                                              struct text filter)
{
    for (size_t i = a->n_deny; i < a->n; i++) {
        if (is_about(&a->rules[i], verb) && filter_contains(a->rules[i].filter, filter)) {
            return &a->rules[i];
        }
    }
    return NULL;
}

struct access_verdict access_filter(const struct access *a, uint32_t verb, struct text filter)
{
    const struct granted *deny = first_meeting(a, verb, true, filter);
    const struct granted *allow = first_containing(a, verb, filter), *some;
    struct access_verdict v;

    if (allow && !deny) {
        return by_rule(allow, true, "this rule allows it");
    }
    if (a->n == 0 || !a->policy) {
        return by_default(a);
    }
    some = first_meeting(a, verb, false, filter);
    if (!some && !deny) {
        return by_default(a);
    }
    if (deny) {
        v = by_rule(deny, false,
                    filter_contains(deny->filter, filter) ? "this rule denies it"
                                                          : "this rule denies a part of it");
    } else {
        v = by_rule(some, false, "this rule allows only a part of it");
    }
    return v;
}

/* ---- for people ---- */

int policy_explain(struct policy *policy, uint32_t owner_uid, const struct subject *s,
                   uint32_t verb, struct text topic, struct access_verdict *ret)
{
    struct access *a = NULL;
    int r;

    if (!filter_valid(topic.data, topic.len) ||
        (!(verb & POLICY_WITH_FILTER) && filter_has_wildcard(topic.data, topic.len))) {
        return -EINVAL;
    }
    r = access_new(policy, owner_uid, s, &a);
    if (r < 0) {
        return r;
    }
    *ret = access_filter(a, verb, topic);
    ret->is_partial = !ret->is_allowed && access_filter_partly(a, verb, topic);
    access_unref(a);
    return 0;
}

size_t access_text(const struct access_verdict *v, char dst[ACCESS_TEXT_MAX])
{
    size_t why = strlen(v->why), place = MIN(v->place.len, ACCESS_TEXT_MAX - why - 2);
    size_t n = 0;

    if (place > 0) {
        memcpy(dst, v->place.data, place);
        memcpy(dst + place, ": ", 2);
        n = place + 2;
    }
    memcpy(dst + n, v->why, why);
    return n + why;
}
