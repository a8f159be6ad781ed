/* SPDX-License-Identifier: MIT */
#pragma once
/* docs/protocol.md section 20 a second time, by trying all topics there are: few texts, and filters
 * of few levels, so that these topics tell any two of them apart. */

#include "core/policy.h"
#include "support/topic_reference.h"
#include "support/unit.h"

#define ORACLE_TEXT 32u
#define ORACLE_RULES 8u
#define ORACLE_TOPICS 1000u

struct oracle {
    char topics[ORACLE_TOPICS][ORACLE_TEXT]; /* all of up to four levels */
    size_t n_topics;
    struct subject subject;
    struct policy_rule rules[ORACLE_RULES];
    char texts[ORACLE_RULES][ORACLE_TEXT];   /* of the rules' topics */
    char filters[ORACLE_RULES][ORACLE_TEXT]; /* with names put in; "": not for this subject */
    size_t n;
};

static const char *const oracle_levels[] = {"", "a", "$", "b", "x"};

static inline void oracle_enumerate(struct oracle *o, unsigned depth, const char *before)
{
    for (size_t i = 0; i < ARRAY_LEN(oracle_levels); i++) {
        char text[ORACLE_TEXT];

        (void) snprintf(text, sizeof(text), "%s%s", before, oracle_levels[i]);
        if (ref_topic_valid(text, strlen(text))) {
            strcpy(o->topics[o->n_topics++], text);
        }
        if (depth > 1) {
            strcat(text, "/");
            oracle_enumerate(o, depth - 1, text);
        }
    }
}

static inline void oracle_init(struct oracle *o)
{
    memset(o, 0, sizeof(*o));
    oracle_enumerate(o, 4, "");
}

/* No "x": it stands for all texts that are in no rule. */
static inline void oracle_random_levels(struct rng *rng, const char *const *texts, uint32_t n,
                                        char dst[ORACLE_TEXT])
{
    do {
        unsigned levels = 1 + rng_below(rng, 3);

        *dst = 0;
        for (unsigned i = 0; i < levels; i++) {
            const char *text = texts[rng_below(rng, n)];

            strcat(dst, i ? "/" : "");
            strcat(dst, strcmp(text, "#") == 0 && i + 1 < levels ? "+" : text);
        }
    } while (!ref_filter_valid(dst, strlen(dst)));
}

static inline void oracle_random_filter(struct rng *rng, char dst[ORACLE_TEXT])
{
    static const char *const texts[] = {"", "a", "b", "$", "+", "#", "#"};

    oracle_random_levels(rng, texts, (uint32_t) ARRAY_LEN(texts), dst);
}

/* A level with a name: as section 20 has it, level by level. */
static inline void oracle_expand(struct oracle *o, size_t i)
{
    const struct subject *s = &o->subject;
    struct ref_level levels[REF_LEVELS];
    size_t n = ref_split(o->texts[i], strlen(o->texts[i]), levels);
    char *dst = o->filters[i];

    *dst = 0;
    for (size_t k = 0; k < n; k++) {
        bool is_name = levels[k].len == 2 && levels[k].s[0] == '%';
        struct text t = is_name ? (levels[k].s[1] == 'u' ? s->user : s->name)
                                : (struct text){levels[k].s, levels[k].len};
        bool fits = !is_name || (t.len == 1 && !strchr("/+#", *t.data));

        if ((!fits || (is_name && k == 0 && *t.data == '$')) && !o->rules[i].deny) {
            *dst = 0;
            return;
        }
        strcat(dst, k ? "/" : "");
        strncat(dst, fits ? t.data : "+", fits ? t.len : 1);
    }
}

static inline void oracle_random(struct oracle *o, struct rng *rng, size_t n)
{
    static const char *const texts[] = {"", "a", "b", "$", "+", "#", "%u", "%n"};
    static const char *const names[] = {"", "a", "b", "$", "+", "/", "a"};

    o->n = n;
    o->subject = (struct subject){.uid = rng_below(rng, 3),
                                  .gid = rng_below(rng, 3),
                                  .user = text_from(names[rng_below(rng, ARRAY_LEN(names))]),
                                  .name = text_from(names[rng_below(rng, ARRAY_LEN(names))])};
    for (size_t i = 0; i < n; i++) {
        struct policy_rule *r = &o->rules[i];

        *r = (struct policy_rule){.deny = rng_below(rng, 3) == 0,
                                  .by_uid = rng_below(rng, 4) == 0,
                                  .by_gid = rng_below(rng, 4) == 0,
                                  .uid = rng_below(rng, 3),
                                  .gid = rng_below(rng, 3),
                                  .verbs = 1 + rng_below(rng, POLICY_ALL)};
        oracle_random_levels(rng, texts, (uint32_t) ARRAY_LEN(texts) - r->deny, o->texts[i]);
        r->topic = text_from(o->texts[i]);
        oracle_expand(o, i);
    }
}

static inline bool oracle_rule(const struct oracle *o, size_t i, uint32_t verb)
{
    const struct policy_rule *r = &o->rules[i];

    return (r->verbs & verb) && *o->filters[i] && (!r->by_uid || r->uid == o->subject.uid) &&
           (!r->by_gid || r->gid == o->subject.gid);
}

static inline bool oracle_matches(const struct oracle *o, size_t i, const char *topic)
{
    return ref_matches(o->filters[i], strlen(o->filters[i]), topic, strlen(topic));
}

static inline bool oracle_topic(const struct oracle *o, uint32_t verb, const char *topic)
{
    bool is_allowed = false;

    for (size_t i = 0; i < o->n; i++) {
        if (oracle_rule(o, i, verb) && oracle_matches(o, i, topic)) {
            if (o->rules[i].deny) {
                return false;
            }
            is_allowed = true;
        }
    }
    return is_allowed;
}

/* One rule allows every topic that the filter matches, and none denies one. */
static inline bool oracle_filter(const struct oracle *o, uint32_t verb, const char *filter)
{
    bool contained[ORACLE_RULES], any = false;

    for (size_t i = 0; i < o->n; i++) {
        contained[i] = oracle_rule(o, i, verb) && !o->rules[i].deny;
    }
    for (size_t k = 0; k < o->n_topics; k++) {
        if (!ref_matches(filter, strlen(filter), o->topics[k], strlen(o->topics[k]))) {
            continue;
        }
        for (size_t i = 0; i < o->n; i++) {
            bool is_match = oracle_matches(o, i, o->topics[k]);

            if (is_match && o->rules[i].deny && oracle_rule(o, i, verb)) {
                return false;
            }
            contained[i] = contained[i] && is_match;
        }
    }
    for (size_t i = 0; i < o->n; i++) {
        any = any || contained[i];
    }
    return any;
}

static inline bool oracle_partial(const struct oracle *o, uint32_t verb, const char *filter)
{
    for (size_t k = 0; k < o->n_topics; k++) {
        if (ref_matches(filter, strlen(filter), o->topics[k], strlen(o->topics[k])) &&
            oracle_topic(o, verb, o->topics[k])) {
            return true;
        }
    }
    return false;
}
